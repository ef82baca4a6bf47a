"""The application: routes and what stands around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from trustbridge import __version__
from trustbridge.console import parts
from trustbridge.console.auditing import AuditEverything
from trustbridge.console.desk import Desk
from trustbridge.console.faults import Faults, add_handlers
from trustbridge.console.frame import Frame
from trustbridge.console.guard import Guard
from trustbridge.console.views import STATIC

#: Routes that need nobody to have signed in.
PUBLIC: Final = frozenset({"/login", "/setup", "/health", "/metrics"})


def create_app(desk: Desk) -> FastAPI:
    """The console over a desk.

    Raises:
        RuntimeError: a route lets everybody in that is not meant to.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await desk.jobs.open()
        await desk.workers.open()
        try:
            yield
        finally:
            desk.live.stop()
            await desk.workers.close()
            await desk.jobs.close()

    app = FastAPI(
        title="trustbridge",
        version=__version__,
        description="What the console knows and does, for programs. Send `Authorization: Bearer TOKEN`.",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.desk = desk
    walked: list[tuple[str, APIRoute]] = []
    for module in parts.PAGES:
        app.include_router(module.router, include_in_schema=False)
        walked += _walk(module.router, "")
        prepare = getattr(module, "prepare", None)
        if prepare is not None:
            prepare(desk)
    for module in parts.API:
        app.include_router(module.router, prefix=parts.PREFIX)
        walked += _walk(module.router, parts.PREFIX)
    app.mount("/static", _Static(directory=STATIC), name="static")
    app.state.routes = walked
    app.state.paths = frozenset(path for path, _ in walked)
    add_handlers(app)
    app.add_middleware(Faults)
    app.add_middleware(AuditEverything, desk=desk)
    app.add_middleware(Frame, desk=desk)
    return app


def _walk(router: APIRouter, prefix: str) -> list[tuple[str, APIRoute]]:
    """Routes with their whole paths; each has a guard, or is public."""
    found = []
    for route in router.routes:
        if not isinstance(route, APIRoute):
            raise RuntimeError(f"{route} is no route of its own: nobody can see who guards it")
        path = prefix + route.path
        if path not in PUBLIC and not guards_of(route):
            raise RuntimeError(f"{path} lets everybody in: it has no parameter of `guard`")
        found.append((path, route))
    return found


def guards_of(route: APIRoute) -> list[Guard]:
    """Who guards a route."""

    def within(dependant: Dependant) -> Iterator[Guard]:
        if isinstance(dependant.call, Guard):
            yield dependant.call
        for one in dependant.dependencies:
            yield from within(one)

    return list(within(route.dependant))


class _Static(StaticFiles):
    """Files that never change under their address, which has a digest of them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        found = await super().get_response(path, scope)
        if found.status_code == 200 and b"v=" in scope.get("query_string", b""):
            found.headers["cache-control"] = "public, max-age=31536000, immutable"
        return found
