"""Asking a TVS: what comes back, and each way of getting nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache

import pytest
import uvloop

from trustbridge.clients.ask import ask_tvs
from trustbridge.clients.tls import TlsIdentity
from trustbridge.errors import DecodeError, Refused, Unreachable
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services.tvs import start_tvs
from trustbridge.wire.tvs import Message, TvsMessage, encode, query_request, response_to, verify_request

CERTIFICATE = bytes(range(256)) * 5 + bytes(171)
QUERY = query_request(1001, "CP-8861-SEP001122334455", "CN=a", "CN=b", 5)
VERIFY = verify_request(1002, "CP-8861-SEP001122334455", CERTIFICATE)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def vouch(request: TvsMessage) -> TvsMessage:
    return response_to(request, certificate=CERTIFICATE, roles=(0, 3), time_to_live=86400)


@lru_cache
def identity() -> TlsIdentity:
    return TlsIdentity.of(
        self_signed(
            node="cm1", unit=Unit.TVS, common_name="cm1", organisation=Organisation(), now=datetime.now(UTC), key="p256"
        )
    )


@contextlib.asynccontextmanager
async def listening(handler: Handler, *, tls: bool = True) -> AsyncIterator[int]:
    """Some other server, on a port of 127.0.0.1."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    context = identity().server_context() if tls else None
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("request_", [QUERY, VERIFY], ids=["query", "verify"])
def test_a_reply_is_the_response_and_who_gave_it(request_: TvsMessage, run: Callable[[Awaitable[None]], None]) -> None:
    async def scenario() -> None:
        server = await start_tvs(vouch, identity(), port=0)
        reply = await ask_tvs(*server.address, request_)
        await server.stop()
        assert reply.response == vouch(request_)
        assert reply.tvs_certificate == identity().chain[0].der
        assert reply.tls_version == "TLSv1.3"
        assert 0 < reply.seconds < 5

    run(scenario())


def test_the_certificate_is_looked_at_before_anything_is_asked() -> None:
    seen: list[bytes] = []

    def refuse(certificate: bytes) -> str | None:
        seen.append(certificate)
        return "not in the trust list with role TVS"

    async def scenario() -> None:
        server = await start_tvs(vouch, identity(), port=0)
        with pytest.raises(Refused, match="not accepted: not in the trust list with role TVS"):
            await ask_tvs(*server.address, QUERY, check_certificate=refuse)
        assert server.counters.handshakes <= 1
        assert not server.counters.requests
        accepted = await ask_tvs(*server.address, QUERY, check_certificate=lambda certificate: None)
        assert accepted.response.valid
        await server.stop()

    asyncio.run(scenario())
    assert seen == [identity().chain[0].der]


def test_hundreds_of_phones_ask_at_once_from_addresses_of_their_own() -> None:
    async def scenario() -> None:
        server = await start_tvs(vouch, identity(), port=0)
        replies = await asyncio.gather(
            *(
                ask_tvs(
                    *server.address, verify_request(number, "d", b"x"), local_address=f"127.30.0.{number % 250 + 1}"
                )
                for number in range(300)
            )
        )
        assert [reply.response.session for reply in replies] == list(range(300))
        assert server.counters.requests == {Message.VERIFY_REQUEST: 300}
        await server.stop()

    asyncio.run(scenario())


def test_the_local_address_is_where_the_call_comes_from() -> None:
    peers: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])

    async def scenario() -> None:
        async with listening(note) as port:
            with pytest.raises(Refused):
                await ask_tvs("127.0.0.1", port, QUERY, local_address="127.30.4.5")

    asyncio.run(scenario())
    assert peers == ["127.30.4.5"]


@pytest.mark.parametrize("pieces", [[10], [1, 2, 3], list(range(1, 60))])
def test_an_answer_in_several_records_is_understood(pieces: list[int]) -> None:
    answer = encode(vouch(QUERY))

    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(encode(QUERY)))
        for begin, end in zip([0, *pieces], [*pieces, len(answer)], strict=True):
            writer.write(answer[begin:end])
            await writer.drain()

    async def scenario() -> None:
        async with listening(dribble) as port:
            assert (await ask_tvs("127.0.0.1", port, QUERY)).response == vouch(QUERY)

    asyncio.run(scenario())


def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(Unreachable, match=f"127.0.0.1 port {port} can't be reached: Connection refused") as caught:
            asyncio.run(ask_tvs("127.0.0.1", port, QUERY))
    assert caught.value.exit_code == 4
    assert caught.value.hint


def test_a_name_without_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Unreachable, match="for nowhere: Name or service not known"):
        asyncio.run(ask_tvs("nowhere", 2445, QUERY))


def test_what_is_no_name_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="not the name of a host"):
        asyncio.run(ask_tvs("cm1..lab", 2445, QUERY))


def test_a_local_address_that_is_not_ours_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="assign"):
        asyncio.run(ask_tvs("127.0.0.1", 2445, QUERY, local_address="192.0.2.1"))


@pytest.mark.parametrize("tls", [True, False], ids=["after the handshake", "before it"])
def test_silence_is_unreachable_after_the_time_given(tls: bool) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario() -> None:
        async with listening(silent, tls=tls) as port:
            with pytest.raises(Unreachable, match=r"did not answer within 0\.2 s"):
                await ask_tvs("127.0.0.1", port, QUERY, timeout=0.2)

    asyncio.run(scenario())


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.transport.abort()


async def talk_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")
    await writer.drain()
    await reader.read()


@pytest.mark.parametrize(
    ("handler", "tls", "words"),
    [
        pytest.param(hang_up, True, "hung up instead of answering", id="hangs up when asked"),
        pytest.param(reset, True, "hung up instead of answering", id="resets when asked"),
        pytest.param(hang_up, False, "hung up during the TLS handshake", id="hangs up in the handshake"),
        pytest.param(talk_plainly, False, "failed: wrong version number", id="speaks no TLS"),
    ],
)
def test_whoever_answers_otherwise_refuses(handler: Handler, tls: bool, words: str) -> None:
    async def scenario() -> None:
        async with listening(handler, tls=tls) as port:
            with pytest.raises(Refused, match=words):
                await ask_tvs("127.0.0.1", port, QUERY)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "offset"),
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", 0, id="not TVS"),
        pytest.param(encode(vouch(VERIFY)), 2, id="the answer to the other kind of question"),
        pytest.param(encode(QUERY), 2, id="the question itself"),
        pytest.param(encode(response_to(query_request(7, "d", "", "", 1), certificate=b"")), 4, id="another session"),
        pytest.param(bytes.fromhex("57010400000003e9 0003 070009"), 10, id="garbled"),
    ],
)
def test_an_answer_that_is_none_is_a_decode_error(answer: bytes, offset: int) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(encode(QUERY)))
        writer.write(answer)
        await writer.drain()
        await reader.read()

    async def scenario() -> None:
        async with listening(reply) as port:
            with pytest.raises(DecodeError) as caught:
                await ask_tvs("127.0.0.1", port, QUERY)
            assert caught.value.offset == offset

    asyncio.run(scenario())
