"""Labs whose phones have deliberate defects, one kind beside the other, and what became of each when it was moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e.site import DESTINATION
from tests.lab import large
from tests.lab.prepared import ENCRYPTED, TVS, LiveLab, lab_definition, phones

from trustbridge import atomicfile
from trustbridge.clients.tls import TlsIdentity
from trustbridge.lab.definition import GroupDefinition, NodeDefinition
from trustbridge.lab.phone import LabPhone
from trustbridge.migration.predictvalues import Forecast
from trustbridge.pki.issue import Identity, Organisation, self_signed
from trustbridge.pki.units import Store, Unit
from trustbridge.services.tvs import TvsServer
from trustbridge.trust import configuration as configurations
from trustbridge.trust import installed, lists
from trustbridge.trust.events import Kept, Refusal
from trustbridge.trust.lists import ListedCertificate, Signer
from trustbridge.wire import trustlist
from trustbridge.wire.trustlist import Role

#: Phones that start at the same time as far as one wait goes.
_BATCH = 100

GOOD, DOWN, WRONG, STALE, PASSED, NO_CAPF = "Good", "Down", "Wrong", "Stale", "Passed over", "No CAPF"
_GROUPS = {
    GOOD: ("src-pub", "src-sub1"),
    DOWN: ("src-sub1",),
    WRONG: ("src-sub2",),
    STALE: ("src-sub3",),
    PASSED: ("src-sub1", "src-sub2", "src-pub"),
    NO_CAPF: ("src-pub",),
}


class Scene(StrEnum):
    """The clusters: both in mixed mode; both non-secure; the same, and the ITL that phones get was tampered with."""

    MIXED = "mixed"
    NON_SECURE = "non-secure"
    TAMPERED = "tampered"


@dataclass
class DefectiveLab:
    """A lab that runs.

    Attributes:
        defect: of each phone, in a word.
        hidden: phones of which something is hidden that decides.
        known_lists: trust lists that somebody has at hand.
        expected_refusals, expected_forecasts: those that some phones must end with.
        expected_findings: what is behind the end of phones with a defect.
    """

    live: LiveLab
    defect: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    known_lists: list[bytes] = field(default_factory=list)
    expected_refusals: set[Refusal | None] = field(default_factory=set)
    expected_findings: dict[str, str] = field(default_factory=dict)
    expected_forecasts: set[Forecast] = field(default_factory=lambda: set(Forecast))

    @property
    def servers(self) -> tuple[str, ...]:
        """The destination's TFTP nodes in the order in which option 150 names them."""
        definition = self.live.destination.definition
        by_address = {definition.address(node.name): node.name for node in definition.nodes}
        return tuple(by_address[address] for address in definition.tftp_addresses())

    def move(self) -> dict[str, tuple[Forecast, Refusal | None, str]]:
        """Point every phone at the destination and reset it: what becomes of each, and why."""
        live = self.live
        demanding = {
            phone.name: installed.read(phone.flash.read(), phone.identity.model)[0].demands_signatures
            for phone in live.phones
        }
        live.point_at(DESTINATION)
        boot_all(live)
        found: dict[str, tuple[Forecast, Refusal | None, str]] = {}
        for phone in live.phones:
            outcome = phone.outcome
            assert outcome is not None
            arrived = outcome.refusal is None and live.lab.cluster_of(phone) == DESTINATION
            moves = Forecast.MOVES if demanding[phone.name] else Forecast.FIRST_TRUST
            found[phone.name] = (moves if arrived else Forecast.STRANDS, outcome.refusal, outcome.reason)
        return found


def boot_all(live: LiveLab) -> None:
    """Start or reset every phone, some at a time: a wait for all of a thousand would be too long for one."""
    for start in range(0, len(live.phones), _BATCH):
        live.boot(*live.phones[start : start + _BATCH])


