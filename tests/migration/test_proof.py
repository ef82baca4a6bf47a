"""What a proof says of each state an exchange can be in: one change to a proven one, and what comes of it."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import pytest
from tests.migration.proofstage import NEW, NOW, OLD, PAIR, Change, Stage, identity, signed

from trustbridge.cucm.model import CallManagerGroup
from trustbridge.migration.findings import KINDS, Severity
from trustbridge.migration.proof import Proof, Verdict, prove
from trustbridge.migration.prooffiles import file_findings
from trustbridge.migration.proofseen import Failure, Gap
from trustbridge.migration.proofvalues import together
from trustbridge.pki.issue import Organisation, authority, node_identities
from trustbridge.pki.units import BulkType, Store, Unit
from trustbridge.trust.lists import ListedCertificate
from trustbridge.wire.signedheader import Digest
from trustbridge.wire.trustlist import Role

SAST_STORE, CM_STORE = Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST
YES, NO, UNKNOWN = Verdict.YES, Verdict.NO, Verdict.UNKNOWN


def told(proof: Proof, severity: Severity) -> set[tuple[str, str]]:
    return {(one.id, one.subject) for one in proof.findings if one.severity is severity}


def verdicts(proof: Proof) -> list[Verdict]:
    """old-pub, old-sub, new-pub, new-sub: each cluster signs with one certificate."""
    return [cell.verdict for direction in proof.directions for cell in direction.cells]


def test_a_whole_exchange_is_proven_both_ways() -> None:
    stage = Stage.exchanged()
    stage.emcc = True
    proof = stage.proof()
    assert proof.holds is True
    assert verdicts(proof) == [YES] * 4
    assert not proof.findings
    assert not proof.gaps
    assert [(one.asking, one.vouched, one.back) for one in proof.directions] == [(OLD, NEW, False), (NEW, OLD, True)]
    assert proof.title == "Proven"
    assert "so that phones can go back" in proof.sentence
    cell = proof.directions[0].cell("old-sub", stage.new.recovery.sha256)
    words = " ".join(cell.words)
    for part in ("valid, SAST and TFTP", "86400 s", "CTLFile.tlv of new-pub, new-sub", "node's own TVS certificate"):
        assert part in words
    for part in ("ITL of old-pub, old-sub lists it", "the node holds it in ", "listTvsCertificate names it"):
        assert part in words
    assert cell.roles == ("SAST", "TFTP")


# One change each, and what is found: (STOP, WARN, verdicts of old-pub, old-sub, new-pub, new-sub).


def nothing_imported(stage: Stage) -> None:
    stage.clusters = Stage.strangers().clusters


def on_one_side(stage: Stage) -> None:
    stage.clusters = Stage.strangers().clusters
    stage.give(OLD, NEW)


def callmanager_alone(stage: Stage) -> None:
    stage.old.take(stage.new.recovery)


def not_replicated(stage: Stage) -> None:
    stage.old.take(stage.new.recovery, nodes=["old-sub"])


def not_replicated_unread(stage: Stage) -> None:
    not_replicated(stage)
    stage.old.stores_unread = set(stage.old.nodes)


def not_replicated_nothing_read(stage: Stage) -> None:
    not_replicated_unread(stage)
    stage.old.listed = False


def not_replicated_publisher_unread(stage: Stage) -> None:
    not_replicated(stage)
    stage.old.stores_unread = {"old-pub"}


def old_cache(stage: Stage) -> None:
    stage.old.cache["old-sub"] = Stage.strangers().old.stores["old-sub"]


def old_cache_of_an_unread_publisher(stage: Stage) -> None:
    stage.old.cache["old-pub"] = Stage.strangers().old.stores["old-pub"]
    stage.old.stores_unread = {"old-pub"}


def another_tftp_node(stage: Stage) -> None:
    stage.new.sign(Unit.CALLMANAGER)
    stage.old.take(stage.new.certificate("new-sub", Unit.CALLMANAGER))


def no_sast(stage: Stage) -> None:
    stage.old.take(stage.new.recovery, SAST_STORE)


def no_sast_yet(stage: Stage) -> None:
    stage.old.cache = {
        node: held | {SAST_STORE: tuple(one for one in held[SAST_STORE] if one != stage.new.recovery)}
        for node, held in stage.old.stores.items()
    }


def renewed(stage: Stage) -> None:
    stage.new.identities["new-pub", Unit.ITLRECOVERY] = identity(
        "ITLRECOVERY_new", Unit.ITLRECOVERY, node="new-pub", make=1
    )
    stage.new.sign()


def renewed_by_the_database(stage: Stage) -> None:
    renewed(stage)
    stage.old.stores_unread = set(stage.old.nodes)


def a_twin(stage: Stage) -> None:
    recovery = stage.new.recovery
    twin = identity("ITLRECOVERY_new", Unit.ITLRECOVERY, serial=recovery.serial, make=2).certificate
    stage.old.take(recovery)
    stage.old.put(SAST_STORE, twin)


def a_twin_beside(stage: Stage) -> None:
    twin = identity("ITLRECOVERY_new", Unit.ITLRECOVERY, serial=stage.new.recovery.serial, make=2).certificate
    stage.old.put(SAST_STORE, twin, nodes=["old-sub"])


def issuer_alone(stage: Stage) -> None:
    organisation = Organisation(ou="UC", o="Example", l="Krakow", st="Malopolska", c="PL")
    ca = authority("Example CA", organisation, NOW - timedelta(days=1), key="p256")
    made = node_identities(
        "new-pub", domain="", organisation=organisation, now=NOW, publisher=True, itlrecovery=False, ca=ca, ecdsa=False
    )
    (signer,) = [one for one in made if one.unit is Unit.CALLMANAGER]
    nothing_imported(stage)
    stage.new.identities["new-pub", Unit.CALLMANAGER] = signer
    stage.new.sign(Unit.CALLMANAGER)
    del stage.new.files["new-sub", "ITLFile.tlv"]
    stage.give(NEW, OLD)
    stage.old.put(CM_STORE, ca.certificate)


def tvs_of_another_itl(stage: Stage) -> None:
    stage.old.presented["old-sub"] = identity("old-sub.TVS", Unit.TVS, node="old-sub", make=3).certificate


def tvs_in_one_itl_alone(stage: Stage) -> None:
    signer = stage.old.signer(Unit.ITLRECOVERY, "old-pub")
    recovery = ListedCertificate(Role.SAST, "old-pub", stage.old.recovery)
    stage.old.files["old-sub", "ITLFile.tlv"] = signed([recovery], signer, "ITLFile.tlv")


def tvs_expired(stage: Stage) -> None:
    stage.old.identities["old-sub", Unit.TVS] = identity("old-sub.TVS", Unit.TVS, node="old-sub", days=20)
    stage.old.sign()


def one_down(stage: Stage) -> None:
    stage.old.failures["old-sub"] = Failure.UNREACHABLE


def all_down(stage: Stage) -> None:
    stage.old.failures = dict.fromkeys(stage.old.nodes, Failure.UNREACHABLE)


def a_whole_group_down(stage: Stage) -> None:
    stage.old.groups = (CallManagerGroup("A", ("old-pub",)), CallManagerGroup("B", ("old-sub",)))
    stage.old.failures["old-sub"] = Failure.UNREACHABLE


def too_old_for_tls(stage: Stage) -> None:
    stage.old.failures["old-sub"] = Failure.TLS_VERSION


def too_big(stage: Stage) -> None:
    entries = [ListedCertificate(Role.SAST, "new-pub", stage.new.recovery)] * 60
    signer = stage.new.signer(Unit.ITLRECOVERY, "new-pub")
    stage.new.files["new-sub", "CTLFile.tlv"] = signed(entries, signer, "CTLFile.tlv")


def damaged(stage: Stage) -> None:
    content = bytearray(stage.new.files["new-sub", "CTLFile.tlv"] or b"")
    content[-20] ^= 1
    stage.new.files["new-sub", "CTLFile.tlv"] = bytes(content)


def no_trust_list(stage: Stage) -> None:
    stage.new.files["new-sub", "CTLFile.tlv"] = b"<html>"


def signer_without_sast(stage: Stage) -> None:
    signer = stage.new.signer(Unit.ITLRECOVERY, "new-pub")
    entries = [ListedCertificate(Role.TFTP, "new-pub", stage.new.recovery)]
    stage.new.files["new-sub", "CTLFile.tlv"] = signed(entries, signer, "CTLFile.tlv")


def sha512(stage: Stage) -> None:
    stage.new.sign(digest=Digest.SHA512)


def tftp_not_restarted(stage: Stage) -> None:
    old = stage.new.identities["new-pub", Unit.ITLRECOVERY]
    renewed(stage)
    now = stage.new.identities["new-pub", Unit.ITLRECOVERY]
    stage.new.identities["new-pub", Unit.ITLRECOVERY] = old
    stage.new.sign()
    stage.new.identities["new-pub", Unit.ITLRECOVERY] = now


def a_proxy(stage: Stage) -> None:
    """It serves an ITL of its own that lists the cluster's TVS; and it was exchanged with."""
    real = stage.new.identities["new-pub", Unit.ITLRECOVERY]
    strange = identity("proxy.example", Unit.ITLRECOVERY)
    stage.new.identities["new-pub", Unit.ITLRECOVERY] = strange
    stage.new.sign()
    stage.new.identities["new-pub", Unit.ITLRECOVERY] = real
    stage.old.put(SAST_STORE, strange.certificate)


