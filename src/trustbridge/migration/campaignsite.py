"""Clusters and phones of a campaign as they are: RisPort70 of both, the phones' pages, and resets through AXL."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import httpx

from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import NodeInfo, PhoneStatus, RegistrationInfo, TrustListFileInfo
from trustbridge.cucm.phonestreams import read_in_call
from trustbridge.cucm.phoneweb import PhonePages, read_phone
from trustbridge.errors import AuthenticationRefused, IdentityChanged, NotSupported, Refused, TrustbridgeError
from trustbridge.migration.campaignphone import Lists, Observation, PhoneState, Seen, Told
from trustbridge.storage.campaignrecords import PhoneRecord
from trustbridge.storage.models import Direction

#: Phones whose pages are read at the same time; and that are asked whether they are in a call, just before resets.
_AT_ONCE, _CALLS_AT_ONCE = 16, 64
_PATIENCE: Final = Patience(connect=3.0, answer=8.0)
#: Seconds that a phone has to tell whether it is in a call: what others have told gets old meanwhile.
_CALL_PATIENCE: Final = 5.0
#: How long the trust lists that clusters serve are taken to be the same.
_LISTS_HOLD: Final = timedelta(minutes=5)
#: Status messages that are kept of a page.
_MESSAGES: Final = 20


class CampaignCluster(Protocol):
    """What a campaign needs of a cluster; `cucm.Cluster` has it."""

    name: str

    async def nodes(self) -> tuple[NodeInfo, ...]:
        """Its nodes."""

    def host(self, node: NodeInfo) -> str:
        """Where a node is reached."""

    async def trust_list_files(self) -> tuple[TrustListFileInfo, ...]:
        """What its nodes serve."""

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        """Where phones are registered."""

    def unheard(self) -> frozenset[str]:
        """Nodes that had no answer of their own to the last question for registrations."""

    async def reset_phones(self, names: Sequence[str]) -> None:
        """Reset phones."""


@dataclass(frozen=True, slots=True)
class Served:
    """Hashes of the trust lists that a cluster's nodes serve, MD5, SHA-1 and SHA-256 in upper case, as phones show one
    or another; `ctl` holds "", no list, where it serves none. `addresses` are its nodes', in every spelling."""

    itl: frozenset[str]
    ctl: frozenset[str]
    addresses: frozenset[str]

    def are_on(self, pages: PhonePages) -> bool:
        """Whether a phone shows lists of this cluster, and none of another."""
        network = pages.network
        return bool(network.itl) and network.itl in self.itl and (network.ctl is None or network.ctl in self.ctl)


async def served(cluster: CampaignCluster) -> Served:
    """What a cluster serves now.

    Raises:
        TrustbridgeError: a node does not answer.
    """
    files = await cluster.trust_list_files()
    nodes = await cluster.nodes()
    return Served(
        itl=frozenset(_hashes(file.content for file in files if file.name == "ITLFile.tlv")),
        ctl=frozenset(_hashes(file.content for file in files if file.name == "CTLFile.tlv")) or frozenset({""}),
        addresses=frozenset(
            word.casefold() for node in nodes for word in (node.name, node.address, cluster.host(node))
        ),
    )


def _hashes(contents: Iterable[bytes | None]) -> Iterable[str]:
    for content in contents:
        if content is not None:
            for kind in ("md5", "sha1", "sha256"):
                yield hashlib.new(kind, content, usedforsecurity=False).hexdigest().upper()


