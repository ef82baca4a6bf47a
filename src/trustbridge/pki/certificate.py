"""A certificate as a cluster knows it: DER bytes, and cheap cached answers about them.

Real clusters hold certificates a strict reader dislikes (negative serials, odd names, broken extensions): whatever can
still be said about one is said, and `problems` names what is wrong.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

from trustbridge.errors import InvalidCertificate
from trustbridge.pki.der import BIT_STRING, INTEGER, SEQUENCE, DerElement, DerError, der_children, enter_der
from trustbridge.pki.names import CertificateKey, Rdn, certificate_key, rdns_text, read_rdns

# Serials that are not positive exist in the field; `problems` says so, once, where a person reads it.
warnings.filterwarnings("ignore", "Parsed a serial number", CryptographyDeprecationWarning)

#: RSA keys a trust list's signature can name (wire-formats, section 1: 64, 128, 256, 512 bytes).
SIGNING_KEY_BITS: Final = (512, 1024, 2048, 4096)
#: Below this, today's TLS libraries refuse the certificate.
MIN_RSA_BITS: Final = 2048
#: Equal certificates are read again and again (every list of a cluster names the same ones).
_KEPT: Final = 2048

_UNREADABLE_EXTENSIONS: Final = (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_COMMON_NAME: Final = "2.5.4.3"
_PEM: Final = re.compile(
    r"-----BEGIN (?P<label>(?:X509 )?CERTIFICATE)-----(?P<body>.*?)-----END (?P=label)-----", re.DOTALL
)
_BAD_CERTIFICATE_HINT: Final = "a certificate is expected, as DER or PEM"


class KeyKind(StrEnum):
    """Kind of a certificate's key."""

    RSA = "RSA"
    EC = "EC"
    OTHER = "other"


