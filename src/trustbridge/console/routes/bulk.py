"""Bulk Certificate Management, as engineers know it from OS Administration: settings, files, Export to Import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import Response
from pydantic import StringConstraints
from starlette.concurrency import run_in_threadpool

from trustbridge.console import views
from trustbridge.console.auditing import audited
from trustbridge.console.bulk import ACTIONS, CONSOLIDATE, EXPORT, IMPORT, RESTARTING, BulkDesk, Seen
from trustbridge.console.bulkexchange import ExchangeDesk
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere, status_of
from trustbridge.console.guard import Administrator, DeskHere, Operator, Unwatched, Viewer
from trustbridge.console.views import done, fragment, page, render
from trustbridge.console.words import N_, _
from trustbridge.errors import IdentityChanged, NotConfigured, NotNow, SettingsError, TrustbridgeError
from trustbridge.exchange.askingpins import UnknownHostKey
from trustbridge.exchange.probe import Probed
from trustbridge.migration.bulklook import strangers
from trustbridge.pki.units import BulkType, bulk_types
from trustbridge.storage.jobs import JobRecord

router = APIRouter()

views.LOOKS.update(
    {
        "current": "good",
        "stale": "warn",
        "unfinished": "warn",
        "garbled": "bad",
        "not known": "idle",
        "under way or interrupted": "warn",
        "being undone": "warn",
        "undone": "idle",
        "yes": "good",
        "no": "bad",
        "unknown": "warn",
        "stop": "bad",
        "warning": "warn",
        "note": "idle",
    }
)
#: Names of states and kinds that come from elsewhere, for the catalogues.
NAMES: Final = (
    N_("current"),
    N_("stale"),
    N_("unfinished"),
    N_("garbled"),
    N_("not known"),
    N_("under way or interrupted"),
    N_("being undone"),
    N_("undone"),
    N_("yes"),
    N_("no"),
    N_("unknown"),
    N_("stop"),
    N_("warning"),
    N_("note"),
    N_("export"),
    N_("consolidated"),
    N_("manifest"),
    N_("other file"),
    N_("bulk"),
    N_("certificates"),
)
#: Types as the vendor's dialogue names them; All first.
TYPES: Final = {
    "all": N_("All"),
    BulkType.TFTP: "TFTP (CallManager)",
    BulkType.TOMCAT: "Tomcat",
    BulkType.CAPF: "CAPF",
    BulkType.ITLRECOVERY: "ITLRecovery",
}
#: What the actions are called, and what each does.
VERBS: Final = {EXPORT: N_("Export"), CONSOLIDATE: N_("Consolidate"), IMPORT: N_("Import")}
EFFECTS: Final = {
    EXPORT: N_("Each publisher writes a PKCS#12 file a node and type to the SFTP server. Keys never leave a node."),
    CONSOLIDATE: N_("One publisher joins what all clusters have exported into one file a type. Once is enough."),
    IMPORT: N_("The other clusters' certificates are added to the trust stores of all nodes."),
}

Typed = Annotated[str, Form(max_length=300, pattern=r"^[^\x00]*$")]
Several = Annotated[list[Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00]*$")]], Form()]
Filter = Annotated[str, Query(max_length=300)]


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test of the server came to."""

    probed: Probed | None = None
    error: TrustbridgeError | None = None

    @property
    def unknown(self) -> UnknownHostKey | None:
        """A key that waits for somebody to confirm it."""
        return self.error if isinstance(self.error, UnknownHostKey) else None

    @property
    def changed(self) -> bool:
        """Whether another key is pinned."""
        return isinstance(self.error, IdentityChanged)


