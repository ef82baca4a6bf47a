"""A campaign's own changes of option 150: before a wave, back again, killed in between, and refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from tests.migration.campaignworld import DESTINATION, SOURCE, Killed, World
from tests.storage.databases import NOW, engine, phone_names, server, url

from trustbridge.dhcp import scope as scopes
from trustbridge.dhcp.record import Server
from trustbridge.dhcp.scope import Change, Edit, Scope
from trustbridge.errors import NotNow, Refused, SettingsError, TrustbridgeError, Unreachable
from trustbridge.migration.campaignoption150 import Option150, check_kind
from trustbridge.migration.campaignphone import PhoneState
from trustbridge.migration.campaignplan import CampaignSettings, Limits
from trustbridge.migration.campaignrun import Worker
from trustbridge.storage.campaignrecords import CampaignRecord, NewPhone, NewScope, NewWave, ScopeRecord
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.models import CampaignState, ScopeState

__all__ = ["engine", "server", "url"]

OLD: tuple[str, ...] = ("10.1.0.1", "10.1.0.2")
NEW: tuple[str, ...] = ("10.2.0.1",)
SETTINGS = CampaignSettings(Limits(resets_a_minute=1000, under_way=1000))


class Dhcp:
    """A DHCP server whose scopes are one dictionary; `world` follows the first of them."""

    place = "dhcp.example"

    def __init__(self, world: World, *names: str) -> None:
        self.world = world
        self.says = dict.fromkeys(names, OLD)
        self.first = names[0]
        self.done: list[tuple[str, tuple[str, ...]]] = []
        #: Called with "before" and "after" around each change.
        self.around: Callable[[str], None] = lambda when: None
        self._follow()

    def _follow(self) -> None:
        self.world.option150 = DESTINATION if self.says[self.first] == NEW else SOURCE

    async def read(self) -> tuple[Scope, ...]:
        return tuple(Scope(name, "", servers) for name, servers in self.says.items())

    def preview(self, scope: Scope, servers: Sequence[str]) -> Change:
        after = replace(scope, option150=tuple(servers))
        edits = () if after == scope else (Edit(scope.name, " ".join(scope.option150), " ".join(servers)),)
        return Change(self.place, scope, after, edits, scopes.unified(self.place, edits))

    def _set(self, name: str, servers: tuple[str, ...]) -> None:
        self.around("before")
        self.says[name] = servers
        self.done.append((name, servers))
        self._follow()
        self.around("after")

    async def apply(self, change: Change) -> None:
        (now,) = [one for one in await self.read() if one.name == change.before.name]
        scopes.check_unchanged(self.place, now, change)
        self._set(now.name, change.after.option150)

    async def verify(self, change: Change) -> None:
        (now,) = [one for one in await self.read() if one.name == change.before.name]
        scopes.check_in_force(self.place, now, change)

    async def revert(self, change: Change) -> None:
        (now,) = [one for one in await self.read() if one.name == change.before.name]
        scopes.check_applied(self.place, now, change)
        self._set(now.name, change.before.option150)


class Scene:
    """A campaign with waves `w0`, `w1`, …, begun without anybody's word about option 150."""

    def __init__(self, engine: Engine, *sizes: int, waves_of: dict[str, tuple[str, ...]] | None = None) -> None:
        names = phone_names(sum(sizes))
        self.world = World(names)
        by_scope = waves_of or {"subnet 1": ()}
        self.dhcp = Dhcp(self.world, *by_scope)
        self.engine = engine
        waves, start = [], 0
        for place, size in enumerate(sizes):
            members = tuple(NewPhone(name, "CP-8841", "Default") for name in names[start : start + size])
            waves.append(NewWave(f"w{place}", place == 0, (), members))
            start += size
        self.campaigns = CampaignWork(engine, "scene")
        self.campaign = self.campaigns.create(
            "move",
            SOURCE,
            DESTINATION,
            SETTINGS.as_json(),
            waves,
            state=PhoneState.PLANNED,
            now=NOW,
            scopes=[NewScope(of, "kea", "unix:/run/kea", "", name, NEW) for name, of in by_scope.items()],
        )
        self.campaigns.begin("move", option150="", now=NOW)

    def work(self, by: str = "worker") -> CampaignRecord:
        @asynccontextmanager
        async def provider(of: Server) -> AsyncIterator[Dhcp]:
            assert of.where == "unix:/run/kea"
            yield self.dhcp

        campaigns = CampaignWork(self.engine, by)
        option150 = Option150(campaigns, provider, now=self.world.now)
        return asyncio.run(Worker(campaigns, "move", self.world, option150=option150).run())

    def back(self, wave: str | None = None) -> int:
        return self.campaigns.send_back("move", wave=wave, phones=(), option150="", now=self.world.now())

    def scope(self, name: str = "subnet 1") -> ScopeRecord:
        return next(one for one in self.campaigns.scopes(self.campaign.id) if one.scope == name)

    def journal(self) -> list[str]:
        entries = self.campaigns.journal(self.campaign.id)
        return [entry.after for entry in entries if entry.event == "option 150"]

    def at(self, cluster: str) -> int:
        return sum(phone.at == cluster for phone in self.world.phones.values())


