"""A whole exchange with a fault on the wire: one clear error, and run again it comes to its end, or is undone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.strangers import ssh_stranger, tls_stranger
from tests.e2e.test_cluster import STRANGER, credentials_of, entry_of, secrets_of
from tests.e2e.test_exchange import expected, stores
from tests.e2e.wirefaults import HTTPS, SSH, Close, Fault, Front, Garble, Refuse, Reset, Stall
from tests.lab.prepared import LiveLab, Prepared, lab_definition

from trustbridge.clients.tls import TlsIdentity
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.https import Patience
from trustbridge.errors import Garbled, IdentityChanged, Throttled, TrustbridgeError, Unreachable
from trustbridge.migration.exchangeplan import Method, Step, plan_exchange
from trustbridge.migration.exchangerecord import ExchangeRecord, SftpAddress
from trustbridge.migration.exchangerun import Exchange, Unwatched
from trustbridge.migration.exchangeundo import undo
from trustbridge.migration.survey import survey
from trustbridge.pki.units import BulkType
from trustbridge.services.httpsnode import UNDISTURBED, Disturbance

NODE = "dst-pub"
#: Long enough for what answers, short enough for what never does.
PATIENCE = Patience(
    connect=1.0, answer=3.0, attempts=2, pause=0.01, throttled=0.3, log_in=5.0, command=3.0, long_command=3.0
)


@dataclass
class World:
    """A lab, and a front before the destination's publisher."""

    live: LiveLab
    front: Front
    folder: Path

    def opened(self, stack: AsyncExitStack) -> Any:
        return {
            cluster.name: Cluster.open(entry, credentials_of(cluster), state=self.folder / "state", patience=PATIENCE)
            for cluster in (self.live.source, self.live.destination)
            for entry in [entry_of(cluster)]
            for entry in [self.front.entry(entry) if cluster is self.live.destination else entry]
        }

    def drive(self, work: Callable[[dict[str, Cluster]], Any]) -> Any:
        async def run() -> Any:
            async with AsyncExitStack() as stack:
                opening = self.opened(stack)
                return await work({name: await stack.enter_async_context(one) for name, one in opening.items()})

        return asyncio.run(run())


