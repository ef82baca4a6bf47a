"""The driver's facade and `trustbridge cluster` against a lab of two releases: 12.5 without REST, 15 with it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.lab.prepared import ENCRYPTED, HTTP, LiveLab, Prepared, lab_definition, phones
from typer.testing import CliRunner

from trustbridge.cli import app
from trustbridge.clients.tls import TlsIdentity
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import REALM_OF, Credentials, Secret
from trustbridge.cucm.model import ClusterEntry, Interface, PhoneStatus, Write
from trustbridge.errors import AuthenticationRefused, IdentityChanged, TrustbridgeError
from trustbridge.lab import control
from trustbridge.lab.cluster import Cluster as LabCluster
from trustbridge.lab.node import HTTPS, SSH
from trustbridge.lab.oscommands.shell import NodeShell
from trustbridge.lab.oscommands.view import NodeView
from trustbridge.lab.profiles import profile
from trustbridge.lab.requests import LabRequests
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import BulkType, Store, Unit
from trustbridge.services.httpsnode import HttpsServer
from trustbridge.services.oscli import start_oscli

T = TypeVar("T")

RELEASES = {"source": "12.5", "destination": "15"}
CLUSTERS = tuple(RELEASES)
TFTP, TVS = "Cisco Tftp", "Cisco Trust Verification Service"
#: A certificate nobody has.
STRANGER = self_signed(
    node="stranger",
    unit=Unit.CALLMANAGER,
    common_name="stranger.example",
    organisation=Organisation(ou="UC", o="Stranger", l="Krakow", st="Malopolska", c="PL"),
    now=datetime.now(UTC),
    key="p256",
)


@contextmanager
def lab(prepared: Prepared, folder: Path) -> Iterator[LiveLab]:
    definition = lab_definition(
        phones(2),
        phones(1, security=ENCRYPTED),
        **{name: {"release": release, "fips": name == "destination"} for name, release in RELEASES.items()},
    )
    with LiveLab(prepared.lab(folder / "lab", definition)) as live:
        yield live


@pytest.fixture
def live(prepared: Prepared, tmp_path: Path) -> Iterator[LiveLab]:
    with lab(prepared, tmp_path) as live:
        yield live


def entry_of(cluster: LabCluster) -> ClusterEntry:
    ports, definition = cluster.ports, cluster.definition
    return ClusterEntry(
        name=cluster.name,
        publisher=definition.address(cluster.publisher),
        os_user=cluster.accounts.user("os"),
        app_user=cluster.accounts.user("application"),
        ssh_port=ports.ssh,
        https_port=ports.https,
        http_port=ports.provisioning,
        tftp_port=ports.tftp,
        tvs_port=ports.tvs,
        node_addresses=tuple((node.name, definition.address(node.name)) for node in definition.nodes),
    )


def credentials_of(cluster: LabCluster) -> Credentials:
    return Credentials(*(Secret(cluster.accounts.credentials(realm)[1]) for realm in ("os", "application")))


def drive(cluster: LabCluster, state: Path, work: Callable[[Cluster], Awaitable[T]], **options: Any) -> T:
    """What `work` gives, in a loop of its own beside the lab's."""

    async def run() -> T:
        credentials = options.pop("credentials", credentials_of(cluster))
        async with Cluster.open(entry_of(cluster), credentials, state=state, **options) as opened:
            return await work(opened)

    return asyncio.run(run())


def secrets_of(live: LiveLab) -> list[str]:
    found = [live.lab.sftp_password]
    for cluster in live.lab.clusters.values():
        found += [cluster.accounts.credentials(realm)[1] for realm in ("os", "application")]
    return found


def own(rows: Iterable[tuple[str, str, Any]]) -> set[tuple[str, str, Any]]:
    """Rows of (node, unit, certificate) without the publisher's ITLRecovery, which subscribers list as theirs too."""
    return {row for row in rows if row[1] != Unit.ITLRECOVERY or row[0].endswith("-pub")}


