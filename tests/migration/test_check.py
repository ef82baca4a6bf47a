"""Every rule of a check: raised on its evidence, with the phones it is about, and not raised without."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from tests.migration.proofstage import NEW, NOW, OLD, Stage, identity
from tests.migration.surveyed import identity as identity_of
from tests.migration.surveyed import surveyed

from trustbridge.cucm.model import CallManagerGroup, PhoneInfo, PhoneStatus, ServiceStatus, TrustedCertificate
from trustbridge.migration.check import Checked, check
from trustbridge.migration.checkseen import Observed, OldTls, SftpSet, hashes_of, names_of
from trustbridge.migration.findings import Finding, Severity
from trustbridge.migration.goals import goals_of
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.proofseen import Failure, Gap
from trustbridge.migration.survey import ClusterSurvey
from trustbridge.pki.units import BulkType, Store, Unit
from trustbridge.wire.signedheader import Digest

PHONES = 5
GROUP = ("old-sub", "old-pub")


def name_of(number: int) -> str:
    return f"SEP{number:012X}"


@dataclass
class Move:
    """Both clusters after a whole exchange, and phones of the source that hold its lists; every part may be changed."""

    stage: Stage
    phones: list[PhoneFacts] = field(default_factory=list)
    devices: dict[str, PhoneInfo] = field(default_factory=dict)
    services: dict[tuple[str, str], tuple[ServiceStatus, ...]] = field(default_factory=dict)
    old_tls: dict[str, OldTls] = field(default_factory=dict)
    surveys: dict[str, ClusterSurvey] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    firmware: dict[str, dict[str, bool]] = field(default_factory=dict)
    sftp: dict[str, SftpSet] = field(default_factory=dict)
    pages: bool = True
    unread: bool = False

    @classmethod
    def ready(cls) -> Move:
        move = cls(Stage.exchanged())
        old = move.stage.old.seen()
        for number in range(PHONES):
            fact = PhoneFacts(
                name_of(number),
                "CP-8841",
                "Default",
                group=GROUP,
                security_mode=1,
                status=PhoneStatus.REGISTERED,
                address=f"198.51.100.{number}",
                itl=sha1(move.stage, OLD, "ITLFile.tlv"),
                ctl=sha1(move.stage, OLD, "CTLFile.tlv"),
                alternate_tftp=False,
                tftp_servers=(old.nodes[0].address,),
            )
            move.phones.append(fact)
            move.devices[fact.name] = PhoneInfo(fact.name, "Cisco 8841")
        for name, cluster in move.stage.clusters.items():
            for node in cluster.nodes:
                move.services[name, node] = tuple(
                    ServiceStatus(node, service, True, NOW - timedelta(days=1))
                    for service in ("Cisco Tftp", "Cisco CallManager", "Cisco Trust Verification Service")
                )
        return move

    def change(self, *numbers: int, **values: Any) -> None:
        """Change some phones, or all of them."""
        for number in numbers or range(PHONES):
            self.phones[number] = replace(self.phones[number], **values)

    def service(self, name: str, *, days: float, node: str = "old-pub", running: bool = True) -> None:
        """Of a node: since so many days, and no other."""
        self.services[OLD, node] = (ServiceStatus(node, name, running, NOW - timedelta(days=days)),)

    def observed(self) -> Observed:
        trust = self.stage.observations()
        clusters = {
            name: replace(one, release=self.releases.get(name, one.release)) for name, one in trust.clusters.items()
        }
        return Observed(
            OLD,
            NEW,
            replace(trust, clusters=clusters),
            surveys=self.surveys or None,
            services=self.services,
            phones=None if self.unread else tuple(self.phones),
            devices=None if self.unread else self.devices,
            old_tls=self.old_tls,
            firmware=self.firmware,
            sftp=self.sftp,
            pages=self.pages,
            gaps=tuple(self.gaps),
        )

    def checked(self) -> Checked:
        return check(self.observed(), NOW)


def sha1(stage: Stage, cluster: str, file: str) -> str:
    """What a phone shows of a file of a cluster's publisher."""
    content = stage.clusters[cluster].files[stage.clusters[cluster].publisher, file]
    assert content is not None
    return hashlib.sha1(content).hexdigest().upper()


def told(found: Checked, kind: str) -> list[Finding]:
    return [one for one in found.findings if one.id == kind]


