"""RisPort70 and Control Center as a node answers them. Pure but for the clock, over backends.

Source: `cucm-interfaces`, section 4. The wording of the fault for an exceeded rate, its misspelling included, is as
public reports quote it. Truncation at `MaxReturnedDevices` is silent, as there.
"""

from __future__ import annotations

import fnmatch
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol
from xml.sax.saxutils import escape

from lxml import etree

from trustbridge.services.soap import SoapFault, child, local_name, text_of, xml_text

NAMESPACE: Final = "http://schemas.cisco.com/ast/soap"
RIS_PATH: Final = "/realtimeservice2/services/RISService70"
CONTROL_CENTER_PATH: Final = "/controlcenterservice2/services/ControlCenterServices"
#: Devices an answer has at the most, and calls a cluster takes in a minute.
MAX_DEVICES: Final = 1000
CALLS_A_MINUTE: Final = 15
_AXIS: Final = "http://xml.apache.org/axis/"


@dataclass(frozen=True, slots=True)
class RisDevice:
    """A phone as a node's Unified CM knows it.

    Attributes:
        status: `Registered`, `UnRegistered`, `Rejected`, ...
        reason: RisPort70's number for why.
        node: whose Unified CM says so.
        model: Unified CM's number of the model.
        since: when the status began.
    """

    name: str
    status: str
    node: str
    address: str
    model: int
    since: datetime
    reason: int = 0
    load: str = ""
    description: str = ""


class RisBackend(Protocol):
    """What a cluster knows of its phones."""

    @property
    def nodes(self) -> Sequence[str]:
        """Nodes that run Unified CM."""

    def device(self, name: str) -> RisDevice | None:
        """A phone; None when no Unified CM has heard of it since it started."""

    def names(self) -> Sequence[str]:
        """All phones some Unified CM has heard of."""


@dataclass(slots=True)
class RisLimits:
    """How much a cluster bears; one for all of its nodes.

    Attributes:
        clock: seconds that only grow.
        calls_a_minute: more are refused.
    """

    clock: Callable[[], float]
    calls_a_minute: int = CALLS_A_MINUTE
    _calls: deque[float] = field(default_factory=deque)

    def count(self) -> None:
        """One more call.

        Raises:
            SoapFault: that is too many within a minute.
        """
        now = self.clock()
        while self._calls and self._calls[0] <= now - 60:
            self._calls.popleft()
        if len(self._calls) >= self.calls_a_minute:
            detail = etree.Element(f"{{{_AXIS}}}hostname", nsmap={"ns2": _AXIS})
            detail.text = "lab"
            raise SoapFault(
                "AxisFault: Exceeded allowed rate for Reatime information. Current allowed rate for realtime "
                f"information is {self.calls_a_minute} requests per minute."
                "http://schemas.cisco.com/ast/soap/action/#RisPort#SelectCmDevice",
                code="ns1:Server.RateControl",
                namespace=_AXIS,
                detail=detail,
            )
        self._calls.append(now)


def answer_ris(request: etree._Element, backend: RisBackend, limits: RisLimits) -> etree._Element:
    """The answer to `selectCmDeviceExt` (names one by one) or `selectCmDevice` (with `*`).

    Raises:
        SoapFault: another operation, criteria that make no sense, or too many calls.
    """
    operation = local_name(request)
    if operation not in ("selectCmDeviceExt", "selectCmDevice"):
        raise SoapFault(f"No such operation '{operation}'", code="soapenv:Client")
    limits.count()
    criteria = child(request, "CmSelectionCriteria")
    if criteria is None:
        raise SoapFault("CmSelectionCriteria is missing", code="soapenv:Client")
    found = _select(backend, criteria, wildcards=operation == "selectCmDevice")
    most = text_of(criteria, "MaxReturnedDevices") or ""
    given = found[: min(int(most), MAX_DEVICES) if most.isascii() and most.isdigit() else MAX_DEVICES]

    root = etree.Element(_name(f"{operation}Response"), nsmap={"ns1": NAMESPACE})
    returned = _below(root, "selectCmDeviceReturn")
    result = _below(returned, "SelectCmDeviceResult")
    _below(result, "TotalDevicesFound", str(len(given)))
    nodes = _below(result, "CmNodes")
    by_node: dict[str, list[RisDevice]] = {}
    for device in given:
        by_node.setdefault(device.node, []).append(device)
    for node in backend.nodes:
        here = by_node.get(node, [])
        item = _below(nodes, "item")
        _below(item, "ReturnCode", "Ok" if here else "NotFound")
        _below(item, "Name", node)
        _below(item, "NoChange", "false")
        item.append(_devices(here))
    _below(returned, "StateInfo", "")
    return root


