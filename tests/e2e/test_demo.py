"""`trustbridge demo`: that it proves what it says, and says so when it does not hold."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.e2e import programs
from tests.e2e.site import DESTINATION, Site
from tests.lab.prepared import ENCRYPTED, LiveLab, Prepared, phones

from trustbridge.cli.demoscreen import Silent
from trustbridge.expectations import Expectation, Rehearsal
from trustbridge.lab import rehearsal
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.lab import Lab, is_lab
from trustbridge.lab.phone import LabPhone
from trustbridge.lab.rehearsal import rehearse
from trustbridge.trust.events import Kept

STEPS = (
    "Phones start at the source",
    "A control group, without any exchange",
    "Exchange of certificates",
    "Proof, before a phone is touched",
    "Option 150 and reset: phones move",
    "One wave goes back",
)


Demo = Callable[..., subprocess.CompletedProcess[str]]


def taken(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether the demo met another lab, which it can where the system grants no network namespace."""
    return done.returncode == 7 and not programs.isolated()


@pytest.fixture
def demo(prepared: Prepared, tmp_path: Path) -> Demo:
    """The real command, with keys that are there already."""

    def run(*arguments: str, more: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        more = programs.quick(prepared.folder) if more is None else more
        done = programs.run(tmp_path, "demo", *arguments, alone=True, more=more)
        if taken(done):
            pytest.skip(f"another lab is on this machine, and no network namespace is granted: {done.stderr}")
        return done

    return run


# The command.


def test_the_whole_procedure_in_one_command(demo: Demo, tmp_path: Path) -> None:
    done = demo("--json", "--phones", "12", more={})  # keys of its own, all of it as a user runs it
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # and nothing else
    assert found["ok"] is True
    assert (found["phones"], found["secure"]) == (12, 4)
    assert found["registered"] == {"source": 3, "destination": 9}
    assert tuple(found["seconds"]) == STEPS
    assert sum(found["seconds"].values()) < 60
    assert len(found["expectations"]) == 19
    assert {item["step"] for item in found["expectations"]} == set(STEPS)
    assert all(item["held"] for item in found["expectations"])
    assert any("does not know the signer" in line for line in found["one_stranded_phone"])
    assert any("vouches for the signer" in line for line in found["one_moved_phone"])
    assert list((tmp_path / "tmp").iterdir()) == []


def test_with_secure_phones_only(demo: Demo) -> None:
    done = demo("--json", "--phones", "6", "--secure")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert (found["phones"], found["secure"]) == (6, 6)
    assert found["registered"] == {"source": 2, "destination": 4}
    assert len(found["expectations"]) == 19


def test_people_read_what_happened_to_non_secure_phones_and_may_keep_the_lab(demo: Demo, tmp_path: Path) -> None:
    done = demo("--phones", "3", "--non-secure", "--keep")
    assert done.returncode == 0, done.stderr
    for step in STEPS:
        assert step in done.stdout
    assert "All 19 expectations held" in done.stdout
    assert re.search(r"3 phones.*0.*encrypted", done.stdout)
    assert "CTL signed by" not in done.stdout
    assert "\x1b[" not in done.stdout  # no terminal, no colours
    (folder,) = (tmp_path / ".local" / "state" / "trustbridge" / "demos").iterdir()
    assert f"trustbridge lab up {folder}" in done.stdout
    assert is_lab(folder)
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("held", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_tells_whether_all_held(monkeypatch: pytest.MonkeyPatch, held: bool, code: int) -> None:
    expectations = [Expectation("step", "this holds", True, ""), Expectation("step", "what", held, "seen")]

    async def run(*_: Any) -> Rehearsal:
        return Rehearsal(expectations)

    command = importlib.import_module("trustbridge.cli.demo")  # the package has the function under this name
    monkeypatch.setattr(command, "_run", run)
    with pytest.raises(typer.Exit) as caught:
        command.demo(phones=1)
    assert caught.value.exit_code == code


@pytest.mark.parametrize("moment", ["keys", "phones"])
def test_ctrl_c_ends_it_without_a_trace(prepared: Prepared, tmp_path: Path, moment: str) -> None:
    more = programs.quick(prepared.folder) if moment == "phones" else {}
    process = programs.start(tmp_path, "demo", "--json", "--phones", "60", alone=True, more=more)
    sign = {"keys": "*/definition.json", "phones": "*/sftp/host_key"}[moment]
    programs.until(lambda: any((tmp_path / "tmp").glob(sign)), process)
    done = programs.ended(process, signal.SIGINT)
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "")
    assert list((tmp_path / "tmp").iterdir()) == []


# The expectations, each of which can fail.


def rehearsed(live: LiveLab) -> Rehearsal:
    return live.do(rehearse(live.lab, Silent()))


def failed(found: Rehearsal) -> set[str]:
    assert found.held is (not any(not item.held for item in found.expectations))
    return {item.what for item in found.expectations if not item.held}


MOVED = {"registered at the destination", "with the destination's trust lists", "after asking a TVS of the source"}


@pytest.fixture
def live(site: Site) -> Any:
    with site.up(phones(4), phones(2, security=ENCRYPTED)) as live:
        yield live


def test_everything_holds_in_any_lab(live: LiveLab) -> None:
    found = rehearsed(live)
    assert failed(found) == set()
    assert found.held
    assert (found.phones, found.secure, found.at_the_end) == (6, 2, {"source": 2, "destination": 4})


def test_phones_that_the_import_restarts_are_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    prove = rehearsal._Run.prove
    booted: list[str] = []

    async def late(run: Any) -> None:
        assert sorted(booted) == sorted(run.lab.fleet.phones)
        await prove(run)

    with site.up(phones(2), phones(1, security=ENCRYPTED), source={"release": "12.5"}) as live:
        fleet = live.lab.fleet
        boot = fleet.boot

        def restarted(chosen: Any) -> None:
            async def slowly() -> None:
                await asyncio.sleep(0.2)
                await boot(chosen)
                booted.extend(phone.name for phone in chosen)

            task = asyncio.get_running_loop().create_task(slowly())
            fleet._resets.add(task)
            task.add_done_callback(fleet._resets.discard)

        monkeypatch.setattr(fleet, "reset_soon", restarted)
        monkeypatch.setattr(rehearsal._Run, "prove", late)
        assert failed(rehearsed(live)) == set()


def never(side: str) -> Callable[..., Any]:
    real = Cluster.import_

    async def import_(cluster: Cluster, *arguments: Any) -> Any:
        return [] if cluster.name == side else await real(cluster, *arguments)

    return import_


def test_a_source_that_never_imports_strands_all(live: LiveLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "import_", never("source"))
    found = rehearsed(live)
    assert not found.held
    assert failed(found) == MOVED | {
        "imported on the source",
        "every TVS of the source vouches for the destination",
        "the others stay at the destination",
    }
    assert found.at_the_end == {"source": 6}


def test_a_destination_that_never_imports_lets_nobody_back(live: LiveLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "import_", never("destination"))
    found = rehearsed(live)
    assert failed(found) == {
        "imported on the destination",
        "and the other way, so that going back will work",
        "the wave is registered at the source again",
        "with the source's trust lists",
    }
    assert found.at_the_end == {"destination": 6}


def test_secure_phones_need_the_upload(live: LiveLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "upload_trust", lambda *_: [])
    found = rehearsed(live)
    assert failed(found) == {
        "registered at the destination",
        "the others stay at the destination",
    }
    (item,) = (item for item in found.expectations if item.what == "registered at the destination")
    assert item.seen.startswith("4 of 6 phones; not SEP001B0C000005")


def test_a_list_counts_by_its_bytes(live: LiveLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit in one phone's flash, and "with the destination's trust lists" does not hold."""
    victim = live.phones[3]
    boot = LabPhone.boot

    async def altered(phone: LabPhone) -> Any:
        outcome = await boot(phone)
        itl = phone.flash.kept(Kept.ITL)
        if phone is victim and live.lab.cluster_of(phone) == DESTINATION and itl is not None:
            phone.flash.write(Kept.ITL, itl[:-1] + bytes([itl[-1] ^ 1]))
        return outcome

    monkeypatch.setattr(LabPhone, "boot", altered)
    found = rehearsed(live)
    assert failed(found) == {"with the destination's trust lists"}
    (item,) = (item for item in found.expectations if not item.held)
    assert item.seen.startswith(f"5 of 6 phones; not {victim.name}")


def test_a_control_group_that_loses_something_is_told(live: LiveLab, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at = Lab.point_at

    def point(lab: Lab, cluster: str) -> Any:
        if cluster == DESTINATION and not any(cluster.state.sftp for cluster in lab.clusters.values()):
            live.phones[0].flash.erase_trust()  # as somebody does at the phone, in the middle of it
        return point_at(lab, cluster)

    monkeypatch.setattr(Lab, "point_at", point)
    found = rehearsed(live)
    assert {
        "strand: the source's TVS does not know the signer",
        "have lost nothing: trust lists and configuration as before",
        "are still registered at the source",
    } <= failed(found)


def test_a_consolidation_that_is_not_refused_is_told(live: LiveLab, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = Cluster.consolidate, []

    async def consolidate(cluster: Cluster, *arguments: Any) -> Any:
        calls.append(cluster.name)
        return [] if len(calls) == 1 else await real(cluster, *arguments)

    monkeypatch.setattr(Cluster, "consolidate", consolidate)
    assert failed(rehearsed(live)) == {"consolidating is refused after one export"}


def test_a_tvs_that_did_not_replicate_is_found_before_a_phone_is_touched(
    live: LiveLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove = rehearsal._Run.prove

    async def forgetful(run: Any) -> None:
        stores = live.source.stores["src-pub"]
        signer = live.destination.list_signer("dst-pub").certificate
        for store in stores.holding(signer):
            stores.remove(store, signer)
        live.node("src-pub").refresh()
        await prove(run)

    monkeypatch.setattr(rehearsal._Run, "prove", forgetful)
    found = rehearsed(live)
    assert failed(found) == {"every TVS of the source vouches for the destination"}
    (item,) = (item for item in found.expectations if not item.held)
    assert item.seen.startswith("src-pub does not vouch for")


def test_nothing_expected_is_not_success() -> None:
    assert not Rehearsal().held
