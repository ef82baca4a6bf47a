"""The record: read back as written, whatever a kill left of it; nothing in it is a secret."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.migration.surveyed import BEGUN, NOW, issued
from tests.migration.worlds import two

from trustbridge.cucm.model import Interface, Write
from trustbridge.errors import NotNow, SettingsError
from trustbridge.migration.exchangeplan import ExchangePlan, Method, plan_exchange
from trustbridge.migration.exchangerecord import (
    JOURNAL,
    PLAN,
    Addition,
    ExchangeRecord,
    SftpAddress,
    check_name,
    exchanges,
    free_name,
)
from trustbridge.pki.units import BulkType, Store, Unit

ADDRESS = SftpAddress("2001:db8::9", 2222, "bulk", "/exchange")


def plan() -> ExchangePlan:
    old = issued("b", "b2.b", Unit.CALLMANAGER, now=BEGUN - timedelta(days=400))
    surveys = two(trusted=[(Store.PHONE_SAST_TRUST, old)])
    return plan_exchange(
        surveys, [("a", "b")], tuple(BulkType), now=NOW, sftp=str(ADDRESS), accepted=["TB140"], restart_tvs=True
    )


@pytest.fixture
def record(tmp_path: Path) -> ExchangeRecord:
    return ExchangeRecord.begin(tmp_path / "a-b", plan(), ADDRESS, NOW)


def addition(place: int, *, gone: bool = False) -> Addition:
    return Addition("a", "", Store.TOMCAT_TRUST, issued("x", f"x{place}", Unit.TOMCAT), gone)


def test_a_plan_is_read_back_as_it_was_written(record: ExchangeRecord) -> None:
    made = plan()
    read = record.plan
    assert (read.clusters, read.types, read.method, read.begun) == (made.clusters, made.types, Method.BULK, NOW)
    assert read.goals == made.goals
    assert read.steps == made.steps
    assert read.replaced == made.replaced
    assert made.replaced
    assert read.sftp == ADDRESS
    assert str(ADDRESS) == "sftp://bulk@[2001:db8::9]:2222/exchange"
    assert read.shown == json.loads(json.dumps(made.as_json()))


def test_only_its_owner_reads_it(record: ExchangeRecord) -> None:
    record.append("finished", NOW)
    assert record.folder.stat().st_mode & 0o077 == 0
    for name in (PLAN, JOURNAL):
        assert (record.folder / name).stat().st_mode & 0o177 == 0


def test_a_name_is_given_once(record: ExchangeRecord) -> None:
    with pytest.raises(NotNow, match="a-b already"):
        ExchangeRecord.begin(record.folder, plan(), None, NOW)
    folder = record.folder.parent
    assert free_name(folder, ["a", "b"]) == "a-b-2"
    assert free_name(folder, ["b", "a"]) == "b-a"
    assert free_name(folder, ["a", "b", "c", "d"]) == "a-and-3-more"
    assert [one.name for one in exchanges(folder)] == ["a-b"]
    assert list(exchanges(folder / "none")) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a\nb", "a" * 101])
def test_names_that_can_not_be(name: str) -> None:
    with pytest.raises(SettingsError):
        check_name(name)


def test_what_was_added_and_taken_back(record: ExchangeRecord) -> None:
    record.added([addition(1), addition(2), addition(3, gone=True)], NOW)
    record.taken_back([addition(2)], NOW)
    for seen in (record, ExchangeRecord.read(record.folder)):
        assert seen.additions() == (addition(1), addition(3, gone=True))
    record.taken_back([addition(1), addition(3, gone=True)], NOW)
    assert ExchangeRecord.read(record.folder).additions() == ()


def test_the_first_look_at_a_store_counts(record: ExchangeRecord) -> None:
    step = record.plan.steps[-1]
    assert record.before(step, "") is None
    record.append("before", NOW, step=step.key, node="", held=[["tomcat-trust", "aa"]])
    record.append("before", NOW, step=step.key, node="", held=[["tomcat-trust", "bb"]])
    record.append("before", NOW, step=step.key, node="n2", held=[])
    assert record.before(step, "") == frozenset({("tomcat-trust", "aa")})
    assert record.before(step, "n2") == frozenset()
    assert [place for place, _ in record.befores(step)] == ["", "n2"]


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_journal_cut_off_anywhere_loses_its_last_line_and_goes_on(record: ExchangeRecord, cut: int) -> None:
    write = Write("a", "import", "", Interface.CLI)
    for _ in range(4):
        record.wrote(write, NOW)
    journal = record.folder / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    again = ExchangeRecord.read(record.folder)
    assert len(again.events) in (kept, kept + 1)  # a line may be whole but for its end
    again.append("finished", NOW)
    after = ExchangeRecord.read(record.folder)
    assert after.finished
    assert len(after.events) == len(again.events)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_events_or_nothing(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("any") / "a-b"
    record = ExchangeRecord.begin(folder, plan(), None, NOW)
    (folder / JOURNAL).write_bytes(b"\n".join(lines))
    assert not ExchangeRecord.read(folder).finished
    record.append("finished", NOW)
    assert ExchangeRecord.read(folder).finished


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"clusters": 1}', "\x00", '{"goals": [[1]]}'])
def test_a_damaged_plan_is_told_as_such(record: ExchangeRecord, damage: str) -> None:
    (record.folder / PLAN).write_text(damage)
    with pytest.raises(SettingsError, match=r"plan\.json can't be read"):
        ExchangeRecord.read(record.folder)


@pytest.mark.parametrize("damage", [{}, {"store": "none"}, {"certificate": "PEM"}, {"node": 1, "store": 2}])
def test_an_addition_that_can_not_be_read_is_told_and_not_passed_over(
    record: ExchangeRecord, damage: dict[str, object]
) -> None:
    record.added([addition(1)], NOW)
    journal = record.folder / JOURNAL
    journal.write_text(journal.read_text() + json.dumps({"event": "removed", **damage}) + "\n")
    with pytest.raises(SettingsError, match="line 2"):
        ExchangeRecord.read(record.folder)


def test_an_exchange_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no exchange nothing"):
        ExchangeRecord.read(tmp_path / "nothing")


def test_states(record: ExchangeRecord) -> None:
    assert record.state == "under way or interrupted"
    record.append("finished", NOW)
    assert record.state == "finished"
    record.append("undo began", NOW)
    assert record.state == "being undone"
    record.append("undone", NOW)
    assert record.state == "undone"


def test_another_process_is_waited_for_and_read(record: ExchangeRecord) -> None:
    other = ExchangeRecord.read(record.folder)
    other.append("finished", NOW)
    assert not record.finished
    with record.locked():
        assert record.finished
