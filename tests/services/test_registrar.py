"""The registrar over real sockets: well-behaved phones, and every other kind of client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import cast

import pytest
import uvloop

from trustbridge.clients.tls import TlsIdentity, client_context
from trustbridge.errors import PortTaken
from trustbridge.pki.issue import Identity, Organisation, locally_significant, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services.registrar import (
    RegistrarLimits,
    RegistrarServer,
    Registration,
    RegistrationAnswer,
    start_registrar,
)
from trustbridge.wire import sip, sipregister

NOW = datetime.now(UTC)
LAB = Organisation(o="Lab")
QUICK = RegistrarLimits(handshake_seconds=0.2, request_seconds=0.2, idle_seconds=0.4)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Run = Callable[[Awaitable[None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine, on either event loop."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def runner(work: Awaitable[None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(20):
                await work

        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(limited())

    return runner


@pytest.fixture(scope="module")
def node() -> TlsIdentity:
    return TlsIdentity.of(
        self_signed(node="cm1", unit=Unit.CALLMANAGER, common_name="cm1", organisation=LAB, now=NOW, key="p256")
    )


def capf(name: str) -> Identity:
    return self_signed(node="cm1", unit=Unit.CAPF, common_name=name, organisation=LAB, now=NOW, key="p256")


def lsc(authority: Identity) -> TlsIdentity:
    return TlsIdentity.of(
        locally_significant(authority, device="SEP001122334455", organisation=LAB, now=NOW, key="p256")
    )


def accept(registration: Registration) -> RegistrationAnswer:
    return RegistrationAnswer.accepted(registration.expires)


def request_bytes(seconds: int = 120, device: str = "SEP001122334455") -> bytes:
    return sip.encode(
        sipregister.register_request(
            registrar="127.0.0.1",
            user=device,
            device=device,
            model="684",
            local=("127.0.0.1", 5060),
            seconds=seconds,
            call_id="c1",
            tag="t1",
            branch="z9hG4bK1",
        )
    )


REGISTER = request_bytes()


@contextlib.asynccontextmanager
async def registrar(
    handler: Callable[[Registration], RegistrationAnswer] = accept, **options: object
) -> AsyncIterator[RegistrarServer]:
    server = await start_registrar(handler, port=0, **options)  # type: ignore[arg-type]  # passed on as given
    try:
        yield server
    finally:
        await server.stop()


async def dial(server: RegistrarServer, context: ssl.SSLContext | None = None) -> Streams:
    return await asyncio.open_connection(*server.address, ssl=context)


async def response(reader: asyncio.StreamReader) -> sip.Response:
    message = sip.decode(await reader.readuntil(b"\r\n\r\n"))
    assert isinstance(message, sip.Response)
    return message


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_a_phone_registers_and_again_and_takes_it_back_over_one_connection(run: Run) -> None:
    asked: list[Registration] = []

    def handler(registration: Registration) -> RegistrationAnswer:
        asked.append(registration)
        return RegistrationAnswer.accepted(60)

    async def scenario() -> None:
        async with registrar(handler) as server:
            reader, writer = await dial(server)
            for seconds in (120, 120, 0):
                writer.write(request_bytes(seconds))
                answer = await response(reader)
                assert (answer.code, sipregister.granted(answer)) == (200, 60 if seconds else 0)
            assert [item.expires for item in asked] == [120, 120, 0]
            assert asked[0].peer == writer.get_extra_info("sockname")
            assert not asked[0].secure
            assert (server.counters.accepted, server.counters.taken_back) == (2, 1)
            assert (server.counters.open, server.counters.connections) == (1, 1)
            writer.close()
            await until(lambda: server.counters.open == 0)

    run(scenario())


def test_requests_in_any_pieces_and_several_at_once_are_answered_in_order(run: Run) -> None:
    async def scenario() -> None:
        async with registrar() as server:
            reader, writer = await dial(server)
            for byte in REGISTER:
                writer.write(bytes([byte]))
                await writer.drain()
            assert (await response(reader)).code == 200
            writer.write(REGISTER + b"\r\n\r\n" + request_bytes(0) + b"\r\n" + REGISTER)
            assert (await response(reader)).first("Expires") == "120"
            assert await reader.readexactly(2) == b"\r\n"
            assert (await response(reader)).first("Expires") == "0"
            assert (await response(reader)).first("Expires") == "120"
            writer.close()

    run(scenario())


def test_a_client_that_stops_sending_still_gets_its_answer(run: Run) -> None:
    async def scenario() -> None:
        async with registrar() as server:
            reader, writer = await dial(server)
            writer.write(REGISTER)
            writer.write_eof()
            assert (await response(reader)).code == 200
            assert await reader.read() == b""
            writer.close()

    run(scenario())


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"REGISTER sip:a SIP/2.0\r\nContent-Length: x\r\n\r\n",
        b"REGISTER sip:a SIP/2.0\r\nContent-Length: 5000\r\n\r\n",
        b"A" * 3000,
    ],
)
def test_what_is_not_sip_is_told_so_and_hung_up_on(run: Run, garbage: bytes) -> None:
    async def scenario() -> None:
        async with registrar(limits=RegistrarLimits(header_bytes=2000, body_bytes=1000)) as server:
            reader, writer = await dial(server)
            writer.write(REGISTER + garbage)
            assert (await response(reader)).code == 200
            assert (await response(reader)).code == 400
            assert await reader.read() == b""
            assert server.counters.malformed == 1
            writer.close()
            reader, writer = await dial(server)
            writer.write(REGISTER)
            assert (await response(reader)).code == 200
            writer.close()

    run(scenario())


def test_a_slow_request_is_cut_off_however_steadily_it_drips(run: Run) -> None:
    async def scenario() -> None:
        async with registrar(limits=QUICK) as server:
            reader, writer = await dial(server)
            begin = asyncio.get_running_loop().time()
            with contextlib.suppress(OSError):
                for byte in REGISTER:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.02)
                    if reader.at_eof() or writer.is_closing():  # uvloop raises when one writes to what was reset
                        break
            assert asyncio.get_running_loop().time() - begin < 1.5
            assert server.counters.timed_out == 1
            assert server.counters.accepted == 0
            writer.close()

    run(scenario())


def test_idle_clients_are_dropped_and_registered_ones_are_not(run: Run) -> None:
    async def scenario() -> None:
        async with registrar(limits=QUICK) as server:
            idle, idle_writer = await dial(server)
            reader, writer = await dial(server)
            writer.write(REGISTER)
            assert (await response(reader)).code == 200
            with contextlib.suppress(ConnectionError):
                assert await idle.read() == b""
            await asyncio.sleep(0.2)
            writer.write(request_bytes(0))
            assert (await response(reader)).code == 200
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""  # no longer registered, so idle now
            assert server.counters.timed_out == 2
            idle_writer.close()
            writer.close()

    run(scenario())


def test_a_client_that_reads_no_answers_is_dropped(run: Run) -> None:
    async def scenario() -> None:
        async with registrar(limits=QUICK) as server:
            reader, writer = await dial(server)
            cast(asyncio.Transport, writer.transport).pause_reading()
            with contextlib.suppress(ConnectionError):
                while not server.counters.timed_out:
                    writer.write(REGISTER * 50)
                    await asyncio.wait_for(writer.drain(), 2)
            assert server.counters.timed_out == 1
            await until(lambda: server.counters.open == 0)
            writer.transport.abort()
            del reader

    run(scenario())


def test_a_thousand_silent_clients_do_not_keep_others_waiting(run: Run) -> None:
    async def scenario() -> None:
        async with registrar() as server:
            silent = [socket.create_connection(server.address) for _ in range(300)]
            try:
                for client in silent[:100]:
                    client.sendall(REGISTER[:40])
                await until(lambda: server.counters.open == 300)
                reader, writer = await dial(server)
                writer.write(REGISTER)
                assert (await asyncio.wait_for(response(reader), 1)).code == 200
                writer.close()
            finally:
                for client in silent:
                    client.close()
            await until(lambda: server.counters.open == 0)

    run(scenario())


def test_connections_over_the_limit_are_turned_away_until_there_is_room(run: Run) -> None:
    async def scenario() -> None:
        async with registrar(limits=RegistrarLimits(connections=2)) as server:
            first, second = await dial(server), await dial(server)
            await until(lambda: server.counters.open == 2)
            reader, writer = await dial(server)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            assert server.counters.turned_away == 1
            first[1].close()
            await until(lambda: server.counters.open == 1)
            reader, writer = await dial(server)
            writer.write(REGISTER)
            assert (await response(reader)).code == 200
            for open_writer in (writer, second[1]):
                open_writer.close()

    run(scenario())


def test_over_tls_the_phone_is_known_by_its_certificate(run: Run, node: TlsIdentity) -> None:
    authority = capf("CAPF-1")
    asked: list[Registration] = []

    def handler(registration: Registration) -> RegistrationAnswer:
        asked.append(registration)
        return RegistrationAnswer.accepted(120)

    async def scenario() -> None:
        async with registrar(handler, tls=node, client_authorities=[authority.certificate]) as server:
            reader, writer = await dial(server, client_context(lsc(authority)))
            writer.write(REGISTER)
            assert (await response(reader)).code == 200
            assert asked[0].secure
            assert asked[0].peer_subject == "CN=SEP001122334455;O=Lab"
            writer.close()

    run(scenario())


async def refused(server: RegistrarServer, context: ssl.SSLContext) -> bool:
    """Whether this client gets no answer; TLS 1.3 clients learn of it only after their handshake."""
    try:
        reader, writer = await dial(server, context)
    except (ssl.SSLError, ConnectionError):
        return True
    try:
        writer.write(REGISTER)
        return await reader.read(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True
    finally:
        writer.transport.abort()


def test_which_capf_is_trusted_can_change_while_the_server_runs(run: Run, node: TlsIdentity) -> None:
    ours, theirs = capf("CAPF-1"), capf("CAPF-2")

    async def scenario() -> None:
        async with registrar(tls=node, client_authorities=[ours.certificate]) as server:
            phone, stranger = client_context(lsc(ours)), client_context(lsc(theirs))
            kept = await dial(server, phone)
            assert await refused(server, stranger)
            assert await refused(server, client_context())
            await until(lambda: server.counters.handshakes_failed == 2)
            server.client_authorities = [ours.certificate, theirs.certificate]
            assert server.client_authorities == (ours.certificate, theirs.certificate)
            assert not await refused(server, stranger)
            assert not await refused(server, phone)
            server.client_authorities = []
            assert await refused(server, phone)
            kept[1].write(REGISTER)  # a connection that stands is not cut
            assert (await response(kept[0])).code == 200
            kept[1].transport.abort()

    run(scenario())


def test_without_the_need_for_a_certificate_the_handler_decides(run: Run, node: TlsIdentity) -> None:
    asked: list[Registration] = []

    def handler(registration: Registration) -> RegistrationAnswer:
        asked.append(registration)
        return RegistrationAnswer.rejected(403, "Certificate missing")

    async def scenario() -> None:
        async with registrar(handler, tls=node, require_client_certificate=False) as server:
            reader, writer = await dial(server, client_context())
            writer.write(REGISTER)
            assert (await response(reader)).code == 403
            assert (asked[0].secure, asked[0].peer_subject) == (True, "")
            writer.close()

    run(scenario())


def test_a_handshake_that_does_not_come_or_is_none_ends(run: Run, node: TlsIdentity) -> None:
    async def scenario() -> None:
        async with registrar(tls=node, limits=QUICK) as server:
            reader, silent = await dial(server)
            plain, plain_writer = await dial(server)
            plain_writer.write(REGISTER)
            for end in (reader, plain):
                with contextlib.suppress(ConnectionError):
                    await end.read()
            await until(lambda: server.counters.handshakes_failed == 2 and server.counters.open == 0)
            silent.close()
            plain_writer.close()

    run(scenario())


def test_many_servers_run_in_one_loop_and_stop_with_their_clients(run: Run, node: TlsIdentity) -> None:
    async def scenario() -> None:
        servers = [await start_registrar(accept, host=f"127.0.9.{n}", port=0) for n in range(1, 11)]
        servers.append(await start_registrar(accept, port=0, tls=node))
        clients = [await dial(server) for server in servers]
        await until(lambda: all(server.counters.open == 1 for server in servers))
        for server in servers:
            await server.stop()
            assert server.counters.open == 0
        for reader, writer in clients:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.9.1", 9)

    run(scenario())


def test_a_port_that_is_taken_is_named(run: Run) -> None:
    async def scenario() -> None:
        async with registrar() as server:
            host, port = server.address
            with pytest.raises(PortTaken, match=f"{host}.*{port}.*in use") as caught:
                await start_registrar(accept, host=host, port=port)
            assert caught.value.hint

    run(scenario())
