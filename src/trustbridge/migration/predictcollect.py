"""Seeing what a prediction goes by: the proof's observations, the phones, and what waits for each at the destination.

What can't be had is said where it counts: a phone whose end depends on it is predicted *unknown*, with the reason. That
a server answers here is taken for phones as well; that it does not answer here is not: there only its own cluster's
word that the service does not run counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from trustbridge.clients.ask import ask_tvs
from trustbridge.clients.fetch import http_get, tftp_get
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import PhoneInfo
from trustbridge.errors import AuthenticationRefused, DecodeError, IdentityChanged, Refused, TrustbridgeError
from trustbridge.migration.phonecollect import PAGE_PORT, collect_phones
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predict import Estate
from trustbridge.migration.predictvalues import (
    NO_DEVICE,
    NOT_SEEN,
    Arrival,
    CallManagerSeen,
    TftpSeen,
    TvsSaid,
    TvsSeen,
    World,
)
from trustbridge.migration.proof import prove
from trustbridge.migration.proofcollect import DEVICE, TVS_PATIENCE, collect
from trustbridge.migration.proofseen import Answer, ClusterSeen, Failure, Gap, NodeSeen, Observations
from trustbridge.migration.proofvalues import Proof
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store, Unit
from trustbridge.trust.events import Kept
from trustbridge.trust.models import model_named
from trustbridge.wire import trustlist
from trustbridge.wire.tvs import query_request

T = TypeVar("T")
Progress = Callable[[str, int, int], None]

#: Up to so many phones each one's own configuration files are read; of more, one of each kind.
EACH: Final = 2000
#: Phones of a kind whose files are tried; files that are fetched at the same time.
_SAMPLES, _FILES_AT_ONCE = 3, 16
#: Bytes of a configuration file that are read.
_MAX_FILE: Final = 1 << 20
#: TFTP servers that a scope names, where nobody says which.
_SERVERS: Final = 2
_TVS, _CALL_MANAGER, _TFTP = "Cisco Trust Verification Service", "Cisco CallManager", "Cisco Tftp"


@dataclass(frozen=True, slots=True)
class Collected:
    """All a prediction goes by.

    Attributes:
        facts: of every phone, in the order of the estate.
        proof: what the proof makes of the same observations.
    """

    world: World
    estate: Estate
    facts: tuple[PhoneFacts, ...]
    proof: Proof
    gaps: tuple[Gap, ...]


def _quiet(what: str, done: int, total: int) -> None:
    pass


async def collect_prediction(
    source: Cluster,
    destination: Cluster,
    *,
    now: datetime,
    pages: bool = True,
    servers: Sequence[str] = (),
    known_lists: Iterable[bytes] = (),
    auto_registration: bool | None = None,
    progress: Progress = _quiet,
    page_port: int = PAGE_PORT,
    patience: float = TVS_PATIENCE,
) -> Collected:
    """Read both clusters and the source's phones; changes nothing.

    Args:
        now: time of the move, with a time zone.
        pages: read the phones' pages, the only witness of the trust lists they hold.
        servers: TFTP servers that option 150 will name, in order, by name or address; none: two of the destination's
            that serve an ITL, subscribers first.
        known_lists: more trust lists that phones may hold, as from a backup or another cluster.
        auto_registration: whether the destination registers phones that nobody created; None: not known.
        page_port: of the phones' web servers.
        patience: seconds for one question to a TVS, or one file.

    Raises:
        Unreachable, Garbled, Refused, SettingsError: a cluster does not tell its nodes or its phones, or refuses a
            password.
    """
    pair = (source.name, destination.name)
    clusters = {source.name: source, destination.name: destination}
    observations = await collect(clusters, [pair], progress=progress, patience=patience)
    expected = [phone async for phone in destination.phones()]
    facts = await collect_phones(source, pages=pages, configurations="sampled", page_port=page_port, progress=progress)
    return await collect_rest(
        source,
        destination,
        observations,
        facts,
        expected,
        now=now,
        servers=servers,
        known_lists=known_lists,
        auto_registration=auto_registration,
        progress=progress,
        patience=patience,
    )


async def collect_rest(
    source: Cluster,
    destination: Cluster,
    observations: Observations,
    facts: Sequence[PhoneFacts],
    expected: Sequence[PhoneInfo] | None,
    *,
    now: datetime,
    servers: Sequence[str] = (),
    known_lists: Iterable[bytes] = (),
    auto_registration: bool | None = None,
    progress: Progress = _quiet,
    patience: float = TVS_PATIENCE,
) -> Collected:
    """What a prediction needs besides the phones and what a proof goes by. The other arguments as above.

    Args:
        observations: of the pair.
        expected: phones that the destination knows; None where its database does not tell: then a file that waits for
            a phone there tells that it is known, and that there is none tells nothing.

    Raises:
        AuthenticationRefused, IdentityChanged: for any interface.
    """
    pair = (source.name, destination.name)
    here, there = (observations.clusters[name] for name in pair)
    proof = prove(observations, now)
    chosen = await _servers(destination, there, servers, observations.gaps)
    files = _Configurations(destination, chosen, patience, progress)
    names = {one.name for one in facts}
    arrival_of, arrivals = await (files.by_name(names) if expected is None else files.of(expected, names))
    absent = NOT_SEEN if expected is None else NO_DEVICE
    legacy = any(model_named(one.model).legacy_tls for one in facts)
    listed = _Lists([*_served(here), *_served(there), *_more(known_lists)])
    world = World(
        now=now,
        servers=chosen,
        tvs=await _tvs_of(source, here, observations, proof, legacy=legacy, patience=patience),
        members=await _members_of(destination, here, there),
        arrivals=arrivals,
        stranger=await files.one("XMLDefault"),
        auto_registration=auto_registration,
        lists=listed.by_hash,
        source_lists=tuple(_served(here)),
        other_lists=tuple(listed.others(_served(here))),
        groups=None if here.groups is None else tuple(group.members for group in here.groups),
        source_mixed=here.mixed,
        source_servers=frozenset(name for node in here.nodes for name in _names(node)),
    )
    estate = Estate()
    for one in facts:
        estate.add(one, arrival_of.get(one.name, absent))
    return Collected(world, estate, tuple(facts), proof, proof.gaps)


def _names(node: NodeSeen) -> set[str]:
    return {node.name.casefold(), node.address.casefold()}


async def _tried(ask: Awaitable[T]) -> T | None:
    """An answer, or None where there is none."""
    try:
        return await ask
    except (AuthenticationRefused, IdentityChanged):
        raise
    except TrustbridgeError:
        return None


async def _running(cluster: Cluster, node: str, service: str) -> bool | None:
    """Whether a service of a node runs, as the node says; None where it says nothing."""
    services = await _tried(cluster.services(node))
    if services is None:
        return None
    return any(one.running for one in services if one.name == service)


# Trust lists.


def _served(cluster: ClusterSeen) -> list[tuple[Kept, bytes]]:
    return [(Kept.ITL if file.of_itl else Kept.CTL, file.content) for file in cluster.files]


def _more(contents: Iterable[bytes]) -> Iterator[tuple[Kept, bytes]]:
    for content in contents:
        try:
            name = trustlist.decode(content).header.file_name or ""
        except DecodeError:
            name = ""
        yield (Kept.CTL if name.upper().startswith("CTL") else Kept.ITL), content


class _Lists:
    """Trust lists at hand, found by what a phone's page shows."""

    def __init__(self, lists: Iterable[tuple[Kept, bytes]]) -> None:
        self._lists = tuple(dict.fromkeys(lists))
        self.by_hash: dict[str, bytes] = {}
        for _, content in self._lists:
            for kind in ("md5", "sha1", "sha256"):  # models show one or another
                digest = hashlib.new(kind, content, usedforsecurity=False).hexdigest().upper()
                self.by_hash.setdefault(digest, content)

    def others(self, those: Sequence[tuple[Kept, bytes]]) -> Iterator[tuple[Kept, bytes]]:
        """All but those."""
        return (one for one in self._lists if one not in those)


