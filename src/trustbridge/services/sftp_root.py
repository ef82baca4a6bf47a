"""One directory of this machine and nothing else: the file system as an SFTP client may see it.

Confinement does not rest on comparing path texts. Every path is normalised as if the directory were the root of a file
system (so `..` stops there), then walked from the directory's own descriptor, one component at a time, and no component
may be a symbolic link (O_NOFOLLOW), wherever it points. No text a client sends, and no link somebody plants or swaps in
meanwhile, leads out. Hard links and mounts inside the directory are its administrator's decision and are served.

Files are made 0600 and directories 0700; a client's wishes about modes and owners are not asked for here. Errors are
OSErrors with texts meant for the client: none tells a path outside the directory.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trustbridge.errors import SettingsError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: Never follow, never wait for a FIFO's other end, never take a terminal over.
_GUARDS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


class ConfinedRoot:
    """The directory `path`, as a client's `/`.

    Args:
        path: an existing directory; links in this path itself are followed, once, now.
        read_only: refuse everything that changes anything.

    Raises:
        SettingsError: there is no such directory.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        try:
            self.path = path.resolve(strict=True)
        except OSError as error:
            raise SettingsError(f"there is no directory {path}", f"Create it: mkdir -p {path}") from error
        if not self.path.is_dir():
            raise SettingsError(f"{path} is not a directory")
        self._read_only = read_only

    def holds(self, path: Path) -> bool:
        """Whether a path of this machine is inside (and so within a client's reach)."""
        return path.resolve().is_relative_to(self.path)

    def normal(self, path: bytes) -> bytes:
        """The path as the client knows it: absolute, without `.` and `..`.

        Raises:
            OSError: it holds a NUL.
        """
        return b"/" + b"/".join(_components(path))

    def open(self, path: bytes, flags: int) -> int:
        """A descriptor of a regular file, as os.open gives it.

        Raises:
            OSError: no such file, not a regular file, or not allowed.
        """
        if flags & _WRITES:
            self._check_writable()
        with self._parent(path) as (parent, name):
            try:
                descriptor = os.open(name, flags | _GUARDS, 0o600, dir_fd=parent)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.EMLINK):  # what O_NOFOLLOW says on Linux and on BSD
                    raise _link_refused() from error
                raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise PermissionError(errno.EACCES, "Not a regular file")
        return descriptor

    def stat(self, path: bytes, *, of_link: bool = False) -> os.stat_result:
        """What a path is. A symbolic link itself is told of only when asked for (`of_link`)."""
        if not _components(path):
            with self._directory([]) as root:
                return os.fstat(root)
        with self._parent(path) as (parent, name):
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode) and not of_link:
            raise _link_refused()
        return found

    def entries(self, path: bytes) -> list[tuple[bytes, os.stat_result]]:
        """What a directory holds: names, and what they are."""
        found = []
        with self._directory(_components(path)) as directory, os.scandir(directory) as entries:
            for entry in entries:
                try:
                    found.append((os.fsencode(entry.name), entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue  # removed since the directory was read
        return found

    def set_times(self, path: bytes, accessed: float, modified: float) -> None:
        """Set both times, seconds since 1970."""
        self._check_writable()
        with self._parent(path) as (parent, name):
            os.utime(name, (accessed, modified), dir_fd=parent, follow_symlinks=False)

    def remove(self, path: bytes) -> None:
        """Remove a file, or a link itself."""
        self._check_writable()
        with self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def make_directory(self, path: bytes) -> None:
        """Make one directory."""
        self._check_writable()
        with self._parent(path) as (parent, name):
            os.mkdir(name, 0o700, dir_fd=parent)

    def remove_directory(self, path: bytes) -> None:
        """Remove one empty directory."""
        self._check_writable()
        with self._parent(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)

    def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Rename within the root, over the target or refusing an existing one."""
        self._check_writable()
        with self._parent(old) as (source, old_name), self._parent(new) as (target, new_name):
            if replace:
                os.replace(old_name, new_name, src_dir_fd=source, dst_dir_fd=target)
            elif stat.S_ISREG(os.stat(old_name, dir_fd=source, follow_symlinks=False).st_mode):
                # A link never replaces anything, so this can't race with another writer of the new name.
                os.link(old_name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
                os.unlink(old_name, dir_fd=source)
            else:
                if _exists(new_name, target):
                    raise FileExistsError(errno.EEXIST, "File exists")
                os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=target)

    def sync_directory_of(self, path: bytes) -> None:
        """Flush a path's directory to disk, so that a rename into it survives a power cut. Blocks."""
        with self._parent(path) as (parent, _):
            os.fsync(parent)

    def statvfs(self) -> os.statvfs_result:
        """The file system's sizes."""
        with self._directory([]) as root:
            return os.fstatvfs(root)

    def _check_writable(self) -> None:
        if self._read_only:
            raise PermissionError(errno.EACCES, "This server is read-only")

    @contextmanager
    def _directory(self, components: list[bytes]) -> Iterator[int]:
        """A descriptor of a directory inside. The root is opened anew each time: it may have been put back."""
        descriptor = os.open(self.path, _DIRECTORY)
        try:
            for component in components:
                inner = os.open(component, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The descriptor of a path's directory, and the last component."""
        components = _components(path)
        if not components:
            raise PermissionError(errno.EACCES, "That is the directory itself")
        with self._directory(components[:-1]) as descriptor:
            yield descriptor, components[-1]


def _components(path: bytes) -> list[bytes]:
    if b"\0" in path:
        raise OSError(errno.EINVAL, "A NUL in a path")
    return [component for component in posixpath.normpath(b"/" + path).split(b"/") if component]


def _exists(name: bytes, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _link_refused() -> PermissionError:
    return PermissionError(errno.EACCES, "Symbolic links are not followed here")
