"""`show itl` and `show ctl`: checksums, header, records and verdict of a trust-list file, as the node decodes it.

The checksum value of the ITL file:
7879e087513d0d6dfe7684388f86ee96(MD5)
be50e5f3e28e6a8f5b0a5fa90364c839fcc8a3a0(SHA1)

Length of ITL file: 3746
The ITL File was last modified on Tue Feb 24 16:37:45 CET 2015

        Parse ITL File
        ----------------

Version:        1.2
HeaderLength:   304 (BYTES)

BYTEPOS TAG             LENGTH  VALUE
------- ---             ------  -----
3       SIGNERID        2       117
...
The ITL file was verified successfully.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from trustbridge.cucm.text.lines import Line, date, lines, nothing_said
from trustbridge.pki.names import CertificateKey, certificate_key

_MD5: Final = re.compile(r".*?(?P<digest>[0-9a-f]{32})\s*\(MD5\)", re.IGNORECASE)
_SHA1: Final = re.compile(r".*?(?P<digest>[0-9a-f]{40})\s*\(SHA1\)", re.IGNORECASE)
_LENGTH: Final = re.compile(r"\s*Length of (?P<kind>[CI]TL) file\s*:\s*(?P<bytes>\d{1,9})", re.IGNORECASE)
_MODIFIED: Final = re.compile(r"\s*The [CI]TL File was last modified on (?P<when>.*)", re.IGNORECASE)
_VERSION: Final = re.compile(r"\s*Version\s*:\s*(?P<version>\d+(?:\.\d+)*)", re.IGNORECASE)
_HEADER: Final = re.compile(r"\s*HeaderLength\s*:\s*(?P<bytes>\d{1,9})", re.IGNORECASE)
_RECORD: Final = re.compile(r"\s*[CI]TL Record #\s*:?\s*(?P<number>\d{1,9})\b.*", re.IGNORECASE)
_ROW: Final = re.compile(r"\s*\d{1,3}\s+(?P<tag>[A-Z]{5}[A-Z0-9]*)\s+\d{1,5}(?:\s+(?P<value>\S.*))?")
_SIGNED: Final = re.compile(r"\s*This e?token was (?P<not>not )?used to sign the [CI]TL file\b.*", re.IGNORECASE)
_VERIFIED: Final = re.compile(r"\s*The [CI]TL file was verified successfully\b.*", re.IGNORECASE)
_REFUSED: Final = re.compile(
    r".*\bverification of the [CI]TL file failed\b.*|.*\berror (?:parsing|verifying) the [CI]TL file\b.*", re.IGNORECASE
)
_MISSING: Final = re.compile(
    r".*\b[CI]TL file\b.*\bnot (?:found|exist|present|available)\b.*|.*\bno [CI]TL file\b.*", re.IGNORECASE
)
_HASH: Final = re.compile(r"(?P<digest>(?:[0-9A-F]{2}\s*){20})\(SHA1 Hash HEX\)", re.IGNORECASE)
_SERIAL: Final = re.compile(r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2})*")


@dataclass(frozen=True, slots=True)
class DecodedRecord:
    """A record as printed.

    Attributes:
        number: from 1.
        values: text by tag: DNSNAME, SUBJECTNAME, FUNCTION, ISSUERNAME, ...; lines of one value are joined.
        signed: whether the node says that this token signed the file; None when it does not say.
    """

    number: int
    values: dict[str, str] = field(default_factory=dict, hash=False)
    signed: bool | None = None

    @property
    def function(self) -> str:
        """Its role in the vendor's words, such as `CCM+TFTP` or `System Administrator Security Token`."""
        return self.values.get("FUNCTION", "")

    @property
    def subject(self) -> str:
        """Subject of its certificate; "" in a blank record."""
        return self.values.get("SUBJECTNAME", "")

    @property
    def key(self) -> CertificateKey | None:
        """Serial and issuer of its certificate; None in a blank record."""
        return _key(self.values.get("SERIALNUMBER", ""), self.values.get("ISSUERNAME", ""))

    @property
    def certificate_sha1(self) -> str:
        """SHA-1 of its certificate in hexadecimal digits; "" where none is printed."""
        found = _HASH.search(self.values.get("CERTIFICATE", ""))
        return "" if found is None else "".join(found["digest"].split()).lower()


