"""Clusters, what was read of them, their certificates. Nothing here waits for a cluster: what takes long is a job."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, SecretStr

from trustbridge.console import clusterwork
from trustbridge.console.api.jobs import Job
from trustbridge.console.auditing import audited
from trustbridge.console.certificatelists import Listed, Wanted, identities, next_to_expire, trusted
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import Administrator, DeskHere, Operator, Viewer
from trustbridge.cucm.credentials import Realm, Secret
from trustbridge.cucm.model import ClusterEntry
from trustbridge.pki.units import Store, Unit
from trustbridge.storage.clusterbook import Place, add_clusters, keep_password, remove_cluster

router = APIRouter(tags=["clusters"])

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Word = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x20\x7f]+$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Filter = Annotated[str, Query(max_length=255, pattern=r"^[^\x00]*$")]
Within = Annotated[
    Literal["", "expired", "30", "90", "365"], Query(description="days at the most until it expires; or has expired")
]
_MISSING: dict[int | str, dict[str, Any]] = {404: {"description": "there is no such cluster, or it was not read yet"}}
_RUNS: dict[int | str, dict[str, Any]] = {
    404: {"description": "there is no such cluster"},
    409: {"description": "it is being done already"},
}


class Cluster(BaseModel):
    """A cluster of the inventory, with what was read of it last."""

    name: str
    publisher: str
    os_user: str
    app_user: str
    release: str | None
    nodes: list[str]
    security: str | None = Field(description="mixed or non-secure")
    read_at: datetime | None = Field(description="None before the first reading")
    seen_at: datetime | None = Field(description="by a reading, a campaign or a proof")
    next_to_expire: Certificate | None
    not_seen: int = Field(description="things that the last reading could not have")

    @classmethod
    def of(cls, kept: clusterwork.Kept, now: datetime) -> Cluster:
        """From what is kept."""
        entry, reading = kept.entry, kept.reading
        first = next_to_expire(reading, now) if reading is not None else None
        read_at = clusterwork.read_at(reading) if reading is not None else None
        seen = kept.seen
        return cls(
            name=entry.name,
            publisher=entry.publisher,
            os_user=entry.os_user,
            app_user=entry.app_user,
            release=(reading or {}).get("release") or (seen.release if seen is not None else None),
            nodes=[one["name"] for one in reading["nodes"]]
            if reading is not None
            else list(seen.nodes if seen else ()),
            security=(reading or {}).get("security"),
            read_at=read_at,
            seen_at=max((one for one in (read_at, seen.seen_at if seen else None) if one), default=None),
            next_to_expire=Certificate.of(first) if first is not None else None,
            not_seen=len(reading["gaps"]) if reading is not None else 0,
        )


class Certificate(BaseModel):
    """A certificate of a node, or one of a store."""

    cluster: str
    place: str = Field(description="its unit, or the trust store")
    nodes: list[str]
    missing: list[str] = Field(description="nodes whose copy of the store lacks it")
    subject: str
    issuer: str
    serial: str
    key: str
    signature: str
    not_before: datetime | None
    not_after: datetime | None
    days_left: int | None
    sha256: str
    origin: list[str] = Field(description="where an entry of a store came from, as far as that is known")
    held_by: list[str] = Field(description="other clusters and their stores that hold it")

    @classmethod
    def of(cls, row: Any) -> Certificate:
        """From a row of a list."""
        one = row.certificate
        return cls(
            cluster=row.cluster,
            place=row.place,
            nodes=list(row.nodes),
            missing=list(row.missing),
            subject=one["subject"],
            issuer=one["issuer"],
            serial=one["serial"],
            key=one["key"],
            signature=one["signature"],
            not_before=row.starts,
            not_after=row.expiry.at,
            days_left=row.expiry.days,
            sha256=one["sha256"],
            origin=list(row.origin),
            held_by=list(row.holders),
        )


class Certificates(BaseModel):
    """A page of a list."""

    total: int
    page: int
    pages: int
    certificates: list[Certificate]

    @classmethod
    def of(cls, found: Listed) -> Certificates:
        """From the list."""
        return cls(
            total=found.total, page=found.page, pages=found.pages, certificates=list(map(Certificate.of, found.rows))
        )


class NewCluster(BaseModel):
    """A cluster to be added. Passwords are kept in the file of the state folder, and come back in no answer."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    publisher: Word
    os_user: Word
    app_user: Word
    os_password: SecretStr | None = Field(default=None, max_length=1000)
    app_password: SecretStr | None = Field(default=None, max_length=1000)
    ssh_port: Port = 22
    https_port: Port = 8443
    tvs_port: Port = 2445
    http_port: Port = 6970
    tftp_port: Port = 69
    node_addresses: dict[Word, Word] = Field(default={}, max_length=100)
    legacy_ssh: bool = False