async def nobody(user: str, password: str) -> bool:
    raise AssertionError("a password came to somebody in the node's place")


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@pytest.mark.parametrize("prefer", [None, Interface.CLI])
@pytest.mark.parametrize("name", CLUSTERS)
def test_every_read_agrees_with_the_cluster(live: LiveLab, tmp_path: Path, name: str, prefer: Interface | None) -> None:
    held = live.lab.clusters[name]
    definition = held.definition

    async def read(cluster: Cluster) -> tuple[tuple[str, Interface], ...]:
        assert (await cluster.release()).text.startswith(RELEASES[name])
        assert await cluster.security_mode() == "mixed"
        assert not await cluster.prepare_for_rollback()
        assert await cluster.fips() is (name == "destination")
        subnets = await cluster.dhcp_subnets()
        assert [one.tftp_servers for one in subnets] == ([definition.tftp_addresses()] if name == "source" else [])
        nodes = await cluster.nodes()
        assert {(one.name, cluster.host(one), one.publisher) for one in nodes} == {
            (one.name, definition.address(one.name), one.name == held.publisher) for one in definition.nodes
        }
        identities = await cluster.identities()
        assert own((one.node, one.unit, one.certificate) for one in identities) == {
            (node, unit, identity.certificate) for (node, unit), identity in held.identities.items()
        }
        for node in nodes:
            running = {one.name for one in await cluster.services(node.name) if one.running}
            assert {TFTP, TVS, "Cisco CallManager"} <= running
            stores = {(store, entry.certificate) for store, entry in held.stores[node.name]}
            assert {(one.store, one.certificate) for one in await cluster.trusted(node.name)} == stores
            one_store = await cluster.trusted(node.name, Store.CALLMANAGER_TRUST)
            assert {one.certificate for one in one_store} == {
                certificate for store, certificate in stores if store is Store.CALLMANAGER_TRUST
            }
        files = {(one.node, one.name): one.content for one in await cluster.trust_list_files()}
        assert files == {
            (node.name, kind): live.node(node.name).served(kind)
            for node in definition.nodes
            for kind in ("CTLFile.tlv", "ITLFile.tlv")
        }
        assert all(files.values())
        (group,) = await cluster.groups()
        assert list(group.members) == [f"{definition.nodes[0].name[:3]}-sub1", held.publisher]
        assert {phone.name async for phone in cluster.phones()} == set(held.devices)
        known = {(one.serial, one.subject) for one in await cluster.tvs_certificates()}
        assert (held.list_signer(held.publisher).certificate.serial) in {serial for serial, _ in known}
        return cluster.ways()

    ways = dict(drive(held, tmp_path, read, prefer=prefer))
    rest = name == "destination" and prefer is None
    certificates = {
        interface for question, interface in ways.items() if "identities" in question or "trust s" in question
    }
    assert certificates == {Interface.REST if rest else Interface.CLI}
    assert ways["security mode"] == (Interface.AXL if prefer is None else Interface.CLI)
    assert ways["groups"] == ways["phones"] == Interface.AXL


def test_lists_come_over_tftp_where_http_is_down_and_a_node_without_either_has_none(
    live: LiveLab, tmp_path: Path
) -> None:
    node = live.node("src-sub1")
    lists = [node.served(kind) for kind in ("CTLFile.tlv", "ITLFile.tlv")]

    async def read(cluster: Cluster) -> tuple[list[bytes | None], Interface]:
        found = await cluster.trust_list_files(node.name)
        return [one.content for one in found], dict(cluster.ways())[f"trust lists of {node.name}"]

    assert drive(live.source, tmp_path, read) == (lists, Interface.HTTP_FILES)
    live.stop_service(node.name, HTTP)
    assert drive(live.source, tmp_path, read) == (lists, Interface.TFTP)
    live.stop_service(node.name, TFTP)
    assert drive(live.source, tmp_path, read)[0] == [None, None]


