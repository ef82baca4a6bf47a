"""Phones as a cluster's database has them, in the detail that creating one elsewhere takes; XML to values and back.

Elements have the names of the vendor's schema: `getPhone` gives an `RPhone`, `addPhone` takes an `XPhone`, `getLine`
and `addLine` an `RLine` and an `XLine`; `list...` give rows of `LPhone`, `LLine` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from lxml import etree

from trustbridge.cucm import soap
from trustbridge.errors import SettingsError


class Kind(StrEnum):
    """What a phone, or a line of it, refers to by name. The words are those of the administration pages."""

    DEVICE_POOL = "device pool"
    TEMPLATE = "phone button template"
    SECURITY_PROFILE = "security profile"
    COMMON_PROFILE = "common phone profile"
    LOCATION = "location"
    CSS = "calling search space"
    SIP_PROFILE = "SIP profile"
    SOFTKEYS = "softkey template"
    USER = "user"
    PARTITION = "partition"


#: The operation that lists a kind, and the element that names one.
LISTS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.DEVICE_POOL: ("listDevicePool", "name"),
    Kind.TEMPLATE: ("listPhoneButtonTemplate", "name"),
    Kind.SECURITY_PROFILE: ("listPhoneSecurityProfile", "name"),
    Kind.COMMON_PROFILE: ("listCommonPhoneConfig", "name"),
    Kind.LOCATION: ("listLocation", "name"),
    Kind.CSS: ("listCss", "name"),
    Kind.SIP_PROFILE: ("listSipProfile", "name"),
    Kind.SOFTKEYS: ("listSoftKeyTemplate", "name"),
    Kind.USER: ("listUser", "userid"),
    Kind.PARTITION: ("listRoutePartition", "name"),
}


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """A line of a phone (`RPhoneLine`): what belongs to the phone, not to the number.

    Attributes:
        index: its button, from 1.
        pattern, partition: the directory number; `partition` is "" for none.
        max_calls, busy_trigger: as the database writes them, "" where it says nothing.
    """

    index: int
    pattern: str
    partition: str = ""
    label: str = ""
    display: str = ""
    display_ascii: str = ""
    mask: str = ""
    max_calls: str = ""
    busy_trigger: str = ""

    @property
    def number(self) -> tuple[str, str]:
        """Pattern and partition: what names a directory number."""
        return self.pattern, self.partition


@dataclass(frozen=True, slots=True)
class DirectoryNumber:
    """A directory number (`RLine`), as far as it is carried to another cluster.

    Attributes:
        css: its own calling search space (`shareLineAppearanceCssName`).
        left: what else is set on it and not carried, in words.
    """

    pattern: str
    partition: str = ""
    description: str = ""
    css: str = ""
    alerting_name: str = ""
    ascii_alerting_name: str = ""
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceDetails:
    """A phone, as far as it is carried to another cluster. Names are "" where the database has none.

    Attributes:
        model: the database's words, such as `Cisco 8841`.
        product: what `addPhone` asks for; mostly the same words.
        left: what else is set on it and not carried, in words; only `getPhone` tells.
    """

    name: str
    model: str
    product: str
    device_class: str = "Phone"
    protocol: str = ""
    description: str = ""
    device_pool: str = ""
    template: str = ""
    security_profile: str = ""
    common_profile: str = ""
    location: str = ""
    css: str = ""
    subscribe_css: str = ""
    sip_profile: str = ""
    softkeys: str = ""
    owner: str = ""
    lines: tuple[DeviceLine, ...] = ()
    left: tuple[str, ...] = ()


#: Names a phone carries: field, element in the schema, kind.
REFERENCES: Final[tuple[tuple[str, str, Kind], ...]] = (
    ("device_pool", "devicePoolName", Kind.DEVICE_POOL),
    ("template", "phoneTemplateName", Kind.TEMPLATE),
    ("security_profile", "securityProfileName", Kind.SECURITY_PROFILE),
    ("common_profile", "commonPhoneConfigName", Kind.COMMON_PROFILE),
    ("location", "locationName", Kind.LOCATION),
    ("css", "callingSearchSpaceName", Kind.CSS),
    ("subscribe_css", "subscribeCallingSearchSpaceName", Kind.CSS),
    ("sip_profile", "sipProfileName", Kind.SIP_PROFILE),
    ("softkeys", "softkeyTemplateName", Kind.SOFTKEYS),
    ("owner", "ownerUserName", Kind.USER),
)
#: Elements of `LPhone` that are asked for.
LISTED: Final = (
    *("name", "description", "product", "model", "class", "protocol"),
    *(element for _, element, _ in REFERENCES),
)
#: What `XPhone` wants beside, in the words of its own defaults; the same in every release of the schema.
_FIXED: Final[Mapping[str, str]] = {
    "class": "Phone",
    "protocolSide": "User",
    "useTrustedRelayPoint": "Default",
    "primaryPhoneName": "",
    "builtInBridgeStatus": "Default",
    "packetCaptureMode": "None",
    "certificateOperation": "No Pending Operation",
    "deviceMobilityMode": "Default",
}
#: Lists of a phone that are not carried: list, element, words.
_LISTS_LEFT: Final = (
    ("speeddials", "speeddial", "speed dials"),
    ("busyLampFields", "busyLampField", "busy lamp fields"),
    ("blfDirectedCallParks", "blfDirectedCallPark", "directed call park buttons"),
    ("services", "service", "subscribed services"),
    ("addOnModules", "addOnModule", "expansion modules"),
)
#: Settings of a phone that are not carried: element, words.
_SETTINGS_LEFT: Final = (
    ("commonDeviceConfigName", "common device configuration"),
    ("mediaResourceListName", "media resource group list"),
    ("automatedAlternateRoutingCssName", "AAR calling search space"),
    ("aarNeighborhoodName", "AAR group"),
    ("rerouteCallingSearchSpaceName", "rerouting calling search space"),
    ("userLocale", "user locale"),
    ("networkLocale", "network locale"),
    ("digestUser", "digest user"),
    ("mobilityUserIdName", "mobility user"),
    ("featureControlPolicy", "feature control policy"),
    ("defaultProfileName", "default extension mobility profile"),
    ("primaryPhoneName", "primary phone"),
)
_LINE_LEFT: Final = (
    ("voiceMailProfileName", "voice mail profile"),
    ("callPickupGroupName", "call pickup group"),
    ("externalCallControlProfile", "external call control profile"),
)
_TRUE: Final = ("true", "t", "1")


def parse_device(element: etree._Element) -> DeviceDetails:
    """A phone from an `RPhone` or an `LPhone`. Total: what is missing or odd is left out."""
    values = soap.fields(element)
    names = {field: values.get(tag, "") for field, tag, _ in REFERENCES}
    lines = (_line(one) for one in soap.children(soap.child(element, "lines"), "line"))
    return DeviceDetails(
        name=values.get("name", ""),
        model=values.get("model", "") or values.get("product", ""),
        product=values.get("product", "") or values.get("model", ""),
        device_class=values.get("class", "") or "Phone",
        protocol=values.get("protocol", ""),
        description=values.get("description", ""),
        lines=tuple(sorted((line for line in lines if line is not None), key=lambda line: line.index)),
        left=tuple(_left(element, values)),
        **names,
    )


def _line(element: etree._Element) -> DeviceLine | None:
    values = soap.fields(element)
    place = values.get("index", "")
    number = soap.child(element, "dirn")
    named = {} if number is None else soap.fields(number)
    if not (place.isascii() and place.isdigit() and len(place) < 6 and named.get("pattern")):
        return None
    return DeviceLine(
        index=int(place),
        pattern=named["pattern"],
        partition=named.get("routePartitionName", ""),
        label=values.get("label", ""),
        display=values.get("display", ""),
        display_ascii=values.get("displayAscii", ""),
        mask=values.get("e164Mask", ""),
        max_calls=values.get("maxNumCalls", ""),
        busy_trigger=values.get("busyTrigger", ""),
    )


def _left(element: etree._Element, values: Mapping[str, str]) -> list[str]:
    found = []
    for several, one, words in _LISTS_LEFT:
        count = len(soap.children(soap.child(element, several), one))
        if count:
            found.append(f"{words}: {count}")
    found += [words for tag, words in _SETTINGS_LEFT if values.get(tag)]
    load = soap.child(element, "loadInformation")
    # `special="false"` is the default load of its model, told for every phone.
    if load is not None and values.get("loadInformation") and load.get("special", "true").lower() in _TRUE:
        found.append("its own phone load")
    if values.get("enableExtensionMobility", "").lower() in _TRUE:
        found.append("extension mobility")
    product_specific = soap.child(element, "vendorConfig")
    if product_specific is not None and any((one.text or "").strip() for one in product_specific):
        found.append("product specific configuration")
    users = sum(soap.local(one) == "enduser" for one in element.iter())
    if users:
        found.append(f"users associated with its lines: {users}")
    return found


def parse_number(element: etree._Element) -> DirectoryNumber:
    """A directory number from an `RLine`. Total."""
    values = soap.fields(element)
    forwards = [
        one
        for one in element
        if soap.local(one).startswith("callForward")
        and (soap.text(one, "destination") or soap.text(one, "forwardToVoiceMail").lower() in _TRUE)
    ]
    left = [words for tag, words in _LINE_LEFT if values.get(tag)]
    if forwards:
        left.append(f"call forwards: {len(forwards)}")
    return DirectoryNumber(
        pattern=values.get("pattern", ""),
        partition=values.get("routePartitionName", ""),
        description=values.get("description", ""),
        css=values.get("shareLineAppearanceCssName", ""),
        alerting_name=values.get("alertingName", ""),
        ascii_alerting_name=values.get("asciiAlertingName", ""),
        left=tuple(left),
    )


def phone_values(device: DeviceDetails) -> dict[str, Any]:
    """The elements of `addPhone` (`XPhone`) for a phone; what is "" is left to the cluster's own default."""
    names = {tag: name for field, tag, _ in REFERENCES if (name := getattr(device, field))}
    values: dict[str, Any] = {
        **_FIXED,
        "name": device.name,
        "product": device.product,
        "protocol": device.protocol,
        **names,
    }
    if device.description:
        values["description"] = device.description
    if device.lines:
        values["lines"] = {"line": [_line_values(line) for line in device.lines]}
    return values


