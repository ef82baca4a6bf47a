"""Metrics, errors, limits, the API's description, and the audit's page."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from fastapi import APIRouter, Request
from starlette.testclient import TestClient
from tests.console.desks import HERE, Browser, SignIn, token_of
from tests.storage.databases import planned

from trustbridge import errors
from trustbridge.console import parts
from trustbridge.console.auditing import audited
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.frame import LARGEST
from trustbridge.console.guard import Operator, Viewer
from trustbridge.storage.audit import AuditFilter, NewAudit, Outcome
from trustbridge.storage.people import Role

RAISED: list[Exception] = []


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes that raise what a test puts into `RAISED`."""
    module, router = ModuleType("failing"), APIRouter()

    @router.get("/failing")
    def fail(who: Viewer) -> None:
        raise RAISED[-1]

    @router.post("/failing")
    def act(request: Request, who: Operator) -> None:
        audited(request, "thing.break", "it", size=3)
        raise RAISED[-1]

    module.__dict__["router"] = router
    monkeypatch.setattr(parts, "PAGES", (*parts.PAGES, module))
    monkeypatch.setattr(parts, "API", (*parts.API, module))


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (errors.SettingsError("<b>what</b>", "do this"), 422, Outcome.FAILED),
        (errors.NotNow("<b>what</b>", "do this"), 409, Outcome.FAILED),
        (errors.Unreachable("<b>what</b>", "do this"), 424, Outcome.FAILED),
        (errors.AuthenticationRefused("<b>what</b>", "do this"), 424, Outcome.FAILED),
        (errors.TrustbridgeError("<b>what</b>", "do this"), 409, Outcome.FAILED),
        (NotThere("<b>what</b>", "do this"), 404, Outcome.FAILED),
    ],
)
def test_errors_are_told_in_words_and_written_down(
    failing: None, signed_in: SignIn, desk: Desk, error: Exception, status: int, outcome: Outcome
) -> None:
    RAISED.append(error)
    browser = signed_in(Role.OPERATOR)
    page = browser.get("/failing")
    assert page.status_code == status
    assert "&lt;b&gt;what" in page.text
    assert "do this" in page.text
    part = browser.get("/failing", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["hx-retarget"]) == (status, "#messages")
    assert "<html" not in part.text
    found = browser.get("/api/v1/failing")
    assert (found.status_code, found.json()) == (status, {"error": {"message": "<b>what</b>", "hint": "do this"}})
    browser.send_form("/failing")
    entry = desk.audit.entries(AuditFilter())[0]
    assert (entry.action, entry.object, entry.outcome, entry.details) == ("thing.break", "it", outcome, {"size": 3})


def test_a_fault_shows_nothing_of_its_insides(
    failing: None, signed_in: SignIn, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    RAISED.append(ValueError("secret insides"))
    browser = signed_in(Role.OPERATOR)
    careless = TestClient(browser.app, HERE, raise_server_exceptions=False, cookies=browser.cookies)
    for path in ("/failing", "/api/v1/failing"):
        answer = careless.get(path)
        assert answer.status_code == 500
        assert "secret insides" not in answer.text
        assert "content-security-policy" in answer.headers
    careless.post("/failing", data={"csrf": browser.csrf}, headers={"Sec-Fetch-Site": "same-origin"})
    assert desk.audit.entries(AuditFilter())[0].outcome is Outcome.FAILED
    assert "secret insides" in caplog.text


def test_what_is_too_large_is_not_read(signed_in: SignIn) -> None:
    browser = signed_in(Role.OPERATOR)
    answer = browser.post("/account/preferences", content=b"x" * (LARGEST + 1))
    assert answer.status_code == 413

    def pieces() -> Any:
        for _ in range(LARGEST // 2**20 + 1):
            yield b"x" * 2**20

    headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    assert browser.post("/account/preferences", content=pieces(), headers=headers).status_code == 413


def test_metrics_are_for_this_machine_or_a_token(client: Browser, desk: Desk) -> None:
    planned(desk.campaigns, "move", 2, 3)
    assert client.get("/metrics").status_code == 401, "a name that is no address of loopback"
    headers = {"Authorization": f"Bearer {token_of(desk, Role.VIEWER)}"}
    found = client.get("/metrics", headers=headers).text
    for line in (
        'trustbridge_phones{campaign="move",kind="held",state="planned"} 5.0',
        'trustbridge_campaigns{state="planned"} 1.0',
        "trustbridge_database_up 1.0",
        'trustbridge_requests_total{method="GET",route="/metrics",status="401"} 1.0',
    ):
        assert line in found
    near = TestClient(client.app, HERE, client=("127.0.0.1", 50000))
    assert near.get("/metrics").status_code == 200


def test_the_api_is_described(client: Browser, desk: Desk) -> None:
    headers = {"Authorization": f"Bearer {token_of(desk, Role.VIEWER)}"}
    schema = client.get("/api/v1/openapi.json", headers=headers).json()
    assert {"/api/v1/me", "/api/v1/campaigns/{name}", "/api/v1/audit", "/api/v1/jobs"} <= set(schema["paths"])
    assert all(path.startswith("/api/v1/") for path in schema["paths"])
    assert schema["security"] == [{"token": []}]
    assert "/api/v1/me" in client.get("/api/v1/docs", headers=headers).text


def test_the_api_has_campaigns_as_the_command_line_does(client: Browser, desk: Desk) -> None:
    planned(desk.campaigns, "move", 2, 3)
    headers = {"Authorization": f"Bearer {token_of(desk, Role.VIEWER)}"}
    found = client.get("/api/v1/campaigns", headers=headers).json()
    assert [(one["name"], one["state"], [wave["phones"] for wave in one["waves"]]) for one in found] == [
        ("move", "planned", [2, 3])
    ]
    one = client.get("/api/v1/campaigns/move?phones=true&journal=5", headers=headers).json()
    assert (len(one["phones"]), one["journal"][0]["event"]) == (5, "planned")
    assert client.get("/api/v1/campaigns/none", headers=headers).status_code == 404


def test_the_audit_is_filtered_and_turned_over(signed_in: SignIn, desk: Desk) -> None:
    browser = signed_in(Role.VIEWER)
    for number in range(150):
        desk.audit.add(
            NewAudit(desk.now(), "<eve>", "", "::1", "thing.do", f"number-{number}", Outcome.DONE, {"what": "<i>"})
        )
    first = browser.sees("/audit?by=%3Ceve%3E&text=number")
    assert "number-149" in first
    assert "number-49<" not in first
    assert "<eve>" not in first
    assert "<i>" not in first
    older = first[first.index('href="/audit?by=') :].partition('"')[2].partition('"')[0].replace("&amp;", "&")
    second = browser.sees(older)
    assert "number-49<" in second
    assert "number-149" not in second
    for odd in ("before=x", "before=99999999999999999999", "since=x", "until=9999-99-99", "by=%00", "outcome=none"):
        assert browser.get(f"/audit?{odd}").status_code == 200, odd


@pytest.mark.parametrize("number", ["0", "-1", "99999999999999999999999", "2147483648", "x"])
def test_a_number_that_can_be_nobodys_is_no_fault(signed_in: SignIn, number: str) -> None:
    browser = signed_in(Role.ADMINISTRATOR)
    for path in (f"/jobs/{number}", f"/api/v1/jobs/{number}"):
        assert browser.get(path).status_code == 422
    assert browser.send_form(f"/users/{number}/password").status_code == 422
