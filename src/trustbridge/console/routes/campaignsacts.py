"""What is done to a campaign: started, paused, resumed, tried again, sent back; its consequence is stated before."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from trustbridge.console import campaignjobs
from trustbridge.console.auditing import audited
from trustbridge.console.campaignjobs import Consent
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.routes.campaigns import the_campaign
from trustbridge.console.views import done, page
from trustbridge.console.words import _, ngettext
from trustbridge.migration.findings import KINDS
from trustbridge.storage.campaignrecords import CampaignRecord
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.models import CampaignState, Direction, Kind

router = APIRouter()

Said = Annotated[str, Form()]
Ids = Annotated[list[str], Form()]


def _latest(desk: Desk, key: str) -> JobRecord | None:
    return desk.jobs.table.of_key(key)


def _known(accepted: list[str]) -> list[str]:
    """Findings that there are."""
    return [one for one in accepted if one in KINDS]


# Begun.


@router.get("/campaigns/{name}/start")
def start_form(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    campaign = the_campaign(desk, name)
    waves = desk.campaigns.waves(campaign.id)
    return page(
        request,
        "campaigns/start",
        campaign=campaign,
        scopes=desk.campaigns.scopes(campaign.id),
        phones=sum(wave.kinds.get(Kind.HELD, 0) for wave in waves),
        skipped=sum(wave.kinds.get(Kind.SKIPPED, 0) for wave in waves),
        waves=waves,
        predicted=_predicted(desk, campaign),
        job=_latest(desk, f"start:{name}"),
        may_start=campaign.state is CampaignState.PLANNED,
    )


def _predicted(desk: Desk, campaign: CampaignRecord) -> dict[str, int]:
    return desk.campaigns.predictions(campaign.id)


@router.post("/campaigns/{name}/start")
def start(
    request: Request, desk: DeskHere, who: Operator, name: str,
    option150: Said = "", accept: Ids = [],  # noqa: B006  of a form; nobody changes it
) -> Response:  # fmt: skip
    accept = _known(accept)
    audited(request, "campaign.start", name, accepted=accept, option150_done=option150 == "yes")
    the_campaign(desk, name)
    campaignjobs.start(desk, who.name, name, Consent(option150 == "yes", tuple(accept)))
    return done(request, f"/campaigns/{name}/start")


@router.post("/campaigns/{name}/pause")
def pause(request: Request, desk: DeskHere, who: Operator, name: str) -> Response:
    audited(request, "campaign.pause", name)
    the_campaign(desk, name)
    desk.campaigns.pause(name, reason=f"paused by {who.name}", now=desk.now())
    words = _("%(campaign)s is paused: no phone is reset from now on; those under way are watched.", campaign=name)
    return done(request, f"/campaigns/{name}", words)


@router.post("/campaigns/{name}/resume")
def resume(request: Request, desk: DeskHere, who: Operator, name: str) -> Response:
    audited(request, "campaign.resume", name)
    the_campaign(desk, name)
    desk.campaigns.resume(name, retry=False, now=desk.now())
    return done(request, f"/campaigns/{name}", _("%(campaign)s goes on.", campaign=name))


@router.get("/campaigns/{name}/retry")
def retry_form(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    campaign = the_campaign(desk, name)
    found, total = desk.campaigns.some_phones(campaign.id, kinds=(Kind.FAILED, Kind.SKIPPED), newest=True, limit=10)
    going = [phone for phone in found if phone.wanted is Direction.FORTH]
    return page(
        request, "campaigns/retry", campaign=campaign, phones=going, total=total, job=_latest(desk, f"retry:{name}")
    )


@router.post("/campaigns/{name}/retry")
def retry(
    request: Request, desk: DeskHere, who: Operator, name: str, stranding: Said = "skip", checking: Said = ""
) -> Response:
    audited(request, "campaign.retry", name, stranding=stranding[:8], foretold=checking == "yes")
    the_campaign(desk, name)
    campaignjobs.retry(desk, who.name, name, Consent(checking=checking == "yes", stranding=stranding))
    return done(request, f"/campaigns/{name}/retry")


# Sent back.


@router.get("/campaigns/{name}/rollback")
def rollback_form(
    request: Request, desk: DeskHere, who: Viewer, name: str, wave: str = "", phone: str = ""
) -> Response:
    campaign = the_campaign(desk, name)
    job = _latest(desk, f"back:{name}")
    return page(
        request,
        "campaigns/rollback",
        campaign=campaign,
        waves=[one for one in desk.campaigns.waves(campaign.id) if one.opened_at is not None],
        wave=wave,
        phone=phone,
        job=job if job is not None and job.running else None,
        may_go_back=campaign.state is not CampaignState.PLANNED,
    )


@router.post("/campaigns/{name}/rollback")
def foretell_back(
    request: Request, desk: DeskHere, who: Operator, name: str,
    wave: Said = "", phones: Said = "", checking: Said = "",
) -> Response:  # fmt: skip
    some, wave = phones.replace("\x00", "").split(), wave.replace("\x00", "")
    audited(request, "campaign.foretell-back", name, wave=wave[:128], phones=some[:50])
    the_campaign(desk, name)
    consent = Consent(checking=checking == "yes")
    job = campaignjobs.way_back(desk, who.name, name, wave or None, some, consent)
    return done(request, f"/campaigns/{name}/rollback/{job.id}")


@router.get("/campaigns/{name}/rollback/{number}")
def confirm(request: Request, desk: DeskHere, who: Viewer, name: str, number: int) -> Response:
    campaign = the_campaign(desk, name)
    job = desk.jobs.table.get(number)
    if job is None or job.kind != "campaign-way-back" or job.values.get("campaign") != name:
        raise NotThere("there is no such way back")
    result: dict[str, Any] | None = job.result
    old = job.ended_at is not None and desk.now() - job.ended_at > campaignjobs.HOLDS
    scopes = desk.campaigns.scopes(campaign.id)
    waves = {one.name for one in desk.campaigns.waves(campaign.id)}
    meant = {result["wave"]} if result and result["wave"] else waves
    return page(
        request,
        "campaigns/back",
        campaign=campaign,
        job=job,
        found=result,
        old=old,
        scopes=[scope for scope in scopes if any(scope.concerns(one) for one in meant)],
        sees_to_it=bool(scopes),
    )


@router.post("/campaigns/{name}/rollback/{number}")
def rollback(
    request: Request, desk: DeskHere, who: Operator, name: str, number: int,
    option150: Said = "", stranding: Said = "skip", accept: Ids = [],  # noqa: B006  as above
) -> Response:  # fmt: skip
    said = option150 == "yes"
    accept = _known(accept)
    audited(request, "campaign.rollback", name, accepted=accept, option150_done=said, stranding=stranding[:8])
    the_campaign(desk, name)
    count = campaignjobs.send_back(desk, name, number, Consent(said, tuple(accept), stranding=stranding))
    audited(request, "campaign.rollback", name, phones=count)
    words = ngettext("%(num)s phone goes back.", "%(num)s phones go back.", count)
    return done(request, f"/campaigns/{name}", words)