def test_a_move_that_is_ready() -> None:
    found = Move.ready().checked()
    assert found.ready
    assert {one.id for one in found.findings} == {"TB115", "TB148"}
    assert found.unknowns == ()
    assert "Nothing that was seen stops the move of 5 phones from old to new." in found.sentence


Change = Callable[[Move], object]


def _all(*changes: Change) -> Change:
    """One after the other."""

    def change(move: Move) -> None:
        for one in changes:
            one(move)

    return change


def _renewed(move: Move, unit: Unit, *, days: int, node: str = "old-pub") -> None:
    """A certificate of the source that begins so many days ago; the TVS shows it, files are made anew."""
    old = move.stage.old
    name = f"ITLRECOVERY_{OLD}" if unit is Unit.ITLRECOVERY else f"{node}.{unit}"
    old.identities[node, unit] = identity(name, unit, node=node, make=30 - days)


def _together(move: Move) -> None:
    for unit in (Unit.CALLMANAGER, Unit.TVS, Unit.ITLRECOVERY):
        _renewed(move, unit, days=3)
    _followed(move)
    move.change(0, itl="0" * 40)


def _tvs_alone(move: Move) -> None:
    _renewed(move, Unit.TVS, days=3)


def _followed(move: Move) -> None:
    """Files, the other side's stores and phones follow what was renewed."""
    old = move.stage.old
    for store in (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST):
        move.stage.new.put(store, old.recovery)
    old.sign()
    move.change(itl=sha1(move.stage, OLD, "ITLFile.tlv"), ctl=sha1(move.stage, OLD, "CTLFile.tlv"))


def _ctl_by_callmanager(move: Move) -> None:
    """As after an upgrade without `utils ctl update`: the CTL's signer is that of 11.5."""
    old = move.stage.old
    itls = {key: content for key, content in old.files.items() if key[1] == "ITLFile.tlv"}
    old.sign(Unit.CALLMANAGER)
    old.files |= itls


def _ctl_is_older(move: Move) -> None:
    """A CallManager certificate that came after the CTL."""
    old = move.stage.old
    ctls = {key: content for key, content in old.files.items() if key[1] == "CTLFile.tlv"}
    _renewed(move, Unit.CALLMANAGER, days=10)
    old.sign()
    old.files |= ctls


def _non_secure_with_a_ctl(move: Move) -> None:
    move.stage.old.mixed = False
    move.stage.old.sign()


def _phones_of_7965(move: Move, **answers: bool) -> None:
    move.change(1, 2, model="CP-7965")
    move.devices |= {name_of(number): PhoneInfo(name_of(number), "Cisco 7965") for number in (1, 2)}
    move.old_tls = {node.replace("_", "-"): OldTls(taken, "refused") for node, taken in answers.items()}


def _phones_of_7960(move: Move, **values: Any) -> None:
    move.change(1, 2, model="CP-7960", **values)
    move.devices |= {name_of(number): PhoneInfo(name_of(number), "Cisco 7960") for number in (1, 2)}


def _unrecovered(move: Move) -> None:
    move.stage.old.take(move.stage.new.recovery)


def _of_two_groups(move: Move) -> None:
    """The subscriber has not replicated; phones 0 and 1 ask the publisher first."""
    move.stage.old.take(move.stage.new.recovery, nodes=["old-sub"])
    move.change(0, 1, group=("old-pub", "old-sub"))


def _one_group_down(move: Move) -> None:
    """The subscriber does not answer; phones 0 and 1 know it alone."""
    move.stage.old.groups = (CallManagerGroup("Alone", ("old-sub",)), CallManagerGroup("Default", GROUP))
    move.stage.old.failures["old-sub"] = Failure.UNREACHABLE
    move.change(0, 1, group=("old-sub",))


def _without_capf(move: Move, *nodes: str) -> None:
    """Phones 1 and 3 register securely, and CAPF-trust of the destination lacks their authority."""
    capf = move.stage.old.certificate("old-pub", Unit.CAPF)
    move.stage.new.take(capf, Store.CAPF_TRUST, nodes=nodes or None)
    move.change(1, security_mode=2)
    move.change(3, security_mode=3)


def _sha512(move: Move) -> None:
    move.stage.new.sign(digest=Digest.SHA512)


