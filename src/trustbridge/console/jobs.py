"""Long work: begun by a request, carried out in the server's loop, shown by any page, also after a restart.

    job = desk.jobs.start("bulk-export", N_("Export from %(cluster)s"), who.name, work, values={"cluster": name},
                          key=f"bulk:{name}")

`work` is `async def work(told): ...` and gives what is kept as the result: anything that JSON holds. It calls
`told(what, done, total)` as often as it likes, from any thread; a `total` of 0: nobody knows. What takes the processor
belongs into a thread: `await asyncio.to_thread(...)`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from trustbridge.errors import NotNow, TrustbridgeError
from trustbridge.storage.jobs import AGAIN, INTERRUPTED, JobRecord, JobTable
from trustbridge.storage.models import JobState

log = logging.getLogger(__name__)

#: Told how far work is: what, done, total.
Told = Callable[[str, int, int], None]
Work = Callable[[Told], Awaitable[Any]]
#: Seconds between two writes of how far a job is, at the least; and at the most, so that others know it is at work.
_OFTEN: Final = 0.5
_BEAT: Final = 15.0


class Jobs:
    """The jobs of this server, and what the database knows of all.

    Args:
        state: the state folder: what one server ran before is told from what others run by it.
    """

    def __init__(self, engine: Engine, state: Path, now: Callable[[], datetime]) -> None:
        self.table = JobTable(engine)
        self._now = now
        self._place = hashlib.sha256(f"{socket.gethostname()}:{state}".encode()).hexdigest()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """The server begins: what it ran when it was stopped is interrupted."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self.table.interrupt, self._place, now=self._now())

    async def close(self) -> None:
        """The server ends: what runs is cancelled, and is interrupted."""
        loop, self._loop = self._loop, None
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if loop is None:
            return
        await asyncio.gather(*tasks, return_exceptions=True)
        try:  # one that was cancelled before its first step has not said so itself
            await asyncio.to_thread(self.table.interrupt, self._place, now=self._now())
        except TrustbridgeError as error:
            log.warning("jobs that were interrupted are marked at the next start: %s", error)

    def start(
        self,
        kind: str,
        title: str,
        who: str,
        work: Work,
        *,
        values: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> JobRecord:
        """Begin long work; may be called from any thread, and from the loop.

        Args:
            kind: for programs, such as "bulk-export".
            title: for people, marked with `N_`; `values` are put in when it is shown.
            who: the user's name.
            key: no two jobs of the same key run at a time; the kind, where none is given.

        Raises:
            NotNow: one of this key runs, or the server is about to end.
        """
        loop = self._loop
        if loop is None:
            raise NotNow("the server is being stopped", "Do it again when it is up.")
        job = self.table.add(key or kind, kind, title, values or {}, who, self._place, now=self._now())
        loop.call_soon_threadsafe(self._begin, job, work)
        return job

    def _begin(self, job: JobRecord, work: Work) -> None:
        task = asyncio.get_running_loop().create_task(self._run(job, work), name=f"job {job.id}")
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
        if self._loop is None:  # it was closed meanwhile
            task.cancel()

    async def _run(self, job: JobRecord, work: Work) -> None:
        progress = _Progress()
        beat = asyncio.create_task(self._beat(job, progress))
        end: dict[str, Any]
        try:
            result = await work(progress.told)
            end = {"state": JobState.DONE, "result": json.loads(json.dumps(result, default=str))}
        except asyncio.CancelledError:
            end = {"state": JobState.INTERRUPTED, "error": INTERRUPTED, "hint": AGAIN}
        except TrustbridgeError as error:
            end = {"state": JobState.FAILED, "error": error.message, "hint": error.hint}
        except Exception as error:
            log.exception("job %s, %s, failed", job.id, job.kind)
            end = {
                "state": JobState.FAILED,
                "error": f"trustbridge itself failed: {type(error).__name__}",
                "hint": "This is a fault of the program. The server's log shows what happened.",
            }
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
        try:
            await asyncio.to_thread(self._end, job, progress, end)
        except TrustbridgeError as error:
            log.error("job %s, %s, ended, and that could not be kept: %s", job.id, job.kind, error)

    def _end(self, job: JobRecord, progress: _Progress, end: Mapping[str, Any]) -> None:
        self.table.progress(job.id, *progress.now, now=self._now())
        self.table.end(job.id, now=self._now(), **end)

    async def _beat(self, job: JobRecord, progress: _Progress) -> None:
        kept, at = progress.now, time.monotonic()
        while True:
            await asyncio.sleep(_OFTEN)
            if progress.now == kept and time.monotonic() - at < _BEAT:
                continue
            kept, at = progress.now, time.monotonic()
            try:
                await asyncio.to_thread(self.table.progress, job.id, *kept, now=self._now())
            except TrustbridgeError as error:
                log.warning("how far job %s is could not be kept: %s", job.id, error)

    async def ended(self, number: int) -> None:
        """Wait until a job of this server has ended; one that is not at work has."""
        await asyncio.sleep(0)
        task = self._tasks.get(number)
        if task is not None:
            await asyncio.wait([task])


class _Progress:
    def __init__(self) -> None:
        self.now: tuple[str, int, int] = ("", 0, 0)

    def told(self, what: str, done: int = 0, total: int = 0) -> None:
        self.now = (str(what)[:500], int(done), int(total))
