"""`trustbridge lab`: clusters, phones and a network on loopback, to rehearse in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from trustbridge.lab.definition import LabDefinition

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Clusters, phones and a network on loopback, with the real protocols.\n\n"
        "A lab's state lives in one folder and survives a restart. `up` starts it in the background and returns when "
        "its phones have come to an end; `down` stops it."
    ),
)

Folder = Annotated[
    Path | None, typer.Argument(help="The lab's folder; `lab` in the state folder when absent.", show_default=False)
]
FolderOption = Annotated[Path | None, typer.Option("--folder", "-f", help="The lab's folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]

#: Seconds `up` waits for a lab in the background before it looks whether that still runs.
_PATIENCE = 0.1


def lab_folder(folder: Path | None) -> Path:
    """The folder a command means."""
    from trustbridge import settings

    return settings.load().lab_folder if folder is None else folder.absolute()


def ask_lab(folder: Path | None, title: str, **request: Any) -> Any:
    """Send a request to the lab that is up, with a progress bar for what takes long.

    Raises:
        TrustbridgeError: no lab is up there, or what it raised.
    """
    import asyncio

    from trustbridge.cli import screen
    from trustbridge.lab import control

    with screen.progress(title) as show:
        return asyncio.run(
            control.ask(
                lab_folder(folder), request, lambda said: show(said["what"], int(said["done"]), int(said["total"]))
            )
        )


@app.command()
def up(
    folder: Folder = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A TOML file that says what the lab consists of (docs/lab.md).")
    ] = None,
    phones: Annotated[int | None, typer.Option("--phones", "-n", min=0, help="Phones, without a file.")] = None,
    secure: Annotated[bool, typer.Option("--secure", help="All phones encrypted, without a file.")] = False,
    non_secure: Annotated[bool, typer.Option("--non-secure", help="Non-secure clusters, without a file.")] = False,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay; Ctrl-C takes the lab down.")] = False,
) -> None:
    """Start a lab, and its phones.

    The first time it is made: from --file, or two clusters of two nodes and 50 phones. Afterwards it goes on with the
    state it had.
    """
    from trustbridge.errors import SettingsError
    from trustbridge.lab import definition as definitions

    if file is not None and (phones is not None or secure or non_secure):
        raise SettingsError("--file says it all: --phones, --secure and --non-secure go without it")
    if secure and non_secure:
        raise SettingsError("--secure and --non-secure exclude each other")
    where = lab_folder(folder)
    definition = None
    if file is not None:
        definition = definitions.load(file)
    elif phones is not None or secure or non_secure:
        definition = definitions.default(
            phones=50 if phones is None else phones,
            security="secure" if secure else "non-secure" if non_secure else "mixed",
        )
    if foreground:
        from trustbridge import eventloop
        from trustbridge.cli.logs import start_logging

        start_logging()
        eventloop.run(_stay(where, definition))
        return
    _in_background(where, definition)
    status(where)


def _in_background(where: Path, definition: LabDefinition | None) -> None:
    """Start this command again, detached, and wait until the lab answers or has ended."""
    import os
    import subprocess
    import sys
    import time

    from trustbridge import atomicfile
    from trustbridge.errors import NotNow, TrustbridgeError
    from trustbridge.lab.lab import Lab

    with Lab.open(where, definition).locked():
        pass  # made, and nobody runs it: faults so far are shown here and not in a log
    log = where / "log"
    log.unlink(missing_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, atomicfile.PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "trustbridge", "lab", "up", "--foreground", str(where)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    while True:
        try:
            ask_lab(where, "Phones start", do="booted")
            return
        except NotNow:
            if process.poll() is not None:
                said = log.read_text("utf-8", "replace").strip().splitlines()
                ended = f"the lab in {where} ended with code {process.returncode}"
                words = next((line for line in said if line.startswith("trustbridge: ")), said[-1] if said else ended)
                error = TrustbridgeError(words.removeprefix("trustbridge: "), f"All that it said is in {log}.")
                error.exit_code = process.returncode if process.returncode > 0 else error.exit_code
                raise error from None
            time.sleep(_PATIENCE)


async def _stay(where: Path, definition: LabDefinition | None) -> None:
    """Run a lab until it is told to go down, or Ctrl-C."""
    import asyncio
    import signal

    from trustbridge.lab import control
    from trustbridge.lab.lab import Lab
    from trustbridge.lab.requests import LabRequests

    lab = Lab.open(where, definition)
    async with lab.running():
        requests = LabRequests(lab)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, requests.down.set)
        async with control.serving(where, requests):
            typer.echo(f"lab {lab.definition.name} is up in {where}")
            booting = asyncio.create_task(requests.boot_all())
            await requests.down.wait()
            booting.cancel()
            await asyncio.gather(booting, return_exceptions=True)
    typer.echo("lab is down")


@app.command()
def status(folder: Folder = None, as_json: Json = False) -> None:
    """What runs, who vouches, and where each phone stands."""
    from trustbridge.cli import labview, screen

    found = ask_lab(folder, "Asking the lab", do="status")
    if as_json:
        screen.print_json(found)
    else:
        labview.show_status(screen.console(), found)


@app.command()
def phone(
    name: Annotated[str, typer.Argument(help="SEP...")], folder: FolderOption = None, as_json: Json = False
) -> None:
    """One phone: its trust lists, its status messages, and what it decided and why."""
    from trustbridge.cli import labview, screen

    found = ask_lab(folder, "Asking the lab", do="phone", name=name)
    if as_json:
        screen.print_json(found)
    else:
        labview.show_phone(screen.console(), found)


@app.command()
def reset(
    phones: Annotated[list[str] | None, typer.Argument(help="Phones by name.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Every phone.")] = False,
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """Reset phones, as a device reset on Unified CM does: they ask DHCP and TFTP again.

    To put a whole lab back to its beginning: `trustbridge lab down`, `trustbridge lab wipe`.
    """
    from trustbridge.cli import labview, screen
    from trustbridge.errors import SettingsError

    if bool(phones) == every:
        raise SettingsError("name the phones to reset, or say --all")
    rows = ask_lab(folder, "Resetting phones", do="reset", names=None if every else phones)
    if as_json:
        screen.print_json(rows)
    else:
        labview.show_phones(screen.console(), rows)


@app.command()
def call(
    phones: Annotated[list[str], typer.Argument(help="Phones by name.", show_default=False)],
    folder: FolderOption = None,
) -> None:
    """Put a call on phones: their pages show it. A reset ends it, as one that a campaign sends would."""
    rows = ask_lab(folder, "Asking the lab", do="call", names=phones)
    typer.echo(f"in a call: {', '.join(row['name'] for row in rows)}; `trustbridge lab hangup` ends it")


@app.command()
def hangup(
    phones: Annotated[list[str], typer.Argument(help="Phones by name.", show_default=False)],
    folder: FolderOption = None,
) -> None:
    """End the calls of phones."""
    rows = ask_lab(folder, "Asking the lab", do="hang-up", names=phones)
    typer.echo(f"hung up: {', '.join(row['name'] for row in rows)}")


@app.command()
def option150(
    cluster: Annotated[
        str | None, typer.Argument(help="Name the TFTP servers of this cluster.", show_default=False)
    ] = None,
    server: Annotated[list[str] | None, typer.Option("--server", help="Or these addresses.")] = None,
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """Show or set option 150 of the phones' DHCP scope. Phones learn it when they are reset."""
    from trustbridge.cli import screen
    from trustbridge.errors import SettingsError

    if cluster and server:
        raise SettingsError("name a cluster or servers, not both")
    servers = ask_lab(folder, "Asking the lab", do="point", cluster=cluster, servers=server)
    if as_json:
        screen.print_json(servers)
    else:
        typer.echo(f"option 150: {', '.join(servers)}")


