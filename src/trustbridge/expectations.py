"""The seed's procedure as a rehearsal: its steps, what must hold after each, and whether it did.

The steps are those of the vendor's page: a control group before anything, export, consolidate, import, proof, option
150, reset; then one wave goes back. They are written here once, over what `lab.rehearsal` does and sees inside a lab,
and `migration.rehearsal` through the driver.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

SOURCE: Final = "source"
DESTINATION: Final = "destination"
#: What phones show that keep what they have.
FAILED: Final = "Trust List Update Failed"
#: Phones that are pointed at the destination before anything was exchanged, at the most.
CONTROL_GROUP: Final = 5
#: Of those, encrypted ones, at the most, where there are others.
_ENCRYPTED: Final = 2
#: Every so manieth phone goes back.
_WAVE: Final = 5


@dataclass(frozen=True, slots=True)
class Expectation:
    """Something that had to hold, and whether it did."""

    step: str
    what: str
    held: bool
    seen: str


class Line(Protocol):
    """What one phone did or said, in words. `ok` is None for a plain fact."""

    @property
    def text(self) -> str:
        """The words."""

    @property
    def ok(self) -> bool | None:
        """Whether it was good."""


class Watcher(Protocol):
    """Who looks on."""

    def step(self, title: str, phones: int) -> None:
        """A step begins; `phones` will come to an end in it."""

    def note(self, text: str) -> None:
        """Something was done."""

    def phone(self) -> None:
        """A phone has come to its end."""

    def expectation(self, expectation: Expectation) -> None:
        """Something was checked."""


@dataclass(slots=True)
class Rehearsal:
    """What came of it.

    Attributes:
        phones, secure: how many there are, and how many of them are encrypted.
        seconds: by step.
        stranded, moved: what one phone of the control group did, and one that moved.
        at_the_end: phones by where they are registered.
        ways: by whom, which interface told or did what; empty where everything was looked at from inside.
    """

    expectations: list[Expectation] = field(default_factory=list)
    phones: int = 0
    secure: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    stranded: Sequence[Line] = ()
    moved: Sequence[Line] = ()
    at_the_end: dict[str, int] = field(default_factory=dict)
    ways: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether every expectation held."""
        return bool(self.expectations) and all(expectation.held for expectation in self.expectations)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "ok": self.held,
            "phones": self.phones,
            "secure": self.secure,
            "registered": self.at_the_end,
            "seconds": {step: round(seconds, 2) for step, seconds in self.seconds.items()},
            "expectations": [
                {"step": item.step, "what": item.what, "held": item.held, "seen": item.seen}
                for item in self.expectations
            ],
            "one_stranded_phone": [line.text for line in self.stranded],
            "one_moved_phone": [line.text for line in self.moved],
            "ways": {
                who: {interface: list(what) for interface, what in by_interface.items()}
                for who, by_interface in self.ways.items()
            },
        }


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Phone = TypeVar("Phone", bound=_Named)


