"""Option 150 where Unified CM itself is the DHCP server: two servers a subnet at the most, over AXL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from trustbridge.dhcp.scope import (
    Change,
    Edit,
    Scope,
    check_applied,
    check_in_force,
    check_servers,
    check_unchanged,
    unified,
)
from trustbridge.errors import Refused

if TYPE_CHECKING:
    from trustbridge.cucm.cluster import Cluster
    from trustbridge.cucm.model import DhcpSubnet

#: Primary and secondary.
MOST_SERVERS: Final = 2


class UnifiedCmDhcp:
    """A cluster's DHCP servers as a `Provider`. A scope is a subnet, by its address."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._read: dict[str, tuple[Scope, DhcpSubnet]] = {}

    @property
    def place(self) -> str:
        return f"Unified CM {self._cluster.name}"

    async def read(self) -> tuple[Scope, ...]:
        found = await self._cluster.dhcp_subnets()
        often = Counter(subnet.address for subnet in found)
        self._read = {}
        for subnet in found:
            # Several DHCP servers of a cluster may serve the same subnet.
            name = subnet.address if often[subnet.address] == 1 else f"{subnet.server} {subnet.address}"
            scope = Scope(name, subnet.address, subnet.tftp_servers, not subnet.tftp_servers)
            self._read.setdefault(name, (scope, subnet))
        return tuple(scope for scope, _ in self._read.values())

    def preview(self, scope: Scope, servers: Sequence[str]) -> Change:
        wanted = check_servers(servers, MOST_SERVERS)
        before, _ = self._known(scope.name)
        after = Scope(before.name, before.subnet, wanted)
        edits = [] if before.says(after) else [Edit(f"DHCP subnet {before.name}", _text(before), _text(after))]
        return Change(self.place, before, after, tuple(edits), unified(self.place, edits))

    async def apply(self, change: Change) -> None:
        now, subnet = await self._now(change)
        check_unchanged(self.place, now, change)
        if change.edits:
            await self._cluster.set_tftp_servers(subnet, change.after.option150)

    async def verify(self, change: Change) -> None:
        now, _ = await self._now(change)
        check_in_force(self.place, now, change)

    async def revert(self, change: Change) -> None:
        now, subnet = await self._now(change)
        check_applied(self.place, now, change)
        if not change.edits:
            return
        if not change.before.option150:
            raise Refused(
                f"{self.place}: subnet {now.name} had no TFTP server, and AXL is not used to take the last one away",
                "Clear both in Cisco Unified CM Administration > System > DHCP > DHCP Subnet.",
            )
        await self._cluster.set_tftp_servers(subnet, change.before.option150)

    async def _now(self, change: Change) -> tuple[Scope, DhcpSubnet]:
        await self.read()
        return self._known(change.before.name)

    def _known(self, name: str) -> tuple[Scope, DhcpSubnet]:
        if name not in self._read:
            raise Refused(f"{self.place} has no DHCP subnet {name}, or was not read yet")
        return self._read[name]


def _text(scope: Scope) -> str:
    """As Cisco Unified CM Administration has it."""
    first, second = (*scope.option150, "", "")[:2]
    return f"primaryTftpServerIpAddress: {first}\nsecondaryTftpServerIpAddress: {second}\n"
