"""Campaigns, as `trustbridge migrate status --json` has them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.errors import SettingsError
from trustbridge.migration.campaignview import campaign_json

router = APIRouter(tags=["campaigns"])

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


@router.get("/campaigns")
def campaigns(desk: DeskHere, who: Viewer) -> list[dict[str, Any]]:
    """Every campaign with its waves, oldest first; without phones and journal."""
    return [campaign_json(one, desk.campaigns.waves(one.id)) for one in desk.campaigns.all()]


@router.get("/campaigns/{name}", responses={404: {"description": "there is no such campaign"}})
def campaign(
    desk: DeskHere,
    who: Viewer,
    name: Name,
    phones: Annotated[bool, Query(description="with all its phones")] = False,
    journal: Annotated[int, Query(ge=0, le=10_000, description="so many of the journal's newest entries")] = 0,
) -> dict[str, Any]:
    """One campaign."""
    try:
        found = desk.campaigns.get(name)
    except SettingsError as error:
        raise NotThere(error.message, error.hint) from error
    return campaign_json(
        found,
        desk.campaigns.waves(found.id),
        desk.campaigns.phones(found.id) if phones else (),
        desk.campaigns.journal(found.id, last=journal) if journal else (),
    )
