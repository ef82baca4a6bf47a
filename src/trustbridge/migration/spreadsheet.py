"""CSV for spreadsheets: what clusters and phones are called must not become a formula there."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

#: With these a cell begins a formula, or hides that it does.
_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_csv(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Lines of cells with a heading, as RFC 4180 has it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return out.getvalue()


def harmless(cell: str) -> str:
    """A cell that is text wherever it is opened; only those that would begin a formula are changed."""
    return f"'{cell}" if cell.startswith(_BEGINS) else cell
