"""One client's TLS and TVS, without sockets: what arrives in whatever pieces, and what is answered in which records."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest

from trustbridge.clients.tls import TlsIdentity, client_context
from trustbridge.errors import TrustbridgeError
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services.tvssession import Desk, Ending, Phase, TvsSession
from trustbridge.wire.tvs import (
    MAX_REQUEST_BODY,
    Message,
    TvsMessage,
    decode,
    encode,
    query_request,
    response_to,
    verify_request,
)

CERTIFICATE = bytes(range(256)) * 5 + bytes(171)
QUERY = query_request(1001, "CP-8861-SEPB000B4BA0AEE", "CN=a", "CN=b", 5)
VERIFY = verify_request(1002, "CP-8861-SEPB000B4BA0AEE", CERTIFICATE)
APPLICATION_DATA = 23


def vouch(request: TvsMessage) -> TvsMessage:
    return response_to(request, certificate=CERTIFICATE, roles=(0, 3), time_to_live=86400)


@pytest.fixture(scope="module")
def server() -> ssl.SSLContext:
    made = self_signed(
        node="cm1", unit=Unit.TVS, common_name="cm1", organisation=Organisation(), now=datetime.now(UTC), key="p256"
    )
    return TlsIdentity.of(made).server_context()


def client_of(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


class Phone:
    """The client's end of a session, over memory. `piece` is how many bytes the session is handed at once."""

    def __init__(self, server: ssl.SSLContext, desk: Desk, client: ssl.SSLContext, piece: int = 1 << 20) -> None:
        self.session = TvsSession(server, desk)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client.wrap_bio(self._incoming, self._outgoing)
        self._piece = piece
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.exchange()
            else:
                self.exchange()
                break

    def exchange(self) -> bytes:
        """Hand over what the client has to say; give what the session sent, as it went over the wire."""
        data = self._outgoing.read()
        sent = b""
        for at in range(0, len(data), self._piece):
            if self.session.ending is None:
                sent += self.session.receive(data[at : at + self._piece])
        self._incoming.write(sent)
        return sent

    def stand(self) -> tuple[Phase, int]:
        """What the session waits for, and its turn."""
        return self.session.phase, self.session.turn

    def say(self, *records: bytes) -> bytes:
        for record in records:
            self.tls.write(record)
        return self.exchange()

    def hear(self) -> bytes:
        heard = b""
        while True:
            try:
                data = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                return heard
            if not data:
                return heard
            heard += data


def records(wire: bytes) -> list[int]:
    """Content types of the TLS records in `wire`, which must hold whole ones."""
    types = []
    at = 0
    while at < len(wire):
        types.append(wire[at])
        at += 5 + int.from_bytes(wire[at + 3 : at + 5])
    assert at == len(wire)
    return types


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("request_", [QUERY, VERIFY], ids=["query", "verify"])
def test_a_request_is_answered_however_it_arrives(
    server: ssl.SSLContext, version: ssl.TLSVersion, piece: int, request_: TvsMessage
) -> None:
    desk = Desk(vouch)
    phone = Phone(server, desk, client_of(version), piece)
    assert phone.tls.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    phone.say(encode(request_))
    assert decode(phone.hear()) == vouch(request_)
    assert desk.counters.handshakes == 1
    assert desk.counters.requests == {request_.message: 1}
    assert desk.counters.vouched == 1


def test_an_answer_is_one_record_of_its_own(server: ssl.SSLContext) -> None:
    phone = Phone(server, Desk(vouch), client_context())
    assert records(phone.say(encode(QUERY))) == [APPLICATION_DATA]
    assert records(phone.say(encode(QUERY) + encode(VERIFY))) == [APPLICATION_DATA] * 2


@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_header_and_body_may_come_in_records_of_their_own(server: ssl.SSLContext, piece: int) -> None:
    phone = Phone(server, Desk(vouch), client_context(), piece)
    data = encode(QUERY)
    assert phone.say(data[:10]) == b""
    assert phone.stand()[0] is Phase.IN_REQUEST
    phone.say(data[10:])
    assert decode(phone.hear()) == vouch(QUERY)
    assert phone.stand()[0] is Phase.IDLE


def test_every_byte_may_come_in_a_record_of_its_own(server: ssl.SSLContext) -> None:
    phone = Phone(server, Desk(vouch), client_context())
    data = encode(QUERY)
    for at in range(len(data) - 1):
        assert phone.say(data[at : at + 1]) == b""
    phone.say(data[-1:])
    assert decode(phone.hear()) == vouch(QUERY)


def test_requests_in_one_go_are_answered_in_order_and_the_rest_is_kept(server: ssl.SSLContext) -> None:
    phone = Phone(server, Desk(vouch), client_context())
    data = b"".join(encode(verify_request(session, "d", b"x")) for session in range(50))
    phone.say(data[:-1])
    turn = phone.session.turn
    assert phone.stand()[0] is Phase.IN_REQUEST
    phone.say(data[-1:])
    answers = phone.hear()
    size = len(answers) // 50
    assert [decode(answers[at : at + size]).session for at in range(0, len(answers), size)] == list(range(50))
    assert phone.session.turn == turn + 1


