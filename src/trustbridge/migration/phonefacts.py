"""What is known of a phone before it moves, from whatever could be observed; the rest is None, and nobody guesses."""

from __future__ import annotations

from dataclasses import dataclass

from trustbridge.cucm.model import PhoneStatus


@dataclass(frozen=True, slots=True)
class PhoneFacts:
    """One phone of a cluster.

    Attributes:
        name: `SEP` and the MAC address.
        model: as trust.models names it where it is known there, such as `CP-8841`; else the cluster's words.
        device_pool, description: as the database has them.
        group: nodes of its Unified CM group, first choice first: it asks their TVS; None where not known.
        security_mode: 1 insecure, 2 authenticated, 3 encrypted; None where not known.
        status: where RisPort70 has heard of it; None where it has not.
        address: IP address; "" where not known.
        itl, ctl: hash of the installed file, as its page shows it, upper case without separators; "" for none there;
            None where not known.
        alternate_tftp: whether servers typed in by hand count (TB150); None where not known.
        tftp_servers: as its page shows them.
        missing: what could not be observed, in words.
    """

    name: str
    model: str
    device_pool: str = ""
    description: str = ""
    group: tuple[str, ...] | None = None
    security_mode: int | None = None
    status: PhoneStatus | None = None
    address: str = ""
    itl: str | None = None
    ctl: str | None = None
    alternate_tftp: bool | None = None
    tftp_servers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
