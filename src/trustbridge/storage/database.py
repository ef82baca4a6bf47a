"""The database of campaigns: SQLite in the state folder unless a URL says otherwise, PostgreSQL for several machines.

    engine = open_database(settings.database_url, settings.state_folder)
    upgrade_to_head(engine)

Every transaction that may write takes its lock when it begins: on SQLite the file's, on PostgreSQL rows', where the
statement says `FOR UPDATE`. Two that read first and write later can't pass each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url, text
from sqlalchemy.orm import Session

from trustbridge import atomicfile
from trustbridge.errors import Garbled, Refused, SettingsError, Unreachable

FILE: Final = "campaigns.db"
#: Seconds that a statement waits for another process's transaction.
BUSY: Final = 30
#: Execution option of connections that only read: on SQLite they take no lock that others wait for.
READ_ONLY: Final = "trustbridge_read_only"
#: Advisory lock of PostgreSQL under which tables are changed; any number will do, as long as nobody else's is the same.
_UPGRADE_LOCK: Final = 0x7B05A11
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def open_database(url: str, folder: Path) -> Engine:
    """An engine; nothing is connected yet.

    Args:
        url: SQLAlchemy's, `sqlite:///FILE` or `postgresql://USER@HOST/NAME`; "" is `campaigns.db` in `folder`.
        folder: the state folder.

    Raises:
        SettingsError: the URL is none, or names another kind of database.
        TrustbridgeError: SQLite's file can't be made.
    """
    try:
        parsed = make_url(url or f"sqlite:///{folder / FILE}")
    except exc.ArgumentError:
        raise SettingsError("database_url is no URL of a database", _EXAMPLES) from None
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise SettingsError("database_url names no file", _EXAMPLES)
        _private(Path(parsed.database))
        engine = create_engine(parsed, connect_args={"timeout": BUSY})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.get_backend_name() == "postgresql":
        if parsed.drivername not in ("postgresql", "postgresql+psycopg"):
            raise SettingsError(f"database_url: {parsed.drivername} is not supported", _EXAMPLES)
        return create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    raise SettingsError(f"database_url: {parsed.get_backend_name()} is not supported", _EXAMPLES)


_EXAMPLES: Final = (
    "Such as sqlite:////var/lib/trustbridge/campaigns.db, or postgresql://trustbridge@db.example.com/trustbridge; "
    "a password belongs into ~/.pgpass."
)


def _private(path: Path) -> None:
    """Make the file before SQLite does, which would let everybody read it; what lies beside it gets the same mode."""
    with atomicfile.in_words("the database can't be made"):
        atomicfile.private_folder(path.absolute().parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, atomicfile.PRIVATE_FILE))


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own idea of when a transaction begins is not ours
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY * 1000}",
        "journal_mode=WAL",
        "foreign_keys=ON",
        "synchronous=FULL",  # an intent to reset a phone must outlive a power cut
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def in_words(engine: Engine) -> Iterator[None]:
    """What the database refuses, for people, without the password that may be in its URL.

    Raises:
        Unreachable: nobody answers there, or others keep it locked.
        Refused: it does not let us in, or does not do what it is asked.
    """
    here = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        raise Unreachable(f"database {here}: {_said(error)}", "Is it up, and database_url right?") from error
    except exc.DBAPIError as error:
        raise Refused(f"database {here}: {_said(error)}") from error


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A transaction that may write; what is raised inside takes all of it back. Raises as `in_words`."""
    with in_words(engine), Session(engine) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that only reads. Raises as `in_words`."""
    with (
        in_words(engine),
        engine.connect().execution_options(**{READ_ONLY: True}) as connection,
        Session(connection) as session,
    ):
        yield session


def _said(error: exc.SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def upgrade_to_head(engine: Engine) -> None:
    """Make the tables, or bring those of an earlier version up to date: all or nothing, and one process at a time.

    Raises:
        SettingsError: a later version of this program has been here.
        Unreachable, Refused: see `in_words`.
    """
    with in_words(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    # Alembic takes a while to load; who finds the tables in order need not wait for it.
    if _version(connection) == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        if "Can't locate revision" in str(error):
            raise SettingsError(
                f"the database is of a later version than this program knows ({_version(connection)})",
                "Use the version that made it, or another database_url.",
            ) from None
        raise Garbled(f"the database's tables can't be brought up to date: {error}") from error


#: The newest revision in `migrations/versions`; a test holds them together.
HEAD: Final = "0004"


def _version(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
