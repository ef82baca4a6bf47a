"""Distinguished names in every form a cluster, a phone or a tool writes them, and the key that finds a certificate.

Unified CM writes `CN=cm1;OU=TAC;O=Cisco;L=Krakow;ST=Malopolska;C=PL`, other tools write commas, some the other way
round, and a value may hold an unescaped comma (`O=Cisco Systems, Inc.`). Such texts are never compared: certificates
are found by serial number and issuer, the issuer through `canonical_name`, which gives equal text for equal names.

The one rule of reading: a separator (`;`, `,`, or `+` between the parts of one RDN) separates only when `type=`
follows it. The one rule of writing: whatever would be read as a separator is escaped. RFC 4514 escapes are understood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from trustbridge.pki.der import OBJECT_IDENTIFIER, SEQUENCE, SET, DerError, der_children, dotted, enter_der

if TYPE_CHECKING:
    from cryptography import x509

#: Attribute types: dotted form, name as written, other names it is met under (RFC 4514, OpenSSL, Java, Microsoft).
_TYPES: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("2.5.4.3", "CN", ("commonName",)),
    ("2.5.4.11", "OU", ("organizationalUnitName", "organizationalUnit")),
    ("2.5.4.10", "O", ("organizationName", "organization")),
    ("2.5.4.7", "L", ("localityName", "locality")),
    ("2.5.4.8", "ST", ("S", "SP", "stateOrProvinceName", "state")),
    ("2.5.4.6", "C", ("countryName", "country")),
    ("1.2.840.113549.1.9.1", "emailAddress", ("E", "EMAIL")),
    ("0.9.2342.19200300.100.1.25", "DC", ("domainComponent",)),
    ("0.9.2342.19200300.100.1.1", "UID", ("userId",)),
    ("0.9.2342.19200300.100.1.3", "mail", ("rfc822Mailbox",)),
    ("2.5.4.4", "SN", ("surname",)),
    ("2.5.4.5", "serialNumber", ()),
    ("2.5.4.9", "street", ("streetAddress",)),
    ("2.5.4.12", "title", ("T",)),
    ("2.5.4.13", "description", ()),
    ("2.5.4.15", "businessCategory", ()),
    ("2.5.4.16", "postalAddress", ()),
    ("2.5.4.17", "postalCode", ()),
    ("2.5.4.18", "postOfficeBox", ()),
    ("2.5.4.20", "telephoneNumber", ()),
    ("2.5.4.41", "name", ()),
    ("2.5.4.42", "GN", ("G", "givenName")),
    ("2.5.4.43", "initials", ()),
    ("2.5.4.44", "generationQualifier", ("generation",)),
    ("2.5.4.45", "x500UniqueIdentifier", ()),
    ("2.5.4.46", "dnQualifier", ("DNQ",)),
    ("2.5.4.65", "pseudonym", ()),
    ("2.5.4.97", "organizationIdentifier", ()),
    ("1.2.840.113549.1.9.2", "unstructuredName", ()),
    ("1.2.840.113549.1.9.8", "unstructuredAddress", ()),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL", ("jurisdictionLocalityName",)),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST", ("jurisdictionStateOrProvinceName",)),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC", ("jurisdictionCountryName",)),
)
_LABELS: Final = {oid: label for oid, label, _ in _TYPES}
_CANONICAL_TYPES: Final = {
    met.lower(): label.lower() for oid, label, aliases in _TYPES for met in (oid, label, *aliases)
}

_TYPE: Final = r"(?:[A-Za-z][A-Za-z0-9-]*+|(?:[Oo][Ii][Dd]\.)?+[0-9]++(?:\.[0-9]++)++)"
_SPECIAL: Final = r'[ "#+,;<=>\\]'
#: Patterns are possessive: a phone chooses this text, and no text may take quadratic time.
_START: Final = re.compile(rf"\s*+({_TYPE})\s*+=")
#: An escape (skipped), or a separator: group 1.
_SCAN: Final = re.compile(rf"\\(?:[0-9A-Fa-f]{{2}}|{_SPECIAL})|([;,+])(?=\s*+{_TYPE}\s*+=)")
_QUOTED: Final = re.compile(rf'\s*+"((?:[^"\\]|\\.)*+)"\s*+(?=\Z|[;,+]\s*+{_TYPE}\s*+=)', re.DOTALL)
_ESCAPES: Final = re.compile(rf"((?:\\[0-9A-Fa-f]{{2}})++)|\\({_SPECIAL})")
_HEX_VALUE: Final = re.compile(r"#((?:[0-9A-Fa-f]{2})++)")
#: What a writer must escape so that reading gives the value back: separators where they would separate or be trimmed.
_MEANT: Final = re.compile(rf"[;\\]|[,+](?=\s*+{_TYPE}\s*+=)|,(?=\s*+\Z)")
_LEADING: Final = re.compile(r'\A(\s*+)(["#])')
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

#: Tags of the ASN.1 strings names are made of, and how OpenSSL reads them (T.61 as Latin-1, as everybody does).
_ENCODINGS: Final = {
    12: "utf-8",
    18: "latin-1",  # NumericString
    19: "latin-1",  # PrintableString
    20: "latin-1",  # T61String
    22: "latin-1",  # IA5String
    23: "latin-1",  # UTCTime
    24: "latin-1",  # GeneralizedTime
    26: "latin-1",  # VisibleString
    28: "utf-32-be",  # UniversalString
    30: "utf-16-be",  # BMPString
}

#: One relative distinguished name: (dotted type, text), or the DER of a value that is no text.
Rdn = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class CertificateKey:
    """How trust lists and TVS find a certificate: serial number and issuer.

    Attributes:
        serial: the serial number's bytes read as an unsigned integer.
        issuer: what `canonical_name` gives for the issuer.
    """

    serial: int
    issuer: str


def certificate_key(serial: int, issuer_text: str) -> CertificateKey:
    """The key for a serial number and an issuer in any of the forms `canonical_name` reads."""
    return CertificateKey(serial, canonical_name(issuer_text))


def dn_text(name: x509.Name) -> str:
    """A name as Unified CM writes it: most specific first, `;` between, as `CN=cm1;OU=TAC;O=Cisco;C=PL`."""
    return rdns_text(read_rdns(name.public_bytes()))


def read_rdns(der: bytes) -> tuple[Rdn, ...]:
    """The parts of a name (DER of an X.501 `Name`) in their encoded order, usually least specific first.

    Raises:
        DerError: not the DER of a name.
    """
    _, start, end = enter_der(der, 0, len(der), SEQUENCE)
    rdns: list[Rdn] = []
    for tag, set_start, set_end in der_children(der, start, end):
        if tag != SET:
            raise DerError(f"tag 0x{tag:02x} in a name, expected a set")
        pairs: list[tuple[str, str | bytes]] = []
        for _, pair_start, pair_end in der_children(der, set_start, set_end):
            _, oid_start, oid_end = enter_der(der, pair_start, pair_end, OBJECT_IDENTIFIER)
            _, _, value_end = enter_der(der, oid_end, pair_end)
            pairs.append((dotted(der[oid_start:oid_end]), _string_value(der[oid_end:value_end])))
        rdns.append(tuple(pairs))
    return tuple(rdns)


def rdns_text(rdns: tuple[Rdn, ...]) -> str:
    """Parts of a name in encoded order -> Unified CM's text, as `dn_text`."""
    return ";".join(
        "+".join(f"{_LABELS.get(oid, oid)}={_written(value)}" for oid, value in rdn) for rdn in reversed(rdns)
    )


