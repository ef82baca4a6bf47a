"""How an exchange is shown: its plan, its steps as they are done, its record."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.markup import escape

from trustbridge.cli import screen
from trustbridge.cli.findingview import show_findings
from trustbridge.errors import SettingsError
from trustbridge.migration.exchangeplan import ExchangePlan, Step
from trustbridge.migration.exchangerecord import ExchangeRecord, RecordedPlan, SftpAddress
from trustbridge.migration.exchangerun import Unwatched, Watcher
from trustbridge.pki.names import short_name

_MARKS: Final = {"begun": "[dim]...[/]", "done": "[green]✓[/]", "done before": "[dim]✓[/]", "failed": "[red]✗[/]"}
_ADDRESS: Final = re.compile(
    r"(?:sftp://)?(?P<user>[^@/:]+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/@\[\]]+)(?::(?P<port>\d{1,5}))?(?P<directory>/.*)?"
)


def parse_sftp(text: str) -> SftpAddress:
    """`USER@HOST[:PORT][/DIRECTORY]`, with or without `sftp://` before it.

    Raises:
        SettingsError: it is not like that. A password has no place in it.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        # Not repeated: somebody may have put a password in it.
        raise SettingsError(
            "--sftp should be USER@HOST[:PORT][/DIRECTORY]", "The password comes from elsewhere: see --help."
        )
    port = int(found["port"] or 22)
    if not 0 < port < 65536:
        raise SettingsError(f"--sftp: {port} is no port")
    return SftpAddress(found["host"].strip("[]"), port, found["user"], found["directory"] or "/")


# The plan.


def show_plan(console: Console, plan: ExchangePlan) -> None:
    """The plan: method, steps, findings, and whether it may begin."""
    console.print(f"[bold]Exchange between {escape(', '.join(plan.clusters))}[/]")
    if len(plan.pairs) > 1:
        console.print(f"pairs     {escape(', '.join(f'{one}:{other}' for one, other in plan.pairs))}")
    console.print(f"method    {escape(plan.why)}")
    if plan.sftp:
        console.print(f"server    {escape(plan.sftp)}")
    console.print(f"to reach  {len(plan.missing)} of {len(plan.goals)}; {len(plan.held)} are in place already")
    if plan.steps:
        rows = [
            (str(place), escape(step.cluster), escape(step.words), escape(step.effect))
            for place, step in enumerate(plan.steps, start=1)
        ]
        console.print(screen.table("Steps", ("", "on", "what", "what else it does"), rows))
    if plan.left_out:
        rows = [
            (escape(goal.importer), str(goal.store), escape(f"{goal.exporter}/{goal.source}"), why)
            for goal, why in plan.left_out
        ]
        console.print(screen.table("Left out", ("of", "store", "certificate", "because of"), rows))
    show_findings(console, plan.findings, plan.accepted)
    if plan.blocking:
        console.print(f"[red]It does not begin: {', '.join(dict.fromkeys(one.id for one in plan.blocking))}.[/]")
    elif plan.steps:
        console.print("[green]Nothing keeps it from beginning.[/]")
    else:
        console.print("[green]Every certificate is where it belongs: there is nothing to do.[/]")


# Steps.


