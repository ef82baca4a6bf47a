"""What a prediction goes by, and what it says: values only. No I/O.

What was observed stands here as bytes and small values, so that it travels to other processes as it is. What was not
observed says so (`unseen`), and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from trustbridge.pki.names import CertificateKey
from trustbridge.trust.events import Kept, Refusal
from trustbridge.trust.models import PhoneModel

#: Places of a phone in `World.arrivals`: the destination does not know it; nobody could tell whether it does.
NO_DEVICE: Final = -1
NOT_SEEN: Final = -2
#: What stands for a phone's name in words that are the same for all phones of a class.
ANY_PHONE: Final = "SEP000000000000"


class Forecast(StrEnum):
    """What becomes of a phone when option 150 names the destination and it is reset."""

    MOVES = "moves"
    FIRST_TRUST = "moves by first trust"
    STRANDS = "strands"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What becomes of a phone, and why.

    Attributes:
        refusal: the first thing the phone refuses or misses, as its procedure names it; None where there is nothing.
        finding: id of what is behind it, such as TB101; "" for none.
        reason: in words, with `ANY_PHONE` for the phone's name.
        missing: what would have to be known.
    """

    forecast: Forecast
    refusal: Refusal | None = None
    finding: str = ""
    reason: str = ""
    missing: tuple[str, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether the phone ends at the destination."""
        return self.forecast in (Forecast.MOVES, Forecast.FIRST_TRUST)

    def why(self, name: str = ANY_PHONE) -> str:
        """The reason, or what is missing, for a phone of this name."""
        return (self.reason or "; ".join(self.missing)).replace(ANY_PHONE, name)


@dataclass(frozen=True, slots=True)
class PhoneClass:
    """Everything about a phone that its procedure looks at: phones that agree in it end alike.

    Attributes:
        model: abilities; the name stands for all models that have them.
        group: nodes of its Unified CM group at the source, first choice first; None: not known.
        itl, ctl: hash of the installed file; "" for none; None: not known.
        tftp: "" if it goes by option 150, else the first server that was typed in by hand ("?" where the page does not
            name it); None: not known.
        lsc: whether it has a certificate that the source's CAPF issued; None: not known.
        arrival: its place in `World.arrivals`, or `NO_DEVICE`, or `NOT_SEEN`.
    """

    model: PhoneModel
    group: tuple[str, ...] | None
    itl: str | None
    ctl: str | None
    tftp: str | None
    lsc: bool | None
    arrival: int


@dataclass(frozen=True, slots=True)
class TftpSeen:
    """What a TFTP server of the destination serves to every phone; None where it has no such file.

    Attributes:
        unseen: why that is not known; "" where it is.
        down: whether it is known not to run.
    """

    address: str
    itl: bytes | None = field(default=None, repr=False)
    ctl: bytes | None = field(default=None, repr=False)
    unseen: str = ""
    down: bool = False

    def list(self, kept: Kept) -> bytes | None:
        """Its CTL or ITL."""
        return self.ctl if kept is Kept.CTL else self.itl


@dataclass(frozen=True, slots=True)
class TvsSaid:
    """The answer of a TVS about one signer; `finding` is what is behind one that is no use, such as TB102."""

    valid: bool
    roles: tuple[int, ...] = ()
    certificate: bytes | None = field(default=None, repr=False)
    finding: str = ""


@dataclass(frozen=True, slots=True)
class TvsSeen:
    """A TVS of the source, as it was when it was asked.

    Attributes:
        presented: the certificate it shows in TLS (DER); None where it came to none.
        said: its answers, by signer.
        old_tls: whether it speaks TLS 1.0, which is all that old models know; None: not tried.
        down: whether it is known not to run. That it could not be reached is not enough: phones may have another way.
        unseen: why it did not answer; "" where it did.
    """

    node: str
    presented: bytes | None = field(default=None, repr=False)
    said: Mapping[CertificateKey, TvsSaid] = field(default_factory=dict)
    old_tls: bool | None = None
    down: bool = False
    unseen: str = ""


@dataclass(frozen=True, slots=True)
class CallManagerSeen:
    """A node of the destination that phones register with.

    Attributes:
        certificate: its CallManager certificate (DER), which it shows over TLS.
        running: whether Cisco CallManager runs.
        trusts_lsc: whether its CAPF-trust holds the source's CAPF certificate.
        Each is None where it is not known.
    """

    node: str
    certificate: bytes | None = field(default=None, repr=False)
    running: bool | None = None
    trusts_lsc: bool | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A configuration file as the destination serves it.

    Attributes:
        signed: the signed file; None where the server has none.
        unseen: why that is not known.
    """

    signed: bytes | None = field(default=None, repr=False)
    unseen: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """All that answers a phone on its way.

    Attributes:
        now: time of the move, with a time zone.
        servers: TFTP servers that option 150 will name, in order.
        tvs: of the source, by name and address, in lower case.
        members: Unified CMs of the destination, by name and address, in lower case.
        arrivals: configuration files that wait for phones; those of phones of one kind count as one.
        stranger: the file for phones it does not know, `XMLDefault.cnf.xml.sgn`.
        auto_registration: whether the destination registers phones nobody created; None: not known.
        lists: trust lists that phones may hold, by hash: MD5, SHA-1 and SHA-256 in upper case.
        source_lists: those of them that the source serves, with their kind.
        other_lists: the others.
        groups: of the source; None: not known.
        source_mixed: whether the source is in mixed mode; None: not known.
        source_servers: its TFTP servers, by name and address, in lower case.
    """

    now: datetime
    servers: tuple[TftpSeen, ...]
    tvs: Mapping[str, TvsSeen]
    members: Mapping[str, CallManagerSeen]
    arrivals: tuple[Arrival, ...]
    stranger: Arrival
    auto_registration: bool | None = None
    lists: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    source_lists: tuple[tuple[Kept, bytes], ...] = field(default=(), repr=False)
    other_lists: tuple[tuple[Kept, bytes], ...] = field(default=(), repr=False)
    groups: tuple[tuple[str, ...], ...] | None = None
    source_mixed: bool | None = None
    source_servers: frozenset[str] = frozenset()

    def lists_of(self, kept: Kept) -> tuple[bytes, ...]:
        """Every CTL, or every ITL, that is known."""
        return tuple(
            dict.fromkeys(content for kind, content in (*self.source_lists, *self.other_lists) if kind is kept)
        )
