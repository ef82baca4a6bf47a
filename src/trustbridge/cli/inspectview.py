"""Inspections as tables for people and as JSON for programs.

Texts in inspected files come from anywhere: what could steer a terminal is shown as an escape, and nothing of it is
read as markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trustbridge.cli import screen
from trustbridge.trust.inspection import Fact, Inspection, Kind, Problem, Row, Severity, Verdict, WireLine

if TYPE_CHECKING:
    from trustbridge.cli.inspect import Inspected

_VERDICTS = {
    Verdict.GOOD: ("good", "bold green"),
    Verdict.WRONG: ("wrong", "bold red"),
    Verdict.BAD: ("BAD", "bold red"),
}
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def print_json(results: Sequence[Inspected], exit_code: int, *, wire: bool) -> None:
    """One object with every file; only ASCII, so that any pipe takes it."""
    files = [_file_json(result, wire) for result in results]
    print(json.dumps({"files": files, "exit_code": exit_code}, indent=2))


def _file_json(result: Inspected, wire: bool) -> dict[str, Any]:
    if result.inspection is None:
        problem = Problem(Severity.ERROR, result.failure)
        empty: dict[str, Any] = {"facts": {}, "rows": [], "problems": [_problem_json(problem)], "content": None}
        return {"file": result.name, "kind": None, "verdict": "unopened", **empty}
    return {"file": result.name, **_inspection_json(result.inspection, wire)}


def _inspection_json(found: Inspection, wire: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "kind": str(found.kind),
        "verdict": str(found.verdict),
        "facts": {fact.key: fact.value for fact in found.facts},
        "rows": [
            {"number": row.number, "offset": row.offset, **{fact.key: fact.value for fact in row.facts}}
            for row in found.rows
        ],
        "problems": [_problem_json(problem) for problem in found.problems],
        "content": None if found.content is None else _inspection_json(found.content, wire=False),
    }
    if wire:
        shown["wire"] = [
            {
                "row": line.row,
                "offset": line.offset,
                "tag": line.tag,
                "name": line.name,
                "length": line.length,
                "value": line.value,
            }
            for line in found.wire
        ]
    return shown


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {
        "severity": str(problem.severity),
        "text": problem.text,
        "offset": problem.offset,
        "row": problem.row,
        "hint": problem.hint or None,
    }


def print_tables(results: Sequence[Inspected], *, wire: bool) -> None:
    """Every file in turn, readable at 100 columns, with or without colour."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # a name in Greek on an ASCII terminal is no reason to stop
    console = screen.console()
    for number, result in enumerate(results):
        if number:
            console.print()
        for part in _file_parts(result, wire):
            console.print(part)


def _file_parts(result: Inspected, wire: bool) -> Iterator[RenderableType]:
    if result.inspection is None:
        yield Text.assemble((safe(result.name), "bold"), " ", (safe(result.failure), "bold red"))
        return
    found = result.inspection
    word, style = _VERDICTS[found.verdict]
    yield Text.assemble((safe(result.name), "bold"), f": {found.kind.label}, ", (word, style))
    yield from _parts(found)
    if wire and found.wire:
        yield Text()
        yield _wire_table(found.wire)
    if wire and found.kind is Kind.TRUST_LIST and found.get("signature") == "holds":
        yield Text(f"The {_list_name(found)} file was verified successfully.")


def _parts(found: Inspection) -> Iterator[RenderableType]:
    if found.facts:
        yield _facts_table(found.facts)
    if found.rows:
        yield Text()
        if found.kind is Kind.TVS_MESSAGES:
            for row in found.rows:
                yield _facts_table((Fact("number", f"Message {row.number}", f"at offset {row.offset}"), *row.facts))
        else:
            yield _rows_table(found)
    if found.problems:
        yield Text()
        yield _problems_table(found.problems, _row_word(found.kind))
    if found.content is not None:
        yield Text()
        word, style = _VERDICTS[found.content.verdict]
        yield Text.assemble(f"Its content: {found.content.kind.label}, ", (word, style))
        yield from _parts(found.content)


