"""Phones by state over time, followed as the journal grows: what is new is read, and what was read is kept in memory.

A cluster's journal has hundreds of thousands of entries, which take seconds to read once; a page does not wait for
that, and has its chart a little later.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import func, select

from trustbridge.migration.reportvalues import GROUPS, CurvePoint, Group
from trustbridge.storage.campaignreads import CampaignReads
from trustbridge.storage.campaignrecords import CampaignRecord
from trustbridge.storage.models import CampaignState, JournalEntry

#: Entries that a page reads itself; of more, a thread does.
_AT_ONCE: Final = 5_000
#: Points that are drawn.
_POINTS: Final = 400
_PLACES: Final[Mapping[Group, int]] = {group: place for place, group in enumerate(Group)}
_HELD: Final = _PLACES[Group.HELD]


@dataclass(slots=True)
class _Followed:
    """One campaign's journal, as far as it was read."""

    last: int = 0
    #: Of each phone that the journal knows: the place of its group.
    now: dict[str, int] = field(default_factory=dict)
    shifts: dict[int, list[int]] = field(default_factory=dict)
    begun: datetime | None = None
    reading: bool = False
    points: tuple[CurvePoint, ...] = ()
    drawn: int = -1
    lock: threading.Lock = field(default_factory=threading.Lock)


class Curves:
    """Those of all campaigns."""

    def __init__(self, campaigns: CampaignReads) -> None:
        self._campaigns = campaigns
        self._followed: dict[int, _Followed] = {}

    def of(self, campaign: CampaignRecord, states: Mapping[str, int]) -> tuple[CurvePoint, ...] | None:
        """A campaign's, thinned, since it was begun; None as long as its journal is being read.

        Args:
            states: its phones by state, now.
        """
        one = self._followed.setdefault(campaign.id, _Followed())
        if one.reading:
            return one.points or None
        newest = self._newest(campaign.id)
        if newest - one.last > _AT_ONCE and self._behind(campaign.id, one.last) > _AT_ONCE:
            one.reading = True
            threading.Thread(target=self._read, args=(campaign.id, one), name="curve", daemon=True).start()
            return one.points or None
        self._read(campaign.id, one)
        with one.lock:
            if one.drawn != one.last:
                one.points, one.drawn = _points(campaign, one, states), one.last
            return one.points

    def _newest(self, campaign_id: int) -> int:
        with self._campaigns.reading() as session:
            return session.scalar(select(func.max(JournalEntry.id)).where(JournalEntry.campaign_id == campaign_id)) or 0

    def _behind(self, campaign_id: int, last: int) -> int:
        """How many there are to be read; no more than matters are counted."""
        mine = select(JournalEntry.id).where(JournalEntry.campaign_id == campaign_id, JournalEntry.id > last)
        with self._campaigns.reading() as session:
            return session.scalar(select(func.count()).select_from(mine.limit(_AT_ONCE + 1).subquery())) or 0

    def _read(self, campaign_id: int, one: _Followed) -> None:
        table = JournalEntry.__table__.c
        columns = (table.id, table.at, table.event, table.phone, table.before, table.after)
        query = select(*columns).where(table.campaign_id == campaign_id).order_by(table.id)
        try:
            with one.lock, self._campaigns.reading() as session:
                for row in session.execute(query.where(table.id > one.last).execution_options(yield_per=5000)):
                    _take(one, *row)
        finally:
            one.reading = False


def _take(one: _Followed, number: int, at: datetime, event: str, phone: str | None, before: str, after: str) -> None:
    one.last = number
    if phone is None:
        if one.begun is None and after == CampaignState.RUNNING:
            one.begun = at
        return
    if event != "state":
        return
    was = one.now.get(phone)
    if was is None:
        was = _PLACES[GROUPS.get(before, Group.HELD)]
    became = _PLACES[GROUPS.get(after, Group.HELD)]
    one.now[phone] = became
    if was != became:
        shift = one.shifts.setdefault(int(at.timestamp()), [0] * len(Group))
        shift[was] -= 1
        shift[became] += 1


def _points(campaign: CampaignRecord, one: _Followed, states: Mapping[str, int]) -> tuple[CurvePoint, ...]:
    """From now backwards: what was there at the beginning is what is there now, without all that has shifted."""
    counts = [0] * len(Group)
    for state, count in states.items():
        counts[_PLACES[GROUPS.get(state, Group.HELD)]] += count
    for shift in one.shifts.values():
        counts = [count - moved for count, moved in zip(counts, shift, strict=True)]
    # Counted a moment after the journal was read: what came in between is not begun yet.
    wrong = -sum(count for count in counts if count < 0)
    counts = [max(count, 0) for count in counts]
    counts[_HELD] = max(counts[_HELD] - wrong, 0)
    # In whole seconds, as what follows: else the first change may come before the beginning.
    found = [CurvePoint((one.begun or campaign.created_at).replace(microsecond=0), tuple(counts))]
    seconds = sorted(one.shifts)
    width = max(1, (seconds[-1] - seconds[0]) // _POINTS) if seconds else 1
    for place, second in enumerate(seconds):
        counts = [count + moved for count, moved in zip(counts, one.shifts[second], strict=True)]
        if place + 1 == len(seconds) or seconds[place + 1] // width != second // width:
            found.append(CurvePoint(datetime.fromtimestamp(second, UTC), tuple(counts)))
    return tuple(found)
