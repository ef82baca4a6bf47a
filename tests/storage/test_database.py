"""The database itself: who may read it, how its tables come, what it refuses, and that the journal only grows."""

from __future__ import annotations

import stat
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, exc, inspect, select, text, update
from sqlalchemy.orm import Session
from tests.storage.databases import NOW, planned

from trustbridge.errors import Refused, SettingsError, TrustbridgeError, Unreachable
from trustbridge.storage import database
from trustbridge.storage.campaigns import Campaigns
from trustbridge.storage.database import HEAD, in_words, open_database, upgrade_to_head
from trustbridge.storage.models import Base, Campaign, JournalEntry


def test_the_tables_are_those_of_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        assert (
            compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata) == []
        )


def test_the_newest_revision_is_known() -> None:
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_migrations_are_part_of_the_package() -> None:
    for folder in (database._MIGRATIONS, database._MIGRATIONS / "versions"):
        assert (folder / "__init__.py").exists()


def test_many_make_the_tables_at_once(url: str, tmp_path: Path) -> None:
    engines = [open_database(url, tmp_path) for _ in range(4)]
    ready, errors = threading.Barrier(len(engines)), []

    def upgrade(engine: Engine) -> None:
        ready.wait()
        try:
            upgrade_to_head(engine)
        except TrustbridgeError as error:
            errors.append(error)

    threads = [threading.Thread(target=upgrade, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert "journal" in inspect(engines[0]).get_table_names()
    for engine in engines:
        engine.dispose()


def test_tables_come_all_or_none(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_database(url, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_index", lambda *_: (_ for _ in ()).throw(KeyError("cut off")))
        with pytest.raises(KeyError):
            upgrade_to_head(engine)
    assert inspect(engine).get_table_names() == []
    upgrade_to_head(engine)
    assert "journal" in inspect(engine).get_table_names()
    engine.dispose()


def test_a_later_version_is_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match="later version"):
        upgrade_to_head(engine)


@pytest.mark.parametrize("statement", ["UPDATE journal SET reason = 'another'", "DELETE FROM journal"])
def test_the_journal_only_grows(engine: Engine, statement: str) -> None:
    campaigns = Campaigns(engine, "test")
    campaign = planned(campaigns)
    with pytest.raises(exc.DBAPIError, match="only grows"), engine.begin() as connection:
        connection.execute(text(statement))
    assert [entry.event for entry in campaigns.journal(campaign.id)] == ["planned"]


def test_the_journal_can_not_be_emptied(engine: Engine) -> None:
    planned(Campaigns(engine, "test"))
    # SQLite has no TRUNCATE; there, this is how one empties a table.
    statement = "TRUNCATE journal" if engine.dialect.name == "postgresql" else "DELETE FROM journal WHERE true"
    with pytest.raises(exc.DBAPIError, match="only grows"), engine.begin() as connection:
        connection.execute(text(statement))


def test_points_of_time_keep_their_moment(engine: Engine) -> None:
    campaign = planned(Campaigns(engine, "test"))
    there = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=-9)))
    with Session(engine) as session, session.begin():
        session.execute(update(Campaign).values(changed_at=there))
    assert Campaigns(engine, "test").get(campaign.name).changed_at == there
    with pytest.raises(exc.StatementError, match="zone"), Session(engine) as session:
        session.execute(select(JournalEntry).where(JournalEntry.at > NOW.replace(tzinfo=None)))


def test_nobody_else_reads_the_file(tmp_path: Path) -> None:
    engine = open_database("", tmp_path / "state")
    upgrade_to_head(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE more (id integer)"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert "campaigns.db" in modes
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    engine.dispose()


def test_sqlite_is_prepared(tmp_path: Path) -> None:
    engine = open_database("", tmp_path)
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 30_000}
    engine.dispose()


@pytest.mark.parametrize(
    "url", ["campaigns", "sqlite://", "sqlite:///:memory:", "mysql://host/name", "postgresql+asyncpg://host/name"]
)
def test_a_url_that_is_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="database_url"):
        open_database(url, tmp_path)


def test_what_fails_is_said_without_the_password(tmp_path: Path) -> None:
    engine = open_database("postgresql://me:hunter2@127.0.0.1:1/there?connect_timeout=2", tmp_path)
    with pytest.raises(Unreachable) as caught:
        upgrade_to_head(engine)
    assert "127.0.0.1" in caught.value.message
    assert "hunter2" not in caught.value.message + repr(engine)
    engine.dispose()


def test_what_is_refused_is_said(engine: Engine) -> None:
    wrong = pytest.raises((Refused, Unreachable), match="nothing")
    with wrong, in_words(engine), engine.begin() as connection:
        connection.execute(text("SELECT * FROM nothing"))
