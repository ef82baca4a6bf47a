"""HTTPS of a node: any ASGI application over TLS, many nodes in one event loop.

uvicorn's HTTP protocol does the parsing. Around it stands what it leaves to others: TLS with an identity that may
change while the server runs, limits, deadlines for clients that begin and do not go on, and an end that leaves nothing
behind.

Connections are taken by hand and not by `create_server`: handshakes count as connections, the identity is looked up for
each, and `stop` can end those that are half-way.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from trustbridge.clients.addresses import port_taken
from trustbridge.services.asgi import App, Receive, Response, Scope, Send, respond

if TYPE_CHECKING:
    from trustbridge.clients.tls import TlsIdentity

_log = logging.getLogger(__name__)

_ACCEPT_AT_ONCE = 32
_ACCEPT_PAUSE = 0.1
_BACKLOG = 256
#: Seconds to wait for a client's goodbye.
_PARTING = 1.0
#: Closing with this sends a reset: what a node does whose service is down.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class HttpsLimits:
    """What clients may take: connections at once, bytes, seconds.

    Attributes:
        connections: handshakes included.
        head_bytes: of request line and headers.
        handshake_seconds: from the connection to the end of the TLS handshake.
        request_seconds: from the first byte of a request to its last.
        answer_seconds: from there until the answer is made and taken.
        idle_seconds: between requests.
    """

    connections: int = 512
    head_bytes: int = 32 * 1024
    handshake_seconds: float = 10.0
    request_seconds: float = 30.0
    answer_seconds: float = 300.0
    idle_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What goes wrong, for rehearsals; by default nothing does.

    Attributes:
        refuse: connections are reset before TLS begins.
        delay: seconds before each answer.
        busy: every answer is 503.
        garble: bodies are not what they should be.
        cut_after: the connection ends after so many bytes of an answer's body.
        hang_up: the connection ends where the answer should begin.
    """

    refuse: bool = False
    delay: float = 0.0
    busy: bool = False
    garble: bool = False
    cut_after: int | None = None
    hang_up: bool = False


UNDISTURBED = Disturbance()
#: What goes wrong with a request for this path, or with a connection ("").
Disturb = Callable[[str], Disturbance]


def _undisturbed(path: str) -> Disturbance:
    return UNDISTURBED


