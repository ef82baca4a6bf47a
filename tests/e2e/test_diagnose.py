"""`trustbridge diagnose` in a lab: phones with a defect each, as a person asks about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.defects import close_page
from tests.e2e.site import DESTINATION, SOURCE, Site
from tests.e2e.test_verify import credentials_of, entry_of
from tests.lab.prepared import ENCRYPTED, HTTP, TFTP, TVS, LiveLab, phones
from typer.testing import CliRunner

from trustbridge.cli import app
from trustbridge.cucm.credentials import Credentials, Secret
from trustbridge.cucm.https import Patience
from trustbridge.errors import TrustbridgeError
from trustbridge.lab import statuspages
from trustbridge.lab.definition import GroupDefinition
from trustbridge.lab.phone import LabPhone
from trustbridge.pki.units import Store
from trustbridge.services.ris import RisLimits
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.trust import configuration as configurations

NEAR, FAR = "Near", "Far"
MOVE = ("--source", SOURCE, "--destination", DESTINATION)


class Shell:
    """`trustbridge diagnose` with a state folder of its own; of one cluster a password may be missing, or wrong."""

    def __init__(self, live: LiveLab, state: Path, *, without_app: str = "", wrong_app: str = "") -> None:
        self.environment = {"TRUSTBRIDGE_STATE_FOLDER": str(state)}
        self._port = str(live.lab.ports.web)
        for held in live.lab.clusters.values():
            Inventory(state).add(entry_of(held))
            known = credentials_of(held)
            if held.name == without_app:
                known = Credentials(os=known.os)
            elif held.name == wrong_app:
                known = Credentials(os=known.os, app=Secret("wrong"))
            PasswordFile(state).keep(held.name, known)

    def __call__(self, *arguments: str, code: int = 0) -> str:
        wanted = ["diagnose", *arguments, "--page-port", self._port]
        result = CliRunner().invoke(app, wanted, env=self.environment)
        error = result.exception
        if error is not None and not isinstance(error, SystemExit | TrustbridgeError):
            raise error
        found = error.exit_code if isinstance(error, TrustbridgeError) else result.exit_code
        assert found == code, (result.output, error)
        return result.stdout

    def told(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """What it says in JSON; the lab is in this process and logs beside it."""
        said = self("--json", *arguments, code=code)
        found: dict[str, Any] = json.loads(said[said.index("{\n") :])
        return found


def course(found: dict[str, Any]) -> dict[str, Any]:
    (one,) = found["courses"]
    assert isinstance(one, dict)
    return one


def ids(found: dict[str, Any], severity: str = "stop") -> list[str]:
    return [one["id"] for one in course(found)["findings"] if one["severity"] == severity]


def forget(live: LiveLab, node: str) -> None:
    """The TVS of one node of the source, as if the import had not replicated to it."""
    signer = live.destination.list_signer("dst-pub").certificate

    def change() -> None:
        stores = live.source.stores[node].copy()
        for store in (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST):
            assert stores.remove(store, signer)
        live.source.stores = live.source.stores | {node: stores}
        live.node(node).refresh()

    live.call(change)


@pytest.fixture
def live(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveLab]:
    """After the exchange; phones of two Unified CM groups."""
    groups = (
        GroupDefinition(name=NEAR, members=("src-pub", "src-sub1")),
        GroupDefinition(name=FAR, members=("src-sub1", "src-pub")),
    )
    kinds = (phones(5, group=NEAR), phones(1, group=FAR))
    names = (
        GroupDefinition(name=NEAR, members=("dst-sub1", "dst-pub")),
        GroupDefinition(name=FAR, members=("dst-pub",)),
    )
    monkeypatch.setattr(RisLimits, "count", lambda limits: None)  # a minute's allowance is a minute's wait
    with site.up(*kinds, exchanged=True, source={"groups": groups}, destination={"groups": names}) as live:
        live.boot()
        yield live


def test_phones_with_a_defect_each(live: LiveLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, fit, typed, closed, unknown, stranded = live.phones
    # The source's TFTP servers are typed in on one, and its page says so.
    option150, network = LabPhone._option150, statuspages._network

    async def started(phone: LabPhone) -> tuple[str, ...]:
        return typed.tftp_servers if phone is typed else await option150(phone)

    def rows(phone: LabPhone, configuration: Any) -> list[tuple[str, str]]:
        said = network(phone, configuration)
        return [(name, "Yes" if name == "Alternate TFTP" and phone is typed else value) for name, value in said]

    monkeypatch.setattr(LabPhone, "_option150", started)
    monkeypatch.setattr(statuspages, "_network", rows)
    live.call(partial(close_page, closed))
    live.call(partial(live.destination.remove_devices, [unknown.name]))
    live.point_at(DESTINATION)
    live.boot(moved, typed)
    shell = Shell(live, tmp_path / "state")

    found = shell.told(moved.name, *MOVE)
    assert course(found)["standing"] == "moved"
    assert course(found)["steps"] == []
    assert found["well"] is True

    found = shell.told(fit.name, *MOVE)
    assert course(found)["standing"] == "would_move"
    (walk,) = course(found)["transcripts"]
    assert any("TVS src-pub" in line["text"] and "vouches" in line["text"] for line in walk["lines"])
    # What the transcript says of its move is what the phone then says itself.
    foretold = [line["text"] for line in walk["lines"]]
    live.boot(fit)
    assert fit.outcome is not None
    assert fit.outcome.refusal is None
    really = [line.text for line in fit.transcript]
    assert len(really) == len(foretold)
    assert really[0] == foretold[0]

    found = shell.told(typed.name, *MOVE, code=1)
    assert course(found)["standing"] == "would_strand"
    assert ids(found) == ["TB150"]
    assert any("Alternate TFTP off" in step for step in course(found)["steps"])

    found = shell.told(closed.name, *MOVE, code=1)
    assert course(found)["standing"] == "undecided"
    (page,) = [one for one in found["not_seen"] if one["where"].startswith("phone page")]
    assert "Web Access" in page["opening"]
    assert page["opening"] in course(found)["steps"]

    found = shell.told(unknown.name, *MOVE, code=1)
    assert course(found)["standing"] == "undecided"
    assert "TB151" in ids(found)
    found = shell.told(unknown.name, *MOVE, "--no-auto-registration", code=1)
    assert course(found)["standing"] == "would_strand"

    # The exchange is withdrawn from one node: whoever asks it first strands.
    forget(live, "src-sub1")
    live.boot(stranded)
    found = shell.told(stranded.name, *MOVE, code=1)
    assert course(found)["standing"] == "stranded"
    assert "Trust List Update Failed" in course(found)["because"]
    assert ids(found) == ["TB102"]
    # Of those that ask another one first it stops nobody.
    assert (ids(other := shell.told(closed.name, *MOVE, code=1)), ids(other, "warning")) == ([], ["TB102"])
    answers = [one for one in found["evidence"] if one["where"] == f"TVS of {SOURCE}/src-sub1"]
    assert {one["ok"] for one in answers if "destination's" in one["what"]} == {False}
    # Its own cluster's signers it knows.
    assert {one["ok"] for one in answers if "source's" in one["what"]} == {True}
    said = shell(stranded.name, *MOVE, code=1)
    words = " ".join(said.split())
    assert f"{stranded.name} (source to destination): stranded at the source" in words
    assert "TB102 stop source/src-sub1" in words
    assert "Trust List Update Failed (it refused a new trust list: it keeps" in words

    # By its MAC address, without anybody saying which move is meant: both ways.
    mac = ":".join(stranded.name[place : place + 2] for place in range(3, 15, 2)).lower()
    found = shell.told(mac, code=1)
    assert found["phone"] == stranded.name
    ways = [(one["source"], one["standing"]) for one in found["courses"]]
    assert ways == [(SOURCE, "stranded"), (DESTINATION, "moved")]

    found = shell.told("SEP00DEADBEEF00", *MOVE, code=1)
    assert course(found)["standing"] == "never_heard"
    shell("nonsense", code=2)
    shell(moved.name, "--source", SOURCE, code=2)


def test_before_the_exchange_each_way_is_told_for_itself(site: Site, tmp_path: Path) -> None:
    with site.up(phones(1)) as live:
        live.boot()
        (phone,) = live.phones
        shell = Shell(live, tmp_path / "state")
        forth, _ = shell.told(phone.name, code=1)["courses"]
        assert [(one["id"], one["severity"]) for one in forth["findings"]] == [("TB101", "stop")]
        assert forth["steps"][0] == "trustbridge exchange plan source destination"
        # A phone that has lost its lists goes, and comes to stand at the destination, from where there is no way back.
        live.call(phone.flash.erase_trust)
        live.point_at(DESTINATION)
        live.boot(phone)
        there, back = reversed(shell.told(phone.name, code=1)["courses"])
        assert (there["source"], there["standing"]) == (SOURCE, "moved")
        assert [(one["id"], one["severity"]) for one in there["findings"]] == [("TB170", "note")]
        assert (back["source"], back["standing"]) == (DESTINATION, "would_strand")
        assert {(one["id"], one["severity"]) for one in back["findings"]} == {("TB101", "stop")}


def test_a_tvs_that_is_down_and_one_whose_node_says_that_it_runs(live: LiveLab, tmp_path: Path) -> None:
    *_, phone = live.phones
    forget(live, "src-sub1")
    shell = Shell(live, tmp_path / "state")
    # It goes on to the next one, which knows the signer.
    live.stop_service("src-sub1", TVS)
    found = shell.told(phone.name, *MOVE)
    assert course(found)["standing"] == "would_move"
    assert "TB111" in ids(found, "warning")
    live.call(lambda: live.node("src-sub1").services.update({TVS: Deaf()}))
    found = shell.told(phone.name, *MOVE, code=1)
    assert course(found)["standing"] == "undecided"
    assert any(one["decides"] and "TVS src-sub1" in one["why"] for one in found["not_seen"])


def test_which_move_is_meant_is_known_from_the_campaign(live: LiveLab, tmp_path: Path) -> None:
    phone, other = live.phones[:2]
    state = tmp_path / "state"
    shell = Shell(live, state)
    assert len(shell.told(phone.name)["courses"]) == 2
    assert not (state / "campaigns.db").exists()  # who only looks leaves none behind
    wanted = ["migrate", "plan", "north", SOURCE, DESTINATION, "--phone", phone.name, "--pilot", "0"]
    planned = CliRunner().invoke(app, [*wanted, "--phone-port", str(live.lab.ports.web)], env=shell.environment)
    assert planned.exit_code == 0, planned.output
    found = shell.told(phone.name)
    assert course(found)["source"] == SOURCE
    assert course(found)["steps"][-1] == "trustbridge migrate start north"
    (told,) = [one for one in found["evidence"] if one["where"] == "campaign north"]
    assert "source to destination, planned; wave wave-1: planned since" in told["what"]
    assert len(shell.told(other.name)["courses"]) == 2


class Deaf:
    """A service that runs, and listens nowhere."""

    async def stop(self) -> None:
        pass


def test_a_secure_phone_and_a_node_without_tftp(site: Site, tmp_path: Path) -> None:
    with site.up(phones(1, security=ENCRYPTED), phones(1, model="CP-7965"), exchanged=True) as live:
        live.boot()
        secure, old = live.phones
        for service in (TFTP, HTTP):
            live.stop_service("dst-sub1", service)
        shell = Shell(live, tmp_path / "state")
        found = shell.told(secure.name, *MOVE)
        assert course(found)["standing"] == "would_move"
        assert course(found)["transcripts"][0]["lines"][-1]["text"].endswith("(TLS)")
        # That no files come from where Cisco Tftp does not run is as it should be.
        assert not found["not_seen"]
        capf = live.source.capf.certificate
        for node in ("dst-pub", "dst-sub1"):
            live.call(partial(live.destination.stores[node].remove, Store.CAPF_TRUST, capf))
            live.call(live.node(node).refresh)
        found = shell.told(secure.name, *MOVE, code=1)
        assert (course(found)["standing"], ids(found)) == ("would_strand", ["TB152"])
        assert ids(shell.told(old.name, *MOVE, code=1)) == ["TB112"]


def test_firmware_that_is_nowhere(live: LiveLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = live.phones[0]
    build = configurations.build

    def with_load(configuration: configurations.Configuration) -> bytes:
        return build(replace(configuration, load="sip88xx.99-9-9"))

    shell = Shell(live, tmp_path / "state")
    monkeypatch.setattr("trustbridge.trust.configuration.build", with_load)
    found = shell.told(phone.name, *MOVE)
    assert "TB153" in ids(found, "warning")
    for node in ("dst-pub", "dst-sub1"):
        (live.destination.tftp_folder(node) / "sip88xx.99-9-9.loads").write_bytes(b"firmware")
    assert "TB153" not in ids(shell.told(phone.name, *MOVE), "warning")


def test_what_can_not_be_seen_is_told_and_ends_nothing(live: LiveLab, tmp_path: Path) -> None:
    phone = live.phones[0]
    shell = Shell(live, tmp_path / "state", without_app=DESTINATION)
    found = shell.told(phone.name, *MOVE)
    # No AXL: the file that waits for it there tells that it is known.
    assert course(found)["standing"] == "would_move"
    unseen = {(one["where"], one["what"]) for one in found["not_seen"]}
    assert (DESTINATION, "the device in its database") in unseen
    assert (DESTINATION, "where it is registered") in unseen
    assert all(one["opening"] for one in found["not_seen"] if one["where"] == DESTINATION and one["decides"])


def test_a_password_that_is_refused(live: LiveLab, tmp_path: Path) -> None:
    phone = live.phones[0]
    found = Shell(live, tmp_path / "state", wrong_app=DESTINATION).told(phone.name, *MOVE, code=1)
    assert course(found)["standing"] == "undecided"
    # Its procedure goes as far as what was seen: TVS vouch, and the files that wait for it are good.
    (walk,) = course(found)["transcripts"]
    assert any("vouches for the signer" in line["text"] for line in walk["lines"])
    assert "whether Cisco CallManager runs" in walk["not_known"]


def test_a_cluster_that_serves_phones_and_does_not_answer_us(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trustbridge.cucm.access.Patience", partial(Patience, attempts=1))
    state = tmp_path / "state"
    with site.up(phones(1), exchanged=True) as live:
        live.boot()
        (phone,) = live.phones
        shell = Shell(live, state)
        away(state, DESTINATION)
        found = shell.told(phone.name, *MOVE, code=1)
        assert course(found)["standing"] == "undecided"
        assert course(found)["prediction"] is None
        (itl,) = [one for one in found["evidence"] if one["what"].startswith("ITL ")]
        assert itl["means"] == "the one that source serves"
        # What its publisher serves to phones is seen all the same.
        where = f"TFTP of {DESTINATION}/{Inventory(state).get(DESTINATION).publisher}"
        assert [one["what"].split(":")[0] for one in found["evidence"] if one["where"] == where] == [
            "CTLFile.tlv",
            "ITLFile.tlv",
            f"{phone.name}.cnf.xml.sgn",
        ]


def away(state: Path, cluster: str) -> None:
    """Nobody answers us there, only phones."""
    Inventory(state).add(replace(Inventory(state).get(cluster), https_port=9, ssh_port=9), replace=True)
