"""The whole procedure in a lab, done and looked at from inside: what a phone's flash holds, and why it decided so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from trustbridge import atomicfile
from trustbridge.clients.ask import ask_tvs
from trustbridge.errors import NothingToConsolidate
from trustbridge.expectations import DESTINATION, SOURCE, Procedure, Rehearsal, Watcher
from trustbridge.lab.lab import Lab
from trustbridge.lab.phone import LabPhone
from trustbridge.lab.profiles import profile
from trustbridge.pki.units import BulkType, Store
from trustbridge.trust.events import Line, Refusal
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

    def registered_at(self, phone: LabPhone, cluster: str) -> bool:
        return self.lab.cluster_of(phone) == cluster

    async def where(self) -> dict[str, int]:
        return dict(Counter(self.lab.cluster_of(phone) or "nowhere" for phone in self.phones))

    def said(self, phone: LabPhone) -> Sequence[str]:
        return [message for _, message in phone.status]

    def kept(self, phone: LabPhone) -> object:
        return phone.flash.checksum()

    def transcript(self, phone: LabPhone) -> Sequence[Line]:
        return list(phone.transcript)

    async def has_lists_of(self, cluster: str) -> Callable[[LabPhone], bool]:
        held = self.lab.cluster(cluster)
        folders = [held.tftp_folder(node.name) for node in held.definition.nodes if node.tftp]
        itls = {(folder / "ITLFile.tlv").read_bytes() for folder in folders}
        ctls = {(folder / "CTLFile.tlv").read_bytes() for folder in folders} if held.mixed_mode else {None}

        def holds(phone: LabPhone) -> bool:
            flash = phone.flash.read()
            return flash.itl in itls and flash.ctl in ctls

        return holds

    async def switch_on(self) -> None:
        self.lab.point_at(SOURCE)
        await self._boot(self.phones)

    async def point_at(self, cluster: str) -> None:
        servers = self.lab.point_at(cluster)
        self.watcher.note(f"option 150 names {', '.join(servers)}")

    async def reset(self, phones: Sequence[LabPhone]) -> None:
        self.watcher.note(f"{len(phones)} phones reset")
        await self._boot(phones)

    async def _boot(self, phones: Iterable[LabPhone]) -> None:
        await self.lab.boot(phones, lambda _: self.watcher.phone())

    def judge_stranded(self, group: Sequence[LabPhone]) -> None:
        self.expect_all(
            "strand: the source's TVS does not know the signer",
            group,
            lambda phone: phone.outcome is not None and phone.outcome.refusal is Refusal.NOT_VOUCHED,
        )

    def judge_moved(self) -> None:
        self.expect_all("after asking a TVS of the source", self.phones, self._asked_source)

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
            await self.expect_restarted(self.lab.fleet.settled())

    async def vouches(self, asked: str, about: str) -> tuple[bool, str]:
        """Ask each TVS, over the wire, about the signer of each trust list that the other cluster serves now."""
        asking, vouched = self.lab.cluster(asked), self.lab.cluster(about)
        answers: list[tuple[str, bool]] = []
        for node in vouched.definition.nodes:
            for path in sorted(vouched.tftp_folder(node.name).glob("?TLFile.tlv")):
                header = trustlist.decode(path.read_bytes()).header
                for server in asking.definition.nodes:
                    address = asking.definition.address(server.name)
                    request = query_request(1001, "TRUSTBRIDGE", header.signer_name, header.ca_name, header.serial)
                    reply = await ask_tvs(address, self.lab.ports.tvs, request, timeout=5.0, check_certificate=None)
                    answers.append(
                        (
                            f"{server.name} does not vouch for {header.signer_name}",
                            reply.response.valid and Role.SAST in reply.response.roles,
                        )
                    )
        failing = [text for text, good in answers if not good]
        return bool(answers) and not failing, failing[0] if failing else f"{len(answers)} answers, all SAST"

    def _asked_source(self, phone: LabPhone) -> bool:
        addresses = [self.source.definition.address(node.name) for node in self.source.definition.nodes]
        return any(
            line.ok and f"TVS {address}" in line.text and "vouches" in line.text
            for line in phone.transcript
            for address in addresses
        )