def _row_word(kind: Kind) -> str:
    if kind is Kind.TVS_MESSAGES:
        return "message"
    return "record" if kind is Kind.TRUST_LIST else "certificate"


def _list_name(found: Inspection) -> str:
    name = str(found.get("file_name") or "").upper()
    return "CTL" if name.startswith("CTL") else "ITL"


def _facts_table(facts: Sequence[Fact]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for fact in facts:
        if fact.label and fact.text:
            style = "bold red" if fact.value == "refused" else ""
            table.add_row(fact.label, Text(safe(fact.text), style=style))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _rows_table(found: Inspection) -> RenderableType:
    listed = found.kind is Kind.TRUST_LIST
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    if listed:
        table.add_column("Role", no_wrap=True)
    table.add_column("DNS name, subject, serial" if listed else "Subject, serial", overflow="fold", ratio=1)
    table.add_column("Key", no_wrap=True)
    table.add_column("Expires", no_wrap=True)
    table.add_column("Problems", no_wrap=True)
    for row in found.rows:
        mine = [problem for problem in found.problems if problem.row == row.number]
        cells: list[RenderableType] = [str(row.number)]
        if listed:
            cells.append(row.text("role"))
        cells += [_who(row), row.text("key"), row.text("not_after"), _count(mine)]
        table.add_row(*cells)
    return Padding(table, (0, 0, 0, 2), expand=False)


def _who(row: Row) -> Text:
    lines = [Text(safe(row.text(key)), style="bold") for key in ("dns_name", "name") if row.text(key)]
    if row.get("blank"):
        lines.append(Text("blank: names no certificate", style="dim"))
    if row.text("subject"):
        lines.append(Text(safe(row.text("subject"))))
    if row.text("issuer") and row.text("issuer") != row.text("subject"):
        lines.append(Text(f"issued by {safe(row.text('issuer'))}", style="dim"))
    if row.text("serial"):
        lines.append(Text(f"serial {row.text('serial')}", style="dim"))
    if row.get("signer"):
        lines.append(Text("signed this file", style="green"))
    return Text("\n").join(lines)


def _count(problems: Sequence[Problem]) -> Text:
    counts = []
    for severity in (Severity.ERROR, Severity.WARNING):
        count = sum(problem.severity is severity for problem in problems)
        if count:
            counts.append(Text(f"{count} {severity}{'s' if count > 1 else ''}", style=_STYLES[severity]))
    return Text("\n").join(counts)


def _problems_table(problems: Sequence[Problem], row_word: str) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    order = list(Severity)
    for problem in sorted(problems, key=lambda problem: order.index(problem.severity)):
        place = [] if problem.row is None else [f"{row_word} {problem.row}"]
        place += [] if problem.offset is None else [f"offset {problem.offset}"]
        text = Text(safe(problem.text))
        if problem.hint:
            text.append(f"\n{safe(problem.hint)}", style="dim")
        table.add_row(Text(str(problem.severity), style=_STYLES[problem.severity]), ", ".join(place), text)
    return Padding(table, (0, 0, 0, 2), expand=False)


def _wire_table(lines: Sequence[WireLine]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("OFFSET", justify="right", no_wrap=True, style="dim")
    for name in ("BYTEPOS", "TAG", "LENGTH"):
        table.add_column(name, no_wrap=True)
    table.add_column("VALUE", overflow="fold")
    row = 0
    for line in lines:
        if line.row != row:
            row = line.row
            table.add_row()
            table.add_row("", "", Text(f"Record #:{row}", style="bold"))
        table.add_row(str(line.offset), str(line.tag), line.name, str(line.length), Text(safe(line.value)))
    return Padding(table, (0, 0, 0, 2), expand=False)


def safe(text: str) -> str:
    """Text with everything that is no printable character written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
