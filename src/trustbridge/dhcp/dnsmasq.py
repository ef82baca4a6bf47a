"""dnsmasq's configuration, as far as option 150 goes. Pure.

    dhcp-range=set:phones,10.1.0.10,10.1.255.250,255.255.0.0,12h
    dhcp-option=tag:phones,150,10.2.0.1,10.2.0.2     # or option:tftp-server-address, or dhcp-option-force

An option with tags goes to clients that have all of them, and is preferred to the one without. A scope here is a set
of tags: `tag:phones`, or `all` for the option without any. What goes into vendor options is another matter, and other
files that this one names are not followed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from trustbridge.dhcp.filetext import Place, Replacement, Span, newline_of
from trustbridge.dhcp.scope import OPTION_66, OPTION_150, Scope
from trustbridge.errors import DecodeError

#: For a person, once the file is changed: a signal does not make it read options again.
RELOAD: Final = "dnsmasq --test -C {file} && systemctl restart dnsmasq"
EVERYBODY: Final = "all"
_KEYWORDS: Final = ("dhcp-option", "dhcp-option-force")
_NAMES: Final = {"tftp-server-address": OPTION_150, "tftp-server": OPTION_66}
_ELSEWHERE: Final = ("vendor:", "encap:", "vi-encap:")
_STATEMENT: Final = re.compile(r"[ \t]*([A-Za-z0-9-]+)[ \t]*=")
_COMMENT: Final = re.compile(r"(?:^|\s)#")
_TAG: Final = re.compile(r'[^\s,"\\]+')
_SPACE: Final = " \t\r\n\v\f"

Tags = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A `dhcp-option` for option 150 or 66: its statement, the offset where its value begins, and the value."""

    tags: Tags
    code: int
    span: Span
    head_end: int
    value: str


class Dnsmasq:
    """A file's text.

    Raises:
        DecodeError: an option 150 that dnsmasq itself would not take.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        # A new line goes before the last one where that has no end, so that no line but the new one changes.
        self._after_options = text.rfind("\n") + 1
        self._after_150: int | None = None
        self._lines: list[_Line] = []
        self._ranges: dict[Tags, str] = {}
        for start, end in _line_spans(text):
            self._take(start, end)
        self.places = tuple(self._places())

    def replacements(self, place: Place, servers: Sequence[str]) -> tuple[Replacement, ...]:
        """See `FileText`."""
        value = ",".join(servers)
        if not place.own:
            tags = "" if place.scope.name == EVERYBODY else f"{place.scope.name},"
            at = self._after_options if self._after_150 is None else self._after_150
            line = f"dhcp-option={tags}{OPTION_150},{value}{newline_of(self.text)}"
            return (Replacement(at, at, line, f"dhcp-option of {place.scope.name}"),)
        lines = [line for line in self._lines if line.span in place.own]
        if all(_addresses(line) == tuple(servers) for line in lines):
            return ()
        return tuple(
            Replacement(
                line.span.start,
                line.span.end,
                f"{self.text[line.span.start : line.head_end]},{value}",
                f"dhcp-option of {place.scope.name}",
            )
            for line in lines
        )

    def definitions(self) -> tuple[Span, ...]:
        """See `FileText`: dnsmasq knows option 150."""
        return ()

    def _take(self, start: int, end: int) -> None:
        """Look at the line `text[start:end]`."""
        line = self.text[start:end]
        keyword = _STATEMENT.match(line)
        if keyword is None or keyword[1] not in (*_KEYWORDS, "dhcp-range"):
            return
        comment = _COMMENT.search(line)
        body = line[: comment.start() if comment else len(line)].rstrip(_SPACE)
        following = end if line.endswith("\n") else start
        if keyword[1] == "dhcp-range":
            self._take_range(body[keyword.end() :])
            return
        self._after_options = following
        found = _option(line, body, start, keyword.end())
        if found is not None:
            self._lines.append(found)
            if found.code == OPTION_150:
                self._after_150 = following

    def _take_range(self, value: str) -> None:
        words = [word.strip(_SPACE) for word in value.split(",")]
        tags = [word[4:] for word in words if word.startswith("set:") and _TAG.fullmatch(word[4:])]
        addresses = [word for word in words if _is_address(word)]
        if not tags or not addresses:
            return
        subnet = addresses[0]
        if len(addresses) > 2:
            with contextlib.suppress(ValueError):
                subnet = str(ipaddress.IPv4Network(f"{addresses[0]}/{addresses[2]}", strict=False))
        self._ranges.setdefault((tags[0],), subnet)

    def _places(self) -> Iterator[Place]:
        own: dict[Tags, list[_Line]] = {}
        for line in self._lines:
            if line.code == OPTION_150:
                own.setdefault(line.tags, []).append(line)
        names = {line.tags: line.value.replace('"', "") for line in self._lines if line.code == OPTION_66}
        said = {tags: _addresses(lines[-1]) for tags, lines in own.items()}
        for tags in dict.fromkeys(((), *self._ranges, *said)):
            yield Place(
                Scope(
                    name=",".join(f"tag:{tag}" for tag in tags) or EVERYBODY,
                    subnet=self._ranges.get(tags, ""),
                    option150=said.get(tags, said.get((), ())),
                    inherited=tags not in own,
                    option66=names.get(tags, names.get((), "")),
                ),
                tuple(line.span for line in own.get(tags, ())),
            )


def _line_spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield start, end
        start = end


def _option(line: str, body: str, offset: int, at: int) -> _Line | None:
    """An option 150 or 66 for everybody or for tags; `offset` is where the line begins, `at` its first word after =.

    The words before the code are tags, each with `tag:` before it, `net:` in old files, or nothing in older ones.
    """
    tags = []
    while at <= len(body):
        end = body.find(",", at)
        end = len(body) if end < 0 else end
        word = body[at:end].strip(_SPACE)
        if word.isascii() and word.isdigit():
            code = int(word) if len(word) < 10 else 0
        elif word.startswith("option:"):
            code = _NAMES.get(word.removeprefix("option:").lower(), 0)
        elif word.startswith(("option6:", *_ELSEWHERE)):
            return None
        else:
            tags.append(re.sub(r"^(tag|net):", "", word))
            at = end + 1
            continue
        if code not in (OPTION_150, OPTION_66):
            return None
        start = offset + len(body) - len(body.lstrip(_SPACE))
        found = _Line(
            tuple(sorted(set(tags))), code, Span(start, offset + len(body)), offset + end, body[end + 1 :].strip(_SPACE)
        )
        if code == OPTION_150:
            if not all(_TAG.fullmatch(tag) for tag in tags):
                raise DecodeError(start, f"dnsmasq: a tag that can't be one: {line.strip(_SPACE):.80}")
            _addresses(found)
        return found
    return None


def _addresses(line: _Line) -> tuple[str, ...]:
    if not line.value:
        return ()  # none is sent, whatever the one for everybody says
    words = [word.strip(_SPACE) for word in line.value.split(",")]
    if not all(_is_address(word) for word in words):
        raise DecodeError(line.head_end, f"dnsmasq: option 150 holds what are no addresses: {line.value:.80}")
    return tuple(words)


def _is_address(word: str) -> bool:
    try:
        ipaddress.IPv4Address(word)
    except ValueError:
        return False
    return True
