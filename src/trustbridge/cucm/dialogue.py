"""What a node's command line said, read as it arrives: a prompt, a question, a pager, a refusal, or not enough yet.

No input or output here. The caller hands in text as it comes (`receive`), looks what it amounts to (`look`) and says
what it typed (`command`, `answered`, `turned_page`), whose echo is then left out of the output. "Not yet" is a value.

A terminal gives no end-of-message, so some events are only likely: they carry `quiet`, the seconds of silence after
which they are to be believed; text that arrives meanwhile is handed in and looked at again. A prompt after output is
believed at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from trustbridge.cucm.releases import QuestionForm, ReleaseTexts

#: Everything that waits for us stands in the last characters of what was said.
_TAIL: Final = 8192
#: Output longer than this is no answer of a node (a trust list decoded is some 100 KiB).
MAX_OUTPUT: Final = 16 * 2**20

_ESCAPES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # cursor, colours, erasing
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles
    r"|\x1b[ -/]*[0-Z\\^-~]"  # others, two characters
    r"|\x1b(?:\[[0-?]*[ -/]*)?\Z"  # one that is not all there yet
    r"|\x1b"  # none
)
_LINE_ENDS: Final = re.compile(r"\r*\n|\r+")
_LINE_END: Final = re.compile(r"[ \t]*(?:\n|\Z)")


@dataclass(frozen=True, slots=True)
class SecretAnswer:
    """An answer that is never shown: not in a repr, an error or a log."""

    text: str = field(repr=False)


#: What to answer: for each question a regular expression found in it, without regard to case; the first match counts.
Answers = Mapping[str, str | SecretAnswer]


@dataclass(frozen=True, slots=True)
class NeedMore:
    """Nothing to be done yet."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The node waits for a command.

    Attributes:
        output: what it said since the last command, cleaned, without the echo; lines end in a newline.
        quiet: seconds of silence after which to believe it.
    """

    output: str
    quiet: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The node waits for a command, and did not carry out the last one.

    Attributes:
        output: everything it said.
        words: the same in one line.
        unknown: it does not know the command.
        quiet: seconds of silence after which to believe it.
    """

    output: str
    words: str
    unknown: bool
    quiet: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """The node waits for an answer.

    Attributes:
        text: its last line.
        context: its last three lines, as one.
        form: the kind of question; None for one that only the caller expects, or nobody.
        quiet: seconds of silence after which to believe it.
    """

    text: str
    context: str
    form: QuestionForm | None
    quiet: float

    @property
    def secret(self) -> bool:
        """Whether whatever is answered is a secret."""
        return self.form is not None and self.form.secret


@dataclass(frozen=True, slots=True)
class MorePages:
    """The node waits for a key before it goes on."""

    key: str


Event = NeedMore | Prompt | Refusal | Question | MorePages


def clean(text: str) -> str:
    """Text as a person sees it: no escape sequences, one newline for each line end, rubbed-out characters gone."""
    text = _LINE_ENDS.sub("\n", _ESCAPES.sub("", text)).replace("\0", "")
    if "\b" not in text:
        return text
    kept: list[str] = []
    for character in text:
        if character != "\b":
            kept.append(character)
        elif kept and kept[-1] != "\n":
            kept.pop()
    return "".join(kept)


