"""A phone's side of DHCP: an address and option 150, by unicast as through a relay (see `services.dhcp`)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from trustbridge.errors import DecodeError, Refused, Unreachable
from trustbridge.services.listening import port_taken
from trustbridge.wire import dhcp
from trustbridge.wire.dhcp import DhcpMessage, MessageType, Op, Option

DEFAULT_TIMEOUT = 2.0
DEFAULT_TRIES = 3


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
    common = (
        (Option.CLIENT, b"\x01" + mac),
        (Option.HOST_NAME, (host_name or f"SEP{mac.hex().upper()}").encode()),
        (Option.VENDOR_CLASS, vendor_class.encode()),
        (Option.PARAMETERS, bytes(dhcp.PHONE_PARAMETERS)),
    )
    begin = loop.time()
    refusal: DhcpMessage | None = None

    async def ask(kind: MessageType, options: Iterable[tuple[int, bytes]], *wanted: MessageType) -> DhcpMessage | None:
        message = dhcp.build(
            Op.REQUEST,
            kind,
            exchange.xid,
            mac,
            (*options, *common),
            seconds=min(int(loop.time() - begin), 0xFFFF),
            hops=1,
            relay=address,
        )
        answered = exchange.expect(wanted)
        transport.sendto(dhcp.encode(message), (server, port))
        try:
            return await asyncio.wait_for(answered, timeout)
        except TimeoutError:
            return None

    try:
        for _ in range(tries):
            wish = () if requested is None else ((Option.REQUESTED_ADDRESS, dhcp.packed(requested)),)
            offer = await ask(MessageType.DISCOVER, wish, MessageType.OFFER)
            if offer is None:
                continue
            identifier = offer.value(Option.SERVER) or dhcp.packed(server)
            choice = ((Option.SERVER, identifier), (Option.REQUESTED_ADDRESS, dhcp.packed(offer.your)))
            final = await ask(MessageType.REQUEST, choice, MessageType.ACK, MessageType.NAK)
            if final is not None and final.type is MessageType.ACK:
                return _lease(final, server)
            refusal = final or refusal
    finally:
        transport.close()
        await exchange.closed  # only then may the same phone ask again from the same port
    if refusal is not None:
        words = refusal.string(Option.MESSAGE)
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
        address=ack.your,
        option150=ack.addresses(Option.TFTP_ADDRESSES),
        option66=ack.string(Option.TFTP_NAME),
        server=ack.address(Option.SERVER) or asked,
        lease_seconds=ack.number(Option.LEASE_SECONDS) or 0,
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
        if message.op is not Op.REPLY or message.xid != self.xid or message.mac != self._mac:
            return
        if message.type not in self._wanted or self._answered is None or self._answered.done():
            return
        self._answered.set_result(message)
