"""Every route of the console, walked: nobody gets anywhere without being let in, and nothing is changed from elsewhere.

A route that is added is among these without being named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from tests.console.desks import Browser, SignIn

from trustbridge.console import parts
from trustbridge.console.app import PUBLIC, create_app, guards_of
from trustbridge.console.desk import Desk
from trustbridge.console.frame import HEADERS
from trustbridge.console.guard import SAFE
from trustbridge.storage.audit import AuditFilter, Outcome
from trustbridge.storage.people import Role

#: What a viewer may do beyond looking: with the own account alone.
OWN = {
    "/logout",
    "/account/password",
    "/account/preferences",
    "/account/sessions/end",
    "/account/tokens",
    "/account/tokens/{number}/revoke",
    "/api/v1/tokens/{number}",
}


def _routes() -> Iterator[tuple[str, APIRoute]]:
    for prefix, modules in (("", parts.PAGES), (parts.PREFIX, parts.API)):
        for module in modules:
            for route in module.router.routes:
                yield prefix + route.path, route


def _methods(route: APIRoute) -> set[str]:
    return route.methods or set()


ALL = [(method, path, route) for path, route in _routes() for method in sorted(_methods(route))]
UNSAFE = [(method, path) for method, path, _ in ALL if method not in SAFE]
SIGNED = [one for one in UNSAFE if one[1] not in PUBLIC]
SAFE_ONES = [(method, path) for method, path, _ in ALL if method in SAFE and path not in PUBLIC]


def _filled(path: str) -> str:
    return re.sub(r"{[^}]+}", "1", path)


def _same_origin(**more: str) -> dict[str, str]:
    return {"Sec-Fetch-Site": "same-origin"} | more


def test_there_are_some() -> None:
    assert len(UNSAFE) >= 10
    assert {path for _, path in UNSAFE if path in PUBLIC} == {"/login", "/setup"}


def test_without_a_session_nothing_is_shown(client: Browser, desk: Desk) -> None:
    desk.accounts.add("anna", Role.ADMINISTRATOR, "some words of hers")
    for method, path in SAFE_ONES:
        answer = client.request(method, _filled(path), follow_redirects=False)
        if path.startswith("/api/"):
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        else:
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login"), path


def test_without_a_session_nothing_is_done(client: Browser, desk: Desk) -> None:
    for method, path in SIGNED:
        answer = client.request(method, _filled(path), headers=_same_origin(), follow_redirects=False)
        assert answer.status_code == (401 if path.startswith("/api/") else 303), path
        assert desk.audit.entries(AuditFilter())[0].outcome is Outcome.REFUSED, path


@pytest.mark.parametrize("wrong", ["missing", "another session's", "cross-site", "another origin", "no origin"])
def test_nothing_is_done_from_elsewhere(signed_in: SignIn, desk: Desk, wrong: str) -> None:
    browser, other = signed_in(Role.ADMINISTRATOR), signed_in(Role.ADMINISTRATOR)
    headers = {
        "missing": _same_origin(),
        "another session's": _same_origin(**{"X-CSRF-Token": other.csrf}),
        "cross-site": {"Sec-Fetch-Site": "cross-site", "X-CSRF-Token": browser.csrf},
        "another origin": {"Origin": "https://evil.test", "X-CSRF-Token": browser.csrf},
        "no origin": {"X-CSRF-Token": browser.csrf},
    }[wrong]
    before = desk.accounts.people.all()
    for method, path in SIGNED:
        answer = browser.request(method, _filled(path), headers=headers, follow_redirects=False)
        assert answer.status_code == 403, (path, answer.text)
        entry = desk.audit.entries(AuditFilter())[0]
        assert (entry.who, entry.outcome) == ("administrator0", Outcome.REFUSED), path
    assert desk.accounts.people.all() == before


def test_a_viewer_does_nothing_but_look(signed_in: SignIn) -> None:
    browser = signed_in(Role.VIEWER)
    headers = _same_origin(**{"X-CSRF-Token": browser.csrf})
    acting = [(method, path) for method, path in SIGNED if path not in OWN]
    assert acting
    for method, path in acting:
        answer = browser.request(method, _filled(path), headers=headers, follow_redirects=False)
        assert answer.status_code == 403, path
    page = browser.request(*acting[0], headers=headers | {"Accept-Language": "fr"}, follow_redirects=False)
    assert "Vous pouvez consulter ceci" in page.text


def test_what_changes_something_says_so_by_its_method() -> None:
    for path, route in _routes():
        guards = guards_of(route)
        if _methods(route) & SAFE:
            assert not _methods(route) - SAFE, path
        elif path not in PUBLIC | OWN:
            assert all(guard.needed is not Role.VIEWER for guard in guards), path


def test_every_answer_has_the_headers(signed_in: SignIn) -> None:
    browser = signed_in(Role.ADMINISTRATOR)
    paths = [_filled(path) for method, path in SAFE_ONES if method == "GET" and not path.startswith("/live/")]
    for path in [*paths, "/login", "/setup", "/health", "/metrics", "/nothing", "/static/app.css", "/static/nothing"]:
        answer = browser.get(path, follow_redirects=False)
        assert answer.status_code < 500, path
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (path, name)
        assert "strict-transport-security" in answer.headers, path
        assert "server" not in answer.headers, path


def test_a_route_that_lets_everybody_in_is_not_served(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    module, router = ModuleType("open"), APIRouter()
    router.get("/open")(lambda: "open")
    module.__dict__["router"] = router
    monkeypatch.setattr(parts, "PAGES", (*parts.PAGES, module))
    with pytest.raises(RuntimeError, match="/open lets everybody in"):
        create_app(desk)
