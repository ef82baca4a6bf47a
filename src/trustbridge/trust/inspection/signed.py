"""Trust lists and signed files under inspection: who signed, whether it holds, and what the records really say."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from trustbridge.errors import InvalidCertificate, SignatureRefused
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.names import canonical_name, certificate_key
from trustbridge.trust.inspection.certificates import certificate_facts, certificate_problems, serial_text
from trustbridge.trust.inspection.values import Fact, Findings, Inspection, Kind, KnownSigner, Row, WireLine
from trustbridge.trust.inspection.wireview import KNOWN_HEADER_TAGS, header_lines, record_lines, timestamp_text
from trustbridge.trust.lists import check_signature
from trustbridge.wire import signedfile, trustlist
from trustbridge.wire.signedheader import MODULUS_BYTES, PADDING, Digest, HeaderTag, SignedHeader
from trustbridge.wire.trustlist import MAX_PHONE_FILE, Record, RecordTag, Role, TrustListFile, role_label

#: Digest codes as the field names them. SHA-256 is inferred.
_DIGESTS: Final = {1: "SHA-1", 2: "SHA-256", 3: "SHA-512"}
#: Hashes an optional record element 12 may name; inferred from the header's digest codes.
_HASHES: Final = {1: "sha1", 2: "sha256", 3: "sha512"}
#: A cluster's clock may run ahead a little; beyond this a timestamp is wrong.
_CLOCK_TOLERANCE: Final = timedelta(days=1)
#: What a cluster's lists hold in practice: CallManager of the TFTP node and ITLRecovery.
_USUAL_SAST: Final = 2


def inspect_trust_list(data: bytes, now: datetime, signers: Sequence[KnownSigner]) -> Inspection:
    """A CTL or ITL. `signers` are asked when no record of its own holds the signer's certificate.

    Raises:
        DecodeError: it is none.
    """
    file = trustlist.decode(data)
    found = Findings()
    header = file.header
    starts = _starts(file)
    certificates = [_certificate(record, start, number, found) for number, start, record in starts]
    own = [
        KnownSigner(certificate, f"record {number}")
        for (number, _, _), certificate in zip(starts, certificates, strict=True)
        if certificate is not None
    ]
    signature = _check_signer(data, header, own, signers, found, listed=True)
    signed_by = _is_signer(header, certificates)
    if any(signed_by) and not any(
        mine and record.role == Role.SAST for mine, record in zip(signed_by, file.records, strict=True)
    ):
        found.error("the signer is among the records, but not as SAST: phones accept no list from it")
    rows = []
    wire: list[WireLine] = [*header_lines(header)]
    for (number, start, record), certificate, mine in zip(starts, certificates, signed_by, strict=True):
        rows.append(_row(record, number, start, certificate, mine))
        wire += record_lines(record, number, start)
        if certificate is not None:
            _compare(record, certificate, number, start, found)
            _judge_certificate(record, certificate, number, start, now, found)
        if record.unknown_tags:
            tags = ", ".join(map(str, record.unknown_tags))
            found.note(f"elements with unknown tags, kept as they are: {tags}", start, number)
        if record.role not in set(Role):
            found.warning(f"nobody knows role {record.role}", start, number)
    _judge_header(header, now, found)
    _judge_list(file, len(data), found)
    sast = {
        item.der for item, record in zip(certificates, file.records, strict=True) if item and record.role == Role.SAST
    }
    facts = (
        *_header_facts(header, signature),
        Fact("records", "Records", len(rows)),
        Fact("sast", "SAST certificates", len(sast)),
        Fact("blank", "Blank" if file.blank else "", file.blank, "yes: it names no certificate"),
        Fact("phone_limit", "Phones load at most", MAX_PHONE_FILE, _share(len(data))),
    )
    return Inspection(Kind.TRUST_LIST, len(data), facts, tuple(rows), tuple(found.problems), tuple(wire))


def inspect_signed_file(data: bytes, now: datetime, signers: Sequence[KnownSigner]) -> tuple[Inspection, int]:
    """A signed file, and the offset at which its content begins; the content itself is not looked at.

    Raises:
        DecodeError: it is none.
    """
    file = signedfile.decode(data)
    header = file.header
    found = Findings()
    signature = _check_signer(data, header, (), signers, found, listed=False)
    _judge_header(header, now, found)
    kind = Kind.ENCRYPTED_FILE if header.encrypted else Kind.SIGNED_FILE
    if header.encrypted:
        found.note("the content is encrypted for one phone's certificate; nothing is said about it here", header.length)
    facts = (*_header_facts(header, signature), Fact("content_size", "Content, bytes", len(file.content)))
    return (
        Inspection(kind, len(data), facts, (), tuple(found.problems), tuple(header_lines(header))),
        header.length,
    )


def listed_certificates(file: TrustListFile) -> list[Certificate]:
    """The certificates a trust list names, readable ones only."""
    certificates = []
    for record in file.records:
        try:
            certificates.append(Certificate.from_der(record.certificate or b""))
        except InvalidCertificate:
            continue
    return certificates


def _starts(file: TrustListFile) -> list[tuple[int, int, Record]]:
    """Number, offset and record."""
    at = file.header.length
    found = []
    for number, record in enumerate(file.records, 1):
        found.append((number, at, record))
        at += record.length
    return found


def _offset_of(record: Record, tag: int, start: int) -> int:
    """Offset of a record's element."""
    at = start
    for there, value in record.elements:
        if there == tag:
            return at
        at += 3 + len(value)
    return start


