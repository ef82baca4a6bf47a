"""Where phones end, between two whole clusters: every rule of `domain` and every way to strand that a phone can meet.

Nothing here is scripted: the phone asks, and the clusters of `world` answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from tests.trust.world import DEVICE, NOW, Ended, UnifiedCm, World, cluster, stranger

from trustbridge.pki.units import BulkType, Store, Unit
from trustbridge.trust import configuration as configurations
from trustbridge.trust.configuration import TvsServer
from trustbridge.trust.events import Flash, Install, Kept, Refusal
from trustbridge.trust.lists import Signer
from trustbridge.trust.models import MODELS
from trustbridge.trust.phone import LIST_FAILED, VERIFICATION_FAILED
from trustbridge.trust.vouch import Vouched, VouchIndex
from trustbridge.wire.signedheader import Digest

A, B = cluster("src"), cluster("dst")
CTL, ITL, CONFIGURATION = f"CTL{DEVICE}.tlv", f"ITL{DEVICE}.tlv", f"{DEVICE}.cnf.xml"
EVERYTHING = {Kept.CTL, Kept.ITL, Kept.CONFIGURATION}
ITL_AND_CONFIGURATION = {Kept.ITL, Kept.CONFIGURATION}
CTL_NOT_FOUND = "File Not Found <CTLFile.tlv>"


def world(*, exchanged: bool = True, secure: bool = False) -> World:
    """Source and destination, with or without the seed's exchange."""
    made = World()
    made.add(A, *(B.offered() if exchanged else ()), secure=secure)
    made.add(B, *(A.offered() if exchanged else ()), secure=secure)
    return made


def move(made: World, flash: Flash, *, model: str = "CP-8861", now: datetime = NOW) -> Ended:
    """Point the phone at the destination's TFTP servers and reset it."""
    return made.boot(flash, ("dst1", "dst2"), model=MODELS[model], now=now)


def serve(content: bytes, name: str = ITL) -> Callable[[World], None]:
    """Both TFTP servers of the destination have this file."""

    def arrange(made: World) -> None:
        for server in ("dst1", "dst2"):
            made.tftp[server][name] = content

    return arrange


def withdraw(*names: str) -> Callable[[World], None]:
    def arrange(made: World) -> None:
        for server in ("dst1", "dst2"):
            for name in names:
                made.tftp[server].pop(name)

    return arrange


def vouch(*held: tuple[Store, Unit]) -> Callable[[World], None]:
    """The source's TVS servers hold these certificates of the destination's publisher, and no others of it."""

    def arrange(made: World) -> None:
        index = VouchIndex.from_stores([*A.stores(), *((store, B.certificate(unit)) for store, unit in held)])
        for name in ("src1", "src2"):
            made.tvs[name].index = index

    return arrange


def lose(*names: str, where: str = "tvs") -> Callable[[World], None]:
    """These servers do not answer."""

    def arrange(made: World) -> None:
        for name in names:
            getattr(made, where).pop(name)

    return arrange


def renew_tvs(*names: str) -> Callable[[World], None]:
    """These nodes' TVS certificates were regenerated since the phone got its ITL (TB110)."""

    def arrange(made: World) -> None:
        for name in names:
            made.tvs[name].certificate = stranger().certificate

    return arrange


def confuse_tvs(made: World) -> None:
    """Two certificates share issuer and serial number, and TVS finds the other one (TB108)."""
    key, other = B.certificate(Unit.ITLRECOVERY).key, B.certificate(Unit.CALLMANAGER)
    for name in ("src1", "src2"):
        made.tvs[name].index = VouchIndex({key: Vouched(other, (0, 3))})


def replicate_late(made: World) -> None:
    """The import has not reached the node the phone asks first (TB102)."""
    made.tvs["src1"].index = VouchIndex.from_stores(A.stores())


BIG = A.itl(nodes=A.nodes * 20)
FORGED = B.itl(signer=Signer(B.certificate(Unit.ITLRECOVERY), stranger().private_key))
LONG_KEY = B.itl(signer=Signer(stranger("rsa4096").certificate, stranger("rsa4096").private_key))


