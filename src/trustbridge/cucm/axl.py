"""AXL: the cluster's database, read and changed over SOAP.

Requests are made from the vendor's schema, answers are read tolerantly. Paging when an answer would be too large, and
what each fault means, are settled here, below the operations.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from lxml import etree

from trustbridge.cucm import axlschema, soap
from trustbridge.cucm.axlschema import AxlSchema
from trustbridge.cucm.devices import one_select
from trustbridge.cucm.https import Answer, NodeHttps
from trustbridge.cucm.model import CallManagerGroup, DhcpSubnet, NodeInfo, PhoneInfo, Release, TvsCertificate
from trustbridge.cucm.soap import Fault
from trustbridge.errors import Garbled, NotSupported, Refused, Throttled, TrustbridgeError

_log = logging.getLogger(__name__)

PATH: Final = "/axl/"
#: The row of the table of nodes that stands for the cluster as a whole.
_WHOLE_CLUSTER: Final = "EnterpriseWideData"
_TOO_LARGE = re.compile(
    r"Query request too large\.?\s*Total rows matched:?\s*(\d+)(?:\s*rows?)?"
    r"(?:.*?Suggestive Row Fetch:?\s*less than\s*(\d+))?",
    re.IGNORECASE | re.DOTALL,
)
_BUSY = re.compile(r"thrott|exceeded allowed|maximum .*(?:memory|requests)|too busy|try again later", re.IGNORECASE)
_NO_OPERATION = re.compile(r"Operation not found|EPR|no such operation|not supported|unsupported", re.IGNORECASE)
_HEX = re.compile(r"[0-9A-Fa-f]+")
#: A node that has no room for an answer now says so whatever `axlcode` it gives.
_NO_ROOM = re.compile(r"Maximum AXL Memory Allocation Consumed", re.IGNORECASE)
#: `axlcode` of an object that is not there, and of one that is there already (the database's own error).
_NOT_FOUND: Final = 5007
_DUPLICATE: Final = -239
#: What operations that change nothing begin with.
_READS: Final = ("list", "get", "executeSQLQuery")
_AT_ONCE: Final = 4
#: Pauses between tries when a fault says that the node is busy, seconds.
BUSY_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0)

#: A name that stands for others, and names that may stand in its place as they are.
_ANY_NAME: Final = "ANY-NAME-AT-ALL"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")

ResetType = Literal["Reset", "Restart", "Apply Configuration"]


@dataclass(frozen=True, slots=True)
class LastSeen:
    """What the database remembers of a phone that is or was registered.

    Attributes:
        node: name of the Unified CM.
        seen: when the cluster last heard of it; None where it does not say.
        status: the cluster's own word for its state, in releases that have one.
    """

    name: str
    node: str
    address: str
    configuration: str = ""
    seen: datetime | None = None
    status: str = ""


class NotThere(Refused):
    """What an operation names is not in the database."""


class AlreadyThere(Refused):
    """What was to be created is in the database already; it is as it was."""


class _TooLarge(Exception):
    """An answer the node won't give in one piece. `bound` is what it wants to be asked for less than; 0 if unsaid."""

    def __init__(self, total: int, bound: int) -> None:
        super().__init__(total, bound)
        self.total = total
        self.bound = bound


