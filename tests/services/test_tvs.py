"""The Trust Verification Service over real sockets: who is served, who is dropped and why."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import pytest
import structlog
import uvloop

from trustbridge.clients.tls import TlsIdentity, client_context
from trustbridge.errors import PortTaken, SettingsError
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services import servingloop
from trustbridge.services.tvs import TvsLimits, TvsServer, start_tvs
from trustbridge.services.tvssession import Ending, TvsSession
from trustbridge.wire.tvs import Message, TvsMessage, decode, encode, query_request, response_to, verify_request

CERTIFICATE = bytes(1451)
REQUEST = verify_request(1001, "CP-8861-SEP001122334455", CERTIFICATE)
QUERY = query_request(1002, "CP-8861-SEP001122334455", "CN=a", "CN=b", 5)
#: So many answers to QUERY do not fit into the buffers between two sockets (some 10 MB on Linux).
MORE_THAN_SOCKETS_HOLD = 10000
PATIENCE = 5.0

Run = Callable[[Coroutine[Any, Any, None]], None]


def vouch(request: TvsMessage) -> TvsMessage:
    return response_to(request, certificate=CERTIFICATE, roles=(0, 3), time_to_live=86400)


ANSWER = encode(vouch(REQUEST))


@lru_cache
def identity(name: str = "cm1") -> TlsIdentity:
    return TlsIdentity.of(
        self_signed(
            node=name, unit=Unit.TVS, common_name=name, organisation=Organisation(), now=datetime.now(UTC), key="p256"
        )
    )


@pytest.fixture(params=[asyncio.run, uvloop.run, servingloop.run], ids=["asyncio", "uvloop", "servingloop"])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


@contextlib.asynccontextmanager
async def serving(
    *, limits: TvsLimits | None = None, answer: Callable[[TvsMessage], TvsMessage] = vouch
) -> AsyncIterator[TvsServer]:
    server = await start_tvs(answer, identity(), port=0, limits=limits or TvsLimits())
    try:
        yield server
    finally:
        await server.stop()


class Phone:
    """A client with a plain socket and TLS on top, in asyncio."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        host, port = writer.get_extra_info("sockname")[:2]
        self.name = f"{host}:{port}"

    @classmethod
    async def connected(cls, server: TvsServer, tls: ssl.SSLContext | None) -> Phone:
        return cls(*await asyncio.open_connection(*server.address, ssl=tls, server_hostname="" if tls else None))

    async def ask(self, data: bytes = encode(REQUEST)) -> bytes:
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(ANSWER)), PATIENCE)

    async def closed(self) -> bool:
        """Whether the server hangs up, in time."""
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), PATIENCE) == b""
        return True

    def certificate(self) -> bytes | None:
        tls: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def calling(server: TvsServer, *, tls: bool = True) -> AsyncIterator[Phone]:
    phone = await Phone.connected(server, client_context() if tls else None)
    try:
        yield phone
    finally:
        await phone.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something the server notices by itself."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def test_requests_are_answered_one_after_the_other_and_all_at_once(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as server, calling(server) as phone:
            for _ in range(3):
                assert await phone.ask() == ANSWER
            phone.writer.write(encode(REQUEST) * 20)
            assert await phone.reader.readexactly(20 * len(ANSWER)) == ANSWER * 20
            assert server.connections == 1
            assert server.counters.requests == {Message.VERIFY_REQUEST: 23}
            assert (server.counters.accepted, server.counters.handshakes, server.counters.vouched) == (1, 1, 23)
            assert not server.counters.ended

    run(scenario())


