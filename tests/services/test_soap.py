"""SOAP envelopes in and out, faults, and who is let in."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from tests.services.soapclient import body_of, envelope, send, texts

from trustbridge.services.asgi import Access, App, application
from trustbridge.services.soap import Busy, Handler, SoapFault, endpoint, fault_envelope, parse_body, xml_text

PASSWORD = "secret"


def check(user: str, password: str) -> Access:
    if password != PASSWORD:
        return Access.UNKNOWN
    return Access.GRANTED if user == "axluser" else Access.NO_RIGHT


async def echo(request: etree._Element) -> etree._Element:
    answer = etree.Element("answer")
    answer.text = request.tag
    return answer


def app(handler: Handler = echo) -> App:
    return application(endpoint(handler, "It works."), check=check, realm="AXL")


def test_the_element_of_the_request_goes_in_and_that_of_the_answer_comes_out() -> None:
    response = send(app(), envelope("<!-- first --><ask/>"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/xml;charset=UTF-8"
    assert body_of(response).text == "ask"


@pytest.mark.parametrize(
    ("auth", "status"),
    [(None, 401), (("axluser", "wrong"), 401), (("nobody", ""), 401), (("guest", PASSWORD), 403)],
)
def test_only_accounts_with_the_right_are_let_in(auth: tuple[str, str] | None, status: int) -> None:
    response = send(app(), envelope("<ask/>"), auth=auth)
    assert response.status_code == status
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert b"answer" not in response.content


def test_a_browser_sees_a_page() -> None:
    response = send(app(), b"", method="GET")
    assert (response.status_code, b"It works." in response.content) == (200, True)
    assert send(app(), b"", method="DELETE").status_code == 405


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not XML"),
        (b"<open>", "not XML"),
        (b"<plain/>", "no SOAP envelope"),
        (envelope(""), "body is empty"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "no document type"),
        (envelope("<ask/>").replace(b"/soap/envelope/", b"/other/"), "no SOAP envelope"),
    ],
)
def test_what_is_no_envelope_is_refused_with_a_fault(content: bytes, words: str) -> None:
    response = send(app(), content)
    assert response.status_code == 500
    (text,) = texts(body_of(response), "faultstring")
    assert words in text


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(content: bytes) -> None:
    try:
        parse_body(content)
    except SoapFault as fault:
        assert str(fault.text)  # noqa: PT017 - refusing is one of two right ends
        etree.fromstring(fault_envelope(fault))


@given(st.text(max_size=50))
def test_any_text_can_stand_in_an_answer(text: str) -> None:
    element = etree.Element("x")
    element.text = xml_text(text)
    assert len(element.text or "") == len(text)


def test_a_fault_carries_its_code_and_detail() -> None:
    async def refuse(_: etree._Element) -> etree._Element:
        raise SoapFault("no", code="own:Code", namespace="urn:own", detail=etree.Element("why"), status=599)

    response = send(app(refuse), envelope("<ask/>"))
    fault = body_of(response)
    assert response.status_code == 599
    code = fault.find("faultcode")
    assert code is not None
    assert (code.text, code.nsmap["own"]) == ("own:Code", "urn:own")
    assert fault.find("detail/why") is not None


def test_a_busy_service_answers_503_and_a_failing_one_says_nothing_of_why(caplog: pytest.LogCaptureFixture) -> None:
    async def busy(_: etree._Element) -> etree._Element:
        raise Busy

    async def broken(_: etree._Element) -> etree._Element:
        raise ZeroDivisionError("the secret is 7")

    assert send(app(busy), envelope("<ask/>")).status_code == 503
    with caplog.at_level(logging.ERROR):
        response = send(app(broken), envelope("<ask/>"))
    assert response.status_code == 500
    assert texts(body_of(response), "faultstring") == ["Internal server error"]
    assert b"secret" not in response.content
    assert "could not be answered" in caplog.text
