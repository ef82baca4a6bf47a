"""A check of a move as one HTML page to attach to a change ticket: nothing to load, nothing reworded, all escaped."""

from __future__ import annotations

from trustbridge.migration.check import Checked
from trustbridge.migration.findings import Severity
from trustbridge.migration.pages import page

_TITLES = {Severity.STOP: "What stops it", Severity.WARN: "What to read first", Severity.NOTE: "Good to know"}


def as_html(checked: Checked) -> str:
    """The page."""
    state = "yes" if checked.ready else "no" if checked.of(Severity.STOP) else "unknown"
    return page("check.html", checked=checked, state=state, severities=list(Severity), titles=_TITLES)
