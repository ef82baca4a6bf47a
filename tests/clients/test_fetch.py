"""The phone's fetching over real sockets: from our servers, and from servers that behave in other ways."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from trustbridge.clients.fetch import http_get, tftp_get
from trustbridge.errors import Refused, Unreachable
from trustbridge.services.provisioning import start_provisioning
from trustbridge.services.tftp import start_tftp
from trustbridge.wire.tftp import Ack, Data, Error, OptionAck, ReadRequest, decode, encode

CONTENT = random.Random(11).randbytes(70_000)
FILES = {"ITLFile.tlv": CONTENT, "music on hold/100%.xml": b"<a/>"}


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_files_come_over_both_protocols_from_an_address_of_the_phones_own(
    runner: Callable[[Any], None],
) -> None:
    async def run() -> None:
        web = await start_provisioning(FILES.get, host="127.0.0.2", port=0)
        tftp = await start_tftp(FILES.get, host="127.0.0.2", port=0)
        for get, address in ((http_get, web.address), (tftp_get, tftp.address)):
            for local in (None, "127.30.1.7"):
                for name, content in {**FILES, "none": None}.items():
                    assert await get(*address, name, local_address=local) == content
        await web.stop()
        await tftp.stop()

    runner(run())


def test_a_server_may_be_called_by_its_name() -> None:
    async def run() -> None:
        web = await start_provisioning(FILES.get, port=0)
        tftp = await start_tftp(FILES.get, port=0)
        assert await http_get("localhost", web.address[1], "ITLFile.tlv") == CONTENT
        for host in ("127.0.0.1", "localhost", "127.1"):
            assert await tftp_get(host, tftp.address[1], "ITLFile.tlv") == CONTENT
        await web.stop()
        await tftp.stop()

    asyncio.run(run())


def test_hundreds_of_phones_fetch_at_once() -> None:
    async def run() -> None:
        web = await start_provisioning(FILES.get, port=0)
        tftp = await start_tftp(FILES.get, port=0)
        files = await asyncio.gather(
            *(http_get(*web.address, "ITLFile.tlv", timeout=20) for _ in range(300)),
            *(tftp_get(*tftp.address, "ITLFile.tlv", blksize=16000, timeout=5) for _ in range(100)),
        )
        assert files == [CONTENT] * 400
        await web.stop()
        await tftp.stop()

    asyncio.run(run())


def closed_port(kind: socket.SocketKind) -> int:
    """A port of 127.0.0.1 nobody listens on."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def test_nobody_there_is_unreachable_and_names_server_and_file() -> None:
    async def run() -> None:
        port = closed_port(socket.SOCK_STREAM)
        with pytest.raises(Unreachable, match=rf"HTTP: 'a' from 127\.0\.0\.1 port {port}: .*refused") as refused:
            await http_get("127.0.0.1", port, "a")
        assert refused.value.hint
        port = closed_port(socket.SOCK_DGRAM)
        begin = time.monotonic()
        with pytest.raises(Unreachable, match=rf"TFTP: 'a' from 127\.0\.0\.1 port {port}: no answer to 3 tries"):
            await tftp_get("127.0.0.1", port, "a", timeout=0.05, tries=3)
        assert 0.14 < time.monotonic() - begin < 1
        for get in (http_get, tftp_get):
            with pytest.raises(Unreachable, match="address"):  # an address that is not this machine's
                await get("127.0.0.1", port, "a", local_address="192.0.2.1")

    asyncio.run(run())


def test_an_unknown_server_name_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def run() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
        for get in (http_get, tftp_get):
            with pytest.raises(Unreachable, match="not known"):
                await get("nowhere.invalid", 6970, "a")

    asyncio.run(run())


def web_server(behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Any:
    """An async context manager: a server of one behaviour; gives its port."""

    @contextlib.asynccontextmanager
    async def running() -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await reader.readuntil(b"\r\n\r\n")
                await behave(reader, writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()

    return running()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "closed before"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", "broke off after 5 bytes"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "answered 503"),
        (b"\0" * 1000, "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", "announces 1000000000000 bytes"),
    ],
)
def test_a_web_server_that_answers_wrongly_is_unreachable(said: bytes, why: str) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async def run() -> None:
        async with web_server(behave) as port:
            with pytest.raises(Unreachable, match=why):
                await http_get("127.0.0.1", port, "a")

    asyncio.run(run())


def test_a_web_server_that_never_ends_is_left_in_time_and_within_bounds() -> None:
    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(10_000))
            await writer.drain()

    async def run() -> None:
        async with web_server(dawdle) as port:
            with pytest.raises(Unreachable, match=r"no whole answer within 0\.2 s"):
                await http_get("127.0.0.1", port, "a", timeout=0.2)
        async with web_server(flood) as port:
            with pytest.raises(Unreachable, match="more than the 50000 bytes"):
                await http_get("127.0.0.1", port, "a", max_bytes=50_000)

    asyncio.run(run())


