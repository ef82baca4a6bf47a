"""Tables of campaigns, and of the console. No secret is ever in them, only hashes of what people and scripts sign in
with: clusters are named, and the inventory knows how to reach them.

A phone has one row in each campaign; its `state` is the word of `migration.campaignsteps`, and `kind` says what that
means for counting and for leases, which is all that storage has to know of it. `step` grows with every change of state:
whoever writes names the step that he has seen, and writes nothing when somebody else was there first.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class CampaignState(StrEnum):
    """Whether phones are moved. Phones that are under way are watched to their end in every state."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    HALTED = "halted"
    FINISHED = "finished"


class Kind(StrEnum):
    """What a phone's state comes to."""

    HELD = "held"
    """Nothing has been done to it: it waits for its wave, or to be fit, or for its turn."""
    UNDER_WAY = "under way"
    """A reset may have been sent, and it has not come to an end since."""
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class Direction(StrEnum):
    """Which way a phone goes."""

    FORTH = "forth"
    BACK = "back"


class Moment(TypeDecorator[datetime]):
    """A point of time with its zone; SQLite, which knows no zones, keeps UTC."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a point of time needs its zone")
        return value.astimezone(UTC) if dialect.name == "postgresql" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {datetime: Moment, dict[str, Any]: JSON, list[str]: JSON, list[Any]: JSON}


class Campaign(Base):
    """Phones that go from one cluster to another, in waves.

    `option150` is the cluster that DHCP option 150 was said to name; `settings` are limits, rules and time-outs.
    """

    __tablename__ = "campaign"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    source: Mapped[str] = mapped_column(String(63))
    destination: Mapped[str] = mapped_column(String(63))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    option150: Mapped[str] = mapped_column(String(63))
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class Wave(Base):
    """Phones whose turn comes together. `accepted_failures` are those that did not keep somebody from resuming."""

    __tablename__ = "wave"
    __table_args__ = (UniqueConstraint("campaign_id", "position"), UniqueConstraint("campaign_id", "name"))

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(String(128))
    pilot: Mapped[bool]
    windows: Mapped[list[Any]]
    opened_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    accepted_failures: Mapped[int]


class ScopeState(StrEnum):
    """What option 150 of a DHCP scope came to in a campaign; also what is wanted of it."""

    PLANNED = "planned"
    APPLIED = "applied"
    REVERTED = "reverted"


class ScopeChange(Base):
    """Option 150 of one DHCP scope, as a campaign changes it.

    Attributes:
        waves: names of the waves that need it; none: all of them.
        kind, server, user: the provider, as `dhcp.record.Server`; no password is kept.
        servers: what option 150 is to name.
        wanted, state: words of `ScopeState`; while they differ, somebody has to do it.
        change: what was done, as `dhcp.scope.Change.record`; before it was tried, empty.
        owner, owned_until: who does it, and how long nobody else will.
    """

    __tablename__ = "scope_change"
    __table_args__ = (UniqueConstraint("campaign_id", "kind", "server", "scope"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    waves: Mapped[list[str]]
    kind: Mapped[str] = mapped_column(String(16))
    server: Mapped[str] = mapped_column(String(512))
    user: Mapped[str] = mapped_column(String(128))
    scope: Mapped[str] = mapped_column(String(255))
    servers: Mapped[list[str]]
    wanted: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    change: Mapped[dict[str, Any]]
    owner: Mapped[str | None] = mapped_column(String(128))
    owned_until: Mapped[datetime | None]


class Cluster(Base):
    """A cluster as it was seen last: for reports and the console, when it does not answer. How to reach it is in the
    inventory."""

    __tablename__ = "cluster"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    release: Mapped[str] = mapped_column(String(64))
    nodes: Mapped[list[str]]
    seen_at: Mapped[datetime]


class CampaignPhone(Base):
    """One phone of a campaign. See the module for `state`, `kind` and `step`.

    Attributes:
        wanted: which way it is to go; when it rests and `direction` is another one, it turns.
        again: what failed is to be tried once more.
        due_at: when to look at it next; None when it rests or its wave has not begun.
        reset_at: when its last reset was requested; `resets` counts them.
        claim: its name while a campaign that was begun has it. Unique: no two campaigns move the same phone.
        baseline: what was seen of it just before its reset.
        lease_owner, lease_until: who works on it, and how long nobody else will.
        tvs: node whose TVS it asks first at the source; "" where nobody knows.
        predicted, predicted_why: what was foretold last, as `migration.predictvalues.Forecast` has it; "" for nothing.
    """

    __tablename__ = "campaign_phone"
    __table_args__ = (
        UniqueConstraint("campaign_id", "name"),
        Index(None, "campaign_id", "due_at"),
        Index(None, "campaign_id", "kind"),
        Index(None, "wave_id", "kind"),
        Index(None, "campaign_id", "reset_at"),
        # Lists of phones are filtered, sorted and counted by this alone.
        Index(
            "ix_campaign_phone_listed",
            "campaign_id",
            "wave_id",
            "state",
            "kind",
            "direction",
            "predicted",
            "since",
            "name",
            "model",
            "device_pool",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    wave_id: Mapped[int] = mapped_column(ForeignKey("wave.id"))
    name: Mapped[str] = mapped_column(String(128))
    model: Mapped[str] = mapped_column(String(128))
    device_pool: Mapped[str] = mapped_column(String(128))
    state: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    direction: Mapped[str] = mapped_column(String(8))
    wanted: Mapped[str] = mapped_column(String(8))
    again: Mapped[bool]
    step: Mapped[int]
    since: Mapped[datetime]
    due_at: Mapped[datetime | None]
    reset_at: Mapped[datetime | None]
    resets: Mapped[int]
    claim: Mapped[str | None] = mapped_column(String(128), unique=True)
    baseline: Mapped[dict[str, Any]]
    reason: Mapped[str] = mapped_column(Text)
    evidence: Mapped[list[str]]
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None]
    tvs: Mapped[str] = mapped_column(String(128))
    predicted: Mapped[str] = mapped_column(String(32))
    predicted_why: Mapped[str] = mapped_column(Text)


class JournalEntry(Base):
    """A decision or an action, with its reason. Nothing changes or removes one: the database itself refuses."""

    __tablename__ = "journal"
    __table_args__ = (Index(None, "campaign_id", "phone"), Index(None, "campaign_id", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(128))
    event: Mapped[str] = mapped_column(String(32))
    wave: Mapped[str | None] = mapped_column(String(128))
    phone: Mapped[str | None] = mapped_column(String(128))
    step: Mapped[int | None]
    before: Mapped[str] = mapped_column(String(64))
    after: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(Text)
    evidence: Mapped[list[str]]


class Person(Base):
    """Who may use the console. `password` is an Argon2id hash with its parameters and salt, as PHC writes them.

    `language` and `zone` are "" where the browser is to say.
    """

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    password: Mapped[str] = mapped_column(Text)
    disabled: Mapped[bool]
    must_change: Mapped[bool]
    language: Mapped[str] = mapped_column(String(8))
    zone: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class SignedIn(Base):
    """A session of somebody who signed in. The browser has its token, the database only the token's SHA-256."""

    __tablename__ = "signed_in"
    __table_args__ = (Index(None, "person_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    address: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class ApiToken(Base):
    """A token of scripts. `role` is the most it may do, and never more than its owner may at that moment."""

    __tablename__ = "api_token"
    __table_args__ = (Index(None, "person_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    name: Mapped[str] = mapped_column(String(63))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class LoginAttempt(Base):
    """An attempt to sign in that has not succeeded: written before the password is looked at, removed when it is right,
    so that many at once count as many."""

    __tablename__ = "login_attempt"
    __table_args__ = (Index(None, "name", "at"), Index(None, "address", "at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(63))
    address: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]


class AuditEntry(Base):
    """What somebody did, or was not let do. Nothing changes or removes one: the database itself refuses.

    `who` is a name as it was then; `token` the API token's, "" for a person at the browser. No secret is in `details`.
    """

    __tablename__ = "audit"
    __table_args__ = (Index(None, "who", "id"), Index(None, "action", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(63))
    token: Mapped[str] = mapped_column(String(63))
    address: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    object: Mapped[str] = mapped_column(String(255))
    outcome: Mapped[str] = mapped_column(String(16))
    details: Mapped[dict[str, Any]]


class JobState(StrEnum):
    """What came of long work."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class Job(Base):
    """Long work that the console does for somebody.

    Attributes:
        claim: its key while it runs. Unique: no two do the same thing to the same object at a time.
        kind: what it is, for programs; `title`, with `values` put in, for people, who may have it translated.
        step, done, total: how far it is; `total` is 0 where nobody knows.
        result: what it gave, as JSON; None before its end.
        error, hint: why it failed.
        place: the server that runs it, by its state folder.
        seen_at: when that server was last known to be at it.
    """

    __tablename__ = "job"
    __table_args__ = (Index(None, "kind", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    claim: Mapped[str | None] = mapped_column(String(255), unique=True)
    key: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(Text)
    values: Mapped[dict[str, Any]]
    who: Mapped[str] = mapped_column(String(63))
    state: Mapped[str] = mapped_column(String(16))
    step: Mapped[str] = mapped_column(Text)
    done: Mapped[int]
    total: Mapped[int]
    result: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    error: Mapped[str] = mapped_column(Text)
    hint: Mapped[str] = mapped_column(Text)
    place: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