# TFTP servers of the destination, and what they have for each phone.


async def _servers(
    destination: Cluster, there: ClusterSeen, wanted: Sequence[str], gaps: Sequence[Gap]
) -> tuple[TftpSeen, ...]:
    if not wanted:
        serving = [node for node in there.nodes if any(file.of_itl for file in node.files or ())]
        by_place = sorted(serving or there.nodes, key=lambda node: node.publisher)
        wanted = [node.name for node in by_place[:_SERVERS]]
    found = []
    for name in wanted:
        node = next((one for one in there.nodes if name.casefold() in _names(one)), None)
        if node is None:
            found.append(TftpSeen(name, unseen=f"it is no node of {there.name}"))
            continue
        if node.files is None:
            down = await _running(destination, node.name, _TFTP) is False
            why = next((gap.why for gap in gaps if gap.where == f"{there.name}/{node.name}"), "it was not read")
            found.append(TftpSeen(node.address, unseen=why, down=down))
            continue
        itl = next((file.content for file in node.files if file.of_itl), None)
        ctl = next((file.content for file in node.files if not file.of_itl), None)
        down = not node.files and await _running(destination, node.name, _TFTP) is False
        found.append(TftpSeen(node.address, itl, ctl, down=down))
    return tuple(found)


class _Configurations:
    """Configuration files as the first of the TFTP servers gives them, which is where phones get theirs."""

    def __init__(self, cluster: Cluster, servers: Sequence[TftpSeen], patience: float, progress: Progress) -> None:
        self._entry = cluster.entry
        self._servers = [server.address for server in servers if not server.down][:1]
        self._patience = patience
        self._progress = progress
        self._silent = "" if self._servers else "no TFTP server runs"

    async def of(self, expected: Sequence[PhoneInfo], wanted: set[str]) -> tuple[dict[str, int], tuple[Arrival, ...]]:
        """Of each wanted phone that the destination knows, the place of its file; and the files."""
        coming = [phone for phone in expected if phone.name in wanted]
        kinds: dict[tuple[str, ...], list[str]] = {}
        for phone in coming:
            alike = (phone.name,) if len(coming) <= EACH else (phone.device_pool, phone.security_profile)
            kinds.setdefault(alike, []).append(phone.name)
        members = list(kinds.values())
        arrivals: list[Arrival] = [Arrival(unseen="it was not read")] * len(members)
        done = 0
        left = iter(range(len(members)))

        async def work() -> None:
            nonlocal done
            for place in left:
                arrivals[place] = await self._first(members[place])
                done += 1
                self._progress(f"configuration files of {self._entry.name}", done, len(members))

        await asyncio.gather(*(work() for _ in range(_FILES_AT_ONCE)))
        return {name: place for place, names in enumerate(members) for name in names}, tuple(arrivals)

    async def by_name(self, wanted: set[str]) -> tuple[dict[str, int], tuple[Arrival, ...]]:
        """As `of`, for some phones of which nobody can tell whether the destination knows them."""
        found = {name: await self.one(name) for name in sorted(wanted)}
        there = {name: arrival for name, arrival in found.items() if arrival.signed is not None}
        return {name: place for place, name in enumerate(there)}, tuple(there.values())

    async def _first(self, names: Sequence[str]) -> Arrival:
        """The file of one of some phones that are alike."""
        found = Arrival(unseen="it was not read")
        for name in names[:_SAMPLES]:
            found = await self.one(name)
            if found.signed is not None:
                return found
            if not found.unseen:
                # The database knows the phone. Where its file is encrypted, it goes by another name and can't be read.
                found = Arrival(unseen="the server has no such file, though the database knows the phone")
        return found

    async def one(self, name: str) -> Arrival:
        """A phone's file, or the default."""
        file = f"{name}.cnf.xml.sgn"
        if self._silent:
            return Arrival(unseen=self._silent)
        (server,) = self._servers
        try:
            return Arrival(await self._fetched(server, file))
        except TrustbridgeError as error:
            self._silent = error.message  # waited for once
            return Arrival(unseen=error.message)

    async def _fetched(self, server: str, file: str) -> bytes | None:
        entry, limit = self._entry, self._patience
        try:
            return await http_get(server, entry.http_port, file, timeout=limit, max_bytes=_MAX_FILE)
        except TrustbridgeError:
            return await tftp_get(server, entry.tftp_port, file, timeout=limit / 5, max_bytes=_MAX_FILE)


