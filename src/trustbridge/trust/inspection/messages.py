"""Captured TVS messages and phone configurations under inspection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn
from xml.parsers import expat

from trustbridge.errors import DecodeError, InvalidCertificate, InvalidInput
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.names import canonical_name
from trustbridge.trust import configuration
from trustbridge.trust.configuration import MAX_TVS, TRANSPORT_TLS, Configuration
from trustbridge.trust.inspection.certificates import serial_text
from trustbridge.trust.inspection.values import Fact, Findings, Inspection, Kind, Problem, Row, unreadable
from trustbridge.wire import tvs
from trustbridge.wire.trustlist import role_label
from trustbridge.wire.tvs import Message, Tag, TvsMessage

_SECURITY: Final = {1: "non-secure", 2: "authenticated", 3: "encrypted"}
_TRANSPORT: Final = {1: "TCP", 2: "UDP", 3: "TLS"}
_RESPONSES: Final = frozenset({Message.VERIFY_RESPONSE, Message.QUERY_RESPONSE})
_KNOWN_TAGS: Final = frozenset(int(tag) for tag in Tag)


def inspect_tvs(data: bytes) -> Inspection:
    """One or several TVS messages back to back, as one side of a captured connection gives them."""
    found = Findings()
    rows: list[Row] = []
    at = 0
    while at < len(data):
        try:
            length = tvs.expected_length(data[at : at + tvs.HEADER_LENGTH]) or len(data) - at
            message = tvs.decode(data[at : at + length])
        except DecodeError as error:
            found.error(f"message {len(rows) + 1}: {error.what}", at + error.offset)
            break
        rows.append(_message_row(message, len(rows) + 1, at, found))
        at += length
    facts = (Fact("messages", "Messages", len(rows)),)
    whole = at == len(data)
    return Inspection(Kind.TVS_MESSAGES, len(data), facts, tuple(rows), tuple(found.problems), readable=whole)


def _message_row(message: TvsMessage, number: int, at: int, found: Findings) -> Row:
    is_response = message.message in _RESPONSES
    status: str | None = None
    if is_response:
        status = "valid" if message.valid else "not valid"
    roles = tuple(role_label(role) for role in message.roles)
    certificate = _message_certificate(message, number, at, found)
    unknown = sorted({tag for tag, _ in message.elements if tag not in _KNOWN_TAGS})
    if unknown:
        found.note(f"elements with unknown tags: {', '.join(map(str, unknown))}", at, number)
    if message.reserved:
        found.note(f"reserved byte 0x{message.reserved:02x}; real servers send such", at + 3, number)
    return Row(
        number,
        at,
        (
            Fact("message", "Message", message.message.name.lower().replace("_", " ")),
            Fact("session", "Session", message.session),
            Fact("device", "Device", message.device),
            Fact("subject", "Subject asked about", message.subject),
            Fact("issuer", "Issuer asked about", message.issuer),
            Fact("serial", "Serial asked about", None if message.serial is None else serial_text(message.serial)),
            Fact("status", "Answer", status),
            Fact("roles", "Roles", roles if is_response else None),
            Fact("time_to_live", "Kept for, seconds", message.time_to_live),
            Fact("certificate", "Certificate", certificate.subject if certificate else None),
            Fact("certificate_serial", "Its serial", serial_text(certificate.serial) if certificate else None),
            Fact("certificate_sha256", "Its SHA-256", certificate.sha256 if certificate else None),
        ),
    )


def _message_certificate(message: TvsMessage, number: int, at: int, found: Findings) -> Certificate | None:
    der = message.certificate
    if der is None:
        return None
    place = at + tvs.HEADER_LENGTH
    for tag, value in message.elements:
        if tag == Tag.CERTIFICATE:
            break
        place += 3 + len(value)
    try:
        certificate = Certificate.from_der(der)
        _ = certificate.subject, certificate.serial
    except InvalidCertificate as error:
        found.error(error.message, place, number)
        return None
    if message.serial is not None and message.serial != certificate.serial:
        found.error("serial and certificate of the message do not belong together", place, number)
    if message.issuer is not None and canonical_name(message.issuer) != canonical_name(certificate.issuer):
        found.error("issuer and certificate of the message do not belong together", place, number)
    return certificate


def inspect_configuration(data: bytes, start: int = 0) -> Inspection:
    """A phone's configuration file; `start` is its offset in the file that carries it."""
    try:
        read = configuration.parse(data)
    except InvalidInput as error:
        scan = _scan(data)
        text = f"not a phone configuration: {scan.fault}" if scan.fault else error.message
        return unreadable(Kind.CONFIGURATION, len(data), text, start + scan.offset)
    return Inspection(Kind.CONFIGURATION, len(data), _configuration_facts(read), problems=tuple(_judge(read)))


def is_phone_configuration(data: bytes) -> bool:
    """Whether XML means to be a phone's configuration and not one of the other lists a cluster signs (ring tones)."""
    return _scan(data).root in ("device", "Default")


def _configuration_facts(read: Configuration) -> tuple[Fact, ...]:
    capf = None if read.capf is None else f"{read.capf[0]}:{read.capf[1]}"
    security = _SECURITY.get(read.security_mode, f"unknown {read.security_mode}")
    return (
        Fact("call_managers", "Unified CM group", tuple(member.name for member in read.call_managers)),
        Fact("tvs", "TVS servers", tuple(map(str, read.tvs))),
        Fact("security_mode", "Security mode", security),
        Fact("transport", "Transport", _TRANSPORT.get(read.transport, f"unknown {read.transport}")),
        Fact("capf", "CAPF", capf),
        Fact("load", "Firmware", read.load),
        Fact("version_stamp", "Version stamp", read.version_stamp),
        Fact("device_pool", "Device pool", read.device_pool),
        Fact("web_access", "Status pages on", read.web_access),
    )


def _judge(read: Configuration) -> list[Problem]:
    found = Findings()
    if not read.call_managers:
        found.warning("no Unified CM: a phone with this configuration has nowhere to register")
    if not read.tvs:
        found.warning("no TVS server: a phone with this configuration can ask nobody about a new signer")
    if len(read.tvs) == MAX_TVS:
        found.note(f"{MAX_TVS} TVS servers; phones keep no more than that")
    if read.secure and read.transport != TRANSPORT_TLS:
        found.warning("a secure mode without TLS as transport")
    return found.problems


@dataclass(slots=True)
class _Scan:
    """XML as far as it goes: its root element, and the byte at which it breaks (`fault` is empty when it does not)."""

    root: str = ""
    offset: int = 0
    fault: str = ""


class _DocumentType(Exception):
    pass


def _scan(data: bytes) -> _Scan:
    found = _Scan()
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        found.root = found.root or name

    def document_type(*_: object) -> NoReturn:
        raise _DocumentType

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = document_type
    try:
        parser.Parse(data, True)
    except _DocumentType:
        # Stopping there is what keeps entities from being expanded. The parser points behind the type's name.
        at = data.find(b"<!DOCTYPE")
        found.offset = at if at >= 0 else parser.CurrentByteIndex
        found.fault = "it brings a document type, which no cluster writes"
    except expat.ExpatError as error:
        found.offset = max(parser.ErrorByteIndex, 0)
        found.fault = f"not XML: {expat.errors.messages.get(error.code, 'garbled')}"
    except (ValueError, LookupError) as error:  # an encoding nobody knows
        found.fault = f"not XML: {error}"
    return found
