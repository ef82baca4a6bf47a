"""The seed's whole procedure by clicking, in a lab of two clusters of two nodes with ten phones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.browser.axe import serious
from tests.browser.procedure import steps
from tests.browser.served import Console
from tests.browser.windows import Windows
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def live(prepared: Prepared, tmp_path: Path) -> Iterator[LiveLab]:
    """Before any exchange; all phones are registered at the source."""
    with LiveLab(prepared.lab(tmp_path / "lab", lab_definition(phones(10), source={"release": "12.5"}))) as live:
        live.boot()
        yield live


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """Nobody is known there."""
    with Console(tmp_path / "console") as console:
        yield console


def test_the_whole_procedure_by_clicking(windows: Windows, console: Console, live: LiveLab) -> None:
    """axe finds nothing serious on the way, either: in dialogues, and while something runs."""
    windows.expect("/bulk/server/test: .* status of 409")  # the host key that nobody has confirmed
    page = windows.open(reduced_motion="reduce")
    done, found = 0, []
    for words in steps(page, console, live):
        done += 1
        found += [f"{words}: {one}" for one in serious(page)]
    assert not found, "\n".join(found)
    assert done > 20
