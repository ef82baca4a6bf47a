"""How a phone gets a file from a node: HTTP on 6970 first, TFTP when that fails (the caller decides).

A thin function over each of the readers of `downloads`. They are light, because thousands of simulated phones run
in one process: no connection pool, a socket for a file, one timer for a download.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast
from urllib.parse import quote

from trustbridge.clients.addresses import numeric, system_words
from trustbridge.clients.downloads import HttpAnswer, Outcome, TftpDownload
from trustbridge.errors import Refused, Unreachable
from trustbridge.wire import tftp
from trustbridge.wire.tftp import ErrorCode

#: No file a phone asks a lab for is larger; firmware would be, and is not simulated.
MAX_BYTES = 16 * 2**20

_RECEIVE_BYTES = 64 * 1024
_HINT = "Check that the node is up, serves files there, and that its address and port are right."

_STRANGER = tftp.encode(tftp.Error(ErrorCode.UNKNOWN_TRANSFER, "unknown transfer"))


async def http_get(
    host: str,
    port: int,
    name: str,
    *,
    local_address: str | None = None,
    timeout: float = 5.0,  # noqa: ASYNC109  (what it ends in is ours to word, as Unreachable)
    max_bytes: int = MAX_BYTES,
) -> bytes | None:
    """Fetch `/name` over HTTP.

    Args:
        host: address or name of the server.
        port: TCP.
        name: of the file, as plain text; it is escaped as needed.
        local_address: the address to call from.
        timeout: seconds for all of it.
        max_bytes: of content accepted.

    Returns:
        The content; None when the server says that there is no such file (404).

    Raises:
        Unreachable: no connection, another answer than 200 or 404, too much, broken off, or out of time.
    """
    what = f"HTTP: {name!r} from {host} port {port}"
    answer = HttpAnswer(max_bytes)
    request = f"GET /{quote(name)} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
                sock.setblocking(False)
                if local_address is not None:
                    sock.bind((local_address, 0))
                await loop.sock_connect(sock, (host, port))
                await loop.sock_sendall(sock, request.encode())
                while answer.outcome is Outcome.RUNNING:
                    answer.feed(await loop.sock_recv(sock, _RECEIVE_BYTES))
    except TimeoutError as error:
        raise Unreachable(f"{what}: no whole answer within {timeout:g} s", _HINT) from error
    except UnicodeError as error:  # a name with characters that no host's name has, looked up
        raise Unreachable(f"{what}: {host!r} is not the name of a host", _HINT) from error
    except OSError as error:
        raise Unreachable(f"{what}: {system_words(error)}", _HINT) from error
    return _result(what, answer)


async def tftp_get(
    host: str,
    port: int,
    name: str,
    *,
    local_address: str | None = None,
    blksize: int | None = 1024,
    timeout: float = 1.0,  # noqa: ASYNC109  (of one try, not of the call)
    tries: int = 5,
    max_bytes: int = MAX_BYTES,
) -> bytes | None:
    """Fetch `name` over TFTP, mode octet.

    Args:
        host: address or name of the server.
        port: UDP, where requests go.
        name: of the file.
        local_address: the address to call from.
        blksize: to ask for, 8 to 65464; None asks for no option at all. A server that refuses options is
            asked once more without.
        timeout: seconds until a packet is sent again.
        tries: how often a packet is sent before giving up.
        max_bytes: of content accepted.

    Returns:
        The content; None when the server says that there is no such file (error 1).

    Raises:
        Refused: the server answers with another error.
        Unreachable: nobody answers, too much, or broken off.
    """
    what = f"TFTP: {name!r} from {host} port {port}"
    try:
        server = (await numeric(host), port)
        download = TftpDownload(name, blksize=blksize, max_bytes=max_bytes)
        await _run(download, server, local_address, timeout, tries)
        if download.options_refused:
            download = TftpDownload(name, blksize=None, max_bytes=max_bytes)
            await _run(download, server, local_address, timeout, tries)
    except OSError as error:
        raise Unreachable(f"{what}: {system_words(error)}", _HINT) from error
    return _result(what, download)


def _result(what: str, download: HttpAnswer | TftpDownload) -> bytes | None:
    if download.outcome is Outcome.NOT_FOUND:
        return None
    if download.outcome is Outcome.COMPLETE:
        return bytes(download.content)
    if isinstance(download, TftpDownload) and download.error:
        raise Refused(f"{what}: {download.failure}", _HINT)
    raise Unreachable(f"{what}: {download.failure or 'broken off'}", _HINT)


async def _run(
    download: TftpDownload,
    server: tuple[str, int],
    local_address: str | None,
    timeout: float,  # noqa: ASYNC109  (as of tftp_get)
    tries: int,
) -> None:
    """Bring `download` to its end. Raises OSError when there is no way to send."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Client(download, server, timeout, tries, done),
        local_addr=None if local_address is None else (local_address, 0),
        family=socket.AF_INET6 if ":" in server[0] else socket.AF_INET,
    )
    try:
        await done
    finally:
        transport.close()


class _Client(asyncio.DatagramProtocol):
    """Sends what a download says, again when nothing comes, and only takes datagrams from its one peer."""

    def __init__(
        self,
        download: TftpDownload,
        server: tuple[str, int],
        timeout: float,
        tries: int,
        done: asyncio.Future[None],
    ) -> None:
        self._download = download
        self._server = server
        self._peer: Any = None  # where the transfer comes from, once the server has chosen its port
        self._timeout = timeout
        self._tries_left = tries
        self._tries = tries
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.DatagramTransport, transport)
        self._transport = transport
        self._send()
        self._timer = self._loop.call_later(self._timeout, self._timed_out)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._finish(exc)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if addr[0] != self._server[0] or self._done.done():
            return
        if self._peer is not None and addr != self._peer:
            # RFC 1350, section 4: tell the stranger, and go on.
            if data[:2] != b"\0\5":
                self._transport.sendto(_STRANGER, addr)
            return
        before = self._download.packet
        answer = self._download.receive(data)
        if answer is not None:
            self._peer = addr
            self._transport.sendto(answer, addr)
        if self._download.outcome is not Outcome.RUNNING:
            self._finish(None)
        elif self._download.packet != before:
            # Only what moves the transfer on buys time: a server that chatters must not keep us for ever.
            self._tries_left = self._tries - 1
            self._deadline = self._loop.time() + self._timeout

    def error_received(self, exc: Exception) -> None:
        """An ICMP message: a lost datagram like any other."""

    def _send(self) -> None:
        self._tries_left -= 1
        self._deadline = self._loop.time() + self._timeout
        self._transport.sendto(self._download.packet, self._peer or self._server)

    def _timed_out(self) -> None:
        """The one timer of the download: runs late rather than being moved for every block."""
        wait = self._deadline - self._loop.time()
        if wait <= 0:
            if self._tries_left <= 0:
                self._download.give_up(f"no answer to {self._tries} tries of {self._timeout:g} s")
                self._finish(None)
                return
            self._send()
            wait = self._timeout
        self._timer = self._loop.call_later(wait, self._timed_out)

    def _finish(self, error: Exception | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)
