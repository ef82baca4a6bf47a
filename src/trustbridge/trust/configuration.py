"""The phone's configuration file, `SEP<mac>.cnf.xml`: the elements that decide where it goes and whom it asks.

Source: `wire-formats`, section 4.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import lru_cache
from xml.sax.saxutils import escape

from trustbridge.errors import InvalidInput

#: Phones keep at most this many TVS servers.
MAX_TVS = 5

SECURITY_INSECURE, SECURITY_AUTHENTICATED, SECURITY_ENCRYPTED = 1, 2, 3
TRANSPORT_TCP, TRANSPORT_UDP, TRANSPORT_TLS = 1, 2, 3


@dataclass(frozen=True, slots=True)
class CallManagerMember:
    """A Unified CM of the phone's group. Ports as in the file: SIP over TCP, and SIP over TLS."""

    name: str
    sip_port: int = 5060
    secured_sip_port: int = 5061


@dataclass(frozen=True, slots=True)
class TvsServer:
    """A TVS server the phone may ask: host name or address, TCP port."""

    address: str
    port: int = 2445

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


def _members(configuration: Configuration) -> str:
    return "".join(
        f'<member priority="{priority}"><callManager><name>{escape(member.name)}</name><ports>'
        f"<ethernetPhonePort>2000</ethernetPhonePort><sipPort>{member.sip_port}</sipPort>"
        f"<securedSipPort>{member.secured_sip_port}</securedSipPort></ports>"
        f"<processNodeName>{escape(member.name)}</processNodeName></callManager></member>"
        for priority, member in enumerate(configuration.call_managers)
    )


def _tvs_members(configuration: Configuration) -> str:
    return "".join(
        f'<member priority="{priority}"><port>{server.port}</port><address>{escape(server.address)}</address></member>'
        for priority, server in enumerate(configuration.tvs)
    )


@lru_cache(maxsize=256)
def build(configuration: Configuration) -> bytes:
    """The file's bytes. Phones of one pool share their configuration, so the last ones are kept."""
    capf = ""
    if configuration.capf is not None:
        host, port = configuration.capf
        capf = (
            f"<capfList><capf><phonePort>{port}</phonePort>"
            f"<processNodeName>{escape(host)}</processNodeName></capf></capfList>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<device>"
        "<deviceProtocol>SIP</deviceProtocol>"
        "<devicePool>"
        f"<name>{escape(configuration.device_pool)}</name>"
        f"<callManagerGroup><members>{_members(configuration)}</members></callManagerGroup>"
        "</devicePool>"
        f"<TVS><members>{_tvs_members(configuration)}</members></TVS>"
        f"<vendorConfig><webAccess>{0 if configuration.web_access else 1}</webAccess></vendorConfig>"
        f"<versionStamp>{escape(configuration.version_stamp)}</versionStamp>"
        f"<loadInformation>{escape(configuration.load)}</loadInformation>"
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
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise InvalidInput("not a phone configuration: it brings a document type, which no cluster writes")
    try:
        root = ET.fromstring(data)  # noqa: S314 - without a document type there are no entities to expand
    except (ET.ParseError, ValueError, LookupError) as error:
        raise InvalidInput(f"not a phone configuration: {error}") from None
    if root.tag != "device":
        raise InvalidInput(f"not a phone configuration: root element <{root.tag}>, expected <device>")
    members = _by_priority(root.findall("devicePool/callManagerGroup/members/member"))
    servers = _by_priority(root.findall("TVS/members/member"))
    capf = root.find("capfList/capf")
    return Configuration(
        call_managers=tuple(
            CallManagerMember(
                name,
                _number(member, "callManager/ports/sipPort", 5060),
                _number(member, "callManager/ports/securedSipPort", 5061),
            )
            for member in members
            if (name := (member.findtext("callManager/processNodeName") or "").strip())
        ),
        tvs=tuple(
            TvsServer(address, _number(server, "port", 2445))
            for server in servers
            if (address := (server.findtext("address") or "").strip())
        )[:MAX_TVS],
        security_mode=_number(root, "deviceSecurityMode", SECURITY_INSECURE),
        transport=_number(root, "transportLayerProtocol", TRANSPORT_TCP),
        capf=None
        if capf is None
        else ((capf.findtext("processNodeName") or "").strip(), _number(capf, "phonePort", 3804)),
        load=(root.findtext("loadInformation") or "").strip(),
        version_stamp=(root.findtext("versionStamp") or "").strip(),
        device_pool=(root.findtext("devicePool/name") or "Default").strip(),
        web_access=_number(root, "vendorConfig/webAccess", 0) == 0,
    )


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
