"""`trustbridge migrate`: phones moved wave by wave, watched, halted when too many fail, and brought back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from trustbridge.migration.campaignplan import CampaignSettings, Selection
    from trustbridge.migration.phonefacts import PhoneFacts
    from trustbridge.storage.campaignrecords import CampaignRecord
    from trustbridge.storage.campaignwork import CampaignWork

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Move phones to another cluster, wave by wave.\n\n"
        "The order: [bold]plan[/bold], which resets nothing; DHCP option 150 to the destination; [bold]start[/bold], "
        "which works until every phone has come to an end, or too many have failed. It may be killed, and started "
        "again, also on several machines at once. [bold]rollback[/bold] is the same the other way."
    ),
)

Campaign = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign, as `status` lists it.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Option150 = Annotated[
    bool, typer.Option("--option150-done", help="Say that DHCP option 150 of these phones names the right cluster now.")
]
Many = list[str] | None


@app.command()
def plan(
    name: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="What to call it.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The cluster that phones are to leave.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="The cluster that they are to join.")],
    device_pool: Annotated[Many, typer.Option("--device-pool", help="Pattern, such as 'Warsaw-*'.")] = None,
    model: Annotated[Many, typer.Option("--model", help="Pattern, such as 'CP-88*'.")] = None,
    subnet: Annotated[Many, typer.Option("--subnet", help="Such as 10.1.2.0/24.")] = None,
    phone: Annotated[Many, typer.Option("--phone", help="Pattern of names.")] = None,
    without: Annotated[Many, typer.Option("--without", help="Pattern of names that are left out.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="List of names: CSV, or one a line.")] = None,
    registered: Annotated[bool, typer.Option("--registered", help="Only phones that are registered now.")] = False,
    pilot: Annotated[int, typer.Option("--pilot", help="Phones of the first wave, of all kinds; 0 for none.")] = 5,
    wave_size: Annotated[int, typer.Option("--wave-size", help="Phones of a wave at the most.")] = 200,
    by: Annotated[str, typer.Option("--by", help="device-pool: a wave is of one site.")] = "none",
    window: Annotated[
        Many, typer.Option("--window", help="When phones may be reset: 'Mon-Fri 20:00-06:00 Europe/Warsaw'.")
    ] = None,
    site_window: Annotated[
        Many, typer.Option("--site-window", help="'DEVICE-POOL=WINDOW': instead, for that site.")
    ] = None,
    resets_a_minute: Annotated[int, typer.Option("--resets-a-minute", help="Over all workers.")] = 30,
    under_way: Annotated[
        int, typer.Option("--under-way", help="Phones between reset and registration, each of which asks a TVS.")
    ] = 100,
    failures: Annotated[
        float, typer.Option("--failures", help="Share of a wave that may fail; one more halts the campaign.")
    ] = 0.1,
    unregistered: Annotated[str, typer.Option("--unregistered", help="Such phones wait, or skip.")] = "wait",
    unfit: Annotated[
        str, typer.Option("--unfit", help="Phones with trust lists of neither cluster wait, skip, or go.")
    ] = "wait",
    unseen: Annotated[
        str, typer.Option("--unseen", help="Phones whose lists nobody can see wait, skip, or go.")
    ] = "go",
    longest_wait: Annotated[float, typer.Option("--longest-wait", help="Minutes; then they are skipped.")] = 240,
    restart: Annotated[float, typer.Option("--restart", help="Minutes from reset to registration.")] = 15,
    settle: Annotated[
        float, typer.Option("--settle", help="Seconds after which a phone that is back where it was is stranded.")
    ] = 60,
    look: Annotated[float, typer.Option("--look", help="Seconds between two looks at phones under way.")] = 10,
    lease: Annotated[float, typer.Option("--lease", help="Seconds that a worker is alone with a phone.")] = 120,
    doubt: Annotated[
        float, typer.Option("--doubt", help="Seconds until a phone's own state tells whether its reset was sent.")
    ] = 180,
    phone_port: Annotated[int, typer.Option("--phone-port", help="Port of the phones' pages.")] = 80,
    as_json: Json = False,
) -> None:
    """Choose phones, deal them out in waves, keep that. Nothing is reset, and nothing is changed on a cluster."""
    from trustbridge import eventloop
    from trustbridge.cli import migrateview, screen
    from trustbridge.errors import SettingsError
    from trustbridge.migration import campaignplan
    from trustbridge.migration.campaignphone import PhoneState, Rule, Terms

    try:
        terms = Terms(
            unregistered=Rule(unregistered),
            unfit=Rule(unfit),
            unseen=Rule(unseen),
            longest_wait=timedelta(minutes=longest_wait),
            restart=timedelta(minutes=restart),
            settle=timedelta(seconds=settle),
            look=timedelta(seconds=look),
            look_waiting=timedelta(seconds=6 * look),
            lease=timedelta(seconds=lease),
            doubt=timedelta(seconds=doubt),
            send_within=timedelta(seconds=min(30.0, doubt / 2)),
        )
        grouping = campaignplan.Grouping(by)
    except ValueError as error:
        raise SettingsError(f"migrate plan: {error}") from None
    settings = campaignplan.CampaignSettings(
        campaignplan.Limits(resets_a_minute, under_way, failures), terms, phone_port
    )
    selection = _selection(device_pool, model, subnet, phone, without, csv, registered)
    sites = tuple(_site(text) for text in site_window or ())
    how = campaignplan.Waves(pilot, wave_size, grouping, tuple(window or ()), sites)
    _check_name(name)
    if source == destination:
        raise SettingsError("source and destination are the same cluster")
    known = eventloop.run(_phones(source, destination))
    waves = campaignplan.deal(campaignplan.select(known, selection), how)
    with _campaigns() as campaigns:
        campaign = campaigns.create(
            name, source, destination, settings.as_json(), waves, state=PhoneState.PLANNED, now=_now()
        )
        if as_json:
            screen.print_json(
                migrateview.campaign_json(campaign, campaigns.waves(campaign.id), campaigns.phones(campaign.id))
            )
            return
    migrateview.show_plan(screen.console(), name, waves)
    typer.echo(f"Point DHCP option 150 at {destination}, then: trustbridge migrate start {name} --option150-done")


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


def _site(text: str) -> tuple[str, str]:
    from trustbridge.errors import SettingsError

    pattern, sign, window = text.partition("=")
    if not sign:
        raise SettingsError(f"--site-window {text}: DEVICE-POOL=WINDOW is expected")
    return pattern, window


def _check_name(name: str) -> None:
    import re

    from trustbridge.errors import SettingsError

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", name):
        raise SettingsError(f"{name!r} can't be a campaign's name", "It has letters, digits, -, _ and dots.")


async def _phones(source: str, destination: str) -> list[PhoneFacts]:
    """The source's phones; the destination has to be known as well."""
    from trustbridge.cli import screen
    from trustbridge.cli.opened import opened
    from trustbridge.migration.phonecollect import collect_phones

    async with opened([source, destination]) as clusters:
        with screen.progress("Reading phones") as told:
            return await collect_phones(clusters[source], pages=False, configurations="none", progress=told)


