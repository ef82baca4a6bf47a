"""The phone's procedure, event by event: the seed's two processes, and what does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.trust.playbook import Playbook
from tests.trust.world import DEVICE, NOW, Cluster, cluster

from trustbridge.pki.units import Unit
from trustbridge.trust.configuration import CallManagerMember, Configuration, TvsServer, build
from trustbridge.trust.events import (
    AskTvs,
    Booted,
    Downloaded,
    DownloadFailed,
    Fetch,
    Flash,
    Install,
    Kept,
    Outcome,
    Refusal,
    Register,
    Registered,
    RegistrationFailed,
    RegistrationTarget,
    ShowStatus,
    Stop,
    TvsAnswered,
    TvsFailed,
)
from trustbridge.trust.models import MODELS
from trustbridge.trust.phone import FIRST_SESSION, LIST_FAILED, VERIFICATION_FAILED, Phone, State
from trustbridge.wire import trustlist
from trustbridge.wire.tvs import TvsMessage, query_request, response_to, verify_request

A, B = cluster("src"), cluster("dst")
SERVERS = ("dst1", "dst2")
CTL, ITL, DEFAULT_ITL = f"CTL{DEVICE}.tlv", f"ITL{DEVICE}.tlv", "ITLFile.tlv"
CONFIGURATION, DEFAULT = f"{DEVICE}.cnf.xml", "XMLDefault.cnf.xml"
SRC1, SRC2 = TvsServer("src1"), TvsServer("src2")
CTL_NOT_FOUND = ShowStatus("File Not Found <CTLFile.tlv>")
UPDATED = ShowStatus("Trust List Updated")
FAILED = ShowStatus(LIST_FAILED)
PLAIN, SECURE = B.files(), B.files(secure=True)
SIGNED = PLAIN[f"{CONFIGURATION}.sgn"]
NAMES = {
    A.itl(): "source ITL",
    A.ctl(): "source CTL",
    PLAIN[ITL]: "destination ITL",
    SECURE[CTL]: "destination CTL",
    SIGNED: "signed destination configuration",
    SECURE[f"{CONFIGURATION}.sgn"]: "signed secure destination configuration",
    B.plain(): "destination configuration",
    B.plain(secure=True): "secure destination configuration",
}


def playbook(model: str = "CP-8861") -> Playbook:
    return Playbook(Phone(DEVICE, MODELS[model]), NAMES)


def booted(flash: Flash, servers: tuple[str, ...] = SERVERS) -> Booted:
    return Booted(flash, servers, NOW)


def fetch(name: str) -> Fetch:
    return Fetch(name, SERVERS)


def found(name: str, content: bytes | None) -> Downloaded:
    return Downloaded(name, content, "dst1")


def question(content: bytes, session: int = FIRST_SESSION) -> TvsMessage:
    """What a CP-8861 asks about the signer of a list."""
    header = trustlist.decode(content).header
    return query_request(session, f"CP-8861-{DEVICE}", header.signer_name, header.ca_name, header.serial)


def vouched(
    content: bytes, home: Cluster = B, *, session: int = FIRST_SESSION, roles: tuple[int, ...] = (0, 3)
) -> TvsMessage:
    """A TVS that knows the ITLRecovery certificate of `home`."""
    certificate = home.certificate(Unit.ITLRECOVERY).der
    return response_to(question(content, session), certificate=certificate, roles=roles, time_to_live=86400)


def unknown(content: bytes) -> TvsMessage:
    return response_to(question(content), certificate=None)


def target(name: str, *, secure: bool = False) -> RegistrationTarget:
    return RegistrationTarget(name, 5061 if secure else 5060, secure)


def ended(
    name: str,
    *updated: Kept,
    refusal: Refusal | None = None,
    reason: str = "",
    home: Cluster = B,
    secure: bool = False,
) -> Stop:
    at = target(name, secure=secure) if name else None
    return Stop(Outcome(at, frozenset(updated), refusal, reason, home.configuration(secure=secure)))


# The seed's processes, step by step.


def test_the_seeds_process_in_a_non_secure_cluster() -> None:
    new = PLAIN[ITL]
    assert (
        playbook()
        >> booted(A.flash())
        << ShowStatus("ITL installed")
        << fetch(CTL)
        >> found(CTL, None)
        << CTL_NOT_FOUND
        << fetch(ITL)
        # Step 1: the signer is in no list of the phone's. Steps 1 and 2: it turns to a TVS of the source.
        >> found(ITL, new)
        << AskTvs(SRC1, question(new))
        # Step 3: TVS vouches for the destination's ITLRecovery certificate.
        >> TvsAnswered(SRC1, vouched(new))
        # Step 4: the ITL is installed, and the destination's signed files can be verified with it.
        << Install(Kept.ITL, new)
        << UPDATED
        << fetch(f"{CONFIGURATION}.sgn")
        >> found(f"{CONFIGURATION}.sgn", SIGNED)
        << ShowStatus(f"{CONFIGURATION}.sgn")
        << Install(Kept.CONFIGURATION, B.plain())
        << Register(target("dst1"))
        >> Registered(target("dst1"))
        << ended("dst1", Kept.ITL, Kept.CONFIGURATION)
    )


def test_the_seeds_process_in_a_secure_cluster() -> None:
    ctl, itl = SECURE[CTL], SECURE[ITL]
    signed = SECURE[f"{CONFIGURATION}.sgn"]
    assert (
        playbook()
        >> booted(A.flash(secure=True))
        << ShowStatus("CTL and ITL installed")
        # Step 1: it tries to get the CTL of the destination. Step 2: the signer is unknown.
        << fetch(CTL)
        >> found(CTL, ctl)
        # Steps 3 to 7: it asks the source's TVS, which its old configuration names.
        << AskTvs(SRC1, question(ctl))
        # Step 8: TVS finds the signer; the phone takes the CTL.
        >> TvsAnswered(SRC1, vouched(ctl))
        << Install(Kept.CTL, ctl)
        << UPDATED
        # Step 9: the ITL is verified by the new CTL. No TVS is asked again.
        << fetch(ITL)
        >> found(ITL, itl)
        << Install(Kept.ITL, itl)
        << UPDATED
        << fetch(f"{CONFIGURATION}.sgn")
        >> found(f"{CONFIGURATION}.sgn", signed)
        << ShowStatus(f"{CONFIGURATION}.sgn")
        << Install(Kept.CONFIGURATION, B.plain(secure=True))
        << Register(target("dst1", secure=True))
        >> Registered(target("dst1", secure=True))
        << ended("dst1", Kept.CTL, Kept.ITL, Kept.CONFIGURATION, secure=True)
    )


def test_steps_4_to_6_the_tvs_certificate_must_be_the_one_in_the_current_itl() -> None:
    phone = Phone(DEVICE, MODELS["CP-8861"])
    phone.handle(booted(A.flash(secure=True)))
    phone.handle(found(CTL, SECURE[CTL]))
    assert phone.state is State.CTL_TVS
    assert phone.refuses_tvs(A.certificate(Unit.TVS, 0).der) is None
    assert phone.refuses_tvs(A.certificate(Unit.TVS, 1).der) is None
    refused = phone.refuses_tvs(B.certificate(Unit.TVS).der)
    assert refused is not None
    assert refused[0] is Refusal.TVS_CERTIFICATE


def test_without_an_exchange_nothing_changes_and_the_phone_goes_on_at_the_source() -> None:
    new = PLAIN[ITL]
    assert (
        playbook()
        >> booted(A.flash())
        << ShowStatus("ITL installed")
        << fetch(CTL)
        >> found(CTL, None)
        << CTL_NOT_FOUND
        << fetch(ITL)
        >> found(ITL, new)
        << AskTvs(SRC1, question(new))
        >> TvsAnswered(SRC1, unknown(new))
        << FAILED
        << Register(target("src1"))
        >> Registered(target("src1"))
        << ended(
            "src1",
            refusal=Refusal.NOT_VOUCHED,
            reason=f"{ITL}: TVS src1:2445 does not know the signer",
            home=A,
        )
    )


# The rest of the procedure, in pieces.


def test_the_common_itl_is_asked_for_when_there_is_none_of_the_phones_own() -> None:
    assert (
        playbook()
        >> booted(Flash())
        << ShowStatus("No Trust List Installed")
        << fetch(CTL)
        >> found(CTL, None)
        << CTL_NOT_FOUND
        << fetch(ITL)
        >> found(ITL, None)
        << fetch(DEFAULT_ITL)
        >> found(DEFAULT_ITL, PLAIN[ITL])
        << Install(Kept.ITL, PLAIN[ITL])
        << UPDATED
        << fetch(f"{CONFIGURATION}.sgn")
    )


def test_a_phone_without_any_list_asks_for_unsigned_files() -> None:
    assert (
        playbook()
        >> booted(Flash())
        << ShowStatus("No Trust List Installed")
        << fetch(CTL)
        >> found(CTL, None)
        << CTL_NOT_FOUND
        << fetch(ITL)
        >> found(ITL, None)
        << fetch(DEFAULT_ITL)
        >> found(DEFAULT_ITL, None)
        << ShowStatus(f"File Not Found <{DEFAULT_ITL}>")
        << fetch(CONFIGURATION)
        >> found(CONFIGURATION, None)
        << fetch(DEFAULT)
        >> found(DEFAULT, B.plain())
        << ShowStatus(DEFAULT)
        << Register(target("dst1"))
        >> RegistrationFailed(target("dst1"), "no such device", True)
        << Register(target("dst2"))
        >> RegistrationFailed(target("dst2"), "connection refused", False)
        << ended("", refusal=Refusal.REGISTRATION, reason="dst2:5060 fails: connection refused")
    )


def test_tvs_servers_are_asked_in_order_each_with_a_session_of_its_own() -> None:
    new = PLAIN[ITL]
    first, second = question(new), question(new, FIRST_SESSION + 1)
    assert (
        playbook()
        >> booted(A.flash())
        << ShowStatus("ITL installed")
        << fetch(CTL)
        >> found(CTL, None)
        << CTL_NOT_FOUND
        << fetch(ITL)
        >> found(ITL, new)
        << AskTvs(SRC1, first)
        >> TvsFailed(SRC1, Refusal.TVS_UNREACHABLE, "timed out")
        << AskTvs(SRC2, second)
        >> TvsFailed(SRC2, Refusal.TVS_UNREACHABLE, "connection refused")
        << FAILED
        << Register(target("src1"))
        >> Registered(target("src1"))
        << ended(
            "src1",
            refusal=Refusal.TVS_UNREACHABLE,
            reason=f"{ITL}: TVS src1:2445: timed out; TVS src2:2445: connection refused",
            home=A,
        )
    )


@pytest.mark.parametrize(
    "answer",
    [
        vouched(PLAIN[ITL], session=FIRST_SESSION + 7),
        response_to(verify_request(FIRST_SESSION, "CP", b""), certificate=b"", roles=(0,), time_to_live=1),
        question(PLAIN[ITL]),
    ],
    ids=["another session", "a verify response", "a request"],
)
def test_an_answer_to_something_else_counts_as_none_and_the_next_tvs_is_asked(answer: TvsMessage) -> None:
    new = PLAIN[ITL]
    assert (
        playbook()
        >> booted(A.flash())
        << ShowStatus("ITL installed")
        << fetch(CTL)
        >> found(CTL, None)
        << CTL_NOT_FOUND
        << fetch(ITL)
        >> found(ITL, new)
        << AskTvs(SRC1, question(new))
        >> TvsAnswered(SRC1, answer)
        << AskTvs(SRC2, question(new, FIRST_SESSION + 1))
        >> TvsFailed(SRC2, Refusal.TVS_UNREACHABLE, "timed out")
        << FAILED
        << Register(target("src1"))
        >> Registered(target("src1"))
        << ended(
            "src1",
            refusal=Refusal.TVS_ANSWER,
            reason=f"{ITL}: TVS src1:2445: answers something else",
            home=A,
        )
    )


def test_what_a_tvs_was_refused_for_is_told_before_that_another_was_down() -> None:
    phone = Phone(DEVICE, MODELS["CP-8861"])
    for event in (booted(A.flash()), found(CTL, None), found(ITL, PLAIN[ITL])):
        phone.handle(event)
    phone.handle(TvsFailed(SRC1, Refusal.TVS_UNREACHABLE, "timed out"))
    phone.handle(TvsFailed(SRC2, Refusal.TVS_CERTIFICATE, "its certificate is unknown"))
    (stop,) = phone.handle(Registered(target("src1")))
    assert isinstance(stop, Stop)
    assert stop.outcome.refusal is Refusal.TVS_CERTIFICATE
    assert stop.outcome.reason == f"{ITL}: TVS src2:2445: its certificate is unknown"


def test_tftp_that_dies_on_the_way_leaves_the_new_ctl_and_the_old_rest() -> None:
    ctl = SECURE[CTL]
    assert (
        playbook()
        >> booted(A.flash(secure=True))
        << ShowStatus("CTL and ITL installed")
        << fetch(CTL)
        >> found(CTL, ctl)
        << AskTvs(SRC1, question(ctl))
        >> TvsAnswered(SRC1, vouched(ctl))
        << Install(Kept.CTL, ctl)
        << UPDATED
        << fetch(ITL)
        >> DownloadFailed(ITL, "timed out")
        << ShowStatus("TFTP Timeout")
        << Register(target("src1", secure=True))
        >> Registered(target("src1", secure=True))
        << ended("src1", Kept.CTL, refusal=Refusal.NO_TFTP_ANSWER, reason=f"{ITL}: timed out", home=A, secure=True)
    )


def test_without_option_150_the_phone_goes_on_where_it_was() -> None:
    assert (
        playbook()
        >> booted(A.flash(), ())
        << ShowStatus("ITL installed")
        << Register(target("src1"))
        >> Registered(target("src1"))
        << ended("src1", refusal=Refusal.NO_TFTP_ANSWER, reason="DHCP named no TFTP server in option 150", home=A)
    )


def test_without_option_150_and_configuration_there_is_nowhere_to_go() -> None:
    reason = "DHCP named no TFTP server in option 150"
    assert (
        playbook()
        >> booted(Flash(), ())
        << ShowStatus("No Trust List Installed")
        << Stop(Outcome(None, frozenset(), Refusal.NO_TFTP_ANSWER, reason, None))
    )


def test_a_wrong_signature_has_a_status_of_its_own() -> None:
    tampered = PLAIN[ITL][:-1] + b"\1"
    assert (
        playbook()
        >> booted(A.flash())
        << ShowStatus("ITL installed")
        << fetch(CTL)
        >> found(CTL, None)
        << CTL_NOT_FOUND
        << fetch(ITL)
        >> found(ITL, tampered)
        << AskTvs(SRC1, question(tampered))
        >> TvsAnswered(SRC1, vouched(tampered))
        << ShowStatus(VERIFICATION_FAILED)
        << Register(target("src1"))
    )


def test_an_older_model_asks_for_no_itl() -> None:
    assert (
        playbook("CP-7960")
        >> booted(A.flash())
        << ShowStatus("No Trust List Installed")
        << fetch(CTL)
        >> found(CTL, None)
        << CTL_NOT_FOUND
        << fetch(CONFIGURATION)
        >> found(CONFIGURATION, B.plain())
        << ShowStatus(CONFIGURATION)
        << Install(Kept.CONFIGURATION, B.plain())
        << Register(target("dst1"))
    )


def test_a_configuration_whose_signer_is_unknown_is_asked_about_too() -> None:
    """The destination serves no ITL: its configuration is vouched for, and the phone is told apart as half moved."""
    server = SIGNED
    header = B.signer(Unit.CALLMANAGER).certificate
    request = query_request(FIRST_SESSION, f"CP-8861-{DEVICE}", header.subject, header.issuer, header.serial)
    answer = response_to(request, certificate=header.der, roles=(3,), time_to_live=86400)
    assert (
        playbook()
        >> booted(A.flash())
        << ShowStatus("ITL installed")
        << fetch(CTL)
        >> found(CTL, None)
        << CTL_NOT_FOUND
        << fetch(ITL)
        >> found(ITL, None)
        << fetch(DEFAULT_ITL)
        >> found(DEFAULT_ITL, None)
        << ShowStatus(f"File Not Found <{DEFAULT_ITL}>")
        << fetch(f"{CONFIGURATION}.sgn")
        >> found(f"{CONFIGURATION}.sgn", server)
        << AskTvs(SRC1, request)
        >> TvsAnswered(SRC1, answer)
        << ShowStatus(f"{CONFIGURATION}.sgn")
        << Install(Kept.CONFIGURATION, B.plain())
        << Register(target("dst1"))
        >> Registered(target("dst1"))
        << ended(
            "dst1",
            Kept.CONFIGURATION,
            refusal=Refusal.NO_ITL,
            reason="dst1 has no ITL, and the phone keeps the one it has",
        )
    )


@pytest.mark.parametrize(
    ("content", "refusal"),
    [(SIGNED + b" ", Refusal.WRONG_SIGNATURE), (b"<device/>", Refusal.MALFORMED), (b"", Refusal.MALFORMED)],
)
def test_a_configuration_that_does_not_verify_is_not_applied(content: bytes, refusal: Refusal) -> None:
    phone = Phone(DEVICE, MODELS["CP-8861"])
    flash = Flash(itl=B.itl(), configuration=A.plain())
    for event in (booted(flash), found(CTL, None), found(ITL, B.itl())):
        phone.handle(event)
    assert phone.handle(found(f"{CONFIGURATION}.sgn", content)) == [
        ShowStatus("Error Verifying Config Info"),
        Register(target("src1")),
    ]
    (stop,) = phone.handle(Registered(target("src1")))
    assert isinstance(stop, Stop)
    assert (stop.outcome.refusal, stop.outcome.configuration) == (refusal, A.configuration())


def test_a_signed_configuration_that_is_no_xml_is_not_applied() -> None:
    phone = Phone(DEVICE, MODELS["CP-8861"])
    for event in (booted(B.flash()), found(CTL, None), found(ITL, B.itl())):
        phone.handle(event)
    commands = phone.handle(found(f"{CONFIGURATION}.sgn", B.signed(b"<device>", CONFIGURATION)))
    assert commands == [ShowStatus("Error Verifying Config Info"), Register(target("dst1"))]


def test_a_configuration_without_a_group_leaves_nowhere_to_register_and_says_so() -> None:
    phone = Phone(DEVICE, MODELS["CP-8861"])
    empty = Configuration((), ())
    for event in (booted(B.flash()), found(CTL, None), found(ITL, B.itl())):
        phone.handle(event)
    commands = phone.handle(found(f"{CONFIGURATION}.sgn", B.signed(build(empty), CONFIGURATION)))
    reason = "the phone has no configuration that names a Unified CM to register with"
    assert commands[-1] == Stop(Outcome(None, frozenset({Kept.CONFIGURATION}), Refusal.REGISTRATION, reason, empty))


def test_ports_and_transport_of_the_registration_come_from_the_configuration() -> None:
    members = (CallManagerMember("a", 15060, 15061), CallManagerMember("b"))
    plain = Configuration(members, ())
    secure = replace(plain, security_mode=2)
    assert RegistrationTarget.group_of(plain) == [
        RegistrationTarget("a", 15060, False),
        RegistrationTarget("b", 5060, False),
    ]
    assert RegistrationTarget.group_of(secure) == [
        RegistrationTarget("a", 15061, True),
        RegistrationTarget("b", 5061, True),
    ]
    assert [str(found) for found in RegistrationTarget.group_of(secure)] == ["a:15061 (TLS)", "b:5061 (TLS)"]


def test_a_default_configuration_is_used_and_not_kept() -> None:
    phone = Phone(DEVICE, MODELS["CP-8861"])
    for event in (booted(B.flash()), found(CTL, None), found(ITL, B.itl()), found(f"{CONFIGURATION}.sgn", None)):
        phone.handle(event)
    other = build(Configuration((CallManagerMember("auto"),), ()))
    commands = phone.handle(found(f"{DEFAULT}.sgn", B.signed(other, DEFAULT)))
    assert commands == [ShowStatus(f"{DEFAULT}.sgn"), Register(target("auto"))]


def test_the_transcript_explains_each_decision_in_words() -> None:
    phone = Phone(DEVICE, MODELS["CP-8861"])
    for event in (
        booted(A.flash()),
        found(CTL, None),
        found(ITL, PLAIN[ITL]),
        TvsAnswered(SRC1, vouched(PLAIN[ITL])),
        found(f"{CONFIGURATION}.sgn", SIGNED),
        Registered(target("dst1")),
    ):
        phone.handle(event)
    recovery, serial = B.certificate(Unit.ITLRECOVERY).common_name, B.certificate(Unit.ITLRECOVERY).serial
    old = A.certificate(Unit.ITLRECOVERY).common_name
    assert [(line.text, line.ok) for line in phone.transcript] == [
        (f"starts; ITL signed by {old}", None),
        ("option 150 names dst1, dst2", None),
        (f"{CTL} is not on dst1", None),
        (f"{ITL} from dst1: {len(PLAIN[ITL])} bytes", None),
        (f"signer {recovery} is in none of the installed trust lists", None),
        (f"asks TVS src1:2445 about {recovery}, serial {serial:X}", None),
        ("TVS src1:2445 vouches for the signer, with SAST, TFTP", True),
        (f"signed by {recovery}, and the signature holds", True),
        (f"{CONFIGURATION}.sgn from dst1: {len(SIGNED)} bytes", None),
        (f"signed by {B.certificate(Unit.CALLMANAGER).common_name}, and the signature holds", True),
        (f"applies {CONFIGURATION}.sgn: Unified CM group dst1, dst2", True),
        ("registered with dst1:5060", True),
    ]


def test_nothing_from_a_file_or_a_server_can_move_a_terminals_cursor() -> None:
    phone = Phone(DEVICE, MODELS["CP-8861"])
    nasty = Configuration((CallManagerMember("cm"),), ())
    phone.handle(booted(Flash(configuration=build(nasty)), ("\x1b[2Jtftp",)))
    phone.handle(DownloadFailed(CTL, "\x1b]0;title\x07"))
    commands = phone.handle(RegistrationFailed(target("cm"), "a\nb\x1b[31m", True))
    assert isinstance(commands[-1], Stop)
    assert all(line.text.isprintable() for line in phone.transcript)
    assert commands[-1].outcome.reason.isprintable()
    assert any("[31m" in line.text for line in phone.transcript)
