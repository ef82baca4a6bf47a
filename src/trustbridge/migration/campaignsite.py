"""Clusters and phones of a campaign as they are: RisPort70 of both, the phones' pages, and resets through AXL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import PhoneStatus, RegistrationInfo
from trustbridge.cucm.phoneconnection import PhoneConnection
from trustbridge.cucm.phonestreams import read_in_call
from trustbridge.cucm.phoneweb import NETWORK_PAGES, STATUS_PAGES, PhonePages, read_phone
from trustbridge.cucm.ris import BATCH as RIS_BATCH
from trustbridge.errors import AuthenticationRefused, IdentityChanged, NotSupported, Refused, TrustbridgeError
from trustbridge.migration.campaignphone import Lists, Observation, PhoneState, Seen, Told
from trustbridge.migration.campaignserved import CampaignCluster, Served, served
from trustbridge.storage.campaignrecords import PhoneRecord
from trustbridge.storage.models import Direction, Kind

#: Phones whose pages are read at the same time.
_AT_ONCE: Final = 64
_PATIENCE: Final = Patience(connect=3.0, answer=8.0)
#: Seconds that a phone has to tell whether it is in a call: what others have told gets old meanwhile.
_CALL_PATIENCE: Final = 5.0
#: How long the trust lists that clusters serve are taken to be the same.
_LISTS_HOLD: Final = timedelta(minutes=5)
#: Phones that are asked for along with others, though the other cluster may do: what they cost must stay small.
_ALONG: Final = 200
#: How long a phone that was reset may be nowhere, before its origin is asked as well; as `Terms.settle`.
_SETTLE: Final = timedelta(seconds=60)
#: Status messages that are kept of a page.
_MESSAGES: Final = 20


@dataclass(slots=True)
class _Look:
    """One phone while it is looked at.

    Attributes:
        infos: what source and destination know of it; None for nothing, or where nobody has asked.
        asked: which of the two have answered in a way that counts, also where they know nothing of it.
    """

    phone: PhoneRecord
    infos: list[RegistrationInfo | None] = field(default_factory=lambda: [None, None])
    asked: list[bool] = field(default_factory=lambda: [False, False])
    pages: PhonePages | None = None
    in_use: bool | None = None
    in_use_at: datetime | None = None

    @property
    def origin(self) -> int:
        """Which of the two is its origin; the other one is its target."""
        return 1 if self.phone.direction is Direction.BACK else 0

    @property
    def moving(self) -> bool:
        """Whether it has been told to reset, and where it was then counts no more."""
        return self.phone.kind is Kind.UNDER_WAY and self.phone.state != PhoneState.RESET_REQUESTED

    @property
    def main(self) -> int:
        """The cluster that is to have it: where it is registered there, and its page says so, the other one need not
        be asked. That halves the calls, of which a cluster takes 15 a minute."""
        return 1 - self.origin if self.moving else self.origin

    @property
    def address(self) -> str:
        """Where its pages are; "" of a phone that is registered nowhere: it starts, and shows nothing."""
        found = [info for info in self.infos if info is not None and info.status is PhoneStatus.REGISTERED]
        return max(found, key=_since).address if found else ""


class Site:
    """A source and a destination. Made by `opened`.

    Args:
        settle: how long a phone that was reset may be nowhere before its origin is asked for it as well.
        noted: told what could not be looked at, once each time it begins.
    """

    def __init__(
        self,
        source: CampaignCluster,
        destination: CampaignCluster,
        *,
        phone_port: int,
        settle: timedelta,
        noted: Callable[[str], None],
    ) -> None:
        self._source = source
        self._destination = destination
        self._port = phone_port
        self._settle = settle
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
        settle: timedelta = _SETTLE,
        noted: Callable[[str], None] = lambda words: None,
    ) -> AsyncIterator[Site]:
        """For as long as the context."""
        yield cls(source, destination, phone_port=phone_port, settle=settle, noted=noted)

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
        looks = [_Look(phone) for phone in phones]
        lists, _ = await asyncio.gather(self._lists(), self._ask_first(looks))
        gate = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._read(one, lists, gate) for one in looks if one.address))
        unsure = [one for one in looks if not all(one.asked) and self._unsure(one, lists)]
        if unsure:
            await asyncio.gather(
                *(self._ask(cluster, [one for one in unsure if not one.asked[cluster]]) for cluster in (0, 1))
            )
            unread = [one for one in unsure if one.pages is None and one.address]
            await asyncio.gather(*(self._read(one, lists, gate) for one in unread))
        found: dict[str, Observation] = {}
        for one in looks:
            asked = all(one.asked) or self._shown(one, lists)
            seen = _observation(one, lists, asked=asked)
            if one.in_use_at is not None and seen.at_origin:
                seen = seen.with_call(one.in_use, one.in_use_at)
            found[one.phone.name] = seen
        return found

    async def _ask_first(self, looks: Sequence[_Look]) -> None:
        """Ask for each phone the cluster that is to have it, and the other one as far as calls have room."""
        overdue = self.now() - self._settle
        needed: tuple[list[_Look], list[_Look]] = ([], [])
        useful: tuple[list[_Look], list[_Look]] = ([], [])
        for one in looks:
            # When it is time to say that it has come to nothing, both have to say so.
            both = one.phone.state == PhoneState.RESET_REQUESTED or (one.moving and one.phone.since <= overdue)
            needed[one.main].append(one)
            (needed if both else useful)[1 - one.main].append(one)
        names = [
            [*must, *may[: min(-len(must) % RIS_BATCH if must else RIS_BATCH, _ALONG)]]
            for must, may in zip(needed, useful, strict=True)
        ]
        await asyncio.gather(self._ask(0, names[0]), self._ask(1, names[1]))

    async def _ask(self, cluster: int, looks: Sequence[_Look]) -> None:
        """Where a cluster has these phones. Not to know a phone counts when each of its nodes has answered."""
        if not looks:
            return
        asked = (self._source, self._destination)[cluster]
        found = await self._registrations(asked, [one.phone.name for one in looks])
        whole = found is not None and not self._unheard(asked)
        for one in looks:
            one.infos[cluster] = info = None if found is None else found.get(one.phone.name.upper())
            one.asked[cluster] = info is not None or whole

    def _shown(self, one: _Look, lists: tuple[Served, Served] | None) -> bool:
        """Whether its page says that it is where the one cluster that was asked has it."""
        info = one.infos[one.main]
        if lists is None or one.pages is None or not one.asked[one.main]:
            return False
        if info is None or info.status is not PhoneStatus.REGISTERED or one.pages.name != one.phone.name.upper():
            return False
        here, elsewhere = lists[one.main], lists[1 - one.main]
        return here.has(one.pages.network.active) and not elsewhere.has(one.pages.network.active)

    def _unsure(self, one: _Look, lists: tuple[Served, Served] | None) -> bool:
        """Whether the cluster that was not asked has to be: not for a phone that was reset just now and starts."""
        if self._shown(one, lists):
            return False
        return not one.moving or bool(one.address)

    async def _read(self, one: _Look, lists: tuple[Served, Served] | None, gate: asyncio.Semaphore) -> None:
        """Its pages; of one that has arrived with the target's lists, the one that says so will do."""
        address = one.address
        if not address:
            return
        async with gate, PhoneConnection(address, self._port, _PATIENCE) as connection:
            try:
                kinds = (NETWORK_PAGES,) if one.moving else (NETWORK_PAGES, STATUS_PAGES)
                pages = await read_phone(address, connection=connection, kinds=kinds)
                if one.moving and (lists is None or not lists[one.main].are_on(pages)):
                    messages = await read_phone(address, connection=connection, kinds=(STATUS_PAGES,))
                    pages = replace(pages, messages=messages.messages, missing=messages.missing)
            except TrustbridgeError:  # web access is off, or it is on its way down
                pass
            else:
                if pages.name and pages.name != one.phone.name.upper():
                    return  # an address that another phone has by now
                one.pages = pages
            # Of one that is ready, this is looked at when its turn has come: see `campaignrun`.
            there = one.infos[one.origin]
            if one.phone.state == PhoneState.WAITING and there is not None and there.address == address:
                one.in_use, one.in_use_at = await _in_call(connection), self.now()

    async def in_use(self, addresses: Mapping[str, str]) -> Mapping[str, bool | None]:
        """See `campaignrun.Surroundings`."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(address: str) -> bool | None:
            if not address:
                return None
            async with gate, PhoneConnection(address, self._port, _PATIENCE) as connection:
                return await _in_call(connection)

        found = await asyncio.gather(*(one(address) for address in addresses.values()))
        return dict(zip(addresses, found, strict=True))

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


async def _in_call(connection: PhoneConnection) -> bool | None:
    try:
        async with asyncio.timeout(_CALL_PATIENCE):
            return await read_in_call(connection.address, connection=connection)
    except TimeoutError:
        return None


def _since(info: RegistrationInfo) -> float:
    return -1.0 if info.since is None else info.since.timestamp()


def _observation(one: _Look, lists: tuple[Served, Served] | None, *, asked: bool) -> Observation:
    """All that is known of a phone; source and destination are origin and target by the way it goes."""
    back = one.phone.direction is Direction.BACK
    pages = one.pages
    seen = [None if info is None else Seen(info.status, info.since, info.node, info.address) for info in one.infos]
    origin, target = seen[::-1] if back else seen
    evidence = [
        f"{name}: {_words(info) if info is not None else 'not known there' if known else 'not asked'}"
        for name, info, known in zip(("source", "destination"), one.infos, one.asked, strict=True)
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
