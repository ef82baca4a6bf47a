"""A new campaign: its form, what the plan came to, and the campaign kept if somebody agrees."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from trustbridge.console import campaignform, campaignjobs
from trustbridge.console.auditing import audited
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere, status_of
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.views import done, page
from trustbridge.console.words import _
from trustbridge.errors import TrustbridgeError
from trustbridge.migration.campaignprepare import meant
from trustbridge.storage.models import JobState

router = APIRouter()


def clusters_of(desk: Desk) -> list[str]:
    """Names of the clusters that are known; none where their file can't be read, which other pages tell."""
    try:
        return sorted(desk.inventory.all())
    except TrustbridgeError:
        return []


@router.get("/campaigns/new")
def form(request: Request, desk: DeskHere, who: Operator) -> Response:
    known = set(campaignform.blank())
    given = {name: value for name, value in request.query_params.items() if name in known}
    values = campaignform.blank() | given
    return page(request, "campaigns/new", values=values, clusters=clusters_of(desk), error=None)


@router.post("/campaigns/new")
async def plan(request: Request, desk: DeskHere, who: Operator) -> Response:
    sent = {name: str(value).replace("\x00", "") for name, value in (await request.form()).items()}
    audited(request, "campaign.plan", sent.get("name", "")[:63])
    try:
        wanted = meant(campaignform.read(sent).wish())
        job = await run_in_threadpool(campaignjobs.plan, desk, who.name, wanted)
    except TrustbridgeError as error:
        values = campaignform.blank() | sent | {name: sent.get(name) == "yes" for name in ("registered", "predicting")}
        clusters = await run_in_threadpool(clusters_of, desk)
        return page(request, "campaigns/new", status=status_of(error), values=values, clusters=clusters, error=error)
    return done(request, f"/campaigns/plans/{job.id}")


@router.get("/campaigns/plans/{number}")
def planned(request: Request, desk: DeskHere, who: Viewer, number: int) -> Response:
    job = desk.jobs.table.get(number)
    if job is None or job.kind != "campaign-plan":
        raise NotThere("there is no such plan")
    name = job.values.get("campaign", "")
    kept = any(one.name == name for one in desk.campaigns.all())
    return page(request, "campaigns/plan", job=job, plan=job.result, kept=kept, done=job.state == JobState.DONE)


@router.post("/campaigns/plans/{number}/create")
def create(request: Request, desk: DeskHere, who: Operator, number: int) -> Response:
    audited(request, "campaign.create", "", plan=number)
    campaign = campaignjobs.create_planned(desk, number)
    audited(request, "campaign.create", campaign.name)
    words = _("Campaign %(campaign)s is there. Nothing happens before it is started.", campaign=campaign.name)
    return done(request, f"/campaigns/{campaign.name}", words)
