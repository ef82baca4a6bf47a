"""Certificate Management REST, asked without a socket, and HTTP Basic in front of it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import TrustbridgeError
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Store, Unit
from trustbridge.services.asgi import Access, Request, Response, application, basic_credentials
from trustbridge.services.certmgr import BASE, SigningRequest, Style, TrustedFile, certificate_management

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _certificate(name: str) -> Certificate:
    return self_signed(
        node=name, unit=Unit.TOMCAT, common_name=name, organisation=Organisation(), now=NOW, key="p256"
    ).certificate


TOMCAT, MANAGER, OTHER, MORE = map(_certificate, ("pub", "pub-cm", "other", "more"))


class Backend:
    """A node that remembers what it was told."""

    server = "pub.example"

    def __init__(self, refusal: str = "") -> None:
        self.uploads: list[tuple[Store, tuple[Certificate, ...], str]] = []
        self.wanted: list[SigningRequest] = []
        self.refusal = refusal

    def identities(self) -> Sequence[tuple[Unit, Certificate]]:
        return [(Unit.TOMCAT, TOMCAT), (Unit.CALLMANAGER, MANAGER)]

    def trusted(self, store: Store) -> Sequence[TrustedFile]:
        return [TrustedFile("pub.pem", TOMCAT)] if store is Store.TOMCAT_TRUST else []

    def upload_trust(self, store: Store, certificates: Sequence[Certificate], description: str) -> None:
        if self.refusal:
            raise TrustbridgeError(self.refusal)
        self.uploads.append((store, tuple(certificates), description))

    def signing_request(self, wanted: SigningRequest) -> str:
        self.wanted.append(wanted)
        return "a request"


def ask(
    method: str,
    path: str,
    body: object = None,
    *,
    style: Style | None = None,
    backend: Backend | None = None,
    **query: str,
) -> tuple[int, Any]:
    """Status and decoded JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    endpoint = certificate_management(backend or Backend(), style or Style())
    response = asyncio.run(_answer(endpoint, Request(method, BASE + path, query, body=raw)))
    return response.status, json.loads(response.body)


async def _answer(endpoint: Any, request: Request) -> Response:
    response = await endpoint(request)
    assert isinstance(response, Response)
    return response


def test_a_snapshot_holds_identities_and_stores_in_the_documented_shape() -> None:
    status, value = ask("GET", "/snapshot/server")
    assert status == 200
    assert value.pop("trackingId")
    assert value == {
        "server": "pub.example",
        "identities": [
            {"service": "tomcat", "certificate": TOMCAT.pem()},
            {"service": "CallManager", "certificate": MANAGER.pem()},
        ],
        "trusts": [
            {"service": "tomcat-trust", "certificate_data": [{"filename": "pub.pem", "certificate": TOMCAT.pem()}]}
        ],
        "revokedCertificates": [],
    }


def test_the_other_spelling_names_the_inner_list_and_the_unit() -> None:
    _, value = ask("GET", "/snapshot/server", style=Style("certificates", written="unit"))
    assert value["trusts"] == [
        {"service": "tomcat", "certificates": [{"filename": "pub.pem", "certificate": TOMCAT.pem()}]}
    ]


def test_an_identity_is_given_by_its_service() -> None:
    assert ask("GET", "/identity/certificate", service="tomcat") == (
        200,
        {"service": "tomcat", "certificate": TOMCAT.pem()},
    )
    assert ask("GET", "/identity/certificates", service="CallManager") == (
        200,
        [{"service": "CallManager", "certificate": MANAGER.pem()}],
    )
    assert len(ask("GET", "/identity/certificates")[1]) == 2


@pytest.mark.parametrize("path", ["/identity/certificate", "/identity/certificates", "/trust/certificate"])
def test_an_unknown_service_is_named_in_the_refusal(path: str) -> None:
    status, value = ask("GET", path, service="authz")
    assert status == 400
    assert "authz" in value["message"]


@pytest.mark.parametrize("service", ["tomcat", "tomcat-trust"])
def test_a_store_is_read_by_either_name(service: str) -> None:
    entry = {"filename": "pub.pem", "certificate": TOMCAT.pem()}
    assert ask("GET", "/trust/certificate", service=service) == (200, [entry])
    wrapped = ask("GET", "/trust/certificate", service=service, style=Style(wrapped=True))
    assert wrapped == (200, {"certificates": [entry]})


