"""An exchange carried out: cut off at any moment and run again, it comes to the same; undo takes back just that."""

from __future__ import annotations

import asyncio
import itertools
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.migration.surveyed import BEGUN, NOW, issued, surveyed
from tests.migration.worlds import Fuse, Killed, World, two

from trustbridge.errors import NotNow, Refused, SettingsError
from trustbridge.exchange.directory import SftpSettings
from trustbridge.migration.exchangeplan import ExchangePlan, Method, Step, plan_exchange
from trustbridge.migration.exchangerecord import ExchangeRecord, SftpAddress
from trustbridge.migration.exchangerun import Exchange, Unwatched
from trustbridge.migration.exchangeundo import undo
from trustbridge.pki.units import BulkType, Store, Unit

ADDRESS = SftpAddress("192.0.2.9", 22, "bulk", "/exchange")
SERVER = SftpSettings(host="192.0.2.9", port=22, username="bulk", password="not a secret", directory="/exchange")


def clock() -> datetime:
    return datetime.now(UTC)


def planned(world: World, method: Method, **options: Any) -> ExchangePlan:
    names = list(world.surveys)
    plan = plan_exchange(
        world.surveys,
        list(itertools.combinations(names, 2)),
        tuple(BulkType),
        now=NOW,
        method=method,
        sftp=str(ADDRESS),
        **options,
    )
    assert not plan.blocking
    return plan


def begun(world: World, folder: Path, method: Method = Method.BULK, **options: Any) -> ExchangeRecord:
    return ExchangeRecord.begin(folder, planned(world, method, **options), ADDRESS, NOW)


def go(world: World, record: ExchangeRecord, *, surveyed: bool = False, watcher: Unwatched | None = None) -> None:
    """Run it, as a new process does."""
    clusters = cast(Any, world.clusters)

    async def run() -> None:
        with record.locked():
            surveys = world.surveys if surveyed else None
            await Exchange(record, clusters, clock=clock, sftp=SERVER, surveys=surveys, watcher=watcher).run()

    asyncio.run(run())


def back(world: World, record: ExchangeRecord) -> None:
    async def run() -> None:
        with record.locked():
            await undo(record, cast(Any, world.clusters), clock=clock)

    asyncio.run(run())


