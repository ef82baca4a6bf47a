"""What comes before a campaign is begun, tried again or sent back: checked, foretold, and asked about.

The command line and the console act by these; what is then told to the database is in `storage.campaigns`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from trustbridge.cucm.cluster import Cluster
from trustbridge.errors import NotNow, SettingsError
from trustbridge.migration.campaignforecast import Foretold, Progress, foretell
from trustbridge.migration.campaignplan import CampaignSettings
from trustbridge.migration.check import Checked, check
from trustbridge.migration.checkcollect import observe
from trustbridge.migration.findings import Severity
from trustbridge.storage.campaignreads import CampaignReads
from trustbridge.storage.campaignrecords import CampaignRecord, PhoneRecord
from trustbridge.storage.campaigns import Campaigns
from trustbridge.storage.models import Direction, Kind

#: What becomes of phones that are predicted to strand.
SKIP, GO = "skip", "go"
#: Phones that are read at a time.
_PAGE: Final = 5000


def _quiet(what: str, done: int, total: int) -> None:
    pass


async def looked(source: Cluster, destination: Cluster, *, now: datetime, progress: Progress = _quiet) -> Checked:
    """Check the clusters once more, without the phones' pages: they were read when phones were foretold.

    Raises:
        TrustbridgeError: a cluster does not tell its nodes, or refuses a password.
    """
    return check(await observe(source, destination, pages=False, emcc=False, progress=progress), now)


def stops_left(checked: Checked, accepted: Collection[str]) -> list[str]:
    """Ids of findings that stop the move and that nobody has accepted, sorted."""
    return sorted({one.id for one in checked.of(Severity.STOP)} - set(accepted))


def refuse_stops(checked: Checked, accepted: Collection[str]) -> None:
    """Go on only where nothing stops the move that nobody has accepted.

    Raises:
        NotNow: something does.
    """
    left = stops_left(checked, accepted)
    if left:
        source, destination = checked.source, checked.destination
        first = next(one for one in checked.of(Severity.STOP) if one.id in left)
        raise NotNow(
            f"{', '.join(left)} stop{'s' * (len(left) == 1)} the move from {source} to {destination}: {first.title}",
            f"See: trustbridge check {source} {destination}. Mend it; or go on with it: --accept {left[0]}, once for "
            "each.",
        )


def says_option150(campaign: CampaignRecord, cluster: str, *, scopes: Collection[object], done: bool) -> None:
    """Whether option 150 of a campaign's phones names a cluster, or will.

    Args:
        scopes: those whose option 150 the campaign changes itself.
        done: somebody says that it does.

    Raises:
        NotNow: nobody has said so, and the campaign does not see to it.
    """
    if done or scopes:
        return
    if cluster == campaign.destination:
        raise NotNow(
            f"nobody has said that DHCP option 150 names {cluster}",
            "Phones that are reset before that stay where they are: change it, then add --option150-done; or plan the "
            "campaign with --scope, and it does that itself.",
        )
    raise NotNow(
        f"nobody has said that DHCP option 150 of these phones names {cluster} again",
        "Phones that are reset before that stay where they are: change it, then add --option150-done.",
    )


def leave_stranding(rule: str, foretold: Collection[str]) -> frozenset[str]:
    """Phones that stay, by the rule for those that are predicted to strand.

    Raises:
        SettingsError: the rule is neither skip nor go.
    """
    if rule not in (SKIP, GO):
        raise SettingsError(f"--stranding {rule}: skip or go is expected")
    return frozenset(foretold) if rule == SKIP else frozenset()


def to_be_retried(campaigns: CampaignReads, campaign: CampaignRecord) -> list[str]:
    """Phones that `resume --retry` takes along: those that failed or were skipped on their way to the destination."""
    found = _all(campaigns, campaign, kinds=(Kind.FAILED, Kind.SKIPPED))
    return [phone.name for phone in found if phone.wanted is Direction.FORTH]


def to_go_back(
    campaigns: CampaignReads, campaign: CampaignRecord, *, wave: str | None = None, phones: Collection[str] = ()
) -> list[str]:
    """Phones that a rollback is about: those that were touched, of the campaign, a wave, or by name."""
    kinds = tuple(kind for kind in Kind if kind is not Kind.HELD)
    found = _all(campaigns, campaign, kinds=kinds, waves=() if wave is None else (wave,))
    return [phone.name for phone in found if not phones or phone.name in phones]


def _all(
    campaigns: CampaignReads, campaign: CampaignRecord, *, kinds: Collection[Kind], waves: Collection[str] = ()
) -> list[PhoneRecord]:
    found: list[PhoneRecord] = []
    while True:
        page, total = campaigns.some_phones(campaign.id, kinds=kinds, waves=waves, limit=_PAGE, offset=len(found))
        found += page
        if not page or len(found) >= total:
            return found


async def foretold_again(
    campaign: CampaignRecord,
    clusters: Mapping[str, Cluster],
    names: Collection[str],
    *,
    back: bool,
    now: datetime,
    progress: Progress = _quiet,
) -> Foretold:
    """Foretell some of a campaign's phones once more, on their way or back; `kept` writes that down.

    Args:
        clusters: source and destination, by name.

    Raises:
        TrustbridgeError: a cluster does not tell, or refuses a password.
    """
    if not names:
        return Foretold()
    here, there = (campaign.destination, campaign.source) if back else (campaign.source, campaign.destination)
    port = CampaignSettings.from_json(campaign.settings).phone_port
    return await foretell(clusters[here], clusters[there], set(names), now=now, page_port=port, progress=progress)


def kept(campaigns: Campaigns, campaign: CampaignRecord, found: Foretold, now: datetime) -> None:
    """Keep what was foretold, where something was."""
    if found.phones:
        campaigns.foretold(campaign.name, found.as_kept, now=now)
