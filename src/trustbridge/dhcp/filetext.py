"""What the syntaxes of DHCP servers' files have in common: where a scope says option 150, and edits of a text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trustbridge.dhcp.scope import Scope


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Replacement:
    """`text[start:end]` becomes `new`; `what` says which piece that is."""

    start: int
    end: int
    new: str
    what: str


@dataclass(frozen=True, slots=True)
class Place:
    """A scope in a file.

    Attributes:
        scope: what it says.
        own: its statements for option 150, in the file's order.
    """

    scope: Scope
    own: tuple[Span, ...]


class FileText(Protocol):
    """A file's text, parsed."""

    @property
    def text(self) -> str:
        """All of it."""

    @property
    def places(self) -> tuple[Place, ...]:
        """Its scopes; each has a name of its own."""

    def replacements(self, place: Place, servers: Sequence[str]) -> tuple[Replacement, ...]:
        """What has to change for a scope to say this; in the file's order.

        Raises:
            Refused: it can't be said there.
        """

    def definitions(self) -> tuple[Span, ...]:
        """Statements that define option 150, and that nothing in the file needs."""


def replaced(text: str, replacements: Iterable[Replacement]) -> str:
    """The text with these done; they do not overlap."""
    parts, at = [], 0
    for one in replacements:
        parts += [text[at : one.start], one.new]
        at = one.end
    return "".join((*parts, text[at:]))


def around(text: str, span: Span, whole: str) -> Span | None:
    """Where an insertion stands whose statement is at `span`: with the white space that came with it, or nowhere."""
    core = whole.strip()
    start = span.start - whole.index(core)
    end = start + len(whole)
    return Span(start, end) if start >= 0 and text[start:end] == whole and len(core) == span.end - span.start else None


def line_of(text: str, offset: int) -> int:
    """A line's number, from 1."""
    return text.count("\n", 0, offset) + 1


def newline_of(text: str) -> str:
    """How lines end in it."""
    return "\r\n" if "\r\n" in text else "\n"
