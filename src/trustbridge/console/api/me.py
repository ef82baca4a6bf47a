"""Who asks."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from trustbridge.console.guard import Viewer

router = APIRouter(tags=["me"])


class Me(BaseModel):
    """Whoever asks."""

    name: str
    role: str = Field(description="what this session or token may do")
    token: str = Field(description="the API token's name; empty for a session")
    language: str
    zone: str


@router.get("/me")
def me(who: Viewer) -> Me:
    """Who asks, and what they may."""
    return Me(name=who.name, role=who.role, token=who.token, language=who.record.language, zone=who.record.zone)
