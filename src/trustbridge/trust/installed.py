"""The trust lists a phone has installed, and what they make of a file: accept it, refuse it, or ask a TVS.

These are the rules of `domain`, "Rules that decide an outcome"; `phone` puts them in order of time.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from functools import lru_cache

from trustbridge.errors import DecodeError, InvalidCertificate, SignatureRefused
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.names import CertificateKey, certificate_key, short_name
from trustbridge.trust.events import Flash, Kept, Refusal
from trustbridge.trust.lists import check_signature
from trustbridge.trust.models import PhoneModel
from trustbridge.wire import signedfile, trustlist
from trustbridge.wire.signedheader import MODULUS_BYTES, Digest, HeaderTag, SignedHeader
from trustbridge.wire.trustlist import MAX_PHONE_FILE, Record, Role, TrustListFile, role_label

#: Roles of a trust-list record that make it a signer of trust lists.
LIST_SIGNERS = frozenset({Role.SAST})
#: Roles of a CTL record that make it a signer of an ITL: each TFTP node signs its own ITL, and is CCM+TFTP in the CTL.
ITL_SIGNERS_IN_CTL = frozenset({Role.SAST, Role.CCM_TFTP, Role.TFTP})
#: Roles that make it a signer of configuration files.
FILE_SIGNERS = frozenset({Role.CCM_TFTP, Role.TFTP})
#: Bytes of names and serial of a signer a phone will ask about; certificates stay far below, a TVS reads 16 KiB.
MAX_SIGNER_INFO = 4096


#: How the name of the other list begins, as its header has it.
_OTHER_LIST = {Kept.CTL: "ITL", Kept.ITL: "CTL"}


class Verdict(Enum):
    """What becomes of a file."""

    ACCEPT = auto()
    SAME = auto()  # the very bytes that are installed
    ASK = auto()  # the signer is unknown here; a TVS may know it
    REFUSE = auto()


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict and its reason in words.

    Attributes:
        header: the file's header where a TVS must be asked.
        refusal: why, where it is refused.
        plain: the content to apply, of a configuration file.
    """

    verdict: Verdict
    words: str
    header: SignedHeader | None = None
    refusal: Refusal | None = None
    plain: bytes | None = None

    @property
    def accepted(self) -> bool:
        """Whether the file counts from now on."""
        return self.verdict in (Verdict.ACCEPT, Verdict.SAME)


def _refuse(refusal: Refusal, words: str) -> Judged:
    return Judged(Verdict.REFUSE, words, refusal=refusal)


