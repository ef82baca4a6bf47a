"""Clusters and phones of a campaign, made up, with a clock that moves when somebody sleeps; and ways to be killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, event
from tests.storage.databases import NOW

from trustbridge.cucm.model import PhoneStatus
from trustbridge.migration.campaignphone import Lists, Observation, PhoneState, Seen, Told
from trustbridge.storage.campaignrecords import PhoneRecord
from trustbridge.storage.models import Direction

SOURCE, DESTINATION = "source", "destination"
BOOT = timedelta(seconds=40)


@dataclass
class MadePhone:
    """A phone: where it is registered, whose lists it holds, and how often it was reset.

    Attributes:
        strands: it refuses other lists, and goes back to where it was.
        deaf: it does not do what it is told.
        rejected: the destination does not have it.
        page: whether its page can be read.
        talks: from when to when somebody talks on it.
        cut: calls that ended because it was reset.
    """

    name: str
    at: str | None = SOURCE
    lists: str = SOURCE
    since: datetime = NOW - timedelta(days=3)
    up_at: datetime | None = None
    strands: bool = False
    deaf: bool = False
    rejected: bool = False
    page: bool = True
    talks: tuple[datetime, datetime] | None = None
    cut: int = 0
    resets: list[datetime] = field(default_factory=list)


class World:
    """What a worker has around it."""

    def __init__(self, phones: Sequence[str]) -> None:
        self.time = NOW
        self.phones = {name: MadePhone(name) for name in phones}
        self.option150 = DESTINATION
        #: Clusters that do not answer RisPort70.
        self.silent = False
        #: Called before a reset takes effect, and after.
        self.before_reset: Callable[[], None] = lambda: None
        self.after_reset: Callable[[], None] = lambda: None
        #: Whether the cluster's answer to a reset gets lost.
        self.answers_lost = False
        self.refuses: set[str] = set()
        #: The most phones that were on their way at once.
        self.most_under_way = 0
        #: Phones that were looked at for calls, each time.
        self.looked_for_calls: list[str] = []

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds) * (200 if self.silent else 1)  # nothing happens in between
        await asyncio.sleep(0)

    def _live(self) -> None:
        for phone in self.phones.values():
            if phone.up_at is not None and phone.up_at <= self.time:
                if not phone.strands:
                    phone.lists = self.option150
                phone.at = None if phone.rejected and phone.lists == DESTINATION else phone.lists
                phone.since, phone.up_at = phone.up_at, None

    async def observe(self, phones: Sequence[PhoneRecord]) -> Mapping[str, Observation]:
        await asyncio.sleep(0)
        self._live()
        if self.silent:
            return {phone.name: Observation() for phone in phones}
        found = {phone.name: self._observation(self.phones[phone.name], phone.direction) for phone in phones}
        for phone in phones:
            if phone.state == PhoneState.WAITING and found[phone.name].at_origin:
                found[phone.name] = found[phone.name].with_call(self._talks(phone.name), self.time)
        return found

    async def in_use(self, addresses: Mapping[str, str]) -> Mapping[str, bool | None]:
        await asyncio.sleep(0)
        return {name: self._talks(name) for name in addresses}

    def _talks(self, name: str) -> bool | None:
        self.looked_for_calls.append(name)
        phone = self.phones[name]
        if not phone.page:
            return None
        return phone.talks is not None and phone.talks[0] <= self.time < phone.talks[1]

    def _observation(self, phone: MadePhone, direction: Direction) -> Observation:
        ends = (SOURCE, DESTINATION) if direction is Direction.FORTH else (DESTINATION, SOURCE)
        seen = [
            Seen(PhoneStatus.REGISTERED, phone.since, "node")
            if phone.at == cluster
            else Seen(PhoneStatus.REJECTED, phone.since, "node")
            if phone.rejected and cluster == DESTINATION and phone.resets and phone.up_at is None
            else Seen(PhoneStatus.UNREGISTERED, phone.since, "node")
            for cluster in ends
        ]
        lists = Lists.ORIGIN if phone.lists == ends[0] else Lists.TARGET
        readable = phone.at is not None and phone.page
        return Observation(
            asked=True,
            origin=seen[0],
            target=seen[1],
            lists=lists if readable else None,
            messages=(f"start {len(phone.resets)}",) if readable else None,
            evidence=(f"at {phone.at}",),
        )

    async def reset(self, record: PhoneRecord) -> tuple[Told | None, str]:
        await asyncio.sleep(0)
        if record.name in self.refuses:
            return Told.REFUSED, "no such device"
        self.before_reset()
        self._live()
        phone = self.phones[record.name]
        origin = SOURCE if record.direction is Direction.FORTH else DESTINATION
        phone.resets.append(self.time)
        phone.cut += phone.talks is not None and phone.talks[0] <= self.time < phone.talks[1]
        if phone.at == origin and not phone.deaf:
            phone.at, phone.up_at, phone.since = None, self.time + BOOT, self.time
            self.most_under_way = max(self.most_under_way, sum(one.up_at is not None for one in self.phones.values()))
        self.after_reset()
        return (None, "the connection broke") if self.answers_lost else (Told.SENT, "")


class Killed(BaseException):
    """What SIGKILL is to whoever is killed: nothing more is done, and nothing is put in order."""


class Killer:
    """Kills whoever uses an engine at the n-th thing it does: a statement, a commit, a reset just before or after."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.seen = 0
        self.dead = False

    def point(self, *_: Any) -> None:
        self.seen += 1
        if self.dead or self.seen == self.at:
            self.dead = True
            raise Killed

    def watch(self, engine: Engine, world: World) -> None:
        event.listen(engine, "before_cursor_execute", self.point)
        event.listen(engine, "commit", self.point)
        world.before_reset = world.after_reset = self.point
