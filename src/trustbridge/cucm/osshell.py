"""One shell of a node's command line on one SSH channel: typing, waiting, answering.

What is said is judged by `trustbridge.cucm.dialogue`; here are the channel and the clock. A shell that breaks raises
`Broken`, and its owner (`trustbridge.cucm.oscli`) decides what to do.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import asyncssh

from trustbridge.cucm.dialogue import (
    MAX_OUTPUT,
    Answers,
    Dialogue,
    MorePages,
    NeedMore,
    Prompt,
    Question,
    Refusal,
    SecretAnswer,
    answer_for,
)
from trustbridge.cucm.releases import ReleaseTexts
from trustbridge.errors import Garbled, Refused, Unreachable
from trustbridge.exchange.ssh import printable

#: How often one question may be asked in one command; a node that does not take an answer asks again.
_SAME_QUESTION: Final = 3
#: Characters of what a node said that an error repeats.
_QUOTED: Final = 300
_HIDDEN: Final = "********"


class Broken(Exception):
    """The session ended. `said` is what came before, `started` whether anything was said since the command."""

    def __init__(self, error: Exception | None, said: str = "", started: bool = True) -> None:
        super().__init__(str(error or "closed"))
        self.error = error
        self.said = said
        self.started = started


class Terminal(asyncssh.SSHClientSession[str]):
    """Collects what a channel says, so that waiting for it can be given up at any moment and loses nothing."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._news = asyncio.Event()
        self.ended = False
        self.error: Exception | None = None

    def data_received(self, data: str, datatype: asyncssh.DataType) -> None:
        self._pieces.append(data)
        self._news.set()

    def eof_received(self) -> bool:
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        self.ended = True
        self.error = self.error or error
        self._news.set()

    def discard(self) -> None:
        """Forget what nobody waited for: a prompt after an Enter too many."""
        self._pieces = []

    async def more(self, seconds: float) -> str | None:
        """The next text; None when there is none for so long, or none ever again."""
        if not self._pieces and not self.ended:
            self._news.clear()
            try:
                async with asyncio.timeout(max(seconds, 0)):
                    await self._news.wait()
            except TimeoutError:
                return None
        text = "".join(self._pieces) or None
        self._pieces = []
        return text


class Shell:
    """One shell on one connection."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        channel: asyncssh.SSHClientChannel[str],
        terminal: Terminal,
    ) -> None:
        self.connection = connection
        self._channel = channel
        self._terminal = terminal

    @property
    def ended(self) -> bool:
        return self._terminal.ended or self._channel.is_closing()

    async def greeting(self, texts: ReleaseTexts, seconds: float) -> None:
        """Wait for the first prompt."""
        event = await self._converse(Dialogue(texts), {}, seconds, None, "give a prompt", set())
        if isinstance(event, Refusal):
            raise Refused(f"gives no command line: {quoted(event.words)}")

    async def run(
        self,
        texts: ReleaseTexts,
        command: str,
        answers: Answers,
        seconds: float,
        *,
        first_word: float | None = None,
        hidden: set[str],
    ) -> Prompt | Refusal:
        """Send a command, and see it through to the next prompt.

        Args:
            seconds: how long that may take.
            first_word: seconds after which a shell that said nothing at all counts as broken.
            hidden: what must never be shown; secrets are added before they are typed.

        Raises:
            Broken: the session ended, or said nothing at all for `first_word` seconds.
            Unreachable: it took too long.
            Refused, Garbled: a question that can't be answered.
        """
        self._terminal.discard()
        dialogue = Dialogue(texts)
        dialogue.command(command, answers)
        self._type(texts, command)
        return await self._converse(dialogue, answers, seconds, first_word, f"finish `{shown(command)}`", hidden)

    async def _converse(
        self,
        dialogue: Dialogue,
        answers: Answers,
        seconds: float,
        first_word: float | None,
        what: str,
        hidden: set[str],
    ) -> Prompt | Refusal:
        now = asyncio.get_running_loop().time
        deadline = now() + seconds
        dead_at = now() + (seconds + 1 if first_word is None else first_word)
        nudge_at: float | None = None
        asked: Counter[str] = Counter()
        while True:
            event = dialogue.look()
            if isinstance(event, MorePages):
                dialogue.turned_page()
                self._send(event.key)
                continue
            if isinstance(event, Prompt | Refusal) and event.quiet == 0:
                return event
            if isinstance(event, Question) and event.form is None and not answers:
                event = NeedMore()  # output that stopped at a colon: nobody said that there would be questions
            if isinstance(event, NeedMore):
                until = min(deadline, nudge_at or deadline, deadline if dialogue.length else dead_at)
            else:
                until = min(deadline, now() + event.quiet)
            text = await self._terminal.more(until - now())
            if text is not None:
                dialogue.receive(text)
                if dialogue.length > MAX_OUTPUT:
                    raise Garbled(f"did not {what}: it never stops talking")
            elif self._terminal.ended:
                raise Broken(self._terminal.error, masked(dialogue.seen, hidden), bool(dialogue.length))
            elif isinstance(event, Prompt | Refusal):
                return event
            elif until == deadline:
                raise _too_late(masked(dialogue.seen, hidden), what, seconds)
            elif isinstance(event, Question):
                pasted = self._answer(dialogue, event, answers, asked, hidden)
                nudge_at = now() + dialogue.texts.quiet.paste if pasted else None
            elif until == nudge_at:
                # Some shells wait for an empty line after pasted text; others would take it for the next command.
                nudge_at = None
                self._type(dialogue.texts, "")
            else:
                raise Broken(None, started=False)

    def _answer(
        self,
        dialogue: Dialogue,
        question: Question,
        answers: Answers,
        asked: Counter[str],
        hidden: set[str],
    ) -> bool:
        """Type the answer to a question; whether it was pasted."""
        found = answer_for(question, answers)
        if found is None:
            self._send(dialogue.texts.interrupt)
            raise Garbled(
                f"asks what nobody expected: {quoted(question.text)}",
                "Log in by hand and see what it wants." if question.secret else "",
            )
        pattern, answer = found
        asked[pattern] += 1
        if asked[pattern] > _SAME_QUESTION:
            self._send(dialogue.texts.interrupt)
            raise Refused(f"does not take the answer to its question: {quoted(question.text)}")
        typed = answer.text if isinstance(answer, SecretAnswer) else answer
        if question.secret or isinstance(answer, SecretAnswer):
            hidden.add(typed)
        lines = typed.rstrip("\n")
        dialogue.answered(lines)
        self._type(dialogue.texts, lines)
        return "\n" in lines or (question.form is not None and question.form.paste)

    def _type(self, texts: ReleaseTexts, text: str) -> None:
        self._send(text.replace("\n", texts.enter) + texts.enter)

    def _send(self, keys: str) -> None:
        # A channel that is going down says so when it is read.
        with suppress(OSError, asyncssh.Error):
            self._channel.write(keys)


def _too_late(seen: str, what: str, seconds: float) -> Unreachable:
    said = f"it said so far: {quoted(seen.strip()[-_QUOTED:])}" if seen.strip() else "it said nothing"
    return Unreachable(
        f"did not {what} within {seconds:g} s; {said}",
        "Try again when the node is less busy, or give it more time. A command that changes something may still "
        "be carried out: see what the node holds before it is sent again.",
    )


def shown(command: str) -> str:
    """A command, short enough for a message."""
    return command if len(command) <= 80 else command[:77] + "..."


def quoted(words: str) -> str:
    """A node's words in one line that moves no terminal's cursor."""
    return printable(" ".join(words.split()))[:_QUOTED]


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets; the longest first, as one may hold another."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text
