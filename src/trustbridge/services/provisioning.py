"""A node's HTTP server on port 6970: the files TFTP serves, which newer phones fetch this way first.

GET and HEAD of a name, nothing else. Connections are `provisioningsession`s, because a fleet that boots makes tens of
thousands of small requests. Requests on one connection are answered in order, also when they come in one piece
(pipelining); a connection that does not read its answers is not read from either, so it can't make us hold many.
One sweep a second closes connections that idle, dawdle over a request or over reading an answer.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from trustbridge.clients.addresses import port_taken
from trustbridge.errors import TrustbridgeError
from trustbridge.services.files import FileSource
from trustbridge.services.provisioningsession import REASONS, Request, Session

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProvisioningLimits:
    """Bounds of one server.

    Attributes:
        max_connections: further ones are answered 503 and closed.
        max_header_bytes: of a request, its first line included.
        idle_timeout: seconds a connection may stay without a request.
        request_timeout: seconds a request may take to arrive, from connecting or its first byte on.
        write_timeout: seconds in which a client must read something of its answer.
    """

    max_connections: int = 4096
    max_header_bytes: int = 8192
    idle_timeout: float = 15.0
    request_timeout: float = 10.0
    write_timeout: float = 20.0


@dataclass(slots=True)
class Counters:
    """What a server has done since it started.

    Attributes:
        connections: accepted, those closed at once included.
        requests: that arrived whole, or were refused before.
        bytes: of content handed to connections.
        errors: answers other than 200.
        timeouts: connections closed because the client idled or dawdled.
        busy: connections closed at once because there were too many.
    """

    connections: int = 0
    requests: int = 0
    bytes: int = 0
    errors: int = 0
    timeouts: int = 0
    busy: int = 0


class ProvisioningServer:
    """Made by `start_provisioning`; serves until `stop()`."""

    def __init__(self, source: FileSource, limits: ProvisioningLimits) -> None:
        self.counters = Counters()
        self.address: tuple[str, int] = ("", 0)
        self.source = source
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.open: set[Session] = set()
        self._listener: asyncio.Server | None = None
        self._sweep_handle: asyncio.TimerHandle | None = None
        timeouts = (limits.idle_timeout, limits.request_timeout, limits.write_timeout)
        self._tick = min(1.0, min(timeouts) / 4)

    async def listen(self, host: str, port: int, reuse_port: bool) -> None:
        """Bind and begin to accept. Raises PortTaken."""
        try:
            self._listener = await self.loop.create_server(
                lambda: Session(self),
                host,
                port,
                # A fleet that boots connects all at once, and connections that overflow the queue are reset.
                # The kernel's bound (net.core.somaxconn) may be lower, and then it is what holds.
                backlog=self.limits.max_connections,
                reuse_port=reuse_port or None,
            )
        except OSError as error:
            raise port_taken("Provisioning over HTTP", host, port, error) from error
        self.address = self._listener.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        """Close the listener and every connection. May be called again."""
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.open):
            connection.abort()
        if self._listener is not None:
            await self._listener.wait_closed()
            self._listener = None

    def opened(self, connection: Session) -> bool:
        """Take note of a connection; False when there are too many."""
        self.counters.connections += 1
        if len(self.open) >= self.limits.max_connections:
            self.counters.busy += 1
            return False
        self.open.add(connection)
        if self._sweep_handle is None:
            self._sweep_handle = self.loop.call_later(self._tick, self._sweep)
        return True

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in [connection for connection in self.open if connection.deadline <= now]:
            self.counters.timeouts += not connection.lingering
            connection.abort()
        self._sweep_handle = self.loop.call_later(self._tick, self._sweep) if self.open else None

    def content(self, request: Request, peer: str) -> tuple[int, bytes]:
        """Status and body of the answer."""
        if request.status != 200:
            return request.status, REASONS[request.status].lower() + b"\n"
        try:
            content = self.source(request.name)
        except Exception as error:  # whatever a source does, the other phones are served
            if isinstance(error, TrustbridgeError):
                _log.warning("HTTP: %s for %s: %s", request.name, peer, error)
            else:
                _log.exception("HTTP: %s for %s", request.name, peer)
            return 500, b"the server could not make this file\n"
        if content is None:
            return 404, b"not found\n"
        return 200, content


_DEFAULT_LIMITS = ProvisioningLimits()


async def start_provisioning(
    source: FileSource,
    *,
    host: str = "127.0.0.1",
    port: int = 6970,
    limits: ProvisioningLimits = _DEFAULT_LIMITS,
    reuse_port: bool = False,
) -> ProvisioningServer:
    """Serve `source` over HTTP.

    Args:
        source: gives the files; called from the event loop.
        host: a local address, or a name of one.
        port: TCP; 0 takes a free one (see the server's `address`).
        limits: bounds on what clients can ask of it.
        reuse_port: let several processes share the port (SO_REUSEPORT).

    Raises:
        PortTaken: the address or port can't be had.
    """
    server = ProvisioningServer(source, limits)
    await server.listen(host, port, reuse_port)
    return server