class HttpsServer:
    """A node's HTTPS; made by `start_https`.

    Attributes:
        address: where it listens.
        open: connections, those in the TLS handshake included.
    """

    def __init__(
        self, app: App, identity: TlsIdentity, listening: socket.socket, limits: HttpsLimits, disturb: Disturb
    ) -> None:
        self.address: tuple[str, int] = listening.getsockname()[:2]
        self.open = 0
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.state = ServerState()
        self.config = Config(
            cast(Any, app),  # uvicorn's own types of ASGI are narrower than anybody's applications
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self.config.load()
        self.stopping = False
        self._app = app
        self._disturb = disturb
        self._context = identity.server_context()
        self._listening = listening
        self._accepting: asyncio.Task[None] | None = None
        self._greeting: set[asyncio.Task[Any]] = set()
        self._connections: set[_Connection] = set()

    def set_identity(self, identity: TlsIdentity) -> None:
        """Serve another identity, to every connection from now on.

        Raises:
            SettingsError: TLS can't use it; the one before stays.
        """
        self._context = identity.server_context()

    async def stop(self) -> None:
        """Stop listening, drop every connection and what is being answered. Again, nothing happens."""
        if self._accepting is None:
            return
        self.stopping = True
        accepting, self._accepting = self._accepting, None
        accepting.cancel()
        for greeting in list(self._greeting):
            greeting.cancel()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(accepting, *self._greeting, return_exceptions=True)
        self._listening.close()
        await asyncio.gather(*(connection.gone.wait() for connection in list(self._connections)))
        answering = list(self.state.tasks)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    async def accept(self) -> None:
        """Take connections for ever."""
        while True:
            for _ in range(_ACCEPT_AT_ONCE):
                try:
                    sock, peer = await self.loop.sock_accept(self._listening)
                except OSError as error:  # out of file descriptors, or a client that has gone already
                    _log.warning("cannot take a connection on %s:%d: %s", *self.address, error)
                    await asyncio.sleep(_ACCEPT_PAUSE)
                    continue
                if self.open >= self.limits.connections or self._disturb("").refuse:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    sock.close()
                    continue
                self.open += 1
                connection = _Connection(self)
                greeting = self.loop.create_task(
                    self.loop.connect_accepted_socket(
                        functools.partial(_same, connection),
                        sock,
                        ssl=self._context,
                        ssl_handshake_timeout=self.limits.handshake_seconds,
                        ssl_shutdown_timeout=_PARTING,
                    )
                )
                self._greeting.add(greeting)
                greeting.add_done_callback(functools.partial(self._greeted, sock, peer, connection))
            await asyncio.sleep(0)  # a flood of connections must leave time for those that stand

    def begin(self) -> None:
        """Accept from now on."""
        self._accepting = self.loop.create_task(self.accept())

    def _greeted(self, sock: socket.socket, peer: Any, connection: _Connection, greeting: asyncio.Task[Any]) -> None:
        self._greeting.discard(greeting)
        if greeting.cancelled():
            sock.close()  # it may have been cancelled before it took the socket over
        elif (error := greeting.exception()) is not None:
            _log.info("TLS handshake with %s failed: %s", peer[0], error)
        if not connection.made:
            self.open -= 1

    def opened(self, connection: _Connection) -> None:
        """A handshake is done."""
        self._connections.add(connection)
        if self.stopping:
            connection.abort()

    def closed(self, connection: _Connection) -> None:
        """A connection is over."""
        self._connections.discard(connection)
        self.open -= 1

    async def serve(self, connection: _Connection, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, disturbed or not."""
        trouble = self._disturb(scope["path"])
        if trouble.delay:
            await asyncio.sleep(trouble.delay)
        if trouble.hang_up:
            await connection.end()
        elif trouble.busy:
            await respond(send, Response(503, b"Service Unavailable\n", headers=(("retry-after", "1"),)))
        elif trouble.garble or trouble.cut_after is not None:
            await self._app(scope, receive, _spoiled(connection, send, trouble))
        else:
            await self._app(scope, receive, send)


class _Connection(HttpToolsProtocol):
    """One connection: uvicorn's, with limits and deadlines."""

    def __init__(self, server: HttpsServer) -> None:
        super().__init__(server.config, server.state, {}, server.loop)
        self.made = False
        self.gone = asyncio.Event()
        self.access_log = False
        self.timeout_keep_alive = cast(Any, server.limits.idle_seconds)  # any number of seconds will do
        self.app = cast(Any, self._run)
        self._node = server
        self._deadline: asyncio.TimerHandle | None = None
        self._head: int | None = 0  # bytes of a head that is not whole; None within a body

    # From the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's signature
        super().connection_made(transport)
        self.made = True
        self._within(self._node.limits.idle_seconds)
        self._node.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._within(None)
        self.gone.set()
        self._node.closed(self)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._head == 0:
            self._within(self._node.limits.request_seconds)
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > self._node.limits.head_bytes:
            self.send_400_response("The request's head is too long.")

    # From the parser.

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head = 0
        limits = self._node.limits
        # Refused users are told so before they have sent all.
        self._within(limits.idle_seconds if self.cycle.response_complete else limits.answer_seconds)

    def on_response_complete(self) -> None:
        if not self.pipeline and self._head == 0:
            self._within(None)  # uvicorn's own timer watches the pause that comes now
        super().on_response_complete()

    # Ours.

    def abort(self) -> None:
        """Cut it off."""
        self.transport.abort()

    async def end(self) -> None:
        """Close it once what was written is sent, and wait until it is."""
        self.transport.close()
        await self.gone.wait()

    def _within(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.abort)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._node.serve(self, scope, receive, send)
        except _Cut:
            await self.end()
        except asyncio.CancelledError:
            if not self._node.stopping:
                raise


class _Cut(Exception):
    """An answer that ends early, as asked for."""


def _spoiled(connection: _Connection, send: Send, trouble: Disturbance) -> Send:
    left = trouble.cut_after

    async def spoiled(message: Any) -> None:
        nonlocal left
        body = message.get("body", b"")
        if message["type"] == "http.response.body":
            if trouble.garble:
                body = bytes(byte ^ 0xA5 for byte in body)
            if left is not None:
                if len(body) > left:
                    await send({**message, "body": body[:left], "more_body": True})
                    raise _Cut
                left -= len(body)
            message = {**message, "body": body}
        await send(message)

    return spoiled


def _same(connection: _Connection) -> _Connection:
    return connection


async def start_https(
    app: App,
    identity: TlsIdentity,
    *,
    host: str = "127.0.0.1",
    port: int = 8443,
    limits: HttpsLimits | None = None,
    disturb: Disturb = _undisturbed,
) -> HttpsServer:
    """Serve an application over HTTPS.

    Args:
        identity: the node's tomcat identity.
        port: 0 for any free one.
        limits: what clients may take.
        disturb: what to do wrong, asked for each connection and request.

    Raises:
        PortTaken: address and port can't be bound.
        SettingsError: TLS can't use the identity.
    """
    try:
        listening = socket.create_server((host, port), backlog=_BACKLOG)
        # asyncio sets it only on sockets made in another way. Without it the end of an answer waits for the client's
        # acknowledgement of its beginning, some 40 ms. Accepted sockets inherit it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise port_taken("HTTPS", host, port, error) from error
    try:
        server = HttpsServer(app, identity, listening, limits or HttpsLimits(), disturb)
    except BaseException:
        listening.close()
        raise
    listening.setblocking(False)
    server.begin()
    return server
