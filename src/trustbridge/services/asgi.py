"""What a node's applications over HTTPS share: whole requests in, whole answers out, HTTP Basic, which path is whose.

An application here is plain ASGI; `application` makes one from a coroutine function of values, so that what answers is
tested without a socket.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from urllib.parse import parse_qsl

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Bytes of a request's body. A whole cluster's certificates are some hundred kilobytes.
MAX_BODY = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read to its end.

    Attributes:
        path: decoded, as the client sent it.
        query: the first value of each name.
        headers: names in lower case; of repeated ones, the last.
        user: who asks, as HTTP Basic has shown; "" where nobody was asked to.
        body: at most as long as `application` lets in.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; its length goes without saying."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_json(cls, value: object, status: int = 200) -> Response:
        """A value as JSON."""
        return cls(status, json.dumps(value).encode(), "application/json")


class Access(Enum):
    """What an account may do here."""

    GRANTED = auto()
    UNKNOWN = auto()  # no such user, or another password: 401
    NO_RIGHT = auto()  # right password, not allowed this: 403


Endpoint = Callable[[Request], Awaitable[Response]]
#: Tells what user and password are good for; compares in constant time.
Check = Callable[[str, str], Access]


def application(endpoint: Endpoint, *, check: Check, realm: str, max_body: int = MAX_BODY) -> App:
    """An application that asks for user and password first, and reads a body only of those it knows.

    Args:
        endpoint: answers; what it raises becomes 500, with nothing of it shown.
        check: whom to let in.
        realm: of the 401's `WWW-Authenticate`.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        user, password = basic_credentials(headers.get("authorization", ""))
        match check(user, password):
            case Access.UNKNOWN:
                response = _unauthorized(realm)
            case Access.NO_RIGHT:
                response = Response(403, b"Access to the requested resource has been denied\n")
            case Access.GRANTED:
                body = await _body(receive, max_body)
                if body is None:
                    response = Response(413, b"Request entity too large\n", headers=(("connection", "close"),))
                else:
                    query = dict(reversed(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)))
                    response = await _answered(
                        endpoint, Request(scope["method"], scope["path"], query, headers, user, body)
                    )
        await respond(send, response)

    return app


async def _answered(endpoint: Endpoint, request: Request) -> Response:
    try:
        return await endpoint(request)
    except Exception:  # whatever it is, the node goes on
        _log.exception("%s %s", request.method, request.path)
        return Response(500, b"Internal Server Error\n")


def _unauthorized(realm: str) -> Response:
    return Response(
        401,
        b"This request requires HTTP authentication\n",
        headers=(("www-authenticate", f'Basic realm="{realm}"'),),
    )


def by_prefix(apps: Mapping[str, App]) -> App:
    """One application of several: the longest prefix of the path decides, else it is 404.

    Args:
        apps: prefix, without a slash at its end, and whose it is.
    """
    ordered = sorted(apps.items(), key=lambda item: len(item[0]), reverse=True)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        for prefix, chosen in ordered:
            if path == prefix or path.startswith(f"{prefix}/"):
                await chosen(scope, receive, send)
                return
        await respond(send, Response(404, b"The requested resource is not available\n"))

    return app


def basic_credentials(header: str) -> tuple[str, str]:
    """User and password of an `Authorization` header; two empty strings when it holds none. Total on any text."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        raw = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return "", ""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    user, colon, password = text.partition(":")
    return (user, password) if colon else ("", "")


async def respond(send: Send, response: Response) -> None:
    """Send an answer."""
    headers = [
        (b"content-type", response.content_type.encode("latin-1")),
        (b"content-length", str(len(response.body)).encode()),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers),
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _body(receive: Receive, limit: int) -> bytes | None:
    """The whole body; None when it is longer than `limit`."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)  # the client has left: nobody will read the answer
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > limit:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)
