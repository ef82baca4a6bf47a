"""The inventory changed, by administrators: clusters, their passwords, what their nodes are pinned to."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from trustbridge.console import clusterwork
from trustbridge.console.auditing import audited
from trustbridge.console.clusterform import blank, entry_from, typed_of
from trustbridge.console.desk import Desk
from trustbridge.console.faults import status_of
from trustbridge.console.guard import Administrator, DeskHere
from trustbridge.console.views import done, page, say
from trustbridge.console.words import _
from trustbridge.cucm.credentials import Realm, Secret
from trustbridge.cucm.model import ClusterEntry
from trustbridge.errors import SettingsError, TrustbridgeError
from trustbridge.storage.clusterbook import (
    Place,
    add_clusters,
    forget_passwords,
    keep_password,
    known_passwords,
    remove_cluster,
)

router = APIRouter()

Typed = Annotated[str, Form(max_length=300)]


def _form(
    request: Request,
    desk: Desk,
    values: dict[str, str],
    name: str = "",
    error: TrustbridgeError | None = None,
) -> Response:
    """The form of one cluster, a new one without `name`; passwords never come back in it."""
    stored = known_passwords(desk.inventory.get(name), desk.state) if name else {}
    return page(
        request,
        "clusters/edit",
        status=200 if error is None else status_of(error),
        values=values,
        name=name,
        error=error,
        stored=stored,
        realms=list(Realm),
        places=list(Place),
    )


@router.get("/new-cluster")
def new(request: Request, desk: DeskHere, who: Administrator) -> Response:
    return _form(request, desk, blank())


@router.post("/clusters")
async def add(request: Request, desk: DeskHere, who: Administrator) -> Response:
    values = await typed_of(request)
    audited(request, "cluster.add", values["name"][:63], publisher=values["publisher"])
    return await _saved(request, desk, values)


@router.get("/clusters/{name}/edit")
def edit(request: Request, desk: DeskHere, who: Administrator, name: str) -> Response:
    return _form(request, desk, blank(clusterwork.entry_of(desk, name)), name)


@router.post("/clusters/{name}/edit")
async def change(request: Request, desk: DeskHere, who: Administrator, name: str) -> Response:
    values = await typed_of(request)
    audited(request, "cluster.change", name, publisher=values["publisher"])
    values["name"] = name
    return await _saved(request, desk, values, name)


async def _saved(request: Request, desk: Desk, values: dict[str, str], name: str = "") -> Response:
    passwords = {realm: values.pop(f"password_{realm}".lower(), "") for realm in Realm}
    place = values.pop("place", "")

    def save() -> Response:
        try:
            before = clusterwork.entry_of(desk, name) if name else None
            entry = entry_from(values, before)
            add_clusters([entry], desk.state, replace=bool(name), warn=_warner(request))
            _keep(request, entry, passwords, place, desk)
        except SettingsError as error:
            if name and name not in desk.inventory.all():
                raise
            audited(request, "cluster.change" if name else "cluster.add", values["name"][:63], error=error.message)
            return _form(request, desk, values, name, error)
        text = _("%(name)s is changed.", name=entry.name) if name else _("%(name)s is known now.", name=entry.name)
        return done(request, f"/clusters/{entry.name}", text)

    return await run_in_threadpool(save)


def _keep(request: Request, entry: ClusterEntry, passwords: dict[Realm, str], place: str, desk: Desk) -> None:
    """Keep the passwords that were typed; a field that was left empty changes nothing."""
    chosen = Place(place) if place in list(Place) else Place.FILE
    for realm, typed in passwords.items():
        if typed:
            keep_password(entry, realm, Secret(typed), desk.state, place=chosen, warn=_warner(request))


def _warner(request: Request) -> Any:
    return lambda words: say(request, words, kind="warn")


@router.post("/clusters/{name}/forget-passwords")
def forget(request: Request, desk: DeskHere, who: Administrator, name: str) -> Response:
    audited(request, "cluster.forget passwords", name)
    forget_passwords(clusterwork.entry_of(desk, name), desk.state, _warner(request))
    return done(request, f"/clusters/{name}/edit", _("The passwords of %(name)s are forgotten.", name=name))


@router.post("/clusters/{name}/remove")
def remove(request: Request, desk: DeskHere, who: Administrator, name: str) -> Response:
    audited(request, "cluster.remove", name)
    clusterwork.entry_of(desk, name)
    remove_cluster(name, desk.state, warn=_warner(request))
    clusterwork.readings(desk).forget(name)
    return done(request, "/clusters", _("%(name)s is not known any more.", name=name))


@router.post("/clusters/{name}/identities")
def pin(
    request: Request,
    desk: DeskHere,
    who: Administrator,
    name: str,
    kind: Typed = "",
    host: Typed = "",
    fingerprint: Typed = "",
) -> Response:
    """Pin what a node showed, instead of what is pinned: an administrator has compared it."""
    audited(request, "cluster.pin", name, kind=kind, host=host, fingerprint=fingerprint)
    what = clusterwork.pin_shown(desk, name, kind, host, fingerprint)
    return done(request, f"/clusters/{name}/identities", _("Pinned now: %(what)s", what=what))
