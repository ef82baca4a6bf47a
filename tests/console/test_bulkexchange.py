"""Exchanges by the console's pages: planned, what stops them accepted one by one, carried out, proven, taken back."""

from __future__ import annotations

import asyncio
import html
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.console.clusterlab import browsing, desk_in, know
from tests.console.desks import Browser, token_of
from tests.console.test_bulk import BOTH, PATIENCE, set_up
from tests.lab.prepared import LiveLab, Prepared, lab_definition, lighten, phones

from trustbridge.console.desk import Desk
from trustbridge.migration.exchangerun import Exchange
from trustbridge.storage.audit import AuditFilter
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.models import JobState
from trustbridge.storage.people import Role

EVERYTHING: dict[str, Any] = {"clusters": BOTH, "type": "all", "sftp": "yes", "capf_trust": "yes"}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.once(tmp_path_factory)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    lighten(monkeypatch)


@pytest.fixture
def live(prepared: Prepared, tmp_path: Path) -> Iterator[LiveLab]:
    definition = lab_definition(phones(1), source={"release": "12.5"}, destination={"release": "15"})
    with LiveLab(prepared.lab(tmp_path / "lab", definition)) as live:
        yield live


@pytest.fixture
def at(live: LiveLab, tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path / "state") as desk:
        know(desk, live)
        yield desk


@pytest.fixture
def people(at: Desk) -> Iterator[dict[Role, Browser]]:
    with browsing(at) as people:
        for browser in people.values():
            browser.sees("/bulk/exchange")
        yield people


def done(desk: Desk, where: str) -> JobRecord:
    """The job of a page, when it has come to a good end."""
    number = int(where.rpartition("/")[2])
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        job = desk.jobs.table.get(number)
        assert job is not None
        if not job.running:
            return job
        time.sleep(0.02)
    raise AssertionError(f"{where} did not come to its end")


def sent(browser: Browser, path: str, values: dict[str, Any]) -> str:
    """Where a form leads."""
    answer = browser.send_form(path, values)
    assert answer.status_code == 303, html.unescape(answer.text)
    return str(answer.headers["location"])


def stores_of(live: LiveLab) -> dict[str, Any]:
    return {
        f"{name}/{node}": set(stores)
        for name, held in live.lab.clusters.items()
        for node, stores in held.stores.items()
    }


def test_planned_accepted_carried_out_proven_and_taken_back(
    live: LiveLab, at: Desk, people: dict[Role, Browser]
) -> None:
    operator, viewer = people[Role.OPERATOR], people[Role.VIEWER]
    set_up(at, operator, live)
    before = stores_of(live)
    plan = sent(operator, "/bulk/exchange/plan", EVERYTHING)
    assert done(at, plan).state is JobState.DONE
    page = html.unescape(viewer.sees(plan))
    assert "TB145" in page
    assert "consolidate what all have exported" in page
    assert "/run" not in page
    page = html.unescape(operator.sees(plan))
    stops = set(re.findall(r'name="accept" value="(\w+)"', page))
    assert "TB145" in stops
    assert "I accept TB145: " in page
    # Not all are accepted: nothing begins.
    refused = operator.send_form(f"{plan}/run")
    assert refused.status_code == 409
    assert "TB145" in refused.text
    assert stores_of(live) == before
    run = sent(operator, f"{plan}/run", {"accept": sorted(stops)})
    job = done(at, run)
    assert job.state is JobState.DONE, job.error
    name = job.result["exchange"]
    assert stores_of(live) != before
    page = html.unescape(viewer.sees(f"/bulk/exchange/records/{name}"))
    assert "Phone-SAST-trust" in page
    assert "finished" in page
    assert name in viewer.sees("/bulk")

    proof = sent(operator, "/bulk/exchange/verify", {"clusters": BOTH})
    assert done(at, proof).result["holds"] is True
    assert "Proven over TVS itself" in viewer.sees(proof)
    again = sent(operator, "/bulk/exchange/plan", EVERYTHING | {"method": "certificates"})
    assert done(at, again).result["plan"]["steps"] == []
    assert "nothing to do" in operator.sees(again)

    path = f"/bulk/exchange/records/{name}/undo"
    assert viewer.send_form(path, {"understood": "yes"}).status_code == 403
    assert operator.send_form(path).status_code == 409
    job = done(at, sent(operator, path, {"understood": "yes"}))
    assert job.state is JobState.DONE, job.error
    assert stores_of(live) == before
    assert operator.send_form(path, {"understood": "yes"}).status_code == 409
    said = {one.action for one in at.audit.entries(AuditFilter())}
    assert said >= {"exchange.plan", "exchange.run", "exchange.verify", "exchange.undo"}


