"""What happens to a phone, what it wants done, and where it ends: the words of the phone's decision procedure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from trustbridge.trust.configuration import Configuration, TvsServer
from trustbridge.wire.tvs import TvsMessage


class Kept(StrEnum):
    """The files a phone keeps in its flash."""

    CTL = "CTL"
    ITL = "ITL"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class Flash:
    """What a phone has kept: bytes of its CTL, ITL and (plain) configuration, DER of its LSC; None where absent."""

    ctl: bytes | None = None
    itl: bytes | None = None
    configuration: bytes | None = None
    lsc: bytes | None = None


# Events: what happened, in the past tense.


@dataclass(frozen=True, slots=True)
class Booted:
    """The phone starts with what its flash holds and the TFTP servers that DHCP's option 150 named, in order.

    `now` is the phone's clock, timezone-aware: certificates are valid or not by it.
    """

    flash: Flash
    tftp_servers: tuple[str, ...]
    now: datetime


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A server answered for `name`: its content, or None for "file not found"."""

    name: str
    content: bytes | None
    server: str


@dataclass(frozen=True, slots=True)
class DownloadFailed:
    """No server of option 150 gave `name`; `error`: one answered, and said that it can't."""

    name: str
    reason: str
    error: bool = False


@dataclass(frozen=True, slots=True)
class TvsAnswered:
    """A TVS, whose certificate the phone accepted, answered."""

    server: TvsServer
    response: TvsMessage


@dataclass(frozen=True, slots=True)
class TvsFailed:
    """A TVS gave no answer that counts; `refusal` is one of those named TVS_..."""

    server: TvsServer
    refusal: Refusal
    reason: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A Unified CM accepted the registration."""

    target: RegistrationTarget


@dataclass(frozen=True, slots=True)
class RegistrationFailed:
    """A Unified CM did not answer, or (`rejected`) said no."""

    target: RegistrationTarget
    reason: str
    rejected: bool


Event = Booted | Downloaded | DownloadFailed | TvsAnswered | TvsFailed | Registered | RegistrationFailed


# Commands: what the shell around the procedure must do.


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask these servers in turn, HTTP first and then TFTP, for `name`."""

    name: str
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskTvs:
    """Connect; let `Phone.refuses_tvs` see the certificate; then send `request`."""

    server: TvsServer
    request: TvsMessage


@dataclass(frozen=True, slots=True)
class Install:
    """Write to flash, replacing what was there."""

    kept: Kept
    content: bytes


@dataclass(frozen=True, slots=True)
class ShowStatus:
    """Add a line to the phone's status messages, worded as real phones do."""

    message: str


@dataclass(frozen=True, slots=True)
class RegistrationTarget:
    """A Unified CM to register with; `secure` means TLS, where `Phone.refuses_call_manager` sees the certificate."""

    name: str
    port: int
    secure: bool

    @classmethod
    def group_of(cls, configuration: Configuration) -> list[RegistrationTarget]:
        """The Unified CM group of a configuration, first choice first."""
        secure = configuration.secure
        return [
            cls(member.name, member.secured_sip_port if secure else member.sip_port, secure)
            for member in configuration.call_managers
        ]

    def __str__(self) -> str:
        return f"{self.name}:{self.port}{' (TLS)' if self.secure else ''}"


@dataclass(frozen=True, slots=True)
class Register:
    """Register with this Unified CM."""

    target: RegistrationTarget


@dataclass(frozen=True, slots=True)
class Stop:
    """The procedure has ended."""

    outcome: Outcome


Command = Fetch | AskTvs | Install | ShowStatus | Register | Stop


class Refusal(StrEnum):
    """Why a phone kept what it had; each is a way to strand."""

    NO_TFTP_ANSWER = "no TFTP server answers"
    MALFORMED = "the file is malformed"
    TOO_LARGE = "the trust list is over 64 KiB"
    MODEL = "the model can't verify this file"
    WRONG_SIGNATURE = "the signature does not hold"
    NOT_IN_CTL = "the ITL's signer is not in the CTL"
    NO_TVS_KNOWN = "the phone knows no TVS server"
    TVS_UNREACHABLE = "no TVS server can be reached"
    TVS_CERTIFICATE = "the TVS certificate is not in the phone's ITL"
    TVS_CERTIFICATE_EXPIRED = "the TVS certificate is not valid now"
    NOT_VOUCHED = "TVS does not know the signer"
    WRONG_ROLE = "TVS knows the signer without the role that is needed"
    TVS_ANSWER = "the TVS answer makes no sense"
    NO_ITL = "the TFTP server has no ITL"
    NO_CONFIGURATION = "there is no configuration for the phone"
    REGISTRATION = "no Unified CM accepts the registration"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a phone ends.

    Attributes:
        registered: the Unified CM it registered with, or None.
        updated: what was installed on the way.
        refusal: the first thing that was refused or missing, or None when all went well.
        reason: the same in words, with names.
        configuration: the configuration the phone works with now.
    """

    registered: RegistrationTarget | None
    updated: frozenset[Kept]
    refusal: Refusal | None
    reason: str
    configuration: Configuration | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the transcript: what the phone did or decided, in words. `ok` is None for a plain fact."""

    text: str
    ok: bool | None = None
