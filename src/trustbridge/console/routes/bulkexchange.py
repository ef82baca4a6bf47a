"""Exchanges: planned with what stops them, carried out, looked at, proven, taken back."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from trustbridge.console.auditing import audited
from trustbridge.console.bulk import BulkDesk
from trustbridge.console.bulkexchange import KINDS, PLAN, RUN, UNDO, VERIFY, ExchangeDesk
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.routes.bulk import TYPES, Several, Typed
from trustbridge.console.views import done, page, render
from trustbridge.console.words import N_
from trustbridge.errors import NotNow, SettingsError
from trustbridge.migration.exchangeplan import Method
from trustbridge.migration.exchangeprepare import record_json
from trustbridge.migration.exchangerecord import ExchangeRecord
from trustbridge.storage.jobs import JobRecord

router = APIRouter()

#: How certificates travel, as a list to choose from.
METHODS: Final = {
    "": N_("as the plan decides"),
    Method.BULK: N_("by the clusters' bulk commands, over SFTP"),
    Method.CERTIFICATES: N_("certificate by certificate"),
}
#: Pages that show what came of a job, by its kind.
PLACES: Final = {PLAN: "plans", VERIFY: "proofs", RUN: "runs", UNDO: "runs"}
Ticked = Annotated[str, Form(max_length=10)]


def prepare(desk: Desk) -> None:
    """Add the topic: a job that a page waits for."""
    known = ExchangeDesk(desk)

    def look(number: str) -> JobRecord | None:
        return known.job(int(number), *KINDS) if number.isdecimal() and len(number) < 10 else None

    def show(job: JobRecord | None) -> str:
        if job is None or job.running:
            return "" if job is None else render("job_part", job=job)
        return render("bulk/ended", where=f"/bulk/exchange/{PLACES[job.kind]}/{job.id}")

    desk.live.topic("bulk-job", look, show)


@router.get("/bulk/exchange")
def exchange(request: Request, desk: DeskHere, who: Viewer) -> Response:
    return page(
        request,
        "bulk/exchange",
        names=sorted(desk.inventory.all()),
        server=BulkDesk.of(desk).servers.get(),
        types=TYPES,
        methods=METHODS,
        records=ExchangeDesk(desk).records(),
        jobs=_jobs(desk),
        places=PLACES,
    )


def _jobs(desk: Desk) -> list[JobRecord]:
    """The newest plans and proofs."""
    found = [one for kind in (PLAN, VERIFY, RUN, UNDO) for one in desk.jobs.table.all(kind=kind, limit=5)]
    return sorted(found, key=lambda one: -one.id)[:8]


@router.post("/bulk/exchange/plan")
def plan(
    request: Request,
    desk: DeskHere,
    who: Operator,
    clusters: Several = [],  # noqa: B006 - FastAPI copies it
    into: Typed = "",
    method: Typed = "",
    type: Typed = "all",
    sftp: Ticked = "",
    capf_trust: Ticked = "",
    authorities: Ticked = "",
    restart_tvs: Ticked = "",
) -> Response:
    """Reads clusters and changes nothing; it uses their passwords, so that a viewer may not begin it."""
    audited(request, "exchange.plan", ", ".join(clusters)[:300])
    asked = {
        "clusters": clusters,
        "into": into or None,
        "method": method or None,
        "types": [type],
        "sftp": bool(sftp),
        "capf_trust": bool(capf_trust),
        "authorities": bool(authorities),
        "restart_tvs": bool(restart_tvs),
    }
    job = ExchangeDesk(desk).plan(asked, who.name)
    return done(request, f"/bulk/exchange/plans/{job.id}")


@router.get("/bulk/exchange/plans/{number}")
def planned(request: Request, desk: DeskHere, who: Viewer, number: int) -> Response:
    job = _job(desk, number, PLAN)
    found: dict[str, Any] | None = job.result
    stops: dict[str, dict[str, Any]] = {}
    for one in found["plan"]["findings"] if found else ():
        if one["severity"] == "stop":
            stops.setdefault(one["id"], one)
    return page(request, "bulk/plan", job=job, found=found, stops=list(stops.values()))


@router.post("/bulk/exchange/plans/{number}/run")
def run(
    request: Request,
    desk: DeskHere,
    who: Operator,
    number: int,
    accept: Several = [],  # noqa: B006 - FastAPI copies it
    name: Typed = "",
) -> Response:
    job = _job(desk, number, PLAN)
    audited(request, "exchange.run", str(job.values.get("clusters", "")), accepted=accept, plan=number)
    if job.result is None:
        raise NotNow("there is no plan to carry out", "Plan it again.")
    begun = ExchangeDesk(desk).run(job.result, accept, who.name, name.strip() or None)
    return done(request, f"/bulk/exchange/runs/{begun.id}")


@router.get("/bulk/exchange/runs/{number}")
def ran(request: Request, desk: DeskHere, who: Viewer, number: int) -> Response:
    """An exchange that is carried out, or taken back."""
    return page(request, "bulk/run", job=_job(desk, number, RUN, UNDO))


@router.get("/bulk/exchange/records/{name}")
def record(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    found = _record(desk, name)
    counted: dict[tuple[str, str, str, bool], int] = {}
    for one in found.additions():
        key = (one.cluster, str(one.store), one.node, one.gone)
        counted[key] = counted.get(key, 0) + 1
    return page(request, "bulk/record", record=record_json(found), counted=sorted(counted.items()))


@router.post("/bulk/exchange/records/{name}/resume")
def resume(request: Request, desk: DeskHere, who: Operator, name: str) -> Response:
    audited(request, "exchange.resume", name[:100])
    _record(desk, name)
    return done(request, f"/bulk/exchange/runs/{ExchangeDesk(desk).resume(name, who.name).id}")


@router.post("/bulk/exchange/records/{name}/undo")
def undo(request: Request, desk: DeskHere, who: Operator, name: str, understood: Ticked = "") -> Response:
    audited(request, "exchange.undo", name[:100])
    _record(desk, name)
    if not understood:
        raise NotNow(
            "phones that have moved can't go back once this is taken back, and phones that have not will strand",
            "Say that this is accepted.",
        )
    return done(request, f"/bulk/exchange/runs/{ExchangeDesk(desk).undo(name, who.name).id}")


@router.post("/bulk/exchange/verify")
def verify(
    request: Request,
    desk: DeskHere,
    who: Operator,
    clusters: Several = [],  # noqa: B006 - FastAPI copies it
    into: Typed = "",
) -> Response:
    audited(request, "exchange.verify", ", ".join(clusters)[:300])
    job = ExchangeDesk(desk).verify(clusters, who.name, into or None)
    return done(request, f"/bulk/exchange/proofs/{job.id}")


@router.get("/bulk/exchange/proofs/{number}")
def proof(request: Request, desk: DeskHere, who: Viewer, number: int) -> Response:
    job = _job(desk, number, VERIFY)
    return page(request, "bulk/proof", job=job, proof=job.result)


def _job(desk: Desk, number: int, *kinds: str) -> JobRecord:
    found = ExchangeDesk(desk).job(number, *kinds) if 0 < number < 2**31 else None
    if found is None:
        raise NotThere("there is no such page")
    return found


def _record(desk: Desk, name: str) -> ExchangeRecord:
    try:
        return ExchangeDesk(desk).record(name)
    except SettingsError as error:
        raise NotThere(error.message, error.hint) from None
