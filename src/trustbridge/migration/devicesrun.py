"""Phones created at the destination one by one, and removed again. May be killed at any point, and run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.devices import DeviceDetails, DirectoryNumber
from trustbridge.cucm.model import PhoneStatus
from trustbridge.errors import AuthenticationRefused, IdentityChanged, Refused
from trustbridge.migration.devices import Comparison, Standing, changes, matches
from trustbridge.migration.devicesrecord import DevicesRecord, State

#: Told (what, done, total).
Progress = Callable[[str, int, int], None]
#: Phones that are looked at together before they are removed, so that the look is not old.
_TOGETHER: Final = 100
_NOT_REGISTERED: Final = (PhoneStatus.UNREGISTERED, PhoneStatus.REJECTED)


@dataclass(slots=True)
class Done:
    """What came of it, phones by name.

    Attributes:
        done: created, or removed.
        before: found created, or gone, already.
        refused: with the reason.
    """

    done: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


async def settle(cluster: Cluster, record: DevicesRecord, clock: Callable[[], datetime]) -> list[str]:
    """See what became of phones that an interrupted run had asked for; those that were created, by name.

    A phone that is there just as it was asked for counts as created: it was not there when it was asked for. One that
    is there otherwise is somebody else's.
    """
    names = record.in_state(State.ASKED)
    found = await cluster.device_details(names)
    created = []
    for name in names:
        if name not in found:
            continue
        ours = matches(record.phones[name].device, found[name])
        record.phone(State.CREATED if ours else State.FOREIGN, found[name], clock())
        if ours:
            created.append(name)
    return created


async def create(
    cluster: Cluster,
    comparisons: Sequence[Comparison],
    record: DevicesRecord,
    clock: Callable[[], datetime],
    progress: Progress = lambda what, done, total: None,
) -> Done:
    """Create the phones that are missing, and their directory numbers before. `settle` comes first.

    Raises:
        TrustbridgeError: the cluster can't be reached, or does not answer; the record tells what was done.
    """
    result = Done()
    todo = [one for one in comparisons if one.standing is Standing.MISSING]
    for place, one in enumerate(todo):
        assert one.wanted is not None
        progress(one.name, place, len(todo))
        try:
            for number in one.numbers:
                await _number(cluster, number, record, clock)
            await _phone(cluster, one.wanted, record, clock, result)
        except (AuthenticationRefused, IdentityChanged):
            raise
        except Refused as error:
            record.phone(State.REFUSED, one.wanted, clock(), error.message)
            result.refused[one.name] = error.message
    progress("", len(todo), len(todo))
    return result


async def _number(
    cluster: Cluster, number: DirectoryNumber, record: DevicesRecord, clock: Callable[[], datetime]
) -> None:
    key = (number.pattern, number.partition)
    before = record.numbers.get(key)
    if before is State.CREATED and key in await cluster.number_details([key]):
        return  # another phone's too
    record.number(State.ASKED, key, clock())
    try:
        made = await cluster.add_number(number)
    except Refused:
        record.number(State.REFUSED, key, clock())
        raise
    if not made and not (before is State.ASKED and await _is_there(cluster, number)):
        record.number(State.FOREIGN, key, clock())
        raise Refused(
            f"{cluster.name}: directory number {number.pattern} in {number.partition or 'no partition'} is there "
            "already, and not from here",
            "See whose it is. Without --lines the phone is created without it.",
        )
    record.number(State.CREATED, key, clock())


async def _is_there(cluster: Cluster, number: DirectoryNumber) -> bool:
    """Whether a directory number is there just as it was asked for."""
    key = (number.pattern, number.partition)
    found = (await cluster.number_details([key])).get(key)
    return found is not None and replace(found, left=()) == number


async def _phone(
    cluster: Cluster, wanted: DeviceDetails, record: DevicesRecord, clock: Callable[[], datetime], result: Done
) -> None:
    record.phone(State.ASKED, wanted, clock())
    made = await cluster.add_phone(wanted)
    found = (await cluster.device_details([wanted.name])).get(wanted.name)
    if made and found is None:
        raise Refused(f"{cluster.name}: {wanted.name} was created, and is not there", "Somebody removed it meanwhile?")
    if made:
        assert found is not None
        record.phone(State.CREATED, found, clock())
        result.done.append(wanted.name)
        return
    record.phone(State.FOREIGN, found or wanted, clock())  # somebody was faster
    result.before.append(wanted.name)


async def remove(
    cluster: Cluster,
    names: Sequence[str],
    record: DevicesRecord,
    clock: Callable[[], datetime],
    progress: Progress = lambda what, done, total: None,
) -> Done:
    """Remove phones that this record created: none that has been changed since, or is registered.

    Raises:
        TrustbridgeError: the cluster can't be reached, or does not answer; the record tells what was done.
    """
    result = Done()
    for start in range(0, len(names), _TOGETHER):
        some = names[start : start + _TOGETHER]
        found = await cluster.device_details(some)
        registrations = await cluster.registrations(tuple(found))
        unheard = sorted(cluster.unheard())
        for place, name in enumerate(some, start=start):
            progress(name, place, len(names))
            created = record.phones[name].device
            if name not in found:
                record.phone(State.REMOVED, created, clock(), "it was gone")
                result.before.append(name)
                continue
            registered = registrations.get(name)
            if others := changes(created, found[name]):
                result.refused[name] = f"changed since it was created: {', '.join(others)}"
            elif registered is not None and registered.status not in _NOT_REGISTERED:
                result.refused[name] = f"it is {registered.status.lower()} at {registered.node}"
            elif unheard:
                result.refused[name] = f"it may be registered: {', '.join(unheard)} gave no answer"
            else:
                try:
                    await cluster.remove_phone(name)
                except (AuthenticationRefused, IdentityChanged):
                    raise
                except Refused as error:
                    result.refused[name] = error.message
                    continue
                record.phone(State.REMOVED, created, clock())
                result.done.append(name)
    progress("", len(names), len(names))
    return result
