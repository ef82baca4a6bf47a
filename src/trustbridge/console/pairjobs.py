"""Long work that is about no campaign: a pair of clusters checked, every phone predicted, one phone diagnosed.

Each is a job, by the same functions as the command line. Nothing is changed anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from trustbridge.console.campaignjobs import keep, known, two
from trustbridge.console.campaignlook import looks
from trustbridge.console.jobs import Told
from trustbridge.console.words import N_
from trustbridge.errors import SettingsError
from trustbridge.migration.check import check
from trustbridge.migration.checkcollect import observe
from trustbridge.migration.checkrecords import servers_set
from trustbridge.migration.diagnose import diagnose
from trustbridge.migration.diagnosecollect import collect_diagnosis
from trustbridge.migration.diagnosephone import seen_in
from trustbridge.migration.exchangerecord import exchanges
from trustbridge.migration.predict import Forecasts, predict
from trustbridge.migration.predictcollect import Collected, collect_prediction
from trustbridge.migration.predictviews import counted, sentence
from trustbridge.storage.jobs import JobRecord

if TYPE_CHECKING:
    from trustbridge.console.desk import Desk


def check_pair(desk: Desk, who: str, source: str, destination: str, *, pages: bool, emcc: bool, port: int) -> JobRecord:
    """Check a move between two clusters.

    Raises:
        SettingsError: they are one, or not known. NotNow: that runs already.
    """
    two(source, destination)
    known(desk, source, destination)

    async def work(told: Told) -> dict[str, Any]:
        try:
            sftp = servers_set(await asyncio.to_thread(exchanges, desk.state / "exchanges"))
        except SettingsError:  # a record that can't be read says nothing about phones: TB144 is not judged
            sftp = {}
        async with desk.opened([source, destination]) as clusters:
            seen = await observe(
                clusters[source], clusters[destination],
                pages=pages, emcc=emcc, sftp=sftp, progress=told, page_port=port,
            )  # fmt: skip
        return (await asyncio.to_thread(check, seen, desk.now())).as_json()

    return desk.jobs.start(
        "check", N_("Check of %(source)s to %(destination)s"), who, work,
        values={"source": source, "destination": destination}, key=f"check:{source}:{destination}",
    )  # fmt: skip


def predict_pair(
    desk: Desk, who: str, source: str, destination: str, *, servers: Collection[str], pages: bool,
    auto_registration: bool | None, port: int,
) -> JobRecord:  # fmt: skip
    """Predict every phone of the source.

    Raises:
        SettingsError: they are one, or not known. NotNow: that runs already.
    """
    two(source, destination)
    known(desk, source, destination)
    key = f"predict:{source}:{destination}"

    async def work(told: Told) -> dict[str, Any]:
        async with desk.opened([source, destination]) as clusters:
            seen = await collect_prediction(
                clusters[source], clusters[destination], now=desk.now(), pages=pages, servers=tuple(servers),
                auto_registration=auto_registration, progress=told, page_port=port,
            )  # fmt: skip
        forecasts = await asyncio.to_thread(predict, seen.estate, seen.world, progress=told)
        await asyncio.to_thread(keep, desk, key, looks(desk).predictions, _phones(forecasts, seen))
        return {
            "source": source,
            "destination": destination,
            "at": seen.world.now.isoformat(),
            "servers": [server.address for server in seen.world.servers],
            "all_move": forecasts.all_move,
            "sentence": sentence(forecasts),
            "counts": {str(forecast): count for forecast, count in forecasts.counts.items()},
            "classes": [
                {"count": count, "forecast": str(forecast), "finding": finding, "why": why}
                for count, forecast, finding, why in counted(forecasts)
            ],
            "not_seen": [
                {"where": gap.where, "what": gap.what, "why": gap.why, "essential": gap.essential} for gap in seen.gaps
            ],
        }

    return desk.jobs.start(
        "predict", N_("Prediction of %(source)s to %(destination)s"), who, work,
        values={"source": source, "destination": destination}, key=key,
    )  # fmt: skip


def _phones(forecasts: Forecasts, seen: Collected) -> list[list[str]]:
    """Name, model, device pool, forecast, finding and why of each: what its table shows."""
    return [
        [name, facts.model, facts.device_pool, str(one.forecast), one.finding, one.why(name)]
        for facts, (name, one) in zip(seen.facts, forecasts, strict=True)
    ]


def diagnose_phone(
    desk: Desk, who: str, phone: str, pair: tuple[str, str] | None, *, servers: Collection[str] = (), port: int = 80
) -> JobRecord:
    """Tell of one phone where it stands, and why.

    Args:
        phone: its name, as `device_name` gives it.
        pair: source and destination of the move that is meant; None: the campaign's, or any.

    Raises:
        SettingsError: clusters are not known, or there are none. NotNow: that runs already.
    """
    if pair is not None:
        two(*pair)
        known(desk, *pair)
    names = pair or tuple(desk.inventory.all())
    if not names:
        raise SettingsError("there is no cluster in the inventory", "Add them first.")

    async def work(told: Told) -> dict[str, Any]:
        campaigns = await asyncio.to_thread(seen_in, desk.campaigns, phone, pair)
        async with desk.opened(names) as clusters:
            seen = await collect_diagnosis(
                phone, clusters, now=desk.now(), pair=pair, campaigns=campaigns, servers=tuple(servers),
                progress=told, page_port=port,
            )  # fmt: skip
        return (await asyncio.to_thread(diagnose, seen, desk.now())).as_json()

    return desk.jobs.start(
        "diagnose", N_("Diagnosis of %(phone)s"), who, work, values={"phone": phone}, key=f"diagnose:{phone}"
    )
