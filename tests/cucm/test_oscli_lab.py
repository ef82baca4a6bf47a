"""The driver's command line against a lab node's: two people wrote them, and share only the documented forms."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.lab.prepared import NOW, Prepared

from trustbridge.cucm.dialogue import bulk_sftp_answers
from trustbridge.cucm.oscli import OsCli
from trustbridge.cucm.releases import Quiet, for_release
from trustbridge.cucm.text import (
    bulk_type,
    parse_bulk,
    parse_certificate,
    parse_change,
    parse_file_list,
    parse_network_cluster,
    parse_own_certificates,
    parse_services,
    parse_table,
    parse_trust_list,
    parse_trusted_certificates,
    parse_version,
)
from trustbridge.errors import AuthenticationRefused, NotSupported, Refused
from trustbridge.exchange.hostkeys import HostKeyPins
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.oscommands.shell import NodeShell
from trustbridge.lab.oscommands.view import NodeView
from trustbridge.lab.profiles import profile
from trustbridge.pki.units import BulkType, Store, Unit
from trustbridge.services.oscli import start_oscli
from trustbridge.services.sftp import hash_password, start_sftp

PASSWORD = "correct horse 7 Battery"
SFTP_PASSWORD = "hunter2 of the exchange"
RELEASES = ["12.5", "15"]
#: As patient as loopback needs.
QUICK = dataclasses.replace(
    for_release(None), quiet=Quiet(empty_prompt=0.2, question=0.05, odd_question=0.3, paste=0.3)
)


@dataclass
class Services:
    """What runs on the node, as its commands see it."""

    restarted: list[str] = field(default_factory=list)

    def running(self, service: str) -> bool:
        return service != "Cisco Trust Verification Service" or bool(self.restarted)

    async def restart(self, service: str) -> None:
        self.restarted.append(service)

    def served(self, name: str) -> bytes | None:
        return None


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.once(tmp_path_factory)


@dataclass
class House:
    folder: Path
    prepared: Prepared
    services: Services = field(default_factory=Services)

    def cluster(self, prefix: str, release: str, **changes: Any) -> Cluster:
        return self.prepared.cluster(self.folder / prefix, prefix, release=release, **changes)

    @asynccontextmanager
    async def node(self, cluster: Cluster, node: str | None = None, password: str = PASSWORD) -> AsyncIterator[OsCli]:
        release = cluster.definition.release
        view = NodeView(cluster, node or cluster.publisher, profile(release), self.services, NOW)

        async def authenticate(user: str, password: str) -> bool:
            return (user, password) == ("administrator", PASSWORD)

        server = await start_oscli(NodeShell(view), authenticate=authenticate, host_key=self.folder / "host_key")
        try:
            pins = HostKeyPins(self.folder / "known_hosts")
            async with OsCli.connect(*server.address, "administrator", password, pins, texts=QUICK) as cli:
                yield cli
        finally:
            await server.stop()


@pytest.fixture
def house(tmp_path: Path, prepared: Prepared) -> House:
    return House(tmp_path, prepared)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


@pytest.mark.parametrize("release", ["11.5", *RELEASES])
def test_what_a_node_is_and_holds(house: House, release: str) -> None:
    cluster = house.cluster("src", release)

    async def scenario() -> None:
        async with house.node(cluster) as cli:
            version = parse_version(await cli.run("show version active"))
            assert version.release.text.startswith(release)
            cli.texts = for_release(version.release)
            abilities, expected = cli.texts.abilities, profile(release)
            assert abilities.rest == expected.rest
            assert abilities.certificate_listing == expected.certificate_listing
            assert abilities.one_itl_recovery == expected.one_itl_recovery
            assert abilities.deletes_on_all_nodes == expected.deletes_on_all_nodes
            assert (BulkType.ITLRECOVERY in abilities.bulk_types) == expected.itl_recovery_bulk
            nodes = parse_network_cluster(await cli.run("show network cluster"))
            assert [(node.name, node.publisher) for node in nodes] == [("src-pub", True), ("src-sub1", False)]
            services = {entry.name: entry for entry in parse_services(await cli.run("utils service list"))}
            assert services["Cisco Tftp"].running
            assert not services["Cisco Trust Verification Service"].running
            mode = parse_table(
                await cli.run(
                    "run sql select paramname,paramvalue from processconfig where paramname='ClusterSecurityMode'"
                )
            )
            assert mode.records() == [{"paramname": "ClusterSecurityMode", "paramvalue": "1"}]
            nobody = parse_table(await cli.run("run sql select name from processnode where name='nobody'"))
            assert nobody.rows == ()

    run(scenario)


@pytest.mark.parametrize("release", RELEASES)
def test_every_certificate_of_every_store(house: House, release: str) -> None:
    cluster = house.cluster("src", release)

    async def scenario() -> None:
        async with house.node(cluster) as cli:
            own = parse_own_certificates(await cli.run("show cert list own"))
            assert {entry.identity for entry in own} == {unit for node, unit in cluster.identities if node == "src-pub"}
            for entry in own:
                assert entry.identity is not None
                read = parse_certificate(await cli.run(f"show cert own {entry.path}"))
                assert read == cluster.identities["src-pub", entry.identity].certificate
                assert entry.expires in (None, read.not_after)
            held = set()
            for entry in parse_trusted_certificates(await cli.run("show cert list trust")):
                assert entry.store is not None
                held.add((entry.store, parse_certificate(await cli.run(f"show cert trust {entry.path}"))))
            assert held == {(store, entry.certificate) for store, entry in cluster.stores["src-pub"]}

    run(scenario)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("kind", ["ITL", "CTL"])
def test_trust_lists_as_the_node_decodes_them(house: House, release: str, kind: str) -> None:
    cluster = house.cluster("src", release)
    file = cluster.tftp_folder("src-pub") / f"{kind}File.tlv"

    async def scenario() -> None:
        async with house.node(cluster) as cli:
            decoded = parse_trust_list(await cli.run(f"show {kind.lower()}"))
            if not file.exists():
                assert not decoded.present
                return
            content = file.read_bytes()
            assert (decoded.kind, decoded.length, decoded.verified) == (kind, len(content), True)
            assert decoded.sha1 == hashlib.sha1(content).hexdigest()
            assert decoded.md5 == hashlib.md5(content).hexdigest()
            signers = [record for record in decoded.records if record.signed]
            assert signers
            assert {record.key for record in signers} == {decoded.signer}

    run(scenario)


@pytest.mark.parametrize("release", RELEASES)
def test_a_certificate_is_imported_and_deleted(house: House, release: str) -> None:
    source, destination = house.cluster("src", release), house.cluster("dst", release)
    certificate = destination.identities["dst-pub", Unit.CALLMANAGER].certificate

    async def scenario() -> None:
        async with house.node(source) as cli:
            change = parse_change(await cli.run("set cert import trust CallManager", {"paste": certificate.pem()}))
            assert change.done
            assert change.restart == ("services related to CallManager",)
            assert Store.CALLMANAGER_TRUST in source.stores["src-pub"].holding(certificate)
            listed = parse_trusted_certificates(await cli.run("show cert list trust"))
            (name,) = [
                entry.name
                for entry in listed
                if entry.store is Store.CALLMANAGER_TRUST
                and parse_certificate(await cli.run(f"show cert trust {entry.path}")) == certificate
            ]
            assert parse_change(await cli.run(f"set cert delete CallManager-trust {name}")).done
            assert source.stores["src-pub"].holding(certificate) == ()

    run(scenario)


@pytest.mark.parametrize("release", RELEASES)
def test_the_bulk_procedure_over_sftp(house: House, release: str) -> None:
    clusters = [house.cluster(prefix, release) for prefix in ("dst", "src")]
    root = house.folder / "exchange"
    root.mkdir()

    async def scenario() -> None:
        server = await start_sftp(
            root, users={"bulk": hash_password(SFTP_PASSWORD)}, host_key=house.folder / "sftp_key", host="127.0.0.1"
        )
        try:
            for cluster in clusters:
                async with house.node(cluster) as cli:
                    answers = bulk_sftp_answers(
                        cli.texts,
                        host=server.address[0],
                        port=server.address[1],
                        username="bulk",
                        password=SFTP_PASSWORD,
                        directory="/",
                    )
                    said = await cli.run("set cert bulk sftp", answers)
                    assert SFTP_PASSWORD not in said
                    assert parse_change(said).done
                    exported = parse_bulk(await cli.run("set cert bulk export all"))
                    assert exported
                    assert all(line.succeeded for line in exported)
                    assert (BulkType.ITLRECOVERY in map(bulk_type, exported)) == profile(release).itl_recovery_bulk
            async with house.node(clusters[0]) as cli:
                assert all(line.succeeded for line in parse_bulk(await cli.run("set cert bulk consolidate all")))
            for cluster in clusters:
                async with house.node(cluster) as cli:
                    assert all(line.succeeded for line in parse_bulk(await cli.run("set cert bulk import all")))
        finally:
            await server.stop()

    run(scenario)
    signer = clusters[0].identities["dst-pub", Unit.CALLMANAGER].certificate
    assert Store.PHONE_SAST_TRUST in clusters[1].stores["src-sub1"].holding(signer)


def test_questions_restarts_and_files(house: House) -> None:
    cluster = house.cluster("src", "15", security="non-secure")

    async def scenario() -> None:
        async with house.node(cluster) as cli:
            change = parse_change(await cli.run("utils ctl set-cluster mixed-mode", {"continue": "y"}))
            assert change.done
            assert change.restart == ("Cisco CTIManager",)
            assert cluster.mixed_mode
            with pytest.raises(Refused, match="cancelled"):
                await cli.run("utils ctl set-cluster non-secure-mode", {"continue": "n"})
            assert cluster.mixed_mode
            (service,) = parse_services(await cli.run("utils service restart Cisco Trust Verification Service"))
            assert service.running
            assert house.services.restarted == ["Cisco Trust Verification Service"]
            listed = parse_file_list(await cli.run("file list tftp *"))
            detailed = parse_file_list(await cli.run("file list tftp * detail"))
            assert [file.name for file in listed] == [file.name for file in detailed]
            assert all(file.size is not None and file.modified is not None for file in detailed)
            assert parse_file_list(await cli.run("file list tftp nothing*")) == ()

    run(scenario)


def test_refusals_in_the_nodes_own_words(house: House) -> None:
    cluster = house.cluster("src", "12.5")

    async def scenario() -> None:
        async with house.node(cluster, "src-sub1") as cli:
            with pytest.raises(NotSupported, match="No valid command entered"):
                await cli.run("show nonsense")
            with pytest.raises(Refused, match="Incomplete command"):
                await cli.run("show cert own")
            with pytest.raises(Refused, match="publisher"):
                await cli.run("set cert bulk export all")
            with pytest.raises(Refused, match="not found"):
                await cli.run("show cert own tomcat/nothing.pem")
            with pytest.raises(Refused, match=r"\(nowhere\) is not in the database"):
                await cli.run("run sql select a from nowhere")
            with pytest.raises(Refused, match="Invalid certificate"):
                await cli.run("set cert import trust tomcat", {"paste": "this is no certificate"})
        with pytest.raises(AuthenticationRefused):
            async with house.node(cluster, password="another"):
                pass

    run(scenario)