@dataclass(frozen=True, slots=True)
class Installed:
    """The trust lists in a phone's flash, decoded; None where there is none.

    Bytes without a decoded list are one that can't be read. It lists nobody, and still counts as installed: the phone
    may well read what we can't, and a first trust that it does not grant must not be predicted.
    """

    ctl: TrustListFile | None
    itl: TrustListFile | None
    ctl_bytes: bytes | None = None
    itl_bytes: bytes | None = None

    @classmethod
    def nothing(cls) -> Installed:
        """A phone fresh from its box."""
        return cls(None, None)

    def with_list(self, kept: Kept, content: bytes) -> Installed:
        """These lists with one replaced by `content`, which has been judged."""
        if kept is Kept.CTL:
            return replace(self, ctl=_decode(content), ctl_bytes=content)
        return replace(self, itl=_decode(content), itl_bytes=content)

    @property
    def has_ctl(self) -> bool:
        """Whether a CTL is installed, readable or not."""
        return self.ctl is not None or self.ctl_bytes is not None

    @property
    def has_itl(self) -> bool:
        """Whether an ITL is installed, readable or not, blank or not."""
        return self.itl is not None or self.itl_bytes is not None

    @property
    def blank_itl(self) -> bool:
        """Whether the installed ITL is blank, as after "prepare for rollback"."""
        return self.itl is not None and self.itl.blank

    @property
    def demands_signatures(self) -> bool:
        """Whether files must be signed: a blank ITL alone demands nothing."""
        return self.has_ctl or (self.has_itl and not self.blank_itl)

    @property
    def status(self) -> str:
        """What the phone's screen says of them."""
        if self.has_ctl:
            return "CTL and ITL installed" if self.has_itl else "CTL installed"
        return "ITL installed" if self.has_itl else "No Trust List Installed"

    def describe(self) -> str:
        """The lists and their signers, in words."""
        parts = []
        for name, file, content in (("CTL", self.ctl, self.ctl_bytes), ("ITL", self.itl, self.itl_bytes)):
            if file is not None:
                parts.append(f"{'blank ' if file.blank else ''}{name} signed by {short_name(file.header.signer_name)}")
            elif content is not None:
                parts.append(f"unreadable {name}")
        return " and ".join(parts) or "no trust list installed"

    def records(self) -> tuple[Record, ...]:
        """Records of both lists, the CTL's first."""
        return (self.ctl.records if self.ctl else ()) + (self.itl.records if self.itl else ())

    def count(self, role: Role) -> int:
        """How many certificates the ITL lists with this role."""
        return sum(record.role == role and record.certificate is not None for record in _records(self.itl))

    def lists(self, certificate: bytes, roles: AbstractSet[Role]) -> bool:
        """Whether this very certificate (DER) is listed with one of the roles; for TVS, only the ITL counts."""
        records = _records(self.itl) if roles == {Role.TVS} else self.records()
        return any(record.role in roles and record.certificate == certificate for record in records)

    def refuses_tvs(self, certificate: bytes, now: datetime) -> tuple[Refusal, str] | None:
        """Why a TVS that presents `certificate` (DER) is not trusted at the time `now`, or None when it is."""
        if not self.lists(certificate, {Role.TVS}):
            count = self.count(Role.TVS)
            return Refusal.TVS_CERTIFICATE, (
                f"its certificate is none of the {count} TVS certificates in the phone's ITL"
                if count
                else "the phone's ITL holds no TVS certificate"
            )
        try:
            found = Certificate.from_der(certificate)
            start, end = found.not_before, found.not_after
        except (InvalidCertificate, ValueError) as error:  # ValueError: a year no clock shows
            return Refusal.TVS_CERTIFICATE, f"its certificate can't be read: {error}"
        if not start <= now <= end:
            return Refusal.TVS_CERTIFICATE_EXPIRED, (
                f"its certificate is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}, "
                f"and the phone's clock says {now:%Y-%m-%d}"
            )
        return None

    def refuses_call_manager(self, certificate: bytes) -> str | None:
        """Why a Unified CM that presents `certificate` (DER) over TLS is not trusted, or None when it is."""
        if self.lists(certificate, {Role.CCM, Role.CCM_TFTP}):
            return None
        return "its certificate is not in the phone's trust lists with role CCM or CCM+TFTP"

    def judge_list(self, kept: Kept, content: bytes, model: PhoneModel) -> Judged:
        """What becomes of a new CTL or ITL."""
        if kept is Kept.ITL and len(content) > MAX_PHONE_FILE:
            return _refuse(Refusal.TOO_LARGE, f"the ITL has {len(content)} bytes; phones load at most {MAX_PHONE_FILE}")
        try:
            header = _decode(content).header
        except DecodeError as error:
            return _refuse(Refusal.MALFORMED, f"not a trust list: {error}")
        if content == (self.ctl_bytes if kept is Kept.CTL else self.itl_bytes):
            return Judged(Verdict.SAME, f"the same {kept} is installed already")
        if (header.file_name or "").upper().startswith(_OTHER_LIST[kept]):
            # Both have one format. In the other's place it would decide about files it was not made for.
            return _refuse(Refusal.MALFORMED, f"{header.file_name} is no {kept}")
        limit = _beyond(model, header)
        if limit:
            return _refuse(Refusal.MODEL, limit)
        if not self.has_ctl and not self.has_itl:
            return Judged(Verdict.ACCEPT, f"no trust list is installed: the first {kept} is accepted unseen")
        if kept is Kept.ITL and self.has_ctl:
            return self._judge_itl_by_ctl(content, header)
        # Only an ITL: the reference says nothing of a first CTL for a phone with a blank ITL. Taken as a CTL like any
        # other, which then has to pass a TVS the blank ITL does not list: predicted stranded, not wrongly safe.
        if kept is Kept.ITL and self.blank_itl:
            return Judged(Verdict.ACCEPT, "the installed ITL is blank: any ITL is accepted")
        return _signed_by(content, header, self.records(), LIST_SIGNERS) or _ask(header, model)

    def _judge_itl_by_ctl(self, content: bytes, header: SignedHeader) -> Judged:
        found = _signed_by(content, header, _records(self.ctl), ITL_SIGNERS_IN_CTL)
        return found or _refuse(
            Refusal.NOT_IN_CTL,
            f"a CTL is installed and does not list the ITL's signer {short_name(header.signer_name)}",
        )

    def judge_configuration(self, content: bytes, name: str, model: PhoneModel) -> Judged:
        """What becomes of a configuration file downloaded as `name`."""
        if not name.endswith(".sgn"):
            return Judged(Verdict.ACCEPT, "", plain=content)
        try:
            file = signedfile.decode(content)
        except DecodeError as error:
            return _refuse(Refusal.MALFORMED, f"not a signed file: {error}")
        if file.header.encrypted:
            return _refuse(Refusal.MALFORMED, "the configuration is encrypted, which is not supported here")
        limit = _beyond(model, file.header)
        if limit:
            return _refuse(Refusal.MODEL, limit)
        found = _signed_by(content, file.header, self.records(), FILE_SIGNERS) or _ask(file.header, model)
        return replace(found, plain=file.content)


