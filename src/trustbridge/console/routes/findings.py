"""What each finding means: TB101 and all others, with consequence and remedy."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from trustbridge.console.faults import NotThere
from trustbridge.console.guard import Viewer
from trustbridge.console.views import page
from trustbridge.migration.findings import KINDS

router = APIRouter()


@router.get("/findings")
def findings(request: Request, who: Viewer) -> Response:
    return page(request, "findings/list", kinds=KINDS)


@router.get("/findings/{number}")
def finding(request: Request, who: Viewer, number: str) -> Response:
    kind = KINDS.get(number)
    if kind is None:
        raise NotThere("there is no such finding")
    return page(request, "findings/show", number=number, kind=kind)
