"""People of the console, their sessions, their tokens, and attempts to sign in: what the database keeps of them.

Passwords come here as hashes; of tokens only SHA-256 is kept, which is enough for 256 random bits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Engine, Select, delete, func, select, text, update
from sqlalchemy.exc import IntegrityError

from trustbridge.errors import NotNow, SettingsError
from trustbridge.storage.database import reading, writing
from trustbridge.storage.models import ApiToken, LoginAttempt, Person, SignedIn

#: Advisory lock of PostgreSQL under which the first user is made; see `database._UPGRADE_LOCK`.
_FIRST_LOCK = 0x7B05A12


class Role(StrEnum):
    """What somebody may do: each of them all that those before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"

    @property
    def rank(self) -> int:
        """Higher for who may more."""
        return list(Role).index(self)

    def covers(self, other: Role) -> bool:
        """Whether whoever has this role may do what that one may."""
        return self.rank >= other.rank


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """Somebody who may use the console, see `models.Person`; without the hash of the password."""

    id: int
    name: str
    role: Role
    disabled: bool
    must_change: bool
    language: str
    zone: str
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session, see `models.SignedIn`, and whose it is."""

    id: int
    person: PersonRecord
    address: str
    created_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An API token, see `models.ApiToken`, and whose it is."""

    id: int
    person: PersonRecord
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None

    def holds(self, now: datetime) -> bool:
        """Whether it still lets anybody in."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def digest(token: str) -> str:
    """What the database keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class People:
    """All of a database. Every method raises `Unreachable` or `Refused` when the database does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # People.

    def none_yet(self) -> bool:
        """Whether there is nobody: only then may somebody be made without being let in by another."""
        with reading(self._engine) as session:
            return session.scalar(select(Person.id).limit(1)) is None

    def all(self) -> list[PersonRecord]:
        """Everybody, by name."""
        with reading(self._engine) as session:
            return [_person(row) for row in session.scalars(select(Person).order_by(Person.name))]

    def get(self, number: int) -> PersonRecord | None:
        """One of them."""
        with reading(self._engine) as session:
            row = session.get(Person, number)
            return None if row is None else _person(row)

    def hash_of(self, name: str) -> tuple[PersonRecord, str] | None:
        """Somebody, and the hash of the password."""
        with reading(self._engine) as session:
            row = session.scalar(select(Person).where(Person.name == name))
            return None if row is None else (_person(row), row.password)

    def add(
        self, name: str, role: Role, password: str, *, now: datetime, must_change: bool = False, first: bool = False
    ) -> PersonRecord:
        """Add somebody.

        Args:
            password: its hash.
            first: only while there is nobody.

        Raises:
            SettingsError: the name is taken.
            NotNow: `first`, and there is somebody.
        """
        try:
            with writing(self._engine) as session:
                if first:
                    if session.get_bind().dialect.name == "postgresql":
                        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _FIRST_LOCK})
                    if session.scalar(select(Person.id).limit(1)) is not None:
                        raise NotNow("the console is set up already: it has users", "Sign in.")
                row = Person(
                    name=name,
                    role=role,
                    password=password,
                    disabled=False,
                    must_change=must_change,
                    language="",
                    zone="",
                    created_at=now,
                    changed_at=now,
                )
                session.add(row)
                session.flush()
                return _person(row)
        except Exception as error:
            if isinstance(error.__cause__, IntegrityError):
                raise SettingsError(f"there is a user {name} already", "Choose another name.") from None
            raise

    def set_password(self, number: int, password: str, *, now: datetime, must_change: bool, keep: int = 0) -> None:
        """Keep the hash of a new password, and end somebody's sessions: whoever has the old one is out.

        Args:
            keep: id of the session that stays.
        """
        with writing(self._engine) as session:
            session.execute(
                update(Person)
                .where(Person.id == number)
                .values(password=password, must_change=must_change, changed_at=now)
            )
            session.execute(delete(SignedIn).where(SignedIn.person_id == number, SignedIn.id != keep))

    def rehash(self, number: int, password: str) -> None:
        """Keep another hash of the same password."""
        with writing(self._engine) as session:
            session.execute(update(Person).where(Person.id == number).values(password=password))

    def prefer(self, number: int, *, language: str, zone: str) -> None:
        """Keep somebody's language and zone."""
        with writing(self._engine) as session:
            session.execute(update(Person).where(Person.id == number).values(language=language, zone=zone))

    def change(self, number: int, *, role: Role, disabled: bool, now: datetime) -> PersonRecord:
        """Change what somebody may do. One who is disabled is signed out everywhere.

        Raises:
            SettingsError: there is no such user.
            NotNow: no administrator would be left who can sign in.
        """
        with writing(self._engine) as session:
            administrators = list(
                session.scalars(
                    select(Person)
                    .where(Person.role == Role.ADMINISTRATOR, Person.disabled.is_(False))
                    .order_by(Person.id)
                    .with_for_update()
                )
            )
            row = session.get(Person, number, with_for_update=True)
            if row is None:
                raise SettingsError("there is no such user")
            stays = role is Role.ADMINISTRATOR and not disabled
            if not stays and [one.id for one in administrators] == [number]:
                raise NotNow(f"{row.name} is the only administrator who can sign in", "Make somebody else one before.")
            row.role, row.disabled, row.changed_at = role, disabled, now
            if disabled:
                session.execute(delete(SignedIn).where(SignedIn.person_id == number))
            session.flush()
            return _person(row)

    # Sessions.

    def begin_session(self, person: int, token: str, address: str, *, now: datetime) -> None:
        """Keep a session."""
        with writing(self._engine) as session:
            session.add(
                SignedIn(token_hash=digest(token), person_id=person, address=address[:64], created_at=now, seen_at=now)
            )

    def session(self, token: str) -> SessionRecord | None:
        """The session of a token, whether or not it has expired."""
        query = select(SignedIn, Person).join(Person, Person.id == SignedIn.person_id)
        with reading(self._engine) as session:
            found = session.execute(query.where(SignedIn.token_hash == digest(token))).first()
        if found is None:
            return None
        row, person = found
        return SessionRecord(row.id, _person(person), row.address, row.created_at, row.seen_at)

    def sessions_of(self, person: int) -> list[SessionRecord]:
        """Somebody's sessions, newest first."""
        query = select(SignedIn, Person).join(Person, Person.id == SignedIn.person_id)
        with reading(self._engine) as session:
            return [
                SessionRecord(row.id, _person(owner), row.address, row.created_at, row.seen_at)
                for row, owner in session.execute(
                    query.where(SignedIn.person_id == person).order_by(SignedIn.seen_at.desc())
                )
            ]

    def touch_session(self, number: int, *, now: datetime) -> None:
        """Keep that a session is in use."""
        with writing(self._engine) as session:
            session.execute(update(SignedIn).where(SignedIn.id == number).values(seen_at=now))

    def end_session(self, token: str) -> None:
        """Forget a session."""
        with writing(self._engine) as session:
            session.execute(delete(SignedIn).where(SignedIn.token_hash == digest(token)))

    def end_others(self, person: int, keep: int) -> None:
        """Forget all of somebody's sessions but one."""
        with writing(self._engine) as session:
            session.execute(delete(SignedIn).where(SignedIn.person_id == person, SignedIn.id != keep))

    def sweep(self, *, created: datetime, seen: datetime, attempts: datetime) -> None:
        """Forget sessions that began before `created` or were last used before `seen`, and attempts before that."""
        with writing(self._engine) as session:
            session.execute(delete(SignedIn).where((SignedIn.created_at < created) | (SignedIn.seen_at < seen)))
            session.execute(delete(LoginAttempt).where(LoginAttempt.at < attempts))

    # Attempts.

    def attempt(
        self, name: str, address: str, *, now: datetime, since: datetime, of_name: int, of_address: int
    ) -> datetime | None:
        """Write down that somebody tries to sign in, before the password is looked at.

        Args:
            since: attempts before that do not count.
            of_name, of_address: how many that failed there may be, with this name and from this address.

        Gives:
            None when the attempt may be made; else when the oldest one was that stands in its way.
        """
        with writing(self._engine) as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(text("LOCK TABLE login_attempt IN SHARE ROW EXCLUSIVE MODE"))
            for column, value, limit in (
                (LoginAttempt.name, name[:63], of_name),
                (LoginAttempt.address, address[:64], of_address),
            ):
                count, oldest = session.execute(
                    select(func.count(), func.min(LoginAttempt.at)).where(column == value, LoginAttempt.at > since)
                ).one()
                if count >= limit:
                    return oldest if oldest is not None else now
            session.add(LoginAttempt(name=name[:63], address=address[:64], at=now))
            return None

    def succeeded(self, name: str, address: str) -> None:
        """Forget the attempts with a name from an address: the password was right."""
        with writing(self._engine) as session:
            session.execute(
                delete(LoginAttempt).where(LoginAttempt.name == name[:63], LoginAttempt.address == address[:64])
            )

    # Tokens.

    def add_token(
        self, person: int, name: str, token: str, role: Role, expires: datetime | None, *, now: datetime
    ) -> int:
        """Keep an API token; gives its id."""
        with writing(self._engine) as session:
            row = ApiToken(
                person_id=person,
                name=name,
                token_hash=digest(token),
                role=role,
                created_at=now,
                expires_at=expires,
            )
            session.add(row)
            session.flush()
            return row.id

    def token(self, token: str) -> TokenRecord | None:
        """An API token, whether or not it still holds."""
        with reading(self._engine) as session:
            found = session.execute(_tokens().where(ApiToken.token_hash == digest(token))).first()
            return None if found is None else _token(*found)

    def tokens_of(self, person: int | None = None) -> list[TokenRecord]:
        """Somebody's tokens, or everybody's, newest first."""
        query = _tokens().order_by(ApiToken.id.desc())
        if person is not None:
            query = query.where(ApiToken.person_id == person)
        with reading(self._engine) as session:
            return [_token(*found) for found in session.execute(query)]

    def touch_token(self, number: int, *, now: datetime) -> None:
        """Keep that a token is in use."""
        with writing(self._engine) as session:
            session.execute(update(ApiToken).where(ApiToken.id == number).values(used_at=now))

    def revoke_token(self, number: int, *, owner: int | None, now: datetime) -> TokenRecord | None:
        """Let nobody in by a token any more; None when there is none, or it is not `owner`'s."""
        with writing(self._engine) as session:
            query = _tokens().where(ApiToken.id == number)
            if owner is not None:
                query = query.where(ApiToken.person_id == owner)
            found = session.execute(query).first()
            if found is None:
                return None
            if found[0].revoked_at is None:
                found[0].revoked_at = now
                session.flush()
            return _token(*found)


def _tokens() -> Select[ApiToken, Person]:
    return select(ApiToken, Person).join(Person, Person.id == ApiToken.person_id)


def _person(row: Person) -> PersonRecord:
    return PersonRecord(
        row.id,
        row.name,
        Role(row.role),
        row.disabled,
        row.must_change,
        row.language,
        row.zone,
        row.created_at,
        row.changed_at,
    )


def _token(row: ApiToken, person: Person) -> TokenRecord:
    return TokenRecord(
        row.id,
        _person(person),
        row.name,
        Role(row.role),
        row.created_at,
        row.expires_at,
        row.used_at,
        row.revoked_at,
    )