def _certificate(record: Record, start: int, number: int, found: Findings) -> Certificate | None:
    der = record.certificate
    if der is None:
        if not record.blank:
            found.warning("the record names a certificate but does not hold it", start, number)
        return None
    try:
        return Certificate.from_der(der)
    except InvalidCertificate as error:
        found.error(error.message, _offset_of(record, RecordTag.CERTIFICATE, start), number)
        return None


def _is_signer(header: SignedHeader, certificates: Sequence[Certificate | None]) -> list[bool]:
    key = certificate_key(header.serial, header.ca_name)
    return [certificate is not None and _has_key(certificate, key) for certificate in certificates]


def _has_key(certificate: Certificate, key: object) -> bool:
    try:
        return certificate.key == key
    except InvalidCertificate:
        return False


def _check_signer(
    data: bytes,
    header: SignedHeader,
    own: Sequence[KnownSigner],
    given: Sequence[KnownSigner],
    found: Findings,
    *,
    listed: bool,
) -> tuple[Fact, Fact]:
    """Facts: whether the signature holds, and by which certificate; problems otherwise."""
    key = certificate_key(header.serial, header.ca_name)
    at = header.signature_span()[0]
    candidates = [signer for signer in (*own, *given) if _has_key(signer.certificate, key)]
    if listed and not any(_has_key(signer.certificate, key) for signer in own):
        found.note("the signer's certificate is not among its own records")
    refusals = []
    for signer in candidates:
        try:
            check_signature(header, data, signer.certificate)
        except SignatureRefused as error:
            refusals.append((error.message, error.hint))
            continue
        except InvalidCertificate as error:
            refusals.append((error.message, ""))
            continue
        if canonical_name(header.signer_name) != canonical_name(signer.certificate.subject):
            found.warning(
                f"the header names its signer {header.signer_name}, the certificate says {signer.certificate.subject}"
            )
        return (
            Fact("signature", "Signature", "holds", f"holds, by the certificate in {signer.source}"),
            Fact("verified_with", "", signer.source),
        )
    if refusals:
        message, hint = refusals[0]
        found.error(message, at, None, hint)
        return (
            Fact("signature", "Signature", "refused", "DOES NOT HOLD"),
            Fact("verified_with", "", candidates[0].source),
        )
    found.warning(
        f"signature not checked: that takes the certificate of {header.signer_name} with serial "
        f"{serial_text(header.serial)}, issued by {header.ca_name}",
        at,
        None,
        "Give it with --signer, or inspect the trust list that holds it together with this file.",
    )
    return Fact("signature", "Signature", "unchecked", "not checked"), Fact("verified_with", "", None)


