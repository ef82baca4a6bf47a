"""The transition table of a phone's move: each row, and what holds whatever is seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.cucm.model import PhoneStatus
from trustbridge.migration.campaignphone import (
    ENDS,
    KINDS,
    Lists,
    LookAgain,
    Observation,
    Phone,
    PhoneState,
    Rule,
    Seen,
    SendReset,
    Terms,
    Told,
)
from trustbridge.migration.campaignsteps import EXITS, TESTS, Sign, step
from trustbridge.storage.models import Direction, Kind

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BEFORE = NOW - timedelta(days=1)
TERMS = Terms()
S = PhoneState

REGISTERED = Seen(PhoneStatus.REGISTERED, BEFORE, "src-sub1")
ANEW = Seen(PhoneStatus.REGISTERED, NOW, "src-sub1")
AWAY = Seen(PhoneStatus.UNREGISTERED, NOW, "src-sub1")
AT_ORIGIN = Observation(begun=True, asked=True, origin=REGISTERED, lists=Lists.ORIGIN, messages=("up",))
BACK = replace(AT_ORIGIN, origin=ANEW, messages=("up", "Trust List Update Failed"))
NOWHERE = Observation(begun=True, asked=True, origin=AWAY)
AT_TARGET = Observation(begun=True, asked=True, origin=AWAY, target=ANEW, lists=Lists.TARGET)
UNSEEN = replace(AT_TARGET, lists=None)
SILENT = Observation(begun=True)


def phone(state: PhoneState, **changes: object) -> Phone:
    """In a state since a moment ago, with the baseline that `AT_ORIGIN` shows."""
    made = Phone("SEP000000000001", state, NOW, step=7, origin_since=BEFORE, messages=("up",), terms=TERMS)
    return replace(made, **changes)  # type: ignore[arg-type]


def after(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("state", "seen", "minutes", "then", "words"),
    [
        (S.PLANNED, Observation(), 0, S.PLANNED, ""),
        (S.PLANNED, SILENT, 0, S.WAITING, "turn has come"),
        (S.WAITING, AT_ORIGIN, 0, S.READY, ""),
        (S.WAITING, replace(AT_ORIGIN, in_use=True), 0, S.WAITING, "in use"),
        (S.WAITING, NOWHERE, 0, S.WAITING, "not registered where it is to be reset: UnRegistered"),
        (S.WAITING, NOWHERE, 241, S.SKIPPED, "waited too long; it is not registered"),
        (S.WAITING, SILENT, 241, S.WAITING, ""),
        (S.WAITING, replace(AT_ORIGIN, lists=Lists.OTHER), 0, S.WAITING, "TB122"),
        (S.WAITING, replace(AT_ORIGIN, lists=Lists.NONE), 0, S.READY, ""),
        (S.WAITING, replace(AT_ORIGIN, lists=None), 0, S.READY, ""),
        (S.WAITING, AT_TARGET, 0, S.REGISTERED, "at the target already"),
        (S.READY, AT_ORIGIN, 600, S.READY, ""),
        (S.READY, replace(AT_ORIGIN, granted=True), 0, S.RESET_REQUESTED, "its turn"),
        (S.READY, replace(AT_ORIGIN, granted=True, in_use=True), 0, S.WAITING, "in use"),
        (S.READY, replace(NOWHERE, granted=True), 0, S.WAITING, "not registered"),
        (S.READY, replace(SILENT, granted=True), 0, S.READY, ""),
        (S.RESET_REQUESTED, Observation(told=Told.SENT), 0, S.RESET_SENT, ""),
        (S.RESET_REQUESTED, Observation(told=Told.REFUSED, said="no such device"), 0, S.FAILED, "no such device"),
        (S.RESET_REQUESTED, Observation(), 600, S.RESET_REQUESTED, ""),
        (S.RESET_REQUESTED, NOWHERE, 0, S.RESET_SENT, "it has restarted"),
        (S.RESET_REQUESTED, BACK, 0, S.RESET_SENT, "it has restarted"),
        (S.RESET_REQUESTED, AT_TARGET, 0, S.RESET_SENT, "it has restarted"),
        (S.RESET_REQUESTED, AT_ORIGIN, 2.9, S.RESET_REQUESTED, ""),
        (S.RESET_REQUESTED, AT_ORIGIN, 3, S.READY, "not sent"),
        (S.RESET_REQUESTED, replace(AT_ORIGIN, messages=("up", "more")), 3, S.FAILED, "in doubt"),
        (S.RESET_SENT, AT_ORIGIN, 14.9, S.RESET_SENT, ""),
        (S.RESET_SENT, AT_ORIGIN, 15, S.STRANDED, "has not restarted"),
        (S.RESET_SENT, NOWHERE, 0, S.GONE, ""),
        (S.RESET_SENT, BACK, 0.9, S.RESET_SENT, ""),
        (S.RESET_SENT, BACK, 1, S.STRANDED, "Trust List Update Failed"),
        (S.RESET_SENT, replace(BACK, target_servers=False), 1, S.STRANDED, "TB150"),
        (S.RESET_SENT, AT_TARGET, 0, S.REGISTERED, ""),
        (S.GONE, NOWHERE, 14.9, S.GONE, ""),
        (S.GONE, NOWHERE, 15, S.FAILED, "lost"),
        (S.GONE, SILENT, 600, S.GONE, ""),
        (S.GONE, replace(NOWHERE, target=Seen(PhoneStatus.REJECTED, NOW)), 1, S.FAILED, "TB151"),
        (S.GONE, AT_TARGET, 0, S.REGISTERED, ""),
        (S.GONE, BACK, 1, S.STRANDED, "Trust List Update Failed"),
        (S.REGISTERED, AT_TARGET, 0, S.MOVED, ""),
        (S.REGISTERED, UNSEEN, 4.9, S.REGISTERED, ""),
        (S.REGISTERED, UNSEEN, 5, S.UNPROVEN, ""),
        (S.REGISTERED, replace(AT_TARGET, lists=Lists.ORIGIN), 4.9, S.REGISTERED, ""),
        (S.REGISTERED, replace(AT_TARGET, lists=Lists.ORIGIN), 5, S.FAILED, "wrong lists"),
        (S.REGISTERED, BACK, 1, S.STRANDED, "fell back"),
        (S.REGISTERED, NOWHERE, 15, S.FAILED, "lost"),
    ],
)
def test_rows(state: PhoneState, seen: Observation, minutes: float, then: PhoneState, words: str) -> None:
    found, _ = step(phone(state), seen, after(minutes))
    assert found.state is then
    assert words in found.reason
    assert found.step == (7 if then is state else 8)
    assert found.since == (NOW if then is state else after(minutes))


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        ("in_use", replace(AT_ORIGIN, in_use=True)),
        ("unregistered", NOWHERE),
        ("unfit", replace(AT_ORIGIN, lists=Lists.OTHER)),
        ("unseen", replace(AT_ORIGIN, lists=None)),
    ],
)
def test_rules(rule: str, seen: Observation) -> None:
    def under(how: Rule) -> PhoneState:
        return step(phone(S.WAITING, terms=replace(TERMS, **{rule: how})), seen, NOW)[0].state  # type: ignore[arg-type]

    assert under(Rule.WAIT) is S.WAITING
    assert under(Rule.SKIP) is S.SKIPPED
    if rule in ("in_use", "unregistered"):
        with pytest.raises(ValueError, match="waits or is skipped"):
            under(Rule.GO)
    else:
        assert under(Rule.GO) is S.READY


def test_terms_under_which_a_phone_could_be_reset_twice_are_none() -> None:
    with pytest.raises(ValueError, match="twice"):
        Terms(send_within=timedelta(minutes=2))


def test_a_model_without_trust_lists_has_moved_when_it_is_registered() -> None:
    old = phone(S.REGISTERED, ignores_lists=True)
    assert step(old, replace(AT_TARGET, lists=Lists.NONE), NOW)[0].state is S.MOVED
    assert step(phone(S.WAITING, ignores_lists=True), replace(AT_ORIGIN, lists=Lists.OTHER), NOW)[0].state is S.READY


def test_registered_at_both_the_later_one_counts() -> None:
    """Who could not sign off where it was stands at two clusters until one runs out."""
    both = replace(AT_TARGET, origin=REGISTERED)
    assert step(phone(S.RESET_SENT), both, NOW)[0].state is S.REGISTERED
    stale = Observation(asked=True, origin=ANEW, target=replace(REGISTERED, since=BEFORE), lists=Lists.ORIGIN)
    assert step(phone(S.RESET_SENT), stale, after(1))[0].state is S.STRANDED


def test_the_way_back_is_the_same_and_ends_as_rolled_back() -> None:
    moved = phone(S.MOVED, wanted=Direction.BACK)
    turned, commands = step(moved, Observation(), NOW)
    assert (turned.state, turned.direction, turned.origin_since) == (S.PLANNED, Direction.BACK, None)
    assert [type(command) for command in commands] == [LookAgain]
    assert step(phone(S.REGISTERED, direction=Direction.BACK, wanted=Direction.BACK), AT_TARGET, NOW)[0].state is (
        S.ROLLED_BACK
    )


@pytest.mark.parametrize("state", [S.RESET_REQUESTED, S.RESET_SENT, S.GONE, S.REGISTERED])
def test_who_is_under_way_does_not_turn_before_it_has_come_to_an_end(state: PhoneState) -> None:
    assert all(way.sign not in (Sign.TURN, Sign.AGAIN) for way in EXITS[state])


@pytest.mark.parametrize("state", [S.STRANDED, S.FAILED, S.SKIPPED])
def test_what_failed_is_tried_once_more(state: PhoneState) -> None:
    tried, _ = step(phone(state, again=True), SILENT, NOW)
    assert (tried.state, tried.again) == (S.PLANNED, False)


def test_the_baseline_is_what_was_seen_just_before_the_reset() -> None:
    seen = replace(AT_ORIGIN, granted=True, messages=("a", "b"))
    found, _ = step(phone(S.READY, origin_since=None, messages=None), seen, NOW)
    assert (found.origin_since, found.messages) == (BEFORE, ("a", "b"))
    assert phone(S.READY).with_baseline(found.baseline) == replace(
        phone(S.READY), origin_since=BEFORE, messages=("a", "b")
    )


# What holds for all of it.


def test_each_state_has_its_kind_and_a_way_out_and_each_sign_a_test() -> None:
    assert set(KINDS) == set(EXITS) == set(PhoneState)
    assert set(TESTS) == set(Sign)
    assert all(EXITS[state] for state in PhoneState)
    used = {way.sign for ways in EXITS.values() for way in ways}
    assert used == set(Sign)


def test_each_state_leads_to_an_end_and_is_led_to() -> None:
    reached = {S.PLANNED, S.ROLLED_BACK}
    for _ in PhoneState:
        reached |= {way.to for state in reached for way in EXITS[state]}
    assert reached == set(PhoneState)
    for state in PhoneState:
        ahead = {state}
        for _ in PhoneState:
            ahead |= {way.to for one in ahead for way in EXITS[one]}
        assert ahead & ENDS


def test_what_is_under_way_comes_to_an_end_by_time_alone() -> None:
    """Whatever is seen and stays so: a day later it rests, once both clusters answer."""
    for state in PhoneState:
        if KINDS[state] is not Kind.UNDER_WAY:
            continue
        for seen in (AT_ORIGIN, BACK, NOWHERE, AT_TARGET, UNSEEN, replace(AT_TARGET, lists=Lists.OTHER)):
            found, now = phone(state), NOW
            for _ in range(200):
                found, _ = step(found, seen, now)
                now += timedelta(minutes=10)
            assert KINDS[found.state] is not Kind.UNDER_WAY, (state, seen)


moments = st.datetimes(datetime(2026, 2, 1), datetime(2026, 4, 1), timezones=st.just(UTC))
seens = st.none() | st.builds(Seen, st.sampled_from(PhoneStatus), st.none() | moments)
observations = st.builds(
    Observation,
    begun=st.booleans(),
    asked=st.booleans(),
    origin=seens,
    target=seens,
    lists=st.none() | st.sampled_from(Lists),
    messages=st.none() | st.lists(st.sampled_from(["up", "failed", "x"]), max_size=3).map(tuple),
    target_servers=st.none() | st.booleans(),
    in_use=st.none() | st.booleans(),
    told=st.none() | st.sampled_from(Told),
    granted=st.booleans(),
)
phones = st.builds(
    Phone,
    name=st.just("SEP000000000001"),
    state=st.sampled_from(PhoneState),
    since=moments,
    step=st.integers(0, 100),
    direction=st.sampled_from(Direction),
    wanted=st.sampled_from(Direction),
    again=st.booleans(),
    ignores_lists=st.booleans(),
    origin_since=st.none() | moments,
    messages=st.none() | st.just(("up",)),
)


@given(phones, observations, moments)
def test_a_reset_comes_with_its_request_and_with_nothing_else(before: Phone, seen: Observation, now: datetime) -> None:
    found, commands = step(before, seen, now)
    resets = [command for command in commands if isinstance(command, SendReset)]
    requested = found.state is S.RESET_REQUESTED and before.state is S.READY
    assert resets == ([SendReset(before.name, before.step + 1)] if requested else [])
    if requested:
        assert seen.granted
        assert seen.at_origin
        assert not seen.in_use
    assert found.step - before.step in (0, 1)
    assert (found.step == before.step) == (found.state is before.state and found.direction is before.direction) or (
        found.state is before.state is S.PLANNED
    )
    looks = [command for command in commands if isinstance(command, LookAgain)]
    assert len(looks) == (0 if found.state in ENDS else 1)
    assert all(look.at > now for look in looks)


@given(st.lists(st.tuples(observations, st.integers(0, 900)), max_size=40))
def test_no_step_has_two_resets_however_it_goes(seen: list[tuple[Observation, int]]) -> None:
    found, now = phone(S.PLANNED, step=0), NOW
    sent: list[int] = []
    for observation, seconds in seen:
        now += timedelta(seconds=seconds)
        before = found
        found, commands = step(found, observation, now)
        resets = [command.step for command in commands if isinstance(command, SendReset)]
        if resets and sent:
            # A further one only after it has been shown that nothing was sent, or on somebody's word.
            assert before.state is S.READY
        sent += resets
    assert len(sent) == len(set(sent))


@given(phones, observations, moments)
def test_nobody_is_reset_again_who_may_have_been(before: Phone, seen: Observation, now: datetime) -> None:
    doubtful = replace(before, state=S.RESET_REQUESTED)
    found, _ = step(doubtful, replace(seen, told=None), now)
    if found.state is S.READY:
        assert now - before.since >= before.terms.doubt
        assert seen.at_origin
        assert seen.origin is not None
        assert seen.origin.since == before.origin_since is not None
