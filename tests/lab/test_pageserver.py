"""One listener for all phones' pages: which phone by the local address, on loopback alone, whatever clients do."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import uvloop
from tests.lab.prepared import RUN

from trustbridge.errors import PortTaken
from trustbridge.lab import pageserver
from trustbridge.lab.pageserver import start_pages

T = TypeVar("T")
ONE, OTHER = f"127.66.{RUN}.10", f"127.66.{RUN}.11"
LOOPS = pytest.mark.parametrize("loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def source(address: str, target: str) -> tuple[str, bytes] | None:
    if target == "/break":
        raise RuntimeError("a phone's fault")
    if target == "/large":
        return "text/plain", b"x" * 3_000_000
    return ("text/plain", f"{address} {target}".encode()) if target != "/nothing" else None


def served(work: Callable[[int], Awaitable[T]], loop: Any = asyncio.run) -> T:
    async def both() -> T:
        server = await start_pages(source, port=0)
        try:
            return await work(server.address[1])
        finally:
            await server.stop()

    result: T = loop(both())
    return result


async def talk(host: str, port: int, data: bytes) -> bytes:
    """What a client hears that says `data`."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def request(target: str = "/x", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: phone\r\nConnection: close\r\n\r\n".encode()


@LOOPS
def test_the_local_address_tells_which_phone_was_asked(loop: Any) -> None:
    async def work(port: int) -> list[bytes]:
        return [await talk(host, port, request()) for host in (ONE, OTHER)]

    answers = served(work, loop)
    assert [answer.startswith(b"HTTP/1.1 200") for answer in answers] == [True, True]
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [f"{ONE} /x".encode(), f"{OTHER} /x".encode()]


@LOOPS
def test_a_connection_is_kept_and_each_request_is_answered_in_its_turn(loop: Any) -> None:
    async def work(port: int) -> bytes:
        both = request("/a").replace(b"Connection: close\r\n", b"") + request("/b")
        return await talk(ONE, port, both)

    answer = served(work, loop)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.index(f"{ONE} /a".encode()) < answer.index(f"{ONE} /b".encode())
    assert answer.count(b"Connection: keep-alive") == answer.count(b"Connection: close") == 1


def outside() -> str | None:
    """An address of this machine that is not a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            return None
        address = str(probe.getsockname()[0])
        return None if address.startswith("127.") else address


def test_the_listener_is_bound_to_the_loopback_device() -> None:
    async def work(port: int) -> None:
        devices = []
        for descriptor in range(3, 200):
            try:
                with socket.socket(fileno=socket.dup(descriptor)) as found:
                    if found.family == socket.AF_INET and found.getsockname()[1] == port:
                        devices.append(found.getsockopt(socket.SOL_SOCKET, 25, 16).rstrip(b"\0"))
            except OSError:
                continue
        assert devices == [b"lo"]

    served(work)


def test_nobody_outside_finds_it() -> None:
    """A connection to the machine's own outer address goes through the loopback device; what counts is that a socket
    of another device gets no answer, so bind the client to that device."""
    address = outside()
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    if address is None or not names:
        pytest.skip("this machine has no network but loopback")

    async def work(port: int) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            try:
                client.setsockopt(socket.SOL_SOCKET, 25, names[0].encode() + b"\0")
            except PermissionError:
                pytest.skip("binding a socket to a device needs CAP_NET_RAW here")
            with pytest.raises((OSError, TimeoutError)):
                await asyncio.wait_for(loop.sock_connect(client, (address, port)), 0.5)

    served(work)


@LOOPS
def test_a_page_that_is_not_there_and_a_method_that_is_none(loop: Any) -> None:
    async def work(port: int) -> list[bytes]:
        return [
            await talk(ONE, port, data)
            for data in (request("/nothing"), request(method="POST"), request(method="HEAD"), request("/break"))
        ]

    missing, post, head, broken = served(work, loop)
    assert missing.startswith(b"HTTP/1.1 404")
    assert post.startswith(b"HTTP/1.1 404")
    assert head.startswith(b"HTTP/1.1 200")
    assert head.endswith(b"\r\n\r\n")
    assert broken.startswith(b"HTTP/1.1 500")


@LOOPS
def test_a_large_page_arrives_whole(loop: Any) -> None:
    answer = served(lambda port: talk(ONE, port, request("/large")), loop)
    assert len(answer.partition(b"\r\n\r\n")[2]) == 3_000_000


@LOOPS
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9000,
    ],
)
def test_what_is_no_request_ends_its_connection_and_no_other(loop: Any, data: bytes) -> None:
    async def work(port: int) -> bytes:
        reader, writer = await asyncio.open_connection(ONE, port)
        writer.write(data)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return await talk(ONE, port, request())

    assert served(work, loop).startswith(b"HTTP/1.1 200")


@LOOPS
def test_a_client_that_hangs_up_while_it_is_answered_is_no_matter(loop: Any) -> None:
    async def work(port: int) -> bytes:
        for _ in range(20):
            _, writer = await asyncio.open_connection(ONE, port)
            writer.write(request("/large"))
            writer.transport.abort()
        return await talk(ONE, port, request())

    assert served(work, loop).startswith(b"HTTP/1.1 200")


def test_a_client_that_dawdles_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pageserver, "PATIENCE", 0.05)
    assert served(lambda port: talk(ONE, port, b"GET / HT")) == b""


@LOOPS
def test_stopping_waits_for_nobody_and_hangs_up(loop: Any) -> None:
    async def scenario() -> bytes:
        server = await start_pages(source, port=0)
        reader, _ = await asyncio.open_connection(ONE, server.address[1])
        await asyncio.sleep(0.05)
        await asyncio.wait_for(server.stop(), 2)
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(), 2)
        return b""

    assert loop(scenario()) == b""


def test_a_port_that_is_taken_is_named() -> None:
    async def work(port: int) -> None:
        with pytest.raises(PortTaken, match=f"status pages can't listen on the loopback device port {port}"):
            await start_pages(source, port=port)

    served(work)


def test_a_machine_that_does_not_allow_it_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(socket.socket):
        def setsockopt(self, *_: Any) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(PortTaken, match="Operation not permitted"):
        asyncio.run(start_pages(source, port=0))
