"""A driven rehearsal's view of phones: what RisPort70 and the phones' pages say together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trustbridge.cli.demoscreen import Silent
from trustbridge.cucm.model import DhcpSubnet, Interface, NodeInfo, PhoneStatus, RegistrationInfo
from trustbridge.cucm.phoneweb import PhoneNetwork, PhonePages
from trustbridge.errors import NotSupported
from trustbridge.exchange.directory import SftpSettings
from trustbridge.migration import rehearsal
from trustbridge.migration.rehearsal import Premises, _kind_of, _Run
from trustbridge.migration.rehearsalexchange import RehearsedExchange
from trustbridge.migration.rehearsalphones import DrivenPhone, ServedLists

SFTP = SftpSettings(host="127.0.0.1", port=22, username="bulk", password="x", directory="/")
PHONES = [DrivenPhone(f"SEP{number:012X}", secure=False, address="127.0.0.1") for number in range(3)]


class FakeCluster:
    """A cluster that answers what a rehearsal asks."""

    def __init__(self, name: str, subnets: Sequence[DhcpSubnet] = ()) -> None:
        self.name = name
        self.told: dict[str, RegistrationInfo] = {}
        self.asked = 0
        self.subnets = tuple(subnets)
        self.servers: list[tuple[str, ...]] = []
        self.reset: list[str] = []
        self.went: dict[str, Interface] = {}

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        self.asked += 1
        return {name: info for name, info in self.told.items() if name in names}

    async def nodes(self) -> tuple[NodeInfo, ...]:
        return (NodeInfo(f"{self.name}-pub", f"10.0.0.{len(self.name)}", True),)

    def host(self, node: NodeInfo) -> str:
        return node.address

    async def dhcp_subnets(self) -> tuple[DhcpSubnet, ...]:
        return self.subnets

    async def set_tftp_servers(self, subnet: DhcpSubnet, servers: Sequence[str]) -> None:
        self.servers.append(tuple(servers))

    async def reset_phones(self, names: Sequence[str]) -> None:
        self.reset += names

    def ways(self) -> tuple[tuple[str, Interface], ...]:
        return tuple(self.went.items())

    def knows(self, phone: DrivenPhone, status: PhoneStatus = PhoneStatus.REGISTERED, since: int = 100) -> None:
        self.told[phone.name] = RegistrationInfo(
            phone.name, status, f"{self.name}-pub", phone.address, since=datetime.fromtimestamp(since, UTC)
        )


class Stage:
    """A rehearsal between two such clusters; phones show what `shows` says."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subnets: Sequence[DhcpSubnet] = ()) -> None:
        self.source, self.destination = FakeCluster("source", subnets), FakeCluster("destination")
        site = cast(Any, None)
        exchange = RehearsedExchange(SFTP, tmp_path, lambda words: None)
        premises = Premises(site, site, SFTP, tmp_path)
        source, destination = cast(Any, self.source), cast(Any, self.destination)
        self.run = _Run(premises, source, destination, PHONES, self.nothing, exchange, Silent())
        self.shown: dict[str, PhonePages] = {}
        monkeypatch.setattr(rehearsal, "_PAUSE", 0.0)

        async def settle(phones: Sequence[DrivenPhone], ended: Any) -> None:
            self.run._watch.pages |= self.shown

        self.run._watch = cast(Any, SimpleNamespace(pages={}, settle=settle))

    async def nothing(self) -> None:
        pass

    def shows(self, phone: DrivenPhone, active: str) -> None:
        self.shown[phone.name] = PhonePages(phone.address, phone.name, network=PhoneNetwork(active=active))

    def at_the_source(self) -> None:
        for phone in PHONES:
            self.source.knows(phone)
            self.shows(phone, "source-pub")
        asyncio.run(self.run.switch_on())


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def test_registered_is_what_both_say(stage: Stage) -> None:
    stage.at_the_source()
    run = stage.run
    assert all(run.registered_at(phone, "source") for phone in PHONES)
    assert not any(run.registered_at(phone, "destination") for phone in PHONES)
    assert asyncio.run(run.where()) == {"source": 3}


