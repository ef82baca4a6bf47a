"""The header that begins every signed file: trust lists (version 1.2) and `*.sgn` files (version 1.0).

Source: `wire-formats`, sections 1 and 2, checked there against public `show ctl` output. The header is elements of
`tag u8, length u16, value`, except padding (tag 13), which is a bare byte. The signature covers the whole file
without the signature element, while the header length already counts it.

A value here keeps the top-level elements as they came; unknown tags, another order and odd padding survive a round
trip byte for byte. What the product reads are properties over them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntEnum

from trustbridge.errors import DecodeError
from trustbridge.wire.buffer import (
    MAX_VALUE,
    Element,
    pull_elements,
    push_element,
    push_elements,
    text_value,
    value_text,
)

PADDING = 13
#: Unified CM pads the header to a multiple of this many bytes.
ALIGNMENT = 4


class HeaderTag(IntEnum):
    """Elements of a header; those of the containers are named where they stand in one."""

    VERSION = 1
    HEADER_LENGTH = 2
    SIGNER_INFO = 3  # container of the next three
    SIGNER_NAME = 4
    SERIAL = 5
    CA_NAME = 6
    SIGNATURE_INFO = 7  # container of the next four
    DIGEST = 8
    SIGNATURE_ALGORITHM_INFO = 9  # container of the next two
    SIGNATURE_ALGORITHM = 10
    MODULUS = 11
    SIGNATURE = 12
    FILE_NAME = 14
    TIMESTAMP = 15
    ENCRYPTION = 16
    SIGNER_VERSION = 28


class Digest(IntEnum):
    """Digest a signature is made over. SHA256 is inferred."""

    SHA1 = 1
    SHA256 = 2
    SHA512 = 3


#: Modulus code of a signature -> length of an RSA modulus (and so of the signature) in bytes. RSA 3072 has none.
MODULUS_BYTES = {0: 64, 1: 128, 2: 256, 3: 512}
MODULUS_CODE = {length: code for code, length in MODULUS_BYTES.items()}

TRUST_LIST_VERSION = (1, 2)
SIGNED_FILE_VERSION = (1, 0)
#: Signer versions Unified CM writes: the second announces support of elliptic-curve records.
SIGNER_VERSION = (1, 0)
SIGNER_VERSION_EC = (1, 1)

_WIDTHS: dict[int, int] = {
    HeaderTag.VERSION: 2,
    HeaderTag.HEADER_LENGTH: 2,
    HeaderTag.SIGNER_VERSION: 2,
    HeaderTag.TIMESTAMP: 4,
}
_REQUIRED = (HeaderTag.SIGNER_INFO, HeaderTag.SIGNATURE_INFO, HeaderTag.SIGNATURE)
#: Elements that stand once: of two file names or serials, one reader would take the first and another the last.
_SINGLE = frozenset({*_REQUIRED, *_WIDTHS, HeaderTag.FILE_NAME, HeaderTag.ENCRYPTION})
_LAST_TIMESTAMP = 0xFFFFFFFF
_TAG_LENGTH = struct.Struct(">BH")
_START = struct.Struct(">BHBBBHH")


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """Header of a signed file.

    Attributes:
        elements: top level, wire order; a padding byte is `(13, b"")`; containers hold their bytes.
        signer_name, serial, ca_name: subject DN, serial number and issuer DN of the signing certificate, as text
            and number. Match by serial and issuer.
        digest: code of the digest algorithm (`Digest`, or an unknown number).
        signature_algorithm: 0 is RSA PKCS#1 v1.5, the only one known.
        modulus: code of the signer's modulus length (`MODULUS_BYTES`).
    """

    elements: tuple[Element, ...]
    signer_name: str
    serial: int
    ca_name: str
    digest: int
    signature_algorithm: int
    modulus: int

    def first(self, tag: int) -> bytes | None:
        """The value of the first top-level element with this tag, or None."""
        for found, value in self.elements:
            if found == tag:
                return value
        return None

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor: (1, 2) for trust lists, (1, 0) for signed files, (2, 0) for encrypted ones."""
        value = self.elements[0][1]
        return value[0], value[1]

    @property
    def of_trust_list(self) -> bool:
        """Whether records follow (version 1.1 or 1.2), and not a plain file (1.0) or an encrypted one (2.0)."""
        major, minor = self.version
        return major == TRUST_LIST_VERSION[0] and minor > SIGNED_FILE_VERSION[1]

    @property
    def length(self) -> int:
        """Bytes from the file's first byte to what follows the header, signature and padding included."""
        return int.from_bytes(self.elements[1][1])

    @property
    def signer_version(self) -> tuple[int, int] | None:
        """Major and minor of the optional signer version."""
        value = self.first(HeaderTag.SIGNER_VERSION)
        return None if value is None else (value[0], value[1])

    @property
    def signature(self) -> bytes:
        """The signature's bytes."""
        return self.first(HeaderTag.SIGNATURE) or b""

    @property
    def file_name(self) -> str | None:
        """The name the file was signed under, such as `ITLFile.tlv`."""
        value = self.first(HeaderTag.FILE_NAME)
        return None if value is None else value_text(value)

    @property
    def timestamp(self) -> int | None:
        """When it was signed, in seconds since 1970 UTC."""
        value = self.first(HeaderTag.TIMESTAMP)
        return None if value is None else int.from_bytes(value)

    @property
    def encrypted(self) -> bool:
        """Whether what follows is encrypted (`.enc.sgn`)."""
        return self.version[0] >= 2 or self.first(HeaderTag.ENCRYPTION) is not None

    def signature_span(self) -> tuple[int, int]:
        """Where the signature element begins and ends in the file, tag and length included."""
        at = 0
        for tag, value in self.elements:
            end = at + (1 if tag == PADDING else 3 + len(value))
            if tag == HeaderTag.SIGNATURE:
                return at, end
            at = end
        raise ValueError("a signed header without a signature")  # decode and build never make one

    def signed_bytes(self, file: bytes) -> bytes:
        """What the signature covers: the whole `file`, whose header this is, without the signature element."""
        start, end = self.signature_span()
        return file[:start] + file[end:]

    def with_signature(self, signature: bytes) -> SignedHeader:
        """The same header with this signature, which must be as long as the one it replaces."""
        if len(signature) != len(self.signature):
            raise ValueError(f"signature of {len(signature)} bytes in a place for {len(self.signature)}")
        return replace(
            self,
            elements=tuple((tag, signature if tag == HeaderTag.SIGNATURE else value) for tag, value in self.elements),
        )

    def encode(self) -> bytes:
        """The header's bytes."""
        return b"".join([b"\x0d" if tag == PADDING else push_element(tag, value) for tag, value in self.elements])


