"""The screen of `status --watch`: how fast it goes, how long it takes, what failed."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import Engine
from tests.storage.databases import NOW, engine, planned, server, url
from typer.testing import CliRunner

from trustbridge.cli import app, migratewatch
from trustbridge.cli.migratewatch import Pace, bar, ended, screen
from trustbridge.cli.screen import rate_words
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.models import CampaignState, Kind

__all__ = ["engine", "server", "url"]


def test_the_pace_is_that_of_the_last_two_minutes() -> None:
    pace = Pace()
    assert (pace.rate, pace.left(5)) == (0.0, None)
    for minute, count in enumerate((0, 600, 600, 600, 1200)):
        pace.see(NOW + timedelta(minutes=minute), count)
    assert pace.rate == 5.0
    assert pace.left(300) == timedelta(minutes=1)


def test_a_campaign_that_turns_back_has_no_negative_pace() -> None:
    pace = Pace()
    pace.see(NOW, 10)
    pace.see(NOW + timedelta(seconds=2), 4)
    assert (pace.rate, pace.left(1)) == (0.0, None)


@given(st.dictionaries(st.sampled_from(list(Kind)), st.integers(0, 60_000)))
def test_a_bar_shows_everything_there_is(kinds: dict[Kind, int]) -> None:
    made = bar(kinds)
    assert len(made) == sum(count > 0 for count in kinds.values())
    assert not made or sum(len(marks) for marks, _ in made) == 24
    assert all(marks for marks, _ in made)


def test_rates_in_words() -> None:
    assert [rate_words(rate) for rate in (0, 0.05, 0.5, 1.25, 167.3)] == ["", "3/min", "30/min", "1.2/s", "167/s"]


def test_the_screen(engine: Engine) -> None:
    work = CampaignWork(engine, "test")
    campaign = replace(planned(work, "move", 2, 3), state=CampaignState.HALTED, reason="too many")
    waves = work.waves(campaign.id)
    waves[0] = replace(waves[0], kinds={Kind.DONE: 1, Kind.FAILED: 1}, opened_at=NOW, closed_at=NOW)
    (bad, *_), total = work.some_phones(campaign.id, limit=1)
    assert total == 5
    pace = Pace()
    pace.see(NOW, 0)
    pace.see(NOW + timedelta(seconds=10), ended(waves))
    console = Console(file=io.StringIO(), width=100, highlight=False)
    failed = replace(bad, state="failed", reason="reset refused")
    console.print(screen(campaign, waves, [failed], work.journal(campaign.id), pace, NOW))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for words in ("move", "halted", "too many", "1 failed", "3 held", "2/2", "0/3", "12/min", "0:00:15 left"):
        assert words in text, (words, text)
    assert f"{bad.name}  failed: reset refused" in text
    assert "planned: 5 phones in 2 waves" in text


def test_watched_until_it_rests() -> None:
    from trustbridge import settings
    from trustbridge.storage.database import open_database, upgrade_to_head

    found = settings.load()
    made = open_database(found.database_url, found.state_folder)
    upgrade_to_head(made)
    planned(CampaignWork(made, "test"))
    made.dispose()
    assert migratewatch.screen is not None
    done = CliRunner().invoke(app, ["migrate", "status", "move", "--watch"])
    assert done.exit_code == 0, done.exception
    assert "Campaign" in done.stdout or "move" in done.stdout
