"""Texts in the reader's language, times in the reader's zone.

    _("Clusters")                               in code and in templates, at the time when it is shown
    _("%(count)s phones", count=3)              values are put in, and escaped
    ngettext("%(num)s phone", "%(num)s phones", 3)
    plain("%(name)s is taken", name=name)       not escaped: for errors, which are escaped where they are shown
    N_("registered at destination")             marks a text that is translated later: `_(state)`

English is what stands in the code; the others are in `locale/<language>/*.po`, one file a group of pages, read when
they are first wanted. Texts that the product itself makes (findings, reasons, errors of clusters) stay English.

Whose language and zone it is, is a context variable: set for each request by `guard`, for live pages by `speaking`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from babel import Locale, dates, numbers
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from markupsafe import Markup, escape

FOLDER: Final = Path(__file__).parent / "locale"
#: Languages, each by the name it gives itself.
LANGUAGES: Final = {"en": "English", "fr": "Français"}


@dataclass(frozen=True, slots=True)
class Reader:
    """How somebody reads: the language, and the zone of times by its name."""

    language: str = "en"
    zone: str = "UTC"


_ENGLISH: Final = Reader()
_reader: ContextVar[Reader] = ContextVar("reader", default=_ENGLISH)


def reader() -> Reader:
    """Whoever it is at this moment."""
    return _reader.get()


def read_by(language: str, zone: str) -> None:
    """From now on in this request, in this language and zone; unknown ones leave what was."""
    before = _reader.get()
    _reader.set(
        Reader(language if language in LANGUAGES else before.language, zone if known_zone(zone) else before.zone)
    )


@contextmanager
def speaking(who: Reader) -> Iterator[None]:
    """In somebody's language and zone, as long as the context."""
    token = _reader.set(who)
    try:
        yield
    finally:
        _reader.reset(token)


def preferred(accept: str) -> str:
    """The language that an Accept-Language header likes best of those there are; English where it likes none."""
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept[:500].split(",")):
        tag, _, weight = part.strip().partition(";")
        language = tag.strip().partition("-")[0].casefold()
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and quality > 0:
            wanted.append((-quality, place, language))
    return min(wanted)[2] if wanted else "en"


@lru_cache(maxsize=1)
def zones() -> tuple[str, ...]:
    """Names of all zones, for a list to choose from."""
    return tuple(sorted(name for name in available_timezones() if "/" in name or name == "UTC"))


def known_zone(name: str) -> bool:
    """Whether there is a zone of that name."""
    try:
        return bool(name) and bool(ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


# Texts.


def N_(text: str) -> str:  # noqa: N802 - as everywhere that gettext is
    """A text that is translated where it is shown."""
    return text


def _(text: str, **values: Any) -> Markup:
    """A text in the reader's language; values are escaped unless they are markup themselves."""
    return _put(_translations(reader().language).gettext(text), values)


def ngettext(one: str, many: str, num: int, **values: Any) -> Markup:
    """A text that depends on a number, which is its `%(num)s`."""
    found = _translations(reader().language).ngettext(one, many, num)
    return _put(found, {"num": number(num)} | values)


def plain(text: str, **values: Any) -> str:
    """A text in the reader's language as a plain string, as errors have them: whoever shows it, escapes it."""
    found = _translations(reader().language).gettext(text)
    return found % values if values else found


def _put(text: str, values: dict[str, Any]) -> Markup:
    safe = escape(text)
    return safe % {key: _shown(value) for key, value in values.items()} if values else safe


def _shown(value: Any) -> Any:
    return value if isinstance(value, Markup) else str(value)


@lru_cache(maxsize=len(LANGUAGES))
def catalogue(language: str) -> Catalog:
    """All texts of a language, from its files.

    Raises:
        ValueError: a file is no catalogue, or two files translate one text differently.
    """
    found = Catalog(locale=language)
    for path in sorted((FOLDER / language).glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale=language, abort_invalid=True):
                if not message.id or not message.string:
                    continue
                before = found.get(message.id)
                if before is not None and before.string != message.string:
                    raise ValueError(f"{path}: {message.id!r} is translated differently elsewhere")
                found.add(message.id, message.string)
    return found


@lru_cache(maxsize=len(LANGUAGES))
def _translations(language: str) -> Translations:
    file = io.BytesIO()
    write_mo(file, catalogue(language))
    file.seek(0)
    return Translations(file)


# Times and numbers.


@lru_cache(maxsize=len(LANGUAGES))
def _locale(language: str) -> Locale:
    # English as most of the world writes it: the day before the month, 24 hours.
    return Locale.parse({"en": "en_GB"}.get(language, language))


def moment(at: datetime | None) -> Markup:
    """A point of time, to the second, as a `time` element; nothing for None."""
    if at is None:
        return Markup("")
    who = reader()
    local = at.astimezone(ZoneInfo(who.zone))
    shown = dates.format_datetime(local, "d MMM y HH:mm:ss", locale=_locale(who.language))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.astimezone(UTC).isoformat(timespec="seconds"), f"{shown} {who.zone}", shown
    )


def clock(at: datetime | None) -> Markup:
    """The time of day of a point of time, to the second; the whole of it in its title."""
    if at is None:
        return Markup("")
    local = at.astimezone(ZoneInfo(reader().zone))
    whole = dates.format_datetime(local, "d MMM y HH:mm:ss", locale=_locale(reader().language))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.astimezone(UTC).isoformat(timespec="seconds"), whole, f"{local:%H:%M:%S}"
    )


def day(at: datetime | date | None) -> str:
    """A day; of a point of time, the reader's."""
    if at is None:
        return ""
    if isinstance(at, datetime):
        at = at.astimezone(ZoneInfo(reader().zone)).date()
    return str(dates.format_date(at, "d MMM y", locale=_locale(reader().language)))


def span(seconds: float | timedelta | None) -> str:
    """How long, in words: the largest unit, and the next where it matters."""
    if seconds is None:
        return ""
    left = int(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    parts: list[str] = []
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(max(left, 0), size)
        if count or (unit == "second" and not parts):
            parts.append(_unit(count, unit))
        if len(parts) == 2 or (parts and not count):
            break
    return " ".join(parts)


def _unit(count: int, unit: str) -> str:
    from babel import units

    return str(units.format_unit(count, f"duration-{unit}", length="short", locale=_locale(reader().language)))


def number(value: int | float) -> str:
    """A number, its digits grouped."""
    return str(numbers.format_decimal(value, locale=_locale(reader().language)))


def local_moment(text: str) -> datetime | None:
    """What a field of kind datetime-local holds, in the reader's zone; None for nothing, or what is none."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(reader().zone)) if text else None
    except ValueError:
        return None
