"""`trustbridge exchange verify` against a lab of two releases, 12.5 and 15, in every state an exchange can be in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.site import DESTINATION, SOURCE, Site
from tests.lab.prepared import TVS, LiveLab, Prepared, lab_definition, phones
from typer.testing import CliRunner

from trustbridge.cli import app
from trustbridge.clients.tls import TlsIdentity
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials, Secret
from trustbridge.cucm.model import ClusterEntry
from trustbridge.errors import AuthenticationRefused, TrustbridgeError
from trustbridge.lab.cluster import Cluster as LabCluster
from trustbridge.lab.definition import GroupDefinition
from trustbridge.migration.findings import Severity
from trustbridge.migration.proof import Proof, Verdict, prove
from trustbridge.migration.proofcollect import collect
from trustbridge.pki.units import BulkType, Store, Unit
from trustbridge.services.tvs import TvsServer
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile

RELEASES: dict[str, Any] = {SOURCE: {"release": "12.5"}, DESTINATION: {"release": "15"}}
PAIR = (SOURCE, DESTINATION)
#: Seconds a TVS that does not answer is waited for.
PATIENCE = 2.0


def entry_of(cluster: LabCluster) -> ClusterEntry:
    ports, definition = cluster.ports, cluster.definition
    return ClusterEntry(
        name=cluster.name,
        publisher=definition.address(cluster.publisher),
        os_user=cluster.accounts.user("os"),
        app_user=cluster.accounts.user("application"),
        ssh_port=ports.ssh,
        https_port=ports.https,
        tvs_port=ports.tvs,
        http_port=ports.provisioning,
        tftp_port=ports.tftp,
        node_addresses=tuple((node.name, definition.address(node.name)) for node in definition.nodes),
    )


def credentials_of(cluster: LabCluster) -> Credentials:
    return Credentials(*(Secret(cluster.accounts.credentials(realm)[1]) for realm in ("os", "application")))


def secrets_of(live: LiveLab) -> list[str]:
    found = [live.lab.sftp_password]
    for cluster in live.lab.clusters.values():
        found += [cluster.accounts.credentials(realm)[1] for realm in ("os", "application")]
    return found


def proof_of(live: LiveLab, state: Path, credentials: dict[str, Credentials] | None = None, **options: Any) -> Proof:
    """The proof, collected in a loop of its own beside the lab's."""

    async def observed() -> Any:
        async with AsyncExitStack() as stack:
            opened = {}
            for name in PAIR:
                held = live.lab.clusters[name]
                known = (credentials or {}).get(name, credentials_of(held))
                opened[name] = await stack.enter_async_context(Cluster.open(entry_of(held), known, state=state))
            return await collect(opened, [PAIR], patience=PATIENCE, **options)

    return prove(asyncio.run(observed()), datetime.now(UTC))


def ids(proof: Proof, severity: Severity = Severity.STOP) -> set[tuple[str, str]]:
    """(id, subject) of findings."""
    return {(one.id, one.subject) for one in proof.findings if one.severity is severity}


def verdicts(proof: Proof) -> dict[str, Verdict]:
    """By node; every cluster signs with one certificate here."""
    return {cell.node: cell.verdict for direction in proof.directions for cell in direction.cells}


@pytest.fixture
def fresh(site: Site) -> Iterator[LiveLab]:
    with site.up(**RELEASES) as live:
        yield live


@pytest.fixture
def exchanged(site: Site) -> Iterator[LiveLab]:
    with site.up(exchanged=True, **RELEASES) as live:
        yield live


def test_before_the_exchange_nothing_is_proven(fresh: LiveLab, tmp_path: Path) -> None:
    proof = proof_of(fresh, tmp_path)
    assert proof.holds is False
    assert set(verdicts(proof).values()) == {Verdict.NO}
    assert ids(proof) == {("TB101", SOURCE), ("TB170", DESTINATION)}, proof.findings
    assert ("TB101", DESTINATION) in ids(proof, Severity.WARN)
    assert not proof.gaps


def test_after_the_exchange_it_is_proven_both_ways(exchanged: LiveLab, tmp_path: Path) -> None:
    proof = proof_of(exchanged, tmp_path, emcc=True)
    assert proof.holds is True, (proof.findings, proof.gaps)
    assert set(verdicts(proof).values()) == {Verdict.YES}
    assert len(verdicts(proof)) == 4
    assert not proof.gaps
    assert not proof.findings
    for direction in proof.directions:
        (signer,) = direction.signers
        assert signer.of_recovery
        held = exchanged.lab.clusters[direction.vouched]
        assert signer.certificate == held.list_signer(held.publisher).certificate
        for cell in direction.cells:
            assert {"SAST", "TFTP"} == set(cell.roles)
            assert cell.stores == (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST)
            assert cell.listed
    assert len(proof.placements) == 2 * 2 * 6
