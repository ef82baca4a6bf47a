"""Every command that the runbook or a report tells somebody to type exists, and takes what is said there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from trustbridge.cli import app
from trustbridge.migration.reportwords import _ADVICE, advice

DOCS = Path(__file__).parent.parent / "docs"


def commands(text: str) -> Iterator[str]:
    """What stands between backticks, or on a line of its own in a block, and begins with `trustbridge `."""
    for line in text.splitlines():
        if re.match(r" {4}trustbridge ", line):
            yield line.strip().partition(" > ")[0]
        else:
            yield from re.findall(r"`(trustbridge [^`]*)`", line)


#: Click's, by way of what typer gives away: newer ones bring a click of their own.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def parse(line: str) -> None:
    """Parse it as the command line would; nothing is run.

    Raises:
        UsageError: there is no such command or option, or something is missing or of no use.
    """
    program, *words = shlex.split(line)
    assert program == "trustbridge"
    command: Any = typer.main.get_command(app)
    context: Any = typer.Context(command, info_name=program)
    while hasattr(command, "commands"):
        name = words.pop(0) if words else ""
        if name not in command.commands:
            raise UsageError(f"{line}: no command {name or 'is named'}")
        command = command.commands[name]
        if hasattr(command, "commands"):
            context = typer.Context(command, info_name=name, parent=context)
    command.make_context(command.name, words, parent=context)


RUNBOOK = list(dict.fromkeys(commands((DOCS / "runbook.md").read_text("utf-8"))))
REPORT = list(dict.fromkeys(commands((DOCS / "report.md").read_text("utf-8"))))
ADVICE = [found for begin, _ in _ADVICE for found in commands(advice(begin, phone="SEP001122334455", campaign="move"))]


def test_the_runbook_names_the_commands_of_a_night() -> None:
    assert len(RUNBOOK) > 30
    groups = {line.split()[1] for line in RUNBOOK}
    assert groups >= {
        "check", "cluster", "demo", "devices", "diagnose", "exchange", "migrate", "option150", "predict", "report",
    }  # fmt: skip


@pytest.mark.parametrize("line", RUNBOOK + ADVICE)
def test_a_command_of_the_runbook_can_be_typed(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("line", [line for line in REPORT if "PHONE" not in line and line != "trustbridge report"])
def test_a_command_of_the_page_about_reports_can_be_typed(line: str) -> None:
    parse(line)


@pytest.mark.parametrize(
    "line",
    [
        "trustbridge migrate go move",
        "trustbridge migrate",
        "trustbridge migrate start",
        "trustbridge migrate start move --now",
        "trustbridge migrate plan move source destination --pilot many",
        "trustbridge report move more",
    ],
)
def test_what_does_not_exist_is_found(line: str) -> None:
    with pytest.raises(UsageError):
        parse(line)
