"""Long work about campaigns: planned, checked and begun, tried again, foretold and sent back.

Each is a job, by the same functions as the command line; its result is what a page shows after it, and whether somebody
may act upon it. What clusters are asked takes from seconds to minutes: an answer that decides is good for `HOLDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from trustbridge.console.campaignlook import looks
from trustbridge.console.jobs import Told
from trustbridge.console.words import N_
from trustbridge.errors import NotNow, SettingsError
from trustbridge.migration import campaignacts
from trustbridge.migration.campaignforecast import Foretold
from trustbridge.migration.campaignprepare import Meant, Prepared, create, prepare
from trustbridge.migration.check import Checked
from trustbridge.migration.devicesrecord import created_phones
from trustbridge.migration.findings import Severity
from trustbridge.migration.goals import pairs_of
from trustbridge.storage.campaignrecords import CampaignRecord
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.models import CampaignState, JobState

if TYPE_CHECKING:
    from trustbridge.console.desk import Desk

#: How long somebody may act upon what was foretold of the way back.
HOLDS: Final = timedelta(minutes=15)
#: Phones that a plan's page names as left out, and a way back's as stranding.
NAMED: Final = 50


def two(source: str, destination: str) -> None:
    """Whether they are two different clusters.

    Raises:
        SettingsError: they are not.
    """
    pairs_of([source, destination])


def known(desk: Desk, *names: str) -> None:
    """Whether clusters are in the inventory.

    Raises:
        SettingsError: one is not.
    """
    inventory = desk.inventory
    for name in names:
        inventory.get(name)


# Planned.


def plan(desk: Desk, who: str, wanted: Meant) -> JobRecord:
    """Prepare a campaign; `create_planned` keeps it.

    Raises:
        NotNow: one of that name is being prepared. SettingsError: a cluster is not known, or the name is taken.
    """
    wish = wanted.wish
    known(desk, wish.source, wish.destination)
    if any(one.name == wish.name for one in desk.campaigns.all()):
        raise SettingsError(f"a campaign {wish.name} is there already", "Choose another name.")
    key = f"plan:{wish.name}"

    async def work(told: Told) -> dict[str, Any]:
        async with desk.opened([wish.source, wish.destination]) as clusters:
            prepared = await prepare(clusters, wanted, desk.provider, now=desk.now, progress=told)
        await asyncio.to_thread(keep, desk, key, looks(desk).plans, prepared.as_json())
        return summary(prepared)

    return desk.jobs.start(
        "campaign-plan", N_("Plan of campaign %(campaign)s"), who, work, values={"campaign": wish.name}, key=key
    )


def keep(desk: Desk, key: str, kept: Any, value: Any) -> None:
    """Under the number of the job that runs: only one of a key does."""
    job = desk.jobs.table.of_key(key)
    assert job is not None
    kept.write(job.id, value)


def summary(prepared: Prepared) -> dict[str, Any]:
    """What a page shows of a plan: no more than it has room for."""
    left_out = prepared.left_out
    return {
        "campaign": prepared.name,
        "source": prepared.source,
        "destination": prepared.destination,
        "phones": prepared.phones,
        "foretold": dict(prepared.foretold),
        "waves": [
            {
                "name": wave.name,
                "pilot": wave.pilot,
                "windows": list(wave.windows),
                "phones": len(wave.phones),
                "left_out": sum(bool(phone.left_out) for phone in wave.phones),
                "models": sorted({phone.model for phone in wave.phones}),
            }
            for wave in prepared.waves
        ],
        "left_out": len(left_out),
        "named": [{"name": one.name, "model": one.model, "why": one.left_out} for one in left_out[:NAMED]],
        "option150": [
            {
                "place": one.place,
                "scope": one.scope,
                "before": one.before,
                "after": one.after,
                "diff": one.diff,
                "waves": list(scope.waves),
            }
            for one, scope in zip(prepared.changes, prepared.scopes, strict=True)
        ],
        "at": prepared.at.isoformat(),
    }


def create_planned(desk: Desk, job: int) -> CampaignRecord:
    """Keep the campaign that a job has prepared.

    Raises:
        NotNow: it has not ended well, or what it made is gone. SettingsError: the name is taken.
    """
    found = desk.jobs.table.get(job)
    if found is None or found.kind != "campaign-plan" or found.state != JobState.DONE:
        raise NotNow("that plan is not there", "Plan the campaign again.")
    return create(desk.campaigns, Prepared.from_json(looks(desk).plans.read(job)), now=desk.now())


# Begun, tried again, sent back.


@dataclass(frozen=True, slots=True)
class Consent:
    """What somebody has agreed to.

    Attributes:
        option150: that option 150 names the right cluster.
        accept: ids of findings to go on with.
        checking: whether the clusters are looked at before anything is touched.
        stranding: what becomes of phones that are predicted to strand: skip, or go.
    """

    option150: bool = False
    accept: tuple[str, ...] = ()
    checking: bool = True
    stranding: str = campaignacts.SKIP


def start(desk: Desk, who: str, name: str, consent: Consent) -> JobRecord:
    """Check both clusters, and begin a planned campaign where nothing stops it. Its result tells whether it has begun.

    Raises:
        SettingsError: there is no such campaign. NotNow: it was begun, or nobody has said what option 150 names.
    """
    campaign = desk.campaigns.get(name)
    if campaign.state is not CampaignState.PLANNED:
        raise NotNow(f"campaign {name} is {campaign.state}: it was begun before")
    scopes = desk.campaigns.scopes(campaign.id)
    campaignacts.says_option150(campaign, campaign.destination, scopes=scopes, done=consent.option150)

    async def work(told: Told) -> dict[str, Any]:
        found = await _looked(desk, campaign.source, campaign.destination, consent, told)
        if found is not None and campaignacts.stops_left(found, consent.accept):
            return {"begun": False, **_stops(found, consent.accept)}
        option150 = "" if scopes else campaign.destination
        created = await asyncio.to_thread(created_phones, desk.state, campaign.source, campaign.destination)
        await asyncio.to_thread(desk.campaigns.begin, name, option150=option150, now=desk.now(), created=created)
        return {"begun": True, **_stops(found, consent.accept)}

    return desk.jobs.start(
        "campaign-start", N_("Campaign %(campaign)s is checked and started"), who, work,
        values={"campaign": name}, key=f"start:{name}",
    )  # fmt: skip


async def _looked(desk: Desk, here: str, there: str, consent: Consent, told: Told) -> Checked | None:
    if not consent.checking:
        return None
    async with desk.opened([here, there]) as clusters:
        return await campaignacts.looked(clusters[here], clusters[there], now=desk.now(), progress=told)


def _stops(found: Checked | None, accepted: Collection[str]) -> dict[str, Any]:
    if found is None:
        return {"checked": False, "stops": [], "left": [], "unknown": []}
    return {
        "checked": True,
        "stops": [one.as_json() for one in found.of(Severity.STOP)],
        "left": campaignacts.stops_left(found, accepted),
        "unknown": [f"{gap.where}: {gap.what}: {gap.why}" for gap in found.essential],
    }


def retry(desk: Desk, who: str, name: str, consent: Consent) -> JobRecord:
    """Foretell what failed or was skipped, and let the campaign try it again.

    Raises:
        SettingsError: there is no such campaign, or the rule is none. NotNow: it was not begun.
    """
    campaign = desk.campaigns.get(name)
    campaignacts.leave_stranding(consent.stranding, ())
    if campaign.state is CampaignState.PLANNED:
        raise NotNow(f"campaign {name} was not begun")

    async def work(told: Told) -> dict[str, Any]:
        again = await asyncio.to_thread(campaignacts.to_be_retried, desk.campaigns, campaign)
        found = await _foretold(desk, campaign, again, consent, told, back=False)
        stay = campaignacts.leave_stranding(consent.stranding, found.stranding)
        await asyncio.to_thread(desk.campaigns.resume, name, retry=True, now=desk.now(), without=stay)
        return _told(found) | {"phones": len(again), "stay": len(stay)}

    return desk.jobs.start(
        "campaign-retry", N_("Phones of %(campaign)s are tried again"), who, work,
        values={"campaign": name}, key=f"retry:{name}",
    )  # fmt: skip


async def _foretold(
    desk: Desk, campaign: CampaignRecord, names: Collection[str], consent: Consent, told: Told, *, back: bool
) -> Foretold:
    if not consent.checking or not names:
        return Foretold()
    async with desk.opened([campaign.source, campaign.destination]) as clusters:
        found = await campaignacts.foretold_again(campaign, clusters, names, back=back, now=desk.now(), progress=told)
    await asyncio.to_thread(campaignacts.kept, desk.campaigns, campaign, found, desk.now())
    return found


def _told(found: Foretold) -> dict[str, Any]:
    stranding = sorted(found.stranding.items())
    return {
        "foretold": {str(what): count for what, count in found.counts.items()},
        "stranding": len(stranding),
        "named": [{"name": name, "why": why} for name, why in stranding[:NAMED]],
    }


def way_back(desk: Desk, who: str, name: str, wave: str | None, phones: Collection[str], consent: Consent) -> JobRecord:
    """Check and foretell the way back of a campaign's phones, those of a wave, or some: its result is the consequence
    that somebody is to agree to. Changes nothing; `send_back` does.

    Raises:
        SettingsError: there is no such campaign, wave or phone. NotNow: it was not begun.
    """
    campaign = desk.campaigns.get(name)
    if campaign.state is CampaignState.PLANNED:
        raise NotNow(f"campaign {name} was not begun: no phone of it has moved")
    _meant(desk, campaign, wave, phones)
    key = f"back:{name}"

    async def work(told: Told) -> dict[str, Any]:
        going = await asyncio.to_thread(campaignacts.to_go_back, desk.campaigns, campaign, wave=wave, phones=phones)
        checked = await _looked(desk, campaign.destination, campaign.source, consent, told)
        found = await _foretold(desk, campaign, going, consent, told, back=True)
        await asyncio.to_thread(keep, desk, key, looks(desk).ways_back, {"stranding": dict(found.stranding)})
        return {
            "campaign": name,
            "wave": wave,
            "phones": sorted(phones),
            "count": len(going),
            "foretold_at": desk.now().isoformat(),
            **_told(found),
            **_stops(checked, ()),
        }

    return desk.jobs.start(
        "campaign-way-back", N_("The way back of %(campaign)s is foretold"), who, work,
        values={"campaign": name}, key=key,
    )  # fmt: skip


def _meant(desk: Desk, campaign: CampaignRecord, wave: str | None, phones: Collection[str]) -> None:
    if wave is not None and wave not in {one.name for one in desk.campaigns.waves(campaign.id)}:
        raise SettingsError(f"campaign {campaign.name} has no wave {wave}")
    known = {name for name in phones if desk.campaigns.phone(campaign.id, name) is not None}
    if unknown := sorted(set(phones) - known):
        raise SettingsError(f"campaign {campaign.name} has no phone {', '.join(unknown[:5])}")


def send_back(desk: Desk, name: str, job: int, consent: Consent) -> int:
    """Send phones back, as a job has foretold it. Gives how many.

    Raises:
        NotNow: that was too long ago; or something stops it that nobody has accepted; or as `Campaigns.send_back`.
    """
    found = desk.jobs.table.get(job)
    if found is None or found.kind != "campaign-way-back" or found.state != JobState.DONE:
        raise NotNow("the way back was not foretold", "Foretell it, then agree.")
    result: Mapping[str, Any] = found.result
    if result["campaign"] != name:
        raise NotNow(f"that is not the way back of {name}")
    if found.ended_at is None or desk.now() - found.ended_at > HOLDS:
        raise NotNow("the way back was foretold too long ago", "Foretell it again, then agree.")
    if left := sorted(set(result["left"]) - set(consent.accept)):
        raise NotNow(f"{', '.join(left)}: stops the way back, and nobody has accepted it", "Mend it, or accept it.")
    stranding = looks(desk).ways_back.read(job)["stranding"]
    return _send_back(desk, name, result["wave"], result["phones"], consent, stranding)


def _send_back(
    desk: Desk, name: str, wave: str | None, phones: Collection[str], consent: Consent, stranding: Collection[str]
) -> int:
    campaign = desk.campaigns.get(name)
    scopes = desk.campaigns.scopes(campaign.id)
    campaignacts.says_option150(campaign, campaign.source, scopes=scopes, done=consent.option150)
    return desk.campaigns.send_back(
        name,
        wave=wave,
        phones=tuple(phones),
        option150=campaign.source if consent.option150 else "",
        now=desk.now(),
        without=campaignacts.leave_stranding(consent.stranding, stranding),
    )


def rollback(desk: Desk, who: str, name: str, wave: str | None, phones: Collection[str], consent: Consent) -> JobRecord:
    """All of it in one, for programs that have agreed beforehand: as `trustbridge migrate rollback --yes`.

    Raises:
        SettingsError, NotNow: as `way_back` and `send_back`.
    """
    campaign = desk.campaigns.get(name)
    if campaign.state is CampaignState.PLANNED:
        raise NotNow(f"campaign {name} was not begun: no phone of it has moved")
    _meant(desk, campaign, wave, phones)
    campaignacts.leave_stranding(consent.stranding, ())
    scopes = desk.campaigns.scopes(campaign.id)
    campaignacts.says_option150(campaign, campaign.source, scopes=scopes, done=consent.option150)

    async def work(told: Told) -> dict[str, Any]:
        checked = await _looked(desk, campaign.destination, campaign.source, consent, told)
        if checked is not None:
            campaignacts.refuse_stops(checked, consent.accept)
        going = await asyncio.to_thread(campaignacts.to_go_back, desk.campaigns, campaign, wave=wave, phones=phones)
        found = await _foretold(desk, campaign, going, consent, told, back=True)
        count = await asyncio.to_thread(_send_back, desk, name, wave, phones, consent, found.stranding)
        return {"campaign": name, "wave": wave, "phones": count} | _told(found)

    return desk.jobs.start(
        "campaign-back", N_("Phones of %(campaign)s go back"), who, work, values={"campaign": name}, key=f"back:{name}"
    )
