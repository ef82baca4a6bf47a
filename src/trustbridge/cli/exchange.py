"""`trustbridge exchange`: certificates between clusters: planned, exchanged, proven, taken back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.cli.exchangeoptions import (
    Accept,
    Authorities,
    By,
    CapfTrust,
    Clusters,
    Into,
    Json,
    Pairs,
    PasswordFile,
    RestartTvs,
    Sftp,
    Types,
    Yes,
    sftp_settings,
)
from trustbridge.cli.verify import verify

if TYPE_CHECKING:
    from trustbridge.cucm.cluster import Cluster
    from trustbridge.exchange.directory import SftpSettings
    from trustbridge.migration.exchangeplan import ExchangePlan
    from trustbridge.migration.exchangeprepare import Wanted
    from trustbridge.migration.exchangerecord import ExchangeRecord
    from trustbridge.migration.survey import ClusterSurvey

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Exchange certificates between clusters that `trustbridge cluster add` has named, and prove that phones will "
        "be told to trust.\n\n"
        "The order: [bold]plan[/bold], which changes nothing; [bold]run[/bold]; [bold]verify[/bold]. Each exchange has "
        "a record, by which [bold]run[/bold] goes on after an interruption and [bold]undo[/bold] takes back exactly "
        "what was added."
    ),
)


@app.command()
def plan(
    clusters: Clusters,
    pair: Pairs = None,
    into: Into = None,
    type: Types = None,
    by: By = None,
    sftp: Sftp = None,
    sftp_password_file: PasswordFile = None,
    accept: Accept = None,
    capf_trust: CapfTrust = True,
    authorities: Authorities = False,
    restart_tvs: RestartTvs = False,
    as_json: Json = False,
) -> None:
    """What an exchange would do: by which method and why, step by step, and what keeps it from beginning.

    Clusters are read, and nothing is changed. Exit code 6 while a finding stops it.
    """
    from trustbridge import eventloop
    from trustbridge.cli import exchangeview, screen
    from trustbridge.cli.opened import opened
    from trustbridge.errors import NotNow
    from trustbridge.migration.exchangeprepare import Wanted

    wanted = Wanted(
        clusters, pair, into, type, by, accept, capf_trust=capf_trust, authorities=authorities, restart_tvs=restart_tvs
    )
    server = sftp_settings(sftp, sftp_password_file)

    async def work() -> ExchangePlan:
        async with opened(wanted.clusters) as clusters:
            return (await _planned(wanted, clusters, server))[0]

    made = eventloop.run(work())
    if as_json:
        screen.print_json(made.as_json())
    else:
        exchangeview.show_plan(screen.console(), made)
    if made.blocking:
        raise typer.Exit(NotNow.exit_code)


@app.command()
def run(
    clusters: Clusters,
    pair: Pairs = None,
    into: Into = None,
    type: Types = None,
    by: By = None,
    sftp: Sftp = None,
    sftp_password_file: PasswordFile = None,
    accept: Accept = None,
    capf_trust: CapfTrust = True,
    authorities: Authorities = False,
    restart_tvs: RestartTvs = False,
    name: Annotated[str | None, typer.Option("--name", help="What to call it; else the clusters' names.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="As `plan`: say what would be done, change nothing.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Exchange: plan, show, ask, do.

    An exchange of the same clusters that was interrupted goes on where it was. What is there already is not done again.
    """
    from trustbridge import eventloop
    from trustbridge.cli import exchangeview, screen
    from trustbridge.migration.exchangeprepare import Wanted, interrupted, record_json

    if dry_run:
        plan(
            clusters,
            pair,
            into,
            type,
            by,
            sftp,
            sftp_password_file,
            accept,
            capf_trust,
            authorities,
            restart_tvs,
            as_json,
        )
        return
    wanted = Wanted(
        clusters, pair, into, type, by, accept, capf_trust=capf_trust, authorities=authorities, restart_tvs=restart_tvs
    )
    record = interrupted(_folder(), wanted, name)
    server = sftp_settings(sftp, sftp_password_file, known=record)
    done = eventloop.run(_run(wanted, record, name, server, ask=not yes, quiet=as_json))
    if done is None:
        raise typer.Exit(1)
    if as_json:
        screen.print_json(record_json(done))
    else:
        exchangeview.show_record(screen.console(), done)
        typer.echo(f"Prove it: trustbridge exchange verify {' '.join(wanted.clusters)}")


