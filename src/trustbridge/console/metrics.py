"""What Prometheus reads: counted since the start, and asked of the database when somebody reads it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from trustbridge import __version__
from trustbridge.errors import TrustbridgeError
from trustbridge.storage.database import reading
from trustbridge.storage.models import Campaign, CampaignPhone

if TYPE_CHECKING:
    from trustbridge.console.desk import Desk

log = logging.getLogger(__name__)
#: What `text` gives.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """Metrics of one server."""

    def __init__(self, desk: Desk) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "trustbridge_requests", "Answers", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "trustbridge_request_seconds", "Time to an answer", ("route",), buckets=_BUCKETS, registry=self._registry
        )
        self._registry.register(_Database(desk))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; `route` is the pattern, of which there are few."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)


class _Database(Collector):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def describe(self) -> list[Metric]:
        return []  # nothing is asked before somebody reads

    def collect(self) -> Iterator[Metric]:
        desk = self._desk
        info = GaugeMetricFamily("trustbridge_info", "The program", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        up = GaugeMetricFamily("trustbridge_database_up", "Whether the database answers")
        try:
            found = list(self._asked())
        except TrustbridgeError as error:
            log.warning("metrics without the database: %s", error)
            found = []
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
        yield up
        yield from found
        workers = GaugeMetricFamily("trustbridge_workers", "Workers of campaigns in this server")
        workers.add_metric([], desk.workers.at_work)
        yield workers
        streams = GaugeMetricFamily("trustbridge_live_streams", "Pages that refresh themselves")
        streams.add_metric([], desk.live.streams)
        yield streams

    def _asked(self) -> Iterator[Metric]:
        phones = GaugeMetricFamily("trustbridge_phones", "Phones", labels=["campaign", "state", "kind"])
        campaigns = GaugeMetricFamily("trustbridge_campaigns", "Campaigns", labels=["state"])
        with reading(self._desk.engine) as session:
            names = dict(session.execute(select(Campaign.id, Campaign.name)).all())
            columns = (CampaignPhone.campaign_id, CampaignPhone.state, CampaignPhone.kind)
            for campaign, state, kind, count in session.execute(select(*columns, func.count()).group_by(*columns)):
                phones.add_metric([names[campaign], state, kind], count)
            for state, count in session.execute(select(Campaign.state, func.count()).group_by(Campaign.state)):
                campaigns.add_metric([state], count)
        yield phones
        yield campaigns
        jobs = GaugeMetricFamily("trustbridge_jobs", "Long work", labels=["state"])
        for state, count in self._desk.jobs.table.counts().items():
            jobs.add_metric([state], count)
        yield jobs
