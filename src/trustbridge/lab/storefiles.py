"""Trust stores on disk: a folder a store, a PEM file a certificate, with where it came from written above it.

The same layout feeds `trustbridge tvs serve`.
"""

from __future__ import annotations

from pathlib import Path

from trustbridge import atomicfile
from trustbridge.errors import InvalidCertificate
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.stores import Entry, TrustStores
from trustbridge.pki.units import Store

_ORIGIN = "Origin: "
_OWN = "own"


def write_stores(folder: Path, stores: TrustStores) -> None:
    """Make `folder` hold just what `stores` hold. Each certificate appears or goes in one step; again, nothing moves.

    Raises:
        OSError: the folder can't be written.
    """
    for store in Store:
        place = atomicfile.private_folder(folder / store)
        wanted = {_file_name(entry): _text(entry) for entry in stores.entries(store)}
        there = {path.name for path in place.glob("*.pem")}
        for name, text in wanted.items():
            path = place / name
            if name not in there or path.read_text("utf-8") != text:
                atomicfile.write(path, text.encode())
        for name in there - wanted.keys():
            (place / name).unlink(missing_ok=True)


def read_stores(folder: Path) -> TrustStores:
    """What `write_stores` wrote. Files that hold no certificate are passed over: a node starts all the same.

    Raises:
        OSError: the folder can't be read.
    """
    entries: list[tuple[Store, Entry]] = []
    for store in Store:
        for path in sorted((folder / store).glob("*.pem")):
            text = path.read_text("utf-8", "replace")
            try:
                certificate = Certificate.from_pem(text)
            except InvalidCertificate:
                continue
            first = text.partition("\n")[0]
            origin = first.removeprefix(_ORIGIN) if first.startswith(_ORIGIN) else "uploaded"
            entries.append((store, Entry(certificate, origin, own=origin == _OWN)))
    return TrustStores(entries)


def _file_name(entry: Entry) -> str:
    plain = "".join(c if c.isalnum() or c in "-._" else "-" for c in entry.certificate.common_name)
    return f"{plain.lstrip('.') or 'certificate'}.{entry.certificate.sha256[:12]}.pem"


def _text(entry: Entry) -> str:
    origin = _OWN if entry.own else entry.origin
    return f"{_ORIGIN}{origin}\nSubject: {entry.certificate.subject}\n{entry.certificate.pem()}"
