"""What a node's shell and whoever types at it say to each other: prompt, commands, questions, Ctrl-C.

What the commands do is a `Shell`'s business: a command is an asynchronous generator that yields what it says and, where
it needs to know something, an `Ask`. No socket here; SSH stands in `services.oscli`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from typing import Protocol

from trustbridge.services.terminal import EndOfInput, Interrupted, Terminal

_LOG = logging.getLogger(__name__)

PROMPT = "admin:"
_STARTING = "Command Line Interface is starting up, please wait ...\n\n"
_PAGINATION = re.compile(r"set\s+cli\s+pagination\s+(on|off)", re.IGNORECASE)
_LEAVING = re.compile(r"(?:exit|quit|logout)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ask:
    """A question of a command; the answer is what the `yield` gives.

    Attributes:
        prompt: the question; the answer is typed on the same line.
        secret: the answer is not echoed.
        paste: the answer has several lines, up to the end of a PEM block or an empty line.
    """

    prompt: str
    secret: bool = False
    paste: bool = False


Command = AsyncGenerator[str | Ask, str]
"""A command that runs: yields text (lines end in newlines) and questions."""


class Shell(Protocol):
    """What a node does with command lines."""

    @property
    def greeting(self) -> str:
        """What it says before the first prompt."""

    def name(self, line: str) -> str | None:
        """The command's own words, without what was typed behind them; None for what is no command."""

    def run(self, line: str) -> Command:
        """Carry out a command line that is not empty; it may be unknown."""


class Conversation:
    """One session of a shell at a terminal. `who` is for the log."""

    def __init__(self, shell: Shell, terminal: Terminal, who: str) -> None:
        self._shell = shell
        self._terminal = terminal
        self._who = who

    async def hold(self, startup_seconds: float) -> None:
        """Greet, and carry out what is typed, until somebody leaves.

        Args:
            startup_seconds: before the first prompt; a real node takes some.

        Raises:
            HungUp: nobody is there any more.
        """
        await self._greet(startup_seconds)
        await self._serve()

    async def _greet(self, startup_seconds: float) -> None:
        terminal = self._terminal
        await terminal.say(_STARTING)
        if startup_seconds:
            await asyncio.sleep(startup_seconds)
        await terminal.say(self._shell.greeting)

    async def _serve(self) -> None:
        terminal = self._terminal
        while True:
            terminal.new_page()
            terminal.show(PROMPT)
            try:
                line = (await terminal.line()).strip()
            except Interrupted:
                continue
            except EndOfInput:
                self._terminal.show("\r\n")
                return
            if _LEAVING.fullmatch(line):
                _LOG.info("%s logged out", self._who)
                return
            if pagination := _PAGINATION.fullmatch(line):
                terminal.paging = pagination[1].lower() == "on"
                await terminal.say(f"Automatic pagination is turned {pagination[1].lower()}\n")
            elif line:
                _LOG.info("%s: %s", self._who, self._shell.name(line) or "an unknown command")
                await self._carry_out(line)

    async def _carry_out(self, line: str) -> None:
        """Run one command to its end, or until Ctrl-C."""
        command = self._shell.run(line)
        try:
            await self._converse(command)
        except (Interrupted, EndOfInput):
            self._terminal.new_page()
        finally:
            await command.aclose()

    async def _converse(self, command: Command) -> None:
        terminal = self._terminal
        answer: str | None = None
        while True:
            try:
                said = await self._interruptible(command.asend(answer) if answer is not None else anext(command))
            except StopAsyncIteration:
                return
            answer = None
            if isinstance(said, str):
                if not await terminal.say(said):
                    return
                continue
            terminal.new_page()
            self._terminal.show(said.prompt.replace("\n", "\r\n"))
            if said.paste:
                self._terminal.show("\r\n")
                answer = await terminal.pasted()
            else:
                answer = await terminal.line(echo=not said.secret)

    async def _interruptible(self, step: Awaitable[str | Ask]) -> str | Ask:
        """The next thing a command says; Ctrl-C cancels what it does meanwhile."""
        task = asyncio.ensure_future(step)
        interrupted = False

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = task.cancel()

        self._terminal.on_interrupt = interrupt
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if not interrupted or (current is not None and current.cancelling()):
                raise
            self._terminal.show("^C\r\n")
            raise Interrupted from None
        finally:
            self._terminal.on_interrupt = None
