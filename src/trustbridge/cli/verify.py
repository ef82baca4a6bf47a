"""`trustbridge exchange verify`: the proof, over the real protocol, that phones will be told to trust."""

from __future__ import annotations


def verify() -> None:
    """Ask every TVS."""
