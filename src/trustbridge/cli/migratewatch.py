"""`trustbridge migrate status --watch`: a screen one leaves open."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from trustbridge.cli.screen import rate_words
from trustbridge.storage.models import CampaignState, Kind

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trustbridge.storage.campaignrecords import CampaignRecord, JournalRecord, PhoneRecord, WaveRecord

#: How far back the rate looks.
_MEMORY: Final = timedelta(minutes=2)
_BAR: Final = 24
_COLOURS: Final = {
    Kind.DONE: "green",
    Kind.UNDER_WAY: "cyan",
    Kind.FAILED: "red",
    Kind.SKIPPED: "yellow",
    Kind.HELD: "bright_black",
}
_MARKS: Final = {Kind.DONE: "█", Kind.UNDER_WAY: "▒", Kind.FAILED: "!", Kind.SKIPPED: "-", Kind.HELD: "·"}
_STATES: Final = {
    CampaignState.RUNNING: "green",
    CampaignState.PAUSED: "yellow",
    CampaignState.HALTED: "bold red",
    CampaignState.FINISHED: "bold green",
}


@dataclass
class Pace:
    """How fast phones come to an end, from what was seen at each look."""

    seen: deque[tuple[datetime, int]] = field(default_factory=deque)

    def see(self, now: datetime, ended: int) -> None:
        """Note how many have ended by now."""
        self.seen.append((now, ended))
        while len(self.seen) > 2 and self.seen[0][0] < now - _MEMORY:
            self.seen.popleft()

    @property
    def rate(self) -> float:
        """Phones a second; 0 when there is nothing to go by."""
        if len(self.seen) < 2:
            return 0.0
        (begin, before), (end, after) = self.seen[0], self.seen[-1]
        seconds = (end - begin).total_seconds()
        return max(0.0, (after - before) / seconds) if seconds > 0 else 0.0

    def left(self, count: int) -> timedelta | None:
        """How long so many more take at this pace; None when there is none."""
        return timedelta(seconds=round(count / self.rate)) if self.rate > 0 else None


def ended(waves: Sequence[WaveRecord]) -> int:
    """Phones that have come to an end."""
    return sum(wave.size - wave.kinds.get(Kind.HELD, 0) - wave.kinds.get(Kind.UNDER_WAY, 0) for wave in waves)


def bar(kinds: dict[Kind, int], width: int = _BAR) -> list[tuple[str, str]]:
    """A bar of marks and their colours: what there is one of, has one mark at least."""
    total = sum(kinds.values())
    if not total:
        return []
    there = [kind for kind in _MARKS if kinds.get(kind)]
    shares = {kind: max(1, kinds[kind] * width // total) for kind in there}
    largest = max(there, key=lambda kind: kinds[kind])
    shares[largest] = max(1, shares[largest] + width - sum(shares.values()))
    return [(_MARKS[kind] * shares[kind], _COLOURS[kind]) for kind in there]


def screen(
    campaign: CampaignRecord,
    waves: Sequence[WaveRecord],
    bad: Sequence[PhoneRecord],
    journal: Sequence[JournalRecord],
    pace: Pace,
    now: datetime,
) -> RenderableType:
    """All of it at one moment.

    Args:
        bad: phones that have failed, newest first.
        journal: its end, oldest first.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from trustbridge.cli.migrateview import state_of

    totals = {kind: sum(wave.kinds.get(kind, 0) for wave in waves) for kind in Kind}
    open_ones = totals[Kind.HELD] + totals[Kind.UNDER_WAY]
    left = pace.left(open_ones)
    head = Text.assemble(
        (campaign.name, "bold"),
        f"  {campaign.source} -> {campaign.destination}  ",
        (str(campaign.state), _STATES.get(campaign.state, "")),
        f"  {now:%H:%M:%S} UTC",
    )
    if campaign.reason:
        head.append(f"\n{campaign.reason}")
    numbers: list[Any] = []
    for kind, count in totals.items():
        numbers += [(f"{_MARKS[kind]} {count} {kind}", _COLOURS[kind]), "   "]
    pace_words = ", ".join(
        word for word in (rate_words(pace.rate), f"{left} left" if left is not None and open_ones else "") if word
    )
    table = Table.grid(padding=(0, 2))
    for wave in waves:
        table.add_row(
            Text(wave.name),
            Text.assemble(*bar(dict(wave.kinds))),
            Text(f"{ended([wave])}/{wave.size}", justify="right"),
            Text("ended" if wave.closed_at else "begun" if wave.opened_at else "; ".join(wave.windows) or "waits"),
        )
    parts: list[Any] = [head, Text(), Text.assemble(*numbers, (pace_words, "bold")), Text(), table]
    if bad:
        parts += [Text(), Text("Failed, the last of them", style="bold red")]
        parts += [Text(f"  {phone.name}  {state_of(phone)}: {phone.reason}", overflow="ellipsis") for phone in bad]
    parts += [Text(), Text("Journal", style="bold")]
    for entry in journal:
        change = f"{entry.before} -> {entry.after}" if entry.before else entry.after
        what = entry.phone or entry.wave or entry.event
        words = f"  {entry.at:%H:%M:%S}  {what}  {change}: {entry.reason}"
        parts.append(Text(words, overflow="ellipsis", no_wrap=True))
    return Group(*parts)