def _too_large(move: Move) -> None:
    content = move.stage.new.files["new-sub", "ITLFile.tlv"]
    assert content is not None
    move.stage.new.files["new-sub", "ITLFile.tlv"] = content + bytes(70_000)


def _damaged(move: Move) -> None:
    content = move.stage.new.files["new-sub", "ITLFile.tlv"]
    assert content is not None
    move.stage.new.files["new-sub", "ITLFile.tlv"] = content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


#: (id, severity, change, phones in the consequence; None for a finding that is about none).
CASES: list[tuple[str, Severity, Change, list[int] | None]] = [
    ("TB104", Severity.STOP, _unrecovered, [0, 1, 2, 3, 4]),
    ("TB102", Severity.STOP, _of_two_groups, [2, 3, 4]),
    ("TB111", Severity.STOP, _one_group_down, [0, 1]),
    ("TB112", Severity.STOP, lambda move: _phones_of_7965(move, old_pub=False, old_sub=False), [1, 2]),
    ("TB114", Severity.WARN, _together, None),
    ("TB115", Severity.NOTE, lambda move: None, None),
    ("TB120", Severity.STOP, lambda move: setattr(move.stage.old, "rollback", True), [0, 1, 2, 3, 4]),
    ("TB121", Severity.WARN, lambda move: setattr(move.stage.old, "mixed", False), None),
    ("TB121", Severity.WARN, _non_secure_with_a_ctl, [0, 1, 2, 3, 4]),
    ("TB122", Severity.STOP, lambda move: move.change(0, 3, itl="0" * 40), [0, 3]),
    ("TB122", Severity.STOP, lambda move: move.change(0, 3, ctl="0" * 40), [0, 3]),
    ("TB122", Severity.NOTE, lambda move: move.change(4, itl="", ctl=""), [4]),
    ("TB123", Severity.STOP, _phones_of_7960, [1, 2]),
    ("TB123", Severity.WARN, lambda move: _phones_of_7960(move, ctl=None), [1, 2]),
    ("TB124", Severity.WARN, _ctl_by_callmanager, None),
    ("TB124", Severity.WARN, _ctl_is_older, None),
    ("TB124", Severity.WARN, lambda move: move.releases.update({OLD: "11.5.1.10000-6"}), None),
    ("TB132", Severity.WARN, _all(_sha512, _phones_of_7965), [1, 2]),
    ("TB132", Severity.NOTE, _sha512, None),
    ("TB148", Severity.NOTE, lambda move: None, None),
    ("TB149", Severity.WARN, lambda move: move.service("Cisco CallManager", days=40), None),
    ("TB149", Severity.WARN, lambda move: move.service("Cisco Tftp", days=40), None),
    ("TB149", Severity.WARN, lambda move: move.service("Cisco Trust Verification Service", days=40), None),
    ("TB150", Severity.WARN, lambda move: move.change(2, alternate_tftp=True), [2]),
    ("TB150", Severity.WARN, lambda move: move.change(2, tftp_servers=("203.0.113.9",)), [2]),
    ("TB151", Severity.STOP, lambda move: move.devices.pop(name_of(1)), [1]),
    (
        "TB151",
        Severity.STOP,
        lambda move: move.devices.update({name_of(1): PhoneInfo(name_of(1), "Cisco 8845")}),
        [1],
    ),
    ("TB160", Severity.NOTE, lambda move: _phones_of_7960(move, ctl=""), [1, 2]),
    ("TB147", Severity.WARN, lambda move: _without_capf(move, "new-sub"), [1, 3]),
    ("TB152", Severity.WARN, _without_capf, [1, 3]),
    ("TB130", Severity.STOP, _too_large, [0, 1, 2, 3, 4]),
    ("TB131", Severity.STOP, _damaged, [0, 1, 2, 3, 4]),
    (
        "TB161",
        Severity.WARN,
        lambda move: move.change(3, status=PhoneStatus.UNREGISTERED, itl=None, ctl=None),
        [3],
    ),
]


@pytest.mark.parametrize(("kind", "severity", "plant", "phones"), CASES, ids=[f"{one[0]}-{one[1]}" for one in CASES])
def test_raised_on_its_evidence(kind: str, severity: Severity, plant: Change, phones: list[int] | None) -> None:
    move = Move.ready()
    plant(move)
    found = [one for one in told(move.checked(), kind) if one.severity is severity]
    assert found
    if phones is not None:
        named = names_of([move.phones[number] for number in phones])
        assert any(f": {named}." in one.consequence for one in found), [one.consequence for one in found]
    assert all(one.evidence and one.remedy for one in found)


