"""A campaign at a cluster's size: phones that are installed and registered at the source move to the destination.

Two processes, as in reality: a lab with its phones, and a campaign's worker (database, RisPort70 within the vendor's
15 calls a minute and cluster, phones' pages, resets by AXL). Phones are settled at the source without a first boot and
the clusters have exchanged; option 150 names the destination. None of that is counted.

The same phones move twice in one run: reset by the lab itself, which is their protocol work alone (DHCP, files over
HTTP, the question to a TVS over TLS, SIP registration, the servers' side of all that), and by a campaign. What the
campaign costs is printed by what it is spent on. Its own *bookkeeping* is keeping the books: the database, deciding,
the worker. *Watching and resetting* is the rest: RisPort70, phones' pages, AXL, the connections for these, and what the
lab needs more than before to answer.

Limits: 5,000 phones in under 60 s; 60,000 in under 6 minutes and 2 GB, as fast at the end as at the beginning;
bookkeeping under 20 % of the protocol work. Peer: the move without a campaign.
"""

from __future__ import annotations

import argparse
import collections
import cProfile
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import Engine
from tests.lab import large

from bench import campaignlab
from bench.campaignlab import DESTINATION, SOURCE, LabProcess
from trustbridge import eventloop
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials, Secret
from trustbridge.cucm.model import ClusterEntry
from trustbridge.migration.campaignphone import PhoneState, Terms
from trustbridge.migration.campaignplan import CampaignSettings, Limits
from trustbridge.migration.campaignrun import Watcher, Worker
from trustbridge.migration.campaignsite import Site
from trustbridge.services import openfiles
from trustbridge.storage.campaignrecords import NewPhone, NewWave
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.database import open_database, upgrade_to_head

#: Seconds, by number of phones: what the project asks for; in between and beyond, by the nearest below.
SECONDS = {5_000: 60.0, 60_000: 360.0}
MEMORY = 2048.0
SHARE = 0.2
NAME = "bench"


# What the worker's process spends its time on.

#: By the innermost function on the stack that stands in one of these files, what is being done.
_PARTS = (
    ("cucm/phone", "phones' pages"),
    ("cucm/ris.py", "RisPort70"),
    ("cucm/axl", "resets by AXL"),
    ("cucm/clusterwrites.py", "resets by AXL"),
    ("cucm/nodeconnections.py", "connections for AXL and RisPort70"),
    ("migration/campaignsteps.py", "deciding"),
    ("migration/campaignphone.py", "deciding"),
    ("storage/", "database"),
    ("migration/campaignsite.py", "looking: what is left"),
    ("migration/campaignrun.py", "the worker itself"),
)
#: Seconds of processor between two looks.
_TICK = 0.004


class Meter:
    """Processor seconds of this process by what they are spent on: looks at the stack of its first thread, at intervals
    of processor time. What runs in threads is the database alone, and is measured."""

    def __init__(self) -> None:
        self.looks: collections.Counter[str] = collections.Counter()
        self.threads = 0.0

    def _look(self, _number: int, frame: FrameType | None) -> None:
        while frame is not None:
            name = frame.f_code.co_filename
            for part, what in _PARTS:
                if f"/trustbridge/{part}" in name:
                    self.looks[what] += 1
                    return
            frame = frame.f_back
        self.looks[_REST] += 1

    @contextmanager
    def looking(self) -> Iterator[None]:
        """For as long as the context."""
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, _TICK, _TICK)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, signal.SIG_IGN)

    def parts(self, total: float) -> list[tuple[str, float]]:
        """All of `total` seconds, the largest part first. While a thread is at work, the first one mostly waits."""
        count = max(1, self.looks.total())
        found = {what: total * looks / count for what, looks in self.looks.items()}
        found["database"] = found.get("database", 0.0) + self.threads
        found[_REST] = max(0.0, found.get(_REST, 0.0) - self.threads)
        return sorted(found.items(), key=lambda item: -item[1])


