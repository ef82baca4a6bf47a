"""HTTPS to a node: the pinned certificate and nothing else is verified, before a password is sent.

Here, once for every interface over HTTPS: time-outs, what is sent again and what never is, servers that ask to come
back later, and the edge where errors of httpx become ours.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import random
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from trustbridge.cucm.model import Interface
from trustbridge.cucm.nodeconnections import NodeConnections
from trustbridge.cucm.pinnedtls import NotPinned, PinnedContext
from trustbridge.cucm.pins import TlsPins
from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    Refused,
    SettingsError,
    Throttled,
    TrustbridgeError,
    Unreachable,
)

_log = logging.getLogger(__name__)

#: Bytes of an answer at most: a full AXL answer has 8 MB.
MAX_ANSWER = 64 * 1024 * 1024
_COME_BACK_LATER = (429, 503)
_WORDS = 200


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds, and how often to try.

    Attributes:
        connect: for the connection with its TLS handshake.
        answer: for one request, from its first byte to the last of the answer.
        attempts: how often a request whose connection broke is sent, if it may be sent again.
        pause: before the second attempt; twice as long before each further one.
        throttled: how long altogether a node may ask to come back later.
        log_in: from the call of a command line to its first prompt; it takes several seconds to start.
        command: for a command there.
        long_command: for one that takes its time: bulk operations talk to the SFTP server once a node and type, and
            services restart in minutes.
    """

    connect: float = 10.0
    answer: float = 60.0
    attempts: int = 3
    pause: float = 0.5
    throttled: float = 60.0
    log_in: float = 60.0
    command: float = 60.0
    long_command: float = 900.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered, whole. `retry_after` are the seconds after which it wants to be asked again; 0 if none."""

    status: int
    content_type: str = ""
    body: bytes = b""
    retry_after: float = 0.0


class NodeHttps:
    """HTTPS to one node with one account, for one interface. Use it as a context.

    Args:
        node: what messages call the node.
        host: its name or address; pins are kept under it.
        interface: named in messages.

    Raises:
        SettingsError: a user name with a colon, which HTTP Basic can't carry.
    """

    def __init__(
        self,
        node: str,
        host: str,
        port: int,
        user: str,
        password: str,
        pins: TlsPins,
        *,
        interface: Interface,
        patience: Patience | None = None,
    ) -> None:
        if ":" in user:
            raise SettingsError(f"{user!r} can't be a user name: HTTP allows no colon in one")
        self.node = node
        self.interface = interface
        self._user = user
        self._patience = patience or Patience()
        self._secrets = (password, base64.b64encode(f"{user}:{password}".encode()).decode())
        self._connections = NodeConnections(
            host,
            port,
            PinnedContext.of(pins, host, port),
            headers={"authorization": f"Basic {self._secrets[1]}"},
            connect=self._patience.connect,
            limit=lambda: MAX_ANSWER,
        )
        self._shut_out: AuthenticationRefused | None = None

    def __repr__(self) -> str:
        return f"<NodeHttps {self._user}@{self._connections.netloc} ({self.here})>"

    @property
    def here(self) -> str:
        """How messages begin: node and interface."""
        return f"{self.node} ({self.interface})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connections.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        again: bool,
        query: Mapping[str, str] | None = None,
        value: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask, and have the whole answer, whatever its status but those below.

        Args:
            again: it may be sent again when the connection broke and nobody knows what became of it.
            value: the body, as JSON.
            content: the body, as it is.

        Raises:
            Unreachable: nobody there, no answer in time, or a connection that breaks.
            IdentityChanged: the node shows another certificate than the pinned one; nothing was sent.
            AuthenticationRefused: 401. It is not tried again, and neither is any later request: accounts get locked.
            Refused: 403.
            Throttled: it asked to come back later, for longer than `Patience.throttled`.
            Garbled: what it says is not HTTP over TLS, ends early or never.
            SettingsError: the pins can't be read or written.
        """
        if self._shut_out is not None:
            raise AuthenticationRefused(self._shut_out.message, self._shut_out.hint)
        patience, what = self._patience, f"{method} {path}"
        body = json.dumps(value).encode() if value is not None else content
        given = {"content-type": "application/json"} if value is not None else {}
        failures, waited = 0, 0.0
        while True:
            try:
                async with asyncio.timeout(patience.answer):
                    answer = await self._once(method, path, dict(query or {}), body, given | dict(headers or {}))
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
                failures += 1
                if failures >= patience.attempts or not _may_repeat(error, again):
                    raise self._named(translated(error, what, patience, unknown=not again)) from error
                pause = patience.pause * 2 ** (failures - 1) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
                _log.info("%s: %s failed, trying again in %.1f s", self.here, what, pause)
            else:
                if answer.status not in _COME_BACK_LATER:
                    return self._let_in(answer, what)
                pause = max(answer.retry_after, min(patience.pause * 2 ** min(failures, 5), 10.0))
                failures += 1
                if waited + pause > patience.throttled:
                    raise Throttled(
                        f"{self.here}: the node is too busy for {what}, for {waited:.0f} s now",
                        "Try again later, and let less run against it at once.",
                    )
                waited += pause
                _log.info("%s: too busy for %s, trying again in %.1f s", self.here, what, pause)
            await asyncio.sleep(pause)

    async def _once(
        self, method: str, path: str, query: dict[str, str], body: bytes | None, headers: dict[str, str]
    ) -> Answer:
        found = await self._connections.request(method, path, query, body, headers)
        return Answer(
            found.status,
            found.headers.get("content-type", ""),
            bytes(found.body),
            _seconds(found.headers.get("retry-after", "")),
        )

    def _let_in(self, answer: Answer, what: str) -> Answer:
        if answer.status == 401:
            self._shut_out = AuthenticationRefused(
                f"{self.here}: the node does not accept user {self._user} with this password",
                f"Check user and password of the {_REALMS.get(self.interface, 'application user')}. Nothing more is "
                "tried with them now: too many wrong ones lock an account.",
            )
            raise self._shut_out
        if answer.status == 403:
            raise Refused(
                f"{self.here}: user {self._user} may not do this ({what}){self.said(answer)}",
                "Give that user the right to use this interface, or name another user.",
            )
        return answer

    def said(self, answer: Answer) -> str:
        """A node's own words on an error, to stand behind ours: `: words`, or nothing. Never a secret."""
        text = _words(answer)
        for secret in self._secrets:
            if secret:
                text = text.replace(secret, "***")
        return f": {text}" if text else ""

    def _named(self, error: TrustbridgeError) -> TrustbridgeError:
        if not isinstance(error, SettingsError):
            error.message = f"{self.here}: {error.message}"
            error.args = (error.message,)
        return error


