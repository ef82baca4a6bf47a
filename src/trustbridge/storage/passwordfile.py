"""Passwords a user wants kept: `passwords.json` in the state folder, 0600, apart from the inventory.

They stand there in clear, as in a .netrc: whoever may read the user's files has them. Meant for the clusters of a lab;
for others the environment or a question at the terminal leave no trace.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from trustbridge import atomicfile
from trustbridge.cucm.credentials import Credentials, Realm, Secret
from trustbridge.errors import SettingsError
from trustbridge.storage.folderlock import locked

FILE: Final = "passwords.json"


class PasswordFile:
    """The file of passwords, by cluster and realm.

    Args:
        folder: the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def get(self, cluster: str) -> Credentials:
        """What is kept for a cluster.

        Raises:
            SettingsError: the file can't be read, or other users may read it.
        """
        kept = self._read().get(cluster, {})
        found = {realm: Secret(kept[realm]) if realm in kept else None for realm in Realm}
        return Credentials(found[Realm.OS], found[Realm.APP])

    def keep(self, cluster: str, credentials: Credentials) -> None:
        """Keep a cluster's passwords, instead of those that are there.

        Raises:
            SettingsError: as `get`.
            TrustbridgeError: the file can't be written.
        """
        found = {realm: credentials.of(realm) for realm in Realm}
        with locked(self.path.parent, "the passwords are not kept"):
            kept = self._read()
            kept[cluster] = {str(realm): secret.reveal() for realm, secret in found.items() if secret is not None}
            self._write(kept)

    def forget(self, cluster: str) -> bool:
        """Remove what is kept for a cluster; False when there is nothing."""
        with locked(self.path.parent, "the passwords are not forgotten"):
            kept = self._read()
            if kept.pop(cluster, None) is None:
                return False
            self._write(kept)
        return True

    def _write(self, kept: dict[str, dict[str, str]]) -> None:
        with atomicfile.in_words("the passwords are not kept"):
            atomicfile.write(self.path, json.dumps(kept, indent=2).encode())

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            content = self.path.read_bytes()
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SettingsError(f"can't read {self.path}: {error.strerror or error}") from None
        if mode & 0o077:
            raise SettingsError(
                f"other users may be able to read {self.path}, so it is not used", f"chmod 600 {self.path}"
            )
        try:
            kept = json.loads(content)
            if all(
                isinstance(known, dict) and all(isinstance(one, str) and one for one in known.values())
                for known in kept.values()
            ):
                return dict(kept)
        except (ValueError, AttributeError, RecursionError):
            pass
        # Not with what it says: passwords are in it.
        raise SettingsError(f"{self.path} can't be read", "Repair or remove that file.")
