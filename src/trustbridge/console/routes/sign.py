"""Signing in and out, and the first administrator."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from trustbridge.console.accounts import NotLetIn
from trustbridge.console.auditing import audited
from trustbridge.console.faults import status_of
from trustbridge.console.guard import (
    SESSION,
    VISIT,
    DeskHere,
    Self,
    address_of,
    check_csrf,
    cookie_name,
    csrf_of,
    delete_cookie,
    safe_path,
    set_cookie,
)
from trustbridge.console.views import page
from trustbridge.console.words import plain
from trustbridge.errors import SettingsError, TrustbridgeError
from trustbridge.storage.audit import Outcome

router = APIRouter()

Typed = Annotated[str, Form(max_length=300)]


def _visited(request: Request, template: str, *, status: int = 200, **values: object) -> Response:
    """A page with a form for somebody who has no session: the form belongs to a cookie all the same."""
    visit = request.cookies.get(cookie_name(request, VISIT), "")
    fresh = not visit
    visit = visit or secrets.token_urlsafe(24)
    answer = page(request, template, status=status, **(values | {"csrf": csrf_of(visit)}))
    if fresh:
        set_cookie(request, answer, VISIT, visit)
    return answer


@router.get("/login")
def login(request: Request, desk: DeskHere, next: str = "/") -> Response:
    if desk.setup.wanted():
        return _visited(request, "setup", token="", name="", error=None)
    return _visited(request, "login", next=safe_path(next), name="", error=None)


@router.post("/login")
async def sign_in(
    request: Request, desk: DeskHere, name: Typed = "", password: Typed = "", next: Typed = "/"
) -> Response:
    await check_csrf(request, request.cookies.get(cookie_name(request, VISIT), ""))
    name = name.strip()
    audited(request, "sign in", name[:63], who=name[:63])
    try:
        found = await run_in_threadpool(desk.accounts.sign_in, name, password, address_of(request))
    except TrustbridgeError as error:
        status = 401 if isinstance(error, NotLetIn) else status_of(error)
        return _visited(request, "login", status=status, next=safe_path(next), name=name, error=error)
    answer = RedirectResponse(safe_path(next), 303)
    old = request.cookies.get(cookie_name(request, SESSION), "")
    if old:
        await run_in_threadpool(desk.accounts.people.end_session, old)
    set_cookie(request, answer, SESSION, found.token)
    delete_cookie(request, answer, VISIT)
    return answer


@router.post("/logout")
def sign_out(request: Request, desk: DeskHere, who: Self) -> Response:
    audited(request, "sign out", who.name)
    desk.accounts.people.end_session(request.cookies.get(cookie_name(request, SESSION), ""))
    answer = RedirectResponse("/login", 303)
    delete_cookie(request, answer, SESSION)
    answer.headers["clear-site-data"] = '"cache"'
    return answer


@router.get("/setup")
def setup(request: Request, desk: DeskHere, token: str = "") -> Response:
    if not desk.setup.wanted():
        return RedirectResponse("/login", 303)
    return _visited(request, "setup", token=token, name="", error=None)


@router.post("/setup")
async def first(
    request: Request, desk: DeskHere, token: Typed = "", name: Typed = "", password: Typed = "", again: Typed = ""
) -> Response:
    await check_csrf(request, request.cookies.get(cookie_name(request, VISIT), ""))
    name = name.strip()
    audited(request, "set up", name[:63], who=name[:63])
    try:
        if password != again:
            raise SettingsError(plain("the two passwords are not the same"))
        await run_in_threadpool(desk.setup.first, token.strip(), name, password)
    except TrustbridgeError as error:
        audited(request, "set up", name[:63], outcome=Outcome.REFUSED)
        if not await run_in_threadpool(desk.setup.wanted):
            raise
        return _visited(request, "setup", status=status_of(error), token=token, name=name, error=error)
    found = await run_in_threadpool(desk.accounts.sign_in, name, password, address_of(request))
    answer = RedirectResponse("/", 303)
    set_cookie(request, answer, SESSION, found.token)
    delete_cookie(request, answer, VISIT)
    return answer
