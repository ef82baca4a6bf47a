"""What was read of clusters and takes minutes to read again: kept as JSON, one file a reading, until it is read anew.

No secret is in it; still only its owner reads it (0600), since it says where a cluster is weak.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any, Final

from trustbridge import atomicfile
from trustbridge.storage.folderlock import locked

FOLDER: Final = "readings"
#: Readings that stay in memory; one of 21 nodes has some 3 MB.
_KEPT: Final = 32

_Stamp = tuple[int, int, int]
_cache: dict[Path, tuple[_Stamp, dict[str, Any]]] = {}
_lock = threading.Lock()


class Readings:
    """Readings of one kind, by key.

    Args:
        folder: the state folder.
        kind: a word for the file system, such as "cluster".
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder / FOLDER / kind

    def keep(self, key: str, value: dict[str, Any], **pages: str) -> None:
        """Keep one, instead of the one before.

        Args:
            pages: texts that belong to it, by a short name; had by `page`.

        Raises:
            TrustbridgeError: it can't be written.
        """
        with locked(self.folder, "what was read is not kept"), atomicfile.in_words("what was read is not kept"):
            for name, text in pages.items():
                atomicfile.write(self._path(key, name), text.encode())
            content = json.dumps({"key": key, "value": value}, ensure_ascii=False, separators=(",", ":"))
            atomicfile.write(self._path(key, "json"), content.encode("utf-8", "surrogatepass"))

    def get(self, key: str) -> dict[str, Any] | None:
        """One; None where nothing was read yet, or it can't be read any more: then it is read anew. Not to be changed:
        the same is given to everybody."""
        return self._load(self._path(key, "json"))

    def page(self, key: str, name: str) -> str | None:
        """A text that belongs to one."""
        try:
            return self._path(key, name).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def all(self) -> dict[str, dict[str, Any]]:
        """All, by key."""
        found = {}
        try:
            paths = sorted(self.folder.glob("*.json"))
        except OSError:
            return {}
        for path in paths:
            value = self._load(path, keyed=True)
            if value is not None:
                found[value["key"]] = value["value"]
        return found

    def forget(self, key: str) -> None:
        """Remove one."""
        with locked(self.folder, "what was read is not forgotten"), atomicfile.in_words("it is not forgotten"):
            for path in self.folder.glob(f"{self._stem(key)}.*"):
                path.unlink(missing_ok=True)

    def _load(self, path: Path, *, keyed: bool = False) -> dict[str, Any] | None:
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            with _lock:
                known = _cache.get(path)
            if known is None or known[0] != stamp:
                whole = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
                if not (isinstance(whole, dict) and isinstance(whole.get("value"), dict) and "key" in whole):
                    return None
                known = (stamp, whole)
                with _lock:
                    _cache.pop(path, None)
                    while len(_cache) >= _KEPT:
                        _cache.pop(next(iter(_cache)))
                    _cache[path] = known
        except (OSError, ValueError, RecursionError):
            return None
        found: dict[str, Any] = known[1] if keyed else known[1]["value"]
        return found

    def _path(self, key: str, ending: str) -> Path:
        return self.folder / f"{self._stem(key)}.{ending}"

    def _stem(self, key: str) -> str:
        """A key is no file name: it may be as long as ten clusters' names, and of either case."""
        return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
