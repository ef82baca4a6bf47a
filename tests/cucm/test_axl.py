"""The AXL client against a lab cluster's AXL over HTTPS, and against what no cluster should say."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cucm.soapworld import DEVICES, PHONE, SoapWorld, make_world
from tests.services.soapclient import keys_read_once

from trustbridge.cucm import axlschema, soap
from trustbridge.cucm.axl import Axl, NotThere
from trustbridge.cucm.axlschema import AxlSchema, folder_for, shipped
from trustbridge.cucm.https import Answer
from trustbridge.cucm.model import CallManagerGroup, Interface, NodeInfo, PhoneInfo, Release
from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    NotSupported,
    Refused,
    SettingsError,
    Throttled,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.lab.cluster import Device
from trustbridge.services.asgi import App, Receive, Response, Scope, Send, respond
from trustbridge.services.httpsnode import Disturbance

T = TypeVar("T")


@pytest.fixture(scope="module", autouse=True)
def _keys_read_once() -> Iterator[None]:
    with keys_read_once():
        yield


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> SoapWorld:
    return make_world(tmp_path_factory, tmp_path)


@asynccontextmanager
async def client(world: SoapWorld, *, password: str | None = None, user: str | None = None) -> AsyncIterator[Axl]:
    async with world.https(Interface.AXL, password=password, user=user) as https:
        yield Axl(https, pauses=(0.01, 0.01))


def ask(world: SoapWorld, question: Callable[[Axl], Awaitable[T]], *, password: str | None = None) -> T:
    answers: list[T] = []

    async def asked(_: SoapWorld) -> None:
        async with client(world, password=password) as axl:
            answers.append(await question(axl))

    world.run(asked)
    return answers[0]


async def all_of(rows: AsyncIterator[T]) -> list[T]:
    return [row async for row in rows]


def saying(status: int, body: bytes, content_type: str = "text/xml") -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await respond(send, Response(status, body, content_type))

    return app


def fault(text: str, code: int | None = None) -> bytes:
    detail = "" if code is None else f"<detail><axlError><axlcode>{code}</axlcode></axlError></detail>"
    return (
        f'<e:Envelope xmlns:e="{soap.SOAP}"><e:Body><e:Fault><faultcode>x</faultcode><faultstring>{text}</faultstring>'
        f"{detail}</e:Fault></e:Body></e:Envelope>"
    ).encode()


VERSION = (
    f'<e:Envelope xmlns:e="{soap.SOAP}"><e:Body><getCCMVersionResponse><return><componentVersion>'
    "<version>14.0</version></componentVersion></return></getCCMVersionResponse></e:Body></e:Envelope>"
).encode()


# What it reads.


def test_an_answer_is_read_in_whatever_namespace_it_stands(world: SoapWorld) -> None:
    world.app = saying(200, VERSION)
    assert ask(world, lambda axl: axl.release()) == Release.parse("14.0")


def test_the_release_is_found_in_whatever_schema_the_node_speaks(world: SoapWorld) -> None:
    assert ask(world, lambda axl: axl.release()) == Release.parse("11.5.1.10000-6")


def test_nodes_come_without_the_row_for_the_whole_cluster(world: SoapWorld) -> None:
    assert ask(world, lambda axl: axl.nodes()) == (
        NodeInfo("src-pub", "src-pub", True),
        NodeInfo("src-sub1", "src-sub1", False),
    )


def test_activated_services_come_by_node(world: SoapWorld) -> None:
    found = ask(world, lambda axl: axl.activated_services())
    assert list(found) == ["src-pub", "src-sub1"]
    assert "Cisco Trust Verification Service" in found["src-sub1"]


def test_groups_name_nodes_in_order(world: SoapWorld) -> None:
    assert ask(world, lambda axl: axl.groups()) == (CallManagerGroup("Default", ("src-sub1", "src-pub")),)


def test_mode_and_parameters_are_read_from_the_database(world: SoapWorld) -> None:
    async def question(axl: Axl) -> tuple[str, str, bool, bool, str | None]:
        mode, rollback = await axl.security_mode(), await axl.prepare_for_rollback()
        world.cluster.set_security("non-secure")
        world.cluster.set_prepare_for_rollback(True)
        return mode, await axl.security_mode(), rollback, await axl.prepare_for_rollback(), await axl.parameter("x'y")

    assert ask(world, question) == ("mixed", "non-secure", False, True, None)


def test_phones_are_read_all_or_one(world: SoapWorld) -> None:
    first = PhoneInfo(
        PHONE,
        "Cisco 8841",
        "Reception",
        "Default",
        "Cisco 8841 - Standard SIP Non-Secure Profile",
        "sip88xx.12-5",
    )

    async def question(axl: Axl) -> tuple[list[PhoneInfo], PhoneInfo]:
        return await all_of(axl.phones()), await axl.phone(PHONE)

    found, one = ask(world, question)
    assert found[0] == one == first
    assert [phone.name for phone in found] == [device.name for device in DEVICES]


@pytest.mark.parametrize(("rows", "requests"), [(1, 40), (7, 6), (39, 2), (40, 0)])
def test_too_many_rows_are_read_in_pages(world: SoapWorld, rows: int, requests: int) -> None:
    world.cluster.add_devices([Device(f"SEP{number:012X}", "CP-8841", 1, "Default") for number in range(37)])
    world.apis.axl_limits.max_rows = rows
    found = ask(world, lambda axl: all_of(axl.phones()))
    assert [phone.name for phone in found] == sorted(world.cluster.devices)
    probes = len([version for version in shipped() if version >= (11, 5)])
    assert len(world.asked) == probes + 1 + requests


def test_pages_get_smaller_when_they_are_still_too_large(world: SoapWorld) -> None:
    world.cluster.add_devices([Device(f"SEP{number:012X}", "CP-8841", 1, "Default") for number in range(37)])
    world.apis.axl_limits.max_rows = 30

    async def question(axl: Axl) -> list[str]:
        names = []
        async for phone in axl.phones():
            world.apis.axl_limits.max_rows = 4
            names.append(phone.name)
        return names

    assert ask(world, question) == sorted(world.cluster.devices)


def test_a_node_that_gives_not_even_one_row_is_not_asked_for_ever(world: SoapWorld) -> None:
    world.apis.axl_limits.max_rows = 0
    with pytest.raises(Garbled, match="not even one row"):
        ask(world, lambda axl: all_of(axl.phones()))


def test_what_tvs_knows_comes_with_its_roles(world: SoapWorld) -> None:
    found = ask(world, lambda axl: axl.tvs_certificates())
    index = world.cluster.vouch_index("src-pub")
    assert {one.serial for one in found} == {known.certificate.serial for known in index}
    own = world.cluster.file_signer("src-pub").certificate
    (signer,) = [one for one in found if one.serial == own.serial]
    assert (signer.subject, signer.issuer, signer.time_to_live) == (own.subject, own.issuer, 86400)
    assert signer.roles == ("SAST", "TFTP")


def test_what_the_database_remembers_of_phones_is_read(world: SoapWorld) -> None:
    world.register(PHONE)
    (found,) = ask(world, lambda axl: all_of(axl.last_seen()))
    assert (found.name, found.node, found.address) == (PHONE, "src-sub1", "127.63.0.10")
    assert found.seen == world.cluster.clock()


# What it changes.


def test_a_reset_reaches_the_phone(world: SoapWorld) -> None:
    ask(world, lambda axl: axl.reset(PHONE))
    ask(world, lambda axl: axl.reset(PHONE, "Apply Configuration"))
    assert world.resets == [(PHONE, "Reset"), (PHONE, "Apply Configuration")]


def test_a_phone_is_created_and_changed(world: SoapWorld) -> None:
    values = {
        "name": "SEP0123456789AB",
        "product": "Cisco 8851",
        "class": "Phone",
        "protocol": "SIP",
        "protocolSide": "User",
        "devicePoolName": "Default",
        "commonPhoneConfigName": "Standard Common Phone Profile",
        "locationName": "Hub_None",
        "useTrustedRelayPoint": "Default",
        "phoneTemplateName": "Standard 8851 SIP",
        "primaryPhoneName": "",
        "builtInBridgeStatus": "Default",
        "packetCaptureMode": "None",
        "certificateOperation": "No Pending Operation",
        "deviceMobilityMode": "Default",
    }

    async def question(axl: Axl) -> PhoneInfo:
        await axl.add_phone(values)
        await axl.update_phone("SEP0123456789AB", {"description": "New"})
        return await axl.phone("SEP0123456789AB")

    found = ask(world, question)
    assert (found.model, found.description, found.device_pool) == ("Cisco 8851", "New", "Default")


def test_the_tftp_servers_of_a_subnet_are_changed(world: SoapWorld) -> None:
    async def question(axl: Axl) -> tuple[str, ...]:
        (subnet,) = await axl.dhcp_subnets()
        assert subnet.tftp_servers == ("127.61.0.2", "127.61.0.1")
        await axl.set_tftp_servers(subnet, ["127.62.0.5"])
        with pytest.raises(Refused):
            await axl.set_tftp_servers(subnet, [])
        return (await axl.dhcp_subnets())[0].tftp_servers

    assert ask(world, question) == ("127.62.0.5",)


# What goes wrong.


def test_what_is_not_there_is_refused_in_the_nodes_words(world: SoapWorld) -> None:
    with pytest.raises(
        Refused, match=r"src-pub \(AXL\): getPhone names something that is not there: .*Phone was not f"
    ):
        ask(world, lambda axl: axl.phone("SEPFFFFFFFFFFFF"))
    with pytest.raises(Refused, match="executeSQLQuery was refused: The specified table"):
        ask(world, lambda axl: axl.sql("select a from nowhere"))


def test_a_wrong_password_and_a_missing_right_are_told_apart(world: SoapWorld) -> None:
    with pytest.raises(AuthenticationRefused, match="axluser"):
        ask(world, lambda axl: axl.release(), password="other")
    world.accounts.add("application", "guest", "password-of-guest")

    async def as_guest(_: SoapWorld) -> None:
        async with client(world, user="guest", password="password-of-guest") as axl:
            with pytest.raises(Refused, match="guest may not do this") as caught:
                await axl.release()
            assert not isinstance(caught.value, AuthenticationRefused)

    world.run(as_guest)


def test_a_busy_node_is_asked_again(world: SoapWorld) -> None:
    world.apis.axl_limits.busy = 2
    assert ask(world, lambda axl: axl.release()).at_least(11, 5)


def test_a_node_that_stays_busy_is_left_alone(world: SoapWorld) -> None:
    world.apis.axl_limits.busy = 1000
    with pytest.raises(Throttled, match="AXL"):
        ask(world, lambda axl: axl.release())
    assert len(world.asked) < 20


@pytest.mark.parametrize("text", ["Maximum AXL Memory Allocation Consumed", "the write was throttled"])
def test_faults_that_speak_of_load_are_waited_for_and_then_said(world: SoapWorld, text: str) -> None:
    world.app = saying(500, fault(text))
    with pytest.raises(Throttled, match="too busy for getCCMVersion"):
        ask(world, lambda axl: axl.release())
    assert len(world.asked) == 3


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (200, b"<html>please log in</html>", Garbled, "no SOAP"),
        (200, b"", Garbled, "0 bytes"),
        (500, b"<html><body>trouble</body></html>", Garbled, "HTTP 500 with .*trouble"),
        (200, fault("")[:60], Garbled, "no SOAP"),
        (404, b"nothing here", NotSupported, "no such service"),
        (500, fault("Operation not found is getCCMVersion"), NotSupported, "does not know getCCMVersion"),
        (599, b"", NotSupported, "does not know"),
        (500, fault("Item not valid", 5007), NotThere, "Item not valid"),
        (500, fault("never", -1), Refused, "never"),
        (
            200,
            b'<e:Envelope xmlns:e="%s"><e:Body><other/></e:Body></e:Envelope>' % soap.SOAP.encode(),
            Garbled,
            "other",
        ),
        (200, b"<!DOCTYPE x>" + VERSION, Garbled, "no SOAP"),
    ],
)
def test_what_no_node_should_say_is_one_clear_error(
    world: SoapWorld, status: int, body: bytes, kind: type[TrustbridgeError], words: str
) -> None:
    world.app = saying(status, body)
    with pytest.raises(kind, match=words) as caught:
        ask(world, lambda axl: axl.release())
    assert type(caught.value) is kind
    assert "src-pub (AXL)" in caught.value.message


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Disturbance(busy=True), Throttled),
        (Disturbance(garble=True), Garbled),
        (Disturbance(cut_after=20), Garbled),
        (Disturbance(hang_up=True), Garbled),
    ],
)
def test_a_write_goes_once_and_what_comes_between_is_one_clear_error(
    world: SoapWorld, trouble: Disturbance, kind: type[TrustbridgeError]
) -> None:
    async def question(axl: Axl) -> None:
        await axl.phone(PHONE)  # the schema is there
        world.trouble = trouble
        with pytest.raises(kind) as caught:
            await axl.reset(PHONE)
        assert world.password not in f"{caught.value.message} {caught.value.hint} {caught.value!r}"

    ask(world, question)
    assert len(world.resets) <= 1


def test_a_node_that_is_down_is_unreachable(world: SoapWorld) -> None:
    world.trouble = Disturbance(refuse=True)
    with pytest.raises(Unreachable, match=r"src-pub \(AXL\)"):
        ask(world, lambda axl: axl.release())


def test_no_password_is_said_or_logged(world: SoapWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.app = saying(500, fault(f"user axluser with {world.password} is odd", -1))
    with caplog.at_level(logging.DEBUG), pytest.raises(Refused) as caught:
        ask(world, lambda axl: axl.release())
    assert world.password not in caught.value.message + caught.value.hint + repr(caught.value)
    assert world.password not in caplog.text


# Schemas.


@pytest.mark.parametrize(
    ("release", "folder"),
    [("15.0.1.10000-32", "12.5"), ("12.5.1.11900-146", "12.5"), ("12.1", "12.0"), ("11.5.1", "11.5"), ("9.0", "8.5")],
)
def test_the_newest_schema_that_is_not_newer_is_taken(release: str, folder: str) -> None:
    assert folder_for(Release.parse(release)).name == folder


def test_a_schema_of_ones_own_is_taken_and_one_that_is_none_refused(world: SoapWorld, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"AXLAPI\.wsdl"):
        folder_for(Release.parse("15"), str(tmp_path))
    with pytest.raises(SettingsError, match="no AXL schema for release 7"):
        folder_for(Release.parse("7.1"))
    mine = shutil.copytree(folder_for(Release.parse("11.5")), tmp_path / "mine")

    async def asked(_: SoapWorld) -> None:
        async with world.https(Interface.AXL) as https:
            assert (await Axl(https, schema=str(mine)).nodes())[0].publisher
            (mine / "AXLSoap.xsd").write_text('<x targetNamespace="http://www.cisco.com/AXL/API/11.5">')
            other = shutil.copytree(mine, tmp_path / "broken")
            with pytest.raises(SettingsError, match="can't be read"):
                await Axl(https, schema=str(other)).nodes()

    world.run(asked)


def test_an_element_the_schema_does_not_have_is_refused_before_anything_is_sent(world: SoapWorld) -> None:
    with pytest.raises(SettingsError, match=r"has no such updatePhone: .*bogus"):
        ask(world, lambda axl: axl.update_phone(PHONE, {"bogus": "1"}))
    with pytest.raises(SettingsError, match="has no such makeCoffee"):
        ask(world, lambda axl: axl.call("makeCoffee", {}))


def test_one_schema_serves_many_clients_at_once() -> None:
    async def load() -> list[AxlSchema]:
        folder = folder_for(Release.parse("11.5"))
        return await asyncio.gather(*(AxlSchema.load(folder) for _ in range(5)))

    assert len({id(schema) for schema in asyncio.run(load())}) == 1


def test_the_vendors_library_is_loaded_when_axl_is_spoken_and_not_before() -> None:
    code = (
        "import sys, trustbridge.cli, trustbridge.cucm.axl, trustbridge.cucm.ris; "
        "print(sorted({'zeep', 'requests', 'ciscoaxl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert axlschema.probe_versions()[0] == "12.5"


@given(st.binary(max_size=300), st.integers(100, 599))
def test_any_answer_is_an_element_a_fault_or_nothing(body: bytes, status: int) -> None:
    found = soap.read(Answer(status, "text/xml", body))
    assert found is None or isinstance(found, soap.Fault) or soap.local(found)


@given(st.text(max_size=60), st.integers(-(10**12), 10**12))
def test_any_fault_is_read(text: str, code: int) -> None:
    clean = "".join(one for one in text if one.isprintable() and one not in "<&")
    found = soap.read(Answer(500, "text/xml", fault(clean, code)))
    assert isinstance(found, soap.Fault)
    assert found.text == clean.strip()
    assert found.code in (code, None)
