"""`trustbridge migrate plan`: phones chosen, foretold, dealt out in waves, and kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.cli.dhcpserver import KeaPassword, KeaUrl, KeaUser, named_server, opened_provider, passwords

if TYPE_CHECKING:
    from trustbridge.cli.dhcpserver import Password
    from trustbridge.migration.campaignprepare import Meant, Prepared

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
    from trustbridge.cli.migrate import campaigns_at_hand
    from trustbridge.migration.campaignprepare import Wish, create, meant

    server = None
    if scope or site_scope or kea or dhcp_cluster:
        server = named_server(kea, dhcp_cluster, None, None, kea_user)
    wish = Wish(
        name,
        source,
        destination,
        device_pools=tuple(device_pool or ()),
        models=tuple(model or ()),
        subnets=tuple(subnet or ()),
        phones=tuple(phone or ()),
        without=tuple(without or ()),
        listed=None if csv is None else _read(csv),
        sql=sql,
        registered=registered,
        pilot=pilot,
        pilot_site=pilot_site,
        wave_size=wave_size,
        by=by,
        windows=tuple(window or ()),
        site_windows=tuple(site_window or ()),
        server=server,
        scopes=tuple(scope or ()),
        site_scopes=tuple(site_scope or ()),
        tftp_servers=tuple(tftp_server or ()),
        predicting=predicting,
        stranding=stranding,
        unknown=unknown,
        resets_a_minute=resets_a_minute,
        under_way=under_way,
        tvs_load=tvs_load,
        failures=failures,
        in_use=in_use,
        unregistered=unregistered,
        unfit=unfit,
        unseen=unseen,
        longest_wait=longest_wait,
        restart=restart,
        settle=settle,
        look=look,
        lease=lease,
        doubt=doubt,
        phone_port=phone_port,
    )
    prepared = eventloop.run(_prepared(meant(wish), passwords(kea_password_file)))
    with campaigns_at_hand() as campaigns:
        campaign = create(campaigns, prepared, now=datetime.now(UTC))
        if as_json:
            found = migrateview.campaign_json(
                campaign, campaigns.waves(campaign.id), campaigns.phones(campaign.id), campaigns.journal(campaign.id)
            )
            changes = [dict(change.record) | {"diff": change.diff} for change in prepared.changes]
            screen.print_json(found | {"option150": changes})
            return
    migrateview.show_plan(screen.console(), name, prepared.waves, prepared.words)
    for change in prepared.changes:
        typer.echo(f"{change.place}, {change.scope}: option 150 from {change.before} to {change.after}")
        typer.echo(change.diff, nl=False)
    if prepared.changes:
        typer.echo(f"The campaign makes these changes when their waves begin: trustbridge migrate start {name}")
    else:
        typer.echo(f"Point DHCP option 150 at {destination}, then: trustbridge migrate start {name} --option150-done")


async def _prepared(wanted: Meant, password: Password) -> Prepared:
    from trustbridge.cli import screen
    from trustbridge.cli.opened import opened
    from trustbridge.migration.campaignprepare import prepare

    wish = wanted.wish
    async with opened([wish.source, wish.destination]) as clusters:
        with screen.progress("Reading phones") as told:
            return await prepare(
                clusters,
                wanted,
                lambda server: opened_provider(server, password),
                now=lambda: datetime.now(UTC),
                progress=told,
            )


def _read(csv: Path) -> str:
    from trustbridge.errors import SettingsError

    try:
        return csv.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"can't read {csv}: {getattr(error, 'strerror', None) or error}") from None
