"""`trustbridge report`: from the database alone, to the terminal or to files that only their owner reads."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import pytest
from tests.migration.reportstage import Stage, told, whole
from typer.testing import CliRunner

from trustbridge.cli import app
from trustbridge.errors import SettingsError
from trustbridge.migration.reportvalues import Report

__all__ = ["told", "whole"]


@pytest.fixture
def folder(whole: Stage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder with the campaign `move`, and with no cluster: none is asked."""
    found = Path(whole.engine.url.database or "").parent
    monkeypatch.setenv("TRUSTBRIDGE_STATE_FOLDER", str(found))
    return found


def run(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["report", *arguments], catch_exceptions=False)
    assert found.exit_code == 0
    return found.stdout


@pytest.mark.usefixtures("folder")
def test_a_summary_at_the_terminal(told: Report) -> None:
    said = " ".join(run("move").split())
    assert said.endswith(told.sentence)
    for part in (
        "source, release 12.5.1, 2 nodes",
        "wave-1 2026-03-01 12:01",
        "registered at destination 53",
        "rejected: the target does not take its registration (TB151)",
        "58 resets requested, 57 sent, 1 refused",
        "trustbridge migrate rollback move --option150-done",
        "Otherwise than predicted",
    ):
        assert part in said


@pytest.mark.usefixtures("folder")
def test_files_are_whole_and_private(told: Report, tmp_path: Path) -> None:
    page, table = tmp_path / "report.html", tmp_path / "report.csv"
    said = run("move", "--html", str(page), "--csv", str(table))
    assert said == f"The report is in {page}\nThe report is in {table}\n"
    assert told.sentence in page.read_text("utf-8")
    with table.open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == 60
    assert [stat.S_IMODE(one.stat().st_mode) for one in (page, table)] == [0o600] * 2


@pytest.mark.usefixtures("folder")
def test_json_has_the_whole_journal(whole: Stage, told: Report) -> None:
    found = json.loads(run("move", "--json"))
    assert found["sentence"] == told.sentence
    assert len(found["journal"]) == told.entries
    assert [one for entry in found["journal"] for one in entry["evidence"]] == [
        one for entry in whole.campaigns.journal(whole.campaign.id) for one in entry.evidence
    ]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("another",), "no campaign is called another"),
        (("move", "--html", "/nowhere/at/all.html"), "there is no such folder"),
        (("move", "--csv", "/nowhere/at/all.csv"), "there is no such folder"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], said: str) -> None:
    error = CliRunner().invoke(app, ["report", *arguments]).exception
    assert isinstance(error, SettingsError)
    assert said in error.message
