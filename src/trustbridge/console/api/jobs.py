"""Long work."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from trustbridge.console.api.numbers import Before, Limit, Number
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.models import JobState

router = APIRouter(tags=["jobs"])


class Job(BaseModel):
    """Long work that the console does, or did."""

    id: int
    kind: str
    title: str = Field(description="in English")
    who: str
    state: JobState
    step: str
    done: int
    total: int = Field(description="0: nobody knows")
    result: Any
    error: str
    hint: str
    started_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, record: JobRecord) -> Job:
        """From its record."""
        return cls(
            id=record.id,
            kind=record.kind,
            title=record.title % record.values if record.values else record.title,
            who=record.who,
            state=record.state,
            step=record.step,
            done=record.done,
            total=record.total,
            result=record.result,
            error=record.error,
            hint=record.hint,
            started_at=record.started_at,
            ended_at=record.ended_at,
        )


@router.get("/jobs")
def jobs(
    desk: DeskHere,
    who: Viewer,
    kind: Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$")] = None,
    running: bool = False,
    before: Before = None,
    limit: Limit = 50,
) -> list[Job]:
    """Jobs, newest first."""
    return [Job.of(one) for one in desk.jobs.table.all(kind=kind, running=running, before=before, limit=limit)]


@router.get("/jobs/{number}", responses={404: {"description": "there is no such job"}})
def job(desk: DeskHere, who: Viewer, number: Number) -> Job:
    """One of them, with its result."""
    found = desk.jobs.table.get(number)
    if found is None:
        raise NotThere("there is no such job")
    return Job.of(found)
