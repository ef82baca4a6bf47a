"""A node's Trust Verification Service: TLS on TCP 2445, many clients in one event loop.

What a client says and what it is told is `tvssession`; here are sockets, deadlines and room.

* All sockets of a server hang in one epoll set, which hangs in the event loop as a single descriptor: a client costs
  a few system calls and little of the loop's own bookkeeping, under asyncio and uvloop alike, and none under
  `servingloop`. (Hence Linux only.)
* Deadlines: what a client waits in (handshake, request, idle, sending) is a queue, first in first, since all in it
  wait equally long. One sweep looks at the heads. Silence and slowness cost one dictionary entry, so thousands of idle
  clients do not slow a busy one.
* Room: when there are too many connections, or no descriptors left, the client that has waited longest goes.
* Whatever a client does ends its own connection, is counted, and is logged in one line; a flood of such lines is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import select
import socket
import ssl
from collections import Counter
from dataclasses import dataclass
from time import monotonic

import structlog

from trustbridge.clients.addresses import port_taken
from trustbridge.clients.tls import TlsIdentity
from trustbridge.services.servingloop import Events, ServingLoop
from trustbridge.services.tvssession import ORDINARY, Answer, Desk, Ending, Phase, TvsCounters, TvsSession

_log = structlog.stdlib.get_logger(__name__)

PORT = 2445

#: More than a full TLS record (16 KiB and a few bytes): usually all there is.
_RECEIVE_BYTES = 17 * 1024
#: Events, then clients taken, before the loop's other work gets its turn. A handshake costs some 0.4 ms.
_EVENTS_AT_ONCE = 32
_ACCEPTS_AT_ONCE = 64
_BACKLOG = 4096
#: Seconds between looks at the deadlines; they hold that precisely.
_SWEEP = 0.25
#: Connections ended in one sweep; the rest waits for the next, soon, so that no client waits for all of them.
_ENDINGS_AT_ONCE = 256
#: Lines a second about connections that ended badly; the rest is summed up.
_LINES_A_SECOND = 20
#: Seconds without taking clients after the descriptors ran out and nothing could be closed.
_STARVED_PAUSE = 0.1
_STARVED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: The most connections by default, and descriptors left to everything else in the process.
_MOST_CONNECTIONS = 8192
_OTHER_DESCRIPTORS = 128

_TOO_SLOW = {
    Phase.AWAITING_HANDSHAKE: Ending.SLOW_HANDSHAKE,
    Phase.IN_REQUEST: Ending.SLOW_REQUEST,
    Phase.IDLE: Ending.IDLE,
    Phase.SENDING: Ending.SLOW_READER,
}


@dataclass(frozen=True, slots=True)
class TvsLimits:
    """How patient a server is.

    Attributes:
        handshake: seconds from connecting to the end of the TLS handshake.
        request: seconds from a request's first byte to its last, and for a client to take its answer.
        idle: seconds without a request.
        connections: the most at once; None: 8192, or what the process may open less a reserve.
    """

    handshake: float = 10.0
    request: float = 10.0
    idle: float = 60.0
    connections: int | None = None

    def most_connections(self) -> int:
        """`connections`, or what stands for None in this process."""
        if self.connections is not None:
            return max(1, self.connections)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return _MOST_CONNECTIONS
        return min(_MOST_CONNECTIONS, max(soft - _OTHER_DESCRIPTORS, soft // 2, 1))


DEFAULT_LIMITS = TvsLimits()


class _Connection:
    """A client's socket, its session, and where it stands in line."""

    __slots__ = ("peer", "phase", "session", "socket", "turn", "unsent")

    def __init__(self, client: socket.socket, peer: tuple[str, int], session: TvsSession) -> None:
        self.socket = client
        self.peer = peer
        self.session = session
        self.phase = session.phase
        self.turn = session.turn
        self.unsent = b""


#: Connections that wait for the same, with the time each began to, the longest waiting first.
_Queue = dict[_Connection, float]