class Datagrams(asyncio.DatagramProtocol):
    """A TFTP server of one behaviour: given a packet and the number it came as, it says what to answer."""

    def __init__(self, behave: Callable[[bytes, int], list[bytes]]) -> None:
        self.behave = behave
        self.received: list[bytes] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append(data)
        for answer in self.behave(data, len(self.received)):
            self.transport.sendto(answer, addr)


def fetched(behave: Callable[[bytes, int], list[bytes]], **options: Any) -> tuple[bytes | None, list[bytes]]:
    """What tftp_get gets from a server of this behaviour, and what it sent."""

    async def run() -> tuple[bytes | None, list[bytes]]:
        server = Datagrams(behave)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: server, local_addr=("127.0.0.1", 0)
        )
        try:
            host, port = transport.get_extra_info("sockname")
            async with asyncio.timeout(5):
                got = await tftp_get(host, port, "a", **{"timeout": 0.05, "tries": 3, **options})
            await asyncio.sleep(0.02)
            return got, server.received
        finally:
            transport.close()

    return asyncio.run(run())


def test_options_a_server_refuses_are_left_out_in_a_second_try() -> None:
    def behave(data: bytes, number: int) -> list[bytes]:
        packet = decode(data)
        if isinstance(packet, ReadRequest):
            return [encode(Error(8, "no options")) if packet.options else encode(Data(1, b"plain"))]
        return []

    got, sent = fetched(behave)
    assert got == b"plain"
    assert [decode(data) for data in sent[1:]] == [ReadRequest("a"), Ack(1)]


def test_another_error_is_somebody_who_says_no() -> None:
    with pytest.raises(Refused, match=r"error 2: 'Access violation'"):
        fetched(lambda data, number: [encode(Error(2, "Access violation"))])
    assert fetched(lambda data, number: [encode(Error(1, "File not found"))])[0] is None


def test_lost_packets_are_sent_again() -> None:
    def behave(data: bytes, number: int) -> list[bytes]:
        return {3: [encode(Data(1, bytes(512)))], 5: [encode(Data(2, b"end"))]}.get(number, [])

    got, sent = fetched(behave, blksize=None)
    assert got == bytes(512) + b"end"
    assert sent == [encode(ReadRequest("a"))] * 3 + [encode(Ack(1))] * 2 + [encode(Ack(2))]


@pytest.mark.parametrize(
    "chatter",
    [b"", b"\0", b"\0\4\0\0", encode(OptionAck(())), encode(OptionAck((("tsize", "5"),))), b"\0\3\0\2x"],
)
def test_a_server_that_chatters_without_sending_the_file_is_left(chatter: bytes) -> None:
    def behave(data: bytes, number: int) -> list[bytes]:
        return [chatter] * 3

    with pytest.raises(Unreachable, match="no answer to 3 tries"):
        fetched(behave)


def test_a_server_that_repeats_one_block_for_ever_is_left() -> None:
    with pytest.raises(Unreachable, match="no answer"):
        fetched(lambda data, number: [encode(Data(1, bytes(512)))] if number < 500 else [])


def test_a_server_that_sends_more_than_wanted_is_told_and_left() -> None:
    sent: list[bytes] = []

    def behave(data: bytes, number: int) -> list[bytes]:
        sent.append(data)
        return [encode(Data(number, bytes(512)))]

    with pytest.raises(Unreachable, match="more than the 2000 bytes"):
        fetched(behave, max_bytes=2000)
    assert len(sent) <= 5


def test_packets_of_strangers_do_not_disturb_and_are_told_so() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        client: Any = None
        server = Datagrams(lambda data, number: [])
        transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
        host, port = transport.get_extra_info("sockname")
        answers: list[Any] = []
        stranger = Datagrams(lambda data, number: [])
        await loop.create_datagram_endpoint(lambda: stranger, local_addr=("127.0.0.1", 0))
        elsewhere = Datagrams(lambda data, number: [])
        await loop.create_datagram_endpoint(lambda: elsewhere, local_addr=("127.0.0.9", 0))

        def serve(data: bytes, addr: Any) -> None:
            nonlocal client
            client = addr
            answers.append(decode(data))
            elsewhere.transport.sendto(encode(Data(1, b"forged")), addr)
            if len(answers) == 1:
                server.transport.sendto(encode(Data(1, bytes(512))), addr)
                stranger.transport.sendto(encode(Data(2, b"forged")), addr)
                stranger.transport.sendto(encode(Error(0, "forged")), addr)
                loop.call_later(0.03, server.transport.sendto, encode(Data(2, b"end")), addr)

        server.datagram_received = serve  # type: ignore[method-assign]
        assert await tftp_get(host, port, "a", blksize=None) == bytes(512) + b"end"
        await asyncio.sleep(0.02)
        assert answers == [ReadRequest("a"), Ack(1), Ack(2)]
        assert [decode(data) for data in stranger.received] == [Error(5, "unknown transfer")]
        assert elsewhere.received == []
        for each in (server, stranger, elsewhere):
            each.transport.close()

    asyncio.run(run())


def test_a_download_that_is_cancelled_lets_go_of_its_port() -> None:
    async def run() -> None:
        port = closed_port(socket.SOCK_DGRAM)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(tftp_get("127.0.0.1", port, "a", local_address="127.30.9.9"), 0.05)
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
