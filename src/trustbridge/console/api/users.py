"""Users, for administrators; they are added and changed at the browser."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from trustbridge.console.guard import Administrator, DeskHere

router = APIRouter(tags=["users"])


class User(BaseModel):
    """Somebody who may use the console."""

    id: int
    name: str
    role: str
    disabled: bool
    created_at: datetime
    changed_at: datetime


@router.get("/users")
def users(desk: DeskHere, who: Administrator) -> list[User]:
    """Everybody, by name."""
    return [
        User(
            id=one.id,
            name=one.name,
            role=one.role,
            disabled=one.disabled,
            created_at=one.created_at,
            changed_at=one.changed_at,
        )
        for one in desk.accounts.people.all()
    ]
