"""Who vouches for whom, as it was asked last."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from trustbridge.console import clusterwork
from trustbridge.console.api.jobs import Job
from trustbridge.console.auditing import audited
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.routes.trust import kept_matrix
from trustbridge.console.trustmatrix import Matrix

router = APIRouter(tags=["trust"])

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
Key = Annotated[str, Path(max_length=5000, pattern=rf"^{_NAME}(\+{_NAME})*$", description="names, joined by +")]


class Asked(BaseModel):
    """The last answers about some clusters."""

    key: str
    clusters: list[str]
    at: datetime
    holds: bool | None = Field(description="None: nothing is wrong, and not all was seen")
    sentence: str
    counts: dict[str, int] = Field(description="answers by verdict: yes, no, unknown")

    @classmethod
    def of(cls, found: Matrix) -> Asked:
        """From what is kept."""
        value = found.value
        return cls(
            key=found.key,
            clusters=found.clusters,
            at=found.at,
            holds=value["holds"],
            sentence=value["sentence"],
            counts=value["counts"],
        )


class Question(BaseModel):
    """Which clusters are to be asked about one another, source first."""

    clusters: list[Annotated[str, Field(pattern=rf"^{_NAME}$")]] = Field(min_length=2, max_length=50)
    emcc: bool = Field(default=False, description="also what Extension Mobility Cross Cluster needs")
    quick: bool = Field(default=False, description="read no trust stores where a TVS has answered well")


@router.get("/trust")
def asked(desk: DeskHere, who: Viewer) -> list[Asked]:
    """What was asked, newest first."""
    found = [Matrix(key, value) for key, value in clusterwork.proofs(desk).all().items()]
    return [Asked.of(one) for one in sorted(found, key=lambda one: one.at, reverse=True)]


@router.post(
    "/trust",
    status_code=202,
    responses={409: {"description": "they are being asked"}, 422: {"description": "no such clusters"}},
)
def ask(request: Request, desk: DeskHere, who: Operator, question: Question) -> Job:
    """Ask every TVS about every signer of the other clusters; the answer is the job that does so."""
    audited(request, "trust.ask", ", ".join(question.clusters)[:300], emcc=question.emcc, quick=question.quick)
    job = clusterwork.start_trust(desk, who.name, question.clusters, emcc=question.emcc, deep=not question.quick)
    return Job.of(job)


@router.get("/trust/{key}", responses={404: {"description": "nobody has asked these clusters yet"}})
def trust(desk: DeskHere, who: Viewer, key: Key) -> dict[str, Any]:
    """Everything, as `trustbridge exchange verify --json` has it."""
    return dict(kept_matrix(desk, key).value)
