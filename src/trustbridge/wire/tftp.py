"""TFTP packets (RFC 1350) and their options (RFC 2347, 2348, 2349, 7440).

A packet is an opcode u16 and what belongs to it; text is NUL-terminated. Text here is Python text made from UTF-8
with `surrogateescape`, so that a file name in any other encoding survives a round trip byte for byte. The mode and
the options keep the case, order and repetition they came with; what is read from them ignores case, as the RFCs say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from trustbridge.errors import DecodeError

#: Options as they stand in a packet: (name, value) pairs.
Options = tuple[tuple[str, str], ...]

DEFAULT_BLKSIZE = 512  # RFC 1350, section 2
MIN_BLKSIZE = 8  # RFC 2348
MAX_BLKSIZE = 65464  # RFC 2348
MAX_TIMEOUT = 255  # RFC 2349, seconds
MAX_WINDOWSIZE = 65535  # RFC 7440
#: RFC 2347 bounds a request so. Not enforced by the codec: a server chooses what it reads.
MAX_REQUEST = 512

_U16 = struct.Struct(">H")
_TWO_U16 = struct.Struct(">HH")


class Opcode(IntEnum):
    """The first two bytes of a packet."""

    READ_REQUEST = 1
    WRITE_REQUEST = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OPTION_ACK = 6


class ErrorCode(IntEnum):
    """RFC 1350, appendix; OPTIONS_REFUSED is RFC 2347's. Peers may send any other u16 as well."""

    OTHER = 0
    FILE_NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    ILLEGAL_OPERATION = 4
    UNKNOWN_TRANSFER = 5
    FILE_EXISTS = 6
    NO_SUCH_USER = 7
    OPTIONS_REFUSED = 8


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """RRQ: asks for a file. `mode` is `octet` or `netascii` in any case, from careful clients."""

    filename: str
    mode: str = "octet"
    options: Options = ()


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """WRQ: offers a file."""

    filename: str
    mode: str = "octet"
    options: Options = ()


@dataclass(frozen=True, slots=True)
class Data:
    """DATA: block number 0 to 65535 (wrapped in big files) and up to blksize bytes; fewer end the file."""

    block: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """ACK: the block that has arrived, and all before it; 0 answers an OACK."""

    block: int


@dataclass(frozen=True, slots=True)
class Error:
    """ERROR: ends a transfer. `code` is an `ErrorCode`, or any other u16 a peer made up."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class OptionAck:
    """OACK: the options the server accepts, with the values that now hold."""

    options: Options


_REQUESTS: dict[int, type[ReadRequest] | type[WriteRequest]] = {
    Opcode.READ_REQUEST: ReadRequest,
    Opcode.WRITE_REQUEST: WriteRequest,
}

Packet = ReadRequest | WriteRequest | Data | Ack | Error | OptionAck


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one transfer.

    Attributes:
        blksize: bytes in every block but the last.
        windowsize: blocks sent before an ACK is waited for.
        timeout: seconds until a packet is sent again, if the client chose them.
        accepted: the options for the OACK, spelled as the client spelled them; empty: there is none to send.
    """

    blksize: int = DEFAULT_BLKSIZE
    windowsize: int = 1
    timeout: int | None = None
    accepted: Options = ()


def option(options: Options, name: str) -> str | None:
    """The value of the first option of this (lower-case) name in any case, or None."""
    for found, value in options:
        if found.lower() == name:
            return value
    return None


def number(text: str | None, low: int, high: int) -> int | None:
    """A decimal number within `low` to `high`, both included; None for anything else."""
    if text is None or len(text) > 20 or not (text.isascii() and text.isdigit()):
        return None
    value = int(text)
    return value if low <= value <= high else None


def negotiate(
    options: Options, size: int, *, max_blksize: int = MAX_BLKSIZE, max_windowsize: int = MAX_WINDOWSIZE
) -> Terms:
    """A server's decision about the options of a read request for a file of `size` bytes.

    A block or window larger than the limit is talked down, as the RFCs allow; any other value out of its RFC's
    range, an unknown option and a repeated one are left out of the answer, which tells the client that they don't
    hold.
    """
    blksize, windowsize, timeout = DEFAULT_BLKSIZE, 1, None
    accepted: list[tuple[str, str]] = []
    seen: set[str] = set()
    for spelled, value in options:
        name = spelled.lower()
        if name in seen:
            continue
        seen.add(name)
        if name == "blksize":
            # Some clients ask for more than 65464. Talking them down is kinder than falling back to 512.
            asked = number(value, MIN_BLKSIZE, 2**31)
            if asked is None:
                continue
            blksize = min(asked, max_blksize)
            accepted.append((spelled, str(blksize)))
        elif name == "tsize":
            # A read request carries 0; what else it may carry says nothing about the file. Of an empty file
            # nothing is said: curl (7.88) takes a size of 0 for an error and gives up.
            if size and number(value, 0, 2**63) is not None:
                accepted.append((spelled, str(size)))
        elif name == "timeout":
            timeout = number(value, 1, MAX_TIMEOUT)
            if timeout is not None:
                accepted.append((spelled, value))
        elif name == "windowsize":
            asked = number(value, 1, MAX_WINDOWSIZE)
            if asked is None:
                continue
            windowsize = min(asked, max_windowsize)
            accepted.append((spelled, str(windowsize)))
    return Terms(blksize, windowsize, timeout, tuple(accepted))


