"""RisPort70 and Control Center, over a lab cluster's registrations and services."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from lxml import etree
from tests.lab.prepared import NOW, Prepared
from tests.services.soapclient import keys_read_once, texts

from trustbridge.lab.cluster import Cluster, Device
from trustbridge.lab.registrations import MAX_REJECTED, Registrations
from trustbridge.lab.risbackend import SERVICES, ControlCenterData, RisData
from trustbridge.services.registrar import Registration
from trustbridge.services.ris import NAMESPACE, RisLimits, answer_control_center, answer_ris
from trustbridge.services.soap import SoapFault, child, local_name

ONE, TWO, SECURE = "SEP001B0C000001", "SEP001B0C000002", "SEP001B0C000003"


@pytest.fixture(scope="module", autouse=True)
def _keys_read_once() -> Iterator[None]:
    with keys_read_once():
        yield


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Cluster:
    found = Prepared.once(tmp_path_factory).cluster(tmp_path / "cluster", "src")
    found.add_devices(
        [
            Device(ONE, "CP-8841", 1, "Default", "Reception", "sip88xx.12-5"),
            Device(TWO, "CP-7821", 1, "Default"),
            Device(SECURE, "CP-8861", 3, "Default"),
        ]
    )
    return found


class World:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.registrations = Registrations(cluster)
        self.data = RisData(cluster, self.registrations)
        self.seconds = 0.0
        self.limits = RisLimits(lambda: self.seconds)

    def register(self, name: str, expires: int = 120, node: str = "src-sub1", address: str = "127.63.0.10") -> None:
        peer = (address, 5060)
        self.registrations.judge(node, Registration(name, "683", peer, peer, expires, False, ""))

    def ask(self, *names: str, operation: str = "selectCmDeviceExt", **criteria: str) -> etree._Element:
        root = etree.Element(f"{{{NAMESPACE}}}{operation}")
        below = etree.SubElement(root, f"{{{NAMESPACE}}}CmSelectionCriteria")
        given = {"MaxReturnedDevices": "1000", "DeviceClass": "Phone", "Model": "255", "Status": "Any"}
        for name, value in ({**given, "SelectBy": "Name"} | criteria).items():
            etree.SubElement(below, f"{{{NAMESPACE}}}{name}").text = value
        items = etree.SubElement(below, f"{{{NAMESPACE}}}SelectItems")
        for name in names:
            etree.SubElement(etree.SubElement(items, f"{{{NAMESPACE}}}item"), f"{{{NAMESPACE}}}Item").text = name
        return answer_ris(root, self.data, self.limits)


def found(answer: etree._Element) -> list[tuple[str, str, str, str]]:
    """(node, name, status, reason) of every device in an answer."""
    rows = []
    for node in answer.iter(f"{{{NAMESPACE}}}CmDevices"):
        parent = node.getparent()
        assert parent is not None
        (where,) = [one.text or "" for one in parent if local_name(one) == "Name"]
        rows += [(where, *(texts(item, name)[0] for name in ("Name", "Status", "StatusReason"))) for item in node]
    return [(a, b, c, d) for a, b, c, d in rows]


@pytest.fixture
def world(cluster: Cluster) -> World:
    return World(cluster)


def test_a_registered_phone_stands_below_its_node(world: World) -> None:
    world.register(ONE)
    answer = world.ask(ONE)
    assert local_name(answer) == "selectCmDeviceExtResponse"
    assert found(answer) == [("src-sub1", ONE, "Registered", "0")]
    assert texts(answer, "ReturnCode") == ["NotFound", "Ok"]
    assert texts(answer, "TotalDevicesFound") == ["1"]
    assert texts(answer, "IP") == ["127.63.0.10"]
    assert texts(answer, "ActiveLoadID") == ["sip88xx.12-5"]
    assert texts(answer, "TimeStamp") == [str(int(NOW.timestamp()))]
    assert texts(answer, "Model") == ["683"]


def test_a_phone_nobody_has_heard_of_is_not_there(world: World) -> None:
    answer = world.ask(ONE, "SEPFFFFFFFFFFFF")
    assert found(answer) == []
    assert texts(answer, "TotalDevicesFound") == ["0"]


def test_a_phone_that_left_ran_out_or_was_turned_away_says_so(world: World) -> None:
    world.register(ONE)
    world.register(ONE, expires=0)
    world.register(TWO, node="src-pub")
    world.register(SECURE)  # its profile wants TLS
    world.cluster.clock = lambda: NOW + timedelta(hours=1)
    assert found(world.ask(ONE, TWO, SECURE)) == [
        ("src-pub", TWO, "UnRegistered", "13"),
        ("src-sub1", ONE, "UnRegistered", "8"),
        ("src-sub1", SECURE, "Rejected", "14"),
    ]


def test_a_phone_that_moved_is_found_where_it_is(world: World) -> None:
    world.register(ONE, node="src-pub")
    world.register(ONE, node="src-sub1")
    world.register(ONE, node="src-pub", expires=0)  # the goodbye comes late
    assert found(world.ask(ONE)) == [("src-sub1", ONE, "Registered", "0")]


def test_strangers_are_forgotten_again(world: World) -> None:
    for number in range(MAX_REJECTED + 5):
        world.register(f"SEP{number:012X}")
    assert len(world.registrations.last_known) == MAX_REJECTED


@pytest.mark.parametrize(
    ("criteria", "names"),
    [
        ({"Status": "Registered"}, [ONE]),
        ({"Status": "UnRegistered"}, [TWO]),
        ({"Model": "683"}, [ONE]),
        ({"NodeName": "src-pub"}, []),
        ({"DeviceClass": "Gateway"}, []),
        ({"MaxReturnedDevices": "1"}, [ONE]),
    ],
)
def test_criteria_narrow_what_is_found(world: World, criteria: dict[str, str], names: list[str]) -> None:
    world.register(ONE)
    world.register(TWO)
    world.register(TWO, expires=0)
    assert [row[1] for row in found(world.ask(ONE, TWO, ONE, **criteria))] == names


def test_stars_are_for_the_other_operation(world: World) -> None:
    world.register(ONE)
    world.register(TWO)
    assert found(world.ask("SEP*")) == []
    assert [row[1] for row in found(world.ask("SEP001B0C*", operation="selectCmDevice"))] == [ONE, TWO]
    assert [row[1] for row in found(world.ask("SEP[0-9]*", operation="selectCmDevice"))] == []


def test_a_cluster_takes_fifteen_calls_a_minute(world: World) -> None:
    for _ in range(15):
        world.ask(ONE)
        world.seconds += 1
    with pytest.raises(SoapFault, match=r"Exceeded allowed rate for Reatime information\..*15 requests") as caught:
        world.ask(ONE)
    assert caught.value.code == "ns1:Server.RateControl"
    world.seconds = 60
    world.ask(ONE)
    with pytest.raises(SoapFault):
        world.ask(ONE)


def test_what_makes_no_sense_is_refused(world: World) -> None:
    with pytest.raises(SoapFault, match="No such operation 'selectCtiItem'"):
        world.ask(ONE, operation="selectCtiItem")
    with pytest.raises(SoapFault, match="by Name"):
        world.ask(ONE, SelectBy="IPV4Address")
    with pytest.raises(SoapFault, match="CmSelectionCriteria"):
        answer_ris(etree.Element(f"{{{NAMESPACE}}}selectCmDeviceExt"), world.data, world.limits)


class Services:
    """A node's services that do as they are told."""

    def __init__(self) -> None:
        self.down = {"Cisco Tftp"}
        self.restarted: list[str] = []

    def running(self, service: str) -> bool:
        return service not in self.down

    async def restart(self, service: str) -> None:
        self.down.discard(service)
        self.restarted.append(service)


