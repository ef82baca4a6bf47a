"""One phone's procedure, run over what was collected: the shell around `trust.phone` with data where sockets were.

Every decision is the procedure's. What is added here is what answers it: files, TVS and Unified CMs as they were seen.
Where an answer was not seen the run ends in `Missing`; where a fact about the phone is not known every possibility is
run, and only what they all lead to is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from trustbridge.errors import InvalidInput
from trustbridge.migration.predictvalues import (
    ANY_PHONE,
    NO_DEVICE,
    NOT_SEEN,
    Arrival,
    CallManagerSeen,
    Forecast,
    PhoneClass,
    Prediction,
    TftpSeen,
    World,
)
from trustbridge.pki.names import certificate_key
from trustbridge.trust import configuration as configurations
from trustbridge.trust import installed
from trustbridge.trust.configuration import CallManagerMember, Configuration, TvsServer
from trustbridge.trust.events import (
    AskTvs,
    Booted,
    Command,
    Downloaded,
    DownloadFailed,
    Event,
    Fetch,
    Flash,
    Kept,
    Line,
    Outcome,
    Refusal,
    Register,
    Registered,
    RegistrationFailed,
    RegistrationTarget,
    Stop,
    TvsAnswered,
    TvsFailed,
)
from trustbridge.trust.models import PhoneModel
from trustbridge.trust.phone import Phone
from trustbridge.wire import signedfile
from trustbridge.wire.tvs import response_to

#: Before the name of a Unified CM the phone knew before: both clusters may call a node the same.
_BEFORE = "the source's "
#: A list about which nothing is known but that it is there: it lists nobody.
_SOME_LIST = b"\x00"
_ALL_DIGESTS, _ALL_KEYS = True, 1 << 20

#: What is behind a refusal, where nothing more exact is known.
_FINDINGS = {
    Refusal.MALFORMED: "TB131",
    Refusal.TOO_LARGE: "TB130",
    Refusal.WRONG_SIGNATURE: "TB131",
    Refusal.NO_TVS_KNOWN: "TB111",
    Refusal.TVS_UNREACHABLE: "TB111",
    Refusal.TVS_CERTIFICATE_EXPIRED: "TB113",
    Refusal.NOT_VOUCHED: "TB101",
    Refusal.WRONG_ROLE: "TB106",
    Refusal.TVS_ANSWER: "TB108",
    Refusal.NO_ITL: "TB131",
    Refusal.NO_CONFIGURATION: "TB151",
    Refusal.REGISTRATION: "TB151",
}


class Missing(Exception):
    """The procedure asks what was not observed; `what` says it in words."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class _Supposed:
    """One possibility for a phone of a class: its flash, and where it asks."""

    ctl: bytes | None
    itl: bytes | None
    group: tuple[str, ...]
    tftp: str

    @property
    def configuration(self) -> bytes:
        """The configuration the phone has kept, as far as its procedure looks at it."""
        return configurations.build(
            Configuration(
                call_managers=tuple(CallManagerMember(f"{_BEFORE}{name}") for name in self.group),
                tvs=tuple(TvsServer(name) for name in self.group),
            )
        )


@dataclass(frozen=True, slots=True)
class Walk:
    """One possibility for a phone: its procedure's own transcript, with `ANY_PHONE` for the phone's name, and its end.

    Attributes:
        end: None where it came to something that was not observed: `lack` says what.
    """

    lines: tuple[Line, ...]
    end: Prediction | None
    lack: str = ""


def predict_class(phone: PhoneClass, world: World, walks: list[Walk] | None = None) -> Prediction:
    """What becomes of every phone of a class.

    Args:
        walks: told every possibility that was run for that.
    """
    unknown: list[str] = []
    seen: dict[tuple[Forecast, Refusal | None], Prediction] = {}
    missing: dict[str, None] = {}
    for supposed in _possibilities(phone, world, unknown):
        trail: list[Line] = []
        try:
            found = _run(phone, supposed, world, trail)
        except Missing as lack:
            missing[lack.what] = None
            if walks is not None:
                walks.append(Walk(tuple(trail), None, lack.what))
            break
        if walks is not None:
            walks.append(Walk(tuple(trail), found))
        seen.setdefault((found.forecast, found.refusal), found)
        if len(seen) > 1:
            break
    if len(seen) == 1 and not missing:
        return next(iter(seen.values()))
    finding = "TB161" if unknown else ""
    return Prediction(Forecast.UNKNOWN, finding=finding, missing=tuple(dict.fromkeys([*unknown, *missing])))


