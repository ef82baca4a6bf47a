"""Faults on the wire between the driver and a node: one clear error, a cluster as it was, then all is well."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.strangers import Stranger, ssh_stranger, tls_stranger
from tests.e2e.test_cluster import STRANGER, credentials_of, entry_of, secrets_of
from tests.e2e.wirefaults import (
    HTTP,
    HTTPS,
    SSH,
    TFTP,
    Close,
    Drip,
    Fault,
    Front,
    Garble,
    HalfClose,
    Refuse,
    Reset,
    Say,
    Stall,
)
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones

from trustbridge.clients.tls import TlsIdentity
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials, Secret
from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import Interface, TrustedCertificate
from trustbridge.cucm.oscli import OsCli
from trustbridge.errors import Garbled, IdentityChanged, Throttled, TrustbridgeError, Unreachable
from trustbridge.pki.units import BulkType, Store
from trustbridge.services.httpsnode import UNDISTURBED, Disturbance

NODE = "dst-pub"
STORE = Store.PHONE_SAST_TRUST
CERTIFICATE = STRANGER.certificate
#: For what answers: a loaded machine may take its time.
PATIENT = Patience(attempts=2, pause=0.01, throttled=0.5)
#: For what never does.
SHORT = Patience(
    connect=0.5, answer=0.5, attempts=2, pause=0.01, throttled=0.5, log_in=0.5, command=0.5, long_command=0.5
)
#: Seconds that an error may take, whatever else the machine does.
BOUND = 45.0
EVERYTHING = tuple(BulkType)


@dataclass
class World:
    """A lab, a front before a node of its destination, and what the driver remembers of them."""

    live: LiveLab
    front: Front
    state: Path

    @property
    def cluster(self) -> Any:
        return self.live.destination

    def stores(self) -> dict[tuple[str, str], set[Any]]:
        """What every node of both clusters trusts."""
        return {
            (cluster.name, node): set(stores)
            for cluster in (self.live.source, self.live.destination)
            for node, stores in cluster.stores.items()
        }

    def credentials(self, realm: str = "both") -> Credentials:
        right = credentials_of(self.cluster)
        return {"both": right, "app": Credentials(app=right.app), "os": Credentials(os=right.os)}[realm]

    def drive(self, work: Callable[[Cluster], Awaitable[Any]], *, patience: Patience = PATIENT, **options: Any) -> Any:
        async def run() -> Any:
            entry = self.front.entry(entry_of(self.cluster))
            credentials = options.pop("credentials", credentials_of(self.cluster))
            state = options.pop("state", self.state)
            async with Cluster.open(entry, credentials, state=state, patience=patience, **options) as opened:
                return await work(opened)

        return asyncio.run(run())


@pytest.fixture(scope="module")
def world(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    definition = lab_definition(phones(2), source={"release": "12.5"}, destination={"release": "15"})
    with LiveLab(prepared.lab(folder / "lab", definition)) as live:
        live.exchange()
        with Front.before(live.destination, NODE) as front:
            yield World(live, front, folder / "state")


@pytest.fixture(autouse=True)
def _healed(world: World, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Each test finds the lab whole and leaves it so; and whatever anybody logged meanwhile holds no secret."""
    caplog.set_level(1)
    before = world.stores()
    yield
    assert_no_secret(world, caplog.text)
    world.front.heal()
    world.live.node(NODE).https_disturbed = lambda path: UNDISTURBED
    for (name, node), stores in before.items():
        now = set(world.live.lab.clusters[name].stores[node])
        assert now == stores, f"{name}/{node} was left changed"


# What is done through the front, and what must have come of it.


@dataclass(frozen=True)
class Deed:
    """Something the driver does through the front.

    Attributes:
        ways: ports it may go by; the fault is on all of them.
        interface: named in the error.
        do: does it.
        prefer: the interface tried first.
        realm: whose password there is: `os`, `app` or `both`.
        prepare, undo: bring the lab to where it can be done, and back.
        done: that it was done.
    """

    ways: tuple[str, ...]
    interface: Interface
    do: Callable[[Cluster, World], Awaitable[Any]]
    prefer: Interface | None = None
    realm: str = "both"
    prepare: Callable[[World], None] = lambda world: None
    done: Callable[[World], None] = lambda world: None
    undo: Callable[[World], None] = lambda world: None