def read(flash: Flash, model: PhoneModel) -> tuple[Installed, list[str]]:
    """The trust lists in `flash` as this model uses them, and what is wrong with those that can't be read."""
    faults: list[str] = []

    def kept(name: str, content: bytes | None) -> TrustListFile | None:
        try:
            return None if content is None else _decode(content)
        except DecodeError as error:
            faults.append(f"the {name} in flash can't be read: {error}")
            return None

    ctl = kept("CTL", flash.ctl)
    itl = kept("ITL", flash.itl) if model.security_by_default else None
    return Installed(ctl, itl, flash.ctl, flash.itl if model.security_by_default else None), faults


def judge_vouched(
    kept: Kept, content: bytes, asked: Judged, certificate: bytes | None, roles: frozenset[int]
) -> Judged:
    """What becomes of a file about whose signer a TVS answered "valid", with this certificate (DER) and these roles."""
    header = asked.header
    assert header is not None
    try:
        signer = Certificate.from_der(certificate or b"")
        subject, key = short_name(signer.subject), signer.key
    except InvalidCertificate as error:
        return _refuse(Refusal.TVS_ANSWER, f"TVS vouches for something that is no certificate: {error}")
    needed = FILE_SIGNERS if kept is Kept.CONFIGURATION else LIST_SIGNERS
    if not needed & roles:
        labels = " or ".join(role_label(role) for role in sorted(needed))
        return _refuse(Refusal.WRONG_ROLE, f"TVS vouches for {subject}, but not as {labels}")
    if key != _signer_key(header):
        return _refuse(Refusal.TVS_ANSWER, f"TVS returned {subject}, which is another certificate")
    return replace(_check(content, header, signer), plain=asked.plain)


def _signed_by(
    content: bytes, header: SignedHeader, records: tuple[Record, ...], roles: frozenset[Role]
) -> Judged | None:
    """The verdict by the record that names the signer with one of `roles`; None when there is no such record."""
    key = _signer_key(header)
    for record in records:
        if record.role not in roles or record.certificate is None or record.serial != header.serial:
            continue
        try:
            signer = Certificate.from_der(record.certificate)
            found = signer.key == key
        except InvalidCertificate:
            continue
        if found:
            return _check(content, header, signer)
    return None


def _ask(header: SignedHeader, model: PhoneModel) -> Judged:
    """A TVS must be asked about the signer, if this model can."""
    if len(header.first(HeaderTag.SIGNER_INFO) or b"") > MAX_SIGNER_INFO:
        return _refuse(Refusal.MALFORMED, "the signer's names are too long to ask a TVS about")
    if not model.security_by_default:
        return _refuse(
            Refusal.MODEL, f"signer {short_name(header.signer_name)} is unknown, and {model.name} can't ask a TVS"
        )
    return Judged(
        Verdict.ASK, f"signer {short_name(header.signer_name)} is in none of the installed trust lists", header=header
    )


def _signer_key(header: SignedHeader) -> CertificateKey:
    return certificate_key(header.serial, header.ca_name)


def _check(content: bytes, header: SignedHeader, signer: Certificate) -> Judged:
    try:
        check_signature(header, content, signer)
    except SignatureRefused as error:
        return _refuse(Refusal.WRONG_SIGNATURE, error.message)
    return Judged(Verdict.ACCEPT, f"signed by {short_name(signer.subject)}, and the signature holds")


def _beyond(model: PhoneModel, header: SignedHeader) -> str | None:
    """What in this header is beyond the model, in words."""
    if header.digest == Digest.SHA512 and not model.sha512:
        return f"{model.name} can't verify SHA-512 signatures"
    bits = 8 * MODULUS_BYTES.get(header.modulus, 0)
    if bits > model.max_rsa_bits:
        return f"{model.name} can't verify RSA keys of {bits} bits"
    return None


def _records(file: TrustListFile | None) -> tuple[Record, ...]:
    return file.records if file is not None else ()


@lru_cache(maxsize=512)
def _decode(content: bytes) -> TrustListFile:
    """Phones of one cluster hold the same lists: decoding each once is what makes predicting a million cheap."""
    return trustlist.decode(content)
