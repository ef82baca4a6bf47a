"""Lists of certificates, sorted, filtered and cut into pages. Readings here are written, not read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.console.certificatelists import EACH, SORTS, Expiry, Wanted, identities, next_to_expire, trusted

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def certificate(name: str, days: int = 400, **more: Any) -> dict[str, Any]:
    return {
        "sha256": name,
        "subject": f"CN={name}",
        "issuer": f"CN={name}",
        "common_name": name,
        "serial": "0a",
        "key": "RSA 2048",
        "signature": "sha256WithRSAEncryption",
        "not_before": (NOW - timedelta(days=1)).isoformat(),
        "not_after": (NOW + timedelta(days=days)).isoformat(),
        "self_signed": True,
        "pem": "",
    } | more


def reading(name: str, nodes: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "nodes": [{"name": f"{name}{number}", "stores": True} for number in range(nodes)],
        "identities": [],
        "trusted": [],
        "certificates": {},
    } | more


def named(*subjects: str) -> dict[str, Any]:
    return {one: certificate(one) for one in subjects}


@pytest.mark.parametrize(
    ("days", "kind"), [(-1, "bad"), (0, "bad"), (29, "bad"), (30, "warn"), (89, "warn"), (90, "good"), (5000, "good")]
)
def test_what_expires_soon_is_urgent(days: int, kind: str) -> None:
    assert Expiry.of((NOW + timedelta(days=days, hours=1)).isoformat(), NOW) == Expiry(
        NOW + timedelta(days=days, hours=1), days, kind
    )


def test_an_expiry_that_can_not_be_read_is_not_called_good() -> None:
    assert Expiry.of(None, NOW).kind == "idle"


@pytest.mark.parametrize(("within", "count"), [("", 4), ("expired", 1), ("30", 2), ("90", 3), ("365", 3), ("7", 4)])
def test_expiry_filters(within: str, count: int) -> None:
    days = {"a": -2, "b": 10, "c": 60, "d": 400}
    found = reading(
        "x",
        identities=[{"node": "x0", "unit": "TVS", "sha256": one} for one in days],
        certificates={one: certificate(one, left) for one, left in days.items()},
    )
    assert identities({"x": found}, Wanted(within=within), NOW).total == count
    first = next_to_expire(found, NOW)
    assert first is not None
    assert first.certificate["sha256"] == "a"


def test_a_node_that_lacks_what_the_others_hold_is_named() -> None:
    held = [("CallManager-trust", "a", "x0"), ("CAPF-trust", "a", "x0"), ("CallManager-trust", "b", "x0")]
    held += [("CallManager-trust", "b", "x1")]
    found = reading(
        "x",
        trusted=[{"store": store, "sha256": sha, "node": node, "name": "f.pem"} for store, sha, node in held],
        certificates=named("a", "b"),
    )
    lines = {(row.place, row.certificate["sha256"]): row for row in trusted({"x": found}, "x", Wanted(), NOW).rows}
    assert lines["CallManager-trust", "a"].missing == ("x1",)
    assert lines["CallManager-trust", "b"].missing == ()
    assert lines["CAPF-trust", "a"].missing == ()  # each node's own
    # A node whose stores were not read is not said to lack anything.
    found["nodes"][1]["stores"] = False
    assert not any(row.missing for row in trusted({"x": found}, "x", Wanted(), NOW).rows)


def test_where_an_entry_came_from_is_told_only_as_far_as_it_is_known() -> None:
    stores = [{"store": "CallManager-trust", "sha256": one, "node": "x0", "name": ""} for one in "abcd"]
    mine = reading(
        "x",
        1,
        identities=[{"node": "x0", "unit": "CallManager", "sha256": "a"}],
        trusted=stores,
        certificates=named(*"abcd"),
        added=[{"store": "CallManager-trust", "sha256": one, "exchange": "night"} for one in "bc"],
    )
    other = reading("y", 1, identities=[{"node": "y0", "unit": "CAPF", "sha256": "b"}], certificates=named("b"))
    lines = {row.certificate["sha256"]: row.origin for row in trusted({"x": mine, "y": other}, "x", Wanted(), NOW).rows}
    assert lines == {
        "a": ("own", "x0", "CallManager", ""),
        "b": ("cluster", "y/y0", "CAPF", "night"),
        "c": ("exchange", "night"),
        "d": (),
    }


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(-50, 500)), max_size=40),
    st.sampled_from(SORTS),
    st.booleans(),
)
def test_sorting_loses_nothing_and_is_the_same_both_ways(drawn: list[tuple[int, int]], column: str, down: bool) -> None:
    certificates = {f"{number:02}": certificate(str(name), days) for number, (name, days) in enumerate(drawn)}
    certificates = {sha: one | {"sha256": sha} for sha, one in certificates.items()}
    found = reading(
        "x",
        identities=[{"node": "x0", "unit": "TVS", "sha256": sha} for sha in certificates],
        certificates=certificates,
    )
    listed = identities({"x": found}, Wanted(sort=f"-{column}" if down else column), NOW)
    assert sorted(row.certificate["sha256"] for row in listed.rows) == sorted(certificates)
    if column == "until":
        order = [row.expiry.at for row in listed.rows]
        assert order == sorted(order, reverse=down)  # type: ignore[type-var]


def test_pages_hold_all_and_a_page_that_is_not_there_is_the_last() -> None:
    count = EACH * 2 + 1
    found = reading(
        "x",
        identities=[{"node": "x0", "unit": "TVS", "sha256": f"{number:04}"} for number in range(count)],
        certificates=named(*(f"{number:04}" for number in range(count))),
    )
    pages = [identities({"x": found}, Wanted(sort="subject", page=page), NOW) for page in (1, 2, 3, 99)]
    assert [len(one.rows) for one in pages] == [EACH, EACH, 1, 1]
    assert [one.page for one in pages] == [1, 2, 3, 3]
    assert len({row.certificate["sha256"] for one in pages[:3] for row in one.rows}) == count


def test_an_address_keeps_the_filter_and_begins_at_the_first_page() -> None:
    wanted = Wanted(node="x 0", text="a&b", page=3)
    assert wanted.query() == "node=x+0&text=a%26b&sort=until"
    assert wanted.query(page=2).endswith("page=2")
    assert (wanted.turned("until"), wanted.turned("node")) == ("-until", "node")
