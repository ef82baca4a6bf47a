"""A campaign in a database, worked through by a real worker among made-up phones, with something of everything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.migration.campaignworld import DESTINATION, SOURCE, World
from tests.storage.databases import NOW, phone_names

from trustbridge.migration.campaignphone import PhoneState, Rule, Terms, Told
from trustbridge.migration.campaignplan import CampaignSettings, Limits
from trustbridge.migration.campaignrun import Worker
from trustbridge.migration.predictvalues import Forecast
from trustbridge.migration.report import report
from trustbridge.migration.reportvalues import Report
from trustbridge.storage.campaignrecords import NewPhone, NewWave, PhoneRecord
from trustbridge.storage.campaignsnapshot import snapshot
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.storage.models import CampaignState, Cluster

MODELS = ("CP-8841", "CP-7841", "CP-8865")
SETTINGS = CampaignSettings(
    Limits(resets_a_minute=20, under_way=15, failures=0.1), Terms(unregistered=Rule.SKIP, restart=timedelta(minutes=10))
)
EVIL = '=HYPERLINK("x")<script>alert(1)</script>&\'{{7*7}}'


class Slow(World):
    """Phones that take as long as they take."""

    async def reset(self, record: PhoneRecord) -> tuple[Told | None, str]:
        told = await super().reset(record)
        phone = self.phones[record.name]
        if phone.up_at is not None:
            number = int(record.name[3:], 16)
            phone.up_at += timedelta(seconds=20 * MODELS.index(record.model) + number * 37 % 50)
        return told


class Stage:
    """The campaign `move`, planned: a pilot and waves of these sizes.

    In wave-1, whose names are told by `number`: phones 1 and 2 strand, of which 2 was foretold; 3 is rejected; 4 is
    refused; 5 never restarts; 6 has no page; 7 is not registered; 8 was left out by the plan.
    """

    def __init__(self, folder: Path, sizes: Sequence[int] = (4, 30, 26)) -> None:
        self.engine: Engine = open_database("", folder)
        upgrade_to_head(self.engine)
        self.campaigns = CampaignWork(self.engine, "host-1:4711:aa")
        self.sizes = tuple(sizes)
        names = phone_names(sum(sizes))
        self.world = Slow(names)
        waves, start = [], 0
        for place, size in enumerate(sizes):
            members = tuple(self._phone(number, start, names) for number in range(start, start + size))
            waves.append(
                NewWave("pilot" if place == 0 else f"wave-{place}", place == 0, ("Sun 11:00-15:00 UTC",), members)
            )
            start += size
        self.campaign = self.campaigns.create(
            "move",
            SOURCE,
            DESTINATION,
            SETTINGS.as_json(),
            waves,
            state=PhoneState.PLANNED,
            now=NOW - timedelta(days=9),
        )
        for number in (1, 2):
            self.world.phones[self.name(number)].strands = True
        self.world.phones[self.name(3)].rejected = True
        self.world.refuses.add(self.name(4))
        self.world.phones[self.name(5)].deaf = True
        self.world.phones[self.name(6)].page = False
        self.world.phones[self.name(7)].at = None

    def _phone(self, number: int, start: int, names: Sequence[str]) -> NewPhone:
        of_wave = number - self.sizes[0] + 1
        predicted = Forecast.STRANDS if of_wave in (2, 8, 10) else Forecast.UNKNOWN if of_wave == 6 else Forecast.MOVES
        why = f"TB102: TVS of cm2 does not know it {EVIL}" if predicted is Forecast.STRANDS else ""
        left_out = "predicted: strands (TB102)" if of_wave == 8 else ""
        pool = EVIL if number == 0 else f"Site-{number % 4}"
        return NewPhone(names[number], MODELS[number % 3], pool, "", str(predicted), why, left_out)

    def name(self, number: int) -> str:
        """A phone of wave-1."""
        return phone_names(1, self.sizes[0] + number)[0]

    def begin(self) -> None:
        self.campaigns.begin("move", option150=DESTINATION, now=self.world.time)

    def work(self) -> None:
        asyncio.run(Worker(self.campaigns, "move", self.world).run())

    def whole(self) -> Stage:
        """Begun, halted by wave-1, resumed to its end; then the pilot goes back."""
        with self.campaigns.writing() as session:
            session.add(Cluster(name=SOURCE, release="12.5.1", nodes=["src-pub", "src-sub"], seen_at=NOW))
            session.add(Cluster(name="another", release="15", nodes=[], seen_at=NOW))
        self.begin()
        self.note(
            "option 150",
            wave="wave-1",
            before="planned",
            after="applied",
            reason="kea unix:/run/kea.sock, subnet 1: option 150 from 10.1.0.1, 10.1.0.2 to 10.2.0.1",
            evidence=('-  "data": "10.1.0.1, 10.1.0.2"', '+  "data": "10.2.0.1"'),
        )
        self.note("device", phone=self.name(1), after="created", reason=f"as it is at the source {EVIL}")
        self.work()
        self.world.time += timedelta(minutes=3)
        if self.campaigns.get("move").state is CampaignState.HALTED:
            self.campaigns.resume("move", retry=False, now=self.world.time)
            self.work()
        self.world.time += timedelta(minutes=40)
        self.world.option150 = SOURCE
        self.campaigns.send_back("move", wave="pilot", phones=(), option150=SOURCE, now=self.world.time)
        self.work()
        return self

    def note(self, event: str, **more: object) -> None:
        with self.campaigns.writing() as session:
            self.campaigns.note(session, self.campaign.id, self.world.time, event, **more)  # type: ignore[arg-type]

    def report(self, now: datetime | None = None) -> Report:
        with snapshot(self.campaigns, "move") as seen:
            return report(
                seen.campaign,
                seen.waves,
                seen.phones,
                seen.journal(evidence=False),
                now or self.world.time,
                clusters=seen.clusters,
                scopes=seen.scopes,
            )


@lru_cache(maxsize=1)
def _worked_through(folder: Path) -> Stage:
    (folder / "report").mkdir()
    return Stage(folder / "report").whole()


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Made once for all tests, which leave it as it is."""
    return _worked_through(tmp_path_factory.getbasetemp())


@pytest.fixture
def told(whole: Stage) -> Report:
    return _told(whole)


@lru_cache(maxsize=1)
def _told(stage: Stage) -> Report:
    return stage.report()
