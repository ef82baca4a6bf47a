"""A phone's side of DHCP, against servers that answer late, wrongly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import cast

import pytest
import uvloop

from trustbridge.clients.lease import Lease, obtain_lease
from trustbridge.errors import PortTaken, Refused, Unreachable
from trustbridge.wire import dhcp
from trustbridge.wire.dhcp import DhcpMessage, MessageType, Op, Option

MAC = dhcp.parse_mac("SEP001122334455")
VENDOR = "Cisco Systems, Inc. IP Phone CP-8841"
SERVER, PHONE = "127.30.0.2", "127.30.0.77"
Run = Callable[[Awaitable[None]], None]
#: What a server sends for one message: any datagrams.
Script = Callable[[DhcpMessage], list[bytes]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine, on either event loop."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def runner(work: Awaitable[None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(20):
                await work

        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(limited())

    return runner


class Scripted(asyncio.DatagramProtocol):
    """A server that follows a script, and remembers what it was asked."""

    def __init__(self, script: Script) -> None:
        self.asked: list[DhcpMessage] = []
        self._script = script

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.port: int = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = dhcp.decode(data)
        self.asked.append(message)
        for answer in self._script(message):
            self._transport.sendto(answer, (str(message.giaddr), self.port))


async def lease_from(script: Script, **more: object) -> tuple[Lease | Exception, list[DhcpMessage]]:
    """What comes of asking a server with this script, and what it was asked."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Scripted(script), local_addr=(SERVER, 0))
    try:
        found: Lease | Exception = await obtain_lease(
            SERVER,
            server.port,
            mac=MAC,
            address=PHONE,
            vendor_class=VENDOR,
            timeout=0.1,
            tries=2,
            **more,  # type: ignore[arg-type]  # passed on as given
        )
    except (Refused, Unreachable) as error:
        found = error
    finally:
        transport.close()
    return found, server.asked


def reply(message: DhcpMessage, kind: MessageType, *values: tuple[Option, object]) -> DhcpMessage:
    return DhcpMessage(
        Op.BOOTREPLY,
        xid=message.xid,
        chaddr=message.chaddr,
        yiaddr=IPv4Address(PHONE),
        options=dhcp.options(kind, [(Option.SERVER_IDENTIFIER, SERVER), *values]),
    )


def good(message: DhcpMessage) -> DhcpMessage:
    return reply(
        message,
        MessageType.DHCPOFFER if message.message_type is MessageType.DHCPDISCOVER else MessageType.DHCPACK,
        (Option.TFTP_SERVER_ADDRESS, ["127.10.1.1"]),
        (Option.TFTP_SERVER, "tftp\0"),
        (Option.IP_ADDRESS_LEASE_TIME, 60),
    )


def test_a_phone_asks_as_cisco_phones_do_and_as_through_a_relay(run: Run) -> None:
    async def scenario() -> None:
        found, asked = await lease_from(lambda message: [dhcp.encode(good(message))], requested="127.30.0.99")
        assert found == Lease(PHONE, ("127.10.1.1",), "tftp", SERVER, 60)
        discover, request = asked
        for message in asked:
            assert (message.op, message.chaddr, str(message.giaddr), message.hops) == (Op.BOOTREQUEST, MAC, PHONE, 1)
            assert message.text(Option.VENDOR_CLASS_IDENTIFIER) == VENDOR
            assert message.text(Option.HOSTNAME) == "SEP001122334455"
            assert message.options[Option.CLIENT_IDENTIFIER] == b"\x01" + MAC
            assert 150 in message.options[Option.PARAMETER_REQUEST_LIST]
        assert discover.message_type is MessageType.DHCPDISCOVER
        assert discover.address(Option.REQUESTED_IP) == IPv4Address("127.30.0.99")
        assert request.message_type is MessageType.DHCPREQUEST
        assert request.address(Option.REQUESTED_IP) == IPv4Address(PHONE)
        assert request.address(Option.SERVER_IDENTIFIER) == IPv4Address(SERVER)
        assert request.xid == discover.xid

    run(scenario())


def test_what_is_not_for_this_phone_is_let_go_by(run: Run) -> None:
    def noisy(message: DhcpMessage) -> list[bytes]:
        answer = good(message)
        discovering = message.message_type is MessageType.DHCPDISCOVER
        untimely = MessageType.DHCPACK if discovering else MessageType.DHCPOFFER
        wrong = [
            replace(answer, xid=answer.xid ^ 1),
            replace(answer, chaddr=bytes(6)),
            replace(answer, op=Op.BOOTREQUEST),
            reply(message, MessageType.DHCPINFORM),
            reply(message, untimely),
        ]
        return [b"", b"garbage", *map(dhcp.encode, wrong), dhcp.encode(answer), dhcp.encode(answer)]

    async def scenario() -> None:
        found, asked = await lease_from(noisy)
        assert found == Lease(PHONE, ("127.10.1.1",), "tftp", SERVER, 60)
        assert len(asked) == 2

    run(scenario())


@pytest.mark.parametrize("lost", [MessageType.DHCPDISCOVER, MessageType.DHCPREQUEST])
def test_a_lost_message_is_made_good_by_another_try(run: Run, lost: MessageType) -> None:
    seen: list[MessageType | None] = []

    def forgetful(message: DhcpMessage) -> list[bytes]:
        seen.append(message.message_type)
        return [] if message.message_type is lost and seen.count(lost) == 1 else [dhcp.encode(good(message))]

    async def scenario() -> None:
        seen.clear()
        found, asked = await lease_from(forgetful)
        assert isinstance(found, Lease)
        assert asked[-1].message_type is MessageType.DHCPREQUEST
        assert seen.count(MessageType.DHCPDISCOVER) == 2

    run(scenario())


def test_silence_is_unreachable_after_every_try(run: Run) -> None:
    async def scenario() -> None:
        found, asked = await lease_from(lambda message: [])
        assert isinstance(found, Unreachable)
        assert "00:11:22:33:44:55" in found.message
        assert [message.message_type for message in asked] == [MessageType.DHCPDISCOVER] * 2
        with pytest.raises(Unreachable):  # nobody listens there at all
            await obtain_lease(
                SERVER, 9, mac=MAC, address=PHONE, vendor_class=VENDOR, timeout=0.05, tries=1, reply_port=40067
            )

    run(scenario())


def test_a_server_that_takes_its_offers_back_refuses_in_its_own_words(run: Run) -> None:
    def unfriendly(message: DhcpMessage) -> list[bytes]:
        if message.message_type is MessageType.DHCPDISCOVER:
            return [dhcp.encode(good(message))]
        return [dhcp.encode(reply(message, MessageType.DHCPNAK, (Option.DHCP_MESSAGE, "address in use")))]

    async def scenario() -> None:
        found, asked = await lease_from(unfriendly)
        assert isinstance(found, Refused)
        assert "address in use" in found.message
        assert len(asked) == 4

    run(scenario())


def test_an_own_port_that_is_taken_is_named(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(PHONE, 0))
        port = transport.get_extra_info("sockname")[1]
        with pytest.raises(PortTaken, match=f"{PHONE}.*{port}"):
            await obtain_lease(SERVER, port, mac=MAC, address=PHONE, vendor_class=VENDOR)
        transport.close()

    run(scenario())
