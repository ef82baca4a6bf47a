"""Two clusters of two nodes as they would be observed, to be changed before they are: one change a test.

Answers follow from the stores, as a TVS gives them; what a TVS knows can be told apart from what its stores hold.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from trustbridge.cucm.model import CallManagerGroup, NodeIdentity, TrustListFileInfo, TvsCertificate
from trustbridge.migration.proof import Proof, prove
from trustbridge.migration.proofseen import Answer, ClusterSeen, Failure, Gap, NodeSeen, Observations, served_file
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity, Organisation, self_signed
from trustbridge.pki.units import IMPORT_STORES, OWN_STORES, UNITS_OF, BulkType, Store, Unit
from trustbridge.trust.lists import (
    ListedCertificate,
    NodeCertificates,
    Signer,
    build_trust_list,
    ctl_entries,
    itl_entries,
)
from trustbridge.trust.vouch import VouchIndex
from trustbridge.wire import trustlist
from trustbridge.wire.signedheader import Digest
from trustbridge.wire.trustlist import role_label
from trustbridge.wire.tvs import query_request

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
OLD, NEW = "old", "new"
PAIR = (OLD, NEW)
_RSA = (Unit.CALLMANAGER, Unit.ITLRECOVERY)

Stores = dict[Store, tuple[Certificate, ...]]


@functools.cache
def identity(
    common_name: str, unit: Unit, *, node: str = "", days: int = 1826, serial: int = 0, make: int = 0
) -> Identity:
    """Made once; another `make` is another certificate of the same name."""
    return self_signed(
        node=node,
        unit=unit,
        common_name=common_name,
        organisation=Organisation(ou="UC", o="Example", l="Krakow", st="Malopolska", c="PL"),
        now=NOW - timedelta(days=30 - make),
        days=days,
        key="rsa2048" if unit in _RSA else "p256",
        serial=serial or None,
    )


def _identities(prefix: str) -> dict[tuple[str, Unit], Identity]:
    made = {}
    for node in (f"{prefix}-pub", f"{prefix}-sub"):
        for unit in (Unit.CALLMANAGER, Unit.TVS, Unit.TOMCAT, Unit.CAPF):
            name = f"{unit}.{node}" if unit is Unit.CAPF else f"{node}.{unit}"
            made[node, unit] = identity(name, unit, node=node)
    made[f"{prefix}-pub", Unit.ITLRECOVERY] = identity(f"ITLRECOVERY_{prefix}", Unit.ITLRECOVERY, node=f"{prefix}-pub")
    return made


@dataclass
class StagedCluster:
    """A cluster; every part may be changed."""

    name: str
    identities: dict[tuple[str, Unit], Identity]
    stores: dict[str, Stores] = field(default_factory=dict)
    #: What a TVS vouches from, where that is not what its stores hold.
    cache: dict[str, Stores] = field(default_factory=dict)
    presented: dict[str, Certificate] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    files: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    groups: tuple[CallManagerGroup, ...] | None = None
    mixed: bool | None = True
    rollback: bool | None = False
    listed: bool = True
    #: Nodes whose identities, or stores, nobody could read.
    identities_unread: set[str] = field(default_factory=set)
    stores_unread: set[str] = field(default_factory=set)

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(node for node, _ in self.identities))

    @property
    def publisher(self) -> str:
        return self.nodes[0]

    def certificate(self, node: str, unit: Unit) -> Certificate:
        return self.identities[node, unit].certificate

    @property
    def recovery(self) -> Certificate:
        return self.certificate(self.publisher, Unit.ITLRECOVERY)

    def put(self, store: Store, *certificates: Certificate, nodes: Iterable[str] | None = None) -> None:
        for node in nodes or self.nodes:
            held = self.stores.setdefault(node, {})
            held[store] = (*held.get(store, ()), *certificates)

    def take(self, certificate: Certificate, *stores: Store, nodes: Iterable[str] | None = None) -> None:
        for node in nodes or self.nodes:
            for store in stores or tuple(Store):
                held = self.stores[node].get(store, ())
                self.stores[node][store] = tuple(one for one in held if one != certificate)

    def sign(self, unit: Unit = Unit.ITLRECOVERY, *, blank: bool = False, digest: Digest = Digest.SHA1) -> None:
        """Make the trust lists anew: as now, all of ITLRecovery, or each node's by its CallManager."""
        recovery = self.recovery
        capf = self.certificate(self.publisher, Unit.CAPF)
        known = [
            NodeCertificates(node, self.certificate(node, Unit.CALLMANAGER), self.certificate(node, Unit.TVS), True)
            for node in self.nodes
        ]
        for own in known:
            signer = self.signer(unit, own.name if unit is Unit.CALLMANAGER else self.publisher)
            itl = itl_entries(
                own,
                known,
                publisher=self.publisher,
                signer=signer.certificate,
                itl_recovery=recovery,
                capf=capf,
                blank=blank,
            )
            ctl = ctl_entries(known, publisher=self.publisher, itl_recovery=recovery, capf=capf)
            self.files[own.name, "ITLFile.tlv"] = signed(itl, signer, "ITLFile.tlv", digest)
            ctl_signer = self.signer(unit, self.publisher)
            self.files[own.name, "CTLFile.tlv"] = signed(ctl, ctl_signer, "CTLFile.tlv", digest) if self.mixed else None

    def signer(self, unit: Unit, node: str) -> Signer:
        """An identity that signs."""
        one = self.identities[node, unit]
        assert isinstance(one.private_key, rsa.RSAPrivateKey)
        return Signer(one.certificate, one.private_key)

    def seen(self) -> ClusterSeen:
        nodes: list[NodeSeen] = []
        certificates = [
            one.certificate for (node, _), one in self.identities.items() if node not in self.identities_unread
        ]
        for node in self.nodes:
            files = [
                served_file(TrustListFileInfo(node, name, content), certificates)
                for (owner, name), content in self.files.items()
                if owner == node
            ]
            nodes.append(
                NodeSeen(
                    node,
                    f"192.0.2.{len(nodes) + 1}",
                    node == self.publisher,
                    None
                    if node in self.identities_unread
                    else tuple(
                        NodeIdentity(node, unit, one.certificate)
                        for (owner, unit), one in self.identities.items()
                        if owner == node
                    ),
                    {} if node in self.stores_unread else dict(self.stores[node]),
                    tuple(file for file in files if file is not None),
                )
            )
        index = VouchIndex.from_stores(_pairs(self.stores[self.publisher]))
        listed = tuple(
            TvsCertificate(
                one.certificate.subject,
                one.certificate.issuer,
                one.certificate.serial,
                index.time_to_live,
                tuple(map(role_label, one.roles)),
            )
            for one in index
        )
        asked = self.nodes
        if self.groups is not None:
            members = {member for group in self.groups for member in group.members}
            asked = tuple(node for node in asked if node in members)
        return ClusterSeen(
            self.name,
            "15.0.1",
            tuple(nodes),
            self.groups,
            asked,
            self.mixed,
            self.rollback,
            listed if self.listed else None,
        )

    def answers(self, vouched: ClusterSeen) -> list[Answer]:
        seen = self.seen()
        found = []
        for name in seen.asked:
            index = VouchIndex.from_stores(_pairs(self.cache.get(name, self.stores[name])))
            for signer in vouched.signers():
                answer = Answer(self.name, name, seen.node(name).address, 2445, vouched.name, signer.key)
                if name in self.failures:
                    found.append(dataclasses.replace(answer, failure=self.failures[name], words="nobody answers"))
                    continue
                said = index.answer(query_request(1000, "SEP", signer.subject, signer.issuer, signer.serial))
                found.append(
                    dataclasses.replace(
                        answer,
                        valid=said.valid,
                        roles=said.roles,
                        time_to_live=said.time_to_live,
                        returned=None if said.certificate is None else Certificate.from_der(said.certificate),
                        presented=self.presented.get(name, self.certificate(name, Unit.TVS)),
                        tls_version="TLSv1.2",
                        seconds=0.01,
                    )
                )
        return found


