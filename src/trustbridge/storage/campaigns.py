"""Campaigns in the database: made, read, and told what to do. What workers do is in `campaignwork`.

Every change is one transaction, with the journal's entry in it: what is not in the journal has not happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from trustbridge.errors import NotNow, SettingsError
from trustbridge.storage.campaignrecords import CampaignRecord, JournalRecord, NewWave, PhoneRecord, WaveRecord
from trustbridge.storage.database import READ_ONLY, in_words
from trustbridge.storage.models import Campaign, CampaignPhone, CampaignState, Direction, JournalEntry, Kind, Wave


class Campaigns:
    """All campaigns of a database.

    Args:
        engine: of `storage.database`, with its tables in order.
        by: who is at work, for the journal: a process, not a person.

    Every method raises `Unreachable` or `Refused` when the database does not answer.
    """

    def __init__(self, engine: Engine, by: str) -> None:
        self.engine = engine
        self.by = by

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that may write; what is raised inside takes all of it back."""
        with in_words(self.engine), Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with (
            in_words(self.engine),
            self.engine.connect().execution_options(**{READ_ONLY: True}) as connection,
            Session(connection) as session,
        ):
            yield session

    # Reading.

    def all(self) -> list[CampaignRecord]:
        """Every campaign, oldest first."""
        with self.reading() as session:
            return [CampaignRecord.of(row) for row in session.scalars(select(Campaign).order_by(Campaign.id))]

    def get(self, name: str) -> CampaignRecord:
        """One campaign.

        Raises:
            SettingsError: there is none of that name.
        """
        with self.reading() as session:
            return CampaignRecord.of(_named(session, name))

    def waves(self, campaign_id: int) -> list[WaveRecord]:
        """The waves of a campaign in their order, with their phones counted."""
        with self.reading() as session:
            return wave_records(session, campaign_id)

    def phones(self, campaign_id: int) -> list[PhoneRecord]:
        """All phones of a campaign, wave by wave."""
        query = (
            select(CampaignPhone, Wave)
            .join(Wave, Wave.id == CampaignPhone.wave_id)
            .where(CampaignPhone.campaign_id == campaign_id)
            .order_by(Wave.position, CampaignPhone.id)
        )
        with self.reading() as session:
            return [PhoneRecord.of(phone, wave) for phone, wave in session.execute(query)]

    def journal(self, campaign_id: int, *, phone: str | None = None, last: int | None = None) -> list[JournalRecord]:
        """The journal of a campaign, oldest first.

        Args:
            phone: only entries about this one.
            last: only the newest so many.
        """
        query = select(JournalEntry).where(JournalEntry.campaign_id == campaign_id)
        if phone is not None:
            query = query.where(JournalEntry.phone == phone)
        query = query.order_by(JournalEntry.id.desc())
        if last is not None:
            query = query.limit(last)
        with self.reading() as session:
            return [JournalRecord.of(row) for row in session.scalars(query)][::-1]

    # Telling.

    def create(
        self,
        name: str,
        source: str,
        destination: str,
        settings: Mapping[str, Any],
        waves: Sequence[NewWave],
        *,
        state: str,
        now: datetime,
    ) -> CampaignRecord:
        """Keep a new campaign; nothing happens to its phones before `begin`.

        Args:
            state: the first one of every phone.

        Raises:
            SettingsError: the name is taken.
        """
        try:
            with self.writing() as session:
                campaign = Campaign(
                    name=name,
                    source=source,
                    destination=destination,
                    state=CampaignState.PLANNED,
                    reason="",
                    option150="",
                    settings=dict(settings),
                    created_at=now,
                    changed_at=now,
                )
                session.add(campaign)
                session.flush()
                for position, wave in enumerate(waves):
                    self._add_wave(session, campaign, position, wave, state, now)
                self.note(session, campaign.id, now, "planned", after=CampaignState.PLANNED, reason=_planned(waves))
                return CampaignRecord.of(campaign)
        except Exception as error:
            if isinstance(error.__cause__, IntegrityError):
                raise SettingsError(
                    f"a campaign {name} is there already, or a phone or wave is in it twice",
                    "Choose another name: see trustbridge migrate status.",
                ) from None
            raise

    @staticmethod
    def _add_wave(
        session: Session, campaign: Campaign, position: int, wave: NewWave, state: str, now: datetime
    ) -> None:
        row = Wave(
            campaign_id=campaign.id,
            position=position,
            name=wave.name,
            pilot=wave.pilot,
            windows=list(wave.windows),
            accepted_failures=0,
        )
        session.add(row)
        session.flush()
        session.add_all(
            CampaignPhone(
                campaign_id=campaign.id,
                wave_id=row.id,
                name=phone.name,
                model=phone.model,
                device_pool=phone.device_pool,
                state=state,
                kind=Kind.HELD,
                direction=Direction.FORTH,
                wanted=Direction.FORTH,
                again=False,
                step=0,
                since=now,
                resets=0,
                baseline={},
                reason="",
                evidence=[],
            )
            for phone in wave.phones
        )

    def begin(self, name: str, *, option150: str, now: datetime) -> CampaignRecord:
        """Let a planned campaign run, and claim its phones; one that runs already stays so.

        Raises:
            NotNow: it is paused, halted or finished; or a phone is in another campaign that was begun.
        """
        with self.writing() as session:
            campaign = _named(session, name, lock=True)
            if campaign.state not in (CampaignState.PLANNED, CampaignState.RUNNING):
                raise NotNow(
                    f"campaign {name} is {campaign.state}{_because(campaign)}",
                    f"See: trustbridge migrate status {name}",
                )
            if campaign.state == CampaignState.PLANNED:
                self._claim(session, campaign, None)
                campaign.option150 = option150
                self.turn(session, campaign, CampaignState.RUNNING, f"option 150 names {option150}", now)
            return CampaignRecord.of(campaign)

    def pause(self, name: str, *, reason: str, now: datetime) -> CampaignRecord:
        """No phone is reset from now on. Those that are under way are still watched.

        Raises:
            NotNow: it does not run.
        """
        with self.writing() as session:
            campaign = _named(session, name, lock=True)
            if campaign.state == CampaignState.PAUSED:
                return CampaignRecord.of(campaign)
            if campaign.state not in (CampaignState.RUNNING, CampaignState.HALTED):
                raise NotNow(f"campaign {name} is {campaign.state}: there is nothing to pause")
            self.turn(session, campaign, CampaignState.PAUSED, reason, now)
            return CampaignRecord.of(campaign)

    def resume(self, name: str, *, retry: bool, now: datetime) -> CampaignRecord:
        """Let a paused or halted campaign go on; the failures there are do not halt it again.

        Args:
            retry: what failed is tried once more, and what was skipped; a finished campaign may begin again for these.

        Raises:
            NotNow: it was never begun, or is finished and nothing is to be tried again.
        """
        with self.writing() as session:
            campaign = _named(session, name, lock=True)
            if campaign.state == CampaignState.PLANNED:
                raise NotNow(f"campaign {name} was not begun", f"Begin it: trustbridge migrate start {name}")
            if campaign.state == CampaignState.FINISHED and not retry:
                raise NotNow(f"campaign {name} is finished", "What failed in it is tried once more with --retry.")
            if campaign.state == CampaignState.FINISHED:
                self._claim(session, campaign, None)
            for wave in wave_records(session, campaign.id):
                if wave.failed_forth > wave.accepted_failures:
                    session.execute(update(Wave).where(Wave.id == wave.id).values(accepted_failures=wave.failed_forth))
            if retry:
                failed = CampaignPhone.kind.in_((Kind.FAILED, Kind.SKIPPED))
                session.execute(
                    update(CampaignPhone).where(CampaignPhone.campaign_id == campaign.id, failed).values(again=True)
                )
            reason = "what failed or was skipped is tried once more" if retry else ""
            self.turn(session, campaign, CampaignState.RUNNING, reason, now)
            return CampaignRecord.of(campaign)

    def send_back(self, name: str, *, wave: str | None, phones: Sequence[str], option150: str, now: datetime) -> int:
        """Have a campaign's phones go back, those of a wave, or some by name; those under way turn when they rest.

        Gives:
            how many.

        Raises:
            SettingsError: there is no such wave or phone.
            NotNow: it was never begun; or a phone is in another campaign that was begun.
        """
        with self.writing() as session:
            campaign = _named(session, name, lock=True)
            if campaign.state == CampaignState.PLANNED:
                raise NotNow(f"campaign {name} was not begun: no phone of it has moved")
            meant = [CampaignPhone.campaign_id == campaign.id]
            if wave is not None:
                found = session.scalar(select(Wave.id).where(Wave.campaign_id == campaign.id, Wave.name == wave))
                if found is None:
                    raise SettingsError(f"campaign {name} has no wave {wave}")
                meant.append(CampaignPhone.wave_id == found)
            if phones:
                meant.append(CampaignPhone.name.in_(phones))
            names = list(session.scalars(select(CampaignPhone.name).where(*meant)))
            if unknown := sorted(set(phones) - set(names)):
                raise SettingsError(f"campaign {name} has no phone {', '.join(unknown)}{f' in {wave}' if wave else ''}")
            if campaign.state == CampaignState.FINISHED:
                self._claim(session, campaign, names)
            session.execute(update(CampaignPhone).where(*meant).values(wanted=Direction.BACK))
            what = ", ".join(sorted(phones)) or (f"wave {wave}" if wave is not None else "all phones")
            campaign.option150 = option150
            reason = f"{what} to go back; option 150 names {option150}"
            if wave is None and not phones and campaign.state != CampaignState.PAUSED:
                self.turn(session, campaign, CampaignState.RUNNING, reason, now, event="rollback")
            else:
                self.note(
                    session,
                    campaign.id,
                    now,
                    "rollback",
                    wave=wave,
                    before=campaign.state,
                    after=campaign.state,
                    reason=reason,
                )
            return len(names)

    # In a transaction of somebody's.

    def turn(
        self,
        session: Session,
        campaign: Campaign,
        state: CampaignState,
        reason: str,
        now: datetime,
        *,
        event: str = "campaign",
        evidence: Sequence[str] = (),
    ) -> None:
        """Change a campaign's state."""
        before, campaign.state, campaign.reason, campaign.changed_at = campaign.state, state, reason, now
        self.note(session, campaign.id, now, event, before=before, after=state, reason=reason, evidence=evidence)

    def note(
        self,
        session: Session,
        campaign_id: int,
        now: datetime,
        event: str,
        *,
        before: str = "",
        after: str = "",
        reason: str = "",
        wave: str | None = None,
        phone: str | None = None,
        step: int | None = None,
        evidence: Sequence[str] = (),
    ) -> None:
        """Add to the journal."""
        session.add(
            JournalEntry(
                campaign_id=campaign_id,
                at=now,
                by=self.by,
                event=event,
                wave=wave,
                phone=phone,
                step=step,
                before=before,
                after=after,
                reason=reason,
                evidence=list(evidence),
            )
        )

    @staticmethod
    def _claim(session: Session, campaign: Campaign, names: Sequence[str] | None) -> None:
        mine = [CampaignPhone.campaign_id == campaign.id]
        if names is not None:
            mine.append(CampaignPhone.name.in_(names))
        wanted = select(CampaignPhone.name).where(*mine)
        taken = session.execute(
            select(CampaignPhone.name, Campaign.name)
            .join(Campaign, Campaign.id == CampaignPhone.campaign_id)
            .where(CampaignPhone.claim.in_(wanted), CampaignPhone.campaign_id != campaign.id)
            .order_by(CampaignPhone.name)
        ).first()
        if taken is not None:
            raise NotNow(f"phone {taken[0]} is in campaign {taken[1]}, which is not finished", "One after the other.")
        # The column is unique: who claims the same phone at the same time, fails here.
        session.execute(update(CampaignPhone).where(*mine).values(claim=CampaignPhone.name))


