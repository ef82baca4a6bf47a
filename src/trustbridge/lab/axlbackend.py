"""What a lab cluster answers over AXL."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from trustbridge.errors import Refused, TrustbridgeError
from trustbridge.lab.cluster import Cluster, Device
from trustbridge.lab.oscommands import sql
from trustbridge.lab.profiles import profile
from trustbridge.lab.registrations import Registrations
from trustbridge.services.axl import DUPLICATE, INVALID, NOT_FOUND, NOT_KEPT, AxlFault, Reference, Row
from trustbridge.trust.configuration import SECURITY_AUTHENTICATED, SECURITY_ENCRYPTED, SECURITY_INSECURE
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
_MODES: Final = {
    SECURITY_INSECURE: "Non-Secure",
    SECURITY_AUTHENTICATED: "Authenticated",
    SECURITY_ENCRYPTED: "Encrypted",
}
_NOT_A_NAME = re.compile(r"\W+")
_PHONE_NAME = re.compile(r"SEP[0-9A-F]{12}")

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
            case "phone":
                return [self._phone(device) for _, device in sorted(self._cluster.devices.items())]
            case "tvsCertificate":
                return self._tvs_certificates()
            case "registrationDynamic":
                return list(self._registrations_seen())
            case "dhcpSubnet":
                return list(self._subnets())
        raise KeyError(kind)

    def phone(self, name: str) -> Row | None:
        """A phone by its name, in either case."""
        device = self._device(name)
        return None if device is None else self._phone(device)

    def _device(self, name: str) -> Device | None:
        return self._cluster.devices.get(name) or self._cluster.devices.get(name.upper())

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

    def _phone(self, device: Device) -> Row:
        product = product_of(device.model)
        return {
            "uuid": identifier("device", device.name),
            "name": device.name,
            "description": device.description,
            "product": product,
            "model": product,
            "class": "Phone",
            "protocol": "SIP",
            "protocolSide": "User",
            "callingSearchSpaceName": Reference(""),
            "devicePoolName": Reference(device.group, identifier("devicepool", device.group)),
            "commonPhoneConfigName": Reference("Standard Common Phone Profile"),
            "locationName": Reference("Hub_None"),
            "loadInformation": device.load,
            "securityProfileName": Reference(security_profile(device)),
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

    def add_phone(self, fields: Mapping[str, str]) -> str:
        """Create a phone; what the lab has no use for is not kept."""
        name = fields.get("name", "").upper()
        if not _PHONE_NAME.fullmatch(name):
            raise AxlFault(f"Device Name {name!r} must be SEP and 12 hexadecimal digits", INVALID)
        if name in self._cluster.devices:
            raise AxlFault(
                "Could not insert new row - duplicate value in a UNIQUE INDEX column (Unique Index:).", DUPLICATE
            )
        product = fields.get("product", "") or fields.get("model", "")
        if not product:
            raise AxlFault("The product is missing", INVALID)
        group = self._cluster.definition.unified_cm_groups[0].name
        device = Device(name, model_of(product), SECURITY_INSECURE, group)
        kept = {key: value for key, value in fields.items() if key in _KEPT}
        self._cluster.add_devices([self._changed(device, kept)])
        return identifier("device", name)

    def update_phone(self, name: str, changes: Mapping[str, str]) -> None:
        """Change a phone; what the lab could not keep is refused."""
        foreign = sorted(changes.keys() - _KEPT)
        if foreign:
            raise AxlFault(f"the lab keeps no {', '.join(foreign)}", NOT_KEPT)
        self._cluster.add_devices([self._changed(self._cluster.devices[name], changes)])

    def _changed(self, device: Device, changes: Mapping[str, str]) -> Device:
        group = changes.get("devicePoolName") or device.group
        if group not in {one.name for one in self._cluster.definition.unified_cm_groups}:
            raise AxlFault("Item not valid: The specified Device Pool was not found", NOT_FOUND)
        mode = device.security_mode
        if wanted := changes.get("securityProfileName"):
            found = [number for number, word in _MODES.items() if f" {word} " in f" {wanted} "]
            if len(found) != 1:
                raise AxlFault("Item not valid: The specified Phone Security Profile was not found", NOT_FOUND)
            mode = found[0]
        return Device(
            device.name,
            device.model,
            mode,
            group,
            changes.get("description", device.description),
            changes.get("loadInformation", device.load),
        )

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


#: What the lab keeps of a phone, and can change.
_KEPT: Final = frozenset({"description", "devicePoolName", "securityProfileName", "loadInformation"})


def identifier(*parts: str) -> str:
    """An object's uuid: the same at every start, and the `pkid` that `run sql` shows."""
    return f"{{{str(uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(parts))).upper()}}}"


def product_of(model: str) -> str:
    """`CP-8841` as the database calls it: `Cisco 8841`."""
    return f"Cisco {model.removeprefix('CP-')}"


def model_of(product: str) -> str:
    """The other way round."""
    return f"CP-{product.removeprefix('Cisco ')}"


def security_profile(device: Device) -> str:
    """The name of a phone's security profile."""
    return f"{product_of(device.model)} - Standard SIP {_MODES[device.security_mode]} Profile"
