"""The whole exchange and a move, typed at the nodes' command lines by the driver: both forms of listings."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tests.lab.prepared import ENCRYPTED, LiveLab, Prepared, lab_definition, phones

from trustbridge.cucm import text
from trustbridge.cucm.dialogue import bulk_sftp_answers
from trustbridge.cucm.model import Release
from trustbridge.cucm.oscli import OsCli
from trustbridge.cucm.releases import for_release
from trustbridge.errors import AuthenticationRefused, NotSupported, Refused
from trustbridge.exchange.hostkeys import HostKeyPins
from trustbridge.lab.cluster import Cluster
from trustbridge.pki.units import BulkType, Store

#: A release of each form; both know ITLRecovery in bulk.
RELEASES = {"source": "12.5", "destination": "15"}
CLUSTERS = tuple(RELEASES)
TFTP, TVS = "Cisco Tftp", "Cisco Trust Verification Service"


@pytest.fixture(scope="module")
def live(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    definition = lab_definition(
        phones(2),
        phones(1, security=ENCRYPTED),
        source={"release": RELEASES["source"]},
        destination={"release": RELEASES["destination"]},
    )
    with LiveLab(prepared.lab(tmp_path_factory.mktemp("oscli") / "lab", definition)) as live:
        yield live


@pytest.fixture
def pins(tmp_path: Path) -> HostKeyPins:
    return HostKeyPins(tmp_path / "known_hosts")


def to(
    cluster: Cluster, pins: HostKeyPins, *, node: str | None = None, password: str | None = None
) -> AbstractAsyncContextManager[OsCli]:
    """The command line of a node, the publisher's without one."""
    user, known = cluster.accounts.credentials("os")
    name = node or cluster.publisher
    return OsCli.connect(
        cluster.definition.address(name),
        cluster.ports.ssh,
        user,
        known if password is None else password,
        pins,
        node=name,
        texts=for_release(Release.parse(cluster.definition.release)),
    )


@pytest.mark.parametrize("name", CLUSTERS)
def test_everything_a_node_tells_is_read_and_is_so(live: LiveLab, pins: HostKeyPins, name: str) -> None:
    cluster = live.lab.clusters[name]

    async def read() -> None:
        async with to(cluster, pins) as cli:
            version = text.parse_version(await cli.run("show version active"))
            assert version.release.at_least(*Release.parse(RELEASES[name]).numbers)
            nodes = text.parse_network_cluster(await cli.run("show network cluster"))
            assert [(node.name, node.address, node.publisher, node.authenticated) for node in nodes] == [
                (node.name, cluster.definition.address(node.name), node.name == cluster.publisher, True)
                for node in cluster.definition.nodes
            ]
            own = text.parse_own_certificates(await cli.run("show cert list own"))
            assert all(one.expires is not None for one in own) == (name == "source")
            for one in own:
                assert one.identity is not None
                shown = text.parse_certificate(await cli.run(f"show cert own {one.path}"))
                assert shown == cluster.identity(cluster.publisher, one.identity).certificate
            trusted = text.parse_trusted_certificates(await cli.run("show cert list trust"))
            shown_trusted = [
                (one.store, text.parse_certificate(await cli.run(f"show cert trust {one.path}"))) for one in trusted
            ]
            assert shown_trusted == [(store, entry.certificate) for store, entry in cluster.stores[cluster.publisher]]
            services = {one.name: one for one in text.parse_services(await cli.run("utils service list"))}
            assert services[TFTP].running
            assert services[TVS].running
            for kind in ("itl", "ctl"):
                listed = text.parse_trust_list(await cli.run(f"show {kind}"))
                served = live.node(cluster.publisher).served(f"{kind.upper()}File.tlv")
                assert served is not None
                assert (listed.length, listed.sha1) == (len(served), hashlib.sha1(served).hexdigest())
                assert listed.verified
                assert listed.signer == cluster.list_signer(cluster.publisher).certificate.key
            query = "run sql select paramname,paramvalue from processconfig where paramname='ClusterSecurityMode'"
            assert text.parse_table(await cli.run(query)).records() == [
                {"paramname": "ClusterSecurityMode", "paramvalue": "1"}
            ]
            files = text.parse_file_list(await cli.run("file list tftp * detail"))
            assert {"ITLFile.tlv", "CTLFile.tlv"} <= {file.name for file in files}
            with pytest.raises(NotSupported):
                await cli.run("show coffee")

    asyncio.run(read())


