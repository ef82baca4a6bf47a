"""Option 150 of scopes, clusters as they were seen, and what was foretold of phones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text() if length is None else sa.String(length), nullable=nullable)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "scope_change",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        _json("waves"),
        _text("kind", 16),
        _text("server", 512),
        _text("user", 128),
        _text("scope", 255),
        _json("servers"),
        _text("wanted", 16),
        _text("state", 16),
        _json("change"),
        _text("owner", 128, nullable=True),
        sa.Column("owned_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_scope_change"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_scope_change_campaign_id"),
        sa.UniqueConstraint(
            "campaign_id", "kind", "server", "scope", name="uq_scope_change_campaign_id_kind_server_scope"
        ),
    )
    op.create_table(
        "cluster",
        sa.Column("id", sa.Integer(), nullable=False),
        _text("name", 63),
        _text("release", 64),
        _json("nodes"),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cluster"),
        sa.UniqueConstraint("name", name="uq_cluster_name"),
    )
    for name, kind in (("tvs", sa.String(128)), ("predicted", sa.String(32)), ("predicted_why", sa.Text())):
        op.add_column("campaign_phone", sa.Column(name, kind, nullable=False, server_default=""))
    # How many are under way is counted before each reset: not by reading all of a campaign's phones.
    op.create_index("ix_campaign_phone_campaign_id_kind", "campaign_phone", ["campaign_id", "kind"])
