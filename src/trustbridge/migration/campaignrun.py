"""A worker of a campaign: takes phones by lease, looks at them, lets `step` decide, sends resets, writes it all down.

Any number may work on one campaign, on any number of machines: the database keeps them apart. Any may be killed at any
moment: what it had taken is free again when its leases end, and what it was about to send stands in the database as
*reset requested*, which nobody repeats before the phone itself has shown that nothing was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol, TypeVar

from trustbridge.errors import SettingsError
from trustbridge.migration.campaignoption150 import Option150
from trustbridge.migration.campaignphone import (
    ENDS,
    KINDS,
    LookAgain,
    Observation,
    Phone,
    PhoneState,
    SendReset,
    Terms,
    Told,
)
from trustbridge.migration.campaignplan import CampaignSettings, next_wave, wave_opens
from trustbridge.migration.campaignsteps import step
from trustbridge.storage.campaignrecords import CampaignRecord, Change, Load, PhoneRecord, WaveRecord
from trustbridge.storage.campaignwork import CampaignWork, after
from trustbridge.storage.models import CampaignState, Direction, Kind
from trustbridge.trust.models import model_named

T = TypeVar("T")

#: Phones under way, and as many others, that are taken at a time: RisPort70 tells of 1000 in one call.
BATCH: Final = 1000
#: So many of the others are looked at, also when none of them may be reset now: people see what is ready.
_AHEAD: Final = 100
#: Seconds from the beginning of one round to that of the next, at the least: 15 calls of RisPort70 a minute are a
#: cluster's allowance, and a round takes one. Whoever hurries has to stand still afterwards, for up to a minute.
PACE: Final = 4.0
#: Resets that are on their way to a cluster at the same time.
_AT_ONCE: Final = 8
#: Phones that are looked at for calls, and then reset, at a time: the first are to be reset soon after the last look.
_TOGETHER: Final = 128
#: How long nobody is taken to have begun a call.
_FRESH: Final = timedelta(seconds=5)
#: States of phones under way that ask no TVS of their origin any more.
_ARRIVED: Final = frozenset({PhoneState.REGISTERED})
#: Changes of state that one observation can cause, at the most: from planned to ready, from sent to moved.
_CHAIN: Final = 6
#: Longest and shortest sleep, seconds: others pause the campaign, or finish with their phones.
_NAP, _BLINK = 10.0, 0.2
#: Pause, seconds, before it is seen whether phones that another worker has taken are free.
_TAKEN: Final = 2.0


class Surroundings(Protocol):
    """Clusters and phones, and the time."""

    def now(self) -> datetime:
        """The time, with its zone."""

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""

    async def observe(self, phones: Sequence[PhoneRecord]) -> Mapping[str, Observation]:
        """What is known of phones, by name. Those it does not name could not be looked at.

        Raises:
            TrustbridgeError: it makes no sense to go on.
        """

    async def in_use(self, addresses: Mapping[str, str]) -> Mapping[str, bool | None]:
        """Whether somebody talks on phones, by name; where each is, is given. None where nobody can tell."""

    async def reset(self, phone: PhoneRecord) -> tuple[Told | None, str]:
        """Have a phone's origin reset it, and what came of that; None when nobody knows. Never tries twice.

        Raises:
            TrustbridgeError: it makes no sense to go on; whether it was sent is not known.
        """


@dataclass(slots=True)
class Watcher:
    """Told of what happens."""

    moved: Callable[[PhoneRecord], None] = field(default=lambda phone: None)
    noted: Callable[[str], None] = field(default=lambda words: None)


class Worker:
    """One worker of one campaign.

    Args:
        campaigns: the repository, in the name of this worker alone.
        name: the campaign's.
        stop: when it is set, the worker ends after what it is doing; others, or the next one, go on.
        option150: changes the scopes of the campaign; None for one that has none.
    """

    def __init__(
        self,
        campaigns: CampaignWork,
        name: str,
        around: Surroundings,
        *,
        watcher: Watcher | None = None,
        stop: asyncio.Event | None = None,
        option150: Option150 | None = None,
    ) -> None:
        self._campaigns = campaigns
        self._name = name
        self._around = around
        self._watcher = watcher or Watcher()
        self._stop = stop or asyncio.Event()
        self._option150 = option150
        #: Seconds that the round that was ends after its beginning, at the earliest.
        self._pace = 0.0
        #: Phones that have come to an end in the round that was.
        self._arrived = 0

    async def run(self) -> CampaignRecord:
        """Work until nothing is left to do in the campaign's present state, and give it.

        Raises:
            TrustbridgeError: a cluster does not let us in, or the database is away. Nothing is lost by that.
        """
        while True:
            began = self._around.now()
            busy = await self.round()
            campaign = await self._in_database(self._campaigns.get, self._name)
            now = self._around.now()
            await self._in_database(self._campaigns.close_waves, campaign.id, now)
            campaign = await self._in_database(self._campaigns.finish, campaign.id, now)
            left, due = await self._in_database(self._campaigns.left, campaign.id)
            if not left or self._stop.is_set():
                return campaign
            if busy:
                wait = self._pace - (now - began).total_seconds()
                if wait > 0:
                    await self._sleep(wait)
            else:
                wait = _NAP if due is None else (due - now).total_seconds() if due > now else _TAKEN
                await self._sleep(min(max(wait, _BLINK), _NAP))

    async def _sleep(self, seconds: float) -> None:
        sleeping = asyncio.ensure_future(self._around.sleep(seconds))
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((sleeping, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopped.cancel()

    async def round(self) -> bool:
        """Take what is due, and bring it as far as it can be brought now. False when nothing was due."""
        campaign = await self._in_database(self._campaigns.get, self._name)
        settings = CampaignSettings.from_json(campaign.settings)
        waves = await self._in_database(self._campaigns.waves, campaign.id)
        now = self._around.now()
        wave = next_wave(waves) if campaign.state is CampaignState.RUNNING else None
        if campaign.state is not CampaignState.PAUSED and not await self._scopes_settled(campaign.id):
            return False
        if wave is not None and wave_opens(wave, now) == now:
            if wave.scopes and wave.kinds.get(Kind.HELD):
                await self._in_database(self._campaigns.want_scopes, campaign.id, wave.name, now)
                if not await self._scopes_settled(campaign.id):
                    return False
            await self._in_database(self._campaigns.open_wave, campaign.id, wave.id, now)
        load = await self._in_database(self._campaigns.load, campaign.id, now)
        until = now + settings.terms.lease
        # Whoever can't be reset yet need not be looked at: by the time of its turn that would be old. As many as have
        # arrived in the round before are reckoned to arrive in this one, and to make room.
        others = min(max(_room(settings, load, leaving=self._arrived), _AHEAD), BATCH)
        self._arrived = 0
        take = partial(self._campaigns.lease, until=until, limit=BATCH, others=others)
        taken = await self._in_database(take, campaign.id, now)
        self._pace = min(PACE, settings.terms.look.total_seconds())
        if not taken:
            return False
        turn = _Round(self, campaign, settings, {wave.id: wave for wave in waves})
        try:
            await turn.work(taken)
        except BaseException:
            # What was not written is as it was; nobody has to wait for the lease. A kill does without this.
            with contextlib.suppress(Exception):
                self._campaigns.release(taken)
            raise
        return True

    async def _scopes_settled(self, campaign_id: int) -> bool:
        """Whether option 150 is everywhere what is wanted: before that no phone is touched."""
        if self._option150 is not None:
            return await self._option150.done(campaign_id)
        scopes = await self._in_database(self._campaigns.scopes, campaign_id)
        if any(scope.wanted is not scope.state for scope in scopes):
            raise SettingsError(f"campaign {self._name} changes option 150, and this worker was not told how")
        return True

    async def _in_database(self, ask: Callable[..., T], *arguments: object) -> T:
        """In a thread: another process may hold what this one waits for."""
        return await asyncio.to_thread(ask, *arguments)


def _room(settings: CampaignSettings, load: Load, *, leaving: int) -> int:
    """How many resets may be requested, whichever TVS their phones ask, once so many are under way no more."""
    limits = settings.limits
    return min(limits.resets_a_minute - load.recent, limits.under_way - load.under_way + leaving)


class _Round:
    """Phones that were taken together."""

    def __init__(
        self, worker: Worker, campaign: CampaignRecord, settings: CampaignSettings, waves: Mapping[int, WaveRecord]
    ) -> None:
        self._worker = worker
        self._campaigns = worker._campaigns
        self._around = worker._around
        self._campaign = campaign
        self._settings = settings
        self._waves = waves

    async def work(self, taken: Sequence[PhoneRecord]) -> None:
        seen = {phone.name: Observation(begun=True) for phone in taken}
        look = [phone for phone in taken if phone.wanted is phone.direction]
        if look:
            try:
                async with asyncio.timeout(self._settings.terms.lease.total_seconds() / 2):
                    found = await self._around.observe(look)
            except TimeoutError:
                self._worker._watcher.noted("clusters and phones took too long to tell where phones are")
                found = {}
            seen |= {name: replace(one, begun=True) for name, one in found.items()}
        left = await self._chain(taken, seen)
        left = await self._send(left, seen)
        await self._put_down(left, seen)

    async def _chain(self, phones: Sequence[PhoneRecord], seen: Mapping[str, Observation]) -> list[PhoneRecord]:
        """Let one observation cause what it causes; gives the phones as they are then, leases kept."""
        now = self._around.now()
        still: list[PhoneRecord] = []
        changes: list[Change] = []
        turned: set[int] = set()
        for phone in phones:
            ways = self._ways(phone, seen[phone.name], now)
            changes += ways
            if ways and phone.kind is Kind.UNDER_WAY and ways[-1].kind is not Kind.UNDER_WAY:
                self._worker._arrived += 1
            if not ways:
                still.append(phone)
            elif ways[-1].direction is not phone.direction:
                turned.add(phone.id)
        done = await self._advance(changes, now, keep=True)
        if turned:
            put_down = [self._stay(phone, now) for phone in done if phone.id in turned]
            await self._advance(put_down, now, keep=False)
        return still + [phone for phone in done if phone.id not in turned]

    def _ways(self, phone: PhoneRecord, seen: Observation, now: datetime) -> list[Change]:
        """The changes that follow from one observation, one after the other."""
        ways: list[Change] = []
        direction = phone.direction
        # What was seen of one that turns, was seen with origin and target the other way round.
        while len(ways) < _CHAIN and phone.direction is direction:
            change = self._decide(phone, seen, now)
            if not change.moves:
                break
            ways.append(change)
            phone = after(change, now)
        return ways

    async def _send(self, phones: Sequence[PhoneRecord], seen: dict[str, Observation]) -> list[PhoneRecord]:
        """Reset those whose turn it is; gives the others.

        Calls begin at any moment: whether somebody talks is looked at last of all, and only at phones that may go.
        """
        now = self._around.now()
        changes = [
            self._decide(phone, replace(seen[phone.name], granted=True), now)
            for phone in phones
            if phone.state == PhoneState.READY and self._opens(phone, now) == now
        ]
        asked = [change for change in changes if change.reset]
        if not asked:
            return list(phones)
        allowed, in_database = self._settings.limits.allowed, self._worker._in_database
        load = await in_database(partial(self._campaigns.load, arrived=_ARRIVED), self._campaign.id, now)
        turn = [change.phone for change in allowed(load, asked)]
        request = partial(self._campaigns.request_resets, allowed=allowed, arrived=_ARRIVED)
        left = {phone.id: phone for phone in phones}
        for start in range(0, len(turn), _TOGETHER):
            together = turn[start : start + _TOGETHER]
            if not await self._look_for_calls(together, seen):
                break
            now = self._around.now()
            changes = [self._decide(phone, replace(seen[phone.name], granted=True), now) for phone in together]
            busy = await self._advance([one for one in changes if one.moves and not one.reset], now, keep=True)
            left |= {phone.id: phone for phone in busy}
            granted = await in_database(request, self._campaign.id, [one for one in changes if one.reset], now)
            for phone in granted:
                self._worker._watcher.moved(phone)
                del left[phone.id]
            await self._send_all(granted)
        return list(left.values())

    async def _send_all(self, granted: Sequence[PhoneRecord]) -> None:
        """Send resets that are requested. What came of them is written together: a kill before that leaves doubt."""
        gate = asyncio.Semaphore(_AT_ONCE)
        sent = await asyncio.gather(*(self._send_one(phone, gate) for phone in granted), return_exceptions=True)
        await self._advance([one for one in sent if isinstance(one, Change)], self._around.now(), keep=False)
        for one in sent:
            if isinstance(one, BaseException):
                raise one

    async def _look_for_calls(self, phones: Sequence[PhoneRecord], seen: dict[str, Observation]) -> bool:
        """Find out who talks now, where nobody has looked just before. False when there was no time for that."""
        now = self._around.now()
        share = self._settings.terms.lease / 4
        if any(phone.lease_until is None or phone.lease_until - now < share for phone in phones):
            return False
        addresses = {
            phone.name: one.origin.address
            for phone in phones
            if (one := seen[phone.name]).origin is not None and (one.in_use_at is None or now - one.in_use_at >= _FRESH)
        }
        if not addresses:
            return True
        try:
            async with asyncio.timeout(share.total_seconds()):
                found = await self._around.in_use(addresses)
        except TimeoutError:
            self._worker._watcher.noted("phones took too long to tell whether they are in use")
            return False
        now = self._around.now()
        for name, in_use in found.items():
            seen[name] = seen[name].with_call(in_use, now)
        return True

    async def _send_one(self, phone: PhoneRecord, gate: asyncio.Semaphore) -> Change:
        """Send a reset that is requested; only as long as nobody else may think that it was not."""
        within = self._settings.terms.send_within
        told, said = None, ""
        async with gate:
            # Here, as late as can be: a process may have been stopped, or have waited for its turn.
            if self._around.now() - phone.since < within:
                try:
                    async with asyncio.timeout(within.total_seconds()):
                        told, said = await self._around.reset(phone)
                except TimeoutError:
                    said = "the cluster took too long to answer"
        if told is None and said:
            self._worker._watcher.noted(f"{phone.name}: nobody knows whether its reset was sent: {said}")
        return self._decide(phone, Observation(told=told, said=said), self._around.now())

    async def _put_down(self, phones: Sequence[PhoneRecord], seen: Mapping[str, Observation]) -> None:
        now = self._around.now()
        changes = []
        for phone in phones:
            # Whatever time has brought since is for the next look: this one only says when that is.
            change = self._decide(phone, seen[phone.name], now)
            if change.moves:
                change = self._stay(phone, now)
            if phone.state == PhoneState.READY and (opens := self._opens(phone, now)) is not None:
                change = replace(change, due_at=max(opens, change.due_at or opens))
            changes.append(change)
        await self._advance(changes, now, keep=False)

    async def _advance(self, changes: Sequence[Change], now: datetime, *, keep: bool) -> list[PhoneRecord]:
        if not changes:
            return []
        write = partial(self._campaigns.advance, stop=self._settings.limits.stop, keep=keep)
        done = await self._worker._in_database(write, self._campaign.id, changes, now)
        mine = {phone.id for phone in done}
        for change in changes:
            if change.moves and change.phone.id in mine:
                self._worker._watcher.moved(after(change, now))
        return done

    def _decide(self, record: PhoneRecord, seen: Observation, now: datetime) -> Change:
        before = as_phone(record, self._settings.terms)
        after, commands = step(before, seen, now)
        due = next((command.at for command in commands if isinstance(command, LookAgain)), None)
        return Change(
            record,
            state=after.state,
            kind=KINDS[after.state],
            direction=after.direction,
            due_at=due,
            reason=after.reason,
            evidence=seen.evidence,
            baseline=after.baseline,
            reset=any(isinstance(command, SendReset) for command in commands),
        )

    def _stay(self, record: PhoneRecord, now: datetime) -> Change:
        due = None if record.state in ENDS else now
        return Change(record, record.state, record.kind, record.direction, due)

    def _opens(self, phone: PhoneRecord, now: datetime) -> datetime | None:
        """When it may be reset; who goes back need not wait for the night."""
        if phone.direction is Direction.BACK:
            return now
        return wave_opens(self._waves[phone.wave_id], now)


def as_phone(record: PhoneRecord, terms: Terms) -> Phone:
    """A phone of the database as `campaignsteps` knows it."""
    return Phone(
        name=record.name,
        state=PhoneState(record.state),
        since=record.since,
        step=record.step,
        direction=record.direction,
        wanted=record.wanted,
        again=record.again,
        ignores_lists=not model_named(record.model).security_by_default,
        reason=record.reason,
        terms=terms,
    ).with_baseline(record.baseline)
