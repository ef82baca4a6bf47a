"""Option 150 of DHCP scopes in a campaign: what is wanted of it, who does it, what came of it.

What is to be done is in the database before it is done, with what was there before: whoever comes after one that was
killed knows how to go on, and how to go back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from trustbridge.storage.campaignreads import scope_records
from trustbridge.storage.campaignrecords import ScopeRecord
from trustbridge.storage.campaigns import Campaigns
from trustbridge.storage.models import Campaign, CampaignState, ScopeChange, ScopeState

EVENT = "option 150"


class CampaignScopes(Campaigns):
    """A worker's side of scopes."""

    def want_scopes(self, campaign_id: int, wave: str, now: datetime) -> None:
        """A wave is about to begin: have its scopes changed. Nothing when the campaign does not run."""
        with self.writing() as session:
            campaign = session.get_one(Campaign, campaign_id, with_for_update=True)
            if campaign.state != CampaignState.RUNNING:
                return
            for scope in scope_records(session, campaign_id):
                if scope.concerns(wave) and scope.wanted is not ScopeState.APPLIED:
                    session.get_one(ScopeChange, scope.id).wanted = ScopeState.APPLIED
                    self._note_scope(session, scope, now, "wanted", f"{wave} is about to begin", wave=wave)

    def take_scope(self, scope: ScopeRecord, now: datetime, until: datetime) -> ScopeRecord | None:
        """Be alone with a scope that something is wanted of; None when somebody else is, or nothing is wanted."""
        free = or_(ScopeChange.owned_until.is_(None), ScopeChange.owned_until <= now)
        with self.writing() as session:
            taken = session.execute(
                update(ScopeChange)
                .where(ScopeChange.id == scope.id, ScopeChange.wanted != ScopeChange.state, free)
                .values(owner=self.by, owned_until=until)
                .returning(ScopeChange.id)
            ).first()
            return None if taken is None else ScopeRecord.of(session.get_one(ScopeChange, scope.id))

    def begin_scope(self, scope: ScopeRecord, change: Mapping[str, Any], reason: str, now: datetime) -> None:
        """Keep what is about to be done, with what is there now."""
        with self.writing() as session:
            self._own(session, scope).change = dict(change)
            self._note_scope(session, scope, now, "begun", reason)

    def end_scope(
        self, scope: ScopeRecord, state: ScopeState, reason: str, evidence: Sequence[str], now: datetime
    ) -> None:
        """Keep that it is done, and read back."""
        with self.writing() as session:
            row = self._own(session, scope)
            row.state, row.owner, row.owned_until = state, None, None
            if state is ScopeState.REVERTED:
                row.change = {}
            self._note_scope(session, scope, now, state, reason, evidence=evidence)

    def refuse_scope(self, scope: ScopeRecord, reason: str, now: datetime) -> None:
        """Keep that it could not be done. What runs, is paused: phones would be reset towards the wrong cluster."""
        with self.writing() as session:
            row = self._own(session, scope)
            row.owner, row.owned_until = None, None
            self._note_scope(session, scope, now, "refused", reason)
            campaign = session.get_one(Campaign, scope.campaign_id, with_for_update=True)
            if campaign.state in (CampaignState.RUNNING, CampaignState.HALTED):
                self.turn(session, campaign, CampaignState.PAUSED, reason, now)

    def _own(self, session: Session, scope: ScopeRecord) -> ScopeChange:
        row = session.get_one(ScopeChange, scope.id, with_for_update=True)
        if row.owner != self.by:
            raise RuntimeError(f"{scope.words} is {row.owner}'s by now")
        return row

    def _note_scope(
        self,
        session: Session,
        scope: ScopeRecord,
        now: datetime,
        after: str,
        reason: str,
        *,
        wave: str | None = None,
        evidence: Sequence[str] = (),
    ) -> None:
        self.note(
            session,
            scope.campaign_id,
            now,
            EVENT,
            wave=wave or (scope.waves[0] if len(scope.waves) == 1 else None),
            before=scope.state,
            after=after,
            reason=f"{scope.words}: {reason}",
            evidence=evidence,
        )
