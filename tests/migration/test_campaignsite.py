"""What a campaign sees of its clusters: what they have heard of, and when "not heard of" means nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trustbridge.cucm.model import NodeInfo, PhoneStatus, RegistrationInfo, TrustListFileInfo
from trustbridge.cucm.phoneweb import PhoneNetwork, PhonePages
from trustbridge.cucm.ris import BATCH as RIS_BATCH
from trustbridge.errors import Unreachable
from trustbridge.migration.campaignphone import KINDS, Observation, PhoneState
from trustbridge.migration.campaignserved import Served
from trustbridge.migration.campaignsite import Site
from trustbridge.storage.campaignrecords import PhoneRecord
from trustbridge.storage.models import Direction

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

HERE, AWAY = "SEP000000000001", "SEP000000000002"


@dataclass
class FakeCluster:
    name: str
    known: dict[str, RegistrationInfo] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    down: bool = False
    calls: int = 0

    async def nodes(self) -> tuple[NodeInfo, ...]:
        return (NodeInfo(f"{self.name}-pub", "192.0.2.1", True),)

    def host(self, node: NodeInfo) -> str:
        return node.address

    async def trust_list_files(self) -> tuple[TrustListFileInfo, ...]:
        return (TrustListFileInfo(f"{self.name}-pub", "ITLFile.tlv", self.name.encode()),)

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        self.calls += -(-len(names) // RIS_BATCH)
        if self.down:
            raise Unreachable(f"{self.name} is down")
        return {name: info for name, info in self.known.items() if name in names}

    def unheard(self) -> frozenset[str]:
        return self.silent

    async def reset_phones(self, names: Sequence[str]) -> None:
        raise AssertionError("nobody asked for it")


def registered(name: str) -> RegistrationInfo:
    return RegistrationInfo(name, PhoneStatus.REGISTERED, "node", "")


def phone(name: str, state: str = "ready", *, since: datetime = NOW, back: bool = False) -> PhoneRecord:
    direction = Direction.BACK if back else Direction.FORTH
    kind = KINDS[PhoneState(state)]
    made = SimpleNamespace(name=name, direction=direction, state=state, kind=kind, since=since)
    return cast(PhoneRecord, made)


def observed(source: FakeCluster, destination: FakeCluster) -> tuple[dict[str, Observation], list[str]]:
    """What is seen of two phones, and what was noted."""
    noted: list[str] = []

    async def look() -> dict[str, Observation]:
        async with Site.opened(source, destination, phone_port=80, noted=noted.append) as site:
            phones = [phone(name) for name in (HERE, AWAY)]
            first = dict(await site.observe(phones))
            assert dict(await site.observe(phones)) == first
            return first

    return asyncio.run(look()), noted


def test_clusters_that_have_answered_are_believed() -> None:
    seen, noted = observed(FakeCluster("source", {HERE: registered(HERE)}), FakeCluster("destination"))
    assert {name: one.asked for name, one in seen.items()} == {HERE: True, AWAY: True}
    assert seen[HERE].origin is not None
    assert seen[AWAY].origin is None
    assert noted == []


@pytest.mark.parametrize("silent", ["source", "destination"])
def test_not_heard_of_means_nothing_where_a_node_was_silent(silent: str) -> None:
    clusters = {name: FakeCluster(name) for name in ("source", "destination")}
    clusters[silent].silent = frozenset({"sub2"})
    clusters[silent].known = {HERE: registered(HERE)}
    seen, noted = observed(clusters["source"], clusters["destination"])
    # Of the phone that was heard of there, the silent node has nothing to add.
    assert {name: one.asked for name, one in seen.items()} == {HERE: True, AWAY: False}
    assert noted == [f"{silent}: RisPort70 has no answer of sub2; nothing is concluded from that"]  # once


def test_a_cluster_that_is_down_says_nothing_of_any_phone() -> None:
    seen, noted = observed(FakeCluster("source", {HERE: registered(HERE)}), FakeCluster("destination", down=True))
    assert {name: one.asked for name, one in seen.items()} == {HERE: False, AWAY: False}
    assert noted == ["destination is down; nothing is concluded from that"]


def test_a_node_is_known_by_its_address_and_by_its_name_with_a_domain_or_without() -> None:
    there = Served(frozenset(), frozenset(), frozenset({"cm1", "192.0.2.1", ""}))
    assert [there.has(name) for name in ("CM1", "cm1.example.com", "192.0.2.1")] == [True] * 3
    assert [there.has(name) for name in ("", "cm2", "192.0.2.2", "192.example.com", "cm1x")] == [False] * 5


# How much it asks for.


def names(count: int, first: int = 0) -> list[str]:
    return [f"SEP{number:012X}" for number in range(first, first + count)]


@dataclass
class Phones:
    """Pages of phones, and which were read."""

    monkeypatch: pytest.MonkeyPatch
    active: dict[str, str] = field(default_factory=dict)
    lists: str = "source"
    read: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.monkeypatch.setattr("trustbridge.migration.campaignsite.read_phone", self.pages)

    async def pages(self, address: str, *, kinds: Sequence[tuple[str, ...]], **_: Any) -> PhonePages:
        self.read[address] += len(kinds)
        if address not in self.active:
            raise Unreachable("its web access is off")
        itl = hashlib.sha1(self.lists.encode(), usedforsecurity=False).hexdigest().upper()
        network = PhoneNetwork(active=self.active[address], itl=itl)
        return PhonePages(address, address, network=network)


def at(cluster: str, found: Iterable[str]) -> FakeCluster:
    """A cluster with phones, whose address is their name."""
    infos = {name: RegistrationInfo(name, PhoneStatus.REGISTERED, "node", name) for name in found}
    return FakeCluster(cluster, infos)


def look(source: FakeCluster, destination: FakeCluster, phones: Sequence[PhoneRecord]) -> dict[str, Observation]:
    async def run() -> dict[str, Observation]:
        async with Site.opened(source, destination, phone_port=80) as site:
            return dict(await site.observe(phones))

    return asyncio.run(run())


def test_one_call_a_cluster_tells_of_a_thousand_that_wait_and_a_thousand_that_have_arrived(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look before the reset and one after it: 60,000 phones are 60 calls of each cluster, at 15 a minute."""
    waiting, moving = names(1000), names(1000, 5000)
    source, destination = at("source", waiting), at("destination", moving)
    pages = Phones(monkeypatch, dict.fromkeys(waiting, "source-pub") | dict.fromkeys(moving, "destination-pub"))
    pages.lists = "destination"
    now = datetime.now(UTC)
    phones = [phone(name, "planned") for name in waiting] + [phone(name, "reset sent", since=now) for name in moving]
    seen = look(source, destination, phones)
    assert (source.calls, destination.calls) == (1, 1)
    assert all(seen[name].asked and seen[name].at_origin for name in waiting)
    assert all(seen[name].asked and seen[name].at_target for name in moving)
    assert {pages.read[name] for name in waiting} == {2}
    assert {pages.read[name] for name in moving} == {1}