class Procedure(ABC, Generic[Phone]):
    """The procedure under way. `run` it once.

    Args:
        phones: all that move.
    """

    def __init__(self, phones: Sequence[Phone], watcher: Watcher) -> None:
        self.phones = list(phones)
        self.watcher = watcher
        self.result = Rehearsal(phones=len(self.phones))
        self._step = ""

    async def run(self) -> Rehearsal:
        """Every step in order; an expectation that does not hold stops nothing."""
        for title, step, phones in (
            ("Phones start at the source", self.start, len(self.phones)),
            ("A control group, without any exchange", self.strand, min(CONTROL_GROUP, len(self.phones))),
            ("Exchange of certificates", self.exchange, 0),
            ("Proof, before a phone is touched", self.prove, 0),
            ("Option 150 and reset: phones move", self.move, len(self.phones)),
            ("One wave goes back", self.go_back, len(self.wave())),
        ):
            self._step = title
            self.watcher.step(title, phones)
            began = time.monotonic()
            await step()
            self.result.seconds[title] = time.monotonic() - began
        return self.result

    async def start(self) -> None:
        """Phones start at the source."""
        await self.switch_on()
        self.result.secure = sum(map(self.is_secure, self.phones))
        await self._expect_at(SOURCE, self.phones)

    async def strand(self) -> None:
        """The control group is pointed at the destination and reset; then option 150 names the source again."""
        await self.foresee()
        group = self.control_group()
        before = {phone.name: self.kept(phone) for phone in group}
        await self.point_at(DESTINATION)
        await self.reset(group)
        self.judge_stranded(group)
        self.expect_all(f"show '{FAILED}'", group, lambda phone: FAILED in self.said(phone))
        self.expect_all("are still registered at the source", group, self._at(SOURCE))
        self.expect_all(
            "have lost nothing: trust lists and configuration as before",
            group,
            lambda phone: self.kept(phone) == before[phone.name],
        )
        if group:
            self.result.stranded = self.transcript(group[0])
        await self.point_at(SOURCE)

    async def prove(self) -> None:
        """Every TVS is asked, both ways."""
        self.expect("every TVS of the source vouches for the destination", *await self.vouches(SOURCE, DESTINATION))
        self.expect("and the other way, so that going back will work", *await self.vouches(DESTINATION, SOURCE))

    async def move(self) -> None:
        """All phones move."""
        await self.point_at(DESTINATION)
        await self.reset(self.phones)
        await self._expect_at(DESTINATION, self.phones)
        self.judge_moved()
        if self.phones:
            self.result.moved = self.transcript(self.phones[0])

    async def go_back(self) -> None:
        """The wave goes back."""
        await self.point_at(SOURCE)
        await self.reset(self.wave())
        self.result.at_the_end = await self.where()
        await self._expect_at(SOURCE, self.wave(), "the wave is registered at the source again")
        self.expect_all("the others stay at the destination", self.rest(), self._at(DESTINATION))

    # Who takes part.

    def control_group(self) -> list[Phone]:
        """The phones that try it first: of both kinds, where there are both."""
        secure = [phone for phone in self.phones if self.is_secure(phone)]
        others = [phone for phone in self.phones if not self.is_secure(phone)]
        return [*others[: CONTROL_GROUP - min(_ENCRYPTED, len(secure))], *secure][:CONTROL_GROUP]

    def wave(self) -> list[Phone]:
        """The phones that go back."""
        return self.phones[::_WAVE]

    def rest(self) -> list[Phone]:
        """The phones that stay."""
        going = {phone.name for phone in self.wave()}
        return [phone for phone in self.phones if phone.name not in going]

    # What had to hold.

    def expect(self, what: str, held: bool, seen: str) -> None:
        """Write down whether something held."""
        expectation = Expectation(self._step, what, held, seen)
        self.result.expectations.append(expectation)
        self.watcher.expectation(expectation)

    def expect_all(self, what: str, phones: Sequence[Phone], holds: Callable[[Phone], bool]) -> None:
        """Write down whether something held for each of these phones; the first it did not hold for is named."""
        failing = [phone for phone in phones if not holds(phone)]
        seen = f"{len(phones) - len(failing)} of {len(phones)} phones"
        if failing:
            seen += f"; not {failing[0].name}: {self.about(failing[0])}"
        self.expect(what, not failing, seen)

    async def expect_restarted(self, wait: Awaitable[object]) -> None:
        """An import has restarted the source's phones, as it does from 12.5 on (TB145): wait until they are back."""
        self.watcher.note("the import restarts the source's phones (TB145): they are waited for")
        await wait
        self.expect_all("restarted by the import, and back", self.phones, self._at(SOURCE))

    async def _expect_at(self, cluster: str, phones: Sequence[Phone], what: str = "") -> None:
        self.expect_all(what or f"registered at the {cluster}", phones, self._at(cluster))
        self.expect_all(f"with the {cluster}'s trust lists", phones, await self.has_lists_of(cluster))

    def _at(self, cluster: str) -> Callable[[Phone], bool]:
        return lambda phone: self.registered_at(phone, cluster)

    # How it is done.

    @abstractmethod
    async def switch_on(self) -> None:
        """Switch the phones on, at the source; they have come to an end afterwards."""

    @abstractmethod
    async def point_at(self, cluster: str) -> None:
        """Make option 150 name a cluster's TFTP servers."""

    @abstractmethod
    async def reset(self, phones: Sequence[Phone]) -> None:
        """Reset phones; they have come to an end afterwards."""

    @abstractmethod
    async def exchange(self) -> None:
        """Export, export, consolidate, import, import; and what bulk leaves out."""

    # How it is looked at.

    @abstractmethod
    async def vouches(self, asked: str, about: str) -> tuple[bool, str]:
        """Whether every TVS of one cluster vouches for what signs the other's trust lists now; and what was seen."""

    @abstractmethod
    async def has_lists_of(self, cluster: str) -> Callable[[Phone], bool]:
        """Tells of a phone whether its trust lists are those that a cluster's TFTP nodes serve now."""

    @abstractmethod
    def registered_at(self, phone: Phone, cluster: str) -> bool:
        """Whether a phone is registered at a cluster."""

    @abstractmethod
    async def where(self) -> dict[str, int]:
        """How many phones are registered at each cluster."""

    @abstractmethod
    def said(self, phone: Phone) -> Sequence[str]:
        """Status messages of a phone."""

    @abstractmethod
    def kept(self, phone: Phone) -> object:
        """What a phone holds: equal, if it is the same as before."""

    @abstractmethod
    def transcript(self, phone: Phone) -> Sequence[Line]:
        """What a phone did since its last reset."""

    @abstractmethod
    def is_secure(self, phone: Phone) -> bool:
        """Whether a phone is encrypted."""

    @abstractmethod
    def about(self, phone: Phone) -> str:
        """How a phone is, for somebody who expected it otherwise."""

    async def foresee(self) -> None:
        """What can be said before the control group is touched."""

    def judge_stranded(self, group: Sequence[Phone]) -> None:
        """What else shows why the control group strands."""

    def judge_moved(self) -> None:
        """What else shows why phones could move."""