def _nothing(kind: str, change: Change) -> Any:
    return pytest.param(kind, change, id=kind)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        # Not enough of the evidence, or another explanation of it.
        _nothing("TB112", lambda move: _phones_of_7965(move, old_pub=False, old_sub=True)),
        _nothing("TB112", lambda move: _phones_of_7965(move)),
        _nothing(
            "TB112",
            _all(
                lambda move: _phones_of_7965(move, old_pub=False, old_sub=False),
                lambda move: move.change(itl="", ctl=""),
            ),
        ),
        _nothing("TB112", lambda move: move.old_tls.update({node: OldTls(False, "refused") for node in GROUP})),
        _nothing("TB114", _all(_together, _followed)),
        _nothing("TB114", _all(_tvs_alone, lambda move: move.change(0, itl="0" * 40))),
        _nothing("TB114", lambda move: move.change(itl="0" * 40)),  # all three begin together, 30 days ago
        _nothing("TB120", lambda move: setattr(move.stage.old, "rollback", None)),
        _nothing("TB121", lambda move: setattr(move.stage.old, "mixed", None)),
        _nothing("TB122", lambda move: move.change(itl=None, ctl=None)),
        _nothing("TB122", lambda move: move.change(itl="", ctl=sha1(move.stage, OLD, "CTLFile.tlv"))),
        _nothing("TB122", lambda move: move.change(0, itl=sha1(move.stage, NEW, "ITLFile.tlv"))),
        _nothing("TB123", lambda move: _phones_of_7960(move, ctl="")),
        _nothing("TB124", lambda move: move.releases.update({OLD: ""})),
        _nothing("TB124", lambda move: setattr(move.stage.old, "mixed", False)),
        _nothing("TB149", lambda move: move.service("Cisco Tftp", days=40, running=False)),
        _nothing("TB149", lambda move: move.service("Cisco CTIManager", days=40)),
        _nothing("TB150", lambda move: move.change(alternate_tftp=None, tftp_servers=())),
        _nothing("TB150", lambda move: move.change(tftp_servers=("OLD-PUB", "203.0.113.9"))),
        _nothing(
            "TB151", lambda move: setattr(move, "devices", {key.lower(): one for key, one in move.devices.items()})
        ),
        _nothing("TB160", _phones_of_7960),  # told as TB123
        _nothing("TB161", lambda move: move.change(itl=None, ctl=None)),  # registered: something can be done about it
        _nothing(
            "TB161",
            _all(lambda move: move.change(status=None, itl=None, ctl=None), lambda move: setattr(move, "pages", False)),
        ),
        _nothing("TB162", lambda move: None),
        _nothing("TB171", lambda move: None),
    ],
)
def test_not_raised_without(kind: str, change: Change) -> None:
    move = Move.ready()
    change(move)
    assert not told(move.checked(), kind)


def test_files_that_nobody_could_read_may_be_those_that_phones_hold() -> None:
    move = Move.ready()
    move.change(0, itl="0" * 40)
    seen = move.observed()
    nodes = tuple(replace(node, files=None) if node.name == "old-sub" else node for node in seen.old.nodes)
    clusters = {**seen.trust.clusters, OLD: replace(seen.old, nodes=nodes)}
    unread = replace(seen, trust=replace(seen.trust, clusters=clusters))
    assert told(check(seen, NOW), "TB122")
    assert not told(check(unread, NOW), "TB122")


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_phones_show_hashes_of_several_kinds(algorithm: str) -> None:
    move = Move.ready()
    for content in (move.stage.old.files["old-sub", "ITLFile.tlv"],):
        assert content is not None
        move.change(itl=hashlib.new(algorithm, content).hexdigest().upper())
        assert not told(move.checked(), "TB122")
        assert move.phones[0].itl in hashes_of(move.stage.old.seen(), itl=True)
        assert move.phones[0].itl not in hashes_of(move.stage.old.seen(), itl=False)