# TVS of the source.


async def _tvs_of(
    source: Cluster,
    here: ClusterSeen,
    observations: Observations,
    proof: Proof,
    *,
    legacy: bool,
    patience: float,
) -> dict[str, TvsSeen]:
    behind = _behind(proof, here.name)
    found: dict[str, TvsSeen] = {}
    for name in here.asked:
        node = here.node(name)
        own = [one for one in observations.answers if (one.cluster, one.node) == (here.name, name)]
        seen = await _tvs(source, node, own, behind, legacy=legacy, patience=patience)
        found |= dict.fromkeys(_names(node), seen)
    return found


def _behind(proof: Proof, source: str) -> dict[tuple[str, int], str]:
    """What the proof finds behind an answer that is no use, by node and the signer's serial number."""
    return {
        (cell.node, signer.serial): cell.findings[0]
        for direction in proof.directions
        if direction.asking == source
        for signer in direction.signers
        for cell in direction.cells
        if cell.signer == signer.id and cell.findings
    }


async def _tvs(
    source: Cluster,
    node: NodeSeen,
    answers: Sequence[Answer],
    behind: Mapping[tuple[str, int], str],
    *,
    legacy: bool,
    patience: float,
) -> TvsSeen:
    failed = [one for one in answers if one.failure is not None]
    if failed or not answers:
        down = bool(failed) and failed[0].failure is Failure.UNREACHABLE
        down = down and await _running(source, node.name, _TVS) is False
        return TvsSeen(node.name, down=down, unseen=failed[0].words if failed else "it was not asked")
    said = {
        one.signer: TvsSaid(
            one.valid,
            one.roles,
            None if one.returned is None else one.returned.der,
            behind.get((node.name, one.signer.serial), ""),
        )
        for one in answers
    }
    presented = next((one.presented.der for one in answers if one.presented is not None), None)
    old_tls = await _speaks_old_tls(answers[0], patience) if legacy else None
    return TvsSeen(node.name, presented, said, old_tls)


