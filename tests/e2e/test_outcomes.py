"""Where phones end, and why: every rule of the phone's procedure met over real sockets, between two running clusters.

What a phone kept is proven by the checksum of its flash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.e2e.site import DESTINATION, SOURCE, Site
from tests.lab.prepared import (
    CALL_MANAGER,
    ENCRYPTED,
    HTTP,
    TFTP,
    TVS,
    LiveLab,
    phones,
    refusals,
)

from trustbridge import atomicfile
from trustbridge.lab.phone import LabPhone
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Store, Unit
from trustbridge.trust import lists
from trustbridge.trust.events import Kept, Refusal
from trustbridge.trust.lists import Signer
from trustbridge.wire import trustlist

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")

NON_SECURE: dict[str, Any] = {"source": {"security": "non-secure"}, "destination": {"security": "non-secure"}}
LISTS = ("ITLFile.tlv", "CTLFile.tlv")


def served(live: LiveLab, cluster: str, name: str) -> set[bytes | None]:
    """What the nodes of a cluster have under this name."""
    found = live.lab.clusters[cluster]
    paths = [found.tftp_folder(node.name) / name for node in found.definition.nodes]
    return {path.read_bytes() if path.exists() else None for path in paths}


def holds_lists_of(live: LiveLab, cluster: str, phone: LabPhone) -> bool:
    """That a phone's lists are, byte for byte, those of a cluster."""
    flash = phone.flash.read()
    return flash.itl in served(live, cluster, "ITLFile.tlv") and flash.ctl in served(live, cluster, "CTLFile.tlv")


def told(phone: LabPhone) -> str:
    return "\n".join(line.text for line in phone.transcript)


def checksums(live: LiveLab) -> list[str]:
    return [phone.flash.checksum() for phone in live.phones]


def settle(live: LiveLab) -> list[str]:
    """Register every phone at the source; give the checksums of their flash."""
    assert refusals(live.boot()) == {None}
    assert set(live.whereabouts()) == {SOURCE}
    return checksums(live)


def move(live: LiveLab) -> set[Refusal | None]:
    """Point every phone at the destination and reset it."""
    live.point_at(DESTINATION)
    return refusals(live.boot())


def moved(live: LiveLab) -> bool:
    return set(live.whereabouts()) == {DESTINATION} and all(
        holds_lists_of(live, DESTINATION, phone) for phone in live.phones
    )


def stranded(live: LiveLab, before: list[str], status: str = "Trust List Update Failed") -> bool:
    """Refused, nothing lost, still working where they were."""
    assert checksums(live) == before
    assert set(live.whereabouts()) == {SOURCE}
    assert {phone.status[-1][1] for phone in live.phones} == {status}
    return True


# The two processes of the procedure.


def test_without_the_exchange_phones_strand_and_lose_nothing(site: Site) -> None:
    with site.up(phones(2), phones(1, security=ENCRYPTED)) as live:
        before = settle(live)
        assert move(live) == {Refusal.NOT_VOUCHED}
        assert stranded(live, before)


def test_non_secure_phones_move_by_asking_about_the_itl(site: Site) -> None:
    with site.up(phones(2), phones(1, model="CP-7821"), exchanged=True, **NON_SECURE) as live:
        settle(live)
        assert {phone.flash.kept(Kept.CTL) for phone in live.phones} == {None}
        assert move(live) == {None}
        assert moved(live)
        # The first of the group answered each phone once.
        assert (live.asked("src-sub1"), live.asked("src-pub")) == (3, 0)
        assert live.asked("dst-sub1", "dst-pub") == 0


def test_secure_phones_move_by_asking_about_the_ctl_and_then_know_the_itl(site: Site) -> None:
    with site.up(phones(1), phones(2, security=ENCRYPTED), exchanged=True) as live:
        settle(live)
        assert move(live) == {None}
        assert moved(live)
        assert live.asked("src-sub1", "src-pub") == 3  # about the CTL; the ITL is verified with it
        assert [phone.registered_with.secure for phone in live.phones if phone.registered_with] == [False, True, True]
        registered = [live.lab.registrations[DESTINATION].find(phone.name) for phone in live.phones]
        assert [found.secure for found in registered if found] == [False, True, True]