async def _run(
    wanted: Wanted,
    record: ExchangeRecord | None,
    name: str | None,
    server: SftpSettings | None,
    *,
    ask: bool,
    quiet: bool,
) -> ExchangeRecord | None:
    from trustbridge.cli import exchangeview, screen
    from trustbridge.cli.opened import opened
    from trustbridge.errors import NotNow
    from trustbridge.migration.exchangeprepare import Recorder, begin
    from trustbridge.migration.exchangerun import Exchange

    recorder = Recorder(_now)
    async with opened(wanted.clusters, recorder) as clusters:
        surveys: Mapping[str, ClusterSurvey] = {}
        if record is None:
            made, surveys = await _planned(wanted, clusters, server)
            if not quiet:
                exchangeview.show_plan(screen.console(), made)
            if made.blocking:
                ids = ", ".join(dict.fromkeys(one.id for one in made.blocking))
                raise NotNow(
                    f"the exchange does not begin: {ids}",
                    "Resolve them, or say that you accept what they lead to: "
                    + " ".join(f"--accept {one}" for one in dict.fromkeys(one.id for one in made.blocking)),
                )
            if not made.steps:
                if not quiet:
                    typer.echo("Every certificate is where it belongs: there is nothing to do.")
            elif ask and not _agreed("Do this now?", quiet=quiet):
                return None
            record = begin(_folder(), name, wanted, made, server, _now())
        elif not quiet:
            typer.echo(f"{record.name} was begun on {record.plan.begun:%Y-%m-%d %H:%M} UTC: it goes on.", err=True)
        with record.locked(), exchangeview.steps(record.plan, shown=not quiet) as watcher:
            recorder.record = record
            await Exchange(record, clusters, clock=_now, sftp=server, surveys=surveys, watcher=watcher).run()
    return record


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="An exchange; without one, all are listed.")] = None,
    as_json: Json = False,
) -> None:
    """Exchanges and their state; of one, what it did, what it added, and how to take it back."""
    from trustbridge.cli import exchangeview, screen
    from trustbridge.migration.exchangeprepare import record_json
    from trustbridge.migration.exchangerecord import ExchangeRecord, check_name, exchanges

    if name is None:
        known = list(exchanges(_folder()))
        if as_json:
            screen.print_json([record_json(one, whole=False) for one in known])
        elif known:
            exchangeview.show_records(screen.console(), known)
        else:
            typer.echo("there has been no exchange yet; begin one: trustbridge exchange plan --help")
        return
    record = ExchangeRecord.read(_folder() / check_name(name))
    if as_json:
        screen.print_json(record_json(record))
    else:
        exchangeview.show_record(screen.console(), record)


@app.command()
def undo(
    name: Annotated[str, typer.Argument(help="The exchange, as `status` lists it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and change nothing.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take an exchange back: what it added is removed, what it pushed out comes back, and nothing else is touched.

    Phones that have moved can't go back afterwards, and phones that have not will strand.
    """
    from trustbridge import eventloop
    from trustbridge.cli import exchangeview, screen
    from trustbridge.migration.exchangeprepare import record_json
    from trustbridge.migration.exchangerecord import ExchangeRecord, check_name

    record = ExchangeRecord.read(_folder() / check_name(name))
    if not as_json:
        exchangeview.show_undo(screen.console(), record)
    if not dry_run and not record.undone:
        if not yes and not _agreed("Take it back now?", quiet=as_json):
            raise typer.Exit(1)
        eventloop.run(_undo(record, quiet=as_json))
    if as_json:
        screen.print_json(record_json(record))
    elif record.undone:
        typer.echo(f"{record.name} is undone: nothing of it is left in the trust stores.")


async def _undo(record: ExchangeRecord, *, quiet: bool) -> None:
    from trustbridge.cli import exchangeview
    from trustbridge.cli.opened import opened
    from trustbridge.migration import exchangeundo
    from trustbridge.migration.exchangeprepare import Recorder

    recorder = Recorder(_now, record)
    async with opened(record.plan.clusters, recorder) as clusters:
        with record.locked(), exchangeview.removals(record, shown=not quiet):
            await exchangeundo.undo(record, clusters, clock=_now)


# What all of them need.


async def _planned(
    wanted: Wanted, clusters: Mapping[str, Cluster], server: SftpSettings | None
) -> tuple[ExchangePlan, Mapping[str, ClusterSurvey]]:
    """Read the clusters and decide, shown while it goes on."""
    from trustbridge.cli import screen
    from trustbridge.cli.opened import pinned, state_folder
    from trustbridge.cucm.access import HOST_KEYS
    from trustbridge.exchange.hostkeys import HostKeyPins
    from trustbridge.migration.exchangeprepare import planned

    pins = HostKeyPins(state_folder() / HOST_KEYS, on_first_contact=lambda contact: pinned(str(contact)))
    with screen.progress("Reading clusters") as told:
        seen: list[str] = []

        def read(node: str) -> None:
            seen.append(node)
            told(node, len(seen), len(seen))

        return await planned(wanted, clusters, server, pins, now=_now(), progress=read)


def _folder() -> Path:
    from trustbridge.cli.opened import state_folder
    from trustbridge.migration.exchangeprepare import FOLDER

    return state_folder() / FOLDER


def _now() -> datetime:
    return datetime.now(UTC)


def _agreed(question: str, *, quiet: bool) -> bool:
    """Whether a person agrees; who sees only JSON has not been shown what to agree to."""
    import sys

    from trustbridge.errors import SettingsError

    if quiet or not sys.stdin.isatty():
        raise SettingsError(
            "nobody can be asked here" if quiet else "there is no terminal to ask at", "Say that you mean it: --yes."
        )
    return typer.confirm(question, err=True)


app.command()(verify)
