"""`set cert bulk export|consolidate|import TYPE`: an answer a line for each type."""

from __future__ import annotations

import re
from typing import Final

from trustbridge.cucm.model import BulkLine
from trustbridge.cucm.text.lines import lines, nothing_said, without_names
from trustbridge.pki.units import BulkType

_SUCCEEDED: Final = re.compile(r"\s*success(?:ful|fully)?\b", re.IGNORECASE)
_FAILED: Final = re.compile(
    r"\b(?:fail(?:ed|ure|s)?|errors?|unsuccessful(?:ly)?|unable|could ?n[o']t|can ?n[o']t|cannot|not|no|invalid"
    r"|refused|denied|missing|timed? ?-?out|exception)\b",
    re.IGNORECASE,
)
_CLOSING: Final = re.compile(r"\s*executed command unsuccessfully\b.*", re.IGNORECASE)


def parse_bulk(text: str) -> tuple[BulkLine, ...]:
    """Read the answer to a bulk command: a line for each type, and whether it speaks of success.

    `Executed command unsuccessfully` counts as a line of its own only if no other line speaks of failure.

    Raises:
        Garbled: a line speaks of neither success nor failure, or nothing is said.
    """
    found: list[BulkLine] = []
    closing: BulkLine | None = None
    for line in lines(text):
        said = line.text.strip()
        failed = _FAILED.search(without_names(said)) is not None
        if _CLOSING.fullmatch(said):
            closing = BulkLine(said, succeeded=False)
        elif _SUCCEEDED.match(said) and not failed:
            found.append(BulkLine(said, succeeded=True))
        elif failed:
            found.append(BulkLine(said, succeeded=False))
        else:
            raise line.unclear("an answer that says neither success nor failure")
    if closing is not None and all(line.succeeded for line in found):
        found.append(closing)
    if not found:
        raise nothing_said("the outcome")
    return tuple(found)


def bulk_type(line: BulkLine) -> BulkType | None:
    """The type a line speaks of; None when it names none, or several."""
    named = [kind for kind in BulkType if re.search(rf"\b{kind}\b", line.text, re.IGNORECASE)]
    return named[0] if len(named) == 1 else None
