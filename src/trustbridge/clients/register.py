"""A phone's side of registration: SIP REGISTER over TCP or TLS.

`register` asks, waits for the answer and hangs up; the registration holds for the seconds granted. That is how the
lab's phones do it, because there are tens of thousands of them, and an open connection costs both sides a file
descriptor and, with TLS, 35 KB under uvloop or 280 KB under asyncio's own loop (measured). `open_session` keeps the
connection, as a real phone does.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from trustbridge.clients.tls import client_context
from trustbridge.errors import DecodeError, Refused, Unreachable
from trustbridge.wire import sip, sipregister

if TYPE_CHECKING:
    from trustbridge.clients.tls import TlsIdentity

#: Seconds a phone asks for, as Unified CM's phones do.
DEFAULT_SECONDS = 120
DEFAULT_TIMEOUT = 10.0
_CHUNK = 4096
_PEER_LEFT = "closed the connection without an answer"


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How a phone speaks TLS to its Unified CM.

    Attributes:
        check_certificate: gets the server's certificate (DER) after the handshake and before any SIP is sent;
            says why it is not to be trusted, or None when it is. A phone looks it up in its trust list.
        identity: the phone's own certificate (LSC) and key, shown when the server asks. It is shown in the
            handshake, so before the server's certificate is judged; its key proves it and is not shown.
        legacy: TLS 1.0 and old ciphers too, see `TlsIdentity.server_context`.
    """

    check_certificate: Callable[[bytes], str | None]
    identity: TlsIdentity | None = None
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class RegisterResult:
    """What the registrar said: SIP code, its reason, and the seconds granted (0 when not registered)."""

    code: int
    reason: str
    expires: int

    @property
    def registered(self) -> bool:
        """Whether the phone is registered from now on."""
        return self.code == 200 and self.expires > 0


async def register(
    host: str,
    port: int,
    *,
    device: str,
    model: str,
    user: str = "",
    local_address: str | None = None,
    expires: int = DEFAULT_SECONDS,
    tls: ClientTls | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - one time for connection, handshake and answer together
) -> RegisterResult:
    """Register a phone once and hang up; the registration holds for the seconds in the result.

    Args:
        host, port: of the Unified CM; 5060, or 5061 with TLS.
        device: such as `SEP001122334455`.
        model: Unified CM's number of the model, such as `684`.
        user: directory number; the device's name when there is none.
        local_address: own address to call from; the system's choice when None.
        expires: seconds to ask for; 0 takes a registration back.
        timeout: seconds for all of it.

    Raises:
        Unreachable: no connection, or no answer in time.
        Refused: TLS came to nothing, `check_certificate` had a reason, or the registrar hung up. A refusal in SIP
            (403, ...) is a result, not an error.
    """
    session = await open_session(
        host,
        port,
        device=device,
        model=model,
        user=user,
        local_address=local_address,
        expires=expires,
        tls=tls,
        timeout=timeout,
    )
    await session.close(take_back=False)
    return session.result


