"""A report as CSV, a line a phone, and as JSON with everything in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from trustbridge import __version__
from trustbridge.migration import spreadsheet
from trustbridge.migration.reportvalues import Cause, Pace, Paces, Report, ReportPhone
from trustbridge.storage.campaignrecords import JournalRecord

_COLUMNS: Final = (
    "phone",
    "wave",
    "model",
    "device pool",
    "direction",
    "state",
    "reset requested",
    "gone",
    "registered",
    "ended",
    "seconds to registration",
    "seconds to end",
    "resets",
    "reason",
    "evidence",
    "predicted",
    "predicted why",
    "differs from prediction",
)


def as_csv(report: Report) -> str:
    """A line a phone, with a heading; times are UTC."""
    return spreadsheet.as_csv(_COLUMNS, map(_cells, report.phones))


def _cells(phone: ReportPhone) -> Sequence[str]:
    record, trip = phone.record, phone.trip
    return (
        record.name,
        record.wave,
        record.model,
        record.device_pool,
        str(record.direction),
        phone.words,
        *(_moment(at) for at in (trip.requested, trip.gone, trip.registered, trip.ended)),
        *("" if seconds is None else f"{seconds:.1f}" for seconds in (trip.to_register, trip.to_end)),
        str(record.resets),
        record.reason,
        "; ".join(record.evidence),
        record.predicted,
        record.predicted_why,
        phone.surprise,
    )


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def as_json(report: Report, journal: Iterable[JournalRecord]) -> Iterator[str]:
    """All of it as one JSON object, in pieces: phones and journal a line each, as there may be a great many.

    Args:
        journal: all of it, with evidence.
    """
    yield json.dumps(_head(report), indent=2, ensure_ascii=False, default=_plain).rstrip().removesuffix("}").rstrip()
    yield from _array("phones", map(_phone, report.phones))
    yield from _array("journal", ({key: getattr(entry, key) for key in _ENTRY} for entry in journal))
    yield "\n}\n"


_ENTRY: Final = tuple(key for key in JournalRecord.__slots__ if key != "id")


def _array(name: str, items: Iterable[dict[str, Any]]) -> Iterator[str]:
    dump = json.JSONEncoder(ensure_ascii=False, default=_plain).encode
    yield f',\n  "{name}": ['
    before = "\n    "
    for item in items:
        yield before + dump(item)
        before = ",\n    "
    yield "\n  ]"


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _head(report: Report) -> dict[str, Any]:
    return {
        "trustbridge": __version__,
        "at": report.at,
        "sentence": report.sentence,
        "good": report.good,
        "campaign": _without_ids(report.campaign),
        "clusters": [asdict(cluster) for cluster in report.clusters],
        "begun": report.begun,
        "ended": report.ended,
        "counts": {str(group): count for group, count in report.groups.items()},
        "states": dict(report.states),
        "durations": {str(paces.direction): _paces(paces) for paces in report.paces},
        "waves": [
            {
                **_without_ids(wave.record),
                "groups": {str(group): count for group, count in wave.groups.items()},
                "halted": [{"at": entry.at, "reason": entry.reason} for entry in wave.halts],
            }
            for wave in report.waves
        ],
        "failures": [_cause(cause) for cause in report.failures],
        "skipped": [_cause(cause) for cause in report.skips],
        "predictions": {
            str(forecast): {str(outcome): count for outcome, count in outcomes.items()}
            for forecast, outcomes in report.forecasts.items()
        },
        "surprises": [{"phone": phone.record.name, "why": phone.surprise} for phone in report.surprises],
        "changes": {
            "option150": [_without_ids(entry) for entry in report.option150],
            "option150_as_people_said": [_without_ids(entry) for entry in report.said],
            "scopes": [_without_ids(scope) for scope in report.scopes],
            "resets": [asdict(resets) for resets in report.resets],
            "devices": [{"at": entry.at, "phone": entry.phone, "reason": entry.reason} for entry in report.devices],
        },
        "undo": [asdict(one) for one in report.undo],
        "findings": list(report.findings),
        "workers": [{"by": by, "entries": count} for by, count in report.workers],
        "curve": [{"at": point.at, "counts": list(point.counts)} for point in report.curve],
    }


def _without_ids(record: Any) -> dict[str, Any]:
    return {key: value for key, value in asdict(record).items() if key != "id" and not key.endswith("_id")}


def _paces(paces: Paces) -> dict[str, Any]:
    return {
        "to_registration": _pace(paces.register),
        "to_end": _pace(paces.whole),
        "by_model": {model: _pace(pace) for model, pace in paces.by_model},
        "by_wave": {wave: _pace(pace) for wave, pace in paces.by_wave},
    }


def _pace(pace: Pace | None) -> dict[str, Any] | None:
    return None if pace is None else asdict(pace)


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "reason": cause.reason,
        "advice": cause.advice,
        "findings": list(cause.findings),
        "count": len(cause.phones),
        "phones": [phone.record.name for phone in cause.phones],
    }


def _phone(phone: ReportPhone) -> dict[str, Any]:
    record, trip = phone.record, phone.trip
    return {
        "name": record.name,
        "wave": record.wave,
        "model": record.model,
        "device_pool": record.device_pool,
        "tvs": record.tvs,
        "direction": str(record.direction),
        "state": record.state,
        "words": phone.words,
        "group": str(phone.group),
        "since": record.since,
        "resets": record.resets,
        "requested": trip.requested,
        "gone": trip.gone,
        "registered": trip.registered,
        "ended": trip.ended,
        "seconds_to_registration": trip.to_register,
        "seconds_to_end": trip.to_end,
        "reason": record.reason,
        "evidence": list(record.evidence),
        "predicted": record.predicted,
        "predicted_why": record.predicted_why,
        "outcome": str(phone.outcome),
        "surprise": phone.surprise,
    }
