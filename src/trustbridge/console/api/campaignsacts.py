"""What is done to campaigns: planned, created, started, paused, resumed, rolled back. Long work is a job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from trustbridge.console import campaignjobs
from trustbridge.console.api.campaigns import NOT_THERE, Name
from trustbridge.console.api.jobs import Job
from trustbridge.console.auditing import audited
from trustbridge.console.campaignform import Plan, Text
from trustbridge.console.campaignjobs import Consent
from trustbridge.console.desk import Desk
from trustbridge.console.guard import DeskHere, Operator
from trustbridge.console.routes.campaigns import the_campaign
from trustbridge.migration.campaignprepare import meant
from trustbridge.migration.campaignview import campaign_json

router = APIRouter(tags=["campaigns"])

Findings = Annotated[list[Annotated[str, Field(pattern=r"^TB\d{3}$")]], Field(max_length=100)]
REFUSED: dict[int | str, dict[str, Any]] = {
    409: {"description": "not now, and why"},
    422: {"description": "that can't be meant, and why"},
}


class Planned(BaseModel):
    """Which plan becomes a campaign."""

    plan: Annotated[int, Field(ge=1, le=2**31 - 1, description="id of the job of POST /campaigns/plans")]


class Start(BaseModel):
    """What somebody agrees to when a campaign is started."""

    model_config = ConfigDict(extra="forbid")

    option150_done: Annotated[bool, Field(description="option 150 of its phones names the destination now")] = False
    accept: Annotated[Findings, Field(description="findings to go on with")] = []
    check: Annotated[bool, Field(description="check both clusters before anything is touched")] = True


class Resume(BaseModel):
    """How a campaign goes on."""

    model_config = ConfigDict(extra="forbid")

    retry: Annotated[bool, Field(description="try what failed or was skipped once more: a job")] = False
    stranding: Literal["skip", "go"] = "skip"
    predict: Annotated[bool, Field(description="foretell these phones before")] = True


class Rollback(BaseModel):
    """What goes back, and what somebody agrees to."""

    model_config = ConfigDict(extra="forbid")

    wave: Text | None = None
    phones: Annotated[list[Text], Field(max_length=10_000)] = []
    option150_done: Annotated[bool, Field(description="option 150 of these phones names the source again")] = False
    stranding: Literal["skip", "go"] = "skip"
    accept: Findings = []
    check: Annotated[bool, Field(description="check and foretell the way back before anything is touched")] = True


def _campaign(desk: Desk, name: str) -> dict[str, Any]:
    found = desk.campaigns.get(name)
    return campaign_json(found, desk.campaigns.waves(found.id))


@router.post("/campaigns/plans", status_code=202, responses=REFUSED)
def plan(request: Request, desk: DeskHere, who: Operator, wanted: Plan) -> Job:
    """Choose phones, foretell each, deal them out in waves: a job whose result is the preview. Nothing is kept yet."""
    audited(request, "campaign.plan", wanted.name[:63])
    return Job.of(campaignjobs.plan(desk, who.name, meant(wanted.wish())))


@router.post("/campaigns", status_code=201, responses=REFUSED)
def create(request: Request, desk: DeskHere, who: Operator, wanted: Planned) -> dict[str, Any]:
    """Keep what was planned. Nothing is reset before it is started."""
    audited(request, "campaign.create", "", plan=wanted.plan)
    made = campaignjobs.create_planned(desk, wanted.plan)
    audited(request, "campaign.create", made.name)
    return _campaign(desk, made.name)


@router.post("/campaigns/{name}/start", status_code=202, responses=NOT_THERE | REFUSED)
def start(request: Request, desk: DeskHere, who: Operator, name: Name, agreed: Start) -> Job:
    """Check both clusters and begin: a job whose result tells whether it has begun, and what stops it else."""
    audited(
        request, "campaign.start", name,
        accepted=agreed.accept, option150_done=agreed.option150_done, checked=agreed.check,
    )  # fmt: skip
    the_campaign(desk, name)
    consent = Consent(agreed.option150_done, tuple(agreed.accept), checking=agreed.check)
    return Job.of(campaignjobs.start(desk, who.name, name, consent))


@router.post("/campaigns/{name}/pause", responses=NOT_THERE | REFUSED)
def pause(request: Request, desk: DeskHere, who: Operator, name: Name) -> dict[str, Any]:
    """Reset no phone from now on."""
    audited(request, "campaign.pause", name)
    the_campaign(desk, name)
    desk.campaigns.pause(name, reason=f"paused by {who.name}", now=desk.now())
    return _campaign(desk, name)


@router.post("/campaigns/{name}/resume", responses=NOT_THERE | REFUSED)
def resume(request: Request, desk: DeskHere, who: Operator, name: Name, wanted: Resume) -> dict[str, Any]:
    """Go on. With `retry` the answer has the number of the `job` that foretells phones first."""
    audited(request, "campaign.retry" if wanted.retry else "campaign.resume", name)
    the_campaign(desk, name)
    if wanted.retry:
        consent = Consent(checking=wanted.predict, stranding=wanted.stranding)
        return _campaign(desk, name) | {"job": campaignjobs.retry(desk, who.name, name, consent).id}
    desk.campaigns.resume(name, retry=False, now=desk.now())
    return _campaign(desk, name) | {"job": None}


@router.post("/campaigns/{name}/rollback", status_code=202, responses=NOT_THERE | REFUSED)
def rollback(request: Request, desk: DeskHere, who: Operator, name: Name, wanted: Rollback) -> Job:
    """Check and foretell the way back, and send phones back: a job, as `trustbridge migrate rollback --yes`."""
    audited(request, "campaign.rollback", name, wave=wanted.wave, phones=wanted.phones[:50], accepted=wanted.accept)
    the_campaign(desk, name)
    return Job.of(campaignjobs.rollback(desk, who.name, name, wanted.wave, wanted.phones, _consent(wanted)))


@router.post("/campaigns/{name}/rollback/preview", status_code=202, responses=NOT_THERE | REFUSED)
def preview(request: Request, desk: DeskHere, who: Operator, name: Name, wanted: Rollback) -> Job:
    """State the consequence of a rollback, and do nothing: a job."""
    audited(request, "campaign.foretell-back", name, wave=wanted.wave, phones=wanted.phones[:50])
    the_campaign(desk, name)
    return Job.of(campaignjobs.way_back(desk, who.name, name, wanted.wave, wanted.phones, _consent(wanted)))


def _consent(wanted: Rollback) -> Consent:
    return Consent(wanted.option150_done, tuple(wanted.accept), wanted.check, wanted.stranding)
