"""One cluster, as the rest of the product sees it: over the command line, REST, AXL, RisPort70 and files of TFTP nodes.

    async with Cluster.open(entry, credentials, state=folder) as cluster:
        for identity in await cluster.identities():
            ...
        cluster.ways()      # which interface each answer came by

Nothing is connected before it is needed. See `clusterreads`, `clusterwrites`, `clusterdevices` and `clustertrials`;
`ways` says which way is taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from trustbridge.cucm.access import Access
from trustbridge.cucm.clusterdevices import ClusterDevices
from trustbridge.cucm.clustertrials import ClusterTrials
from trustbridge.cucm.credentials import Credentials
from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import ClusterEntry, Interface, Write
from trustbridge.cucm.ways import Ways


class Cluster(ClusterDevices, ClusterTrials):
    """A cluster, to be read and changed. Made by `open`."""

    def __repr__(self) -> str:
        return f"<Cluster {self.name} ({self.entry.publisher})>"

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        entry: ClusterEntry,
        credentials: Credentials,
        *,
        state: Path,
        dry_run: bool = False,
        on_write: Callable[[Write], None] | None = None,
        on_first_contact: Callable[[str], None] | None = None,
        prefer: Interface | None = None,
        patience: Patience | None = None,
    ) -> AsyncIterator[Self]:
        """A cluster for as long as the context; its connections are closed at the end.

        Args:
            state: the state folder: host keys and TLS certificates are pinned there.
            dry_run: only announce changes.
            on_write: told each change before it is done.
            on_first_contact: told in words each identity that is pinned now.
            prefer: the interface to try first wherever there are several.
            patience: how long to wait, and how often to try.
        """
        access = Access(entry, credentials, state, on_first_contact=on_first_contact, patience=patience)
        try:
            yield cls(entry, access, Ways(access, prefer), dry_run=dry_run, on_write=on_write)
        finally:
            await access.close()