_REALMS = {Interface.REST: "platform's administrator (the account of the command line)"}


def translated(error: Exception, what: str, patience: Patience, *, unknown: bool = False) -> TrustbridgeError:
    """An error of httpx, or of what is below it, as one of ours: the one edge, most specific first.

    Args:
        what: was to be done.
        unknown: it changes something, and was not sent again for that reason.
    """
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, NotPinned):
            return cause.refusal
    unsure = " Whether it was carried out is not known: see what the node holds now." if unknown else ""
    reason = _reason(causes)
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Unreachable(
                f"no connection within {patience.connect:g} s",
                "Is the node up, and does a firewall let this machine through to its port?",
            )
        case httpx.TimeoutException() | TimeoutError():
            return Unreachable(
                f"no answer within {patience.answer:g} s ({what})",
                f"Try again when the node is less busy, or allow it more time.{unsure}",
            )
        case httpx.ConnectError():
            for cause in causes:
                if isinstance(cause, socket.gaierror):
                    return Unreachable(f"there is no such host: {reason}", "Check the name, and the name server.")
                if _is_tls(cause):
                    return Garbled(
                        f"what answers there does not speak TLS as it should: {reason}",
                        "Is that the port of the node's HTTPS? Nodes before 10.5 may know no TLS 1.2.",
                    )
            # Who refuses a connection says so otherwise: this one was taken.
            if any(isinstance(cause, ssl.SSLError | ConnectionResetError | ConnectionAbortedError) for cause in causes):
                reason = f"it ended in the TLS handshake ({reason})"
            return Unreachable(
                f"no connection: {reason}", "Check address and port, and that Cisco Tomcat runs on the node."
            )
        case httpx.RemoteProtocolError() if "disconnected" in str(error) or "complete message body" in str(error):
            early = "ended in the middle of" if "body" in str(error) else "ended before"
            return Garbled(f"the connection {early} the answer ({what})", f"Try again.{unsure}")
        case httpx.RemoteProtocolError() | httpx.DecodingError():
            return Garbled(
                f"the answer makes no sense ({what}): {reason}",
                f"Is that a node's HTTPS, or a proxy in between?{unsure}",
            )
        # httpx lets OpenSSL's own errors through, once the handshake is done.
        case httpx.NetworkError() | OSError() if any(_is_tls(cause) for cause in causes):
            return Garbled(
                f"what comes over the connection is not what was sent ({what}): {reason}",
                f"Try again. If it stays so, something between here and the node spoils it.{unsure}",
            )
        case httpx.NetworkError() | OSError():
            return Unreachable(f"the connection broke ({what}): {reason}", f"Try again.{unsure}")
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | httpx.LocalProtocolError() | ValueError():
            return SettingsError(f"that can't be asked of a node ({what}): {reason}", "Check its address.")
    return Unreachable(f"{what} failed: {reason}", f"Try again.{unsure}")


