"""Writing a file so that a reader, and a crash, sees the old content or the new, and nobody else sees either."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from trustbridge.errors import TrustbridgeError

#: Files hold keys or what keys protect; only their owner reads them.
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def write(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write beside, then rename over `path`, mode 0600; the folder must exist.

    Args:
        durable: flush to disk first, so that the promise holds across a power cut as well as a kill.

    Raises:
        OSError: the folder is missing, full or not ours; `filename` is `path`.
    """
    try:
        _write(path, data, durable)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")


def _write(path: Path, data: bytes, durable: bool) -> None:
    part = _beside(path)
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


#: A file has as many names as it may, or the file system knows no second one.
_NO_LINK = (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS)


def share(source: Path, path: Path) -> None:
    """Make `path` another name of the file `source`, in one step, or a copy of it where that can't be.

    Both must only ever be replaced, as `write` does, and never written into.

    Raises:
        OSError: as `write`, or there is no `source`.
    """
    status = source.stat()
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), status):
            return  # renaming one name of a file over another one would leave both
    part = _beside(path)
    try:
        os.link(source, part)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        write(path, source.read_bytes())
        return
    try:
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def private_folder(path: Path) -> Path:
    """Make `path`, and those above it that are missing, as folders only their owner enters; give it back.

    Raises:
        OSError: that can't be, or `path` is another user's, who could put something else in place of what we write.
    """
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    user = os.geteuid()
    if user != 0 and path.stat().st_uid not in (user, 0):
        raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
    return path


@contextlib.contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Hold a folder's lock, made if need be: one process at a time changes what is in it. No lock file is left behind.

    Raises:
        OSError: as `private_folder`, or it can't be entered.
    """
    descriptor = os.open(private_folder(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


_WAYS_OUT = {
    errno.ENOSPC: "Make room and do it again: nothing half-written is left.",
    errno.EDQUOT: "Make room and do it again: nothing half-written is left.",
    errno.EACCES: "Use a folder that is yours, or look at its permissions.",
    errno.EPERM: "Use a folder that is yours, or look at its permissions.",
    errno.EROFS: "Use a folder that can be written.",
    errno.EMFILE: "Allow the process more open files: ulimit -n 4096.",
}


@contextlib.contextmanager
def in_words(what: str) -> Iterator[None]:
    """What the file system refuses, for people: `what` says what came to nothing.

    Raises:
        TrustbridgeError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        raise TrustbridgeError(
            f"{what}: {where}{error.strerror or error}", _WAYS_OUT.get(error.errno or 0, "")
        ) from error