def test_a_phone_that_starts_is_waited_for_before_its_origin_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = names(1000)
    source, destination = at("source", waiting), at("destination", [])
    Phones(monkeypatch, dict.fromkeys(waiting, "source-pub"))
    now = datetime.now(UTC)
    crowd = [phone(name, "planned") for name in waiting]
    seen = look(source, destination, [*crowd, phone("SEPA", "reset sent", since=now)])
    assert (source.calls, destination.calls) == (1, 1)
    assert not seen["SEPA"].asked  # so nothing is concluded
    # When it is late, both have to say that they do not have it.
    seen = look(source, destination, [*crowd, phone("SEPA", "reset sent", since=now - timedelta(minutes=2))])
    assert source.calls == 1 + 2
    assert seen["SEPA"].nowhere
    # Where a call has room, both are asked at once.
    seen = look(source, destination, [phone("SEPA", "reset sent", since=now)])
    assert source.calls == 1 + 2 + 1
    assert seen["SEPA"].nowhere


@pytest.mark.parametrize("active", ["", "destination-pub", None])
def test_a_page_that_does_not_say_where_the_phone_is_leaves_it_to_both_clusters(
    monkeypatch: pytest.MonkeyPatch, active: str | None
) -> None:
    waiting = names(1000)
    source, destination = at("source", [*waiting, "SEPA"]), at("destination", ["SEPA"])
    pages = Phones(monkeypatch, dict.fromkeys(waiting, "source-pub"))
    if active is not None:
        pages.active["SEPA"] = active
    # One call of the destination is full, so this one is not asked for at first.
    moving = [phone(name, "reset sent", since=datetime.now(UTC)) for name in names(1000, 5000)]
    seen = look(source, destination, [*(phone(name, "planned") for name in waiting[:-1]), phone("SEPA"), *moving])
    assert destination.calls == 2
    assert seen["SEPA"].asked
    assert seen["SEPA"].at_target


