"""An SSH server's own key: made at first start, 0600, the same ever after."""

from __future__ import annotations

from pathlib import Path

import asyncssh

from trustbridge import atomicfile
from trustbridge.errors import SettingsError


def read_or_make(path: Path, comment: str) -> asyncssh.SSHKey:
    """The ed25519 key in a file, which is made when there is none. Blocks for some milliseconds.

    Raises:
        SettingsError: the file holds no key that can be used, or others can read it.
        OSError: the file can't be read or written.
    """
    if not path.exists():
        made = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
        atomicfile.write(path, made.export_private_key())
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"others can read the host key {path}", f"chmod 600 {path}")
    try:
        return asyncssh.read_private_key(path)
    except ValueError as error:  # KeyImportError and KeyEncryptionError have no other base in common
        raise SettingsError(
            f"there is no unencrypted private key in {path}: {error}",
            "Move it away to have a new one made; clients that pinned the old one will complain.",
        ) from None
