"""The TFTP server, on free ports, with a client that can be told to misbehave and a network that loses packets."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from trustbridge.clients.fetch import tftp_get
from trustbridge.errors import PortTaken, TrustbridgeError
from trustbridge.services.tftp import TftpLimits, TftpServer, start_tftp
from trustbridge.wire.tftp import Ack, Data, Error, OptionAck, Packet, ReadRequest, WriteRequest, decode, encode

CONTENT = random.Random(7).randbytes(10240)
FILES = {"ITLFile.tlv": CONTENT, "empty": b"", "sub/a.xml": b"<a/>\r\n", "exact": CONTENT[:1024]}
QUICK = TftpLimits(timeout=0.08, tries=3)


def source(name: str) -> bytes | None:
    """Files of these tests."""
    return FILES.get(name)


class Peer:
    """A client that sends what it is told and shows what it gets."""

    def __init__(self, server: TftpServer, host: str = "127.0.0.1") -> None:
        self.server = server.address
        self.carrier: Any = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))

    def ask(self, name: str, mode: str = "octet", **options: object) -> None:
        """A read request."""
        self.request(ReadRequest(name, mode, tuple((key, str(value)) for key, value in options.items())))

    def request(self, packet: Packet | bytes) -> None:
        """Send to the well-known port."""
        self.socket.sendto(packet if isinstance(packet, bytes) else encode(packet), self.server)

    def send(self, packet: Packet | bytes) -> None:
        """Send to where the last packet came from."""
        self.socket.sendto(packet if isinstance(packet, bytes) else encode(packet), self.carrier)

    async def get(self, wait: float = 2.0) -> Packet:
        """The next packet."""
        loop = asyncio.get_running_loop()
        data, self.carrier = await asyncio.wait_for(loop.sock_recvfrom(self.socket, 70000), wait)
        return decode(data)

    async def silence(self, wait: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        try:
            await self.get(wait)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        """Let go of the port."""
        self.socket.close()


def served(
    test: Callable[[TftpServer, Peer], Awaitable[None]],
    *,
    files: Callable[[str], bytes | None] = source,
    limits: TftpLimits | None = None,
) -> TftpServer:
    """Run a test with a server and a peer; the server as it was at the end."""

    async def run() -> TftpServer:
        server = await start_tftp(files, port=0, limits=limits or TftpLimits())
        peer = Peer(server)
        try:
            await test(server, peer)
        finally:
            peer.close()
            await server.stop()
        return server

    return asyncio.run(run())


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_files_of_every_size_around_a_block_arrive_whole(runner: Callable[[Any], None]) -> None:
    sizes = [0, 1, 7, 8, 9, 511, 512, 513, 1024, 1025, 10240]

    async def run() -> None:
        server = await start_tftp(lambda name: CONTENT[: int(name)], port=0)
        for size in sizes:
            for blksize in (None, 8, 512, 1024, 65464):
                got = await tftp_get(*server.address, str(size), blksize=blksize)
                assert got == CONTENT[:size], (size, blksize)
        await asyncio.sleep(0.02)
        assert server.transfers == 0
        assert server.counters.completed == server.counters.requests == len(sizes) * 5
        assert server.counters.bytes == sum(sizes) * 5
        assert server.counters.errors == server.counters.retransmits == server.counters.abandoned == 0
        await server.stop()

    runner(run())


def test_an_exact_multiple_of_the_block_size_ends_with_an_empty_block() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("exact")
        for block, content in ((1, CONTENT[:512]), (2, CONTENT[512:1024]), (3, b"")):
            assert await peer.get() == Data(block, content)
            peer.send(Ack(block))
        assert await peer.silence()
        assert server.transfers == 0

    served(test)


def test_all_options_are_negotiated_and_acknowledged_in_the_clients_spelling() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv", TSIZE=0, blksize=1428, unknown=1, timeout=3, windowsize=2)
        assert await peer.get() == OptionAck(
            (("TSIZE", "10240"), ("blksize", "1428"), ("timeout", "3"), ("windowsize", "2"))
        )
        peer.send(Ack(0))
        assert await peer.get() == Data(1, CONTENT[:1428])
        assert await peer.get() == Data(2, CONTENT[1428:2856])
        assert await peer.silence()

    served(test)


def test_a_request_with_no_option_the_server_knows_is_answered_with_data_at_once() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv", multicast="", blksize=3)
        assert await peer.get() == Data(1, CONTENT[:512])

    served(test)


def test_blocks_that_are_not_acknowledged_are_sent_again_and_then_given_up() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv")
        assert await peer.get() == Data(1, CONTENT[:512])
        peer.send(Ack(1))
        begin = time.monotonic()
        assert [await peer.get() for _ in range(QUICK.tries)] == [Data(2, CONTENT[512:1024])] * QUICK.tries
        assert time.monotonic() - begin >= QUICK.timeout * (QUICK.tries - 1)
        assert server.transfers == 1
        assert await peer.silence(QUICK.timeout * 2)
        assert server.transfers == 0
        # Given up means forgotten: a late ACK is a stranger's.
        peer.send(Ack(2))
        assert isinstance(answer := await peer.get(), Error)
        assert answer.code == 5

    server = served(test, limits=QUICK)
    assert server.counters.retransmits == QUICK.tries - 1
    assert server.counters.abandoned == 1
    assert server.counters.completed == 0


def test_every_block_has_all_its_tries() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("exact")
        for block in (1, 2, 3):
            for _ in range(2):
                assert isinstance(packet := await peer.get(), Data)
                assert packet.block == block
            peer.send(Ack(block))
        assert await peer.silence(0.03)

    assert served(test, limits=TftpLimits(timeout=0.2, tries=2)).counters.completed == 1


def test_an_option_acknowledgement_that_is_not_acknowledged_is_sent_again() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv", tsize=0)
        assert await peer.get() == await peer.get() == OptionAck((("tsize", "10240"),))
        peer.send(Ack(0))
        assert await peer.get() == Data(1, CONTENT[:512])

    assert served(test, limits=QUICK).counters.retransmits == 1


def test_a_timeout_the_client_chose_holds_instead_of_the_servers() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv", timeout=1)
        assert await peer.get() == OptionAck((("timeout", "1"),))
        assert await peer.silence(QUICK.timeout * 4)
        assert await peer.get() == OptionAck((("timeout", "1"),))

    served(test, limits=QUICK)


def test_repeated_acknowledgements_do_not_multiply_the_packets() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv")
        blocks = []
        while True:
            packet = await peer.get()
            assert isinstance(packet, Data)
            blocks.append(packet.block)
            for _ in range(3):
                peer.send(Ack(packet.block))
            if len(packet.data) < 512:
                break
        assert blocks == list(range(1, 22))

    assert served(test).counters.retransmits == 0


def test_acknowledgements_of_blocks_not_sent_move_nothing() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv")
        assert await peer.get() == Data(1, CONTENT[:512])
        for block in (2, 3, 0, 65535, 32768):
            peer.send(Ack(block))
        assert await peer.silence()
        peer.send(Ack(1))
        assert await peer.get() == Data(2, CONTENT[512:1024])

    served(test)


def test_a_window_is_sent_at_once_and_goes_back_to_what_was_lost() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        async def blocks(count: int) -> list[int]:
            packets = [await peer.get() for _ in range(count)]
            assert await peer.silence(0.03)
            return [packet.block for packet in packets if isinstance(packet, Data)]

        peer.ask("ITLFile.tlv", windowsize=4)
        assert await peer.get() == OptionAck((("windowsize", "4"),))
        peer.send(Ack(0))
        assert await blocks(4) == [1, 2, 3, 4]
        peer.send(Ack(4))
        assert await blocks(4) == [5, 6, 7, 8]
        peer.send(Ack(6))  # 7 was lost
        assert await blocks(4) == [7, 8, 9, 10]
        peer.send(Ack(6))  # said again: answering would double the window from here on
        assert await peer.silence(0.05)
        peer.send(Ack(8))  # late, but true
        assert await blocks(4) == [9, 10, 11, 12]
        for last in (12, 16, 20):
            peer.send(Ack(last))
            if last < 20:
                assert await blocks(4) == [last + 1, last + 2, last + 3, last + 4]
        assert await peer.get() == Data(21, b"")
        peer.send(Ack(21))
        assert await peer.silence(0.03)
        assert server.transfers == 0

    served(test)


def test_a_window_of_which_nothing_arrived_is_sent_again_whole() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv", windowsize=3)
        await peer.get()
        peer.send(Ack(0))
        blocks = [await peer.get() for _ in range(6)]
        assert blocks[:3] == blocks[3:]
        peer.send(Ack(3))
        assert await peer.get() == Data(4, CONTENT[1536:2048])

    assert served(test, limits=QUICK).counters.retransmits == 3


def test_block_numbers_begin_again_after_65535() -> None:
    content = random.Random(1).randbytes(8 * 65540 + 3)

    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("big", blksize=8, windowsize=64)
        await peer.get()
        peer.send(Ack(0))
        received = bytearray()
        expected = 0
        while True:
            packet = await peer.get()
            assert isinstance(packet, Data)
            if packet.block != (expected + 1) & 0xFFFF:
                continue  # lost for want of room, and sent again after the ACK below
            expected += 1
            received += packet.data
            if len(packet.data) < 8 or expected % 64 == 0:
                peer.send(Ack(packet.block))
            if len(packet.data) < 8:
                break
        assert received == content
        assert expected == 65541

    served(test, files=lambda _: content)


def test_a_carrier_that_is_full_goes_on_when_there_is_room() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        sendto = server._sendto
        refusals = iter([False, True, False, True, True] + [False] * 100)

        def full_at_times(data: bytes, client: Any) -> int:
            if next(refusals):
                raise BlockingIOError
            return sendto(data, client)

        server._sendto = full_at_times  # type: ignore[assignment]  # stands in for a network that is slower
        peer.ask("ITLFile.tlv", windowsize=8)
        assert await peer.get() == OptionAck((("windowsize", "8"),))
        peer.send(Ack(0))
        packets = [await peer.get() for _ in range(8)]
        assert packets == [Data(n + 1, CONTENT[512 * n : 512 * (n + 1)]) for n in range(8)]

    assert served(test).counters.retransmits == 0


def test_a_new_request_from_the_same_client_port_begins_anew() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv")
        await peer.get()
        peer.send(Ack(1))
        assert await peer.get() == Data(2, CONTENT[512:1024])
        peer.ask("exact")
        assert await peer.get() == Data(1, CONTENT[:512])
        assert server.transfers == 1
        peer.send(Ack(1))
        assert await peer.get() == Data(2, CONTENT[512:1024])
        peer.send(Ack(2))
        assert await peer.get() == Data(3, b"")

    assert served(test).counters.abandoned == 1


def test_a_stranger_is_told_so_and_the_transfer_goes_on() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv")
        await peer.get()
        stranger = Peer(server)
        stranger.carrier = peer.carrier
        stranger.send(Ack(1))
        assert isinstance(answer := await stranger.get(), Error)
        assert answer.code == 5
        stranger.send(Error(0, "an error is never answered"))
        assert await stranger.silence()
        stranger.close()
        assert await peer.silence(0.01)
        peer.send(Ack(1))
        assert await peer.get() == Data(2, CONTENT[512:1024])

    served(test)


def test_two_servers_in_one_loop_answer_from_their_own_addresses() -> None:
    async def run() -> None:
        first = await start_tftp(lambda _: b"first", host="127.0.0.2", port=0)
        second = await start_tftp(lambda _: b"second", host="127.0.0.3", port=first.address[1])
        peer = Peer(first)
        peer.ask("x")
        assert await peer.get() == Data(1, b"first")
        assert peer.carrier[0] == "127.0.0.2"
        peer.server = second.address
        peer.ask("x")
        assert await peer.get() == Data(1, b"second")
        assert peer.carrier[0] == "127.0.0.3"
        # One client port may have a transfer with each.
        assert (first.transfers, second.transfers) == (1, 1)
        peer.close()
        await first.stop()
        await second.stop()

    asyncio.run(run())


def test_a_clients_error_ends_the_transfer() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv")
        await peer.get()
        peer.send(Error(0, "enough"))
        assert await peer.silence(QUICK.timeout * 2)
        assert server.transfers == 0

    assert served(test, limits=QUICK).counters.abandoned == 1


def test_what_is_no_acknowledgement_is_refused_and_ends_nothing() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("ITLFile.tlv")
        await peer.get()
        for packet in (b"", b"\0", b"\0\4\0", b"\0\4\0\1\0", b"x" * 70, encode(Data(1, b"")), b"\0\1a\0octet\0"):
            peer.send(packet)
            assert isinstance(answer := await peer.get(), Error)
            assert answer.code == 4
        peer.send(Ack(1))
        assert await peer.get() == Data(2, CONTENT[512:1024])

    served(test)


def never(name: str) -> bytes | None:
    """A source nobody may ask."""
    raise AssertionError(f"the source was asked for {name!r}")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (WriteRequest("ITLFile.tlv"), 2),
        (ReadRequest("../secret"), 2),
        (ReadRequest("a/../../secret"), 2),
        (ReadRequest("/etc/passwd"), 2),
        (ReadRequest("..\\secret"), 2),
        (ReadRequest("a\\b"), 2),
        (ReadRequest(""), 2),
        (ReadRequest("x" * 256), 2),
        (ReadRequest("a\nb"), 2),
        (ReadRequest("caf\udce9"), 2),
        (ReadRequest("ITLFile.tlv", "mail"), 4),
        (ReadRequest("ITLFile.tlv", ""), 4),
        (Ack(1), 4),
        (Data(1, b"x"), 4),
        (OptionAck(()), 4),
        (b"", 4),
        (b"\0\1", 4),
        (b"\0\1no end", 4),
        (b"\0\x09", 4),
        (ReadRequest("x", "octet", (("y", "z" * 520),)), 4),
    ],
)
def test_a_request_that_can_never_be_served_is_refused_unasked(request_: Packet | bytes, code: int) -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.request(request_)
        assert isinstance(answer := await peer.get(), Error)
        assert answer.code == code
        assert answer.message
        assert server.transfers == 0

    assert served(test, files=never).counters.errors == 1


def test_an_error_is_never_answered() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.request(Error(4, "illegal"))
        peer.request(b"\0\5")
        assert await peer.silence()

    assert served(test).counters.errors == 0


def test_a_missing_file_is_error_1() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("CTLFile.tlv", tsize=0)
        assert await peer.get() == Error(1, "file not found")

    served(test)


@pytest.mark.parametrize("failure", [TrustbridgeError("no key"), ValueError("a mistake of ours")])
def test_a_source_that_fails_is_error_0_and_the_next_request_is_served(failure: Exception) -> None:
    def failing(name: str) -> bytes | None:
        if name == "bad":
            raise failure
        return b"good"

    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("bad")
        assert isinstance(answer := await peer.get(), Error)
        assert answer.code == 0
        assert str(failure) not in answer.message
        peer.ask("good")
        assert await peer.get() == Data(1, b"good")

    served(test, files=failing)


def test_netascii_is_served_in_any_case() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peer.ask("text", "NetASCII", tsize=0)
        assert await peer.get() == OptionAck((("tsize", "7"),))
        peer.send(Ack(0))
        assert await peer.get() == Data(1, b"a\r\nb\r\0c")

    served(test, files=lambda _: b"a\nb\rc")


def test_more_transfers_than_the_limit_wait_for_their_turn() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        peers = [Peer(server) for _ in range(3)]
        for each in peers[:2]:
            each.ask("ITLFile.tlv")
            await each.get()
        peers[2].ask("ITLFile.tlv")
        assert await peers[2].silence()
        assert server.counters.busy == 1
        peers[0].send(Error(0, "done"))
        assert await peers[0].silence(0.02)
        peers[2].ask("ITLFile.tlv")
        assert await peers[2].get() == Data(1, CONTENT[:512])
        for each in peers:
            each.close()

    served(test, limits=TftpLimits(max_transfers=2))


def test_content_held_for_transfers_is_bounded() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        first, second = Peer(server), Peer(server)
        first.ask("six")
        assert await first.get() == Data(1, bytes(6))
        second.ask("six")
        assert await second.silence()
        first.send(Ack(1))
        assert await first.silence(0.02)
        second.ask("six")
        assert await second.get() == Data(1, bytes(6))
        peer.ask("eleven")
        assert isinstance(answer := await peer.get(), Error)  # waiting would not help
        assert answer.code == 0
        first.close()
        second.close()

    served(test, files={"six": bytes(6), "eleven": bytes(11)}.get, limits=TftpLimits(max_bytes=10))


def test_a_taken_port_is_named_with_what_to_do() -> None:
    async def test(server: TftpServer, peer: Peer) -> None:
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1 port {server.address[1]}") as taken:
            await start_tftp(source, port=server.address[1])
        assert "stop it" in taken.value.hint
        with pytest.raises(PortTaken, match=r"192\.0\.2\.1") as foreign:
            await start_tftp(source, host="192.0.2.1", port=0)
        assert "no address of this machine" in foreign.value.hint

    served(test)


def test_a_stopped_server_lets_go_of_its_port_and_may_be_stopped_again() -> None:
    async def run() -> None:
        server = await start_tftp(source, port=0)
        peer = Peer(server)
        peer.ask("ITLFile.tlv")
        await peer.get()
        await server.stop()
        await server.stop()
        assert await peer.silence()
        again = await start_tftp(source, port=server.address[1])
        peer.ask("ITLFile.tlv")
        assert await peer.get() == Data(1, CONTENT[:512])
        await again.stop()
        peer.close()

    asyncio.run(run())


def test_processes_can_share_a_port() -> None:
    async def run() -> None:
        servers = [await start_tftp(source, port=0, reuse_port=True)]
        servers.append(await start_tftp(source, port=servers[0].address[1], reuse_port=True))
        got = [await tftp_get(*servers[0].address, "ITLFile.tlv") for _ in range(40)]
        assert got == [CONTENT] * 40
        for server in servers:
            # Each client port goes to one of the two: all to one would be a chance of 2**-39.
            assert server.counters.requests > 0
            await server.stop()

    asyncio.run(run())


class LossyProxy(asyncio.DatagramProtocol):
    """Stands between clients and a server; loses and doubles packets both ways, the same ones in every run."""

    def __init__(self, server: Any, seed: int, loss: float, doubling: float) -> None:
        self.server = server
        self.chance = random.Random(seed)
        self.loss, self.doubling = loss, doubling
        self.behind: dict[Any, LossyProxy.Behind] = {}
        self.lost = 0
        self.transport: Any = None

    class Behind(asyncio.DatagramProtocol):
        """The proxy's face to the server, one for each client."""

        def __init__(self, front: LossyProxy, client: Any) -> None:
            self.front, self.client, self.peer = front, client, front.server
            self.transport: Any = None

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.peer = addr
            self.front.relay(self.front.transport, data, self.client)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        asyncio.ensure_future(self.forward(data, addr))  # noqa: RUF006  (ends within the test)

    async def forward(self, data: bytes, addr: Any) -> None:
        """From a client to the server: requests to its port, the rest to where its answers come from."""
        behind = self.behind.get(addr)
        if behind is None:
            behind = self.behind[addr] = LossyProxy.Behind(self, addr)
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: behind, local_addr=("127.0.0.1", 0))
        if behind.transport is not None:
            self.relay(behind.transport, data, self.server if data[1] == 1 else behind.peer)

    def relay(self, transport: Any, data: bytes, to: Any) -> None:
        """Send it, or not, or twice."""
        draw = self.chance.random()
        if draw < self.loss:
            self.lost += 1
            return
        transport.sendto(data, to)
        if draw > 1 - self.doubling:
            transport.sendto(data, to)

    def close(self) -> None:
        """Let go of all ports."""
        for behind in self.behind.values():
            behind.transport.close()
        self.transport.close()


