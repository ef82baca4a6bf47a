"""What becomes of a campaign's phones, foretold before it begins, before it tries again, and before it goes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from trustbridge.cucm.cluster import Cluster
from trustbridge.migration.phonecollect import PAGE_PORT, collect_phones
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predict import predict
from trustbridge.migration.predictcollect import collect_rest
from trustbridge.migration.predictvalues import Forecast
from trustbridge.migration.proofcollect import collect

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Foretold:
    """What was foretold.

    Attributes:
        facts: of each phone, by name.
        phones: what becomes of each, and why, by name.
        servers: TFTP servers that were reckoned with, by address, in order.
    """

    facts: Mapping[str, PhoneFacts] = field(default_factory=dict)
    phones: Mapping[str, tuple[Forecast, str]] = field(default_factory=dict)
    servers: tuple[str, ...] = ()

    @property
    def counts(self) -> Mapping[Forecast, int]:
        """Phones by forecast."""
        return Counter(what for what, _ in self.phones.values())

    @property
    def words(self) -> str:
        """The counts, for people."""
        return ", ".join(f"{self.counts[what]} {what}" for what in Forecast if self.counts.get(what))

    @property
    def stranding(self) -> Mapping[str, str]:
        """Phones that strand, and why."""
        return {name: why for name, (what, why) in self.phones.items() if what is Forecast.STRANDS}

    @property
    def as_kept(self) -> dict[str, tuple[str, str]]:
        """For the database."""
        return {name: (str(what), why) for name, (what, why) in self.phones.items()}


async def foretell(
    source: Cluster,
    destination: Cluster,
    names: Collection[str],
    *,
    now: datetime,
    servers: Sequence[str] = (),
    page_port: int = PAGE_PORT,
    progress: Progress = lambda what, done, total: None,
) -> Foretold:
    """Predict some phones of the source. Changes nothing.

    Args:
        names: which.
        servers: TFTP servers that option 150 will name; none: two of the destination's.

    Raises:
        TrustbridgeError: a cluster does not tell its nodes or its phones, or refuses a password.
    """
    clusters = {source.name: source, destination.name: destination}
    observations = await collect(clusters, [(source.name, destination.name)], progress=progress)
    expected = [phone async for phone in destination.phones()]
    facts = await collect_phones(
        source, pages=True, configurations="sampled", page_port=page_port, progress=progress, only=names
    )
    seen = await collect_rest(
        source, destination, observations, facts, expected, now=now, servers=servers, progress=progress
    )
    forecasts = predict(seen.estate, seen.world, progress=progress)
    found = {name: (one.forecast, one.why(name)) for name, one in forecasts}
    return Foretold({one.name: one for one in facts}, found, tuple(server.address for server in seen.world.servers))
