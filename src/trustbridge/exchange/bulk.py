"""Bulk certificate management: export, consolidate, import. The rules and their results.

They run on a cluster's publisher, over a directory that all clusters share; whether that is SFTP or local, they never
know. Everything is written beside and renamed; every step may be killed at any point and run again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from trustbridge.errors import (
    ConsolidationMissing,
    ConsolidationStale,
    InvalidBundle,
    InvalidCertificate,
    InvalidInput,
    NothingToConsolidate,
    NotNow,
    Refused,
)
from trustbridge.exchange.directory import Directory
from trustbridge.exchange.manifest import (
    CONSOLIDATED,
    ConsolidationNote,
    Contents,
    Export,
    ExportName,
    ExportNote,
    check_cluster_name,
    consolidated_file,
    contents,
    manifest_file,
    read_consolidation,
    sha256,
    write_consolidation,
    write_exports,
)
from trustbridge.pki.bundle import BundledCertificate, read_bundle, write_bundle
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.stores import Added, TrustStores
from trustbridge.pki.units import IMPORT_STORES, UNITS_OF, BulkType, Store, Unit

#: Bundles hold certificates, which are public: the password satisfies the format and protects nothing. What protects
#: an exchange is who may write to the directory.
BUNDLE_PASSWORD = "trustbridge"  # noqa: S105 - see above

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and of how many."""


