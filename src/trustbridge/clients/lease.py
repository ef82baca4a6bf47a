"""A phone's side of DHCP: an address and option 150, by unicast as through a relay (see `services.dhcp`)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address

from trustbridge.clients.addresses import port_taken
from trustbridge.errors import DecodeError, Refused, Unreachable
from trustbridge.wire import dhcp
from trustbridge.wire.dhcp import DhcpMessage, MessageType, Op, Option

DEFAULT_TIMEOUT = 2.0
DEFAULT_TRIES = 3

_Values = Sequence[tuple[Option, object]]


@dataclass(frozen=True, slots=True)
class Lease:
    """What DHCP gave.

    Attributes:
        address: the phone's own.
        option150: TFTP servers, first to be asked first; empty when the scope has no option 150.
        option66: name of a TFTP server, or an empty text.
        server: the DHCP server that lent the address.
        lease_seconds: how long; 0 when it did not say.
    """

    address: str
    option150: tuple[str, ...]
    option66: str
    server: str
    lease_seconds: int


async def obtain_lease(
    server: str,
    port: int = dhcp.SERVER_PORT,
    *,
    mac: bytes,
    address: str,
    vendor_class: str,
    host_name: str = "",
    requested: str | None = None,
    reply_port: int | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - of one message; `tries` may follow
    tries: int = DEFAULT_TRIES,
) -> Lease:
    """DISCOVER, OFFER, REQUEST, ACK with one server.

    Args:
        server, port: whom to ask.
        mac: six bytes.
        address: own address, at which answers are heard and which stands as the relay's (giaddr).
        vendor_class: such as `Cisco Systems, Inc. IP Phone CP-8841`.
        host_name: such as `SEP001122334455`; made of `mac` when empty.
        requested: the address to ask for, if any.
        reply_port: own port; None for the server's, as RFC 2131 has it for relays.
        timeout: seconds to wait for each answer.
        tries: how often to begin again.

    Raises:
        Unreachable: no answer.
        Refused: every try ended in a NAK.
        PortTaken: own address and port can't be bound.
    """
    exchange = _Exchange(secrets.randbits(32), mac)
    own_port = reply_port or port
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: exchange, local_addr=(address, own_port))
    except OSError as error:
        raise port_taken("A DHCP client", address, own_port, error) from error
    common: _Values = (
        (Option.CLIENT_IDENTIFIER, b"\x01" + mac),
        (Option.HOSTNAME, host_name or f"SEP{mac.hex().upper()}"),
        (Option.VENDOR_CLASS_IDENTIFIER, vendor_class),
        (Option.PARAMETER_REQUEST_LIST, dhcp.PHONE_PARAMETERS),
    )
    begin = loop.time()
    refusal: DhcpMessage | None = None

    async def ask(kind: MessageType, values: _Values, *wanted: MessageType) -> DhcpMessage | None:
        message = DhcpMessage(
            Op.BOOTREQUEST,
            xid=exchange.xid,
            hops=1,
            secs=timedelta(seconds=loop.time() - begin),
            giaddr=IPv4Address(address),
            chaddr=mac,
            options=dhcp.options(kind, (*values, *common)),
        )
        answered = exchange.expect(wanted)
        transport.sendto(dhcp.encode(message), (server, port))
        try:
            return await asyncio.wait_for(answered, timeout)
        except TimeoutError:
            return None

    try:
        for _ in range(tries):
            wish = () if requested is None else ((Option.REQUESTED_IP, requested),)
            offer = await ask(MessageType.DHCPDISCOVER, wish, MessageType.DHCPOFFER)
            if offer is None:
                continue
            identifier = offer.address(Option.SERVER_IDENTIFIER) or server
            choice = ((Option.SERVER_IDENTIFIER, identifier), (Option.REQUESTED_IP, offer.yiaddr))
            final = await ask(MessageType.DHCPREQUEST, choice, MessageType.DHCPACK, MessageType.DHCPNAK)
            if final is not None and final.message_type is MessageType.DHCPACK:
                return _lease(final, server)
            refusal = final or refusal
    finally:
        transport.close()
        await exchange.closed  # only then may the same phone ask again from the same port
    if refusal is not None:
        words = refusal.text(Option.DHCP_MESSAGE)
        raise Refused(
            f"DHCP server {server}:{port} refuses an address to {mac.hex(':')}" + (f": {words}" if words else ""),
            "look at its scope: is the pool exhausted, or the address reserved for another phone?",
        )
    raise Unreachable(
        f"no DHCP answer for {mac.hex(':')} from {server}:{port} ({tries} tries of {timeout:g} s)",
        f"check that the server runs, has a scope for {address}, and may answer to {address}:{own_port}",
    )


def _lease(ack: DhcpMessage, asked: str) -> Lease:
    return Lease(
        address=str(ack.yiaddr),
        option150=ack.addresses(Option.TFTP_SERVER_ADDRESS),
        option66=ack.text(Option.TFTP_SERVER),
        server=str(ack.address(Option.SERVER_IDENTIFIER) or asked),
        lease_seconds=int.from_bytes(ack.options.get(Option.IP_ADDRESS_LEASE_TIME, decode=False) or b""),
    )


class _Exchange(asyncio.DatagramProtocol):
    """One phone's ear: the next message of a wanted kind that is for it."""

    def __init__(self, xid: int, mac: bytes) -> None:
        self.xid = xid
        self._mac = mac
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted: tuple[MessageType, ...] = ()
        self._answered: asyncio.Future[DhcpMessage] | None = None

    def expect(self, wanted: tuple[MessageType, ...]) -> asyncio.Future[DhcpMessage]:
        """The next message of one of these kinds."""
        self._wanted = wanted
        self._answered = asyncio.get_running_loop().create_future()
        return self._answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing to do before the first question."""

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def error_received(self, exc: Exception) -> None:
        """Nobody at that port, perhaps not yet: the time-out decides."""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            message = dhcp.decode(data)
        except DecodeError:
            return
        if message.op is not Op.BOOTREPLY or message.xid != self.xid or message.chaddr != self._mac:
            return
        if message.message_type not in self._wanted or self._answered is None or self._answered.done():
            return
        self._answered.set_result(message)
