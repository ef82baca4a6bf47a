"""The whole procedure in a lab, with what must hold after each step: first without the exchange, then with it.

The steps are the seed's: control group, export, export, consolidate, import, import, option 150, reset; then one wave
goes back.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trustbridge import atomicfile
from trustbridge.clients.ask import ask_tvs
from trustbridge.errors import NothingToConsolidate
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.lab import Lab
from trustbridge.lab.phone import LabPhone
from trustbridge.pki.units import BulkType, Store
from trustbridge.trust.events import Line, Refusal
from trustbridge.wire import trustlist
from trustbridge.wire.trustlist import Role
from trustbridge.wire.tvs import query_request

SOURCE, DESTINATION = "source", "destination"
ALL = tuple(BulkType)
#: Phones that are pointed at the destination before anything was exchanged, at the most.
CONTROL_GROUP = 5


@dataclass(frozen=True, slots=True)
class Expectation:
    """Something that had to hold, and whether it did."""

    step: str
    what: str
    held: bool
    seen: str


class Watcher(Protocol):
    """Who looks on."""

    def step(self, title: str, phones: int) -> None:
        """A step begins; `phones` will come to an end in it."""

    def note(self, text: str) -> None:
        """Something was done."""

    def phone(self) -> None:
        """A phone has come to its end."""

    def expectation(self, expectation: Expectation) -> None:
        """Something was checked."""


@dataclass(slots=True)
class Rehearsal:
    """What came of it."""

    expectations: list[Expectation] = field(default_factory=list)
    phones: int = 0
    secure: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    stranded: list[Line] = field(default_factory=list)
    moved: list[Line] = field(default_factory=list)
    at_the_end: dict[str, int] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether every expectation held."""
        return bool(self.expectations) and all(expectation.held for expectation in self.expectations)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "ok": self.held,
            "phones": self.phones,
            "secure": self.secure,
            "registered": self.at_the_end,
            "seconds": {step: round(seconds, 2) for step, seconds in self.seconds.items()},
            "expectations": [
                {"step": item.step, "what": item.what, "held": item.held, "seen": item.seen}
                for item in self.expectations
            ],
            "one_stranded_phone": [line.text for line in self.stranded],
            "one_moved_phone": [line.text for line in self.moved],
        }


async def rehearse(lab: Lab, watcher: Watcher) -> Rehearsal:
    """Run the procedure in a lab that is started and has clusters `source` and `destination`.

    Raises:
        TrustbridgeError: a step could not be done at all.
    """
    with atomicfile.in_words(f"the lab's folder {lab.folder} can't be used"):
        return await _Run(lab, watcher).run()