def test_a_doubtful_reset_is_asked_for_at_both(monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = at("source", ["SEPA"]), at("destination", [])
    Phones(monkeypatch, {"SEPA": "source-pub"})
    seen = look(source, destination, [phone("SEPA", "reset requested", since=datetime.now(UTC))])
    assert (source.calls, destination.calls) == (1, 1)
    assert seen["SEPA"].asked
    assert seen["SEPA"].at_origin


def test_whoever_answers_at_a_phones_address_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = at("source", ["SEPA"]), at("destination", [])
    source.known["SEPA"] = RegistrationInfo("SEPA", PhoneStatus.REGISTERED, "node", "SEPB")
    Phones(monkeypatch, {"SEPB": "source-pub"})
    seen = look(source, destination, [phone("SEPA")])
    assert seen["SEPA"].lists is None
    assert seen["SEPA"].at_origin


# Calls.


def at_address(name: str, address: str) -> RegistrationInfo:
    return RegistrationInfo(name, PhoneStatus.REGISTERED, "node", address)


def test_only_of_phones_that_wait_at_their_origin_it_is_asked_whether_they_are_in_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def nothing(address: str, **_: Any) -> PhonePages:
        raise Unreachable("its page is closed")

    async def told(address: str, **more: Any) -> bool | None:
        asked.append(address)
        return {"192.0.2.1": True, "192.0.2.2": None}.get(address, False)

    monkeypatch.setattr("trustbridge.migration.campaignsite.read_phone", nothing)
    monkeypatch.setattr("trustbridge.migration.campaignsite.read_in_call", told)
    names = [f"SEP{number:012X}" for number in range(1, 8)]
    addresses = [f"192.0.2.{number}" for number in range(1, 8)]
    there = {names[5]: at_address(names[5], addresses[5])}
    here = {
        name: at_address(name, address) for name, address in zip(names, addresses, strict=True) if name not in there
    }
    states = ["waiting", "waiting", "waiting", "ready", "reset sent", "waiting", "waiting"]
    directions = [Direction.FORTH] * 6 + [Direction.BACK]
    phones = [
        phone(name, state, back=direction is Direction.BACK)
        for name, state, direction in zip(names, states, directions, strict=True)
    ]

    async def look() -> tuple[Mapping[str, Observation], Mapping[str, bool | None]]:
        ends = FakeCluster("source", here), FakeCluster("destination", there)
        async with Site.opened(*ends, phone_port=80) as site:
            seen = await site.observe(phones)
            assert asked == addresses[:3]
            return seen, await site.in_use({"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.9", "d": ""})

    seen, in_use = asyncio.run(look())
    assert [seen[name].in_use for name in names] == [True, None, False, None, None, None, None]
    assert [seen[name].in_use_at is not None for name in names] == [True] * 3 + [False] * 4
    assert seen[names[0]].evidence[-1] == "in use: a media stream is active"
    ready = seen[names[3]].origin
    assert ready is not None
    assert ready.address == "192.0.2.4"
    assert in_use == {"a": True, "b": None, "c": False, "d": None}


def test_a_phone_that_takes_its_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(address: str, **_: Any) -> bool | None:
        await asyncio.Event().wait()
        return True

    async def look() -> Mapping[str, bool | None]:
        async with Site.opened(FakeCluster("source"), FakeCluster("destination"), phone_port=80) as site:
            return await site.in_use({"a": "192.0.2.1"})

    monkeypatch.setattr("trustbridge.migration.campaignsite.read_in_call", hang)
    monkeypatch.setattr("trustbridge.migration.campaignsite._CALL_PATIENCE", 0.01)
    assert asyncio.run(look()) == {"a": None}
