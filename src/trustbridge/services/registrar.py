"""Where phones register: SIP REGISTER over TCP, and over TLS with the phone's certificate on a secure cluster.

The server knows SIP and connections; who may register is decided by a pure function it is given. A registration
holds until it expires or is taken back, not only while its connection lasts: a lab has tens of thousands of phones,
and most of them register and hang up (see `services.register`).

A connection is a protocol object with one timer and no task, so that thousands of idle ones cost memory only.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from trustbridge.clients.addresses import port_taken
from trustbridge.errors import DecodeError, InvalidInput
from trustbridge.pki.certificate import Certificate
from trustbridge.services.registration import (
    Client,
    Handler,
    RegistrarCounters,
    Registration,
    RegistrationAnswer,
    answer,
)
from trustbridge.wire import sip

if TYPE_CHECKING:
    from trustbridge.clients.tls import TlsIdentity

__all__ = [
    "Handler",
    "RegistrarCounters",
    "RegistrarLimits",
    "RegistrarServer",
    "Registration",
    "RegistrationAnswer",
    "start_registrar",
]

log = logging.getLogger(__name__)

#: Connections the kernel holds ready before the server takes them.
BACKLOG = 1024
#: Connections taken before the loop does other work, and seconds to wait when none can be taken.
_ACCEPT_AT_ONCE = 32
_ACCEPT_PAUSE = 0.1
_GARBLED = b"SIP/2.0 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class RegistrarLimits:
    """What one client may take: bytes of headers and body, connections at once, seconds.

    Attributes:
        connections: with TLS, each costs 35 KB under uvloop and 280 KB under asyncio's own loop.
        handshake_seconds: from the connection to the end of the TLS handshake.
        request_seconds: from the first byte of a request to its last, and for reading our answers.
        idle_seconds: without a request; a phone that registered may be silent for as long as it is registered.
    """

    header_bytes: int = sip.MAX_HEADERS
    body_bytes: int = sip.MAX_BODY
    connections: int = 20_000
    handshake_seconds: float = 10.0
    request_seconds: float = 10.0
    idle_seconds: float = 60.0


class RegistrarServer:
    """A running registrar; `start_registrar` makes one.

    Attributes:
        address: where it listens.
        counters: what has happened so far.
    """

    def __init__(
        self,
        handler: Handler,
        listening: socket.socket,
        limits: RegistrarLimits,
        context: Callable[[Sequence[Certificate]], ssl.SSLContext] | None,
        authorities: Sequence[Certificate],
    ) -> None:
        self.address: tuple[str, int] = listening.getsockname()[:2]
        self.counters = RegistrarCounters()
        self._handler = handler
        self._listening = listening
        self._limits = limits
        self._make_context = context
        self._authorities = tuple(authorities)
        self._context = context(self._authorities) if context else None
        self._accepting: asyncio.Task[None] | None = None
        self._greeting: set[asyncio.Task[Any]] = set()
        self._connections: set[_Connection] = set()
        self._all_gone: asyncio.Event | None = None

    @property
    def client_authorities(self) -> tuple[Certificate, ...]:
        """CAPF certificates that phones' certificates must come from. Set it at any time: it holds for every
        connection from then on."""
        return self._authorities

    @client_authorities.setter
    def client_authorities(self, authorities: Sequence[Certificate]) -> None:
        self._authorities = tuple(authorities)
        if self._make_context is not None:
            self._context = self._make_context(self._authorities)

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._accepting is None:
            return
        self._accepting.cancel()
        self._all_gone = asyncio.Event()
        for greeting in list(self._greeting):
            greeting.cancel()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(self._accepting, *self._greeting, return_exceptions=True)
        self._accepting = None
        self._listening.close()
        if self._connections:
            await self._all_gone.wait()

    async def _accept(self) -> None:
        """Take connections for ever. By hand and not by `create_server`, because the TLS context may change while
        the server runs, and because a failed handshake counts: so shows a phone with another cluster's LSC."""
        loop = asyncio.get_running_loop()
        limits, counters = self._limits, self.counters
        while True:
            for _ in range(_ACCEPT_AT_ONCE):
                try:
                    sock, peer = await loop.sock_accept(self._listening)
                except OSError as error:  # out of file descriptors, or a client that has gone already
                    log.warning("cannot take a connection on %s:%d: %s", *self.address, error)
                    await asyncio.sleep(_ACCEPT_PAUSE)
                    continue
                if counters.open >= limits.connections:
                    counters.turned_away += 1
                    sock.close()
                    continue
                counters.connections += 1
                counters.open += 1
                connection = _Connection(self, Client(peer[:2], secure=self._context is not None))
                greeting = loop.create_task(
                    loop.connect_accepted_socket(
                        functools.partial(_same, connection),
                        sock,
                        ssl=self._context,
                        ssl_handshake_timeout=limits.handshake_seconds if self._context else None,
                        ssl_shutdown_timeout=limits.request_seconds if self._context else None,
                    )
                )
                self._greeting.add(greeting)
                greeting.add_done_callback(functools.partial(self._greeted, sock, connection))
            await asyncio.sleep(0)  # a flood of connections must leave time for those that stand

    def _greeted(self, sock: socket.socket, connection: _Connection, greeting: asyncio.Task[Any]) -> None:
        self._greeting.discard(greeting)
        if greeting.cancelled():
            sock.close()  # it may have been cancelled before it took the socket over
        elif (error := greeting.exception()) is not None:
            self.counters.handshakes_failed += 1
            log.info("TLS handshake with %s failed: %s", connection.client.peer[0], error)
        if not connection.made:
            self.counters.open -= 1