@app.command()
def cluster(
    name: Annotated[str, typer.Argument(help="The cluster.")],
    security: Annotated[
        str | None, typer.Option("--security", help="mixed or non-secure; the CTL appears or goes.")
    ] = None,
    prepare_for_rollback: Annotated[
        bool | None,
        typer.Option("--prepare-for-rollback/--no-prepare-for-rollback", help="Blank ITL files, or full ones."),
    ] = None,
    folder: FolderOption = None,
) -> None:
    """Change a cluster's security mode or its parameter "Prepare Cluster for Rollback to Pre 8.0"."""
    from trustbridge.errors import SettingsError

    if security is None and prepare_for_rollback is None:
        raise SettingsError("say what to change: --security or --prepare-for-rollback")
    if security is not None:
        ask_lab(folder, "Asking the lab", do="security", cluster=name, security=security)
    if prepare_for_rollback is not None:
        ask_lab(folder, "Asking the lab", do="rollback-parameter", cluster=name, value=prepare_for_rollback)
    typer.echo(f"{name} is changed; phones see it when they are reset")


@app.command("erase-trust")
def erase_trust(
    phones: Annotated[list[str], typer.Argument(help="Phones by name.")], folder: FolderOption = None
) -> None:
    """Delete phones' trust lists, as somebody does by hand at the phone: what the exchange spares one."""
    ask_lab(folder, "Asking the lab", do="erase-trust", names=phones)
    typer.echo("erased; the next trust list will be accepted unseen, after a reset")


