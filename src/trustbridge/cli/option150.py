"""`trustbridge option150`: which TFTP servers DHCP names to phones: shown, changed, taken back, and asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trustbridge.cli.dhcpserver import KeaPassword, KeaUrl, KeaUser, named_server, opened_provider, passwords
from trustbridge.cli.opened import state_folder

if TYPE_CHECKING:
    from trustbridge.dhcp.record import Kept, Records, Server
    from trustbridge.dhcp.scope import Change, Provider, Scope

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Option 150 of DHCP, which names the TFTP servers that phones go to.\n\n"
        "[bold]show[/bold] what is there; [bold]set[/bold] it, seeing the difference first; [bold]offer[/bold] asks "
        "for an address as a phone does, and says what phones are really told; [bold]revert[/bold] takes a change "
        "back. Each change is kept in the state folder before it is made."
    ),
)

ClusterName = Annotated[
    str | None, typer.Option("--cluster", metavar="NAME", help="A cluster that is itself the DHCP server.")
]
DnsmasqFile = Annotated[Path | None, typer.Option("--dnsmasq", metavar="FILE", help="A file of dnsmasq's.")]
IscFile = Annotated[Path | None, typer.Option("--isc", metavar="FILE", help="A file of ISC's: dhcpd.conf.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command()
def show(
    kea: KeaUrl = None,
    kea_user: KeaUser = "",
    kea_password_file: KeaPassword = None,
    cluster: ClusterName = None,
    dnsmasq: DnsmasqFile = None,
    isc: IscFile = None,
    as_json: Json = False,
) -> None:
    """What a DHCP server says of option 150, scope by scope."""
    from trustbridge import eventloop
    from trustbridge.cli import screen

    server = named_server(kea, cluster, dnsmasq, isc, kea_user)

    async def work() -> tuple[str, tuple[Scope, ...]]:
        async with opened_provider(server, passwords(kea_password_file)) as provider:
            return provider.place, await provider.read()

    place, scopes = eventloop.run(work())
    if as_json:
        screen.print_json([_scope_json(scope) for scope in scopes])
        return
    from rich.markup import escape

    rows = [[escape(cell) for cell in (one.name, one.subnet, one.words, one.option66)] for one in scopes]
    screen.console().print(screen.table(escape(place), ("scope", "subnet", "option 150", "option 66"), rows))


@app.command("set")
def set_option(
    servers: Annotated[list[str], typer.Argument(metavar="TFTP-SERVER...", help="Addresses, first to be asked first.")],
    scope: Annotated[str, typer.Option("--scope", help="Which, as `show` has it: by name or subnet.")],
    kea: KeaUrl = None,
    kea_user: KeaUser = "",
    kea_password_file: KeaPassword = None,
    cluster: ClusterName = None,
    dnsmasq: DnsmasqFile = None,
    isc: IscFile = None,
    manual: Annotated[
        str | None,
        typer.Option("--manual", metavar="windows|ios|infoblox", help="Print the commands to paste; change nothing."),
    ] = None,
    before: Annotated[
        list[str] | None,
        typer.Option("--before", help="With --manual: a server named now, for the way back; may be given again."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference, and change nothing.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Change option 150 of one scope: the difference is shown, then it is done, read back, and kept for `revert`.

    Exit code 1 when the server does not say afterwards what was set.
    """
    from trustbridge import eventloop
    from trustbridge.errors import SettingsError

    if manual is not None:
        if any(one is not None for one in (kea, cluster, dnsmasq, isc)):
            raise SettingsError("--manual goes without a server: it only prints what to paste")
        _print_manual(manual, scope, servers, before or (), as_json)
        return
    if before:
        raise SettingsError("--before goes with --manual; elsewhere what is there is read")
    server = named_server(kea, cluster, dnsmasq, isc, kea_user)
    eventloop.run(_set(server, kea_password_file, scope, servers, dry_run=dry_run, ask=not yes, as_json=as_json))


async def _set(
    server: Server,
    password_file: Path | None,
    scope: str,
    servers: Sequence[str],
    *,
    dry_run: bool,
    ask: bool,
    as_json: bool,
) -> None:
    from trustbridge.cli import screen
    from trustbridge.dhcp.record import Records, State
    from trustbridge.dhcp.scope import find_scope
    from trustbridge.errors import InvalidInput, Refused, SettingsError

    async with opened_provider(server, passwords(password_file)) as provider:
        change = provider.preview(find_scope(await provider.read(), scope), servers)
        said: dict[str, Any] = {**change.record(), "diff": change.diff, "state": "unchanged", "record": None}
        if not as_json:
            _show_change(change)
        if change.edits and dry_run:
            said["state"] = "dry run"
        elif change.edits:
            if ask and not _agreed("Do this now?", quiet=as_json):
                raise typer.Exit(1)
            records = Records(state_folder())
            kept = records.begin(server, change, _now())
            try:
                await provider.apply(change)
            except (Refused, InvalidInput, SettingsError):
                records.mark(kept, State.REFUSED)
                raise
            kept = records.mark(kept, State.APPLIED)
            await provider.verify(change)
            said |= {"state": str(kept.state), "record": kept.name}
            if not as_json:
                typer.echo(f"done, and read back; take it back with: trustbridge option150 revert {kept.name}")
                _say_next(provider)
    if as_json:
        screen.print_json(said)