def _select(backend: RisBackend, criteria: etree._Element, *, wildcards: bool) -> list[RisDevice]:
    device_class = text_of(criteria, "DeviceClass") or "Any"
    if (text_of(criteria, "SelectBy") or "Name") != "Name":
        raise SoapFault("the lab selects by Name alone", code="soapenv:Client")
    if device_class not in ("Any", "Phone"):
        return []
    items = child(criteria, "SelectItems")
    wanted = [] if items is None else [text for item in items if (text := text_of(item, "Item"))]
    names: list[str] = []
    for text in wanted:
        for name in text.split(","):
            if wildcards and "*" in name:
                pattern = re.compile(fnmatch.translate(name.replace("[", "[[]").replace("?", "[?]")), re.IGNORECASE)
                names += [known for known in backend.names() if pattern.fullmatch(known)]
            else:
                names.append(name.strip().upper())
    status, node = text_of(criteria, "Status") or "Any", text_of(criteria, "NodeName") or "Any"
    model = text_of(criteria, "Model") or "255"
    devices = (backend.device(name) for name in dict.fromkeys(names))
    return [
        device
        for device in devices
        if device is not None
        and status in ("Any", device.status)
        and node in ("Any", device.node)
        and model in ("255", str(device.model))
    ]


#: A device in an answer. Written as text: a thousand of them, element by element, take a node's time for half a second.
_DEVICE: Final = (
    "<i:item><i:Name>{name}</i:Name><i:DirNumber/><i:DeviceClass>Phone</i:DeviceClass><i:Model>{model}</i:Model>"
    "<i:Product>{model}</i:Product><i:BoxProduct>0</i:BoxProduct><i:Httpd>Yes</i:Httpd>"
    "<i:RegistrationAttempts>0</i:RegistrationAttempts><i:IsCtiControllable>true</i:IsCtiControllable><i:LoginUserId/>"
    "<i:Status>{status}</i:Status><i:StatusReason>{reason}</i:StatusReason><i:PerfMonObject>2</i:PerfMonObject>"
    "<i:DChannel>0</i:DChannel><i:Description>{description}</i:Description><i:H323Trunk/>"
    "<i:TimeStamp>{since}</i:TimeStamp><i:Protocol>SIP</i:Protocol><i:NumOfLines>0</i:NumOfLines><i:LinesStatus/>"
    "<i:ActiveLoadID>{load}</i:ActiveLoadID><i:InactiveLoadID/><i:DownloadStatus>Unknown</i:DownloadStatus>"
    "<i:DownloadFailureReason/><i:DownloadServer/><i:IPAddress><i:item><i:IP>{address}</i:IP>"
    "<i:IPAddrType>ipv4</i:IPAddrType><i:Attribute>AdministrativeAndSignaling</i:Attribute></i:item></i:IPAddress>"
    "</i:item>"
)


def _devices(devices: Sequence[RisDevice]) -> etree._Element:
    items = "".join(
        _DEVICE.format(
            name=_text(device.name),
            model=device.model,
            status=_text(device.status),
            reason=device.reason,
            description=_text(device.description),
            since=int(device.since.timestamp()),
            load=_text(device.load),
            address=_text(device.address),
        )
        for device in devices
    )
    return etree.fromstring(f'<i:CmDevices xmlns:i="{NAMESPACE}">{items}</i:CmDevices>')


