"""The driver's AXL, RisPort70 and Control Center against a lab that runs, in both release profiles."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones

from trustbridge.cucm.axl import Axl
from trustbridge.cucm.https import NodeHttps, Patience
from trustbridge.cucm.model import Interface, PhoneStatus, Release
from trustbridge.cucm.pins import TlsPins
from trustbridge.cucm.ris import ControlCenter, Ris
from trustbridge.errors import AuthenticationRefused, Refused, Throttled
from trustbridge.lab.cluster import Cluster
from trustbridge.pki.units import Store

T = TypeVar("T")
QUICK = Patience(connect=3.0, answer=20.0, pause=0.02, throttled=0.5)
TVS = "Cisco Trust Verification Service"


class Driver:
    """Clients for the nodes of a lab that runs in another thread; questions run in the lab's loop."""

    def __init__(self, live: LiveLab, folder: Path) -> None:
        self.live = live
        self._pins = TlsPins(folder / "pins.json")

    def https(self, cluster: Cluster, interface: Interface, node: str | None = None, **account: str) -> NodeHttps:
        node = node or cluster.publisher
        user, password = cluster.accounts.credentials("application")
        return NodeHttps(
            node,
            cluster.definition.address(node),
            cluster.ports.https,
            account.get("user", user),
            account.get("password", password),
            self._pins,
            interface=interface,
            patience=QUICK,
        )

    def axl(self, cluster: Cluster, question: Callable[[Axl], Awaitable[T]], **account: str) -> T:
        async def asked() -> T:
            async with self.https(cluster, Interface.AXL, **account) as https:
                return await question(Axl(https, pauses=(0.01,)))

        return self.live.do(asked())

    def ris(self, cluster: Cluster, question: Callable[[Ris], Awaitable[T]]) -> T:
        async def asked() -> T:
            async with self.https(cluster, Interface.RIS) as https:
                return await question(Ris(https))

        return self.live.do(asked())


@contextmanager
def driver(prepared: Prepared, folder: Path, count: int = 2) -> Iterator[Driver]:
    definition = lab_definition(
        phones(count), source={"security": "non-secure"}, destination={"security": "non-secure", "release": "12.5"}
    )
    with LiveLab(prepared.lab(folder / "lab", definition)) as live:
        yield Driver(live, folder)


async def all_of(rows: AsyncIterator[T]) -> list[T]:
    return [row async for row in rows]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def test_a_cluster_is_read_and_its_phones_are_moved_by_a_device_reset(prepared: Prepared, tmp_path: Path) -> None:
    with driver(prepared, tmp_path) as here:
        live, (one, two) = here.live, here.live.phones
        names = [one.name, two.name]
        live.boot()

        assert here.axl(live.source, lambda axl: axl.release()) == Release.parse("11.5.1.10000-6")
        assert here.axl(live.destination, lambda axl: axl.release()).at_least(12, 5)
        assert [node.publisher for node in here.axl(live.source, lambda axl: axl.nodes())] == [True, False]
        assert here.axl(live.source, lambda axl: axl.groups())[0].members == ("src-sub1", "src-pub")
        assert [phone.name for phone in here.axl(live.source, lambda axl: all_of(axl.phones()))] == names

        found = here.ris(live.source, lambda ris: ris.registrations(names))
        assert {info.status for info in found.values()} == {PhoneStatus.REGISTERED}
        assert found[one.name].address == one.identity.address
        assert here.ris(live.destination, lambda ris: ris.registrations(names)) == {}

        live.exchange()
        (subnet,) = here.axl(live.source, lambda axl: axl.dhcp_subnets())
        assert subnet.tftp_servers == live.source.definition.tftp_addresses()
        assert here.axl(live.destination, lambda axl: axl.dhcp_subnets()) == ()
        servers = live.destination.definition.tftp_addresses()
        here.axl(live.source, lambda axl: axl.set_tftp_servers(subnet, servers))
        assert live.lab.option150 == servers
        assert live.whereabouts() == ["source", "source"]

        here.axl(live.source, lambda axl: axl.reset(one.name))
        wait_until(lambda: live.call(live.whereabouts) == ["destination", "source"])
        moved = here.ris(live.destination, lambda ris: ris.registrations(names))
        assert [(info.name, info.status) for info in moved.values()] == [(one.name, PhoneStatus.REGISTERED)]
        left = here.ris(live.source, lambda ris: ris.registrations(names))
        assert left[one.name].status is PhoneStatus.UNREGISTERED
        (seen, _) = here.axl(live.source, lambda axl: all_of(axl.last_seen()))
        assert (seen.name, seen.address) == (one.name, one.identity.address)

        # A reset reaches only phones that are there.
        transcript = one.transcript
        here.axl(live.source, lambda axl: axl.reset(one.name))
        assert live.call(live.whereabouts) == ["destination", "source"]
        assert one.transcript is transcript


