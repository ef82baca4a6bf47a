"""A lab cluster's AXL, RisPort70 and Control Center over real HTTPS, and clients for them; one loop a test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.lab.prepared import NOW, Prepared

from trustbridge.clients.tls import TlsIdentity
from trustbridge.cucm.https import NodeHttps, Patience
from trustbridge.cucm.model import Interface
from trustbridge.cucm.pins import TlsPins
from trustbridge.lab.cluster import Cluster, Device
from trustbridge.lab.registrations import Registrations
from trustbridge.lab.soapapis import SoapApis
from trustbridge.pki.units import Unit
from trustbridge.services.asgi import App, Receive, Scope, Send, by_prefix
from trustbridge.services.httpsnode import Disturbance, HttpsServer, start_https
from trustbridge.services.registrar import Registration

QUICK = Patience(connect=2.0, answer=20.0, attempts=3, pause=0.02, throttled=0.5)
PHONE = "SEP001B0C000001"
DEVICES = [
    Device(PHONE, "CP-8841", 1, "Default", "Reception", "sip88xx.12-5"),
    Device("SEP001B0C000002", "CP-7821", 3, "Default"),
    Device("SEP001B0C000003", "CP-8861", 2, "Default"),
]


class Services:
    """A node's services."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.broken: set[str] = set()
        self.restarted: list[str] = []

    def running(self, service: str) -> bool:
        return service not in self.down

    async def restart(self, service: str) -> None:
        self.restarted.append(service)
        if service in self.broken:
            self.down.add(service)
        else:
            self.down.discard(service)


class Network:
    """A subnet whose DHCP server is the cluster."""

    def __init__(self) -> None:
        self.option150: list[str] = ["127.61.0.2", "127.61.0.1"]

    def set_option150(self, servers: object) -> None:
        assert isinstance(servers, list)
        self.option150 = servers


class SoapWorld:
    """The publisher of a cluster, and what happened to it.

    `app`, when set, answers in its place.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.registrations = Registrations(cluster)
        self.accounts = cluster.accounts
        self.user, self.password = self.accounts.credentials("application")
        self.services = Services()
        self.network = Network()
        self.resets: list[tuple[str, str]] = []
        self.trouble = Disturbance()
        self.asked: list[str] = []
        self.pins = TlsPins(folder / "pins.json")
        self.apis = SoapApis(
            cluster,
            self.registrations,
            lambda name, how: self.resets.append((name, how)),
            (self.network, "127.63.0.1", "127.63.0.0"),
        )
        self.app: App | None = None
        self.server: HttpsServer

    def https(self, interface: Interface, *, password: str | None = None, user: str | None = None) -> NodeHttps:
        """A client for an interface."""
        host, port = self.server.address
        return NodeHttps(
            self.cluster.publisher,
            host,
            port,
            user or self.user,
            self.password if password is None else password,
            self.pins,
            interface=interface,
            patience=QUICK,
        )

    def register(self, name: str, expires: int = 120, node: str = "src-sub1", address: str = "127.63.0.10") -> None:
        peer = (address, 5060)
        self.registrations.judge(node, Registration(name, "683", peer, peer, expires, False, ""))

    def run(self, test: Callable[[SoapWorld], Awaitable[None]]) -> None:
        """Serve for as long as a test takes."""
        node = self.cluster.publisher
        real = by_prefix(self.apis.apps(node, self.services, self._started))

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            self.asked.append(scope["path"])
            await (self.app or real)(scope, receive, send)

        async def served() -> None:
            identity = TlsIdentity.of(self.cluster.identity(node, Unit.TOMCAT))
            self.server = await start_https(app, identity, port=0, disturb=lambda path: self.trouble)
            try:
                await test(self)
            finally:
                await self.server.stop()

        asyncio.run(served())

    def _started(self, service: str) -> datetime:
        return NOW


def make_world(factory: pytest.TempPathFactory, folder: Path, prefix: str = "src", **changes: Any) -> SoapWorld:
    cluster = Prepared.once(factory).cluster(folder / "cluster", prefix, **changes)
    cluster.add_devices(DEVICES)
    return SoapWorld(cluster, folder)
