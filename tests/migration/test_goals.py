"""Which clusters exchange, and which certificates that takes where."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.migration.surveyed import surveyed

from trustbridge.errors import SettingsError
from trustbridge.migration.goals import complete, goals_of, pairs_of
from trustbridge.pki.units import BulkType, Store, Unit

ALL = tuple(BulkType)


@pytest.mark.parametrize(
    ("clusters", "chosen", "into", "pairs"),
    [
        ("ab", (), None, ["ab"]),
        ("abc", (), None, ["ab", "ac", "bc"]),
        ("abc", ("b:c", "a:c"), None, ["bc", "ac"]),
        ("abc", ("b:c", "c:b", "a:b"), None, ["bc", "ab"]),
        ("abcd", (), "c", ["ac", "bc", "dc"]),
        ("ab", (), "c", ["ac", "bc"]),
        ("a", (), "c", ["ac"]),
    ],
)
def test_pairs(clusters: str, chosen: tuple[str, ...], into: str | None, pairs: list[str]) -> None:
    assert pairs_of(list(clusters), chosen=chosen, into=into) == tuple((pair[0], pair[1]) for pair in pairs)


@pytest.mark.parametrize(
    ("clusters", "chosen", "into", "words"),
    [
        ("a", (), None, "at least two sides"),
        ("a", (), "a", "at least two sides"),
        ("aba", (), None, "named twice"),
        ("abc", ("a:b",), None, "no --pair has c"),
        ("ab", ("a:c",), None, "two different ones"),
        ("ab", ("a:a",), None, "two different ones"),
        ("ab", ("a",), None, "two different ones"),
        ("ab", ("a:b",), "a", "exclude each other"),
    ],
)
def test_pairs_that_can_not_be(clusters: str, chosen: tuple[str, ...], into: str | None, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        pairs_of(list(clusters), chosen=chosen, into=into)


def test_every_pair_is_meant_or_not() -> None:
    assert complete([("a", "b")])
    assert complete([("a", "b"), ("c", "a"), ("b", "c")])
    assert not complete([("a", "b"), ("b", "c")])


def test_certificates_land_where_the_table_says_on_both_sides() -> None:
    surveys = {"a": surveyed("a", mixed_mode=False), "b": surveyed("b")}
    goals = goals_of(surveys, [("a", "b")], ALL, capf_trust=True)
    for importer, exporter in (("a", "b"), ("b", "a")):
        towards = [goal for goal in goals if goal.importer == importer]
        assert {goal.exporter for goal in towards} == {exporter}
        assert all(goal.node == "" for goal in towards)
        own = {(f"{one.node}/{one.unit}", one.certificate) for one in surveys[exporter].identities}
        assert {(goal.source, goal.certificate) for goal in towards} == own
        assert Counter((goal.type, goal.store) for goal in towards) == {
            (BulkType.TFTP, Store.PHONE_SAST_TRUST): 2,
            (BulkType.TFTP, Store.CALLMANAGER_TRUST): 2,
            (BulkType.TOMCAT, Store.TOMCAT_TRUST): 2,
            (BulkType.CAPF, Store.CALLMANAGER_TRUST): 1,
            (BulkType.ITLRECOVERY, Store.PHONE_SAST_TRUST): 1,
            (BulkType.ITLRECOVERY, Store.CALLMANAGER_TRUST): 1,
        }


def test_capf_goes_to_every_node_where_both_clusters_are_in_mixed_mode() -> None:
    surveys = {"a": surveyed("a", nodes=3), "b": surveyed("b")}
    found = [goal for goal in goals_of(surveys, [("a", "b")], ALL, capf_trust=True) if goal.node]
    assert {(goal.importer, goal.node, goal.store, goal.source, goal.type) for goal in found} == {
        *(("a", f"a{place}", Store.CAPF_TRUST, f"b1/{Unit.CAPF}", None) for place in (1, 2, 3)),
        *(("b", f"b{place}", Store.CAPF_TRUST, f"a1/{Unit.CAPF}", None) for place in (1, 2)),
    }
    assert not [goal for goal in goals_of(surveys, [("a", "b")], ALL, capf_trust=False) if goal.node]


def test_only_the_types_and_pairs_that_are_meant() -> None:
    surveys = {name: surveyed(name) for name in "abc"}
    goals = goals_of(surveys, [("a", "b")], (BulkType.TOMCAT,), capf_trust=False)
    assert {(goal.importer, goal.exporter, goal.store) for goal in goals} == {
        ("a", "b", Store.TOMCAT_TRUST),
        ("b", "a", Store.TOMCAT_TRUST),
    }