def test_interrupted_in_the_middle_it_goes_on(live: LiveLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[str] = []
    original = Exchange._import

    async def stops(self: Exchange, step: Any, cluster: Any) -> None:
        reached.append(step.cluster)
        await asyncio.Event().wait()

    with desk_in(tmp_path / "state") as desk:
        know(desk, live)
        with browsing(desk) as people:
            operator = people[Role.OPERATOR]
            operator.sees("/bulk")
            set_up(desk, operator, live)
            monkeypatch.setattr(Exchange, "_import", stops)
            plan = sent(operator, "/bulk/exchange/plan", EVERYTHING)
            ids = [one["id"] for one in done(desk, plan).result["plan"]["findings"] if one["severity"] == "stop"]
            run = sent(operator, f"{plan}/run", {"accept": ids, "name": "tonight"})
            until = time.monotonic() + PATIENCE
            while len(reached) < 2 and time.monotonic() < until:
                time.sleep(0.02)
        assert done(desk, run).state is JobState.INTERRUPTED
        monkeypatch.setattr(Exchange, "_import", original)
        desk.accounts.add("another", Role.OPERATOR, "some words to sign in with")
        from tests.console.desks import HERE

        from trustbridge.console.app import create_app

        with Browser(create_app(desk), HERE) as browser:
            assert browser.sign_in("another").status_code == 303
            assert "under way or interrupted" in browser.sees("/bulk/exchange/records/tonight")
            job = done(desk, sent(browser, "/bulk/exchange/records/tonight/resume", {}))
            assert job.state is JobState.DONE, job.error
            assert "finished" in browser.sees("/bulk/exchange/records/tonight")
            assert browser.send_form("/bulk/exchange/records/tonight/resume").status_code == 409


def test_what_is_asked_has_to_make_sense(live: LiveLab, at: Desk, people: dict[Role, Browser]) -> None:
    operator = people[Role.OPERATOR]
    asked: list[dict[str, Any]] = [
        {"clusters": ["source"]},
        {"clusters": ["source", "nowhere"]},
        {"clusters": BOTH, "type": "none"},
        {"clusters": BOTH, "method": "pigeon"},
    ]
    for values in asked:
        assert operator.send_form("/bulk/exchange/plan", values).status_code == 422, values
    for path in ("plans/99", "runs/99", "proofs/99", "records/nothing", "plans/99999999999999999999"):
        assert operator.get(f"/bulk/exchange/{path}").status_code in (404, 422), path
    assert operator.send_form("/bulk/exchange/records/nothing/undo", {"understood": "yes"}).status_code == 404


def test_the_api_of_exchanges(live: LiveLab, at: Desk, people: dict[Role, Browser]) -> None:
    set_up(at, people[Role.OPERATOR], live)
    client = people[Role.OPERATOR]
    client.cookies.clear()
    head = {"Authorization": f"Bearer {token_of(at, Role.OPERATOR)}"}
    assert client.get("/api/v1/exchange", headers=head).json() == []
    asked = client.post("/api/v1/exchange/plan", headers=head, json={"clusters": BOTH, "method": "certificates"})
    assert asked.status_code == 202, asked.text
    plan = done(at, f"/{asked.json()['id']}")
    ids = [one["id"] for one in plan.result["plan"]["findings"] if one["severity"] == "stop"]
    begun = client.post("/api/v1/exchange/run", headers=head, json={"plan": plan.id, "accept": ids, "name": "api"})
    assert begun.status_code == 202, begun.text
    assert done(at, f"/{begun.json()['id']}").state is JobState.DONE
    record = client.get("/api/v1/exchange/api", headers=head).json()
    assert record["state"] == "finished"
    assert record["added"] > 0
    assert client.post("/api/v1/exchange/api/undo", headers=head, json={}).status_code == 422
    undone = client.post("/api/v1/exchange/api/undo", headers=head, json={"understood": True})
    assert done(at, f"/{undone.json()['id']}").state is JobState.DONE
    assert client.get("/api/v1/exchange", headers=head).json()[0]["state"] == "undone"
    assert client.get("/api/v1/exchange/none", headers=head).status_code == 404