def _header_facts(header: SignedHeader, signature: tuple[Fact, Fact]) -> tuple[Fact, ...]:
    bits = 8 * MODULUS_BYTES.get(header.modulus, 0)
    digest = _DIGESTS.get(header.digest, f"unknown {header.digest}")
    algorithm = "RSA" if header.signature_algorithm == 0 else f"unknown {header.signature_algorithm}"
    version = ".".join(map(str, header.version))
    signer_version = None if header.signer_version is None else ".".join(map(str, header.signer_version))
    at = header.timestamp
    return (
        Fact("file_name", "File name", header.file_name),
        *signature,
        Fact("signer", "Signer", header.signer_name),
        Fact("signer_serial", "Signer's serial", serial_text(header.serial)),
        Fact("signer_issuer", "" if header.ca_name == header.signer_name else "Signer's issuer", header.ca_name),
        Fact("digest", "Digest", digest),
        Fact("signature_algorithm", "Algorithm", algorithm),
        Fact(
            "signature_bits", "Signature, bits", bits or None, str(bits) if bits else f"unknown code {header.modulus}"
        ),
        Fact(
            "timestamp",
            "Signed",
            None if at is None else datetime.fromtimestamp(at, UTC).isoformat(),
            "" if at is None else timestamp_text(at),
        ),
        Fact("version", "Version", version),
        Fact("signer_version", "Signer version", signer_version),
        Fact("header_length", "Header, bytes", header.length),
    )


def _row(record: Record, number: int, start: int, certificate: Certificate | None, signer: bool) -> Row:
    facts = (
        Fact("role", "Role", role_label(record.role)),
        Fact("role_number", "Role number", record.role),
        Fact("dns_name", "DNS name", record.dns_name),
        Fact("address", "Address", record.address),
        Fact("length", "Bytes", record.length),
        Fact("blank", "Blank", record.blank),
        Fact("signer", "Signed this file", signer),
        Fact("unknown_tags", "Unknown tags", record.unknown_tags),
    )
    if certificate is not None:
        return Row(number, start, (*facts, *certificate_facts(certificate)))
    named = (
        Fact("subject", "Subject", record.subject),
        Fact("issuer", "Issuer", record.issuer),
        Fact("serial", "Serial", None if record.serial is None else serial_text(record.serial)),
    )
    return Row(number, start, (*facts, *named))


def _compare(record: Record, certificate: Certificate, number: int, start: int, found: Findings) -> None:
    """Name every field of a record that contradicts the certificate beside it: phones look things up by the fields."""

    def differs(tag: RecordTag, what: str, here: str, there: str) -> None:
        found.error(
            f"{what} of the record is {here}, its certificate's is {there}", _offset_of(record, tag, start), number
        )

    try:
        if record.serial is not None and record.serial != certificate.serial:
            differs(RecordTag.SERIAL, "serial", serial_text(record.serial), serial_text(certificate.serial))
        if record.issuer is not None and canonical_name(record.issuer) != canonical_name(certificate.issuer):
            differs(RecordTag.ISSUER, "issuer", record.issuer, certificate.issuer)
        if record.subject is not None and canonical_name(record.subject) != canonical_name(certificate.subject):
            differs(RecordTag.SUBJECT, "subject", record.subject, certificate.subject)
        key = record.first(RecordTag.PUBLIC_KEY)
        if key is not None and key != certificate.public_key_value:
            text = "the public key of the record is not the one in its certificate"
            found.error(text, _offset_of(record, RecordTag.PUBLIC_KEY, start), number)
        signature = record.first(RecordTag.SIGNATURE)
        if signature is not None and signature != certificate.signature_value:
            text = "the signature in the record is not that of its certificate"
            found.error(text, _offset_of(record, RecordTag.SIGNATURE, start), number)
    except InvalidCertificate as error:
        found.warning(error.message, _offset_of(record, RecordTag.CERTIFICATE, start), number)
    for tag, name in ((RecordTag.SERIAL, "serial"), (RecordTag.ISSUER, "issuer"), (RecordTag.SUBJECT, "subject")):
        if record.first(tag) is None:
            found.warning(f"the record has a certificate but no {name} beside it", start, number)
    _compare_hash(record, certificate, number, start, found)


