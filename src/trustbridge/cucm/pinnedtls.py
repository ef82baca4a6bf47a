"""TLS that looks at the pinned certificate and at nothing else.

The pin is checked at the end of each TLS handshake, by the session object itself: no byte of a request can leave before
that, whatever opens the connection. The handshake has proven by then that the node holds the certificate's key.
Authorities, host names and validity are not looked at: Unified CM's certificates are mostly self-signed, and an expired
one is a finding, not a reason to see nothing.
"""

from __future__ import annotations

import ssl

from trustbridge.cucm.pins import TlsPins
from trustbridge.errors import IdentityChanged, TrustbridgeError


class NotPinned(ssl.SSLCertVerificationError):
    """Ends a handshake; `refusal` says why."""

    def __init__(self, refusal: TrustbridgeError) -> None:
        super().__init__(1, refusal.message)
        self.refusal = refusal


class _PinnedSession(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        context = self.context
        assert isinstance(context, PinnedContext)
        context.check(self.getpeercert(binary_form=True))


class _PinnedSocket(ssl.SSLSocket):
    """The same for whoever wraps a socket, as libraries without an event loop do."""

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        context = self.context
        assert isinstance(context, PinnedContext)
        context.check(self.getpeercert(binary_form=True))


class PinnedContext(ssl.SSLContext):
    """A TLS context whose sessions end in the handshake unless the other side shows the pinned certificate."""

    sslobject_class = _PinnedSession
    sslsocket_class = _PinnedSocket
    _pins: TlsPins
    _host: str
    _port: int

    @classmethod
    def of(cls, pins: TlsPins, host: str, port: int) -> PinnedContext:
        """For one node; TLS 1.2 or later."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context._pins, context._host, context._port = pins, host, port
        return context

    def check(self, der: bytes | None) -> None:
        """Look the certificate up.

        Raises:
            ssl.SSLCertVerificationError: it is not the pinned one, or the pins can't be read.
        """
        try:
            if der is None:
                raise IdentityChanged(f"{self._host} port {self._port} shows no TLS certificate")
            self._pins.check(self._host, self._port, der)
        except TrustbridgeError as error:
            raise NotPinned(error) from None
