"""The exchange of a rehearsal: first too early, to see it refused; then as `trustbridge exchange run` does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from trustbridge.cucm.access import HOST_KEYS
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import Write
from trustbridge.errors import NotNow, Refused
from trustbridge.eventloop import together
from trustbridge.exchange.directory import SftpSettings, open_sftp
from trustbridge.exchange.hostkeys import HostKeyPins
from trustbridge.exchange.manifest import Contents, contents
from trustbridge.exchange.sftp import SftpDirectory
from trustbridge.migration.exchangeplan import ExchangePlan, Method, Step, plan_exchange
from trustbridge.migration.exchangerecord import ExchangeRecord, SftpAddress, free_name
from trustbridge.migration.exchangerun import Exchange
from trustbridge.migration.survey import ClusterSurvey, survey
from trustbridge.pki.units import BulkType, Store

#: Phones restart while certificates are imported, from 12.5 on: in a rehearsal that is meant.
_ACCEPTED: Final = frozenset({"TB145"})


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What an exchange came to.

    Attributes:
        bulk_types: types that all clusters' bulk commands know.
        bundles: what lies on the SFTP server; None where certificates travelled one by one.
        meant: how many certificates were to be added, by cluster.
        imported: how many were, by cluster and store.
    """

    bulk_types: tuple[BulkType, ...]
    bundles: Contents | None
    meant: Mapping[str, int]
    imported: Mapping[str, Mapping[Store, int]]


class RehearsedExchange:
    """One exchange.

    Args:
        sftp: where publishers exchange; its directory is this rehearsal's own.
        state: folder for pins and the record.
        note: told what was done.
    """

    def __init__(self, sftp: SftpSettings, state: Path, note: Callable[[str], None]) -> None:
        self._sftp = sftp
        self._state = state
        self._told = note
        self._record: ExchangeRecord | None = None

    def wrote(self, write: Write) -> None:
        """Keep a change in the record, once there is one: clusters are opened with it."""
        if self._record is not None:
            self._record.wrote(write, _now())

    async def consolidate_too_early(self, cluster: Cluster) -> tuple[bool, str]:
        """Export from one cluster and consolidate at once: whether that was refused, and what was said.

        What it left on the SFTP server is removed: bundles of an earlier try would be consolidated, too (TB146).
        """
        await cluster.configure_bulk(self._sftp)
        exported = await cluster.bulk_export()
        failed = [line.text for line in exported if not line.succeeded]
        if failed:
            raise Refused(f"{cluster.name} (command line): bulk export: {failed[0]}")
        try:
            lines = await cluster.bulk_consolidate()
            refused, said = not any(line.succeeded for line in lines), "; ".join(line.text for line in lines)
        except (Refused, NotNow) as error:
            refused, said = True, error.message
        async with self._directory() as directory:
            for file in await directory.list():
                await directory.remove(file.name)
        self._told("the SFTP server's directory is empty again: old bundles would be consolidated with the others")
        return refused, said or "nothing was said"

    async def run(self, clusters: Sequence[Cluster]) -> Exchanged:
        """Survey, plan, do. The first cluster consolidates.

        Raises:
            NotNow: a finding stops it.
            TrustbridgeError: a step came to nothing.
        """
        by_name = {cluster.name: cluster for cluster in clusters}
        found = await together(*(survey(cluster, capf_trust=True) for cluster in clusters))
        surveys = {one.name: one for one in found}
        plan = await self._plan(surveys)
        self._told(plan.why)
        address = SftpAddress(self._sftp.host, self._sftp.port, self._sftp.username, self._sftp.directory)
        folder = self._state / "exchanges"
        record = ExchangeRecord.begin(
            folder / free_name(folder, plan.clusters), plan, address if plan.sftp else None, _now()
        )
        with record.locked():
            watcher = _Told(self._told)
            exchange = Exchange(record, by_name, clock=_now, sftp=self._sftp, surveys=surveys, watcher=watcher)
            self._record = record
            try:
                await exchange.run()
            finally:
                self._record = None
        bundles = None
        if plan.method is Method.BULK:
            async with self._directory() as directory:
                bundles = await contents(directory)
        return Exchanged(
            bulk_types=tuple(
                kind for kind in plan.types if all(kind in one.abilities.bulk_types for one in surveys.values())
            ),
            bundles=bundles,
            meant={name: sum(goal.importer == name for goal in plan.missing) for name in by_name},
            imported={
                name: Counter(one.store for one in record.additions() if one.cluster == name and not one.gone)
                for name in by_name
            },
        )

    async def _plan(self, surveys: Mapping[str, ClusterSurvey]) -> ExchangePlan:
        async with self._directory() as directory:
            lying = tuple(file.name for file in await directory.list())
        one, other = surveys
        plan = plan_exchange(
            surveys,
            [(one, other)],
            tuple(BulkType),
            now=_now(),
            accepted=_ACCEPTED,
            sftp=self._sftp.describe(),
            lying=lying,
        )
        if plan.blocking:
            first = plan.blocking[0]
            raise NotNow(f"the exchange does not begin: {first.id} ({first.subject}): {first.evidence}", first.remedy)
        return plan

    @asynccontextmanager
    async def _directory(self) -> AsyncIterator[SftpDirectory]:
        async with open_sftp(self._sftp, HostKeyPins(self._state / HOST_KEYS)) as directory:
            yield directory


class _Told:
    """An exchange's steps as notes."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.note = note

    def step(self, step: Step, state: str) -> None:
        """A step is done."""
        if state == "done":
            self.note(f"{step.cluster}: {step.words}")


def _now() -> datetime:
    return datetime.now(UTC)
