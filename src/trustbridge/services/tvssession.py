"""One client of a Trust Verification Service: TLS and the dialogue over it, bytes in and bytes out.

No socket and no clock here: `tvs` owns those. TLS runs over memory instead of a socket because that is cheaper, by
measurement: OpenSSL reads a socket twice for each TLS record, the server reads it once for a whole flight.

    AWAITING_HANDSHAKE --handshake done--> IDLE --first bytes of a request--> IN_REQUEST --answered--> IDLE

From each of them a session may end; `Ending` says why.
"""

from __future__ import annotations

import contextlib
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from trustbridge.clients.tls import tls_reason
from trustbridge.errors import DecodeError
from trustbridge.wire.tvs import MAX_REQUEST_BODY, Message, Reader, TvsMessage, encode

#: Request -> response. Called from the event loop: it answers from memory and waits for nothing.
Answer = Callable[[TvsMessage], TvsMessage]

#: A TLS record's content is no longer, so one read empties it.
_RECORD = 16384
#: First byte of a TLS handshake record; from 0x80 on, of a hello in SSL 2's framing, which old clients still use.
_TLS_HANDSHAKE = 0x16
_SSL2_FRAME = 0x80


class Phase(IntEnum):
    """What a session waits for. SENDING is the socket's: the client has not taken its answer yet."""

    AWAITING_HANDSHAKE = 0
    IDLE = 1
    IN_REQUEST = 2
    SENDING = 3


class Ending(StrEnum):
    """Why a connection ended."""

    CLOSED = "closed by the client"
    STOPPED = "server stopped"
    VANISHED = "client vanished"
    NOT_TLS = "not TLS"
    HANDSHAKE_FAILED = "TLS handshake failed"
    BROKEN_TLS = "broken TLS"
    MALFORMED = "malformed request"
    NOT_A_REQUEST = "not a request"
    UNANSWERED = "no answer could be made"
    SLOW_HANDSHAKE = "TLS handshake not finished in time"
    SLOW_REQUEST = "request not finished in time"
    SLOW_READER = "answer not taken in time"
    IDLE = "idle too long"
    CROWDED_OUT = "made room for a new client"


#: Endings that are nobody's fault.
ORDINARY = frozenset({Ending.CLOSED, Ending.STOPPED})


@dataclass(slots=True)
class TvsCounters:
    """What a server has done since it started.

    Attributes:
        accepted: connections taken.
        handshakes: of them, those whose TLS handshake was finished.
        requests: requests answered, by message.
        vouched: of them, those answered "valid".
        ended: connections ended, by reason.
        starved: how often no connection could be taken for want of file descriptors or memory.
    """

    accepted: int = 0
    handshakes: int = 0
    requests: Counter[Message] = field(default_factory=Counter)
    vouched: int = 0
    ended: Counter[Ending] = field(default_factory=Counter)
    starved: int = 0


@dataclass(slots=True)
class Desk:
    """What all sessions of a server share; `answer` may be changed at any time."""

    answer: Answer
    counters: TvsCounters = field(default_factory=TvsCounters)


class TvsSession:
    """TLS and TVS with one client.

    Attributes:
        phase: what it waits for.
        turn: counts finished handshakes, begun and answered requests: a deadline holds for one turn.
        ending: why it is over, or None. Once set, what `receive` returned is the last to be sent.
        detail: in words, what exactly ended it; may be empty.
    """

    __slots__ = (
        "_context", "_desk", "_incoming", "_outgoing", "_reader", "_tls", "detail", "ending", "phase", "turn"
    )  # fmt: skip

    def __init__(self, context: ssl.SSLContext, desk: Desk) -> None:
        self._context = context
        self._desk = desk
        # A silent client costs no TLS object: that is made when the first bytes come.
        self._tls: ssl.SSLObject | None = None
        self._incoming: ssl.MemoryBIO
        self._outgoing: ssl.MemoryBIO
        self._reader: Reader | None = None
        self.phase = Phase.AWAITING_HANDSHAKE
        self.turn = 0
        self.ending: Ending | None = None
        self.detail = ""

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take what arrived (at least one byte); give what to send, answers to every whole request included.

        Each answer is one TLS record. Not to be called again once `ending` is set.
        """
        tls = self._tls
        if tls is None:
            if data[0] != _TLS_HANDSHAKE and data[0] < _SSL2_FRAME:
                self._end(Ending.NOT_TLS, f"first byte 0x{data[0]:02x}")
                return b""
            self._incoming = ssl.MemoryBIO()
            self._outgoing = ssl.MemoryBIO()
            tls = self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(data)
        try:
            if self.phase is Phase.AWAITING_HANDSHAKE:
                tls.do_handshake()
                self.phase = Phase.IDLE
                self.turn += 1
                self._desk.counters.handshakes += 1
            # One read empties a record, so nothing is left in OpenSSL once nothing is left before it. (Asking it
            # once more to be told "not yet" costs an exception.)
            while self._incoming.pending and self.ending is None:
                plain = tls.read(_RECORD)
                if plain:
                    self._take(tls, plain)
                else:
                    self._end(Ending.CLOSED)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            failed_early = self.phase is Phase.AWAITING_HANDSHAKE
            self._end(Ending.HANDSHAKE_FAILED if failed_early else Ending.BROKEN_TLS, tls_reason(error))
        # An alert that says what was wrong is in there too.
        return self._outgoing.read()

    def _take(self, tls: ssl.SSLObject, plain: bytes) -> None:
        if self._reader is None:
            self._reader = Reader(MAX_REQUEST_BODY)
        reader, desk = self._reader, self._desk
        try:
            request = reader.feed(plain)
            while request is not None:
                if request.message is not Message.VERIFY_REQUEST and request.message is not Message.QUERY_REQUEST:
                    self._end(Ending.NOT_A_REQUEST, request.message.name.lower().replace("_", " "))
                    return
                self._reply(tls, desk, request)
                if self.ending is not None:
                    return
                self.phase = Phase.IDLE
                self.turn += 1
                request = reader.feed(b"") if reader.held else None
        except DecodeError as error:
            self._end(Ending.MALFORMED, error.message)
            return
        if reader.held and self.phase is Phase.IDLE:
            self.phase = Phase.IN_REQUEST
            self.turn += 1

    def _reply(self, tls: ssl.SSLObject, desk: Desk, request: TvsMessage) -> None:
        try:
            response = desk.answer(request)
            data = encode(response)
        except Exception as error:  # whatever goes wrong for one client must not reach the others
            self._end(Ending.UNANSWERED, f"{type(error).__name__}: {error}")
            return
        # Header and body in one record: phones stall on an answer split in two.
        tls.write(data)
        counters = desk.counters
        counters.requests[request.message] += 1
        counters.vouched += response.valid

    def _end(self, ending: Ending, detail: str = "") -> None:
        self.ending = ending
        self.detail = detail

    def farewell(self) -> bytes:
        """What to send when the server ends the session: TLS's own goodbye, so that clients see no cut."""
        if self._tls is None or self.phase is Phase.AWAITING_HANDSHAKE or self.ending is Ending.BROKEN_TLS:
            return b""
        with contextlib.suppress(ssl.SSLError):  # "want read": the client's goodbye is not waited for
            self._tls.unwrap()
        return self._outgoing.read()
