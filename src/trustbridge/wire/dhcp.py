"""DHCP messages (RFC 2131, options of RFC 2132) as far as a phone's way to option 150 (RFC 5859) needs them.

The whole message is kept: fields of fixed width as they are, options in wire order, the bytes after the end option;
so `encode(decode(data)) == data` for all accepted data. What is read out of them are properties, which join the
pieces of a long option (RFC 3396) and look into `file` and `sname` where option 52 says that options continue there.

Written here and not taken from a library: the packets are a header and a list, while the one that fits (pydhcp 0.9)
takes 100 ms to import, brings a server and a network scanner, reads a truncated option as a shorter one, and does
not give back the bytes it read. The tests compare with it.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from trustbridge.errors import DecodeError

#: UDP ports of the server (and of relays) and of clients.
SERVER_PORT = 67
CLIENT_PORT = 68
#: Length up to which `build` pads: shorter ones than BOOTP's are dropped by some relays (RFC 1542, 2.1).
MINIMUM_LENGTH = 300
COOKIE = b"\x63\x82\x53\x63"
NOWHERE = "0.0.0.0"  # noqa: S104 - DHCP's word for "no address", nothing binds to it
BROADCAST_FLAG = 0x8000

_HEADER = struct.Struct(">BBBBIHH4s4s4s4s16s64s128s4s")
_SNAME_AT = 44
_FILE_AT = 108
_COOKIE_AT = 236
_OPTIONS_AT = 240
_PAD = 0
_END = 255


class Op(IntEnum):
    """The first byte: who speaks."""

    REQUEST = 1
    REPLY = 2


class MessageType(IntEnum):
    """Option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(IntEnum):
    """Option codes used here."""

    SUBNET_MASK = 1
    ROUTER = 3
    HOST_NAME = 12
    REQUESTED_ADDRESS = 50
    LEASE_SECONDS = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER = 54
    PARAMETERS = 55
    MESSAGE = 56
    VENDOR_CLASS = 60
    CLIENT = 61
    TFTP_NAME = 66
    TFTP_ADDRESSES = 150


#: What a Cisco phone asks for in option 55, in the order of public captures.
PHONE_PARAMETERS = (1, 66, 6, 3, 15, 150, 35)

_WIDTHS = {
    Option.SUBNET_MASK: 4,
    Option.REQUESTED_ADDRESS: 4,
    Option.LEASE_SECONDS: 4,
    Option.OVERLOAD: 1,
    Option.MESSAGE_TYPE: 1,
    Option.SERVER: 4,
}
#: Options that hold one or more addresses.
_ADDRESS_LISTS = (Option.ROUTER, Option.TFTP_ADDRESSES)

#: One option as it stands: (code, value). Code 0 is one byte of padding and has no value.
OptionField = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class DhcpMessage:
    """Any DHCP message.

    Attributes:
        op: who speaks.
        hardware: type and length of the hardware address; (1, 6) for Ethernet.
        hops: relays it came through.
        xid: the client's number for the exchange, 0 to 2**32-1.
        seconds: since the client began, 0 to 65535.
        flags: `BROADCAST_FLAG` or 0; the other bits are kept.
        client, your, next_server, relay: addresses (ciaddr, yiaddr, siaddr, giaddr); `NOWHERE` for none.
        chaddr: 16 bytes, the hardware address first.
        sname, file: 64 and 128 bytes as they stand.
        options: in wire order, without the end option.
        tail: what follows the end option, padding as a rule.
    """

    op: Op
    xid: int
    options: tuple[OptionField, ...]
    hardware: tuple[int, int] = (1, 6)
    hops: int = 0
    seconds: int = 0
    flags: int = 0
    client: str = NOWHERE
    your: str = NOWHERE
    next_server: str = NOWHERE
    relay: str = NOWHERE
    chaddr: bytes = bytes(16)
    sname: bytes = bytes(64)
    file: bytes = bytes(128)
    tail: bytes = b""

    @property
    def mac(self) -> bytes:
        """The hardware address, as long as the header says."""
        return self.chaddr[: self.hardware[1]]

    def value(self, code: int) -> bytes | None:
        """The value of an option, its pieces joined; None when it is absent."""
        pieces = [value for found, value in _all_options(self) if found == code]
        return b"".join(pieces) if pieces else None

    @property
    def type(self) -> MessageType:
        """Which of the eight messages."""
        return MessageType((self.value(Option.MESSAGE_TYPE) or b"\0")[0])

    def address(self, code: int) -> str | None:
        """The address in an option that holds one."""
        value = self.value(code)
        return None if value is None else _text(value)

    def addresses(self, code: int) -> tuple[str, ...]:
        """The addresses in an option that holds several; empty when it is absent."""
        value = self.value(code) or b""
        return tuple(_text(value[at : at + 4]) for at in range(0, len(value), 4))

    def number(self, code: int) -> int | None:
        """The number in an option that holds one."""
        value = self.value(code)
        return None if value is None else int.from_bytes(value)

    def string(self, code: int) -> str:
        """The text in an option, without the NUL that some write at its end; empty when it is absent."""
        return (self.value(code) or b"").rstrip(b"\0").decode("utf-8", "replace")


