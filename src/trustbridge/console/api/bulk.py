"""Bulk certificate management: settings, files, and the publishers' commands."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from trustbridge.console.api.jobs import Job
from trustbridge.console.auditing import audited
from trustbridge.console.bulk import ACTIONS, BulkDesk
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Operator, Viewer
from trustbridge.console.routes.bulk import check_restart
from trustbridge.errors import NotConfigured
from trustbridge.migration.bulklook import Kind, SeenFile, State
from trustbridge.pki.units import BulkType

router = APIRouter(tags=["bulk certificate management"])

Text = Annotated[str, Field(max_length=300, pattern=r"^[^\x00]*$")]
Names = Annotated[list[Text], Field(min_length=1, max_length=100, description="clusters, by name")]
FAULTS: dict[int | str, dict[str, Any]] = {
    409: {"description": "not now; the message says why"},
    422: {"description": "it makes no sense"},
    424: {"description": "a server did not do its part"},
}


class TellState(BaseModel):
    """What a publisher was told from here."""

    at: datetime
    current: bool = Field(description="whether it is what is saved now")


class Server(BaseModel):
    """The SFTP server; its password is never told."""

    host: str
    port: int
    username: str
    directory: str
    told: dict[str, TellState] = Field(description="by cluster")


class NewServer(BaseModel):
    """Settings to be saved."""

    host: Text
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    username: Text
    password: Annotated[str, Field(max_length=1000, description="empty: as it is")] = ""
    directory: Text = "/"
    clusters: Annotated[list[Text], Field(max_length=100, description="publishers that are told")] = []


class Inside(BaseModel):
    """A certificate in a bundle."""

    name: str
    subject: str
    serial: str = Field(description="hexadecimal")
    not_after: datetime
    sha256: str


class File(BaseModel):
    """A file on the server."""

    name: str
    size: int
    modified: datetime
    kind: Kind
    cluster: str
    node: str
    type: BulkType | None
    state: State
    why: str
    certificates: list[Inside] | None
    problem: str

    @classmethod
    def of(cls, seen: SeenFile) -> File:
        """As it was seen."""
        return cls(
            name=seen.file.name,
            size=seen.file.size,
            modified=seen.file.modified,
            kind=seen.kind,
            cluster=seen.cluster,
            node=seen.node,
            type=seen.type,
            state=seen.state,
            why=seen.why,
            certificates=None
            if seen.certificates is None
            else [
                Inside(
                    name=one.name,
                    subject=one.certificate.subject,
                    serial=f"{one.certificate.serial:x}",
                    not_after=one.certificate.not_after,
                    sha256=one.certificate.sha256,
                )
                for one in seen.certificates
            ],
            problem=seen.problem,
        )


class Ready(BaseModel):
    """Whether something can work now."""

    can: bool
    sure: bool
    why: str
    hint: str
    types: list[str] = Field(description='types it can work with; "all" among them')


class Files(BaseModel):
    """What lies on the server."""

    at: datetime
    where: str
    files: list[File]
    ready: dict[str, Ready] = Field(description="export, consolidate, import")


class Begun(BaseModel):
    """Work that was begun: ask /jobs/{id} how far it is."""

    jobs: list[Job]


class Asked(BaseModel):
    """What a publisher's command is to do."""

    clusters: Names
    type: Annotated[str, Field(max_length=20, pattern=r"^[^\x00]*$", description='a type, or "all"')] = "all"
    accept_restart: Annotated[
        bool, Field(description="an import of tftp or capf may restart phones (TB145): it has to be accepted")
    ] = False


class Confirmed(BaseModel):
    """A host key that somebody has compared."""

    fingerprint: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")] = ""


class Tested(BaseModel):
    """A test that went well."""

    files: int
    pinned: str | None = Field(description="fingerprint of the host key, where it was pinned now")


