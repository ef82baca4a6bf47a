"""The lines of an answer, as every parser here wants them; and the error they all raise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from trustbridge.cucm.dialogue import clean
from trustbridge.cucm.releases import for_release
from trustbridge.errors import Garbled

#: Longest part of a line that an error repeats.
_SHOWN: Final = 80
#: Replacement characters stand where a byte was no text; control characters have no place in an answer.
_NOT_TEXT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffd]")
#: Hours east of Greenwich of the zones nodes name in dates. Names that mean several zones are left out.
_ZONES: Final = {
    "UTC": 0, "GMT": 0, "WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9,
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "AKST": -9, "HST": -10,
}  # fmt: skip
_NAMES: Final = re.compile(r"\S+[./]\S+")
_DATE: Final = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\w*\s+)?(?P<month>[A-Z][a-z]{2})\w*\s+(?P<day>\d{1,2})\s+"
    r"(?P<time>\d{1,2}:\d{2}:\d{2})\s+(?:(?P<zone>[A-Z]{2,5})\s+)?(?P<year>\d{4})\b"
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an answer: its number, from 1, and its text without white space at the end."""

    number: int
    text: str

    def unclear(self, what: str) -> Garbled:
        """The error that this line is not what it should be."""
        shown = self.text.strip()
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."
        return Garbled(
            f"line {self.number} is {what}: {shown!r}",
            "Try again. If the node writes the same when asked by hand, its release uses a form not known here.",
        )


def lines(text: str) -> tuple[Line, ...]:
    """The lines that say something: echo, prompts, pagination and what means nothing are left out; numbers stay.

    Raises:
        Garbled: a line holds what is no text.
    """
    return tuple(_lines(text))


def _lines(text: str) -> Iterator[Line]:
    texts = for_release(None)
    cleaned = clean(text)
    said_lines = cleaned.split("\n")
    # Listings have thousands of lines: what is nowhere in the text is looked for once, and not in each line.
    stripped = "\n".join(map(str.strip, said_lines))
    pagers = [pager.pattern for pager in texts.pagination if _at_line_ends(pager.pattern).search(cleaned)]
    noise = texts.noise if pagers or texts.noise.search(stripped) else None
    odd = _NOT_TEXT.search(cleaned) is not None
    for number, raw in enumerate(said_lines, 1):
        said = raw
        for pattern in pagers:
            said = pattern.sub("", said)
        said = said.rstrip()
        if not said or texts.leading_prompt.match(said) or (noise is not None and noise.search(said.strip())):
            continue
        if odd and _NOT_TEXT.search(said):
            raise Line(number, _NOT_TEXT.sub("?", said)).unclear("not text")
        yield Line(number, said)


@lru_cache
def _at_line_ends(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """A pattern for the end of a text, for the ends of its lines."""
    return re.compile(pattern.pattern.replace(r"\Z", "$"), pattern.flags | re.MULTILINE)


def without_names(text: str) -> str:
    """A sentence without names of files and hosts, so that `failed.example.com` is no failure."""
    return _NAMES.sub(" ", text)


def nothing_said(what: str) -> Garbled:
    """The error that an answer which can't be empty is."""
    return Garbled(f"{what} is missing: the answer holds nothing of it", "Try again; see what the node says by hand.")


def date(text: str) -> datetime | None:
    """A date such as `Thu Jan 30 00:53:07 UTC 2030`, found anywhere in a text, in UTC.

    None when there is none, or its time zone is not known: a node writes its own zone's name. Without a zone, UTC.
    """
    found = _DATE.search(text)
    if found is None:
        return None
    hours = _ZONES.get(found["zone"] or "UTC")
    if hours is None:
        return None
    try:
        naive = datetime.strptime(
            f"{found['year']} {found['month']} {found['day']} {found['time']}", "%Y %b %d %H:%M:%S"
        )
        return naive.replace(tzinfo=UTC) - timedelta(hours=hours)
    except (ValueError, OverflowError):
        return None
