"""One service in several processes that share a port (SO_REUSEPORT): the kernel spreads clients over them.

Workers are spawned, not forked: each imports what it needs and loads its own keys, so that neither key material nor a
running event loop is handed over, and nothing secret stands in arguments or the environment. One that dies is started
again, each time in a row after twice as long. When the supervisor dies, workers end by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from multiprocessing.process import parent_process
from time import monotonic

import structlog

from trustbridge.clients.addresses import port_taken
from trustbridge.errors import TrustbridgeError
from trustbridge.services import servingloop

_log = structlog.stdlib.get_logger(__name__)

#: Seconds until a worker that died is started again: the first time, and at most.
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
#: A worker that ran this long and then died counts as the first to die.
_SETTLED = 60.0
#: Seconds for a worker to listen, and to end when told to.
_START_PATIENCE = 30.0
_STOP_PATIENCE = 5.0


@dataclass(slots=True)
class Seat:
    """A worker's place: what it is told, and how it tells that it serves.

    Attributes:
        number: 0, 1, 2, ...
        address: host and port to listen on, sharing the port.
        stopping: set when the worker shall end.
    """

    number: int
    address: tuple[str, int]
    stopping: asyncio.Event
    _pipe: multiprocessing.connection.Connection

    def ready(self) -> None:
        """Tell the supervisor that this worker serves."""
        self._pipe.send(None)


#: What a worker does: start a service at its seat, say `ready()`, wait for `stopping`, stop. A function of a module,
#: called with the seat and the arguments given to `start_workers`, which must be picklable.
Work = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Task:
    """All that a worker is told besides its seat."""

    work: Work
    arguments: tuple[object, ...]
    prepare: Callable[[], None] | None


class Workers:
    """Running workers. Made by `start_workers`.

    Attributes:
        address: host and port they share.
        restarts: how many times a worker that died was started again.
    """

    def __init__(self, task: _Task, reserved: socket.socket) -> None:
        self._task = task
        # Bound and never listening: it keeps the port ours between a worker's death and its successor.
        self._reserved = reserved
        host, port = reserved.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        self.restarts = 0
        self._processes: dict[int, SpawnProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that run, by number."""
        return tuple(
            process.pid for _, process in sorted(self._processes.items()) if process.pid and process.is_alive()
        )

    async def start(self, count: int) -> None:
        """Start `count` workers; back when all serve."""
        try:
            results = await asyncio.gather(*(self._spawn(number) for number in range(count)), return_exceptions=True)
            for failure in filter(None, results):
                raise failure
        except BaseException:
            await self.stop()
            raise
        self._keepers = [asyncio.create_task(self._keep(number)) for number in range(count)]

    async def stop(self) -> None:
        """End the workers, gently first; again, nothing happens."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers = []
        processes = list(self._processes.values())
        self._processes = {}
        for process in processes:
            process.terminate()
        for process in processes:
            if not await _ended(process, _STOP_PATIENCE):
                process.kill()
                await _ended(process, _STOP_PATIENCE)
            process.close()
        self._reserved.close()

    async def _spawn(self, number: int) -> None:
        """Start one worker; back when it serves.

        Raises:
            TrustbridgeError: it said so, or ended, or did not serve in time.
        """
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_worker, args=(self._task, number, self.address, theirs), daemon=True)
        process.start()
        self._processes[number] = process
        theirs.close()
        with ours:
            if not await _readable(ours.fileno(), _START_PATIENCE):
                process.kill()
                raise TrustbridgeError(f"Worker {number} did not start within {_START_PATIENCE:g} s")
            try:
                failure = ours.recv()
            except EOFError:
                raise TrustbridgeError(f"Worker {number} ended while it started") from None
        if failure is not None:
            raise TrustbridgeError(*failure)

    async def _keep(self, number: int) -> None:
        pause = _FIRST_PAUSE
        while True:
            started = monotonic()
            process = self._processes[number]
            await _ended(process, None)
            _log.error("worker died", worker=number, pid=process.pid, exit_code=process.exitcode)
            if monotonic() - started > _SETTLED:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            self.restarts += 1
            try:
                await self._spawn(number)
            except TrustbridgeError as error:
                _log.error("worker did not start again", worker=number, reason=error.message, hint=error.hint)
            else:
                _log.info("worker started again", worker=number, pid=self._processes[number].pid)


async def start_workers(
    count: int,
    work: Work,
    *arguments: object,
    host: str,
    port: int,
    what: str,
    prepare: Callable[[], None] | None = None,
) -> Workers:
    """Run `work` in `count` processes that share `host` and `port`; back when all of them serve.

    Args:
        work: see `Work`.
        arguments: for `work`, after its seat; picklable, and carried over a pipe.
        port: 0 takes a free one, see `Workers.address`.
        what: the service's name for messages.
        prepare: called first in each worker, as to start logging; a function of a module.

    Raises:
        PortTaken: somebody listens there, or the address can't be had.
        TrustbridgeError: a worker could not start.
    """
    workers = Workers(_Task(work, arguments, prepare), _reserve(host, port, what))
    await workers.start(count)
    return workers


def _reserve(host: str, port: int, what: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Sharing would quietly succeed beside another instance of the same user: look first without sharing.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        raise port_taken(what, host, port, error) from error
    return reserved


async def _readable(descriptor: int, patience: float | None) -> bool:
    """Wait until there is something to read, or the other end is gone; False after `patience` seconds."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await asyncio.wait_for(ready.wait(), patience)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


async def _ended(process: SpawnProcess, patience: float | None) -> bool:
    if not await _readable(process.sentinel, patience):
        return False
    # Its descriptors are closed, so it is gone, or will be within milliseconds.
    process.join(_STOP_PATIENCE)
    return not process.is_alive()


def _worker(task: _Task, number: int, address: tuple[str, int], pipe: multiprocessing.connection.Connection) -> None:
    # Ctrl-C reaches the whole group; the supervisor then tells its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if task.prepare is not None:
            task.prepare()
        servingloop.run(_sit(task, number, address, pipe))
    except TrustbridgeError as error:
        with contextlib.suppress(OSError):
            pipe.send((error.message, error.hint))
        raise SystemExit(error.exit_code) from None


async def _sit(task: _Task, number: int, address: tuple[str, int], pipe: multiprocessing.connection.Connection) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    supervisor = parent_process()
    assert supervisor is not None
    # Readable once the supervisor is gone, however it went.
    loop.add_reader(supervisor.sentinel, stopping.set)
    await task.work(Seat(number, address, stopping, pipe), *task.arguments)
    loop.remove_reader(supervisor.sentinel)
