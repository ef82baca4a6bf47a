"""Where DER stops being what it should be: libraries say that it is wrong, a person wants to know the byte."""

from __future__ import annotations

from itertools import zip_longest
from typing import Final

from trustbridge.pki.der import BIT_STRING, INTEGER, OCTET_STRING, SEQUENCE, DerElement, DerError, pull_der

_CONSTRUCTED: Final = 0x20
_VERSION: Final = 0xA0
#: Deeper than any certificate nests; what goes on below is not looked at.
_MAX_DEPTH: Final = 16

_NAMES: Final = {
    SEQUENCE: "a sequence",
    INTEGER: "an integer",
    BIT_STRING: "a bit string",
    OCTET_STRING: "an octet string",
}
_CERTIFICATE: Final = ((SEQUENCE, "signed part"), (SEQUENCE, "algorithm"), (BIT_STRING, "signature"))
_BUNDLE: Final = ((INTEGER, "version"), (SEQUENCE, "content"))
_SIGNED_PART: Final = (
    (INTEGER, "serial number"),
    (SEQUENCE, "algorithm"),
    (SEQUENCE, "issuer"),
    (SEQUENCE, "validity"),
    (SEQUENCE, "subject"),
    (SEQUENCE, "public key"),
)
#: OID of PKCS#7 signed data, as encoded: certificate chains come in it, and cryptography calls them garbage.
_SIGNED_DATA: Final = bytes.fromhex("06092a864886f70d010702")


class _Fault(Exception):
    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset
        self.what = what


def looks_like_bundle(data: bytes) -> bool:
    """Whether DER or BER begins as PKCS#12 does: a sequence whose first element is the integer 3."""
    if len(data) < 5 or data[0] != SEQUENCE:
        return False
    start = 2 + (data[1] & 0x7F if data[1] > 0x80 else 0)
    return data[start : start + 3] == b"\x02\x01\x03"


def certificate_fault(data: bytes) -> tuple[int, str]:
    """The first offset at which `data` can't be a certificate, and why; (0, "") when its shape is that of one."""
    try:
        _check_certificate(data)
    except _Fault as fault:
        return fault.offset, fault.what
    return 0, ""


def bundle_fault(data: bytes) -> tuple[int | None, str]:
    """The first offset at which DER can't be a PKCS#12 bundle, and why; (None, "") when its outside is that of one."""
    if data[1:2] == b"\x80":
        return None, ""  # BER of indefinite length: nothing to measure it by
    try:
        _, start, end = _element(data, 0, len(data))
        if end < len(data):
            raise _Fault(end, f"{len(data) - end} bytes after its end")
        _walk(data, start, end, 1)
        _shape(data, start, end, _BUNDLE, "bundle")
    except _Fault as fault:
        return fault.offset, fault.what
    return None, ""


def _check_certificate(data: bytes) -> None:
    tag, start, end = _element(data, 0, len(data))
    if tag != SEQUENCE:
        raise _Fault(0, f"begins with tag 0x{tag:02x}, expected a sequence")
    if data[start : start + len(_SIGNED_DATA)] == _SIGNED_DATA:
        raise _Fault(start, "this is PKCS#7; `openssl pkcs7 -inform DER -print_certs` takes its certificates out")
    if end < len(data):
        raise _Fault(end, f"{len(data) - end} bytes after its end")
    _walk(data, start, end, 1)
    parts = _shape(data, start, end, _CERTIFICATE, "certificate")
    _, start, end = parts[0]
    if data[start] == _VERSION:
        start = _element(data, start, end)[2]
    _shape(data, start, end, _SIGNED_PART, "certificate")


def _element(data: bytes, at: int, end: int) -> DerElement:
    try:
        return pull_der(data, at, end)
    except DerError:
        raise _Fault(at, _broken_element(data, at, end)) from None


def _broken_element(data: bytes, at: int, end: int) -> str:
    """Why no element begins at `at` and ends by `end`."""
    if at + 2 > end:
        return f"cut short: {end - at} of the 2 bytes of a tag and length"
    long_form = data[at + 1] > 0x7F
    width = data[at + 1] & 0x7F if long_form else 0
    start = at + 2 + width
    if start > end:
        return f"cut short in the length of element 0x{data[at]:02x}"
    if long_form and not 1 <= width <= 4:
        return f"element 0x{data[at]:02x} has a length of a form not used here (0x{data[at + 1]:02x})"
    length = int.from_bytes(data[at + 2 : start]) if long_form else data[at + 1]
    if start + length > end:
        return f"element 0x{data[at]:02x} of {length} bytes where {end - start} remain"
    return f"element 0x{data[at]:02x} can't be read"


def _walk(data: bytes, start: int, end: int, depth: int) -> None:
    """That elements fill `data[start:end]` exactly, and so on inside."""
    while start < end:
        tag, inside, stop = _element(data, start, end)
        if tag & _CONSTRUCTED and depth < _MAX_DEPTH:
            _walk(data, inside, stop, depth + 1)
        start = stop


def _shape(data: bytes, start: int, end: int, expected: tuple[tuple[int, str], ...], what: str) -> list[DerElement]:
    """The elements in `data[start:end]`, once their tags begin as `expected`."""
    found: list[tuple[int, DerElement]] = []
    at = start
    while at < end:
        element = _element(data, at, end)
        found.append((at, element))
        at = element[2]
    for (tag, name), there in zip_longest(expected, found[: len(expected)]):
        if there is None:
            raise _Fault(end, f"{what} without its {name}")
        offset, element = there
        if element[0] != tag:
            raise _Fault(offset, f"tag 0x{element[0]:02x} in place of the {name}, which is {_NAMES[tag]}")
    return [element for _, element in found]
