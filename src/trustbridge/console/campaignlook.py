"""What the pages of a campaign show: looked up in the database, as values that can be compared."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from sqlalchemy import func, select

from trustbridge.console.campaigncurve import Curves
from trustbridge.console.kept import Kept
from trustbridge.console.live import EACH
from trustbridge.console.workers import WorkerView
from trustbridge.migration.findings import KINDS
from trustbridge.migration.report import alike
from trustbridge.migration.reportvalues import GROUPS, CurvePoint, Group
from trustbridge.migration.reportwords import advice
from trustbridge.storage.campaignreads import CampaignReads
from trustbridge.storage.campaignrecords import CampaignRecord, JournalRecord, ScopeRecord, WaveRecord
from trustbridge.storage.models import CampaignPhone, CampaignState, JournalEntry, Kind, Wave

if TYPE_CHECKING:
    from trustbridge.console.desk import Desk

#: Entries of the journal's end that a page shows, and of those that workers are known by.
_ENTRIES: Final = 12
_RECENT: Final = 300
#: Failed phones that are grouped by reason; names of a group that are shown.
_FAILED: Final = 3000
_NAMED: Final = 5
_AT_WORK: Final = timedelta(minutes=2)
_FINDING: Final = re.compile(r"\bTB\d{3}\b")


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """Who wrote into the journal last, wherever it runs: a process, not a person."""

    by: str
    at: datetime
    recent: bool


@dataclass(frozen=True, slots=True)
class Failures:
    """Phones that failed for the same reason. `evidence` is the first one's; `phones` names some."""

    reason: str
    advice: str
    findings: tuple[str, ...]
    count: int
    phones: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CampaignSeen:
    """A campaign at one moment.

    Attributes:
        kinds: phones by kind; `groups`: by group, those of none left out.
        curve: phones by group over time; None as long as the journal is being read.
        journal: its end, newest first.
    """

    campaign: CampaignRecord
    waves: tuple[WaveRecord, ...]
    scopes: tuple[ScopeRecord, ...]
    kinds: Mapping[Kind, int]
    groups: Mapping[Group, int]
    curve: tuple[CurvePoint, ...] | None
    journal: tuple[JournalRecord, ...]
    failures: tuple[Failures, ...]
    worker: WorkerView
    workers: tuple[WorkerSeen, ...]

    @property
    def size(self) -> int:
        """How many phones it has."""
        return sum(self.kinds.values())

    @property
    def resting(self) -> int:
        """Phones that have come to an end."""
        return self.size - self.kinds.get(Kind.HELD, 0) - self.kinds.get(Kind.UNDER_WAY, 0)


class Looks:
    """What a desk's pages of campaigns have in common."""

    def __init__(self, desk: Desk) -> None:
        # No reference to the desk: it is the key by which this is found.
        self.campaigns = CampaignReads(desk.engine, desk.by)
        self.curves = Curves(self.campaigns)
        self.plans = Kept(desk.state, "plan")
        self.predictions = Kept(desk.state, "prediction")
        self.ways_back = Kept(desk.state, "way-back")
        self._waves: dict[int, tuple[float, CampaignRecord, tuple[WaveRecord, ...]]] = {}
        self._failures: dict[int, tuple[int, tuple[Failures, ...]]] = {}

    def waves(self, campaign: CampaignRecord) -> tuple[WaveRecord, ...]:
        """Its waves with their phones counted, no longer ago than a page that refreshes itself looks; anew where
        somebody has done something to the campaign."""
        before = self._waves.get(campaign.id)
        if before is not None and time.monotonic() - before[0] < EACH and before[1] == campaign:
            return before[2]
        found = tuple(self.campaigns.waves(campaign.id))
        self._waves[campaign.id] = (time.monotonic(), campaign, found)
        return found

    def seen(self, campaign: CampaignRecord, worker: WorkerView, now: datetime) -> CampaignSeen:
        """One campaign."""
        waves = self.waves(campaign)
        states, kinds = Counter[str](), Counter[Kind]()
        for wave in waves:
            states.update(wave.states)
            kinds.update(wave.kinds)
        groups = Counter[Group]()
        for state, count in states.items():
            groups[GROUPS.get(state, Group.HELD)] += count
        begun = campaign.state is not CampaignState.PLANNED
        return CampaignSeen(
            campaign,
            waves,
            tuple(self.campaigns.scopes(campaign.id)),
            dict(kinds),
            {group: groups[group] for group in Group if groups[group]},
            self.curves.of(campaign, states) if begun else (),
            tuple(self.campaigns.journal(campaign.id, last=_ENTRIES)[::-1]),
            self._failed(campaign, kinds[Kind.FAILED]) if kinds[Kind.FAILED] else (),
            worker,
            self._workers(campaign.id, now) if begun else (),
        )

    def _workers(self, campaign_id: int, now: datetime) -> tuple[WorkerSeen, ...]:
        last = (
            select(JournalEntry.by, JournalEntry.at)
            .where(JournalEntry.campaign_id == campaign_id, JournalEntry.event.in_(("state", "option 150")))
            .order_by(JournalEntry.id.desc())
            .limit(_RECENT)
            .subquery()
        )
        query = select(last.c.by, func.max(last.c.at)).group_by(last.c.by).order_by(func.max(last.c.at).desc())
        with self.campaigns.reading() as session:
            return tuple(WorkerSeen(by, at, now - at < _AT_WORK) for by, at in session.execute(query))

    def _failed(self, campaign: CampaignRecord, count: int) -> tuple[Failures, ...]:
        """Grouped by reason. Grouped again when their number is another one, or a way back may have changed them."""
        mark = hash((count, campaign.changed_at))
        before = self._failures.get(campaign.id)
        if before is not None and before[0] == mark:
            return before[1]
        waves = select(Wave.id).where(Wave.campaign_id == campaign.id)
        query = (
            select(CampaignPhone.name, CampaignPhone.reason, CampaignPhone.evidence)
            .where(CampaignPhone.wave_id.in_(waves), CampaignPhone.kind == Kind.FAILED)
            .order_by(CampaignPhone.name)
            .limit(_FAILED)
        )
        groups: dict[str, list[tuple[str, str, list[str]]]] = {}
        with self.campaigns.reading() as session:
            for name, reason, evidence in session.execute(query):
                groups.setdefault(alike(reason), []).append((name, reason, evidence))
        found = tuple(
            Failures(
                reason,
                advice(reason, phone=members[0][0], campaign=campaign.name),
                findings_in(*(text for _, why, told in members[:50] for text in (why, *told))),
                len(members),
                tuple(name for name, _, _ in members[:_NAMED]),
                tuple(members[0][2]),
            )
            for reason, members in sorted(groups.items(), key=lambda one: (-len(one[1]), one[0]))
        )
        self._failures[campaign.id] = (mark, found)
        return found


def findings_in(*texts: str) -> tuple[str, ...]:
    """Ids of findings that texts name."""
    return tuple(sorted({one for text in texts for one in _FINDING.findall(text)} & set(KINDS)))


_LOOKS: Final[WeakKeyDictionary[Desk, Looks]] = WeakKeyDictionary()


def looks(desk: Desk) -> Looks:
    """Those of a desk."""
    found = _LOOKS.get(desk)
    if found is None:
        found = _LOOKS.setdefault(desk, Looks(desk))
    return found