def test_phones_go_back_because_the_import_was_done_on_both_sides(site: Site) -> None:
    with site.up(phones(1), phones(1, security=ENCRYPTED), exchanged=True) as live:
        settle(live)
        move(live)
        assert moved(live)
        live.point_at(SOURCE)
        assert refusals(live.boot()) == {None}
        assert set(live.whereabouts()) == {SOURCE}
        assert all(holds_lists_of(live, SOURCE, phone) for phone in live.phones)
        assert live.asked("dst-sub1", "dst-pub") == 2


def test_going_back_fails_where_only_one_side_imported(site: Site) -> None:
    with site.up(phones(1), **NON_SECURE) as live:
        settle(live)
        signer = live.destination.list_signer("dst-sub1").certificate
        for store in (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST):
            live.call(lambda store=store: live.source.upload_trust(store, signer))  # type: ignore[misc] # bound now
        assert move(live) == {None}
        assert moved(live)
        before = checksums(live)
        live.point_at(SOURCE)
        assert refusals(live.boot()) == {Refusal.NOT_VOUCHED}
        assert checksums(live) == before
        assert set(live.whereabouts()) == {DESTINATION}


def test_the_manual_method_of_uploads_does_as_well(site: Site) -> None:
    with site.up(phones(1), **NON_SECURE) as live:
        before = settle(live)
        signer = live.destination.identity("dst-pub", Unit.ITLRECOVERY).certificate
        live.call(lambda: live.source.upload_trust(Store.CALLMANAGER_TRUST, signer))
        assert move(live) == {Refusal.WRONG_ROLE}  # known, but not as somebody who may sign trust lists
        assert stranded(live, before)
        live.call(lambda: live.source.upload_trust(Store.PHONE_SAST_TRUST, signer))
        assert refusals(live.boot()) == {None}
        assert moved(live)


# What a phone has installed decides.


@pytest.mark.parametrize("modes", [{}, NON_SECURE], ids=["mixed", "non-secure"])
def test_a_phone_without_trust_lists_takes_the_first_ones_unseen(site: Site, modes: dict[str, Any]) -> None:
    with site.up(phones(2), **modes) as live:
        assert move(live) == {None}
        assert moved(live)
        assert live.asked("src-sub1", "src-pub", "dst-sub1", "dst-pub") == 0


def test_a_phone_whose_trust_lists_were_erased_is_as_fresh(site: Site) -> None:
    with site.up(phones(1)) as live:
        before = settle(live)
        assert move(live) == {Refusal.NOT_VOUCHED}
        assert stranded(live, before)
        live.call(live.phones[0].flash.erase_trust)
        assert refusals(live.boot()) == {None}
        assert moved(live)


def test_a_blank_itl_lets_non_secure_phones_go_anywhere(site: Site) -> None:
    with site.up(phones(2), **NON_SECURE) as live:
        settle(live)
        live.call(lambda: live.source.set_prepare_for_rollback(True))
        assert refusals(live.boot()) == {None}
        assert all(trustlist.decode(phone.flash.kept(Kept.ITL) or b"").blank for phone in live.phones)
        assert move(live) == {None}
        assert moved(live)
        assert live.asked("src-sub1", "src-pub") == 0


def test_a_blank_itl_leaves_secure_phones_stuck_even_after_the_exchange(site: Site) -> None:
    with site.up(phones(1, security=ENCRYPTED), exchanged=True) as live:
        settle(live)
        live.call(lambda: live.source.set_prepare_for_rollback(True))
        assert refusals(live.boot()) == {None}
        before = checksums(live)
        assert move(live) == {Refusal.TVS_CERTIFICATE}
        assert stranded(live, before)


def test_a_ctl_left_over_from_mixed_mode_still_decides(site: Site) -> None:
    with site.up(phones(1), exchanged=True, destination={"security": "non-secure"}) as live:
        before = settle(live)
        live.call(lambda: live.source.set_security("non-secure"))
        assert refusals(live.boot()) == {None}
        assert live.phones[0].flash.kept(Kept.CTL) is not None
        before = checksums(live)
        assert move(live) == {Refusal.NOT_IN_CTL}
        assert stranded(live, before)


def test_a_phone_that_knows_no_security_by_default_just_moves(site: Site) -> None:
    with site.up(phones(1, model="CP-7960"), **NON_SECURE) as live:
        settle(live)
        assert move(live) == {None}
        assert live.whereabouts() == [DESTINATION]
        assert live.phones[0].flash.kept(Kept.ITL) is None


