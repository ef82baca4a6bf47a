"""Phones in detail over AXL: what creating one elsewhere takes, what it refers to, and creating and removing it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from trustbridge.cucm import devices, soap
from trustbridge.cucm.axl import AlreadyThere, Axl, NotThere
from trustbridge.cucm.clusterreads import single
from trustbridge.cucm.devices import LISTS, DeviceDetails, DirectoryNumber, Kind

#: A change over AXL: whether it was made.
Change = Callable[[Axl], Awaitable[bool]]

#: Phones that are asked about at the same time: more is felt by who administers the cluster.
_AT_ONCE: Final = 4


async def listed(axl: Axl, like: str = "SEP%") -> AsyncIterator[DeviceDetails]:
    """Phones whose name fits a pattern, without their lines and without what is not carried (`listPhone`)."""
    async for row in axl.rows("listPhone", {"name": like}, devices.LISTED):
        yield devices.parse_device(row)


async def details(
    axl: Axl, names: Iterable[str], progress: Callable[[int], None] = lambda done: None
) -> dict[str, DeviceDetails]:
    """Phones by name, one `getPhone` each; those that are not there are not in it."""
    found: dict[str, DeviceDetails] = {}
    waiting = iter(tuple(dict.fromkeys(names)))
    done = 0

    async def some() -> None:
        nonlocal done
        for name in waiting:
            try:
                phone = soap.first(await axl.call("getPhone", {"name": name}), "phone")
            except NotThere:
                phone = None
            if phone is not None:
                found[name] = devices.parse_device(phone)
            done += 1
            progress(done)

    await _some_at_once(some)
    return found


async def number_details(axl: Axl, numbers: Iterable[tuple[str, str]]) -> dict[tuple[str, str], DirectoryNumber]:
    """Directory numbers by pattern and partition, one `getLine` each; those that are not there are not in it."""
    found: dict[tuple[str, str], DirectoryNumber] = {}
    waiting = iter(tuple(dict.fromkeys(numbers)))

    async def some() -> None:
        for pattern, partition in waiting:
            try:
                answer = await axl.call("getLine", {"pattern": pattern, "routePartitionName": partition})
            except NotThere:
                continue
            line = soap.child(answer, "return")
            line = None if line is None else soap.child(line, "line")
            if line is not None:
                found[pattern, partition] = devices.parse_number(line)

    await _some_at_once(some)
    return found


async def _some_at_once(some: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(some())
    except BaseExceptionGroup as errors:
        raise single(errors) from None


async def known_names(axl: Axl, kind: Kind) -> frozenset[str]:
    """Names of all objects of a kind."""
    operation, tag = LISTS[kind]
    return frozenset([soap.fields(row).get(tag, "") async for row in axl.rows(operation, {tag: "%"}, (tag,))]) - {""}


async def security_profiles(axl: Axl) -> dict[str, str]:
    """Phone security profiles, with the mode of each: `Non Secure`, `Authenticated` or `Encrypted`."""
    tags = ("name", "deviceSecurityMode")
    rows = [soap.fields(row) async for row in axl.rows("listPhoneSecurityProfile", {"name": "%"}, tags)]
    return {row["name"]: row.get("deviceSecurityMode", "") for row in rows if row.get("name")}


async def known_numbers(axl: Axl) -> frozenset[tuple[str, str]]:
    """Directory numbers that exist, by pattern and partition (`listLine`)."""
    found = set()
    async for row in axl.rows("listLine", {"pattern": "%"}, ("pattern", "routePartitionName")):
        values = soap.fields(row)
        found.add((values.get("pattern", ""), values.get("routePartitionName", "")))
    return frozenset(found)


async def add(axl: Axl, device: DeviceDetails) -> bool:
    """Create a phone; False when there is one of that name already. Sent once."""
    try:
        await axl.add_phone(devices.phone_values(device))
    except AlreadyThere:
        return False
    return True


async def add_number(axl: Axl, number: DirectoryNumber) -> bool:
    """Create a directory number; False when it is there already. Sent once."""
    try:
        await axl.call("addLine", {"line": devices.number_values(number)})
    except AlreadyThere:
        return False
    return True


async def remove(axl: Axl, name: str) -> bool:
    """Remove a phone (`removePhone`); False when there is none of that name. Sent once."""
    try:
        await axl.call("removePhone", {"name": name})
    except NotThere:
        return False
    return True