class Axl:
    """AXL of one node, with one account.

    Args:
        https: to the node, for `Interface.AXL`; the caller opens and closes it.
        schema: a folder with a schema; None takes the shipped one that fits the node's release.
        pauses: between tries when the node says it is busy, in seconds.

    All operations raise `TrustbridgeError`: besides what `NodeHttps.request` raises, `NotSupported` (the release has no
    such operation), `Refused` (the cluster said no; the message has its words), `Throttled`, `Garbled`, each naming
    node and operation; `SettingsError` when the schema can't be read.
    """

    def __init__(self, https: NodeHttps, *, schema: str | None = None, pauses: Sequence[float] = BUSY_PAUSES) -> None:
        self._https = https
        self._given = schema
        self._pauses = tuple(pauses)
        self._release: Release | None = None
        self._schema: AxlSchema | None = None
        self._starting = asyncio.Lock()
        self._resets: dict[ResetType, bytes] = {}

    # The node.

    async def release(self) -> Release:
        """The release that runs on the node; asked once."""
        async with self._starting:
            if self._release is None:
                self._release = await self._probe()
            return self._release

    async def _probe(self) -> Release:
        """Ask in one version of the schema after the other, newest first: nodes refuse what is newer than they are."""
        refusal: TrustbridgeError | None = None
        for version in axlschema.probe_versions():
            action = f"CUCM:DB ver={version} getCCMVersion"
            try:
                found = await self._ask("getCCMVersion", axlschema.probe(version), action)
            except NotSupported as error:
                refusal = refusal or error
                continue
            text = soap.text(found, "version")
            if not text:
                raise Garbled(f"{self._https.here}: getCCMVersion tells no version", "Is that a Unified CM node?")
            return Release.parse(text)
        assert refusal is not None
        raise refusal

    async def _ready(self) -> AxlSchema:
        if self._schema is None:
            folder = axlschema.folder_for(await self.release(), self._given)
            self._schema = await AxlSchema.load(folder)
        return self._schema

    # One request.

    async def call(self, operation: str, values: Mapping[str, object]) -> etree._Element:
        """Any operation: the element of its answer. What only reads may be sent twice, what changes things never is."""
        schema = await self._ready()
        return await self._in_one(operation, schema.request(operation, values), schema.action(operation))

    async def _in_one(self, operation: str, content: bytes, action: str) -> etree._Element:
        try:
            return await self._ask(operation, content, action)
        except _TooLarge as error:
            raise Refused(
                f"{self._https.here}: the answer to {operation} would be too large ({error.total} rows)",
                "Ask for less at once.",
            ) from None

    async def _ask(self, operation: str, content: bytes, action: str) -> etree._Element:
        again = operation.startswith(_READS)
        for pause in (*self._pauses, None):
            found = await soap.exchange(self._https, PATH, content, action=action, what=operation, again=again)
            if not isinstance(found, Fault):
                if soap.local(found) != f"{operation}Response":
                    raise Garbled(
                        f"{self._https.here}: {operation} was answered with {soap.local(found)}", "Try again."
                    )
                return found
            busy = _NO_ROOM.search(found.text) or (found.code is None and _BUSY.search(found.text))
            if not busy or _TOO_LARGE.search(found.text):
                raise self._judged(found, operation)
            if pause is not None:
                _log.info("%s: too busy for %s, trying again in %.1f s", self._https.here, operation, pause)
                await asyncio.sleep(pause)
        raise Throttled(
            f"{self._https.here}: the node is too busy for {operation}",
            "Try again later, and let less run against it at once.",
        )

    def _judged(self, fault: Fault, operation: str) -> Exception:
        if too_large := _TOO_LARGE.search(fault.text):
            return _TooLarge(int(too_large[1]), int(too_large[2] or 0))
        said = self._said(fault.text)
        if fault.status == 599 or (fault.code is None and _NO_OPERATION.search(fault.text)):
            return NotSupported(
                f"{self._https.here}: the node does not know {operation}{said}",
                "Its release may be older than the operation, or older than the schema that is used.",
            )
        if fault.code == _NOT_FOUND:
            return NotThere(
                f"{self._https.here}: {operation} names something that is not there{said}", "Check the name."
            )
        if fault.code == _DUPLICATE:
            return AlreadyThere(f"{self._https.here}: {operation} names something that is there already{said}")
        return Refused(f"{self._https.here}: {operation} was refused{said}", "The node's own words say why.")

    def _said(self, text: str) -> str:
        """A node's words, to stand behind ours; never a secret."""
        return self._https.said(Answer(500, "text/plain", text.encode("utf-8", "replace")))

    async def rows(
        self, operation: str, criteria: Mapping[str, str], tags: Sequence[str]
    ) -> AsyncIterator[etree._Element]:
        """The objects a `list...` operation gives, in as many requests as the node wants."""
        schema = await self._ready()
        values: dict[str, object] = {"searchCriteria": dict(criteria), "returnedTags": dict.fromkeys(tags, "")}
        action = schema.action(operation)
        try:
            found = await self._ask(operation, schema.request(operation, values), action)
        except _TooLarge as error:
            total, size = error.total, _page(error)
        else:
            for row in _objects(found):
                yield row
            return
        skip = 0
        while skip < total:
            page = schema.request(operation, values | {"skip": skip, "first": size})
            try:
                found = await self._ask(operation, page, action)
            except _TooLarge as error:
                if size == 1:
                    raise Garbled(
                        f"{self._https.here}: {operation} gives not even one row at once", "Try again later."
                    ) from None
                size = min(size - 1, _page(error))
                continue
            rows = _objects(found)
            for row in rows:
                yield row
            if len(rows) < size:
                return  # some were deleted meanwhile
            skip += size

    # Nodes, parameters, groups.

    async def nodes(self) -> tuple[NodeInfo, ...]:
        """Unified CM nodes. AXL knows one name, which may be an address: it stands for both."""
        tags = ["name", "description", "nodeUsage"]
        if (await self.release()).at_least(10, 0):
            tags.append("processNodeRole")
        found = []
        async for row in self.rows("listProcessNode", {"name": "%"}, tags):
            values = soap.fields(row)
            name = values.get("name", "")
            if name and name != _WHOLE_CLUSTER and "Presence" not in values.get("processNodeRole", ""):
                found.append(NodeInfo(name, name, values.get("nodeUsage") == "Publisher"))
        return tuple(found)

    async def activated_services(self) -> dict[str, tuple[str, ...]]:
        """Services that are activated, by node."""
        found: dict[str, list[str]] = {}
        tags = ("processNodeName", "service", "isActive")
        async for row in self.rows("listProcessNodeService", {"processNodeName": "%"}, tags):
            values = soap.fields(row)
            if values.get("isActive", "").lower() in ("true", "t", "1"):
                found.setdefault(values.get("processNodeName", ""), []).append(values.get("service", ""))
        return {node: tuple(services) for node, services in found.items()}

    async def sql(self, query: str) -> list[dict[str, str]]:
        """The rows of a select, columns by name. SettingsError for anything else, which is not sent."""
        found = await self.call("executeSQLQuery", {"sql": one_select(query)})
        return [soap.fields(row) for row in soap.children(soap.child(found, "return"), "row")]

    async def parameter(self, name: str) -> str | None:
        """An enterprise or service parameter; None where the cluster has no such one."""
        quoted = name.replace("'", "''")
        rows = await self.sql(f"select paramname,paramvalue from processconfig where paramname='{quoted}'")  # noqa: S608 - quoted
        return rows[0].get("paramvalue") if rows else None

    async def security_mode(self) -> str:
        """`mixed` or `non-secure`."""
        value = await self.parameter("ClusterSecurityMode")
        if value not in ("0", "1"):
            raise Garbled(f"{self._https.here}: ClusterSecurityMode is {value!r}, neither 0 nor 1")
        return "mixed" if value == "1" else "non-secure"

    async def prepare_for_rollback(self) -> bool:
        """Enterprise parameter "Prepare Cluster for Rollback to pre 8.0"; False where the cluster has none."""
        return (await self.parameter("RollBackToPreGrayback") or "F").upper() in ("T", "TRUE", "1")

    async def groups(self) -> tuple[CallManagerGroup, ...]:
        """Unified CM groups with their members, by the names of their nodes."""
        names = [soap.text(row, "name") async for row in self.rows("listCallManagerGroup", {"name": "%"}, ("name",))]
        nodes = await self._nodes_of_callmanagers()
        groups = []
        for name in names:
            found = await self.call("getCallManagerGroup", {"name": name})
            members = sorted(
                (int(priority) if (priority := soap.text(one, "priority")).isdecimal() else 99, place, one)
                for place, one in enumerate(found.iter("member"))
            )
            called = (soap.text(one, "callManagerName") for *_, one in members)
            groups.append(CallManagerGroup(name, tuple(nodes.get(one, one.removeprefix("CM_")) for one in called)))
        return tuple(groups)

    async def _nodes_of_callmanagers(self) -> dict[str, str]:
        """A Unified CM has a name of its own, by default `CM_` and the node's."""
        rows = await self.sql(
            "select callmanager.name as callmanager, processnode.name as node from callmanager "
            "inner join processnode on callmanager.fkprocessnode=processnode.pkid"
        )
        return {row["callmanager"]: row["node"] for row in rows if row.get("callmanager") and row.get("node")}

    # Phones.

    async def phones(self, like: str = "SEP%") -> AsyncIterator[PhoneInfo]:
        """Phones whose name fits a pattern (`%` for any characters)."""
        tags = ("name", "model", "description", "devicePoolName", "securityProfileName", "loadInformation")
        async for row in self.rows("listPhone", {"name": like}, tags):
            yield _phone(soap.fields(row))

    async def phone(self, name: str) -> PhoneInfo:
        """One phone. Raises Refused when there is none."""
        found = soap.first(await self.call("getPhone", {"name": name}), "phone")
        if found is None:
            raise Garbled(f"{self._https.here}: getPhone gives no phone", "Try again.")
        return _phone(soap.fields(found))

    async def add_phone(self, values: Mapping[str, object]) -> None:
        """Create a phone; `values` are the elements of `addPhone`. Raises AlreadyThere when there is one."""
        await self.call("addPhone", {"phone": dict(values)})

    async def update_phone(self, name: str, changes: Mapping[str, object]) -> None:
        """Change a phone; `changes` are elements of `updatePhone`."""
        await self.call("updatePhone", {"name": name, **changes})

    async def reset(self, name: str, how: ResetType = "Reset") -> None:
        """Reset a phone; the node tells it and does not wait for it."""
        if not _PLAIN_NAME.fullmatch(name):
            await self.call("doDeviceReset", {"deviceName": name, "deviceResetType": how})
            return
        # One request a phone, and all alike: zeep makes the first, which takes it as long as the rest of the exchange.
        schema = await self._ready()
        if how not in self._resets:
            values = {"deviceName": _ANY_NAME, "deviceResetType": how}
            self._resets[how] = schema.request("doDeviceReset", values)
        content = self._resets[how].replace(_ANY_NAME.encode(), name.encode())
        await self._in_one("doDeviceReset", content, schema.action("doDeviceReset"))

    async def last_seen(self, like: str = "%") -> AsyncIterator[LastSeen]:
        """What the database remembers of phones that were registered. NotSupported before release 11.5."""
        if not (await self.release()).at_least(11, 5):
            raise NotSupported(f"{self._https.here}: listRegistrationDynamic came with release 11.5")
        tags = ("device", "lastKnownIpAddress", "lastKnownUcm", "lastKnownConfigVersion", "lastSeen")
        async for row in self.rows("listRegistrationDynamic", {"device": like}, tags):
            values = soap.fields(row)
            yield LastSeen(
                name=values.get("device", ""),
                node=values.get("lastKnownUcm", ""),
                address=values.get("lastKnownIpAddress", ""),
                configuration=values.get("lastKnownConfigVersion", ""),
                seen=_moment(values.get("lastSeen", "")),
                status=values.get("risStatus", ""),
            )

    # TVS and DHCP.

    async def tvs_certificates(self) -> tuple[TvsCertificate, ...]:
        """What TVS vouches for, with roles: a list, and then one request a certificate."""
        tags = ("subjectName", "issuerName", "serialNumber", "timeToLive")
        listed = [row async for row in self.rows("listTvsCertificate", {"subjectName": "%"}, tags)]
        gate = asyncio.Semaphore(_AT_ONCE)

        async def roles(values: Mapping[str, str]) -> tuple[str, ...]:
            key = {"issuerName": values.get("issuerName", ""), "serialNumber": values.get("serialNumber", "")}
            async with gate:
                found = await self.call("getTvsCertificate", key)
            return tuple(role.text or "" for role in found.iter() if soap.local(role) == "roleName")

        rows = [soap.fields(row) for row in listed]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(roles(values)) for values in rows]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return tuple(self._tvs(values, task.result()) for values, task in zip(rows, tasks, strict=True))

    def _tvs(self, values: Mapping[str, str], roles: tuple[str, ...]) -> TvsCertificate:
        serial, seconds = values.get("serialNumber", ""), values.get("timeToLive", "")
        if not _HEX.fullmatch(serial):
            raise Garbled(f"{self._https.here}: listTvsCertificate gives a serial number that is no number: {serial!r}")
        return TvsCertificate(
            subject=values.get("subjectName", ""),
            issuer=values.get("issuerName", ""),
            serial=int(serial, 16),
            time_to_live=int(seconds) if seconds.isascii() and seconds.isdigit() else 0,
            roles=roles,
        )

    async def dhcp_subnets(self) -> tuple[DhcpSubnet, ...]:
        """Subnets whose DHCP server is Unified CM itself."""
        tags = ("subnetIpAddress", "primaryTftpServerIpAddress", "secondaryTftpServerIpAddress")
        found = []
        async for row in self.rows("listDhcpSubnet", {"subnetIpAddress": "%"}, tags):
            values = soap.fields(row)
            servers = (values.get(tag, "") for tag in tags[1:])
            found.append(
                DhcpSubnet(
                    identifier=row.get("uuid") or "",
                    server=values.get("dhcpServerName", ""),
                    address=values.get("subnetIpAddress", ""),
                    tftp_servers=tuple(server for server in servers if server),
                )
            )
        return tuple(found)

    async def set_tftp_servers(self, subnet: DhcpSubnet, servers: Sequence[str]) -> None:
        """Change a subnet's option 150: one server, or two."""
        first, second = (*check_tftp_servers(servers), "")[:2]
        await self.call(
            "updateDhcpSubnet",
            {
                "uuid": subnet.identifier,
                "primaryTftpServerIpAddress": first,
                "secondaryTftpServerIpAddress": second,
            },
        )


