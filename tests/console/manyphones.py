"""A campaign at a cluster's size, put into a database as it would be half way through its night; nobody works on it."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, insert, select

from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.models import Campaign, CampaignPhone, CampaignState, JournalEntry, Kind, Wave

MODELS = ("CP-8841", "CP-7965G", "CP-8861")
#: A phone's states on its way, with the seconds between them.
WAY = ("planned", "ready", "reset requested", "reset sent", "gone from origin", "registered at target")
STEP = timedelta(seconds=12)
REASON = "TB101: no TVS of the source vouches for the signer of the destination's list"


def name_of(number: int) -> str:
    return f"SEP{0x001B0C000000 + number:012X}"


def state_of(number: int, wave: int, turn: int) -> tuple[str, Kind]:
    """What became of a phone: waves before `turn` have ended, that one is under way, the others wait."""
    if wave > turn:
        return "planned", Kind.HELD
    if wave == turn:
        return "reset sent", Kind.UNDER_WAY
    if number % 97 == 0:
        return "stranded", Kind.FAILED
    if number % 211 == 0:
        return "skipped", Kind.SKIPPED
    return "moved", Kind.DONE


def fill(
    engine: Engine, now: datetime, *, count: int = 60_000, size: int = 200, turn: int = 150, journal: bool = True
) -> int:
    """Give a database the campaign `large`, and its id back.

    Args:
        now: the end of wave `turn`, which began a minute before.
        size: phones of a wave.
    """
    work = CampaignWork(engine, "elsewhere:1:abcd")
    begun = now - timedelta(minutes=turn + 1)
    with work.writing() as session:
        campaign = Campaign(
            name="large",
            source="source",
            destination="destination",
            state=CampaignState.RUNNING,
            reason="",
            option150="destination",
            settings={},
            created_at=begun - timedelta(hours=3),
            changed_at=begun,
        )
        session.add(campaign)
        session.flush()
        waves: list[dict[str, Any]] = [
            {
                "campaign_id": campaign.id,
                "position": place,
                "name": f"wave-{place}" if place else "pilot",
                "pilot": not place,
                "windows": ["Mon-Sun 20:00-06:00 Europe/Warsaw"],
                "accepted_failures": 0,
                "opened_at": begun + timedelta(minutes=place) if place <= turn else None,
                "closed_at": begun + timedelta(minutes=place + 1) if place < turn else None,
            }
            for place in range(-(-count // size))
        ]
        session.execute(insert(Wave), waves)
        ids = session.scalars(select(Wave.id).where(Wave.campaign_id == campaign.id).order_by(Wave.position)).all()
        work.note(session, campaign.id, begun, "campaign", before="planned", after="running")
        session.flush()
        for first in range(0, count, 5000):
            numbers = range(first, min(first + 5000, count))
            rows, entries = list[dict[str, Any]](), list[dict[str, Any]]()
            for number in numbers:
                wave = number // size
                at = begun + timedelta(minutes=wave, seconds=number % size / 10)
                rows.append(_row(campaign.id, ids[wave], number, state_of(number, wave, turn), at))
                if journal:
                    entries += _entries(campaign.id, number, state_of(number, wave, turn), at)
            session.execute(insert(CampaignPhone), rows)
            if entries:
                session.execute(insert(JournalEntry), entries)
        return campaign.id


def _row(campaign: int, wave: int, number: int, became: tuple[str, Kind], at: datetime) -> dict[str, Any]:
    state, kind = became
    bad = kind is Kind.FAILED
    return {
        "campaign_id": campaign,
        "wave_id": wave,
        "name": name_of(number),
        "model": MODELS[number % 3],
        "device_pool": f"Site-{number % 40}",
        "state": state,
        "kind": kind,
        "direction": "forth",
        "wanted": "forth",
        "again": False,
        "step": 5,
        "since": at,
        # Nobody is to look at them.
        "due_at": at + timedelta(days=3650) if kind is Kind.UNDER_WAY else None,
        "reset_at": None if kind is Kind.HELD else at,
        "resets": 0 if kind is Kind.HELD else 1,
        "claim": name_of(number),
        "baseline": {"origin_since": None, "messages": ["Trust List Updated"] * 4},
        "reason": REASON if bad else "it is registered with the target's trust lists" if kind is Kind.DONE else "",
        "evidence": ["source: Registered", "page: TFTP Not Authorized"] if bad else [],
        "lease_owner": None,
        "lease_until": None,
        "tvs": "src-sub1",
        "predicted": ("moves", "moves", "strands", "unknown")[number % 4],
        "predicted_why": "TVS src-sub1 vouches for the signer",
    }


def _entries(campaign: int, number: int, became: tuple[str, Kind], at: datetime) -> list[dict[str, Any]]:
    state, kind = became
    if kind is Kind.HELD:
        return []
    way = [*WAY, state] if kind in (Kind.DONE, Kind.FAILED) else ["planned", "ready", "reset requested", state]
    return [
        {
            "campaign_id": campaign,
            "at": at + STEP * place,
            "by": "elsewhere:1:abcd",
            "event": "state",
            "wave": None,
            "phone": name_of(number),
            "step": place + 1,
            "before": before,
            "after": after,
            "reason": REASON if after == "stranded" else "it is its turn",
            "evidence": ["source: Registered"] if after == "stranded" else [],
        }
        for place, (before, after) in enumerate(itertools.pairwise(way))
    ]
