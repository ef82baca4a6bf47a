"""All phones of a lab: where they are, starting them in numbers, keeping them registered."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from trustbridge import atomicfile
from trustbridge.errors import SettingsError
from trustbridge.lab.cluster import Cluster, Device
from trustbridge.lab.definition import FIRST_PHONE, LabDefinition, PhonesDefinition
from trustbridge.lab.flash import FlashFolder
from trustbridge.lab.fleetworkers import FleetWorkers
from trustbridge.lab.phone import EXPIRES, LabPhone, PhoneIdentity, PhoneNetwork
from trustbridge.lab.phonedetails import PhoneDetails
from trustbridge.pki.issue import Organisation, locally_significant
from trustbridge.trust.models import model_named

_log = logging.getLogger(__name__)

#: Phones that start at once; more only wait for each other on two cores.
CONCURRENT_BOOTS = 64
#: A vendor's prefix, so that names look like those on a desk.
MAC_PREFIX = "001B0C"

SECURITY_MODES = {"non-secure": 1, "authenticated": 2, "encrypted": 3}


def phone_names(definition: LabDefinition) -> Iterator[tuple[str, str, PhonesDefinition]]:
    """(name, address, kind) of every phone of a lab, in order."""
    first = ipaddress.IPv4Address(definition.network.phones) + FIRST_PHONE
    number = 0
    for kind in definition.phones:
        for _ in range(kind.count):
            yield f"SEP{MAC_PREFIX}{number + 1:06X}", str(first + number), kind
            number += 1


def create_phones(definition: LabDefinition, clusters: dict[str, Cluster], folder: Path, now: datetime) -> None:
    """Make each phone's folder, give secure ones an LSC of their home cluster, and make every cluster know them.

    Raises:
        OSError: a folder can't be written.
    """
    devices: dict[str, list[Device]] = {name: [] for name in clusters}
    details: dict[str, dict[str, PhoneDetails]] = {name: {} for name in clusters}
    places: Counter[int] = Counter()
    organisation = Organisation(ou="UC", o="Phones", l="Krakow", st="Malopolska", c="PL")
    for name, _, kind in phone_names(definition):
        flash = FlashFolder(atomicfile.private_folder(folder / name))
        mode = SECURITY_MODES[kind.security]
        if mode > 1 and not flash.has_lsc:
            flash.write_lsc(
                locally_significant(
                    clusters[kind.home].capf, device=name, organisation=organisation, now=now, key="p256"
                )
            )
        if more := details_of(kind, name, places[id(kind)]):
            details[kind.home][name] = more
        places[id(kind)] += 1
        for cluster_name, cluster in clusters.items():
            if cluster.definition.knows == "own" and cluster_name != kind.home:
                continue
            groups = [group.name for group in cluster.definition.unified_cm_groups]
            group = kind.group if kind.group in groups else groups[0]
            assert group is not None
            devices[cluster_name].append(Device(name, kind.model, mode, group))
    for cluster_name, cluster in clusters.items():
        if not cluster.has_devices:
            numbers = {
                (line["pattern"], line["routePartitionName"]): {
                    "pattern": line["pattern"],
                    "routePartitionName": line["routePartitionName"],
                    "description": name,
                }
                for name, found in details[cluster_name].items()
                for line in found.lines
            }
            cluster.details.keep(details[cluster_name], numbers)
            cluster.add_devices(devices[cluster_name])


def details_of(kind: PhonesDefinition, name: str, place: int) -> PhoneDetails | None:
    """What a phone's home has of it beside the usual; None for nothing. `place` counts its numbers."""
    named = {
        "locationName": kind.location,
        "callingSearchSpaceName": kind.css,
    }
    fields = {field: value for field, value in named.items() if value is not None}
    if kind.first_number is None:
        return PhoneDetails(fields) if fields else None
    number = str(kind.first_number + place)
    line = {
        "index": "1",
        "label": number,
        "display": name,
        "pattern": number,
        "routePartitionName": kind.partition or "",
    }
    return PhoneDetails(fields, (line,))


class Fleet:
    """The phones that run."""

    def __init__(
        self,
        definition: LabDefinition,
        folder: Path,
        network: PhoneNetwork,
        clock: Callable[[], datetime],
    ) -> None:
        self.phones: dict[str, LabPhone] = {}
        self.homes: dict[str, str] = {}
        self.by_address: dict[str, LabPhone] = {}
        for name, address, kind in phone_names(definition):
            identity = PhoneIdentity(name, model_named(kind.model), address)
            phone = LabPhone(identity, folder / name, network, clock)
            self.phones[name] = phone
            self.homes[name] = kind.home
            self.by_address[address] = phone
        #: Processes in which phones start; None where they do so in this one.
        self.workers: FleetWorkers | None = None
        self._boots = asyncio.Semaphore(CONCURRENT_BOOTS)
        self._locks = {name: asyncio.Lock() for name in self.phones}
        self._booting: set[asyncio.Task[None]] = set()
        self._resets: set[asyncio.Task[None]] = set()

    def chosen(self, names: Iterable[str]) -> list[LabPhone]:
        """Phones by name, each once.

        Raises:
            SettingsError: there is no phone of that name.
        """
        found: dict[str, LabPhone] = {}
        for name in names:
            phone = self.phones.get(name.upper())
            if phone is None:
                raise SettingsError(f"there is no phone {name} in this lab", "`trustbridge lab status` lists them.")
            found[phone.name] = phone
        return list(found.values())

    async def boot(self, phones: Iterable[LabPhone], on_done: Callable[[LabPhone], None] | None = None) -> None:
        """Start phones, or reset those that run; returns when all have come to an end.

        A phone that starts already starts once more afterwards. `on_done` is called after each.
        """

        async def one(phone: LabPhone) -> None:
            async with self._locks[phone.name], self._boots:
                if self.workers is None:
                    await phone.boot()
                else:
                    await phone.boot_elsewhere(self.workers.boot)
            if on_done is not None:
                on_done(phone)

        async with asyncio.TaskGroup() as group:
            for phone in phones:
                task = group.create_task(one(phone))
                self._booting.add(task)
                task.add_done_callback(self._booting.discard)

    def reset_soon(self, phones: Iterable[LabPhone]) -> None:
        """Reset phones as a cluster does: it tells them and goes on."""
        task = asyncio.get_running_loop().create_task(self.boot(phones))
        self._resets.add(task)
        task.add_done_callback(self._resets.discard)

    async def settled(self) -> None:
        """Wait until all phones that clusters have told to reset have come to an end."""
        while self._resets:
            await asyncio.wait(list(self._resets))

    async def stop(self) -> None:
        """Cut off every phone that is starting; whoever waits for them goes on."""
        stopping = [*self._resets, *self._booting]
        for task in stopping:
            task.cancel()
        await asyncio.gather(*stopping, return_exceptions=True)
        if self.workers is not None:
            await self.workers.stop()
            self.workers = None

    async def keep_registered(self) -> None:
        """Renew registrations before they run out, for as long as the lab is up."""
        while True:
            await asyncio.sleep(EXPIRES * 0.7)
            for phone in list(self.phones.values()):
                async with self._locks[phone.name]:
                    try:
                        await phone.renew()
                    except Exception:  # one phone's fault; the others still want to be renewed
                        _log.exception("renewing the registration of %s failed", phone.name)