def packed(address: str) -> bytes:
    """Four bytes. Raises ValueError when the text is no IPv4 address."""
    return ipaddress.IPv4Address(address).packed


def packed_all(addresses: Iterable[str]) -> bytes:
    """Four bytes each. Raises ValueError as `packed`."""
    return b"".join([packed(address) for address in addresses])


def parse_mac(text: str) -> bytes:
    """Six bytes from `00:11:22:33:44:55`, `0011.2233.4455`, `001122334455` or a device name `SEP001122334455`.

    Raises:
        ValueError: it is none of these.
    """
    digits = re.sub(r"[:.-]", "", text.upper().removeprefix("SEP"))
    if not re.fullmatch(r"[0-9A-F]{12}", digits):
        raise ValueError(f"not a MAC address: {text!r}")
    return bytes.fromhex(digits)


def _text(value: bytes) -> str:
    return ".".join(map(str, value))


def _all_options(message: DhcpMessage) -> tuple[OptionField, ...]:
    """Options of the options field, then of `file`, then of `sname`: the order of RFC 3396, 5."""
    overload = next((value[0] for code, value in message.options if code == Option.OVERLOAD), 0)
    options = message.options
    if overload & 1:
        options += tuple((code, value) for _, code, value in _pull_options(message.file, 0, 128)[0])
    if overload & 2:
        options += tuple((code, value) for _, code, value in _pull_options(message.sname, 0, 64)[0])
    return options


def build(
    op: Op,
    type_: MessageType,
    xid: int,
    mac: bytes,
    options: Iterable[tuple[int, bytes]] = (),
    *,
    seconds: int = 0,
    flags: int = 0,
    hops: int = 0,
    client: str = NOWHERE,
    your: str = NOWHERE,
    relay: str = NOWHERE,
) -> DhcpMessage:
    """A message with its type first, long options cut in pieces (RFC 3396), padded to BOOTP's length."""
    fields: list[OptionField] = [(Option.MESSAGE_TYPE, bytes([type_]))]
    for code, value in options:
        fields += [(code, value[at : at + 255]) for at in range(0, len(value) or 1, 255)]
    length = _OPTIONS_AT + sum(2 + len(value) for _, value in fields) + 1
    return DhcpMessage(
        op,
        xid,
        tuple(fields),
        hardware=(1, len(mac)),
        hops=hops,
        seconds=seconds,
        flags=flags,
        client=client,
        your=your,
        relay=relay,
        chaddr=mac.ljust(16, b"\0"),
        tail=bytes(max(0, MINIMUM_LENGTH - length)),
    )


def encode(message: DhcpMessage) -> bytes:
    """The message as bytes, exactly as it says.

    Raises:
        ValueError: a field does not fit its width, or it would not read back the same.
    """
    try:
        header = _HEADER.pack(
            message.op,
            *message.hardware,
            message.hops,
            message.xid,
            message.seconds,
            message.flags,
            packed(message.client),
            packed(message.your),
            packed(message.next_server),
            packed(message.relay),
            message.chaddr,
            message.sname,
            message.file,
            COOKIE,
        )
        fields = [bytes((code, len(value))) + value if code or value else b"\0" for code, value in message.options]
        data = b"".join([header, *fields, b"\xff", message.tail])
        same = decode(data) == message
    except (struct.error, DecodeError) as error:
        raise ValueError(f"not a DHCP message: {error}") from error
    if not same:
        raise ValueError("not a DHCP message: a field does not fit its width, or an option has a code of its own")
    return data


