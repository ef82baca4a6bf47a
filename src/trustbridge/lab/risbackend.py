"""What a lab cluster answers over RisPort70, and a lab node at its Control Center."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from trustbridge.lab.cluster import Cluster
from trustbridge.lab.registrations import Registrations
from trustbridge.services.ris import RisDevice, ServiceState
from trustbridge.services.soap import SoapFault
from trustbridge.trust.models import model_named

#: RisPort70's reasons. UNVERIFIED which one a node gives for what.
_RESET_BY_ITSELF, _SILENT, _MISCONFIGURED = 8, 13, 14
#: Services a node can have, by the names that the command line uses.
SERVICES: Final = ("Cisco CallManager", "Cisco Tftp", "Cisco Trust Verification Service")


class RisData:
    """A `RisBackend` over a cluster's registrations."""

    def __init__(self, cluster: Cluster, registrations: Registrations) -> None:
        self._cluster = cluster
        self._registrations = registrations

    @property
    def nodes(self) -> Sequence[str]:
        """Nodes that run Unified CM, as the database names them."""
        return [node.name for node in self._cluster.definition.nodes if node.callmanager]

    def names(self) -> Sequence[str]:
        """Phones that have been heard of."""
        return sorted(self._registrations.last_known)

    def device(self, name: str) -> RisDevice | None:
        """A phone that has been heard of."""
        known = self._registrations.last_known.get(name)
        if known is None:
            return None
        status, since, reason = str(known.status), known.since, 0
        if known.status == "Rejected":
            reason = _MISCONFIGURED
        elif known.status == "UnRegistered":
            reason = _RESET_BY_ITSELF
        elif self._registrations.find(name) is None:  # it has run out
            status, since, reason = "UnRegistered", known.seen, _SILENT
        device = self._cluster.devices.get(name)
        return RisDevice(
            name=name,
            status=status,
            node=known.node,
            address=known.address,
            model=0 if device is None else model_named(device.model).number,
            since=since,
            reason=reason,
            load="" if device is None else device.load,
            description="" if device is None else device.description,
        )


class NodeServices(Protocol):
    """The services of a node that runs."""

    def running(self, service: str) -> bool:
        """Whether a feature service is up, by the name that `utils service list` gives it."""

    async def restart(self, service: str) -> None:
        """Stop it and start it again; KeyError when the node has no such service."""


class ControlCenterData:
    """A `ControlCenterBackend` over a node.

    Args:
        started: tells when a service started that runs.
    """

    def __init__(self, cluster: Cluster, node: str, services: NodeServices, started: Callable[[str], datetime]) -> None:
        self._cluster = cluster
        self.node = node
        self.address = cluster.definition.address(node)
        self._services = services
        self._started = started

    def services(self) -> Sequence[ServiceState]:
        """Those the node is activated for."""
        definition = self._cluster.definition.node(self.node)
        activated = {"Cisco CallManager": definition.callmanager, "Cisco Tftp": definition.tftp}
        return [
            ServiceState(name, running := self._services.running(name), self._started(name) if running else None)
            for name in SERVICES
            if activated.get(name, True)
        ]

    async def control(self, service: str, how: str) -> None:
        """Restart a service. Starting and stopping is left to `trustbridge lab`, which tells outages from restarts."""
        if how != "Restart":
            raise SoapFault("a lab node's services can be restarted here, and nothing else")
        await self._services.restart(service)

    def now(self) -> datetime:
        """The lab's time."""
        return self._cluster.clock()
