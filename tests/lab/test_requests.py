"""What a running lab does on request, through its control socket, and what it never tells."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.prepared import ENCRYPTED, SHIFT, LiveLab, Prepared, lab_definition, phones
from typer.testing import CliRunner

from trustbridge import atomicfile
from trustbridge.cli import app
from trustbridge.errors import ConsolidationMissing, InvalidCertificate, SettingsError, TrustbridgeError
from trustbridge.lab import control
from trustbridge.lab.requests import LabRequests
from trustbridge.pki.units import Unit

PLAIN, SECURE = "SEP001B0C000001", "SEP001B0C000002"


class Asked:
    """A lab that is up, and somebody who asks it."""

    def __init__(self, live: LiveLab) -> None:
        self.live = live
        self.requests = LabRequests(live.lab)
        self.progress: list[Any] = []
        self._serving = control.serving(live.folder, self.requests)
        live.do(self._serving.__aenter__())

    def end(self) -> None:
        self.live.do(self._serving.__aexit__(None, None, None))

    def __call__(self, do: str, **request: Any) -> Any:
        """Ask over the socket, as the command line does."""
        self.progress.clear()
        return asyncio.run(control.ask(self.live.folder, {"do": do, **request}, self.progress.append))


@pytest.fixture(scope="module")
def asked(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("requests") / "lab"
    with LiveLab(prepared.lab(folder, lab_definition(phones(1), phones(1, security=ENCRYPTED)))) as live:
        asked = Asked(live)
        live.do(asked.requests.boot_all())
        yield asked
        asked.end()


@pytest.fixture(autouse=True)
def _as_before(asked: Asked) -> Iterator[None]:
    yield
    asked("point", cluster="source")
    for cluster in ("source", "destination"):
        asked("security", cluster=cluster, security="mixed")
        asked("rollback-parameter", cluster=cluster, value=False)


def test_status_tells_everything_and_no_password(asked: Asked) -> None:
    asked("booted")
    asked("sftp", cluster="source")
    found = asked("status")
    assert found["name"] == "test"
    assert found["ports"] == {
        "shift": SHIFT,
        "ssh": SHIFT + 22,
        "https": SHIFT + 8443,
        "tvs": SHIFT + 2445,
        "tftp": SHIFT + 69,
        "provisioning": SHIFT + 6970,
        "sip": SHIFT + 5060,
        "sips": SHIFT + 5061,
        "dhcp": SHIFT + 67,
        "web": SHIFT + 80,
    }
    source, destination = found["clusters"]
    assert (source["release"], source["security"], source["registered"], source["devices"]) == ("11.5", "mixed", 2, 2)
    assert (destination["registered"], destination["prepare_for_rollback"]) == (0, False)
    (publisher, subscriber) = source["nodes"]
    assert (publisher["name"], publisher["publisher"], subscriber["publisher"]) == ("src-pub", True, False)
    assert publisher["services"] == [
        "Cisco CallManager",
        "Cisco CallManager (TLS)",
        "Cisco Tftp",
        "Cisco Tftp (HTTP)",
        "Cisco Tomcat",
        "Cisco Trust Verification Service",
        "SSH",
    ]
    assert source["accounts"] == {"os": "administrator", "application": "axluser"}
    assert publisher["vouches_for"] > 0
    plain, secure = found["phones"]
    assert (plain["name"], plain["standing"], plain["registered_at"], plain["secure"]) == (
        PLAIN,
        "registered",
        "source",
        False,
    )
    assert (secure["secure"], secure["refusal"], secure["status"]) == (True, None, f"{SECURE}.cnf.xml.sgn")
    secrets = [asked.live.lab.sftp_password]
    for cluster in asked.live.lab.clusters.values():
        secrets += [cluster.accounts.credentials(realm)[1] for realm in ("os", "application")]
    assert not [secret for secret in secrets if secret in json.dumps(found)]


def test_credentials_are_told_over_the_socket_alone(asked: Asked) -> None:
    accounts = asked.live.source.accounts
    found = asked("credentials", cluster="source")
    assert {realm: (row["user"], row["password"]) for realm, row in found.items()} == {
        "os": accounts.credentials("os"),
        "application": accounts.credentials("application"),
    }
    assert found != asked("credentials", cluster="destination")
    with pytest.raises(SettingsError, match="there is no cluster nowhere"):
        asked("credentials", cluster="nowhere")


def test_a_phone_tells_what_it_decided_and_why(asked: Asked) -> None:
    found = asked("phone", name=PLAIN.lower())
    assert found["name"] == PLAIN
    assert re.fullmatch(r"CTL signed by .*src-pub.* and ITL signed by .*src-sub1.*", found["trust_lists"])
    assert found["tftp_servers"] == list(asked.live.lab.option150)
    assert [message for _, message in found["status_messages"]][-1] == f"{PLAIN}.cnf.xml.sgn"
    assert found["transcript"][-1] == [True, f"registered with {found['registered_with']}"]


def test_a_phone_that_does_not_exist_is_told(asked: Asked) -> None:
    for request in ({"do": "phone", "name": "SEP0"}, {"do": "reset", "names": [PLAIN, "SEP0"]}):
        with pytest.raises(SettingsError, match="there is no phone SEP0"):
            asked(**request)


def test_resetting_gives_progress_and_rows(asked: Asked) -> None:
    rows = asked("reset", names=None)
    assert [row["name"] for row in rows] == [PLAIN, SECURE]
    assert [(item["done"], item["total"]) for item in asked.progress] == [(1, 2), (2, 2)]
    assert [row["name"] for row in asked("reset", names=[SECURE.lower(), SECURE])] == [SECURE]
    assert asked("reset", names=[]) == []


def test_option_150_can_be_shown_and_set(asked: Asked) -> None:
    source = list(asked.live.source.definition.tftp_addresses())
    destination = list(asked.live.destination.definition.tftp_addresses())
    assert asked("point") == source
    assert asked("point", cluster="destination") == destination
    assert asked("point", servers=["127.0.0.1"]) == ["127.0.0.1"]
    with pytest.raises(SettingsError, match="IPv4"):
        asked("point", servers=["mars"])
    with pytest.raises(SettingsError, match="no cluster mars"):
        asked("point", cluster="mars")
    assert asked("point") == ["127.0.0.1"]


def test_mode_and_parameter_change_the_files_at_once(asked: Asked) -> None:
    folder = asked.live.source.tftp_folder("src-sub1")
    asked("security", cluster="source", security="non-secure")
    assert not (folder / "CTLFile.tlv").exists()
    asked("security", cluster="source", security="mixed")
    assert (folder / "CTLFile.tlv").exists()
    before = (folder / "ITLFile.tlv").read_bytes()
    asked("rollback-parameter", cluster="source", value=True)
    assert (folder / "ITLFile.tlv").read_bytes() != before
    with pytest.raises(SettingsError, match="mixed or non-secure"):
        asked("security", cluster="source", security="half")


def test_trust_lists_are_erased_as_at_the_phone(asked: Asked) -> None:
    asked("erase-trust", names=[PLAIN])
    assert asked("phone", name=PLAIN)["trust_lists"] == "no trust list installed"
    asked("reset", names=[PLAIN])
    assert asked("phone", name=PLAIN)["trust_lists"] != "no trust list installed"


def test_the_sftp_server_is_set_and_shown_without_its_password(asked: Asked, tmp_path: Path) -> None:
    assert asked("sftp", cluster="destination", show=True) == {"server": None}
    shown = asked(
        "sftp", cluster="destination", host="h.example", port=22, user="u", password="hide me", directory="/d"
    )
    assert shown == {"server": "sftp://u@h.example:22/d"} == asked("sftp", cluster="destination", show=True)
    assert asked.live.destination.state.sftp is not None
    assert asked.live.destination.state.sftp.password == "hide me"
    key = asked("sftp", cluster="destination", host="h", port=22, user="u", key_file=str(tmp_path), directory=".")
    assert key == {"server": "sftp://u@h:22/."}
    own = asked("sftp", cluster="destination")
    assert own["server"].startswith("sftp://bulk@127.64.")
    assert "hide me" not in json.dumps([shown, key, own])
    with pytest.raises(SettingsError, match="neither a password nor a key file"):
        asked("sftp", cluster="destination", host="h", port=22, user="u", directory=".")


def test_the_exchange_by_requests(asked: Asked) -> None:
    for cluster in ("source", "destination"):
        asked("sftp", cluster=cluster)
    with pytest.raises(ConsolidationMissing):
        asked("import", cluster="source", type="all")
    rows = asked("export", cluster="source", type="all")
    assert len(rows) == 6
    assert asked.progress[-1]["done"] == asked.progress[-1]["total"] == 6
    assert rows[0]["written"]
    assert not any(row["written"] for row in asked("export", cluster="source", type="all"))
    asked("export", cluster="destination", type="all")
    there = asked("list", cluster="source")
    assert (len(there["exports"]), there["consolidated"], there["others"]) == (12, [], [])
    joined = asked("consolidate", cluster="destination", type="all")
    assert {row["type"]: row["certificates"] for row in joined} == {"tftp": 8, "tomcat": 8, "capf": 2, "itlrecovery": 2}
    assert asked("list", cluster="source")["consolidated"][0]["stale"] == ""
    rows = asked("import", cluster="source", type="itlrecovery")
    assert {(row["from"], row["store"], row["result"]) for row in rows} == {
        ("destination/dst-pub/ITLRecovery", store, "added") for store in ("CallManager-trust", "Phone-SAST-trust")
    }
    with pytest.raises(SettingsError):
        asked("import", cluster="source", type="everything")


def test_an_upload_by_request(asked: Asked) -> None:
    pem = asked.live.destination.identity("dst-pub", Unit.CAPF).certificate.pem()
    assert asked("upload", cluster="source", store="CAPF-trust", pem=pem, nodes=None) == ["added", "added"]
    assert asked("upload", cluster="source", store="CAPF-trust", pem=pem, nodes=["src-pub"]) == ["already present"]
    with pytest.raises(SettingsError, match="source has no node mars"):
        asked("upload", cluster="source", store="CAPF-trust", pem=pem, nodes=["mars"])
    with pytest.raises(SettingsError, match="not a request"):
        asked("upload", cluster="source", store="no-trust", pem=pem)
    with pytest.raises(InvalidCertificate):
        asked("upload", cluster="source", store="CAPF-trust", pem="x")


def test_a_full_disk_is_told_in_words(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(atomicfile, "write", full)
        with pytest.raises(TrustbridgeError, match=r"the lab's folder can't be used: .*No space left") as caught:
            asked("point", cluster="destination")
    assert "Make room" in caught.value.hint
    assert asked("point") == list(asked.live.source.definition.tftp_addresses())


def test_what_a_lab_can_not_do_is_told(asked: Asked) -> None:
    with pytest.raises(SettingsError, match="a lab can't 'fly'"):
        asked("fly")
    with pytest.raises(SettingsError, match="no cluster mars"):
        asked("export", cluster="mars", type="all")


def test_down_is_heard(asked: Asked) -> None:
    assert not asked.requests.down.is_set()
    assert asked("down") is None
    assert asked.requests.down.is_set()


def test_a_call_is_put_on_and_hung_up_and_a_reset_cuts_it(asked: Asked) -> None:
    def rows() -> list[tuple[bool, int]]:
        return [(row["in_call"], row["calls_cut"]) for row in asked("status")["phones"]]

    asked("reset", names=[PLAIN, SECURE])
    assert [row["in_call"] for row in asked("call", names=[PLAIN, SECURE])] == [True, True]
    with pytest.raises(TrustbridgeError, match=f"{PLAIN} can't call: it is in a call"):
        asked("call", names=[PLAIN])
    asked("hang-up", names=[PLAIN])
    assert rows() == [(False, 0), (True, 0)]
    with pytest.raises(TrustbridgeError, match="in no call"):
        asked("hang-up", names=[PLAIN])
    asked("reset", names=[PLAIN, SECURE])
    assert rows() == [(False, 0), (False, 1)]
    assert asked("phone", name=SECURE)["calls_cut"] == 1


def test_the_command_line_puts_calls_on_and_hangs_them_up(asked: Asked) -> None:
    def said(*command: str) -> str:
        done = CliRunner().invoke(app, ["lab", *command, "--folder", str(asked.live.folder)], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    asked("reset", names=[PLAIN])
    assert said("call", PLAIN.lower()).startswith(f"in a call: {PLAIN}")
    assert "in a call; calls that a reset has cut" in said("phone", PLAIN)
    assert said("hangup", PLAIN) == f"hung up: {PLAIN}\n"
    assert "in a call;" not in said("phone", PLAIN)