def test_a_request_may_come_byte_by_byte(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as server, calling(server) as phone:
            for byte in encode(REQUEST)[:40]:
                phone.writer.write(bytes([byte]))
                await asyncio.sleep(0.001)
            assert await phone.ask(encode(REQUEST)[40:]) == ANSWER

    run(scenario())


def test_many_clients_are_served_at_once(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as server, contextlib.AsyncExitStack() as stack:
            phones = await asyncio.gather(*(stack.enter_async_context(calling(server)) for _ in range(60)))
            assert await asyncio.gather(*(phone.ask() for phone in phones)) == [ANSWER] * 60
            assert server.connections == 60
            await asyncio.gather(*(phone.close() for phone in phones))
            await until(lambda: server.connections == 0)
            assert server.counters.ended == {Ending.CLOSED: 60}

    run(scenario())


def test_a_client_that_has_asked_all_it_wanted_still_gets_its_answer() -> None:
    def ask_and_shut(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, PATIENCE) as client, client_context().wrap_socket(client) as tls:
            tls.sendall(encode(REQUEST))
            socket.socket.shutdown(tls, socket.SHUT_WR)  # as TCP does it; SSLSocket's own would drop TLS
            return tls.recv(1 << 16)

    async def scenario() -> None:
        async with serving() as server:
            assert await asyncio.to_thread(ask_and_shut, server.address) == ANSWER

    asyncio.run(scenario())


BAD: list[tuple[str, bytes, Ending]] = [
    ("no TVS", b"GET / HTTP/1.1\r\n\r\n", Ending.MALFORMED),
    ("an unknown message", bytes.fromhex("57010900 00000001 0000"), Ending.MALFORMED),
    ("a response", ANSWER, Ending.NOT_A_REQUEST),
    ("a body over the limit", bytes.fromhex("57010100 00000001 ffff"), Ending.MALFORMED),
    ("a body that is not elements", bytes.fromhex("57010100 00000001 0002 ffff"), Ending.MALFORMED),
]


@pytest.mark.parametrize(("data", "ending"), [pytest.param(data, ending, id=name) for name, data, ending in BAD])
def test_a_bad_request_ends_its_own_connection_in_one_line(data: bytes, ending: Ending) -> None:
    async def scenario() -> None:
        async with serving() as server, calling(server) as other, calling(server) as phone:
            with logged() as lines:
                phone.writer.write(data)
                assert await phone.closed()
            assert server.counters.ended == {ending: 1}
            (line,) = lines
            assert line["peer"] == phone.name
            assert line["reason"] == str(ending)
            assert line["detail"]
            assert "exc_info" not in line
            assert await other.ask() == ANSWER

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("data", "ending"),
    [
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", Ending.NOT_TLS, id="HTTP"),
        pytest.param(encode(REQUEST), Ending.NOT_TLS, id="TVS without TLS"),
        pytest.param(b"\x16\x03\x01\x00\x05hello", Ending.HANDSHAKE_FAILED, id="garbage in a TLS record"),
        pytest.param(b"\x80", Ending.SLOW_HANDSHAKE, id="a byte that may be SSL 2's framing"),
    ],
)
def test_a_client_without_tls_ends_its_own_connection(data: bytes, ending: Ending) -> None:
    async def scenario() -> None:
        limits = TvsLimits(handshake=0.3)
        async with serving(limits=limits) as server, calling(server) as other, calling(server, tls=False) as phone:
            phone.writer.write(data)
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(phone.reader.read(), PATIENCE)
            assert server.counters.ended == {ending: 1}
            assert await other.ask() == ANSWER

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("limits", "tls", "say", "ending"),
    [
        pytest.param(TvsLimits(handshake=0.2), False, b"", Ending.SLOW_HANDSHAKE, id="silent before TLS"),
        pytest.param(TvsLimits(handshake=0.2), False, b"\x16\x03", Ending.SLOW_HANDSHAKE, id="silent in the handshake"),
        pytest.param(TvsLimits(request=0.2), True, encode(REQUEST)[:7], Ending.SLOW_REQUEST, id="half a request"),
        pytest.param(TvsLimits(idle=0.2), True, b"", Ending.IDLE, id="silent after the handshake"),
        pytest.param(TvsLimits(idle=0.2), True, encode(REQUEST), Ending.IDLE, id="silent after an answer"),
    ],
)
def test_whoever_is_too_slow_is_dropped_in_time(
    run: Run, limits: TvsLimits, tls: bool, say: bytes, ending: Ending
) -> None:
    async def scenario() -> None:
        async with serving(limits=limits) as server, calling(server, tls=tls) as phone:
            start = time.monotonic()
            phone.writer.write(say)
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(phone.reader.read(), PATIENCE)
            assert 0.15 < time.monotonic() - start < 2
            assert server.counters.ended == {ending: 1}
            assert server.connections == 0

    run(scenario())


def test_dripping_gains_no_time() -> None:
    async def scenario() -> None:
        limits = TvsLimits(request=0.3)
        async with serving(limits=limits) as server, calling(server) as phone:
            start = time.monotonic()
            for byte in encode(REQUEST):
                if server.counters.ended:
                    break
                phone.writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
            assert 0.25 < time.monotonic() - start < 2
            assert server.counters.ended == {Ending.SLOW_REQUEST: 1}

    asyncio.run(scenario())


