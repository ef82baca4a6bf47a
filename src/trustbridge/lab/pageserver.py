"""One HTTP listener for the status pages of all phones: the local address of a connection tells which was asked."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

import h11

from trustbridge.clients.addresses import port_taken

_log = logging.getLogger(__name__)

#: (local address, request target) -> content type and content, or None for "not found".
PageSource = Callable[[str, str], tuple[str, bytes] | None]

#: Seconds a client may take for its request; and bytes of it.
PATIENCE = 10.0
MAX_REQUEST = 16 * 1024
_SO_BINDTODEVICE = 25


class PageServer:
    """Made by `start_pages`; serves until `stop()`."""

    def __init__(self, server: asyncio.Server, clients: set[asyncio.StreamWriter]) -> None:
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
            client.transport.abort()
        await self._server.wait_closed()


async def start_pages(source: PageSource, *, port: int) -> PageServer:
    """Serve pages on every loopback address at once, and on no other: the socket is bound to the loopback device.

    Raises:
        PortTaken: the port is in use, or this user may not bind it.
    """
    clients: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(writer)
        try:
            await _serve(source, reader, writer)
        finally:
            clients.discard(writer)

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, b"lo\0")
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        listener.bind(("", port))  # every address, of the loopback device alone
        listener.setblocking(False)
        server = await asyncio.start_server(serve, sock=listener, limit=MAX_REQUEST)
    except OSError as error:
        listener.close()
        raise port_taken("The phones' status pages", "the loopback device", port, error) from error
    return PageServer(server, clients)


async def _serve(source: PageSource, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, one request."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await _answer(connection, source, reader, writer)
            if answer and not writer.is_closing():
                writer.write(answer)
                await writer.drain()
    except (OSError, TimeoutError, h11.ProtocolError):
        pass  # a client that left, dawdled, or does not speak HTTP
    finally:
        writer.close()


async def _answer(
    connection: h11.Connection,
    source: PageSource,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bytes:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(4096))
    if not isinstance(event, h11.Request):
        return b""
    local = writer.get_extra_info("sockname")[0]
    status, kind, content = 404, "text/plain", b"not found\n"
    if event.method in (b"GET", b"HEAD"):
        try:
            found = source(local, event.target.decode("ascii", "replace"))
        except Exception:  # a phone's fault: the others' pages are shown
            _log.exception("no status page for %s", local)
            status, content = 500, b"this phone can't show it\n"
        else:
            if found is not None:
                status = 200
                kind, content = found
    headers = [("Content-Type", kind), ("Content-Length", str(len(content))), ("Connection", "close")]
    answer = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    if event.method != b"HEAD":
        answer += connection.send(h11.Data(data=content)) or b""
    return answer
