"""What a campaign came to, told from its records: what moved, when, how long it took, what failed and why, what was
changed where, and how it is undone. Pure, and from the database's records alone: clusters may be away, and the campaign
may be under way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from trustbridge.migration.campaignphone import PhoneState
from trustbridge.migration.findings import KINDS
from trustbridge.migration.predictvalues import Forecast
from trustbridge.migration.reportcourse import Course, Courses
from trustbridge.migration.reportundo import undo
from trustbridge.migration.reportvalues import (
    GROUPS,
    Cause,
    Group,
    Outcome,
    Pace,
    Paces,
    Report,
    ReportPhone,
    ReportWave,
    Resets,
    Trip,
    state_in_words,
)
from trustbridge.migration.reportwords import advice
from trustbridge.storage.campaignrecords import (
    CampaignRecord,
    ClusterRecord,
    JournalRecord,
    PhoneRecord,
    ScopeRecord,
    WaveRecord,
)
from trustbridge.storage.models import CampaignState, Direction

_FINDING: Final = re.compile(r"\bTB\d{3}\b")
#: What is one phone's own in a reason: its name, and times of its status messages.
_OWN: Final = (
    (re.compile(r"\b(SEP|ATA|CIPC|CSF|TCT|BOT|TAB)[0-9A-Fa-f]{12}\b"), r"\1…"),
    (re.compile(r"\b\d{1,2}:\d{2}(:\d{2})?\s?([ap]m?\b)?\s*", re.IGNORECASE), ""),
)
#: Ends that a prediction may be held against.
_ARRIVED: Final = frozenset({PhoneState.MOVED, PhoneState.ROLLED_BACK, PhoneState.UNPROVEN})


def report(
    campaign: CampaignRecord,
    waves: Sequence[WaveRecord],
    phones: Sequence[PhoneRecord],
    journal: Iterable[JournalRecord],
    now: datetime,
    *,
    clusters: Sequence[ClusterRecord] = (),
    scopes: Sequence[ScopeRecord] = (),
) -> Report:
    """A report.

    Args:
        journal: all of it, oldest first; it is read once, and may come as it is read from the database. What it says of
            phones' states without their evidence is enough.
        now: when the records were read.
        clusters: as they were seen last; others than the campaign's are left out.
    """
    courses = Courses()
    courses.read(journal)
    milestones = courses.milestones
    predicted = max((entry.at for entry in milestones if entry.event == "predicted"), default=None)
    made = [_phone(record, courses.phones.get(record.name) or Course(), campaign, predicted) for record in phones]
    groups = Counter(phone.group for phone in made)
    failures = _causes(campaign, [phone for phone in made if phone.group is Group.FAILED])
    skips = _causes(campaign, [phone for phone in made if phone.group is Group.SKIPPED])
    option150 = _changes(milestones, scopes)
    devices = tuple(courses.devices)
    surprises = tuple(phone for phone in made if phone.surprise)
    return Report(
        at=now,
        campaign=campaign,
        clusters=tuple(one for one in clusters if one.name in (campaign.source, campaign.destination)),
        scopes=tuple(scopes),
        waves=_waves(waves, made, milestones),
        phones=tuple(made),
        begun=next((entry.at for entry in milestones if _turns_to(entry, CampaignState.RUNNING)), None),
        ended=_ended(campaign, milestones),
        groups={group: groups[group] for group in Group if groups[group]},
        states=dict(Counter(phone.words for phone in made).most_common()),
        curve=courses.curve(phones, campaign.created_at),
        paces=tuple(pace for way in Direction if (pace := _paces(way, made)).seconds),
        failures=failures,
        skips=skips,
        forecasts=_forecasts(made),
        surprises=surprises,
        option150=option150,
        said=tuple(entry for entry in milestones if "option 150 names" in entry.reason),
        devices=devices,
        resets=_resets(courses, campaign),
        milestones=tuple(milestones),
        workers=tuple(courses.workers.most_common()),
        entries=courses.entries,
        findings=_ids([*failures, *skips], surprises),
        undo=undo(campaign, waves, made, scopes, option150, devices),
        look=_look(campaign),
    )


def _turns_to(entry: JournalRecord, state: CampaignState) -> bool:
    return entry.event in ("campaign", "rollback", "stop rule") and entry.after == state != entry.before


def _ended(campaign: CampaignRecord, milestones: Sequence[JournalRecord]) -> datetime | None:
    if campaign.state is not CampaignState.FINISHED:
        return None
    ends = [entry.at for entry in milestones if _turns_to(entry, CampaignState.FINISHED)]
    return ends[-1] if ends else campaign.changed_at


def _look(campaign: CampaignRecord) -> float | None:
    found = campaign.settings.get("terms", {}).get("look")
    return float(found) if isinstance(found, int | float) else None


def _changes(milestones: Iterable[JournalRecord], scopes: Iterable[ScopeRecord]) -> tuple[JournalRecord, ...]:
    """What was done about option 150. That one began is said where nobody knows how it ended."""
    entries = [entry for entry in milestones if entry.event == "option 150"]
    last = {id(found[-1]) for scope in scopes if (found := [one for one in entries if scope.words in one.reason])}
    kept = ("applied", "reverted", "refused")
    return tuple(entry for entry in entries if entry.after in kept or (entry.after == "begun" and id(entry) in last))


# Phones.


def _phone(record: PhoneRecord, course: Course, campaign: CampaignRecord, predicted: datetime | None) -> ReportPhone:
    group = GROUPS.get(record.state, Group.HELD)
    judged = _judged(course, predicted)
    outcome = Outcome.UNTRIED if record.again else _outcome(judged)
    words = state_in_words(record.state, record.direction, campaign.source, campaign.destination)
    return ReportPhone(record, course.trip, course.forth, group, words, outcome, _surprise(record, judged, outcome))


def _judged(course: Course, predicted: datetime | None) -> Trip:
    """The way that its prediction is about. One that was made after it had gone forth is about the way back.

    Args:
        predicted: when something was predicted last, after the plan.
    """
    forth, last = course.forth, course.trip
    if last is forth or predicted is None or forth.ended is None or predicted < forth.ended:
        return forth
    return last


def _outcome(trip: Trip) -> Outcome:
    if trip.requested is None or trip.untold or not trip.end:
        return Outcome.UNTRIED
    return Outcome.ARRIVED if trip.end in _ARRIVED else Outcome.FAILED


def _surprise(record: PhoneRecord, trip: Trip, outcome: Outcome) -> str:
    if outcome is Outcome.FAILED and record.predicted in (Forecast.MOVES, Forecast.FIRST_TRUST):
        return f"predicted: {record.predicted}; it did not: {trip.end}: {trip.why}"
    if outcome is Outcome.ARRIVED and record.predicted == Forecast.STRANDS:
        why = f" ({record.predicted_why})" if record.predicted_why else ""
        return f"predicted: strands{why}; it is {trip.end}"
    return ""


def _forecasts(phones: Iterable[ReportPhone]) -> dict[Forecast, dict[Outcome, int]]:
    counted: Counter[tuple[str, Outcome]] = Counter((phone.record.predicted, phone.outcome) for phone in phones)
    return {
        forecast: {outcome: counted[forecast, outcome] for outcome in Outcome}
        for forecast in Forecast
        if any(counted[forecast, outcome] for outcome in Outcome)
    }


def _paces(way: Direction, phones: Iterable[ReportPhone]) -> Paces:
    took: list[tuple[float, str]] = []
    whole: list[tuple[float, str]] = []
    by_model: dict[str, list[tuple[float, str]]] = {}
    by_wave: dict[str, list[tuple[float, str]]] = {}
    for phone in phones:
        trip = phone.forth if way is Direction.FORTH else phone.trip
        if trip.direction is not way:
            continue
        if (seconds := trip.to_register) is not None:
            one = (seconds, phone.record.name)
            took.append(one)
            by_model.setdefault(phone.record.model, []).append(one)
            by_wave.setdefault(phone.record.wave, []).append(one)
        if trip.end in _ARRIVED and (seconds := trip.to_end) is not None:
            whole.append((seconds, phone.record.name))
    return Paces(
        way,
        Pace.of(took),
        Pace.of(whole),
        tuple((model, pace) for model, found in sorted(by_model.items()) if (pace := Pace.of(found))),
        tuple((wave, pace) for wave, found in by_wave.items() if (pace := Pace.of(found))),
        tuple(sorted(seconds for seconds, _ in took)),
    )


# What failed and why.


def _causes(campaign: CampaignRecord, phones: Iterable[ReportPhone]) -> tuple[Cause, ...]:
    found: dict[str, list[ReportPhone]] = {}
    for phone in phones:
        found.setdefault(alike(phone.record.reason) or phone.words, []).append(phone)
    causes = []
    for reason, members in found.items():
        members.sort(key=lambda phone: phone.record.name)
        words = advice(reason, phone=members[0].record.name, campaign=campaign.name)
        causes.append(Cause(reason, words, _named(members), tuple(members)))
    return tuple(sorted(causes, key=lambda cause: (-len(cause.phones), cause.reason)))


def alike(reason: str) -> str:
    """A reason without what is one phone's own, so that those of many phones are one."""
    for pattern, instead in _OWN:
        reason = pattern.sub(instead, reason)
    return reason


