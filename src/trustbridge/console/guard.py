"""Who asks, and whether they may. Every route but a few has one of these as a parameter:

    def show(request: Request, who: Viewer) -> Response: ...
    async def act(request: Request, who: Operator) -> Response: ...

A route that has none makes `create_app` fail, unless it is in `PUBLIC`.

What changes something and comes by cookie needs more: it has to come from a page of ours (Sec-Fetch-Site or Origin),
and to bring the token of its session, as a field `csrf` or a header X-CSRF-Token. A bearer token is sent on purpose,
and needs none.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from trustbridge.console import words
from trustbridge.console.desk import Desk
from trustbridge.storage.people import PersonRecord, Role

#: Methods that change nothing.
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: Cookie of the browser's zone, which a script sets.
ZONE_COOKIE: Final = "tb_zone"


class NeedsSignIn(Exception):
    """Nobody has signed in. `back` is where to go after that."""

    def __init__(self, back: str) -> None:
        super().__init__("nobody has signed in")
        self.back = back


class NotAllowed(Exception):
    """Somebody may not do that. `why` is for people; `needed` the role that may."""

    def __init__(self, why: str, needed: Role | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.needed = needed


class NeedsPassword(Exception):
    """Somebody has to change the password before anything else."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever asks.

    Attributes:
        record: the user; of a token, its owner.
        role: what may be done now; of a token, its own.
        token: the API token's name; "" for somebody at a browser.
        session: id of the session; 0 for a token.
        csrf: what forms of this session have to bring; "" for a token.
    """

    record: PersonRecord
    role: Role
    token: str = ""
    session: int = 0
    csrf: str = ""

    @property
    def id(self) -> int:
        """The user's."""
        return self.record.id

    @property
    def name(self) -> str:
        """The user's."""
        return self.record.name

    def may(self, role: Role | str) -> bool:
        """Whether somebody of that role may, whoever asks may."""
        return self.role.covers(Role(role))


def the_desk(request: Request) -> Desk:
    """What requests need."""
    desk: Desk = request.app.state.desk
    return desk


DeskHere = Annotated[Desk, Depends(the_desk)]


def cookie_name(request: Request, what: str) -> str:
    """A cookie's name. Over HTTPS the browser itself sees to it that no other host or path has set it."""
    return f"__Host-{what}" if request.url.scheme == "https" else what


SESSION, VISIT = "trustbridge", "trustbridge-visit"


def set_cookie(request: Request, response: Response, what: str, value: str) -> None:
    """Set one that scripts don't see; it goes with the browser's session."""
    response.set_cookie(
        cookie_name(request, what), value, path="/", secure=request.url.scheme == "https", httponly=True, samesite="lax"
    )


def delete_cookie(request: Request, response: Response, what: str) -> None:
    """Have the browser forget it."""
    response.delete_cookie(
        cookie_name(request, what), path="/", secure=request.url.scheme == "https", httponly=True, samesite="lax"
    )


def csrf_of(token: str) -> str:
    """The token for forms that belongs to a cookie's: whoever does not have the cookie can't tell it."""
    return hmac.new(token.encode("utf-8", "surrogatepass"), b"csrf", hashlib.sha256).hexdigest()


def address_of(request: Request) -> str:
    """Where it comes from, as the socket says. What a header says of it is not believed."""
    return request.client.host if request.client is not None else ""


def is_api(request: Request) -> bool:
    """Whether an answer is read by a program."""
    return request.url.path.startswith("/api/")


def from_here(request: Request) -> bool:
    """Whether a page of ours has sent it."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return False
    sent = urlsplit(origin)
    return (sent.scheme, sent.netloc) == (request.url.scheme, request.headers.get("host", ""))


async def check_csrf(request: Request, cookie: str) -> None:
    """Whether a request by cookie may change something.

    Raises:
        NotAllowed: another site sent it, or it lacks the token.
    """
    if not from_here(request):
        raise NotAllowed(words.N_("The request did not come from a page of this console."))
    sent = request.headers.get("x-csrf-token")
    if sent is None and request.headers.get("content-type", "").partition(";")[0].strip() in _FORMS:
        found = (await request.form()).get("csrf")
        sent = None if isinstance(found, UploadFile) else found
    if not cookie or sent is None or not secrets.compare_digest(sent.encode(), csrf_of(cookie).encode()):
        raise NotAllowed(words.N_("The form is not one of this session, or is too old. Load the page again."))


_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


class Guard:
    """Lets those in who have a role.

    Args:
        needed: the least role.
        new_password: also those who have to change their password first.
        touch: a session lasts longer for this; not for what a page asks of itself.
    """

    def __init__(self, needed: Role, *, new_password: bool = False, touch: bool = True) -> None:
        self.needed = needed
        self._new_password = new_password
        self._touch = touch

    async def __call__(self, request: Request, desk: DeskHere) -> Person:
        """Whoever asks.

        Raises:
            NeedsSignIn, NotAllowed, NeedsPassword: not so.
        """
        who = await self._who(request, desk)
        request.state.person = who
        words.read_by(who.record.language, who.record.zone)
        if request.method not in SAFE and not who.token:
            await check_csrf(request, request.cookies.get(cookie_name(request, SESSION), ""))
        if not who.may(self.needed):
            raise NotAllowed(words.N_("You may look at this, and not change it."), self.needed)
        if who.record.must_change and not self._new_password and not who.token:
            raise NeedsPassword
        return who

    async def _who(self, request: Request, desk: Desk) -> Person:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.casefold() == "bearer":
            token = await run_in_threadpool(desk.accounts.token, given.strip())
            if token is None:
                raise NeedsSignIn("")
            role = min(token.role, token.person.role, key=lambda one: one.rank)
            return Person(token.person, role, token=token.name)
        cookie = request.cookies.get(cookie_name(request, SESSION), "")
        session = await run_in_threadpool(desk.accounts.session, cookie, touch=self._touch) if cookie else None
        if session is None:
            raise NeedsSignIn(_back(request))
        return Person(session.person, session.person.role, session=session.id, csrf=csrf_of(cookie))


def _back(request: Request) -> str:
    """Where somebody was, or was going."""
    if request.headers.get("hx-request") == "true" or request.method not in SAFE:
        seen = urlsplit(request.headers.get("hx-current-url") or request.headers.get("referer") or "/")
        return safe_path(seen.path + (f"?{seen.query}" if seen.query else ""))
    return safe_path(request.url.path + (f"?{request.url.query}" if request.url.query else ""))


def safe_path(path: str) -> str:
    """A path of ours, or / where it is none: nobody is sent elsewhere."""
    fine = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if fine else "/"


def login_url(back: str) -> str:
    """Where one signs in, and is sent back from."""
    return "/login" if back in ("", "/") else f"/login?next={quote(back, safe='/')}"


Viewer = Annotated[Person, Depends(Guard(Role.VIEWER))]
Operator = Annotated[Person, Depends(Guard(Role.OPERATOR))]
Administrator = Annotated[Person, Depends(Guard(Role.ADMINISTRATOR))]
#: What everybody may do with their own account: also a viewer, and before a password was changed that has to be.
Self = Annotated[Person, Depends(Guard(Role.VIEWER, new_password=True))]
#: What a page asks of itself.
Unwatched = Annotated[Person, Depends(Guard(Role.VIEWER, touch=False))]
