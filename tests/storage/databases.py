"""Fixtures: an empty database of each kind, for tests here and elsewhere; and a campaign to begin with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.storage import postgres

from trustbridge.storage.campaignrecords import CampaignRecord, NewPhone, NewWave
from trustbridge.storage.campaigns import Campaigns
from trustbridge.storage.database import open_database, upgrade_to_head

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database's."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'campaigns.db'}"
    found: postgres.Postgres = request.getfixturevalue("server")
    return found.database()


#: A SQLite file with all tables and nothing in them, to be copied: every migration is a good part of a short test.
_TEMPLATE: list[bytes] = []


def with_tables(url: str, folder: Path) -> Engine:
    """Open an empty database and give it its tables."""
    made = open_database(url, folder)
    file = made.url.database
    if made.dialect.name != "sqlite" or file is None:
        upgrade_to_head(made)
    elif _TEMPLATE:
        Path(file).write_bytes(_TEMPLATE[0])
    else:
        upgrade_to_head(made)
        made.dispose()  # its last connection brings what the journal holds into the file
        _TEMPLATE.append(Path(file).read_bytes())
    return made


@pytest.fixture
def engine(url: str, tmp_path: Path) -> Iterator[Engine]:
    """With its tables."""
    made = with_tables(url, tmp_path)
    yield made
    made.dispose()


def phone_names(count: int, first: int = 1) -> list[str]:
    return [f"SEP{number:012X}" for number in range(first, first + count)]


def planned(campaigns: Campaigns, name: str = "move", *sizes: int, first: int = 1) -> CampaignRecord:
    """A campaign of waves of so many phones, the first one a pilot; nothing of it has begun."""
    waves = []
    for place, size in enumerate(sizes or (2, 3)):
        phones = tuple(NewPhone(phone, "CP-8841", "Default") for phone in phone_names(size, first))
        waves.append(NewWave("pilot" if place == 0 else f"wave-{place}", place == 0, (), phones))
        first += size
    return campaigns.create(name, "source", "destination", {}, waves, state="planned", now=NOW)
