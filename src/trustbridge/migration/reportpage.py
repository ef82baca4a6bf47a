"""A report as one HTML page to attach to a change ticket: nothing to load, nothing to run, all escaped.

A page of 60,000 lines is of use to nobody: beyond `INLINE` phones, it names those that failed, were skipped or ended
otherwise than predicted, and says that the CSV has all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from markupsafe import Markup

from trustbridge.errors import SettingsError
from trustbridge.migration import charts
from trustbridge.migration.campaignwindows import Window
from trustbridge.migration.findings import KINDS
from trustbridge.migration.pages import page
from trustbridge.migration.reportvalues import CurvePoint, Group, Outcome, Paces, Report, ReportWave
from trustbridge.migration.reportwords import span
from trustbridge.storage.models import Direction

#: Phones that are all listed one by one; of more, only those that somebody has to look at, and of these so many a list.
INLINE: Final = 2000
#: Rows of the table that says what the chart over time shows.
_ROWS: Final = 24
#: Names of classes of the page: see its style.
KIND: Final = {
    Group.MOVED: "moved",
    Group.UNPROVEN: "unproven",
    Group.ROLLED_BACK: "back",
    Group.UNDER_WAY: "underway",
    Group.FAILED: "failed",
    Group.SKIPPED: "skipped",
    Group.HELD: "held",
}
#: What says the same without colour.
MARK: Final = {
    Group.MOVED: "✓",
    Group.UNPROVEN: "?",
    Group.ROLLED_BACK: "↩",
    Group.UNDER_WAY: "…",
    Group.FAILED: "✗",
    Group.SKIPPED: "–",
    Group.HELD: "·",
}
#: Limits of a campaign, as `migrate plan` calls them.
_LIMITS: Final = {
    "resets_a_minute": "resets a minute",
    "under_way": "phones under way",
    "tvs": "phones that ask one TVS",
    "failures": "share of a wave that may fail",
}


def as_html(report: Report) -> str:
    """The page."""
    curve = _since_begun(report)
    return page(
        "report.html",
        report=report,
        campaign=report.campaign,
        state={True: "yes", False: "no", None: "unknown"}[report.good],
        kinds=KIND,
        marks=MARK,
        groups=list(Group),
        outcomes=list(Outcome),
        findings={one: KINDS[one] for one in report.findings},
        limits={_LIMITS.get(name, name): value for name, value in report.campaign.settings.get("limits", {}).items()},
        inline=INLINE,
        curve=_thinned(curve),
        drawn=[group for place, group in enumerate(Group) if any(point.counts[place] for point in curve)],
        shares=_drawn(_shares(report)),
        over_time=_drawn(_over_time(report, curve)),
        paces=[(paces, _ways(report, paces), _drawn(_histogram(report, paces))) for paces in report.paces],
        timeline=_drawn(_timeline(report)),
    )


def _drawn(picture: str) -> Markup:
    return Markup(picture)  # noqa: S704  `charts` escapes what it is given


def _since_begun(report: Report) -> tuple[CurvePoint, ...]:
    """The curve from when the campaign was begun: the weeks since it was planned show nothing."""
    if report.begun is None:
        return report.curve
    before = [point for point in report.curve if point.at <= report.begun]
    after = report.curve[len(before) :]
    return (CurvePoint(report.begun, before[-1].counts), *after) if before else after


def _thinned(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Some of the points, the first and the last among them."""
    if len(points) <= _ROWS:
        return list(points)
    return [points[place * (len(points) - 1) // (_ROWS - 1)] for place in range(_ROWS)]


def _shares(report: Report) -> str:
    parts = [(str(group), KIND[group], count) for group, count in report.groups.items()]
    told = ", ".join(f"{count} {label}" for label, _, count in parts)
    return charts.shares("shares", "Phones by state", told, parts)


def _over_time(report: Report, curve: Sequence[CurvePoint]) -> str:
    layers = [
        charts.Layer(str(group), KIND[group], [point.counts[place] for point in curve])
        for place, group in enumerate(Group)
    ]
    told = (
        f"{len(report.phones)} phones by state, stacked, in UTC. At the end: "
        + ", ".join(f"{count} {group}" for group, count in report.groups.items())
        + ". The table below says the same."
    )
    return charts.stacked("over-time", "Phones by state over time", told, [point.at for point in curve], layers)


def _ways(report: Report, paces: Paces) -> tuple[str, str]:
    """From where to where."""
    ends = report.campaign.source, report.campaign.destination
    return ends if paces.direction is Direction.FORTH else (ends[1], ends[0])


def _histogram(report: Report, paces: Paces) -> str:
    pace = paces.register
    if pace is None:
        return ""
    told = (
        f"{pace.count} phones; half of them took {span(pace.median)} or less, 90 % {span(pace.ninetieth)} or less, the "
        f"slowest {span(pace.longest)}."
    )
    marks = [(f"median {span(pace.median)}", pace.median), (f"90 %: {span(pace.ninetieth)}", pace.ninetieth)]
    title = f"From reset requested to registered at {_ways(report, paces)[1]}"
    return charts.histogram(f"took-{paces.direction}", title, told, paces.seconds, marks, report.look or 0.0)


def _timeline(report: Report) -> str:
    begun = [wave for wave in report.waves if wave.record.opened_at is not None]
    moments = [at for wave in begun for at in (wave.record.opened_at, _end(report, wave)) if at is not None]
    if not moments:
        return ""
    windows: dict[str, tuple[tuple[datetime, datetime], ...]] = {}
    rows = []
    for wave in begun:
        record = wave.record
        for text in record.windows:
            if text not in windows:
                windows[text] = _spans(text, min(moments), max(moments))
        assert record.opened_at is not None
        others = (("failed", wave.groups.get(Group.FAILED, 0)), ("back", wave.groups.get(Group.ROLLED_BACK, 0)))
        done = wave.groups.get(Group.MOVED, 0) + wave.groups.get(Group.UNPROVEN, 0)
        rows.append(
            charts.Row(
                record.name,
                f"{done} of {record.size}" + "".join(f", {count} {words}" for words, count in others if count),
                (record.opened_at, _end(report, wave)),
                tuple(found for text in record.windows for found in windows[text]),
                tuple(entry.at for entry in wave.halts),
                open=record.closed_at is None,
            )
        )
    told = f"{len(begun)} of {len(report.waves)} waves have begun. The table below says when each began and ended."
    # Phones that go back later are no wave's affair.
    inside = [point.at for point in report.curve if min(moments) <= point.at <= max(moments)]
    return charts.timeline("waves-chart", "Waves over time", told, rows, inside)


def _end(report: Report, wave: ReportWave) -> datetime:
    """When it ended; of one that has not, when something happened last."""
    if wave.record.closed_at is not None:
        return wave.record.closed_at
    last = report.curve[-1].at if report.curve else report.at
    begun = wave.record.opened_at
    return last if begun is None else max(begun, last)


def _spans(text: str, begin: datetime, end: datetime) -> tuple[tuple[datetime, datetime], ...]:
    try:
        return tuple(Window.parse(text).spans(begin, end))
    except SettingsError:  # of another version, or a zone that this machine does not know: the text is in the table
        return ()
