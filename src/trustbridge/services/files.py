"""Where the files come from that a node serves to phones, and which names are refused before anybody looks.

A `FileSource` is all that TFTP and HTTP know of files. It is called synchronously from the event loop: it answers
from memory, reads a small file or signs a configuration (about a millisecond), and never waits for a network.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from trustbridge.errors import SettingsError, TrustbridgeError

#: Name of a file -> its content, or None when there is no such file. May raise `TrustbridgeError`.
FileSource = Callable[[str], bytes | None]

#: Longer names are refused. A path of the longest name a file system takes; phones ask for some 40 characters.
MAX_NAME = 255

# What open(2) says of names that simply aren't there, or lead around in circles.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})

# Much more than the tick of any file system's times that is served from (10 ms at worst).
_SETTLED_NS = 100_000_000


def name_refusal(name: str) -> str | None:
    """Why no server should look for a file of this name; None when the name is fine.

    Fine are relative paths with `/` between their parts and nothing that could lead out of a folder on any system.
    """
    if not name:
        return "empty file name"
    if len(name) > MAX_NAME:
        return f"file name longer than {MAX_NAME} characters"
    if name[0] == "/":
        return "absolute file name"
    if ".." in name:
        return "'..' in file name"
    if "\\" in name:
        return "backslash in file name"
    # Controls, NUL among them, spaces other than ' ', and bytes that are no UTF-8 (kept as lone surrogates).
    if not name.isprintable():
        return "unprintable character in file name"
    return None


class FolderSource:
    """The files of a folder and its sub-folders, never one outside, wherever symbolic links lead.

    Names that begin with a dot, at any level, are not served: files being written are called so. What was read is
    kept in memory, up to a bound, and read again when the file has changed.

    Raises:
        SettingsError: when made: there is no such folder.
    """

    def __init__(self, folder: Path, *, cache_bytes: int = 32 * 2**20, max_file_bytes: int = 256 * 2**20) -> None:
        """Serve `folder`, with `cache_bytes` of memory for what was read; a file over `max_file_bytes` isn't."""
        if not folder.is_dir():
            raise SettingsError(f"There is no folder {folder}", "Name an existing folder of files to serve.")
        self._root = os.path.realpath(folder)
        self._inside = self._root.rstrip("/") + "/"
        self._cache_bytes = cache_bytes
        self._max_file_bytes = max_file_bytes
        self._cached_bytes = 0
        #: name -> (device, inode, changed, size), content; the least recently used first
        self._cache: OrderedDict[str, tuple[tuple[int, int, int, int], bytes]] = OrderedDict()

    def __call__(self, name: str) -> bytes | None:
        """Content of the file, or None: no such file, a folder, something outside.

        Raises:
            TrustbridgeError: the file is there, but can't be read or is too large.
        """
        if name_refusal(name) is not None or name[0] == "." or "/." in name:
            return None
        path = self._inside + name
        try:
            cached = self._cache.get(name)
            # os.stat follows links to the very file, so an equal identity is the file that was found inside.
            if cached is not None and cached[0] == _identity(os.stat(path)):  # noqa: PTH116  (a Path costs more)
                self._cache.move_to_end(name)
                return cached[1]
            return self._read(name, path)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise TrustbridgeError(
                f"Can't read {name} in {self._root}: {error.strerror}", "Check the file's permissions."
            ) from error

    def _read(self, name: str, path: str) -> bytes | None:
        real = os.path.realpath(path)
        if not real.startswith(self._inside):
            return None
        # O_NOFOLLOW: the last part may have become a link since; O_NONBLOCK: a FIFO would block the event loop.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            if status.st_size > self._max_file_bytes:
                raise TrustbridgeError(
                    f"{name} in {self._root} has {status.st_size} bytes, over the {self._max_file_bytes} served",
                    "Serve files of that size from a web server.",
                )
            content: bytes = os.fdopen(descriptor, "rb", buffering=0, closefd=False).readall()
        finally:
            os.close(descriptor)
        self._keep(name, status, content)
        return content

    def _keep(self, name: str, status: os.stat_result, content: bytes) -> None:
        with contextlib.suppress(KeyError):
            self._cached_bytes -= len(self._cache.pop(name)[1])
        # A file changed just now may change again within the same tick of its time: not to be trusted yet.
        settled = time.time_ns() - status.st_ctime_ns > _SETTLED_NS
        if not settled or len(content) != status.st_size or len(content) > self._cache_bytes:
            return
        self._cache[name] = (_identity(status), content)
        self._cached_bytes += len(content)
        while self._cached_bytes > self._cache_bytes:
            _, (_, dropped) = self._cache.popitem(last=False)
            self._cached_bytes -= len(dropped)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size)
