"""`trustbridge migrate`: phones moved wave by wave, watched, halted when too many fail, and brought back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.cli.dhcpserver import KeaPassword
from trustbridge.cli.migrateplan import plan

if TYPE_CHECKING:
    from trustbridge.migration.campaignforecast import Foretold
    from trustbridge.storage.campaignrecords import CampaignRecord
    from trustbridge.storage.campaignwork import CampaignWork

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Move phones to another cluster, wave by wave.\n\n"
        "The order: [bold]plan[/bold], which resets nothing; [bold]start[/bold], which changes option 150 where it was "
        "told how, and works until every phone has come to an end, or too many have failed. It may be killed, and "
        "started again, also on several machines at once. [bold]rollback[/bold] is the same the other way."
    ),
)

Campaign = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign, as `status` lists it.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Option150 = Annotated[
    bool, typer.Option("--option150-done", help="Say that DHCP option 150 of these phones names the right cluster now.")
]
Accept = Annotated[
    list[str] | None, typer.Option("--accept", metavar="TBnnn", help="Go on with this finding; may be given again.")
]
Stranding = Annotated[
    str, typer.Option("--stranding", help="Phones that are predicted to strand: skip, or go all the same.")
]
Many = list[str] | None
#: Phones that are named one by one.
_SAID = 10
#: Seconds between two looks of `status --watch`.
_LOOK = 2.0


app.command()(plan)


@app.command()
def start(
    name: Campaign,
    option150_done: Option150 = False,
    accept: Accept = None,
    checking: Annotated[
        bool, typer.Option("--check/--no-check", help="Check both clusters once more before anything is touched.")
    ] = True,
    kea_password_file: KeaPassword = None,
    as_json: Json = False,
) -> None:
    """Work on a campaign until every phone has come to an end, or it is paused or halted. Ctrl-C ends it gracefully.

    Killed and started again, it goes on; started twice, two work on it. A
    campaign that begins is checked first: what stops the move, stops it here.
    Exit code 1 when phones failed.
    """
    from trustbridge.cli import migratework
    from trustbridge.cli.opened import state_folder
    from trustbridge.migration.campaignacts import says_option150
    from trustbridge.migration.devicesrecord import created_phones
    from trustbridge.storage.models import CampaignState

    with campaigns_at_hand() as campaigns:
        campaign = campaigns.get(name)
        scopes = campaigns.scopes(campaign.id)
        if campaign.state is CampaignState.PLANNED:
            says_option150(campaign, campaign.destination, scopes=scopes, done=option150_done)
            if checking:
                migratework.checked(campaign.source, campaign.destination, accept or (), quiet=as_json)
        campaigns.begin(
            name,
            option150="" if scopes else campaign.destination,
            now=_now(),
            created=created_phones(state_folder(), campaign.source, campaign.destination),
        )
        _work(campaigns, name, kea_password_file, as_json)


@app.command()
def pause(name: Campaign, as_json: Json = False) -> None:
    """Reset no phone from now on. Workers watch those that are under way to their end, and end."""
    with campaigns_at_hand() as campaigns:
        campaigns.pause(name, reason="paused by hand", now=_now())
        _show(campaigns, name, as_json)


@app.command()
def resume(
    name: Campaign,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try what failed or was skipped once more, if it will not strand again.")
    ] = False,
    stranding: Stranding = "skip",
    kea_password_file: KeaPassword = None,
    as_json: Json = False,
) -> None:
    """Go on with a campaign that was paused or halted. What has failed by now does not halt it again."""
    from trustbridge.migration.campaignacts import leave_stranding, to_be_retried

    with campaigns_at_hand() as campaigns:
        campaign = campaigns.get(name)
        stay: frozenset[str] = frozenset()
        if retry:
            found = _foretold(campaigns, campaign, to_be_retried(campaigns, campaign), back=False)
            stay = leave_stranding(stranding, found.stranding)
            _say_who_stays(found.stranding, stay, campaign.destination)
        campaigns.resume(name, retry=retry, now=_now(), without=stay)
        _work(campaigns, name, kea_password_file, as_json)


@app.command()
def rollback(
    name: Campaign,
    wave: Annotated[str | None, typer.Option("--wave", help="Only this wave.")] = None,
    phone: Annotated[Many, typer.Option("--phone", help="Only this phone; may be given again.")] = None,
    option150_done: Option150 = False,
    stranding: Stranding = "skip",
    accept: Accept = None,
    checking: Annotated[
        bool, typer.Option("--check/--no-check", help="Check and foretell the way back before anything is touched.")
    ] = True,
    kea_password_file: KeaPassword = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Bring phones back to the source: the campaign's, a wave's, or some. The same procedure, the other way.

    The way back is checked and foretold first. Option 150 that the campaign
    has changed itself is changed back first, unless phones that stay need
    it as it is.
    """
    import sys

    from trustbridge.cli import migratework
    from trustbridge.errors import SettingsError
    from trustbridge.migration.campaignacts import leave_stranding, says_option150, to_go_back

    with campaigns_at_hand() as campaigns:
        campaign = campaigns.get(name)
        says_option150(campaign, campaign.source, scopes=campaigns.scopes(campaign.id), done=option150_done)
        if not yes and (as_json or not sys.stdin.isatty()):
            raise SettingsError("nobody can be asked here", "Say that you mean it: --yes.")
        stay: frozenset[str] = frozenset()
        words = ""
        if checking:
            migratework.checked(campaign.destination, campaign.source, accept or (), quiet=as_json)
            moved = to_go_back(campaigns, campaign, wave=wave, phones=phone or ())
            found = _foretold(campaigns, campaign, moved, back=True)
            stay = leave_stranding(stranding, found.stranding)
            _say_who_stays(found.stranding, stay, campaign.source)
            words = f" It is foretold: {found.words}." if found.words else ""
        if not yes and not typer.confirm(f"Bring phones of {name} back to {campaign.source} now?{words}", err=True):
            raise typer.Exit(1)
        campaigns.send_back(
            name,
            wave=wave,
            phones=tuple(phone or ()),
            option150=campaign.source if option150_done else "",
            now=_now(),
            without=stay,
        )
        _work(campaigns, name, kea_password_file, as_json)