def test_addresses_are_those_risport70_knows(stage: Stage) -> None:
    stage.run.phones = [DrivenPhone(phone.name, phone.secure) for phone in PHONES]
    stage.at_the_source()
    assert [phone.address for phone in stage.run.phones] == ["127.0.0.1"] * 3


def test_a_page_alone_is_not_enough_nor_risport70_alone(stage: Stage) -> None:
    stage.at_the_source()
    first, second, third = PHONES
    stage.source.knows(first, PhoneStatus.UNREGISTERED)  # and its page says that it is registered
    stage.shows(second, "")  # and RisPort70 says that it is registered
    stage.shows(third, "elsewhere")
    asked = stage.source.asked
    asyncio.run(stage.run._settle(PHONES))
    assert not any(stage.run.registered_at(phone, "source") for phone in PHONES)
    assert stage.source.asked - asked == 2  # it may have been late, but has 15 calls a minute
    assert stage.run.about(first).startswith("not registered")


def test_where_a_phone_registered_last_is_where_it_is(stage: Stage) -> None:
    stage.at_the_source()
    stage.destination.knows(PHONES[0], since=200)
    stage.destination.knows(PHONES[1], since=50)
    assert asyncio.run(stage.run.where()) == {"source": 2, "destination": 1}
    stage.destination.knows(PHONES[0], PhoneStatus.UNREGISTERED, since=300)
    assert asyncio.run(stage.run.where()) == {"source": 3}


def test_phones_are_reset_where_they_are_registered_now(stage: Stage) -> None:
    stage.at_the_source()
    stage.destination.knows(PHONES[1], since=200)
    asyncio.run(stage.run.reset(PHONES))
    assert stage.source.reset == [PHONES[0].name, PHONES[2].name]
    assert stage.destination.reset == [PHONES[1].name]


def test_a_phone_whose_pages_are_gone_has_kept_nothing_that_is_known(stage: Stage) -> None:
    assert stage.run.kept(PHONES[0]) != stage.run.kept(PHONES[0])
    assert stage.run.about(PHONES[0]) == "its pages can't be read"


def test_option_150_is_changed_at_the_source_for_either_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def served(cluster: FakeCluster) -> ServedLists:
        return ServedLists(frozenset(), frozenset(), (cluster.name,))

    monkeypatch.setattr(rehearsal, "served_lists", served)
    stage = Stage(tmp_path, monkeypatch, [DhcpSubnet("{1}", "10.0.0.1", "10.1.0.0", ())])
    asyncio.run(stage.run.point_at("destination"))
    asyncio.run(stage.run.point_at("source"))
    assert stage.source.servers == [("destination",), ("source",)]
    assert not stage.destination.servers
    with pytest.raises(NotSupported, match="source is no DHCP server"):
        asyncio.run(Stage(tmp_path, monkeypatch).run.point_at("destination"))


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("identities of src-pub", "identities"),
        ("trust stores of src-pub", "trust stores"),
        ("CAPF-trust of src-sub1", "trust stores"),
        ("add to CAPF-trust: CN=CAPF-1 of nobody", "trust stores"),
        ("bulk import of tftp, capf certificates", "bulk commands"),
        ("set the SFTP server of bulk certificate management: sftp://a", "bulk commands"),
        ("change option 150 of subnet 10.0.0.0 from none to 10.0.0.1", "option 150"),
        ("DHCP subnets", "option 150"),
        ("reset 3 phones: SEP1, SEP2, SEP3", "resets"),
        ("FIPS mode", "modes"),
        ("prepare for rollback", "modes"),
        ("registrations", "registrations"),
    ],
)
def test_ways_are_told_without_the_names_of_nodes_and_phones(question: str, kind: str) -> None:
    assert _kind_of(question) == kind


def test_ways_by_cluster_and_interface(stage: Stage) -> None:
    stage.source.went = {"identities of a": Interface.CLI, "identities of b": Interface.CLI}
    stage.destination.went = {"identities of c": Interface.REST, "registrations": Interface.RIS}
    ways = stage.run._ways()
    assert ways["source"][Interface.CLI] == ["identities"]
    assert ways["destination"][Interface.REST] == ["identities"]
    assert ways["destination"][Interface.RIS] == ["registrations"]
    assert Interface.PHONE_PAGE in ways["phones"]
