"""Alembic's environment for the database of campaigns; `storage.database.upgrade_to_head` runs it."""
