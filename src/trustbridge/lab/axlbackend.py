"""What a lab cluster answers over AXL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from trustbridge.errors import Refused, TrustbridgeError
from trustbridge.lab.axlphones import AxlPhones, identifier
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.oscommands import sql
from trustbridge.lab.profiles import profile
from trustbridge.lab.registrations import Registrations
from trustbridge.services.axl import INVALID, NOT_FOUND, NOT_KEPT, AxlFault, Reference, Row
from trustbridge.trust.vouch import VouchIndex
from trustbridge.wire.trustlist import Role

#: The row of the table of nodes that stands for the cluster as a whole.
WHOLE_CLUSTER: Final = "EnterpriseWideData"
#: Releases of the schema, oldest first; a node understands its own and older ones.
SCHEMAS: Final = ("8.5", "9.0", "9.1", "10.0", "10.5", "11.0", "11.5", "12.0", "12.5", "14.0", "15.0")
#: Roles of a trust list as AXL calls them.
_ROLES: Final = {
    Role.SAST: "SAST",
    Role.CCM: "CallManager",
    Role.CCM_TFTP: "CallManagerTFTP",
    Role.TFTP: "TFTP",
    Role.CAPF: "CAPF",
    Role.APP_SERVER: "Application Server",
}
_NOT_A_NAME = re.compile(r"\W+")

Reset = Callable[[str, str], None]


class Subnet(Protocol):
    """The subnet of the lab's DHCP server, where phones learn their TFTP servers."""

    @property
    def option150(self) -> Sequence[str]:
        """TFTP servers."""

    def set_option150(self, servers: Sequence[str]) -> object:
        """Name others. Raises TrustbridgeError."""