class Dialogue:
    """One conversation with a command line.

    Args:
        texts: how the release talks.
    """

    def __init__(self, texts: ReleaseTexts) -> None:
        self.texts = texts
        self._expected: tuple[str, ...] = ()
        self._said: list[str] = []  # since the command, answered parts without what was answered
        self._fresh: list[str] = []  # since the last thing we typed
        self._tail = ""
        self._echo = ""
        self.length = 0

    def command(self, line: str, expected: Iterable[str] = ()) -> None:
        """A command was typed: what was said before is forgotten.

        Args:
            line: the command, as typed.
            expected: patterns of questions it may ask.
        """
        self._expected = tuple(expected)
        self._said = []
        self.length = 0
        self._begin(line)

    def answered(self, text: str) -> None:
        """A question was answered with `text`."""
        self._keep()
        self._begin(text)

    def turned_page(self) -> None:
        """The pager got its key."""
        said = clean("".join(self._fresh))
        for pager in self.texts.pagination:
            said = pager.pattern.sub("", said)
        self._said.append(without_echo(said, self._echo, self.texts)[0])
        self._begin("")

    def receive(self, text: str) -> None:
        """More text, in pieces of any size."""
        self._fresh.append(text)
        self.length += len(text)
        self._tail += text
        if len(self._tail) > 2 * _TAIL:
            self._tail = self._tail[-_TAIL:]

    @property
    def seen(self) -> str:
        """What was said since the command, for messages; without echoes."""
        fresh, _ = without_echo(clean("".join(self._fresh)), self._echo, self.texts)
        return "".join(self._said) + fresh

    def look(self) -> Event:
        """What it amounts to so far; changes nothing."""
        tail = clean(self._tail)
        for pager in self.texts.pagination:
            if pager.pattern.search(tail):
                return MorePages(pager.key)
        if self.texts.prompt.search(tail):
            return self._prompt()
        return self._question(tail)

    def _begin(self, typed: str) -> None:
        self._fresh = []
        self._tail = ""
        self._echo = typed

    def _keep(self) -> None:
        said, _ = without_echo(clean("".join(self._fresh)), self._echo, self.texts)
        self._said.append(said if not said or said.endswith("\n") else said + "\n")

    def _prompt(self) -> Event:
        fresh, echoed = without_echo(clean("".join(self._fresh)), self._echo, self.texts)
        while (rest := self.texts.prompt.sub("", fresh)) != fresh:
            fresh = rest
        output = "".join(self._said) + fresh
        if output and not output.endswith("\n"):
            output += "\n"
        settled = echoed or not self._echo or bool(output.strip())
        quiet = 0.0 if settled else self.texts.quiet.empty_prompt
        unknown = self.texts.unknown_command.search(output) is not None
        if unknown or self.texts.refused.search(output):
            return Refusal(output, _words(output, self.texts), unknown, quiet)
        return Prompt(output, quiet)

    def _question(self, tail: str) -> Event:
        tail, _ = without_echo(tail, self._echo, self.texts)
        lines = [line.strip() for line in tail.split("\n") if line.strip()][-3:]
        if not lines:
            return NeedMore()
        last, context = lines[-1], " ".join(lines)
        for form in self.texts.questions:
            if form.pattern.search(last):
                return Question(last, context, form, self.texts.quiet.question)
        if tail.rstrip(" \t").endswith("\n"):
            return NeedMore()
        if matching(last, self._expected) is not None:
            return Question(last, context, None, self.texts.quiet.question)
        if last[-1] in ":?":
            return Question(last, context, None, self.texts.quiet.odd_question)
        return NeedMore()


def matching(text: str, patterns: Iterable[str]) -> str | None:
    """The first of these patterns that is found in a text, without regard to case."""
    return next((pattern for pattern in patterns if re.search(pattern, text, re.IGNORECASE)), None)


def answer_for(question: Question, answers: Answers) -> tuple[str, str | SecretAnswer] | None:
    """The pattern that fits a question, and its answer; None when nothing was prepared for it.

    The question's own line is tried before those above it: `Do you want to continue? (y/n):` may follow words that
    belong to something else.
    """
    pattern = matching(question.text, answers) or matching(question.context, answers)
    return None if pattern is None else (pattern, answers[pattern])


def without_echo(text: str, typed: str, texts: ReleaseTexts) -> tuple[str, bool]:
    """A text without the echo of what was typed at its beginning, and whether that echo was there, whole.

    Terminals wrap long lines and redraw prompts, so white space does not count, and prompts before the echo are
    dropped with it. An echo that is not all there yet is left out, as far as it goes.
    """
    wanted = "".join(typed.split())
    if not wanted:
        return text, False
    at = found = 0
    while prompt := texts.leading_prompt.match(text, at):
        at = prompt.end()
    for index in range(at, len(text)):
        character = text[index]
        if character.isspace():
            continue
        if found == len(wanted):
            break
        if character != wanted[found]:
            return text, False
        found += 1
        at = index + 1
    if found < len(wanted):
        return ("", False) if found else (text, False)
    line_end = _LINE_END.match(text, at)
    return (text[line_end.end() :], True) if line_end else (text, False)


def _words(output: str, texts: ReleaseTexts) -> str:
    """What the node said, in one line, the formula that closes every refusal left out if something else is there."""
    lines = [line.strip() for line in output.split("\n") if line.strip() and not texts.noise.search(line.strip())]
    telling = [line for line in lines if not line.casefold().startswith("executed command unsuccessfully")]
    return " ".join(telling or lines)


def bulk_sftp_answers(
    texts: ReleaseTexts, *, host: str, port: int, username: str, password: str, directory: str
) -> dict[str, str | SecretAnswer]:
    """What to answer to `set cert bulk sftp`. The wording of its questions is unverified: see base.toml."""
    settings: dict[str, str | SecretAnswer] = {
        "password": SecretAnswer(password),
        "port": str(port),
        "username": username,
        "directory": directory,
        "host": host,
        "yes": "yes",
        "y": "y",
    }
    return {pattern: settings[name] for name, pattern in texts.bulk_sftp.items()}
