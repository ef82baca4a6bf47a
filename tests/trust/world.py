"""Two clusters and what stands between them and a phone, in memory: servers' files, TVS, Unified CMs.

`World.boot` runs a phone's procedure to its end against them, as a shell over sockets would: every command carried out,
TVS messages through their codec, Unified CM's certificate shown to the phone. Keys are made once for all tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity, Organisation, node_identities, self_signed
from trustbridge.pki.units import IMPORT_STORES, OWN_STORES, UNITS_OF, BulkType, Store, Unit
from trustbridge.trust import configuration as configurations
from trustbridge.trust import lists
from trustbridge.trust.configuration import CallManagerMember, Configuration, TvsServer
from trustbridge.trust.events import (
    AskTvs,
    Booted,
    Command,
    Downloaded,
    DownloadFailed,
    Event,
    Fetch,
    Flash,
    Install,
    Kept,
    Line,
    Outcome,
    Refusal,
    Register,
    Registered,
    RegistrationFailed,
    ShowStatus,
    Stop,
    TvsAnswered,
    TvsFailed,
)
from trustbridge.trust.lists import NodeCertificates, Signer
from trustbridge.trust.models import MODELS, PhoneModel
from trustbridge.trust.phone import Phone
from trustbridge.trust.vouch import VouchIndex
from trustbridge.wire import signedfile, trustlist, tvs
from trustbridge.wire.signedheader import Digest

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ORGANISATION = Organisation(ou="TAC", o="Cisco", l="Krakow", st="Malopolska", c="PL")
DEVICE = "SEP001122334455"
#: A procedure that takes more steps than this does not end.
MAX_STEPS = 40


@dataclass(frozen=True)
class Cluster:
    """A cluster of nodes, the first of them the publisher; every node runs TFTP and TVS, two are the phones' group."""

    name: str
    identities: dict[str, dict[Unit, Identity]]

    def node(self, index: int) -> str:
        """Its name, which is its address too."""
        return list(self.identities)[index]

    def certificate(self, unit: Unit, index: int = 0) -> Certificate:
        return self.identities[self.node(index)][unit].certificate

    def signer(self, unit: Unit = Unit.ITLRECOVERY, index: int = 0) -> Signer:
        identity = self.identities[self.node(index)][unit]
        return Signer(identity.certificate, identity.private_key)

    @property
    def nodes(self) -> list[NodeCertificates]:
        return [
            NodeCertificates(name, units[Unit.CALLMANAGER].certificate, units[Unit.TVS].certificate, True)
            for name, units in self.identities.items()
        ]

    def itl(
        self,
        index: int = 0,
        *,
        signer: Signer | None = None,
        blank: bool = False,
        digest: Digest = Digest.SHA1,
        nodes: list[NodeCertificates] | None = None,
        now: datetime = NOW,
    ) -> bytes:
        """The ITL of one TFTP node."""
        signer = signer or self.signer()
        entries = lists.itl_entries(
            self.nodes[index],
            nodes or self.nodes,
            publisher=self.node(0),
            signer=signer.certificate,
            itl_recovery=self.certificate(Unit.ITLRECOVERY),
            capf=self.certificate(Unit.CAPF),
            blank=blank,
        )
        return trustlist.encode(
            lists.build_trust_list(entries, signer, file_name="ITLFile.tlv", now=now, digest=digest)
        )

    def ctl(self, *, signer: Signer | None = None, digest: Digest = Digest.SHA1, now: datetime = NOW) -> bytes:
        """The cluster's CTL, in mixed mode."""
        entries = lists.ctl_entries(
            self.nodes,
            publisher=self.node(0),
            itl_recovery=self.certificate(Unit.ITLRECOVERY),
            capf=self.certificate(Unit.CAPF),
        )
        signer = signer or self.signer()
        return trustlist.encode(
            lists.build_trust_list(entries, signer, file_name="CTLFile.tlv", now=now, digest=digest)
        )

    def configuration(self, *, secure: bool = False) -> Configuration:
        """What a phone of the first two nodes' group is told."""
        group = list(self.identities)[:2]
        return Configuration(
            call_managers=tuple(CallManagerMember(name) for name in group),
            tvs=tuple(TvsServer(name) for name in group),
            security_mode=3 if secure else 1,
            transport=3 if secure else 1,
            version_stamp=self.name,
        )

    def plain(self, *, secure: bool = False) -> bytes:
        return configurations.build(self.configuration(secure=secure))

    def signed(self, content: bytes, name: str, *, index: int = 0, digest: Digest = Digest.SHA1) -> bytes:
        """A file as TFTP node `index` signs it."""
        signer = self.signer(Unit.CALLMANAGER, index)
        return signedfile.encode(lists.sign_file(content, signer, file_name=name, now=NOW, digest=digest))

    def files(self, *, secure: bool = False, index: int = 0, device: str = DEVICE) -> dict[str, bytes]:
        """What TFTP node `index` serves to a phone it knows."""
        name, plain = f"{device}.cnf.xml", self.plain(secure=secure)
        found = {
            f"ITL{device}.tlv": self.itl(index),
            "ITLFile.tlv": self.itl(index),
            name: plain,
            f"{name}.sgn": self.signed(plain, name, index=index),
        }
        if secure:
            found[f"CTL{device}.tlv"] = self.ctl()
        return found

    def stores(self) -> list[tuple[Store, Certificate]]:
        """Its own certificates, where it keeps them."""
        return [
            (store, identity.certificate)
            for units in self.identities.values()
            for unit, identity in units.items()
            for store in OWN_STORES[unit]
        ]

    def offered(self, *kinds: BulkType) -> list[tuple[Store, Certificate]]:
        """Its certificates of these types (all of them by default), where an import puts them."""
        return [
            (store, identity.certificate)
            for kind in kinds or tuple(BulkType)
            for units in self.identities.values()
            for unit, identity in units.items()
            if unit in UNITS_OF[kind]
            for store in IMPORT_STORES[kind]
        ]

    def flash(self, *, secure: bool = False) -> Flash:
        """What a phone that works at this cluster keeps."""
        return Flash(self.ctl() if secure else None, self.itl(), self.plain(secure=secure))


