"""The whole procedure through the driver alone, as an engineer's machine does it on clusters of any kind.

Nothing is looked at but what clusters and phones tell: command line, certificate REST, AXL, RisPort70, files of TFTP
nodes, TVS, the phones' own pages and the SFTP server. Nothing is done but over these.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials
from trustbridge.cucm.model import ClusterEntry, DhcpSubnet, Interface, PhoneStatus, RegistrationInfo
from trustbridge.cucm.phoneweb import PhonePages
from trustbridge.errors import NotSupported, Unreachable
from trustbridge.eventloop import together
from trustbridge.exchange.directory import SftpSettings
from trustbridge.expectations import DESTINATION, SOURCE, Procedure, Rehearsal, Watcher
from trustbridge.migration.proof import Proof, Verdict, prove
from trustbridge.migration.proofcollect import collect
from trustbridge.migration.rehearsalexchange import RehearsedExchange
from trustbridge.migration.rehearsalphones import (
    QUIET,
    SIGNED,
    UPDATED,
    DrivenPhone,
    PhoneWatch,
    as_lines,
    new_messages,
    served_lists,
)
from trustbridge.trust.events import Line

#: What questions and changes are about, by a sign of it; the others say it themselves.
_KINDS: Final = (
    (r"-trust|trust stores", "trust stores"),
    (r"[Bb]ulk", "bulk commands"),
    (r"DHCP|option 150", "option 150"),
    (r"^reset ", "resets"),
    (r" mode|rollback", "modes"),
)
#: How often RisPort70 is asked before its word counts against the phones' own, of the 15 calls a minute that a cluster
#: answers; and seconds between.
_TRIES, _PAUSE = 2, 1.0


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster and its passwords."""

    entry: ClusterEntry
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Premises:
    """What whoever moves the phones has at hand.

    Attributes:
        source: the phones' cluster, which is also the DHCP server of their subnet.
        sftp: where both publishers exchange, with its password; what lies in its directory is removed.
        state: folder for pins and the record of the exchange.
        phone_port: where phones serve their pages.
        quiet: seconds in which nothing changes on phones' pages: then nothing will any more.
    """

    source: Site
    destination: Site
    sftp: SftpSettings
    state: Path
    phone_port: int = 80
    quiet: float = QUIET


async def rehearse(premises: Premises, power_on: Callable[[], Awaitable[object]], watcher: Watcher) -> Rehearsal:
    """Run the procedure. Every phone of the source is moved, and some go back.

    Args:
        power_on: switches the phones on; when it returns they have come to an end.

    Raises:
        NotNow: something stops the exchange; it is named.
        TrustbridgeError: a step could not be done at all.
    """
    exchange = RehearsedExchange(premises.sftp, premises.state, watcher.note)

    def opened(site: Site) -> AbstractAsyncContextManager[Cluster]:
        return Cluster.open(site.entry, site.credentials, state=premises.state, on_write=exchange.wrote)

    async with opened(premises.source) as source, opened(premises.destination) as destination:
        phones = [DrivenPhone(phone.name, "Encrypted" in phone.security_profile) async for phone in source.phones()]
        return await _Run(premises, source, destination, phones, power_on, exchange, watcher).run()