def build(
    *,
    version: tuple[int, int],
    signer_version: tuple[int, int] | None,
    signer_name: str,
    serial: int,
    ca_name: str,
    digest: Digest,
    signature_length: int,
    file_name: str,
    timestamp: int,
) -> SignedHeader:
    """A header as Unified CM writes it, with zeros for the signature.

    Args:
        signature_length: length of the signer's RSA modulus in bytes: 64, 128, 256 or 512.
        timestamp: seconds since 1970 UTC.

    Raises:
        ValueError: the format has no code for that signature length (RSA 3072), or no room for the names or the time.
    """
    if not 0 <= timestamp <= _LAST_TIMESTAMP:
        raise ValueError(f"the time {timestamp} does not fit the 32 bits of a timestamp")
    code = MODULUS_CODE.get(signature_length)
    if code is None:
        raise ValueError(f"the format has no code for a signature of {signature_length} bytes")
    signer = push_elements(
        [
            (HeaderTag.SIGNER_NAME, text_value(signer_name)),
            (HeaderTag.SERIAL, serial_value(serial)),
            (HeaderTag.CA_NAME, text_value(ca_name)),
        ]
    )
    algorithm = push_elements([(HeaderTag.SIGNATURE_ALGORITHM, b"\0"), (HeaderTag.MODULUS, bytes([code]))])
    signature_info = push_elements(
        [(HeaderTag.DIGEST, bytes([digest])), (HeaderTag.SIGNATURE_ALGORITHM_INFO, algorithm)]
    )
    elements: list[Element] = [(HeaderTag.VERSION, bytes(version)), (HeaderTag.HEADER_LENGTH, b"\0\0")]
    if signer_version is not None:
        elements.append((HeaderTag.SIGNER_VERSION, bytes(signer_version)))
    elements += [
        (HeaderTag.SIGNER_INFO, signer),
        (HeaderTag.SIGNATURE_INFO, signature_info),
        (HeaderTag.SIGNATURE, bytes(signature_length)),
        (HeaderTag.FILE_NAME, text_value(file_name)),
        (HeaderTag.TIMESTAMP, timestamp.to_bytes(4)),
    ]
    length = sum(3 + len(value) for _, value in elements)
    padding = -length % ALIGNMENT
    if length + padding > MAX_VALUE:
        raise ValueError(f"a header of {length + padding} bytes does not fit its 16-bit length")
    elements[1] = (HeaderTag.HEADER_LENGTH, (length + padding).to_bytes(2))
    elements += [(PADDING, b"")] * padding
    return SignedHeader(tuple(elements), signer_name, serial, ca_name, digest, 0, code)


