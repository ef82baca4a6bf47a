"""The little of SIP (RFC 3261) that a phone's registration needs: messages as values, and a reader for streams.

Headers keep order, spelling, case and the space around their colon, so that `encode(decode(data)) == data` for all
accepted data. Line folding (RFC 3261, 7.3.1) is accepted, kept in `Header.value` as it came, and undone by
`Header.text`. Refused: bare CR or LF, control characters, any version but `SIP/2.0`, a Content-Length that
contradicts itself or the body. Texts are UTF-8; other bytes survive as surrogate escapes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from trustbridge.errors import DecodeError

VERSION = "SIP/2.0"
#: Defaults of a stream reader, in bytes. A phone's REGISTER has about 1500 bytes of headers, and may carry a
#: body of a few kilobytes (RFC 3261 names no limits).
MAX_HEADERS = 16 * 1024
MAX_BODY = 64 * 1024

#: Compact header names (RFC 3261, 7.3.3 and 20), to the long ones in lower case.
COMPACT = {
    "c": "content-type",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "s": "subject",
    "t": "to",
    "v": "via",
}

# Every repetition is possessive: what a stranger sends must not make a pattern try again and again.
WORD = r"[A-Za-z0-9.!%*_+`'~-]++"
# Text of a line: anything but control characters; HTAB is white space in SIP.
_TEXT = r"[^\x00-\x08\x0a-\x1f\x7f]*+"
SPACE = r"[ \t]*+"
_REQUEST_LINE = re.compile(rf"({WORD}) ([^\x00-\x20\x7f]++) SIP/2\.0")
_STATUS_LINE = re.compile(rf"SIP/2\.0 ([1-6][0-9][0-9]) ({_TEXT})")
_HEADER_LINE = re.compile(rf"({WORD})({SPACE}:{SPACE})({_TEXT})")
_CONTINUATION = re.compile(rf"[ \t]{_TEXT}")
_LENGTH = re.compile(r"[0-9]{1,9}")
_CRLF = "\r\n"


class Header(NamedTuple):
    """One header field as it stands on the wire: `name + separator + value`."""

    name: str
    value: str
    separator: str = ": "

    @property
    def text(self) -> str:
        """The value without folding and surrounding white space."""
        return " ".join([line.strip(" \t") for line in self.value.split(_CRLF)]).strip(" ")


class _Message:
    """What requests and responses share."""

    __slots__ = ()
    headers: tuple[Header, ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Texts of all headers of this name, in order; long and compact names are the same, case is ignored."""
        wanted = name.lower()
        wanted = COMPACT.get(wanted, wanted)
        return [header.text for header in self.headers if long_name(header.name) == wanted]

    def first(self, name: str) -> str | None:
        """Text of the first header of this name, or None."""
        found = self.all(name)
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Request(_Message):
    """A request: `method uri SIP/2.0`, headers, body."""

    method: str
    uri: str
    headers: tuple[Header, ...]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response(_Message):
    """A response: `SIP/2.0 code reason`, headers, body."""

    code: int
    reason: str
    headers: tuple[Header, ...]
    body: bytes = b""


class KeepAlive(Enum):
    """What stands between messages on a stream (RFC 5626, 3.5.1)."""

    PING = "double CRLF, to be answered with one CRLF"


def long_name(name: str) -> str:
    lower = name.lower()
    return COMPACT.get(lower, lower) if len(lower) == 1 else lower


def encode(message: Request | Response) -> bytes:
    """The message as bytes.

    Raises:
        ValueError: it holds something that would not read back the same: a line break in a value, a method that
            is not a token, a Content-Length that is not the body's.
    """
    if isinstance(message, Request):
        start = f"{message.method} {message.uri} {VERSION}"
    else:
        start = f"{VERSION} {message.code:03d} {message.reason}"
    lines = [start]
    for header in message.headers:
        lines.append(f"{header.name}{header.separator}{header.value}")
    data = (_CRLF.join(lines) + _CRLF * 2).encode("utf-8", "surrogateescape") + message.body
    try:
        same = decode(data) == message
    except DecodeError as error:
        raise ValueError(f"not a SIP message: {error}") from error
    if not same:
        raise ValueError("not a SIP message: a field holds what belongs to another")
    return data


