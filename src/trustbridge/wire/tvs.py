"""Messages between a phone and the Trust Verification Service (TLS over TCP 2445).

Source: `wire-formats`, section 3, checked against a public capture of a CP-8861. A message is a 10-byte header
(`0x57`, version 1, message, reserved, session id u32, body length u16) and a body of `tag u8, length u16, value`
elements. Values here keep the elements as they came, so that an unknown tag or an unusual order survives a round
trip byte for byte; what the product reads are properties over them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from trustbridge.errors import DecodeError
from trustbridge.wire.buffer import Element, pull_elements, push_elements, text_value, value_text

PROTOCOL = 0x57
VERSION = 1
HEADER_LENGTH = 10
#: The length field allows more; nothing a phone sends comes near it. A server refuses longer bodies unread.
MAX_REQUEST_BODY = 0x4000

_HEADER = struct.Struct(">BBBBIH")


class Message(IntEnum):
    """The third byte of a message."""

    VERIFY_REQUEST = 1
    VERIFY_RESPONSE = 2
    QUERY_REQUEST = 3
    QUERY_RESPONSE = 4


class Tag(IntEnum):
    """Elements of a body. ISSUER and SERIAL are inferred from one capture."""

    DEVICE_NAME = 1
    CERTIFICATE = 2
    SUBJECT = 3
    ISSUER = 4
    SERIAL = 5
    STATUS = 7
    ROLES = 8
    TIME_TO_LIVE = 9


#: In a device name element a byte 0x01 stands before the ASCII text.
_DEVICE_PREFIX = b"\x01"

STATUS_VALID = 0
STATUS_NOT_VALID = 1

#: What a body must hold, by message. A response that is not valid needs only its status.
_REQUIRED = {
    Message.VERIFY_REQUEST: (Tag.DEVICE_NAME, Tag.CERTIFICATE),
    Message.QUERY_REQUEST: (Tag.DEVICE_NAME, Tag.ISSUER, Tag.SERIAL),
    Message.VERIFY_RESPONSE: (Tag.STATUS,),
    Message.QUERY_RESPONSE: (Tag.STATUS,),
}
_WIDTHS: dict[int, int] = {Tag.STATUS: 1, Tag.TIME_TO_LIVE: 4}


@dataclass(frozen=True, slots=True)
class TvsMessage:
    """Any TVS message.

    Attributes:
        message: which of the four.
        session: 0 to 2**32-1, chosen by the phone and echoed by the server.
        elements: the body, in wire order.
        reserved: the fourth header byte; ours are 0, real servers send garbage.
    """

    message: Message
    session: int
    elements: tuple[Element, ...]
    reserved: int = 0

    def first(self, tag: Tag) -> bytes | None:
        """The value of the first element with this tag, or None."""
        for found, value in self.elements:
            if found == tag:
                return value
        return None

    @property
    def device(self) -> str | None:
        """The phone that asks, such as `CP-8861-SEPB000B4BA0AEE`."""
        value = self.first(Tag.DEVICE_NAME)
        return None if value is None else value.removeprefix(_DEVICE_PREFIX).decode("ascii", "replace")

    @property
    def certificate(self) -> bytes | None:
        """DER of the certificate asked about (verify request) or vouched for (query response)."""
        return self.first(Tag.CERTIFICATE)

    @property
    def subject(self) -> str | None:
        """Subject of the certificate asked about, as text."""
        value = self.first(Tag.SUBJECT)
        return None if value is None else value_text(value)

    @property
    def issuer(self) -> str | None:
        """Issuer of the certificate asked about, as text."""
        value = self.first(Tag.ISSUER)
        return None if value is None else value_text(value)

    @property
    def serial(self) -> int | None:
        """Serial number of the certificate asked about."""
        value = self.first(Tag.SERIAL)
        return None if value is None else int.from_bytes(value)

    @property
    def valid(self) -> bool:
        """Of a response: whether the service vouches for the certificate."""
        return self.first(Tag.STATUS) == bytes([STATUS_VALID])

    @property
    def roles(self) -> tuple[int, ...]:
        """Of a response: the trust-list roles vouched for (0 SAST, 3 TFTP, ...)."""
        return tuple(self.first(Tag.ROLES) or b"")

    @property
    def time_to_live(self) -> int | None:
        """Of a response: seconds a phone may keep the answer."""
        value = self.first(Tag.TIME_TO_LIVE)
        return None if value is None else int.from_bytes(value)


#: `decode` runs for every request: calling the enum costs ten times as much.
_MESSAGES = {int(message): message for message in Message}


def _serial_value(serial: int) -> bytes:
    if serial < 0:
        raise ValueError(f"serial number {serial}: TVS carries them unsigned")
    return serial.to_bytes((serial.bit_length() + 7) // 8 or 1)


def verify_request(session: int, device: str, certificate: bytes) -> TvsMessage:
    """What a phone sends when it holds the certificate (DER), as of an HTTPS server.

    Raises:
        ValueError: the device's name is not ASCII.
    """
    return TvsMessage(
        Message.VERIFY_REQUEST,
        session,
        ((Tag.DEVICE_NAME, _DEVICE_PREFIX + device.encode("ascii")), (Tag.CERTIFICATE, certificate)),
    )


def query_request(session: int, device: str, subject: str, issuer: str, serial: int) -> TvsMessage:
    """What a phone sends when it holds only a signer's names and serial, as from a trust list's header.

    Raises:
        ValueError: the device's name is not ASCII, or the serial number negative.
    """
    return TvsMessage(
        Message.QUERY_REQUEST,
        session,
        (
            (Tag.DEVICE_NAME, _DEVICE_PREFIX + device.encode("ascii")),
            (Tag.SUBJECT, text_value(subject)),
            (Tag.ISSUER, text_value(issuer)),
            (Tag.SERIAL, _serial_value(serial)),
        ),
    )


def response_to(
    request: TvsMessage, *, certificate: bytes | None, roles: tuple[int, ...] = (), time_to_live: int = 0
) -> TvsMessage:
    """The answer to `request`: valid with `certificate` (DER), or not valid when that is None.

    A query's answer carries the certificate, a verify's does not: the phone has it. Elements stand in the order of
    the capture: status, certificate, roles, time to live.

    Raises:
        ValueError: a role does not fit a byte, or the time to live 32 bits.
    """
    if not 0 <= time_to_live <= 0xFFFFFFFF:
        raise ValueError(f"a time to live of {time_to_live} s does not fit 32 bits")
    answer = Message.VERIFY_RESPONSE if request.message is Message.VERIFY_REQUEST else Message.QUERY_RESPONSE
    if certificate is None:
        return TvsMessage(answer, request.session, ((Tag.STATUS, bytes([STATUS_NOT_VALID])),))
    elements: list[Element] = [(Tag.STATUS, bytes([STATUS_VALID]))]
    if answer is Message.QUERY_RESPONSE:
        elements.append((Tag.CERTIFICATE, certificate))
    elements.append((Tag.ROLES, bytes(roles)))
    elements.append((Tag.TIME_TO_LIVE, time_to_live.to_bytes(4)))
    return TvsMessage(answer, request.session, tuple(elements))


def encode(message: TvsMessage) -> bytes:
    """The whole message as bytes, to be written at once: phones stall on an answer split in two.

    Raises:
        ValueError: the body, the session or the reserved byte does not fit its field.
    """
    body = push_elements(message.elements)
    if len(body) > 0xFFFF:
        raise ValueError(f"TVS body of {len(body)} bytes does not fit a 16-bit length")
    try:
        return _HEADER.pack(PROTOCOL, VERSION, message.message, message.reserved, message.session, len(body)) + body
    except struct.error:
        raise ValueError(
            f"TVS session {message.session} or reserved byte {message.reserved} does not fit its field"
        ) from None


def expected_length(data: bytes | bytearray) -> int | None:
    """Length in bytes of the message that `data` begins with; None while its header is not whole.

    Raises:
        DecodeError: the header, as far as it is there, can't be that of a TVS message.
    """
    if data and data[0] != PROTOCOL:
        raise DecodeError(0, f"not a TVS message: protocol byte 0x{data[0]:02x}, expected 0x57")
    if len(data) > 1 and data[1] != VERSION:
        raise DecodeError(1, f"TVS version {data[1]}, expected 1")
    if len(data) > 2 and not 1 <= data[2] <= 4:
        raise DecodeError(2, f"unknown TVS message {data[2]}")
    if len(data) < HEADER_LENGTH:
        return None
    length: int = _HEADER.unpack_from(data)[5]
    return HEADER_LENGTH + length


def decode(data: bytes) -> TvsMessage:
    """One whole message.

    Raises:
        DecodeError: not exactly one well-formed message, or one without an element its kind needs.
    """
    length = expected_length(data)
    if length is None:
        raise DecodeError(len(data), f"TVS header cut short: {len(data)} of {HEADER_LENGTH} bytes")
    if len(data) < length:
        raise DecodeError(len(data), f"TVS body cut short: {len(data)} of {length} bytes")
    if len(data) > length:
        raise DecodeError(length, f"{len(data) - length} bytes after the end of the TVS message")
    _, _, kind, reserved, session, _ = _HEADER.unpack_from(data)
    message = _MESSAGES[kind]
    elements = pull_elements(data, HEADER_LENGTH, length)
    at = HEADER_LENGTH
    present = set()
    for tag, value in elements:
        width = _WIDTHS.get(tag)
        if width is not None and len(value) != width:
            raise DecodeError(at, f"TVS element with tag {tag} has {len(value)} bytes, expected {width}")
        present.add(tag)
        at += 3 + len(value)
    for tag in _REQUIRED[message]:
        if tag not in present:
            raise DecodeError(length, f"TVS {_words(message)} without {_words(tag)}")
    return TvsMessage(message, session, elements, reserved)


def _words(name: Message | Tag) -> str:
    return name.name.lower().replace("_", " ")


class Reader:
    """Collects bytes as they arrive, in whatever pieces, and gives whole messages.

    `feed` returns a message, or None for "not yet"; bytes after a message are kept for the next call with b"".
    """

    def __init__(self, max_body: int = 0xFFFF) -> None:
        self._data = bytearray()
        self._max_body = max_body

    @property
    def held(self) -> int:
        """Bytes kept: part of a message, or whole messages not yet asked for."""
        return len(self._data)

    def feed(self, data: bytes) -> TvsMessage | None:
        """Add `data`; give the next whole message or None.

        Raises:
            DecodeError: what has arrived can never become a message, or its body would exceed the limit.
        """
        if not self._data and len(data) <= self._max_body and expected_length(data) == len(data):
            return decode(data)  # nearly always: a message at once
        self._data += data
        length = expected_length(self._data)
        if length is None:
            return None
        if length - HEADER_LENGTH > self._max_body:
            raise DecodeError(8, f"TVS body of {length - HEADER_LENGTH} bytes, more than the {self._max_body} accepted")
        if len(self._data) < length:
            return None
        whole = bytes(self._data[:length])
        del self._data[:length]
        return decode(whole)