def _foretold(campaigns: CampaignWork, campaign: CampaignRecord, names: Collection[str], *, back: bool) -> Foretold:
    """Foretell phones again, and keep that."""
    from trustbridge import eventloop
    from trustbridge.cli import migratework
    from trustbridge.migration.campaignacts import kept
    from trustbridge.migration.campaignforecast import Foretold

    if not names:
        return Foretold()
    found = eventloop.run(migratework.foretold(campaign, names, back=back))
    kept(campaigns, campaign, found, _now())
    return found


def _say_who_stays(stranding: Mapping[str, str], stay: Collection[str], target: str) -> None:
    for number, (name, why) in enumerate(sorted(stranding.items())):
        if number == _SAID:
            typer.echo(f"... and {len(stranding) - _SAID} more", err=True)
            break
        what = "it stays where it is" if name in stay else "it goes all the same"
        typer.echo(f"{name} would not get to {target}: {why}; {what}", err=True)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="CAMPAIGN", help="Without one, all are listed.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="A screen that follows it until it rests; Ctrl-C leaves it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Campaigns and their state; of one, its waves, what failed and why, and the end of its journal."""
    from trustbridge.cli import migrateview, screen

    with campaigns_at_hand() as campaigns:
        if name is None:
            known = [(one, campaigns.waves(one.id)) for one in campaigns.all()]
            if as_json:
                screen.print_json([migrateview.campaign_json(*one) for one in known])
            elif known:
                migrateview.show_campaigns(screen.console(), known)
            else:
                typer.echo("there is no campaign yet; plan one: trustbridge migrate plan --help")
            return
        if watch and not as_json:
            _watch(campaigns, name)
        _show(campaigns, name, as_json)


def _watch(campaigns: CampaignWork, name: str) -> None:
    """Until it rests, or somebody presses Ctrl-C."""
    import contextlib
    import time

    from rich.live import Live

    from trustbridge.cli import migratewatch, screen
    from trustbridge.storage.models import CampaignState, Kind

    console = screen.console()
    pace = migratewatch.Pace()
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            campaign, now = campaigns.get(name), _now()
            waves = campaigns.waves(campaign.id)
            pace.see(now, migratewatch.ended(waves))
            bad, _ = campaigns.some_phones(campaign.id, kinds=(Kind.FAILED,), newest=True, limit=5)
            journal = campaigns.journal(campaign.id, last=8)
            live.update(migratewatch.screen(campaign, waves, bad, journal, pace, now), refresh=True)
            if campaign.state is not CampaignState.RUNNING and not campaigns.left(campaign.id)[0]:
                return
            time.sleep(_LOOK)


# What all of them need.


def _show(campaigns: CampaignWork, name: str, as_json: bool) -> CampaignRecord:
    from trustbridge.cli import migrateview, screen

    campaign = campaigns.get(name)
    waves, phones = campaigns.waves(campaign.id), campaigns.phones(campaign.id)
    if as_json:
        screen.print_json(migrateview.campaign_json(campaign, waves, phones, campaigns.journal(campaign.id)))
    else:
        migrateview.show_campaign(screen.console(), campaign, waves, phones, campaigns.journal(campaign.id, last=10))
    return campaign


def _work(campaigns: CampaignWork, name: str, kea_password_file: Path | None, as_json: bool) -> None:
    """Be a worker, then show what it came to."""
    from trustbridge.cli import migratework
    from trustbridge.storage.models import CampaignState, Kind

    stopped = migratework.work(campaigns, name, kea_password_file, quiet=as_json)
    found = _show(campaigns, name, as_json)
    failed = any(wave.kinds.get(Kind.FAILED, 0) for wave in campaigns.waves(found.id))
    if failed or found.state is CampaignState.HALTED or stopped:
        raise typer.Exit(1)


@contextmanager
def campaigns_at_hand() -> Iterator[CampaignWork]:
    """The database, with its tables in order; in the name of this process alone."""
    import os
    import secrets
    import socket

    from trustbridge import settings
    from trustbridge.storage.campaignwork import CampaignWork
    from trustbridge.storage.database import open_database, upgrade_to_head

    found = settings.load()
    engine = open_database(found.database_url, found.state_folder)
    try:
        upgrade_to_head(engine)
        # The number of a process comes again, also on other machines.
        yield CampaignWork(engine, f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(4)}")
    finally:
        engine.dispose()


def _now() -> datetime:
    return datetime.now(UTC)
