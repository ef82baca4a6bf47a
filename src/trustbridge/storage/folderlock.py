"""One process at a time changes what is in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trustbridge import atomicfile


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder's lock, making the folder if need be: there is no lock file, and files themselves get replaced.

    Args:
        what: came to nothing, in words, when that can't be.

    Raises:
        TrustbridgeError: the folder can't be made or entered.
    """
    with atomicfile.in_words(what):
        descriptor = os.open(atomicfile.private_folder(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
