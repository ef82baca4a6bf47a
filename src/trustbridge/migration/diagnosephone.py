"""Which phone is meant, and the campaigns that have it: what a diagnosis begins with."""

from __future__ import annotations

import re
from typing import Final

from trustbridge.errors import SettingsError
from trustbridge.migration.diagnoseseen import CampaignSeen
from trustbridge.storage.campaignfind import campaigns_of
from trustbridge.storage.campaignreads import CampaignReads

#: Entries of a campaign's journal about the phone that are read.
_ENTRIES: Final = 20


def device_name(words: str) -> str:
    """A device's name, from what people copy.

    Raises:
        SettingsError: that is none.
    """
    digits = re.sub(r"[:.\-\s]", "", words).upper().removeprefix("SEP")
    if not re.fullmatch(r"[0-9A-F]{12}", digits):
        raise SettingsError(
            f"{words} is no name of a phone", "SEP and the twelve digits of its MAC address, such as SEP001B0C000001."
        )
    return f"SEP{digits}"


def seen_in(campaigns: CampaignReads, phone: str, pair: tuple[str, str] | None = None) -> list[CampaignSeen]:
    """Campaigns that have the phone, those between the named clusters first.

    Raises:
        Unreachable, Refused: the database does not answer.
    """
    found = [
        CampaignSeen(campaign, row, tuple(campaigns.journal(campaign.id, phone=phone, last=_ENTRIES)))
        for campaign, row in campaigns_of(campaigns, phone)
    ]
    ours = set(pair or ())
    return sorted(found, key=lambda one: bool(ours) and {one.campaign.source, one.campaign.destination} != ours)
