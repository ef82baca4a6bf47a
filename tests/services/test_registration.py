"""What a registrar makes of each SIP message, without sockets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trustbridge.services.registration import (
    Client,
    RegistrarCounters,
    Registration,
    RegistrationAnswer,
    answer,
)
from trustbridge.wire import sip, sipregister
from trustbridge.wire.sip import Header, Request, Response

CLIENT = Client(("127.30.0.7", 40000), secure=False)


def request(seconds: int = 120, method: str = "REGISTER", **changes: str) -> Request:
    """A phone's REGISTER with headers changed, or left out where the change is empty."""
    made = sipregister.register_request(
        registrar="127.10.1.1",
        user="1001",
        device="SEP001122334455",
        model="684",
        local=("127.30.0.7", 51060),
        seconds=seconds,
        call_id="c1",
        tag="t1",
        branch="z9hG4bK1",
    )
    headers = tuple(
        Header(header.name, changes.get(header.name.replace("-", "_"), header.value))
        for header in made.headers
        if changes.get(header.name.replace("-", "_")) != ""
    )
    return replace(made, method=method, headers=headers)


class Desk:
    """A handler that remembers what it was asked and gives one answer."""

    def __init__(self, decision: RegistrationAnswer | None = None) -> None:
        self.asked: list[Registration] = []
        self.counters = RegistrarCounters()
        self.decision = decision

    def __call__(self, registration: Registration) -> RegistrationAnswer:
        self.asked.append(registration)
        return self.decision or RegistrationAnswer.accepted(registration.expires)

    def answer(self, message: Request, client: Client = CLIENT) -> tuple[Response, int | None]:
        data, seconds = answer(message, client, self, self.counters, "s1")
        response = sip.decode(data)
        assert isinstance(response, Response)
        return response, seconds


def test_a_phone_is_described_to_the_cluster_and_told_for_how_long_it_is_registered() -> None:
    desk = Desk(RegistrationAnswer.accepted(60))
    response, seconds = desk.answer(request(120))
    assert desk.asked == [
        Registration("SEP001122334455", "684", ("127.30.0.7", 51060), ("127.30.0.7", 40000), 120, False, "")
    ]
    assert (response.code, response.reason, seconds) == (200, "OK", 60)
    assert sipregister.granted(response) == 60
    assert desk.counters.accepted == 1


def test_over_tls_the_certificates_subject_is_told() -> None:
    desk = Desk()
    desk.answer(request(Contact="<sip:a@host>"), Client(("127.30.0.7", 1), secure=True, subject="CN=SEP001122334455"))
    assert desk.asked[0].secure
    assert desk.asked[0].peer_subject == "CN=SEP001122334455"
    assert desk.asked[0].contact == ("host", 5061)


def test_a_phone_that_does_not_name_itself_is_known_by_its_user() -> None:
    desk = Desk()
    desk.answer(request(Contact="<sip:a@host>"))
    assert (desk.asked[0].device, desk.asked[0].model, desk.asked[0].contact) == ("1001", "", ("host", 5060))


def test_a_registration_is_taken_back_by_zero_seconds_or_by_a_star() -> None:
    desk = Desk(RegistrationAnswer.accepted(60))
    response, seconds = desk.answer(request(0))
    assert (response.code, seconds, response.first("Contact")) == (200, 0, None)
    _, seconds = desk.answer(request(0, Contact="*"))
    assert seconds == 0
    assert [(asked.device, asked.expires) for asked in desk.asked] == [("SEP001122334455", 0), ("1001", 0)]
    assert desk.asked[1].contact == ("127.30.0.7", 5060)
    assert (desk.counters.taken_back, desk.counters.accepted) == (2, 0)


def test_a_rejection_brings_its_code_and_reason() -> None:
    desk = Desk(RegistrationAnswer.rejected(403, "Security profile requires TLS"))
    response, seconds = desk.answer(request())
    assert (response.code, response.reason, seconds) == (403, "Security profile requires TLS", None)
    assert response.first("Expires") is None
    assert desk.counters.rejected == 1


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "SUBSCRIBE", "REFER"])
def test_other_methods_are_known_but_not_here(method: str) -> None:
    desk = Desk()
    response, _ = desk.answer(request(method=method, CSeq=f"1 {method}"))
    assert (response.code, response.first("Allow")) == (405, "REGISTER")
    assert desk.counters.not_supported == 1
    assert desk.asked == []


def test_an_unknown_method_is_not_implemented() -> None:
    response, _ = Desk().answer(request(method="DANCE", CSeq="1 DANCE"))
    assert response.code == 501


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (request(Via=""), "Missing Via"),
        (request(CSeq="7 INVITE"), "Invalid CSeq"),
        (request(Contact=""), "Invalid Contact"),
        (request(Contact="<tel:+49>"), "Invalid Contact"),
        (request(Contact="*"), "Invalid Contact"),
        (request(Contact="<sip:a@b"), "Invalid Contact"),
    ],
)
def test_a_request_that_makes_no_sense_is_told_why(changed: Request, reason: str) -> None:
    desk = Desk()
    response, seconds = desk.answer(changed)
    assert (response.code, response.reason, seconds) == (400, reason, None)
    assert desk.counters.malformed == 1
    assert desk.asked == []


def test_pings_are_answered_and_responses_and_acks_are_not() -> None:
    desk = Desk()
    assert answer(sip.KeepAlive.PING, CLIENT, desk, desk.counters, "s1") == (b"\r\n", None)
    assert answer(Response(200, "OK", ()), CLIENT, desk, desk.counters, "s1") == (b"", None)
    assert answer(request(method="ACK", CSeq="1 ACK"), CLIENT, desk, desk.counters, "s1") == (b"", None)
    assert desk.counters == RegistrarCounters()


@pytest.mark.parametrize(
    "decision", [RegistrationAnswer.rejected(403, "two\r\nlines"), RegistrationAnswer.rejected(7, "no code")]
)
def test_a_decision_that_is_not_sip_becomes_a_server_error(decision: RegistrationAnswer) -> None:
    desk = Desk(decision)
    response, _ = desk.answer(request())
    assert response.code == 500
    assert (desk.counters.handler_failed, desk.counters.rejected) == (1, 0)


def test_a_handler_that_fails_is_a_server_error_and_no_more() -> None:
    counters = RegistrarCounters()

    def broken(registration: Registration) -> RegistrationAnswer:
        raise KeyError(registration.device)

    data, seconds = answer(request(), CLIENT, broken, counters, "s1")
    assert data.startswith(b"SIP/2.0 500 ")
    assert seconds is None
    assert counters.handler_failed == 1