def _line_values(line: DeviceLine) -> dict[str, Any]:
    optional = {
        "label": line.label,
        "display": line.display,
        "displayAscii": line.display_ascii,
        "e164Mask": line.mask,
        "maxNumCalls": line.max_calls,
        "busyTrigger": line.busy_trigger,
    }
    return {
        "index": line.index,
        "dirn": {"pattern": line.pattern, "routePartitionName": line.partition},
        **{tag: value for tag, value in optional.items() if value},
    }


def number_values(number: DirectoryNumber) -> dict[str, Any]:
    """The elements of `addLine` (`XLine`) for a directory number."""
    optional = {
        "description": number.description,
        "shareLineAppearanceCssName": number.css,
        "alertingName": number.alerting_name,
        "asciiAlertingName": number.ascii_alerting_name,
    }
    return {
        "pattern": number.pattern,
        "usage": "Device",
        "routePartitionName": number.partition,
        **{tag: value for tag, value in optional.items() if value},
    }


def device_json(device: DeviceDetails) -> dict[str, Any]:
    """For a record; `device_from_json` reads it."""
    found = {field.name: getattr(device, field.name) for field in fields(device)}
    lines = [{field.name: getattr(line, field.name) for field in fields(line)} for line in device.lines]
    return {**found, "lines": lines, "left": list(device.left)}


