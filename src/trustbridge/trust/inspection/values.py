"""What an inspection finds: a value that a table, JSON and an exit code are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from trustbridge.pki.certificate import Certificate

#: What JSON can hold and a fact is.
Scalar = str | int | bool | None
Value = Scalar | tuple[Scalar, ...]


class Kind(StrEnum):
    """What bytes are, or come closest to."""

    TRUST_LIST = "trust-list"
    SIGNED_FILE = "signed-file"
    ENCRYPTED_FILE = "encrypted-file"
    BUNDLE = "bundle"
    CERTIFICATES = "certificates"
    TVS_MESSAGES = "tvs-messages"
    CONFIGURATION = "configuration"
    UNKNOWN = "unknown"

    @property
    def label(self) -> str:
        """For people."""
        return _LABELS[self]


_LABELS = {
    Kind.TRUST_LIST: "trust list",
    Kind.SIGNED_FILE: "signed file",
    Kind.ENCRYPTED_FILE: "encrypted signed file",
    Kind.BUNDLE: "PKCS#12 bundle",
    Kind.CERTIFICATES: "certificates",
    Kind.TVS_MESSAGES: "TVS messages",
    Kind.CONFIGURATION: "phone configuration",
    Kind.UNKNOWN: "nothing known here",
}


class Severity(StrEnum):
    """How much a problem matters."""

    ERROR = "error"  # something does not hold
    WARNING = "warning"  # worth knowing before relying on it
    NOTE = "note"  # said so that nothing is passed over in silence


class Verdict(StrEnum):
    """The sum of an inspection."""

    GOOD = "good"
    WRONG = "wrong"  # well formed, with errors
    BAD = "bad"  # garbled, cut short, refused, or nothing known here


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a person should know.

    Attributes:
        offset: byte in the file where it shows, or None.
        row: number of the row it is about, or None.
        hint: what to do about it, where there is something to do.
    """

    severity: Severity
    text: str
    offset: int | None = None
    row: int | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is so.

    Attributes:
        key: stable name for programs.
        label: for people; "" for a fact only programs want.
        value: for programs; times are ISO 8601 in UTC.
        words: for people, where `value` alone would not do.
    """

    key: str
    label: str
    value: Value
    words: str = ""

    @property
    def text(self) -> str:
        """For people."""
        if self.words:
            return self.words
        if isinstance(self.value, tuple):
            return ", ".join(map(str, self.value))
        if isinstance(self.value, bool):
            return "yes" if self.value else "no"
        return "" if self.value is None else str(self.value)


@dataclass(frozen=True, slots=True)
class Row:
    """A record of a trust list, a certificate of a file, a message of a capture.

    Attributes:
        number: 1 for the first.
        offset: where it begins in the file, in bytes; None where the format hides that.
    """

    number: int
    offset: int | None
    facts: tuple[Fact, ...]

    def get(self, key: str) -> Value:
        """The value of a fact; None when there is none."""
        return next((fact.value for fact in self.facts if fact.key == key), None)

    def text(self, key: str) -> str:
        """The words of a fact; "" when there is none."""
        return next((fact.text for fact in self.facts if fact.key == key), "")


@dataclass(frozen=True, slots=True)
class WireLine:
    """One element of a header or record as it stands in the file.

    Attributes:
        row: number of the record; 0 for the header.
        offset: of its tag, in bytes from the start of the file.
        tag: its number. name: as `show itl` writes it.
        length: as `show itl` prints it: of the value, in bytes; 2 for an element that is itself a length.
        value: text, number or hexadecimal digits; "" for signatures of others and keys.
    """

    row: int
    offset: int
    tag: int
    name: str
    length: int
    value: str


@dataclass(frozen=True, slots=True)
class KnownSigner:
    """A certificate a signature may be checked with, and where it is from, in words."""

    certificate: Certificate
    source: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What some bytes are and what is wrong with them.

    Attributes:
        readable: False when they could not be decoded as `kind`; the problems say where that shows.
        content: what a signed file carries, inspected in turn; its offsets count from the start of the whole file.
    """

    kind: Kind
    size: int
    facts: tuple[Fact, ...] = ()
    rows: tuple[Row, ...] = ()
    problems: tuple[Problem, ...] = ()
    wire: tuple[WireLine, ...] = ()
    readable: bool = True
    content: Inspection | None = None

    @property
    def verdict(self) -> Verdict:
        """Bad when it could not be read, wrong when an error was found, in the content too."""
        if not self.readable:
            return Verdict.BAD
        inner = self.content.verdict if self.content is not None else Verdict.GOOD
        if inner is not Verdict.GOOD or any(item.severity is Severity.ERROR for item in self.problems):
            return Verdict.WRONG
        return Verdict.GOOD

    def get(self, key: str) -> Value:
        """The value of a fact; None when there is none."""
        return next((fact.value for fact in self.facts if fact.key == key), None)


@dataclass(slots=True)
class Findings:
    """Collects the problems of one inspection."""

    problems: list[Problem] = field(default_factory=list)

    def error(self, text: str, offset: int | None = None, row: int | None = None, hint: str = "") -> None:
        """Something does not hold."""
        self.problems.append(Problem(Severity.ERROR, text, offset, row, hint))

    def warning(self, text: str, offset: int | None = None, row: int | None = None, hint: str = "") -> None:
        """Worth knowing."""
        self.problems.append(Problem(Severity.WARNING, text, offset, row, hint))

    def note(self, text: str, offset: int | None = None, row: int | None = None, hint: str = "") -> None:
        """Said for completeness."""
        self.problems.append(Problem(Severity.NOTE, text, offset, row, hint))


def unreadable(kind: Kind, size: int, text: str, offset: int | None, hint: str = "") -> Inspection:
    """The inspection of bytes that are no `kind`, or nothing known at all."""
    return Inspection(kind, size, problems=(Problem(Severity.ERROR, text, offset, None, hint),), readable=False)
