"""States, kinds and severities of campaigns as they are called on pages, and how they look."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

from trustbridge.console.views import LOOKS
from trustbridge.console.words import N_, _
from trustbridge.migration.campaignphone import PhoneState
from trustbridge.storage.models import Direction

#: Words of the product that are translated where they are shown.
WORDS: Final = (
    N_("waiting"),
    N_("ready"),
    N_("reset requested"),
    N_("reset sent"),
    N_("gone from origin"),
    N_("registered at target"),
    N_("moved"),
    N_("rolled back"),
    N_("registered, lists not seen"),
    N_("stranded"),
    N_("not begun"),
    N_("moves"),
    N_("moves by first trust"),
    N_("strands"),
    N_("unknown"),
    N_("stop"),
    N_("warning"),
    N_("note"),
    N_("applied"),
    N_("reverted"),
    N_("forth"),
    N_("back"),
)
LOOKS.update(
    {
        "waiting": "warn",
        "reset requested": "busy",
        "reset sent": "busy",
        "gone from origin": "busy",
        "registered at target": "busy",
        "moved": "good",
        "rolled back": "good",
        "registered, lists not seen": "warn",
        "stranded": "bad",
        "moves": "good",
        "moves by first trust": "good",
        "strands": "bad",
        "unknown": "warn",
        "stop": "bad",
        "warning": "warn",
        "note": "idle",
        "applied": "good",
        "reverted": "good",
    }
)


def state_words(state: str, direction: Direction, source: str, destination: str) -> Markup:
    """A phone's state in the reader's language, with the clusters' names in place of origin and target."""
    origin, target = (source, destination) if direction is Direction.FORTH else (destination, source)
    match state:
        case PhoneState.GONE:
            return _("gone from %(cluster)s", cluster=origin)
        case PhoneState.REGISTERED:
            return _("registered at %(cluster)s", cluster=target)
        case PhoneState.UNPROVEN:
            return _("registered at %(cluster)s, lists not seen", cluster=target)
        case PhoneState.STRANDED:
            return _("stranded at %(cluster)s", cluster=origin)
    return _(state)
