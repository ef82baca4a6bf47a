"""What records of exchanges tell a check: which SFTP server was set on each cluster, as no publisher tells it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from trustbridge.migration.checkseen import SftpSet
from trustbridge.migration.exchangeplan import StepKind
from trustbridge.migration.exchangerecord import ExchangeRecord


def servers_set(records: Iterable[ExchangeRecord]) -> dict[str, SftpSet]:
    """The server that was set last on each cluster, of those steps that were done."""
    found: dict[str, SftpSet] = {}
    for record in records:
        if record.plan.sftp is None:
            continue
        steps = {step.key: step.cluster for step in record.plan.steps if step.kind is StepKind.SFTP}
        for event in record.events:
            cluster = steps.get(str(event.get("step", "")))
            if cluster is None or event["event"] != "step done":
                continue
            at = datetime.fromisoformat(event["at"])
            if cluster not in found or found[cluster].at <= at:
                found[cluster] = SftpSet(str(record.plan.sftp), record.name, at)
    return found
