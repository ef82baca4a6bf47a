"""`trustbridge diagnose`: where one phone stands, why, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.errors import SettingsError, TrustbridgeError

if TYPE_CHECKING:
    from datetime import datetime

    from trustbridge.migration.diagnoseseen import CampaignSeen, NotSeen, PhoneSeen

#: Something has to be done for the phone, or what becomes of it is not known.
TO_DO = 1


def diagnose(
    phone: Annotated[str, typer.Argument(metavar="PHONE", help="SEP and the MAC address, or the MAC address alone.")],
    source: Annotated[
        str | None, typer.Option("--source", metavar="NAME", help="The cluster that the phone is to leave.")
    ] = None,
    destination: Annotated[
        str | None, typer.Option("--destination", metavar="NAME", help="The cluster that it is to join.")
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(
            "--server",
            metavar="NODE",
            help="TFTP server that option 150 will name; may be repeated, in order. Else what the phone was given, "
            "where that is the destination's, else two nodes that serve an ITL.",
        ),
    ] = None,
    lists: Annotated[
        Path | None,
        typer.Option("--lists", metavar="FOLDER", help="More trust lists (*.tlv) that it may hold: older, others'."),
    ] = None,
    auto_registration: Annotated[
        bool | None,
        typer.Option(
            "--auto-registration/--no-auto-registration",
            help="Whether the destination registers phones nobody created there.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
    page_port: Annotated[
        int, typer.Option("--page-port", min=1, max=65535, help="Port of the phone's web pages; a lab may shift it.")
    ] = 80,
) -> None:
    """Tell of one phone where it stands, why, and what to do, from everything that can be seen.

    Asks RisPort70 and the database of every cluster in the inventory (or of
    the two that are named), the phone's own page, TFTP servers for what
    they would give it, its TVS for the signers of both clusters, and the
    campaigns that have it; then runs the phone's own decision procedure over
    that, and shows how it goes. What can't be seen is told, with what would
    have to be opened. Changes nothing.

    Which move is meant is known from --source and --destination, or from the
    campaign; between two clusters without either, both ways are told.

    Exit code 0 means that the phone has moved, or would move, or is where it
    is to be; 1 that something has to be done, or that too little was seen.
    """
    from datetime import UTC, datetime

    from trustbridge import eventloop
    from trustbridge.cli import diagnoseview, screen
    from trustbridge.cli.predict import lists_in
    from trustbridge.migration.diagnose import diagnose as judge
    from trustbridge.migration.diagnosephone import device_name
    from trustbridge.migration.goals import pairs_of

    name = device_name(phone)
    if (source is None) != (destination is None):
        raise SettingsError("a move has two ends", "Name both --source and --destination, or neither.")
    pair = None if source is None or destination is None else (source, destination)
    if pair is not None:
        pairs_of(pair)  # two different ones
    known = [] if lists is None else lists_in(lists)
    now = datetime.now(UTC)
    campaigns, unread = _campaigns_of(name, pair)
    seen = eventloop.run(
        _collected(name, pair, campaigns, unread, now, server or [], known, auto_registration, page_port)
    )
    diagnosis = judge(seen, now)
    if as_json:
        screen.print_json(diagnoseview.as_json(diagnosis))
    else:
        diagnoseview.show(screen.console(), diagnosis)
    if not diagnosis.well:
        raise typer.Exit(TO_DO)


def _campaigns_of(phone: str, pair: tuple[str, str] | None) -> tuple[list[CampaignSeen], list[NotSeen]]:
    """Campaigns that have the phone, those between the named clusters first; where there is no database, none."""
    from trustbridge import settings
    from trustbridge.migration.diagnosephone import seen_in
    from trustbridge.migration.diagnoseseen import NotSeen
    from trustbridge.storage.campaigns import Campaigns
    from trustbridge.storage.database import FILE, open_database, upgrade_to_head

    found = settings.load()
    if not found.database_url and not (found.state_folder / FILE).exists():
        return [], []
    try:
        engine = open_database(found.database_url, found.state_folder)
        try:
            upgrade_to_head(engine)
            return seen_in(Campaigns(engine, "diagnose"), phone, pair), []
        finally:
            engine.dispose()
    except TrustbridgeError as error:
        return [], [NotSeen("database of campaigns", "campaigns that have it", error.message, error.hint)]


async def _collected(
    phone: str,
    pair: tuple[str, str] | None,
    campaigns: list[CampaignSeen],
    unread: list[NotSeen],
    now: datetime,
    servers: list[str],
    known: list[bytes],
    auto_registration: bool | None,
    page_port: int,
) -> PhoneSeen:
    from dataclasses import replace

    from trustbridge.cli import screen
    from trustbridge.cli.opened import opened, state_folder
    from trustbridge.migration.diagnosecollect import collect_diagnosis
    from trustbridge.storage.inventory import Inventory

    names = pair or tuple(Inventory(state_folder()).all())
    if not names:
        raise SettingsError("there is no cluster in the inventory", "Add them: trustbridge cluster add --help")
    async with opened(names) as clusters:
        with screen.progress(f"Looking at {phone}") as progress:
            seen = await collect_diagnosis(
                phone,
                clusters,
                now=now,
                pair=pair,
                campaigns=campaigns,
                servers=servers,
                known_lists=known,
                auto_registration=auto_registration,
                progress=progress,
                page_port=page_port,
            )
    return replace(seen, not_seen=(*seen.not_seen, *unread))
