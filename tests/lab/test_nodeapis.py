"""What a lab node answers over HTTPS, over a real cluster's folder, without a socket."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.lab.prepared import NOW, Prepared

from trustbridge.errors import SettingsError
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.nodeapis import NodeCertificates, certificate_style, node_app
from trustbridge.lab.profiles import profile
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Store, Unit
from trustbridge.services.certmgr import BASE, SigningRequest


def _certificate(name: str, days: int = 0) -> Certificate:
    return self_signed(
        node=name,
        unit=Unit.CALLMANAGER,
        common_name=name,
        organisation=Organisation(),
        now=NOW + timedelta(days=days),
        key="p256",
    ).certificate


OTHER = _certificate("other")


@pytest.fixture
def cluster(prepared: Prepared, tmp_path: Path) -> Cluster:
    return prepared.cluster(tmp_path / "cluster", "dst")


def ask(
    cluster: Cluster,
    method: str,
    path: str,
    body: object = None,
    *,
    node: str = "dst-pub",
    release: str = "14",
    account: tuple[str, str] | None = None,
    query: bytes = b"",
) -> tuple[int, Any]:
    user, password = account or cluster.accounts.credentials("os")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"" if body is None else json.dumps(body).encode()}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(b"authorization", b"Basic " + base64.b64encode(f"{user}:{password}".encode()))],
    }

    async def run() -> None:
        await node_app(cluster, node, profile(release))(scope, receive, send)

    asyncio.run(run())
    try:
        return sent[0]["status"], json.loads(sent[1]["body"])
    except ValueError:
        return sent[0]["status"], None


def test_a_snapshot_tells_the_nodes_own_certificates_and_its_stores(cluster: Cluster) -> None:
    status, value = ask(cluster, "GET", f"{BASE}/snapshot/server", node="dst-sub1")
    assert status == 200
    assert value["server"] == "dst-sub1.dst.example"
    told = {one["service"]: Certificate.from_pem(one["certificate"]) for one in value["identities"]}
    assert told == {
        str(unit): identity.certificate for (node, unit), identity in cluster.identities.items() if node == "dst-sub1"
    }
    for entry in value["trusts"]:
        held = [one.certificate for one in cluster.stores["dst-sub1"].entries(Store(entry["service"]))]
        assert [Certificate.from_pem(one["certificate"]) for one in entry["certificate_data"]] == held
    assert {entry["service"] for entry in value["trusts"]} == {str(store) for store, _ in cluster.stores["dst-sub1"]}


def test_the_other_release_spells_otherwise_and_tells_the_same(cluster: Cluster) -> None:
    _, old = ask(cluster, "GET", f"{BASE}/snapshot/server")
    _, new = ask(cluster, "GET", f"{BASE}/snapshot/server", release="15")
    assert [entry["certificates"] for entry in new["trusts"]] == [entry["certificate_data"] for entry in old["trusts"]]
    assert certificate_style(profile("14.0.1.13900-155")) == certificate_style(profile("14"))


@pytest.mark.parametrize("release", ["11.5", "12.5"])
def test_releases_before_14_have_no_rest(cluster: Cluster, release: str) -> None:
    assert ask(cluster, "GET", f"{BASE}/snapshot/server", release=release)[0] == 404


def test_only_the_platforms_administrator_is_let_in(cluster: Cluster) -> None:
    path = f"{BASE}/snapshot/server"
    user, password = cluster.accounts.credentials("os")
    for account in (
        (user, "wrong"),
        ("nobody", password),
        ("", ""),
        cluster.accounts.credentials("application"),
        (user.upper(), password),
    ):
        assert ask(cluster, "GET", path, account=account)[0] == 401


def test_an_upload_to_a_subscriber_is_on_every_node(cluster: Cluster) -> None:
    body = {"service": ["Phone-SAST-trust"], "certificates": [OTHER.pem()]}
    assert ask(cluster, "POST", f"{BASE}/trust/certificates", body, node="dst-sub1")[0] == 200
    for node in ("dst-pub", "dst-sub1"):
        assert Store.PHONE_SAST_TRUST in cluster.stores[node].holding(OTHER)
        assert cluster.vouch_index(node)


def test_an_upload_to_capf_trust_stays_on_the_node(cluster: Cluster) -> None:
    body = {"service": ["CAPF"], "certificates": [OTHER.pem()]}
    assert ask(cluster, "POST", f"{BASE}/trust/certificates", body, node="dst-sub1")[0] == 200
    assert cluster.stores["dst-sub1"].holding(OTHER) == (Store.CAPF_TRUST,)
    assert cluster.stores["dst-pub"].holding(OTHER) == ()


def test_uploading_what_is_there_is_no_error(cluster: Cluster) -> None:
    body = {"service": ["CallManager"], "certificates": [OTHER.pem()]}
    for _ in range(2):
        assert ask(cluster, "POST", f"{BASE}/trust/certificates", body)[0] == 200
    status, value = ask(cluster, "GET", f"{BASE}/trust/certificate", query=b"service=CallManager-trust")
    assert status == 200
    assert [one["filename"] for one in value].count("other.pem") == 1


def test_an_upload_of_several_restarts_the_phones_once(cluster: Cluster) -> None:
    told: list[str] = []
    cluster.restart_phones = lambda: told.append(".")
    body = {"service": ["tomcat", "CallManager"], "certificates": [OTHER.pem(), _certificate("another").pem()]}
    for _ in range(2):
        assert ask(cluster, "POST", f"{BASE}/trust/certificates", body, node="dst-sub1")[0] == 200
        assert told == ["."]


def test_of_one_common_name_the_later_certificate_stays_as_on_the_page(cluster: Cluster) -> None:
    older, newer = _certificate("rival"), _certificate("rival", days=1)
    for one in (newer, older):
        body = {"service": ["tomcat"], "certificates": [one.pem()]}
        assert ask(cluster, "POST", f"{BASE}/trust/certificates", body)[0] == 200
    assert cluster.stores["dst-pub"].holding(newer) == (Store.TOMCAT_TRUST,)
    assert cluster.stores["dst-pub"].holding(older) == ()


def test_what_a_cluster_refuses_is_a_500_with_its_words(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise SettingsError("the store is sealed")

    monkeypatch.setattr(cluster, "upload_all", refuse)
    body = {"service": ["tomcat"], "certificates": [OTHER.pem()]}
    assert ask(cluster, "POST", f"{BASE}/trust/certificates", body) == (500, {"message": "the store is sealed"})


def test_a_signing_request_is_a_real_one(cluster: Cluster) -> None:
    body = {"service": "tomcat", "keyLength": 3072, "hashAlgorithm": "sha384", "altNames": ["uc.example"]}
    status, value = ask(cluster, "POST", f"{BASE}/csr", body)
    assert status == 200
    request = x509.load_pem_x509_csr(value["csr"].encode())
    assert request.is_signature_valid
    key = request.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 3072
    assert request.signature_hash_algorithm is not None
    assert request.signature_hash_algorithm.name == "sha384"
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["dst-pub.dst.example", "uc.example"]


@pytest.mark.parametrize("bits", [256, 384, 521])
def test_signing_requests_for_elliptic_keys(cluster: Cluster, bits: int) -> None:
    wanted = SigningRequest(Unit.TOMCAT_ECDSA, "x.example", (), "ec", bits, "sha256")
    key = x509.load_pem_x509_csr(NodeCertificates(cluster, "dst-pub").signing_request(wanted).encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.key_size == bits
