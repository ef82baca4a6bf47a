"""RisPort70 and Control Center clients against a lab cluster over HTTPS; the allowance by a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cucm.soapworld import PHONE, SoapWorld, make_world
from tests.lab.prepared import NOW
from tests.services.soapclient import keys_read_once

from trustbridge.cucm.model import Interface, PhoneStatus, RegistrationInfo, ServiceStatus
from trustbridge.cucm.ris import BATCH, NAMESPACE, Budget, ControlCenter, Ris
from trustbridge.errors import AuthenticationRefused, Garbled, Refused, Throttled
from trustbridge.services.asgi import App, Receive, Response, Scope, Send, respond

T = TypeVar("T")
SECOND = "SEP001B0C000002"


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture(scope="module", autouse=True)
def _keys_read_once() -> Iterator[None]:
    with keys_read_once():
        yield


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> SoapWorld:
    return make_world(tmp_path_factory, tmp_path)


def ask(
    world: SoapWorld, question: Callable[[Ris], Awaitable[T]], time: Time | None = None, *, password: str | None = None
) -> T:
    answers: list[T] = []
    time = time or Time()
    world.apis.ris_limits.clock = time.clock

    async def asked(_: SoapWorld) -> None:
        async with world.https(Interface.RIS, password=password) as https:
            budget = Budget(clock=time.clock, sleep=time.sleep)
            answers.append(await question(Ris(https, budget=budget)))

    world.run(asked)
    return answers[0]


def control(world: SoapWorld, question: Callable[[ControlCenter], Awaitable[T]]) -> T:
    answers: list[T] = []

    async def asked(_: SoapWorld) -> None:
        async with world.https(Interface.CONTROL_CENTER) as https:
            answers.append(await question(ControlCenter(https, clock=lambda: NOW + timedelta(seconds=90))))

    world.run(asked)
    return answers[0]


def result(*nodes: tuple[str, str, str]) -> App:
    """Answers with these nodes: name, return code, devices."""
    items = "".join(
        f"<n:item><n:ReturnCode>{code}</n:ReturnCode><n:Name>{name}</n:Name><n:CmDevices>{devices}</n:CmDevices></n:item>"
        for name, code, devices in nodes
    )
    return saying(
        f'<n:selectCmDeviceExtResponse xmlns:n="{NAMESPACE}"><n:selectCmDeviceReturn><n:SelectCmDeviceResult>'
        f"<n:CmNodes>{items}</n:CmNodes></n:SelectCmDeviceResult></n:selectCmDeviceReturn></n:selectCmDeviceExtResponse>"
    )


def device(status: str, seconds: int | str = 0, **more: str) -> str:
    fields = {"Name": PHONE, "Status": status, "TimeStamp": str(seconds)} | more
    return f"<n:item>{''.join(f'<n:{name}>{value}</n:{name}>' for name, value in fields.items())}</n:item>"


def saying(body: str) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        envelope = (
            f'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>{body}</e:Body></e:Envelope>'
        )
        await respond(send, Response(200, envelope.encode(), "text/xml"))

    return app


# RisPort70.


def test_phones_are_where_the_cluster_says(world: SoapWorld) -> None:
    world.register(PHONE)
    world.register(SECOND)  # wants TLS
    found = ask(world, lambda ris: ris.registrations([PHONE.lower(), SECOND, "SEPFFFFFFFFFFFF", PHONE]))
    assert found[PHONE] == RegistrationInfo(
        PHONE, PhoneStatus.REGISTERED, "src-sub1", "127.63.0.10", load="sip88xx.12-5", since=NOW
    )
    assert found[SECOND].status is PhoneStatus.REJECTED
    assert list(found) == [PHONE, SECOND]


def test_nobody_is_asked_about_nobody(world: SoapWorld) -> None:
    assert ask(world, lambda ris: ris.registrations([])) == {}
    assert world.asked == []


def test_a_thousand_names_go_in_one_call(world: SoapWorld) -> None:
    names = [f"SEP{number:012X}" for number in range(2 * BATCH + 1)]
    for name in names[::500]:
        world.cluster.devices[name] = world.cluster.devices[PHONE]
        world.register(name)
    found = ask(world, lambda ris: ris.registrations(names))
    assert list(found) == names[::500]
    assert len(world.asked) == 3


def test_the_allowance_is_kept_without_a_single_refusal(world: SoapWorld) -> None:
    time = Time()

    async def question(ris: Ris) -> None:
        for _ in range(31):
            await ris.registrations([PHONE])

    ask(world, question, time)
    assert len(world.asked) == 31
    assert time.slept == [60.0, 60.0]


def test_when_others_use_up_the_allowance_it_is_tried_again(world: SoapWorld) -> None:
    time = Time()
    world.register(PHONE)
    world.apis.ris_limits.clock = time.clock
    for _ in range(15):
        world.apis.ris_limits.count()
    assert PHONE in ask(world, lambda ris: ris.registrations([PHONE]), time)
    assert time.slept == [10.0, 20.0, 30.0]


def test_when_others_use_it_up_for_good_that_is_said(world: SoapWorld) -> None:
    world.apis.ris_limits.calls_a_minute = 0
    with pytest.raises(Throttled, match=r"src-pub \(RisPort70\): the cluster's allowance"):
        ask(world, lambda ris: ris.registrations([PHONE]))
    assert len(world.asked) == 5


@pytest.mark.parametrize(
    ("states", "node"),
    [
        ([("Registered", 100), ("UnRegistered", 200)], "cm0"),
        ([("UnRegistered", 100), ("Registered", 50)], "cm1"),
        ([("UnRegistered", 100), ("UnRegistered", 200)], "cm1"),
        ([("UnRegistered", 300), ("UnRegistered", 200)], "cm0"),
        ([("Strange", 300), ("Rejected", 200)], "cm1"),
        ([("PartiallyRegistered", 1), ("Unregistered", "")], "cm0"),
    ],
)
def test_of_several_nodes_the_one_counts_where_the_phone_is(
    world: SoapWorld, states: list[tuple[str, int | str]], node: str
) -> None:
    world.app = result(*((f"cm{at}", "Ok", device(*state)) for at, state in enumerate(states)))
    assert ask(world, lambda ris: ris.registrations([PHONE]))[PHONE].node == node


def test_nodes_that_did_not_answer_are_told(world: SoapWorld) -> None:
    world.app = result(("cm1", "Ok", ""), ("cm2", "NodeNotResponding", ""), ("cm3", "NotFound", ""))

    async def question(ris: Ris) -> frozenset[str]:
        await ris.registrations([PHONE])
        return ris.silent

    assert ask(world, question) == {"cm2"}


def test_an_answer_in_other_words_is_read_as_far_as_it_goes(world: SoapWorld) -> None:
    address = "<n:item><n:IP></n:IP></n:item><n:item><n:IP>2001:db8::1</n:IP></n:item>"
    world.app = result(
        ("cm1", "OK", device("registered", "x", StatusReason="y", IPAddress=address)), ("cm2", "Ok", "<n:item/>")
    )
    found = ask(world, lambda ris: ris.registrations([PHONE]))
    assert found == {PHONE: RegistrationInfo(PHONE, PhoneStatus.REGISTERED, "cm1", "2001:db8::1")}


def test_faults_and_nonsense_are_one_clear_error(world: SoapWorld) -> None:
    world.app = saying("<e:Fault><faultstring>no right</faultstring></e:Fault>")
    with pytest.raises(Refused, match="selectCmDeviceExt was refused: no right"):
        ask(world, lambda ris: ris.registrations([PHONE]))
    world.app = saying("<other/>")
    with pytest.raises(Garbled, match="no result"):
        ask(world, lambda ris: ris.registrations([PHONE]))
    world.app = None
    with pytest.raises(AuthenticationRefused):
        ask(world, lambda ris: ris.registrations([PHONE]), password="other")


@given(st.lists(st.floats(0, 30, allow_nan=False), max_size=60))
def test_no_minute_has_more_calls_than_allowed(gaps: list[float]) -> None:
    time, calls = Time(), []

    async def spend() -> None:
        budget = Budget(5, clock=time.clock, sleep=time.sleep)
        for gap in gaps:
            time.now += gap
            await budget.spend()
            calls.append(time.now)

    asyncio.run(spend())
    for first, sixth in zip(calls, calls[5:], strict=False):
        assert sixth - first >= 60 - 1e-6


# Control Center.


def test_services_tell_their_state_and_since_when(world: SoapWorld) -> None:
    world.services.down = {"Cisco Tftp"}
    found = control(world, lambda center: center.services())
    assert found[0] == ServiceStatus("src-pub", "Cisco CallManager", True, NOW + timedelta(seconds=90))
    assert found[1] == ServiceStatus("src-pub", "Cisco Tftp", False, None)


def test_a_service_is_restarted_once(world: SoapWorld) -> None:
    found = control(world, lambda center: center.restart("Cisco Trust Verification Service", node="src-pub"))
    assert found.running
    assert world.services.restarted == ["Cisco Trust Verification Service"]


def test_a_service_that_is_unknown_or_does_not_come_up_is_refused(world: SoapWorld) -> None:
    with pytest.raises(Refused, match=r"Cisco Coffee is not up after its restart: Requested service does not exist"):
        control(world, lambda center: center.restart("Cisco Coffee", node="src-pub"))
    world.services.broken = {"Cisco Tftp"}
    with pytest.raises(Refused, match="Cisco Tftp is not up"):
        control(world, lambda center: center.restart("Cisco Tftp", node="src-pub"))
    with pytest.raises(Refused, match="can't be controlled from src-pub"):
        control(world, lambda center: center.restart("Cisco Tftp", node="src-sub1"))


def test_an_answer_without_services_is_garbled_and_one_without_the_service_a_refusal(world: SoapWorld) -> None:
    world.app = saying("<other/>")
    with pytest.raises(Garbled, match="lists no services"):
        control(world, lambda center: center.services())
    world.app = saying("<r><ReasonString>not today</ReasonString><ServiceInfoList/></r>")
    with pytest.raises(Refused, match="was not restarted: not today"):
        control(world, lambda center: center.restart("Cisco Tftp", node="src-pub"))


def test_times_are_in_utc(world: SoapWorld) -> None:
    world.register(PHONE)
    since = ask(world, lambda ris: ris.registrations([PHONE]))[PHONE].since
    assert since is not None
    assert since.tzinfo is UTC
