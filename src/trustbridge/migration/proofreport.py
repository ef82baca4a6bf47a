"""A proof of trust as one HTML page to attach to a change ticket: nothing to load, nothing reworded, all escaped.

Names come from certificates and clusters of others: the template escapes whatever it is given.
"""

from __future__ import annotations

from typing import Any

from trustbridge import __version__
from trustbridge.migration.findings import Severity
from trustbridge.migration.pages import page
from trustbridge.migration.proofvalues import Proof, Verdict


def as_html(proof: Proof) -> str:
    """The page."""
    return page(
        "proof.html",
        proof=proof,
        state={True: "yes", False: "no", None: "unknown"}[proof.holds],
        marks={Verdict.YES: "✓", Verdict.NO: "✗", Verdict.UNKNOWN: "?"},
        stops=sum(one.severity is Severity.STOP for one in proof.findings),
    )


def as_json(proof: Proof) -> dict[str, Any]:
    """For programs: the proof, and which version made it."""
    return {"trustbridge": __version__, **proof.as_json()}