def test_a_turn_is_a_handshake_a_request_begun_and_one_answered(server: ssl.SSLContext) -> None:
    phone = Phone(server, Desk(vouch), client_context())
    assert phone.stand() == (Phase.IDLE, 1)
    data = encode(QUERY)
    for begun in data[:-1]:
        phone.say(bytes([begun]))
        assert phone.stand() == (Phase.IN_REQUEST, 2)  # dripping gains no time
    phone.say(data[-1:])
    assert phone.stand() == (Phase.IDLE, 3)
    phone.say(data)
    assert phone.stand() == (Phase.IDLE, 4)


BAD: list[tuple[str, bytes, Ending, str]] = [
    ("HTTP inside TLS", b"GET / HTTP/1.1\r\n", Ending.MALFORMED, "protocol byte 0x47"),
    ("another version", b"\x57\x02", Ending.MALFORMED, "version 2"),
    ("an unknown message", bytes.fromhex("57010900 00000001 0000"), Ending.MALFORMED, "unknown TVS message 9"),
    ("a verify response", encode(vouch(VERIFY)), Ending.NOT_A_REQUEST, "verify response"),
    ("a query response", encode(vouch(QUERY)), Ending.NOT_A_REQUEST, "query response"),
    ("a body too long", bytes.fromhex("57010100 00000001 4001"), Ending.MALFORMED, f"more than the {MAX_REQUEST_BODY}"),
    ("an element too long", bytes.fromhex("57010100 00000001 0003 01ffff"), Ending.MALFORMED, "claims 65535 bytes"),
    ("no certificate", bytes.fromhex("57010100 00000001 0003 010000"), Ending.MALFORMED, "without certificate"),
    ("a good one, then a bad one", encode(VERIFY) + b"\0", Ending.MALFORMED, "protocol byte 0x00"),
]


@pytest.mark.parametrize(("data", "ending", "words"), [pytest.param(d, e, w, id=n) for n, d, e, w in BAD])
def test_bad_requests_end_the_session_with_words(
    server: ssl.SSLContext, data: bytes, ending: Ending, words: str
) -> None:
    phone = Phone(server, Desk(vouch), client_context())
    phone.say(data)
    assert phone.session.ending is ending
    assert words in phone.session.detail


def test_what_was_asked_before_a_bad_request_is_answered(server: ssl.SSLContext) -> None:
    phone = Phone(server, Desk(vouch), client_context())
    phone.say(encode(VERIFY) + b"\0")
    assert decode(phone.hear()) == vouch(VERIFY)


@pytest.mark.parametrize("first", [b"G", b"\0", b"\x15", b"\x17", b"\x7f"])
def test_what_can_not_be_tls_ends_at_its_first_byte(server: ssl.SSLContext, first: bytes) -> None:
    session = TvsSession(server, Desk(vouch))
    assert session.receive(first) == b""
    assert session.ending is Ending.NOT_TLS
    assert session.detail == f"first byte 0x{first.hex()}"


def test_what_only_begins_like_tls_ends_with_an_alert(server: ssl.SSLContext) -> None:
    session = TvsSession(server, Desk(vouch))
    alert = session.receive(b"\x16\x03\x01\x00\x05hello")
    assert session.ending is Ending.HANDSHAKE_FAILED
    assert session.detail
    assert alert[0] == 21


def test_damaged_records_end_the_session(server: ssl.SSLContext) -> None:
    phone = Phone(server, Desk(vouch), client_context())
    phone.session.receive(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert phone.session.ending is Ending.BROKEN_TLS
    assert "mac" in phone.session.detail


def test_a_goodbye_ends_the_session_as_it_should(server: ssl.SSLContext) -> None:
    phone = Phone(server, Desk(vouch), client_context())
    phone.tls.write(encode(QUERY))
    with pytest.raises(ssl.SSLWantReadError):
        phone.tls.unwrap()
    sent = phone.exchange()
    assert phone.session.ending is Ending.CLOSED
    assert records(sent)[0] == APPLICATION_DATA  # what was asked before it is answered
    assert phone.session.detail == ""


def test_the_server_says_goodbye_in_tls(server: ssl.SSLContext) -> None:
    phone = Phone(server, Desk(vouch), client_of(ssl.TLSVersion.TLSv1_2))
    assert records(phone.session.farewell()) == [21]
    assert TvsSession(server, Desk(vouch)).farewell() == b""


def test_an_answer_that_fails_ends_one_session_and_no_other(server: ssl.SSLContext) -> None:
    def refuse(request: TvsMessage) -> TvsMessage:
        raise TrustbridgeError("no stores")

    desk = Desk(refuse)
    phone, other = Phone(server, desk, client_context()), Phone(server, desk, client_context())
    assert phone.say(encode(QUERY)) == b""
    assert phone.session.ending is Ending.UNANSWERED
    assert phone.session.detail == "TrustbridgeError: no stores"
    desk.answer = vouch
    other.say(encode(QUERY))
    assert decode(other.hear()) == vouch(QUERY)
    assert desk.counters.requests == {Message.QUERY_REQUEST: 1}


def test_an_answer_too_long_for_its_length_field_ends_the_session(server: ssl.SSLContext) -> None:
    desk = Desk(lambda request: response_to(request, certificate=bytes(0xFFFF), roles=(0,), time_to_live=1))
    phone = Phone(server, desk, client_context())
    assert phone.say(encode(QUERY)) == b""
    assert phone.session.ending is Ending.UNANSWERED
    assert "16-bit" in phone.session.detail
