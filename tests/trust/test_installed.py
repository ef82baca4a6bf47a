"""What a phone's installed trust lists make of a file, rule by rule: `domain`, "Rules that decide an outcome"."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from tests.trust.world import DEVICE, NOW, cluster, stranger

from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Unit
from trustbridge.trust import installed, lists
from trustbridge.trust.events import Flash, Kept, Refusal
from trustbridge.trust.installed import Installed, Judged, Verdict, judge_vouched
from trustbridge.trust.lists import ListedCertificate, Signer
from trustbridge.trust.models import MODELS, PhoneModel
from trustbridge.wire import signedfile, signedheader, trustlist
from trustbridge.wire.signedheader import Digest
from trustbridge.wire.trustlist import MAX_PHONE_FILE, Role

A, B = cluster("src"), cluster("dst")
MODEL, OLD, OLDEST = MODELS["CP-8861"], MODELS["CP-7962"], MODELS["CP-7960"]
LATER = NOW + timedelta(hours=1)
NAME = f"{DEVICE}.cnf.xml"
#: Files by the names the tables below use.
FILES = {
    "A ITL": A.itl(),
    "A ITL, newer": A.itl(now=LATER),
    "A ITL of node 2": A.itl(1),
    "A ITL, blank": A.itl(blank=True),
    "A ITL by CallManager": A.itl(signer=A.signer(Unit.CALLMANAGER)),
    "A CTL": A.ctl(),
    "A CTL, newer": A.ctl(now=LATER),
    "B ITL": B.itl(),
    "B ITL of node 2 by CallManager": B.itl(1, signer=B.signer(Unit.CALLMANAGER, 1)),
    "B ITL, blank": B.itl(blank=True),
    "B CTL": B.ctl(),
    "tampered A ITL": A.itl(now=LATER)[:-1] + b"\1",
    "garbage": b"\1\0\2\1\2garbage",
    "empty": b"",
}


def read(ctl: str = "", itl: str = "", model: PhoneModel = MODEL) -> Installed:
    flash = Flash(FILES[ctl] if ctl else None, FILES[itl] if itl else None)
    return installed.read(flash, model)[0]


RULES = [
    # First trust.
    ("", "", Kept.ITL, "B ITL", Verdict.ACCEPT, None),
    ("", "", Kept.CTL, "B CTL", Verdict.ACCEPT, None),
    ("", "", Kept.ITL, "B ITL, blank", Verdict.ACCEPT, None),
    ("", "", Kept.ITL, "tampered A ITL", Verdict.ACCEPT, None),  # blindly: the signature is not looked at
    ("", "", Kept.ITL, "garbage", Verdict.REFUSE, Refusal.MALFORMED),
    ("", "", Kept.ITL, "empty", Verdict.REFUSE, Refusal.MALFORMED),
    ("", "", Kept.ITL, "B CTL", Verdict.REFUSE, Refusal.MALFORMED),  # one list in the other's place
    ("", "", Kept.CTL, "B ITL", Verdict.REFUSE, Refusal.MALFORMED),
    # Only an ITL.
    ("", "A ITL", Kept.ITL, "A ITL", Verdict.SAME, None),
    ("", "A ITL", Kept.ITL, "A ITL, newer", Verdict.ACCEPT, None),
    ("", "A ITL", Kept.ITL, "A ITL of node 2", Verdict.ACCEPT, None),
    ("", "A ITL", Kept.ITL, "A ITL by CallManager", Verdict.ACCEPT, None),
    ("", "A ITL", Kept.ITL, "A ITL, blank", Verdict.ACCEPT, None),
    ("", "A ITL", Kept.ITL, "tampered A ITL", Verdict.REFUSE, Refusal.WRONG_SIGNATURE),
    ("", "A ITL", Kept.ITL, "B ITL", Verdict.ASK, None),
    ("", "A ITL", Kept.ITL, "B ITL, blank", Verdict.ASK, None),
    ("", "A ITL", Kept.CTL, "A CTL", Verdict.ACCEPT, None),
    ("", "A ITL", Kept.CTL, "B CTL", Verdict.ASK, None),
    # The signer of node 2 is in node 1's ITL, but as TFTP: that makes no signer of lists.
    ("", "B ITL", Kept.ITL, "B ITL of node 2 by CallManager", Verdict.ASK, None),
    # A blank ITL.
    ("", "A ITL, blank", Kept.ITL, "B ITL", Verdict.ACCEPT, None),
    ("", "A ITL, blank", Kept.ITL, "A ITL", Verdict.ACCEPT, None),
    ("", "A ITL, blank", Kept.CTL, "B CTL", Verdict.ASK, None),
    ("A CTL", "A ITL, blank", Kept.CTL, "B CTL", Verdict.ASK, None),
    ("A CTL", "A ITL, blank", Kept.ITL, "B ITL", Verdict.REFUSE, Refusal.NOT_IN_CTL),
    ("A CTL", "A ITL, blank", Kept.ITL, "A ITL", Verdict.ACCEPT, None),
    # A CTL decides about every ITL, and nobody else is asked.
    ("A CTL", "A ITL", Kept.CTL, "A CTL", Verdict.SAME, None),
    ("A CTL", "A ITL", Kept.CTL, "A CTL, newer", Verdict.ACCEPT, None),
    ("A CTL", "A ITL", Kept.CTL, "B CTL", Verdict.ASK, None),
    ("A CTL", "A ITL", Kept.ITL, "A ITL, newer", Verdict.ACCEPT, None),
    ("A CTL", "A ITL", Kept.ITL, "B ITL", Verdict.REFUSE, Refusal.NOT_IN_CTL),
    ("A CTL", "", Kept.ITL, "B ITL", Verdict.REFUSE, Refusal.NOT_IN_CTL),
    ("A CTL", "", Kept.CTL, "B CTL", Verdict.ASK, None),
    ("B CTL", "A ITL", Kept.ITL, "B ITL", Verdict.ACCEPT, None),
    ("B CTL", "A ITL", Kept.ITL, "B ITL of node 2 by CallManager", Verdict.ACCEPT, None),  # CCM+TFTP in the CTL
    ("B CTL", "A ITL", Kept.ITL, "A ITL, newer", Verdict.REFUSE, Refusal.NOT_IN_CTL),
    ("A CTL", "A ITL", Kept.ITL, "tampered A ITL", Verdict.REFUSE, Refusal.WRONG_SIGNATURE),
    # A list that can't be read counts as installed, and lists nobody.
    ("", "garbage", Kept.ITL, "B ITL", Verdict.ASK, None),
    ("", "garbage", Kept.ITL, "garbage", Verdict.REFUSE, Refusal.MALFORMED),
    ("garbage", "", Kept.ITL, "B ITL", Verdict.REFUSE, Refusal.NOT_IN_CTL),
    ("garbage", "A ITL", Kept.CTL, "A CTL", Verdict.ACCEPT, None),
    ("garbage", "A ITL, blank", Kept.ITL, "A ITL", Verdict.REFUSE, Refusal.NOT_IN_CTL),
]


@pytest.mark.parametrize(("ctl", "itl", "kept", "new", "verdict", "refusal"), RULES)
def test_a_new_list_is_judged_by_what_is_installed(
    ctl: str, itl: str, kept: Kept, new: str, verdict: Verdict, refusal: Refusal | None
) -> None:
    judged = read(ctl, itl).judge_list(kept, FILES[new], MODEL)
    assert (judged.verdict, judged.refusal) == (verdict, refusal)
    assert judged.words
    assert (judged.header is not None) == (verdict is Verdict.ASK)
    assert judged.accepted == (verdict in (Verdict.ACCEPT, Verdict.SAME))


def test_an_itl_of_64_kib_is_loaded_and_one_byte_more_is_not() -> None:
    def sized(size: int) -> bytes:
        signer = A.signer()
        entries = [ListedCertificate(Role.SAST, "cm", signer.certificate)]
        empty = trustlist.encode(lists.build_trust_list(entries, signer, file_name="ITLFile.tlv", now=NOW))
        name = "x" * (size - len(empty) - trustlist.blank_record(role=Role.TVS, dns_name="").length)
        entries.append(ListedCertificate(Role.TVS, name, None))
        return trustlist.encode(lists.build_trust_list(entries, signer, file_name="ITLFile.tlv", now=NOW))

    for itl in ("", "A ITL"):
        exactly, more = sized(MAX_PHONE_FILE), sized(MAX_PHONE_FILE + 1)
        assert (len(exactly), len(more)) == (65536, 65537)
        assert read("", itl).judge_list(Kept.ITL, exactly, MODEL).verdict is Verdict.ACCEPT
        judged = read("", itl).judge_list(Kept.ITL, more, MODEL)
        assert (judged.verdict, judged.refusal) == (Verdict.REFUSE, Refusal.TOO_LARGE)
        assert "65537 bytes" in judged.words


@pytest.mark.parametrize(
    ("model", "digest", "key", "words"),
    [
        (OLD, Digest.SHA512, "rsa2048", "CP-7962 can't verify SHA-512 signatures"),
        (OLD, Digest.SHA1, "rsa4096", "CP-7962 can't verify RSA keys of 4096 bits"),
        (OLD, Digest.SHA256, "rsa2048", ""),
        (MODEL, Digest.SHA512, "rsa4096", ""),
    ],
)
def test_what_a_model_cannot_verify_it_refuses(model: PhoneModel, digest: Digest, key: str, words: str) -> None:
    identity = stranger(key)
    signer = Signer(identity.certificate, identity.private_key)
    entries = [
        ListedCertificate(Role.SAST, "x", signer.certificate),
        ListedCertificate(Role.TFTP, "x", signer.certificate),
    ]
    built = lists.build_trust_list(entries, signer, file_name="ITLFile.tlv", now=NOW, digest=digest)
    judged = Installed.nothing().judge_list(Kept.ITL, trustlist.encode(built), model)
    signed = signedfile.encode(lists.sign_file(b"<device/>", signer, file_name=NAME, now=NOW, digest=digest))
    file = Installed(None, built).judge_configuration(signed, f"{NAME}.sgn", model)
    for found in (judged, file):
        assert found.refusal == (Refusal.MODEL if words else None)
        assert found.accepted == (not words)
        if words:
            assert found.words == words


def test_a_model_without_security_by_default_ignores_an_itl_and_asks_no_tvs() -> None:
    held = read("A CTL", "A ITL", OLDEST)
    assert not held.has_itl
    assert held.status == "CTL installed"
    for judged in (
        held.judge_list(Kept.CTL, FILES["B CTL"], OLDEST),
        held.judge_configuration(B.files()[f"{NAME}.sgn"], f"{NAME}.sgn", OLDEST),
    ):
        assert judged.refusal is Refusal.MODEL
        assert "CP-7960 can't ask a TVS" in judged.words
    assert held.judge_list(Kept.CTL, FILES["A CTL, newer"], OLDEST).verdict is Verdict.ACCEPT
    assert not read("", "A ITL", OLDEST).demands_signatures


CONFIGURATIONS = [
    ("", "A ITL", A.files(), Verdict.ACCEPT, None),
    ("", "A ITL", A.files(index=1), Verdict.ACCEPT, None),  # the other TFTP node is listed as TFTP
    ("", "A ITL", B.files(), Verdict.ASK, None),
    ("A CTL", "", A.files(index=1), Verdict.ACCEPT, None),  # CCM+TFTP in the CTL
    ("", "garbage", A.files(), Verdict.ASK, None),
    ("", "A ITL", {f"{NAME}.sgn": A.files()[f"{NAME}.sgn"] + b" "}, Verdict.REFUSE, Refusal.WRONG_SIGNATURE),
    ("", "A ITL", {f"{NAME}.sgn": A.plain()}, Verdict.REFUSE, Refusal.MALFORMED),
    ("", "A ITL", {f"{NAME}.sgn": A.itl()}, Verdict.REFUSE, Refusal.MALFORMED),
    ("", "", {f"{NAME}.sgn": A.plain()}, Verdict.REFUSE, Refusal.MALFORMED),
]


@pytest.mark.parametrize(("ctl", "itl", "files", "verdict", "refusal"), CONFIGURATIONS)
def test_a_signed_configuration_is_judged_by_tftp_roles(
    ctl: str, itl: str, files: dict[str, bytes], verdict: Verdict, refusal: Refusal | None
) -> None:
    content = files[f"{NAME}.sgn"]
    judged = read(ctl, itl).judge_configuration(content, f"{NAME}.sgn", MODEL)
    assert (judged.verdict, judged.refusal) == (verdict, refusal)
    if verdict is not Verdict.REFUSE:
        assert judged.plain is not None
        assert content.endswith(judged.plain)


def test_an_encrypted_configuration_is_named_as_such() -> None:
    signer = A.signer(Unit.CALLMANAGER)
    header = signer.header(version=(2, 0), file_name=NAME, now=NOW, digest=Digest.SHA1)
    content = signer.sign(header, b"??").encode() + b"??"
    judged = read("", "A ITL").judge_configuration(content, f"{NAME}.sgn", MODEL)
    assert (judged.refusal, judged.words) == (
        Refusal.MALFORMED,
        "the configuration is encrypted, which is not supported here",
    )


def test_a_plain_configuration_is_taken_as_it_is() -> None:
    assert read().judge_configuration(b"<device/>", NAME, MODEL) == Judged(Verdict.ACCEPT, "", plain=b"<device/>")


# After a TVS has answered.

SAST, TFTP = frozenset({0}), frozenset({3})


def vouched(kept: Kept, content: bytes, certificate: bytes | None, roles: frozenset[int]) -> Judged:
    held = read("", "A ITL")
    asked = (
        held.judge_configuration(content, f"{NAME}.sgn", MODEL)
        if kept is Kept.CONFIGURATION
        else held.judge_list(kept, content, MODEL)
    )
    assert asked.verdict is Verdict.ASK
    return judge_vouched(kept, content, asked, certificate, roles)


RECOVERY, CCM = B.certificate(Unit.ITLRECOVERY), B.certificate(Unit.CALLMANAGER)
#: Names B's ITLRecovery as its signer, and was signed with another key.
FORGED = B.itl(signer=Signer(RECOVERY, stranger().private_key))


@pytest.mark.parametrize(
    ("kept", "content", "certificate", "roles", "refusal", "words"),
    [
        (Kept.ITL, B.itl(), RECOVERY.der, SAST, None, "the signature holds"),
        (Kept.CTL, B.ctl(), RECOVERY.der, frozenset({0, 3}), None, "the signature holds"),
        (Kept.ITL, B.itl(), RECOVERY.der, TFTP, Refusal.WRONG_ROLE, "but not as SAST"),
        (Kept.ITL, B.itl(), RECOVERY.der, frozenset(), Refusal.WRONG_ROLE, "but not as SAST"),
        (Kept.ITL, B.itl(), CCM.der, SAST, Refusal.TVS_ANSWER, "which is another certificate"),
        (Kept.ITL, B.itl(), None, SAST, Refusal.TVS_ANSWER, "something that is no certificate"),
        (Kept.ITL, B.itl(), b"\x30\x00", SAST, Refusal.TVS_ANSWER, "something that is no certificate"),
        (Kept.ITL, FORGED, RECOVERY.der, SAST, Refusal.WRONG_SIGNATURE, "the signature does not hold"),
        (Kept.CONFIGURATION, B.files()[f"{NAME}.sgn"], CCM.der, TFTP, None, "the signature holds"),
        (
            Kept.CONFIGURATION,
            B.files()[f"{NAME}.sgn"],
            CCM.der,
            SAST,
            Refusal.WRONG_ROLE,
            "but not as CCM+TFTP or TFTP",
        ),
    ],
)
def test_what_a_tvs_vouches_for_must_be_the_signer_with_its_role(
    kept: Kept, content: bytes, certificate: bytes | None, roles: frozenset[int], refusal: Refusal | None, words: str
) -> None:
    judged = vouched(kept, content, certificate, roles)
    assert judged.refusal == refusal
    assert judged.accepted == (refusal is None)
    assert words in judged.words
    if kept is Kept.CONFIGURATION and refusal is None:
        assert judged.plain == B.plain()


def with_odd_key(certificate: Certificate) -> bytes:
    """The certificate with a key of a kind nobody knows."""
    algorithm = bytes.fromhex("06092a864886f70d010101")
    assert certificate.der.count(algorithm) == 1
    return certificate.der.replace(algorithm, algorithm[:-1] + b"\x7f")


def with_odd_name(certificate: Certificate) -> bytes:
    """The certificate with a name whose country is an object without content, which no reader can make a name of."""
    country = bytes.fromhex("310b3009 0603550406 1302504c")
    assert certificate.der.count(country) == 2
    return certificate.der.replace(country, bytes.fromhex("310b3009 0603550486 1302504c"))


def test_an_odd_certificate_from_a_tvs_is_a_refusal_not_a_fault() -> None:
    judged = vouched(Kept.ITL, B.itl(), with_odd_key(RECOVERY), SAST)
    assert judged.refusal is Refusal.WRONG_SIGNATURE
    assert "can't be used" in judged.words
    judged = vouched(Kept.ITL, B.itl(), with_odd_name(RECOVERY), SAST)
    assert judged.refusal is Refusal.TVS_ANSWER


@pytest.mark.parametrize("odd", [with_odd_key, with_odd_name])
def test_an_odd_certificate_in_an_installed_list_is_a_refusal_or_unknown(odd: object) -> None:
    assert callable(odd)
    recovery = A.certificate(Unit.ITLRECOVERY)
    data = A.itl().replace(recovery.der, odd(recovery))
    held = installed.read(Flash(itl=data), MODEL)[0]
    assert held.has_itl
    judged = held.judge_list(Kept.ITL, A.itl(now=LATER), MODEL)
    assert judged.verdict in (Verdict.REFUSE, Verdict.ASK)


def test_a_signer_with_an_endless_name_is_not_asked_about() -> None:
    header = signedheader.build(
        version=(1, 2),
        signer_version=None,
        signer_name="CN=" + "x" * 5000,
        serial=1,
        ca_name="CN=y",
        digest=Digest.SHA1,
        signature_length=256,
        file_name="ITLFile.tlv",
        timestamp=0,
    )
    judged = read("", "A ITL").judge_list(Kept.ITL, header.encode(), MODEL)
    assert (judged.refusal, judged.words) == (Refusal.MALFORMED, "the signer's names are too long to ask a TVS about")


# Peers on TLS.


def test_a_tvs_is_trusted_by_the_itl_alone() -> None:
    own, other = A.certificate(Unit.TVS, 1).der, B.certificate(Unit.TVS).der
    held = read("A CTL", "A ITL")
    assert held.refuses_tvs(own, NOW) is None
    assert held.refuses_tvs(other, NOW) == (
        Refusal.TVS_CERTIFICATE,
        "its certificate is none of the 2 TVS certificates in the phone's ITL",
    )
    # A certificate listed for something else does not do, nor does a CTL.
    assert held.refuses_tvs(A.certificate(Unit.CALLMANAGER).der, NOW) is not None
    for lists_of in (read("A CTL", ""), read("", "A ITL, blank"), read("", "garbage"), read()):
        assert lists_of.refuses_tvs(own, NOW) == (
            Refusal.TVS_CERTIFICATE,
            "the phone's ITL holds no TVS certificate",
        )


def test_a_tvs_that_only_a_ctl_lists_is_not_trusted() -> None:
    held = Installed(trustlist.decode(A.itl()), None)
    assert held.lists(A.certificate(Unit.CALLMANAGER).der, {Role.CCM_TFTP})
    assert held.refuses_tvs(A.certificate(Unit.TVS).der, NOW) is not None


@pytest.mark.parametrize(("days", "refused"), [(-31, True), (-29, False), (0, False), (1795, False), (1797, True)])
def test_a_tvs_certificate_counts_only_while_it_is_valid(days: int, refused: bool) -> None:
    found = read("", "A ITL").refuses_tvs(A.certificate(Unit.TVS).der, NOW + timedelta(days=days))
    assert (found is not None) == refused
    if found is not None:
        assert found[0] is Refusal.TVS_CERTIFICATE_EXPIRED
        assert "valid from 2026-01-30 to 2031-01-30, and the phone's clock says 20" in found[1]


def test_a_tvs_certificate_with_a_year_no_clock_shows_is_refused() -> None:
    der = A.certificate(Unit.TVS).der
    at = der.index(b"\x30\x1e\x17\x0d")
    zero = b"\x30\x22" + b"\x18\x0f00000101000000Z" * 2
    longer = bytearray(der[:at] + zero + der[at + 32 :])
    for place in (2, 6):  # the lengths of the certificate and of what is signed in it
        longer[place : place + 2] = (int.from_bytes(longer[place : place + 2]) + 4).to_bytes(2)
    odd = bytes(longer)
    blank = trustlist.blank_record(role=Role.TVS, dns_name="")
    record = replace(blank, elements=(*blank.elements, (9, odd)))
    itl = trustlist.decode(A.itl())
    held = Installed(None, replace(itl, records=(record,)))
    refused = held.refuses_tvs(odd, NOW)
    assert refused is not None
    assert refused[0] is Refusal.TVS_CERTIFICATE
    assert "can't be read" in refused[1]


def test_a_unified_cm_is_trusted_by_either_list() -> None:
    own, second = A.certificate(Unit.CALLMANAGER, 0).der, A.certificate(Unit.CALLMANAGER, 1).der
    assert read("A CTL", "").refuses_call_manager(own) is None
    assert read("A CTL", "").refuses_call_manager(second) is None
    assert read("", "A ITL").refuses_call_manager(own) is None
    refused = read("", "A ITL").refuses_call_manager(second)  # listed there as TFTP only
    assert refused == "its certificate is not in the phone's trust lists with role CCM or CCM+TFTP"


def test_a_certificate_is_listed_byte_for_byte_not_by_name() -> None:
    held = A.identities[A.node(0)][Unit.TVS]
    builder = x509.CertificateBuilder(
        held.certificate.x509.issuer,
        held.certificate.x509.subject,
        held.private_key.public_key(),
        held.certificate.serial,
        held.certificate.not_before,
        held.certificate.not_after,
    )
    other = Certificate.from_der(builder.sign(held.private_key, SHA256()).public_bytes(Encoding.DER))
    assert other.key == held.certificate.key
    assert read("", "A ITL").refuses_tvs(other.der, NOW) is not None


# What the screen says.


@pytest.mark.parametrize(
    ("ctl", "itl", "status", "words", "signatures"),
    [
        ("", "", "No Trust List Installed", "no trust list installed", False),
        ("", "A ITL", "ITL installed", "ITL signed by ITLRECOVERY_src1", True),
        ("", "A ITL, blank", "ITL installed", "blank ITL signed by ITLRECOVERY_src1", False),
        ("A CTL", "", "CTL installed", "CTL signed by ITLRECOVERY_src1", True),
        ("A CTL", "A ITL, blank", "CTL and ITL installed", " and blank ITL signed by", True),
        ("A CTL", "A ITL", "CTL and ITL installed", " and ITL signed by", True),
        ("", "garbage", "ITL installed", "unreadable ITL", True),
        ("garbage", "A ITL", "CTL and ITL installed", "unreadable CTL and ITL signed by", True),
    ],
)
def test_the_lists_are_described_in_words(ctl: str, itl: str, status: str, words: str, signatures: bool) -> None:
    held = read(ctl, itl)
    assert held.status == status
    assert words in held.describe()
    assert held.demands_signatures == signatures


def test_an_unreadable_list_is_named_with_its_offset() -> None:
    faults = installed.read(Flash(b"", FILES["garbage"]), MODEL)[1]
    assert faults == [
        "the CTL in flash can't be read: header cut short: 0 of its first 10 bytes (at offset 0)",
        "the ITL in flash can't be read: not a signed file: no header length after the version (at offset 5)",
    ]


def test_a_list_put_in_place_replaces_one_and_keeps_the_other() -> None:
    held = read("A CTL", "A ITL").with_list(Kept.ITL, FILES["B ITL"])
    assert (held.ctl_bytes, held.itl_bytes) == (FILES["A CTL"], FILES["B ITL"])
    held = held.with_list(Kept.CTL, FILES["B CTL"])
    assert held == read("B CTL", "B ITL")
