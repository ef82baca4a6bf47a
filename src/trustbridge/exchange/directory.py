"""A flat directory of files that clusters exchange, wherever it is: on this machine or behind SFTP.

The rules of an exchange need four verbs and one promise: a file appears under its name whole or not at all. Every
writer therefore writes `.<name>.<random hex>.part` beside its target, has it flushed to disk and renames it over the
target. What a killed writer leaves is a part file that no listing shows; the next writer into the same directory
removes part files older than an hour, at its first write.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import stat
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trustbridge.errors import InvalidInput, Refused, SettingsError, TrustbridgeError

if TYPE_CHECKING:
    from trustbridge.exchange.hostkeys import HostKeyPins
    from trustbridge.exchange.sftp import SftpDirectory

#: Bundles are a few KiB to some hundred KiB. A server that sends more than this is not believed.
MAX_FILE_SIZE = 64 * 1024 * 1024
#: A part file older than this has no writer any more.
STALE_PART_SECONDS = 3600.0
#: Seconds to wait for a connection, and for each answer of a server.
DEFAULT_TIMEOUT = 20.0

_PART_SUFFIX = ".part"
_PART_NAME = re.compile(r"\..+\.[0-9a-f]{16}\.part", re.DOTALL)
#: File systems take 255 bytes; a part file's name is 23 longer than its target's.
_MAX_NAME_BYTES = 255 - 23


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file as a listing shows it.

    Attributes:
        name: without any directory.
        size: in bytes.
        modified: aware, UTC; whole seconds over SFTP.
    """

    name: str
    size: int
    modified: datetime


class Directory(Protocol):
    """Where bundles are exchanged. Every method raises only `TrustbridgeError`s.

    Names are plain: no `/` or backslash, no leading dot, no control characters, not ending in `.part`, at most 232
    bytes of UTF-8. Others are refused with SettingsError; files that have such names are never listed.

    Errors all implementations share: SettingsError when the directory itself is missing, Refused when a file is missing
    or may not be touched, InvalidInput when a file is larger than MAX_FILE_SIZE. SFTP adds Unreachable.
    """

    async def list(self) -> list[FileInfo]:
        """The regular files here, sorted by name; no links, no directories, no dot-files, no part files."""
        ...

    async def read(self, name: str) -> bytes:
        """The whole content of one file."""
        ...

    async def write_atomic(self, name: str, data: bytes) -> None:
        """Put a file here, replacing one of the same name in one step. Of two writers at once, one wins entirely."""
        ...

    async def remove(self, name: str) -> None:
        """Take a file away."""
        ...

    def describe(self) -> str:
        """Where this is, for a person; never with a password."""
        ...


def name_problem(name: str) -> str:
    """Why a name can't be used in a Directory; empty when it can."""
    if not name:
        return "it is empty"
    if name.startswith("."):
        return "it begins with a dot"
    if "/" in name or "\\" in name:
        return "it names a directory"
    if not name.isprintable():
        return "it holds characters that can't be printed"
    if name.endswith(_PART_SUFFIX):
        return f"{_PART_SUFFIX} marks files that are not finished"
    if len(name.encode("utf-8")) > _MAX_NAME_BYTES:
        return f"it is longer than {_MAX_NAME_BYTES} bytes"
    return ""


def check_name(name: str) -> str:
    """The name, when a Directory takes it.

    Raises:
        SettingsError: it does not.
    """
    problem = name_problem(name)
    if problem:
        raise SettingsError(f"{name!r} can't be the name of an exchanged file: {problem}")
    return name


def part_name(name: str) -> str:
    """A new name for the unfinished content of `name`."""
    return f".{name}.{secrets.token_hex(8)}{_PART_SUFFIX}"


def is_part_name(name: str) -> bool:
    """Whether a file of this name is one of our writers' unfinished files."""
    return _PART_NAME.fullmatch(name) is not None


def too_large(name: str, where: str) -> InvalidInput:
    """What reading a file beyond MAX_FILE_SIZE raises."""
    return InvalidInput(f"{name} in {where} is larger than {MAX_FILE_SIZE // 2**20} MiB: that is no bundle")


