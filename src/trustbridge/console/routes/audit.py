"""Who did what when."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.console.views import page
from trustbridge.console.words import local_moment
from trustbridge.storage.audit import AuditFilter, Outcome

router = APIRouter()
#: Entries of a page.
EACH = 100


@router.get("/audit")
def audit(
    request: Request,
    desk: DeskHere,
    who: Viewer,
    by: str = "",
    action: str = "",
    outcome: str = "",
    text: str = "",
    since: str = "",
    until: str = "",
    before: str = "",
) -> Response:
    wanted = AuditFilter(by, action, outcome, text.strip(), local_moment(since), local_moment(until))
    older = int(before) if before.isdecimal() and len(before) < 16 else None
    found = desk.audit.entries(wanted, before=older, limit=EACH + 1)
    people, actions = desk.audit.names()
    values = {"by": by, "action": action, "outcome": outcome, "text": text, "since": since, "until": until}
    return page(
        request,
        "audit",
        entries=found[:EACH],
        more=found[EACH - 1].id if len(found) > EACH else None,
        first=older is None,
        people=people,
        actions=actions,
        outcomes=list(Outcome),
        wanted=values,
    )