def _compare_hash(record: Record, certificate: Certificate, number: int, start: int, found: Findings) -> None:
    given = record.first(RecordTag.CERTIFICATE_HASH)
    algorithm = _HASHES.get(int.from_bytes(record.first(RecordTag.HASH_ALGORITHM) or b""))
    if given is None or algorithm is None:
        return
    if hashlib.new(algorithm, certificate.der, usedforsecurity=False).digest() != given:
        # A warning only: which hash the code means is inferred.
        text = f"the certificate hash of the record is not the {algorithm} of its certificate"
        found.warning(text, _offset_of(record, RecordTag.CERTIFICATE_HASH, start), number)


def _judge_certificate(
    record: Record, certificate: Certificate, number: int, start: int, now: datetime, found: Findings
) -> None:
    """Dates decide only where phones look at them, in the TLS handshake with a TVS."""
    at = _offset_of(record, RecordTag.CERTIFICATE, start)
    dated, lasting = certificate_problems(certificate, now)
    for text in dated:
        if record.role == Role.TVS:
            found.error(f"{text}: phones refuse this TVS", at, number)
        else:
            found.warning(text, at, number)
    for text in lasting:
        found.warning(text, at, number)


def _judge_header(header: SignedHeader, now: datetime, found: Findings) -> None:
    at = 0
    unknown: list[int] = []
    for tag, value in header.elements:
        if tag not in KNOWN_HEADER_TAGS:
            unknown.append(tag)
        if tag == HeaderTag.TIMESTAMP and datetime.fromtimestamp(int.from_bytes(value), UTC) > now + _CLOCK_TOLERANCE:
            found.warning("it was signed in the future, or a clock is wrong", at)
        at += 1 if tag == PADDING else 3 + len(value)
    if unknown:
        found.note(f"header elements with unknown tags, kept as they are: {', '.join(map(str, unknown))}")
    if header.digest == Digest.SHA512:
        found.note("SHA-512 signature: the oldest phone models refuse it")
    if MODULUS_BYTES.get(header.modulus, 0) > 256:
        found.note("signed with an RSA key above 2048 bits: the oldest phone models refuse it")


def _judge_list(file: TrustListFile, size: int, found: Findings) -> None:
    if size > MAX_PHONE_FILE:
        found.error(f"{size} bytes: phones fail to load a trust list over {MAX_PHONE_FILE}")
    if not file.records:
        found.warning("it holds no record")
    signers: Collection[bytes] = {
        record.certificate for record in file.records if record.role == Role.SAST and record.certificate is not None
    }
    if len(signers) > _USUAL_SAST:
        found.note(f"{len(signers)} different SAST certificates; a cluster lists {_USUAL_SAST} at most")
    name = (file.header.file_name or "").upper()
    if name.startswith("ITL") and not file.blank and all(record.role != Role.TVS for record in file.records):
        found.warning("no TVS among the records: a phone with this ITL can ask nobody about a new signer")


def _share(size: int) -> str:
    return f"{MAX_PHONE_FILE} bytes; this is {100 * size / MAX_PHONE_FILE:.0f} % of it"
