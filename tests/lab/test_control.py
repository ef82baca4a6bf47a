"""Talking to a lab that is up: the socket, what becomes of errors, and of clients and labs that leave."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from trustbridge import errors
from trustbridge.errors import ConsolidationStale, DecodeError, NotNow, SettingsError, TrustbridgeError
from trustbridge.lab import control
from trustbridge.lab.control import Handler, Progress, ask, serving

LOOPS = pytest.mark.parametrize("loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


async def echo(request: dict[str, Any], progress: Progress) -> Any:
    match request["do"]:
        case "count":
            for number in range(3):
                progress({"done": number})
                await asyncio.sleep(0)
            return request["to"]
        case "refuse":
            raise ConsolidationStale("it is stale", "consolidate again")
        case "decode":
            raise DecodeError(7, "odd")
        case "full":
            raise OSError(28, "No space left on device")
        case "break":
            raise AssertionError("one of ours")
        case "wait":
            await asyncio.sleep(3600)
    return {"do": request["do"]}


def with_lab(folder: Path, work: Coroutine[Any, Any, Any], handler: Handler = echo) -> Any:
    async def both() -> Any:
        async with serving(folder, handler):
            return await work

    return both()


@LOOPS
def test_a_result_comes_back_after_its_progress(tmp_path: Path, loop: Any) -> None:
    seen: list[Any] = []
    assert loop(with_lab(tmp_path, ask(tmp_path, {"do": "count", "to": [1, {"ü": None}]}, seen.append))) == [
        1,
        {"ü": None},
    ]
    assert seen == [{"done": 0}, {"done": 1}, {"done": 2}]


@LOOPS
def test_an_error_comes_back_as_what_it_was(tmp_path: Path, loop: Any) -> None:
    with pytest.raises(ConsolidationStale) as caught:
        loop(with_lab(tmp_path, ask(tmp_path, {"do": "refuse"})))
    assert (caught.value.message, caught.value.hint) == ("it is stale", "consolidate again")
    assert caught.value.exit_code == 6
    with pytest.raises(TrustbridgeError, match=r"odd \(at offset 7\)"):
        loop(with_lab(tmp_path, ask(tmp_path, {"do": "decode"})))


@pytest.mark.parametrize("request_", [{"to": 1}, {}, {"do": "count"}])
def test_a_request_that_lacks_something_is_told_so(tmp_path: Path, request_: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="not a request: KeyError"):
        asyncio.run(with_lab(tmp_path, ask(tmp_path, request_)))


def test_a_fault_of_the_lab_is_told_and_logged_and_the_lab_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def twice() -> Any:
        with pytest.raises(TrustbridgeError, match="the lab itself failed: AssertionError: one of ours"):
            await ask(tmp_path, {"do": "break"})
        return await ask(tmp_path, {"do": "on"})

    assert asyncio.run(with_lab(tmp_path, twice())) == {"do": "on"}
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.ERROR)


def raw(folder: Path, data: bytes) -> Any:
    """What the lab answers to these bytes."""

    def talk() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(folder / control.SOCKET))
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))

    return asyncio.run(with_lab(folder, asyncio.to_thread(talk)))


@pytest.mark.parametrize("data", [b"\n", b"", b"[]\n", b"3\n", b"{\n", b"\xff\xfe\n", b'"do"\n', b"null"])
def test_what_is_no_request_is_answered_as_such(tmp_path: Path, data: bytes) -> None:
    (line,) = raw(tmp_path, data).splitlines()
    answer = json.loads(line)["error"]
    assert answer["kind"] == "SettingsError"
    assert answer["message"].startswith("not a request")


def test_a_line_without_end_is_answered_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_LINE", 4096)
    assert b"not a request" in raw(tmp_path, b"x" * 10_000)


def test_the_socket_is_its_owners_alone_and_gone_afterwards(tmp_path: Path) -> None:
    async def look() -> os.stat_result:
        return (tmp_path / control.SOCKET).stat()

    before = os.umask(0)
    try:
        found = asyncio.run(with_lab(tmp_path, look()))
        assert os.umask(0) == 0  # what other files get is as before
    finally:
        os.umask(before)
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert not (tmp_path / control.SOCKET).exists()


def test_a_socket_of_a_lab_that_was_killed_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / control.SOCKET))
    with pytest.raises(NotNow):
        asyncio.run(ask(tmp_path, {"do": "x"}))
    assert asyncio.run(with_lab(tmp_path, ask(tmp_path, {"do": "x"}))) == {"do": "x"}


def test_a_folder_may_lie_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    assert asyncio.run(with_lab(deep, ask(deep, {"do": "x"}))) == {"do": "x"}


@pytest.mark.parametrize("there", [True, False])
def test_without_a_lab_one_hears_how_to_start_it(tmp_path: Path, there: bool) -> None:
    with pytest.raises(NotNow, match="no lab is up in") as caught:
        asyncio.run(ask(tmp_path if there else tmp_path / "nothing", {"do": "x"}))
    assert "lab up" in caught.value.hint


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / control.SOCKET).mkdir()

    async def served() -> None:
        async with serving(tmp_path, echo):
            raise AssertionError("it can't be up")

    with pytest.raises(TrustbridgeError, match=r"can't take requests: .*control: Is a directory"):
        asyncio.run(served())


@LOOPS
@pytest.mark.parametrize("said", [b"", b'{"progress": {"done": 1}}\n', b'{"progress": {"do', b'{"result": 1'])
def test_a_lab_that_is_killed_in_the_middle_of_an_answer_is_told(tmp_path: Path, loop: Any, said: bytes) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await asyncio.sleep(0.01)
        writer.transport.abort()  # with the request unread, which resets the connection

    async def scenario() -> None:
        server = await asyncio.start_unix_server(die, str(tmp_path / control.SOCKET))
        with pytest.raises(NotNow, match="ended before it answered"):
            await ask(tmp_path, {"do": "x"})
        server.close()

    loop(scenario())


@LOOPS
def test_a_lab_that_goes_down_cuts_off_who_still_waits(tmp_path: Path, loop: Any) -> None:
    async def scenario() -> set[str]:
        async with serving(tmp_path, echo):
            waiting = asyncio.create_task(ask(tmp_path, {"do": "wait"}))
            await asyncio.sleep(0.05)
        with pytest.raises(NotNow, match="ended before it answered"):
            await asyncio.wait_for(waiting, 5)
        await asyncio.sleep(0)
        return {repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    assert loop(scenario()) == set()


@LOOPS
def test_a_client_that_leaves_does_not_stop_what_it_asked_for(tmp_path: Path, loop: Any) -> None:
    done = False

    async def long(request: dict[str, Any], progress: Progress) -> None:
        nonlocal done
        for number in range(5):
            progress({"done": number, "text": "x" * 100_000})
            await asyncio.sleep(0.01)
        done = True

    async def scenario() -> None:
        async with serving(tmp_path, long):
            _, writer = await asyncio.open_unix_connection(str(tmp_path / control.SOCKET))
            writer.write(b'{"do": "x"}\n')
            await writer.drain()
            writer.transport.abort()
            await asyncio.sleep(0.2)

    loop(scenario())
    assert done


def test_every_error_a_lab_raises_has_a_class_the_client_knows() -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, TrustbridgeError) and kind is not DecodeError:
            found = control._error({"kind": name, "message": "m", "hint": "h"})
            assert (type(found), found.message, found.hint) == (kind, "m", "h")
    assert type(control._error({"kind": "annotations", "message": "m", "hint": ""})) is TrustbridgeError
    assert type(control._error({"kind": "no such", "message": "m", "hint": ""})) is TrustbridgeError
