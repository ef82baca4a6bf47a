"""A node's OS command line over SSH, one command at a time.

    async with OsCli.connect("10.1.1.7", 22, "administrator", password, pins) as cli:
        release = parse_version(await cli.run("show version active"))

What a node says is read by `trustbridge.cucm.dialogue`, by the texts of its release; this module owns the connection,
the clock and the errors:

* A session that broke, or that went silent before a word was said, is opened anew once, for commands that only read.
  A command that may have changed something is never sent twice: the error says that its outcome is not known.
* A connection that is refused or broken before the log-in is tried again, after a pause: nodes drop some when many
  come at once. A log-in that was refused never is.
* After a time-out the session is given up, and the next command opens another one.
* Passwords, ours and those the node asks for, appear in no error, log or repr, even where the node echoes them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import asyncssh

from trustbridge.cucm.dialogue import Answers, Prompt, Refusal, SecretAnswer
from trustbridge.cucm.osshell import Broken, Shell, Terminal, masked, quoted, shown
from trustbridge.cucm.releases import ReleaseTexts, for_release
from trustbridge.errors import NotSupported, Refused, SettingsError, TrustbridgeError, Unreachable
from trustbridge.exchange.directory import SftpSettings
from trustbridge.exchange.hostkeys import FirstContact, HostKeyPins
from trustbridge.exchange.ssh import HostKeyWatcher, hang_up, log_in, translated

_log = logging.getLogger(__name__)

#: Seconds for a command, where the caller names none; the slowest reads take some ten on a busy node.
DEFAULT_TIMEOUT: Final = 60.0
#: Seconds from the call to the first prompt. The command line itself takes several to start.
LOGIN_TIMEOUT: Final = 60.0
#: A reading command that got not even an echo for so long was sent into a dead session.
_FIRST_WORD: Final = 15.0
#: Seconds after which a silent node is asked for a sign of life, on the SSH level; after three it is given up.
_KEEPALIVE: Final = 30.0
#: Columns and lines of the terminal: wide, so that nothing is wrapped.
_SIZE: Final = (1000, 1000)


class OsCli:
    """The command line of one node; commands run one after the other, whoever calls. Made by `connect`.

    Attributes:
        node: what messages call the node.
        texts: how its release talks; may be replaced once the release is known.
        first_contact: the host key that was pinned now, or None when it was known.
    """

    def __init__(
        self,
        settings: SftpSettings,
        pins: HostKeyPins,
        *,
        node: str,
        texts: ReleaseTexts,
        timeout: float,
        login_timeout: float,
        local_address: str | None,
        attempts: int,
        pause: float,
    ) -> None:
        self.node = node
        self.texts = texts
        self.first_contact: FirstContact | None = None
        self._settings = settings
        self._pins = pins
        self._timeout = timeout
        self._login_timeout = login_timeout
        self._local_address = local_address
        self._attempts = attempts
        self._pause = pause
        self._first_word = _FIRST_WORD
        self._hidden = {settings.password or ""}
        self._shell: Shell | None = None
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<OsCli {self._settings.username}@{self._settings.server} ({self.node})>"

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        address: str,
        port: int,
        user: str,
        password: str,
        pins: HostKeyPins,
        *,
        node: str | None = None,
        texts: ReleaseTexts | None = None,
        legacy: bool = False,
        timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - of each command, not of this call
        login_timeout: float = LOGIN_TIMEOUT,
        local_address: str | None = None,
        attempts: int = 3,
        pause: float = 0.5,
    ) -> AsyncIterator[OsCli]:
        """Log in to a node's command line; it stays open as long as the context.

        Args:
            address, port: where.
            user, password: an administrator of the OS realm; by password or keyboard-interactive.
            pins: the known host keys; a node seen for the first time is added.
            node: what messages call the node; its address otherwise.
            texts: how its release talks; those of an unknown release otherwise.
            legacy: offer old key exchange and host keys too; see `SftpSettings.legacy_algorithms` for what it weakens.
            timeout: seconds for a command that names none of its own.
            login_timeout: seconds from the call to the first prompt.
            local_address: the address to call from.
            attempts: how often to call, within `login_timeout`.
            pause: seconds before the second call; twice as long before each further one.

        Raises:
            Unreachable: nobody there, or no prompt in time.
            AuthenticationRefused: user or password not accepted.
            IdentityChanged: not the host key that is pinned.
            Refused: the node ends the session, or has no way of encryption in common.
            Garbled: it asks something first, such as for a new password.
            SettingsError: an address that can't be one; pins that can't be read or written.
        """
        settings = SftpSettings(
            host=address, port=port, username=user, password=password, directory=".", legacy_algorithms=legacy
        )
        cli = cls(
            settings,
            pins,
            node=node or address,
            texts=texts or for_release(None),
            timeout=timeout,
            login_timeout=login_timeout,
            local_address=local_address,
            attempts=attempts,
            pause=pause,
        )
        try:
            async with cli._lock:
                cli._shell = await cli._open()
            yield cli
        finally:
            await cli._drop()

    async def run(
        self,
        command: str,
        answers: Answers | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - what it ends in is ours to word
        tolerate_refusal: bool = False,
    ) -> str:
        """Run a command and return what the node said to it.

        Args:
            command: one line.
            answers: what to answer, by a regular expression found in the question; a question nobody prepared an answer
                for is interrupted. An answer of several lines is pasted.
            timeout: seconds until the prompt has to be back.
            tolerate_refusal: return the output even when the node says that it did not carry out the command; a
                command it does not know is refused all the same.

        Returns:
            The output, cleaned, without the echo; every line ends in a newline, secrets are masked.

        Raises:
            Unreachable: the node can't be reached, did not finish in time, or the session broke.
            Refused: it did not carry out the command; its own words are in the message.
            NotSupported: it does not know the command.
            Garbled: it asks what nobody expected, or never stops talking.
            AuthenticationRefused, IdentityChanged: when the session had to be opened anew.
        """
        if not command.strip() or not command.isprintable():
            raise SettingsError(f"{command!r} is no command of one line")
        async with self._lock:
            told = {answer.text for answer in (answers or {}).values() if isinstance(answer, SecretAnswer)}
            self._hidden = told | {self._settings.password or ""}
            with self._named():
                event = await self._attempt(
                    command,
                    answers or {},
                    self._timeout if timeout is None else timeout,
                    again=self.texts.is_read(command),
                )
            # What we told it, the node may repeat; it never says the password of the log-in, which may be a plain word.
            output = masked(event.output, told | self._hidden - {self._settings.password or ""})
        if isinstance(event, Prompt):
            return output
        words = quoted(masked(event.words, self._hidden))
        if event.unknown:
            raise NotSupported(
                f"{self._here} does not know `{shown(command)}`: {words}",
                "Its release may lack the command, or the account may not be allowed to use it.",
            )
        if tolerate_refusal:
            return output
        raise Refused(f"{self._here} refused `{shown(command)}`: {words}")

    @property
    def _here(self) -> str:
        return f"{self.node} (command line)"

    async def _attempt(self, command: str, answers: Answers, seconds: float, *, again: bool) -> Prompt | Refusal:
        """Run a command in a session that works; open another one and try again once, if `again`."""
        shell = self._shell
        if shell is None or shell.ended:
            await self._drop()
            shell = self._shell = await self._open()
        try:
            first_word = self._first_word if again else None
            return await shell.run(self.texts, command, answers, seconds, first_word=first_word, hidden=self._hidden)
        except Broken as broken:
            await self._drop()
            if again:
                return await self._attempt(command, answers, seconds, again=False)
            raise self._lost(broken, command) from broken.error
        except BaseException:
            # Whatever is still on its way belongs to this command, not to the next.
            await self._drop()
            raise

    async def _open(self) -> Shell:
        """Log in and wait for the first prompt; pagination is off afterwards."""
        with self._named():
            now = asyncio.get_running_loop().time
            deadline = now() + self._login_timeout
            for attempt in range(1, self._attempts + 1):
                try:
                    connection = await self._log_in(deadline - now())
                    break
                except Unreachable as error:
                    pause = self._pause * 2 ** (attempt - 1)
                    if attempt == self._attempts or now() + pause >= deadline or not _passing(error):
                        raise
                    _log.info("%s: %s, trying again in %.1f s", self._here, error.message, pause)
                await asyncio.sleep(pause)
            try:
                return await self._greet(connection, deadline - now())
            except BaseException:
                await hang_up(connection)
                raise

    async def _log_in(self, seconds: float) -> asyncssh.SSHClientConnection:
        watcher = HostKeyWatcher(self._settings, self._pins)
        try:
            return await log_in(
                self._settings,
                self._pins,
                watcher,
                seconds=seconds,
                local_address=self._local_address,
                keepalive=_KEEPALIVE,
            )
        finally:
            self.first_contact = watcher.first_contact or self.first_contact

    async def _greet(self, connection: asyncssh.SSHClientConnection, seconds: float) -> Shell:
        terminal = Terminal()
        try:
            async with asyncio.timeout(seconds):
                channel, _ = await connection.create_session(
                    lambda: terminal,
                    term_type="vt100",
                    term_size=_SIZE,
                    encoding="utf-8",
                    errors="replace",
                )
        except (asyncssh.Error, OSError) as error:
            raise translated(error, self._settings, "open its command line", seconds) from error
        shell = Shell(connection, channel, terminal)
        try:
            await shell.greeting(self.texts, seconds)
            await shell.run(self.texts, self.texts.pagination_off, {}, seconds, hidden=self._hidden)
        except Broken as broken:
            said = quoted(broken.said)
            if said:
                raise Refused(
                    f"the session ended before it began; it said: {said}",
                    "Too many sessions may be open, or the account may be locked or without a command line.",
                ) from broken.error
            raise Unreachable("the session ended before it began", "Try again.") from broken.error
        return shell

    async def _drop(self) -> None:
        shell, self._shell = self._shell, None
        if shell is not None:
            await hang_up(shell.connection)

    def _lost(self, broken: Broken, command: str) -> Unreachable:
        what = "the session broke" if broken.started else "the session is dead: nothing was answered"
        if self.texts.is_read(command):
            return Unreachable(f"{what} (to `{shown(command)}`), twice", "Try again when the node answers.")
        return Unreachable(
            f"{what} after `{shown(command)}` was sent; whether it was carried out is not known",
            "It is not sent again by itself. See what the node holds now, and decide.",
        )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Give every error the node's name, and take secrets out of it."""
        try:
            yield
        except TrustbridgeError as error:
            if not error.message.startswith(self._here):
                error.message = f"{self._here}: {error.message}"
            error.message = masked(error.message, self._hidden)
            error.args = (error.message,)
            raise


def _passing(error: Unreachable) -> bool:
    """A connection that was refused or broke, which may be otherwise in a moment; not one that took all its time."""
    return isinstance(error.__cause__, ConnectionError | asyncssh.ConnectionLost)
