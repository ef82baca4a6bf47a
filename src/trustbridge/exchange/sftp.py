"""A Directory on an SFTP server, over asyncssh.

Errors of asyncssh and of the socket are translated in one place, `trustbridge.exchange.ssh.translated`. What it takes
to replace a file in one step, and what happens on servers that can't, stands at `_rename_over`.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import asyncssh

from trustbridge.errors import SettingsError, TrustbridgeError
from trustbridge.exchange.directory import (
    MAX_FILE_SIZE,
    STALE_PART_SECONDS,
    FileInfo,
    SftpSettings,
    check_name,
    is_part_name,
    name_problem,
    part_name,
    too_large,
)
from trustbridge.exchange.hostkeys import FirstContact, HostKeyPins
from trustbridge.exchange.ssh import PARTING_SECONDS, HostKeyWatcher, hang_up, log_in, translated

#: Bytes of a request: where the server names no limit (every server takes 32 KiB), and at most (OpenSSH takes 255 KiB).
_SAFE_BLOCK = 32 * 1024
_MAX_BLOCK = 255 * 1024
#: Two writers that must remove before they rename can get into each other's way this often.
_RENAME_ATTEMPTS = 8


class SftpDirectory:
    """A directory on a server, for as long as its connection lasts. Made by `open_sftp`."""

    def __init__(
        self,
        settings: SftpSettings,
        connection: asyncssh.SSHClientConnection,
        client: asyncssh.SFTPClient,
        first_contact: FirstContact | None,
        timeout: float,
    ) -> None:
        self.first_contact = first_contact
        self._settings = settings
        self._connection = connection
        self._client = client
        self._timeout = timeout
        self._swept = False
        limits = client.limits
        self._read_block = min(limits.max_read_len or _SAFE_BLOCK, _MAX_BLOCK)
        self._write_block = min(limits.max_write_len or _SAFE_BLOCK, _MAX_BLOCK)

    def __repr__(self) -> str:
        return f"SftpDirectory({self.describe()!r})"

    def describe(self) -> str:
        """As a URL, without the password."""
        return self._settings.describe()

    async def list(self) -> list[FileInfo]:
        """See Directory."""
        with self._edge("list the files"):
            entries = await self._entries()
        files = [
            FileInfo(name, attributes.size or 0, datetime.fromtimestamp(attributes.mtime or 0, UTC))
            for name, attributes in entries
            if not name_problem(name) and _is_regular(attributes)
        ]
        return sorted(files, key=lambda file: file.name)

    async def read(self, name: str) -> bytes:
        """See Directory."""
        path = self._path(check_name(name))
        data = bytearray()
        with self._edge(f"read {name}"):
            # Block size 0: each call is one request. asyncssh's parallel reader leaves tasks behind when it is
            # cancelled, and fills a hole with zeros when the file shrinks meanwhile.
            async with self._answer():
                file = await self._client.open(path, "rb", block_size=0)
            try:
                while True:
                    async with self._answer():
                        block = cast(bytes, await file.read(self._read_block, len(data)))  # opened as binary
                    if not block:
                        break
                    data += block
                    if len(data) > MAX_FILE_SIZE:
                        raise too_large(name, self.describe())
            finally:
                await self._parting(file)
        return bytes(data)

    async def write_atomic(self, name: str, data: bytes) -> None:
        """See Directory. The server decides a new file's mode: other clusters may log in as other users."""
        check_name(name)
        part = part_name(name)
        try:
            with self._edge(f"write {name}"):
                await self._write_part(self._path(part), memoryview(data))
                await self._rename_over(self._path(part), self._path(name))
        except BaseException:
            await self._discard(self._path(part))
            raise
        if self._swept:
            return  # a listing a file would make an export of hundreds take its square
        self._swept = True
        # The file is in place. Old rubbish can wait for the next write, a lost connection will be met again.
        with suppress(TrustbridgeError), self._edge("remove stale part files"):
            await self._sweep(self._path(name))

    async def remove(self, name: str) -> None:
        """See Directory."""
        path = self._path(check_name(name))
        with self._edge(f"remove {name}"):
            async with self._answer():
                await self._client.remove(path)

    async def _write_part(self, path: str, data: memoryview) -> None:
        async with self._answer():
            file = await self._client.open(path, "xb", block_size=0)
        try:
            for offset in range(0, len(data), self._write_block):
                async with self._answer():
                    await file.write(bytes(data[offset : offset + self._write_block]), offset)
            # Without fsync@openssh.com a power cut of the server can still lose a file that was just renamed.
            with suppress(asyncssh.SFTPOpUnsupported):
                async with self._answer():
                    await file.fsync()
        except BaseException:
            await self._parting(file)
            raise
        async with self._answer():
            await file.close()  # may report what the disk could not take

    async def _rename_over(self, part: str, target: str) -> None:
        """Rename a part file over its target.

        With posix-rename@openssh.com (OpenSSH, and most servers since) this is one step. The plain rename of SFTP
        version 3 refuses when the target exists; then the target has to be removed first, and for the time of one
        request there is no file of that name. Readers see a missing file then, never half a one.
        """
        with suppress(asyncssh.SFTPOpUnsupported):
            async with self._answer():
                await self._client.posix_rename(part, target)
            return
        for attempt in range(_RENAME_ATTEMPTS):
            try:
                async with self._answer():
                    await self._client.rename(part, target)
                return
            except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
                if attempt == _RENAME_ATTEMPTS - 1:
                    raise
            with suppress(asyncssh.SFTPNoSuchFile):
                async with self._answer():
                    await self._client.remove(target)

    async def _sweep(self, written: str) -> None:
        """Remove part files whose writers are gone; the server's clock is read off the file just written."""
        async with self._answer():
            now = (await self._client.stat(written)).mtime
        if now is None:
            return
        for name, attributes in await self._entries():
            if is_part_name(name) and now - (attributes.mtime or now) > STALE_PART_SECONDS:
                with suppress(asyncssh.SFTPError):  # another writer was quicker, or it is somebody else's
                    async with self._answer():
                        await self._client.remove(self._path(name))

    async def _discard(self, path: str) -> None:
        """Remove an unfinished part file, if the server still listens."""
        with suppress(asyncssh.Error, OSError):
            async with asyncio.timeout(PARTING_SECONDS):
                await self._client.remove(path)

    async def _parting(self, file: asyncssh.SFTPClientFile) -> None:
        """Close a file whose outcome is known already."""
        with suppress(asyncssh.Error, OSError):
            async with asyncio.timeout(PARTING_SECONDS):
                await file.close()

    async def _entries(self) -> Sequence[tuple[str, asyncssh.SFTPAttrs]]:
        """Everything in the directory whose name is UTF-8."""
        found = []
        async with self._answer():
            # As bytes: one name in another encoding must not hide the rest.
            async for entry in self._client.scandir((self._settings.directory or ".").encode()):
                raw = entry.filename
                with suppress(UnicodeDecodeError):
                    found.append((raw if isinstance(raw, str) else raw.decode("utf-8"), entry.attrs))
        return found

    def _path(self, name: str) -> str:
        directory = self._settings.directory
        return name if directory in ("", ".") else f"{directory.rstrip('/')}/{name}"

    @asynccontextmanager
    async def _answer(self) -> AsyncIterator[None]:
        """Wait for one answer. A server that owes one for too long is not asked anything more.

        The connection is cut, which makes asyncssh give up; cancelling it instead would have it ask the server to close
        what it had open, and wait for that.
        """
        expired = False

        def give_up() -> None:
            nonlocal expired
            expired = True
            self._connection.abort()

        timer = asyncio.get_running_loop().call_later(self._timeout, give_up)
        try:
            yield
        except (asyncssh.Error, OSError) as error:
            if expired:
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()

    @contextmanager
    def _edge(self, what: str) -> Iterator[None]:
        try:
            yield
        except TrustbridgeError:
            raise
        except (asyncssh.Error, OSError) as error:
            raise translated(error, self._settings, what, self._timeout) from error


