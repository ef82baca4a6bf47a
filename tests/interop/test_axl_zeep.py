"""Clients nobody here wrote, as administrators use them: zeep with the vendor's WSDL, and ciscoaxl, at a lab's AXL."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import urllib3
import zeep
from tests.cucm.soapworld import DEVICES, PHONE, SoapWorld, make_world
from tests.services.soapclient import keys_read_once
from zeep.transports import Transport

from trustbridge.lab.axlphones import identifier
from trustbridge.lab.definition import ObjectsDefinition


@pytest.fixture(scope="module", autouse=True)
def _keys_read_once() -> Iterator[None]:
    with keys_read_once():
        yield


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`requests` heeds these even where it was told not to verify; and zeep keeps a cache at home."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@contextmanager
def served(world: SoapWorld) -> Iterator[str]:
    """A cluster's HTTPS in a thread of its own; its address."""
    ready, done = threading.Event(), threading.Event()

    async def until_done(_: SoapWorld) -> None:
        ready.set()
        await asyncio.to_thread(done.wait, 60)

    thread = threading.Thread(target=world.run, args=(until_done,))
    thread.start()
    try:
        assert ready.wait(20)
        yield "{}:{}".format(*world.server.address)
    finally:
        done.set()
        thread.join(20)


@pytest.fixture(params=["11.5", "12.5"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> SoapWorld:
    return make_world(tmp_path_factory, tmp_path, release=request.param)


def version(world: SoapWorld) -> str:
    return world.cluster.definition.release


@contextmanager
def plain_zeep(world: SoapWorld, password: str | None = None) -> Iterator[Any]:
    spec = find_spec("ciscoaxl")
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or [])))
    session = requests.Session()
    session.verify = False
    session.auth = (world.user, world.password if password is None else password)
    untyped: Any = zeep
    wsdl = folder / "schema" / version(world) / "AXLAPI.wsdl"
    with served(world) as address, session, warnings.catch_warnings():
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        # Strictly: what the schema does not allow ends in an error.
        client = untyped.Client(str(wsdl), transport=cast(Any, Transport)(session=session, timeout=10))
        yield client.create_service("{http://www.cisco.com/AXLAPIService/}AXLAPIBinding", f"https://{address}/axl/")


def test_zeep_reads_and_changes_a_cluster(world: SoapWorld) -> None:
    with plain_zeep(world) as axl:
        assert axl.getCCMVersion()["return"]["componentVersion"]["version"].startswith(version(world))
        nodes = axl.listProcessNode(searchCriteria={"name": "%"}, returnedTags={"name": "", "nodeUsage": ""})
        assert [node["name"] for node in nodes["return"]["processNode"]] == [
            "EnterpriseWideData",
            "src-pub",
            "src-sub1",
        ]
        group = axl.getCallManagerGroup(name="Default")["return"]["callManagerGroup"]
        assert [one["callManagerName"]["_value_1"] for one in group["members"]["member"]] == [
            "CM_src-sub1",
            "CM_src-pub",
        ]
        phones = axl.listPhone(searchCriteria={"name": "SEP%"}, returnedTags={"name": "", "model": ""}, first=2)
        assert [(one["name"], one["model"]) for one in phones["return"]["phone"]] == [
            (DEVICES[0].name, "Cisco 8841"),
            (DEVICES[1].name, "Cisco 7821"),
        ]
        assert axl.getPhone(name=PHONE)["return"]["phone"]["description"] == "Reception"
        assert axl.updatePhone(name=PHONE, description="Desk")["return"] == identifier("device", PHONE)
        assert axl.getPhone(name=PHONE)["return"]["phone"]["description"] == "Desk"
        reset = axl.doDeviceReset(deviceName=PHONE, deviceResetType="Reset")
        assert (reset["return"], world.resets) == (identifier("device", PHONE), [(PHONE, "Reset")])
        tvs = axl.listTvsCertificate(searchCriteria={"subjectName": "%"}, returnedTags={"serialNumber": ""})
        own = world.cluster.file_signer("src-pub").certificate
        assert f"{own.serial:x}" in {one["serialNumber"] for one in tvs["return"]["tvsCertificate"]}
        one = axl.getTvsCertificate(issuerName=own.issuer, serialNumber=f"{own.serial:x}")["return"]["tvsCertificate"]
        assert [role["roleName"] for role in one["roles"]["role"]] == ["SAST", "TFTP"]
        rows = axl.executeSQLQuery(sql="select name from device order by name")["return"]["row"]
        assert [row[0].text for row in rows] == [device.name for device in DEVICES]


ADDED = "SEP0123456789AB"
PHONE_VALUES: dict[str, Any] = {
    "name": ADDED,
    "description": "Desk",
    "product": "Cisco 8851",
    "class": "Phone",
    "protocol": "SIP",
    "protocolSide": "User",
    "callingSearchSpaceName": "National",
    "devicePoolName": "Default",
    "commonPhoneConfigName": "Standard Common Phone Profile",
    "locationName": "Hub_None",
    "useTrustedRelayPoint": "Default",
    "securityProfileName": "Cisco 8851 - Standard SIP Encrypted Profile",
    "sipProfileName": "Standard SIP Profile",
    "lines": {"line": [{"index": 1, "label": "Anna", "dirn": {"pattern": "4001", "routePartitionName": "Internal"}}]},
    "phoneTemplateName": "Standard 8851 SIP",
    "primaryPhoneName": "",
    "builtInBridgeStatus": "Default",
    "packetCaptureMode": "None",
    "certificateOperation": "No Pending Operation",
    "deviceMobilityMode": "Default",
}


