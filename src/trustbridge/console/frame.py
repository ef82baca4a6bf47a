"""What stands around every request: headers that keep browsers strict, a limit for what is sent, the reader's language,
and time taken."""

from __future__ import annotations

import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trustbridge.console.desk import Desk
from trustbridge.console.guard import ZONE_COOKIE
from trustbridge.console.words import Reader, known_zone, preferred, speaking

#: Nothing from elsewhere, nothing inline, in no frame.
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    # Not no-referrer: with that, browsers say `Origin: null` of our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "x-frame-options": "DENY",
}
HSTS: Final = "max-age=31536000"
#: Bytes that a request may have: a list of 60,000 phones is some 2 MB.
LARGEST: Final = 8 * 1024 * 1024


class Frame:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)

        async def framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out[name] = value
                if scope["scheme"] == "https":
                    out["strict-transport-security"] = HSTS
                out.setdefault("cache-control", "no-store")
                route = getattr(scope.get("route"), "path", "none")
                self._desk.metrics.answered(
                    scope["method"] if scope["method"] in _METHODS else "other",
                    route,
                    message["status"],
                    time.perf_counter() - started,
                )
            await send(message)

        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST:
            await _too_large(framed)
            return
        got = 0

        async def limited() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > LARGEST:
                raise _TooLarge
            return message

        with speaking(_reader(headers)):
            await self._app(scope, limited, framed)


_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class _TooLarge(HTTPException):
    def __init__(self) -> None:
        super().__init__(413, "What was sent is too large.")


async def _too_large(send: Send) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": 413,
            "headers": [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")],
        }
    )
    await send({"type": "http.response.body", "body": b"What was sent is too large."})


def _reader(headers: Headers) -> Reader:
    """Language and zone as the browser says, for as long as nobody has signed in who says otherwise."""
    cookies = cookie_parser(headers.get("cookie", ""))
    zone = cookies.get(ZONE_COOKIE, "")
    return Reader(
        preferred(headers.get("accept-language", "")),
        zone if known_zone(zone) else "UTC",
    )
