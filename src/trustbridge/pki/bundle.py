"""PKCS#12 bundles of certificates: what clusters exchange. A private key in one is refused, never written.

What is written carries Java's trusted-certificate attribute, without which `keytool` lists nothing, and a name
("alias") a certificate. Aliases are unique whatever their case: Java keeps one entry an alias.

What is read may come from OpenSSL, Java or a cluster: DER, or BER as some Java libraries write it; any encryption the
cryptography library can undo. One certificate at least, on both ways: an empty bundle is always somebody's mistake,
and Java would not write one either.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    PrivateFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    PBES,
    PKCS12Certificate,
    PKCS12KeyAndCertificates,
    load_pkcs12,
    serialize_java_truststore,
)

from trustbridge.errors import InvalidBundle, SettingsError
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.der import INTEGER, OCTET_STRING, SEQUENCE, DerError, der_header, dotted, enter_der, pull_der

# BER bundles exist in the field and are read; a person who imports one can do nothing about the warning.
warnings.filterwarnings("ignore", "PKCS#12 bundle could not be parsed as DER", UserWarning)

#: Rounds of key derivation in legacy bundles: OpenSSL's default.
_LEGACY_ROUNDS: Final = 2048

#: Key bags, plain and encrypted (1.2.840.113549.1.12.10.1.1 and .2), as they stand in a bundle.
_KEY_BAGS: Final = (bytes.fromhex("060b2a864886f70d010c0a0101"), bytes.fromhex("060b2a864886f70d010c0a0102"))

#: Encryption that a library may lack or a system forbid: the identifier's DER, and its name.
_SELDOM: Final = {
    bytes.fromhex("060a2a864886f70d010c0106"): "RC2 with 40 bits",
    bytes.fromhex("060a2a864886f70d010c0105"): "RC2 with 128 bits",
    bytes.fromhex("060a2a864886f70d010c0102"): "RC4 with 40 bits",
    bytes.fromhex("060a2a864886f70d010c0101"): "RC4 with 128 bits",
    bytes.fromhex("060a2a864886f70d010c0104"): "two-key triple DES",
    bytes.fromhex("060a2a864886f70d010c0103"): "triple DES",
    bytes.fromhex("06082a864886f70d0307"): "triple DES",
    bytes.fromhex("06082a864886f70d0302"): "RC2",
    bytes.fromhex("06092a864886f70d010503"): "DES",
    bytes.fromhex("06052b0e030207"): "DES",
    bytes.fromhex("06092b0601040197550102"): "Blowfish",
    bytes.fromhex("06092a864886f67d07420a"): "CAST5",
}

#: Digests of a bundle's integrity check, by identifier.
_DIGESTS: Final = {
    "1.2.840.113549.2.5": "md5",
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
#: More rounds than anybody writes: OpenSSL and Java take 2,048 and 10,000, the library here 20,000.
_MAX_ROUNDS: Final = 1_000_000
#: Identifiers of key derivation in a bundle: PKCS#12's own (1.2.840.113549.1.12.1.x) and PBKDF2 (...1.5.12).
_DERIVATION: Final = re.compile(
    rb"\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01.|\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c", re.DOTALL
)

_REWRITE: Final = "openssl pkcs12 -export -nokeys -in certificates.pem -out NEW.p12"
_KEY_HINT: Final = (
    "nothing was taken from it. Bundles here hold certificates only: write it again without the key, "
    f"openssl pkcs12 -in OLD.p12 -nokeys -out certificates.pem, then {_REWRITE}; "
    "and if others could read that file, regenerate the certificate: its key is no longer private"
)
_CONVERT_HINT: Final = f"convert it: openssl pkcs12 -legacy -in OLD.p12 -nokeys -out certificates.pem, then {_REWRITE}"
_FORMAT_HINT: Final = "a PKCS#12 file (.p12, .pfx) is expected"


@dataclass(frozen=True, slots=True)
class BundledCertificate:
    """A certificate in a bundle.

    Attributes:
        certificate: the certificate.
        name: its friendly name or alias, "cluster/node/unit" in ours; "" where a bundle gives none.
    """

    certificate: Certificate
    name: str


def write_bundle(items: Sequence[BundledCertificate], *, password: str, legacy: bool = False) -> bytes:
    """A bundle of these certificates, in this order.

    Names come back as given, with three exceptions: what is not a printable character of the Basic Multilingual Plane
    becomes U+FFFD, an empty name becomes the certificate's common name (or the start of its SHA-256), and a name used
    before, whatever its case, gets a number after it, " (2)".

    Args:
        items: at least one.
        password: not empty; Java wants six characters or more.
        legacy: triple DES and SHA-1 for readers older than 2018, instead of AES-256 and SHA-256.

    Raises:
        SettingsError: no certificate, or no password.
    """
    if not items:
        raise SettingsError("a bundle without certificates is not written", "choose at least one certificate")
    if not password:
        raise SettingsError("a bundle without a password is not written", "set a password of at least six characters")
    used: set[str] = set()
    entries = [PKCS12Certificate(item.certificate.x509, _alias(item, used).encode()) for item in items]
    return serialize_java_truststore(entries, _encryption(password, legacy))


def read_bundle(data: bytes, *, password: str) -> list[BundledCertificate]:
    """The certificates of a bundle, in its order.

    Raises:
        InvalidBundle: not a bundle, another password, encryption that can't be undone here, no certificate inside, or
            a private key inside, whatever else is in it.
    """
    _check_outside(data)
    _check_rounds(data)
    if any(bag in data for bag in _KEY_BAGS):
        raise InvalidBundle("the bundle holds a private key: refused", _KEY_HINT)
    held = _load(data, password)
    if held.key is not None:
        raise InvalidBundle("the bundle holds a private key: refused", _KEY_HINT)
    found = [entry for entry in (held.cert, *held.additional_certs) if entry is not None]
    if not found:
        raise InvalidBundle("the bundle holds no certificate", "export it again and look at what was chosen")
    return [
        BundledCertificate(
            Certificate.from_der(entry.certificate.public_bytes(Encoding.DER)),
            (entry.friendly_name or b"").decode("utf-8", "replace"),
        )
        for entry in found
    ]


def _alias(item: BundledCertificate, used: set[str]) -> str:
    """A name no entry has yet, for this one; `used` holds those taken, casefolded."""
    given = "".join(letter if letter.isprintable() and letter <= "\uffff" else "\ufffd" for letter in item.name)
    given = given.strip() or item.certificate.common_name or item.certificate.sha256[:16]
    alias = given
    number = 1
    while alias.casefold() in used:
        number += 1
        alias = f"{given} ({number})"
    used.add(alias.casefold())
    return alias


def _encryption(password: str, legacy: bool) -> KeySerializationEncryption:
    if not legacy:
        return BestAvailableEncryption(password.encode())
    return (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_LEGACY_ROUNDS)
        .key_cert_algorithm(PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(SHA1())  # noqa: S303 - what old readers know
        .build(password.encode())
    )


def _check_outside(data: bytes) -> None:
    """Say what else a file is, or that it is not whole, before anything is asked of its inside."""
    if not data.startswith(bytes([SEQUENCE])) and b"-----BEGIN " in data:
        raise InvalidBundle("not a PKCS#12 bundle but PEM text", f"make a bundle of its certificates: {_REWRITE}")
    if data.startswith(b"\xfe\xed\xfe\xed"):
        raise InvalidBundle(
            "not a PKCS#12 bundle but a Java keystore of the old kind (JKS)",
            "convert it: keytool -importkeystore -srckeystore OLD.jks -destkeystore NEW.p12 -deststoretype PKCS12",
        )
    if not data.startswith(bytes([SEQUENCE])):
        raise InvalidBundle(f"not a PKCS#12 bundle: {len(data)} bytes that begin otherwise", _FORMAT_HINT)
    if data[1:2] == b"\x80":
        return  # BER of indefinite length: only reading it tells where it ends
    try:
        _, start, length = der_header(data, 0, len(data))
    except DerError as error:
        raise InvalidBundle(f"not a PKCS#12 bundle: {error}", _FORMAT_HINT) from error
    end = start + length
    if end > len(data):
        raise InvalidBundle(f"the bundle is cut short: {len(data)} of {end} bytes", "transfer it again, in binary mode")
    if end < len(data):
        raise InvalidBundle(f"{len(data) - end} bytes after the end of the bundle", "transfer it again, in binary mode")
    if data[start : start + 1] != bytes([INTEGER]):
        raise InvalidBundle("not a PKCS#12 bundle, though it begins like one (a certificate does)", _FORMAT_HINT)


def _check_rounds(data: bytes) -> None:
    """Refuse what would keep this process busy for hours: key derivation is as slow as the bundle asks for."""
    rounds = [_rounds_after(data, found.end()) for found in _DERIVATION.finditer(data)]
    with suppress(DerError):
        rounds.append(_mac_data(data)[3])
    if sum(rounds) > _MAX_ROUNDS:
        raise InvalidBundle(
            f"the bundle asks for {sum(rounds)} rounds of key derivation; {_MAX_ROUNDS} are more than anybody writes",
            "somebody may want to keep this program busy; write it again with the usual number: " + _REWRITE,
        )


def _rounds_after(data: bytes, at: int) -> int:
    """The rounds in the parameters (salt, rounds, ...) that stand behind an identifier; 0 where none do."""
    try:
        _, salt, end = enter_der(data, at, len(data), SEQUENCE)
        _, _, after = enter_der(data, salt, end, OCTET_STRING)
        _, start, stop = enter_der(data, after, end, INTEGER)
    except DerError:
        return 0
    return int.from_bytes(data[start:stop])


def _load(data: bytes, password: str) -> PKCS12KeyAndCertificates:
    try:
        return load_pkcs12(data, password.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        cause = error
    if "deserialize" in str(cause):
        raise InvalidBundle("not a PKCS#12 bundle, or a damaged one", _FORMAT_HINT) from cause
    seldom = " and ".join(dict.fromkeys(name for mark, name in _SELDOM.items() if mark in data))
    holds = _password_holds(data, password)
    if holds is False:
        raise InvalidBundle(
            "the password does not open this bundle, or the bundle was changed after it was written",
            "check the password; if it is right, transfer or export the bundle again",
        ) from cause
    if seldom:
        certainty = "the password is right, but the" if holds else "the password is wrong, or the"
        raise InvalidBundle(
            f"{certainty} bundle is encrypted with {seldom}, which can't be decrypted here", _CONVERT_HINT
        ) from cause
    if holds:
        raise InvalidBundle("the password is right, but what the bundle holds can't be read", _CONVERT_HINT) from cause
    raise InvalidBundle(
        "the bundle can't be opened: another password, damaged, or protected in a way not known here", _CONVERT_HINT
    ) from cause


def _password_holds(data: bytes, password: str) -> bool | None:
    """Whether the bundle's integrity check holds with this password; None when it has none that is understood.

    The library says the same for a wrong password and for encryption it lacks; this tells them apart. The check
    (RFC 7292, section 4 and appendix B) is an HMAC over the content; its key, one digest long, comes of one block.
    """
    try:
        content, digest, salt, rounds, expected = _mac_data(data)
    except DerError:
        return None
    if digest not in _DIGESTS:
        return None
    algorithm = _DIGESTS[digest]
    block = hashlib.new(algorithm).block_size
    secret = password.encode("utf-16-be", "replace") + b"\0\0"
    key = b"\x03" * block + b"".join(
        (part * (block // len(part) + 1))[: -(-len(part) // block) * block] for part in (salt, secret) if part
    )
    for _ in range(rounds):
        key = hashlib.new(algorithm, key).digest()
    return hmac.compare_digest(hmac.digest(key, content, algorithm), expected)


def _mac_data(data: bytes) -> tuple[bytes, str, bytes, int, bytes]:
    """(content, digest's identifier, salt, rounds, expected value) of a bundle's integrity check. Raises DerError."""
    _, at, end = enter_der(data, 0, len(data), SEQUENCE)
    _, _, at = enter_der(data, at, end, INTEGER)
    _, safe, safe_end = enter_der(data, at, end, SEQUENCE)
    _, mac, mac_end = enter_der(data, safe_end, end, SEQUENCE)
    _, _, content = pull_der(data, safe, safe_end)
    _, content, content_end = pull_der(data, content, safe_end)
    _, content, content_end = enter_der(data, content, content_end, OCTET_STRING)
    _, info, info_end = enter_der(data, mac, mac_end, SEQUENCE)
    _, algorithm, algorithm_end = enter_der(data, info, info_end, SEQUENCE)
    _, oid, oid_end = pull_der(data, algorithm, algorithm_end)
    _, value, value_end = enter_der(data, algorithm_end, info_end, OCTET_STRING)
    _, salt, salt_end = enter_der(data, info_end, mac_end, OCTET_STRING)
    rounds = 1
    if salt_end < mac_end:
        _, start, stop = enter_der(data, salt_end, mac_end, INTEGER)
        rounds = int.from_bytes(data[start:stop])
    return (
        data[content:content_end],
        dotted(data[oid:oid_end]),
        data[salt:salt_end],
        rounds,
        data[value:value_end],
    )