@pytest.mark.parametrize(
    ("name", "prefer", "way"),
    [
        ("source", None, Interface.CLI),
        ("destination", None, Interface.REST),
        ("destination", Interface.CLI, Interface.CLI),
    ],
)
def test_a_trust_certificate_is_added_and_removed(
    live: LiveLab, tmp_path: Path, name: str, prefer: Interface | None, way: Interface
) -> None:
    held = live.lab.clusters[name]
    certificate, store = STRANGER.certificate, Store.PHONE_SAST_TRUST
    writes: list[Write] = []
    before = {node: set(stores) for node, stores in held.stores.items()}

    async def dry(cluster: Cluster) -> None:
        await cluster.upload_trust(held.publisher, store, [certificate])

    drive(held, tmp_path, dry, prefer=prefer, dry_run=True, on_write=writes.append)
    assert {node: set(stores) for node, stores in held.stores.items()} == before
    assert [write.interface for write in writes] == [way]

    async def add(cluster: Cluster) -> None:
        await cluster.upload_trust(held.publisher, store, [certificate])
        await cluster.upload_trust(held.publisher, store, [certificate])  # again: no harm
        assert {write.interface for write in cluster.written()} == {way}

    drive(held, tmp_path, add, prefer=prefer)
    assert all(certificate in {one.certificate for one in stores.entries(store)} for stores in held.stores.values())

    async def take_away(cluster: Cluster) -> None:
        for one in await cluster.trusted(held.publisher, store):
            if one.certificate == certificate:
                await cluster.delete_trust(held.publisher, one)

    drive(held, tmp_path, take_away, prefer=prefer)
    assert {node: set(stores) for node, stores in held.stores.items()} == before


