"""The services of one lab node: TVS, files over HTTP and TFTP, registration, the command line over SSH, HTTPS."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Protocol

from trustbridge.clients.tls import TlsIdentity
from trustbridge.lab.accounts import Verdict
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.nodeapis import node_app
from trustbridge.lab.nodefiles import NodeFiles
from trustbridge.lab.oscommands.shell import NodeShell
from trustbridge.lab.oscommands.view import NodeView
from trustbridge.lab.profiles import profile
from trustbridge.lab.registrations import Registrations
from trustbridge.lab.soapapis import SoapApis
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store, Unit
from trustbridge.services.httpsnode import UNDISTURBED, Disturb, HttpsServer, start_https
from trustbridge.services.oscli import start_oscli
from trustbridge.services.provisioning import start_provisioning
from trustbridge.services.registrar import RegistrarServer, Registration, RegistrationAnswer, start_registrar
from trustbridge.services.tftp import start_tftp
from trustbridge.services.tvs import TvsServer, start_tvs

_log = logging.getLogger(__name__)

TVS, TFTP, CALLMANAGER, SSH = "Cisco Trust Verification Service", "Cisco Tftp", "Cisco CallManager", "SSH"
HTTPS = "Cisco Tomcat"
#: What listens for one service, as its second server is named.
_SECONDS = {TFTP: "Cisco Tftp (HTTP)", CALLMANAGER: "Cisco CallManager (TLS)"}


class _Stoppable(Protocol):
    async def stop(self) -> None: ...


class Node:
    """A node that runs: its services listen on its own address.

    `services` names what runs, as `utils service list` would.
    """

    def __init__(self, cluster: Cluster, registrations: Registrations, name: str, apis: SoapApis | None = None) -> None:
        self.cluster = cluster
        self.name = name
        self.address = cluster.definition.address(name)
        self.services: dict[str, _Stoppable] = {}
        self._registrations = registrations
        # On its own, a node's phones can't be reset: nobody knows where they are.
        self._apis = apis or SoapApis(cluster, registrations, lambda name, how: None)
        self._since: dict[str, datetime] = {}
        #: What the node serves; None where it runs no TFTP.
        self.files: NodeFiles | None = None
        self._tvs: TvsServer | None = None
        self._secure_registrar: RegistrarServer | None = None
        self._https: HttpsServer | None = None
        self._https_identity: TlsIdentity | None = None
        #: Whether TVS keeps answering by what it knew when this was set, until it is restarted (TB103).
        self.tvs_frozen = False
        #: What goes wrong over HTTPS, by path; may be set at any time.
        self.https_disturbed: Disturb = lambda path: UNDISTURBED

    def _tls(self, unit: Unit) -> TlsIdentity:
        identity = self.cluster.identity(self.name, unit)
        return TlsIdentity((identity.certificate,), identity.private_key)

    async def start(self) -> None:
        """Start everything; what started is stopped again when something can't.

        Raises:
            PortTaken: an address or port is in use.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        for service in self.activated():
            await self._start_service(service)
        view = NodeView(self.cluster, self.name, profile(self.cluster.definition.release), self, self.cluster.clock())
        self.services[SSH] = await start_oscli(
            NodeShell(view),
            host=self.address,
            port=self.cluster.ports.ssh,
            authenticate=self._admits,
            host_key=self.cluster.tftp_folder(self.name).with_name("ssh_host_key"),
        )
        await self.start_https()
        self.cluster.changed.append(self.refresh)
        self.cluster.stores_changed.append(self.refresh_stores)

    async def start_https(self) -> None:
        """Start what answers over HTTPS.

        Raises:
            PortTaken: it runs, or somebody else took its port.
        """
        self._https_identity = self._tls(Unit.TOMCAT)
        self.services[HTTPS] = self._https = await start_https(
            node_app(
                self.cluster,
                self.name,
                profile(self.cluster.definition.release),
                self._apis.apps(self.name, self, self._since.__getitem__),
            ),
            self._https_identity,
            host=self.address,
            port=self.cluster.ports.https,
            disturb=lambda path: self.https_disturbed(path),
        )

    def activated(self) -> tuple[str, ...]:
        definition = self.cluster.definition.node(self.name)
        wanted = {TVS: True, TFTP: definition.tftp, CALLMANAGER: definition.callmanager}
        return tuple(service for service, activated in wanted.items() if activated)

    async def _start_service(self, service: str) -> None:
        cluster, ports = self.cluster, self.cluster.ports
        legacy_tls = cluster.definition.minimum_tls == "1.0"
        if service == TVS:
            self.tvs_frozen = False
            self.services[TVS] = self._tvs = await start_tvs(
                cluster.vouch_index(self.name).answer,
                self._tls(Unit.TVS),
                host=self.address,
                port=ports.tvs,
                legacy_tls=legacy_tls,
            )
        elif service == TFTP:
            self.files = NodeFiles(cluster, self.name)
            self.services[TFTP] = await start_tftp(self.files, host=self.address, port=ports.tftp)
            self.services[_SECONDS[TFTP]] = await start_provisioning(
                self.files, host=self.address, port=ports.provisioning
            )
        else:
            self.services[CALLMANAGER] = await start_registrar(self._register, host=self.address, port=ports.sip)
            self.services[_SECONDS[CALLMANAGER]] = self._secure_registrar = await start_registrar(
                self._register,
                host=self.address,
                port=ports.sips,
                tls=self._tls(Unit.CALLMANAGER),
                client_authorities=self._phone_authorities(),
                legacy_tls=legacy_tls,
            )
        self._since[service] = cluster.clock()

    # What the command line does to them.

    async def _admits(self, user: str, password: str) -> bool:
        return self.cluster.accounts.check("os", user, password) is Verdict.OK

    def running(self, service: str) -> bool:
        """Whether a service is up."""
        return service in self.services

    def served(self, name: str) -> bytes | None:
        """What TFTP answers for a name; None for no such file, or no TFTP."""
        return None if self.files is None else self.files(name)

    async def restart(self, service: str) -> None:
        """Stop a service, if it runs, and start it anew.

        Raises:
            KeyError: the node is not meant to run it.
            PortTaken: somebody else took its port meanwhile.
        """
        if service not in self.activated():
            raise KeyError(service)
        for name in (service, _SECONDS.get(service)):
            if name in self.services:
                await self.stop_service(name)
        await self._start_service(service)

    def _register(self, registration: Registration) -> RegistrationAnswer:
        return self._registrations.judge(self.name, registration)

    def _phone_authorities(self) -> list[Certificate]:
        """Whose LSCs are accepted: CAPF certificates in this node's CAPF-trust (TB152)."""
        return [entry.certificate for entry in self.cluster.stores[self.name].entries(Store.CAPF_TRUST)]

    def refresh(self) -> None:
        """Take up what changed in the cluster: mode, parameters, devices. Nobody is disconnected."""
        self.refresh_stores()
        if self.files is not None:
            self.files.rebuild()
        identity = self._tls(Unit.TOMCAT)
        if self._https is not None and identity != self._https_identity:
            self._https_identity = identity
            self._https.set_identity(identity)

    def refresh_stores(self) -> None:
        """Take up what the node's trust stores hold now; trust lists do not depend on them."""
        if self._tvs is not None and not self.tvs_frozen:
            self._tvs.set_answer(self.cluster.vouch_index(self.name).answer)
        if self._secure_registrar is not None:
            authorities = self._phone_authorities()
            if set(authorities) != set(self._secure_registrar.client_authorities):
                self._secure_registrar.client_authorities = authorities

    async def stop_service(self, name: str) -> None:
        """Stop one service, as an outage; it stays down until the node starts again. KeyError when it does not run."""
        await self.services.pop(name).stop()

    async def stop(self) -> None:
        """Stop everything; again, nothing happens."""
        if self.refresh in self.cluster.changed:
            self.cluster.changed.remove(self.refresh)
            self.cluster.stores_changed.remove(self.refresh_stores)
        if SSH in self.services:
            await self.stop_service(SSH)  # first: a session may be about to start one of the others
        stopping = [self.services.popitem()[1] for _ in list(self.services)]
        for result in await asyncio.gather(*(service.stop() for service in stopping), return_exceptions=True):
            if isinstance(result, Exception):
                _log.error("a service of %s did not stop as it should", self.name, exc_info=result)
