"""Somebody who answers in a node's place, with an identity of their own, and keeps what they are told.

with tls_stranger(identity) as stranger:
    front.say(HTTPS, stranger.address)
    ...
assert stranger.heard == []
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from trustbridge.clients.tls import TlsIdentity
from trustbridge.services.oscli import start_oscli

Address = tuple[str, int]

_PATIENCE: Final = 20.0
_BYTES: Final = 65536


@dataclass
class Stranger:
    """Somebody who answers in a node's place, with an identity of their own.

    Attributes:
        address: where.
        heard: what they were told after the handshake: nobody should have said anything.
    """

    address: Address = ("", 0)
    heard: list[str] = field(default_factory=list)


@contextmanager
def _in_a_thread(start: Callable[[], Coroutine[Any, Any, tuple[Address, Callable[[], Any]]]]) -> Iterator[Address]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stranger")
    thread.start()

    def do(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(_PATIENCE)

    try:
        address, stop = do(start())
        try:
            yield address
        finally:
            do(stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE)
        loop.close()


@contextmanager
def tls_stranger(identity: TlsIdentity) -> Iterator[Stranger]:
    """A TLS server with a certificate of its own, which keeps every byte it is told inside TLS."""
    stranger = Stranger()

    async def start() -> tuple[Address, Callable[[], Any]]:
        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(_BYTES):
                    stranger.heard.append(data.decode("latin-1"))
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=identity.server_context())

        async def stop() -> None:
            server.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        return server.sockets[0].getsockname()[:2], stop

    with _in_a_thread(start) as stranger.address:
        yield stranger


@contextmanager
def ssh_stranger(folder: Path) -> Iterator[Stranger]:
    """An SSH server with a host key of its own, which lets everybody in and keeps every user and password."""
    stranger = Stranger()

    class Nothing:
        greeting = "Welcome\n"

        def name(self, line: str) -> str | None:
            return None

        async def run(self, line: str) -> Any:
            stranger.heard.append(line)
            yield "No valid command entered\n"

    async def admit(user: str, password: str) -> bool:
        stranger.heard.append(f"{user} {password}")
        return True

    async def start() -> tuple[Address, Callable[[], Any]]:
        server = await start_oscli(Nothing(), host="127.0.0.1", port=0, authenticate=admit, host_key=folder / "another")
        return server.address, server.stop

    with _in_a_thread(start) as stranger.address:
        yield stranger
