"""Looks at one phone from everywhere: both clusters, the phone's page, the campaigns that have it. Changes nothing.

    seen = await collect_diagnosis("SEP001B0C000001", clusters, now=now)

Whatever can't be had is a `NotSeen`, with what would have to be opened, and the rest goes on. Only where no cluster
answers at all is there nothing to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar

import httpx

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import PhoneInfo
from trustbridge.cucm.phoneweb import PhonePages, read_phone
from trustbridge.errors import NotSupported, TrustbridgeError
from trustbridge.eventloop import together
from trustbridge.migration.diagnoseaccess import know_release, tolerant
from trustbridge.migration.diagnosefiles import FILES, as_observed, with_files
from trustbridge.migration.diagnoseseen import (
    CampaignSeen,
    ClusterView,
    MoveSeen,
    NotSeen,
    PhoneSeen,
)
from trustbridge.migration.diagnosevalues import fit_to_be_shown
from trustbridge.migration.phonecollect import PAGE_PORT, model_named_by
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predictcollect import collect_rest
from trustbridge.migration.predictvalues import NO_DEVICE, NOT_SEEN
from trustbridge.migration.proofcollect import TVS_PATIENCE, ask_one, collect
from trustbridge.migration.proofseen import Answer, ClusterSeen, Observations
from trustbridge.migration.proofvalues import Proof
from trustbridge.pki.units import Store
from trustbridge.storage.models import Direction
from trustbridge.trust.configuration import SECURITY_AUTHENTICATED

T = TypeVar("T")
#: Told (what, done, total).
Progress = Callable[[str, int, int], None]

#: Sessions of questions of our own, apart from those of a proof.
_FIRST_SESSION: Final = 3000
_WEB_ACCESS: Final = (
    "Switch Web Access on (the device's own settings, or its Common Phone Profile) and reset the phone, which then "
    "goes where option 150 names: see first that this is where it is. Or read its trust lists at the phone itself."
)


def _quiet(what: str, done: int, total: int) -> None:
    pass


async def collect_diagnosis(
    phone: str,
    clusters: Mapping[str, Cluster],
    *,
    now: datetime,
    pair: tuple[str, str] | None = None,
    campaigns: Sequence[CampaignSeen] = (),
    servers: Sequence[str] = (),
    known_lists: Iterable[bytes] = (),
    auto_registration: bool | None = None,
    progress: Progress = _quiet,
    page_port: int = PAGE_PORT,
    patience: float = TVS_PATIENCE,
) -> PhoneSeen:
    """Everything `diagnose.diagnose` judges.

    Args:
        phone: `SEP` and the MAC address, in capitals.
        clusters: open, by name.
        now: with a time zone.
        pair: source and destination of the move that is meant. None: those of the campaign that counts, the way the
            phone goes in it; without one, both ways between two clusters, and none between more.
        campaigns: that have the phone, the one that counts first.
        servers, known_lists, auto_registration: as for `predictcollect.collect_prediction`; no servers: those that the
            phone itself was given, where they are the destination's.
        page_port: of the phones' web servers.
        patience: seconds for one question to a TVS, one file, or one page.

    Raises:
        TrustbridgeError: no cluster answers at all; what the first one's trouble was.
    """
    look = _Look(phone, clusters, Patience(connect=min(5.0, patience), answer=patience), patience, progress)
    await look.registrations()
    look.give_up_if_nobody_answered()
    await look.page(page_port)
    await together(*(look.files(name) for name in clusters))
    moves = [pair] if pair is not None else _moves(look, campaigns)
    seen = [await look.move(one, now, servers, tuple(known_lists), auto_registration) for one in moves]
    return PhoneSeen(
        phone,
        dict(look.views),
        look.address,
        look.pages,
        look.page_closed,
        tuple(seen),
        tuple(campaigns),
        tuple(dict.fromkeys(look.not_seen)),
    )


def _moves(look: _Look, campaigns: Sequence[CampaignSeen]) -> list[tuple[str, str]]:
    names = list(look.views)
    for one in campaigns[:1]:
        way = (one.campaign.source, one.campaign.destination)
        if set(way) <= set(names):
            return [way if one.phone.direction is Direction.FORTH else way[::-1]]
    if len(names) != 2:
        return []
    home = look.home()
    first, second = names if home != names[1] else names[::-1]
    return [(first, second), (second, first)]


class _Look:
    """One look at one phone."""

    def __init__(
        self, phone: str, clusters: Mapping[str, Cluster], wait: Patience, patience: float, progress: Progress
    ) -> None:
        self._phone = phone
        self._clusters = clusters
        self._wait = wait
        self._patience = patience
        self._progress = progress
        self._observed: dict[frozenset[str], Observations | None] = {}
        self._first_error: TrustbridgeError | None = None
        self.views = {name: ClusterView(name) for name in clusters}
        self.address = ""
        self.pages: PhonePages | None = None
        self.page_closed = False
        self.not_seen: list[NotSeen] = []

    def _seen(self) -> PhoneSeen:
        return PhoneSeen(self._phone, self.views)

    def home(self) -> str:
        """The cluster that serves the phone; "" for none."""
        return self._seen().home

    async def _tried(self, where: str, what: str, ask: Awaitable[T], *, decides: bool = False) -> tuple[bool, T | None]:
        """Whether there was an answer, and the answer."""
        self._progress(f"{where}: {what}", 0, 1)
        try:
            return True, await ask
        except TrustbridgeError as error:
            self._first_error = self._first_error or error
            self.not_seen.append(NotSeen(where, what, error.message, error.hint, decides))
            return False, None

    # What clusters know of it.

    async def registrations(self) -> None:
        """RisPort70, database and nodes of every cluster."""
        await together(*(self._known_to(name) for name in self._clusters))
        if not self.home():
            await together(*(self._remembered_by(name) for name, view in self.views.items() if view.told))

    async def _known_to(self, name: str) -> None:
        """One after the other: a password that is refused is tried once."""
        cluster = self._clusters[name]
        heard, found = await self._tried(
            name, "where it is registered", cluster.registrations([self._phone]), decides=True
        )
        registration = (found or {}).get(self._phone)
        if silent := cluster.unheard() if heard else frozenset():
            heard = False
            why = f"RisPort70 has no answer of {', '.join(sorted(silent))}"
            opening = "Bring these nodes up, or see that Cisco CallManager and the RIS Data Collector run on them."
            what = "whether it is registered there, too"
            self.not_seen.append(NotSeen(name, what, why, opening, decides=registration is None))
        told, device = await self._tried(name, "the device in its database", self._device(cluster), decides=True)
        await self._tried(name, "its release", know_release(cluster))
        _, nodes = await self._tried(name, "its nodes", cluster.nodes(), decides=True)
        self.views[name] = replace(
            self.views[name],
            heard=heard,
            registration=registration,
            told=told,
            device=device,
            nodes=nodes or (),
            addresses=frozenset(
                word.casefold() for node in nodes or () for word in (node.name, node.address, cluster.host(node))
            )
            | {cluster.entry.publisher.casefold()},
        )

    async def _device(self, cluster: Cluster) -> PhoneInfo | None:
        return next((one for one in [one async for one in cluster.phones(self._phone)]), None)

    async def _remembered_by(self, name: str) -> None:
        """Only of a phone that nobody has now: for one that somebody has, it tells nothing new."""
        _, found = await self._tried(name, "where it was registered last", self._clusters[name].last_seen(self._phone))
        self.views[name] = replace(self.views[name], remembered=found)

    def give_up_if_nobody_answered(self) -> None:
        """Raises what the first trouble was."""
        if self._first_error is not None and not any(view.answered for view in self.views.values()):
            error = self._first_error
            raise type(error)(f"no cluster answers: {error.message}", error.hint)

    # Its page.

    async def page(self, port: int) -> None:
        """The phone's own pages, at the address where it was heard of."""
        home = self.home()
        views = [self.views[home]] if home else list(self.views.values())
        addresses = [view.registration.address for view in views if view.registration is not None]
        addresses += [view.remembered.address for view in views if view.remembered is not None]
        self.address = next((one for one in addresses if one), "")
        where, what = f"phone page {self.address}".rstrip(), "its trust lists, TFTP servers and status messages"
        if not self.address:
            why = "no address of it is known"
            opening = "Find it by its MAC address, at the switch or in the leases of the DHCP server."
            self.not_seen.append(NotSeen(where, what, why, opening, decides=True))
            return
        self._progress(where, 0, 1)
        try:
            found = await read_phone(self.address, port=port, patience=self._wait)
        except TrustbridgeError as error:
            # Who refuses the connection, or shows nothing, is there.
            self.page_closed = isinstance(error, NotSupported) or (
                isinstance(error.__cause__, httpx.ConnectError)
                and not isinstance(error.__cause__, httpx.TimeoutException)
            )
            opening = _WEB_ACCESS if self.page_closed else error.hint
            self.not_seen.append(NotSeen(where, what, error.message, opening, decides=True))
            return
        if found.name and found.name != self._phone:
            why = f"another phone answers there by now, {found.name}"
            self.not_seen.append(NotSeen(where, what, why, "Reset the phone, and look again.", decides=True))
            return
        self.pages = found = fit_to_be_shown(found)
        for page in found.missing:
            self.not_seen.append(NotSeen(where, "one of its pages", page))

    # Files.

    async def files(self, name: str) -> None:
        """What a cluster's TFTP nodes serve the phone."""
        self._progress(f"{name}: files", 0, 1)
        self.views[name] = await with_files(
            self._clusters[name], self.views[name], self._phone, self._wait, self.not_seen.append
        )

    # The move.

    async def move(
        self,
        pair: tuple[str, str],
        now: datetime,
        servers: Sequence[str],
        known_lists: tuple[bytes, ...],
        auto_registration: bool | None,
    ) -> MoveSeen:
        """What is known of one move."""
        source, destination = pair
        here, there = self.views[source], self.views[destination]
        facts = self._facts(here)
        arrival = NOT_SEEN if there.waits is None else 0 if there.waits else NO_DEVICE
        bare = MoveSeen(source, destination, facts, arrival)
        observed = await self._observations(pair, facts)
        if observed is None:
            return bare
        observed = replace(observed, pairs=(pair,))  # what goes forth the one way, goes back the other
        for name in pair:
            self.views[name] = as_observed(self.views[name], observed.clusters[name])
            # Where it is known by now that Cisco Tftp does not run, nothing is missing.
            idle = {f"{name}/{node.name}" for node in observed.clusters[name].nodes if node.files == ()}
            self.not_seen = [one for one in self.not_seen if one.what != FILES or one.where not in idle]
        given = self.pages.network.tftp_servers if self.pages is not None else ()
        if not servers and given and all(one.casefold() in there.addresses for one in given):
            servers = given
        _, rest = await self._tried(
            destination,
            "what would answer the phone on its way",
            collect_rest(
                tolerant(self._clusters[source]),
                tolerant(self._clusters[destination]),
                observed,
                [facts],
                ([] if there.device is None else [there.device]) if there.told else None,
                now=now,
                servers=servers,
                known_lists=known_lists,
                auto_registration=auto_registration,
                progress=self._progress,
                patience=self._patience,
            ),
            decides=True,
        )
        own = await self._own_signers(observed.clusters[source], facts)
        clusters = tuple(observed.clusters[name] for name in pair)
        proof: Proof | None = None
        if rest is not None:
            proof = rest.proof
            # What CAPF-trust holds was left out where the phone is not secure: it decides nothing for it.
            secure = _perhaps_secure(facts)
            self.not_seen += [
                NotSeen(gap.where, gap.what, gap.why, "", gap.essential)
                for gap in rest.gaps
                if secure or str(Store.CAPF_TRUST) not in gap.what
            ]
            (arrival,) = [one.arrival for one in rest.estate.classes]
        world = None if rest is None else rest.world
        answers = (*observed.answers, *own)
        return MoveSeen(source, destination, facts, arrival, world, proof, clusters, answers)

    async def _observations(self, pair: tuple[str, str], facts: PhoneFacts) -> Observations | None:
        """Of both ways, once."""
        both = frozenset(pair)
        if not all(self.views[name].nodes for name in pair):
            return None  # told already
        if both not in self._observed:
            clusters = {name: tolerant(self._clusters[name]) for name in pair}
            deep = _perhaps_secure(facts)
            _, self._observed[both] = await self._tried(
                " and ".join(pair),
                "what their TVS say of each other's signers",
                collect(clusters, [pair], deep=deep, progress=self._progress, patience=self._patience),
                decides=True,
            )
        return self._observed[both]

    async def _own_signers(self, source: ClusterSeen, facts: PhoneFacts) -> list[Answer]:
        """Each TVS of the phone about who signs its own cluster's files."""
        nodes = [name for name in facts.group or source.asked if name in source.asked]
        questions = [(name, signer) for name in nodes for signer in source.signers()]
        port = self._clusters[source.name].entry.tvs_port
        return await together(
            *(
                ask_one(
                    source.name,
                    source.node(name),
                    port,
                    signer,
                    session=_FIRST_SESSION + number,
                    patience=self._patience,
                )
                for number, (name, signer) in enumerate(questions)
            )
        )

    def _facts(self, source: ClusterView) -> PhoneFacts:
        """The phone as a prediction takes it: what it says itself counts before what its cluster would give it now."""
        at = self.views.get(self.home(), source)
        device = source.device or at.device or next((one.device for one in self.views.values() if one.device), None)
        network = None if self.pages is None else self.pages.network
        configuration = at.configuration
        model = self.pages.model if device is None and self.pages is not None else ""
        missing = []
        if configuration is None:
            missing.append(f"Unified CM group and security mode: {at.name} gave no configuration file that can be read")
        if network is None:
            missing.append("trust lists it holds: its page was not read")
        return PhoneFacts(
            self._phone,
            model or model_named_by(device.model if device is not None else ""),
            "" if device is None else device.device_pool,
            "" if device is None else device.description,
            group=self._group(at),
            security_mode=None if configuration is None else configuration.security_mode,
            status=None if at.registration is None else at.registration.status,
            address=self.address,
            itl=None if network is None else network.itl,
            ctl=None if network is None else network.ctl,
            alternate_tftp=None if network is None else network.alternate_tftp,
            tftp_servers=() if network is None else network.tftp_servers,
            missing=tuple(missing),
        )

    def _group(self, at: ClusterView) -> tuple[str, ...] | None:
        """Nodes of its Unified CM group, first choice first: as its page has them, else its configuration file."""
        known = {node.name for node in at.nodes}
        if self.pages is not None:
            # Pages list more than nodes, such as a gateway for when none is reached (SRST).
            shown = [at.node_named(word) for word in self.pages.network.call_managers]
            if found := tuple(dict.fromkeys(name for name in shown if name in known)):
                return found
        if at.configuration is None:
            return None
        return tuple(at.node_named(member.name) for member in at.configuration.call_managers)


def _perhaps_secure(facts: PhoneFacts) -> bool:
    """Whether more than TVS' answers may count: secure phones need what CAPF-trust holds."""
    return facts.security_mode is None or facts.security_mode >= SECURITY_AUTHENTICATED
