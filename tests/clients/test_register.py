"""A phone's side of registration, against our registrar and against servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TypedDict

import pytest
import uvloop

from trustbridge.clients import tls as tls_module
from trustbridge.clients.register import ClientTls, RegisterResult, open_session, register
from trustbridge.clients.tls import TlsIdentity
from trustbridge.errors import Refused, Unreachable
from trustbridge.pki.issue import Identity, Organisation, locally_significant, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services.registrar import Registration, RegistrationAnswer, start_registrar

NOW = datetime.now(UTC)
LAB = Organisation(o="Lab")


class Phone(TypedDict):
    """What says which phone registers."""

    device: str
    model: str


PHONE = Phone(device="SEP001122334455", model="684")

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


def identity(name: str, unit: Unit) -> Identity:
    return self_signed(node="cm1", unit=unit, common_name=name, organisation=LAB, now=NOW, key="p256")


@pytest.fixture(scope="module")
def node() -> TlsIdentity:
    return TlsIdentity.of(identity("cm1", Unit.CALLMANAGER))


class Cluster:
    """A handler that remembers, and rejects devices whose name it does not know."""

    def __init__(self) -> None:
        self.asked: list[Registration] = []

    def __call__(self, registration: Registration) -> RegistrationAnswer:
        self.asked.append(registration)
        if registration.device != PHONE["device"]:
            return RegistrationAnswer.rejected(403, "Forbidden")
        return RegistrationAnswer.accepted(min(registration.expires, 90))


def trusting(certificate: bytes) -> str | None:
    return None


@contextlib.asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """A server that sends this to whoever sends something and hangs up; or never does anything. Gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        if answer is not None:
            writer.write(answer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def test_a_phone_registers_hangs_up_and_stays_registered_for_the_time_granted(run: Run) -> None:
    cluster = Cluster()

    async def scenario() -> None:
        server = await start_registrar(cluster, port=0)
        result = await register(*server.address, **PHONE, user="1001", local_address="127.30.0.7")
        assert result == RegisterResult(200, "OK", 90)
        assert result.registered
        assert (cluster.asked[0].device, cluster.asked[0].model) == ("SEP001122334455", "684")
        assert cluster.asked[0].peer[0] == cluster.asked[0].contact[0] == "127.30.0.7"
        while server.counters.open:
            await asyncio.sleep(0.005)
        result = await register(*server.address, **PHONE, expires=0)
        assert (result.code, result.expires, result.registered) == (200, 0, False)
        await server.stop()

    run(scenario())


def test_a_rejection_is_a_result(run: Run) -> None:
    async def scenario() -> None:
        server = await start_registrar(Cluster(), port=0)
        result = await register(*server.address, device="SEP000000000000", model="684")
        assert result == RegisterResult(403, "Forbidden", 0)
        assert not result.registered
        await server.stop()

    run(scenario())


def test_a_session_keeps_its_connection_refreshes_and_takes_itself_back(run: Run) -> None:
    cluster = Cluster()

    async def scenario() -> None:
        server = await start_registrar(cluster, port=0)
        async with await open_session(*server.address, **PHONE) as session:
            assert session.result.registered
            assert (await session.refresh(30)).expires == 30
            assert session.result.expires == 30
            assert server.counters.connections == 1
        assert [asked.expires for asked in cluster.asked] == [120, 30, 0]
        assert len({asked.peer for asked in cluster.asked}) == 1
        await server.stop()

    run(scenario())


def test_a_lost_connection_is_told_and_does_not_keep_a_session_from_closing(run: Run) -> None:
    async def scenario() -> None:
        server = await start_registrar(Cluster(), port=0)
        session = await open_session(*server.address, **PHONE)
        await server.stop()
        with pytest.raises(Refused, match="closed the connection"):
            await session.refresh()
        await session.close()

    run(scenario())


def test_the_servers_certificate_is_judged_before_anything_is_sent(run: Run, node: TlsIdentity) -> None:
    seen: list[bytes] = []
    cluster = Cluster()

    def suspicious(certificate: bytes) -> str | None:
        seen.append(certificate)
        return "not in the trust list"

    async def scenario() -> None:
        server = await start_registrar(cluster, port=0, tls=node, require_client_certificate=False)
        with pytest.raises(Refused, match="not in the trust list"):
            await register(*server.address, **PHONE, tls=ClientTls(suspicious))
        assert seen == [node.chain[0].der]
        while server.counters.open:
            await asyncio.sleep(0.005)
        assert cluster.asked == []
        assert (server.counters.connections, server.counters.malformed) == (1, 0)
        assert (await register(*server.address, **PHONE, tls=ClientTls(trusting))).registered
        assert cluster.asked[0].secure
        await server.stop()

    run(scenario())


def test_a_phone_shows_its_certificate_and_is_refused_with_one_of_another_cluster(run: Run, node: TlsIdentity) -> None:
    ours, theirs = identity("CAPF-1", Unit.CAPF), identity("CAPF-2", Unit.CAPF)
    cluster = Cluster()

    def phone(capf: Identity) -> ClientTls:
        lsc = locally_significant(capf, device="SEP001122334455", organisation=LAB, now=NOW, key="p256")
        return ClientTls(trusting, TlsIdentity.of(lsc))

    async def scenario() -> None:
        server = await start_registrar(cluster, port=0, tls=node, client_authorities=[ours.certificate])
        assert (await register(*server.address, **PHONE, tls=phone(ours))).registered
        assert cluster.asked[0].peer_subject == "CN=SEP001122334455;O=Lab"
        for stranger in (phone(theirs), ClientTls(trusting)):
            with pytest.raises(Refused) as caught:
                await register(*server.address, **PHONE, tls=stranger)
            assert "CAPF" in caught.value.hint
        assert len(cluster.asked) == 1
        await server.stop()

    run(scenario())


def test_nobody_there_is_unreachable(run: Run) -> None:
    async def scenario() -> None:
        server = await start_registrar(Cluster(), port=0)
        address = server.address
        await server.stop()
        for tls in (None, ClientTls(trusting)):
            with pytest.raises(Unreachable, match=r"[Rr]efused|Connect call failed"):
                await register(*address, **PHONE, tls=tls)

    run(scenario())


def test_silence_is_unreachable_after_the_time_given(run: Run) -> None:
    async def scenario() -> None:
        async with answering(None) as port:
            for tls in (None, ClientTls(trusting)):
                with pytest.raises(Unreachable, match=r"no answer .* in 0.1 s"):
                    await register("127.0.0.1", port, **PHONE, tls=tls, timeout=0.1)

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"", "closed the connection"),
        (b"SIP/2.0 100 Trying\r\n\r\n", "closed the connection"),
        (b"SIP/2.0 200 OK\r\nCSeq: 7 REGISTER\r\n\r\n", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not SIP"),
        (b"A" * 40_000, "not SIP"),
    ],
)
def test_servers_that_do_not_answer_in_sip_refuse(run: Run, answer: bytes, word: str) -> None:
    async def scenario() -> None:
        async with answering(answer) as port:
            with pytest.raises(Refused, match=word):
                await register("127.0.0.1", port, **PHONE)
            with pytest.raises(Refused, match="TLS"):
                await register("127.0.0.1", port, **PHONE, tls=ClientTls(trusting))

    run(scenario())


