"""What the driver reads from a cluster, as values; and what it may be told to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import total_ordering

from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store, Unit


class Interface(StrEnum):
    """A way into a node. Every answer says which one it came by."""

    CLI = "command line"
    REST = "certificate REST"
    AXL = "AXL"
    RIS = "RisPort70"
    CONTROL_CENTER = "Control Center"
    PHONE_PAGE = "phone page"
    HTTP_FILES = "files over HTTP"
    TFTP = "TFTP"
    TVS = "TVS"


@total_ordering
@dataclass(frozen=True, slots=True, eq=True)
class Release:
    """A release such as `12.5.1.11900-146`; compared number by number.

    Attributes:
        text: as the node writes it.
        numbers: its numbers, most significant first.
    """

    text: str
    numbers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Release:
        """Read a release; what is no number counts as 0. Never raises: an unknown release is compared low."""
        parts = text.strip().replace("-", ".").split(".")
        return cls(text.strip(), tuple(int(part) if part.isascii() and part.isdigit() else 0 for part in parts))

    def __lt__(self, other: Release) -> bool:
        return self.numbers < other.numbers

    def at_least(self, *numbers: int) -> bool:
        """Whether this is release `numbers`, such as (12, 5), or a later one."""
        return self.numbers >= numbers

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node of a cluster as `show network cluster` and AXL list it."""

    name: str
    address: str
    publisher: bool


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """An identity certificate of a node."""

    node: str
    unit: Unit
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class TrustedCertificate:
    """A certificate in a trust store of a node; `name` is the file name the node knows it by, such as `cm1.pem`."""

    node: str
    store: Store
    certificate: Certificate
    name: str = ""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A feature service of a node. `since` is when it last started, where the node says so."""

    node: str
    name: str
    running: bool
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class CallManagerGroup:
    """A Unified CM group: names of nodes (processNode), first choice first."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PhoneInfo:
    """A phone as the database knows it."""

    name: str
    model: str
    description: str = ""
    device_pool: str = ""
    security_profile: str = ""
    load: str = ""


class PhoneStatus(StrEnum):
    """Registration states as RisPort70 names them."""

    REGISTERED = "Registered"
    UNREGISTERED = "UnRegistered"
    REJECTED = "Rejected"
    PARTIALLY_REGISTERED = "PartiallyRegistered"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class RegistrationInfo:
    """Where a phone is registered. `node` is the Unified CM that said so, `reason` RisPort70's status reason."""

    name: str
    status: PhoneStatus
    node: str
    address: str
    reason: int = 0
    load: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class TvsCertificate:
    """A certificate a TVS really knows, as `listTvsCertificate` tells; roles and services as the words it uses."""

    subject: str
    issuer: str
    serial: int
    time_to_live: int
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DhcpSubnet:
    """A subnet whose DHCP server is Unified CM itself. `tftp_servers` is option 150, two at the most."""

    identifier: str
    server: str
    address: str
    tftp_servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BulkLine:
    """What a publisher answered to a bulk command, for one type: `Successfully exported tomcat certificate(s) ...`."""

    text: str
    succeeded: bool


@dataclass(frozen=True, slots=True)
class TrustListFileInfo:
    """A trust-list file as a TFTP node serves it; `content` None when it serves none."""

    node: str
    name: str
    content: bytes | None


@dataclass(frozen=True, slots=True)
class ClusterEntry:
    """A cluster of the inventory. No secret is ever in it.

    Attributes:
        name: ours, for files and messages.
        publisher: host name or address of the publisher.
        os_user: administrator of the OS realm: command line and certificate REST.
        app_user: application user: AXL, RisPort70, Control Center.
        ssh_port, https_port, tvs_port, http_port, tftp_port: as on every cluster, unless a lab shifts them.
        node_addresses: overrides what the cluster says of its nodes (name -> address), for networks that translate.
        legacy_ssh: offer old key exchange and host keys; weakens the connection.
        axl_schema: a newer AXL schema's folder; None takes the one that comes with the AXL package.
    """

    name: str
    publisher: str
    os_user: str
    app_user: str
    ssh_port: int = 22
    https_port: int = 8443
    tvs_port: int = 2445
    http_port: int = 6970
    tftp_port: int = 69
    node_addresses: tuple[tuple[str, str], ...] = ()
    legacy_ssh: bool = False
    axl_schema: str | None = None

    def address_of(self, node: NodeInfo) -> str:
        """Where to reach a node."""
        return dict(self.node_addresses).get(node.name, node.address)


@dataclass(frozen=True, slots=True)
class Write:
    """A change to a cluster, described before it is done and recorded after.

    Attributes:
        target: cluster, or cluster/node.
        what: in words, such as "import tftp certificates".
        effect: what else it causes, such as a restart of phones; "" for nothing.
        interface: the way it goes.
    """

    target: str
    what: str
    effect: str
    interface: Interface