@pytest.mark.parametrize(
    ("service", "store"),
    [
        (["tomcat"], Store.TOMCAT_TRUST),
        ("tomcat", Store.TOMCAT_TRUST),
        (["Phone-SAST-trust"], Store.PHONE_SAST_TRUST),
        (["Phone-SAST"], Store.PHONE_SAST_TRUST),
        (["CallManager"], Store.CALLMANAGER_TRUST),
        (["CallManager-trust"], Store.CALLMANAGER_TRUST),
    ],
)
def test_trust_is_uploaded_by_the_name_of_the_store_or_of_the_unit(service: object, store: Store) -> None:
    backend = Backend()
    body = {"service": service, "certificates": [OTHER.pem(), MORE.pem()], "description": "why"}
    status, _ = ask("POST", "/trust/certificates", body, backend=backend)
    assert status == 200
    assert backend.uploads == [(store, (OTHER, MORE), "why")]


def test_one_upload_may_name_several_stores() -> None:
    backend = Backend()
    body = {"service": ["CallManager-trust", "Phone-SAST-trust"], "certificates": [OTHER.pem()]}
    assert ask("POST", "/trust/certificates", body, backend=backend)[0] == 200
    assert [store for store, _, _ in backend.uploads] == [Store.CALLMANAGER_TRUST, Store.PHONE_SAST_TRUST]


@pytest.mark.parametrize(("read", "accepted"), [("store", "tomcat-trust"), ("unit", "tomcat")])
def test_a_release_may_know_one_of_the_names_only(read: Any, accepted: str) -> None:
    for service in ("tomcat", "tomcat-trust"):
        body = {"service": [service], "certificates": [OTHER.pem()]}
        status, _ = ask("POST", "/trust/certificates", body, style=Style(read=read))
        assert status == (200 if service == accepted else 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff",
        [],
        {},
        {"service": ["tomcat"]},
        {"service": ["tomcat"], "certificates": []},
        {"service": [], "certificates": [OTHER.pem()]},
        {"service": ["nothing"], "certificates": [OTHER.pem()]},
        {"service": [["tomcat"]], "certificates": [OTHER.pem()]},
        {"service": ["tomcat"], "certificates": OTHER.pem()},
        {"service": ["tomcat"], "certificates": [7]},
        {"service": ["tomcat"], "certificates": [OTHER.pem(), "-----BEGIN CERTIFICATE-----"]},
    ],
)
def test_an_upload_that_makes_no_sense_is_refused_and_nothing_is_kept(body: object) -> None:
    backend = Backend()
    status, value = ask("POST", "/trust/certificates", body, backend=backend)
    assert status == 400
    assert value["message"]
    assert backend.uploads == []


def test_what_the_node_can_not_do_is_a_500_with_its_words() -> None:
    body = {"service": ["tomcat"], "certificates": [OTHER.pem()]}
    status, value = ask("POST", "/trust/certificates", body, backend=Backend("the disk is full"))
    assert (status, value) == (500, {"message": "the disk is full"})


def test_a_signing_request_takes_what_the_public_clients_send() -> None:
    backend = Backend()
    body = {
        "service": "tomcat",
        "distribution": "this-server",
        "commonName": "uc.example",
        "keyType": "rsa",
        "keyLength": 3072,
        "hashAlgorithm": "sha384",
        "altNames": ["a.example"],
    }
    assert ask("POST", "/csr", body, backend=backend) == (200, {"csr": "a request"})
    assert backend.wanted == [SigningRequest(Unit.TOMCAT, "uc.example", ("a.example",), "rsa", 3072, "sha384")]


def test_a_signing_request_has_defaults() -> None:
    backend = Backend()
    assert ask("POST", "/csr", {"service": "tomcat", "keyType": "EC"}, backend=backend)[0] == 200
    assert backend.wanted == [SigningRequest(Unit.TOMCAT, "pub.example", (), "ec", 384, "sha256")]


