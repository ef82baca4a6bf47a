"""Who is let in: passwords with Argon2id, sessions that expire, tokens for scripts, and too many wrong passwords."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from argon2 import Parameters, PasswordHasher, profiles
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type
from sqlalchemy import Engine

from trustbridge.console.words import plain
from trustbridge.errors import AuthenticationRefused, NotNow, SettingsError, Throttled
from trustbridge.storage.people import People, PersonRecord, Role, SessionRecord, TokenRecord

#: Argon2id with 64 MiB, three passes and four lanes: RFC 9106, section 4, the second recommended choice.
HASHING: Final = profiles.RFC_9106_LOW_MEMORY
#: A session ends when it was not used for so long, and in any case after so long.
IDLE: Final = timedelta(minutes=30)
LONGEST: Final = timedelta(hours=12)
#: That a session or a token is used is written down this seldom: a write for every page would cost more than the page.
_TOUCH: Final = timedelta(minutes=1)
#: Attempts to sign in that may fail within so long, with one name and from one address.
WINDOW: Final = timedelta(minutes=15)
OF_NAME: Final = 5
OF_ADDRESS: Final = 20
#: Length of a password. What matters is how hard it is to guess: a longer one, rather than odd characters.
SHORTEST, LONGEST_PASSWORD = 12, 256
#: How API tokens begin, so that one that leaked can be found by who looks for such things.
TOKEN_PREFIX: Final = "tbt_"  # noqa: S105 - not a secret
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
#: Passwords that are hashed at the same time: each takes 64 MiB.
_AT_ONCE: Final = 2


class NotLetIn(AuthenticationRefused):
    """A name, password or token of the console is wrong; no cluster has said so."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody who was let in, and the token for the cookie."""

    person: PersonRecord
    token: str