@router.get("/bulk/server", responses={404: {"description": "none is set"}})
def server(desk: DeskHere, who: Viewer) -> Server:
    """The SFTP server that is saved."""
    return _server(desk)


def _server(desk: Desk) -> Server:
    found = BulkDesk.of(desk).servers.get()
    if found is None:
        raise NotThere("no SFTP server is set")
    return Server(
        host=found.host,
        port=found.port,
        username=found.username,
        directory=found.directory,
        told={name: TellState(at=one.at, current=found.current(name)) for name, one in found.told.items()},
    )


@router.put("/bulk/server", responses=FAULTS)
def save(request: Request, desk: DeskHere, who: Operator, new: NewServer) -> Begun:
    """Save the settings, and tell publishers."""
    audited(request, "bulk.settings", f"{new.username}@{new.host}:{new.port}{new.directory}", clusters=new.clusters)
    bulk = BulkDesk.of(desk)
    if new.clusters:
        bulk.known(new.clusters)
    bulk.servers.save(new.host.strip(), new.port, new.username.strip(), new.directory.strip() or "/", new.password)
    return _begun(bulk.tell(new.clusters, who.name)) if new.clusters else Begun(jobs=[])


@router.post("/bulk/server/test", responses=FAULTS)
async def probe_server(request: Request, desk: DeskHere, who: Operator, confirmed: Confirmed) -> Tested:
    """Log in, list, write a file, read it, remove it."""
    audited(request, "bulk.test", confirmed=confirmed.fingerprint)
    found = await BulkDesk.of(desk).test(confirmed.fingerprint)
    return Tested(files=found.files, pinned=None if found.key is None else found.key.fingerprint)


@router.get("/bulk/files", responses=FAULTS)
async def files(desk: DeskHere, who: Viewer, again: bool = False) -> Files:
    """Files on the SFTP server, and what can be done with them."""
    bulk = BulkDesk.of(desk)
    seen = await bulk.looked(again=again)
    if seen.problem is not None:
        raise seen.problem.with_traceback(None)  # others are told of it, too
    if seen.look is None:
        raise NotConfigured("no SFTP server is set", "PUT /api/v1/bulk/server sets one.")
    ready = {action: bulk.readiness(action, tuple(BulkType), seen) for action in ACTIONS}
    return Files(
        at=seen.look.at,
        where=seen.look.where,
        files=[File.of(one) for one in seen.look.files],
        ready={
            action: Ready(
                can=one.can, sure=one.sure, why=one.why, hint=one.hint, types=list(bulk.choices(action, seen))
            )
            for action, one in ready.items()
        },
    )


@router.post("/bulk/export", status_code=202, responses=FAULTS)
async def export(request: Request, desk: DeskHere, who: Operator, asked: Asked) -> Begun:
    """Have publishers export; a job each."""
    return await _act(request, desk, who.name, "export", asked)


@router.post("/bulk/consolidate", status_code=202, responses=FAULTS)
async def consolidate(request: Request, desk: DeskHere, who: Operator, asked: Asked) -> Begun:
    """Have one publisher consolidate what all have exported."""
    return await _act(request, desk, who.name, "consolidate", asked)


@router.post("/bulk/import", status_code=202, responses=FAULTS)
async def import_(request: Request, desk: DeskHere, who: Operator, asked: Asked) -> Begun:
    """Have publishers import what was consolidated; a job each."""
    return await _act(request, desk, who.name, "import", asked)


async def _act(request: Request, desk: Desk, who: str, action: str, asked: Asked) -> Begun:
    audited(request, f"bulk.{action}", ", ".join(asked.clusters)[:300], type=asked.type)
    check_restart(action, asked.type, asked.accept_restart)
    bulk = BulkDesk.of(desk)
    seen = await bulk.looked(again=True)
    return _begun(await run_in_threadpool(bulk.start, action, asked.clusters, asked.type, who, seen))


def _begun(jobs: list[Any]) -> Begun:
    return Begun(jobs=[Job.of(one) for one in jobs])
