"""A lab cluster: identities, trust stores, devices and the operations of its publisher; state lives in a folder.

<folder>/cluster.json                       mode, parameters, SFTP settings
<folder>/devices.json                       phones the cluster knows
<folder>/details.json                       what else it knows of them, see `phonedetails`
<folder>/accounts.json                      who may log in, with passwords
<folder>/authority/                         who signs CallManager and tomcat, where somebody else does
<folder>/nodes/<node>/identity/<unit>.pem   and .key
<folder>/nodes/<node>/trust/<store>/*.pem   trust stores, see `storefiles`; the publisher's are the ones that replicate
<folder>/nodes/<node>/tftp/                 what TFTP serves besides phones' configurations
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
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
from trustbridge.lab.accounts import Accounts
from trustbridge.lab.definition import ClusterDefinition
from trustbridge.lab.founding import read_identities
from trustbridge.lab.phonedetails import DetailsFile
from trustbridge.lab.ports import Ports
from trustbridge.lab.profiles import profile
from trustbridge.lab.storefiles import read_stores, write_stores
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity
from trustbridge.pki.stores import Added, Entry, TrustStores
from trustbridge.pki.units import BulkType, Store, Unit
from trustbridge.trust.configuration import SECURITY_INSECURE
from trustbridge.trust.lists import NodeCertificates, Signer
from trustbridge.trust.vouch import STORE_ROLES, VouchIndex

#: Importing these restarts phones, where the release does that (TB145).
_RESTARTING = (BulkType.TFTP, BulkType.CAPF)

SecurityMode = Literal["non-secure", "mixed"]


@dataclass(frozen=True, slots=True)
class Device:
    """A phone as a cluster knows it. `security_mode` as in its configuration file: 1, 2 or 3."""

    name: str
    model: str
    security_mode: int
    group: str
    description: str = ""
    load: str = ""


_row = attrgetter(*(field.name for field in dataclasses.fields(Device)))


@dataclass(slots=True)
class ClusterState:
    """What the administrator has set."""

    security: SecurityMode
    prepare_for_rollback: bool
    sftp: SftpSettings | None = None


class Cluster:
    """One cluster's state and its publisher's operations. Services read it; nothing here listens.

    Args:
        folder: made by `founding.found`.
        clock: gives the time, timezone-aware.

    Attributes:
        changed: called after each change.
        restart_phones: called when an import restarts the phones that are registered here (TB145); returns at once.

    Raises:
        SettingsError: the folder lacks something, or something in it can't be read.
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
        #: Told that mode, parameters or devices are others now; and that trust stores are.
        self.changed: list[Callable[[], None]] = []
        self.stores_changed: list[Callable[[], None]] = []
        self.restart_phones: Callable[[], None] = lambda: None
        self._vouched: tuple[tuple[tuple[Store, tuple[Entry, ...]], ...], VouchIndex] | None = None
        self.accounts = Accounts(folder / "accounts.json")
        self.state = self._read_state()
        self.devices = self._read_devices()
        self.details = DetailsFile(folder / "details.json")
        self.identities = {
            (identity.node, identity.unit): identity
            for node in definition.nodes
            for identity in read_identities(folder, node.name)
        }
        self._addresses = {node.name: definition.address(node.name) for node in definition.nodes}
        folders = {node.name: self._node(node.name) / "trust" for node in definition.nodes}
        held = read_stores(folders.values())
        self.stores = {node: held[place] for node, place in folders.items()}
        #: Nodes that what the publisher imports does not reach (TB102).
        self.unreplicated: set[str] = set()
        #: What this process has written to each node's folder; empty where it is not sure.
        self._on_disk: dict[str, TrustStores] = {}

    # State on disk.

    def _node(self, node: str) -> Path:
        return self.folder / "nodes" / node

    def tftp_folder(self, node: str) -> Path:
        """Where a TFTP node's trust lists and other files lie."""
        return self._node(node) / "tftp"

    def _read_state(self) -> ClusterState:
        path = self.folder / "cluster.json"
        try:
            saved = json.loads(path.read_text("utf-8"))
            sftp = saved["sftp"]
            if sftp is not None:
                key_file = sftp.pop("key_file")
                sftp = SftpSettings(**sftp, key_file=None if key_file is None else Path(key_file))
            return ClusterState(saved["security"], saved["prepare_for_rollback"], sftp)
        except FileNotFoundError:
            return ClusterState(self.definition.security, self.definition.prepare_for_rollback)
        except (ValueError, KeyError, TypeError, AttributeError):
            # Not with what it says: the SFTP password is in it.
            raise SettingsError(
                f"{path} can't be read",
                "Remove it: mode and parameters are then those the lab was made with, and the SFTP server is not set.",
            ) from None

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
        path = self._devices_file
        try:
            return {row[0]: Device(*row) for row in json.loads(path.read_text("utf-8"))}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise SettingsError(
                f"{path} can't be read: {error}", "Remove it: all phones are then known again."
            ) from None

    @property
    def _devices_file(self) -> Path:
        return self.folder / "devices.json"

    @property
    def has_devices(self) -> bool:
        """Whether anybody has told the cluster its phones, even that there are none."""
        return self._devices_file.exists()

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
        rows = [_row(device) for device in self.devices.values()]  # astuple takes ten times as long
        atomicfile.write(self._devices_file, json.dumps(rows).encode())
        self._tell()

    @property
    def mixed_mode(self) -> bool:
        """Whether the cluster's security mode is 1."""
        return self.state.security == "mixed"

    def security_of(self, device: Device | None) -> int:
        """Security mode in force for a phone: its own in mixed mode, else 1; that of a phone nobody knows is 1."""
        return device.security_mode if device is not None and self.mixed_mode else SECURITY_INSECURE

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
                name=self._addresses[node.name],
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
        """What the TVS of a node vouches for; nodes whose stores are equal share one."""
        stores = self.stores[node]
        entries = tuple((store, stores.entries(store)) for store in Store if store in STORE_ROLES)
        if self._vouched is None or self._vouched[0] != entries:
            held = ((store, entry.certificate) for store, found in entries for entry in found)
            self._vouched = entries, VouchIndex.from_stores(held)
        return self._vouched[1]

    def bulk_identities(self) -> list[NodeCertificate]:
        """Identity certificates as an export takes them."""
        return [
            NodeCertificate(identity.node, identity.unit, identity.certificate) for identity in self.identities.values()
        ]

    def upload_trust(self, store: Store, certificate: Certificate, nodes: Sequence[str] | None = None) -> list[Added]:
        """Add one certificate to a trust store; what came of it, a node. See `upload_all`."""
        return self.upload_all(store, [certificate], nodes)

    def upload_all(
        self, store: Store, certificates: Sequence[Certificate], nodes: Sequence[str] | None = None
    ) -> list[Added]:
        """The manual method: add certificates to a trust store, all or none. What came of each, node by node.

        On the publisher, from where it replicates. CAPF-trust never replicates, so there every node is meant, or
        those that are named.

        Raises:
            SettingsError: there is no such node, or a node is named where the publisher's store replicates.
            OSError: the stores can't be written; nothing was added.
        """
        if nodes is None:
            nodes = list(self.stores) if store is Store.CAPF_TRUST else [self.publisher]
        for node in nodes:
            if node not in self.stores:
                raise SettingsError(f"{self.name} has no node {node}", f"It has {', '.join(self.stores)}.")
            if store is not Store.CAPF_TRUST and node != self.publisher:
                raise SettingsError(
                    f"{store} replicates from the publisher, {self.publisher}: {node} alone can't have a certificate",
                    "Name no node. Only CAPF-trust differs from node to node.",
                )
        stores = {node: held.copy() for node, held in self.stores.items()}
        added = [stores[node].add(store, one, "uploaded") for node in nodes for one in certificates]
        self._keep(stores)
        if store is Store.CALLMANAGER_TRUST:
            self._imported(added)
        return added

    def remove_trust(self, store: Store, certificate: Certificate, nodes: Sequence[str] | None = None) -> bool:
        """Take a certificate out of a trust store of every node, or of the nodes named; False when it was not there.

        Of a store that replicates, only what the publisher lost is gone: other nodes get it back (TB148).

        Raises:
            OSError: the stores can't be written; nothing was removed.
        """
        stores = {node: held.copy() for node, held in self.stores.items()}
        removed = [stores[node].remove(store, certificate) for node in (stores if nodes is None else nodes)]
        self._keep(stores)
        return any(removed)

    def _keep(self, stores: dict[str, TrustStores]) -> None:
        """Copy the publisher's stores to every node, save what changed, and from then on go by it.

        CAPF-trust is the one store that replication leaves out (TB147): each node has its own.
        """
        published = stores[self.publisher]
        for node, held in stores.items():
            if node != self.publisher and node not in self.unreplicated:
                stores[node] = published.with_entries(Store.CAPF_TRUST, held.entries(Store.CAPF_TRUST))
        # Subscribers first: once the publisher's folder says so, so does every node's.
        in_order = sorted(stores, key=lambda name: name == self.publisher)
        before, self._on_disk = self._on_disk, {}  # known again only when all of it is written
        folders = {node: self._node(node) / "trust" for node in in_order}
        write_stores(
            {folders[node]: stores[node] for node in in_order},
            {folders[node]: held for node, held in before.items()},
        )
        self.stores = stores
        self._on_disk = {node: held.copy() for node, held in stores.items()}
        for listener in self.stores_changed:
            listener()

    def set_replicated(self, node: str, replicated: bool) -> None:
        """Whether what the publisher imports reaches a node. What it has missed, it gets when it is reached again.

        Raises:
            SettingsError: the publisher, from which the others have it.
            OSError: the stores can't be written.
        """
        if node == self.publisher:
            raise SettingsError(f"{node} is the publisher: the others have their stores from it", "Name another node.")
        if not replicated:
            self.unreplicated.add(node)
            return
        self.unreplicated.discard(node)
        self._keep({name: held.copy() for name, held in self.stores.items()})

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
        """Import the other clusters' certificates and replicate them. Killed at any point, it can be run again.

        Raises as `bulk.plan_import` does, and OSError when the stores can't be written; then nothing counts.
        """
        own = {identity.certificate for identity in self.identities.values()}
        async with self._open_sftp() as directory:
            plan = await bulk.plan_import(directory, own, types, now=self.clock(), progress=progress)
        stores = {node: held.copy() for node, held in self.stores.items()}
        results = plan.apply(stores[self.publisher])
        self._keep(stores)
        self._imported([item.result for item in results if item.type in _RESTARTING])
        return results

    def _imported(self, results: Iterable[Added]) -> None:
        """Phones restart once when CallManager or CAPF certificates came in, on a release that does that."""
        if profile(self.definition.release).restarts_phones_on_import and any(one.changed for one in results):
            self.restart_phones()


def _signer(identity: Identity) -> Signer:
    return Signer(identity.certificate, cast(rsa.RSAPrivateKey, identity.private_key))
