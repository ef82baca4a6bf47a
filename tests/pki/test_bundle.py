"""Bundles: certificates go through unchanged, keys do not, and each way to fail has words of its own."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, pkcs12
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbridge.errors import InvalidBundle, SettingsError
from trustbridge.pki.bundle import BundledCertificate, read_bundle, write_bundle
from trustbridge.pki.issue import Identity
from trustbridge.pki.units import Unit

PASSWORD = "bulk-secret"


@pytest.fixture(scope="session")
def items(identities: dict[Unit, Identity]) -> list[BundledCertificate]:
    return [BundledCertificate(identity.certificate, f"src/cm1/{unit}") for unit, identity in identities.items()]


@pytest.fixture(scope="session")
def bundle(items: list[BundledCertificate]) -> bytes:
    return write_bundle(items, password=PASSWORD)


@pytest.mark.parametrize("legacy", [False, True])
def test_certificates_and_names_come_back_in_order(items: list[BundledCertificate], legacy: bool) -> None:
    written = write_bundle(items, password=PASSWORD, legacy=legacy)
    assert read_bundle(written, password=PASSWORD) == items


_NAMES = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["C", "Z"]), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(
    chosen=st.lists(st.tuples(st.integers(0, 6), _NAMES), min_size=1, max_size=8, unique_by=lambda c: c[1].casefold()),
    password=st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["C"]), min_size=1, max_size=20),
)
def test_any_certificates_under_any_names_and_password_come_back(
    items: list[BundledCertificate], chosen: list[tuple[int, str]], password: str
) -> None:
    written = [BundledCertificate(items[which].certificate, name) for which, name in chosen]
    assert read_bundle(write_bundle(written, password=password), password=password) == written


def test_names_are_made_unique_whatever_their_case(items: list[BundledCertificate]) -> None:
    names = ["src/cm1", "SRC/cm1", "src/cm1", "src/cm1 (2)"]
    written = [BundledCertificate(items[0].certificate, name) for name in names]
    read = [item.name for item in read_bundle(write_bundle(written, password=PASSWORD), password=PASSWORD)]
    assert read == ["src/cm1", "SRC/cm1 (2)", "src/cm1 (3)", "src/cm1 (2) (2)"]


def test_names_that_cannot_stand_in_a_bundle_are_changed_and_empty_ones_filled(
    items: list[BundledCertificate],
) -> None:
    written = [BundledCertificate(items[0].certificate, name) for name in ("", "a\x00b\n", "\U0001f4de", "\ud800")]
    read = [item.name for item in read_bundle(write_bundle(written, password=PASSWORD), password=PASSWORD)]
    assert read == ["cm1.lab.test", "a\ufffdb\ufffd", "\ufffd", "\ufffd (2)"]


def test_an_empty_bundle_is_not_written() -> None:
    with pytest.raises(SettingsError, match="without certificates"):
        write_bundle([], password=PASSWORD)


def test_a_bundle_without_a_password_is_not_written(items: list[BundledCertificate]) -> None:
    with pytest.raises(SettingsError, match="without a password"):
        write_bundle(items, password="")


def test_a_wrong_password_is_named_and_not_shown(bundle: bytes) -> None:
    with pytest.raises(InvalidBundle, match="the password does not open this bundle") as caught:
        read_bundle(bundle, password="wrong-secret")
    assert "secret" not in caught.value.message + caught.value.hint


def test_a_bundle_changed_after_it_was_written_is_refused(bundle: bytes) -> None:
    at = len(bundle) // 2
    changed = bundle[:at] + bytes([bundle[at] ^ 1]) + bundle[at + 1 :]
    with pytest.raises(InvalidBundle, match="or the bundle was changed after it was written"):
        read_bundle(changed, password=PASSWORD)


def test_other_files_are_told_apart(bundle: bytes, items: list[BundledCertificate]) -> None:
    certificate = items[0].certificate
    for data, words in [
        (b"", "0 bytes that begin otherwise"),
        (b"hello", "not a PKCS#12 bundle: 5 bytes"),
        (certificate.pem().encode(), "PEM text"),
        (certificate.der, "though it begins like one"),
        (b"\xfe\xed\xfe\xed\0\0\0\2", "old kind"),
        (bundle[:-7], f"cut short: {len(bundle) - 7} of {len(bundle)} bytes"),
        (bundle + b"\n", "1 bytes after the end"),
        (b"\x30\x80\x02\x01\x03\x00\x00", "or a damaged one"),
        (b"\x30\x03\x02\x01\x03", "or a damaged one"),
        (b"\x30", "not a PKCS#12 bundle"),
    ]:
        with pytest.raises(InvalidBundle) as caught:
            read_bundle(data, password=PASSWORD)
        assert words in caught.value.message
        assert caught.value.hint


@given(st.binary(max_size=200))
def test_bytes_are_a_bundle_or_the_one_error(data: bytes) -> None:
    for prefix in (b"", b"\x30\x80", b"\x30\x82", b"\x30\x81" + bytes([len(data)])):
        with pytest.raises(InvalidBundle):
            read_bundle(prefix + data, password=PASSWORD)


@pytest.mark.filterwarnings("ignore:PKCS#12 bundle could not be parsed as DER")
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_bundle_is_refused_or_gives_what_it_held(
    bundle: bytes, items: list[BundledCertificate], data: st.DataObject
) -> None:
    # Positions near the ends are where the structure is; the rest is cipher text.
    at = data.draw(st.integers(0, 120) | st.integers(len(bundle) - 90, len(bundle) - 1))
    byte = data.draw(st.integers(0, 255))
    damaged = bundle[:at] + bytes([byte]) + bundle[at + 1 :]
    try:
        read = read_bundle(damaged, password=PASSWORD)
    except InvalidBundle:
        return
    assert read == items


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_private_key_inside_is_refused_whatever_the_password(
    identities: dict[Unit, Identity], encrypted: bool
) -> None:
    identity = identities[Unit.CALLMANAGER]
    encryption = BestAvailableEncryption(PASSWORD.encode()) if encrypted else NoEncryption()
    with_key = pkcs12.serialize_key_and_certificates(
        b"cm1", identity.private_key, identity.certificate.x509, None, encryption
    )
    for password in (PASSWORD, "wrong"):
        with pytest.raises(InvalidBundle, match="holds a private key: refused") as caught:
            read_bundle(with_key, password=password)
        assert "openssl pkcs12" in caught.value.hint


def test_a_bundle_without_certificates_is_refused() -> None:
    # Version 3, content "data" with no safe in it, no integrity check.
    empty = bytes.fromhex("3016 020103 3011 06092a864886f70d010701 a004 0402 3000")
    with pytest.raises(InvalidBundle, match="holds no certificate"):
        read_bundle(empty, password=PASSWORD)


def test_no_key_bag_is_ever_written(bundle: bytes, identities: dict[Unit, Identity]) -> None:
    held = pkcs12.load_pkcs12(bundle, PASSWORD.encode())
    assert held.key is None
    assert len(held.additional_certs) == len(identities)


def _indefinite(der: bytes, piece: int = 100) -> bytes:
    """The same as BER with lengths left open and octet strings in pieces of some bytes, as some Java code writes it."""
    out = bytearray()
    at = 0
    while at < len(der):
        tag, length, start = der[at], der[at + 1], at + 2
        if length > 0x7F:
            start += length & 0x7F
            length = int.from_bytes(der[at + 2 : start])
        value = der[start : start + length]
        if tag & 0x20:
            out += bytes([tag, 0x80]) + _indefinite(value, piece) + b"\0\0"
        elif tag == 4 and length > piece:
            pieces = [value[i : i + piece] for i in range(0, length, piece)]
            out += b"\x24\x80" + b"".join(bytes([4, len(part)]) + part for part in pieces) + b"\0\0"
        else:
            out += der[at : start + length]
        at = start + length
    return bytes(out)


@pytest.mark.filterwarnings("ignore:PKCS#12 bundle could not be parsed as DER")
def test_a_bundle_in_ber_is_read_too(bundle: bytes, items: list[BundledCertificate]) -> None:
    ber = _indefinite(bundle)
    assert ber[:2] == b"\x30\x80"
    assert read_bundle(ber, password=PASSWORD) == items
    with pytest.raises(InvalidBundle, match="can't be opened: another password"):
        read_bundle(ber, password="wrong")


@pytest.mark.filterwarnings("ignore:PKCS#12 bundle could not be parsed as DER")
def test_a_private_key_that_only_opening_the_bundle_shows_is_refused_too(identities: dict[Unit, Identity]) -> None:
    identity = identities[Unit.CALLMANAGER]
    with_key = pkcs12.serialize_key_and_certificates(
        b"cm1", identity.private_key, identity.certificate.x509, None, BestAvailableEncryption(PASSWORD.encode())
    )
    # Pieces shorter than a key bag's identifier hide it from a look at the bytes.
    with pytest.raises(InvalidBundle, match="holds a private key: refused"):
        read_bundle(_indefinite(with_key, piece=7), password=PASSWORD)