def test_a_large_estate() -> None:
    move = Move.ready()
    move.phones = [replace(move.phones[0], name=name_of(number)) for number in range(15001)]
    move.devices = {phone.name: PhoneInfo(phone.name, "Cisco 8841") for phone in move.phones}
    (one,) = told(move.checked(), "TB162")
    assert "15001 phones are 16 calls of 1000 names for one look at all: 2 minutes" in one.evidence
    del move.phones[-1]
    assert not told(move.checked(), "TB162")
    # Whatever is wrong with all of them is told in one finding, and found in no more than one look at each.
    move.phones = [replace(phone, itl="0" * 40, ctl="0" * 40) for phone in move.phones]
    (one,) = told(move.checked(), "TB122")
    assert one.consequence.endswith(f": {name_of(0)}, {name_of(1)}, {name_of(2)} and 14997 more.")


def test_phones_whose_group_is_not_known_are_counted_apart() -> None:
    move = Move.ready()
    _of_two_groups(move)
    move.change(3, 4, group=None)
    (one,) = told(move.checked(), "TB102")
    assert one.consequence.endswith(
        f"This phone will strand: {name_of(2)}. Of 2 more the Unified CM group is not known."
    )


@pytest.mark.parametrize(
    ("group", "stranded"), [(None, False), ((), False), (("elsewhere",), False), (GROUP[:1], True)]
)
def test_an_old_phone_strands_where_every_tvs_of_its_group_refuses_it(
    group: tuple[str, ...] | None, stranded: bool
) -> None:
    move = Move.ready()
    _phones_of_7965(move, old_sub=False, old_pub=True)
    move.change(1, 2, group=group)
    assert bool(told(move.checked(), "TB112")) is stranded
    _phones_of_7965(move, old_sub=False, old_pub=False)
    assert bool(told(move.checked(), "TB112")) is (group != ("elsewhere",))


def test_a_tvs_that_is_down_strands_nobody_who_has_another() -> None:
    move = Move.ready()
    move.stage.old.failures["old-sub"] = Failure.UNREACHABLE
    (one,) = told(move.checked(), "TB111")
    assert one.severity is Severity.WARN
    assert one.consequence.endswith("No phone that was seen strands by it now.")
    # A group that names it alone is nobody's that the proof knows of; the phone's own file does.
    move.change(4, group=("old-sub",))
    (one,) = told(move.checked(), "TB111")
    assert one.consequence.endswith(f"This phone will strand: {name_of(4)}.")


def test_a_tvs_whose_answer_turns_at_its_next_start_strands_nobody_today() -> None:
    move = Move.ready()
    move.stage.old.cache = {node: dict(held) for node, held in move.stage.old.stores.items()}
    move.stage.old.take(move.stage.new.recovery)
    found = told(move.checked(), "TB103")
    assert found
    assert all(one.severity is Severity.WARN and "phones will strand:" not in one.consequence for one in found)


def test_phones_that_ask_nobody_do_not_strand_by_a_tvs() -> None:
    move = Move.ready()
    _unrecovered(move)
    move.change(0, itl="", ctl="")
    _phones_of_7960(move, ctl="")
    (one,) = told(move.checked(), "TB104")
    assert f"These 2 phones will strand: {name_of(3)}, {name_of(4)}." in one.consequence


def test_without_phones_nothing_is_said_of_them() -> None:
    move = Move.ready()
    _unrecovered(move)
    move.unread = True
    found = move.checked()
    (one,) = told(found, "TB104")
    assert one.consequence == "All phones strand."
    assert found.phones is None
    assert not {"TB122", "TB151", "TB161"} & {one.id for one in found.findings}


def test_firmware_that_a_tftp_node_lacks() -> None:
    move = Move.ready()
    for number in (0, 1):
        move.devices[name_of(number)] = PhoneInfo(name_of(number), "Cisco 8841", load="sip88xx.1")
    move.firmware = {"sip88xx.1": {"new-pub": True, "new-sub": True}, "other": {"new-pub": False}}
    assert not told(move.checked(), "TB153")
    move.firmware["sip88xx.1"]["new-sub"] = False
    (one,) = told(move.checked(), "TB153")
    assert one.severity is Severity.WARN
    assert f"no sip88xx.1.loads at {NEW}/new-sub" in one.evidence
    assert f"These 2 phones will ask for it in vain there: {name_of(0)}, {name_of(1)}." in one.consequence


