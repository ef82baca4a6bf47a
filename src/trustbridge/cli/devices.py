"""`trustbridge devices`: whether the destination knows each phone, and creating those that it does not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trustbridge.cucm.cluster import Cluster
    from trustbridge.migration.campaignplan import Selection
    from trustbridge.migration.devices import Comparison, Translations
    from trustbridge.migration.devicesrecord import DevicesRecord
    from trustbridge.migration.devicesrun import Done

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "See whether the destination knows each phone, and create there, in a basic form, those that it does not.\n\n"
        "[bold]compare[/bold] changes nothing. [bold]create[/bold] has a record, by which it goes on after a kill, and "
        "[bold]undo[/bold] removes exactly what it created. [bold]csv[/bold] writes files for the vendor's Bulk "
        "Administration Tool instead."
    ),
)

Many = list[str] | None
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The cluster that has the phones.")]
Destination = Annotated[str, typer.Argument(metavar="DESTINATION", help="The cluster that is to know them.")]
DevicePool = Annotated[Many, typer.Option("--device-pool", help="Pattern, such as 'Warsaw-*'.")]
Model = Annotated[Many, typer.Option("--model", help="Pattern, such as 'CP-88*'.")]
Subnet = Annotated[Many, typer.Option("--subnet", help="Such as 10.1.2.0/24: where phones are registered now.")]
Phone = Annotated[Many, typer.Option("--phone", help="Pattern of names.")]
Without = Annotated[Many, typer.Option("--without", help="Pattern of names that are left out.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="List of names: CSV, or one a line.")]
Sql = Annotated[
    str, typer.Option("--sql", help="A SELECT over the source's database (AXL) whose column `name` names phones.")
]
Registered = Annotated[bool, typer.Option("--registered", help="Only phones that are registered now.")]
Map = Annotated[
    Many,
    typer.Option(
        "--map",
        metavar="KIND:OLD=NEW",
        help="The destination's name for something: device-pool, template, location, security-profile, css, "
        "partition, common-profile, sip-profile, softkey-template, user.",
    ),
]
Lines = Annotated[
    bool,
    typer.Option("--lines", help="With their lines, whose directory numbers are created; else phones get none."),
]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command()
def compare(
    source: Source,
    destination: Destination,
    device_pool: DevicePool = None,
    model: Model = None,
    subnet: Subnet = None,
    phone: Phone = None,
    without: Without = None,
    csv: Csv = None,
    sql: Sql = "",
    registered: Registered = False,
    map: Map = None,
    lines: Lines = False,
    as_json: Json = False,
) -> None:
    """Which phones the destination knows, which differ, which are missing, and what stands against creating them.

    Changes nothing. What counts as different: model, protocol, security mode. Exit code 1 when phones are missing.
    """
    from trustbridge import eventloop
    from trustbridge.cli import devicesview, screen
    from trustbridge.migration.devices import Standing, translations

    selection = _selection(device_pool, model, subnet, phone, without, csv, registered)
    found = eventloop.run(_compared(source, destination, selection, sql, translations(map or ()), lines))
    if as_json:
        screen.print_json(devicesview.comparison_json(source, destination, found))
    else:
        devicesview.show_comparison(screen.console(), source, destination, found)
    if any(one.standing in (Standing.MISSING, Standing.BLOCKED) for one in found):
        raise typer.Exit(1)


@app.command()
def create(
    source: Source,
    destination: Destination,
    device_pool: DevicePool = None,
    model: Model = None,
    subnet: Subnet = None,
    phone: Phone = None,
    without: Without = None,
    csv: Csv = None,
    sql: Sql = "",
    registered: Registered = False,
    map: Map = None,
    lines: Lines = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Create at the destination the phones that it does not know, after showing and asking.

    Carried are name, model, protocol, description, device pool, phone
    button template, security, common phone and SIP profile, location,
    calling search spaces, softkey template, and the owner where such a user
    exists; with --lines also lines and their directory numbers, without
    forwards, voice mail, pickup groups.

    Not carried: speed dials, busy lamp fields, services, expansion modules,
    extension mobility, product specific configuration, phone load, CTI and
    user associations, and the LSC: secured phones enrol anew with the
    destination's CAPF.

    Killed at any point, it can be run again. Exit code 1 when phones could
    not be created.
    """
    from trustbridge import eventloop
    from trustbridge.migration.devices import translations

    selection = _selection(device_pool, model, subnet, phone, without, csv, registered)
    _check_asking(yes, as_json)
    eventloop.run(_create(source, destination, selection, sql, translations(map or ()), lines, yes, as_json))


