"""The SFTP server of bulk certificate management, as the console has been told it, and which publishers were.

`bulk.json` in the state folder, 0600. Its password is in the system's keyring, else in the file of passwords.
Publishers can't be asked what they are set to, so what they were told from here is kept, with the settings' revision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from trustbridge import atomicfile
from trustbridge.cucm.credentials import Credentials, Realm, Secret
from trustbridge.errors import NotConfigured, SettingsError, TrustbridgeError
from trustbridge.exchange.directory import SftpSettings
from trustbridge.storage.folderlock import locked
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.storage.passwords import system_keyring

FILE: Final = "bulk.json"
_LOST: Final = "bulk.json can't be read"


@dataclass(frozen=True, slots=True)
class Told:
    """What a publisher was told: the settings of this revision, then."""

    revision: int
    at: datetime


@dataclass(frozen=True, slots=True)
class BulkServer:
    """The settings, without the password.

    Attributes:
        host, port, username, directory: as in `SftpSettings`.
        revision: another one with each change, also of the password.
        told: what each cluster's publisher was told, by the cluster's name.
    """

    host: str
    port: int
    username: str
    directory: str
    revision: int = 1
    told: Mapping[str, Told] = field(default_factory=dict)

    def current(self, cluster: str) -> bool:
        """Whether a publisher was told just these settings."""
        known = self.told.get(cluster)
        return known is not None and known.revision == self.revision

    @property
    def account(self) -> str:
        """What keyring and password file call it: no cluster's name has a colon."""
        return f"sftp:{self.host.lower()}:{self.port}"


class BulkServers:
    """The file.

    Args:
        folder: the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE

    def get(self) -> BulkServer | None:
        """The settings; None before they were saved.

        Raises:
            SettingsError: the file can't be read.
        """
        try:
            found = json.loads(self._path.read_bytes())
            told = {
                name: Told(int(one["revision"]), datetime.fromisoformat(one["at"]))
                for name, one in found["told"].items()
            }
            return BulkServer(
                str(found["host"]),
                int(found["port"]),
                str(found["username"]),
                str(found["directory"]),
                int(found["revision"]),
                told,
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"{_LOST}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SettingsError(f"{_LOST}: {self._path}", "Remove that file, and save the settings again.") from None

    def save(self, host: str, port: int, username: str, directory: str, password: str = "") -> BulkServer:
        """Keep settings, and the password if one is given. They are the same if nothing is another.

        A password stays only with the server and user it was given for: it is never sent elsewhere.

        Raises:
            SettingsError: a value that can't work, or there is no password.
            TrustbridgeError: they can't be written.
        """
        SftpSettings(host=host, port=port, username=username, password=password or "-", directory=directory)
        if not password.isprintable():
            raise SettingsError("the password holds characters that can't be typed at a publisher's question")
        wanted = BulkServer(host, port, username, directory)
        if not password and not self._kept(wanted):
            raise SettingsError(
                f"there is no password for {username} at {host} port {port}",
                "Type it: one that was given for another server or user is not sent to this one.",
            )
        if password:
            self._keep(wanted, Secret(password))
        with locked(self._folder, "the SFTP settings are not kept"):
            before = self.get()
            if before is not None:
                wanted = replace(wanted, revision=before.revision, told=before.told)
                if wanted != before or password:
                    wanted = replace(wanted, revision=before.revision + 1)
            self._write(wanted)
        return wanted

    def tell(self, cluster: str, revision: int, at: datetime) -> None:
        """A publisher has taken the settings of that revision."""
        with locked(self._folder, "what the publisher was told is not kept"):
            known = self.get()
            if known is not None:
                self._write(replace(known, told={**known.told, cluster: Told(revision, at)}))

    def settings(self) -> SftpSettings:
        """All of it, with the password.

        Raises:
            NotConfigured: nothing was saved.
            SettingsError: there is no password, or the files can't be read.
        """
        known = self.get()
        if known is None:
            raise NotConfigured("no SFTP server is set", "Save the settings of one that every publisher reaches.")
        password = self._kept(known)
        if not password:
            raise SettingsError(
                f"the password of {known.username} at {known.host} is not known any more", "Type it, and save."
            )
        return SftpSettings(
            host=known.host,
            port=known.port,
            username=known.username,
            password=password,
            directory=known.directory,
        )

    def _kept(self, server: BulkServer) -> str:
        kept = PasswordFile(self._folder).get(f"{server.account}:{server.username}").os
        found = system_keyring().get(server.account, Realm.OS, server.username) if kept is None else kept
        # Not the environment's: whoever may save settings here could have it sent to a server of their own.
        return "" if found is None else found.reveal()

    def _keep(self, server: BulkServer, secret: Secret) -> None:
        """In the keyring where there is one, else in the file: it asks nobody, and a server has no terminal."""
        file, place = PasswordFile(self._folder), f"{server.account}:{server.username}"
        try:
            system_keyring().keep(server.account, Realm.OS, server.username, secret)
        except TrustbridgeError:
            file.keep(place, Credentials(secret, None))
        else:
            file.forget(place)

    def _write(self, server: BulkServer) -> None:
        content: dict[str, Any] = {
            "host": server.host,
            "port": server.port,
            "username": server.username,
            "directory": server.directory,
            "revision": server.revision,
            "told": {name: {"revision": one.revision, "at": one.at.isoformat()} for name, one in server.told.items()},
        }
        with atomicfile.in_words("the SFTP settings are not kept"):
            atomicfile.write(self._path, json.dumps(content, indent=2).encode())
