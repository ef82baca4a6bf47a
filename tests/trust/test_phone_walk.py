"""The phone's procedure on any walk: whatever is answered, it ends, and installs only what a rule allows.

The rules are judged here a second time, from `domain` and with the signature alone, not by asking the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.trust.world import DEVICE, MAX_STEPS, NOW, cluster, stranger

from trustbridge.errors import DecodeError, InvalidInput, SignatureRefused
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Unit
from trustbridge.trust import lists
from trustbridge.trust.configuration import TvsServer, parse
from trustbridge.trust.events import (
    AskTvs,
    Booted,
    Command,
    Downloaded,
    DownloadFailed,
    Event,
    Fetch,
    Flash,
    Install,
    Kept,
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
from trustbridge.trust.lists import Signer
from trustbridge.trust.models import MODELS, PhoneModel
from trustbridge.trust.phone import LIST_FAILED, VERIFICATION_FAILED, Phone, State
from trustbridge.wire import signedfile, trustlist
from trustbridge.wire.signedheader import Digest
from trustbridge.wire.trustlist import Role, TrustListFile
from trustbridge.wire.tvs import Message, TvsMessage, response_to

A, B = cluster("src"), cluster("dst")
CTL, ITL, CONFIGURATION = f"CTL{DEVICE}.tlv", f"ITL{DEVICE}.tlv", f"{DEVICE}.cnf.xml"
#: After one of these the phone has given up what it was about.
REFUSED = {LIST_FAILED, VERIFICATION_FAILED, "Error Verifying Config Info", "TFTP Timeout"}

FORGED = B.itl(signer=Signer(B.certificate(Unit.ITLRECOVERY), stranger().private_key))
LISTS = [
    A.itl(),
    A.itl(1, now=NOW + timedelta(hours=1)),
    A.itl(blank=True),
    A.itl(signer=A.signer(Unit.CALLMANAGER)),
    B.itl(),
    B.itl(1, signer=B.signer(Unit.CALLMANAGER, 1)),
    B.itl(blank=True),
    B.itl(digest=Digest.SHA512),
    FORGED,
    B.itl()[:-1] + b"\1",
    A.ctl(),
    B.ctl(),
    B.ctl(signer=B.signer(Unit.CALLMANAGER)),
    B.ctl()[:-1] + b"\1",
    B.itl()[:700],
    b"",
    b"\1\0\2\1\2",
    B.itl() + bytes(1 << 16),
]
CONFIGURATIONS = [
    A.files()[f"{CONFIGURATION}.sgn"],
    B.files()[f"{CONFIGURATION}.sgn"],
    B.files(secure=True, index=1)[f"{CONFIGURATION}.sgn"],
    B.files()[f"{CONFIGURATION}.sgn"] + b" ",
    B.signed(b"<device/>", CONFIGURATION),
    B.signed(b"no XML", CONFIGURATION),
    B.plain(),
    B.plain(secure=True),
    b"<device/>",
    b"no XML",
]
CERTIFICATES = [
    None,
    b"\x30\x00",
    B.certificate(Unit.ITLRECOVERY).der,
    B.certificate(Unit.CALLMANAGER, 0).der,
    B.certificate(Unit.CALLMANAGER, 1).der,
    A.certificate(Unit.ITLRECOVERY).der,
]
flashes = st.builds(
    Flash,
    ctl=st.sampled_from([None, None, A.ctl(), B.ctl(), b"odd"]),
    itl=st.sampled_from([None, A.itl(), A.itl(), A.itl(blank=True), B.itl(), b"odd"]),
    configuration=st.sampled_from([None, A.plain(), A.plain(), A.plain(secure=True), b"odd"]),
)
models = st.sampled_from([MODELS[name] for name in ("CP-8861", "CP-8861", "CP-7962", "CP-7960")])
contents = st.sampled_from(LISTS) | st.sampled_from(CONFIGURATIONS) | st.binary(max_size=30)
roles = st.sampled_from([(0, 3), (0, 3), (0,), (3,), (), (7, 21)])
refusals = st.sampled_from([refusal for refusal in Refusal if refusal.name.startswith("TVS_")])


@st.composite
def responses(draw: st.DrawFn, request: TvsMessage) -> TvsMessage:
    """An answer to a query: the honest one most often."""
    certificate = draw(st.sampled_from(CERTIFICATES))
    answer = response_to(request, certificate=certificate, roles=draw(roles), time_to_live=60)
    how = draw(st.integers(0, 9))
    if how == 0:
        return replace(answer, session=answer.session + 1)
    return replace(answer, message=Message.VERIFY_RESPONSE) if how == 1 else answer


@st.composite
def answers(draw: st.DrawFn, command: Command) -> Event:
    """Any event that answers this command."""
    match command:
        case Fetch(name, servers):
            if draw(st.integers(0, 19)) == 0:
                return DownloadFailed(name, "timed out")
            pool = CONFIGURATIONS if "cnf" in name else LISTS
            likely = st.sampled_from([item for item in pool if item is not None])
            content = draw(st.none() | likely | likely | likely | contents)
            return Downloaded(name, content, servers[0])
        case AskTvs(server, request):
            if draw(st.integers(0, 3)) == 0:
                return TvsFailed(server, draw(refusals), "no")
            return TvsAnswered(server, draw(responses(request)))
        case Register(target):
            return Registered(target) if draw(st.booleans()) else RegistrationFailed(target, "no", draw(st.booleans()))
    raise AssertionError(f"{command} waits for nothing")


def read(content: bytes | None) -> TrustListFile | None:
    try:
        return None if content is None else trustlist.decode(content)
    except DecodeError:
        return None


def holds(content: bytes, certificate: bytes | None) -> bool:
    try:
        signer = Certificate.from_der(certificate or b"")
        header = lists.decode_signed(content).header
        lists.check_signature(header, content, signer)
    except (InvalidInput, SignatureRefused):
        return False
    return signer.serial == header.serial


@dataclass
class Referee:
    """What the phone holds, and whether it may install what it installs."""

    flash: Flash
    model: PhoneModel
    told: TvsMessage | None = None

    def signed_by(self, content: bytes, kept: tuple[bytes | None, ...], wanted: set[Role]) -> bool:
        return any(
            record.role in wanted and holds(content, record.certificate)
            for file in map(read, kept)
            if file is not None
            for record in file.records
        )

    def vouched(self, content: bytes, wanted: set[Role]) -> bool:
        told = self.told
        return (
            told is not None
            and self.model.security_by_default
            and told.message is Message.QUERY_RESPONSE
            and told.valid
            and bool(wanted & set(told.roles))
            and holds(content, told.certificate)
        )

    def allows_list(self, kept: Kept, content: bytes) -> bool:
        ctl, itl = self.flash.ctl, self.flash.itl if self.model.security_by_default else None
        if read(content) is None or (len(content) > 65536 and kept is Kept.ITL):
            return False
        if ctl is None and itl is None:
            return True  # first trust
        if kept is Kept.ITL and ctl is not None:
            return self.signed_by(content, (ctl,), {Role.SAST, Role.CCM_TFTP, Role.TFTP})
        held = read(itl)
        if kept is Kept.ITL and held is not None and held.blank:
            return True
        return self.signed_by(content, (ctl, itl), {Role.SAST}) or self.vouched(content, {Role.SAST})

    def allows_configuration(self, plain: bytes, downloaded: Downloaded) -> bool:
        content = downloaded.content
        if content is None or downloaded.name.startswith("XMLDefault"):
            return False
        parse(plain)
        itl = self.flash.itl if self.model.security_by_default else None
        held = read(itl)
        unsigned = self.flash.ctl is None and (itl is None or (held is not None and held.blank))
        if unsigned or not downloaded.name.endswith(".sgn"):
            return unsigned and content == plain and not downloaded.name.endswith(".sgn")
        wanted = {Role.CCM_TFTP, Role.TFTP}
        signed = self.signed_by(content, (self.flash.ctl, itl), wanted) or self.vouched(content, wanted)
        return signed and signedfile.decode(content).content == plain


@settings(max_examples=250)
@given(data=st.data(), flash=flashes, model=models, servers=st.sampled_from([("dst1", "dst2"), ("dst1",), ()]))
def test_every_walk_ends_and_installs_only_what_a_rule_allows(
    data: st.DataObject, flash: Flash, model: PhoneModel, servers: tuple[str, ...]
) -> None:
    phone, referee = Phone(DEVICE, model), Referee(flash, model)
    event: Event = Booted(flash, servers, NOW)
    installed: set[Kept] = set()
    downloaded: Downloaded | None = None
    given_up = False
    for _ in range(MAX_STEPS):
        commands = phone.handle(event)
        assert [isinstance(command, Fetch | AskTvs | Register | Stop) for command in commands[:-1]].count(True) == 0
        for command in commands[:-1]:
            match command:
                case ShowStatus(message):
                    given_up = given_up or message in REFUSED
                case Install(kept, content):
                    assert not given_up
                    if kept is Kept.CONFIGURATION:
                        assert downloaded is not None
                        assert referee.allows_configuration(content, downloaded)
                        referee.flash = replace(referee.flash, configuration=content)
                    else:
                        assert referee.allows_list(kept, content)
                        referee.flash = replace(referee.flash, **{kept.name.lower(): content})
                    installed.add(kept)
        last = commands[-1]
        if isinstance(last, Stop):
            break
        event = data.draw(answers(last))
        if isinstance(event, Downloaded):
            downloaded, referee.told = event, None
        elif isinstance(event, TvsAnswered):
            asked = last.request.session if isinstance(last, AskTvs) else None
            referee.told = event.response if event.response.session == asked else None
    assert isinstance(last, Stop)
    outcome = last.outcome
    assert outcome.updated == installed
    assert (outcome.registered is None) <= (outcome.refusal is not None)
    assert not given_up or outcome.refusal is not None
    assert (outcome.refusal is None) == (outcome.reason == "")
    assert phone.state is State.DONE
    assert phone.transcript
    with pytest.raises(ValueError):
        phone.handle(event)


# What does not fit.

SRC1, SRC2 = TvsServer("src1"), TvsServer("src2")


def booted(flash: Flash, servers: tuple[str, ...] = ("dst1", "dst2")) -> Booted:
    return Booted(flash, servers, NOW)


def found(name: str, content: bytes | None) -> Downloaded:
    return Downloaded(name, content, "dst1")


def target(name: str, *, secure: bool = False) -> RegistrationTarget:
    return RegistrationTarget(name, 5061 if secure else 5060, secure)


def unsolicited() -> TvsMessage:
    return TvsMessage(Message.QUERY_RESPONSE, 1001, ((7, b"\0"),))


EVENTS: list[Event] = [
    booted(A.flash()),
    found(CTL, None),
    found(ITL, None),
    found(f"{CONFIGURATION}.sgn", None),
    DownloadFailed(CTL, "x"),
    DownloadFailed(ITL, "x"),
    TvsAnswered(SRC1, unsolicited()),
    TvsAnswered(SRC2, unsolicited()),
    TvsFailed(SRC1, Refusal.TVS_UNREACHABLE, "x"),
    TvsFailed(SRC2, Refusal.TVS_UNREACHABLE, "x"),
    Registered(target("src1")),
    Registered(target("dst1")),
    RegistrationFailed(target("src1"), "x", True),
    RegistrationFailed(target("src1", secure=True), "x", True),
]
ON_THE_WAY: list[tuple[State, list[Event], set[int]]] = [
    (State.OFF, [], {0}),
    (State.CTL, [booted(A.flash())], {1, 4}),
    (State.ITL, [booted(A.flash()), found(CTL, None)], {2, 5}),
    (State.ITL_TVS, [booted(A.flash()), found(CTL, None), found(ITL, B.itl())], {6, 8}),
    (State.REGISTER, [booted(A.flash(), ())], {10, 12}),
    (State.DONE, [booted(A.flash(), ()), Registered(target("src1"))], set()),
]


@pytest.mark.parametrize(("state", "before", "fitting"), ON_THE_WAY, ids=[state.name for state, _, _ in ON_THE_WAY])
def test_an_event_that_does_not_fit_is_refused_and_changes_nothing(
    state: State, before: list[Event], fitting: set[int]
) -> None:
    for number, event in enumerate(EVENTS):
        phone = Phone(DEVICE, MODELS["CP-8861"])
        last: list[Command] = []
        for step in before:
            last = phone.handle(step)
        assert phone.state is state
        if number in fitting:
            assert phone.handle(event)
            continue
        told = list(phone.transcript)
        with pytest.raises(ValueError, match=f"in state {state.name}, which awaits"):
            phone.handle(event)
        assert (phone.state, phone.transcript) == (state, told)
        assert phone.handle(fitting_event(last)) if last and state is not State.DONE else True


def fitting_event(commands: list[Command]) -> Event:
    match commands[-1]:
        case Fetch(name, _):
            return found(name, None)
        case AskTvs(server, _):
            return TvsFailed(server, Refusal.TVS_UNREACHABLE, "x")
        case Register(to):
            return Registered(to)
    raise AssertionError(commands)
