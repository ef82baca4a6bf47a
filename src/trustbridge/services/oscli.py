"""The OS command line of a node over SSH: an interactive shell on a pseudo-terminal, and nothing else.

No commands by `exec`, no SFTP, no forwarding, as on a real node. What is said on it stands in `services.clishell`; here
are log-in, channels and limits.

What happens goes to the loggers of these two: who came and went, refused log-ins, and which commands ran. What is typed
otherwise is never written there: it may be a password, or a key pasted at the wrong place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from trustbridge.clients.addresses import port_taken
from trustbridge.exchange.ssh import MODERN, Algorithms
from trustbridge.services.clishell import Conversation, Shell
from trustbridge.services.hostkey import read_or_make
from trustbridge.services.sftp_files import printable
from trustbridge.services.terminal import HungUp, Terminal

_LOG = logging.getLogger(__name__)

#: Seconds that stopping waits for sessions to end, before their connections are cut.
_STOP_SECONDS = 2.0
_KEEPALIVE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class CliLimits:
    """What clients may use.

    Attributes:
        connections: at once, whoever they are; more are closed unanswered.
        sessions: shells of one connection at once.
        failed_logins: passwords a connection may try; then it is closed. OpenSSH's client tries each as two methods.
        failed_login_pause: seconds to wait before answering a wrong password.
        login_seconds: in which a connection must have logged in.
        idle_seconds: of silence after which a session ends; half an hour on a real node.
    """

    connections: int = 64
    sessions: int = 4
    failed_logins: int = 6
    failed_login_pause: float = 0.5
    login_seconds: float = 30.0
    idle_seconds: float = 1800.0


class CliServer:
    """A running server. Made by `start_oscli`.

    Attributes:
        address: host and port it listens on.
        fingerprint: of its host key, `SHA256:...`.
    """

    def __init__(self, acceptor: asyncssh.SSHAcceptor, house: _House, key: asyncssh.SSHKey) -> None:
        host, port = acceptor.get_addresses()[0][:2]
        self.address: tuple[str, int] = (host, port)
        self.fingerprint = key.get_fingerprint()
        self._acceptor = acceptor
        self._house = house

    async def stop(self) -> None:
        """Close the port and every connection; commands under way are cut off."""
        self._acceptor.close()
        visitors = list(self._house.visitors)
        for task in list(self._house.sessions):
            task.cancel()
        await asyncio.gather(*self._house.sessions, return_exceptions=True)
        for connection in visitors:
            connection.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                for connection in visitors:
                    await connection.wait_closed()
        except TimeoutError:
            for connection in visitors:
                connection.abort()
        await self._acceptor.wait_closed()


@dataclass
class _House:
    """What all connections of a server share."""

    shell: Shell
    authenticate: Callable[[str, str], Awaitable[bool]]
    limits: CliLimits
    startup_seconds: float

    def __post_init__(self) -> None:
        self.visitors: set[asyncssh.SSHServerConnection] = set()
        self.sessions: set[asyncio.Task[None]] = set()


class _Visitor(asyncssh.SSHServer):
    """One connection. What is not overridden here, every kind of forwarding, is refused."""

    def __init__(self, house: _House) -> None:
        self._house = house
        self._failures = 0
        self._address = "?"
        self._user = ""
        self.open_sessions = 0

    @property
    def who(self) -> str:
        """For the log."""
        return f"{printable(self._user)} from {self._address}"

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
        return True

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        return await self._admits(username, password)

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, Sequence[tuple[str, bool]]]:
        return "", "", "", [("Password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        return len(responses) == 1 and await self._admits(username, responses[0])

    async def _admits(self, username: str, password: str) -> bool:
        if await self._house.authenticate(username, password):
            return True
        self._failures += 1
        _LOG.warning("refused log-in of %s: wrong user or password", self.who)
        await asyncio.sleep(self._house.limits.failed_login_pause)
        if self._failures >= self._house.limits.failed_logins:
            raise asyncssh.PermissionDenied("Too many failed log-ins")
        return False

    def auth_completed(self) -> None:
        _LOG.info("%s logged in", self.who)

    def session_requested(self) -> asyncssh.SSHServerSession[bytes] | bool:
        if self.open_sessions >= self._house.limits.sessions:
            return False
        return _Session(self._house, self)


class _Session(asyncssh.SSHServerSession[bytes]):
    """One shell on one pseudo-terminal."""

    def __init__(self, house: _House, visitor: _Visitor) -> None:
        self._house = house
        self._visitor = visitor
        self._task: asyncio.Task[None] | None = None
        self._has_terminal = False

    # What asyncssh calls.

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan
        self._visitor.open_sessions += 1
        self._terminal = Terminal(self._write, self._pause, idle_seconds=self._house.limits.idle_seconds)

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        self._has_terminal = True
        self._terminal.resize(*term_size[:2])
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self._terminal.resize(width, height)

    def shell_requested(self) -> bool:
        return self._has_terminal

    def exec_requested(self, command: str) -> bool:
        return False

    def subsystem_requested(self, subsystem: str) -> bool:
        return False

    def session_started(self) -> None:
        self._task = asyncio.create_task(self._run())
        self._house.sessions.add(self._task)
        self._task.add_done_callback(self._house.sessions.discard)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._terminal.feed(data)

    def eof_received(self) -> bool:
        self._terminal.hang_up()
        return True  # the session ends the channel, once it has said what it has to say

    def break_received(self, msec: int) -> bool:
        self._terminal.feed(b"\x03")
        return True

    def pause_writing(self) -> None:
        self._terminal.hold(True)

    def resume_writing(self) -> None:
        self._terminal.hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._visitor.open_sessions -= 1
        self._terminal.hang_up()
        if self._task is not None:
            self._task.cancel()

    # The session.

    def _write(self, text: str) -> None:
        # A channel that is closing has nobody to read; the session notices at its next key.
        with contextlib.suppress(OSError):
            self._channel.write(text.encode())

    def _pause(self, pause: bool) -> None:
        (self._channel.pause_reading if pause else self._channel.resume_reading)()

    async def _run(self) -> None:
        try:
            await Conversation(self._house.shell, self._terminal, self._visitor.who).hold(self._house.startup_seconds)
        except HungUp:
            _LOG.info("%s is gone or was silent for too long", self._visitor.who)
        except asyncio.CancelledError:
            raise
        except Exception:
            _LOG.exception("a session of %s failed", self._visitor.who)
        finally:
            with contextlib.suppress(OSError):
                self._channel.exit(0)


async def start_oscli(
    shell: Shell,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    authenticate: Callable[[str, str], Awaitable[bool]],
    host_key: Path,
    startup_seconds: float = 0.0,
    limits: CliLimits = CliLimits(),
    algorithms: Algorithms = MODERN,
) -> CliServer:
    """Serve a command line over SSH, in the running event loop, until `stop`.

    Args:
        host: address to listen on.
        port: 0 lets the system choose.
        authenticate: whether this is a user's password; it says no and never raises.
        host_key: the server's private key; an ed25519 key is made there, 0600, when the file is missing.
        startup_seconds: between log-in and prompt; a real node takes some.
        limits: what clients may use.
        algorithms: what to negotiate; `exchange.ssh.LEGACY` is as weak as old nodes are.

    Raises:
        PortTaken: the address or port is not to be had.
        SettingsError: the host key can't be used.
    """
    key = await asyncio.to_thread(read_or_make, host_key, "node's command line")
    house = _House(shell, authenticate, limits, startup_seconds)
    try:
        acceptor = await asyncssh.create_server(
            lambda: _Visitor(house),
            host,
            port,
            server_host_keys=[key],
            encoding=None,
            line_editor=False,
            allow_scp=False,
            agent_forwarding=False,
            x11_forwarding=False,
            host_based_auth=False,
            public_key_auth=False,
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
        raise port_taken("SSH", host, port, error) from error
    return CliServer(acceptor, house, key)
