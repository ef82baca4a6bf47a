"""Names and identities as OpenSSL sees them."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import (
    KeyName,
    Organisation,
    authority,
    locally_significant,
    node_identities,
    self_signed,
    signed_by,
)
from trustbridge.pki.names import canonical_name, certificate_key, dn_text
from trustbridge.pki.units import Unit

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing: apt-get install openssl")

ORGANISATION = Organisation(ou="TAC", o="Cisco Systems, Inc.", l="Krakow", st="Malopolska", c="PL")
OID = x509.ObjectIdentifier


def _openssl(*arguments: str, data: str = "") -> str:
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _certificate(*rdns: x509.RelativeDistinguishedName) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(rdns)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 5, now, now)
    return Certificate.from_der(builder.sign(key, SHA256()).public_bytes(Encoding.DER))


def _rdn(oid: OID, value: str, kind: _ASN1Type | None = None) -> x509.RelativeDistinguishedName:
    return x509.RelativeDistinguishedName([x509.NameAttribute(oid, value, kind, _validate=False)])


NAMES = [
    [_rdn(NameOID.COUNTRY_NAME, "PL"), _rdn(NameOID.ORGANIZATION_NAME, "Cisco"), _rdn(NameOID.COMMON_NAME, "cm1")],
    [_rdn(NameOID.ORGANIZATION_NAME, "Cisco Systems, Inc."), _rdn(NameOID.COMMON_NAME, "a;b, OU=c + D=e")],
    [
        _rdn(NameOID.COMMON_NAME, ' "q" <x> = \\ #'),
        _rdn(NameOID.COMMON_NAME, "#0c0161"),
        _rdn(NameOID.TITLE, "  a  b "),
    ],
    [_rdn(NameOID.LOCALITY_NAME, "Kraków"), _rdn(NameOID.COMMON_NAME, "Straße 日本 \U0001f4de")],
    [
        _rdn(NameOID.LOCALITY_NAME, "Köln", _ASN1Type.BMPString),
        _rdn(NameOID.COMMON_NAME, "Köln", _ASN1Type.UniversalString),
    ],
    [_rdn(NameOID.COMMON_NAME, "a\x00b\tc\n\x7f"), _rdn(NameOID.ORGANIZATION_NAME, "AT&T"), _rdn(NameOID.TITLE, "C++")],
    [_rdn(OID("1.2.3.4"), "unknown Type"), _rdn(OID("1.2.3.5"), "Ünknown", _ASN1Type.BMPString)],
    [_rdn(NameOID.DOMAIN_COMPONENT, "Local"), _rdn(NameOID.EMAIL_ADDRESS, "A@b.c"), _rdn(NameOID.USER_ID, "u")],
    [
        x509.RelativeDistinguishedName(
            [x509.NameAttribute(NameOID.COMMON_NAME, "a"), x509.NameAttribute(NameOID.SERIAL_NUMBER, "b")]
        ),
        _rdn(NameOID.ORGANIZATION_NAME, "c"),
    ],
    [
        _rdn(oid, "Vv")
        for oid in (
            *(NameOID.SURNAME, NameOID.GIVEN_NAME, NameOID.STREET_ADDRESS, NameOID.POSTAL_CODE, NameOID.PSEUDONYM),
            *(NameOID.DN_QUALIFIER, NameOID.GENERATION_QUALIFIER, NameOID.BUSINESS_CATEGORY, NameOID.INITIALS),
            *(NameOID.JURISDICTION_COUNTRY_NAME, NameOID.JURISDICTION_LOCALITY_NAME),
            *(NameOID.JURISDICTION_STATE_OR_PROVINCE_NAME, NameOID.UNSTRUCTURED_NAME, NameOID.POSTAL_ADDRESS),
            *(NameOID.ORGANIZATION_IDENTIFIER, NameOID.STATE_OR_PROVINCE_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME),
        )
    ],
]


@pytest.mark.parametrize("rdns", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize(
    "form",
    [
        "RFC2253",
        "RFC2253,-esc_msb",
        "oneline",
        "sep_comma_plus_space,esc_2253,dump_unknown,dump_der,utf8,sname",
        "RFC2253,lname,-sname",
    ],
)
def test_our_text_and_every_form_openssl_prints_mean_the_same_name(
    rdns: list[x509.RelativeDistinguishedName], form: str
) -> None:
    certificate = _certificate(*rdns)
    printed = _openssl("x509", "-noout", "-subject", "-nameopt", form, data=certificate.pem())
    text = printed.removeprefix("subject=").removesuffix("\n")
    assert canonical_name(text) == canonical_name(certificate.subject) == canonical_name(dn_text(x509.Name(rdns)))
    assert certificate_key(5, text) == certificate.key


def test_openssl_agrees_with_every_identity_of_a_node() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    ca = authority("Lab CA", ORGANISATION, now, key="p256")
    for identity in node_identities(
        "cm1", domain="lab.test", organisation=ORGANISATION, now=now, publisher=True, itlrecovery=True, ca=ca
    ):
        certificate = identity.certificate
        options = ("-subject", "-issuer", "-serial", "-fingerprint", "-sha256", "-nameopt", "RFC2253")
        printed = dict(
            line.split("=", 1) for line in _openssl("x509", "-noout", *options, data=certificate.pem()).splitlines()
        )
        assert canonical_name(printed["subject"]) == canonical_name(certificate.subject)
        assert canonical_name(printed["issuer"]) == certificate.key.issuer
        assert int(printed["serial"], 16) == certificate.serial
        assert len(printed["serial"]) == 32
        (fingerprint,) = (value for name, value in printed.items() if "ingerprint" in name)
        assert fingerprint.replace(":", "").lower() == certificate.sha256


def _verify(tmp_path: Path, anchor: Certificate, certificate: Certificate, *options: str) -> str:
    (tmp_path / "anchor.pem").write_text(anchor.pem())
    (tmp_path / "leaf.pem").write_text(certificate.pem())
    return _openssl(
        "verify", "-no-CApath", *options, "-CAfile", str(tmp_path / "anchor.pem"), str(tmp_path / "leaf.pem")
    )


@pytest.mark.parametrize("key", ["p256", "rsa2048"])
@pytest.mark.parametrize("purpose", ["sslclient", "sslserver"])
def test_openssl_accepts_a_phones_certificate_under_capf(key: KeyName, purpose: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    capf = self_signed(node="cm1", unit=Unit.CAPF, common_name="CAPF-0123abcd", organisation=ORGANISATION, now=now)
    phone = locally_significant(capf, device="SEP001122334455", organisation=ORGANISATION, now=now, key=key)
    strict = ("-x509_strict", "-purpose", purpose)
    assert ": OK" in _verify(tmp_path, capf.certificate, phone.certificate, *strict)


def test_openssl_refuses_what_a_phones_certificate_signs(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    capf = self_signed(
        node="cm1", unit=Unit.CAPF, common_name="CAPF-0123abcd", organisation=ORGANISATION, now=now, key="p256"
    )
    phone = locally_significant(capf, device="SEP001122334455", organisation=ORGANISATION, now=now, key="p256")
    forged = signed_by(phone, node="x", unit=Unit.TVS, common_name="x", organisation=ORGANISATION, now=now, key="p256")
    (tmp_path / "middle.pem").write_text(phone.certificate.pem())
    with pytest.raises(AssertionError, match="invalid CA certificate"):
        _verify(tmp_path, capf.certificate, forged.certificate, "-untrusted", str(tmp_path / "middle.pem"))


def test_openssl_accepts_identities_signed_by_an_authority_and_self_signed_ones(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ca = authority("Lab CA", ORGANISATION, now, key="p256")
    signed, alone = (
        node_identities(
            "cm1", domain="lab.test", organisation=ORGANISATION, now=now, publisher=False, itlrecovery=False, ca=signer
        )[-1]
        for signer in (ca, None)
    )
    strict = ("-x509_strict", "-purpose", "sslserver")
    assert ": OK" in _verify(tmp_path, ca.certificate, signed.certificate, *strict, "-verify_hostname", "cm1.lab.test")
    assert ": OK" in _verify(tmp_path, alone.certificate, alone.certificate, "-verify_hostname", "cm1.lab.test")
