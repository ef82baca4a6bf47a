"""SOAP 1.1 over HTTP as a node serves it: envelopes in and out, and faults.

What a service answers is decided elsewhere, by a function from the element of a request to the element of its answer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from lxml import etree

from trustbridge.services.asgi import Endpoint, Request, Response

_log = logging.getLogger(__name__)

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_ENVELOPE, _BODY, _FAULT = (f"{{{SOAP}}}{name}" for name in ("Envelope", "Body", "Fault"))
_XML: Final = "text/xml;charset=UTF-8"

#: The element of a request -> the element of its answer; raises `SoapFault` or `Busy`.
Handler = Callable[[etree._Element], Awaitable[etree._Element]]


class SoapFault(Exception):
    """A request that ends in a fault.

    Attributes:
        text: `faultstring`.
        code: `faultcode`, such as `soapenv:Client`; `prefix:name` with `namespace` for a prefix of its own.
        detail: what stands below `detail`.
        status: of the HTTP answer.
    """

    def __init__(
        self,
        text: str,
        *,
        code: str = "soapenv:Server",
        namespace: str | None = None,
        detail: etree._Element | None = None,
        status: int = 500,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.namespace = namespace
        self.detail = detail
        self.status = status


class Busy(Exception):
    """The service wants to be asked later: HTTP 503."""


def parse_body(content: bytes) -> etree._Element:
    """The element in the body of an envelope.

    Raises:
        SoapFault: not XML, no SOAP envelope, or nothing in it.
    """
    # No entities, no document type, nothing fetched: the request comes from anybody.
    if b"<!DOCTYPE" in content:
        raise SoapFault("a request has no document type", code="soapenv:Client")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SoapFault(f"the request is not XML: {error}", code="soapenv:Client") from None
    body = root.find(_BODY) if root.tag == _ENVELOPE else None
    if body is None:
        raise SoapFault("the request is no SOAP envelope", code="soapenv:VersionMismatch")
    for child in body:
        if isinstance(child.tag, str):
            return child
    raise SoapFault("the envelope's body is empty", code="soapenv:Client")


def envelope(content: etree._Element) -> bytes:
    """An envelope around an element."""
    root = etree.Element(_ENVELOPE, nsmap={"soapenv": SOAP})
    etree.SubElement(root, _BODY).append(content)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def fault_envelope(fault: SoapFault) -> bytes:
    """An envelope that holds a fault."""
    element = etree.Element(_FAULT, nsmap={"soapenv": SOAP})
    prefix = fault.code.partition(":")[0]
    scope = {prefix: fault.namespace} if fault.namespace else None
    etree.SubElement(element, "faultcode", nsmap=scope).text = fault.code
    etree.SubElement(element, "faultstring").text = xml_text(fault.text)
    if fault.detail is not None:
        etree.SubElement(element, "detail").append(fault.detail)
    return envelope(element)


def xml_text(text: str) -> str:
    """`text`, with a mark in place of what XML can't hold."""
    return text if text.isprintable() else _NOT_XML.sub("\ufffd", text)


_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def local_name(element: etree._Element) -> str:
    """The element's name without its namespace; "" for comments and the like."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def child(element: etree._Element, name: str) -> etree._Element | None:
    """The first child of this local name, in whatever namespace: clients qualify them or don't."""
    return next((found for found in element if local_name(found) == name), None)


def text_of(element: etree._Element, name: str) -> str | None:
    """Text of the first child of this name; None without one."""
    found = child(element, name)
    return None if found is None else (found.text or "").strip()


def endpoint(handle: Handler, page: str) -> Endpoint:
    """What answers for a SOAP service; `asgi.application` asks for the password in front of it.

    Args:
        handle: decides.
        page: what a browser sees (GET).
    """

    async def answered(request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return _page(200, page)
        if request.method != "POST":
            return _page(405, "Method Not Allowed", ("allow", "GET, POST"))
        try:
            return Response(200, envelope(await handle(parse_body(request.body))), _XML)
        except SoapFault as fault:
            return Response(fault.status, fault_envelope(fault), _XML)
        except Busy:
            return _page(503, "Service Unavailable")
        except Exception:  # one request's mishap; the service goes on
            _log.exception("a SOAP request could not be answered")
            return Response(500, fault_envelope(SoapFault("Internal server error")), _XML)

    return answered


def _page(status: int, title: str, *headers: tuple[str, str]) -> Response:
    """A page such as a node's web server shows: no SOAP in it, which clients must bear."""
    content = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n".encode()
    return Response(status, content, "text/html; charset=utf-8", headers)
