"""What differs between releases, as data: prompts, error texts and questions of the command line, and abilities.

The texts stand in TOML files beside this module, so that a wording met in the field is one line of data, not a change
to code. `for_release` lays the files of all releases up to the one asked for over `base.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from trustbridge.cucm.model import Release
from trustbridge.pki.units import BulkType, Unit

_FLAGS: Final = re.IGNORECASE | re.MULTILINE


@dataclass(frozen=True, slots=True)
class Pager:
    """A pagination prompt: `pattern` at the end of what was said, `key` to go on."""

    pattern: re.Pattern[str]
    key: str


@dataclass(frozen=True, slots=True)
class QuestionForm:
    """A kind of question.

    Attributes:
        name: ours.
        pattern: found in the last line that is not blank.
        secret: its answer is never shown.
        paste: its answer has several lines.
    """

    name: str
    pattern: re.Pattern[str]
    secret: bool = False
    paste: bool = False


@dataclass(frozen=True, slots=True)
class Quiet:
    """Seconds of silence after which something that might go on is taken as said; see base.toml."""

    empty_prompt: float
    question: float
    odd_question: float
    paste: float


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a release can do; see base.toml for each."""

    rest: bool
    certificate_listing: str
    bulk_types: tuple[BulkType, ...]
    restarts_phones_on_import: bool
    one_itl_recovery: bool
    deletes_on_all_nodes: bool
    trust_list_signer: Unit


@dataclass(frozen=True, slots=True)
class ReleaseTexts:
    """How the command line of a release talks, and what the release can do.

    Attributes:
        prompt: the prompt, once or several times, at the end of what was said.
        leading_prompt: prompts at the beginning of what was said.
        enter, interrupt: what ends a line, what interrupts a command.
        pagination_off: the command that turns pagination off.
        reads: commands that change nothing.
        unknown_command, refused, noise: lines of these meanings.
        quiet: how long to wait for more.
        pagination, questions: what waits for us.
        bulk_sftp: for each setting, what a question for it looks like.
        abilities: what the release can do.
    """

    prompt: re.Pattern[str]
    leading_prompt: re.Pattern[str]
    enter: str
    interrupt: str
    pagination_off: str
    reads: re.Pattern[str]
    unknown_command: re.Pattern[str]
    refused: re.Pattern[str]
    noise: re.Pattern[str]
    quiet: Quiet
    pagination: tuple[Pager, ...]
    questions: tuple[QuestionForm, ...]
    bulk_sftp: Mapping[str, str]
    abilities: Abilities

    def is_read(self, command: str) -> bool:
        """Whether a command changes nothing, so that it may be sent again."""
        return self.reads.search(command) is not None


def for_release(release: Release | None) -> ReleaseTexts:
    """The texts and abilities of a release; None, for one that is not known yet, gives the oldest.

    A release is looked up by its numbers; one later than all files gets those of the latest.
    """
    numbers = () if release is None else release.numbers
    return _merged(tuple(start for start in _starts() if start <= numbers))


@lru_cache
def _files() -> Mapping[tuple[int, ...], Mapping[str, Any]]:
    found: dict[tuple[int, ...], Mapping[str, Any]] = {}
    for file in resources.files(__name__).iterdir():
        if file.name.endswith(".toml"):
            content = tomllib.loads(file.read_text("utf-8"))
            found[tuple(content.pop("from", ()))] = content
    return MappingProxyType(found)


def _starts() -> tuple[tuple[int, ...], ...]:
    return tuple(sorted(_files()))


@lru_cache
def _merged(starts: tuple[tuple[int, ...], ...]) -> ReleaseTexts:
    merged: dict[str, Any] = {}
    for start in starts:
        for key, value in _files()[start].items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    abilities = dict(merged["abilities"])
    abilities["bulk_types"] = tuple(BulkType(name) for name in abilities["bulk_types"])
    abilities["trust_list_signer"] = Unit(abilities["trust_list_signer"])
    return ReleaseTexts(
        prompt=re.compile(rf"(?:\A|\n)(?:{merged['prompt']}[ \t]*)+\Z"),
        leading_prompt=re.compile(rf"\s*{merged['prompt']}[ \t]*"),
        enter=merged["enter"],
        interrupt=merged["interrupt"],
        pagination_off=merged["pagination_off"],
        reads=_any_of(merged["reads"]),
        unknown_command=_any_of(merged["unknown_command"]),
        refused=_any_of(merged["refused"]),
        noise=_any_of(merged["noise"]),
        quiet=Quiet(**merged["quiet"]),
        pagination=tuple(Pager(re.compile(item["pattern"], _FLAGS), item["key"]) for item in merged["pagination"]),
        questions=tuple(
            QuestionForm(**{**item, "pattern": re.compile(item["pattern"], _FLAGS)}) for item in merged["questions"]
        ),
        bulk_sftp=MappingProxyType(merged["bulk_sftp"]),
        abilities=Abilities(**abilities),
    )


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), _FLAGS)
