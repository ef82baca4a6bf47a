"""A prediction at the terminal: how many phones end how, and why; then those that do not move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from trustbridge.cli import screen
from trustbridge.migration import spreadsheet
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predict import Forecasts
from trustbridge.migration.predictcollect import Collected
from trustbridge.migration.predictvalues import Forecast
from trustbridge.migration.predictviews import as_json, counted, sentence

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["as_csv", "as_json", "sentence", "show"]

#: Phones that are named at the terminal; all are in JSON and CSV.
SHOWN: Final = 20
_MARKS: Final = {
    Forecast.MOVES: "[green]✓[/]",
    Forecast.FIRST_TRUST: "[green]✓[/]",
    Forecast.STRANDS: "[red]✗[/]",
    Forecast.UNKNOWN: "[yellow]?[/]",
}
_COLUMNS: Final = ("phone", "model", "device pool", "forecast", "finding", "refusal", "why", "not observed")


def as_csv(forecasts: Forecasts, facts: Sequence[PhoneFacts]) -> str:
    """A line a phone, with a heading."""
    return spreadsheet.as_csv(
        _COLUMNS,
        (
            (
                name,
                one.model,
                one.device_pool,
                str(prediction.forecast),
                prediction.finding,
                "" if prediction.refusal is None else str(prediction.refusal),
                prediction.why(name),
                "; ".join(one.missing),
            )
            for one, (name, prediction) in zip(facts, forecasts, strict=True)
        ),
    )


def show(console: Console, source: str, destination: str, forecasts: Forecasts, seen: Collected) -> None:
    """All of it."""
    title = f"Phones of {escape(source)}, when option 150 names {escape(_servers(seen))} of {escape(destination)}"
    console.print(screen.table(title, ("phones", "", "finding", "why"), _counted(forecasts)))
    _show_phones(console, forecasts)
    for gap in seen.gaps:
        console.print(f"[dim]·[/] not seen: {escape(gap.where)}: {escape(gap.what)}: {escape(gap.why)}", soft_wrap=True)
    if seen.gaps:
        console.print()
    colour = "green" if forecasts.all_move else "red" if forecasts.counts[Forecast.STRANDS] else "yellow"
    console.print(f"[bold {colour}]{escape(sentence(forecasts))}[/]", soft_wrap=True)


def _servers(seen: Collected) -> str:
    return ", ".join(server.address for server in seen.world.servers) or "no server"


def _counted(forecasts: Forecasts) -> Iterator[tuple[str, str, str, str]]:
    """A row for each forecast and what is behind it."""
    for count, forecast, finding, words in counted(forecasts):
        yield str(count), f"{_MARKS[forecast]} {forecast}", finding, escape(words)


def _show_phones(console: Console, forecasts: Forecasts) -> None:
    """Those that do not move, the certain ones first."""
    for forecast, heading in ((Forecast.STRANDS, "Phones that strand"), (Forecast.UNKNOWN, "Phones that are unknown")):
        total = forecasts.counts[forecast]
        if not total:
            continue
        rows = []
        for name, prediction in forecasts:
            if prediction.forecast is forecast:
                rows.append((name, prediction.finding, escape(prediction.why(name))))
                if len(rows) == SHOWN:
                    break
        more = f"and {total - SHOWN} more; --json and --csv have them all" if total > SHOWN else ""
        console.print(screen.table(heading, ("phone", "finding", "why"), rows, caption=more))