def test_a_client_that_asks_in_time_is_never_idle() -> None:
    async def scenario() -> None:
        limits = TvsLimits(handshake=0.4, request=0.4, idle=0.4)
        async with serving(limits=limits) as server, calling(server) as phone:
            for _ in range(8):
                await asyncio.sleep(0.12)
                assert await phone.ask() == ANSWER
            assert not server.counters.ended

    asyncio.run(scenario())


def test_a_client_that_takes_no_answers_is_not_read_and_then_dropped() -> None:
    async def scenario() -> None:
        limits = TvsLimits(request=0.3, idle=60)
        async with serving(limits=limits) as server, calling(server) as phone, calling(server) as other:
            transport = phone.writer.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            phone.writer.write(encode(QUERY) * MORE_THAN_SOCKETS_HOLD)
            await until(lambda: bool(server.counters.ended))
            assert server.counters.ended == {Ending.SLOW_READER: 1}
            assert server.counters.requests.total() < MORE_THAN_SOCKETS_HOLD
            assert await other.ask() == ANSWER

    asyncio.run(scenario())


def test_a_client_that_takes_its_answers_late_gets_them_all() -> None:
    async def scenario() -> None:
        async with serving() as server, calling(server) as phone:
            transport = phone.writer.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            phone.writer.write(encode(QUERY) * MORE_THAN_SOCKETS_HOLD)
            await until(lambda: server.counters.requests.total() > 1000)
            await asyncio.sleep(0.3)
            asked = server.counters.requests.total()
            await asyncio.sleep(0.1)
            assert server.counters.requests.total() == asked < MORE_THAN_SOCKETS_HOLD
            transport.resume_reading()
            answer = encode(vouch(QUERY))
            wanted = len(answer) * MORE_THAN_SOCKETS_HOLD
            answers = await asyncio.wait_for(phone.reader.readexactly(wanted), 4 * PATIENCE)
            assert answers == answer * MORE_THAN_SOCKETS_HOLD
            assert await phone.ask() == ANSWER
            before = time.process_time()
            await asyncio.sleep(0.3)
            assert time.process_time() - before < 0.1  # and is left alone again

    asyncio.run(scenario())


def abort(client: socket.socket) -> None:
    """Vanish: what the peer sees is a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("moment", ["connected", "in the handshake", "in a request", "before the answer is read"])
def test_clients_that_vanish_are_forgotten(moment: str) -> None:
    def vanish(address: tuple[str, int]) -> None:
        client = socket.create_connection(address, PATIENCE)
        if moment in ("connected", "in the handshake"):
            if moment == "in the handshake":
                client.sendall(b"\x16\x03\x01\x02\x00\x01")
            time.sleep(0.05)
            abort(client)
            return
        tls = client_context().wrap_socket(client)
        tls.sendall(encode(REQUEST)[: 7 if moment == "in a request" else None])
        time.sleep(0.05)
        abort(tls)

    async def scenario() -> None:
        async with serving() as server, calling(server) as other:
            with logged() as lines:
                await asyncio.to_thread(vanish, server.address)
                await until(lambda: bool(server.counters.ended))
            assert server.counters.ended == {Ending.VANISHED: 1}
            assert [line["reason"] for line in lines] == [str(Ending.VANISHED)]
            assert await other.ask() == ANSWER
            assert server.connections == 1

    asyncio.run(scenario())


def test_the_longest_waiting_makes_room_for_the_newest(run: Run) -> None:
    async def scenario() -> None:
        async with serving(limits=TvsLimits(connections=3)) as server, contextlib.AsyncExitStack() as stack:
            silent = await stack.enter_async_context(calling(server, tls=False))
            idle = await stack.enter_async_context(calling(server))
            busy = await stack.enter_async_context(calling(server))
            assert await idle.ask() == ANSWER
            assert await busy.ask() == ANSWER
            newest = await stack.enter_async_context(calling(server))
            assert await silent.closed()
            assert await newest.ask() == ANSWER
            assert await busy.ask() == ANSWER
            another = await stack.enter_async_context(calling(server))
            assert await idle.closed()
            for phone in (newest, busy, another):
                assert await phone.ask() == ANSWER
            assert server.counters.ended == {Ending.CROWDED_OUT: 2}
            assert server.connections == 3

    run(scenario())


@contextlib.contextmanager
def descriptors(spare: int) -> Iterator[None]:
    """Let this process open only `spare` files more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = max(int(name) for name in os.listdir("/proc/self/fd")) + 1  # noqa: PTH208 - names, not paths
    fillers = [os.open(os.devnull, os.O_RDONLY) for _ in range(taken - len(os.listdir("/proc/self/fd")) + 1)]  # noqa: PTH208
    highest = max([taken, *(filler + 1 for filler in fillers)])
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