@pytest.mark.parametrize("world", ["11.5", "12.5"], indirect=True)
def test_zeep_creates_a_phone_with_a_line_and_removes_it(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, world: SoapWorld
) -> None:
    objects = ObjectsDefinition(partitions=("Internal",), calling_search_spaces=("National",))
    world = make_world(tmp_path_factory, tmp_path / "more", release=version(world), objects=objects)
    with plain_zeep(world) as axl:
        line = {"pattern": "4001", "usage": "Device", "routePartitionName": "Internal", "alertingName": "Anna"}
        assert axl.addLine(line=line)["return"] == identifier("numplan", "4001", "Internal")
        assert axl.addPhone(phone=PHONE_VALUES)["return"] == identifier("device", ADDED)
        with pytest.raises(zeep.exceptions.Fault, match="duplicate value") as caught:
            axl.addPhone(phone=PHONE_VALUES)
        assert caught.value.detail.findtext(".//axlcode") == "-239"
        phone = axl.getPhone(name=ADDED)["return"]["phone"]
        (shown,) = phone["lines"]["line"]
        assert (shown["index"], shown["label"], shown["dirn"]["pattern"]) == (1, "Anna", "4001")
        assert shown["dirn"]["routePartitionName"]["_value_1"] == "Internal"
        assert phone["callingSearchSpaceName"]["_value_1"] == "National"
        named = axl.getLine(pattern="4001", routePartitionName="Internal")["return"]["line"]
        assert named["alertingName"] == "Anna"
        for operation, kind, tag in (
            ("listDevicePool", "devicePool", "name"),
            ("listPhoneButtonTemplate", "phoneButtonTemplate", "name"),
            ("listPhoneSecurityProfile", "phoneSecurityProfile", "name"),
            ("listLocation", "location", "name"),
            ("listCommonPhoneConfig", "commonPhoneConfig", "name"),
            ("listRoutePartition", "routePartition", "name"),
            ("listCss", "css", "name"),
            ("listSoftKeyTemplate", "softKeyTemplate", "name"),
            ("listSipProfile", "sipProfile", "name"),
            ("listLine", "line", "pattern"),
        ):
            found = axl[operation](searchCriteria={tag: "%"}, returnedTags={tag: ""})["return"][kind]
            assert all(one[tag] for one in found), operation
        query = "select d.name from device d join devicepool p on d.fkdevicepool=p.pkid where p.name like 'Def%'"
        rows = axl.executeSQLQuery(sql=query)["return"]["row"]
        assert ADDED in [row[0].text for row in rows]
        assert axl.removePhone(name=ADDED)["return"] == identifier("device", ADDED)
        with pytest.raises(zeep.exceptions.Fault, match="Phone was not found"):
            axl.getPhone(name=ADDED)


def test_zeep_sees_faults_as_faults(world: SoapWorld) -> None:
    with plain_zeep(world) as axl:
        with pytest.raises(zeep.exceptions.Fault, match="The specified Phone was not found") as caught:
            axl.getPhone(name="SEPFFFFFFFFFFFF")
        assert caught.value.detail.findtext(".//axlcode") == "5007"
        world.apis.axl_limits.busy = 1
        with pytest.raises(zeep.exceptions.Error):
            axl.getCCMVersion()  # 503, and a page that is no SOAP
        assert axl.getCCMVersion()
        world.apis.axl_limits.max_rows = 1
        with pytest.raises(zeep.exceptions.Fault, match="Total rows matched: 3 rows"):
            axl.listPhone(searchCriteria={"name": "%"}, returnedTags={"name": ""})


def test_a_wrong_password_is_no_way_in(world: SoapWorld) -> None:
    with plain_zeep(world, password="wrong") as axl, pytest.raises(zeep.exceptions.TransportError) as caught:
        axl.getCCMVersion()
    assert caught.value.status_code == 401


def test_ciscoaxl_works_as_its_readme_says(world: SoapWorld) -> None:
    from ciscoaxl.axl import axl as ciscoaxl

    with served(world) as address, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        host, _, port = address.partition(":")
        with pytest.raises(Exception, match="401 Unauthorized"):
            ciscoaxl(world.user, "wrong", host, version(world), cucm_port=port)
        client = ciscoaxl(world.user, world.password, host, version(world), cucm_port=port)
        assert [phone["name"] for phone in client.get_phones()] == [device.name for device in DEVICES]
        assert client.get_phone(name=PHONE)["product"] == "Cisco 8841"
        found = client.run_sql_query("select paramvalue from processconfig where paramname='ClusterSecurityMode'")
        assert found["rows"] == [{"paramvalue": "1"}]
        client._zeep.transport.session.close()
