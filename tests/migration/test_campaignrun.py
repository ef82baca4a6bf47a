"""Workers of a campaign on both databases: moves, stops, turns back; killed at every point, nothing is done twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import cycle, pairwise
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.migration.campaignworld import DESTINATION, SOURCE, Killed, Killer, World
from tests.storage.databases import NOW, engine, phone_names, server, url, with_tables

from trustbridge.errors import Unreachable
from trustbridge.migration.campaignphone import Observation, PhoneState, Rule, Terms
from trustbridge.migration.campaignplan import CampaignSettings, Limits
from trustbridge.migration.campaignrun import Watcher, Worker
from trustbridge.storage.campaignrecords import CampaignRecord, NewPhone, NewWave, PhoneRecord
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.database import open_database
from trustbridge.storage.models import CampaignState, Kind

__all__ = ["engine", "server", "url"]

FAST = CampaignSettings(Limits(resets_a_minute=1000, under_way=1000, failures=0.1))


class Scene:
    """A campaign that runs, with a world around it."""

    def __init__(
        self,
        engine: Engine,
        *sizes: int,
        settings: CampaignSettings = FAST,
        windows: Sequence[str] = (),
        begun: bool = True,
        tvs: Sequence[str] = ("",),
    ) -> None:
        self.engine = engine
        self.settings = settings
        names = phone_names(sum(sizes))
        self.world = World(names)
        waves, start = [], 0
        for place, size in enumerate(sizes):
            members = tuple(
                NewPhone(name, "CP-8841", "Default", tvs=node)
                for name, node in zip(names[start : start + size], cycle(tvs), strict=False)
            )
            waves.append(NewWave(f"w{place}", place == 0, tuple(windows), members))
            start += size
        self.campaigns = CampaignWork(engine, "scene")
        self.campaign = self.campaigns.create(
            "move", SOURCE, DESTINATION, settings.as_json(), waves, state=PhoneState.PLANNED, now=NOW
        )
        if begun:
            self.campaigns.begin("move", option150=DESTINATION, now=NOW)

    def worker(self, by: str = "worker", engine: Engine | None = None, watcher: Watcher | None = None) -> Worker:
        return Worker(CampaignWork(engine or self.engine, by), "move", self.world, watcher=watcher)

    def work(self, by: str = "worker", watcher: Watcher | None = None) -> CampaignRecord:
        return asyncio.run(self.worker(by, watcher=watcher).run())

    @property
    def phones(self) -> dict[str, PhoneRecord]:
        return {phone.name: phone for phone in self.campaigns.phones(self.campaign.id)}

    def states(self) -> Counter[str]:
        return Counter(phone.state for phone in self.phones.values())

    def resets(self) -> list[int]:
        return [len(phone.resets) for phone in self.world.phones.values()]

    def path(self, name: str) -> list[str]:
        """The states that a phone has gone through, by the journal; each step is there once."""
        entries = self.campaigns.journal(self.campaign.id, phone=name)
        assert [entry.step for entry in entries] == list(range(1, len(entries) + 1))
        assert all(before.after == after.before for before, after in pairwise(entries))
        assert all(entry.reason for entry in entries)
        return [entry.after for entry in entries]


WAY = ["waiting", "ready", "reset requested", "reset sent", "gone from origin", "registered at target", "moved"]


def test_all_phones_move_wave_by_wave(engine: Engine) -> None:
    scene = Scene(engine, 2, 3)
    assert scene.work().state is CampaignState.FINISHED
    assert scene.states() == {PhoneState.MOVED: 5}
    assert scene.resets() == [1] * 5
    for name in scene.phones:
        assert scene.path(name) == WAY
    first, second = scene.campaigns.waves(scene.campaign.id)
    assert first.closed_at is not None
    assert second.opened_at is not None
    assert first.closed_at <= second.opened_at
    events = [(entry.event, entry.wave, entry.after) for entry in scene.campaigns.journal(scene.campaign.id)]
    waves = [(wave, after) for kind, wave, after in events if kind == "wave"]
    assert waves == [("w0", "begun"), ("w0", "ended"), ("w1", "begun"), ("w1", "ended")]


def test_a_stranded_phone_of_the_pilot_halts_the_campaign(engine: Engine) -> None:
    scene = Scene(engine, 3, 4)
    stranded, *_ = scene.phones
    scene.world.phones[stranded].strands = True
    halted = scene.work()
    assert halted.state is CampaignState.HALTED
    assert halted.reason == "w0: 1 of 3 phones failed, more than 10%"
    assert scene.states() == {PhoneState.STRANDED: 1, PhoneState.MOVED: 2, PhoneState.PLANNED: 4}
    assert scene.phones[stranded].reason.startswith("it has restarted and is back at its origin")
    assert scene.phones[stranded].evidence == ("at source",)
    # What there is now is accepted, and halts it no more.
    scene.campaigns.resume("move", retry=False, now=scene.world.now())
    assert scene.work().state is CampaignState.FINISHED
    assert scene.states() == {PhoneState.STRANDED: 1, PhoneState.MOVED: 6}
    # Whatever kept it is repaired: it is tried once more.
    scene.world.phones[stranded].strands = False
    scene.campaigns.resume("move", retry=True, now=scene.world.now())
    assert scene.work().state is CampaignState.FINISHED
    assert scene.states() == {PhoneState.MOVED: 7}
    assert len(scene.world.phones[stranded].resets) == 2
    assert scene.path(stranded)[-7:] == WAY


def test_phones_under_way_are_watched_to_their_end_after_a_halt(engine: Engine) -> None:
    scene = Scene(engine, 8, settings=replace(FAST, limits=Limits(resets_a_minute=3, under_way=1000, failures=0)))
    for name in list(scene.phones)[:2]:
        scene.world.phones[name].strands = True
    assert scene.work().state is CampaignState.HALTED
    found = scene.states()
    assert found[PhoneState.STRANDED] == 2
    assert set(found) <= {PhoneState.STRANDED, PhoneState.MOVED, PhoneState.READY}
    assert found[PhoneState.READY] >= 1


def test_rollback_of_a_wave_and_then_of_all(engine: Engine) -> None:
    scene = Scene(engine, 2, 2)
    scene.work()
    scene.world.option150 = SOURCE
    later = scene.world.now()
    assert scene.campaigns.send_back("move", wave="w1", phones=(), option150=SOURCE, now=later) == 2
    assert scene.work().state is CampaignState.FINISHED
    assert scene.states() == {PhoneState.MOVED: 2, PhoneState.ROLLED_BACK: 2}
    assert [phone.at for phone in scene.world.phones.values()] == [DESTINATION] * 2 + [SOURCE] * 2
    assert scene.campaigns.send_back("move", wave=None, phones=(), option150=SOURCE, now=later) == 4
    assert scene.work().state is CampaignState.FINISHED
    assert scene.states() == {PhoneState.ROLLED_BACK: 4}
    assert scene.resets() == [2] * 4
    assert {phone.at for phone in scene.world.phones.values()} == {SOURCE}


def test_what_never_left_is_not_reset_to_go_back(engine: Engine) -> None:
    scene = Scene(engine, 2, 2)
    scene.world.phones[next(iter(scene.phones))].strands = True
    assert scene.work().state is CampaignState.HALTED
    scene.world.option150 = SOURCE
    scene.campaigns.send_back("move", wave=None, phones=(), option150=SOURCE, now=scene.world.now())
    assert scene.work().state is CampaignState.FINISHED
    assert scene.states() == {PhoneState.ROLLED_BACK: 4}
    assert scene.resets() == [1, 2, 0, 0]


def test_a_wave_goes_back_while_the_campaign_is_halted_and_nothing_else_moves(engine: Engine) -> None:
    scene = Scene(engine, 3, 2)
    scene.world.phones[next(iter(scene.phones))].strands = True
    scene.work()
    scene.world.option150 = SOURCE
    scene.campaigns.send_back("move", wave="w0", phones=(), option150=SOURCE, now=scene.world.now())
    assert scene.work().state is CampaignState.HALTED
    assert scene.states() == {PhoneState.ROLLED_BACK: 3, PhoneState.PLANNED: 2}
    assert scene.resets() == [1, 2, 2, 0, 0]


def test_paused_nothing_is_reset_and_what_is_under_way_is_watched(engine: Engine) -> None:
    scene = Scene(engine, 4, settings=replace(FAST, limits=Limits(resets_a_minute=2, under_way=1000)))

    def pause(phone: PhoneRecord) -> None:
        if phone.state == PhoneState.GONE:
            scene.campaigns.pause("move", reason="lunch", now=scene.world.now())

    assert scene.work(watcher=Watcher(moved=pause)).state is CampaignState.PAUSED
    assert scene.states() == {PhoneState.MOVED: 2, PhoneState.READY: 2}
    scene.campaigns.resume("move", retry=False, now=scene.world.now())
    assert scene.work().state is CampaignState.FINISHED
    assert scene.resets() == [1] * 4


def test_no_more_resets_a_minute_and_no_more_phones_under_way_than_allowed(engine: Engine) -> None:
    scene = Scene(engine, 12, settings=replace(FAST, limits=Limits(resets_a_minute=4, under_way=3)))

    async def together() -> None:
        await asyncio.gather(*(scene.worker(f"worker {number}").run() for number in range(3)))

    asyncio.run(together())
    assert scene.states() == {PhoneState.MOVED: 12}
    assert scene.resets() == [1] * 12
    assert scene.world.most_under_way <= 3
    # When they were requested: between that and the deed, this clock may leap.
    times = sorted(phone.reset_at for phone in scene.phones.values() if phone.reset_at is not None)
    assert len(times) == 12
    assert all(later - first >= timedelta(minutes=1) for first, later in zip(times, times[4:], strict=False))


def test_a_window_is_waited_for(engine: Engine) -> None:
    scene = Scene(engine, 2, windows=["2026-03-01 22:00-23:00 Europe/Warsaw"])
    scene.world.time = NOW.replace(hour=20, minute=59)
    scene.work()
    assert scene.states() == {PhoneState.MOVED: 2}
    for phone in scene.world.phones.values():
        assert phone.resets[0].strftime("%H:%M") == "21:00"  # UTC


def test_a_window_that_closes_keeps_the_rest_for_the_next_night(engine: Engine) -> None:
    scene = Scene(engine, 3, windows=["22:00-22:02 UTC"], settings=replace(FAST, limits=Limits(1, 1000)))
    scene.world.time = NOW.replace(hour=21, minute=59, second=30)

    def sleep_through_the_day(phone: PhoneRecord) -> None:
        if scene.states() == {PhoneState.MOVED: 2, PhoneState.READY: 1} and scene.world.now().day == NOW.day:
            scene.world.time = NOW.replace(day=NOW.day + 1, hour=21, minute=59, second=30)

    scene.work(watcher=Watcher(moved=sleep_through_the_day))
    assert scene.states() == {PhoneState.MOVED: 3}
    found = sorted(phone.resets[0] for phone in scene.world.phones.values())
    assert [moment.day for moment in found] == [1, 1, 2]
    assert all(moment.hour == 22 and moment.minute < 2 for moment in found)


def test_phones_that_are_not_there_wait_and_are_skipped_in_the_end(engine: Engine) -> None:
    scene = Scene(engine, 3, settings=replace(FAST, terms=Terms(longest_wait=timedelta(minutes=10))))
    away, late, _ = scene.world.phones.values()
    away.at, late.at, late.up_at = None, None, NOW + timedelta(minutes=3)
    scene.work()
    assert scene.phones[away.name].state == PhoneState.SKIPPED
    assert "not registered" in scene.phones[away.name].reason
    assert scene.phones[late.name].state == PhoneState.MOVED
    assert late.resets == []  # it came up at the destination by itself


def test_by_rule_they_are_skipped_at_once(engine: Engine) -> None:
    scene = Scene(engine, 2, settings=replace(FAST, terms=Terms(unregistered=Rule.SKIP)))
    away, _ = scene.world.phones.values()
    away.at = None
    scene.work()
    assert scene.phones[away.name].state == PhoneState.SKIPPED
    assert scene.world.now() - NOW < timedelta(minutes=10)


def test_a_phone_in_a_call_waits_and_goes_when_it_is_over(engine: Engine) -> None:
    scene = Scene(engine, 3)
    busy, *others = scene.world.phones.values()
    busy.talks = (NOW - timedelta(minutes=3), NOW + timedelta(minutes=5))
    assert scene.work().state is CampaignState.FINISHED
    assert scene.states() == {PhoneState.MOVED: 3}
    assert [phone.cut for phone in scene.world.phones.values()] == [0, 0, 0]
    assert busy.resets[0] >= busy.talks[1]
    assert all(phone.resets[0] < NOW + timedelta(minutes=1) for phone in others)
    path = scene.path(busy.name)
    assert path == ["waiting", "ready", "waiting", "ready", *WAY[2:]]
    entries = scene.campaigns.journal(scene.campaign.id, phone=busy.name)
    assert entries[2].reason == "it can't be reset now; it is in use"
    assert entries[2].evidence[-1] == "in use: a media stream is active"
    assert entries[4].evidence[-1] == "not in use"
    # One look at whoever is idle: more would cost more than the reset.
    assert Counter(scene.world.looked_for_calls)[others[0].name] == 1


def test_a_call_that_begins_between_the_look_and_the_turn_is_not_cut(engine: Engine) -> None:
    """It is observed, waits for its turn at the limits, and is in a call by then."""
    scene = Scene(engine, 2, settings=replace(FAST, limits=Limits(resets_a_minute=1, under_way=1000)))
    _, late = scene.world.phones.values()
    late.talks = (NOW + timedelta(seconds=30), NOW + timedelta(minutes=10))
    scene.work()
    assert scene.states() == {PhoneState.MOVED: 2}
    assert late.cut == 0
    assert late.resets[0] >= late.talks[1]


@pytest.mark.parametrize(("seconds", "looks"), [(4, 2), (6, 3)])
def test_what_was_seen_some_seconds_ago_is_looked_at_again(engine: Engine, seconds: int, looks: int) -> None:
    """It waits, its call is over, and the next one begins while others are looked at."""
    scene = Scene(engine, 1)
    (busy,) = scene.world.phones.values()
    busy.talks = (NOW, NOW + timedelta(seconds=1))
    asyncio.run(scene.worker().round())
    assert scene.states() == {PhoneState.WAITING: 1}
    scene.world.time = later = NOW + timedelta(minutes=1)
    busy.talks = (later + timedelta(seconds=5), later + timedelta(minutes=5))
    observe = scene.world.observe

    async def slowly(phones: Sequence[PhoneRecord]) -> Mapping[str, Observation]:
        found = await observe(phones)
        scene.world.time += timedelta(seconds=seconds)
        return found

    scene.world.observe = slowly  # type: ignore[method-assign]
    asyncio.run(scene.worker().round())
    assert len(scene.world.looked_for_calls) == looks
    assert busy.cut == 0
    assert scene.states() == {PhoneState.WAITING if looks == 3 else PhoneState.RESET_SENT: 1}


def test_by_rule_a_phone_in_a_call_is_skipped(engine: Engine) -> None:
    scene = Scene(engine, 2, settings=replace(FAST, terms=Terms(in_use=Rule.SKIP)))
    busy, _ = scene.world.phones.values()
    busy.talks = (NOW, NOW + timedelta(minutes=1))
    scene.work()
    assert scene.phones[busy.name].state == PhoneState.SKIPPED
    assert scene.phones[busy.name].reason == "skipped by rule; it is in use"
    assert (busy.resets, busy.cut) == ([], 0)


def test_a_call_without_end_is_waited_for_as_long_as_the_rule_says(engine: Engine) -> None:
    scene = Scene(engine, 1, settings=replace(FAST, terms=Terms(longest_wait=timedelta(minutes=10))))
    (busy,) = scene.world.phones.values()
    busy.talks = (NOW, NOW + timedelta(days=1))
    scene.work()
    assert scene.phones[busy.name].reason == "skipped: it has waited too long; it is in use"
    assert scene.world.now() - NOW < timedelta(minutes=13)


def test_a_phone_of_which_nobody_can_tell_whether_it_is_in_a_call_does_not_wait(engine: Engine) -> None:
    scene = Scene(engine, 1)
    (closed,) = scene.world.phones.values()
    closed.page, closed.talks = False, (NOW, NOW + timedelta(days=1))
    scene.work()
    assert scene.phones[closed.name].state == PhoneState.UNPROVEN
    assert len(closed.resets) == 1
    entries = scene.campaigns.journal(scene.campaign.id, phone=closed.name)
    requested = next(entry for entry in entries if entry.after == "reset requested")
    assert requested.evidence[-1] == "in use or not: nobody can tell"


def test_calls_are_looked_for_on_the_way_back_too(engine: Engine) -> None:
    scene = Scene(engine, 2)
    scene.work()
    busy, _ = scene.world.phones.values()
    scene.world.option150 = SOURCE
    later = scene.world.now()
    busy.talks = (later, later + timedelta(minutes=5))
    scene.campaigns.send_back("move", wave=None, phones=(), option150=SOURCE, now=later)
    scene.work()
    assert scene.states() == {PhoneState.ROLLED_BACK: 2}
    assert busy.cut == 0


def test_phones_that_may_not_go_yet_are_not_asked(engine: Engine) -> None:
    scene = Scene(engine, 20, settings=replace(FAST, limits=Limits(resets_a_minute=3, under_way=1000)))
    asyncio.run(scene.worker().round())
    assert len(scene.world.looked_for_calls) == 3
    assert sum(scene.resets()) == 3


def test_phones_that_do_not_answer_in_time_are_not_reset_in_the_dark(engine: Engine) -> None:
    scene = Scene(engine, 2, settings=replace(FAST, terms=Terms(lease=timedelta(seconds=2))))
    told: list[str] = []

    async def hang(addresses: Mapping[str, str]) -> Mapping[str, bool | None]:
        await asyncio.Event().wait()
        return {}

    scene.world.in_use = hang  # type: ignore[method-assign]
    asyncio.run(scene.worker(watcher=Watcher(noted=told.append)).round())
    assert scene.resets() == [0, 0]
    assert scene.states() == {PhoneState.READY: 2}
    assert told == ["phones took too long to tell whether they are in use"]


def test_each_tvs_has_its_share_whoever_works(engine: Engine) -> None:
    limits = Limits(resets_a_minute=1000, under_way=1000, tvs=2)
    scene = Scene(engine, 12, settings=replace(FAST, limits=limits), tvs=("sub1", "sub1", "sub2"))
    most: Counter[str] = Counter()

    def count(phone: PhoneRecord) -> None:
        asking = Counter(
            one.tvs
            for one in scene.phones.values()
            if one.kind is Kind.UNDER_WAY and one.state != PhoneState.REGISTERED
        )
        for node, number in asking.items():
            most[node] = max(most[node], number)

    async def together() -> None:
        await asyncio.gather(
            *(scene.worker(f"worker {number}", watcher=Watcher(moved=count)).run() for number in range(3))
        )

    asyncio.run(together())
    assert scene.states() == {PhoneState.MOVED: 12}
    assert scene.resets() == [1] * 12
    assert most == {"sub1": 2, "sub2": 2}


def test_a_refused_reset_is_a_failure_with_the_clusters_words(engine: Engine) -> None:
    scene = Scene(engine, 1)
    (name,) = scene.phones
    scene.world.refuses.add(name)
    scene.work()
    assert scene.phones[name].state == PhoneState.FAILED
    assert scene.phones[name].reason == "reset refused; no such device"


def test_a_rejected_phone_is_named_so(engine: Engine) -> None:
    scene = Scene(engine, 1)
    (name,) = scene.phones
    scene.world.phones[name].rejected = True
    scene.work()
    assert "TB151" in scene.phones[name].reason


def test_a_phone_whose_page_is_closed_is_moved_and_not_proven(engine: Engine) -> None:
    scene = Scene(engine, 1)
    (name,) = scene.phones
    scene.world.phones[name].page = False
    assert scene.work().state is CampaignState.FINISHED
    assert scene.phones[name].state == PhoneState.UNPROVEN


def test_an_answer_that_got_lost_is_made_up_for_by_looking(engine: Engine) -> None:
    scene = Scene(engine, 2)
    scene.world.answers_lost = True
    scene.work()
    assert scene.states() == {PhoneState.MOVED: 2}
    assert scene.resets() == [1, 1]


def test_nothing_is_concluded_from_silence(engine: Engine) -> None:
    """A cluster that does not answer for hours loses no phone; when it does, all go on."""
    scene = Scene(engine, 2)

    async def run() -> None:
        running = asyncio.ensure_future(scene.worker(watcher=Watcher(moved=silence)).run())
        while scene.world.now() < NOW + timedelta(hours=9):
            assert not running.done()
            await asyncio.sleep(0)
        scene.world.silent = False
        await running

    def silence(phone: PhoneRecord) -> None:
        if phone.state == PhoneState.RESET_SENT and scene.world.now() < NOW + timedelta(hours=9):
            scene.world.silent = True

    asyncio.run(run())
    assert scene.states() == {PhoneState.MOVED: 2}
    assert scene.resets() == [1, 1]


def test_who_was_held_up_does_not_send_any_more(engine: Engine) -> None:
    """A process that stood still between its intent and its deed: another one has taken over meanwhile."""
    scene = Scene(engine, 1)
    granted = CampaignWork.request_resets

    class Slow(CampaignWork):
        def request_resets(self, *arguments: object, **more: object) -> list[PhoneRecord]:
            done = granted(self, *arguments, **more)  # type: ignore[arg-type]
            scene.world.time += timedelta(seconds=31)
            return done

    slow = Worker(Slow(engine, "slow"), "move", scene.world)
    asyncio.run(slow.round())
    assert scene.resets() == [0]
    assert scene.states() == {PhoneState.RESET_REQUESTED: 1}
    scene.work()
    assert scene.resets() == [1]
    assert scene.states() == {PhoneState.MOVED: 1}


def test_a_worker_that_can_not_go_on_gives_its_phones_back(engine: Engine) -> None:
    scene = Scene(engine, 2)

    async def refuse(phones: Sequence[PhoneRecord]) -> dict[str, object]:
        raise Unreachable("away")

    scene.world.observe = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(Unreachable):
        scene.work()
    assert {phone.lease_owner for phone in scene.phones.values()} == {None}


def test_told_to_stop_it_ends_and_the_next_one_goes_on(engine: Engine) -> None:
    scene = Scene(engine, 3)

    async def run() -> None:
        stop = asyncio.Event()
        watcher = Watcher(moved=lambda phone: stop.set() if phone.state == PhoneState.RESET_SENT else None)
        await Worker(CampaignWork(engine, "first"), "move", scene.world, watcher=watcher, stop=stop).run()

    asyncio.run(run())
    assert scene.states() == {PhoneState.RESET_SENT: 3}
    scene.work("second")
    assert scene.states() == {PhoneState.MOVED: 3}
    assert scene.resets() == [1] * 3


# Killed.


def killed(scene: Scene, url: str, folder: Path, at: int | None) -> Killer:
    """A worker on a connection of its own, killed at a point; then another one, to the end."""
    other = open_database(url, folder)
    killer = Killer(at)
    killer.watch(other, scene.world)
    with_errors: list[BaseException] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        try:
            await scene.worker("killed", other).run()
        except Killed as error:
            with_errors.append(error)

    asyncio.run(run())
    other.dispose()
    scene.world.before_reset = scene.world.after_reset = lambda: None
    assert bool(with_errors) == killer.dead
    return killer


@pytest.mark.parametrize(
    ("kind", "first", "stride"), [("sqlite", 5, 15), ("sqlite", 10, 15), ("sqlite", 15, 15), ("postgresql", 23, 23)]
)
def test_killed_between_any_two_statements(
    kind: str, first: int, stride: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def fresh(number: int) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / f'{number}.db'}"
        made: Callable[[], str] = request.getfixturevalue("server").database
        return made()

    def scene_at(url: str) -> Scene:
        return Scene(with_tables(url, tmp_path), 1)

    point, total = 0, 1
    sent_before_death = 0
    while point < total:
        url = fresh(point)
        scene = scene_at(url)
        killer = killed(scene, url, tmp_path, 1 + point if point else None)
        if not point:
            total = killer.seen
            assert total > 50
        sent_before_death += killer.dead and any(scene.resets())
        assert scene.work("next").state is CampaignState.FINISHED
        assert scene.resets() == [1], f"killed at point {killer.at}"
        assert scene.states() == {PhoneState.MOVED: 1}
        for name in scene.phones:
            path = scene.path(name)
            assert path[-1] == "moved"
            assert path.count("reset requested") - path.count("ready") == 0
        scene.engine.dispose()
        point += stride if point else first
    assert sent_before_death > 0
