"""What lies in the exchange directory, and the notes that clusters leave there for people and for each other.

Names: `<cluster>_<node>_<type>.p12` for an export, `consolidated_<type>.p12` for a consolidation,
`<cluster>.manifest.json` and `consolidated.manifest.json` for who did what when. Unified CM does not publish its own
file names; these are ours.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trustbridge.errors import InvalidInput, SettingsError
from trustbridge.exchange.directory import Directory, FileInfo
from trustbridge.pki.units import BulkType

CONSOLIDATED = "consolidated"
_SUFFIX = ".p12"
_MANIFEST = ".manifest.json"
_CLUSTER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62})")
_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,254})")


def check_cluster_name(name: str) -> str:
    """`name`, if it can stand in a file name.

    Raises:
        SettingsError: it can't.
    """
    if not _CLUSTER.fullmatch(name) or name == CONSOLIDATED:
        raise SettingsError(
            f"{name!r} can't be the name of a cluster",
            "Use letters, digits, '-' and '.', starting with a letter or digit, at most 63; not 'consolidated'.",
        )
    return name


def sha256(data: bytes) -> str:
    """Fingerprint of a file, as the manifests hold it."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class ExportName:
    """What the name of an exported bundle says."""

    cluster: str
    node: str
    type: BulkType

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
        if not _CLUSTER.fullmatch(cluster) or cluster == CONSOLIDATED or not _NODE.fullmatch(node):
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
class ConsolidationNote:
    """What the consolidation's manifest says of one type: `inputs` maps exported file to its SHA-256 at that time."""

    file: str
    sha256: str
    by: str
    at: datetime
    inputs: dict[str, str]


def write_exports(cluster: str, notes: list[ExportNote]) -> bytes:
    """A cluster's manifest, for people as much as for programs."""
    return _text(
        {
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
    )


def read_exports(data: bytes, name: str) -> list[ExportNote]:
    """The reverse.

    Raises:
        InvalidInput: this is no manifest.
    """
    try:
        return [
            ExportNote(
                file,
                str(entry["sha256"]),
                datetime.fromisoformat(entry["exported"]),
                {str(key): str(value) for key, value in entry["certificates"].items()},
            )
            for file, entry in json.loads(data)["bundles"].items()
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _garbled(name, error) from None


def write_consolidation(notes: dict[BulkType, ConsolidationNote]) -> bytes:
    """The consolidation's manifest."""
    return _text(
        {
            str(kind): {
                "file": note.file,
                "sha256": note.sha256,
                "consolidated_by": note.by,
                "consolidated": note.at.astimezone(UTC).isoformat(),
                "inputs": note.inputs,
            }
            for kind, note in notes.items()
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
                str(entry["file"]),
                str(entry["sha256"]),
                str(entry["consolidated_by"]),
                datetime.fromisoformat(entry["consolidated"]),
                {str(key): str(value) for key, value in entry["inputs"].items()},
            )
            for kind, entry in json.loads(data).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _garbled(name, error) from None


def _text(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _garbled(name: str, error: Exception) -> InvalidInput:
    return InvalidInput(
        f"{name} is not a manifest ({type(error).__name__})", "Remove it and export (or consolidate) again."
    )


@dataclass(frozen=True, slots=True)
class Export:
    """An exported bundle as it lies in the directory; `note` is None when no manifest tells of it."""

    name: ExportName
    file: FileInfo
    note: ExportNote | None


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

    `others` are files that are neither bundles of ours nor manifests.
    """

    exports: tuple[Export, ...]
    consolidations: dict[BulkType, Consolidation]
    others: tuple[FileInfo, ...]

    @property
    def clusters(self) -> tuple[str, ...]:
        """Names of the clusters that have exported anything."""
        return tuple(sorted({export.name.cluster for export in self.exports}))

    def of_type(self, kind: BulkType) -> tuple[Export, ...]:
        """Exports of one type."""
        return tuple(export for export in self.exports if export.name.type is kind)


async def contents(directory: Directory) -> Contents:
    """Look at the directory: a listing, and one small file a cluster.

    Raises:
        InvalidInput: a manifest is garbled.
        TrustbridgeError: the directory can't be read.
    """
    files = await directory.list()
    by_name = {file.name: file for file in files}
    notes: dict[str, ExportNote] = {}
    names = {file.name: name for file in files if (name := ExportName.parse(file.name)) is not None}
    for cluster in sorted({name.cluster for name in names.values()}):
        file = manifest_file(cluster)
        if file in by_name:
            notes |= {note.file: note for note in read_exports(await directory.read(file), file)}
    exports = tuple(Export(name, by_name[file], notes.get(file)) for file, name in sorted(names.items()))
    consolidation_notes: dict[BulkType, ConsolidationNote] = {}
    if manifest_file(CONSOLIDATED) in by_name:
        name = manifest_file(CONSOLIDATED)
        consolidation_notes = read_consolidation(await directory.read(name), name)
    consolidations = {}
    for kind in BulkType:
        file = consolidated_file(kind)
        if file in by_name:
            note = consolidation_notes.get(kind)
            of_type = [export for export in exports if export.name.type is kind]
            consolidations[kind] = Consolidation(kind, by_name[file], note, _stale(note, of_type))
    ours = set(names) | {consolidated_file(kind) for kind in BulkType}
    others = tuple(file for file in files if file.name not in ours and not file.name.endswith(_MANIFEST))
    return Contents(exports, consolidations, others)


def _stale(note: ConsolidationNote | None, exports: list[Export]) -> str:
    """Why a consolidation does not stand for these exports any more; empty when it does."""
    if note is None:
        return "nothing says what it was made of"
    now = {export.name.file: export.note.sha256 if export.note else "" for export in exports}
    for file in sorted(now):
        if file not in note.inputs:
            return f"{file} was exported after it"
        if now[file] and now[file] != note.inputs[file]:
            return f"{file} was exported again after it"
    for file in sorted(note.inputs):
        if file not in now:
            return f"{file}, which went into it, is gone"
    return ""