def test_provisional_and_foreign_messages_before_the_answer_are_let_go_by(run: Run) -> None:
    noise = b"\r\n\r\nSIP/2.0 100 Trying\r\nCSeq: 101 REGISTER\r\n\r\nNOTIFY sip:a SIP/2.0\r\n\r\n"
    final = b"SIP/2.0 401 Unauthorized\r\nCSeq: 101 REGISTER\r\nContent-Length: 0\r\n\r\n"

    async def scenario() -> None:
        async with answering(noise + final) as port:
            result = await register("127.0.0.1", port, **PHONE)
            assert result == RegisterResult(401, "Unauthorized", 0)

    run(scenario())


def test_a_registration_taken_back_is_over_whatever_time_the_answer_names(run: Run) -> None:
    async def scenario() -> None:
        async with answering(b"SIP/2.0 200 OK\r\nCSeq: 101 REGISTER\r\nExpires: 3600\r\n\r\n") as port:
            assert (await register("127.0.0.1", port, **PHONE)).expires == 3600
            assert not (await register("127.0.0.1", port, **PHONE, expires=0)).registered

    run(scenario())


def test_a_hundred_phones_register_at_once_and_share_one_context(
    run: Run, node: TlsIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(legacy: bool) -> ssl.SSLContext:
        raise AssertionError("a context for one phone")

    async def scenario() -> None:
        server = await start_registrar(Cluster(), port=0, tls=node, require_client_certificate=False)
        await register(*server.address, **PHONE, tls=ClientTls(trusting))
        monkeypatch.setattr(tls_module, "_unverified_context", another)
        results = await asyncio.gather(
            *(register(*server.address, **PHONE, tls=ClientTls(trusting)) for _ in range(100))
        )
        assert all(result.registered for result in results)
        assert server.counters.accepted == 101
        await server.stop()

    run(scenario())