def _named(phones: Iterable[ReportPhone]) -> tuple[str, ...]:
    texts = {text for phone in phones for text in (phone.record.reason, *phone.record.evidence)}
    return tuple(sorted({one for text in texts for one in _FINDING.findall(text)}))


def _ids(causes: Iterable[Cause], surprises: Iterable[ReportPhone]) -> tuple[str, ...]:
    found = {one for cause in causes for one in cause.findings}
    found.update(one for phone in surprises for one in _FINDING.findall(phone.surprise))
    return tuple(sorted(found & set(KINDS)))


# Waves and clusters.


def _waves(
    waves: Sequence[WaveRecord], phones: Iterable[ReportPhone], milestones: Sequence[JournalRecord]
) -> tuple[ReportWave, ...]:
    counts: dict[int, Counter[Group]] = {}
    for phone in phones:
        counts.setdefault(phone.record.wave_id, Counter())[phone.group] += 1
    halts: dict[str, list[JournalRecord]] = {}
    for entry in milestones:
        if entry.event == "stop rule" and (name := entry.wave or _wave_in(entry.reason, waves)):
            halts.setdefault(name, []).append(entry)
    return tuple(
        ReportWave(
            wave,
            {group: count for group in Group if (count := counts.get(wave.id, Counter())[group])},
            tuple(halts.get(wave.name, ())),
        )
        for wave in waves
    )


def _wave_in(reason: str, waves: Iterable[WaveRecord]) -> str:
    """The wave that a halt's reason begins with, as `campaignplan.Limits.stop` words it."""
    return max((wave.name for wave in waves if reason.startswith(f"{wave.name}: ")), key=len, default="")


def _resets(courses: Courses, campaign: CampaignRecord) -> tuple[Resets, ...]:
    counts = courses.resets
    return tuple(
        Resets(
            cluster,
            *(counts[way, what] for what in ("requested", "sent", "unsent", "refused", "doubtful")),
        )
        for way, cluster in ((Direction.FORTH, campaign.source), (Direction.BACK, campaign.destination))
        if counts[way, "requested"]
    )
