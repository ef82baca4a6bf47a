"""What a report of a campaign says: values only. `report` makes them of records; `reportviews` shows them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from trustbridge.migration.campaignphone import PhoneState
from trustbridge.migration.predictvalues import Forecast
from trustbridge.storage.campaignrecords import (
    CampaignRecord,
    ClusterRecord,
    JournalRecord,
    PhoneRecord,
    ScopeRecord,
    WaveRecord,
)
from trustbridge.storage.models import CampaignState, Direction


class Group(StrEnum):
    """What a phone's state comes to, for counting and for charts; in the order in which they are stacked."""

    MOVED = "moved"
    UNPROVEN = "registered, lists not seen"
    ROLLED_BACK = "rolled back"
    UNDER_WAY = "under way"
    FAILED = "failed"
    SKIPPED = "skipped"
    HELD = "not begun"


GROUPS: Final[Mapping[str, Group]] = {
    PhoneState.PLANNED: Group.HELD,
    PhoneState.WAITING: Group.HELD,
    PhoneState.READY: Group.HELD,
    PhoneState.RESET_REQUESTED: Group.UNDER_WAY,
    PhoneState.RESET_SENT: Group.UNDER_WAY,
    PhoneState.GONE: Group.UNDER_WAY,
    PhoneState.REGISTERED: Group.UNDER_WAY,
    PhoneState.MOVED: Group.MOVED,
    PhoneState.ROLLED_BACK: Group.ROLLED_BACK,
    PhoneState.UNPROVEN: Group.UNPROVEN,
    PhoneState.STRANDED: Group.FAILED,
    PhoneState.FAILED: Group.FAILED,
    PhoneState.SKIPPED: Group.SKIPPED,
}


def state_in_words(state: str, direction: Direction, source: str, destination: str) -> str:
    """A phone's state, with the clusters' names in place of origin and target."""
    origin, target = (source, destination) if direction is Direction.FORTH else (destination, source)
    match state:
        case PhoneState.GONE:
            return f"gone from {origin}"
        case PhoneState.REGISTERED:
            return f"registered at {target}"
        case PhoneState.UNPROVEN:
            return f"registered at {target}, lists not seen"
        case PhoneState.STRANDED:
            return f"stranded at {origin}"
    return state


class Outcome(StrEnum):
    """What became of a phone on the way that its prediction is about."""

    ARRIVED = "arrived"
    """Registered there, with the right lists or with some that nobody saw."""
    FAILED = "failed"
    """Left behind, lost, rejected, or there with the wrong lists."""
    UNTRIED = "not tried, or not ended"
    """Not reset, or nobody knows whether it was; or there already; or still on its way. Nothing is to be held against
    its prediction."""


@dataclass(slots=True)
class Trip:
    """One way of a phone, from its wave's begin or from where it rested, to its end. Filled in as the journal is read.

    Attributes:
        requested: when its last reset was requested. None: it needed none, or was not reached.
        gone: when it was seen to be registered nowhere.
        registered: when it was seen registered at the target.
        ended, end, why: when it came to an end, which, and the reason.
        untold: it came to that end without anybody knowing that it was told to reset.
    """

    direction: Direction
    requested: datetime | None = None
    gone: datetime | None = None
    registered: datetime | None = None
    ended: datetime | None = None
    end: str = ""
    why: str = ""
    untold: bool = False

    @property
    def to_register(self) -> float | None:
        """Seconds from the request of its reset to its registration at the target."""
        return _between(self.requested, self.registered)

    @property
    def to_end(self) -> float | None:
        """Seconds from the request of its reset to its end, whichever that is."""
        return _between(self.requested, self.ended)


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())


@dataclass(frozen=True, slots=True)
class ReportPhone:
    """A phone.

    Attributes:
        trip: its last way; `forth`: its last way to the destination, which may be the same.
        words: its state, with clusters' names.
        outcome: of the way that its prediction is about: what is kept is what was predicted last.
        surprise: how that differs from what was predicted; "" where it does not, or nothing was.
    """

    record: PhoneRecord
    trip: Trip
    forth: Trip
    group: Group
    words: str
    outcome: Outcome
    surprise: str