@dataclass(frozen=True, slots=True)
class DecodedTrustList:
    """A trust-list file as the node decodes it.

    Attributes:
        kind: `ITL` or `CTL`; "" when the answer names neither.
        present: whether there is a file at all.
        md5, sha1: checksums in hexadecimal digits; "" where the release prints none.
        length: bytes.
        modified: None when not printed, or in a time zone that is not known.
        version: such as `1.2`.
        header: values of the header by tag, as in a record.
        records: in the file's order.
        verified: the verdict; None when there is none.
    """

    kind: str
    present: bool
    md5: str
    sha1: str
    length: int
    modified: datetime | None
    version: str
    header: dict[str, str] = field(hash=False)
    records: tuple[DecodedRecord, ...]
    verified: bool | None

    @property
    def signer(self) -> CertificateKey | None:
        """Serial and issuer of the signing certificate; None when not printed."""
        return _key(self.header.get("SERIALNUMBER", ""), self.header.get("CANAME", ""))


def parse_trust_list(text: str) -> DecodedTrustList:
    """Read the answer to `show itl` or `show ctl`; lines that belong to no table and mean nothing here are skipped.

    Raises:
        Garbled: it does not tell the file's length, or that there is none.
    """
    reading = _Reading()
    for line in lines(text):
        reading.take(line)
    return reading.result()


class _Reading:
    def __init__(self) -> None:
        self.kind = self.md5 = self.sha1 = self.version = ""
        self.length: int | None = None
        self.modified: datetime | None = None
        self.verified: bool | None = None
        self.missing = False
        self.header: dict[str, str] = {}
        self.records: list[DecodedRecord] = []
        self.table: dict[str, str] | None = None
        self.tag = ""

    def take(self, line: Line) -> None:
        said = line.text
        if self._fact(said) or self._verdict(said):
            self.tag = ""
        elif found := _RECORD.fullmatch(said):
            self.records.append(DecodedRecord(int(found["number"])))
            self.table, self.tag = self.records[-1].values, ""
        elif set(said.split()[0]) == {"-"} or said.split()[0].upper() == "BYTEPOS":
            self.table = self.header if self.table is None else self.table
        elif self.table is None:
            return
        elif row := _ROW.fullmatch(said):
            self.tag = row["tag"]
            if self.tag in self.table:
                raise line.unclear("in its record for the second time")
            self.table[self.tag] = (row["value"] or "").strip()
        elif self.tag:
            # A value goes on: names end in `;` where they were broken, dumps are bytes apart.
            before, more = self.table[self.tag], said.strip()
            joined = not before or before.endswith((";", ":")) or more.startswith((";", ":"))
            self.table[self.tag] = before + ("" if joined else " ") + more

    def _fact(self, said: str) -> bool:
        if found := _MD5.match(said):
            self.md5 = found["digest"].lower()
        if other := _SHA1.match(said):
            self.sha1 = other["digest"].lower()
        if found or other:
            return True
        if found := _LENGTH.match(said):
            self.kind, self.length = found["kind"].upper(), int(found["bytes"])
        elif found := _MODIFIED.match(said):
            self.modified = date(found["when"])
        elif found := _VERSION.match(said):
            self.version = found["version"]
        elif not (found := _HEADER.match(said)):
            return False
        return True

    def _verdict(self, said: str) -> bool:
        if found := _SIGNED.fullmatch(said):
            if self.records:
                last = self.records[-1]
                self.records[-1] = DecodedRecord(last.number, last.values, found["not"] is None)
        elif _VERIFIED.fullmatch(said):
            self.verified = True
        elif _MISSING.fullmatch(said):
            self.missing = True
        elif _REFUSED.fullmatch(said):
            self.verified = False
        else:
            return False
        return True

    def result(self) -> DecodedTrustList:
        if self.length is None and not self.missing:
            raise nothing_said("the length of a trust-list file")
        present = bool(self.length) and not self.missing
        return DecodedTrustList(
            self.kind,
            present,
            self.md5,
            self.sha1,
            self.length or 0,
            self.modified,
            self.version,
            self.header,
            tuple(self.records),
            self.verified if present else None,
        )


def _key(serial: str, issuer: str) -> CertificateKey | None:
    if not issuer or not _SERIAL.fullmatch(serial):
        return None
    return certificate_key(int.from_bytes(bytes(int(digits, 16) for digits in serial.split(":"))), issuer)
