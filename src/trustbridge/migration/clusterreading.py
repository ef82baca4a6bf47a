"""Everything that the console shows of one cluster, read once and kept as JSON.

Whatever can't be had is a gap that says why, and the rest goes on: a node that is down hides nothing about the others.
Only what leaves nothing to show is raised: a cluster that does not even tell its nodes, and a password that is refused
(tried again elsewhere, it would lock the account).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from trustbridge.cucm.clusterreads import ClusterReads, single
from trustbridge.cucm.model import NodeInfo
from trustbridge.errors import AuthenticationRefused, IdentityChanged, InvalidCertificate, TrustbridgeError
from trustbridge.pki.certificate import Certificate
from trustbridge.trust.inspection.certificates import key_text, serial_text

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
#: Of the JSON; a reading of another one is read anew.
FORMAT: Final = 1
#: Nodes that are read at the same time.
_AT_ONCE: Final = 8
#: Days left from which on an expiry is no longer urgent, and no longer near.
SOON, LATER = 30, 90


class _Reader:
    def __init__(self, cluster: ClusterReads, progress: Progress) -> None:
        self._cluster = cluster
        self._progress = progress
        self._done = self._total = 0
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self.gaps: list[dict[str, Any]] = []
        self.certificates: dict[str, dict[str, Any]] = {}

    def expect(self, steps: int) -> None:
        self._total += steps

    async def had(self, where: str, what: str, ask: Awaitable[T]) -> T | None:
        """An answer, or None and a gap."""

        async def asked() -> T:
            async with self._gate:
                self._progress(f"{where}: {what}", self._done, self._total)
                return await ask

        try:
            return await asked()
        except AuthenticationRefused:
            raise
        except TrustbridgeError as error:
            changed = isinstance(error, IdentityChanged)
            gap = {"where": where, "what": what, "why": error.message, "hint": error.hint, "identity": changed}
            self.gaps.append(gap)
            return None
        finally:
            self._done += 1

    def known(self, certificate: Certificate) -> str:
        """Its fingerprint; the certificate is kept once, however many stores hold it."""
        if certificate.sha256 not in self.certificates:
            self.certificates[certificate.sha256] = certificate_json(certificate)
        return certificate.sha256


async def read_cluster(
    cluster: ClusterReads,
    now: datetime,
    *,
    every_store: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Read a cluster; changes nothing.

    Args:
        now: the time, with a zone: when it was read.
        every_store: read the trust stores of every node; of the publisher alone otherwise.
        progress: told (what, done, total).

    Returns:
        JSON; `certificates` are by SHA-256, and everything else names them by it.

    Raises:
        TrustbridgeError: the cluster does not tell its nodes, or refuses a password.
    """
    reader = _Reader(cluster, progress)
    name = cluster.name
    progress(f"{name}: nodes", 0, 0)
    nodes = await cluster.nodes()
    # Alone first: a password that is refused is then tried once, not on every node.
    reader.expect(6 + len(nodes) * 3 + (len(nodes) if every_store else 1))
    release = await reader.had(name, "release", cluster.release())
    try:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(reader.had(name, "security mode", cluster.security_mode()))
            rolled = group.create_task(reader.had(name, "Prepare Cluster for Rollback", cluster.prepare_for_rollback()))
            in_fips = group.create_task(reader.had(name, "FIPS mode", cluster.fips()))
            grouped = group.create_task(reader.had(name, "Unified CM groups", cluster.groups()))
            netted = group.create_task(reader.had(name, "DHCP subnets", cluster.dhcp_subnets()))
            tasks = [
                group.create_task(_node(reader, cluster, node, stores=every_store or node.publisher)) for node in nodes
            ]
    except BaseExceptionGroup as errors:
        raise single(errors) from None
    mode, rollback, fips = asked.result(), rolled.result(), in_fips.result()
    groups, subnets, found = grouped.result(), netted.result(), [task.result() for task in tasks]
    progress(f"{name}: read", 1, 1)
    return {
        "format": FORMAT,
        "name": name,
        "read_at": now.isoformat(),
        "publisher": cluster.entry.publisher,
        "release": None if release is None else str(release),
        "security": mode,
        "prepare_for_rollback": rollback,
        "fips": fips,
        "every_store": every_store,
        "nodes": [one["node"] for one in found],
        "identities": [row for one in found for row in one["identities"]],
        "trusted": [row for one in found for row in one["trusted"]],
        "files": [row for one in found for row in one["files"]],
        "groups": None if groups is None else [{"name": one.name, "members": list(one.members)} for one in groups],
        "subnets": None
        if subnets is None
        else [
            {"id": one.identifier, "server": one.server, "address": one.address, "option150": list(one.tftp_servers)}
            for one in subnets
        ],
        "certificates": reader.certificates,
        "gaps": reader.gaps,
        "ways": [[question, str(interface)] for question, interface in cluster.ways()],
        "detours": list(cluster.detours()),
    }


