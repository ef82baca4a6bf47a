"""The driver's certificate REST against nodes of a running lab: what it reads and writes, and each thing that fails."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.lab.prepared import LiveLab, Prepared, lab_definition

from trustbridge.cucm.certmgr import CertificateRest
from trustbridge.cucm.https import NodeHttps, Patience
from trustbridge.cucm.model import Interface
from trustbridge.cucm.pins import TlsPins, fingerprint
from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    IdentityChanged,
    NotSupported,
    PortTaken,
    Refused,
    Throttled,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.lab.node import HTTPS
from trustbridge.pki.issue import Identity, Organisation, self_signed
from trustbridge.pki.units import Store, Unit
from trustbridge.services.httpsnode import Disturbance, HttpsServer

QUICK = Patience(connect=5.0, answer=1.0, attempts=2, pause=0.05, throttled=0.5)
NOW = datetime.now(UTC)


def _identity(name: str) -> Identity:
    return self_signed(node=name, unit=Unit.TOMCAT, common_name=name, organisation=Organisation(), now=NOW, key="p256")


OTHER = _identity("other.example").certificate


@pytest.fixture(scope="module")
def lab(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """Source 12.5 without REST, destination 15 with it."""
    definition = lab_definition(source={"release": "12.5"}, destination={"release": "15"})
    with LiveLab(prepared.lab(tmp_path_factory.mktemp("rest") / "lab", definition)) as live:
        yield live


class Caller:
    """A driver with pins of its own."""

    def __init__(self, lab: LiveLab, folder: Path) -> None:
        self.lab = lab
        self.pins = TlsPins(folder / "state" / "tls.json")

    def ask(self, node: str, work: str, *arguments: Any, password: str | None = None, **options: Any) -> Any:
        """Call a method of `CertificateRest` in the lab's loop."""

        async def asked() -> Any:
            cluster = self.lab.destination if node.startswith("dst") else self.lab.source
            user, right = cluster.accounts.credentials("os")
            async with NodeHttps(
                node,
                cluster.definition.address(node),
                cluster.ports.https,
                user,
                right if password is None else password,
                self.pins,
                interface=Interface.REST,
                patience=QUICK,
            ) as https:
                return await getattr(CertificateRest(https), work)(*arguments, **options)

        return self.lab.do(asked())


@pytest.fixture
def caller(lab: LiveLab, tmp_path: Path) -> Caller:
    return Caller(lab, tmp_path)


@pytest.fixture
def disturbed(lab: LiveLab) -> Iterator[Any]:
    node = lab.node("dst-pub")
    before = node.https_disturbed

    def disturb(trouble: Disturbance) -> None:
        node.https_disturbed = lambda path: trouble

    yield disturb
    node.https_disturbed = before


def test_identities_and_stores_are_those_of_the_node(caller: Caller, lab: LiveLab) -> None:
    for node in ("dst-pub", "dst-sub1"):
        identities = caller.ask(node, "identities")
        assert {(one.node, one.unit): one.certificate for one in identities} == {
            key: identity.certificate for key, identity in lab.destination.identities.items() if key[0] == node
        }
        held = {(store, entry.certificate) for store, entry in lab.destination.stores[node]}
        assert {(one.store, one.certificate) for one in caller.ask(node, "trusted")} == held
        assert {one.certificate for one in caller.ask(node, "trusted", Store.CALLMANAGER_TRUST)} == {
            certificate for store, certificate in held if store is Store.CALLMANAGER_TRUST
        }


@pytest.mark.parametrize("store", [Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST, Store.CAPF_TRUST])
def test_an_upload_arrives_and_again_changes_nothing(caller: Caller, lab: LiveLab, store: Store) -> None:
    for _ in range(2):
        caller.ask("dst-pub", "upload_trust", store, [OTHER])
    assert store in lab.destination.stores["dst-pub"].holding(OTHER)
    replicated = store in lab.destination.stores["dst-sub1"].holding(OTHER)
    assert replicated is (store is not Store.CAPF_TRUST)


def test_what_the_store_keeps_out_is_said(caller: Caller, lab: LiveLab) -> None:
    own = lab.destination.identity("dst-pub", Unit.CALLMANAGER).certificate
    rival = _identity(own.common_name).certificate
    with pytest.raises(Refused, match="does not hold") as caught:
        caller.ask("dst-pub", "upload_trust", Store.CALLMANAGER_TRUST, [rival], looks=(0.0,))
    assert own.common_name in caught.value.message


def test_a_signing_request_comes_back(caller: Caller) -> None:
    pem = caller.ask("dst-pub", "csr", Unit.TOMCAT, names=["uc.example"])
    assert pem.startswith("-----BEGIN CERTIFICATE REQUEST-----")


