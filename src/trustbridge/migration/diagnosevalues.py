"""The words of a diagnosis: where a phone may stand."""

from __future__ import annotations

from enum import StrEnum


class Standing(StrEnum):
    """Where a phone stands with regard to a move."""

    MOVED = "registered at the destination, with the destination's trust lists"
    UNPROVEN = "registered at the destination, its trust lists not seen"
    NOT_TRUSTING = "registered, without the trust lists of the cluster that serves it"
    WOULD_MOVE = "registered at the source, and would move"
    WOULD_STRAND = "registered at the source, and would strand"
    STRANDED = "stranded at the source"
    UNDECIDED = "registered, and what would become of it is not known"
    IN_ORDER = "registered, with its cluster's trust lists; no move is meant"
    ELSEWHERE = "registered at another cluster"
    REJECTED = "rejected by every Unified CM that has heard of it"
    NOWHERE = "known, and registered nowhere"
    NEVER_HEARD = "never heard of"
    UNSEEN = "not known where it is"

    @property
    def arrived(self) -> bool:
        """Whether it is registered where it is to go."""
        return self in (Standing.MOVED, Standing.UNPROVEN, Standing.NOT_TRUSTING)
