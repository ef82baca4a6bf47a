"""What the driver reads from a cluster, each answer by the way its release offers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Final, TypeVar

from trustbridge.cucm import text
from trustbridge.cucm.access import Access
from trustbridge.cucm.axl import BUSY_PAUSES, Axl, LastSeen
from trustbridge.cucm.certmgr import CertificateRest
from trustbridge.cucm.https import NodeHttps
from trustbridge.cucm.model import (
    CallManagerGroup,
    ClusterEntry,
    DhcpSubnet,
    Interface,
    NodeIdentity,
    NodeInfo,
    PhoneInfo,
    RegistrationInfo,
    Release,
    ServiceStatus,
    TrustedCertificate,
    TrustListFileInfo,
    TvsCertificate,
)
from trustbridge.cucm.releases import Abilities, for_release
from trustbridge.cucm.ris import ControlCenter, Ris
from trustbridge.cucm.ways import Way, Ways
from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    IdentityChanged,
    NotSupported,
    SettingsError,
    TrustbridgeError,
)
from trustbridge.pki.units import Store

T = TypeVar("T")

TRUST_LISTS: Final = ("CTLFile.tlv", "ITLFile.tlv")
TFTP_SERVICE: Final = "Cisco Tftp"
#: Nodes that are asked at the same time.
_AT_ONCE: Final = 8
_BUILD = re.compile(r"\((\d+)\)$")


class ClusterReads:
    """Reads of one cluster. Every method raises `TrustbridgeError`; nothing is kept but release and nodes."""

    def __init__(self, entry: ClusterEntry, access: Access, ways: Ways) -> None:
        self.name = entry.name
        self.entry = entry
        self._access = access
        self._ways = ways
        self._release: Release | None = None
        self._nodes: tuple[NodeInfo, ...] = ()
        self._axl: Axl | None = None
        self._ris: Ris | None = None
        self._starting = asyncio.Lock()

    # The cluster.

    async def release(self) -> Release:
        """The release of the publisher; asked once."""
        async with self._starting:
            if self._release is None:
                ways = [
                    Way(Interface.AXL, lambda: self._by_axl(Axl.release)),
                    Way(Interface.CLI, lambda: self._by_cli(self.entry.publisher, "show version active", release_said)),
                ]
                found = await self._ways.first("release", self.entry.publisher, ways)
                # AXL writes 12.5.1.11900(146) what the node itself calls 12.5.1.11900-146.
                self._release = Release.parse(_BUILD.sub(r"-\1", found.text))
                self._access.texts = for_release(self._release)
            return self._release

    async def abilities(self) -> Abilities:
        """What the release can do."""
        return for_release(await self.release()).abilities

    async def nodes(self) -> tuple[NodeInfo, ...]:
        """Unified CM nodes, publisher first; asked once. AXL tells names or addresses, the command line both."""
        if not self._nodes:
            ways = [
                Way(Interface.CLI, lambda: self._by_cli(self.entry.publisher, "show network cluster", _nodes)),
                Way(Interface.AXL, lambda: self._by_axl(Axl.nodes)),
            ]
            found = await self._ways.first("nodes", self.entry.publisher, ways)
            if not any(node.publisher for node in found):
                raise Garbled(f"{self.name}: no node of the cluster is its publisher", "Is the entry's publisher one?")
            self._nodes = tuple(sorted(found, key=lambda node: not node.publisher))
        return self._nodes

    async def node(self, name: str) -> NodeInfo:
        """A node by its name, in either case, or its address.

        Raises:
            SettingsError: there is no such node; those there are, are named.
        """
        nodes = await self.nodes()
        for node in nodes:
            if name.casefold() in (node.name.casefold(), node.address.casefold()):
                return node
        raise SettingsError(f"{self.name} has no node {name}", f"It has {', '.join(node.name for node in nodes)}.")

    async def publisher(self) -> NodeInfo:
        """The publisher."""
        return (await self.nodes())[0]

    def host(self, node: NodeInfo) -> str:
        """Where a node is reached: the publisher where the entry says, so that it is pinned once."""
        overridden = node.name in dict(self.entry.node_addresses)
        return self.entry.publisher if node.publisher and not overridden else self.entry.address_of(node)

    async def security_mode(self) -> str:
        """`mixed` or `non-secure`."""

        async def by_cli() -> str:
            value = await self._parameter("ClusterSecurityMode")
            if value not in ("0", "1"):
                raise Garbled(f"{self.name}: ClusterSecurityMode is {value!r}, neither 0 nor 1")
            return "mixed" if value == "1" else "non-secure"

        ways = [Way(Interface.AXL, lambda: self._by_axl(Axl.security_mode)), Way(Interface.CLI, by_cli)]
        return await self._ways.first("security mode", self.entry.publisher, ways)

    async def prepare_for_rollback(self) -> bool:
        """Enterprise parameter "Prepare Cluster for Rollback to pre 8.0"; False where the cluster has none."""

        async def by_cli() -> bool:
            return (await self._parameter("RollBackToPreGrayback") or "F").upper() in ("T", "TRUE", "1")

        ways = [Way(Interface.AXL, lambda: self._by_axl(Axl.prepare_for_rollback)), Way(Interface.CLI, by_cli)]
        return await self._ways.first("prepare for rollback", self.entry.publisher, ways)

    async def _parameter(self, name: str) -> str | None:
        query = f"run sql select paramname,paramvalue from processconfig where paramname='{name}'"  # noqa: S608 - ours
        rows = (await self._by_cli(self.entry.publisher, query, text.parse_table)).records()
        return rows[0].get("paramvalue") if rows else None

    async def fips(self) -> bool | None:
        """Whether the publisher operates in FIPS 140 mode; None when it does not know the question."""

        async def ask() -> bool | None:
            try:
                return await self._by_cli(self.entry.publisher, "utils fips status", text.parse_fips)
            except NotSupported:
                return None

        return await self._only("FIPS mode", Interface.CLI, ask)

    async def services(self, node: str) -> tuple[ServiceStatus, ...]:
        """Services of a node that are activated."""
        info = await self.node(node)
        host = self.host(info)

        async def by_control_center() -> tuple[ServiceStatus, ...]:
            return await ControlCenter(await self._https(host, Interface.CONTROL_CENTER, info.name)).services()

        async def by_cli() -> tuple[ServiceStatus, ...]:
            listed = await self._by_cli(host, "utils service list", text.parse_services, info.name)
            return tuple(ServiceStatus(info.name, one.name, one.running) for one in listed if one.activated)

        ways = [Way(Interface.CONTROL_CENTER, by_control_center), Way(Interface.CLI, by_cli)]
        return await self._ways.first(f"services of {info.name}", host, ways)

    # Certificates.

    async def identities(self, node: str | None = None) -> tuple[NodeIdentity, ...]:
        """Identity certificates of a node, or of every node."""
        return await self._of_nodes(node, self._identities_of)

    async def _identities_of(self, info: NodeInfo) -> tuple[NodeIdentity, ...]:
        host = self.host(info)

        async def by_cli() -> tuple[NodeIdentity, ...]:
            listed = await self._by_cli(host, "show cert list own", text.parse_own_certificates, info.name)
            found = []
            for one in listed:
                if one.identity is not None:
                    command = f"show cert own {one.path}"
                    shown = await self._by_cli(host, command, text.parse_certificate, info.name)
                    found.append(NodeIdentity(info.name, one.identity, shown))
            return tuple(found)

        async def by_rest() -> tuple[NodeIdentity, ...]:
            return await (await self._rest(info)).identities()

        ways = await self._certificate_ways(by_rest, by_cli)
        return await self._ways.first(f"identities of {info.name}", host, ways)

    async def trusted(self, node: str, store: Store | None = None) -> tuple[TrustedCertificate, ...]:
        """What the trust stores of a node hold, or one of them."""
        info = await self.node(node)

        async def by_rest() -> tuple[TrustedCertificate, ...]:
            return await (await self._rest(info)).trusted(store)

        ways = await self._certificate_ways(by_rest, lambda: self._trusted_by_cli(info, store))
        return await self._ways.first(f"{store or 'trust stores'} of {info.name}", self.host(info), ways)

    async def _trusted_by_cli(self, info: NodeInfo, store: Store | None) -> tuple[TrustedCertificate, ...]:
        host = self.host(info)
        found = []
        for one in await self._by_cli(host, "show cert list trust", text.parse_trusted_certificates, info.name):
            if one.store is not None and store in (None, one.store):
                shown = await self._by_cli(host, f"show cert trust {one.path}", text.parse_certificate, info.name)
                found.append(TrustedCertificate(info.name, one.store, shown, one.name))
        return tuple(found)

    async def _certificate_ways(
        self, by_rest: Callable[[], Awaitable[T]], by_cli: Callable[[], Awaitable[T]]
    ) -> list[Way[T]]:
        ways = [Way(Interface.CLI, by_cli)]
        return [Way(Interface.REST, by_rest), *ways] if (await self.abilities()).rest else ways

    async def trust_list_files(self, node: str | None = None) -> tuple[TrustListFileInfo, ...]:
        """CTLFile.tlv and ITLFile.tlv of a node, or of every node, as phones get them: over HTTP, else over TFTP.

        `content` is None where there is no such file, and on nodes where Cisco Tftp does not run.
        """
        return await self._of_nodes(node, self._lists_of)

    async def _lists_of(self, info: NodeInfo) -> tuple[TrustListFileInfo, ...]:
        host = self.host(info)

        async def fetched(interface: Interface) -> tuple[TrustListFileInfo, ...]:
            contents = [await self._access.file(info.name, host, name, interface) for name in TRUST_LISTS]
            return tuple(TrustListFileInfo(info.name, *pair) for pair in zip(TRUST_LISTS, contents, strict=True))

        async def by_tftp() -> tuple[TrustListFileInfo, ...]:
            # TFTP finds only by waiting that nobody is there: who is not meant to answer is not waited for.
            if self._ways.silent(Interface.HTTP_FILES, host) and not await self._serves_files(info):
                return tuple(TrustListFileInfo(info.name, name, None) for name in TRUST_LISTS)
            return await fetched(Interface.TFTP)

        ways = [Way(Interface.HTTP_FILES, lambda: fetched(Interface.HTTP_FILES)), Way(Interface.TFTP, by_tftp)]
        return await self._ways.first(f"trust lists of {info.name}", host, ways)

    async def _serves_files(self, info: NodeInfo) -> bool:
        """Whether Cisco Tftp is up on a node, as far as anybody tells."""
        try:
            services = await self.services(info.name)
        except (AuthenticationRefused, IdentityChanged):
            raise
        except TrustbridgeError:
            return True
        return any(one.name == TFTP_SERVICE and one.running for one in services)

    # What the database and the Unified CMs know: one way each.

    async def groups(self) -> tuple[CallManagerGroup, ...]:
        """Unified CM groups."""
        return await self._only("groups", Interface.AXL, lambda: self._by_axl(Axl.groups))

    async def phones(self, like: str = "SEP%") -> AsyncIterator[PhoneInfo]:
        """Phones of the database whose name fits a pattern (`%` for any characters); every one by default."""

        async def ready() -> Axl:
            axl = await self._axl_client()
            await axl.release()
            return axl

        async for phone in (await self._only("phones", Interface.AXL, ready)).phones(like):
            yield phone

    async def last_seen(self, name: str) -> LastSeen | None:
        """What the database remembers of a phone that was registered once; None where it remembers nothing."""

        async def ask(axl: Axl) -> LastSeen | None:
            return next((one for one in [one async for one in axl.last_seen(name)] if one.name == name), None)

        return await self._only("last seen", Interface.AXL, lambda: self._by_axl(ask))

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        """Where phones are registered, by name; those nobody has heard of are not in it."""

        async def ask() -> dict[str, RegistrationInfo]:
            if self._ris is None:  # kept: it counts its calls
                self._ris = Ris(await self._https(self.entry.publisher, Interface.RIS))
            return await self._ris.registrations(names)

        return await self._only("registrations", Interface.RIS, ask)

    def unheard(self) -> frozenset[str]:
        """Nodes that had no answer of their own to the last question for registrations: what they know is missing."""
        return frozenset() if self._ris is None else self._ris.silent

    async def tvs_certificates(self) -> tuple[TvsCertificate, ...]:
        """What TVS knows, as the database tells."""
        return await self._only("TVS certificates", Interface.AXL, lambda: self._by_axl(Axl.tvs_certificates))

    async def dhcp_subnets(self) -> tuple[DhcpSubnet, ...]:
        """Subnets whose DHCP server is the cluster itself, with their option 150."""
        return await self._only("DHCP subnets", Interface.AXL, lambda: self._by_axl(Axl.dhcp_subnets))

    # Ways.

    def ways(self) -> tuple[tuple[str, Interface], ...]:
        """Which interface each answer came by."""
        return tuple(self._ways.taken.items())

    def detours(self) -> tuple[str, ...]:
        """Ways that led nowhere, in words."""
        return tuple(str(detour) for detour in self._ways.detours)

    async def _only(self, question: str, interface: Interface, ask: Callable[[], Awaitable[T]]) -> T:
        return await self._ways.first(question, self.entry.publisher, [Way(interface, ask)])

    async def _of_nodes(self, node: str | None, ask: Callable[[NodeInfo], Awaitable[tuple[T, ...]]]) -> tuple[T, ...]:
        """Ask one node or, some at a time, all; the first error ends it."""
        chosen = await self.nodes() if node is None else (await self.node(node),)
        await self.release()  # first alone: a wrong password is tried once, not on every node
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(info: NodeInfo) -> tuple[T, ...]:
            async with gate:
                return await ask(info)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(info)) for info in chosen]
        except BaseExceptionGroup as errors:
            raise single(errors) from None
        return tuple(found for task in tasks for found in task.result())

    async def _by_cli(self, host: str, command: str, parse: Callable[[str], T], node: str | None = None) -> T:
        cli = await self._access.cli(node or self.name, host)
        said = await cli.run(command)
        try:
            return parse(said)
        except Garbled as error:
            error.message = f"{cli.node} (command line): `{command}`: {error.message}"
            error.args = (error.message,)
            raise

    async def _by_axl(self, ask: Callable[[Axl], Awaitable[T]]) -> T:
        return await ask(await self._axl_client())

    async def _axl_client(self) -> Axl:
        if self._axl is None:
            https = await self._https(self.entry.publisher, Interface.AXL)
            # A fault that says "busy" is as good as HTTP's 503, and is given as long.
            pauses = _within(BUSY_PAUSES, self._access.patience.throttled)
            self._axl = Axl(https, schema=self.entry.axl_schema, pauses=pauses)
        return self._axl

    async def _rest(self, info: NodeInfo) -> CertificateRest:
        return CertificateRest(await self._https(self.host(info), Interface.REST, info.name))

    async def _https(self, host: str, interface: Interface, node: str | None = None) -> NodeHttps:
        return await self._access.https(node or self.name, host, interface)


def _within(pauses: Sequence[float], seconds: float) -> tuple[float, ...]:
    """The pauses that fit into so much time."""
    return tuple(pause for pause, spent in zip(pauses, accumulate(pauses), strict=True) if spent <= seconds)


def release_said(said: str) -> Release:
    """The release in the answer to `show version active`."""
    return text.parse_version(said).release


def _nodes(said: str) -> tuple[NodeInfo, ...]:
    return tuple(node.info for node in text.parse_network_cluster(said) if node.callmanager)


def single(errors: BaseExceptionGroup) -> TrustbridgeError:
    """The first error of tasks that ran together. Raises the group again, where it holds errors that are not ours.

    Not `except*`: what is raised in one comes out in a group again, as Python 3.11.2 has it.
    """
    ours, others = errors.split(TrustbridgeError)
    if ours is None or others is not None:
        raise errors
    return _first(ours)


def _first(errors: BaseExceptionGroup[TrustbridgeError]) -> TrustbridgeError:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
