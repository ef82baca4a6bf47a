"""The DHCP server: its decisions without sockets, then over loopback with thousands of phones' ways to ask."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address

import pytest
import uvloop

from trustbridge.clients.lease import Lease, obtain_lease
from trustbridge.errors import PortTaken, SettingsError
from trustbridge.services.dhcp import DhcpCounters, DhcpServer, Leases, Scope, start_dhcp
from trustbridge.wire import dhcp
from trustbridge.wire.dhcp import NOWHERE, DhcpMessage, Flags, MessageType, Op, Option

OLD, NEW = ("127.10.1.1", "127.10.1.2"), ("127.20.1.1",)
SERVER = "127.30.0.1"
VENDOR = "Cisco Systems, Inc. IP Phone CP-8841"
Run = Callable[[Awaitable[None]], None]


def mac(number: int) -> bytes:
    return bytes.fromhex("001122") + number.to_bytes(3)


def message(
    kind: MessageType,
    number: int = 1,
    *,
    requested: str | None = None,
    server: str | None = None,
    client: str | IPv4Address = NOWHERE,
    relay: str | IPv4Address = NOWHERE,
    options: tuple[tuple[Option, object], ...] = (),
) -> DhcpMessage:
    values = list(options)
    if requested is not None:
        values.append((Option.REQUESTED_IP, requested))
    if server is not None:
        values.append((Option.SERVER_IDENTIFIER, server))
    return DhcpMessage(
        Op.BOOTREQUEST,
        xid=77,
        chaddr=mac(number),
        ciaddr=IPv4Address(client),
        giaddr=IPv4Address(relay),
        options=dhcp.options(kind, values),
    )


def pool(last: int = 12, **more: object) -> Leases:
    scope = Scope(option150=OLD, pool=("127.30.0.10", f"127.30.0.{last}"), lease_seconds=600, **more)  # type: ignore[arg-type]  # passed on as given
    return Leases(scope, SERVER)


def offered(leases: Leases, number: int, now: float = 0.0, **more: object) -> str | None:
    answer = leases.answer(message(MessageType.DHCPDISCOVER, number, **more), now)  # type: ignore[arg-type]  # passed on as given
    return None if answer is None else str(answer.yiaddr)


def take(leases: Leases, number: int, now: float = 0.0) -> str:
    address = offered(leases, number, now)
    assert address is not None
    answer = leases.answer(message(MessageType.DHCPREQUEST, number, requested=address, server=SERVER), now)
    assert answer is not None
    assert answer.message_type is MessageType.DHCPACK
    return address


def test_an_offer_and_an_acknowledgement_carry_option_150_and_the_lease() -> None:
    leases = Leases(
        Scope(option150=OLD, fixed={mac(1): "127.30.0.7"}, lease_seconds=600, option66="tftp", router="127.30.0.254"),
        SERVER,
    )
    answers = {MessageType.DHCPDISCOVER: MessageType.DHCPOFFER, MessageType.DHCPREQUEST: MessageType.DHCPACK}
    for kind, answer_kind in answers.items():
        answer = leases.answer(message(kind, requested="127.30.0.7", relay="127.30.0.9"), 0.0)
        assert answer is not None
        assert (answer.op, answer.message_type, answer.xid, answer.chaddr) == (Op.BOOTREPLY, answer_kind, 77, mac(1))
        assert (str(answer.yiaddr), str(answer.giaddr)) == ("127.30.0.7", "127.30.0.9")
        assert answer.addresses(Option.TFTP_SERVER_ADDRESS) == OLD
        assert answer.address(Option.SERVER_IDENTIFIER) == IPv4Address(SERVER)
        assert answer.options[Option.IP_ADDRESS_LEASE_TIME] == (600).to_bytes(4)
        assert answer.text(Option.TFTP_SERVER) == "tftp"
        assert answer.addresses(Option.ROUTER) == ("127.30.0.254",)
        assert answer.address(Option.SUBNET_MASK) == IPv4Address("255.0.0.0")


def test_only_what_was_asked_for_is_told() -> None:
    leases = Leases(Scope(option150=OLD, fixed={mac(1): "127.30.0.7"}, option66="tftp"), SERVER)
    answer = leases.answer(message(MessageType.DHCPDISCOVER, options=((Option.PARAMETER_REQUEST_LIST, [66]),)), 0.0)
    assert answer is not None
    assert answer.text(Option.TFTP_SERVER) == "tftp"
    assert Option.TFTP_SERVER_ADDRESS not in answer.options
    assert Option.SUBNET_MASK not in answer.options
    answer = Leases(Scope(fixed={mac(1): "127.30.0.7"}), SERVER).answer(message(MessageType.DHCPDISCOVER), 0.0)
    assert answer is not None
    assert Option.TFTP_SERVER_ADDRESS not in answer.options


def test_a_new_option_150_is_told_from_the_next_answer_on_and_leases_stay() -> None:
    leases = pool()
    address = take(leases, 1)
    leases.scope = Scope(option150=NEW, pool=leases.scope.pool)
    answer = leases.answer(message(MessageType.DHCPREQUEST, client=address), 1.0)
    assert answer is not None
    assert (answer.message_type, str(answer.ciaddr), str(answer.yiaddr)) == (MessageType.DHCPACK, address, address)
    assert answer.addresses(Option.TFTP_SERVER_ADDRESS) == NEW


def test_a_pool_gives_each_phone_its_own_address_and_the_same_again() -> None:
    leases = pool()
    first = [take(leases, number) for number in (1, 2, 3)]
    assert sorted(first) == ["127.30.0.10", "127.30.0.11", "127.30.0.12"]
    assert [take(leases, number, 500.0) for number in (3, 2, 1)] == first[::-1]
    assert leases.held(500.0) == dict(zip(map(mac, (1, 2, 3)), first, strict=True))


def test_a_phone_gets_what_it_asks_for_or_asks_from_when_that_is_free() -> None:
    leases = pool()
    assert offered(leases, 1, requested="127.30.0.12") == "127.30.0.12"
    assert offered(leases, 2, relay="127.30.0.11") == "127.30.0.11"
    assert offered(leases, 3, requested="127.30.0.12", relay="127.30.0.11") == "127.30.0.10"
    leases = pool()
    assert offered(leases, 4, requested="10.0.0.1", relay="10.0.0.2") == "127.30.0.10"


def test_fixed_addresses_are_given_to_nobody_else() -> None:
    leases = pool(fixed={mac(9): "127.30.0.10"})
    assert sorted(take(leases, number) for number in (1, 2)) == ["127.30.0.11", "127.30.0.12"]
    assert offered(leases, 3) is None
    assert offered(leases, 9, requested="127.30.0.11") == "127.30.0.10"
    assert Leases(Scope(fixed={mac(9): "127.30.0.10"}), SERVER).answer(message(MessageType.DHCPDISCOVER), 0.0) is None


def test_an_exhausted_pool_offers_nothing_until_a_lease_ends_or_is_released() -> None:
    leases = pool(11)
    first, second = take(leases, 1), take(leases, 2)
    assert offered(leases, 3) is None
    assert leases.counters.exhausted == 1
    assert offered(leases, 3, 598.0) is None
    assert offered(leases, 3, 601.0) == first
    assert leases.answer(message(MessageType.DHCPRELEASE, 2, client=first), 601.0) is None
    assert offered(leases, 4, 601.0) == second


def test_an_offer_nobody_takes_is_free_again_after_a_minute() -> None:
    leases = pool(10)
    assert offered(leases, 1) == "127.30.0.10"
    assert offered(leases, 2, 58.0) is None
    assert offered(leases, 2, 61.0) == "127.30.0.10"
    refused = leases.answer(message(MessageType.DHCPREQUEST, 1, requested="127.30.0.10", server=SERVER), 62.0)
    assert refused is not None
    assert refused.message_type is MessageType.DHCPNAK
    assert leases.counters.naks == 1


def test_a_released_address_goes_to_the_next_and_a_declined_one_to_nobody() -> None:
    leases = pool(10)
    address = take(leases, 1)
    assert leases.answer(message(MessageType.DHCPRELEASE, 1, client="127.30.0.99"), 1.0) is None
    assert offered(leases, 2, 1.0) is None  # a release of another address is none
    leases.answer(message(MessageType.DHCPRELEASE, 1, client=address), 2.0)
    assert take(leases, 2, 2.0) == address
    leases.answer(message(MessageType.DHCPDECLINE, 2, requested=address), 3.0)
    assert offered(leases, 1, 5.0) is None
    assert offered(leases, 1, 604.0) == address


def test_a_phone_whose_lease_is_over_cannot_release_the_next_holders() -> None:
    leases = pool(10)
    assert offered(leases, 1) == "127.30.0.10"
    assert take(leases, 2, 61.0) == "127.30.0.10"
    leases.answer(message(MessageType.DHCPRELEASE, 1, client="127.30.0.10"), 62.0)
    assert offered(leases, 3, 63.0) is None
    assert leases.held(63.0) == {mac(2): "127.30.0.10"}


def test_an_offer_is_free_again_when_another_servers_is_taken() -> None:
    leases = pool(10)
    assert offered(leases, 1) == "127.30.0.10"
    assert leases.answer(message(MessageType.DHCPREQUEST, 1, requested="10.0.0.1", server="10.0.0.9"), 1.0) is None
    assert offered(leases, 2, 1.0) == "127.30.0.10"


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        # It remembers, and is right.
        (message(MessageType.DHCPREQUEST, 1, requested="127.30.0.10"), MessageType.DHCPACK),
        (message(MessageType.DHCPREQUEST, 1, client="127.30.0.10"), MessageType.DHCPACK),  # it renews
        (message(MessageType.DHCPREQUEST, 1, requested="127.30.0.11", server=SERVER), MessageType.DHCPACK),
        (message(MessageType.DHCPREQUEST, 1, requested="10.0.0.1"), MessageType.DHCPNAK),  # it moved here
        (message(MessageType.DHCPREQUEST, 2, requested="127.30.0.10"), MessageType.DHCPNAK),  # another's
        (message(MessageType.DHCPREQUEST, 2, requested="127.30.0.11"), MessageType.DHCPACK),  # we forgot; it is free
        (message(MessageType.DHCPREQUEST, 2, requested="10.0.0.1"), None),  # neither phone nor address is ours
        (message(MessageType.DHCPREQUEST, 2, requested="10.0.0.1", server=SERVER), MessageType.DHCPNAK),
        (message(MessageType.DHCPREQUEST, 2, server=SERVER), MessageType.DHCPNAK),
        (message(MessageType.DHCPREQUEST, 2), None),
        (message(MessageType.DHCPINFORM, 2, client="127.30.0.99"), MessageType.DHCPACK),
        (message(MessageType.DHCPOFFER, 2), None),
        (message(MessageType.DHCPACK, 2), None),
    ],
)
def test_a_request_is_granted_denied_or_left_alone(request_: DhcpMessage, kind: MessageType | None) -> None:
    leases = pool()
    assert take(leases, 1) == "127.30.0.10"
    answer = leases.answer(request_, 1.0)
    assert (None if answer is None else answer.message_type) is kind


def test_who_only_wants_to_know_gets_no_lease() -> None:
    answer = pool().answer(message(MessageType.DHCPINFORM, client="127.30.0.99"), 0.0)
    assert answer is not None
    assert (answer.yiaddr, answer.ciaddr) == (NOWHERE, IPv4Address("127.30.0.99"))
    assert Option.IP_ADDRESS_LEASE_TIME not in answer.options
    assert answer.addresses(Option.TFTP_SERVER_ADDRESS) == OLD


def test_a_denial_tells_nothing_else_and_relays_broadcast_it() -> None:
    answer = pool().answer(message(MessageType.DHCPREQUEST, requested="10.0.0.1", server=SERVER), 0.0)
    assert answer is not None
    assert (answer.message_type, answer.yiaddr, answer.flags) == (MessageType.DHCPNAK, NOWHERE, Flags.BROADCAST)
    assert Option.TFTP_SERVER_ADDRESS not in answer.options


def test_a_relays_information_goes_back_as_it_came() -> None:
    for information in (b"\x01\x02ab", b"\x01\x02a", b"", bytes(600)):  # also what makes no sense, and what is long
        question = message(MessageType.DHCPDISCOVER)
        question.options[Option.RELAY_AGENT_INFORMATION] = information
        answer = pool().answer(dhcp.decode(dhcp.encode(question)), 0.0)
        assert answer is not None
        assert list(answer.options)[-1] == Option.RELAY_AGENT_INFORMATION
        assert answer.options[Option.RELAY_AGENT_INFORMATION] == information
        assert len(dhcp.encode(answer)) >= 300


def test_answers_to_servers_and_phones_without_hardware_address_are_left_alone() -> None:
    leases = pool()
    discover = dhcp.options(MessageType.DHCPDISCOVER)
    assert leases.answer(DhcpMessage(Op.BOOTREPLY, chaddr=mac(1), options=discover), 0.0) is None
    assert leases.answer(DhcpMessage(Op.BOOTREQUEST, options=discover), 0.0) is None
    assert leases.counters == DhcpCounters(ignored=2)


@pytest.mark.parametrize(
    "scope",
    [
        {"option150": ("tftp.example",)},
        {"option150": ("::1",)},
        {"fixed": {mac(1): "x"}},
        {"pool": ("127.30.0.9", "127.30.0.8")},
        {"lease_seconds": 0},
        {"router": "gw"},
    ],
)
def test_a_scope_that_makes_no_sense_is_refused(scope: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="DHCP scope"):
        Scope(**scope)  # type: ignore[arg-type]  # wrong on purpose


# -- over sockets ---------------------------------------------------------------------------------------------------


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


async def ask(server: DhcpServer, number: int, **more: object) -> Lease:
    host, port = server.address
    own = f"127.30.{number // 200 + 1}.{number % 200 + 1}"
    return await obtain_lease(host, port, mac=mac(number), address=own, vendor_class=VENDOR, **more)  # type: ignore[arg-type]  # passed on as given


def test_a_phone_learns_its_servers_and_new_ones_after_a_change(run: Run) -> None:
    async def scenario() -> None:
        server = await start_dhcp(
            Scope(option150=OLD, fixed={mac(5): "127.30.1.6"}, lease_seconds=600), host=SERVER, port=0
        )
        lease = await ask(server, 5)
        assert lease == Lease("127.30.1.6", OLD, "", SERVER, 600)
        assert server.leases() == {mac(5): "127.30.1.6"}
        server.set_option150(NEW)
        assert (await ask(server, 5)).option150 == NEW
        with pytest.raises(SettingsError):
            server.set_option150(["cm1"])
        server.scope = Scope(fixed={mac(5): "127.30.1.6"})
        assert (await ask(server, 5)).option150 == ()
        assert (server.counters.offers, server.counters.acks) == (3, 3)
        await server.stop()

    run(scenario())


def test_phones_on_loopback_keep_the_address_they_ask_from(run: Run) -> None:
    async def scenario() -> None:
        server = await start_dhcp(Scope(option150=OLD, pool=("127.30.1.1", "127.30.9.255")), host=SERVER, port=0)
        found = await asyncio.gather(*(ask(server, number) for number in range(200)))
        assert [lease.address for lease in found] == [f"127.30.1.{number + 1}" for number in range(200)]
        asked = await ask(server, 1000, requested="127.30.8.8")
        assert asked.address == "127.30.8.8"
        await server.stop()

    run(scenario())


def test_answers_go_to_the_port_a_shifted_lab_says(run: Run) -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.30.1.3", 0))
            free = probe.getsockname()[1]
        server = await start_dhcp(Scope(pool=("127.30.1.1", "127.30.1.9")), host=SERVER, port=0, reply_port=free)
        assert (await ask(server, 2, reply_port=free)).address == "127.30.1.3"
        await server.stop()

    run(scenario())


def test_a_relay_is_answered_at_its_address_and_the_servers_port_wherever_it_sends_from(run: Run) -> None:
    async def scenario() -> None:
        server = await start_dhcp(Scope(pool=("127.30.1.1", "127.30.1.9")), host=SERVER, port=0)
        loop = asyncio.get_running_loop()
        relay_address = ("127.30.1.250", server.address[1])
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        ):
            relay.setblocking(False)
            relay.bind(relay_address)
            other.sendto(dhcp.encode(message(MessageType.DHCPDISCOVER, relay=relay_address[0])), server.address)
            async with asyncio.timeout(2):
                answer = dhcp.decode(await loop.sock_recv(relay, 2000))
        assert (answer.message_type, str(answer.giaddr)) == (MessageType.DHCPOFFER, relay_address[0])
        await server.stop()

    run(scenario())


def test_a_client_without_a_relay_is_answered_where_it_asked_from(run: Run) -> None:
    async def scenario() -> None:
        server = await start_dhcp(Scope(option150=OLD), host=SERVER, port=0)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.bind(("127.30.1.4", 0))
            client.sendto(dhcp.encode(message(MessageType.DHCPINFORM, client="127.30.1.4")), server.address)
            answer = dhcp.decode(await loop.sock_recv(client, 2000))
        assert answer.addresses(Option.TFTP_SERVER_ADDRESS) == OLD
        await server.stop()

    run(scenario())


def test_garbage_and_phones_that_have_gone_do_not_end_the_service(run: Run) -> None:
    async def scenario() -> None:
        server = await start_dhcp(Scope(pool=("127.30.1.1", "127.30.1.99")), host=SERVER, port=0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for data in (b"", b"\x01", bytes(300), b"\xff" * 1400):
                client.sendto(data, server.address)
            for relay in ("127.30.250.1", "255.255.255.255", "224.0.0.1"):
                client.sendto(dhcp.encode(message(MessageType.DHCPDISCOVER, relay=relay)), server.address)
            while server.counters.received < 7:
                await asyncio.sleep(0.005)
        assert (server.counters.malformed, server.counters.offers) == (4, 3)
        assert (await ask(server, 3)).address == "127.30.1.4"
        await server.stop()

    run(scenario())


def test_a_port_that_is_taken_is_named(run: Run) -> None:
    async def scenario() -> None:
        server = await start_dhcp(Scope(), host=SERVER, port=0)
        with pytest.raises(PortTaken, match=f"DHCP.*{SERVER}.*{server.address[1]}"):
            await start_dhcp(Scope(), host=SERVER, port=server.address[1])
        await server.stop()
        again = await start_dhcp(Scope(), host=SERVER, port=server.address[1])
        await again.stop()

    run(scenario())
