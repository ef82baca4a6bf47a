"""Which certificate belongs into which store of which cluster: what an exchange is for, as values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from trustbridge.errors import SettingsError
from trustbridge.migration.survey import ClusterSurvey
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import IMPORT_STORES, UNITS_OF, BulkType, Store, Unit

#: Two clusters that exchange, in the order of their names on the command line.
Pair = tuple[str, str]

_TYPE_OF: Final[Mapping[Unit, BulkType]] = {unit: kind for kind, units in UNITS_OF.items() for unit in units}


@dataclass(frozen=True, slots=True)
class Goal:
    """One certificate in one store.

    Attributes:
        importer: the cluster that is to hold it.
        node: of the importer, where the store does not replicate (CAPF-trust); "" for the publisher's, which does.
        store: where.
        certificate: which.
        exporter: the cluster whose certificate it is.
        source: `node/unit` of the exporter, or where else it was found.
        type: the bulk type that carries it; None for what bulk leaves out.
    """

    importer: str
    node: str
    store: Store
    certificate: Certificate
    exporter: str
    source: str
    type: BulkType | None

    def __str__(self) -> str:
        where = f"{self.importer}/{self.node}" if self.node else self.importer
        return f"{self.certificate.subject} of {self.exporter}/{self.source} in {self.store} of {where}"


def pairs_of(clusters: Sequence[str], *, chosen: Iterable[str] = (), into: str | None = None) -> tuple[Pair, ...]:
    """Which clusters exchange with which, source and destination: each with each after it, unless it is said otherwise.

    Args:
        clusters: all that take part.
        chosen: `A:B` for each pair that is meant.
        into: each other cluster with this one as its destination, and no other pair; it need not be among `clusters`.

    Raises:
        SettingsError: fewer than two clusters, one twice, a pair of others, or one that is in no pair.
    """
    if len({*clusters, *([into] if into else [])}) < 2:
        raise SettingsError("an exchange has at least two sides", "Name source and destination, by their names here.")
    if len(set(clusters)) != len(clusters):
        raise SettingsError("a cluster is named twice")
    wanted = list(chosen)
    if wanted and into is not None:
        raise SettingsError("--pair and --into exclude each other")
    if into is not None:
        return tuple((name, into) for name in clusters if name != into)
    if not wanted:
        return tuple(combinations(clusters, 2))
    found: dict[frozenset[str], Pair] = {}
    for text in wanted:
        one, _, other = text.partition(":")
        if one not in clusters or other not in clusters or one == other:
            raise SettingsError(
                f"--pair {text}: two different ones of the clusters are expected, as {clusters[0]}:{clusters[1]}",
                f"The clusters are {', '.join(clusters)}.",
            )
        found.setdefault(frozenset((one, other)), (one, other))
    alone = [name for name in clusters if not any(name in pair for pair in found.values())]
    if alone:
        raise SettingsError(f"no --pair has {', '.join(alone)}", "Leave it out, or name a pair with it.")
    return tuple(found.values())


def complete(pairs: Collection[Pair]) -> bool:
    """Whether every cluster exchanges with every other: what one consolidated bundle brings about."""
    names = {name for pair in pairs for name in pair}
    return len({frozenset(pair) for pair in pairs}) == len(names) * (len(names) - 1) // 2


def goals_of(
    surveys: Mapping[str, ClusterSurvey],
    pairs: Sequence[Pair],
    types: Sequence[BulkType],
    *,
    capf_trust: bool,
) -> tuple[Goal, ...]:
    """What an exchange of these pairs leads to, both ways: importing on both sides is what makes going back possible.

    Args:
        capf_trust: also take each CAPF in use to CAPF-trust of every node of the other side, where both clusters are in
            mixed mode: phones keep their LSC (TB152), and bulk leaves that store out.

    Returns:
        Each goal once, importer by importer.
    """
    found: dict[Goal, None] = {}
    for one, other in pairs:
        for importer, exporter in ((one, other), (other, one)):
            for goal in _towards(surveys[importer], surveys[exporter], types, capf_trust):
                found[goal] = None
    return tuple(sorted(found, key=lambda goal: list(surveys).index(goal.importer)))


def _towards(
    importer: ClusterSurvey, exporter: ClusterSurvey, types: Sequence[BulkType], capf_trust: bool
) -> Iterable[Goal]:
    for identity in exporter.identities:
        kind = _TYPE_OF.get(identity.unit)
        if kind is None or kind not in types:
            continue
        source = f"{identity.node}/{identity.unit}"
        for store in IMPORT_STORES[kind]:
            yield Goal(importer.name, "", store, identity.certificate, exporter.name, source, kind)
        in_use = identity.unit is Unit.CAPF and identity.node == exporter.publisher
        if in_use and capf_trust and importer.mixed_mode and exporter.mixed_mode:
            for node in importer.nodes:
                yield Goal(
                    importer.name, node.name, Store.CAPF_TRUST, identity.certificate, exporter.name, source, None
                )