def device_from_json(kept: Mapping[str, Any]) -> DeviceDetails:
    """Read what `device_json` gave.

    Raises:
        ValueError, TypeError, KeyError: it is something else.
    """
    lines = tuple(DeviceLine(**line) for line in kept["lines"])
    left = tuple(str(one) for one in kept["left"])
    rest = {name: value for name, value in kept.items() if name not in ("lines", "left")}
    if not all(isinstance(value, str) for value in rest.values()):
        raise TypeError("a field of a phone is no text")
    for line in lines:
        texts = [getattr(line, field.name) for field in fields(line) if field.name != "index"]
        if not isinstance(line.index, int) or not all(isinstance(text, str) for text in texts):
            raise TypeError("a line of a phone is none")
    return DeviceDetails(**rest, lines=lines, left=left)


# Queries.

_QUOTED: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
#: Comments of the database's dialect, in its three forms: what they hide can't be judged.
_COMMENT: Final = re.compile(r"--|/\*|\{")


def one_select(query: str) -> str:
    """A query that may be sent: a single `select` that keeps nothing.

    Raises:
        SettingsError: it is something else.
    """
    statement = query.strip().removesuffix(";").rstrip()
    bare = _QUOTED.sub("''", statement)
    words = re.findall(r"\w+", bare.lower())
    fault = None
    if not words or words[0] != "select" or not bare.lower().startswith("select"):
        fault = "it is no select"
    elif ";" in bare:
        fault = "it is more than one statement"
    elif "'" in bare.replace("''", "") or '"' in bare:
        fault = "a quotation mark in it is never closed"
    elif _COMMENT.search(bare):
        fault = "there is a comment in it"
    elif "into" in words:
        fault = "`into` keeps rows in a table"
    elif any(character < " " and character not in "\t\r\n" for character in statement):
        fault = "there is a character in it that can't be sent"
    if fault is not None:
        raise SettingsError(f"this query is not sent: {fault}", "One select, such as: select name from device")
    return statement