def test_files_arrive_whole_over_a_network_that_loses_and_doubles_packets() -> None:
    async def run() -> None:
        limits = TftpLimits(timeout=0.05, tries=30)
        server = await start_tftp(source, port=0, limits=limits)
        proxy = LossyProxy(server.address, seed=3, loss=0.15, doubling=0.15)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: proxy, local_addr=("127.0.0.1", 0)
        )
        host, port = transport.get_extra_info("sockname")
        files = await asyncio.gather(
            *(
                tftp_get(host, port, "ITLFile.tlv", blksize=blksize, timeout=0.06, tries=30)
                for blksize in (None, 700, 1024, 1428) * 3
            )
        )
        assert files == [CONTENT] * 12
        assert proxy.lost > 20
        assert server.counters.retransmits > 5
        proxy.close()
        await server.stop()

    asyncio.run(run())


def test_two_hundred_clients_at_once_are_served_without_a_packet_too_many() -> None:
    async def run() -> None:
        server = await start_tftp(source, port=0)
        files = await asyncio.gather(
            *(
                tftp_get(*server.address, "ITLFile.tlv", local_address=f"127.30.0.{n + 1}", timeout=5)
                for n in range(200)
            )
        )
        assert files == [CONTENT] * 200
        assert server.counters.retransmits == server.counters.errors == 0
        await server.stop()

    asyncio.run(run())
