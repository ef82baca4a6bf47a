"""Where a password comes from: environment, keyring, file, person. Never the command line, which all users can read."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from trustbridge.errors import SettingsError
from trustbridge.storage.passwords import given, stored_password, system_keyring, take_environment, user_of

if TYPE_CHECKING:
    from trustbridge.cucm.credentials import Credentials, Realm, Secret
    from trustbridge.cucm.model import ClusterEntry

__all__ = [
    "PASSWORD_VARIABLE",
    "cluster_credentials",
    "new_cluster_password",
    "password_in",
    "read_password",
    "system_keyring",
    "take_environment",
    "user_of",
    "warned",
]

#: What stands for standard input where a file is named.
STANDARD_INPUT = Path("-")
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
        return password_in(file)
    if (found := given(PASSWORD_VARIABLE)) is not None:
        return found
    if not sys.stdin.isatty():
        raise SettingsError(
            f"there is no password for {whose}, and no terminal to ask at",
            f"Use --password-file or ${PASSWORD_VARIABLE}, or a key instead.",
        )
    return str(typer.prompt(f"Password of {whose}", hide_input=True, confirmation_prompt=new, err=True))


def password_in(file: Path) -> str:
    """The first line of a file; of standard input, where the file is `-`.

    Raises:
        SettingsError: it can't be read, or is empty.
    """
    try:
        if file == STANDARD_INPUT:
            line, mode = sys.stdin.readline(), 0
        else:
            line, mode = file.read_text("utf-8"), file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        # Not with the decoder's words: they hold what it could not decode.
        why = error.strerror or error if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"can't read the password file {file}: {why}") from None
    password = line.partition("\n")[0].rstrip("\r")
    if not password:
        raise SettingsError(f"the first line of {file} is empty: it should be the password")
    if mode & 0o077 and stat.S_ISREG(mode):
        typer.echo(f"warning: other users may be able to read {file} (chmod 600 {file})", err=True)
    return password


def new_cluster_password(entry: ClusterEntry, realm: Realm) -> Secret | None:
    """Ask twice, at the terminal, for a password that is to be kept; None where none was typed.

    Raises:
        SettingsError: there is no terminal.
    """
    from trustbridge.cucm.credentials import Secret

    if not sys.stdin.isatty():
        raise SettingsError(
            f"there is no terminal to ask for the password of {user_of(entry, realm)} at",
            "Use --password-file, which may be - for standard input.",
        )
    question = f"{_question(entry, realm)} (Enter: leave it as it is)"
    options: dict[str, Any] = {"hide_input": True, "default": "", "show_default": False, "err": True}
    while True:
        typed = str(typer.prompt(question, **options))
        if not typed:
            return None
        if str(typer.prompt("Once more", **options)) == typed:
            return Secret(typed)
        typer.echo("the two are not the same", err=True)


def warned(words: str) -> None:
    """Say what could not be done, and did not keep the rest from being done."""
    typer.echo(f"warning: {words}", err=True)


def cluster_credentials(entry: ClusterEntry, folder: Path, *, ask: bool = True) -> Credentials:
    """A cluster's passwords, each from the environment, else the system's keyring, else the file, else a question.

    Args:
        folder: the state folder.
        ask: at the terminal, where there is one; otherwise what is not known stays unknown.

    Raises:
        SettingsError: a variable is set and empty, or the file can't be read.
    """
    from trustbridge.cucm.credentials import Credentials, Realm

    ask = ask and sys.stdin.isatty()
    return Credentials(*(_cluster_password(entry, realm, folder, ask) for realm in (Realm.OS, Realm.APP)))


def _cluster_password(entry: ClusterEntry, realm: Realm, folder: Path, ask: bool) -> Secret | None:
    from trustbridge.cucm.credentials import Secret

    kept = stored_password(entry, realm, folder)
    if kept is not None or not ask:
        return kept
    question = f"{_question(entry, realm)} (Enter: go without)"
    typed = str(typer.prompt(question, hide_input=True, default="", show_default=False, err=True))
    return Secret(typed) if typed else None


def _question(entry: ClusterEntry, realm: Realm) -> str:
    return f"Password of {user_of(entry, realm)}, {realm.words} of {entry.name}"
