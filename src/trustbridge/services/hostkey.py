"""An SSH server's own key: made at first start, 0600, the same ever after."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

import asyncssh

from trustbridge.errors import SettingsError

_RSA_BITS = 3072


def read_or_make(path: Path, comment: str, kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    """The key in a file; one of this kind is made when there is none. Blocks for some milliseconds.

    Raises:
        SettingsError: the file can't be read or made, holds no key that can be used, or others can read it.
    """
    try:
        if not path.exists():
            _make(path, comment, kind)
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"others can read the host key {path}", f"chmod 600 {path}")
        return asyncssh.read_private_key(path)
    except OSError as error:
        raise SettingsError(f"can't use the host key {path}: {error.strerror or error}") from error
    except ValueError as error:  # KeyImportError and KeyEncryptionError have no other base in common
        raise SettingsError(
            f"there is no unencrypted private key in {path}: {error}",
            "Move it away to have a new one made; clients that pinned the old one will complain.",
        ) from error


def _make(path: Path, comment: str, kind: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sizes = {"key_size": _RSA_BITS} if kind == "ssh-rsa" else {}
    data = asyncssh.generate_private_key(kind, comment=comment, **sizes).export_private_key()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):  # another server started at the same time: its key it is
            path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)
