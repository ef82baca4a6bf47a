"""What every command shows people the same way: tables, progress, JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Width of tables where there is no terminal to ask, as in a pipe or a log.
PIPE_WIDTH = 120


def console(*, stderr: bool = False) -> Console:
    """Where to print; plain text without colour where nobody looks at a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH, highlight=False)


def print_json(value: Any) -> None:
    """`value` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "") -> Table:
    """A table; cells may hold rich's markup only where the caller wrote it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(title=title, caption=caption or None, box=SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


@contextlib.contextmanager
def progress(title: str, *, shown: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error, with the rate and the time left; gives a function of (what, done, total)."""
    if not shown or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(rate_words(task.finished_speed or task.speed or 0.0), style="progress.data.speed")

    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(""),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
        console=console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=None, what="")
        yield lambda what, done, total: bar.update(task, completed=done, total=total, what=what)


def rate_words(rate: float) -> str:
    """Things a second, in words a person reads at a glance; nothing where there is no rate yet."""
    if rate <= 0:
        return ""
    return f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.0f}/min"