def serial_value(serial: int) -> bytes:
    """A serial number as the formats carry it: unsigned, big-endian, no leading zero byte (one byte for 0).

    Raises:
        ValueError: the serial is negative; some old certificates have one, and no field for it exists.
    """
    if serial < 0:
        raise ValueError("a negative serial number has no place in a trust list")
    return serial.to_bytes((serial.bit_length() + 7) // 8 or 1)


def decode(data: bytes) -> SignedHeader:
    """The header at the beginning of `data`; what follows starts at its `.length`.

    Raises:
        DecodeError: this is no such header, with the offset of the first byte that can't be right.
    """
    if len(data) < _START.size:
        raise DecodeError(len(data), f"header cut short: {len(data)} of its first {_START.size} bytes")
    tag1, length1, _, _, tag2, length2, header_length = _START.unpack_from(data)
    if tag1 != HeaderTag.VERSION or length1 != 2:
        raise DecodeError(0, "not a signed file: it does not begin with a version element")
    if tag2 != HeaderTag.HEADER_LENGTH or length2 != 2:
        raise DecodeError(5, "not a signed file: no header length after the version")
    if header_length < _START.size:
        raise DecodeError(8, f"header length {header_length} is shorter than its first two elements")
    if header_length > len(data):
        raise DecodeError(8, f"header length {header_length} in a file of {len(data)} bytes")
    elements: list[Element] = []
    places: dict[int, int] = {}
    at = 0
    while at < header_length:
        tag = data[at]
        if tag == PADDING:
            elements.append((PADDING, b""))
            at += 1
            continue
        start = at + 3
        if start > header_length:
            raise DecodeError(at, f"header element cut short: {header_length - at} of its first 3 bytes")
        _, length = _TAG_LENGTH.unpack_from(data, at)
        end = start + length
        if end > header_length:
            raise DecodeError(at, f"header element with tag {tag} claims {length} bytes of {header_length - start}")
        if _WIDTHS.get(tag, length) != length:
            raise DecodeError(at, f"header element with tag {tag} has {length} bytes, expected {_WIDTHS[tag]}")
        if tag in places and tag in _SINGLE:
            raise DecodeError(at, f"second {_words(tag)} in one header")
        places.setdefault(tag, at)
        elements.append((tag, data[start:end]))
        at = end
    for required in _REQUIRED:
        if required not in places:
            raise DecodeError(header_length, f"header without {_words(required)}")
    signer = _container(data, places[HeaderTag.SIGNER_INFO], "signer info", _SIGNER)
    info = _container(data, places[HeaderTag.SIGNATURE_INFO], "signature info", _SIGNATURE_INFO)
    algorithm_at = info[HeaderTag.SIGNATURE_ALGORITHM_INFO][0]
    algorithm = _container(data, algorithm_at, "signature algorithm info", _ALGORITHM)
    digest = _one_byte(info[HeaderTag.DIGEST], "digest algorithm")
    signature_algorithm = _one_byte(algorithm[HeaderTag.SIGNATURE_ALGORITHM], "signature algorithm")
    modulus = _one_byte(algorithm[HeaderTag.MODULUS], "signature modulus")
    signature_at = places[HeaderTag.SIGNATURE]
    _, signature_length = _TAG_LENGTH.unpack_from(data, signature_at)
    if MODULUS_BYTES.get(modulus, signature_length) != signature_length:
        raise DecodeError(
            signature_at,
            f"signature of {signature_length} bytes, its modulus code says {MODULUS_BYTES[modulus]}",
        )
    return SignedHeader(
        tuple(elements),
        value_text(signer[HeaderTag.SIGNER_NAME][1]),
        int.from_bytes(signer[HeaderTag.SERIAL][1]),
        value_text(signer[HeaderTag.CA_NAME][1]),
        digest,
        signature_algorithm,
        modulus,
    )


_SIGNER = (HeaderTag.SIGNER_NAME, HeaderTag.SERIAL, HeaderTag.CA_NAME)
_SIGNATURE_INFO = (HeaderTag.DIGEST, HeaderTag.SIGNATURE_ALGORITHM_INFO)
_ALGORITHM = (HeaderTag.SIGNATURE_ALGORITHM, HeaderTag.MODULUS)


def _container(data: bytes, at: int, name: str, required: tuple[HeaderTag, ...]) -> dict[int, tuple[int, bytes]]:
    """Elements of the container whose tag stands at `at`: tag -> (offset of the element, value)."""
    _, length = _TAG_LENGTH.unpack_from(data, at)
    inside: dict[int, tuple[int, bytes]] = {}
    place = at + 3
    for tag, value in pull_elements(data, place, place + length):
        if tag in inside and tag in required:
            raise DecodeError(place, f"second {_words(tag)} in one {name}")
        inside.setdefault(tag, (place, value))
        place += 3 + len(value)
    for tag in required:
        if tag not in inside:
            raise DecodeError(at, f"{name} without {_words(tag)}")
    return inside


def _words(tag: int) -> str:
    return HeaderTag(tag).name.lower().replace("_", " ")


def _one_byte(element: tuple[int, bytes], name: str) -> int:
    at, value = element
    if len(value) != 1:
        raise DecodeError(at, f"{name} has {len(value)} bytes, expected 1")
    return value[0]
