"""Long work: what runs, what ran, how far it is."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from trustbridge.console.api.numbers import Number
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.console.views import page, render
from trustbridge.console.words import plain
from trustbridge.storage.jobs import JobRecord

router = APIRouter()
#: Jobs of a page.
EACH = 50


def prepare(desk: Desk) -> None:
    """Add the topics: one job, and the list."""

    def look(number: str) -> JobRecord | None:
        return desk.jobs.table.get(int(number)) if number.isdecimal() and len(number) < 16 else None

    desk.live.topic("job", look, lambda job: render("job_part", job=job) if job is not None else "")
    desk.live.topic(
        "jobs", lambda _argument: desk.jobs.table.all(limit=EACH), lambda found: render("jobs_part", jobs=found)
    )


@router.get("/jobs")
def jobs(request: Request, desk: DeskHere, who: Viewer, before: str = "") -> Response:
    older = int(before) if before.isdecimal() and len(before) < 16 else None
    found = desk.jobs.table.all(before=older, limit=EACH + 1)
    more = found[EACH - 1].id if len(found) > EACH else None
    return page(request, "jobs", jobs=found[:EACH], more=more, first=older is None)


@router.get("/jobs/{number}")
def job(request: Request, desk: DeskHere, who: Viewer, number: Number) -> Response:
    found = desk.jobs.table.get(number)
    if found is None:
        raise NotThere(plain("there is no such job"))
    return page(request, "job", job=found)
