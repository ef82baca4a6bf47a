"""Just enough DER to walk certificates, names and bundles where a library gives up or hides what it saw.

Nothing here interprets anything: an element is (tag, start of its value, end of its value) in the bytes it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

SEQUENCE: Final = 0x30
SET: Final = 0x31
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06

#: (tag, start of value, end of value)
DerElement = tuple[int, int, int]


class DerError(ValueError):
    """Not DER where DER must stand. Never leaves this package: callers translate it."""


def der_header(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """(tag, start of the value, its length) of the element at offset `at`; only the header must lie before `end`.

    Raises:
        DerError: the header is cut short, the length indefinite, or the tag takes several bytes.
    """
    if at + 2 > end:
        raise DerError(f"element cut short at offset {at}")
    tag = data[at]
    length = data[at + 1]
    start = at + 2
    if length > 0x7F:
        width = length & 0x7F
        start += width
        if not 1 <= width <= 4 or start > end:
            raise DerError(f"length of an element not readable at offset {at}")
        length = int.from_bytes(data[at + 2 : start])
    if tag & 0x1F == 0x1F:
        raise DerError(f"tag of several bytes at offset {at}")
    return tag, start, length


def pull_der(data: bytes, at: int, end: int) -> DerElement:
    """The element that begins at offset `at` and must end by `end`.

    Raises:
        DerError: as `der_header`, or the value is cut short.
    """
    tag, start, length = der_header(data, at, end)
    if start + length > end:
        raise DerError(f"element cut short at offset {at}")
    return tag, start, start + length


def der_children(data: bytes, start: int, end: int) -> Iterator[DerElement]:
    """The elements that fill `data[start:end]` exactly. Raises DerError."""
    while start < end:
        element = pull_der(data, start, end)
        yield element
        start = element[2]


def enter_der(data: bytes, at: int, end: int, *tags: int) -> DerElement:
    """The element at `at`, which must have one of `tags`, if any are given. Raises DerError."""
    element = pull_der(data, at, end)
    if tags and element[0] not in tags:
        raise DerError(f"tag 0x{element[0]:02x} at offset {at}, expected 0x{tags[0]:02x}")
    return element


def dotted(value: bytes) -> str:
    """The value of an object identifier in dotted form. Raises DerError."""
    if not value or value[-1] & 0x80:
        raise DerError("object identifier cut short")
    arcs: list[int] = []
    arc = 0
    for byte in value:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))