def _may_repeat(error: Exception, again: bool) -> bool:
    """Nothing was sent, or it may be sent twice. Who was given all the time there is gets no more."""
    if isinstance(error, httpx.ConnectError):
        return not any(_is_tls(cause) or isinstance(cause, socket.gaierror) for cause in _causes(error))
    return again and isinstance(error, httpx.RemoteProtocolError | httpx.NetworkError | ssl.SSLError)


def _is_tls(error: BaseException) -> bool:
    """An error of TLS itself, not of the connection below it."""
    return isinstance(error, ssl.SSLError) and not isinstance(
        error, ssl.SSLWantReadError | ssl.SSLWantWriteError | ssl.SSLEOFError | ssl.SSLZeroReturnError
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        this = waiting.pop()
        if this is None or id(this) in seen:
            continue
        seen.add(id(this))
        yield this
        waiting += [this.__cause__, this.__context__]
        if isinstance(this, BaseExceptionGroup):
            waiting += this.exceptions


def _reason(causes: Iterable[BaseException]) -> str:
    """The system's or OpenSSL's own words where there are any, else those of the outermost error."""
    words = ""
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            if not _is_tls(cause):
                continue
            return _printable((getattr(cause, "reason", None) or str(cause)).lower().replace("_", " "))
        if isinstance(cause, socket.gaierror):
            return _printable(cause.strerror or str(cause))
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        words = words or str(cause)
    return _printable(words) or "closed by the other side"


def _words(answer: Answer) -> str:
    text = answer.body[: 16 * _WORDS].decode("utf-8", "replace")
    try:
        value: Any = json.loads(text)
        text = str(value["message"])
    except (ValueError, RecursionError, TypeError, KeyError):
        text = re.sub(r"(?is)<(style|script)\b.*?</\1>|<[^>]*>", " ", text)
    return _printable(" ".join(text.split()))


def _printable(text: str) -> str:
    plain = "".join(sign if sign.isprintable() else "?" for sign in text)
    return plain if len(plain) <= _WORDS else f"{plain[:_WORDS]}..."


def _seconds(text: str) -> float:
    """`Retry-After` in seconds; a date, which nobody here sends, counts as none."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
