"""What `trustbridge check` refuses, and how its result is shown."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tests.migration.proofstage import NEW, NOW, OLD
from typer.testing import CliRunner

from trustbridge.cli import app, checkview
from trustbridge.errors import SettingsError
from trustbridge.migration.check import Checked
from trustbridge.migration.findings import Severity, finding, worst_first
from trustbridge.migration.proofseen import Gap

FOUND = worst_first(
    [
        finding("TB101", Severity.STOP, "old", "asked [bold]and[/] refused"),
        finding("TB104", Severity.STOP, "old", "asked"),
        finding("TB149", Severity.WARN, "old/old-pub", "since long"),
        finding("TB115", Severity.NOTE, "old", "a day"),
    ]
)
GAPS = (
    Gap("old", "", "phones", "nobody [red]answers", essential=True),
    Gap("new", "new-sub", "services", "a reason"),
)
WHOLE = Checked(OLD, NEW, NOW, FOUND, GAPS, 312)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a", "a"), "at least two sides"),
        (("a", "b"), "no cluster is called a"),
        (("a", "b", "--html", "/nowhere/at/all.html"), "no such folder"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTBRIDGE_STATE_FOLDER", str(tmp_path))
    error = CliRunner().invoke(app, ["check", *arguments]).exception
    assert isinstance(error, SettingsError)
    assert said in error.message


def shown(checked: Checked) -> str:
    console = Console(file=io.StringIO(), width=160, highlight=False)
    checkview.show(console, checked)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_everything_is_shown_with_the_sentence_last() -> None:
    said = shown(WHOLE)
    assert "stop 2 TB101, TB104 warning 1 TB149 note 1 TB115" in said
    for one in FOUND:
        for part in (one.id, one.subject, one.title, one.evidence, one.consequence, one.remedy):
            assert part in said
    assert "? not seen: old: phones: nobody [red]answers" in said
    assert "· not seen: new/new-sub: services: a reason" in said
    assert said.endswith(WHOLE.sentence)
    assert said.index("TB101 stop") < said.index("TB149 warning") < said.index("TB115 note")


@pytest.mark.parametrize(
    ("checked", "ready", "sentence"),
    [
        (
            WHOLE,
            False,
            (
                "Do not move phones yet: 2 findings stop the move of 312 phones from old to new. "
                "Begin with TB101 (old): Exchange the certificates: trustbridge exchange run."
            ),
        ),
        (
            replace(WHOLE, findings=FOUND[:1]),
            False,
            "Do not move phones yet: one finding stops the move of 312 phones from old to new.",
        ),
        (
            replace(WHOLE, findings=FOUND[2:]),
            False,
            (
                "Not known: nothing was seen that stops the move of 312 phones from old to new, but 1 thing "
                "that decides it could not be looked at."
            ),
        ),
        (
            replace(WHOLE, findings=FOUND[2:], unknowns=GAPS[1:]),
            True,
            (
                "Nothing that was seen stops the move of 312 phones from old to new, 1 finding to be read first. "
                "1 thing could not be looked at, and decides nothing."
            ),
        ),
        (
            replace(WHOLE, findings=(), unknowns=(), phones=None),
            True,
            "Nothing that was seen stops the move from old to new.",
        ),
    ],
)
def test_one_sentence_for_the_whole(checked: Checked, ready: bool, sentence: str) -> None:
    assert checked.ready is ready
    assert checked.sentence.startswith(sentence)
    assert shown(checked).endswith(checked.sentence)


def test_programs_get_everything() -> None:
    found = json.loads(json.dumps(checkview.as_json(WHOLE)))
    assert found["trustbridge"]
    assert (found["source"], found["destination"], found["ready"], found["phones"]) == (OLD, NEW, False, 312)
    assert found["counts"] == {"stop": 2, "warning": 1, "note": 1}
    assert [one["id"] for one in found["findings"]] == ["TB101", "TB104", "TB149", "TB115"]
    assert found["unknowns"][1] == {
        "where": "new/new-sub",
        "what": "services",
        "why": "a reason",
        "essential": False,
    }
