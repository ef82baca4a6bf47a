"""Clusters of a lab in a desk's inventory, with their passwords; and what pages of them need to be read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.console.desks import CHEAP, Browser
from tests.e2e.test_cluster import credentials_of, entry_of
from tests.lab.prepared import LiveLab

from trustbridge.console.app import create_app
from trustbridge.console.clusterwork import key_of
from trustbridge.console.desk import Desk
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.storage.people import Role

SOURCE, DESTINATION = "source", "destination"
#: Longest that a job may take, seconds.
PATIENCE = 60.0


def know(desk: Desk, live: LiveLab) -> None:
    """The clusters of a lab, as `trustbridge cluster add --lab` adds them."""
    for cluster in live.lab.clusters.values():
        desk.inventory.add(entry_of(cluster), replace=True)
        PasswordFile(desk.state).keep(cluster.name, credentials_of(cluster))


def passwords(live: LiveLab) -> list[str]:
    """What must be on no page."""
    return [
        cluster.accounts.credentials(realm)[1]
        for cluster in live.lab.clusters.values()
        for realm in ("os", "application")
    ]


@contextlib.contextmanager
def desk_in(folder: Path) -> Iterator[Desk]:
    """A desk at today's time: the lab's certificates are of today."""
    engine = open_database("", folder)
    upgrade_to_head(engine)
    yield Desk(engine, folder, now=lambda: datetime.now(UTC), hashing=CHEAP, work=False)
    engine.dispose()


@contextlib.contextmanager
def browsing(desk: Desk) -> Iterator[dict[Role, Browser]]:
    """The server runs, and somebody of each role has signed in."""
    from tests.console.desks import HERE, PASSWORD

    with Browser(create_app(desk), HERE) as client:
        browsers = {}
        for role in Role:
            desk.accounts.add(f"the-{role}", role, PASSWORD)
            browsers[role] = Browser(client.app, HERE)
            assert browsers[role].sign_in(f"the-{role}").status_code == 303
        yield browsers


def ended(desk: Desk, kind: str, cluster: str) -> JobRecord:
    """The newest job of a kind, when it has come to an end."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        job = desk.jobs.table.of_key(key_of(kind, cluster))
        if job is not None and not job.running:
            return job
        time.sleep(0.02)
    raise AssertionError(f"{kind} of {cluster} did not end")