async def _speaks_old_tls(answer: Answer, patience: float) -> bool | None:
    """Whether a TVS that answers also does so to who knows TLS 1.0 and nothing newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # phones know servers by their trust list
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point of it
        context.maximum_version = ssl.TLSVersion.TLSv1
    request = query_request(1, DEVICE, "CN=nobody", "CN=nobody", 1)
    try:
        await ask_tvs(answer.address, answer.port, request, timeout=patience, tls_context=context)
    except Refused:
        return False
    except TrustbridgeError:
        return None
    return True


# Unified CMs of the destination.


async def _members_of(destination: Cluster, here: ClusterSeen, there: ClusterSeen) -> dict[str, CallManagerSeen]:
    capf = here.publisher.identity(Unit.CAPF)

    async def one(node: NodeSeen) -> CallManagerSeen:
        certificate = node.identity(Unit.CALLMANAGER)
        running = await _running(destination, node.name, _CALL_MANAGER)
        der = None if certificate is None else certificate.der
        return CallManagerSeen(node.name, der, running, _holds(node.stores.get(Store.CAPF_TRUST), capf))

    nodes = [there.node(name) for name in there.asked]
    seen = await asyncio.gather(*(one(node) for node in nodes))
    return {name: member for node, member in zip(nodes, seen, strict=True) for name in _names(node)}


def _holds(held: tuple[Certificate, ...] | None, certificate: Certificate | None) -> bool | None:
    return None if held is None or certificate is None else certificate in held
