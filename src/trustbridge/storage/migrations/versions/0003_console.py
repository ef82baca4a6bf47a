"""Who may use the console, what they did, and what it does for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NEVER = "the audit only grows"


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text() if length is None else sa.String(length), nullable=nullable)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _json(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _key(table: str) -> tuple[sa.Column[int], sa.PrimaryKeyConstraint]:
    return _whole("id"), sa.PrimaryKeyConstraint("id", name=f"pk_{table}")


def _of_person(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=f"fk_{table}_person_id")


def _unique(table: str, column: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(column, name=f"uq_{table}_{column}")


def upgrade() -> None:
    op.create_table(
        "person",
        *_key("person"),
        _text("name", 63),
        _text("role", 16),
        _text("password"),
        _flag("disabled"),
        _flag("must_change"),
        _text("language", 8),
        _text("zone", 64),
        _moment("created_at"),
        _moment("changed_at"),
        _unique("person", "name"),
    )
    op.create_table(
        "signed_in",
        *_key("signed_in"),
        _text("token_hash", 64),
        _whole("person_id"),
        _text("address", 64),
        _moment("created_at"),
        _moment("seen_at"),
        _of_person("signed_in"),
        _unique("signed_in", "token_hash"),
    )
    op.create_table(
        "api_token",
        *_key("api_token"),
        _whole("person_id"),
        _text("name", 63),
        _text("token_hash", 64),
        _text("role", 16),
        _moment("created_at"),
        _moment("expires_at", nullable=True),
        _moment("used_at", nullable=True),
        _moment("revoked_at", nullable=True),
        _of_person("api_token"),
        _unique("api_token", "token_hash"),
    )
    op.create_table(
        "login_attempt",
        *_key("login_attempt"),
        _text("name", 63),
        _text("address", 64),
        _moment("at"),
    )
    op.create_table(
        "audit",
        *_key("audit"),
        _moment("at"),
        _text("who", 63),
        _text("token", 63),
        _text("address", 64),
        _text("action", 64),
        _text("object", 255),
        _text("outcome", 16),
        _json("details"),
    )
    op.create_table(
        "job",
        *_key("job"),
        _text("claim", 255, nullable=True),
        _text("key", 255),
        _text("kind", 64),
        _text("title"),
        _json("values"),
        _text("who", 63),
        _text("state", 16),
        _text("step"),
        _whole("done"),
        _whole("total"),
        _json("result", nullable=True),
        _text("error"),
        _text("hint"),
        _text("place", 64),
        _moment("started_at"),
        _moment("seen_at"),
        _moment("ended_at", nullable=True),
        _unique("job", "claim"),
    )
    for table, columns in (
        ("signed_in", ("person_id",)),
        ("api_token", ("person_id",)),
        ("login_attempt", ("name", "at")),
        ("login_attempt", ("address", "at")),
        ("audit", ("who", "id")),
        ("audit", ("action", "id")),
        ("job", ("kind", "id")),
    ):
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            f"CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_NEVER}'; END $$"
        )
        for when in ("UPDATE OR DELETE", "TRUNCATE"):
            op.execute(
                f"CREATE TRIGGER audit_no_{when.split()[0].lower()} BEFORE {when} ON audit "
                "FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()"
            )
        return
    for when in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_no_{when.lower()} BEFORE {when} ON audit BEGIN SELECT RAISE(ABORT, '{_NEVER}'); END"
        )