@app.command()
def start(name: Campaign, option150_done: Option150 = False, as_json: Json = False) -> None:
    """Work on a campaign until every phone has come to an end, or it is paused or halted. Ctrl-C ends it gracefully.

    Killed and started again, it goes on; started twice, two work on it. Exit code 1 when phones failed.
    """
    from trustbridge.errors import NotNow
    from trustbridge.storage.models import CampaignState

    with _campaigns() as campaigns:
        campaign = campaigns.get(name)
        if campaign.state is CampaignState.PLANNED and not option150_done:
            raise NotNow(
                f"nobody has said that DHCP option 150 names {campaign.destination}",
                "Phones that are reset before that stay where they are: change it, then add --option150-done.",
            )
        campaigns.begin(name, option150=campaign.destination, now=_now())
        _work(campaigns, name, as_json)


@app.command()
def pause(name: Campaign, as_json: Json = False) -> None:
    """Reset no phone from now on. Workers watch those that are under way to their end, and end."""
    with _campaigns() as campaigns:
        campaigns.pause(name, reason="paused by hand", now=_now())
        _show(campaigns, name, as_json)


@app.command()
def resume(
    name: Campaign,
    retry: Annotated[bool, typer.Option("--retry", help="Try what failed or was skipped once more.")] = False,
    as_json: Json = False,
) -> None:
    """Go on with a campaign that was paused or halted. What has failed by now does not halt it again."""
    with _campaigns() as campaigns:
        campaigns.resume(name, retry=retry, now=_now())
        _work(campaigns, name, as_json)