def test_the_exchange_phones_and_services_through_the_facade(
    live: LiveLab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[object] = []
    live.boot()
    sftp = live.lab.sftp_settings()
    both = (live.destination, live.source)
    everything = tuple(BulkType)

    def done(lines: Any) -> None:
        assert [line.succeeded for line in lines] == [True] * len(everything)

    async def export(cluster: Cluster) -> None:
        await cluster.configure_bulk(sftp)
        done(await cluster.bulk_export(everything))

    async def consolidate(cluster: Cluster) -> None:
        done(await cluster.bulk_consolidate(everything))

    async def take(cluster: Cluster) -> None:
        done(await cluster.bulk_import(everything))

    def carry(held: LabCluster, work: Callable[[Cluster], Awaitable[None]]) -> None:
        drive(held, tmp_path, work, on_write=said.append, on_first_contact=said.append)

    for held in both:
        carry(held, export)
    carry(live.source, consolidate)
    for held, other in (both, both[::-1]):
        carry(held, take)

        async def by_hand(cluster: Cluster, other: LabCluster = other) -> None:
            for node in await cluster.nodes():
                await cluster.upload_trust(node.name, Store.CAPF_TRUST, [other.capf.certificate])

        carry(held, by_hand)
    live.point_at("destination")
    names = [phone.name for phone in live.phones]

    async def move(cluster: Cluster) -> None:
        found = await cluster.registrations(names)
        assert {info.status for info in found.values()} == {PhoneStatus.REGISTERED}
        await cluster.reset_phones(names)

    carry(live.source, move)
    wait_until(lambda: live.call(live.whereabouts) == ["destination"] * 3)

    async def look(cluster: Cluster) -> None:
        found = await cluster.registrations(names)
        assert {(name, info.status) for name, info in found.items()} == {
            (name, PhoneStatus.REGISTERED) for name in names
        }

    carry(live.destination, look)
    for held in both:
        node = live.node(f"{held.publisher[:3]}-sub1")
        before = node.services[TVS]

        async def restart(cluster: Cluster, node: Any = node) -> None:
            await cluster.restart_service(node.name, TVS)

        carry(held, restart)
        assert node.services[TVS] is not before
    assert any("first contact" in str(one) for one in said)
    told = caplog.text + repr(said)
    assert not [secret for secret in secrets_of(live) if secret in told]


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_wrong_password_is_one_clear_error_and_is_tried_once(live: LiveLab, tmp_path: Path, name: str) -> None:
    held = live.lab.clusters[name]
    right = credentials_of(held)
    wrong = Secret("a wrong password")

    async def identities(cluster: Cluster) -> None:
        await cluster.identities()

    async def phones(cluster: Cluster) -> None:
        await cluster.registrations(["SEP001122334455"])

    for credentials, work in ((Credentials(wrong, right.app), identities), (Credentials(right.os, wrong), phones)):
        with pytest.raises(AuthenticationRefused) as caught:
            drive(held, tmp_path, work, credentials=credentials)
        assert name in caught.value.message
        assert caught.value.hint
        assert wrong.reveal() not in caught.value.message + caught.value.hint


def test_a_changed_host_key_and_a_changed_tls_certificate_stop_everything(live: LiveLab, tmp_path: Path) -> None:
    held = live.destination
    node = live.node("dst-pub")
    contacts: list[str] = []

    async def identities(cluster: Cluster) -> None:
        assert await cluster.identities("dst-pub")

    drive(held, tmp_path, identities, on_first_contact=contacts.append)
    assert len(contacts) == 2
    assert any("host key SHA256:" in words for words in contacts)
    drive(held, tmp_path, identities, on_first_contact=contacts.append)
    assert len(contacts) == 2

    server = node.services[HTTPS]
    assert isinstance(server, HttpsServer)
    other = TlsIdentity((STRANGER.certificate,), STRANGER.private_key)
    live.call(lambda: server.set_identity(other))
    with pytest.raises(IdentityChanged, match=r"TLS certificate of .* has changed"):
        drive(held, tmp_path, identities)
    right = TlsIdentity(
        (held.identity("dst-pub", Unit.TOMCAT).certificate,), held.identity("dst-pub", Unit.TOMCAT).private_key
    )
    live.call(lambda: server.set_identity(right))
    drive(held, tmp_path, identities)

    live.stop_service("dst-pub", SSH)

    async def another() -> None:
        view = NodeView(held, node.name, profile(held.definition.release), node, held.clock())
        node.services[SSH] = await start_oscli(
            NodeShell(view),
            host=node.address,
            port=held.ports.ssh,
            authenticate=nobody,
            host_key=tmp_path / "another_host_key",
        )

    live.do(another())
    with pytest.raises(IdentityChanged, match="host key"):
        drive(held, tmp_path, identities)


# The commands, as a person runs them.


class Shell:
    """`trustbridge ...` with a state folder of its own; everything it ever said, and its arguments, are kept."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.said = ""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRUSTBRIDGE_", "XDG_"))}
        self.environment = kept | {"HOME": str(folder), "TRUSTBRIDGE_STATE_FOLDER": str(self.state)}

    def __call__(self, *arguments: str, code: int = 0, **more: str) -> str:
        """A command in this process: what it said, or on an error what it said of that."""
        result = CliRunner().invoke(app, arguments, env={"TRUSTBRIDGE_STATE_FOLDER": str(self.state), **more})
        error = result.exception
        if error is not None and not isinstance(error, SystemExit | TrustbridgeError):
            raise error
        said = f"{error.message} {error.hint}" if isinstance(error, TrustbridgeError) else result.stdout
        self.said += said + result.output
        ended = error.exit_code if isinstance(error, TrustbridgeError) else result.exit_code
        assert ended == code, said + result.output
        return said

    def process(self, *arguments: str, code: int = 0, **more: str) -> str:
        """A command in a process of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "trustbridge", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | more,
        )
        self.said += Path(f"/proc/{process.pid}/cmdline").read_text("utf-8", "replace")
        out, err = process.communicate(timeout=60)
        self.said += out + err
        assert process.returncode == code, out + err
        return out + err if code else out


