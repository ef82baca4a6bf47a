"""Keys take long to make: one small cluster's identities for all tests of this folder."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trustbridge.pki.issue import Identity, Organisation, node_identities
from trustbridge.pki.units import Unit

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ORGANISATION = Organisation(ou="TAC", o="Cisco Systems, Inc.", l="Krakow", st="Malopolska", c="PL")


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def organisation() -> Organisation:
    return ORGANISATION


@pytest.fixture(scope="session")
def identities() -> dict[Unit, Identity]:
    """Every identity of a publisher `cm1` in `lab.test`, by unit."""
    made = node_identities(
        "cm1",
        domain="lab.test",
        organisation=ORGANISATION,
        now=NOW,
        publisher=True,
        itlrecovery=True,
        addresses=("127.10.1.1",),
    )
    return {identity.unit: identity for identity in made}
