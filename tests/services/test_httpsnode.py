"""HTTPS of a node, on free ports: what clients may and may not do to it, under both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import uvloop

from trustbridge.clients.tls import TlsIdentity, client_context
from trustbridge.errors import PortTaken, SettingsError
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services.asgi import App, Receive, Scope, Send, by_prefix
from trustbridge.services.httpsnode import Disturb, Disturbance, HttpsLimits, HttpsServer, start_https

NOW = datetime.now(UTC)


def _identity(name: str) -> TlsIdentity:
    return TlsIdentity.of(
        self_signed(node=name, unit=Unit.TOMCAT, common_name=name, organisation=Organisation(), now=NOW, key="p256")
    )


IDENTITY = _identity("pub.example")
OTHER = _identity("again.example")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers the path and the length of the body."""
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = f"{scope['method']} {scope['path']} {length}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Client:
    """One TLS connection, as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, server: HttpsServer) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection(*server.address, ssl=client_context())
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)

    def certificate(self) -> bytes | None:
        session: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        return session.getpeercert(binary_form=True)

    async def get(self, path: str = "/") -> tuple[int, bytes]:
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        lines = head.decode().lower().split("\r\n")
        length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
        return int(lines[0].split()[1]), await asyncio.wait_for(self.reader.readexactly(length), 5)

    async def closed(self, seconds: float = 3.0) -> bool:
        """Whether the server ends the connection soon, whatever it says before."""
        try:
            async with asyncio.timeout(seconds):
                while await self.reader.read(65536):
                    pass
                return True
        except (ConnectionError, ssl.SSLError):
            return True
        except TimeoutError:
            return False


Test = Callable[[HttpsServer], Any]


def served(
    test: Test,
    *,
    app: App = echo,
    limits: HttpsLimits | None = None,
    disturb: Disturb | None = None,
    runner: Callable[[Any], Any] = asyncio.run,
) -> None:
    async def run() -> None:
        options: dict[str, Any] = {} if disturb is None else {"disturb": disturb}
        server = await start_https(app, IDENTITY, port=0, limits=limits, **options)
        try:
            await test(server)
        finally:
            await server.stop()
        assert server.open == 0
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, left

    runner(run())
    gc.collect()  # a socket nobody closed shows now, as a ResourceWarning


both_loops = pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@both_loops
def test_requests_are_answered_one_after_the_other_on_one_connection(runner: Any) -> None:
    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as client:
            assert await client.get("/a%20b?c") == (200, b"GET /a b 0")
            client.writer.write(b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345")
            assert await client.answer() == (200, b"POST /p 5")
            assert client.certificate() == IDENTITY.chain[0].der

    served(test, runner=runner)


@both_loops
def test_pipelined_requests_are_answered_in_order(runner: Any) -> None:
    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as client:
            client.writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(5)))
            assert [await client.answer() for _ in range(5)] == [(200, b"GET /%d 0" % number) for number in range(5)]

    served(test, runner=runner)


@both_loops
def test_another_identity_is_served_from_then_on_and_nobody_is_disconnected(runner: Any) -> None:
    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as before:
            server.set_identity(OTHER)
            async with Client.to(server) as after:
                assert before.certificate() == IDENTITY.chain[0].der
                assert after.certificate() == OTHER.chain[0].der
                assert (await before.get())[0] == (await after.get())[0] == 200

    served(test, runner=runner)


def test_an_identity_that_tls_refuses_changes_nothing() -> None:
    async def test(server: HttpsServer) -> None:
        with pytest.raises(SettingsError):
            server.set_identity(TlsIdentity(IDENTITY.chain, OTHER.private_key))
        async with Client.to(server) as client:
            assert client.certificate() == IDENTITY.chain[0].der

    served(test)


def test_a_taken_port_is_named() -> None:
    async def test(server: HttpsServer) -> None:
        with pytest.raises(PortTaken, match=str(server.address[1])):
            await start_https(echo, IDENTITY, port=server.address[1])

    served(test)


def test_forty_nodes_live_in_one_loop() -> None:
    async def run() -> None:
        servers = [await start_https(echo, IDENTITY, host=f"127.0.0.{n}", port=0) for n in range(1, 41)]

        async def ask(server: HttpsServer) -> tuple[int, bytes]:
            async with Client.to(server) as client:
                return await client.get("/" + server.address[0])

        answers = await asyncio.gather(*map(ask, servers))
        assert answers == [(200, f"GET /127.0.0.{n} 0".encode()) for n in range(1, 41)]
        await asyncio.gather(*(server.stop() for server in servers))

    uvloop.run(run())


@both_loops
def test_stopping_ends_idle_half_greeted_and_answering_connections_and_is_harmless_twice(
    runner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    started = False

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal started
        started = True
        await asyncio.sleep(60)

    async def run() -> None:
        server = await start_https(slow, IDENTITY, port=0)
        async with Client.to(server) as idle, Client.to(server) as waiting:
            greeting = socket.create_connection(server.address)
            waiting.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while not started or server.open < 3:
                await asyncio.sleep(0.01)
            async with asyncio.timeout(2):
                await server.stop()
                await server.stop()
            assert await idle.closed()
            assert await waiting.closed()
            greeting.settimeout(1)
            with contextlib.suppress(ConnectionError):
                assert greeting.recv(1) == b""
            greeting.close()
        assert server.open == 0
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(server.address)

    runner(run())
    gc.collect()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@both_loops
@pytest.mark.parametrize(
    "said",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234"],
    ids=["nothing", "half a line", "half a head", "half a body"],
)
def test_a_client_that_does_not_go_on_is_cut_off(runner: Any, said: bytes) -> None:
    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as client:
            client.writer.write(said)
            assert await client.closed()

    served(test, runner=runner, limits=HttpsLimits(idle_seconds=0.2, request_seconds=0.2))


def test_a_client_that_dribbles_its_request_is_cut_off_all_the_same() -> None:
    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as client:

            async def dribble() -> None:
                for byte in b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 200:
                    client.writer.write(bytes([byte]))
                    await asyncio.sleep(0.02)

            dribbling = asyncio.create_task(dribble())
            assert await client.closed(2)
            dribbling.cancel()
            await asyncio.gather(dribbling, return_exceptions=True)

    served(test, limits=HttpsLimits(request_seconds=0.3))


def test_a_pause_between_requests_has_an_end() -> None:
    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as client:
            assert (await client.get())[0] == 200
            assert await client.closed()

    served(test, limits=HttpsLimits(idle_seconds=0.2))


def test_a_client_that_never_begins_tls_is_dropped() -> None:
    async def test(server: HttpsServer) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        try:
            assert await asyncio.wait_for(reader.read(), 3) == b""
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
        while server.open:
            await asyncio.sleep(0.01)

    served(test, limits=HttpsLimits(handshake_seconds=0.2))


@both_loops
@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000,
        b"GET /" + b"a" * 40_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 10_000,
    ],
    ids=["a long header", "a long path", "many headers"],
)
def test_a_head_without_end_is_refused(runner: Any, head: bytes) -> None:
    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as client:
            client.writer.write(head)
            assert (await client.answer())[0] == 400
            assert await client.closed()

    served(test, runner=runner)


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x00\x00\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_nonsense_is_answered_or_cut_off_and_others_are_served(said: bytes) -> None:
    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as odd, Client.to(server) as other:
            odd.writer.write(said)
            assert await other.get() == (200, b"GET / 0")
            assert await odd.closed()

    served(test, limits=HttpsLimits(idle_seconds=0.3, request_seconds=0.3))


def test_too_many_connections_are_turned_away_until_one_ends() -> None:
    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as first, Client.to(server):
            with pytest.raises((ConnectionError, ssl.SSLError)):
                async with Client.to(server):
                    pass
            assert (await first.get())[0] == 200
        while server.open:
            await asyncio.sleep(0.01)
        async with Client.to(server) as third:
            assert (await third.get())[0] == 200

    served(test, limits=HttpsLimits(connections=2))


def test_a_client_that_does_not_take_its_answer_is_cut_off() -> None:
    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(400):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as client:
            client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(5):
                while server.open:
                    await asyncio.sleep(0.02)

    served(test, app=flood, limits=HttpsLimits(answer_seconds=0.4))


def test_an_application_that_fails_is_a_500_and_no_words_of_it() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("hunter2")

    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as client:
            status, body = await client.get()
            assert status == 500
            assert b"hunter2" not in body

    served(test, app=failing)


def test_prefixes_decide_whose_request_it_is() -> None:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def test(server: HttpsServer) -> None:
        async with Client.to(server) as client:
            assert (await client.get("/axl/"))[0] == 200
            assert (await client.get("/axl"))[0] == 200
            assert (await client.get("/axl/b/c"))[0] == 202
            assert (await client.get("/axlb"))[0] == 404
            assert (await client.get("/"))[0] == 404

    served(test, app=by_prefix({"/axl": echo, "/axl/b": other}))


# Disturbances.


def _always(trouble: Disturbance) -> Disturb:
    return lambda path: trouble


@both_loops
def test_a_service_that_is_down_resets_connections(runner: Any) -> None:
    async def test(server: HttpsServer) -> None:
        with pytest.raises((ConnectionError, ssl.SSLError)):
            async with Client.to(server):
                pass

    served(test, disturb=_always(Disturbance(refuse=True)), runner=runner)


@both_loops
def test_an_answer_can_be_late_busy_garbled_cut_or_missing(runner: Any, caplog: pytest.LogCaptureFixture) -> None:
    troubles = {
        "/late": Disturbance(delay=0.2),
        "/busy": Disturbance(busy=True),
        "/garbled": Disturbance(garble=True),
        "/cut": Disturbance(cut_after=3),
        "/whole": Disturbance(cut_after=1000),
        "/missing": Disturbance(hang_up=True),
    }

    async def test(server: HttpsServer) -> None:
        loop = asyncio.get_running_loop()
        async with Client.to(server) as client:
            began = loop.time()
            assert await client.get("/late") == (200, b"GET /late 0")
            assert loop.time() - began >= 0.2
            assert (await client.get("/busy"))[0] == 503
            status, body = await client.get("/garbled")
            assert status == 200
            assert bytes(byte ^ 0xA5 for byte in body) == b"GET /garbled 0"
            assert await client.get("/whole") == (200, b"GET /whole 0")
            client.writer.write(b"GET /cut HTTP/1.1\r\nHost: x\r\n\r\n")
            said = await asyncio.wait_for(client.reader.read(), 5)
            assert said.endswith(b"\r\n\r\nGET")
        async with Client.to(server) as client:
            client.writer.write(b"GET /missing HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await asyncio.wait_for(client.reader.read(), 5) == b""

    served(test, disturb=lambda path: troubles.get(path, Disturbance()), runner=runner)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
