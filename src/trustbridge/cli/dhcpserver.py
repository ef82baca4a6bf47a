"""The DHCP server that a command works on: named by options, opened as a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.cli.opened import opened, pinned, state_folder

if TYPE_CHECKING:
    from trustbridge.dhcp.record import Server
    from trustbridge.dhcp.scope import Provider

KeaUrl = Annotated[
    str | None,
    typer.Option("--kea", metavar="unix:SOCKET|URL", help="Kea's control socket, or the URL of its control agent."),
]
KeaUser = Annotated[str, typer.Option("--kea-user", help="Who the control agent wants to be asked by.")]
KeaPassword = Annotated[
    Path | None,
    typer.Option("--kea-password-file", help="Its first line is that user's password; - for standard input."),
]


def named_server(kea: str | None, cluster: str | None, dnsmasq: Path | None, isc: Path | None, kea_user: str) -> Server:
    """The one server that options name.

    Raises:
        SettingsError: none, or several.
    """
    from trustbridge.dhcp.record import Kind, Server
    from trustbridge.errors import SettingsError

    named = [
        Server(kind, str(where.absolute()) if isinstance(where, Path) else where, kea_user if kind is Kind.KEA else "")
        for kind, where in zip(Kind, (kea, cluster, dnsmasq, isc), strict=True)
        if where is not None
    ]
    if len(named) != 1:
        raise SettingsError("one DHCP server is expected", "Name it: --kea, --cluster, --dnsmasq or --isc.")
    if kea_user and named[0].kind is not Kind.KEA:
        raise SettingsError("--kea-user goes with --kea")
    return named[0]


#: Gives a server's password.
Password = Callable[["Server"], str]


@asynccontextmanager
async def opened_provider(server: Server, password: Password) -> AsyncIterator[Provider]:
    """The provider that a server stands for; `password` is asked where it wants one."""
    from trustbridge.storage import opened as opening

    async with opening.opened_provider(server, password, opened, state_folder(), pinned) as provider:
        yield provider


def passwords(file: Path | None) -> Password:
    """Where passwords of DHCP servers come from: a file's first line, or a person who is asked, once."""
    from functools import cache

    return cache(lambda server: _password(server, file))


def _password(server: Server, file: Path | None) -> str:
    import sys

    from trustbridge.cli.passwords import password_in
    from trustbridge.errors import SettingsError

    if file is not None:
        return password_in(file)
    if not sys.stdin.isatty():
        raise SettingsError(
            f"there is no password for {server.user} at {server.where}, and no terminal to ask at",
            "Use --kea-password-file, which may be - for standard input.",
        )
    return str(typer.prompt(f"Password of {server.user} at {server.where}", hide_input=True, err=True))