class _Run(Procedure[DrivenPhone]):
    def __init__(
        self,
        premises: Premises,
        source: Cluster,
        destination: Cluster,
        phones: Sequence[DrivenPhone],
        power_on: Callable[[], Awaitable[object]],
        exchange: RehearsedExchange,
        watcher: Watcher,
    ) -> None:
        super().__init__(phones, watcher)
        self._premises = premises
        self._source = source
        self._destination = destination
        self._clusters = {source.name: source, destination.name: destination}
        self._power_on = power_on
        self._exchange = exchange
        self._watch = PhoneWatch(premises.phone_port, premises.quiet)
        #: Where phones are registered, as RisPort70 said last, by name.
        self._registered: dict[str, str] = {}
        #: Cluster by what phones call its nodes.
        self._nodes: dict[str, str] = {}
        #: Their pages before the last reset.
        self._before: Mapping[str, PhonePages] = {}
        self._subnet: DhcpSubnet | None = None
        self._proven: Proof | None = None

    # Looking.

    def is_secure(self, phone: DrivenPhone) -> bool:
        return phone.secure

    def about(self, phone: DrivenPhone) -> str:
        pages = self._watch.pages.get(phone.name)
        if pages is None:
            return "its pages can't be read"
        where = self._registered.get(phone.name)
        last = pages.messages[-1].text if pages.messages else "no status message"
        return f"{f'registered at the {where}' if where else 'not registered'}, {last}"

    def registered_at(self, phone: DrivenPhone, cluster: str) -> bool:
        return self._registered.get(phone.name) == self._page_says(phone) == self._named(cluster).name

    async def where(self) -> dict[str, int]:
        await self._whereabouts(self.phones)
        return dict(Counter(self._registered.get(phone.name, "nowhere") for phone in self.phones))

    def said(self, phone: DrivenPhone) -> Sequence[str]:
        new = new_messages(self._before.get(phone.name), self._watch.pages.get(phone.name))
        return [message.text for message in new]

    def kept(self, phone: DrivenPhone) -> object:
        pages = self._watch.pages.get(phone.name)
        if pages is None:
            return object()  # equal to nothing
        network = pages.network
        return network.ctl, network.itl, network.call_managers, network.tvs

    def transcript(self, phone: DrivenPhone) -> Sequence[Line]:
        return as_lines(self._before.get(phone.name), self._watch.pages.get(phone.name))

    async def has_lists_of(self, cluster: str) -> Callable[[DrivenPhone], bool]:
        lists = await served_lists(self._named(cluster))
        return lambda phone: lists.are_on(self._watch.pages.get(phone.name))

    def _named(self, cluster: str) -> Cluster:
        return {SOURCE: self._source, DESTINATION: self._destination}[cluster]

    async def _whereabouts(self, phones: Sequence[DrivenPhone]) -> dict[str, RegistrationInfo]:
        """Ask RisPort70 of both clusters, and keep who is where; gives what was told of phones that are registered."""
        names = [phone.name for phone in phones]
        told = await together(*(cluster.registrations(names) for cluster in self._clusters.values()))
        found: dict[str, RegistrationInfo] = {}
        for name in names:
            self._registered.pop(name, None)
        for cluster, by_name in zip(self._clusters, told, strict=True):
            for name, info in by_name.items():
                # Where it registered last is where it is: who could not sign off stands at two until one runs out.
                if info.status is PhoneStatus.REGISTERED and _since(info) >= _since(found.get(name)):
                    found[name] = info
                    self._registered[name] = cluster
        return found

    async def _settle(self, phones: Sequence[DrivenPhone]) -> None:
        """Wait for phones by their pages, then let RisPort70 say the same."""
        await self._watch.settle(phones, self.watcher.phone)
        for _ in range(_TRIES):
            await self._whereabouts(phones)
            if all(self._page_says(phone) == self._registered.get(phone.name) for phone in phones):
                return
            await asyncio.sleep(_PAUSE)

    def _page_says(self, phone: DrivenPhone) -> str | None:
        pages = self._watch.pages.get(phone.name)
        return None if pages is None else self._nodes.get(pages.network.active.casefold())

    # Doing.

    async def switch_on(self) -> None:
        await self._power_on()
        for name, cluster in self._clusters.items():
            for node in await cluster.nodes():
                words = (node.name, node.address, cluster.host(node))
                self._nodes |= dict.fromkeys((word.casefold() for word in words), name)
        found = await self._whereabouts(self.phones)
        self.phones = [
            replace(phone, address=found[phone.name].address if phone.name in found else "") for phone in self.phones
        ]
        await self._watch.settle(self.phones, lambda: None)  # they have ended already, and are counted
        if found and not self._watch.pages:
            raise Unreachable(
                f"none of {len(found)} registered phones shows its pages (port {self._premises.phone_port})",
                "A rehearsal goes by them: Web Access must be on, and nobody else may listen in their place.",
            )

    async def point_at(self, cluster: str) -> None:
        """At the cluster that is the phones' DHCP server, wherever they are registered."""
        servers = (await served_lists(self._named(cluster))).servers
        if self._subnet is None:
            subnets = await self._source.dhcp_subnets()
            if not subnets:
                raise NotSupported(
                    f"{self._source.name} is no DHCP server: option 150 of its phones can't be changed there"
                )
            self._subnet = subnets[0]
        await self._source.set_tftp_servers(self._subnet, servers)
        self.watcher.note(f"option 150 of subnet {self._subnet.address} names {', '.join(servers)}")

    async def reset(self, phones: Sequence[DrivenPhone]) -> None:
        """Each at the cluster where it is registered now: no other can."""
        self._before = dict(self._watch.pages)
        await self._whereabouts(phones)
        for cluster in self._clusters.values():
            there = [phone.name for phone in phones if self._registered.get(phone.name) == cluster.name]
            if there:
                await cluster.reset_phones(there)
                self.watcher.note(f"{len(there)} phones reset by the {cluster.name}")
        await self._settle(phones)

    async def exchange(self) -> None:
        held, seen = await self._exchange.consolidate_too_early(self._destination)
        self.expect("consolidating is refused after one export", held, seen)
        # The order in which its parts are done: the first consolidates.
        done = await self._exchange.run([self._source, self._destination])
        if done.bundles is not None:
            nodes = {node.name for cluster in self._clusters.values() for node in await cluster.nodes()}
            exported = {(export.name.node, export.name.type) for export in done.bundles.exports}
            self.expect(
                "a bundle for each node and type",
                {node for node, _ in exported} == nodes and {kind for _, kind in exported} == set(done.bulk_types),
                f"{len(done.bundles.exports)} bundles of {len(nodes)} nodes",
            )
            self.expect(
                f"consolidated once, on the {self._source.name}",
                done.bundles.consolidations.keys() == set(done.bulk_types),
                ", ".join(f"{kind}" for kind in done.bundles.consolidations) or "nothing",
            )
        for name in (self._destination.name, self._source.name):
            counts = done.imported[name]
            self.expect(
                f"imported on the {name}",
                len(counts) >= 3 and sum(counts.values()) == done.meant[name],
                ", ".join(f"{count} to {store}" for store, count in sorted(counts.items())) or "nothing",
            )
        if (await self._source.abilities()).restarts_phones_on_import:
            await self.expect_restarted(self._settle(self.phones))

    # Proof.

    async def _proof(self) -> Proof:
        pair = (self._source.name, self._destination.name)
        return prove(await collect(self._clusters, [pair]), datetime.now(UTC))

    async def foresee(self) -> None:
        proof = await self._proof()
        ids = sorted({one.id for one in proof.findings})
        self.expect(
            "a proof says beforehand that they will strand: TB101",
            proof.holds is False and "TB101" in ids,
            f"{proof.title.lower()}; {', '.join(ids) or 'no findings'}",
        )

    async def prove(self) -> None:
        self._proven = await self._proof()
        await super().prove()
        findings = "; ".join(f"{one.id} {one.subject}" for one in self._proven.findings[:3])
        self.expect(
            "nothing else stands against it", self._proven.holds is True, findings or self._proven.title.lower()
        )

    async def vouches(self, asked: str, about: str) -> tuple[bool, str]:
        assert self._proven is not None  # asked by `prove`
        pair = (self._named(asked).name, self._named(about).name)
        direction = next(one for one in self._proven.directions if (one.asking, one.vouched) == pair)
        failing = [cell for cell in direction.cells if cell.verdict is not Verdict.YES]
        seen = f"{failing[0].node}: {failing[0].words[0]}" if failing else f"{len(direction.cells)} answers, all SAST"
        return direction.verdict is Verdict.YES, seen

    def judge_moved(self) -> None:
        def trusting(phone: DrivenPhone) -> bool:
            said = self.said(phone)
            return UPDATED in said and any(text.endswith(SIGNED) for text in said)

        self.expect_all(f"show '{UPDATED}', then a signed configuration", self.phones, trusting)

    async def go_back(self) -> None:
        await super().go_back()
        self.result.ways = self._ways()

    def _ways(self) -> dict[str, dict[str, list[str]]]:
        """Which interface told or did what, cluster by cluster, without the names of single nodes and phones."""
        found: dict[str, dict[str, list[str]]] = {}
        for name, cluster in self._clusters.items():
            by_interface: dict[str, dict[str, None]] = {}
            for question, interface in cluster.ways():
                by_interface.setdefault(interface, {})[_kind_of(question)] = None
            by_interface[Interface.TVS] = {"whom phones may trust": None}
            found[name] = {interface: list(kinds) for interface, kinds in sorted(by_interface.items())}
        found["phones"] = {Interface.PHONE_PAGE: ["trust lists", "status messages", "TFTP servers", "Unified CM"]}
        return found


def _kind_of(question: str) -> str:
    """What a question or a change is about, without the names in it: `identities of src-pub` is `identities`."""
    return next((kind for sign, kind in _KINDS if re.search(sign, question)), question.partition(" of ")[0])


def _since(info: RegistrationInfo | None) -> float:
    return -1.0 if info is None else info.since.timestamp() if info.since is not None else 0.0
