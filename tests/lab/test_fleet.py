"""All phones of a lab: made once, started in numbers, each one's trouble its own."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.lab.prepared import ENCRYPTED, NOW, Prepared, clock, lab_definition, phones

from trustbridge.errors import SettingsError
from trustbridge.lab import fleet as fleets
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.flash import FlashFolder
from trustbridge.lab.fleet import Fleet, create_phones, phone_names
from trustbridge.lab.phone import LabPhone, PhoneNetwork
from trustbridge.lab.ports import Ports
from trustbridge.pki.certificate import Certificate

DEFINITION = lab_definition(phones(2), phones(2, security=ENCRYPTED), phones(1, security="authenticated"))


@pytest.fixture
def clusters(prepared: Prepared, tmp_path: Path) -> dict[str, Cluster]:
    return {
        "source": prepared.cluster(tmp_path / "source", "src"),
        "destination": prepared.cluster(tmp_path / "destination", "dst", security="non-secure"),
    }


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(DEFINITION, tmp_path / "phones", PhoneNetwork("127.0.0.1", Ports()), clock)


def instead_of_booting(monkeypatch: pytest.MonkeyPatch, what: Callable[[LabPhone], Awaitable[None]]) -> None:
    monkeypatch.setattr(LabPhone, "_boot", what)


# Made once.


def test_every_cluster_knows_every_phone_with_its_security(clusters: dict[str, Cluster], tmp_path: Path) -> None:
    create_phones(DEFINITION, clusters, tmp_path / "phones", NOW)
    for cluster in clusters.values():
        assert [device.security_mode for device in cluster.devices.values()] == [1, 1, 3, 3, 2]
    in_force = {name: {c.security_of(device) for device in c.devices.values()} for name, c in clusters.items()}
    assert in_force == {"source": {1, 2, 3}, "destination": {1}}


def test_secure_phones_have_an_lsc_of_their_home_and_others_none(clusters: dict[str, Cluster], tmp_path: Path) -> None:
    create_phones(DEFINITION, clusters, tmp_path / "phones", NOW)
    found = {name: tmp_path / "phones" / name / "lsc.pem" for name, _, _ in phone_names(DEFINITION)}
    assert [path.exists() for path in found.values()] == [False, False, True, True, True]
    for name, path in list(found.items())[2:]:
        lsc = Certificate.from_pem(path.read_bytes())
        assert lsc.common_name == name
        assert lsc.issuer == clusters["source"].capf.certificate.subject
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "phones").rglob("*")} == {0o700, 0o600}


def test_making_phones_again_changes_nothing(clusters: dict[str, Cluster], tmp_path: Path) -> None:
    create_phones(DEFINITION, clusters, tmp_path / "phones", NOW)
    before = {path: path.read_bytes() for path in (tmp_path / "phones").rglob("*.*")}
    clusters["source"].remove_devices(list(clusters["source"].devices))
    create_phones(DEFINITION, clusters, tmp_path / "phones", NOW)
    assert {path: path.read_bytes() for path in (tmp_path / "phones").rglob("*.*")} == before
    assert clusters["source"].devices == {}  # an administrator has taken them out


@pytest.mark.parametrize("name", ["lsc.pem", "lsc.key"])
def test_one_phones_damaged_lsc_is_issued_again(clusters: dict[str, Cluster], tmp_path: Path, name: str) -> None:
    create_phones(DEFINITION, clusters, tmp_path / "phones", NOW)
    path = tmp_path / "phones" / "SEP001B0C000003" / name
    path.write_text("damaged")
    create_phones(DEFINITION, clusters, tmp_path / "phones", NOW)
    assert FlashFolder(path.parent).has_lsc


def test_phones_are_found_by_name_and_each_once(fleet: Fleet) -> None:
    found = fleet.chosen(["sep001b0c000002", "SEP001B0C000001", "SEP001B0C000002"])
    assert [phone.name for phone in found] == ["SEP001B0C000002", "SEP001B0C000001"]
    with pytest.raises(SettingsError, match="there is no phone SEP1 in this lab"):
        fleet.chosen(["SEP1"])


def test_a_phone_is_found_by_its_address(fleet: Fleet) -> None:
    assert {address: phone.identity.address for address, phone in fleet.by_address.items()} == {
        phone.identity.address: phone.identity.address for phone in fleet.phones.values()
    }
    assert set(fleet.homes.values()) == {"source"}


# Started.


def test_one_phones_fault_is_its_own(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, *rest = fleet.phones.values()
    booted: list[str] = []

    async def boot(phone: LabPhone) -> None:
        if phone is first:
            raise RuntimeError("nobody thought of this")
        await asyncio.sleep(0.01)
        booted.append(phone.name)
        raise OSError(28, "No space left on device")

    instead_of_booting(monkeypatch, boot)
    done: list[str] = []
    asyncio.run(fleet.boot(fleet.phones.values(), lambda phone: done.append(phone.name)))
    assert sorted(done) == sorted(fleet.phones)
    assert booted == [phone.name for phone in rest]
    assert first.outcome is not None
    assert "RuntimeError: nobody thought of this" in first.outcome.reason
    assert first.transcript[-1].text == first.outcome.reason
    assert first.standing == "not registered"
    assert rest[0].outcome is not None
    assert rest[0].outcome.reason == "the phone can't use its flash: No space left on device"
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.exc_info is not None for record in logged] == [True]


def test_a_phone_reset_twice_at_once_starts_twice_one_after_the_other(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: dict[str, int] = {}
    begun: list[str] = []

    async def boot(phone: LabPhone) -> None:
        inside[phone.name] = inside.get(phone.name, 0) + 1
        assert inside[phone.name] == 1
        begun.append(phone.name)
        await asyncio.sleep(0.01)
        inside[phone.name] -= 1
        raise OSError("the end")

    instead_of_booting(monkeypatch, boot)

    async def both() -> None:
        every = list(fleet.phones.values())
        await asyncio.gather(fleet.boot(every), fleet.boot(every[:1]), fleet.boot([every[0], every[0]]))

    asyncio.run(both())
    assert len(begun) == len(fleet.phones) + 3
    assert all(phone.outcome is not None and "the end" in phone.outcome.reason for phone in fleet.phones.values())


def test_settled_is_a_fleet_whose_resets_have_ended_those_asked_for_meanwhile_too(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    async def scenario() -> None:
        await fleet.settled()  # nothing is under way
        first, later = asyncio.Event(), asyncio.Event()
        one, other = list(fleet.phones.values())[:2]

        async def boot(phone: LabPhone) -> None:
            await (first if phone is one else later).wait()
            ended.append(phone.name)
            raise OSError("the end")

        instead_of_booting(monkeypatch, boot)
        fleet.reset_soon([one])
        waiting = asyncio.create_task(fleet.settled())
        for event, more in ((first, [other]), (later, list[LabPhone]())):
            for _ in range(5):
                await asyncio.sleep(0)
            assert not waiting.done()
            if more:
                fleet.reset_soon(more)
            event.set()
        await waiting
        assert ended == [one.name, other.name]

    asyncio.run(scenario())


def test_only_so_many_phones_start_at_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "CONCURRENT_BOOTS", 2)
    fleet._boots = asyncio.Semaphore(2)
    now = most = 0

    async def boot(phone: LabPhone) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        raise OSError("the end")

    instead_of_booting(monkeypatch, boot)
    asyncio.run(fleet.boot(fleet.phones.values()))
    assert most == 2


def test_stopping_cuts_phones_off_and_lets_the_waiting_go_on(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    async def boot(_: LabPhone) -> None:
        await asyncio.sleep(3600)

    instead_of_booting(monkeypatch, boot)

    async def scenario() -> None:
        starting = asyncio.create_task(fleet.boot(fleet.phones.values()))
        await asyncio.sleep(0.01)
        assert {phone.standing for phone in fleet.phones.values()} == {"booting"}
        await fleet.stop()
        await asyncio.wait_for(starting, 5)
        await fleet.stop()

    asyncio.run(scenario())
    assert {phone.standing for phone in fleet.phones.values()} == {"off"}
    assert not fleet._booting


def test_who_waits_for_phones_may_be_cut_off(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    async def boot(_: LabPhone) -> None:
        await asyncio.sleep(3600)

    instead_of_booting(monkeypatch, boot)

    async def scenario() -> int:
        starting = asyncio.create_task(fleet.boot(fleet.phones.values()))
        await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        return len(asyncio.all_tasks())

    assert asyncio.run(scenario()) == 1
    assert {phone.standing for phone in fleet.phones.values()} == {"off"}


def test_registrations_are_renewed_whatever_one_phone_does(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "EXPIRES", 0.01)
    renewed: list[str] = []

    async def renew(phone: LabPhone) -> bool:
        renewed.append(phone.name)
        if len(renewed) == 1:
            raise RuntimeError("nobody thought of this")
        return True

    monkeypatch.setattr(LabPhone, "renew", renew)

    async def scenario() -> None:
        renewing = asyncio.create_task(fleet.keep_registered())
        await asyncio.sleep(0.1)
        assert not renewing.done()
        renewing.cancel()

    asyncio.run(scenario())
    assert set(renewed) == set(fleet.phones)
    assert len(renewed) > len(fleet.phones)
