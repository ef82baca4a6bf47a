"""`trustbridge serve`: the console, a web page for a team, and its JSON API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.cli.dhcpserver import KeaPassword

if TYPE_CHECKING:
    from datetime import datetime

    from trustbridge.console.desk import Desk
    from trustbridge.console.tls import ServerIdentity


def serve(
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Where to listen. Only this machine reaches 127.0.0.1; 0.0.0.0:8443 is reached by all.",
        ),
    ] = "127.0.0.1:8443",
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="PEM file of your own certificate, with what it needs up to the authority."),
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="PEM file of its key, without a passphrase.")] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="No HTTPS; only on an address of this machine alone.")
    ] = False,
    work: Annotated[
        bool,
        typer.Option("--work/--no-work", help="Work on campaigns that run; or leave that to others."),
    ] = True,
    kea_password_file: KeaPassword = None,
) -> None:
    """The console: a web page for a team, with users and roles, and a JSON API for scripts. Ends with Ctrl-C.

    At the first start nobody can sign in: it prints an address with a
    one-time token, where the first administrator is made. Later starts
    print none.

    HTTPS, with your own certificate, or with one that is made once and kept
    in the state folder; its fingerprint is printed, to be compared with
    what the browser shows.

    It uses the clusters and passwords that the command line has kept (see
    `trustbridge cluster`): whoever may act in the console, acts with them.
    Campaigns that run are worked on as long as it runs, also those that
    were begun on the command line. It may be stopped or killed at any time:
    campaigns go on when it is started again.
    """
    from datetime import UTC, datetime

    from trustbridge import settings
    from trustbridge.cli.dhcpserver import passwords
    from trustbridge.cli.logs import start_logging
    from trustbridge.console.desk import Desk
    from trustbridge.console.server import serve as run
    from trustbridge.storage.database import open_database, upgrade_to_head

    host, port = _address(listen)
    found = settings.load()
    identity = _identity(host, certificate, key, found.state_folder, datetime.now(UTC), plain=plain_http)
    start_logging()
    engine = open_database(found.database_url, found.state_folder)
    try:
        upgrade_to_head(engine)
        # Nobody is asked at the terminal: whoever works with the console does not sit there.
        known = passwords(kea_password_file) if kea_password_file is not None else None
        desk = Desk(engine, found.state_folder, kea_password=known, work=work)
        run(desk, host, port, identity, listening=lambda url: _tell(desk, url, identity))
    finally:
        engine.dispose()


def _address(listen: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        SettingsError: that is none.
    """
    from trustbridge.errors import SettingsError

    host, sign, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not sign or not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise SettingsError(f"--listen {listen}: HOST:PORT is expected", "Such as 127.0.0.1:8443 or [::1]:8443.")
    return host, int(port)


def _identity(
    host: str, certificate: Path | None, key: Path | None, state: Path, now: datetime, *, plain: bool
) -> ServerIdentity | None:
    """What HTTPS is served with; None: plain HTTP.

    Raises:
        SettingsError: options that exclude each other, files that are none, or plain HTTP for others to read.
    """
    from trustbridge.console.tls import given_identity, own_identity
    from trustbridge.errors import SettingsError

    if (certificate is None) != (key is None):
        raise SettingsError("--certificate and --key go together")
    if plain:
        if certificate is not None:
            raise SettingsError("--plain-http and --certificate exclude each other")
        if not _loopback(host):
            raise SettingsError(
                f"plain HTTP on {host} would show passwords to everybody on the way",
                "Leave --plain-http out; or listen on 127.0.0.1, behind something that speaks HTTPS.",
            )
        return None
    if certificate is not None and key is not None:
        return given_identity(certificate, key)
    return own_identity(state, host, now)


def _loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tell(desk: Desk, url: str, identity: ServerIdentity | None) -> None:
    """Say where it is, and how the first administrator is made."""
    import socket
    import sys

    for every in ("//0.0.0.0:", "//[::]:"):  # an address to listen on, and none to go to
        url = url.replace(every, f"//{socket.getfqdn()}:")
    typer.echo(f"The console is at {url}")
    if identity is not None:
        typer.echo(f"Its certificate's SHA-256 fingerprint: {identity.fingerprint}")
    if desk.setup.wanted():
        typer.echo(
            "Nobody can sign in yet. Make the first administrator here; the address works once, and until this ends:\n"
            f"  {url}/setup?token={desk.setup.token}"
        )
    sys.stdout.flush()
