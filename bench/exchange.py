"""The exchange between many clusters, seen from outside: the driver against a lab that runs in a process of its own.

Ten clusters of 21 nodes, half of them of release 12.5 (command line alone) and half of 15 (certificate REST): what the
nodes and publishers hold is read, the SFTP server is set, all export, one consolidates, all import, and every
publisher's stores are read again and compared with what the table of imports says. All clusters at the same time,
where the procedure allows it.

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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tests.lab import large

from trustbridge import eventloop
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials, Secret
from trustbridge.cucm.model import ClusterEntry, NodeIdentity, TrustedCertificate
from trustbridge.exchange.directory import SftpSettings
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import IMPORT_STORES, UNITS_OF, BulkType, Store

if TYPE_CHECKING:
    from trustbridge.lab.lab import Lab

T = TypeVar("T")

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


async def _all(clusters: Sequence[Cluster], ask: Callable[[Cluster], Awaitable[T]]) -> dict[str, T]:
    """Ask all clusters at once."""
    answers = await asyncio.gather(*(ask(cluster) for cluster in clusters))
    return {cluster.name: answer for cluster, answer in zip(clusters, answers, strict=True)}


async def _publisher_trusts(cluster: Cluster) -> tuple[TrustedCertificate, ...]:
    return await cluster.trusted((await cluster.publisher()).name)


def _wanted(identities: dict[str, tuple[NodeIdentity, ...]], own: str) -> set[tuple[Store, Certificate]]:
    """What the stores of one cluster must hold of all the others."""
    kinds = {unit: kind for kind in BulkType for unit in UNITS_OF[kind]}
    return {
        (store, one.certificate)
        for name, found in identities.items()
        if name != own
        for one in found
        if one.unit in kinds
        for store in IMPORT_STORES[kinds[one.unit]]
    }


async def _exchange(access: dict[str, object], state: Path, phases: Phases) -> None:
    settings = SftpSettings(**access["sftp"])  # type: ignore[arg-type] # as `_access` wrote it
    async with _opened(access, state) as clusters:
        with phases.phase("identities of all nodes"):
            identities = await _all(clusters, lambda cluster: cluster.identities())
        with phases.phase("trust stores of all publishers"):
            before = await _all(clusters, _publisher_trusts)
        with phases.phase("set the SFTP server on all"):
            await _all(clusters, lambda cluster: cluster.configure_bulk(settings))
        with phases.phase("export on all"):
            exported = await _all(clusters, lambda cluster: cluster.bulk_export())
        with phases.phase("consolidate on one"):
            consolidated = await clusters[0].bulk_consolidate()
        with phases.phase("import on all"):
            imported = await _all(clusters, lambda cluster: cluster.bulk_import())
        lines = [line for answers in (*exported.values(), consolidated, *imported.values()) for line in answers]
        failed = [line.text for line in lines if not line.succeeded]
        if failed or not lines:
            raise RuntimeError(f"{len(failed)} of {len(lines)} bulk operations failed: {failed[:3]}")
        with phases.phase("trust stores of all publishers again"):
            after = await _all(clusters, _publisher_trusts)
    for name, trusted in after.items():
        held = {(one.store, one.certificate) for one in trusted}
        old = {(one.store, one.certificate) for one in before[name]}
        wanted = _wanted(identities, name)
        if held != old | wanted:
            raise RuntimeError(
                f"{name}: {len((old | wanted) - held)} certificates are missing, {len(held - old - wanted)} too many"
            )
    print(f"  every publisher holds what it should: {sum(map(len, after.values()))} certificates in stores")


def main(argv: list[str] | None = None) -> int:
    """Print seconds, processor time and memory; 1 when the whole exchange takes longer than the limit."""
    parser = argparse.ArgumentParser(
        prog="bench exchange", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clusters", type=int, default=large.CLUSTERS)
    parser.add_argument("--nodes", type=int, default=large.NODES, help="of each cluster")
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
            eventloop.run(_exchange(lab.access, folder / "state", phases))
            total = sum(phases.seconds.values())
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
