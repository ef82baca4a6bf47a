"""The server killed in the middle of a campaign, and started again: its page comes back, the campaign goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine
from tests.browser.procedure import button
from tests.browser.served import Console
from tests.browser.windows import Windows
from tests.e2e.test_cluster import credentials_of, entry_of
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones

from trustbridge.storage.campaignrecords import NewPhone, NewWave
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.storage.people import Role

#: Phones at a time, so that there is a middle.
AT_ONCE = 3
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def live(prepared: Prepared, tmp_path: Path) -> Iterator[LiveLab]:
    """After the exchange; option 150 names the destination."""
    definition = lab_definition(phones(8))
    with LiveLab(prepared.exchanged().lab(tmp_path / "lab", definition)) as live:
        live.boot()
        live.point_at("destination")
        for apis in live.lab.apis.values():
            apis.ris_limits.calls_a_minute = 1000  # the killed server's calls count no more
        yield live


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_database("", tmp_path / "console")
    upgrade_to_head(made)
    yield made
    made.dispose()


@pytest.fixture
def console(live: LiveLab, engine: Engine, tmp_path: Path) -> Iterator[Console]:
    """It knows the clusters, and a campaign of one wave that has not begun."""
    state = tmp_path / "console"
    console = Console(state)
    console.people(Role.OPERATOR)
    for cluster in live.lab.clusters.values():
        Inventory(state).add(entry_of(cluster))
        PasswordFile(state).keep(cluster.name, credentials_of(cluster))
    quick = {"look": 2, "settle": 2, "lease": 4, "send_within": 3, "doubt": 6}
    settings = {
        "limits": {"resets_a_minute": 1000, "under_way": AT_ONCE},
        "terms": quick,
        "phone_port": live.lab.ports.web,
    }
    wave = NewWave("all", False, (), tuple(NewPhone(phone.name, "CP-8841", "Default") for phone in live.phones))
    campaigns = CampaignWork(engine, "test")
    campaigns.create("night", "source", "destination", settings, [wave], state="planned", now=datetime.now(UTC))
    with console:
        yield console


def test_a_page_comes_back_and_the_campaign_goes_on(
    windows: Windows, console: Console, live: LiveLab, engine: Engine
) -> None:
    windows.expect(
        r"htmx.min.js.*: \[object Event\]|ERR_(CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED|EMPTY_RESPONSE)"
    )
    page = windows.open("operator")
    page.goto("/campaigns/night/start")
    page.get_by_label("DHCP option 150 of these phones names destination now.").check()
    button(page, "Check and start").click()
    button(page, "To the campaign").click()
    state, counts = page.locator(".state .badge"), page.get_by_role("list", name="Phones by state")
    expect(state).to_contain_text("running")
    expect(counts).to_contain_text("under way")
    page.evaluate("window.loaded = 'before the server was killed'")
    console.kill()
    held = CampaignWork(engine, "test").get("night")
    assert held.state == "running"
    expect(counts).to_contain_text("not begun")  # the page is still there, as it was
    console.start()
    expect(state).to_contain_text("finished")
    expect(counts).to_contain_text("8 moved")
    assert page.evaluate("window.loaded") == "before the server was killed"
    assert set(live.whereabouts()) == {"destination"}
    moved = CampaignWork(engine, "test").phones(held.id)
    assert {phone.resets for phone in moved} == {1}