def test_changed_before_phones_are_reset_and_back_before_they_go_back(engine: Engine) -> None:
    scene = Scene(engine, 2, 3)
    changed: list[int] = []
    scene.dhcp.around = lambda when: changed.append(sum(len(phone.resets) for phone in scene.world.phones.values()))
    assert scene.work().state is CampaignState.FINISHED
    assert scene.at(DESTINATION) == 5
    assert scene.dhcp.done == [("subnet 1", NEW)]
    assert changed == [0, 0]  # before anything was reset
    assert scene.scope().state is ScopeState.APPLIED
    assert scene.journal() == ["wanted", "begun", "applied"]
    applied = next(one for one in scene.campaigns.journal(scene.campaign.id) if one.after == "applied")
    assert "option 150 from 10.1.0.1, 10.1.0.2 to 10.2.0.1" in applied.reason
    assert any(line == "-10.1.0.1 10.1.0.2" for line in applied.evidence)
    assert scene.campaigns.waves(scene.campaign.id)[0].scopes == ("kea unix:/run/kea, subnet 1",)
    changed.clear()
    assert scene.back() == 5
    scene.work()
    assert scene.at(SOURCE) == 5
    assert scene.dhcp.says == {"subnet 1": OLD}
    assert changed == [5, 5]
    assert scene.scope().state is ScopeState.REVERTED


def test_each_site_in_its_turn(engine: Engine) -> None:
    scene = Scene(engine, 2, 3, waves_of={"warsaw": ("w0",), "krakow": ("w1",)})
    seen: list[tuple[tuple[str, ...], int]] = []
    scene.dhcp.around = lambda when: seen.append((scene.dhcp.says["krakow"], scene.at(DESTINATION)))
    scene.world.option150 = DESTINATION
    scene.work()
    assert scene.dhcp.done == [("warsaw", NEW), ("krakow", NEW)]
    assert seen[:3] == [(OLD, 0), (OLD, 0), (OLD, 2)]  # the second site's only once the first one has moved
    # One wave back takes its own scope back, and leaves the other.
    assert scene.back("w0") == 2
    scene.work()
    assert scene.dhcp.says == {"warsaw": OLD, "krakow": NEW}


def test_a_wave_does_not_go_back_while_others_need_its_scope(engine: Engine) -> None:
    scene = Scene(engine, 2, 3)
    scene.work()
    with pytest.raises(NotNow, match="3 phones have moved by it that are to stay"):
        scene.back("w0")
    assert all(phone.wanted == "forth" for phone in scene.campaigns.phones(scene.campaign.id))
    assert scene.scope().wanted is ScopeState.APPLIED
    # Somebody sees to it, by reservations: then it is his word that counts.
    assert scene.campaigns.send_back("move", wave="w0", phones=(), option150=SOURCE, now=scene.world.now()) == 2
    # The rest of them needs it no more.
    assert scene.back() == 5
    assert scene.scope().wanted is ScopeState.REVERTED


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("back", [False, True])
def test_killed_in_the_middle_somebody_else_goes_on(engine: Engine, when: str, back: bool) -> None:
    scene = Scene(engine, 2)
    if back:
        scene.work()
        scene.back()

    def kill(moment: str) -> None:
        if moment == when:
            scene.dhcp.around = lambda moment: None
            raise Killed

    scene.dhcp.around = kill
    with pytest.raises(Killed):
        scene.work("first")
    assert scene.scope().state is (ScopeState.APPLIED if back else ScopeState.PLANNED)
    before = scene.world.now()
    scene.work("second")
    assert scene.world.now() - before > timedelta(minutes=2)  # the first one might have been at it still
    assert scene.at(SOURCE if back else DESTINATION) == 2
    assert scene.dhcp.says == {"subnet 1": OLD if back else NEW}
    # What was there before is not forgotten by having been interrupted.
    if not back:
        scene.back()
        scene.work("third")
        assert scene.dhcp.says == {"subnet 1": OLD}


