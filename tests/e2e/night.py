"""A night of three sites: 300 phones between two releases, a real Kea, and defects that were planted."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e.defects import boot_all, close_page, foreign_list
from tests.e2e.test_cluster import credentials_of, entry_of
from tests.interop.test_kea_provider import SERVER
from tests.interop.test_kea_provider import Site as KeaSite
from tests.lab import large
from tests.lab.prepared import LiveLab, lab_definition, phones

from trustbridge.dhcp.keacontrol import Control
from trustbridge.lab.definition import GroupDefinition, LabDefinition, NodeDefinition
from trustbridge.lab.phone import LabPhone
from trustbridge.settings import load
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.trust.events import Kept

WARSAW, KRAKOW, GDANSK = SITES = ("Warsaw", "Krakow", "Gdansk")
SIZES = {WARSAW: 118, KRAKOW: 120, GDANSK: 62}
#: The first node of each site's Unified CM group: its phones ask that one's TVS first.
FIRST = {WARSAW: "src-pub", KRAKOW: "src-sub1", GDANSK: "src-sub2"}
#: Phones of Krakow whose page is closed and whose TFTP servers were typed in: nobody can foresee them.
STUBBORN = 18
#: Phones of Warsaw with a trust list of neither cluster; phones of Gdansk that nobody has created at the destination.
FOREIGN, STRANGERS = 4, 3


@dataclass
class Night:
    """The lab, its DHCP server, and what was planted.

    Attributes:
        starts: how often each phone has started since all was set up.
        stubborn: phones that go by TFTP servers somebody typed in.
    """

    live: LiveLab
    kea: KeaSite
    do: Callable[[Coroutine[Any, Any, Any]], Any]
    starts: Counter[str] = field(default_factory=Counter)
    stubborn: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)

    @property
    def socket(self) -> str:
        return f"unix:{self.kea.socket.path}"

    def of(self, site: str) -> list[LabPhone]:
        devices = self.live.source.devices
        return [phone for phone in self.live.phones if devices[phone.name].group == site]

    def option150(self) -> dict[str, tuple[str, ...]]:
        """What Kea says, by site."""
        control: Control = self.kea.socket
        found = self.do(control.ask("config-get"))["Dhcp4"]["subnet4"]
        return {
            SITES[one["id"] - 1]: tuple(
                server.strip()
                for option in one["option-data"]
                if option["code"] == 150
                for server in option["data"].split(",")
            )
            for one in found
        }

    def whereabouts(self, site: str) -> Counter[str | None]:
        return Counter(self.live.lab.cluster_of(phone) for phone in self.of(site))


def _definition(dhcp_port: int) -> LabDefinition:
    made = lab_definition(
        *(phones(SIZES[site], group=site) for site in SITES),
        source={
            "nodes": tuple(NodeDefinition(name=name) for name in FIRST.values()),
            "groups": tuple(GroupDefinition(name=site, members=(FIRST[site],)) for site in SITES),
        },
        destination={
            "groups": tuple(GroupDefinition(name=site, members=("dst-sub1", "dst-pub")) for site in SITES),
        },
    )
    network = made.network.model_copy(update={"dhcp": SERVER, "dhcp_port": dhcp_port})
    return made.model_copy(update={"network": network})


def _kea(folder: Path, sites: dict[str, list[str]], servers: tuple[str, ...]) -> str:
    """Kea's configuration: a subnet a site, chosen by who relays, which a lab's phones do themselves."""
    subnets = [
        {
            "id": number,
            "subnet": f"127.{200 + number}.0.0/16",
            "pools": [{"pool": f"127.{200 + number}.1.1 - 127.{200 + number}.2.250"}],
            "relay": {"ip-addresses": sites[site]},
            "option-data": [{"name": "tftp-servers", "data": ", ".join(servers)}],
        }
        for number, site in enumerate(SITES, 1)
    ]
    return json.dumps(
        {
            "Dhcp4": {
                "interfaces-config": {"interfaces": [f"lo/{SERVER}"], "dhcp-socket-type": "udp"},
                "control-socket": {"socket-type": "unix", "socket-name": str(folder / "kea.socket")},
                "lease-database": {"type": "memfile", "persist": False},
                "option-def": [{"name": "tftp-servers", "code": 150, "type": "ipv4-address", "array": True}],
                "subnet4": subnets,
                "valid-lifetime": 600,
                # Nobody reads what it says once it has started: a line for each lease would fill the pipe, and stop it.
                "loggers": [
                    {"name": name, "severity": severity, "output_options": [{"output": "stdout", "flush": True}]}
                    for name, severity in (("kea-dhcp4", "WARN"), ("kea-dhcp4.dhcp4", "INFO"))
                ],
            }
        }
    )


@contextmanager
def night(folder: Path, kea_folder: Path, starting: Callable[[Callable[[LabPhone], None]], None]) -> Iterator[Night]:
    """All phones at the source after the exchange, Kea naming the source, and the defects planted.

    Args:
        starting: told whom to tell of each phone that starts.
    """
    kea = KeaSite(kea_folder)
    made = large.make(folder, _definition(kea.port))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="kea")
    thread.start()

    def do(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    try:
        with LiveLab(made) as live:
            found = Night(live, kea, do)
            addresses = {site: [phone.identity.address for phone in found.of(site)] for site in SITES}
            kea.file.write_text(_kea(kea_folder, addresses, live.source.definition.tftp_addresses()))
            do(kea.start())
            try:
                live.exchange()
                boot_all(live)
                assert Counter(live.whereabouts()) == {"source": sum(SIZES.values())}
                state = load().state_folder
                for cluster in live.lab.clusters.values():
                    Inventory(state).add(entry_of(cluster), replace=True)
                    PasswordFile(state).keep(cluster.name, credentials_of(cluster))
                _plant(found)
                starting(lambda phone: found.starts.update([phone.name]))
                yield found
            finally:
                do(kea.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def _plant(night: Night) -> None:
    live = night.live
    stores = live.source.stores["src-sub2"]
    for node in ("dst-pub", "dst-sub1"):
        signer = live.destination.list_signer(node).certificate
        for store in stores.holding(signer):
            stores.remove(store, signer)
    live.call(live.node("src-sub2").refresh)
    elsewhere = foreign_list()
    for phone in night.of(WARSAW)[:FOREIGN]:
        live.call(partial(phone.flash.write, Kept.ITL, elsewhere))
        night.foreign.add(phone.name)
    night.strangers |= {phone.name for phone in night.of(GDANSK)[:STRANGERS]}
    live.call(partial(live.destination.remove_devices, sorted(night.strangers)))
    for phone in night.of(KRAKOW)[:STUBBORN]:
        live.call(partial(close_page, phone))
        night.stubborn.add(phone.name)
