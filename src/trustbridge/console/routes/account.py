"""One's own account: password, language and zone, sessions, API tokens."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from trustbridge.console import words
from trustbridge.console.api.numbers import Number
from trustbridge.console.auditing import audited
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Person, Self, address_of
from trustbridge.console.views import done, page
from trustbridge.console.words import LANGUAGES, _, known_zone, plain
from trustbridge.errors import SettingsError
from trustbridge.storage.people import Role

router = APIRouter()

Typed = Annotated[str, Form(max_length=300)]


def _page(request: Request, desk: DeskHere, who: Person, made: dict[str, str] | None = None) -> Response:
    people = desk.accounts.people
    return page(
        request,
        "account",
        sessions=people.sessions_of(who.id),
        tokens=people.tokens_of(who.id),
        zones=words.zones(),
        now=desk.now(),
        made=made,
    )


@router.get("/account")
def account(request: Request, desk: DeskHere, who: Self) -> Response:
    return _page(request, desk, who)


@router.post("/account/password")
async def password(
    request: Request, desk: DeskHere, who: Self, old: Typed = "", new: Typed = "", again: Typed = ""
) -> Response:
    audited(request, "user.password", who.name)
    _at_a_browser(who)
    if new != again:
        raise SettingsError(plain("the two passwords are not the same"), plain("Type the new one twice."))
    await run_in_threadpool(desk.accounts.change_password, who.name, address_of(request), old, new, keep=who.session)
    return done(request, "/account", _("The password is changed. Other sessions have ended."))


@router.post("/account/preferences")
def preferences(request: Request, desk: DeskHere, who: Self, language: Typed = "", zone: Typed = "") -> Response:
    audited(request, "user.preferences", who.name, language=language, zone=zone)
    if language and language not in LANGUAGES:
        raise SettingsError(plain("that language is not known here"))
    if zone and not known_zone(zone):
        raise SettingsError(plain("there is no such time zone"))
    desk.accounts.people.prefer(who.id, language=language, zone=zone)
    words.read_by(language, zone)
    return done(request, "/account", _("Language and time zone are kept."))


@router.post("/account/sessions/end")
def end_sessions(request: Request, desk: DeskHere, who: Self) -> Response:
    audited(request, "session.end others", who.name)
    desk.accounts.people.end_others(who.id, who.session)
    return done(request, "/account", _("Your other sessions have ended."))


@router.post("/account/tokens")
def make_token(
    request: Request, desk: DeskHere, who: Self, name: Typed = "", role: Typed = "viewer", days: Typed = "90"
) -> Response:
    """The answer itself shows the token: it is shown once, and kept nowhere."""
    audited(request, "token.make", name[:63], role=role, days=days)
    _at_a_browser(who)
    if role not in list(Role):
        raise SettingsError(plain("there is no such role"))
    _number, text = desk.accounts.make_token(who.record, name, Role(role), expiry(desk.now(), days))
    return _page(request, desk, who, made={"name": name, "text": text})


@router.post("/account/tokens/{number}/revoke")
def revoke_token(request: Request, desk: DeskHere, who: Self, number: Number) -> Response:
    audited(request, "token.revoke", str(number))
    found = desk.accounts.people.revoke_token(number, owner=who.id, now=desk.now())
    if found is None:
        raise NotThere(plain("you have no such token"))
    audited(request, "token.revoke", found.name)
    return done(request, "/account", _("The token %(name)s lets nobody in any more.", name=found.name))


def expiry(now: datetime, days: str) -> datetime | None:
    """When a token ends: so many days from now, at the end of the reader's day; "" never.

    Raises:
        SettingsError: that is no number of days.
    """
    if not days.strip():
        return None
    if not days.strip().isdecimal() or not 0 < int(days.strip()) <= 3650:
        raise SettingsError(plain("a token holds for 1 to 3650 days, or, with nothing there, until it is revoked"))
    zone = ZoneInfo(words.reader().zone)
    return datetime.combine((now + timedelta(days=int(days.strip()))).astimezone(zone).date(), time.max, zone)


def _at_a_browser(who: Person) -> None:
    """A token changes no password and makes no token: whoever finds one, has no more than it.

    Raises:
        SettingsError: it is one.
    """
    if who.token:
        raise SettingsError(plain("an API token can't do that"), plain("Sign in with a browser."))