def check_tftp_servers(servers: Sequence[str]) -> tuple[str, ...]:
    """Servers as a subnet of Unified CM's DHCP server can name them: one, or two.

    Raises:
        Refused: none, or more.
    """
    if not 1 <= len(servers) <= 2:
        raise Refused(
            f"a subnet of Unified CM's DHCP server names one or two TFTP servers, not {len(servers)}",
            "Name one or two.",
        )
    return tuple(servers)


def _page(error: _TooLarge) -> int:
    """How many rows to ask for at once: the node's own suggestion, or half of what was too many."""
    return max(1, error.bound - 1 if error.bound > 1 else error.total // 2)


def _objects(found: etree._Element) -> list[etree._Element]:
    inside = soap.child(found, "return")
    return [] if inside is None else [one for one in inside if isinstance(one.tag, str)]


def _phone(values: Mapping[str, str]) -> PhoneInfo:
    return PhoneInfo(
        name=values.get("name", ""),
        model=values.get("model", ""),
        description=values.get("description", ""),
        device_pool=values.get("devicePoolName", ""),
        security_profile=values.get("securityProfileName", ""),
        load=values.get("loadInformation", ""),
    )


def _moment(seconds: str) -> datetime | None:
    if not (seconds.isascii() and seconds.isdigit() and 0 < int(seconds) < 1 << 32):
        return None
    return datetime.fromtimestamp(int(seconds), UTC)
