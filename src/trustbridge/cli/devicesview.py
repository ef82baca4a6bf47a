"""How phones at two clusters are shown, to people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from trustbridge.cli.screen import table
from trustbridge.cucm.devices import REFERENCES, device_json
from trustbridge.migration.devices import CARRIED, CARRIED_LINES, NOT_CARRIED, Comparison, Standing, counted

if TYPE_CHECKING:
    from rich.console import Console

    from trustbridge.migration.devicesrun import Done

#: Phones that are listed one by one.
_LISTED = 40


def comparison_json(source: str, destination: str, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """All phones, with what stands against each."""
    return {
        "source": source,
        "destination": destination,
        "counts": {str(standing): count for standing, count in counted(comparisons).items()},
        "phones": [
            {
                "name": one.name,
                "standing": str(one.standing),
                "differences": list(one.differences),
                "against": list(one.against),
                "notes": list(one.notes),
                "source": device_json(one.device),
                "wanted": None if one.wanted is None else device_json(one.wanted),
            }
            for one in comparisons
        ],
    }


def done_json(done: Done, **more: Any) -> dict[str, Any]:
    """What came of it."""
    return {"done": done.done, "before": done.before, "refused": done.refused, **more}


def show_comparison(console: Console, source: str, destination: str, comparisons: Sequence[Comparison]) -> None:
    """Phones that are not simply known, one a line; and counts."""
    shown = [one for one in comparisons if one.standing is not Standing.KNOWN]
    shown.sort(key=lambda one: (one.standing is not Standing.BLOCKED, one.standing is not Standing.DIFFERS, one.name))
    if shown:
        rows = [
            (
                one.name,
                one.standing,
                escape(f"{one.device.model}, {one.device.device_pool}"),
                escape("\n".join([*_renamed(one), *(one.differences or one.against or one.notes)])),
            )
            for one in shown[:_LISTED]
        ]
        left = len(shown) - _LISTED
        caption = f"and {left} more: --json has all" if left > 0 else ""
        title = escape(f"Phones of {source} at {destination}")
        console.print(
            table(title, ("phone", "", "at the source", "why, and what is not carried"), rows, caption=caption)
        )
    counts = counted(comparisons)
    console.print(
        f"{len(comparisons)} phones of {source}: {destination} knows {counts[Standing.KNOWN]}, and "
        f"{counts[Standing.DIFFERS]} that differ; {counts[Standing.MISSING]} are missing and can be created, "
        f"{counts[Standing.BLOCKED]} are missing and can't be.",
        markup=False,
    )


def _renamed(one: Comparison) -> list[str]:
    """Names that are others at the destination."""
    if one.wanted is None:
        return []
    pairs = [(kind, getattr(one.device, name), getattr(one.wanted, name)) for name, _, kind in REFERENCES]
    return [f"{kind}: {old} -> {new}" for kind, old, new in pairs if new and old != new]


def show_fields(console: Console, *, lines: bool) -> None:
    """What is carried, and what is not."""
    console.print(f"Carried: {CARRIED}{'; ' + CARRIED_LINES if lines else ''}.", markup=False)
    console.print(f"Not carried: {'' if lines else 'lines, without --lines; '}{NOT_CARRIED}.", markup=False)


def show_done(console: Console, verb: str, before: str, done: Done) -> None:
    """What came of it."""
    if done.refused:
        rows = [(name, escape(why)) for name, why in list(done.refused.items())[:_LISTED]]
        left = len(done.refused) - _LISTED
        caption = f"and {left} more: --json has all" if left > 0 else ""
        console.print(table(f"Not {verb}", ("phone", "why"), rows, caption=caption))
    again = f", {len(done.before)} {before}" if done.before else ""
    console.print(f"{len(done.done)} phones {verb}{again}; {len(done.refused)} not.", markup=False)
