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
#: Characters of a common name in a file's name. File systems take 255 bytes, and a file being written is named longer.
MAX_PLAIN = 64


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
            path, content = place / name, text.encode()
            if name not in there or path.read_bytes() != content:
                atomicfile.write(path, content)
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
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in entry.certificate.common_name)
    return f"{plain[:MAX_PLAIN].lstrip('.') or 'certificate'}.{entry.certificate.sha256[:12]}.pem"


def _text(entry: Entry) -> str:
    origin = _OWN if entry.own else _line(entry.origin)
    return f"{_ORIGIN}{origin}\nSubject: {_line(entry.certificate.subject)}\n{entry.certificate.pem()}"


def _line(text: str) -> str:
    """Names come from others' certificates and bundles: none may begin a line, or a certificate, of its own here."""
    plain = text if text.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
    return plain.replace("-----", "\ufffd")
