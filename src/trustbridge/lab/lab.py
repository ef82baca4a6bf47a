"""A whole lab that runs in one process: clusters, phones, DHCP and an SFTP server, on loopback.

State lives in one folder and survives a restart:

    definition.json      what the lab consists of
    network.json         option 150
    clusters/<name>/     see `cluster`
    phones/<SEP...>/     flash of each phone
    sftp/                the exchange directory, beside its host key and password
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import ipaddress
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from trustbridge import atomicfile
from trustbridge.errors import NotNow, PortTaken, SettingsError
from trustbridge.exchange.directory import SftpSettings
from trustbridge.lab import definition as definitions
from trustbridge.lab import founding
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.definition import LabDefinition
from trustbridge.lab.fleet import Fleet, create_phones
from trustbridge.lab.fleetworkers import start_fleet_workers
from trustbridge.lab.node import Node
from trustbridge.lab.pageserver import start_pages
from trustbridge.lab.phone import LabPhone, PhoneNetwork
from trustbridge.lab.ports import Ports, choose
from trustbridge.lab.registrations import Registrations
from trustbridge.lab.soapapis import SoapApis
from trustbridge.lab.statuspages import page
from trustbridge.services import openfiles
from trustbridge.services.dhcp import DhcpServer, Scope, start_dhcp
from trustbridge.services.sftp import hash_password, start_sftp

_log = logging.getLogger(__name__)

SFTP_USER = "bulk"
#: As many addresses as an option of DHCP holds.
MAX_OPTION150 = 63
_ROOM_FOR_TWO = (
    "Perhaps another lab is up: `trustbridge lab down` stops it. Two at once need addresses of their own: docs/lab.md."
)


class _Stoppable(Protocol):
    async def stop(self) -> None: ...


def now() -> datetime:
    """The lab's clock."""
    return datetime.now(UTC)


