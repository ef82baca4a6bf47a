"""What becomes of a million phones; and of a thousand that are then really moved, in a lab.

The million are phones as they would be collected: 300 device pools with as many orders of their group's nodes as six
nodes have, two security profiles, sixteen models; most hold the lists of a TFTP node of theirs, some none, blank ones,
another cluster's or ones nobody knows; some show no page, some go by servers typed in by hand, some the destination
does not know. They come one by one, as the driver's facts, are sorted into classes, and each class is run through the
phone's own procedure, by several processes where there are enough classes for them. Limits, on two cores: 10 seconds
from the first phone to the last prediction, and 1 GB, all processes together. Peer: the same procedure once a phone,
reckoned from a sample.

The thousand have the defects of tests/e2e/defects.py. Prediction and reality must be equal for every one.

    python -m bench.predict [--phones N] [--processes N] [--scheduler tcp://...] [--no-lab]
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, permutations
from pathlib import Path

from trustbridge.cucm.model import PhoneStatus
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predict import Estate, predict
from trustbridge.migration.predictrun import predict_class
from trustbridge.migration.predictvalues import NO_DEVICE, Arrival, Forecast, TvsSeen, World
from trustbridge.trust import configuration as configurations
from trustbridge.trust.models import MODELS

#: Seconds; bytes.
LIMIT, MEMORY = 10.0, 1 << 30
POOLS = 300
NODES = tuple(f"cm{number}" for number in range(1, 7))
#: Phones that are run one by one, to reckon what all of them would take.
_SAMPLE = 500
#: Of a kind and defect, in the lab: a thousand phones in the two scenes together.
_EACH = 25


def site() -> World:
    """Six nodes at the source, one of them down and one that does not know the signer; 600 files at the destination."""
    # Keys are made on import, and the pool's processes import this module: not where they do.
    from tests.migration.test_predict import seen
    from tests.trust.arrangements import B, world

    what = seen(world(secure=True))
    good, ignorant = what.tvs["src1"], seen(world(secure=True, exchanged=False)).tvs["src1"]
    tvs = {name: replace(good, node=name) for name in NODES}
    tvs |= {NODES[4]: TvsSeen(NODES[4], down=True), NODES[5]: replace(ignorant, node=NODES[5])}
    arrivals = []
    for secure in (False, True):
        for pool in range(POOLS):
            file = configurations.build(replace(B.configuration(secure=secure), device_pool=f"pool {pool}"))
            arrivals.append(Arrival(B.signed(file, f"pool{pool}.cnf.xml.sgn")))
    return replace(what, tvs=tvs, arrivals=tuple(arrivals), groups=tuple(permutations(NODES, 3)))


def phones(count: int) -> Iterator[tuple[PhoneFacts, int]]:
    """What is collected of each phone, and the place of the file that waits for it; the same in every run."""
    from tests.migration.test_predict import digest
    from tests.trust.arrangements import A
    from tests.trust.world import cluster

    draw = random.Random(150)
    groups = list(chain(permutations(NODES, 3), permutations(NODES, 2), permutations(NODES, 4)))
    models, third = list(MODELS), cluster("third", nodes=1)
    own, ctl = [digest(A.itl(0)), digest(A.itl(1))], digest(A.ctl())
    blank, foreign = digest(A.itl(blank=True)), digest(third.itl())
    for number in range(count):
        pool, chance = draw.randrange(POOLS), draw.random()
        secure = number % 3 == 0
        itl: str | None = own[pool % 2]
        held: str | None = ctl
        by_hand: bool | None = False
        if chance < 0.10:
            if chance < 0.05:  # page closed
                itl = held = by_hand = None
            elif chance < 0.06:
                itl = held = ""
            elif chance < 0.07:
                itl = blank
            elif chance < 0.08:
                itl = foreign
            elif chance < 0.0805:
                itl = f"{number:040X}"
            elif chance < 0.085:
                by_hand = True
        yield (
            PhoneFacts(
                name=f"SEP{number:012X}",
                model=models[number % 7 if number % 11 else pool % 16],
                device_pool=f"pool {pool}",
                group=groups[pool % len(groups)],
                security_mode=3 if secure else 1,
                status=PhoneStatus.REGISTERED,
                address="10.0.0.1",
                itl=itl,
                ctl=held,
                alternate_tftp=by_hand,
                tftp_servers=("src1", "src2"),
            ),
            NO_DEVICE if chance > 0.99 else pool + POOLS * secure,
        )


class Memory:
    """The most that this process and its children have held at once, bytes; a context."""

    def __init__(self) -> None:
        self.most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.most = max(self.most, sum(_resident(pid) for pid in [os.getpid(), *_children()]))


def _children() -> list[int]:
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):  # it has ended
        return 0


def million(count: int, processes: int | None, scheduler: str) -> bool:
    """Predict and print; whether it kept within the limits."""
    what = site()
    for _ in phones(1):  # lists are made on first use
        pass
    with Memory() as memory:
        start = time.perf_counter()
        estate = Estate()
        for facts, arrival in phones(count):
            estate.add(facts, arrival)
        sorted_at = time.perf_counter()
        forecasts = predict(estate, what, processes=processes, scheduler=scheduler)
        counts = forecasts.counts
        end = time.perf_counter()
    took = end - start
    where = scheduler or (f"{processes} processes" if processes else "as many processes as are worth it")
    print(f"{count:,} phones in {len(estate.classes):,} classes, {where}")
    print(f"  facts made and sorted {sorted_at - start:6.2f} s")
    print(f"  classes run           {end - sorted_at:6.2f} s")
    print(f"  together              {took:6.2f} s   limit {LIMIT:g} s")
    print(f"  memory                {memory.most / 2**20:6.0f} MB  limit {MEMORY / 2**20:.0f} MB")
    print(f"  {', '.join(f'{number:,} {forecast}' for forecast, number in counts.items())}")
    sample = estate.class_of[:: max(1, len(estate) // _SAMPLE)]
    start = time.perf_counter()
    for place in sample:
        predict_class(estate.classes[place], what)
    one = (time.perf_counter() - start) / len(sample)
    print(f"  once a phone, in one process, it would be {one * count:.0f} s ({one * 1e6:.0f} us each)")
    return took < LIMIT and memory.most < MEMORY and all(counts.values())


def thousand() -> bool:
    """Predict phones of a lab, then move them; whether the two are equal for every one."""
    import pytest
    from tests.e2e.defects import Scene, defective
    from tests.e2e.test_predict import collected
    from tests.lab.prepared import lighten

    equal = True
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        lighten(patch)
        for scene in (Scene.MIXED, Scene.NON_SECURE):
            with defective(Path(folder) / scene, scene, each=_EACH) as lab:
                start = time.perf_counter()
                found = collected(lab.live, Path(folder) / f"{scene}-state", lab)
                collected_at = time.perf_counter()
                forecasts = predict(found.estate, found.world)
                predicted_at = time.perf_counter()
                real = lab.move()
                moved_at = time.perf_counter()
            known = [(name, one) for name, one in forecasts if one.forecast is not Forecast.UNKNOWN]
            right = sum((one.forecast, one.refusal) == real[name][:2] for name, one in known)
            hidden = len(forecasts) - len(known)
            print(
                f"lab, {scene}: {len(forecasts)} phones, {right} of {len(known)} as predicted, {hidden} unknown "
                f"because something of them was hidden; collected in {collected_at - start:.1f} s, predicted in "
                f"{predicted_at - collected_at:.2f} s, moved in {moved_at - predicted_at:.1f} s"
            )
            equal = equal and right == len(known) and hidden == len(lab.hidden)
    return equal


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when all limits are kept."""
    parser = argparse.ArgumentParser(prog="bench.predict", description=__doc__.partition("\n")[0])
    parser.add_argument("--phones", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, help="that share the classes; else as the command chooses")
    parser.add_argument("--scheduler", default="")
    parser.add_argument("--no-lab", action="store_true")
    chosen = parser.parse_args(arguments)
    good = million(chosen.phones, chosen.processes, chosen.scheduler)
    if not chosen.no_lab:
        good = thousand() and good
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
