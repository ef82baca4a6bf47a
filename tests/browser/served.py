"""`trustbridge serve`, the real command, over HTTPS with its own certificate; it can be killed and started again."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import httpx
from tests.console.desks import CHEAP, PASSWORD
from tests.e2e.programs import inherited
from tests.lab.own import RUN

from trustbridge.console.accounts import Accounts
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.storage.people import Role

#: Longest that anything may take, seconds.
PATIENCE = 90.0
#: Nobody else's on this machine.
ADDRESS = f"127.67.{RUN}.1"


class Console:
    """A console over a state folder. As a context: runs until its end.

    Attributes:
        url: where it is; the same after another start.
        setup_url: what the first start prints, for the first administrator; "" when there are users.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.url = self.setup_url = ""
        self._port = 0
        self._anybody = False
        self._process: subprocess.Popen[str] | None = None
        self._log = state / "served.log"

    def people(self, *roles: Role) -> None:
        """Let in one of each role, called like it. Without this, the first start prints where to make the first."""
        engine = open_database("", self.state)
        upgrade_to_head(engine)
        for role in roles:
            Accounts(engine, lambda: datetime.now(UTC), CHEAP).add(str(role), role, PASSWORD)
        engine.dispose()
        self._anybody = True

    def start(self) -> None:
        """Run it; back when it answers."""
        self.state.mkdir(parents=True, exist_ok=True)
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trustbridge", "serve", "--listen", f"{ADDRESS}:{self._port}"],
                env=inherited()
                | {
                    "HOME": str(self.state),
                    "TRUSTBRIDGE_STATE_FOLDER": str(self.state),
                    "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        watchdog = threading.Timer(PATIENCE, self._process.kill)
        watchdog.start()
        assert self._process.stdout is not None
        last = "fingerprint" if self._anybody else "/setup?token="
        for line in self._process.stdout:
            if line.startswith("The console is at "):
                self.url = line.split()[-1]
            if last in line:
                self.setup_url = "" if self._anybody else line.strip()
                break
        watchdog.cancel()
        assert self.url, self.log
        self._port = httpx.URL(self.url).port or 0
        self._anybody = True
        # It listens from the beginning, and answers when it is up.
        with httpx.Client(verify=False, timeout=PATIENCE) as client:
            assert client.get(f"{self.url}/health").status_code == 200

    def kill(self) -> None:
        """SIGKILL: no last words."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    @property
    def log(self) -> str:
        """What it has said to its terminal."""
        return self._log.read_text()

    def __enter__(self) -> Console:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the console did not end when asked: {self.log}") from None
        assert "Traceback" not in self.log, self.log
