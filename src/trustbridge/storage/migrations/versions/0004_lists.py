"""What lists of phones and the end of a journal are read by, at a cluster's size."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

#: Everything that a list of phones is filtered, sorted and counted by: the rows themselves are three times as wide.
_LISTED = (
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
)


def upgrade() -> None:
    op.create_index("ix_campaign_phone_listed", "campaign_phone", list(_LISTED))
    op.create_index("ix_journal_campaign_id_id", "journal", ["campaign_id", "id"])