def _possibilities(phone: PhoneClass, world: World, unknown: list[str]) -> Iterator[_Supposed]:
    """Everything that may be true of a phone; `unknown` is told what there is more than one possibility for."""
    ctls = _lists(Kept.CTL, phone.ctl, world, unknown)
    itls = _lists(Kept.ITL, phone.itl, world, unknown)
    groups = [phone.group] if phone.group is not None else list(world.groups or ())
    if phone.group is None:
        unknown.append("its Unified CM group, which tells whose TVS it asks")
    tftps = [phone.tftp] if phone.tftp is not None else ["", "?"]
    if phone.tftp is None:
        unknown.append("whether TFTP servers were typed in on it by hand (TB150)")
    for ctl, itl, group, tftp in product(ctls, itls, groups, tftps):
        yield _Supposed(ctl, itl, group, tftp)


def _lists(kept: Kept, shown: str | None, world: World, unknown: list[str]) -> list[bytes | None]:
    """Files that a phone may hold which shows this hash."""
    if shown == "":
        return [None]
    if shown is None:
        unknown.append(f"whether it holds {'an' if kept is Kept.ITL else 'a'} {kept}, and which: its page was not read")
        return [None, _SOME_LIST, *world.lists_of(kept)]
    if shown in world.lists:
        return [world.lists[shown]]
    unknown.append(f"its {kept}: {shown} is the hash of no file that source or destination serves, or that is at hand")
    return [_SOME_LIST, *world.lists_of(kept)]


def _run(phone: PhoneClass, supposed: _Supposed, world: World, trail: list[Line]) -> Prediction:
    """One possibility, to its end.

    Args:
        trail: told what the procedure says on its way, however far it comes.

    Raises:
        Missing: what the phone asks was not observed.
    """
    if supposed.tftp:
        return _by_hand(phone, supposed, world, trail)
    run = _Run(phone.model, phone, supposed, world)
    try:
        outcome = run.to_the_end()
    finally:
        trail += run.transcript
    if outcome.refusal is None and run.at_destination(outcome.registered):
        if run.trusted_somebody:
            return Prediction(Forecast.MOVES)
        return Prediction(Forecast.FIRST_TRUST, finding=_first_trust(phone, supposed), reason=run.begins)
    return Prediction(Forecast.STRANDS, outcome.refusal, _finding(outcome, run), outcome.reason)


def _by_hand(phone: PhoneClass, supposed: _Supposed, world: World, trail: list[Line]) -> Prediction:
    """A phone that does not go by option 150."""
    server = supposed.tftp.casefold()
    if server in {seen.address.casefold() for seen in world.servers}:
        return _run(phone, replace(supposed, tftp=""), world, trail)
    if server in world.source_servers or server == "?":
        reason = f"TFTP servers were typed in on {ANY_PHONE} by hand: it does not go by option 150"
        trail.append(Line(reason, False))
        return Prediction(Forecast.STRANDS, finding="TB150", reason=reason)
    raise Missing(f"what TFTP server {supposed.tftp} serves, which was typed in by hand (TB150)")


def _first_trust(phone: PhoneClass, supposed: _Supposed) -> str:
    """Why it takes whatever comes."""
    if not phone.model.security_by_default:
        return "TB160"
    return "TB122" if supposed.itl is None else "TB120"


