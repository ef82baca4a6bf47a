"""`trustbridge demo`: the whole procedure between two lab clusters, to watch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trustbridge.lab.lab import Lab
    from trustbridge.lab.rehearsal import Rehearsal


def demo(
    phones: Annotated[int, typer.Option("--phones", "-n", min=1, max=60_000, help="How many phones move.")] = 50,
    secure: Annotated[bool, typer.Option("--secure", help="Every phone is encrypted; otherwise every third.")] = False,
    non_secure: Annotated[
        bool, typer.Option("--non-secure", help="Both clusters in non-secure mode, and no phone is encrypted.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the lab and say where; `trustbridge lab up FOLDER` goes on with it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON, and nothing else.")] = False,
) -> None:
    """The whole move between two lab clusters: phones strand without the exchange, and move with it.

    Two clusters of two nodes each and their phones run in this process, on loopback, with the real protocols: DHCP,
    HTTP and TFTP, TVS over TLS, SFTP, SIP. First a control group is pointed at the destination without any exchange:
    it strands. Then the procedure: export, export, consolidate, import, import, option 150, reset. Then one wave goes
    back. Exit code 0 only if every expectation held.

    Under a minute for 50 phones. Try --secure, --non-secure, --phones 500.
    """
    import shutil
    import signal
    import tempfile

    from trustbridge import atomicfile, eventloop, settings
    from trustbridge.cli.logs import start_logging
    from trustbridge.errors import SettingsError
    from trustbridge.lab import definition as definitions
    from trustbridge.lab.lab import Lab

    if secure and non_secure:
        raise SettingsError("--secure and --non-secure exclude each other")
    start_logging()
    definition = definitions.default(
        phones=phones, security="secure" if secure else "non-secure" if non_secure else "mixed", name="demo"
    )
    if keep:
        kept = atomicfile.private_folder(settings.load().state_folder / "demos")
        folder = Path(tempfile.mkdtemp(prefix="demo-", dir=kept))
    else:
        folder = Path(tempfile.mkdtemp(prefix="trustbridge-demo-"))
    # A terminated demo must not leave a folder with keys behind, as an interrupted one does not.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not as_json:
            typer.echo("Making two clusters: keys, certificates, trust lists ...")
        lab = Lab.open(folder, definition)  # before the loop, where Ctrl-C would wait for the keys
        rehearsal = eventloop.run(_run(lab, as_json))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if keep:
        typer.echo(f"Kept in {folder}\nGo on with it: trustbridge lab up {folder}", err=as_json)
    raise typer.Exit(0 if rehearsal.held else 1)


async def _run(lab: Lab, as_json: bool) -> Rehearsal:
    from trustbridge.cli import screen
    from trustbridge.cli.demoscreen import DemoScreen, Silent
    from trustbridge.lab.rehearsal import rehearse

    if as_json:
        async with lab.running():
            rehearsal = await rehearse(lab, Silent())
        screen.print_json(rehearsal.as_json())
        return rehearsal
    with DemoScreen() as watcher:
        async with lab.running():
            watcher.begin(lab)
            rehearsal = await rehearse(lab, watcher)
    watcher.summary(rehearsal)
    return rehearsal
