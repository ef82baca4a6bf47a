"""How campaigns are shown, to people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from trustbridge.cli.screen import table
from trustbridge.migration.campaignview import campaign_json, state_of
from trustbridge.storage.models import Kind

if TYPE_CHECKING:
    from rich.console import Console

    from trustbridge.storage.campaignrecords import CampaignRecord, JournalRecord, NewWave, PhoneRecord, WaveRecord

__all__ = ["campaign_json", "show_campaign", "show_campaigns", "show_plan", "state_of"]

#: Phones that are listed one by one, unless all are asked for.
_LISTED = 20
_COLUMNS = ("held", "under way", "done", "failed", "skipped")


def show_plan(console: Console, name: str, waves: Sequence[NewWave], foretold: str) -> None:
    """A campaign as it was planned; `foretold` are the forecasts, counted."""
    rows = [
        (
            escape(wave.name),
            str(len(wave.phones)),
            str(sum(bool(phone.left_out) for phone in wave.phones)),
            escape(", ".join(sorted({phone.model for phone in wave.phones}))),
            escape("; ".join(wave.windows) or "any time"),
        )
        for wave in waves
    ]
    console.print(table(f"Campaign {name}", ("wave", "phones", "left out", "models", "windows"), rows))
    if foretold:
        console.print(f"It is foretold: {foretold}.\n")
    left_out = [phone for wave in waves for phone in wave.phones if phone.left_out]
    if left_out:
        more = len(left_out) - _LISTED
        console.print(
            table(
                "Phones that are left out",
                ("phone", "model", "why"),
                [(phone.name, escape(phone.model), escape(phone.left_out)) for phone in left_out[:_LISTED]],
                caption=f"and {more} more: status --json lists all" if more > 0 else "",
            )
        )


def show_campaigns(console: Console, campaigns: Sequence[tuple[CampaignRecord, Sequence[WaveRecord]]]) -> None:
    """Campaigns, one a line."""
    rows = [
        (escape(one.name), f"{one.source} -> {one.destination}", one.state, *_counts(waves), escape(one.reason))
        for one, waves in campaigns
    ]
    console.print(table("Campaigns", ("name", "clusters", "state", *_COLUMNS, "why"), rows))


def _counts(waves: Sequence[WaveRecord]) -> tuple[str, ...]:
    return tuple(str(sum(wave.kinds.get(Kind(column), 0) for wave in waves)) for column in _COLUMNS)


def show_campaign(
    console: Console,
    campaign: CampaignRecord,
    waves: Sequence[WaveRecord],
    phones: Sequence[PhoneRecord],
    journal: Sequence[JournalRecord],
) -> None:
    """One campaign: its waves, what failed, and what happened last."""
    rows = [
        (
            escape(wave.name),
            "ended" if wave.closed_at else "begun" if wave.opened_at else "",
            *_counts([wave]),
            escape("; ".join(wave.windows) or "any time"),
        )
        for wave in waves
    ]
    why = f": {campaign.reason}" if campaign.reason else ""
    title = f"{campaign.name}, {campaign.source} -> {campaign.destination}: {campaign.state}{why}"
    console.print(table(escape(title), ("wave", "", *_COLUMNS, "windows"), rows))
    open_ones = [phone for phone in phones if phone.kind in (Kind.FAILED, Kind.SKIPPED, Kind.UNDER_WAY)]
    open_ones.sort(key=lambda phone: (phone.kind is not Kind.FAILED, phone.name))
    if open_ones:
        left = len(open_ones) - _LISTED
        console.print(
            table(
                "Phones that did not move, or are on their way",
                ("phone", "wave", "state", "why", "evidence"),
                [
                    (
                        phone.name,
                        escape(phone.wave),
                        state_of(phone),
                        escape(phone.reason),
                        escape("; ".join(phone.evidence)),
                    )
                    for phone in open_ones[:_LISTED]
                ],
                caption=f"and {left} more: --json lists all" if left > 0 else "",
            )
        )
    console.print(
        table(
            "Journal, its end",
            ("time (UTC)", "what", "", "why"),
            [
                (
                    f"{entry.at:%Y-%m-%d %H:%M:%S}",
                    escape(entry.phone or entry.wave or entry.event),
                    escape(f"{entry.before} -> {entry.after}" if entry.before else entry.after),
                    escape(entry.reason),
                )
                for entry in journal
            ],
        )
    )