@cache
def cluster(name: str, *, nodes: int = 2) -> Cluster:
    """A cluster whose keys are made once."""
    identities = {
        f"{name}{number}": {
            identity.unit: identity
            for identity in node_identities(
                f"{name}{number}",
                domain="lab.test",
                organisation=ORGANISATION,
                now=NOW - timedelta(days=30),
                publisher=number == 1,
                itlrecovery=number == 1,
                ecdsa=False,
            )
        }
        for number in range(1, nodes + 1)
    }
    return Cluster(name, identities)


@cache
def stranger(key: str = "rsa2048", *, days: int = 1826) -> Identity:
    """An identity no cluster knows; with negative `days`, one that has expired."""
    return self_signed(
        node="stranger",
        unit=Unit.TVS,
        common_name=f"stranger-{key}.lab.test",
        organisation=ORGANISATION,
        now=NOW,
        days=days,
        key=key,  # type: ignore[arg-type]  # a name of a key, as tables of tests spell it
    )


@dataclass
class Tvs:
    """A TVS: the certificate it presents and what it vouches for."""

    certificate: Certificate
    index: VouchIndex


@dataclass
class UnifiedCm:
    """A Unified CM that registers phones; `rejects` with these words if there are any."""

    certificate: Certificate
    rejects: str = ""


@dataclass
class Ended:
    """How a run ended."""

    flash: Flash
    status: list[str]
    commands: list[Command]
    outcome: Outcome
    transcript: list[Line]

    @property
    def asked(self) -> list[str]:
        """TVS servers asked, in order."""
        return [command.server.address for command in self.commands if isinstance(command, AskTvs)]

    @property
    def fetched(self) -> list[str]:
        return [command.name for command in self.commands if isinstance(command, Fetch)]

    @property
    def registered(self) -> str:
        """Where, or an empty text."""
        return "" if self.outcome.registered is None else self.outcome.registered.name

    def __str__(self) -> str:
        marks = {True: "+", False: "!", None: " "}
        return "\n".join(f"{marks[line.ok]} {line.text}" for line in self.transcript)


@dataclass
class World:
    """What answers a phone, by address. Who is not there does not answer."""

    tftp: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tvs: dict[str, Tvs] = field(default_factory=dict)
    call_managers: dict[str, UnifiedCm] = field(default_factory=dict)

    def add(self, home: Cluster, *vouched: tuple[Store, Certificate], secure: bool = False) -> None:
        """A working cluster; its TVS servers vouch for its own and `vouched`."""
        index = VouchIndex.from_stores([*home.stores(), *vouched])
        for number, name in enumerate(home.identities):
            self.tftp[name] = home.files(secure=secure, index=number)
            self.tvs[name] = Tvs(home.certificate(Unit.TVS, number), index)
            self.call_managers[name] = UnifiedCm(home.certificate(Unit.CALLMANAGER, number))

    def boot(
        self, flash: Flash, option150: tuple[str, ...], *, model: PhoneModel = MODELS["CP-8861"], now: datetime = NOW
    ) -> Ended:
        """Run a phone to the end."""
        phone = Phone(DEVICE, model)
        done: list[Command] = []
        event: Event | None = Booted(flash, option150, now)
        for _ in range(MAX_STEPS):
            assert event is not None
            commands = phone.handle(event)
            done += commands
            for command in commands:
                if isinstance(command, Install):
                    flash = replace(flash, **{_FIELDS[command.kept]: command.content})
            last = commands[-1]
            if isinstance(last, Stop):
                status = [command.message for command in done if isinstance(command, ShowStatus)]
                return Ended(flash, status, done, last.outcome, phone.transcript)
            event = self.answer(phone, last)
        raise AssertionError(f"no end after {MAX_STEPS} steps")

    def answer(self, phone: Phone, command: Command) -> Event:
        """What comes of the command that waits for something."""
        match command:
            case Fetch(name, servers):
                for server in servers:
                    if server in self.tftp:
                        return Downloaded(name, self.tftp[server].get(name), server)
                return DownloadFailed(name, f"none of {', '.join(servers)} answers")
            case AskTvs(server, request):
                peer = self.tvs.get(server.address)
                if peer is None:
                    return TvsFailed(server, Refusal.TVS_UNREACHABLE, "connection refused")
                fault = phone.refuses_tvs(peer.certificate.der)
                if fault is not None:
                    return TvsFailed(server, *fault)
                response = peer.index.answer(tvs.decode(tvs.encode(request)))
                return TvsAnswered(server, tvs.decode(tvs.encode(response)))
            case Register(target):
                manager = self.call_managers.get(target.name)
                if manager is None:
                    return RegistrationFailed(target, "connection refused", False)
                refused = phone.refuses_call_manager(manager.certificate.der) if target.secure else None
                if refused is not None:
                    return RegistrationFailed(target, refused, False)
                if manager.rejects:
                    return RegistrationFailed(target, manager.rejects, True)
                return Registered(target)
        raise AssertionError(f"{command} waits for nothing")


_FIELDS = {Kept.CTL: "ctl", Kept.ITL: "itl", Kept.CONFIGURATION: "configuration"}
