"""Findings, for people: what was seen, what it leads to, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape

from trustbridge.migration.findings import Finding, Severity

_COLOURS: Final = {Severity.STOP: "red", Severity.WARN: "yellow", Severity.NOTE: "cyan"}
#: Of one kind; more are counted.
_MOST: Final = 5


def show_findings(console: Console, findings: Sequence[Finding], accepted: Collection[str] = ()) -> None:
    """Each finding, some of a kind.

    Args:
        accepted: ids that somebody goes on with.
    """
    shown: Counter[str] = Counter()
    for one in findings:
        shown[one.id] += 1
        if shown[one.id] > _MOST:
            continue
        going_on = one.severity is Severity.STOP and one.id in accepted
        colour, word = ("dim", f"{one.severity}, accepted") if going_on else (_COLOURS[one.severity], str(one.severity))
        console.print(f"[bold {colour}]{one.id} {word}[/] {escape(one.subject)}: {escape(one.title)}")
        console.print(f"  seen      {escape(one.evidence)}", soft_wrap=True)
        console.print(f"  leads to  {escape(one.consequence)}", soft_wrap=True)
        console.print(f"  to do     {escape(one.remedy)}\n", soft_wrap=True)
    for kind, count in shown.items():
        if count > _MOST:
            console.print(f"{kind}: and {count - _MOST} more of this kind; --json has them all.\n")
