"""Campaigns: the list, and one with its counters, charts, failures and journal, which refresh themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from trustbridge.console import campaigncharts
from trustbridge.console.campaignlook import CampaignSeen, looks
from trustbridge.console.campaignwords import state_words
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.console.views import page, render
from trustbridge.console.workers import WorkerView
from trustbridge.errors import SettingsError
from trustbridge.migration.reportpage import KIND, MARK
from trustbridge.migration.reportvalues import GROUPS, Group
from trustbridge.storage.campaignrecords import CampaignRecord, WaveRecord
from trustbridge.storage.models import CampaignState, Kind

router = APIRouter()
#: Waves around the present that a campaign's page shows; more campaigns than that are not looked up each second.
_WAVES: Final = 10
_LIST: Final = 30
#: Waves on a page of their own.
_PAGE: Final = 50
#: Entries of the journal on a page of its own.
_ENTRIES: Final = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A campaign in the list."""

    campaign: CampaignRecord
    counts: dict[Kind, int]
    waves: int
    worker: WorkerView

    @property
    def size(self) -> int:
        """How many phones it has."""
        return sum(self.counts.values())

    @property
    def resting(self) -> int:
        """Phones that have come to an end."""
        return self.size - self.counts[Kind.HELD] - self.counts[Kind.UNDER_WAY]


def the_campaign(desk: Desk, name: str) -> CampaignRecord:
    """One by its name in an address.

    Raises:
        NotThere: there is none.
    """
    if "\x00" in name:  # PostgreSQL would not look for it
        raise NotThere("there is no such campaign")
    try:
        return desk.campaigns.get(name)
    except SettingsError as error:
        raise NotThere(error.message, error.hint) from error


def prepare(desk: Desk) -> None:
    """Add the topics: one campaign, and the list."""

    def look(name: str) -> CampaignSeen | None:
        try:
            campaign = desk.campaigns.get(name)
        except SettingsError:
            return None
        return seen_of(desk, campaign)

    def show(found: CampaignSeen | None) -> str:
        return "" if found is None else render("campaigns/show_part", **values_of(found))

    desk.live.topic("campaign", look, show)
    desk.live.topic("campaigns", lambda _of: lines(desk), lambda found: render("campaigns/list_part", lines=found))


def lines(desk: Desk) -> tuple[Line, ...]:
    """All campaigns, newest first."""
    found = []
    for campaign in desk.campaigns.all()[::-1][:_LIST]:
        waves = looks(desk).waves(campaign)
        counts = {kind: sum(wave.kinds.get(kind, 0) for wave in waves) for kind in Kind}
        found.append(Line(campaign, counts, len(waves), desk.workers.of(campaign.name)))
    return tuple(found)


def seen_of(desk: Desk, campaign: CampaignRecord) -> CampaignSeen:
    """What its page shows."""
    return looks(desk).seen(campaign, desk.workers.of(campaign.name), desk.now())


def values_of(seen: CampaignSeen) -> dict[str, Any]:
    """What its templates need."""
    return {
        "seen": seen,
        "campaign": seen.campaign,
        "waves": _present(seen.waves),
        "kinds": KIND,
        "marks": MARK,
        "all_groups": list(Group),
        "groups_of": groups_of,
        "words_of": state_words,
        "drawn": campaigncharts.drawn(seen),
        "over_time": campaigncharts.over_time(seen),
        "timeline": campaigncharts.timeline(seen),
    }


def groups_of(wave: WaveRecord) -> dict[Group, int]:
    """A wave's phones by group, those of none left out."""
    found = dict.fromkeys(Group, 0)
    for state, count in wave.states.items():
        found[GROUPS.get(state, Group.HELD)] += count
    return {group: count for group, count in found.items() if count}


def _present(waves: Sequence[WaveRecord]) -> list[WaveRecord]:
    """Some waves around the one whose turn it is."""
    now = next((place for place, wave in enumerate(waves) if wave.closed_at is None), len(waves))
    begin = max(0, min(now - _WAVES // 3, len(waves) - _WAVES))
    return list(waves[begin : begin + _WAVES])


@router.get("/campaigns")
def campaigns(request: Request, desk: DeskHere, who: Viewer) -> Response:
    return page(request, "campaigns/list", lines=lines(desk))


@router.get("/campaigns/{name}")
def campaign(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    seen = seen_of(desk, the_campaign(desk, name))
    state = seen.campaign.state
    return page(
        request,
        "campaigns/show",
        **values_of(seen),
        may_start=state is CampaignState.PLANNED,
        may_pause=state in (CampaignState.RUNNING, CampaignState.HALTED),
        may_resume=state in (CampaignState.PAUSED, CampaignState.HALTED),
        may_retry=state is not CampaignState.PLANNED
        and bool(seen.kinds.get(Kind.FAILED) or seen.kinds.get(Kind.SKIPPED)),
        may_go_back=state is not CampaignState.PLANNED,
    )


@router.get("/campaigns/{name}/waves")
def waves(request: Request, desk: DeskHere, who: Viewer, name: str, page_number: str = "1") -> Response:
    found = the_campaign(desk, name)
    all_waves = looks(desk).waves(found)
    number = int(page_number) if page_number.isdecimal() and int(page_number[:6]) > 0 else 1
    first = (number - 1) * _PAGE
    return page(
        request,
        "campaigns/waves",
        campaign=found,
        waves=all_waves[first : first + _PAGE],
        all=len(all_waves),
        first=first + 1,
        number=number,
        more=len(all_waves) > first + _PAGE,
        groups_of=groups_of,
        kinds=KIND,
    )


@router.get("/campaigns/{name}/journal")
def journal(request: Request, desk: DeskHere, who: Viewer, name: str, before: str = "") -> Response:
    found = the_campaign(desk, name)
    older = int(before) if before.isdecimal() and 0 < len(before) < 10 else None
    entries = desk.campaigns.journal(found.id, last=_ENTRIES + 1, before=older)[::-1]
    more = entries[_ENTRIES - 1].id if len(entries) > _ENTRIES else None
    return page(
        request, "campaigns/journal", campaign=found, entries=entries[:_ENTRIES], more=more, first=older is None
    )
