"""Labs of many nodes: made and started quickly, and their exchange ends where it should."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.lab import large
from tests.lab.prepared import LiveLab

from trustbridge.lab.cluster import Cluster
from trustbridge.lab.lab import Lab
from trustbridge.pki.units import IMPORT_STORES, UNITS_OF, BulkType, Store
from trustbridge.services.openfiles import raise_limit

ALL = tuple(BulkType)
CLUSTERS, NODES = 3, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large.make(tmp_path_factory.mktemp("large") / "lab", large.definition(CLUSTERS, NODES))


def test_certificates_are_their_own_and_keys_are_few(folder: Path) -> None:
    identities = [one for cluster in Lab.open(folder).clusters.values() for one in cluster.identities.values()]
    assert len(identities) == CLUSTERS * (NODES * 5 + 2)
    assert len({one.certificate for one in identities}) == len(identities)
    assert len({one.certificate.public_key_value for one in identities}) == 2 * large.POOL


def test_releases_take_turns(folder: Path) -> None:
    releases = [cluster.definition.release for cluster in Lab.open(folder).clusters.values()]
    assert releases == ["12.5", "15", "12.5"]


def test_every_node_holds_what_all_the_others_exported(folder: Path) -> None:
    raise_limit()
    with LiveLab(folder) as live:
        clusters = list(live.lab.clusters.values())

        async def exchanged() -> None:
            for cluster in clusters:
                cluster.configure_sftp(live.lab.sftp_settings())
                await cluster.export(ALL)
            await clusters[0].consolidate(ALL)
            for cluster in clusters:
                await cluster.import_(ALL)

        live.do(exchanged())
        for importing in clusters:
            for other in clusters:
                if other is not importing:
                    _held(importing, other)
            # A store is one file, which all nodes share that hold the same.
            paths = [importing.folder / "nodes" / node / "trust" / Store.PHONE_SAST_TRUST for node in importing.stores]
            assert [len(list(path.iterdir())) for path in paths] == [1] * NODES
            assert len({file.stat().st_ino for path in paths for file in path.iterdir()}) == 1


def _held(importing: Cluster, other: Cluster) -> None:
    kinds = {unit: kind for kind in ALL for unit in UNITS_OF[kind]}
    for (_, unit), identity in other.identities.items():
        wanted = set(IMPORT_STORES[kinds[unit]]) if unit in kinds else set()
        for stores in importing.stores.values():
            assert set(stores.holding(identity.certificate)) == wanted
