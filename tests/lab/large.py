"""Labs of many nodes, made in seconds: certificates of their own, keys from a small pool.

`definition` describes the lab, `make` writes its folder, as if it had never been started. Benchmarks use both, so there
is no pytest here.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from tests.lab.own import RUN, SHIFT

from trustbridge import atomicfile
from trustbridge.lab import founding
from trustbridge.lab.definition import (
    ClusterDefinition,
    LabDefinition,
    NetworkDefinition,
    NodeDefinition,
    PhonesDefinition,
)
from trustbridge.pki import issue
from trustbridge.pki.issue import KeyName, PrivateKey

#: As many as the vendor has a cluster have nodes, and a merger has clusters.
CLUSTERS, NODES = 10, 21
#: One without certificate REST, one with it; in turn.
RELEASES = ("12.5", "15")
#: Keys of each kind that all identities of a lab share.
POOL = 4
#: Second octet of the first cluster's addresses; the third tells test runs on one machine apart.
_FIRST_NETWORK = 90


def definition(
    clusters: int = CLUSTERS,
    nodes: int = NODES,
    *,
    releases: Sequence[str] = RELEASES,
    phones: Sequence[PhonesDefinition] = (),
) -> LabDefinition:
    """Clusters `c1`, `c2`, ... of nodes `c1-pub`, `c1-sub1`, ..., all in mixed mode.

    Args:
        releases: of the clusters, in turn.
        phones: `home` names a cluster.
    """
    return LabDefinition(
        name="large",
        network=NetworkDefinition(
            phones=f"127.{_FIRST_NETWORK - 2}.{RUN}.0",
            dhcp=f"127.{_FIRST_NETWORK - 2}.{RUN}.1",
            sftp=f"127.{_FIRST_NETWORK - 1}.{RUN}.1",
            sftp_port=SHIFT,
            port_shift=SHIFT,
        ),
        clusters={
            f"c{number}": ClusterDefinition(
                release=releases[(number - 1) % len(releases)],
                security="mixed",
                network=f"127.{_FIRST_NETWORK + number - 1}.{RUN}.0",
                organisation=f"Site {number}",
                domain=f"c{number}.example",
                nodes=tuple(
                    NodeDefinition(name=f"c{number}-{f'sub{place}' if place else 'pub'}") for place in range(nodes)
                ),
            )
            for number in range(1, clusters + 1)
        },
        phones=tuple(phones),
    )


def make(folder: Path, lab: LabDefinition) -> Path:
    """The folder of a lab that was never started, with all keys and certificates."""
    atomicfile.private_folder(folder)
    # Of some age, so that what a test issues now is newer.
    now = datetime.now(UTC) - timedelta(days=30)
    with _pooled_keys():
        for name, cluster in lab.clusters.items():
            founding.found(cluster, atomicfile.private_folder(folder / "clusters" / name), now)
    atomicfile.write(folder / "definition.json", lab.model_dump_json().encode())
    return folder


@functools.cache
def _pool(kind: KeyName) -> Iterator[PrivateKey]:
    return itertools.cycle([_private_key(kind) for _ in range(POOL)])


_private_key = issue._private_key


@contextmanager
def _pooled_keys() -> Iterator[None]:
    """Making a thousand RSA keys takes minutes; what an exchange moves are certificates."""
    with mock.patch.object(issue, "_private_key", lambda kind: next(_pool(kind))):
        yield
