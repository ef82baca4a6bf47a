"""AXL, RisPort70 and Control Center of a lab cluster's nodes, as applications over HTTPS."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from trustbridge.lab.accounts import AXL_ACCESS, CCM_ADMIN, SERVICEABILITY, Verdict
from trustbridge.lab.axlbackend import AxlData, Reset, Subnet
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.registrations import Registrations
from trustbridge.lab.risbackend import ControlCenterData, NodeServices, RisData
from trustbridge.services import axl, ris
from trustbridge.services.asgi import Access, App, application
from trustbridge.services.soap import endpoint

if TYPE_CHECKING:
    from lxml.etree import _Element

_ACCESS: Final = {
    Verdict.OK: Access.GRANTED,
    Verdict.WRONG_PASSWORD: Access.UNKNOWN,
    Verdict.NO_RIGHT: Access.NO_RIGHT,
}


class SoapApis:
    """What the nodes of one cluster share: its data, and how much it bears.

    Attributes:
        axl_limits, ris_limits: to be changed while the lab runs.

    Args:
        reset: told name and manner of each device to be reset; returns at once.
        subnet: DHCP, where this cluster is the server of its phones' subnet.
    """

    def __init__(
        self,
        cluster: Cluster,
        registrations: Registrations,
        reset: Reset,
        subnet: tuple[Subnet, str, str] | None = None,
    ) -> None:
        self.axl_limits = axl.AxlLimits()
        self.ris_limits = ris.RisLimits(time.monotonic)
        self._cluster = cluster
        self._accounts = cluster.accounts
        self._axl = AxlData(cluster, registrations, reset, subnet)
        self._ris = RisData(cluster, registrations)

    def apps(self, node: str, services: NodeServices, started: Callable[[str], datetime]) -> dict[str, App]:
        """What a node answers, by path.

        Args:
            started: tells when a service started that runs.
        """
        control_center = ControlCenterData(self._cluster, node, services, started)

        async def answer_axl(request: _Element) -> _Element:
            return axl.answer(request, self._axl, self.axl_limits)

        async def answer_ris(request: _Element) -> _Element:
            return ris.answer_ris(request, self._ris, self.ris_limits)

        async def answer_control_center(request: _Element) -> _Element:
            return await ris.answer_control_center(request, control_center)

        return {
            axl.PATH.rstrip("/"): application(
                endpoint(answer_axl, axl.PAGE), check=self._check(AXL_ACCESS), realm="Cisco CallManager: AXL"
            ),
            ris.RIS_PATH: application(
                endpoint(answer_ris, "RISService70"), check=self._check(CCM_ADMIN), realm="Cisco Serviceability"
            ),
            ris.CONTROL_CENTER_PATH: application(
                endpoint(answer_control_center, "ControlCenterServices"),
                check=self._check(SERVICEABILITY),
                realm="Cisco Serviceability",
            ),
        }

    def _check(self, right: str) -> Callable[[str, str], Access]:
        return lambda user, password: _ACCESS[self._accounts.check("application", user, password, right)]