class _Run:
    def __init__(self, lab: Lab, watcher: Watcher) -> None:
        self.lab = lab
        self.watcher = watcher
        self.result = Rehearsal()
        self.source = lab.cluster(SOURCE)
        self.destination = lab.cluster(DESTINATION)
        self.phones = list(lab.fleet.phones.values())
        self._step = ""

    async def run(self) -> Rehearsal:
        result = self.result
        result.phones = len(self.phones)
        for title, step, phones in (
            ("Phones start at the source", self._start, len(self.phones)),
            ("A control group, without any exchange", self._control_group, min(CONTROL_GROUP, len(self.phones))),
            ("Exchange of certificates", self._exchange, 0),
            ("Proof, before a phone is touched", self._prove, 0),
            ("Option 150 and reset: phones move", self._move, len(self.phones)),
            ("One wave goes back", self._go_back, len(self._wave())),
        ):
            self._step = title
            self.watcher.step(title, phones)
            began = time.monotonic()
            await step()
            result.seconds[title] = time.monotonic() - began
        result.at_the_end = self._where(self.phones)
        return result

    def _expect(self, what: str, held: bool, seen: str) -> None:
        expectation = Expectation(self._step, what, held, seen)
        self.result.expectations.append(expectation)
        self.watcher.expectation(expectation)

    def _expect_all(self, what: str, phones: Sequence[LabPhone], holds: Callable[[LabPhone], bool]) -> None:
        failing = [phone for phone in phones if not holds(phone)]
        seen = f"{len(phones) - len(failing)} of {len(phones)} phones"
        if failing:
            first = failing[0]
            reason = first.outcome.reason if first.outcome is not None else ""
            seen += f"; not {first.name}: {first.standing}{', ' + reason if reason else ''}"
        self._expect(what, not failing, seen)

    def _where(self, phones: Iterable[LabPhone]) -> dict[str, int]:
        return dict(Counter(self.lab.cluster_of(phone) or "nowhere" for phone in phones))

    async def _boot(self, phones: Iterable[LabPhone]) -> None:
        await self.lab.boot(phones, lambda _: self.watcher.phone())

    def _registered_at(self, cluster: Cluster) -> Callable[[LabPhone], bool]:
        return lambda phone: self.lab.cluster_of(phone) == cluster.name

    def _has_lists_of(self, cluster: Cluster) -> Callable[[LabPhone], bool]:
        """That a phone's trust lists are, byte for byte, files of this cluster's TFTP nodes."""
        folders = [cluster.tftp_folder(node.name) for node in cluster.definition.nodes if node.tftp]
        itls = {(folder / "ITLFile.tlv").read_bytes() for folder in folders}
        ctls = {(folder / "CTLFile.tlv").read_bytes() for folder in folders} if cluster.mixed_mode else {None}

        def holds(phone: LabPhone) -> bool:
            flash = phone.flash.read()
            return flash.itl in itls and flash.ctl in ctls

        return holds

    async def _start(self) -> None:
        self.lab.point_at(SOURCE)
        await self._boot(self.phones)
        self.result.secure = sum(
            phone.registered_with is not None and phone.registered_with.secure for phone in self.phones
        )
        self._expect_all("registered at the source", self.phones, self._registered_at(self.source))
        self._expect_all("with the source's trust lists", self.phones, self._has_lists_of(self.source))

    async def _control_group(self) -> None:
        # Both kinds of phones, where there are both.
        secure = [phone for phone in self.phones if phone.registered_with and phone.registered_with.secure]
        others = [phone for phone in self.phones if phone not in secure]
        group = [*others[: CONTROL_GROUP - min(2, len(secure))], *secure][:CONTROL_GROUP]
        before = {phone.name: phone.flash.checksum() for phone in group}
        servers = self.lab.point_at(DESTINATION)
        self.watcher.note(f"option 150 names {', '.join(servers)}; {len(group)} phones reset")
        await self._boot(group)
        self._expect_all("strand: the source's TVS does not know the signer", group, _strands)
        self._expect_all("show 'Trust List Update Failed'", group, _shows_failure)
        self._expect_all("are still registered at the source", group, self._registered_at(self.source))
        self._expect_all(
            "have lost nothing: flash as before", group, lambda phone: phone.flash.checksum() == before[phone.name]
        )
        if group:
            self.result.stranded = list(group[0].transcript)
        self.lab.point_at(SOURCE)
        self.watcher.note("option 150 names the source again")

    async def _exchange(self) -> None:
        for cluster in (self.destination, self.source):
            cluster.configure_sftp(self.lab.sftp_settings())
        self.watcher.note(f"SFTP server on both publishers: {self.lab.sftp_settings().describe()}")
        await self.destination.export(ALL)
        try:
            await self.destination.consolidate(ALL)
            refusal = ""
        except NothingToConsolidate as error:
            refusal = error.message
        self._expect("consolidating is refused after one export", bool(refusal), refusal or "it was not refused")
        exported = await self.source.export(ALL)
        there = await self.source.list_exchange()
        nodes = sum(len(cluster.definition.nodes) for cluster in self.lab.clusters.values())
        self._expect(
            "a bundle for each node and type",
            {export.name.node for export in there.exports}
            == {node.name for cluster in self.lab.clusters.values() for node in cluster.definition.nodes}
            and bool(exported),
            f"{len(there.exports)} bundles of {nodes} nodes",
        )
        consolidated = await self.source.consolidate(ALL)
        self._expect(
            "consolidated once, on the source",
            {bundle.type for bundle in consolidated} == set(ALL),
            ", ".join(f"{bundle.type} {bundle.certificates}" for bundle in consolidated),
        )
        for cluster in (self.destination, self.source):
            imported = await cluster.import_(ALL)
            counts = Counter(str(item.store) for item in imported if item.result.changed)
            text = ", ".join(f"{count} to {store}" for store, count in sorted(counts.items()))
            self._expect(
                f"imported on the {cluster.name}",
                all(item.result.changed for item in imported) and len(counts) == 3,
                text or "nothing",
            )
        if self.source.mixed_mode and self.destination.mixed_mode:
            # The bulk import takes CAPF to CallManager-trust alone; secure phones need it in CAPF-trust too (TB152).
            self.destination.upload_trust(Store.CAPF_TRUST, self.source.capf.certificate)
            self.source.upload_trust(Store.CAPF_TRUST, self.destination.capf.certificate)
            self.watcher.note("each CAPF certificate uploaded to the other's CAPF-trust, on every node")

    async def _prove(self) -> None:
        await self._vouches(self.source, self.destination, "every TVS of the source vouches for the destination")
        await self._vouches(self.destination, self.source, "and the other way, so that going back will work")

    async def _vouches(self, asked: Cluster, about: Cluster, what: str) -> None:
        """Ask each TVS, over the wire, about the signer of each trust list that the other cluster serves now."""
        answers: list[tuple[str, bool]] = []
        for node in about.definition.nodes:
            for path in sorted(about.tftp_folder(node.name).glob("?TLFile.tlv")):
                header = trustlist.decode(path.read_bytes()).header
                for server in asked.definition.nodes:
                    address = asked.definition.address(server.name)
                    request = query_request(1001, "TRUSTBRIDGE", header.signer_name, header.ca_name, header.serial)
                    reply = await ask_tvs(address, self.lab.ports.tvs, request, timeout=5.0, check_certificate=None)
                    answers.append(
                        (
                            f"{server.name} does not vouch for {header.signer_name}",
                            reply.response.valid and Role.SAST in reply.response.roles,
                        )
                    )
        failing = [text for text, good in answers if not good]
        self._expect(
            what, bool(answers) and not failing, failing[0] if failing else f"{len(answers)} answers, all SAST"
        )

    async def _move(self) -> None:
        servers = self.lab.point_at(DESTINATION)
        self.watcher.note(f"option 150 names {', '.join(servers)}; all phones reset")
        await self._boot(self.phones)
        self._expect_all("registered at the destination", self.phones, self._registered_at(self.destination))
        self._expect_all("with the destination's trust lists", self.phones, self._has_lists_of(self.destination))
        self._expect_all("after asking a TVS of the source", self.phones, self._asked_source)
        if self.phones:
            self.result.moved = list(self.phones[0].transcript)

    def _asked_source(self, phone: LabPhone) -> bool:
        addresses = [self.source.definition.address(node.name) for node in self.source.definition.nodes]
        return any(
            line.ok and f"TVS {address}" in line.text and "vouches" in line.text
            for line in phone.transcript
            for address in addresses
        )

    def _wave(self) -> list[LabPhone]:
        """The phones that go back: every fifth."""
        return self.phones[::5]

    async def _go_back(self) -> None:
        wave = self._wave()
        rest = [phone for phone in self.phones if phone not in wave]
        servers = self.lab.point_at(SOURCE)
        self.watcher.note(f"option 150 names {', '.join(servers)}; {len(wave)} phones reset")
        await self._boot(wave)
        self._expect_all("the wave is registered at the source again", wave, self._registered_at(self.source))
        self._expect_all("with the source's trust lists", wave, self._has_lists_of(self.source))
        self._expect_all("the others stay at the destination", rest, self._registered_at(self.destination))


def _strands(phone: LabPhone) -> bool:
    return phone.outcome is not None and phone.outcome.refusal is Refusal.NOT_VOUCHED


def _shows_failure(phone: LabPhone) -> bool:
    return any(message == "Trust List Update Failed" for _, message in phone.status)
