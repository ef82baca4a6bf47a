"""Long work of the console, as the database keeps it: so that a page can show it after the server was started again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from trustbridge.errors import NotNow
from trustbridge.storage.database import reading, writing
from trustbridge.storage.models import Job, JobState

#: A server that runs a job says so at least every some seconds; one that has not for so long is gone.
SILENT: Final = timedelta(seconds=60)
#: What is said of a job whose server went away.
INTERRUPTED: Final = "the server was stopped while it ran"
AGAIN: Final = "Run it again: that is safe."


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Long work, see `models.Job`."""

    id: int
    key: str
    kind: str
    title: str
    values: Mapping[str, Any]
    who: str
    state: JobState
    step: str
    done: int
    total: int
    result: Any
    error: str
    hint: str
    started_at: datetime
    seen_at: datetime
    ended_at: datetime | None

    @property
    def running(self) -> bool:
        """Whether it has not come to an end."""
        return self.state is JobState.RUNNING


class JobTable:
    """Jobs of a database. Every method raises `Unreachable` or `Refused` when the database does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self, key: str, kind: str, title: str, values: Mapping[str, Any], who: str, place: str, *, now: datetime
    ) -> JobRecord:
        """Write that a job begins.

        Raises:
            NotNow: another one of this key runs.
        """
        try:
            with writing(self._engine) as session:
                _interrupt(session, Job.claim == key, Job.seen_at < now - SILENT, now=now)
                row = Job(
                    claim=key,
                    key=key,
                    kind=kind,
                    title=title,
                    values=dict(values),
                    who=who,
                    state=JobState.RUNNING,
                    step="",
                    done=0,
                    total=0,
                    result=None,
                    error="",
                    hint="",
                    place=place,
                    started_at=now,
                    seen_at=now,
                    ended_at=None,
                )
                session.add(row)
                session.flush()
                return _record(row)
        except Exception as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
        found = self.of_key(key)
        who = f", begun by {found.who}" if found is not None else ""
        raise NotNow(f"this is being done already{who}", "Wait for its end; see the list of jobs.")

    def progress(self, number: int, step: str, done: int, total: int, *, now: datetime) -> None:
        """Keep how far a job is; also says that it is still at work."""
        with writing(self._engine) as session:
            session.execute(
                update(Job)
                .where(Job.id == number, Job.state == JobState.RUNNING)
                .values(step=step, done=done, total=total, seen_at=now)
            )

    def end(
        self, number: int, state: JobState, *, now: datetime, result: Any = None, error: str = "", hint: str = ""
    ) -> None:
        """Keep what came of a job."""
        with writing(self._engine) as session:
            session.execute(
                update(Job)
                .where(Job.id == number, Job.state == JobState.RUNNING)
                .values(state=state, claim=None, result=result, error=error, hint=hint, seen_at=now, ended_at=now)
            )

    def interrupt(self, place: str, *, now: datetime) -> int:
        """A server begins: what it ran before is interrupted, and what no server tells of. Gives how many."""
        with writing(self._engine) as session:
            return _interrupt(session, or_(Job.place == place, Job.seen_at < now - SILENT), now=now)

    def get(self, number: int) -> JobRecord | None:
        """One job."""
        with reading(self._engine) as session:
            row = session.get(Job, number)
            return None if row is None else _record(row)

    def of_key(self, key: str) -> JobRecord | None:
        """The newest job of a key."""
        with reading(self._engine) as session:
            row = session.scalar(select(Job).where(Job.key == key).order_by(Job.id.desc()).limit(1))
            return None if row is None else _record(row)

    def all(
        self, *, kind: str | None = None, running: bool = False, before: int | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """Jobs, newest first.

        Args:
            before: only those older than the one of this id.
        """
        query = select(Job).order_by(Job.id.desc()).limit(limit)
        if kind is not None:
            query = query.where(Job.kind == kind)
        if running:
            query = query.where(Job.state == JobState.RUNNING)
        if before is not None:
            query = query.where(Job.id < before)
        with reading(self._engine) as session:
            return [_record(row) for row in session.scalars(query)]

    def counts(self) -> dict[str, int]:
        """How many there are in each state."""
        with reading(self._engine) as session:
            return dict(session.execute(select(Job.state, func.count()).group_by(Job.state)).all())


def _interrupt(session: Session, *which: Any, now: datetime) -> int:
    found = session.execute(
        update(Job)
        .where(Job.state == JobState.RUNNING, *which)
        .values(state=JobState.INTERRUPTED, claim=None, error=INTERRUPTED, hint=AGAIN, ended_at=now)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    return len(found.all())


def _record(row: Job) -> JobRecord:
    return JobRecord(
        row.id,
        row.key,
        row.kind,
        row.title,
        dict(row.values),
        row.who,
        JobState(row.state),
        row.step,
        row.done,
        row.total,
        row.result,
        row.error,
        row.hint,
        row.started_at,
        row.seen_at,
        row.ended_at,
    )
