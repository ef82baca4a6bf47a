"""`trustbridge exchange verify` without anybody to ask: which pairs, what is refused, what is shown."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tests.migration.proofstage import Stage
from typer.testing import CliRunner

from trustbridge.cli import app, verifyview
from trustbridge.errors import SettingsError
from trustbridge.migration import proofreport
from trustbridge.migration.proof import Proof
from trustbridge.migration.proofseen import Failure, Gap


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a",), "at least two sides"),
        (("a", "--into", "a"), "at least two sides"),
        (("a", "a"), "at least two sides"),
        (("a", "b", "a"), "named twice"),
        (("a", "b", "--pair", "a"), "two different ones"),
        (("a", "b", "--pair", "a:a"), "two different ones"),
        (("a", "b", "--pair", "a:c"), "two different ones"),
        (("a", "b", "c", "--pair", "a:b"), "no --pair has c"),
        (("a", "b", "--pair", "a:b", "--into", "b"), "exclude each other"),
        (("a", "b"), "no cluster is called a"),
        (("a", "b", "--html", "/nowhere/at/all.html"), "no such folder"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTBRIDGE_STATE_FOLDER", str(tmp_path))
    error = CliRunner().invoke(app, ["exchange", "verify", *arguments]).exception
    assert isinstance(error, SettingsError)
    assert said in error.message


def shown(proof: Proof) -> str:
    console = Console(file=io.StringIO(), width=160, highlight=False)
    verifyview.show(console, proof)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_a_proof_that_holds_is_shown_with_its_sentence_last() -> None:
    stage = Stage.exchanged()
    stage.emcc = True
    proof = stage.proof()
    said = shown(proof)
    assert said.endswith(proof.sentence)
    assert "old/old-sub ✓ SAST, TFTP; 86400 s" in said
    assert "new/new-sub old ✓ 6 of 6 mappings are in place" in said
    assert "✓ old vouches for new" in said
    assert json.loads(json.dumps(proofreport.as_json(proof)))["trustbridge"]


def test_everything_that_is_wrong_or_unknown_is_shown() -> None:
    stage = Stage.exchanged()
    stage.emcc = True
    stage.old.failures["old-sub"] = Failure.UNREACHABLE
    stage.new.take(stage.old.recovery)
    stage.gaps.append(Gap("new", "[bold]new-sub", "identities", "nobody answers"))
    proof = stage.proof()
    said = shown(proof)
    for finding in proof.findings:
        for part in (finding.id, finding.subject, finding.title, finding.evidence, finding.consequence, finding.remedy):
            assert part in said
    assert "old/old-sub ? TB111" in said
    assert "new/new-pub ✗ TB104" in said
    assert "✗ itlrecovery in Phone-SAST-trust: 1 of 1 missing: ITLRECOVERY_old" in said
    assert "not seen: new/[bold]new-sub: identities: nobody answers" in said
    assert said.endswith(proof.sentence)


def test_a_direction_nobody_could_be_asked_in_is_said() -> None:
    stage = Stage.exchanged()
    stage.new.files = {}
    assert "? old vouches for new: nobody could be asked" in shown(stage.proof())
