"""Bulk certificate management for the console: what is seen of the SFTP server, and the publishers' commands as jobs.

The directory is looked at when a page wants it, and after each job; pages show the last look, and when it was. Whoever
reads a page while it is old has another look begun, which the page then shows by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from trustbridge.console.desk import Desk
from trustbridge.console.jobs import Told
from trustbridge.console.words import N_
from trustbridge.cucm.access import HOST_KEYS
from trustbridge.cucm.cluster import Cluster
from trustbridge.errors import NotConfigured, NotNow, SettingsError, TrustbridgeError, Unreachable
from trustbridge.exchange.askingpins import AskingPins
from trustbridge.exchange.directory import open_sftp
from trustbridge.exchange.probe import Probed, probe
from trustbridge.migration import bulkcourse
from trustbridge.migration.bulklook import Look, Readiness, look, may_consolidate, may_import
from trustbridge.pki.units import BulkType, bulk_types
from trustbridge.storage.bulkserver import BulkServer, BulkServers
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.models import JobState

log = logging.getLogger(__name__)

#: Seconds that a look is shown without having another one begun.
FRESH: Final = 10.0
#: Seconds for the SFTP server to answer, while somebody waits for a page.
PATIENCE: Final = 6.0
#: Types that restart phones when they are imported, from release 12.5 on (TB145).
RESTARTING: Final = (BulkType.TFTP, BulkType.CAPF)

EXPORT, CONSOLIDATE, IMPORT = "export", "consolidate", "import"
ACTIONS: Final = (EXPORT, CONSOLIDATE, IMPORT)
#: What jobs are called: for all types, and for one.
_TITLES: Final = {
    EXPORT: (N_("Export from %(cluster)s, all types"), N_("Export from %(cluster)s, %(type)s")),
    CONSOLIDATE: (N_("Consolidate on %(cluster)s, all types"), N_("Consolidate on %(cluster)s, %(type)s")),
    IMPORT: (N_("Import into %(cluster)s, all types"), N_("Import into %(cluster)s, %(type)s")),
}
_COURSES: Final[Mapping[str, Callable[..., Awaitable[bulkcourse.Course]]]] = {
    EXPORT: bulkcourse.export,
    CONSOLIDATE: bulkcourse.consolidate,
    IMPORT: bulkcourse.import_,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The last look at the directory.

    Attributes:
        number: another one with each look.
        revision: of the settings it was looked at with.
        look: what was seen; of an earlier look, where the last one failed; None where there was none.
        problem: why the last look failed.
        tried: when, by the machine's own clock (seconds).
    """

    number: int
    revision: int
    look: Look | None
    problem: TrustbridgeError | None
    tried: float

    @property
    def fresh(self) -> bool:
        """Whether it was a moment ago."""
        return time.monotonic() - self.tried < FRESH


class BulkDesk:
    """What the console knows of bulk certificate management; one a desk: `BulkDesk.of(desk)`."""

    _all: Final[weakref.WeakKeyDictionary[Desk, BulkDesk]] = weakref.WeakKeyDictionary()

    def __init__(self, desk: Desk) -> None:
        # The other way round it would never go.
        self._ref = weakref.ref(desk)
        self.servers = BulkServers(desk.state)
        self.seen = Seen(0, 0, None, None, 0.0)
        self._looking: asyncio.Task[Seen] | None = None
        self._looks = itertools.count(1)

    @classmethod
    def of(cls, desk: Desk) -> BulkDesk:
        """A desk's."""
        if desk not in cls._all:
            cls._all[desk] = cls(desk)
        return cls._all[desk]

    @property
    def _desk(self) -> Desk:
        desk = self._ref()
        assert desk is not None  # requests and jobs have one
        return desk

    def pins(self, confirmed: str = "") -> AskingPins:
        """The pinned host keys; a new one only if it is the confirmed one."""
        return AskingPins(Path(self._desk.state) / HOST_KEYS, confirmed)

    # The directory.

    async def looked(self, *, again: bool = False) -> Seen:
        """The last look, for a page: the first one is waited for, and `again` another one."""
        server = await asyncio.to_thread(self.servers.get)
        if server is None:
            return Seen(self.seen.number, 0, None, None, self.seen.tried)
        known = self.seen.revision == server.revision
        if again or not known:
            return await self._look()
        if not self.seen.fresh:
            self._begin()
        return self.seen

    async def _look(self) -> Seen:
        return await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[Seen]:
        """Have a look begun, unless one is under way: several readers share it."""
        loop = asyncio.get_running_loop()
        task = self._looking
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._looking = loop.create_task(self._one_look(), name="bulk look")
        return task

    async def fresh(self) -> Look | None:
        """A look that begins now, whatever others do; None where the directory can't be looked at from here."""
        return (await self._one_look()).look

    async def _one_look(self) -> Seen:
        number, before, revision = next(self._looks), self.seen, 0
        found, problem = None, None
        try:
            server = await asyncio.to_thread(self.servers.get)
            revision = 0 if server is None else server.revision
            settings = await asyncio.to_thread(self.servers.settings)
            async with open_sftp(settings, self.pins(), timeout=PATIENCE) as directory:
                same = before.look if before.revision == revision else None
                found = await look(directory, now=self._desk.now(), before=same)
        except TrustbridgeError as error:
            problem = error
        except Exception as error:
            log.exception("the SFTP directory could not be looked at")
            problem = TrustbridgeError(f"trustbridge itself failed: {type(error).__name__}", "See the server's log.")
        seen = Seen(number, revision, found, problem, time.monotonic())
        if number > self.seen.number:  # one that began later knows better
            self.seen = seen
        return seen

    def readiness(self, action: str, types: Sequence[BulkType], seen: Seen) -> Readiness:
        """Whether an action can work now, as far as can be seen."""
        if seen.revision == 0 and seen.look is None and seen.problem is None:
            return Readiness(False, True, "no SFTP server is set", "Save the settings of one, then test it.")
        if seen.problem is not None and not isinstance(seen.problem, Unreachable):
            return Readiness(False, True, seen.problem.message, seen.problem.hint)
        if seen.look is None:
            why = seen.problem.message if seen.problem is not None else "nobody has looked at the server yet"
            return Readiness(
                True, False, f"this console can't look at the server: {why}", "The publishers may reach it."
            )
        if action == EXPORT:
            return Readiness(True)
        return (may_consolidate if action == CONSOLIDATE else may_import)(seen.look, types)

    def choices(self, action: str, seen: Seen) -> tuple[str, ...]:
        """Types that an action can work with now: "all" first."""
        return tuple(name for name in ("all", *BulkType) if self.readiness(action, bulk_types(name), seen).can)

    # The server.

    async def test(self, confirmed: str = "") -> Probed:
        """Log in with the saved settings, list, write, read and remove a file.

        Args:
            confirmed: the fingerprint of the host key that somebody has confirmed.

        Raises:
            UnknownHostKey: nobody has confirmed the key it shows; the password was not sent.
            TrustbridgeError: it does not work, and why.
        """
        settings = await asyncio.to_thread(self.servers.settings)
        found = await probe(settings, self.pins(confirmed))
        await self._look()
        return found

    def forget_key(self, server: BulkServer) -> bool:
        """Forget the pinned host key, so that the next one is asked about. False where none was pinned."""
        return self.pins().forget(server.host, server.port)

    # Jobs.

    def tell(self, clusters: Sequence[str], who: str) -> list[JobRecord]:
        """Have publishers told the saved settings; a job each."""
        self.known(clusters)
        if self.servers.get() is None:
            raise NotConfigured("no SFTP server is set", "Save the settings of one that every publisher reaches.")
        title = N_("SFTP settings of %(cluster)s")
        return self._each("bulk-configure", title, clusters, who, {}, self._tell)

    async def _tell(self, name: str, told: Told) -> Any:
        server = await asyncio.to_thread(self.servers.get)
        settings = await asyncio.to_thread(self.servers.settings)
        if server is None:
            raise NotConfigured("no SFTP server is set")
        told("the publisher is told its SFTP server", 0, 1)
        async with self._desk.opened([name]) as clusters:
            await clusters[name].configure_bulk(settings)
        await asyncio.to_thread(self.servers.tell, name, server.revision, self._desk.now())
        return {"cluster": name, "server": settings.describe()}

    def start(self, action: str, clusters: Sequence[str], kind: str, who: str, seen: Seen) -> list[JobRecord]:
        """Have publishers export, consolidate or import; a job each.

        Args:
            kind: "all" or a type.
            seen: the directory, a moment ago.

        Raises:
            SettingsError: a cluster or type is none; more than one to consolidate on.
            NotNow: it can't work now, or something of a cluster is under way.
        """
        self.known(clusters)
        types = bulk_types(kind)
        if action == CONSOLIDATE and len(clusters) != 1:
            raise SettingsError("one cluster consolidates for all", "Choose one.")
        ready = self.readiness(action, types, seen)
        if not ready.can:
            raise NotNow(ready.why, ready.hint)
        chosen = None if len(types) > 1 else types
        work = partial(self._run, action, chosen)
        title = _TITLES[action][0 if chosen is None else 1]
        return self._each(f"bulk-{action}", title, clusters, who, {"type": kind.lower()}, work)

    def known(self, clusters: Sequence[str]) -> None:
        """That there are such clusters, and one at the least.

        Raises:
            SettingsError: not so.
        """
        if not clusters:
            raise SettingsError("no cluster is chosen", "Choose at least one.")
        for name in clusters:
            self._desk.inventory.get(name)

    def _each(
        self,
        kind: str,
        title: str,
        clusters: Sequence[str],
        who: str,
        values: Mapping[str, str],
        work: Callable[[str, Told], Awaitable[Any]],
    ) -> list[JobRecord]:
        """A job a cluster; where one can't begin, those before it have."""
        begun: list[JobRecord] = []
        for name in dict.fromkeys(clusters):
            try:
                begun.append(
                    self._desk.jobs.start(
                        kind, title, who, partial(work, name), values={"cluster": name, **values}, key=key_of(name)
                    )
                )
            except TrustbridgeError as error:
                if begun:
                    names = ", ".join(str(one.values["cluster"]) for one in begun)
                    error.hint = f"{error.hint} Begun all the same: {names}."
                error.message = f"{name}: {error.message}"
                raise
        return begun

    async def _run(self, action: str, types: Sequence[BulkType] | None, name: str, told: Told) -> Any:
        async with self._desk.opened([name]) as clusters:
            cluster: Cluster = clusters[name]
            course = await _COURSES[action](cluster, types, self.fresh, told)
        failed = course.failed
        if failed is not None:
            await asyncio.to_thread(self._fail, key_of(name), course.as_json(), failed)
            raise failed
        return course.as_json()

    def _fail(self, key: str, result: Any, error: TrustbridgeError) -> None:
        """End the job of a key with what it came to all the same: the error alone would not say."""
        table = self._desk.jobs.table
        job = table.of_key(key)
        if job is not None:
            table.end(
                job.id, JobState.FAILED, now=self._desk.now(), result=result, error=error.message, hint=error.hint
            )

    def jobs(self) -> list[JobRecord]:
        """The newest job of each cluster of the inventory, newest first."""
        found = [self._desk.jobs.table.of_key(key_of(name)) for name in self._desk.inventory.all()]
        return sorted((one for one in found if one is not None), key=lambda one: -one.id)


def key_of(cluster: str) -> str:
    """One at a time of a cluster."""
    return f"bulk:{cluster}"
