"""Exchanges for the console: planned, carried out, proven and taken back as jobs, by the code of the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from trustbridge.console.bulk import BulkDesk
from trustbridge.console.desk import Desk
from trustbridge.console.jobs import Told
from trustbridge.console.words import N_
from trustbridge.errors import NotNow
from trustbridge.exchange.directory import SftpSettings
from trustbridge.migration import exchangeundo
from trustbridge.migration.exchangeplan import Step, StepKind
from trustbridge.migration.exchangeprepare import (
    FOLDER,
    Recorder,
    Wanted,
    address_of,
    begin,
    interrupted,
    planned,
)
from trustbridge.migration.exchangerecord import ExchangeRecord, check_name, exchanges
from trustbridge.migration.exchangerun import Exchange, Unwatched
from trustbridge.migration.goals import pairs_of
from trustbridge.migration.proof import prove
from trustbridge.migration.proofcollect import collect
from trustbridge.storage.jobs import JobRecord

PLAN, RUN, UNDO, VERIFY = "exchange-plan", "exchange-run", "exchange-undo", "exchange-verify"
KINDS: Final = (PLAN, RUN, UNDO, VERIFY)


class _Watcher(Unwatched):
    """Steps as a job's progress."""

    def __init__(self, told: Told, total: int) -> None:
        self._told, self._total, self._done = told, total, 0

    def step(self, step: Step, state: str) -> None:
        if state != "begun":
            self._done += 1
        self._told(f"{step.cluster}: {step.words}", self._done, self._total)


