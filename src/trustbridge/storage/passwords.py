"""Passwords that are known without asking anybody: from the environment, the system's keyring, or the file."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from trustbridge.errors import SettingsError

if TYPE_CHECKING:
    from trustbridge.cucm.credentials import Credentials, Realm, Secret
    from trustbridge.cucm.model import ClusterEntry
    from trustbridge.storage.systemkeyring import SystemKeyring

#: What `take_environment` took, by the names of the variables.
taken: dict[str, str] = {}


def take_environment() -> None:
    """Take passwords and tokens out of the environment, so that no program which this one starts is given them.

    Libraries start some unasked: to find OpenSSL's companions, asyncssh has ctypes run ldconfig.
    """
    taken.clear()
    secret = ("_PASSWORD", "_TOKEN")
    for name in [name for name in os.environ if name.startswith("TRUSTBRIDGE_") and name.endswith(secret)]:
        taken[name] = os.environ.pop(name)


def given(name: str) -> str | None:
    """A password of the environment; None where it holds none of that name.

    Raises:
        SettingsError: it is empty.
    """
    found = os.environ.get(name, taken.get(name))
    if found == "":
        raise SettingsError(f"${name} is empty: it should be the password")
    return found


@cache
def system_keyring() -> SystemKeyring:
    """The keyring; one a process, so that one that hangs is waited for once."""
    from trustbridge.storage.systemkeyring import SystemKeyring

    return SystemKeyring()


def user_of(entry: ClusterEntry, realm: Realm) -> str:
    """Whose password a cluster's realm asks for."""
    from trustbridge.cucm.credentials import Realm

    return entry.os_user if realm is Realm.OS else entry.app_user


def stored_password(entry: ClusterEntry, realm: Realm, folder: Path) -> Secret | None:
    """One of a cluster's passwords, from the environment, else the system's keyring, else the file.

    Args:
        folder: the state folder.

    Raises:
        SettingsError: a variable is set and empty, or the file can't be read.
    """
    from trustbridge.cucm.credentials import Secret, variable
    from trustbridge.storage.passwordfile import PasswordFile

    if (found := given(variable(entry.name, realm))) is not None:
        return Secret(found)
    return system_keyring().get(entry.name, realm, user_of(entry, realm)) or PasswordFile(folder).get(entry.name).of(
        realm
    )


def stored_credentials(entry: ClusterEntry, folder: Path) -> Credentials:
    """Both of a cluster's passwords; what is not known stays unknown. Raises as `stored_password`."""
    from trustbridge.cucm.credentials import Credentials, Realm

    return Credentials(*(stored_password(entry, realm, folder) for realm in (Realm.OS, Realm.APP)))
