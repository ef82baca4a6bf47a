"""What workers do in the database: take phones by lease, write what became of them, open and close waves.

Two things keep workers apart. A lease: whoever takes a phone is alone with it until the lease ends, also when he was
killed. And the step: a change names lease and step it was decided on, and changes nothing when either is another by
then. Journal and change are one transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Select, Table, bindparam, func, insert, or_, select, update
from sqlalchemy.orm import Session

from trustbridge.storage.campaignreads import wave_records
from trustbridge.storage.campaignrecords import CampaignRecord, Change, Load, PhoneRecord, WaveRecord
from trustbridge.storage.campaigns import TURNING
from trustbridge.storage.campaignscopes import CampaignScopes
from trustbridge.storage.models import (
    Campaign,
    CampaignPhone,
    CampaignState,
    Direction,
    JournalEntry,
    Kind,
    ScopeChange,
    Wave,
)

#: Rows as they are, without objects that watch over them: a campaign reads and writes them by the thousand.
_PHONE: Final = cast(Table, CampaignPhone.__table__)
_WAVE: Final = cast(Table, Wave.__table__)
_JOURNAL: Final = cast(Table, JournalEntry.__table__)

#: The minute of "resets a minute".
MINUTE: Final = timedelta(minutes=1)
#: Whether a wave's failures halt the campaign, and why.
StopRule = Callable[[WaveRecord], str | None]
#: Which of the resets that are to be requested may be requested now.
Allowance = Callable[[Load, Sequence[Change]], Sequence[Change]]


@dataclass(frozen=True, slots=True)
class _Named:
    name: str


class CampaignWork(CampaignScopes):
    """A worker's side of the repository; `by` must be this worker's alone."""

    def lease(
        self, campaign_id: int, now: datetime, *, until: datetime, limit: int, others: int | None = None
    ) -> list[PhoneRecord]:
        """Take phones that are due and nobody else's, those under way first; they are ours until then.

        Args:
            limit: phones under way, at the most.
            others: the others, at the most; None for as many as those under way leave of `limit`.
        """
        free = or_(CampaignPhone.lease_until.is_(None), CampaignPhone.lease_until <= now)
        moving = CampaignPhone.kind == Kind.UNDER_WAY
        due = or_(CampaignPhone.due_at <= now, TURNING)
        with self.writing() as session:

            def some(which: ColumnElement[bool], count: int) -> list[int]:
                # SQLite has the file locked since the transaction began, and knows no FOR UPDATE: it is left out there.
                query = select(CampaignPhone.id).where(CampaignPhone.campaign_id == campaign_id, free, due, which)
                query = query.order_by(CampaignPhone.due_at, CampaignPhone.id).limit(count)
                return list(session.scalars(query.with_for_update(skip_locked=True)))

            under_way = some(moving, limit)
            room = limit - len(under_way) if others is None else others
            held = some(~moving, room) if room > 0 else []
            chosen = under_way + held
            if not chosen:
                return []
            session.execute(
                update(CampaignPhone)
                .where(CampaignPhone.id.in_(chosen))
                .values(lease_owner=self.by, lease_until=until)
                .execution_options(synchronize_session=False)
            )
            query = select(_PHONE, _WAVE.c.name.label("wave_name")).join(_WAVE, _WAVE.c.id == _PHONE.c.wave_id)
            rows = session.execute(query.where(_PHONE.c.id.in_(chosen)))
            found = {row.id: PhoneRecord.of(cast(Any, row), cast(Any, _Named(row.wave_name))) for row in rows}
            return [found[number] for number in (*sorted(under_way), *sorted(held))]

    def release(self, phones: Sequence[PhoneRecord]) -> None:
        """Give phones back that nothing was written of."""
        with self.writing() as session:
            session.execute(
                update(CampaignPhone)
                .where(CampaignPhone.id.in_([phone.id for phone in phones]), CampaignPhone.lease_owner == self.by)
                .values(lease_owner=None, lease_until=None)
            )

    def advance(
        self, campaign_id: int, changes: Sequence[Change], now: datetime, *, stop: StopRule, keep: bool = False
    ) -> list[PhoneRecord]:
        """Write what became of leased phones, and halt the campaign where that is too much.

        Args:
            changes: several of one phone follow one another, each made of what the one before comes to (`after`):
                they are written as one, each with its entry in the journal.
            keep: the lease is kept, for what is to follow at once.

        Gives:
            the phones as they are now, each once; those that were somebody else's by then are missing, and unchanged.
        """
        with self.writing() as session:
            campaign = _locked(session, campaign_id)
            done = self._write(session, changes, now, keep=keep)
            if campaign.state == CampaignState.RUNNING and any(change.kind == Kind.FAILED for change in changes):
                session.flush()
                self._judge(session, campaign, now, stop)
            return done

    def load(self, campaign_id: int, now: datetime, *, arrived: Collection[str] = ()) -> Load:
        """What the campaign has on its hands at this moment, over all workers.

        Args:
            arrived: states of phones under way that ask the TVS of their origin no more.
        """
        with self.reading() as session:
            return _load(session, session.get_one(Campaign, campaign_id), now, arrived)

    def request_resets(
        self,
        campaign_id: int,
        changes: Sequence[Change],
        now: datetime,
        *,
        allowed: Allowance,
        arrived: Collection[str] = (),
    ) -> list[PhoneRecord]:
        """Write that resets are about to be sent: those that are allowed at this moment, over all workers.

        Nobody sends one before this has come back with its phone. A campaign that was paused or halted meanwhile
        requests none; phones on their way back may still go while it is halted or finished.

        Args:
            allowed: chooses among them, by the load there is.
            arrived: as for `load`.

        Gives:
            phones whose reset is now this worker's to send; leases are kept. The others are not changed.
        """
        with self.writing() as session:
            campaign = _locked(session, campaign_id)
            may = [change for change in changes if _may_reset(CampaignState(campaign.state), change.direction)]
            chosen = allowed(_load(session, campaign, now, arrived), may)
            return self._write(session, chosen, now, keep=True)

    def _write(self, session: Session, changes: Sequence[Change], now: datetime, *, keep: bool) -> list[PhoneRecord]:
        """A number of statements for all of them together: the database's part of a campaign must not grow with it."""
        steps: dict[int, list[Change]] = {}
        for change in changes:
            steps.setdefault(change.phone.id, []).append(change)
        mine = self._mine(session, steps, now)
        done: list[PhoneRecord] = []
        updates: dict[tuple[str, ...], list[dict[str, object]]] = {}
        entries: list[dict[str, object]] = []
        for number, ways in steps.items():
            if number not in mine:
                continue
            values: dict[str, object] = {"key": number}
            for change in ways:
                values |= _values(change, now)
                if change.moves:
                    entries.append(self._entry(change, now))
            if not keep:
                values |= {"lease_owner": None, "lease_until": None}
            updates.setdefault(tuple(sorted(values)), []).append(values)
            record = after(ways[-1], now)
            # What a person wants may have changed since the lease.
            wanted, again = mine[number]
            again = again and "again" not in values
            if not keep:
                record = replace(record, lease_owner=None, lease_until=None, wanted=Direction(wanted), again=again)
            elif (wanted, again) != (record.wanted, record.again):
                record = replace(record, wanted=Direction(wanted), again=again)
            done.append(record)
        connection = session.connection()
        for columns, rows in updates.items():
            bound: dict[str, Any] = {name: bindparam(f"new_{name}") for name in columns if name != "key"}
            statement = update(_PHONE).where(_PHONE.c.id == bindparam("key")).values(bound)
            connection.execute(
                statement, [{name if name == "key" else f"new_{name}": row[name] for name in row} for row in rows]
            )
        if entries:
            connection.execute(insert(_JOURNAL), entries)
        return done

    def _mine(
        self, session: Session, steps: Mapping[int, Sequence[Change]], now: datetime
    ) -> dict[int, tuple[str, bool]]:
        """Which of these phones are still this worker's, at the step their change was decided on; wanted and again."""
        columns = (_PHONE.c.step, _PHONE.c.lease_owner, _PHONE.c.lease_until, _PHONE.c.wanted, _PHONE.c.again)
        query = select(_PHONE.c.id, *columns).where(_PHONE.c.id.in_(list(steps))).with_for_update()
        return {
            number: (wanted, again)
            for number, step, owner, until, wanted, again in session.execute(query)
            if step == steps[number][0].phone.step and owner == self.by and until is not None and until > now
        }

    def _entry(self, change: Change, now: datetime) -> dict[str, object]:
        before = change.phone
        return {
            "campaign_id": before.campaign_id,
            "at": now,
            "by": self.by,
            "event": change.event,
            "wave": before.wave,
            "phone": before.name,
            "step": before.step + 1,
            "before": before.state,
            "after": change.state,
            "reason": change.reason,
            "evidence": list(change.evidence),
        }

    def _judge(self, session: Session, campaign: Campaign, now: datetime, stop: StopRule) -> None:
        for wave in wave_records(session, campaign.id):
            reason = stop(wave)
            if reason is not None:
                self.turn(session, campaign, CampaignState.HALTED, reason, now, event="stop rule", wave=wave.name)
                return

    # Waves, and the end.

    def open_wave(self, campaign_id: int, wave_id: int, now: datetime) -> bool:
        """Let a wave begin: its phones are due. False when it has begun, or the campaign does not run."""
        with self.writing() as session:
            campaign = _locked(session, campaign_id)
            wave = session.get_one(Wave, wave_id)
            if campaign.state != CampaignState.RUNNING or wave.opened_at is not None:
                return False
            wave.opened_at = now
            session.execute(
                update(CampaignPhone)
                .where(CampaignPhone.wave_id == wave_id, CampaignPhone.kind == Kind.HELD)
                .values(due_at=now)
            )
            self.note(session, campaign_id, now, "wave", wave=wave.name, after="begun")
            return True

    def close_waves(self, campaign_id: int, now: datetime) -> None:
        """Note which waves have come to their end."""
        with self.writing() as session:
            _locked(session, campaign_id)
            for found in wave_records(session, campaign_id):
                if found.opened_at is not None and found.closed_at is None and found.resting:
                    session.get_one(Wave, found.id).closed_at = now
                    counts = ", ".join(f"{count} {state}" for state, count in sorted(found.states.items()))
                    self.note(session, campaign_id, now, "wave", wave=found.name, after="ended", reason=counts)

    def finish(self, campaign_id: int, now: datetime) -> CampaignRecord:
        """End a running campaign in which every phone rests, and give its phones free."""
        with self.writing() as session:
            campaign = _locked(session, campaign_id)
            busy = _count(campaign_id).where(or_(CampaignPhone.kind.in_((Kind.HELD, Kind.UNDER_WAY)), TURNING))
            if session.scalar(_unsettled(campaign_id)):
                return CampaignRecord.of(campaign)
            if campaign.state in (CampaignState.RUNNING, CampaignState.FINISHED) and not session.scalar(busy):
                if campaign.state == CampaignState.RUNNING:
                    self.turn(session, campaign, CampaignState.FINISHED, "every phone has come to an end", now)
                session.execute(
                    update(CampaignPhone).where(CampaignPhone.campaign_id == campaign_id).values(claim=None)
                )
            return CampaignRecord.of(campaign)

    def left(self, campaign_id: int) -> tuple[int, datetime | None]:
        """How much a campaign, in its present state, still has to look at, phones and scopes; when a phone is due.

        A campaign that is paused or halted leaves those alone that nothing was done to, except what goes back.
        """
        with self.reading() as session:
            campaign = session.get_one(Campaign, campaign_id)
            concerned = [CampaignPhone.kind == Kind.UNDER_WAY]
            if campaign.state == CampaignState.RUNNING:
                concerned += [CampaignPhone.kind == Kind.HELD, TURNING]
            elif campaign.state != CampaignState.PAUSED:
                concerned += [
                    (CampaignPhone.kind == Kind.HELD) & (CampaignPhone.direction == Direction.BACK),
                    CampaignPhone.wanted != CampaignPhone.direction,
                ]
            query = select(func.count(), func.min(CampaignPhone.due_at)).where(
                CampaignPhone.campaign_id == campaign_id, or_(*concerned)
            )
            count, due = session.execute(query).one()
            if campaign.state != CampaignState.PAUSED:
                count += session.scalar(_unsettled(campaign_id)) or 0
            return count, due


