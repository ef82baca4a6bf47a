"""How a campaign is taken back: exact commands, whole, for a wave, for a phone. Pure; nothing is undone here."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from trustbridge.migration.reportvalues import Group, ReportPhone, Undo
from trustbridge.storage.campaignrecords import CampaignRecord, JournalRecord, ScopeRecord, WaveRecord
from trustbridge.storage.models import CampaignState, Direction, ScopeState


def undo(
    campaign: CampaignRecord,
    waves: Sequence[WaveRecord],
    phones: Sequence[ReportPhone],
    scopes: Sequence[ScopeRecord],
    option150: Sequence[JournalRecord],
    devices: Sequence[JournalRecord],
) -> tuple[Undo, ...]:
    """What there is to take back, and how; empty when nothing was done yet."""
    if campaign.state is CampaignState.PLANNED:
        return ()
    there = [phone for phone in phones if _touched(phone)]
    made: list[Undo] = []
    if there or option150:
        made += _option150(campaign, scopes, option150)
    if there:
        made += _phones(campaign, waves, scopes, there)
    if devices:
        made.append(
            Undo(
                f"devices created at {campaign.destination}: {len(devices)}",
                (f"trustbridge devices undo {shlex.quote(campaign.source)} {shlex.quote(campaign.destination)}",),
                "When their phones are back, and none is to move any more. It names what it would remove, and asks.",
            )
        )
    return tuple(made)


def _touched(phone: ReportPhone) -> bool:
    """Whether it went to the destination, or is on its way there, and was not brought back."""
    record = phone.record
    if record.direction is Direction.BACK or record.wanted is Direction.BACK:
        return False
    return phone.group in (Group.MOVED, Group.UNPROVEN, Group.UNDER_WAY) or (
        phone.group is Group.FAILED and phone.trip.requested is not None
    )


def _option150(campaign: CampaignRecord, scopes: Sequence[ScopeRecord], entries: Sequence[JournalRecord]) -> list[Undo]:
    applied = [scope for scope in scopes if scope.state is ScopeState.APPLIED]
    if applied:
        named = "; ".join(scope.words for scope in applied)
        return [
            Undo(
                f"option 150: DHCP scopes that the campaign changed: {len(applied)}",
                (),
                "Nothing to type: the rollback below changes them back first, once no phone that stays needs them as "
                f"they are. They are {named}.",
            )
        ]
    if scopes:
        return []
    where = (
        "" if entries else "This campaign's journal has no change of option 150: it was changed beside the campaign. "
    )
    return [
        Undo(
            "option 150",
            ("trustbridge option150 changes", "trustbridge option150 revert CHANGE"),
            f"{where}First of all, and for each change that `changes` lists. What was not changed with trustbridge is "
            f"changed back by whoever did it, to the servers of {campaign.source}. Phones that are reset while it "
            f"names {campaign.destination} stay there.",
        )
    ]


def _phones(
    campaign: CampaignRecord, waves: Sequence[WaveRecord], scopes: Sequence[ScopeRecord], there: Sequence[ReportPhone]
) -> list[Undo]:
    back, said = f"trustbridge migrate rollback {shlex.quote(campaign.name)}", "" if scopes else " --option150-done"
    many = "1 phone" if len(there) == 1 else f"{len(there)} phones"
    asks = "It checks and foretells the way back, says what it found, and asks"
    made = [
        Undo(
            f"the whole campaign: {many}",
            (f"{back}{said}",),
            f"{asks}; then it resets them at {campaign.destination}, at any hour."
            + (
                f" `--option150-done` says that option 150 of these phones names {campaign.source} again."
                if said
                else ""
            ),
        )
    ]
    counts = Counter(phone.record.wave_id for phone in there)
    made += [
        Undo(
            f"{wave.name}: {counts[wave.id]} of its {wave.size} phones",
            (f"{back} --wave {shlex.quote(wave.name)}{said}",),
            "Refused, with what to do, where its scope serves phones that stay as well." if scopes else "",
        )
        for wave in waves
        if counts[wave.id]
    ]
    first = next((phone for phone in there if phone.group is Group.MOVED), there[0]).record
    made.append(
        Undo(
            "one phone, or several: with --phone again",
            (f"{back} --phone {shlex.quote(first.name)}{said}",),
            "Option 150 is a whole scope's. While phones that stay need it as it is, it can't be changed back for one: "
            f"give that one a reservation with the servers of {campaign.source}, and say `--option150-done`.",
        )
    )
    return made