class LocalDirectory:
    """A directory of this machine. New files get the mode the process's umask gives.

    Args:
        path: the directory.
        create: make it (and what is above it) when it is missing, at the first use.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._path = path
        self._create = create

    def __repr__(self) -> str:
        return f"LocalDirectory({str(self._path)!r})"

    def describe(self) -> str:
        """The path."""
        return str(self._path)

    # File systems can block for long (NFS, a sleeping disk), so each verb runs in a thread.

    async def list(self) -> list[FileInfo]:
        """See Directory."""
        return sorted(await asyncio.to_thread(self._list), key=lambda file: file.name)

    async def read(self, name: str) -> bytes:
        """See Directory."""
        return await asyncio.to_thread(self._read, check_name(name))

    async def write_atomic(self, name: str, data: bytes) -> None:
        """See Directory. A cancelled call may still finish its write."""
        await asyncio.to_thread(self._write, check_name(name), bytes(data))

    async def remove(self, name: str) -> None:
        """See Directory."""
        await asyncio.to_thread(self._remove, check_name(name))

    def _list(self) -> Sequence[FileInfo]:
        files = []
        try:
            self._prepare()
            with os.scandir(self._path) as entries:
                for entry in entries:
                    if name_problem(entry.name):
                        continue
                    with suppress(FileNotFoundError):  # removed since the directory was read
                        found = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(found.st_mode):
                            files.append(_file_info(entry.name, found))
        except OSError as error:
            raise self._translated(error, "list the files") from error
        return files

    def _read(self, name: str) -> bytes:
        try:
            # Not blocking: somebody may have put a FIFO there.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(self._path / name, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Refused(f"{name} in {self.describe()} is not a regular file")
                data = file.read(MAX_FILE_SIZE + 1)
        except OSError as error:
            raise self._translated(error, f"read {name}") from error
        if len(data) > MAX_FILE_SIZE:
            raise too_large(name, self.describe())
        return data

    def _write(self, name: str, data: bytes) -> None:
        target, part = self._path / name, self._path / part_name(name)
        try:
            self._prepare()
            try:
                with part.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)
            except BaseException:
                with suppress(OSError):
                    part.unlink()
                raise
            _sync_directory(self._path)
        except OSError as error:
            raise self._translated(error, f"write {name}") from error
        with suppress(OSError):  # the file is in place; old rubbish can wait for the next write
            self._sweep(target.stat().st_mtime)

    def _remove(self, name: str) -> None:
        try:
            (self._path / name).unlink()
            _sync_directory(self._path)
        except OSError as error:
            raise self._translated(error, f"remove {name}") from error

    def _prepare(self) -> None:
        if self._create:
            self._path.mkdir(parents=True, exist_ok=True)

    def _sweep(self, now: float) -> None:
        """Remove stale part files; `now` is the file system's own time, seconds since 1970."""
        with os.scandir(self._path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    age = now - entry.stat(follow_symlinks=False).st_mtime
                    if is_part_name(entry.name) and age > STALE_PART_SECONDS:
                        Path(entry.path).unlink()

    def _translated(self, error: OSError, what: str) -> TrustbridgeError:
        if not self._path.is_dir():
            return SettingsError(
                f"can't {what}: there is no directory {self._path}", "Create it, or correct the setting."
            )
        return Refused(f"can't {what} in {self._path}: {error.strerror or error}")


def _file_info(name: str, found: os.stat_result) -> FileInfo:
    return FileInfo(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _sync_directory(path: Path) -> None:
    """Make a rename or removal survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpSettings:
    """An SFTP server and a directory on it, as a publisher's bulk configuration names them.

    Attributes:
        host: name or address.
        port: 1 to 65535.
        username: whom to log in as.
        password: for password and keyboard-interactive logins; never shown.
        key_file: an unencrypted private key in OpenSSH or PEM form. Keys of ~/.ssh and of an agent are never tried.
        directory: absolute, or relative to where the login lands; `.` is that place itself.
        legacy_algorithms: also talk to servers that know nothing newer than SHA-1 and CBC (SSH servers of about 2012
            and before): Diffie-Hellman groups 1 and 14 with SHA-1, CBC ciphers with 3DES, HMAC-SHA-1 and ssh-rsa
            signatures. Somebody on the path who can afford collisions of SHA-1 or a 1024-bit discrete logarithm
            could then read the password or stand in for the server, in spite of the pinned host key.

    Raises:
        SettingsError: a value that can't work, or neither password nor key.
    """

    host: str
    port: int = 22
    username: str
    password: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    directory: str
    legacy_algorithms: bool = False

    def __post_init__(self) -> None:
        if not self.host or not self.host.isprintable() or " " in self.host:
            raise SettingsError(f"{self.host!r} is not the name or address of an SFTP server")
        if not 1 <= self.port <= 65535:
            raise SettingsError(f"{self.port} is not a TCP port", "SFTP servers usually listen on 22.")
        if not self.username or not self.username.isprintable():
            raise SettingsError(f"{self.username!r} is not a user name for {self.host}")
        if not self.directory.isprintable():
            raise SettingsError(f"{self.directory!r} is not a directory of an SFTP server")
        if self.password is None and self.key_file is None:
            raise SettingsError(
                f"nothing to log in with at {self.host}: neither a password nor a key file is set",
                "Set one of the two.",
            )

    @property
    def server(self) -> str:
        """`host:port`, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def describe(self) -> str:
        """As a URL, without the password."""
        return f"sftp://{self.username}@{self.server}/{self.directory.lstrip('/')}"


def open_sftp(
    settings: SftpSettings,
    pins: HostKeyPins,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    local_address: str | None = None,
    create: bool = False,
) -> AbstractAsyncContextManager[SftpDirectory]:
    """Connect to an SFTP server; the connection lasts as long as the context.

    The directory has an attribute `first_contact`: the key that was pinned now, or None when it was known.

    Args:
        settings: where, as whom.
        pins: the known host keys; a server seen for the first time is added.
        timeout: seconds for the connection with its login, and again for each answer afterwards.
        local_address: the address to call from; a lab node calls from its own.
        create: make the directory (and what is above it) on the server when it is missing.

    Raises:
        Unreachable: nobody there, or no answer in time, or the connection broke.
        AuthenticationRefused: user, password or key not accepted.
        IdentityChanged: not the host key that is pinned.
        Refused: the server says no, or nothing it speaks is acceptable.
        SettingsError: the directory is missing on the server; the key file or the pins are unusable.
    """
    # asyncssh takes 0.3 s to import; a local directory needs none of it.
    from trustbridge.exchange.sftp import connect

    return connect(settings, pins, seconds=timeout, local_address=local_address, create=create)
