"""The words of a diagnosis: where a phone may stand; and words of others made fit to be shown."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from trustbridge.cucm.phoneweb import PhonePages, StatusMessage


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


def printable(text: str) -> str:
    """Words from phones and files: nothing in them may move a terminal's cursor."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def fit_to_be_shown(pages: PhonePages) -> PhonePages:
    """Whoever is at an address may say anything."""
    network = pages.network
    return replace(
        pages,
        model=printable(pages.model),
        messages=tuple(StatusMessage(printable(one.when), printable(one.text)) for one in pages.messages),
        network=replace(
            network,
            tftp_servers=tuple(map(printable, network.tftp_servers)),
            call_managers=tuple(map(printable, network.call_managers)),
            active=printable(network.active),
            tvs=tuple(map(printable, network.tvs)),
        ),
    )
