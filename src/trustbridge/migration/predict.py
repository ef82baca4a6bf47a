"""What will become of every phone: each class of like phones run once through the phone's own procedure.

    estate = Estate()
    for facts in phones:
        estate.add(facts, arrival)
    forecasts = predict(estate, world)
    forecasts.counts[Forecast.STRANDS]

Phones that agree in all that the procedure looks at form a class (`PhoneClass`); a million phones come to some
thousands of classes. Of a phone itself its name and four bytes are kept. Classes are spread over processes, or over a
dask scheduler's workers, who all run the same function: the answer does not depend on where.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from trustbridge.cucm.model import PhoneStatus
from trustbridge.errors import Refused, Unreachable
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predictrun import predict_class
from trustbridge.migration.predictvalues import Forecast, PhoneClass, Prediction, World
from trustbridge.trust.configuration import SECURITY_AUTHENTICATED
from trustbridge.trust.models import PhoneModel, model_named

#: Told (what, done, total).
Progress = Callable[[str, int, int], None]

#: Classes that one process works through, in some three seconds, before others are worth their start.
_ALONE: Final = 20_000
#: Classes that are handed out at a time.
_PART: Final = 250
#: Seconds a scheduler is waited for.
_SCHEDULER_PATIENCE: Final = 10.0


def _quiet(what: str, done: int, total: int) -> None:
    pass


class Estate:
    """Phones, sorted into classes as they come."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.classes: list[PhoneClass] = []
        #: Of each phone, the place of its class.
        self.class_of = array("I")
        self._by_facts: dict[tuple[object, ...], int] = {}
        self._by_class: dict[PhoneClass, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def add(self, facts: PhoneFacts, arrival: int) -> None:
        """One phone.

        Args:
            arrival: its place in `World.arrivals`, or `NO_DEVICE`, or `NOT_SEEN`.
        """
        # What the class is made of, as it stands: two look-ups a phone are what a million of them cost.
        key = (
            facts.model,
            facts.group,
            facts.itl,
            facts.ctl,
            facts.security_mode,
            facts.status,
            facts.alternate_tftp,
            facts.tftp_servers if facts.alternate_tftp else (),
            arrival,
        )
        place = self._by_facts.get(key)
        if place is None:
            place = self._by_facts[key] = self._place(class_of(facts, arrival))
        self.names.append(facts.name)
        self.class_of.append(place)

    def _place(self, made: PhoneClass) -> int:
        place = self._by_class.setdefault(made, len(self.classes))
        if place == len(self.classes):
            self.classes.append(made)
        return place


def class_of(facts: PhoneFacts, arrival: int) -> PhoneClass:
    """The class of a phone."""
    tftp: str | None = None
    if facts.alternate_tftp is not None:
        tftp = next(iter(facts.tftp_servers), "?") if facts.alternate_tftp else ""
    # Only over TLS with a certificate is a phone registered that must be secure.
    secure = facts.security_mode is not None and facts.security_mode >= SECURITY_AUTHENTICATED
    lsc = True if secure and facts.status is PhoneStatus.REGISTERED else None
    return PhoneClass(_abilities(facts.model), facts.group, facts.itl, facts.ctl, tftp, lsc, arrival)


@lru_cache(maxsize=1024)
def _abilities(name: str) -> PhoneModel:
    """A model without its name: what it can do is all that counts."""
    known = model_named(name)
    return PhoneModel("this model", 0, known.security_by_default, known.legacy_tls, known.sha512, known.max_rsa_bits)


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What becomes of an estate.

    Attributes:
        predictions: one a class of the estate, in its order.
    """

    estate: Estate
    predictions: tuple[Prediction, ...]

    def __iter__(self) -> Iterator[tuple[str, Prediction]]:
        """(name, prediction) of every phone, as they were added."""
        predictions = self.predictions
        return ((name, predictions[place]) for name, place in zip(self.estate.names, self.estate.class_of, strict=True))

    def __len__(self) -> int:
        return len(self.estate)

    @property
    def counts(self) -> dict[Forecast, int]:
        """How many phones of each forecast; all four are there."""
        counted: Counter[Forecast] = Counter()
        for prediction, count in self.by_prediction().items():
            counted[prediction.forecast] += count
        return {forecast: counted[forecast] for forecast in Forecast}

    def by_prediction(self) -> Mapping[Prediction, int]:
        """How many phones of each prediction: most first, in the order of `Forecast`."""
        counted: Counter[Prediction] = Counter()
        for place, count in Counter(self.estate.class_of).items():
            counted[self.predictions[place]] += count
        order = list(Forecast)
        ranked = sorted(counted.items(), key=lambda item: (order.index(item[0].forecast), -item[1], item[0].why()))
        return dict(ranked)

    @property
    def all_move(self) -> bool:
        """Whether every phone ends at the destination."""
        return all(prediction.moves for prediction in self.by_prediction())


def predict(
    estate: Estate,
    world: World,
    *,
    processes: int | None = None,
    scheduler: str = "",
    progress: Progress = _quiet,
) -> Forecasts:
    """What becomes of each phone.

    Args:
        processes: how many share the work; None: as many as there are processors, where there is enough of it.
        scheduler: address of a dask scheduler, such as `tcp://10.0.0.1:8786`, whose workers do it instead.

    Raises:
        Unreachable: there is no such scheduler, or it has no workers.
        Refused: its workers can't do it.
    """
    classes = estate.classes
    # Neighbours share configurations, which then are read once, and not once each.
    order = sorted(range(len(classes)), key=lambda place: (classes[place].arrival, classes[place].group or ()))
    parts = [[classes[place] for place in order[start : start + _PART]] for start in range(0, len(order), _PART)]
    if scheduler:
        done = _over_dask(parts, world, scheduler, progress)
    elif processes == 1 or (processes is None and len(classes) <= _ALONE):
        done = (predict_part(part, world) for part in parts)
    else:
        done = _over_processes(parts, world, processes or os.cpu_count() or 1)
    found: list[Prediction] = []
    for part in done:
        found += part
        progress("kinds of phones", len(found), len(classes))
    predictions = dict(zip(order, found, strict=True))
    return Forecasts(estate, tuple(predictions[place] for place in range(len(classes))))


def predict_part(classes: Sequence[PhoneClass], world: World) -> list[Prediction]:
    """What becomes of some classes, in their order."""
    return [predict_class(one, world) for one in classes]


# In processes of our own: each is told once what there is in the world.

_world: World | None = None


def _take(world: World) -> None:
    global _world
    _world = world


def _predict_here(classes: Sequence[PhoneClass]) -> list[Prediction]:
    assert _world is not None
    return predict_part(classes, _world)


def _over_processes(parts: Sequence[Sequence[PhoneClass]], world: World, processes: int) -> Iterator[list[Prediction]]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Not forked: who calls may have threads, and a fork copies locks that nobody will open.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_take, initargs=(world,)) as pool:
        yield from pool.map(_predict_here, parts)


def _over_dask(
    parts: Sequence[Sequence[PhoneClass]], world: World, scheduler: str, progress: Progress
) -> Iterator[list[Prediction]]:
    import distributed

    try:
        client = distributed.Client(scheduler, timeout=_SCHEDULER_PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call] # no types
    except (OSError, TimeoutError, ValueError) as error:
        raise Unreachable(
            f"there is no dask scheduler at {scheduler}: {error}", "Start one: `dask scheduler`, and `dask worker`."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_SCHEDULER_PATIENCE)
        except TimeoutError as error:
            raise Unreachable(f"the scheduler at {scheduler} has no workers", "Start one: `dask worker`.") from error
        progress("asking the workers", 0, len(parts))
        known = client.scatter(world, broadcast=True, hash=False)  # type: ignore[no-untyped-call] # distributed has no types
        asked = [client.submit(predict_part, part, known, pure=False) for part in parts]
        try:
            # In order, and together: what fails on a worker comes out here as it was raised there.
            found: list[list[Prediction]] = client.gather(asked)  # type: ignore[no-untyped-call] # as above
        except ImportError as error:
            raise Refused(
                f"workers of {scheduler} can't predict: {error}",
                "Install trustbridge, the same release, where they run.",
            ) from error
    yield from found
