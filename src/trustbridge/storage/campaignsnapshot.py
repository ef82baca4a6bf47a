"""A campaign with its phones and its whole journal as they were at one moment, while others go on working.

Read in one transaction, and the journal as it comes: a cluster's campaign has hundreds of thousands of entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import literal, select
from sqlalchemy.orm import Session

from trustbridge.storage.campaignreads import CampaignReads, named, scope_records, wave_records
from trustbridge.storage.campaignrecords import (
    CampaignRecord,
    ClusterRecord,
    JournalRecord,
    PhoneRecord,
    ScopeRecord,
    WaveRecord,
)
from trustbridge.storage.database import READ_ONLY, in_words
from trustbridge.storage.models import CampaignPhone, Cluster, JournalEntry, Wave

#: Rows that are read at a time.
_ROWS: Final = 5000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A campaign at one moment; its journal can be read as long as the snapshot is open, also more than once."""

    campaign: CampaignRecord
    waves: tuple[WaveRecord, ...]
    phones: tuple[PhoneRecord, ...]
    scopes: tuple[ScopeRecord, ...]
    clusters: tuple[ClusterRecord, ...]
    session: Session

    def journal(self, *, evidence: bool = True) -> Iterator[JournalRecord]:
        """The journal, oldest first.

        Args:
            evidence: False leaves out that of phones' states, which is most of it.
        """
        table = JournalEntry.__table__
        mine = table.c.campaign_id == self.campaign.id
        wanted = [table.c[name] for name in JournalRecord.__slots__]
        query = select(*wanted).where(mine).order_by(table.c.id).execution_options(yield_per=_ROWS)
        if not evidence:
            # Rows with evidence are read whole beside, as they are few.
            query = query.with_only_columns(*wanted[:-1], literal(None).label("evidence"))
            others = select(table.c.id, table.c.evidence).where(mine, table.c.event != "state")
            kept = {number: tuple(found) for number, found in self.session.execute(others)}
        else:
            kept = {}
        for row in self.session.execute(query):
            values: list[Any] = list(row)
            values[-1] = tuple(values[-1]) if evidence else kept.get(values[0], ())
            yield JournalRecord(*values)


@contextmanager
def snapshot(campaigns: CampaignReads, name: str) -> Iterator[Snapshot]:
    """Read a campaign. Takes no lock that a worker would wait for.

    Raises:
        SettingsError: there is none of that name.
        Unreachable, Refused: the database does not answer.
    """
    options: dict[str, object] = {READ_ONLY: True}
    if campaigns.engine.dialect.name == "postgresql":
        # Else each statement would see another moment. SQLite's transactions are so anyway.
        options["isolation_level"] = "REPEATABLE READ"
    with (
        in_words(campaigns.engine),
        campaigns.engine.connect().execution_options(**options) as connection,
        Session(connection) as session,
    ):
        campaign = CampaignRecord.of(named(session, name))
        waves = wave_records(session, campaign.id)
        yield Snapshot(
            campaign,
            tuple(waves),
            tuple(_phones(session, campaign.id, waves)),
            tuple(scope_records(session, campaign.id)),
            tuple(ClusterRecord.of(row) for row in session.scalars(select(Cluster).order_by(Cluster.name))),
            session,
        )


def _phones(session: Session, campaign_id: int, waves: list[WaveRecord]) -> list[PhoneRecord]:
    """As `CampaignReads.phones`, without an object of the mapper for each row: there are tens of thousands."""
    by_id = {wave.id: cast(Wave, wave) for wave in waves}  # of a wave, only its name is looked at
    table = CampaignPhone.__table__
    rows = session.execute(select(table).where(table.c.campaign_id == campaign_id).order_by(table.c.id))
    found: dict[int, list[PhoneRecord]] = {wave.id: [] for wave in waves}
    for row in rows:
        found[row.wave_id].append(PhoneRecord.of(cast(CampaignPhone, row), by_id[row.wave_id]))
    return [phone for wave in waves for phone in found[wave.id]]
