"""The clusters that a command works on: looked up, with their passwords, opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
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
    from trustbridge.storage import opened as opening

    state = state_folder()
    async with opening.opened(
        names,
        state,
        lambda entry: cluster_credentials(entry, state),
        on_write=on_write,
        on_first_contact=pinned,
    ) as found:
        yield found
