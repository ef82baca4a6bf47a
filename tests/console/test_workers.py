"""Workers of campaigns in the server: begun where there is something to do, not begun too often, ended in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.console.desks import CHEAP, Clock
from tests.storage.databases import planned

from trustbridge.console import workers as workers_module
from trustbridge.console.desk import Desk
from trustbridge.console.workers import Workers
from trustbridge.errors import Unreachable
from trustbridge.migration.campaignsite import Site

PATIENCE = 20.0


@pytest.fixture
def working(desk: Desk, clock: Clock, tmp_path: Path) -> Desk:
    return Desk(desk.engine, tmp_path / "desk", now=clock, hashing=CHEAP)


def _join(workers: Workers, name: str = "move") -> None:
    thread = workers._hands[name].thread
    assert thread is not None
    thread.join(PATIENCE)
    assert not thread.is_alive()


class Fake:
    """In place of clusters and a worker: waits until it is told to stop or to end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.at_work = threading.Event()
        self.end = threading.Event()
        self.error: Exception | None = None

    def worker(self, campaigns: Any, name: str, site: Any, *, watcher: Any, stop: asyncio.Event, option150: Any) -> Any:
        fake = self

        class Worker:
            async def run(self) -> None:
                fake.begun.append(campaigns.by)
                watcher.noted("destination: nobody answers")
                fake.at_work.set()
                while not (stop.is_set() or fake.end.is_set()):
                    await asyncio.sleep(0.005)
                if fake.error is not None:
                    raise fake.error

        return Worker()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    found = Fake()

    @asynccontextmanager
    async def nothing(*_: Any, **more: Any) -> AsyncIterator[dict[str, None]]:
        yield {"source": None, "destination": None}

    monkeypatch.setattr(workers_module, "Worker", found.worker)
    monkeypatch.setattr(Site, "opened", nothing)
    monkeypatch.setattr(Desk, "opened", nothing)
    yield found
    found.end.set()


def test_only_campaigns_that_were_begun_are_worked_on_by_one_worker_each(working: Desk, fake: Fake) -> None:
    planned(working.campaigns, "move")
    planned(working.campaigns, "other", 1, first=50)
    working.workers.tend()
    assert fake.begun == []
    working.campaigns.begin("move", option150="destination", now=working.now())
    working.workers.tend()
    assert fake.at_work.wait(PATIENCE)
    working.workers.tend()
    assert (len(fake.begun), working.workers.at_work) == (1, 1)
    assert fake.begun[0] != working.campaigns.by, "leases are the worker's own"
    view = working.workers.of("move")
    assert (view.at_work, view.note, view.error) == (True, "destination: nobody answers", "")
    assert not working.workers.of("other").at_work
    fake.end.set()
    _join(working.workers)


def test_one_that_fails_is_left_alone_for_a_while_and_each_time_for_longer(
    working: Desk, fake: Fake, clock: Clock
) -> None:
    planned(working.campaigns, "move")
    working.campaigns.begin("move", option150="destination", now=working.now())
    fake.error = Unreachable("source: nobody answers", "Is it up?")
    fake.end.set()

    def tend() -> int:
        working.workers.tend()
        if working.workers._hands["move"].thread is not None:
            _join(working.workers)
        return len(fake.begun)

    assert tend() == 1
    view = working.workers.of("move")
    assert (view.at_work, view.error, view.hint) == (False, "source: nobody answers", "Is it up?")
    clock.forward(seconds=29)
    assert tend() == 1
    clock.forward(seconds=2)
    assert tend() == 2
    clock.forward(seconds=31)
    assert tend() == 2
    clock.forward(seconds=30)
    assert tend() == 3
    # Somebody mends it and says so: it is tried at once.
    working.campaigns.pause("move", reason="by hand", now=clock())
    assert tend() == 3
    clock.forward(seconds=1)
    working.campaigns.resume("move", retry=False, now=clock())
    fake.error = None
    assert tend() == 4
    assert working.workers.of("move").error == ""


def test_a_fault_is_told_without_its_insides(working: Desk, fake: Fake) -> None:
    planned(working.campaigns, "move")
    working.campaigns.begin("move", option150="destination", now=working.now())
    fake.error = ValueError("insides")
    fake.end.set()
    working.workers.tend()
    _join(working.workers)
    assert working.workers.of("move").error == "trustbridge itself failed: ValueError"


def test_a_cluster_that_is_not_known_is_named(working: Desk) -> None:
    planned(working.campaigns, "move")
    working.campaigns.begin("move", option150="destination", now=working.now())
    working.workers.tend()
    _join(working.workers)
    assert "source" in working.workers.of("move").error


def test_workers_end_with_the_server(working: Desk, fake: Fake) -> None:
    planned(working.campaigns, "move")
    working.campaigns.begin("move", option150="destination", now=working.now())

    async def run() -> None:
        await working.workers.open()
        assert await asyncio.to_thread(fake.at_work.wait, PATIENCE)
        await working.workers.close()

    asyncio.run(run())
    assert working.workers.at_work == 0


def test_a_server_may_leave_campaigns_to_others(desk: Desk, fake: Fake) -> None:
    planned(desk.campaigns, "move")
    desk.campaigns.begin("move", option150="destination", now=desk.now())

    async def run() -> None:
        await desk.workers.open()
        await asyncio.sleep(0.05)
        await desk.workers.close()

    asyncio.run(run())
    assert fake.begun == []
