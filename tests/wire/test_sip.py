"""SIP messages: byte-exact both ways, in any pieces, and one error with an offset for everything else."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import DecodeError
from trustbridge.wire import sip
from trustbridge.wire.sip import Header, KeepAlive, Request, Response


def lines(*texts: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*texts, "", ""]).encode() + body


#: RFC 3261, 24.1: F1 and F2.
RFC_REGISTER = lines(
    "REGISTER sip:registrar.biloxi.com SIP/2.0",
    "Via: SIP/2.0/UDP bobspc.biloxi.com:5060;branch=z9hG4bKnashds7",
    "Max-Forwards: 70",
    "To: Bob <sip:bob@biloxi.com>",
    "From: Bob <sip:bob@biloxi.com>;tag=456248",
    "Call-ID: 843817637684230@998sdasdh09",
    "CSeq: 1826 REGISTER",
    "Contact: <sip:bob@192.0.2.4>",
    "Expires: 7200",
    "Content-Length: 0",
)
RFC_OK = lines(
    "SIP/2.0 200 OK",
    "Via: SIP/2.0/UDP bobspc.biloxi.com:5060;branch=z9hG4bKnashds7",
    " ;received=192.0.2.4",
    "To: Bob <sip:bob@biloxi.com>;tag=2493k59kd",
    "From: Bob <sip:bob@biloxi.com>;tag=456248",
    "Call-ID: 843817637684230@998sdasdh09",
    "CSeq: 1826 REGISTER",
    "Contact: <sip:bob@192.0.2.4>",
    "Expires: 7200",
    "Content-Length: 0",
)
#: Odd but allowed, in the manner of RFC 4475, 3.1.1.1: space before colons, folds, compact names, no reason, bytes
#: that are not UTF-8.
ODD = lines(
    "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0",
    "TO :",
    " sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
    "v:SIP / 2.0 / TCP     192.0.2.2 ;branch=390skdjuw",
    "Subject:\t",
    "NewFangledHeader:   newfangled value",
    "\tcontinued newfangled value  ",
    "UnknownHeaderWithUnusualValue: ;;,,;;,;",
    "l: 5",
    body=b"v=0\r\n",
)
BODY = lines("SIP/2.0 403 ", "Content-Length: 4", body=b"\r\n\r\n")
LATIN = b"SIP/2.0 200 OK\r\nSubject: caf\xe9\r\n\r\n"
VECTORS = [RFC_REGISTER, RFC_OK, ODD, BODY, LATIN]


@pytest.mark.parametrize("data", VECTORS)
def test_accepted_bytes_come_back_the_same(data: bytes) -> None:
    assert sip.encode(sip.decode(data)) == data


def test_a_request_is_read_as_the_rfc_prints_it() -> None:
    message = sip.decode(RFC_REGISTER)
    assert isinstance(message, Request)
    assert (message.method, message.uri, message.body) == ("REGISTER", "sip:registrar.biloxi.com", b"")
    assert message.headers[0] == Header("Via", "SIP/2.0/UDP bobspc.biloxi.com:5060;branch=z9hG4bKnashds7")
    assert message.first("call-id") == "843817637684230@998sdasdh09"
    assert message.first("i") == "843817637684230@998sdasdh09"
    assert message.first("Subject") is None


def test_folded_and_compact_headers_are_read_as_plain_ones() -> None:
    message = sip.decode(ODD)
    assert message.first("To") == "sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n"
    assert message.all("Via") == ["SIP / 2.0 / TCP     192.0.2.2 ;branch=390skdjuw"]
    assert message.first("NewFangledHeader") == "newfangled value continued newfangled value"
    assert message.first("Subject") == ""
    assert message.body == b"v=0\r\n"


def test_a_response_may_go_without_a_reason() -> None:
    message = sip.decode(BODY)
    assert message == Response(403, "", (Header("Content-Length", "4"),), b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "offset", "word"),
    [
        (b"", 0, "cut short"),
        (b"REGISTER sip:a SIP/2.0\r\n", 24, "cut short"),
        (b"REGISTER sip:a SIP/2.0\n\n", 24, "cut short"),
        (b"GET / HTTP/1.1\r\n\r\n", 0, "neither"),
        (b"REGISTER sip:a SIP/3.0\r\n\r\n", 0, "neither"),
        (b"REGISTER  sip:a SIP/2.0\r\n\r\n", 0, "neither"),
        (b"SIP/2.0 99 x\r\n\r\n", 0, "neither"),
        (b"SIP/2.0 200 O\nK\r\n\r\n", 0, "neither"),
        (b"SIP/2.0 200 OK\r\nno colon\r\n\r\n", 16, "header line"),
        (b"SIP/2.0 200 OK\r\nA: 1\r\nB: \x00\r\n\r\n", 22, "header line"),
        (b"SIP/2.0 200 OK\r\nA: 1\rB: 2\r\n\r\n", 16, "header line"),
        (b"SIP/2.0 200 OK\r\n continued\r\n\r\n", 16, "continues nothing"),
        (b"SIP/2.0 200 OK\r\nA: 1\r\n \x7f\r\n\r\n", 22, "continues nothing"),
        (b"SIP/2.0 200 OK\r\nA:1\r\nl: x\r\n\r\n", 21, "Content-Length"),
        (b"SIP/2.0 200 OK\r\nl: -1\r\n\r\n", 16, "Content-Length"),
        (b"SIP/2.0 200 OK\r\nl: " + b"9" * 5000 + b"\r\n\r\n", 16, "Content-Length"),
        (b"SIP/2.0 200 OK\r\nl: 0\r\nContent-Length: 1\r\n\r\n", 22, "Content-Length"),
        (b"SIP/2.0 200 OK\r\nl: 2\r\n\r\na", 25, "1 of 2"),
        (b"SIP/2.0 200 OK\r\nl: 2\r\n\r\nabc", 26, "1 bytes after"),
    ],
)
def test_other_bytes_are_refused_with_their_offset(data: bytes, offset: int, word: str) -> None:
    with pytest.raises(DecodeError, match=word) as caught:
        sip.decode(data)
    assert caught.value.offset == offset


@pytest.mark.parametrize("data", [RFC_REGISTER, RFC_OK, ODD, BODY])
def test_every_truncation_is_refused_and_no_truncation_is_a_message_of_a_stream(data: bytes) -> None:
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            sip.decode(data[:size])
        assert sip.Reader().feed(data[:size]) is None


@pytest.mark.parametrize("data", [RFC_REGISTER, RFC_OK, ODD, BODY])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 10_000])
def test_a_stream_in_any_pieces_gives_the_same_messages(data: bytes, step: int) -> None:
    reader = sip.Reader()
    stream = data + b"\r\n" + data + data
    found = []
    for at in range(0, len(stream), step):
        message = reader.feed(stream[at : at + step])
        while message is not None:
            found.append(message)
            message = reader.feed(b"")
    assert found == [sip.decode(data)] * 3
    assert not reader.pending


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_two_line_ends_are_a_ping_and_one_is_nothing(step: int) -> None:
    reader = sip.Reader()
    stream = b"\r\n\r\n" + b"\r\n" + RFC_OK + b"\r\n" + RFC_OK + b"\r\n\r\n\r\n\r\n"
    found: list[object] = []
    for at in range(0, len(stream), step):
        message = reader.feed(stream[at : at + step])
        while message is not None:
            found.append(message)
            message = reader.feed(b"")
    ok = sip.decode(RFC_OK)
    assert found == [KeepAlive.PING, ok, ok, KeepAlive.PING, KeepAlive.PING]


def test_a_message_without_length_has_no_body_on_a_stream_and_all_of_a_datagram() -> None:
    data = b"SIP/2.0 200 OK\r\nA: b\r\n\r\nrest"
    assert sip.decode(data).body == b"rest"
    reader = sip.Reader()
    message = reader.feed(data)
    assert isinstance(message, Response)
    assert message.body == b""
    assert reader.pending


def test_headers_and_bodies_over_the_limit_are_refused_before_they_are_there() -> None:
    with pytest.raises(DecodeError, match="more than the 100 bytes") as caught:
        sip.Reader(max_headers=100).feed(b"A" * 101)
    assert caught.value.offset == 100
    with pytest.raises(DecodeError, match="more than the 100 bytes"):
        sip.Reader(max_headers=100).feed(RFC_OK)
    with pytest.raises(DecodeError, match="body of 65 bytes, more than the 64"):
        sip.Reader(max_body=64).feed(b"SIP/2.0 200 OK\r\nl: 65\r\n\r\n")
    exact = b"SIP/2.0 200 OK\r\nl: 64\r\n\r\n"
    assert sip.Reader(max_headers=len(exact) - 4, max_body=64).feed(exact + bytes(64)) is not None


def test_endless_spaces_and_folds_cost_no_time() -> None:
    spaces = b" " * 16_000
    bad = b"SIP/2.0 200 OK\r\nA:" + spaces + b"\x00\r\n\r\n"
    good = b"SIP/2.0 200 OK\r\nA: x" + spaces + b"\r\n" + spaces + b"y\r\n\r\n"
    begin = time.process_time()
    with pytest.raises(DecodeError):
        sip.decode(bad)
    assert sip.decode(good).first("A") == "x y"
    assert time.process_time() - begin < 0.2


@pytest.mark.parametrize(
    "message",
    [
        Response(200, "OK", (Header("A", "b\r\nC: d"),)),
        Response(200, "OK\r\nA: b", ()),
        Response(99, "OK", ()),
        Response(200, "OK", (Header("A b", "c"),)),
        Response(200, "OK", (Header("A", " c"),)),
        Response(200, "OK", (Header("A", "c", "="),)),
        Response(200, "OK", (Header("Content-Length", "1"),)),
        Response(200, "\ud800", ()),
        Request("REG ISTER", "sip:a", ()),
        Request("REGISTER", "sip:a b", ()),
        Request("SIP/2.0", "200", ()),
    ],
)
def test_what_would_not_read_back_is_not_written(message: Request | Response) -> None:
    with pytest.raises(ValueError, match=r"not a SIP message|surrogates"):
        sip.encode(message)


TOKENS = st.text("ABCxyz019-._!%*+`'~", min_size=1, max_size=12)
VALUES = st.from_regex(r"\A(?:[!-~\u00a0-\u2fff][ -~\u00a0-\u2fff\t]{0,20})?(?:\r\n[ \t][ -~]{0,9})?\Z")
HEADERS = st.builds(Header, TOKENS, VALUES, st.sampled_from([": ", ":", " :\t", "  :  "])).filter(
    lambda header: sip.long_name(header.name) != "content-length"
)


@st.composite
def messages(draw: st.DrawFn) -> Request | Response:
    body = draw(st.binary(max_size=40))
    headers = [
        *draw(st.lists(HEADERS, max_size=5)),
        Header(draw(st.sampled_from(["l", "CONTENT-length"])), str(len(body))),
    ]
    order = tuple(draw(st.permutations(headers)))
    if draw(st.booleans()):
        uri = draw(st.from_regex(r"\Asips?:[!-~]{1,20}\Z"))
        return Request(draw(TOKENS), uri, order, body)
    reason = draw(st.from_regex(r"\A[ -~\u00a0-\u2fff]{0,20}\Z"))
    return Response(draw(st.integers(100, 699)), reason, order, body)


@given(messages())
def test_any_message_reads_back_as_it_was(message: Request | Response) -> None:
    data = sip.encode(message)
    assert sip.decode(data) == message
    reader = sip.Reader()
    assert reader.feed(data + b"tail") == message


def refusal(data: bytes) -> DecodeError | None:
    """The error of bytes that are refused; None after bytes that came back the same."""
    try:
        message = sip.decode(data)
    except DecodeError as error:
        return error
    assert sip.encode(message) == data
    return None


@given(st.binary(max_size=200))
def test_any_bytes_give_the_same_bytes_back_or_one_error(data: bytes) -> None:
    error = refusal(data)
    assert error is None or 0 <= error.offset <= len(data)


@given(st.sampled_from(VECTORS), st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_message_with_changed_bytes_reads_back_exactly_or_is_refused(data: bytes, at: int, change: bytes) -> None:
    changed = data[:at] + change + data[at + len(change) :]
    error = refusal(changed)
    assert error is None or 0 <= error.offset <= len(changed)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_a_reader_takes_any_stream_or_refuses_it(pieces: list[bytes]) -> None:
    reader = sip.Reader(max_headers=100, max_body=100)
    found: list[object] = []
    with contextlib.suppress(DecodeError):
        for piece in pieces:
            found.append(reader.feed(piece))
            while found[-1] is not None:
                found.append(reader.feed(b""))
    assert all(item is None or isinstance(item, Request | Response | KeepAlive) for item in found)