def after(change: Change, now: datetime) -> PhoneRecord:
    """What a change makes of its phone, leases aside."""
    before = change.phone
    if not change.moves:
        return replace(before, due_at=change.due_at, reason=change.reason or before.reason)
    return replace(
        before,
        state=change.state,
        kind=change.kind,
        direction=change.direction,
        step=before.step + 1,
        since=now,
        due_at=change.due_at,
        reason=change.reason,
        evidence=change.evidence,
        baseline=change.baseline,
        again=False,
        reset_at=now if change.reset else before.reset_at,
        resets=before.resets + change.reset,
    )


def _values(change: Change, now: datetime) -> dict[str, object]:
    """The columns of that."""
    before = change.phone
    if not change.moves:
        # Not a change of state: why it is still in it may be another reason, as for one that waits.
        return {"due_at": change.due_at, "reason": change.reason or before.reason}
    values: dict[str, object] = {
        "due_at": change.due_at,
        "state": change.state,
        "kind": change.kind,
        "direction": change.direction,
        "step": before.step + 1,
        "since": now,
        "reason": change.reason,
        "evidence": list(change.evidence),
        "baseline": dict(change.baseline),
    }
    if before.again:
        values["again"] = False
    if change.reset:
        values |= {"reset_at": now, "resets": before.resets + 1}
    return values


