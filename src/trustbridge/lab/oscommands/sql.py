"""`run sql select ...`: the part of a node's database that a migration looks at.

The tables are filled anew for each query, into a database in memory that can be read and nothing else.
"""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Final

from trustbridge.errors import Refused
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.oscommands.view import NodeView, command, table
from trustbridge.lab.phonedetails import HUB, names, product_of, profile_of, template_of
from trustbridge.services.clishell import Command
from trustbridge.trust.models import MODELS

_Row = Sequence[str | int | None]

_TABLES: Final = {
    "processconfig": "pkid, paramname, paramvalue, tkservice",
    "processnode": "pkid, name, nodeid, description, tkprocessnoderole, isactive",
    "callmanager": "pkid, name, description, fkprocessnode",
    "callmanagergroup": "pkid, name, tftpdefault",
    "callmanagergroupmember": "pkid, fkcallmanagergroup, fkcallmanager, priority",
    "devicepool": "pkid, name, fkcallmanagergroup",
    "typemodel": "enum, name",
    "typeclass": "enum, name",
    "typedeviceprotocol": "enum, name",
    "device": (
        "pkid, name, description, tkmodel, tkclass, tkdeviceprotocol, fkdevicepool, fkcallingsearchspace, fklocation, "
        "fkphonetemplate, fksecurityprofile, fkenduser, specialloadinformation, tkdevicesecuritymode"
    ),
    "callingsearchspace": "pkid, name",
    "location": "pkid, name",
    "phonetemplate": "pkid, name",
    "securityprofile": "pkid, name",
    "enduser": "pkid, userid",
    "routepartition": "pkid, name",
    "numplan": "pkid, dnorpattern, description, fkroutepartition, tkpatternusage",
    "devicenumplanmap": "pkid, fkdevice, fknumplan, numplanindex, label, display, e164mask",
}
#: Tables of names, and the kind of object that `phonedetails` knows them by.
_NAMES: Final = {
    "callingsearchspace": "css",
    "location": "location",
    "phonetemplate": "phoneButtonTemplate",
    "securityprofile": "phoneSecurityProfile",
    "enduser": "user",
    "routepartition": "routePartition",
}
#: The node that stands for the whole cluster in `processnode`.
_WHOLE_CLUSTER: Final = "EnterpriseWideData"
#: Steps of the database's machine after which a query is cut off: a second or so.
_STEPS: Final = 20_000_000
#: Rows an answer has at the most.
_ROWS: Final = 200_000
#: Bytes of a value at the most, so that none fills the memory.
_LONGEST: Final = 1_000_000
#: Enums of the data dictionary: a phone among classes, SIP among protocols, a device's number among patterns.
_PHONE, _SIP, _DEVICE_NUMBER = 1, 11, 2
_NO_TABLE = re.compile(r"no such table: (?:\w+\.)?(\S+)")
_NO_COLUMN = re.compile(r"no such column: (?:\w+\.)?(\S+)")


async def run_sql(view: NodeView, rest: str) -> Command:
    """A select over the tables above."""
    if not rest.lower().startswith("select "):
        raise Refused("Only select statements can be run here.")
    try:
        columns, rows = select(view.cluster, rest.rstrip("; "))
    except Refused as error:
        # The database's words, without the formula that other commands close with.
        yield f"{error.message}\n"
        return
    texts = [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(len(name), *(len(row[at]) for row in texts), 0) for at, name in enumerate(columns)]

    def line(values: Iterable[str]) -> str:
        return " ".join(value.ljust(width) for value, width in zip(values, widths, strict=True)).rstrip()

    yield table([line(columns), " ".join("=" * width for width in widths)])
    if not texts:
        return
    yield table(line(row) for row in texts)


