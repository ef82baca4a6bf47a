"""What phones are really offered: a DHCP exchange such as a phone in the subnet has, through a relay.

A server's configuration says what it should offer; another server in the subnet, a narrower scope or a change that
never took effect is only seen by asking. The lease is given back at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from trustbridge.clients.lease import DEFAULT_TIMEOUT, DEFAULT_TRIES, Lease, obtain_lease
from trustbridge.dhcp.scope import check_servers
from trustbridge.errors import TrustbridgeError
from trustbridge.wire import dhcp
from trustbridge.wire.dhcp import DhcpMessage, MessageType, Op, Option

#: A phone that is none: locally administered, so no vendor's, and always the same, so that it takes one address.
OUR_MAC: Final = bytes.fromhex("025442000150")
VENDOR_CLASS: Final = "Cisco Systems, Inc. IP Phone CP-8841"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a phone at an address was offered, beside what it should be.

    Attributes:
        address: where it asked from.
        wanted: TFTP servers that option 150 should name, in this order.
        lease: what it got.
    """

    address: str
    wanted: tuple[str, ...]
    lease: Lease

    @property
    def agrees(self) -> bool:
        """Whether option 150 is what it should be."""
        return self.lease.option150 == self.wanted

    @property
    def words(self) -> str:
        """What was offered, for people."""
        return ", ".join(self.lease.option150) or "no option 150"

    def check(self) -> None:
        """Insist that it is.

        Raises:
            TrustbridgeError: it is not.
        """
        if not self.agrees:
            raise TrustbridgeError(
                f"DHCP server {self.lease.server} offers a phone at {self.address} {self.words}, "
                f"not {', '.join(self.wanted) or 'no option 150'}",
                "Is a narrower scope there (pool, class, reservation), another server, or was it not reloaded? (TB150)",
            )


async def confirm(
    server: str,
    wanted: Sequence[str],
    *,
    address: str,
    port: int = dhcp.SERVER_PORT,
    reply_port: int | None = None,
    mac: bytes = OUR_MAC,
    vendor_class: str = VENDOR_CLASS,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - of one message; `tries` may follow
    tries: int = DEFAULT_TRIES,
) -> Offer:
    """Ask a DHCP server for an address as a phone does, and give it back.

    Args:
        server, port: whom to ask.
        wanted: what option 150 should be; empty for none.
        address: own address, in the subnet in question: the server takes it for the relay's and chooses by it.
        reply_port: own port; None for the server's, which needs privileges where that is 67.
        mac: six bytes: a phone's own shows what a reservation or class makes of it, and its lease ends with this.
        vendor_class: what classes go by.
        timeout: seconds to wait for each answer.
        tries: how often to begin again.

    Raises:
        SettingsError: `wanted` can't be an option 150.
        Unreachable: no answer.
        Refused: no address for this phone.
        PortTaken: own address and port can't be bound.
    """
    servers = check_servers(wanted) if wanted else ()
    lease = await obtain_lease(
        server,
        port,
        mac=mac,
        address=address,
        vendor_class=vendor_class,
        reply_port=reply_port,
        timeout=timeout,
        tries=tries,
    )
    await _give_back(lease, server, port, address, reply_port or port, mac)
    return Offer(address, servers, lease)


async def _give_back(lease: Lease, server: str, port: int, address: str, own_port: int, mac: bytes) -> None:
    """RELEASE, to which no server answers; one that is lost costs the pool an address for a while."""
    message = DhcpMessage(
        Op.BOOTREQUEST,
        xid=int.from_bytes(mac[2:]),
        hops=1,
        ciaddr=IPv4Address(lease.address),
        giaddr=IPv4Address(address),
        chaddr=mac,
        options=dhcp.options(
            MessageType.DHCPRELEASE,
            ((Option.SERVER_IDENTIFIER, lease.server), (Option.CLIENT_IDENTIFIER, b"\x01" + mac)),
        ),
    )
    loop = asyncio.get_running_loop()
    try:
        transport, sender = await loop.create_datagram_endpoint(_Sender, local_addr=(address, own_port))
    except OSError:
        return
    transport.sendto(dhcp.encode(message), (server, port))
    transport.close()
    await sender.closed  # only then may the next one ask from the same port


class _Sender(asyncio.DatagramProtocol):
    """Sends and hears nothing."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
