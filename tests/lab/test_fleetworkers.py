"""Phones that start in processes of their own end as those that start in the lab's, and so does a lab without them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.prepared import ENCRYPTED, LiveLab, Prepared, lab_definition, phones

from trustbridge.lab.fleetworkers import FleetWorkers, start_fleet_workers
from trustbridge.lab.phone import LabPhone, PhoneNetwork, Standing


@pytest.fixture
def live(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[LiveLab]:
    """Three phones after the exchange, which start in one process more."""
    folder = (
        Prepared.once(tmp_path_factory)
        .exchanged()
        .lab(tmp_path / "lab", lab_definition(phones(2), phones(security=ENCRYPTED)))
    )
    with LiveLab(folder) as live:
        lab = live.lab
        network = PhoneNetwork(lab.definition.network.dhcp, lab.ports)
        lab.fleet.workers = live.do(start_fleet_workers(1, folder / "phones", network))
        yield live


def seen(phone: LabPhone) -> tuple[object, ...]:
    words = [line.text for line in phone.transcript]
    return phone.standing, phone.outcome, words, phone.tftp_servers, phone.registered_with, phone.flash.read()


def test_they_end_as_in_the_labs_own_process(live: LiveLab) -> None:
    live.boot()
    live.point_at("destination")
    live.boot()
    assert live.whereabouts() == ["destination"] * 3
    assert [phone.standing for phone in live.phones] == [Standing.REGISTERED] * 3
    assert all(phone.status[-1][1].startswith("SEP") for phone in live.phones)
    there = [seen(phone) for phone in live.phones]
    workers = live.lab.fleet.workers
    assert workers is not None
    live.lab.fleet.workers = None
    live.boot()  # once more, from the same state: lists and configuration are the same by now
    live.lab.fleet.workers = workers
    here = [seen(phone) for phone in live.phones]
    live.boot()
    assert [seen(phone) for phone in live.phones] == here
    assert [(one[0], one[3], one[4], one[5]) for one in here] == [(one[0], one[3], one[4], one[5]) for one in there]


def test_a_process_that_dies_is_its_phones_outcome_and_the_lab_goes_on(live: LiveLab) -> None:
    workers = live.lab.fleet.workers
    assert workers is not None
    (process,) = [one.process for one in workers._workers]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    outcomes = live.boot(live.phones[0])
    assert "process" in outcomes[0].reason
    assert live.phones[0].standing is Standing.NOT_REGISTERED
    assert "no process is left" in live.boot(live.phones[1])[0].reason


def test_cut_off_in_the_middle_nobody_waits_for_ever(live: LiveLab) -> None:
    async def cut_off() -> None:
        fleet = live.lab.fleet
        fleet.reset_soon(fleet.phones.values())
        await asyncio.sleep(0)
        await asyncio.wait_for(fleet.stop(), 20)

    live.do(cut_off())
    assert live.lab.fleet.workers is None


def test_none_are_needed() -> None:
    async def stopped() -> None:
        workers: FleetWorkers = await start_fleet_workers(0, Path(), PhoneNetwork("127.0.0.1", None))  # type: ignore[arg-type]
        await workers.stop()

    asyncio.run(stopped())
