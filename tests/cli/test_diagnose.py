"""How a diagnosis is shown, and what the command takes for the name of a phone."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from tests.migration.test_diagnose import Case, nobody, there, unvouched
from tests.trust.world import DEVICE
from typer.testing import CliRunner

from trustbridge import __version__
from trustbridge.cli import app, diagnoseview
from trustbridge.errors import SettingsError
from trustbridge.migration.diagnose import Diagnosis
from trustbridge.migration.diagnosephone import device_name


def shown(diagnosis: Diagnosis) -> str:
    out = io.StringIO()
    diagnoseview.show(Console(file=out, width=100, highlight=False), diagnosis)
    return out.getvalue()


def test_a_phone_that_has_moved() -> None:
    said = shown(there().diagnosed())
    assert f"What was seen of {DEVICE}\n  RisPort70 of source\n" in said
    assert "    ✓ Registered at dst1 from 198.51.100.7" in said
    assert "(the one that destination serves)" in said
    assert "What it does when option 150 names destination and it is reset\n  · starts; CTL signed by" in said
    assert "  = moves\n" in said
    closing = f"{DEVICE} (source to destination): registered at the destination, with the destination's trust lists"
    assert closing in said
    assert said.endswith("  to do: nothing\n")


def test_what_to_do_stands_last_in_order() -> None:
    diagnosis = Case(made=unvouched()).diagnosed()
    said = shown(diagnosis)
    assert "TB101 stop" in said
    (course,) = diagnosis.courses
    assert said.endswith("".join(f"  {number}. {step}\n" for number, step in enumerate(course.steps, start=1)))


def test_what_was_not_seen_and_two_possibilities_of_many() -> None:
    said = shown(Case(closed=True).diagnosed())
    assert "? not seen: phone page: its lists: its web access is off\n    to see it: Switch it on.\n" in said
    assert said.count("as far as what was seen goes") == 2
    assert "= moves by first trust" in said


def test_several_moves_are_told_apart() -> None:
    pairs = (("source", "destination"), ("destination", "source"))
    said = shown(Case(made=unvouched(), pairs=pairs).diagnosed())
    assert "Findings, as for a move from source to destination" in said
    assert f"{DEVICE} (source to destination): registered at the source, and would strand" in said
    assert f"{DEVICE} (destination to source): registered at the destination" in said


def test_where_nothing_is_meant_or_known() -> None:
    said = shown(Case(pairs=()).diagnosed())
    assert f"{DEVICE}: registered, with its cluster's trust lists; no move is meant" in said
    assert "What it does" not in said
    assert "never heard of" in shown(nobody().diagnosed())
    assert "too little was seen to run its procedure" in shown(Case(ran=False).diagnosed())


def test_words_of_others_are_no_markup() -> None:
    said = shown(replace(Case(), messages=("[red]Trust List Update Failed[/red]",)).diagnosed())
    assert "[red]Trust List Update Failed[/red]" in said


def test_json_says_who_made_it() -> None:
    found = diagnoseview.as_json(Case().diagnosed())
    assert found["trustbridge"] == __version__
    assert found["phone"] == DEVICE


@pytest.mark.parametrize(
    "words", ["SEP001122334455", "sep001122334455", "001122334455", "00:11:22:33:44:55", "00-11-22-33-44-55"]
)
def test_names_of_phones(words: str) -> None:
    assert device_name(words) == "SEP001122334455"


@pytest.mark.parametrize(
    "words", ["", "SEP", "SEP00112233445", "SEP00112233445G", "ATA001122334455", "SEPSEP112233445"]
)
def test_what_is_no_name_of_a_phone(words: str) -> None:
    with pytest.raises(SettingsError):
        device_name(words)


def test_a_move_has_two_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("TRUSTBRIDGE_STATE_FOLDER", str(tmp_path))
    for arguments in (["--source", "a"], ["--source", "a", "--destination", "a"], []):
        found = CliRunner().invoke(app, ["diagnose", "SEP001122334455", *arguments])
        assert isinstance(found.exception, SettingsError), found.output
