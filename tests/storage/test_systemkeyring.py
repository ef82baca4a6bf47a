"""The system's keyring, over real backends, and over those that are not there, are locked, are broken, or hang."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.errors
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyrings.alt.file import PlaintextKeyring

from trustbridge.cucm.credentials import Realm, Secret
from trustbridge.errors import NotNow, Refused, TrustbridgeError, Unreachable
from trustbridge.storage.systemkeyring import SystemKeyring

PASSWORD = "s3cret, and a long one"
ACCOUNT = ("source", Realm.OS, "administrator")


class MemoryKeyring(KeyringBackend):
    """One that a system might have."""

    priority = 5

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}
        self.trouble: Callable[[str], None] = lambda said: None

    def get_password(self, service: str, username: str) -> str | None:
        self.trouble("")
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.trouble(password)
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self.trouble("")
        if self.held.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError("no such password")


@pytest.fixture(autouse=True)
def _nobody_chose(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No keyring but what a test sets; the library goes back to what it had."""
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND")
    before = keyring.core._keyring_backend
    yield
    keyring.core._keyring_backend = before


@pytest.fixture
def backend() -> MemoryKeyring:
    found = MemoryKeyring()
    keyring.set_keyring(found)
    return found


def test_a_password_is_kept_found_and_forgotten_under_names_a_person_can_look_up(backend: MemoryKeyring) -> None:
    kept = SystemKeyring()
    assert kept.get(*ACCOUNT) is None
    assert "MemoryKeyring" in kept.keep(*ACCOUNT, Secret(PASSWORD))
    assert backend.held == {("trustbridge:source", "OS/administrator"): PASSWORD}
    assert SystemKeyring().get(*ACCOUNT) == Secret(PASSWORD)
    assert kept.get("source", Realm.APP, "administrator") is None
    kept.keep(*ACCOUNT, Secret("another"))
    assert kept.get(*ACCOUNT) == Secret("another")
    assert kept.forget(*ACCOUNT) is True
    assert kept.forget(*ACCOUNT) is False
    assert backend.held == {}


def test_an_empty_entry_is_no_password(backend: MemoryKeyring) -> None:
    backend.held["trustbridge:source", "OS/administrator"] = ""
    assert SystemKeyring().get(*ACCOUNT) is None


def _raises(error: Exception) -> Callable[[str], None]:
    def trouble(said: str) -> None:
        raise error

    return trouble


def _repeats(said: str) -> None:
    raise RuntimeError(f"org.freedesktop.DBus.Error: could not pass {said!r}")


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        (_raises(keyring.errors.KeyringLocked("Failed to unlock the collection!")), NotNow, "locked"),
        (_raises(keyring.errors.InitError("no session bus")), NotNow, "can't be opened: no session bus"),
        (_raises(keyring.errors.PasswordSetError("disk full")), Refused, "disk full"),
        (_raises(OSError(5, "Input/output error")), Refused, "Input/output error"),
        (_raises(ValueError()), Refused, "ValueError"),
        (_repeats, Refused, "could not pass"),
    ],
)
def test_a_keyring_that_fails_is_passed_over_when_read_and_says_so_when_written(
    backend: MemoryKeyring, caplog: pytest.LogCaptureFixture, trouble: Any, kind: type[TrustbridgeError], words: str
) -> None:
    caplog.set_level(logging.DEBUG)
    backend.trouble = trouble
    kept = SystemKeyring()
    assert kept.get(*ACCOUNT) is None
    with pytest.raises(kind) as caught:
        kept.keep(*ACCOUNT, Secret(PASSWORD))
    error = caught.value
    assert type(error) is kind
    assert words in error.message
    assert "environment" in error.hint
    assert PASSWORD not in f"{error!r}{error.message}{error.hint}{error.__cause__!r}{caplog.text}"
    assert error.__suppress_context__ or error.__context__ is None
    with pytest.raises(kind):
        kept.forget(*ACCOUNT)


def test_where_there_is_no_keyring_nothing_is_found_nothing_forgotten_and_nothing_kept() -> None:
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    kept = SystemKeyring()
    assert kept.get(*ACCOUNT) is None
    assert kept.forget(*ACCOUNT) is False
    with pytest.raises(NotNow, match="there is no system keyring") as caught:
        kept.keep(*ACCOUNT, Secret(PASSWORD))
    assert "keyring diagnose" in caught.value.hint


def test_a_keyring_that_takes_everything_and_keeps_nothing_is_seen_through() -> None:
    keyring.set_keyring(null.Keyring())  # type: ignore[no-untyped-call]
    with pytest.raises(TrustbridgeError):
        SystemKeyring().keep(*ACCOUNT, Secret(PASSWORD))
    lost = MemoryKeyring()
    lost.set_password = lambda *_: None  # type: ignore[method-assign]
    keyring.set_keyring(lost)
    with pytest.raises(Refused, match="does not have it"):
        SystemKeyring().keep(*ACCOUNT, Secret(PASSWORD))


def test_a_keyring_that_hangs_is_waited_for_once(backend: MemoryKeyring) -> None:
    asked: list[str] = []
    over = threading.Event()

    def hang(said: str) -> None:
        asked.append(said)
        over.wait(30)

    backend.trouble = hang
    kept = SystemKeyring(read_seconds=0.05, write_seconds=0.05)
    try:
        assert kept.get(*ACCOUNT) is None
        assert kept.get(*ACCOUNT) is None
        with pytest.raises(Unreachable, match="did not answer") as caught:
            kept.keep(*ACCOUNT, Secret(PASSWORD))
        assert "unlocked" in caught.value.hint
        with pytest.raises(Unreachable):
            kept.forget(*ACCOUNT)
        assert asked == [""]
    finally:
        over.set()


def test_one_that_writes_in_clear_is_used_only_where_somebody_chose_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = PlaintextKeyring()
    plain.file_path = str(tmp_path / "keyring_pass.cfg")
    keyring.set_keyring(plain)
    with pytest.raises(NotNow, match="is all there is"):
        SystemKeyring().keep(*ACCOUNT, Secret(PASSWORD))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring")
    SystemKeyring().keep(*ACCOUNT, Secret(PASSWORD))
    assert (tmp_path / "keyring_pass.cfg").exists()
    assert SystemKeyring().get(*ACCOUNT) == Secret(PASSWORD)
    assert SystemKeyring().forget(*ACCOUNT)


def test_a_program_whose_keyring_hangs_still_ends(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(
        "import time\n"
        "from keyring.backend import KeyringBackend\n"
        "class Hanging(KeyringBackend):\n"
        "    priority = 5\n"
        "    def get_password(self, *_): time.sleep(600)\n"
        "    set_password = delete_password = get_password\n"
    )
    code = (
        "from trustbridge.storage.systemkeyring import SystemKeyring; from trustbridge.cucm.credentials import Realm; "
        "print(SystemKeyring(read_seconds=0.1).get('source', Realm.OS, 'administrator'))"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "hanging.Hanging", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "None\n"


def test_keyring_is_loaded_when_it_is_asked_and_not_before() -> None:
    code = (
        "import sys; import trustbridge.cli, trustbridge.cli.passwords, trustbridge.storage.systemkeyring; "
        "trustbridge.cli.passwords.system_keyring(); print('keyring' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
