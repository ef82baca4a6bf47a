"""Who may register, who is registered, and that nobody can take another's registration away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.lab.prepared import NOW, Prepared

from trustbridge.lab.cluster import Cluster, Device
from trustbridge.lab.registrations import MAX_EXPIRES, MAX_REJECTED, Registrations
from trustbridge.services.registrar import Registration, RegistrationAnswer

PLAIN, SECURE, AUTHENTICATED = "SEP001B0C000001", "SEP001B0C000002", "SEP001B0C000003"
PUB, SUB = "src-pub", "src-sub1"


class Site:
    """A cluster with registrations, at a time that passes when it is told to."""

    def __init__(self, cluster: Callable[..., Cluster]) -> None:
        self.now = NOW
        self.cluster = cluster(self.clock)
        self.cluster.add_devices(
            Device(name, "CP-8841", mode, "Default") for name, mode in ((PLAIN, 1), (SECURE, 3), (AUTHENTICATED, 2))
        )
        self.registrations = Registrations(self.cluster)

    def clock(self) -> datetime:
        return self.now

    def register(self, device: str = PLAIN, *, node: str = PUB, **changes: Any) -> RegistrationAnswer:
        values: dict[str, Any] = {
            "device": device,
            "model": "683",
            "contact": ("127.63.0.10", 5060),
            "peer": ("127.63.0.10", 40000),
            "expires": 3600,
            "secure": False,
            "peer_subject": "",
        }
        return self.registrations.judge(node, Registration(**(values | changes)))

    def secure(self, device: str = SECURE, subject: str | None = None, **changes: Any) -> RegistrationAnswer:
        subject = f"CN={device};OU=UC;O=Phones" if subject is None else subject
        return self.register(device, secure=True, peer_subject=subject, **changes)

    def where(self, device: str = PLAIN) -> str | None:
        found = self.registrations.find(device)
        return None if found is None else found.node


@pytest.fixture
def site(prepared: Prepared, tmp_path: Path) -> Site:
    return Site(lambda clock: prepared.cluster(tmp_path / "c", "src", now=clock))


def test_a_known_phone_registers_and_is_known_on_every_node(site: Site) -> None:
    answer = site.register()
    assert (answer.code, answer.expires) == (200, 3600)
    found = site.registrations.find(PLAIN)
    assert found is not None
    assert (found.node, found.address, found.secure) == (PUB, "127.63.0.10", False)
    assert (found.since, found.until) == (NOW, NOW + timedelta(hours=1))
    assert site.registrations.all() == [found]
    assert len(site.registrations) == 1


def test_a_registration_ends_when_it_was_not_renewed(site: Site) -> None:
    site.register(expires=60)
    site.now += timedelta(seconds=59)
    assert site.where() == PUB
    site.register(expires=60)
    site.now += timedelta(seconds=59)
    found = site.registrations.find(PLAIN)
    assert found is not None
    assert found.since == NOW
    site.now += timedelta(seconds=1)
    assert site.where() is None
    assert site.registrations.all() == []


def test_nobody_registers_for_longer_than_a_day(site: Site) -> None:
    assert site.register(expires=10**9).expires == MAX_EXPIRES


def test_a_phone_takes_its_registration_back(site: Site) -> None:
    site.register()
    assert site.register(expires=0).code == 200
    assert site.where() is None


def test_a_phone_that_has_moved_to_another_node_stays_there(site: Site) -> None:
    site.register(node=PUB)
    site.register(node=SUB)
    assert site.register(node=PUB, expires=0).code == 200
    assert site.where() == SUB


def test_an_unknown_phone_is_rejected_and_remembered(site: Site) -> None:
    answer = site.register("SEPFFFFFFFFFFFF")
    assert (answer.code, answer.reason) == (404, "Device unknown and auto-registration is off")
    assert site.registrations.rejected == {"SEPFFFFFFFFFFFF": answer.reason}
    assert site.where("SEPFFFFFFFFFFFF") is None
    assert site.register("SEPFFFFFFFFFFFF", expires=0).code == 404


def test_a_phone_that_was_deleted_is_not_registered_any_more_once_it_renews(site: Site) -> None:
    site.register()
    site.cluster.remove_devices([PLAIN])
    assert site.register().code == 404
    assert site.where() is None


def test_rejected_names_do_not_pile_up(site: Site) -> None:
    for number in range(MAX_REJECTED + 10):
        site.register(f"SEP{number:012X}")
    assert len(site.registrations.rejected) == MAX_REJECTED
    assert f"SEP{MAX_REJECTED + 9:012X}" in site.registrations.rejected


def test_a_rejected_phone_that_is_accepted_later_is_forgotten_as_rejected(site: Site) -> None:
    site.register(SECURE)
    assert SECURE in site.registrations.rejected
    site.secure()
    assert SECURE not in site.registrations.rejected


@pytest.mark.parametrize("device", [SECURE, AUTHENTICATED])
def test_a_secure_phone_needs_tls_and_a_certificate_of_its_own(site: Site, device: str) -> None:
    assert site.register(device).code == 403
    for subject in ("", "CN=SEP000000000000;OU=UC", f"CN=x{device};OU=UC", f"CN=x;OU=CN={device}x"):
        answer = site.secure(device, subject)
        assert (answer.code, answer.reason) == (403, "Certificate names another device")
    assert site.where(device) is None
    assert site.secure(device).code == 200
    found = site.registrations.find(device)
    assert found is not None
    assert found.secure


def test_a_plain_phone_does_not_register_over_tls(site: Site) -> None:
    assert site.secure(PLAIN).code == 403


def test_in_a_non_secure_cluster_a_secure_phone_registers_as_any_other(site: Site) -> None:
    site.cluster.set_security("non-secure")
    assert site.register(SECURE).code == 200
    assert site.secure().code == 403


def test_nobody_without_its_certificate_takes_a_secure_phones_registration(site: Site) -> None:
    site.secure()
    stranger = ("127.0.0.99", 5060)
    assert site.register(SECURE, peer=stranger).code == 403
    assert site.register(SECURE, peer=stranger, expires=0).code == 403
    assert site.secure(SECURE, "CN=SEP000000000000", peer=stranger, expires=0).code == 403
    assert site.where(SECURE) == PUB
    assert SECURE not in site.registrations.rejected


def test_auto_registration_makes_a_plain_phone_of_a_stranger(prepared: Prepared, tmp_path: Path) -> None:
    site = Site(lambda clock: prepared.cluster(tmp_path / "c", "src", now=clock, auto_registration=True))
    assert site.register("SEPFFFFFFFFFFFF", expires=0).code == 404
    assert site.register("SEPFFFFFFFFFFFF", model="683").code == 200
    assert site.cluster.devices["SEPFFFFFFFFFFFF"] == Device("SEPFFFFFFFFFFFF", "CP-8841", 1, "Default")
    assert site.register("SEPFFFFFFFFFFFE", model="99999").code == 200
    assert site.cluster.devices["SEPFFFFFFFFFFFE"].model == "model 99999"
    assert site.register(SECURE).code == 403  # those who are known keep their profile


def test_whoever_listens_is_told(site: Site) -> None:
    told: list[str] = []
    site.registrations.changed.append(lambda: told.append("."))
    site.register()
    site.register(expires=0)
    site.register("SEPFFFFFFFFFFFF")
    assert len(told) == 3
