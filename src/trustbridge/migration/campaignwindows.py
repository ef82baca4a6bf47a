"""When a wave may reset phones: on which days, from when to when, by the clocks of which time zone.

    Mon-Fri 20:00-06:00 Europe/Warsaw
    Sat,Sun 00:00-24:00 America/New_York
    2026-11-28 22:00-04:00 UTC

A window that ends before it begins ends on the day after, and belongs to the day on which it begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from trustbridge.errors import SettingsError

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TEXT = re.compile(r"(?:(?P<days>\S+)\s+)?(?P<start>\d{1,2}:\d{2})-(?P<end>\d{1,2}:\d{2})\s+(?P<zone>\S+)")
#: Days that are looked ahead for the next opening: any weekday comes within a week, a date within this.
_AHEAD: Final = 400


@dataclass(frozen=True, slots=True)
class Window:
    """A window.

    Attributes:
        text: as it was written, and is kept.
        days: 0 for Monday; empty when it is for one date.
        minutes: how long it is, by the clock on the wall.
    """

    text: str
    days: frozenset[int]
    on: date | None
    start: time
    minutes: int
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read one.

        Raises:
            SettingsError: it is none; what is wrong is named.
        """
        found = _TEXT.fullmatch(" ".join(text.split()))
        if found is None:
            raise SettingsError(f"{text!r} is no window", "Such as: Mon-Fri 20:00-06:00 Europe/Warsaw")
        try:
            zone = ZoneInfo(found["zone"])
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise SettingsError(f"window {text!r}: nobody knows the time zone {found['zone']}") from None
        start, end = _minutes(text, found["start"]), _minutes(text, found["end"])
        if start == 24 * 60 or start == end:
            raise SettingsError(f"window {text!r}: it has no length")
        days, on = _days(text, found["days"])
        length = end - start if end > start else end + 24 * 60 - start
        return cls(" ".join(text.split()), days, on, time(start // 60, start % 60), length, zone)

    def _on(self, day: date) -> tuple[datetime, datetime] | None:
        """From when to when it is open on the day it begins on, in UTC."""
        if day != self.on and day.weekday() not in self.days:
            return None
        begin = datetime.combine(day, self.start)
        # Reckoned by the clock on the wall: a night in which clocks change is as long as it says.
        end = begin + timedelta(minutes=self.minutes)
        return begin.replace(tzinfo=self.zone).astimezone(UTC), end.replace(tzinfo=self.zone).astimezone(UTC)

    def opens(self, now: datetime) -> datetime | None:
        """When it is open next: `now` when it is; None when never again."""
        today = now.astimezone(self.zone).date()
        for ahead in range(-1, _AHEAD):
            span = self._on(today + timedelta(days=ahead))
            if span is not None and now < span[1]:
                return max(now, span[0])
        return None

    def spans(self, begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """When it is open between two moments, cut to these; the first `_AHEAD` days of it at the most."""
        first = begin.astimezone(self.zone).date() - timedelta(days=1)
        days = min((end.astimezone(self.zone).date() - first).days, _AHEAD)
        found = [span for ahead in range(days + 1) if (span := self._on(first + timedelta(days=ahead))) is not None]
        return [(max(begin, opens), min(end, closes)) for opens, closes in found if closes > begin and opens < end]


def _minutes(text: str, clock: str) -> int:
    hours, minutes = map(int, clock.split(":"))
    if minutes > 59 or hours * 60 + minutes > 24 * 60:
        raise SettingsError(f"window {text!r}: {clock} is no time of day")
    return hours * 60 + minutes


def _days(text: str, days: str | None) -> tuple[frozenset[int], date | None]:
    if days is None:
        return frozenset(range(7)), None
    try:
        return frozenset(), date.fromisoformat(days)
    except ValueError:
        pass
    found: set[int] = set()
    for part in days.split(","):
        first, _, last = part.partition("-")
        ends = [name.capitalize()[:3] for name in (first, last or first)]
        if not set(ends) <= set(_DAYS):
            raise SettingsError(f"window {text!r}: {part} is no day", f"Days are {', '.join(_DAYS)}, or 2026-11-28.")
        begin, end = map(_DAYS.index, ends)
        found |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return frozenset(found), None


def opens(windows: Sequence[str], now: datetime) -> datetime | None:
    """When one of them is open next: `now` when one is, or when there are none; None when none ever is again."""
    if not windows:
        return now
    return min((at for text in windows if (at := Window.parse(text).opens(now)) is not None), default=None)