_REST = "event loop, TLS, start"
#: What keeping the books is.
_BOOKS = ("database", "deciding", "the worker itself")


class CountedWork(CampaignWork):
    """The repository, with the time of its threads counted."""

    def __init__(self, meter: Meter, engine: Engine, by: str) -> None:
        super().__init__(engine, by)
        names = ("get", "waves", "lease", "advance", "request_resets", "open_wave", "close_waves", "finish", "left")
        for name in (*names, "load", "scopes"):
            setattr(self, name, self._counted(meter, getattr(self, name)))

    @staticmethod
    def _counted(meter: Meter, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*arguments, **more)
            finally:
                meter.threads += time.thread_time() - began

        return counted


# The campaign.


class Rate:
    """When phones had moved, as seconds from the start."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.moved: list[float] = []
        self.ends: collections.Counter[str] = collections.Counter()

    def __call__(self, phone: Any) -> None:
        if phone.kind in ("done", "failed", "skipped"):
            self.ends[str(phone.state)] += 1
            self.moved.append(time.perf_counter() - self.began)

    def thousands(self) -> list[float]:
        """Seconds that each thousand took; the first one's from the start, until the first has moved, apart."""
        marks = [self.moved[0], *self.moved[999::1000]]
        if len(self.moved) % 1000:
            marks.append(self.moved[-1])
        return [after - before for before, after in itertools.pairwise(marks)]


def _plan(work: CampaignWork, names: list[tuple[str, str]], phone_port: int, options: argparse.Namespace) -> None:
    """All phones in one wave, limits out of the way: how fast is the question."""
    terms = Terms(look=timedelta(seconds=options.look), look_waiting=timedelta(seconds=6 * options.look))
    settings = CampaignSettings(Limits(10**6, options.under_way, 0.01), terms, phone_port)
    phones = tuple(NewPhone(name, model, "Default") for name, model in names)
    waves = [NewWave("wave-1", False, (), phones)]
    work.create(NAME, SOURCE, DESTINATION, settings.as_json(), waves, state=PhoneState.PLANNED, now=datetime.now(UTC))
    work.begin(NAME, option150=DESTINATION, now=datetime.now(UTC))


async def _run(access: dict[str, Any], state: Path, work: CampaignWork) -> Rate:
    async with AsyncExitStack() as stack:
        clusters = [
            await stack.enter_async_context(
                Cluster.open(ClusterEntry(**row["entry"]), Credentials(*map(Secret, row["passwords"])), state=state)
            )
            for row in access["clusters"]
        ]
        site = await stack.enter_async_context(
            Site.opened(*clusters, phone_port=access["phone_port"], noted=lambda words: print(f"  noted: {words}"))
        )
        rate = Rate()
        await Worker(work, NAME, site, watcher=Watcher(moved=rate, noted=lambda words: print(f"  {words}"))).run()
    return rate


def _own_cpu() -> float:
    return time.process_time()


