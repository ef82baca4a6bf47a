"""The loop that serves one server inside its own sleep: asyncio misses nothing, and neither does the server."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trustbridge.services.servingloop import Events, ServingLoop, run


class Pipe:
    """A descriptor that is served, and what was said into it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.poll = select.epoll()
        self.poll.register(self.reader, select.EPOLLIN)
        self.heard: list[bytes] = []

    def ready(self, events: Events) -> None:
        if any(descriptor == self.reader for descriptor, _ in events):
            self.heard.append(os.read(self.reader, 100))

    def say(self, what: bytes) -> None:
        os.write(self.writer, what)

    def close(self) -> None:
        self.poll.close()
        os.close(self.reader)
        os.close(self.writer)


@contextmanager
def served() -> Iterator[tuple[Pipe, ServingLoop]]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ServingLoop)
    pipe = Pipe()
    assert loop.serve(pipe.poll, pipe.ready, events_at_once=8)
    try:
        yield pipe, loop
    finally:
        loop.stop_serving(pipe.poll)
        pipe.close()


def test_a_server_is_served_while_asyncio_sleeps() -> None:
    async def scenario() -> None:
        with served() as (pipe, _):
            threading.Timer(0.05, pipe.say, (b"a",)).start()
            start = time.monotonic()
            await asyncio.sleep(0.2)
            assert 0.19 < time.monotonic() - start < 0.4
            assert pipe.heard == [b"a"]

    run(scenario())


def test_timers_hold_while_the_server_is_busy() -> None:
    async def scenario() -> None:
        with served() as (pipe, _):

            def busy(events: Events) -> None:
                pipe.ready(events)
                pipe.say(b"again")

            loop = asyncio.get_running_loop()
            assert isinstance(loop, ServingLoop)
            loop.stop_serving(pipe.poll)
            assert loop.serve(pipe.poll, busy, events_at_once=8)
            pipe.say(b"first")
            start = time.monotonic()
            await asyncio.sleep(0.1)
            assert 0.09 < time.monotonic() - start < 0.3
            assert len(pipe.heard) > 10

    run(scenario())


@pytest.mark.parametrize("delay", [0, 0.05])
def test_what_is_scheduled_while_serving_is_done_in_time(delay: float) -> None:
    async def scenario() -> None:
        with served() as (pipe, loop):
            done = asyncio.Event()

            def schedule(events: Events) -> None:
                pipe.ready(events)
                if pipe.heard == [b"go"]:
                    if delay:
                        loop.call_later(delay, done.set)
                    else:
                        loop.call_soon(done.set)
                    pipe.heard.clear()

            loop.stop_serving(pipe.poll)
            loop.serve(pipe.poll, schedule, events_at_once=8)
            pipe.say(b"go")
            # Without a timer of its own asyncio would sleep until the next thing that concerns it.
            nudge = threading.Timer(1, loop.call_soon_threadsafe, (lambda: None,))
            nudge.start()
            start = time.monotonic()
            await done.wait()
            nudge.cancel()
            assert delay <= time.monotonic() - start + 0.01 < 0.5

    run(scenario())


def test_asyncio_hears_of_its_own_descriptors_threads_and_signals() -> None:
    async def scenario() -> None:
        with served() as (pipe, loop):
            reader, writer = os.pipe()
            readable, called, signalled = asyncio.Event(), asyncio.Event(), asyncio.Event()
            loop.add_reader(reader, readable.set)
            loop.add_signal_handler(signal.SIGUSR1, signalled.set)
            threading.Timer(0.02, os.write, (writer, b"x")).start()
            async with asyncio.timeout(5):
                await readable.wait()
                loop.remove_reader(reader)
                threading.Timer(0.02, loop.call_soon_threadsafe, (called.set,)).start()
                await called.wait()
                threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
                await signalled.wait()
            assert await asyncio.to_thread(lambda: 5) == 5
            pipe.say(b"still")
            await asyncio.sleep(0.01)
            assert pipe.heard == [b"still"]
            os.close(reader)
            os.close(writer)

    run(scenario())


def test_a_server_that_fails_is_reported_and_the_loop_goes_on() -> None:
    reported: list[str] = []

    async def scenario() -> None:
        with served() as (pipe, loop):

            def fail(events: Events) -> None:
                pipe.ready(events)
                if len(pipe.heard) == 1 and not reported:
                    raise KeyError("fault")

            loop.set_exception_handler(lambda _, context: reported.append(repr(context["exception"])))
            loop.stop_serving(pipe.poll)
            loop.serve(pipe.poll, fail, events_at_once=8)
            pipe.say(b"a")
            await asyncio.sleep(0.02)
            pipe.say(b"b")
            await asyncio.sleep(0.02)
            assert pipe.heard == [b"a", b"b"]

    run(scenario())
    assert reported == ["KeyError('fault')"]


def test_only_one_server_is_served_so() -> None:
    async def scenario() -> None:
        with served() as (pipe, loop):
            other = Pipe()
            assert not loop.serve(other.poll, other.ready, events_at_once=8)
            assert not loop.stop_serving(other.poll)
            assert loop.stop_serving(pipe.poll)
            assert loop.serve(other.poll, other.ready, events_at_once=8)
            other.say(b"x")
            await asyncio.sleep(0.01)
            assert other.heard == [b"x"]
            assert loop.stop_serving(other.poll)
            other.close()

    run(scenario())


def test_what_a_coroutine_raises_comes_out() -> None:
    async def scenario() -> None:
        raise LookupError("it")

    with pytest.raises(LookupError):
        run(scenario())