def wave_records(session: Session, campaign_id: int) -> list[WaveRecord]:
    """The waves of a campaign in their order, counted in this transaction."""
    states: dict[int, Counter[str]] = {}
    kinds: dict[int, Counter[Kind]] = {}
    failed: Counter[int] = Counter()
    counted = select(
        CampaignPhone.wave_id, CampaignPhone.state, CampaignPhone.kind, CampaignPhone.direction, func.count()
    ).where(CampaignPhone.campaign_id == campaign_id)
    groups = (CampaignPhone.wave_id, CampaignPhone.state, CampaignPhone.kind, CampaignPhone.direction)
    for wave_id, state, kind, direction, count in session.execute(counted.group_by(*groups)):
        states.setdefault(wave_id, Counter())[state] += count
        kinds.setdefault(wave_id, Counter())[Kind(kind)] += count
        if kind == Kind.FAILED and direction == Direction.FORTH:
            failed[wave_id] += count
    return [
        WaveRecord(
            row.id,
            row.position,
            row.name,
            row.pilot,
            tuple(row.windows),
            row.opened_at,
            row.closed_at,
            row.accepted_failures,
            dict(states.get(row.id, {})),
            dict(kinds.get(row.id, {})),
            failed[row.id],
        )
        for row in session.scalars(select(Wave).where(Wave.campaign_id == campaign_id).order_by(Wave.position))
    ]


#: Phones that are to turn, or to be tried again, though they rest or their wave has not begun.
TURNING = or_(CampaignPhone.wanted != CampaignPhone.direction, CampaignPhone.again)


def _named(session: Session, name: str, *, lock: bool = False) -> Campaign:
    query = select(Campaign).where(Campaign.name == name)
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        known = ", ".join(session.scalars(select(Campaign.name).order_by(Campaign.id)))
        raise SettingsError(
            f"no campaign is called {name}",
            f"There are {known}." if known else "Plan one: trustbridge migrate plan --help",
        )
    return found


def _because(campaign: Campaign) -> str:
    return f": {campaign.reason}" if campaign.reason else ""


def _planned(waves: Sequence[NewWave]) -> str:
    return f"{sum(len(wave.phones) for wave in waves)} phones in {len(waves)} waves"
