"""A diagnosis at the terminal: standing, findings, how the phone's procedure goes, what was seen, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape

from trustbridge import __version__
from trustbridge.cli.findingview import show_findings
from trustbridge.migration.diagnose import Course, Diagnosis, Standing
from trustbridge.migration.predictrun import Walk
from trustbridge.migration.predictvalues import ANY_PHONE

if TYPE_CHECKING:
    from rich.console import Console

_MARKS: Final = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]·[/]"}
#: Possibilities that are shown; --json has all.
_WALKS: Final = 2


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """For programs: the diagnosis, and which version made it."""
    return {"trustbridge": __version__, **diagnosis.as_json()}


def show(console: Console, diagnosis: Diagnosis) -> None:
    """All of it; what to do stands last, where one reads it."""
    phone = diagnosis.phone
    _show_evidence(console, diagnosis)
    for course in diagnosis.courses:
        _show_procedure(console, phone, course)
    for course in diagnosis.courses:
        if course.findings:
            console.print(f"[bold]Findings{escape(_of(diagnosis, course))}[/]\n", soft_wrap=True)
            show_findings(console, course.findings)
    _show_not_seen(console, diagnosis)
    for course in diagnosis.courses:
        _show_standing(console, diagnosis, course)


def _of(diagnosis: Diagnosis, course: Course) -> str:
    """Which move, where there are several."""
    if len(diagnosis.courses) == 1:
        return ""
    return f", as for a move from {course.source} to {course.destination}"


def _show_evidence(console: Console, diagnosis: Diagnosis) -> None:
    console.print(f"[bold]What was seen of {escape(diagnosis.phone)}[/]")
    where = ""
    for one in diagnosis.evidence:
        if one.where != where:
            where = one.where
            console.print(f"  {escape(where)}", soft_wrap=True)
        means = f" [dim]({escape(one.means)})[/]" if one.means else ""
        console.print(f"    {_MARKS[one.ok]} {escape(one.what)}{means}", soft_wrap=True)
    console.print()


def _show_procedure(console: Console, phone: str, course: Course) -> None:
    if not course.destination:
        return
    console.print(
        f"[bold]What it does when option 150 names {escape(course.destination)} and it is reset[/]", soft_wrap=True
    )
    if not course.walks:
        console.print("  [yellow]?[/] too little was seen to run its procedure\n")
        return
    for number, walk in enumerate(course.walks[:_WALKS], start=1):
        if len(course.walks) > 1:
            console.print(f"  [dim]possibility {number} of {len(course.walks)}, as far as what was seen goes[/]")
        _show_walk(console, phone, walk)
    console.print()


def _show_walk(console: Console, phone: str, walk: Walk) -> None:
    for line in walk.lines:
        console.print(f"  {_MARKS[line.ok]} {escape(line.text.replace(ANY_PHONE, phone))}", soft_wrap=True)
    if walk.end is None:
        console.print(f"  [yellow]?[/] not known: {escape(walk.lack)}", soft_wrap=True)
    else:
        colour = "green" if walk.end.moves else "red"
        console.print(f"  [{colour}]= {escape(str(walk.end.forecast))}[/]", soft_wrap=True)


def _show_not_seen(console: Console, diagnosis: Diagnosis) -> None:
    for one in diagnosis.not_seen:
        mark = "[yellow]?[/]" if one.decides else "[dim]·[/]"
        console.print(f"{mark} not seen: {escape(one.where)}: {escape(one.what)}: {escape(one.why)}", soft_wrap=True)
        if one.opening:
            console.print(f"    to see it: {escape(one.opening)}", soft_wrap=True)
    if diagnosis.not_seen:
        console.print()


def _show_standing(console: Console, diagnosis: Diagnosis, course: Course) -> None:
    lost = course.standing in (Standing.STRANDED, Standing.WOULD_STRAND, Standing.REJECTED, Standing.NOT_TRUSTING)
    colour = "green" if course.well else "red" if lost else "yellow"
    way = f" ({course.source} to {course.destination})" if course.destination else ""
    console.print(
        f"[bold {colour}]{escape(diagnosis.phone)}{escape(way)}: {escape(str(course.standing))}[/]", soft_wrap=True
    )
    console.print(f"  because {escape(course.because)}", soft_wrap=True)
    if not course.steps:
        console.print("  to do: nothing", soft_wrap=True)
    for number, step in enumerate(course.steps, start=1):
        console.print(f"  {number}. {escape(step)}", soft_wrap=True)
