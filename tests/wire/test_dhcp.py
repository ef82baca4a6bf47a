"""DHCP messages: byte-exact both ways, one error with an offset for everything else, and the same as a library."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import DecodeError
from trustbridge.wire import dhcp
from trustbridge.wire.dhcp import DhcpMessage, MessageType, Op, Option

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


@pytest.mark.parametrize("data", VECTORS)
def test_accepted_bytes_come_back_the_same(data: bytes) -> None:
    assert dhcp.encode(dhcp.decode(data)) == data
    assert dhcp.encode(dhcp.decode(data + b"tail")) == data + b"tail"


def test_a_captured_exchange_is_read() -> None:
    discover, offer = dhcp.decode(DISCOVER), dhcp.decode(OFFER)
    assert (discover.op, discover.type, discover.xid) == (Op.REQUEST, MessageType.DISCOVER, 0x3D1D)
    assert discover.mac == bytes.fromhex("000b8201fc42")
    assert discover.value(Option.PARAMETERS) == bytes([1, 3, 6, 42])
    assert discover.address(Option.REQUESTED_ADDRESS) == "0.0.0.0"
    assert discover.addresses(Option.TFTP_ADDRESSES) == ()
    assert (offer.op, offer.type) == (Op.REPLY, MessageType.OFFER)
    assert (offer.your, offer.next_server, offer.relay) == ("192.168.0.10", "192.168.0.1", "0.0.0.0")
    assert offer.address(Option.SERVER) == "192.168.0.1"
    assert offer.number(Option.LEASE_SECONDS) == 3600
    assert offer.tail == bytes(26)


def test_options_continue_in_file_and_then_in_sname() -> None:
    message = dhcp.decode(OVERLOADED)
    assert message.addresses(Option.TFTP_ADDRESSES) == ("127.10.0.1", "127.10.1.1", "127.10.1.2")
    assert message.string(Option.TFTP_NAME) == "tftp.a"
    assert message.flags == dhcp.BROADCAST_FLAG


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    ("data", "offset", "word"),
    [
        (b"", 0, "cut short"),
        (DISCOVER[:239], 239, "cut short"),
        (changed(DISCOVER, 0, b"\x03"), 0, "first byte"),
        (changed(DISCOVER, 2, b"\x11"), 2, "17 bytes"),
        (changed(DISCOVER, 236, b"\x00"), 236, "cookie"),
        (DISCOVER[:240], 240, "without the end"),
        (DISCOVER[:243], 243, "without the end"),
        (DISCOVER[:241], 240, "length is missing"),
        (DISCOVER[:242], 240, "claims 1 bytes where 0"),
        (DISCOVER[:263], 258, "claims 4 bytes where 3"),
        (DISCOVER[:240] + b"\xff", 240, "without option 53"),
        (DISCOVER[:240] + b"\x35\x01\x09\xff", 240, "unknown DHCP message type 9"),
        (DISCOVER[:240] + b"\x35\x02\x01\x01\xff", 240, "option 53 has 2 bytes"),
        (DISCOVER[:243] + b"\x33\x03abc\xff", 243, "option 51 has 3 bytes"),
        (DISCOVER[:243] + b"\x00\x36\x00\xff", 244, "option 54 has 0 bytes"),
        (DISCOVER[:243] + b"\x96\x05abcde\xff", 243, "option 150 has 5 bytes"),
        (DISCOVER[:243] + b"\x96\x00\xff", 243, "option 150 has 0 bytes"),
        (DISCOVER[:243] + b"\x96\x02ab\x96\x03cde\xff", 243, "option 150 has 5 bytes"),
        (DISCOVER[:243] + b"\x34\x01\x04\xff", 243, "option 52"),
        (DISCOVER[:243] + b"\x34\x01\x01\x34\x01\x01\xff", 243, "option 52"),
        (changed(OVERLOADED, 108, b"\x96\x03abc\x00"), 248, "option 150 has 11 bytes"),
        (changed(OVERLOADED, 108, b"\x96\x7f"), 108, "claims 127 bytes where 126"),
        (changed(OVERLOADED, 44, b"\x96\x3f"), 44, "claims 63 bytes where 62"),
    ],
)
def test_other_bytes_are_refused_with_their_offset(data: bytes, offset: int, word: str) -> None:
    with pytest.raises(DecodeError, match=word) as caught:
        dhcp.decode(data)
    assert caught.value.offset == offset


@pytest.mark.parametrize("data", VECTORS)
def test_every_truncation_before_the_end_option_is_refused(data: bytes) -> None:
    end = len(data) - len(dhcp.decode(data).tail)
    for size in range(end):
        with pytest.raises(DecodeError):
            dhcp.decode(data[:size])
    assert dhcp.decode(data[:end]).tail == b""


def test_a_built_message_begins_with_its_type_and_is_long_enough_for_relays() -> None:
    message = dhcp.build(
        Op.REQUEST,
        MessageType.DISCOVER,
        7,
        dhcp.parse_mac("SEP001122334455"),
        [(Option.VENDOR_CLASS, b"Cisco Systems, Inc. IP Phone CP-8841")],
        hops=1,
        relay="127.30.0.7",
    )
    data = dhcp.encode(message)
    assert len(data) == 300
    assert data[240:243] == b"\x35\x01\x01"
    assert data[24:34] == bytes([127, 30, 0, 7]) + bytes.fromhex("001122334455")
    assert dhcp.decode(data).string(Option.VENDOR_CLASS) == "Cisco Systems, Inc. IP Phone CP-8841"


def test_more_servers_than_one_option_holds_are_cut_and_joined() -> None:
    servers = tuple(f"10.0.{n // 256}.{n % 256}" for n in range(100))
    message = dhcp.build(Op.REPLY, MessageType.ACK, 1, bytes(6), [(150, dhcp.packed_all(servers))])
    assert [len(value) for code, value in message.options if code == 150] == [255, 145]
    assert dhcp.decode(dhcp.encode(message)).addresses(150) == servers


@pytest.mark.parametrize(
    "text", ["00:11:22:aa:bb:cc", "0011.22aa.bbcc", "001122AABBCC", "SEP001122AABBCC", "sep001122aabbcc"]
)
def test_a_mac_address_is_read_in_any_usual_form(text: str) -> None:
    assert dhcp.parse_mac(text) == bytes.fromhex("001122aabbcc")


@pytest.mark.parametrize("text", ["", "SEP", "00:11:22:33:44", "00112233445566", "00112233445g", "SEPSEP001122334455"])
def test_what_is_no_mac_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a MAC address"):
        dhcp.parse_mac(text)


GOOD = dhcp.decode(DISCOVER)


@pytest.mark.parametrize(
    "message",
    [
        replace(GOOD, xid=2**32),
        replace(GOOD, seconds=-1),
        replace(GOOD, hardware=(1, 17)),
        replace(GOOD, relay="300.0.0.1"),
        replace(GOOD, relay="127.1"),
        replace(GOOD, chaddr=bytes(17)),
        replace(GOOD, chaddr=bytes(6)),
        replace(GOOD, file=b""),
        replace(GOOD, options=()),
        replace(GOOD, options=((53, b"\x01"), (255, b"a"))),
        replace(GOOD, options=((53, b"\x01"), (0, b"a"))),
        replace(GOOD, options=((53, b"\x01"), (256, b"a"))),
        replace(GOOD, options=((53, b"\x01"), (60, bytes(256)))),
        replace(GOOD, options=((53, b"\x01"), (150, b"abc"))),
    ],
)
def test_what_would_not_read_back_is_not_written(message: DhcpMessage) -> None:
    with pytest.raises(ValueError, match=r"not a DHCP message|bytes must be|Octet|Expected 4|permitted"):
        dhcp.encode(message)


ADDRESSES = st.integers(0, 2**32 - 1).map(lambda number: str(ipaddress.IPv4Address(number)))
PLAIN_OPTIONS = st.tuples(
    st.integers(2, 254).filter(lambda code: code not in (3, 50, 51, 52, 53, 54, 150)), st.binary(max_size=255)
)
OPTIONS = st.one_of(
    PLAIN_OPTIONS,
    st.just((0, b"")),
    st.tuples(st.sampled_from([3, 150]), st.lists(ADDRESSES, min_size=1, max_size=5).map(dhcp.packed_all)),
)
MESSAGES = st.builds(
    DhcpMessage,
    op=st.sampled_from(Op),
    xid=st.integers(0, 2**32 - 1),
    options=st.tuples(
        st.lists(OPTIONS, max_size=4),
        st.integers(1, 8).map(lambda kind: (53, bytes([kind]))),
        st.lists(OPTIONS, max_size=4),
    ).map(lambda parts: (*parts[0], parts[1], *parts[2])),
    hardware=st.tuples(st.integers(0, 255), st.integers(0, 16)),
    hops=st.integers(0, 255),
    seconds=st.integers(0, 65535),
    flags=st.integers(0, 65535),
    client=ADDRESSES,
    your=ADDRESSES,
    next_server=ADDRESSES,
    relay=ADDRESSES,
    chaddr=st.binary(min_size=16, max_size=16),
    sname=st.binary(min_size=64, max_size=64),
    file=st.binary(min_size=128, max_size=128),
    tail=st.binary(max_size=10),
)


@given(MESSAGES)
def test_any_message_reads_back_as_it_was(message: DhcpMessage) -> None:
    assert dhcp.decode(dhcp.encode(message)) == message


def refusal(data: bytes) -> DecodeError | None:
    """The error of bytes that are refused; None after bytes that came back the same and could be read."""
    try:
        message = dhcp.decode(data)
    except DecodeError as error:
        return error
    assert dhcp.encode(message) == data
    assert message.type in MessageType
    for option in Option:
        message.value(option), message.string(option), message.number(option)
    message.addresses(Option.TFTP_ADDRESSES), message.addresses(Option.ROUTER), message.address(Option.SERVER)
    return None


@given(st.binary(max_size=400))
def test_any_bytes_give_the_same_bytes_back_or_one_error(data: bytes) -> None:
    error = refusal(data)
    assert error is None or 0 <= error.offset <= len(data)


@given(st.sampled_from(VECTORS), st.integers(0, 320), st.binary(min_size=1, max_size=6))
def test_a_message_with_changed_bytes_reads_back_exactly_or_is_refused(data: bytes, at: int, new: bytes) -> None:
    data = changed(data, at, new)
    error = refusal(data)
    assert error is None or 0 <= error.offset <= len(data)


def test_a_library_reads_what_we_write_and_we_read_what_it_writes() -> None:
    packet = pytest.importorskip("pydhcp.packet", reason="the comparison needs the Python package pydhcp")
    ours = dhcp.build(
        Op.REPLY,
        MessageType.ACK,
        9,
        dhcp.parse_mac("001122334455"),
        [
            (Option.SERVER, dhcp.packed("127.30.0.1")),
            (Option.LEASE_SECONDS, (600).to_bytes(4)),
            (Option.TFTP_ADDRESSES, dhcp.packed_all(["127.10.1.1", "127.10.1.2"])),
        ],
        your="127.30.0.7",
        relay="127.30.0.7",
    )
    theirs = packet.DHCPMessage.decode(dhcp.encode(ours))
    assert theirs.message_type == MessageType.ACK
    assert [str(address) for address in theirs.options.get(150)] == ["127.10.1.1", "127.10.1.2"]
    assert (str(theirs.yiaddr), str(theirs.giaddr), theirs.chaddr) == ("127.30.0.7", "127.30.0.7", ours.mac)
    assert theirs.encode() == dhcp.encode(ours)