async def open_session(
    host: str,
    port: int,
    *,
    device: str,
    model: str,
    user: str = "",
    local_address: str | None = None,
    expires: int = DEFAULT_SECONDS,
    tls: ClientTls | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - as `register`
) -> RegisteredSession:
    """Register a phone and keep the connection. Arguments and errors as `register`."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connect(host, port, local_address, tls, timeout)
            try:
                session = RegisteredSession(reader, writer, (host, port), device, model, user, tls is not None)
                session.result = await session._exchange(expires)
            except BaseException:
                writer.transport.abort()
                raise
            return session
    except TimeoutError as error:
        raise Unreachable(
            f"no answer to the registration of {device} from {host}:{port} in {timeout:g} s",
            "check that the registrar runs there and speaks SIP over " + ("TLS" if tls else "TCP"),
        ) from error


class RegisteredSession:
    """A phone's registration with the connection it came over. Made by `open_session`; `async with` hangs up.

    Attributes:
        result: the latest answer.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: tuple[str, int],
        device: str,
        model: str,
        user: str,
        secure: bool,
    ) -> None:
        self.result = RegisterResult(0, "", 0)
        self._reader = reader
        self._writer = writer
        self._messages = sip.Reader()
        self._server = server
        self._device = device
        self._model = model
        self._user = user or device
        self._secure = secure
        # An identifier may have to be unique and never has to be secret here.
        self._call_id = str(uuid.uuid4())
        self._tag = secrets.token_hex(8)
        self._sequence = 100

    async def refresh(
        self,
        expires: int = DEFAULT_SECONDS,
        timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - as `register`
    ) -> RegisterResult:
        """Register again over the same connection; errors as `register`."""
        try:
            async with asyncio.timeout(timeout):
                self.result = await self._exchange(expires)
        except TimeoutError as error:
            raise Unreachable(
                f"no answer to the registration of {self._device} from {self._where} in {timeout:g} s"
            ) from error
        return self.result

    async def close(self, *, take_back: bool = True) -> None:
        """Hang up; before that take the registration back, unless told otherwise or it can't be."""
        try:
            if take_back and self.result.registered:
                with contextlib.suppress(Refused, Unreachable):
                    await self.refresh(0, timeout=1.0)
        finally:
            # Not a graceful TLS end: it would wait for the peer's, which says nothing about the registration.
            self._writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _where(self) -> str:
        return f"{self._server[0]}:{self._server[1]}"

    async def _exchange(self, expires: int) -> RegisterResult:
        self._sequence += 1
        request = sipregister.register_request(
            registrar=self._server[0],
            user=self._user,
            device=self._device,
            model=self._model,
            local=self._writer.get_extra_info("sockname")[:2],
            seconds=expires,
            transport="tls" if self._secure else "tcp",
            call_id=self._call_id,
            tag=self._tag,
            branch=f"z9hG4bK{secrets.token_hex(8)}",
            sequence=self._sequence,
        )
        try:
            self._writer.write(sip.encode(request))
            response = await self._response(f"{self._sequence} REGISTER")
        except ssl.SSLError as error:
            raise _tls_refused(self._where, error) from error
        except ConnectionError as error:
            raise self._hung_up() from error
        except DecodeError as error:
            raise Refused(
                f"{self._where} answers the registration of {self._device} with what is not SIP: {error}",
                "check the port: 5060 speaks SIP over TCP, 5061 over TLS",
            ) from error
        granted = sipregister.granted(response) if response.code == 200 else 0
        return RegisterResult(response.code, response.reason, granted if expires else 0)

    async def _response(self, sequence: str) -> sip.Response:
        """The final response to the request of this CSeq; what else arrives is let go by."""
        data = b""
        while True:
            message = self._messages.feed(data)
            if message is None:
                data = await self._reader.read(_CHUNK)
                if not data:
                    raise self._hung_up()
                continue
            data = b""
            if (
                isinstance(message, sip.Response)
                and message.code >= 200
                # A registrar that could not read the request can't repeat its CSeq.
                and message.first("CSeq") in (sequence, None)
            ):
                return message

    def _hung_up(self) -> Refused:
        hint = (
            "its certificate or its issuing CAPF is perhaps not known there: the source's CAPF certificate belongs "
            "in the destination's CAPF-trust"
            if self._secure
            else "check that SIP over TCP is spoken on that port"
        )
        return Refused(f"{self._where} {_PEER_LEFT} to the registration of {self._device}", hint)


async def _connect(
    host: str, port: int, local_address: str | None, tls: ClientTls | None, seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that may be spoken over: with TLS, the server's certificate has been judged."""
    where = f"{host}:{port}"
    context = None if tls is None else client_context(tls.identity, legacy=tls.legacy)
    local = None if local_address is None else (local_address, 0)
    try:
        reader, writer = await asyncio.open_connection(
            host,
            port,
            local_addr=local,
            ssl=context,
            # Longer than the caller waits, who then hears of a time-out and not of an aborted connection.
            ssl_handshake_timeout=None if context is None else seconds + 1,
        )
    except ssl.SSLError as error:
        raise _tls_refused(where, error) from error
    except OSError as error:
        if context is not None and isinstance(error, ConnectionResetError | BrokenPipeError):
            raise _tls_refused(where, error) from error
        reason = error.strerror or str(error) or type(error).__name__
        raise Unreachable(
            f"no SIP registrar at {where}: {reason}", "check that the Unified CM service runs on that node"
        ) from error
    if tls is not None:
        session: ssl.SSLObject = writer.get_extra_info("ssl_object")
        complaint = tls.check_certificate(session.getpeercert(binary_form=True) or b"")
        if complaint is not None:
            writer.transport.abort()
            raise Refused(
                f"certificate of {where} not accepted: {complaint}",
                "the phone's trust list must hold the CallManager certificate of the node it registers with",
            )
    return reader, writer


def _tls_refused(where: str, error: OSError) -> Refused:
    reason = (getattr(error, "reason", None) or error.strerror or str(error)).lower().replace("_", " ")
    return Refused(
        f"TLS with {where} came to nothing: {reason}",
        "when the phone's certificate is not accepted, its CAPF certificate is missing from the CAPF-trust there; "
        "old phones and servers need the legacy TLS switch",
    )