def select(cluster: Cluster, query: str) -> tuple[list[str], list[_Row]]:
    """Columns and rows of a query.

    Raises:
        Refused: it can't be answered, in the words of a node's database.
    """
    asked = query.lower()
    with closing(sqlite3.connect(":memory:")) as database:
        for name, columns in _TABLES.items():
            database.execute(f"create table {name} ({columns})")
            if name in asked:
                database.executemany(
                    f"insert into {name} values ({', '.join('?' * (columns.count(',') + 1))})",  # noqa: S608 - ours
                    _rows(cluster, name),
                )
        database.execute("pragma case_sensitive_like = on")  # as in a node's database
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        database.set_authorizer(_reads_only)
        database.set_progress_handler(lambda: 1, _STEPS)
        try:
            cursor = database.execute(query)
            rows = cursor.fetchmany(_ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise Refused(_in_their_words(str(error))) from None
    if len(rows) > _ROWS:
        raise Refused(f"The query was stopped: it gives more than {_ROWS} rows.")
    return [item[0].lower() for item in cursor.description], rows


def _reads_only(action: int, *_: object) -> int:
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _in_their_words(error: str) -> str:
    if missing := _NO_TABLE.search(error):
        return f"The specified table ({missing[1]}) is not in the database."
    if missing := _NO_COLUMN.search(error):
        return f"Column ({missing[1]}) not found in any table in the query (or SLV is undefined)."
    if "interrupted" in error:
        return "The query was stopped: it takes too long."
    return "A syntax error has occurred."


def _key(*parts: str) -> str:
    """A primary key that is the same at every query."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(parts)))


def _rows(cluster: Cluster, name: str) -> list[_Row]:
    definition, state = cluster.definition, cluster.state
    groups = definition.unified_cm_groups
    match name:
        case "processconfig":
            values = {
                "ClusterSecurityMode": "1" if state.security == "mixed" else "0",
                "RollBackToPreGrayback": "T" if state.prepare_for_rollback else "F",
                "TFTPFileSignatureAlgorithm": "1" if definition.tftp_digest == "sha512" else "0",
            }
            return [(_key(name, parameter), parameter, value, 11) for parameter, value in values.items()]
        case "processnode":
            rows: list[_Row] = [(_key(name, _WHOLE_CLUSTER), _WHOLE_CLUSTER, 1, "", 1, "t")]
            for number, node in enumerate(definition.nodes, start=2):
                rows.append((_key(name, node.name), node.name, number, definition.address(node.name), 1, "t"))
            return rows
        case "callmanager":
            return [
                (_key(name, node.name), f"CM_{node.name}", node.name, _key("processnode", node.name))
                for node in definition.nodes
                if node.callmanager
            ]
        case "callmanagergroup":
            return [(_key(name, group.name), group.name, "t" if group is groups[0] else "f") for group in groups]
        case "callmanagergroupmember":
            return [
                (
                    _key(name, group.name, member),
                    _key("callmanagergroup", group.name),
                    _key("callmanager", member),
                    priority,
                )
                for group in groups
                for priority, member in enumerate(group.members)
            ]
        case "devicepool":
            return [(_key(name, group.name), group.name, _key("callmanagergroup", group.name)) for group in groups]
        case "typemodel":
            return [(number, product_of(model)) for model, number in _models(cluster).items()]
        case "typeclass":
            return [(_PHONE, "Phone")]
        case "typedeviceprotocol":
            return [(_SIP, "SIP")]
        case "numplan":
            return [
                (
                    _key(name, pattern, partition),
                    pattern,
                    number.get("description", ""),
                    _key("routepartition", partition) if partition else None,
                    _DEVICE_NUMBER,
                )
                for (pattern, partition), number in cluster.details.numbers.items()
            ]
        case "devicenumplanmap":
            return [
                (
                    _key(name, phone, line["index"]),
                    _key("device", phone),
                    _key("numplan", line["pattern"], line["routePartitionName"]),
                    int(line["index"]),
                    *(line.get(field, "") for field in ("label", "display", "e164Mask")),
                )
                for phone, details in cluster.details.differing().items()
                for line in details.lines
            ]
        case "device":
            return list(_devices(cluster))
        case _:
            models = frozenset(device.model for device in cluster.devices.values())
            return [(_key(name, one), one) for one in names(definition, _NAMES[name], models)]


def _models(cluster: Cluster) -> dict[str, int]:
    """Models that phones have or the lab knows, with their numbers; those that nobody listed get one of ours."""
    known = {model.name: model.number for model in MODELS.values()}
    others = sorted({device.model for device in cluster.devices.values()} - known.keys())
    return known | {model: 90_000 + place for place, model in enumerate(others)}


def _devices(cluster: Cluster) -> Iterator[_Row]:
    numbers = _models(cluster)
    keys: dict[tuple[str, str], str] = {}

    def key(table_name: str, name: str) -> str | None:
        """Few names, and many phones that refer to them."""
        if not name:
            return None
        if (table_name, name) not in keys:
            keys[table_name, name] = _key(table_name, name)
        return keys[table_name, name]

    for device in cluster.devices.values():
        more = cluster.details.of(device.name).fields
        profile = more.get("securityProfileName") or profile_of(device.model, device.security_mode)
        yield (
            _key("device", device.name),
            device.name,
            device.description,
            numbers[device.model],
            _PHONE,
            _SIP,
            key("devicepool", device.group),
            key("callingsearchspace", more.get("callingSearchSpaceName", "")),
            key("location", more.get("locationName") or HUB),
            key("phonetemplate", more.get("phoneTemplateName") or template_of(device.model)),
            key("securityprofile", profile),
            key("enduser", more.get("ownerUserName", "")),
            device.load,
            device.security_mode,
        )


COMMANDS = (command("run sql", run_sql, "sql-statement", fewest=1),)
