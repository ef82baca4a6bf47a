"""Campaigns in the database: made, and told what to do. What workers do is in `campaignwork`.

Every change is one transaction, with the journal's entry in it: what is not in the journal has not happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from trustbridge.errors import NotNow, SettingsError
from trustbridge.storage.campaignjournal import CampaignJournal
from trustbridge.storage.campaignreads import named, scope_records, wave_records
from trustbridge.storage.campaignrecords import CampaignRecord, ClusterRecord, NewScope, NewWave
from trustbridge.storage.models import (
    Campaign,
    CampaignPhone,
    CampaignState,
    Cluster,
    Direction,
    Kind,
    ScopeChange,
    ScopeState,
    Wave,
)


class Campaigns(CampaignJournal):
    """All campaigns of a database, told what to do."""

    def create(
        self,
        name: str,
        source: str,
        destination: str,
        settings: Mapping[str, Any],
        waves: Sequence[NewWave],
        *,
        state: str,
        now: datetime,
        skipped: str = "skipped",
        scopes: Sequence[NewScope] = (),
    ) -> CampaignRecord:
        """Keep a new campaign; nothing happens to its phones before `begin`.

        Args:
            state: the first one of every phone; `skipped` that of those that are left out.
            scopes: whose option 150 it changes.

        Raises:
            SettingsError: the name is taken.
        """
        try:
            with self.writing() as session:
                campaign = Campaign(
                    name=name,
                    source=source,
                    destination=destination,
                    state=CampaignState.PLANNED,
                    reason="",
                    option150="",
                    settings=dict(settings),
                    created_at=now,
                    changed_at=now,
                )
                session.add(campaign)
                session.flush()
                for position, wave in enumerate(waves):
                    self._add_wave(session, campaign, position, wave, (state, skipped), now)
                session.add_all(
                    ScopeChange(
                        campaign_id=campaign.id,
                        waves=list(scope.waves),
                        kind=scope.kind,
                        server=scope.server,
                        user=scope.user,
                        scope=scope.scope,
                        servers=list(scope.servers),
                        wanted=ScopeState.PLANNED,
                        state=ScopeState.PLANNED,
                        change={},
                    )
                    for scope in scopes
                )
                self.note(session, campaign.id, now, "planned", after=CampaignState.PLANNED, reason=_planned(waves))
                return CampaignRecord.of(campaign)
        except Exception as error:
            if isinstance(error.__cause__, IntegrityError):
                raise SettingsError(
                    f"a campaign {name} is there already, or a phone or wave is in it twice",
                    "Choose another name: see trustbridge migrate status.",
                ) from None
            raise

    @staticmethod
    def _add_wave(
        session: Session, campaign: Campaign, position: int, wave: NewWave, states: tuple[str, str], now: datetime
    ) -> None:
        row = Wave(
            campaign_id=campaign.id,
            position=position,
            name=wave.name,
            pilot=wave.pilot,
            windows=list(wave.windows),
            accepted_failures=0,
        )
        session.add(row)
        session.flush()
        session.add_all(
            CampaignPhone(
                campaign_id=campaign.id,
                wave_id=row.id,
                name=phone.name,
                model=phone.model,
                device_pool=phone.device_pool,
                state=states[1] if phone.left_out else states[0],
                kind=Kind.SKIPPED if phone.left_out else Kind.HELD,
                direction=Direction.FORTH,
                wanted=Direction.FORTH,
                again=False,
                step=0,
                since=now,
                resets=0,
                baseline={},
                reason=phone.left_out,
                evidence=[],
                tvs=phone.tvs,
                predicted=phone.predicted,
                predicted_why=phone.predicted_why,
            )
            for phone in wave.phones
        )

    def record_clusters(self, clusters: Sequence[ClusterRecord]) -> None:
        """Keep what clusters were seen to be; the latest counts."""
        with self.writing() as session:
            for seen in clusters:
                row = session.scalar(select(Cluster).where(Cluster.name == seen.name).with_for_update())
                if row is None:
                    session.add(
                        Cluster(name=seen.name, release=seen.release, nodes=list(seen.nodes), seen_at=seen.seen_at)
                    )
                else:
                    row.release, row.nodes, row.seen_at = seen.release, list(seen.nodes), seen.seen_at

    def foretold(self, name: str, predictions: Mapping[str, tuple[str, str]], *, now: datetime) -> None:
        """Keep what was predicted of phones.

        Args:
            predictions: by phone: what, and why.

        Raises:
            SettingsError: there is no such campaign.
        """
        with self.writing() as session:
            campaign = named(session, name, lock=True)
            ids = dict(
                session.execute(
                    select(CampaignPhone.name, CampaignPhone.id).where(CampaignPhone.campaign_id == campaign.id)
                ).all()
            )
            values = [
                {"id": ids[phone], "predicted": what, "predicted_why": why}
                for phone, (what, why) in predictions.items()
                if phone in ids
            ]
            if values:
                session.execute(update(CampaignPhone), values)
            counts = Counter(what for what, _ in predictions.values())
            words = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
            self.note(session, campaign.id, now, "predicted", after=campaign.state, reason=words)

    def begin(self, name: str, *, option150: str, now: datetime, created: Collection[str] = ()) -> CampaignRecord:
        """Let a planned campaign run, and claim its phones; one that runs already stays so.

        Args:
            option150: the cluster that option 150 names already, as somebody says; "" where the campaign sees to it.
            created: phones that were created at the destination for the move, whichever campaign they are in.

        Raises:
            NotNow: it is paused, halted or finished; or a phone is in another campaign that was begun.
        """
        with self.writing() as session:
            campaign = named(session, name, lock=True)
            if campaign.state not in (CampaignState.PLANNED, CampaignState.RUNNING):
                raise NotNow(
                    f"campaign {name} is {campaign.state}{_because(campaign)}",
                    f"See: trustbridge migrate status {name}",
                )
            if campaign.state == CampaignState.PLANNED:
                self.claim(session, campaign, None)
                campaign.option150 = option150
                self.turn(session, campaign, CampaignState.RUNNING, _said_of_option150(option150), now)
                mine = session.scalars(select(CampaignPhone.name).where(CampaignPhone.campaign_id == campaign.id))
                for phone in sorted(set(mine) & set(created)):
                    reason = f"it was created at {campaign.destination} beforehand, by trustbridge devices"
                    self.note(session, campaign.id, now, "device", phone=phone, after="created", reason=reason)
            return CampaignRecord.of(campaign)

    def pause(self, name: str, *, reason: str, now: datetime) -> CampaignRecord:
        """No phone is reset from now on. Those that are under way are still watched.

        Raises:
            NotNow: it does not run.
        """
        with self.writing() as session:
            campaign = named(session, name, lock=True)
            if campaign.state == CampaignState.PAUSED:
                return CampaignRecord.of(campaign)
            if campaign.state not in (CampaignState.RUNNING, CampaignState.HALTED):
                raise NotNow(f"campaign {name} is {campaign.state}: there is nothing to pause")
            self.turn(session, campaign, CampaignState.PAUSED, reason, now)
            return CampaignRecord.of(campaign)

    def resume(self, name: str, *, retry: bool, now: datetime, without: Collection[str] = ()) -> CampaignRecord:
        """Let a paused or halted campaign go on; the failures there are do not halt it again.

        Args:
            retry: what failed is tried once more, and what was skipped; a finished campaign may begin again for these.
            without: phones that are not.

        Raises:
            NotNow: it was never begun, or is finished and nothing is to be tried again.
        """
        with self.writing() as session:
            campaign = named(session, name, lock=True)
            if campaign.state == CampaignState.PLANNED:
                raise NotNow(f"campaign {name} was not begun", f"Begin it: trustbridge migrate start {name}")
            if campaign.state == CampaignState.FINISHED and not retry:
                raise NotNow(f"campaign {name} is finished", "What failed in it is tried once more with --retry.")
            if campaign.state == CampaignState.FINISHED:
                self.claim(session, campaign, None)
            for wave in wave_records(session, campaign.id):
                if wave.failed_forth > wave.accepted_failures:
                    session.execute(update(Wave).where(Wave.id == wave.id).values(accepted_failures=wave.failed_forth))
            if retry:
                failed = session.execute(
                    select(CampaignPhone.id, CampaignPhone.name).where(
                        CampaignPhone.campaign_id == campaign.id,
                        CampaignPhone.kind.in_((Kind.FAILED, Kind.SKIPPED)),
                    )
                ).all()
                again = [{"id": number, "again": True} for number, phone in failed if phone not in without]
                if again:
                    session.execute(update(CampaignPhone), again)
                    self._scopes_forth(session, campaign, now)
            reason = "what failed or was skipped is tried once more" if retry else ""
            self.turn(session, campaign, CampaignState.RUNNING, reason, now)
            return CampaignRecord.of(campaign)

    def send_back(
        self,
        name: str,
        *,
        wave: str | None,
        phones: Sequence[str],
        option150: str,
        now: datetime,
        without: Collection[str] = (),
    ) -> int:
        """Have a campaign's phones go back, those of a wave, or some by name; those under way turn when they rest.

        Scopes whose option 150 the campaign has changed, and which no phone needs that stays, are changed back first.

        Args:
            option150: the cluster that option 150 of these phones names already, as somebody says; "" where the
                campaign is to see to it.
            without: phones that stay, whatever else is said.

        Gives:
            how many.

        Raises:
            SettingsError: there is no such wave or phone.
            NotNow: it was never begun; or a phone is in another campaign that was begun; or the campaign can't see to
                option 150, as it changed none, or phones that stay need it as it is.
        """
        with self.writing() as session:
            campaign = named(session, name, lock=True)
            if campaign.state == CampaignState.PLANNED:
                raise NotNow(f"campaign {name} was not begun: no phone of it has moved")
            meant = [CampaignPhone.campaign_id == campaign.id]
            if wave is not None:
                found = session.scalar(select(Wave.id).where(Wave.campaign_id == campaign.id, Wave.name == wave))
                if found is None:
                    raise SettingsError(f"campaign {name} has no wave {wave}")
                meant.append(CampaignPhone.wave_id == found)
            if phones:
                meant.append(CampaignPhone.name.in_(phones))
            rows = dict(session.execute(select(CampaignPhone.name, CampaignPhone.id).where(*meant)).all())
            if unknown := sorted(set(phones) - set(rows)):
                raise SettingsError(f"campaign {name} has no phone {', '.join(unknown)}{f' in {wave}' if wave else ''}")
            going = {phone: number for phone, number in rows.items() if phone not in without}
            if not going:
                raise NotNow(f"no phone of {name} is left to go back")
            if campaign.state == CampaignState.FINISHED:
                self.claim(session, campaign, list(going))
            session.execute(
                update(CampaignPhone), [{"id": number, "wanted": Direction.BACK} for number in going.values()]
            )
            session.flush()
            if option150:
                campaign.option150 = option150
            else:
                self._scopes_back(session, campaign, set(going), now)
            what = ", ".join(sorted(phones)) or (f"wave {wave}" if wave is not None else "all phones")
            stay = f", but for {len(rows) - len(going)}" if len(going) < len(rows) else ""
            reason = f"{what}{stay} to go back; {_said_of_option150(option150)}"
            if wave is None and not phones and campaign.state != CampaignState.PAUSED:
                self.turn(session, campaign, CampaignState.RUNNING, reason, now, event="rollback")
            else:
                self.note(
                    session,
                    campaign.id,
                    now,
                    "rollback",
                    wave=wave,
                    before=campaign.state,
                    after=campaign.state,
                    reason=reason,
                )
            return len(going)

    def _scopes_forth(self, session: Session, campaign: Campaign, now: datetime) -> None:
        """Want option 150 changed for phones that are tried again, in waves that have begun: others see to it then."""
        waves = session.scalars(
            select(Wave.name)
            .join(CampaignPhone, CampaignPhone.wave_id == Wave.id)
            .where(
                Wave.campaign_id == campaign.id,
                Wave.opened_at.is_not(None),
                CampaignPhone.again,
                CampaignPhone.wanted == Direction.FORTH,
            )
            .distinct()
        ).all()
        for scope in scope_records(session, campaign.id):
            if scope.wanted is not ScopeState.APPLIED and any(scope.concerns(wave) for wave in waves):
                session.get_one(ScopeChange, scope.id).wanted = ScopeState.APPLIED
                self.note(
                    session,
                    campaign.id,
                    now,
                    "option 150",
                    before=scope.state,
                    after="wanted",
                    reason=f"{scope.words}: phones are tried once more",
                )

    def _scopes_back(self, session: Session, campaign: Campaign, going: Collection[str], now: datetime) -> None:
        """Want option 150 back where no phone that stays needs it."""
        waves: dict[str, set[str]] = {}
        stay: dict[str, int] = {}
        for phone, wave, wanted, kind in session.execute(
            select(CampaignPhone.name, Wave.name, CampaignPhone.wanted, CampaignPhone.kind)
            .join(Wave, Wave.id == CampaignPhone.wave_id)
            .where(CampaignPhone.campaign_id == campaign.id)
        ).all():
            waves.setdefault(wave, set())
            if phone in going:
                waves[wave].add(phone)
            elif wanted == Direction.FORTH and kind in (Kind.DONE, Kind.UNDER_WAY):
                stay[wave] = stay.get(wave, 0) + 1
        scopes = scope_records(session, campaign.id)
        concerned = [scope for scope in scopes if any(scope.concerns(wave) for wave, some in waves.items() if some)]
        if not concerned:
            raise NotNow(
                f"nobody has said that DHCP option 150 of these phones names {campaign.source} again",
                "Phones that are reset before that stay where they are: change it, then add --option150-done.",
            )
        for scope in concerned:
            staying = sum(count for wave, count in stay.items() if scope.concerns(wave))
            if staying:
                raise NotNow(
                    f"{scope.words}: option 150 can't go back: {staying} phones have moved by it that are to stay",
                    "They would follow it with their next restart. Name the source's servers for the phones that go "
                    "back, by a reservation or a class, then add --option150-done; or roll back all that it serves.",
                )
            if scope.wanted is ScopeState.APPLIED:
                session.get_one(ScopeChange, scope.id).wanted = ScopeState.REVERTED
                self.note(
                    session,
                    campaign.id,
                    now,
                    "option 150",
                    before=scope.state,
                    after="wanted back",
                    reason=f"{scope.words}: its phones go back",
                )


#: Phones that are to turn, or to be tried again, though they rest or their wave has not begun.
TURNING = or_(CampaignPhone.wanted != CampaignPhone.direction, CampaignPhone.again)


def _said_of_option150(cluster: str) -> str:
    return f"option 150 names {cluster}" if cluster else "the campaign itself sees to option 150"


def _because(campaign: Campaign) -> str:
    return f": {campaign.reason}" if campaign.reason else ""


def _planned(waves: Sequence[NewWave]) -> str:
    return f"{sum(len(wave.phones) for wave in waves)} phones in {len(waves)} waves"
