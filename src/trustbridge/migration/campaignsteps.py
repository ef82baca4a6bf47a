"""A phone's move, from the plan to its end: one pure function, `step`, over one table, `EXITS`.

A phone goes from its origin to its target: from source to destination on the way forth, from destination to source on
the way back; the procedure is the same. What is known of it comes as an `Observation`; what follows from that is a
`Sign`. Each state has a list of signs that lead out of it, and the first that shows decides. So the table reads:

    planned            its wave begins                                              -> waiting
    waiting            it is at the target already (moved by hand, or tried before) -> registered
                       it can't be reset, and the rule says skip, or it waited long -> skipped
                       nothing stands against a reset                               -> ready
    ready              it can't be reset any more                                   -> waiting
                       it is its turn                                               -> reset requested, SendReset
    reset requested    the cluster refused                                          -> failed
                       the cluster has told it; or it was seen to have reset        -> reset sent
                       it was never told: long after, nothing about it has changed  -> ready
                       nobody can tell                                              -> failed
    reset sent, gone   it is registered at the target                               -> registered
                       it is registered nowhere                                     -> gone from origin
                       it came back to its origin, or never left                    -> stranded
                       the target rejects it, or nobody has heard of it for long    -> failed
    registered         it holds the target's trust lists                            -> moved; rolled back
                       it holds others, or fell back, or went away                  -> failed, stranded
                       nobody can see which lists it holds                          -> unproven
    the ends           somebody wants it to go the other way, or to try again       -> planned

Three rules keep a phone from being reset twice for one step. `SendReset` comes with the change to *reset requested*
and with no other; that change is on disk before anything is sent; and a phone leaves *reset requested* towards another
reset only on evidence that it has not restarted: it is registered at its origin since the very moment it was before,
though the time in which whoever asked may still send is over. Where that can't be shown, a person decides.

Absence is evidence only when both clusters have answered: without that, no time-out runs out. No clock, no randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from trustbridge.cucm.model import PhoneStatus
from trustbridge.migration.campaignphone import (
    ENDS,
    Command,
    Lists,
    LookAgain,
    Observation,
    Phone,
    PhoneState,
    Rule,
    SendReset,
    Told,
)
from trustbridge.storage.models import Direction

# Signs.


class Sign(Enum):
    """What an observation says about a phone, as far as its state is concerned."""

    TURN = auto()
    AGAIN = auto()
    BEGUN = auto()
    SKIP = auto()
    WAITED_LONG = auto()
    UNFIT = auto()
    FIT = auto()
    GRANTED = auto()
    REFUSED = auto()
    TOLD = auto()
    RESTARTED = auto()
    UNTOUCHED = auto()
    IN_DOUBT = auto()
    AT_TARGET = auto()
    NOWHERE = auto()
    BACK_AT_ORIGIN = auto()
    NEVER_LEFT = auto()
    REJECTED = auto()
    LOST = auto()
    TARGET_LISTS = auto()
    OTHER_LISTS = auto()
    LISTS_UNSEEN = auto()


def obstacle(phone: Phone, seen: Observation) -> tuple[Rule, str] | None:
    """What stands against resetting a phone now, and what the rule for that is; None when nothing does."""
    terms = phone.terms
    if seen.in_use:
        return terms.in_use, "it is in use"
    if not seen.at_origin:
        status = "not known" if seen.origin is None else str(seen.origin.status)
        return terms.unregistered, f"it is not registered where it is to be reset: {status} there"
    if phone.ignores_lists:
        return None
    if seen.lists is Lists.OTHER and terms.unfit is not Rule.GO:
        return terms.unfit, "its trust lists are of neither cluster (TB122)"
    if seen.lists is None and terms.unseen is not Rule.GO:
        return terms.unseen, "nobody can see which trust lists it holds (TB161)"
    return None


def _over(phone: Phone, seen: Observation, now: datetime, limit: timedelta) -> bool:
    return seen.asked and now - phone.since >= limit


def _restarted(phone: Phone, seen: Observation) -> bool:
    """Whether it has registered anew since the baseline, or signed off."""
    if not seen.asked:
        return False
    return not seen.at_origin or (seen.origin is not None and seen.origin.since != phone.origin_since)


def _untouched(phone: Phone, seen: Observation) -> bool:
    """Whether it can be shown that it has not restarted: what can't be seen shows nothing."""
    if not (seen.asked and seen.at_origin) or phone.origin_since is None or _restarted(phone, seen):
        return False
    return phone.messages is None or seen.messages is None or seen.messages == phone.messages


def _lists_arrived(phone: Phone, seen: Observation) -> bool:
    return seen.at_target and (seen.lists is Lists.TARGET or phone.ignores_lists)