@asynccontextmanager
async def connect(
    settings: SftpSettings, pins: HostKeyPins, *, seconds: float, local_address: str | None, create: bool
) -> AsyncIterator[SftpDirectory]:
    """What `trustbridge.exchange.directory.open_sftp` does."""
    key = None if settings.key_file is None else _read_key(settings.key_file)
    watcher = HostKeyWatcher(settings, pins)
    connection = await log_in(settings, pins, watcher, key=key, seconds=seconds, local_address=local_address)
    try:
        try:
            async with asyncio.timeout(seconds):
                client = await connection.start_sftp_client()
                await _reach(client, settings, create)
        except (asyncssh.Error, OSError) as error:
            raise translated(error, settings, f"open {settings.directory or '.'}", seconds) from error
        yield SftpDirectory(settings, connection, client, watcher.first_contact, seconds)
    finally:
        await hang_up(connection)


async def _reach(client: asyncssh.SFTPClient, settings: SftpSettings, create: bool) -> None:
    directory = settings.directory or "."
    if create:
        await client.makedirs(directory, exist_ok=True)
    attributes = await client.stat(directory)
    if attributes.permissions is not None and not stat.S_ISDIR(attributes.permissions):
        raise SettingsError(f"{directory} on {settings.server} is not a directory", "Correct the setting.")


def _read_key(path: Path) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(path)
    except OSError as error:
        raise SettingsError(f"can't read the key file {path}: {error.strerror or error}") from error
    except ValueError as error:  # KeyImportError and KeyEncryptionError have no other base in common
        if "encrypt" not in str(error):
            raise SettingsError(f"there is no private key in {path}: {error}") from error
        raise SettingsError(
            f"the key in {path} is encrypted, and nobody is here to type its passphrase",
            f"Use a key made for this purpose: ssh-keygen -t ed25519 -N '' -f {path.with_name('trustbridge_key')}",
        ) from error


def _is_regular(attributes: asyncssh.SFTPAttrs) -> bool:
    """By mode; a server that sends none is taken at its word that the entry can be read."""
    return attributes.permissions is None or stat.S_ISREG(attributes.permissions)
