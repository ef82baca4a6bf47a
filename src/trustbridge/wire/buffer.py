"""Bounds-checked reading and writing of big-endian fields and `tag u8, length u16, value` elements."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from trustbridge.errors import DecodeError

#: One `tag u8, length u16, value` element: (tag, value).
Element = tuple[int, bytes]

_TAG_LENGTH = struct.Struct(">BH")

#: An element's length field is a u16.
MAX_VALUE = 0xFFFF


def pull_elements(data: bytes, start: int, end: int) -> tuple[Element, ...]:
    """Read `tag u8, length u16, value` elements that fill `data[start:end]` exactly.

    Raises:
        DecodeError: an element is cut short; the offset is that of its tag.
    """
    elements: list[Element] = []
    unpack = _TAG_LENGTH.unpack_from
    at = start
    while at < end:
        value_at = at + 3
        if value_at > end:
            raise DecodeError(at, f"element cut short: {end - at} of the 3 bytes of its tag and length")
        tag, length = unpack(data, at)
        stop = value_at + length
        if stop > end:
            raise DecodeError(at, f"element with tag {tag} claims {length} bytes where {end - value_at} remain")
        elements.append((tag, data[value_at:stop]))
        at = stop
    return tuple(elements)


def push_element(tag: int, value: bytes) -> bytes:
    """One element.

    Raises:
        ValueError: the value is longer than 65535 bytes, or the tag no byte.
    """
    if len(value) > MAX_VALUE:
        raise ValueError(f"element with tag {tag}: {len(value)} bytes do not fit a 16-bit length")
    if not 0 <= tag <= 0xFF:
        raise ValueError(f"tag {tag} does not fit a byte")
    return _TAG_LENGTH.pack(tag, len(value)) + value


def push_elements(elements: Iterable[Element]) -> bytes:
    """Elements back to back. Raises ValueError as `push_element` does."""
    return b"".join([push_element(tag, value) for tag, value in elements])


def text_value(text: str) -> bytes:
    """Text as the formats carry it: UTF-8 and one NUL."""
    return text.encode() + b"\0"


def value_text(value: bytes) -> str:
    """The reverse of `text_value`, lenient: one trailing NUL is dropped if there, odd bytes become U+FFFD."""
    return value.removesuffix(b"\0").decode("utf-8", "replace")
