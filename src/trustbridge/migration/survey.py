"""What an exchange has to know of a cluster, read once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from trustbridge.cucm.clusterreads import ClusterReads
from trustbridge.cucm.model import NodeIdentity, NodeInfo, Release, TrustedCertificate
from trustbridge.cucm.releases import Abilities, for_release
from trustbridge.eventloop import together
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store, Unit

#: Nodes of one cluster that are asked at the same time.
_AT_ONCE = 8


# Not slotted: what is looked up thousands of times is kept.
@dataclass(frozen=True)
class ClusterSurvey:
    """A cluster as an exchange sees it.

    Attributes:
        name: as the inventory names it.
        release: of the publisher.
        nodes: publisher first.
        mixed_mode: whether the cluster's security mode is 1.
        fips: whether it runs in FIPS mode; None where the node does not tell.
        identities: of every node; an ITLRecovery that all nodes share counts once, as the publisher's.
        trusted: the publisher's trust stores, from where all but CAPF-trust replicate.
        capf_trust: CAPF-trust of each node, by its name; empty where nobody needs to know.
    """

    name: str
    release: Release
    nodes: tuple[NodeInfo, ...]
    mixed_mode: bool
    fips: bool | None
    identities: tuple[NodeIdentity, ...]
    trusted: tuple[TrustedCertificate, ...]
    capf_trust: Mapping[str, tuple[Certificate, ...]] = field(default_factory=dict)

    @property
    def publisher(self) -> str:
        """Name of the publisher."""
        return self.nodes[0].name

    @property
    def abilities(self) -> Abilities:
        """What its release can do."""
        return for_release(self.release).abilities

    @cached_property
    def _held(self) -> frozenset[tuple[Store, Certificate]]:
        return frozenset((one.store, one.certificate) for one in self.trusted)

    @cached_property
    def _named(self) -> Mapping[tuple[str, Store, str], tuple[Certificate, ...]]:
        entries = [("", one.store, one.certificate) for one in self.trusted]
        entries += [
            (node, Store.CAPF_TRUST, certificate) for node, held in self.capf_trust.items() for certificate in held
        ]
        found: dict[tuple[str, Store, str], tuple[Certificate, ...]] = {}
        for node, store, certificate in entries:
            key = (node, store, certificate.common_name.casefold())
            found[key] = (*found.get(key, ()), certificate)
        return found

    def store(self, store: Store) -> tuple[Certificate, ...]:
        """What the publisher's copy of a store holds."""
        return tuple(one.certificate for one in self.trusted if one.store is store)

    def holds(self, store: Store, certificate: Certificate, node: str = "") -> bool:
        """Whether a store holds just this certificate: the publisher's, or CAPF-trust of `node`."""
        return certificate in self.capf_trust.get(node, ()) if node else (store, certificate) in self._held

    def named(self, store: Store, common_name: str, node: str = "") -> tuple[Certificate, ...]:
        """What a store holds under a common name, in either case; `node` as in `holds`."""
        return self._named.get((node, store, common_name.casefold()), ())


async def survey(
    cluster: ClusterReads,
    *,
    capf_trust: bool = False,
    known: Mapping[str, tuple[NodeIdentity, ...]] | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> ClusterSurvey:
    """Read what an exchange has to know of a cluster; changes nothing.

    Args:
        capf_trust: read CAPF-trust of every node, too, if the cluster is in mixed mode.
        known: identities of nodes that were read a moment ago, by their name; they are not read again.
        progress: told each node that has been read.

    Raises:
        TrustbridgeError: a node or interface that is needed does not answer; it is named.
    """
    release = await cluster.release()
    nodes = await cluster.nodes()
    mixed_mode = await cluster.security_mode() == "mixed"
    fips = await cluster.fips()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def identities_of(node: NodeInfo) -> tuple[NodeIdentity, ...]:
        if known is not None and node.name in known:
            return known[node.name]
        async with gate:
            found = await cluster.identities(node.name)
        progress(f"{cluster.name}/{node.name}")
        return found

    async def capf_trust_of(node: NodeInfo) -> tuple[str, tuple[Certificate, ...]]:
        async with gate:
            held = await cluster.trusted(node.name, Store.CAPF_TRUST)
        return node.name, tuple(one.certificate for one in held)

    own, capf, trusted = await asyncio.gather(
        together(*(identities_of(node) for node in nodes)),
        together(*(capf_trust_of(node) for node in nodes if capf_trust and mixed_mode)),
        cluster.trusted(nodes[0].name),
    )
    return ClusterSurvey(
        cluster.name,
        release,
        nodes,
        mixed_mode,
        fips,
        _each_once([one for found in own for one in found]),
        trusted,
        dict(capf),
    )


def _each_once(identities: Sequence[NodeIdentity]) -> tuple[NodeIdentity, ...]:
    """From 12.5 on every node lists the cluster's one ITLRecovery as its own."""
    found: dict[tuple[Unit, Certificate, str], NodeIdentity] = {}
    for one in identities:
        node = "" if one.unit is Unit.ITLRECOVERY else one.node
        found.setdefault((one.unit, one.certificate, node), one)
    return tuple(found.values())
