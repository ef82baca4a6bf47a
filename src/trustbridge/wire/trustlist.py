"""Trust list files: `CTLFile.tlv`, `ITLFile.tlv` and their per-phone names.

A header (`signedheader`), then records back to back until the end of the file. Source: `wire-formats`, section 1.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from trustbridge.errors import DecodeError
from trustbridge.wire import signedheader
from trustbridge.wire.buffer import Element, pull_elements, push_elements, text_value, value_text
from trustbridge.wire.signedheader import SignedHeader, serial_value

#: Phones fail to load an ITL longer than this many bytes (vendor's documents; about 39 certificates).
MAX_PHONE_FILE = 64 * 1024


class Role(IntEnum):
    """What a listed certificate may do ("function" in `show itl`)."""

    SAST = 0  # System Administrator Security Token: may sign trust lists
    CCM = 1
    CCM_TFTP = 2
    TFTP = 3
    CAPF = 4
    APP_SERVER = 7
    TVS = 21

    @property
    def label(self) -> str:
        """As the field writes it: `CCM+TFTP`, `SAST`, ..."""
        return _ROLE_LABELS.get(self, self.name)


_ROLE_LABELS = {Role.CCM_TFTP: "CCM+TFTP", Role.APP_SERVER: "APP-SERVER"}


def role_label(number: int) -> str:
    """The field's word for a role's number, or `role 99` for one without."""
    try:
        return Role(number).label
    except ValueError:
        return f"role {number}"


class RecordTag(IntEnum):
    """Elements of a record."""

    RECORD_LENGTH = 1
    DNS_NAME = 2
    SUBJECT = 3
    FUNCTION = 4
    ISSUER = 5
    SERIAL = 6
    PUBLIC_KEY = 7
    SIGNATURE = 8
    CERTIFICATE = 9
    IP_ADDRESS = 10
    CERTIFICATE_HASH = 11
    HASH_ALGORITHM = 12


KNOWN_RECORD_TAGS = frozenset(int(tag) for tag in RecordTag)
_BLANK_TAGS = frozenset({RecordTag.RECORD_LENGTH, RecordTag.DNS_NAME, RecordTag.FUNCTION, RecordTag.IP_ADDRESS})
_RECORD_START = struct.Struct(">BHH")
_TAG_LENGTH = struct.Struct(">BH")
#: Widths of the fixed elements; looked up for a record's elements at once, not one by one (decoding is hot).
_FUNCTION, _IP_ADDRESS, _HASH_ALGORITHM = RecordTag.FUNCTION, RecordTag.IP_ADDRESS, RecordTag.HASH_ALGORITHM


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a trust list: its elements in wire order, the record length (tag 1) first.

    Unknown tags stay where they were. Texts are as written, without the closing NUL.
    """

    elements: tuple[Element, ...]

    def first(self, tag: int) -> bytes | None:
        """The value of the first element with this tag, or None."""
        for found, value in self.elements:
            if found == tag:
                return value
        return None

    def _text(self, tag: int) -> str | None:
        value = self.first(tag)
        return None if value is None else value_text(value)

    @property
    def length(self) -> int:
        """Bytes of the whole record."""
        return int.from_bytes(self.elements[0][1])

    @property
    def role(self) -> int:
        """A number of `Role`, or one nobody knows."""
        return int.from_bytes(self.first(_FUNCTION) or b"")

    @property
    def dns_name(self) -> str | None:
        """Host name or address of the node."""
        return self._text(RecordTag.DNS_NAME)

    @property
    def subject(self) -> str | None:
        """Subject DN of the certificate."""
        return self._text(RecordTag.SUBJECT)

    @property
    def issuer(self) -> str | None:
        """Issuer DN of the certificate."""
        return self._text(RecordTag.ISSUER)

    @property
    def serial(self) -> int | None:
        """Serial number of the certificate."""
        value = self.first(RecordTag.SERIAL)
        return None if value is None else int.from_bytes(value)

    @property
    def public_key(self) -> bytes | None:
        """PKCS#1 `RSAPublicKey` DER, or an uncompressed X9.62 point."""
        return self.first(RecordTag.PUBLIC_KEY)

    @property
    def certificate(self) -> bytes | None:
        """DER."""
        return self.first(RecordTag.CERTIFICATE)

    @property
    def address(self) -> str | None:
        """IPv4 address of the node; `0.0.0.0` when the cluster writes none."""
        value = self.first(_IP_ADDRESS)
        return None if value is None else str(ipaddress.IPv4Address(value))

    @property
    def blank(self) -> bool:
        """Whether the record names no certificate: a cluster prepared for rollback, or mixed mode switched off."""
        return all(tag in _BLANK_TAGS for tag, _ in self.elements)

    @property
    def unknown_tags(self) -> tuple[int, ...]:
        """Tags kept without being understood."""
        return tuple(tag for tag, _ in self.elements if tag not in KNOWN_RECORD_TAGS)


