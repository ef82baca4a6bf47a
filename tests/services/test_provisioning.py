"""The HTTP server, on free ports, byte by byte."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from trustbridge.errors import PortTaken, TrustbridgeError
from trustbridge.services.provisioning import ProvisioningLimits, ProvisioningServer, start_provisioning

BIG = random.Random(3).randbytes(3_000_000)
FILES = {"ITLFile.tlv": b"\0itl\xff", "sub/a b.cnf.xml": b"<device/>", "empty": b"", "big": BIG, "ä.xml": b"<a/>"}


class Client:
    """One connection, as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, data: bytes) -> None:
        """Send as it is."""
        self.writer.write(data)

    async def answer(self, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of the next answer."""
        lines = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode().split("\r\n")[:-2]
        version, status, _ = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = 0 if head else int(headers["content-length"])
        return int(status), headers, await asyncio.wait_for(self.reader.readexactly(length), 5)

    async def closed(self, wait: float = 2.0) -> bool:
        """Whether the server closes without another byte, soon."""
        try:
            return await asyncio.wait_for(self.reader.read(1), wait) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


Connect = Callable[[], Awaitable[Client]]


def served(
    test: Callable[[ProvisioningServer, Connect], Awaitable[None]],
    *,
    files: Callable[[str], bytes | None] = FILES.get,
    limits: ProvisioningLimits | None = None,
    runner: Callable[[Any], Any] = asyncio.run,
) -> ProvisioningServer:
    """Run a test with a server and a way to connect to it; the server as it was at the end."""

    async def run() -> ProvisioningServer:
        server = await start_provisioning(files, port=0, limits=limits or ProvisioningLimits())
        clients: list[Client] = []

        async def connect() -> Client:
            clients.append(Client(*await asyncio.open_connection(*server.address)))
            return clients[-1]

        try:
            await test(server, connect)
        finally:
            for client in clients:
                client.writer.close()
            await server.stop()
        return server

    server: ProvisioningServer = runner(run())
    return server


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_files_are_served_with_length_and_type_one_after_another(runner: Callable[[Any], Any]) -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        for path, content, kind in (
            ("ITLFile.tlv", b"\0itl\xff", "application/octet-stream"),
            ("sub/a%20b.cnf.xml", b"<device/>", "text/xml"),
            ("%C3%A4.xml", b"<a/>", "text/xml"),
            ("empty", b"", "application/octet-stream"),
            ("ITLFile.tlv?x=../..", b"\0itl\xff", "application/octet-stream"),
            ("%49TLFile%2Etlv", b"\0itl\xff", "application/octet-stream"),
            ("big", BIG, "application/octet-stream"),
        ):
            client.say(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            status, headers, body = await client.answer()
            assert (status, headers["content-type"], body) == (200, kind, content), path
            assert "server" not in headers
            assert "connection" not in headers
        assert len(server.open) == 1

    served_by = served(test, runner=runner)
    assert served_by.counters.connections == 1
    assert served_by.counters.requests == 7
    assert served_by.counters.bytes == len(BIG) + 5 * 3 + 9 + 4
    assert served_by.counters.errors == 0


def test_head_gives_the_headers_of_get_and_no_body() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"HEAD /big HTTP/1.1\r\nHost: x\r\n\r\nHEAD /none HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = await client.answer(head=True)
        assert (status, headers["content-length"]) == (200, str(len(BIG)))
        status, headers, _ = await client.answer(head=True)
        assert (status, headers["content-length"]) == (404, "10")
        client.say(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer())[0] == 200

    served(test)


def test_a_missing_file_is_404_and_the_connection_goes_on() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        for _ in range(2):
            client.say(b"GET /CTLFile.tlv HTTP/1.1\r\nHost: x\r\n\r\n")
            status, _, body = await client.answer()
            assert (status, body) == (404, b"not found\n")

    assert served(test).counters.errors == 2


def never(name: str) -> bytes | None:
    """A source nobody may ask."""
    raise AssertionError(f"the source was asked for {name!r}")


@pytest.mark.parametrize(
    "target",
    [
        b"/../secret",
        b"/%2e%2e/secret",
        b"/%2E%2e%2fsecret",
        b"/a/..%2f..%2fsecret",
        b"//etc/passwd",
        b"/%2fetc/passwd",
        b"/..%5csecret",
        b"/a\\b",
        b"/a%00b",
        b"/a%0ab",
        b"/%",
        b"/%4",
        b"/%zz",
        b"/%ff",
        b"/",
        b"/?x",
        b"/" + b"x" * 256,
        b"http://host:6970/../secret",
        b"http://host",
        b"*",
    ],
)
def test_a_target_that_could_lead_out_is_refused_unasked(target: bytes) -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert (await client.answer())[0] == 400

    assert served(test, files=never).counters.errors == 1


def test_the_absolute_form_of_a_target_is_understood() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"GET http://10.0.0.1:6970/ITLFile.tlv HTTP/1.1\r\nHost: 10.0.0.1:6970\r\n\r\n")
        assert (await client.answer())[2] == b"\0itl\xff"

    served(test)


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /ITLFile.tlv HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"DELETE /ITLFile.tlv HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT other:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_other_methods_are_405_and_close(request_: bytes) -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(request_)
        status, headers, _ = await client.answer()
        assert (status, headers["allow"], headers["connection"]) == (405, "GET, HEAD", "close")
        assert await client.closed()

    served(test, files=never)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
        b"GARBAGE\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /x\r\n\r\n",
        b"GET /x HTTP/9.9\r\n\r\n",
        b"GET /x HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_request_for_a_file_is_400_and_closes(request_: bytes) -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(request_)
        status, headers, _ = await client.answer()
        assert status == 400
        assert headers["connection"] == "close"
        assert await client.closed()

    served(test, files=never)


def test_a_refusal_reaches_a_client_that_goes_on_sending() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + bytes(500_000))
        await asyncio.sleep(0.05)
        client.say(bytes(500_000))
        await asyncio.sleep(0.05)
        assert (await client.answer())[0] == 405
        assert await client.closed()

    served(test)


def test_http_1_0_closes_unless_asked_to_stay() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"GET /ITLFile.tlv HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "keep-alive")
        client.say(b"GET /ITLFile.tlv HTTP/1.0\r\n\r\n")
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"\0itl\xff")
        assert await client.closed()

    served(test)


def test_connection_close_is_obeyed_and_nothing_after_it_answered() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"GET /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer())[1]["connection"] == "close"
        assert await client.closed()

    assert served(test).counters.requests == 1


def test_an_offered_upgrade_is_not_taken_up() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(
            b"GET /ITLFile.tlv HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"\0itl\xff")

    served(test)


@pytest.mark.parametrize("step", [1, 7, 100000])
def test_pipelined_requests_are_answered_in_order_however_they_are_cut(step: int) -> None:
    names = ["ITLFile.tlv", "none", "empty", "sub/a%20b.cnf.xml"] * 5
    data = b"".join(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode() for name in names)

    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        for start in range(0, len(data), step):
            client.say(data[start : start + step])
            if step < 100:
                await asyncio.sleep(0)
        for name in names:
            _, _, body = await client.answer()
            assert body == FILES.get(name.replace("%20", " "), b"not found\n")

    served(test)


def test_a_good_request_before_a_bad_one_is_still_answered() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"GET /ITLFile.tlv HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n")
        assert (await client.answer())[2] == b"\0itl\xff"
        assert (await client.answer())[0] == 400
        assert await client.closed()

    served(test)


def test_a_client_that_has_closed_its_side_still_gets_all_it_asked_for() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        client.writer.write_eof()
        assert (await client.answer())[2] == BIG
        assert (await client.answer())[2] == BIG
        assert await client.closed()

    served(test)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_client_that_does_not_read_is_not_read_from(runner: Callable[[Any], Any]) -> None:
    asked = 0
    content = BIG[:400_000]

    def counting(name: str) -> bytes | None:
        nonlocal asked
        asked += 1
        return content

    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        await asyncio.sleep(0.2)
        # What the answers before leave no room for is not even looked up: some megabytes fit the sockets' buffers.
        assert asked <= 50
        before = asked
        # Requests that are not read yet don't count among those that wait, or these would be too many.
        client.say(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        await asyncio.sleep(0.1)
        assert asked == before
        for _ in range(300):
            assert (await client.answer())[2] == content

    served(test, files=counting, runner=runner)


def test_a_client_that_asks_for_much_at_once_leaves_others_their_turn() -> None:
    asked = 0

    def slow(name: str) -> bytes | None:
        nonlocal asked
        asked += 1
        time.sleep(0.002)
        return b"x"

    async def test(server: ProvisioningServer, connect: Connect) -> None:
        greedy, modest = await connect(), await connect()
        greedy.say(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        modest.say(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await modest.answer())[2] == b"x"
        assert asked < 190
        for _ in range(200):
            assert (await greedy.answer())[2] == b"x"
        assert asked == 201

    served(test, files=slow)


def test_requests_that_wait_are_bounded() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
        answers = [await client.answer() for _ in range(257)]
        assert [status for status, _, _ in answers] == [200] * 256 + [400]
        assert await client.closed()

    served(test)


def test_headers_without_end_are_refused() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        for flood in (
            b"GET /" + b"x" * 5000,
            b"GET /x HTTP/1.1\r\nX: " + b"y" * 5000,
            b"GET /x HTTP/1.1\r\n" + b"A: b\r\n" * 800,
            b"GET /x HTTP/1.1\r\n" + b"A: b\r\n" * 800 + b"\r\n",
            b"\r\n" * 2500,
        ):
            client = await connect()
            client.say(flood)
            assert (await client.answer())[0] == 400
            assert await client.closed()

    served(test, limits=ProvisioningLimits(max_header_bytes=2000), files=never)


def test_headers_are_counted_for_each_request_alone() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        for _ in range(3):
            client.say(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
            assert [(await client.answer())[0] for _ in range(50)] == [200] * 50

    served(test, limits=ProvisioningLimits(max_header_bytes=500))


def test_a_request_has_its_own_time_however_long_the_connection_was_idle() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.answer()
        await asyncio.sleep(0.4)
        client.say(b"GET /em")
        await asyncio.sleep(0.4)
        client.say(b"pty HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer())[0] == 200

    served(test, limits=ProvisioningLimits(idle_timeout=0.6, request_timeout=1.0))


def test_idle_and_dawdling_connections_are_closed_and_counted() -> None:
    limits = ProvisioningLimits(idle_timeout=0.3, request_timeout=0.15, write_timeout=0.3)

    async def test(server: ProvisioningServer, connect: Connect) -> None:
        silent, slow, idle, deaf, busy = [await connect() for _ in range(5)]
        slow.say(b"GET /ITLF")
        idle.say(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n")
        await idle.answer()
        idle_since = asyncio.get_running_loop().time()
        deaf.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.say(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 20)

        async def drip() -> None:
            while not slow.writer.is_closing():
                slow.say(b"i")
                await asyncio.sleep(0.02)

        async def talk() -> None:
            for _ in range(12):
                busy.say(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await busy.answer())[0] == 200
                await asyncio.sleep(0.08)

        dripping, talking = asyncio.create_task(drip()), asyncio.create_task(talk())
        assert await silent.closed()
        assert await slow.closed()
        assert await idle.closed()
        assert asyncio.get_running_loop().time() - idle_since >= 0.25
        await asyncio.sleep(0.3)
        await talking  # who keeps asking may stay
        assert len(server.open) == 1
        dripping.cancel()

    assert served(test, limits=limits).counters.timeouts == 4


def test_more_connections_than_the_limit_are_told_so() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        first, second = await connect(), await connect()
        third = await connect()
        assert (await third.answer())[0] == 503
        assert await third.closed()
        first.writer.close()
        await asyncio.sleep(0.05)
        again = await connect()
        again.say(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await again.answer())[0] == 200
        second.say(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await second.answer())[0] == 200

    assert served(test, limits=ProvisioningLimits(max_connections=2)).counters.busy == 1


@pytest.mark.parametrize("failure", [TrustbridgeError("no key"), ValueError("a mistake of ours")])
def test_a_source_that_fails_is_500_and_the_next_request_is_served(failure: Exception) -> None:
    def failing(name: str) -> bytes | None:
        if name == "bad":
            raise failure
        return b"good"

    async def test(server: ProvisioningServer, connect: Connect) -> None:
        client = await connect()
        client.say(b"GET /bad HTTP/1.1\r\nHost: x\r\n\r\nGET /good HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, body = await client.answer()
        assert status == 500
        assert str(failure).encode() not in body
        assert (await client.answer())[2] == b"good"

    served(test, files=failing)


def test_many_servers_live_in_one_loop_on_addresses_of_their_own() -> None:
    async def run() -> None:
        port = 0
        servers: list[ProvisioningServer] = []
        for n in range(1, 21):
            files = {"x": b"%d" % n}
            servers.append(await start_provisioning(files.get, host=f"127.10.1.{n}", port=port))
            port = servers[0].address[1]
        for n, server in enumerate(servers, 1):
            client = Client(*await asyncio.open_connection(*server.address))
            client.say(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.answer())[2] == b"%d" % n
            client.writer.close()
            await server.stop()
            await server.stop()

    asyncio.run(run())


def test_a_taken_port_is_named_with_what_to_do() -> None:
    async def test(server: ProvisioningServer, connect: Connect) -> None:
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1 port {server.address[1]}") as taken:
            await start_provisioning(never, port=server.address[1])
        assert "stop it" in taken.value.hint

    served(test)