def held(world: World) -> bool:
    return any(one.certificate == CERTIFICATE for one in world.cluster.stores[NODE].entries(STORE))


def put(world: World) -> None:
    world.live.call(lambda: world.cluster.upload_trust(STORE, CERTIFICATE))


def take(world: World) -> None:
    world.live.call(lambda: world.cluster.remove_trust(STORE, CERTIFICATE))


def take_if_held(world: World) -> None:
    if held(world):
        take(world)


def is_held(world: World) -> None:
    assert held(world)


def is_gone(world: World) -> None:
    assert not held(world)


def consolidated(world: World) -> None:
    """There is something to import that the cluster has not."""

    async def again() -> None:
        for cluster in (world.live.destination, world.live.source):
            await cluster.export(EVERYTHING)
        await world.live.source.consolidate(EVERYTHING)

    world.live.do(again())
    forget_source(world)


def forget_source(world: World) -> None:
    signer = world.live.source.list_signer(world.live.source.publisher).certificate
    world.live.call(lambda: world.cluster.remove_trust(STORE, signer))


def knows_source(world: World) -> None:
    signer = world.live.source.list_signer(world.live.source.publisher).certificate
    assert signer in {one.certificate for one in world.cluster.stores[NODE].entries(STORE)}


def all_done(lines: Any) -> None:
    assert [line.succeeded for line in lines] == [True] * len(lines)
    assert lines


async def mode(cluster: Cluster, world: World) -> None:
    assert await cluster.security_mode() == "mixed"


async def identities(cluster: Cluster, world: World) -> None:
    assert await cluster.identities(NODE)


async def trusted(cluster: Cluster, world: World) -> None:
    assert await cluster.trusted(NODE, STORE)


async def lists(cluster: Cluster, world: World) -> None:
    found = await cluster.trust_list_files(NODE)
    assert [one.content for one in found] == [world.live.node(NODE).served(one.name) for one in found]


async def upload(cluster: Cluster, world: World) -> None:
    await cluster.upload_trust(NODE, STORE, [CERTIFICATE])


async def delete(cluster: Cluster, world: World) -> None:
    await cluster.delete_trust(NODE, TrustedCertificate(NODE, STORE, CERTIFICATE))


async def export(cluster: Cluster, world: World) -> None:
    all_done(await cluster.bulk_export(EVERYTHING))


async def import_(cluster: Cluster, world: World) -> None:
    all_done(await cluster.bulk_import(EVERYTHING))


async def reset(cluster: Cluster, world: World) -> None:
    await cluster.reset_phones([phone.name for phone in world.live.phones])


DEEDS = {
    "security mode by AXL": Deed((HTTPS,), Interface.AXL, mode, realm="app"),
    "security mode by command line": Deed((SSH,), Interface.CLI, mode, realm="os"),
    "identities": Deed((HTTPS, SSH), Interface.REST, identities),
    "trusted": Deed((SSH, HTTPS), Interface.CLI, trusted, prefer=Interface.CLI),
    "trust lists": Deed((HTTP, TFTP), Interface.HTTP_FILES, lists),
    "upload by REST": Deed((HTTPS,), Interface.REST, upload, done=is_held, undo=take_if_held),
    "upload by command line": Deed(
        (SSH,), Interface.CLI, upload, prefer=Interface.CLI, done=is_held, undo=take_if_held
    ),
    "delete": Deed((SSH,), Interface.CLI, delete, prepare=put, done=is_gone, undo=take_if_held),
    "bulk export": Deed((SSH,), Interface.CLI, export),
    "bulk import": Deed((SSH,), Interface.CLI, import_, prepare=consolidated, done=knows_source),
    "reset phones": Deed((HTTPS,), Interface.AXL, reset),
}