_Test = Callable[[Phone, Observation, datetime], bool]
#: When a sign shows.
TESTS: Final[Mapping[Sign, _Test]] = {
    Sign.TURN: lambda phone, seen, now: phone.wanted is not phone.direction,
    Sign.AGAIN: lambda phone, seen, now: phone.again,
    Sign.BEGUN: lambda phone, seen, now: seen.begun,
    Sign.SKIP: lambda phone, seen, now: seen.asked and (obstacle(phone, seen) or (None,))[0] is Rule.SKIP,
    Sign.WAITED_LONG: lambda phone, seen, now: (
        obstacle(phone, seen) is not None and _over(phone, seen, now, phone.terms.longest_wait)
    ),
    Sign.UNFIT: lambda phone, seen, now: seen.asked and obstacle(phone, seen) is not None,
    Sign.FIT: lambda phone, seen, now: seen.asked and obstacle(phone, seen) is None,
    Sign.GRANTED: lambda phone, seen, now: seen.granted and seen.asked,
    Sign.REFUSED: lambda phone, seen, now: seen.told is Told.REFUSED,
    Sign.TOLD: lambda phone, seen, now: seen.told is Told.SENT,
    Sign.RESTARTED: lambda phone, seen, now: _restarted(phone, seen),
    Sign.UNTOUCHED: lambda phone, seen, now: _untouched(phone, seen) and _over(phone, seen, now, phone.terms.doubt),
    Sign.IN_DOUBT: lambda phone, seen, now: _over(phone, seen, now, phone.terms.doubt),
    Sign.AT_TARGET: lambda phone, seen, now: seen.at_target,
    Sign.NOWHERE: lambda phone, seen, now: seen.nowhere,
    Sign.BACK_AT_ORIGIN: lambda phone, seen, now: (
        seen.at_origin and _restarted(phone, seen) and _over(phone, seen, now, phone.terms.settle)
    ),
    Sign.NEVER_LEFT: lambda phone, seen, now: seen.at_origin and _over(phone, seen, now, phone.terms.restart),
    Sign.REJECTED: lambda phone, seen, now: (
        seen.target is not None
        and seen.target.status is PhoneStatus.REJECTED
        and not seen.at_origin
        and _over(phone, seen, now, phone.terms.settle)
    ),
    Sign.LOST: lambda phone, seen, now: seen.nowhere and _over(phone, seen, now, phone.terms.restart),
    Sign.TARGET_LISTS: lambda phone, seen, now: _lists_arrived(phone, seen),
    Sign.OTHER_LISTS: lambda phone, seen, now: (
        seen.at_target and seen.lists is not None and _over(phone, seen, now, phone.terms.lists)
    ),
    Sign.LISTS_UNSEEN: lambda phone, seen, now: (
        seen.at_target and seen.lists is None and _over(phone, seen, now, phone.terms.lists)
    ),
}


@dataclass(frozen=True, slots=True)
class Exit:
    """A way out of a state: on which sign, to which state, and why in words."""

    sign: Sign
    to: PhoneState
    words: str


_TURN: Final = Exit(Sign.TURN, PhoneState.PLANNED, "it is to go the other way")
_AGAIN: Final = Exit(Sign.AGAIN, PhoneState.PLANNED, "it is tried once more")
_AT_TARGET: Final = Exit(Sign.AT_TARGET, PhoneState.REGISTERED, "it is registered at the target")
_BACK: Final = Exit(Sign.BACK_AT_ORIGIN, PhoneState.STRANDED, "it has restarted and is back at its origin")
_LOST: Final = Exit(Sign.LOST, PhoneState.FAILED, "lost: it is registered nowhere")
_REJECTED: Final = Exit(Sign.REJECTED, PhoneState.FAILED, "rejected: the target does not take its registration (TB151)")

