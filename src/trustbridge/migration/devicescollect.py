"""What comparing phones of two clusters takes, read from both. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.devices import DeviceDetails, DirectoryNumber, Kind
from trustbridge.migration.campaignplan import Selection, select
from trustbridge.migration.devices import There, Translations, names_of, translated
from trustbridge.migration.phonecollect import collect_phones, model_named_by
from trustbridge.migration.phonefacts import PhoneFacts

#: Told (what, done, total).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Both:
    """The source's phones that are meant, and what the destination has.

    Attributes:
        sources: with their lines, where the destination does not know them.
        modes: the source's security profiles, with the mode of each.
        numbers: the source's directory numbers of those lines.
    """

    sources: tuple[DeviceDetails, ...]
    modes: dict[str, str]
    numbers: dict[tuple[str, str], DirectoryNumber]
    there: There


async def collect(
    source: Cluster, destination: Cluster, selection: Selection, *, sql: str, maps: Translations, progress: Progress
) -> Both:
    """Read both clusters. Of phones that both know, a row of a list; of the others, one or two requests each.

    Args:
        sql: a select over the source's database that names phones; "" for none.

    Raises:
        SettingsError: no phone is meant.
        TrustbridgeError: a cluster does not tell.
    """
    progress(f"phones of {source.name}", 0, 1)
    if sql:
        named = frozenset(name.upper() for name in names_of(await source.sql(sql)))
        selection = replace(selection, listed=named if selection.listed is None else named & selection.listed)
    here = {device.name: device async for device in source.devices()}
    if selection.subnets or selection.statuses:  # only RisPort70 tells
        facts = await collect_phones(source, pages=False, configurations="none", progress=progress)
    else:
        facts = [_facts(device) for device in here.values()]
    chosen = [here[fact.name] for fact in select(facts, selection) if fact.name in here]
    progress(f"phones of {destination.name}", 0, 1)
    there = {device.name: device async for device in destination.devices()}
    missing = [device.name for device in chosen if device.name not in there]
    details = await source.device_details(
        missing, lambda done: progress(f"details from {source.name}", done, len(missing))
    )
    sources = tuple(details.get(device.name, device) for device in chosen)
    lines = {line.number for name in missing if name in details for line in details[name].lines}
    numbers = await source.number_details(sorted(lines))
    modes = await destination.security_profiles()
    wanted = [translated(details[name], maps, lines=True) for name in missing if name in details]
    names = {Kind.SECURITY_PROFILE: frozenset(modes)}
    if wanted:
        kinds: list[Kind] = [kind for kind in Kind if kind not in (Kind.SECURITY_PROFILE, Kind.USER)]
        if any(device.owner for device in wanted):  # there may be a hundred thousand of them
            kinds.append(Kind.USER)
        for done, kind in enumerate(kinds):
            progress(f"{kind}s of {destination.name}", done, len(kinds))
            names[kind] = await destination.known_names(kind)
    taken = await destination.known_numbers() if lines else frozenset()
    return Both(sources, await source.security_profiles(), numbers, There(there, names, modes, taken))


def _facts(device: DeviceDetails) -> PhoneFacts:
    return PhoneFacts(device.name, model_named_by(device.model), device.device_pool, device.description)
