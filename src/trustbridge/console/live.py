"""Pages that refresh themselves: server-sent events, one look at the database a topic however many read it.

    desk.live.topic("job", look, show)

`look(argument)` runs in a thread, at the most once a second, and gives anything that can be compared; when it is
another than before, `show(found)` gives HTML, once for each language and zone among those who read. In a page:

    {% call live("job", job.id) %} what show() gives as well {% endcall %}

A page works without all this: loaded again it shows the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from trustbridge.console.accounts import Accounts
from trustbridge.console.words import Reader, speaking
from trustbridge.errors import TrustbridgeError

log = logging.getLogger(__name__)
#: Seconds between two looks; and between two signs of life to a browser, when it is seen whether its session holds.
EACH: Final = 1.0
ALIVE: Final = 15.0
#: Streams that are open at the same time.
MOST: Final = 200
#: Nobody is signed in any more.
LEAVE: Final = b"event: leave\ndata: \n\n"


@dataclass(frozen=True, slots=True)
class _Topic:
    look: Callable[[str], Any]
    show: Callable[[Any], str]


@dataclass(slots=True)
class _Watch:
    """One topic's argument that somebody reads."""

    readers: dict[asyncio.Event, Reader] = field(default_factory=dict)
    shown: dict[Reader, str] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


class Live:
    """All topics."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._topics: dict[str, _Topic] = {}
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False
        self.streams = 0

    def topic(self, name: str, look: Callable[[str], Any], show: Callable[[Any], str]) -> None:
        """Add one; see the module."""
        self._topics[name] = _Topic(look, show)

    def knows(self, name: str) -> bool:
        """Whether there is such a topic."""
        return name in self._topics

    def stop(self) -> None:
        """End all streams, as a server does that stops; may be called by a handler of signals."""
        self._stopped = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for watch in self._watches.values():
            for event in watch.readers:
                event.set()

    async def stream(self, name: str, argument: str, token: str) -> AsyncGenerator[bytes, None]:
        """Events for one browser: `show` with HTML, `leave` when the session has ended: the page is loaded again then.

        A server that stops just ends it: the browser asks again until there is one.

        Args:
            token: of the session; "" for one that needs none.
        """
        from trustbridge.console.words import reader

        self._loop = asyncio.get_running_loop()
        watch = self._watches.setdefault((name, argument), _Watch())
        changed, who = asyncio.Event(), reader()
        watch.readers[changed] = who
        if watch.task is None:
            watch.task = asyncio.create_task(self._look(name, argument, watch), name=f"live {name}/{argument}")
        if watch.shown:  # others read it already, perhaps in another language
            watch.shown.pop(who, None)
        self.streams += 1
        last, alive = "", time.monotonic()
        try:
            yield b"retry: 3000\n\n"
            while not self._stopped:
                html = watch.shown.get(who)
                if html is not None and html != last:
                    last = html
                    yield _event("show", html)
                changed.clear()
                try:
                    await asyncio.wait_for(changed.wait(), max(0.05, alive + ALIVE - time.monotonic()))
                except TimeoutError:
                    alive = time.monotonic()
                    if token and await asyncio.to_thread(self._accounts.session, token, touch=False) is None:
                        yield LEAVE
                        return
                    yield b": alive\n\n"
        finally:
            self.streams -= 1
            del watch.readers[changed]
            if not watch.readers:
                if watch.task is not None:
                    watch.task.cancel()
                self._watches.pop((name, argument), None)

    async def _look(self, name: str, argument: str, watch: _Watch) -> None:
        topic = self._topics[name]
        before: Any = None
        while not self._stopped:
            try:
                found = await asyncio.to_thread(topic.look, argument)
                wanted = set(watch.readers.values())
                if found != before or not wanted <= set(watch.shown):
                    watch.shown = {who: await asyncio.to_thread(_shown, topic, found, who) for who in wanted}
                    before = found
                    for event in watch.readers:
                        event.set()
            except TrustbridgeError as error:
                log.warning("live %s: %s", name, error)
            except Exception:
                log.exception("live %s failed", name)
            await asyncio.sleep(EACH)


def _shown(topic: _Topic, found: Any, who: Reader) -> str:
    with speaking(who):
        return topic.show(found)


def _event(name: str, html: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in html.splitlines() or [""])
    return f"event: {name}\n{lines}\n".encode()
