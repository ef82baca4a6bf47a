"""What one SFTP session may do with the files of a confined directory.

An upload becomes visible when the client closes the file, not before: it is collected in a part file beside its target,
flushed to disk and renamed over it. A client that is killed, or loses its connection, therefore leaves the old file or
none, whatever client it is; Unified CM's own exports write straight to the final name. Appending to an existing file
(`reput`) is the exception: it changes the file in place.

Modes and owners are fixed (0600 and 0700, the server's user): requests to change them are accepted without effect,
because many clients send them with every upload and take a refusal for a failed transfer.
"""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import posixpath
import stat
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

import asyncssh

from trustbridge.exchange.directory import is_part_name, part_name
from trustbridge.services.sftp_root import ConfinedRoot

_LOG = logging.getLogger("trustbridge.services.sftp")
#: The longest answer to one read request, bytes; SFTP lets a server answer less than was asked for. Not less than this:
#: when asyncssh copies a file on the server it takes a shorter answer for the end.
_MAX_READ = 256 * 1024
_WRITING = asyncssh.FXF_WRITE | asyncssh.FXF_APPEND
_OPEN_FLAGS = (
    (asyncssh.FXF_APPEND, os.O_APPEND),
    (asyncssh.FXF_CREAT, os.O_CREAT),
    (asyncssh.FXF_TRUNC, os.O_TRUNC),
    (asyncssh.FXF_EXCL, os.O_EXCL),
)