def prepared_for_rollback(stage: Stage) -> None:
    stage.old.rollback = True
    stage.old.sign(blank=True)


def prepared_and_not_yet_blank(stage: Stage) -> None:
    stage.old.rollback = True


def blank_for_no_reason_that_is_known(stage: Stage) -> None:
    stage.old.rollback = stage.old.mixed = None
    stage.old.sign(blank=True)


def prepared_and_not_secure(stage: Stage) -> None:
    stage.old.mixed = False
    prepared_for_rollback(stage)


def stale_ctl(stage: Stage) -> None:
    stage.new.mixed = False  # and its CTL is still served


def capf_nowhere(stage: Stage) -> None:
    stage.new.take(stage.old.certificate("old-pub", Unit.CAPF), Store.CAPF_TRUST)


def capf_on_a_cluster_that_is_not_secure(stage: Stage) -> None:
    capf_nowhere(stage)
    stage.new.mixed = False
    stage.new.sign()


def capf_on_one_node(stage: Stage) -> None:
    stage.new.take(stage.old.certificate("old-pub", Unit.CAPF), Store.CAPF_TRUST, nodes=["new-sub"])


def withdrawn(stage: Stage) -> None:
    stage.old.cache["old-sub"] = dict(stage.old.stores["old-sub"])
    stage.old.take(stage.new.recovery, nodes=["old-sub"])


