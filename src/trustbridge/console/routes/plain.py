"""For machines that watch: whether it works, and how much."""

from __future__ import annotations

import ipaddress

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy import text

from trustbridge.console.guard import DeskHere, address_of
from trustbridge.console.metrics import CONTENT_TYPE
from trustbridge.errors import TrustbridgeError
from trustbridge.storage.database import reading

router = APIRouter()


@router.get("/health")
def health(desk: DeskHere) -> Response:
    """200 while the database answers; nothing else is told, as everybody may ask."""
    try:
        with reading(desk.engine) as session:
            session.execute(text("SELECT 1 FROM alembic_version"))
    except TrustbridgeError:
        return JSONResponse({"status": "the database does not answer"}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/metrics")
def metrics(request: Request, desk: DeskHere) -> Response:
    """For this machine, or for a token of any role."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    let_in = _loopback(address_of(request)) or (
        kind.casefold() == "bearer" and desk.accounts.token(token.strip()) is not None
    )
    if not let_in:
        return Response("Send Authorization: Bearer TOKEN.\n", 401, {"WWW-Authenticate": "Bearer"}, "text/plain")
    return Response(desk.metrics.text(), media_type=CONTENT_TYPE)


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
