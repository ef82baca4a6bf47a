"""One phone in all campaigns of a database."""

from __future__ import annotations

from sqlalchemy import select

from trustbridge.storage.campaignreads import CampaignReads
from trustbridge.storage.campaignrecords import CampaignRecord, PhoneRecord
from trustbridge.storage.models import Campaign, CampaignPhone, CampaignState, Kind, Wave


def campaigns_of(campaigns: CampaignReads, phone: str) -> list[tuple[CampaignRecord, PhoneRecord]]:
    """Campaigns that have a phone, each with its row; first those that are not finished and do not skip it, and of like
    ones the newest.

    Args:
        phone: `SEP` and the MAC address, in capitals.

    Raises:
        Unreachable, Refused: the database does not answer.
    """
    query = (
        select(Campaign, CampaignPhone, Wave)
        .join(CampaignPhone, CampaignPhone.campaign_id == Campaign.id)
        .join(Wave, Wave.id == CampaignPhone.wave_id)
        .where(CampaignPhone.name == phone)
        .order_by(Campaign.id.desc())
    )
    with campaigns.reading() as session:
        found = [(CampaignRecord.of(one), PhoneRecord.of(row, wave)) for one, row, wave in session.execute(query)]
    return sorted(found, key=lambda one: (one[0].state is CampaignState.FINISHED, one[1].kind is Kind.SKIPPED))
