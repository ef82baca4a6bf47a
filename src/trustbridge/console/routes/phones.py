"""One phone, whatever has it: the campaigns, and its diagnosis."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from trustbridge.console import pairjobs
from trustbridge.console.auditing import audited
from trustbridge.console.campaignwords import state_words
from trustbridge.console.desk import Desk
from trustbridge.console.faults import status_of
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.routes.campaignsplan import clusters_of
from trustbridge.console.views import done, page, render
from trustbridge.errors import TrustbridgeError
from trustbridge.migration.campaignplan import CampaignSettings
from trustbridge.migration.diagnosephone import device_name
from trustbridge.storage.campaignfind import campaigns_of
from trustbridge.storage.jobs import JobRecord

router = APIRouter()

Said = Annotated[str, Form()]


def prepare(desk: Desk) -> None:
    """Add the topic: a phone's newest diagnosis."""

    def look(name: str) -> JobRecord | None:
        return desk.jobs.table.of_key(f"diagnose:{name}")

    def show(job: JobRecord | None) -> str:
        return "" if job is None else render("phones/diagnosis_part", job=job, now=desk.now())

    desk.live.topic("diagnosis", look, show)


@router.get("/phones")
def phones(request: Request, desk: DeskHere, who: Viewer, name: str = "") -> Response:
    error: TrustbridgeError | None = None
    if name.strip():
        try:
            return done(request, f"/phones/{device_name(name)}")
        except TrustbridgeError as found:
            error = found
    jobs = desk.jobs.table.all(kind="diagnose", limit=20)
    status = 200 if error is None else status_of(error)
    return page(request, "phones/find", status=status, name=name, error=error, jobs=jobs)


@router.get("/phones/{name}")
def phone(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    known = device_name(name)
    found = campaigns_of(desk.campaigns, known)
    ports = [CampaignSettings.from_json(campaign.settings).phone_port for campaign, _ in found]
    return page(
        request,
        "phones/show",
        phone=known,
        campaigns=found,
        words_of=state_words,
        clusters=clusters_of(desk),
        port=ports[0] if ports else 80,
        job=desk.jobs.table.of_key(f"diagnose:{known}"),
        now=desk.now(),
    )


@router.post("/phones/{name}/diagnose")
def diagnose(
    request: Request, desk: DeskHere, who: Operator, name: str,
    source: Said = "", destination: Said = "", port: Annotated[int, Form(ge=1, le=65535)] = 80,
) -> Response:  # fmt: skip
    audited(request, "phone.diagnose", name[:63])
    known = device_name(name)
    pair = (source, destination) if source or destination else None
    pairjobs.diagnose_phone(desk, who.name, known, pair, port=port)
    return done(request, f"/phones/{known}")
