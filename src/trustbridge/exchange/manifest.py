"""What lies in the exchange directory, and the notes that clusters leave there for people and for each other.

Names: `<cluster>_<node>_<type>.p12` for an export, `consolidated_<type>.p12` for a consolidation,
`<cluster>.manifest.json` and `consolidated.manifest.json` for who did what when. Unified CM does not publish its own
file names; these are ours.

A cluster's manifest is what makes its export count: it is written first with the types that are being exported as
unfinished, and last without them. Bundles of an unfinished export, or such as differ from what their manifest says,
are neither consolidated nor imported. Bundles no manifest tells of (another program's) count as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from trustbridge.errors import InvalidInput, SettingsError
from trustbridge.exchange.directory import Directory, FileInfo, check_name
from trustbridge.pki.units import BulkType

CONSOLIDATED = "consolidated"
_SUFFIX = ".p12"
_MANIFEST = ".manifest.json"
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def check_cluster_name(name: str) -> str:
    """`name`, if it can stand in a file name.

    Raises:
        SettingsError: it can't.
    """
    if not _is_cluster(name):
        raise SettingsError(
            f"{name!r} can't be the name of a cluster",
            "Use letters, digits, '-' and '.', starting with a letter or digit, at most 63; not 'consolidated'.",
        )
    return name


def _is_cluster(name: str) -> bool:
    # Servers exist for which upper and lower case are one.
    return _CLUSTER.fullmatch(name) is not None and name.lower() != CONSOLIDATED


def sha256(data: bytes) -> str:
    """Fingerprint of a file, as the manifests hold it."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class ExportName:
    """What the name of an exported bundle says."""

    cluster: str
    node: str
    type: BulkType

    def check(self) -> ExportName:
        """This name, if its file can be written, and read back as the same.

        Raises:
            SettingsError: it can't.
        """
        check_cluster_name(self.cluster)
        if ExportName.parse(self.file) != self:
            raise SettingsError(
                f"{self.node!r} can't be the name of a node in an exchange",
                "Use letters, digits, '-', '.' and '_', starting with a letter or digit, at most 255.",
            )
        check_name(self.file)
        return self

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.cluster}_{self.node}_{self.type}{_SUFFIX}"

    @classmethod
    def parse(cls, file: str) -> ExportName | None:
        """Read a file's name; None for files that are no exports."""
        if not file.endswith(_SUFFIX):
            return None
        cluster, _, rest = file.removesuffix(_SUFFIX).partition("_")
        node, _, kind = rest.rpartition("_")
        if not _is_cluster(cluster) or not _NODE.fullmatch(node):
            return None
        try:
            return cls(cluster, node, BulkType(kind))
        except ValueError:
            return None


def consolidated_file(kind: BulkType) -> str:
    """Name of the consolidated bundle of a type."""
    return f"{CONSOLIDATED}_{kind}{_SUFFIX}"


def manifest_file(cluster: str) -> str:
    """Name of a cluster's manifest; that of `CONSOLIDATED` for the consolidation."""
    return f"{cluster}{_MANIFEST}"


@dataclass(frozen=True, slots=True)
class ExportNote:
    """A line of a cluster's manifest: a bundle and what was put in it.

    `sha256` is of the file; `certificates` maps SHA-256 of each certificate to its subject.
    """

    file: str
    sha256: str
    exported: datetime
    certificates: dict[str, str]


@dataclass(frozen=True, slots=True)
class ClusterManifest:
    """What a cluster says it exported.

    `unfinished` are the types whose export has begun and not ended: under way, or interrupted.
    """

    notes: tuple[ExportNote, ...] = ()
    unfinished: frozenset[BulkType] = frozenset()


@dataclass(frozen=True, slots=True)
class ConsolidationNote:
    """What the consolidation's manifest says of one type: `inputs` maps exported file to its SHA-256 at that time."""

    file: str
    sha256: str
    by: str
    at: datetime
    inputs: dict[str, str]


def write_exports(cluster: str, notes: Iterable[ExportNote], unfinished: Collection[BulkType] = ()) -> bytes:
    """A cluster's manifest, for people as much as for programs."""
    content: dict[str, Any] = {
        "cluster": cluster,
        "bundles": {
            note.file: {
                "exported": note.exported.astimezone(UTC).isoformat(),
                "sha256": note.sha256,
                "certificates": note.certificates,
            }
            for note in sorted(notes, key=lambda note: note.file)
        },
    }
    if unfinished:
        content["unfinished"] = sorted(map(str, unfinished))
    return _json(content)


def read_exports(data: bytes, name: str) -> ClusterManifest:
    """The reverse.

    Raises:
        InvalidInput: this is no manifest.
    """
    try:
        content = json.loads(data)
        return ClusterManifest(
            tuple(
                ExportNote(
                    _text(file),
                    _text(entry["sha256"]),
                    _moment(entry["exported"]),
                    {_text(key): _text(value) for key, value in entry["certificates"].items()},
                )
                for file, entry in content["bundles"].items()
            ),
            frozenset(BulkType(kind) for kind in content.get("unfinished", [])),
        )
    except _GARBLED as error:
        raise _garbled(name, error, f"Export again on cluster {name.removesuffix(_MANIFEST)}.") from None


def write_consolidation(notes: dict[BulkType, ConsolidationNote]) -> bytes:
    """The consolidation's manifest."""
    return _json(
        {
            str(kind): {
                "file": note.file,
                "sha256": note.sha256,
                "consolidated_by": note.by,
                "consolidated": note.at.astimezone(UTC).isoformat(),
                "inputs": note.inputs,
            }
            for kind, note in sorted(notes.items())
        }
    )


