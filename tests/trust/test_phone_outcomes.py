"""Where phones end, between two whole clusters: every rule of `domain`.

Nothing here is scripted: the phone asks, and the clusters of `world` answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.trust.arrangements import (
    CONFIGURATION,
    CTL,
    ITL,
    LONG_KEY,
    A,
    B,
    lose,
    move,
    renew_tvs,
    serve,
    withdraw,
    world,
)
from tests.trust.world import NOW, UnifiedCm, World, cluster, stranger

from trustbridge.pki.units import BulkType, Store, Unit
from trustbridge.trust import configuration as configurations
from trustbridge.trust.configuration import TvsServer
from trustbridge.trust.events import Flash, Kept, Refusal
from trustbridge.wire.signedheader import Digest

EVERYTHING = {Kept.CTL, Kept.ITL, Kept.CONFIGURATION}
ITL_AND_CONFIGURATION = {Kept.ITL, Kept.CONFIGURATION}
CTL_NOT_FOUND = "File Not Found <CTLFile.tlv>"

# Phones that move.


@pytest.mark.parametrize(
    ("secure", "updated", "status"),
    [
        (
            False,
            ITL_AND_CONFIGURATION,
            ["ITL installed", CTL_NOT_FOUND, "Trust List Updated", f"{CONFIGURATION}.sgn"],
        ),
        (
            True,
            EVERYTHING,
            ["CTL and ITL installed", "Trust List Updated", "Trust List Updated", f"{CONFIGURATION}.sgn"],
        ),
    ],
)
def test_after_the_exchange_a_phone_moves_with_one_question_and_can_come_back(
    secure: bool, updated: set[Kept], status: list[str]
) -> None:
    made = world(secure=secure)
    there = move(made, A.flash(secure=secure))
    assert (there.registered, there.outcome.refusal) == ("dst1", None), f"\n{there}"
    assert there.outcome.updated == updated
    assert there.status == status
    assert there.asked == ["src1"]
    assert there.outcome.registered is not None
    assert there.outcome.registered.secure is secure
    assert there.outcome.configuration == B.configuration(secure=secure)
    assert there.flash.itl == made.tftp["dst1"][ITL]
    assert there.flash.ctl == made.tftp["dst1"].get(CTL)
    assert there.flash.configuration == B.plain(secure=secure)
    back = made.boot(there.flash, ("src1",))
    assert (back.registered, back.outcome.refusal, back.asked) == ("src1", None, ["dst1"])
    assert back.flash.configuration == A.plain(secure=secure)


@pytest.mark.parametrize("secure", [False, True])
def test_without_import_on_the_destination_there_is_no_way_back(secure: bool) -> None:
    made = World()
    made.add(A, *B.offered(), secure=secure)
    made.add(B, secure=secure)
    there = move(made, A.flash(secure=secure))
    assert there.registered == "dst1"
    back = made.boot(there.flash, ("src1",))
    assert (back.registered, back.outcome.refusal) == ("dst1", Refusal.NOT_VOUCHED)
    assert back.flash == there.flash


@pytest.mark.parametrize("secure", [False, True])
def test_a_phone_that_is_reset_where_it_works_changes_nothing_and_asks_nobody(secure: bool) -> None:
    made = world(secure=secure)
    flash = move(made, A.flash(secure=secure)).flash
    again = move(made, flash)
    assert (again.registered, again.outcome.refusal) == ("dst1", None)
    assert again.outcome.updated == set()
    assert again.flash == flash
    assert again.asked == []
    assert "Trust List Updated" not in again.status


def test_a_renewed_list_of_the_own_cluster_needs_no_tvs() -> None:
    made = world(exchanged=False)
    made.tvs.clear()
    made.tftp["src1"][ITL] = A.itl(now=NOW + timedelta(days=1))
    end = made.boot(A.flash(), ("src1",))
    assert (end.registered, end.outcome.refusal) == ("src1", None)
    assert end.outcome.updated == {Kept.ITL}


@pytest.mark.parametrize("exchanged", [False, True])
def test_a_phone_without_a_trust_list_accepts_the_first_one_unseen(exchanged: bool) -> None:
    end = move(world(exchanged=exchanged), Flash())
    assert (end.registered, end.outcome.refusal, end.asked) == ("dst1", None, [])
    assert end.outcome.updated == ITL_AND_CONFIGURATION
    assert end.status[0] == "No Trust List Installed"


def test_a_phone_without_a_trust_list_accepts_the_first_ctl_unseen_and_its_itl_by_it() -> None:
    end = move(world(exchanged=False, secure=True), Flash())
    assert (end.registered, end.outcome.refusal, end.asked) == ("dst1", None, [])
    assert end.outcome.updated == EVERYTHING
    tampered = world(exchanged=False, secure=True)
    serve(B.itl()[:-1] + b"\1")(tampered)
    end = move(tampered, Flash())
    assert end.outcome.refusal is Refusal.WRONG_SIGNATURE
    assert end.outcome.updated == {Kept.CTL}
    assert end.flash == Flash(ctl=B.ctl())
    assert end.registered == ""


def test_a_blank_itl_lets_any_new_itl_in() -> None:
    flash = replace(A.flash(), itl=A.itl(blank=True))
    end = move(world(exchanged=False), flash)
    assert (end.registered, end.outcome.refusal, end.asked) == ("dst1", None, [])
    assert end.outcome.updated == ITL_AND_CONFIGURATION


def test_an_itl_is_verified_by_the_new_ctl_and_no_tvs_is_asked_again() -> None:
    made = world(secure=True)
    end = move(made, A.flash(secure=True))
    assert end.asked == ["src1"]
    assert end.fetched == [CTL, ITL, f"{CONFIGURATION}.sgn"]
    # Each TFTP node signs its own ITL with its CallManager certificate: CCM+TFTP in the CTL.
    serve(B.itl(1, signer=B.signer(Unit.CALLMANAGER, 1)))(made)
    assert move(made, A.flash(secure=True)).outcome.refusal is None


def test_a_ctl_that_was_accepted_stays_when_the_itl_after_it_is_refused() -> None:
    made = world(secure=True)
    serve(A.itl(now=NOW + timedelta(days=1)))(made)
    end = move(made, A.flash(secure=True))
    assert end.outcome.refusal is Refusal.NOT_IN_CTL
    assert end.flash == replace(A.flash(secure=True), ctl=B.ctl())
    assert any(line.text == "keeps everything but the new CTL" for line in end.transcript)


@pytest.mark.parametrize("arrange", [lose("src1"), renew_tvs("src1")])
def test_the_second_tvs_of_the_group_is_asked_when_the_first_is_no_use(arrange: Callable[[World], None]) -> None:
    made = world()
    arrange(made)
    end = move(made, A.flash())
    assert (end.registered, end.outcome.refusal, end.asked) == ("dst1", None, ["src1", "src2"])


def test_only_the_nodes_of_the_phones_group_are_asked() -> None:
    three = cluster("wide", nodes=3)
    made = World()
    made.add(three, *B.offered())
    made.add(B)
    assert [server.address for server in three.configuration().tvs] == ["wide1", "wide2"]
    lose("wide1", "wide2")(made)
    end = move(made, three.flash())
    assert (end.outcome.refusal, end.asked) == (Refusal.TVS_UNREACHABLE, ["wide1", "wide2"])
    assert "wide3" in made.tvs


def test_tvs_servers_are_asked_in_the_order_of_the_configuration() -> None:
    servers = (TvsServer("src2"), TvsServer("src1"))
    flash = replace(A.flash(), configuration=configurations.build(replace(A.configuration(), tvs=servers)))
    assert move(world(), flash).asked == ["src2"]


@pytest.mark.parametrize("kinds", [(BulkType.ITLRECOVERY,), (BulkType.ITLRECOVERY, BulkType.CAPF)])
def test_the_signers_type_alone_is_enough_for_a_phone_to_move(kinds: tuple[BulkType, ...]) -> None:
    made = World()
    made.add(A, *B.offered(*kinds))
    made.add(B)
    assert move(made, A.flash()).registered == "dst1"


def test_a_model_without_security_by_default_moves_without_trust_lists() -> None:
    end = move(world(exchanged=False), replace(A.flash(), itl=None), model="CP-7960")
    assert (end.registered, end.outcome.refusal, end.asked) == ("dst1", None, [])
    assert end.outcome.updated == {Kept.CONFIGURATION}
    assert end.fetched == [CTL, CONFIGURATION]
    assert any("does not know Security by Default" in line.text for line in end.transcript)


def test_a_current_model_verifies_sha_512_and_4096_bits() -> None:
    made = world()
    serve(B.itl(digest=Digest.SHA512))(made)
    assert move(made, A.flash()).outcome.refusal is None
    made = World()
    made.add(A, (Store.PHONE_SAST_TRUST, stranger("rsa4096").certificate))
    made.add(B)
    serve(LONG_KEY)(made)
    assert move(made, A.flash()).outcome.refusal is None


def test_the_second_tftp_server_is_used_when_the_first_is_down() -> None:
    made = world()
    lose("dst1", where="tftp")(made)
    end = move(made, A.flash())
    assert (end.registered, end.flash.itl) == ("dst1", made.tftp["dst2"][ITL])


# Registration, and configurations that are missing or wrong.


def test_a_device_the_destination_does_not_know_is_rejected_by_its_default_and_keeps_its_configuration() -> None:
    made = world()
    withdraw(CONFIGURATION, f"{CONFIGURATION}.sgn")(made)
    serve(B.signed(B.plain(), "XMLDefault.cnf.xml"), "XMLDefault.cnf.xml.sgn")(made)
    for name in B.identities:
        made.call_managers[name].rejects = "no such device, and auto-registration is off"
    end = move(made, A.flash())
    assert (end.registered, end.outcome.refusal) == ("", Refusal.REGISTRATION)
    assert "no such device" in end.outcome.reason
    assert end.outcome.updated == {Kept.ITL}
    assert end.flash.configuration == A.plain()
    assert end.status[-1] == "XMLDefault.cnf.xml.sgn"
    for name in B.identities:
        made.call_managers[name].rejects = ""
    assert move(made, A.flash()).registered == "dst1"  # auto-registration


@pytest.mark.parametrize(("secure", "registered"), [(False, "src1"), (True, "")])
def test_a_destination_without_any_configuration_leaves_the_phone_with_its_old_one(
    secure: bool, registered: str
) -> None:
    made = world(secure=secure)
    withdraw(CONFIGURATION, f"{CONFIGURATION}.sgn")(made)
    end = move(made, A.flash(secure=secure))
    assert end.outcome.refusal is Refusal.NO_CONFIGURATION
    assert end.status[-1] == "File Not Found <XMLDefault.cnf.xml.sgn>"
    assert end.flash.configuration == A.plain(secure=secure)
    # Its new lists do not name the source's Unified CMs, so over TLS it can't go back to them.
    assert end.registered == registered


def test_a_destination_without_an_itl_takes_the_phone_and_is_told_apart() -> None:
    made = world()
    withdraw(ITL, "ITLFile.tlv")(made)
    end = move(made, A.flash())
    assert (end.registered, end.outcome.refusal) == ("dst1", Refusal.NO_ITL)
    assert end.flash.itl == A.itl()
    for flash in (replace(A.flash(), itl=A.itl(blank=True)), Flash()):
        assert move(made, flash).outcome.refusal is None


def test_a_rejected_registration_is_told_with_the_words_of_the_unified_cm() -> None:
    made = world()
    for name in B.identities:
        made.call_managers[name].rejects = "403 Forbidden"
    end = move(made, A.flash())
    assert (end.registered, end.outcome.refusal) == ("", Refusal.REGISTRATION)
    assert end.outcome.reason == "dst2:5060 rejects the registration: 403 Forbidden"
    assert end.outcome.updated == ITL_AND_CONFIGURATION


@pytest.mark.parametrize("rejects", ["", "503 Service Unavailable"])
def test_the_second_unified_cm_of_the_group_is_tried(rejects: str) -> None:
    made = world()
    if rejects:
        made.call_managers["dst1"].rejects = rejects
    else:
        lose("dst1", where="call_managers")(made)
    end = move(made, A.flash())
    assert (end.registered, end.outcome.refusal) == ("dst2", None)


def test_a_secure_phone_does_not_register_with_a_unified_cm_its_lists_do_not_name() -> None:
    made = world(secure=True)
    made.call_managers["dst1"] = UnifiedCm(stranger().certificate)
    assert move(made, A.flash(secure=True)).registered == "dst2"
    made.call_managers["dst2"] = UnifiedCm(stranger().certificate)
    end = move(made, A.flash(secure=True))
    assert (end.registered, end.outcome.refusal) == ("", Refusal.REGISTRATION)
    assert "is not in the phone's trust lists with role CCM or CCM+TFTP" in end.outcome.reason
    # Over TCP nobody shows a certificate.
    made = world()
    made.call_managers["dst1"] = UnifiedCm(stranger().certificate)
    assert move(made, A.flash()).registered == "dst1"


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (B.signed(B.plain(), CONFIGURATION) + b" ", Refusal.WRONG_SIGNATURE),
        (B.signed(b"<html/>", CONFIGURATION), Refusal.MALFORMED),
        (B.plain(), Refusal.MALFORMED),
        (A.signed(B.plain(), CONFIGURATION), Refusal.TVS_CERTIFICATE),  # unknown to the new ITL, and no TVS in it
    ],
)
def test_a_configuration_that_is_refused_leaves_the_old_one(content: bytes, refusal: Refusal) -> None:
    made = world()
    serve(content, f"{CONFIGURATION}.sgn")(made)
    end = move(made, A.flash())
    assert end.outcome.refusal is refusal
    assert (end.status[-1], end.registered) == ("Error Verifying Config Info", "src1")
    assert (end.flash.itl, end.flash.configuration) == (B.itl(), A.plain())


def test_a_configuration_signed_beyond_an_older_model_is_refused() -> None:
    made = world()
    serve(B.signed(B.plain(), CONFIGURATION, digest=Digest.SHA512), f"{CONFIGURATION}.sgn")(made)
    assert move(made, A.flash(), model="CP-7962").outcome.refusal is Refusal.MODEL
    assert move(made, A.flash()).outcome.refusal is None


def test_without_option_150_nothing_is_fetched() -> None:
    end = world().boot(A.flash(), ())
    assert (end.registered, end.outcome.refusal, end.fetched) == ("src1", Refusal.NO_TFTP_ANSWER, [])
    assert end.flash == A.flash()