# The TVS.


def test_every_tvs_down_strands_phones(site: Site) -> None:
    with site.up(phones(2), phones(1, security=ENCRYPTED), exchanged=True) as live:
        before = settle(live)
        for node in ("src-pub", "src-sub1"):
            live.stop_service(node, TVS)
        assert move(live) == {Refusal.TVS_UNREACHABLE}
        assert stranded(live, before)
        assert told(live.phones[0]).count("asks TVS") == 2


def test_the_next_tvs_is_asked_when_the_first_is_down(site: Site) -> None:
    with site.up(phones(2), exchanged=True) as live:
        settle(live)
        live.stop_service("src-sub1", TVS)
        assert move(live) == {None}
        assert moved(live)
        assert live.asked("src-pub") == 2


def test_a_tvs_certificate_the_phones_itl_does_not_list_is_not_accepted(site: Site) -> None:
    with site.up(phones(1), phones(1, security=ENCRYPTED), exchanged=True) as live:
        before = settle(live)
    for node in ("src-pub", "src-sub1"):
        site.renew(SOURCE, node)
    with site.up() as live:
        assert move(live) == {Refusal.TVS_CERTIFICATE}
        assert checksums(live) == before
        assert set(live.whereabouts()) == {SOURCE}
        assert live.asked("src-sub1", "src-pub") == 0  # the phones hung up before they asked


def test_one_renewed_tvs_is_passed_over_for_the_next(site: Site) -> None:
    with site.up(phones(1), exchanged=True) as live:
        settle(live)
    site.renew(SOURCE, "src-sub1")
    with site.up() as live:
        assert move(live) == {None}
        assert moved(live)
        assert (live.asked("src-sub1"), live.asked("src-pub")) == (0, 1)


def test_phones_that_saw_the_renewed_tvs_in_time_move(site: Site) -> None:
    with site.up(phones(1), exchanged=True) as live:
        settle(live)
    site.renew(SOURCE, "src-sub1")
    with site.up() as live:
        settle(live)  # takes the new ITL
        assert move(live) == {None}
        assert live.asked("src-sub1") == 1


def test_an_expired_tvs_certificate_is_not_accepted_though_the_itl_lists_it(site: Site) -> None:
    with site.up(phones(1), exchanged=True):
        pass
    for node in ("src-pub", "src-sub1"):
        site.renew(SOURCE, node, now=datetime.now(UTC) - timedelta(days=30), days=20)
    with site.up() as live:
        before = settle(live)
        assert move(live) == {Refusal.TVS_CERTIFICATE_EXPIRED}
        assert stranded(live, before)


def test_a_tvs_that_has_not_replicated_strands_the_phones_that_ask_it_first(site: Site) -> None:
    with site.up(phones(1), exchanged=True) as live:
        before = settle(live)
        stores = live.source.stores["src-sub1"]
        signer = live.destination.list_signer("dst-sub1").certificate
        for store in stores.holding(signer):
            stores.remove(store, signer)
        live.call(live.node("src-sub1").refresh)
        assert move(live) == {Refusal.NOT_VOUCHED}
        assert stranded(live, before)
        assert live.asked("src-pub") == 0  # a "no" is final


def test_7900_phones_need_a_tvs_that_still_speaks_tls_1_0(site: Site) -> None:
    with site.up(phones(1, model="CP-7965"), exchanged=True) as live:
        before = settle(live)
        assert move(live) == {Refusal.TVS_UNREACHABLE}
        assert stranded(live, before)
        assert "protocol" in told(live.phones[0])


def test_7900_phones_move_where_the_minimum_is_tls_1_0(site: Site) -> None:
    with site.up(phones(1, model="CP-7965"), phones(1), exchanged=True, source={"minimum_tls": "1.0"}) as live:
        settle(live)
        assert move(live) == {None}
        assert moved(live)


# The files.


def change(live: LiveLab, name: str, how: Callable[[bytes], bytes]) -> None:
    """Change a file that the destination's TFTP nodes serve, on disk and behind their back."""
    for node in live.destination.definition.nodes:
        path = live.destination.tftp_folder(node.name) / name
        atomicfile.write(path, how(path.read_bytes()))


