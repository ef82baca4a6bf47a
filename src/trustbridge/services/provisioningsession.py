"""One client's connection to the provisioning server: HTTP/1.1 and 1.0, GET and HEAD, requests answered in order.

An `asyncio.Protocol` over httptools. Requests that come in one piece (pipelining) wait in a queue; a client that does
not read its answers is not read from either, and one that asks for much at once lets others have their turn.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote_to_bytes

import httptools

from trustbridge.services.files import name_refusal

if TYPE_CHECKING:
    from trustbridge.services.provisioning import ProvisioningServer

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_WITH_AUTHORITY = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)

# Larger bodies are written in pieces: the transport copies what it can't send at once.
_PIECE_BYTES = 128 * 1024
# A source may need a millisecond for a file, so other work of the loop gets its turn after a few requests.
_REQUESTS_AT_ONCE = 16
# Requests of one connection that wait for those before them. Phones send one and wait.
_MAX_WAITING = 256
# How long to go on reading, and dropping, after a refusal that closes: closing with unread bytes would reset the
# connection, and the client might never see the answer.
_LINGER_SECONDS = 2.0

REASONS = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as far as answering needs it. `status` is that of a refusal, or 200: look for the file."""

    status: int
    name: str
    head: bool
    version: str
    keep_alive: bool


class Session(asyncio.Protocol):
    """One client. httptools calls the `on_...` methods while `data_received` feeds it."""

    def __init__(self, server: ProvisioningServer) -> None:
        self.deadline = 0.0
        self.lingering = False
        self._server = server
        self._limits = server.limits
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
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
        if len(self._waiting) >= _MAX_WAITING:
            self._refuse(400)
            return
        # An upgrade is not taken up, but the parser can't be used beyond it.
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        name = _name(self._url)
        self._waiting.append(
            Request(
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
            self._waiting.append(Request(status, "", head=False, version="1.1", keep_alive=False))

    # Answers

    def _answer(self) -> None:
        """Write what the transport takes: the rest of the present answer, then those to requests that wait."""
        transport = self._transport
        turns = _REQUESTS_AT_ONCE
        while not self._paused and not transport.is_closing():
            if self._body:
                piece, self._body = self._body[:_PIECE_BYTES], self._body[_PIECE_BYTES:]
                self._extend(self._limits.write_timeout)
                transport.write(piece)
            elif self._waiting:
                if not turns:
                    self._server.loop.call_soon(self._answer)
                    break
                turns -= 1
                self._begin(self._waiting.popleft())
            elif self._deaf:
                self._finish()
                return
            else:
                self._read(True)
                if not self._unfinished_bytes:
                    self._extend(self._limits.idle_timeout)
                return
        # Not reading is what stops a client that sends requests and does not read answers. It also keeps the end
        # of its side from us, on which the transport would close, while there are answers to write.
        if not transport.is_closing():
            self._read(False)

    def _begin(self, request: Request) -> None:
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
    return head % (status, REASONS[status], kind, length, more)