# Not slotted: cached properties live in the instance's dictionary. Equal and hashed by DER alone.
@dataclass(frozen=True, repr=False)
class Certificate:
    """One certificate. Make it with `from_der` or `from_pem`, which check that it is one.

    Attributes:
        der: the certificate, exactly.
    """

    der: bytes

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Exactly one certificate; equal bytes may give the same object.

        Raises:
            InvalidCertificate: anything else.
        """
        return _loaded(bytes(der))

    @classmethod
    def from_pem(cls, pem: bytes | str) -> Certificate:
        """The one certificate in PEM text.

        Raises:
            InvalidCertificate: none, several, or a damaged one.
        """
        found = _pem_certificates(pem)
        if len(found) != 1:
            raise InvalidCertificate(f"{len(found)} certificates in PEM text, expected one", _BAD_CERTIFICATE_HINT)
        return found[0]

    def __repr__(self) -> str:
        try:
            return f"<Certificate {self.subject} serial {self.serial:x} sha256 {self.sha256[:16]}>"
        except InvalidCertificate:
            return f"<Certificate unreadable, {len(self.der)} bytes>"

    def __reduce__(self) -> tuple[Callable[[bytes], Certificate], tuple[bytes]]:
        # What is cached can't be pickled; process pools hand certificates around as their bytes.
        return _loaded, (self.der,)

    @cached_property
    def x509(self) -> x509.Certificate:
        """The certificate as `cryptography` has it; some of its properties raise ValueError on odd certificates."""
        return _parse(self.der)

    @cached_property
    def _tbs(self) -> list[DerElement]:
        """Elements of the signed part from the serial number on: serial, algorithm, issuer, validity, subject, key."""
        _ = self.x509  # raises unless it is exactly one certificate
        try:
            _, start, end = enter_der(self.der, 0, len(self.der), SEQUENCE)
            _, start, end = enter_der(self.der, start, end, SEQUENCE)
            elements = list(der_children(self.der, start, end))
            has_version = elements[0][0] != INTEGER
            return elements[1:] if has_version else elements
        except (DerError, IndexError) as error:
            raise InvalidCertificate(f"not a certificate: {error}", _BAD_CERTIFICATE_HINT) from error

    def _rdns(self, which: int) -> tuple[Rdn, ...]:
        # The element before it ends where this one begins.
        start, end = self._tbs[which - 1][2], self._tbs[which][2]
        try:
            return read_rdns(self.der[start:end])
        except DerError as error:
            raise InvalidCertificate(f"certificate with an unreadable name: {error}", _BAD_CERTIFICATE_HINT) from error

    @cached_property
    def subject(self) -> str:
        """Subject as Unified CM writes it, `CN=…;OU=…`."""
        return rdns_text(self._rdns(4))

    @cached_property
    def issuer(self) -> str:
        """Issuer as Unified CM writes it."""
        return rdns_text(self._rdns(2))

    @cached_property
    def serial(self) -> int:
        """Serial number, its bytes read unsigned as trust lists and TVS carry it (so never negative)."""
        _, start, end = self._tbs[0]
        return int.from_bytes(self.der[start:end])

    @cached_property
    def key(self) -> CertificateKey:
        """How trust lists and TVS find this certificate."""
        return certificate_key(self.serial, self.issuer)

    @cached_property
    def common_name(self) -> str:
        """The most specific common name of the subject; "" without one."""
        for rdn in reversed(self._rdns(4)):
            for oid, value in rdn:
                if oid == _COMMON_NAME and isinstance(value, str):
                    return value
        return ""

    @cached_property
    def public_key(self) -> CertificatePublicKeyTypes:
        """The public key.

        Raises:
            InvalidCertificate: a kind of key, or a key, that can't be used here.
        """
        try:
            return self.x509.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidCertificate(f"the public key of {self.subject} can't be used: {error}") from error

    @cached_property
    def key_kind(self) -> KeyKind:
        """RSA, EC, or anything else, unreadable keys included."""
        try:
            key = self.public_key
        except InvalidCertificate:
            return KeyKind.OTHER
        if isinstance(key, rsa.RSAPublicKey):
            return KeyKind.RSA
        return KeyKind.EC if isinstance(key, ec.EllipticCurvePublicKey) else KeyKind.OTHER

    @cached_property
    def key_bits(self) -> int:
        """Size of an RSA modulus or EC field in bits; 0 for other kinds."""
        if self.key_kind is KeyKind.OTHER:
            return 0
        key = self.public_key
        assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        return key.key_size

    @cached_property
    def public_key_value(self) -> bytes:
        """The key as element 7 of a trust list: PKCS#1 `RSAPublicKey` DER, or an uncompressed X9.62 point.

        For other kinds, the content of the certificate's key bit string.
        """
        if self.key_kind is KeyKind.RSA:
            return self.public_key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        if self.key_kind is KeyKind.EC:
            return self.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        try:
            _, start, end = self._tbs[5]
            _, _, start = enter_der(self.der, start, end, SEQUENCE)
            _, start, end = enter_der(self.der, start, end, BIT_STRING)
        except DerError as error:
            raise InvalidCertificate(f"certificate with an unreadable key: {error}") from error
        return self.der[start + 1 : end]

    @property
    def signature_value(self) -> bytes:
        """The certificate's own signature, element 8 of a trust list's record."""
        return self.x509.signature

    @cached_property
    def not_before(self) -> datetime:
        """Start of validity, UTC."""
        return self.x509.not_valid_before_utc

    @cached_property
    def not_after(self) -> datetime:
        """End of validity, UTC."""
        return self.x509.not_valid_after_utc

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the DER, 64 hexadecimal digits."""
        return hashlib.sha256(self.der).hexdigest()

    @cached_property
    def self_signed(self) -> bool:
        """Signed with its own key. Where the algorithm can't be checked here, equal names decide."""
        issuer, subject = self._tbs[2], self._tbs[4]
        if self.der[issuer[1] : issuer[2]] != self.der[subject[1] : subject[2]]:
            return False
        try:
            self.x509.verify_directly_issued_by(self.x509)
        except UnsupportedAlgorithm:
            return True
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    @cached_property
    def is_ca(self) -> bool:
        """Whether basicConstraints say so; False when they are absent or extensions unreadable."""
        try:
            return self.x509.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (x509.ExtensionNotFound, *_UNREADABLE_EXTENSIONS):
            return False

    def pem(self) -> str:
        """PEM text, with a newline at its end."""
        text = base64.b64encode(self.der).decode()
        body = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
        return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"

    def problems(self, now: datetime) -> tuple[str, ...]:
        """What a person should know before relying on this certificate, each a short sentence without a subject.

        Args:
            now: the time to judge by, with a time zone.
        """
        return tuple(self._problems(now.astimezone(UTC)))

    def _problems(self, now: datetime) -> list[str]:
        found: list[str] = []
        if now > self.not_after:
            found.append(f"expired on {self.not_after:%Y-%m-%d}")
        if now < self.not_before:
            found.append(f"not valid before {self.not_before:%Y-%m-%d %H:%M} UTC")
        if self.key_kind is KeyKind.OTHER:
            found.append("key is neither RSA nor EC, or can't be read")
        if self.key_kind is KeyKind.RSA:
            if self.key_bits < MIN_RSA_BITS:
                found.append(f"RSA key of {self.key_bits} bits is weak, below {MIN_RSA_BITS}")
            if self.key_bits not in SIGNING_KEY_BITS:
                found.append(
                    f"RSA key of {self.key_bits} bits cannot sign trust lists: their format has no code for it"
                )
        serial_bytes = self.der[self._tbs[0][1] : self._tbs[0][2]]
        if serial_bytes[0] & 0x80 or not self.serial:
            found.append("serial number is not positive")
        try:
            _ = self.x509.extensions
        except _UNREADABLE_EXTENSIONS:
            found.append("extensions can't be read")
        return found


def read_certificates(data: bytes) -> list[Certificate]:
    """Every certificate in a file's content: one as DER, or any number as PEM with any text around them.

    Raises:
        InvalidCertificate: none, or a damaged one.
    """
    if b"-----BEGIN " in data:
        found = _pem_certificates(data)
        if not found:
            raise InvalidCertificate("PEM text without a certificate", _BAD_CERTIFICATE_HINT)
        return found
    return [Certificate.from_der(data)]


def _pem_certificates(pem: bytes | str) -> list[Certificate]:
    text = pem if isinstance(pem, str) else pem.decode("latin-1")
    found: list[Certificate] = []
    for block in _PEM.finditer(text):
        try:
            der = base64.b64decode("".join(block["body"].split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidCertificate(
                f"certificate {len(found) + 1} in PEM text is not base64: {error}", _BAD_CERTIFICATE_HINT
            ) from error
        found.append(Certificate.from_der(der))
    return found


def _parse(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise InvalidCertificate(f"not a certificate: {error}", _BAD_CERTIFICATE_HINT) from error


@lru_cache(maxsize=_KEPT)
def _loaded(der: bytes) -> Certificate:
    certificate = Certificate(der)
    certificate.__dict__["x509"] = _parse(der)
    return certificate
