"""The clusters that a command works on: looked up, with their passwords, opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from trustbridge.cucm.cluster import Cluster
    from trustbridge.cucm.model import Write


def state_folder() -> Path:
    """Where clusters, pins, passwords and records are kept."""
    from trustbridge import settings

    return settings.load().state_folder


def pinned(words: str) -> None:
    """Say what was pinned at a first contact, where it does not get into what a script reads."""
    typer.echo(words, err=True)


@asynccontextmanager
async def opened(
    names: Iterable[str], on_write: Callable[[Write], None] | None = None
) -> AsyncIterator[dict[str, Cluster]]:
    """Clusters of the inventory, for as long as the context.

    Args:
        on_write: told each change before it is made.

    Raises:
        SettingsError: one is not known, or the files that hold them can't be read.
    """
    from trustbridge.cli.passwords import cluster_credentials
    from trustbridge.cucm.cluster import Cluster
    from trustbridge.storage.inventory import Inventory

    state = state_folder()
    inventory = Inventory(state)
    entries = [inventory.get(name) for name in dict.fromkeys(names)]
    # Every question for a password comes before the first connection.
    known = [(entry, cluster_credentials(entry, state)) for entry in entries]
    async with AsyncExitStack() as stack:
        yield {
            entry.name: await stack.enter_async_context(
                Cluster.open(entry, credentials, state=state, on_write=on_write, on_first_contact=pinned)
            )
            for entry, credentials in known
        }