@pytest.fixture(scope="module")
def world(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("exchange-faults")
    definition = lab_definition(source={"release": "12.5"}, destination={"release": "15"})
    with LiveLab(prepared.lab(folder / "lab", definition)) as live, Front.before(live.destination, NODE) as front:
        yield World(live, front, folder)


def begun(world: World, folder: Path, method: Method) -> ExchangeRecord:
    settings = world.live.lab.sftp_settings()
    address = SftpAddress(settings.host, settings.port, settings.username, settings.directory)

    async def plan(clusters: dict[str, Cluster]) -> ExchangeRecord:
        surveys = {name: await survey(cluster, capf_trust=True) for name, cluster in clusters.items()}
        made = plan_exchange(
            surveys,
            [("source", "destination")],
            tuple(BulkType),
            now=datetime.now(UTC),
            method=method,
            accepted=["TB145", "TB146"],
            sftp=settings.describe(),
        )
        return ExchangeRecord.begin(folder, made, address, datetime.now(UTC))

    record: ExchangeRecord = world.drive(plan)
    return record


class At(Unwatched):
    """Does something when a step begins."""

    def __init__(self, step: str, act: Callable[[], None]) -> None:
        self._step, self._act = step, act

    def step(self, step: Step, state: str) -> None:
        if state == "begun" and step.key == self._step:
            self._act()


def go(world: World, record: ExchangeRecord, watcher: Unwatched | None = None) -> None:
    async def run(clusters: dict[str, Cluster]) -> None:
        with record.locked():
            await Exchange(
                record,
                clusters,
                clock=lambda: datetime.now(UTC),
                sftp=world.live.lab.sftp_settings(),
                watcher=watcher,
            ).run()

    world.drive(run)


def back(world: World, record: ExchangeRecord) -> None:
    async def run(clusters: dict[str, Cluster]) -> None:
        with record.locked():
            await undo(record, clusters, clock=lambda: datetime.now(UTC))

    world.drive(run)


@dataclass(frozen=True)
class Case:
    """What goes wrong, on which port, as which step begins; and the errors that may come of it."""

    step: str
    port: str
    fault: Fault
    kinds: tuple[type[TrustbridgeError], ...]
    method: Method = Method.BULK


LOST = (Unreachable,)
SPOILED = (Unreachable, Garbled)
CASES = {
    "refused at the beginning": Case("sftp destination", SSH, Refuse(), LOST),
    "reset as it exports": Case("export destination", SSH, Reset(), LOST),
    "closed as it imports": Case("import destination", SSH, Close(after=40), SPOILED),
    "silent as it imports": Case("import destination", SSH, Stall(), LOST),
    "deaf as it imports": Case("import destination", SSH, Stall(to_server=True), LOST),
    "garbled as it imports": Case("import destination", SSH, Garble(after=20), SPOILED),
    "refused as it uploads": Case("upload destination", HTTPS, Refuse(), LOST, Method.CERTIFICATES),
    "cut off as it uploads": Case("upload destination", HTTPS, Reset(after=3000), LOST, Method.CERTIFICATES),
    "silent as it uploads": Case("upload destination", HTTPS, Stall(after=2000), LOST, Method.CERTIFICATES),
}


# Every other one goes on, the rest are undone as they are.
@pytest.mark.parametrize(
    ("case", "undone"), [(case, at % 2 == 1) for at, case in enumerate(CASES.values())], ids=list(CASES)
)
def test_a_fault_is_one_error_and_then_all_is_well(world: World, tmp_path: Path, case: Case, undone: bool) -> None:
    before = stores(world.live)
    wanted = expected(world.live, before)
    record = begun(world, tmp_path / "faulted", case.method)
    if case.port == HTTPS:
        # By REST and nothing else: the other way would carry it round the fault.
        world.front.spoil(SSH, Refuse())
    try:
        with pytest.raises(case.kinds) as caught:
            go(world, record, At(case.step, lambda: world.front.spoil(case.port, case.fault)))
    finally:
        world.front.heal()
    told = f"{caught.value.message} {caught.value.hint}"
    assert "destination" in told or NODE in told
    assert caught.value.hint
    assert not [secret for secret in secrets_of(world.live) if secret in told]
    for name, nodes in stores(world.live).items():
        for node, held in nodes.items():
            assert before[name][node] <= held <= wanted[name][node]
    again = ExchangeRecord.read(record.folder)
    assert not again.finished
    if not undone:
        go(world, again)
        assert again.finished
        assert stores(world.live) == wanted
    back(world, again)
    assert stores(world.live) == before


def test_a_node_that_is_too_busy_is_given_up_in_time(world: World, tmp_path: Path) -> None:
    before = stores(world.live)
    record = begun(world, tmp_path / "busy", Method.CERTIFICATES)
    node = world.live.node(NODE)
    world.front.spoil(SSH, Refuse())

    def busy() -> None:
        node.https_disturbed = lambda path: Disturbance(busy=path.startswith("/platformcom"))

    try:
        with pytest.raises(Throttled):
            go(world, record, At("upload destination", busy))
    finally:
        node.https_disturbed = lambda path: UNDISTURBED
        world.front.heal()
    go(world, record)
    assert record.finished
    back(world, record)
    assert stores(world.live) == before


@pytest.mark.parametrize("port", [SSH, HTTPS])
def test_somebody_else_in_a_nodes_place_stops_it_and_is_told_nothing(world: World, tmp_path: Path, port: str) -> None:
    before = stores(world.live)
    method = Method.BULK if port == SSH else Method.CERTIFICATES
    record = begun(world, tmp_path / "stranger", method)
    with contextlib.ExitStack() as stack:
        stranger = stack.enter_context(
            ssh_stranger(tmp_path) if port == SSH else tls_stranger(TlsIdentity.of(replace(STRANGER)))
        )
        world.front.say(port, stranger.address)
        try:
            with pytest.raises(IdentityChanged, match=r"has changed|host key") as caught:
                go(world, record)
        finally:
            world.front.heal()
        assert stranger.heard == []
    assert not [secret for secret in secrets_of(world.live) if secret in f"{caught.value.message}{caught.value.hint}"]
    go(world, record)
    assert record.finished
    back(world, record)
    assert stores(world.live) == before