class Site:
    """A source and a destination. Made by `opened`.

    Args:
        noted: told what could not be looked at, once each time it begins.
    """

    def __init__(
        self,
        source: CampaignCluster,
        destination: CampaignCluster,
        client: httpx.AsyncClient,
        *,
        phone_port: int,
        noted: Callable[[str], None],
    ) -> None:
        self._source = source
        self._destination = destination
        self._client = client
        self._port = phone_port
        self._noted = noted
        self._silent: set[str] = set()
        self._served: tuple[Served, Served] | None = None
        self._served_at = datetime.min.replace(tzinfo=UTC)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        source: CampaignCluster,
        destination: CampaignCluster,
        *,
        phone_port: int,
        noted: Callable[[str], None] = lambda words: None,
    ) -> AsyncIterator[Site]:
        """For as long as the context."""
        async with AsyncExitStack() as stack:
            # One client for all: making one takes longer than reading a phone's pages. Pages are plain HTTP.
            client = await stack.enter_async_context(
                httpx.AsyncClient(
                    limits=httpx.Limits(max_connections=_CALLS_AT_ONCE, max_keepalive_connections=0),
                    timeout=httpx.Timeout(_PATIENCE.answer, connect=_PATIENCE.connect),
                    trust_env=False,
                    verify=False,  # noqa: S501 - see above
                )
            )
            yield cls(source, destination, client, phone_port=phone_port, noted=noted)

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def reset(self, phone: PhoneRecord) -> tuple[Told | None, str]:
        """See `campaignrun.Surroundings`."""
        origin = self._source if phone.direction is Direction.FORTH else self._destination
        try:
            await origin.reset_phones([phone.name])
        except (AuthenticationRefused, IdentityChanged, NotSupported):
            raise
        except Refused as error:
            return Told.REFUSED, error.message
        except TrustbridgeError as error:
            return None, error.message
        return Told.SENT, ""

    # Looking.

    async def observe(self, phones: Sequence[PhoneRecord]) -> Mapping[str, Observation]:
        """See `campaignrun.Surroundings`."""
        names = [phone.name for phone in phones]
        lists, at_source, at_destination = await asyncio.gather(
            self._lists(), self._registrations(self._source, names), self._registrations(self._destination, names)
        )
        here, there = at_source or {}, at_destination or {}
        #: Whether each cluster has answered, and each of its nodes: only then does "not heard of" mean anything.
        whole = [
            found is not None and not self._unheard(cluster)
            for cluster, found in ((self._source, at_source), (self._destination, at_destination))
        ]
        answered = at_source is not None and at_destination is not None
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(phone: PhoneRecord) -> tuple[str, Observation]:
            name = phone.name.upper()
            infos = (here.get(name), there.get(name))
            asked = answered and all(info is not None or sure for info, sure in zip(infos, whole, strict=True))
            pages = await self._pages(infos, gate)
            seen = _observation(phone.direction, infos, pages, lists, asked=asked)
            if phone.state == PhoneState.WAITING and asked and seen.at_origin and seen.origin is not None:
                # Of one that is ready, this is looked at when its turn has come: see `campaignrun`.
                seen = seen.with_call(await self._in_call(seen.origin.address, gate), self.now())
            return phone.name, seen

        return dict(await asyncio.gather(*(one(phone) for phone in phones)))

    async def in_use(self, addresses: Mapping[str, str]) -> Mapping[str, bool | None]:
        """See `campaignrun.Surroundings`."""
        gate = asyncio.Semaphore(_CALLS_AT_ONCE)
        found = await asyncio.gather(*(self._in_call(address, gate) for address in addresses.values()))
        return dict(zip(addresses, found, strict=True))

    async def _in_call(self, address: str, gate: asyncio.Semaphore) -> bool | None:
        if not address:
            return None
        async with gate:
            try:
                async with asyncio.timeout(_CALL_PATIENCE):
                    return await read_in_call(address, port=self._port, patience=_PATIENCE, client=self._client)
            except TimeoutError:
                return None

    async def _registrations(
        self, cluster: CampaignCluster, names: Sequence[str]
    ) -> Mapping[str, RegistrationInfo] | None:
        try:
            found = await cluster.registrations(names)
        except (AuthenticationRefused, IdentityChanged, NotSupported):
            raise
        except TrustbridgeError as error:
            self._falls_silent(cluster.name, error.message)
            return None
        self._silent.discard(cluster.name)
        return found

    def _unheard(self, cluster: CampaignCluster) -> bool:
        nodes = cluster.unheard()
        who = f"nodes of {cluster.name}"
        if nodes:
            self._falls_silent(who, f"{cluster.name}: RisPort70 has no answer of {', '.join(sorted(nodes))}")
        else:
            self._silent.discard(who)
        return bool(nodes)

    def _falls_silent(self, who: str, words: str) -> None:
        if who not in self._silent:
            self._silent.add(who)
            self._noted(f"{words}; nothing is concluded from that")

    async def _lists(self) -> tuple[Served, Served] | None:
        now = self.now()
        if self._served is None or now - self._served_at >= _LISTS_HOLD:
            try:
                source, destination = await asyncio.gather(served(self._source), served(self._destination))
            except (AuthenticationRefused, IdentityChanged, NotSupported):
                raise
            except TrustbridgeError as error:
                # Those of before may be out of date: better not to know whose lists a phone holds.
                self._served = None
                self._falls_silent("trust lists", error.message)
                return None
            self._silent.discard("trust lists")
            self._served, self._served_at = (source, destination), now
        return self._served

    async def _pages(self, infos: Iterable[RegistrationInfo | None], gate: asyncio.Semaphore) -> PhonePages | None:
        """Of a phone that is registered: where it is not, it starts, and shows nothing."""
        registered = [info for info in infos if info is not None and info.status is PhoneStatus.REGISTERED]
        if not registered:
            return None
        address = max(registered, key=_since).address
        async with gate:
            try:
                return await read_phone(address, port=self._port, patience=_PATIENCE, client=self._client)
            except TrustbridgeError:  # web access is off, or it is on its way down
                return None


