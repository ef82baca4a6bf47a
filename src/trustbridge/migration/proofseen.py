"""What a proof of trust goes by: values of what was observed on clusters, and what could not be looked at. No I/O.

`proofcollect` fills them in, `proof` judges them. What was not observed is None, and a `Gap` says why: never a guess.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from trustbridge.cucm.model import CallManagerGroup, Interface, NodeIdentity, TrustListFileInfo, TvsCertificate
from trustbridge.errors import InvalidCertificate, InvalidInput
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.names import CertificateKey, certificate_key, short_name
from trustbridge.pki.units import Store, Unit
from trustbridge.trust.lists import check_signature
from trustbridge.wire import trustlist
from trustbridge.wire.signedheader import SignedHeader
from trustbridge.wire.trustlist import Role, TrustListFile

#: Stores that TVS vouches from, as far as trust lists go.
VOUCH_STORES = (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST)


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that could not be looked at.

    Attributes:
        cluster, node: where; node "" for the cluster itself.
        what: such as `Unified CM groups`.
        why: in words, with what to do about it.
        essential: nothing is proven without it.
    """

    cluster: str
    node: str
    what: str
    why: str
    essential: bool = False

    @property
    def where(self) -> str:
        """The cluster, or `cluster/node`."""
        return f"{self.cluster}/{self.node}" if self.node else self.cluster


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A trust-list file as a TFTP node serves it to phones. Made by `served_file`.

    Attributes:
        header: None where the file can't be read.
        signer: the certificate that made the signature, from the file's own records or among the cluster's identities;
            where none made it, one of the signer's name and serial number; None where there is no such certificate.
        problem: why phones refuse the file; "" for none that is known.
        checked: whether the signature was verified, and holds.
        tvs: certificates it lists with role TVS.
        servers: certificates it lists for Unified CM or TFTP.
    """

    node: str
    name: str
    content: bytes = field(repr=False)
    header: SignedHeader | None = None
    signer: Certificate | None = None
    problem: str = ""
    checked: bool = False
    blank: bool = False
    tvs: tuple[Certificate, ...] = field(default=(), repr=False)
    servers: tuple[Certificate, ...] = field(default=(), repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content)

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def of_itl(self) -> bool:
        """Whether it is an ITL, not a CTL."""
        return self.name.startswith("ITL")


def served_file(info: TrustListFileInfo, identities: Sequence[Certificate]) -> ServedFile | None:
    """Read and verify a file that was downloaded; None where the node serves none.

    Args:
        identities: certificates of the cluster that serves it.
    """
    content = info.content
    if content is None:
        return None
    try:
        file = trustlist.decode(content)
    except InvalidInput as error:
        return ServedFile(info.node, info.name, content, problem=f"it is no trust list: {error.message}")
    listed = {role: _listed(file, role) for role in Role}
    header = file.header
    key = certificate_key(header.serial, header.ca_name)
    everything = [one for certificates in listed.values() for one in certificates]
    candidates = [one for one in dict.fromkeys([*everything, *identities]) if _keyed(one, key)]
    signer, problem, checked = _signer(header, content, candidates)
    if checked and signer in everything and signer not in listed[Role.SAST]:
        problem = "it lists its own signer without role SAST"
    return ServedFile(
        info.node,
        info.name,
        content,
        header,
        signer,
        problem,
        checked,
        file.blank,
        listed[Role.TVS],
        tuple(dict.fromkeys((*listed[Role.CCM_TFTP], *listed[Role.TFTP], *listed[Role.CCM]))),
    )


def _listed(file: TrustListFile, role: Role) -> tuple[Certificate, ...]:
    found = []
    for record in file.records:
        if record.role == role and record.certificate is not None:
            try:
                found.append(Certificate.from_der(record.certificate))
            except InvalidCertificate:
                continue
    return tuple(found)


def _keyed(certificate: Certificate, key: CertificateKey) -> bool:
    try:
        return certificate.key == key
    except InvalidCertificate:
        return False


def _signer(
    header: SignedHeader, content: bytes, candidates: Sequence[Certificate]
) -> tuple[Certificate | None, str, bool]:
    """Of certificates with the right name and serial number, the one that made the signature."""
    problem = ""
    for certificate in candidates:
        try:
            check_signature(header, content, certificate)
        except InvalidInput as error:
            problem = error.message
        else:
            return certificate, "", True
    return (candidates[0] if candidates else None), problem, False


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node.

    Attributes:
        identities: its own certificates; None where they could not be read.
        stores: trust stores that were read.
        files: trust lists it serves; None where they could not be had.
    """

    name: str
    address: str
    publisher: bool
    identities: tuple[NodeIdentity, ...] | None = None
    stores: Mapping[Store, tuple[Certificate, ...]] = field(default_factory=dict, repr=False)
    files: tuple[ServedFile, ...] | None = None

    def identity(self, unit: Unit) -> Certificate | None:
        """Its certificate of a unit, where it is known."""
        return next((one.certificate for one in self.identities or () if one.unit is unit), None)

    def holding(self, certificate: Certificate) -> tuple[Store, ...]:
        """The stores, of those that were read, that hold exactly this certificate."""
        return tuple(store for store, held in self.stores.items() if certificate in held)

    @property
    def vouches_from(self) -> tuple[Certificate, ...] | None:
        """What its TVS can vouch for a signer from; None unless both stores were read."""
        if any(store not in self.stores for store in VOUCH_STORES):
            return None
        return tuple(dict.fromkeys(one for store in VOUCH_STORES for one in self.stores[store]))


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs files of a cluster now: what a phone asks about, and where known the certificate itself.

    Attributes:
        subject, issuer, serial: as the files name it.
        certificate: None where neither the files nor the cluster's identities hold it.
        identity: whose it is; None where it is no identity that is known.
        files: what it signs.
    """

    cluster: str
    subject: str
    issuer: str
    serial: int
    certificate: Certificate | None
    identity: NodeIdentity | None
    files: tuple[ServedFile, ...]

    @property
    def key(self) -> CertificateKey:
        """What TVS looks it up by."""
        return certificate_key(self.serial, self.issuer)

    @property
    def common_name(self) -> str:
        """For people."""
        return short_name(self.subject)

    @property
    def of_recovery(self) -> bool:
        """Whether it is an ITLRecovery certificate: as an identity, else by its name."""
        if self.identity is not None:
            return self.identity.unit is Unit.ITLRECOVERY
        return self.common_name.upper().startswith("ITLRECOVERY")

    @property
    def label(self) -> str:
        """Unit and name, such as `ITLRecovery ITLRECOVERY_cm1.example`."""
        return f"{self.identity.unit} {self.common_name}" if self.identity is not None else self.common_name

    @property
    def id(self) -> str:
        """SHA-256 of the certificate, else its serial number."""
        return self.certificate.sha256 if self.certificate is not None else f"serial-{self.serial:x}"

    @property
    def signs(self) -> str:
        """Which files, on which nodes, in words."""
        by_name: dict[str, list[str]] = {}
        for file in self.files:
            by_name.setdefault(file.name, []).append(file.node)
        return "; ".join(f"{name} of {', '.join(nodes)}" for name, nodes in by_name.items())


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """A cluster.

    Attributes:
        nodes: publisher first.
        groups: None where they could not be read; then every node counts as one that phones may ask.
        asked: nodes that phones may ask, by name.
        mixed, rollback: security mode, and whether it is prepared for rollback to pre 8.0; None: not known.
        listed: what `listTvsCertificate` told; None: not asked, or no answer.
        ways: which interface each answer came by.
        detours: what led nowhere before another way did, in words.
    """

    name: str
    release: str
    nodes: tuple[NodeSeen, ...]
    groups: tuple[CallManagerGroup, ...] | None
    asked: tuple[str, ...]
    mixed: bool | None = None
    rollback: bool | None = None
    listed: tuple[TvsCertificate, ...] | None = None
    ways: tuple[tuple[str, Interface], ...] = ()
    detours: tuple[str, ...] = ()

    @property
    def publisher(self) -> NodeSeen:
        """The publisher."""
        return self.nodes[0]

    def node(self, name: str) -> NodeSeen:
        """A node by its exact name; KeyError without one."""
        for one in self.nodes:
            if one.name == name:
                return one
        raise KeyError(name)

    @property
    def identities(self) -> tuple[NodeIdentity, ...]:
        """Identities of all nodes that could be read."""
        return tuple(identity for node in self.nodes for identity in node.identities or ())

    @property
    def identities_whole(self) -> bool:
        """Whether every node's identities are known."""
        return all(node.identities is not None for node in self.nodes)

    @property
    def files(self) -> tuple[ServedFile, ...]:
        """Every file that is served."""
        return tuple(file for node in self.nodes for file in node.files or ())

    @property
    def callmanagers(self) -> tuple[Certificate, ...]:
        """Its CallManager certificates, as its identities and its own lists tell."""
        own = [one.certificate for one in self.identities if one.unit in (Unit.CALLMANAGER, Unit.CALLMANAGER_ECDSA)]
        return tuple(dict.fromkeys([*own, *(one for file in self.files for one in file.servers)]))

    def signers(self) -> tuple[Signer, ...]:
        """Who signs its files now, each once; files that can't be read name nobody."""
        found: dict[tuple[CertificateKey, Certificate | None], list[ServedFile]] = {}
        for file in self.files:
            if file.header is not None:
                key = certificate_key(file.header.serial, file.header.ca_name)
                found.setdefault((key, file.signer), []).append(file)
        return tuple(self._signer(certificate, files) for (_, certificate), files in found.items())

    def _signer(self, certificate: Certificate | None, files: Sequence[ServedFile]) -> Signer:
        header = files[0].header
        assert header is not None
        identity = next((one for one in self.identities if one.certificate == certificate), None)
        return Signer(self.name, header.signer_name, header.ca_name, header.serial, certificate, identity, tuple(files))


