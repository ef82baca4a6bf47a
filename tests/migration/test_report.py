"""What a report says of a campaign, held against a campaign that a real worker has worked through."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.migration.campaignworld import DESTINATION, SOURCE
from tests.migration.reportstage import MODELS, Stage, told, whole
from tests.storage.databases import NOW, engine, phone_names, planned, server, url

from trustbridge.migration.campaignphone import KINDS, PhoneState
from trustbridge.migration.predictvalues import Forecast
from trustbridge.migration.report import alike, report
from trustbridge.migration.reportcourse import TURNED, Courses
from trustbridge.migration.reportvalues import GROUPS, Group, Outcome, Pace, Report, ReportPhone
from trustbridge.migration.reportwords import span
from trustbridge.storage.campaignrecords import JournalRecord, ScopeRecord
from trustbridge.storage.campaigns import Campaigns
from trustbridge.storage.campaignsnapshot import snapshot
from trustbridge.storage.models import CampaignState, Direction, Kind, ScopeState

__all__ = ["engine", "server", "told", "url", "whole"]


def of(report: Report, name: str) -> ReportPhone:
    return next(phone for phone in report.phones if phone.record.name == name)


def test_phones_are_counted_as_they_ended(told: Report) -> None:
    assert told.groups == {
        Group.MOVED: 48,
        Group.UNPROVEN: 1,
        Group.ROLLED_BACK: 4,
        Group.FAILED: 5,
        Group.SKIPPED: 2,
    }
    assert sum(told.states.values()) == len(told.phones) == 60
    assert told.states["stranded at source"] == 3
    assert told.good is False
    assert told.sentence == (
        "48 of 60 phones moved from source to destination; 1 registered with lists that nobody saw; 4 rolled back; "
        "5 failed; 2 skipped. The campaign is finished."
    )


def test_moments_are_the_journals(whole: Stage, told: Report) -> None:
    assert told.campaign.created_at == NOW - timedelta(days=9)
    assert told.begun == NOW
    finished = [one for one in whole.campaigns.journal(whole.campaign.id) if one.after == CampaignState.FINISHED]
    assert told.ended == finished[0].at
    assert told.entries == len(whole.campaigns.journal(whole.campaign.id)) == sum(count for _, count in told.workers)
    assert [one.name for one in told.clusters] == [SOURCE]
    events = Counter(entry.event for entry in told.milestones)
    assert events == {"planned": 1, "campaign": 3, "option 150": 1, "stop rule": 1, "wave": 6, "rollback": 1}


def test_a_phones_way_has_the_times_of_its_journal(whole: Stage, told: Report) -> None:
    for phone in told.phones:
        if phone.group is not Group.MOVED:
            continue
        times = {one.after: one.at for one in whole.campaigns.journal(whole.campaign.id, phone=phone.record.name)}
        trip = phone.trip
        assert trip is phone.forth
        assert trip.requested == times["reset requested"]
        assert trip.registered == times["registered at target"]
        assert trip.ended == times["moved"]
        assert trip.to_register == (times["registered at target"] - times["reset requested"]).total_seconds() > 0


def test_a_phone_that_went_back_has_two_ways(told: Report) -> None:
    for name in phone_names(4):
        phone = of(told, name)
        assert (phone.forth.direction, phone.forth.end) == (Direction.FORTH, "moved")
        assert (phone.trip.direction, phone.trip.end) == (Direction.BACK, "rolled back")
        assert phone.forth.ended is not None
        assert phone.trip.requested is not None
        assert phone.forth.ended < phone.trip.requested


def test_how_long_phones_took_by_model_and_wave(told: Report) -> None:
    forth, back = told.paces
    assert (forth.direction, back.direction) == (Direction.FORTH, Direction.BACK)
    assert forth.register is not None
    assert back.register is not None
    assert (forth.register.count, back.register.count) == (53, 4)
    by_model = dict(forth.by_model)
    assert set(by_model) == set(MODELS)
    # As `Slow` has it: each model takes 20 seconds longer than the one before.
    assert by_model["CP-8841"].median < by_model["CP-7841"].median < by_model["CP-8865"].median
    assert {wave for wave, _ in forth.by_wave} == {"pilot", "wave-1", "wave-2"}
    assert {wave for wave, _ in back.by_wave} == {"pilot"}
    assert forth.register.longest == max(forth.seconds)
    assert of(told, forth.register.slowest).forth.to_register == forth.register.longest


def test_pace_is_that_of_the_definition() -> None:
    assert Pace.of([]) is None
    assert Pace.of([(5.0, "a")]) == Pace(1, 5.0, 5.0, 5.0, "a")
    assert Pace.of([(float(one), f"{one}") for one in range(1, 11)]) == Pace(10, 5.5, 9.0, 10.0, "10")


def test_what_failed_and_was_skipped_and_why(whole: Stage, told: Report) -> None:
    failed = {cause.reason: [phone.record.name for phone in cause.phones] for cause in told.failures}
    assert failed == {
        "it has restarted and is back at its origin": [whole.name(1), whole.name(2)],
        "rejected: the target does not take its registration (TB151)": [whole.name(3)],
        "reset refused; no such device": [whole.name(4)],
        "it was told to reset and has not restarted": [whole.name(5)],
    }
    assert len(told.failures[0].phones) == 2
    assert f"`trustbridge diagnose {whole.name(1)}`" in told.failures[0].advice
    assert all(cause.advice for cause in told.failures)
    assert told.findings == ("TB102", "TB151")
    assert [cause.phones[0].record.name for cause in told.skips] == [whole.name(8), whole.name(7)]


def test_reasons_of_many_phones_are_one() -> None:
    one = alike("back at its origin; its page says: 2:10:11a Trust List Update Failed for SEP001122334455")
    two = alike("back at its origin; its page says: 11:02:59p Trust List Update Failed for SEP00112233AABB")
    assert one == two == "back at its origin; its page says: Trust List Update Failed for SEP…"
    assert alike("TB151 at 10.1.0.1") == "TB151 at 10.1.0.1"


def test_what_ended_otherwise_than_predicted(whole: Stage, told: Report) -> None:
    assert {phone.record.name for phone in told.surprises} == {whole.name(number) for number in (1, 3, 5, 10)}
    # 2 was foretold to strand; 4 was never reset; 6 was unknown; 7 and 8 were not tried.
    assert told.forecasts == {
        Forecast.MOVES: {Outcome.ARRIVED: 51, Outcome.FAILED: 3, Outcome.UNTRIED: 2},
        Forecast.STRANDS: {Outcome.ARRIVED: 1, Outcome.FAILED: 1, Outcome.UNTRIED: 1},
        Forecast.UNKNOWN: {Outcome.ARRIVED: 1, Outcome.FAILED: 0, Outcome.UNTRIED: 0},
    }
    assert of(told, whole.name(10)).surprise.endswith("it is moved")


def test_a_prediction_of_the_way_back_is_not_held_against_the_way_forth(whole: Stage) -> None:
    """A rollback foretells anew: who came back though that said "strands" is a surprise, not who had moved."""
    with snapshot(whole.campaigns, "move") as seen:
        journal = list(seen.journal())
        back = next(place for place, entry in enumerate(journal) if entry.event == "rollback")
        entry = replace(journal[back], event="predicted", after="finished", reason="4 strands")
        phones = [
            replace(phone, predicted="strands", predicted_why="") if phone.wave == "pilot" else phone
            for phone in seen.phones
        ]
        with_it = [*journal[:back], entry, *journal[back:]]
        found = [
            {phone.record.name for phone in report(seen.campaign, seen.waves, phones, one, NOW).surprises}
            & set(phone_names(4))
            for one in (journal, with_it)
        ]
        said = of(report(seen.campaign, seen.waves, phones, with_it, NOW), phone_names(1)[0]).surprise
    assert found == [set(phone_names(4)), set(phone_names(4))]
    assert said == "predicted: strands; it is rolled back"


def test_waves_with_their_halts(told: Report) -> None:
    halts = {wave.record.name: [entry.reason for entry in wave.halts] for wave in told.waves}
    assert set(halts) == {"pilot", "wave-1", "wave-2"}
    (reason,) = halts["wave-1"]
    assert "more than 10%" in reason
    assert not halts["pilot"]
    assert not halts["wave-2"]
    assert told.waves[1].groups == {Group.MOVED: 22, Group.UNPROVEN: 1, Group.FAILED: 5, Group.SKIPPED: 2}


def test_the_curve_begins_with_all_and_ends_with_what_is(whole: Stage, told: Report) -> None:
    assert all(sum(point.counts) == 60 and min(point.counts) >= 0 for point in told.curve)
    first = dict(zip(Group, told.curve[0].counts, strict=True))
    # One was left out by the plan.
    assert (first[Group.HELD], first[Group.SKIPPED]) == (59, 1)
    assert dict(zip(Group, told.curve[-1].counts, strict=True)) == {group: told.groups.get(group, 0) for group in Group}
    assert [point.at for point in told.curve] == sorted(point.at for point in told.curve)
    # Somewhere in between, as many were under way as really were.
    under_way = [dict(zip(Group, point.counts, strict=True))[Group.UNDER_WAY] for point in told.curve]
    assert max(under_way) >= whole.world.most_under_way


def test_resets_are_counted_by_the_cluster_that_was_asked(whole: Stage, told: Report) -> None:
    source, destination = told.resets
    made = sum(len(phone.resets) for phone in whole.world.phones.values())
    assert (source.cluster, source.requested, source.sent, source.refused) == (SOURCE, 58, 57, 1)
    assert (destination.cluster, destination.requested, destination.sent) == (DESTINATION, 4, 4)
    assert source.sent + destination.sent == made


def test_what_was_changed_where(told: Report) -> None:
    (entry,) = told.option150
    assert (entry.wave, entry.after) == ("wave-1", "applied")
    assert entry.evidence == ('-  "data": "10.1.0.1, 10.1.0.2"', '+  "data": "10.2.0.1"')
    assert [one.reason[:25] for one in told.said] == ["option 150 names destinat", "wave pilot to go back; op"]
    assert len(told.devices) == 1


def test_how_it_is_undone(whole: Stage, told: Report) -> None:
    commands = [command for one in told.undo for command in one.commands]
    assert commands == [
        "trustbridge option150 changes",
        "trustbridge option150 revert CHANGE",
        "trustbridge migrate rollback move --option150-done",
        "trustbridge migrate rollback move --wave wave-1 --option150-done",
        "trustbridge migrate rollback move --wave wave-2 --option150-done",
        f"trustbridge migrate rollback move --phone {whole.name(9)} --option150-done",
        "trustbridge devices undo source destination",
    ]
    # Not the pilot, which is back, nor 7 and 8, which were skipped. What failed after a reset turns as well.
    assert "the whole campaign: 54 phones" in [one.what for one in told.undo]


def test_what_is_to_go_back_already_is_not_undone_again(whole: Stage) -> None:
    with snapshot(whole.campaigns, "move") as seen:
        phones = [replace(phone, wanted=Direction.BACK) if phone.wave == "wave-2" else phone for phone in seen.phones]
        found = report(seen.campaign, seen.waves, phones, seen.journal(), NOW)
    what = [one.what for one in found.undo]
    assert "the whole campaign: 28 phones" in what
    assert "wave-1: 28 of its 30 phones" in what
    assert not [one for one in what if one.startswith("wave-2")]


def test_a_campaign_that_changed_option_150_itself_changes_it_back(whole: Stage) -> None:
    scope = ScopeRecord(
        1, whole.campaign.id, (), "kea", "unix:/run/kea", "", "subnet 1", ("10.2.0.1",), ScopeState.APPLIED,
        ScopeState.APPLIED, {},
    )  # fmt: skip
    journal = [
        _entry(number, "option 150", after=after, reason=f"{scope.words}: {words}")
        for number, (after, words) in enumerate(
            (("wanted", "w"), ("begun", "b"), ("applied", "a"), ("wanted back", "x"), ("begun", "interrupted"))
        )
    ]
    with snapshot(whole.campaigns, "move") as seen:
        found = report(seen.campaign, seen.waves, seen.phones, [*seen.journal(), *journal], NOW, scopes=[scope])
    commands = [command for one in found.undo for command in one.commands]
    assert "trustbridge migrate rollback move" in commands
    assert not [command for command in commands if "option150" in command]
    assert [entry.after for entry in found.option150] == ["applied", "applied", "begun"]


def _entry(number: int, event: str, **more: object) -> JournalRecord:
    values: dict[str, object] = {"wave": None, "phone": None, "step": None, "before": "", "after": "", "reason": ""}
    return JournalRecord(number, NOW, "by", event, **{**values, "evidence": (), **more})  # type: ignore[arg-type]


def test_every_state_counts_somewhere() -> None:
    assert set(GROUPS) == set(PhoneState)
    kinds = {Kind.HELD: {Group.HELD}, Kind.UNDER_WAY: {Group.UNDER_WAY}, Kind.FAILED: {Group.FAILED}}
    for state, group in GROUPS.items():
        assert group in kinds.get(KINDS[PhoneState(state)], set(Group))


def test_nothing_has_happened(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    found = stage.report()
    assert found.groups == {Group.SKIPPED: 1, Group.HELD: 59}
    assert (found.begun, found.ended, found.good) == (None, None, None)
    assert (found.paces, found.undo, found.resets, found.failures, found.surprises) == ((), (), (), (), ())
    assert len(found.curve) == 1
    stage.engine.dispose()


def test_while_it_is_halted(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.begin()
    stage.work()
    found = stage.report()
    assert (found.ended, found.good) == (None, False)
    assert found.groups[Group.HELD] > 0
    assert "The campaign is halted: wave-1:" in found.sentence
    stage.engine.dispose()


def test_entries_that_are_missing_or_double_do_no_harm(whole: Stage) -> None:
    with snapshot(whole.campaigns, "move") as seen:
        journal = list(seen.journal())
        kept = [entry for place, entry in enumerate(journal) if place % 3]
        twice = [entry for entry in journal for _ in range(2)]
        for one in (kept, twice, []):
            found = report(seen.campaign, seen.waves, seen.phones, one, NOW)
            assert all(sum(point.counts) == 60 and min(point.counts) >= 0 for point in found.curve)
            assert found.groups[Group.MOVED] == 48


def test_who_was_never_reset_is_held_against_nothing(whole: Stage) -> None:
    """Its reset was not sent after all, and then a rule skipped it."""
    path = ["planned", "waiting", "ready", "reset requested", "ready", "waiting", "skipped"]
    name = whole.name(9)
    with snapshot(whole.campaigns, "move") as seen:
        journal = [entry for entry in seen.journal() if entry.phone != name]
        journal += [
            _entry(number, "state", phone=name, before=before, after=after)
            for number, (before, after) in enumerate(pairwise(path))
        ]
        phone = of(report(seen.campaign, seen.waves, seen.phones, journal, NOW), name)
    assert (phone.outcome, phone.surprise, phone.trip.requested) == (Outcome.UNTRIED, "", None)


def test_who_is_to_be_tried_again_is_not_at_its_end(whole: Stage) -> None:
    with snapshot(whole.campaigns, "move") as seen:
        phones = [replace(phone, again=phone.name == whole.name(1)) for phone in seen.phones]
        found = report(seen.campaign, seen.waves, phones, seen.journal(), NOW)
    assert whole.name(1) not in {phone.record.name for phone in found.surprises}
    assert of(found, whole.name(1)).outcome is Outcome.UNTRIED


def test_a_reset_that_was_not_sent_begins_no_way() -> None:
    courses = Courses()
    path = ["planned", "waiting", "ready", "reset requested", "ready", "reset requested", "failed", "planned", "moved"]
    at = datetime(2026, 3, 1, tzinfo=UTC)
    for number, (before, after) in enumerate(pairwise(path)):
        reason = TURNED if after == PhoneState.PLANNED else "reset in doubt: nobody can tell"
        one = _entry(number, "state", phone="SEP1", before=before, after=after, reason=reason)
        courses.read([replace(one, at=at + timedelta(seconds=number))])
    course = courses.phones["SEP1"]
    assert course.forth.requested == at + timedelta(seconds=4)
    assert (course.forth.end, course.forth.untold) == ("failed", True)
    assert course.trip.direction is Direction.BACK
    assert courses.resets == {
        (Direction.FORTH, "requested"): 2,
        (Direction.FORTH, "unsent"): 1,
        (Direction.FORTH, "doubtful"): 1,
    }


def test_a_snapshot_is_what_the_other_methods_say(engine: Engine) -> None:
    campaigns = Campaigns(engine, "one")
    campaign = planned(campaigns, "move", 2, 3)
    campaigns.begin("move", option150="destination", now=NOW)
    with campaigns.writing() as session:
        campaigns.note(session, campaign.id, NOW, "state", phone="SEP1", evidence=["seen"])
        campaigns.note(session, campaign.id, NOW, "option 150", evidence=["-a", "+b"])
    with snapshot(campaigns, "move") as seen:
        # Others write meanwhile: not seen, and not kept from it.
        campaigns.pause("move", reason="now", now=NOW)
        assert seen.campaign.state is CampaignState.RUNNING
        assert list(seen.waves) == campaigns.waves(campaign.id)
        assert [phone.name for phone in seen.phones] == [phone.name for phone in campaigns.phones(campaign.id)]
        assert list(seen.phones) == campaigns.phones(campaign.id)
        whole = campaigns.journal(campaign.id)[:-1]
        assert list(seen.journal()) == whole
        assert list(seen.journal(evidence=False)) == [
            replace(entry, evidence=() if entry.event == "state" else entry.evidence) for entry in whole
        ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0 s"),
        (0.84, "0.8 s"),
        (9.0, "9 s"),
        (59.6, "1 min"),
        (65, "1 min 5 s"),
        (7380, "2 h 3 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_spans_in_words(seconds: float, words: str) -> None:
    assert span(seconds) == words
