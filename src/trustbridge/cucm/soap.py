"""SOAP 1.1 to a node, above `https`: an envelope out, the element of its answer in, faults as values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from lxml import etree

from trustbridge.cucm.https import Answer, NodeHttps
from trustbridge.errors import Garbled, NotSupported

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Fault:
    """What a node said instead of answering.

    Attributes:
        status: of the HTTP answer.
        text: `faultstring`.
        code: `axlcode`, where AXL gives one.
    """

    status: int
    text: str
    code: int | None = None


def envelope(content: etree._Element) -> bytes:
    """An envelope around an element."""
    root = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"soapenv": SOAP})
    etree.SubElement(root, f"{{{SOAP}}}Body").append(content)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def below(parent: etree._Element, name: str, text: str | None = None) -> etree._Element:
    """A new element below another, in the same namespace; what XML can't hold is left out of its text."""
    namespace = etree.QName(parent).namespace
    element = etree.SubElement(parent, f"{{{namespace}}}{name}" if namespace else name)
    if text is not None:
        element.text = _XML.sub("", text)
    return element


def read(answer: Answer) -> etree._Element | Fault | None:
    """The element in an answer's body, or the fault that stands there; None when it is no SOAP at all. Total."""
    # huge_tree: a full AXL answer has 8 MB. Entities and document types have no place in one.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
    if b"<!DOCTYPE" in answer.body[:1024]:
        return None
    try:
        root = etree.fromstring(answer.body, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    body = root.find(f"{{{SOAP}}}Body")
    content = None if body is None else next((one for one in body if isinstance(one.tag, str)), None)
    if content is None:
        return None
    if content.tag != f"{{{SOAP}}}Fault":
        return content
    code = text(content, "axlcode")
    return Fault(answer.status, text(content, "faultstring"), int(code) if re.fullmatch(r"-?\d{1,9}", code) else None)


async def exchange(
    https: NodeHttps, path: str, content: bytes, *, action: str, what: str, again: bool
) -> etree._Element | Fault:
    """Send an envelope; the element of the answer, or a fault, which is for the caller to judge.

    Args:
        what: the operation, for messages.
        again: it may be sent again when the connection broke and nobody knows what became of it.

    Raises:
        NotSupported: there is no such service on the node.
        Garbled: what answers is no SOAP.
        TrustbridgeError: as `NodeHttps.request`.
    """
    headers = {"content-type": "text/xml; charset=utf-8", "soapaction": f'"{action}"'}
    answer = await https.request("POST", path, again=again, content=content, headers=headers)
    found = read(answer)
    if isinstance(found, Fault) or (found is not None and answer.status == 200):
        return found
    if answer.status == 404:
        raise NotSupported(
            f"{https.here}: the node has no such service ({what})",
            "Is the service activated and started on this node (Cisco Unified Serviceability)?",
        )
    if answer.status == 599:  # a schema the node does not know
        return Fault(answer.status, https.said(answer).removeprefix(": ") or "no such schema")
    said = https.said(answer) if answer.status != 200 else ""
    raise Garbled(
        f"{https.here}: the answer to {what} makes no sense: HTTP {answer.status} with "
        f"{len(answer.body)} bytes that are no SOAP{said}",
        "Is that a node, or a proxy in between? Whether a change was carried out is not known: see what the node holds."
        if not again
        else "Is that a node, or a proxy in between? Try again.",
    )


def local(element: etree._Element) -> str:
    """The element's name without its namespace; "" for comments and the like."""
    tag = element.tag
    return _local(tag) if isinstance(tag, str) else ""


@lru_cache(maxsize=1024)
def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def first(element: etree._Element, name: str) -> etree._Element | None:
    """The first element of this local name, at any depth, in whatever namespace."""
    return next((one for one in element.iter() if local(one) == name), None)


def child(element: etree._Element, name: str) -> etree._Element | None:
    """The first child of this local name."""
    return next((one for one in element if local(one) == name), None)


def children(element: etree._Element | None, name: str) -> list[etree._Element]:
    """The children of this local name; none of no element."""
    return [] if element is None else [one for one in element if local(one) == name]


def text(element: etree._Element, name: str) -> str:
    """Text of the first element of this local name, at any depth; "" without one."""
    found = first(element, name)
    return "" if found is None else (found.text or "").strip()


def fields(element: etree._Element) -> dict[str, str]:
    """Text of an element's children, by local name; "" for those that are empty or have children."""
    return {_local(tag): (one.text or "").strip() for one in element if isinstance(tag := one.tag, str)}
