"""One HTTP listener for the status pages of all phones: the local address of a connection tells which was asked.

A campaign reads a cluster's pages by the ten thousand, so a connection is a protocol object without a task. It is
kept as HTTP/1.1 has it, request after request. UNVERIFIED whether real phones do that; whoever reads pages has to bear
either.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

import httptools

from trustbridge.clients.addresses import port_taken

_log = logging.getLogger(__name__)

#: (local address, request target) -> content type and content, or None for "not found".
PageSource = Callable[[str, str], tuple[str, bytes] | None]

#: Seconds a client may take for its request and its answer; and bytes of the request.
PATIENCE = 10.0
MAX_REQUEST = 16 * 1024
_BACKLOG = 1024
_SO_BINDTODEVICE = 25
_REASONS = {200: "OK", 404: "Not Found", 500: "Internal Server Error"}


class PageServer:
    """Made by `start_pages`; serves until `stop()`."""

    def __init__(self, server: asyncio.Server, clients: set[_Client]) -> None:
        self._server = server
        self._clients = clients

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def stop(self) -> None:
        """Close the listener and every connection."""
        self._server.close()
        for client in list(self._clients):
            client.abort()
        await self._server.wait_closed()


async def start_pages(source: PageSource, *, port: int) -> PageServer:
    """Serve pages on every loopback address at once, and on no other: the socket is bound to the loopback device.

    Raises:
        PortTaken: the port is in use, or this user may not bind it.
    """
    clients: set[_Client] = set()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, b"lo\0")
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        listener.bind(("", port))  # every address, of the loopback device alone
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Client(source, clients), sock=listener, backlog=_BACKLOG)
    except OSError as error:
        listener.close()
        raise port_taken("The phones' status pages", "the loopback device", port, error) from error
    return PageServer(server, clients)


class _Client(asyncio.Protocol):
    """One connection, one request at a time. httptools calls the `on_...` methods."""

    def __init__(self, source: PageSource, clients: set[_Client]) -> None:
        self._source = source
        self._clients = clients
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._size = 0
        self._over = False
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._clients.add(self)
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.call_later(PATIENCE, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._clients.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.close()  # no HTTP
        if self._size > MAX_REQUEST:
            self._transport.close()

    def abort(self) -> None:
        """Cut it off."""
        self._transport.abort()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_message_complete(self) -> None:
        if self._over or self._parser.get_http_version() not in ("1.0", "1.1"):
            self._transport.close()
            return
        keep = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        method = self._parser.get_method()
        status, kind, content = self._page(method)
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(content)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        ).encode("ascii")
        self._transport.write(head if method == b"HEAD" else head + content)
        self._url, self._size = b"", 0
        self._deadline.cancel()
        if keep:
            self._deadline = self._loop.call_later(PATIENCE, self.abort)
        else:
            self._over = True
            self._transport.close()

    def _page(self, method: bytes) -> tuple[int, str, bytes]:
        if method in (b"GET", b"HEAD"):
            local = self._transport.get_extra_info("sockname")[0]
            try:
                found = self._source(local, self._url.decode("ascii", "replace"))
            except Exception:  # a phone's fault: the others' pages are shown
                _log.exception("no status page for %s", local)
                return 500, "text/plain", b"this phone can't show it\n"
            if found is not None:
                return 200, *found
        return 404, "text/plain", b"not found\n"
