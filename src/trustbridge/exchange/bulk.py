"""Bulk certificate management: export, consolidate, import. The rules and their results.

They run on a cluster's publisher, over a directory that all clusters share; whether that is SFTP or local, they never
know. Everything is written beside and renamed; every step may be killed at any point and run again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from trustbridge.errors import (
    ConsolidationMissing,
    ConsolidationStale,
    InvalidBundle,
    InvalidCertificate,
    NothingToConsolidate,
    NotNow,
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


def _quiet(what: str, done: int, total: int) -> None:
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
    progress: Progress = _quiet,
) -> list[ExportedBundle]:
    """Put a bundle a node and type into the directory, and say so in the cluster's manifest.

    A bundle that holds these certificates already is left as it is, so that a killed export can be run again without
    making a consolidation stale for nothing. Bundles of nodes the cluster no longer has are removed.

    Raises:
        SettingsError: the cluster's name can't stand in a file name.
        TrustbridgeError: the directory can't be used.
    """
    check_cluster_name(cluster)
    before = await contents(directory)
    notes = {
        export.name.file: export.note
        for export in before.exports
        if export.name.cluster == cluster and export.note is not None
    }
    there = {export.name.file for export in before.exports}
    plan = _bundles(cluster, identities, types)
    done: list[ExportedBundle] = []
    for name, bundled in plan.items():
        progress(name.file, len(done), len(plan))
        certificates = {item.certificate.sha256: item.certificate.subject for item in bundled}
        written = not (
            name.file in there and await _holds(directory, name.file, notes.get(name.file), certificates, password)
        )
        if written:
            data = write_bundle(bundled, password=password)
            await directory.write_atomic(name.file, data)
            notes[name.file] = ExportNote(name.file, sha256(data), now, certificates)
        done.append(ExportedBundle(name, tuple(item.certificate for item in bundled), written))
    gone = {
        export.name.file
        for export in before.exports
        if export.name.cluster == cluster and export.name.type in types and export.name not in plan
    }
    await directory.write_atomic(
        manifest_file(cluster),
        write_exports(cluster, [note for file, note in notes.items() if note is not None and file not in gone]),
    )
    for file in sorted(gone):
        await directory.remove(file)
    progress("exported", len(plan), len(plan))
    return done


def _bundles(
    cluster: str, identities: Sequence[NodeCertificate], types: Sequence[BulkType]
) -> dict[ExportName, list[BundledCertificate]]:
    """What an export writes: for each node and type the certificates of the units that belong to the type."""
    plan: dict[ExportName, list[BundledCertificate]] = {}
    for kind in types:
        for identity in identities:
            if identity.unit in UNITS_OF[kind]:
                item = BundledCertificate(identity.certificate, f"{cluster}/{identity.node}/{identity.unit}")
                plan.setdefault(ExportName(cluster, identity.node, kind), []).append(item)
    return plan


async def _holds(
    directory: Directory, file: str, note: ExportNote | None, certificates: dict[str, str], password: str
) -> bool:
    """Whether `file` is what its note says and holds just these certificates."""
    if note is None or note.certificates != certificates:
        return False
    data = await directory.read(file)
    if sha256(data) != note.sha256:
        return False
    try:
        held = {item.certificate.sha256 for item in read_bundle(data, password=password)}
    except InvalidBundle:
        return False
    return held == set(certificates)


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
    progress: Progress = _quiet,
) -> list[ConsolidatedBundle]:
    """Join what the clusters have exported into one bundle a type. Once, on one cluster, is enough.

    Raises:
        NothingToConsolidate: fewer than two clusters have exported one of these types.
        NotNow: an export was interrupted.
        InvalidBundle: a bundle is garbled, has another password, or holds a private key; it is named.
    """
    before = await contents(directory)
    check_consolidate(before, types)
    notes: dict[BulkType, ConsolidationNote] = {}
    if any(item.note for item in before.consolidations.values()):
        name = manifest_file(CONSOLIDATED)
        notes = read_consolidation(await directory.read(name), name)
    done: list[ConsolidatedBundle] = []
    chosen = [kind for kind in types if before.of_type(kind)]
    for kind in chosen:
        exports = before.of_type(kind)
        progress(consolidated_file(kind), len(done), len(chosen))
        joined: dict[Certificate, BundledCertificate] = {}
        inputs: dict[str, str] = {}
        for item in exports:
            data = await directory.read(item.name.file)
            inputs[item.name.file] = _as_noted(item, data)
            for bundled in _read(data, item.name.file, password):
                joined.setdefault(bundled.certificate, _named(bundled, item.name))
        data = write_bundle(list(joined.values()), password=password)
        file = consolidated_file(kind)
        await directory.write_atomic(file, data)
        notes[kind] = ConsolidationNote(file, sha256(data), by, now, inputs)
        await directory.write_atomic(manifest_file(CONSOLIDATED), write_consolidation(notes))
        clusters = tuple(sorted({item.name.cluster for item in exports}))
        done.append(ConsolidatedBundle(kind, file, clusters, len(joined)))
    progress("consolidated", len(chosen), len(chosen))
    return done


def check_consolidate(there: Contents, types: Sequence[BulkType]) -> None:
    """That a consolidation of these types can work now.

    Raises:
        NothingToConsolidate: fewer than two clusters have exported.
    """
    clusters = sorted({export.name.cluster for kind in types for export in there.of_type(kind)})
    if len(clusters) < 2:
        what = " and ".join(types) if len(types) == 1 else "anything"
        raise NothingToConsolidate(
            f"only {clusters[0]} has exported {what}" if clusters else f"no cluster has exported {what}",
            "Consolidation joins at least two clusters: export on each of them, to the same server and the same "
            "directory, then consolidate on one.",
        )


def _as_noted(item: Export, data: bytes) -> str:
    """The fingerprint of an exported bundle, once it is what its cluster's manifest says."""
    found = sha256(data)
    if item.note is not None and item.note.sha256 != found:
        raise NotNow(
            f"{item.name.file} is not what {manifest_file(item.name.cluster)} says: an export was interrupted, or is "
            "under way",
            f"Export again on cluster {item.name.cluster}, then consolidate.",
        )
    return found if item.note is not None else ""


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
    progress: Progress = _quiet,
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
