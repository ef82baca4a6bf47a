"""What the database says of campaigns, as values; and what is to be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trustbridge.storage.models import (
    Campaign,
    CampaignPhone,
    CampaignState,
    Cluster,
    Direction,
    JournalEntry,
    Kind,
    ScopeChange,
    ScopeState,
    Wave,
)


@dataclass(frozen=True, slots=True)
class NewPhone:
    """A phone that is to be in a campaign.

    Attributes:
        tvs: node whose TVS it asks first at the source; "" where nobody knows.
        predicted, predicted_why: what becomes of it, as it was foretold; "" where nobody has.
        left_out: why it is not to be moved: it is in the campaign, skipped from the beginning. "" for one that is.
    """

    name: str
    model: str
    device_pool: str
    tvs: str = ""
    predicted: str = ""
    predicted_why: str = ""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class NewWave:
    """A wave that is to be in a campaign; `windows` as `migration.campaignplan` writes them."""

    name: str
    pilot: bool
    windows: tuple[str, ...]
    phones: tuple[NewPhone, ...]


@dataclass(frozen=True, slots=True)
class NewScope:
    """Option 150 of a DHCP scope that a campaign is to change, see `models.ScopeChange`."""

    waves: tuple[str, ...]
    kind: str
    server: str
    user: str
    scope: str
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScopeRecord:
    """Option 150 of a DHCP scope in a campaign, see `models.ScopeChange`."""

    id: int
    campaign_id: int
    waves: tuple[str, ...]
    kind: str
    server: str
    user: str
    scope: str
    servers: tuple[str, ...]
    wanted: ScopeState
    state: ScopeState
    change: Mapping[str, Any]

    @classmethod
    def of(cls, row: ScopeChange) -> ScopeRecord:
        """From its row."""
        return cls(
            row.id,
            row.campaign_id,
            tuple(row.waves),
            row.kind,
            row.server,
            row.user,
            row.scope,
            tuple(row.servers),
            ScopeState(row.wanted),
            ScopeState(row.state),
            dict(row.change),
        )

    @property
    def words(self) -> str:
        """Which one, for people."""
        return f"{self.kind} {self.server}, {self.scope}"

    def concerns(self, wave: str) -> bool:
        """Whether a wave needs it."""
        return not self.waves or wave in self.waves


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """A cluster as it was seen last, see `models.Cluster`."""

    name: str
    release: str
    nodes: tuple[str, ...]
    seen_at: datetime

    @classmethod
    def of(cls, row: Cluster) -> ClusterRecord:
        """From its row."""
        return cls(row.name, row.release, tuple(row.nodes), row.seen_at)


@dataclass(frozen=True, slots=True)
class CampaignRecord:
    """A campaign, see `models.Campaign`."""

    id: int
    name: str
    source: str
    destination: str
    state: CampaignState
    reason: str
    option150: str
    settings: Mapping[str, Any]
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, row: Campaign) -> CampaignRecord:
        """From its row."""
        return cls(
            row.id,
            row.name,
            row.source,
            row.destination,
            CampaignState(row.state),
            row.reason,
            row.option150,
            dict(row.settings),
            row.created_at,
            row.changed_at,
        )


@dataclass(frozen=True, slots=True)
class WaveRecord:
    """A wave, with its phones counted.

    Attributes:
        states: phones by state.
        kinds: phones by kind, all of them.
        failed_forth: phones that failed on their way to the destination.
        scopes: DHCP scopes whose option 150 it needs changed, in words.
        resting: phones that nobody has to look at any more.
    """

    id: int
    position: int
    name: str
    pilot: bool
    windows: tuple[str, ...]
    opened_at: datetime | None
    closed_at: datetime | None
    accepted_failures: int
    states: Mapping[str, int]
    kinds: Mapping[Kind, int]
    failed_forth: int
    scopes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many phones it has."""
        return sum(self.kinds.values())

    @property
    def resting(self) -> bool:
        """Whether all its phones have come to an end."""
        return not self.kinds.get(Kind.HELD, 0) and not self.kinds.get(Kind.UNDER_WAY, 0)


@dataclass(frozen=True, slots=True)
class PhoneRecord:
    """A phone of a campaign, see `models.CampaignPhone`."""

    id: int
    campaign_id: int
    wave_id: int
    wave: str
    name: str
    model: str
    device_pool: str
    state: str
    kind: Kind
    direction: Direction
    wanted: Direction
    again: bool
    step: int
    since: datetime
    due_at: datetime | None
    reset_at: datetime | None
    resets: int
    baseline: Mapping[str, Any]
    reason: str
    evidence: tuple[str, ...]
    lease_owner: str | None
    lease_until: datetime | None
    tvs: str = ""
    predicted: str = ""
    predicted_why: str = ""

    @classmethod
    def of(cls, row: CampaignPhone, wave: Wave) -> PhoneRecord:
        """From its row."""
        return cls(
            row.id,
            row.campaign_id,
            row.wave_id,
            wave.name,
            row.name,
            row.model,
            row.device_pool,
            row.state,
            Kind(row.kind),
            Direction(row.direction),
            Direction(row.wanted),
            row.again,
            row.step,
            row.since,
            row.due_at,
            row.reset_at,
            row.resets,
            dict(row.baseline),
            row.reason,
            tuple(row.evidence),
            row.lease_owner,
            row.lease_until,
            row.tvs,
            row.predicted,
            row.predicted_why,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a leased phone. Nothing is written when its step or its lease is another by then.

    Attributes:
        phone: as it was leased.
        state, kind, direction: new ones, or the same: then nothing but `due_at` is written, and no journal.
        reset: a reset is requested with this change; it counts against the limits.
        due_at: when to look again; None when it rests.
        event: for the journal.
    """

    phone: PhoneRecord
    state: str
    kind: Kind
    direction: Direction
    due_at: datetime | None
    reason: str = ""
    evidence: tuple[str, ...] = ()
    baseline: Mapping[str, Any] = field(default_factory=dict)
    reset: bool = False
    event: str = "state"

    @property
    def moves(self) -> bool:
        """Whether it is a change of state."""
        before = self.phone
        return (self.state, self.direction) != (before.state, before.direction)


@dataclass(frozen=True, slots=True)
class Load:
    """What a campaign has on its hands, when resets are to be requested.

    Attributes:
        recent: resets requested within the last minute.
        under_way: phones between reset and end.
        by_tvs: of the phones that may be asking a TVS of the source now, how many ask which node's first.
    """

    state: CampaignState
    recent: int
    under_way: int
    by_tvs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """An entry of the journal."""

    id: int
    at: datetime
    by: str
    event: str
    wave: str | None
    phone: str | None
    step: int | None
    before: str
    after: str
    reason: str
    evidence: tuple[str, ...]

    @classmethod
    def of(cls, row: JournalEntry) -> JournalRecord:
        """From its row."""
        return cls(
            row.id,
            row.at,
            row.by,
            row.event,
            row.wave,
            row.phone,
            row.step,
            row.before,
            row.after,
            row.reason,
            tuple(row.evidence),
        )
