"""The exchange between many clusters, seen from outside: the driver against a lab that runs in a process of its own.

Ten clusters of 21 nodes, half of them of release 12.5 (command line alone) and half of 15 (certificate REST), as
`trustbridge exchange run` does it: what nodes and publishers hold is read, the exchange is planned, the SFTP server is
set, all export, one consolidates, all import, and every publisher's stores are read again and compared with the plan.

Limit: a minute, from the first connection to the last proof, driver and lab on one machine. Peer: there is no other
program that does this; the CPU of both sides shows how much of it is the driver's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import large

from trustbridge import eventloop
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials, Secret
from trustbridge.cucm.model import ClusterEntry
from trustbridge.eventloop import together
from trustbridge.exchange.directory import SftpSettings
from trustbridge.migration.exchangeplan import Method, Step, plan_exchange
from trustbridge.migration.exchangerecord import Addition, ExchangeRecord, SftpAddress
from trustbridge.migration.exchangerun import Exchange, Unwatched
from trustbridge.migration.proof import prove
from trustbridge.migration.proofcollect import collect
from trustbridge.migration.survey import survey
from trustbridge.pki.units import BulkType

if TYPE_CHECKING:
    from trustbridge.lab.lab import Lab

#: Seconds within which everything must be done.
LIMIT = 60.0


# The lab's side.


async def _serve(folder: Path) -> None:
    """Run the lab in `folder` until standard input ends; what a driver must know is one line of JSON."""
    from trustbridge.lab.lab import Lab

    async with Lab.open(folder).running() as lab:
        print(json.dumps(_access(lab)), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        print(json.dumps({"cpu": _cpu(), "memory": _memory()}), flush=True)


def _access(lab: Lab) -> dict[str, object]:
    settings = lab.sftp_settings()
    return {
        "sftp": {
            "host": settings.host,
            "port": settings.port,
            "username": settings.username,
            "password": settings.password,
            "directory": settings.directory,
        },
        "clusters": [
            {
                "entry": {
                    "name": cluster.name,
                    "publisher": cluster.definition.address(cluster.publisher),
                    "os_user": cluster.accounts.user("os"),
                    "app_user": cluster.accounts.user("application"),
                    "ssh_port": lab.ports.ssh,
                    "https_port": lab.ports.https,
                    "http_port": lab.ports.provisioning,
                    "tvs_port": lab.ports.tvs,
                },
                "passwords": [cluster.accounts.credentials(realm)[1] for realm in ("os", "application")],
            }
            for cluster in lab.clusters.values()
        ],
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory() -> float:
    """Most that was resident, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class LabProcess:
    """A lab in a process of its own.

    Attributes:
        access: where it is and who may log in.
        ready: seconds it took to start, imports of the program included.
    """

    def __init__(self, folder: Path) -> None:
        began = time.perf_counter()
        command = [sys.executable, "-m", "bench.exchange", "--serve", str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.access = self._said()
        self.ready = time.perf_counter() - began

    def _said(self) -> dict[str, object]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the lab ended with code {self._process.wait()}")
        said: dict[str, object] = json.loads(line)
        return said

    def cpu(self) -> float:
        """Seconds of processor until now."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def end(self) -> dict[str, object]:
        """End it; what it used."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        used = self._said()
        self._process.wait(30)
        return used

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


# The driver's side.


class Phases:
    """Seconds and processor time by phase."""

    def __init__(self, lab_cpu: Callable[[], float]) -> None:
        self.seconds: dict[str, float] = {}
        self._lab_cpu = lab_cpu

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure one, and print it."""
        began, driver, lab = time.perf_counter(), _cpu(), self._lab_cpu()
        yield
        self.seconds[name] = time.perf_counter() - began
        print(
            f"  {self.seconds[name]:6.2f} s  {name:34} CPU: driver {_cpu() - driver:5.2f} s, "
            f"lab {self._lab_cpu() - lab:5.2f} s",
            flush=True,
        )


@contextlib.asynccontextmanager
async def _opened(access: dict[str, object], state: Path) -> AsyncIterator[list[Cluster]]:
    rows = access["clusters"]
    assert isinstance(rows, list)
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                Cluster.open(ClusterEntry(**row["entry"]), Credentials(*map(Secret, row["passwords"])), state=state)
            )
            for row in rows
        ]


class Steps(Unwatched):
    """Prints each kind of step when the last of it is done."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._under_way: dict[str, int] = {}

    def step(self, step: Step, state: str) -> None:
        kind = str(step.kind)
        if state == "begun":
            self._began.setdefault(kind, time.perf_counter())
            self._under_way[kind] = self._under_way.get(kind, 0) + 1
            return
        self._under_way[kind] -= 1
        if not self._under_way[kind]:
            print(f"         {time.perf_counter() - self._began.pop(kind):6.2f} s of it: {kind}", flush=True)


def _now() -> datetime:
    return datetime.now(UTC)


async def _exchange(access: dict[str, object], state: Path, phases: Phases, options: argparse.Namespace) -> None:
    settings = SftpSettings(**access["sftp"])  # type: ignore[arg-type] # as `_access` wrote it
    async with _opened(access, state) as opened:
        clusters = {cluster.name: cluster for cluster in opened}
        pairs = list(combinations(clusters, 2))
        with phases.phase("survey: identities and trust stores"):
            found = await together(*(survey(one, capf_trust=options.capf_trust) for one in opened))
            surveys = {one.name: one for one in found}
        with phases.phase("plan"):
            plan = plan_exchange(
                surveys,
                pairs,
                tuple(BulkType),
                now=_now(),
                method=Method.BULK,
                capf_trust=options.capf_trust,
                accepted=["TB145"],
                sftp=settings.describe(),
            )
            if plan.blocking:
                raise RuntimeError(f"the exchange does not begin: {plan.blocking[0].evidence}")
            address = SftpAddress(settings.host, settings.port, settings.username, settings.directory)
            record = ExchangeRecord.begin(state / "exchanges" / "bench", plan, address, _now())
        with phases.phase(f"exchange: {len(plan.missing)} certificates in stores"), record.locked():
            await Exchange(record, clusters, clock=_now, sftp=settings, surveys=surveys, watcher=Steps()).run()
        if options.prove:
            with phases.phase(f"proof: {len(pairs)} pairs, both ways"):
                proof = prove(await collect(clusters, pairs, deep=False), _now())
            # A list of 21 nodes is over 64 KiB, which the proof rightly says.
            print(f"  {proof.sentence}")
    wanted = sum(len(surveys[goal.importer].nodes) if not goal.node else 1 for goal in plan.goals)
    print(f"  every publisher holds what it should: {len(record.additions())} came, {wanted} with their replicas")
    if set(record.additions()) != {Addition(one.importer, one.node, one.store, one.certificate) for one in plan.goals}:
        raise RuntimeError("what was recorded is not what was planned")


def main(argv: list[str] | None = None) -> int:
    """Print seconds, processor time and memory; 1 when the whole exchange takes longer than the limit."""
    parser = argparse.ArgumentParser(
        prog="bench exchange", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clusters", type=int, default=large.CLUSTERS)
    parser.add_argument("--nodes", type=int, default=large.NODES, help="of each cluster")
    parser.add_argument("--capf-trust", action="store_true", help="also CAPF to CAPF-trust of every node, one by one")
    parser.add_argument("--prove", action="store_true", help="also ask every TVS afterwards; not part of the limit")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve is not None:
        eventloop.run(_serve(options.serve))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="trustbridge-bench-"))
    try:
        began = time.perf_counter()
        large.make(folder / "lab", large.definition(options.clusters, options.nodes))
        print(f"  {options.clusters} clusters of {options.nodes} nodes")
        print(f"  {time.perf_counter() - began:6.2f} s  to make the lab (not counted)")
        lab = LabProcess(folder / "lab")
        try:
            print(f"  {lab.ready:6.2f} s  to start it (not counted)", flush=True)
            phases, driver = Phases(lab.cpu), _cpu()
            eventloop.run(_exchange(lab.access, folder / "state", phases, options))
            total = sum(seconds for name, seconds in phases.seconds.items() if not name.startswith("proof"))
            used = lab.end()
        except BaseException:
            lab.kill()
            raise
        print(f"  {total:6.2f} s  altogether; limit {LIMIT:.0f} s")
        print(f"  CPU: driver {_cpu() - driver:.1f} s, lab {used['cpu']:.1f} s, its start included")
        print(f"  most memory: driver {_memory():.0f} MiB, lab {used['memory']:.0f} MiB")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return int(total >= LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
