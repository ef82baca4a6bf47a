"""Clusters of the inventory, and DHCP servers, opened with passwords from wherever somebody says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from trustbridge.cucm.access import CERTIFICATES
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials
from trustbridge.cucm.model import ClusterEntry, Write
from trustbridge.cucm.pins import TlsPins
from trustbridge.dhcp.files import ConfigFile
from trustbridge.dhcp.kea import Kea
from trustbridge.dhcp.keacontrol import Agent, Socket
from trustbridge.dhcp.record import Kind, Server
from trustbridge.dhcp.scope import Provider
from trustbridge.dhcp.unifiedcm import UnifiedCmDhcp
from trustbridge.storage.inventory import Inventory

#: Gives a server's password.
Password = Callable[[Server], str]
#: Opens clusters by name.
Clusters = Callable[[Iterable[str]], AbstractAsyncContextManager[dict[str, Cluster]]]


@asynccontextmanager
async def opened(
    names: Iterable[str],
    state: Path,
    credentials: Callable[[ClusterEntry], Credentials],
    *,
    on_write: Callable[[Write], None] | None = None,
    on_first_contact: Callable[[str], None],
) -> AsyncIterator[dict[str, Cluster]]:
    """Clusters of the inventory, for as long as the context.

    Args:
        state: the state folder.
        credentials: gives a cluster's passwords; all are asked for before the first connection.
        on_write: told each change before it is made.
        on_first_contact: told what was pinned.

    Raises:
        SettingsError: one is not known, or the files that hold them can't be read.
    """
    inventory = Inventory(state)
    entries = [inventory.get(name) for name in dict.fromkeys(names)]
    known = [(entry, credentials(entry)) for entry in entries]
    async with AsyncExitStack() as stack:
        yield {
            entry.name: await stack.enter_async_context(
                Cluster.open(entry, found, state=state, on_write=on_write, on_first_contact=on_first_contact)
            )
            for entry, found in known
        }


@asynccontextmanager
async def opened_provider(
    server: Server, password: Password, clusters: Clusters, state: Path, on_first_contact: Callable[[str], None]
) -> AsyncIterator[Provider]:
    """The provider that a DHCP server stands for; `password` is asked where it wants one."""
    match server.kind:
        case Kind.CLUSTER:
            async with clusters([server.where]) as found:
                yield UnifiedCmDhcp(found[server.where])
        case Kind.DNSMASQ:
            yield ConfigFile(Path(server.where), "dnsmasq")
        case Kind.ISC:
            yield ConfigFile(Path(server.where), "isc")
        case Kind.KEA:
            kind, _, path = server.where.partition(":")
            if kind == "unix":
                yield Kea(Socket(Path(path)))
                return
            pins = TlsPins(state / CERTIFICATES, on_first_contact=lambda contact: on_first_contact(str(contact)))
            # An address that can't be one is said before a password is asked for.
            Agent(server.where, server.user, pins=pins)
            yield Kea(Agent(server.where, server.user, password(server) if server.user else "", pins))
