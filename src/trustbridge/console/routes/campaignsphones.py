"""Phones of a campaign: the table, paged, filtered and sorted by the database; and one of them with its journal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from trustbridge.console.campaignlook import findings_in
from trustbridge.console.campaignwords import state_words
from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.console.routes.campaigns import the_campaign
from trustbridge.console.views import fragment, page, render
from trustbridge.errors import SettingsError
from trustbridge.migration.campaignphone import PhoneState
from trustbridge.migration.predictvalues import Forecast
from trustbridge.migration.reportcourse import TURNED
from trustbridge.migration.reportwords import advice
from trustbridge.storage.campaignreads import ORDERS
from trustbridge.storage.campaignrecords import CampaignRecord, JournalRecord, PhoneRecord
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.models import Direction, Kind

router = APIRouter()
#: Phones of a page.
EACH: Final = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a table is asked for; whatever an address says that can't be meant, is not asked for."""

    state: str = ""
    kind: str = ""
    wave: str = ""
    predicted: str = ""
    text: str = ""
    sort: str = "name"
    down: bool = False
    page: int = 1

    @classmethod
    def of(cls, request: Request) -> Wanted:
        """From an address."""
        given = {name: value.replace("\x00", "")[:128] for name, value in request.query_params.items()}
        number = given.get("page", "1")
        return cls(
            _one(given.get("state", ""), PhoneState),
            _one(given.get("kind", ""), Kind),
            given.get("wave", ""),
            _one(given.get("predicted", ""), Forecast),
            given.get("text", "").strip(),
            _one(given.get("sort", ""), ORDERS) or "name",
            given.get("down") == "yes",
            int(number) if number.isdecimal() and int(number[:7]) > 0 else 1,
        )

    def link(self, **other: Any) -> str:
        """The same with something else, as the query of an address; the first page, unless another is named."""
        values = {name: getattr(self, name) for name in self.__slots__} | {"page": 1} | other
        values["down"] = "yes" if values["down"] else ""
        first = {"sort": "name", "page": 1}
        return "?" + urlencode({name: one for name, one in values.items() if one and first.get(name) != one})

    def sorted_by(self, column: str) -> str:
        """A link that sorts by a column; the other way round where it is sorted by it."""
        return self.link(sort=column, down=self.sort == column and not self.down)


def _one(value: str, known: Any) -> str:
    return value if value in {str(one) for one in known} else ""


@router.get("/campaigns/{name}/phones")
def phones(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    campaign, wanted = the_campaign(desk, name), Wanted.of(request)
    found, total = desk.campaigns.some_phones(
        campaign.id,
        kinds=[Kind(wanted.kind)] if wanted.kind else (),
        states=[wanted.state] if wanted.state else (),
        waves=[wanted.wave] if wanted.wave else (),
        predicted=[wanted.predicted] if wanted.predicted else (),
        text=wanted.text,
        order=wanted.sort,
        descending=wanted.down,
        limit=EACH,
        offset=min((wanted.page - 1) * EACH, 10_000_000),
    )
    values: dict[str, Any] = {
        "campaign": campaign,
        "phones": found,
        "total": total,
        "first": (wanted.page - 1) * EACH + 1,
        "pages": max(1, -(-total // EACH)),
        "wanted": wanted,
        "words_of": state_words,
        "link": wanted.link,
        "sorted_by": wanted.sorted_by,
    }
    if request.headers.get("hx-target") == "phones":
        return fragment(request, "campaigns/phones_part", **values)
    return page(
        request,
        "campaigns/phones",
        **values,
        states=list(PhoneState),
        kinds=list(Kind),
        forecasts=list(Forecast),
        wave_names=desk.campaigns.wave_names(campaign.id),
    )


# One.


@dataclass(frozen=True, slots=True)
class Step:
    """A state that a phone came to. `took`: seconds until the next; of the last, until now."""

    at: datetime
    state: str
    direction: Direction
    reason: str
    evidence: tuple[str, ...]
    by: str
    took: float
    last: bool


def steps_of(phone: PhoneRecord, journal: list[JournalRecord], now: datetime) -> list[Step]:
    """A phone's states in their order, oldest first."""
    entries = [entry for entry in journal if entry.event == "state"]
    found, way = [], Direction.FORTH
    for place, entry in enumerate(entries):
        end = entries[place + 1].at if place + 1 < len(entries) else now
        if entry.after == PhoneState.PLANNED and entry.reason.startswith(TURNED):
            way = Direction.BACK if way is Direction.FORTH else Direction.FORTH
        took = max(0.0, (end - entry.at).total_seconds())
        last = place == len(entries) - 1
        found.append(
            Step(
                entry.at,
                entry.after,
                phone.direction if last else way,
                entry.reason,
                entry.evidence,
                entry.by,
                took,
                last,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class PhoneSeen:
    """A phone of a campaign at one moment."""

    campaign: CampaignRecord
    phone: PhoneRecord
    journal: tuple[JournalRecord, ...]
    others: tuple[JournalRecord, ...]


def prepare(desk: Desk) -> None:
    """Add the topic: one phone of a campaign, `CAMPAIGN/PHONE`."""

    def look(of: str) -> PhoneSeen | None:
        campaign, _sign, phone = of.partition("/")
        try:
            return phone_seen(desk, desk.campaigns.get(campaign), phone)
        except (SettingsError, NotThere):
            return None

    def show(found: PhoneSeen | None) -> str:
        return "" if found is None else render("campaigns/phone_part", **phone_values(found, desk.now()))

    desk.live.topic("campaign-phone", look, show)


def phone_seen(desk: Desk, campaign: CampaignRecord, name: str) -> PhoneSeen:
    """What its page shows.

    Raises:
        NotThere: the campaign has no such phone.
    """
    found = desk.campaigns.phone(campaign.id, name.replace("\x00", ""))
    if found is None:
        raise NotThere(f"campaign {campaign.name} has no phone {name}")
    journal = desk.campaigns.journal(campaign.id, phone=found.name, last=500)
    return PhoneSeen(campaign, found, tuple(journal), tuple(one for one in journal if one.event != "state"))


def phone_values(seen: PhoneSeen, now: datetime) -> dict[str, Any]:
    """What its templates need."""
    phone = seen.phone
    return {
        "seen": seen,
        "campaign": seen.campaign,
        "phone": phone,
        "steps": steps_of(phone, list(seen.journal), now),
        "words_of": state_words,
        "findings": findings_in(phone.reason, phone.predicted_why, *phone.evidence),
        "advice": advice(phone.reason, phone=phone.name, campaign=seen.campaign.name)
        if phone.kind in (Kind.FAILED, Kind.SKIPPED)
        else "",
    }


@router.get("/campaigns/{name}/phones/{phone}")
def phone(request: Request, desk: DeskHere, who: Viewer, name: str, phone: str) -> Response:
    seen = phone_seen(desk, the_campaign(desk, name), phone)
    job: JobRecord | None = desk.jobs.table.of_key(f"diagnose:{seen.phone.name}")
    return page(
        request,
        "campaigns/phone",
        **phone_values(seen, desk.now()),
        job=job,
        now=desk.now(),
        may_go_back=seen.phone.kind is not Kind.HELD,
    )