def quiet(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """An identity certificate of a cluster, without its key."""

    node: str
    unit: Unit
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class ExportedBundle:
    """A bundle on the server; `written` is False when the same certificates were there already."""

    name: ExportName
    certificates: tuple[Certificate, ...]
    written: bool


async def export(
    directory: Directory,
    cluster: str,
    identities: Sequence[NodeCertificate],
    types: Sequence[BulkType],
    *,
    now: datetime,
    password: str = BUNDLE_PASSWORD,
    progress: Progress = quiet,
) -> list[ExportedBundle]:
    """Put a bundle a node and type into the directory, and say so in the cluster's manifest.

    A bundle that holds these certificates already is left as it is, so that a killed export can be run again without
    making a consolidation stale for nothing. Bundles of nodes the cluster no longer has are removed. From the first
    change to the last the manifest calls the export unfinished, and nobody consolidates it.

    Raises:
        SettingsError: the name of the cluster or of a node can't stand in a file name.
        NotNow: the cluster has no certificate of these types, or another cluster of its name has exported here.
        TrustbridgeError: the directory can't be used.
    """
    check_cluster_name(cluster)
    plan = _bundles(cluster, identities, types)
    if not plan:
        raise NotNow(
            f"cluster {cluster} has no certificate of type {', '.join(types)} to export",
            "Choose another type, or all.",
        )
    mine = {export.name: export for export in (await contents(directory)).by_cluster(cluster)}
    _check_same_cluster(cluster, {name.node for name in mine}, {name.node for name in plan})
    notes = {export.file.name: export.note for export in mine.values() if export.note is not None}
    unfinished = {export.name.type for export in mine.values() if export.unfinished}
    chosen = set(types)

    async def say(unfinished: set[BulkType]) -> None:
        await directory.write_atomic(manifest_file(cluster), write_exports(cluster, notes.values(), unfinished))

    changed = [
        name
        for name, bundled in plan.items()
        if not (name in mine and await _holds(directory, mine[name], bundled, password))
    ]
    gone = [name for name in mine if name.type in chosen and name not in plan]
    if changed or gone:
        await say(unfinished | chosen)
    for done, name in enumerate(changed, len(plan) - len(changed)):
        progress(name.file, done, len(plan))
        data = write_bundle(plan[name], password=password)
        await directory.write_atomic(name.file, data)
        notes[name.file] = ExportNote(name.file, sha256(data), now, _fingerprints(plan[name]))
    for name in gone:
        await _remove(directory, name.file)
        notes.pop(name.file, None)
    if changed or gone or unfinished & chosen:
        await say(unfinished - chosen)
    progress("exported", len(plan), len(plan))
    return [
        ExportedBundle(name, tuple(item.certificate for item in bundled), name in changed)
        for name, bundled in plan.items()
    ]


def _check_same_cluster(cluster: str, there: set[str], ours: set[str]) -> None:
    """That what lies there under our name is ours: of two clusters with one name, each would remove the other's."""
    if there and there.isdisjoint(ours):
        raise NotNow(
            f"bundles of another cluster {cluster} lie there, of nodes {', '.join(sorted(there))}",
            "Give one of the clusters another name; or, where all these nodes are gone, remove their bundles.",
        )


async def _remove(directory: Directory, name: str) -> None:
    """Take a file away; somebody may have done it already."""
    try:
        await directory.remove(name)
    except Refused:
        if name in {file.name for file in await directory.list()}:
            raise


def _bundles(
    cluster: str, identities: Sequence[NodeCertificate], types: Sequence[BulkType]
) -> dict[ExportName, list[BundledCertificate]]:
    """What an export writes: for each node and type the certificates of the units that belong to the type."""
    plan: dict[ExportName, list[BundledCertificate]] = {}
    for kind in types:
        for identity in identities:
            if identity.unit in UNITS_OF[kind]:
                item = BundledCertificate(identity.certificate, f"{cluster}/{identity.node}/{identity.unit}")
                plan.setdefault(ExportName(cluster, identity.node, kind).check(), []).append(item)
    return plan


def _fingerprints(bundled: Sequence[BundledCertificate]) -> dict[str, str]:
    return {item.certificate.sha256: item.certificate.subject for item in bundled}


async def _holds(directory: Directory, there: Export, bundled: Sequence[BundledCertificate], password: str) -> bool:
    """Whether an exported bundle is what its note says and holds just these certificates."""
    if there.note is None or there.note.certificates != _fingerprints(bundled):
        return False
    try:
        data = await directory.read(there.file.name)
        held = {item.certificate for item in read_bundle(data, password=password)}
    except InvalidInput:
        return False
    return sha256(data) == there.note.sha256 and held == {item.certificate for item in bundled}


@dataclass(frozen=True, slots=True)
class ConsolidatedBundle:
    """A consolidated bundle: the clusters it joins and how many certificates it holds."""

    type: BulkType
    file: str
    clusters: tuple[str, ...]
    certificates: int


async def consolidate(
    directory: Directory,
    by: str,
    types: Sequence[BulkType],
    *,
    now: datetime,
    password: str = BUNDLE_PASSWORD,
    progress: Progress = quiet,
) -> list[ConsolidatedBundle]:
    """Join what the clusters have exported into one bundle a type. Once, on one cluster, is enough.

    Raises:
        NothingToConsolidate: fewer than two clusters have exported one of these types.
        NotNow: an export has not finished.
        InvalidBundle: a bundle is garbled, has another password, or holds a private key; it is named.
        InvalidInput: a cluster's manifest is garbled.
    """
    before = await contents(directory)
    check_consolidate(before, types)
    chosen = [kind for kind in types if before.of_type(kind)]
    # Everything is read and judged before anything is written.
    joined: dict[BulkType, list[BundledCertificate]] = {}
    for done, kind in enumerate(chosen):
        progress(f"reading {kind}", done, len(chosen))
        joined[kind] = await _join(directory, before.of_type(kind), password)
    results: list[ConsolidatedBundle] = []
    for kind in chosen:
        exports = before.of_type(kind)
        file = consolidated_file(kind)
        progress(file, len(results), len(chosen))
        data = write_bundle(joined[kind], password=password)
        await directory.write_atomic(file, data)
        inputs = {export.file.name: export.fingerprint for export in exports}
        await _note_consolidation(directory, kind, ConsolidationNote(file, sha256(data), by, now, inputs))
        clusters = tuple(sorted({export.name.cluster for export in exports}))
        results.append(ConsolidatedBundle(kind, file, clusters, len(joined[kind])))
    progress("consolidated", len(chosen), len(chosen))
    return results


async def _join(directory: Directory, exports: Sequence[Export], password: str) -> list[BundledCertificate]:
    """The certificates of these bundles, each once."""
    joined: dict[Certificate, BundledCertificate] = {}
    for export in exports:
        data = await directory.read(export.file.name)
        if export.note is not None and export.note.sha256 != sha256(data):
            raise _interrupted(export.name.cluster, f"{export.file.name} is not what its manifest says")
        for bundled in _read(data, export.file.name, password):
            joined.setdefault(bundled.certificate, _named(bundled, export.name))
    return list(joined.values())


async def _note_consolidation(directory: Directory, kind: BulkType, note: ConsolidationNote) -> None:
    """Say in the manifest what a consolidated bundle was made of, and leave what it says of the other types."""
    name = manifest_file(CONSOLIDATED)
    notes: dict[BulkType, ConsolidationNote] = {}
    if name in {file.name for file in await directory.list()}:
        # A garbled one is replaced; what it said of other types is lost, and they count as stale.
        with suppress(InvalidInput):
            notes = read_consolidation(await directory.read(name), name)
    await directory.write_atomic(name, write_consolidation(notes | {kind: note}))


def check_consolidate(there: Contents, types: Sequence[BulkType]) -> None:
    """That a consolidation of these types can work now.

    Raises:
        NothingToConsolidate: fewer than two clusters have exported.
        NotNow: an export has not finished.
        InvalidInput: a cluster's manifest is garbled.
    """
    exports = [export for kind in types for export in there.of_type(kind)]
    clusters = sorted({export.name.cluster for export in exports})
    if len(clusters) < 2:
        what = " and ".join(types) if len(types) == 1 else "anything"
        raise NothingToConsolidate(
            f"only {clusters[0]} has exported {what}" if clusters else f"no cluster has exported {what}",
            "Consolidation joins at least two clusters: export on each of them, to the same server and the same "
            "directory, then consolidate on one.",
        )
    for export in exports:
        cluster = export.name.cluster
        if manifest_file(cluster) in there.garbled:
            raise there.garbled[manifest_file(cluster)]
        if export.unfinished:
            raise _interrupted(cluster, f"the export of cluster {cluster} has not finished")


def _interrupted(cluster: str, what: str) -> NotNow:
    return NotNow(
        f"{what}: it is under way, or was interrupted",
        f"Export again on cluster {cluster}, then consolidate.",
    )


def _read(data: bytes, file: str, password: str) -> list[BundledCertificate]:
    try:
        return read_bundle(data, password=password)
    except InvalidBundle as error:
        raise InvalidBundle(f"{file}: {error.message}", error.hint) from None


def _named(bundled: BundledCertificate, export: ExportName) -> BundledCertificate:
    """With a name that says where it came from, also when another program made the bundle."""
    prefix = f"{export.cluster}/{export.node}/"
    if bundled.name.startswith(prefix):
        return bundled
    return BundledCertificate(bundled.certificate, f"{prefix}{bundled.name or bundled.certificate.common_name}")


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did with one certificate in one store."""

    type: BulkType
    certificate: Certificate
    store: Store
    origin: str
    result: Added


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """Certificates to import, read and judged; nothing is changed yet.

    `own` are the cluster's own certificates, which an import passes over.
    """

    certificates: tuple[tuple[BulkType, BundledCertificate], ...]
    own: tuple[BundledCertificate, ...]

    def apply(self, stores: TrustStores) -> list[Imported]:
        """Add them to the stores that the table of imports names; again, nothing happens a second time."""
        results = []
        for kind, item in self.certificates:
            origin = f"import from {item.name} ({kind})"
            for store in IMPORT_STORES[kind]:
                added = stores.add(store, item.certificate, origin)
                results.append(Imported(kind, item.certificate, store, item.name, added))
        return results


async def plan_import(
    directory: Directory,
    own: Collection[Certificate],
    types: Sequence[BulkType],
    *,
    now: datetime,
    password: str = BUNDLE_PASSWORD,
    progress: Progress = quiet,
) -> ImportPlan:
    """Read the consolidated bundles of these types.

    Args:
        own: the identities of the importing cluster.

    Raises:
        ConsolidationMissing: a type was exported and not consolidated, or nothing was.
        ConsolidationStale: something was exported since.
        InvalidCertificate: one of the certificates has expired; a cluster's own import stops there too (TB142).
        InvalidBundle: a bundle is garbled or holds a private key.
    """
    there = await contents(directory)
    chosen = [kind for kind in types if kind in there.consolidations or there.of_type(kind)]
    missing = [kind for kind in chosen if kind not in there.consolidations]
    if missing or not chosen:
        raise ConsolidationMissing(
            f"there is no consolidated bundle of {', '.join(missing or types)}",
            "Export on every cluster, consolidate on one of them, then import.",
        )
    certificates: list[tuple[BulkType, BundledCertificate]] = []
    skipped: list[BundledCertificate] = []
    for done, kind in enumerate(chosen):
        consolidation = there.consolidations[kind]
        progress(consolidation.file.name, done, len(chosen))
        if consolidation.stale:
            raise ConsolidationStale(
                f"{consolidation.file.name} is stale: {consolidation.stale}",
                "Consolidate again on one cluster, then import.",
            )
        data = await directory.read(consolidation.file.name)
        assert consolidation.note is not None  # a consolidation without a note is stale
        if sha256(data) != consolidation.note.sha256:
            raise ConsolidationStale(
                f"{consolidation.file.name} is not what {manifest_file(CONSOLIDATED)} says: a consolidation was "
                "interrupted, or ran twice at once",
                "Consolidate again on one cluster, then import.",
            )
        for item in _read(data, consolidation.file.name, password):
            if item.certificate in own:
                skipped.append(item)
                continue
            if item.certificate.not_after < now:
                raise InvalidCertificate(
                    f"{item.name} in {consolidation.file.name} expired on {item.certificate.not_after:%Y-%m-%d}; "
                    "nothing was imported",
                    "Renew it on its cluster, or remove that node's bundle; then export, consolidate, import.",
                )
            certificates.append((kind, item))
    progress("read", len(chosen), len(chosen))
    return ImportPlan(tuple(certificates), tuple(skipped))