def test_without_the_destinations_devices_nobody_is_missing_there() -> None:
    move = Move.ready()
    seen = replace(move.observed(), devices=None)
    assert not told(check(seen, NOW), "TB151")


def test_on_the_way_back_no_phone_of_the_source_is_counted() -> None:
    move = Move.ready()
    move.stage.new.take(move.stage.old.recovery)
    found = move.checked()
    assert {one.id for one in found.of(Severity.STOP)} == {"TB170"}
    assert not any("will strand" in one.consequence for one in found.findings)


def test_of_phones_that_are_not_secure_or_not_known_to_be() -> None:
    move = Move.ready()
    _without_capf(move)
    move.change(security_mode=1)
    (one,) = told(move.checked(), "TB152")
    assert one.consequence.endswith("No phone that was seen registers securely.")
    move.change(0, security_mode=None)
    (one,) = told(move.checked(), "TB152")
    assert one.consequence.endswith("Of 1 more the security mode is not known.")


def test_blank_itls_strand_secure_clusters_alone() -> None:
    move = Move.ready()
    move.stage.old.rollback = True
    move.change(2, ctl="")  # it has no CTL that would be left
    (one,) = told(move.checked(), "TB120")
    assert "These 4 phones will strand" in one.consequence
    move.stage.old.mixed = False
    (one,) = told(move.checked(), "TB120")
    assert one.severity is Severity.WARN
    assert "strand:" not in one.consequence


# What is unknown.


def test_reasons_are_told_once_with_how_many_phones_they_are_about() -> None:
    move = Move.ready()
    for number, phone in enumerate(list(move.phones)):
        why = f"trust lists it holds: phone {phone.address}: nobody answers for {phone.name}"
        move.phones[number] = replace(phone, missing=(why,) if number else ("registration: no Unified CM has heard",))
    found = move.checked()
    assert {(gap.what, gap.why) for gap in found.unknowns} == {
        ("registration of 1 phone: SEP000000000000", "no Unified CM has heard"),
        (
            f"trust lists it holds of 4 phones: {name_of(1)}, {name_of(2)}, {name_of(3)} and 1 more",
            "phone its address: nobody answers for SEP...",
        ),
    }
    assert found.ready
    assert "2 things could not be looked at, and decide nothing" in found.sentence


def test_models_nobody_listed_are_told() -> None:
    move = Move.ready()
    move.change(0, model="Cisco 7937")
    move.devices[name_of(0)] = PhoneInfo(name_of(0), "Cisco 7937")
    (gap,) = move.checked().unknowns
    assert "Cisco 7937: not listed here" in gap.why


def test_what_decides_and_is_unknown_is_no_yes() -> None:
    move = Move.ready()
    move.gaps = [Gap(OLD, "", "an odd thing", "why"), Gap(OLD, "", "phones", "AXL is down", essential=True)]
    found = move.checked()
    assert not found.ready
    assert [gap.what for gap in found.unknowns] == ["phones", "an odd thing"]
    assert found.sentence.startswith(
        "Not known: nothing was seen that stops the move of 5 phones from old to new, but 1 thing that"
    )
    del move.gaps[1]
    assert move.checked().ready


def test_a_tvs_nobody_heard_is_no_yes_either() -> None:
    move = Move.ready()
    move.stage.old.failures["old-sub"] = Failure.UNREACHABLE
    found = move.checked()
    assert not found.of(Severity.STOP)
    assert [gap.what for gap in found.essential] == ["whether the TVS of old-sub vouches for new"]


def test_worst_first_and_the_sentence_begins_there() -> None:
    move = Move.ready()
    _unrecovered(move)
    move.devices.clear()
    found = move.checked()
    order = list(Severity)
    severities = [order.index(one.severity) for one in found.findings]
    assert severities == sorted(severities)
    assert found.sentence.startswith(
        "Do not move phones yet: 2 findings stop the move of 5 phones from old to new. Begin with TB104"
    )
    json = found.as_json()
    assert json["counts"] == {"stop": 2, "warning": 0, "note": 2}
    assert len(json["findings"]) == 4


# The exchange's own judgement.


def _surveyed(move: Move, old: ClusterSurvey, new: ClusterSurvey) -> Checked:
    move.surveys = {OLD: dataclasses.replace(old, name=OLD), NEW: dataclasses.replace(new, name=NEW)}
    return move.checked()


