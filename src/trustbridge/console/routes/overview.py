"""The first page: what there is, what runs, and what wants somebody."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from trustbridge.console.campaignlook import looks
from trustbridge.console.desk import Desk
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.console.views import page, render
from trustbridge.console.workers import WorkerView
from trustbridge.cucm.model import ClusterEntry
from trustbridge.errors import TrustbridgeError
from trustbridge.storage.audit import AuditFilter
from trustbridge.storage.campaignrecords import CampaignRecord, ClusterRecord, WaveRecord
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.models import Kind

router = APIRouter()


@dataclass(frozen=True, slots=True)
class CampaignLine:
    """A campaign with its phones counted by kind."""

    campaign: CampaignRecord
    counts: dict[str, int]
    size: int
    worker: WorkerView

    @property
    def resting(self) -> int:
        """Phones that have come to an end."""
        return self.size - self.counts.get(Kind.HELD, 0) - self.counts.get(Kind.UNDER_WAY, 0)


@dataclass(frozen=True, slots=True)
class Overview:
    """What the part that refreshes itself shows."""

    campaigns: tuple[CampaignLine, ...]
    jobs: tuple[JobRecord, ...]


def look(desk: Desk) -> Overview:
    """What there is now."""
    lines = []
    for campaign in reversed(desk.campaigns.all()):
        waves = list(looks(desk).waves(campaign))
        lines.append(CampaignLine(campaign, _counts(waves), sum(wave.size for wave in waves), _worker(desk, campaign)))
    return Overview(tuple(lines[:20]), tuple(desk.jobs.table.all(limit=8)))


def prepare(desk: Desk) -> None:
    """Add the topic."""
    desk.live.topic("overview", lambda _of: look(desk), lambda found: render("overview_part", found=found))


def _worker(desk: Desk, campaign: CampaignRecord) -> WorkerView:
    return desk.workers.of(campaign.name)


def _counts(waves: list[WaveRecord]) -> dict[str, int]:
    return {kind: sum(wave.kinds.get(kind, 0) for wave in waves) for kind in Kind}


@router.get("/")
def overview(request: Request, desk: DeskHere, who: Viewer) -> Response:
    problem: TrustbridgeError | None = None
    known: list[ClusterEntry] = []
    try:
        known = list(desk.inventory.all().values())
    except TrustbridgeError as error:
        problem = error
    seen: dict[str, ClusterRecord] = {one.name: one for one in desk.campaigns.clusters()}
    return page(
        request,
        "overview",
        found=look(desk),
        clusters=known,
        seen=seen,
        problem=problem,
        entries=desk.audit.entries(AuditFilter(), limit=8),
    )
