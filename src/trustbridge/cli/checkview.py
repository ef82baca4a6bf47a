"""A check of a move at the terminal: findings by severity, each of them, what is unknown, one closing sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape

from trustbridge import __version__
from trustbridge.cli import screen
from trustbridge.cli.findingview import show_findings
from trustbridge.migration.check import Checked
from trustbridge.migration.findings import Severity

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS: Final = {Severity.STOP: "red", Severity.WARN: "yellow", Severity.NOTE: "cyan"}


def as_json(checked: Checked) -> dict[str, Any]:
    """For programs: the check, and which version made it."""
    return {"trustbridge": __version__, **checked.as_json()}


def show(console: Console, checked: Checked) -> None:
    """All of it."""
    if checked.findings:
        rows = [
            (
                f"[{_COLOURS[severity]}]{severity}[/]",
                str(len(found)),
                ", ".join(dict.fromkeys(one.id for one in found)) or "-",
            )
            for severity in Severity
            for found in [checked.of(severity)]
        ]
        title = f"Moving phones from {escape(checked.source)} to {escape(checked.destination)}"
        console.print(screen.table(title, ("severity", "findings", "ids"), rows))
    show_findings(console, checked.findings)
    for gap in checked.unknowns:
        mark = "[yellow]?[/]" if gap.essential else "[dim]·[/]"
        console.print(f"{mark} not seen: {escape(gap.where)}: {escape(gap.what)}: {escape(gap.why)}", soft_wrap=True)
    if checked.unknowns:
        console.print()
    colour = "green" if checked.ready else "red" if checked.of(Severity.STOP) else "yellow"
    console.print(f"[bold {colour}]{escape(checked.sentence)}[/]", soft_wrap=True)
