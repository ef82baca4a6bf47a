"""Phones settled without a first boot are as those that had one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.prepared import ENCRYPTED, LiveLab, Prepared, lab_definition, phones

from trustbridge.lab.phone import LabPhone, Standing
from trustbridge.lab.settled import settle
from trustbridge.trust.events import Flash


@pytest.fixture
def live(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[LiveLab]:
    """One phone of each kind: plain, encrypted, and of a model that knows no ITL."""
    kinds = (phones(), phones(security=ENCRYPTED), phones(model="CP-7960"))
    with LiveLab(Prepared.once(tmp_path_factory).lab(tmp_path / "lab", lab_definition(*kinds))) as live:
        yield live


def state(live: LiveLab, phone: LabPhone) -> tuple[Flash, object, object, object, object]:
    """What a phone keeps, whom it knows, and what the registrar knows of it but the time."""
    found = live.lab.registrations["source"].find(phone.name)
    assert found is not None
    registered = (found.node, found.address, found.secure)
    assert phone.standing is Standing.REGISTERED
    assert phone.outcome is not None
    return phone.flash.read(), phone.tftp_servers, phone.registered_with, phone.outcome, registered


def test_a_settled_phone_is_as_one_that_has_booted(live: LiveLab) -> None:
    live.call(lambda: settle(live.lab, live.phones))
    settled = [state(live, phone) for phone in live.phones]
    for phone in live.phones:
        phone.flash.erase_trust()
        (phone.flash.path / "configuration.xml").unlink()
        live.lab.registrations["source"].forget(phone.name)
        phone.registered_with = None
    live.boot()
    assert [state(live, phone) for phone in live.phones] == settled
    for phone in live.phones:
        words = [text for _, text in phone.status]
        assert words[: len(words) // 2] == words[len(words) // 2 :]


def test_settled_again_it_is_back_at_its_home(live: LiveLab) -> None:
    live.call(lambda: settle(live.lab, live.phones))
    plain = live.phones[0]
    live.point_at("destination")
    plain.flash.erase_trust()
    live.boot(plain)
    assert live.lab.cluster_of(plain) == "destination"
    live.call(lambda: settle(live.lab, live.phones))
    assert live.whereabouts() == ["source"] * 3
    assert live.lab.registrations["destination"].find(plain.name) is None