@router.get("/clusters")
def clusters(desk: DeskHere, who: Viewer) -> list[Cluster]:
    """The inventory."""
    now = desk.now()
    return [Cluster.of(one, now) for one in clusterwork.known(desk)]


@router.post(
    "/clusters", status_code=201, responses={422: {"description": "the name is taken, or something can't be right"}}
)
def add(request: Request, desk: DeskHere, who: Administrator, new: NewCluster) -> Cluster:
    """Add a cluster. Nothing is asked of it yet."""
    audited(request, "cluster.add", new.name, publisher=new.publisher)
    values = new.model_dump(exclude={"os_password", "app_password", "node_addresses"})
    entry = ClusterEntry(**values, node_addresses=tuple(new.node_addresses.items()))
    warnings: list[str] = []
    add_clusters([entry], desk.state, warn=warnings.append)
    for realm, password in ((Realm.OS, new.os_password), (Realm.APP, new.app_password)):
        if password is not None and password.get_secret_value():
            secret = Secret(password.get_secret_value())
            keep_password(entry, realm, secret, desk.state, place=Place.FILE, warn=warnings.append)
    return _known(desk, entry.name)


@router.get("/clusters/{name}", responses=_MISSING)
def cluster(desk: DeskHere, who: Viewer, name: Name) -> Cluster:
    """One cluster."""
    return _known(desk, name)


def _known(desk: Desk, name: str) -> Cluster:
    found = next((one for one in clusterwork.known(desk) if one.entry.name == name), None)
    if found is None:
        raise NotThere(f"no cluster is called {name}")
    return Cluster.of(found, desk.now())


@router.delete("/clusters/{name}", status_code=204, responses=_MISSING)
def remove(request: Request, desk: DeskHere, who: Administrator, name: Name) -> None:
    """Forget a cluster, its passwords and what was read of it; nothing on it changes."""
    audited(request, "cluster.remove", name)
    clusterwork.entry_of(desk, name)
    remove_cluster(name, desk.state, warn=lambda words: None)
    clusterwork.readings(desk).forget(name)


@router.get("/clusters/{name}/reading", responses=_MISSING)
def reading(desk: DeskHere, who: Viewer, name: Name) -> dict[str, Any]:
    """All that the last reading of a cluster has: nodes, services, identities, stores, trust lists, subnets, gaps."""
    return _reading(desk, name)


def _reading(desk: Desk, name: str) -> dict[str, Any]:
    clusterwork.entry_of(desk, name)
    found = clusterwork.reading_of(desk, name)
    if found is None:
        raise NotThere(f"{name} was not read yet", "POST to /read.")
    return found


@router.post("/clusters/{name}/read", status_code=202, responses=_RUNS)
def read(
    request: Request,
    desk: DeskHere,
    who: Operator,
    name: Name,
    stores: Annotated[Literal["all", "publisher"], Query(description="whose trust stores")] = "all",
) -> Job:
    """Read a cluster anew; the answer is the job that does so."""
    audited(request, "cluster.read", name, stores=stores)
    return Job.of(clusterwork.start_reading(desk, who.name, name, every_store=stores == "all"))


@router.post("/clusters/{name}/test", status_code=202, responses=_RUNS)
def test(request: Request, desk: DeskHere, who: Operator, name: Name) -> Job:
    """Try each interface; the answer is the job that does so, whose result has a row an interface."""
    audited(request, "cluster.test", name)
    return Job.of(clusterwork.start_test(desk, who.name, name))


@router.get("/clusters/{name}/certificates", responses=_MISSING)
def certificates(
    desk: DeskHere,
    who: Viewer,
    name: Name,
    node: Filter = "",
    unit: Unit | None = None,
    text: Filter = "",
    within: Within = "",
    sort: Filter = "until",
    page: Annotated[int, Query(ge=1, le=99_999)] = 1,
) -> Certificates:
    """Certificates of its nodes, filtered and sorted as the page of the console does."""
    _reading(desk, name)
    readings = clusterwork.all_readings(desk)
    wanted = Wanted(node=node, unit=unit or "", text=text, within=within, sort=sort, page=page)
    return Certificates.of(identities({name: readings[name]}, wanted, desk.now(), holding=readings))


@router.get("/clusters/{name}/stores", responses=_MISSING)
def stores(
    desk: DeskHere,
    who: Viewer,
    name: Name,
    node: Filter = "",
    store: Store | None = None,
    text: Filter = "",
    within: Within = "",
    sort: Filter = "until",
    page: Annotated[int, Query(ge=1, le=99_999)] = 1,
) -> Certificates:
    """What its trust stores hold: once a store and certificate, with the nodes that hold it."""
    _reading(desk, name)
    wanted = Wanted(node=node, store=store or "", text=text, within=within, sort=sort, page=page)
    return Certificates.of(trusted(clusterwork.all_readings(desk), name, wanted, desk.now()))


Cluster.model_rebuild()