def _text(text: str) -> str:
    return escape(xml_text(text))


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A feature service of this node. `since` is when it started; None while it is down."""

    name: str
    running: bool
    since: datetime | None = None


class ControlCenterBackend(Protocol):
    """The services of one node."""

    @property
    def node(self) -> str:
        """Its name, and `address` its address: requests name it by either."""

    @property
    def address(self) -> str:
        """Its address."""

    def services(self) -> Sequence[ServiceState]:
        """All that it has, running or not."""

    async def control(self, service: str, how: str) -> None:
        """`Start`, `Stop` or `Restart` a service it has."""

    def now(self) -> datetime:
        """The time."""


#: Reason codes with their texts. UNVERIFIED wording; -1068 is a service that is not activated, -1074 one unknown.
_NO_SUCH_SERVICE: Final = (-1074, "Requested service does not exist")
_CONTROLS: Final = ("Start", "Stop", "Restart")


async def answer_control_center(request: etree._Element, backend: ControlCenterBackend) -> etree._Element:
    """The answer to `soapGetServiceStatus` or `soapDoControlServices`.

    Raises:
        SoapFault: another operation, another node, or no such control type.
    """
    match local_name(request):
        case "soapGetServiceStatus":
            wanted = [text for one in _named(request, "ServiceStatus") if (text := (one.text or "").strip())]
            # A name may stand in the element itself or in items below it; none at all asks for every service.
            wanted += [text for one in _named(request, "item") if (text := (one.text or "").strip())]
            return _status("soapGetServiceStatus", backend, wanted or None)
        case "soapDoControlServices":
            return await _control(request, backend)
        case other:
            raise SoapFault(f"No such operation '{other}'", code="soapenv:Client")


async def _control(request: etree._Element, backend: ControlCenterBackend) -> etree._Element:
    asked = child(request, "ControlServiceRequest")
    if asked is None:
        raise SoapFault("ControlServiceRequest is missing", code="soapenv:Client")
    node, how = text_of(asked, "NodeName") or "", text_of(asked, "ControlType") or ""
    if node.casefold() not in (backend.node.casefold(), backend.address):
        # UNVERIFIED: a real node may pass the request on.
        raise SoapFault(f"node {node} can't be controlled from {backend.node}", code="soapenv:Client")
    if how not in _CONTROLS:
        raise SoapFault(f"there is no ControlType {how}", code="soapenv:Client")
    wanted = [text for one in _named(asked, "item") if (text := (one.text or "").strip())]
    known = {service.name for service in backend.services()}
    for name in wanted:
        if name in known:
            await backend.control(name, how)
    return _status("soapDoControlServices", backend, wanted)


def _status(operation: str, backend: ControlCenterBackend, wanted: Sequence[str] | None) -> etree._Element:
    known: Mapping[str, ServiceState] = {service.name: service for service in backend.services()}
    names = list(known) if wanted is None else list(wanted)
    root = etree.Element(_name(f"{operation}Response"), nsmap={"ns1": NAMESPACE})
    returned = _below(root, f"{operation}Return")
    missing = [name for name in names if name not in known]
    _below(returned, "ReturnCode", "1" if missing else "0")
    _below(returned, "ReasonCode", str(_NO_SUCH_SERVICE[0]) if missing else "-1")
    _below(returned, "ReasonString", _NO_SUCH_SERVICE[1] if missing else "")
    items = _below(returned, "ServiceInfoList")
    now = backend.now()
    for name in names:
        item = _below(items, "item")
        service = known.get(name)
        running = service is not None and service.running
        since = service.since if service is not None and running else None
        code, text = ("-1", " ") if service is not None else (str(_NO_SUCH_SERVICE[0]), _NO_SUCH_SERVICE[1])
        _below(item, "ServiceName", name)
        _below(item, "ServiceStatus", "Started" if running else "Stopped")
        _below(item, "ReasonCode", code)
        _below(item, "ReasonCodeString", text)
        _below(item, "StartTime", "" if since is None else f"{since:%a %b} {since.day:2d} {since:%H:%M:%S %Y}")
        _below(item, "UpTime", "-1" if since is None else str(max(0, int((now - since).total_seconds()))))
    return root


def _named(element: etree._Element, name: str) -> list[etree._Element]:
    return [found for found in element.iter() if local_name(found) == name]


def _name(local: str) -> str:
    return f"{{{NAMESPACE}}}{local}"


def _below(parent: etree._Element, name: str, text: str | None = None) -> etree._Element:
    element = etree.SubElement(parent, _name(name))
    if text is not None:
        element.text = xml_text(text)
    return element
