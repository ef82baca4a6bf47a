"""Users, for administrators."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from trustbridge.console.api.numbers import Number
from trustbridge.console.auditing import audited
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import Administrator, DeskHere
from trustbridge.console.views import done, page
from trustbridge.console.words import _, plain
from trustbridge.errors import SettingsError
from trustbridge.storage.people import PersonRecord, Role

router = APIRouter()

Typed = Annotated[str, Form(max_length=300)]


def _page(request: Request, desk: DeskHere, made: dict[str, str] | None = None) -> Response:
    people = desk.accounts.people
    return page(request, "users", people=people.all(), tokens=people.tokens_of(), now=desk.now(), made=made)


@router.get("/users")
def users(request: Request, desk: DeskHere, who: Administrator) -> Response:
    return _page(request, desk)


@router.post("/users")
def add(request: Request, desk: DeskHere, who: Administrator, name: Typed = "", role: Typed = "viewer") -> Response:
    """The answer itself shows the first password: it is shown once, and has to be changed at the first sign-in."""
    audited(request, "user.add", name.strip()[:63], role=role)
    given = first_password()
    found = desk.accounts.add(name.strip(), known_role(role), given, must_change=True)
    return _page(request, desk, {"name": found.name, "text": given})


@router.post("/users/{number}")
def change(
    request: Request,
    desk: DeskHere,
    who: Administrator,
    number: Number,
    role: Typed = "",
    state: Typed = "active",
) -> Response:
    person = _known(desk, number)
    audited(request, "user.change", person.name, role=role, state=state)
    desk.accounts.people.change(number, role=known_role(role), disabled=state == "disabled", now=desk.now())
    return done(request, "/users", _("%(name)s is changed.", name=person.name))


@router.post("/users/{number}/password")
def reset(request: Request, desk: DeskHere, who: Administrator, number: Number) -> Response:
    person = _known(desk, number)
    audited(request, "user.reset password", person.name)
    given = first_password()
    desk.accounts.reset_password(person, given)
    return _page(request, desk, {"name": person.name, "text": given})


@router.post("/users/tokens/{number}/revoke")
def revoke(request: Request, desk: DeskHere, who: Administrator, number: Number) -> Response:
    found = desk.accounts.people.revoke_token(number, owner=None, now=desk.now())
    if found is None:
        raise NotThere(plain("there is no such token"))
    audited(request, "token.revoke", f"{found.name} of {found.person.name}")
    return done(request, "/users", _("The token %(name)s lets nobody in any more.", name=found.name))


def first_password() -> str:
    """One that nobody guesses, and that can be read out."""
    return "-".join(secrets.token_hex(3) for _number in range(4))


def known_role(role: str) -> Role:
    """A role by its name.

    Raises:
        SettingsError: there is none of that name.
    """
    try:
        return Role(role)
    except ValueError:
        raise SettingsError(plain("there is no such role")) from None


def _known(desk: DeskHere, number: int) -> PersonRecord:
    found = desk.accounts.people.get(number)
    if found is None:
        raise NotThere(plain("there is no such user"))
    return found
