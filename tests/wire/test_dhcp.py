"""DHCP messages: what captures and other servers say is read, and bytes that lost or changed something are refused."""

from __future__ import annotations

import string
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import DecodeError
from trustbridge.wire import dhcp
from trustbridge.wire.dhcp import DhcpMessage, Flags, MessageType, Op, Option

#: The first two packets of dhcp.pcap, https://wiki.wireshark.org/SampleCaptures (xid 0x3d1d): a DISCOVER and its OFFER.
CHADDR = "000b8201fc42" + "00" * 10
DISCOVER = bytes.fromhex(
    "01010600"
    "00003d1d"
    "00000000" + "00" * 16 + CHADDR + "00" * 192 + "63825363"
    "350101"
    "3d0701000b8201fc42"
    "320400000000"
    "37040103062a"
    "ff" + "00" * 7
)
OFFER = bytes.fromhex(
    "02010600"
    "00003d1d"
    "00000000"
    "00000000"
    "c0a8000a"
    "c0a80001"
    "00000000" + CHADDR + "00" * 192 + "63825363"
    "350102"
    "0104ffffff00"
    "3a0400000708"
    "3b0400000c4e"
    "330400000e10"
    "3604c0a80001"
    "ff" + "00" * 26
)
#: Made for these tests: options continue in `file` and `sname`, a long option is cut in three, padding in between.
OVERLOADED = bytes.fromhex(
    "02010600"
    "00000001"
    "00008000"
    "00000000"
    "7f1e0007"
    "00000000"
    "7f1e0007" + CHADDR + "96047f0a0102ff" + "00" * 57 + "96047f0a0101"
    "4206" + b"tftp.a".hex() + "ff" + "00" * 113 + "63825363"
    "350105"
    "00"
    "340103"
    "00"
    "96047f0a0001"
    "ff"
)
VECTORS = [DISCOVER, OFFER, OVERLOADED]


def test_a_captured_exchange_is_read() -> None:
    discover, offer = dhcp.decode(DISCOVER), dhcp.decode(OFFER)
    assert (discover.op, discover.message_type, discover.xid) == (Op.BOOTREQUEST, MessageType.DHCPDISCOVER, 0x3D1D)
    assert discover.chaddr == bytes.fromhex("000b8201fc42")
    assert discover.options[Option.PARAMETER_REQUEST_LIST] == bytes([1, 3, 6, 42])
    assert discover.address(Option.REQUESTED_IP) == IPv4Address("0.0.0.0")
    assert discover.address(Option.SERVER_IDENTIFIER) is None
    assert discover.addresses(Option.TFTP_SERVER_ADDRESS) == ()
    assert discover.text(Option.TFTP_SERVER) == ""
    assert (offer.op, offer.message_type) == (Op.BOOTREPLY, MessageType.DHCPOFFER)
    assert list(map(str, (offer.yiaddr, offer.siaddr, offer.giaddr))) == ["192.168.0.10", "192.168.0.1", "0.0.0.0"]
    assert offer.address(Option.SERVER_IDENTIFIER) == IPv4Address("192.168.0.1")
    assert offer.options[Option.IP_ADDRESS_LEASE_TIME] == (3600).to_bytes(4)


