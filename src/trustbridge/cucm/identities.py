"""What nodes are pinned to, and what they show now: so that a person can compare, and confirm a change.

Nothing is said to a node for it: no user, no password; the conversation ends with its handshake, by which the node has
proven to hold the key.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import asyncssh

from trustbridge.cucm.access import CERTIFICATES, HOST_KEYS
from trustbridge.cucm.model import ClusterEntry
from trustbridge.cucm.pins import TlsPins, fingerprint
from trustbridge.errors import InvalidCertificate, Unreachable
from trustbridge.exchange.hostkeys import HostKey, HostKeyPins
from trustbridge.exchange.ssh import LEGACY, MODERN
from trustbridge.pki.certificate import Certificate

#: Seconds for one handshake.
PATIENCE: Final = 10.0
_AT_ONCE: Final = 8


class PinKind(StrEnum):
    """What is pinned."""

    SSH = "ssh"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class Pinned:
    """What one address is pinned to.

    Attributes:
        known: fingerprints, as they are shown to people; none before the first contact.
    """

    kind: PinKind
    host: str
    port: int
    known: tuple[str, ...]


def hosts_of(entry: ClusterEntry, addresses: Iterable[str] = ()) -> tuple[str, ...]:
    """Where nodes of a cluster are reached, each once: as the entry says, and `addresses` of a reading."""
    return tuple(dict.fromkeys([entry.publisher, *(one for _, one in entry.node_addresses), *addresses]))


def pinned(entry: ClusterEntry, hosts: Iterable[str], state: Path) -> list[Pinned]:
    """What is pinned for a cluster's nodes.

    Args:
        state: the state folder.

    Raises:
        SettingsError: a file of pins can't be read.
    """
    keys, certificates = HostKeyPins(state / HOST_KEYS), TlsPins(state / CERTIFICATES)
    found = []
    for host in hosts:
        ssh_keys = tuple(f"{one.fingerprint} ({one.kind})" for one in keys.keys(host, entry.ssh_port))
        found.append(Pinned(PinKind.SSH, host, entry.ssh_port, ssh_keys))
        shown = certificates.fingerprints(host, entry.https_port)
        found.append(Pinned(PinKind.TLS, host, entry.https_port, shown))
    return found


async def shown(entry: ClusterEntry, hosts: Iterable[str], state: Path) -> list[dict[str, Any]]:
    """What each node shows now, as JSON: kind, host, port; `shown` as `Pinned.known` has it, or `problem`; and with
    that what `pin` wants: `key` of SSH; `subject` of TLS."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look(kind: PinKind, host: str) -> dict[str, Any]:
        port = entry.ssh_port if kind is PinKind.SSH else entry.https_port
        row: dict[str, Any] = {"kind": str(kind), "host": host, "port": port, "shown": "", "problem": ""}
        async with gate:
            try:
                async with asyncio.timeout(PATIENCE):
                    row |= await (_tls(host, port) if kind is PinKind.TLS else _ssh(entry, host, port, state))
            except TimeoutError:
                row["problem"] = f"no answer within {PATIENCE:g} s"
            except (OSError, ValueError, asyncssh.Error, Unreachable) as error:
                row["problem"] = str(error)[:300] or type(error).__name__
        return row

    return list(await asyncio.gather(*(look(kind, host) for host in hosts for kind in PinKind)))


async def _tls(host: str, port: int) -> dict[str, Any]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        der: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    if der is None:
        raise Unreachable("it shows no TLS certificate")
    try:
        subject = Certificate.from_der(der).subject
    except InvalidCertificate:
        subject = ""
    return {"shown": fingerprint(der), "subject": subject}


async def _ssh(entry: ClusterEntry, host: str, port: int, state: Path) -> dict[str, Any]:
    algorithms = LEGACY if entry.legacy_ssh else MODERN
    # The kind that is pinned first, as when logging in: a server with several keys would otherwise show another one.
    kinds = {one.kind for one in HostKeyPins(state / HOST_KEYS).keys(host, port)}
    wanted = sorted(algorithms.host_keys, key=lambda one: ("ssh-rsa" if one.startswith("rsa-") else one) not in kinds)
    key = await asyncssh.get_server_host_key(
        host, port, kex_algs=algorithms.key_exchange, server_host_key_algs=wanted, config=None
    )
    if key is None:
        raise Unreachable("it shows no host key")
    found = HostKey(key.get_algorithm(), key.public_data)
    return {
        "shown": f"{found.fingerprint} ({found.kind})",
        "key": [found.kind, base64.b64encode(found.blob).decode()],
    }


def pin(row: dict[str, Any], state: Path) -> None:
    """Pin what a row of `shown` has, instead of what is pinned: a person has confirmed it.

    Raises:
        SettingsError: a file of pins can't be read or written.
    """
    if row["kind"] == PinKind.SSH:
        kind, blob = row["key"]
        HostKeyPins(state / HOST_KEYS).replace(row["host"], row["port"], HostKey(kind, base64.b64decode(blob)))
    else:
        TlsPins(state / CERTIFICATES).replace(row["host"], row["port"], row["shown"], row["subject"])