@pytest.fixture
def burning(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    """A fuse that also burns before and after each line of the journal."""
    fuse = Fuse()
    plain = ExchangeRecord._append

    def append(self: ExchangeRecord, entries: Any) -> None:
        fuse.moment()
        plain(self, entries)
        fuse.moment()

    monkeypatch.setattr(ExchangeRecord, "_append", append)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return fuse


@pytest.mark.parametrize("method", list(Method))
def test_every_goal_is_reached_and_nothing_else_is_touched(tmp_path: Path, method: Method) -> None:
    world = World(two())
    before = world.stores
    record = begun(world, tmp_path / "x", method)
    go(world, record, surveyed=True)
    assert record.finished
    assert record.state == "finished"
    for name, held in world.stores.items():
        wanted = {(goal.node, goal.store, goal.certificate) for goal in record.plan.goals if goal.importer == name}
        assert held == before[name] | wanted
    added = {(one.cluster, one.node, one.store, one.certificate) for one in record.additions()}
    assert added == {(goal.importer, goal.node, goal.store, goal.certificate) for goal in record.plan.goals}
    done = list(world.done)
    go(world, ExchangeRecord.read(tmp_path / "x"))
    assert world.done == done  # once is enough


@pytest.mark.parametrize("method", list(Method))
def test_undo_takes_back_just_what_was_added(tmp_path: Path, method: Method) -> None:
    # One of the goals was there before: it stays.
    kept = surveyed("b", release="12.0.1").identities[0].certificate
    world = World(two(trusted=[(Store.PHONE_SAST_TRUST, kept)]))
    before = world.stores
    record = begun(world, tmp_path / "x", method)
    go(world, record)
    back(world, record)
    assert world.stores == before
    assert record.undone
    assert record.additions() == ()
    done = list(world.done)
    back(world, ExchangeRecord.read(tmp_path / "x"))
    assert world.done == done
    with pytest.raises(NotNow, match="undone"):
        go(world, ExchangeRecord.read(tmp_path / "x"))


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("undone", [False, True])
def test_cut_off_at_every_moment(tmp_path: Path, burning: Fuse, method: Method, undone: bool) -> None:
    """The process ends at moment n, for every n; what goes on afterwards comes to what it would have without."""
    old = issued("b", "b2.b", Unit.CALLMANAGER, now=BEGUN - timedelta(days=400))  # b2's, before it was renewed
    surveys = two(trusted=[(Store.PHONE_SAST_TRUST, old)])
    plain = World(surveys)
    reference = begun(plain, tmp_path / "plain", method, accepted=["TB140"])
    go(plain, reference)
    wanted = World(surveys).stores if undone else plain.stores
    moments = 0
    for moment in itertools.count():
        world = World(surveys, fuse=burning)
        burning.left, burning.passed = None, 0
        record = begun(world, tmp_path / f"{moment}", method, accepted=["TB140"])
        burning.left = moment
        try:
            go(world, record, surveyed=True)
            ended = True
        except Killed:
            ended = False
        burning.left = None
        again = ExchangeRecord.read(tmp_path / f"{moment}")
        before = len(world.done)
        if undone:
            back(world, again)
        else:
            go(world, again)
            assert again.finished
            assert set(again.additions()) == set(reference.additions())
            # What had been imported or uploaded is not sent again.
            uploads = [what for what in world.done if " upload " in what]
            assert len(uploads) == len(set(uploads))
        assert world.stores == wanted, f"cut off at moment {moment}, after {world.done[:before]}"
        moments = moment
        if ended:
            break
    assert moments > 30


def test_undo_cut_off_at_every_moment(tmp_path: Path, burning: Fuse) -> None:
    old = issued("b", "b2.b", Unit.CALLMANAGER, now=BEGUN - timedelta(days=400))
    surveys = two(trusted=[(Store.PHONE_SAST_TRUST, old)])
    for moment in itertools.count():
        world = World(surveys, fuse=burning)
        burning.left = None
        before = world.stores
        record = begun(world, tmp_path / f"{moment}", Method.CERTIFICATES, accepted=["TB140"])
        go(world, record)
        assert world.stores != before
        burning.left = moment
        try:
            back(world, record)
            ended = True
        except Killed:
            ended = False
        burning.left = None
        back(world, ExchangeRecord.read(tmp_path / f"{moment}"))
        assert world.stores == before
        if ended:
            assert moment > 30
            break


def test_an_import_that_was_done_before_the_kill_is_not_done_again(tmp_path: Path, burning: Fuse) -> None:
    """It would restart phones once more."""
    world = World(two(), fuse=burning)
    record = begun(world, tmp_path / "x")

    class End(Unwatched):
        def step(self, step: Step, state: str) -> None:
            if (str(step.kind), step.cluster, state) == ("import", "a", "done"):
                raise Killed

    with pytest.raises(Killed):
        go(world, record, watcher=End())
    # The kill came just before it could be written down that the step was done.
    journal = tmp_path / "x" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"step done", "step": "import' not in line]
    assert len(kept) == len(lines) - 2
    journal.write_text("".join(kept))
    go(world, ExchangeRecord.read(tmp_path / "x"))
    assert world.done.count("a import") == 1
    assert world.done.count("b import") == 1


def test_one_clusters_trouble_does_not_cut_another_one_off(tmp_path: Path) -> None:
    world = World(two())
    record = begun(world, tmp_path / "x")
    world.failing = lambda what: "the node says no" if what == "a import" else None
    with pytest.raises(Refused, match="the node says no"):
        go(world, record)
    assert "b import" in world.done
    assert not any(what.startswith("b upload") for what in world.done)  # the next step waits for all
    assert record.has("step failed", next(step for step in record.plan.steps if step.key == "import a"))
    world.failing = lambda what: None
    go(world, record)
    assert record.finished
    assert world.done.count("b import") == 1


def test_an_import_that_leaves_something_out_is_an_error_that_names_it(tmp_path: Path) -> None:
    world = World(two())
    record = begun(world, tmp_path / "x")
    missing = world.surveys["b"].identities[0].certificate
    world.refused.add(missing)
    with pytest.raises(Refused, match="2 certificates are not where they belong") as caught:
        go(world, record)
    assert missing.subject in caught.value.message
    assert not record.finished
    assert missing not in {one.certificate for one in record.additions()}


def test_what_somebody_else_brings_meanwhile_is_not_ours(tmp_path: Path) -> None:
    world = World(two())
    stranger = issued("c", "stranger", Unit.CALLMANAGER)
    record = begun(world, tmp_path / "x")
    notes: list[str] = []

    class Meanwhile(Unwatched):
        def step(self, step: Step, state: str) -> None:
            if (str(step.kind), state) == ("import", "begun"):
                for cluster in world.clusters.values():
                    cluster.held.add(Store.TOMCAT_TRUST, stranger, "by hand")

        def note(self, text: str) -> None:
            notes.append(text)

    go(world, record, surveyed=True, watcher=Meanwhile())
    assert len(notes) == 2
    assert "CN=stranger" in notes[0]
    back(world, record)
    assert all(("", Store.TOMCAT_TRUST, stranger) in held for held in world.stores.values())


def test_a_record_needs_its_clusters_and_its_server(tmp_path: Path) -> None:
    world = World(two())
    record = begun(world, tmp_path / "x")
    del world.clusters["b"]
    with pytest.raises(SettingsError, match="needs b, too"):
        go(world, record)
    with pytest.raises(SettingsError, match="needs b, too"):
        back(world, record)
    whole = World(two())
    record = begun(whole, tmp_path / "y")

    async def without() -> None:
        await Exchange(record, cast(Any, whole.clusters), clock=clock).run()

    with pytest.raises(SettingsError, match="no password"):
        asyncio.run(without())


def test_tvs_is_restarted_on_every_node(tmp_path: Path) -> None:
    world = World(two())
    go(world, begun(world, tmp_path / "x", restart_tvs=True))
    restarted = [what for what in world.done if "restart" in what]
    assert sorted(restarted) == [
        f"{name} restart {name}{place} Cisco Trust Verification Service" for name in "ab" for place in (1, 2)
    ]
