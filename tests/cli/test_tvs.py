"""`trustbridge tvs`: what it prints, for people and programs, and what it leaves as exit code."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trustbridge.cli import logs
from trustbridge.cli.tvs import app
from trustbridge.errors import InvalidCertificate, SettingsError, TrustbridgeError, Unreachable
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit

SIGNER, TWIN, OTHER = (
    self_signed(
        node=name,
        unit=Unit.CALLMANAGER,
        common_name=name,
        organisation=Organisation(o="Lab"),
        now=datetime.now(UTC),
        key="p256",
        serial=serial,
    )
    for name, serial in (("signer", 0x1234ABCD), ("signer", 0x1234ABCD), ("other", 0x99))
)
COMMAND = (sys.executable, "-c", "from trustbridge.cli import main; main()", "tvs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, identity in (("signer", SIGNER), ("twin", TWIN), ("other", OTHER)):
        (tmp_path / f"{name}.pem").write_text(identity.certificate.pem())
    (tmp_path / "key.pem").write_bytes(OTHER.key_pem())
    for store in ("Phone-SAST-trust", "CallManager-trust"):
        (tmp_path / "stores" / store).mkdir(parents=True)
        (tmp_path / "stores" / store / "signer.der").write_bytes(SIGNER.certificate.der)
    return tmp_path


def tvs(folder: Path, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=_environment(folder),
        input=said,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}


@contextlib.contextmanager
def serving(
    folder: Path, *options: str, identity: Sequence[str] = ("--certificate", "other.pem", "--key", "key.pem")
) -> Iterator[tuple[int, str, subprocess.Popen[str]]]:
    """A running `tvs serve`: its port, what it said of itself, its process."""
    with subprocess.Popen(
        [*COMMAND, "serve", "stores", "--port", "0", *identity, *options],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        said = ""
        for line in server.stdout:
            said += line
            if line.startswith("Ctrl-C"):
                break
        try:
            found = re.search(r"on 127\.0\.0\.1 port (\d+)", said)
            assert found, server.communicate()
            yield int(found[1]), said, server
        finally:
            server.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.communicate(timeout=10)
            server.kill()


def test_a_service_says_what_it_is_and_answers(folder: Path) -> None:
    with serving(folder, "--ttl", "600") as (port, said, server):
        assert "vouches for  1 certificates (1 SAST, 1 TFTP) in stores" in said
        assert f"SHA-256 {OTHER.certificate.sha256}" in said
        assert "from this machine only" in said

        done = tvs(folder, "ask", "127.0.0.1", "signer.pem", "--port", str(port))
        assert done.returncode == 0, done.stderr
        for word in ("CN=signer;O=Lab", "serial 1234ABCD", "valid", "SAST, TFTP", "600 s", "the very same", "TLSv1.3"):
            assert word in done.stdout
        assert f"SHA-256 {OTHER.certificate.sha256}" in done.stdout

        both = tvs(folder, "ask", "127.0.0.1", "signer.pem", "other.pem", "--port", str(port))
        assert both.returncode == 1
        assert "not vouched for" in both.stdout

        server.send_signal(signal.SIGINT)
        rest, _ = server.communicate(timeout=10)
        assert rest == "Stopped.\n"
        assert server.returncode == 0


def test_answers_are_json_for_programs(folder: Path) -> None:
    with serving(folder) as (port, _, _):
        done = tvs(folder, "ask", "127.0.0.1", "signer.pem", "twin.pem", "other.pem", "--port", str(port), "--json")
        assert done.returncode == 1
        told = json.loads(done.stdout)
        assert told["tls"] == "TLSv1.3"
        assert told["tvs_certificate"] == {"subject": "CN=other;O=Lab", "sha256": OTHER.certificate.sha256}
        same, twin, other = told["answers"]
        assert 0 < same.pop("seconds") < 10
        assert same == {
            "file": "signer.pem",
            "subject": "CN=signer;O=Lab",
            "serial": "1234ABCD",
            "vouched": True,
            "valid": True,
            "roles": ["SAST", "TFTP"],
            "time_to_live": 86400,
            "returned": "same",
        }
        # Another certificate under the same issuer and serial number: what a query can't tell apart.
        assert (twin["valid"], twin["returned"], twin["vouched"]) == (True, "different", False)
        assert (other["valid"], other["returned"], other["roles"]) == (False, "none", [])

        verified = tvs(folder, "ask", "127.0.0.1", "signer.pem", "twin.pem", "--port", str(port), "--json", "--verify")
        assert verified.returncode == 1
        assert [answer["valid"] for answer in json.loads(verified.stdout)["answers"]] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("ask", "127.0.0.1", "signer.pem"), Unreachable, "can't be reached: Connection refused"),
        (("ask", "127.0.0.1", "missing.pem"), SettingsError, "missing.pem can't be read: No such file"),
        (("ask", "127.0.0.1", "key.pem"), InvalidCertificate, "PEM text without a certificate"),
        (("ask", "127.0.0.1", "signer.pem", "--device", "Téléphone"), SettingsError, "is no name of a phone"),
        (
            ("serve", "stores", "--certificate", "signer.pem", "--key", "key.pem"),
            SettingsError,
            "TLS cannot use this certificate and key",
        ),
        (
            ("serve", "nowhere", "--certificate", "other.pem", "--key", "key.pem"),
            SettingsError,
            "nowhere can't be read",
        ),
        (
            ("serve", "nowhere", "--certificate", "other.pem", "--key", "key.pem", "--workers", "2"),
            SettingsError,
            "nowhere can't be read",
        ),
        (
            ("serve", "stores", "--certificate", "other.pem", "--key", "other.pem"),
            SettingsError,
            "private key in other.pem can't be read",
        ),
        (("serve", "stores", "--key", "key.pem"), SettingsError, "belong together"),
        (("serve", "stores"), SettingsError, "no certificate and key of its own"),
    ],
)
def test_what_keeps_it_from_its_work_has_words(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    error: type[TrustbridgeError],
    words: str,
) -> None:
    monkeypatch.chdir(folder)
    # It would log to this test's standard error for the rest of the process.
    monkeypatch.setattr(logs, "start_logging", lambda: None)
    result = CliRunner().invoke(app, [*arguments, "--port", "1"], env=_environment(folder))
    assert isinstance(result.exception, error)
    assert words in result.exception.message


def test_without_an_identity_it_serves_only_when_told_to_make_one(folder: Path) -> None:
    refused = tvs(folder, "serve", "stores", "--port", "0")
    assert refused.returncode == 2
    assert "--create-identity" in refused.stderr
    assert "Traceback" not in refused.stderr

    own = folder / "state" / "trustbridge" / "tvs"
    with serving(folder, identity=("--create-identity",)) as (port, said, _):
        assert f"Made {own / 'certificate.pem'} and its key" in said
        assert (own / "key.pem").stat().st_mode & 0o777 == 0o600
        assert tvs(folder, "ask", "127.0.0.1", "signer.pem", "--port", str(port)).returncode == 0
    made = (own / "certificate.pem").read_bytes()
    with serving(folder, identity=()) as (_, said, _):
        assert "Made" not in said
    assert (own / "certificate.pem").read_bytes() == made


def test_workers_share_the_port_and_end_with_their_supervisor(folder: Path) -> None:
    (folder / "stores" / "CallManager-trust" / "bad.pem").write_text("junk")
    with serving(folder, "--workers", "2") as (port, said, server):
        assert "served by 2 processes" in said
        pids = [int(pid) for pid in re.findall(r"\d+", said.split("processes (")[1].split(")")[0])]
        assert len(set(pids)) == 2
        assert tvs(folder, "ask", "127.0.0.1", "signer.pem", "--port", str(port)).returncode == 0
        taken = tvs(folder, "serve", "stores", "--port", str(port), "--certificate", "other.pem", "--key", "key.pem")
        assert taken.returncode == 7
        server.kill()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < deadline, "workers outlive their supervisor"
            time.sleep(0.05)
        assert server.stderr is not None
        # One of them says what was passed over, not each.
        assert server.stderr.read().count("bad.pem") == 1
