"""Every way to strand that a phone can meet: it loses nothing, says why, and goes on at the source.

Nothing here is scripted: the phone asks, and the clusters of `world` answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from tests.trust.arrangements import (
    BIG,
    CTL,
    FORGED,
    LONG_KEY,
    A,
    B,
    confuse_tvs,
    lose,
    move,
    renew_tvs,
    replicate_late,
    serve,
    vouch,
    world,
)
from tests.trust.world import NOW, World

from trustbridge.pki.units import Store, Unit
from trustbridge.trust import configuration as configurations
from trustbridge.trust.events import Flash, Install, Refusal
from trustbridge.trust.phone import LIST_FAILED, VERIFICATION_FAILED
from trustbridge.wire.signedheader import Digest


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
