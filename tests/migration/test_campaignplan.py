"""Which phones, in which waves, when, and how fast."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.cucm.model import PhoneStatus
from trustbridge.errors import SettingsError
from trustbridge.migration.campaignphone import Rule, Terms
from trustbridge.migration.campaignplan import (
    CampaignSettings,
    Grouping,
    Limits,
    Selection,
    Waves,
    deal,
    listed_names,
    next_wave,
    select,
    subnet,
)
from trustbridge.migration.campaignwindows import Window, opens
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.storage.campaignrecords import Change, Load, PhoneRecord, WaveRecord
from trustbridge.storage.models import CampaignState, Direction, Kind

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REGISTERED = PhoneStatus.REGISTERED


def fact(number: int, model: str = "CP-8841", pool: str = "Warsaw", **more: Any) -> PhoneFacts:
    values = {"status": REGISTERED, "address": f"10.1.{number // 200}.{number % 200 + 1}"} | more
    return PhoneFacts(f"SEP{number:012X}", model, pool, **values)


PHONES = [
    fact(1),
    fact(2, pool="Warsaw-2", address="10.2.0.7"),
    fact(3, "CP-7962", "Krakow"),
    fact(4, status=PhoneStatus.UNREGISTERED, address=""),
]


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        (Selection(), [1, 2, 3, 4]),
        (Selection(device_pools=("warsaw*",)), [1, 2, 4]),
        (Selection(device_pools=("Warsaw", "Krakow")), [1, 3, 4]),
        (Selection(models=("CP-79*",)), [3]),
        (Selection(subnets=(subnet("10.2.0.0/16"), subnet("10.1.0.2/32"))), [1, 2]),
        (Selection(statuses=(PhoneStatus.UNREGISTERED,)), [4]),
        (Selection(names=("*1", "*3")), [1, 3]),
        (Selection(listed=frozenset({"SEP000000000002"})), [2]),
        (Selection(device_pools=("Warsaw*",), without=("*2",)), [1, 4]),
    ],
)
def test_selection(selection: Selection, numbers: list[int]) -> None:
    assert [int(phone.name[3:], 16) for phone in select(PHONES, selection)] == numbers


def test_none_or_a_stranger_is_an_error() -> None:
    with pytest.raises(SettingsError, match="none of 4"):
        select(PHONES, Selection(models=("CP-1",)))
    with pytest.raises(SettingsError, match="no phone SEP000000000009"):
        select(PHONES, Selection(listed=frozenset({"SEP000000000009", "SEP000000000001"})))
    with pytest.raises(SettingsError, match="no subnet"):
        subnet("10.1.0.1/16")


@pytest.mark.parametrize(
    "text",
    [
        "SEP0000000000aa\nSEP0000000000BB\n",
        "name,pool\r\nsep0000000000aa,x\r\nSEP0000000000BB,y\r\n",
        '\ufeffPool,"Device Name"\n"a,b",SEP0000000000AA\n\n,SEP0000000000BB\n',
    ],
)
def test_lists(text: str) -> None:
    assert listed_names(text) == {"SEP0000000000AA", "SEP0000000000BB"}


def test_a_list_of_nothing() -> None:
    with pytest.raises(SettingsError, match="names no phones"):
        listed_names("name\n\n")


def test_the_pilot_is_of_all_kinds_and_registered() -> None:
    phones = [*(fact(n) for n in range(20)), fact(30, "CP-7962"), fact(31, pool="Krakow"), fact(32, status=None)]
    waves = deal(phones, Waves(pilot=3, size=8))
    assert [(wave.name, wave.pilot, len(wave.phones)) for wave in waves] == [
        ("pilot", True, 3),
        ("wave-1", False, 8),
        ("wave-2", False, 8),
        ("wave-3", False, 4),
    ]
    assert {(phone.model, phone.device_pool) for phone in waves[0].phones} == {
        ("CP-8841", "Warsaw"),
        ("CP-7962", "Warsaw"),
        ("CP-8841", "Krakow"),
    }


def test_waves_of_sites_have_their_own_nights() -> None:
    phones = [fact(1), fact(2, pool="New-York"), fact(3, pool="New-York"), fact(4)]
    night, there = "Mon-Fri 20:00-06:00 Europe/Warsaw", "Sat 22:00-04:00 America/New_York"
    waves = deal(phones, Waves(0, 1, Grouping.DEVICE_POOL, (night,), (("new*", there),)))
    assert [(wave.name, wave.windows) for wave in waves] == [
        ("wave-1 New-York", (there,)),
        ("wave-2 New-York", (there,)),
        ("wave-3 Warsaw", (night,)),
        ("wave-4 Warsaw", (night,)),
    ]
    with pytest.raises(SettingsError, match="one site"):
        deal(phones, Waves(site_windows=(("x", night),)))


@given(st.integers(1, 60), st.integers(0, 10), st.integers(1, 20), st.sampled_from(Grouping))
def test_each_phone_is_in_one_wave(count: int, pilot: int, size: int, by: Grouping) -> None:
    phones = [fact(number, pool=f"pool {number % 3}") for number in range(count)]
    waves = deal(phones, Waves(pilot, size, by))
    names = [phone.name for wave in waves for phone in wave.phones]
    assert sorted(names) == sorted(phone.name for phone in phones)
    assert all(1 <= len(wave.phones) <= (pilot if wave.pilot else size) for wave in waves)
    assert len({wave.name for wave in waves}) == len(waves)


# Windows.


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "now", "at"),
    [
        ("22:00-23:00 UTC", "2026-03-01 21:00", "2026-03-01 22:00"),
        ("22:00-23:00 UTC", "2026-03-01 22:30", "2026-03-01 22:30"),
        ("22:00-23:00 UTC", "2026-03-01 23:00", "2026-03-02 22:00"),
        ("Mon-Fri 20:00-06:00 Europe/Warsaw", "2026-03-01 12:00", "2026-03-02 19:00"),  # a Sunday
        ("Mon-Fri 20:00-06:00 Europe/Warsaw", "2026-03-07 04:59", "2026-03-07 04:59"),  # Friday's night
        ("Mon-Fri 20:00-06:00 Europe/Warsaw", "2026-03-07 05:00", "2026-03-09 19:00"),
        ("Mon-Fri 20:00-06:00 Europe/Warsaw", "2026-03-30 12:00", "2026-03-30 18:00"),  # summer time
        ("Sat,Sun 00:00-24:00 America/New_York", "2026-03-09 03:59", "2026-03-09 03:59"),  # Sunday there
        ("Fri-Mon 10:00-11:00 UTC", "2026-03-03 00:00", "2026-03-06 10:00"),
        ("2026-03-28 23:00-04:00 Europe/Warsaw", "2026-03-29 01:59", "2026-03-29 01:59"),  # clocks change that night
        ("2026-03-28 23:00-04:00 Europe/Warsaw", "2026-03-29 02:00", None),
    ],
)
def test_windows(window: str, now: str, at: str | None) -> None:
    assert Window.parse(window).opens(utc(now)) == (None if at is None else utc(at))


@pytest.mark.parametrize(
    "text", ["tonight", "22:00-23:00", "22:00-23:00 Mars/Base", "Noday 22:00-23:00 UTC", "22:00-22:00 UTC",
             "25:00-26:00 UTC", "24:00-01:00 UTC", "22:60-23:00 UTC"]
)  # fmt: skip
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(SettingsError, match="window"):
        Window.parse(text)


def test_of_several_windows_the_first_to_open() -> None:
    assert opens((), NOW) == NOW
    assert opens(("22:00-23:00 UTC", "13:00-14:00 UTC"), NOW) == NOW + timedelta(hours=1)


# Limits.


@pytest.mark.parametrize(
    ("recent", "under_way", "count"), [(0, 0, 30), (29, 0, 1), (30, 0, 0), (0, 99, 1), (99, 99, 0)]
)
def test_limits(recent: int, under_way: int, count: int) -> None:
    changes = [change("") for _ in range(200)]
    assert Limits(30, 100).allowed(Load(CampaignState.RUNNING, recent, under_way), changes) == changes[:count]


def change(tvs: str, direction: Direction = Direction.FORTH) -> Change:
    """A phone that is to be reset, and asks the TVS of that node first."""
    phone = cast(PhoneRecord, SimpleNamespace(tvs=tvs))
    return Change(phone, "reset requested", Kind.UNDER_WAY, direction, None, reset=True)


def test_whose_tvs_has_enough_to_do_lets_others_go_first() -> None:
    limits = Limits(30, 100, tvs=3)
    a, b, unknown = [change("a") for _ in range(5)], [change("b") for _ in range(5)], [change("") for _ in range(5)]
    back = [change("a", Direction.BACK) for _ in range(5)]
    free = Load(CampaignState.RUNNING, 0, 0)
    assert limits.allowed(free, a + b + unknown + back) == a[:3] + b[:3] + unknown + back
    assert limits.allowed(replace(free, by_tvs={"a": 2, "b": 3}), a + b + unknown) == a[:1] + unknown
    assert limits.allowed(replace(free, by_tvs={"a": 9}), a) == []
    # The other limits count those that go, and not those that wait.
    assert limits.allowed(replace(free, recent=26, by_tvs={"a": 3}), a + b + unknown) == b[:3] + unknown[:1]


def test_settings_of_before_have_the_limit_of_today() -> None:
    kept = CampaignSettings(Limits(tvs=7)).as_json()
    assert CampaignSettings.from_json(kept).limits.tvs == 7
    del kept["limits"]["tvs"]
    assert CampaignSettings.from_json(kept).limits.tvs == Limits().tvs


def wave(size: int, failed: int, accepted: int = 0, **more: Any) -> WaveRecord:
    kinds = more.pop("kinds", {Kind.FAILED: failed, Kind.DONE: size - failed})
    values = {"opened_at": NOW, "closed_at": None} | more
    return WaveRecord(
        1, 0, "w", False, (), accepted_failures=accepted, states={}, kinds=kinds, failed_forth=failed, **values
    )


@pytest.mark.parametrize(
    ("size", "failed", "accepted", "stops"),
    [(10, 0, 0, False), (10, 1, 0, False), (10, 2, 0, True), (10, 2, 2, False), (10, 3, 2, False), (10, 4, 2, True)],
)
def test_stop_rule(size: int, failed: int, accepted: int, stops: bool) -> None:
    assert (Limits(failures=0.1).stop(wave(size, failed, accepted)) is not None) == stops


def test_limits_that_are_none() -> None:
    for wrong in ({"resets_a_minute": 0}, {"under_way": 0}, {"tvs": 0}, {"failures": 1.1}):
        with pytest.raises(SettingsError):
            Limits(**wrong)


def test_waves_begin_one_after_the_other() -> None:
    ended, busy = wave(2, 0), wave(2, 0, kinds={Kind.DONE: 1, Kind.UNDER_WAY: 1})
    waiting = wave(2, 0, opened_at=None, kinds={Kind.HELD: 2})
    assert next_wave([ended, waiting]) is waiting
    assert next_wave([busy, waiting]) is None
    assert next_wave([ended]) is None


def test_settings_are_kept() -> None:
    made = CampaignSettings(Limits(5, 6, 0.5), Terms(unfit=Rule.SKIP, look=timedelta(seconds=1.5)), 8080)
    assert CampaignSettings.from_json(made.as_json()) == made
    assert CampaignSettings.from_json({}) == CampaignSettings()