class Failure(StrEnum):
    """Why a TVS gave no answer."""

    UNREACHABLE = "unreachable"
    TLS_VERSION = "no common TLS version"
    NO_SENSE = "no sensible answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one TVS said about one signer, or why it did not.

    Attributes:
        cluster, node, address, port: who was asked.
        signer: what about: `Signer.key`; of which cluster: `vouched`.
        presented: the certificate it showed in TLS; None where it came to none.
        returned: the certificate it answered with.
        words: of a failure.
        seconds: from connecting to the answer.
    """

    cluster: str
    node: str
    address: str
    port: int
    vouched: str
    signer: CertificateKey
    valid: bool = False
    roles: tuple[int, ...] = ()
    time_to_live: int | None = None
    returned: Certificate | None = None
    presented: Certificate | None = None
    tls_version: str = ""
    seconds: float = 0.0
    failure: Failure | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Observations:
    """All of it.

    Attributes:
        pairs: (source, destination): each is looked at in both directions.
        emcc: whether Extension Mobility Cross Cluster is to be judged as well.
        deep: whether stores were read also where TVS answered well.
    """

    clusters: Mapping[str, ClusterSeen]
    pairs: tuple[tuple[str, str], ...]
    answers: tuple[Answer, ...]
    gaps: tuple[Gap, ...] = ()
    emcc: bool = False
    deep: bool = True

    def directions(self) -> tuple[tuple[str, str, bool], ...]:
        """(who is asked, who is vouched for, whether it is the way back), each once, ways out first."""
        out = list(dict.fromkeys(self.pairs))
        back = [(b, a) for a, b in out if (b, a) not in out]
        return tuple([(*pair, False) for pair in out] + [(*pair, True) for pair in dict.fromkeys(back)])
