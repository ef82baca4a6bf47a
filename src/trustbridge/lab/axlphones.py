"""Phones of a lab cluster over AXL: read in detail, created, changed, removed; and what they can refer to."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from trustbridge.lab.cluster import Cluster, Device
from trustbridge.lab.phonedetails import (
    COMMON_PROFILE,
    HUB,
    MODE_WORDS,
    SIP_PROFILE,
    PhoneDetails,
    mode_in,
    model_of,
    names,
    product_of,
    profile_of,
    template_of,
)
from trustbridge.services.axl import DUPLICATE, INVALID, NOT_FOUND, NOT_KEPT, AxlFault, Inner, Reference, Row
from trustbridge.services.axlkinds import KINDS
from trustbridge.trust.configuration import SECURITY_INSECURE

_PHONE_NAME = re.compile(r"SEP[0-9A-F]{12}")
_PATTERN = re.compile(r"\\?\+?[0-9*#A-D\[\]^.X!-]{1,50}")
#: What a phone names: field of the schema, kind of object.
_REFERS: Final = {
    "devicePoolName": "devicePool",
    "phoneTemplateName": "phoneButtonTemplate",
    "securityProfileName": "phoneSecurityProfile",
    "locationName": "location",
    "commonPhoneConfigName": "commonPhoneConfig",
    "sipProfileName": "sipProfile",
    "softkeyTemplateName": "softKeyTemplate",
    "callingSearchSpaceName": "css",
    "subscribeCallingSearchSpaceName": "css",
    "ownerUserName": "user",
}
#: Those that are kept with the device itself, because phones register by them.
_OF_THE_DEVICE: Final = frozenset({"description", "devicePoolName", "securityProfileName", "loadInformation"})
_KEPT: Final = _OF_THE_DEVICE | _REFERS.keys()
#: The schema's order of a line's fields (RPhoneLine).
_LINE: Final = ("index", "label", "display", "dirn", "displayAscii", "e164Mask", "maxNumCalls", "busyTrigger")
_NUMBER: Final = ("description", "alertingName", "asciiAlertingName", "shareLineAppearanceCssName")


class AxlPhones:
    """Phones, directory numbers and what they refer to, over a cluster's state."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._like: dict[tuple[str, int, str], Row] = {}

    # Reading.

    def rows(self, kind: str) -> Sequence[Row]:
        """All objects of a kind."""
        match kind:
            case "phone":
                return [self._phone(device) for _, device in sorted(self._cluster.devices.items())]
            case "line":
                return [self._number(number) for _, number in sorted(self._cluster.details.numbers.items())]
            case "phoneSecurityProfile":
                return [self._profile(name) for name in self._names(kind)]
            case "user":
                return [{"uuid": identifier("enduser", name), "userid": name} for name in self._names(kind)]
            case "devicePool":
                return [
                    {
                        "uuid": identifier("devicepool", name),
                        "name": name,
                        "callManagerGroupName": Reference(name, identifier("callmanagergroup", name)),
                    }
                    for name in self._names(kind)
                ]
        return [{"uuid": identifier(kind.lower(), name), "name": name} for name in self._names(kind)]

    def _names(self, kind: str) -> tuple[str, ...]:
        models = frozenset(device.model for device in self._cluster.devices.values())
        return names(self._cluster.definition, kind, models)

    def phone(self, name: str) -> Row | None:
        """A phone by its name, in either case, with its lines."""
        devices = self._cluster.devices
        device = devices.get(name) or devices.get(name.upper())
        if device is None:
            return None
        lines = [self._line(device.name, line) for line in self._cluster.details.of(device.name).lines]
        return {**self._phone(device), "lines": {"line": lines}}

    def _phone(self, device: Device) -> Row:
        """Without its lines. What phones of a kind have in common is made once."""
        kind = (device.model, device.security_mode, device.group)
        common = self._like.get(kind)
        if common is None:
            common = self._like[kind] = self._usual(device)
        more = self._cluster.details.of(device.name).fields
        return {
            **common,
            "uuid": identifier("device", device.name),
            "name": device.name,
            "description": device.description,
            "loadInformation": device.load,
            **{field: Reference(value) for field, value in more.items()},
        }

    def _usual(self, device: Device) -> Row:
        product = product_of(device.model)
        return {
            "product": product,
            "model": product,
            "class": "Phone",
            "protocol": "SIP",
            "protocolSide": "User",
            "callingSearchSpaceName": Reference(""),
            "devicePoolName": Reference(device.group, identifier("devicepool", device.group)),
            "commonPhoneConfigName": Reference(COMMON_PROFILE),
            "locationName": Reference(HUB),
            "securityProfileName": Reference(security_profile(device)),
            "sipProfileName": Reference(SIP_PROFILE),
            "phoneTemplateName": Reference(template_of(device.model)),
            "softkeyTemplateName": Reference(""),
            "ownerUserName": Reference(""),
            "subscribeCallingSearchSpaceName": Reference(""),
        }

    def _line(self, name: str, line: Mapping[str, str]) -> Row:
        partition = line["routePartitionName"]
        number: dict[str, str | Reference] = {"pattern": line["pattern"], "routePartitionName": Reference(partition)}
        values: dict[str, str | Inner] = {
            "uuid": identifier("devicenumplanmap", name, line["index"]),
            "maxNumCalls": "4",
            "busyTrigger": "2",
            **{field: line[field] for field in _LINE if field in line},
        }
        values["dirn"] = Inner({"uuid": identifier("numplan", line["pattern"], partition), **number})
        return {field: values[field] for field in ("uuid", *_LINE) if field in values}

    def line(self, pattern: str, partition: str) -> Row | None:
        """A directory number."""
        number = self._cluster.details.numbers.get((pattern, partition))
        return None if number is None else self._number(number)

    def _number(self, number: Mapping[str, str]) -> Row:
        return {
            "uuid": identifier("numplan", number["pattern"], number["routePartitionName"]),
            "pattern": number["pattern"],
            "usage": "Device",
            "routePartitionName": Reference(number["routePartitionName"]),
            **{field: number.get(field, "") for field in _NUMBER},
        }

    def _profile(self, name: str) -> Row:
        mode = mode_in(name)
        assert mode is not None  # the definition has checked it
        return {
            "uuid": identifier("securityprofile", name),
            "protocol": "SIP",
            "name": name,
            "description": name,
            "deviceSecurityMode": MODE_WORDS[mode].replace("-", " "),
        }

    # Changing.

    def add(self, fields: Mapping[str, str], lines: Iterable[Mapping[str, str]]) -> str:
        """Create a phone; its uuid."""
        name = fields.get("name", "").upper()
        if not _PHONE_NAME.fullmatch(name):
            raise AxlFault(f"Device Name {name!r} must be SEP and 12 hexadecimal digits", INVALID)
        if name in self._cluster.devices:
            raise _duplicate()
        product = fields.get("product", "") or fields.get("model", "")
        if not product:
            raise AxlFault("The product is missing", INVALID)
        if fields.get("protocol", "SIP") != "SIP":
            raise AxlFault(f"a lab's phones speak SIP, not {fields['protocol']}", NOT_KEPT)
        group = self._cluster.definition.unified_cm_groups[0].name
        device = Device(name, model_of(product), SECURITY_INSECURE, group)
        kept = {key: value for key, value in fields.items() if key in _KEPT and value}
        placed = tuple(self._checked(line) for line in lines)
        if len({line["index"] for line in placed}) != len(placed):
            raise AxlFault("two lines of one index", INVALID)
        self._keep(device, PhoneDetails(lines=placed), kept)
        return identifier("device", name)

    def _checked(self, line: Mapping[str, str]) -> dict[str, str]:
        number = (line.get("pattern", ""), line.get("routePartitionName", ""))
        # UNVERIFIED: a cluster may create the number with its own defaults. The lab wants to be told, by addLine.
        if number not in self._cluster.details.numbers:
            raise AxlFault("Item not valid: The specified Directory Number was not found", NOT_FOUND)
        if not (line.get("index", "").isdecimal()):
            raise AxlFault("a line needs an index", INVALID)
        kept = {field: line[field] for field in _LINE if line.get(field)}
        return {**kept, "pattern": number[0], "routePartitionName": number[1]}

    def update(self, name: str, changes: Mapping[str, str]) -> None:
        """Change a phone; what the lab could not keep is refused."""
        foreign = sorted(changes.keys() - _KEPT)
        if foreign:
            raise AxlFault(f"the lab keeps no {', '.join(foreign)}", NOT_KEPT)
        self._keep(self._cluster.devices[name], self._cluster.details.of(name), changes)

    def _keep(self, device: Device, details: PhoneDetails, changes: Mapping[str, str]) -> None:
        models = frozenset({device.model})
        for field, kind in _REFERS.items():
            value = changes.get(field, "")
            if value and value not in names(self._cluster.definition, kind, models):
                raise AxlFault(f"Item not valid: The specified {KINDS[kind].words} was not found", NOT_FOUND)
        fields = dict(details.fields)
        mode = device.security_mode
        if profile := changes.get("securityProfileName", ""):
            found = mode_in(profile)
            assert found is not None  # it is one of those that were checked
            mode = found
            fields.pop("securityProfileName", None)
            if profile != profile_of(device.model, mode):
                fields["securityProfileName"] = profile
        for field in changes.keys() - _OF_THE_DEVICE:
            fields[field] = changes[field]
        changed = replace(
            device,
            security_mode=mode,
            group=changes.get("devicePoolName") or device.group,
            description=changes.get("description", device.description),
            load=changes.get("loadInformation", device.load),
        )
        usual = self._usual(changed)
        more = {field: value for field, value in fields.items() if Reference(value) != usual[field]}
        self._cluster.details.keep({device.name: PhoneDetails(more, details.lines)}, {})
        self._cluster.add_devices([changed])

    def remove(self, name: str) -> None:
        """Remove a phone; its directory numbers stay."""
        self._cluster.remove_devices([name])
        self._cluster.details.forget(name)

    def add_line(self, fields: Mapping[str, str]) -> str:
        """Create a directory number; its uuid."""
        pattern, partition = fields.get("pattern", ""), fields.get("routePartitionName", "")
        if not _PATTERN.fullmatch(pattern):
            raise AxlFault(f"Directory Number {pattern!r} is not valid", INVALID)
        if fields.get("usage") != "Device":
            raise AxlFault("a lab's lines are those of devices", NOT_KEPT)
        for value, kind in ((partition, "routePartition"), (fields.get("shareLineAppearanceCssName", ""), "css")):
            if value and value not in names(self._cluster.definition, kind):
                raise AxlFault(f"Item not valid: The specified {KINDS[kind].words} was not found", NOT_FOUND)
        if (pattern, partition) in self._cluster.details.numbers:
            raise _duplicate()
        number = {field: fields[field] for field in _NUMBER if fields.get(field)}
        number |= {"pattern": pattern, "routePartitionName": partition}
        self._cluster.details.keep({}, {(pattern, partition): number})
        return identifier("numplan", pattern, partition)


def _duplicate() -> AxlFault:
    return AxlFault("Could not insert new row - duplicate value in a UNIQUE INDEX column (Unique Index:).", DUPLICATE)


def identifier(*parts: str) -> str:
    """An object's uuid: the same at every start, and the `pkid` that `run sql` shows."""
    return f"{{{str(uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(parts))).upper()}}}"


def security_profile(device: Device) -> str:
    """The name of a phone's security profile, where nobody has given it another one."""
    return profile_of(device.model, device.security_mode)
