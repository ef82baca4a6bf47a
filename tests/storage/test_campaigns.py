"""The repository on both databases: one worker a phone, one change a step, one campaign a phone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Engine, event
from tests.storage.databases import NOW, phone_names, planned

from trustbridge.errors import NotNow, SettingsError
from trustbridge.storage.campaignrecords import Change, Load, NewPhone, NewWave, PhoneRecord
from trustbridge.storage.campaignwork import CampaignWork, after
from trustbridge.storage.models import CampaignState, Direction, Kind

MINUTE = timedelta(minutes=1)


def begun(engine: Engine, *sizes: int) -> tuple[CampaignWork, int]:
    """A campaign whose first wave has begun."""
    work = CampaignWork(engine, "one")
    campaign = planned(work, "move", *sizes)
    work.begin("move", option150="destination", now=NOW)
    assert work.open_wave(campaign.id, work.waves(campaign.id)[0].id, NOW)
    return work, campaign.id


def moved(phone: PhoneRecord, state: str = "waiting", kind: Kind = Kind.HELD, **more: object) -> Change:
    return Change(phone, state, kind, Direction.FORTH, NOW, reason="because", **more)  # type: ignore[arg-type]


def test_a_phone_is_one_workers_at_a_time(engine: Engine) -> None:
    _, number = begun(engine, 40)
    taken: list[str] = []
    ready = threading.Barrier(4)

    def take(worker: CampaignWork) -> None:
        ready.wait()
        for _ in range(8):
            found = worker.lease(number, NOW, until=NOW + MINUTE, limit=3)
            taken.extend(phone.name for phone in found)

    threads = [threading.Thread(target=take, args=(CampaignWork(engine, f"w{place}"),)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(taken) == Counter(phone_names(40))


def test_a_lease_that_has_ended_is_anothers_and_its_change_is_nothing(engine: Engine) -> None:
    one, number = begun(engine, 1)
    two = CampaignWork(engine, "two")
    (before,) = one.lease(number, NOW, until=NOW + MINUTE, limit=9)
    assert two.lease(number, NOW, until=NOW + MINUTE, limit=9) == []
    assert one.advance(number, [moved(before)], NOW + MINUTE, stop=lambda wave: None) == []
    (again,) = two.lease(number, NOW + MINUTE, until=NOW + 2 * MINUTE, limit=9)
    assert one.advance(number, [moved(before)], NOW, stop=lambda wave: None) == []
    (after,) = two.advance(number, [moved(again)], NOW + MINUTE, stop=lambda wave: None)
    assert (after.state, after.step, after.lease_owner) == ("waiting", 1, None)
    assert [entry.by for entry in one.journal(number, phone=after.name)] == ["two"]


def statements(engine: Engine, work: Callable[[], object]) -> int:
    """How many statements something costs the database."""
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    event.listen(engine, "before_cursor_execute", counted)
    work()
    event.remove(engine, "before_cursor_execute", counted)
    return count


def test_a_thousand_phones_cost_as_many_statements_as_ten(engine: Engine) -> None:
    def cost(size: int) -> list[int]:
        work = CampaignWork(engine, "one")
        campaign = planned(work, f"of {size}", size, first=1000 * size)
        work.begin(f"of {size}", option150="destination", now=NOW)
        work.open_wave(campaign.id, work.waves(campaign.id)[0].id, NOW)
        found: list[PhoneRecord] = []
        costs = [statements(engine, lambda: found.extend(work.lease(campaign.id, NOW, until=NOW + MINUTE, limit=size)))]
        changes = []
        for phone in found:
            first = moved(phone)
            changes += [first, moved(after(first, NOW), "ready")]
        done: list[PhoneRecord] = []
        write = partial(work.advance, campaign.id, changes, NOW, stop=lambda wave: None, keep=True)
        costs.append(statements(engine, lambda: done.extend(write())))
        assert {(phone.state, phone.step) for phone in done} == {("ready", 2)}
        resets = [moved(phone, "reset requested", Kind.UNDER_WAY, reset=True) for phone in done]
        request = partial(work.request_resets, campaign.id, resets, NOW, allowed=lambda load, asked: asked)
        costs.append(statements(engine, request))
        return costs

    few = cost(10)
    assert cost(1000) == few
    assert max(few) <= 12


def test_changes_that_follow_one_another_are_written_as_one_and_each_is_in_the_journal(engine: Engine) -> None:
    work, number = begun(engine, 1)
    (before,) = work.lease(number, NOW, until=NOW + MINUTE, limit=9)
    first = moved(before)
    second = moved(after(first, NOW), "ready", evidence=("seen",))
    (now,) = work.advance(number, [first, second], NOW, stop=lambda wave: None)
    (kept,) = work.phones(number)
    assert now == kept
    assert (kept.state, kept.step, kept.evidence, kept.lease_owner) == ("ready", 2, ("seen",), None)
    entries = work.journal(number, phone=before.name)
    assert [(entry.step, entry.before, entry.after) for entry in entries] == [
        (1, "planned", "waiting"),
        (2, "waiting", "ready"),
    ]
    # Decided on what is not so any more: none of them.
    assert work.advance(number, [first, second], NOW, stop=lambda wave: None) == []
    assert len(work.journal(number, phone=before.name)) == 2


def test_phones_under_way_and_others_are_taken_apart(engine: Engine) -> None:
    work, number = begun(engine, 6)
    found = work.lease(number, NOW, until=NOW + MINUTE, limit=9)
    going = [moved(phone, "gone", Kind.UNDER_WAY) for phone in found[:4]]
    work.advance(number, [*going, *(moved(phone) for phone in found[4:])], NOW, stop=lambda wave: None)
    taken = work.lease(number, NOW, until=NOW + MINUTE, limit=3, others=1)
    assert Counter(phone.kind for phone in taken) == {Kind.UNDER_WAY: 3, Kind.HELD: 1}
    taken = work.lease(number, NOW, until=NOW + MINUTE, limit=3, others=0)
    assert Counter(phone.kind for phone in taken) == {Kind.UNDER_WAY: 1}


def test_a_step_is_done_once(engine: Engine) -> None:
    work, number = begun(engine, 1)
    (before,) = work.lease(number, NOW, until=NOW + MINUTE, limit=9)
    assert work.advance(number, [moved(before)], NOW, stop=lambda wave: None, keep=True)
    assert work.advance(number, [moved(before, "another")], NOW, stop=lambda wave: None) == []
    assert [entry.after for entry in work.journal(number, phone=before.name)] == ["waiting"]


def test_state_and_journal_are_written_together_or_not_at_all(engine: Engine) -> None:
    work, number = begun(engine, 1)
    (before,) = work.lease(number, NOW, until=NOW + MINUTE, limit=9)

    def cut_off(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO journal"):
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", cut_off)
    with pytest.raises(KeyboardInterrupt):
        work.advance(number, [moved(before)], NOW, stop=lambda wave: None)
    event.remove(engine, "before_cursor_execute", cut_off)
    (phone,) = work.phones(number)
    assert (phone.state, phone.step) == ("planned", 0)
    assert work.journal(number, phone=phone.name) == []


def test_no_more_resets_than_are_allowed_whoever_asks(engine: Engine) -> None:
    work, number = begun(engine, 12)
    workers = [CampaignWork(engine, f"w{place}") for place in range(4)]
    taken = [worker.lease(number, NOW, until=NOW + MINUTE, limit=3) for worker in workers]
    granted: list[PhoneRecord] = []
    ready = threading.Barrier(4)

    def ask(worker: CampaignWork, phones: list[PhoneRecord]) -> None:
        changes = [moved(phone, "reset requested", Kind.UNDER_WAY, reset=True) for phone in phones]
        ready.wait()
        granted.extend(
            worker.request_resets(number, changes, NOW, allowed=lambda load, asked: asked[: 5 - load.recent])
        )

    threads = [threading.Thread(target=ask, args=pair) for pair in zip(workers, taken, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 5
    assert Counter(phone.state for phone in work.phones(number)) == {"reset requested": 5, "planned": 7}
    assert all(phone.resets == 1 and phone.lease_owner for phone in granted)


def test_phones_that_ask_a_tvs_are_counted_by_it_until_they_have_arrived(engine: Engine) -> None:
    work = CampaignWork(engine, "worker")
    nodes = ("pub", "sub", "sub", "sub", "sub", "")
    members = tuple(
        NewPhone(name, "CP-8841", "Default", tvs=node) for name, node in zip(phone_names(6), nodes, strict=True)
    )
    number = work.create(
        "move", "source", "destination", {}, [NewWave("w", True, (), members)], state="planned", now=NOW
    ).id
    work.begin("move", option150="destination", now=NOW)
    assert work.open_wave(number, work.waves(number)[0].id, NOW)
    phones = work.lease(number, NOW, until=NOW + MINUTE, limit=9)
    assert [phone.tvs for phone in phones] == list(nodes)
    assert work.load(number, NOW) == Load(CampaignState.RUNNING, 0, 0, {})
    changes = [moved(phone, "reset requested", Kind.UNDER_WAY, reset=True) for phone in phones[:4] + phones[5:]]
    back = replace(moved(phones[4], "reset requested", Kind.UNDER_WAY, reset=True), direction=Direction.BACK)
    seen: list[Load] = []

    def allow(load: Load, asked: Sequence[Change]) -> Sequence[Change]:
        seen.append(load)
        return asked

    going = work.request_resets(number, [*changes, back], NOW, allowed=allow)
    assert len(going) == 6
    # On its way back a phone asks the other cluster's; of one without a node nobody knows whom it asks.
    assert work.load(number, NOW) == Load(CampaignState.RUNNING, 6, 6, {"pub": 1, "sub": 3})
    there = [moved(phone, "there", Kind.UNDER_WAY) for phone in going if phone.name == phones[1].name]
    done = [moved(phone, "moved", Kind.DONE) for phone in going if phone.name == phones[2].name]
    assert len(work.advance(number, [*there, *done], NOW, stop=lambda wave: None, keep=True)) == 2
    assert work.request_resets(number, [], NOW, allowed=allow, arrived=("there",)) == []
    assert [load.by_tvs for load in seen] == [{}, {"pub": 1, "sub": 1}]
    assert work.load(number, NOW + MINUTE, arrived=("there",)) == Load(CampaignState.RUNNING, 0, 5, seen[1].by_tvs)


@pytest.mark.parametrize("state", [CampaignState.PAUSED, CampaignState.HALTED])
def test_nobody_is_granted_a_reset_in_a_campaign_that_does_not_run(engine: Engine, state: CampaignState) -> None:
    work, number = begun(engine, 2)
    forth, other = work.lease(number, NOW, until=NOW + MINUTE, limit=9)
    back = replace(moved(other, "reset requested", Kind.UNDER_WAY, reset=True), direction=Direction.BACK)
    if state is CampaignState.PAUSED:
        work.pause("move", reason="", now=NOW)
    else:
        failed = moved(forth, "failed", Kind.FAILED)
        (forth,) = work.advance(number, [failed], NOW, stop=lambda wave: "too much", keep=True)
    assert work.get("move").state is state
    changes = [moved(forth, "reset requested", Kind.UNDER_WAY, reset=True), back]
    found = work.request_resets(number, changes, NOW, allowed=lambda load, asked: asked)
    assert [phone.name for phone in found] == ([] if state is CampaignState.PAUSED else [other.name])


def test_a_phone_is_in_one_campaign_that_was_begun(engine: Engine) -> None:
    work, number = begun(engine, 2)
    planned(work, "other", 1, first=2)
    with pytest.raises(NotNow, match="SEP000000000002 is in campaign move"):
        work.begin("other", option150="destination", now=NOW)
    taken = work.lease(number, NOW, until=NOW + MINUTE, limit=9)
    done = [replace(moved(phone, "moved", Kind.DONE), due_at=None) for phone in taken]
    work.advance(number, done, NOW, stop=lambda wave: None)
    assert work.finish(number, NOW).state is CampaignState.FINISHED
    assert work.begin("other", option150="destination", now=NOW).state is CampaignState.RUNNING
    with pytest.raises(NotNow, match="is in campaign other"):
        work.send_back("move", wave=None, phones=(), option150="source", now=NOW)


def test_names_that_are_taken_or_not_there(engine: Engine) -> None:
    work, _ = begun(engine, 1)
    with pytest.raises(SettingsError, match="there already"):
        planned(work, "move", 1, first=50)
    with pytest.raises(SettingsError, match="no campaign is called other"):
        work.get("other")
    with pytest.raises(SettingsError, match="no wave"):
        work.send_back("move", wave="wave-9", phones=(), option150="source", now=NOW)
    with pytest.raises(SettingsError, match="no phone SEP9"):
        work.send_back("move", wave=None, phones=("SEP9",), option150="source", now=NOW)
    assert work.phones(work.get("move").id)[0].wanted is Direction.FORTH


def test_what_can_not_be_done_in_a_state(engine: Engine) -> None:
    work = CampaignWork(engine, "one")
    planned(work)
    for call in (
        lambda: work.pause("move", reason="", now=NOW),
        lambda: work.resume("move", retry=False, now=NOW),
        lambda: work.send_back("move", wave=None, phones=(), option150="source", now=NOW),
    ):
        with pytest.raises(NotNow):
            call()
    assert work.begin("move", option150="destination", now=NOW).state is CampaignState.RUNNING
    assert work.begin("move", option150="destination", now=NOW).state is CampaignState.RUNNING
    work.pause("move", reason="", now=NOW)
    with pytest.raises(NotNow, match="is paused"):
        work.begin("move", option150="destination", now=NOW)


def test_a_wave_begins_once(engine: Engine) -> None:
    work, number = begun(engine, 1, 1)
    first, second = work.waves(number)
    assert not work.open_wave(number, first.id, NOW)
    assert work.open_wave(number, second.id, NOW)
    assert [entry.wave for entry in work.journal(number) if entry.event == "wave"] == [first.name, second.name]


def test_a_page_of_phones(engine: Engine) -> None:
    work = CampaignWork(engine, "reader")
    campaign = planned(work, "move", 2, 5)
    names = [phone.name for phone in work.phones(campaign.id)]
    found, total = work.some_phones(campaign.id, limit=3, offset=1)
    assert ([phone.name for phone in found], total) == (names[1:4], 7)
    assert work.some_phones(campaign.id, waves=("pilot",))[1] == 2
    assert [phone.name for phone in work.some_phones(campaign.id, text=names[4][-5:].lower())[0]] == [names[4]]
    assert work.some_phones(campaign.id, text="%")[1] == 0
    assert work.some_phones(campaign.id, text="cp-88", kinds=(Kind.HELD,), states=("planned",))[1] == 7
    assert work.some_phones(campaign.id, kinds=(Kind.FAILED,)) == ([], 0)
    assert work.some_phones(campaign.id, predicted=("moves",))[1] == 0
    work.foretold("move", {names[3]: ("strands", "TB102"), "SEPFFFFFFFFFFFF": ("moves", "")}, now=NOW)
    assert [phone.predicted_why for phone in work.some_phones(campaign.id, predicted=("strands",))[0]] == ["TB102"]


def test_phones_that_were_created_for_the_move_are_in_the_journal(engine: Engine) -> None:
    work = CampaignWork(engine, "test")
    campaign = planned(work, "move", 2)
    first, second = (phone.name for phone in work.phones(campaign.id))
    for _ in range(2):  # begun again, nothing is written again
        work.begin("move", option150="destination", now=NOW, created=[second, "SEP999999999999"])
    entries = [entry for entry in work.journal(campaign.id) if entry.event == "device"]
    assert [(entry.phone, entry.after) for entry in entries] == [(second, "created")]
    assert "destination" in entries[0].reason
    assert first not in {entry.phone for entry in entries}