class Lab:
    """A lab. `open` it, `start` it, `boot` its phones, `stop` it."""

    def __init__(self, definition: LabDefinition, folder: Path, ports: Ports, shifted_because: str) -> None:
        self.definition = definition
        self.folder = folder
        self.ports = ports
        self.shifted_because = shifted_because
        self.notices: list[str] = [shifted_because] if shifted_because else []
        self.clusters = {
            name: Cluster(name, cluster, folder / "clusters" / name, ports, now)
            for name, cluster in definition.clusters.items()
        }
        create_phones(definition, self.clusters, folder / "phones", now())
        self.registrations = {name: Registrations(cluster) for name, cluster in self.clusters.items()}
        self.fleet = Fleet(
            definition,
            folder / "phones",
            PhoneNetwork(definition.network.dhcp, ports, definition.network.dhcp_port),
            now,
        )
        #: AXL, RisPort70 and Control Center, by cluster.
        self.apis = {
            name: SoapApis(cluster, self.registrations[name], partial(self._reset, name), self._subnet(name))
            for name, cluster in self.clusters.items()
        }
        for name, cluster in self.clusters.items():
            cluster.restart_phones = partial(self._reset_all, name)
        #: Nodes that run, by cluster and name.
        self.nodes: dict[tuple[str, str], Node] = {}
        self.sftp_password = self._password()
        self._dhcp: DhcpServer | None = None
        self._others: list[_Stoppable] = []
        self._renewing: asyncio.Task[None] | None = None
        self._option150 = self._read_option150()

    @classmethod
    def open(cls, folder: Path, definition: LabDefinition | None = None) -> Lab:
        """The lab in `folder`, made on first use.

        Args:
            definition: what it consists of; None means what it was made of, or the default.

        Raises:
            SettingsError: the folder holds another lab, something else, or nothing that can be read.
            NotNow: the lab is up, or being made by another process.
            TrustbridgeError: the folder can't be used, or the disk is full.
        """
        with atomicfile.in_words(f"the lab in {folder} can't be made or read"):
            atomicfile.private_folder(folder)
            with locked(folder):
                return cls._open(folder, definition)

    @classmethod
    def _open(cls, folder: Path, definition: LabDefinition | None) -> Lab:
        saved = _saved_definition(folder)
        if saved is not None and definition is not None and saved != definition:
            raise SettingsError(
                f"{folder} holds another lab, {saved.name}, made from another definition",
                "Use another folder, or forget that lab: trustbridge lab wipe.",
            )
        chosen = saved or definition or definitions.default()
        if saved is None:
            _check_empty(folder)
            atomicfile.write(folder / "definition.json", chosen.model_dump_json(indent=2).encode())
        for name, cluster in chosen.clusters.items():
            founding.found(cluster, atomicfile.private_folder(folder / "clusters" / name), now())
        ports, reason = _ports(chosen)
        return cls(chosen, folder, ports, reason)

    # Running.

    async def start(self) -> None:
        """Start every service. What started is stopped again when something can't.

        Raises:
            PortTaken: an address or port is in use.
            TrustbridgeError: the lab's folder can't be written.
        """
        try:
            with atomicfile.in_words(f"the lab in {self.folder} can't be started"):
                await self._start()
        except PortTaken as error:
            await self.stop()
            raise PortTaken(error.message, f"{error.hint} {_ROOM_FOR_TWO}".strip()) from error
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        openfiles.raise_limit()
        network = self.definition.network
        for name, cluster in self.clusters.items():
            for node in cluster.definition.nodes:
                running = Node(cluster, self.registrations[name], node.name, self.apis[name])
                self.nodes[name, node.name] = running
                await running.start()
        if network.dhcp_port is None:
            self._dhcp = await start_dhcp(
                Scope(
                    option150=self._option150,
                    fixed={phone.identity.mac: phone.identity.address for phone in self.fleet.phones.values()},
                ),
                host=network.dhcp,
                port=self.ports.dhcp,
            )
        sftp = await start_sftp(
            atomicfile.private_folder(self.exchange_folder),
            host=network.sftp,
            port=network.sftp_port,
            users={SFTP_USER: hash_password(self.sftp_password)},
            host_key=self.folder / "sftp" / "host_key",
        )
        self._others.append(sftp)
        try:
            self._others.append(await start_pages(self._page, port=self.ports.web))
        except PortTaken as error:
            self.notices.append(f"the phones' status pages are off: {error}")
        self._renewing = asyncio.create_task(self.fleet.keep_registered())

    async def stop(self) -> None:
        """Cut off phones that start, and stop every service; state is on disk already. Again, nothing happens."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
            self._renewing = None
        await self.fleet.stop()
        stopping: list[_Stoppable] = [*self._others, *self.nodes.values()]
        if self._dhcp is not None:
            stopping.append(self._dhcp)
        self._dhcp = None
        self._others.clear()
        self.nodes.clear()
        for result in await asyncio.gather(*(service.stop() for service in stopping), return_exceptions=True):
            if isinstance(result, Exception):
                _log.error("a service did not stop as it should", exc_info=result)

    @contextlib.asynccontextmanager
    async def running(self, *, phone_processes: int = 0) -> AsyncIterator[Lab]:
        """Started for as long as the context lasts. Raises as `start` does.

        Args:
            phone_processes: in which phones start, for labs of thousands; 0 for this one.
        """
        with self.locked():
            await self.start()
            try:
                if phone_processes:
                    network = PhoneNetwork(self.definition.network.dhcp, self.ports)
                    self.fleet.workers = await start_fleet_workers(phone_processes, self.folder / "phones", network)
                yield self
            finally:
                await self.stop()

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """That no other process runs this lab. Raises as `locked` does."""
        return locked(self.folder)

    # The network.

    @property
    def option150(self) -> tuple[str, ...]:
        """TFTP servers that DHCP names to phones."""
        return self._option150

    def set_option150(self, servers: Sequence[str]) -> None:
        """Change the scope's option 150; phones learn it at their next start.

        Raises:
            SettingsError: one is no IPv4 address, or there are too many.
            NotNow: phones ask another DHCP server than the lab's.
            OSError: the lab's folder can't be written; nothing has changed.
        """
        chosen = _addresses(servers)
        network = self.definition.network
        if network.dhcp_port is not None:
            raise NotNow(
                f"phones of this lab ask the DHCP server at {network.dhcp}, port {network.dhcp_port}, not its own",
                "Change option 150 there: trustbridge option150 set",
            )
        atomicfile.write(self._network_file, json.dumps({"option150": chosen}).encode())
        self._option150 = chosen
        if self._dhcp is not None:
            self._dhcp.set_option150(self._option150)

    def point_at(self, cluster: str) -> tuple[str, ...]:
        """Set option 150 to a cluster's TFTP servers, and give them.

        Raises:
            SettingsError: there is no such cluster.
        """
        servers = self.cluster(cluster).definition.tftp_addresses()
        self.set_option150(servers)
        return servers

    def _read_option150(self) -> tuple[str, ...]:
        try:
            return _addresses(json.loads(self._network_file.read_text("utf-8"))["option150"])
        except FileNotFoundError:
            homes = [phones.home for phones in self.definition.phones] or list(self.clusters)
            return self.clusters[homes[0]].definition.tftp_addresses()
        except (ValueError, KeyError, TypeError, SettingsError) as error:
            raise SettingsError(
                f"{self._network_file} can't be read: {error}", "Remove it: option 150 then names the phones' home."
            ) from None

    @property
    def _network_file(self) -> Path:
        return self.folder / "network.json"

    # Clusters and phones.

    def cluster(self, name: str) -> Cluster:
        """A cluster by name.

        Raises:
            SettingsError: there is none.
        """
        found = self.clusters.get(name)
        if found is None:
            raise SettingsError(f"there is no cluster {name} in this lab", f"It has {', '.join(self.clusters)}.")
        return found

    async def boot(self, phones: Iterable[LabPhone], on_done: Callable[[LabPhone], None] | None = None) -> None:
        """Start or reset phones, as a device reset does."""
        await self.fleet.boot(phones, on_done)

    def _reset(self, cluster: str, device: str, _how: str) -> None:
        """What a cluster's device reset comes to: it reaches a phone that is registered there, and no other."""
        phone = self.fleet.phones.get(device)
        if phone is not None and self.registrations[cluster].find(device) is not None:
            self.fleet.reset_soon([phone])

    def _reset_all(self, cluster: str) -> None:
        """Reset the phones that are registered at a cluster."""
        phones = self.fleet.phones
        if there := [phones[one.device] for one in self.registrations[cluster].all() if one.device in phones]:
            self.fleet.reset_soon(there)

    def _subnet(self, cluster: str) -> tuple[Lab, str, str] | None:
        """The DHCP server's subnet, as the phones' home sees it: there it can be changed over AXL."""
        network = self.definition.network
        homes = [phones.home for phones in self.definition.phones] or list(self.clusters)
        own = homes[0] == cluster and network.dhcp_port is None
        return (self, network.dhcp, network.phones) if own else None

    def cluster_of(self, phone: LabPhone) -> str | None:
        """Name of the cluster where a phone is registered, as that cluster knows it.

        A phone that could not take its registration back stands at two of them until the old one runs out; where it
        registered last is where it is.
        """
        known = [
            (registered.until, name)
            for name, registrations in self.registrations.items()
            if (registered := registrations.find(phone.name)) is not None
        ]
        return max(known)[1] if known else None

    def _page(self, address: str, target: str) -> tuple[str, bytes] | None:
        phone = self.fleet.by_address.get(address)
        return None if phone is None else page(phone, target)

    # The SFTP server.

    @property
    def exchange_folder(self) -> Path:
        """Where the SFTP server keeps what clusters exchange."""
        return self.folder / "sftp" / "files"

    def sftp_settings(self, directory: str = "/") -> SftpSettings:
        """What an administrator would type on a publisher's page to use the lab's SFTP server."""
        network = self.definition.network
        return SftpSettings(
            host=network.sftp,
            port=network.sftp_port,
            username=SFTP_USER,
            password=self.sftp_password,
            directory=directory,
        )

    def _password(self) -> str:
        path = atomicfile.private_folder(self.folder / "sftp") / "password"
        try:
            return path.read_text("utf-8").strip()
        except FileNotFoundError:
            atomicfile.write(path, secrets.token_urlsafe(18).encode() + b"\n")
            return path.read_text("utf-8").strip()


