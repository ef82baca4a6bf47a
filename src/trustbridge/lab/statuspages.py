"""The phones' status pages: tables of name and value, under the paths real phones use. Pure: a phone in, bytes out.

Sources: `cucm-interfaces`, section 5; for the streams, those of `cucm.phonestreams`. All phones share one listening
socket; the local address of a connection tells which phone was asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from html import escape
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape as escape_xml

from trustbridge.errors import InvalidInput
from trustbridge.lab.phone import LabPhone
from trustbridge.trust import configuration as configurations
from trustbridge.trust.configuration import Configuration
from trustbridge.trust.events import Kept

HTML, XML = "text/html; charset=utf-8", "text/xml; charset=utf-8"

T = TypeVar("T")
Rows = list[tuple[str, str]]


def page(phone: LabPhone, target: str) -> tuple[str, bytes] | None:
    """Content type and content of what a phone shows under `target` (path and query); None where it has nothing.

    A phone whose configuration switches web access off shows nothing at all.
    """
    configuration = _configuration(phone)
    if configuration is not None and not configuration.web_access:
        return None
    try:
        parts = urlsplit(target)
    except ValueError:  # such as an address in brackets that are not closed
        return None
    adapter = parse_qs(parts.query).get("adapter", [""])[0]
    if (number := _stream_asked(parts.path, parts.query, adapter)) is not None:
        stream = _stream(phone, number)
        if parts.path == "/StreamingStatisticsX":
            return _xml("StreamingStatistics", [(_STREAM_TAGS[name], value) for name, value in stream])
        return _html(phone, f"Stream {number}", stream)
    match parts.path, adapter:
        case ("/", "") | ("/CGI/Java/Serviceability", "device.statistics.device"):
            return _html(phone, "Device Information", _device(phone))
        case ("/CGI/Java/Serviceability", "device.statistics.configuration") | ("/NetworkConfiguration", _):
            return _html(phone, "Network Setup", _network(phone, configuration))
        case ("/CGI/Java/Serviceability", "device.settings.status.messages"):
            rows = [(f"{when:%H:%M:%S %d/%m/%y}", message) for when, message in phone.status]
            return _html(phone, "Status Messages", rows)
        case ("/CGI/Java/Serviceability", "device.statistics.consolelog"):
            marks = {True: "OK", False: "FAIL", None: ""}
            return _html(phone, "Console Logs", [(marks[line.ok], line.text) for line in phone.transcript])
        case ("/DeviceInformationX", _):
            return _xml("DeviceInformation", _device(phone))
        case ("/NetworkConfigurationX", _):
            return _xml("NetworkConfiguration", _network(phone, configuration))
    return None


#: Rows of a stream's page, and the elements that stand for them in XML.
_STREAM_TAGS = {
    "Remote Address": "RemoteAddr",
    "Local Address": "LocalAddr",
    "Start Time": "StartTime",
    "Stream Status": "StreamStatus",
    "Host Name": "Name",
    "Sender Packets": "SenderPackets",
    "Rcvr Packets": "RcvrPackets",
}
_STREAMS = 5
_STREAM_ADAPTER = "device.statistics.streaming."
#: Packets of a second of speech, 20 ms each; and the port they come from.
_PACKETS = 50
_RTP_PORT = 24576


def _stream_asked(path: str, query: str, adapter: str) -> int | None:
    """Which stream is meant, from 1; the pages that name an adapter count from 0."""
    if path == "/CGI/Java/Serviceability" and adapter.startswith(_STREAM_ADAPTER):
        text, first = adapter.removeprefix(_STREAM_ADAPTER), 0
    elif path in ("/StreamingStatisticsX", "/StreamingStatistics"):
        text, first = query, 1
    else:
        return None
    number = int(text) - first + 1 if len(text) == 1 and text in "0123456789" else 0
    return number if 1 <= number <= _STREAMS else None


def _stream(phone: LabPhone, number: int) -> Rows:
    """A call takes the first stream, and what it was stays on the page until the next one or a restart."""
    call = phone.call if number == 1 else None
    packets = 0 if call is None else int(((call.until or phone.clock()) - call.since).total_seconds() * _PACKETS)
    return [
        ("Remote Address", "0.0.0.0/0" if call is None else call.remote),
        ("Local Address", "0.0.0.0/0" if call is None else f"{phone.identity.address}/{_RTP_PORT}"),
        ("Start Time", "00:00:00" if call is None else f"{call.since:%H:%M:%S}"),
        ("Stream Status", "Active" if call is not None and call.until is None else "Not Ready"),
        ("Host Name", phone.name),
        ("Sender Packets", str(packets)),
        ("Rcvr Packets", str(packets)),
    ]


def _configuration(phone: LabPhone) -> Configuration | None:
    return _remembered(phone, Kept.CONFIGURATION, _parsed)


def _parsed(content: bytes) -> Configuration | None:
    try:
        return configurations.parse(content)
    except InvalidInput:  # damaged in flash: the phone shows its pages as if it had none
        return None


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest().upper()  # noqa: S324 - as phones print it


def _remembered(phone: LabPhone, kept: Kept, made: Callable[[bytes], T]) -> T | None:
    """What is made of a file in flash; made again when it is another one. None without one."""
    mark = phone.flash.mark(kept)
    known = phone.shown.get(kept)
    if known is None or known[0] != mark:
        content = phone.flash.kept(kept)
        known = phone.shown[kept] = (mark, None if content is None else made(content))
    found: T | None = known[1]
    return found


def _device(phone: LabPhone) -> Rows:
    return [
        ("MAC Address", phone.name.removeprefix("SEP")),
        ("Host Name", phone.name),
        ("Model Number", phone.identity.model.name),
    ]


def _network(phone: LabPhone, configuration: Configuration | None) -> Rows:
    rows: Rows = [("MAC Address", phone.name.removeprefix("SEP")), ("Host Name", phone.name), ("DHCP", "Yes")]
    rows += [("IP Address", phone.identity.address), ("Alternate TFTP", "No")]
    rows += [(f"TFTP Server {place}", server) for place, server in enumerate(phone.tftp_servers, start=1)]
    if configuration is not None:
        for place, member in enumerate(configuration.call_managers, start=1):
            active = phone.registered_with is not None and phone.registered_with.name == member.name
            rows.append((f"Unified CM {place}", f"{member.name}{' Active' if active else ''}"))
        rows += [(f"TVS {place}", str(server)) for place, server in enumerate(configuration.tvs, start=1)]
    for name in (Kept.CTL, Kept.ITL):
        rows.append((f"{name} File", _remembered(phone, name, _hash) or "Not Installed"))
    return rows


def _html(phone: LabPhone, title: str, rows: Iterable[tuple[str, str]]) -> tuple[str, bytes]:
    lines = "\n".join(f"<TR><TD><B>{escape(name)}</B></TD><TD>{escape(value)}</TD></TR>" for name, value in rows)
    text = (
        f"<!DOCTYPE html>\n<HTML><HEAD><TITLE>{escape(phone.name)}: {title}</TITLE></HEAD><BODY>"
        f"<H1>{title}</H1><P>{escape(phone.identity.model.name)} ( {escape(phone.name)} )</P>"
        f"<TABLE>\n{lines}\n</TABLE></BODY></HTML>\n"
    )
    return HTML, text.encode()


def _xml(root: str, rows: Iterable[tuple[str, str]]) -> tuple[str, bytes]:
    elements = "".join(f"<{_tag(name)}>{escape_xml(value)}</{_tag(name)}>" for name, value in rows)
    return XML, f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{elements}</{root}>\n'.encode()


@lru_cache(maxsize=256)
def _tag(name: str) -> str:
    """`TFTP Server 1` as real phones' XML names it: `TFTPServer1`."""
    return "".join(character for character in name if character.isalnum())
