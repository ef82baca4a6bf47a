"""A lab cluster: identities, trust stores, devices and the operations of its publisher; state lives in a folder.

<folder>/cluster.json                       mode, parameters, SFTP settings
<folder>/devices.json                       phones the cluster knows
<folder>/nodes/<node>/identity/<unit>.pem   and .key
<folder>/nodes/<node>/trust/<store>/*.pem   trust stores; the publisher's are the ones that replicate
<folder>/nodes/<node>/tftp/                 what TFTP serves besides phones' configurations
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, cast

from cryptography.hazmat.primitives.asymmetric import rsa

from trustbridge import atomicfile
from trustbridge.errors import NotConfigured, SettingsError
from trustbridge.exchange import bulk
from trustbridge.exchange.bulk import ConsolidatedBundle, ExportedBundle, Imported, NodeCertificate, Progress
from trustbridge.exchange.directory import Directory, SftpSettings, open_sftp
from trustbridge.exchange.hostkeys import HostKeyPins
from trustbridge.exchange.manifest import Contents, contents
from trustbridge.lab.definition import ClusterDefinition
from trustbridge.lab.ports import Ports
from trustbridge.lab.storefiles import read_stores, write_stores
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity, Organisation, authority, node_identities
from trustbridge.pki.stores import Added, TrustStores
from trustbridge.pki.units import OWN_STORES, BulkType, Store, Unit
from trustbridge.trust.lists import NodeCertificates, Signer
from trustbridge.trust.vouch import VouchIndex

#: CAPF-trust is the one store that replication leaves out (TB147): each node has its own.
_REPLICATED = tuple(store for store in Store if store is not Store.CAPF_TRUST)

SecurityMode = Literal["non-secure", "mixed"]


@dataclass(frozen=True, slots=True)
class Device:
    """A phone as a cluster knows it. `security_mode` as in its configuration file: 1, 2 or 3."""

    name: str
    model: str
    security_mode: int
    group: str


@dataclass(slots=True)
class ClusterState:
    """What the administrator has set."""

    security: SecurityMode
    prepare_for_rollback: bool
    sftp: SftpSettings | None = None


class Cluster:
    """One cluster's state and its publisher's operations. Services read it; nothing here listens.

    Args:
        clock: gives the time, timezone-aware.
    """

    def __init__(
        self,
        name: str,
        definition: ClusterDefinition,
        folder: Path,
        ports: Ports,
        clock: Callable[[], datetime],
    ) -> None:
        self.name = name
        self.definition = definition
        self.ports = ports
        self.folder = folder
        self.clock = clock
        self.changed: list[Callable[[], None]] = []
        self.state = self._read_state()
        self.devices = self._read_devices()
        self.identities = {
            (identity.node, identity.unit): identity for node in definition.nodes for identity in self._load(node.name)
        }
        self.stores = {node.name: read_stores(self._node(node.name) / "trust") for node in definition.nodes}

    # Making and reading.

    @classmethod
    def create(cls, definition: ClusterDefinition, folder: Path, now: datetime) -> None:
        """Make a cluster's folder: keys, certificates, stores with its own certificates. Nothing there is replaced.

        Killed half-way, it goes on where it was: a node is whole once its marker exists.
        """
        organisation = Organisation(ou="UC", o=definition.organisation, l="Krakow", st="Malopolska", c="PL")
        ca = authority(f"{definition.organisation} CA", organisation, now) if definition.ca_signed else None
        for node in definition.nodes:
            place = atomicfile.private_folder(folder / "nodes" / node.name / "identity")
            if (place / ".complete").exists():
                continue
            made = node_identities(
                node.name,
                domain=definition.domain,
                organisation=organisation,
                now=now,
                publisher=node.name == definition.publisher,
                itlrecovery=node.name == definition.publisher,
                ca=ca,
                key=definition.key,
                addresses=(definition.address(node.name),),
            )
            for identity in made:
                atomicfile.write(place / f"{identity.unit}.key", identity.key_pem(), durable=False)
                atomicfile.write(place / f"{identity.unit}.pem", identity.certificate.pem().encode(), durable=False)
            if ca is not None:
                atomicfile.write(place / "ca.crt", ca.certificate.pem().encode(), durable=False)
            atomicfile.private_folder(place.parent / "tftp")
            atomicfile.write(place / ".complete", b"")
        _first_stores(definition, folder)

    def _node(self, node: str) -> Path:
        return self.folder / "nodes" / node

    def tftp_folder(self, node: str) -> Path:
        """Where a TFTP node's trust lists and other files lie."""
        return self._node(node) / "tftp"

    def _load(self, node: str) -> list[Identity]:
        return _load_identities(self.folder, node)

    def _read_state(self) -> ClusterState:
        try:
            saved = json.loads((self.folder / "cluster.json").read_text("utf-8"))
        except FileNotFoundError:
            return ClusterState(self.definition.security, self.definition.prepare_for_rollback)
        sftp = saved["sftp"]
        if sftp is not None:
            key_file = sftp.pop("key_file")
            sftp = SftpSettings(**sftp, key_file=None if key_file is None else Path(key_file))
        return ClusterState(saved["security"], saved["prepare_for_rollback"], sftp)

    def _save_state(self) -> None:
        sftp = None if self.state.sftp is None else dataclasses.asdict(self.state.sftp)
        if sftp is not None and sftp["key_file"] is not None:
            sftp["key_file"] = str(sftp["key_file"])
        saved = {
            "security": self.state.security,
            "prepare_for_rollback": self.state.prepare_for_rollback,
            "sftp": sftp,
        }
        atomicfile.write(self.folder / "cluster.json", json.dumps(saved, indent=2).encode())

    def _read_devices(self) -> dict[str, Device]:
        try:
            rows = json.loads((self.folder / "devices.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return {row[0]: Device(*row) for row in rows}

    # Devices and parameters.

    def add_devices(self, devices: Iterable[Device]) -> None:
        """Create phones, or change those of the same name."""
        self.devices |= {device.name: device for device in devices}
        self._save_devices()

    def remove_devices(self, names: Iterable[str]) -> None:
        """Delete phones; unknown names are passed over."""
        for name in names:
            self.devices.pop(name, None)
        self._save_devices()

    def _save_devices(self) -> None:
        rows = [dataclasses.astuple(device) for device in self.devices.values()]
        atomicfile.write(self.folder / "devices.json", json.dumps(rows).encode())
        self._tell()

    @property
    def mixed_mode(self) -> bool:
        """Whether the cluster's security mode is 1."""
        return self.state.security == "mixed"

    def set_security(self, security: SecurityMode) -> None:
        """What `utils ctl set-cluster` does; the trust lists follow."""
        self.state.security = security
        self._save_state()
        self._tell()

    def set_prepare_for_rollback(self, prepare: bool) -> None:
        """Enterprise parameter "Prepare Cluster for Rollback to Pre 8.0"; the ITL files follow."""
        self.state.prepare_for_rollback = prepare
        self._save_state()
        self._tell()

    def _tell(self) -> None:
        for listener in self.changed:
            listener()

    # Certificates.

    def identity(self, node: str, unit: Unit) -> Identity:
        """A node's identity; KeyError where it has none."""
        return self.identities[node, unit]

    @property
    def publisher(self) -> str:
        """Name of the publisher."""
        return self.definition.publisher

    @property
    def capf(self) -> Identity:
        """The CAPF identity in use, the publisher's."""
        return self.identity(self.publisher, Unit.CAPF)

    def node_certificates(self) -> tuple[NodeCertificates, ...]:
        """What trust lists need to know of the nodes."""
        return tuple(
            NodeCertificates(
                name=self.definition.address(node.name),
                callmanager=self.identity(node.name, Unit.CALLMANAGER).certificate,
                tvs=self.identity(node.name, Unit.TVS).certificate,
                runs_tftp=node.tftp,
            )
            for node in self.definition.nodes
        )

    def file_signer(self, node: str) -> Signer:
        """Who signs configuration files of a TFTP node: its CallManager identity."""
        return _signer(self.identity(node, Unit.CALLMANAGER))

    def list_signer(self, node: str) -> Signer:
        """Who signs trust lists on a node: ITLRecovery from 12.0 on, before that a CallManager identity."""
        if self.definition.signs_with_itl_recovery:
            return _signer(self.identity(self.publisher, Unit.ITLRECOVERY))
        return self.file_signer(node)

    def vouch_index(self, node: str) -> VouchIndex:
        """What the TVS of a node vouches for."""
        return VouchIndex.from_stores((store, entry.certificate) for store, entry in self.stores[node])

    def bulk_identities(self) -> list[NodeCertificate]:
        """Identity certificates as an export takes them."""
        return [
            NodeCertificate(identity.node, identity.unit, identity.certificate) for identity in self.identities.values()
        ]

    def upload_trust(self, store: Store, certificate: Certificate, nodes: Sequence[str] | None = None) -> list[Added]:
        """The manual method: add one certificate to a trust store.

        On the publisher, from where it replicates, unless `nodes` are named. CAPF-trust never replicates, so there
        every node is meant when none is named.
        """
        if nodes is None:
            nodes = list(self.stores) if store is Store.CAPF_TRUST else [self.publisher]
        added = [self.stores[node].add(store, certificate, "uploaded") for node in nodes]
        self._replicate()
        return added

    def _replicate(self) -> None:
        """Copy the publisher's stores to every node, then save what changed."""
        master = self.stores[self.publisher]
        for node, stores in self.stores.items():
            if node != self.publisher:
                replica = TrustStores((store, entry) for store, entry in master if store in _REPLICATED)
                for entry in stores.entries(Store.CAPF_TRUST):
                    replica.add(Store.CAPF_TRUST, entry.certificate, entry.origin, own=entry.own)
                self.stores[node] = replica
        # Subscribers first: once the publisher's folder says so, so does every node's.
        for node in sorted(self.stores, key=lambda name: name == self.publisher):
            write_stores(self._node(node) / "trust", self.stores[node])
        self._tell()

    # Bulk certificate management, on the publisher.

    def configure_sftp(self, settings: SftpSettings) -> None:
        """Keep the SFTP server's settings; the file that holds them is 0600."""
        self.state.sftp = settings
        self._save_state()

    def _open_sftp(self) -> AbstractAsyncContextManager[Directory]:
        if self.state.sftp is None:
            raise NotConfigured(
                f"cluster {self.name} has no SFTP server for bulk certificate management",
                f"Set one: trustbridge bulk configure {self.name} --help",
            )
        pins = HostKeyPins(self.folder / "known_hosts")
        return open_sftp(self.state.sftp, pins, local_address=self.definition.address(self.publisher))

    async def list_exchange(self) -> Contents:
        """What the page of bulk certificate management lists."""
        async with self._open_sftp() as directory:
            return await contents(directory)

    async def export(self, types: Sequence[BulkType], progress: Progress = bulk.quiet) -> list[ExportedBundle]:
        """Export this cluster's certificates. Raises as `bulk.export` does."""
        async with self._open_sftp() as directory:
            return await bulk.export(
                directory, self.name, self.bulk_identities(), types, now=self.clock(), progress=progress
            )

    async def consolidate(self, types: Sequence[BulkType], progress: Progress = bulk.quiet) -> list[ConsolidatedBundle]:
        """Consolidate what clusters have exported. Raises as `bulk.consolidate` does."""
        async with self._open_sftp() as directory:
            return await bulk.consolidate(directory, self.name, types, now=self.clock(), progress=progress)

    async def import_(self, types: Sequence[BulkType], progress: Progress = bulk.quiet) -> list[Imported]:
        """Import the other clusters' certificates and replicate them. Raises as `bulk.plan_import` does."""
        own = {identity.certificate for identity in self.identities.values()}
        async with self._open_sftp() as directory:
            plan = await bulk.plan_import(directory, own, types, now=self.clock(), progress=progress)
        results = plan.apply(self.stores[self.publisher])
        self._replicate()
        return results


def _load_identities(folder: Path, node: str) -> list[Identity]:
    place = folder / "nodes" / node / "identity"
    found = []
    for unit in Unit:
        path = place / f"{unit}.pem"
        if path.exists():
            key = (place / f"{unit}.key").read_bytes()
            found.append(Identity.from_pem(node=node, unit=unit, certificate=path.read_bytes(), key=key))
    if not found:
        raise SettingsError(f"{place} holds no certificates", "Start the lab anew: trustbridge lab wipe.")
    return found


def _first_stores(definition: ClusterDefinition, folder: Path) -> None:
    """Every node trusts the cluster's own certificates; written once, when no node has stores yet."""
    if (folder / "nodes" / definition.publisher / "trust").exists():
        return
    identities = [identity for node in definition.nodes for identity in _load_identities(folder, node.name)]
    # The publisher last: its folder is the sign that all are there.
    for node in reversed(definition.nodes):
        stores = TrustStores()
        for identity in identities:
            for store in OWN_STORES[identity.unit]:
                stores.add(store, identity.certificate, "own", own=True)
        authority_file = folder / "nodes" / node.name / "identity" / "ca.crt"
        if authority_file.exists():
            root = Certificate.from_pem(authority_file.read_bytes())
            for store in (Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST):
                stores.add(store, root, "own", own=True)
        write_stores(folder / "nodes" / node.name / "trust", stores)


def _signer(identity: Identity) -> Signer:
    return Signer(identity.certificate, cast(rsa.RSAPrivateKey, identity.private_key))
