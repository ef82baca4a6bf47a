"""A lab phone: the decision procedure of `trust.phone`, run over real sockets from an address of its own."""

from __future__ import annotations

import asyncio
import logging
import ssl
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbridge.clients.ask import ask_tvs
from trustbridge.clients.fetch import http_get, tftp_get
from trustbridge.clients.lease import Lease, obtain_lease
from trustbridge.clients.register import ClientTls, register
from trustbridge.clients.tls import TlsIdentity
from trustbridge.errors import DecodeError, NotNow, Refused, TrustbridgeError, Unreachable
from trustbridge.lab.flash import FlashFolder
from trustbridge.lab.ports import Ports
from trustbridge.trust import configuration as configurations
from trustbridge.trust import installed
from trustbridge.trust.events import (
    AskTvs,
    Booted,
    Command,
    Downloaded,
    DownloadFailed,
    Event,
    Fetch,
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
from trustbridge.trust.installed import Installed
from trustbridge.trust.models import PhoneModel
from trustbridge.trust.phone import Phone as Procedure

if TYPE_CHECKING:
    from trustbridge.lab.fleetworkers import BootReport

_log = logging.getLogger(__name__)

#: Seconds a phone waits for a server; short, because everything is on loopback.
PATIENCE = 4.0
#: Seconds a registration lasts; the fleet renews it before.
EXPIRES = 3600
#: How often a phone asks over TFTP before it gives up.
TFTP_TRIES = 4
#: Larger files are not downloaded to their end.
MAX_DOWNLOAD = 1 << 20
#: Status messages a phone keeps, as its page shows them.
KEPT_STATUS = 50


class Standing(StrEnum):
    """Where a phone stands, seen from itself."""

    OFF = "off"
    BOOTING = "booting"
    REGISTERED = "registered"
    NOT_REGISTERED = "not registered"


@dataclass(frozen=True, slots=True)
class PhoneIdentity:
    """What is printed on a phone, and where it is plugged in.

    Attributes:
        name: `SEP` and the MAC address in capitals.
        address: its own in 127.0.0.0/8.
    """

    name: str
    model: PhoneModel
    address: str

    @property
    def mac(self) -> bytes:
        """Six bytes, as in its name."""
        return bytes.fromhex(self.name.removeprefix("SEP"))


@dataclass(frozen=True, slots=True)
class PhoneNetwork:
    """What the phones are plugged into.

    Attributes:
        dhcp_port: of a DHCP server that is not the lab's; None for the lab's own.
    """

    dhcp: str
    ports: Ports
    dhcp_port: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call on a phone, as its page shows it: also when it is over.

    Attributes:
        remote: who is at the other end, as `address/port`.
        since, until: from when to when; `until` is None while it lasts.
    """

    remote: str
    since: datetime
    until: datetime | None = None


class LabPhone:
    """One phone. `boot` runs the whole procedure; in between, it is registered or not."""

    def __init__(
        self, identity: PhoneIdentity, folder: Path, network: PhoneNetwork, clock: Callable[[], datetime]
    ) -> None:
        self.identity = identity
        self.flash = FlashFolder(folder)
        self.standing = Standing.OFF
        self.outcome: Outcome | None = None
        self.transcript: list[Line] = []
        self.status: deque[tuple[datetime, str]] = deque(maxlen=KEPT_STATUS)
        self.tftp_servers: tuple[str, ...] = ()
        self.registered_with: RegistrationTarget | None = None
        self.call: Call | None = None
        #: Calls that ended because the phone was reset.
        self.calls_cut = 0
        #: What its pages show of files in flash, each with the mark of the file it was made of.
        self.shown: dict[Kept, tuple[object, Any]] = {}
        self._network = network
        self._clock = clock
        self._tls: TlsIdentity | None = None

    @property
    def name(self) -> str:
        """`SEP` and the MAC address."""
        return self.identity.name

    def show(self, message: str) -> None:
        """Add a status message."""
        self.status.append((self._clock(), message))

    @property
    def in_call(self) -> bool:
        """Whether somebody talks on it."""
        return self.call is not None and self.call.until is None

    def place_call(self, remote: str) -> None:
        """Put a call on. No media flows: what shows it is the phone's page.

        Raises:
            NotNow: it is not registered, or in a call.
        """
        if self.standing is not Standing.REGISTERED or self.in_call:
            raise NotNow(f"{self.name} can't call: it is {'in a call' if self.in_call else self.standing}")
        self.call = Call(remote, self._clock())

    def hang_up(self) -> None:
        """End the call.

        Raises:
            NotNow: there is none.
        """
        if self.call is None or not self.in_call:
            raise NotNow(f"{self.name} is in no call")
        self.call = replace(self.call, until=self._clock())

    @property
    def clock(self) -> Callable[[], datetime]:
        """What the time is."""
        return self._clock

    def trust_lists(self) -> str:
        """The installed trust lists and their signers, in words."""
        return self._lists().describe()

    def _lists(self) -> Installed:
        return installed.read(self.flash.read(), self.identity.model)[0]

    async def boot(self) -> Outcome:
        """Start, or start again: DHCP, trust lists, configuration, registration.

        Whatever goes wrong is the phone's outcome, a full disk and a fault of this program included; nothing is raised.
        """
        self._restart()
        try:
            self.outcome = await self._boot()
        except asyncio.CancelledError:
            self.standing, self.outcome = Standing.OFF, None
            raise
        except Exception as error:
            self.outcome = self._broken(error)
        self.registered_with = self.outcome.registered
        self.standing = Standing.REGISTERED if self.registered_with is not None else Standing.NOT_REGISTERED
        return self.outcome

    def _restart(self) -> None:
        self.standing = Standing.BOOTING
        self.transcript = []
        # UNVERIFIED: a reset ends a call. A phone may also put the reset off until the call is over, as phones of
        # Unified CM Express do; the lab shows what a campaign has to reckon with.
        self.calls_cut += self.in_call
        self.call = None

    async def boot_elsewhere(self, start: Callable[[LabPhone], Awaitable[BootReport]]) -> Outcome:
        """As `boot`, in another process; see `fleetworkers`. Only that process writes its flash meanwhile."""
        self._restart()
        try:
            report = await start(self)
        except asyncio.CancelledError:
            self.standing, self.outcome = Standing.OFF, None
            raise
        except TrustbridgeError as error:
            self.standing, self.registered_with = Standing.NOT_REGISTERED, None
            self.outcome = self._broken(error)
            return self.outcome
        self.standing, self.outcome, self.transcript = report.standing, report.outcome, list(report.transcript)
        self.tftp_servers, self.registered_with = report.tftp_servers, report.registered_with
        self.status.extend(report.status)
        return report.outcome

    async def _boot(self) -> Outcome:
        await self._leave()
        self._tls = self._load_lsc()
        self.tftp_servers = await self._option150()
        procedure = Procedure(self.name, self.identity.model)
        self.transcript = procedure.transcript
        return await self._run(procedure, Booted(self.flash.read(), self.tftp_servers, self._clock()))

    def _broken(self, error: Exception) -> Outcome:
        """How a boot ends that could not come to an end of its own."""
        match error:
            case TrustbridgeError():
                reason = error.message
            case OSError():
                reason = f"the phone can't use its flash: {error.strerror or error}"
                _log.warning("%s: %s", self.name, reason)
            case _:
                reason = f"the simulated phone itself failed: {type(error).__name__}: {error}"
                _log.error("%s: %s", self.name, reason, exc_info=error)
        self.transcript.append(Line(reason, False))
        return Outcome(None, frozenset(), None, reason, None)

    def settle(
        self, lists: Mapping[Kept, bytes], configuration: bytes, servers: tuple[str, ...], target: RegistrationTarget
    ) -> None:
        """Be as after a first boot that brought this; see `settled`. Whoever calls has registered it."""
        self.flash.erase_trust()
        for kept, content in {**lists, Kept.CONFIGURATION: configuration}.items():
            self.flash.write(kept, content)
        self.show("No Trust List Installed")
        for kept in (Kept.CTL, Kept.ITL):
            if kept in lists:
                self.show("Trust List Updated")
            elif kept is Kept.CTL:
                self.show("File Not Found <CTLFile.tlv>")
        self.show(f"{self.name}.cnf.xml{'.sgn' if lists else ''}")
        self.transcript, self.tftp_servers, self.registered_with = [], servers, target
        self.standing = Standing.REGISTERED
        updated = frozenset((*lists, Kept.CONFIGURATION))
        self.outcome = Outcome(target, updated, None, "", configurations.parse(configuration))

    async def renew(self) -> bool:
        """Register again where it is registered; False when that fails."""
        target = self.registered_with
        if target is None:
            return False
        fault = await self._register(target, EXPIRES, self._lists().refuses_call_manager)
        if fault is not None:
            self.standing, self.registered_with = Standing.NOT_REGISTERED, None
        return fault is None

    async def _leave(self) -> None:
        """Take the registration back, as a phone does that resets; a Unified CM that is gone changes nothing."""
        if self.registered_with is not None:
            await self._register(self.registered_with, 0, self._lists().refuses_call_manager)
            self.registered_with = None

    def _load_lsc(self) -> TlsIdentity | None:
        lsc = self.flash.lsc()
        return None if lsc is None else TlsIdentity((lsc.certificate,), lsc.private_key)

    async def _option150(self) -> tuple[str, ...]:
        try:
            lease: Lease = await obtain_lease(
                self._network.dhcp,
                self._network.dhcp_port or self._network.ports.dhcp,
                mac=self.identity.mac,
                address=self.identity.address,
                vendor_class=f"Cisco Systems, Inc. IP Phone {self.identity.model.name}",
                timeout=PATIENCE,
            )
        except TrustbridgeError:
            self.show("DHCP timeout")
            return ()
        return lease.option150

    # Carrying out commands.

    async def _run(self, procedure: Procedure, first: Event) -> Outcome:
        pending: list[Command] = procedure.handle(first)
        while True:
            event: Event | None = None
            for command in pending:
                match command:
                    case ShowStatus(message):
                        self.show(message)
                    case Install(kept, content):
                        self.flash.write(kept, content)
                    case Fetch():
                        event = await self._fetch(command)
                    case AskTvs():
                        event = await self._ask(command, procedure)
                    case Register(target):
                        event = await self._try_register(target, procedure)
                    case Stop(outcome):
                        return outcome
            assert event is not None  # every step of the procedure ends in a question or in Stop
            pending = procedure.handle(event)

    async def _fetch(self, fetch: Fetch) -> Event:
        """HTTP first, then TFTP, from each server in turn; the first that answers decides."""
        ports = self._network.ports
        failures: list[str] = []
        answered = False
        for server in fetch.servers:
            try:
                content = await http_get(
                    server,
                    ports.provisioning,
                    fetch.name,
                    local_address=self.identity.address,
                    timeout=PATIENCE,
                    max_bytes=MAX_DOWNLOAD,
                )
                return Downloaded(fetch.name, content, server)
            except TrustbridgeError as error:
                failures.append(error.message)
            try:
                content = await tftp_get(
                    server,
                    ports.tftp,
                    fetch.name,
                    local_address=self.identity.address,
                    timeout=PATIENCE / TFTP_TRIES,
                    tries=TFTP_TRIES,
                    max_bytes=MAX_DOWNLOAD,
                )
                return Downloaded(fetch.name, content, server)
            except TrustbridgeError as error:
                failures.append(error.message)
                answered = answered or isinstance(error, Refused)
        return DownloadFailed(fetch.name, "; ".join(failures) or "no server to ask", answered)

    async def _ask(self, ask: AskTvs, procedure: Procedure) -> Event:
        refused: list[tuple[Refusal, str]] = []

        def check(certificate: bytes) -> str | None:
            fault = procedure.refuses_tvs(certificate)
            if fault is None:
                return None
            refused.append(fault)
            return fault[1]

        try:
            reply = await ask_tvs(
                ask.server.address,
                ask.server.port,
                ask.request,
                local_address=self.identity.address,
                timeout=PATIENCE,
                check_certificate=check,
                tls_context=_old_tls() if self.identity.model.legacy_tls else None,
            )
        except (Unreachable, Refused) as error:
            refusal = refused[0][0] if refused else Refusal.TVS_UNREACHABLE
            return TvsFailed(ask.server, refusal, refused[0][1] if refused else error.message)
        except DecodeError as error:
            return TvsFailed(ask.server, Refusal.TVS_ANSWER, error.message)
        return TvsAnswered(ask.server, reply.response)

    async def _try_register(self, target: RegistrationTarget, procedure: Procedure) -> Event:
        fault = await self._register(target, EXPIRES, procedure.refuses_call_manager)
        return Registered(target) if fault is None else RegistrationFailed(target, *fault)

    async def _register(
        self, target: RegistrationTarget, expires: int, check: Callable[[bytes], str | None]
    ) -> tuple[str, bool] | None:
        """Register; None when accepted, else the reason and whether somebody said no."""
        tls = ClientTls(identity=self._tls, check_certificate=check) if target.secure else None
        try:
            result = await register(
                target.name,
                target.port,
                device=self.name,
                model=str(self.identity.model.number),
                local_address=self.identity.address,
                expires=expires,
                tls=tls,
                timeout=PATIENCE,
            )
        except TrustbridgeError as error:
            return error.message, isinstance(error, Refused)
        if result.code == 200:
            return None
        return f"{result.code} {result.reason}", True


@lru_cache(maxsize=1)
def _old_tls() -> ssl.SSLContext:
    """What old models speak: TLS 1.0 and nothing newer, so that a server's minimum keeps them out as it does there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # phones know servers by their trust list
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point of it
        context.maximum_version = ssl.TLSVersion.TLSv1
    return context
