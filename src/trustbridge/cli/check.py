"""`trustbridge check`: what stands in the way of a move, before a phone is touched."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.errors import SettingsError

if TYPE_CHECKING:
    from trustbridge.migration.checkseen import Observed

#: Something stops the move, or something that decides it could not be seen.
NOT_READY = 1


class Purpose(StrEnum):
    """What else the clusters may exchange certificates for."""

    EMCC = "emcc"


def check(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The cluster that phones leave, by name.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="The cluster they move to.")],
    pages: Annotated[
        bool,
        typer.Option("--pages/--no-pages", help="Read the web pages of the source's phones: which lists they hold."),
    ] = True,
    purpose: Annotated[
        Purpose | None,
        typer.Option("--for", help="emcc: also what Extension Mobility Cross Cluster needs, in every node's stores."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a report to attach to a change ticket.")
    ] = None,
    page_port: Annotated[
        int, typer.Option("--page-port", min=1, max=65535, help="Port of the phones' web pages; a lab may shift it.")
    ] = 80,
) -> None:
    """Check every precondition of a move, and every known way it fails, before a phone is touched.

    Looks at both clusters and at the source's phones: trust lists, TVS,
    trust stores, services, registrations, configuration files, the phones'
    own pages, and what the destination knows of them. Each finding says
    what was seen, what it leads to and for how many phones, and what to do;
    what could not be looked at is told, and why. Changes nothing.

    Each id has a page: docs/findings.md. Exit code 0 means that nothing that
    was seen stops the move, and 1 that something does, or that something
    which decides it could not be seen.
    """
    import asyncio
    from datetime import UTC, datetime

    from trustbridge import atomicfile
    from trustbridge.cli import checkview, screen
    from trustbridge.migration.check import check as judge
    from trustbridge.migration.goals import pairs_of

    pairs_of([source, destination])  # two different ones
    if html is not None and not html.absolute().parent.is_dir():
        raise SettingsError(f"--html {html}: there is no such folder", "Name a file in a folder that exists.")
    seen = asyncio.run(_observed(source, destination, pages, purpose is Purpose.EMCC, page_port))
    checked = judge(seen, datetime.now(UTC))
    if html is not None:
        from trustbridge.migration import checkreport

        with atomicfile.in_words("the report was not written"):
            atomicfile.write(html, checkreport.as_html(checked).encode())
    if as_json:
        screen.print_json(checkview.as_json(checked))
    else:
        checkview.show(screen.console(), checked)
        if html is not None:
            typer.echo(f"The report is in {html}")
    if not checked.ready:
        raise typer.Exit(NOT_READY)


async def _observed(source: str, destination: str, pages: bool, emcc: bool, page_port: int) -> Observed:
    from trustbridge.cli import screen
    from trustbridge.cli.opened import opened, state_folder
    from trustbridge.migration.checkcollect import observe
    from trustbridge.migration.checkrecords import servers_set
    from trustbridge.migration.exchangerecord import exchanges

    try:
        sftp = servers_set(exchanges(state_folder() / "exchanges"))
    except SettingsError as error:  # a record that can't be read says nothing about phones
        typer.echo(f"{error.message}; TB144 is not judged", err=True)
        sftp = {}
    async with opened((source, destination)) as clusters:
        with screen.progress("Checking") as progress:
            return await observe(
                clusters[source],
                clusters[destination],
                pages=pages,
                emcc=emcc,
                sftp=sftp,
                progress=progress,
                page_port=page_port,
            )
