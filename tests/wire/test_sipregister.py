"""What a Cisco phone says in a REGISTER, and what it is answered."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.wire import sip, sipregister
from trustbridge.wire.sip import Header, Request
from trustbridge.wire.sipregister import Address, address

CONTACT = (
    "<sip:8f0c1d2e@127.30.0.7:51060;transport=tcp>"
    ';+sip.instance="<urn:uuid:00000000-0000-0000-0000-001122334455>"'
    ';+u.sip!devicename.ccm.cisco.com="SEP001122334455";+u.sip!model.ccm.cisco.com="684"'
)


def phone_request(seconds: int = 120, **changes: str) -> Request:
    request = sipregister.register_request(
        registrar="127.10.1.1",
        user="1001",
        device="SEP001122334455",
        model="684",
        local=("127.30.0.7", 51060),
        seconds=seconds,
        call_id="8f0c1d2e",
        tag="001122334455",
        branch="z9hG4bK1",
    )
    headers = [Header(h.name, changes.pop(h.name, h.value)) for h in request.headers]
    headers += [Header(name, value) for name, value in changes.items()]
    return Request(request.method, request.uri, tuple(h for h in headers if h.value != "-"))


def test_a_phone_names_itself_in_its_contact_as_cisco_phones_do() -> None:
    request = phone_request()
    assert sip.decode(sip.encode(request)) == request
    assert request.first("Contact") == CONTACT
    assert request.uri == "sip:127.10.1.1"
    assert request.first("Via") == "SIP/2.0/TCP 127.30.0.7:51060;branch=z9hG4bK1"
    assert sipregister.problem(request) is None
    contact = address(CONTACT)
    assert contact is not None
    assert contact.endpoint == ("127.30.0.7", 51060)
    assert contact.parameter(sipregister.DEVICE_PARAMETER) == "SEP001122334455"
    assert contact.parameter(sipregister.MODEL_PARAMETER) == "684"
    assert contact.parameter(sipregister.INSTANCE_PARAMETER) == "<urn:uuid:00000000-0000-0000-0000-001122334455>"
    assert contact.parameter("expires") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", Address("*", ())),
        ("sip:bob@192.0.2.4;expires=5", Address("sip:bob@192.0.2.4", (("expires", "5"),))),
        (
            '"A, \\"B\\" <C>;" <sip:a@b;x=1> ; Expires = 7, <sip:c@d>',
            Address("sip:a@b;x=1", (("expires", "7"),)),
        ),
        ("Bob Smith <sip:a@b>;lr", Address("sip:a@b", (("lr", None),))),
        ('<sip:a@b>;q="x\\"y;z,"', Address("sip:a@b", (("q", 'x"y;z,'),))),
        ("", None),
        ("<sip:a@b", None),
        ("<>", None),
        ("<sip:a@b> trailing", None),
        ('<sip:a@b>;q="open', None),
    ],
)
def test_an_address_is_read_or_is_none(text: str, expected: Address | None) -> None:
    assert address(text) == expected


@pytest.mark.parametrize(
    ("uri", "user", "endpoint"),
    [
        ("sip:1001@127.10.1.1:5061;transport=tls", "1001", ("127.10.1.1", 5061)),
        ("SIPS:host.example", "", ("host.example", None)),
        ("sip:a@[::1]:5060", "a", ("::1", 5060)),
        ("sip:a@host:70000", "a", None),
        ("tel:+4930", "", None),
        ("*", "", None),
    ],
)
def test_an_address_tells_user_host_and_port(uri: str, user: str, endpoint: tuple[str, int | None] | None) -> None:
    assert Address(uri, ()).user == user
    assert Address(uri, ()).endpoint == endpoint


@given(st.text(st.characters(codec="ascii"), max_size=60) | st.text(alphabet='<>";,= \\ab:@sip', max_size=60))
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = address(text)
    assert found is None or (isinstance(found.user, str) and found.uri in text)


def test_no_text_takes_long_to_read() -> None:
    begin = time.process_time()
    for text in (
        " " * 16_000,
        "a " * 8_000,
        '"' + "\\" * 16_000,
        "<sip:a>" + ";a" * 8_000 + "?",
        "sip:" + "a" * 16_000 + ":",
    ):
        found = address(text)
        assert found is None or found.endpoint is None
    assert time.process_time() - begin < 0.3


@pytest.mark.parametrize(
    ("contact", "header", "seconds"),
    [
        ("<sip:a@b>", "7200", 7200),
        ("<sip:a@b>;expires=0", "7200", 0),
        ("<sip:a@b>;expires=x", "7200", 7200),
        ("<sip:a@b>", "soon", 3600),
        ("<sip:a@b>", "-", 3600),
        ("<sip:a@b>", "9999999999", 2**32 - 1),
        ("<sip:a@b>", "9" * 5000, 3600),
    ],
)
def test_the_time_asked_for_is_the_contacts_then_the_headers_then_an_hour(
    contact: str, header: str, seconds: int
) -> None:
    assert sipregister.expires(phone_request(Contact=contact, Expires=header)) == seconds


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"Via": "-"}, "Missing Via"),
        ({"From": "-"}, "Missing From"),
        ({"To": "-"}, "Missing To"),
        ({"Call-ID": "-"}, "Missing Call-ID"),
        ({"CSeq": "-"}, "Missing CSeq"),
        ({"CSeq": "1 INVITE"}, "Invalid CSeq"),
        ({"CSeq": "x REGISTER"}, "Invalid CSeq"),
    ],
)
def test_a_request_that_no_answer_can_be_made_for_is_known(changes: dict[str, str], word: str) -> None:
    assert sipregister.problem(phone_request(120, **changes)) == word


def test_an_answer_brings_back_what_the_rfc_wants_and_the_granted_time() -> None:
    request = phone_request(Contact=CONTACT.replace(">;+sip", ">;expires=9;+sip"), Via="SIP/2.0/TCP a;branch=z9hG4bK1")
    request = Request(request.method, request.uri, (Header("v", "SIP/2.0/TCP proxy;branch=z9hG4bK0"), *request.headers))
    answer = sipregister.response_to(request, 200, "OK", tag="s1", seconds=60)
    assert answer.all("Via") == ["SIP/2.0/TCP proxy;branch=z9hG4bK0", "SIP/2.0/TCP a;branch=z9hG4bK1"]
    assert answer.first("To") == "<sip:1001@127.10.1.1>;tag=s1"
    for name in ("From", "Call-ID", "CSeq"):
        assert answer.first(name) == request.first(name)
    assert answer.first("Contact") == CONTACT + ";expires=60"
    assert answer.first("Expires") == "60"
    assert sip.decode(sip.encode(answer)) == answer


def test_an_answer_leaves_a_tag_that_is_there_and_a_contact_that_is_gone() -> None:
    request = phone_request(0, To="<sip:1001@127.10.1.1>;tag=mine")
    answer = sipregister.response_to(request, 200, "OK", tag="s1", seconds=0)
    assert answer.first("To") == "<sip:1001@127.10.1.1>;tag=mine"
    assert answer.first("Contact") is None
    refusal = sipregister.response_to(request, 405, "Method Not Allowed", tag="s1", allow="REGISTER")
    assert refusal.first("Allow") == "REGISTER"
    assert refusal.first("Expires") is None
