"""A cluster's phones in detail: read, created, removed; and queries of its database. Over AXL, which alone can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from trustbridge.cucm import axldevices
from trustbridge.cucm.axl import Axl
from trustbridge.cucm.clusterwrites import ClusterWrites
from trustbridge.cucm.devices import DeviceDetails, DirectoryNumber, Kind, one_select
from trustbridge.cucm.model import Interface
from trustbridge.cucm.ways import Way


class ClusterDevices(ClusterWrites):
    """Phones of one cluster in detail. Every method raises `TrustbridgeError`."""

    # Read.

    async def devices(self) -> AsyncIterator[DeviceDetails]:
        """Every phone of the database, without its lines and without what is not carried."""
        axl = await self._only("phones", Interface.AXL, self._started)
        async for device in axldevices.listed(axl):
            yield device

    async def device_details(
        self, names: Iterable[str], progress: Callable[[int], None] = lambda done: None
    ) -> dict[str, DeviceDetails]:
        """Phones by name, a request each; those that the database does not know are not in it."""
        axl = await self._only("phones", Interface.AXL, self._started)
        return await axldevices.details(axl, names, progress)

    async def number_details(self, numbers: Iterable[tuple[str, str]]) -> dict[tuple[str, str], DirectoryNumber]:
        """Directory numbers by pattern and partition, a request each; those that do not exist are not in it."""
        axl = await self._only("directory numbers", Interface.AXL, self._started)
        return await axldevices.number_details(axl, numbers)

    async def known_names(self, kind: Kind) -> frozenset[str]:
        """Names of the objects of a kind that phones can refer to."""
        return await self._only(
            f"{kind}s", Interface.AXL, lambda: self._by_axl(lambda a: axldevices.known_names(a, kind))
        )

    async def security_profiles(self) -> dict[str, str]:
        """Phone security profiles with their mode: `Non Secure`, `Authenticated` or `Encrypted`."""
        return await self._only("security profiles", Interface.AXL, lambda: self._by_axl(axldevices.security_profiles))

    async def known_numbers(self) -> frozenset[tuple[str, str]]:
        """Directory numbers that exist, by pattern and partition."""
        return await self._only("directory numbers", Interface.AXL, lambda: self._by_axl(axldevices.known_numbers))

    async def sql(self, query: str) -> list[dict[str, str]]:
        """The rows of one `select` over the cluster's database (`executeSQLQuery`), columns by name.

        Raises:
            SettingsError: it is anything but one select; nothing is sent.
            Refused: the database does not take it, or its answer would be too large.
            Throttled: the node is too busy.
        """
        statement = one_select(query)
        return await self._only("a query", Interface.AXL, lambda: self._by_axl(lambda axl: axl.sql(statement)))

    async def _started(self) -> Axl:
        axl = await self._axl_client()
        await axl.release()
        return axl

    # Changed.

    async def add_phone(self, device: DeviceDetails) -> bool | None:
        """Create a phone. Sent once: when no answer comes, nobody knows, and `device_details` tells.

        Returns:
            True when it was created; False when one of that name was there already, which is left as it is; None with
            `dry_run`.

        Raises:
            Refused: the cluster does not take it, in its words: something that it refers to is missing, say.
        """
        lines = f", {len(device.lines)} lines" if device.lines else ""
        what = f"create phone {device.name}: {device.model}, {device.device_pool}, {device.security_profile}{lines}"
        return await self._by_axl_once(what, "", lambda axl: axldevices.add(axl, device))

    async def add_number(self, number: DirectoryNumber) -> bool | None:
        """Create a directory number; as `add_phone`."""
        what = f"create directory number {number.pattern} in {number.partition or 'no partition'}"
        return await self._by_axl_once(what, "", lambda axl: axldevices.add_number(axl, number))

    async def remove_phone(self, name: str) -> bool | None:
        """Remove a phone; False when there is none of that name. Its directory numbers stay. As `add_phone`."""
        effect = "the cluster serves it no configuration any more"
        return await self._by_axl_once(f"remove phone {name}", effect, lambda axl: axldevices.remove(axl, name))

    async def _by_axl_once(self, what: str, effect: str, do: axldevices.Change) -> bool | None:
        way = Way(Interface.AXL, lambda: self._by_axl(do))
        return await self._change(self.name, what, effect, await self.publisher(), [way])