def _pairs(stores: Stores) -> list[tuple[Store, Certificate]]:
    return [(store, one) for store, held in stores.items() for one in held]


def signed(entries: list[ListedCertificate], signer: Signer, name: str, digest: Digest = Digest.SHA1) -> bytes:
    """A trust list's bytes."""
    return trustlist.encode(build_trust_list(entries, signer, file_name=name, now=NOW, digest=digest))


@dataclass
class Stage:
    """Both clusters after a whole exchange, in mixed mode, with all that could be seen."""

    clusters: dict[str, StagedCluster]
    gaps: list[Gap] = field(default_factory=list)
    emcc: bool = False
    deep: bool = True

    @classmethod
    def exchanged(cls) -> Stage:
        stage = cls.strangers()
        for holder, owner in ((OLD, NEW), (NEW, OLD)):
            stage.give(holder, owner)
        return stage

    @classmethod
    def strangers(cls) -> Stage:
        """Before any exchange: each holds its own certificates, and the other's CAPF in CAPF-trust."""
        clusters = {name: StagedCluster(name, _identities(name)) for name in PAIR}
        for name, cluster in clusters.items():
            other = clusters[NEW if name == OLD else OLD]
            for store in Store:
                cluster.put(store)
            for (_, unit), one in cluster.identities.items():
                for store in OWN_STORES[unit]:
                    cluster.put(store, one.certificate)
            cluster.put(Store.CAPF_TRUST, other.certificate(other.publisher, Unit.CAPF))
            cluster.groups = (CallManagerGroup("Default", cluster.nodes),)
            cluster.sign()
        return cls(clusters)

    def give(self, holder: str, owner: str, *types: BulkType) -> None:
        """An import on every node of `holder`, of `owner`'s certificates."""
        for bulk_type in types or tuple(BulkType):
            for (_, unit), one in self.clusters[owner].identities.items():
                if unit in UNITS_OF[bulk_type]:
                    for store in IMPORT_STORES[bulk_type]:
                        self.clusters[holder].put(store, one.certificate)

    @property
    def old(self) -> StagedCluster:
        return self.clusters[OLD]

    @property
    def new(self) -> StagedCluster:
        return self.clusters[NEW]

    def observations(self) -> Observations:
        seen = {name: cluster.seen() for name, cluster in self.clusters.items()}
        answers = [*self.old.answers(seen[NEW]), *self.new.answers(seen[OLD])]
        return Observations(seen, (PAIR,), tuple(answers), tuple(self.gaps), self.emcc, self.deep)

    def proof(self, **changes: Any) -> Proof:
        return prove(dataclasses.replace(self.observations(), **changes), NOW)


Change = Callable[[Stage], None]
