"""What `trustbridge migrate` does beside telling the database: check, foretell, and be a worker."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from trustbridge.migration.campaignforecast import Foretold
    from trustbridge.migration.check import Checked
    from trustbridge.storage.campaignrecords import CampaignRecord
    from trustbridge.storage.campaignwork import CampaignWork


def checked(source: str, destination: str, accepted: Collection[str], *, quiet: bool) -> None:
    """Check the clusters once more, without the phones' pages; what stops the move is shown.

    Args:
        accepted: ids of findings that somebody goes on with.

    Raises:
        NotNow: something stops it that nobody has accepted.
    """
    from trustbridge import eventloop
    from trustbridge.cli import screen
    from trustbridge.cli.findingview import show_findings
    from trustbridge.migration.campaignacts import refuse_stops
    from trustbridge.migration.findings import Severity

    found: Checked = eventloop.run(_looked(source, destination))
    stops = found.of(Severity.STOP)
    if stops and not quiet:
        show_findings(screen.console(stderr=True), stops, accepted)
    refuse_stops(found, accepted)
    if found.essential and not quiet:
        gaps = "; ".join(f"{gap.where}: {gap.what}" for gap in found.essential[:3])
        typer.echo(f"Not known, though it decides: {gaps}. See: trustbridge check {source} {destination}", err=True)


async def _looked(source: str, destination: str) -> Checked:
    from trustbridge.cli import screen
    from trustbridge.cli.opened import opened
    from trustbridge.migration.campaignacts import looked

    async with opened((source, destination)) as clusters:
        with screen.progress("Checking") as progress:
            return await looked(clusters[source], clusters[destination], now=datetime.now(UTC), progress=progress)


async def foretold(campaign: CampaignRecord, names: Collection[str], *, back: bool) -> Foretold:
    """What becomes of a campaign's phones that go on, or back, now."""
    from trustbridge.cli import screen
    from trustbridge.cli.opened import opened
    from trustbridge.migration.campaignacts import foretold_again

    async with opened((campaign.source, campaign.destination)) as clusters:
        with screen.progress("Predicting") as progress:
            return await foretold_again(campaign, clusters, names, back=back, now=datetime.now(UTC), progress=progress)


def work(campaigns: CampaignWork, name: str, kea_password_file: Path | None, *, quiet: bool) -> bool:
    """Be a worker until there is nothing left to do; True when somebody stopped it."""
    from trustbridge import eventloop
    from trustbridge.migration.campaignplan import CampaignSettings

    campaign = campaigns.get(name)
    settings = CampaignSettings.from_json(campaign.settings)
    return eventloop.run(_run(campaigns, campaign, settings.phone_port, kea_password_file, quiet=quiet))


async def _run(
    campaigns: CampaignWork, campaign: CampaignRecord, phone_port: int, kea_password_file: Path | None, *, quiet: bool
) -> bool:
    import asyncio
    import signal

    from trustbridge.cli import migrateview, screen
    from trustbridge.cli.dhcpserver import opened_provider, passwords
    from trustbridge.cli.opened import opened
    from trustbridge.migration.campaignoption150 import Option150
    from trustbridge.migration.campaignplan import CampaignSettings
    from trustbridge.migration.campaignrun import Watcher, Worker
    from trustbridge.migration.campaignsite import Site

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    states: dict[str, Any] = {phone.name: phone.kind for phone in campaigns.phones(campaign.id)}
    resting = sum(kind not in ("held", "under way") for kind in states.values())
    password = passwords(kea_password_file)

    async with opened([campaign.source, campaign.destination]) as clusters:
        with screen.progress(campaign.name, shown=not quiet) as told:

            def moved(phone: Any) -> None:
                nonlocal resting
                before, states[phone.name] = states[phone.name], phone.kind
                resting += (phone.kind not in ("held", "under way")) - (before not in ("held", "under way"))
                told(f"{phone.name}: {migrateview.state_of(phone)}", resting, len(states))

            watcher = Watcher(moved=moved, noted=lambda words: typer.echo(words, err=True))
            option150 = Option150(campaigns, lambda server: opened_provider(server, password), noted=watcher.noted)
            for number in (signal.SIGINT, signal.SIGTERM):
                with _no_signals():
                    loop.add_signal_handler(number, stop.set)
            try:
                async with Site.opened(
                    clusters[campaign.source],
                    clusters[campaign.destination],
                    phone_port=phone_port,
                    settle=CampaignSettings.from_json(campaign.settings).terms.settle,
                    noted=watcher.noted,
                ) as site:
                    worker = Worker(campaigns, campaign.name, site, watcher=watcher, stop=stop, option150=option150)
                    await worker.run()
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
