"""How alembic runs a migration: in the transaction of the connection that it is given, and in no other way."""

from __future__ import annotations

from alembic import context

from trustbridge.storage.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite can, once a transaction is begun as `storage.database` does
)
context.run_migrations()
