"""RisPort70 and Control Center: where phones are registered, and a node's services, over SOAP."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from lxml import etree

from trustbridge.cucm import soap
from trustbridge.cucm.https import Answer, NodeHttps
from trustbridge.cucm.model import PhoneStatus, RegistrationInfo, ServiceStatus
from trustbridge.cucm.soap import Fault
from trustbridge.errors import Garbled, NotSupported, Refused, Throttled

_log = logging.getLogger(__name__)

NAMESPACE: Final = "http://schemas.cisco.com/ast/soap"
RIS_PATH: Final = "/realtimeservice2/services/RISService70"
CONTROL_CENTER_PATH: Final = "/controlcenterservice2/services/ControlCenterServices"
#: Names a call, and calls a minute a cluster, as the reference has them.
BATCH: Final = 1000
CALLS_A_MINUTE: Final = 15
#: Pauses after a fault that speaks of an exceeded rate, seconds: others ask the same cluster.
RATE_PAUSES: Final = (10.0, 20.0, 30.0, 60.0)
_RATE = re.compile(r"exceeded allowed rate|RateControl", re.IGNORECASE)
_STATUSES: Final[Mapping[str, PhoneStatus]] = {str(status).lower(): status for status in PhoneStatus}
#: Which of a phone's states counts when several nodes tell one: where it is, before where it was.
_RANK: Final = (
    PhoneStatus.REGISTERED,
    PhoneStatus.PARTIALLY_REGISTERED,
    PhoneStatus.REJECTED,
    PhoneStatus.UNREGISTERED,
    PhoneStatus.UNKNOWN,
)

Sleep = Callable[[float], Awaitable[None]]


class Budget:
    """So many calls a minute, for a whole cluster: `spend` waits until there is one.

    Args:
        clock: seconds that only grow.
        sleep: waits for so many of them.
    """

    def __init__(
        self,
        calls: int = CALLS_A_MINUTE,
        *,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._calls = calls
        self._seconds = seconds
        self._clock = clock
        self._spent: deque[float] = deque()
        self._turn = asyncio.Lock()
        self.sleep = sleep

    async def spend(self) -> None:
        """Take one call, in turn."""
        async with self._turn:
            while True:
                now = self._clock()
                while self._spent and self._spent[0] + self._seconds <= now:
                    self._spent.popleft()
                if len(self._spent) < self._calls:
                    self._spent.append(now)
                    return
                # Never less than a moment: added up, what is slept may come out a rounding error short.
                await self.sleep(max(self._spent[0] + self._seconds - now, 0.001))


class Ris:
    """RisPort70 of one node, which answers for its whole cluster.

    Args:
        https: to the node, for `Interface.RIS`; the caller opens and closes it.
        budget: shared by all that ask this cluster.
        pauses: after faults that speak of an exceeded rate, seconds.

    Attributes:
        silent: nodes that gave no answer of their own to the last question: what they know is missing.
    """

    def __init__(
        self, https: NodeHttps, *, budget: Budget | None = None, pauses: Sequence[float] = RATE_PAUSES
    ) -> None:
        self._https = https
        self._budget = budget or Budget()
        self._pauses = tuple(pauses)
        self.silent: frozenset[str] = frozenset()

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        """What the cluster knows of phones, by name; phones that no Unified CM has heard of are not in it.

        Raises:
            Throttled: others use up the cluster's allowance.
            TrustbridgeError: as `NodeHttps.request`, `Refused` and `Garbled` with the operation named.
        """
        wanted = list(dict.fromkeys(name.upper() for name in names))
        found: dict[str, RegistrationInfo] = {}
        silent: set[str] = set()
        for start in range(0, len(wanted), BATCH):
            answer = await self._select(wanted[start : start + BATCH])
            result = soap.first(answer, "SelectCmDeviceResult")
            if result is None:
                raise Garbled(f"{self._https.here}: selectCmDeviceExt gives no result", "Try again.")
            for node in soap.children(soap.child(result, "CmNodes"), "item"):
                name = soap.fields(node).get("Name", "")
                if soap.fields(node).get("ReturnCode", "").lower() not in ("ok", "notfound"):
                    silent.add(name)
                for item in soap.children(soap.child(node, "CmDevices"), "item"):
                    info = _registration(item, name)
                    before = found.get(info.name)
                    if info.name and (before is None or _weight(info) > _weight(before)):
                        found[info.name] = info
        self.silent = frozenset(silent)
        return found

    async def _select(self, names: Sequence[str]) -> etree._Element:
        request = etree.Element(f"{{{NAMESPACE}}}selectCmDeviceExt", nsmap={"soap": NAMESPACE})
        soap.below(request, "StateInfo", "")
        criteria = soap.below(request, "CmSelectionCriteria")
        for name, value in (
            ("MaxReturnedDevices", str(BATCH)),
            ("DeviceClass", "Phone"),
            ("Model", "255"),
            ("Status", "Any"),
            ("NodeName", ""),
            ("SelectBy", "Name"),
        ):
            soap.below(criteria, name, value)
        items = soap.below(criteria, "SelectItems")
        for name in names:
            soap.below(soap.below(items, "item"), "Item", name)
        soap.below(criteria, "Protocol", "Any")
        soap.below(criteria, "DownloadStatus", "Any")
        for pause in (*self._pauses, None):
            await self._budget.spend()
            found = await _exchange(self._https, RIS_PATH, request, again=True)
            if not isinstance(found, Fault):
                return found
            if not _RATE.search(found.text):
                raise _refused(self._https, "selectCmDeviceExt", found)
            if pause is not None:
                _log.info("%s: the cluster's allowance is used up, trying again in %.0f s", self._https.here, pause)
                await self._budget.sleep(pause)
        raise Throttled(
            f"{self._https.here}: the cluster's allowance of RisPort70 calls is used up by others",
            "Find out what else asks, or raise the enterprise parameter Allowed Device Queries Per Minute.",
        )


def _registration(item: etree._Element, node: str) -> RegistrationInfo:
    values = soap.fields(item)
    addresses = [soap.text(one, "IP") for one in soap.children(soap.child(item, "IPAddress"), "item")]
    reason, seconds = values.get("StatusReason", ""), values.get("TimeStamp", "")
    return RegistrationInfo(
        name=values.get("Name", "").upper(),
        status=_STATUSES.get(values.get("Status", "").lower(), PhoneStatus.UNKNOWN),
        node=node,
        address=next((address for address in addresses if address), values.get("IpAddress", "")),
        reason=int(reason) if reason.isascii() and reason.isdigit() and len(reason) < 9 else 0,
        load=values.get("ActiveLoadID", ""),
        since=datetime.fromtimestamp(int(seconds), UTC)
        if seconds.isascii() and seconds.isdigit() and 0 < int(seconds) < 1 << 32
        else None,
    )


def _weight(info: RegistrationInfo) -> tuple[int, float]:
    return -_RANK.index(info.status), info.since.timestamp() if info.since is not None else 0.0


class ControlCenter:
    """Control Center of one node: its services, without the command line.

    Args:
        https: to the node, for `Interface.CONTROL_CENTER`; the caller opens and closes it.
        clock: gives the time, timezone-aware.
    """

    def __init__(self, https: NodeHttps, *, clock: Callable[[], datetime] | None = None) -> None:
        self._https = https
        self._clock = clock or (lambda: datetime.now(UTC))

    async def services(self) -> tuple[ServiceStatus, ...]:
        """All services of the node. `since` is reckoned from how long each is up: nodes write times in their own zone.

        Raises:
            TrustbridgeError: as `NodeHttps.request`, `Refused` and `Garbled` with the operation named.
        """
        request = etree.Element(f"{{{NAMESPACE}}}soapGetServiceStatus", nsmap={"soap": NAMESPACE})
        soap.below(request, "ServiceStatus", "")
        found = await self._ask(request, again=True)
        return tuple(self._status(item) for item in self._items(found))

    async def restart(self, service: str, *, node: str) -> ServiceStatus:
        """Restart a service; sent once.

        Args:
            node: the node's name or address, as the cluster knows it.

        Raises:
            Refused: the node has no such service, or it is not up afterwards.
            TrustbridgeError: as `NodeHttps.request`.
        """
        request = etree.Element(f"{{{NAMESPACE}}}soapDoControlServices", nsmap={"soap": NAMESPACE})
        asked = soap.below(request, "ControlServiceRequest")
        soap.below(asked, "NodeName", node)
        soap.below(asked, "ControlType", "Restart")
        soap.below(soap.below(asked, "ServiceList"), "item", service)
        found = await self._ask(request, again=False)
        for item in self._items(found):
            if soap.fields(item).get("ServiceName") == service:
                status = self._status(item)
                if status.running:
                    return status
                said = _said(self._https, soap.fields(item).get("ReasonCodeString", ""))
                raise Refused(
                    f"{self._https.here}: {service} is not up after its restart{said}",
                    "See the service in Cisco Unified Serviceability.",
                )
        raise Refused(
            f"{self._https.here}: {service} was not restarted{_said(self._https, soap.text(found, 'ReasonString'))}",
            "Check the name of the service.",
        )

    async def _ask(self, request: etree._Element, *, again: bool) -> etree._Element:
        found = await _exchange(self._https, CONTROL_CENTER_PATH, request, again=again)
        if isinstance(found, Fault):
            raise _refused(self._https, soap.local(request), found)
        return found

    def _items(self, found: etree._Element) -> list[etree._Element]:
        listed = soap.first(found, "ServiceInfoList")
        if listed is None:
            raise Garbled(f"{self._https.here}: {soap.local(found)} lists no services", "Try again.")
        return soap.children(listed, "item")

    def _status(self, item: etree._Element) -> ServiceStatus:
        values = soap.fields(item)
        running, up = values.get("ServiceStatus", "").lower() == "started", values.get("UpTime", "")
        counts = running and up.isascii() and up.isdigit() and len(up) < 10
        return ServiceStatus(
            node=self._https.node,
            name=values.get("ServiceName", ""),
            running=running,
            since=self._clock() - timedelta(seconds=int(up)) if counts else None,
        )


async def _exchange(https: NodeHttps, path: str, request: etree._Element, *, again: bool) -> etree._Element | Fault:
    operation = soap.local(request)
    return await soap.exchange(https, path, soap.envelope(request), action=operation, what=operation, again=again)


def _said(https: NodeHttps, text: str) -> str:
    return https.said(Answer(500, "text/plain", text.encode("utf-8", "replace")))


def _refused(https: NodeHttps, operation: str, fault: Fault) -> Refused:
    said = _said(https, fault.text)
    if "No such operation" in fault.text:
        return NotSupported(f"{https.here}: the node does not know {operation}{said}")
    return Refused(f"{https.here}: {operation} was refused{said}", "The node's own words say why.")