def test_refused_it_pauses_and_resets_nobody(engine: Engine) -> None:
    scene = Scene(engine, 2)

    def refuse(when: str) -> None:
        raise Refused("the server is read-only", "Let it write.")

    scene.dhcp.around = refuse
    with pytest.raises(TrustbridgeError, match="the server is read-only") as caught:
        scene.work()
    assert "No phone was reset" in (caught.value.hint or "")
    campaign = scene.campaigns.get("move")
    assert (campaign.state, campaign.reason) == (
        CampaignState.PAUSED,
        "option 150 was not changed: the server is read-only",
    )
    assert scene.journal() == ["wanted", "begun", "refused"]
    assert not any(phone.resets for phone in scene.world.phones.values())
    scene.dhcp.around = lambda when: None
    scene.campaigns.resume("move", retry=False, now=scene.world.now())
    scene.work()
    assert scene.at(DESTINATION) == 2


def test_what_somebody_else_changed_is_left_alone(engine: Engine) -> None:
    scene = Scene(engine, 2)
    scene.work()
    scene.dhcp.says["subnet 1"] = ("10.9.9.9",)
    scene.back()
    with pytest.raises(TrustbridgeError, match=r"10\.9\.9\.9"):
        scene.work()
    assert scene.dhcp.says == {"subnet 1": ("10.9.9.9",)}
    assert scene.at(DESTINATION) == 2


def test_what_is_so_already_is_not_changed_nor_changed_back(engine: Engine) -> None:
    scene = Scene(engine, 2)
    scene.dhcp.says["subnet 1"] = NEW
    scene.world.option150 = DESTINATION
    scene.work()
    assert scene.at(DESTINATION) == 2
    assert scene.dhcp.done == []
    scene.back()
    scene.world.option150 = SOURCE
    scene.work()
    assert scene.dhcp.done == []


def test_two_workers_do_not_change_the_same_scope(engine: Engine) -> None:
    scene = Scene(engine, 1)
    mine, other = (CampaignWork(engine, by) for by in ("mine", "other"))
    mine.want_scopes(scene.campaign.id, "w0", NOW)
    scope = scene.scope()
    assert mine.take_scope(scope, NOW, NOW + timedelta(minutes=1)) is not None
    assert other.take_scope(scope, NOW, NOW + timedelta(minutes=1)) is None
    assert other.take_scope(scope, NOW + timedelta(minutes=2), NOW + timedelta(minutes=3)) is not None
    assert mine.left(scene.campaign.id)[0] == 2  # a phone and a scope


def test_a_worker_that_was_not_told_how_touches_nothing(engine: Engine) -> None:
    scene = Scene(engine, 1)
    with pytest.raises(SettingsError, match="changes option 150"):
        asyncio.run(Worker(CampaignWork(engine, "x"), "move", scene.world).run())
    assert not any(phone.resets for phone in scene.world.phones.values())


def test_unreachable_is_told_with_its_hint(engine: Engine) -> None:
    scene = Scene(engine, 1)

    def away(when: str) -> None:
        raise Unreachable("dhcp.example does not answer", "Is it up?")

    scene.dhcp.around = away
    with pytest.raises(TrustbridgeError) as caught:
        scene.work()
    assert "Is it up?" in (caught.value.hint or "")


def test_files_are_not_for_campaigns() -> None:
    from trustbridge.dhcp.record import Kind

    check_kind(Server(Kind.KEA, "unix:/run/kea"))
    check_kind(Server(Kind.CLUSTER, "source"))
    for kind in (Kind.DNSMASQ, Kind.ISC):
        with pytest.raises(SettingsError, match="told by hand"):
            check_kind(Server(kind, "/etc/dnsmasq.conf"))
