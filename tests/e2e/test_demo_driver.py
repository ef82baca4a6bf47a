"""`trustbridge demo --through-driver`: the whole procedure with nothing but what real clusters and phones offer."""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.e2e import programs
from tests.e2e.site import DESTINATION, SOURCE, Site
from tests.lab.prepared import ENCRYPTED, TVS, LiveLab, Prepared, lab_definition, phones

from trustbridge.cli.demoscreen import Silent
from trustbridge.cucm.model import Interface
from trustbridge.errors import Unreachable
from trustbridge.expectations import Rehearsal
from trustbridge.lab import definition
from trustbridge.lab.lab import Lab
from trustbridge.lab.node import Node
from trustbridge.lab.phone import LabPhone
from trustbridge.migration.rehearsal import Premises, rehearse
from trustbridge.pki.units import BulkType
from trustbridge.trust.events import Kept

command = importlib.import_module("trustbridge.cli.demo")  # the package has the function under this name

Demo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def demo(prepared: Prepared, tmp_path: Path) -> Demo:
    """The real command, with keys that are there already."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        more = programs.quick(prepared.folder)
        done = programs.run(tmp_path, "demo", "--through-driver", *arguments, alone=True, more=more)
        if not programs.isolated() and (done.returncode == 7 or "shows its pages" in done.stderr):
            pytest.skip(f"another lab is on this machine, and no network namespace is granted: {done.stderr}")
        return done

    return run


# The command.


def test_from_a_release_without_rest_to_one_with_it(demo: Demo, tmp_path: Path) -> None:
    done = demo("--json", "--phones", "6", "--source-release", "12.5", "--destination-release", "15")
    assert done.returncode == 0, (done.stdout, done.stderr)
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert (found["phones"], found["secure"]) == (6, 2)
    assert found["registered"] == {SOURCE: 2, DESTINATION: 4}
    assert len(found["expectations"]) == 21
    assert all(item["held"] for item in found["expectations"])
    assert sum(found["seconds"].values()) < 60
    assert "restarted by the import, and back" in {item["what"] for item in found["expectations"]}
    assert "status: Trust List Update Failed" in found["one_stranded_phone"]
    assert any(line.endswith(".cnf.xml.sgn") for line in found["one_moved_phone"])
    ways = found["ways"]
    assert set(ways) == {SOURCE, DESTINATION, "phones"}
    assert Interface.REST not in ways[SOURCE]
    assert {"identities", "trust stores", "bulk commands"} <= set(ways[SOURCE][Interface.CLI])
    assert ways[DESTINATION][Interface.REST] == ["identities", "trust stores"]
    assert "bulk commands" in ways[DESTINATION][Interface.CLI]
    assert {"phones", "option 150", "resets"} <= set(ways[SOURCE][Interface.AXL])
    assert "resets" in ways[DESTINATION][Interface.AXL]
    for cluster in (SOURCE, DESTINATION):
        assert {Interface.RIS, Interface.TVS, Interface.HTTP_FILES} <= set(ways[cluster])
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_other_way_round_to_read_and_to_keep(demo: Demo, tmp_path: Path) -> None:
    done = demo("--keep", "--phones", "3", "--non-secure", "--source-release", "15", "--destination-release", "12.5")
    assert done.returncode == 0, (done.stdout, done.stderr)
    said = " ".join(done.stdout.split())
    assert "All 21 expectations held" in said
    assert "source: release 15, non-secure" in said
    assert "through the driver" in said
    assert "certificate REST: identities of the source, trust stores of the source" in said
    assert "status: Trust List Update Failed" in said
    # What the driver keeps is with the demo; the user's own clusters know nothing of it.
    state = tmp_path / ".local" / "state" / "trustbridge"
    assert [path.name for path in state.iterdir()] == ["demos"]
    (folder,) = (state / "demos").iterdir()
    kept = folder / "driver"
    assert {path.name for path in kept.iterdir()} >= {"known_hosts", "known_certificates.json", "exchanges"}
    assert kept.stat().st_mode & 0o077 == 0
    (record,) = (kept / "exchanges").iterdir()
    events = [json.loads(line) for line in (record / "journal.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "finished"
    written = [event["what"] for event in events if event["event"] == "write"]
    assert sum(what.startswith("bulk import of") for what in written) == 2
    assert not any(what.startswith("reset") for what in written)  # it is the exchange's record


@pytest.mark.parametrize("option", ["--source-release", "--destination-release"])
def test_a_release_is_a_release(tmp_path: Path, option: str) -> None:
    done = programs.run(tmp_path, "demo", option, "newest", alone=True)
    assert done.returncode == 2
    assert f"{option} newest" in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_tvs_that_is_down_is_exit_code_1(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command itself, at addresses of this test run's own."""
    start, made = Node.start, Lab.open

    async def start_without_tvs(node: Node) -> None:
        await start(node)
        if node.name == "src-sub1":
            await node.stop_service(TVS)

    def opened(folder: Path, wanted: definition.LabDefinition) -> Lab:
        return made(prepared.lab(folder / "lab", wanted))

    monkeypatch.setattr(Node, "start", start_without_tvs)
    monkeypatch.setattr(Lab, "open", opened)
    monkeypatch.setattr(definition, "default", lambda **_: lab_definition(phones(2)))
    with pytest.raises(typer.Exit) as caught:
        command.demo(phones=2, as_json=True, through_driver=True)
    found = json.loads(capsys.readouterr().out)
    assert caught.value.exit_code == 1
    assert {item["what"] for item in found["expectations"] if not item["held"]} == {
        "every TVS of the source vouches for the destination",
        "nothing else stands against it",
    }
    assert any(item["seen"].startswith("src-sub1: no answer") for item in found["expectations"])
    assert found["registered"] == {SOURCE: 1, DESTINATION: 1}  # by the other TVS of the group


