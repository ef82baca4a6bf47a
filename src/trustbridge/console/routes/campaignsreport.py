"""A campaign's report: the page for a change ticket, CSV for a spreadsheet, JSON with everything."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from trustbridge.console.desk import Desk
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.console.routes.campaigns import the_campaign
from trustbridge.console.views import page
from trustbridge.migration.report import report as made_of
from trustbridge.migration.reportpage import as_html
from trustbridge.migration.reportvalues import Report
from trustbridge.migration.reportviews import as_csv, as_json
from trustbridge.storage.campaignsnapshot import Snapshot, snapshot

router = APIRouter()


def _report(desk: Desk, seen: Snapshot) -> Report:
    return made_of(
        seen.campaign,
        seen.waves,
        seen.phones,
        seen.journal(evidence=False),
        desk.now(),
        clusters=seen.clusters,
        scopes=seen.scopes,
    )


def html_of(desk: Desk, name: str) -> Response:
    """The page, to be kept: its style stands in it, so it is shown from a file and not here."""
    with snapshot(desk.campaigns, name) as seen:
        return HTMLResponse(as_html(_report(desk, seen)), headers=_attached(name, "html"))


def csv_of(desk: Desk, name: str) -> Response:
    """A line a phone, with the mark that tells spreadsheets it is UTF-8."""
    with snapshot(desk.campaigns, name) as seen:
        text = as_csv(_report(desk, seen)).encode("utf-8-sig")
    return Response(text, media_type="text/csv; charset=utf-8", headers=_attached(name, "csv"))


def json_of(desk: Desk, name: str) -> Response:
    """All of it, the journal too, as it is read."""

    def parts() -> Iterator[str]:
        with snapshot(desk.campaigns, name) as seen:
            yield from as_json(_report(desk, seen), seen.journal())

    return StreamingResponse(parts(), media_type="application/json", headers=_attached(name, "json"))


def _attached(name: str, kind: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}.{kind}"'}


@router.get("/campaigns/{name}/report")
def report(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    the_campaign(desk, name)
    with snapshot(desk.campaigns, name) as seen:
        found = _report(desk, seen)
    return page(request, "campaigns/report", campaign=found.campaign, report=found)


@router.get("/campaigns/{name}/report.html")
def html(desk: DeskHere, who: Viewer, name: str) -> Response:
    the_campaign(desk, name)
    return html_of(desk, name)


@router.get("/campaigns/{name}/report.csv")
def csv(desk: DeskHere, who: Viewer, name: str) -> Response:
    the_campaign(desk, name)
    return csv_of(desk, name)


@router.get("/campaigns/{name}/report.json")
def json(desk: DeskHere, who: Viewer, name: str) -> Response:
    the_campaign(desk, name)
    return json_of(desk, name)
