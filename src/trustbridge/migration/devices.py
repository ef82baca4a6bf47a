"""Which phones a destination knows, what it has of them, and what stands against creating those it does not. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from trustbridge.cucm.devices import REFERENCES, DeviceDetails, DirectoryNumber, Kind
from trustbridge.errors import SettingsError

#: What is carried of a phone, and what is not: in words, for help, preview and page.
CARRIED: Final = (
    "name, model, protocol, description, device pool, phone button template, security profile, common phone profile, "
    "location, calling search space, subscribe calling search space, SIP profile, softkey template, and the owner "
    "where the destination has a user of that name"
)
CARRIED_LINES: Final = (
    "of a line: its button, label, display, external mask, limits of calls; of its directory number: partition, "
    "description, calling search space, alerting names"
)
NOT_CARRIED: Final = (
    "speed dials, busy lamp fields, subscribed services, expansion modules, extension mobility and its profiles, "
    "product specific configuration, phone load, media resources, locales, AAR, mobility, digest user, users "
    "associated with a line or controlling the phone by CTI; of a directory number: forwards, voice mail, pickup "
    "groups, URIs; and no LSC: a secured phone keeps the source's, and enrols anew with the destination's CAPF"
)

#: Words of `--map`, and the kind of name that each translates.
MAPPED: Final[Mapping[str, Kind]] = {
    "device-pool": Kind.DEVICE_POOL,
    "template": Kind.TEMPLATE,
    "location": Kind.LOCATION,
    "security-profile": Kind.SECURITY_PROFILE,
    "common-profile": Kind.COMMON_PROFILE,
    "sip-profile": Kind.SIP_PROFILE,
    "softkey-template": Kind.SOFTKEYS,
    "css": Kind.CSS,
    "partition": Kind.PARTITION,
    "user": Kind.USER,
}

Translations = Mapping[tuple[Kind, str], str]
Numbers = Mapping[tuple[str, str], DirectoryNumber]


class Standing(StrEnum):
    """How a phone of the source stands at the destination."""

    KNOWN = "known"
    DIFFERS = "differs"
    MISSING = "missing"  # it can be created
    BLOCKED = "blocked"  # it is missing, and can't be created as things are


@dataclass(frozen=True, slots=True)
class There:
    """What the destination has.

    Attributes:
        devices: its phones by name; lines are not needed.
        names: by kind; a kind that is not there was not asked for, because nothing refers to it.
        modes: security profiles, with the mode of each.
        numbers: directory numbers that exist, by pattern and partition.
    """

    devices: Mapping[str, DeviceDetails]
    names: Mapping[Kind, frozenset[str]] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    numbers: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One phone at both clusters.

    Attributes:
        device: as the source has it.
        wanted: as it would be created, names translated; None where the destination knows it.
        numbers: directory numbers that would be created first.
        differences: between what both have of it, where that matters to registering.
        against: what keeps it from being created.
        notes: what else should be known: what stands against its lines, what is set on it and is not carried.
    """

    name: str
    standing: Standing
    device: DeviceDetails
    wanted: DeviceDetails | None = None
    numbers: tuple[DirectoryNumber, ...] = ()
    differences: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def names_of(rows: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """Names of phones in the answer to a query: its column `name`, or its only column.

    Raises:
        SettingsError: it has neither; or it gives no names.
    """
    found: dict[str, None] = {}
    for row in rows:
        columns = {column.casefold(): value for column, value in row.items()}
        if "name" in columns:
            name = columns["name"]
        elif len(columns) == 1:
            name = next(iter(columns.values()))
        else:
            raise SettingsError(
                f"the query gives {', '.join(row) or 'no columns'}, and none of them is called name",
                "Let it select one column, or call one of them name: select d.name as name, ...",
            )
        if name.strip():
            found[name.strip()] = None
    if not found:
        raise SettingsError("the query gives no phones", "Try it on the publisher: run sql select ...")
    return tuple(found)


def translations(texts: Iterable[str]) -> dict[tuple[Kind, str], str]:
    """Read `KIND:OLD=NEW`, such as `device-pool:Warsaw=WAW`.

    Raises:
        SettingsError: one is not of that form, or a name is translated twice.
    """
    found: dict[tuple[Kind, str], str] = {}
    for text in texts:
        word, colon, rest = text.partition(":")
        old, sign, new = rest.partition("=")
        if not (colon and sign and old and new) or word not in MAPPED:
            raise SettingsError(
                f"--map {text!r:.100}: KIND:OLD=NEW is expected", f"KIND is one of {', '.join(MAPPED)}."
            )
        if found.setdefault((MAPPED[word], old), new) != new:
            raise SettingsError(f"--map translates {word} {old} twice", "Name it once.")
    return found


def translated(device: DeviceDetails, maps: Translations, *, lines: bool) -> DeviceDetails:
    """A phone with the destination's names; without its lines, unless they are wanted."""
    changed = {name: maps.get((kind, old), old) for name, _, kind in REFERENCES if (old := getattr(device, name))}
    kept = tuple(
        replace(line, partition=maps.get((Kind.PARTITION, line.partition), line.partition)) for line in device.lines
    )
    return replace(device, lines=kept if lines else (), left=(), **changed)


def translated_number(number: DirectoryNumber, maps: Translations) -> DirectoryNumber:
    """A directory number with the destination's names."""
    return replace(
        number,
        partition=maps.get((Kind.PARTITION, number.partition), number.partition),
        css=maps.get((Kind.CSS, number.css), number.css),
        left=(),
    )


def unused(maps: Translations, sources: Sequence[DeviceDetails], there: There, numbers: Numbers) -> list[str]:
    """Translations that no phone has a use for, in words: a name that is mistyped translates nothing.

    Lines are read of phones that the destination does not know. Where it knows some, nothing is said of what only lines
    name.
    """
    used = {(kind, getattr(device, name)) for device in sources for name, _, kind in REFERENCES}
    used |= {(Kind.PARTITION, line.partition) for device in sources for line in device.lines}
    used |= {(Kind.CSS, number.css) for number in numbers.values()}
    some_known = any(device.name in there.devices for device in sources)
    silent = (Kind.PARTITION, Kind.CSS) if some_known else ()
    return [f"{kind} {old}" for kind, old in maps if (kind, old) not in used and kind not in silent]


def compare(
    sources: Sequence[DeviceDetails],
    there: There,
    *,
    modes: Mapping[str, str],
    numbers: Numbers,
    maps: Translations,
    lines: bool,
    ours: frozenset[tuple[str, str]] = frozenset(),
) -> list[Comparison]:
    """How phones of the source stand at the destination, by name.

    Args:
        sources: of those that the destination does not know, with their lines.
        modes: the source's security profiles, with the mode of each.
        numbers: the source's directory numbers of these lines.
        lines: whether phones are to be created with their lines.
        ours: directory numbers at the destination that were created for these phones.
    """
    return [
        _known(device, there.devices[device.name], modes, there.modes)
        if device.name in there.devices
        else _missing(device, there, numbers, maps, lines, ours)
        for device in sorted(sources, key=lambda one: one.name)
    ]


def _known(
    here: DeviceDetails, there: DeviceDetails, modes: Mapping[str, str], modes_there: Mapping[str, str]
) -> Comparison:
    security = (
        modes.get(here.security_profile, here.security_profile),
        modes_there.get(there.security_profile, there.security_profile),
    )
    pairs = (
        ("model", (here.model, there.model)),
        ("protocol", (here.protocol, there.protocol)),
        ("security mode", security),
    )
    differences = tuple(
        f"{what}: {one or 'none'} at the source, {other or 'none'} at the destination"
        for what, (one, other) in pairs
        if one != other
    )
    return Comparison(here.name, Standing.DIFFERS if differences else Standing.KNOWN, here, differences=differences)


def _missing(
    device: DeviceDetails,
    there: There,
    numbers: Numbers,
    maps: Translations,
    lines: bool,
    ours: frozenset[tuple[str, str]],
) -> Comparison:
    wanted = translated(device, maps, lines=lines)
    against, notes = [], []
    if wanted.owner and wanted.owner not in there.names.get(Kind.USER, frozenset()):
        notes.append(f"its owner is not carried: the destination has no user {wanted.owner}")
        wanted = replace(wanted, owner="")
    for name, _, kind in REFERENCES:
        called = getattr(wanted, name)
        if called and kind is not Kind.USER and called not in there.names.get(kind, frozenset()):
            against.append(f"no {kind} {called}")
    for name, kind in (("device_pool", Kind.DEVICE_POOL), ("template", Kind.TEMPLATE), ("location", Kind.LOCATION)):
        if not getattr(wanted, name):
            against.append(f"the source names no {kind}")
    if device.device_class != "Phone":
        against.append(f"it is a {device.device_class}, not a Phone")
    made, obstacles = _lines(device, there, numbers, maps, ours)
    if lines:
        against += obstacles
        notes += [f"{number.pattern}: {one} not carried" for number in made for one in _left(numbers, device, number)]
    elif device.lines:
        count = len(device.lines)
        notes.append(f"created without its {count} line{'s' * (count != 1)}")
        notes += [f"with --lines: {one}" for one in obstacles]
    notes += [f"not carried: {one}" for one in device.left]
    blocked = tuple(dict.fromkeys(against))
    return Comparison(
        device.name,
        Standing.BLOCKED if blocked else Standing.MISSING,
        device,
        wanted,
        tuple(made) if lines else (),
        against=blocked,
        notes=tuple(dict.fromkeys(notes)),
    )


def _left(numbers: Numbers, device: DeviceDetails, made: DirectoryNumber) -> tuple[str, ...]:
    return next(
        (
            found.left
            for line in device.lines
            if line.pattern == made.pattern and (found := numbers.get(line.number)) is not None
        ),
        (),
    )


def _lines(
    device: DeviceDetails, there: There, numbers: Numbers, maps: Translations, ours: frozenset[tuple[str, str]]
) -> tuple[list[DirectoryNumber], list[str]]:
    """Directory numbers to be created for a phone's lines, and what stands against that."""
    made: list[DirectoryNumber] = []
    against = []
    for line in device.lines:
        found = numbers.get(line.number)
        if found is None:
            against.append(f"the source does not tell its directory number {line.pattern}")
            continue
        number = translated_number(found, maps)
        place = f"directory number {number.pattern} in {number.partition or 'no partition'}"
        for called, kind in ((number.partition, Kind.PARTITION), (number.css, Kind.CSS)):
            if called and called not in there.names.get(kind, frozenset()):
                against.append(f"no {kind} {called}, for {place}")
        key = (number.pattern, number.partition)
        if key in there.numbers and key not in ours:
            against.append(f"{place} is there already")
        if number not in made:
            made.append(number)
    return made, against


def matches(wanted: DeviceDetails, found: DeviceDetails) -> bool:
    """Whether a phone is as it was asked for: what was left to the cluster's default may be anything."""
    names = ("name", "product", "protocol", "description", *(name for name, _, _ in REFERENCES))
    same = all(getattr(wanted, name) in ("", getattr(found, name)) for name in names)
    lines = [(line.index, line.number) for line in wanted.lines]
    return same and lines == [(line.index, line.number) for line in found.lines]


def changes(created: DeviceDetails, found: DeviceDetails) -> tuple[str, ...]:
    """What is other on a phone than when it was created, in words; what is not carried is looked at as well."""
    words = {name: str(kind) for name, _, kind in REFERENCES} | {"left": "what is set beside", "lines": "lines"}
    return tuple(
        words.get(name, name.replace("_", " "))
        for name in DeviceDetails.__slots__
        if getattr(created, name) != getattr(found, name)
    )


def counted(comparisons: Iterable[Comparison]) -> dict[Standing, int]:
    """How many phones stand how."""
    found = Counter(one.standing for one in comparisons)
    return {standing: found[standing] for standing in Standing}