class AxlData:
    """An `AxlBackend` over a cluster's state.

    Args:
        reset: told name and manner of each device that is to be reset; returns at once.
        subnet: DHCP, where the cluster is the server of its phones' subnet; with the server's address, and the
            subnet's.
    """

    def __init__(
        self,
        cluster: Cluster,
        registrations: Registrations,
        reset: Reset,
        subnet: tuple[Subnet, str, str] | None = None,
    ) -> None:
        self._cluster = cluster
        self._phones = AxlPhones(cluster)
        self._registrations = registrations
        self._reset = reset
        self._subnet = subnet
        self._profile = profile(cluster.definition.release)
        self._tvs: tuple[object, list[Row]] = (None, [])
        newest = self._profile.axl_schema
        #: What it understands.
        self.schemas: tuple[str, ...] = SCHEMAS[: SCHEMAS.index(newest) + 1]

    def release(self, node: str | None) -> str:
        """The release; the same on every node."""
        if node and node not in {one.name for one in self._cluster.definition.nodes}:
            raise AxlFault("Item not valid: The specified Process Node was not found", NOT_FOUND)
        return self._profile.release

    def rows(self, kind: str) -> Sequence[Row]:
        """All objects of a kind."""
        match kind:
            case "processNode":
                return list(self._nodes())
            case "processNodeService":
                return list(self._services())
            case "callManagerGroup":
                return list(self._groups())
            case "tvsCertificate":
                return self._tvs_certificates()
            case "registrationDynamic":
                return list(self._registrations_seen())
            case "dhcpSubnet":
                return list(self._subnets())
        return self._phones.rows(kind)

    def phone(self, name: str) -> Row | None:
        """A phone by its name, in either case."""
        return self._phones.phone(name)

    def line(self, pattern: str, partition: str) -> Row | None:
        """A directory number."""
        return self._phones.line(pattern, partition)

    def _nodes(self) -> Iterable[Row]:
        definition = self._cluster.definition
        yield {"uuid": identifier("processnode", WHOLE_CLUSTER), "name": WHOLE_CLUSTER, "description": ""}
        for node in definition.nodes:
            yield {
                "uuid": identifier("processnode", node.name),
                "name": node.name,
                "description": definition.address(node.name),
                "nodeUsage": "Publisher" if node.name == definition.publisher else "Subscriber",
                "processNodeRole": "CUCM Voice/Video",
            }

    def _services(self) -> Iterable[Row]:
        definition = self._cluster.definition
        for node in definition.nodes:
            reference = Reference(node.name, identifier("processnode", node.name))
            for service, active in (
                ("Cisco CallManager", node.callmanager),
                ("Cisco Tftp", node.tftp),
                ("Cisco Trust Verification Service", True),
            ):
                yield {
                    "uuid": identifier("processnodeservice", node.name, service),
                    "processNodeName": reference,
                    "service": service,
                    "enable": active,
                    "isActive": active,
                }

    def _groups(self) -> Iterable[Row]:
        for place, group in enumerate(self._cluster.definition.unified_cm_groups):
            members: list[Row] = [
                {
                    "uuid": identifier("callmanagergroupmember", group.name, member),
                    "callManagerName": Reference(f"CM_{member}", identifier("callmanager", member)),
                    "priority": priority,
                }
                for priority, member in enumerate(group.members, start=1)
            ]
            yield {
                "uuid": identifier("callmanagergroup", group.name),
                "name": group.name,
                "tftpDefault": place == 0,
                "members": {"member": members},
            }

    def _tvs_certificates(self) -> list[Row]:
        stores = self._cluster.stores[self._cluster.publisher]
        if self._tvs[0] is not stores:  # they are replaced when something changes in them
            index = VouchIndex.from_stores((store, entry.certificate) for store, entry in stores)
            self._tvs = (
                stores,
                [
                    {
                        "uuid": identifier("certificate", found.certificate.sha256),
                        "subjectName": found.certificate.subject,
                        "issuerName": found.certificate.issuer,
                        "serialNumber": f"{found.certificate.serial:x}",
                        "timeToLive": index.time_to_live,
                        "ipv4Address": "",
                        "ipv6Address": "",
                        "roles": {"role": [{"roleName": _ROLES[Role(role)]} for role in found.roles]},
                        "services": {
                            "service": [{"serviceName": str(store)} for store in stores.holding(found.certificate)]
                        },
                    }
                    for found in index
                ],
            )
        return self._tvs[1]

    def _registrations_seen(self) -> Iterable[Row]:
        for name, known in sorted(self._registrations.last_known.items()):
            if name in self._cluster.devices and known.status != "Rejected":
                yield {
                    "uuid": identifier("registrationdynamic", name),
                    "device": Reference(name, identifier("device", name)),
                    "lastKnownIpAddress": known.address,
                    "lastKnownUcm": known.node,
                    "lastKnownConfigVersion": "",
                    "lastSeen": int(known.seen.timestamp()),
                }

    def _subnets(self) -> Iterable[Row]:
        if self._subnet is None:
            return
        subnet, server, network = self._subnet
        first, second, *_ = (*subnet.option150, "", "")
        yield {
            "uuid": identifier("dhcpsubnet", network),
            "dhcpServerName": server,
            "subnetIpAddress": network,
            "primaryStartIpAddress": "",
            "primaryEndIpAddress": "",
            "primaryRouterIpAddress": "",
            "subnetMask": "255.0.0.0",
            "tftpServerName": "",
            "primaryTftpServerIpAddress": first,
            "secondaryTftpServerIpAddress": second,
        }

    def query(self, query: str) -> Sequence[Mapping[str, str]]:
        """A select; as `run sql`."""
        statement = query.strip().rstrip("; ")
        if not statement.lower().startswith("select "):
            raise AxlFault("Only select statements can be run here.", INVALID)
        try:
            columns, rows = sql.select(self._cluster, statement)
        except Refused as error:
            raise AxlFault(error.message, INVALID) from None
        names = [_NOT_A_NAME.sub("_", column).strip("_") or "column" for column in columns]
        return [
            {name: "" if value is None else str(value) for name, value in zip(names, row, strict=True)} for row in rows
        ]

    # Changing.

    def add_phone(self, fields: Mapping[str, str], lines: Sequence[Mapping[str, str]] = ()) -> str:
        """Create a phone; what the lab has no use for is not kept."""
        return self._phones.add(fields, lines)

    def update_phone(self, name: str, changes: Mapping[str, str]) -> None:
        """Change a phone; what the lab could not keep is refused."""
        self._phones.update(name, changes)

    def remove_phone(self, name: str) -> None:
        """Remove a phone; its directory numbers stay."""
        self._phones.remove(name)

    def add_line(self, fields: Mapping[str, str]) -> str:
        """Create a directory number."""
        return self._phones.add_line(fields)

    def reset(self, name: str, how: str) -> None:
        """Reset a phone."""
        self._reset(name, how)

    def update_dhcp_subnet(self, _: str, changes: Mapping[str, str]) -> None:
        """Name other TFTP servers: option 150."""
        assert self._subnet is not None  # there was one to be found
        foreign = sorted(changes.keys() - {"primaryTftpServerIpAddress", "secondaryTftpServerIpAddress"})
        if foreign:
            raise AxlFault(f"the lab keeps no {', '.join(foreign)}", NOT_KEPT)
        subnet = self._subnet[0]
        first, second, *_others = (*subnet.option150, "", "")
        servers = [
            changes.get("primaryTftpServerIpAddress", first),
            changes.get("secondaryTftpServerIpAddress", second),
        ]
        try:
            subnet.set_option150([server for server in servers if server])
        except TrustbridgeError as error:
            raise AxlFault(error.message, INVALID) from None
