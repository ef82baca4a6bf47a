"""What is this file, does it hold, and if not, where does it go wrong? By content, whatever the file is called."""

from trustbridge.trust.inspection.recognise import certificates_in, inspect
from trustbridge.trust.inspection.values import (
    Fact,
    Inspection,
    Kind,
    KnownSigner,
    Problem,
    Row,
    Severity,
    Verdict,
    WireLine,
)

__all__ = [
    "Fact",
    "Inspection",
    "Kind",
    "KnownSigner",
    "Problem",
    "Row",
    "Severity",
    "Verdict",
    "WireLine",
    "certificates_in",
    "inspect",
]
