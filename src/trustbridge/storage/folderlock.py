"""One process at a time changes what is in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    with ExitStack() as held:
        with atomicfile.in_words(what):
            held.enter_context(atomicfile.locked_folder(folder))
        yield