@contextmanager
def asked(live: LiveLab) -> Iterator[None]:
    """The lab answers on its control socket."""
    serving = control.serving(live.folder, LabRequests(live.lab))
    live.do(serving.__aenter__())
    try:
        yield
    finally:
        live.do(serving.__aexit__(None, None, None))


def test_the_clusters_of_a_lab_are_taken_tested_and_shown(live: LiveLab, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with asked(live):
        assert "known now: source, destination" in shell("cluster", "add", "--lab", str(live.folder))
        shell("cluster", "add", "--lab", str(live.folder))  # again: the same
    assert {one["name"] for one in json.loads(shell("cluster", "list", "--json"))} == set(CLUSTERS)

    tried = shell("cluster", "test", "source")
    assert "✓ command line: release 12.5" in tried
    assert "· certificate REST:" in tried
    for interface in {*REALM_OF, Interface.HTTP_FILES, Interface.TFTP} - {Interface.REST}:
        assert f"✓ {interface}:" in tried
    assert "first contact" in shell.said
    assert "✓ certificate REST:" in shell("cluster", "test", "destination")

    signer = live.source.list_signer(live.source.publisher).certificate
    live.call(lambda: live.destination.upload_trust(Store.PHONE_SAST_TRUST, signer))
    try:
        found = json.loads(shell("cluster", "show", "source", "--json"))
        rows = list(csv.DictReader(io.StringIO(shell("cluster", "show", "source", "--csv"))))
        table = shell.process("cluster", "show", "source")
    finally:
        live.call(lambda: live.destination.remove_trust(Store.PHONE_SAST_TRUST, signer))
    assert found["release"].startswith("12.5")
    assert (found["security"], found["notes"], found["detours"]) == ("mixed", [], [])
    assert own((one["node"], one["unit"], one["sha256"]) for one in found["certificates"]) == {
        (node, str(unit), identity.certificate.sha256) for (node, unit), identity in live.source.identities.items()
    }
    assert found["asked"] == ["destination"]
    assert "none of destination" in table
    held = {one["sha256"]: one["held_by"] for one in found["certificates"] if one["held_by"]}
    assert held == {signer.sha256: {"destination": ["Phone-SAST-trust"]}}
    assert {(row["sha256"], row["held_by"]) for row in rows if row["held_by"]} == {
        (signer.sha256, "destination: Phone-SAST-trust")
    }
    assert len(rows) == len(found["certificates"])
    assert "Phone-SAST-trust" in table
    assert "src-pub (publisher)" in table

    assert "nobody was asked" in shell("cluster", "show", "source", "--alone")
    unasked = shell("cluster", "show", "source", TRUSTBRIDGE_DESTINATION_OS_PASSWORD="a wrong password")
    assert "destination was not asked whom it trusts" in " ".join(unasked.split())
    refused = shell("cluster", "test", "source", code=5, TRUSTBRIDGE_SOURCE_APP_PASSWORD="a wrong password")
    assert "✗ AXL:" in refused
    assert "· RisPort70: not tried" in refused
    assert "✓ command line" in refused
    refused = shell.process("cluster", "show", "source", code=5, TRUSTBRIDGE_SOURCE_OS_PASSWORD="a wrong password")
    assert "source" in refused
    assert "Traceback" not in refused

    kept = (shell.state / "clusters.toml").read_text()
    assert "forgotten: source" in shell("cluster", "remove", "source")
    assert "source" not in json.loads((shell.state / "passwords.json").read_text())
    secrets = [*secrets_of(live), "a wrong password"]
    assert not [secret for secret in secrets if secret in shell.said + kept]
    assert "no cluster is called source" in shell("cluster", "show", "source", code=2)
