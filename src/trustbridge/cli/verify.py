"""`trustbridge exchange verify`: the proof, over the real protocol, that phones will be told to trust."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.errors import SettingsError

if TYPE_CHECKING:
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
    from trustbridge.migration.proof import prove

    pairs = chosen_pairs(clusters, pair or (), into)
    if html is not None and not html.absolute().parent.is_dir():
        raise SettingsError(f"--html {html}: there is no such folder", "Name a file in a folder that exists.")
    observations = asyncio.run(_observed(pairs, emcc=purpose is Purpose.EMCC, deep=not quick))
    proof = prove(observations, datetime.now(UTC))
    if html is not None:
        from trustbridge.migration import proofreport

        with atomicfile.in_words("the report was not written"):
            atomicfile.write(html, proofreport.as_html(proof).encode())
    if as_json:
        screen.print_json(verifyview.as_json(proof))
    else:
        verifyview.show(screen.console(), proof)
        if html is not None:
            typer.echo(f"The report is in {html}")
    if proof.holds is not True:
        raise typer.Exit(NOT_PROVEN)


async def _observed(pairs: Sequence[tuple[str, str]], *, emcc: bool, deep: bool) -> Observations:
    from contextlib import AsyncExitStack

    from trustbridge.cli import screen
    from trustbridge.cli.cluster import state_folder
    from trustbridge.cli.passwords import cluster_credentials
    from trustbridge.cucm.cluster import Cluster
    from trustbridge.migration.proofcollect import collect
    from trustbridge.storage.inventory import Inventory

    state = state_folder()
    inventory = Inventory(state)
    entries = [inventory.get(name) for name in dict.fromkeys(name for both in pairs for name in both)]
    # Every question for a password comes before the first connection.
    known = [(entry, cluster_credentials(entry, state)) for entry in entries]
    async with AsyncExitStack() as stack:
        opened = {
            entry.name: await stack.enter_async_context(
                Cluster.open(entry, credentials, state=state, on_first_contact=_pinned)
            )
            for entry, credentials in known
        }
        with screen.progress("Verifying") as progress:
            return await collect(opened, pairs, emcc=emcc, deep=deep, progress=progress)


def _pinned(words: str) -> None:
    typer.echo(words, err=True)


def chosen_pairs(clusters: Sequence[str], pairs: Sequence[str], into: str | None = None) -> list[tuple[str, str]]:
    """The pairs to verify: those that are named, or all with one destination; else each cluster with each after it.

    Raises:
        SettingsError: fewer than two clusters, or a pair that is none, or not of the clusters named.
    """
    names = list(dict.fromkeys(clusters))
    if len({*names, *([into] if into else [])}) < 2:
        raise SettingsError("an exchange has at least two sides", "Name source and destination, by their names here.")
    if len(names) < len(clusters):
        raise SettingsError("a cluster is named twice")
    if into is not None:
        if pairs:
            raise SettingsError("--pair and --into exclude each other")
        if into not in names:
            names.append(into)
        return [(name, into) for name in names if name != into]
    if not pairs:
        return [(one, other) for at, one in enumerate(names) for other in names[at + 1 :]]
    chosen = []
    for text in pairs:
        one, sign, other = text.partition(":")
        if not sign or one == other or not {one, other} <= set(names):
            raise SettingsError(
                f"--pair {text}: two different ones of the clusters are expected, as {names[0]}:{names[1]}",
                f"The clusters are {', '.join(names)}.",
            )
        chosen.append((one, other))
    unused = set(names) - {name for both in chosen for name in both}
    if unused:
        raise SettingsError(f"no --pair has {', '.join(sorted(unused))}", "Leave it out, or name a pair with it.")
    return chosen
