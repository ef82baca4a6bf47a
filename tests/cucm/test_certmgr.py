"""Certificate Management REST: what a node's JSON means, in both shapes, and the dialogue about names of stores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.cucm.certmgr import (
    BASE,
    CertificateRest,
    Listed,
    parse_certificates,
    parse_json,
    parse_options,
    parse_signing_request,
    parse_snapshot,
    store_named,
)
from trustbridge.cucm.https import Answer, NodeHttps
from trustbridge.cucm.model import NodeIdentity, TrustedCertificate
from trustbridge.errors import Garbled, NotSupported, Refused, TrustbridgeError
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Store, Unit


def _certificate(name: str) -> Certificate:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return self_signed(
        node=name, unit=Unit.TOMCAT, common_name=name, organisation=Organisation(), now=now, key="p256"
    ).certificate


TOMCAT, MANAGER, OTHER = map(_certificate, ("cm1", "cm1-cm", "other"))
#: The two shapes of `cucm-interfaces`, section 2, with keys of public clients; certificates are ours.
GOLDEN_DATA: dict[str, Any] = {
    "trackingId": "cm1_1711",
    "server": "cm1.example.com",
    "identities": [
        {"service": "tomcat", "certificate": TOMCAT.pem(), "type": "RSA"},
        {"service": "CallManager", "certificate": MANAGER.pem()},
        {"service": "authz", "certificate": OTHER.pem()},
    ],
    "trusts": [
        {"service": "tomcat-trust", "certificate_data": [{"filename": "cm1.pem", "certificate": TOMCAT.pem()}]},
        {
            "service": "Phone-SAST-trust",
            "certificate_data": [
                {"filename": "cm1-cm.pem", "certificate": MANAGER.pem()},
                {"filename": "odd.pem", "certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
            ],
        },
        {"service": "userlicensing-trust", "certificate_data": []},
    ],
    "revokedCertificates": [],
}
GOLDEN_CERTIFICATES: dict[str, Any] = GOLDEN_DATA | {
    "trusts": [
        {"service": entry["service"].removesuffix("-trust"), "certificates": entry["certificate_data"]}
        for entry in GOLDEN_DATA["trusts"]
    ]
}


@pytest.mark.parametrize("golden", [GOLDEN_DATA, GOLDEN_CERTIFICATES], ids=["certificate_data", "certificates"])
def test_a_snapshot_is_read_in_both_shapes(golden: dict[str, Any]) -> None:
    snapshot = parse_snapshot(parse_json(json.dumps(golden).encode()))
    assert snapshot.server == "cm1.example.com"
    assert [(one.service, one.certificate) for one in snapshot.identities.listed] == [
        ("tomcat", TOMCAT),
        ("CallManager", MANAGER),
        ("authz", OTHER),
    ]
    assert [(store_named(one.service), one.name, one.certificate) for one in snapshot.trusts.listed] == [
        (Store.TOMCAT_TRUST, "cm1.pem", TOMCAT),
        (Store.PHONE_SAST_TRUST, "cm1-cm.pem", MANAGER),
    ]
    (unreadable,) = snapshot.trusts.unreadable
    assert unreadable.startswith("Phone-SAST")
    assert unreadable.endswith("/odd.pem")


@pytest.mark.parametrize(
    "value",
    [
        [{"filename": "cm1.pem", "certificate": TOMCAT.pem()}],
        {"certificates": [{"filename": "cm1.pem", "certificate": TOMCAT.pem()}]},
        {"certificate_data": [{"fileName": "cm1.pem", "certificate": TOMCAT.pem()}]},
        {"filename": "cm1.pem", "certificate": TOMCAT.pem()},
    ],
)
def test_trusted_certificates_are_read_in_every_shape(value: object) -> None:
    assert parse_certificates(value, "tomcat-trust").listed == (Listed("tomcat-trust", "cm1.pem", TOMCAT),)


def test_a_list_of_bare_texts_and_an_empty_one_are_read() -> None:
    assert parse_certificates({"certificates": [TOMCAT.pem()]}, "x").listed == (Listed("x", "", TOMCAT),)
    assert parse_certificates([]).listed == ()
    assert parse_certificates({"certificates": []}).listed == ()
    assert parse_certificates({"service": "tomcat", "certificate_data": None}).listed == ()


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "text",
        [],
        {},
        {"message": "no"},
        {"server": 1, "trusts": []},
        {"identities": {}},
        {"identities": [7]},
        {"identities": [{"service": "tomcat"}]},
        {"identities": [{"service": 7, "certificate": TOMCAT.pem()}]},
        {"identities": [{"certificate": TOMCAT.pem()}]},
        {"identities": [{"service": "tomcat", "certificate": 7}]},
        {"trusts": [{"service": "tomcat", "certificate_data": [7]}]},
        {"trusts": [{"service": "tomcat", "certificate_data": [{"filename": "a"}]}]},
    ],
)
def test_another_shape_is_garbled_and_says_where(value: object) -> None:
    with pytest.raises(Garbled) as caught:
        parse_snapshot(value)
    assert "like that" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_json_is_garbled(body: bytes) -> None:
    with pytest.raises(Garbled, match="not JSON"):
        parse_json(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(TOMCAT.pem()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "service",
                    "certificate",
                    "certificates",
                    "certificate_data",
                    "filename",
                    "identities",
                    "trusts",
                    "csr",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
@pytest.mark.parametrize("parse", [parse_snapshot, parse_certificates, parse_options, parse_signing_request])
def test_any_json_gives_a_value_or_is_garbled(parse: Callable[[object], object], value: object) -> None:
    try:
        parse(value)
    except Garbled as error:
        told = error
    else:
        return
    assert told.message.isprintable()
    assert told.hint


@given(st.binary(max_size=100))
def test_any_bytes_are_json_or_garbled(body: bytes) -> None:
    try:
        parse_json(body)
    except Garbled as error:
        told = error.hint
    else:
        return
    assert told


def _request() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cm1")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def test_a_signing_request_must_be_one_and_its_signature_hold() -> None:
    pem = _request()
    assert parse_signing_request({"csr": pem}) == pem
    lines = pem.splitlines()
    lines[-2] = ("A" if lines[-2][0] != "A" else "B") + lines[-2][1:]
    for bad in ({"csr": "\n".join(lines)}, {"csr": TOMCAT.pem()}, {"csr": "\ud800"}):
        with pytest.raises(Garbled, match="signing request"):
            parse_signing_request(bad)


def test_every_text_of_the_options_counts() -> None:
    assert {"trust", "services", "CallManager-trust", "rsa"} <= parse_options(
        {"trust": [{"services": ["CallManager-trust"]}], "keyTypes": ("rsa", 2048, None)}
    )


# The dialogue, with a node that is a function.


class Node:
    """Stands for `NodeHttps`: answers from what it holds, and remembers what it was asked."""

    node, here = "cm1", "cm1 (certificate REST)"

    def __init__(
        self,
        *,
        options: object = None,
        reads: Callable[[str], bool] = lambda name: True,
        takes: Callable[[Certificate], bool] = lambda certificate: True,
        status: int = 200,
        late: int = 0,
    ) -> None:
        self.options, self.reads, self.takes, self.status, self.late = options, reads, takes, status, late
        self.held: dict[Store, list[Certificate]] = {store: [] for store in Store}
        self.asked: list[tuple[str, str, Any]] = []

    async def request(self, method: str, path: str, *, again: bool, query: Any = None, value: Any = None) -> Answer:
        path = path.removeprefix(BASE)
        self.asked.append((method, path, (query or value or {}).get("service")))
        if path == "/options":
            return Answer(404) if self.options is None else Answer(200, body=json.dumps(self.options).encode())
        name = query["service"] if method == "GET" else value["service"][0]
        store = store_named(name)
        if store is None or not self.reads(name):
            return Answer(400, body=b'{"message": "no such service"}')
        if method == "POST":
            assert again, "a trust upload may be sent twice"
            self.held[store] += [one for one in map(Certificate.from_pem, value["certificates"]) if self.takes(one)]
            return Answer(self.status, body=b'{"message": "words of the node"}')
        if self.late and len(self.asked) > 3:
            self.late -= 1
            return Answer(200, body=b"[]")
        held = [{"filename": "a.pem", "certificate": one.pem()} for one in self.held[store]]
        return Answer(200, body=json.dumps(held).encode())

    def said(self, answer: Answer) -> str:
        return f": {json.loads(answer.body)['message']}" if answer.body else ""

    def uploads(self) -> list[Any]:
        return [name for method, _, name in self.asked if method == "POST"]


def rest(node: Node) -> CertificateRest:
    return CertificateRest(cast(NodeHttps, node))


def run(work: Awaitable[Any]) -> Any:
    async def awaited() -> Any:
        return await work

    return asyncio.run(awaited())


def upload(node: Node, *certificates: Certificate, store: Store = Store.PHONE_SAST_TRUST) -> None:
    run(rest(node).upload_trust(store, certificates, looks=(0.0, 0.0, 0.0)))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"trust": ["Phone-SAST-trust", "tomcat-trust"]}, "Phone-SAST-trust"),
        ({"trust": ["Phone-SAST", "tomcat"]}, "Phone-SAST"),
        ({"identity": ["Phone-SAST"], "trust": ["Phone-SAST-trust"]}, "Phone-SAST-trust"),
        ({}, "Phone-SAST-trust"),
        (None, "Phone-SAST-trust"),
    ],
)
def test_the_options_tell_what_a_store_is_called(options: object, name: str) -> None:
    node = Node(options=options)
    upload(node, OTHER)
    assert node.held[Store.PHONE_SAST_TRUST] == [OTHER]
    assert node.uploads() == [[name]]


@pytest.mark.parametrize("ending", [True, False])
def test_where_the_options_do_not_tell_both_names_are_tried(ending: bool) -> None:
    node = Node(reads=lambda name: name.endswith("-trust") is ending)
    upload(node, OTHER)
    assert node.held[Store.PHONE_SAST_TRUST] == [OTHER]
    assert [path for _, path, _ in node.asked].count("/options") == 1


def test_what_is_there_already_is_not_uploaded_again() -> None:
    node = Node()
    node.held[Store.PHONE_SAST_TRUST] = [OTHER]
    upload(node, OTHER, TOMCAT, TOMCAT)
    assert node.held[Store.PHONE_SAST_TRUST] == [OTHER, TOMCAT]
    upload(node, OTHER, TOMCAT)
    assert len(node.uploads()) == 1


def test_a_node_that_says_there_already_is_believed_by_what_it_holds() -> None:
    node = Node(status=500)
    upload(node, OTHER)
    assert node.held[Store.PHONE_SAST_TRUST] == [OTHER]


def test_a_certificate_may_take_a_moment_to_appear() -> None:
    node = Node(late=2)
    upload(node, OTHER)
    assert node.late == 0


@pytest.mark.parametrize(("status", "words"), [(200, ""), (500, "words of the node")])
def test_what_does_not_arrive_is_refused_by_name_with_the_nodes_words(status: int, words: str) -> None:
    node = Node(takes=lambda certificate: certificate == OTHER, status=status)
    with pytest.raises(Refused) as caught:
        upload(node, OTHER, TOMCAT)
    assert "CN=cm1" in caught.value.message
    assert "CN=other" not in caught.value.message
    assert words in caught.value.message
    assert "TB140" in caught.value.hint


def _fixed(answer: Answer) -> CertificateRest:
    node = Node()

    async def request(*_: object, **__: object) -> Answer:
        return answer

    node.request = request  # type: ignore[method-assign]
    return rest(node)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(404), NotSupported),
        (Answer(405), NotSupported),
        (Answer(302), Garbled),
        (Answer(400, body=b'{"message": "no"}'), Refused),
        (Answer(500), Refused),
        (Answer(200, body=b"<html>"), Garbled),
        (Answer(200, body=b"{}"), Garbled),
    ],
)
def test_every_answer_that_can_not_be_used_names_node_and_interface(
    answer: Answer, kind: type[TrustbridgeError]
) -> None:
    client = _fixed(answer)
    for work in (client.snapshot(), client.identities(), client.trusted(), client.csr(Unit.TOMCAT)):
        with pytest.raises(kind) as caught:
            run(work)
        assert caught.value.message.startswith("cm1 (certificate REST): ")
        assert caught.value.hint


def test_a_snapshot_gives_identities_and_trust_as_the_driver_has_them(caplog: pytest.LogCaptureFixture) -> None:
    client = _fixed(Answer(200, body=json.dumps(GOLDEN_CERTIFICATES).encode()))
    assert run(client.identities()) == (
        NodeIdentity("cm1", Unit.TOMCAT, TOMCAT),
        NodeIdentity("cm1", Unit.CALLMANAGER, MANAGER),
    )
    assert run(client.trusted()) == (
        TrustedCertificate("cm1", Store.TOMCAT_TRUST, TOMCAT, "cm1.pem"),
        TrustedCertificate("cm1", Store.PHONE_SAST_TRUST, MANAGER, "cm1-cm.pem"),
    )
    assert "odd.pem" in caplog.text


def test_one_store_is_read_alone() -> None:
    node = Node()
    node.held[Store.CAPF_TRUST] = [OTHER]
    assert run(rest(node).trusted(Store.CAPF_TRUST)) == (TrustedCertificate("cm1", Store.CAPF_TRUST, OTHER, "a.pem"),)
    assert ("GET", "/trust/certificate", "CAPF-trust") in node.asked


def test_a_signing_request_is_asked_for_in_the_documented_words(tmp_path: Path) -> None:
    pem = _request()
    sent: list[Any] = []

    async def request(method: str, path: str, *, again: bool, value: Any) -> Answer:
        sent.append((method, path, again, value))
        return Answer(200, body=json.dumps({"csr": pem}).encode())

    node = Node()
    node.request = request  # type: ignore[method-assign,assignment]
    assert run(rest(node).csr(Unit.TOMCAT, common_name="uc.example", names=["a.example"], key_length=3072)) == pem
    assert sent == [
        (
            "POST",
            f"{BASE}/csr",
            False,
            {
                "service": "tomcat",
                "distribution": "this-server",
                "commonName": "uc.example",
                "keyType": "rsa",
                "keyLength": 3072,
                "hashAlgorithm": "sha256",
                "altNames": ["a.example"],
            },
        )
    ]
