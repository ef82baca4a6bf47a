"""The whole procedure in a lab, done and looked at from inside: what a phone's flash holds, and why it decided so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from trustbridge import atomicfile
from trustbridge.clients.ask import ask_tvs
from trustbridge.errors import NothingToConsolidate
from trustbridge.expectations import DESTINATION, SOURCE, Procedure, Rehearsal, Watcher
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.lab import Lab
from trustbridge.lab.phone import LabPhone
from trustbridge.lab.profiles import profile
from trustbridge.lab.profiles import profile
from trustbridge.pki.units import BulkType, Store
from trustbridge.trust.events import Refusal
from trustbridge.wire import trustlist
from trustbridge.wire.trustlist import Role
from trustbridge.wire.tvs import query_request

ALL = tuple(BulkType)


async def rehearse(lab: Lab, watcher: Watcher) -> Rehearsal:
    """Run the procedure in a lab that is started and has clusters `source` and `destination`.

    Raises:
        TrustbridgeError: a step could not be done at all.
    """
    with atomicfile.in_words(f"the lab's folder {lab.folder} can't be used"):
        return await _Run(lab, watcher).run()


class _Run(Procedure[LabPhone]):
    def __init__(self, lab: Lab, watcher: Watcher) -> None:
        super().__init__(list(lab.fleet.phones.values()), watcher)
        self.lab = lab
        self.source = lab.cluster(SOURCE)
        self.destination = lab.cluster(DESTINATION)

    def is_secure(self, phone: LabPhone) -> bool:
        return phone.registered_with is not None and phone.registered_with.secure

    def about(self, phone: LabPhone) -> str:
        reason = phone.outcome.reason if phone.outcome is not None else ""
        return f"{phone.standing}{', ' + reason if reason else ''}"

    def where(self) -> dict[str, int]:
        return dict(Counter(self.lab.cluster_of(phone) or "nowhere" for phone in self.phones))

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

    async def start(self) -> None:
        self.lab.point_at(SOURCE)
        await self._boot(self.phones)
        self.result.secure = sum(map(self.is_secure, self.phones))
        self.expect_all("registered at the source", self.phones, self._registered_at(self.source))
        self.expect_all("with the source's trust lists", self.phones, self._has_lists_of(self.source))

    async def strand(self) -> None:
        group = self.control_group()
        before = {phone.name: phone.flash.checksum() for phone in group}
        servers = self.lab.point_at(DESTINATION)
        self.watcher.note(f"option 150 names {', '.join(servers)}; {len(group)} phones reset")
        await self._boot(group)
        self.expect_all("strand: the source's TVS does not know the signer", group, _strands)
        self.expect_all("show 'Trust List Update Failed'", group, _shows_failure)
        self.expect_all("are still registered at the source", group, self._registered_at(self.source))
        self.expect_all(
            "have lost nothing: flash as before", group, lambda phone: phone.flash.checksum() == before[phone.name]
        )
        if group:
            self.result.stranded = list(group[0].transcript)
        self.lab.point_at(SOURCE)
        self.watcher.note("option 150 names the source again")

    async def exchange(self) -> None:
        for cluster in (self.destination, self.source):
            cluster.configure_sftp(self.lab.sftp_settings())
        self.watcher.note(f"SFTP server on both publishers: {self.lab.sftp_settings().describe()}")
        await self.destination.export(ALL)
        try:
            await self.destination.consolidate(ALL)
            refusal = ""
        except NothingToConsolidate as error:
            refusal = error.message
        self.expect("consolidating is refused after one export", bool(refusal), refusal or "it was not refused")
        exported = await self.source.export(ALL)
        there = await self.source.list_exchange()
        nodes = sum(len(cluster.definition.nodes) for cluster in self.lab.clusters.values())
        self.expect(
            "a bundle for each node and type",
            {export.name.node for export in there.exports}
            == {node.name for cluster in self.lab.clusters.values() for node in cluster.definition.nodes}
            and bool(exported),
            f"{len(there.exports)} bundles of {nodes} nodes",
        )
        consolidated = await self.source.consolidate(ALL)
        self.expect(
            "consolidated once, on the source",
            {bundle.type for bundle in consolidated} == set(ALL),
            ", ".join(f"{bundle.type} {bundle.certificates}" for bundle in consolidated),
        )
        for cluster in (self.destination, self.source):
            imported = await cluster.import_(ALL)
            counts = Counter(str(item.store) for item in imported if item.result.changed)
            text = ", ".join(f"{count} to {store}" for store, count in sorted(counts.items()))
            self.expect(
                f"imported on the {cluster.name}",
                all(item.result.changed for item in imported) and len(counts) == 3,
                text or "nothing",
            )
        if self.source.mixed_mode and self.destination.mixed_mode:
            # The bulk import takes CAPF to CallManager-trust alone; secure phones need it in CAPF-trust too (TB152).
            self.destination.upload_trust(Store.CAPF_TRUST, self.source.capf.certificate)
            self.source.upload_trust(Store.CAPF_TRUST, self.destination.capf.certificate)
            self.watcher.note("each CAPF certificate uploaded to the other's CAPF-trust, on every node")
        if profile(self.source.definition.release).restarts_phones_on_import:
            self.watcher.note(RESTARTED_NOTE)
            await self.lab.fleet.settled()
            self.expect_all(RESTARTED, self.phones, self._registered_at(self.source))
        if profile(self.source.definition.release).restarts_phones_on_import:
            self.watcher.note("the import restarts the source's phones (TB145): they are waited for")
            await self.lab.fleet.settled()

    async def prove(self) -> None:
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
        self.expect(what, bool(answers) and not failing, failing[0] if failing else f"{len(answers)} answers, all SAST")

    async def move(self) -> None:
        servers = self.lab.point_at(DESTINATION)
        self.watcher.note(f"option 150 names {', '.join(servers)}; all phones reset")
        await self._boot(self.phones)
        self.expect_all("registered at the destination", self.phones, self._registered_at(self.destination))
        self.expect_all("with the destination's trust lists", self.phones, self._has_lists_of(self.destination))
        self.expect_all("after asking a TVS of the source", self.phones, self._asked_source)
        if self.phones:
            self.result.moved = list(self.phones[0].transcript)

    def _asked_source(self, phone: LabPhone) -> bool:
        addresses = [self.source.definition.address(node.name) for node in self.source.definition.nodes]
        return any(
            line.ok and f"TVS {address}" in line.text and "vouches" in line.text
            for line in phone.transcript
            for address in addresses
        )

    async def go_back(self) -> None:
        wave = self.wave()
        servers = self.lab.point_at(SOURCE)
        self.watcher.note(f"option 150 names {', '.join(servers)}; {len(wave)} phones reset")
        await self._boot(wave)
        self.expect_all("the wave is registered at the source again", wave, self._registered_at(self.source))
        self.expect_all("with the source's trust lists", wave, self._has_lists_of(self.source))
        self.expect_all("the others stay at the destination", self.rest(), self._registered_at(self.destination))


def _strands(phone: LabPhone) -> bool:
    return phone.outcome is not None and phone.outcome.refusal is Refusal.NOT_VOUCHED


def _shows_failure(phone: LabPhone) -> bool:
    return any(message == "Trust List Update Failed" for _, message in phone.status)
