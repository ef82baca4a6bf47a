"""What stops an exchange before it does harm: each finding on its evidence, and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from tests.migration.surveyed import BEGUN, NOW, ca_signed, identity, issued, root, surveyed

from trustbridge.cucm.model import NodeIdentity
from trustbridge.migration.exchangecheck import Judged, absent_issuer, authorities_for, judge
from trustbridge.migration.findings import Severity
from trustbridge.migration.goals import Goal, goals_of
from trustbridge.migration.survey import ClusterSurvey
from trustbridge.pki.units import BulkType, Store, Unit

ALL = tuple(BulkType)


def judged(*surveys: ClusterSurvey, types: Sequence[BulkType] = ALL) -> tuple[Judged, tuple[Goal, ...]]:
    by_name = {one.name: one for one in surveys}
    pairs = [(one.name, other.name) for at, one in enumerate(surveys) for other in surveys[at + 1 :]]
    goals = goals_of(by_name, pairs, types, capf_trust=True)
    return judge(by_name, pairs, goals, NOW), goals


def ids(found: Judged) -> set[tuple[str, str]]:
    return {(one.id, str(one.severity)) for one in found.findings}


def test_two_clusters_in_order_give_nothing() -> None:
    found, _ = judged(surveyed("a", release="12.0.1"), surveyed("b", release="11.5.1"))
    assert found.findings == ()
    assert not found.unreachable
    assert not found.replaced


def test_an_import_that_restarts_phones_is_told_for_that_cluster_alone() -> None:
    found, _ = judged(surveyed("a", release="12.5.1"), surveyed("b", release="11.5.1"))
    (one,) = found.findings
    assert (one.id, one.severity, one.subject) == ("TB145", Severity.STOP, "a")
    assert "4 certificates" in one.evidence  # two CallManager, CAPF, ITLRecovery
    tomcat, _ = judged(surveyed("a", release="12.5.1"), surveyed("b", release="11.5.1"), types=(BulkType.TOMCAT,))
    assert not [one for one in tomcat.findings if one.id == "TB145"]


def test_what_is_there_already_restarts_nobody() -> None:
    a = surveyed("a", release="12.5.1")
    held = [
        (goal.store, goal.certificate) for goal in judged(a, surveyed("b", release="11.5.1"))[1] if goal.importer == "b"
    ]
    b = surveyed("b", release="12.5.1", trusted=held)
    found, _ = judged(surveyed("a", release="11.5.1"), b)
    assert not [one for one in found.findings if one.id == "TB145"]


@pytest.mark.parametrize(
    ("begins", "days", "severity", "left_out"),
    [
        (BEGUN, 50, Severity.STOP, True),
        (BEGUN, 100, None, False),  # its last day
        (NOW + timedelta(days=2), 100, Severity.WARN, False),
    ],
)
def test_certificates_that_are_not_valid_now(
    begins: object, days: int, severity: Severity | None, left_out: bool
) -> None:
    bad = identity("b", "b2", Unit.CALLMANAGER, now=begins, days=days)
    found, goals = judged(surveyed("a", release="11.5"), surveyed("b", release="11.5", identities=[bad]))
    of_it = [goal for goal in goals if goal.certificate == bad.certificate]
    assert len(of_it) == 2
    if severity is None:
        assert found.findings == ()
        return
    (one,) = found.findings
    assert (one.id, one.severity, one.subject) == ("TB142", severity, "b/b2/CallManager")
    assert [goal in found.unreachable for goal in of_it] == [left_out] * 2


def clash(**changes: object) -> tuple[Judged, list[Goal]]:
    """A store of `a` holds another certificate of the common name of b2's CallManager."""
    there = issued("elsewhere", "B2.b", Unit.CALLMANAGER, **changes)
    a = surveyed("a", release="11.5", trusted=[(Store.PHONE_SAST_TRUST, there)])
    found, goals = judged(a, surveyed("b", release="11.5"))
    return found, [goal for goal in goals if goal.source == "b2/CallManager" and goal.store is Store.PHONE_SAST_TRUST]


def test_an_older_certificate_of_the_name_would_be_replaced() -> None:
    found, (goal,) = clash(now=BEGUN - timedelta(days=10))
    (one,) = found.findings
    assert (one.id, one.severity, one.subject) == ("TB140", Severity.STOP, "a")
    assert "would be replaced" in one.evidence
    assert "CN=B2.b" in one.evidence
    assert not found.unreachable
    assert [held.common_name for held in found.replaced[goal]] == ["B2.b"]


@pytest.mark.parametrize("days", [0, 10])
def test_a_certificate_of_the_name_that_begins_no_earlier_stays(days: int) -> None:
    found, (goal,) = clash(now=BEGUN + timedelta(days=days))
    (one,) = found.findings
    assert one.id == "TB140"
    assert "begins no earlier and stays" in one.evidence
    assert found.unreachable == {goal: "TB140"}
    assert not found.replaced


