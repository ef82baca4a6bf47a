"""Faults on the wire: what stands before a lab's node and spoils what passes, or takes it to somebody else.

    with Front.before(live.source, "src-pub") as front:
        entry = front.entry(entry_of(live.source))      # the cluster as it is reached through the front
        ...                                             # all is well
        front.spoil(SSH, Reset(after=100))              # from now on, also on connections that stand
        ...                                             # one clear error
        front.heal()                                    # as if nothing had been
        front.say(HTTPS, stranger.address)              # somebody else answers there: see `strangers`

A front listens at an address of its own, at the node's own ports, in a thread and an event loop of its own: whoever is
tested may run in any other loop, or in another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeVar

from tests.lab.prepared import RUN

from trustbridge.clients.tls import TlsIdentity
from trustbridge.cucm.model import ClusterEntry
from trustbridge.lab.cluster import Cluster
from trustbridge.pki.units import Unit

T = TypeVar("T")
Address = tuple[str, int]
#: The interfaces of a node, each at a port of its own.
Port = Literal["ssh", "https", "http", "tftp", "tvs"]
SSH, HTTPS, HTTP, TFTP, TVS = PORTS = ("ssh", "https", "http", "tftp", "tvs")

_PATIENCE: Final = 20.0
_BYTES: Final = 65536
#: Closing with this sends a reset.
_RESET: Final = struct.pack("ii", 1, 0)
_hosts = itertools.count(1)


# Faults.


@dataclass(frozen=True)
class Fault:
    """What goes wrong with what passes.

    Attributes:
        after: bytes that still pass, on each connection, counted from when the fault begins.
        to_server: of what goes to the server; otherwise of what it answers.
        times: connections that meet the fault; None for all, those that stand included.
    """

    after: int = 0
    to_server: bool = False
    times: int | None = None


class Refuse(Fault):
    """Nobody listens; connections that stand are reset."""


class Reset(Fault):
    """The connection is reset, both ways."""


class Close(Fault):
    """The connection is closed in order, both ways, too early: what was on its way is truncated."""


class HalfClose(Fault):
    """One direction ends in order; the other stays open and nothing more is said."""


class Stall(Fault):
    """Nothing passes any more, and nothing ends."""


class Garble(Fault):
    """Bytes are not what they were."""


@dataclass(frozen=True)
class Drip(Fault):
    """Bytes pass one by one, `pause` seconds apart: a peer that is alive and of no use."""

    pause: float = 0.1


@dataclass(frozen=True)
class Say(Fault):
    """Somebody answers with these words, whatever is asked, and closes."""

    words: bytes = b""


def garbled(data: bytes) -> bytes:
    """The bytes, each another one."""
    return bytes(byte ^ 0xA5 for byte in data)


class _Ended(Exception):
    """This direction is over."""


# One port.


@dataclass
class Wire:
    """What stands before one port.

    Attributes:
        target: where connections are taken to.
        inside: the identity of the server, where faults act inside TLS: the wire ends it and begins it anew.
        fault: what goes wrong; None for nothing.
        taken: connections taken so far.
        heard: what clients have said, all of it.
    """

    listen: Address
    target: Address
    inside: TlsIdentity | None = None
    fault: Fault | None = None
    taken: int = 0
    heard: bytearray = field(default_factory=bytearray)
    _server: asyncio.Server | None = None
    _connections: set[_Connection] = field(default_factory=set)
    _times: int | None = None

    async def start(self) -> None:
        await self._listen()

    async def stop(self) -> None:
        await self._close()
        standing = list(self._connections)
        for connection in standing:
            connection.reset()
            connection.task.cancel()
        await asyncio.gather(*(connection.task for connection in standing), return_exceptions=True)

    async def set(self, fault: Fault | None) -> None:
        """From now on this goes wrong, with every connection; None: nothing."""
        self.fault = fault
        self._times = None if fault is None else fault.times
        if isinstance(fault, Refuse):
            await self._close()
        elif self._server is None:
            await self._listen()
        for connection in list(self._connections):
            if isinstance(fault, Refuse):
                connection.reset()
            else:
                connection.strike(fault if self._times is None else None)

    async def strike(self, fault: Fault) -> None:
        """This goes wrong with connections that stand; the next ones are well."""
        for connection in list(self._connections):
            connection.strike(fault)

    async def divert(self, target: Address, inside: TlsIdentity | None) -> None:
        """Connections go elsewhere from now on; those that stand are reset, so that nobody is asked on an old one."""
        self.target, self.inside = target, inside
        for connection in list(self._connections):
            connection.reset()
        await self._close()
        await self._listen()

    def _next_fault(self) -> Fault | None:
        if self._times is not None:
            self._times -= 1
            if self._times < 0:
                return None
        return self.fault

    async def _listen(self) -> None:
        context = None if self.inside is None else self.inside.server_context()
        self._server = await asyncio.start_server(self._take, *self.listen, ssl=context)

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()  # not `wait_closed`: later Pythons wait there for connections that stand, too

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        connection = _Connection(self, reader, writer, self._next_fault())
        self._connections.add(connection)
        with contextlib.suppress(asyncio.CancelledError):  # asyncio's streams would report it
            try:
                await connection.run()
            finally:
                self._connections.discard(connection)


class _Connection:
    """One connection through a wire: two directions, which a fault may strike at any time."""

    def __init__(
        self, wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._wire = wire
        self._client = reader, writer
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._fault = fault
        self._left = 0 if fault is None else fault.after
        self._changed = asyncio.Event()

    def strike(self, fault: Fault | None) -> None:
        """Another fault, or none."""
        self._fault = fault
        self._left = 0 if fault is None else fault.after
        self._changed.set()

    def reset(self) -> None:
        """Cut it off with a reset, both ways."""
        for side in (self._client, self._server):
            if side is not None:
                try:
                    sock = side[1].get_extra_info("socket")
                except AttributeError:  # asyncio's: a TLS transport that has closed has forgotten its own protocol
                    sock = None
                if sock is not None and sock.fileno() >= 0:
                    with contextlib.suppress(OSError):
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                with contextlib.suppress(AttributeError):  # the same: there is nothing left to abort
                    side[1].transport.abort()

    async def run(self) -> None:
        try:
            if isinstance(self._fault, Say):
                await self._answer(self._fault.words)
                return
            context = None
            if self._wire.inside is not None:
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._server = await asyncio.open_connection(*self._wire.target, ssl=context)
            (from_client, to_client), (from_server, to_server) = self._client, self._server
            both = [
                asyncio.ensure_future(self._carry(from_client, to_server, up=True)),
                asyncio.ensure_future(self._carry(from_server, to_client, up=False)),
            ]
            try:
                await asyncio.gather(*both)
            finally:
                for one in both:
                    one.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except (OSError, _Ended):
            pass
        finally:
            for side in (self._client, self._server):
                if side is not None:
                    side[1].close()
            with contextlib.suppress(OSError):
                await asyncio.gather(
                    *(side[1].wait_closed() for side in (self._client, self._server) if side), return_exceptions=True
                )

    async def _answer(self, words: bytes) -> None:
        reader, writer = self._client
        writer.write(words)
        await writer.drain()
        with contextlib.suppress(TimeoutError):  # whoever waits for us to speak gets our words, and then the end
            async with asyncio.timeout(0.2):
                self._wire.heard += await reader.read(_BYTES)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await reader.read(_BYTES):
            if up:
                self._wire.heard += data
            await self._pass(data, writer, up)
        if isinstance(self._fault, Stall) and self._fault.to_server is up:
            await asyncio.Event().wait()
        with contextlib.suppress(OSError, NotImplementedError):
            if writer.can_write_eof():
                writer.write_eof()
            else:
                raise _Ended

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter, up: bool) -> None:
        fault = self._fault
        if fault is None or fault.to_server is not up:
            writer.write(data)
            await writer.drain()
            return
        whole, spoiled = data[: self._left], data[self._left :]
        self._left -= len(whole)
        if whole:
            writer.write(whole)
            await writer.drain()
        if not spoiled:
            return
        match fault:
            case Garble():
                writer.write(garbled(spoiled))
                await writer.drain()
            case Drip():
                for byte in spoiled:
                    if writer.is_closing() or self._fault is not fault:
                        self.reset()
                        raise _Ended
                    writer.write(bytes([byte]))
                    await asyncio.sleep(fault.pause)
            case Stall():
                await self._wait()
            case HalfClose():
                if writer.can_write_eof():
                    writer.write_eof()
                    await self._wait()
                raise _Ended
            case Close():
                raise _Ended
            case _:
                self.reset()
                raise _Ended

    async def _wait(self) -> None:
        """Until the fault is over; what was held back is lost, so the connection then ends."""
        self._changed.clear()
        await self._changed.wait()
        self.reset()
        raise _Ended


# TFTP's port.


class Datagrams(asyncio.DatagramProtocol):
    """What stands before a UDP port: after `Fault.after` datagrams the rest is lost, or garbled."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._fault: Fault | None = None
        self._left = 0
        self._transport: asyncio.DatagramTransport
        self._relays: dict[Address, _Relay] = {}

    def set(self, fault: Fault | None) -> None:
        self._fault = fault
        self._left = 0 if fault is None else fault.after

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        asyncio.get_running_loop().create_task(self._forward(data, addr))

    async def _forward(self, data: bytes, client: Address) -> None:
        if self._fault is not None and self._fault.to_server:
            return
        if client not in self._relays:
            relay = _Relay(self, client, self._target)
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", 0))
            self._relays.setdefault(client, relay)
        self._relays[client].forward(data)

    def answered(self, data: bytes, client: Address) -> None:
        """The server said something to a client."""
        if self._fault is not None and not self._fault.to_server:
            self._left -= 1
            if self._left < 0:
                if isinstance(self._fault, Garble):
                    self._transport.sendto(garbled(data), client)
                return
        self._transport.sendto(data, client)

    def close(self) -> None:
        self._transport.close()
        for relay in self._relays.values():
            relay.transport.close()