@dataclass(frozen=True, slots=True)
class TrustListFile:
    """A whole CTL or ITL."""

    header: SignedHeader
    records: tuple[Record, ...]

    @property
    def blank(self) -> bool:
        """Whether it lists records and not one of them names a certificate."""
        return bool(self.records) and all(record.blank for record in self.records)


def record(
    *,
    role: Role,
    dns_name: str,
    subject: str,
    issuer: str,
    serial: int,
    public_key: bytes,
    signature: bytes | None,
    certificate: bytes,
    address: str = "0.0.0.0",  # noqa: S104 - the format's word for "no address", not a listener
) -> Record:
    """A record as Unified CM writes it.

    Raises:
        ValueError: it would be longer than its 16-bit length allows, or the serial is negative.
    """
    elements: list[Element] = [
        (RecordTag.DNS_NAME, text_value(dns_name)),
        (RecordTag.SUBJECT, text_value(subject)),
        (RecordTag.FUNCTION, int(role).to_bytes(2)),
        (RecordTag.ISSUER, text_value(issuer)),
        (RecordTag.SERIAL, serial_value(serial)),
        (RecordTag.PUBLIC_KEY, public_key),
    ]
    if signature is not None:
        elements.append((RecordTag.SIGNATURE, signature))
    elements += [
        (RecordTag.CERTIFICATE, certificate),
        (RecordTag.IP_ADDRESS, _packed(address)),
    ]
    return _with_length(elements)


def blank_record(*, role: Role, dns_name: str, address: str = "0.0.0.0") -> Record:  # noqa: S104 - as above
    """A record that names a node and a role and no certificate."""
    return _with_length(
        [
            (RecordTag.DNS_NAME, text_value(dns_name)),
            (RecordTag.FUNCTION, int(role).to_bytes(2)),
            (RecordTag.IP_ADDRESS, _packed(address)),
        ]
    )


@lru_cache(maxsize=64)
def _packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def _with_length(elements: list[Element]) -> Record:
    length = _RECORD_START.size
    for _, value in elements:
        length += 3 + len(value)
    if length > 0xFFFF:
        raise ValueError(f"a record of {length} bytes does not fit its 16-bit length")
    return Record(((RecordTag.RECORD_LENGTH, length.to_bytes(2)), *elements))


def encode(file: TrustListFile) -> bytes:
    """The file's bytes."""
    return file.header.encode() + encode_records(file.records)


def encode_records(records: Sequence[Record]) -> bytes:
    """What follows the header: the records, back to back."""
    # One loop over all elements, not `push_elements` a record: signing a list must cost little beside its signature.
    parts: list[bytes] = []
    pack = _TAG_LENGTH.pack
    try:
        for item in records:
            for tag, value in item.elements:
                parts += (pack(tag, len(value)), value)
    except struct.error:  # an element over 65535 bytes, which `decode` and `record` never make: this names it
        return b"".join([push_elements(item.elements) for item in records])
    return b"".join(parts)


def decode(data: bytes) -> TrustListFile:
    """A whole trust list.

    Raises:
        DecodeError: with the offset of the first byte that can't be right.
    """
    header = signedheader.decode(data)
    if not header.of_trust_list:
        raise DecodeError(3, f"not a trust list: file version {header.version[0]}.{header.version[1]}")
    at, end = header.length, len(data)
    records: list[Record] = []
    while at < end:
        if end - at < _RECORD_START.size:
            raise DecodeError(at, f"record cut short: {end - at} bytes left")
        tag, width, length = _RECORD_START.unpack_from(data, at)
        if tag != 1 or width != 2:
            raise DecodeError(at, f"record begins with tag {tag} of {width} bytes, expected its length")
        stop = at + length
        if length < _RECORD_START.size:
            raise DecodeError(at + 3, f"record length {length} does not cover its own element")
        if stop > end:
            raise DecodeError(at + 3, f"record length {length}, but {end - at} bytes are left")
        elements = pull_elements(data, at, stop)
        fields = dict(elements)
        if (
            len(fields.get(_FUNCTION, b"")) != 2
            or len(fields.get(_IP_ADDRESS, b"....")) != 4
            or len(fields.get(_HASH_ALGORITHM, b".")) != 1
            or len(fields) != len(elements)
        ):
            _refuse_record(elements, at)
        records.append(Record(elements))
        at = stop
    return TrustListFile(header, tuple(records))


def _refuse_record(elements: tuple[Element, ...], at: int) -> None:
    """Name the rule that the record at offset `at` breaks; several unknown elements of one tag break none."""
    widths: dict[int, int] = {_FUNCTION: 2, _IP_ADDRESS: 4, _HASH_ALGORITHM: 1}
    seen: set[int] = set()
    place = at
    for tag, value in elements:
        if tag in widths and len(value) != widths[tag]:
            raise DecodeError(place, f"record element with tag {tag} has {len(value)} bytes, expected {widths[tag]}")
        if tag in seen and tag in KNOWN_RECORD_TAGS:
            raise DecodeError(place, f"second element with tag {tag} in one record")
        seen.add(tag)
        place += 3 + len(value)
    if _FUNCTION not in seen:
        raise DecodeError(at, "record without a function")