@app.command()
def undo(
    source: Source,
    destination: Destination,
    phone: Phone = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove from the destination the phones that `create` created there, and no others.

    A phone that is registered there, or was changed since, stays.
    Directory numbers stay: they are listed, to be removed by hand. Exit
    code 1 when phones stayed.
    """
    from trustbridge import eventloop

    _check_asking(yes, as_json)
    eventloop.run(_undo(source, destination, tuple(phone or ()), yes, as_json))


@app.command("csv")
def csv_command(
    source: Source,
    destination: Destination,
    out: Annotated[Path, typer.Option("--out", help="The file; with several templates, one each: NAME-1, NAME-2...")],
    device_pool: DevicePool = None,
    model: Model = None,
    subnet: Subnet = None,
    phone: Phone = None,
    without: Without = None,
    csv: Csv = None,
    sql: Sql = "",
    registered: Registered = False,
    map: Map = None,
    lines: Lines = False,
    as_json: Json = False,
) -> None:
    """Write the phones that the destination does not know for the vendor's Bulk Administration Tool.

    One file for each BAT phone template that they need; what each template
    has to say is shown. Phones that can't be created as things are, are
    left out, and make the exit code 1.
    """
    from trustbridge import atomicfile, eventloop
    from trustbridge.cli import devicesview, screen
    from trustbridge.errors import SettingsError
    from trustbridge.migration.devices import Standing, translations
    from trustbridge.migration.devicescsv import files

    selection = _selection(device_pool, model, subnet, phone, without, csv, registered)
    found = eventloop.run(_compared(source, destination, selection, sql, translations(map or ()), lines))
    made = files(one.wanted for one in found if one.standing is Standing.MISSING and one.wanted is not None)
    if not made:
        devicesview.show_comparison(screen.console(stderr=True), source, destination, found)
        raise SettingsError("there is nothing to write: no phone is missing that could be created")
    names = [out] if len(made) == 1 else [out.with_stem(f"{out.stem}-{n}") for n in range(1, len(made) + 1)]
    for path, (_, text) in zip(names, made, strict=True):
        with atomicfile.in_words(f"{path} can't be written"):
            atomicfile.write(path, text.encode())
    blocked = [one for one in found if one.standing is Standing.BLOCKED]
    if as_json:
        shown = [
            {"file": str(path), "template": template.settings} for path, (template, _) in zip(names, made, strict=True)
        ]
        screen.print_json({"files": shown, "left out": {one.name: list(one.against) for one in blocked}})
    else:
        for path, (template, text) in zip(names, made, strict=True):
            typer.echo(f"{path}: {text.count(chr(10)) - 1} phones, for a BAT phone template with")
            for name, value in template.settings.items():
                typer.echo(f"    {name}: {value}")
        if blocked:
            devicesview.show_comparison(screen.console(), source, destination, blocked)
    if blocked:
        raise typer.Exit(1)


# What they are made of.


def _selection(
    pools: Many, models: Many, subnets: Many, names: Many, without: Many, csv: Path | None, registered: bool
) -> Selection:
    from trustbridge.cucm.model import PhoneStatus
    from trustbridge.errors import SettingsError
    from trustbridge.migration.campaignplan import Selection, listed_names, subnet

    try:
        listed = None if csv is None else listed_names(csv.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"can't read {csv}: {getattr(error, 'strerror', None) or error}") from None
    return Selection(
        device_pools=tuple(pools or ()),
        models=tuple(models or ()),
        names=tuple(names or ()),
        subnets=tuple(subnet(text) for text in subnets or ()),
        statuses=(PhoneStatus.REGISTERED,) if registered else (),
        listed=listed,
        without=tuple(without or ()),
    )


def _check_asking(yes: bool, as_json: bool) -> None:
    import sys

    from trustbridge.errors import SettingsError

    if not yes and (as_json or not sys.stdin.isatty()):
        raise SettingsError("nobody can be asked here", "Say that you mean it: --yes. `devices compare` only looks.")


def _record(source: str, destination: str) -> DevicesRecord:
    from trustbridge.cli.opened import state_folder
    from trustbridge.errors import SettingsError
    from trustbridge.migration.devicesrecord import DevicesRecord

    if source == destination:
        raise SettingsError("source and destination are the same cluster")
    return DevicesRecord(state_folder(), source, destination)


def _now() -> datetime:
    return datetime.now(UTC)


async def _compared(
    source: str, destination: str, selection: Selection, sql: str, maps: Translations, lines: bool
) -> list[Comparison]:
    from trustbridge.cli.opened import opened

    record = _record(source, destination)
    record.read()
    async with opened([source, destination]) as clusters:
        return await _look(clusters[source], clusters[destination], selection, sql, maps, lines, record)


async def _look(
    source: Cluster,
    destination: Cluster,
    selection: Selection,
    sql: str,
    maps: Translations,
    lines: bool,
    record: DevicesRecord,
) -> list[Comparison]:
    from trustbridge.cli import screen
    from trustbridge.migration import devices
    from trustbridge.migration.devicescollect import collect

    with screen.progress("Comparing phones") as told:
        both = await collect(source, destination, selection, sql=sql, maps=maps, progress=told)
    for one in devices.unused(maps, both.sources, both.there, both.numbers):
        typer.echo(f"--map: no phone has a use for {one}", err=True)
    return devices.compare(
        both.sources,
        both.there,
        modes=both.modes,
        numbers=both.numbers,
        maps=maps,
        lines=lines,
        ours=record.own_numbers,
    )


async def _create(
    source: str,
    destination: str,
    selection: Selection,
    sql: str,
    maps: Translations,
    lines: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from trustbridge.cli import devicesview, screen
    from trustbridge.cli.opened import opened
    from trustbridge.migration import devicesrun
    from trustbridge.migration.devices import Standing

    record = _record(source, destination)
    async with opened([source, destination]) as clusters:
        here, there = clusters[source], clusters[destination]
        with record.locked():
            settled = await devicesrun.settle(there, record, _now)
            found = await _look(here, there, selection, sql, maps, lines, record)
            todo = sum(one.standing is Standing.MISSING for one in found)
            if not as_json:
                console = screen.console()
                devicesview.show_comparison(console, source, destination, found)
                if todo:
                    devicesview.show_fields(console, lines=lines)
                if settled:
                    console.print(f"An interrupted run has created {len(settled)} of them.", markup=False)
            if todo and not yes and not typer.confirm(f"Create {todo} phones at {destination} now?", err=True):
                raise typer.Exit(1)
            with screen.progress("Creating phones", shown=not as_json) as told:
                done = await devicesrun.create(there, found, record, _now, told)
    blocked = {one.name: "; ".join(one.against) for one in found if one.standing is Standing.BLOCKED}
    if as_json:
        shown = devicesview.comparison_json(source, destination, found)
        screen.print_json(devicesview.done_json(done, blocked=blocked, settled=settled, **shown))
    else:
        devicesview.show_done(screen.console(), "created", "were there meanwhile", done)
        if record.exists:
            typer.echo(f"The record: {record.folder}; undo: trustbridge devices undo {source} {destination}")
    if done.refused or blocked:
        raise typer.Exit(1)


async def _undo(source: str, destination: str, patterns: tuple[str, ...], yes: bool, as_json: bool) -> None:
    from fnmatch import fnmatchcase

    from trustbridge.cli import devicesview, screen
    from trustbridge.cli.opened import opened
    from trustbridge.errors import NotNow
    from trustbridge.migration import devicesrun
    from trustbridge.migration.devicesrecord import State

    record = _record(source, destination)
    if not record.exists:
        raise NotNow(f"nothing was created at {destination} for phones of {source}", "There is nothing to undo.")
    async with opened([destination]) as clusters:
        there = clusters[destination]
        with record.locked():
            settled = await devicesrun.settle(there, record, _now)
            names = [
                name
                for name in record.in_state(State.CREATED)
                if not patterns or any(fnmatchcase(name.upper(), pattern.upper()) for pattern in patterns)
            ]
            if not as_json:
                typer.echo(f"{len(names)} phones of the record would be removed from {destination}.")
            if names and not yes and not typer.confirm(f"Remove {len(names)} phones from {destination}?", err=True):
                raise typer.Exit(1)
            with screen.progress("Removing phones", shown=not as_json) as told:
                done: Done = await devicesrun.remove(there, names, record, _now, told)
            numbers = sorted(number for number, state in record.numbers.items() if state is State.CREATED)
    left = [f"{pattern} in {partition or 'no partition'}" for pattern, partition in numbers]
    if as_json:
        screen.print_json(devicesview.done_json(done, settled=settled, numbers=left))
    else:
        devicesview.show_done(screen.console(), "removed", "were gone already", done)
        if left:
            typer.echo(f"Directory numbers that were created stay: {', '.join(left)}")
    if done.refused:
        raise typer.Exit(1)