class _Run:
    """The shell around one run of the procedure."""

    def __init__(self, model: PhoneModel, phone: PhoneClass, supposed: _Supposed, world: World) -> None:
        self.phone = phone
        self.supposed = supposed
        self.world = world
        self.cause = ""
        self.trusted_somebody = False
        self.begins = ""
        self.flash = Flash(supposed.ctl, supposed.itl, supposed.configuration)
        self._procedure = Phone(ANY_PHONE, model)

    @property
    def transcript(self) -> list[Line]:
        """What the procedure has said so far."""
        return self._procedure.transcript

    @staticmethod
    def at_destination(target: RegistrationTarget | None) -> bool:
        """Whether a phone that is registered there has left the source."""
        return target is not None and not target.name.startswith(_BEFORE)

    def to_the_end(self) -> Outcome:
        """Where the phone ends. Raises `Missing`."""
        procedure = self._procedure
        addresses = tuple(server.address for server in self.world.servers)
        commands = procedure.handle(Booted(self.flash, addresses, self.world.now))
        self.trusted_somebody = procedure.has_trust_list
        self.begins = next(line.text for line in procedure.transcript if line.text.startswith("starts"))
        while not isinstance(last := commands[-1], Stop):
            commands = procedure.handle(self._answer(last))
        return last.outcome

    def _answer(self, command: Command) -> Event:
        match command:
            case Fetch():
                return self._fetched(command)
            case AskTvs():
                return self._asked(command)
            case Register(target):
                return self._registered(target)
        raise AssertionError(f"{command} waits for nothing")

    # Files.

    def _fetched(self, fetch: Fetch) -> Event:
        for server in self.world.servers:
            if server.down:
                continue
            if server.unseen:
                raise Missing(f"what TFTP server {server.address} serves: {server.unseen}")
            return Downloaded(fetch.name, self._file(server, fetch.name), server.address)
        return DownloadFailed(fetch.name, "Cisco Tftp runs on none of the servers")

    def _file(self, server: TftpSeen, name: str) -> bytes | None:
        if name.endswith(".tlv"):
            return server.list(Kept.CTL if name.startswith("CTL") else Kept.ITL)
        if name.startswith(ANY_PHONE):
            if self.phone.arrival == NO_DEVICE:
                return None
            if self.phone.arrival == NOT_SEEN:
                raise Missing("whether the destination knows it, and its configuration there")
            return _configuration(self.world.arrivals[self.phone.arrival], name)
        return _configuration(self.world.stranger, name)

    # TVS.

    def _asked(self, ask: AskTvs) -> TvsAnswered | TvsFailed:
        server, request = ask.server, ask.request
        seen = self.world.tvs.get(server.address.casefold())
        if seen is None:
            raise Missing(f"what TVS {server.address} answers: it was not asked")
        if seen.down:
            reason = "Cisco Trust Verification Service does not run there"
            return TvsFailed(server, Refusal.TVS_UNREACHABLE, reason)
        if self.phone.model.legacy_tls:
            if seen.old_tls is None and not seen.unseen:
                raise Missing(f"whether TVS {seen.node} speaks TLS 1.0, which is all this model knows")
            if seen.old_tls is False:
                self.cause = "TB112"
                return TvsFailed(server, Refusal.TVS_UNREACHABLE, "it does not speak TLS 1.0, all this model knows")
        if seen.unseen or seen.presented is None:
            raise Missing(f"what TVS {seen.node} answers: {seen.unseen or 'it showed no certificate'}")
        fault = self._procedure.refuses_tvs(seen.presented)
        if fault is not None:
            return TvsFailed(server, *fault)
        said = seen.said.get(certificate_key(request.serial or 0, request.issuer or ""))
        if said is None:
            raise Missing(f"what TVS {seen.node} answers about serial {request.serial or 0:X}: it was not asked")
        self.cause = said.finding
        certificate = said.certificate if said.valid else None
        return TvsAnswered(server, response_to(request, certificate=certificate, roles=said.roles))

    # Registration.

    def _registered(self, target: RegistrationTarget) -> Registered | RegistrationFailed:
        if not self.at_destination(target):
            return Registered(target)
        seen = self.world.members.get(target.name.casefold())
        if seen is None:
            raise Missing(f"Unified CM {target.name}: it is no node of the destination that was read")
        if seen.running is None:
            raise Missing(f"whether Cisco CallManager runs on {seen.node}")
        if not seen.running:
            self.cause = ""
            return RegistrationFailed(target, "Cisco CallManager does not run there", False)
        return self._over_tls(target, seen) if target.secure else self._in_the_clear(target)

    def _in_the_clear(self, target: RegistrationTarget) -> Registered | RegistrationFailed:
        if self.phone.arrival != NO_DEVICE or self.world.auto_registration:
            return Registered(target)
        if self.world.auto_registration is None:
            raise Missing("whether the destination registers phones that nobody created there (TB151)")
        self.cause = "TB151"
        return RegistrationFailed(target, "no such device there, and auto-registration is off", True)

    def _over_tls(self, target: RegistrationTarget, seen: CallManagerSeen) -> Registered | RegistrationFailed:
        if seen.certificate is None:
            raise Missing(f"the CallManager certificate of {seen.node}")
        fault = self._procedure.refuses_call_manager(seen.certificate)
        if fault is not None:
            self.cause = "TB149"
            return RegistrationFailed(target, fault, False)
        if seen.trusts_lsc is None:
            raise Missing(f"what CAPF-trust of {seen.node} holds (TB152)")
        if not seen.trusts_lsc:  # with an LSC or without one, it is refused
            self.cause = "TB152"
            return RegistrationFailed(target, "the source's CAPF certificate is not in its CAPF-trust", True)
        if self.phone.lsc is None:
            raise Missing("whether it has an LSC: it is not registered securely at the source")
        if not self.phone.lsc:
            self.cause = "TB152"
            return RegistrationFailed(target, "the phone has no LSC", True)
        return Registered(target)


