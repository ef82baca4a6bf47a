"""Looks at two clusters and the source's phones for a check of the move between them. Nothing is changed anywhere.

seen = await observe(source, destination, pages=True, progress=progress)
checked = check(seen, datetime.now(UTC))
"""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from trustbridge.clients.ask import ask_tvs
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import PhoneInfo, ServiceStatus
from trustbridge.errors import (
    AuthenticationRefused,
    DecodeError,
    IdentityChanged,
    Refused,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.eventloop import together
from trustbridge.migration.checkseen import Observed, OldTls, SftpSet, model_of
from trustbridge.migration.firmware import has_firmware
from trustbridge.migration.phonecollect import PAGE_PORT, collect_phones
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.proofcollect import DEVICE, TVS_PATIENCE, collect
from trustbridge.migration.proofseen import ClusterSeen, Gap, NodeSeen
from trustbridge.migration.survey import ClusterSurvey, survey
from trustbridge.wire.tvs import TvsMessage, query_request

T = TypeVar("T")

#: Told (what, done, total).
Progress = Callable[[str, int, int], None]

#: Nodes that are asked at the same time.
_NODES_AT_ONCE: Final = 8
#: Firmware that is looked for: so many kinds, those of most phones. What a node is given to tell whether it has one.
_LOADS: Final = 20
_FILE: Final = Patience(connect=5.0, answer=10.0)
#: What OpenSSL says where it is itself that speaks no TLS 1.0.
_OURS: Final = frozenset({"NO_PROTOCOLS_AVAILABLE", "NO_CIPHERS_AVAILABLE", "VERSION_TOO_LOW"})


def _quiet(what: str, done: int, total: int) -> None:
    pass


async def observe(
    source: Cluster,
    destination: Cluster,
    *,
    pages: bool = True,
    emcc: bool = False,
    sftp: Mapping[str, SftpSet] | None = None,
    progress: Progress = _quiet,
    page_port: int = PAGE_PORT,
    patience: float = TVS_PATIENCE,
) -> Observed:
    """Everything `check.check` judges.

    Args:
        pages: read the web pages of the source's phones, too.
        emcc: also read what Extension Mobility Cross Cluster is judged by.
        sftp: which SFTP server was set on clusters, see `checkrecords`: they do not tell.
        page_port: of the phones' web servers.
        patience: seconds for one question to a TVS.

    Raises:
        AuthenticationRefused: a password is refused.
        TrustbridgeError: a cluster does not tell its nodes.
    """
    clusters = {source.name: source, destination.name: destination}
    trust = await collect(clusters, [(source.name, destination.name)], emcc=emcc, progress=progress, patience=patience)
    gaps: list[Gap] = []

    async def tried(cluster: Cluster, what: str, work: Awaitable[T], *, essential: bool, but: str = "") -> T | None:
        """An answer, or None and a gap."""
        try:
            return await work
        except (AuthenticationRefused, IdentityChanged):
            raise
        except TrustbridgeError as error:
            gaps.append(Gap(cluster.name, "", what, f"{error.message}{but}", essential))
            return None

    surveys: list[ClusterSurvey | None] = []
    for cluster in clusters.values():
        progress(f"{cluster.name}: what an exchange would find", len(surveys), len(clusters))
        read = trust.clusters[cluster.name].nodes
        own = {node.name: node.identities for node in read if node.identities is not None}
        work = survey(cluster, capf_trust=True, known=own)
        surveys.append(await tried(cluster, "certificates for an exchange", work, essential=False))
    services = await _services(clusters, trust.clusters, gaps, progress)
    decides = "; which phones strand is not known without"
    phones = await tried(source, "phones", _phones(source, pages, page_port, progress), essential=True, but=decides)
    progress(f"phones of {destination.name}", 0, 1)
    known = await tried(destination, "phones", _devices(destination), essential=True, but="; TB151 is not judged")
    old_tls = await _old_tls(source, trust.clusters[source.name], phones or [], patience, progress)
    gaps += [
        Gap(source.name, node, "TLS 1.0 at its TVS, for old models", one.words)
        for node, one in old_tls.items()
        if one.accepted is None
    ]
    firmware = await _firmware(destination, trust.clusters[destination.name], phones or [], known or {}, gaps, progress)
    found = [one for one in surveys if one is not None]
    return Observed(
        source.name,
        destination.name,
        trust,
        surveys={one.name: one for one in found} if len(found) == len(clusters) else None,
        services=services,
        phones=None if phones is None else tuple(phones),
        devices=known,
        old_tls=old_tls,
        firmware=firmware,
        sftp={} if sftp is None else dict(sftp),
        pages=pages,
        gaps=tuple(gaps),
    )


async def _phones(cluster: Cluster, pages: bool, page_port: int, progress: Progress) -> list[PhoneFacts]:
    """Phones of one device pool and security profile are taken to be alike: an estate may have tens of thousands."""
    return await collect_phones(cluster, pages=pages, configurations="sampled", progress=progress, page_port=page_port)


async def _devices(cluster: Cluster) -> dict[str, PhoneInfo]:
    return {phone.name: phone async for phone in cluster.phones()}


async def _services(
    clusters: Mapping[str, Cluster], seen: Mapping[str, ClusterSeen], gaps: list[Gap], progress: Progress
) -> dict[tuple[str, str], tuple[ServiceStatus, ...]]:
    """When the services of every node started."""
    gate = asyncio.Semaphore(_NODES_AT_ONCE)
    found: dict[tuple[str, str], tuple[ServiceStatus, ...]] = {}
    places = [(name, node.name) for name in clusters for node in seen[name].nodes]

    async def one(name: str, node: str) -> None:
        async with gate:
            try:
                services = await clusters[name].services(node)
            except (AuthenticationRefused, IdentityChanged):
                raise
            except TrustbridgeError as error:
                gaps.append(Gap(name, node, "services", error.message))
                return
        found[name, node] = services
        if not any(service.since for service in services):
            gaps.append(Gap(name, node, "when its services started", "the way they were asked for does not tell"))
        progress(f"services of {name}/{node}", len(found), len(places))

    await together(*(one(name, node) for name, node in places))
    return found


# Firmware.


async def _firmware(
    cluster: Cluster,
    seen: ClusterSeen,
    phones: Sequence[PhoneFacts],
    devices: Mapping[str, PhoneInfo],
    gaps: list[Gap],
    progress: Progress,
) -> dict[str, dict[str, bool]]:
    """Whether the destination's TFTP nodes have the firmware that its database names for the phones that come."""
    coming = [devices[phone.name] for phone in phones if phone.name in devices]
    loads = [load for load, _ in Counter(one.load for one in coming if one.load).most_common()]
    if len(loads) > _LOADS:
        what = f"firmware {', '.join(loads[_LOADS : _LOADS + 3])} and what else fewer phones are to load"
        gaps.append(Gap(cluster.name, "", what, f"only the {_LOADS} that most phones are to load were looked for"))
    nodes = [node for node in seen.nodes if any(file.of_itl for file in node.files or ())]
    found: dict[str, dict[str, bool]] = {}
    gate = asyncio.Semaphore(_NODES_AT_ONCE)

    async def one(load: str, node: NodeSeen) -> None:
        async with gate:
            try:
                there = await has_firmware(cluster.entry, node.name, node.address, load, _FILE)
            except TrustbridgeError as error:
                gaps.append(Gap(cluster.name, node.name, f"whether it has the firmware {load}", error.message))
                return
        found.setdefault(load, {})[node.name] = there
        progress(f"firmware at {cluster.name}/{node.name}", len(found), len(loads))

    await together(*(one(load, node) for load in loads[:_LOADS] for node in nodes))
    return found


# TLS 1.0.


async def _old_tls(
    cluster: Cluster, seen: ClusterSeen, phones: list[PhoneFacts], patience: float, progress: Progress
) -> dict[str, OldTls]:
    """Each TVS that phones may ask, with TLS 1.0 and nothing else; only where there are phones that know no more."""
    if not any(model_of(phone).legacy_tls for phone in phones):
        return {}
    # Any question will do: what counts is the handshake. About itself it needs no certificate of anybody's.
    found: dict[str, OldTls] = {}
    questions: list[Coroutine[Any, Any, None]] = []

    async def one(node: str, address: str) -> None:
        question = query_request(1000, DEVICE, "CN=trustbridge", "CN=trustbridge", 1)
        found[node] = await try_old_tls(address, cluster.entry.tvs_port, question, patience)
        progress(f"TLS 1.0 at the TVS of {cluster.name}/{node}", len(found), len(questions))

    questions += [one(name, seen.node(name).address) for name in seen.asked]
    await together(*questions)
    return found


async def try_old_tls(host: str, port: int, question: TvsMessage, patience: float) -> OldTls:
    """Whether a TVS takes a handshake with TLS 1.0. Never raises for what it does.

    Args:
        question: asked after the handshake; what is answered does not matter.
        patience: seconds.
    """
    shaken: list[bytes] = []

    def look(certificate: bytes) -> None:
        shaken.append(certificate)

    try:
        await ask_tvs(host, port, question, timeout=patience, check_certificate=look, tls_context=_tls_of_old_models())
    except Unreachable as error:
        return OldTls(True, "") if shaken else OldTls(None, error.message)
    except (Refused, DecodeError) as error:
        if shaken:
            return OldTls(True, "")
        cause = error.__cause__
        if isinstance(cause, ssl.SSLError) and cause.reason in _OURS:
            return OldTls(None, "TLS 1.0 is switched off in the OpenSSL of this machine")
        return OldTls(False, error.message)
    return OldTls(True, "")


@lru_cache(maxsize=1)
def _tls_of_old_models() -> ssl.SSLContext:
    """TLS 1.0 and nothing newer. It verifies nothing and carries no secret; of its own, since contexts are shared."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only the handshake is looked at
    context.set_ciphers("DEFAULT:kRSA+AES:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point of it
        context.maximum_version = ssl.TLSVersion.TLSv1
    return context
