"""A DHCP server for one scope: the option 150 that tells phones where their files are, and an address.

It answers relays and phones that behave as one: on loopback nobody can broadcast, so a phone asks by unicast with
its own address as the relay's (giaddr), and is answered there, at the server's port (RFC 2131, 4.1). A client
without a relay is answered where it asked from; one without an address can't be reached and is left unanswered.

Leases live in memory: fixed addresses need none, and a pool gives a phone what it asks for when that is free.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import cast

from trustbridge.clients.addresses import port_taken
from trustbridge.errors import DecodeError, SettingsError
from trustbridge.wire import dhcp
from trustbridge.wire.dhcp import NOWHERE, DhcpMessage, Flags, MessageType, Op, Option

log = logging.getLogger(__name__)

#: Seconds for which an offered address is kept from others.
OFFER_SECONDS = 60.0
#: Bytes the kernel may hold while a morning's worth of phones asks at once; it grants what it allows.
RECEIVE_BUFFER = 1 << 20
_EXHAUSTED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Scope:
    """What phones are told.

    Attributes:
        option150: TFTP servers in the order phones shall ask them; none leaves the option out.
        fixed: addresses by MAC (six bytes, see `wire.dhcp.parse_mac`).
        pool: first and last address for all others; None serves the fixed ones only.
        lease_seconds: how long an address is lent.
        option66: name of a TFTP server, which phones ask when they know no option 150; empty leaves it out.
        subnet_mask, router: options 1 and 3; an empty router leaves it out.

    Raises:
        SettingsError: something that should be an address is none.
    """

    option150: tuple[str, ...] = ()
    fixed: Mapping[bytes, str] = field(default_factory=dict)
    pool: tuple[str, str] | None = None
    lease_seconds: int = 86_400
    option66: str = ""
    subnet_mask: str = "255.0.0.0"
    router: str = ""

    def __post_init__(self) -> None:
        routers = (self.router,) if self.router else ()
        addresses = (*self.option150, *self.fixed.values(), *(self.pool or ()), self.subnet_mask, *routers)
        for address in addresses:
            try:
                IPv4Address(address)
            except ValueError as error:
                raise SettingsError(
                    f"DHCP scope: {address!r} is no IPv4 address", "option 150 and addresses are written as 192.0.2.1"
                ) from error
        if self.pool is not None and _number(self.pool[0]) > _number(self.pool[1]):
            raise SettingsError(f"DHCP scope: the pool ends at {self.pool[1]}, before its start {self.pool[0]}")
        if not 0 < self.lease_seconds < 2**32:
            raise SettingsError(f"DHCP scope: a lease of {self.lease_seconds} seconds")


@dataclass(slots=True)
class DhcpCounters:
    """What has happened since the start: messages by what became of them."""

    received: int = 0
    malformed: int = 0
    offers: int = 0
    acks: int = 0
    naks: int = 0
    exhausted: int = 0
    ignored: int = 0


@dataclass(slots=True)
class _Lease:
    address: int
    until: float


class Leases:
    """Who holds which address, and the answer to each message. No sockets; the time is an argument, in seconds.

    Attributes:
        scope: what phones are told; may be replaced at any time.
        identifier: the server's own address (option 54).
    """

    def __init__(self, scope: Scope, identifier: str) -> None:
        self.identifier = identifier
        self.counters = DhcpCounters()
        self.scope = scope
        self._by_mac: dict[bytes, _Lease] = {}
        self._by_address: dict[int, bytes] = {}
        self._declined: dict[int, float] = {}
        self._next = 0

    @property
    def scope(self) -> Scope:
        """What phones are told."""
        return self._scope

    @scope.setter
    def scope(self, scope: Scope) -> None:
        self._scope = scope
        self._reserved = {_number(address) for address in scope.fixed.values()}
        self._exhausted_until = 0.0

    def held(self, now: float) -> dict[bytes, str]:
        """Addresses lent or offered, by MAC."""
        return {mac: str(IPv4Address(lease.address)) for mac, lease in self._by_mac.items() if lease.until > now}

    def answer(self, message: DhcpMessage, now: float) -> DhcpMessage | None:
        """What to send back, if anything."""
        counters = self.counters
        answer = None
        mac = message.chaddr
        if message.op is Op.BOOTREQUEST and mac:
            kind = message.message_type
            if kind is MessageType.DHCPDISCOVER:
                answer = self._offer(message, mac, now)
            elif kind is MessageType.DHCPREQUEST:
                answer = self._decide(message, mac, now)
            elif kind is MessageType.DHCPINFORM:
                counters.acks += 1
                answer = self._reply(message, MessageType.DHCPACK, None)
            elif kind is MessageType.DHCPRELEASE:
                self._take_back(mac, int(message.ciaddr))
            elif kind is MessageType.DHCPDECLINE:
                # Someone else has that address, says the phone: nobody gets it for as long as a lease.
                address = int(message.address(Option.REQUESTED_IP) or NOWHERE)
                if self._take_back(mac, address):
                    self._declined[address] = now + self._scope.lease_seconds
        if answer is None:
            counters.ignored += 1
        return answer

    def _offer(self, message: DhcpMessage, mac: bytes, now: float) -> DhcpMessage | None:
        wanted = (message.address(Option.REQUESTED_IP), message.giaddr)
        address = self._choose(mac, wanted, now)
        if address is None:
            self.counters.exhausted += 1
            log.warning("no address left for %s", mac.hex(":"))
            return None
        self._lend(mac, address, max(now + OFFER_SECONDS, self._until(mac)))
        self.counters.offers += 1
        return self._reply(message, MessageType.DHCPOFFER, address)

    def _decide(self, message: DhcpMessage, mac: bytes, now: float) -> DhcpMessage | None:
        """RFC 2131, 4.3.2: a phone that took an offer, remembers an address, or renews one."""
        server = message.address(Option.SERVER_IDENTIFIER)
        if server is not None and str(server) != self.identifier:
            self._take_back(mac, None)  # it took another server's offer
            return None
        address = int(message.address(Option.REQUESTED_IP) or message.ciaddr)
        lease = self._by_mac.get(mac)
        if address and self._permitted(mac, address, now):
            self._lend(mac, address, now + self._scope.lease_seconds)
            self.counters.acks += 1
            return self._reply(message, MessageType.DHCPACK, address)
        if server is None and lease is None and mac not in self._scope.fixed and not self._in_pool(address):
            return None  # not ours to say anything about
        self.counters.naks += 1
        return self._reply(message, MessageType.DHCPNAK, None)

    def _permitted(self, mac: bytes, address: int, now: float) -> bool:
        """Whether this phone may have this address now."""
        fixed = self._scope.fixed.get(mac)
        if fixed is not None:
            return _number(fixed) == address
        return self._in_pool(address) and self._free(mac, address, now)

    def _in_pool(self, address: int) -> bool:
        pool = self._scope.pool
        return pool is not None and _number(pool[0]) <= address <= _number(pool[1])

    def _free(self, mac: bytes, address: int, now: float) -> bool:
        if address in self._reserved or self._declined.get(address, 0.0) > now:
            return False
        holder = self._by_address.get(address)
        return holder is None or holder == mac or self._by_mac[holder].until <= now

    def _choose(self, mac: bytes, wanted: Iterable[IPv4Address | None], now: float) -> int | None:
        """The fixed address, else what the phone has, asks for or asks from, else the next free one of the pool."""
        scope = self._scope
        if mac in scope.fixed:
            return _number(scope.fixed[mac])
        if scope.pool is None:
            return None
        lease = self._by_mac.get(mac)
        candidates = [lease.address] if lease is not None else []
        candidates += [int(address) for address in wanted if address is not None]
        for address in candidates:
            if self._permitted(mac, address, now):
                return address
        if now < self._exhausted_until:
            return None
        first = _number(scope.pool[0])
        size = _number(scope.pool[1]) - first + 1
        for step in range(size):
            address = first + (self._next + step) % size
            if self._free(mac, address, now):
                self._next = (self._next + step + 1) % size
                return address
        self._exhausted_until = now + _EXHAUSTED_SECONDS
        return None

    def _until(self, mac: bytes) -> float:
        lease = self._by_mac.get(mac)
        return lease.until if lease is not None else 0.0

    def _lend(self, mac: bytes, address: int, until: float) -> None:
        self._take_back(mac, None)
        holder = self._by_address.get(address)
        if holder is not None:
            del self._by_mac[holder]  # its lease is over: `_free` has looked
        self._by_mac[mac] = _Lease(address, until)
        self._by_address[address] = mac

    def _take_back(self, mac: bytes, address: int | None) -> bool:
        """End the lease of this phone, if it is of this address (None: whichever)."""
        lease = self._by_mac.get(mac)
        if lease is None or (address is not None and lease.address != address):
            return False
        del self._by_mac[mac]
        del self._by_address[lease.address]
        self._exhausted_until = 0.0
        return True

    def _reply(self, message: DhcpMessage, kind: MessageType, address: int | None) -> DhcpMessage:
        scope = self._scope
        values: list[tuple[Option, object]] = [(Option.SERVER_IDENTIFIER, self.identifier)]
        if kind is not MessageType.DHCPNAK:
            if address is not None:
                values.append((Option.IP_ADDRESS_LEASE_TIME, scope.lease_seconds))
            told: tuple[tuple[Option, object], ...] = (
                (Option.SUBNET_MASK, scope.subnet_mask),
                (Option.ROUTER, scope.router),
                (Option.TFTP_SERVER, scope.option66),
                (Option.TFTP_SERVER_ADDRESS, scope.option150),
            )
            # As servers do: only what was asked for, or everything when the client has no list.
            asked = message.options.get(Option.PARAMETER_REQUEST_LIST, decode=False)
            values += [(code, value) for code, value in told if value and (asked is None or code in asked)]
        options = dhcp.options(kind, values)
        if Option.RELAY_AGENT_INFORMATION in message.options:  # RFC 3046, 2.2: it goes back as it came
            options[Option.RELAY_AGENT_INFORMATION] = message.options[Option.RELAY_AGENT_INFORMATION]
        return DhcpMessage(
            Op.BOOTREPLY,
            xid=message.xid,
            # RFC 2131, 4.3.2: a NAK goes back through a relay as a broadcast.
            flags=message.flags | (Flags.BROADCAST if kind is MessageType.DHCPNAK else Flags.UNICAST),
            ciaddr=message.ciaddr if kind is MessageType.DHCPACK else NOWHERE,
            yiaddr=NOWHERE if address is None else IPv4Address(address),
            giaddr=message.giaddr,
            chaddr=message.chaddr,
            options=options,
        )


def _number(address: str) -> int:
    return int(IPv4Address(address))


class DhcpServer(asyncio.DatagramProtocol):
    """A running server; `start_dhcp` makes one."""

    def __init__(self, leases: Leases, reply_port: int | None) -> None:
        self._leases = leases
        self._reply_port = reply_port
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._address = ("", 0)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._address

    @property
    def counters(self) -> DhcpCounters:
        """What has happened so far."""
        return self._leases.counters

    @property
    def scope(self) -> Scope:
        """What phones are told. Set it at any time: the next answer says it."""
        return self._leases.scope

    @scope.setter
    def scope(self, scope: Scope) -> None:
        self._leases.scope = scope

    def set_option150(self, servers: Iterable[str]) -> None:
        """Tell phones these TFTP servers from now on. Raises SettingsError when one is no address."""
        self.scope = replace(self.scope, option150=tuple(servers))

    def leases(self) -> dict[bytes, str]:
        """Addresses lent or offered now, by MAC."""
        return self._leases.held(self._loop.time())

    async def stop(self) -> None:
        """Stop listening."""
        if self._transport is not None:
            self._transport.close()
            await self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._address = transport.get_extra_info("sockname")[:2]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def error_received(self, exc: Exception) -> None:
        """A phone that asked has gone already; the next one may be there."""
        log.debug("DHCP answer not delivered: %s", exc)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.counters.received += 1
        try:
            message = dhcp.decode(data)
        except DecodeError as error:
            self.counters.malformed += 1
            log.info("%s sent what is not DHCP: %s", addr[0], error)
            return
        answer = self._leases.answer(message, self._loop.time())
        if answer is None:
            return
        if message.giaddr != NOWHERE:
            target = (str(message.giaddr), self._reply_port or self._address[1])
        elif addr[0] != str(NOWHERE):
            target = addr[:2]
        else:
            return
        assert self._transport is not None
        self._transport.sendto(dhcp.encode(answer), target)


async def start_dhcp(
    scope: Scope,
    *,
    host: str = "127.0.0.1",
    port: int = dhcp.SERVER_PORT,
    reply_port: int | None = None,
) -> DhcpServer:
    """Serve a scope.

    Args:
        host: the address to listen on, which is also the server's name in DHCP (option 54).
        port: 67; 0 for any free one.
        reply_port: the port at which relays, and phones that behave as one, hear answers; None for the server's
            own, as RFC 2131 has it. A lab without the right to port 67 shifts both.

    Raises:
        PortTaken: address and port can't be bound.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((host, port))
        leases = Leases(scope, sock.getsockname()[0])
    except OSError as error:
        sock.close()
        raise port_taken("DHCP over UDP", host, port, error) from error
    loop = asyncio.get_running_loop()
    _, server = await loop.create_datagram_endpoint(lambda: DhcpServer(leases, reply_port), sock=sock)
    return server
