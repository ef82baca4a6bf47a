"""A campaign at a cluster's size: phones that are installed and registered at the source move to the destination.

Two processes, as in reality: a lab with its phones, and a campaign's worker (database, RisPort70 within the vendor's
15 calls a minute and cluster, phones' pages, resets by AXL). Phones are settled at the source without a first boot and
the clusters have exchanged; option 150 names the destination. None of that is counted.

The same phones move twice in one run: reset by the lab itself, which is their protocol work alone (DHCP, files over
HTTP, the question to a TVS over TLS, SIP registration, the servers' side of all that), and by a campaign. What the
campaign costs is counted in two parts: the worker's process, by what it does, and what the lab needs more than before
to answer it (AXL, RisPort70, pages). Bookkeeping is both.

Limits: 5,000 phones in under 60 s; 60,000 in under 6 minutes and 2 GB, as fast at the end as at the beginning;
bookkeeping under 20 % of the protocol work. Peer: the move without a campaign.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import cProfile
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import AsyncExitStack
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.lab import large

from bench import campaignlab
from bench.campaignlab import DESTINATION, SOURCE, LabProcess
from trustbridge import eventloop
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials, Secret
from trustbridge.cucm.model import ClusterEntry
from trustbridge.migration import campaignrun
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


class Meter:
    """Processor seconds of this process, by what they are spent on: coroutines by their context, threads by theirs."""

    def __init__(self) -> None:
        self.used: dict[str, float] = collections.defaultdict(float)
        self._what: ContextVar[str] = ContextVar("what", default="the worker itself")
        self._mark = 0.0

    def _settle(self) -> None:
        now = time.thread_time()
        self.used[self._what.get()] += now - self._mark
        self._mark = now

    def sorted(self) -> list[tuple[str, float]]:
        """All of it, the largest first."""
        return sorted(self.used.items(), key=lambda item: -item[1])

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count every task of a loop."""
        meter = self

        class Counted(Coroutine[Any, Any, Any]):
            def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
                self._work = work

            def send(self, value: Any) -> Any:
                meter._mark = time.thread_time()
                try:
                    return self._work.send(value)
                finally:
                    meter._settle()

            def throw(self, *error: Any) -> Any:
                meter._mark = time.thread_time()
                try:
                    return self._work.throw(*error)
                finally:
                    meter._settle()

            def close(self) -> None:
                self._work.close()

            def __await__(self) -> Generator[Any, Any, Any]:
                return self._work.__await__()

        def factory(where: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
            return asyncio.Task(Counted(work), loop=where, **more)

        loop.set_task_factory(factory)

    def coroutine(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, counted as this."""

        async def counted(*arguments: Any, **more: Any) -> Any:
            self._settle()
            token = self._what.set(what)
            try:
                return await function(*arguments, **more)
            finally:
                self._settle()
                self._what.reset(token)

        return counted

    def function(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same for a function that waits for nothing; called in the loop's thread."""

        def counted(*arguments: Any, **more: Any) -> Any:
            self._settle()
            token = self._what.set(what)
            try:
                return function(*arguments, **more)
            finally:
                self._settle()
                self._what.reset(token)

        return counted

    def threaded(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same for a function that runs in a thread of its own."""

        def counted(*arguments: Any, **more: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*arguments, **more)
            finally:
                self.used[what] += time.thread_time() - began

        return counted


class CountedWork(CampaignWork):
    """The repository, with its time counted."""

    def __init__(self, meter: Meter, *arguments: Any) -> None:
        super().__init__(*arguments)
        names = (
            "get",
            "waves",
            "lease",
            "advance",
            "request_resets",
            "open_wave",
            "close_waves",
            "finish",
            "left",
            "load",
            "scopes",
        )
        for name in names:
            setattr(self, name, meter.threaded("database", getattr(self, name)))


def _count(meter: Meter) -> None:
    """Have the parts of the worker counted. In this process alone, which runs nothing else."""
    Cluster.registrations = meter.coroutine("RisPort70", Cluster.registrations)  # type: ignore[method-assign]
    Cluster.reset_phones = meter.coroutine("resets by AXL", Cluster.reset_phones)  # type: ignore[method-assign]
    Site._read = meter.coroutine("phones' pages", Site._read)  # type: ignore[method-assign]
    Site.in_use = meter.coroutine("phones' pages: calls", Site.in_use)  # type: ignore[method-assign]
    turn: Any = campaignrun._Round
    turn._decide = meter.function("deciding", turn._decide)


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


async def _run(access: dict[str, Any], state: Path, work: CampaignWork, meter: Meter) -> Rate:
    meter.install(asyncio.get_running_loop())
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
    _count(meter)
    profile = cProfile.Profile() if "TRUSTBRIDGE_BENCH_PROFILE" in os.environ else None
    if profile is not None:
        lab.ask("profile", True)
        profile.enable()
    began, own, theirs = time.perf_counter(), _own_cpu(), lab.cpu()
    rate = eventloop.run(_run(lab.access, folder / "state", work, meter))
    seconds, own, theirs = time.perf_counter() - began, _own_cpu() - own, lab.cpu() - theirs
    if profile is not None:
        profile.disable()
        profile.dump_stats(os.environ["TRUSTBRIDGE_BENCH_PROFILE"] + ".worker")
        lab.ask("profile", False)
    engine.dispose()
    memory = lab.memory() + campaignlab.memory_of("self")
    thousand = 1000 / count
    answering = theirs * thousand - bare
    share = (own * thousand + answering) / bare
    print(f"  {seconds:7.2f} s  for {count} phones with a campaign: {count / seconds:.0f} phones a second")
    print(f"  where they are: {lab.ask('where')}; how they ended: {dict(rate.ends)}")
    print(f"  CPU a phone: {theirs * thousand:.2f} ms in the lab, {own * thousand:.2f} ms in the worker, of that")
    for what, used in [*meter.sorted(), ("event loop, TLS, the rest", own - sum(meter.used.values()))]:
        print(f"    {used * thousand:6.3f} ms  {used * thousand / bare:5.1%} of the protocol work: {what}")
    print(f"    {answering:6.3f} ms  {answering / bare:5.1%}: the lab's side of pages, RisPort70 and AXL")
    print(f"  bookkeeping is {share:.0%} of the protocol work, the worker's own part {own * thousand / bare:.0%}")
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
    parser.add_argument("--under-way", type=int, default=3000, help="phones between reset and end, at the most")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    openfiles.raise_limit()
    if options.serve is not None:
        eventloop.run(campaignlab.serve(options.serve))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="trustbridge-bench-"))
    try:
        began = time.perf_counter()
        large.make(folder / "lab", campaignlab.definition(options.phones))
        lab = LabProcess(folder / "lab")
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
