"""Trust stores as folders of certificate files, for a Trust Verification Service without a cluster.

    DIRECTORY/Phone-SAST-trust/*.pem, *.der      who may sign trust lists          (role SAST)
    DIRECTORY/CallManager-trust/...              who may sign configuration files  (role TFTP)
    DIRECTORY/tomcat-trust/...                   web servers of phone services     (role APP-SERVER)

A file may hold several certificates; which file one is in does not matter. What is wrong with a file is said once, and
the file passed over: one bad file must not keep phones from being answered.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from trustbridge.errors import InvalidCertificate, SettingsError
from trustbridge.pki.certificate import Certificate, read_certificates
from trustbridge.pki.units import Store

_log = structlog.stdlib.get_logger(__name__)

#: What certificate files are called. Others lie there undisturbed; so do names with a dot before them.
SUFFIXES = frozenset({".pem", ".der", ".crt", ".cer"})
#: Ten clusters' certificates in one file have 2 MiB; what is far beyond was put there by mistake.
MAX_FILE_BYTES = 16 * 2**20

_STORES = {str(store).lower(): store for store in Store}

#: What tells that a file is no longer the one that was read: device, inode, changed, size.
_Mark = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Faulty:
    """A file or folder that does not count, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What the stores hold.

    Attributes:
        certificates: each with its store; in the order of stores' and files' names.
        faulty: what was passed over.
    """

    certificates: tuple[tuple[Store, Certificate], ...] = ()
    faulty: tuple[Faulty, ...] = ()


@dataclass(slots=True)
class _Read:
    mark: _Mark
    certificates: tuple[Certificate, ...] = ()
    fault: str = ""


@dataclass(slots=True)
class StoreFolder:
    """A directory of trust stores, read again only where it has changed.

    Attributes:
        path: the directory.
        contents: as of the last `refresh`.
    """

    path: Path
    contents: Contents = field(default_factory=Contents)
    _files: dict[Path, _Read] = field(default_factory=dict)

    def refresh(self) -> bool:
        """Look again; whether `contents` changed. Unchanged files cost one stat each.

        Raises:
            SettingsError: the directory is missing or can't be read; `contents` stay as they were.
        """
        known, self._files = self._files, {}
        certificates: list[tuple[Store, Certificate]] = []
        faulty: list[Faulty] = []
        try:
            self._look(known, certificates, faulty)
        except OSError as error:
            self._files = known
            raise SettingsError(
                f"The trust stores in {self.path} can't be read: {error.strerror}",
                f"A folder is expected with a folder for each store: {', '.join(Store)}.",
            ) from error
        contents = Contents(tuple(certificates), tuple(faulty))
        changed = contents != self.contents
        self.contents = contents
        return changed

    def _look(
        self, known: dict[Path, _Read], certificates: list[tuple[Store, Certificate]], faulty: list[Faulty]
    ) -> None:
        for place in _entries(self.path):
            if not place.is_dir():
                continue
            store = _STORES.get(place.name.lower())
            folder = self.path / place.name
            if store is None:
                if _holds_certificates(folder):
                    faulty.append(Faulty(folder, f"not the name of a trust store ({', '.join(Store)})"))
                continue
            try:
                files = _entries(folder)
            except OSError as error:
                faulty.append(Faulty(folder, error.strerror or str(error)))
                continue
            for entry in files:
                path = folder / entry.name
                if path.suffix.lower() not in SUFFIXES:
                    continue
                read = self._files[path] = _read(path, known.get(path))
                certificates += [(store, certificate) for certificate in read.certificates]
                if read.fault:
                    faulty.append(Faulty(path, read.fault))

    async def watch(self, changed: Callable[[Contents], None], *, every: float = 1.0, quiet: bool = False) -> None:
        """Look again and again, until cancelled; call `changed` with what is there now when something changed.

        What becomes unreadable altogether (a share that is gone) changes nothing, and is said once.

        Args:
            every: seconds between looks.
            quiet: do not say what is passed over: another process that looks at the same does.
        """
        missing = False
        while True:
            await asyncio.sleep(every)
            before = self.contents.faulty
            try:
                # Not in the event loop: a share on a network may take its time.
                news = await asyncio.to_thread(self.refresh)
            except SettingsError as error:
                if not missing and not quiet:
                    _log.warning("trust stores kept as they were", reason=error.message)
                missing = True
                continue
            missing = False
            if news:
                if not quiet:
                    log_faulty(self.contents, before)
                changed(self.contents)


def log_faulty(contents: Contents, known: tuple[Faulty, ...] = ()) -> None:
    """Name what was passed over, one line each, except what was `known` before."""
    for faulty in contents.faulty:
        if faulty not in known:
            _log.warning("passed over", path=str(faulty.path), reason=faulty.reason)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, without names that begin with a dot (files being written are called so)."""
    with os.scandir(folder) as found:
        return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _holds_certificates(folder: Path) -> bool:
    try:
        return any(Path(entry.name).suffix.lower() in SUFFIXES for entry in _entries(folder))
    except OSError:
        return False


def _read(path: Path, known: _Read | None) -> _Read:
    try:
        status = path.stat()
        mark = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        if known is not None and known.mark == mark:
            return known
        if not path.is_file():
            return _Read(mark, fault="not a file")
        if status.st_size > MAX_FILE_BYTES:
            return _Read(mark, fault=f"{status.st_size} bytes, too large for a file of certificates")
        return _Read(mark, tuple(read_certificates(path.read_bytes())))
    except InvalidCertificate as error:
        return _Read(mark, fault=error.message)
    except OSError as error:
        # Not marked: a permission may be given without a trace in what stat tells.
        return _Read((0, 0, 0, 0, 0), fault=error.strerror or str(error))