def _configuration(arrival: Arrival, name: str) -> bytes | None:
    if arrival.unseen:
        raise Missing(f"the destination's {name}: {arrival.unseen}")
    if arrival.signed is None or name.endswith(".sgn"):
        return arrival.signed
    try:
        # Unsigned, the server gives the same content.
        return signedfile.decode(arrival.signed).content
    except InvalidInput as error:
        raise Missing(f"the destination's {name}: its signed form can't be read: {error.message}") from None


def _finding(outcome: Outcome, run: _Run) -> str:
    """What is behind a refusal."""
    refusal = outcome.refusal
    if refusal is None:
        return ""
    flash, world = run.flash, run.world
    if refusal is Refusal.TVS_CERTIFICATE:
        if installed.read(flash, run.phone.model)[0].blank_itl:
            return "TB120"
        return "TB110" if (Kept.ITL, flash.itl) in world.source_lists else "TB122"
    if refusal is Refusal.NOT_IN_CTL:
        if (Kept.CTL, flash.ctl) in world.other_lists and (Kept.CTL, flash.ctl) not in world.source_lists:
            return "TB121" if world.source_mixed is False else "TB122"
        return "TB121" if world.source_mixed is False else "TB124"
    if refusal is Refusal.MODEL:
        return _beyond_model(run)
    if refusal in (Refusal.NOT_VOUCHED, Refusal.WRONG_ROLE, Refusal.TVS_ANSWER, Refusal.REGISTRATION):
        return run.cause or _FINDINGS[refusal]
    if refusal is Refusal.TVS_UNREACHABLE and run.cause == "TB112":
        return "TB112"
    return _FINDINGS.get(refusal, "")


def _beyond_model(run: _Run) -> str:
    """Whether a model fails at the signature (TB132), or at a signer it can't ask about (TB123): the procedure itself
    tells, for a model like it that verifies every signature."""
    able = replace(run.phone.model, sha512=_ALL_DIGESTS, max_rsa_bits=_ALL_KEYS)
    try:
        again = _Run(able, run.phone, run.supposed, run.world).to_the_end()
    except Missing:
        return "TB132"  # it came further
    return "TB123" if again.refusal is Refusal.MODEL else "TB132"
