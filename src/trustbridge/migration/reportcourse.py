"""The journal of a campaign, read once from its beginning: what each phone went through, and how many were where when.

Memory goes with the phones and the seconds in which something happened, not with the journal's length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from trustbridge.migration.campaignphone import ENDS, PhoneState
from trustbridge.migration.campaignsteps import EXITS, Sign
from trustbridge.migration.reportvalues import GROUPS, CurvePoint, Group, Trip
from trustbridge.storage.campaignrecords import JournalRecord, PhoneRecord
from trustbridge.storage.models import Direction

#: By this reason the journal says that a phone goes the other way from here; the direction itself is not in it.
TURNED: Final = next(way.words for way in EXITS[PhoneState.MOVED] if way.sign is Sign.TURN)
_REFUSED: Final = next(way.words for way in EXITS[PhoneState.RESET_REQUESTED] if way.sign is Sign.REFUSED)
_ENDS: Final = frozenset(str(state) for state in ENDS)
_PLACES: Final = {group: place for place, group in enumerate(Group)}
_OTHER: Final = {Direction.FORTH: Direction.BACK, Direction.BACK: Direction.FORTH}


class Course:
    """What a phone went through, as far as the journal was read."""

    __slots__ = ("first", "forth", "group", "trip")

    def __init__(self, first: str = "") -> None:
        self.trip = Trip(Direction.FORTH)
        self.forth = self.trip
        #: Its state before the first entry.
        self.first = first
        self.group = GROUPS.get(first, Group.HELD)


class Courses:
    """All phones, and all that is not about one phone."""

    def __init__(self) -> None:
        self.phones: dict[str, Course] = {}
        self.milestones: list[JournalRecord] = []
        self.devices: list[JournalRecord] = []
        self.resets: Counter[tuple[Direction, str]] = Counter()
        self.workers: Counter[str] = Counter()
        self.entries = 0
        self._shifts: dict[int, list[int]] = {}

    def read(self, journal: Iterable[JournalRecord]) -> None:
        """Take in entries, oldest first."""
        for entry in journal:
            self.entries += 1
            self.workers[entry.by] += 1
            if entry.phone is None:
                self.milestones.append(entry)
            elif entry.event == "device":
                self.devices.append(entry)
            elif entry.event == "state":
                self._step(entry.phone, entry)

    def _step(self, name: str, entry: JournalRecord) -> None:
        course = self.phones.get(name)
        if course is None:
            course = self.phones[name] = Course(entry.before)
        self._shift(course, entry)
        trip, at, after = course.trip, entry.at, entry.after
        if after == PhoneState.PLANNED:
            way = _OTHER[trip.direction] if entry.reason.startswith(TURNED) else trip.direction
            course.trip = Trip(way)
            if way is Direction.FORTH:
                course.forth = course.trip
        elif after == PhoneState.RESET_REQUESTED:
            trip.requested, trip.gone, trip.registered = at, None, None
            self.resets[trip.direction, "requested"] += 1
        elif after == PhoneState.RESET_SENT:
            self.resets[trip.direction, "sent"] += 1
        elif after == PhoneState.GONE:
            trip.gone = at
        elif after == PhoneState.REGISTERED:
            trip.registered = at
        elif after in _ENDS:
            trip.ended, trip.end, trip.why = at, after, entry.reason
            if entry.before == PhoneState.RESET_REQUESTED:
                trip.untold = True
                self.resets[trip.direction, "refused" if entry.reason.startswith(_REFUSED) else "doubtful"] += 1
        elif after == PhoneState.READY and entry.before == PhoneState.RESET_REQUESTED:
            # The phone has shown that nothing was sent: its way begins with the next request.
            trip.requested = None
            self.resets[trip.direction, "unsent"] += 1

    def _shift(self, course: Course, entry: JournalRecord) -> None:
        # From where it was last, not from where the entry says: a phone counts once, whatever the journal lacks.
        before, after = course.group, GROUPS.get(entry.after, Group.HELD)
        if before is not after:
            course.group = after
            shift = self._shifts.setdefault(int(entry.at.timestamp()), [0] * len(Group))
            shift[_PLACES[before]] -= 1
            shift[_PLACES[after]] += 1

    def curve(self, phones: Iterable[PhoneRecord], created: datetime) -> tuple[CurvePoint, ...]:
        """Phones by group over time, from when the campaign was planned."""
        counts = [0] * len(Group)
        for phone in phones:
            course = self.phones.get(phone.name)
            # One without an entry is where it was from the beginning: left out by the plan, or not begun.
            counts[_PLACES[GROUPS.get(course.first if course is not None else phone.state, Group.HELD)]] += 1
        points = [CurvePoint(created, tuple(counts))]
        for second in sorted(self._shifts):
            counts = [count + shift for count, shift in zip(counts, self._shifts[second], strict=True)]
            points.append(CurvePoint(datetime.fromtimestamp(second, UTC), tuple(counts)))
        return tuple(points)
