"""Campaigns, waves, phones, and a journal that only grows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NEVER = "the journal only grows"


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text() if length is None else sa.String(length), nullable=nullable)


def _whole(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=False)


def _key(table: str) -> tuple[sa.Column[int], sa.PrimaryKeyConstraint]:
    return _whole("id"), sa.PrimaryKeyConstraint("id", name=f"pk_{table}")


def _of(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{column.removesuffix('_id')}.id"], name=f"fk_{table}_{column}")


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=f"uq_{table}_{'_'.join(columns)}")


def upgrade() -> None:
    op.create_table(
        "campaign",
        *_key("campaign"),
        _text("name", 63),
        _text("source", 63),
        _text("destination", 63),
        _text("state", 16),
        _text("reason"),
        _text("option150", 63),
        _json("settings"),
        _moment("created_at"),
        _moment("changed_at"),
        _unique("campaign", "name"),
    )
    op.create_table(
        "wave",
        *_key("wave"),
        _whole("campaign_id"),
        _whole("position"),
        _text("name", 128),
        _flag("pilot"),
        _json("windows"),
        _moment("opened_at", nullable=True),
        _moment("closed_at", nullable=True),
        _whole("accepted_failures"),
        _of("wave", "campaign_id"),
        _unique("wave", "campaign_id", "position"),
        _unique("wave", "campaign_id", "name"),
    )
    op.create_table(
        "campaign_phone",
        *_key("campaign_phone"),
        _whole("campaign_id"),
        _whole("wave_id"),
        _text("name", 128),
        _text("model", 128),
        _text("device_pool", 128),
        _text("state", 64),
        _text("kind", 16),
        _text("direction", 8),
        _text("wanted", 8),
        _flag("again"),
        _whole("step"),
        _moment("since"),
        _moment("due_at", nullable=True),
        _moment("reset_at", nullable=True),
        _whole("resets"),
        _text("claim", 128, nullable=True),
        _json("baseline"),
        _text("reason"),
        _json("evidence"),
        _text("lease_owner", 128, nullable=True),
        _moment("lease_until", nullable=True),
        _of("campaign_phone", "campaign_id"),
        _of("campaign_phone", "wave_id"),
        _unique("campaign_phone", "campaign_id", "name"),
        _unique("campaign_phone", "claim"),
    )
    op.create_table(
        "journal",
        *_key("journal"),
        _whole("campaign_id"),
        _moment("at"),
        _text("by", 128),
        _text("event", 32),
        _text("wave", 128, nullable=True),
        _text("phone", 128, nullable=True),
        _whole("step", nullable=True),
        _text("before", 64),
        _text("after", 64),
        _text("reason"),
        _json("evidence"),
        _of("journal", "campaign_id"),
    )
    for table, columns in (
        ("campaign_phone", ("campaign_id", "due_at")),
        ("campaign_phone", ("wave_id", "kind")),
        ("campaign_phone", ("campaign_id", "reset_at")),
        ("journal", ("campaign_id", "phone")),
    ):
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            f"CREATE FUNCTION journal_only_grows() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_NEVER}'; END $$"
        )
        for when in ("UPDATE OR DELETE", "TRUNCATE"):
            op.execute(
                f"CREATE TRIGGER journal_no_{when.split()[0].lower()} BEFORE {when} ON journal "
                "FOR EACH STATEMENT EXECUTE FUNCTION journal_only_grows()"
            )
        return
    for when in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER journal_no_{when.lower()} BEFORE {when} ON journal "
            f"BEGIN SELECT RAISE(ABORT, '{_NEVER}'); END"
        )
