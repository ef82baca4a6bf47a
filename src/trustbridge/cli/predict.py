"""`trustbridge predict`: what will become of every phone, before option 150 is changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.errors import SettingsError

if TYPE_CHECKING:
    from datetime import datetime

    from trustbridge.migration.predictcollect import Collected

#: Not every phone moves, or not of every phone it is known.
NOT_ALL_MOVE = 1


def predict(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The cluster that phones leave, by name.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="The cluster they move to.")],
    pages: Annotated[
        bool,
        typer.Option("--pages/--no-pages", help="Read the phones' web pages, the only witness of their trust lists."),
    ] = True,
    server: Annotated[
        list[str] | None,
        typer.Option(
            "--server",
            metavar="NODE",
            help="TFTP server that option 150 will name; may be repeated, in order. "
            "Else two of the destination's that serve an ITL.",
        ),
    ] = None,
    lists: Annotated[
        Path | None,
        typer.Option(
            "--lists", metavar="FOLDER", help="More trust lists (*.tlv) that phones may hold: older, others'."
        ),
    ] = None,
    auto_registration: Annotated[
        bool | None,
        typer.Option(
            "--auto-registration/--no-auto-registration",
            help="Whether the destination registers phones nobody created there; phones it does not know are unknown "
            "unless this is said.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables: every phone.")] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write a line a phone, for a spreadsheet.")
    ] = None,
    scheduler: Annotated[
        str, typer.Option("--scheduler", metavar="tcp://...", help="Let the workers of a dask scheduler do it.")
    ] = "",
    page_port: Annotated[
        int, typer.Option("--page-port", min=1, max=65535, help="Port of the phones' web pages; a lab may shift it.")
    ] = 80,
) -> None:
    """Predict for every phone of the source what becomes of it when it is moved.

    Runs the phone's own decision procedure over what is seen now: the trust
    lists that both clusters serve, what every TVS of the source answers
    about their signers, each phone's page, group and model, and the
    configuration that waits for it. A phone moves; or moves by first trust,
    because nothing on it demands a signature; or strands, and why; or it is
    unknown, and what would have to be known. Nothing is guessed, and nothing
    is changed.

    Exit code 0 means that every phone moves, and 1 that one does not or that
    it is not known.
    """
    import asyncio
    from datetime import UTC, datetime

    from trustbridge import atomicfile
    from trustbridge.cli import predictview, screen
    from trustbridge.migration.goals import pairs_of
    from trustbridge.migration.predict import predict as foretell

    pairs_of([source, destination])  # two different ones
    if csv is not None and not csv.absolute().parent.is_dir():
        raise SettingsError(f"--csv {csv}: there is no such folder", "Name a file in a folder that exists.")
    known = [] if lists is None else lists_in(lists)
    now = datetime.now(UTC)
    seen = asyncio.run(_collected(source, destination, now, pages, server or [], known, auto_registration, page_port))
    with screen.progress("Predicting") as progress:
        forecasts = foretell(seen.estate, seen.world, scheduler=scheduler, progress=progress)
    if csv is not None:
        with atomicfile.in_words("the list of phones was not written"):
            atomicfile.write(csv, predictview.as_csv(forecasts, seen.facts).encode())
    if as_json:
        screen.print_json(predictview.as_json(source, destination, forecasts, seen))
    else:
        predictview.show(screen.console(), source, destination, forecasts, seen)
        if csv is not None:
            typer.echo(f"Every phone is in {csv}")
    if not forecasts.all_move:
        raise typer.Exit(NOT_ALL_MOVE)


def lists_in(folder: Path) -> list[bytes]:
    """Trust lists in a folder.

    Raises:
        SettingsError: there is none, or the folder can't be read.
    """
    try:
        found = [path.read_bytes() for path in sorted(folder.glob("*.tlv"))]
    except OSError as error:
        raise SettingsError(f"--lists {folder}: {error.strerror or error}", "Name a folder of trust lists.") from None
    if not found:
        raise SettingsError(f"--lists {folder}: there is no *.tlv in it", "Name a folder of trust lists.")
    return found


async def _collected(
    source: str,
    destination: str,
    now: datetime,
    pages: bool,
    servers: list[str],
    known: list[bytes],
    auto_registration: bool | None,
    page_port: int,
) -> Collected:
    from trustbridge.cli import screen
    from trustbridge.cli.opened import opened
    from trustbridge.migration.predictcollect import collect_prediction

    async with opened((source, destination)) as clusters:
        with screen.progress("Collecting") as progress:
            return await collect_prediction(
                clusters[source],
                clusters[destination],
                now=now,
                pages=pages,
                servers=servers,
                known_lists=known,
                auto_registration=auto_registration,
                progress=progress,
                page_port=page_port,
            )
