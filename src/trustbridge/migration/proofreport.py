"""A proof of trust as one HTML page to attach to a change ticket: nothing to load, nothing reworded, all escaped.

Names come from certificates and clusters of others: the template escapes whatever it is given.
"""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from trustbridge import __version__
from trustbridge.migration.findings import Severity
from trustbridge.migration.proofvalues import Proof, Verdict

_TEMPLATE = "proof.html"


def as_html(proof: Proof) -> str:
    """The page."""
    return _template().render(
        proof=proof,
        version=__version__,
        state={True: "yes", False: "no", None: "unknown"}[proof.holds],
        marks={Verdict.YES: "✓", Verdict.NO: "✗", Verdict.UNKNOWN: "?"},
        stops=sum(one.severity is Severity.STOP for one in proof.findings),
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    # Always on, whatever the file is called: there is nothing here that may pass as it is.
    loader = PackageLoader("trustbridge.migration", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["fingerprint"] = _grouped
    return environment.get_template(_TEMPLATE)


def _grouped(digits: str) -> str:
    """A fingerprint in groups of eight digits, which people compare more easily."""
    return " ".join(digits[at : at + 8] for at in range(0, len(digits), 8))