def test_without_descriptors_the_longest_waiting_makes_room() -> None:
    async def scenario() -> None:
        clients = [socket.socket() for _ in range(6)]
        for client in clients:
            client.setblocking(False)
        loop = asyncio.get_running_loop()
        async with serving() as server:
            with descriptors(3):
                for client in clients:
                    await loop.sock_connect(client, server.address)
                    await asyncio.sleep(0.02)
                await until(lambda: server.counters.accepted == 6)
                assert server.connections == 3
                assert server.counters.ended == {Ending.CROWDED_OUT: 3}
            for client in clients[:3]:
                assert await loop.sock_recv(client, 1) == b""
            for client in clients:
                client.close()

    asyncio.run(scenario())


def test_without_descriptors_and_nobody_to_drop_the_server_waits_quietly(run: Run) -> None:
    async def scenario() -> None:
        client = socket.socket()
        client.setblocking(False)
        async with serving() as server:
            with descriptors(0):
                with logged() as lines:
                    await asyncio.get_running_loop().sock_connect(client, server.address)
                    before = time.process_time()
                    await asyncio.sleep(0.5)
                    spent = time.process_time() - before
                assert server.counters.accepted == 0
                assert 2 <= server.counters.starved <= 8
                assert [line["event"] for line in lines] == ["no descriptors left to take TVS clients"]
                assert spent < 0.1
            await until(lambda: server.counters.accepted == 1)
            client.close()

    run(scenario())


def test_a_flood_of_bad_clients_is_logged_in_few_lines() -> None:
    async def scenario() -> None:
        async with serving(limits=TvsLimits(handshake=0.2)) as server, contextlib.AsyncExitStack() as stack:
            with logged() as lines:
                for _ in range(100):
                    await stack.enter_async_context(calling(server, tls=False))
                await until(lambda: server.connections == 0)
                await until(lambda: "more TVS clients dropped" in [line["event"] for line in lines])
            assert server.counters.ended == {Ending.SLOW_HANDSHAKE: 100}
            single = [line for line in lines if line["event"] == "TVS client dropped"]
            summed = sum(line.get(str(Ending.SLOW_HANDSHAKE), 0) for line in lines)
            assert len(single) <= 40
            assert len(single) + summed == 100

    asyncio.run(scenario())


