"""Clusters named, changed and forgotten together with the passwords that are kept for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from trustbridge.cucm.credentials import Credentials, Realm, Secret, variable
from trustbridge.cucm.model import ClusterEntry
from trustbridge.errors import SettingsError, TrustbridgeError
from trustbridge.storage import passwords
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.storage.passwords import given, user_of

#: Told in words what could not be done, and does not keep the rest from being done.
Warn = Callable[[str], None]


class Place(StrEnum):
    """Where a password is kept."""

    FILE = "file"
    KEYRING = "keyring"


def add_clusters(entries: Sequence[ClusterEntry], folder: Path, *, replace: bool = False, warn: Warn) -> None:
    """Add clusters to the inventory, all or none. Passwords of one that is replaced by another are not for that one.

    Args:
        folder: the state folder.

    Raises:
        SettingsError: a name is taken (unless `replace`), or an entry can't be right.
    """
    inventory = Inventory(folder)
    before = inventory.all()
    inventory.add(*entries, replace=replace)
    for entry in entries:
        known = before.get(entry.name, entry)
        if (known.publisher, known.os_user, known.app_user) != (entry.publisher, entry.os_user, entry.app_user):
            forget_passwords(known, folder, warn)


def remove_cluster(name: str, folder: Path, *, warn: Warn) -> None:
    """Forget a cluster, and the passwords kept for it. Pinned identities stay.

    Raises:
        SettingsError: there is none of that name.
    """
    inventory = Inventory(folder)
    entry = inventory.get(name)
    inventory.remove(name)
    forget_passwords(entry, folder, warn)


def forget_passwords(entry: ClusterEntry, folder: Path, warn: Warn) -> None:
    """Forget what is kept of a cluster, in keyring and file; where a keyring can't be asked, that is said."""
    PasswordFile(folder).forget(entry.name)
    for realm in Realm:
        _forget_in_keyring(entry, realm, warn)


def keep_password(entry: ClusterEntry, realm: Realm, secret: Secret, folder: Path, *, place: Place, warn: Warn) -> str:
    """Keep one password where it will be found, instead of one that is known.

    Returns:
        Where, in words.

    Raises:
        SettingsError, NotNow, Unreachable, Refused: it is not kept.
    """
    file = PasswordFile(folder)
    if place is Place.KEYRING:
        where = passwords.system_keyring().keep(entry.name, realm, user_of(entry, realm), secret)
    else:
        kept = file.get(entry.name)
        both = {one: secret if one is realm else kept.of(one) for one in Realm}
        file.keep(entry.name, Credentials(both[Realm.OS], both[Realm.APP]))
        where = str(file.path)
        # The keyring is asked before the file: an old password there would be the one that is sent.
        _forget_in_keyring(entry, realm, warn)
    try:
        shadowed = given(variable(entry.name, realm)) is not None
    except SettingsError:
        shadowed = True
    if shadowed:
        warn(f"${variable(entry.name, realm)} is set, and goes before the password that is kept now")
    return where


def known_passwords(entry: ClusterEntry, folder: Path) -> dict[Realm, str]:
    """Where each password that is known comes from, in words; asks the keyring, so not from a loop.

    Raises:
        SettingsError: the file can't be read.
    """
    found: dict[Realm, str] = {}
    file = PasswordFile(folder)
    for realm in Realm:
        name = variable(entry.name, realm)
        try:
            if given(name) is not None:
                found[realm] = f"${name}"
                continue
        except SettingsError:
            continue
        if passwords.system_keyring().get(entry.name, realm, user_of(entry, realm)) is not None:
            found[realm] = "the system's keyring"
        elif file.get(entry.name).of(realm) is not None:
            found[realm] = str(file.path)
    return found


def _forget_in_keyring(entry: ClusterEntry, realm: Realm, warn: Warn) -> None:
    user = user_of(entry, realm)
    try:
        passwords.system_keyring().forget(entry.name, realm, user)
    except TrustbridgeError as error:
        warn(f"the keyring may still hold the password of {user}: {error.message}")
