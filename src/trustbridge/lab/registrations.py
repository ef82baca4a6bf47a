"""Who is registered with which node of a lab cluster, and who may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from trustbridge.lab.cluster import Cluster, Device
from trustbridge.services.registrar import Registration, RegistrationAnswer
from trustbridge.trust.configuration import SECURITY_AUTHENTICATED, SECURITY_INSECURE
from trustbridge.trust.models import MODELS

#: Seconds a registration may last at the most.
MAX_EXPIRES = 86_400
#: Rejected devices remembered; anybody may bring a new name.
MAX_REJECTED = 1000
_MODEL_NAMES = {str(model.number): model.name for model in MODELS.values()}


@dataclass(frozen=True, slots=True)
class Registered:
    """A phone's registration."""

    device: str
    node: str
    address: str
    secure: bool
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class LastKnown:
    """What a cluster remembers of a phone that is or was there.

    Attributes:
        status: as RisPort70 says it; one that is `Registered` here may have run out since.
        since: when the status began.
        seen: when the phone was heard of last.
    """

    node: str
    address: str
    status: Literal["Registered", "UnRegistered", "Rejected"]
    since: datetime
    seen: datetime


class Registrations:
    """The registrations of one cluster, known on all of its nodes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._registered: dict[str, Registered] = {}
        self.rejected: dict[str, str] = {}
        self.last_known: dict[str, LastKnown] = {}
        self.changed: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._registered)

    def find(self, device: str) -> Registered | None:
        """A phone's registration, or None when it has none that still holds."""
        found = self._registered.get(device)
        return found if found is not None and found.until > self._cluster.clock() else None

    def all(self) -> list[Registered]:
        """Every registration that still holds, by device name."""
        now = self._cluster.clock()
        return [found for _, found in sorted(self._registered.items()) if found.until > now]

    def judge(self, node: str, registration: Registration) -> RegistrationAnswer:
        """Accept or reject a REGISTER, and remember it."""
        name = registration.device
        device = self._cluster.devices.get(name)
        if device is None and registration.expires and self._cluster.definition.auto_registration:
            device = self._auto_register(registration)
        fault = self._fault(device, registration)
        if fault is not None:
            self._reject(node, registration, fault.reason)
            return fault
        before = self.find(name)
        now = self._cluster.clock()
        if registration.expires == 0:
            # A phone that has moved on to another node takes back what it has here no more.
            if before is not None and before.node == node:
                del self._registered[name]
                self.last_known[name] = LastKnown(node, before.address, "UnRegistered", now, now)
            self._tell()
            return RegistrationAnswer.accepted(0)
        expires = min(registration.expires, MAX_EXPIRES)
        self._registered[name] = Registered(
            name,
            node,
            registration.contact[0],
            registration.secure,
            before.since if before is not None and before.node == node else now,
            now + timedelta(seconds=expires),
        )
        self.last_known[name] = LastKnown(
            node, registration.contact[0], "Registered", self._registered[name].since, now
        )
        self.rejected.pop(name, None)
        self._tell()
        return RegistrationAnswer.accepted(expires)

    def forget(self, device: str) -> None:
        """Know nothing of a phone, as if it had never been here."""
        self._registered.pop(device, None)
        self.last_known.pop(device, None)
        self.rejected.pop(device, None)

    def _reject(self, node: str, registration: Registration, reason: str) -> None:
        """Remember that. Who was registered by that name stays so, unless it was this very phone."""
        name = registration.device
        before = self._registered.get(name)
        if name in self._cluster.devices and before is not None and before.address != registration.peer[0]:
            return
        self._registered.pop(name, None)
        self.rejected[name] = reason
        now = self._cluster.clock()
        self.last_known[name] = LastKnown(node, registration.peer[0], "Rejected", now, now)
        while len(self.rejected) > MAX_REJECTED:
            forgotten = next(iter(self.rejected))
            del self.rejected[forgotten]
            self.last_known.pop(forgotten, None)
        self._tell()

    def _fault(self, device: Device | None, registration: Registration) -> RegistrationAnswer | None:
        if device is None:
            return RegistrationAnswer.rejected(404, "Device unknown and auto-registration is off")
        if self._cluster.security_of(device) >= SECURITY_AUTHENTICATED:
            if not registration.secure:
                return RegistrationAnswer.rejected(403, "Security profile requires TLS")
            if f"CN={registration.device}" not in registration.peer_subject.split(";"):
                return RegistrationAnswer.rejected(403, "Certificate names another device")
        elif registration.secure:
            return RegistrationAnswer.rejected(403, "Security profile is non-secure")
        return None

    def _auto_register(self, registration: Registration) -> Device:
        group = self._cluster.definition.unified_cm_groups[0].name
        model = _MODEL_NAMES.get(registration.model, f"model {registration.model}")
        device = Device(registration.device, model, SECURITY_INSECURE, group)
        self._cluster.add_devices([device])
        return device

    def _tell(self) -> None:
        for listener in self.changed:
            listener()
