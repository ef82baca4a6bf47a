"""The console over HTTP: uvicorn, with limits, and an end that waits for nobody's open page."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from trustbridge import atomicfile
from trustbridge.clients.addresses import port_taken
from trustbridge.console.app import create_app
from trustbridge.console.desk import Desk
from trustbridge.console.tls import ServerIdentity
from trustbridge.errors import NotNow

#: Connections at the same time; those beyond are told to come again.
_CONNECTIONS: Final = 500
#: Seconds that a connection without a request is kept, and that requests have for their end when the server stops.
_KEEP: Final = 30
_GRACE: Final = 8
#: Bytes of a request's head.
_HEAD: Final = 32 * 1024


def serve(
    desk: Desk,
    host: str,
    port: int,
    identity: ServerIdentity | None,
    *,
    listening: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until a signal says stop.

    Args:
        port: 0 takes any.
        identity: for HTTPS; None: plain HTTP.
        listening: told the address, when connections are taken.

    Raises:
        PortTaken: host and port can't be bound.
        NotNow: another console runs from the same state folder.
    """
    with alone(desk.state), bound(host, port) as listener:
        config = uvicorn.Config(
            create_app(desk),
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP,
            timeout_graceful_shutdown=_GRACE,
            limit_concurrency=_CONNECTIONS,
            h11_max_incomplete_event_size=_HEAD,
            ssl_certfile=None if identity is None else identity.certificate,
            ssl_keyfile=None if identity is None else str(identity.key),
        )
        name = host if ":" not in host else f"[{host}]"
        listening(f"{'http' if identity is None else 'https'}://{name}:{listener.getsockname()[1]}")
        _Server(config, desk).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, desk: Desk) -> None:
        super().__init__(config)
        self._desk = desk

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Pages that refresh themselves would keep the server waiting. Unlike uvicorn's own, this does not send itself
        # the signal once more at the end: a server that was asked to stop, and has, has not failed.
        self._desk.live.stop()
        self.force_exit = self.should_exit
        self.should_exit = True


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens.

    Raises:
        PortTaken: it can't be bound.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=256)
    except OSError as error:
        raise port_taken("The console", host, port, error) from error
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """The only console of a state folder, for as long as the context: what ran when it began, is nobody's any more.

    Raises:
        NotNow: another one is there.
    """
    with atomicfile.in_words("the console can't use its state folder"):
        atomicfile.private_folder(state)
        descriptor = os.open(state / "console.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, atomicfile.PRIVATE_FILE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotNow(
                f"another console runs from {state}",
                "Use that one, or stop it; or give this one a state folder of its own (TRUSTBRIDGE_STATE_FOLDER).",
            ) from None
        yield
    finally:
        os.close(descriptor)
