"""Registration over SIP: what a Cisco phone sends in a REGISTER, what a registrar reads in it and answers.

A Cisco phone says who it is by parameters of its Contact, as public captures show:

    <sip:UUID@IP:PORT;transport=tcp>;+sip.instance="<urn:uuid:00000000-0000-0000-0000-001122334455>"
    ;+u.sip!devicename.ccm.cisco.com="SEP001122334455";+u.sip!model.ccm.cisco.com="684"
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trustbridge.wire.sip import SPACE, VERSION, WORD, Header, Request, Response, long_name

#: Contact parameters of a Cisco phone: its name, Unified CM's number of its model, and the instance (its MAC).
DEVICE_PARAMETER = "+u.sip!devicename.ccm.cisco.com"
MODEL_PARAMETER = "+u.sip!model.ccm.cisco.com"
INSTANCE_PARAMETER = "+sip.instance"
#: RFC 3261, 10.2.1.1: what a registrar assumes when nobody names a time, or names nonsense; in seconds.
DEFAULT_EXPIRES = 3600
MAX_EXPIRES = 2**32 - 1
#: What any request must hold (RFC 3261, 8.1.1) for an answer to find its way back.
_MANDATORY = ("Via", "From", "To", "Call-ID", "CSeq")

# Possessive, as in `wire.sip`.
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_PARAMETER = re.compile(rf'{SPACE};{SPACE}({WORD})(?:{SPACE}={SPACE}({_QUOTED}|[^;,"\s<>]++))?')
_NAME_ADDRESS = re.compile(rf'{SPACE}(?:{_QUOTED}|(?:{WORD}{SPACE})*+){SPACE}<([^<>"\s]++)>')
_BARE_ADDRESS = re.compile(rf'{SPACE}([^<>"\s;,]++)')
_URI = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@\s]*+)@)?(?P<host>\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9.-]++)"
    r"(?::(?P<port>[0-9]{1,5}))?(?:[;?].*)?",
    re.IGNORECASE,
)
_SECONDS = re.compile(r"[0-9]{1,10}")
_CSEQ = re.compile(rf"([0-9]{{1,10}})[ \t]+({WORD})")


@dataclass(frozen=True, slots=True)
class Address:
    """One value of Contact, From or To: a URI and the parameters that follow it.

    Attributes:
        uri: as written, without the angle brackets; `*` in a Contact that stands for all.
        parameters: (name in lower case, value without its quotes), None as the value of a name alone.
    """

    uri: str
    parameters: tuple[tuple[str, str | None], ...]

    def parameter(self, name: str) -> str | None:
        """The value of the first parameter of this (lower-case) name, or None."""
        return next((value for found, value in self.parameters if found == name), None)

    @property
    def user(self) -> str:
        """The part before `@`, or an empty text."""
        match = _URI.fullmatch(self.uri)
        return (match["user"] or "") if match else ""

    @property
    def endpoint(self) -> tuple[str, int | None] | None:
        """Host (no brackets) and port of the URI; None when it is not a SIP URI."""
        match = _URI.fullmatch(self.uri)
        if match is None or int(match["port"] or 0) > 0xFFFF:
            return None
        return match["host"].strip("[]"), int(match["port"]) if match["port"] else None


def address(text: str) -> Address | None:
    """The first address in a header's text, or None when that is none. Total on any text."""
    return _address(text)[0]


def _address(text: str) -> tuple[Address | None, str]:
    """The first address, and its text without `expires`."""
    match = _NAME_ADDRESS.match(text) or _BARE_ADDRESS.match(text)
    if match is None:
        return None, ""
    parameters: list[tuple[str, str | None]] = []
    at = match.end()
    kept = text[:at]
    while (parameter := _PARAMETER.match(text, at)) is not None:
        name, value = parameter[1].lower(), parameter[2]
        if value is not None and value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        parameters.append((name, value))
        at = parameter.end()
        if name != "expires":
            kept += parameter[0]
    if text[at:].lstrip(" \t")[:1] not in ("", ","):
        return None, ""
    return Address(match[1], tuple(parameters)), kept


def problem(request: Request) -> str | None:
    """Why this request can't be answered as RFC 3261, 8.2 wants it; None when it can."""
    for name in _MANDATORY:
        if request.first(name) is None:
            return f"Missing {name}"
    sequence = _CSEQ.fullmatch(request.first("CSeq") or "")
    if sequence is None or sequence[2] != request.method:
        return "Invalid CSeq"
    return None


