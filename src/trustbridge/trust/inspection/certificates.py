"""Certificates and bundles under inspection: what each certificate says, and what is wrong with it or beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from trustbridge.errors import InvalidBundle, InvalidCertificate
from trustbridge.pki.bundle import read_bundle
from trustbridge.pki.certificate import Certificate, KeyKind
from trustbridge.trust.inspection.dershape import bundle_fault, certificate_fault
from trustbridge.trust.inspection.values import (
    Fact,
    Findings,
    Inspection,
    Kind,
    Row,
    unreadable,
)

_PEM_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_CERTIFICATE_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE")

T = TypeVar("T")


def serial_text(serial: int) -> str:
    """A serial number as the vendor's pages write it: hexadecimal, whole bytes, lower case."""
    text = f"{serial:x}"
    return text if len(text) % 2 == 0 else f"0{text}"


def _read(get: Callable[[], T], otherwise: T) -> T:
    try:
        return get()
    except InvalidCertificate:
        return otherwise


def key_text(certificate: Certificate) -> str:
    """Kind and size of a key: `RSA 2048`."""
    kind = _read(lambda: certificate.key_kind, KeyKind.OTHER)
    return str(kind) if kind is KeyKind.OTHER else f"{kind} {certificate.key_bits}"


def certificate_facts(certificate: Certificate) -> tuple[Fact, ...]:
    """What a certificate says of itself. Never raises: what can't be read is left empty."""
    before = _read(lambda: certificate.not_before.isoformat(), "")
    after = _read(lambda: certificate.not_after.isoformat(), "")
    return (
        Fact("subject", "Subject", _read(lambda: certificate.subject, "")),
        Fact("issuer", "Issuer", _read(lambda: certificate.issuer, "")),
        Fact("serial", "Serial", _read(lambda: serial_text(certificate.serial), "")),
        Fact("not_before", "Valid from", before, before[:10]),
        Fact("not_after", "Expires", after, after[:10]),
        Fact("key", "Key", key_text(certificate)),
        Fact("self_signed", "Self-signed", _read(lambda: certificate.self_signed, False)),
        Fact("ca", "Authority", _read(lambda: certificate.is_ca, False)),
        Fact("sha256", "SHA-256", certificate.sha256),
    )


def certificate_problems(certificate: Certificate, now: datetime) -> tuple[list[str], list[str]]:
    """What is wrong with a certificate: with its dates at `now`, and with itself at any time."""
    try:
        found = certificate.problems(now)
        # At the first second of its validity no date is wrong: what remains is wrong at any time.
        lasting = certificate.problems(certificate.not_before)
    except InvalidCertificate as error:
        return [], [error.message]
    return [text for text in found if text not in lasting], list(lasting)


def inspect_pem(data: bytes, now: datetime) -> Inspection:
    """PEM text: every certificate in it, and what else stands there."""
    found = Findings()
    rows: list[Row] = []
    for begin in _PEM_BEGIN.finditer(data):
        label = begin[1].decode()
        end = data.find(b"-----END " + begin[1] + b"-----", begin.end())
        if end < 0:
            found.error(f"{label} without its end", begin.start())
            continue
        if begin[1] not in _CERTIFICATE_LABELS:
            if label.endswith("PRIVATE KEY"):
                found.warning("a private key lies in this file: it must not leave its node", begin.start())
            else:
                found.note(f"{label}: passed over", begin.start())
            continue
        try:
            certificate = Certificate.from_pem(data[begin.start() : end + len(begin[0])])
        except InvalidCertificate as error:
            found.error(error.message, begin.start())
            continue
        rows.append(_row(certificate, len(rows) + 1, begin.start(), now, found))
    if not rows:
        found.error("PEM text without a readable certificate", 0)
        return Inspection(Kind.CERTIFICATES, len(data), problems=tuple(found.problems), readable=False)
    return _certificates(data, rows, found, "PEM")


def inspect_der(data: bytes, now: datetime) -> Inspection:
    """One certificate as DER."""
    try:
        certificate = Certificate.from_der(data)
    except InvalidCertificate as error:
        offset, what = certificate_fault(data)
        text = f"not a certificate: {what}" if what else error.message
        return unreadable(Kind.CERTIFICATES, len(data), text, offset)
    found = Findings()
    return _certificates(data, [_row(certificate, 1, 0, now, found)], found, "DER")


def _certificates(data: bytes, rows: list[Row], found: Findings, form: str) -> Inspection:
    facts = (Fact("form", "Form", form), Fact("certificates", "Certificates", len(rows)))
    return Inspection(Kind.CERTIFICATES, len(data), facts, tuple(rows), tuple(found.problems))


def _row(certificate: Certificate, number: int, offset: int | None, now: datetime, found: Findings) -> Row:
    dated, lasting = certificate_problems(certificate, now)
    for text in dated:
        found.error(text, offset, number)
    for text in lasting:
        found.warning(text, offset, number)
    return Row(number, offset, certificate_facts(certificate))


def inspect_bundle(data: bytes, now: datetime, password: str) -> Inspection:
    """A PKCS#12 bundle. An import stops at an expired certificate, so here that is an error."""
    try:
        items = read_bundle(data, password=password)
    except InvalidBundle as error:
        offset, what = bundle_fault(data)
        return unreadable(
            Kind.BUNDLE, len(data), f"not a bundle: {what}" if what else error.message, offset, error.hint
        )
    found = Findings()
    rows = []
    for number, item in enumerate(items, 1):
        row = _row(item.certificate, number, None, now, found)
        rows.append(Row(number, None, (Fact("name", "Name", item.name), *row.facts)))
    facts = (Fact("certificates", "Certificates", len(rows)),)
    return Inspection(Kind.BUNDLE, len(data), facts, tuple(rows), tuple(found.problems))