def flipped(place: int) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        at = place % len(content)
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    return flip


@pytest.mark.parametrize("place", [-40, 400], ids=["in the last record", "in the signature"])
@pytest.mark.parametrize("modes", [{}, NON_SECURE], ids=["CTL", "ITL"])
def test_a_tampered_trust_list_is_refused_though_its_signer_is_vouched_for(
    site: Site, modes: dict[str, Any], place: int
) -> None:
    with site.up(phones(1), exchanged=True, **modes) as live:
        before = settle(live)
        change(live, "ITLFile.tlv" if modes else "CTLFile.tlv", flipped(place))
        assert move(live) == {Refusal.WRONG_SIGNATURE}
        assert stranded(live, before, "Trust List update failed, verification failure")
        assert live.asked("src-sub1") == 1


def test_a_tampered_itl_is_refused_by_the_ctl_that_came_before_it(site: Site) -> None:
    with site.up(phones(1), exchanged=True) as live:
        settle(live)
        change(live, "ITLFile.tlv", flipped(-40))
        before = live.phones[0].flash.read()
        assert move(live) == {Refusal.WRONG_SIGNATURE}
        after = live.phones[0].flash.read()
        assert after.ctl in served(live, DESTINATION, "CTLFile.tlv")  # it was accepted, and stays
        assert (after.itl, after.configuration) == (before.itl, before.configuration)


def test_a_list_signed_with_another_key_in_the_signers_name_is_refused(site: Site) -> None:
    with site.up(phones(1), exchanged=True) as live:
        before = settle(live)
        real = live.destination.list_signer("dst-pub").certificate
        other = self_signed(
            node="x", unit=Unit.ITLRECOVERY, common_name="x", organisation=Organisation(o="x"), now=datetime.now(UTC)
        )

        digest = live.destination.definition.digest

        def forged(content: bytes) -> bytes:
            records = trustlist.decode(content).records
            signer = Signer(real, other.private_key)
            header = signer.header(
                version=(1, 2),
                file_name="CTLFile.tlv",
                now=datetime.now(UTC),
                digest=digest,
            )
            body = trustlist.encode_records(records)
            return trustlist.encode(trustlist.TrustListFile(signer.sign(header, body), records))

        change(live, "CTLFile.tlv", forged)
        assert move(live) == {Refusal.WRONG_SIGNATURE}
        assert stranded(live, before, "Trust List update failed, verification failure")


@pytest.mark.parametrize("content", [b"", b"<html>It works!</html>", b"\x01\x00\x02\x01\x02\x02\x00\x02\xff\xff"])
def test_what_is_no_trust_list_is_refused(site: Site, content: bytes) -> None:
    with site.up(phones(1), exchanged=True) as live:
        before = settle(live)
        change(live, "CTLFile.tlv", lambda _: content)
        assert move(live) == {Refusal.MALFORMED}
        assert stranded(live, before)


def test_an_itl_over_64_kib_is_refused(site: Site) -> None:
    with site.up(phones(1), exchanged=True, **NON_SECURE) as live:
        before = settle(live)
        signer = live.destination.list_signer("dst-pub")

        def large(content: bytes) -> bytes:
            listed = [
                lists.ListedCertificate(trustlist.Role.TVS, f"node{number}", signer.certificate) for number in range(45)
            ]
            built = lists.build_trust_list(listed, signer, file_name="ITLFile.tlv", now=datetime.now(UTC))
            return trustlist.encode(built)

        change(live, "ITLFile.tlv", large)
        assert all(len(content or b"") > 65536 for content in served(live, DESTINATION, "ITLFile.tlv"))
        assert move(live) == {Refusal.TOO_LARGE}
        assert stranded(live, before)


def test_a_destination_without_an_itl_is_not_moved_to_silently(site: Site) -> None:
    with site.up(phones(1), exchanged=True, **NON_SECURE) as live:
        settle(live)
        itl = live.phones[0].flash.kept(Kept.ITL)
        for node in live.destination.definition.nodes:
            (live.destination.tftp_folder(node.name) / "ITLFile.tlv").unlink()
        assert move(live) == {Refusal.NO_ITL}
        assert live.phones[0].flash.kept(Kept.ITL) == itl


