"""A desk without a server around it: a database of its own, a clock that tests turn, and browsers who signed in.

def test_it(signed_in: SignIn) -> None:
    browser = signed_in(Role.OPERATOR)
    assert browser.get("/campaigns").status_code == 200
    browser.post("/campaigns/move/pause")                 # brings the session's token, as a form of ours does
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import Parameters
from argon2.low_level import Type
from starlette.testclient import TestClient

from trustbridge.console.app import create_app
from trustbridge.console.desk import Desk
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.storage.people import Role

#: Argon2id that costs nothing.
CHEAP = Parameters(Type.ID, version=19, salt_len=16, hash_len=32, time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "some words to sign in with"
HERE = "https://console.test"

SignIn = Callable[[Role], "Browser"]


class Clock:
    """The time of a desk; it goes on only when told."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **passed: float) -> None:
        self.at += timedelta(**passed)


class Browser(TestClient):
    """A browser at the console. What it posts comes from a page of the console, with the session's token."""

    csrf = ""

    def sees(self, path: str) -> str:
        """A page; its token is the one that is sent from now on."""
        found: httpx.Response = self.get(path)
        if token := re.search(r'name="csrf" value="([^"]+)"', found.text):
            self.csrf = token[1]
        return found.text

    def sign_in(self, name: str, password: str = PASSWORD, **more: str) -> httpx.Response:
        self.sees("/login")
        answer = self.send_form("/login", {"name": name, "password": password} | more)
        if answer.status_code == 303:
            self.sees("/account")
        return answer

    def send_form(self, path: str, values: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """Post a form as a page of the console does; redirects are not followed."""
        answer: httpx.Response = self.post(
            path,
            data={"csrf": self.csrf} | (values or {}),
            headers={"Sec-Fetch-Site": "same-origin"} | headers,
            follow_redirects=False,
        )
        return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    """On SQLite; nobody works on campaigns."""
    engine = open_database("", tmp_path / "desk")
    upgrade_to_head(engine)
    yield Desk(engine, tmp_path / "desk", now=clock, hashing=CHEAP, work=False)
    engine.dispose()


@pytest.fixture
def client(desk: Desk) -> Iterator[Browser]:
    """A browser of somebody who has not signed in; the server runs."""
    with Browser(create_app(desk), HERE) as found:
        yield found


@pytest.fixture
def signed_in(desk: Desk, client: Browser) -> Iterator[SignIn]:
    """Gives browsers of somebody of a role, each its own."""
    made: list[Browser] = []

    def sign_in(role: Role) -> Browser:
        name = f"{role}{len(made)}"
        desk.accounts.add(name, role, PASSWORD)
        browser = Browser(client.app, HERE)
        answer = browser.sign_in(name)
        assert answer.status_code == 303, answer.text
        made.append(browser)
        return browser

    yield sign_in
    for browser in made:
        browser.close()


def token_of(desk: Desk, role: Role, **more: Any) -> str:
    """The text of a token of a user of that role."""
    person = desk.accounts.add(f"owner-{role}", role, PASSWORD)
    return desk.accounts.make_token(person, "script", role, more.get("expires"))[1]
