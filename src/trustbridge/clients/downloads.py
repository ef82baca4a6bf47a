"""A phone's side of a download, without I/O: bytes from a server in, bytes to send out, and how it ended.

`HttpAnswer` and `TftpDownload` take any bytes a server may send. Sizes it declares are compared with a limit, never
allocated, and whatever is not a file ends as FAILED, with words that continue "from that server: ...".
"""

from __future__ import annotations

from enum import Enum

import httptools

from trustbridge.errors import DecodeError
from trustbridge.wire import tftp
from trustbridge.wire.tftp import ErrorCode

_MAX_HEADER_BYTES = 32 * 1024


class Outcome(Enum):
    """How a download stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    NOT_FOUND = "not found"
    FAILED = "failed"


class HttpAnswer:
    """Reads one HTTP answer as its bytes arrive.

    Attributes:
        outcome: RUNNING until the answer is decided.
        content: the body so far.
        failure: with FAILED, what was wrong.
    """

    def __init__(self, max_bytes: int) -> None:
        self.outcome = Outcome.RUNNING
        self.content = bytearray()
        self.failure = ""
        self._max_bytes = max_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._header_bytes = 0
        self._headers_complete = False
        self._length_known = False
        self._announced = 0

    def feed(self, data: bytes) -> None:
        """Take more bytes; empty bytes mean that the server has closed."""
        if not data:
            self._closed()
            return
        if not self._headers_complete:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("it changes the protocol")
        except httptools.HttpParserError as error:
            self._fail(f"its answer is no HTTP: {error}")
        if self._header_bytes > _MAX_HEADER_BYTES and not self._headers_complete:
            self._fail(f"its answer has over {_MAX_HEADER_BYTES} bytes of headers")

    def _closed(self) -> None:
        if self._headers_complete and not self._length_known:
            self._decide(Outcome.COMPLETE)  # the old way: the body lasts until the server closes
        elif self._headers_complete:
            self._fail(f"it broke off after {len(self.content)} bytes of content")
        else:
            self._fail("it closed before it had answered")

    def _decide(self, outcome: Outcome) -> None:
        if self.outcome is Outcome.RUNNING:
            self.outcome = outcome

    def _fail(self, why: str) -> None:
        if self.outcome is Outcome.RUNNING:
            self.outcome = Outcome.FAILED
            self.failure = why

    # What httptools calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, whole."""
        name = name.lower()
        if name == b"content-length":
            self._length_known = True
            self._announced = int(value) if value.isdigit() and len(value) < 20 else 0
        elif name == b"transfer-encoding":
            self._length_known = True

    def on_headers_complete(self) -> None:
        """The status is known."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        self._headers_complete = True
        if status == 404:
            self._decide(Outcome.NOT_FOUND)
        elif status != 200:
            self._fail(f"it answered {status}")
        elif self._announced > self._max_bytes:
            self._fail(f"it announces {self._announced} bytes, more than the {self._max_bytes} accepted")

    def on_body(self, body: bytes) -> None:
        """A piece of content."""
        if self.outcome is not Outcome.RUNNING:
            return
        if len(self.content) + len(body) > self._max_bytes:
            self._fail(f"it sends more than the {self._max_bytes} bytes accepted")
        else:
            self.content += body

    def on_message_complete(self) -> None:
        """The end, or that of an interim answer (1xx), which has no headers of interest."""
        if self._headers_complete:
            self._decide(Outcome.COMPLETE)


class TftpDownload:
    """The client's side of one TFTP read.

    Attributes:
        outcome: RUNNING until it is decided.
        content: what has arrived.
        failure: with FAILED, what was wrong.
        packet: what was sent last and is to be sent again when nothing comes: the request, then ACKs.
        error: with FAILED: the server answered with an error, so that somebody is there.
        options_refused: with FAILED: the server does not like the options; another try without may do.
    """

    def __init__(self, name: str, *, blksize: int | None, max_bytes: int) -> None:
        """Ask for `name`, with blocks of `blksize` bytes (8 to 65464), or without options when that is None.

        Raises:
            ValueError: the name has a NUL in it.
        """
        self.outcome = Outcome.RUNNING
        self.content = bytearray()
        self.failure = ""
        self.error = False
        self.options_refused = False
        self._max_bytes = max_bytes
        self._asked = blksize
        self._blksize = tftp.DEFAULT_BLKSIZE
        self._options_agreed = False
        self._blocks = 0  # how many have arrived
        options = () if blksize is None else (("blksize", str(blksize)), ("tsize", "0"))
        self.packet = tftp.encode(tftp.ReadRequest(name, "octet", options))

    def receive(self, data: bytes) -> bytes | None:
        """Take one datagram of the server's; give the datagram that answers it, if any.

        What makes no sense is passed over: the time-out deals with it.
        """
        if self.outcome is not Outcome.RUNNING:
            return None
        try:
            packet = tftp.decode(data)
        except DecodeError:
            if data[:2] != b"\0\5":
                return None
            # Some servers forget the NUL after an ERROR's message, or the message.
            packet = tftp.Error(int.from_bytes(data[2:4]), data[4:200].decode("utf-8", "replace"))
        match packet:
            case tftp.Data(block, content):
                return self._data(block, content)
            case tftp.OptionAck(options) if self._blocks == 0:
                return self._options(options)
            case tftp.Error(code, message):
                self._error(code, message)
        return None

    def _data(self, block: int, content: bytes) -> bytes | None:
        if block == self._blocks & 0xFFFF and self._blocks:
            return self.packet  # once more: the ACK was lost, or is late
        if block != (self._blocks + 1) & 0xFFFF:
            return None
        if len(content) > self._blksize:
            return self._refuse(
                ErrorCode.ILLEGAL_OPERATION, f"it sends a block of {len(content)} bytes, not {self._blksize}"
            )
        if len(self.content) + len(content) > self._max_bytes:
            return self._refuse(ErrorCode.DISK_FULL, f"it sends more than the {self._max_bytes} bytes accepted")
        self.content += content
        self._blocks += 1
        self.packet = tftp.encode(tftp.Ack(block))
        if len(content) < self._blksize:
            self.outcome = Outcome.COMPLETE
        return self.packet

    def _options(self, options: tftp.Options) -> bytes | None:
        for name, value in options:
            match name.lower():
                case "blksize" if self._asked is not None:
                    blksize = tftp.number(value, tftp.MIN_BLKSIZE, self._asked)
                    if blksize is None:
                        return self._refuse(
                            ErrorCode.OPTIONS_REFUSED, f"it wants blocks of {value!r:.40} bytes, unasked"
                        )
                    self._blksize = blksize
                case "tsize" if self._asked is not None:
                    size = tftp.number(value, 0, 2**63)
                    if size is not None and size > self._max_bytes:
                        return self._refuse(
                            ErrorCode.DISK_FULL,
                            f"it announces {size} bytes, more than the {self._max_bytes} accepted",
                        )
                case _:
                    return self._refuse(
                        ErrorCode.OPTIONS_REFUSED, f"it answers an option nobody asked for: {name!r:.40}"
                    )
        self.packet = tftp.encode(tftp.Ack(0))
        return self.packet

    def _error(self, code: int, message: str) -> None:
        if code == ErrorCode.FILE_NOT_FOUND:
            self.outcome = Outcome.NOT_FOUND
            return
        self.error = True
        self.options_refused = code == ErrorCode.OPTIONS_REFUSED and self._asked is not None
        self.give_up(f"it answered error {code}: {message!r:.120}")

    def give_up(self, why: str) -> None:
        """End as FAILED, unless it has ended already."""
        if self.outcome is Outcome.RUNNING:
            self.outcome = Outcome.FAILED
            self.failure = why

    def _refuse(self, code: ErrorCode, why: str) -> bytes:
        self.give_up(why)
        return tftp.encode(tftp.Error(code, "refused"))
