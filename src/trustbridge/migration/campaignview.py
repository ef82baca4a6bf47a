"""A campaign as JSON, and phones' states in words: what the command line and the console show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from trustbridge.migration.campaignphone import PhoneState
from trustbridge.storage.campaignrecords import CampaignRecord, JournalRecord, PhoneRecord, WaveRecord
from trustbridge.storage.models import Direction


def state_of(phone: PhoneRecord) -> str:
    """Its state, with clusters in place of origin and target."""
    back = phone.direction is Direction.BACK
    match phone.state:
        case PhoneState.GONE:
            return f"gone from {'destination' if back else 'source'}"
        case PhoneState.REGISTERED:
            return f"registered at {'source' if back else 'destination'}"
        case PhoneState.STRANDED:
            return f"stranded at {'destination' if back else 'source'}"
    return phone.state


def campaign_json(
    campaign: CampaignRecord,
    waves: Sequence[WaveRecord],
    phones: Sequence[PhoneRecord] = (),
    journal: Sequence[JournalRecord] = (),
) -> dict[str, Any]:
    """A campaign; phones and journal where they are given."""
    found = {key: value for key, value in asdict(campaign).items() if key != "id"}
    found["waves"] = [
        {
            "name": wave.name,
            "pilot": wave.pilot,
            "windows": wave.windows,
            "scopes": wave.scopes,
            "begun": wave.opened_at,
            "ended": wave.closed_at,
            "phones": wave.size,
            "states": dict(wave.states),
        }
        for wave in waves
    ]
    found["phones"] = [
        {
            "name": phone.name,
            "wave": phone.wave,
            "model": phone.model,
            "device_pool": phone.device_pool,
            "state": phone.state,
            "direction": phone.direction,
            "since": phone.since,
            "resets": phone.resets,
            "reason": phone.reason,
            "evidence": phone.evidence,
            "predicted": phone.predicted,
            "predicted_why": phone.predicted_why,
        }
        for phone in phones
    ]
    found["journal"] = [{key: value for key, value in asdict(entry).items() if key != "id"} for entry in journal]
    return found
