"""What every change of a campaign does in its transaction: tell the journal, turn a state, claim phones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from trustbridge.errors import NotNow
from trustbridge.storage.campaignreads import CampaignReads
from trustbridge.storage.models import Campaign, CampaignPhone, CampaignState, JournalEntry


class CampaignJournal(CampaignReads):
    """For transactions of somebody's."""

    def turn(
        self,
        session: Session,
        campaign: Campaign,
        state: CampaignState,
        reason: str,
        now: datetime,
        *,
        event: str = "campaign",
        wave: str | None = None,
        evidence: Sequence[str] = (),
    ) -> None:
        """Change a campaign's state."""
        before, campaign.state, campaign.reason, campaign.changed_at = campaign.state, state, reason, now
        self.note(
            session, campaign.id, now, event, wave=wave, before=before, after=state, reason=reason, evidence=evidence
        )

    def note(
        self,
        session: Session,
        campaign_id: int,
        now: datetime,
        event: str,
        *,
        before: str = "",
        after: str = "",
        reason: str = "",
        wave: str | None = None,
        phone: str | None = None,
        step: int | None = None,
        evidence: Sequence[str] = (),
    ) -> None:
        """Add to the journal."""
        session.add(
            JournalEntry(
                campaign_id=campaign_id,
                at=now,
                by=self.by,
                event=event,
                wave=wave,
                phone=phone,
                step=step,
                before=before,
                after=after,
                reason=reason,
                evidence=list(evidence),
            )
        )

    @staticmethod
    def claim(session: Session, campaign: Campaign, names: Sequence[str] | None) -> None:
        """Claim phones of a campaign, by name or all of them, so that no other moves them.

        Raises:
            NotNow: another one has one of them.
        """
        mine = [CampaignPhone.campaign_id == campaign.id]
        if names is not None:
            mine.append(CampaignPhone.name.in_(names))
        wanted = select(CampaignPhone.name).where(*mine)
        taken = session.execute(
            select(CampaignPhone.name, Campaign.name)
            .join(Campaign, Campaign.id == CampaignPhone.campaign_id)
            .where(CampaignPhone.claim.in_(wanted), CampaignPhone.campaign_id != campaign.id)
            .order_by(CampaignPhone.name)
        ).first()
        if taken is not None:
            raise NotNow(f"phone {taken[0]} is in campaign {taken[1]}, which is not finished", "One after the other.")
        # The column is unique: who claims the same phone at the same time, fails here.
        session.execute(update(CampaignPhone).where(*mine).values(claim=CampaignPhone.name))
