"""A cluster's connections: opened when first needed, kept, closed together; and whom the cluster lets in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from trustbridge.cucm.credentials import REALM_OF, Credentials, Realm
from trustbridge.cucm.https import NodeHttps, Patience
from trustbridge.cucm.model import ClusterEntry, Interface
from trustbridge.cucm.nodefiles import over_http, over_tftp
from trustbridge.cucm.oscli import OsCli
from trustbridge.cucm.pins import TlsPins
from trustbridge.cucm.releases import ReleaseTexts, for_release
from trustbridge.errors import AuthenticationRefused, SettingsError
from trustbridge.exchange.hostkeys import HostKeyPins

T = TypeVar("T")

#: Where first contacts are remembered, in the state folder.
HOST_KEYS, CERTIFICATES = "known_hosts", "known_certificates.json"


class Access:
    """Connections to the nodes of one cluster.

    Args:
        state: folder of the pins.
        on_first_contact: told in words what was pinned.

    Attributes:
        texts: how the command lines talk, once the release is known.
        patience: how long to wait, and how often to try.
    """

    def __init__(
        self,
        entry: ClusterEntry,
        credentials: Credentials,
        state: Path,
        *,
        on_first_contact: Callable[[str], None] | None = None,
        patience: Patience | None = None,
    ) -> None:
        told = on_first_contact or (lambda words: None)
        self.entry = entry
        self.texts: ReleaseTexts = for_release(None)
        self._credentials = credentials
        self.patience = patience or Patience()
        self._host_keys = HostKeyPins(state / HOST_KEYS, on_first_contact=lambda contact: told(str(contact)))
        self._tls = TlsPins(state / CERTIFICATES, on_first_contact=lambda contact: told(str(contact)))
        self._stack = AsyncExitStack()
        self._open: dict[tuple[Interface, str], Any] = {}
        self._gates: dict[tuple[Interface, str], asyncio.Lock] = {}
        self._shut_out: dict[Realm, AuthenticationRefused] = {}

    def has_password(self, interface: Interface) -> bool:
        """Whether we have what an interface asks for."""
        realm = REALM_OF.get(interface)
        return realm is None or self._credentials.of(realm) is not None

    def missing(self, interface: Interface) -> SettingsError:
        """The error that a password is not known."""
        realm = REALM_OF[interface]
        user = self.entry.os_user if realm is Realm.OS else self.entry.app_user
        return SettingsError(
            f"{self.entry.name}: there is no password for its {realm.words} {user}, which {interface} asks for",
            f"`trustbridge cluster test {self.entry.name} --help` says where passwords come from.",
        )

    async def with_realm(self, interface: Interface, ask: Callable[[], Awaitable[T]]) -> T:
        """Use an interface, unless its account was refused before: too many wrong passwords lock it.

        Raises:
            AuthenticationRefused: it was refused, now or before.
            SettingsError: there is no password.
        """
        realm = REALM_OF.get(interface)
        if realm is None:
            return await ask()
        if not self.has_password(interface):
            raise self.missing(interface)
        if realm in self._shut_out:
            known = self._shut_out[realm]
            raise AuthenticationRefused(known.message, known.hint)
        try:
            return await ask()
        except AuthenticationRefused as error:
            self._shut_out[realm] = error
            raise

    async def cli(self, node: str, host: str) -> OsCli:
        """The command line of a node."""

        async def connect() -> OsCli:
            return await self._stack.enter_async_context(
                OsCli.connect(
                    host,
                    self.entry.ssh_port,
                    self.entry.os_user,
                    self._password(Interface.CLI),
                    self._host_keys,
                    node=node,
                    texts=self.texts,
                    legacy=self.entry.legacy_ssh,
                    timeout=self.patience.command,
                    login_timeout=self.patience.log_in,
                    attempts=self.patience.attempts,
                    pause=self.patience.pause,
                )
            )

        cli = await self._once((Interface.CLI, host), connect)
        cli.texts = self.texts
        return cli

    async def https(self, node: str, host: str, interface: Interface) -> NodeHttps:
        """HTTPS to a node, for one interface."""

        async def connect() -> NodeHttps:
            user = self.entry.os_user if REALM_OF[interface] is Realm.OS else self.entry.app_user
            return await self._stack.enter_async_context(
                NodeHttps(
                    node,
                    host,
                    self.entry.https_port,
                    user,
                    self._password(interface),
                    self._tls,
                    interface=interface,
                    patience=self.patience,
                )
            )

        return await self._once((interface, host), connect)

    async def file(self, node: str, host: str, name: str, interface: Interface) -> bytes | None:
        """A file as a TFTP node serves it, over `HTTP_FILES` or `TFTP`; None when it has none of that name.

        Raises:
            Unreachable, Garbled: the message names node, interface and file.
        """
        get = over_tftp if interface is Interface.TFTP else over_http
        return await get(self.entry, node, host, name, self.patience)

    async def close(self) -> None:
        """Close all that was opened."""
        self._open.clear()
        await self._stack.aclose()

    def _password(self, interface: Interface) -> str:
        secret = self._credentials.of(REALM_OF[interface])
        if secret is None:
            raise self.missing(interface)
        return secret.reveal()

    async def _once(self, key: tuple[Interface, str], connect: Callable[[], Awaitable[T]]) -> T:
        async with self._gates.setdefault(key, asyncio.Lock()):
            if key not in self._open:
                self._open[key] = await connect()
            found: T = self._open[key]
            return found
