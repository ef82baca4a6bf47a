"""The prediction: how many phones end how, and why; and each of them, in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from trustbridge.console import pairjobs
from trustbridge.console.auditing import audited
from trustbridge.console.campaignlook import looks
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.routes.campaignsplan import clusters_of
from trustbridge.console.views import done, page, render
from trustbridge.errors import NotNow
from trustbridge.migration.predictvalues import Forecast
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.models import JobState

router = APIRouter()

Said = Annotated[str, Form()]
#: Phones of a page.
EACH: Final = 50
_SAYS: Final = {"yes": True, "no": False}


def prepare(desk: Desk) -> None:
    """Add the topic: the newest prediction of a pair, `SOURCE:DESTINATION`."""

    def look(pair: str) -> JobRecord | None:
        return desk.jobs.table.of_key(f"predict:{pair}")

    def show(job: JobRecord | None) -> str:
        return "" if job is None else render("predict/result_part", job=job, now=desk.now())

    desk.live.topic("predict", look, show)


@router.get("/predict")
def predictions(request: Request, desk: DeskHere, who: Viewer, source: str = "", destination: str = "") -> Response:
    return page(
        request,
        "predict/list",
        clusters=clusters_of(desk),
        source=source,
        destination=destination,
        jobs=desk.jobs.table.all(kind="predict", limit=20),
    )


@router.post("/predict")
def run(
    request: Request, desk: DeskHere, who: Operator, source: Said, destination: Said,
    servers: Said = "", pages: Said = "", auto_registration: Said = "",
    port: Annotated[int, Form(ge=1, le=65535)] = 80,
) -> Response:  # fmt: skip
    audited(request, "predict.run", f"{source} -> {destination}".replace("\x00", "")[:255])
    pairjobs.predict_pair(
        desk, who.name, source, destination,
        servers=servers.split(), pages=pages == "yes", auto_registration=_SAYS.get(auto_registration), port=port,
    )  # fmt: skip
    return done(request, f"/predict/{source}/{destination}")


@router.get("/predict/{source}/{destination}")
def result(
    request: Request, desk: DeskHere, who: Viewer, source: str, destination: str,
    forecast: str = "", text: str = "", page_number: str = "1",
) -> Response:  # fmt: skip
    job = desk.jobs.table.of_key(f"predict:{source}:{destination}".replace("\x00", ""))
    number = int(page_number) if page_number.isdecimal() and int(page_number[:7]) > 0 else 1
    rows: Sequence[Sequence[str]] | None = None
    total = 0
    if job is not None and job.state == JobState.DONE:
        try:
            rows, total = phones_of(desk, job.id, forecast, text, EACH, (number - 1) * EACH)
        except NotNow:  # of another server, or of long ago: the counts are there all the same
            rows = None

    def link(**other: Any) -> str:
        values = {"forecast": forecast, "text": text, "page_number": 1} | other
        return "?" + urlencode({name: one for name, one in values.items() if one and one != 1}) + "#phones"

    return page(
        request, "predict/show",
        source=source, destination=destination, job=job, now=desk.now(), rows=rows, total=total, number=number,
        pages=max(1, -(-total // EACH)), forecast=forecast, text=text, forecasts=list(Forecast), link=link,
    )  # fmt: skip


def phones_of(
    desk: Desk, job: int, forecast: str, text: str, limit: int, offset: int
) -> tuple[Sequence[Sequence[str]], int]:
    """Some of a prediction's phones, and how many there are in all.

    Args:
        job: that made it.
        forecast: only those; "" for all. text: part of any column, in either case.

    Raises:
        NotNow: it is not kept here any more.
    """
    rows: list[list[str]] = looks(desk).predictions.read(job)
    part = text.strip().casefold()
    if forecast:
        rows = [row for row in rows if row[3] == forecast]
    if part:
        rows = [row for row in rows if part in "\n".join(row).casefold()]
    return rows[offset : offset + limit], len(rows)


def done_job(desk: Desk, number: int) -> JobRecord:
    """A prediction that has ended well.

    Raises:
        NotThere: that is none.
    """
    job = desk.jobs.table.get(number)
    if job is None or job.kind != "predict" or job.state != JobState.DONE:
        raise NotThere("there is no such prediction")
    return job