LOST = (Unreachable,)
#: Ended or spoiled: a connection that breaks, or an answer that makes no sense; which one depends on who read how much.
SPOILED = (Unreachable, Garbled)
Kinds = tuple[type[TrustbridgeError], ...]
FAULTS: dict[str, tuple[Fault, Kinds]] = {
    "refused": (Refuse(), LOST),
    "reset": (Reset(), LOST),
    "reset in the answer": (Reset(after=100), LOST),
    "reset before the request": (Reset(to_server=True), LOST),
    "closed in the answer": (Close(after=60), SPOILED),
    "half closed": (HalfClose(), SPOILED),
    "silent": (Stall(), LOST),
    "deaf": (Stall(to_server=True), LOST),
    "garbled": (Garble(), SPOILED),
    "garbled in the answer": (Garble(after=40), SPOILED),
    "dripping": (Drip(pause=0.1), LOST),
}
#: Those that are only found out by waiting.
WAITED_FOR = (Stall, Drip, Garble)


def hasten(cluster: Cluster, patience: Patience) -> None:
    """Another patience, on connections that stand as well: these were opened with all the time in the world."""
    access = cluster._access
    access.patience = patience
    for opened in access._open.values():
        if isinstance(opened, OsCli):
            opened._timeout, opened._login_timeout = patience.command, patience.log_in
        else:
            opened._patience = patience
            opened._connections._connect = patience.connect


def standing(cli: OsCli) -> bool:
    return cli._shell is not None and not cli._shell.ended


def check(error: TrustbridgeError, deed: Deed, world: World) -> None:
    """One error a person can use: where, over what, and what to do; and no secret anywhere near it."""
    assert error.message.startswith((f"{NODE} ({deed.interface})", f"destination ({deed.interface})")), error.message
    assert str(error) == error.message
    assert error.hint
    assert_no_secret(world, *spoken(error))


def spoken(error: BaseException | None) -> Iterator[str]:
    """Everything an error and those behind it could tell."""
    while error is not None:
        yield f"{error!r} {error} {getattr(error, 'hint', '')} {getattr(error, '__notes__', '')}"
        error = error.__cause__ or error.__context__


def assert_no_secret(world: World, *texts: str) -> None:
    """Neither as it is, nor as HTTP carries it."""
    secrets = [*secrets_of(world.live)]
    accounts = world.cluster.accounts
    for realm in ("os", "application"):
        secrets.append(base64.b64encode(":".join(accounts.credentials(realm)).encode()).decode())
    assert not [secret for secret in secrets if any(secret in text for text in texts)]


async def ready(cluster: Cluster, deed: Deed) -> None:
    """Connections stand."""
    if deed.realm == "app":
        await cluster.security_mode()
    else:
        await cluster.nodes()
        await cluster.trusted(NODE, Store.CAPF_TRUST)


def faulted(
    world: World,
    deed: Deed,
    fault: Callable[[], None],
    kinds: Kinds,
    *,
    short: bool = False,
    settled: bool = False,
) -> tuple[TrustbridgeError, Cluster]:
    """Do it with a fault, which is one error and leaves things as they were or done, and then without.

    Args:
        short: do not wait long for it.
        settled: wait until sessions of the command line are known to have ended: a change is asked of a new one.
    """
    deed.prepare(world)
    before = world.stores()
    found: list[Any] = []

    async def work(cluster: Cluster) -> None:
        await ready(cluster, deed)
        hasten(cluster, SHORT if short else PATIENT)
        fault()
        if settled:
            async with asyncio.timeout(BOUND):
                while any(isinstance(one, OsCli) and standing(one) for one in cluster._access._open.values()):
                    await asyncio.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(TrustbridgeError) as caught:
            await deed.do(cluster, world)
        assert time.monotonic() - began < BOUND
        found[:] = caught.value, cluster, world.stores(), len(cluster.written())
        check(caught.value, deed, world)
        assert_no_secret(world, repr(cluster), repr(cluster._access._open), repr(cluster.written()), *cluster.detours())
        world.front.heal()
        world.live.node(NODE).https_disturbed = lambda path: UNDISTURBED
        hasten(cluster, PATIENT)
        await deed.do(cluster, world)

    world.drive(work, credentials=world.credentials(deed.realm), prefer=deed.prefer)
    error, cluster, meanwhile, written = found
    deed.done(world)
    assert meanwhile in (before, world.stores())
    assert written == 0
    deed.undo(world)
    assert type(error) in kinds, error.message
    return error, cluster


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", DEEDS)
def test_a_fault_is_one_clear_error_and_the_same_succeeds_without_it(world: World, name: str, fault: str) -> None:
    deed, (spoiling, kinds) = DEEDS[name], FAULTS[fault]

    def begin() -> None:
        for way in deed.ways:
            # One answer of TFTP's may be the whole file.
            world.front.spoil(way, replace(spoiling, after=0) if way == TFTP else spoiling)

    # TFTP is waited for in any case: nobody says that nobody is there.
    error, _ = faulted(world, deed, begin, kinds, short=isinstance(spoiling, WAITED_FOR) or TFTP in deed.ways)
    for other in deed.ways[1:]:
        assert f"({NAMES[other]})" in error.message  # what became of the other way is told, too


