"""The phone's decision procedure: which files it accepts, whom it asks, where it registers. Written once.

A lab phone runs it over sockets, prediction over data, diagnosis prints its transcript. It is a state machine: `handle`
takes an event and returns commands; it has no clock, no randomness, no I/O.

    state         awaits                              then
    -----         ------                              ----
    OFF           Booted                              asks for the CTL
    CTL           Downloaded / DownloadFailed         installs or refuses it, or asks a TVS about its signer
    CTL_TVS       TvsAnswered / TvsFailed             installs or refuses it, or asks the next TVS
    ITL           as CTL                              as CTL, for the ITL
    ITL_TVS       as CTL_TVS
    CONFIG        as CTL                              applies the configuration file, or keeps the old one
    CONFIG_TVS    as CTL_TVS
    REGISTER      Registered / RegistrationFailed     ends, or tries the next Unified CM of the group
    DONE          nothing

The last command of a list is the one whose answer is awaited; an answer to anything else does not fit.

A trust list that is refused changes nothing: the phone keeps its lists *and* its configuration, and goes on working
with the Unified CM it knows. A CTL that was accepted stays when the ITL after it is refused. Sources: the seed's two
processes and `domain`, "Rules that decide an outcome"; that a CTL on the phone decides about an ITL is also the
vendor's security guide ("if the phone has an existing CTL file, it uses the CTL file to authenticate the ITL file
signature").
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from trustbridge.errors import InvalidInput
from trustbridge.pki.names import short_name
from trustbridge.trust import configuration as configurations
from trustbridge.trust import installed
from trustbridge.trust.configuration import Configuration, TvsServer
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
    Line,
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
from trustbridge.trust.installed import Installed, Judged, Verdict
from trustbridge.trust.models import PhoneModel
from trustbridge.wire.signedheader import SignedHeader
from trustbridge.wire.trustlist import role_label
from trustbridge.wire.tvs import Message, query_request

#: Session numbers of TVS requests count up from here, as phones' do.
FIRST_SESSION = 1001


class State(Enum):
    """Where the procedure stands; see the table above."""

    OFF = auto()
    CTL = auto()
    CTL_TVS = auto()
    ITL = auto()
    ITL_TVS = auto()
    CONFIG = auto()
    CONFIG_TVS = auto()
    REGISTER = auto()
    DONE = auto()


_KEPT = {
    State.CTL: Kept.CTL,
    State.CTL_TVS: Kept.CTL,
    State.ITL: Kept.ITL,
    State.ITL_TVS: Kept.ITL,
    State.CONFIG: Kept.CONFIGURATION,
    State.CONFIG_TVS: Kept.CONFIGURATION,
}
_ASKING = {State.CTL: State.CTL_TVS, State.ITL: State.ITL_TVS, State.CONFIG: State.CONFIG_TVS}
#: What the screen says when a list's own signature does not hold; any other refusal of one is LIST_FAILED.
VERIFICATION_FAILED = "Trust List update failed, verification failure"
LIST_FAILED = "Trust List Update Failed"


@dataclass(frozen=True, slots=True)
class _Pending:
    """A file whose signer a TVS is being asked about."""

    name: str
    content: bytes
    judged: Judged
    header: SignedHeader


class Phone:
    """One phone from boot to registration.

    Args:
        name: device name, `SEP` and the MAC address in capitals.
        model: what it can do.
    """

    def __init__(self, name: str, model: PhoneModel) -> None:
        self.name = name
        self.model = model
        self.state = State.OFF
        self.transcript: list[Line] = []
        self._servers: tuple[str, ...] = ()
        self._now: datetime | None = None
        self._lists = Installed.nothing()
        self._configuration: Configuration | None = None
        self._kept_configuration: bytes | None = None
        self._updated: set[Kept] = set()
        self._refusal: Refusal | None = None
        self._reason = ""
        self._names: list[str] = []
        self._pending: _Pending | None = None
        self._tvs_left: list[TvsServer] = []
        self._tvs_faults: list[tuple[Refusal, str]] = []
        self._awaited: Command | None = None
        self._session = FIRST_SESSION
        self._targets: list[RegistrationTarget] = []

    # What the shell around the procedure asks while it carries out a command.

    @property
    def has_trust_list(self) -> bool:
        """Whether anything on the phone demands signed files."""
        return self._lists.demands_signatures

    def refuses_tvs(self, certificate: bytes) -> tuple[Refusal, str] | None:
        """Why the phone breaks off the handshake with a TVS that presents `certificate` (DER), or None.

        The certificate must be, byte for byte, one that the installed ITL lists with role TVS, and be valid now.
        """
        assert self._now is not None
        return self._lists.refuses_tvs(certificate, self._now)

    def refuses_call_manager(self, certificate: bytes) -> str | None:
        """Why the phone does not register over TLS with a Unified CM that presents `certificate`, or None."""
        return self._lists.refuses_call_manager(certificate)

    # The machine.

    def handle(self, event: Event) -> list[Command]:
        """Take an event, give the commands that follow from it.

        Raises:
            ValueError: the event is no answer to what is awaited; the shell has a fault. Nothing has changed.
        """
        match self._awaited, event:
            case None, Booted():
                commands = self._booted(event)
            case Fetch(name=name), Downloaded() if event.name == name:
                commands = self._downloaded(event)
            case Fetch(name=name), DownloadFailed() if event.name == name:
                commands = self._download_failed(event)
            case AskTvs(server=server), TvsAnswered() if event.server == server:
                commands = self._tvs_answered(event)
            case AskTvs(server=server), TvsFailed() if event.server == server:
                commands = self._tvs_failed(event)
            case Register(target=target), Registered() if event.target == target:
                commands = self._registered(event)
            case Register(target=target), RegistrationFailed() if event.target == target:
                commands = self._registration_failed(event)
            case _:
                raise ValueError(f"{event} in state {self.state.name}, which awaits {self._awaited}")
        self._awaited = commands[-1]
        return commands

    def _say(self, text: str, ok: bool | None = None) -> None:
        self.transcript.append(Line(_printable(text), ok))

    def _booted(self, event: Booted) -> list[Command]:
        self._now = event.now
        self._servers = event.tftp_servers
        self._lists, faults = installed.read(event.flash, self.model)
        for fault in faults:
            self._say(fault, False)
        self._take_configuration(event.flash)
        self._say(f"starts; {self._lists.describe()}")
        status: list[Command] = [ShowStatus(self._lists.status)]
        if not self._servers:
            self._refuse(Refusal.NO_TFTP_ANSWER, "DHCP named no TFTP server in option 150")
            return status + self._register()
        self._say(f"option 150 names {', '.join(self._servers)}")
        return status + self._ask_for(State.CTL, [f"CTL{self.name}.tlv"])

    def _take_configuration(self, flash: Flash) -> None:
        if flash.configuration is None:
            return
        try:
            self._configuration = configurations.parse(flash.configuration)
            self._kept_configuration = flash.configuration
        except InvalidInput as error:
            self._say(f"the kept configuration can't be read: {error}", False)

    def _ask_for(self, state: State, names: list[str]) -> list[Command]:
        self.state = state
        self._names = names[1:]
        return [Fetch(names[0], self._servers)]

    def _download_failed(self, event: DownloadFailed) -> list[Command]:
        self._refuse(Refusal.NO_TFTP_ANSWER, f"{event.name}: {event.reason}")
        return [ShowStatus("TFTP Error" if event.error else "TFTP Timeout"), *self._register()]

    def _downloaded(self, event: Downloaded) -> list[Command]:
        if event.content is None:
            return self._not_found(event)
        self._say(f"{event.name} from {event.server}: {len(event.content)} bytes")
        judged = (
            self._lists.judge_configuration(event.content, event.name, self.model)
            if self.state is State.CONFIG
            else self._lists.judge_list(_KEPT[self.state], event.content, self.model)
        )
        return self._act_on(event.content, judged, event.name)

    def _not_found(self, event: Downloaded) -> list[Command]:
        self._say(f"{event.name} is not on {event.server}")
        if self._names:
            return [Fetch(self._names.pop(0), self._servers)]
        if self.state is State.CTL:
            # Normal at a cluster that is not in mixed mode; a CTL on the phone stays and still counts.
            return [ShowStatus("File Not Found <CTLFile.tlv>"), *self._after_ctl()]
        status: list[Command] = [ShowStatus(f"File Not Found <{event.name}>")]
        if self.state is State.ITL:
            if self._lists.has_itl and not self._lists.blank_itl:
                # It may still register here, vouched for by its old TVS, and then trust nothing this cluster changes.
                self._refuse(Refusal.NO_ITL, f"{event.server} has no ITL, and the phone keeps the one it has")
            return status + self._after_itl()
        self._refuse(Refusal.NO_CONFIGURATION, f"{event.server} has no configuration for {self.name}")
        return status + self._register()

    def _act_on(self, content: bytes, judged: Judged, name: str) -> list[Command]:
        """Carry out what was judged of a file just downloaded, or just vouched for."""
        if judged.verdict is Verdict.REFUSE:
            assert judged.refusal is not None
            return self._refused(judged.refusal, f"{name}: {judged.words}")
        if judged.words:
            self._say(judged.words, True if judged.verdict is Verdict.ACCEPT else None)
        if judged.verdict is Verdict.ASK:
            assert judged.header is not None
            return self._ask_tvs(content, judged, judged.header, name)
        if self.state in (State.CONFIG, State.CONFIG_TVS):
            return self._apply(judged.plain, name)
        kept = _KEPT[self.state]
        commands: list[Command] = []
        if judged.verdict is Verdict.ACCEPT:
            self._lists = self._lists.with_list(kept, content)
            self._updated.add(kept)
            commands = [Install(kept, content), ShowStatus("Trust List Updated")]
        return commands + (self._after_ctl() if kept is Kept.CTL else self._after_itl())

    def _after_ctl(self) -> list[Command]:
        if not self.model.security_by_default:
            self._say(f"{self.model.name} does not know Security by Default: it asks for no ITL")
            return self._after_itl()
        return self._ask_for(State.ITL, [f"ITL{self.name}.tlv", "ITLFile.tlv"])

    def _after_itl(self) -> list[Command]:
        # The default is asked for signed, too: unsigned, it would be a way round the trust list.
        suffix = ".sgn" if self.has_trust_list else ""
        return self._ask_for(State.CONFIG, [f"{self.name}.cnf.xml{suffix}", f"XMLDefault.cnf.xml{suffix}"])

    # Asking a TVS.

    def _ask_tvs(self, content: bytes, judged: Judged, header: SignedHeader, name: str) -> list[Command]:
        servers = self._configuration.tvs if self._configuration is not None else ()
        if not servers:
            return self._refused(
                Refusal.NO_TVS_KNOWN, f"{name}: signer unknown, and the kept configuration names no TVS server"
            )
        self._pending = _Pending(name, content, judged, header)
        self._tvs_left = list(servers)
        self._tvs_faults = []
        self.state = _ASKING[self.state]
        return self._ask_next_tvs(self._pending)

    def _ask_next_tvs(self, pending: _Pending) -> list[Command]:
        header = pending.header
        server = self._tvs_left.pop(0)
        request = query_request(
            self._session, f"{self.model.name}-{self.name}", header.signer_name, header.ca_name, header.serial
        )
        self._session += 1
        self._say(f"asks TVS {server} about {short_name(header.signer_name)}, serial {header.serial:X}")
        return [AskTvs(server, request)]

    def _tvs_failed(self, event: TvsFailed) -> list[Command]:
        assert self._pending is not None
        reason = f"TVS {event.server}: {event.reason}"
        self._tvs_faults.append((event.refusal, reason))
        self._say(reason, False)
        if self._tvs_left:
            return self._ask_next_tvs(self._pending)
        # What a TVS was refused for says more than that another one was down.
        told = [fault for fault in self._tvs_faults if fault[0] is not Refusal.TVS_UNREACHABLE] or self._tvs_faults
        return self._refused(told[0][0], f"{self._pending.name}: {'; '.join(words for _, words in told)}")

    def _tvs_answered(self, event: TvsAnswered) -> list[Command]:
        assert self._pending is not None
        assert isinstance(self._awaited, AskTvs)
        pending, name = self._pending, self._pending.name
        response = event.response
        if response.message is not Message.QUERY_RESPONSE or response.session != self._awaited.request.session:
            # As good as no answer, like one that can't be decoded: the next TVS may do better.
            return self._tvs_failed(TvsFailed(event.server, Refusal.TVS_ANSWER, "answers something else"))
        if not response.valid:
            # A "no" is final: other TVS servers are for when one is down (TB102 shows: phones of one group only).
            return self._refused(Refusal.NOT_VOUCHED, f"{name}: TVS {event.server} does not know the signer")
        roles = ", ".join(role_label(role) for role in response.roles)
        self._say(f"TVS {event.server} vouches for the signer, with {roles or 'no role'}", True)
        judged = installed.judge_vouched(
            _KEPT[self.state], pending.content, pending.judged, response.certificate, frozenset(response.roles)
        )
        self._pending = None
        return self._act_on(pending.content, judged, name)

    # The end.

    def _refuse(self, refusal: Refusal, reason: str) -> None:
        """Remember the first thing that went wrong; later ones follow from it."""
        self._say(reason, False)
        if self._refusal is None:
            self._refusal, self._reason = refusal, _printable(reason)

    def _refused(self, refusal: Refusal, reason: str) -> list[Command]:
        """A file is refused: the phone keeps what it has and registers where it was."""
        if self.state in (State.CONFIG, State.CONFIG_TVS):
            status = "Error Verifying Config Info"
        else:
            status = VERIFICATION_FAILED if refusal is Refusal.WRONG_SIGNATURE else LIST_FAILED
        self._refuse(refusal, reason)
        updated = " and ".join(sorted(self._updated))
        self._say(f"keeps everything but the new {updated}" if updated else "keeps its trust lists and configuration")
        return [ShowStatus(status), *self._register()]

    def _apply(self, plain: bytes | None, name: str) -> list[Command]:
        assert plain is not None
        try:
            self._configuration = configurations.parse(plain)
        except InvalidInput as error:
            return self._refused(Refusal.MALFORMED, f"{name}: {error}")
        commands: list[Command] = [ShowStatus(name)]
        if name.startswith("XMLDefault"):
            # Enough to ask for auto-registration; it is nobody's own configuration, so it is not kept.
            self._say("the TFTP server knows no configuration for this phone: tries the default")
        elif plain != self._kept_configuration:
            self._updated.add(Kept.CONFIGURATION)
            commands.append(Install(Kept.CONFIGURATION, plain))
        group = ", ".join(member.name for member in self._configuration.call_managers)
        self._say(f"applies {name}: Unified CM group {group or 'empty'}", True)
        return commands + self._register()

    def _register(self) -> list[Command]:
        self.state = State.REGISTER
        configuration = self._configuration
        self._targets = [] if configuration is None else RegistrationTarget.group_of(configuration)
        if self._targets:
            return [Register(self._targets.pop(0))]
        lacking = "configuration, so no" if configuration is None else "configuration that names a"
        self._refuse(Refusal.REGISTRATION, f"the phone has no {lacking} Unified CM to register with")
        return [self._stop(None)]

    def _registered(self, event: Registered) -> list[Command]:
        self._say(f"registered with {event.target}", True)
        return [self._stop(event.target)]

    def _registration_failed(self, event: RegistrationFailed) -> list[Command]:
        reason = f"{event.target} {'rejects the registration' if event.rejected else 'fails'}: {event.reason}"
        # Also after XMLDefault: that a phone then goes back to the configuration it keeps is nowhere said, so it is
        # taken as stranded, where people see it.
        if self._targets:
            self._say(reason, False)
            return [Register(self._targets.pop(0))]
        self._refuse(Refusal.REGISTRATION, reason)
        return [self._stop(None)]

    def _stop(self, target: RegistrationTarget | None) -> Stop:
        self.state = State.DONE
        return Stop(Outcome(target, frozenset(self._updated), self._refusal, self._reason, self._configuration))


def _printable(text: str) -> str:
    """Names come from files: nothing in them may move a terminal's cursor."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
