"""`trustbridge remote` against a console that runs: what it shows, what it may do, and whom it tells its token."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.console.desks import CHEAP, PASSWORD
from tests.storage.databases import planned
from typer.testing import CliRunner, Result

from trustbridge.cli import app
from trustbridge.cli.remote import TOKEN_VARIABLE
from trustbridge.console.desk import Desk
from trustbridge.cucm.access import CERTIFICATES
from trustbridge.errors import AuthenticationRefused, IdentityChanged, NotNow, SettingsError, Unreachable
from trustbridge.settings import load
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.storage.people import Role

NOW = datetime.now(UTC)


class Server:
    """A console over HTTPS in a process of its own, with two campaigns; tokens by role."""

    def __init__(self, state: Path) -> None:
        self.state = state
        engine = open_database("", state)
        upgrade_to_head(engine)
        desk = Desk(engine, state, hashing=CHEAP, work=False)
        work = CampaignWork(engine, "test")
        planned(work, "move", 2, 3)
        planned(work, "other", 2, first=100)
        work.begin("other", option150="destination", now=NOW)
        self.tokens = {}
        for role in (Role.VIEWER, Role.OPERATOR):
            person = desk.accounts.add(str(role), role, PASSWORD)
            _, self.tokens[role] = desk.accounts.make_token(person, "script", role, NOW + timedelta(days=1))
        engine.dispose()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trustbridge", "serve", "--listen", "127.0.0.1:0", "--no-work"],
            env=os.environ | {"TRUSTBRIDGE_STATE_FOLDER": str(state)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        watchdog = threading.Timer(60, self.process.kill)
        watchdog.start()
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        watchdog.cancel()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("console"))
    yield made
    made.stop()


def command(server: Server, *arguments: str, role: Role = Role.OPERATOR) -> Result:
    return CliRunner(env={TOKEN_VARIABLE: server.tokens[role]}).invoke(
        app, ["remote", *arguments, "--console", server.url]
    )


def did(server: Server, *arguments: str) -> Any:
    done = command(server, *arguments)
    assert done.exit_code == 0, (done.stdout, done.stderr, done.exception)
    return json.loads(done.stdout)


def test_campaigns_are_seen_and_told_what_to_do(server: Server, tmp_path: Path) -> None:
    assert [one["name"] for one in did(server, "campaigns", "--json")] == ["move", "other"]
    table = command(server, "campaigns")
    assert "source -> destination" in table.stdout
    assert "5 planned" in table.stdout
    assert did(server, "get", "me")["role"] == "operator"
    assert did(server, "pause", "other", "--json")["state"] == "paused"
    assert did(server, "resume", "other", "--json")["state"] == "running"
    assert "wave-1" in command(server, "status", "move").stdout
    page = tmp_path / "report.html"
    assert command(server, "report", "move", "--html", str(page)).exit_code == 0
    assert "<html" in page.read_text("utf-8")


def test_what_the_console_refuses_is_told_in_its_words(server: Server) -> None:
    viewer = command(server, "pause", "other", role=Role.VIEWER)
    assert isinstance(viewer.exception, AuthenticationRefused)
    missing = command(server, "status", "none")
    assert isinstance(missing.exception, SettingsError)
    never = command(server, "resume", "move")
    assert isinstance(never.exception, NotNow)
    assert "was not begun" in never.exception.message
    assert isinstance(command(server, "start", "move").exception, NotNow)  # nobody said what option 150 names
    asked = command(server, "rollback", "other")
    assert isinstance(asked.exception, SettingsError)


def test_a_token_is_told_to_nobody_else(server: Server, tmp_path: Path) -> None:
    assert command(server, "campaigns").exit_code == 0
    kept = load().state_folder / CERTIFICATES
    kept.write_text(re.sub(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", ":".join(["AB"] * 32), kept.read_text()))
    changed = command(server, "campaigns")
    assert isinstance(changed.exception, IdentityChanged), changed.exception
    for address, kind in (
        ("http://192.0.2.1:8000", SettingsError),
        ("console.example.com", SettingsError),
        ("https://127.0.0.1:1", Unreachable),
    ):
        refused = CliRunner(env={TOKEN_VARIABLE: "secret-token"}).invoke(
            app, ["remote", "campaigns", "--console", address]
        )
        assert isinstance(refused.exception, kind), refused.exception
        assert "secret-token" not in str(refused.exception)
    nobody = CliRunner().invoke(app, ["remote", "campaigns", "--console", server.url])
    assert isinstance(nobody.exception, SettingsError)
    assert "no API token" in nobody.exception.message
    wrong = tmp_path / "token"
    wrong.write_text("no such token\n")
    wrong.chmod(0o600)
    kept.unlink()
    refused = CliRunner().invoke(app, ["remote", "campaigns", "--console", server.url, "--token-file", str(wrong)])
    assert isinstance(refused.exception, AuthenticationRefused)
