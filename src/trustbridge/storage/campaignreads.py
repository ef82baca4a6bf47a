"""Campaigns in the database, read: what there is, and what has happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, func, or_, select
from sqlalchemy.orm import Session

from trustbridge.errors import SettingsError
from trustbridge.storage.campaignrecords import (
    CampaignRecord,
    ClusterRecord,
    JournalRecord,
    PhoneRecord,
    ScopeRecord,
    WaveRecord,
)
from trustbridge.storage.database import READ_ONLY, in_words
from trustbridge.storage.models import (
    Campaign,
    CampaignPhone,
    Cluster,
    Direction,
    JournalEntry,
    Kind,
    ScopeChange,
    Wave,
)


class CampaignReads:
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
            return CampaignRecord.of(named(session, name))

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

    def some_phones(
        self,
        campaign_id: int,
        *,
        kinds: Collection[Kind] = (),
        states: Collection[str] = (),
        waves: Collection[str] = (),
        predicted: Collection[str] = (),
        text: str = "",
        newest: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[PhoneRecord], int]:
        """Some phones of a campaign, a page of them, and how many there are in all.

        Args:
            kinds, states, waves, predicted: any of these; none for all.
            text: part of the name, model, device pool or reason, in either case.
            newest: those whose state has changed last come first; else by name.
        """
        meant = [CampaignPhone.campaign_id == campaign_id]
        for column, values in (
            (CampaignPhone.kind, kinds),
            (CampaignPhone.state, states),
            (Wave.name, waves),
            (CampaignPhone.predicted, predicted),
        ):
            if values:
                meant.append(column.in_(values))
        if text:
            columns = (CampaignPhone.name, CampaignPhone.model, CampaignPhone.device_pool, CampaignPhone.reason)
            meant.append(or_(*(column.icontains(text, autoescape=True) for column in columns)))
        order = (CampaignPhone.since.desc(), CampaignPhone.id.desc()) if newest else (CampaignPhone.name,)
        chosen = select(CampaignPhone, Wave).join(Wave, Wave.id == CampaignPhone.wave_id).where(*meant)
        counted = (
            select(func.count()).select_from(CampaignPhone).join(Wave, Wave.id == CampaignPhone.wave_id).where(*meant)
        )
        with self.reading() as session:
            found = session.execute(chosen.order_by(*order).limit(limit).offset(offset))
            return [PhoneRecord.of(phone, wave) for phone, wave in found], session.scalar(counted) or 0

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

    def scopes(self, campaign_id: int) -> list[ScopeRecord]:
        """DHCP scopes whose option 150 a campaign changes."""
        with self.reading() as session:
            return scope_records(session, campaign_id)

    def clusters(self) -> list[ClusterRecord]:
        """Clusters as they were seen last, by name."""
        with self.reading() as session:
            return [ClusterRecord.of(row) for row in session.scalars(select(Cluster).order_by(Cluster.name))]


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
    scopes = scope_records(session, campaign_id)
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
            tuple(scope.words for scope in scopes if scope.concerns(row.name)),
        )
        for row in session.scalars(select(Wave).where(Wave.campaign_id == campaign_id).order_by(Wave.position))
    ]


def scope_records(session: Session, campaign_id: int) -> list[ScopeRecord]:
    """The scopes of a campaign, in the order they were named."""
    query = select(ScopeChange).where(ScopeChange.campaign_id == campaign_id).order_by(ScopeChange.id)
    return [ScopeRecord.of(row) for row in session.scalars(query)]


def named(session: Session, name: str, *, lock: bool = False) -> Campaign:
    """A campaign's row.

    Args:
        lock: for this transaction alone.

    Raises:
        SettingsError: there is none of that name.
    """
    query = select(Campaign).where(Campaign.name == name)
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        known = ", ".join(session.scalars(select(Campaign.name).order_by(Campaign.id)))
        raise SettingsError(
            f"no campaign is called {name}",
            f"There are {known}." if known else "Plan one: trustbridge migrate plan --help",
        )
    return found