class _Relay(asyncio.DatagramProtocol):
    """One transfer: a server answers from a port of its own, and is talked to there from then on (RFC 1350)."""

    def __init__(self, front: Datagrams, client: Address, server: Address) -> None:
        self._front = front
        self._client = client
        self._peer = server
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def forward(self, data: bytes) -> None:
        self.transport.sendto(data, self._peer)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._peer = addr
        self._front.answered(data, self._client)

    def error_received(self, exc: Exception) -> None:
        """Nobody there: as nobody answers."""


# A node.


class Front:
    """What stands before a node. Made by `before`.

    Attributes:
        address: where the node is reached now, at its own ports.
        node: its name.
    """

    def __init__(self, cluster: Cluster, node: str) -> None:
        self.node = node
        self.address = f"127.65.{RUN}.{next(_hosts)}"
        self._cluster = cluster
        ports = cluster.ports
        behind = cluster.definition.address(node)
        numbers = {SSH: ports.ssh, HTTPS: ports.https, HTTP: ports.provisioning, TVS: ports.tvs}
        self.wires: dict[str, Wire] = {
            port: Wire((self.address, number), (behind, number)) for port, number in numbers.items()
        }
        self._behind = behind
        self._datagrams: Datagrams | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"front of {node}")

    @classmethod
    @contextmanager
    def before(cls, cluster: Cluster, node: str) -> Iterator[Front]:
        """A front for as long as the context."""
        front = cls(cluster, node)
        front._thread.start()
        try:
            front._do(front._start())
            yield front
        finally:
            front._do(front._stop())
            front._loop.call_soon_threadsafe(front._loop.stop)
            front._thread.join(_PATIENCE)
            front._loop.close()

    def entry(self, entry: ClusterEntry) -> ClusterEntry:
        """The cluster's entry, with this node reached through the front."""
        addresses = dict(entry.node_addresses) | {self.node: self.address}
        publisher = self.address if self.node == self._cluster.publisher else entry.publisher
        return replace(entry, publisher=publisher, node_addresses=tuple(addresses.items()))

    def spoil(self, port: str, fault: Fault | None) -> None:
        """From now on, this goes wrong there; on connections that stand, too."""
        if port == TFTP:
            assert self._datagrams is not None
            self._loop.call_soon_threadsafe(self._datagrams.set, fault)
            self._do(asyncio.sleep(0))
        else:
            self._do(self.wires[port].set(fault))

    def heal(self) -> None:
        """Nothing goes wrong any more; whoever was diverted comes back."""
        for port in PORTS:
            self.spoil(port, None)
        for wire in self.wires.values():
            if wire.target != (self._behind, wire.listen[1]) or wire.inside is not None:
                self._do(wire.divert((self._behind, wire.listen[1]), None))

    def say(self, port: str, target: Address) -> None:
        """Somebody else answers there from now on."""
        self._do(self.wires[port].divert(target, None))

    def strike(self, port: str, fault: Fault) -> None:
        """This goes wrong on connections that stand; the next ones are well."""
        self._do(self.wires[port].strike(fault))

    def cut(self, port: str) -> None:
        """Reset the connections that stand there; the next ones are well."""
        wire = self.wires[port]
        self._do(wire.divert(wire.target, wire.inside))

    def inside_tls(self, port: str = HTTPS, unit: Unit = Unit.TOMCAT) -> None:
        """Faults act inside TLS from now on: the front has the node's own key."""
        wire = self.wires[port]
        identity = self._cluster.identity(self.node, unit)
        own = TlsIdentity((identity.certificate,), identity.private_key)
        self._do(wire.divert(wire.target, own))

    def heard(self, port: str) -> bytes:
        """What clients have said there so far."""
        return bytes(self.wires[port].heard)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    async def _start(self) -> None:
        for wire in self.wires.values():
            await wire.start()
        port = self._cluster.ports.tftp
        _, self._datagrams = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Datagrams((self._behind, port)), local_addr=(self.address, port)
        )

    async def _stop(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
        for wire in self.wires.values():
            await wire.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