def expires(request: Request) -> int:
    """Seconds for which a REGISTER asks to be registered; 0 takes the registration back.

    The Contact's own parameter comes before the header; what is no number counts as absent (RFC 3261, 10.2.1.1).
    """
    return _seconds(request, DEFAULT_EXPIRES)


def granted(response: Response) -> int:
    """Seconds for which an answer 200 says the phone is registered: the Contact's, else the header's, else 0."""
    return _seconds(response, 0)


def _seconds(message: Request | Response, otherwise: int) -> int:
    contact = address(message.first("Contact") or "")
    for text in (contact.parameter("expires") if contact else None, message.first("Expires")):
        if text is not None and _SECONDS.fullmatch(text):
            return min(int(text), MAX_EXPIRES)
    return otherwise


def register_request(
    *,
    registrar: str,
    user: str,
    device: str,
    model: str,
    local: tuple[str, int],
    seconds: int,
    transport: str = "tcp",
    call_id: str,
    tag: str,
    branch: str,
    sequence: int = 101,
) -> Request:
    """A REGISTER as a Cisco phone sends it.

    Args:
        registrar: host of the Unified CM, the request's URI.
        user: what registers, usually a directory number; the device's name where none is known.
        device: such as `SEP001122334455`.
        model: Unified CM's number of the model, such as `684` for a CP-8851.
        local: own address and port, where the phone can be called.
        seconds: how long; 0 takes the registration back.
        transport: `tcp` or `tls`.
        call_id, tag, branch: made up by the caller, who has the randomness; one call id a phone and start-up.
        sequence: grows with every request of the same call id.
    """
    host, port = local
    here = f"[{host}]" if ":" in host else host
    there = f"[{registrar}]" if ":" in registrar else registrar
    mac = device.removeprefix("SEP").lower().rjust(12, "0")
    contact = (
        f"<sip:{call_id}@{here}:{port};transport={transport}>"
        f';{INSTANCE_PARAMETER}="<urn:uuid:00000000-0000-0000-0000-{mac}>"'
        f';{DEVICE_PARAMETER}="{device}";{MODEL_PARAMETER}="{model}"'
    )
    return Request(
        "REGISTER",
        f"sip:{there}",
        (
            Header("Via", f"{VERSION}/{transport.upper()} {here}:{port};branch={branch}"),
            Header("From", f"<sip:{user}@{there}>;tag={tag}"),
            Header("To", f"<sip:{user}@{there}>"),
            Header("Call-ID", f"{call_id}@{host}"),
            Header("Max-Forwards", "70"),
            Header("CSeq", f"{sequence} REGISTER"),
            Header("User-Agent", "Cisco-CP/trustbridge"),
            Header("Contact", contact),
            Header("Supported", "replaces,join,norefersub,X-cisco-callinfo,X-cisco-sis-7.0.0"),
            Header("Expires", str(seconds)),
            Header("Content-Length", "0"),
        ),
    )


def response_to(
    request: Request, code: int, reason: str, *, tag: str, seconds: int | None = None, allow: str = ""
) -> Response:
    """The answer to `request`, built as RFC 3261, 8.2.6 says: Via, From, To, Call-ID and CSeq come back.

    Args:
        tag: ours, added to To where that has none.
        seconds: how long the registration holds; then Contact comes back with it (10.3, step 8).
        allow: methods, for an answer 405.
    """
    headers: list[Header] = []
    for header in request.headers:
        name = long_name(header.name)
        if name in ("via", "from", "call-id", "cseq"):
            headers.append(header)
        elif name == "to":
            there = address(header.text)
            tagged = there is not None and there.parameter("tag") is not None
            headers.append(header if tagged else Header(header.name, f"{header.text};tag={tag}"))
    if seconds is not None:
        contact = _address(request.first("Contact") or "")[1]
        if contact and seconds > 0:
            headers.append(Header("Contact", f"{contact};expires={seconds}"))
        headers.append(Header("Expires", str(seconds)))
    if allow:
        headers.append(Header("Allow", allow))
    headers.append(Header("Content-Length", "0"))
    return Response(code, reason, tuple(headers))
