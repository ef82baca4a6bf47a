"""Certificates: answers about good ones, odd ones that exist in the field, and bytes that are none."""

from __future__ import annotations

import base64
import copy
import hashlib
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbridge.errors import InvalidCertificate
from trustbridge.pki.certificate import Certificate, KeyKind, read_certificates
from trustbridge.pki.issue import Identity, KeyName, Organisation, authority, self_signed, signed_by
from trustbridge.pki.names import certificate_key
from trustbridge.pki.units import Unit

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def _made(key: KeyName = "p256", name: str = "abcdefgh") -> Certificate:
    return self_signed(
        node="n",
        unit=Unit.TVS,
        common_name=name,
        organisation=Organisation(o="Cisco"),
        now=NOW,
        key=key,
        serial=0x7122334455667788,
    ).certificate


#: Patched below where a test needs something odd: the signature then does not hold, and need not.
PLAIN = _made()
SERIAL = bytes.fromhex("02087122334455667788")
NAME = b"\x0c\x08abcdefgh"


def _patched(old: bytes, new: bytes) -> Certificate:
    assert len(old) == len(new)
    assert old in PLAIN.der
    return Certificate.from_der(PLAIN.der.replace(old, new))


def test_its_answers_are_those_of_the_certificate(identities: dict[Unit, Identity], now: datetime) -> None:
    identity = identities[Unit.CALLMANAGER]
    certificate = identity.certificate
    assert certificate.subject == "CN=cm1.lab.test;OU=TAC;O=Cisco Systems, Inc.;L=Krakow;ST=Malopolska;C=PL"
    assert certificate.issuer == certificate.subject
    assert certificate.common_name == "cm1.lab.test"
    assert certificate.serial == certificate.x509.serial_number
    assert certificate.key == certificate_key(certificate.serial, certificate.issuer)
    assert (certificate.key_kind, certificate.key_bits) == (KeyKind.RSA, 2048)
    assert certificate.public_key == identity.private_key.public_key()
    assert (certificate.not_before, certificate.not_after) == (now, now + timedelta(days=1826))
    assert certificate.not_before.tzinfo is not None
    assert certificate.sha256 == hashlib.sha256(certificate.der).hexdigest()
    assert certificate.self_signed
    assert not certificate.is_ca
    assert certificate.der.endswith(certificate.signature_value)
    assert len(certificate.signature_value) == 256


@pytest.mark.parametrize(("key", "length"), [("rsa1024", 140), ("rsa2048", 270)])
def test_an_rsa_key_has_the_length_of_public_trust_list_dumps(key: KeyName, length: int) -> None:
    # wire-formats, section 1, element 7.
    value = _made(key).public_key_value
    assert len(value) == length
    assert value[0] == 0x30


@pytest.mark.parametrize(("key", "length"), [("p256", 65), ("p384", 97)])
def test_an_ec_key_is_an_uncompressed_point(key: KeyName, length: int) -> None:
    certificate = _made(key)
    assert certificate.key_kind is KeyKind.EC
    assert len(certificate.public_key_value) == length
    assert certificate.public_key_value[0] == 4
    assert isinstance(certificate.public_key, ec.EllipticCurvePublicKey)


def test_equality_and_hash_are_by_der() -> None:
    lazy = Certificate(PLAIN.der)
    assert lazy == PLAIN
    assert hash(lazy) == hash(PLAIN)
    assert len({lazy, PLAIN}) == 1
    assert _made() != PLAIN


def test_it_travels_to_other_processes_as_its_bytes(identities: dict[Unit, Identity]) -> None:
    certificate = identities[Unit.TVS].certificate
    assert certificate.self_signed
    assert pickle.loads(pickle.dumps(certificate)) == certificate
    assert copy.deepcopy(certificate) == certificate
    assert len(pickle.dumps(certificate)) < len(certificate.der) + 200


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        PLAIN.der = b""  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", PLAIN.der[:-1], PLAIN.der + b"\0", PLAIN.der * 2, PLAIN.pem().encode(), b"\x30\x80" + PLAIN.der],
)
def test_anything_but_exactly_one_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidCertificate, match="not a certificate") as caught:
        Certificate.from_der(data)
    assert caught.value.hint
    assert repr(Certificate(data)) == f"<Certificate unreadable, {len(data)} bytes>"