#: The table: see the module for its theory. Of the signs that show, the first decides.
EXITS: Final[Mapping[PhoneState, tuple[Exit, ...]]] = {
    PhoneState.PLANNED: (_TURN, Exit(Sign.BEGUN, PhoneState.WAITING, "its turn has come")),
    PhoneState.WAITING: (
        _TURN,
        Exit(Sign.AT_TARGET, PhoneState.REGISTERED, "it is at the target already, and needs no reset"),
        Exit(Sign.SKIP, PhoneState.SKIPPED, "skipped by rule"),
        Exit(Sign.WAITED_LONG, PhoneState.SKIPPED, "skipped: it has waited too long"),
        Exit(Sign.FIT, PhoneState.READY, "nothing stands against its reset"),
    ),
    PhoneState.READY: (
        _TURN,
        Exit(Sign.UNFIT, PhoneState.WAITING, "it can't be reset now"),
        Exit(Sign.GRANTED, PhoneState.RESET_REQUESTED, "it is its turn"),
    ),
    PhoneState.RESET_REQUESTED: (
        Exit(Sign.REFUSED, PhoneState.FAILED, "reset refused"),
        Exit(Sign.TOLD, PhoneState.RESET_SENT, "the cluster has told it"),
        Exit(Sign.RESTARTED, PhoneState.RESET_SENT, "nobody knows that the reset was sent, but it has restarted"),
        Exit(Sign.UNTOUCHED, PhoneState.READY, "the reset was not sent: it has not restarted"),
        Exit(Sign.IN_DOUBT, PhoneState.FAILED, "reset in doubt: nobody can tell whether it has restarted"),
    ),
    PhoneState.RESET_SENT: (
        _AT_TARGET,
        Exit(Sign.NOWHERE, PhoneState.GONE, "it has left its origin"),
        _BACK,
        Exit(Sign.NEVER_LEFT, PhoneState.STRANDED, "it was told to reset and has not restarted"),
    ),
    PhoneState.GONE: (
        _AT_TARGET,
        _BACK,
        Exit(Sign.NEVER_LEFT, PhoneState.STRANDED, "it is at its origin"),
        _REJECTED,
        _LOST,
    ),
    PhoneState.REGISTERED: (
        Exit(Sign.TARGET_LISTS, PhoneState.MOVED, "it is registered with the target's trust lists"),
        Exit(Sign.BACK_AT_ORIGIN, PhoneState.STRANDED, "it fell back to its origin"),
        Exit(Sign.NEVER_LEFT, PhoneState.STRANDED, "it fell back to its origin"),
        Exit(Sign.OTHER_LISTS, PhoneState.FAILED, "wrong lists: it is registered without the target's trust lists"),
        Exit(Sign.LISTS_UNSEEN, PhoneState.UNPROVEN, "it is registered, and nobody can see which trust lists it holds"),
        _REJECTED,
        _LOST,
    ),
    PhoneState.MOVED: (_TURN,),
    PhoneState.ROLLED_BACK: (_TURN,),
    PhoneState.UNPROVEN: (_TURN,),
    PhoneState.STRANDED: (_TURN, _AGAIN),
    PhoneState.FAILED: (_TURN, _AGAIN),
    PhoneState.SKIPPED: (_TURN, _AGAIN),
}


def step(phone: Phone, seen: Observation, now: datetime) -> tuple[Phone, list[Command]]:
    """What becomes of a phone, by what is seen of it: its state afterwards, and what is to be done.

    At most one change of state; whoever wants to know how it goes on, asks again.
    """
    for way in EXITS[phone.state]:
        if TESTS[way.sign](phone, seen, now):
            after = _through(phone, way, seen, now)
            break
    else:
        after = phone
        if phone.state is PhoneState.WAITING and (found := obstacle(phone, seen)) is not None and seen.asked:
            after = replace(phone, reason=found[1])
    commands: list[Command] = []
    if after.state is PhoneState.RESET_REQUESTED and after.step != phone.step:
        commands.append(SendReset(after.name, after.step))
    if after.state not in ENDS:
        # One that waits, and has waited before, is no more urgent than what it waits for.
        waits = after.state is phone.state is PhoneState.WAITING
        commands.append(LookAgain(now + (phone.terms.look_waiting if waits else phone.terms.look)))
    return after, commands


def _through(phone: Phone, way: Exit, seen: Observation, now: datetime) -> Phone:
    state = way.to
    if state is PhoneState.MOVED and phone.direction is Direction.BACK:
        state = PhoneState.ROLLED_BACK
    after = replace(phone, state=state, since=now, step=phone.step + 1, reason=_reason(phone, way, seen))
    if state is PhoneState.PLANNED:
        return replace(after, direction=phone.wanted, again=False, origin_since=None, messages=None)
    if state is PhoneState.RESET_REQUESTED:
        since = None if seen.origin is None else seen.origin.since
        return replace(after, origin_since=since, messages=seen.messages)
    return after


def _reason(phone: Phone, way: Exit, seen: Observation) -> str:
    more: list[str] = []
    if way.to in (PhoneState.SKIPPED, PhoneState.WAITING) and (found := obstacle(phone, seen)) and seen.asked:
        more.append(found[1])
    if way.sign is Sign.REFUSED and seen.said:
        more.append(seen.said)
    if way.to is PhoneState.STRANDED:
        if seen.target_servers is False:
            more.append("it asks other TFTP servers than the target's (TB150)")
        more += [f"its page says: {text}" for text in _failures(phone, seen)[-1:]]
    return "; ".join([way.words, *more])


def _failures(phone: Phone, seen: Observation) -> list[str]:
    """What its page says went wrong since the baseline."""
    known = phone.messages or ()
    return [text for text in seen.messages or () if text not in known and "fail" in text.lower()]
