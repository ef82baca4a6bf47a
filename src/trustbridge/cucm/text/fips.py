"""`utils fips status`: whether a node operates in FIPS 140 mode.

The wording is UNVERIFIED: the vendor's guides name the command and do not show what it answers. Published sessions have

    The system is operating in NON-FIPS mode

or `... in FIPS mode. Self test status:` with a line for each test. Other wordings that say as much are read too.
"""

from __future__ import annotations

import re
from typing import Final

from trustbridge.cucm.text.lines import lines, nothing_said
from trustbridge.errors import Garbled

#: Sentences are judged one by one: what stands behind them speaks of self tests, or of other modes.
_SENTENCE: Final = re.compile(r"[.;](?:\s|\Z)|\n")
_OFF: Final = re.compile(
    r"\bnon[- ]?fips\b|\bfips\b.*\b(?:disabled|off|inactive)\b"
    r"|\bfips\b.*\bnot\s+(?:currently\s+)?(?:enabled|active|on)\b"
    r"|\bnot\s+(?:currently\s+)?(?:(?:operating|running)\s+)?in\s+fips\b",
    re.IGNORECASE,
)
_ON: Final = re.compile(
    r"\bin\s+fips(?:\s+140-?\d?)?(?:\s+compliant)?\s+mode\b|\bfips\b.*\b(?:enabled|active|on)\b", re.IGNORECASE
)


def parse_fips(text: str) -> bool:
    """Read the answer to `utils fips status`: True in FIPS mode.

    Raises:
        Garbled: it speaks of neither mode, or of both.
    """
    said = "\n".join(line.text for line in lines(text))
    if not said:
        raise nothing_said("the FIPS mode")
    modes = {
        _ON.search(part) is not None and _OFF.search(part) is None for part in _SENTENCE.split(said) if _told(part)
    }
    if len(modes) != 1:
        raise Garbled(
            f"the answer tells {'both modes' if modes else 'no FIPS mode'}: {' '.join(said.split())[:200]!r}",
            "See what the node says by hand; its release may use a form not known here.",
        )
    return modes.pop()


def _told(sentence: str) -> bool:
    return bool(_OFF.search(sentence) or _ON.search(sentence))