def test_what_an_exchange_would_stop_at_is_told_and_asking_for_consent_is_no_hindrance() -> None:
    found = _surveyed(Move.ready(), surveyed(OLD, release="9.1.2"), surveyed(NEW, release="12.5.1"))
    assert [(one.id, one.severity) for one in found.findings if one.id in ("TB143", "TB145")] == [
        ("TB143", Severity.WARN),
        ("TB145", Severity.NOTE),
    ]
    assert found.ready
    later = _surveyed(Move.ready(), surveyed(OLD, release="10.5.2.13900"), surveyed(NEW, release="11.5.1"))
    assert not told(later, "TB143")
    assert not told(later, "TB145")


def test_servers_that_exchanges_of_ours_have_set() -> None:
    move = Move.ready()
    old, new = surveyed(OLD, release="12.5.1"), surveyed(NEW, release="12.5.1")
    move.sftp = {name: SftpSet("sftp://bulk@a:22/x", "one", NOW) for name in (OLD, NEW)}
    assert not told(_surveyed(move, old, new), "TB144")
    move.sftp[NEW] = SftpSet("sftp://bulk@a:22/y", "two", NOW)
    (one,) = told(_surveyed(move, old, new), "TB144")
    assert (one.severity, one.subject) == (Severity.WARN, f"{OLD} and {NEW}")
    assert f"{NEW}: sftp://bulk@a:22/y, by exchange two at {NOW:%Y-%m-%d %H:%M} UTC" in one.evidence
    del move.sftp[OLD]
    assert not told(_surveyed(move, old, new), "TB144")


def test_a_long_key_is_told_once_with_the_file_it_signs() -> None:
    long = identity_of(NEW, f"{NEW}1", Unit.ITLRECOVERY, key="rsa4096")
    new = surveyed(NEW, release="12.0.1", identities=[long])
    move = Move.ready()
    (one,) = told(_surveyed(move, surveyed(OLD, release="12.0.1"), new), "TB132")
    assert "signs trust lists with 4096 bits" in one.evidence
    assert one.severity is Severity.NOTE
    _sha512(move)
    both = told(_surveyed(move, surveyed(OLD, release="12.0.1"), new), "TB132")
    assert both
    assert all("SHA-512" in one.evidence for one in both)
    # And nothing else is left out with it.
    _surveyed(move, surveyed(OLD, release="12.0.1"), surveyed(NEW, release="12.5.1", identities=[long]))
    assert told(move.checked(), "TB145")


def test_after_the_exchange_nothing_is_to_be_consolidated() -> None:
    old, new = surveyed(OLD, release="9.1.2"), surveyed(NEW, release="12.5.1")
    move = Move.ready()
    move.sftp = {name: SftpSet(f"sftp://bulk@{name}:22/x", name, NOW) for name in (OLD, NEW)}
    missing = _surveyed(move, old, new)
    assert told(missing, "TB143")
    assert told(missing, "TB144")

    surveys = {OLD: old, NEW: new}
    held = {name: list(one.trusted) for name, one in surveys.items()}
    capf = {name: dict(one.capf_trust) for name, one in surveys.items()}
    for goal in goals_of(surveys, [(OLD, NEW)], tuple(BulkType), capf_trust=True):
        if goal.node:
            capf[goal.importer][goal.node] = (*capf[goal.importer][goal.node], goal.certificate)
        else:
            held[goal.importer].append(TrustedCertificate("x", goal.store, goal.certificate))
    done = {
        name: dataclasses.replace(one, trusted=tuple(held[name]), capf_trust=capf[name])
        for name, one in surveys.items()
    }
    whole = _surveyed(move, done[OLD], done[NEW])
    assert not {"TB143", "TB144", "TB145"} & {one.id for one in whole.findings}


def test_what_emcc_lacks_is_told_when_it_is_asked_for() -> None:
    move = Move.ready()
    move.stage.new.take(move.stage.old.certificate("old-pub", Unit.TOMCAT), Store.TOMCAT_TRUST)
    assert move.checked().ready
    move.stage.emcc = True
    for cluster in move.stage.clusters.values():
        for node in cluster.nodes:
            cluster.stores[node].setdefault(Store.TOMCAT_TRUST, ())
    found = move.checked()
    assert {one.id for one in found.of(Severity.STOP)} == {"TB171"}
