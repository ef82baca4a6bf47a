"""Every error a person can meet, in one tree. This module imports nothing.

    TrustbridgeError                 exit code 1   something expected did not happen
    ├── SettingsError                          2   a setting, option or file of ours is wrong
    ├── InvalidInput                           3   bytes from elsewhere are not what they claim to be
    │   ├── DecodeError                            ... and this is the offset where that shows
    │   ├── InvalidCertificate                     not a certificate, or a key kind we can't use
    │   ├── InvalidBundle                          not a PKCS#12 bundle of certificates
    │   └── SignatureRefused                       well formed, but the signature does not hold
    ├── Unreachable                            4   nobody answers there
    ├── Garbled                                4   somebody answers, and it makes no sense
    ├── Throttled                              4   somebody asks us to come back later, and does so for too long
    ├── Refused                                5   somebody answers, and says no
    │   ├── AuthenticationRefused                  user, password or key
    │   ├── NotSupported                           this release, or this interface of it, can't do that
    │   └── IdentityChanged                        host key or TLS certificate differs from the pinned one
    ├── NotNow                                 6   right request, wrong moment: a step before it is missing
    │   ├── NotConfigured                          no SFTP server set, ...
    │   ├── NothingToConsolidate                   fewer than two clusters have exported
    │   ├── ConsolidationMissing                   nothing to import yet
    │   └── ConsolidationStale                     something was exported since
    └── PortTaken                              7   a listener could not bind

Each carries what happened and, as `hint`, what to do next. The command line prints both and exits with the
class's `exit_code`; nothing else decides exit codes.
"""

from __future__ import annotations


class TrustbridgeError(Exception):
    """Something a person should read: what happened, to what, and (`hint`) what to do next."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class SettingsError(TrustbridgeError):
    """A setting, an option or a file the user wrote is wrong."""

    exit_code = 2


class InvalidInput(TrustbridgeError):
    """Bytes that came from elsewhere are not what they claim to be."""

    exit_code = 3


class DecodeError(InvalidInput):
    """Bytes that can never be valid: `what` is wrong, at `offset` (from the first byte of the whole input)."""

    def __init__(self, offset: int, what: str, hint: str = "") -> None:
        super().__init__(f"{what} (at offset {offset})", hint)
        self.offset = offset
        self.what = what


class InvalidCertificate(InvalidInput):
    """Not a certificate, or one with a key that can't be used here."""


class InvalidBundle(InvalidInput):
    """Not a PKCS#12 bundle of certificates: garbled, another password, or a private key inside."""


class SignatureRefused(InvalidInput):
    """A well-formed signed file whose signature does not hold for the certificate given."""


class Unreachable(TrustbridgeError):
    """Nobody answers there: refused, timed out, no such host."""

    exit_code = 4


class Garbled(TrustbridgeError):
    """Somebody answers, and what they say makes no sense here; it names node and interface."""

    exit_code = 4


class Throttled(TrustbridgeError):
    """A server keeps asking to come back later."""

    exit_code = 4


class Refused(TrustbridgeError):
    """Somebody answers and says no."""

    exit_code = 5


class AuthenticationRefused(Refused):
    """User, password or key not accepted."""


class NotSupported(Refused):
    """This release, or this interface of it, can't do that."""


class IdentityChanged(Refused):
    """A host key or TLS certificate differs from the one pinned at first contact."""


class NotNow(TrustbridgeError):
    """The request is right, but a step that must come before it has not been done."""

    exit_code = 6


class NotConfigured(NotNow):
    """No SFTP server is configured for this cluster."""


class NothingToConsolidate(NotNow):
    """Fewer than two clusters have exported."""


class ConsolidationMissing(NotNow):
    """There is no consolidated bundle to import."""


class ConsolidationStale(NotNow):
    """Something was exported after the consolidation."""


class PortTaken(TrustbridgeError):
    """A listener could not bind its address and port."""

    exit_code = 7
