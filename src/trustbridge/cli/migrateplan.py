"""`trustbridge migrate plan`: phones chosen, foretold, dealt out in waves, and kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.cli.dhcpserver import KeaPassword, KeaUrl, KeaUser, named_server, opened_provider, passwords

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trustbridge.cli.dhcpserver import Password
    from trustbridge.cucm.cluster import Cluster
    from trustbridge.dhcp.record import Server
    from trustbridge.dhcp.scope import Change
    from trustbridge.migration.campaignforecast import Foretold
    from trustbridge.migration.campaignplan import Selection
    from trustbridge.migration.phonefacts import PhoneFacts
    from trustbridge.storage.campaignrecords import ClusterRecord, NewScope

Many = list[str] | None


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
    sql: Annotated[
        str, typer.Option("--sql", help="A SELECT over the source's database (AXL) whose column `name` names phones.")
    ] = "",
    registered: Annotated[bool, typer.Option("--registered", help="Only phones that are registered now.")] = False,
    pilot: Annotated[int, typer.Option("--pilot", help="Phones of the first wave, of all kinds; 0 for none.")] = 5,
    pilot_site: Annotated[
        str,
        typer.Option("--pilot-site", metavar="DEVICE-POOL", help="Pattern: only phones of that site are the pilot."),
    ] = "",
    wave_size: Annotated[int, typer.Option("--wave-size", help="Phones of a wave at the most.")] = 200,
    by: Annotated[str, typer.Option("--by", help="device-pool: a wave is of one site.")] = "none",
    window: Annotated[
        Many, typer.Option("--window", help="When phones may be reset: 'Mon-Fri 20:00-06:00 Europe/Warsaw'.")
    ] = None,
    site_window: Annotated[
        Many, typer.Option("--site-window", help="'DEVICE-POOL=WINDOW': instead, for that site.")
    ] = None,
    kea: KeaUrl = None,
    kea_user: KeaUser = "",
    kea_password_file: KeaPassword = None,
    dhcp_cluster: Annotated[
        str | None, typer.Option("--dhcp-cluster", metavar="NAME", help="A cluster that is itself the DHCP server.")
    ] = None,
    scope: Annotated[
        Many,
        typer.Option("--scope", help="DHCP scope whose option 150 the campaign changes before its first wave."),
    ] = None,
    site_scope: Annotated[
        Many,
        typer.Option("--site-scope", help="'DEVICE-POOL=SCOPE': changed before the first wave with such phones."),
    ] = None,
    tftp_server: Annotated[
        Many,
        typer.Option("--tftp-server", help="What option 150 is to name, in order; else two of the destination's."),
    ] = None,
    predicting: Annotated[
        bool, typer.Option("--predict/--no-predict", help="Foretell each phone, from its page and all that it meets.")
    ] = True,
    stranding: Annotated[
        str, typer.Option("--stranding", help="Phones that are predicted to strand: skip, or go all the same.")
    ] = "skip",
    unknown: Annotated[
        str, typer.Option("--unknown", help="Phones of which the prediction can't tell: go, or skip.")
    ] = "go",
    resets_a_minute: Annotated[int, typer.Option("--resets-a-minute", help="Over all workers.")] = 30,
    under_way: Annotated[int, typer.Option("--under-way", help="Phones between reset and end, at the most.")] = 100,
    tvs_load: Annotated[
        int, typer.Option("--tvs-load", help="Phones between reset and registration that ask one node's TVS first.")
    ] = 50,
    failures: Annotated[
        float, typer.Option("--failures", help="Share of a wave that may fail; one more halts the campaign.")
    ] = 0.1,
    in_use: Annotated[str, typer.Option("--in-use", help="Phones in a call wait, or skip.")] = "wait",
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
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
) -> None:
    """Choose phones, foretell each, deal them out in waves, keep that. Nothing is reset, nothing changed anywhere.

    Phones that would strand are in the campaign, skipped, with the reason;
    once that is mended, `resume --retry` foretells them again and takes
    them along. With --scope or --site-scope the campaign changes option 150
    itself, wave by wave; the difference is shown now.
    """
    from trustbridge import eventloop
    from trustbridge.cli import migrateview, screen
    from trustbridge.cli.migrate import campaigns_at_hand, check_name
    from trustbridge.errors import SettingsError
    from trustbridge.migration import campaignplan
    from trustbridge.migration.campaignphone import PhoneState, Rule, Terms
    from trustbridge.migration.predictvalues import Forecast

    try:
        terms = Terms(
            in_use=Rule(in_use),
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
        rules = {Forecast.STRANDS: Rule(stranding), Forecast.UNKNOWN: Rule(unknown)}
    except ValueError as error:
        raise SettingsError(f"migrate plan: {error}") from None
    if Rule.WAIT in rules.values():
        raise SettingsError("--stranding and --unknown are skip or go: a prediction does not change by waiting")
    settings = campaignplan.CampaignSettings(
        campaignplan.Limits(resets_a_minute, under_way, failures, tvs_load), terms, phone_port
    )
    sites = tuple(_site(text, "--site-window", "WINDOW") for text in site_window or ())
    how = campaignplan.Waves(pilot, wave_size, grouping, tuple(window or ()), sites, pilot_site)
    check_name(name)
    if source == destination:
        raise SettingsError("source and destination are the same cluster")
    site_scopes = tuple(_site(text, "--site-scope", "SCOPE") for text in site_scope or ())
    server = None
    if scope or site_scopes:
        from trustbridge.migration.campaignoption150 import check_kind

        server = named_server(kea, dhcp_cluster, None, None, kea_user)
        check_kind(server)
    elif kea or dhcp_cluster:
        raise SettingsError("no scope is named", "Say which: --scope, --site-scope; see `trustbridge option150 show`.")
    selection = _selection(device_pool, model, subnet, phone, without, csv, registered)
    phones, foretold, seen = eventloop.run(
        _collected(source, destination, selection, sql, predicting, tuple(tftp_server or ()), phone_port)
    )
    left_out = {
        one: f"predicted: {what}: {why}"
        for one, (what, why) in foretold.phones.items()
        if rules.get(what, Rule.GO) is Rule.SKIP
    }
    waves = campaignplan.deal(phones, how, foretold=foretold.as_kept, left_out=left_out)
    scopes: list[NewScope] = []
    changes: list[Change] = []
    if server is not None:
        servers = tuple(tftp_server or foretold.servers)
        place = (str(server.kind), server.where, server.user)
        scopes = campaignplan.scopes_of(waves, place, servers, everywhere=scope or (), sites=site_scopes)
        scopes, changes = eventloop.run(_previewed(server, passwords(kea_password_file), scopes))
    with campaigns_at_hand() as campaigns:
        now = datetime.now(UTC)
        campaigns.record_clusters(seen)
        campaign = campaigns.create(
            name,
            source,
            destination,
            settings.as_json(),
            waves,
            state=PhoneState.PLANNED,
            now=now,
            skipped=PhoneState.SKIPPED,
            scopes=scopes,
        )
        if as_json:
            found = migrateview.campaign_json(
                campaign, campaigns.waves(campaign.id), campaigns.phones(campaign.id), campaigns.journal(campaign.id)
            )
            screen.print_json(found | {"option150": [change.record() | {"diff": change.diff} for change in changes]})
            return
    migrateview.show_plan(screen.console(), name, waves, foretold.words)
    for change in changes:
        before, after = change.before, change.after
        typer.echo(f"{change.place}, {before.name}: option 150 from {before.words} to {after.words}")
        typer.echo(change.diff, nl=False)
    if changes:
        typer.echo(f"The campaign makes these changes when their waves begin: trustbridge migrate start {name}")
    else:
        typer.echo(f"Point DHCP option 150 at {destination}, then: trustbridge migrate start {name} --option150-done")


async def _collected(
    source: str,
    destination: str,
    selection: Selection,
    sql: str,
    predicting: bool,
    servers: tuple[str, ...],
    page_port: int,
) -> tuple[Sequence[PhoneFacts], Foretold, list[ClusterRecord]]:
    """The phones that are meant, what becomes of them, and what the clusters are."""
    from dataclasses import replace

    from trustbridge.cli import screen
    from trustbridge.cli.opened import opened
    from trustbridge.migration.campaignforecast import Foretold, foretell
    from trustbridge.migration.campaignplan import select
    from trustbridge.migration.phonecollect import collect_phones

    async with opened([source, destination]) as clusters:
        here, there = clusters[source], clusters[destination]
        with screen.progress("Reading phones") as told:
            if sql:
                from trustbridge.migration.devices import names_of

                listed = frozenset(one.upper() for one in names_of(await here.sql(sql)))
                both = listed if selection.listed is None else listed & selection.listed
                selection = replace(selection, listed=both)
            known = await collect_phones(here, pages=False, configurations="none", progress=told)
            phones = select(known, selection)
            foretold = Foretold()
            if predicting:
                names = {one.name for one in phones}
                foretold = await foretell(
                    here,
                    there,
                    names,
                    now=datetime.now(UTC),
                    servers=servers,
                    page_port=page_port,
                    progress=told,
                )
                phones = [foretold.facts.get(one.name, one) for one in phones]
        return phones, foretold, [await _seen(one) for one in (here, there)]


async def _seen(cluster: Cluster) -> ClusterRecord:
    from trustbridge.errors import TrustbridgeError
    from trustbridge.storage.campaignrecords import ClusterRecord

    try:
        release = str(await cluster.release())
    except TrustbridgeError:  # for the record only: what it is needed for, asks again
        release = ""
    nodes = tuple(node.name for node in await cluster.nodes())
    return ClusterRecord(cluster.name, release, nodes, datetime.now(UTC))


async def _previewed(
    server: Server, password: Password, scopes: Sequence[NewScope]
) -> tuple[list[NewScope], list[Change]]:
    """Scopes by the names that their server has for them, and what will be changed."""
    from dataclasses import replace

    from trustbridge.dhcp.scope import find_scope
    from trustbridge.errors import SettingsError

    async with opened_provider(server, password) as provider:
        there = await provider.read()
        found = [replace(one, scope=find_scope(there, one.scope).name) for one in scopes]
        if len({one.scope for one in found}) < len(found):
            raise SettingsError("a scope is named twice, by its name and by its subnet", "Name it once.")
        return found, [provider.preview(find_scope(there, one.scope), one.servers) for one in found]


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


def _site(text: str, option: str, what: str) -> tuple[str, str]:
    from trustbridge.errors import SettingsError

    pattern, sign, value = text.partition("=")
    if not sign or not value:
        raise SettingsError(f"{option} {text}: DEVICE-POOL={what} is expected")
    return pattern, value


def leave_stranding(rule: str, foretold: Mapping[str, str]) -> frozenset[str]:
    """Phones that stay, by the rule for those that are predicted to strand: skip, or go.

    Raises:
        SettingsError: it is neither.
    """
    from trustbridge.errors import SettingsError

    if rule not in ("skip", "go"):
        raise SettingsError(f"--stranding {rule}: skip or go is expected")
    return frozenset(foretold) if rule == "skip" else frozenset()
