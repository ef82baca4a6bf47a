"""A node's TFTP server: reads only, many transfers over two sockets.

RFC 1350 identifies a transfer by the two ends' transfer identifiers (UDP ports); most servers open a socket, or
start a process, for each. Here one second socket carries all transfers of a listener, told apart by the client's
address and port, which is what makes thousands of phones at once cheap: an ACK costs one receive, one dictionary
look-up and one send. It is drained until it is empty each time the loop finds it readable, and one sweep looks after
all time-outs.

Listen on one address, not on all, where a machine has several: answers leave from the address that is bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from dataclasses import dataclass
from functools import lru_cache

from trustbridge.clients.addresses import numeric, port_taken
from trustbridge.errors import DecodeError, TrustbridgeError
from trustbridge.services.files import FileSource, name_refusal
from trustbridge.wire import tftp
from trustbridge.wire.tftp import ErrorCode, Opcode

_log = logging.getLogger(__name__)

# A client's address as the socket gives it: (host, port), or four values for IPv6.
_Client = tuple[str, int] | tuple[str, int, int, int]

# The path of one ACK and the block it asks for runs 100,000 times a second and more: what it looks up is kept flat.
_HEADER = struct.Struct(">HH")
_pack_header = _HEADER.pack
_unpack_header = _HEADER.unpack
_DATA = int(Opcode.DATA)
_ACK = int(Opcode.ACK)
_ERROR = Opcode.ERROR.to_bytes(2)

# Other work of the loop gets its turn after so many.
_PACKETS_AT_ONCE = 128
# A whole fleet may boot at once. The kernel's limit may be lower, and then it is what holds.
_BUFFER_BYTES = 2**21
# Only an ACK's four bytes matter, and that a packet is longer than that.
_RECEIVE_BYTES = 64
_LONGEST_TICK = 0.1


@dataclass(frozen=True, slots=True)
class TftpLimits:
    """Bounds of one server.

    Attributes:
        max_transfers: files on their way at once; further requests go unanswered, and clients repeat them.
        max_bytes: content held for all transfers together, counted once for each.
        max_blksize: the largest block agreed to, 8 to 65464 bytes.
        max_windowsize: the largest window agreed to, in blocks.
        timeout: seconds until a packet is sent again, unless the client's option says otherwise.
        tries: how often a packet is sent before the transfer is given up.
    """

    max_transfers: int = 4096
    max_bytes: int = 256 * 2**20
    max_blksize: int = tftp.MAX_BLKSIZE
    max_windowsize: int = 64
    timeout: float = 1.0
    tries: int = 5


@dataclass(slots=True)
class Counters:
    """What a server has done since it started.

    Attributes:
        requests: read and write requests that arrived whole.
        completed: files whose last block was acknowledged.
        bytes: content of those files.
        retransmits: packets sent again because no ACK came in time.
        errors: ERROR packets sent.
        abandoned: transfers given up: the client fell silent, said ERROR, or asked anew.
        busy: requests left unanswered because a limit was reached; the client will ask again.
    """

    requests: int = 0
    completed: int = 0
    bytes: int = 0
    retransmits: int = 0
    errors: int = 0
    abandoned: int = 0
    busy: int = 0


@dataclass(slots=True)
class _Transfer:
    """One file on its way. Blocks are counted from 1 without wrapping; block 0 is the OACK."""

    client: _Client
    content: bytes
    blksize: int
    windowsize: int
    timeout: float
    last: int
    acked: int  # the highest block acknowledged; -1 while the OACK is not
    sent: int  # the last block sent; goes back to `acked` when packets have to be sent again
    highest: int  # the highest block ever sent: what an ACK may be about
    oack: bytes
    deadline: float
    tries: int = 1


@lru_cache(1024)  # the phones of a fleet ask alike
def _terms(options: tftp.Options, size: int, max_blksize: int, max_windowsize: int) -> tuple[tftp.Terms, bytes]:
    """What to agree to, and the OACK that says so; empty when there is none to send."""
    terms = tftp.negotiate(options, size, max_blksize=max_blksize, max_windowsize=max_windowsize)
    return terms, tftp.encode(tftp.OptionAck(terms.accepted)) if terms.accepted else b""


class TftpServer:
    """Made by `start_tftp`; serves until `stop()`."""

    def __init__(
        self,
        source: FileSource,
        listener: socket.socket,
        carrier: socket.socket,
        limits: TftpLimits,
    ) -> None:
        self.counters = Counters()
        self._source = source
        self._listener = listener
        self._carrier = carrier
        self._sendto = carrier.sendto
        self._limits = limits
        self._transfers: dict[_Client, _Transfer] = {}
        self._held_bytes = 0
        self._stalled: dict[_Client, _Transfer] = {}  # those waiting until the carrier can be written again
        self._tick = min(_LONGEST_TICK, limits.timeout / 4)
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener, self._request_waiting)
        self._loop.add_reader(carrier, self._packets_waiting)
        host, port = listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)

    @property
    def transfers(self) -> int:
        """How many files are on their way."""
        return len(self._transfers)

    async def stop(self) -> None:
        """Stop serving; transfers end where they are. May be called again."""
        for sock in (self._listener, self._carrier):
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock)
                self._loop.remove_writer(sock)
                sock.close()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None
        self._transfers.clear()
        self._stalled.clear()
        self._held_bytes = 0

    # Requests, on the well-known port

    def _request_waiting(self) -> None:
        # One at a time: the source may need a millisecond for a file, and ACKs should not wait for a whole fleet's.
        try:
            data, client = self._listener.recvfrom(tftp.MAX_REQUEST + 1)
        except OSError:  # an ICMP message about an earlier packet, or nothing after all
            return
        self._request(data, client)

    def _request(self, data: bytes, client: _Client) -> None:
        if data[:2] == _ERROR:
            return  # An ERROR is never answered: two servers could go on for ever.
        if len(data) > tftp.MAX_REQUEST:
            self._refuse(client, ErrorCode.ILLEGAL_OPERATION, f"request over {tftp.MAX_REQUEST} bytes")
            return
        try:
            packet = tftp.decode(data)
        except DecodeError as error:
            self._refuse(client, ErrorCode.ILLEGAL_OPERATION, error.what)
            return
        match packet:
            case tftp.ReadRequest():
                self.counters.requests += 1
                self._read(packet, client)
            case tftp.WriteRequest():
                self.counters.requests += 1
                self._refuse(client, ErrorCode.ACCESS_VIOLATION, "this server only sends files")
            case _:
                self._refuse(client, ErrorCode.ILLEGAL_OPERATION, "no request")

    def _read(self, request: tftp.ReadRequest, client: _Client) -> None:
        if client in self._transfers:
            # The same client port asks again: it has given up what it asked for before, or saw no answer yet.
            self._end(client)
            self.counters.abandoned += 1
        refusal = name_refusal(request.filename)
        if refusal is not None:
            self._refuse(client, ErrorCode.ACCESS_VIOLATION, refusal)
            return
        mode = request.mode.lower()
        if mode not in ("octet", "netascii"):
            self._refuse(client, ErrorCode.ILLEGAL_OPERATION, "modes here are octet and netascii")
            return
        if len(self._transfers) >= self._limits.max_transfers:
            self.counters.busy += 1
            return
        try:
            content = self._source(request.filename)
        except Exception as error:  # whatever a source does, the other phones are served
            if isinstance(error, TrustbridgeError):
                _log.warning("TFTP: %s for %s: %s", request.filename, client[0], error)
            else:
                _log.exception("TFTP: %s for %s", request.filename, client[0])
            self._refuse(client, ErrorCode.OTHER, "the server could not make this file")
            return
        if content is None:
            self._refuse(client, ErrorCode.FILE_NOT_FOUND, "file not found")
            return
        self._begin(client, request, tftp.netascii(content) if mode == "netascii" else content)

    def _begin(self, client: _Client, request: tftp.ReadRequest, content: bytes) -> None:
        size = len(content)
        if size > self._limits.max_bytes:
            self._refuse(client, ErrorCode.OTHER, "file too large for this server")
            return
        if self._held_bytes + size > self._limits.max_bytes:
            self.counters.busy += 1
            return
        terms, oack = _terms(request.options, size, self._limits.max_blksize, self._limits.max_windowsize)
        timeout = self._limits.timeout if terms.timeout is None else terms.timeout
        acked = -1 if oack else 0
        transfer = _Transfer(
            client=client,
            content=content,
            blksize=terms.blksize,
            windowsize=terms.windowsize,
            timeout=timeout,
            # Fewer bytes than blksize end a file, so an exact multiple ends with an empty block.
            last=size // terms.blksize + 1,
            acked=acked,
            sent=acked,
            highest=acked,
            oack=oack,
            deadline=self._loop.time() + timeout,
        )
        self._transfers[client] = transfer
        self._held_bytes += size
        self._send_window(transfer)
        if self._sweep_handle is None:
            self._sweep_handle = self._loop.call_later(self._tick, self._sweep)

    def _refuse(self, client: _Client, code: ErrorCode, message: str) -> None:
        self.counters.errors += 1
        with contextlib.suppress(OSError):  # lost like any datagram: the client asks again
            self._sendto(tftp.encode(tftp.Error(code, message)), client)

    # Transfers, on the carrier

    def _packets_waiting(self) -> None:
        recvfrom = self._carrier.recvfrom
        find = self._transfers.get
        send_window = self._send_window
        now = self._loop.time()
        for _ in range(_PACKETS_AT_ONCE):
            try:
                data, client = recvfrom(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue
            transfer = find(client)
            if transfer is None or len(data) != 4:
                self._stray(data, client, transfer)
                continue
            opcode, block = _unpack_header(data)
            if opcode != _ACK:
                self._stray(data, client, transfer)
                continue
            acked = transfer.acked
            ahead = (block - acked) & 0xFFFF
            # A repeated ACK (0 ahead) is never answered: doing so doubles every packet from there on, the
            # sorcerer's apprentice of RFC 1123, section 4.2.3.1. If a packet was lost, the sweep sends it again.
            if not 0 < ahead <= transfer.highest - acked:
                continue
            acked += ahead
            if acked == transfer.last:
                self.counters.completed += 1
                self.counters.bytes += len(transfer.content)
                self._end(client)
                continue
            # In a window, an ACK below what was sent says that what follows it was lost (RFC 7440, section 4).
            transfer.acked = transfer.sent = acked
            transfer.tries = 1
            transfer.deadline = now + transfer.timeout
            send_window(transfer)

    def _stray(self, data: bytes, client: _Client, transfer: _Transfer | None) -> None:
        """A packet that is no ACK of a transfer."""
        if data[:2] == _ERROR:
            if transfer is not None:
                self._end(client)
                self.counters.abandoned += 1
        elif transfer is None:
            self._refuse(client, ErrorCode.UNKNOWN_TRANSFER, "unknown transfer")
        else:
            # The transfer stays: this may be somebody else's packet under the client's address.
            self._refuse(client, ErrorCode.ILLEGAL_OPERATION, "only ACK and ERROR belong here")

    def _send_window(self, transfer: _Transfer) -> None:
        """Send what the window has room for: the OACK, or the blocks after the last one sent."""
        client, blksize, sent = transfer.client, transfer.blksize, transfer.sent
        if sent < 0:
            end = 0
        else:
            end = transfer.acked + transfer.windowsize
            if end > transfer.last:
                end = transfer.last
        while sent < end:
            start = sent * blksize
            sent += 1
            if sent:
                packet = _pack_header(_DATA, sent & 0xFFFF) + transfer.content[start : start + blksize]
            else:
                packet = transfer.oack
            try:
                self._sendto(packet, client)
            except BlockingIOError:
                if not self._stalled:
                    self._loop.add_writer(self._carrier, self._writable)
                self._stalled[client] = transfer
                return
            except OSError:  # no route just now, say: as lost as any datagram, and sent again in time
                pass
            transfer.sent = sent
            if sent > transfer.highest:
                transfer.highest = sent

    def _writable(self) -> None:
        """The carrier's buffer has room again: go on where `_send_window` stopped."""
        waiting, self._stalled = self._stalled, {}
        self._loop.remove_writer(self._carrier)
        for client, transfer in waiting.items():
            if self._transfers.get(client) is transfer:
                self._send_window(transfer)

    def _end(self, client: _Client) -> None:
        self._held_bytes -= len(self._transfers.pop(client).content)

    def _sweep(self) -> None:
        """Send again what was not acknowledged in time; give up on clients that stay silent.

        One pass over all transfers ten times a second costs less than a timer each that every ACK moves: a
        third of a millisecond for the 4096 of the default limit.
        """
        now = self._loop.time()
        for transfer in [transfer for transfer in self._transfers.values() if transfer.deadline <= now]:
            if transfer.tries >= self._limits.tries:
                self._end(transfer.client)
                self.counters.abandoned += 1
                continue
            transfer.tries += 1
            transfer.deadline = now + transfer.timeout
            transfer.sent = transfer.acked
            self._send_window(transfer)
            self.counters.retransmits += transfer.sent - transfer.acked
        self._sweep_handle = self._loop.call_later(self._tick, self._sweep) if self._transfers else None


_DEFAULT_LIMITS = TftpLimits()


async def start_tftp(
    source: FileSource,
    *,
    host: str = "127.0.0.1",
    port: int = 69,
    limits: TftpLimits = _DEFAULT_LIMITS,
    reuse_port: bool = False,
) -> TftpServer:
    """Serve `source` over TFTP.

    Args:
        source: gives the files; called from the event loop.
        host: one local address, or a name of it.
        port: UDP; 0 takes a free one (see the server's `address`).
        limits: bounds on what clients can ask of it.
        reuse_port: let several processes share the port (SO_REUSEPORT); each carries the transfers it was given.

    Raises:
        PortTaken: the address or port can't be had.
    """
    sockets: list[socket.socket] = []
    try:
        address = await numeric(host)
        for number in (port, 0):
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
            sockets.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            if reuse_port and not sockets[1:]:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((address, number))
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise port_taken("TFTP over UDP", host, port, error) from error
    return TftpServer(source, sockets[0], sockets[1], limits)
