"""`set cert bulk`: the publisher's own procedure over SFTP."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from trustbridge.errors import Refused
from trustbridge.exchange.bulk import Imported
from trustbridge.exchange.directory import SftpSettings
from trustbridge.lab.oscommands.view import NodeView, command, table
from trustbridge.pki.stores import Added
from trustbridge.pki.units import ALL, BulkType, bulk_types
from trustbridge.services.clishell import Ask, Command

_PORT = re.compile(r"[0-9]{1,5}")


async def sftp(view: NodeView, rest: str) -> Command:
    """`set cert bulk sftp`: five questions, whose wording is UNVERIFIED (that of the vendor's page, as questions)."""
    view.need_publisher()
    host = (yield Ask("Enter the SFTP server IP address or host name: ")).strip()
    port = (yield Ask("Enter the SFTP server port: ")).strip() or "22"
    user = (yield Ask("Enter the user ID: ")).strip()
    password = yield Ask("Enter the password: ", secret=True)
    directory = (yield Ask("Enter the directory: ")).strip()
    if not host or not user or not password:
        raise Refused("Address, user and password must not be empty: the SFTP server is not set.")
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise Refused("Invalid port: the SFTP server is not set.")
    settings = SftpSettings(
        host=host, port=int(port), username=user, password=password, directory=str(PurePosixPath(directory or "/"))
    )
    view.cluster.configure_sftp(settings)
    yield "Successfully configured the SFTP server for bulk certificate management.\n"


def _types(view: NodeView, name: str) -> tuple[BulkType, ...]:
    """The types that are meant; what the release's bulk exchange does not know is not in `all`."""
    view.need_publisher()
    known = [kind for kind in BulkType if kind is not BulkType.ITLRECOVERY or view.profile.itl_recovery_bulk]
    if name.lower() not in (ALL, *known):
        raise Refused(f"Invalid unit {name}: it can be {', '.join((ALL, *known))}.")
    return tuple(kind for kind in bulk_types(name) if kind in known)


def _each(done: Iterable[BulkType], words: str) -> str:
    return table(words.format(kind) for kind in dict.fromkeys(done))


async def export(view: NodeView, rest: str) -> Command:
    """`set cert bulk export UNIT`."""
    exported = await view.cluster.export(_types(view, rest))
    yield _each((bundle.name.type for bundle in exported), "Successfully exported {} certificate(s) to sftp server.")


async def consolidate(view: NodeView, rest: str) -> Command:
    """`set cert bulk consolidate UNIT`."""
    done = await view.cluster.consolidate(_types(view, rest))
    yield _each((bundle.type for bundle in done), "Successfully consolidated {} certificate(s).")


async def import_(view: NodeView, rest: str) -> Command:
    """`set cert bulk import UNIT`: on 12.5 and later phones restart."""
    types = _types(view, rest)
    done = await view.cluster.import_(types)
    # A type whose bundle holds none but our own was imported as well: there was nothing to do.
    for kind in types:
        left_out = [item for item in done if item.type is kind and not _in_place(item)]
        if left_out:
            what = "; ".join(f"{item.certificate.subject} to {item.store}: {item.result}" for item in left_out)
            yield f"Failed to import {kind} certificates: {what}\n"
        else:
            yield f"Successfully imported {kind} certificates.\n"


def _in_place(item: Imported) -> bool:
    return item.result.changed or item.result is Added.PRESENT


COMMANDS = (
    command("set cert bulk sftp", sftp),
    command("set cert bulk export", export, "unit", fewest=1),
    command("set cert bulk consolidate", consolidate, "unit", fewest=1),
    command("set cert bulk import", import_, "unit", fewest=1),
)
