"""What becomes of errors: a page in words, a part of one for htmx, or JSON. Never a traceback."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trustbridge.console.accounts import NotLetIn
from trustbridge.console.guard import NeedsPassword, NeedsSignIn, NotAllowed, is_api, login_url
from trustbridge.console.live import LEAVE
from trustbridge.console.views import page
from trustbridge.console.words import N_, _, plain
from trustbridge.errors import (
    Garbled,
    InvalidInput,
    NotNow,
    Refused,
    SettingsError,
    Throttled,
    TrustbridgeError,
    Unreachable,
)

log = logging.getLogger(__name__)

#: Status by class; the first that fits. What a cluster does wrong is no fault of this server, so none is a 500.
STATUS: Final[tuple[tuple[type[TrustbridgeError], int], ...]] = (
    (NotLetIn, 403),
    (SettingsError, 422),
    (InvalidInput, 422),
    (NotNow, 409),
    (Throttled, 429),
    (Unreachable, 424),
    (Garbled, 424),
    (Refused, 424),
    (TrustbridgeError, 409),
)
_TITLES: Final = {
    401: N_("Nobody has signed in"),
    403: N_("Not allowed"),
    404: N_("There is no such page"),
    405: N_("That can't be done here"),
    409: N_("Not now"),
    413: N_("Too large"),
    422: N_("That can't be done"),
    424: N_("A system did not do its part"),
    429: N_("Too often"),
    500: N_("trustbridge itself failed"),
}


class NotThere(TrustbridgeError):
    """What an address names does not exist: 404."""


def answer(
    request: Request, status: int, message: str, hint: str = "", *, headers: dict[str, str] | None = None
) -> Response:
    """An error, as whoever asked can read it."""
    if is_api(request):
        return JSONResponse({"error": {"message": message, "hint": hint}}, status, headers)
    title = _(_TITLES.get(status, HTTPStatus(status).phrase))
    htmx = request.headers.get("hx-request") == "true"
    made = page(request, "fault_part" if htmx else "fault", status=status, title=title, message=message, hint=hint)
    made.headers.update(headers or {})
    if htmx:
        # Shown at the top of the page, whatever part was to be replaced.
        made.headers.update({"HX-Retarget": "#messages", "HX-Reswap": "innerHTML"})
    return made


def status_of(error: TrustbridgeError) -> int:
    """The status that an error is told with."""
    if isinstance(error, NotThere):
        return 404
    return next(status for kind, status in STATUS if isinstance(error, kind))


def add_handlers(app: FastAPI) -> None:
    """Have an application answer errors in words."""

    @app.exception_handler(TrustbridgeError)
    async def told(request: Request, error: TrustbridgeError) -> Response:
        return answer(request, status_of(error), error.message, error.hint)

    @app.exception_handler(NeedsSignIn)
    async def sign_in(request: Request, error: NeedsSignIn) -> Response:
        request.state.refused = True
        if is_api(request) or "authorization" in request.headers:
            return answer(
                request,
                401,
                "no valid session or API token came with the request",
                "Send Authorization: Bearer TOKEN; make one on the page of your account.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if "text/event-stream" in request.headers.get("accept", ""):
            # A page that was left open longer than its session: it is to load itself again, and comes to sign in.
            return Response(LEAVE, media_type="text/event-stream")
        where = login_url(error.back)
        if request.headers.get("hx-request") == "true":
            return Response(status_code=401, headers={"HX-Redirect": where})
        return RedirectResponse(where, 303)

    @app.exception_handler(NotAllowed)
    async def refused(request: Request, error: NotAllowed) -> Response:
        request.state.refused = True
        hint = "" if error.needed is None else _("This needs the role %(role)s.", role=_(error.needed))
        return answer(request, 403, _(error.why), hint)

    @app.exception_handler(NeedsPassword)
    async def password(request: Request, error: NeedsPassword) -> Response:
        request.state.refused = True
        if is_api(request):
            return answer(request, 403, "the password of this user has to be changed first", "Sign in with a browser.")
        return RedirectResponse("/account", 303)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        faults = "; ".join(
            f"{'.'.join(str(one) for one in fault['loc'][1:])}: {fault['msg']}" for fault in error.errors()
        )
        return answer(request, 422, faults or "the request can't be understood")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        return answer(request, error.status_code, str(error.detail), headers=headers)


class Faults:
    """Innermost middleware: a fault of the program is answered within the frame, and written into the audit.

    An exception handler of Starlette for it would stand outside of both.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            request = Request(scope, receive)
            log.error("%s %s failed", request.method, request.url.path, exc_info=error)
            hint = plain("This is a fault of the program. The server's log shows what happened.")
            await answer(request, 500, type(error).__name__, hint)(scope, receive, send)
