"""Where phones register: SIP REGISTER over TCP, and over TLS with the phone's certificate on a secure cluster.

The server knows SIP and connections; who may register is decided by a pure function it is given. A registration
holds until it expires or is taken back, not only while its connection lasts: a lab has tens of thousands of phones,
and most of them register and hang up (see `services.register`).

A connection is a protocol object with one timer and no task, so that thousands of idle ones cost memory only.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from trustbridge.errors import DecodeError, InvalidInput
from trustbridge.pki.certificate import Certificate
from trustbridge.services.listening import port_taken
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
    from trustbridge.services.tls import TlsIdentity

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
_GARBLED = b"SIP/2.0 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class RegistrarLimits:
    """What one client may take: bytes of headers and body, connections at once, seconds.

    Attributes:
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


@dataclass(slots=True)
class RegistrarServer:
    """A running registrar; `start_registrar` makes one."""

    _handler: Handler
    _limits: RegistrarLimits
    _tls: TlsIdentity | None
    _legacy: bool
    _authorities: tuple[Certificate, ...]
    _require_certificate: bool
    counters: RegistrarCounters = field(default_factory=RegistrarCounters)
    _context: ssl.SSLContext | None = None
    _server: asyncio.Server | None = None
    _connections: set[_Connection] = field(default_factory=set)
    _all_gone: asyncio.Event | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    @property
    def client_authorities(self) -> tuple[Certificate, ...]:
        """CAPF certificates that phones' certificates must come from. Set it at any time: it holds for every
        connection from then on."""
        return self._authorities

    @client_authorities.setter
    def client_authorities(self, authorities: Sequence[Certificate]) -> None:
        self._authorities = tuple(authorities)
        self._build_context()

    def _build_context(self) -> None:
        if self._tls is not None:
            self._context = self._tls.server_context(
                legacy=self._legacy,
                client_authorities=self._authorities,
                require_client_certificate=self._require_certificate,
            )

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        self._all_gone = asyncio.Event()
        for connection in list(self._connections):
            connection.abort()
        if self._connections:
            await self._all_gone.wait()
        await self._server.wait_closed()


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
    server = RegistrarServer(
        handler,
        limits or RegistrarLimits(),
        tls,
        legacy_tls,
        tuple(client_authorities),
        require_client_certificate,
    )
    server._build_context()
    loop = asyncio.get_running_loop()
    try:
        listening = socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        raise port_taken("SIP over TLS" if tls else "SIP over TCP", host, port, error) from error
    server._server = await loop.create_server(lambda: _Connection(server, loop), sock=listening, backlog=BACKLOG)
    return server


class _Connection(asyncio.Protocol):
    """One client, from its first byte to its last."""

    def __init__(self, server: RegistrarServer, loop: asyncio.AbstractEventLoop) -> None:
        limits = server._limits
        self._server = server
        self._loop = loop
        self._reader = sip.Reader(max_headers=limits.header_bytes, max_body=limits.body_bytes)
        self._transport: asyncio.Transport | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._early = bytearray()
        self._ready = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_is_for_request = False
        self._idle_seconds = limits.idle_seconds
        self._client = Client(("", 0), secure=server._context is not None)

    # -- life ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        counters = self._server.counters
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if peer is not None:  # it is None after a client that has gone already
            self._client = replace(self._client, peer=peer[:2])
        if len(self._server._connections) >= self._server._limits.connections:
            counters.turned_away += 1
            self._transport.abort()
            return
        self._server._connections.add(self)
        counters.connections += 1
        counters.open += 1
        if self._server._context is None:
            self._begin()
        else:
            # Nothing may be read before TLS has taken over, or its first bytes would be lost to it.
            self._transport.pause_reading()
            self._handshake = self._loop.create_task(self._upgrade(self._transport, self._server._context))

    async def _upgrade(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        """TLS by hand and not by `create_server(ssl=...)`: authorities may change while the server runs, and a
        failed handshake is worth counting: it is how a phone with another cluster's certificate shows."""
        try:
            upgraded = await self._loop.start_tls(
                transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._server._limits.handshake_seconds,
                ssl_shutdown_timeout=self._server._limits.request_seconds,
            )
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError and timeouts are OSErrors
            if isinstance(error, OSError):
                self._server.counters.handshakes_failed += 1
                log.info("TLS handshake with %s failed: %s", self._client.peer[0], error)
            transport.abort()
            self._forget()
            return
        if upgraded is None or upgraded.is_closing():
            self._forget()
            return
        self._transport = upgraded
        session: ssl.SSLObject | None = upgraded.get_extra_info("ssl_object")
        der = session.getpeercert(binary_form=True) if session is not None else None
        if der:
            try:
                subject = Certificate.from_der(der).subject
            except InvalidInput:
                # OpenSSL has verified it, so the signature holds; only its names are beyond us.
                subject = "?"
            self._client = replace(self._client, subject=subject)
        self._begin()

    def _begin(self) -> None:
        self._ready = True
        self._wait(for_request=False)
        if self._early:
            data = bytes(self._early)
            self._early.clear()
            self.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self in self._server._connections:
            self._server._connections.discard(self)
            self._server.counters.open -= 1
            if self._server._all_gone is not None and not self._server._connections:
                self._server._all_gone.set()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._handshake is not None and not self._handshake.done():
            self._handshake.cancel()
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
        if not self._ready:
            self._early += data
            return
        assert self._transport is not None
        answers: list[bytes] = []
        try:
            message = self._reader.feed(data)
            while message is not None:
                answers.append(self._answer(message))
                message = self._reader.feed(b"")
        except DecodeError as error:
            self._server.counters.malformed += 1
            log.info("%s sent what is not SIP: %s", self._client.peer[0], error)
            self._transport.write(b"".join(answers) + _GARBLED)
            self._transport.close()
            self._wait(for_request=True)  # a client that does not read must not keep the closing transport
            return
        self._wait(for_request=self._reader.pending)
        if answers:
            self._transport.write(b"".join(answers))

    def _answer(self, message: sip.Request | sip.Response | sip.KeepAlive) -> bytes:
        server = self._server
        data, seconds = answer(message, self._client, server._handler, server.counters, secrets.token_hex(8))
        if seconds is not None:
            self._idle_seconds = max(server._limits.idle_seconds, float(seconds))
        self._timer_is_for_request = False  # what follows is another request, with a time of its own
        return data
