"""Phones of a large lab that start in processes of their own: one process can't use a second core.

Only a phone's start goes there, which is nearly all a phone ever does: an order says which phone and where it is
registered, the report says what became of it. Its flash is on disk, where every process sees it; its pages, its calls
and everything else stay in the lab's own process, as without workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import pickle
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

from trustbridge import eventloop
from trustbridge.errors import TrustbridgeError
from trustbridge.lab.phone import LabPhone, PhoneIdentity, PhoneNetwork, Standing
from trustbridge.services import openfiles
from trustbridge.trust.events import Line, Outcome, RegistrationTarget

#: Bytes of a frame's length before it.
_LENGTH: Final = 4
#: Seconds for a process to begin, and to end when told to.
_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Order:
    identity: PhoneIdentity
    registered_with: RegistrationTarget | None


@dataclass(frozen=True, slots=True)
class BootReport:
    """What became of a phone that has started: see the attributes of `LabPhone`; `status` are new messages."""

    name: str
    standing: Standing
    outcome: Outcome
    transcript: Sequence[Line]
    status: Sequence[tuple[datetime, str]]
    tftp_servers: tuple[str, ...]
    registered_with: RegistrationTarget | None


class _Worker:
    """One process, and who waits for it."""

    def __init__(self, process: SpawnProcess, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.process = process
        self.writer = writer
        self.waiting: dict[str, asyncio.Future[BootReport]] = {}
        self.over = False
        self.listening = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                report: BootReport = await _read(reader)
                future = self.waiting.pop(report.name, None)
                if future is not None and not future.done():
                    future.set_result(report)
        self.over = True
        for name, future in self.waiting.items():
            if not future.done():
                future.set_exception(TrustbridgeError(f"the process in which {name} started has ended"))
        self.waiting.clear()


class FleetWorkers:
    """Processes for phones. Made by `start_fleet_workers`."""

    def __init__(self, workers: Sequence[_Worker]) -> None:
        self._workers = tuple(workers)
        self._turn = 0

    async def boot(self, phone: LabPhone) -> BootReport:
        """Start a phone there.

        Raises:
            TrustbridgeError: the process has ended.
        """
        standing = [one for one in self._workers if not one.over]
        if not standing:
            raise TrustbridgeError("no process is left in which phones start", "Stop the lab, and start it again.")
        self._turn += 1
        worker = standing[self._turn % len(standing)]
        future = asyncio.get_running_loop().create_future()
        worker.waiting[phone.name] = future
        _write(worker.writer, _Order(phone.identity, phone.registered_with))
        try:
            report: BootReport = await future
        finally:
            worker.waiting.pop(phone.name, None)
        return report

    async def stop(self) -> None:
        """End the processes, gently first."""
        for worker in self._workers:
            worker.writer.close()
        for worker in self._workers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(worker.listening, _PATIENCE)
            await asyncio.to_thread(worker.process.join, _PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                await asyncio.to_thread(worker.process.join, _PATIENCE)
            worker.process.close()


async def start_fleet_workers(count: int, folder: Path, network: PhoneNetwork) -> FleetWorkers:
    """Start processes for phones whose flash is in `folder`.

    Raises:
        OSError: the system grants none.
    """
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker] = []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        process = context.Process(target=_work, args=(theirs, folder, network), daemon=True)
        await asyncio.to_thread(process.start)
        theirs.close()
        ours.setblocking(False)
        workers.append(_Worker(process, *await asyncio.open_connection(sock=ours)))
    return FleetWorkers(workers)


# In the process.


def _work(pipe: socket.socket, folder: Path, network: PhoneNetwork) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the lab then tells its processes
    openfiles.raise_limit()
    eventloop.run(_serve(pipe, folder, network))


async def _serve(pipe: socket.socket, folder: Path, network: PhoneNetwork) -> None:
    pipe.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=pipe)
    starting: set[asyncio.Task[None]] = set()

    async def start(order: _Order) -> None:
        phone = LabPhone(order.identity, folder / order.identity.name, network, lambda: datetime.now(UTC))
        phone.registered_with = order.registered_with
        outcome = await phone.boot()
        report = BootReport(
            phone.name,
            phone.standing,
            outcome,
            phone.transcript,
            tuple(phone.status),
            phone.tftp_servers,
            phone.registered_with,
        )
        _write(writer, report)

    # It ends with the lab, however that ends.
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            task = asyncio.create_task(start(await _read(reader)))
            starting.add(task)
            task.add_done_callback(starting.discard)
    for task in starting:
        task.cancel()
    await asyncio.gather(*starting, return_exceptions=True)


# Frames. Both ends are this program, over a pair of sockets nobody else has.


async def _read(reader: asyncio.StreamReader) -> Any:
    length = int.from_bytes(await reader.readexactly(_LENGTH))
    return pickle.loads(await reader.readexactly(length))  # noqa: S301 - see above


def _write(writer: asyncio.StreamWriter, value: object) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    writer.write(len(data).to_bytes(_LENGTH) + data)
