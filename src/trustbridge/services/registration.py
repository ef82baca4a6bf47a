"""Registrations as values, and the answer to each SIP message a registrar gets. No sockets, no clock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from trustbridge.wire import sip, sipregister

log = logging.getLogger(__name__)

#: Methods of RFC 3261 and its common extensions: known, but not here (405). Any other is unknown (501).
KNOWN_METHODS = frozenset(
    {
        *("BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY"),
        *("OPTIONS", "PRACK", "PUBLISH", "REFER", "SUBSCRIBE", "UPDATE"),
    }
)


@dataclass(frozen=True, slots=True)
class Registration:
    """What a phone asks for.

    Attributes:
        device: its name, such as `SEP001122334455`; the user of To when its Contact does not name a device.
        model: Unified CM's number of its model, such as `684`; empty when the phone does not say.
        contact: host and port where it can be called.
        peer: address and port the request came from.
        expires: seconds; 0 takes the registration back.
        secure: whether it came over TLS.
        peer_subject: subject of the certificate the phone proved to own, `;`-form; empty without one.
    """

    device: str
    model: str
    contact: tuple[str, int]
    peer: tuple[str, int]
    expires: int
    secure: bool
    peer_subject: str


@dataclass(frozen=True, slots=True)
class RegistrationAnswer:
    """What the cluster says: SIP code and reason, and for how many seconds when that is 200."""

    code: int
    reason: str
    expires: int = 0

    @classmethod
    def accepted(cls, expires: int) -> RegistrationAnswer:
        """Registered for so many seconds; what is said here of one taken back is not looked at."""
        return cls(200, "OK", expires)

    @classmethod
    def rejected(cls, code: int, reason: str) -> RegistrationAnswer:
        """Not registered: 403 for an unknown device or another security profile, 404, 423, ..."""
        return cls(code, reason)


#: Decides on one registration, at once: it is called in the event loop.
Handler = Callable[[Registration], RegistrationAnswer]


@dataclass(slots=True)
class RegistrarCounters:
    """What has happened since the start. `open` is now; the others only grow.

    Attributes:
        open: connections there are.
        connections: connections there were.
        turned_away: connections over the limit.
        handshakes_failed: TLS handshakes that came to nothing; a phone with a certificate of an unknown CAPF is
            one of these.
        accepted, taken_back, rejected: registrations by their outcome.
        not_supported: requests other than REGISTER.
        malformed: what was not SIP, or lacked what an answer needs.
        timed_out: connections dropped for silence, slowness or unread answers.
        handler_failed: decisions that ended in an error of ours.
    """

    open: int = 0
    connections: int = 0
    turned_away: int = 0
    handshakes_failed: int = 0
    accepted: int = 0
    taken_back: int = 0
    rejected: int = 0
    not_supported: int = 0
    malformed: int = 0
    timed_out: int = 0
    handler_failed: int = 0


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends: address and port, whether over TLS, and the subject of a proven certificate or an empty text."""

    peer: tuple[str, int]
    secure: bool
    subject: str = ""


def registration_in(request: sip.Request, client: Client) -> Registration | None:
    """What a REGISTER asks for; None when its Contact names no place to call."""
    contact = sipregister.address(request.first("Contact") or "")
    if contact is None:
        return None
    seconds = sipregister.expires(request)
    if contact.uri == "*":
        if seconds != 0:
            return None  # RFC 3261, 10.2.2: "*" is there to take everything back
        host, port = client.peer[0], None
    else:
        endpoint = contact.endpoint
        if endpoint is None:
            return None
        host, port = endpoint
    owner = sipregister.address(request.first("To") or "")
    return Registration(
        device=contact.parameter(sipregister.DEVICE_PARAMETER) or (owner.user if owner else ""),
        model=contact.parameter(sipregister.MODEL_PARAMETER) or "",
        contact=(host, port if port is not None else (5061 if client.secure else 5060)),
        peer=client.peer,
        expires=seconds,
        secure=client.secure,
        peer_subject=client.subject,
    )


def answer(
    message: sip.Request | sip.Response | sip.KeepAlive,
    client: Client,
    handler: Handler,
    counters: RegistrarCounters,
    tag: str,
) -> tuple[bytes, int | None]:
    """What to send back, which may be nothing, and for how long the client is now registered: None for no change.

    Args:
        tag: made up for this answer by the caller, who has the randomness.
    """
    if message is sip.KeepAlive.PING:
        return b"\r\n", None
    if not isinstance(message, sip.Request) or message.method == "ACK":
        return b"", None  # neither is ever answered (RFC 3261, 17)
    complaint = sipregister.problem(message)
    if complaint is None and message.method == "REGISTER":
        registration = registration_in(message, client)
        if registration is not None:
            return _register(message, registration, handler, counters, tag)
        complaint = "Invalid Contact"
    if complaint is not None:
        counters.malformed += 1
        return sip.encode(sipregister.response_to(message, 400, complaint, tag=tag)), None
    counters.not_supported += 1
    known = message.method in KNOWN_METHODS
    code, reason = (405, "Method Not Allowed") if known else (501, "Not Implemented")
    return sip.encode(sipregister.response_to(message, code, reason, tag=tag, allow="REGISTER")), None


def _register(
    request: sip.Request, registration: Registration, handler: Handler, counters: RegistrarCounters, tag: str
) -> tuple[bytes, int | None]:
    try:
        decision = handler(registration)
        if decision.code != 200:
            response = sipregister.response_to(request, decision.code, decision.reason, tag=tag)
            data = sip.encode(response)
            counters.rejected += 1
            return data, None
        seconds = decision.expires if registration.expires else 0
        data = sip.encode(sipregister.response_to(request, 200, "OK", tag=tag, seconds=seconds))
    except Exception:
        # One phone's mishap in a decision, or in its wording, must not end the service for the others.
        log.exception("deciding on the registration of %s failed", registration.device)
        counters.handler_failed += 1
        return sip.encode(sipregister.response_to(request, 500, "Server Internal Error", tag=tag)), None
    if seconds:
        counters.accepted += 1
    else:
        counters.taken_back += 1
    return data, seconds