@dataclass(frozen=True, slots=True)
class Pace:
    """How long phones took; seconds. `slowest` names the one that took longest."""

    count: int
    median: float
    ninetieth: float
    longest: float
    slowest: str

    @classmethod
    def of(cls, took: Sequence[tuple[float, str]]) -> Pace | None:
        """Of pairs of seconds and phone; None for none. The 90th percentile is the value that 90 % do not exceed."""
        if not took:
            return None
        found = sorted(took)
        ninetieth = found[max(0, -(-len(found) * 9 // 10) - 1)][0]
        return cls(len(found), statistics.median(one for one, _ in found), ninetieth, *found[-1])


@dataclass(frozen=True, slots=True)
class Paces:
    """How long phones took in one direction.

    Attributes:
        register: from reset requested to registered at the target; `whole`: to the end, where that was a good one.
        by_model, by_wave: `register`, by those.
        seconds: every value of `register`, sorted.
    """

    direction: Direction
    register: Pace | None
    whole: Pace | None
    by_model: tuple[tuple[str, Pace], ...]
    by_wave: tuple[tuple[str, Pace], ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Cause:
    """Phones that came to the same end for the same reason.

    Attributes:
        reason: in the journal's words, without what is one phone's own, such as its name or a time.
        advice: what that means and what to do; "" where there is nothing to add.
        findings: ids that reasons or evidence name, such as TB101.
    """

    reason: str
    advice: str
    findings: tuple[str, ...]
    phones: tuple[ReportPhone, ...]


@dataclass(frozen=True, slots=True)
class ReportWave:
    """A wave.

    Attributes:
        groups: phones by group.
        halts: when and why its failures halted the campaign.
    """

    record: WaveRecord
    groups: Mapping[Group, int]
    halts: tuple[JournalRecord, ...]


@dataclass(frozen=True, slots=True)
class Resets:
    """Resets that one cluster was asked for.

    Attributes:
        requested: written down as to be sent; the others are what came of these.
        sent: the cluster has taken it, or the phone was seen to have restarted.
        unsent: the phone was seen not to have restarted.
        refused: by the cluster.
        doubtful: nobody can tell.
        What is missing to `requested` is on its way still.
    """

    cluster: str
    requested: int = 0
    sent: int = 0
    unsent: int = 0
    refused: int = 0
    doubtful: int = 0


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Phones by group, from a moment on; in the order of `Group`."""

    at: datetime
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Undo:
    """How something is taken back.

    Attributes:
        what: in words; `commands`: to be typed, in this order; `note`: what to know beforehand.
    """

    what: str
    commands: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A campaign, as its records tell it.

    Attributes:
        at: when the records were read.
        begun, ended: when it was started first; when it was finished, if it is.
        groups: phones by group, those that there are none of left out.
        states: phones by state in words.
        curve: phones by group over time, oldest first; every change of a second in one point.
        failures, skips: largest first.
        forecasts: phones by prediction and outcome; empty when nothing was predicted.
        surprises: phones that ended otherwise than predicted.
        option150: entries of the journal about it; `said`: what people said that it names, where no entry tells.
        devices: entries about devices that were made at the destination.
        resets: by cluster, those that were asked for none left out.
        milestones: entries of the journal that are not about one phone.
        workers: who wrote the journal, with the number of entries; processes, not people.
        findings: ids that reasons and evidence name.
        look: seconds between two looks at phones under way, which is how exact times are; None: not known.
    """

    at: datetime
    campaign: CampaignRecord
    clusters: tuple[ClusterRecord, ...]
    scopes: tuple[ScopeRecord, ...]
    waves: tuple[ReportWave, ...]
    phones: tuple[ReportPhone, ...]
    begun: datetime | None
    ended: datetime | None
    groups: Mapping[Group, int]
    states: Mapping[str, int]
    curve: tuple[CurvePoint, ...]
    paces: tuple[Paces, ...]
    failures: tuple[Cause, ...]
    skips: tuple[Cause, ...]
    forecasts: Mapping[Forecast, Mapping[Outcome, int]]
    surprises: tuple[ReportPhone, ...]
    option150: tuple[JournalRecord, ...]
    said: tuple[JournalRecord, ...]
    devices: tuple[JournalRecord, ...]
    resets: tuple[Resets, ...]
    milestones: tuple[JournalRecord, ...]
    workers: tuple[tuple[str, int], ...]
    entries: int
    findings: tuple[str, ...]
    undo: tuple[Undo, ...]
    look: float | None

    @property
    def good(self) -> bool | None:
        """Whether all is well: None while it goes on, or where phones were skipped or are not proven."""
        if self.campaign.state is CampaignState.HALTED or self.groups.get(Group.FAILED):
            return False
        ended = {Group.MOVED, Group.ROLLED_BACK}
        return True if self.campaign.state is CampaignState.FINISHED and set(self.groups) <= ended else None

    @property
    def sentence(self) -> str:
        """The whole, for a person who reads one sentence."""
        total, campaign = len(self.phones), self.campaign
        moved = self.groups.get(Group.MOVED, 0)
        parts = [
            f"{count} {words}"
            for group, words in (
                (Group.UNPROVEN, "registered with lists that nobody saw"),
                (Group.ROLLED_BACK, "rolled back"),
                (Group.FAILED, "failed"),
                (Group.SKIPPED, "skipped"),
                (Group.UNDER_WAY, "under way"),
                (Group.HELD, "not begun"),
            )
            if (count := self.groups.get(group, 0))
        ]
        many = f"All {total} phones" if moved == total and total else f"{moved} of {total} phones"
        whole = "; ".join([f"{many} moved from {campaign.source} to {campaign.destination}", *parts])
        why = f": {campaign.reason}" if campaign.reason and campaign.state is not CampaignState.FINISHED else ""
        return f"{whole}. The campaign is {campaign.state}{why}."
