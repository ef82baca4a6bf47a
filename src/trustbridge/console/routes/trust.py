"""Who vouches for whom: every TVS against every signer of the other clusters, each answer explaining itself."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from trustbridge.console import clusterwork
from trustbridge.console.auditing import audited
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.routes.clusters import running
from trustbridge.console.trustmatrix import Matrix
from trustbridge.console.views import LOOKS, done, fragment, page
from trustbridge.console.words import N_
from trustbridge.migration.proofcollect import DEVICE

router = APIRouter()

LOOKS.update(
    {
        "vouched": "good",
        "vouched, not trusted": "bad",
        "unknown": "warn",
        "proven": "good",
        "not proven": "bad",
        "not all was seen": "warn",
        "stop": "bad",
        "warning": "warn",
        "note": "idle",
    }
)
STATES: Final = (
    N_("vouched"),
    N_("vouched, not trusted"),
    N_("unknown"),
    N_("proven"),
    N_("not proven"),
    N_("not all was seen"),
    N_("stop"),
    N_("warning"),
    N_("note"),
)


def kept_matrix(desk: DeskHere, key: str) -> Matrix:
    """The last answers about these clusters.

    Raises:
        NotThere: nobody has asked yet.
    """
    value = clusterwork.proofs(desk).get(key)
    if value is None:
        raise NotThere("nobody has asked these clusters yet")
    return Matrix(key, value)


@router.get("/trust")
def trust(request: Request, desk: DeskHere, who: Viewer) -> Response:
    kept = [Matrix(key, value) for key, value in clusterwork.proofs(desk).all().items()]
    names = list(desk.inventory.all())
    asked = request.query_params.getlist("clusters")
    return page(
        request,
        "trust/list",
        path="/clusters",
        names=names,
        chosen=[name for name in names if name in asked] or (names if len(names) == 2 else []),
        kept=sorted(kept, key=lambda one: one.at, reverse=True),
        now=desk.now(),
        jobs=desk.jobs.table.all(kind=clusterwork.TRUST, running=True),
    )


@router.post("/trust")
def ask(
    request: Request,
    desk: DeskHere,
    who: Operator,
    clusters: Annotated[list[str] | None, Form()] = None,
    emcc: Annotated[str, Form(max_length=10)] = "",
    quick: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    chosen = (clusters or [])[:50]
    audited(request, "trust.ask", ", ".join(chosen)[:300], emcc=emcc == "yes", quick=quick == "yes")
    key = clusterwork.trust_key(desk, chosen)
    clusterwork.start_trust(desk, who.name, chosen, emcc=emcc == "yes", deep=quick != "yes")
    return done(request, f"/trust/{key}")


@router.get("/trust/{key}")
def matrix(request: Request, desk: DeskHere, who: Viewer, key: str) -> Response:
    value = clusterwork.proofs(desk).get(key)
    job = clusterwork.last_job(desk, clusterwork.TRUST, key)
    if value is None and job is None:
        raise NotThere("nobody has asked these clusters yet")
    return page(
        request,
        "trust/matrix",
        path="/clusters",
        key=key,
        names=key.split("+"),
        matrix=Matrix(key, value) if value is not None else None,
        now=desk.now(),
        jobs=running(desk, (clusterwork.TRUST, key)),
    )


@router.get("/trust/{key}/cell")
def cell(
    request: Request,
    desk: DeskHere,
    who: Viewer,
    key: str,
    asking: str = "",
    vouched: str = "",
    node: str = "",
    signer: str = "",
) -> Response:
    """One answer: a page, or for htmx what a dialogue shows."""
    found = kept_matrix(desk, key)
    explained = found.explained(asking, vouched, node, signer)
    if explained is None:
        raise NotThere("there is no such answer among the last ones")
    readings = clusterwork.all_readings(desk)
    htmx = request.headers.get("hx-request") == "true"
    answer = fragment if htmx else page
    return answer(
        request,
        "trust/cell_part" if htmx else "trust/cell",
        key=key,
        matrix=found,
        one=explained,
        device=DEVICE,
        shown={sha256 for reading in readings.values() for sha256 in reading["certificates"]},
    )


@router.get("/trust/{key}/report.html")
def report(request: Request, desk: DeskHere, who: Viewer, key: str) -> Response:
    """The report for a change ticket, to be saved: it has styles of its own, which pages of the console may not."""
    found = clusterwork.proofs(desk).page(key, "html")
    if found is None:
        raise NotThere("nobody has asked these clusters yet")
    return _saved(found, "text/html; charset=utf-8", key, kept_matrix(desk, key).at, "html")


@router.get("/trust/{key}/report.json")
def as_json(request: Request, desk: DeskHere, who: Viewer, key: str) -> Response:
    """The same as JSON, as `trustbridge exchange verify --json` has it."""
    found = kept_matrix(desk, key)
    return _saved(json.dumps(found.value, indent=2), "application/json", key, found.at, "json")


def _saved(content: str, kind: str, key: str, at: datetime, ending: str) -> Response:
    # Names of clusters have letters, digits, - and _ alone.
    name = f"trust-{key[:100]}-{at:%Y%m%d-%H%M}.{ending}"
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