@app.command()
def rollback(
    name: Campaign,
    wave: Annotated[str | None, typer.Option("--wave", help="Only this wave.")] = None,
    phone: Annotated[Many, typer.Option("--phone", help="Only this phone; may be given again.")] = None,
    option150_done: Option150 = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Bring phones back to the source: the campaign's, a wave's, or some. The same procedure, the other way."""
    import sys

    from trustbridge.errors import NotNow, SettingsError

    with _campaigns() as campaigns:
        campaign = campaigns.get(name)
        if not option150_done:
            raise NotNow(
                f"nobody has said that DHCP option 150 of these phones names {campaign.source} again",
                "Phones that are reset before that stay where they are: change it, then add --option150-done.",
            )
        if not yes:
            if as_json or not sys.stdin.isatty():
                raise SettingsError("nobody can be asked here", "Say that you mean it: --yes.")
            if not typer.confirm(f"Bring phones of {name} back to {campaign.source} now?", err=True):
                raise typer.Exit(1)
        campaigns.send_back(name, wave=wave, phones=tuple(phone or ()), option150=campaign.source, now=_now())
        _work(campaigns, name, as_json)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="CAMPAIGN", help="Without one, all are listed.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until it rests.")] = False,
    as_json: Json = False,
) -> None:
    """Campaigns and their state; of one, its waves, what failed and why, and the end of its journal."""
    import time

    from trustbridge.cli import migrateview, screen
    from trustbridge.storage.models import CampaignState

    with _campaigns() as campaigns:
        if name is None:
            known = [(one, campaigns.waves(one.id)) for one in campaigns.all()]
            if as_json:
                screen.print_json([migrateview.campaign_json(*one) for one in known])
            elif known:
                migrateview.show_campaigns(screen.console(), known)
            else:
                typer.echo("there is no campaign yet; plan one: trustbridge migrate plan --help")
            return
        while True:
            _show(campaigns, name, as_json)
            campaign = campaigns.get(name)
            busy = campaign.state is CampaignState.RUNNING or campaigns.left(campaign.id)[0]
            if not watch or not busy:
                return
            time.sleep(5)


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


def _work(campaigns: CampaignWork, name: str, as_json: bool) -> None:
    """Be a worker, then show what it came to."""
    from trustbridge import eventloop
    from trustbridge.migration.campaignplan import CampaignSettings
    from trustbridge.storage.models import CampaignState, Kind

    campaign = campaigns.get(name)
    settings = CampaignSettings.from_json(campaign.settings)
    stopped = eventloop.run(_run(campaigns, campaign, settings, quiet=as_json))
    found = _show(campaigns, name, as_json)
    failed = any(wave.kinds.get(Kind.FAILED, 0) for wave in campaigns.waves(found.id))
    if failed or found.state is CampaignState.HALTED or stopped:
        raise typer.Exit(1)


async def _run(campaigns: CampaignWork, campaign: CampaignRecord, settings: CampaignSettings, *, quiet: bool) -> bool:
    import asyncio
    import signal

    from trustbridge.cli import migrateview, screen
    from trustbridge.cli.opened import opened
    from trustbridge.migration.campaignrun import Watcher, Worker
    from trustbridge.migration.campaignsite import Site

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    total = len(campaigns.phones(campaign.id))
    states: dict[str, Any] = {phone.name: phone.kind for phone in campaigns.phones(campaign.id)}

    async with opened([campaign.source, campaign.destination]) as clusters:
        with screen.progress(campaign.name, shown=not quiet) as told:

            def moved(phone: Any) -> None:
                states[phone.name] = phone.kind
                done = sum(kind not in ("held", "under way") for kind in states.values())
                told(f"{phone.name}: {migrateview.state_of(phone)}", done, total)

            watcher = Watcher(moved=moved, noted=lambda words: typer.echo(words, err=True))
            for number in (signal.SIGINT, signal.SIGTERM):
                with _no_signals():
                    loop.add_signal_handler(number, stop.set)
            try:
                async with Site.opened(
                    clusters[campaign.source],
                    clusters[campaign.destination],
                    phone_port=settings.phone_port,
                    noted=watcher.noted,
                ) as site:
                    await Worker(campaigns, campaign.name, site, watcher=watcher, stop=stop).run()
            finally:
                for number in (signal.SIGINT, signal.SIGTERM):
                    with _no_signals():
                        loop.remove_signal_handler(number)
    return stop.is_set()


@contextmanager
def _no_signals() -> Iterator[None]:
    """Only a process's first thread hears signals; a worker in another one is ended in another way."""
    try:
        yield
    except (ValueError, RuntimeError):
        return


@contextmanager
def _campaigns() -> Iterator[CampaignWork]:
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
