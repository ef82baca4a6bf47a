"""The directory of bulk certificate management as a person looks at it: each file opened, and what can be done next.

`look` reads; `may_consolidate` and `may_import` are pure. Publishers themselves decide when they are told to: what is
said here is said before, so that nobody has to try.

UNVERIFIED: what names and which password a real publisher gives its bundles is not published. Files of other names are
shown and opened if they can be; whether they can be consolidated, only the publisher can tell then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from trustbridge.errors import TrustbridgeError
from trustbridge.exchange.bulk import BUNDLE_PASSWORD, check_consolidate
from trustbridge.exchange.directory import Directory, FileInfo
from trustbridge.exchange.manifest import CONSOLIDATED, Contents, contents, manifest_file
from trustbridge.pki.bundle import BundledCertificate, read_bundle
from trustbridge.pki.units import BulkType

#: How the names of bundles end that are not ours.
_BUNDLES: Final = (".p12", ".pfx", ".pkcs12")
#: Bytes of what is opened at the most: a bundle has some hundred KiB at the most.
_LARGEST: Final = 4 * 1024 * 1024


#: Before 12.0 the bulk commands do not know ITLRecovery (TB104).
LEFT_OUT: Final = (
    "Where ITLRecovery signs what phones load, they strand without it (TB104): exchange certificates, which uploads "
    "what the bulk commands leave out."
)


class Kind(StrEnum):
    """What a file is."""

    EXPORT = "export"
    CONSOLIDATED = "consolidated"
    MANIFEST = "manifest"
    OTHER = "other file"


class State(StrEnum):
    """Whether a file can be used."""

    CURRENT = "current"
    UNFINISHED = "unfinished"
    STALE = "stale"
    GARBLED = "garbled"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file, opened.

    Attributes:
        file: name, size, time.
        cluster, node, type: what its name says; "" and None where that is nothing.
        state, why: whether it can be used, and why not.
        by: of a consolidated bundle: the cluster that made it.
        certificates: what is inside; None where it is no bundle, or can't be opened.
        problem: why it can't be opened; "" where it can, or is none.
    """

    file: FileInfo
    kind: Kind
    cluster: str = ""
    node: str = ""
    type: BulkType | None = None
    state: State = State.CURRENT
    why: str = ""
    by: str = ""
    certificates: tuple[BundledCertificate, ...] | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen in the directory.

    Attributes:
        at: when. where: the directory, without the password.
        files: consolidated bundles first, then exports by cluster and node, manifests, and what else is there.
        contents: the same as the rules of an exchange see it.
    """

    at: datetime
    where: str
    files: tuple[SeenFile, ...]
    contents: Contents

    @property
    def unknown(self) -> tuple[SeenFile, ...]:
        """Bundles whose names are not ours: a real publisher's, or somebody else's."""
        return tuple(one for one in self.files if one.kind is Kind.OTHER and one.file.name.endswith(_BUNDLES))

    @property
    def clusters(self) -> tuple[str, ...]:
        """Clusters that have exported."""
        return self.contents.clusters

    def export_of(self, nodes: Sequence[str], types: Sequence[BulkType]) -> tuple[SeenFile, ...]:
        """What nodes of these names have exported of these types: a publisher may call its cluster otherwise."""
        wanted = {name.casefold() for name in nodes}
        return tuple(
            one for one in self.files if one.kind is Kind.EXPORT and one.node.casefold() in wanted and one.type in types
        )

    def consolidated(self, types: Sequence[BulkType]) -> tuple[SeenFile, ...]:
        """The consolidated bundles of these types."""
        return tuple(one for one in self.files if one.kind is Kind.CONSOLIDATED and one.type in types)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether something can work now.

    Attributes:
        can: whether it can; also where nobody here can tell.
        sure: whether that is known.
        why, hint: why not, or why it is not sure; and what to do.
    """

    can: bool
    sure: bool = True
    why: str = ""
    hint: str = ""


