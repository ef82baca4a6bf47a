"""Clusters: the inventory, and what was read of each. Certificates are in `certificates`, changes in `clusteredit`."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from trustbridge.console import clusterwork
from trustbridge.console.auditing import audited
from trustbridge.console.certificatelists import next_to_expire
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.views import LOOKS, done, page, render
from trustbridge.console.words import N_, _
from trustbridge.cucm import identities
from trustbridge.exchange.bulk import BUNDLE_PASSWORD
from trustbridge.storage.jobs import JobRecord
from trustbridge.trust.inspection import inspect

router = APIRouter()

Typed = Annotated[str, Form(max_length=300)]

#: How verdicts look; of files, too.
LOOKS.update({"works": "good", "fails": "bad", "good": "good", "wrong": "bad", "bad": "bad"})
STATES: Final = (
    N_("works"),
    N_("fails"),
    N_("good"),
    N_("wrong"),
    N_("bad"),
    N_("mixed"),
    N_("non-secure"),
    N_("not tried"),
)
#: Services that decide about phones' trust; the others are told on demand.
OF_INTEREST: Final = ("Cisco CallManager", "Cisco Tftp", "Cisco Trust Verification Service")


def prepare(desk: Desk) -> None:
    """Add the topic of a job whose end changes the page it is on: that page is then loaded again."""

    def look(number: str) -> JobRecord | None:
        return desk.jobs.table.get(int(number)) if number.isdecimal() and len(number) < 16 else None

    desk.live.topic("work", look, lambda job: render("clusters/work_part", job=job) if job is not None else "")


def running(desk: Desk, *keys: tuple[str, str]) -> list[JobRecord]:
    """Jobs that run or have not come to a good end, of these kinds and clusters."""
    found = [clusterwork.last_job(desk, kind, cluster) for kind, cluster in keys]
    return [one for one in found if one is not None and (one.running or one.error)]


def cluster_page(request: Request, desk: Desk, name: str, template: str, tab: str, **values: Any) -> Response:
    """A page of one cluster; every one has its head."""
    entry = clusterwork.entry_of(desk, name)
    reading = clusterwork.reading_of(desk, name)
    return page(
        request,
        f"clusters/{template}",
        entry=entry,
        reading=reading,
        read_at=clusterwork.read_at(reading) if reading is not None else None,
        now=desk.now(),
        tab=tab,
        jobs=running(desk, (clusterwork.READ, name)),
        **values,
    )


@router.get("/clusters")
def clusters(request: Request, desk: DeskHere, who: Viewer) -> Response:
    now = desk.now()
    kept = clusterwork.known(desk)
    return page(
        request,
        "clusters/list",
        clusters=[
            (
                one,
                clusterwork.read_at(one.reading) if one.reading is not None else None,
                next_to_expire(one.reading, now) if one.reading is not None else None,
            )
            for one in kept
        ],
        now=now,
        jobs=running(desk, *((clusterwork.READ, one.entry.name) for one in kept)),
    )


@router.get("/clusters/{name}")
def cluster(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    tested = clusterwork.last_job(desk, clusterwork.TEST, name)
    seen = next((one for one in desk.campaigns.clusters() if one.name == name), None)
    return cluster_page(request, desk, name, "cluster", "", tested=tested, of_interest=OF_INTEREST, seen=seen)


@router.post("/clusters/read")
def read_all(request: Request, desk: DeskHere, who: Operator) -> Response:
    """Read every cluster anew, at the same time."""
    names = list(desk.inventory.all())
    audited(request, "cluster.read", ", ".join(names))
    for name in names:
        job = clusterwork.last_job(desk, clusterwork.READ, name)
        if job is None or not job.running:
            clusterwork.start_reading(desk, who.name, name)
    return done(request, "/clusters")


@router.post("/clusters/{name}/read")
def read(
    request: Request, desk: DeskHere, who: Operator, name: str, stores: Typed = "all", back: Typed = ""
) -> Response:
    audited(request, "cluster.read", name, stores=stores)
    clusterwork.start_reading(desk, who.name, name, every_store=stores != "publisher")
    return done(request, back or f"/clusters/{name}")


@router.post("/clusters/{name}/test")
def test(request: Request, desk: DeskHere, who: Operator, name: str) -> Response:
    audited(request, "cluster.test", name)
    clusterwork.start_test(desk, who.name, name)
    return done(request, f"/clusters/{name}")


@router.get("/clusters/{name}/files")
def files(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    return cluster_page(request, desk, name, "files", "files")


@router.get("/clusters/{name}/files/{node}/{file}")
def file(request: Request, desk: DeskHere, who: Viewer, name: str, node: str, file: str) -> Response:
    """One trust list, decoded."""
    reading = clusterwork.reading_of(desk, name)
    rows = reading["files"] if reading is not None else ()
    found = next((one for one in rows if (one["node"], one["name"]) == (node, file)), None)
    if reading is None or found is None:
        raise NotThere("no such file was read")
    content = base64.b64decode(found["content"])
    signers = clusterwork.signers_of(reading)
    inspected = inspect(content, now=desk.now(), password=BUNDLE_PASSWORD, signers=signers)
    shown = set(reading["certificates"])
    return cluster_page(request, desk, name, "file", "files", file=found, inspected=inspected, shown=shown)


@router.get("/clusters/{name}/identities")
def pins(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    entry = clusterwork.entry_of(desk, name)
    looked = clusterwork.last_job(desk, clusterwork.LOOK, name)
    shown = {
        (row["kind"], row["host"], row["port"]): row
        for row in (looked.result if looked is not None and looked.result is not None else ())
    }
    pinned = identities.pinned(entry, clusterwork.hosts_of(desk, entry), desk.state)
    rows = [(one, shown.get((one.kind, one.host, one.port))) for one in pinned]
    return cluster_page(request, desk, name, "identities", "identities", rows=rows, looked=looked)


@router.post("/clusters/{name}/identities/look")
def look(request: Request, desk: DeskHere, who: Operator, name: str) -> Response:
    audited(request, "cluster.look at identities", name)
    clusterwork.start_look(desk, who.name, name)
    return done(request, f"/clusters/{name}/identities", _("The nodes are being looked at."))
