"""The procedure itself: its steps, who takes part, and what is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from trustbridge.expectations import DESTINATION, FAILED, SOURCE, Expectation, Procedure, Rehearsal
from trustbridge.trust.events import Line


@dataclass(slots=True)
class Handset:
    name: str
    secure: bool = False
    at: str = SOURCE
    lists: str = SOURCE
    says: str = ""


class Looker:
    """Remembers what it was shown."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self.seen: list[Expectation] = []

    def step(self, title: str, phones: int) -> None:
        self.steps.append((title, phones))

    def note(self, text: str) -> None:
        pass

    def phone(self) -> None:
        pass

    def expectation(self, expectation: Expectation) -> None:
        self.seen.append(expectation)


class Paper(Procedure[Handset]):
    """The procedure on paper: phones go where option 150 points once the exchange was done."""

    def __init__(self, phones: Sequence[Handset]) -> None:
        self.looker = Looker()
        super().__init__(phones, self.looker)
        self.option150 = SOURCE
        self.exchanged = False
        self.done: list[str] = []
        self.lost: set[str] = set()
        self.stuck: set[str] = set()

    def is_secure(self, phone: Handset) -> bool:
        return phone.secure

    def about(self, phone: Handset) -> str:
        return f"at the {phone.at}"

    async def switch_on(self) -> None:
        self.done.append("switch on")

    async def point_at(self, cluster: str) -> None:
        self.option150 = cluster
        self.done.append(f"point at {cluster}")

    async def reset(self, phones: Sequence[Handset]) -> None:
        self.done.append(f"reset {len(phones)}")
        for phone in phones:
            if (self.exchanged or self.option150 == SOURCE) and phone.name not in self.stuck:
                phone.at = phone.lists = self.option150
            else:
                phone.says = FAILED
            if phone.name in self.lost:
                phone.lists = ""

    async def exchange(self) -> None:
        self.done.append("exchange")
        self.exchanged = True

    async def vouches(self, asked: str, about: str) -> tuple[bool, str]:
        return self.exchanged, f"{asked} about {about}"

    async def has_lists_of(self, cluster: str) -> Callable[[Handset], bool]:
        return lambda phone: phone.lists == cluster

    def registered_at(self, phone: Handset, cluster: str) -> bool:
        return phone.at == cluster

    async def where(self) -> dict[str, int]:
        return {place: sum(phone.at == place for phone in self.phones) for place in (SOURCE, DESTINATION)}

    def said(self, phone: Handset) -> Sequence[str]:
        return [phone.says]

    def kept(self, phone: Handset) -> object:
        return phone.lists

    def transcript(self, phone: Handset) -> Sequence[Line]:
        return [Line(f"{phone.name} is at the {phone.at}", True)]


def paper(plain: int, secure: int) -> Paper:
    return Paper([Handset(f"SEP{number}", secure=number >= plain) for number in range(plain + secure)])


def failed(procedure: Paper) -> list[str]:
    result = asyncio.run(procedure.run())
    assert result.held is not any(not item.held for item in result.expectations)
    assert result.expectations == procedure.looker.seen
    return [item.what for item in result.expectations if not item.held]


def test_the_steps_in_their_order() -> None:
    procedure = paper(6, 4)
    assert failed(procedure) == []
    assert procedure.done == [
        "switch on",
        "point at destination",
        "reset 5",
        "point at source",
        "exchange",
        "point at destination",
        "reset 10",
        "point at source",
        "reset 2",
    ]
    result = procedure.result
    assert [title for title, _ in procedure.looker.steps] == list(result.seconds)
    assert [phones for _, phones in procedure.looker.steps] == [10, 5, 0, 0, 10, 2]
    assert (result.phones, result.secure, result.at_the_end) == (10, 4, {SOURCE: 2, DESTINATION: 8})
    assert [line.text for line in result.stranded] == ["SEP0 is at the source"]
    assert [line.text for line in result.moved] == ["SEP0 is at the destination"]


def test_without_an_exchange_phones_stay_and_that_is_told() -> None:
    procedure = paper(3, 0)

    async def nothing() -> None:
        pass

    procedure.exchange = nothing  # type: ignore[method-assign]
    assert failed(procedure) == [
        "every TVS of the source vouches for the destination",
        "and the other way, so that going back will work",
        "registered at the destination",
        "with the destination's trust lists",
        "the others stay at the destination",
    ]


def test_who_loses_something_is_named() -> None:
    procedure = paper(4, 0)
    procedure.lost.add("SEP2")
    assert "have lost nothing: trust lists and configuration as before" in failed(procedure)
    (item,) = (item for item in procedure.result.expectations if item.what.startswith("have lost nothing"))
    assert item.seen == "3 of 4 phones; not SEP2: at the source"
    assert item.step == "A control group, without any exchange"


def test_who_is_stuck_is_named() -> None:
    procedure = paper(7, 0)
    procedure.stuck.add("SEP6")
    assert failed(procedure) == [
        "registered at the destination",
        "with the destination's trust lists",
        "the others stay at the destination",
    ]


@pytest.mark.parametrize(
    ("plain", "secure", "chosen"),
    [(9, 9, (3, 2)), (9, 1, (4, 1)), (9, 0, (5, 0)), (0, 9, (0, 5)), (1, 9, (1, 4)), (2, 1, (2, 1)), (0, 0, (0, 0))],
)
def test_the_control_group_has_phones_of_both_kinds(plain: int, secure: int, chosen: tuple[int, int]) -> None:
    group = paper(plain, secure).control_group()
    assert (sum(not phone.secure for phone in group), sum(phone.secure for phone in group)) == chosen


def test_every_phone_goes_back_or_stays() -> None:
    procedure = paper(11, 0)
    assert [phone.name for phone in procedure.wave()] == ["SEP0", "SEP5", "SEP10"]
    assert {phone.name for phone in procedure.wave()} | {phone.name for phone in procedure.rest()} == {
        phone.name for phone in procedure.phones
    }
    assert len(procedure.rest()) == 8


def test_no_phones_at_all() -> None:
    assert failed(paper(0, 0)) == []


def test_nothing_expected_is_not_success() -> None:
    assert not Rehearsal().held
