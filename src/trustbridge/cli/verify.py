"""`trustbridge exchange verify`: the proof, over the real protocol, that phones will be told to trust."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.errors import SettingsError

if TYPE_CHECKING:
    from trustbridge.migration.goals import Pair
    from trustbridge.migration.proofseen import Observations

#: Not proven: something is wrong, or not all was seen.
NOT_PROVEN = 1


class Purpose(StrEnum):
    """What else an exchange may be for."""

    EMCC = "emcc"


def verify(
    clusters: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE DESTINATION [MORE...]", help="Clusters by name; at least two."),
    ],
    pair: Annotated[
        list[str] | None,
        typer.Option("--pair", metavar="A:B", help="Only this pair, from source to destination; may be repeated."),
    ] = None,
    into: Annotated[
        str | None, typer.Option("--into", help="Each other cluster with this one as its destination, no other pair.")
    ] = None,
    purpose: Annotated[
        Purpose | None,
        typer.Option("--for", help="emcc: also what Extension Mobility Cross Cluster needs, in every node's stores."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read no trust stores where the TVS has answered well.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a report to attach to a change ticket.")
    ] = None,
) -> None:
    """Prove over TVS itself that phones will be told to trust the other cluster, and can go back.

    Downloads the trust lists that each TFTP node serves, verifies them, and
    asks every TVS that phones may ask about their signers, as a phone does.
    The answers are compared with the trust stores and with
    listTvsCertificate, so that the node is named that has not replicated or
    whose TVS wants a restart. Changes nothing.

    Each pair is looked at both ways. With more than two clusters all pairs
    are, unless --pair or --into choose. Exit code 0 means proven, and 1 not
    proven, also where something could not be seen.
    """
    import asyncio
    from datetime import UTC, datetime

    from trustbridge import atomicfile
    from trustbridge.cli import screen, verifyview
    from trustbridge.migration import proofreport
    from trustbridge.migration.goals import pairs_of
    from trustbridge.migration.proof import prove

    pairs = pairs_of(clusters, chosen=pair or (), into=into)
    if html is not None and not html.absolute().parent.is_dir():
        raise SettingsError(f"--html {html}: there is no such folder", "Name a file in a folder that exists.")
    observations = asyncio.run(_observed(pairs, emcc=purpose is Purpose.EMCC, deep=not quick))
    proof = prove(observations, datetime.now(UTC))
    if html is not None:
        with atomicfile.in_words("the report was not written"):
            atomicfile.write(html, proofreport.as_html(proof).encode())
    if as_json:
        screen.print_json(proofreport.as_json(proof))
    else:
        verifyview.show(screen.console(), proof)
        if html is not None:
            typer.echo(f"The report is in {html}")
    if proof.holds is not True:
        raise typer.Exit(NOT_PROVEN)


async def _observed(pairs: Sequence[Pair], *, emcc: bool, deep: bool) -> Observations:
    from trustbridge.cli import screen
    from trustbridge.cli.opened import opened
    from trustbridge.migration.proofcollect import collect

    async with opened(name for both in pairs for name in both) as clusters:
        with screen.progress("Verifying") as progress:
            return await collect(clusters, pairs, emcc=emcc, deep=deep, progress=progress)