def test_tvs_is_told_over_axl_what_was_imported_and_restarts(prepared: Prepared, tmp_path: Path) -> None:
    with driver(prepared, tmp_path) as here:
        live = here.live
        signer = live.destination.list_signer("dst-pub").certificate

        def known() -> tuple[str, ...] | None:
            found = here.axl(live.source, lambda axl: axl.tvs_certificates())
            roles = {(one.serial, one.issuer): one.roles for one in found}
            return roles.get((signer.serial, signer.issuer))

        assert known() is None
        live.call(lambda: live.source.upload_trust(Store.CALLMANAGER_TRUST, signer))
        assert known() == ("TFTP",)
        live.call(lambda: live.source.upload_trust(Store.PHONE_SAST_TRUST, signer))
        assert known() == ("SAST", "TFTP")

        async def restarted() -> tuple[bool, bool]:
            async with here.https(live.source, Interface.CONTROL_CENTER, "src-sub1") as https:
                center = ControlCenter(https)
                node = live.lab.nodes["source", "src-sub1"]
                await node.stop_service(TVS)
                before = {one.name: one.running for one in await center.services()}
                return before[TVS], (await center.restart(TVS, node="src-sub1")).running

        assert live.do(restarted()) == (False, True)


def test_many_phones_come_in_pages_and_a_busy_node_is_waited_for(prepared: Prepared, tmp_path: Path) -> None:
    with driver(prepared, tmp_path, 25) as here:
        live = here.live
        limits = live.lab.apis["source"].axl_limits
        limits.max_rows, limits.busy = 10, 2
        found = here.axl(live.source, lambda axl: all_of(axl.phones()))
        assert [phone.name for phone in found] == sorted(live.lab.fleet.phones)
        limits.busy = 1000
        with pytest.raises(Throttled):
            here.axl(live.source, lambda axl: all_of(axl.phones()))


def test_every_node_refuses_wrong_passwords_and_accounts_without_the_right(prepared: Prepared, tmp_path: Path) -> None:
    with driver(prepared, tmp_path) as here:
        cluster = here.live.source
        cluster.accounts.add("application", "guest", "guest-password")
        os_user, os_password = cluster.accounts.credentials("os")
        with pytest.raises(AuthenticationRefused):
            here.axl(cluster, lambda axl: axl.release(), password="wrong-password")
        with pytest.raises(AuthenticationRefused):
            here.axl(cluster, lambda axl: axl.release(), user=os_user, password=os_password)
        with pytest.raises(Refused, match="guest may not do this"):
            here.axl(cluster, lambda axl: axl.release(), user="guest", password="guest-password")


def test_a_lab_that_stops_leaves_no_reset_behind(prepared: Prepared, tmp_path: Path) -> None:
    with driver(prepared, tmp_path, 10) as here:
        live = here.live
        live.boot()
        transcripts = [phone.transcript for phone in live.phones]

        async def reset_and_stop() -> None:
            live.lab.fleet.reset_soon(live.phones)
            await live.lab.fleet.stop()

        live.do(reset_and_stop())
        assert [name for name in live.leftovers() if "Fleet.boot" in name] == []
        assert all(phone.transcript is before for phone, before in zip(live.phones, transcripts, strict=True))
