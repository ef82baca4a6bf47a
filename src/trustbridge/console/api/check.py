"""A pair of clusters: checked, and every phone predicted. Each is a job."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from trustbridge.console import pairjobs
from trustbridge.console.api.campaignsacts import REFUSED
from trustbridge.console.api.jobs import Job
from trustbridge.console.api.numbers import Limit, Number
from trustbridge.console.auditing import audited
from trustbridge.console.campaignform import Text
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.routes.predict import done_job, phones_of
from trustbridge.migration.predictvalues import Forecast

router = APIRouter(tags=["check and predict"])


class Check(BaseModel):
    """What is checked; see `trustbridge check --help`."""

    model_config = ConfigDict(extra="forbid")

    source: Text
    destination: Text
    pages: Annotated[bool, Field(description="read the phones' web pages, too")] = True
    emcc: Annotated[bool, Field(description="look at Extension Mobility Cross Cluster, too")] = False
    page_port: Annotated[int, Field(ge=1, le=65535)] = 80


class Predict(BaseModel):
    """What is predicted; see `trustbridge predict --help`."""

    model_config = ConfigDict(extra="forbid")

    source: Text
    destination: Text
    pages: bool = True
    servers: Annotated[list[Text], Field(max_length=10)] = []
    auto_registration: bool | None = None
    page_port: Annotated[int, Field(ge=1, le=65535)] = 80


@router.post("/check", status_code=202, responses=REFUSED)
def check(request: Request, desk: DeskHere, who: Operator, wanted: Check) -> Job:
    """Findings and unknowns of a move: a job whose result is as `trustbridge check --json`."""
    audited(request, "check.run", f"{wanted.source} -> {wanted.destination}"[:255])
    job = pairjobs.check_pair(
        desk, who.name, wanted.source, wanted.destination,
        pages=wanted.pages, emcc=wanted.emcc, port=wanted.page_port,
    )  # fmt: skip
    return Job.of(job)


@router.post("/predict", status_code=202, responses=REFUSED)
def predict(request: Request, desk: DeskHere, who: Operator, wanted: Predict) -> Job:
    """What becomes of every phone: a job whose result is the counts; its phones are at /predict/ID/phones."""
    audited(request, "predict.run", f"{wanted.source} -> {wanted.destination}"[:255])
    job = pairjobs.predict_pair(
        desk, who.name, wanted.source, wanted.destination,
        servers=wanted.servers, pages=wanted.pages, auto_registration=wanted.auto_registration, port=wanted.page_port,
    )  # fmt: skip
    return Job.of(job)


@router.get(
    "/predict/{number}/phones",
    responses={404: {"description": "there is no such prediction"}, 409: {"description": "it is not kept any more"}},
)
def phones(
    desk: DeskHere,
    who: Viewer,
    number: Number,
    forecast: Forecast | None = None,
    text: Annotated[str, Query(max_length=128)] = "",
    limit: Limit = 50,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> dict[str, Any]:
    """Some phones of a prediction, and how many there are in all."""
    done_job(desk, number)
    rows, total = phones_of(desk, number, "" if forecast is None else str(forecast), text, limit, offset)
    columns = ("name", "model", "device_pool", "forecast", "finding", "why")
    return {"total": total, "phones": [dict(zip(columns, row, strict=True)) for row in rows]}
