"""A prediction at the terminal: how many phones end how, and why; then those that do not move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape

from trustbridge import __version__
from trustbridge.cli import screen
from trustbridge.migration import spreadsheet
from trustbridge.migration.findings import KINDS
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predict import Forecasts
from trustbridge.migration.predictcollect import Collected
from trustbridge.migration.predictvalues import Forecast, Prediction

if TYPE_CHECKING:
    from rich.console import Console

#: Phones that are named at the terminal; all are in JSON and CSV.
SHOWN: Final = 20
_MARKS: Final = {
    Forecast.MOVES: "[green]✓[/]",
    Forecast.FIRST_TRUST: "[green]✓[/]",
    Forecast.STRANDS: "[red]✗[/]",
    Forecast.UNKNOWN: "[yellow]?[/]",
}
_COLUMNS: Final = ("phone", "model", "device pool", "forecast", "finding", "refusal", "why", "not observed")


def as_json(source: str, destination: str, forecasts: Forecasts, seen: Collected) -> dict[str, Any]:
    """For programs: counts, and every phone."""
    return {
        "trustbridge": __version__,
        "at": seen.world.now.isoformat(),
        "source": source,
        "destination": destination,
        "servers": [server.address for server in seen.world.servers],
        "all_move": forecasts.all_move,
        "counts": {str(forecast): count for forecast, count in forecasts.counts.items()},
        "phones": [
            {
                "name": name,
                "model": facts.model,
                "forecast": str(prediction.forecast),
                "finding": prediction.finding or None,
                "refusal": None if prediction.refusal is None else str(prediction.refusal),
                "why": prediction.why(name),
                "missing": list(prediction.missing),
                "not_observed": list(facts.missing),
            }
            for facts, (name, prediction) in zip(seen.facts, forecasts, strict=True)
        ],
        "not_seen": [
            {"where": gap.where, "what": gap.what, "why": gap.why, "essential": gap.essential} for gap in seen.gaps
        ],
    }


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
    """A row for each forecast and what is behind it: a class's words may differ by no more than an address."""
    counted: Counter[tuple[Forecast, str, str]] = Counter()
    for prediction, count in forecasts.by_prediction().items():
        counted[prediction.forecast, prediction.finding, _behind(prediction)] += count
    order = list(Forecast)
    for (forecast, finding, words), count in sorted(
        counted.items(), key=lambda item: (order.index(item[0][0]), -item[1], item[0])
    ):
        yield str(count), f"{_MARKS[forecast]} {forecast}", finding, escape(words)


def _behind(prediction: Prediction) -> str:
    if prediction.forecast is Forecast.UNKNOWN:
        return prediction.missing[0] if prediction.missing else ""
    title = KINDS[prediction.finding].title if prediction.finding in KINDS else ""
    if prediction.refusal is None:
        return title
    return f"{prediction.refusal}{f': {title}' if title else ''}"


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


def sentence(forecasts: Forecasts) -> str:
    """The whole, for a person who reads one sentence."""
    counts, total = forecasts.counts, len(forecasts)
    if not total:
        return "There are no phones to move."
    moving = counts[Forecast.MOVES] + counts[Forecast.FIRST_TRUST]
    first = f", {counts[Forecast.FIRST_TRUST]} of them by first trust" if counts[Forecast.FIRST_TRUST] else ""
    if moving == total:
        return f"All {total} phones move{first}."
    parts = [f"{moving} of {total} phones move{first}"]
    if counts[Forecast.STRANDS]:
        parts.append(f"{counts[Forecast.STRANDS]} strand")
    if counts[Forecast.UNKNOWN]:
        parts.append(f"of {counts[Forecast.UNKNOWN]} it is not known")
    return "; ".join(parts) + "."
