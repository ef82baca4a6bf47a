"""Exchanges: plan, run, status, proof, and taking back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from trustbridge.console.api.bulk import FAULTS, Names, Text
from trustbridge.console.api.jobs import Job
from trustbridge.console.auditing import audited
from trustbridge.console.bulkexchange import PLAN, ExchangeDesk
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.errors import NotNow, SettingsError
from trustbridge.migration.exchangeplan import Method
from trustbridge.migration.exchangeprepare import record_json
from trustbridge.migration.exchangerecord import ExchangeRecord

router = APIRouter(tags=["exchange"])

Name = Annotated[str, Path(max_length=100, pattern=r"^[^\x00]*$")]
THERE: dict[int | str, dict[str, Any]] = {404: {"description": "there is none"}, **FAULTS}


class Asked(BaseModel):
    """What an exchange is to be."""

    clusters: Names
    into: Text | None = Field(None, description="each other cluster with this one, and no other pair")
    types: list[Text] = Field(["all"], max_length=10)
    method: Method | None = Field(None, description="none: as the plan decides")
    sftp: bool = Field(True, description="use the SFTP server that is saved, for the clusters' bulk commands")
    capf_trust: bool = True
    authorities: bool = False
    restart_tvs: bool = False


class Run(BaseModel):
    """What is to be carried out."""

    plan: Annotated[int, Field(ge=1, le=2**31 - 1, description="the job of a plan")]
    accept: list[Text] = Field([], max_length=50, description="ids of findings whose consequence is accepted")
    name: Text | None = None


class Proof(BaseModel):
    """What is to be proven."""

    clusters: Names
    into: Text | None = None


class Undo(BaseModel):
    """Taking back."""

    understood: Literal[True] = Field(description="phones that moved can't go back, and those that have not strand")


@router.get("/exchange")
def exchanges(desk: DeskHere, who: Viewer) -> list[dict[str, Any]]:
    """Every exchange, the newest first; of each how far it is."""
    return [record_json(one, whole=False) for one in ExchangeDesk(desk).records()]


@router.get("/exchange/{name}", responses=THERE)
def exchange(desk: DeskHere, who: Viewer, name: Name) -> dict[str, Any]:
    """One of them: plan, steps, what it added, every event."""
    return record_json(_record(desk, name))


@router.post("/exchange/plan", status_code=202, responses=FAULTS)
def plan(request: Request, desk: DeskHere, who: Operator, asked: Asked) -> Job:
    """Plan; nothing is changed. The job's result has the plan."""
    audited(request, "exchange.plan", ", ".join(asked.clusters)[:300])
    return Job.of(ExchangeDesk(desk).plan(asked.model_dump(mode="json"), who.name))


@router.post("/exchange/run", status_code=202, responses=THERE)
def run(request: Request, desk: DeskHere, who: Operator, asked: Run) -> Job:
    """Carry out what was planned."""
    audited(request, "exchange.run", f"plan {asked.plan}", accepted=asked.accept)
    found = ExchangeDesk(desk).job(asked.plan, PLAN)
    if found is None:
        raise NotThere("there is no such plan")
    audited(request, "exchange.run", str(found.values.get("clusters", "")), plan=asked.plan)
    if found.result is None:
        raise NotNow("there is no plan to carry out", "Wait for its job to end, or plan again.")
    return Job.of(ExchangeDesk(desk).run(found.result, asked.accept, who.name, asked.name or None))


@router.post("/exchange/verify", status_code=202, responses=FAULTS)
def verify(request: Request, desk: DeskHere, who: Operator, asked: Proof) -> Job:
    """Prove over TVS that phones will be told to trust; the job's result is the proof."""
    audited(request, "exchange.verify", ", ".join(asked.clusters)[:300])
    return Job.of(ExchangeDesk(desk).verify(asked.clusters, who.name, asked.into or None))


@router.post("/exchange/{name}/resume", status_code=202, responses=THERE)
def resume(request: Request, desk: DeskHere, who: Operator, name: Name) -> Job:
    """Go on with one that was interrupted."""
    audited(request, "exchange.resume", name)
    _record(desk, name)
    return Job.of(ExchangeDesk(desk).resume(name, who.name))


@router.post("/exchange/{name}/undo", status_code=202, responses=THERE)
def undo(request: Request, desk: DeskHere, who: Operator, name: Name, asked: Undo) -> Job:
    """Take one back: exactly what it added is removed."""
    audited(request, "exchange.undo", name)
    _record(desk, name)
    return Job.of(ExchangeDesk(desk).undo(name, who.name))


def _record(desk: Desk, name: str) -> ExchangeRecord:
    try:
        return ExchangeDesk(desk).record(name)
    except SettingsError as error:
        raise NotThere(error.message, error.hint) from None
