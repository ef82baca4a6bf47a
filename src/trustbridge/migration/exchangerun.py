"""An exchange carried out, step by step, so that it may be killed anywhere and started again.

Before a step changes a store, what the store holds is written down; afterwards, what has come since. A step that was
cut off between the two looks at the store again: what is there already is not done a second time, and counts as this
exchange's if it was not there before. So the record always tells what has to be taken back, and no more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.clusterreads import ClusterReads
from trustbridge.cucm.model import BulkLine, TrustedCertificate
from trustbridge.errors import NotNow, Refused, SettingsError, TrustbridgeError
from trustbridge.exchange.directory import SftpSettings
from trustbridge.migration.exchangeplan import Step, StepKind
from trustbridge.migration.exchangerecord import Addition, Clock, ExchangeRecord, Held
from trustbridge.migration.goals import Goal
from trustbridge.migration.survey import ClusterSurvey
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import BulkType, Store

TVS_SERVICE: Final = "Cisco Trust Verification Service"
#: Steps that change trust stores.
CHANGING: Final = (StepKind.AUTHORITIES, StepKind.IMPORT, StepKind.UPLOAD)
#: Nodes of one cluster whose CAPF-trust is written at the same time.
_AT_ONCE: Final = 8


class Watcher(Protocol):
    """Who looks on."""

    def step(self, step: Step, state: str) -> None:
        """A step is `begun`, `done`, `done before` or `failed`."""

    def note(self, text: str) -> None:
        """Something worth saying came up."""


class Unwatched:
    """Nobody looks on."""

    def step(self, step: Step, state: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class Exchange:
    """One exchange that is being carried out, or taken back.

    Args:
        record: of it; locked by the caller.
        clusters: opened, by name.
        sftp: the SFTP server with its password, where the plan uses one.
        surveys: what was read for the plan just now, which need not be read again; none where the exchange goes on.
    """

    def __init__(
        self,
        record: ExchangeRecord,
        clusters: Mapping[str, Cluster],
        *,
        clock: Clock,
        sftp: SftpSettings | None = None,
        surveys: Mapping[str, ClusterSurvey] | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.record = record
        self._clusters = clusters
        self._clock = clock
        self._sftp = sftp
        self._surveys = dict(surveys or {})
        self._watcher = watcher or Unwatched()
        #: By cluster, what this exchange means to bring to its stores.
        self._meant: dict[str, set[tuple[Store, Certificate]]] = defaultdict(set)
        for goal in record.plan.goals:
            self._meant[goal.importer].add((goal.store, goal.certificate))

    async def run(self) -> None:
        """Do what is left to do. Steps of one kind run on all clusters at once; the next kind waits for all of them.

        Raises:
            NotNow: the exchange has been undone, or is being.
            SettingsError: a cluster or the SFTP server is missing.
            TrustbridgeError: a step came to nothing; what was done is recorded, and running again goes on from there.
        """
        plan = self.record.plan
        if self.record.undoing:
            raise NotNow(f"{self.record.name} is {self.record.state}", "Begin another one: trustbridge exchange run.")
        missing = [name for name in plan.clusters if name not in self._clusters]
        if missing:
            raise SettingsError(f"the exchange {self.record.name} needs {', '.join(missing)}, too")
        if self.record.finished:
            return
        for kind in dict.fromkeys(step.kind for step in plan.steps):
            await to_their_end(self._step(step) for step in plan.steps if step.kind is kind)
        self.record.append("finished", self._clock())

    async def _step(self, step: Step) -> None:
        if self.record.has("step done", step):
            self._watcher.step(step, "done before")
            return
        self._watcher.step(step, "begun")
        self.record.append("step began", self._clock(), step=step.key)
        try:
            await self._do(step)
        except TrustbridgeError as error:
            self.record.append("step failed", self._clock(), step=step.key, error=error.message)
            self._watcher.step(step, "failed")
            raise
        self.record.append("step done", self._clock(), step=step.key)
        self._watcher.step(step, "done")

    async def _do(self, step: Step) -> None:
        cluster = self._clusters[step.cluster]
        match step.kind:
            case StepKind.SFTP:
                if self._sftp is None:
                    raise SettingsError("the exchange goes over an SFTP server, and there is no password for it")
                await cluster.configure_bulk(self._sftp)
            case StepKind.EXPORT:
                self._check(step, await cluster.bulk_export(await self._types()))
            case StepKind.CONSOLIDATE:
                self._check(step, await cluster.bulk_consolidate(await self._types()))
            case StepKind.IMPORT:
                await self._import(step, cluster)
            case StepKind.AUTHORITIES | StepKind.UPLOAD:
                await self._upload(step, cluster)
            case StepKind.RESTART_TVS:
                for node in await cluster.nodes():
                    await cluster.restart_service(node.name, TVS_SERVICE)

    async def _types(self) -> tuple[BulkType, ...]:
        """The types that every cluster's bulk commands know: what one does not, nobody finds consolidated."""
        known = [(await cluster.abilities()).bulk_types for cluster in self._clusters.values()]
        return tuple(kind for kind in self.record.plan.types if all(kind in types for types in known))

    def _check(self, step: Step, lines: Sequence[BulkLine]) -> None:
        self.record.append("said", self._clock(), step=step.key, lines=[line.text for line in lines])
        failed = [line.text for line in lines if not line.succeeded]
        if failed:
            raise Refused(
                f"{step.cluster} (command line): bulk {step.kind}: {'; '.join(failed)[:400]}",
                "See what it says; running the exchange again goes on from here. --by certificates goes without bulk.",
            )

    # Imports.

    async def _import(self, step: Step, cluster: Cluster) -> None:
        goals = self.record.plan.goals_of(step)
        publisher = (await cluster.publisher()).name
        before = self.record.before(step, "")
        if before is None:
            surveyed = self._surveys.get(cluster.name)
            # What was read for the plan need not be read again: nothing of this exchange has touched a store since.
            before = self._keep_before(step, "", surveyed.trusted if surveyed else await cluster.trusted(publisher))
        else:
            held = await cluster.trusted(publisher)
            self._settle(step, "", before, held)
            if not absent(goals, held):
                return
        lines = await cluster.bulk_import(await self._types())
        held = await cluster.trusted(publisher)
        self._settle(step, "", before, held)
        self._check(step, lines)
        self._all_there(step, absent(goals, held))

    # Certificate by certificate.

    async def _upload(self, step: Step, cluster: Cluster) -> None:
        by_node: dict[str, list[Goal]] = defaultdict(list)
        for goal in self.record.plan.goals_of(step):
            by_node[goal.node].append(goal)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def to_node(place: str, goals: Sequence[Goal]) -> None:
            async with gate:
                await self._upload_to(step, cluster, place, goals)

        await to_their_end(to_node(place, goals) for place, goals in by_node.items())

    async def _upload_to(self, step: Step, cluster: Cluster, place: str, goals: Sequence[Goal]) -> None:
        stores = tuple(dict.fromkeys(goal.store for goal in goals))
        before = self.record.before(step, place)
        surveyed = self._surveys.get(cluster.name)
        if before is None and place and surveyed is not None and place in surveyed.capf_trust:
            # Read for the plan just now, and no step before this one touches it.
            held = [TrustedCertificate(place, Store.CAPF_TRUST, one) for one in surveyed.capf_trust[place]]
        else:
            held = await stores_of(cluster, place, stores)
        if before is None:
            before = self._keep_before(step, place, held)
        else:
            self._settle(step, place, before, held)
        missing: dict[Store, list[Certificate]] = defaultdict(list)
        for goal in absent(goals, held):
            missing[goal.store].append(goal.certificate)
        if not missing:
            return
        node = place or (await cluster.publisher()).name
        for store, certificates in missing.items():
            await cluster.upload_trust(node, store, certificates)
        held = await stores_of(cluster, place, stores)
        self._settle(step, place, before, held)
        self._all_there(step, absent(goals, held))

    # What has come of it.

    async def settle(self) -> None:
        """Record what steps that were cut off have brought about. Reads only."""
        for step in self.record.plan.steps:
            if step.kind in CHANGING and not self.record.has("step done", step):
                for place, before in self.record.befores(step):
                    stores = tuple(
                        {Store(store) for store, _ in before}
                        | {goal.store for goal in self.record.plan.goals_of(step) if goal.node == place}
                    )
                    held = await stores_of(self._clusters[step.cluster], place, stores)
                    self._settle(step, place, before, held)

    def _keep_before(self, step: Step, place: str, held: Iterable[TrustedCertificate]) -> Held:
        entries = sorted((str(one.store), one.certificate.sha256) for one in held)
        self.record.append("before", self._clock(), step=step.key, node=place, held=entries)
        return frozenset(entries)

    def _settle(self, step: Step, place: str, before: Held, held: Iterable[TrustedCertificate]) -> None:
        """Record what has come since `before`, and what had to make way, as far as this exchange means it."""
        plan = self.record.plan
        there = {(one.store, one.certificate) for one in held}
        meant = self._meant[step.cluster]
        found: dict[Addition, None] = {}
        for store, certificate in sorted(there, key=lambda one: (one[0], one[1].subject)):
            if (str(store), certificate.sha256) in before:
                continue
            if (store, certificate) in meant:
                found[Addition(step.cluster, place, store, certificate)] = None
            else:
                self._watcher.note(
                    f"{certificate.subject} came to {store} of {step.cluster} meanwhile: it is not of this exchange, "
                    "and stays out of its record"
                )
        for goal, pushed in plan.replaced:
            if goal.importer == step.cluster and goal.node == place and (goal.store, goal.certificate) in there:
                for certificate in pushed:
                    was = (str(goal.store), certificate.sha256) in before
                    if was and (goal.store, certificate) not in there:
                        found[Addition(step.cluster, place, goal.store, certificate, gone=True)] = None
        self.record.added([one for one in found if not self.record.tells_of(one)], self._clock())

    def _all_there(self, step: Step, lacking: Sequence[Goal]) -> None:
        if not lacking:
            return
        shown = "; ".join(map(str, lacking[:3])) + (f"; and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        raise Refused(
            f"{step.cluster}: {len(lacking)} certificates are not where they belong after {step.kind}: {shown}",
            "See what the stores hold under these names (TB140). What did arrive is recorded.",
        )


