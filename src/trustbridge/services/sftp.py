"""An SFTP server confined to one directory: for labs, and for sites that have none for bulk certificate management.

It serves files and nothing else: no shell, no commands, no forwarding of ports, agents or X11, no links. How it is kept
inside its directory stands in `services.sftp_root`, how uploads become visible in `services.sftp_files`. Users are the
ones it is started with, not the machine's; files belong to the user the process runs as.

What happens goes to this module's logger, a line an event, with who and which file: logins and refused logins, files
stored, read, renamed and removed; never a secret, and with the control characters of clients' names escaped.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from trustbridge.clients.addresses import port_taken
from trustbridge.errors import SettingsError
from trustbridge.exchange.ssh import LEGACY, MODERN, Algorithms
from trustbridge.services.hostkey import read_or_make
from trustbridge.services.sftp_files import ConfinedFiles, Visit, printable
from trustbridge.services.sftp_root import ConfinedRoot

_LOG = logging.getLogger(__name__)
#: scrypt with N=2**14, r=8, p=1: 16 MiB and some 50 ms. The hashes are kept in memory only.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1
#: Passwords checked at the same time: what strangers can cost in memory and processor.
_CHECKS_AT_ONCE = 2
#: Seconds that stopping waits for clients to be told, before their connections are cut.
_STOP_SECONDS = 2.0
#: How often a silent client is asked whether it is still there; three silences end its connection.
_KEEPALIVE_SECONDS = 30.0

_KEY_COMMENT = "trustbridge SFTP server"


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A password that can be compared with and not be read. Made by `hash_password`."""

    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def matches(self, password: str) -> bool:
        """Whether this is the password, in constant time. Takes some 50 ms of processor: call it in a thread."""
        return hmac.compare_digest(_scrypt(password, self.salt), self.digest)


def hash_password(password: str) -> PasswordHash:
    """A salted scrypt hash.

    Raises:
        SettingsError: the password is empty.
    """
    if not password:
        raise SettingsError("an empty password would let anybody in", "Choose a password, or allow keys only.")
    salt = secrets.token_bytes(16)
    return PasswordHash(salt, _scrypt(password, salt))


def _scrypt(password: str, salt: bytes) -> bytes:
    # SSH clients send the prepared form (RFC 4013) of what was typed, which includes NFKC.
    prepared = unicodedata.normalize("NFKC", password).encode()
    return hashlib.scrypt(prepared, salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)


@dataclass(frozen=True, slots=True)
class SftpLimits:
    """What clients may use.

    Attributes:
        file_size: bytes of one file; bundles are small.
        open_files: files and directories a connection may have open.
        connections: at once, whoever they are; more are closed unanswered.
        failed_logins: passwords a connection may try; then it is closed. OpenSSH's client tries each as two methods.
        failed_login_pause: seconds to wait before answering a wrong password.
        login_seconds: in which a connection must have logged in.
    """

    file_size: int = 64 * 1024 * 1024
    open_files: int = 64
    connections: int = 100
    failed_logins: int = 6
    failed_login_pause: float = 0.5
    login_seconds: float = 30.0


class SftpServer:
    """A running server. Made by `start_sftp`.

    Attributes:
        address: host and port it listens on.
        root: the directory it serves, resolved.
        fingerprint: of its host key, `SHA256:...`.
        fingerprints: the same by kind of key: one, or two with legacy algorithms.
    """

    def __init__(self, acceptor: asyncssh.SSHAcceptor, house: _House, keys: Sequence[asyncssh.SSHKey]) -> None:
        host, port = acceptor.get_addresses()[0][:2]
        self.address: tuple[str, int] = (host, port)
        self.root = house.root.path
        self.fingerprint = keys[0].get_fingerprint()
        self.fingerprints = {key.get_algorithm(): key.get_fingerprint() for key in keys}
        self._acceptor = acceptor
        self._house = house

    async def stop(self) -> None:
        """Close the port and every connection. Uploads that are not complete leave nothing."""
        self._acceptor.close()
        visitors = list(self._house.visitors)
        for connection in visitors:
            connection.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                for connection in visitors:
                    await connection.wait_closed()
                await self._house.idle.wait()  # sessions of lost connections may still be closing their files
        except TimeoutError:
            for connection in visitors:
                connection.abort()
        await self._acceptor.wait_closed()


