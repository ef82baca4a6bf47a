"""Writing a file so that a reader, and a crash, sees the old content or the new, and nobody else sees either."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

#: Files hold keys or what keys protect; only their owner reads them.
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def write(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write beside, then rename over `path`, mode 0600; the folder must exist.

    Args:
        durable: flush to disk first, so that the promise holds across a power cut as well as a kill.

    Raises:
        OSError: the folder is missing, full or not ours.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def private_folder(path: Path) -> Path:
    """Make `path`, and those above it that are missing, as folders only their owner enters; give it back."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    return path
