"""What `trustbridge demo` shows: live where there is a terminal, line by line where there is none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trustbridge.cli import screen
from trustbridge.expectations import DESTINATION, SOURCE, Expectation, Line, Rehearsal
from trustbridge.lab.lab import Lab
from trustbridge.lab.phone import LabPhone, Standing

_MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]·[/]"}
_COLOURS = {SOURCE: "blue", DESTINATION: "green"}


class Silent:
    """Nobody looks on."""

    def step(self, title: str, phones: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def phone(self) -> None:
        """Nothing."""

    def expectation(self, expectation: Expectation) -> None:
        """Nothing."""


class DemoScreen:
    """Somebody looks on. Use as a context; `summary` afterwards."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or screen.console()
        self._lab: Lab | None = None
        self._began = time.monotonic()
        self._doing = ""
        self._phones = self._finished = 0
        # Last: it asks for the picture at once.
        self._live = (
            Live(console=self.console, get_renderable=self._picture, refresh_per_second=8)
            if self.console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def begin(self, lab: Lab, *, through_driver: bool = False) -> None:
        """The lab is up."""
        self._lab = lab
        for name, cluster in lab.clusters.items():
            nodes = ", ".join(
                f"{node.name} {cluster.definition.address(node.name)}" for node in cluster.definition.nodes
            )
            self._line(
                f"[bold]{name}[/]: release {cluster.definition.release}, {cluster.state.security}, nodes {nodes}"
            )
        if through_driver:
            self._line("Everything below is done and seen through the driver; only the bars look into the lab.")
        for notice in lab.notices:
            self._line(f"[yellow]{notice}[/]")

    def _line(self, text: str) -> None:
        # Above the live part, for good: a small window shows the end of it and can scroll back.
        self.console.print(text)

    # Watching.

    def step(self, title: str, phones: int) -> None:
        """A step begins."""
        self._doing = title
        self._phones, self._finished = phones, 0
        self._line(f"\n[bold]{title}[/]")

    def note(self, text: str) -> None:
        """Something was done."""
        self._line(f"  [dim]{text}[/]")

    def phone(self) -> None:
        """A phone has come to its end."""
        self._finished += 1

    def expectation(self, expectation: Expectation) -> None:
        """Something was checked."""
        self._line(f"  {_MARKS[expectation.held]} {expectation.what} [dim]({expectation.seen})[/]")

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = [] if self._lab is None else ["", self._bars(self._lab)]
        seconds = time.monotonic() - self._began
        counted = f"  {self._finished} of {self._phones} phones" if self._phones else ""
        parts.append(Text.from_markup(f"[cyan]{seconds:4.0f} s[/]  {self._doing}{counted}"))
        return Group(*parts)

    def picture_of_phones(self) -> RenderableType:
        """Where the phones are; nothing before there is a lab."""
        return "" if self._lab is None else self._bars(self._lab)

    def _bars(self, lab: Lab) -> Table:
        """A bar a place."""
        phones = list(lab.fleet.phones.values())
        places = Counter(_place(lab, phone) for phone in phones)
        table = Table.grid(padding=(0, 2))
        for place in (SOURCE, DESTINATION, "starting", "not registered"):
            count = places.get(place, 0)
            colour = _COLOURS.get(place, "yellow")
            bar = ProgressBar(
                total=max(len(phones), 1), completed=count, width=50, complete_style=colour, finished_style=colour
            )
            table.add_row(f"[{colour}]{place}[/]", bar, f"{count}")
        return table

    # Afterwards.

    def summary(self, rehearsal: Rehearsal) -> None:
        """What it all came to."""
        console = self.console
        console.print()
        console.print(_one_phone("One phone, without the exchange", rehearsal.stranded, "red"))
        console.print(_one_phone("A phone, after it", rehearsal.moved, "green"))
        if rehearsal.ways:
            console.print(f"Seen and done by {_ways(rehearsal.ways)}.")
        where = ", ".join(f"{count} at the {place}" for place, count in sorted(rehearsal.at_the_end.items()))
        seconds = sum(rehearsal.seconds.values())
        failed = [item for item in rehearsal.expectations if not item.held]
        if failed:
            text = (
                f"[bold red]{len(failed)} of {len(rehearsal.expectations)} expectations did not hold.[/]\n"
                + "\n".join(f"✗ {item.step}: {item.what} ({item.seen})" for item in failed)
            )
        else:
            text = (
                f"[bold green]All {len(rehearsal.expectations)} expectations held.[/]\n"
                f"{rehearsal.phones} phone{'s' * (rehearsal.phones != 1)} ({rehearsal.secure} encrypted) moved because "
                f"certificates were exchanged; without the exchange they strand. In the end {where}, after one wave "
                "went back.\n"
                f"[dim]{seconds:.1f} s for the procedure. Next: trustbridge demo --secure; "
                "trustbridge lab up, to do it by hand: docs/tutorial.md[/]"
            )
        console.print(Panel(text, border_style="red" if failed else "green", expand=False))


def _place(lab: Lab, phone: LabPhone) -> str:
    if phone.standing in (Standing.OFF, Standing.BOOTING):
        return "starting"
    return lab.cluster_of(phone) or "not registered"


def _one_phone(title: str, transcript: Sequence[Line], colour: str) -> RenderableType:
    lines = "\n".join(f"{_MARKS[line.ok]} {line.text}" for line in transcript)
    return Panel(lines or "-", title=title, title_align="left", border_style=colour, expand=False)


def _ways(ways: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """Which interface told or did what; for whom, where that is one cluster and another has it by another way."""
    found: dict[str, dict[str, list[str]]] = {}
    for whose, by_interface in ways.items():
        for interface, kinds in by_interface.items():
            for kind in kinds:
                found.setdefault(interface, {}).setdefault(kind, []).append(whose)
    times = Counter(kind for kinds in found.values() for kind in kinds)

    def told(kind: str, whose: Sequence[str]) -> str:
        alone = times[kind] > 1 and len(whose) == 1 and whose[0] in (SOURCE, DESTINATION)
        return f"{kind} of the {whose[0]}" if alone else kind

    return "; ".join(
        f"[bold]{interface}[/]: {', '.join(told(kind, whose) for kind, whose in kinds.items())}"
        for interface, kinds in found.items()
    )
