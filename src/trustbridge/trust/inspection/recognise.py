"""Tell formats apart by how bytes begin, inspect what is recognised, and say of the rest what it is not.

The formats begin differently: a signed file with a version element, a TVS message with its protocol byte, DER with a
sequence, PEM and XML with text. What begins like one of them and is not is reported as a bad one of that kind, with
the offset at which it fails; what begins like none is reported with what each of them wants to see first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from trustbridge.errors import DecodeError, InvalidBundle, InvalidCertificate
from trustbridge.pki.bundle import read_bundle
from trustbridge.pki.certificate import Certificate, read_certificates
from trustbridge.trust.inspection.certificates import inspect_bundle, inspect_der, inspect_pem
from trustbridge.trust.inspection.dershape import looks_like_bundle
from trustbridge.trust.inspection.messages import inspect_configuration, inspect_tvs, is_phone_configuration
from trustbridge.trust.inspection.signed import inspect_signed_file, inspect_trust_list, listed_certificates
from trustbridge.trust.inspection.values import Fact, Inspection, Kind, KnownSigner, Problem, Severity, unreadable
from trustbridge.wire import signedheader, trustlist, tvs

_VERSION_ELEMENT: Final = b"\x01\x00\x02"
_SEQUENCE: Final = b"\x30"
_PEM_MARK: Final = b"-----BEGIN "
_UTF8_MARK: Final = b"\xef\xbb\xbf"
#: Files people try that have a name, by how they begin.
_STRANGERS: Final = {
    b"\xfe\xed\xfe\xed": "a Java key store (JKS)",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "gzip, perhaps a .tar.gz of the files in question",
    b"\x7fELF": "a program",
    b"MSCF": "a Windows cabinet",
    b"%PDF": "a PDF document",
}


def inspect(data: bytes, *, now: datetime, password: str, signers: Sequence[KnownSigner] = ()) -> Inspection:
    """What `data` is and what is wrong with it. Total: any bytes give an inspection, nothing raises.

    Args:
        now: the time to judge dates by, with a time zone.
        password: opens a PKCS#12 bundle.
        signers: certificates from elsewhere that may have signed a trust list or signed file.
    """
    found = _recognised(data, now, password, signers)
    return replace(found, facts=(*found.facts, *_checksums(data)))


def certificates_in(data: bytes, *, password: str) -> list[Certificate]:
    """Every certificate that a trust list, bundle, PEM text or DER brings; none of anything else. Never raises."""
    try:
        if data.startswith(_VERSION_ELEMENT):
            return listed_certificates(trustlist.decode(data))
        if looks_like_bundle(data):
            return [item.certificate for item in read_bundle(data, password=password)]
        return read_certificates(data)
    except (DecodeError, InvalidBundle, InvalidCertificate):
        return []


def _recognised(data: bytes, now: datetime, password: str, signers: Sequence[KnownSigner]) -> Inspection:
    if data.startswith(_VERSION_ELEMENT):
        return _signed(data, now, signers)
    if data[:2] == bytes([tvs.PROTOCOL, tvs.VERSION]):
        return inspect_tvs(data)
    if looks_like_bundle(data):
        return inspect_bundle(data, now, password)
    if data.startswith(_SEQUENCE):
        return inspect_der(data, now)
    if _PEM_MARK in data:
        return inspect_pem(data, now)
    if _begins_as_xml(data):
        return inspect_configuration(data)
    return _unknown(data)


def _signed(data: bytes, now: datetime, signers: Sequence[KnownSigner]) -> Inspection:
    kind = Kind.TRUST_LIST if data[3:5] > b"\x01\x00" and data[3:4] == b"\x01" else Kind.SIGNED_FILE
    try:
        header = signedheader.decode(data)
        if kind is Kind.TRUST_LIST:
            return inspect_trust_list(data, now, signers)
        found, start = inspect_signed_file(data, now, signers)
    except DecodeError as error:
        return unreadable(kind, len(data), f"not a {kind.label}: {error.what}", error.offset, error.hint)
    content = data[start:]
    if header.encrypted or not _begins_as_xml(content):
        return found
    inner = inspect_configuration(content, start)
    if not inner.readable and not is_phone_configuration(content):
        return replace(found, problems=(*found.problems, _note("the content is XML of another kind", start)))
    return replace(found, content=inner)


def _note(text: str, offset: int) -> Problem:
    return Problem(Severity.NOTE, text, offset)


def _begins_as_xml(data: bytes) -> bool:
    return data[:256].removeprefix(_UTF8_MARK).lstrip().startswith(b"<")


def _unknown(data: bytes) -> Inspection:
    if not data:
        return unreadable(Kind.UNKNOWN, 0, "the file is empty", 0)
    stranger = next((name for mark, name in _STRANGERS.items() if data.startswith(mark)), None)
    begins = data[:8].hex(" ")
    what = f"this looks like {stranger}" if stranger else f"it begins with {begins}, as nothing known here does"
    closest, offset = _closest(data)
    return Inspection(
        Kind.UNKNOWN,
        len(data),
        problems=(
            Problem(Severity.ERROR, what, 0),
            _note(closest, offset),
            *(_note(text, 0) for text in _EXPECTED if text != closest),
        ),
        readable=False,
    )


_EXPECTED: Final = (
    "not a trust list or signed file: no version element (01 00 02)",
    "not a TVS message: no protocol byte and version (57 01)",
    "not a certificate or bundle: no DER sequence (30), no PEM",
    "not a phone configuration: no XML",
)


def _closest(data: bytes) -> tuple[str, int]:
    """The known format `data` agrees with longest, and where it leaves it."""
    beginnings = (_VERSION_ELEMENT, bytes([tvs.PROTOCOL, tvs.VERSION]), _SEQUENCE, b"<")
    agreed = [_common(data, beginning) for beginning in beginnings]
    best = max(range(len(beginnings)), key=lambda at: agreed[at])
    if not agreed[best]:
        return _EXPECTED[0], 0
    return _EXPECTED[best], agreed[best]


def _common(data: bytes, beginning: bytes) -> int:
    count = 0
    for one, other in zip(data, beginning, strict=False):
        if one != other:
            break
        count += 1
    return count


def _checksums(data: bytes) -> tuple[Fact, ...]:
    """Size and digests; MD5 and SHA-1 because `show itl` prints them, for comparing and no more."""
    return (
        Fact("size", "Size", len(data), f"{len(data)} bytes"),
        Fact("md5", "MD5", hashlib.md5(data, usedforsecurity=False).hexdigest()),
        Fact("sha1", "SHA-1", hashlib.sha1(data, usedforsecurity=False).hexdigest()),
        Fact("sha256", "SHA-256", hashlib.sha256(data).hexdigest()),
    )
