"""Server-sent events: see `console.live`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from trustbridge.console.faults import NotThere
from trustbridge.console.guard import SESSION, DeskHere, Unwatched, cookie_name
from trustbridge.console.live import MOST
from trustbridge.errors import Throttled

router = APIRouter()


@router.get("/live/{topic}")
async def live(request: Request, desk: DeskHere, who: Unwatched, topic: str, of: str = "") -> Response:
    if not desk.live.knows(topic):
        raise NotThere("nothing of that name changes here")
    if desk.live.streams >= MOST:
        raise Throttled("too many pages refresh themselves already", "Load the page again when it matters.")
    token = "" if who.token else request.cookies.get(cookie_name(request, SESSION), "")
    return StreamingResponse(
        desk.live.stream(topic, of[:200], token), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )
