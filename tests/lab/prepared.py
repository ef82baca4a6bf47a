"""Labs for tests: two clusters of two nodes whose keys are made once, at addresses of this test run's own.

`Prepared.lab(folder, ...)` copies the keys and describes the rest anew, so a test has any lab it wants in some
milliseconds. `LiveLab` runs one in an event loop of its own thread: programs can be started beside it.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import shutil
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
from tests.lab.own import RUN as RUN
from tests.lab.own import SHIFT as SHIFT

from trustbridge import atomicfile
from trustbridge.lab import founding
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.definition import (
    ClusterDefinition,
    LabDefinition,
    NetworkDefinition,
    NodeDefinition,
    PhonesDefinition,
)
from trustbridge.lab.lab import Lab
from trustbridge.lab.node import Node
from trustbridge.lab.phone import LabPhone
from trustbridge.lab.ports import Ports
from trustbridge.pki.issue import Identity
from trustbridge.pki.units import BulkType, Store
from trustbridge.services.tvs import TvsServer
from trustbridge.trust.events import Outcome, Refusal

T = TypeVar("T")
Mode = Literal["non-secure", "mixed"]

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
#: Services of a node, as `utils service list` names them.
TVS, TFTP, HTTP = "Cisco Trust Verification Service", "Cisco Tftp", "Cisco Tftp (HTTP)"
CALL_MANAGER, SECURE_CALL_MANAGER = "Cisco CallManager", "Cisco CallManager (TLS)"
#: Longest that anything in a live lab may take, seconds.
PATIENCE = 30.0


_from_pem = functools.cache(Identity.from_pem)


def lighten(patch: pytest.MonkeyPatch) -> None:
    """Leave out what costs a test its time and proves nothing in it: reading the same keys again (OpenSSL checks the
    primes of each, for some 25 ms), waiting for a disk, passwords that are slow to guess."""
    patch.setattr(Identity, "from_pem", _from_pem)
    patch.setattr(os, "fsync", lambda descriptor: None)
    patch.setattr("trustbridge.services.sftp._SCRYPT_N", 16)


def copied(here: Path, there: Path) -> None:
    """A copy that shares its files. Labs replace files and never write into them; so must tests."""
    shutil.copytree(here, there, copy_function=os.link)


def clock() -> datetime:
    """The time of tests that need a fixed one."""
    return NOW


def cluster_definition(prefix: str, *, security: Mode = "mixed", **changes: Any) -> ClusterDefinition:
    """Two nodes, the subscriber first in the group; `src` is release 11.5, `dst` 14."""
    values: dict[str, Any] = {
        "release": {"src": "11.5", "dst": "14"}[prefix],
        "security": security,
        "network": f"127.{ {'src': 61, 'dst': 62}[prefix] }.{RUN}.0",
        "organisation": prefix.upper(),
        "domain": f"{prefix}.example",
        "nodes": (NodeDefinition(name=f"{prefix}-pub"), NodeDefinition(name=f"{prefix}-sub1")),
    }
    return ClusterDefinition(**(values | changes))


def phones(count: int = 1, **changes: Any) -> PhonesDefinition:
    """Like phones at the source."""
    return PhonesDefinition(count=count, **changes)


ENCRYPTED = "encrypted"


def lab_definition(
    *kinds: PhonesDefinition,
    source: dict[str, Any] | None = None,
    destination: dict[str, Any] | None = None,
) -> LabDefinition:
    """Source and destination in mixed mode, with changes to either; two plain phones when none are given."""
    return LabDefinition(
        name="test",
        network=NetworkDefinition(
            phones=f"127.63.{RUN}.0",
            dhcp=f"127.63.{RUN}.1",
            sftp=f"127.64.{RUN}.1",
            sftp_port=SHIFT,
            port_shift=SHIFT,
        ),
        clusters={
            "source": cluster_definition("src", **(source or {})),
            "destination": cluster_definition("dst", **(destination or {})),
        },
        phones=kinds or (phones(2),),
    )


@dataclass(frozen=True)
class Prepared:
    """Cluster folders with keys, to be copied."""

    folder: Path

    @classmethod
    def once(cls, factory: pytest.TempPathFactory) -> Prepared:
        """The same for all tests of a run."""
        if not _MADE:
            _MADE.append(cls.make(factory.mktemp("prepared")))
            gc.freeze()  # so that looking for what a lab has left looks at little else
        return _MADE[0]

    @classmethod
    def make(cls, folder: Path) -> Prepared:
        # Of some age, so that what a test issues now is newer.
        now = datetime.now(UTC) - timedelta(days=30)
        for name, cluster in lab_definition().clusters.items():
            founding.found(cluster, atomicfile.private_folder(folder / "clusters" / name), now)
        return cls(folder)

    def exchanged(self) -> Prepared:
        """The same keys after the whole exchange over SFTP, CAPF-trust included; run once."""
        if not _EXCHANGED:
            folder = self.folder.with_name("exchanged")
            with LiveLab(self.lab(folder, lab_definition())) as live:
                live.exchange()
            for path in folder.glob("clusters/*/*.json"):
                path.unlink()
            _EXCHANGED.append(Prepared(folder))
        return _EXCHANGED[0]

    def lab(self, folder: Path, definition: LabDefinition) -> Path:
        """The folder of a lab that was never started."""
        atomicfile.private_folder(folder)
        copied(self.folder / "clusters", folder / "clusters")
        atomicfile.write(folder / "definition.json", definition.model_dump_json().encode())
        return folder

    def cluster(self, folder: Path, prefix: str, *, now: Callable[[], datetime] = clock, **changes: Any) -> Cluster:
        """A cluster of its own, in `folder`, which nothing serves."""
        name = {"src": "source", "dst": "destination"}[prefix]
        if not folder.exists():
            copied(self.folder / "clusters" / name, folder)
        return Cluster(name, cluster_definition(prefix, **changes), folder, Ports(SHIFT), now)


_MADE: list[Prepared] = []
_EXCHANGED: list[Prepared] = []


class LiveLab:
    """A lab that runs in a thread; `do` runs a coroutine beside it. Use as a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = Lab.open(folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lab")
        self._done: asyncio.Event | None = None
        self._running: Future[None] | None = None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the lab's loop, and give its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` in the lab's loop."""

        async def called() -> T:
            return function()

        return self.do(called())

    async def _run(self, started: Future[None]) -> None:
        self._done = asyncio.Event()
        async with self.lab.running():
            started.set_result(None)
            await self._done.wait()

    def __enter__(self) -> LiveLab:
        self._thread.start()
        started: Future[None] = Future()
        self._running = asyncio.run_coroutine_threadsafe(self._run(started), self._loop)
        self._running.add_done_callback(functools.partial(_fail, started))
        try:
            started.result(PATIENCE)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._done is not None
        assert self._running is not None
        self._loop.call_soon_threadsafe(self._done.set)
        try:
            self._running.result(PATIENCE)
        finally:
            left = self.leftovers()
            self._end()
        assert not left, f"still there after the lab has stopped: {left}"

    def leftovers(self) -> list[str]:
        """Tasks that are still there."""

        async def look() -> list[str]:
            await asyncio.sleep(0)
            return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

        return self.do(look())

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()
        gc.collect()  # a socket nobody closed shows now, in this test, as a ResourceWarning

    # What tests ask of it.

    @property
    def phones(self) -> list[LabPhone]:
        return list(self.lab.fleet.phones.values())

    @property
    def source(self) -> Cluster:
        return self.lab.clusters["source"]

    @property
    def destination(self) -> Cluster:
        return self.lab.clusters["destination"]

    def boot(self, *phones: LabPhone) -> list[Outcome]:
        """Reset phones (all when none are named) and give their outcomes."""
        chosen = phones or tuple(self.phones)
        self.do(self.lab.boot(chosen))
        outcomes = [phone.outcome for phone in chosen]
        return [outcome for outcome in outcomes if outcome is not None]

    def point_at(self, cluster: str) -> None:
        self.call(lambda: self.lab.point_at(cluster))

    def exchange(self) -> None:
        """The whole exchange, and CAPF-trust."""

        async def exchanged() -> None:
            both = (self.destination, self.source)
            for cluster in both:
                cluster.configure_sftp(self.lab.sftp_settings())
                await cluster.export(tuple(BulkType))
            await self.source.consolidate(tuple(BulkType))
            for cluster, other in (both, both[::-1]):
                await cluster.import_(tuple(BulkType))
                cluster.upload_trust(Store.CAPF_TRUST, other.capf.certificate)

        self.do(exchanged())

    def node(self, name: str) -> Node:
        """A node that runs, by name."""
        return next(node for (_, found), node in self.lab.nodes.items() if found == name)

    def stop_service(self, node: str, service: str) -> None:
        """Stop one, as an outage."""
        self.do(self.node(node).stop_service(service))

    def asked(self, *nodes: str) -> int:
        """Questions that the TVS of these nodes have answered."""
        servers = [self.node(node).services[TVS] for node in nodes]
        return sum(server.counters.requests.total() for server in servers if isinstance(server, TvsServer))

    def whereabouts(self) -> list[str | None]:
        """Where each phone is registered."""
        return [self.lab.cluster_of(phone) for phone in self.phones]


def _fail(started: Future[None], done: Future[None]) -> None:
    if not started.done():
        started.set_exception(done.exception() or RuntimeError("the lab ended before it had started"))


def refusals(outcomes: list[Outcome]) -> set[Refusal | None]:
    """What was refused."""
    return {outcome.refusal for outcome in outcomes}
