"""What workers do in the database: take phones by lease, write what became of them, open and close waves.

Two things keep workers apart. A lease: whoever takes a phone is alone with it until the lease ends, also when he was
killed. And the step: a change names lease and step it was decided on, and changes nothing when either is another by
then. Journal and change are one transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, case, func, or_, select, update
from sqlalchemy.orm import Session

from trustbridge.storage.campaignreads import wave_records
from trustbridge.storage.campaignrecords import CampaignRecord, Change, Load, PhoneRecord, WaveRecord
from trustbridge.storage.campaigns import TURNING
from trustbridge.storage.campaignscopes import CampaignScopes
from trustbridge.storage.models import Campaign, CampaignPhone, CampaignState, Direction, Kind, ScopeChange, Wave

#: The minute of "resets a minute".
MINUTE: Final = timedelta(minutes=1)
#: Whether a wave's failures halt the campaign, and why.
StopRule = Callable[[WaveRecord], str | None]
#: Which of the resets that are to be requested may be requested now.
Allowance = Callable[[Load, Sequence[Change]], Sequence[Change]]


class CampaignWork(CampaignScopes):
    """A worker's side of the repository; `by` must be this worker's alone."""

    def lease(self, campaign_id: int, now: datetime, *, until: datetime, limit: int) -> list[PhoneRecord]:
        """Take phones that are due and nobody else's, those under way first; they are ours until then."""
        free = or_(CampaignPhone.lease_until.is_(None), CampaignPhone.lease_until <= now)
        due = or_(CampaignPhone.due_at <= now, TURNING)
        urgent = case((CampaignPhone.kind == Kind.UNDER_WAY, 0), else_=1)
        with self.writing() as session:
            # SQLite has the file locked since the transaction began, and knows no FOR UPDATE: it is left out there.
            chosen = session.scalars(
                select(CampaignPhone.id)
                .where(CampaignPhone.campaign_id == campaign_id, free, due)
                .order_by(urgent, CampaignPhone.due_at, CampaignPhone.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            ).all()
            session.execute(
                update(CampaignPhone)
                .where(CampaignPhone.id.in_(chosen))
                .values(lease_owner=self.by, lease_until=until)
                .execution_options(synchronize_session=False)
            )
            query = (
                select(CampaignPhone, Wave)
                .join(Wave, Wave.id == CampaignPhone.wave_id)
                .where(CampaignPhone.id.in_(chosen))
                .order_by(urgent, CampaignPhone.id)
            )
            return [PhoneRecord.of(phone, wave) for phone, wave in session.execute(query)]

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
            keep: the lease is kept, for what is to follow at once.

        Gives:
            the phones as they are now; those that were somebody else's by then are missing, and unchanged.
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
        done: list[tuple[int, str]] = []
        for change in changes:
            before = change.phone
            values: dict[str, object] = {"due_at": change.due_at}
            if not keep:
                values |= {"lease_owner": None, "lease_until": None}
            if change.moves:
                values |= {
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
            else:
                # Not a change of state: why it is still in it may be another reason, as for one that waits.
                values["reason"] = change.reason or before.reason
            written = session.execute(
                update(CampaignPhone)
                .where(
                    CampaignPhone.id == before.id,
                    CampaignPhone.step == before.step,
                    CampaignPhone.lease_owner == self.by,
                    CampaignPhone.lease_until > now,
                )
                .values(**values)
                .returning(CampaignPhone.id)
                .execution_options(synchronize_session=False)
            ).first()
            if written is None:
                continue
            done.append((before.id, before.wave))
            if change.moves:
                self.note(
                    session,
                    before.campaign_id,
                    now,
                    change.event,
                    wave=before.wave,
                    phone=before.name,
                    step=before.step + 1,
                    before=before.state,
                    after=change.state,
                    reason=change.reason,
                    evidence=change.evidence,
                )
        rows = session.execute(
            select(CampaignPhone, Wave)
            .join(Wave, Wave.id == CampaignPhone.wave_id)
            .where(CampaignPhone.id.in_([number for number, _ in done]))
            .execution_options(populate_existing=True)
        )
        found = {phone.id: PhoneRecord.of(phone, wave) for phone, wave in rows}
        return [found[number] for number, _ in done]

    def _judge(self, session: Session, campaign: Campaign, now: datetime, stop: StopRule) -> None:
        for wave in wave_records(session, campaign.id):
            reason = stop(wave)
            if reason is not None:
                self.turn(session, campaign, CampaignState.HALTED, reason, now, event="stop rule")
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
