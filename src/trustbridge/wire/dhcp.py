"""DHCP messages, read and written by the library pydhcp, as a phone's way to option 150 (RFC 5859) needs them.

What is added: the library reads a truncated option as a shorter one, and a list of servers that lost its end may
send a phone to a wrong one; so truncated options are refused, and options used here that hold no value of their kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address

from pydhcp.exceptions import DHCPDecodeError
from pydhcp.options import DHCPOptionCode as Option
from pydhcp.options import DHCPOptions, IPv4AddressOption, List, String
from pydhcp.packet import UNSPECIFIED_ADDRESS as NOWHERE
from pydhcp.packet import DHCPFlags as Flags
from pydhcp.packet import DHCPMessage
from pydhcp.packet import DHCPMessageType as MessageType
from pydhcp.packet import DHCPOpcode as Op

from trustbridge.errors import DecodeError

__all__ = ["NOWHERE", "DhcpMessage", "Flags", "MessageType", "Op", "Option", "decode", "encode", "options", "parse_mac"]

#: UDP port of the server and of relays.
SERVER_PORT = 67
#: What a Cisco phone asks for in option 55, in the order of public captures.
PHONE_PARAMETERS = (1, 66, 6, 3, 15, 150, 35)

#: Beyond any datagram, so that options stay in their field and never move into `file` and `sname`.
_ANY_LENGTH = 1 << 17
_SNAME_AT, _FILE_AT, _COOKIE_AT, _OPTIONS_AT = 44, 108, 236, 240
_IN_FILE, _IN_SNAME = 1, 2
#: Options whose values must be readable, where they are present.
_READ = (
    Option.DHCP_MESSAGE_TYPE,
    Option.SERVER_IDENTIFIER,
    Option.REQUESTED_IP,
    Option.IP_ADDRESS_LEASE_TIME,
    Option.SUBNET_MASK,
    Option.ROUTER,
    Option.TFTP_SERVER_ADDRESS,
)


class DhcpMessage(DHCPMessage):
    """A message as the library has it, with its options as plain values; after `decode` none of these raises."""

    def address(self, code: Option) -> IPv4Address | None:
        """The address in an option that holds one."""
        return self.options.get(code, decode=IPv4AddressOption)

    def addresses(self, code: Option) -> tuple[str, ...]:
        """The addresses in an option that holds several; empty when it is absent."""
        return tuple(map(str, self.options.get(code, decode=List[IPv4AddressOption]) or ()))

    def text(self, code: Option) -> str:
        """The text in an option, fit to be shown, without the NUL that some write at its end; empty when absent."""
        value = self.options.get(code, decode=String)
        return "" if value is None else value.to_json()


def options(kind: MessageType, values: Iterable[tuple[Option, object]] = ()) -> DHCPOptions:
    """The options of a message: its type, then these, each as the library's codec for it takes them.

    Raises:
        ValueError: a value does not suit its option.
        TypeError: the same.
    """
    bag = DHCPOptions()
    bag.append((Option.DHCP_MESSAGE_TYPE, kind))
    for option in values:
        bag.append(option)  # four times as fast as `bag[code] = value`
    return bag


def encode(message: DhcpMessage) -> bytes:
    """The message as bytes, long options cut in pieces (RFC 3396), padded to BOOTP's length.

    Raises:
        ValueError: a field does not fit its width.
    """
    return message.encode(_ANY_LENGTH)


def decode(data: bytes) -> DhcpMessage:
    """One whole message.

    Raises:
        DecodeError: not a well-formed DHCP message; BOOTP, without a message type, is none.
    """
    try:
        message = DhcpMessage.decode(data)
    except DHCPDecodeError as error:
        raise DecodeError(0, f"not a DHCP message: {error}") from error
    places = _places(data, _OPTIONS_AT, len(data))
    if Option.END not in places:
        raise DecodeError(len(data), "DHCP options without the end option")
    overload = 0
    if (at := places.get(Option.OPTION_OVERLOAD)) is not None:
        if data[at + 1] != 1:
            raise DecodeError(at, f"DHCP option 52 has {data[at + 1]} bytes, expected 1")
        overload = data[at + 2]
    if overload & _IN_FILE:
        places = _places(data, _FILE_AT, _COOKIE_AT) | places
    if overload & _IN_SNAME:
        places = _places(data, _SNAME_AT, _FILE_AT) | places
        if message.sname:  # where the library has put option 66
            message.options[Option.TFTP_SERVER] = message.sname
            message.sname = ""
    for option in _READ:
        try:
            message.options.get(option)
        except DHCPDecodeError as error:
            raise DecodeError(places[option], f"DHCP option {option:d}: {error}") from error
    if message.message_type is None:
        raise DecodeError(places[Option.END], "DHCP message without option 53, its type")
    return message


def _places(data: bytes, start: int, end: int) -> dict[int, int]:
    """Where the first of each option of `data[start:end]` is. Raises DecodeError when one is cut short."""
    places: dict[int, int] = {}
    at = start
    while at < end:
        code = data[at]
        places.setdefault(code, at)
        if code == Option.END:
            break
        if code == Option.PAD:
            at += 1
            continue
        following = at + 2 + data[at + 1] if at + 1 < end else end + 1
        if following > end:
            raise DecodeError(at, f"DHCP option {code} cut short")
        at = following
    return places


def parse_mac(text: str) -> bytes:
    """Six bytes from `00:11:22:33:44:55`, `0011.2233.4455`, `001122334455` or a device name `SEP001122334455`.

    Raises:
        ValueError: it is none of these.
    """
    digits = re.sub(r"[:.-]", "", text.upper().removeprefix("SEP"))
    if not re.fullmatch(r"[0-9A-F]{12}", digits):
        raise ValueError(f"not a MAC address: {text!r}")
    return bytes.fromhex(digits)
