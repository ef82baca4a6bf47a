"""Campaigns in the database, read: what there is, and what has happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, func, literal, or_, select, union
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

    def wave_names(self, campaign_id: int) -> list[str]:
        """Names of a campaign's waves, in their order."""
        query = select(Wave.name).where(Wave.campaign_id == campaign_id).order_by(Wave.position)
        with self.reading() as session:
            return list(session.scalars(query))

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

    def phone(self, campaign_id: int, name: str) -> PhoneRecord | None:
        """A phone of a campaign; None where it has none of that name."""
        query = (
            select(CampaignPhone, Wave)
            .join(Wave, Wave.id == CampaignPhone.wave_id)
            .where(CampaignPhone.campaign_id == campaign_id, CampaignPhone.name == name)
        )
        with self.reading() as session:
            found = session.execute(query).first()
            return None if found is None else PhoneRecord.of(*found)

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
        order: str = "name",
        descending: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[PhoneRecord], int]:
        """Some phones of a campaign, a page of them, and how many there are in all.

        Args:
            kinds, states, waves, predicted: any of these; none for all.
            text: part of the name, model or device pool; or of the reason, of those that failed, were skipped or are
                under way; in either case.
            newest: those whose state has changed last come first, whatever `order` says.
            order: one of `ORDERS`; what is alike, by name.
        """
        if newest:
            order, descending = "since", True
        with self.reading() as session:
            named_waves = dict(session.execute(select(Wave.id, Wave).where(Wave.campaign_id == campaign_id)).all())
            meant = [CampaignPhone.campaign_id == campaign_id]
            chosen = [number for number, wave in named_waves.items() if not waves or wave.name in waves]
            if waves:
                meant.append(CampaignPhone.wave_id.in_(chosen))
            for column, values in (
                (CampaignPhone.kind, kinds),
                (CampaignPhone.state, states),
                (CampaignPhone.predicted, predicted),
            ):
                if values:
                    meant.append(column.in_(values))
            if text:
                meant.append(CampaignPhone.id.in_(_with_text(self.engine, meant, chosen, text)))
            by = _ORDERS[order]
            sorted_by = (by.desc() if descending else by, CampaignPhone.name.desc() if newest else CampaignPhone.name)
            # Numbers first: what is sorted is in an index, and rows are wide. A text is looked for once.
            counted = func.count().over() if text else literal(0)
            page = select(CampaignPhone.id, counted).where(*meant).order_by(*sorted_by).limit(limit).offset(offset)
            numbers = session.execute(page).all()
            wanted = [number for number, _ in numbers]
            rows = {row.id: row for row in session.scalars(select(CampaignPhone).where(CampaignPhone.id.in_(wanted)))}
            found = [PhoneRecord.of(rows[number], named_waves[rows[number].wave_id]) for number in wanted]
            if offset == 0 and len(found) < limit:
                return found, len(found)
            if text and numbers:
                return found, numbers[0][1]
            return found, session.scalar(select(func.count(CampaignPhone.id)).where(*meant)) or 0

    def journal(
        self, campaign_id: int, *, phone: str | None = None, last: int | None = None, before: int | None = None
    ) -> list[JournalRecord]:
        """The journal of a campaign, oldest first.

        Args:
            phone: only entries about this one.
            last: only the newest so many; `before`: of those older than the one of this id.
        """
        query = select(JournalEntry).where(JournalEntry.campaign_id == campaign_id)
        if before is not None:
            query = query.where(JournalEntry.id < before)
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

    def predictions(self, campaign_id: int) -> dict[str, int]:
        """Phones of a campaign by what was foretold of them last; "" for those of which nothing was."""
        query = select(CampaignPhone.predicted, func.count()).where(CampaignPhone.campaign_id == campaign_id)
        with self.reading() as session:
            return dict(session.execute(query.group_by(CampaignPhone.predicted)).all())

    def clusters(self) -> list[ClusterRecord]:
        """Clusters as they were seen last, by name."""
        with self.reading() as session:
            return [ClusterRecord.of(row) for row in session.scalars(select(Cluster).order_by(Cluster.name))]


#: By what lists of phones are sorted.
_ORDERS: Final[Mapping[str, Any]] = {
    "name": CampaignPhone.name,
    "since": CampaignPhone.since,
    "state": CampaignPhone.state,
    "wave": CampaignPhone.wave_id,
    "model": CampaignPhone.model,
    "device_pool": CampaignPhone.device_pool,
    "predicted": CampaignPhone.predicted,
}
ORDERS: Final = tuple(_ORDERS)
#: Whose reasons are searched: all others' say no more than their state.
_TOLD: Final = (Kind.FAILED, Kind.SKIPPED, Kind.UNDER_WAY)


def _with_text(engine: Engine, meant: Sequence[ColumnElement[bool]], waves: Sequence[int], text: str) -> Any:
    """Ids of phones that have a text somewhere: two looks, each at an index that has what it needs."""
    # LIKE of SQLite knows no case as it is; to lower everything before would take longer than the search.
    has = "contains" if engine.dialect.name == "sqlite" else "icontains"
    columns = (CampaignPhone.name, CampaignPhone.model, CampaignPhone.device_pool)
    listed = select(CampaignPhone.id).where(*meant, or_(*(getattr(one, has)(text, autoescape=True) for one in columns)))
    told = select(CampaignPhone.id).where(
        *meant,
        CampaignPhone.wave_id.in_(waves),
        CampaignPhone.kind.in_(_TOLD),
        getattr(CampaignPhone.reason, has)(text, autoescape=True),
    )
    return union(listed, told)


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
