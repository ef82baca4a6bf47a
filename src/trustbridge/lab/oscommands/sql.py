"""`run sql select ...`: the part of a node's database that a migration looks at.

The tables are filled anew for each query, into a database in memory that can be read and nothing else.
"""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Final

from trustbridge.errors import Refused
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.oscommands.view import NodeView, command, table
from trustbridge.services.clishell import Command

_Row = Sequence[str | int | None]

_TABLES: Final = {
    "processconfig": "pkid, paramname, paramvalue, tkservice",
    "processnode": "pkid, name, nodeid, description, tkprocessnoderole, isactive",
    "callmanager": "pkid, name, description, fkprocessnode",
    "callmanagergroup": "pkid, name, tftpdefault",
    "callmanagergroupmember": "pkid, fkcallmanagergroup, fkcallmanager, priority",
    "devicepool": "pkid, name, fkcallmanagergroup",
    "typemodel": "enum, name",
    "device": "pkid, name, description, tkmodel, tkclass, fkdevicepool, tkdevicesecuritymode",
}
#: The node that stands for the whole cluster in `processnode`.
_WHOLE_CLUSTER: Final = "EnterpriseWideData"
#: Steps of the database's machine after which a query is cut off: a second or so.
_STEPS: Final = 20_000_000
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
    with closing(sqlite3.connect(":memory:")) as database:
        for name, columns in _TABLES.items():
            database.execute(f"create table {name} ({columns})")
            if name in query.lower():
                database.executemany(
                    f"insert into {name} values ({', '.join('?' * (columns.count(',') + 1))})",  # noqa: S608 - ours
                    _rows(cluster, name),
                )
        database.set_authorizer(_reads_only)
        database.set_progress_handler(lambda: 1, _STEPS)
        try:
            cursor = database.execute(query)
            return [item[0].lower() for item in cursor.description], cursor.fetchall()
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise Refused(_in_their_words(str(error))) from None


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
    models = sorted({device.model for device in cluster.devices.values()})
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
            return [(number, f"Cisco {model.removeprefix('CP-')}") for number, model in enumerate(models, start=1)]
        case _:
            numbers = {model: number for number, model in enumerate(models, start=1)}
            return [
                (
                    _key(name, device.name),
                    device.name,
                    "",
                    numbers[device.model],
                    1,
                    _key("devicepool", device.group),
                    device.security_mode,
                )
                for device in cluster.devices.values()
            ]


COMMANDS = (command("run sql", run_sql, "sql-statement", fewest=1),)
