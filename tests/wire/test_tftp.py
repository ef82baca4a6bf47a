"""The TFTP codec: vectors from the RFCs, tables of errors, properties, negotiation."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import DecodeError
from trustbridge.wire.tftp import (
    Ack,
    Data,
    Error,
    ErrorCode,
    OptionAck,
    Packet,
    ReadRequest,
    Terms,
    WriteRequest,
    decode,
    encode,
    negotiate,
    netascii,
    number,
    option,
)

# The figures and examples of the RFCs, as bytes.
VECTORS: list[tuple[str, Packet, bytes]] = [
    ("RFC 1350, figure 5-1", ReadRequest("foobar", "octet"), b"\x00\x01foobar\x00octet\x00"),
    ("RFC 1350, figure 5-1", WriteRequest("foobar", "netascii"), b"\x00\x02foobar\x00netascii\x00"),
    ("RFC 1350, section 1: mode in any case", ReadRequest("foobar", "NetAscii"), b"\0\1foobar\0NetAscii\0"),
    ("RFC 1350, figure 5-2", Data(1, b"\x00\xff"), b"\x00\x03\x00\x01\x00\xff"),
    ("RFC 1350, figure 5-2, the empty last block", Data(0xFFFF, b""), b"\x00\x03\xff\xff"),
    ("RFC 1350, figure 5-3", Ack(258), b"\x00\x04\x01\x02"),
    ("RFC 1350, figure 5-4", Error(1, "File not found."), b"\x00\x05\x00\x01File not found.\x00"),
    ("RFC 1350, figure 5-4, no words", Error(0, ""), b"\x00\x05\x00\x00\x00"),
    (
        "RFC 2347, example of a read request",
        ReadRequest("foofile", "octet", (("blksize", "1432"),)),
        b"\x00\x01foofile\x00octet\x00blksize\x001432\x00",
    ),
    ("RFC 2347, the OACK that answers it", OptionAck((("blksize", "1432"),)), b"\x00\x06blksize\x001432\x00"),
    ("RFC 2347, the ACK of that OACK", Ack(0), b"\x00\x04\x00\x00"),
    (
        "RFC 2347, example of a write request",
        WriteRequest("barfile", "octet", (("blksize", "2048"),)),
        b"\x00\x02barfile\x00octet\x00blksize\x002048\x00",
    ),
    (
        "RFC 2348, example",
        ReadRequest("foobar", "octet", (("blksize", "1428"),)),
        b"\x00\x01foobar\x00octet\x00blksize\x001428\x00",
    ),
    (
        "RFC 2349, timeout",
        ReadRequest("foobar", "octet", (("timeout", "1"),)),
        b"\x00\x01foobar\x00octet\x00timeout\x001\x00",
    ),
    (
        "RFC 2349, tsize",
        WriteRequest("foobar", "octet", (("tsize", "673312"),)),
        b"\x00\x02foobar\x00octet\x00tsize\x00673312\x00",
    ),
    (
        "RFC 7440, windowsize",
        ReadRequest("foobar", "octet", (("windowsize", "16"),)),
        b"\x00\x01foobar\x00octet\x00windowsize\x0016\x00",
    ),
    (
        "order, case, repetition and the unknown stay",
        ReadRequest("a", "OcTeT", (("X-new", ""), ("BLKSIZE", "8"), ("blksize", "9"), ("", ""))),
        b"\x00\x01a\x00OcTeT\x00X-new\x00\x00BLKSIZE\x008\x00blksize\x009\x00\x00\x00",
    ),
    ("bytes that are no UTF-8 stay", ReadRequest("caf\udce9", "octet"), b"\x00\x01caf\xe9\x00octet\x00"),
    ("UTF-8 is text", ReadRequest("café", "octet"), b"\x00\x01caf\xc3\xa9\x00octet\x00"),
]


@pytest.mark.parametrize(("packet", "data"), [pytest.param(p, d, id=o) for o, p, d in VECTORS])
def test_the_packets_of_the_rfcs_are_these_values_and_these_bytes(packet: Packet, data: bytes) -> None:
    assert decode(data) == packet
    assert encode(packet) == data


@pytest.mark.parametrize(
    ("data", "offset", "what"),
    [
        (b"", 0, "cut short"),
        (b"\x00", 1, "cut short"),
        (b"\x00\x00", 0, "unknown TFTP opcode 0"),
        (b"\x00\x07x\x00", 0, "unknown TFTP opcode 7"),
        (b"\x01\x03\x00\x01", 0, "unknown TFTP opcode 259"),
        (b"\x00\x01", 2, "without a file name"),
        (b"\x00\x01f", 2, "without the NUL"),
        (b"\x00\x01f\x00", 4, "without a mode"),
        (b"\x00\x01f\x00octet", 4, "without the NUL"),
        (b"\x00\x01f\x00octet\x00blksize\x00", 10, "option 'blksize' without a value"),
        (b"\x00\x01f\x00octet\x00blksize\x00512", 18, "without the NUL"),
        (b"\x00\x01f\x00octet\x00a\x00b\x00c\x00", 14, "option 'c' without a value"),
        (b"\x00\x03\x00", 3, "DATA cut short"),
        (b"\x00\x04", 2, "ACK cut short"),
        (b"\x00\x04\x00\x01\x00", 4, "1 bytes after the end"),
        (b"\x00\x05\x00", 3, "ERROR cut short"),
        (b"\x00\x05\x00\x01", 4, "without its message"),
        (b"\x00\x05\x00\x01no", 4, "without the NUL"),
        (b"\x00\x05\x00\x01no\x00\x00", 7, "1 bytes after the end"),
        (b"\x00\x06blksize\x00", 2, "option 'blksize' without a value"),
        (b"\x00\x06blksize\x00512", 10, "without the NUL"),
    ],
)
def test_bytes_that_are_no_packet_are_refused_with_their_offset(data: bytes, offset: int, what: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decode(data)
    assert refused.value.offset == offset
    assert what in refused.value.what


@pytest.mark.parametrize("data", [data for _, _, data in VECTORS])
def test_a_truncated_packet_is_refused_or_is_another_packet_of_exactly_those_bytes(data: bytes) -> None:
    for length in range(len(data)):
        try:
            packet = decode(data[:length])
        except DecodeError as error:
            offset = error.offset
        else:
            offset = length
            assert encode(packet) == data[:length]
        assert 0 <= offset <= length


@pytest.mark.parametrize(
    "packet",
    [
        Data(65536, b""),
        Data(-1, b""),
        Ack(65536),
        Error(-1, "x"),
        Error(0, "a\0b"),
        ReadRequest("a\0b"),
        ReadRequest("a", "octet", (("blk\0size", "1"),)),
        ReadRequest("\ud800"),
        # Two escaped bytes that spell "é" would come back as that.
        ReadRequest("\udcc3\udca9"),
        OptionAck((("a", "\0"),)),
    ],
)
def test_a_value_no_bytes_stand_for_is_not_encoded(packet: Packet) -> None:
    with pytest.raises(ValueError):
        encode(packet)


texts = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
options = st.lists(st.tuples(texts, texts), max_size=4).map(tuple)
numbers = st.integers(0, 0xFFFF)
packets = st.one_of(
    st.builds(ReadRequest, texts, texts, options),
    st.builds(WriteRequest, texts, texts, options),
    st.builds(Data, numbers, st.binary(max_size=600)),
    st.builds(Ack, numbers),
    st.builds(Error, numbers, texts),
    st.builds(OptionAck, options),
)
# Bytes near enough to packets that many are some.
near = st.builds(
    lambda opcode, parts, end: bytes([0, opcode]) + b"\0".join(parts) + end,
    st.integers(0, 8),
    st.lists(st.binary(max_size=6), max_size=7),
    st.sampled_from([b"", b"\0", b"\0\0"]),
)


@given(packets)
def test_every_packet_comes_back_from_its_bytes(packet: Packet) -> None:
    assert decode(encode(packet)) == packet


@given(st.one_of(near, st.binary(max_size=80)))
def test_any_bytes_are_a_packet_of_exactly_those_bytes_or_refused_within_them(data: bytes) -> None:
    try:
        packet = decode(data)
    except DecodeError as error:
        offset = error.offset
    else:
        offset = len(data)
        assert encode(packet) == data
    assert 0 <= offset <= len(data)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("8", 8), ("008", 8), ("9", 9), ("7", None), ("10", None), ("", None), (None, None), ("-8", None)),
        *((" 8", None), ("8.", None), ("+8", None), ("٨", None), ("²", None), ("8" * 5000, None)),
    ],
)
def test_a_number_is_decimal_digits_within_its_range(text: str | None, value: int | None) -> None:
    assert number(text, 8, 9) == value


def test_the_first_option_of_a_name_counts_in_any_case() -> None:
    found = (("a", "1"), ("BlkSize", "2"), ("blksize", "3"))
    assert option(found, "blksize") == "2"
    assert option(found, "tsize") is None


@pytest.mark.parametrize(
    ("asked", "terms"),
    [
        ((), Terms()),
        ((("blksize", "1428"),), Terms(blksize=1428, accepted=(("blksize", "1428"),))),
        ((("BLKsize", "8"),), Terms(blksize=8, accepted=(("BLKsize", "8"),))),
        ((("blksize", "65464"),), Terms(blksize=4096, accepted=(("blksize", "4096"),))),
        ((("blksize", "100000"),), Terms(blksize=4096, accepted=(("blksize", "4096"),))),
        ((("blksize", "7"),), Terms()),
        ((("blksize", "big"),), Terms()),
        ((("tsize", "0"),), Terms(accepted=(("tsize", "10240"),))),
        ((("tsize", ""),), Terms()),
        ((("timeout", "1"),), Terms(timeout=1, accepted=(("timeout", "1"),))),
        ((("timeout", "255"),), Terms(timeout=255, accepted=(("timeout", "255"),))),
        ((("timeout", "0"),), Terms()),
        ((("timeout", "256"),), Terms()),
        ((("windowsize", "4"),), Terms(windowsize=4, accepted=(("windowsize", "4"),))),
        ((("windowsize", "65535"),), Terms(windowsize=16, accepted=(("windowsize", "16"),))),
        ((("windowsize", "0"),), Terms()),
        ((("windowsize", "65536"),), Terms()),
        ((("multicast", ""), ("x", "y")), Terms()),
        ((("blksize", "600"), ("blksize", "700")), Terms(blksize=600, accepted=(("blksize", "600"),))),
        (
            (("tsize", "0"), ("x", "1"), ("blksize", "512"), ("timeout", "2")),
            Terms(blksize=512, timeout=2, accepted=(("tsize", "10240"), ("blksize", "512"), ("timeout", "2"))),
        ),
    ],
)
def test_options_are_accepted_talked_down_or_left_out(asked: tuple[tuple[str, str], ...], terms: Terms) -> None:
    assert negotiate(asked, 10240, max_blksize=4096, max_windowsize=16) == terms


def test_the_size_of_an_empty_file_is_left_out_because_curl_takes_it_for_an_error() -> None:
    assert negotiate((("tsize", "0"), ("blksize", "8")), 0) == Terms(blksize=8, accepted=(("blksize", "8"),))


@given(options, st.integers(0, 2**40))
def test_whatever_is_asked_the_terms_stay_within_their_limits(asked: tuple[tuple[str, str], ...], size: int) -> None:
    terms = negotiate(asked, size)
    assert 8 <= terms.blksize <= 65464
    assert 1 <= terms.windowsize <= 65535
    assert {name for name, _ in terms.accepted} <= {name for name, _ in asked}


@given(st.binary(max_size=100))
def test_netascii_has_no_bare_line_end_and_gives_the_content_back(content: bytes) -> None:
    sent = netascii(content)
    assert all(after in b"\n\0" for before, after in pairwise(sent) if before == 0x0D)
    assert sent.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r") == content


def test_the_error_codes_are_those_of_the_rfcs() -> None:
    assert [code.value for code in ErrorCode] == list(range(9))
    assert ErrorCode(8) is ErrorCode.OPTIONS_REFUSED