def prepare(desk: Desk) -> None:
    """Add the topics: how far jobs are; and that there is something else to be seen."""
    bulk = BulkDesk.of(desk)

    def running(_argument: str) -> tuple[JobRecord, ...]:
        return tuple(one for one in bulk.jobs() if one.running)

    def changed(_argument: str) -> tuple[int, tuple[tuple[int, str], ...]]:
        return bulk.seen.number, tuple((one.id, str(one.state)) for one in bulk.jobs())

    desk.live.topic("bulk-jobs", running, lambda found: render("bulk/running", running=found))
    desk.live.topic("bulk", changed, str)  # all of it: what is shown as before is not sent again


def _part(desk: Desk, seen: Seen, cluster: str, type: str) -> dict[str, Any]:
    """What the part of the page needs that is shown anew when something has changed."""
    bulk = BulkDesk.of(desk)
    names = _names(desk)
    files = () if seen.look is None else seen.look.files
    kept = [one for one in files if (not cluster or one.cluster == cluster) and (not type or one.type == type)]
    return {
        "seen": seen,
        "files": kept,
        "hidden": len(files) - len(kept),
        "cluster": cluster,
        "type": type,
        "owners": sorted({one.cluster for one in files if one.cluster}),
        "types": TYPES,
        "names": names,
        "ready": {action: bulk.readiness(action, tuple(BulkType), seen) for action in ACTIONS},
        "choices": {action: bulk.choices(action, seen) for action in ACTIONS},
        "verbs": VERBS,
        "ended": [one for one in bulk.jobs() if not one.running],
        "unconfirmed": isinstance(seen.problem, UnknownHostKey),
        "now": desk.now(),
    }


def _names(desk: Desk) -> list[str]:
    return sorted(desk.inventory.all())


def _whole(
    request: Request, desk: Desk, seen: Seen, cluster: str = "", type: str = "", status: int = 200, **more: Any
) -> Response:
    bulk = BulkDesk.of(desk)
    server = bulk.servers.get()
    inventory = desk.inventory.all()
    nodes = {name: [node for node, _address in entry.node_addresses] for name, entry in inventory.items()}
    values: dict[str, Any] = {
        "server": server,
        "tested": None,
        "failed": None,
        "typed": {},
        "running": [one for one in bulk.jobs() if one.running],
        "strangers": strangers(seen.look, nodes) if seen.look is not None else (),
        "effects": EFFECTS,
        "records": ExchangeDesk(desk).records()[:5],
        **_part(desk, seen, cluster, type),
    }
    return page(request, "bulk/page", status=status, **(values | more))


@router.get("/bulk")
async def bulk(
    request: Request, desk: DeskHere, who: Viewer, cluster: Filter = "", type: Filter = "", look: Filter = ""
) -> Response:
    seen = await BulkDesk.of(desk).looked(again=bool(look))
    return await run_in_threadpool(_whole, request, desk, seen, cluster, type)


@router.get("/bulk/part")
async def part(request: Request, desk: DeskHere, who: Unwatched, cluster: Filter = "", type: Filter = "") -> Response:
    bulk = BulkDesk.of(desk)
    seen = bulk.seen if bulk.seen.revision else await bulk.looked()
    return await run_in_threadpool(lambda: fragment(request, "bulk/part", **_part(desk, seen, cluster, type)))


# The server.