@contextmanager
def defective(folder: Path, scene: Scene, *, each: int) -> Iterator[DefectiveLab]:
    """A lab of phones of all kinds, `each` of a kind and defect, registered at the source and about to be moved."""
    mixed = scene is Scene.MIXED
    kinds = [phones(each * 10, group=GOOD)]
    kinds += [phones(each, group=group) for group in (DOWN, WRONG, STALE, PASSED)]
    kinds += [phones(each * 2, group=GOOD, model=model) for model in ("CP-7960", "CP-7965")]
    if mixed:
        kinds += [phones(each, group=group, security=ENCRYPTED) for group in (GOOD, DOWN, STALE, NO_CAPF)]
    source: dict[str, Any] = {
        "nodes": tuple(NodeDefinition(name=f"src-{name}") for name in ("pub", "sub1", "sub2", "sub3")),
        "groups": tuple(GroupDefinition(name=name, members=members) for name, members in _GROUPS.items()),
    }
    destination: dict[str, Any] = {
        "groups": (
            GroupDefinition(name=GOOD, members=("dst-sub1", "dst-pub")),
            GroupDefinition(name=NO_CAPF, members=("dst-sub1",)),
        ),
    }
    if not mixed:
        source["security"] = destination["security"] = "non-secure"
    made = large.make(folder, lab_definition(*kinds, source=source, destination=destination))
    with LiveLab(made) as live:
        lab = DefectiveLab(live)
        live.exchange()
        blank = _blank(live)
        boot_all(live)
        assert {live.lab.cluster_of(phone) for phone in live.phones} == {"source"}
        _spoil_tvs(live)
        _spoil_phones(lab, each, blank, mixed=mixed)
        _spoil_destination(lab, each, mixed=mixed)
        if scene is Scene.TAMPERED:
            _tamper(lab)
        yield lab


def _blank(live: LiveLab) -> bytes:
    """The source's ITL as it is prepared for rollback; afterwards it is no more."""
    live.call(partial(live.source.set_prepare_for_rollback, True))
    blank = (live.source.tftp_folder("src-pub") / "ITLFile.tlv").read_bytes()
    live.call(partial(live.source.set_prepare_for_rollback, False))
    return blank


def _spoil_tvs(live: LiveLab) -> None:
    """One that is down, one with a certificate no ITL lists, one that knows nothing of the destination."""
    live.stop_service("src-sub1", TVS)
    other = stranger("tvs")
    server = live.node("src-sub2").services[TVS]
    assert isinstance(server, TvsServer)
    live.call(lambda: server.set_identity(TlsIdentity((other.certificate,), other.private_key)))
    stores = live.source.stores["src-sub3"]
    for node in ("dst-pub", "dst-sub1"):
        signer = live.destination.list_signer(node).certificate
        for store in stores.holding(signer):
            stores.remove(store, signer)
    live.call(live.node("src-sub3").refresh)


def _spoil_phones(lab: DefectiveLab, each: int, blank: bytes, *, mixed: bool) -> None:
    """What lies in their flash."""
    live = lab.live
    for phone in live.phones:
        lab.defect[phone.name] = f"{phone.identity.model.name} of {live.source.devices[phone.name].group}"
    at_hand, nowhere = foreign_list(), foreign_list()
    real = live.phones[0].flash.kept(Kept.ITL)
    assert real is not None
    tampered = real[:-40] + bytes([real[-40] ^ 1]) + real[-39:]
    left = ctl_of(live)
    lab.known_lists += [blank, at_hand, tampered, left]
    defects: dict[str, Callable[[LabPhone], object]] = {
        "no trust list": lambda phone: phone.flash.erase_trust(),
        "no ITL": lambda phone: phone.flash.path.joinpath("ITLFile.tlv").unlink(),
        "blank ITL": lambda phone: phone.flash.write(Kept.ITL, blank),
        "foreign ITL": lambda phone: phone.flash.write(Kept.ITL, at_hand),
        "foreign ITL nobody has": lambda phone: phone.flash.write(Kept.ITL, nowhere),
        "tampered ITL": lambda phone: phone.flash.write(Kept.ITL, tampered),
        "left CTL": lambda phone: phone.flash.write(Kept.CTL, left),
        "page closed": close_page,
    }
    good = [phone for phone in live.phones if lab.defect[phone.name] == f"CP-8841 of {GOOD}"]
    for place, (defect, spoil) in enumerate(defects.items()):
        for phone in good[place * each : (place + 1) * each]:
            live.call(partial(spoil, phone))
            lab.defect[phone.name] = defect
            if defect in ("foreign ITL nobody has", "page closed"):
                lab.hidden.add(phone.name)
    for model in ("CP-7960", "CP-7965"):
        for phone in [one for one in live.phones if one.identity.model.name == model][:each]:
            live.call(phone.flash.erase_trust)
            lab.defect[phone.name] = f"{model} without trust lists"


