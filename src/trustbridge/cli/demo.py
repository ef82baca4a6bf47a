"""`trustbridge demo`: the whole procedure between two lab clusters, to watch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trustbridge.expectations import Rehearsal, Watcher
    from trustbridge.lab.definition import LabDefinition
    from trustbridge.lab.lab import Lab
    from trustbridge.migration.rehearsal import Premises

#: Of the demo's folder: pins and the record of the exchange, where it goes through the driver.
DRIVER = "driver"


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
    through_driver: Annotated[
        bool,
        typer.Option(
            "--through-driver",
            help="Do and see everything as on real clusters: over command line, REST, AXL, RisPort70, TVS and the "
            "phones' pages.",
        ),
    ] = False,
    source_release: Annotated[
        str, typer.Option("--source-release", metavar="RELEASE", help="Of the phones' cluster.")
    ] = "11.5",
    destination_release: Annotated[
        str, typer.Option("--destination-release", metavar="RELEASE", help="Of the other: 12.5, 14, 15, ...")
    ] = "14",
) -> None:
    """The whole move between two lab clusters: phones strand without the exchange, and move with it.

    Two clusters of two nodes each and their phones run in this process, on loopback, with the real protocols: DHCP,
    HTTP and TFTP, TVS over TLS, SFTP, SIP. First a control group is pointed at the destination without any exchange:
    it strands. Then the procedure: export, export, consolidate, import, import, option 150, reset. Then one wave goes
    back. Exit code 0 only if every expectation held.

    With --through-driver the same is done as an engineer's machine does it to real clusters: nothing is asked of the
    lab itself, and what each interface told is said at the end. Releases decide what there is: certificate REST from
    14 on, a restart of phones by an import from 12.5 on.

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
    definition = _of_releases(definition, source=source_release, destination=destination_release)
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
        rehearsal = eventloop.run(_run(lab, as_json, through_driver))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if keep:
        typer.echo(f"Kept in {folder}\nGo on with it: trustbridge lab up {folder}", err=as_json)
    raise typer.Exit(0 if rehearsal.held else 1)


def _of_releases(definition: LabDefinition, **releases: str) -> LabDefinition:
    """The same lab with clusters of these releases."""
    from pydantic import ValidationError

    from trustbridge.errors import SettingsError
    from trustbridge.lab.definition import ClusterDefinition

    clusters = {}
    for name, release in releases.items():
        values = definition.clusters[name].model_dump() | {"release": release}
        try:
            clusters[name] = ClusterDefinition.model_validate(values)
        except ValidationError:
            raise SettingsError(
                f"--{name}-release {release}: a release is expected", "Such as 11.5, 12.5, 14 or 15."
            ) from None
    return definition.model_copy(update={"clusters": clusters})


async def _run(lab: Lab, as_json: bool, through_driver: bool) -> Rehearsal:
    from trustbridge.cli import screen
    from trustbridge.cli.demoscreen import DemoScreen, Silent

    rehearse = _through_driver if through_driver else _inside
    if as_json:
        async with lab.running():
            rehearsal = await rehearse(lab, Silent())
        screen.print_json(rehearsal.as_json())
        return rehearsal
    with DemoScreen() as watcher:
        async with lab.running():
            watcher.begin(lab, through_driver=through_driver)
            rehearsal = await rehearse(lab, watcher)
    watcher.summary(rehearsal)
    return rehearsal


async def _inside(lab: Lab, watcher: Watcher) -> Rehearsal:
    from trustbridge.lab.rehearsal import rehearse

    return await rehearse(lab, watcher)


async def _through_driver(lab: Lab, watcher: Watcher) -> Rehearsal:
    """From here on nobody asks the lab anything: it is switched on, and shows itself on the screen."""
    from trustbridge.migration.rehearsal import rehearse

    async def power_on() -> None:
        await lab.boot(lab.fleet.phones.values(), lambda _: watcher.phone())

    return await rehearse(await _premises(lab), power_on, watcher)


async def _premises(lab: Lab) -> Premises:
    """What an engineer would be told of the lab: addresses and accounts, as its control socket gives them."""
    from trustbridge import atomicfile
    from trustbridge.cli.cluster import lab_entry
    from trustbridge.cucm.credentials import Credentials, Secret
    from trustbridge.expectations import DESTINATION, SOURCE
    from trustbridge.lab.requests import LabRequests
    from trustbridge.migration.rehearsal import Premises, Site

    ask = LabRequests(lab)
    told = await ask({"do": "status"}, lambda progress: None)
    sites: dict[str, Site] = {}
    for cluster in told["clusters"]:
        accounts = await ask({"do": "credentials", "cluster": cluster["name"]}, lambda progress: None)
        passwords = Credentials(Secret(accounts["os"]["password"]), Secret(accounts["application"]["password"]))
        sites[cluster["name"]] = Site(lab_entry(cluster, told["ports"], accounts), passwords)
    return Premises(
        source=sites[SOURCE],
        destination=sites[DESTINATION],
        sftp=lab.sftp_settings(),
        state=atomicfile.private_folder(lab.folder / DRIVER),
        phone_port=told["ports"]["web"],
    )
