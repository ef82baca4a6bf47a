"""By which method, in which steps, and when it does not begin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.migration.surveyed import BEGUN, NOW, ca_signed, identity, issued, root, surveyed

from trustbridge.errors import SettingsError
from trustbridge.migration.exchangeplan import ExchangePlan, Method, StepKind, plan_exchange
from trustbridge.migration.findings import Severity
from trustbridge.migration.goals import Pair
from trustbridge.migration.survey import ClusterSurvey
from trustbridge.pki.units import BulkType, Store, Unit

ALL = tuple(BulkType)
SFTP = "sftp://bulk@192.0.2.9:22/exchange"


def planned(
    *surveys: ClusterSurvey, pairs: Sequence[Pair] | None = None, sftp: str = SFTP, **options: Any
) -> ExchangePlan:
    by_name = {one.name: one for one in surveys}
    names = list(by_name)
    chosen = pairs or [(one, other) for at, one in enumerate(names) for other in names[at + 1 :]]
    return plan_exchange(by_name, chosen, options.pop("types", ALL), now=NOW, sftp=sftp, **options)


def kinds(plan: ExchangePlan) -> list[tuple[str, str]]:
    return [(str(step.kind), step.cluster) for step in plan.steps]


def test_bulk_where_all_can_and_all_pairs_are_meant() -> None:
    plan = planned(surveyed("a", release="12.0.1"), surveyed("b", release="14"), accepted=["TB145"])
    assert plan.method is Method.BULK
    assert not plan.blocking
    assert kinds(plan) == [
        ("sftp", "a"),
        ("sftp", "b"),
        ("export", "a"),
        ("export", "b"),
        ("consolidate", "a"),
        ("import", "a"),
        ("import", "b"),
        ("upload", "a"),  # CAPF-trust of each node, which bulk leaves out
        ("upload", "b"),
    ]
    reached = [plan.goals[place] for step in plan.steps for place in step.goals]
    assert sorted(map(str, reached)) == sorted(map(str, plan.goals))
    assert len(set(reached)) == len(reached)


def test_itl_recovery_goes_by_upload_where_a_release_does_not_exchange_it_in_bulk() -> None:
    plan = planned(surveyed("a", release="11.5.1", mixed_mode=False), surveyed("b", release="12.0.1"))
    assert plan.method is Method.BULK
    uploaded = {
        (plan.goals[place].importer, plan.goals[place].type)
        for step in plan.steps
        if step.kind is StepKind.UPLOAD
        for place in step.goals
    }
    assert uploaded == {("a", BulkType.ITLRECOVERY), ("b", BulkType.ITLRECOVERY)}


@pytest.mark.parametrize(
    ("releases", "method"),
    [
        (("9.1.2", "10.5.2.13900"), Method.CERTIFICATES),
        (("8.6.2", "14"), Method.CERTIFICATES),
        (("9.1.2", "10.5.2.10000"), Method.BULK),
        (("9.1.2", "8.6.2"), Method.BULK),
        (("10.0.1", "14"), Method.BULK),
    ],
)
def test_bundles_that_do_not_go_together(releases: tuple[str, str], method: Method) -> None:
    surveys = [surveyed(name, release=release, mixed_mode=False) for name, release in zip("ab", releases, strict=True)]
    plan = planned(*surveys, accepted=["TB145"])
    assert plan.method is method
    assert ("CSCuy43181" in plan.why) is (method is Method.CERTIFICATES)
    assert not plan.blocking  # decided around it
    told = planned(*surveys, accepted=["TB145"], method=Method.BULK)
    assert [one.id for one in told.blocking] == (["TB143"] if method is Method.CERTIFICATES else [])


def test_a_cluster_in_fips_mode_goes_without_bulk() -> None:
    plan = planned(surveyed("a", release="12.0"), surveyed("b", release="12.0", fips=True))
    assert plan.method is Method.CERTIFICATES
    assert "FIPS" in plan.why


def test_some_pairs_go_without_bulk_which_would_make_all_trust_all() -> None:
    surveys = [surveyed(name, release="12.0", mixed_mode=False) for name in "abc"]
    star: list[Pair] = [("a", "c"), ("b", "c")]
    plan = planned(*surveys, pairs=star)
    assert plan.method is Method.CERTIFICATES
    assert "2 of 3 pairs" in plan.why
    assert kinds(plan) == [("upload", "a"), ("upload", "b"), ("upload", "c")]
    assert {(goal.importer, goal.exporter) for goal in plan.goals} == {("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")}
    with pytest.raises(SettingsError, match="2 of 3 pairs"):
        planned(*surveys, pairs=star, method=Method.BULK)


def test_without_a_server_it_goes_certificate_by_certificate() -> None:
    surveys = [surveyed(name, release="12.0", mixed_mode=False) for name in "ab"]
    plan = planned(*surveys, sftp="")
    assert plan.method is Method.CERTIFICATES
    assert "no SFTP server" in plan.why
    with pytest.raises(SettingsError, match="needs an SFTP server"):
        planned(*surveys, sftp="", method=Method.BULK)
    told = planned(*surveys, method=Method.CERTIFICATES)
    assert told.method is Method.CERTIFICATES
    assert told.sftp == ""


def test_what_is_in_place_is_not_done_again() -> None:
    a, b = (surveyed(name, release="12.0", mixed_mode=False) for name in "ab")
    first = planned(a, b)
    held = {name: [(goal.store, goal.certificate) for goal in first.goals if goal.importer == name] for name in "ab"}
    there = [surveyed(name, release="12.0", mixed_mode=False, trusted=held[name]) for name in "ab"]
    again = planned(*there)
    assert again.steps == ()
    assert again.held == frozenset(again.goals)
    one_side = planned(a, there[1])
    assert ("import", "a") in kinds(one_side)
    assert ("import", "b") not in kinds(one_side)


def test_a_finding_stops_it_until_it_is_accepted_and_then_leaves_out_what_can_not_be() -> None:
    expired = identity("b", "b2", Unit.CALLMANAGER, days=50)
    surveys = [surveyed("a", release="11.5", mixed_mode=False), surveyed("b", release="11.5", identities=[expired])]
    stopped = planned(*surveys)
    assert [one.id for one in stopped.blocking] == ["TB142"]
    assert stopped.method is Method.CERTIFICATES  # a bulk import would stop at it
    going = planned(*surveys, accepted=["TB142"])
    assert going.blocking == ()
    assert {goal.certificate for goal, why in going.left_out if why == "TB142"} == {expired.certificate}
    assert expired.certificate not in {goal.certificate for goal in going.goals}
    assert {one.id for one in going.findings} == {"TB142"}  # still told
    with pytest.raises(SettingsError, match="TB999"):
        planned(*surveys, accepted=["TB999"])


def test_what_makes_way_is_known() -> None:
    old = issued("b", "b2.b", Unit.CALLMANAGER, now=BEGUN - timedelta(days=400))
    a = surveyed("a", release="11.5", mixed_mode=False, trusted=[(Store.PHONE_SAST_TRUST, old)])
    plan = planned(a, surveyed("b", release="11.5"), accepted=["TB140"])
    assert [(str(goal.store), [one.sha256 for one in held]) for goal, held in plan.replaced] == [
        ("Phone-SAST-trust", [old.sha256])
    ]


def test_authorities_are_taken_along_first() -> None:
    signed = [ca_signed("Corp CA", "b", node, Unit.CALLMANAGER) for node in ("b1", "b2")]
    top = root("Corp CA").certificate
    b = surveyed("b", release="11.5", identities=signed, trusted=[(Store.CALLMANAGER_TRUST, top)])
    surveys = [surveyed("a", release="11.5", mixed_mode=False), b]
    assert [one.id for one in planned(*surveys).blocking] == ["TB141"]
    plan = planned(*surveys, authorities=True)
    assert plan.blocking == ()
    assert kinds(plan)[0] == ("authorities", "a")
    assert [plan.goals[place].certificate for place in plan.steps[0].goals] == [top]


def test_bundles_of_an_earlier_try() -> None:
    surveys = [surveyed(name, release="12.0", mixed_mode=False) for name in "ab"]
    names = [f"old_{place}.p12" for place in range(7)]
    plan = planned(*surveys, lying=names)
    (one,) = plan.blocking
    assert one.id == "TB146"
    assert "7 files" in one.evidence
    assert "and 2 more" in one.evidence
    (unknown,) = planned(*surveys, lying=None).findings
    assert (unknown.id, unknown.severity) == ("TB146", Severity.WARN)
    assert planned(*surveys, lying=names, method=Method.CERTIFICATES).findings == ()


def test_services_are_restarted_last_where_that_is_wanted() -> None:
    surveys = [surveyed(name, release="12.0", mixed_mode=False) for name in "ab"]
    assert kinds(planned(*surveys, restart_tvs=True))[-2:] == [("restart TVS", "a"), ("restart TVS", "b")]


def test_json_tells_all_of_it() -> None:
    surveys = [surveyed(name, release="12.5", mixed_mode=False) for name in "ab"]
    plan = planned(*surveys)
    told = plan.as_json()
    assert told["may_begin"] is False
    assert {one["id"] for one in told["findings"]} == {"TB145"}
    assert len(told["goals"]) == len(plan.goals)
    assert told["goals"][0].keys() == {"cluster", "node", "store", "of", "subject", "sha256", "held"}
    assert [one["step"] for one in told["steps"]] == [kind for kind, _ in kinds(plan)]
