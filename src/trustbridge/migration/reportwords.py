"""Words of reports: what reasons of the journal mean, and spans of time."""

from __future__ import annotations

import shlex
from typing import Final

#: What ends and reasons mean, and what to do: by how a reason begins. See `campaignsteps` for the reasons.
_ADVICE: Final = (
    (
        "it has restarted and is back at its origin",
        "It took no trust list of the other cluster, or was not sent there. `trustbridge diagnose PHONE` says which.",
    ),
    (
        "it was told to reset and has not restarted",
        "It stayed registered where it was. Look whether it is in use or hangs; then try it once more.",
    ),
    ("it is at its origin", "It was away, and registered where it was before. `trustbridge diagnose PHONE` says why."),
    (
        "it fell back to its origin",
        "It was registered at the other cluster and did not stay. `trustbridge diagnose PHONE` says why.",
    ),
    (
        "lost",
        "Neither cluster has it. Look at the phone itself: power, network, address, and what its status messages say.",
    ),
    (
        "rejected",
        "The cluster it came to would not have it: usually the device is missing there. Create it, then try once more.",
    ),
    ("reset refused", "Nothing has happened to the phone. The cluster's words are in the reason."),
    (
        "reset in doubt",
        "Whether it was reset can't be told, so it was not reset again. Look where it is registered, then decide.",
    ),
    (
        "wrong lists",
        "It works, but trusts others than it should. `trustbridge diagnose PHONE` says more.",
    ),
    ("predicted:", "It was left out by the plan, for what was foretold of it."),
    ("skipped", "Nothing was done to it. It is tried once more with `trustbridge migrate resume CAMPAIGN --retry`."),
)


def advice(reason: str, *, phone: str, campaign: str) -> str:
    """What a reason means for a phone, and what to do, commands between backticks; "" where there is nothing to add.

    Args:
        phone: one that it is about, to be named in commands.
    """
    words = next((words for begin, words in _ADVICE if reason.startswith(begin)), "")
    return words.replace("PHONE", shlex.quote(phone)).replace("CAMPAIGN", shlex.quote(campaign))


def span(seconds: float) -> str:
    """A span of time for people, its two largest units: `0.8 s`, `45 s`, `1 min 5 s`, `2 h 3 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    left = round(seconds)
    for unit, size, next_unit, next_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if left >= size:
            more = left % size // next_size
            return f"{left // size} {unit}" + (f" {more} {next_unit}" if more else "")
    return f"{left} s"
