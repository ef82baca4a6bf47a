"""Phones in detail over AXL: read, created once, removed; and queries that are not sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from tests.cucm.soapworld import DEVICES, PHONE, SoapWorld, make_world
from tests.cucm.test_axl import ask, fault, saying
from tests.services.soapclient import keys_read_once

from trustbridge.cucm import axldevices, devices
from trustbridge.cucm.axl import Axl
from trustbridge.cucm.axlschema import AxlSchema, shipped
from trustbridge.cucm.devices import DeviceDetails, DeviceLine, DirectoryNumber, Kind, one_select
from trustbridge.errors import Refused, SettingsError, Throttled, TrustbridgeError
from trustbridge.lab.definition import ObjectsDefinition
from trustbridge.services.asgi import Receive, Scope, Send

OBJECTS = ObjectsDefinition(
    partitions=("Internal",), calling_search_spaces=("National",), users=("anna",), locations=("Warsaw",)
)


@pytest.fixture(scope="module", autouse=True)
def _keys_read_once() -> Iterator[None]:
    with keys_read_once():
        yield


@pytest.fixture(params=["11.5", "12.5"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> SoapWorld:
    return make_world(tmp_path_factory, tmp_path, release=request.param, objects=OBJECTS)


NEW = DeviceDetails(
    name="SEP0123456789AB",
    model="Cisco 8851",
    product="Cisco 8851",
    protocol="SIP",
    description="Desk, 2nd floor",
    device_pool="Default",
    template="Standard 8851 SIP",
    security_profile="Cisco 8851 - Standard SIP Encrypted Profile",
    common_profile="Standard Common Phone Profile",
    location="Warsaw",
    css="National",
    subscribe_css="National",
    sip_profile="Standard SIP Profile",
    softkeys="Standard User",
    owner="anna",
    lines=(DeviceLine(1, "4001", "Internal", "Anna", "Anna K.", "Anna K.", "4822123XXXX", "4", "2"),),
)
NUMBER = DirectoryNumber("4001", "Internal", "Desk", "National", "Anna", "Anna")


def test_a_phone_is_created_as_it_was_read_and_removed(world: SoapWorld) -> None:
    async def question(axl: Axl) -> tuple[Any, ...]:
        assert await axldevices.add_number(axl, NUMBER)
        assert not await axldevices.add_number(axl, NUMBER)
        assert await axldevices.add(axl, NEW)
        assert not await axldevices.add(axl, replace(NEW, description="Other"))
        read = await axldevices.details(axl, [NEW.name, "SEPFFFFFFFFFFFF", PHONE])
        numbers = await axldevices.number_details(axl, [("4001", "Internal"), ("9", "")])
        known = await axldevices.known_numbers(axl)
        listed = {one.name: one async for one in axldevices.listed(axl)}
        removed = [await axldevices.remove(axl, NEW.name) for _ in range(2)]
        return read, numbers, known, listed, removed

    read, numbers, known, listed, removed = ask(world, question)
    assert read.keys() == {NEW.name, PHONE}
    assert read[NEW.name] == NEW
    assert read[PHONE].left == ("its own phone load",)
    assert numbers == {("4001", "Internal"): NUMBER}
    assert known == {("4001", "Internal")}
    assert listed[NEW.name] == replace(NEW, lines=())
    assert len(listed) == len(DEVICES) + 1
    assert removed == [True, False]
    assert NEW.name not in world.cluster.devices


@pytest.mark.parametrize("kind", list(Kind))
def test_what_phones_can_refer_to_is_read(world: SoapWorld, kind: Kind) -> None:
    found = ask(world, lambda axl: axldevices.known_names(axl, kind))
    assert found
    mine = {Kind.PARTITION: "Internal", Kind.CSS: "National", Kind.USER: "anna", Kind.LOCATION: "Warsaw"}
    assert mine.get(kind, next(iter(found))) in found


def test_profiles_tell_their_mode(world: SoapWorld) -> None:
    found = ask(world, axldevices.security_profiles)
    assert found["Cisco 8851 - Standard SIP Encrypted Profile"] == "Encrypted"
    assert found["Cisco 8851 - Standard SIP Non-Secure Profile"] == "Non Secure"


def test_what_is_missing_is_refused_in_the_nodes_words(world: SoapWorld) -> None:
    with pytest.raises(Refused, match="The specified Device Pool was not found"):
        ask(world, lambda axl: axldevices.add(axl, replace(NEW, device_pool="Elsewhere", lines=())))


def test_creating_is_sent_once_however_it_ends(world: SoapWorld) -> None:
    real: list[str] = []

    async def cut(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        real.append("addPhone" if b"addPhone" in body else "")
        raise ConnectionError

    async def question(axl: Axl) -> None:
        await axl.release()
        world.app = cut
        await axldevices.add(axl, replace(NEW, lines=()))

    with pytest.raises(TrustbridgeError):
        ask(world, question)
    assert real == ["addPhone"]


def test_no_room_for_an_answer_is_told_as_throttling(world: SoapWorld) -> None:
    async def question(axl: Axl) -> object:
        await axl.release()
        words = "Maximum AXL Memory Allocation Consumed. Please retry once requests in progress have completed"
        world.app = saying(500, fault(words, -1))
        return await axl.sql("select name from device")

    with pytest.raises(Throttled):
        ask(world, question)


# Values.


# They take two seconds each to load: the oldest, the newest and two between.
@pytest.mark.parametrize("release", [(8, 5), (10, 0), (11, 5), (12, 5)], ids=str)
def test_every_release_of_the_schema_takes_what_is_sent(release: tuple[int, ...]) -> None:
    schema = AxlSchema(shipped()[release])
    assert b"4822123XXXX" in schema.request("addPhone", {"phone": devices.phone_values(NEW)})
    assert b"shareLineAppearanceCssName" in schema.request("addLine", {"line": devices.number_values(NUMBER)})
    assert NEW.name.encode() in schema.request("removePhone", {"name": NEW.name})
    tags = dict.fromkeys(devices.LISTED, "")
    schema.request("listPhone", {"searchCriteria": {"name": "%"}, "returnedTags": tags})
    for operation, tag in devices.LISTS.values():
        schema.request(operation, {"searchCriteria": {tag: "%"}, "returnedTags": {tag: ""}})


def test_what_is_not_carried_is_told() -> None:
    found = devices.parse_device(
        etree.fromstring(
            "<phone><name>SEP1</name><model>Cisco 8841</model><enableExtensionMobility>true</enableExtensionMobility>"
            "<lines><line><index>2</index><dirn><pattern>2</pattern></dirn></line><line><index>1</index><dirn><pattern>1"
            "</pattern></dirn><associatedEndusers><enduser><userId>a</userId></enduser></associatedEndusers></line>"
            "</lines><speeddials><speeddial/><speeddial/></speeddials><busyLampFields><busyLampField/></busyLampFields>"
            "<services><service/></services><addOnModules><addOnModule/></addOnModules>"
            "<vendorConfig><webAccess>0</webAccess></vendorConfig><mediaResourceListName>M</mediaResourceListName></phone>"
        )
    )
    assert [line.index for line in found.lines] == [1, 2]
    assert found.product == "Cisco 8841"
    assert found.left == (
        "speed dials: 2",
        "busy lamp fields: 1",
        "subscribed services: 1",
        "expansion modules: 1",
        "media resource group list",
        "extension mobility",
        "product specific configuration",
        "users associated with its lines: 1",
    )
    for special, told in ((' special="false"', ()), (' special="true"', ("its own phone load",))):
        load = f"<phone><name>SEP1</name><loadInformation{special}>sip88xx</loadInformation></phone>"
        assert devices.parse_device(etree.fromstring(load)).left == told
    number = devices.parse_number(
        etree.fromstring(
            "<line><pattern>1</pattern><callForwardAll><destination>2</destination></callForwardAll><callForwardBusy>"
            "<forwardToVoiceMail>true</forwardToVoiceMail></callForwardBusy><callForwardBusyInt><destination/>"
            "</callForwardBusyInt><voiceMailProfileName>V</voiceMailProfileName></line>"
        )
    )
    assert number.left == ("voice mail profile", "call forwards: 2")


TAGS = ["lines", "line", "dirn", "index", "pattern", "speeddials", "speeddial", "name", "vendorConfig"]
ELEMENTS: st.SearchStrategy[Any] = st.recursive(
    st.builds(lambda text: (text, []), st.text("12ab\n ", max_size=3)),
    lambda inner: st.builds(
        lambda names, children: ("", list(zip(names, children, strict=False))),
        st.lists(
            st.sampled_from(TAGS),
            max_size=5,
        ),
        st.lists(inner, max_size=5),
    ),
    max_leaves=20,
)


def built(name: str, shape: Any) -> etree._Element:
    element = etree.Element(name)
    element.text = shape[0]
    for child, inner in shape[1]:
        element.append(built(child, inner))
    element.append(etree.Comment("x"))
    return element


@given(ELEMENTS)
def test_reading_a_phone_or_a_number_is_total(shape: Any) -> None:
    devices.parse_device(built("phone", shape))
    devices.parse_number(built("line", shape))


TEXT = st.text("aé,\"'4", max_size=4)
LINES = st.builds(DeviceLine, st.integers(1, 99), TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT)


@given(st.builds(DeviceDetails, *([TEXT] * 16), lines=st.lists(LINES, max_size=3).map(tuple), left=st.just(("x",))))
def test_a_kept_phone_is_read_back(device: DeviceDetails) -> None:
    assert devices.device_from_json(devices.device_json(device)) == device


@pytest.mark.parametrize(
    "change",
    [{"name": 1}, {"lines": [{"index": "1", "pattern": "1"}]}, {"lines": [{}]}, {"stranger": "x"}, {"left": None}],
)
def test_what_is_no_kept_phone_is_found(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        devices.device_from_json(devices.device_json(NEW) | change)


# Queries.


@pytest.mark.parametrize(
    "query",
    [
        "select name from device",
        " SELECT name\nFROM device ; ",
        "select name from device where description = 'a; b -- {c} into'",
        "select name from device where description = \"it's\" and name like 'SEP%'",
        "select name from device where description = 'it''s'",
        "select d.name from device d join devicepool p on d.fkdevicepool = p.pkid where p.name like 'Warsaw%'",
    ],
)
def test_one_select_is_sent(query: str) -> None:
    assert one_select(query).lower().startswith("select")
    assert not one_select(query).endswith(";")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("", "no select"),
        ("delete from device", "no select"),
        ("(select name from device)", "no select"),
        ("selection from device", "no select"),
        ("execute procedure x()", "no select"),
        ("update device set name='select'", "no select"),
        ("select 1 from device; delete from device", "more than one"),
        ("select 1 from device;;", "more than one"),
        ("select name from device into temp t", "into"),
        ("select name INTO x from device", "into"),
        ("select name from device -- where", "comment"),
        ("select name from device /* x */", "comment"),
        ("select name from device { x }", "comment"),
        ("select name from device where name = 'x", "never closed"),
        ("select name from device where name = 'x'' ; delete from device", "."),
        ("select name\x00 from device", "can't be sent"),
    ],
)
def test_anything_else_is_not_sent(world: SoapWorld, query: str, why: str) -> None:
    before = len(world.asked)
    with pytest.raises(SettingsError, match=why):
        ask(world, lambda axl: axl.sql(query))
    assert world.asked[before:] == []


@given(st.text("select -;'\"{}/*into\n", max_size=30))
def test_judging_a_query_is_total(text: str) -> None:
    try:
        assert one_select(f"select {text}")
    except SettingsError:
        return
