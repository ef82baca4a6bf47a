"""Where a password comes from: a file, the environment, a person. Never the command line, which every user can read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from trustbridge.errors import SettingsError

#: The one secret that may come from the environment.
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
