"""What a campaign sees of its clusters: what they have heard of, and when "not heard of" means nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trustbridge.cucm.model import NodeInfo, PhoneStatus, RegistrationInfo, TrustListFileInfo
from trustbridge.cucm.phoneweb import PhonePages
from trustbridge.errors import Unreachable
from trustbridge.migration.campaignphone import Observation
from trustbridge.migration.campaignsite import Site
from trustbridge.storage.models import Direction

HERE, AWAY = "SEP000000000001", "SEP000000000002"


@dataclass
class FakeCluster:
    name: str
    known: dict[str, RegistrationInfo] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    down: bool = False

    async def nodes(self) -> tuple[NodeInfo, ...]:
        return (NodeInfo(f"{self.name}-pub", "192.0.2.1", True),)

    def host(self, node: NodeInfo) -> str:
        return node.address

    async def trust_list_files(self) -> tuple[TrustListFileInfo, ...]:
        return (TrustListFileInfo(f"{self.name}-pub", "ITLFile.tlv", self.name.encode()),)

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        if self.down:
            raise Unreachable(f"{self.name} is down")
        return {name: info for name, info in self.known.items() if name in names}

    def unheard(self) -> frozenset[str]:
        return self.silent

    async def reset_phones(self, names: Sequence[str]) -> None:
        raise AssertionError("nobody asked for it")


def registered(name: str) -> RegistrationInfo:
    return RegistrationInfo(name, PhoneStatus.REGISTERED, "node", "")


def observed(source: FakeCluster, destination: FakeCluster) -> tuple[dict[str, Observation], list[str]]:
    """What is seen of two phones, and what was noted."""
    noted: list[str] = []

    async def look() -> dict[str, Observation]:
        async with Site.opened(source, destination, phone_port=80, noted=noted.append) as site:
            phones = [SimpleNamespace(name=name, direction=Direction.FORTH, state="ready") for name in (HERE, AWAY)]
            first = dict(await site.observe(cast(Any, phones)))
            assert dict(await site.observe(cast(Any, phones))) == first
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
        SimpleNamespace(name=name, state=state, direction=direction)
        for name, state, direction in zip(names, states, directions, strict=True)
    ]

    async def look() -> tuple[Mapping[str, Observation], Mapping[str, bool | None]]:
        ends = FakeCluster("source", here), FakeCluster("destination", there)
        async with Site.opened(*ends, phone_port=80) as site:
            seen = await site.observe(cast(Any, phones))
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
