"""The check of a move: findings worst first, and what could not be looked at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from trustbridge.console import pairjobs
from trustbridge.console.auditing import audited
from trustbridge.console.desk import Desk
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.routes.campaignsplan import clusters_of
from trustbridge.console.views import done, page, render
from trustbridge.storage.jobs import JobRecord

router = APIRouter()

Said = Annotated[str, Form()]


def prepare(desk: Desk) -> None:
    """Add the topic: the newest check of a pair, `SOURCE:DESTINATION`."""

    def look(pair: str) -> JobRecord | None:
        return desk.jobs.table.of_key(f"check:{pair}")

    def show(job: JobRecord | None) -> str:
        return "" if job is None else render("check/result_part", job=job, now=desk.now())

    desk.live.topic("check", look, show)


@router.get("/check")
def checks(request: Request, desk: DeskHere, who: Viewer, source: str = "", destination: str = "") -> Response:
    return page(
        request,
        "check/list",
        clusters=clusters_of(desk),
        source=source,
        destination=destination,
        jobs=desk.jobs.table.all(kind="check", limit=20),
    )


@router.post("/check")
def run(
    request: Request, desk: DeskHere, who: Operator, source: Said, destination: Said,
    pages: Said = "", emcc: Said = "", port: Annotated[int, Form(ge=1, le=65535)] = 80,
) -> Response:  # fmt: skip
    audited(request, "check.run", f"{source} -> {destination}".replace("\x00", "")[:255])
    pairjobs.check_pair(desk, who.name, source, destination, pages=pages == "yes", emcc=emcc == "yes", port=port)
    return done(request, f"/check/{source}/{destination}")


@router.get("/check/{source}/{destination}")
def result(request: Request, desk: DeskHere, who: Viewer, source: str, destination: str) -> Response:
    job = desk.jobs.table.of_key(f"check:{source}:{destination}".replace("\x00", ""))
    return page(request, "check/show", source=source, destination=destination, job=job, now=desk.now())
