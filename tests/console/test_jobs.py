"""Long work: shown while it runs, when it failed, and after the server was started again."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.console.desks import CHEAP, Browser, Clock, SignIn

from trustbridge.console.desk import Desk
from trustbridge.console.jobs import Told
from trustbridge.console.words import N_
from trustbridge.errors import NotNow, Unreachable
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.models import JobState
from trustbridge.storage.people import Role

PATIENCE = 20.0


def _again(desk: Desk, clock: Clock) -> Desk:
    """The same server, started anew."""
    return Desk(desk.engine, desk.state, now=clock, hashing=CHEAP, work=False)


def _kept(desk: Desk, job: JobRecord) -> JobRecord:
    found = desk.jobs.table.get(job.id)
    assert found is not None
    return found


def _run(desk: Desk, work: Any, **more: Any) -> JobRecord:
    async def run() -> JobRecord:
        await desk.jobs.open()
        job = desk.jobs.start("test", N_("Jobs"), "anna", work, **more)
        await desk.jobs.ended(job.id)
        await desk.jobs.close()
        return _kept(desk, job)

    return asyncio.run(run())


def test_a_result_is_kept_with_how_far_it_was(desk: Desk) -> None:
    async def work(told: Told) -> dict[str, Any]:
        await asyncio.to_thread(told, "dst-pub", 3, 4)
        return {"files": ["a.p12"], "when": desk.now()}

    found = _run(desk, work)
    assert (found.state, found.step, found.done, found.total) == (JobState.DONE, "dst-pub", 3, 4)
    assert found.result == {"files": ["a.p12"], "when": "2026-03-01 12:00:00+00:00"}


def test_an_error_is_told_in_words_and_a_fault_without_its_insides(desk: Desk) -> None:
    async def unreachable(told: Told) -> None:
        raise Unreachable("source: nobody answers", "Is it up?")

    async def fault(told: Told) -> None:
        raise ValueError("password=hunter2")

    found = _run(desk, unreachable)
    assert (found.state, found.error, found.hint) == (JobState.FAILED, "source: nobody answers", "Is it up?")
    found = _run(desk, fault)
    assert (found.state, found.error) == (JobState.FAILED, "trustbridge itself failed: ValueError")
    assert "hunter2" not in str(found)


def test_a_result_that_is_no_json_is_a_fault_of_the_job_alone(desk: Desk) -> None:
    async def work(told: Told) -> Any:
        circle: list[Any] = []
        circle.append(circle)
        return circle

    assert _run(desk, work).state is JobState.FAILED


def test_one_of_a_key_at_a_time(desk: Desk) -> None:
    async def run() -> None:
        await desk.jobs.open()
        done = asyncio.Event()

        async def work(told: Told) -> None:
            await done.wait()

        job = desk.jobs.start("test", N_("Jobs"), "anna", work, key="bulk:source")
        with pytest.raises(NotNow, match="being done already, begun by anna"):
            desk.jobs.start("test", N_("Jobs"), "boris", work, key="bulk:source")
        done.set()
        await desk.jobs.ended(job.id)
        again = desk.jobs.start("test", N_("Jobs"), "boris", work, key="bulk:source")
        await desk.jobs.ended(again.id)
        await desk.jobs.close()

    asyncio.run(run())


def test_what_ran_when_the_server_ended_is_interrupted(desk: Desk) -> None:
    async def run() -> JobRecord:
        await desk.jobs.open()

        async def work(told: Told) -> None:
            await asyncio.Event().wait()

        job = desk.jobs.start("test", N_("Jobs"), "anna", work)
        await asyncio.sleep(0)
        await desk.jobs.close()
        with pytest.raises(NotNow):
            desk.jobs.start("test", N_("Jobs"), "anna", work)
        return _kept(desk, job)

    found = asyncio.run(run())
    assert (found.state, found.hint) == (JobState.INTERRUPTED, "Run it again: that is safe.")


def test_what_ran_when_the_server_was_killed_is_interrupted_at_the_next_start(desk: Desk, clock: Clock) -> None:
    async def run() -> JobRecord:
        await desk.jobs.open()

        async def work(told: Told) -> None:
            await asyncio.Event().wait()

        job = desk.jobs.start("test", N_("Jobs"), "anna", work)
        await asyncio.sleep(0)
        for task in asyncio.all_tasks():  # as if they had never been
            if task is not asyncio.current_task():
                task.cancel()
        assert _kept(desk, job).running
        again = _again(desk, clock)
        await again.jobs.open()
        found = _kept(again, job)
        await again.jobs.close()
        return found

    assert asyncio.run(run()).state is JobState.INTERRUPTED


def test_pages_show_a_job_from_its_beginning_to_its_end(signed_in: SignIn, desk: Desk) -> None:
    browser = signed_in(Role.OPERATOR)
    go = threading.Event()

    async def work(told: Told) -> dict[str, int]:
        told("src-sub1: CallManager", 2, 8)
        await asyncio.to_thread(go.wait, PATIENCE)
        return {"files": 8}

    title = N_("Role of %(name)s")  # any that has been translated
    job = desk.jobs.start("bulk-export", title, "anna", work, values={"name": "<source>"})
    assert browser.get("/jobs", headers={"Accept-Language": "fr"}).text.count("Rôle de &lt;source&gt;") >= 1
    assert "running" in browser.sees(f"/jobs/{job.id}")
    go.set()
    _wait_for_end(desk, job)
    page = browser.sees(f"/jobs/{job.id}")
    assert "&#34;files&#34;: 8" in page or '"files": 8' in page
    assert browser.get("/jobs/999").status_code == 404


def _wait_for_end(desk: Desk, job: JobRecord) -> None:
    ended = threading.Event()
    loop = desk.jobs._loop
    assert loop is not None
    asyncio.run_coroutine_threadsafe(desk.jobs.ended(job.id), loop).add_done_callback(lambda _: ended.set())
    assert ended.wait(PATIENCE)


def test_the_api_has_jobs_too(client: Browser, desk: Desk) -> None:
    from tests.console.desks import token_of

    job = desk.jobs.table.add("k", "test", "Role of %(name)s", {"name": "anna"}, "anna", "p", now=desk.now())
    headers = {"Authorization": f"Bearer {token_of(desk, Role.VIEWER)}"}
    found = client.get("/api/v1/jobs?running=true", headers=headers).json()
    assert [(one["id"], one["title"], one["state"]) for one in found] == [(job.id, "Role of anna", "running")]
    assert client.get("/api/v1/jobs/99", headers=headers).json()["error"]["message"] == "there is no such job"
