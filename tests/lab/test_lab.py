"""A lab's folder and its life: made once, one process at a time, and every refusal in words."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.lab.prepared import SHIFT, LiveLab, Prepared, lab_definition, phones

from trustbridge import atomicfile
from trustbridge.errors import NotNow, PortTaken, SettingsError, TrustbridgeError
from trustbridge.lab import definition as definitions
from trustbridge.lab import founding
from trustbridge.lab import lab as labs
from trustbridge.lab.lab import Lab, is_lab, locked
from trustbridge.lab.phone import LabPhone
from trustbridge.lab.ports import Ports
from trustbridge.lab.registrations import Registered

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


@pytest.fixture
def folder(prepared: Prepared, tmp_path: Path) -> Path:
    return prepared.lab(tmp_path / "lab", lab_definition())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Its folder.


def test_a_lab_opened_again_is_the_same(folder: Path) -> None:
    first = Lab.open(folder)
    before = files(folder)
    again = Lab.open(folder, lab_definition())
    assert files(folder) == before
    assert again.definition == first.definition
    assert again.sftp_password == first.sftp_password
    assert len(again.sftp_password) >= 20
    assert is_lab(folder)


def test_another_definition_is_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match="holds another lab, test, made from another definition"):
        Lab.open(folder, lab_definition(phones(3)))


@pytest.mark.parametrize("text", ["", "{}", "null", '{"clusters": {}}', "\udcff"])
def test_a_damaged_definition_is_told_with_a_way_out(folder: Path, text: str) -> None:
    (folder / "definition.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=r"definition\.json does not describe a lab") as caught:
        Lab.open(folder)
    assert "lab wipe" in caught.value.hint


def test_a_folder_with_other_files_is_not_taken_for_a_new_lab(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SettingsError, match=r"holds no lab, but other files \(thesis\.tex\)"):
        Lab.open(tmp_path, lab_definition())
    assert not is_lab(tmp_path)


class Stop(Exception):
    """Raised in place of making keys, which takes its time."""


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise Stop

    monkeypatch.setattr(founding, "found", stop)


@pytest.mark.usefixtures("no_keys")
def test_a_start_that_was_cut_off_early_can_be_done_again(tmp_path: Path) -> None:
    for name in ("lock", "log", ".definition.json.0123456789abcdef.part"):
        (tmp_path / name).write_text("")
    with pytest.raises(Stop):
        Lab.open(tmp_path, lab_definition())
    assert is_lab(tmp_path)


@pytest.mark.usefixtures("no_keys")
def test_the_default_lab_is_made_when_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        Lab.open(tmp_path / "lab")
    saved = (tmp_path / "lab" / "definition.json").read_bytes()
    assert definitions.LabDefinition.model_validate_json(saved) == definitions.default()


def test_a_full_disk_and_a_folder_of_others_become_words(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes, *, durable: bool = True) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(atomicfile, "write", full)
    with pytest.raises(TrustbridgeError, match=r"can't be made or read: .*No space left on device") as caught:
        Lab.open(folder)
    assert "Make room" in caught.value.hint
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(TrustbridgeError, match=r"can't be made or read: .*Not a directory"):
        Lab.open(tmp_path / "file" / "lab")
    Lab.open(folder)
    lab = Lab.open(folder)
    monkeypatch.setattr(atomicfile, "write", full)

    async def start() -> None:
        async with lab.running():
            raise AssertionError("it can't be up")

    with pytest.raises(TrustbridgeError, match=r"can't be started: .*No space left on device"):
        asyncio.run(start())


def test_everything_in_the_folder_is_private(folder: Path) -> None:
    with LiveLab(folder) as live:
        live.boot()
        live.exchange()
    wrong = {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if stat.S_IMODE(path.stat().st_mode) & 0o077 and path.parent != folder / "sftp" / "files"
    }
    assert wrong == {}
    assert stat.S_IMODE((folder / "sftp" / "files").stat().st_mode) == 0o700


# One process at a time.


def test_two_at_once_are_refused_with_a_word(folder: Path) -> None:
    with LiveLab(folder), pytest.raises(NotNow, match="is up already") as caught:
        Lab.open(folder)
    assert "lab status" in caught.value.hint
    Lab.open(folder)


def test_another_process_is_refused_too(folder: Path) -> None:
    with locked(folder):
        code = f"import pathlib; from trustbridge.lab.lab import Lab; Lab.open(pathlib.Path({str(folder)!r}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "is up already" in done.stderr


def test_two_labs_on_the_same_addresses_are_refused_with_a_word(
    prepared: Prepared, folder: Path, tmp_path: Path
) -> None:
    other = prepared.lab(tmp_path / "other", lab_definition())
    with LiveLab(folder), pytest.raises(PortTaken, match=f"port {SHIFT + 2445}") as caught, LiveLab(other):
        pass
    assert "lab down" in caught.value.hint


def test_a_start_that_fails_leaves_nothing_running(folder: Path) -> None:
    lab = Lab.open(folder)
    with socket.create_server((lab.definition.network.sftp, lab.definition.network.sftp_port)):

        async def start() -> None:
            with pytest.raises(PortTaken, match="SFTP"):
                await lab.start()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(start())
    with LiveLab(folder) as live:  # every port is free again
        assert len(live.boot()) == 2


def test_status_pages_that_can_not_be_served_are_a_notice_and_no_failure(folder: Path) -> None:
    with socket.create_server(("", SHIFT + 80)), LiveLab(folder) as live:
        assert any("status pages are off" in notice for notice in live.lab.notices)
        live.boot()
        assert live.whereabouts() == ["source", "source"]


def test_stopping_again_or_without_a_start_does_nothing(folder: Path) -> None:
    lab = Lab.open(folder)

    async def scenario() -> None:
        await lab.stop()
        await lab.start()
        await lab.stop()
        await lab.stop()
        await lab.start()
        await lab.boot(lab.fleet.phones.values())
        await lab.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
    assert all(lab.cluster_of(phone) == "source" for phone in lab.fleet.phones.values())


def test_a_service_that_fails_to_stop_does_not_keep_the_others_up(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn:
        async def stop(self) -> None:
            raise RuntimeError("no")

    with LiveLab(folder) as live:
        live.lab._others.append(Stubborn())
        node = next(iter(live.lab.nodes.values()))
        node.services["Stubborn"] = Stubborn()
    assert sum("did not stop" in record.getMessage() for record in caplog.records) == 2
    with LiveLab(folder):
        pass


def test_a_lab_that_stops_while_phones_start_ends_at_once_and_harms_no_flash(folder: Path) -> None:
    lab = Lab.open(folder)
    phones = list(lab.fleet.phones.values())

    async def cut_off(steps: int) -> None:
        async with lab.running():
            starting = asyncio.create_task(lab.boot(phones))
            for _ in range(steps):
                await asyncio.sleep(0)
        await asyncio.wait_for(starting, 5)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    for steps in (0, 1, 5, 20, 60, 150):
        asyncio.run(cut_off(steps))
        assert {phone.standing for phone in phones} <= {"off", "registered"}
    with LiveLab(folder) as live:
        live.boot()
        assert live.whereabouts() == ["source", "source"]


# The network.


def test_option_150_survives_and_begins_at_the_phones_home(folder: Path) -> None:
    lab = Lab.open(folder)
    assert lab.option150 == lab.clusters["source"].definition.tftp_addresses()
    assert lab.point_at("destination") == lab.clusters["destination"].definition.tftp_addresses()
    assert Lab.open(folder).option150 == lab.option150 == lab.clusters["destination"].definition.tftp_addresses()
    with pytest.raises(SettingsError, match="no cluster mars") as caught:
        lab.point_at("mars")
    assert "source, destination" in caught.value.hint


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        (["mars"], "by their IPv4 addresses"),
        (["127.0.0.1", "::1"], "by their IPv4 addresses"),
        (["127.0.0.1"] * 64, "63 addresses at the most, not 64"),
    ],
)
def test_an_option_150_that_can_not_be_changes_nothing(folder: Path, servers: list[str], words: str) -> None:
    lab = Lab.open(folder)
    before = lab.option150
    with pytest.raises(SettingsError, match=words):
        lab.set_option150(servers)
    assert lab.option150 == before
    assert Lab.open(folder).option150 == before


@pytest.mark.parametrize("content", [{}, [], {"option150": ["mars"]}, {"option150": 3}, {"option150": [[]]}])
def test_a_damaged_network_file_is_named(folder: Path, content: Any) -> None:
    (folder / "network.json").write_text(json.dumps(content))
    with pytest.raises(SettingsError, match=r"network\.json can't be read"):
        Lab.open(folder)


def test_a_phone_that_stands_at_two_clusters_is_where_it_registered_last(folder: Path) -> None:
    lab = Lab.open(folder)
    phone = next(iter(lab.fleet.phones.values()))
    now = lab.clusters["source"].clock()
    assert lab.cluster_of(phone) is None
    for minutes, cluster in ((60, "source"), (61, "destination")):
        lab.registrations[cluster]._registered[phone.name] = Registered(
            phone.name, "n", "127.0.0.1", False, now, now + timedelta(minutes=minutes)
        )
        assert lab.cluster_of(phone) == cluster


@pytest.mark.parametrize(("release", "restarts"), [("11.5", False), ("12.5", True)])
def test_an_import_resets_the_phones_that_are_registered_there(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, restarts: bool
) -> None:
    definition = lab_definition(phones(3), source={"release": release})
    with LiveLab(prepared.lab(tmp_path / "lab", definition)) as live:
        one, two, off = live.phones
        live.boot(one, two)
        now = live.source.clock()
        guest = Registered("SEPFFFFFFFFFFFF", "src-pub", "127.0.0.1", False, now, now + timedelta(hours=1))
        live.lab.registrations["source"]._registered[guest.device] = guest  # no phone of this lab
        reset: list[set[str]] = []
        reset_soon = live.lab.fleet.reset_soon

        def noting(phones: Iterable[LabPhone]) -> None:
            chosen = list(phones)
            reset.append({phone.name for phone in chosen})
            reset_soon(chosen)

        monkeypatch.setattr(live.lab.fleet, "reset_soon", noting)
        before = one.transcript
        live.exchange()  # the destination restarts phones as well: it has none
        assert reset == ([{one.name, two.name}] if restarts else [])

        live.do(live.lab.fleet.settled())
        assert (one.transcript is not before) is restarts
        assert live.whereabouts() == ["source", "source", None]
        assert off.outcome is None


def test_ports_are_shifted_by_what_the_definition_says(folder: Path) -> None:
    lab = Lab.open(folder)
    assert lab.ports.shift == SHIFT
    assert lab.shifted_because == ""


def test_auto_looks_which_ports_can_be_had(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], str, str]] = []

    def choose(nodes: list[str], dhcp: str, phone: str) -> tuple[Ports, str]:
        asked.append((list(nodes), dhcp, phone))
        return Ports(20000), "port 69 is taken, so every port is shifted by 20000"

    monkeypatch.setattr(labs, "choose", choose)
    definition = json.loads((folder / "definition.json").read_text())
    definition["network"]["port_shift"] = "auto"
    (folder / "definition.json").write_text(json.dumps(definition))
    lab = Lab.open(folder)
    ((nodes, dhcp, phone),) = asked
    assert nodes == [
        cluster.definition.address(node.name) for cluster in lab.clusters.values() for node in cluster.definition.nodes
    ]
    assert dhcp == lab.definition.network.dhcp
    assert phone in lab.fleet.by_address
    assert lab.ports.tvs == 22445
    assert lab.notices == ["port 69 is taken, so every port is shifted by 20000"]


def test_clusters_may_have_nodes_of_one_name(prepared: Prepared, tmp_path: Path) -> None:
    definition = lab_definition(
        phones(1), source={"nodes": [{"name": "pub"}]}, destination={"nodes": [{"name": "pub"}]}
    )
    folder = prepared.lab(tmp_path / "lab", definition)
    for cluster, node in (("source", "src-pub"), ("destination", "dst-pub")):
        nodes = folder / "clusters" / cluster / "nodes"
        (nodes / node).rename(nodes / "pub")
    with LiveLab(folder) as live:
        assert set(live.lab.nodes) == {("source", "pub"), ("destination", "pub")}
        assert all(node.services for node in live.lab.nodes.values())
        live.boot()
        assert live.whereabouts() == ["source"]