def test_a_wrong_password_is_refused_and_a_question_nobody_expects_ends_nothing(
    live: LiveLab, pins: HostKeyPins
) -> None:
    async def try_it() -> None:
        with pytest.raises(AuthenticationRefused):
            async with to(live.source, pins, password="wrong"):
                pass
        async with to(live.source, pins) as cli:
            with pytest.raises(Refused):
                await cli.run("utils ctl set-cluster non-secure-mode", {"continue": "n"})
        assert live.source.mixed_mode

    asyncio.run(try_it())


def test_a_service_is_really_restarted(live: LiveLab, pins: HostKeyPins) -> None:
    node = live.node("src-sub1")
    before = {name: server for name, server in node.services.items() if name.startswith((TVS, TFTP))}

    async def restart() -> None:
        async with to(live.source, pins, node="src-sub1") as cli:
            for service in (TVS, TFTP):
                said = text.parse_services(await cli.run(f"utils service restart {service}"))
                assert [(one.name, one.running) for one in said] == [(service, True)]

    asyncio.run(restart())
    assert set(before) <= set(node.services)
    assert all(node.services[name] is not server for name, server in before.items())


def test_the_exchange_by_command_line_carries_phones_over(
    live: LiveLab, pins: HostKeyPins, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trustbridge")
    live.boot()
    assert live.whereabouts() == ["source"] * 3
    both = (live.destination, live.source)

    async def exchange() -> None:
        sftp = live.lab.sftp_settings()
        assert sftp.password is not None
        for cluster in both:
            async with to(cluster, pins) as cli:
                answers = bulk_sftp_answers(
                    cli.texts,
                    host=sftp.host,
                    port=sftp.port,
                    username=sftp.username,
                    password=sftp.password,
                    directory=sftp.directory,
                )
                assert text.parse_change(await cli.run("set cert bulk sftp", answers)).done
                lines = text.parse_bulk(await cli.run("set cert bulk export all"))
                assert [(text.bulk_type(line), line.succeeded) for line in lines] == [(kind, True) for kind in BulkType]
        async with to(live.source, pins) as cli:
            lines = text.parse_bulk(await cli.run("set cert bulk consolidate all"))
            assert [(text.bulk_type(line), line.succeeded) for line in lines] == [(kind, True) for kind in BulkType]
        for cluster, other in (both, both[::-1]):
            async with to(cluster, pins) as cli:
                lines = text.parse_bulk(await cli.run("set cert bulk import all"))
                assert [(text.bulk_type(line), line.succeeded) for line in lines] == [(kind, True) for kind in BulkType]
            # CAPF-trust is filled by hand, node by node: phones with an LSC register by it.
            for node in cluster.definition.nodes:
                async with to(cluster, pins, node=node.name) as cli:
                    answer = await cli.run("set cert import trust CAPF", {"[Pp]aste": other.capf.certificate.pem()})
                    change = text.parse_change(answer)
                    assert change.done
                    assert change.restart

    asyncio.run(exchange())
    live.point_at("destination")
    live.boot()
    assert live.whereabouts() == ["destination"] * 3

    async def undo() -> None:
        signer = live.destination.list_signer("dst-pub").certificate
        async with to(live.source, pins) as cli:
            for one in text.parse_trusted_certificates(await cli.run("show cert list trust")):
                if text.parse_certificate(await cli.run(f"show cert trust {one.path}")) == signer:
                    assert text.parse_change(await cli.run(f"set cert delete {one.unit} {one.name}")).done
        for stores in live.source.stores.values():
            assert not stores.holding(signer)
            assert stores.entries(Store.CAPF_TRUST)

    asyncio.run(undo())
    said = caplog.text
    assert "set cert bulk import" in said
    secrets = [live.lab.sftp_password, *(cluster.accounts.credentials("os")[1] for cluster in both)]
    assert not [secret for secret in secrets if secret in said]
