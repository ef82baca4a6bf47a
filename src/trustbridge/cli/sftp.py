"""`trustbridge sftp`: an SFTP server for sites that have none for bulk certificate management."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.cli.passwords import PASSWORD_VARIABLE, read_password
from trustbridge.errors import SettingsError

if TYPE_CHECKING:
    from trustbridge.services.sftp import SftpServer

app = typer.Typer(help="An SFTP server for bulk certificate management.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """An SFTP server for bulk certificate management."""


@app.command()
def serve(
    directory: Annotated[Path, typer.Argument(help="The directory to serve; clients see it as /.", show_default=False)],
    user: Annotated[str, typer.Option(help="Who may log in.", show_default=False)],
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any.", min=0, max=65535)] = 2222,
    listen: Annotated[
        str, typer.Option(help="Address to listen on. Publishers on other machines need one they can reach.")
    ] = "127.0.0.1",
    password_file: Annotated[
        Path | None,
        typer.Option(
            help=f"File whose first line is the password. Else ${PASSWORD_VARIABLE} or a question, unless "
            "keys are authorized."
        ),
    ] = None,
    authorized_keys: Annotated[
        Path | None, typer.Option(help="Public keys that may log in, as in ~/.ssh/authorized_keys.")
    ] = None,
    host_key: Annotated[
        Path | None, typer.Option(help="The server's own key, made at the first start.", show_default=False)
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse everything that changes anything.")] = False,
    legacy_algorithms: Annotated[
        bool,
        typer.Option(
            "--legacy-algorithms",
            help="Also serve old publishers that know only SHA-1, CBC and ssh-rsa. Weakens the encryption "
            "for all of them.",
        ),
    ] = False,
) -> None:
    """Serve one directory over SFTP, and nothing outside it, until Ctrl-C.

    The password is never taken from the command line, where every user of the machine could read it. Uploads appear
    when they are complete. A log line an event goes to standard error.
    """
    keys_only = authorized_keys is not None and password_file is None
    password = None if keys_only else read_password(user, password_file, new=True)
    _check_outside(directory, password_file)
    from trustbridge import eventloop, settings

    eventloop.run(
        _serve(
            directory,
            user,
            password,
            address=(listen, port),
            authorized_keys=authorized_keys,
            host_key=host_key or settings.load().state_folder / "sftp_host_key",
            read_only=read_only,
            legacy_algorithms=legacy_algorithms,
        )
    )


def _check_outside(directory: Path, password_file: Path | None) -> None:
    if password_file is not None and password_file.resolve().is_relative_to(directory.resolve()):
        raise SettingsError(
            f"{password_file} lies in the directory that is served: clients could read it", "Keep it somewhere else."
        )


async def _serve(
    directory: Path,
    user: str,
    password: str | None,
    *,
    address: tuple[str, int],
    authorized_keys: Path | None,
    host_key: Path,
    read_only: bool,
    legacy_algorithms: bool,
) -> None:
    import asyncio
    import logging
    import signal

    from trustbridge.services.sftp import hash_password, start_sftp

    lines = logging.StreamHandler()
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("trustbridge.services.sftp")
    log.setLevel(logging.INFO)
    log.addHandler(lines)
    log.propagate = False
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        server = await start_sftp(
            directory,
            host=address[0],
            port=address[1],
            users={user: None if password is None else hash_password(password)},
            host_key=host_key,
            authorized_keys=authorized_keys,
            read_only=read_only,
            legacy_algorithms=legacy_algorithms,
        )
        means = [name for name, given in (("a password", password), ("a key", authorized_keys)) if given is not None]
        del password
        _introduce(server, user, " or ".join(means), read_only=read_only)
        await stopped.wait()
        await server.stop()
        typer.echo("Stopped.")
    finally:
        log.removeHandler(lines)


def _introduce(server: SftpServer, user: str, means: str, *, read_only: bool) -> None:
    """Say where the server is, how to know it, and how to use it."""
    host, port = server.address
    typer.echo(f"SFTP server on {host} port {port}, serving {server.root}{' read-only' if read_only else ''}")
    for kind, fingerprint in server.fingerprints.items():
        typer.echo(f"  host key     {fingerprint} ({kind})")
    typer.echo(f"  logging in   {user}, with {means}")
    if _is_loopback(host):
        typer.echo("  reachable    from this machine only (--listen ADDRESS for publishers elsewhere)")
    else:
        typer.echo(
            f"  reachable    by every machine that can reach {host}: anybody there can try passwords, and who logs in "
            f"can {'read' if read_only else 'read, replace and remove'} every file of the directory. Let a firewall "
            "admit the publishers only."
        )
    shown = "this machine's address" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    by_hand = "ADDRESS" if shown != host else f"[{host}]" if ":" in host else host
    typer.echo(
        f"  publishers   Cisco Unified OS Administration > Security > Bulk Certificate Management:\n"
        f"               IP address {shown}, port {port}, user ID {user}, directory /\n"
        f"  by hand      sftp -P {port} {user}@{by_hand}\n"
        "Ctrl-C stops it."
    )


def _is_loopback(host: str) -> bool:
    import ipaddress

    return ipaddress.ip_address(host.partition("%")[0]).is_loopback
