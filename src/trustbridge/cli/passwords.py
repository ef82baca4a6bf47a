"""Where a password comes from: a file, the environment, a person. Never the command line, which every user can read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trustbridge.errors import SettingsError

if TYPE_CHECKING:
    from trustbridge.cucm.credentials import Credentials, Realm, Secret
    from trustbridge.cucm.model import ClusterEntry

#: The SFTP server's; those of clusters are named by `credentials.variable`.
PASSWORD_VARIABLE = "TRUSTBRIDGE_SFTP_PASSWORD"  # noqa: S105 - the name of a variable


def read_password(whose: str, file: Path | None, *, new: bool = False) -> str:
    """A password from `file` (its first line), else the environment, else a question at the terminal.

    Args:
        whose: `user` or `user@host`, for the question and the errors.
        new: ask twice, as for a password that is being set.

    Raises:
        SettingsError: there is none to be had, or it is empty.
    """
    if file is not None:
        try:
            password = file.read_text("utf-8").partition("\n")[0].rstrip("\r")
            mode = file.stat().st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"can't read the password file {file}: {error}") from error
        if not password:
            raise SettingsError(f"the first line of {file} is empty: it should be the password")
        if mode & 0o077:
            typer.echo(f"warning: other users may be able to read {file} (chmod 600 {file})", err=True)
        return password
    if PASSWORD_VARIABLE in os.environ:
        if not os.environ[PASSWORD_VARIABLE]:
            raise SettingsError(f"${PASSWORD_VARIABLE} is empty: it should be the password")
        return os.environ[PASSWORD_VARIABLE]
    if not sys.stdin.isatty():
        raise SettingsError(
            f"there is no password for {whose}, and no terminal to ask at",
            f"Use --password-file or ${PASSWORD_VARIABLE}, or a key instead.",
        )
    return str(typer.prompt(f"Password of {whose}", hide_input=True, confirmation_prompt=new, err=True))


def cluster_credentials(entry: ClusterEntry, folder: Path, *, ask: bool = True) -> Credentials:
    """A cluster's passwords, each from the environment, else from the file of passwords, else a question.

    Args:
        folder: the state folder.
        ask: at the terminal, where there is one; otherwise what is not known stays unknown.

    Raises:
        SettingsError: a variable is set and empty, or the file can't be read.
    """
    from trustbridge.cucm.credentials import Credentials, Realm
    from trustbridge.storage.passwordfile import PasswordFile

    kept = PasswordFile(folder).get(entry.name)
    ask = ask and sys.stdin.isatty()
    found = [_cluster_password(entry, realm, kept.of(realm), ask) for realm in (Realm.OS, Realm.APP)]
    return Credentials(*found)


def _cluster_password(entry: ClusterEntry, realm: Realm, kept: Secret | None, ask: bool) -> Secret | None:
    from trustbridge.cucm.credentials import Realm, Secret, variable

    name = variable(entry.name, realm)
    if name in os.environ:
        if not os.environ[name]:
            raise SettingsError(f"${name} is empty: it should be the password")
        return Secret(os.environ[name])
    if kept is not None or not ask:
        return kept
    user = entry.os_user if realm is Realm.OS else entry.app_user
    question = f"Password of {user}, {realm.words} of {entry.name} (Enter: go without)"
    typed = str(typer.prompt(question, hide_input=True, default="", show_default=False, err=True))
    return Secret(typed) if typed else None
