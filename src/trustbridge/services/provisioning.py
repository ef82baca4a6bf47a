"""A node's HTTP server on port 6970: the files TFTP serves, which newer phones fetch this way first.

GET and HEAD of a name, nothing else. An `asyncio.Protocol` over httptools, because a fleet that boots makes tens of
thousands of small requests. Requests on one connection are answered in order, also when they come in one piece
(pipelining); a connection that does not read its answers is not read from either, so it can't make us hold many.
One sweep a second closes connections that idle, dawdle over a request or over reading an answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote_to_bytes

import httptools

from trustbridge.errors import TrustbridgeError
from trustbridge.services.files import FileSource, name_refusal
from trustbridge.services.listening import port_taken

_log = logging.getLogger(__name__)

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_WITH_AUTHORITY = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)

# Larger bodies are written in pieces: the transport copies what it can't send at once.
_PIECE_BYTES = 128 * 1024
# How long to go on reading, and dropping, after a refusal that closes: closing with unread bytes would reset the
# connection, and the client might never see the answer.
_LINGER_SECONDS = 2.0

_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


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


@dataclass(frozen=True, slots=True)
class _Request:
    """One request, as far as answering needs it. `status` is that of a refusal, or 200: look for the file."""

    status: int
    name: str
    head: bool
    version: str
    keep_alive: bool


class ProvisioningServer:
    """Made by `start_provisioning`; serves until `stop()`."""

    def __init__(self, source: FileSource, limits: ProvisioningLimits) -> None:
        self.counters = Counters()
        self.address: tuple[str, int] = ("", 0)
        self.source = source
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.open: set[_Connection] = set()
        self._listener: asyncio.Server | None = None
        self._sweep_handle: asyncio.TimerHandle | None = None
        timeouts = (limits.idle_timeout, limits.request_timeout, limits.write_timeout)
        self._tick = min(1.0, min(timeouts) / 4)

    async def listen(self, host: str, port: int, reuse_port: bool) -> None:
        """Bind and begin to accept. Raises PortTaken."""
        try:
            self._listener = await self.loop.create_server(
                lambda: _Connection(self), host, port, backlog=1024, reuse_port=reuse_port or None
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

    def opened(self, connection: _Connection) -> bool:
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

    def content(self, request: _Request, peer: str) -> tuple[int, bytes]:
        """Status and body of the answer."""
        if request.status != 200:
            return request.status, _REASONS[request.status].lower() + b"\n"
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


class _Connection(asyncio.Protocol):
    """One client. httptools calls the `on_...` methods while `data_received` feeds it."""

    def __init__(self, server: ProvisioningServer) -> None:
        self.deadline = 0.0
        self.lingering = False
        self._server = server
        self._limits = server.limits
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[_Request] = deque()
        self._body = memoryview(b"")  # what is left to write of the present answer
        self._deaf = False  # the last request is known: nothing more is parsed, and its answer closes
        self._paused = False  # by the transport: the client reads slower than we write
        self._reading = True
        self._url = b""
        self._header_bytes = 0
        self._unfinished_bytes = 0
        self._peer = ""
        self._transport: asyncio.Transport

    # The transport's events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is one by duck typing alone
        self._transport = transport
        if not self._server.opened(self):
            transport.write(_head(503, "", 0, b"Connection: close\r\n"))
            transport.close()
            self._deaf = True
            return
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if peer else ""
        self._extend(self._limits.request_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open.discard(self)
        self._waiting.clear()
        self._body = memoryview(b"")
        self._deaf = True

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unfinished_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as a plain request that closes, see on_message_complete
        except httptools.HttpParserError:
            self._refuse(400)
        else:
            if self._unfinished_bytes > self._limits.max_header_bytes:
                self._refuse(400)
        self._answer()

    def eof_received(self) -> bool:
        self._deaf = True  # the client has said all; it may still read what it asked for
        return bool(self._waiting or self._body)

    def pause_writing(self) -> None:
        self._paused = True
        self._extend(self._limits.write_timeout)

    def resume_writing(self) -> None:
        self._paused = False
        self._answer()

    def abort(self) -> None:
        """Close at once, whatever is still to be written."""
        self._deaf = True
        self._transport.abort()

    # The parser's events

    def on_message_begin(self) -> None:
        self._url = b""
        self._header_bytes = 0
        if not self._waiting and not self._body:
            self._extend(self._limits.request_timeout)

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        if self._parser.get_http_version() not in ("1.1", "1.0"):
            self._refuse(400)
        elif self._parser.get_method() not in (b"GET", b"HEAD"):
            self._refuse(405)

    def on_body(self, body: bytes) -> None:
        self._refuse(400)  # a GET with a body is somebody's mistake, or an attempt to smuggle

    def on_message_complete(self) -> None:
        if self._deaf:
            return
        self._unfinished_bytes = 0
        # An upgrade is not taken up, but the parser can't be used beyond it.
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        name = _name(self._url)
        self._waiting.append(
            _Request(
                status=400 if name is None else 200,
                name=name or "",
                head=self._parser.get_method() == b"HEAD",
                version=self._parser.get_http_version(),
                keep_alive=keep_alive,
            )
        )
        self._deaf = not keep_alive

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.max_header_bytes:
            self._refuse(400)

    def _refuse(self, status: int) -> None:
        """Answer so after what came before, then close: where the next request begins is not known any more."""
        if not self._deaf:
            self._deaf = self.lingering = True
            self._waiting.append(_Request(status, "", head=False, version="1.1", keep_alive=False))

    # Answers

    def _answer(self) -> None:
        """Write what the transport takes: the rest of the present answer, then those to requests that wait."""
        transport = self._transport
        while not self._paused and not transport.is_closing():
            if self._body:
                piece, self._body = self._body[:_PIECE_BYTES], self._body[_PIECE_BYTES:]
                self._extend(self._limits.write_timeout)
                transport.write(piece)
            elif self._waiting:
                self._begin(self._waiting.popleft())
            elif self._deaf:
                self._finish()
                return
            else:
                self._read(True)
                if not self._unfinished_bytes:
                    self._extend(self._limits.idle_timeout)
                return
        # Not reading is what stops a client that sends requests and does not read answers.
        if not transport.is_closing():
            self._read(False)

    def _begin(self, request: _Request) -> None:
        server = self._server
        status, content = server.content(request, self._peer)
        server.counters.requests += 1
        if status == 200:
            server.counters.bytes += 0 if request.head else len(content)
        else:
            server.counters.errors += 1
        more = b""
        if not request.keep_alive:
            more = b"Connection: close\r\n"
        elif request.version == "1.0":
            more = b"Connection: keep-alive\r\n"
        head = _head(status, request.name, len(content), more)
        if request.head:
            self._transport.write(head)
        elif len(content) <= _PIECE_BYTES:
            self._transport.write(head + content)
        else:
            self._transport.write(head)
            self._body = memoryview(content)

    def _finish(self) -> None:
        """The last answer is written: close, or wait a little for what the client still sends."""
        if self.lingering and self._transport.can_write_eof():
            self._extend(_LINGER_SECONDS)
            self._transport.write_eof()
            self._read(True)
        else:
            self._transport.close()

    def _read(self, reading: bool) -> None:
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _extend(self, seconds: float) -> None:
        self.deadline = self._server.loop.time() + seconds


def _name(target: bytes) -> str | None:
    """The file a request's target names, in origin form (`/name?query`) or absolute form; None: refuse it."""
    if not target.startswith(b"/"):
        authority = _WITH_AUTHORITY.match(target)
        if authority is None:
            return None
        target = target[authority.end() :]
    path = target.partition(b"?")[0][1:]
    if b"%" in path:
        if _BAD_ESCAPE.search(path):
            return None
        path = unquote_to_bytes(path)
    try:
        name = path.decode()
    except UnicodeDecodeError:
        return None
    return None if name_refusal(name) is not None else name


def _head(status: int, name: str, length: int, more: bytes) -> bytes:
    kind = b"application/octet-stream"
    if status != 200:
        kind = b"text/plain"
        if status == 405:
            more += b"Allow: GET, HEAD\r\n"
    elif name.endswith(".xml"):
        kind = b"text/xml"
    head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n"
    return head % (status, _REASONS[status], kind, length, more)


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