@dataclass(frozen=True)
class Stranded:
    """A way to strand: `arrange` changes a world in which the phone would move."""

    name: str
    arrange: Callable[[World], None]
    refusal: Refusal
    words: str
    asked: list[str] = field(default_factory=lambda: ["src1"])
    status: str = LIST_FAILED
    secure: bool = False
    flash: Flash | None = None
    model: str = "CP-8861"
    now: datetime = NOW
    registered: str = "src1"


STRANDED = [
    Stranded("nothing exchanged", vouch(), Refusal.NOT_VOUCHED, "TVS src1:2445 does not know the signer"),
    Stranded("nothing exchanged", vouch(), Refusal.NOT_VOUCHED, "does not know the signer", secure=True),
    Stranded(
        "only CallManager exchanged, signer is ITLRecovery",  # TB104
        vouch((Store.PHONE_SAST_TRUST, Unit.CALLMANAGER), (Store.CALLMANAGER_TRUST, Unit.CALLMANAGER)),
        Refusal.NOT_VOUCHED,
        "does not know the signer",
    ),
    Stranded("not replicated to the first node", replicate_late, Refusal.NOT_VOUCHED, "TVS src1:2445 does not know"),
    Stranded(
        "no TVS answers",
        lose("src1", "src2"),
        Refusal.TVS_UNREACHABLE,
        "TVS src1:2445: connection refused; TVS src2:2445: connection refused",
        asked=["src1", "src2"],
    ),
    Stranded(
        "no TVS answers", lose("src1", "src2"), Refusal.TVS_UNREACHABLE, "refused", asked=["src1", "src2"], secure=True
    ),
    Stranded(
        "TVS certificates regenerated",
        renew_tvs("src1", "src2"),
        Refusal.TVS_CERTIFICATE,
        "its certificate is none of the 2 TVS certificates in the phone's ITL",
        asked=["src1", "src2"],
    ),
    Stranded(
        "TVS certificate expired",
        vouch((Store.PHONE_SAST_TRUST, Unit.ITLRECOVERY)),
        Refusal.TVS_CERTIFICATE_EXPIRED,
        "and the phone's clock says 2031-",
        asked=["src1", "src2"],
        now=NOW + timedelta(days=1800),
    ),
    Stranded(
        "the phone's clock is wrong",  # TB113
        vouch((Store.PHONE_SAST_TRUST, Unit.ITLRECOVERY)),
        Refusal.TVS_CERTIFICATE_EXPIRED,
        "and the phone's clock says 1970-01-01",
        asked=["src1", "src2"],
        now=datetime(1970, 1, 1, tzinfo=NOW.tzinfo),
    ),
    Stranded(
        "signer in CallManager-trust only",  # TB106
        vouch((Store.CALLMANAGER_TRUST, Unit.ITLRECOVERY)),
        Refusal.WRONG_ROLE,
        "but not as SAST",
    ),
    Stranded(
        "signer in tomcat-trust only", vouch((Store.TOMCAT_TRUST, Unit.ITLRECOVERY)), Refusal.WRONG_ROLE, "not as SAST"
    ),
    Stranded("TVS returns another certificate", confuse_tvs, Refusal.TVS_ANSWER, "which is another certificate"),
    Stranded(
        "the file was tampered with",
        serve(B.itl()[:-1] + b"\1"),
        Refusal.WRONG_SIGNATURE,
        "the signature does not hold",
        status=VERIFICATION_FAILED,
    ),
    Stranded(
        "signed with another key under the signer's name",
        serve(FORGED),
        Refusal.WRONG_SIGNATURE,
        "the signature does not hold",
        status=VERIFICATION_FAILED,
    ),
    Stranded(
        "the CTL was tampered with",
        serve(B.ctl()[:-1] + b"\1", CTL),
        Refusal.WRONG_SIGNATURE,
        "the signature does not hold",
        status=VERIFICATION_FAILED,
        secure=True,
    ),
    Stranded("the file is no trust list", serve(b"<html/>"), Refusal.MALFORMED, "not a trust list", asked=[]),
    Stranded("the file is empty", serve(b""), Refusal.MALFORMED, "not a trust list", asked=[]),
    Stranded("the file is cut short", serve(B.itl()[:-1]), Refusal.MALFORMED, "not a trust list", asked=[]),
    Stranded("an ITL over 64 KiB", serve(BIG), Refusal.TOO_LARGE, f"{len(BIG)} bytes", asked=[]),
    Stranded(
        "SHA-512 and an older model",
        serve(B.itl(digest=Digest.SHA512)),
        Refusal.MODEL,
        "CP-7962 can't verify SHA-512",
        asked=[],
        model="CP-7962",
    ),
    Stranded(
        "RSA 4096 and an older model",
        serve(LONG_KEY),
        Refusal.MODEL,
        "CP-7962 can't verify RSA keys of 4096 bits",
        asked=[],
        model="CP-7962",
    ),
    Stranded(
        "the old configuration names no TVS",
        lambda made: None,
        Refusal.NO_TVS_KNOWN,
        "the kept configuration names no TVS server",
        asked=[],
        flash=replace(A.flash(), configuration=configurations.build(replace(A.configuration(), tvs=()))),
    ),
    Stranded(
        "there is no old configuration",
        lambda made: None,
        Refusal.NO_TVS_KNOWN,
        "names no TVS server",
        asked=[],
        flash=replace(A.flash(), configuration=None),
        registered="",
    ),
    Stranded(
        "the old configuration can't be read",
        lambda made: None,
        Refusal.NO_TVS_KNOWN,
        "names no TVS server",
        asked=[],
        flash=replace(A.flash(), configuration=b"?"),
        registered="",
    ),
    Stranded(
        "the installed ITL can't be read",
        lambda made: None,
        Refusal.TVS_CERTIFICATE,
        "the phone's ITL holds no TVS certificate",
        asked=["src1", "src2"],
        flash=replace(A.flash(), itl=b"?"),
    ),
    Stranded(
        "secure phone, blank ITL",  # TB120
        lambda made: None,
        Refusal.TVS_CERTIFICATE,
        "the phone's ITL holds no TVS certificate",
        asked=["src1", "src2"],
        secure=True,
        flash=replace(A.flash(secure=True), itl=A.itl(blank=True)),
    ),
    Stranded(
        "a CTL left behind, non-secure destination",  # TB121
        lambda made: None,
        Refusal.NOT_IN_CTL,
        "a CTL is installed and does not list the ITL's signer",
        asked=[],
        flash=replace(A.flash(), ctl=A.ctl()),
    ),
    Stranded(
        "a CTL left behind and a blank ITL",
        lambda made: None,
        Refusal.NOT_IN_CTL,
        "does not list the ITL's signer",
        asked=[],
        flash=replace(A.flash(), ctl=A.ctl(), itl=A.itl(blank=True)),
    ),
    Stranded(
        "a CTL and a model that can't ask",  # TB123
        lambda made: None,
        Refusal.MODEL,
        "CP-7960 can't ask a TVS",
        asked=[],
        secure=True,
        model="CP-7960",
    ),
    Stranded(
        "no TFTP server answers",
        lose("dst1", "dst2", where="tftp"),
        Refusal.NO_TFTP_ANSWER,
        "none of dst1, dst2 answers",
        asked=[],
        status="TFTP Timeout",
    ),
]


@pytest.mark.parametrize("case", STRANDED, ids=[f"{case.name}{', secure' * case.secure}" for case in STRANDED])
def test_a_phone_that_strands_loses_nothing_and_goes_on_at_the_source(case: Stranded) -> None:
    made = world(secure=case.secure)
    flash = case.flash or A.flash(secure=case.secure)
    case.arrange(made)
    end = move(made, flash, model=case.model, now=case.now)
    assert end.outcome.refusal is case.refusal, f"\n{end}"
    assert case.words in end.outcome.reason
    assert any(case.words in line.text and line.ok is False for line in end.transcript)
    assert end.flash == flash
    assert end.outcome.updated == set()
    assert not any(isinstance(command, Install) for command in end.commands)
    assert end.registered == case.registered
    assert end.status[-1] == case.status
    assert end.asked == case.asked
    if case.registered:
        assert end.outcome.configuration == configurations.parse(flash.configuration or b"")


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
