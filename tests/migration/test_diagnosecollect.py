"""How one phone is looked at where little answers: what is asked of whom, and what becomes of who does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from trustbridge.cucm.axl import LastSeen
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import ClusterEntry, Interface, NodeInfo, PhoneInfo, PhoneStatus, RegistrationInfo, Release
from trustbridge.cucm.phoneweb import PhoneNetwork, PhonePages, StatusMessage
from trustbridge.errors import AuthenticationRefused, NotSupported, Refused, TrustbridgeError, Unreachable
from trustbridge.migration import diagnosecollect, diagnosefiles
from trustbridge.migration.diagnose import Standing, diagnose
from trustbridge.migration.diagnoseaccess import tolerant
from trustbridge.migration.diagnosecollect import collect_diagnosis
from trustbridge.migration.diagnoseseen import PhoneSeen

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PHONE = "SEP001122334455"


class Told:
    """A cluster that answers RisPort70, AXL and its nodes, or raises for some of them."""

    def __init__(self, name: str, **broken: TrustbridgeError) -> None:
        self.name = name
        self.entry = ClusterEntry(name, f"{name}-pub", "os", "app")
        self.broken = broken
        self.registration: RegistrationInfo | None = None
        self.device: PhoneInfo | None = PhoneInfo(PHONE, "Cisco 8841")
        self.last: LastSeen | None = None
        self.silent: frozenset[str] = frozenset()
        self.asked: list[str] = []

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.broken:
            raise self.broken[what]

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        assert names == [PHONE]
        self._ask("ris")
        return {} if self.registration is None else {PHONE: self.registration}

    def unheard(self) -> frozenset[str]:
        return self.silent

    async def phones(self, like: str = "SEP%") -> AsyncIterator[PhoneInfo]:
        assert like == PHONE
        self._ask("axl")
        if self.device is not None:
            yield self.device

    async def last_seen(self, name: str) -> LastSeen | None:
        self._ask("last")
        return self.last

    async def release(self) -> Release:
        self._ask("release")
        return Release.parse("14")

    async def try_interface(self, interface: Interface) -> str:
        self._ask("cli")
        return f"by {interface}"

    async def nodes(self) -> tuple[NodeInfo, ...]:
        self._ask("nodes")
        return (NodeInfo(f"{self.name}-pub", "192.0.2.1", True),)

    def host(self, node: NodeInfo) -> str:
        return node.address


@pytest.fixture(autouse=True)
def _nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: Any) -> bytes | None:
        raise Unreachable("no files", "Look there.")

    async def closed(*_: Any, **__: Any) -> PhonePages:
        raise NotSupported("it shows nothing")

    for name in ("over_http", "over_tftp"):
        monkeypatch.setattr(diagnosefiles, name, refused)
    monkeypatch.setattr(diagnosecollect, "read_phone", closed)


def collected(*clusters: Told, **options: Any) -> PhoneSeen:
    open_ones = {one.name: cast(Cluster, one) for one in clusters}
    return asyncio.run(collect_diagnosis(PHONE, open_ones, now=NOW, **options))


def all_broken(name: str, error: TrustbridgeError) -> Told:
    return Told(name, ris=error, axl=error, release=error, nodes=error)


def test_only_where_nobody_answers_at_all_is_there_nothing_to_say() -> None:
    gone = Unreachable("no route", "Look at the route.")
    with pytest.raises(Unreachable, match="no cluster answers: no route") as raised:
        collected(all_broken("a", gone), all_broken("b", gone))
    assert raised.value.hint == "Look at the route."
    seen = collected(all_broken("a", gone), Told("b", axl=Refused("no right")))
    assert seen.clusters["b"].heard
    assert not seen.clusters["a"].answered
    assert {(one.where, one.why) for one in seen.not_seen} >= {("a", "no route"), ("b", "no right")}
    assert diagnose(seen, NOW).courses[0].standing is Standing.UNSEEN


def test_a_refused_password_ends_nothing() -> None:
    refused = Told("a", ris=AuthenticationRefused("wrong password", "Give the right one."))
    seen = collected(refused)
    (unseen,) = [one for one in seen.not_seen if one.what == "where it is registered"]
    assert unseen.opening == "Give the right one."
    assert refused.asked[:4] == ["ris", "axl", "release", "nodes"]  # one after the other: a password is tried once


def test_a_release_that_one_account_is_not_told_is_asked_of_the_other() -> None:
    refused = AuthenticationRefused("wrong password")
    one = Told("a", release=refused)
    assert not [gap for gap in collected(one).not_seen if gap.what == "its release"]
    assert "cli" in one.asked
    one = Told("a", release=refused, cli=Unreachable("no ssh"))
    (unseen,) = [gap for gap in collected(one).not_seen if gap.what == "its release"]
    assert unseen.why == "wrong password"


def test_what_a_collector_would_end_at_is_a_plain_refusal() -> None:
    one = tolerant(cast(Cluster, Told("a", nodes=AuthenticationRefused("wrong", "right"), ris=Unreachable("gone"))))
    assert one.name == "a"
    with pytest.raises(Refused) as raised:
        asyncio.run(one.nodes())
    assert type(raised.value) is Refused
    assert (raised.value.message, raised.value.hint) == ("wrong", "right")
    with pytest.raises(Unreachable):
        asyncio.run(one.registrations([PHONE]))


def test_a_node_that_ris_has_no_answer_of_leaves_open_where_it_is() -> None:
    one = Told("a")
    one.silent = frozenset({"a-sub"})
    seen = collected(one)
    assert not seen.clusters["a"].heard
    assert any("a-sub" in gap.why and gap.decides for gap in seen.not_seen)


def test_where_it_was_registered_last_is_asked_only_where_nobody_has_it() -> None:
    one = Told("a")
    one.last = LastSeen(PHONE, "a-pub", "198.51.100.9", "x", NOW)
    seen = collected(one)
    assert seen.address == "198.51.100.9"
    assert seen.clusters["a"].remembered == one.last
    assert seen.page_closed
    one = Told("a")
    one.registration = RegistrationInfo(PHONE, PhoneStatus.REGISTERED, "a-pub", "198.51.100.7")
    assert collected(one).address == "198.51.100.7"
    assert "last" not in one.asked


def test_which_moves_are_meant() -> None:
    a, b, c = Told("a"), Told("b"), Told("c")
    b.registration = RegistrationInfo(PHONE, PhoneStatus.REGISTERED, "b-pub", "198.51.100.7")
    # Without nodes nothing more is asked here: it is about the moves.
    for one in (a, b, c):
        one.broken = {"nodes": Unreachable("no nodes")}

    def moves(*clusters: Told, **options: Any) -> list[tuple[str, str]]:
        return [(one.source, one.destination) for one in collected(*clusters, **options).moves]

    assert moves(a, b) == [("b", "a"), ("a", "b")]  # from where it is, first
    assert moves(a, b, c) == []
    assert moves(a, b, c, pair=("a", "c")) == [("a", "c")]
    assert moves(b) == []


def test_another_phone_at_its_address_says_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def other(*_: Any, **__: Any) -> PhonePages:
        return PhonePages("198.51.100.7", "SEP00DEADBEEF00")

    monkeypatch.setattr(diagnosecollect, "read_phone", other)
    one = Told("a")
    one.registration = RegistrationInfo(PHONE, PhoneStatus.REGISTERED, "a-pub", "198.51.100.7")
    seen = collected(one)
    assert seen.page is None
    assert any("another phone answers there by now, SEP00DEADBEEF00" in gap.why for gap in seen.not_seen)


def test_what_a_page_says_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    async def said(*_: Any, **__: Any) -> PhonePages:
        network = PhoneNetwork(("192.0.2.1\x1b[2J",), False, ("cm1\x07",), "cm1\x07", ("tvs\x1b",), "", "")
        return PhonePages("198.51.100.7", PHONE, "CP-8841\x1b", network, (StatusMessage("1:00", "\x1b[1mhello"),))

    monkeypatch.setattr(diagnosecollect, "read_phone", said)
    one = Told("a")
    one.registration = RegistrationInfo(PHONE, PhoneStatus.REGISTERED, "a-pub\x1b", "198.51.100.7")
    seen = collected(one)
    assert "\x1b" not in repr(seen.page)
    assert seen.page is not None
    assert seen.page.messages[0].text == "\ufffd[1mhello"
    lines = [part for line in diagnose(seen, NOW).evidence for part in (line.where, line.what, line.means)]
    assert all(part.isprintable() for part in lines)