def test_options_continue_in_file_and_then_in_sname() -> None:
    message = dhcp.decode(OVERLOADED)
    assert message.addresses(Option.TFTP_SERVER_ADDRESS) == ("127.10.0.1", "127.10.1.1", "127.10.1.2")
    assert message.text(Option.TFTP_SERVER) == "tftp.a"
    assert message.flags is Flags.BROADCAST
    assert dhcp.decode(dhcp.encode(message)) == message


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    ("data", "offset", "word"),
    [
        (b"", 0, "too short"),
        (DISCOVER[:239], 0, "too short"),
        (changed(DISCOVER, 0, b"\x03"), 0, "3 is not a valid"),
        (changed(DISCOVER, 2, b"\x11"), 0, "length 17"),
        (changed(DISCOVER, 236, b"\x00"), 0, "cookie"),
        (DISCOVER[:240], 240, "without the end"),
        (DISCOVER[:243], 243, "without the end"),
        (DISCOVER[:241], 240, "option 53 cut short"),
        (DISCOVER[:242], 240, "option 53 cut short"),
        (DISCOVER[:263], 258, "option 55 cut short"),
        (DISCOVER[:240] + b"\xff", 240, "without option 53"),
        (DISCOVER[:240] + b"\x35\x02\x01\x01\xff", 240, "option 53"),
        (DISCOVER[:243] + b"\x33\x03abc\xff", 243, "option 51"),
        (DISCOVER[:243] + b"\x00\x36\x00\xff", 244, "option 54"),
        (DISCOVER[:243] + b"\x96\x05abcde\xff", 243, "option 150"),
        (DISCOVER[:243] + b"\x96\x02ab\x96\x03cde\xff", 243, "option 150"),
        (DISCOVER[:243] + b"\x34\x00\xff", 0, "exactly 1 octets"),
        (DISCOVER[:243] + b"\x34\x00\x34\x01\x01\xff", 243, "option 52"),
        (DISCOVER[:243] + b"\x34\x01\x01\x34\x01\x01\xff", 0, "exactly 1 octets"),
        (changed(OVERLOADED, 108, b"\x96\x03abc\x00"), 248, "option 150"),
        (changed(OVERLOADED, 108, b"\x96\x7f"), 108, "option 150 cut short"),
        (changed(OVERLOADED, 44, b"\x96\x3f"), 44, "option 150 cut short"),
    ],
)
def test_other_bytes_are_refused_with_their_offset(data: bytes, offset: int, word: str) -> None:
    with pytest.raises(DecodeError, match=word) as caught:
        dhcp.decode(data)
    assert caught.value.offset == offset


@pytest.mark.parametrize("data", VECTORS)
def test_every_truncation_before_the_end_option_is_refused(data: bytes) -> None:
    end = data.rindex(b"\xff") + 1
    for size in range(end):
        with pytest.raises(DecodeError):
            dhcp.decode(data[:size])
    assert dhcp.decode(data[:end]) == dhcp.decode(data)


def test_text_that_is_none_can_be_shown() -> None:
    message = dhcp.decode(DISCOVER[:243] + b"\x42\x06tf\xfftp\0\xff")
    assert message.text(Option.TFTP_SERVER) == "tf\N{REPLACEMENT CHARACTER}tp"


def test_a_written_message_begins_with_its_type_and_is_long_enough_for_relays() -> None:
    message = DhcpMessage(
        Op.BOOTREQUEST,
        giaddr=IPv4Address("127.30.0.7"),
        chaddr=dhcp.parse_mac("SEP001122334455"),
        options=dhcp.options(MessageType.DHCPDISCOVER, [(Option.VENDOR_CLASS_IDENTIFIER, "IP Phone CP-8841")]),
    )
    data = dhcp.encode(message)
    assert len(data) == 300
    assert data[240:243] == b"\x35\x01\x01"
    assert data[24:34] == bytes([127, 30, 0, 7]) + bytes.fromhex("001122334455")
    assert dhcp.decode(data).text(Option.VENDOR_CLASS_IDENTIFIER) == "IP Phone CP-8841"


def test_more_servers_than_one_option_holds_are_cut_and_joined_in_the_options_field() -> None:
    servers = tuple(f"10.0.{n // 256}.{n % 256}" for n in range(200))
    message = DhcpMessage(
        Op.BOOTREPLY, options=dhcp.options(MessageType.DHCPACK, [(Option.TFTP_SERVER_ADDRESS, servers)])
    )
    data = dhcp.encode(message)
    assert data[44:236] == bytes(192)
    assert dhcp.decode(data).addresses(Option.TFTP_SERVER_ADDRESS) == servers


