"""A report at the terminal: counts, how long it took, what failed and why, what was changed, how it is undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from trustbridge.cli import screen
from trustbridge.migration.reportvalues import Cause, Group, Report
from trustbridge.migration.reportwords import span
from trustbridge.storage.models import Direction

if TYPE_CHECKING:
    from rich.console import Console

#: Waves, phones of a cause, and reasons that are named; the other outputs have all.
SHOWN: Final = 20
_NAMES: Final = 3


def show(console: Console, report: Report) -> None:
    """All of it, in short."""
    campaign = report.campaign
    console.print(screen.table(f"Campaign {escape(campaign.name)}", ("", ""), _facts(report)))
    groups = [group for group in Group if group in report.groups]
    rows = [
        (
            escape(wave.record.name),
            _when(wave.record.opened_at),
            _when(wave.record.closed_at),
            *(str(wave.groups.get(group, "")) for group in groups),
        )
        for wave in report.waves[:SHOWN]
    ]
    more = len(report.waves) - SHOWN
    console.print(
        screen.table(
            "Waves",
            ("wave", "begun (UTC)", "ended", *map(str, groups)),
            rows,
            caption=f"and {more} more; --html, --csv and --json have all" if more > 0 else "",
        )
    )
    if report.paces:
        console.print(
            screen.table(
                "How long phones took, from reset requested",
                ("", "phones", "median", "90 % within", "longest", "that was"),
                _paces(report),
            )
        )
    _show_causes(console, "What failed, and why", report.failures)
    _show_causes(console, "What was skipped, and why", report.skips)
    if report.surprises:
        rows = [(phone.record.name, escape(phone.surprise)) for phone in report.surprises[:SHOWN]]
        more = len(report.surprises) - SHOWN
        console.print(
            screen.table(
                "Otherwise than predicted",
                ("phone", "what differs"),
                rows,
                caption=f"and {more} more" if more > 0 else "",
            )
        )
    console.print(screen.table("What was changed", ("where", "what"), _changes(report)))
    if report.undo:
        # Waves are in the page, one by one.
        shown = [one for one in report.undo if not any("--wave" in command for command in one.commands)]
        rows = [(escape(one.what), escape("\n".join(one.commands) or one.note)) for one in shown]
        console.print(screen.table("How to undo it", ("what", "how"), rows))
    colour = {True: "green", False: "red", None: "yellow"}[report.good]
    console.print(f"[bold {colour}]{escape(report.sentence)}[/]", soft_wrap=True)


def _when(at: object) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    campaign = report.campaign
    known = {cluster.name: cluster for cluster in report.clusters}
    for what, name in (("from", campaign.source), ("to", campaign.destination)):
        seen = known.get(name)
        more = f", release {seen.release}, {len(seen.nodes)} nodes" if seen is not None and seen.release else ""
        yield what, escape(f"{name}{more}")
    yield "planned (UTC)", _when(campaign.created_at)
    yield "begun", _when(report.begun) or "not yet"
    yield "ended", _when(report.ended) or f"not yet: {campaign.state}"


def _paces(report: Report) -> Iterator[tuple[str, ...]]:
    campaign = report.campaign
    for paces in report.paces:
        target = campaign.destination if paces.direction is Direction.FORTH else campaign.source
        named = [(f"registered at {target}", paces.register), (f"its end at {target}", paces.whole)]
        named += [(f"  {model}", pace) for model, pace in paces.by_model] if len(paces.by_model) > 1 else []
        for words, pace in named:
            if pace is not None:
                spans = (span(pace.median), span(pace.ninetieth), span(pace.longest))
                yield escape(words), str(pace.count), *spans, pace.slowest


def _show_causes(console: Console, title: str, causes: tuple[Cause, ...]) -> None:
    if not causes:
        return
    rows = []
    for cause in causes[:SHOWN]:
        names = [phone.record.name for phone in cause.phones[:_NAMES]]
        if len(cause.phones) > _NAMES:
            names.append("…")
        rows.append(
            (
                str(len(cause.phones)),
                escape(cause.reason),
                escape(", ".join(names)),
                escape(cause.advice.replace("`", "")),
            )
        )
    more = len(causes) - SHOWN
    caption = f"and {more} more reasons" if more > 0 else ""
    console.print(screen.table(title, ("phones", "reason", "which", "to do"), rows, caption=caption))


def _changes(report: Report) -> Iterator[tuple[str, str]]:
    for entry in report.option150 or report.said:
        yield "option 150", escape(f"{entry.at:%Y-%m-%d %H:%M} {entry.after}: {entry.reason}")
    for one in report.resets:
        parts = [f"{one.requested} resets requested", f"{one.sent} sent"]
        parts += [
            f"{count} {words}"
            for count, words in (
                (one.unsent, "not sent after all"),
                (one.refused, "refused"),
                (one.doubtful, "in doubt"),
            )
            if count
        ]
        yield escape(one.cluster), ", ".join(parts)
    if report.devices:
        yield escape(report.campaign.destination), f"{len(report.devices)} devices created"
