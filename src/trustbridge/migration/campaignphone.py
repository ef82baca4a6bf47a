"""A phone of a campaign as values: its state, what is seen of it, what is to be done. `campaignsteps` decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import Any, Final

from trustbridge.cucm.model import PhoneStatus
from trustbridge.storage.models import Direction, Kind


class PhoneState(StrEnum):
    """Where a phone is in its move."""

    PLANNED = "planned"
    WAITING = "waiting"
    READY = "ready"
    RESET_REQUESTED = "reset requested"
    RESET_SENT = "reset sent"
    GONE = "gone from origin"
    REGISTERED = "registered at target"
    MOVED = "moved"
    ROLLED_BACK = "rolled back"
    UNPROVEN = "registered, lists not seen"
    STRANDED = "stranded"
    FAILED = "failed"
    SKIPPED = "skipped"


KINDS: Final[Mapping[PhoneState, Kind]] = {
    PhoneState.PLANNED: Kind.HELD,
    PhoneState.WAITING: Kind.HELD,
    PhoneState.READY: Kind.HELD,
    PhoneState.RESET_REQUESTED: Kind.UNDER_WAY,
    PhoneState.RESET_SENT: Kind.UNDER_WAY,
    PhoneState.GONE: Kind.UNDER_WAY,
    PhoneState.REGISTERED: Kind.UNDER_WAY,
    PhoneState.MOVED: Kind.DONE,
    PhoneState.ROLLED_BACK: Kind.DONE,
    PhoneState.UNPROVEN: Kind.DONE,
    PhoneState.STRANDED: Kind.FAILED,
    PhoneState.FAILED: Kind.FAILED,
    PhoneState.SKIPPED: Kind.SKIPPED,
}
#: States that nobody has to look at any more.
ENDS: Final = frozenset(state for state, kind in KINDS.items() if kind not in (Kind.HELD, Kind.UNDER_WAY))


class Rule(StrEnum):
    """What becomes of a phone that should not be reset now."""

    WAIT = "wait"
    SKIP = "skip"
    GO = "go"


@dataclass(frozen=True, slots=True)
class Terms:
    """Rules and time-outs of a campaign.

    Attributes:
        in_use: a phone in a call. Never GO: its call would end. One of which nobody can tell is no such phone.
        unregistered: one that no node of its origin has. Never GO: nobody could tell it to reset.
        unfit: one with trust lists of neither cluster (TB122): it would refuse the target's.
        unseen: one whose trust lists nobody can see (TB161).
        longest_wait: then it is skipped.
        send_within: after that a reset which was requested is not sent any more.
        doubt: when it is not known whether a reset was sent, so long until the phone's own state decides. Longer than
            `send_within` and the time that a cluster takes to answer.
        settle: a phone back at its origin for less may be on its way still.
        restart: longest time from its reset to its registration.
        lists: longest time from that until its trust lists are seen.
        look: pause between two looks at a phone that is under way; `look_waiting` at one that waits.
        lease: how long a worker is alone with the phones it has taken; those of one that was killed are free then.
    """

    in_use: Rule = Rule.WAIT
    unregistered: Rule = Rule.WAIT
    unfit: Rule = Rule.WAIT
    unseen: Rule = Rule.GO
    longest_wait: timedelta = timedelta(hours=4)
    send_within: timedelta = timedelta(seconds=30)
    doubt: timedelta = timedelta(minutes=3)
    settle: timedelta = timedelta(seconds=60)
    restart: timedelta = timedelta(minutes=15)
    lists: timedelta = timedelta(minutes=5)
    look: timedelta = timedelta(seconds=10)
    look_waiting: timedelta = timedelta(seconds=60)
    lease: timedelta = timedelta(seconds=120)

    def __post_init__(self) -> None:
        """ValueError for terms under which a call would be cut off, or a phone reset twice."""
        if Rule.GO in (self.in_use, self.unregistered):
            raise ValueError("a phone that is in use or not registered waits or is skipped")
        if self.doubt < 2 * self.send_within:
            raise ValueError("the time of doubt must be twice the time in which a reset may be sent, or more")


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone's state.

    Attributes:
        step: grows by one with every change of state.
        since: when it came into this state.
        direction, wanted: which way it goes, and which way it is to go.
        again: what failed is to be tried once more.
        ignores_lists: its model knows no trust lists (TB160).
        origin_since: since when it was registered at its origin, just before its reset; `messages` of its page then.
        reason: why it is in this state.
    """

    name: str
    state: PhoneState
    since: datetime
    step: int = 0
    direction: Direction = Direction.FORTH
    wanted: Direction = Direction.FORTH
    again: bool = False
    ignores_lists: bool = False
    origin_since: datetime | None = None
    messages: tuple[str, ...] | None = None
    reason: str = ""
    terms: Terms = field(default_factory=Terms)

    @property
    def baseline(self) -> Mapping[str, Any]:
        """What is to be kept of the time before its reset, for JSON; `with_baseline` reads it."""
        since = None if self.origin_since is None else self.origin_since.isoformat()
        return {"origin_since": since, "messages": None if self.messages is None else list(self.messages)}

    def with_baseline(self, kept: Mapping[str, Any]) -> Phone:
        """The same phone, with what `baseline` gave."""
        since, messages = kept.get("origin_since"), kept.get("messages")
        return replace(
            self,
            origin_since=None if since is None else datetime.fromisoformat(since),
            messages=None if messages is None else tuple(messages),
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """What a cluster's RisPort70 says of a phone; `address` is where its pages are."""

    status: PhoneStatus
    since: datetime | None = None
    node: str = ""
    address: str = ""


class Lists(StrEnum):
    """Whose trust lists a phone's page shows."""

    ORIGIN = "the origin's"
    TARGET = "the target's"
    OTHER = "neither cluster's"
    NONE = "none"


class Told(Enum):
    """What came of sending a reset. When nobody knows, there is none."""

    SENT = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a phone at one moment. Everything may be unknown.

    Attributes:
        begun: its wave has begun, or it needs none.
        asked: both clusters have answered, with all their nodes.
        origin, target: what they say; None when they have not heard of it.
        lists: by its page; None where that shows none of it.
        messages: of its page, oldest first; None where it can't be read.
        target_servers: whether it asks the target's TFTP servers.
        in_use: whether somebody talks; None where nobody can tell, or has looked.
        in_use_at: when somebody looked last.
        told, said: what came of its reset, and the cluster's words.
        granted: a reset may be requested now.
        evidence: all this in words.
    """

    begun: bool = False
    asked: bool = False
    origin: Seen | None = None
    target: Seen | None = None
    lists: Lists | None = None
    messages: tuple[str, ...] | None = None
    target_servers: bool | None = None
    in_use: bool | None = None
    in_use_at: datetime | None = None
    told: Told | None = None
    said: str = ""
    granted: bool = False
    evidence: tuple[str, ...] = ()

    def with_call(self, in_use: bool | None, at: datetime) -> Observation:
        """The same, after somebody has looked whether somebody talks."""
        words = {True: "in use: a media stream is active", False: "not in use", None: "in use or not: nobody can tell"}
        return replace(self, in_use=in_use, in_use_at=at, evidence=(*self.evidence, words[in_use]))

    @property
    def at_target(self) -> bool:
        """Whether it is registered there. Where it registered last is where it is: who could not sign off is at two."""
        return _registered(self.target) and (
            not _registered(self.origin) or _moment(self.target) >= _moment(self.origin)
        )

    @property
    def at_origin(self) -> bool:
        """Whether it is registered there."""
        return _registered(self.origin) and not self.at_target

    @property
    def nowhere(self) -> bool:
        """Whether both clusters say that they do not have it."""
        return self.asked and not self.at_target and not self.at_origin


def _registered(seen: Seen | None) -> bool:
    return seen is not None and seen.status is PhoneStatus.REGISTERED


def _moment(seen: Seen | None) -> float:
    return -1.0 if seen is None or seen.since is None else seen.since.timestamp()


# Commands.


@dataclass(frozen=True, slots=True)
class SendReset:
    """Have its origin reset a phone, once: for this step."""

    name: str
    step: int


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Observe it again, not before then."""

    at: datetime


Command = SendReset | LookAgain