def test_the_importers_own_certificate_of_the_name_stays() -> None:
    own = NodeIdentity("a1", Unit.CALLMANAGER, issued("a", "b2.b", Unit.CALLMANAGER, now=BEGUN - timedelta(days=50)))
    found, _ = judged(surveyed("a", release="11.5", identities=[own]), surveyed("b", release="11.5"))
    evidence = [one.evidence for one in found.findings if one.subject == "a"]
    assert len(evidence) == 2  # in both stores
    assert all("the cluster's own and stays" in text for text in evidence)
    assert {goal.store for goal in found.unreachable if goal.importer == "a"} == {
        Store.PHONE_SAST_TRUST,
        Store.CALLMANAGER_TRUST,
    }
    # The other way, its certificate is the older one of that name, and b's own stays.
    assert [goal for goal in found.unreachable if goal.importer == "b"]


def test_two_certificates_of_one_name_on_their_way_are_told_once() -> None:
    first = NodeIdentity("b1", Unit.CALLMANAGER, issued("b", "same.example", Unit.CALLMANAGER))
    second = NodeIdentity(
        "c1", Unit.CALLMANAGER, issued("c", "Same.example", Unit.CALLMANAGER, now=BEGUN + timedelta(days=1))
    )
    found, _ = judged(
        surveyed("a", release="11.5"),
        surveyed("b", release="11.5", identities=[first]),
        surveyed("c", release="11.5", identities=[second]),
    )
    at_a = [one for one in found.findings if one.subject == "a"]
    assert [one.id for one in at_a] == ["TB140", "TB140"]  # a store each
    assert {goal.exporter for goal in found.unreachable if goal.importer == "a"} == {"b"}


def test_two_certificates_of_one_issuer_and_serial_number() -> None:
    twins = [
        NodeIdentity(node, Unit.CALLMANAGER, issued("b", "twin.b", Unit.CALLMANAGER, serial=77, days=days))
        for node, days in (("b1", 900), ("b2", 901))
    ]
    found, _ = judged(surveyed("a", release="11.5"), surveyed("b", release="11.5", identities=twins))
    (one,) = [one for one in found.findings if one.id == "TB108"]
    assert one.severity is Severity.STOP
    assert "b/b1/CallManager" in one.evidence
    assert "b/b2/CallManager" in one.evidence


def test_an_authority_that_the_other_side_lacks() -> None:
    signed = [ca_signed("Corp CA", "b", node, Unit.CALLMANAGER) for node in ("b1", "b2")]
    own_root = (Store.CALLMANAGER_TRUST, root("Corp CA").certificate)
    b = surveyed("b", release="11.5", identities=signed, trusted=[own_root])
    found, _ = judged(surveyed("a", release="11.5"), b)
    (one,) = found.findings  # told once for both nodes
    assert (one.id, one.severity, one.subject) == ("TB141", Severity.STOP, "a")
    assert "CN=Corp CA" in one.evidence
    assert "--authorities" in one.remedy
    there, _ = judged(surveyed("a", release="11.5", trusted=[own_root]), b)
    assert there.findings == ()
    unknown, _ = judged(surveyed("a", release="11.5"), surveyed("b", release="11.5", identities=signed))
    (one,) = unknown.findings
    assert "Have its authority give you" in one.remedy


def test_chains_are_walked_to_their_end() -> None:
    leaf = ca_signed("Corp CA", "b", "b1", Unit.CALLMANAGER).certificate
    top = root("Corp CA").certificate
    assert absent_issuer(leaf, []) == top.subject
    assert absent_issuer(leaf, [top]) is None
    assert absent_issuer(top, []) is None
    assert authorities_for(leaf, [top, leaf]) == (top,)
    assert authorities_for(leaf, []) == ()


@pytest.mark.parametrize(
    ("fips", "severity", "left_out"), [(True, "stop", True), (False, "note", False), (None, "warning", False)]
)
def test_short_keys(fips: bool | None, severity: str, left_out: bool) -> None:
    short = identity("b", "b2", Unit.CALLMANAGER, key="rsa1024")
    found, _ = judged(surveyed("a", release="11.5", fips=fips), surveyed("b", release="11.5", identities=[short]))
    assert ids(found) == {("TB155", severity)}
    assert len(found.findings) == 1
    assert bool(found.unreachable) is left_out


def test_a_recovery_key_shorter_than_the_others_and_one_longer_than_old_models_take() -> None:
    weak = identity("b", "b1", Unit.ITLRECOVERY, key="rsa1024")
    other = identity("b", "b1", Unit.CALLMANAGER, key="rsa2048")
    found, _ = judged(surveyed("a", release="11.5"), surveyed("b", release="11.5", identities=[weak, other]))
    assert ("TB133", "warning") in ids(found)
    long = identity("b", "b1", Unit.ITLRECOVERY, key="rsa4096")
    signing, _ = judged(surveyed("a", release="11.5"), surveyed("b", release="12.0.1", identities=[long]))
    assert ids(signing) == {("TB132", "note")}
    not_signing, _ = judged(surveyed("a", release="11.5"), surveyed("b", release="11.5", identities=[long]))
    assert not_signing.findings == ()