def test_a_release_without_rest_is_said_to_have_none(caller: Caller) -> None:
    for work, arguments in (("snapshot", ()), ("trusted", (Store.TOMCAT_TRUST,)), ("csr", (Unit.TOMCAT,))):
        with pytest.raises(NotSupported) as caught:
            caller.ask("src-pub", work, *arguments)
        assert "src-pub (certificate REST)" in caught.value.message
        assert "command line" in caught.value.hint


def test_a_wrong_password_is_one_clear_error(caller: Caller) -> None:
    with pytest.raises(AuthenticationRefused) as caught:
        caller.ask("dst-pub", "snapshot", password="wrong-password")
    assert "administrator" in caught.value.message
    assert "wrong-password" not in f"{caught.value.message} {caught.value.hint} {caught.value!r}"


def test_a_regenerated_tomcat_certificate_stops_everything_until_it_is_accepted(caller: Caller, lab: LiveLab) -> None:
    cluster, key = lab.destination, ("dst-sub1", Unit.TOMCAT)
    before = cluster.identities[key]
    caller.ask("dst-sub1", "snapshot")
    after = dataclasses.replace(_identity("dst-sub1.dst.example"), node="dst-sub1")
    try:
        cluster.identities[key] = after
        lab.call(lab.node("dst-sub1").refresh)
        with pytest.raises(IdentityChanged) as caught:
            caller.ask("dst-sub1", "snapshot")
        assert fingerprint(before.certificate.der) in caught.value.message
        assert fingerprint(after.certificate.der) in caught.value.message
        assert str(caller.pins.path) in caught.value.hint
        caller.pins.forget(cluster.definition.address("dst-sub1"), cluster.ports.https)
        assert after.certificate in [one.certificate for one in caller.ask("dst-sub1", "identities")]
    finally:
        cluster.identities[key] = before
        lab.call(lab.node("dst-sub1").refresh)


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Disturbance(refuse=True), Unreachable),
        (Disturbance(delay=30), Unreachable),
        (Disturbance(cut_after=100), Garbled),
        (Disturbance(garble=True), Garbled),
        (Disturbance(busy=True), Throttled),
        (Disturbance(hang_up=True), Garbled),
    ],
    ids=["reset", "slow", "truncated", "garbled", "503", "hung up"],
)
def test_what_goes_wrong_on_the_wire_is_one_clear_error_and_changes_nothing(
    caller: Caller, lab: LiveLab, disturbed: Any, trouble: Disturbance, kind: type[TrustbridgeError]
) -> None:
    fresh = _identity(f"{secrets.token_hex(4)}.example").certificate
    disturbed(trouble)
    for work, arguments in (("snapshot", ()), ("upload_trust", (Store.TOMCAT_TRUST, [fresh]))):
        with pytest.raises(kind) as caught:
            caller.ask("dst-pub", work, *arguments)
        assert type(caught.value) is kind
        assert "dst-pub (certificate REST)" in caught.value.message
        assert caught.value.hint
    assert lab.destination.stores["dst-pub"].holding(fresh) == ()
    disturbed(Disturbance())
    caller.ask("dst-pub", "upload_trust", Store.TOMCAT_TRUST, [fresh])
    assert lab.destination.stores["dst-pub"].holding(fresh) == (Store.TOMCAT_TRUST,)


def test_a_node_whose_tomcat_is_down_is_unreachable(caller: Caller, lab: LiveLab) -> None:
    node = lab.node("dst-sub1")
    lab.stop_service("dst-sub1", HTTPS)
    try:
        with pytest.raises(Unreachable, match="refused"):
            caller.ask("dst-sub1", "snapshot")
    finally:
        lab.do(node.start_https())
    assert isinstance(node.services[HTTPS], HttpsServer)
    assert caller.ask("dst-sub1", "snapshot").server == "dst-sub1.dst.example"


def test_two_nodes_can_not_share_a_port(lab: LiveLab) -> None:
    with pytest.raises(PortTaken, match=str(lab.destination.ports.https)):
        lab.do(lab.node("dst-pub").start_https())


def test_no_log_and_no_file_of_pins_holds_a_password(
    caller: Caller, lab: LiveLab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caller.ask("dst-pub", "snapshot")
    caller.ask("dst-pub", "upload_trust", Store.CALLMANAGER_TRUST, [_identity("logged.example").certificate])
    with pytest.raises(AuthenticationRefused):
        caller.ask("dst-pub", "snapshot", password="wrong-password")
    _, password = lab.destination.accounts.credentials("os")
    for secret in (password, "wrong-password"):
        assert secret not in caplog.text
        assert secret not in caller.pins.path.read_text()
