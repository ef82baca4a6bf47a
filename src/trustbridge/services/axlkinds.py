"""The kinds of object that AXL knows, as the vendor's schema has them: fields in its order, and how one is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object.

    Attributes:
        listed, got: fields that `list...` and `get...` can return, in the schema's order.
        criteria: fields to search by.
        keys: combinations of fields that name one.
        words: what a fault calls it.
        since: the first schema that has it.
    """

    listed: tuple[str, ...]
    got: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ("name",)
    keys: tuple[str, ...] = ("name",)
    words: str = ""
    since: tuple[int, ...] = ()


_PHONE: Final = (
    *("name", "description", "product", "model", "class", "protocol", "protocolSide", "callingSearchSpaceName"),
    *("devicePoolName", "commonPhoneConfigName", "locationName", "loadInformation", "securityProfileName"),
    "sipProfileName",
)
_PHONE_END: Final = ("phoneTemplateName", "softkeyTemplateName", "ownerUserName", "subscribeCallingSearchSpaceName")
_TVS: Final = ("subjectName", "issuerName", "serialNumber", "timeToLive", "ipv4Address", "ipv6Address")
_DHCP: Final = (
    *("subnetIpAddress", "primaryStartIpAddress", "primaryEndIpAddress", "primaryRouterIpAddress", "subnetMask"),
    *("tftpServerName", "primaryTftpServerIpAddress", "secondaryTftpServerIpAddress"),
)
KINDS: Final[Mapping[str, Kind]] = {
    "processNode": Kind(
        ("name", "description", "nodeUsage", "processNodeRole"), criteria=("name", "description", "processNodeRole")
    ),
    "processNodeService": Kind(
        ("processNodeName", "service", "enable", "isActive"), criteria=("processNodeName",), keys=()
    ),
    "callManagerGroup": Kind(("name", "tftpDefault"), ("name", "tftpDefault", "members"), words="Call Manager Group"),
    "phone": Kind(
        (*_PHONE, *_PHONE_END),
        (*_PHONE, "lines", *_PHONE_END),
        criteria=(
            *("name", "description", "protocol", "callingSearchSpaceName"),
            *("devicePoolName", "securityProfileName"),
        ),
        words="Phone",
    ),
    "line": Kind(
        ("pattern", "description", "usage", "routePartitionName"),
        (
            *("pattern", "description", "usage", "routePartitionName", "alertingName", "asciiAlertingName"),
            "shareLineAppearanceCssName",
        ),
        criteria=("pattern", "description", "usage", "routePartitionName"),
        keys=("pattern", "routePartitionName"),
        words="Directory Number",
    ),
    "devicePool": Kind(("name", "callManagerGroupName"), words="Device Pool"),
    "phoneButtonTemplate": Kind(("name",), words="Phone Button Template"),
    "phoneSecurityProfile": Kind(
        ("phoneType", "protocol", "name", "description", "deviceSecurityMode"),
        criteria=("name", "description"),
        words="Phone Security Profile",
    ),
    "location": Kind(("name",), words="Location"),
    "commonPhoneConfig": Kind(("name",), words="Common Phone Profile"),
    "routePartition": Kind(("name",), words="Route Partition"),
    "css": Kind(("name",), words="Calling Search Space"),
    "softKeyTemplate": Kind(("name",), words="Softkey Template"),
    "sipProfile": Kind(("name",), words="SIP Profile"),
    "user": Kind(("userid",), criteria=("userid",), keys=("userid",), words="End User"),
    "tvsCertificate": Kind(
        _TVS,
        (*_TVS, "roles", "services"),
        criteria=("subjectName", "issuerName", "serialNumber", "timeToLive"),
        keys=("issuerName", "serialNumber"),
        words="TVS Certificate",
    ),
    "registrationDynamic": Kind(
        ("device", "lastKnownIpAddress", "lastKnownUcm", "lastKnownConfigVersion", "lastSeen"),
        criteria=("device",),
        keys=("device",),
        since=(11, 5),
    ),
    "dhcpSubnet": Kind(
        _DHCP,
        criteria=("dhcpServerName", "subnetIpAddress"),
        keys=("dhcpServerName", "subnetIpAddress"),
        words="DHCP Subnet",
    ),
}