class _House:
    """What all connections of a server share."""

    def __init__(
        self,
        root: ConfinedRoot,
        users: Mapping[str, PasswordHash | None],
        authorized_keys: Path | None,
        limits: SftpLimits,
    ) -> None:
        self.root = root
        self.users = dict(users)
        self.authorized_keys = authorized_keys
        self.limits = limits
        self.visitors: set[asyncssh.SSHServerConnection] = set()
        self.idle = asyncio.Event()
        self.idle.set()
        self._busy: set[ConfinedFiles] = set()
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)
        #: What an unknown user's password is compared with, so that the answer takes as long.
        self._nobody = PasswordHash(secrets.token_bytes(16), secrets.token_bytes(64))

    async def admits(self, user: str, password: str) -> bool:
        """Whether this is a user's password."""
        known = self.users.get(user)
        async with self._checks:
            matches = await asyncio.to_thread((known or self._nobody).matches, password)
        return matches and known is not None

    def open_session(self, channel: asyncssh.SSHServerChannel[bytes]) -> ConfinedFiles:
        """The SFTP subsystem of a connection that has logged in."""
        visitor = channel.get_connection().get_owner()
        assert isinstance(visitor, _Visitor)
        return ConfinedFiles(channel, self.root, visitor.visit, self._note)

    def _note(self, session: ConfinedFiles, busy: bool) -> None:
        """A session opens its first file, or has closed its last."""
        (self._busy.add if busy else self._busy.discard)(session)
        (self.idle.clear if self._busy else self.idle.set)()


class _Visitor(asyncssh.SSHServer):
    """One connection. What is not overridden here (sessions other than SFTP, every kind of forwarding) is refused."""

    def __init__(self, house: _House) -> None:
        self._house = house
        self._failures = 0
        self._means = "a key"
        self._user = ""
        self.visit = Visit("", house.limits.file_size, house.limits.open_files)

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._address = conn.get_extra_info("peername", ("?",))[0]
        if len(self._house.visitors) >= self._house.limits.connections:
            _LOG.warning("too many connections: closed one from %s", self._address)
            conn.abort()
        else:
            self._house.visitors.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.visitors.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        self._user = username
        self.visit.who = f"{printable(username)} from {self._address}"
        # A client may change the user name between attempts; asyncssh forgets the keys of the one before by itself.
        if self._house.authorized_keys is not None and username in self._house.users:
            try:
                # Read at every login, so that a key that was taken out no longer opens.
                self._connection.set_authorized_keys(str(self._house.authorized_keys))
            except (OSError, ValueError) as error:
                _LOG.warning("no keys are accepted: %s: %s", self._house.authorized_keys, error)
        return True

    def public_key_auth_supported(self) -> bool:
        # Also for unknown users: the list of methods must not tell who is known.
        return self._house.authorized_keys is not None

    def password_auth_supported(self) -> bool:
        return any(self._house.users.values())

    async def validate_password(self, username: str, password: str) -> bool:
        if await self._house.admits(username, password):
            self._means = "a password"
            return True
        self._failures += 1
        _LOG.warning("refused login of %s: wrong user or password", self.visit.who)
        await asyncio.sleep(self._house.limits.failed_login_pause)
        if self._failures >= self._house.limits.failed_logins:
            raise asyncssh.PermissionDenied("Too many failed logins")
        return False

    def auth_completed(self) -> None:
        _LOG.info("%s logged in with %s", self.visit.who, self._means)