def _since(info: RegistrationInfo) -> float:
    return -1.0 if info.since is None else info.since.timestamp()


def _observation(
    direction: Direction,
    infos: tuple[RegistrationInfo | None, RegistrationInfo | None],
    pages: PhonePages | None,
    lists: tuple[Served, Served] | None,
    *,
    asked: bool,
) -> Observation:
    """All that is known of a phone; source and destination are origin and target by the way it goes."""
    back = direction is Direction.BACK
    seen = [None if info is None else Seen(info.status, info.since, info.node, info.address) for info in infos]
    origin, target = seen[::-1] if back else seen
    evidence = [
        f"{name}: {'not known there' if info is None else _words(info)}"
        for name, info in zip(("source", "destination"), infos, strict=True)
        if asked
    ]
    if pages is not None:
        evidence.append(f"page: {_page_words(pages)}")
    both = None if lists is None else (lists[::-1] if back else lists)
    return Observation(
        asked=asked,
        origin=origin,
        target=target,
        lists=_whose(pages, both),
        messages=None
        if pages is None
        else tuple(f"{one.when} {one.text}".strip() for one in pages.messages[-_MESSAGES:]),
        target_servers=_asks_target(pages, both),
        evidence=tuple(evidence),
    )


def _words(info: RegistrationInfo) -> str:
    since = "" if info.since is None else f" since {info.since:%Y-%m-%d %H:%M:%S} UTC"
    reason = f", reason {info.reason}" if info.reason else ""
    return f"{info.status} at {info.node}{since}{reason}"


def _page_words(pages: PhonePages) -> str:
    network = pages.network
    words = [
        f"{name} {value or 'none'}" for name, value in (("ITL", network.itl), ("CTL", network.ctl)) if value is not None
    ]
    if network.tftp_servers:
        words.append(f"TFTP servers {', '.join(network.tftp_servers)}")
    return "; ".join([*words, *_messages(pages)[-3:]])


def _messages(pages: PhonePages) -> tuple[str, ...]:
    return tuple(f"{one.when} {one.text}".strip() for one in pages.messages)


def _whose(pages: PhonePages | None, lists: tuple[Served, Served] | None) -> Lists | None:
    if pages is None or lists is None or pages.network.itl is None:
        return None
    origin, target = lists
    if target.are_on(pages):
        return Lists.TARGET
    if origin.are_on(pages):
        return Lists.ORIGIN
    return Lists.NONE if not pages.network.itl and not pages.network.ctl else Lists.OTHER


def _asks_target(pages: PhonePages | None, lists: tuple[Served, Served] | None) -> bool | None:
    if pages is None or lists is None or not pages.network.tftp_servers:
        return None
    return any(server.casefold() in lists[1].addresses for server in pages.network.tftp_servers)
