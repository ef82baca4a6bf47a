"""The command itself: where it listens, its certificate, set-up, its end, and its start again."""

from __future__ import annotations

import os
import re
import signal
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from trustbridge.cli import app
from trustbridge.console.server import alone
from trustbridge.console.tls import FILE, given_identity, own_identity
from trustbridge.errors import NotNow, SettingsError
from trustbridge.storage.database import open_database, upgrade_to_head

PATIENCE = 60.0
NOW = datetime.now(UTC)


class Served:
    """`trustbridge serve`, running."""

    def __init__(self, state: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trustbridge", "serve", "--listen", "127.0.0.1:0", *options],
            env=os.environ | {"TRUSTBRIDGE_STATE_FOLDER": str(state)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if "/setup?token=" in line:
                break
        watchdog.cancel()
        self.url = self.lines[0].rpartition(" ")[2] if self.lines else ""


@contextmanager
def served(state: Path, *options: str) -> Iterator[Served]:
    found = Served(state, *options)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
            found.process.communicate()


def test_it_serves_over_its_own_certificate_and_ends_while_a_page_refreshes_itself(tmp_path: Path) -> None:
    with served(tmp_path, "--no-work") as console:
        fingerprint = re.search(r"fingerprint: ([0-9A-F:]{95})", "\n".join(console.lines))
        assert fingerprint is not None
        address = httpx.URL(console.url)
        assert address.port is not None
        pem = ssl.get_server_certificate((address.host, address.port))
        assert own_identity(tmp_path, "127.0.0.1", NOW).fingerprint == fingerprint[1]
        context = ssl.create_default_context(cadata=pem)
        with httpx.Client(base_url=console.url, verify=context, timeout=PATIENCE) as browser:
            assert browser.get("/health").json() == {"status": "ok"}
            assert "trustbridge_requests_total" in browser.get("/metrics").text
            page = browser.get(console.lines[-1].strip()).text
            token = re.search(r'name="csrf" value="([^"]+)"', page)
            assert token is not None
            form = {
                "csrf": token[1],
                "token": console.lines[-1].rpartition("=")[2],
                "name": "anna",
                "password": "some words of hers",
                "again": "some words of hers",
            }
            made = browser.post("/setup", data=form, headers={"Origin": console.url})
            assert made.status_code == 303
            with browser.stream("GET", "/live/overview") as events:
                lines = events.iter_lines()
                assert any(line == "event: show" for line in lines)
                console.process.send_signal(signal.SIGTERM)
                assert "event: leave" not in list(lines), "the browser is to ask again, and not to go"
        _, error = console.process.communicate(timeout=PATIENCE)
        assert console.process.returncode == 0, error
        assert "Traceback" not in error
        assert "some words" not in error
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_two_of_one_state_folder_are_one_too_many(tmp_path: Path) -> None:
    with alone(tmp_path):
        with pytest.raises(NotNow, match="another console"), alone(tmp_path):
            pass
        with served(tmp_path) as second:
            _, error = second.process.communicate(timeout=PATIENCE)
            assert second.process.returncode == NotNow.exit_code
            assert "another console runs" in error
    with alone(tmp_path):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--listen", "8443"], "HOST:PORT"),
        (["--listen", "0.0.0.0:8080", "--plain-http"], "would show passwords"),
        (["--certificate", "a.pem"], "go together"),
        (["--certificate", "a.pem", "--key", "a.key"], "can't be used"),
        (["--certificate", "a.pem", "--key", "a.key", "--plain-http"], "exclude"),
    ],
)
def test_options_that_will_not_do(options: list[str], words: str) -> None:
    found = CliRunner().invoke(app, ["serve", *options])
    assert isinstance(found.exception, SettingsError)
    assert words in found.exception.message + found.exception.hint


def test_the_certificate_is_kept_until_it_ends_or_lacks_a_name(tmp_path: Path) -> None:
    first = own_identity(tmp_path, "127.0.0.1", NOW)
    assert own_identity(tmp_path, "127.0.0.1", NOW + timedelta(days=700)) == first
    renewed = own_identity(tmp_path, "127.0.0.1", NOW + timedelta(days=800))
    assert renewed.fingerprint != first.fingerprint
    other = own_identity(tmp_path, "console.example.com", NOW)
    assert other.fingerprint != renewed.fingerprint
    assert given_identity(tmp_path / FILE, tmp_path / FILE).fingerprint == other.fingerprint
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:100])
    assert own_identity(tmp_path, "console.example.com", NOW).fingerprint != other.fingerprint


def test_a_key_of_another_certificate_is_not_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        own_identity(tmp_path / name, "127.0.0.1", NOW)
    with pytest.raises(SettingsError, match="can't be used"):
        given_identity(tmp_path / "a" / FILE, tmp_path / "none")
    certificate = (tmp_path / "a" / FILE).read_text().partition("-----BEGIN CERTIFICATE")
    (tmp_path / "only.pem").write_text(certificate[1] + certificate[2])
    with pytest.raises(SettingsError, match="can't be used"):
        given_identity(tmp_path / "only.pem", tmp_path / "b" / FILE)


def test_health_says_when_the_database_is_away(tmp_path: Path) -> None:
    from tests.console.desks import CHEAP, HERE, Browser, Clock

    from trustbridge.console.app import create_app
    from trustbridge.console.desk import Desk

    engine = open_database("", tmp_path / "desk")
    upgrade_to_head(engine)
    with Browser(create_app(Desk(engine, tmp_path / "desk", now=Clock(), hashing=CHEAP, work=False)), HERE) as browser:
        assert browser.get("/health").status_code == 200
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE alembic_version RENAME TO gone")
        assert browser.get("/health").status_code == 503
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO alembic_version")
    engine.dispose()