def _may_reset(state: CampaignState, direction: Direction) -> bool:
    if direction is Direction.BACK:
        return state is not CampaignState.PAUSED
    return state is CampaignState.RUNNING


def _locked(session: Session, campaign_id: int) -> Campaign:
    """The campaign's row, for this transaction alone: who counts and then writes, does so one after the other."""
    return session.scalars(select(Campaign).where(Campaign.id == campaign_id).with_for_update()).one()


def _unsettled(campaign_id: int) -> Select[int]:
    """Scopes whose option 150 is not yet what it should be."""
    return (
        select(func.count())
        .select_from(ScopeChange)
        .where(ScopeChange.campaign_id == campaign_id, ScopeChange.wanted != ScopeChange.state)
    )


def _load(session: Session, campaign: Campaign, now: datetime, arrived: Collection[str]) -> Load:
    recent = _count(campaign.id).where(CampaignPhone.reset_at > now - MINUTE)
    kinds = (CampaignPhone.tvs, CampaignPhone.direction, CampaignPhone.state)
    going = (
        select(*kinds, func.count())
        .where(CampaignPhone.campaign_id == campaign.id, CampaignPhone.kind == Kind.UNDER_WAY)
        .group_by(*kinds)
    )
    under_way = 0
    by_tvs: Counter[str] = Counter()
    for node, direction, state, count in session.execute(going):
        under_way += count
        # On the way back it asks the destination's, and nobody has noted which.
        if node and direction == Direction.FORTH and state not in arrived:
            by_tvs[node] += count
    return Load(CampaignState(campaign.state), session.scalar(recent) or 0, under_way, by_tvs)


def _count(campaign_id: int) -> Select[int]:
    return select(func.count()).select_from(CampaignPhone).where(CampaignPhone.campaign_id == campaign_id)
