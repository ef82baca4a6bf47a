"""The API's own description: OpenAPI for programs, a page for people."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from trustbridge.console.guard import Viewer
from trustbridge.console.views import page

router = APIRouter()


def described(request: Request) -> dict[str, Any]:
    """OpenAPI of all routes under /api/v1, with how to be let in."""
    schema: dict[str, Any] = request.app.openapi()
    parts = schema.setdefault("components", {})
    parts.setdefault("securitySchemes", {})["token"] = {"type": "http", "scheme": "bearer"}
    schema["security"] = [{"token": []}]
    refusals = {
        "401": {"description": "no valid token"},
        "403": {"description": "the token's role does not suffice"},
    }
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"] = refusals | operation["responses"]
    return schema


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request, who: Viewer) -> Response:
    """OpenAPI 3.1."""
    return JSONResponse(described(request))


@router.get("/docs", include_in_schema=False)
def docs(request: Request, who: Viewer) -> Response:
    """The same for people."""
    return page(request, "api", schema=described(request))