def test_signatures_an_old_model_can_not_verify_are_refused(site: Site) -> None:
    with site.up(
        phones(1, model="CP-7965"), exchanged=True, source={"minimum_tls": "1.0"}, destination={"tftp_digest": "sha512"}
    ) as live:
        before = settle(live)
        assert move(live) == {Refusal.MODEL}
        assert stranded(live, before)


def sign_wrongly(live: LiveLab, how: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve changed configurations from the destination's nodes."""
    for name in ("dst-pub", "dst-sub1"):
        files = live.node(name).files
        assert files is not None
        monkeypatch.setattr(files, "_signed", lambda *key, files=files: how(files._sign(*key)))


@pytest.mark.parametrize(
    ("how", "refusal"),
    [(flipped(-20), Refusal.WRONG_SIGNATURE), (lambda content: content[:50], Refusal.MALFORMED)],
    ids=["tampered", "cut off"],
)
def test_a_bad_configuration_file_is_refused_and_the_old_one_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch, how: Callable[[bytes], bytes], refusal: Refusal
) -> None:
    with site.up(phones(1), exchanged=True) as live:
        settle(live)
        kept = live.phones[0].flash.kept(Kept.CONFIGURATION)
        sign_wrongly(live, how, monkeypatch)
        assert move(live) == {refusal}
        assert live.phones[0].status[-1][1] == "Error Verifying Config Info"
        assert live.phones[0].flash.kept(Kept.CONFIGURATION) == kept


# Servers that are down.


@pytest.mark.parametrize("down", [("dst-sub1",), ("dst-sub1", "dst-pub")], ids=["first", "both"])
def test_tftp_is_used_where_http_is_down(site: Site, down: tuple[str, ...]) -> None:
    with site.up(phones(2), exchanged=True) as live:
        settle(live)
        for node in down:
            live.stop_service(node, HTTP)
        assert move(live) == {None}
        assert moved(live)
        server: Any = live.node("dst-sub1").services[TFTP]
        assert server.counters.completed >= 3 * len(live.phones)