def decode(data: bytes) -> DhcpMessage:
    """One whole message.

    Raises:
        DecodeError: not a well-formed DHCP message; BOOTP, without a message type, is none.
    """
    if len(data) < _OPTIONS_AT:
        raise DecodeError(len(data), f"DHCP message cut short: {len(data)} of at least {_OPTIONS_AT + 4} bytes")
    fields = _HEADER.unpack_from(data)
    op, kind, length, hops, xid, seconds, flags, client, your, next_server, relay, chaddr, sname, file, cookie = fields
    if op not in (Op.REQUEST, Op.REPLY):
        raise DecodeError(0, f"not a DHCP message: its first byte is {op}, neither 1 nor 2")
    if length > 16:
        raise DecodeError(2, f"DHCP hardware address of {length} bytes, at most 16 fit")
    if cookie != COOKIE:
        raise DecodeError(_COOKIE_AT, "not a DHCP message: the cookie 63 82 53 63 is missing")
    options, end = _pull_options(data, _OPTIONS_AT, len(data))
    if end == len(data):
        raise DecodeError(end, "DHCP options without the end option")
    _check(data, options, end)
    return DhcpMessage(
        Op(op),
        xid,
        tuple([(code, value) for _, code, value in options]),
        hardware=(kind, length),
        hops=hops,
        seconds=seconds,
        flags=flags,
        client=_text(client),
        your=_text(your),
        next_server=_text(next_server),
        relay=_text(relay),
        chaddr=chaddr,
        sname=sname,
        file=file,
        tail=data[end + 1 :],
    )


#: An option and the offset of its code.
_Placed = tuple[int, int, bytes]


def _pull_options(data: bytes, start: int, end: int) -> tuple[list[_Placed], int]:
    """Options of `data[start:end]` up to their end option, and where that is; `end` when it is missing."""
    options: list[_Placed] = []
    at = start
    while at < end and (code := data[at]) != _END:
        if code == _PAD:
            options.append((at, _PAD, b""))
            at += 1
            continue
        if at + 1 == end:
            raise DecodeError(at, f"DHCP option {code} cut short: its length is missing")
        stop = at + 2 + data[at + 1]
        if stop > end:
            raise DecodeError(at, f"DHCP option {code} claims {data[at + 1]} bytes where {end - at - 2} remain")
        options.append((at, code, data[at + 2 : stop]))
        at = stop
    return options, at


def _check(data: bytes, options: list[_Placed], end: int) -> None:
    """That every option read here has a value that can be read. Raises DecodeError."""
    overloads = [(at, value) for at, code, value in options if code == Option.OVERLOAD]
    if overloads:
        at, value = overloads[0]
        if len(overloads) > 1 or len(value) != 1 or not 1 <= value[0] <= 3:
            raise DecodeError(at, "DHCP option 52 is there twice, or is none of 1, 2, 3")
        if value[0] & 1:
            options = options + _pull_options(data, _FILE_AT, _COOKIE_AT)[0]
        if value[0] & 2:
            options = options + _pull_options(data, _SNAME_AT, _FILE_AT)[0]
    values: dict[int, bytes] = {}
    places: dict[int, int] = {}
    for at, code, value in options:
        values[code] = values.get(code, b"") + value
        places.setdefault(code, at)
    for option, width in _WIDTHS.items():
        found = values.get(option)
        if found is not None and len(found) != width:
            raise DecodeError(places[option], f"DHCP option {option:d} has {len(found)} bytes, expected {width}")
    for option in _ADDRESS_LISTS:
        found = values.get(option)
        if found is not None and (not found or len(found) % 4):
            raise DecodeError(places[option], f"DHCP option {option:d} has {len(found)} bytes: no list of addresses")
    kind = values.get(Option.MESSAGE_TYPE)
    if kind is None:
        raise DecodeError(end, "DHCP message without option 53, its type")
    if not 1 <= kind[0] <= 8:
        raise DecodeError(places[Option.MESSAGE_TYPE], f"unknown DHCP message type {kind[0]}")
