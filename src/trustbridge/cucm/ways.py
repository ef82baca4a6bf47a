"""Several ways to one answer: which is tried first, what a failure means for the next one, and which way it went.

A node that can't be reached, is too busy, makes no sense or does not offer what is asked is asked another way. A
password that is refused and an identity that has changed end everything: another way would only hide them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from trustbridge.cucm.access import Access
from trustbridge.cucm.model import Interface
from trustbridge.errors import Garbled, NotSupported, Refused, Throttled, TrustbridgeError, Unreachable

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ANOTHER_WAY: Final = (Unreachable, Garbled, Throttled, NotSupported)


@dataclass(frozen=True, slots=True)
class Way(Generic[T]):
    """A way to an answer."""

    interface: Interface
    ask: Callable[[], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Detour:
    """A way that was tried and led nowhere: `why` in words."""

    question: str
    interface: Interface
    why: str

    def __str__(self) -> str:
        return f"{self.question}: not by {self.interface}: {self.why}"


class Ways:
    """The choice, for one cluster.

    Args:
        prefer: the interface to try first wherever it is one of several.

    Attributes:
        taken: which way the answer to each question came, the last time.
        detours: what led nowhere.
    """

    def __init__(self, access: Access, prefer: Interface | None = None) -> None:
        self.taken: dict[str, Interface] = {}
        self.detours: list[Detour] = []
        self._access = access
        self._prefer = prefer
        self._unreachable: set[tuple[Interface, str]] = set()

    def in_order(self, node: str, ways: Sequence[Way[T]]) -> list[Way[T]]:
        """The ways there is a password for: those that could not be reached last, the preferred one first.

        Raises:
            SettingsError: there is a password for none.
        """
        open_ways = [way for way in ways if self._access.has_password(way.interface)]
        if not open_ways:
            raise self._access.missing(ways[0].interface)
        return sorted(
            open_ways,
            key=lambda way: ((way.interface, node) in self._unreachable, way.interface is not self._prefer),
        )

    def silent(self, interface: Interface, node: str) -> bool:
        """Whether a node could not be reached this way when it was last tried."""
        return (interface, node) in self._unreachable

    async def first(self, question: str, node: str, ways: Sequence[Way[T]]) -> T:
        """The answer by the first way that leads to one.

        Args:
            question: in words, for `taken`.
            node: who is asked; a node that could not be reached one way is asked another way first from then on.
            ways: the usual choice first.

        Raises:
            SettingsError: no way has a password.
            TrustbridgeError: what the first way raised, with what became of the others.
        """
        failures: list[TrustbridgeError] = []
        for way in self.in_order(node, ways):
            try:
                found = await self._access.with_realm(way.interface, way.ask)
            except (*_ANOTHER_WAY, Refused) as error:
                if not isinstance(error, _ANOTHER_WAY) and type(error) is not Refused:
                    raise
                if isinstance(error, Unreachable):
                    self._unreachable.add((way.interface, node))
                failures.append(error)
                self.detours.append(Detour(question, way.interface, error.message))
                _log.info("%s: %s: not by %s: %s", self._access.entry.name, question, way.interface, error.message)
                continue
            self._unreachable.discard((way.interface, node))
            self.taken[question] = way.interface
            return found
        raise _all(failures)


def _all(failures: Sequence[TrustbridgeError]) -> TrustbridgeError:
    """One error for several ways: the first that is more than "not offered here", with the others' words behind."""
    told = next((error for error in failures if not isinstance(error, NotSupported)), failures[0])
    others = [error.message for error in failures if error is not told]
    if others:
        told.message = f"{told.message}; and another way: {'; '.join(others)}"
        told.args = (told.message,)
    return told