def test_answers_change_at_run_time_without_dropping_anybody(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as server, calling(server) as phone:
            assert decode(await phone.ask()).valid
            server.set_answer(lambda request: response_to(request, certificate=None))
            phone.writer.write(encode(REQUEST))
            refusal = encode(response_to(REQUEST, certificate=None))
            assert await phone.reader.readexactly(len(refusal)) == refusal
            assert server.counters.requests == {Message.VERIFY_REQUEST: 2}
            assert server.counters.vouched == 1

    run(scenario())


def test_the_identity_changes_at_run_time_without_dropping_anybody() -> None:
    old, new = identity(), identity("cm2")

    async def scenario() -> None:
        async with serving() as server, calling(server) as before:
            server.set_identity(new)
            async with calling(server) as after:
                assert before.certificate() == old.chain[0].der
                assert after.certificate() == new.chain[0].der
                assert await before.ask() == ANSWER
                assert await after.ask() == ANSWER
            with pytest.raises(SettingsError):
                server.set_identity(TlsIdentity(old.chain, new.private_key))
            async with calling(server) as still:
                assert still.certificate() == new.chain[0].der

    asyncio.run(scenario())


def test_an_answer_that_fails_is_the_asking_clients_loss_alone() -> None:
    def fail_once(request: TvsMessage) -> TvsMessage:
        if request.session == 13:
            raise KeyError("stores")
        return vouch(request)

    async def scenario() -> None:
        async with serving(answer=fail_once) as server, calling(server) as other, calling(server) as phone:
            phone.writer.write(encode(verify_request(13, "d", b"")))
            assert await phone.closed()
            assert server.counters.ended == {Ending.UNANSWERED: 1}
            assert await other.ask() == ANSWER

    asyncio.run(scenario())


def test_a_fault_of_the_server_itself_with_one_client_is_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving() as server, calling(server) as other:
            receive = TvsSession.receive

            def fail_once(session: TvsSession, data: memoryview) -> bytes:
                monkeypatch.setattr(TvsSession, "receive", receive)
                raise AttributeError("unheard of")

            async with calling(server) as phone:
                monkeypatch.setattr(TvsSession, "receive", fail_once)
                with logged() as lines:
                    phone.writer.write(encode(REQUEST))
                    assert await phone.closed()
            assert [line["detail"] for line in lines] == ["AttributeError: unheard of"]
            assert server.counters.ended == {Ending.UNANSWERED: 1}
            assert await other.ask() == ANSWER

    asyncio.run(scenario())


def test_a_client_dropped_by_the_server_is_told_goodbye_in_tls() -> None:
    def last_words(address: tuple[str, int]) -> bytes:
        with (
            socket.create_connection(address, PATIENCE) as client,
            client_context().wrap_socket(client, suppress_ragged_eofs=False) as tls,
        ):
            return tls.recv(1)  # raises on an end without goodbye

    async def scenario() -> None:
        async with serving(limits=TvsLimits(idle=0.1)) as server:
            assert await asyncio.to_thread(last_words, server.address) == b""

    asyncio.run(scenario())


def test_stopping_ends_all_connections_and_frees_the_port(run: Run) -> None:
    async def scenario() -> None:
        server = await start_tvs(vouch, identity(), port=0)
        async with calling(server) as phone, calling(server, tls=False) as silent:
            assert await phone.ask() == ANSWER
            await until(lambda: server.connections == 2)
            await server.stop()
            await server.stop()
            assert await phone.closed()
            assert await silent.closed()
            assert server.counters.ended == {Ending.STOPPED: 2}
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*server.address)
        again = await start_tvs(vouch, identity(), port=server.address[1])
        await again.stop()

    run(scenario())


def test_a_port_in_use_is_named() -> None:
    async def scenario() -> None:
        async with serving() as server:
            with pytest.raises(PortTaken, match=f"TVS.*127.0.0.1 port {server.address[1]}") as caught:
                await start_tvs(vouch, identity(), port=server.address[1])
            assert caught.value.hint

    asyncio.run(scenario())


def test_servers_that_ask_for_it_share_a_port() -> None:
    async def scenario() -> None:
        first = await start_tvs(vouch, identity(), port=0, reuse_port=True)
        second = await start_tvs(vouch, identity(), port=first.address[1], reuse_port=True)
        for _ in range(40):
            async with calling(first) as phone:
                assert await phone.ask() == ANSWER
        assert first.counters.accepted + second.counters.accepted == 40
        assert first.counters.accepted
        assert second.counters.accepted
        await first.stop()
        await second.stop()

    asyncio.run(scenario())


def test_an_ipv6_address_is_served() -> None:
    async def scenario() -> None:
        try:
            server = await start_tvs(vouch, identity(), host="::1", port=0)
        except PortTaken as error:
            pytest.skip(f"no IPv6 on this machine: {error.message}")
        async with calling(server) as phone:
            assert server.address[0] == "::1"
            assert await phone.ask() == ANSWER
        await server.stop()

    asyncio.run(scenario())


def test_descriptors_bound_the_connections_by_default() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert TvsLimits().most_connections() == min(8192, max(soft - 128, soft // 2))
    assert TvsLimits(connections=5).most_connections() == 5


def test_a_connection_gone_before_it_is_taken_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving() as server:
            accept = socket.socket.accept
            failed: list[bool] = []

            def gone_once(listener: socket.socket) -> tuple[socket.socket, Any]:
                if not failed:
                    failed.append(True)
                    raise OSError(errno.ECONNABORTED, "gone")
                return accept(listener)

            monkeypatch.setattr(socket.socket, "accept", gone_once)
            async with calling(server) as phone:
                assert await phone.ask() == ANSWER
            assert failed

    asyncio.run(scenario())
