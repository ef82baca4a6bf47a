"""One phone: the campaigns that have it, and its diagnosis."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from trustbridge.console import pairjobs
from trustbridge.console.api.campaigns import phone_json
from trustbridge.console.api.campaignsacts import REFUSED
from trustbridge.console.api.jobs import Job
from trustbridge.console.auditing import audited
from trustbridge.console.campaignform import Text
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.errors import SettingsError
from trustbridge.migration.diagnosephone import device_name
from trustbridge.storage.campaignfind import campaigns_of

router = APIRouter(tags=["phones"])

Name = Annotated[str, Path(max_length=64, pattern=r"^[^\x00]+$", description="SEP and the MAC address, or the address")]


class Diagnose(BaseModel):
    """Which move is meant; neither: the campaign's, or any."""

    model_config = ConfigDict(extra="forbid")

    source: Text = ""
    destination: Text = ""
    servers: Annotated[list[Text], Field(max_length=10, description="TFTP servers that option 150 will name")] = []
    page_port: Annotated[int, Field(ge=1, le=65535)] = 80


@router.get("/phones/{name}", responses=REFUSED)
def phone(desk: DeskHere, who: Viewer, name: Name) -> dict[str, Any]:
    """Campaigns that have it, and what was diagnosed last."""
    known = device_name(name)
    job = desk.jobs.table.of_key(f"diagnose:{known}")
    return {
        "name": known,
        "campaigns": [
            {"campaign": campaign.name, **phone_json(one)} for campaign, one in campaigns_of(desk.campaigns, known)
        ],
        "diagnosis": None if job is None else Job.of(job).model_dump(),
    }


@router.post("/phones/{name}/diagnosis", status_code=202, responses=REFUSED)
def diagnose(request: Request, desk: DeskHere, who: Operator, name: Name, wanted: Diagnose) -> Job:
    """Tell where it stands, why, and what to do: a job whose result is as `trustbridge diagnose --json`."""
    audited(request, "phone.diagnose", name)
    known = device_name(name)
    if bool(wanted.source) != bool(wanted.destination):
        raise SettingsError("a move has two ends", "Name both, or neither.")
    pair = (wanted.source, wanted.destination) if wanted.source else None
    job = pairjobs.diagnose_phone(desk, who.name, known, pair, servers=wanted.servers, port=wanted.page_port)
    return Job.of(job)