async def start_registrar(
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    port: int = 5060,
    tls: TlsIdentity | None = None,
    client_authorities: Sequence[Certificate] = (),
    require_client_certificate: bool = True,
    legacy_tls: bool = False,
    limits: RegistrarLimits | None = None,
) -> RegistrarServer:
    """Listen for phones that register.

    Args:
        handler: decides; called in the event loop, so it must not wait for anything. What it raises becomes 500.
        port: 5060, or 5061 with TLS, by convention; 0 for any free one.
        tls: the node's CallManager identity: speak TLS, and ask phones for their certificate.
        client_authorities: CAPF certificates that phones' certificates (LSC) must come from; replaceable later.
        require_client_certificate: turn away phones without a certificate in the handshake, as Unified CM does;
            otherwise `Registration.peer_subject` tells the handler.
        legacy_tls: see `TlsIdentity.server_context`.
        limits: what one client may take.

    Raises:
        PortTaken: address and port can't be bound.
        SettingsError: TLS can't use the identity.
    """
    context = None
    if tls is not None:
        context = functools.partial(
            _server_context, tls, legacy=legacy_tls, require_client_certificate=require_client_certificate
        )
    try:
        listening = socket.create_server((host, port), backlog=BACKLOG)
        # Accepted sockets inherit it; asyncio sets it only on sockets made in another way.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise port_taken("SIP over TLS" if tls else "SIP over TCP", host, port, error) from error
    try:
        server = RegistrarServer(handler, listening, limits or RegistrarLimits(), context, client_authorities)
    except BaseException:
        listening.close()
        raise
    listening.setblocking(False)
    server._accepting = asyncio.get_running_loop().create_task(server._accept())
    return server


def _server_context(
    tls: TlsIdentity, authorities: Sequence[Certificate], *, legacy: bool, require_client_certificate: bool
) -> ssl.SSLContext:
    return tls.server_context(
        legacy=legacy,
        client_authorities=authorities,
        require_client_certificate=require_client_certificate,
    )


def _same(connection: _Connection) -> _Connection:
    """A factory of protocols for one that is there already."""
    return connection


class _Connection(asyncio.Protocol):
    """One client, from its first byte of SIP to its last. `made` says whether it came that far."""

    def __init__(self, server: RegistrarServer, client: Client) -> None:
        limits = server._limits
        self._server = server
        self.client = client
        self.made = False
        self._loop = asyncio.get_running_loop()
        self._reader = sip.Reader(max_headers=limits.header_bytes, max_body=limits.body_bytes)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_is_for_request = False
        self._idle_seconds = limits.idle_seconds

    # -- life ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.made = True
        self._server._connections.add(self)
        session: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        der = session.getpeercert(binary_form=True) if session is not None else None
        if der:
            try:
                subject = Certificate.from_der(der).subject
            except InvalidInput:
                # OpenSSL has verified it, so the signature holds; only its names are beyond us.
                subject = "?"
            self.client = replace(self.client, subject=subject)
        self._wait(for_request=False)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        server = self._server
        server._connections.discard(self)
        server.counters.open -= 1
        if server._all_gone is not None and not server._connections:
            server._all_gone.set()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # -- time ---------------------------------------------------------------------------------------------------

    def _wait(self, *, for_request: bool) -> None:
        """Start the one timer. That of a request which has begun isn't started again by more of its bytes."""
        if self._timer is not None:
            if for_request and self._timer_is_for_request:
                return
            self._timer.cancel()
        self._timer_is_for_request = for_request
        seconds = self._server._limits.request_seconds if for_request else self._idle_seconds
        self._timer = self._loop.call_later(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        self._server.counters.timed_out += 1
        self.abort()

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests, and not for long."""
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.pause_reading()
            self._wait(for_request=True)

    def resume_writing(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._wait(for_request=self._reader.pending)

    # -- requests -----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        answers: list[bytes] = []
        try:
            message = self._reader.feed(data)
            while message is not None:
                answers.append(self._answer(message))
                message = self._reader.feed(b"")
        except DecodeError as error:
            self._server.counters.malformed += 1
            log.info("%s sent what is not SIP: %s", self.client.peer[0], error)
            self._transport.write(b"".join(answers) + _GARBLED)
            self._transport.close()
            self._wait(for_request=True)  # a client that does not read must not keep the closing transport
            return
        self._wait(for_request=self._reader.pending)
        if answers:
            self._transport.write(b"".join(answers))

    def _answer(self, message: sip.Request | sip.Response | sip.KeepAlive) -> bytes:
        server = self._server
        data, seconds = answer(message, self.client, server._handler, server.counters, secrets.token_hex(8))
        if seconds is not None:
            self._idle_seconds = max(server._limits.idle_seconds, float(seconds))
        self._timer_is_for_request = False  # what follows is another request, with a time of its own
        return data