def test_the_second_tftp_server_is_used_when_the_first_is_down(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustbridge.lab.phone.PATIENCE", 0.4)
    with site.up(phones(1), exchanged=True) as live:
        settle(live)
        for service in (HTTP, TFTP):
            live.stop_service("dst-sub1", service)
        assert move(live) == {None}
        assert moved(live)


def test_a_destination_that_is_down_costs_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustbridge.lab.phone.PATIENCE", 0.4)
    with site.up(phones(2), exchanged=True) as live:
        before = settle(live)
        for node in ("dst-pub", "dst-sub1"):
            for service in (HTTP, TFTP):
                live.stop_service(node, service)
        assert move(live) == {Refusal.NO_TFTP_ANSWER}
        assert stranded(live, before, "TFTP Timeout")


def test_the_publisher_takes_registrations_while_the_subscriber_is_down(site: Site) -> None:
    with site.up(phones(2)) as live:
        live.stop_service("src-sub1", CALL_MANAGER)
        live.boot()
        assert set(live.whereabouts()) == {SOURCE}
        publisher = live.source.definition.address("src-pub")
        assert {phone.registered_with.name for phone in live.phones if phone.registered_with} == {publisher}


def test_phones_without_dhcp_keep_working_where_they_are(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustbridge.lab.phone.PATIENCE", 0.05)
    with site.up(phones(1)) as live:
        before = settle(live)
        dhcp = live.lab._dhcp
        assert dhcp is not None
        live.do(dhcp.stop())
        assert refusals(live.boot()) == {Refusal.NO_TFTP_ANSWER}
        assert checksums(live) == before
        assert live.whereabouts() == [SOURCE]


# Registration.


def test_a_phone_the_destination_does_not_know_ends_nowhere(site: Site) -> None:
    with site.up(phones(2), exchanged=True) as live:
        settle(live)
        stranger, known = live.phones
        live.call(lambda: live.destination.remove_devices([stranger.name]))
        move(live)
        assert live.whereabouts() == [None, DESTINATION]
        assert stranger.outcome is not None
        assert stranger.outcome.refusal is Refusal.REGISTRATION
        assert "404" in stranger.outcome.reason
        assert holds_lists_of(live, DESTINATION, stranger)
        assert live.lab.registrations[DESTINATION].rejected.keys() == {stranger.name}
        assert known.outcome is not None
        assert known.outcome.refusal is None


def test_an_auto_registering_destination_takes_strangers(site: Site) -> None:
    with site.up(phones(1), exchanged=True, destination={"auto_registration": True}) as live:
        settle(live)
        name = live.phones[0].name
        live.call(lambda: live.destination.remove_devices([name]))
        assert move(live) == {None}
        assert live.whereabouts() == [DESTINATION]
        assert live.destination.devices[name].model == "CP-8841"


def test_a_secure_phone_needs_its_capf_in_the_destinations_capf_trust(site: Site) -> None:
    with site.up(phones(1), phones(1, security=ENCRYPTED), exchanged=True) as live:
        settle(live)
        capf = live.source.capf.certificate
        for node in ("dst-pub", "dst-sub1"):
            live.destination.stores[node].remove(Store.CAPF_TRUST, capf)
            live.call(live.node(node).refresh)
        move(live)
        plain, secure = live.phones
        assert live.whereabouts() == [DESTINATION, None]
        assert secure.outcome is not None
        assert secure.outcome.refusal is Refusal.REGISTRATION
        assert holds_lists_of(live, DESTINATION, secure)
        live.call(lambda: live.destination.upload_trust(Store.CAPF_TRUST, capf))
        assert refusals(live.boot(secure)) == {None}
        assert live.whereabouts() == [DESTINATION, DESTINATION]
        assert plain.outcome is not None
        assert plain.outcome.refusal is None


def test_capf_trust_on_one_node_is_enough_while_the_phone_finds_it(site: Site) -> None:
    with site.up(phones(1, security=ENCRYPTED), exchanged=True) as live:
        settle(live)
        live.destination.stores["dst-sub1"].remove(Store.CAPF_TRUST, live.source.capf.certificate)
        live.call(live.node("dst-sub1").refresh)
        assert move(live) == {None}
        publisher = live.destination.definition.address("dst-pub")
        assert live.phones[0].registered_with is not None
        assert live.phones[0].registered_with.name == publisher  # the second of the group


def test_a_unified_cm_with_a_certificate_no_list_names_gets_no_secure_phone(site: Site) -> None:
    with site.up(phones(1, security=ENCRYPTED)) as live:
        settle(live)
    for node in ("src-pub", "src-sub1"):
        site.renew(SOURCE, node, Unit.CALLMANAGER)
    with site.up() as live:
        # The lists are new as well, signed by what the phone does not know, and no TVS has been told.
        (outcome,) = live.boot()
        assert outcome.registered is None
        assert "not accepted" in told(live.phones[0])


# Flash, and more than one thing at once.


def test_a_phone_whose_flash_is_damaged_says_so_and_the_others_start(site: Site) -> None:
    with site.up(phones(2), phones(1, security=ENCRYPTED)) as live:
        settle(live)
        first, _, secure = live.phones
        first.flash.write(Kept.ITL, b"damaged")
        (secure.flash.path / "lsc.key").write_text("damaged")
        live.boot()
        assert live.whereabouts()[:2] == [SOURCE, SOURCE]
        assert any("can't be read" in line.text for line in first.transcript if line.ok is False)
        assert secure.outcome is not None
        assert secure.outcome.registered is None
        assert secure.outcome.reason


def test_phones_reset_twice_at_once_end_once(site: Site) -> None:
    with site.up(phones(3), phones(1, security=ENCRYPTED), exchanged=True) as live:
        settle(live)
        live.point_at(DESTINATION)

        async def twice() -> None:
            await asyncio.gather(*(live.lab.boot(live.phones) for _ in range(3)))

        live.do(twice())
        assert moved(live)
        assert [len(live.lab.registrations[name]) for name in (SOURCE, DESTINATION)] == [0, 4]


def test_a_fault_in_one_phone_does_not_take_the_lab_down(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("nobody thought of this")

    with site.up(phones(3)) as live:
        victim = live.phones[1]
        monkeypatch.setattr(victim, "_fetch", broken)
        live.boot()
        assert live.whereabouts() == [SOURCE, None, SOURCE]
        assert victim.outcome is not None
        assert "nobody thought of this" in victim.outcome.reason
        monkeypatch.undo()
        live.boot(victim)
        assert live.whereabouts() == [SOURCE, SOURCE, SOURCE]