class Node:
    def __init__(self, cluster: Cluster, name: str = "src-pub") -> None:
        self.services = Services()
        self.data = ControlCenterData(cluster, name, self.services, self._started)

    def _started(self, service: str) -> datetime:
        return NOW - timedelta(seconds=90)

    def ask(self, body: str, operation: str = "soapGetServiceStatus") -> etree._Element:
        text = f'<s:{operation} xmlns:s="{NAMESPACE}">{body}</s:{operation}>'
        return asyncio.run(answer_control_center(etree.fromstring(text), self.data))

    def control(self, how: str, *names: str, node: str = "src-pub") -> etree._Element:
        items = "".join(f"<s:item>{name}</s:item>" for name in names)
        return self.ask(
            f"<s:ControlServiceRequest><s:NodeName>{node}</s:NodeName><s:ControlType>{how}</s:ControlType>"
            f"<s:ServiceList>{items}</s:ServiceList></s:ControlServiceRequest>",
            "soapDoControlServices",
        )


@pytest.fixture
def node(cluster: Cluster) -> Node:
    return Node(cluster)


def test_every_service_tells_its_state(node: Node) -> None:
    answer = node.ask("<s:ServiceStatus></s:ServiceStatus>")
    assert texts(answer, "ServiceName") == list(SERVICES)
    assert texts(answer, "ServiceStatus") == ["Started", "Stopped", "Started"]
    assert texts(answer, "UpTime") == ["90", "-1", "90"]
    assert texts(answer, "StartTime")[0] == "Sun Mar  1 11:58:30 2026"
    assert texts(answer, "ReturnCode") == ["0"]


