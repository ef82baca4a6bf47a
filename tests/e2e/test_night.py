"""The whole of it, twice: 300 phones, two releases, a real Kea, on SQLite and on PostgreSQL.

Check finds what was planted; the prediction is what becomes of the phones; the campaign changes option 150 site by
site; a worker is killed and another goes on; a wave trips the stop rule; a wave goes back; the report tells it all.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.night import FOREIGN, GDANSK, KRAKOW, SIZES, STRANGERS, STUBBORN, WARSAW, Night, night
from tests.interop.test_kea_provider import KEA
from tests.storage.databases import server, url
from typer.testing import CliRunner, Result

from trustbridge.cli import app
from trustbridge.cucm.ris import Budget
from trustbridge.errors import NotNow
from trustbridge.lab.phone import LabPhone
from trustbridge.services.ris import RisLimits

__all__ = ["server", "url"]

pytestmark = [
    pytest.mark.skipif(KEA is None, reason="needs kea-dhcp4 (Debian package kea-dhcp4-server)"),
    pytest.mark.timeout(300),
]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Night]:
    async def spend(budget: Budget) -> None:
        return None

    # Calls are not counted: a minute's allowance is a minute's wait.
    monkeypatch.setattr(Budget, "spend", spend)
    monkeypatch.setattr(RisLimits, "count", lambda limits: None)

    def starting(tell: Callable[[LabPhone], None]) -> None:
        option150 = LabPhone._option150

        async def started(phone: LabPhone) -> tuple[str, ...]:
            tell(phone)
            return typed if phone.name in here.stubborn else await option150(phone)

        monkeypatch.setattr(LabPhone, "_option150", started)

    kea = tmp_path / "kea"
    kea.mkdir()
    with night(tmp_path / "lab", kea, starting) as here:
        typed = here.live.source.definition.tftp_addresses()
        yield here


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=True)


def did(*arguments: str, code: int = 0) -> Any:
    done = command(*arguments, "--json")
    assert done.exit_code == code, (done.stdout[-2000:], done.stderr, done.exception)
    assert done.stdout, (done.stderr, done.exception)
    return json.loads(done.stdout)


def states(found: Any, wave: str = "") -> Counter[str]:
    return Counter(phone["state"] for phone in found["phones"] if wave in phone["wave"])


def test_from_the_check_to_the_report(site: Night, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBRIDGE_DATABASE_URL", url)
    live, port = site.live, str(site.live.lab.ports.web)
    both = ("source", "destination")
    old = live.source.definition.tftp_addresses()
    new = live.destination.definition.tftp_addresses()

    # Check finds what was planted, and nothing is begun against it.
    found = did("check", *both, "--page-port", port, code=1)
    by_id: dict[str, list[Any]] = {}
    for one in found["findings"]:
        by_id.setdefault(one["id"], []).append(one)
    assert any("src-sub2" in one["subject"] + one["evidence"] for one in by_id["TB102"])
    assert any(f"{SIZES[GDANSK]} phones" in one["consequence"] for one in by_id["TB102"])
    assert any(str(FOREIGN) in one["evidence"] + one["consequence"] for one in by_id["TB122"])
    assert any(str(STRANGERS) in one["evidence"] + one["consequence"] for one in by_id["TB151"])
    stops = {one["id"] for one in found["findings"] if one["severity"] == "stop"}
    foretold = {phone["name"]: phone for phone in did("predict", *both, "--page-port", port, code=1)["phones"]}
    assert Counter(phone["forecast"] for phone in foretold.values()) == {
        "moves": 300 - SIZES[GDANSK] - FOREIGN - STUBBORN,
        "strands": SIZES[GDANSK],
        "unknown": FOREIGN + STUBBORN,
    }

    # Phones that the destination does not know are created there. The TVS is left as it is, for now.
    created = did("devices", "create", *both, "--yes")
    assert set(created["done"]) == site.strangers
    sites = [f"{where}=subnet {number}" for number, where in enumerate((WARSAW, KRAKOW, GDANSK), 1)]
    planned = did(
        *("migrate", "plan", "night", *both, "--kea", site.socket),
        *(word for text in sites for word in ("--site-scope", text)),
        *("--pilot", "5", "--pilot-site", WARSAW, "--by", "device-pool", "--wave-size", "150", "--unfit", "skip"),
        *("--resets-a-minute", "6000", "--under-way", "300", "--tvs-load", "300"),
        *("--look", "0.5", "--settle", "1", "--lease", "6", "--doubt", "8", "--phone-port", port),
    )
    assert [(wave["name"], wave["phones"]) for wave in planned["waves"]] == [
        ("pilot", 5),
        ("wave-1 Gdansk", SIZES[GDANSK]),
        ("wave-2 Krakow", SIZES[KRAKOW]),
        ("wave-3 Warsaw", SIZES[WARSAW] - 5),
    ]
    assert {phone["predicted"] for phone in planned["phones"] if phone["state"] == "skipped"} == {"strands"}
    assert states(planned, GDANSK) == {"skipped": SIZES[GDANSK]}
    assert len(planned["option150"]) == 3
    assert not site.starts
    assert site.option150() == {WARSAW: old, KRAKOW: old, GDANSK: old}
    refused = command("migrate", "start", "night")
    assert isinstance(refused.exception, NotNow)
    assert "TB102" in refused.exception.message
    assert not site.starts

    # A worker is killed in the middle of a wave; another one goes on, until that wave trips the stop rule.
    accepted = [word for one in sorted(stops) for word in ("--accept", one)]
    process = subprocess.Popen(
        [sys.executable, "-m", "trustbridge", "migrate", "start", "night", "--json", *accepted],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ.copy(),
    )
    deadline = time.monotonic() + 120
    while not any(phone["resets"] for phone in did("migrate", "status", "night")["phones"] if KRAKOW in phone["wave"]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.communicate()
    halted = did("migrate", "start", "night", code=1)
    assert halted["state"] == "halted"
    assert "wave-2 Krakow" in halted["reason"]
    assert states(halted, "pilot") == {"moved": 5}
    assert states(halted, GDANSK) == {"skipped": SIZES[GDANSK]}
    assert states(halted, WARSAW) == {"planned": SIZES[WARSAW] - 5}
    assert {phone["name"] for phone in halted["phones"] if phone["state"] == "stranded"} <= site.stubborn
    assert site.option150() == {WARSAW: new, KRAKOW: new, GDANSK: old}
    # Nobody was reset twice for one step, though one worker was killed.
    assert set(site.starts.values()) == {1}

    # Why one of them stands where it stands.
    stranded = next(phone for phone in halted["phones"] if phone["state"] == "stranded")
    diagnosis = command("diagnose", stranded["name"], "--page-port", port)
    assert diagnosis.exit_code in (0, 1), (diagnosis.stdout, diagnosis.stderr, diagnosis.exception)
    assert "stranded" in diagnosis.stdout
    assert "TB150" in diagnosis.stdout

    # Both are mended; what failed or was left out is foretold again, and goes; the rest goes on.
    live.exchange()
    unforeseen, site.stubborn = site.stubborn, set()
    done = did("migrate", "resume", "night", "--retry")
    assert done["state"] == "finished"
    assert states(done) == {"moved": 300 - FOREIGN, "skipped": FOREIGN}
    assert site.option150() == {WARSAW: new, KRAKOW: new, GDANSK: new}
    assert Counter(live.whereabouts()) == {"destination": 300 - FOREIGN, "source": FOREIGN}
    # Those of a list of nobody's were never touched; who strayed was one that nobody could foresee.
    assert not site.foreign & set(site.starts)
    assert {name for name, count in site.starts.items() if count > 1} <= unforeseen
    moved = {phone["name"]: phone["predicted"] for phone in done["phones"] if phone["state"] == "moved"}
    assert {name for name, predicted in moved.items() if predicted != "moves"} <= unforeseen

    # A wave goes back, and its scope with it.
    back = did("migrate", "rollback", "night", "--wave", "wave-1 Gdansk", "--yes")
    assert states(back, GDANSK) == {"rolled back": SIZES[GDANSK]}
    assert site.option150() == {WARSAW: new, KRAKOW: new, GDANSK: old}
    assert site.whereabouts(GDANSK) == {"source": SIZES[GDANSK]}
    assert site.whereabouts(KRAKOW) == {"destination": SIZES[KRAKOW]}

    # The report.
    page = tmp_path / "report.html"
    report = did("report", "night", "--html", str(page))
    text = page.read_text("utf-8")
    for words in (
        "wave-2 Krakow",
        "option 150",
        "rolled back",
        *old,
        *new,
        "trustbridge devices undo source destination",
    ):
        assert words in text
    counted = Counter(phone["state"] for phone in report["phones"])
    assert counted == states(back)
    # Each reset that was requested was sent, and started a phone once, but for those that a killed worker had not sent.
    unsent = sum("the reset was not sent" in entry["reason"] for entry in back["journal"])
    assert sum(phone["resets"] for phone in report["phones"]) - unsent == sum(site.starts.values())