def decode(data: bytes) -> Request | Response:
    """One whole message; without Content-Length, the body is all that follows the headers (RFC 3261, 18.3).

    Raises:
        DecodeError: not exactly one well-formed message; offsets count from the first byte of `data`.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise DecodeError(len(data), "SIP headers cut short: no empty line ends them")
    message, length = _decode_head(data[:end])
    body_at = end + 4
    there = len(data) - body_at
    if length is not None and there < length:
        raise DecodeError(len(data), f"SIP body cut short: {there} of {length} bytes")
    if length is not None and there > length:
        raise DecodeError(body_at + length, f"{there - length} bytes after the end of the SIP message")
    return _with_body(message, data[body_at:])


def _with_body(message: Request | Response, body: bytes) -> Request | Response:
    if not body:
        return message
    if isinstance(message, Request):
        return Request(message.method, message.uri, message.headers, body)
    return Response(message.code, message.reason, message.headers, body)


def _decode_head(head: bytes) -> tuple[Request | Response, int | None]:
    """Start line and headers (without the empty line): a message without body, and its Content-Length."""
    lines = head.split(b"\r\n")
    start = _text(lines[0])
    at = len(lines[0]) + 2
    headers: list[Header] = []
    length: int | None = None
    for raw in lines[1:]:
        line = _text(raw)
        if line[:1] in (" ", "\t"):
            if not headers or not _CONTINUATION.fullmatch(line):
                raise DecodeError(at, "SIP header line continues nothing, or holds a control character")
            last = headers[-1]
            headers[-1] = Header(last.name, f"{last.value}\r\n{line}", last.separator)
        else:
            match = _HEADER_LINE.fullmatch(line)
            if match is None:
                raise DecodeError(at, "not a SIP header line: a name, a colon and a text without control characters")
            headers.append(Header(match[1], match[3], match[2]))
        at += len(raw) + 2
    at = len(lines[0]) + 2
    for header in headers:
        if long_name(header.name) == "content-length":
            text = header.text
            if not _LENGTH.fullmatch(text) or (length is not None and length != int(text)):
                raise DecodeError(at, "SIP Content-Length is no number up to 999999999, or contradicts an earlier one")
            length = int(text)
        at += len(f"{header.name}{header.separator}{header.value}".encode("utf-8", "surrogateescape")) + 2
    match = _STATUS_LINE.fullmatch(start)
    if match is not None:
        return Response(int(match[1]), match[2], tuple(headers)), length
    match = _REQUEST_LINE.fullmatch(start)
    if match is not None:
        return Request(match[1], match[2], tuple(headers)), length
    raise DecodeError(0, "neither a SIP request line nor a SIP status line")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


class Reader:
    """Collects bytes of a stream as they arrive, in whatever pieces, and gives whole messages.

    On a stream a missing Content-Length means no body: RFC 3261 wants it there, hand-written requests omit it.
    White space between messages is skipped; two line ends in a row are a keep-alive ping.
    """

    def __init__(self, *, max_headers: int = MAX_HEADERS, max_body: int = MAX_BODY) -> None:
        self._data = bytearray()
        self._searched = 0
        self._line_ends = 0
        self._head: tuple[Request | Response, int] | None = None
        self._max_headers = max_headers
        self._max_body = max_body

    @property
    def pending(self) -> bool:
        """Whether a message has begun to arrive and is not whole yet."""
        return self._head is not None or bool(self._data)

    def feed(self, data: bytes) -> Request | Response | KeepAlive | None:
        """Add `data`; give the next whole message, a keep-alive, or None for "not yet".

        Bytes after a message are kept for the next call with b"".

        Raises:
            DecodeError: what has arrived can never become a message, or exceeds a limit; the offset counts from
                the message's first byte. Nothing sensible can follow on this stream.
        """
        self._data += data
        if self._head is None:
            if self._skip_line_end():
                return KeepAlive.PING
            self._head = self._pull_head()
            if self._head is None:
                return None
        message, length = self._head
        if len(self._data) < length:
            return None
        body = bytes(self._data[:length])
        del self._data[:length]
        self._head = None
        return _with_body(message, body)

    def _skip_line_end(self) -> bool:
        """Drop line ends before a message; true after the second in a row."""
        while self._data.startswith(b"\r\n"):
            del self._data[:2]
            self._line_ends += 1
            if self._line_ends == 2:
                self._line_ends = 0
                return True
        if self._data and self._data != b"\r":
            self._line_ends = 0
        return False

    def _pull_head(self) -> tuple[Request | Response, int] | None:
        end = self._data.find(b"\r\n\r\n", self._searched)
        if (len(self._data) if end < 0 else end) > self._max_headers:
            raise DecodeError(self._max_headers, f"SIP headers of more than the {self._max_headers} bytes accepted")
        if end < 0:
            self._searched = max(0, len(self._data) - 3)
            return None
        head = bytes(self._data[:end])
        message, length = _decode_head(head)
        if length is not None and length > self._max_body:
            raise DecodeError(end + 4, f"SIP body of {length} bytes, more than the {self._max_body} accepted")
        del self._data[: end + 4]
        self._searched = 0
        return message, length or 0
