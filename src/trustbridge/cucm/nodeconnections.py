"""HTTP/1.1 over kept TLS connections to one node, some at a time: below `https`, which knows what errors mean.

A campaign resets phones one request each. httpx takes three times as long for one as the node's answer is worth, so a
connection here is one protocol object that writes a request and reads an answer. Errors are httpx's, word for word
where `https.translated` looks at words: there is one edge, whatever is below it. What httpx did beside the request is
left out on purpose: no redirect is followed, nothing of the environment is read, answers come uncompressed.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import ssl
from collections.abc import Callable, Mapping
from typing import Final, cast
from urllib.parse import quote, urlencode

import httptools
import httpx

#: Connections to a node at a time.
CONNECTIONS: Final = 4
#: What may stand in a path as it is.
_PATH: Final = "/%:@!$&'()*+,;=~"


class RawAnswer:
    """An answer: status, headers by their names in lower case, and its whole body."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.cookies: list[str] = []
        self.body = bytearray()


class _Connection(asyncio.Protocol):
    """One connection, one request at a time. httptools calls the `on_...` methods."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer = RawAnswer()
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[RawAnswer] | None = None
        self._headed = False
        self._bounded = False
        #: Why it can't be used any more, or "" when it ended as it should; None while it stands.
        self.over: Exception | str | None = None

    # The transport's.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            self.abort()  # nobody has asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(httpx.RemoteProtocolError(str(error)))

    # The parser's.

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in ("content-length", "transfer-encoding"):
            self._bounded = True
        if key == "content-encoding" and text.strip().lower() not in ("", "identity"):
            self._fail(httpx.DecodingError(f"the answer is {text.strip():.40}, and nobody has asked for that"))
        if key == "set-cookie":
            self._answer.cookies.append(text)
        self._answer.headers[key] = text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self._headed, self._answer.status = True, status
        else:
            self._answer, self._bounded = RawAnswer(), False

    def on_body(self, body: bytes) -> None:
        self._answer.body += body
        if len(self._answer.body) > self._limit():
            self._fail(httpx.DecodingError("the answer never ends"))

    def on_message_complete(self) -> None:
        if self._headed:
            keep = self._parser.should_keep_alive()
            self._done()
            if not keep:
                self.over = ""
                self.abort()

    # Ours.

    async def ask(self, request: bytes) -> RawAnswer:
        """Write a request, read its answer. Whoever is cut off meanwhile leaves a connection nobody can use."""
        assert self._transport is not None
        self._answer, self._headed, self._bounded = RawAnswer(), False, False
        self._parser = httptools.HttpResponseParser(self)
        self._waiting = self._loop.create_future()
        try:
            self._transport.write(request)
            return await self._waiting
        except BaseException:
            self.over = self.over if self.over is not None else ""
            self.abort()
            raise
        finally:
            self._waiting = None

    @property
    def stands(self) -> bool:
        """Whether it can be used once more.

        What nobody has asked for is its end, which the loop may not have read yet. A change of the cluster is sent
        once: sent into a connection that is over, nobody would know what became of it.
        """
        if self.over is not None or self._transport is None:
            return False
        socket = self._transport.get_extra_info("socket")
        if socket is None:
            return False
        waiting = select.poll()
        waiting.register(socket.fileno(), select.POLLIN)
        return not waiting.poll(0)

    def abort(self) -> None:
        """Cut it off."""
        if self._transport is not None:
            # asyncio's TLS transport of Python 3.11 has nothing left to abort once it was closed twice, and says so so.
            with contextlib.suppress(AttributeError):
                self._transport.abort()

    def close(self) -> None:
        """End it as TLS wants it."""
        if self._transport is not None:
            self._transport.close()

    def _done(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._answer)

    def _fail(self, error: Exception) -> None:
        self.over = error
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def _ended(self, error: Exception | None) -> None:
        if self.over is None:
            self.over = error or ""
        if self._waiting is None or self._waiting.done():
            return
        if isinstance(error, ssl.SSLError):
            self._waiting.set_exception(error)
        elif error is not None:
            broken = httpx.ReadError(str(error))
            broken.__cause__ = error
            self._waiting.set_exception(broken)
        elif self._headed and not self._bounded:
            self._done()  # the old way: the body lasts until the node closes
        elif self._headed:
            words = "peer closed connection without sending complete message body"
            self._waiting.set_exception(httpx.RemoteProtocolError(words))
        else:
            self._waiting.set_exception(httpx.RemoteProtocolError("Server disconnected without sending a response."))


class NodeConnections:
    """Connections to one node, opened as needed and kept.

    Args:
        context: of TLS; it decides whether this is the node.
        headers: sent with every request.
        connect: seconds for a connection with its handshake.
        limit: bytes of an answer at the most, asked each time.
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        *,
        headers: Mapping[str, str],
        connect: float,
        limit: Callable[[], int],
    ) -> None:
        self._address = (host, port)
        self._context = context
        self._connect = connect
        self._limit = limit
        self.netloc = f"{f'[{host}]' if ':' in host else host}:{port}"
        self._headers = {"host": self.netloc, "accept": "*/*", "user-agent": "trustbridge", **headers}
        self._cookies: dict[str, str] = {}
        self._free: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._gate = asyncio.Semaphore(CONNECTIONS)

    async def request(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | None, headers: Mapping[str, str]
    ) -> RawAnswer:
        """Ask once.

        Raises:
            httpx.HTTPError, ssl.SSLError: what went wrong.
            ValueError: path or headers can't be sent.
        """
        data = self._written(method, path, query, body, headers)
        async with self._gate:
            connection = self._kept() or await self._made()
            self._busy.add(connection)
            try:
                answer = await connection.ask(data)
            finally:
                self._busy.discard(connection)
            if connection.over is None:
                self._free.append(connection)
        self._keep_cookies(answer.cookies)
        return answer

    async def close(self) -> None:
        """End all of them."""
        for connection in (*self._free, *self._busy):
            connection.close()
        self._free.clear()

    def _kept(self) -> _Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.stands:
                return connection
            connection.abort()
        return None

    async def _made(self) -> _Connection:
        loop = asyncio.get_running_loop()
        host, port = self._address
        try:
            async with asyncio.timeout(self._connect):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._limit), host, port, ssl=self._context, server_hostname=""
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(str(error)) from error
        return connection

    def _written(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        target = quote(path, safe=_PATH) + (f"?{urlencode(query)}" if query else "")
        given = self._headers | dict(headers)
        if self._cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if body is not None or method != "GET":
            given["content-length"] = str(len(body or b""))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header can't hold the end of a line")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")

    def _keep_cookies(self, cookies: list[str]) -> None:
        """A node's session: without it, it asks its database for the password each time."""
        for text in cookies:
            first, *attributes = text.split(";")
            name, sign, value = first.strip().partition("=")
            if not name or not sign:
                continue
            if any(one.strip().lower() == "max-age=0" for one in attributes):
                self._cookies.pop(name, None)
            else:
                self._cookies[name] = value
