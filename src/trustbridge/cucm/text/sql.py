"""`run sql select ...`: columns under a rule of equals signs.

paramname           paramvalue
=================== ==========
ClusterSecurityMode 0
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from trustbridge.cucm.text.lines import Line, lines
from trustbridge.errors import Garbled

_RULE: Final = re.compile(r"=+(?: +=+)*")
_COLUMN: Final = re.compile(r"=+")
_NO_ROWS: Final = re.compile(r"\s*(?:no (?:records?|rows?)\b.*|rows?\s*:\s*0)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Table:
    """A result: names of columns, and rows of as many texts each. An SQL NULL is the text `NULL`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = ()

    def records(self) -> list[dict[str, str]]:
        """Each row as a dictionary by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def parse_table(text: str) -> Table:
    """Read the answer to `run sql select ...`; no rows give an empty table.

    Raises:
        Garbled: there is no rule of equals signs under a line of names (the answer is then an error of the database,
            whose words are in the message), or a row does not stand in the columns.
    """
    said = lines(text)
    at = next((index for index, line in enumerate(said) if _RULE.fullmatch(line.text)), None)
    if at is None and len(said) == 1 and _NO_ROWS.fullmatch(said[0].text):
        return Table(())
    if not at:
        words = " ".join(line.text.strip() for line in said)[:200]
        raise Garbled(f"the answer is no table: {words!r}" if words else "the answer is empty, expected a table")
    spans = [(column.start(), column.end()) for column in _COLUMN.finditer(said[at].text)]
    names = _cells(said[at - 1], spans)
    if not all(names):
        raise said[at - 1].unclear("no line of column names")
    return Table(names, tuple(_cells(line, spans) for line in said[at + 1 :] if not _NO_ROWS.fullmatch(line.text)))


def _cells(line: Line, spans: list[tuple[int, int]]) -> tuple[str, ...]:
    """The texts of a line by columns; the last column may run over."""
    starts = [start for start, _ in spans]
    for start in starts[1:]:
        if line.text[start - 1 : start].strip():
            raise line.unclear("no row of the table")
    bounds = [*starts[1:], None]
    return tuple(line.text[start:end].strip() for start, end in zip(starts, bounds, strict=True))