async def _node(reader: _Reader, cluster: ClusterReads, node: NodeInfo, *, stores: bool) -> dict[str, Any]:
    where = f"{cluster.name}/{node.name}"
    services = await reader.had(where, "services", cluster.services(node.name))
    identities = await reader.had(where, "identity certificates", cluster.identities(node.name))
    files = await reader.had(where, "trust lists", cluster.trust_list_files(node.name))
    trusted = await reader.had(where, "trust stores", cluster.trusted(node.name)) if stores else None
    return {
        "node": {
            "name": node.name,
            "address": cluster.host(node),
            "publisher": node.publisher,
            "services": None
            if services is None
            else [
                {"name": one.name, "running": one.running, "since": one.since.isoformat() if one.since else None}
                for one in services
            ],
            "stores": trusted is not None,
        },
        "identities": [
            {"node": node.name, "unit": str(one.unit), "sha256": reader.known(one.certificate)}
            for one in identities or ()
        ],
        "trusted": [
            {"node": node.name, "store": str(one.store), "name": one.name, "sha256": reader.known(one.certificate)}
            for one in trusted or ()
        ],
        "files": [
            {"node": node.name, "name": one.name, "content": base64.b64encode(one.content).decode()}
            for one in files or ()
            if one.content is not None
        ],
    }


def certificate_json(certificate: Certificate) -> dict[str, Any]:
    """What lists show of a certificate, and its PEM. Never raises: what can't be read is left empty."""

    def read(get: Callable[[], Any], otherwise: Any = "") -> Any:
        try:
            return get()
        except (InvalidCertificate, ValueError):
            return otherwise

    return {
        "sha256": certificate.sha256,
        "subject": read(lambda: certificate.subject),
        "issuer": read(lambda: certificate.issuer),
        "common_name": read(lambda: certificate.common_name),
        "serial": read(lambda: serial_text(certificate.serial)),
        "key": read(lambda: key_text(certificate)),
        "signature": read(lambda: signature_text(certificate)),
        "not_before": read(lambda: certificate.not_before.isoformat(), None),
        "not_after": read(lambda: certificate.not_after.isoformat(), None),
        "self_signed": read(lambda: certificate.self_signed, False),
        "pem": certificate.pem(),
    }


def signature_text(certificate: Certificate) -> str:
    """The algorithm a certificate is signed with, as OpenSSL names it, such as `sha256WithRSAEncryption`."""
    return str(certificate.x509.signature_algorithm_oid._name)


def days_left(not_after: str | None, now: datetime) -> int | None:
    """Whole days until an ISO time; below 0 once it has passed; None for none."""
    return None if not not_after else (datetime.fromisoformat(not_after) - now).days


def held_by(
    readings: Mapping[str, Mapping[str, Any]], *, but: Iterable[str] = ()
) -> dict[str, dict[str, dict[str, list[str]]]]:
    """By fingerprint: in which clusters which stores of which nodes hold it."""
    left_out = set(but)
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for cluster, reading in readings.items():
        if cluster in left_out:
            continue
        for one in reading["trusted"]:
            stores = found.setdefault(one["sha256"], {}).setdefault(cluster, {})
            stores.setdefault(one["store"], []).append(one["node"])
    return found


def owners(readings: Mapping[str, Mapping[str, Any]]) -> dict[str, list[tuple[str, str, str]]]:
    """By fingerprint: whose identity it is, as (cluster, node, unit)."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for cluster, reading in readings.items():
        for one in reading["identities"]:
            found.setdefault(one["sha256"], []).append((cluster, one["node"], one["unit"]))
    return found
