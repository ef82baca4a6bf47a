"""A campaign and calls, in a lab: who talks waits until it is over, or is skipped by rule; nobody's word is no word."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.e2e.site import Site as LabSite
from tests.e2e.test_cluster import credentials_of, entry_of
from tests.lab.prepared import LiveLab, phones

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.ris import Budget
from trustbridge.lab.phone import LabPhone
from trustbridge.lab.requests import REMOTE
from trustbridge.migration.campaignphone import PhoneState, Rule, Terms
from trustbridge.migration.campaignplan import CampaignSettings, Limits
from trustbridge.migration.campaignrun import Watcher, Worker
from trustbridge.migration.campaignsite import Site
from trustbridge.services.ris import RisLimits
from trustbridge.storage.campaignrecords import NewPhone, NewWave, PhoneRecord
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.trust import configuration as configurations
from trustbridge.trust.events import Kept

QUICK = Terms(look=timedelta(seconds=0.2), look_waiting=timedelta(seconds=0.3), settle=timedelta(seconds=1))


@pytest.fixture
def live(site: LabSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveLab]:
    """Three phones at the source, after the exchange; option 150 names the destination. Calls of RisPort70 are not
    counted: a minute's allowance is a minute's wait."""

    async def spend(budget: Budget) -> None:
        return None

    monkeypatch.setattr(Budget, "spend", spend)
    monkeypatch.setattr(RisLimits, "count", lambda limits: None)
    with site.up(phones(3), exchanged=True) as live:
        live.boot()
        live.point_at("destination")
        yield live


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_database(f"sqlite:///{tmp_path / 'campaigns.db'}", tmp_path)
    upgrade_to_head(made)
    yield made
    made.dispose()


def close_page(phone: LabPhone) -> None:
    """Its web access is off, until it gets another configuration."""
    held = phone.flash.kept(Kept.CONFIGURATION)
    assert held is not None
    phone.flash.write(Kept.CONFIGURATION, configurations.build(replace(configurations.parse(held), web_access=False)))


class Campaign:
    """A campaign of all phones of a lab, and a worker beside it."""

    def __init__(self, live: LiveLab, engine: Engine, folder: Path, terms: Terms) -> None:
        self.live = live
        self.folder = folder
        self.work = CampaignWork(engine, "worker")
        self.states: dict[str, PhoneState] = {}
        members = tuple(NewPhone(phone.name, "CP-8841", "Default") for phone in live.phones)
        settings = CampaignSettings(Limits(resets_a_minute=1000), terms, live.lab.ports.web)
        now = datetime.now(UTC)
        self.campaign = self.work.create(
            "move",
            "source",
            "destination",
            settings.as_json(),
            [NewWave("w", True, (), members)],
            state=PhoneState.PLANNED,
            now=now,
        )
        self.work.begin("move", option150="destination", now=now)

    def moved(self, phone: PhoneRecord) -> None:
        self.states[phone.name] = PhoneState(phone.state)

    def run(self) -> dict[str, PhoneRecord]:
        """To its end; the phones by name."""

        async def run() -> None:
            async with AsyncExitStack() as stack:
                ends = [
                    await stack.enter_async_context(
                        Cluster.open(entry_of(held), credentials_of(held), state=self.folder)
                    )
                    for held in (self.live.source, self.live.destination)
                ]
                site = await stack.enter_async_context(Site.opened(*ends, phone_port=self.live.lab.ports.web))
                await Worker(self.work, "move", site, watcher=Watcher(moved=lambda phone: self.moved(phone))).run()

        asyncio.run(asyncio.wait_for(run(), 60))
        return {phone.name: phone for phone in self.work.phones(self.campaign.id)}


def test_who_talks_waits_and_goes_after_hanging_up_and_whom_nobody_sees_is_cut_off(
    live: LiveLab, engine: Engine, tmp_path: Path
) -> None:
    busy, idle, closed = live.phones
    for phone in (busy, closed):
        phone.place_call(REMOTE)
    close_page(closed)
    campaign = Campaign(live, engine, tmp_path, QUICK)
    waited: list[str] = []

    def moved(phone: PhoneRecord) -> None:
        Campaign.moved(campaign, phone)
        others = [campaign.states.get(one.name) for one in (idle, closed)]
        if others == [PhoneState.MOVED] * 2 and busy.in_call:
            waited.append(campaign.states[busy.name])
            live.call(busy.hang_up)

    campaign.moved = moved  # type: ignore[method-assign]
    found = campaign.run()
    assert {phone.state for phone in found.values()} == {PhoneState.MOVED}
    assert waited == [PhoneState.WAITING]
    # Nobody could tell of the third one, and its reset has ended its call: what the first was spared.
    assert [phone.calls_cut for phone in live.phones] == [0, 0, 1]
    told = {
        name: next(
            entry.evidence[-1]
            for entry in campaign.work.journal(campaign.campaign.id, phone=name)
            if entry.after == PhoneState.RESET_REQUESTED
        )
        for name in found
    }
    assert told == {
        busy.name: "not in use",
        idle.name: "not in use",
        closed.name: "in use or not: nobody can tell",
    }


def test_by_rule_who_talks_is_skipped(live: LiveLab, engine: Engine, tmp_path: Path) -> None:
    busy, *others = live.phones
    busy.place_call(REMOTE)
    found = Campaign(live, engine, tmp_path, replace(QUICK, in_use=Rule.SKIP)).run()
    assert found[busy.name].state == PhoneState.SKIPPED
    assert found[busy.name].reason == "skipped by rule; it is in use"
    assert {found[phone.name].state for phone in others} == {PhoneState.MOVED}
    assert busy.in_call
    assert live.whereabouts() == ["source", "destination", "destination"]