NODE = "old/old-sub"
CASES: list[tuple[Change, set[tuple[str, str]], set[tuple[str, str]], list[Verdict]]] = [
    (nothing_imported, {("TB101", OLD), ("TB170", NEW)}, {("TB101", NEW)}, [NO, NO, NO, NO]),
    (on_one_side, {("TB170", NEW)}, {("TB101", NEW)}, [YES, YES, NO, NO]),
    (callmanager_alone, {("TB104", OLD)}, set(), [NO, NO, YES, YES]),
    (not_replicated, {("TB102", NODE)}, set(), [YES, NO, YES, YES]),
    (not_replicated_publisher_unread, {("TB102", NODE)}, set(), [YES, NO, YES, YES]),
    (not_replicated_unread, {("TB102", NODE)}, set(), [YES, NO, YES, YES]),
    (not_replicated_nothing_read, {("TB102", NODE)}, set(), [YES, NO, YES, YES]),
    (old_cache, {("TB103", NODE)}, set(), [YES, NO, YES, YES]),
    (old_cache_of_an_unread_publisher, {("TB103", "old/old-pub")}, set(), [NO, YES, YES, YES]),
    (another_tftp_node, {("TB105", OLD)}, set(), [YES, YES, NO, NO, YES, YES]),
    (no_sast, {("TB106", OLD)}, set(), [NO, NO, YES, YES]),
    (no_sast_yet, {("TB103", "old/old-pub"), ("TB103", NODE)}, set(), [NO, NO, YES, YES]),
    (renewed, {("TB107", OLD)}, set(), [NO, NO, YES, YES]),
    (renewed_by_the_database, {("TB107", OLD)}, set(), [NO, NO, YES, YES]),
    (a_twin, {("TB108", OLD)}, {("TB108", OLD), ("TB103", "old/old-pub"), ("TB103", NODE)}, [NO, NO, YES, YES]),
    (a_twin_beside, set(), {("TB108", NODE)}, [YES, YES, YES, YES]),
    (issuer_alone, {("TB109", OLD)}, set(), [NO, NO, YES, YES]),
    (tvs_of_another_itl, {("TB110", NODE)}, {("TB149", NODE)}, [YES, NO, YES, YES]),
    (tvs_in_one_itl_alone, {("TB110", "old/old-pub"), ("TB110", NODE)}, set(), [NO, NO, YES, YES]),
    (tvs_expired, {("TB113", NODE)}, set(), [YES, NO, YES, YES]),
    (one_down, set(), {("TB111", NODE)}, [YES, UNKNOWN, YES, YES]),
    (all_down, {("TB111", "old/old-pub"), ("TB111", NODE)}, set(), [UNKNOWN, UNKNOWN, YES, YES]),
    (a_whole_group_down, {("TB111", NODE)}, set(), [YES, UNKNOWN, YES, YES]),
    (too_old_for_tls, set(), {("TB112", NODE)}, [YES, UNKNOWN, YES, YES]),
    (too_big, {("TB130", "new/new-sub")}, set(), [YES, YES, YES, YES]),
    (damaged, {("TB131", "new/new-sub")}, set(), [NO, NO, YES, YES]),
    (no_trust_list, {("TB131", "new/new-sub")}, set(), [YES, YES, YES, YES]),
    (signer_without_sast, {("TB131", "new/new-sub")}, set(), [YES, YES, YES, YES]),
    (
        sha512,
        set(),
        {("TB132", "new/new-pub"), ("TB132", "new/new-sub")},
        [YES, YES, YES, YES],
    ),
    (tftp_not_restarted, set(), {("TB131", "new/new-pub"), ("TB131", "new/new-sub")}, [YES, YES, YES, YES]),
    (a_proxy, set(), {("TB154", "new/new-pub"), ("TB154", "new/new-sub")}, [YES, YES, YES, YES]),
    (prepared_for_rollback, {("TB120", OLD)}, set(), [NO, NO, YES, YES]),
    (prepared_and_not_yet_blank, {("TB120", OLD)}, set(), [YES, YES, YES, YES]),
    (blank_for_no_reason_that_is_known, {("TB120", OLD)}, set(), [UNKNOWN, UNKNOWN, YES, YES]),
    (prepared_and_not_secure, set(), {("TB120", OLD)}, [YES, YES, YES, YES]),
    (stale_ctl, set(), {("TB121", "new/new-pub"), ("TB121", "new/new-sub")}, [YES, YES, YES, YES]),
    (capf_nowhere, set(), {("TB152", NEW)}, [YES, YES, YES, YES]),
    (capf_on_a_cluster_that_is_not_secure, set(), set(), [YES, YES, YES, YES]),
    (capf_on_one_node, set(), {("TB147", NEW)}, [YES, YES, YES, YES]),
    (withdrawn, set(), {("TB103", NODE)}, [YES, YES, YES, YES]),
]