NAMES = {SSH: Interface.CLI, HTTPS: Interface.REST, HTTP: Interface.HTTP_FILES, TFTP: Interface.TFTP}


@pytest.mark.parametrize("name", ["security mode by AXL", "upload by REST", "reset phones"])
@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        (Garble(), SPOILED),  # a head without a line end may still become one
        (Close(after=30), (Garbled,)),
        (Reset(after=30), (Unreachable, Garbled)),
        (Stall(after=30), (Unreachable,)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Fault) else "",
)
def test_a_fault_inside_tls_is_one_clear_error(world: World, name: str, fault: Fault, kinds: Kinds) -> None:
    world.front.inside_tls()
    faulted(
        world, DEEDS[name], lambda: world.front.spoil(HTTPS, fault), kinds, short=fault in (Garble(), Stall(after=30))
    )


@pytest.mark.parametrize("name", ["security mode by AXL", "upload by REST", "reset phones"])
@pytest.mark.parametrize(
    ("trouble", "kind"),
    [(Disturbance(busy=True), Throttled), (Disturbance(garble=True), Garbled)],
    ids=["busy", "noise"],
)
def test_a_node_that_stays_busy_or_answers_noise(
    world: World, name: str, trouble: Disturbance, kind: type[TrustbridgeError]
) -> None:
    def begin() -> None:
        world.live.node(NODE).https_disturbed = lambda path: trouble

    faulted(world, DEEDS[name], begin, (kind,))


@pytest.mark.parametrize("port", [SSH, HTTPS])
@pytest.mark.parametrize("fault", [*FAULTS, "another protocol"])
def test_at_the_first_contact_too(world: World, tmp_path: Path, port: str, fault: str) -> None:
    spoiling, kinds = FAULTS.get(fault, (Say(words=b"220 mail.example ESMTP\r\n"), SPOILED))
    interface = Interface.CLI if port == SSH else Interface.AXL
    deed = replace(DEEDS["security mode by AXL"], interface=interface)

    async def release(cluster: Cluster) -> None:
        with pytest.raises(TrustbridgeError) as caught:
            await cluster.release()
        check(caught.value, deed, world)
        assert type(caught.value) in kinds
        world.front.heal()
        hasten(cluster, PATIENT)
        assert (await cluster.release()).at_least(15)

    world.front.spoil(port, spoiling)
    patience = SHORT if isinstance(spoiling, WAITED_FOR) else PATIENT
    world.drive(
        release, credentials=world.credentials("os" if port == SSH else "app"), patience=patience, state=tmp_path
    )


@pytest.mark.parametrize(("port", "realm"), [(SSH, "os"), (HTTPS, "app")])
@pytest.mark.parametrize("fault", [Reset(times=1), Close(after=30, times=1), Close(to_server=True, times=1)])
def test_a_connection_that_breaks_once_is_made_again(world: World, port: str, realm: str, fault: Fault) -> None:
    async def release(cluster: Cluster) -> None:
        assert (await cluster.release()).at_least(15)

    world.front.spoil(port, fault)
    before = world.front.wires[port].taken
    world.drive(release, credentials=world.credentials(realm))
    assert world.front.wires[port].taken == before + 2