@app.command()
def fault(
    target: Annotated[
        str | None, typer.Argument(metavar="[NODE|CLUSTER]", help="What is spoiled; without one, what is wrong now.")
    ] = None,
    stop: Annotated[str | None, typer.Option("--stop", help='A service of the node, such as "Cisco Tftp".')] = None,
    start: Annotated[str | None, typer.Option("--start", help="Start, or restart, a service of the node.")] = None,
    https: Annotated[
        str | None, typer.Option("--https", help="refuse, slow, busy, garble, cut, hang-up or none: its HTTPS.")
    ] = None,
    freeze_tvs: Annotated[
        bool | None,
        typer.Option("--freeze-tvs/--thaw-tvs", help="Its TVS answers by what it knew, until restarted (TB103)."),
    ] = None,
    replicate: Annotated[
        bool | None,
        typer.Option("--replicate/--no-replicate", help="Whether what the publisher imports reaches it (TB102)."),
    ] = None,
    axl_busy: Annotated[
        int | None, typer.Option("--axl-busy", min=0, help="Of a cluster: turn so many AXL requests away (503).")
    ] = None,
    axl_rows: Annotated[
        int | None, typer.Option("--axl-rows", min=0, help="Of a cluster: larger AXL answers are refused; 0: usual.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="All is well again, but services that were stopped.")] = False,
    folder: FolderOption = None,
    as_json: Json = False,
) -> None:
    """Make something go wrong, to see what it looks like: `exchange verify`, `check` and phones will tell.

    It lasts until it is cleared, or the lab is taken down.
    """
    from trustbridge.cli import screen
    from trustbridge.errors import SettingsError

    of_node = {"stop": stop, "start": start, "https": https, "freeze_tvs": freeze_tvs, "replicate": replicate}
    of_cluster = {"axl_busy": axl_busy, "axl_rows": axl_rows}
    node = {name: value for name, value in of_node.items() if value is not None}
    cluster = {name: value for name, value in of_cluster.items() if value is not None}
    if (node or cluster) and (target is None or clear or (node and cluster)):
        raise SettingsError("a fault goes with one node, or with one cluster", "See trustbridge lab fault --help.")
    if target is not None and not (node or cluster):
        raise SettingsError(f"say what is to go wrong with {target}", "See trustbridge lab fault --help.")
    where = {"node": target} if node else {"cluster": target} if cluster else {}
    found = ask_lab(folder, "Asking the lab", do="fault", clear=clear, wanted=node or cluster, **where)
    if as_json:
        screen.print_json(found)
        return
    for name, wrong in found.items():
        words = ", ".join(
            f"{kind}: {', '.join(what) if isinstance(what, list) else what}" for kind, what in wrong.items()
        )
        typer.echo(f"{name}: {words}")
    if not found:
        typer.echo("nothing is wrong")


@app.command()
def down(folder: Folder = None) -> None:
    """Stop the lab. Its state stays."""
    import fcntl

    where = lab_folder(folder)
    ask_lab(where, "Asking the lab", do="down")
    with (where / "lock").open("r") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the process holds it until everything has stopped
    typer.echo("lab is down; `trustbridge lab up` goes on with it")


@app.command()
def wipe(
    folder: Folder = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a lab that is down: keys, stores, phones, everything."""
    import shutil

    from trustbridge.errors import NotNow, SettingsError
    from trustbridge.lab.lab import is_lab, locked

    where = lab_folder(folder)
    if not where.exists():
        raise NotNow(f"there is no lab in {where}")
    if not is_lab(where):
        raise SettingsError(f"{where} does not look like a lab's folder", "Nothing was removed.")
    with locked(where):
        if not yes:
            typer.confirm(f"Forget the lab in {where}?", abort=True)
        shutil.rmtree(where)
    typer.echo(f"forgotten: {where}")
