"""HTTP to a phone: one connection kept as long as the phone keeps it, and one clear error for whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from trustbridge.cucm.https import Patience
from trustbridge.cucm.phoneconnection import MAX_PAGE, PhoneConnection
from trustbridge.errors import Garbled, Unreachable

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def served(talk: Talk, *paths: str) -> tuple[list[tuple[int, str]], int]:
    """What is read of a phone that talks so, and how many connections it took."""
    taken = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        taken += 1
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run() -> list[tuple[int, str]]:
        server = await asyncio.start_server(counted, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, PhoneConnection("127.0.0.1", port, Patience(connect=5, answer=0.5)) as connection:
            return [await connection.get(path) for path in paths]

    return asyncio.run(run()), taken


async def request(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def keeps(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        asked = (await request(reader)).split()[1]
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=latin-1\r\nContent-Length: %d\r\n\r\n"
            % (len(asked) + 1)
        )
        writer.write(asked + b"\xe9")


def once(answer: bytes, *, wait: bool = False) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer)
        await writer.drain()
        if wait:
            await asyncio.sleep(5)

    return talk


def test_a_connection_that_the_phone_keeps_is_kept() -> None:
    assert served(keeps, "/a", "/b", "/c") == ([(200, "/aé"), (200, "/bé"), (200, "/cé")], 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",  # and hangs up without having said so
    ],
)
def test_one_that_it_does_not_keep_is_opened_anew(answer: bytes) -> None:
    assert served(once(answer), "/a", "/b") == ([(200, "hi")] * 2, 2)


@pytest.mark.parametrize(
    ("talk", "kind", "words"),
    [
        (once(b""), Garbled, "ended before the answer"),
        (once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"), Garbled, "in the middle"),
        (once(b"SSH-2.0-x\r\n"), Garbled, "no HTTP"),
        (once(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_PAGE + 1), wait=True), Garbled, "never ends"),
        (once(b"HTTP/1.1 200 OK\r\n", wait=True), Unreachable, "no answer within"),
    ],
)
def test_whatever_goes_wrong_is_one_clear_error(talk: Talk, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        served(talk, "/a")


def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match=r"phone 127\.0\.0\.1: no connection") as caught:
        asyncio.run(PhoneConnection("127.0.0.1", 9, Patience(connect=1, answer=1)).get("/"))
    assert "web access" in caught.value.hint
