"""Phones as CSV for the vendor's Bulk Administration Tool: Phones, Insert Phones, with the file format "Default Phone".

Columns as the vendor's guide shows them in its sample of a data file with the default format ("Bulk Administration
Guide", "CSV Data File and Custom File Formats"): MAC ADDRESS, DESCRIPTION, LOCATION, USER ID, and then, for each line,
DIRECTORY NUMBER n to CALL PICKUP GROUP n. UNVERIFIED: that every release has them in this order, that lines repeat this
way, and that the sample's columns for speed dials may be left out. Each release offers its own sample beside the page:
that one counts.

All phones of a file are of one model and one BAT phone template, which brings whatever has no column: so one file for
each combination of those. A cell that is empty takes the template's value.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from trustbridge.cucm.devices import DeviceDetails, DeviceLine

_DEVICE: Final = ("MAC ADDRESS", "DESCRIPTION", "LOCATION", "USER ID")
_LINE: Final = (
    "DIRECTORY NUMBER",
    "DISPLAY",
    "LINE TEXT LABEL",
    "FORWARD BUSY EXTERNAL",
    "FORWARD NO ANSWER EXTERNAL",
    "FORWARD NO COVERAGE EXTERNAL",
    "FORWARD BUSY INTERNAL",
    "FORWARD NO ANSWER INTERNAL",
    "FORWARD NO COVERAGE INTERNAL",
    "CALL PICKUP GROUP",
)


@dataclass(frozen=True, slots=True)
class Template:
    """What a BAT phone template has to say for the phones of a file; in the administration pages' words by `settings`.

    Attributes:
        partitions: of its lines, first line first; "" for none.
    """

    model: str
    protocol: str
    device_pool: str
    template: str
    security_profile: str
    common_profile: str
    css: str
    subscribe_css: str
    sip_profile: str
    softkeys: str
    partitions: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, str]:
        """What to set in the template, by the name of the field there."""
        named = {
            "Phone Type": self.model,
            "Protocol": self.protocol,
            "Device Pool": self.device_pool,
            "Phone Button Template": self.template,
            "Device Security Profile": self.security_profile,
            "Common Phone Profile": self.common_profile,
            "Calling Search Space": self.css,
            "SUBSCRIBE Calling Search Space": self.subscribe_css,
            "SIP Profile": self.sip_profile,
            "Softkey Template": self.softkeys,
        }
        lines = {f"Line {n}, Route Partition": one or "<None>" for n, one in enumerate(self.partitions, start=1)}
        return {name: value for name, value in named.items() if value} | lines


def template_for(device: DeviceDetails) -> Template:
    """The template that a phone's file needs."""
    by_place = {line.index: line.partition for line in device.lines}
    return Template(
        model=device.product,
        protocol=device.protocol,
        device_pool=device.device_pool,
        template=device.template,
        security_profile=device.security_profile,
        common_profile=device.common_profile,
        css=device.css,
        subscribe_css=device.subscribe_css,
        sip_profile=device.sip_profile,
        softkeys=device.softkeys,
        partitions=tuple(by_place.get(place, "") for place in range(1, max(by_place, default=0) + 1)),
    )


def files(devices: Iterable[DeviceDetails]) -> list[tuple[Template, str]]:
    """What to insert: for each template, the text of its file. Phones are wanted as the destination is to have them."""
    groups: dict[Template, list[DeviceDetails]] = {}
    for device in sorted(devices, key=lambda one: one.name):
        groups.setdefault(template_for(device), []).append(device)
    return [(template, _file(template, members)) for template, members in groups.items()]


def _file(template: Template, devices: Sequence[DeviceDetails]) -> str:
    # No byte order mark, no blank line: the vendor asks for both. Commas are quoted, as its own spreadsheet does.
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    places = range(1, len(template.partitions) + 1)
    writer.writerow([*_DEVICE, *(f"{name} {place}" for place in places for name in _LINE)])
    for device in devices:
        by_place = {line.index: line for line in device.lines}
        cells = [device.name.removeprefix("SEP"), _one_line(device.description), device.location, ""]
        for place in places:
            cells += _cells(by_place.get(place))
        writer.writerow(cells)
    return made.getvalue()


def _cells(line: DeviceLine | None) -> list[str]:
    shown = ["", "", ""] if line is None else [line.pattern, line.display, line.label]
    return [*map(_one_line, shown), *[""] * (len(_LINE) - len(shown))]


def _one_line(text: str) -> str:
    """A line end within a cell would end the record."""
    return " ".join(text.splitlines())