def _campaign(lab: LabProcess, folder: Path, options: argparse.Namespace, bare: float) -> bool:
    """Move all phones by a campaign, print what it took; whether the limits hold."""
    count = options.phones
    phones = [(name, kind.model) for name, _, kind in campaignlab.phone_names(campaignlab.definition(count))]
    engine = open_database(options.database or "", folder)
    upgrade_to_head(engine)
    meter = Meter()
    work = CountedWork(meter, engine, "bench")
    began = time.perf_counter()
    _plan(work, phones, lab.access["phone_port"], options)
    print(f"  {time.perf_counter() - began:7.2f} s  to plan the campaign (not counted)", flush=True)
    profile = cProfile.Profile() if "TRUSTBRIDGE_BENCH_PROFILE" in os.environ else None
    if profile is not None:
        lab.ask("profile", True)
        profile.enable()
    began, own, theirs = time.perf_counter(), _own_cpu(), lab.cpu()
    with meter.looking():
        rate = eventloop.run(_run(lab.access, folder / "state", work))
    seconds, own, theirs = time.perf_counter() - began, _own_cpu() - own, lab.cpu() - theirs
    if profile is not None:
        profile.disable()
        profile.dump_stats(os.environ["TRUSTBRIDGE_BENCH_PROFILE"] + ".worker")
        lab.ask("profile", False)
    engine.dispose()
    memory = lab.memory() + campaignlab.memory_of("self")
    thousand = 1000 / count
    answering = theirs * thousand - bare
    parts = meter.parts(own)
    books = sum(used for what, used in parts if what in _BOOKS) * thousand
    share, whole = books / bare, (own * thousand + answering) / bare
    print(f"  {seconds:7.2f} s  for {count} phones with a campaign: {count / seconds:.0f} phones a second")
    print(f"  where they are: {lab.ask('where')}; how they ended: {dict(rate.ends)}")
    print(f"  CPU a phone: {theirs * thousand:.2f} ms in the lab, {own * thousand:.2f} ms in the worker, of that")
    for what, used in parts:
        print(f"    {used * thousand:6.3f} ms  {used * thousand / bare:5.1%} of the protocol work: {what}")
    print(f"    {answering:6.3f} ms  {answering / bare:5.1%}: the lab's side of pages, RisPort70 and AXL")
    print(f"  bookkeeping (database, deciding, the worker itself) adds {share:.0%} to the protocol work")
    print(f"  with watching and resetting, and the lab's side of these, a campaign adds {whole:.0%}")
    thousands = rate.thousands()
    print(
        f"  first phone after {rate.moved[0]:.1f} s; seconds by thousand: {' '.join(f'{one:.1f}' for one in thousands)}"
    )
    print(f"  most memory: {memory:.0f} MiB, all processes together", flush=True)
    limit = max((phones for phones in SECONDS if phones <= count), default=min(SECONDS))
    return seconds < SECONDS[limit] and memory < MEMORY and share < SHARE


def main(argv: list[str] | None = None) -> int:
    """Print seconds, processor time by part, rate and memory; 1 when a limit does not hold."""
    parser = argparse.ArgumentParser(
        prog="bench campaign", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--phones", type=int, default=5000)
    parser.add_argument("--bare", type=int, default=5000, help="phones that move without a campaign, at the most")
    parser.add_argument("--database", help="URL; SQLite in a folder of its own by default")
    parser.add_argument("--look", type=float, default=5.0, help="seconds from a reset to the first look")
    parser.add_argument("--under-way", type=int, default=2500, help="phones between reset and end, at the most")
    parser.add_argument("--processes", type=int, default=1, help="of the lab's phones; 0 for the lab's own")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    openfiles.raise_limit()
    if options.serve is not None:
        eventloop.run(campaignlab.serve(options.serve, options.processes))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="trustbridge-bench-"))
    try:
        began = time.perf_counter()
        large.make(folder / "lab", campaignlab.definition(options.phones))
        lab = LabProcess(folder / "lab", options.processes)
        try:
            settled = lab.ask("settle")
            print(f"  {time.perf_counter() - began:7.2f} s  until {settled} phones are at the source (not counted)")
            count = min(options.bare, options.phones)
            before = lab.cpu()
            seconds = lab.ask("move", count)
            bare = (lab.cpu() - before) * 1000 / count
            print(f"  {seconds:7.2f} s  for {count} phones without a campaign: {count / seconds:.0f} phones a second")
            print(f"  CPU a phone: {bare:.2f} ms, which is the protocol work of both sides")
            began = time.perf_counter()
            lab.ask("settle")
            print(
                f"  {time.perf_counter() - began:7.2f} s  until they are back at the source (not counted)", flush=True
            )
            held = _campaign(lab, folder, options, bare)
        except BaseException:
            lab.kill()
            raise
        lab.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return int(not held)


if __name__ == "__main__":
    raise SystemExit(main())
