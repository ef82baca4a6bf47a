"""One's own API tokens. They are made at the browser: a token that makes others could not be taken back."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from trustbridge.console.api.numbers import Number
from trustbridge.console.auditing import audited
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.storage.people import TokenRecord

router = APIRouter(tags=["tokens"])


class Token(BaseModel):
    """An API token; its text is told nobody again."""

    id: int
    name: str
    role: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, record: TokenRecord) -> Token:
        """From its record."""
        return cls(
            id=record.id,
            name=record.name,
            role=record.role,
            created_at=record.created_at,
            expires_at=record.expires_at,
            used_at=record.used_at,
            revoked_at=record.revoked_at,
        )


@router.get("/tokens")
def tokens(desk: DeskHere, who: Viewer) -> list[Token]:
    """Whoever asks has these tokens."""
    return [Token.of(one) for one in desk.accounts.people.tokens_of(who.id)]


@router.delete("/tokens/{number}", status_code=204, responses={404: {"description": "there is no such token"}})
def revoke(request: Request, desk: DeskHere, who: Viewer, number: Number) -> Response:
    """Let nobody in by one of them any more."""
    audited(request, "token.revoke", str(number))
    found = desk.accounts.people.revoke_token(number, owner=who.id, now=desk.now())
    if found is None:
        raise NotThere("you have no such token")
    audited(request, "token.revoke", found.name)
    return Response(status_code=204)
