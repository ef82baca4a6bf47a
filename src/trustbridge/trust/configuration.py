"""The phone's configuration file, `SEP<mac>.cnf.xml`: the elements that decide where it goes and whom it asks.

Source: `wire-formats`, section 4. `XMLDefault.cnf.xml` holds a group and nothing of a device pool; its root is
`<Default>` in public samples, `<device>` in ours, and both are read.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn
from xml.sax.saxutils import escape

from trustbridge.errors import InvalidInput

#: Phones keep at most this many TVS servers.
MAX_TVS = 5

#: Ports by the field's convention, where a file names none.
SIP_PORT, SECURED_SIP_PORT, TVS_PORT, CAPF_PORT = 5060, 5061, 2445, 3804

SECURITY_INSECURE, SECURITY_AUTHENTICATED, SECURITY_ENCRYPTED = 1, 2, 3
TRANSPORT_TCP, TRANSPORT_UDP, TRANSPORT_TLS = 1, 2, 3


@dataclass(frozen=True, slots=True)
class CallManagerMember:
    """A Unified CM of the phone's group. Ports as in the file: SIP over TCP, and SIP over TLS."""

    name: str
    sip_port: int = SIP_PORT
    secured_sip_port: int = SECURED_SIP_PORT


@dataclass(frozen=True, slots=True)
class TvsServer:
    """A TVS server the phone may ask: host name or address, TCP port."""

    address: str
    port: int = TVS_PORT

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a phone takes from its configuration file.

    Attributes:
        call_managers: the Unified CM group, first choice first.
        tvs: TVS servers, first choice first; the nodes of the same group.
        security_mode: 1 insecure, 2 authenticated, 3 encrypted.
        transport: 1 TCP, 2 UDP, 3 TLS.
        capf: host and port of the CAPF, or None.
        load: firmware the phone should run; "" keeps what it has.
        version_stamp: changes when the administrator changes something.
        web_access: whether the phone's status pages are on.
    """

    call_managers: tuple[CallManagerMember, ...]
    tvs: tuple[TvsServer, ...]
    security_mode: int = SECURITY_INSECURE
    transport: int = TRANSPORT_TCP
    capf: tuple[str, int] | None = None
    load: str = ""
    version_stamp: str = ""
    device_pool: str = "Default"
    web_access: bool = True

    @property
    def secure(self) -> bool:
        """Whether the phone must register over TLS."""
        return self.security_mode >= SECURITY_AUTHENTICATED


#: What XML 1.0 can't carry, or would not bring back as it was.
_NOT_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(text: str) -> str:
    bad = _NOT_XML.search(text)
    if bad is not None:
        raise ValueError(f"{text!r} can't stand in a configuration file: it has the character {bad[0]!r}")
    return escape(text)


def _members(configuration: Configuration) -> str:
    return "".join(
        f'<member priority="{priority}"><callManager><name>{_text(member.name)}</name><ports>'
        f"<ethernetPhonePort>2000</ethernetPhonePort><sipPort>{member.sip_port}</sipPort>"
        f"<securedSipPort>{member.secured_sip_port}</securedSipPort></ports>"
        f"<processNodeName>{_text(member.name)}</processNodeName></callManager></member>"
        for priority, member in enumerate(configuration.call_managers)
    )


def _tvs_members(configuration: Configuration) -> str:
    return "".join(
        f'<member priority="{priority}"><port>{server.port}</port><address>{_text(server.address)}</address></member>'
        for priority, server in enumerate(configuration.tvs[:MAX_TVS])
    )


@lru_cache(maxsize=256)
def build(configuration: Configuration) -> bytes:
    """The file's bytes. Phones of one pool share their configuration, so the last ones are kept.

    Raises:
        ValueError: a name with a character that XML can't carry.
    """
    capf = ""
    if configuration.capf is not None:
        host, port = configuration.capf
        capf = (
            f"<capfList><capf><phonePort>{port}</phonePort>"
            f"<processNodeName>{_text(host)}</processNodeName></capf></capfList>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<device>"
        "<deviceProtocol>SIP</deviceProtocol>"
        "<devicePool>"
        f"<name>{_text(configuration.device_pool)}</name>"
        f"<callManagerGroup><members>{_members(configuration)}</members></callManagerGroup>"
        "</devicePool>"
        f"<TVS><members>{_tvs_members(configuration)}</members></TVS>"
        f"<vendorConfig><webAccess>{0 if configuration.web_access else 1}</webAccess></vendorConfig>"
        f"<versionStamp>{_text(configuration.version_stamp)}</versionStamp>"
        f"<loadInformation>{_text(configuration.load)}</loadInformation>"
        f"<deviceSecurityMode>{configuration.security_mode}</deviceSecurityMode>"
        f"<transportLayerProtocol>{configuration.transport}</transportLayerProtocol>"
        f"{capf}<certHash></certHash><encrConfig>false</encrConfig>"
        "</device>\n"
    ).encode()


@lru_cache(maxsize=256)
def parse(data: bytes) -> Configuration:
    """What a phone reads in `data`. Unknown elements are passed over, absent ones take their defaults.

    Raises:
        InvalidInput: not XML, not a `<device>`, or a number where none stands.
    """
    try:
        # The parser is told to stop at a document type, so there are no entities to expand.
        root = ET.fromstring(data, ET.XMLParser(target=_WithoutDocumentType()))  # noqa: S314 - refuses document types
    except (ET.ParseError, ValueError, LookupError) as error:
        raise InvalidInput(f"not a phone configuration: {error}") from None
    if root.tag not in ("device", "Default"):
        raise InvalidInput(f"not a phone configuration: root element <{root.tag[:40]}>, expected <device>")
    group = "devicePool/callManagerGroup" if root.tag == "device" else "callManagerGroup"
    members = _by_priority(root.findall(f"{group}/members/member"))
    servers = _by_priority(root.findall("TVS/members/member"))
    capf = root.find("capfList/capf")
    capf_host = (root.findtext("capfList/capf/processNodeName") or "").strip()
    return Configuration(
        call_managers=tuple(
            CallManagerMember(
                name,
                _port(member, "callManager/ports/sipPort", SIP_PORT),
                _port(member, "callManager/ports/securedSipPort", SECURED_SIP_PORT),
            )
            for member in members
            if (name := (member.findtext("callManager/processNodeName") or "").strip())
        ),
        tvs=tuple(
            TvsServer(address, _port(server, "port", TVS_PORT))
            for server in servers
            if (address := (server.findtext("address") or "").strip())
        )[:MAX_TVS],
        security_mode=_number(root, "deviceSecurityMode", SECURITY_INSECURE),
        transport=_number(root, "transportLayerProtocol", TRANSPORT_TCP),
        capf=None if capf is None or not capf_host else (capf_host, _port(capf, "phonePort", CAPF_PORT)),
        load=(root.findtext("loadInformation") or "").strip(),
        version_stamp=(root.findtext("versionStamp") or "").strip(),
        device_pool=(root.findtext("devicePool/name") or "Default").strip(),
        web_access=_number(root, "vendorConfig/webAccess", 0) == 0,
    )


class _WithoutDocumentType(ET.TreeBuilder):
    """Builds the tree, and refuses a document type in whatever encoding it comes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise InvalidInput("not a phone configuration: it brings a document type, which no cluster writes")


def _by_priority(members: list[ET.Element]) -> list[ET.Element]:
    """Lowest number first; members without a number keep their place behind."""

    def priority(member: ET.Element) -> int:
        text = member.get("priority", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1_000_000_000

    return sorted(members, key=priority)


def _number(element: ET.Element, path: str, default: int) -> int:
    text = (element.findtext(path) or "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidInput(f"not a phone configuration: {path} is {text[:40]!r}, expected a number")
    return int(text)


def _port(element: ET.Element, path: str, default: int) -> int:
    port = _number(element, path, default)
    if not 0 < port <= 0xFFFF:
        raise InvalidInput(f"not a phone configuration: {path} is {port}, expected a port from 1 to 65535")
    return port
