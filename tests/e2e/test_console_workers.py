"""A console that works on a campaign in a lab, is stopped in the middle, and goes on when it is started again."""

from __future__ import annotations

import time
from collections import Counter

from tests.console.desks import CHEAP, HERE, Browser
from tests.e2e.test_migrate import live, plan
from tests.lab.prepared import LiveLab

from trustbridge.console.app import create_app
from trustbridge.console.desk import Desk
from trustbridge.settings import load
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.storage.models import CampaignState

__all__ = ["live"]
PATIENCE = 90.0


def test_a_campaign_goes_on_over_a_restart(live: LiveLab) -> None:
    plan(live)
    engine = open_database("", load().state_folder)
    upgrade_to_head(engine)

    def desk() -> Desk:
        return Desk(engine, load().state_folder, hashing=CHEAP)

    first = desk()
    first.campaigns.begin("move", option150="destination", now=first.now())
    campaign = first.campaigns.get("move")
    deadline = time.monotonic() + PATIENCE
    with Browser(create_app(first), HERE):
        while not any(phone.resets for phone in first.campaigns.phones(campaign.id)):
            assert time.monotonic() < deadline, first.workers.of("move")
            time.sleep(0.05)
    assert first.workers.at_work == 0
    assert first.campaigns.get("move").state is CampaignState.RUNNING
    second = desk()
    with Browser(create_app(second), HERE):
        while second.campaigns.get("move").state is CampaignState.RUNNING:
            assert time.monotonic() < deadline, second.workers.of("move")
            time.sleep(0.05)
    phones = second.campaigns.phones(campaign.id)
    assert Counter(phone.state for phone in phones) == {"moved": 20}
    assert Counter(phone.resets for phone in phones) == {1: 20}
    engine.dispose()
