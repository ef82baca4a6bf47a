"""HTTP to a phone: its pages, one after the other over one connection, which is kept as long as the phone keeps it.

A campaign reads pages by the ten thousand, and a client of general use takes longer for one than a phone does. Phones
serve one client at a time, so there is no pool. Nothing is asked for but `GET`, and nothing is followed.
"""

from __future__ import annotations

import asyncio
import re
import socket
from types import TracebackType
from typing import Final, Self

import httptools

from trustbridge.clients.addresses import system_words
from trustbridge.cucm.https import Patience
from trustbridge.errors import Garbled, TrustbridgeError, Unreachable

#: Bytes of a page that are read.
MAX_PAGE: Final = 256 * 1024
#: What a phone is given: seconds until it takes a connection, and until it has answered.
PATIENCE: Final = Patience(connect=5.0, answer=10.0)
_HINT: Final = "Is the phone up, and its web access on? The database's last known state tells something without it."
_RECEIVE: Final = 16 * 1024
_CHARSET = re.compile(rb"charset\s*=\s*\"?([\w.:-]{1,40})", re.IGNORECASE)


class _Page:
    """One answer as its bytes come; httptools calls the methods."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.charset = "utf-8"
        self.complete = self.headed = self.bounded = self.endless = self.kept = False
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self.bounded = True
        elif name == b"content-type" and (found := _CHARSET.search(value)):
            self.charset = found[1].decode("ascii")

    def on_headers_complete(self) -> None:
        self.headed = self.parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        self.content += body
        self.endless = len(self.content) > MAX_PAGE

    def on_message_complete(self) -> None:
        self.complete = self.headed
        self.kept = self.complete and self.parser.should_keep_alive()

    def text(self) -> str:
        try:
            return self.content.decode(self.charset, "replace")
        except LookupError:  # an encoding nobody knows
            return self.content.decode("utf-8", "replace")


class PhoneConnection:
    """A phone's web server. Opened when first asked; use it as a context.

    Args:
        address: the phone's, IPv4 or IPv6.
    """

    def __init__(self, address: str, port: int = 80, patience: Patience = PATIENCE) -> None:
        self.address = address
        self._port = port
        self._patience = patience
        self._socket: socket.socket | None = None
        host = f"[{address}]" if ":" in address else address
        self._head = f"\r\nHost: {host if port == 80 else f'{host}:{port}'}\r\nUser-Agent: trustbridge\r\n\r\n"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; asked again, it opens anew."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of one page.

        Args:
            path: with its query, in ASCII.

        Raises:
            Unreachable: nobody answers, or not in time; the cause is a TimeoutError then.
            Garbled: what answers is no HTTP, or the page has no end.
        """
        patience = self._patience
        try:
            async with asyncio.timeout(patience.answer):
                return await self._get(path)
        except TimeoutError as error:
            self.close()
            raise self._unreachable(f"no answer within {patience.answer:g} s (GET {path})") from error
        except OSError as error:
            self.close()
            raise self._unreachable(f"the connection broke (GET {path}): {system_words(error)}") from error
        except BaseException:
            self.close()
            raise

    async def _get(self, path: str) -> tuple[int, str]:
        loop = asyncio.get_running_loop()
        request = f"GET {path} HTTP/1.1{self._head}".encode("ascii")
        kept = self._socket
        if kept is not None:
            try:
                return await self._ask(loop, kept, request, path)
            except (_Gone, ConnectionError):  # it was closed since: a new one tells
                self.close()
        self._socket = made = await self._connect(loop)
        try:
            return await self._ask(loop, made, request, path)
        except _Gone:
            raise Garbled(
                f"phone {self.address}: the connection ended before the answer (GET {path})", "Try again."
            ) from None

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        try:
            made.setblocking(False)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self._patience.connect):
                await loop.sock_connect(made, (self.address, self._port))
        except TimeoutError as error:
            made.close()
            raise self._unreachable(f"no connection within {self._patience.connect:g} s") from error
        except OSError as error:
            made.close()
            raise self._unreachable(f"no connection: {system_words(error)}") from error
        except BaseException:
            made.close()
            raise
        return made

    async def _ask(
        self, loop: asyncio.AbstractEventLoop, asked: socket.socket, request: bytes, path: str
    ) -> tuple[int, str]:
        await loop.sock_sendall(asked, request)
        page = _Page()
        while not page.complete:
            data = await loop.sock_recv(asked, _RECEIVE)
            if not data:
                self.close()
                if page.headed and not page.bounded:
                    break  # the old way: the page lasts until the phone closes
                if not page.headed:
                    raise _Gone
                raise Garbled(f"phone {self.address}: the page ended in the middle (GET {path})", "Try again.")
            try:
                page.parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                break
            except httptools.HttpParserError as error:
                raise Garbled(f"phone {self.address}: what answers is no HTTP: {error}", "Is that a phone?") from None
            if page.endless:
                raise Garbled(f"phone {self.address}: a page that never ends (GET {path})", "Is that a phone?")
        if not page.kept:
            self.close()
        return page.parser.get_status_code(), page.text()

    def _unreachable(self, words: str) -> TrustbridgeError:
        return Unreachable(f"phone {self.address}: {words}", _HINT)


class _Gone(Exception):
    """The phone hung up instead of answering."""