@pytest.mark.parametrize(("change", "stops", "warnings", "cells"), CASES, ids=[case[0].__name__ for case in CASES])
def test_one_change_and_what_is_found(
    change: Change, stops: set[tuple[str, str]], warnings: set[tuple[str, str]], cells: list[Verdict]
) -> None:
    stage = Stage.exchanged()
    change(stage)
    proof = stage.proof()
    assert (told(proof, Severity.STOP), told(proof, Severity.WARN)) == (stops, warnings), proof.findings
    assert verdicts(proof) == cells, [cell.words for direction in proof.directions for cell in direction.cells]
    expected = False if stops or NO in cells else None if UNKNOWN in cells else True
    assert proof.holds is expected
    assert json.loads(json.dumps(proof.as_json()))["holds"] is expected
    assert all(one.id in KINDS and one.evidence and one.remedy for one in proof.findings)
    assert proof.sentence.startswith("Proven" if expected else "Not proven")


def test_no_way_back_says_why_and_what_to_do() -> None:
    stage = Stage.exchanged()
    stage.new.cache["new-sub"] = Stage.strangers().new.stores["new-sub"]
    stage.new.presented["new-pub"] = identity("new-pub.TVS", Unit.TVS, node="new-pub", make=3).certificate
    proof = stage.proof()
    (back,) = [one for one in proof.findings if one.id == "TB170"]
    assert back.evidence == "2 of 2 answers about signers of old are no, at new-pub, new-sub: TB103, TB110"
    assert KINDS["TB103"].remedy in back.remedy
    assert KINDS["TB110"].remedy in back.remedy
    (cause,) = [one for one in proof.findings if one.id == "TB103"]
    assert cause.consequence == "On the way back: phones that ask this node strand."
    stage = Stage.exchanged()
    stage.new.sign(blank=True)
    (back,) = [one for one in stage.proof().findings if one.id == "TB170"]
    assert back.evidence.endswith("at new-pub, new-sub")
    assert "findings" in back.remedy


