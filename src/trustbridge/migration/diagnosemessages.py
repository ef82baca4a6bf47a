"""What a phone's status messages mean, and which of them say how its trust list fared. Pure.

The messages are those of `domain` ("Status messages a phone shows") and of `failure-modes` ("Words to recognise").
Phones show them in their own language; only the English ones are known here. What others are about is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trustbridge.cucm.phoneweb import StatusMessage


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a message says.

    Attributes:
        words: for people.
        ok: whether that is well; None for a plain fact.
        findings: ids of what may be behind it.
        verdict: whether it tells how a new trust list fared.
    """

    words: str
    ok: bool | None = None
    findings: tuple[str, ...] = ()
    verdict: bool = False


_KEPT: Final = "it keeps the lists and the configuration it had"
_REFUSED: Final = ("TB101", "TB102", "TB103", "TB104", "TB105", "TB106", "TB107", "TB109", "TB110", "TB111", "TB112")

#: In order: the first that fits counts. Patterns ignore case, as releases differ in it.
_MEANINGS: Final[tuple[tuple[re.Pattern[str], Meaning], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        (
            # That these words and not the plain ones mean a signature that does not hold is UNVERIFIED.
            r"trust list update failed.*verification",
            Meaning(
                f"it refused a new trust list whose signature it could not verify: {_KEPT}", False, ("TB131",), True
            ),
        ),
        (
            r"trust list update failed",
            Meaning(f"it refused a new trust list: {_KEPT}", False, _REFUSED, True),
        ),
        (r"trust list updated", Meaning("it took a new trust list", True, verdict=True)),
        (
            r"no trust list installed",
            Meaning("it holds no trust list: it takes the first that comes", None, ("TB122",)),
        ),
        (r"ctl and itl installed", Meaning("it holds a CTL and an ITL")),
        (r"itl installed", Meaning("it holds an ITL, and no CTL")),
        (r"ctl installed", Meaning("it holds a CTL, and no ITL")),
        (
            r"error verifying config",
            Meaning("it refused a configuration file that it could not verify; it keeps the one it had", False),
        ),
        (r"signer not in ctl", Meaning("its CTL does not list who signed the file", False, ("TB121", "TB124"))),
        (r"verify file failed|authenticated fail", Meaning("it could not verify a file", False, ("TB131",))),
        (r"tvs added cert", Meaning("a TVS vouched for a signer; the phone keeps that answer for 24 hours", True)),
        (r"tl file verified", Meaning("the new trust list holds", True)),
        (
            r"file not found.*ctl",
            Meaning("the TFTP server has no CTL; that is normal at a cluster that is not in mixed mode"),
        ),
        (r"file not found.*itl", Meaning("the TFTP server has no ITL", False, ("TB131",))),
        (
            r"file not found.*cnf|cfg file not found",
            Meaning("the TFTP server has no configuration for it", False, ("TB151",)),
        ),
        (r"file not found", Meaning("the TFTP server has no such file", False)),
        (r"tftp time-?out", Meaning("no TFTP server of those it was given answered", False, ("TB150",))),
        (r"tftp (?:access )?error", Meaning("a TFTP server answered with an error", False)),
        (r"dns unknown host", Meaning("its DNS does not know a name it was given", False, ("TB111",))),
        (
            r"host not found",
            Meaning("it does not find a service; a phone that trusts no server of its cluster says so", False),
        ),
        (r"load rejected", Meaning("it refused a firmware that does not fit its hardware", False, ("TB153",))),
        (r"version error", Meaning("the firmware's name is wrong", False, ("TB153",))),
        (
            r"xmldefault\.cnf\.xml",
            Meaning("it applied the default: the TFTP server knows no configuration for it", None, ("TB151",)),
        ),
        (r"\bsep[0-9a-f]{12}\.cnf\.xml", Meaning("it applied its configuration file", True)),
    )
)


def meaning_of(text: str) -> Meaning | None:
    """What a status message means; None for one that is not known."""
    return next((meaning for pattern, meaning in _MEANINGS if pattern.search(text)), None)


def last_verdict(messages: Sequence[StatusMessage]) -> tuple[StatusMessage, Meaning] | None:
    """How the newest trust list fared that a phone tells of; None where it tells of none.

    Args:
        messages: oldest first.
    """
    for message in reversed(messages):
        meaning = meaning_of(message.text)
        if meaning is not None and meaning.verdict:
            return message, meaning
    return None
