"""A client for SOAP applications in the same process, and the vendor's schemas to hold answers against."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources

import httpx
import pytest
from lxml import etree

from trustbridge.pki.issue import Identity
from trustbridge.services.asgi import App
from trustbridge.services.soap import SOAP, local_name


@contextmanager
def keys_read_once() -> Iterator[None]:
    """OpenSSL checks the primes of an RSA key each time it is read, for some 25 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Identity, "from_pem", functools.cache(Identity.from_pem))
        yield


def envelope(body: str) -> bytes:
    return f'<e:Envelope xmlns:e="{SOAP}"><e:Header/><e:Body>{body}</e:Body></e:Envelope>'.encode()


def send(
    app: App, content: bytes, *, auth: tuple[str, str] | None = ("axluser", "secret"), method: str = "POST"
) -> httpx.Response:
    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://node:8443", auth=auth) as client:
            return await client.request(method, "/axl/", content=content)

    return asyncio.run(sent())


def body_of(response: httpx.Response) -> etree._Element:
    """The element in the body of an answer."""
    root = etree.fromstring(response.content)
    body = root.find(f"{{{SOAP}}}Body")
    assert body is not None
    assert len(body) == 1
    return body[0]


def texts(element: etree._Element, name: str) -> list[str]:
    return [found.text or "" for found in element.iter() if local_name(found) == name]


@functools.cache
def schema(release: str) -> etree.XMLSchema:
    with resources.as_file(resources.files("ciscoaxl") / "schema" / release / "AXLSoap.xsd") as path:
        return etree.XMLSchema(etree.parse(path))


def check(release: str, element: etree._Element) -> None:
    """Raise unless an element is what the vendor's schema says."""
    # Away from the envelope, and with namespaces of its own.
    schema(release).assertValid(etree.fromstring(etree.tostring(element)))
