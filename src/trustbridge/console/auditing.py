"""Everything that may change something is written down, also what was refused: once, when it is known how it ended.

    audited(request, "campaign.pause", campaign.name, wave=wave)

A route says what it does; one that says nothing is written as its method and path. The entry is written before the
answer leaves.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trustbridge.console.desk import Desk
from trustbridge.console.guard import SAFE, Person, address_of
from trustbridge.errors import TrustbridgeError
from trustbridge.storage.audit import NewAudit, Outcome

log = logging.getLogger(__name__)

#: Answers to those who may not.
_REFUSED: Final = frozenset({401, 403, 429})


@dataclass(slots=True)
class Deed:
    """What a request does."""

    action: str = ""
    object: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None
    who: str = ""


def audited(
    request: Request,
    action: str,
    object: str = "",
    *,
    outcome: Outcome | None = None,
    who: str = "",
    **details: Any,
) -> None:
    """Say what a request does; the last word counts, details add up.

    Args:
        action: such as "campaign.pause".
        object: what it is done to.
        outcome: where the answer does not tell.
        who: where nobody has signed in.
        details: JSON; never a password, a token or a key.
    """
    deed = deed_of(request)
    deed.action, deed.object = action, object
    deed.outcome = outcome or deed.outcome
    deed.who = who or deed.who
    deed.details |= details


def deed_of(request: Request) -> Deed:
    """What was said so far."""
    state = request.scope.setdefault("state", {})
    found: Deed = state.setdefault("deed", Deed())
    return found


class AuditEverything:
    """Middleware that writes the entry."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        deed_of(request)

        async def written(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._write(request, message["status"])
            await send(message)

        await self._app(scope, receive, written)

    async def _write(self, request: Request, status: int) -> None:
        deed = deed_of(request)
        state = request.scope["state"]
        person: Person | None = state.get("person")
        if person is None and not deed.action and status == 404:
            return  # nothing there, and nobody known: noise of scanners
        outcome = deed.outcome
        if state.get("refused") or status in _REFUSED:
            outcome = Outcome.REFUSED
        elif outcome is None:
            outcome = Outcome.DONE if status < 400 else Outcome.FAILED
        route = getattr(request.scope.get("route"), "path", request.url.path)
        entry = NewAudit(
            at=self._desk.now(),
            who=person.name if person is not None else deed.who,
            token=person.token if person is not None else "",
            address=address_of(request),
            action=deed.action or f"{request.method} {route}",
            object=deed.object or ("" if deed.action else request.url.path),
            outcome=outcome,
            details=deed.details,
        )
        try:
            await run_in_threadpool(self._desk.audit.add, entry)
        except TrustbridgeError as error:
            log.error("not in the audit: %s %s by %s: %s", entry.action, entry.object, entry.who, error)
