"""Everything that requests need, made once: by `trustbridge serve`, and by tests."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from argon2 import Parameters
from sqlalchemy import Engine

from trustbridge.console.accounts import HASHING, Accounts, Setup
from trustbridge.console.jobs import Jobs
from trustbridge.console.live import Live
from trustbridge.console.metrics import Metrics
from trustbridge.console.workers import Workers
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import Write
from trustbridge.dhcp.record import Server
from trustbridge.dhcp.scope import Provider
from trustbridge.errors import NotNow
from trustbridge.storage import opened as opening
from trustbridge.storage.audit import Audit
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwords import stored_credentials

log = logging.getLogger(__name__)
#: Messages kept for a session that has not shown them, and sessions that have some.
_MESSAGES: Final = 5
_SESSIONS: Final = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """What is said at the top of the next page. `kind` is good, bad or warn."""

    kind: str
    text: str
    hint: str = ""


class Desk:
    """What requests need.

    Args:
        engine: of `storage.database`, with its tables in order.
        state: the state folder.
        now: the time, with its zone.
        hashing: parameters of Argon2id; tests take cheap ones.
        kea_password: gives the password of a DHCP server's control agent.
        work: whether this server has workers of campaigns.

    Attributes:
        accounts, setup: who is let in. audit: who did what. jobs: long work. live: pages that refresh themselves.
        campaigns: in the name of this process. workers: those of campaigns. metrics: counted since the start.
    """

    def __init__(
        self,
        engine: Engine,
        state: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        hashing: Parameters = HASHING,
        kea_password: Callable[[Server], str] | None = None,
        work: bool = True,
    ) -> None:
        self.engine = engine
        self.state = state
        self.now = now
        #: The number of a process comes again, also on other machines.
        self.by = f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.accounts = Accounts(engine, now, hashing)
        self.setup = Setup(self.accounts)
        self.audit = Audit(engine)
        self.campaigns = CampaignWork(engine, self.by)
        self.jobs = Jobs(engine, state, now)
        self.live = Live(self.accounts)
        self.metrics = Metrics(self)
        self.workers = Workers(self, active=work)
        self._kea_password = kea_password or _no_password
        self._messages: dict[int, deque[Message]] = {}

    @property
    def inventory(self) -> Inventory:
        """The clusters that are known."""
        return Inventory(self.state)

    def opened(
        self, names: Iterable[str], on_write: Callable[[Write], None] | None = None
    ) -> AbstractAsyncContextManager[dict[str, Cluster]]:
        """Clusters of the inventory, with their stored passwords, for as long as the context. Nobody is asked.

        Args:
            on_write: told each change before it is made.

        Raises:
            SettingsError: one is not known, or the files that hold them can't be read.
        """
        return opening.opened(
            names,
            self.state,
            lambda entry: stored_credentials(entry, self.state),
            on_write=on_write,
            on_first_contact=log.warning,
        )

    def provider(self, server: Server) -> AbstractAsyncContextManager[Provider]:
        """A DHCP server's provider."""
        return opening.opened_provider(server, self._kea_password, self.opened, self.state, log.warning)

    # Messages for the next page.

    def say(self, session: int, message: Message) -> None:
        """Have a session's next page say something. It is gone when the server is started again."""
        if len(self._messages) >= _SESSIONS and session not in self._messages:
            self._messages.pop(next(iter(self._messages)))
        self._messages.setdefault(session, deque(maxlen=_MESSAGES)).append(message)

    def said(self, session: int) -> list[Message]:
        """What a page of this session is to say; once."""
        return list(self._messages.pop(session, ()))


def _no_password(server: Server) -> str:
    raise NotNow(
        f"there is no password for {server.user} at {server.where}",
        "Start the console with --kea-password-file, or work on the campaign with trustbridge migrate resume.",
    )