@app.command()
def changes(as_json: Json = False) -> None:
    """The changes that were made, oldest first."""
    from trustbridge.cli import screen
    from trustbridge.dhcp.record import Records

    known = list(Records(state_folder()).all())
    if as_json:
        screen.print_json([{"name": kept.name, **kept.as_json()} for kept in known])
        return
    if not known:
        typer.echo("option 150 was not changed yet; see `trustbridge option150 set --help`")
        return
    from rich.markup import escape

    rows = [
        [
            escape(cell)
            for cell in (kept.name, kept.change.place, kept.change.before.words, kept.change.after.words, kept.state)
        ]
        for kept in known
    ]
    screen.console().print(screen.table("Changes of option 150", ("name", "where", "before", "after", "state"), rows))


@app.command()
def revert(
    name: Annotated[str | None, typer.Argument(metavar="CHANGE", help="As `changes` lists it; else the last.")] = None,
    kea_password_file: KeaPassword = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take a change back, if what it set is still there; what somebody changed since is left alone (exit code 5)."""
    from trustbridge import eventloop
    from trustbridge.cli import screen
    from trustbridge.dhcp.record import Records

    records = Records(state_folder())
    kept = records.get(name)
    change = kept.change
    if not as_json:
        typer.echo(f"{kept.name}: {change.place}, {change.after.name}")
        typer.echo(f"  back from {change.after.words} to {change.before.words}")
    if not yes and not _agreed("Take it back now?", quiet=as_json):
        raise typer.Exit(1)
    done = eventloop.run(_revert(records, kept, kea_password_file, quiet=as_json))
    if as_json:
        screen.print_json({"name": done.name, **done.as_json()})


async def _revert(records: Records, kept: Kept, password_file: Path | None, *, quiet: bool) -> Kept:
    from trustbridge.dhcp.record import State

    async with opened_provider(kept.server, passwords(password_file)) as provider:
        await provider.revert(kept.change)
        done = records.mark(kept, State.REVERTED)
        await provider.verify(kept.change.backwards)
        if not quiet:
            typer.echo("taken back, and read back")
            _say_next(provider)
        return done


@app.command()
def offer(
    server: Annotated[str, typer.Argument(metavar="DHCP-SERVER", help="Whom to ask: its address.")],
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="TFTP-SERVER...", help="What phones should be told; exit code 1 when they are not."),
    ] = None,
    address: Annotated[
        str,
        typer.Option("--address", help="Own address in the phones' subnet: the server chooses the scope by it."),
    ] = "",
    port: Annotated[int, typer.Option("--port", help="The server's port.", min=1, max=65535)] = 67,
    reply_port: Annotated[
        int | None, typer.Option("--reply-port", help="Own port; else the server's, as relays have it.")
    ] = None,
    mac: Annotated[
        str | None, typer.Option("--mac", help="Ask as this phone: its lease is given back. Else as one that is none.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="What the phone says it is.")] = "CP-8841",
    as_json: Json = False,
) -> None:
    """Ask a DHCP server for an address as a phone does, through a relay, and say what option 150 it gives.

    Servers answer relays at port 67, which only root may bind.
    """
    import dataclasses

    from trustbridge import eventloop
    from trustbridge.cli import screen
    from trustbridge.dhcp.offer import OUR_MAC, confirm
    from trustbridge.dhcp.scope import check_servers
    from trustbridge.errors import SettingsError
    from trustbridge.wire.dhcp import parse_mac

    if not address:
        raise SettingsError("--address is needed", "An address of this machine, in the phones' subnet.")
    check_servers((address,))
    check_servers((server,))
    try:
        chosen = OUR_MAC if mac is None else parse_mac(mac)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    found = eventloop.run(
        confirm(
            server,
            wanted or (),
            address=address,
            port=port,
            reply_port=reply_port,
            mac=chosen,
            vendor_class=f"Cisco Systems, Inc. IP Phone {model}",
        )
    )
    if as_json:
        agrees = found.agrees if wanted else None
        screen.print_json({**dataclasses.asdict(found), "agrees": agrees})
    else:
        lease = found.lease
        typer.echo(f"{lease.server} lends {lease.address} and says option 150: {found.words}")
        if lease.option66:
            typer.echo(f"  option 66: {lease.option66}")
    if wanted:
        found.check()


# What all of them need.


def _show_change(change: Change) -> None:
    before, after = change.before.words, change.after.words
    typer.echo(f"{change.place}, {change.before.name}: option 150 from {before} to {after}")
    if change.edits:
        typer.echo(change.diff, nl=False)
    else:
        typer.echo("That is what it says already: there is nothing to change.")


def _say_next(provider: Provider) -> None:
    reload = getattr(provider, "reload", None)
    if reload is not None:
        typer.echo(f"The server does not know yet. Have it read the file: {reload}")
    typer.echo(
        "Phones go there when their lease renews, or when they are reset. What they are told: trustbridge option150 "
        "offer --help"
    )


def _print_manual(system: str, scope: str, servers: Sequence[str], before: Sequence[str], as_json: bool) -> None:
    import dataclasses

    from trustbridge.cli import screen
    from trustbridge.dhcp.manual import System, commands
    from trustbridge.errors import SettingsError

    if system not in set(System):
        raise SettingsError(f"--manual {system}: {', '.join(System)} are known")
    found = commands(System(system), scope, servers, before)
    if as_json:
        screen.print_json(dataclasses.asdict(found))
    else:
        typer.echo(found.text, nl=False)


def _scope_json(scope: Scope) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(scope)


def _agreed(question: str, *, quiet: bool) -> bool:
    """Whether a person agrees; who sees only JSON has not been shown what to agree to."""
    import sys

    from trustbridge.errors import SettingsError

    if quiet or not sys.stdin.isatty():
        raise SettingsError(
            "nobody can be asked here" if quiet else "there is no terminal to ask at", "Say that you mean it: --yes."
        )
    return typer.confirm(question, err=True)


def _now() -> datetime:
    return datetime.now(UTC)
