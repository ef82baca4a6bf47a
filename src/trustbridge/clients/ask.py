"""Asking a Trust Verification Service, as a phone does: look at its certificate first, then ask.

Light enough for thousands of simulated phones in one process: a plain socket, TLS over memory, one shared context.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from trustbridge.clients.tls import client_context, tls_reason
from trustbridge.errors import DecodeError, Refused, Unreachable
from trustbridge.wire.tvs import Message, Reader, TvsMessage, encode

#: Looks at the DER of the server's certificate; gives why it is not accepted, or None.
CertificateCheck = Callable[[bytes], str | None]

_RECEIVE_BYTES = 17 * 1024
_ANSWERS = {
    Message.VERIFY_REQUEST: Message.VERIFY_RESPONSE,
    Message.QUERY_REQUEST: Message.QUERY_RESPONSE,
}
#: Linux: choose the local port when connecting, so that a port serves towards several servers at once.
_IP_BIND_ADDRESS_NO_PORT = 24
#: What an OpenSSL client says when the server wants an older TLS, or ciphers and keys that are only had with it.
_TOO_OLD = frozenset(
    {
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "DH_KEY_TOO_SMALL",
        "EE_KEY_TOO_SMALL",
    }
)
_OLD_HINT = "it may speak only TLS 1.0, or have an old key: try --legacy-tls"


@dataclass(frozen=True, slots=True)
class TvsReply:
    """What came back.

    Attributes:
        response: to the request, by message and session.
        tvs_certificate: DER of the certificate the service presented.
        tls_version: such as `TLSv1.2`.
        seconds: from connecting to the whole response.
    """

    response: TvsMessage
    tvs_certificate: bytes
    tls_version: str
    seconds: float


async def ask_tvs(
    host: str,
    port: int,
    request: TvsMessage,
    *,
    local_address: str | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109 - a phone's patience is one of its settings
    check_certificate: CertificateCheck | None = None,
    tls_context: ssl.SSLContext | None = None,
) -> TvsReply:
    """Ask one TVS one thing, over a connection of its own.

    Args:
        host: address or name.
        request: a verify or query request.
        local_address: address to call from.
        timeout: seconds for all of it.
        check_certificate: sees the server's certificate before anything is sent. None accepts any: TLS itself verifies
            nothing here, since a phone knows the service by its trust list.
        tls_context: None for the shared one of `client_context()`.

    Raises:
        Unreachable: nobody answers there, or not in time.
        Refused: no TLS there, TLS failed, `check_certificate` refused, or the service hung up instead of answering.
        DecodeError: the answer is no response to this request.
    """
    where = f"{host} port {port}"
    start = monotonic()
    try:
        async with asyncio.timeout(timeout):
            client = await _connected(host, port, local_address)
            with client:
                call = _Call(client, tls_context or client_context(), where)
                certificate = await call.handshake()
                reason = check_certificate(certificate) if check_certificate is not None else None
                if reason is not None:
                    raise Refused(f"The certificate of the TVS at {where} is not accepted: {reason}")
                response = await call.exchange(request)
                return TvsReply(response, certificate, call.tls_version(), monotonic() - start)
    except TimeoutError:
        raise Unreachable(
            f"The TVS at {where} did not answer within {timeout:g} s",
            "check that the service runs and that no firewall stands between",
        ) from None
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not the name of a host"
        raise Unreachable(f"No address is known for {host}: {reason}", "check the name") from error
    except OSError as error:
        hint = "is the Trust Verification Service started there?" if error.errno == errno.ECONNREFUSED else ""
        raise Unreachable(f"The TVS at {where} can't be reached: {_words(error)}", hint) from error


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


async def _connected(host: str, port: int, local_address: str | None) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for family, kind, protocol, _, address in found:
        client = socket.socket(family, kind, protocol)
        try:
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if local_address is not None:
                with contextlib.suppress(OSError):
                    client.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                client.bind((local_address, 0))
            await loop.sock_connect(client, address)
        except OSError as error:
            client.close()
            failure = error
        except BaseException:
            client.close()
            raise
        else:
            return client
    raise failure or OSError(errno.EADDRNOTAVAIL, f"no address is known for {host}")


class _Call:
    """TLS over a connected socket, for one question and its answer."""

    def __init__(self, client: socket.socket, context: ssl.SSLContext, where: str) -> None:
        self._socket = client
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)

    async def handshake(self) -> bytes:
        """The certificate the service presents, DER."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError as error:
                with contextlib.suppress(OSError):
                    await self._flush()  # an alert: the other end shall know why
                raise self._refused(error) from error
            if not await self._fill():
                raise Refused(f"The TVS at {self._where} hung up during the TLS handshake", _OLD_HINT)
        await self._flush()
        certificate = self._tls.getpeercert(binary_form=True)
        if not certificate:
            raise Refused(f"The TVS at {self._where} presented no certificate")
        return certificate

    def tls_version(self) -> str:
        return self._tls.version() or "unknown"

    async def exchange(self, request: TvsMessage) -> TvsMessage:
        """The response to `request`."""
        self._tls.write(encode(request))
        await self._flush()
        reader = Reader()
        while True:
            try:
                plain = self._tls.read(_RECEIVE_BYTES)
            except ssl.SSLWantReadError:
                if await self._fill():
                    continue
                plain = b""
            except ssl.SSLError as error:
                raise self._refused(error) from error
            if not plain:
                raise Refused(
                    f"The TVS at {self._where} hung up instead of answering",
                    "not every service knows both kinds of question: try the other of --query and --verify",
                )
            response = reader.feed(plain)
            if response is not None:
                return _matching(request, response)

    async def _fill(self) -> bool:
        """Take what arrives next; False when the other end has hung up."""
        try:
            data = await self._loop.sock_recv(self._socket, _RECEIVE_BYTES)
        except ConnectionError:
            return False
        self._incoming.write(data)
        return bool(data)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            # Whoever hung up before is noticed when reading, where what it said last is still found.
            with contextlib.suppress(ConnectionError):
                await self._loop.sock_sendall(self._socket, self._outgoing.read())

    def _refused(self, error: ssl.SSLError) -> Refused:
        hint = ""
        if error.reason in _TOO_OLD:
            hint = _OLD_HINT
        elif error.reason == "WRONG_VERSION_NUMBER":
            hint = "something else than a TVS listens there"
        return Refused(f"TLS with the TVS at {self._where} failed: {tls_reason(error)}", hint)


def _matching(request: TvsMessage, response: TvsMessage) -> TvsMessage:
    expected = _ANSWERS.get(request.message)
    if response.message is not expected:
        raise DecodeError(2, f"TVS message {response.message.name.lower()} in answer to {request.message.name.lower()}")
    if response.session != request.session:
        raise DecodeError(4, f"TVS response for session {response.session}, asked in session {request.session}")
    return response
