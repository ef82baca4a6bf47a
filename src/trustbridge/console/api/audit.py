"""Who did what when."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel

from trustbridge.console.api.numbers import Before, Limit
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.storage.audit import AuditFilter, Outcome

router = APIRouter(tags=["audit"])

Words = Annotated[str, Query(max_length=255, pattern=r"^[^\x00]*$")]


class Entry(BaseModel):
    """What somebody did, or was not let do."""

    id: int
    at: datetime
    who: str
    token: str
    address: str
    action: str
    object: str
    outcome: Outcome
    details: dict[str, Any]


@router.get("/audit")
def audit(
    desk: DeskHere,
    who: Viewer,
    by: Words = "",
    action: Words = "",
    outcome: Outcome | None = None,
    text: Words = "",
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    before: Before = None,
    limit: Limit = 100,
) -> list[Entry]:
    """Entries, newest first; the next ones with `before`, the id of the last one."""
    wanted = AuditFilter(by, action, outcome or "", text, since, until)
    return [
        Entry(
            id=one.id,
            at=one.at,
            who=one.who,
            token=one.token,
            address=one.address,
            action=one.action,
            object=one.object,
            outcome=one.outcome,
            details=dict(one.details),
        )
        for one in desk.audit.entries(wanted, before=before, limit=limit)
    ]