def _spoil_destination(lab: DefectiveLab, each: int, *, mixed: bool) -> None:
    """Phones it does not know; a CAPF it does not trust on one node."""
    live = lab.live
    strangers = [phone.name for phone in live.phones if lab.defect[phone.name] == f"CP-8841 of {GOOD}"][:each]
    live.call(partial(live.destination.remove_devices, strangers))
    for name in strangers:
        lab.defect[name] = "not known at the destination"
    lab.expected_refusals |= {None, Refusal.TVS_UNREACHABLE, Refusal.TVS_CERTIFICATE, Refusal.NOT_VOUCHED}
    lab.expected_refusals.add(Refusal.REGISTRATION)
    lab.expected_findings |= {
        f"CP-8841 of {DOWN}": "TB111",
        f"CP-8841 of {WRONG}": "TB110",
        f"CP-8841 of {STALE}": "TB102",
        f"CP-7965 of {GOOD}": "TB112",
        "CP-7965 without trust lists": "TB122",
        "foreign ITL": "TB122",
        "blank ITL": "TB120",
        "not known at the destination": "TB151",
        f"CP-7960 of {GOOD}": "TB123" if mixed else "TB160",
    }
    if mixed:
        live.destination.stores["dst-sub1"].remove(Store.CAPF_TRUST, live.source.capf.certificate)
        live.call(live.node("dst-sub1").refresh)
        lab.expected_refusals.add(Refusal.MODEL)
        lab.expected_findings[f"CP-8841 of {NO_CAPF}"] = "TB152"
    else:
        lab.expected_refusals.add(Refusal.NOT_IN_CTL)
        lab.expected_findings["left CTL"] = "TB121"


def _tamper(lab: DefectiveLab) -> None:
    """With the ITL of the TFTP server that phones ask first."""
    path = lab.live.destination.tftp_folder(lab.servers[0]) / "ITLFile.tlv"
    content = path.read_bytes()
    atomicfile.write(path, content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    lab.expected_refusals = {None, Refusal.WRONG_SIGNATURE, Refusal.NOT_IN_CTL, Refusal.TVS_UNREACHABLE}
    lab.expected_forecasts.remove(Forecast.MOVES)
    lab.expected_findings = {"tampered ITL": "TB131", "left CTL": "TB121", f"CP-8841 of {STALE}": "TB102"}


def close_page(phone: LabPhone) -> None:
    """As the administrator does who switches web access off."""
    kept = configurations.parse(phone.flash.kept(Kept.CONFIGURATION) or b"")
    phone.flash.write(Kept.CONFIGURATION, configurations.build(replace(kept, web_access=False)))


def stranger(name: str) -> Identity:
    """An identity of no cluster."""
    return self_signed(
        node=name, unit=Unit.TVS, common_name=name, organisation=Organisation(o="elsewhere"), now=datetime.now(UTC)
    )


def foreign_list() -> bytes:
    """The ITL of a cluster nobody has heard of."""
    made = stranger("elsewhere")
    listed = [ListedCertificate(role, "elsewhere", made.certificate) for role in (Role.SAST, Role.TVS)]
    signer: Any = Signer(made.certificate, made.private_key)
    return trustlist.encode(lists.build_trust_list(listed, signer, file_name="ITLFile.tlv", now=datetime.now(UTC)))


def ctl_of(live: LiveLab) -> bytes:
    """A CTL of the source, as from the time when it was in mixed mode."""
    publisher = live.source.publisher
    listed = lists.ctl_entries(
        live.source.node_certificates(),
        publisher=live.source.definition.address(publisher),
        itl_recovery=live.source.identity(publisher, Unit.ITLRECOVERY).certificate,
        capf=live.source.capf.certificate,
    )
    signer = live.source.list_signer(publisher)
    return trustlist.encode(lists.build_trust_list(listed, signer, file_name="CTLFile.tlv", now=datetime.now(UTC)))


def older_itl(live: LiveLab) -> bytes:
    """The source's ITL, as it was signed another day."""
    own, *_ = nodes = live.source.node_certificates()
    publisher = live.source.publisher
    signer = live.source.list_signer(publisher)
    listed = lists.itl_entries(
        own,
        nodes,
        publisher=live.source.definition.address(publisher),
        signer=signer.certificate,
        itl_recovery=live.source.identity(publisher, Unit.ITLRECOVERY).certificate,
        capf=live.source.capf.certificate,
    )
    day = datetime.now(UTC) - timedelta(days=7)
    return trustlist.encode(lists.build_trust_list(listed, signer, file_name="ITLFile.tlv", now=day))