def printable(name: bytes | str) -> str:
    """A client's words for a log line: what is not printable, escaped."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@dataclass(slots=True)
class Visit:
    """One connection's account: who it is, and what it has open in all its sessions.

    Attributes:
        who: user and address, for the log.
        max_file_size: bytes.
        max_open: files and directories open at once.
        open: those open now; closed directories drop out by themselves.
    """

    who: str
    max_file_size: int
    max_open: int
    open: weakref.WeakSet[OpenFile | Listing] = field(default_factory=weakref.WeakSet)

    def check_room(self) -> None:
        """Refuse to open one more than allowed."""
        if len(self.open) >= self.max_open:
            raise asyncssh.SFTPFailure(f"Too many open files: {self.max_open} at most")

    def log(self, event: str, path: bytes, detail: str = "") -> None:
        """Write down what was done to a file."""
        _LOG.info("%s %s %s%s", self.who, event, printable(path), detail and f", {detail}")


class OpenFile(io.FileIO):
    """A file a client has open: `path` is the name it asked for, `part` where an upload is collected meanwhile."""

    def __init__(self, descriptor: int, path: bytes, part: bytes | None, pflags: int, mode: str) -> None:
        super().__init__(descriptor, mode)
        self.path = path
        self.part = part
        self.replaces = not pflags & asyncssh.FXF_EXCL
        self.appends = bool(pflags & asyncssh.FXF_APPEND)
        self.read_any = False
        self.failed = False


class Listing:
    """An open directory: its entries as they were when it was opened."""

    def __init__(self, entries: list[asyncssh.SFTPName]) -> None:
        self._entries = iter(entries)

    def __aiter__(self) -> AsyncIterator[asyncssh.SFTPName]:
        return self

    async def __anext__(self) -> asyncssh.SFTPName:
        for entry in self._entries:
            return entry
        raise StopAsyncIteration


class ConfinedFiles(asyncssh.SFTPServer):
    """One SFTP session: requests of the client, carried out inside a ConfinedRoot."""

    def __init__(
        self,
        channel: asyncssh.SSHServerChannel[bytes],
        root: ConfinedRoot,
        visit: Visit,
        note_busy: Callable[[ConfinedFiles, bool], None],
    ) -> None:
        super().__init__(channel)
        self._root = root
        self._visit = visit
        self._note_busy = note_busy

    def exit(self) -> None:
        """The session is over, all its files are closed."""
        self._note_busy(self, False)
        self.channel.exit(0)  # as sftp-server does; scp takes silence for a failure

    def map_path(self, path: bytes) -> NoReturn:
        """Whatever asyncssh would do by itself goes through this: nothing may."""
        raise asyncssh.SFTPOpUnsupported("Not offered here")

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> OpenFile:
        """Open a file; a new or truncated one is collected in a part file until it is closed."""
        self._visit.check_room()
        path = self._root.normal(path)
        writing = bool(pflags & _WRITING)
        reading = bool(pflags & asyncssh.FXF_READ) or not writing
        flags = os.O_RDWR if reading and writing else os.O_WRONLY if writing else os.O_RDONLY
        part = self._part_for(path, pflags) if writing else None
        if part is not None:
            descriptor = self._root.open(part, flags | os.O_CREAT | os.O_EXCL)
        else:
            for wish, flag in _OPEN_FLAGS if writing else ():
                flags |= flag if pflags & wish else 0
            descriptor = self._root.open(path, flags)
        file = OpenFile(descriptor, path, part, pflags, "r+" if reading and writing else "w" if writing else "r")
        self._visit.open.add(file)
        self._note_busy(self, True)
        return file

    def _part_for(self, path: bytes, pflags: int) -> bytes | None:
        """Where to collect an upload to `path`; None when it is to be changed in place."""
        folder, name = posixpath.split(path)
        if name.startswith(b".") or pflags & asyncssh.FXF_APPEND:
            return None  # hidden already: other writers' part files
        try:
            found = self._root.stat(path)
        except FileNotFoundError:
            if not pflags & asyncssh.FXF_CREAT:
                raise
        else:
            if pflags & asyncssh.FXF_EXCL:
                raise FileExistsError(errno.EEXIST, "File exists")
            if not stat.S_ISREG(found.st_mode):
                raise PermissionError(errno.EACCES, "Not a regular file")
            if not pflags & asyncssh.FXF_TRUNC:
                return None
        return posixpath.join(folder, os.fsencode(part_name(os.fsdecode(name))))

    def open56(self, path: bytes, desired_access: int, flags: int, attrs: asyncssh.SFTPAttrs) -> NoReturn:
        """Version 5 of the protocol and later: never negotiated."""
        raise asyncssh.SFTPOpUnsupported("Not offered here")

    async def close(self, file_obj: object) -> None:
        """Close a file; an upload appears under its name now, flushed to disk."""
        # asyncssh comes here for a client's request, and while it handles the exception (the end of the stream, a lost
        # connection) that ended a session with files open. What was not closed by its client is not complete.
        abandoned = sys.exception() is not None
        file = _opened(file_obj)
        self._visit.open.discard(file)
        size = os.fstat(file.fileno()).st_size
        try:
            if file.part is None or abandoned:
                return
            if file.failed:
                raise asyncssh.SFTPFailure("Not stored: a part of it could not be written")
            await asyncio.to_thread(os.fsync, file.fileno())
            self._root.rename(file.part, file.path, replace=file.replaces)
            part, file.part = file.part, None
            await asyncio.to_thread(self._root.sync_directory_of, part)
        finally:
            writable = file.writable()
            file.close()
            if file.part is not None:
                with suppress(OSError):
                    self._root.remove(file.part)
                self._visit.log("did not finish", file.path)
            elif writable and not _is_part(file.path):
                self._visit.log("stored", file.path, f"{size} bytes")
            elif file.read_any:
                self._visit.log("read", file.path, f"{size} bytes")

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """Up to 256 KiB at an offset."""
        file = _opened(file_obj)
        file.read_any = True
        return os.pread(file.fileno(), min(size, _MAX_READ), offset)

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """All of the data, or an error."""
        file = _opened(file_obj)
        start = os.fstat(file.fileno()).st_size if file.appends else offset
        try:
            self._check_size(start + len(data))
            written = 0
            while written < len(data):
                written += os.pwrite(file.fileno(), data[written:], offset + written)
        except (OSError, asyncssh.SFTPError):
            file.failed = True  # clients close a file also after an error, but it is not what they meant to store
            raise
        return written

    def _check_size(self, size: int) -> None:
        if size > self._visit.max_file_size:
            raise asyncssh.SFTPFailure(f"Files here may have {self._visit.max_file_size} bytes at most")

    async def fsync(self, file_obj: object) -> None:
        """Flush a file to disk, without keeping the other services of this process waiting."""
        await asyncio.to_thread(os.fsync, _opened(file_obj).fileno())

    def lstat(self, path: bytes) -> os.stat_result:
        """Of a link itself."""
        return self._root.stat(path, of_link=True)

    def stat(self, path: bytes) -> os.stat_result:
        """Links are refused."""
        return self._root.stat(path)

    def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Size and times; modes and owners stay as they are."""
        self._root.stat(path)  # refuses links, also where there is nothing to set
        if attrs.size is not None:
            self._check_size(attrs.size)
            descriptor = self._root.open(path, os.O_WRONLY)
            try:
                os.ftruncate(descriptor, attrs.size)
            finally:
                os.close(descriptor)
        if attrs.atime is not None and attrs.mtime is not None:
            self._root.set_times(path, attrs.atime, attrs.mtime)

    def lsetstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """As setstat."""
        self.setstat(path, attrs)

    def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        """As setstat, for an open file."""
        file = _opened(file_obj)
        if not file.writable():
            raise asyncssh.SFTPPermissionDenied("The file is open for reading only")
        if attrs.size is not None:
            self._check_size(attrs.size)
            file.truncate(attrs.size)
        if attrs.atime is not None and attrs.mtime is not None:
            os.utime(file.fileno(), (attrs.atime, attrs.mtime))

    def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """The entries of a directory, links as links."""
        self._visit.check_room()
        found = self._root.entries(path)
        listing = Listing([asyncssh.SFTPName(name, attrs=asyncssh.SFTPAttrs.from_local(s)) for name, s in found])
        self._visit.open.add(listing)
        return listing

    def realpath(self, path: bytes) -> bytes:
        """The path as seen from this directory; nothing is looked up."""
        return self._root.normal(path)

    def remove(self, path: bytes) -> None:
        """Remove a file, or a link itself."""
        self._root.remove(path)
        path = self._root.normal(path)
        if not _is_part(path):
            self._visit.log("removed", path)

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Make a directory."""
        self._root.make_directory(path)
        self._visit.log("made directory", self._root.normal(path))

    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""
        self._root.remove_directory(path)
        self._visit.log("removed directory", self._root.normal(path))

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename, unless the new name exists."""
        await self._rename(oldpath, newpath, replace=False)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename over whatever has the new name."""
        await self._rename(oldpath, newpath, replace=True)

    async def _rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        old, new = self._root.normal(old), self._root.normal(new)
        size = self._root.stat(old, of_link=True).st_size
        self._root.rename(old, new, replace=replace)
        if _is_part(old):
            self._visit.log("stored", new, f"{size} bytes")
        else:
            self._visit.log("renamed", old, f"to {printable(new)}")
        await asyncio.to_thread(self._root.sync_directory_of, new)

    def readlink(self, path: bytes) -> NoReturn:
        """Where links lead is nobody's business."""
        raise asyncssh.SFTPPermissionDenied("Symbolic links are not followed here")

    def symlink(self, oldpath: bytes, newpath: bytes) -> NoReturn:
        """Refused."""
        raise asyncssh.SFTPPermissionDenied("Links can't be made here")

    def link(self, oldpath: bytes, newpath: bytes) -> NoReturn:
        """Refused."""
        raise asyncssh.SFTPPermissionDenied("Links can't be made here")

    def statvfs(self, path: bytes) -> os.statvfs_result:
        """Of the directory's file system."""
        return self._root.statvfs()

    def format_user(self, uid: int | None) -> str:
        """Listings show numbers: the machine's user names stay here."""
        return "" if uid is None else str(uid)

    def format_group(self, gid: int | None) -> str:
        """As format_user."""
        return "" if gid is None else str(gid)


def _opened(file_obj: object) -> OpenFile:
    assert isinstance(file_obj, OpenFile)
    return file_obj


def _is_part(path: bytes) -> bool:
    return is_part_name(os.fsdecode(posixpath.basename(path)))