def test_ctrl_c_in_the_middle_of_the_exchange_leaves_nothing(prepared: Prepared, tmp_path: Path) -> None:
    more = programs.quick(prepared.folder)
    process = programs.start(tmp_path, "demo", "--through-driver", "--json", "-n", "3", alone=True, more=more)
    programs.until(lambda: any((tmp_path / "tmp").glob("*/driver/exchanges/*/journal.jsonl")), process)
    done = programs.ended(process, signal.SIGINT)
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "")
    assert list((tmp_path / "tmp").iterdir()) == []


# Through the driver alone.


def test_the_driven_rehearsal_knows_no_lab() -> None:
    """Whatever it loads, it has no lab to look into, nor a lab's services."""
    code = "import sys, trustbridge.migration.rehearsal; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("trustbridge.")}
    assert "trustbridge.cucm.cluster" in loaded
    assert not {name for name in loaded if name.split(".")[1] in ("lab", "services", "cli")}


# Expectations that fail.


def rehearsed(live: LiveLab, state: Path, **changes: Any) -> Rehearsal:
    """Driven from a loop of its own: all the lab and the driver share are sockets, and the switch."""

    async def power_on() -> None:
        await asyncio.to_thread(live.boot)

    premises: Premises = replace(live.do(command._premises(live.lab)), state=state, **changes)
    return asyncio.run(rehearse(premises, power_on, Silent()))


def test_what_phones_lose_and_what_is_not_refused_is_seen_from_outside(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = LabPhone.boot
    with site.up(phones(3), phones(1, security=ENCRYPTED)) as live:
        loser, other = live.phones[0], live.phones[2]

        async def altered(phone: LabPhone) -> Any:
            if phone is loser and phone.outcome is not None and phone.tftp_servers[0].startswith("127.61"):
                phone.flash.erase_trust()  # as somebody does at the phone, in the middle of it
            outcome = await boot(phone)
            itl = phone.flash.kept(Kept.ITL)
            if phone is other and live.lab.cluster_of(phone) == DESTINATION and itl is not None:
                phone.flash.write(Kept.ITL, itl[:-1] + bytes([itl[-1] ^ 1]))
            return outcome

        async def exported_before() -> None:
            live.source.configure_sftp(live.lab.sftp_settings())
            await live.source.export(tuple(BulkType))

        monkeypatch.setattr(LabPhone, "boot", altered)
        live.do(exported_before())
        found = rehearsed(live, tmp_path / "state")
    failed = {item.what: item.seen for item in found.expectations if not item.held}
    assert set(failed) == {
        "show 'Trust List Update Failed'",
        "are still registered at the source",
        "have lost nothing: trust lists and configuration as before",
        "consolidating is refused after one export",
        "with the destination's trust lists",
    }
    assert failed["with the destination's trust lists"].startswith(f"3 of 4 phones; not {other.name}")
    assert failed["show 'Trust List Update Failed'"].startswith(f"3 of 4 phones; not {loser.name}: ")
    assert not found.held


def test_phones_without_pages_are_no_rehearsal(site: Site, tmp_path: Path) -> None:
    with site.up(phones(1)) as live, pytest.raises(Unreachable, match="none of 1 registered phones shows its pages"):
        rehearsed(live, tmp_path / "state", phone_port=1, quiet=0.2)