class Accounts:
    """People and what lets them in.

    Args:
        now: the time, with its zone.
        hashing: parameters of Argon2id; tests take cheap ones.
    """

    def __init__(self, engine: Engine, now: Callable[[], datetime], hashing: Parameters = HASHING) -> None:
        if hashing.type is not Type.ID:
            raise ValueError("passwords are hashed with Argon2id")
        self.people = People(engine)
        self._now = now
        self._hasher = PasswordHasher.from_parameters(hashing)
        self._gate = threading.BoundedSemaphore(_AT_ONCE)
        # Somebody who is not known takes as long as somebody who is.
        self._nobody = self._hash(secrets.token_urlsafe(16))

    # Passwords.

    def _hash(self, password: str) -> str:
        with self._gate:
            return self._hasher.hash(password)

    def _right(self, hashed: str, password: str) -> bool:
        with self._gate:
            try:
                return self._hasher.verify(hashed, password)
            except (VerificationError, InvalidHashError):
                return False

    @staticmethod
    def check_password(password: str, name: str) -> None:
        """Whether somebody may have it.

        Raises:
            SettingsError: it is too short or too long, or too easy to guess.
        """
        if not SHORTEST <= len(password) <= LONGEST_PASSWORD:
            raise SettingsError(
                plain("a password has %(least)s to %(most)s characters", least=SHORTEST, most=LONGEST_PASSWORD),
                plain("A few words are fine."),
            )
        if name.casefold() in password.casefold() or len(set(password)) < 5:
            raise SettingsError(plain("that password is easy to guess"), plain("Take some words that do not name you."))

    @staticmethod
    def check_name(name: str) -> None:
        """Whether somebody can be called that.

        Raises:
            SettingsError: not so.
        """
        if not _NAME.fullmatch(name):
            raise SettingsError(
                plain("%(name)s can't be a user's name", name=repr(name)),
                plain("It has at the most 63 letters, digits, dots, -, _ and @."),
            )

    def add(
        self, name: str, role: Role, password: str, *, must_change: bool = False, first: bool = False
    ) -> PersonRecord:
        """Add somebody.

        Raises:
            SettingsError: the name or the password won't do, or the name is taken.
            NotNow: `first`, and there is somebody already.
        """
        self.check_name(name)
        self.check_password(password, name)
        hashed = self._hash(password)
        return self.people.add(name, role, hashed, now=self._now(), must_change=must_change, first=first)

    def reset_password(self, person: PersonRecord, password: str) -> None:
        """Give somebody another password, who has to change it at the next sign-in, and is signed out everywhere.

        Raises:
            SettingsError: the password won't do.
        """
        self.check_password(password, person.name)
        self.people.set_password(person.id, self._hash(password), now=self._now(), must_change=True)

    def change_password(self, name: str, address: str, old: str, new: str, *, keep: int) -> None:
        """Change one's own password; every other session ends.

        Raises:
            NotLetIn: the old one is wrong.
            Throttled: it was wrong too often.
            SettingsError: the new one won't do.
        """
        self.check_password(new, name)
        if old == new:
            raise SettingsError(plain("the new password is the old one"), plain("Take another one."))
        person = self._checked(name, address, old)
        self.people.set_password(person.id, self._hash(new), now=self._now(), must_change=False, keep=keep)

    # Signing in.

    def sign_in(self, name: str, password: str, address: str) -> SignedIn:
        """Let somebody in; the session's token is new each time.

        Raises:
            NotLetIn: name or password is wrong, or the user is disabled. Which of them, nobody is told.
            Throttled: too many attempts have failed, with this name or from this address.
        """
        person = self._checked(name, address, password)
        token = secrets.token_urlsafe(32)
        now = self._now()
        self.people.sweep(created=now - LONGEST, seen=now - IDLE, attempts=now - WINDOW)
        self.people.begin_session(person.id, token, address, now=now)
        return SignedIn(person, token)

    def _checked(self, name: str, address: str, password: str) -> PersonRecord:
        now = self._now()
        oldest = self.people.attempt(name, address, now=now, since=now - WINDOW, of_name=OF_NAME, of_address=OF_ADDRESS)
        if oldest is not None:
            minutes = max(1, -(-int((oldest + WINDOW - now).total_seconds()) // 60))
            raise Throttled(
                plain("too many attempts to sign in have failed"), plain("Wait %(minutes)s min.", minutes=minutes)
            )
        found = self.people.hash_of(name)
        right = self._right(self._nobody if found is None else found[1], password[: LONGEST_PASSWORD + 1])
        if found is None or not right or found[0].disabled:
            raise NotLetIn(plain("name or password is wrong"), plain("Capital letters count."))
        self.people.succeeded(name, address)
        if self._hasher.check_needs_rehash(found[1]):
            self.people.rehash(found[0].id, self._hash(password))
        return found[0]

    def session(self, token: str, *, touch: bool = True) -> SessionRecord | None:
        """The session of a cookie, unless it has expired or its owner is disabled.

        Args:
            touch: it is used by a person, and lasts longer for that; a page that refreshes itself is not.
        """
        found = self.people.session(token)
        now = self._now()
        if found is None or found.person.disabled or now - found.created_at >= LONGEST or now - found.seen_at >= IDLE:
            return None
        if touch and now - found.seen_at >= _TOUCH:
            self.people.touch_session(found.id, now=now)
        return found

    # Tokens.

    def make_token(self, owner: PersonRecord, name: str, role: Role, expires: datetime | None) -> tuple[int, str]:
        """Make an API token; its id, and its text, which nobody can be told again.

        Raises:
            SettingsError: it has no name, it may more than its owner, or has expired.
        """
        name = " ".join(name.split())
        if not name or len(name) > 63 or not name.isprintable():
            raise SettingsError(
                plain("a token needs a name of at the most 63 characters"), plain("Such as what uses it.")
            )
        if not owner.role.covers(role):
            raise SettingsError(plain("a token of yours can't have a role that you do not have"))
        if expires is not None and expires <= self._now():
            raise SettingsError(plain("the token would have expired already"), plain("Name a later day."))
        text = TOKEN_PREFIX + secrets.token_urlsafe(32)
        return self.people.add_token(owner.id, name, text, role, expires, now=self._now()), text

    def token(self, text: str) -> TokenRecord | None:
        """An API token, unless it was revoked, has expired, or its owner is disabled."""
        found = self.people.token(text)
        now = self._now()
        if found is None or not found.holds(now) or found.person.disabled:
            return None
        if found.used_at is None or now - found.used_at >= _TOUCH:
            self.people.touch_token(found.id, now=now)
        return found


class Setup:
    """The one-time token that makes the first administrator. Worth nothing as soon as there is anybody."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self.token = secrets.token_urlsafe(24)

    def wanted(self) -> bool:
        """Whether there is nobody yet."""
        return self._accounts.people.none_yet()

    def first(self, token: str, name: str, password: str) -> PersonRecord:
        """Make the first administrator.

        Raises:
            NotLetIn: that is not the token.
            NotNow: there is somebody already.
            SettingsError: name or password won't do.
        """
        if not secrets.compare_digest(token.encode("utf-8", "replace"), self.token.encode()):
            if not self.wanted():
                raise NotNow(plain("the console is set up already: it has users"), plain("Sign in."))
            raise NotLetIn(
                plain("this is not the set-up token"),
                plain("trustbridge serve printed it; each start makes a new one."),
            )
        return self._accounts.add(name, Role.ADMINISTRATOR, password, first=True)
