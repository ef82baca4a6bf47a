"""`trustbridge migrate` in a lab: twenty phones, a pilot, one that strands, a halt, a kill, and the way back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.site import Site
from tests.e2e.test_cluster import credentials_of, entry_of
from tests.lab.prepared import LiveLab, phones
from tests.storage.databases import server, url
from typer.testing import CliRunner, Result

from trustbridge.cli import app
from trustbridge.cucm.ris import Budget
from trustbridge.lab.phone import LabPhone
from trustbridge.services.ris import RisLimits
from trustbridge.settings import load
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile

__all__ = ["server", "url"]


@pytest.fixture
def live(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveLab]:
    """Twenty phones at the source, after the exchange; option 150 names the destination. Calls are not counted: a
    minute's allowance is a minute's wait."""

    async def spend(budget: Budget) -> None:
        return None

    monkeypatch.setattr(Budget, "spend", spend)
    monkeypatch.setattr(RisLimits, "count", lambda limits: None)
    with site.up(phones(20), exchanged=True) as live:
        live.boot()
        state = load().state_folder
        for cluster in live.lab.clusters.values():
            Inventory(state).add(entry_of(cluster), replace=True)
            PasswordFile(state).keep(cluster.name, credentials_of(cluster))
        live.point_at("destination")
        yield live


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["migrate", *arguments], catch_exceptions=True)


def did(*arguments: str, code: int = 0) -> Any:
    done = command(*arguments, "--json")
    assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
    assert done.stdout, (done.stderr, done.exception)
    return json.loads(done.stdout)


def states(found: Any) -> Counter[str]:
    return Counter(phone["state"] for phone in found["phones"])


def plan(live: LiveLab, *more: str) -> Any:
    fast = ("--look", "0.3", "--settle", "0.5", "--lease", "4", "--doubt", "6", "--phone-port", str(live.lab.ports.web))
    waves = ("--pilot", "4", "--wave-size", "16", "--resets-a-minute", "1000")
    return did("plan", "move", "source", "destination", *waves, *fast, *more)


def test_pilot_halt_kill_resume_and_back(live: LiveLab, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBRIDGE_DATABASE_URL", url)
    planned = plan(live)
    assert [(wave["name"], wave["phones"]) for wave in planned["waves"]] == [("pilot", 4), ("wave-1", 16)]
    assert command("start", "move").exit_code == 1  # raised: option 150
    # Somebody has typed the source's TFTP servers into a phone of the pilot.
    name = next(phone["name"] for phone in planned["phones"] if phone["wave"] == "pilot")
    servers, option150 = live.phones[0].tftp_servers, LabPhone._option150

    starts: Counter[str] = Counter()
    stubborn = {name}

    async def started(phone: LabPhone) -> tuple[str, ...]:
        starts[phone.name] += 1
        return servers if phone.name in stubborn else await option150(phone)

    monkeypatch.setattr(LabPhone, "_option150", started)
    halted = did("start", "move", "--option150-done", code=1)
    assert halted["state"] == "halted"
    assert states(halted) == {"moved": 3, "stranded": 1, "planned": 16}
    (stranded,) = [phone for phone in halted["phones"] if phone["state"] == "stranded"]
    assert stranded["name"] == name
    assert "TB150" in stranded["reason"]
    assert any("source: Registered" in words for words in stranded["evidence"])
    stubborn.clear()
    # It is corrected, and everything goes on: by a worker that is killed, then by another one.
    process = subprocess.Popen(
        [sys.executable, "-m", "trustbridge", "migrate", "resume", "move", "--retry", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ.copy(),
    )
    deadline = time.monotonic() + 60
    while not any(phone["resets"] for phone in did("status", "move")["phones"] if phone["wave"] == "wave-1"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = did("start", "move")
    assert done["state"] == "finished"
    assert states(done) == {"moved": 20}
    # What the killed worker had asked for and not sent, is asked for once more: no phone has started twice for it.
    assert starts == {phone["name"]: 2 if phone["name"] == name else 1 for phone in done["phones"]}
    assert Counter(live.whereabouts()) == {"destination": 20}
    assert "moved" in command("status", "move").stdout
    # One wave back.
    live.point_at("source")
    back = did("rollback", "move", "--wave", "pilot", "--option150-done", "--yes")
    assert states(back) == {"rolled back": 4, "moved": 16}
    assert Counter(live.whereabouts()) == {"source": 4, "destination": 16}


def test_plans_that_are_none(live: LiveLab, tmp_path: Path) -> None:
    listed = tmp_path / "phones.csv"
    listed.write_text("name\nSEP999999999999\n")
    assert "has no phone" in str(command("plan", "x", "source", "destination", "--csv", str(listed)).exception)
    assert "same cluster" in str(command("plan", "x", "source", "source").exception)
    assert "no window" in str(command("plan", "x", "source", "destination", "--window", "tonight").exception)
    assert did("status") == []
