"""`trustbridge inspect` as people and scripts meet it: tables, JSON, exit codes, and where a password comes from."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner, Result

from trustbridge.cli import app, inspectview, screen
from trustbridge.errors import SettingsError
from trustbridge.pki.bundle import BundledCertificate, write_bundle
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.trust import configuration
from trustbridge.trust.configuration import CallManagerMember, Configuration, TvsServer
from trustbridge.trust.lists import ListedCertificate, Signer, build_trust_list, sign_file
from trustbridge.wire import signedfile, trustlist
from trustbridge.wire.trustlist import Role

ESCAPE = "\x1b"


@dataclass(frozen=True, slots=True)
class Files:
    """A good file of each kind, by the name of the kind, and bad ones."""

    folder: Path
    itl: Path
    signed: Path
    bundle: Path
    pem: Path
    xml: Path
    tampered: Path
    truncated: Path
    junk: Path
    other_bundle: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    now = datetime.now(UTC)
    organisation = Organisation(ou="TAC", o="Cisco", l="Krakow", st="Malopolska", c="PL")
    # A name that would colour a terminal and be read as markup, if it were let through.
    odd = self_signed(node="x", unit=Unit.TVS, common_name="[red]tvs", organisation=organisation, now=now, key="p256")
    one = self_signed(node="cm1", unit=Unit.CALLMANAGER, common_name="cm1", organisation=organisation, now=now)
    assert isinstance(one.private_key, rsa.RSAPrivateKey)
    signer = Signer(one.certificate, one.private_key)
    listed = [
        ListedCertificate(Role.SAST, "cm1.lab.test", one.certificate),
        ListedCertificate(Role.CCM_TFTP, "cm1.lab.test", one.certificate),
        ListedCertificate(Role.TVS, f"{ESCAPE}[31mred\x07", odd.certificate),
    ]
    itl = trustlist.encode(build_trust_list(listed, signer, file_name="ITLFile.tlv", now=now))
    xml = configuration.build(Configuration((CallManagerMember("cm1"),), (TvsServer("10.1.1.1"),)))
    items = [BundledCertificate(one.certificate, "src/cm1/CallManager")]
    contents = {
        "itl": itl,
        "signed": signedfile.encode(sign_file(xml, signer, file_name="SEP001122334455.cnf.xml", now=now)),
        "bundle": write_bundle(items, password="trustbridge"),
        "pem": one.certificate.pem().encode(),
        "xml": xml,
        "tampered": itl[:-1] + b"\x09",
        "truncated": itl[:1000],
        "junk": b"neither nor",
        "other_bundle": write_bundle(items, password="an other one"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return Files(folder, **{name: folder / name for name in contents})


def run(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)], input=stdin)


def as_json(*arguments: object) -> tuple[dict[str, Any], int]:
    result = run("--json", *arguments)
    return json.loads(result.stdout), result.exit_code


def test_good_files_of_every_kind_exit_with_zero(files: Files) -> None:
    shown, code = as_json(files.itl, files.signed, files.bundle, files.pem, files.xml)
    kinds = ["trust-list", "signed-file", "bundle", "certificates", "configuration"]
    assert [file["kind"] for file in shown["files"]] == kinds
    assert [file["verdict"] for file in shown["files"]] == ["good"] * 5
    assert (code, shown["exit_code"]) == (0, 0)


def test_a_signature_that_does_not_hold_exits_with_one(files: Files) -> None:
    shown, code = as_json(files.tampered)
    assert (shown["files"][0]["verdict"], shown["files"][0]["facts"]["signature"], code) == ("wrong", "refused", 1)


def test_a_bad_file_exits_with_three_and_the_others_are_shown(files: Files) -> None:
    for bad in (files.truncated, files.junk, files.other_bundle):
        result = run(bad, files.itl)
        assert result.exit_code == 3
        assert f"{bad}: " in result.stdout
        assert "BAD" in result.stdout
        assert f"{files.itl}: trust list, good" in result.stdout.replace("\n", "")


def test_a_file_that_can_not_be_opened_exits_with_two_and_the_others_are_shown(files: Files) -> None:
    missing = files.folder / "missing"
    shown, code = as_json(missing, files.folder, files.pem)
    assert [file["verdict"] for file in shown["files"]] == ["unopened", "unopened", "good"]
    assert [file["problems"][0]["text"] for file in shown["files"][:2]] == [
        "can't be opened: No such file or directory",
        "can't be opened: Is a directory",
    ]
    assert code == 2
    assert run(missing, files.junk).exit_code == 3
    assert "can't be opened" in run(missing).stdout


def test_the_highest_exit_code_wins(files: Files) -> None:
    assert run(files.pem, files.tampered).exit_code == 1
    assert run(files.tampered, files.folder / "missing").exit_code == 2
    assert run(files.tampered, files.junk).exit_code == 3


def test_json_has_the_keys_that_the_help_names(files: Files) -> None:
    shown, _ = as_json("--wire", files.itl, files.signed, files.truncated, files.folder / "missing")
    assert set(shown) == {"files", "exit_code"}
    common = {"file", "kind", "verdict", "facts", "rows", "problems", "content"}
    itl, signed, truncated, missing = shown["files"]
    assert set(itl) == set(signed) == set(truncated) == common | {"wire"}
    assert set(missing) == common
    assert {"size", "md5", "sha1", "sha256", "signer", "signature", "timestamp"} <= set(itl["facts"])
    assert {"number", "offset", "role", "subject", "serial", "not_after"} <= set(itl["rows"][0])
    assert set(itl["wire"][0]) == {"row", "offset", "tag", "name", "length", "value"}
    assert set(truncated["problems"][0]) == {"severity", "text", "offset", "row", "hint"}
    assert truncated["problems"][0]["offset"] is not None
    assert signed["content"]["facts"]["tvs"] == ["10.1.1.1:2445"]
    words = run("--help").stdout.replace("\n", " ")
    for key in (*common, "wire", "exit_code", *set(itl["wire"][0]), *set(truncated["problems"][0])):
        assert key in words, key


def test_a_signed_file_is_checked_with_what_else_is_inspected_or_given(files: Files) -> None:
    def signature(*arguments: object) -> tuple[str, str | None]:
        facts = as_json(*arguments)[0]["files"][0]["facts"]
        return facts["signature"], facts["verified_with"]

    assert signature(files.signed) == ("unchecked", None)
    assert signature(files.signed, files.itl) == ("holds", str(files.itl))
    for given in (files.pem, files.bundle, files.itl):
        assert signature(files.signed, "--signer", given) == ("holds", str(given))
    result = run(files.signed)
    assert result.exit_code == 0
    assert "--signer" in result.stdout


def test_a_signer_that_is_no_certificate_is_refused_by_name(files: Files) -> None:
    for wrong in (files.junk, files.folder / "missing"):
        result = run(files.signed, "--signer", wrong)
        assert isinstance(result.exception, SettingsError)
        assert str(wrong) in result.exception.message


def test_the_password_comes_from_a_file_or_a_question_and_never_shows(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(files.other_bundle).exit_code == 3
    secret = tmp_path / "secret"
    secret.write_text("an other one\nsecond line\n")
    by_file = run(files.other_bundle, "--password-file", secret)
    by_question = run(files.other_bundle, "--ask-password", stdin=b"an other one\n")
    monkeypatch.setenv("TRUSTBRIDGE_BUNDLE_PASSWORD_FILE", str(secret))
    by_environment = run(files.other_bundle)
    for result in (by_file, by_question, by_environment):
        assert result.exit_code == 0
        assert "an other one" not in result.output
    wrong = run(files.bundle)
    assert wrong.exit_code == 3
    assert "password" in wrong.stdout
    assert "an other one" not in wrong.output


def test_a_password_file_that_can_not_be_read_is_a_settings_error(files: Files, tmp_path: Path) -> None:
    result = run(files.bundle, "--password-file", tmp_path / "missing")
    assert isinstance(result.exception, SettingsError)


def test_no_option_takes_a_password_itself() -> None:
    assert run("--password", "secret", "x").exit_code == 2


def test_tables_show_records_signer_and_checksums(files: Files) -> None:
    result = run(files.itl)
    shown = result.stdout
    facts = as_json(files.itl)[0]["files"][0]["facts"]
    for value in (facts["md5"], facts["sha1"], facts["signer"], "holds, by the certificate in record 1", "CCM+TFTP"):
        assert value in shown
    assert "signed this file" in shown


def test_tables_fit_a_hundred_columns_without_colour(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "PIPE_WIDTH", 100)
    lines = run(
        "--wire", files.itl, files.signed, files.bundle, files.pem, files.xml, files.truncated
    ).stdout.splitlines()
    assert ESCAPE not in "".join(lines)
    short = [line for line in lines if str(files.folder) not in line]  # the path is as long as it is
    assert max(map(len, short)) <= 100
    # Nothing is cut: the whole subject is there, and each record has its line.
    assert sum(line.strip().startswith(("1  ", "2  ", "3  ")) for line in short) >= 3
    assert "…" not in "".join(lines)


def test_texts_in_a_file_neither_steer_the_terminal_nor_are_markup(files: Files) -> None:
    shown = run("--wire", files.itl).stdout
    assert ESCAPE not in shown
    assert "\x07" not in shown
    assert "\\x1b[31mred\\x07" in shown
    assert "CN=[red]tvs" in shown
    assert inspectview.safe("a\u202eb\nc") == "a\\u202eb\\nc"


def test_the_wire_view_reads_like_show_itl(files: Files) -> None:
    shown = run("--wire", files.itl).stdout
    words = [line.split() for line in shown.splitlines()]
    assert ["OFFSET", "BYTEPOS", "TAG", "LENGTH", "VALUE"] in words
    assert any(line[1:4] == ["1", "RECORDLENGTH", "2"] for line in words)
    assert ["Record", "#:3"] in words
    assert "The ITL file was verified successfully." in shown
    assert "verified successfully" not in run("--wire", files.tampered).stdout


def test_standard_input_is_a_file_too(files: Files) -> None:
    result = run("--json", "-", stdin=files.itl.read_bytes())
    shown = json.loads(result.stdout)["files"][0]
    assert (shown["file"], shown["kind"], shown["verdict"]) == ("-", "trust-list", "good")


def test_a_file_too_large_for_any_of_these_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    shown, code = as_json(large)
    assert (shown["files"][0]["verdict"], code) == ("unopened", 2)
    assert "larger than 64 MiB" in shown["files"][0]["problems"][0]["text"]


def test_an_ascii_terminal_and_odd_file_names_are_no_reason_to_fail(files: Files, tmp_path: Path) -> None:
    odd = tmp_path / "Zürich\nITL"
    odd.write_bytes(files.itl.read_bytes())
    for arguments in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "trustbridge", "inspect", *arguments, str(odd)],
            env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"ITL" in done.stdout
        assert done.stdout.isascii()