def netascii(content: bytes) -> bytes:
    """Content in the form of mode netascii (RFC 764's NVT): LF becomes CR LF, a bare CR becomes CR NUL."""
    return content.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


def encode(packet: Packet) -> bytes:
    """The packet as the content of one datagram.

    Raises:
        ValueError: a number that does not fit its field, or text with a NUL in it or that no bytes decode to.
    """
    match packet:
        case Data(block, data):
            return _numbers(Opcode.DATA, block) + data
        case Ack(block):
            return _numbers(Opcode.ACK, block)
        case ReadRequest(filename, mode, options):
            return _U16.pack(Opcode.READ_REQUEST) + _strings(filename, mode, *_flat(options))
        case WriteRequest(filename, mode, options):
            return _U16.pack(Opcode.WRITE_REQUEST) + _strings(filename, mode, *_flat(options))
        case OptionAck(options):
            return _U16.pack(Opcode.OPTION_ACK) + _strings(*_flat(options))
        case Error(code, message):
            return _numbers(Opcode.ERROR, code) + _strings(message)


def decode(data: bytes) -> Packet:
    """One datagram's content.

    Raises:
        DecodeError: not a TFTP packet; the offset is that of the first byte that can't be right, or the length
            when bytes are missing.
    """
    if len(data) < 2:
        raise DecodeError(len(data), f"TFTP packet cut short: {len(data)} of the 2 bytes of its opcode")
    opcode: int = _U16.unpack_from(data)[0]
    kind = _REQUESTS.get(opcode)
    if kind is not None:
        texts = _pull_strings(data, 2)
        if len(texts) < 2:
            missing = "mode" if texts else "file name"
            raise DecodeError(len(data), f"TFTP request without a {missing}")
        return kind(texts[0], texts[1], _pairs(texts[2:], data))
    if opcode == Opcode.DATA:
        return Data(_number_at_2(data, "DATA"), data[4:])
    if opcode == Opcode.ACK:
        block = _number_at_2(data, "ACK")
        if len(data) > 4:
            raise DecodeError(4, f"{len(data) - 4} bytes after the end of the TFTP ACK")
        return Ack(block)
    if opcode == Opcode.ERROR:
        code = _number_at_2(data, "ERROR")
        texts = _pull_strings(data, 4)
        if not texts:
            raise DecodeError(4, "TFTP ERROR without its message")
        if len(texts) > 1:
            end = data.index(0, 4) + 1
            raise DecodeError(end, f"{len(data) - end} bytes after the end of the TFTP ERROR")
        return Error(code, texts[0])
    if opcode == Opcode.OPTION_ACK:
        return OptionAck(_pairs(_pull_strings(data, 2), data))
    raise DecodeError(0, f"unknown TFTP opcode {opcode}")


def _numbers(opcode: Opcode, value: int) -> bytes:
    if not 0 <= value <= 0xFFFF:
        raise ValueError(f"TFTP {opcode.name}: {value} does not fit 16 bits")
    return _TWO_U16.pack(opcode, value)


def _number_at_2(data: bytes, what: str) -> int:
    if len(data) < 4:
        raise DecodeError(len(data), f"TFTP {what} cut short: {len(data)} of 4 bytes")
    value: int = _U16.unpack_from(data, 2)[0]
    return value


def _flat(options: Options) -> list[str]:
    return [text for pair in options for text in pair]


def _strings(*texts: str) -> bytes:
    if not texts:
        return b""
    joined = "\0".join(texts)
    raw = joined.encode("utf-8", "surrogateescape")
    if raw.count(0) != len(texts) - 1:
        raise ValueError(f"a NUL inside TFTP text: {texts!r}")
    # Escaped bytes that together spell valid UTF-8 would come back as another text.
    if not joined.isascii() and raw.decode("utf-8", "surrogateescape") != joined:
        raise ValueError(f"no bytes decode to this TFTP text: {texts!r}")
    return raw + b"\0"


def _pull_strings(data: bytes, start: int) -> list[str]:
    """The NUL-terminated texts that fill `data[start:]` exactly."""
    if start == len(data):
        return []
    if data[-1]:
        last = max(data.rfind(b"\0", start) + 1, start)
        raise DecodeError(last, "TFTP text without the NUL that ends it")
    return data[start:-1].decode("utf-8", "surrogateescape").split("\0")


def _pairs(texts: list[str], data: bytes) -> Options:
    if len(texts) % 2:
        # The offset of the option's name, the last text of the packet.
        at = max(data.rfind(b"\0", 2, len(data) - 1) + 1, 2)
        raise DecodeError(at, f"TFTP option {texts[-1]!r} without a value")
    return tuple(zip(texts[::2], texts[1::2], strict=True))