# What was not observed is unknown, never guessed.


def test_the_same_host_names_on_both_sides_are_no_renewal() -> None:
    stage = Stage.strangers()
    same = identity("ITLRECOVERY_new", Unit.ITLRECOVERY, node="old-pub", make=4)
    stage.old.identities["old-pub", Unit.ITLRECOVERY] = same
    stage.old.put(SAST_STORE, same.certificate)
    stage.old.sign()
    assert ("TB101", OLD) in told(stage.proof(), Severity.STOP)


def test_nothing_read_beside_the_answers_leaves_the_answers() -> None:
    stage = Stage.exchanged()
    for cluster in stage.clusters.values():
        cluster.stores_unread = set(cluster.nodes)
        cluster.identities_unread = set(cluster.nodes)
        cluster.listed = False
        cluster.groups = None
        cluster.mixed = cluster.rollback = None
    proof = stage.proof()
    assert proof.holds is True
    cell = proof.directions[0].cells[0]
    assert (cell.stores, cell.listed) == (None, None)
    words = " ".join(cell.words)
    assert "stores were not compared" in words
    assert "listTvsCertificate was not read" in words
    assert "own TVS certificate was not read" in words
    stage = dataclasses.replace(stage)
    for node in stage.old.nodes:
        stage.old.cache[node] = Stage.strangers().old.stores[node]
    proof = stage.proof()
    assert told(proof, Severity.STOP) == {("TB101", OLD)}
    assert "the answer is all" in proof.findings[0].evidence


def test_a_signer_that_only_the_answer_shows_is_judged_by_the_signature() -> None:
    stage = Stage.exchanged()
    stage.new.identities_unread = set(stage.new.nodes)
    stage.new.mixed = False
    stage.new.files = dict.fromkeys(stage.new.files)
    stage.new.sign(blank=True)
    proof = stage.proof()
    assert proof.directions[0].signers[0].certificate is None
    assert verdicts(proof) == [YES] * 4
    twin = identity("ITLRECOVERY_new", Unit.ITLRECOVERY, serial=stage.new.recovery.serial, make=2).certificate
    stage.old.take(stage.new.recovery)
    stage.old.put(SAST_STORE, twin)
    proof = stage.proof()
    assert verdicts(proof) == [NO, NO, YES, YES]
    assert ("TB108", OLD) in told(proof, Severity.STOP)


def test_a_signer_is_strange_only_where_all_certificates_are_known() -> None:
    stage = Stage.exchanged()
    a_proxy(stage)
    stage.new.identities_unread = {"new-sub"}
    assert not stage.proof().findings


def test_a_key_above_2048_bits_is_too_long_for_old_models() -> None:
    seen = Stage.exchanged().new.seen()
    (file, *_) = seen.nodes[0].files or ()
    assert file.header is not None
    longer = dataclasses.replace(file, header=dataclasses.replace(file.header, modulus=3))
    node = dataclasses.replace(seen.nodes[0], files=(longer,))
    found = file_findings(dataclasses.replace(seen, nodes=(node, *seen.nodes[1:])))
    assert [(one.id, one.severity, one.subject) for one in found] == [("TB132", Severity.WARN, "new/new-pub")]
    assert "RSA key of 4096 bits" in found[0].evidence


def test_nothing_at_all_is_unknown() -> None:
    assert together([]) is UNKNOWN
    assert together([YES, UNKNOWN]) is UNKNOWN
    assert together([YES, UNKNOWN, NO]) is NO


def test_without_files_there_is_nobody_to_ask_about() -> None:
    stage = Stage.exchanged()
    stage.new.files = {}
    proof = stage.proof()
    assert proof.holds is None
    assert [gap.where for gap in proof.gaps if gap.essential] == [NEW]
    assert proof.directions[0].cells == ()
    assert [cell.verdict for cell in proof.directions[1].cells] == [UNKNOWN, UNKNOWN]  # no ITL to find their TVS in


def test_what_was_needed_and_not_seen_is_no_proof() -> None:
    stage = Stage.exchanged()
    stage.gaps.append(Gap(NEW, "new-sub", "trust lists", "nobody answers", essential=True))
    proof = stage.proof()
    assert proof.holds is None
    assert "1 other thing could not be looked at" in proof.sentence
    stage.gaps[:] = [Gap(NEW, "new-sub", "identity certificates", "nobody answers")]
    assert stage.proof().holds is True