_COMMON_NAME = re.compile(r"(?:^|[;,])\s*CN\s*=\s*([^;,]+)", re.IGNORECASE)


@lru_cache(maxsize=2048)
def canonical_name(text: str) -> str:
    """Text that is equal for equal names, whatever the order, separators, case, spacing or escapes of `text`.

    It is itself readable by this function and stays as it is then. Parts of one RDN (`CN=a+OU=b`) count as parts of
    the name. Text that is no name at all gives some text too: nothing raises here, whatever a phone sends.
    """
    head, pairs = _read(text)
    parts = sorted(f"{kind}={_written(value)}" for kind, value in pairs)
    if head:
        parts.insert(0, _written(head).replace("=", "\\="))
    return ";".join(parts)


def short_name(text: str) -> str:
    """For people: the common name that stands in `text`, or the whole text when none does. Not for comparing."""
    found = _COMMON_NAME.search(text)
    return found[1].strip() if found else text


def _read(text: str) -> tuple[str, list[tuple[str, str | bytes]]]:
    """What stands before the first `type=`, and the pairs of canonical type and value."""
    text = _trimmed(text)
    end = len(text)
    at = 0
    head = ""
    start = _START.match(text)
    if start is None:
        at = _next_separator(text, 0)
        head = _folded(_unescaped(text[:at]))
        start = _START.match(text, at + 1)
    pairs: list[tuple[str, str | bytes]] = []
    while start is not None:
        kind = start[1].lower().removeprefix("oid.")
        quoted = _QUOTED.match(text, start.end())
        if quoted:
            at = quoted.end()
            value: str | bytes = _folded(_unescaped(quoted[1]))
        else:
            at = _next_separator(text, start.end())
            value = _read_value(text[start.end() : at])
        pairs.append((_CANONICAL_TYPES.get(kind, kind), value))
        start = _START.match(text, at + 1) if at < end else None
    return head, pairs


def _trimmed(text: str) -> str:
    """Without separators after the last part; an escaped one stays."""
    body = text.rstrip(",; ")
    escaped = (len(body) - len(body.rstrip("\\"))) % 2
    return text[: len(body) + escaped]


def _next_separator(text: str, at: int) -> int:
    """Offset of the next separator, or the text's length."""
    for found in _SCAN.finditer(text, at):
        if found[1]:
            return found.start()
    return len(text)


def _read_value(raw: str) -> str | bytes:
    dumped = _HEX_VALUE.fullmatch(raw.strip())
    if dumped:
        value = _string_value(bytes.fromhex(dumped[1]))
        return value if isinstance(value, bytes) else _folded(value)
    return _folded(_unescaped(raw))


def _folded(value: str) -> str:
    return " ".join(value.casefold().split())


def _unescaped(text: str) -> str:
    return _ESCAPES.sub(_unescape, text) if "\\" in text else text


def _unescape(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[2]
    data = bytes.fromhex(found[1].replace("\\", ""))
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _written(value: str | bytes) -> str:
    if isinstance(value, bytes):
        return f"#{value.hex()}"
    value = _LEADING.sub(r"\1\\\2", _MEANT.sub(r"\\\g<0>", value))
    return _CONTROL.sub(lambda found: f"\\{ord(found[0]):02X}", value)


def _string_value(der: bytes) -> str | bytes:
    """The text in the DER of a string, or the DER itself when it is no string that can be read."""
    try:
        tag, start, end = enter_der(der, 0, len(der))
        if end == len(der):
            return der[start:end].decode(_ENCODINGS[tag])
    except (DerError, KeyError, UnicodeDecodeError):
        pass
    return der
