"""Where a phone stands, in worlds in memory where its own procedure is tested: each standing, on its evidence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.migration.test_predict import facts, seen, without_tvs
from tests.trust.arrangements import A, B, world
from tests.trust.world import DEVICE, World

from trustbridge.cucm.model import NodeInfo, PhoneInfo, PhoneStatus, RegistrationInfo, TrustListFileInfo
from trustbridge.cucm.phoneweb import PhoneNetwork, PhonePages, StatusMessage
from trustbridge.migration.diagnose import Course, Diagnosis, Standing, diagnose
from trustbridge.migration.diagnosemessages import last_verdict, meaning_of
from trustbridge.migration.diagnoseseen import (
    CampaignSeen,
    ClusterView,
    ConfigurationFile,
    MoveSeen,
    NotSeen,
    PhoneSeen,
    configuration_file,
)
from trustbridge.migration.findings import Severity
from trustbridge.migration.predictvalues import NO_DEVICE, NOT_SEEN, Forecast
from trustbridge.migration.proofseen import served_file
from trustbridge.storage.campaignrecords import CampaignRecord, JournalRecord, PhoneRecord
from trustbridge.storage.models import CampaignState, Direction, Kind
from trustbridge.trust.configuration import Configuration
from trustbridge.trust.events import Flash

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOURCE, DESTINATION = "source", "destination"
ADDRESS = "198.51.100.7"


def digest(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha1(content).hexdigest().upper()


def view(name: str, **changes: Any) -> ClusterView:
    """A cluster that answers everything, knows the phone, and has not heard of it."""
    home, prefix = (A, "src") if name == SOURCE else (B, "dst")
    nodes = tuple(NodeInfo(f"{prefix}{number}", f"192.0.2.{number}{len(name)}", number == 1) for number in (1, 2))
    contents = [
        (node.name, file, content)
        for place, node in enumerate(nodes)
        for file, content in (("ITLFile.tlv", home.itl(place)), ("CTLFile.tlv", home.ctl()))
    ]
    files = [served_file(TrustListFileInfo(*one), []) for one in contents]
    values: dict[str, Any] = {
        "heard": True,
        "told": True,
        "device": PhoneInfo(DEVICE, "Cisco 8861", device_pool="Default"),
        "nodes": nodes,
        "addresses": frozenset(word for node in nodes for word in (node.name, node.address)),
        "files": tuple(one for one in files if one is not None),
        "files_whole": True,
    }
    return ClusterView(name, **(values | changes))


def at(node: str, status: PhoneStatus = PhoneStatus.REGISTERED, *, minutes: int = 5) -> RegistrationInfo:
    return RegistrationInfo(DEVICE, status, node, ADDRESS, since=NOW - timedelta(minutes=minutes))


@dataclass
class Case:
    """A phone at the source after the exchange, whose page is read; every part may be changed."""

    made: World = field(default_factory=lambda: world(secure=True))
    flash: Flash = field(default_factory=lambda: A.flash(secure=True))
    servers: tuple[str, ...] = ("192.0.2.16",)
    alternate: bool | None = False
    messages: tuple[str, ...] = ("ITL installed",)
    closed: bool = False
    registered: Mapping[str, RegistrationInfo | None] = field(
        default_factory=lambda: {SOURCE: at("src1"), DESTINATION: None}
    )
    views: dict[str, dict[str, Any]] = field(default_factory=lambda: {SOURCE: {}, DESTINATION: {}})
    world: dict[str, Any] = field(default_factory=dict)
    ran: bool = True
    campaigns: tuple[CampaignSeen, ...] = ()
    model: str = "CP-8861"
    pairs: tuple[tuple[str, str], ...] = ((SOURCE, DESTINATION),)

    def page(self) -> PhonePages | None:
        if self.closed:
            return None
        network = PhoneNetwork(
            self.servers,
            self.alternate,
            ("src1", "src2"),
            "src1",
            ("src1:2445",),
            digest(self.flash.ctl),
            digest(self.flash.itl),
        )
        messages = tuple(StatusMessage("11:00:00", text) for text in self.messages)
        return PhonePages(ADDRESS, DEVICE, self.model, network, messages)

    def seen(self) -> PhoneSeen:
        views = {
            name: view(name, registration=self.registered[name], **changes) for name, changes in self.views.items()
        }
        page = self.page()
        known = facts(self.flash, model=self.model, security_mode=3)
        known = replace(known, alternate_tftp=self.alternate, tftp_servers=self.servers)
        if page is None:
            known = replace(known, itl=None, ctl=None, alternate_tftp=None, tftp_servers=())
        told = views.get(DESTINATION)
        arrival = 0 if told is None or told.waits else NOT_SEEN if told.waits is None else NO_DEVICE
        answers = seen(self.made, **self.world) if self.ran else None
        moves = tuple(MoveSeen(*pair, known, arrival, answers) for pair in self.pairs)
        unseen = (
            (NotSeen("phone page", "its lists", "its web access is off", "Switch it on.", decides=True),)
            if self.closed
            else ()
        )
        return PhoneSeen(DEVICE, views, ADDRESS, page, self.closed, moves, self.campaigns, unseen)

    def diagnosed(self) -> Diagnosis:
        return diagnose(self.seen(), NOW)

    def course(self) -> Course:
        (course,) = self.diagnosed().courses
        return course


def there(**changes: Any) -> Case:
    """A phone that has moved."""
    values: dict[str, Any] = {
        "flash": Flash(B.ctl(), B.itl()),
        "servers": ("192.0.2.111",),
        "registered": {SOURCE: at("src1", PhoneStatus.UNREGISTERED), DESTINATION: at("dst1")},
    }
    return Case(**(values | changes))


def unvouched() -> World:
    return world(exchanged=False, secure=True)


def said(course: Course) -> str:
    return "\n".join(course.steps)


# Standings.


def test_moved() -> None:
    diagnosis = there().diagnosed()
    (course,) = diagnosis.courses
    assert course.standing is Standing.MOVED
    assert diagnosis.well
    assert "destination/dst1" in course.because
    assert course.steps == ()
    assert not [one for one in course.findings if one.severity is Severity.STOP]
    # What a reset would do now, as the phone itself goes about it.
    assert course.prediction is not None
    assert course.prediction.moves
    assert any("the same ITL" in line.text for line in course.walks[0].lines)


def test_registered_there_with_lists_of_the_source_or_with_lists_nobody_saw() -> None:
    course = there(flash=A.flash(secure=True)).course()
    assert course.standing is Standing.NOT_TRUSTING
    assert "of trust lists it holds those of source" in course.because
    assert not course.well
    unproven = there(closed=True).course()
    assert unproven.standing is Standing.UNPROVEN
    assert not unproven.well
    assert "Switch it on." in unproven.steps
    assert "trustbridge diagnose" in said(unproven)


def test_the_later_of_two_registrations_counts() -> None:
    both = {SOURCE: at("src1", minutes=60), DESTINATION: at("dst1", minutes=1)}
    assert there(registered=both).course().standing is Standing.MOVED
    both = {SOURCE: at("src1", minutes=1), DESTINATION: at("dst1", minutes=60)}
    assert Case(registered=both).course().standing is Standing.WOULD_MOVE


def test_would_move() -> None:
    course = Case().course()
    assert course.standing is Standing.WOULD_MOVE
    assert course.well
    assert "src1" in course.because
    assert "vouches for the signer" in course.because
    assert [line.text for line in course.walks[0].lines if "vouches" in line.text] == [course.because]
    assert course.steps[0].startswith("Let option 150 of its scope name TFTP servers of destination")
    assert f"--phone {DEVICE}" in course.steps[1]


def test_would_move_by_first_trust() -> None:
    course = Case(flash=Flash()).course()
    assert course.standing is Standing.WOULD_MOVE
    assert course.prediction is not None
    assert course.prediction.forecast is Forecast.FIRST_TRUST
    assert ("TB122", Severity.NOTE) in [(one.id, one.severity) for one in course.findings]


def test_would_strand_and_nobody_is_told_to_reset_it() -> None:
    course = Case(made=unvouched()).course()
    assert course.standing is Standing.WOULD_STRAND
    assert not course.well
    assert "does not know the signer" in course.because
    assert [(one.id, one.severity) for one in course.findings] == [("TB101", Severity.STOP)]
    assert course.steps[:2] == (
        "trustbridge exchange plan source destination",
        "trustbridge exchange run source destination",
    )
    look, _, reset = course.steps[-3:]
    assert look.startswith("Look again: trustbridge diagnose")
    assert "migrate plan" in reset
    assert course.steps.index(look) < course.steps.index(reset)


def test_stranded_is_one_that_was_told_to_go_and_did_not() -> None:
    failed = "Trust List Update Failed"
    case = Case(made=unvouched(), servers=("192.0.2.111",), messages=("ITL installed", failed))
    course = case.course()
    assert course.standing is Standing.STRANDED
    assert f"it says `{failed}`" in course.because
    assert "its TFTP servers are destination's" in course.because
    # Cured meanwhile, it would move: what is past does not keep it.
    cured = replace(case, made=world(secure=True)).course()
    assert cured.standing is Standing.WOULD_MOVE
    assert failed in cured.because
    # A list that was taken later is the last word.
    later = replace(case, messages=(failed, "Trust List Updated")).course()
    assert failed not in later.because
    assert "it says" not in later.because


def test_typed_in_servers() -> None:
    course = Case(alternate=True, world={"source_servers": frozenset({"192.0.2.16"})}).course()
    assert course.standing is Standing.WOULD_STRAND
    assert [(one.id, one.severity) for one in course.findings] == [("TB150", Severity.STOP)]
    assert "Alternate TFTP off" in course.steps[0]
    elsewhere = Case(servers=("203.0.113.9",)).course()
    assert elsewhere.standing is Standing.WOULD_MOVE
    assert [(one.id, one.severity) for one in elsewhere.findings] == [("TB150", Severity.WARN)]


def test_a_closed_page_leaves_it_open_and_says_what_to_open() -> None:
    diagnosis = Case(closed=True).diagnosed()
    (course,) = diagnosis.courses
    assert course.standing is Standing.UNDECIDED
    assert course.steps[0] == "Switch it on."
    assert "migrate" not in said(course)
    assert diagnosis.not_seen[0].decides
    assert any("its page was not read" in one.what or "its page was not read" in one.why for one in diagnosis.not_seen)
    assert len(course.walks) == 2


def test_the_destination_does_not_know_it() -> None:
    views: dict[str, dict[str, Any]] = {SOURCE: {}, DESTINATION: {"device": None}}
    course = Case(views=views).course()
    assert course.standing is Standing.WOULD_STRAND
    assert [(one.id, one.severity) for one in course.findings] == [("TB151", Severity.STOP)]
    # One that serves it by auto-registration, all the same, knows it.
    served = {SOURCE: None, DESTINATION: at("dst1")}
    found = there(views=views, registered=served).course().findings
    assert [(one.id, one.severity) for one in found] == [("TB151", Severity.WARN)]


def test_another_model_there() -> None:
    other = {SOURCE: {}, DESTINATION: {"device": PhoneInfo(DEVICE, "Cisco 7841")}}
    (found,) = Case(views=other).course().findings
    assert (found.id, found.severity) == ("TB151", Severity.STOP)
    assert "CP-8861 at source, CP-7841 at destination" in found.evidence


def test_tvs_that_do_not_answer() -> None:
    made = world(secure=True)
    without_tvs("src1")(made)
    assert Case(made=made).course().standing is Standing.WOULD_MOVE
    without_tvs("src2")(made)
    course = Case(made=made).course()
    assert course.standing is Standing.WOULD_STRAND
    assert [one.id for one in course.findings] == ["TB111"]


def test_nowhere() -> None:
    gone = {SOURCE: at("src1", PhoneStatus.UNREGISTERED), DESTINATION: None}
    course = Case(registered=gone, closed=True).course()
    assert course.standing is Standing.NOWHERE
    assert "source and destination know it" in course.because
    assert "source/src1 has it as UnRegistered since 2026-03-01 11:55 UTC" in course.because
    assert any("00:11:22:33:44:55" in step for step in course.steps)
    assert [one.id for one in course.findings] == ["TB161"]


def test_rejected() -> None:
    course = Case(registered={SOURCE: None, DESTINATION: at("dst2", PhoneStatus.REJECTED)}).course()
    assert course.standing is Standing.REJECTED
    assert "destination/dst2 rejects it" in course.because


def nobody(**changes: Any) -> Case:
    nothing = {"device": None}
    values: dict[str, Any] = {
        "registered": {SOURCE: None, DESTINATION: None},
        "views": {SOURCE: dict(nothing), DESTINATION: dict(nothing)},
        "closed": True,
    }
    return Case(**(values | changes))


def test_never_heard_of_needs_everybodys_word() -> None:
    course = nobody().course()
    assert course.standing is Standing.NEVER_HEARD
    assert any("label" in step for step in course.steps)
    untold = nobody(views={SOURCE: {"device": None}, DESTINATION: {"device": None, "told": False}}).course()
    assert untold.standing is Standing.UNSEEN
    assert untold.steps == ("See why destination does not answer: trustbridge cluster test destination",)
    unheard = nobody(views={SOURCE: {"device": None, "heard": False}, DESTINATION: {"device": None}}).course()
    assert unheard.standing is Standing.UNSEEN
    assert "RisPort70 of source" in unheard.because


def test_too_little_to_run_its_procedure() -> None:
    course = Case(ran=False).course()
    assert course.standing is Standing.UNDECIDED
    assert (course.prediction, course.walks) == (None, ())


def test_two_ways_are_both_to_be_well() -> None:
    both = Case(pairs=((SOURCE, DESTINATION), (DESTINATION, SOURCE)))
    assert [one.standing for one in both.diagnosed().courses] == [Standing.WOULD_MOVE, Standing.MOVED]
    assert both.diagnosed().well
    assert not replace(both, made=unvouched()).diagnosed().well


def test_where_no_move_is_meant() -> None:
    assert Case(pairs=()).course().standing is Standing.IN_ORDER
    assert Case(pairs=(), flash=Flash(B.ctl(), B.itl())).course().standing is Standing.NOT_TRUSTING
    assert Case(pairs=(), closed=True).course().standing is Standing.UNDECIDED
    assert nobody(pairs=()).course().standing is Standing.NEVER_HEARD


def test_another_cluster_has_it() -> None:
    views: dict[str, dict[str, Any]] = {SOURCE: {}, DESTINATION: {}, "third": {}}
    registered = {SOURCE: None, DESTINATION: None, "third": at("dst1")}
    course = Case(views=views, registered=registered).course()
    assert course.standing is Standing.ELSEWHERE


def test_lists_of_neither_are_told_only_where_every_file_was_had() -> None:
    foreign = Flash(itl=B.itl(blank=True), ctl=b"another cluster's")
    ids = [one.id for one in Case(flash=foreign).course().findings if one.severity is Severity.WARN]
    assert "TB122" in ids
    partly: dict[str, dict[str, Any]] = {SOURCE: {"files_whole": False}, DESTINATION: {}}
    found = Case(flash=foreign, views=partly).course().findings
    assert not [one for one in found if one.id == "TB122" and "serves such a file" in one.evidence]


@pytest.mark.parametrize(
    "case",
    [
        there(flash=A.flash(secure=True)),
        there(closed=True),
        Case(made=unvouched()),
        Case(closed=True),
        Case(ran=False),
        Case(registered={SOURCE: None, DESTINATION: None}),
        Case(registered={SOURCE: None, DESTINATION: at("dst2", PhoneStatus.REJECTED)}),
        Case(pairs=(), flash=Flash(B.ctl(), B.itl())),
        Case(pairs=(), closed=True),
        Case(pairs=(), registered={SOURCE: None, DESTINATION: None}),
        nobody(),
        nobody(views={SOURCE: {"device": None, "heard": False}, DESTINATION: {"device": None}}),
    ],
)
def test_whoever_does_not_stand_well_is_told_what_to_do(case: Case) -> None:
    course = case.course()
    assert not course.well
    assert course.steps


def test_registered_there_with_other_lists_a_reset_helps_only_if_its_procedure_says_so() -> None:
    course = there(flash=A.flash(secure=True)).course()
    assert course.prediction is not None
    assert course.prediction.moves
    assert any(step.startswith("Reset it") for step in course.steps)
    course = there(flash=A.flash(secure=True), made=unvouched()).course()
    assert not any(step.startswith("Reset it") for step in course.steps)


# Campaigns.


def campaign(state: str, kind: Kind, *, of: CampaignState = CampaignState.HALTED, **changes: Any) -> CampaignSeen:
    values: dict[str, Any] = {
        "id": 1,
        "campaign_id": 1,
        "wave_id": 1,
        "wave": "pilot",
        "name": DEVICE,
        "model": "CP-8861",
        "device_pool": "Default",
        "state": state,
        "kind": kind,
        "direction": Direction.FORTH,
        "wanted": Direction.FORTH,
        "again": False,
        "step": 3,
        "since": NOW,
        "due_at": None,
        "reset_at": None,
        "resets": 1,
        "baseline": {},
        "reason": "it is back at its origin",
        "evidence": ("page: Trust List Update Failed",),
        "lease_owner": None,
        "lease_until": None,
    }
    names = PhoneRecord.__dataclass_fields__
    row = PhoneRecord(**{name: value for name, value in (values | changes).items() if name in names})
    record = CampaignRecord(1, "north", SOURCE, DESTINATION, of, "", "", {}, NOW, NOW)
    entry = JournalRecord(1, NOW, "me", "state", "pilot", DEVICE, 3, "reset sent", state, "it came back", ())
    return CampaignSeen(record, row, (entry,))


def test_what_a_campaign_has_seen_counts() -> None:
    stranded = campaign("stranded", Kind.FAILED)
    diagnosis = Case(made=unvouched(), campaigns=(stranded,)).diagnosed()
    (course,) = diagnosis.courses
    assert course.standing is Standing.STRANDED
    assert "campaign north has it as stranded: it is back at its origin" in course.because
    assert course.steps[-1] == "trustbridge migrate resume north --retry"
    told = [one for one in diagnosis.evidence if one.where.startswith("campaign north")]
    assert [one.where for one in told] == ["campaign north", "campaign north, evidence", "campaign north, journal"]
    assert told[0].ok is False
    assert "reset sent to stranded: it came back" in told[2].what


@pytest.mark.parametrize(
    ("seen_in", "step"),
    [
        (campaign("planned", Kind.HELD, of=CampaignState.PLANNED), "trustbridge migrate start north"),
        (campaign("waiting", Kind.HELD, of=CampaignState.PAUSED), "trustbridge migrate resume north"),
        (campaign("ready", Kind.HELD, of=CampaignState.RUNNING), "status north --watch"),
        (campaign("skipped", Kind.SKIPPED), "trustbridge migrate resume north --retry"),
        (campaign("waiting", Kind.HELD, of=CampaignState.RUNNING, reason="it is in use"), "it is in use"),
        (campaign("ready", Kind.HELD, direction=Direction.BACK), f"migrate rollback north --phone {DEVICE}"),
    ],
)
def test_the_last_step_is_the_campaigns(seen_in: CampaignSeen, step: str) -> None:
    assert Case(campaigns=(seen_in,)).course().steps[-1].endswith(step)


# Files.


def test_a_configuration_file_is_verified() -> None:
    made = world(secure=True)
    content = made.tftp["dst1"][f"{DEVICE}.cnf.xml.sgn"]
    signers = [one for file in view(DESTINATION).files for one in file.servers]
    whole = configuration_file("dst1", "x", content, signers)
    assert (whole.checked, whole.problem) == (True, "")
    assert whole.configuration is not None
    spoilt = configuration_file("dst1", "x", content[:-20] + b"?" + content[-19:], signers)
    assert not spoilt.checked
    assert spoilt.problem
    assert configuration_file("dst1", "x", content, []).checked is False
    assert configuration_file("dst1", "x", b"<html>", signers).problem.startswith("it is no signed file")
    assert configuration_file("dst1", "x", None, signers) == ConfigurationFile("dst1", "x", None)


def test_firmware_that_is_not_there() -> None:
    told = Configuration((), (), load="sip88xx.14-2-1")

    def found(firmware: bool | None) -> list[tuple[str, str, str]]:
        file = ConfigurationFile("dst1", "SEP.cnf.xml.sgn", b"x", told, firmware=firmware)
        case = Case(views={SOURCE: {}, DESTINATION: {"configurations": (file,)}}, messages=("Load rejected HC",))
        return [(one.id, one.subject, one.evidence) for one in case.course().findings]

    assert found(True) == found(None) == []
    ((kind, subject, evidence),) = found(False)
    assert (kind, subject) == ("TB153", "destination/dst1")
    assert "names firmware sip88xx.14-2-1, and dst1 serves no sip88xx.14-2-1.loads" in evidence
    assert "it says `Load rejected HC`" in evidence


# Evidence, and JSON.


def test_evidence_says_where_it_came_from() -> None:
    lines = {
        (one.where, one.what): one for one in Case(messages=("File Not Found <CTLFile.tlv>",)).diagnosed().evidence
    }
    page = f"phone page {ADDRESS}"
    assert ("RisPort70 of source", f"Registered at src1 from {ADDRESS} since 2026-03-01 11:55:00 UTC") in lines
    assert ("RisPort70 of destination", "has not heard of it") in lines
    assert lines[page, f"ITL {digest(A.flash(secure=True).itl)}"].means == "the one that source serves"
    assert lines[page, "TFTP servers 192.0.2.16, of source"].ok is None
    assert "normal" in lines[page, "11:00:00 File Not Found <CTLFile.tlv>"].means
    assert any(where == "TFTP of destination/dst1" and "signature holds" in what for where, what in lines)


@pytest.mark.parametrize(
    "case", [Case(), there(), Case(closed=True), nobody(), Case(made=unvouched()), Case(ran=False)]
)
def test_json_holds_all_of_it_and_names_the_phone(case: Case) -> None:
    diagnosis = case.diagnosed()
    found = json.loads(json.dumps(diagnosis.as_json()))
    assert found["well"] is diagnosis.well
    (course,) = found["courses"]
    assert course["standing"] == diagnosis.courses[0].standing.name.lower()
    assert len(found["evidence"]) == len(diagnosis.evidence)
    assert "SEP000000000000" not in json.dumps(found)


# Status messages.


@pytest.mark.parametrize(
    ("text", "ok", "word"),
    [
        ("Trust List Updated", True, "took a new trust list"),
        ("Trust List Update Failed", False, "refused a new trust list"),
        ("Trust List update failed, verification failure", False, "signature"),
        ("No Trust List Installed", None, "no trust list"),
        ("ITL installed", None, "an ITL, and no CTL"),
        ("CTL and ITL installed", None, "a CTL and an ITL"),
        ("TFTP Timeout", False, "answered"),
        ("TFTP access error", False, "error"),
        ("TFTP Error", False, "error"),
        ("File Not Found <CTLFile.tlv>", None, "normal"),
        ("File Not Found <SEP001122334455.cnf.xml.sgn>", False, "configuration"),
        ("DNS unknown host", False, "DNS"),
        ("Load rejected HC", False, "firmware"),
        ("Version error", False, "firmware"),
        ("Host Not Found", False, "service"),
        ("SEP001122334455.cnf.xml.sgn", True, "applied"),
        ("XMLDefault.cnf.xml.sgn", None, "default"),
    ],
)
def test_every_known_message_has_a_meaning(text: str, ok: bool | None, word: str) -> None:
    meaning = meaning_of(text)
    assert meaning is not None
    assert meaning.ok is ok
    assert word in meaning.words


@given(st.text(max_size=80))
def test_meanings_are_total(text: str) -> None:
    meaning_of(text)
    found = last_verdict([StatusMessage("", text), StatusMessage("", "something")])
    assert found is None or found[0].text == text


def test_messages_that_are_not_known_mean_nothing() -> None:
    assert meaning_of("Phone idle") is None
    assert last_verdict([]) is None
