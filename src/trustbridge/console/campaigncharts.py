"""The charts of a campaign's page: the report's, in the reader's language and zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Final
from zoneinfo import ZoneInfo

from babel import Locale
from markupsafe import Markup

from trustbridge.console import words
from trustbridge.console.campaignlook import CampaignSeen
from trustbridge.console.words import _
from trustbridge.errors import SettingsError
from trustbridge.migration import charts
from trustbridge.migration.campaignwindows import Window
from trustbridge.migration.reportpage import KIND
from trustbridge.migration.reportvalues import GROUPS, Group
from trustbridge.storage.campaignrecords import WaveRecord

#: Waves that have not begun and that the timeline names, too; and waves at the most.
_NEXT: Final = 3
_ROWS: Final = 30
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY: Final = re.compile(rf">({'|'.join(_DAYS)}) (\d{{1,2}}) ({'|'.join(_MONTHS)})<")
_LATER: Final = re.compile(r">([^<>]+) later<")


def _plain(text: Markup) -> str:
    """`charts` escapes itself."""
    return text.unescape()


def _local(at: datetime) -> datetime:
    """Charts write the time of UTC: what the clock of the reader shows, as if it were that."""
    return at.astimezone(ZoneInfo(words.reader().zone)).replace(tzinfo=UTC)


def over_time(seen: CampaignSeen) -> Markup:
    """Phones by state over time; "" where there is nothing to draw yet."""
    if not seen.curve:
        return Markup("")
    points = list(seen.curve)
    points.append(points[-1])
    layers = [
        charts.Layer(_plain(_(group)), KIND[group], [point.counts[place] for point in points])
        for place, group in enumerate(Group)
    ]
    now = ", ".join(f"{words.number(count)} {_plain(_(group))}" for group, count in seen.groups.items())
    told = _plain(_("Phones by state, stacked. Now: %(counts)s.", counts=now))
    moments = [_local(point.at) for point in points[:-1]]
    # What it came to last is seen, too: it lasts.
    moments.append(moments[-1] + max(timedelta(seconds=1), (moments[-1] - moments[0]) / 40))
    return _drawn(charts.stacked("over-time", _plain(_("Phones by state over time")), told, moments, layers))


def drawn(seen: CampaignSeen) -> set[Group]:
    """Groups that the chart over time shows somewhere."""
    return {group for place, group in enumerate(Group) if any(point.counts[place] for point in seen.curve or ())}


def timeline(seen: CampaignSeen) -> Markup:
    """Waves over time; "" where none has begun."""
    begun = [wave for wave in seen.waves if wave.opened_at is not None]
    if not begun:
        return Markup("")
    last = max([point.at for point in seen.curve or ()] + [wave.closed_at or wave.opened_at for wave in begun])  # type: ignore[type-var]  # all of them were opened
    assert last is not None
    shown = begun[-_ROWS:] + [wave for wave in seen.waves if wave.opened_at is None][:_NEXT]
    first = next(wave.opened_at for wave in shown if wave.opened_at is not None)
    rows = [
        charts.Row(
            wave.name,
            _note(wave),
            None if wave.opened_at is None else (_local(wave.opened_at), _local(wave.closed_at or max(last, first))),
            tuple((_local(a), _local(b)) for text in wave.windows for a, b in _spans(text, first, last)),
            open=wave.closed_at is None,
        )
        for wave in shown
    ]
    told = _plain(
        _("%(begun)s of %(all)s waves have begun. The table says the same.", begun=len(begun), all=len(seen.waves))
    )
    return _drawn(charts.timeline("waves-chart", _plain(_("Waves over time")), told, rows))


def _note(wave: WaveRecord) -> str:
    if wave.opened_at is None:
        return _plain(_("not begun"))
    done = sum(count for state, count in wave.states.items() if GROUPS.get(state) in (Group.MOVED, Group.UNPROVEN))
    failed = sum(count for state, count in wave.states.items() if GROUPS.get(state) is Group.FAILED)
    of = _plain(_("%(done)s of %(all)s", done=done, all=wave.size))
    return f"{of}, {failed} ✕" if failed else of  # there is room for no more


def _spans(text: str, begin: datetime, end: datetime) -> tuple[tuple[datetime, datetime], ...]:
    try:
        return tuple(Window.parse(text).spans(begin, end))
    except SettingsError:  # of another version, or a zone that this machine does not know: the text is in the table
        return ()


def _drawn(picture: str) -> Markup:
    """In the reader's language also where `charts` itself has words: days of its axis, and spans that are cut out."""
    picture = _DAY.sub(_day, picture)
    picture = _LATER.sub(lambda found: f">{escape(_plain(_('%(span)s later', span=found[1])))}<", picture)
    return Markup(picture)  # noqa: S704  `charts` escapes what it is given


def _day(found: re.Match[str]) -> str:
    locale = Locale.parse(words.reader().language)
    weekdays, months = locale.days["format"]["abbreviated"], locale.months["format"]["abbreviated"]
    weekday, month = weekdays[_DAYS.index(found[1])], months[_MONTHS.index(found[3]) + 1]
    return f">{escape(weekday)} {found[2]} {escape(month)}<"
