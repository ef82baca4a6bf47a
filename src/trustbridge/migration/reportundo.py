"""How a campaign is taken back: exact commands, whole, for a wave, for a phone. Pure; nothing is undone here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from trustbridge.migration.reportvalues import Group, ReportPhone, Undo
from trustbridge.storage.campaignrecords import CampaignRecord, JournalRecord, ScopeRecord, WaveRecord
from trustbridge.storage.models import CampaignState, Direction, ScopeState

#: Waves that are named one by one.
_WAVES = 400


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
        made += _phones(campaign, waves, there)
    if devices:
        made.append(
            Undo(
                f"devices created at {campaign.destination}: {len(devices)}",
                (),
                f"trustbridge deletes none. Delete them at {campaign.destination} when no phone is to move any more; "
                "until then each may count there for a licence. Their names are in the JSON.",
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
        return [
            Undo(
                f"option 150 of {len(applied)} DHCP scopes",
                (f"trustbridge migrate status {shlex.quote(campaign.name)}",),
                "The campaign changed these itself, and its rollback takes them back: "
                + "; ".join(scope.words for scope in applied),
            )
        ]
    if entries and not scopes:
        return [
            Undo(
                "option 150",
                ("trustbridge option150 changes", "trustbridge option150 revert CHANGE"),
                "First: phones that are reset while it names the destination stay there. CHANGE as `changes` lists it, "
                "once for each change.",
            )
        ]
    if scopes:
        return []
    return [
        Undo(
            "option 150",
            ("trustbridge option150 changes", "trustbridge option150 revert CHANGE"),
            "This campaign's journal has no change of option 150: it was changed beside it. If that was done with "
            f"`trustbridge option150 set`, it is taken back so; else by whoever changed it, to the servers of "
            f"{campaign.source}. First: phones that are reset while it names {campaign.destination} stay there.",
        )
    ]


def _phones(campaign: CampaignRecord, waves: Sequence[WaveRecord], there: Sequence[ReportPhone]) -> list[Undo]:
    back = f"trustbridge migrate rollback {shlex.quote(campaign.name)}"
    many = "1 phone" if len(there) == 1 else f"{len(there)} phones"
    made = [
        Undo(
            f"the whole campaign: {many}",
            (f"{back} --option150-done",),
            f"Resets them at {campaign.destination}, at any hour. It asks first; `--option150-done` says that option "
            f"150 of these phones names {campaign.source} again.",
        )
    ]
    waves_there = {phone.record.wave_id for phone in there}
    for wave in [wave for wave in waves if wave.id in waves_there][:_WAVES]:
        count = sum(phone.record.wave_id == wave.id for phone in there) if len(waves_there) <= 20 else 0
        words = wave.name + (f": {count} of its {wave.size} phones" if count else "")
        made.append(Undo(words, (f"{back} --wave {shlex.quote(wave.name)} --option150-done",)))
    first = next((phone for phone in there if phone.group is Group.MOVED), there[0]).record
    made.append(
        Undo(
            "one phone, or several: with --phone again",
            (f"{back} --phone {shlex.quote(first.name)} --option150-done",),
            "Option 150 is a whole scope's: its other phones go where it names at their next restart.",
        )
    )
    return made