class _Lines(Unwatched):
    """A line a step, as it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, step: Step, state: str) -> None:
        if state != "begun":
            self._console.print(f"{_MARKS[state]} {escape(step.cluster)}: {escape(step.words)}")

    def note(self, text: str) -> None:
        self._console.print(f"[yellow]{escape(text)}[/]")


class _Bar(_Lines):
    """The same above a bar that moves, for a person at a terminal."""

    def __init__(self, console: Console, plan: RecordedPlan) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        super().__init__(console)
        self.progress = Progress(
            TextColumn("[bold]Exchange"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}"),
            console=console,
            transient=True,
        )
        self._task = self.progress.add_task("", total=len(plan.steps), what="")
        self._under_way: dict[str, Step] = {}

    def step(self, step: Step, state: str) -> None:
        super().step(step, state)
        if state == "begun":
            self._under_way[step.key] = step
        else:
            self._under_way.pop(step.key, None)
            self.progress.advance(self._task)
        what = "; ".join(f"{one.cluster}: {one.kind}" for one in self._under_way.values())
        self.progress.update(self._task, what=escape(what[:60]))


@contextmanager
def steps(plan: RecordedPlan, *, shown: bool) -> Iterator[Watcher]:
    """Who looks on while steps are done."""
    console = screen.console(stderr=True)
    if not shown:
        yield Unwatched()
    elif sys.stderr.isatty():
        bar = _Bar(console, plan)
        with bar.progress:
            yield bar
    else:
        yield _Lines(console)


@contextmanager
def removals(record: ExchangeRecord, *, shown: bool) -> Iterator[None]:
    """A bar while certificates are removed, by what the record tells."""
    total = len(record.additions())
    with screen.progress("Taking back", shown=shown) as told:

        def count() -> None:
            left = len(record.additions())
            told(f"{left} left", total - left, max(total, 1))

        record.listeners.append(count)
        try:
            yield
        finally:
            record.listeners.remove(count)


# The record.


def show_records(console: Console, records: Sequence[ExchangeRecord]) -> None:
    """A line an exchange."""
    rows = [
        (
            escape(one.name),
            f"{one.plan.begun:%Y-%m-%d %H:%M}",
            escape(", ".join(one.plan.clusters)),
            str(one.plan.method),
            str(sum(not addition.gone for addition in one.additions())),
            _state(one),
        )
        for one in records
    ]
    console.print(screen.table("Exchanges", ("name", "begun (UTC)", "clusters", "method", "added", "state"), rows))


def _state(record: ExchangeRecord) -> str:
    colour = {"finished": "green", "undone": "dim"}.get(record.state, "yellow")
    return f"[{colour}]{record.state}[/]"


def show_record(console: Console, record: ExchangeRecord) -> None:
    """One exchange: steps, what it added by cluster and store, and how to go on or back."""
    plan = record.plan
    console.print(f"[bold]{escape(record.name)}[/]: {_state(record)}, begun {plan.begun:%Y-%m-%d %H:%M} UTC")
    console.print(f"method    {escape(str(plan.shown.get('why', plan.method)))}")
    rows = [
        (_MARKS["done" if record.has("step done", step) else "begun"], escape(step.cluster), escape(step.words))
        for step in plan.steps
    ]
    if rows:
        console.print(screen.table("Steps", ("", "on", "what"), rows))
    added = Counter(
        (one.cluster, str(one.store), one.node, "put back by undo" if one.gone else "") for one in record.additions()
    )
    if added:
        counted = [
            (escape(cluster), store, escape(node) or "all", str(count), note)
            for (cluster, store, node, note), count in sorted(added.items())
        ]
        columns = ("of", "store", "nodes", "certificates", "")
        console.print(screen.table("In the trust stores because of it", columns, counted))
    else:
        console.print("Nothing is in a trust store because of it.")
    if record.state == "finished" and added:
        console.print(f"Take it back: trustbridge exchange undo {escape(record.name)}")
    elif not record.finished and not record.undoing:
        names = " ".join(plan.clusters)
        console.print(f"Go on: trustbridge exchange run --name {escape(record.name)} {escape(names)}")


def show_undo(console: Console, record: ExchangeRecord) -> None:
    """What taking it back will do."""
    added = [one for one in record.additions() if not one.gone]
    gone = [one for one in record.additions() if one.gone]
    console.print(f"[bold]{escape(record.name)}[/]: {_state(record)}")
    rows = [
        (escape(one.cluster), escape(one.node) or "all", str(one.store), escape(short_name(one.certificate.subject)))
        for one in added[:40]
    ]
    if rows:
        more = f"and {len(added) - 40} more: --json has them all" if len(added) > 40 else ""
        console.print(screen.table("To be removed", ("of", "nodes", "store", "certificate"), rows, caption=more))
    if gone:
        console.print(f"{len(gone)} certificates that made way are put back.")
    if not added and not gone and not record.undone:
        console.print("Nothing of it is recorded in a trust store; steps that were cut off are looked at first.")
    if added:
        console.print(
            "[yellow]Phones that have moved can't go back afterwards (TB170), and phones that have not will strand "
            "(TB101). SFTP settings of the clusters, and bundles on that server, stay as they are.[/]"
        )
