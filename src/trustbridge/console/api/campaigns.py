"""Campaigns, as `trustbridge migrate status --json` has them; phones and journal a page at a time; the report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from trustbridge.console.api.numbers import Before, Limit
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.console.routes import campaignsreport
from trustbridge.console.routes.campaigns import the_campaign
from trustbridge.migration.campaignphone import PhoneState
from trustbridge.migration.campaignview import campaign_json
from trustbridge.migration.predictvalues import Forecast
from trustbridge.storage.campaignrecords import PhoneRecord
from trustbridge.storage.models import Kind

router = APIRouter(tags=["campaigns"])

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Part = Annotated[str, Query(max_length=128, pattern=r"^[^\x00]*$")]
Phone = Annotated[str, Path(max_length=128, pattern=r"^[^\x00]+$")]
#: For routes that name a campaign.
NOT_THERE: dict[int | str, dict[str, Any]] = {404: {"description": "there is no such campaign"}}


@router.get("/campaigns")
def campaigns(desk: DeskHere, who: Viewer) -> list[dict[str, Any]]:
    """Every campaign with its waves, oldest first; without phones and journal."""
    return [campaign_json(one, desk.campaigns.waves(one.id)) for one in desk.campaigns.all()]


@router.get("/campaigns/{name}", responses=NOT_THERE)
def campaign(
    desk: DeskHere,
    who: Viewer,
    name: Name,
    phones: Annotated[bool, Query(description="with all its phones")] = False,
    journal: Annotated[int, Query(ge=0, le=10_000, description="so many of the journal's newest entries")] = 0,
) -> dict[str, Any]:
    """One campaign."""
    found = the_campaign(desk, name)
    return campaign_json(
        found,
        desk.campaigns.waves(found.id),
        desk.campaigns.phones(found.id) if phones else (),
        desk.campaigns.journal(found.id, last=journal) if journal else (),
    )


@router.get("/campaigns/{name}/phones", responses=NOT_THERE)
def phones(
    desk: DeskHere,
    who: Viewer,
    name: Name,
    kind: Kind | None = None,
    state: PhoneState | None = None,
    wave: Part = "",
    predicted: Forecast | None = None,
    text: Annotated[Part, Query(description="part of name, model, device pool, or reason of what failed")] = "",
    sort: Literal["name", "since", "state", "wave", "model", "device_pool", "predicted"] = "name",
    descending: bool = False,
    limit: Limit = 50,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> dict[str, Any]:
    """Some phones of a campaign, and how many there are in all."""
    found, total = desk.campaigns.some_phones(
        the_campaign(desk, name).id,
        kinds=() if kind is None else (kind,),
        states=() if state is None else (str(state),),
        waves=(wave,) if wave else (),
        predicted=() if predicted is None else (str(predicted),),
        text=text,
        order=sort,
        descending=descending,
        limit=limit,
        offset=offset,
    )
    return {"total": total, "phones": [phone_json(one) for one in found]}


def phone_json(phone: PhoneRecord) -> dict[str, Any]:
    """A phone of a campaign, without what is the workers' own."""
    hidden = {"id", "campaign_id", "wave_id", "baseline", "lease_owner", "lease_until", "step", "again"}
    return {name: value for name, value in asdict(phone).items() if name not in hidden}


@router.get("/campaigns/{name}/phones/{phone}", responses={404: {"description": "no such campaign or phone"}})
def phone(desk: DeskHere, who: Viewer, name: Name, phone: Phone) -> dict[str, Any]:
    """One phone of a campaign with its journal, oldest first."""
    campaign = the_campaign(desk, name)
    found = desk.campaigns.phone(campaign.id, phone)
    if found is None:
        raise NotThere(f"campaign {name} has no phone {phone}")
    return phone_json(found) | {
        "journal": [asdict(one) for one in desk.campaigns.journal(campaign.id, phone=phone, last=500)]
    }


@router.get("/campaigns/{name}/journal", responses=NOT_THERE)
def journal(desk: DeskHere, who: Viewer, name: Name, before: Before = None, limit: Limit = 100) -> list[dict[str, Any]]:
    """Entries of a campaign's journal, newest first."""
    found = desk.campaigns.journal(the_campaign(desk, name).id, last=limit, before=before)
    return [asdict(one) for one in found[::-1]]


@router.get(
    "/campaigns/{name}/report",
    responses=NOT_THERE | {200: {"content": {"application/json": {}, "text/csv": {}, "text/html": {}}}},
    response_class=Response,
)
def report(
    desk: DeskHere, who: Viewer, name: Name, format: Literal["json", "csv", "html"] = "json"
) -> Response:  # fmt: skip
    """What a campaign came to: everything as JSON, a line a phone as CSV, or a page for a change ticket."""
    the_campaign(desk, name)
    make = {"json": campaignsreport.json_of, "csv": campaignsreport.csv_of, "html": campaignsreport.html_of}
    return make[format](desk, name)
