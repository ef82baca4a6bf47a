"""TVS messages: the public capture, properties, and everything that must be refused, with its offset."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbridge.errors import DecodeError
from trustbridge.wire.tvs import (
    HEADER_LENGTH,
    MAX_REQUEST_BODY,
    Message,
    Reader,
    Tag,
    TvsMessage,
    decode,
    encode,
    expected_length,
    query_request,
    response_to,
    verify_request,
)

# A public capture of a CP-8861 that asks a Unified CM node about the signer of a new trust list, as cited in
# wire-formats, section 3: the first bytes of both messages, their lengths, and what they hold.
DEVICE = "CP-8861-SEPB000B4BA0AEE"
SUBJECT = "CN=ucm11pub.stormin.local;OU=IST;O=Stormin;L=Brisbane;ST=QLD;C=AU"
ISSUER = "CN=stormin-WIN2012-CA"
SERIAL = 0x24000000179479B8F124AC3F3B000000000017
SESSION = 1001
QUERY_LENGTH = 153
QUERY_BEGINS = bytes.fromhex(
    "57 01 03 00 00 00 03 e9 00 8f 01 00 18 01 43 50 2d 38 38 36 31 2d 53 45"
    "50 42 30 30 30 42 34 42 41 30 41 45 45 03 00 42 43 4e 3d 75 63 6d 31 31 70 75"
)
RESPONSE_LENGTH = 1480
RESPONSE_BEGINS = bytes.fromhex("57 01 04 f7 00 00 03 e9 05 be 07 00 01 00 02 05 ab 30 82 05 a7")
#: Of the captured certificate only the first bytes are public; its length is in them.
CERTIFICATE = bytes.fromhex("30 82 05 a7") + bytes(range(256)) * 5 + bytes(167)

QUERY = query_request(SESSION, DEVICE, SUBJECT, ISSUER, SERIAL)
VERIFY = verify_request(7, "CP-8865NR-SEP001122334455", b"\x30\x03\x02\x01\x01")
VALID_QUERY = response_to(QUERY, certificate=CERTIFICATE, roles=(0, 3), time_to_live=86400)
VALID_VERIFY = response_to(VERIFY, certificate=CERTIFICATE, roles=(7,), time_to_live=0xFFFFFFFF)
NOT_VALID = response_to(VERIFY, certificate=None)

# (name, message, its bytes in full); by hand from the format, except the capture.
VECTORS: list[tuple[str, TvsMessage, bytes]] = [
    (
        "the captured query",
        QUERY,
        bytes.fromhex("57010300 000003e9 008f")
        + bytes.fromhex("01 0018 01")
        + DEVICE.encode()
        + bytes.fromhex("03 0042")
        + SUBJECT.encode()
        + b"\0"
        + bytes.fromhex("04 0016")
        + ISSUER.encode()
        + b"\0"
        + bytes.fromhex("05 0013 24000000179479B8F124AC3F3B000000000017"),
    ),
    (
        "its answer, with zero where that server wrote garbage",
        VALID_QUERY,
        bytes.fromhex("57010400 000003e9 05be 07 0001 00 02 05ab")
        + CERTIFICATE
        + bytes.fromhex("08 0002 00 03 09 0004 00015180"),
    ),
    (
        "a verify request",
        VERIFY,
        bytes.fromhex("57010100 00000007 0025 01 001a 01")
        + b"CP-8865NR-SEP001122334455"
        + bytes.fromhex("02 0005 3003020101"),
    ),
    (
        "a valid verify response holds no certificate: the phone has it",
        VALID_VERIFY,
        bytes.fromhex("57010200 00000007 000f 07 0001 00 08 0001 07 09 0004 ffffffff"),
    ),
    ("a verify response that is not valid", NOT_VALID, bytes.fromhex("57010200 00000007 0004 07 0001 01")),
    (
        "a query response that is not valid",
        response_to(QUERY, certificate=None),
        bytes.fromhex("57010400 000003e9 0004 07 0001 01"),
    ),
    (
        "garbage in the reserved byte, unknown elements and an unusual order stay",
        TvsMessage(Message.VERIFY_RESPONSE, 0xFFFFFFFF, ((200, b"new"), (9, bytes(4)), (7, b"\1"), (200, b"")), 0xF7),
        bytes.fromhex("570102f7 ffffffff 0014 c8 0003 6e6577 09 0004 00000000 07 0001 01 c8 0000"),
    ),
]
WHOLE = [pytest.param(message, data, id=name) for name, message, data in VECTORS]


@pytest.mark.parametrize(("message", "data"), WHOLE)
def test_messages_are_these_bytes(message: TvsMessage, data: bytes) -> None:
    assert encode(message) == data
    assert decode(data) == message


def test_the_captured_request_is_made_from_subject_issuer_and_serial() -> None:
    data = encode(QUERY)
    assert len(data) == QUERY_LENGTH
    assert data.startswith(QUERY_BEGINS)


def test_a_query_is_answered_in_the_layout_of_the_capture() -> None:
    assert len(CERTIFICATE) == 1451
    data = encode(VALID_QUERY)
    assert len(data) == RESPONSE_LENGTH
    assert data.startswith(bytes.fromhex("57 01 04 00"))
    assert data[4:].startswith(RESPONSE_BEGINS[4:])
    assert data.endswith(bytes.fromhex("08 0002 0003  09 0004 00015180"))


def test_the_garbage_of_real_servers_is_read_over() -> None:
    captured = RESPONSE_BEGINS + encode(VALID_QUERY)[len(RESPONSE_BEGINS) :]
    message = decode(captured)
    assert message.reserved == 0xF7
    assert message.elements == VALID_QUERY.elements
    assert encode(message) == captured


@pytest.mark.parametrize(
    ("message", "read"),
    [
        (QUERY, (DEVICE, None, SUBJECT, ISSUER, SERIAL, False, (), None)),
        (VERIFY, ("CP-8865NR-SEP001122334455", b"\x30\x03\x02\x01\x01", None, None, None, False, (), None)),
        (VALID_QUERY, (None, CERTIFICATE, None, None, None, True, (0, 3), 86400)),
        (VALID_VERIFY, (None, None, None, None, None, True, (7,), 0xFFFFFFFF)),
        (NOT_VALID, (None, None, None, None, None, False, (), None)),
    ],
)
def test_a_message_tells_what_it_holds(message: TvsMessage, read: tuple[object, ...]) -> None:
    message = decode(encode(message))
    assert read == (
        message.device,
        message.certificate,
        message.subject,
        message.issuer,
        message.serial,
        message.valid,
        message.roles,
        message.time_to_live,
    )


def test_the_first_of_several_elements_counts() -> None:
    message = decode(bytes.fromhex("57010200 00000000 0008 07 0001 01 07 0001 00"))
    assert not message.valid


@pytest.mark.parametrize(
    ("serial", "value"),
    [(0, "00"), (1, "01"), (0x80, "80"), (0xFF, "ff"), (0x100, "0100"), (SERIAL, f"{SERIAL:038x}")],
)
def test_a_serial_number_is_written_unsigned_without_a_leading_zero(serial: int, value: str) -> None:
    message = query_request(1, "d", "CN=a", "CN=b", serial)
    assert message.first(Tag.SERIAL) == bytes.fromhex(value)
    assert message.serial == serial


# Refusals: (bytes, offset, words).
OK = encode(VERIFY)
REFUSED: list[tuple[str, bytes, int, str]] = [
    ("nothing", b"", 0, "header cut short"),
    ("HTTP", b"GET / HTTP/1.1\r\n\r\n", 0, "protocol byte 0x47"),
    ("another version", b"\x57\x02" + OK[2:], 1, "version 2"),
    ("message 0", b"\x57\x01\x00" + OK[3:], 2, "unknown TVS message 0"),
    ("message 5", b"\x57\x01\x05" + OK[3:], 2, "unknown TVS message 5"),
    ("a byte too many", OK + b"\0", len(OK), "1 bytes after the end"),
    ("an element beyond the body", bytes.fromhex("57010200 00000000 0004 07 0002 01"), 10, "claims 2 bytes"),
    ("half an element's header", bytes.fromhex("57010200 00000000 0006 07 0001 01 09 00"), 14, "cut short"),
    ("no device name", bytes.fromhex("57010100 00000000 0003 02 0000"), 13, "without device name"),
    ("no certificate", bytes.fromhex("57010100 00000000 0003 01 0000"), 13, "without certificate"),
    ("no issuer", bytes.fromhex("57010300 00000000 0007 01 0000 05 0001 01"), 17, "without issuer"),
    ("no serial number", bytes.fromhex("57010300 00000000 0007 01 0000 04 0001 00"), 17, "without serial"),
    ("no status", bytes.fromhex("57010400 00000000 0000"), 10, "without status"),
    ("a status of two bytes", bytes.fromhex("57010400 00000000 0005 07 0002 0000"), 10, "has 2 bytes, expected 1"),
    ("a status of none", bytes.fromhex("57010200 00000000 0003 07 0000"), 10, "has 0 bytes, expected 1"),
    (
        "a time to live of three bytes",
        bytes.fromhex("57010200 00000000 000a 07 0001 00 09 0003 000000"),
        14,
        "has 3 bytes, expected 4",
    ),
]
REFUSALS = [pytest.param(data, offset, words, id=name) for name, data, offset, words in REFUSED]


@pytest.mark.parametrize(("data", "offset", "words"), REFUSALS)
def test_what_is_no_message_is_refused_with_its_offset(data: bytes, offset: int, words: str) -> None:
    with pytest.raises(DecodeError, match=words) as caught:
        decode(data)
    assert caught.value.offset == offset


@pytest.mark.parametrize(("message", "data"), WHOLE)
def test_a_truncated_message_is_refused_wherever_it_is_cut(message: TvsMessage, data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(DecodeError, match="cut short") as caught:
            decode(data[:end])
        assert caught.value.offset == end
        assert Reader().feed(data[:end]) is None


@pytest.mark.parametrize(("message", "data"), WHOLE)
def test_a_message_is_read_byte_by_byte(message: TvsMessage, data: bytes) -> None:
    reader = Reader()
    for at in range(len(data) - 1):
        assert reader.feed(data[at : at + 1]) is None
        assert reader.held == at + 1
    assert reader.feed(data[-1:]) == message
    assert reader.held == 0


@pytest.mark.parametrize(("message", "data"), WHOLE)
def test_what_follows_a_message_is_kept_for_the_next(message: TvsMessage, data: bytes) -> None:
    reader = Reader()
    assert reader.feed(data + OK + OK[:5]) == message
    assert reader.held == len(OK) + 5
    assert reader.feed(b"") == VERIFY
    assert reader.feed(b"") is None
    assert reader.feed(OK[5:]) == VERIFY


@pytest.mark.parametrize(
    ("begin", "offset"),
    [(b"\x16", 0), (b"\x57\x03", 1), (b"\x57\x01\x09", 2), (OK[:10] + b"\x02\xff\xff" + bytes(0x25 - 3), 10)],
)
def test_a_reader_refuses_as_soon_as_no_message_can_come(begin: bytes, offset: int) -> None:
    reader = Reader()
    for at in range(len(begin) - 1):
        assert reader.feed(begin[at : at + 1]) is None
    with pytest.raises(DecodeError) as caught:
        reader.feed(begin[-1:])
    assert caught.value.offset == offset


@pytest.mark.parametrize("size", [MAX_REQUEST_BODY + 1, 0xFFFF])
def test_a_reader_refuses_a_body_over_its_limit_from_the_header_alone(size: int) -> None:
    header = OK[:8] + size.to_bytes(2)
    assert Reader().feed(header) is None
    with pytest.raises(DecodeError, match=f"body of {size} bytes, more than the {MAX_REQUEST_BODY}") as caught:
        Reader(MAX_REQUEST_BODY).feed(header)
    assert caught.value.offset == 8


def test_a_body_at_the_limit_is_read() -> None:
    spare = MAX_REQUEST_BODY - len(encode(verify_request(1, "d", b""))) + HEADER_LENGTH
    data = encode(verify_request(1, "d", bytes(spare)))
    assert len(data) == HEADER_LENGTH + MAX_REQUEST_BODY
    message = Reader(MAX_REQUEST_BODY).feed(data)
    assert message is not None
    assert message.certificate == bytes(spare)


UNFIT: list[tuple[str, Callable[[], object]]] = [
    ("a body over 65535 bytes", lambda: encode(verify_request(1, "d", bytes(0xFFFF)))),
    ("a session over 32 bits", lambda: encode(verify_request(1 << 32, "d", b""))),
    ("a negative session", lambda: encode(verify_request(-1, "d", b""))),
    ("a reserved byte over 8 bits", lambda: encode(TvsMessage(Message.QUERY_RESPONSE, 1, ((7, b"\1"),), 256))),
    ("a device name that is not ASCII", lambda: verify_request(1, "Téléphone", b"")),
    ("a negative serial number", lambda: query_request(1, "d", "", "", -1)),
    ("a role over 255", lambda: response_to(QUERY, certificate=b"", roles=(256,))),
    ("a time to live over 32 bits", lambda: response_to(QUERY, certificate=b"", time_to_live=1 << 32)),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in UNFIT])
def test_a_value_that_does_not_fit_is_a_value_error(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()


# Properties.
SESSIONS = st.integers(0, 0xFFFFFFFF)
UNKNOWN = st.tuples(st.sampled_from([0, 6, 10, 100, 255]), st.binary(max_size=30))
NAMED = {
    Tag.DEVICE_NAME: st.binary(max_size=30),
    Tag.CERTIFICATE: st.binary(max_size=60),
    Tag.SUBJECT: st.binary(max_size=30),
    Tag.ISSUER: st.binary(max_size=30),
    Tag.SERIAL: st.binary(max_size=20),
    Tag.STATUS: st.binary(min_size=1, max_size=1),
    Tag.ROLES: st.binary(max_size=5),
    Tag.TIME_TO_LIVE: st.binary(min_size=4, max_size=4),
}
NEEDED = {
    Message.VERIFY_REQUEST: (Tag.DEVICE_NAME, Tag.CERTIFICATE),
    Message.QUERY_REQUEST: (Tag.DEVICE_NAME, Tag.ISSUER, Tag.SERIAL),
    Message.VERIFY_RESPONSE: (Tag.STATUS,),
    Message.QUERY_RESPONSE: (Tag.STATUS,),
}


@st.composite
def messages(draw: st.DrawFn) -> TvsMessage:
    """Any message that is well formed: what its kind needs, more, and the unknown, in any order."""
    kind = draw(st.sampled_from(Message))
    elements = [(int(tag), draw(NAMED[tag])) for tag in NEEDED[kind]]
    for tag in draw(st.lists(st.sampled_from(list(NAMED)), max_size=3)):
        elements.append((int(tag), draw(NAMED[tag])))
    elements += draw(st.lists(UNKNOWN, max_size=3))
    return TvsMessage(kind, draw(SESSIONS), tuple(draw(st.permutations(elements))), draw(st.integers(0, 255)))


@given(messages())
def test_a_message_survives_the_wire(message: TvsMessage) -> None:
    assert decode(encode(message)) == message


@given(messages(), st.data())
def test_damaged_bytes_are_refused_or_read_exactly(message: TvsMessage, data: st.DataObject) -> None:
    damaged = bytearray(encode(message))
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] = data.draw(st.integers(0, 255))
    _refused_or_exact(bytes(damaged))


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_or_read_exactly(data: bytes) -> None:
    _refused_or_exact(data)


@given(st.sampled_from(Message), st.binary(max_size=80))
def test_any_body_is_refused_or_read_exactly(kind: Message, body: bytes) -> None:
    _refused_or_exact(bytes([0x57, 1, kind, 0, 0, 0, 0, 0]) + len(body).to_bytes(2) + body)


def _refused_or_exact(data: bytes) -> None:
    offset = None
    try:
        message = decode(data)
    except DecodeError as error:
        offset = error.offset
    if offset is None:
        assert encode(message) == data
    else:
        assert 0 <= offset <= len(data)


@settings(max_examples=50)
@given(st.lists(messages(), min_size=1, max_size=4), st.data())
def test_a_stream_is_read_the_same_in_whatever_pieces(sent: list[TvsMessage], data: st.DataObject) -> None:
    stream = b"".join(encode(message) for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = Reader()
    read: list[TvsMessage] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        message = reader.feed(stream[begin:end])
        while message is not None:
            read.append(message)
            message = reader.feed(b"")
    assert read == sent
    assert reader.held == 0


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=30), st.text(max_size=30), st.integers(0, 1 << 160))
def test_a_query_tells_what_it_was_made_of(device: str, name: str, serial: int) -> None:
    name = name.removesuffix("\0")
    message = decode(encode(query_request(1, device, name, name, serial)))
    assert (message.device, message.subject, message.issuer, message.serial) == (device, name, name, serial)


@given(st.binary(max_size=20))
def test_the_expected_length_is_told_once_the_header_is_whole(body: bytes) -> None:
    data = encode(verify_request(1, "d", body))
    assert [expected_length(data[:end]) for end in range(HEADER_LENGTH)] == [None] * HEADER_LENGTH
    assert expected_length(data[:HEADER_LENGTH]) == len(data)
    assert expected_length(bytearray(data)) == len(data)