class ExchangeDesk:
    """What the console does about exchanges."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._bulk = BulkDesk.of(desk)

    @property
    def folder(self) -> Path:
        """Where the records are."""
        return self._desk.state / FOLDER

    def records(self) -> list[ExchangeRecord]:
        """Every exchange, the newest first.

        Raises:
            SettingsError: a record can't be read.
        """
        return sorted(exchanges(self.folder), key=lambda one: one.plan.begun, reverse=True)

    def record(self, name: str) -> ExchangeRecord:
        """One of them.

        Raises:
            SettingsError: there is none of that name, or it can't be read.
        """
        return ExchangeRecord.read(self.folder / check_name(name))

    # Planning.

    def plan(self, asked: Mapping[str, Any], who: str) -> JobRecord:
        """Plan; nothing is changed. The job's result has `asked`, the `plan`, and `goes_on`: an interrupted exchange.

        Args:
            asked: as `wanted` takes it, and whether to use the SFTP server (`sftp`).

        Raises:
            SettingsError: what is asked makes no sense.
        """
        wanted = self._wanted(asked)

        async def work(told: Told) -> Any:
            server = await self._server(asked)
            seen: list[str] = []

            def read(node: str) -> None:
                seen.append(node)
                told(node, len(seen), 0)

            async with self._desk.opened(wanted.clusters) as clusters:
                made, _surveys = await planned(
                    wanted, clusters, server, self._bulk.pins(), now=self._desk.now(), progress=read
                )
            known = await asyncio.to_thread(interrupted, self.folder, wanted, None)
            return {"asked": dict(asked), "plan": made.as_json(), "goes_on": None if known is None else known.name}

        return self._start(PLAN, N_("Plan an exchange between %(clusters)s"), wanted.clusters, who, work)

    def _wanted(self, asked: Mapping[str, Any], accept: Sequence[str] = ()) -> Wanted:
        clusters = [str(name) for name in asked["clusters"]]
        self._bulk.known(clusters)
        into = asked.get("into") or None
        if into is not None:
            self._bulk.known([into])
        return Wanted(
            clusters,
            None,
            into,
            asked.get("types") or None,
            asked.get("method") or None,
            accept,
            capf_trust=bool(asked.get("capf_trust", True)),
            authorities=bool(asked.get("authorities", False)),
            restart_tvs=bool(asked.get("restart_tvs", False)),
        )

    async def _server(self, asked: Mapping[str, Any]) -> SftpSettings | None:
        return await asyncio.to_thread(self._bulk.servers.settings) if asked.get("sftp") else None

    # Carrying out.

    def run(self, found: Mapping[str, Any], accept: Sequence[str], who: str, name: str | None = None) -> JobRecord:
        """Carry out what was planned: planned anew, since something may have changed, and begun unless more stops it.

        Args:
            found: the result of a plan's job.
            accept: ids of findings whose consequence somebody accepts.
            name: what to call it.

        Raises:
            SettingsError, NotNow: it makes no sense, or one that stops it is not accepted.
        """
        wanted = self._wanted(found["asked"], accept)
        if name is not None:
            check_name(name)
        stops = [one["id"] for one in found["plan"]["findings"] if one["severity"] == "stop"]
        _refuse([one for one in stops if one not in wanted.accepted])

        async def work(told: Told) -> Any:
            server = await self._server(found["asked"])
            recorder = Recorder(self._desk.now)
            record = await asyncio.to_thread(interrupted, self.folder, wanted, name)
            async with self._desk.opened(wanted.clusters, recorder) as clusters:
                surveys = None
                if record is None:
                    told("reading the clusters", 0, 0)
                    made, surveys = await planned(wanted, clusters, server, self._bulk.pins(), now=self._desk.now())
                    _refuse([one.id for one in made.blocking])
                    if made.method != found["plan"]["method"]:
                        raise NotNow(
                            f"the exchange would go by {made.method} now, and {found['plan']['method']} was planned",
                            "Plan it again, and look at it.",
                        )
                    record = await asyncio.to_thread(begin, self.folder, name, wanted, made, server, self._desk.now())
                return await self._carry_out(record, recorder, clusters, server, surveys, told)

        return self._start(RUN, N_("Exchange between %(clusters)s"), wanted.clusters, who, work)

    def resume(self, name: str, who: str) -> JobRecord:
        """Go on with one that was interrupted.

        Raises:
            SettingsError: there is none of that name.
            NotNow: it is finished, or was taken back; or it went over another SFTP server than the one that is set.
        """
        record = self.record(name)
        if record.finished or record.undoing:
            raise NotNow(f"{name} is {record.state}", "Plan another one.")
        left = [one for one in record.plan.steps if not record.has("step done", one)]
        needs = record.plan.sftp if any(one.kind is StepKind.SFTP for one in left) else None

        async def work(told: Told) -> Any:
            server = None
            if needs is not None:
                server = await asyncio.to_thread(self._bulk.servers.settings)
                if address_of(server) != needs:
                    raise NotNow(f"{name} goes over {needs}, and another server is set", f"Save {needs} again.")
            recorder = Recorder(self._desk.now)
            async with self._desk.opened(record.plan.clusters, recorder) as clusters:
                return await self._carry_out(record, recorder, clusters, server, None, told)

        return self._start(RUN, N_("Exchange between %(clusters)s"), record.plan.clusters, who, work)

    async def _carry_out(
        self,
        record: ExchangeRecord,
        recorder: Recorder,
        clusters: Mapping[str, Any],
        server: SftpSettings | None,
        surveys: Any,
        told: Told,
    ) -> dict[str, Any]:
        async with _locked(record):
            recorder.record = record
            watcher = _Watcher(told, len(record.plan.steps))
            work = Exchange(record, clusters, clock=self._desk.now, sftp=server, surveys=surveys, watcher=watcher)
            await work.run()
        if self._bulk.servers.get() is not None:
            await self._bulk.fresh()
        return {"exchange": record.name, "state": record.state, "added": len(record.additions())}

    def undo(self, name: str, who: str) -> JobRecord:
        """Take one back.

        Raises:
            SettingsError: there is none of that name.
            NotNow: that is done already.
        """
        record = self.record(name)
        if record.undone:
            raise NotNow(f"{name} is taken back already")

        async def work(told: Told) -> Any:
            recorder = Recorder(self._desk.now, record)
            total = max(len(record.additions()), 1)

            def count() -> None:
                left = len(record.additions())
                told(f"{left} left", total - left, total)

            async with self._desk.opened(record.plan.clusters, recorder) as clusters, _locked(record):
                record.listeners.append(count)
                await exchangeundo.undo(record, clusters, clock=self._desk.now)
            return {"exchange": record.name, "state": record.state, "added": 0}

        return self._start(UNDO, N_("Take back the exchange between %(clusters)s"), record.plan.clusters, who, work)

    # Proving.

    def verify(self, clusters: Sequence[str], who: str, into: str | None = None) -> JobRecord:
        """Prove over TVS that phones will be told to trust. Changes nothing; the job's result is the proof.

        Raises:
            SettingsError: fewer than two clusters, or one that is not known.
        """
        self._bulk.known(clusters)
        pairs = pairs_of(clusters, into=into)

        async def work(told: Told) -> Any:
            async with self._desk.opened(dict.fromkeys(name for both in pairs for name in both)) as opened:
                found = await collect(opened, pairs, progress=told)
            return await asyncio.to_thread(lambda: prove(found, self._desk.now()).as_json())

        return self._start(VERIFY, N_("Prove the trust between %(clusters)s"), clusters, who, work, into=into or "")

    def job(self, number: int, *kinds: str) -> JobRecord | None:
        """A job of these kinds; None where there is none of that number."""
        found = self._desk.jobs.table.get(number)
        return found if found is not None and found.kind in kinds else None

    def _start(self, kind: str, title: str, clusters: Sequence[str], who: str, work: Any, **more: str) -> JobRecord:
        names = sorted(clusters)
        key = f"{'exchange' if kind in (RUN, UNDO) else kind}:{','.join(names)}"[:200]
        return self._desk.jobs.start(kind, title, who, work, values={"clusters": ", ".join(clusters), **more}, key=key)


@asynccontextmanager
async def _locked(record: ExchangeRecord) -> AsyncIterator[None]:
    """As `record.locked`, entered in a thread: another program may hold it for long, and the server goes on."""
    lock = record.locked()
    await asyncio.to_thread(lock.__enter__)
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _refuse(ids: Sequence[str]) -> None:
    if ids:
        raise NotNow(
            f"the exchange does not begin: {', '.join(dict.fromkeys(ids))}",
            "Resolve them, or plan again and say of each that its consequence is accepted.",
        )
