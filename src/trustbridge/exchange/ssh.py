"""What the clients and the server of SSH here share: algorithms, logging in under pins, asyncssh's errors in our words.

`translated` is the one edge where errors of asyncssh and of its sockets become `TrustbridgeError`s.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import asyncssh
from asyncssh.packet import PacketDecodeError

from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    InvalidInput,
    Refused,
    SettingsError,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.exchange.directory import SftpSettings
from trustbridge.exchange.hostkeys import FirstContact, HostKey, HostKeyPins

#: Seconds to spend on tidying up, with a server that may have stopped answering.
PARTING_SECONDS = 2.0

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


#: AES-GCM first: asyncssh makes three ciphers anew for each packet of ChaCha20, which takes ten times as long.
_CIPHERS = (
    "aes256-gcm@openssh.com,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr"
)
MODERN = Algorithms("-*-sha1", _CIPHERS, "-hmac-sha1*", "-ssh-rsa,ssh-dss", _HOST_KEY_KINDS)
#: See `SftpSettings.legacy_algorithms` for what this weakens.
LEGACY = Algorithms(
    "+diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha1,diffie-hellman-group1-sha1",
    "+aes256-cbc,aes192-cbc,aes128-cbc,3des-cbc",
    "+hmac-sha1",
    "-ssh-dss",
    (*_HOST_KEY_KINDS, "ssh-rsa"),
)


class HostKeyWatcher(asyncssh.SSHClient):
    """Checks the server's key against the pins, and keeps why it was refused."""

    def __init__(self, settings: SftpSettings, pins: HostKeyPins) -> None:
        self._settings = settings
        self._pins = pins
        self.first_contact: FirstContact | None = None
        self.refusal: TrustbridgeError | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called by asyncssh with the key that the server has proven to hold."""
        # Pinned by what the settings say, not by the address that name resolves to today.
        shown = HostKey(key.get_algorithm(), key.public_data)
        try:
            contact = self._pins.check(self._settings.host, self._settings.port, shown)
        except TrustbridgeError as error:
            self.refusal = error
            return False
        self.first_contact = contact or self.first_contact
        return True


async def log_in(
    settings: SftpSettings,
    pins: HostKeyPins,
    watcher: HostKeyWatcher,
    *,
    key: asyncssh.SSHKey | None = None,
    seconds: float,
    local_address: str | None = None,
    keepalive: float = 0.0,
) -> asyncssh.SSHClientConnection:
    """Connect and log in, within `seconds`, to a server whose key is pinned or gets pinned now.

    Args:
        keepalive: seconds after which a silent server is asked for a sign of life; 0 for never.

    Raises:
        Unreachable, AuthenticationRefused, IdentityChanged, Refused, Garbled, SettingsError: see
            `trustbridge.exchange.directory.open_sftp`.
    """
    algorithms = LEGACY if settings.legacy_algorithms else MODERN
    pinned = {known.kind for known in pins.keys(settings.host, settings.port)}
    try:
        async with asyncio.timeout(seconds):
            connection, _ = await asyncssh.create_connection(
                lambda: watcher,
                settings.host,
                settings.port,
                local_addr=() if local_address is None else (local_address, 0),
                username=settings.username,
                password=settings.password,
                # None turns public keys off; the default would be those of ~/.ssh and of the agent.
                client_keys=None if key is None else [key],
                agent_path=None,
                config=None,
                # Nothing known: every key is put to the watcher. An empty value would read ~/.ssh/known_hosts instead.
                known_hosts=lambda host, addr, port: ([], [], []),
                server_host_key_algs=_preferring(pinned, algorithms.host_keys),
                preferred_auth="publickey,password,keyboard-interactive",
                gss_host=None,
                x509_trusted_certs=None,
                kex_algs=algorithms.key_exchange,
                encryption_algs=algorithms.encryption,
                mac_algs=algorithms.mac,
                signature_algs=algorithms.signature,
                connect_timeout=seconds,
                login_timeout=seconds,
                keepalive_interval=keepalive,
            )
    except (asyncssh.Error, OSError, ValueError) as error:
        if watcher.refusal is not None:
            raise watcher.refusal from None
        raise translated(error, settings, "connect", seconds) from error
    return connection


async def hang_up(connection: asyncssh.SSHClientConnection) -> None:
    """Close a connection, politely if the other side still listens."""
    connection.close()
    try:
        async with asyncio.timeout(PARTING_SECONDS):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()


def _preferring(pinned: set[str], kinds: Sequence[str]) -> list[str]:
    """Ask for the kind of key that is pinned first: a server with several keys would otherwise show another one."""

    def is_pinned(kind: str) -> bool:
        return ("ssh-rsa" if kind.startswith("rsa-") else kind) in pinned

    return sorted(kinds, key=lambda kind: not is_pinned(kind))


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
        # What is no packet comes as a ValueError; wrong options of ours, which are others, end at the bottom.
        case PacketDecodeError() | asyncssh.ProtocolError() | asyncssh.MACError() | asyncssh.CompressionError():
            return Garbled(
                f"what {server} says is not SSH as it should be (to {what}): {reason}",
                "Is that an SSH server? If it is, something in between may spoil what it says.",
            )
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
