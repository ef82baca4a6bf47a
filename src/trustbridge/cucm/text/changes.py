"""`set cert import`, `set cert delete` and their like: done or not, and what wants a restart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from trustbridge.cucm.text.lines import lines, nothing_said, without_names
from trustbridge.errors import Garbled

_DONE: Final = re.compile(
    r"\bsuccess(?:ful|fully)?\b|\bcluster set to\b|\b(?:imported|deleted|removed)\b", re.IGNORECASE
)
_PRESENT: Final = re.compile(r"\balready\b.{0,30}\b(?:exists?|present|there|trusted)\b|\bduplicate\b", re.IGNORECASE)
_FAILED: Final = re.compile(
    r"\b(?:fail(?:ed|ure|s)?|errors?|unsuccessful(?:ly)?|unable|could ?n[o']t|can ?n[o']t|cannot|not|invalid|refused"
    r"|denied|exception|aborted|cancel+ed)\b",
    re.IGNORECASE,
)
_RESTART: Final = re.compile(r"\brestart(?P<what>\b[^.]*)", re.IGNORECASE)
#: Where the names of services end in such a sentence.
_UNTIL: Final = re.compile(
    r"\s+(?:for the new|on all|on each|on every|services? on|in the cluster|so that|to \w+).*$", re.IGNORECASE
)
_RELATED: Final = re.compile(r"\s*(?:the\s+)?services? related to (?P<unit>[\w-]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """What came of a change.

    Attributes:
        done: the node says it did it, or that it was so already.
        present: it was so already.
        restart: services that want a restart, as the node names them: `Cisco Tftp`, or `services related to tomcat`.
        words: everything it said, in one line.
    """

    done: bool
    present: bool
    restart: tuple[str, ...]
    words: str


def parse_change(text: str) -> Change:
    """Read the answer to `set cert import trust UNIT`, `set cert delete UNIT NAME`, `utils ctl ...`.

    What a question asked and what was answered may stand before it. Answers that speak of neither success nor failure
    are not taken for success.

    Raises:
        Garbled: nothing was said, or nothing of an outcome.
    """
    said = [line.text.strip() for line in lines(text)]
    if not said:
        raise nothing_said("the outcome")
    words = " ".join(said)
    outcome = [without_names(line) for line in said if not _RESTART.search(line) and not line.endswith((":", "?"))]
    present = any(_PRESENT.search(line) for line in outcome)
    failed = any(_FAILED.search(line) for line in outcome)
    done = present or (not failed and any(_DONE.search(line) for line in outcome))
    if not done and not failed:
        raise Garbled(
            f"the answer says neither that it was done nor that it was not: {words[:200]!r}",
            "See what the node holds now.",
        )
    return Change(done, present, _restarts(words) if done else (), words)


def _restarts(words: str) -> tuple[str, ...]:
    named: dict[str, None] = {}
    for sentence in _RESTART.finditer(words):
        what = sentence["what"]
        if related := _RELATED.match(what):
            named[f"services related to {related['unit']}"] = None
            continue
        what = _UNTIL.sub("", what)
        for part in re.split(r",| and | & ", what):
            name = re.sub(r"^\s*(?:the|these|following)\s+|\s*\bservices?\b\s*$|[\"':]", "", part.strip()).strip()
            name = re.sub(r"\s*\bservices?$", "", name, flags=re.IGNORECASE).strip()
            if name and re.search(r"[A-Z]", name) and len(name) < 60:
                named[name] = None
    return tuple(named)