async def stores_of(cluster: ClusterReads, place: str, stores: Sequence[Store]) -> list[TrustedCertificate]:
    """What these stores of a node hold; `place` is its name, or "" for the publisher."""
    node = place or (await cluster.publisher()).name
    return [one for store in stores for one in await cluster.trusted(node, store)]


def absent(goals: Iterable[Goal], held: Iterable[TrustedCertificate]) -> list[Goal]:
    """The goals that these stores do not hold."""
    there = {(one.store, one.certificate) for one in held}
    return [goal for goal in goals if (goal.store, goal.certificate) not in there]


async def to_their_end(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Let each come to its end, whatever becomes of the others; then raise the first error, with the others' words.

    One cluster's trouble is no reason to cut another one off in the middle of a step.
    """
    failed = [one for one in await asyncio.gather(*work, return_exceptions=True) if isinstance(one, BaseException)]
    faults = [one for one in failed if not isinstance(one, TrustbridgeError)]
    if faults:
        raise faults[0]
    if failed:
        first = failed[0]
        others = dict.fromkeys(str(one) for one in failed if str(one) != str(first))
        if isinstance(first, TrustbridgeError) and others:
            first.message = f"{first.message}; and elsewhere: {'; '.join(others)}"
            first.args = (first.message,)
        raise first
