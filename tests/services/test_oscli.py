"""A node's command line over SSH: log-in, prompt, questions, Ctrl-C, limits; and nothing but that."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from trustbridge.errors import PortTaken, SettingsError
from trustbridge.services.clishell import Ask, Command
from trustbridge.services.oscli import CliLimits, CliServer, start_oscli
from trustbridge.services.terminal import MORE

USER, PASSWORD = "administrator", "correct horse"
#: Longest that anything here may take, seconds.
PATIENCE = 10.0


class ToyShell:
    """A node of a few commands; `ended` names those that came to an end, however."""

    greeting = "   Welcome to the Platform Command Line Interface\n\n"

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.ended: list[str] = []
        self.working = asyncio.Event()

    def name(self, line: str) -> str | None:
        word = line.split()[0]
        return word if word in ("say", "lines", "ask", "secret", "paste", "work", "break") else None

    async def run(self, line: str) -> Command:
        word, _, rest = line.partition(" ")
        try:
            match word:
                case "say":
                    yield f"{rest}\n"
                case "lines":
                    for start in range(1, int(rest) + 1, 1000):
                        yield "".join(f"line {number}\n" for number in range(start, min(start + 1000, int(rest) + 1)))
                case "ask":
                    self.answers.append((yield Ask("This operation does something.\n\nDo you want to? (y/n):")))
                    yield "done\n"
                case "secret":
                    self.answers.append((yield Ask("Password: ", secret=True)))
                    yield "thanks\n"
                case "paste":
                    self.answers.append((yield Ask("Paste the Certificate and Hit Enter", paste=True)))
                    yield "Successfully imported\n"
                case "work":
                    yield "working\n"
                    self.working.set()
                    await asyncio.sleep(60)
                    yield "worked\n"
                case "break":
                    raise ZeroDivisionError("a fault of ours")
                case _:
                    yield "No valid command entered\n"
        finally:
            self.ended.append(word)


class Place:
    """A server, its shell, and a way to reach it."""

    def __init__(self, server: CliServer, shell: ToyShell) -> None:
        self.server = server
        self.shell = shell

    @asynccontextmanager
    async def connected(self, password: str = PASSWORD, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        host, port = self.server.address
        options = {"username": USER, "client_keys": None, "agent_path": None, "config": None} | options
        async with asyncssh.connect(host, port, known_hosts=None, password=password, **options) as connection:
            yield connection

    @asynccontextmanager
    async def session(self, rows: int = 24) -> AsyncIterator[Session]:
        async with self.connected() as connection, terminal_of(connection, rows) as session:
            await session.until("admin:")
            yield session


class Session:
    """A shell as somebody sees it."""

    def __init__(self, process: asyncssh.SSHClientProcess[str]) -> None:
        self.process = process
        self.said = ""

    async def until(self, pattern: str, *, seconds: float = PATIENCE) -> str:
        """Everything up to the end of a pattern."""
        async with asyncio.timeout(seconds):
            while not (found := re.search(pattern, self.said, re.DOTALL)):
                more = await self.process.stdout.read(4096)
                assert more, f"the session ended before {pattern!r}: {self.said!r}"
                self.said += more
        said, self.said = self.said[: found.end()], self.said[found.end() :]
        return said

    async def ask(self, line: str, pattern: str = r"\r\nadmin:\Z") -> str:
        """Type a line and give what comes, up to a pattern."""
        self.process.stdin.write(f"{line}\r")
        return await self.until(pattern)

    def key(self, key: str) -> None:
        self.process.stdin.write(key)

    async def end(self) -> str:
        """What is said until the session ends."""
        async with asyncio.timeout(PATIENCE):
            return self.said + await self.process.stdout.read()


@asynccontextmanager
async def terminal_of(connection: asyncssh.SSHClientConnection, rows: int = 24) -> AsyncIterator[Session]:
    async with connection.create_process(term_type="vt100", term_size=(80, rows)) as process:
        yield Session(process)


def with_server(tmp_path: Path, check: Callable[[Place], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run a check against a server of its own."""

    async def admits(user: str, password: str) -> bool:
        return (user, password) == (USER, PASSWORD)

    async def run() -> None:
        shell = ToyShell()
        options.setdefault("limits", CliLimits(failed_login_pause=0.01))
        server = await start_oscli(shell, authenticate=admits, host_key=tmp_path / "host_key", **options)
        try:
            async with asyncio.timeout(30):
                await check(Place(server, shell))
        finally:
            await server.stop()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left

    asyncio.run(run())


