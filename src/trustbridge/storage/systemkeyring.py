"""Passwords in the system's keyring (Secret Service, KWallet, Keychain, Credential Locker), by the library `keyring`.

An entry has the service `trustbridge:<cluster>` and the user `<realm>/<user>`, so that `keyring get trustbridge:source
OS/administrator` and the system's own programs find it, too.

Where there is no keyring, or it is locked, broken or hangs, reading finds nothing and says so only to the log: a
password may come from other places. Storing is what a person asked for, and says what is the matter.

Backends that `keyring` does not recommend, as those that write in clear to a file, are used only where a person named
them, by PYTHON_KEYRING_BACKEND or keyring's own configuration: such a one may be installed for other reasons.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from trustbridge.cucm.credentials import Realm, Secret
from trustbridge.errors import NotNow, Refused, TrustbridgeError, Unreachable

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds that reading may take: every command that needs a password waits for it.
READ_SECONDS: Final = 5.0
#: Seconds that storing and forgetting may take: somebody may have to type the keyring's own password.
WRITE_SECONDS: Final = 60.0
_ELSEWHERE: Final = (
    "Passwords may also come from the environment, or from a question at the terminal: see "
    "`trustbridge cluster --help`."
)


def service(cluster: str) -> str:
    """What the keyring calls a cluster."""
    return f"trustbridge:{cluster}"


def account(realm: Realm, user: str) -> str:
    """What the keyring calls an account of a cluster."""
    return f"{realm}/{user}"


class SystemKeyring:
    """The keyring of whoever runs this process. `keyring` is imported when it is first asked.

    Args:
        read_seconds, write_seconds: how long it may take.
    """

    def __init__(self, *, read_seconds: float = READ_SECONDS, write_seconds: float = WRITE_SECONDS) -> None:
        self._read_seconds = read_seconds
        self._write_seconds = write_seconds
        self._hung = False

    def get(self, cluster: str, realm: Realm, user: str) -> Secret | None:
        """The password of an account; None where the keyring has none, or can't be asked. Raises nothing."""

        def ask() -> Secret | None:
            found = _backend().get_password(service(cluster), account(realm, user))
            return Secret(found) if found else None

        try:
            return self._within(self._read_seconds, ask)
        except TrustbridgeError as error:
            _log.info("no password of %s from the system's keyring: %s", cluster, error.message)
            return None

    def keep(self, cluster: str, realm: Realm, user: str, secret: Secret) -> str:
        """Store a password instead of one that is there, and see that it is kept.

        Returns:
            The keyring's name, in its own words.

        Raises:
            NotNow: there is no keyring, or it is locked.
            Unreachable: it does not answer.
            Refused: it does not keep it.
        """

        def store() -> str:
            backend = _backend()
            backend.set_password(service(cluster), account(realm, user), secret.reveal())
            # keyring's null backend takes everything and keeps nothing.
            if backend.get_password(service(cluster), account(realm, user)) != secret.reveal():
                raise Refused(f"{backend.name} took the password and does not have it", _ELSEWHERE)
            return str(backend.name)

        return self._within(self._write_seconds, store, secret)

    def forget(self, cluster: str, realm: Realm, user: str) -> bool:
        """Remove a password; False where there is none, or no keyring.

        Raises:
            NotNow, Unreachable, Refused: as `keep`; it may still be there.
        """

        def remove() -> bool:
            backend = _backend()
            if backend.get_password(service(cluster), account(realm, user)) is None:
                return False
            backend.delete_password(service(cluster), account(realm, user))
            return True

        try:
            return self._within(self._write_seconds, remove)
        except NoKeyring:
            return False

    def _within(self, seconds: float, work: Callable[[], T], secret: Secret | None = None) -> T:
        """Do it in a thread of its own, which is left behind where it hangs: nothing else ends a call to a keyring.

        Args:
            secret: must not be in any message.
        """
        if self._hung:
            raise _hangs("as before")
        done: list[T] = []
        failed: list[TrustbridgeError] = []

        def run() -> None:
            try:
                done.append(work())
            except TrustbridgeError as error:
                failed.append(error)
            except Exception as error:
                # Anything: backends are made by others, on top of libraries of still others.
                failed.append(_translated(error, secret))

        thread = threading.Thread(target=run, name="keyring", daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            self._hung = True
            raise _hangs(f"within {seconds:g} s")
        if failed:
            raise failed[0] from None
        return done[0]


class NoKeyring(NotNow):
    """There is no keyring to be used here."""


def _backend() -> KeyringBackend:
    """The keyring to use.

    Raises:
        NoKeyring: there is none, or none that anybody has chosen.
    """
    from keyring import core

    found = core.get_keyring()
    if found.priority <= 0 or not (core.recommended(found) or _chosen()):
        raise _none(f"{found.name} is all there is")
    return found


def _chosen() -> bool:
    """Whether a person named the keyring to use."""
    from keyring import core

    return core.load_env() is not None or core.load_config() is not None


def _translated(error: Exception, secret: Secret | None) -> TrustbridgeError:
    try:
        from keyring import errors
    except ImportError:
        return _none("the library keyring is not installed")
    told = " ".join(str(error).split())
    if secret is not None:
        told = told.replace(secret.reveal(), "***")
    words = "".join(sign if sign.isprintable() else "?" for sign in told)[:200] or type(error).__name__
    match error:
        case errors.NoKeyringError():
            return _none("no backend serves here")
        case errors.KeyringLocked():
            return NotNow(
                f"the system's keyring is locked: {words}",
                f"Unlock it, as by logging in to the desktop, and try again. {_ELSEWHERE}",
            )
        case errors.InitError():
            return NotNow(f"the system's keyring can't be opened: {words}", f"Start or unlock it. {_ELSEWHERE}")
    return Refused(f"the system's keyring failed: {words}", f"`keyring diagnose` says which one is used. {_ELSEWHERE}")


def _none(why: str) -> NoKeyring:
    return NoKeyring(
        f"there is no system keyring to keep passwords in ({why})",
        "A desktop's session has one, a machine without one mostly not; `keyring diagnose` says what was found. "
        f"{_ELSEWHERE}",
    )


def _hangs(how_long: str) -> Unreachable:
    return Unreachable(
        f"the system's keyring did not answer {how_long}",
        f"It may wait to be unlocked, in a window that nobody sees. {_ELSEWHERE}",
    )