async def look(
    directory: Directory, *, now: datetime, before: Look | None = None, password: str = BUNDLE_PASSWORD
) -> Look:
    """List the directory and open its bundles; those that are as they were `before` are not read again.

    Raises:
        TrustbridgeError: the directory can't be read.
    """
    there = await contents(directory)
    listed = {file.name: file for file in await directory.list()}
    found: list[SeenFile] = []
    known = {one.file: one for one in before.files} if before is not None else {}

    async def opened(file: FileInfo) -> tuple[tuple[BundledCertificate, ...] | None, str]:
        if file in known and known[file].certificates is not None:
            return known[file].certificates, ""
        if file.size > _LARGEST:
            return None, f"{file.name} is too large for a bundle"
        try:
            data = await directory.read(file.name)
            return tuple(await asyncio.to_thread(read_bundle, data, password=password)), ""
        except TrustbridgeError as error:
            return None, error.message

    for kind, one in there.consolidations.items():
        inside, problem = await opened(one.file)
        state = State.GARBLED if problem else State.STALE if one.stale else State.CURRENT
        by = one.note.by if one.note is not None else ""
        found.append(SeenFile(one.file, Kind.CONSOLIDATED, "", "", kind, state, one.stale, by, inside, problem))
    for export in sorted(there.exports, key=lambda one: (one.name.cluster, one.name.node, one.name.type)):
        inside, problem = await opened(export.file)
        name = export.name
        garbled = there.garbled.get(manifest_file(name.cluster))
        state = State.UNFINISHED if export.unfinished else State.GARBLED if problem or garbled else State.CURRENT
        why = "its export is under way, or was interrupted" if export.unfinished else str(garbled or "")
        found.append(
            SeenFile(export.file, Kind.EXPORT, name.cluster, name.node, name.type, state, why, "", inside, problem)
        )
    others = set(there.others)
    shown = {one.file.name for one in found}
    for file in (one for one in listed.values() if one.name not in shown and one not in others):
        cluster = file.name.removesuffix(".manifest.json")
        broken = there.garbled.get(file.name)
        state, why = (State.CURRENT, "") if broken is None else (State.GARBLED, broken.message)
        owner = "" if cluster == CONSOLIDATED else cluster
        found.append(SeenFile(file, Kind.MANIFEST, owner, state=state, why=why))
    for file in there.others:
        inside, problem = await opened(file) if file.name.endswith(_BUNDLES) else (None, "")
        found.append(SeenFile(file, Kind.OTHER, state=State.UNKNOWN, certificates=inside, problem=problem))
    return Look(now, directory.describe(), tuple(found), there)


def may_consolidate(seen: Look, types: Sequence[BulkType]) -> Readiness:
    """Whether a consolidation of these types can work now."""
    try:
        check_consolidate(seen.contents, types)
    except TrustbridgeError as error:
        return _unless_unknown(seen, error.message, error.hint)
    broken = [one for one in seen.files if one.kind is Kind.EXPORT and one.type in types and one.problem]
    if broken:
        one = broken[0]
        return Readiness(False, True, f"{one.file.name}: {one.problem}", f"Export again on cluster {one.cluster}.")
    return Readiness(True)


def may_import(seen: Look, types: Sequence[BulkType]) -> Readiness:
    """Whether an import of these types can work now: all that was exported is consolidated, and by nothing outdated."""
    chosen = [kind for kind in types if kind in seen.contents.consolidations or seen.contents.of_type(kind)]
    missing = [kind for kind in chosen if kind not in seen.contents.consolidations]
    if not chosen or len(missing) == len(chosen):
        return _unless_unknown(
            seen, "nothing is consolidated yet", "Export on every cluster, consolidate on one of them, then import."
        )
    alone = [kind for kind in missing if len({one.name.cluster for one in seen.contents.of_type(kind)}) < 2]
    if len(alone) < len(missing):
        names = ", ".join(kind for kind in missing if kind not in alone)
        return Readiness(False, True, f"{names} is exported and not consolidated", "Consolidate on one cluster, first.")
    chosen = [kind for kind in chosen if kind not in alone]
    for kind in chosen:
        found = seen.contents.consolidations[kind]
        if found.stale:
            return Readiness(
                False,
                True,
                f"{found.file.name} is older than what was exported: {found.stale}",
                "Consolidate again on one cluster, then import.",
            )
    for one in seen.consolidated(chosen):
        if one.problem:
            return Readiness(False, True, f"{one.file.name}: {one.problem}", "Consolidate again on one cluster.")
        expired = [held.certificate for held in one.certificates or () if held.certificate.not_after < seen.at]
        if expired:
            when = f"{expired[0].not_after:%Y-%m-%d}"
            return Readiness(
                False,
                True,
                f"{expired[0].subject} in {one.file.name} expired on {when}: an import stops there (TB142)",
                "Renew it on its cluster, export, consolidate; or exchange certificate by certificate.",
            )
    if alone:
        return Readiness(True, True, f"{', '.join(alone)} is left out: only one cluster has exported it", LEFT_OUT)
    return Readiness(True)


def _unless_unknown(seen: Look, why: str, hint: str) -> Readiness:
    if not seen.unknown:
        return Readiness(False, True, why, hint)
    names = ", ".join(one.file.name for one in seen.unknown[:3])
    return Readiness(
        True,
        False,
        f"bundles lie there whose names say nothing here ({names}): whether it can work, only the publisher can tell",
        "Unified CM does not publish its file names. See that every cluster has exported.",
    )


def strangers(seen: Look, nodes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Clusters whose bundles lie there and that are none of these, by their names or their nodes (TB146)."""
    ours = {name.casefold() for name in nodes} | {one.casefold() for names in nodes.values() for one in names}
    return tuple(
        sorted(
            {
                one.cluster
                for one in seen.files
                if one.kind is Kind.EXPORT and not {one.cluster.casefold(), one.node.casefold()} & ours
            }
        )
    )
