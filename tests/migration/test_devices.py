"""Phones compared between clusters, the record of what was created, creating and removing over a cluster of data."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.devices import DeviceDetails, DeviceLine, DirectoryNumber, Kind
from trustbridge.cucm.model import PhoneStatus, RegistrationInfo
from trustbridge.errors import AuthenticationRefused, Refused, SettingsError, Unreachable
from trustbridge.eventloop import run
from trustbridge.migration import devicesrun
from trustbridge.migration.devices import (
    MAPPED,
    Comparison,
    Standing,
    There,
    changes,
    compare,
    matches,
    names_of,
    translations,
    unused,
)
from trustbridge.migration.devicescsv import files
from trustbridge.migration.devicesrecord import DevicesRecord, State

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LINE = DeviceLine(1, "4001", "Internal", "Anna", "Anna K.")
PHONE = DeviceDetails(
    name="SEP001B0C000001",
    model="Cisco 8841",
    product="Cisco 8841",
    protocol="SIP",
    description="Desk",
    device_pool="Warsaw",
    template="Standard 8841 SIP",
    security_profile="Encrypted",
    common_profile="Common",
    location="Hub_None",
    css="National",
    owner="anna",
    lines=(LINE,),
    left=("speed dials: 2",),
)
NUMBER = DirectoryNumber("4001", "Internal", "Desk", "Local", left=("call forwards: 1",))
NUMBERS = {("4001", "Internal"): NUMBER}
MODES = {"Encrypted": "Encrypted", "Open": "Non Secure"}
NAMES = {
    Kind.DEVICE_POOL: frozenset({"Warsaw", "WAW"}),
    Kind.TEMPLATE: frozenset({"Standard 8841 SIP"}),
    Kind.SECURITY_PROFILE: frozenset({"Encrypted"}),
    Kind.COMMON_PROFILE: frozenset({"Common"}),
    Kind.LOCATION: frozenset({"Hub_None"}),
    Kind.CSS: frozenset({"National", "Local"}),
    Kind.PARTITION: frozenset({"Internal"}),
    Kind.USER: frozenset({"anna"}),
}


def compared(
    phone: DeviceDetails = PHONE,
    *,
    lines: bool = False,
    maps: Iterable[str] = (),
    ours: frozenset[tuple[str, str]] = frozenset(),
    **there: Any,
) -> Comparison:
    having = There(**({"devices": {}, "names": NAMES} | there))
    known: Any = {"modes": MODES, "numbers": NUMBERS, "maps": translations(maps)}
    (found,) = compare([phone], having, lines=lines, ours=ours, **known)
    return found


# Names and translations.


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([{"name": "SEP1"}, {"name": "SEP1"}, {"name": " SEP2 "}, {"name": ""}], ("SEP1", "SEP2")),
        ([{"NAME": "SEP1", "pool": "x"}], ("SEP1",)),
        ([{"device": "SEP1"}], ("SEP1",)),
    ],
)
def test_names_come_from_the_column_that_has_them(rows: list[dict[str, str]], names: tuple[str, ...]) -> None:
    assert names_of(rows) == names


@pytest.mark.parametrize("rows", [[], [{}], [{"name": ""}], [{"a": "SEP1", "b": "x"}]])
def test_a_query_without_names_is_told(rows: list[dict[str, str]]) -> None:
    with pytest.raises(SettingsError):
        names_of(rows)


@pytest.mark.parametrize(
    "text", ["", "a", "device-pool", "device-pool:", "device-pool:a", "device-pool:=b", "pool:a=b"]
)
def test_what_is_no_translation_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match="KIND:OLD=NEW"):
        translations([text])


@given(st.lists(st.text("a:=-", max_size=6)))
def test_reading_translations_is_total(texts: list[str]) -> None:
    try:
        translations([f"css:{text}" for text in texts])
    except SettingsError:
        return


def test_translations_are_read_and_those_of_no_use_are_told() -> None:
    found = translations([f"{word}:old={word}=new" for word in MAPPED])
    assert found == {(kind, "old"): f"{word}=new" for word, kind in MAPPED.items()}
    with pytest.raises(SettingsError, match="twice"):
        translations(["css:a=b", "css:a=c"])
    maps = translations(["device-pool:Warsaw=WAW", "css:Local=L", "partition:Internal=I", "location:Warsaw=x"])
    assert unused(maps, [PHONE], There({}), NUMBERS) == ["location Warsaw"]
    lineless = replace(PHONE, lines=())
    assert unused(maps, [lineless], There({}), {}) == [
        "calling search space Local",
        "partition Internal",
        "location Warsaw",
    ]
    assert unused(maps, [lineless], There({PHONE.name: PHONE}), {}) == ["location Warsaw"]


# Compared.


def test_a_phone_is_known_whatever_does_not_matter() -> None:
    there = replace(PHONE, description="x", device_pool="Else", security_profile="Secret", lines=())
    found = compared(devices={PHONE.name: there}, modes={"Secret": "Encrypted"})
    assert (found.standing, found.differences, found.wanted) == (Standing.KNOWN, (), None)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model": "Cisco 8861"}, "model"),
        ({"protocol": "SCCP"}, "protocol"),
        ({"security_profile": "Open"}, "security"),
    ],
)
def test_a_phone_differs_where_it_matters(change: dict[str, Any], word: str) -> None:
    found = compared(
        devices={PHONE.name: replace(PHONE, **change)}, modes={"Encrypted": "Encrypted", "Open": "Non Secure"}
    )
    assert found.standing is Standing.DIFFERS
    assert [one.split()[0].rstrip(":") for one in found.differences] == [word]


def test_a_missing_phone_is_wanted_without_its_lines_unless_they_are_asked_for() -> None:
    found = compared()
    assert (found.standing, found.numbers) == (Standing.MISSING, ())
    assert found.wanted == replace(PHONE, lines=(), left=())
    assert found.notes == ("created without its 1 line", "not carried: speed dials: 2")
    found = compared(lines=True)
    assert found.wanted == replace(PHONE, left=())
    assert found.numbers == (replace(NUMBER, left=()),)
    assert found.notes == ("4001: call forwards: 1 not carried", "not carried: speed dials: 2")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.DEVICE_POOL, "no device pool Warsaw"),
        (Kind.TEMPLATE, "no phone button template Standard 8841 SIP"),
        (Kind.SECURITY_PROFILE, "no security profile Encrypted"),
        (Kind.COMMON_PROFILE, "no common phone profile Common"),
        (Kind.LOCATION, "no location Hub_None"),
        (Kind.CSS, "no calling search space National"),
    ],
)
def test_what_the_destination_lacks_stands_against_it(kind: Kind, words: str) -> None:
    found = compared(names=NAMES | {kind: frozenset({"Other"})})
    assert (found.standing, found.against) == (Standing.BLOCKED, (words,))


def test_an_owner_who_is_not_there_is_left_out_and_told() -> None:
    found = compared(names=NAMES | {Kind.USER: frozenset()})
    assert (found.standing, found.wanted and found.wanted.owner) == (Standing.MISSING, "")
    assert found.notes[0] == "its owner is not carried: the destination has no user anna"


def test_lines_have_obstacles_of_their_own() -> None:
    missing = NAMES | {Kind.PARTITION: frozenset(), Kind.CSS: frozenset({"National"})}
    place = "directory number 4001 in Internal"
    against = (f"no partition Internal, for {place}", f"no calling search space Local, for {place}")
    assert compared(lines=True, names=missing).against == against
    assert compared(names=missing).notes[1:3] == tuple(f"with --lines: {one}" for one in against)
    taken = frozenset({("4001", "Internal")})
    assert compared(lines=True, numbers=taken).against == (f"{place} is there already",)
    assert compared(lines=True, numbers=taken, ours=taken).standing is Standing.MISSING
    assert compared(numbers=taken).standing is Standing.MISSING
    stranger = replace(PHONE, lines=(replace(LINE, pattern="9"),))
    assert compared(stranger, lines=True).against == ("the source does not tell its directory number 9",)


def test_names_are_translated_everywhere() -> None:
    names = NAMES | {Kind.CSS: frozenset({"N", "L"}), Kind.PARTITION: frozenset({"I"})}
    maps = ["device-pool:Warsaw=WAW", "css:National=N", "css:Local=L", "partition:Internal=I"]
    found = compared(lines=True, maps=maps, names=names)
    assert found.wanted is not None
    assert (found.standing, found.wanted.device_pool, found.wanted.css) == (Standing.MISSING, "WAW", "N")
    assert (found.wanted.lines[0].partition, found.numbers[0].css, found.numbers[0].partition) == ("I", "L", "I")


def test_a_phone_is_as_it_was_asked_for_but_for_defaults() -> None:
    assert matches(replace(PHONE, softkeys=""), replace(PHONE, softkeys="Standard User", left=()))
    assert not matches(PHONE, replace(PHONE, location="Else"))
    assert not matches(PHONE, replace(PHONE, lines=()))
    assert changes(PHONE, PHONE) == ()
    assert changes(PHONE, replace(PHONE, left=("speed dials: 3",), css="x", lines=())) == (
        "calling search space",
        "lines",
        "what is set beside",
    )


# The record.


def record_in(state: Path) -> DevicesRecord:
    return DevicesRecord(state, "source", "destination")


def test_a_record_tells_the_last_word_of_each(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    with record.locked():
        record.phone(State.ASKED, PHONE, NOW)
        record.phone(State.CREATED, replace(PHONE, softkeys="Standard"), NOW)
        record.number(State.ASKED, ("4001", ""), NOW)
    again = record_in(tmp_path)
    again.read()
    assert again.phones == record.phones
    assert again.in_state(State.CREATED) == [PHONE.name]
    assert again.own_numbers == {("4001", "")}
    assert again.phones[PHONE.name].device.softkeys == "Standard"


@pytest.fixture
def factory(tmp_path_factory: pytest.TempPathFactory) -> pytest.TempPathFactory:
    return tmp_path_factory


@given(cut=st.integers(0, 4000))
def test_a_record_that_was_cut_off_loses_its_last_line_alone(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    state = tmp_path_factory.mktemp("record")
    record = record_in(state)
    with record.locked():
        for number in range(3):
            record.phone(State.CREATED, replace(PHONE, name=f"SEP{number}"), NOW)
    path = record.folder / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    complete = whole[:cut].count(b"\n")
    with record.locked():
        assert len(record.phones) in (complete, complete + 1)  # all of a line but its end is a line
        record.phone(State.CREATED, replace(PHONE, name="SEP9"), NOW)
    record.read()
    assert "SEP9" in record.phones
    assert len(record.phones) >= complete


@pytest.mark.parametrize(
    "line",
    [
        b"1",
        b"{}",
        b'{"format": 2, "state": "created"}',
        b'{"format": 1, "state": "drowned", "number": ["1", ""]}',
        b'{"format": 1, "state": "created", "number": ["1"]}',
        b'{"format": 1, "state": "created", "phone": "SEP1", "device": {}, "why": ""}',
    ],
)
def test_a_record_somebody_wrote_into_is_not_believed(tmp_path: Path, line: bytes) -> None:
    record = record_in(tmp_path)
    with record.locked():
        (record.folder / "journal.jsonl").write_bytes(line + b"\n")
        with pytest.raises(SettingsError, match="line 1"):
            record.read()


# Created and removed.


class Destination:
    """A cluster that is data. `lost`: after so many changes, answers no longer arrive."""

    name = "destination"

    def __init__(self) -> None:
        self.devices: dict[str, DeviceDetails] = {}
        self.numbers: dict[tuple[str, str], DirectoryNumber] = {}
        self.registered: dict[str, PhoneStatus] = {}
        self.silent: frozenset[str] = frozenset()
        self.refuses: dict[str, Refused] = {}
        self.lost: int | None = None

    async def device_details(self, names: Iterable[str], progress: object = None) -> dict[str, DeviceDetails]:
        return {name: self.devices[name] for name in names if name in self.devices}

    async def number_details(self, numbers: Iterable[tuple[str, str]]) -> dict[tuple[str, str], DirectoryNumber]:
        return {number: self.numbers[number] for number in numbers if number in self.numbers}

    def _answered(self) -> None:
        if self.lost is not None:
            self.lost -= 1
            if self.lost < 0:
                raise Unreachable("the answer was lost")

    async def add_phone(self, device: DeviceDetails) -> bool:
        if device.name in self.refuses:
            raise self.refuses[device.name]
        new = device.name not in self.devices
        self.devices.setdefault(device.name, replace(device, softkeys=device.softkeys or "Standard User"))
        self._answered()
        return new

    async def add_number(self, number: DirectoryNumber) -> bool:
        new = (number.pattern, number.partition) not in self.numbers
        self.numbers.setdefault((number.pattern, number.partition), number)
        self._answered()
        return new

    async def remove_phone(self, name: str) -> bool:
        self._answered()
        return self.devices.pop(name, None) is not None

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        return {
            name: RegistrationInfo(name, self.registered[name], "dst-sub1", "")
            for name in names
            if name in self.registered
        }

    def unheard(self) -> frozenset[str]:
        return self.silent

    @property
    def cluster(self) -> Cluster:
        return cast(Cluster, self)


def clock() -> datetime:
    return NOW


def wanted(number: int = 1, *, lines: bool = False) -> Comparison:
    pattern = f"400{number}"
    line = (replace(LINE, pattern=pattern),) if lines else ()
    phone = replace(PHONE, name=f"SEP{number}", lines=line, left=())
    numbers = (replace(NUMBER, pattern=pattern, left=()),) if lines else ()
    return Comparison(phone.name, Standing.MISSING, phone, phone, numbers)


def create(there: Destination, record: DevicesRecord, *phones: Comparison) -> devicesrun.Done:
    async def created() -> devicesrun.Done:
        with record.locked():
            await devicesrun.settle(there.cluster, record, clock)
            todo = [one for one in phones if one.name not in there.devices]
            return await devicesrun.create(there.cluster, todo, record, clock)

    return run(created())


def remove(there: Destination, record: DevicesRecord) -> devicesrun.Done:
    async def removed() -> devicesrun.Done:
        with record.locked():
            return await devicesrun.remove(there.cluster, record.in_state(State.CREATED), record, clock)

    return run(removed())


@pytest.mark.parametrize("lost", range(6))
def test_wherever_an_answer_is_lost_another_run_makes_it_whole(tmp_path: Path, lost: int) -> None:
    there, record = Destination(), record_in(tmp_path)
    phones = [wanted(number, lines=True) for number in (1, 2, 3)]
    there.lost = lost
    with pytest.raises(Unreachable):
        create(there, record, *phones)
    there.lost = None
    done = create(there, record, *phones)
    assert done.refused == {}
    assert record.in_state(State.CREATED) == ["SEP1", "SEP2", "SEP3"]
    assert (len(there.devices), len(there.numbers)) == (3, 3)
    assert set(record.numbers.values()) == {State.CREATED}
    assert record.phones["SEP1"].device.softkeys == "Standard User"  # as the cluster has it
    assert remove(there, record).done == ["SEP1", "SEP2", "SEP3"]
    assert there.devices == {}


def test_what_somebody_else_made_meanwhile_is_not_ours(tmp_path: Path) -> None:
    there, record = Destination(), record_in(tmp_path)
    with record.locked():
        record.phone(State.ASKED, wanted().device, NOW)
        record.number(State.ASKED, ("4002", "Internal"), NOW)
    there.devices["SEP1"] = replace(wanted().device, location="Else")
    there.numbers["4002", "Internal"] = replace(NUMBER, pattern="4002", description="Else")
    done = create(there, record, wanted(), wanted(2, lines=True))
    assert (done.done, list(done.refused)) == ([], ["SEP2"])
    assert record.phones["SEP1"].state is State.FOREIGN
    assert record.numbers["4002", "Internal"] is State.FOREIGN
    assert remove(there, record).done == []
    assert "SEP1" in there.devices


def test_a_refusal_ends_one_phone_and_a_wrong_password_all(tmp_path: Path) -> None:
    there, record = Destination(), record_in(tmp_path)
    there.refuses = {"SEP1": Refused("no such product")}
    done = create(there, record, wanted(1), wanted(2))
    assert (done.done, done.refused) == (["SEP2"], {"SEP1": "no such product"})
    assert record.phones["SEP1"].why == "no such product"
    there.refuses = {"SEP3": AuthenticationRefused("no")}
    with pytest.raises(AuthenticationRefused):
        create(there, record, wanted(3), wanted(4))
    assert "SEP4" not in there.devices


def _changed(there: Destination) -> None:
    there.devices["SEP1"] = replace(there.devices["SEP1"], left=("speed dials: 1",))


def _registered(there: Destination) -> None:
    there.registered["SEP1"] = PhoneStatus.PARTIALLY_REGISTERED


def _unheard(there: Destination) -> None:
    there.silent = frozenset({"dst-sub1"})


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (_changed, "changed since it was created: what is set beside"),
        (_registered, "it is partiallyregistered at dst-sub1"),
        (_unheard, "it may be registered: dst-sub1 gave no answer"),
    ],
)
def test_a_phone_that_may_be_in_use_or_was_changed_stays(
    tmp_path: Path, happens: Callable[[Destination], None], why: str
) -> None:
    there, record = Destination(), record_in(tmp_path)
    create(there, record, wanted())
    happens(there)
    assert remove(there, record).refused == {"SEP1": why}
    assert "SEP1" in there.devices
    assert record.in_state(State.CREATED) == ["SEP1"]


# CSV.


def test_a_file_is_read_back_and_never_altered_for_spreadsheets() -> None:
    odd = replace(
        PHONE, description='=1+1, "Desk"', lines=(replace(LINE, label="+48"), replace(LINE, index=3, pattern="9"))
    )
    other = replace(PHONE, name="SEP2", product="Cisco 8861", lines=())
    (first, text), (second, _) = files([odd, other])
    assert (first.model, second.model) == ("Cisco 8841", "Cisco 8861")
    assert first.settings["Line 2, Route Partition"] == "<None>"
    assert "\n\n" not in text
    head, row = csv.reader(io.StringIO(text))
    assert len(head) == len(row) == 4 + 3 * 10
    values = dict(zip(head, row, strict=True))
    assert values["MAC ADDRESS"] == "001B0C000001"
    assert (values["DESCRIPTION"], values["LINE TEXT LABEL 1"]) == ('=1+1, "Desk"', "+48")
    assert (values["DIRECTORY NUMBER 2"], values["DIRECTORY NUMBER 3"]) == ("", "9")


@given(st.lists(st.builds(replace, st.just(PHONE), description=st.text(max_size=8), location=st.sampled_from("ab"))))
def test_every_phone_is_one_record(phones: list[DeviceDetails]) -> None:
    for _, text in files(phones):
        assert len(list(csv.reader(io.StringIO(text)))) == 1 + len(phones)
