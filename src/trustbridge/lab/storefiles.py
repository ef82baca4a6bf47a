"""Trust stores on disk: a folder a store, in it one PEM file, with where each certificate came from written above it.

A store changes in one step, however many certificates that concerns. Nodes whose stores are equal share the file, as
what the publisher replicates mostly is: ten clusters of 21 nodes would otherwise keep some hundred thousand files.

The same layout feeds `trustbridge tvs serve`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from trustbridge import atomicfile
from trustbridge.errors import InvalidCertificate
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.stores import Entry, TrustStores
from trustbridge.pki.units import Store

#: What is written. Other files with this ending are read as well, and gone after the next write.
STORE_FILE: Final = "certificates.pem"
_PEM_FILES: Final = "*.pem"
_ORIGIN: Final = "Origin: "
_OWN: Final = "own"
_BY_HAND: Final = "uploaded"
#: Base64 has no hyphen: what is damaged ends before the next certificate begins.
_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


def write_stores(held: Mapping[Path, TrustStores], before: Mapping[Path, TrustStores] | None = None) -> None:
    """Make each folder hold just what its stores hold, folder by folder in this order; again, nothing moves.

    Args:
        before: what folders are known to hold: stores with the very same entries are passed over unread.

    Raises:
        OSError: a folder can't be written; those before it are.
    """
    written: dict[Store, list[tuple[tuple[Entry, ...], Path]]] = {store: [] for store in Store}
    for folder, stores in held.items():
        atomicfile.private_folder(folder)
        for store in Store:
            entries = stores.entries(store)
            place = folder / store
            path = place / STORE_FILE
            if before and folder in before and before[folder].entries(store) is entries:
                if entries:
                    written[store].append((entries, path))
                continue
            place.mkdir(mode=atomicfile.PRIVATE_FOLDER, exist_ok=True)
            same = next((there for known, there in written[store] if known == entries), None)
            if same is not None:
                atomicfile.share(same, path)
            elif entries:
                _write(path, entries)
                written[store].append((entries, path))
            for other in place.glob(_PEM_FILES):
                if other != path or not entries:
                    other.unlink(missing_ok=True)


def _write(path: Path, entries: tuple[Entry, ...]) -> None:
    content = "\n".join(map(_text, entries)).encode()
    if not path.exists() or path.read_bytes() != content:
        atomicfile.write(path, content)


def read_stores(folders: Iterable[Path]) -> dict[Path, TrustStores]:
    """What `write_stores` wrote. What is no certificate is passed over: a node starts all the same.

    Raises:
        OSError: a folder can't be read.
    """
    known: dict[tuple[int, int], tuple[Entry, ...]] = {}
    return {folder: TrustStores(_read_folder(folder, known)) for folder in folders}


def _read_folder(folder: Path, known: dict[tuple[int, int], tuple[Entry, ...]]) -> Iterator[tuple[Store, Entry]]:
    for store in Store:
        seen: set[Certificate] = set()
        # A write that was cut off leaves an older file beside the one that holds the same: the first counts.
        for path in sorted((folder / store).glob(_PEM_FILES), key=lambda path: (path.name != STORE_FILE, path.name)):
            status = path.stat()
            mark = (status.st_dev, status.st_ino)
            if mark not in known:
                known[mark] = tuple(_entries(path.read_text("utf-8", "replace")))
            for entry in known[mark]:
                if entry.certificate not in seen:
                    seen.add(entry.certificate)
                    yield store, entry


def _entries(text: str) -> Iterator[Entry]:
    at = 0
    for block in _BLOCK.finditer(text):
        above, at = text[at : block.start()], block.end()
        try:
            certificate = Certificate.from_pem(block[0])
        except InvalidCertificate:
            continue
        origins = (line for line in above.split("\n") if line.startswith(_ORIGIN))
        origin = next(origins, _ORIGIN + _BY_HAND).removeprefix(_ORIGIN)
        yield Entry(certificate, origin, own=origin == _OWN)


def _text(entry: Entry) -> str:
    origin = _OWN if entry.own else _line(entry.origin)
    return f"{_ORIGIN}{origin}\nSubject: {_line(entry.certificate.subject)}\n{entry.certificate.pem()}"


def _line(text: str) -> str:
    """Names come from others' certificates and bundles: none may begin a line, or a certificate, of its own here."""
    plain = text if text.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
    return plain.replace("-----", "\ufffd")