class TvsServer:
    """A running Trust Verification Service. Made by `start_tvs`.

    Attributes:
        address: host and port it listens on.
        counters: what it has done so far.
    """

    def __init__(
        self, listener: socket.socket, answer: Answer, context: ssl.SSLContext, limits: TvsLimits, legacy_tls: bool
    ) -> None:
        self._listener = listener
        self._context = context
        self._legacy_tls = legacy_tls
        self._desk = Desk(answer)
        self.counters: TvsCounters = self._desk.counters
        host, port = listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        self._connections: dict[int, _Connection] = {}
        self._most = limits.most_connections()
        patience = {
            Phase.AWAITING_HANDSHAKE: limits.handshake,
            Phase.IN_REQUEST: limits.request,
            Phase.IDLE: limits.idle,
            Phase.SENDING: limits.request,
        }
        # By phase.
        self._patience = tuple(patience[phase] for phase in Phase)
        self._queues: tuple[_Queue, ...] = tuple({} for _ in Phase)
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._window = memoryview(self._buffer)
        self._unlogged: Counter[Ending] = Counter()
        self._lines_left = _LINES_A_SECOND
        self._lines_since = monotonic()
        self._starved = False
        self._timer: asyncio.TimerHandle | None = None
        self._resuming: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._poll = select.epoll()
        self._poll.register(listener, select.EPOLLIN)
        self._attach()

    @property
    def connections(self) -> int:
        """Clients connected now."""
        return len(self._connections)

    def set_answer(self, answer: Answer) -> None:
        """Answer so from the next request on; nobody is disconnected."""
        self._desk.answer = answer

    def set_identity(self, identity: TlsIdentity) -> None:
        """Present this identity to clients that connect from now on; nobody is disconnected.

        Raises:
            SettingsError: TLS can't use it; the old one stays.
        """
        self._context = identity.server_context(legacy=self._legacy_tls)

    async def stop(self) -> None:
        """Stop listening and end every connection; again, nothing happens."""
        if self._poll.closed:
            return
        if not (isinstance(self._loop, ServingLoop) and self._loop.stop_serving(self._poll)):
            self._loop.remove_reader(self._poll.fileno())
        for timer in (self._timer, self._resuming):
            if timer is not None:
                timer.cancel()
        self._listener.close()
        for connection in list(self._connections.values()):
            self._end(connection, Ending.STOPPED)
        self._log_unlogged()
        self._poll.close()

    def _attach(self) -> None:
        if isinstance(self._loop, ServingLoop) and self._loop.serve(
            self._poll, self._on_ready, events_at_once=_EVENTS_AT_ONCE
        ):
            return
        self._loop.add_reader(self._poll.fileno(), lambda: self._on_ready(self._poll.poll(0, _EVENTS_AT_ONCE)))

    def _on_ready(self, events: Events) -> None:
        now = monotonic()
        for descriptor, _ in events:
            connection = self._connections.get(descriptor)
            if connection is not None:
                self._serve(connection, now)
            elif descriptor == self._listener.fileno():
                self._accept(now)

    def _accept(self, now: float) -> None:
        accept, connections = self._listener.accept, self._connections
        for taken in range(_ACCEPTS_AT_ONCE):
            try:
                client, address = accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Anything else concerns the client at hand (gone already, forbidden by a firewall): next, please.
                if error.errno in _STARVED:
                    # The kernel looks for a descriptor first and for a client then. That one waits is only known
                    # where the listener was found ready for it.
                    if taken:
                        return
                    if not self._drop_longest_waiting():
                        self._pause()
                        return
                continue
            if len(connections) >= self._most:
                self._drop_longest_waiting()
            client.setblocking(False)
            connection = _Connection(client, address, TvsSession(self._context, self._desk))
            descriptor = client.fileno()
            connections[descriptor] = connection
            self._queues[connection.phase][connection] = now
            self._poll.register(descriptor, select.EPOLLIN)
            self.counters.accepted += 1
            self._starved = False
            if self._timer is None:
                self._timer = self._loop.call_later(_SWEEP, self._sweep)

    def _pause(self) -> None:
        """Nothing to close, nothing to open: look away from the listener, which would be found ready for ever."""
        self.counters.starved += 1
        if not self._starved:
            _log.warning("no descriptors left to take TVS clients")
        self._starved = True
        self._poll.unregister(self._listener)
        self._resuming = self._loop.call_later(_STARVED_PAUSE, self._resume)

    def _resume(self) -> None:
        self._resuming = None
        self._poll.register(self._listener, select.EPOLLIN)

    def _serve(self, connection: _Connection, now: float) -> None:
        try:
            if connection.unsent:
                self._send_rest(connection, now)
                return
            count = connection.socket.recv_into(self._buffer)
            if not count:
                # Clients that end without TLS's goodbye, but between requests, are ordinary.
                idle = connection.phase is Phase.IDLE
                self._end(connection, Ending.CLOSED if idle else Ending.VANISHED)
                return
            session = connection.session
            reply = session.receive(self._window[:count])
            if reply:
                sent = self._send(connection, reply)
                if sent < len(reply):
                    connection.unsent = reply[sent:]
                    # Nothing more is read from a client until it has taken what it was told.
                    self._poll.modify(connection.socket, select.EPOLLOUT)
                    self._enqueue(connection, Phase.SENDING, now)
            if session.ending is not None:
                self._end(connection, session.ending, session.detail)
            elif session.turn != connection.turn and not connection.unsent:
                self._enqueue(connection, session.phase, now)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(connection, Ending.VANISHED, error.strerror or str(error))
        except Exception as error:  # a fault of ours with one client: the others must not notice
            self._end(connection, Ending.UNANSWERED, f"{type(error).__name__}: {error}")

    def _enqueue(self, connection: _Connection, phase: Phase, now: float) -> None:
        del self._queues[connection.phase][connection]
        connection.phase = phase
        connection.turn = connection.session.turn
        self._queues[phase][connection] = now

    @staticmethod
    def _send(connection: _Connection, data: bytes) -> int:
        """How many bytes the socket took; never all where a client does not take its answers."""
        try:
            return connection.socket.send(data)
        except BlockingIOError:
            return 0

    def _send_rest(self, connection: _Connection, now: float) -> None:
        connection.unsent = connection.unsent[self._send(connection, connection.unsent) :]
        if not connection.unsent:
            self._poll.modify(connection.socket, select.EPOLLIN)
            self._enqueue(connection, connection.session.phase, now)

    def _end(self, connection: _Connection, ending: Ending, detail: str = "") -> None:
        client = connection.socket
        if self._connections.pop(client.fileno(), None) is None:
            return
        del self._queues[connection.phase][connection]
        self.counters.ended[ending] += 1
        if ending is not Ending.CLOSED and ending is not Ending.VANISHED and not connection.unsent:
            farewell = connection.session.farewell()
            if farewell:
                with contextlib.suppress(OSError):
                    client.send(farewell)
        client.close()  # leaves the epoll set by itself
        if ending not in ORDINARY:
            self._log_ending(connection, ending, detail)

    def _log_ending(self, connection: _Connection, ending: Ending, detail: str) -> None:
        if not self._lines_left:
            self._unlogged[ending] += 1
            return
        self._lines_left -= 1
        host, port = connection.peer[:2]
        _log.warning("TVS client dropped", peer=f"{host}:{port}", reason=str(ending), detail=detail)

    def _log_unlogged(self) -> None:
        if self._unlogged:
            _log.warning("more TVS clients dropped", **{str(ending): n for ending, n in self._unlogged.items()})
            self._unlogged.clear()

    def _drop_longest_waiting(self) -> bool:
        """End the connection that has waited longest; a client that is being sent its answer only if no other is left.

        Returns whether one was ended.
        """
        phases = (Phase.AWAITING_HANDSHAKE, Phase.IDLE, Phase.IN_REQUEST)
        heads = [next(iter(self._queues[phase].items())) for phase in phases if self._queues[phase]]
        if not heads:
            heads = [next(iter(self._queues[Phase.SENDING].items()))] if self._queues[Phase.SENDING] else []
        if not heads:
            return False
        self._end(min(heads, key=lambda head: head[1])[0], Ending.CROWDED_OUT)
        return True

    def _sweep(self) -> None:
        now = monotonic()
        if now - self._lines_since >= 1:
            self._lines_since = now
            self._lines_left = _LINES_A_SECOND
            self._log_unlogged()
        ended = 0
        for phase in Phase:
            queue = self._queues[phase]
            latest = now - self._patience[phase]
            while queue and ended < _ENDINGS_AT_ONCE:
                connection, since = next(iter(queue.items()))
                if since > latest:
                    break
                self._end(connection, _TOO_SLOW[phase])
                ended += 1
        again = _SWEEP if ended < _ENDINGS_AT_ONCE else _SWEEP / 25
        idle = not self._connections and not self._unlogged and self._lines_left == _LINES_A_SECOND
        self._timer = None if idle else self._loop.call_later(again, self._sweep)


async def start_tvs(
    answer: Answer,
    identity: TlsIdentity,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    legacy_tls: bool = False,
    reuse_port: bool = False,
    limits: TvsLimits = DEFAULT_LIMITS,
) -> TvsServer:
    """Serve TVS until `stop()`.

    Args:
        answer: request -> response, as `VouchIndex.answer`; called from the event loop, so it must not wait.
        identity: what clients see; a phone accepts it only if its trust list names it with role TVS.
        host: address to listen on, IPv4 or IPv6.
        port: 0 takes a free one, see `TvsServer.address`.
        legacy_tls: also TLS 1.0 and RSA key exchange, for old phones; `TlsIdentity.server_context` says what it
            weakens.
        reuse_port: share the port with other processes that ask for the same.

    Raises:
        PortTaken: address or port can't be had.
        SettingsError: TLS can't use the identity.
    """
    context = identity.server_context(legacy=legacy_tls)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted sockets inherit it, and no call is needed for each.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setblocking(False)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise port_taken("TVS", host, port, error) from error
    return TvsServer(listener, answer, context, limits, legacy_tls)