def _ask_everything(certificate: Certificate) -> None:
    """Every answer is given or refused with the one error; these are never refused."""
    assert certificate.serial >= 0
    assert certificate.key_bits >= 0
    assert certificate.key_kind in KeyKind
    assert certificate.self_signed in (True, False)
    assert certificate.is_ca in (True, False)
    assert certificate.not_before.tzinfo is not None
    assert certificate.not_after.tzinfo is not None
    assert isinstance(certificate.signature_value, bytes)
    assert isinstance(certificate.public_key_value, bytes)
    assert all(certificate.problems(NOW)) in (True, False)
    assert certificate.subject is not None
    assert certificate.key.issuer is not None
    assert certificate.common_name is not None
    assert repr(certificate).startswith("<Certificate ")
    try:
        assert certificate.public_key
    except InvalidCertificate:
        assert certificate.key_kind is KeyKind.OTHER


@given(st.binary(max_size=64))
def test_bytes_are_a_certificate_or_the_one_error(data: bytes) -> None:
    with pytest.raises(InvalidCertificate):
        _ask_everything(Certificate.from_der(data))
    with pytest.raises(InvalidCertificate):
        assert Certificate(data).subject


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@settings(max_examples=400)
@given(st.integers(0, len(PLAIN.der) - 1), st.integers(0, 255))
def test_a_certificate_with_one_byte_changed_is_refused_or_answers_everything(at: int, byte: int) -> None:
    damaged = PLAIN.der[:at] + bytes([byte]) + PLAIN.der[at + 1 :]
    try:
        certificate = Certificate.from_der(damaged)
    except InvalidCertificate:
        return
    _ask_everything(certificate)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_negative_serial_is_read_as_trust_lists_carry_it() -> None:
    certificate = _patched(SERIAL, bytes.fromhex("0208f122334455667788"))
    assert certificate.serial == 0xF122334455667788
    assert "serial number is not positive" in certificate.problems(NOW)
    _ask_everything(certificate)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_zero_serial_is_a_problem_and_no_error() -> None:
    zero = base64.b64decode("".join(PLAIN.pem().splitlines()[1:-1]))
    at = zero.index(SERIAL)
    shorter = zero[:at] + b"\x02\x01\x00" + zero[at + len(SERIAL) :]
    lost = len(SERIAL) - 3
    # The outer and the signed sequence have two-byte lengths: 30 82 hh ll.
    outer = int.from_bytes(shorter[2:4]) - lost
    inner = int.from_bytes(shorter[6:8]) - lost
    certificate = Certificate.from_der(shorter[:2] + outer.to_bytes(2) + shorter[4:6] + inner.to_bytes(2) + shorter[8:])
    assert certificate.serial == 0
    assert "serial number is not positive" in certificate.problems(NOW)


@pytest.mark.parametrize(
    ("value", "subject", "common_name"),
    [
        (b"\x14\x08abc\xfcefgh", "CN=abcüefgh;O=Cisco", "abcüefgh"),
        (b"\x1e\x08\x00a\x00b\x00c\x00\xfc", "CN=abcü;O=Cisco", "abcü"),
        (b"\x0c\x08abc\xfcefgh", "CN=#0c08616263fc65666768;O=Cisco", ""),
        (b"\x1b\x08abcdefgh", "CN=#1b086162636465666768;O=Cisco", ""),
        (b"\x04\x08abcdefgh", "CN=#04086162636465666768;O=Cisco", ""),
        (b"\x0c\x08abc\x00efgh", "CN=abc\\00efgh;O=Cisco", "abc\x00efgh"),
    ],
)
def test_a_name_of_odd_strings_still_has_a_text(value: bytes, subject: str, common_name: str) -> None:
    certificate = _patched(NAME, value)
    assert (certificate.subject, certificate.issuer) == (subject, subject)
    assert certificate.common_name == common_name
    _ask_everything(certificate)