@router.post("/bulk/server")
async def save(
    request: Request,
    desk: DeskHere,
    who: Operator,
    host: Typed = "",
    port: Typed = "22",
    username: Typed = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    directory: Typed = "/",
    clusters: Several = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    audited(request, "bulk.settings", f"{username}@{host}:{port}{directory}", clusters=clusters)
    bulk = BulkDesk.of(desk)
    try:
        if clusters:
            await run_in_threadpool(bulk.known, clusters)
        await run_in_threadpool(
            bulk.servers.save, host.strip(), _port(port), username.strip(), directory.strip() or "/", password
        )
        if clusters:
            await run_in_threadpool(bulk.tell, clusters, who.name)
    except TrustbridgeError as error:
        failed = error
        typed = {"host": host, "port": port, "username": username, "directory": directory}
        seen = await bulk.looked()
        return await run_in_threadpool(
            lambda: _whole(request, desk, seen, status=status_of(failed), failed=failed, typed=typed)
        )
    said = _("The SFTP settings are saved.")
    if clusters:
        said = _("The SFTP settings are saved; %(clusters)s are being told.", clusters=", ".join(clusters))
    return done(request, "/bulk", said)


def _port(text: str) -> int:
    if not text.strip().isdecimal() or len(text) > 6:
        raise SettingsError(f"{text!r} is not a TCP port", "SFTP servers usually listen on 22.")
    return int(text)


@router.post("/bulk/server/test")
async def probe_server(request: Request, desk: DeskHere, who: Operator, fingerprint: Typed = "") -> Response:
    """The answer itself shows what came of it."""
    bulk = BulkDesk.of(desk)
    server = await run_in_threadpool(bulk.servers.get)
    name = "" if server is None else f"{server.host}:{server.port}"
    audited(request, "bulk.test", name, confirmed=fingerprint)
    try:
        tested, status = Tested(await bulk.test(fingerprint)), 200
    except TrustbridgeError as error:
        tested, status = Tested(error=error), status_of(error)
        audited(request, "bulk.test", name, why=error.message)
    seen = await bulk.looked()
    return await run_in_threadpool(lambda: _whole(request, desk, seen, status=status, tested=tested))


@router.post("/bulk/server/forget")
def forget(request: Request, desk: DeskHere, who: Administrator) -> Response:
    bulk = BulkDesk.of(desk)
    server = bulk.servers.get()
    if server is None:
        raise NotConfigured("no SFTP server is set")
    audited(request, "bulk.forget host key", f"{server.host}:{server.port}")
    bulk.forget_key(server)
    text = _("The host key of %(host)s is forgotten. Test it, and compare what it shows.", host=server.host)
    return done(request, "/bulk", text)


# Export, Consolidate, Import.


@router.get("/bulk/{action}")
async def ask(request: Request, desk: DeskHere, who: Operator, action: str) -> Response:
    """The dialogue as a page of its own."""
    if action not in ACTIONS:
        raise NotThere("there is no such page")
    bulk = BulkDesk.of(desk)
    seen = await bulk.looked()
    ready = bulk.readiness(action, tuple(BulkType), seen)
    choices = bulk.choices(action, seen)
    if not choices:
        raise NotNow(ready.why, ready.hint)
    server = await run_in_threadpool(bulk.servers.get)
    names = await run_in_threadpool(_names, desk)
    return page(
        request,
        "bulk/ask",
        action=action,
        names=names,
        types=TYPES,
        verbs=VERBS,
        effects=EFFECTS,
        server=server,
        ready={action: ready},
        choices={action: choices},
        strangers=(),
    )


@router.post("/bulk/{action}")
async def act(
    request: Request,
    desk: DeskHere,
    who: Operator,
    action: str,
    type: Typed = "all",
    clusters: Several = [],  # noqa: B006 - FastAPI copies it
    restart: Typed = "",
) -> Response:
    audited(request, f"bulk.{action}"[:64], ", ".join(clusters)[:300], type=type)
    if action not in ACTIONS:
        raise NotThere("there is no such page")
    check_restart(action, type, bool(restart))
    bulk = BulkDesk.of(desk)
    seen = await bulk.looked(again=True)
    jobs = await run_in_threadpool(bulk.start, action, clusters, type, who.name, seen)
    audited(request, f"bulk.{action}", ", ".join(clusters), jobs=[one.id for one in jobs])
    return done(request, "/bulk#running")


def check_restart(action: str, type: str, accepted: bool) -> None:
    """That somebody knows that an import may restart phones.

    Raises:
        NotNow: it may, and nobody has said so.
    """
    if action == IMPORT and not accepted and any(kind in RESTARTING for kind in bulk_types(type)):
        raise NotNow(
            "importing tftp or capf certificates restarts the cluster's phones, from release 12.5 on (TB145)",
            "Say that this is accepted.",
        )