def read_consolidation(data: bytes, name: str) -> dict[BulkType, ConsolidationNote]:
    """The reverse.

    Raises:
        InvalidInput: this is no manifest.
    """
    try:
        return {
            BulkType(kind): ConsolidationNote(
                _text(entry["file"]),
                _text(entry["sha256"]),
                _text(entry["consolidated_by"]),
                _moment(entry["consolidated"]),
                {_text(key): _text(value) for key, value in entry["inputs"].items()},
            )
            for kind, entry in json.loads(data).items()
        }
    except _GARBLED as error:
        raise _garbled(name, error, "Consolidate again on one cluster.") from None


#: What reading JSON of another shape raises.
_GARBLED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where text must stand")
    value.encode()  # half a surrogate pair is not text, and could not be written again
    return value


def _moment(value: object) -> datetime:
    at = datetime.fromisoformat(_text(value))
    if at.tzinfo is None:
        raise ValueError("a time without its zone")
    return at


def _garbled(name: str, error: Exception, hint: str) -> InvalidInput:
    return InvalidInput(f"{name} is not a manifest ({type(error).__name__})", hint)


@dataclass(frozen=True, slots=True)
class Export:
    """An exported bundle as it lies in the directory.

    `note` is None when no manifest tells of it; `unfinished`: the export it belongs to has not ended.
    """

    name: ExportName
    file: FileInfo
    note: ExportNote | None
    unfinished: bool = False

    @property
    def fingerprint(self) -> str:
        """What tells this bundle from an earlier one under its name: SHA-256 by the manifest, else size and time."""
        if self.note is not None:
            return self.note.sha256
        # Whole seconds, as SFTP knows no more: the same file must look the same from everywhere.
        return f"{self.file.size} bytes of {self.file.modified.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Consolidation:
    """A consolidated bundle; `stale` says why it must not be imported, or is empty."""

    type: BulkType
    file: FileInfo
    note: ConsolidationNote | None
    stale: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in the exchange directory.

    Attributes:
        exports: sorted by file name.
        others: files that are neither bundles of ours nor manifests.
        garbled: what is wrong with a manifest, by its file name. Its cluster's exports count as without one, but are
            not consolidated.
    """

    exports: tuple[Export, ...]
    consolidations: dict[BulkType, Consolidation]
    others: tuple[FileInfo, ...]
    garbled: dict[str, InvalidInput] = field(default_factory=dict)

    @property
    def clusters(self) -> tuple[str, ...]:
        """Names of the clusters that have exported anything."""
        return tuple(sorted({export.name.cluster for export in self.exports}))

    def of_type(self, kind: BulkType) -> tuple[Export, ...]:
        """Exports of one type."""
        return tuple(export for export in self.exports if export.name.type is kind)

    def by_cluster(self, cluster: str) -> tuple[Export, ...]:
        """Exports of one cluster."""
        return tuple(export for export in self.exports if export.name.cluster == cluster)


async def contents(directory: Directory) -> Contents:
    """Look at the directory: a listing, and one small file a cluster.

    A garbled manifest is reported in the result, so that it can be seen and an export can put it right.

    Raises:
        TrustbridgeError: the directory can't be read.
    """
    files = await directory.list()
    by_name = {file.name: file for file in files}
    names = {file.name: name for file in files if (name := ExportName.parse(file.name)) is not None}
    garbled: dict[str, InvalidInput] = {}
    exports: list[Export] = []
    for cluster in sorted({name.cluster for name in names.values()}):
        manifest = ClusterManifest()
        file = manifest_file(cluster)
        if file in by_name:
            try:
                manifest = read_exports(await directory.read(file), file)
            except InvalidInput as error:
                garbled[file] = error
        notes = {note.file: note for note in manifest.notes}
        exports += [
            Export(name, by_name[file], notes.get(file), name.type in manifest.unfinished)
            for file, name in names.items()
            if name.cluster == cluster
        ]
    exports.sort(key=lambda export: export.file.name)
    notes_of_type: dict[BulkType, ConsolidationNote] = {}
    if manifest_file(CONSOLIDATED) in by_name:
        file = manifest_file(CONSOLIDATED)
        try:
            notes_of_type = read_consolidation(await directory.read(file), file)
        except InvalidInput as error:
            garbled[file] = error
    consolidations = {}
    for kind in BulkType:
        file = consolidated_file(kind)
        if file in by_name:
            note = notes_of_type.get(kind)
            stale = _stale(note, [export for export in exports if export.name.type is kind], garbled)
            consolidations[kind] = Consolidation(kind, by_name[file], note, stale)
    ours = set(names) | {consolidated_file(kind) for kind in BulkType}
    others = tuple(file for file in files if file.name not in ours and not file.name.endswith(_MANIFEST))
    return Contents(tuple(exports), consolidations, others, garbled)


def _stale(note: ConsolidationNote | None, exports: list[Export], garbled: Collection[str]) -> str:
    """Why a consolidation does not stand for these exports any more; empty when it does."""
    if note is None:
        lost = manifest_file(CONSOLIDATED) in garbled
        return f"{manifest_file(CONSOLIDATED)} is garbled" if lost else "nothing says what it was made of"
    for export in exports:
        file = export.file.name
        if manifest_file(export.name.cluster) in garbled:
            return f"{manifest_file(export.name.cluster)} is garbled, so nobody knows whether {file} is newer"
        if file not in note.inputs:
            return f"{file} was exported after it"
        if export.unfinished:
            return f"cluster {export.name.cluster} has begun another export and not finished it"
        if export.fingerprint != note.inputs[file]:
            return f"{file} was exported again after it"
    for file in sorted(note.inputs):
        if file not in {export.file.name for export in exports}:
            return f"{file}, which went into it, is gone"
    return ""
