"""Trust stores: what an addition does, and that copies are their own."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity, Organisation, self_signed
from trustbridge.pki.stores import Added, Entry, TrustStores
from trustbridge.pki.units import Store, Unit

CALLMANAGER = Store.CALLMANAGER_TRUST
SAST = Store.PHONE_SAST_TRUST


def _made(name: str, start: datetime) -> Certificate:
    return self_signed(
        node="n", unit=Unit.CALLMANAGER, common_name=name, organisation=Organisation(), now=start, key="p256"
    ).certificate


@pytest.fixture(scope="module")
def older(now: datetime) -> Certificate:
    return _made("dst-pub.lab.test", now)


@pytest.fixture(scope="module")
def newer(now: datetime) -> Certificate:
    return _made("DST-pub.lab.test", now + timedelta(days=1))


@pytest.fixture(scope="module")
def same_start(now: datetime) -> Certificate:
    return _made("dst-pub.lab.test", now)


def test_a_certificate_added_twice_is_there_once(older: Certificate) -> None:
    stores = TrustStores()
    assert stores.add(SAST, older, "import from dst/dst-pub (tftp)") is Added.ADDED
    assert stores.add(SAST, Certificate.from_der(older.der), "uploaded") is Added.PRESENT
    assert stores.entries(SAST) == (Entry(older, "import from dst/dst-pub (tftp)"),)
    assert stores.entries(CALLMANAGER) == ()


def test_of_two_with_one_common_name_the_later_start_stays(older: Certificate, newer: Certificate) -> None:
    stores = TrustStores()
    stores.add(SAST, older, "a")
    assert stores.add(SAST, newer, "b") is Added.REPLACED
    assert stores.entries(SAST) == (Entry(newer, "b"),)
    assert stores.add(SAST, older, "a") is Added.OLDER_KEPT
    assert stores.entries(SAST) == (Entry(newer, "b"),)


def test_adding_two_that_start_at_once_again_changes_nothing(older: Certificate, same_start: Certificate) -> None:
    stores = TrustStores()
    stores.add(SAST, older, "a")
    assert stores.add(SAST, same_start, "b") is Added.OLDER_KEPT
    assert stores.add(SAST, older, "a") is Added.PRESENT


def test_the_same_common_name_in_another_store_does_not_matter(older: Certificate, newer: Certificate) -> None:
    stores = TrustStores()
    stores.add(SAST, older, "a")
    assert stores.add(CALLMANAGER, newer, "b") is Added.ADDED
    assert stores.holding(older) == (SAST,)
    assert stores.holding(newer) == (CALLMANAGER,)


def test_an_own_certificate_is_never_replaced_by_one_from_elsewhere(older: Certificate, newer: Certificate) -> None:
    stores = TrustStores()
    stores.add(SAST, older, "own", own=True)
    assert stores.add(SAST, newer, "import from dst/dst-pub (tftp)") is Added.OWN_KEPT
    assert stores.entries(SAST) == (Entry(older, "own", own=True),)


def test_an_own_certificate_takes_the_place_of_any_other(older: Certificate, newer: Certificate) -> None:
    stores = TrustStores()
    stores.add(SAST, newer, "uploaded")
    assert stores.add(SAST, older, "own", own=True) is Added.REPLACED
    assert stores.entries(SAST) == (Entry(older, "own", own=True),)


def test_a_regenerated_own_certificate_replaces_the_one_before(older: Certificate, same_start: Certificate) -> None:
    stores = TrustStores()
    stores.add(SAST, older, "own", own=True)
    assert stores.add(SAST, same_start, "own", own=True) is Added.REPLACED
    assert stores.holding(older) == ()


def test_an_imported_certificate_that_turns_out_to_be_own_is_protected_from_then_on(
    older: Certificate, newer: Certificate
) -> None:
    stores = TrustStores()
    stores.add(SAST, older, "uploaded")
    assert stores.add(SAST, older, "own", own=True) is Added.PRESENT
    assert stores.add(SAST, newer, "uploaded") is Added.OWN_KEPT


def test_certificates_without_a_common_name_do_not_clash(now: datetime) -> None:
    stores = TrustStores()
    one, other = (
        self_signed(
            node="n", unit=Unit.TVS, common_name="", organisation=Organisation(o=name), now=now, key="p256"
        ).certificate
        for name in "ab"
    )
    assert stores.add(SAST, one, "a") is Added.ADDED
    assert stores.add(SAST, other, "b") is Added.ADDED


def test_a_copy_is_its_own(older: Certificate, newer: Certificate) -> None:
    stores = TrustStores()
    stores.add(SAST, older, "a")
    copied = stores.copy()
    assert copied == stores
    copied.add(SAST, newer, "b")
    copied.add(CALLMANAGER, newer, "b")
    assert list(stores) == [(SAST, Entry(older, "a"))]
    assert len(copied) == 2
    assert copied != stores


def test_stores_come_back_from_their_entries(identities: dict[Unit, Identity]) -> None:
    stores = TrustStores()
    for unit, identity in identities.items():
        for store in Store:
            stores.add(store, identity.certificate, "own", own=unit is Unit.CAPF)
    assert TrustStores(stores) == stores
    assert [store for store, _ in stores] == sorted((store for store, _ in stores), key=list(Store).index)


def test_a_removed_certificate_is_gone_from_that_store_only(older: Certificate) -> None:
    stores = TrustStores()
    stores.add(SAST, older, "a")
    stores.add(CALLMANAGER, older, "a")
    assert stores.holding(older) == (CALLMANAGER, SAST)
    assert stores.remove(SAST, older)
    assert not stores.remove(SAST, older)
    assert stores.holding(older) == (CALLMANAGER,)


def test_what_it_shows_says_what_it_holds(older: Certificate) -> None:
    stores = TrustStores()
    assert repr(stores) == "<TrustStores empty>"
    stores.add(SAST, older, "a")
    assert stores.summary() == "Phone-SAST-trust 1"
    assert [result for result in Added if result.changed] == [Added.ADDED, Added.REPLACED]


def _plainly(entries: list[Entry], certificate: Certificate, own: bool) -> Added:
    """The rules of an addition as they are written down, entry by entry."""
    for at, entry in enumerate(entries):
        if entry.certificate == certificate:
            if own and not entry.own:
                entries[at] = Entry(certificate, "x", own)
            return Added.PRESENT
    name = certificate.common_name.casefold()
    rivals = [entry for entry in entries if name and entry.certificate.common_name.casefold() == name]
    if not own and any(entry.own for entry in rivals):
        return Added.OWN_KEPT
    if not own and any(entry.certificate.not_before >= certificate.not_before for entry in rivals):
        return Added.OLDER_KEPT
    entries[:] = [entry for entry in entries if entry not in rivals] + [Entry(certificate, "x", own)]
    return Added.REPLACED if rivals else Added.ADDED


def test_additions_go_by_the_rules_whatever_came_before(now: datetime) -> None:
    pool = [_made(name, now + timedelta(days=days)) for name in ("a", "A", "b", "") for days in (0, 1)]
    chance = random.Random(7)  # the same steps every time
    seen = set()
    for _ in range(60):
        stores, entries = TrustStores(), list[Entry]()
        for _ in range(25):
            one, own = chance.choice(pool), chance.random() < 0.2
            match chance.randrange(8):
                case 0:
                    assert stores.remove(SAST, one) is any(entry.certificate == one for entry in entries)
                    entries = [entry for entry in entries if entry.certificate != one]
                case 1:
                    stores.copy().add(SAST, one, "of a copy")
                case 2:
                    stores = stores.with_entries(SAST, stores.entries(SAST)[1:])
                    del entries[:1]
                case 3:  # what is taken as it is may hold rivals, and one twice
                    entries.append(Entry(one, "x", own))
                    stores = stores.with_entries(SAST, tuple(entries))
                case _:
                    seen.add(added := stores.add(SAST, one, "x", own=own))
                    assert added is _plainly(entries, one, own)
            assert list(stores.entries(SAST)) == entries
    assert seen == set(Added)