def test_an_answer_without_a_certificate_is_unknown() -> None:
    stage = Stage.exchanged()
    seen = stage.observations()
    answers = tuple(dataclasses.replace(one, returned=None) for one in seen.answers)
    assert prove(dataclasses.replace(seen, answers=answers), NOW).holds is None
    assert prove(dataclasses.replace(seen, answers=()), NOW).holds is None


def test_nodes_in_no_group_are_left_out_and_told() -> None:
    stage = Stage.exchanged()
    stage.old.groups = (CallManagerGroup("Default", ("old-pub",)),)
    not_replicated(stage)
    proof = stage.proof()
    assert proof.holds is True
    assert proof.directions[0].left_out == ("old-sub",)
    stage.old.groups = ()
    proof = stage.proof()
    assert proof.holds is None
    assert "none of its nodes is in a Unified CM group" in [gap.why for gap in proof.gaps]


def test_only_one_node_is_asked_and_it_is_named() -> None:
    stage = Stage.strangers()
    stage.old.groups = (CallManagerGroup("Default", ("old-pub",)),)
    assert ("TB101", "old/old-pub") in told(stage.proof(), Severity.STOP)


def test_pairs_both_ways_are_no_way_back() -> None:
    proof = Stage.strangers().proof(pairs=(PAIR, PAIR[::-1]))
    assert [one.back for one in proof.directions] == [False, False]
    assert told(proof, Severity.STOP) == {("TB101", OLD), ("TB101", NEW)}


def test_capf_trust_that_was_not_read_is_said() -> None:
    stage = Stage.exchanged()
    stage.old.stores_unread = {"old-sub"}
    stage.deep = False
    proof = stage.proof()
    assert [(gap.where, gap.essential) for gap in proof.gaps] == [(OLD, False)]
    assert "CAPF-trust of old-sub (--quick leaves it out)" in proof.gaps[0].why


# Extension Mobility Cross Cluster.


@pytest.mark.parametrize("bulk_type", list(BulkType))
def test_emcc_needs_all_four_types_on_both_sides(bulk_type: BulkType) -> None:
    stage = Stage.strangers()
    stage.emcc = True
    stage.give(OLD, NEW)
    stage.give(NEW, OLD, *(one for one in BulkType if one is not bulk_type))
    proof = stage.proof()
    found = {one.subject: one.evidence for one in proof.findings if one.id == "TB171"}
    assert set(found) == {"new/new-pub", "new/new-sub"}
    assert all(f"type {bulk_type} of {OLD}" in evidence for evidence in found.values())
    assert {one.bulk_type for one in proof.placements if one.verdict is NO} == {bulk_type}
    assert proof.holds is False


def test_emcc_goes_by_live_certificates_on_every_node_and_says_what_it_did_not_see() -> None:
    stage = Stage.exchanged()
    stage.emcc = True
    stage.new.identities["new-sub", Unit.TOMCAT] = identity("new-sub.tomcat", Unit.TOMCAT, node="new-sub", make=5)
    proof = stage.proof()
    assert {one.subject for one in proof.findings if one.id == "TB171"} == {"old/old-pub", NODE}
    assert verdicts(proof) == [YES] * 4
    stage = Stage.exchanged()
    stage.emcc = True
    stage.old.stores_unread = {"old-sub"}
    proof = stage.proof()
    assert proof.holds is None
    assert {one.node for one in proof.placements if one.verdict is UNKNOWN} == {"old-sub"}
    stage.old.identities_unread = {"old-sub"}
    proof = stage.proof()
    assert {one.node for one in proof.placements if one.verdict is UNKNOWN} == {"old-sub", "new-pub", "new-sub"}
    stage = Stage.exchanged()
    stage.emcc = True
    stage.old.sign(Unit.CALLMANAGER)
    del stage.old.identities["old-pub", Unit.ITLRECOVERY]
    unknown = [one.words for one in stage.proof().placements if one.verdict is UNKNOWN]
    assert set(unknown) == {"old shows no certificate of type itlrecovery"}
    # The other nodes' CAPF certificates are not in use: nobody has to hold them.
    stage = Stage.exchanged()
    stage.emcc = True
    stage.old.take(stage.new.certificate("new-sub", Unit.CAPF))
    assert stage.proof().holds is True