@pytest.mark.parametrize(
    "text", ["00:11:22:aa:bb:cc", "0011.22aa.bbcc", "001122AABBCC", "SEP001122AABBCC", "sep001122aabbcc"]
)
def test_a_mac_address_is_read_in_any_usual_form(text: str) -> None:
    assert dhcp.parse_mac(text) == bytes.fromhex("001122aabbcc")


@pytest.mark.parametrize("text", ["", "SEP", "00:11:22:33:44", "00112233445566", "00112233445g", "SEPSEP001122334455"])
def test_what_is_no_mac_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a MAC address"):
        dhcp.parse_mac(text)


ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
LISTS = st.lists(ADDRESSES, min_size=1, max_size=100)
TEXTS = st.text(string.ascii_letters + string.digits + ".-", min_size=1, max_size=300)
VALUES = {
    Option.SUBNET_MASK: ADDRESSES,
    Option.ROUTER: LISTS,
    Option.HOSTNAME: TEXTS,
    Option.REQUESTED_IP: ADDRESSES,
    Option.IP_ADDRESS_LEASE_TIME: st.integers(0, 2**32 - 1),
    Option.SERVER_IDENTIFIER: ADDRESSES,
    Option.PARAMETER_REQUEST_LIST: st.lists(st.integers(0, 255)),
    Option.VENDOR_CLASS_IDENTIFIER: TEXTS,
    Option.CLIENT_IDENTIFIER: st.binary(min_size=2, max_size=20),
    Option.TFTP_SERVER: TEXTS,
    Option.TFTP_SERVER_ADDRESS: LISTS,
}
MESSAGES = st.builds(
    DhcpMessage,
    op=st.sampled_from(Op),
    xid=st.integers(0, 2**32 - 1),
    hops=st.integers(0, 255),
    secs=st.integers(0, 65535),
    flags=st.sampled_from(Flags),
    ciaddr=ADDRESSES,
    yiaddr=ADDRESSES,
    siaddr=ADDRESSES,
    giaddr=ADDRESSES,
    chaddr=st.binary(max_size=16),
    options=st.builds(
        dhcp.options,
        st.sampled_from(MessageType),
        st.fixed_dictionaries({}, optional=VALUES).map(lambda values: list(values.items())),
    ),
)


@given(MESSAGES)
def test_any_message_reads_back_as_it_was(message: DhcpMessage) -> None:
    assert dhcp.decode(dhcp.encode(message)) == message


def refusal(data: bytes) -> DecodeError | None:
    """The error of bytes that are refused; None after bytes that could be read, and say the same when written again."""
    try:
        message = dhcp.decode(data)
    except DecodeError as error:
        return error
    assert message.message_type is not None
    for code in (Option.TFTP_SERVER_ADDRESS, Option.ROUTER):
        message.addresses(code)
    for code in (Option.SERVER_IDENTIFIER, Option.REQUESTED_IP, Option.SUBNET_MASK):
        message.address(code)
    for code in (Option.TFTP_SERVER, Option.DHCP_MESSAGE, Option.HOSTNAME):
        message.text(code).encode()
    again = dhcp.decode(dhcp.encode(message))
    assert again == message
    return None


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_give_one_error(data: bytes) -> None:
    error = refusal(data)
    assert error is None or 0 <= error.offset <= len(data)


@given(st.binary(max_size=80))
def test_any_options_are_read_or_give_one_error(options: bytes) -> None:
    data = DISCOVER[:243] + options + b"\xff"
    error = refusal(data)
    assert error is None or 0 <= error.offset <= len(data)


@given(st.sampled_from(VECTORS), st.integers(0, 320), st.binary(min_size=1, max_size=6))
def test_a_message_with_changed_bytes_is_read_or_gives_one_error(data: bytes, at: int, new: bytes) -> None:
    data = changed(data, at, new)
    error = refusal(data)
    assert error is None or 0 <= error.offset <= len(data)
