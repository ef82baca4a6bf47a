"""A check of a move as one HTML page to attach to a change ticket: nothing to load, nothing reworded, all escaped."""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from trustbridge import __version__
from trustbridge.migration.check import Checked
from trustbridge.migration.findings import Severity

_TEMPLATE = "check.html"
_TITLES = {Severity.STOP: "What stops it", Severity.WARN: "What to read first", Severity.NOTE: "Good to know"}


def as_html(checked: Checked) -> str:
    """The page."""
    state = "yes" if checked.ready else "no" if checked.of(Severity.STOP) else "unknown"
    return _template().render(
        checked=checked, version=__version__, state=state, severities=list(Severity), titles=_TITLES
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    # Escaping is always on, whatever the file is called: names come from certificates and clusters of others.
    loader = PackageLoader("trustbridge.migration", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(_TEMPLATE)