def test_a_key_of_an_unknown_kind_is_other_and_its_bits_are_kept() -> None:
    # id-ecPublicKey becomes an identifier nobody knows.
    certificate = _patched(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f"))
    assert (certificate.key_kind, certificate.key_bits) == (KeyKind.OTHER, 0)
    assert certificate.public_key_value == PLAIN.public_key_value
    with pytest.raises(InvalidCertificate, match="public key of CN=abcdefgh"):
        assert certificate.public_key
    assert certificate.problems(NOW) == ("key is neither RSA nor EC, or can't be read",)


def test_unreadable_extensions_are_a_problem_and_no_error() -> None:
    # subjectKeyIdentifier becomes a second extendedKeyUsage.
    certificate = _patched(bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d25"))
    assert "extensions can't be read" in certificate.problems(NOW)
    assert not certificate.is_ca


def test_equal_names_without_a_signature_that_holds_are_not_self_signed() -> None:
    damaged = Certificate.from_der(PLAIN.der[:-1] + bytes([PLAIN.der[-1] ^ 1]))
    assert PLAIN.self_signed
    assert not damaged.self_signed


def test_a_certificate_signed_by_another_is_not_self_signed() -> None:
    ca = authority("Lab CA", Organisation(), NOW, key="p256")
    signed = signed_by(ca, node="n", unit=Unit.TVS, common_name="a", organisation=Organisation(), now=NOW, key="p256")
    assert not signed.certificate.self_signed
    assert ca.certificate.self_signed
    assert ca.certificate.is_ca
    assert signed.certificate.issuer == "CN=Lab CA"


def test_pem_goes_out_and_comes_back() -> None:
    pem = PLAIN.pem()
    assert pem == PLAIN.x509.public_bytes(Encoding.PEM).decode()
    assert Certificate.from_pem(pem) == Certificate.from_pem(pem.encode()) == PLAIN


@pytest.mark.parametrize("pem", ["", "text", PLAIN.pem() * 2, PLAIN.pem().replace("END", "AND")])
def test_pem_with_none_or_several_is_refused_as_one(pem: str) -> None:
    with pytest.raises(InvalidCertificate, match="certificates in PEM text, expected one"):
        Certificate.from_pem(pem)


def test_damaged_pem_is_refused_with_its_place() -> None:
    lines = PLAIN.pem().splitlines()
    lines[2] = "*" * 10
    with pytest.raises(InvalidCertificate, match="certificate 2 in PEM text is not base64"):
        read_certificates((PLAIN.pem() + "\n".join(lines)).encode())


def test_a_file_holds_one_certificate_as_der_or_several_as_pem_with_text_around(
    identities: dict[Unit, Identity],
) -> None:
    other = identities[Unit.CAPF]
    text = f"# ours\r\n{PLAIN.pem()}\nissuer=…\n{other.key_pem().decode()}{other.certificate.pem()}".encode()
    assert read_certificates(text) == [PLAIN, other.certificate]
    assert read_certificates(text.replace(b"\n", b"\r\n")) == [PLAIN, other.certificate]
    assert read_certificates(PLAIN.der) == [PLAIN]


@pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"])
def test_a_file_without_a_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidCertificate):
        read_certificates(data)


@pytest.mark.parametrize(
    ("key", "now", "problems"),
    [
        ("p256", NOW, ()),
        ("p256", NOW + timedelta(days=1827), ("expired on 2031-03-01",)),
        ("p256", NOW - timedelta(seconds=1), ("not valid before 2026-03-01 12:00 UTC",)),
        ("p256", datetime(2026, 3, 1, 14, 0, tzinfo=timezone(timedelta(hours=2))), ()),
        ("rsa1024", NOW, ("RSA key of 1024 bits is weak, below 2048",)),
        ("rsa2048", NOW, ()),
        (
            "rsa3072",
            NOW,
            ("RSA key of 3072 bits cannot sign trust lists: their format has no code for it",),
        ),
    ],
)
def test_problems_are_named(key: KeyName, now: datetime, problems: tuple[str, ...]) -> None:
    assert _made(key).problems(now) == problems


def test_the_public_key_value_is_what_the_library_calls_pkcs1(identities: dict[Unit, Identity]) -> None:
    certificate = identities[Unit.TVS].certificate
    assert isinstance(certificate.public_key, rsa.RSAPublicKey)
    assert certificate.public_key_value == certificate.public_key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert certificate.public_key_value in certificate.der