@pytest.mark.parametrize("form", ["{}", "<s:item>{}</s:item>"])
def test_one_service_tells_its_state(node: Node, form: str) -> None:
    answer = node.ask(f"<s:ServiceStatus>{form.format('Cisco Tftp')}</s:ServiceStatus>")
    assert texts(answer, "ServiceName") == ["Cisco Tftp"]
    unknown = node.ask("<s:ServiceStatus>Cisco Coffee</s:ServiceStatus>")
    assert texts(unknown, "ReturnCode") == ["1"]
    assert texts(unknown, "ReasonCodeString") == ["Requested service does not exist"]


def test_a_service_is_restarted(node: Node) -> None:
    answer = node.control("Restart", "Cisco Tftp", "Cisco Coffee")
    assert node.services.restarted == ["Cisco Tftp"]
    assert dict(zip(texts(answer, "ServiceName"), texts(answer, "ServiceStatus"), strict=True)) == {
        "Cisco Tftp": "Started",
        "Cisco Coffee": "Stopped",
    }
    assert child(answer[0], "ServiceInfoList") is not None


def test_a_node_is_named_by_its_address_too(node: Node, cluster: Cluster) -> None:
    node.control("Restart", "Cisco Tftp", node=cluster.definition.address("src-pub"))
    assert node.services.restarted == ["Cisco Tftp"]


@pytest.mark.parametrize(
    ("how", "node_name", "words"),
    [
        ("Restart", "src-sub1", "can't be controlled"),
        ("Kill", "src-pub", "Kill"),
        ("Stop", "src-pub", "restarted here"),
    ],
)
def test_other_nodes_and_controls_are_refused(node: Node, how: str, node_name: str, words: str) -> None:
    with pytest.raises(SoapFault, match=words):
        node.control(how, "Cisco CallManager", node=node_name)
    assert node.services.restarted == []


def test_services_a_node_does_not_run_are_not_listed(cluster: Cluster) -> None:
    nodes = (cluster.definition.nodes[0].model_copy(update={"tftp": False}), cluster.definition.nodes[1])
    cluster.definition = cluster.definition.model_copy(update={"nodes": nodes})
    assert "Cisco Tftp" not in texts(Node(cluster).ask(""), "ServiceName")


def test_other_operations_are_refused(node: Node) -> None:
    with pytest.raises(SoapFault, match="soapDoServiceDeployment"):
        node.ask("", "soapDoServiceDeployment")
