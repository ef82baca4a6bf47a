"""Seeing what a proof goes by: files as phones download them, TVS as phones ask it, then stores and database.

Whatever can't be had is a `Gap`, and the rest goes on: one node that is down hides nothing about the others. Only what
leaves nothing to verify is raised: a cluster that does not even tell its nodes, and a password that is refused (tried
again elsewhere, it would lock the account).
"""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from trustbridge.clients.ask import TvsReply, ask_tvs
from trustbridge.clients.tls import client_context
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import CallManagerGroup, NodeIdentity, NodeInfo, TrustListFileInfo
from trustbridge.errors import (
    AuthenticationRefused,
    DecodeError,
    IdentityChanged,
    InvalidCertificate,
    Refused,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.migration.proofplaces import stores_for_emcc
from trustbridge.migration.proofseen import (
    VOUCH_STORES,
    Answer,
    ClusterSeen,
    Failure,
    Gap,
    NodeSeen,
    Observations,
    Signer,
    served_file,
)
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store
from trustbridge.wire.tvs import TvsMessage, query_request

T = TypeVar("T")

#: Told (what, done, total).
Progress = Callable[[str, int, int], None]

#: The phone that asks: nobody has it, and a TVS log shows who it was.
DEVICE: Final = "CP-8861-SEP000000000000"
#: Phones count their sessions up from about here.
_FIRST_SESSION: Final = 1000
#: Questions to TVS at the same time, over all nodes; and nodes whose certificates are read at the same time.
_QUESTIONS_AT_ONCE, _NODES_AT_ONCE = 16, 8
#: Seconds for a question, as a phone has patience.
TVS_PATIENCE: Final = 10.0
#: What OpenSSL says of a server that wants another TLS version.
_VERSION_REASONS: Final = frozenset(
    {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE", "WRONG_SSL_VERSION"}
)


def _quiet(what: str, done: int, total: int) -> None:
    pass


async def collect(
    clusters: Mapping[str, Cluster],
    pairs: Collection[tuple[str, str]],
    *,
    emcc: bool = False,
    deep: bool = True,
    progress: Progress = _quiet,
    patience: float = TVS_PATIENCE,
) -> Observations:
    """Everything `proof.prove` judges. Nothing is changed anywhere.

    Args:
        clusters: open, by name.
        pairs: (source, destination) by name; each is looked at both ways.
        emcc: also read what Extension Mobility Cross Cluster is judged by.
        deep: read the stores of every node that is asked; otherwise only where its TVS did not answer well.
        patience: seconds for one question to a TVS.

    Raises:
        KeyError: a pair names a cluster that is not given.
        Unreachable, Garbled, Refused, SettingsError: a cluster does not tell its nodes, or refuses a password.
    """
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    steps = _Steps(progress)
    seen = {name: _ClusterCollector(clusters[name], steps) for name in names}
    await _together([one.begin() for one in seen.values()])
    observed = Observations({name: one.seen() for name, one in seen.items()}, tuple(dict.fromkeys(pairs)), ())
    answers = await _ask_all(observed, clusters, steps, patience)
    denied = {(one.cluster, one.node) for one in answers if not one.valid}
    await _together([one.compare(denied, emcc=emcc, deep=deep) for one in seen.values()])
    return Observations(
        {name: one.seen() for name, one in seen.items()},
        observed.pairs,
        tuple(answers),
        tuple(gap for one in seen.values() for gap in one.gaps),
        emcc,
        deep,
    )


class _Steps:
    """What is under way, counted."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = self._total = 0

    async def over(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`; it counts from now on, and as done when it has ended."""
        self._total += 1
        self._progress(what, self._done, self._total)
        try:
            return await work
        finally:
            self._done += 1
            self._progress(what, self._done, self._total)


async def _together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All at once; the first error ends the others and comes out alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        ours = errors.subgroup(TrustbridgeError)
        first: BaseException = ours or errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return [task.result() for task in tasks]


@dataclass(slots=True)
class _NodeParts:
    """What is known of a node so far."""

    identities: tuple[NodeIdentity, ...] | None = None
    files: tuple[TrustListFileInfo, ...] | None = None
    stores: dict[Store, tuple[Certificate, ...]] = field(default_factory=dict)


class _ClusterCollector:
    """One cluster: read in two steps, before TVS is asked and after."""

    def __init__(self, cluster: Cluster, steps: _Steps) -> None:
        self._cluster = cluster
        self._steps = steps
        self._nodes: tuple[NodeInfo, ...] = ()
        self._parts: dict[str, _NodeParts] = {}
        self._groups: tuple[CallManagerGroup, ...] | None = None
        self._known: dict[str, Any] = {}
        self._asked: tuple[str, ...] = ()
        self.gaps: list[Gap] = []
        self._gate = asyncio.Semaphore(_NODES_AT_ONCE)

    async def begin(self) -> None:
        """Nodes, groups, modes; each node's certificates and files."""
        cluster = self._cluster
        self._nodes = await self._steps.over(f"{cluster.name}: nodes", cluster.nodes())
        self._parts = {node.name: _NodeParts() for node in self._nodes}
        # Alone first: a password that is refused is then tried once, not on every node.
        self._known["release"] = await self._try("release", cluster.release())
        self._groups = await self._try(
            "Unified CM groups", cluster.groups(), but="every node counts as one that phones may ask"
        )
        mode = await self._try("security mode", cluster.security_mode())
        self._known["mixed"] = None if mode is None else mode == "mixed"
        self._known["rollback"] = await self._try("Prepare Cluster for Rollback", cluster.prepare_for_rollback())
        self._choose()
        await _together([self._node(node) for node in self._nodes])
        if all(parts.files is not None for parts in self._parts.values()) and not self.seen().files:
            self._gap("", "trust lists", "no node serves an ITL: does Cisco Tftp run anywhere?", essential=True)

    def _choose(self) -> None:
        """The nodes that phones may ask: those in a Unified CM group."""
        if self._groups is None:
            self._asked = tuple(node.name for node in self._nodes)
            return
        by_name = {word.casefold(): node.name for node in self._nodes for word in (node.address, node.name)}
        chosen = set()
        for group in self._groups:
            for member in group.members:
                name = by_name.get(member.casefold()) or by_name.get(member.casefold().partition(".")[0])
                if name is None:
                    why = f"group {group.name} names {member}, which is none of its nodes"
                    self._gap("", f"TVS of {member}", why, essential=True)
                else:
                    chosen.add(name)
        self._asked = tuple(node.name for node in self._nodes if node.name in chosen)

    async def _node(self, node: NodeInfo) -> None:
        async with self._gate:
            parts, cluster = self._parts[node.name], self._cluster
            parts.files = await self._try("trust lists", cluster.trust_list_files(node.name), node.name, essential=True)
            parts.identities = await self._try("identity certificates", cluster.identities(node.name), node.name)

    async def compare(self, denied: Collection[tuple[str, str]], *, emcc: bool, deep: bool) -> None:
        """The trust stores and `listTvsCertificate`.

        Args:
            denied: (cluster, node) whose TVS did not answer well.
        """
        cluster = self._cluster
        unwell = {node for name, node in denied if name == cluster.name}
        if deep or unwell:
            question = cluster.tvs_certificates()
            self._known["listed"] = await self._try("listTvsCertificate", question)
        await _together([self._stores(node, self._wanted(node, unwell, emcc, deep)) for node in self._nodes])

    def _wanted(self, node: NodeInfo, unwell: Collection[str], emcc: bool, deep: bool) -> list[Store]:
        wanted: list[Store] = []
        # The publisher is what the others are compared with.
        if (
            node.name in unwell
            or (node.publisher and unwell)
            or (deep and (node.publisher or node.name in self._asked))
        ):
            wanted += VOUCH_STORES
        if deep and self._known["mixed"] and node.name in self._asked:
            wanted.append(Store.CAPF_TRUST)
        if emcc:
            wanted += stores_for_emcc()
        return list(dict.fromkeys(wanted))

    async def _stores(self, node: NodeInfo, wanted: Iterable[Store]) -> None:
        async with self._gate:
            for store in wanted:
                found = await self._try(str(store), self._cluster.trusted(node.name, store), node.name)
                if found is None:
                    return  # what keeps one from being read keeps the others, too: it is waited for once
                self._parts[node.name].stores[store] = tuple(one.certificate for one in found)

    async def _try(
        self, what: str, ask: Awaitable[T], node: str = "", *, essential: bool = False, but: str = ""
    ) -> T | None:
        """An answer, or None and a gap."""

        async def asked() -> T:
            return await ask

        try:
            return await self._steps.over(f"{self._cluster.name}: {what} {node}".rstrip(), asked())
        except AuthenticationRefused:
            raise
        except TrustbridgeError as error:
            why = _sentences(error.message, error.hint, but)
            self._gap(node, what, why, essential=essential or isinstance(error, IdentityChanged))
            return None

    def _gap(self, node: str, what: str, why: str, *, essential: bool) -> None:
        self.gaps.append(Gap(self._cluster.name, node, what, why, essential))

    def seen(self) -> ClusterSeen:
        """What is known by now."""
        identities = [one.certificate for parts in self._parts.values() for one in parts.identities or ()]
        release = self._known.get("release")
        return ClusterSeen(
            name=self._cluster.name,
            release="" if release is None else str(release),
            nodes=tuple(self._node_seen(node, self._parts[node.name], identities) for node in self._nodes),
            groups=self._groups,
            asked=self._asked,
            mixed=self._known.get("mixed"),
            rollback=self._known.get("rollback"),
            listed=self._known.get("listed"),
            ways=self._cluster.ways(),
            detours=self._cluster.detours(),
        )

    def _node_seen(self, node: NodeInfo, parts: _NodeParts, identities: list[Certificate]) -> NodeSeen:
        files = parts.files
        return NodeSeen(
            node.name,
            self._cluster.host(node),
            node.publisher,
            parts.identities,
            dict(parts.stores),
            None
            if files is None
            else tuple(one for one in (served_file(info, identities) for info in files) if one is not None),
        )


async def _ask_all(
    observed: Observations, clusters: Mapping[str, Cluster], steps: _Steps, patience: float
) -> list[Answer]:
    """Each TVS about each signer, once."""
    gate = asyncio.Semaphore(_QUESTIONS_AT_ONCE)

    async def one(asking: str, node: NodeSeen, signer: Signer, session: int) -> Answer:
        async with gate:
            port = clusters[asking].entry.tvs_port
            return await ask_one(asking, node, port, signer, session=session, patience=patience)

    questions: list[Coroutine[Any, Any, Answer]] = []
    for asking, vouched, _ in observed.directions():
        by_key = {signer.key: signer for signer in observed.clusters[vouched].signers()}
        for name in observed.clusters[asking].asked:
            node = observed.clusters[asking].node(name)
            for signer in by_key.values():
                work = one(asking, node, signer, _FIRST_SESSION + len(questions))
                questions.append(steps.over(f"TVS of {asking}/{name}", work))
    return await _together(questions)


async def ask_one(
    asking: str, node: NodeSeen, port: int, signer: Signer, *, session: int, patience: float = TVS_PATIENCE
) -> Answer:
    """Ask one TVS about one signer, as a phone does: by name and serial number, as they stand in the file.

    Never raises for what the service does: the answer says so.
    """
    unanswered = Answer(asking, node.name, node.address, port, signer.cluster, signer.key)
    shown: list[bytes] = []

    def look(der: bytes) -> None:
        shown.append(der)

    request = query_request(session, DEVICE, signer.subject, signer.issuer, signer.serial)
    try:
        reply = await _asked(node.address, port, request, look, shown, patience)
        presented = _certificate(reply.tvs_certificate)
        response = reply.response
        returned = None if response.certificate is None else Certificate.from_der(response.certificate)
        return dataclasses.replace(
            unanswered,
            valid=response.valid,
            roles=response.roles,
            time_to_live=response.time_to_live,
            returned=returned,
            presented=presented,
            tls_version=reply.tls_version,
            seconds=reply.seconds,
        )
    except (Unreachable, Refused, DecodeError, InvalidCertificate) as error:
        words = _sentences(error.message, error.hint)
        presented = _certificate(shown[-1]) if shown else None
        return dataclasses.replace(unanswered, presented=presented, failure=_failure(error), words=words)


async def _asked(
    host: str, port: int, request: TvsMessage, look: Callable[[bytes], None], shown: list[bytes], patience: float
) -> TvsReply:
    """With today's TLS; and where that is refused, with the old one, as phones of that age do."""
    try:
        return await ask_tvs(host, port, request, timeout=patience, check_certificate=look)
    except Refused as error:
        # Some old servers hang up on what they do not know, instead of saying so.
        if shown or not (_of_tls_version(error) or error.__cause__ is None):
            raise
        try:
            context = client_context(legacy=True)
            return await ask_tvs(host, port, request, timeout=patience, check_certificate=look, tls_context=context)
        except Refused:
            raise error from error.__cause__


def _sentences(*parts: str) -> str:
    return ". ".join(part[0].upper() + part[1:] for part in (one.rstrip(". ") for one in parts) if part)


def _of_tls_version(error: TrustbridgeError) -> bool:
    cause = error.__cause__
    return isinstance(cause, ssl.SSLError) and cause.reason in _VERSION_REASONS


def _failure(error: TrustbridgeError) -> Failure:
    if isinstance(error, Unreachable):
        return Failure.UNREACHABLE
    return Failure.TLS_VERSION if _of_tls_version(error) else Failure.NO_SENSE


def _certificate(der: bytes) -> Certificate | None:
    try:
        return Certificate.from_der(der)
    except InvalidCertificate:
        return None
