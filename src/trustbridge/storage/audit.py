"""Who did what when, in the console: a table that only grows.

What happens to campaigns and phones stands in their journal, whoever caused it; here is who asked for it, and what was
not let be done. No entry holds a secret: whoever writes one names what was done, not what was typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, Select, select

from trustbridge.storage.database import reading, writing
from trustbridge.storage.models import AuditEntry


class Outcome(StrEnum):
    """What came of it."""

    DONE = "done"
    FAILED = "failed"
    """It was tried, or could not be understood."""
    REFUSED = "refused"
    """Whoever asked may not."""


@dataclass(frozen=True, slots=True)
class NewAudit:
    """An entry to be written, see `models.AuditEntry`."""

    at: datetime
    who: str
    token: str
    address: str
    action: str
    object: str
    outcome: Outcome
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An entry, see `models.AuditEntry`."""

    id: int
    at: datetime
    who: str
    token: str
    address: str
    action: str
    object: str
    outcome: Outcome
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; "" and None: whatever it is.

    Attributes:
        text: is somewhere in the action or the object.
        since, until: no earlier, and earlier than that.
    """

    who: str = ""
    action: str = ""
    outcome: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None


class Audit:
    """The audit of a database.

    Every method raises `Unreachable` or `Refused` when the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, entry: NewAudit) -> None:
        """Write one. What is too long for its column is cut: an entry that is refused would be missing."""
        with writing(self._engine) as session:
            session.add(
                AuditEntry(
                    at=entry.at,
                    who=_plain(entry.who)[:63],
                    token=entry.token[:63],
                    address=entry.address[:64],
                    action=entry.action[:64],
                    object=_plain(entry.object)[:255],
                    outcome=entry.outcome,
                    details=dict(entry.details),
                )
            )

    def entries(self, wanted: AuditFilter, *, before: int | None = None, limit: int = 100) -> list[AuditRecord]:
        """Entries, newest first.

        Args:
            before: only those older than the one of this id, for the next page.
        """
        query = _filtered(select(AuditEntry), wanted).order_by(AuditEntry.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditEntry.id < before)
        with reading(self._engine) as session:
            return [_record(row) for row in session.scalars(query)]

    def names(self) -> tuple[list[str], list[str]]:
        """Everybody, and every action, that there is an entry of."""
        with reading(self._engine) as session:
            who = list(session.scalars(select(AuditEntry.who).distinct().order_by(AuditEntry.who)))
            actions = list(session.scalars(select(AuditEntry.action).distinct().order_by(AuditEntry.action)))
        return who, actions


def _filtered(query: Select[Any], wanted: AuditFilter) -> Select[AuditEntry]:
    for column, value in (
        (AuditEntry.who, wanted.who),
        (AuditEntry.action, wanted.action),
        (AuditEntry.outcome, wanted.outcome),
    ):
        if value:
            query = query.where(column == _plain(value))
    if text := _plain(wanted.text):
        query = query.where(
            AuditEntry.action.icontains(text, autoescape=True) | AuditEntry.object.icontains(text, autoescape=True)
        )
    if wanted.since is not None:
        query = query.where(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEntry.at < wanted.until)
    return query


def _plain(text: str) -> str:
    """Without the one character that PostgreSQL does not keep."""
    return text.replace("\x00", "")


def _record(row: AuditEntry) -> AuditRecord:
    return AuditRecord(
        row.id,
        row.at,
        row.who,
        row.token,
        row.address,
        row.action,
        row.object,
        Outcome(row.outcome),
        dict(row.details),
    )