@pytest.mark.parametrize(
    "change",
    [
        {"service": "authz"},
        {"service": None},
        {"distribution": "multi-server"},
        {"keyType": "dsa"},
        {"keyLength": 512},
        {"keyLength": [2048]},
        {"hashAlgorithm": "md5"},
        {"commonName": ""},
        {"commonName": "a" * 65},
        {"altNames": "a.example"},
        {"altNames": ["a.example", 3]},
        {"altNames": ["a.example"] * 101},
    ],
)
def test_a_signing_request_that_can_not_be_is_refused(change: dict[str, object]) -> None:
    backend = Backend()
    assert ask("POST", "/csr", {"service": "tomcat"} | change, backend=backend)[0] == 400
    assert backend.wanted == []


def test_options_name_what_the_node_takes_and_may_be_missing() -> None:
    status, value = ask("GET", "/options")
    assert status == 200
    assert "Phone-SAST-trust" in value["trust"]["services"]
    assert value["csr"]["keyTypes"]["rsa"] == [2048, 3072, 4096]
    assert "Phone-SAST" in ask("GET", "/options", style=Style(written="unit"))[1]["trust"]["services"]
    assert ask("GET", "/options", style=Style(options=False))[0] == 404


def test_other_paths_and_methods_are_not_there() -> None:
    assert ask("GET", "/nothing")[0] == 404
    assert ask("GET", "")[0] == 404
    assert ask("DELETE", "/trust/certificates")[0] == 405
    assert ask("POST", "/identity/certificates")[0] == 405
    assert ask("GET", "/snapshot/server/")[0] == 200


@given(
    st.sampled_from(["/trust/certificates", "/csr"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["service", "certificates", "description", "keyType", "keyLength", "altNames"])
                | st.text(),
                inner,
            )
        ),
    ),
)
def test_any_json_is_answered(path: str, body: object) -> None:
    assert ask("POST", path, body)[0] in (200, 400)


# HTTP Basic, in front of any endpoint.


def knock(header: str | None, body: bytes = b"", limit: int = 100) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an application that lets `admin` in and knows `guest`."""

    def check(user: str, password: str) -> Access:
        if password != "pässword:":
            return Access.UNKNOWN
        return {"admin": Access.GRANTED, "guest": Access.NO_RIGHT}.get(user, Access.UNKNOWN)

    async def endpoint(request: Request) -> Response:
        if request.path == "/fail":
            raise RuntimeError("hunter2")
        return Response(200, f"{request.user} {len(request.body)} {dict(request.query)}".encode())

    sent: list[Any] = []
    parts = [body[at : at + 40] for at in range(0, len(body), 40)] or [b""]

    async def receive() -> Any:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/x" if body != b"fail" else "/fail",
        "query_string": b"service=tomcat&service=again&empty=",
        "headers": [] if header is None else [(b"authorization", header.encode("latin-1"))],
    }
    asyncio.run(_run(application(endpoint, check=check, realm="Lab", max_body=limit), scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"]


async def _run(app: Any, *arguments: Any) -> None:
    await app(*arguments)


def basic(user: str, password: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Bearer " + base64.b64encode("admin:pässword:".encode()).decode(),
        "Basic " + base64.b64encode(b"admin").decode(),
        basic("admin", "wrong"),
        basic("nobody", "pässword:"),
        basic("", ""),
    ],
)
def test_strangers_are_asked_for_user_and_password(header: str | None) -> None:
    status, headers, _ = knock(header)
    assert status == 401
    assert headers["www-authenticate"] == 'Basic realm="Lab"'


def test_who_lacks_the_right_is_told_another_thing() -> None:
    status, headers, _ = knock(basic("guest", "pässword:"))
    assert status == 403
    assert "www-authenticate" not in headers


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_who_is_let_in_is_known_to_the_endpoint(encoding: str) -> None:
    status, headers, body = knock(basic("admin", "pässword:", encoding), b"x" * 100)
    assert status == 200
    assert body == b"admin 100 {'empty': '', 'service': 'tomcat'}"
    assert headers["content-length"] == str(len(body))


def test_a_body_that_is_too_long_is_not_kept() -> None:
    assert knock(basic("admin", "pässword:"), b"x" * 101)[0] == 413


def test_an_endpoint_that_fails_is_a_500_and_no_words_of_it() -> None:
    status, _, body = knock(basic("admin", "pässword:"), b"fail")
    assert status == 500
    assert b"hunter2" not in body


@given(st.text())
def test_any_authorization_header_is_two_texts(header: str) -> None:
    user, password = basic_credentials(header)
    assert isinstance(user, str)
    assert isinstance(password, str)
