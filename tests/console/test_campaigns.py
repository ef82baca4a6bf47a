"""A campaign at the console, in a live lab: planned, checked, started, paused, moved, one wave back; who may not."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.console.desks import CHEAP, HERE, Browser, SignIn, token_of
from tests.e2e.test_cluster import credentials_of, entry_of
from tests.lab.prepared import LiveLab, Prepared, lab_definition, lighten, phones

from trustbridge.console.app import create_app
from trustbridge.console.desk import Desk
from trustbridge.cucm.ris import Budget
from trustbridge.services.ris import RisLimits
from trustbridge.storage.audit import AuditFilter
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.models import CampaignState, JobState
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.storage.people import Role

#: Seconds that anything may take.
PATIENCE = 60.0


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.once(tmp_path_factory)


@pytest.fixture
def live(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveLab]:
    """Ten phones at the source, after the exchange; option 150 names the destination. Calls are not counted."""
    lighten(monkeypatch)

    async def spend(budget: Budget) -> None:
        return None

    monkeypatch.setattr(Budget, "spend", spend)
    monkeypatch.setattr(RisLimits, "count", lambda limits: None)
    with LiveLab(prepared.exchanged().lab(tmp_path / "lab", lab_definition(phones(10)))) as live:
        live.boot()
        live.point_at("destination")
        yield live


@pytest.fixture
def desk(live: LiveLab, tmp_path: Path) -> Iterator[Desk]:
    """Over the lab, with workers, by the real clock."""
    state = tmp_path / "desk"
    made = desk_over(state)
    for cluster in live.lab.clusters.values():
        Inventory(state).add(entry_of(cluster), replace=True)
        PasswordFile(state).keep(cluster.name, credentials_of(cluster))
    yield made
    made.engine.dispose()


def desk_over(state: Path) -> Desk:
    engine = open_database("", state)
    upgrade_to_head(engine)
    return Desk(engine, state, hashing=CHEAP)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def ended(desk: Desk, path: str) -> object:
    """The result of the job that a page is about, once it has ended well."""
    number = int(re.findall(r"\d+", path)[-1])
    until(lambda: (job := desk.jobs.table.get(number)) is not None and not job.running)
    job = desk.jobs.table.get(number)
    assert job is not None
    assert job.state == JobState.DONE, job
    return job.result


def latest(desk: Desk, key: str) -> object:
    job = desk.jobs.table.of_key(key)
    assert job is not None
    return ended(desk, str(job.id))


def plan_form(live: LiveLab, **more: str) -> dict[str, str]:
    return {
        "name": "move",
        "source": "source",
        "destination": "destination",
        "pilot": "3",
        "wave_size": "7",
        "resets_a_minute": "1000",
        "look": "0.3",
        "settle": "0.5",
        "lease": "4",
        "doubt": "6",
        "predicting": "yes",
        "phone_port": str(live.lab.ports.web),
    } | more


def planned(browser: Browser, desk: Desk, live: LiveLab, **more: str) -> None:
    answer = browser.send_form("/campaigns/new", plan_form(live, **more))
    assert answer.status_code == 303, answer.text
    where = answer.headers["location"]
    ended(desk, where)
    html = browser.sees(where)
    assert "10 phones" in html
    assert "moves" in html
    assert "wave-1" in html
    assert desk.campaigns.all() == []  # nothing is kept before somebody agrees
    answer = browser.send_form(f"{where}/create")
    assert (answer.status_code, answer.headers["location"]) == (303, "/campaigns/move")
    assert 'action="' + where + '/create"' not in browser.sees(where)


def state(desk: Desk) -> CampaignState:
    return desk.campaigns.get("move").state


def states(desk: Desk) -> Counter[str]:
    return Counter(one.state for one in desk.campaigns.phones(desk.campaigns.get("move").id))


def test_planned_started_moved_and_a_wave_back(desk: Desk, live: LiveLab, signed_in: SignIn) -> None:
    browser, viewer = signed_in(Role.OPERATOR), signed_in(Role.VIEWER)
    planned(browser, desk, live)
    # Nobody has said what option 150 names.
    assert browser.send_form("/campaigns/move/start").status_code == 409
    assert viewer.send_form("/campaigns/move/start", {"option150": "yes"}).status_code == 403
    assert "Check and start" in browser.sees("/campaigns/move/start")
    assert "Check and start" not in viewer.sees("/campaigns/move/start")
    answer = browser.send_form("/campaigns/move/start", {"option150": "yes"})
    assert answer.status_code == 303, answer.text
    result = latest(desk, "start:move")
    assert isinstance(result, dict)
    assert result["begun"]
    assert result["checked"]
    assert result["left"] == []
    until(lambda: state(desk) is CampaignState.FINISHED)
    assert states(desk) == {"moved": 10}
    assert Counter(live.whereabouts()) == {"destination": 10}
    html = browser.sees("/campaigns/move")
    assert "Phones by state over time" in html
    assert "<svg" in html
    assert "waves-chart" in html
    # One phone, and the table.
    name = live.phones[0].name
    html = browser.sees(f"/campaigns/move/phones/{name}")
    assert html.count("<li") > 5
    assert "reset requested" in html
    assert "registered at destination" in html
    assert "Roll back" not in viewer.sees(f"/campaigns/move/phones/{name}")
    # The consequence of a rollback is stated before anything goes back.
    live.point_at("source")
    answer = browser.send_form("/campaigns/move/rollback", {"wave": "pilot", "checking": "yes"})
    confirm = answer.headers["location"]
    found = ended(desk, confirm)
    assert isinstance(found, dict)
    assert (found["count"], found["foretold"]) == (3, {"moves": 3})
    html = browser.sees(confirm)
    assert "3 phones go back to source" in html
    assert "has to name source again" in html
    assert browser.send_form(confirm).status_code == 409  # option 150
    assert viewer.send_form(confirm, {"option150": "yes"}).status_code == 403
    answer = browser.send_form(confirm, {"option150": "yes"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/campaigns/move")
    until(lambda: states(desk) == {"moved": 7, "rolled back": 3})
    assert Counter(live.whereabouts()) == {"destination": 7, "source": 3}
    for kind, begin in (("html", "<!doctype html>"), ("csv", "phone,wave"), ("json", "{")):
        answer = browser.get(f"/campaigns/move/report.{kind}")
        assert answer.status_code == 200
        assert answer.text.removeprefix("\ufeff").lower().startswith(begin)
    assert json.loads(browser.get("/campaigns/move/report.json").text)["counts"] == {"moved": 7, "rolled back": 3}
    audit = Counter((one.action, str(one.outcome)) for one in desk.audit.entries(AuditFilter(text="move")))
    assert audit["campaign.rollback", "done"] == audit["campaign.rollback", "failed"] == 1
    assert audit["POST /campaigns/{name}/rollback/{number}", "refused"] == 1  # the viewer


def test_what_stops_a_move_is_shown_and_accepted_one_by_one(desk: Desk, live: LiveLab, signed_in: SignIn) -> None:
    browser = signed_in(Role.OPERATOR)
    planned(browser, desk, live)
    for node in ("src-pub", "src-sub1"):  # nobody is left who would vouch
        live.stop_service(node, "Cisco Trust Verification Service")
    assert browser.send_form("/campaigns/move/start", {"option150": "yes"}).status_code == 303
    result = latest(desk, "start:move")
    assert isinstance(result, dict)
    assert not result["begun"]
    assert result["left"]
    assert state(desk) is CampaignState.PLANNED
    html = browser.sees("/campaigns/move/start")
    for number in result["left"]:
        assert f'name="accept" value="{number}"' in html
        assert f'href="/findings/{number}"' in html
    assert browser.send_form("/campaigns/move/start", {"option150": "yes", "accept": result["left"]}).status_code == 303
    result = latest(desk, "start:move")
    assert isinstance(result, dict)
    assert result["begun"]


def test_paused_and_resumed_over_a_restart_of_the_server(
    desk: Desk, live: LiveLab, signed_in: SignIn, tmp_path: Path
) -> None:
    browser = signed_in(Role.OPERATOR)
    planned(browser, desk, live)
    desk.workers.active = False
    desk.campaigns.begin("move", option150="destination", now=desk.now())
    assert browser.send_form("/campaigns/move/pause").status_code == 303
    assert state(desk) is CampaignState.PAUSED
    assert browser.send_form("/campaigns/move/pause").headers["location"] == "/campaigns/move"
    assert "is paused" in browser.sees("/campaigns/move")
    assert browser.send_form("/campaigns/move/resume").status_code == 303
    assert state(desk) is CampaignState.RUNNING
    # Another server over the same state goes on with it.
    again = desk_over(tmp_path / "desk")
    with Browser(create_app(again), HERE):
        until(lambda: state(again) is CampaignState.FINISHED)
        assert states(again) == {"moved": 10}
    again.engine.dispose()


def test_check_predict_and_diagnose(desk: Desk, live: LiveLab, signed_in: SignIn) -> None:
    browser = signed_in(Role.OPERATOR)
    pair = {"source": "source", "destination": "destination", "port": str(live.lab.ports.web), "pages": "yes"}
    answer = browser.send_form("/check", pair)
    assert answer.headers["location"] == "/check/source/destination"
    found = latest(desk, "check:source:destination")
    assert isinstance(found, dict)
    html = browser.sees("/check/source/destination")
    assert found["sentence"] in html
    assert all(one["id"] in html for one in found["findings"])
    assert browser.send_form("/predict", pair).headers["location"] == "/predict/source/destination"
    found = latest(desk, "predict:source:destination")
    assert isinstance(found, dict)
    assert found["counts"]["moves"] == 10
    html = browser.sees("/predict/source/destination")
    assert all(phone.name in html for phone in live.phones)
    assert live.phones[3].name in browser.sees(f"/predict/source/destination?text={live.phones[3].name}")
    assert live.phones[4].name not in browser.sees(f"/predict/source/destination?text={live.phones[3].name}")
    name = live.phones[0].name
    assert browser.send_form(f"/phones/{name}/diagnose", pair).headers["location"] == f"/phones/{name}"
    found = latest(desk, f"diagnose:{name}")
    assert isinstance(found, dict)
    assert found["well"]
    html = browser.sees(f"/phones/{name}")
    assert "would move" in html
    assert "How its own procedure goes" in html
    assert browser.get(f"/phones?name={name[3:]}", follow_redirects=False).headers["location"] == f"/phones/{name}"


def test_a_campaign_by_the_api(desk: Desk, live: LiveLab, client: Browser) -> None:
    said = {"Authorization": f"Bearer {token_of(desk, Role.OPERATOR)}"}
    seer = {"Authorization": f"Bearer {token_of(desk, Role.VIEWER)}"}
    form = plan_form(live)
    wanted = form | {"predicting": True, "registered": True}
    assert client.post("/api/v1/campaigns/plans", json=wanted, headers=seer).status_code == 403
    job = client.post("/api/v1/campaigns/plans", json=wanted, headers=said)
    assert job.status_code == 202, job.text
    ended(desk, str(job.json()["id"]))
    made = client.post("/api/v1/campaigns", json={"plan": job.json()["id"]}, headers=said)
    assert made.status_code == 201
    assert made.json()["state"] == "planned"
    job = client.post("/api/v1/campaigns/move/start", json={"option150_done": True}, headers=said)
    assert job.status_code == 202, job.text
    until(lambda: state(desk) is CampaignState.FINISHED)
    found = client.get("/api/v1/campaigns/move/phones?state=moved&limit=4&sort=since", headers=seer).json()
    assert (found["total"], len(found["phones"])) == (10, 4)
    name = found["phones"][0]["name"]
    one = client.get(f"/api/v1/campaigns/move/phones/{name}", headers=seer).json()
    assert [entry["after"] for entry in one["journal"] if entry["event"] == "state"][-1] == "moved"
    newest = client.get("/api/v1/campaigns/move/journal?limit=2", headers=seer).json()
    older = client.get(f"/api/v1/campaigns/move/journal?limit=2&before={newest[-1]['id']}", headers=seer).json()
    assert len(older) == 2
    assert older[0]["id"] < newest[-1]["id"]
    assert client.get("/api/v1/campaigns/move/report?format=csv", headers=seer).text.count("\r\n") >= 10
    live.point_at("source")
    body = {"phones": [name], "option150_done": True}
    job = client.post("/api/v1/campaigns/move/rollback", json=body, headers=said)
    result = ended(desk, str(job.json()["id"]))
    assert isinstance(result, dict)
    assert result["phones"] == 1
    until(lambda: states(desk) == {"moved": 9, "rolled back": 1})
