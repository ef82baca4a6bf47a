"""What should lie in which trust store besides what TVS vouches from: EMCC's four imports, and CAPF-trust. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from trustbridge.migration.findings import Finding, Severity, finding
from trustbridge.migration.proofseen import ClusterSeen, Gap, NodeSeen, Observations
from trustbridge.migration.proofvalues import Placement, Verdict
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import IMPORT_STORES, UNITS_OF, BulkType, Store, Unit

#: Units of which only the publisher's certificate is in use.
_PUBLISHERS = (Unit.CAPF,)


def stores_for_emcc() -> tuple[Store, ...]:
    """The stores that EMCC is judged by."""
    return tuple(dict.fromkeys(store for stores in IMPORT_STORES.values() for store in stores))


def live_certificates(owner: ClusterSeen, bulk_type: BulkType) -> tuple[Certificate, ...] | None:
    """What an import of a type brings from a cluster, as its certificates are now; None where not all are known."""
    if not owner.identities_whole:
        return None
    return tuple(
        dict.fromkeys(
            one.certificate
            for one in owner.identities
            if one.unit in UNITS_OF[bulk_type] and (one.unit not in _PUBLISHERS or one.node == owner.publisher.name)
        )
    )


def emcc_placements(observations: Observations) -> tuple[Placement, ...]:
    """All four import mappings, on every node, in each direction."""
    return tuple(
        _placement(observations.clusters[holder], node, observations.clusters[owner], bulk_type, store)
        for holder, owner, _ in observations.directions()
        for node in observations.clusters[holder].nodes
        for bulk_type, stores in IMPORT_STORES.items()
        for store in stores
    )


def _placement(holder: ClusterSeen, node: NodeSeen, owner: ClusterSeen, bulk_type: BulkType, store: Store) -> Placement:
    expected = live_certificates(owner, bulk_type)
    held = node.stores.get(store)
    place = (holder.name, node.name, owner.name, bulk_type, store)
    if expected is None:
        return Placement(*place, Verdict.UNKNOWN, 0, words=f"not all certificates of {owner.name} were read")
    if not expected:
        return Placement(*place, Verdict.UNKNOWN, 0, words=f"{owner.name} shows no certificate of type {bulk_type}")
    if held is None:
        return Placement(*place, Verdict.UNKNOWN, len(expected), words=f"{store} of {node.name} was not read")
    missing = tuple(one for one in expected if one not in held)
    if not missing:
        return Placement(*place, Verdict.YES, len(expected))
    names = ", ".join(one.common_name for one in missing)
    return Placement(*place, Verdict.NO, len(expected), missing, f"{len(missing)} of {len(expected)} missing: {names}")


def placement_findings(placements: Iterable[Placement]) -> Iterator[Finding]:
    """TB171: one finding for a node and a type of certificate."""
    gathered: dict[tuple[str, str, str, BulkType], list[Placement]] = {}
    for one in placements:
        if one.verdict is Verdict.NO:
            gathered.setdefault((one.holder, one.node, one.owner, one.bulk_type), []).append(one)
    for (holder, node, owner, bulk_type), places in gathered.items():
        stores = " and ".join(place.store for place in places)
        missing = dict.fromkeys(certificate for place in places for certificate in place.missing)
        names = "; ".join(f"{one.subject}, serial {one.serial:X}, SHA-256 {one.sha256}" for one in missing)
        yield finding(
            "TB171", Severity.STOP, f"{holder}/{node}", f"type {bulk_type} of {owner}, not in {stores}: {names}"
        )


def capf_findings(observations: Observations) -> tuple[list[Finding], list[Gap]]:
    """CAPF-trust, which phones with an LSC need on the cluster they move to, where both are in mixed mode."""
    found: list[Finding] = []
    gaps: list[Gap] = []
    for holder_name, owner_name, _ in observations.directions():
        holder, owner = observations.clusters[holder_name], observations.clusters[owner_name]
        if not (holder.mixed and owner.mixed):
            continue
        capf = owner.publisher.identity(Unit.CAPF)
        nodes = [holder.node(name) for name in holder.asked]
        unread = [node.name for node in nodes if Store.CAPF_TRUST not in node.stores]
        if capf is None or unread:
            quick = "" if observations.deep else " (--quick leaves it out)"
            why = f"CAPF certificate of {owner_name}" if capf is None else f"CAPF-trust of {', '.join(unread)}"
            gaps.append(Gap(holder_name, "", f"CAPF of {owner_name} in CAPF-trust", f"not read: {why}{quick}"))
        if capf is not None:
            found += _capf(holder, owner, nodes, capf)
    return found, gaps


def _capf(holder: ClusterSeen, owner: ClusterSeen, nodes: Sequence[NodeSeen], capf: Certificate) -> Iterator[Finding]:
    read = [node for node in nodes if Store.CAPF_TRUST in node.stores]
    without = [node.name for node in read if capf not in node.stores[Store.CAPF_TRUST]]
    evidence = f"CAPF of {owner.name}, {capf.subject}, SHA-256 {capf.sha256}: not in CAPF-trust of {', '.join(without)}"
    if not without:
        return
    if len(without) == len(read):
        yield finding("TB152", Severity.WARN, holder.name, evidence)
    else:
        yield finding("TB147", Severity.WARN, holder.name, f"{evidence}; the other nodes hold it")
