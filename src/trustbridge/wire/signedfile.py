"""Signed files (`*.sgn`): a header (`signedheader`, version 1.0), then the plain file.

Source: `wire-formats`, section 2. Encrypted files (`.enc.sgn`, header version 2.0) are recognised and named; their
content stays closed.
"""

from __future__ import annotations

from dataclasses import dataclass

from trustbridge.errors import DecodeError
from trustbridge.wire import signedheader
from trustbridge.wire.signedheader import SignedHeader


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A header and the bytes it signs."""

    header: SignedHeader
    content: bytes


def encode(file: SignedFile) -> bytes:
    """The file's bytes."""
    return file.header.encode() + file.content


def decode(data: bytes) -> SignedFile:
    """A whole signed file.

    Raises:
        DecodeError: with the offset of the first byte that can't be right.
    """
    header = signedheader.decode(data)
    if header.of_trust_list:
        raise DecodeError(3, "this is a trust list, not a signed file")
    return SignedFile(header, data[header.length :])
