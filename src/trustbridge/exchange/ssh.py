"""What this package's SFTP client and server share of SSH: algorithms, and asyncssh's errors in our words.

`translated` is the one edge where errors of asyncssh and of its sockets become `TrustbridgeError`s.
"""

from __future__ import annotations

import errno
import os
import socket
import warnings
from dataclasses import dataclass

import asyncssh

from trustbridge.errors import (
    AuthenticationRefused,
    InvalidInput,
    Refused,
    SettingsError,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.exchange.directory import SftpSettings

# The classic Diffie-Hellman groups are all that old servers have. cryptography says that it will drop them one day, on
# the terminal of whoever connects to such a server.
warnings.filterwarnings("ignore", "Diffie-Hellman over finite fields", UserWarning)

_HOST_KEY_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


@dataclass(frozen=True, slots=True)
class Algorithms:
    """What to negotiate, in asyncssh's terms: `+` and `-` change its defaults (of 2.24), which still include SHA-1."""

    key_exchange: str
    encryption: str
    mac: str
    signature: str
    host_keys: tuple[str, ...]


MODERN = Algorithms("-*-sha1", "-*cbc*,arcfour*", "-hmac-sha1*", "-ssh-rsa,ssh-dss", _HOST_KEY_KINDS)
#: See `SftpSettings.legacy_algorithms` for what this weakens.
LEGACY = Algorithms(
    "+diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha1,diffie-hellman-group1-sha1",
    "+aes256-cbc,aes192-cbc,aes128-cbc,3des-cbc",
    "+hmac-sha1",
    "-ssh-dss",
    (*_HOST_KEY_KINDS, "ssh-rsa"),
)


def translated(error: Exception, settings: SftpSettings, what: str, seconds: float) -> TrustbridgeError:
    """An error of asyncssh or of the socket as one of ours, most specific first."""
    server = settings.server
    reason = printable(_reason(error))
    match error:
        case TimeoutError():
            return Unreachable(
                f"{server} did not answer within {seconds:g} s (to {what})",
                "Is the server up, and does a firewall let this machine through?",
            )
        case asyncssh.PermissionDenied():
            means = " and ".join(
                means
                for means, given in (("password", settings.password), (f"key {settings.key_file}", settings.key_file))
                if given is not None
            )
            return AuthenticationRefused(
                f"{server} does not accept user {settings.username} with this {means}",
                "Check the user name and the password or key in the settings, with the server's log beside.",
            )
        case asyncssh.KeyExchangeFailed() | asyncssh.HostKeyNotVerifiable():
            return Refused(
                f"{server} and this side have no way of encryption in common: {reason}",
                "" if settings.legacy_algorithms else "An old server may need legacy algorithms to be allowed.",
            )
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath() if what.startswith("open "):
            return SettingsError(
                f"there is no directory {settings.directory} on {server} (as {settings.username} sees it)",
                "Create it there, or correct the setting.",
            )
        case (
            asyncssh.SFTPNoConnection()
            | asyncssh.SFTPConnectionLost()
            | asyncssh.ConnectionLost()
            | ConnectionResetError()
            | ConnectionAbortedError()
            | BrokenPipeError()
        ):
            return Unreachable(f"the connection to {server} broke (to {what}): {reason}", "Try again.")
        case asyncssh.SFTPPermissionDenied():
            return Refused(f"{server} does not let {settings.username} {what}: {reason}")
        case asyncssh.SFTPBadMessage():
            return InvalidInput(f"{server} does not speak SFTP as it should (to {what}): {reason}")
        case asyncssh.SFTPError() | asyncssh.ChannelOpenError():
            return Refused(f"{server} could not {what} in {settings.directory or '.'}: {reason}")
        case asyncssh.Error():
            return Refused(f"{server} ended the conversation (to {what}): {reason}", "Is that an SSH server?")
        case socket.gaierror():
            return Unreachable(f"there is no host {settings.host}: {reason}", "Check the name, and the name server.")
        case OSError() if error.errno == errno.EADDRNOTAVAIL:
            return SettingsError(f"can't call {server} from the local address asked for: {reason}")
        case OSError():
            return Unreachable(f"can't reach {server}: {reason}", "Check address and port, and that the server is up.")
    return SettingsError(f"can't {what} at {server}: {reason}")  # a ValueError of asyncssh about an option


def printable(text: str) -> str:
    """A server's words, without what would move a terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)[:300]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio puts a tuple of the address there instead
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