def _addresses(servers: Sequence[str]) -> tuple[str, ...]:
    if len(servers) > MAX_OPTION150:
        raise SettingsError(f"option 150 holds {MAX_OPTION150} addresses at the most, not {len(servers)}")
    try:
        return tuple(str(ipaddress.IPv4Address(server)) for server in servers)
    except ValueError as error:
        raise SettingsError(f"option 150 names TFTP servers by their IPv4 addresses: {error}") from None


def _check_empty(folder: Path) -> None:
    """That a new lab's folder holds nothing: `lab wipe` will remove all that is in it."""
    # A lock, a log and unfinished files may be there from a start that was cut off.
    names = sorted(path.name for path in folder.iterdir() if path.name not in ("lock", "log"))
    strangers = [name for name in names if not (name.startswith(".definition.json.") and name.endswith(".part"))]
    if strangers:
        raise SettingsError(
            f"{folder} holds no lab, but other files ({', '.join(strangers[:3])}{', ...' if strangers[3:] else ''})",
            "Name a folder that is empty or does not exist yet.",
        )


def is_lab(folder: Path) -> bool:
    """Whether a folder holds a lab."""
    return (folder / "definition.json").exists()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """That no other process runs the lab in `folder`, for as long as the context lasts.

    Raises:
        NotNow: one does.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, atomicfile.PRIVATE_FILE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise NotNow(f"the lab in {folder} is up already", "See it with `trustbridge lab status`.") from None
        yield
    finally:
        os.close(descriptor)


def _saved_definition(folder: Path) -> LabDefinition | None:
    path = folder / "definition.json"
    try:
        return LabDefinition.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise SettingsError(
            f"{path} does not describe a lab", "Forget what is in this folder: trustbridge lab wipe."
        ) from None


def _ports(definition: LabDefinition) -> tuple[Ports, str]:
    shift = definition.network.port_shift
    if shift != "auto":
        return Ports(shift), ""
    nodes = [cluster.address(node.name) for cluster in definition.clusters.values() for node in cluster.nodes]
    phones = definition.network.phones.rsplit(".", 1)[0] + f".{definitions.FIRST_PHONE}"
    return choose(nodes, definition.network.dhcp, phones)
