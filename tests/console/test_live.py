"""Pages that refresh themselves: one look for all who read, each in their language, until session or server ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.console.desks import PASSWORD, Browser, Clock, SignIn

from trustbridge.console import live as live_module
from trustbridge.console.desk import Desk
from trustbridge.console.words import Reader, plain, speaking
from trustbridge.storage.people import Role

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "EACH", 0.01)
    monkeypatch.setattr(live_module, "ALIVE", 0.05)


async def _next(stream: AsyncIterator[bytes], kind: str) -> str:
    async with asyncio.timeout(PATIENCE):
        async for event in stream:
            lines = event.decode().splitlines()
            if lines and lines[0] == f"event: {kind}":
                return "\n".join(line.removeprefix("data: ") for line in lines[1:] if line.startswith("data: "))
    raise AssertionError("the stream has ended")


def test_changes_arrive_once_and_in_each_readers_language(desk: Desk) -> None:
    found, looks = [1], [0]

    def look(of: str) -> tuple[str, int]:
        looks[0] += 1
        return of, found[0]

    desk.live.topic("count", look, lambda seen: f"{plain('Jobs')}\n{seen[0]} {seen[1]}")

    async def run() -> None:
        with speaking(Reader("en")):
            english = desk.live.stream("count", "x", "")
            assert await _next(english, "show") == "Jobs\nx 1"
        with speaking(Reader("fr")):
            french = desk.live.stream("count", "x", "")
            assert await _next(french, "show") == "Tâches\nx 1"
        assert len(desk.live._watches) == 1
        found[0] = 2
        assert await _next(english, "show") == "Jobs\nx 2"
        assert await _next(french, "show") == "Tâches\nx 2"
        desk.live.stop()
        async with asyncio.timeout(PATIENCE):
            assert [event async for event in english] == []
        await french.aclose()
        assert desk.live._watches == {}
        assert desk.live.streams == 0

    asyncio.run(run())


def test_an_error_is_got_over(desk: Desk) -> None:
    seen = iter([ValueError("once"), *range(1000)])

    def look(of: str) -> int:
        found = next(seen)
        if isinstance(found, Exception):
            raise found
        return 7

    desk.live.topic("frail", look, str)

    async def run() -> None:
        stream = desk.live.stream("frail", "", "")
        assert await _next(stream, "show") == "7"
        await stream.aclose()

    asyncio.run(run())


def test_a_stream_ends_with_its_session_and_does_not_prolong_it(desk: Desk, clock: Clock) -> None:
    desk.accounts.add("anna", Role.VIEWER, PASSWORD)
    token = desk.accounts.sign_in("anna", PASSWORD, "::1").token
    desk.live.topic("still", lambda of: of, str)

    async def run() -> None:
        stream = desk.live.stream("still", "x", token)
        assert await _next(stream, "show") == "x"
        clock.forward(minutes=29)
        async with asyncio.timeout(PATIENCE):
            assert await anext(stream) == b": alive\n\n"
        clock.forward(minutes=1)
        assert await _next(stream, "leave") == ""
        await stream.aclose()

    asyncio.run(run())


def test_a_page_that_was_left_open_is_told_to_load_itself_again(signed_in: SignIn, clock: Clock) -> None:
    browser: Browser = signed_in(Role.VIEWER)
    clock.forward(hours=1)
    answer = browser.get("/live/jobs", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == "event: leave\ndata: \n\n"


def test_what_is_not_there_is_said_so(signed_in: SignIn) -> None:
    browser: Browser = signed_in(Role.VIEWER)
    assert browser.get("/live/nothing").status_code == 404