def test_a_session_greets_prompts_echoes_and_ends_lines_with_cr_lf(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.connected() as connection, terminal_of(connection) as session:
            assert await session.until("admin:") == (
                "Command Line Interface is starting up, please wait ...\r\n\r\n"
                "   Welcome to the Platform Command Line Interface\r\n\r\nadmin:"
            )
            assert await session.ask("say hello") == "say hello\r\nhello\r\nadmin:"
            assert await session.ask("  what  ") == "  what  \r\nNo valid command entered\r\nadmin:"
            assert await session.ask("") == "\r\nadmin:"

    with_server(tmp_path, check)


@pytest.mark.parametrize("leave", ["exit\r", "quit\r", "EXIT\r", "\x04"])
def test_a_session_is_left_and_ends_well(tmp_path: Path, leave: str) -> None:
    async def check(place: Place) -> None:
        async with place.session() as session:
            session.key(leave)
            await session.end()
            await session.process.wait()
            assert session.process.exit_status == 0

    with_server(tmp_path, check)


def test_a_slow_log_in_says_first_that_it_starts(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.connected() as connection, terminal_of(connection) as session:
            began = asyncio.get_running_loop().time()
            assert "Welcome" not in await session.until("please wait ...")
            await session.until("admin:")
            assert asyncio.get_running_loop().time() - began >= 0.3

    with_server(tmp_path, check, startup_seconds=0.3)


def test_questions_are_answered_on_their_line(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.session() as session:
            asked = await session.ask("ask", r"\(y/n\):")
            assert asked == "ask\r\nThis operation does something.\r\n\r\nDo you want to? (y/n):"
            assert await session.ask("y") == "y\r\ndone\r\nadmin:"
        assert place.shell.answers == ["y"]

    with_server(tmp_path, check)


def test_secrets_are_not_echoed_and_pastes_have_many_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    pem = "-----BEGIN CERTIFICATE-----\nMIIBpasted\n-----END CERTIFICATE-----\n"

    async def check(place: Place) -> None:
        async with place.session() as session:
            await session.ask("secret", "Password: ")
            assert await session.ask("hunter2") == "\r\nthanks\r\nadmin:"
            assert (await session.ask("paste", "Enter\r\n")).endswith("Paste the Certificate and Hit Enter\r\n")
            assert "Successfully imported" in await session.ask(pem.rstrip())
            # What is typed at the wrong place may be a secret, too.
            await session.ask("correct horse MIIBwrong place")
        assert place.shell.answers == ["hunter2", pem]

    with_server(tmp_path, check)
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("trustbridge"))
    assert f"{USER} from 127.0.0.1: paste" in ours
    assert "an unknown command" in ours
    everything = "\n".join(record.getMessage() for record in caplog.records)
    assert not [secret for secret in ("hunter2", "MIIB", PASSWORD) if secret in everything]


def test_output_comes_in_pages_until_pagination_is_off(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.session(rows=10) as session:
            assert "line 9\r\n" in await session.ask("lines 20", re.escape(MORE))
            session.key("q")
            assert "line 10" not in await session.until("admin:")
            assert "pagination is turned off" in await session.ask("set cli  pagination OFF")
            assert "line 500\r\n" in await session.ask("lines 500")
            await session.ask("set cli pagination on")
            await session.ask("lines 20", re.escape(MORE))
            session.process.change_terminal_size(80, 100)
            session.key(" ")
            assert "line 20\r\n" in await session.until("admin:")
            await session.ask("lines 90")
        assert place.shell.ended.count("lines") == 4

    with_server(tmp_path, check)


def test_ctrl_c_leaves_a_line_a_question_a_page_and_a_command_at_work(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.session(rows=5) as session:
            session.key("say noth\x03")
            assert (await session.until(r"\r\nadmin:")).endswith("^C\r\nadmin:")
            await session.ask("ask", r"\(y/n\):")
            session.key("\x03")
            assert "done" not in await session.until("admin:")
            await session.ask("lines 20", re.escape(MORE))
            session.key("\x03")
            await session.until("admin:")
            await session.ask("work", "working\r\n")
            await place.shell.working.wait()
            session.key("\x03")
            assert await session.until("admin:") == "^C\r\nadmin:"
            assert await session.ask("say still here") == "say still here\r\nstill here\r\nadmin:"
        assert place.shell.ended == ["ask", "lines", "work", "say"]
        assert place.shell.answers == []

    with_server(tmp_path, check)


def test_a_command_that_breaks_ends_its_session_and_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check(place: Place) -> None:
        async with place.session() as broken, place.session() as other:
            broken.key("break\r")
            assert "ZeroDivisionError" not in await broken.end()
            assert "fine" in await other.ask("say fine")

    with_server(tmp_path, check)
    assert any(record.exc_info and "failed" in record.getMessage() for record in caplog.records)


def test_sessions_run_side_by_side(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.session() as one, place.session() as other:
            await one.ask("work", "working\r\n")
            assert "hello" in await other.ask("say hello")
            await one.ask("\x03")
        async with (
            place.connected() as connection,
            terminal_of(connection) as first,
            terminal_of(connection) as second,
        ):
            await asyncio.gather(first.until("admin:"), second.until("admin:"))
            assert "two of one" in await second.ask("say two of one")

    with_server(tmp_path, check)


def test_a_client_that_vanishes_ends_its_command(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.connected() as connection, terminal_of(connection) as session:
            await session.until("admin:")
            await session.ask("work", "working\r\n")
            connection.abort()
        async with asyncio.timeout(PATIENCE):
            while place.shell.ended != ["work"]:
                await asyncio.sleep(0.01)

    with_server(tmp_path, check)


def test_stopping_ends_commands_and_connections(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.session() as session:
            await session.ask("work", "working\r\n")
            await place.server.stop()
            await session.end()
        assert place.shell.ended == ["work"]

    with_server(tmp_path, check)


def test_silence_ends_a_session(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.session() as session:
            await session.end()

    with_server(tmp_path, check, limits=CliLimits(idle_seconds=0.2))


def test_a_command_that_works_long_is_not_silence(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.session() as session:
            await session.ask("work", "working\r\n")
            await asyncio.sleep(0.5)
            assert "still" in await session.ask("\x03say still", "still\r\n")

    with_server(tmp_path, check, limits=CliLimits(idle_seconds=0.3))


class Answering(asyncssh.SSHClient):
    """A client that knows keyboard-interactive alone."""

    def kbdint_auth_requested(self) -> str:
        return ""

    def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> list[str]:
        assert [(prompt, echo) for prompt, echo in prompts] == [("Password: ", False)]
        return [PASSWORD]


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_either_way_of_giving_a_password_opens(tmp_path: Path, method: str) -> None:
    async def check(place: Place) -> None:
        factory = Answering if method == "keyboard-interactive" else asyncssh.SSHClient
        async with (
            place.connected(preferred_auth=method, client_factory=factory) as connection,
            terminal_of(connection) as session,
        ):
            await session.until("admin:")

    with_server(tmp_path, check)


def test_wrong_passwords_are_refused_and_logged_without_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trustbridge")

    async def check(place: Place) -> None:
        for options in ({"password": "wrong-guess"}, {"username": "nobody"}):
            with pytest.raises(asyncssh.PermissionDenied):
                async with place.connected(**options):
                    pass

    with_server(tmp_path, check)
    assert "refused log-in of administrator from 127.0.0.1" in caplog.text
    assert "refused log-in of nobody" in caplog.text
    assert "wrong-guess" not in caplog.text


def test_a_connection_has_so_many_tries(tmp_path: Path) -> None:
    tries: list[str] = []

    class Guessing(asyncssh.SSHClient):
        def password_auth_requested(self) -> str:
            tries.append("guess")
            return "guess"

    async def check(place: Place) -> None:
        host, port = place.server.address
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.create_connection(
                Guessing, host, port, username=USER, known_hosts=None, client_keys=None, preferred_auth="password"
            )

    with_server(tmp_path, check, limits=CliLimits(failed_logins=3, failed_login_pause=0.01))
    assert len(tries) == 3


def test_more_connections_than_allowed_are_closed(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.session():
            with pytest.raises((asyncssh.ConnectionLost, OSError)):
                async with place.connected():
                    pass
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    async with place.session():
                        return
                except (asyncssh.ConnectionLost, OSError):
                    await asyncio.sleep(0.01)

    with_server(tmp_path, check, limits=CliLimits(connections=1))


def test_a_connection_has_so_many_shells(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.connected() as connection, terminal_of(connection) as session:
            await session.until("admin:")
            with pytest.raises(asyncssh.ChannelOpenError):
                async with terminal_of(connection):
                    pass

    with_server(tmp_path, check, limits=CliLimits(sessions=1))


def test_there_is_no_exec_no_sftp_no_shell_without_a_terminal_and_no_forwarding(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.connected() as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.create_process("show itl", term_type="vt100")
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.create_process()
            with pytest.raises(asyncssh.Error):
                await connection.start_sftp_client()
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection(*place.server.address)
            async with terminal_of(connection) as session:
                await session.until("admin:")

    with_server(tmp_path, check)


def test_the_host_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    shown: list[str] = []

    async def check(place: Place) -> None:
        async with place.connected() as connection:
            key = connection.get_server_host_key()
            assert key is not None
            shown.append(key.get_fingerprint())
        assert place.server.fingerprint == shown[-1]

    with_server(tmp_path, check)
    with_server(tmp_path, check)
    assert len(set(shown)) == 1
    assert (tmp_path / "host_key").stat().st_mode & 0o777 == 0o600


def test_a_host_key_that_others_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    async def unreachable(place: Place) -> None:
        raise AssertionError("it started")

    key = tmp_path / "host_key"
    key.write_text("no key")
    key.chmod(0o600)
    with pytest.raises(SettingsError, match="no unencrypted private key"):
        with_server(tmp_path, unreachable)
    key.chmod(0o644)
    with pytest.raises(SettingsError, match="others can read"):
        with_server(tmp_path, unreachable)
    with pytest.raises(SettingsError, match="can't use the host key"):
        with_server(key, unreachable)  # a file stands where its folder should


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        with pytest.raises(PortTaken, match=r"SSH can't listen on 127\.0\.0\.1 port"):
            await start_oscli(
                place.shell,
                port=place.server.address[1],
                authenticate=lambda user, password: asyncio.sleep(0, True),
                host_key=tmp_path / "other_key",
            )

    with_server(tmp_path, check)


def test_a_reader_that_stops_reading_holds_up_nobody_else(tmp_path: Path) -> None:
    async def check(place: Place) -> None:
        async with place.session() as greedy, place.session() as other:
            await greedy.ask("set cli pagination off")
            greedy.key("lines 400000\r")  # some 5 MB, more than windows and buffers hold
            await asyncio.sleep(0.2)
            assert "lines" not in place.shell.ended
            assert "fine" in await other.ask("say fine")
            greedy.key("exit\r")
            assert (await greedy.end()).endswith("line 400000\r\nadmin:exit\r\n")

    with_server(tmp_path, check)
