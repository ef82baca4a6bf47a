"""A proof of trust at the terminal: a matrix a direction, what is wrong, what was not seen, one closing sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from trustbridge.cli import screen
from trustbridge.cli.findingview import show_findings
from trustbridge.migration.proofvalues import Cell, Direction, Placement, Proof, Verdict

if TYPE_CHECKING:
    from rich.console import Console

_MARKS = {Verdict.YES: "[green]✓[/]", Verdict.NO: "[red]✗[/]", Verdict.UNKNOWN: "[yellow]?[/]"}
#: Of a fingerprint, where the whole stands elsewhere; hexadecimal digits.
_SHORT = 16


def show(console: Console, proof: Proof) -> None:
    """All of it."""
    for direction in proof.directions:
        _show_direction(console, direction)
    _show_files(console, proof)
    if proof.emcc:
        _show_placements(console, proof)
    show_findings(console, proof.findings)
    for gap in proof.gaps:
        mark = "[yellow]?[/]" if gap.essential else "[dim]·[/]"
        console.print(f"{mark} not seen: {escape(gap.where)}: {escape(gap.what)}: {escape(gap.why)}", soft_wrap=True)
    if proof.gaps:
        console.print()
    colour = {True: "green", False: "red", None: "yellow"}[proof.holds]
    console.print(f"[bold {colour}]{escape(proof.sentence)}[/]", soft_wrap=True)


def _show_direction(console: Console, direction: Direction) -> None:
    if not direction.signers or not direction.nodes:
        console.print(f"{_MARKS[direction.verdict]} {escape(direction.title)}: nobody could be asked\n")
        return
    columns = ["TVS of", *(escape(f"{one.label} {one.id[:_SHORT]}") for one in direction.signers)]
    rows = [
        [escape(f"{direction.asking}/{node}"), *(_cell(direction.cell(node, one.id)) for one in direction.signers)]
        for node in direction.nodes
    ]
    left = f"in no Unified CM group, so no phone asks: {escape(', '.join(direction.left_out))}"
    title = f"{_MARKS[direction.verdict]} {escape(direction.title)}"
    console.print(screen.table(title, columns, rows, caption=left if direction.left_out else ""))


def _cell(cell: Cell) -> str:
    said = [*cell.findings]
    if cell.verdict is Verdict.YES:
        said = [f"{', '.join(cell.roles)}; {cell.time_to_live} s", *cell.findings]
    return f"{_MARKS[cell.verdict]} {escape(', '.join(said) or cell.words[0])}"


def _show_files(console: Console, proof: Proof) -> None:
    rows = [
        (
            escape(f"{cluster}/{file.node}"),
            escape(file.name),
            str(file.size),
            escape(file.signer.subject.partition(";")[0] if file.signer else "not known"),
            escape(_state(file.checked, file.problem)),
            file.sha256[:_SHORT],
        )
        for cluster, file in proof.files
    ]
    columns = ("TFTP node", "file", "bytes", "signed by", "signature", "SHA-256")
    console.print(screen.table("Trust lists as phones get them", columns, rows))


def _state(checked: bool, problem: str) -> str:
    return problem or ("holds" if checked else "the signer is not known here")


def _show_placements(console: Console, proof: Proof) -> None:
    rows = [
        (escape(f"{row[0].holder}/{row[0].node}"), escape(row[0].owner), _places(row)) for row in proof.placement_rows
    ]
    title = "Extension Mobility Cross Cluster: live certificates in the trust stores"
    console.print(screen.table(title, ("node", "certificates of", "what an import puts there"), rows))


def _places(row: Sequence[Placement]) -> str:
    """What is in place in one line; what is not, or not known, a line each."""
    lines = [
        f"{_MARKS[one.verdict]} {one.bulk_type} in {one.store}: {escape(one.words)}"
        for one in row
        if one.verdict is not Verdict.YES
    ]
    good = len(row) - len(lines)
    if good:
        lines.insert(0, f"{_MARKS[Verdict.YES]} {good} of {len(row)} mappings are in place")
    return "\n".join(lines)
