"""The client of the command line, against a scripted shell that can be slow, silent, talkative, deaf or broken."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import asyncssh
import pytest
import uvloop

from trustbridge.cucm.dialogue import SecretAnswer
from trustbridge.cucm.oscli import OsCli
from trustbridge.cucm.releases import Quiet, for_release
from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    IdentityChanged,
    NotSupported,
    Refused,
    SettingsError,
    Unreachable,
)
from trustbridge.exchange.hostkeys import HostKeyPins

PASSWORD = "correct horse 7 Battery"
SFTP_PASSWORD = "hunter2 of the exchange"
PEM = "-----BEGIN CERTIFICATE-----\nMIIC\nAAAA\n-----END CERTIFICATE-----\n"
PAGER = "\x1b[1mPress <enter> for 1 line, <space> for one page, or <q> to quit\x1b[0m\x1b[K"
#: As patient as loopback needs.
QUICK = dataclasses.replace(
    for_release(None), quiet=Quiet(empty_prompt=0.2, question=0.05, odd_question=0.3, paste=0.3)
)
LOOPS: list[Callable[[Coroutine[Any, Any, None]], None]] = [asyncio.run, uvloop.run]


class Hung(Exception):
    """The scripted shell does not go on."""


@dataclass
class Shell:
    """One session of the scripted shell."""

    node: Node
    process: asyncssh.SSHServerProcess[str]

    def say(self, text: str) -> None:
        self.process.stdout.write(text.replace("\n", "\r\n"))

    async def key(self) -> str:
        key = await self.process.stdin.read(1)
        if not key:
            raise Hung
        return key

    async def line(self, *, echo: bool = True) -> str:
        typed = ""
        while (key := await self.key()) != "\r":
            if key == "\x03":
                self.node.interrupts += 1
                self.say("^C\n")
                raise KeyboardInterrupt
            typed += key
            self.node.wrong_keys += not key.isprintable()
            if echo and self.node.echo:
                self.process.stdout.write(key)
        self.say("\n" if self.node.echo else "")
        return typed

    async def ask(self, question: str, *, echo: bool = True) -> str:
        self.say(question)
        answer = await self.line(echo=echo)
        self.node.answers.append(answer)
        return answer

    async def paged(self, lines: list[str], page: int) -> None:
        for number, line in enumerate(lines, 1):
            self.say(line + "\n")
            if self.node.pagination and number % page == 0:
                self.process.stdout.write(PAGER)
                while (await self.key()) != " ":
                    self.node.wrong_keys += 1
                self.process.stdout.write("\r\x1b[K")

    def abort(self) -> None:
        cast(asyncssh.SSHServerConnection, self.process.channel.get_connection()).abort()


Command = Callable[[Shell, str], Awaitable[None]]


@dataclass
class Node:
    """A scripted node; `ran` and `answers` tell what it was told."""

    key: asyncssh.SSHKey
    commands: dict[str, Command] = field(default_factory=dict)
    prompt_delay: float = 0.0
    pause: float = 0.0
    echo: bool = True
    pagination: bool = True
    keyboard_interactive: bool = False
    greeting: str = "Command Line Interface is starting up, please wait ...\n\n   Welcome\n\n"
    ran: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    sessions: int = 0
    wrong_keys: int = 0
    interrupts: int = 0
    lost: int = 0
    terminal: tuple[str | None, int] = (None, 0)

    async def handle(self, process: asyncssh.SSHServerProcess[str]) -> None:
        self.sessions += 1
        self.terminal = (process.term_type, process.term_size[0])
        shell = Shell(self, process)
        try:
            shell.say(self.greeting)
            await asyncio.sleep(self.prompt_delay)
            if "init" in self.commands:
                await self.commands["init"](shell, "")
            while True:
                process.stdout.write("admin:")
                await asyncio.sleep(self.pause)
                try:
                    await self.serve(shell, await shell.line())
                except KeyboardInterrupt:
                    continue
        except (Hung, asyncssh.Error, BrokenPipeError):
            pass
        finally:
            process.exit(0)

    async def serve(self, shell: Shell, line: str) -> None:
        if not line:
            return
        self.ran.append(line)
        if line == "set cli pagination off":
            self.pagination = False
            shell.say("Automatic pagination is turned off\n")
        elif command := next((self.commands[start] for start in self.commands if line.startswith(start)), None):
            await command(shell, line)
        else:
            shell.say("No valid command entered\nExecuted command unsuccessfully\n")


class Server(asyncssh.SSHServer):
    def __init__(self, node: Node) -> None:
        self.node = node

    def connection_lost(self, exc: Exception | None) -> None:
        self.node.lost += 1

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return not self.node.keyboard_interactive

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("administrator", PASSWORD)

    def kbdint_auth_supported(self) -> bool:
        return self.node.keyboard_interactive

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        return list(responses) == [PASSWORD]


@asynccontextmanager
async def serving(node: Node, port: int = 0, **options: Any) -> AsyncIterator[int]:
    acceptor = await asyncssh.create_server(
        lambda: Server(node),
        "127.0.0.1",
        port,
        server_host_keys=[node.key],
        process_factory=node.handle,
        line_editor=False,
        encoding="utf-8",
        errors="replace",
        **options,
    )
    try:
        yield acceptor.get_port()
    finally:
        acceptor.close()
        await acceptor.wait_closed()


@pytest.fixture(scope="module")
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture
def node(key: asyncssh.SSHKey) -> Node:
    async def version(shell: Shell, line: str) -> None:
        shell.say("Active Master Version: 12.5.1.11900-146\n")

    async def quiet(shell: Shell, line: str) -> None:
        return

    return Node(key, {"show version active": version, "set quiet": quiet, "show nothing": quiet})


@dataclass
class Client:
    pins: HostKeyPins
    node: Node

    @asynccontextmanager
    async def __call__(self, port: int, **options: Any) -> AsyncIterator[OsCli]:
        options = dict[str, Any](timeout=10.0, password=PASSWORD, node="cm1", texts=QUICK) | options
        user, password = options.pop("user", "administrator"), options.pop("password")
        async with OsCli.connect("127.0.0.1", port, user, password, self.pins, **options) as cli:
            yield cli

    def run(self, command: str, answers: Any = None, *, port: int = 0, **options: Any) -> str:
        """One command in one session; `Any` other error than ours would come out as it is."""

        async def scenario() -> str:
            async with serving(self.node) as listening, self(port or listening) as cli:
                return await cli.run(command, answers, **options)

        return asyncio.run(scenario())


@pytest.fixture
def client(node: Node, tmp_path: Path) -> Client:
    return Client(HostKeyPins(tmp_path / "known_hosts"), node)


# Talking


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_command_gives_its_output_alone(
    client: Client, node: Node, loop: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            for _ in range(3):
                assert await cli.run("show version active") == "Active Master Version: 12.5.1.11900-146\n"
            assert await cli.run("set quiet") == ""
            assert cli.first_contact is not None

    loop(scenario())
    assert node.ran == ["set cli pagination off", *["show version active"] * 3, "set quiet"]
    assert node.sessions == 1
    assert node.terminal[0]
    assert node.terminal[1] >= 500


@pytest.mark.parametrize("keyboard_interactive", [False, True])
def test_a_slow_log_in_without_echo(client: Client, node: Node, keyboard_interactive: bool) -> None:
    node.prompt_delay, node.echo, node.keyboard_interactive = 0.3, False, keyboard_interactive
    assert client.run("show version active") == "Active Master Version: 12.5.1.11900-146\n"


def test_no_echo_and_no_output_is_an_empty_answer(client: Client, node: Node) -> None:
    node.echo = False
    assert client.run("show nothing") == ""


def test_pages_are_turned_where_pagination_stays_on(client: Client, node: Node) -> None:
    expected = [f"line {number}" for number in range(1, 51)]

    async def long(shell: Shell, line: str) -> None:
        node.pagination = True
        await shell.paged(expected, 7)

    node.commands["show long"] = long
    said = client.run("show long")
    assert [line for line in said.split("\n") if line] == expected
    assert node.wrong_keys == 0


def test_output_in_pieces_of_one_character(client: Client, node: Node) -> None:
    async def slowly(shell: Shell, line: str) -> None:
        for character in "an admin: is a person\nthe end\n":
            shell.say(character)
            await asyncio.sleep(0.002)
        shell.say("admin: is no prompt here\n")  # what follows came with it

    node.commands["show slowly"] = slowly
    assert client.run("show slowly") == "an admin: is a person\nthe end\nadmin: is no prompt here\n"


def test_commands_of_many_callers_take_turns(client: Client, node: Node) -> None:
    async def echo(shell: Shell, line: str) -> None:
        shell.say("begin\n")
        await asyncio.sleep(0.01)
        shell.say(f"{line}\n")

    node.commands["show"] = echo

    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            said = await asyncio.gather(*(cli.run(f"show {number}") for number in range(8)))
            assert said == [f"begin\nshow {number}\n" for number in range(8)]

    node.commands.pop("show version active")
    asyncio.run(scenario())


@pytest.mark.parametrize("echo", [True, False])
def test_a_stale_prompt_does_not_end_the_next_command(client: Client, node: Node, echo: bool) -> None:
    node.echo = echo

    async def twice(shell: Shell, line: str) -> None:
        shell.say("done\nadmin:")  # an Enter too many: the prompt comes twice
        await asyncio.sleep(0.05)

    async def late(shell: Shell, line: str) -> None:
        await asyncio.sleep(0 if echo else 0.4)  # longer than a lone prompt is waited for
        shell.say("late\n")

    node.commands |= {"show twice": twice, "show late": late}

    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            assert await cli.run("show twice") == "done\n"
            await asyncio.sleep(0.1)
            assert (await cli.run("show late")).strip() == "late"
            assert await cli.run("show version active") == "Active Master Version: 12.5.1.11900-146\n"

    asyncio.run(scenario())


def test_a_prompt_that_comes_after_the_command_was_typed_does_not_end_it(client: Client, node: Node) -> None:
    async def twice(shell: Shell, line: str) -> None:
        shell.say("done\nadmin:")
        await asyncio.sleep(0.1)  # the next command is typed meanwhile; its echo comes behind the second prompt
        node.pause = 0.1

    node.commands["show twice"] = twice

    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            assert await cli.run("show twice") == "done\n"
            assert await cli.run("show version active") == "Active Master Version: 12.5.1.11900-146\n"

    asyncio.run(scenario())


# Questions


def test_questions_are_answered(client: Client, node: Node) -> None:
    async def mixed(shell: Shell, line: str) -> None:
        answer = await shell.ask("This operation will set the cluster to Mixed mode. Do you want to continue? (y/n):")
        shell.say("Cluster set to Mixed Mode\n" if answer == "y" else "Cancelled\n")

    node.commands["utils ctl"] = mixed
    said = client.run("utils ctl set-cluster mixed-mode", {"continue": "y"})
    assert said.endswith("\nCluster set to Mixed Mode\n")
    assert node.answers == ["y"]


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("empty_line_wanted", [True, False])
def test_a_certificate_is_pasted(client: Client, node: Node, echo: bool, empty_line_wanted: bool) -> None:
    async def take(shell: Shell, line: str) -> None:
        shell.say("Paste the Certificate and Hit Enter\n")
        pasted = ""
        while True:
            typed = await shell.line(echo=echo)
            pasted += typed + "\n" if typed else ""
            if not typed or (not empty_line_wanted and typed.startswith("-----END")):
                break
        node.answers.append(pasted)
        shell.say("Successfully imported certificate for tomcat.\n")

    node.commands["set cert import trust"] = take
    said = client.run("set cert import trust tomcat", {"paste": PEM})
    assert said.endswith("Successfully imported certificate for tomcat.\n")
    assert node.answers == [PEM]
    assert node.wrong_keys == 0
    assert "MIIC" not in said


@pytest.mark.parametrize("echo", [True, False])
def test_a_secret_answer_is_in_no_output(
    client: Client, node: Node, echo: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def sftp(shell: Shell, line: str) -> None:
        await shell.ask("SFTP server:")
        password = await shell.ask("Password:", echo=echo)
        shell.say(f"Connecting with {password}\nSuccess\n")

    node.commands["set cert bulk sftp"] = sftp
    caplog.set_level(logging.DEBUG)
    said = client.run("set cert bulk sftp", {"password": SecretAnswer(SFTP_PASSWORD), "server": "10.1.1.9"})
    assert node.answers == ["10.1.1.9", SFTP_PASSWORD]
    assert said.endswith("Connecting with ********\nSuccess\n")
    assert SFTP_PASSWORD not in said + caplog.text
    assert PASSWORD not in caplog.text


def test_what_answers_a_secret_question_is_masked_even_if_nobody_said_so(client: Client, node: Node) -> None:
    async def sftp(shell: Shell, line: str) -> None:
        shell.say(f"got {await shell.ask('Password:', echo=False)}\nExecuted command unsuccessfully\n")

    node.commands["set cert bulk sftp"] = sftp
    with pytest.raises(Refused, match=r"got \*{8}") as caught:
        client.run("set cert bulk sftp", {"password": SFTP_PASSWORD})
    assert SFTP_PASSWORD not in str(caught.value)


def test_a_question_nobody_expected_is_interrupted(client: Client, node: Node) -> None:
    async def ask(shell: Shell, line: str) -> None:
        await shell.ask("Delete everything (yes|no)?")
        shell.say("gone\n")

    node.commands["set cert delete"] = ask

    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            with pytest.raises(Garbled, match=r"^cm1 \(command line\): asks what nobody expected: Delete everything"):
                await cli.run("set cert delete CallManager-trust x.pem", {"continue": "y"})
            assert await cli.run("show version active")

    asyncio.run(scenario())
    assert node.answers == []
    assert node.interrupts == 1


def test_output_that_stops_at_a_colon_is_no_question_unless_questions_are_expected(client: Client, node: Node) -> None:
    async def pause(shell: Shell, line: str) -> None:
        shell.say("Restarting now:")
        await asyncio.sleep(0.6)
        shell.say(" done\n")

    async def odd(shell: Shell, line: str) -> None:
        await shell.ask("Shoe size:")

    node.commands |= {"utils restart": pause, "utils odd": odd}
    assert client.run("utils restart") == "Restarting now: done\n"
    with pytest.raises(Garbled, match="Shoe size"):
        client.run("utils odd", {"hat size": "60"})
    assert client.run("utils odd", {"shoe": "45"}) == "Shoe size:\n"
    assert node.answers == ["45"]


def test_a_question_asked_again_and_again_is_given_up(client: Client, node: Node) -> None:
    async def stubborn(shell: Shell, line: str) -> None:
        while True:
            await shell.ask("Continue (y/n)?")

    node.commands["utils do"] = stubborn
    with pytest.raises(Refused, match="does not take the answer"):
        client.run("utils do", {"continue": "y"})
    assert node.answers == ["y"] * 3


# Refusals


def test_a_refused_command_gives_the_nodes_own_words(client: Client, node: Node) -> None:
    async def refuse(shell: Shell, line: str) -> None:
        shell.say("Unable to del: NULL\nExecuted command unsuccessfully.\n")

    node.commands["set cert delete"] = refuse
    with pytest.raises(Refused, match=r"refused `set cert delete a b`: Unable to del: NULL$") as caught:
        client.run("set cert delete a b")
    assert not isinstance(caught.value, NotSupported)
    tolerated = client.run("set cert delete a b", tolerate_refusal=True)
    assert tolerated == "Unable to del: NULL\nExecuted command unsuccessfully.\n"


def test_an_unknown_command_is_not_supported(client: Client) -> None:
    with pytest.raises(NotSupported, match="does not know `show nonsense`: No valid command entered"):
        client.run("show nonsense", tolerate_refusal=True)


@pytest.mark.parametrize("command", ["", "  ", "show it\nset it", "show \x03it"])
def test_what_is_no_single_line_is_never_sent(client: Client, node: Node, command: str) -> None:
    with pytest.raises(SettingsError):
        client.run(command)
    assert node.ran == ["set cli pagination off"]


def test_a_wrong_password_is_refused_and_not_repeated(client: Client, node: Node) -> None:
    async def scenario() -> None:
        async with serving(node) as port:
            with pytest.raises(AuthenticationRefused, match="administrator") as caught:
                async with client(port, password="not this one"):
                    pass
            assert "not this one" not in f"{caught.value} {caught.value.hint} {caught.value!r}"

    asyncio.run(scenario())


def test_nobody_there_is_unreachable(client: Client) -> None:
    async def scenario() -> None:
        async with serving(client.node) as port:
            pass
        with pytest.raises(Unreachable, match=r"^cm1 \(command line\): can't reach 127.0.0.1"):
            async with client(port):
                pass

    asyncio.run(scenario())


def test_another_host_key_stops_everything(client: Client, node: Node) -> None:
    async def scenario() -> None:
        async with serving(node) as port:
            async with client(port) as cli:
                assert cli.first_contact is not None
            async with client(port) as cli:
                assert cli.first_contact is None
        node.key = asyncssh.generate_private_key("ssh-ed25519")
        async with serving(node, port):
            with pytest.raises(IdentityChanged, match="has changed"):
                async with client(port):
                    pass

    asyncio.run(scenario())
    assert node.sessions == 2


def test_old_algorithms_need_permission(client: Client, node: Node) -> None:
    async def scenario() -> None:
        async with serving(node, kex_algs=["diffie-hellman-group14-sha1"]) as port:
            with pytest.raises(Refused, match="no way of encryption in common"):
                async with client(port):
                    pass
            async with client(port, legacy=True) as cli:
                assert await cli.run("show version active")

    asyncio.run(scenario())


def test_a_session_that_ends_before_its_prompt_gives_the_nodes_words(client: Client, node: Node) -> None:
    async def leave(shell: Shell, line: str) -> None:
        shell.say("Maximum number of sessions reached\n")
        raise Hung

    node.commands["init"], node.greeting = leave, ""
    with pytest.raises(Refused, match="Maximum number of sessions reached"):
        client.run("show version active")


def test_a_node_that_wants_a_new_password_first_is_left_alone(client: Client, node: Node) -> None:
    async def expired(shell: Shell, line: str) -> None:
        await shell.ask("Your password has expired.\nNew Password:", echo=False)

    node.commands["init"] = expired
    with pytest.raises(Garbled, match="New Password"):
        client.run("show version active")
    assert node.answers == []


# Time, silence and broken sessions


def test_a_command_that_takes_too_long_says_what_was_seen(client: Client, node: Node) -> None:
    async def slow(shell: Shell, line: str) -> None:
        shell.say("Stopping ...\n" + await shell.ask("Password:"))
        await asyncio.sleep(30)

    node.commands["utils slow"] = slow

    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            began = time.monotonic()
            with pytest.raises(Unreachable) as caught:
                await cli.run("utils slow", {"password": SecretAnswer(SFTP_PASSWORD)}, timeout=0.8)
            assert time.monotonic() - began < 4
            assert "within 0.8 s; it said so far: Password: Stopping" in str(caught.value)
            assert SFTP_PASSWORD not in str(caught.value)
            assert await cli.run("show version active") == "Active Master Version: 12.5.1.11900-146\n"

    asyncio.run(scenario())
    assert node.sessions == 2


def test_a_question_that_repeats_a_secret_is_masked(client: Client, node: Node) -> None:
    async def check(shell: Shell, line: str) -> None:
        password = await shell.ask("Password:", echo=False)
        await shell.ask(f"Is {password} right (y/n)?")

    node.commands["set cert bulk sftp"] = check
    with pytest.raises(Garbled, match=r"Is \*{8} right"):
        client.run("set cert bulk sftp", {"password": SecretAnswer(SFTP_PASSWORD)})


def test_what_was_seen_is_cut_after_secrets_are_masked(client: Client, node: Node) -> None:
    async def slow(shell: Shell, line: str) -> None:
        shell.say(await shell.ask("Password:", echo=False) + "y" * 290)
        await asyncio.sleep(30)

    node.commands["utils slow"] = slow
    with pytest.raises(Unreachable) as caught:
        client.run("utils slow", {"password": SecretAnswer(SFTP_PASSWORD)}, timeout=0.5)
    assert "exchange" not in str(caught.value)


def test_a_prompt_that_never_comes_is_unreachable(client: Client, node: Node) -> None:
    node.prompt_delay = 30

    async def scenario() -> None:
        async with serving(node) as port:
            with pytest.raises(
                Unreachable, match=r"did not give a prompt within .* Command Line Interface is starting"
            ):
                async with client(port, login_timeout=0.5):
                    pass
            await asyncio.sleep(0.1)
            assert node.lost == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["abort", "end", "silence"])
def test_a_read_is_repeated_once_in_a_new_session(client: Client, node: Node, way: str) -> None:
    broken = 1

    async def sometimes(shell: Shell, line: str) -> None:
        nonlocal broken
        if broken:
            broken -= 1
            if way == "abort":
                shell.abort()
            raise Hung
        shell.say("here\n")

    node.commands["show it"] = sometimes
    if way == "silence":

        async def deaf(shell: Shell, line: str) -> None:
            nonlocal broken
            if node.sessions == 1:
                shell.process.stdout.write("admin:")
                for _ in range(len("set cli pagination off\r")):
                    await shell.key()
                shell.say("set cli pagination off\nadmin:")
                await asyncio.sleep(30)  # the other half of the connection is gone
            broken = 0

        node.commands["init"] = deaf

    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            cli._first_word = 0.5
            assert await cli.run("show it") == "here\n"
            assert node.sessions == 2
            if way != "silence":
                broken_again()
                with pytest.raises(Unreachable, match="twice"):
                    await cli.run("show it")
                assert node.sessions == 3

    def broken_again() -> None:
        nonlocal broken
        broken = 2

    asyncio.run(scenario())


@pytest.mark.parametrize("abort", [True, False])
def test_a_write_is_never_sent_twice(client: Client, node: Node, abort: bool) -> None:
    async def breaks(shell: Shell, line: str) -> None:
        if abort:
            shell.abort()
        raise Hung

    node.commands["set cert bulk import"] = breaks

    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            with pytest.raises(Unreachable, match="whether it was carried out is not known"):
                await cli.run("set cert bulk import all")
            assert await cli.run("show version active")

    asyncio.run(scenario())
    assert node.ran.count("set cert bulk import all") == 1


def test_a_session_that_ended_while_nobody_used_it_is_opened_anew_for_a_write_too(client: Client, node: Node) -> None:
    async def last(shell: Shell, line: str) -> None:
        shell.say("bye\nadmin:")
        raise Hung

    node.commands["show last"] = last

    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            assert await cli.run("show last") == "bye\n"
            await asyncio.sleep(0.2)
            assert await cli.run("set quiet") == ""

    asyncio.run(scenario())
    assert node.ran.count("set quiet") == 1
    assert node.sessions == 2


def test_a_cancelled_command_leaves_no_answer_behind(client: Client, node: Node) -> None:
    async def slow(shell: Shell, line: str) -> None:
        shell.say("half\n")
        await asyncio.sleep(0.3)
        shell.say("rest\n")

    node.commands["show slow"] = slow

    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await cli.run("show slow")
            assert await cli.run("show version active") == "Active Master Version: 12.5.1.11900-146\n"

    asyncio.run(scenario())


def test_a_node_that_never_stops_talking_is_garbled(
    client: Client, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trustbridge.cucm.osshell.MAX_OUTPUT", 100_000)

    async def babble(shell: Shell, line: str) -> None:
        while not shell.process.is_closing():
            shell.say("bla " * 1000 + "\n")
            await shell.process.stdout.drain()

    node.commands["show all"] = babble
    with pytest.raises(Garbled, match="never stops talking"):
        client.run("show all")


def test_bytes_that_are_no_text_do_no_harm(client: Client, node: Node) -> None:
    async def noise(shell: Shell, line: str) -> None:
        shell.say("\x00\x1b]0;title\x07\x1b[31mred\x1b[0m \udcff\ufffd\n".replace("\udcff", ""))

    node.commands["show noise"] = noise
    assert client.run("show noise") == "red \ufffd\n"


def test_nothing_shows_the_password(client: Client, node: Node) -> None:
    async def scenario() -> None:
        async with serving(node) as port, client(port) as cli:
            assert PASSWORD not in repr(cli)
            assert "administrator@127.0.0.1" in repr(cli)

    asyncio.run(scenario())


def test_an_error_that_repeats_the_password_is_masked(client: Client, node: Node) -> None:
    async def repeat(shell: Shell, line: str) -> None:
        shell.say(f"user administrator with {PASSWORD} may not\nExecuted command unsuccessfully\n")

    node.commands["show secrets"] = repeat
    with pytest.raises(Refused) as caught:
        client.run("show secrets")
    assert PASSWORD not in str(caught.value)