@pytest.mark.parametrize("fault", [Garble(), Reset(), Close(), HalfClose()], ids=lambda fault: type(fault).__name__)
def test_a_read_over_a_connection_that_went_bad_is_asked_again_over_another(world: World, fault: Fault) -> None:
    async def reads(cluster: Cluster) -> None:
        await cluster.security_mode()
        before = world.front.wires[HTTPS].taken
        world.front.strike(HTTPS, fault)
        assert await cluster.security_mode() == "mixed"
        assert world.front.wires[HTTPS].taken == before + 1

    world.drive(reads, credentials=world.credentials("app"))


def test_a_session_that_breaks_between_two_reads_is_opened_anew_unseen(world: World) -> None:
    async def reads(cluster: Cluster) -> None:
        await cluster.security_mode()
        world.front.cut(SSH)
        assert await cluster.security_mode() == "mixed"
        assert cluster.detours() == ()

    world.drive(reads, credentials=world.credentials("os"))


@pytest.mark.parametrize(
    ("broken", "ways", "name"),
    [
        (HTTP, Interface.TFTP, "trust lists"),
        (HTTPS, Interface.CLI, "identities"),
        (SSH, Interface.REST, "trusted"),
    ],
)
def test_where_there_is_another_way_it_is_taken_and_told(world: World, broken: str, ways: Interface, name: str) -> None:
    deed = DEEDS[name]

    async def work(cluster: Cluster) -> None:
        await ready(cluster, deed)
        world.front.spoil(broken, Reset())
        await deed.do(cluster, world)
        assert ways in dict(cluster.ways()).values()
        (detour,) = cluster.detours()
        assert f"not by {NAMES[broken]}: " in detour

    world.drive(work, prefer=deed.prefer)


# Strangers.


@contextmanager
def diverted(world: World, port: str, folder: Path) -> Iterator[Stranger]:
    """Somebody else answers at a port of the node."""
    identity = TlsIdentity((CERTIFICATE,), STRANGER.private_key)
    with tls_stranger(identity) if port == HTTPS else ssh_stranger(folder) as stranger:
        world.front.say(port, stranger.address)
        yield stranger


@pytest.mark.parametrize("name", [name for name in DEEDS if name != "trust lists"])
def test_a_stranger_in_the_nodes_place_is_told_nothing_and_is_gone_round_by_nobody(
    world: World, tmp_path: Path, name: str
) -> None:
    deed = DEEDS[name]
    port = deed.ways[0]
    with diverted(world, port, tmp_path) as stranger:
        world.front.heal()

        def begin() -> None:
            world.front.say(port, stranger.address)

        error, cluster = faulted(world, deed, begin, (IdentityChanged,), settled=port == SSH)
    assert stranger.heard == []
    assert "has changed" in error.message
    assert cluster.detours() == ()


def test_a_stranger_is_told_what_somebody_says_to_it(world: World, tmp_path: Path) -> None:
    """The strangers of these tests would hear a password: one that never knew the node tells them."""
    for port in (SSH, HTTPS):
        folder = tmp_path / port
        folder.mkdir()
        with diverted(world, port, folder) as stranger:
            credentials = Credentials(Secret("os for strangers"), Secret("app for strangers"))
            realm = "os" if port == SSH else "app"

            async def release(cluster: Cluster) -> None:
                with contextlib.suppress(TrustbridgeError):
                    await cluster.release()

            one = Credentials(os=credentials.os) if realm == "os" else Credentials(app=credentials.app)
            world.drive(release, credentials=one, state=folder / "state", patience=SHORT)
            heard = " ".join(stranger.heard)
            told = base64.b64encode(f"{world.cluster.accounts.user('application')}:app for strangers".encode()).decode()
            assert ("os for strangers" if port == SSH else told) in heard
        world.front.heal()
