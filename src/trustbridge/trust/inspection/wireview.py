"""Headers and records element by element, named and laid out as a cluster's `show itl` prints them.

There BYTEPOS is the tag's number, a container shows its length as if it were a value of two bytes, the certificate
shows as its SHA-1. Here every line also knows its real offset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from trustbridge.trust.inspection.values import WireLine
from trustbridge.wire.buffer import Element, value_text
from trustbridge.wire.signedheader import PADDING, HeaderTag, SignedHeader
from trustbridge.wire.trustlist import Record, RecordTag, Role, role_label

_HEADER_NAMES: Final[dict[int, str]] = {
    HeaderTag.VERSION: "VERSION",
    HeaderTag.HEADER_LENGTH: "HEADERLENGTH",
    HeaderTag.SIGNER_INFO: "SIGNERID",
    HeaderTag.SIGNER_NAME: "SIGNERNAME",
    HeaderTag.SERIAL: "SERIALNUMBER",
    HeaderTag.CA_NAME: "CANAME",
    HeaderTag.SIGNATURE_INFO: "SIGNATUREINFO",
    HeaderTag.DIGEST: "DIGESTALGORITHM",
    HeaderTag.SIGNATURE_ALGORITHM_INFO: "SIGNATUREALGOINFO",
    HeaderTag.SIGNATURE_ALGORITHM: "SIGNATUREALGORITHM",
    HeaderTag.MODULUS: "SIGNATUREMODULUS",
    HeaderTag.SIGNATURE: "SIGNATURE",
    PADDING: "PADDING",
    HeaderTag.FILE_NAME: "FILENAME",
    HeaderTag.TIMESTAMP: "TIMESTAMP",
    HeaderTag.ENCRYPTION: "ENCRYPTIONINFO",
    26: "HASHALGORITHM",
    27: "HASH",
    HeaderTag.SIGNER_VERSION: "SIGNERVERSION",
}
#: Elements of a header that are known, containers' own included.
KNOWN_HEADER_TAGS: Final = frozenset(_HEADER_NAMES)
_CONTAINERS: Final[dict[int, frozenset[int]]] = {
    HeaderTag.SIGNER_INFO: frozenset({HeaderTag.SIGNER_NAME, HeaderTag.SERIAL, HeaderTag.CA_NAME}),
    HeaderTag.SIGNATURE_INFO: frozenset({HeaderTag.DIGEST, HeaderTag.SIGNATURE_ALGORITHM_INFO}),
    HeaderTag.SIGNATURE_ALGORITHM_INFO: frozenset({HeaderTag.SIGNATURE_ALGORITHM, HeaderTag.MODULUS}),
}
_RECORD_NAMES: Final[dict[int, str]] = {
    RecordTag.RECORD_LENGTH: "RECORDLENGTH",
    RecordTag.DNS_NAME: "DNSNAME",
    RecordTag.SUBJECT: "SUBJECTNAME",
    RecordTag.FUNCTION: "FUNCTION",
    RecordTag.ISSUER: "ISSUERNAME",
    RecordTag.SERIAL: "SERIALNUMBER",
    RecordTag.PUBLIC_KEY: "PUBLICKEY",
    RecordTag.SIGNATURE: "SIGNATURE",
    RecordTag.CERTIFICATE: "CERTIFICATE",
    RecordTag.IP_ADDRESS: "IPADDRESS",
    RecordTag.CERTIFICATE_HASH: "CERTIFICATEHASH",
    RecordTag.HASH_ALGORITHM: "HASHALGORITHM",
}
_TEXTS: Final = frozenset({HeaderTag.SIGNER_NAME, HeaderTag.CA_NAME, HeaderTag.FILE_NAME})
_RECORD_TEXTS: Final = frozenset({RecordTag.DNS_NAME, RecordTag.SUBJECT, RecordTag.ISSUER})
_SAST: Final = "System Administrator Security Token"
#: Longest value of an unknown element that is shown whole, in bytes.
_SHOWN: Final = 32


def header_lines(header: SignedHeader) -> tuple[WireLine, ...]:
    """Every element of a header; padding bytes in one line."""
    return tuple(_header_lines(header.elements, 0))


def _header_lines(elements: Iterable[Element], at: int) -> Iterable[WireLine]:
    padded: list[int] = []
    for tag, value in elements:
        if tag == PADDING:
            padded.append(at)
            at += 1
            continue
        name = _HEADER_NAMES.get(tag, f"UNKNOWN{tag}")
        if tag in _CONTAINERS:
            yield WireLine(0, at, tag, name, 2, str(len(value)))
            yield from _header_lines(_inside(value), at + 3)
        else:
            yield WireLine(0, at, tag, name, len(value), _header_value(tag, value))
        at += 3 + len(value)
    if padded:
        yield WireLine(0, padded[0], PADDING, _HEADER_NAMES[PADDING], len(padded), "")


def _inside(value: bytes) -> list[Element]:
    """Elements of a container. The header's decoder has measured them already."""
    elements = []
    at = 0
    while at + 3 <= len(value):
        stop = at + 3 + int.from_bytes(value[at + 1 : at + 3])
        elements.append((value[at], value[at + 3 : stop]))
        at = stop
    return elements


def _header_value(tag: int, value: bytes) -> str:
    if tag in _TEXTS:
        return value_text(value)
    if tag == HeaderTag.SERIAL:
        return _colons(value)
    if tag in (HeaderTag.VERSION, HeaderTag.SIGNER_VERSION):
        return ".".join(map(str, value))
    if tag == HeaderTag.TIMESTAMP:
        return timestamp_text(int.from_bytes(value))
    if tag == HeaderTag.SIGNATURE or len(value) > _SHOWN:
        return ""
    return str(int.from_bytes(value)) if len(value) <= 2 else value.hex(" ")


def record_lines(record: Record, number: int, at: int) -> tuple[WireLine, ...]:
    """Every element of record `number`, which begins at offset `at`."""
    lines = []
    for tag, value in record.elements:
        name = _RECORD_NAMES.get(tag, f"UNKNOWN{tag}")
        lines.append(WireLine(number, at, tag, name, len(value), _record_value(tag, value)))
        at += 3 + len(value)
    return tuple(lines)


def _record_value(tag: int, value: bytes) -> str:
    if tag in _RECORD_TEXTS:
        return value_text(value)
    if tag == RecordTag.FUNCTION:
        role = int.from_bytes(value)
        return _SAST if role == Role.SAST else role_label(role)
    if tag == RecordTag.SERIAL:
        return _colons(value)
    if tag == RecordTag.CERTIFICATE:
        # The vendor's page shows this digest; it identifies here and protects nothing.
        digest = hashlib.sha1(value, usedforsecurity=False).digest()
        return f"{digest.hex(' ').upper()} (SHA1 Hash HEX)"
    if tag == RecordTag.IP_ADDRESS:
        return ".".join(map(str, value))
    if tag in (RecordTag.PUBLIC_KEY, RecordTag.SIGNATURE) or len(value) > _SHOWN:
        return ""
    return str(int.from_bytes(value)) if len(value) <= 2 else value.hex(" ")


def _colons(value: bytes) -> str:
    return value.hex(":").upper()


def timestamp_text(seconds: int) -> str:
    """A header's timestamp for people; it is four bytes, so every value is a date."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
