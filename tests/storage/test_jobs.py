"""Jobs in the database: one of a key at a time, and what a server left behind."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine
from tests.storage.databases import NOW

from trustbridge.errors import NotNow
from trustbridge.storage.jobs import SILENT, JobRecord, JobTable
from trustbridge.storage.models import JobState


def _add(jobs: JobTable, key: str = "bulk:source", place: str = "here", minutes: float = 0) -> JobRecord:
    return jobs.add(
        key, "bulk-export", "Export from %(cluster)s", {"cluster": "source"}, "anna", place,
        now=NOW + timedelta(minutes=minutes),
    )  # fmt: skip


def test_one_of_a_key_at_a_time(engine: Engine) -> None:
    jobs = JobTable(engine)
    first = _add(jobs)
    with pytest.raises(NotNow, match="anna"):
        _add(jobs)
    assert _add(jobs, "bulk:destination").running
    jobs.end(first.id, JobState.DONE, now=NOW, result={"files": 3})
    second = _add(jobs)
    found = jobs.get(first.id)
    assert found is not None
    assert (found.state, found.result, found.ended_at) == (JobState.DONE, {"files": 3}, NOW)
    newest = jobs.of_key("bulk:source")
    assert newest is not None
    assert newest.id == second.id
    assert jobs.counts() == {"running": 2, "done": 1}


def test_what_a_server_ran_is_interrupted_when_it_begins_again_and_not_what_others_run(engine: Engine) -> None:
    jobs = JobTable(engine)
    mine, theirs = _add(jobs), _add(jobs, "other", "there")
    assert jobs.interrupt("here", now=NOW) == 1
    found = jobs.get(mine.id)
    assert found is not None
    assert (found.state, found.hint) == (JobState.INTERRUPTED, "Run it again: that is safe.")
    jobs.progress(mine.id, "late", 1, 2, now=NOW)
    jobs.end(mine.id, JobState.DONE, now=NOW)
    assert jobs.get(mine.id) == found, "who was taken for dead, says nothing any more"
    assert [one.id for one in jobs.all(running=True)] == [theirs.id]
    assert _add(jobs).running


def test_a_server_that_is_silent_for_long_keeps_nobody_waiting(engine: Engine) -> None:
    jobs = JobTable(engine)
    first = _add(jobs, place="there")
    jobs.progress(first.id, "half", 1, 2, now=NOW + timedelta(minutes=10))
    with pytest.raises(NotNow):
        _add(jobs, minutes=10.5)
    assert _add(jobs, minutes=10 + SILENT.total_seconds() / 60 + 0.1).running
    found = jobs.get(first.id)
    assert found is not None
    assert found.state is JobState.INTERRUPTED


def test_jobs_are_turned_over(engine: Engine) -> None:
    jobs = JobTable(engine)
    made = [_add(jobs, f"key{number}").id for number in range(5)]
    assert [one.id for one in jobs.all(limit=2)] == made[:-3:-1]
    assert [one.id for one in jobs.all(before=made[3], limit=2)] == [made[2], made[1]]
    assert jobs.all(kind="other") == []