async def start_sftp(
    root: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    users: Mapping[str, PasswordHash | None],
    host_key: Path,
    authorized_keys: Path | None = None,
    read_only: bool = False,
    legacy_algorithms: bool = False,
    limits: SftpLimits = SftpLimits(),
) -> SftpServer:
    """Serve a directory over SFTP, in the running event loop, until `stop`.

    Args:
        root: an existing directory, the clients' `/`.
        host: address to listen on.
        port: 0 lets the system choose.
        users: who may log in, with which password; None for users with keys only.
        host_key: the server's private key; an ed25519 key is made there (mode 0600) when the file is missing.
        authorized_keys: in OpenSSH's format, good for every user named in `users`; read at each login.
        read_only: refuse everything that changes anything.
        legacy_algorithms: also serve clients that know nothing newer than SHA-1, CBC and ssh-rsa, as old
            publishers: see `SftpSettings.legacy_algorithms` for what that weakens. Adds an RSA host key,
            kept beside the other as `<host_key>_rsa`.
        limits: what clients may use.

    Raises:
        PortTaken: the address or port is not to be had.
        SettingsError: a directory, key or user that can't work, or a secret inside the served directory.
    """
    confined = ConfinedRoot(root, read_only=read_only)
    for secret in (host_key, authorized_keys):
        if secret is not None and confined.holds(secret):
            raise SettingsError(
                f"{secret} lies in the directory that is served: clients could read or replace it",
                "Keep it somewhere else.",
            )
    _check_users(users, authorized_keys)
    house = _House(confined, users, authorized_keys, limits)
    keys = [await asyncio.to_thread(read_or_make, host_key, _KEY_COMMENT)]
    if legacy_algorithms and keys[0].get_algorithm() != "ssh-rsa":
        keys.append(
            await asyncio.to_thread(read_or_make, host_key.with_name(f"{host_key.name}_rsa"), _KEY_COMMENT, "ssh-rsa")
        )
    algorithms = LEGACY if legacy_algorithms else MODERN
    try:
        acceptor = await asyncssh.create_server(
            lambda: _Visitor(house),
            host,
            port,
            server_host_keys=_offered(keys, algorithms),
            sftp_factory=house.open_session,
            sftp_version=3,
            allow_scp=False,
            allow_pty=False,
            line_editor=False,
            agent_forwarding=False,
            x11_forwarding=False,
            host_based_auth=False,
            gss_host=None,
            x509_trusted_certs=None,
            kex_algs=algorithms.key_exchange,
            encryption_algs=algorithms.encryption,
            mac_algs=algorithms.mac,
            signature_algs=algorithms.signature,
            login_timeout=limits.login_seconds,
            keepalive_interval=_KEEPALIVE_SECONDS,
        )
    except OSError as error:
        raise port_taken("SFTP", host, port, error) from error
    return SftpServer(acceptor, house, keys)


def _check_users(users: Mapping[str, PasswordHash | None], authorized_keys: Path | None) -> None:
    if not users:
        raise SettingsError("nobody could log in: no user is named", "Name at least one user.")
    for user, password in users.items():
        if password is None and authorized_keys is None:
            raise SettingsError(f"user {user!r} could not log in: neither a password nor authorized keys are given")
    if authorized_keys is not None:
        try:
            asyncssh.read_authorized_keys(str(authorized_keys))
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"there are no usable keys in {authorized_keys}: {error}",
                "It takes public keys, one a line, as in ~/.ssh/authorized_keys.",
            ) from error


def _offered(keys: Sequence[asyncssh.SSHKey], algorithms: Algorithms) -> Sequence[asyncssh.SSHKeyPair]:
    """The host keys, each with the signatures that may be made with it: an RSA key could also sign SHA-1."""
    pairs = asyncssh.load_keypairs(list(keys))
    for pair in pairs:
        pair.host_key_algorithms = [
            name for name in pair.host_key_algorithms if name.decode("ascii") in algorithms.host_keys
        ]
    return pairs
