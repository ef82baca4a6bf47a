"""Who may log in to a lab cluster: two realms, as on a real one, with passwords made at first start.

The realm `os` is the platform's administrator (command line, certificate REST); the realm `application` holds users
with rights (AXL, RisPort70, Control Center). A user of one realm is nobody in the other.
"""

from __future__ import annotations

import hmac
import json
import secrets
import unicodedata
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Final, Literal

from trustbridge import atomicfile
from trustbridge.errors import SettingsError

Realm = Literal["os", "application"]

OS_USER: Final = "administrator"
APPLICATION_USER: Final = "axluser"
AXL_ACCESS: Final = "Standard AXL API Access"
CCM_ADMIN: Final = "Standard CCM Admin Users"
SERVICEABILITY: Final = "Standard SERVICEABILITY Administration"
#: Rights of the account a lab makes: all that the driver needs.
APPLICATION_RIGHTS: Final = frozenset({AXL_ACCESS, CCM_ADMIN, SERVICEABILITY})


class Verdict(Enum):
    """What came of asking for entry."""

    OK = auto()
    WRONG_PASSWORD = auto()  # or no such user: nobody is told which
    NO_RIGHT = auto()


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may log in."""

    realm: Realm
    user: str
    password: str = field(repr=False)
    rights: frozenset[str] = frozenset()


class Accounts:
    """The accounts of one cluster, in one file, 0600, made when it is missing.

    Raises:
        SettingsError: the file can't be read.
        OSError: the file can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._accounts: dict[tuple[str, str], Account] = {}
        try:
            for row in json.loads(path.read_text("utf-8")):
                account = Account(row["realm"], row["user"], row["password"], frozenset(row["rights"]))
                if account.realm not in ("os", "application") or not account.password:
                    raise ValueError
                self._accounts[account.realm, account.user] = account
            self.credentials("os")
            self.credentials("application")
        except FileNotFoundError:
            self.add("os", OS_USER, secrets.token_urlsafe(18))
            self.add("application", APPLICATION_USER, secrets.token_urlsafe(18), APPLICATION_RIGHTS)
        except (ValueError, KeyError, TypeError, AttributeError):
            # Not with what it says: passwords are in it.
            raise SettingsError(f"{path} can't be read", "Remove it: new passwords are made.") from None

    def __repr__(self) -> str:
        return f"<Accounts {', '.join(f'{realm}/{user}' for realm, user in self._accounts)}>"

    def add(self, realm: Realm, user: str, password: str, rights: frozenset[str] = frozenset()) -> None:
        """Create an account, or change the one of that name.

        Raises:
            SettingsError: the password is empty.
            OSError: the file can't be written; nothing has changed.
        """
        if not password:
            raise SettingsError("an empty password would let anybody in")
        accounts = self._accounts | {(realm, user): Account(realm, user, password, rights)}
        rows = [
            {"realm": one.realm, "user": one.user, "password": one.password, "rights": sorted(one.rights)}
            for one in accounts.values()
        ]
        atomicfile.write(self._path, json.dumps(rows, indent=2).encode())
        self._accounts = accounts

    def check(self, realm: Realm, user: str, password: str, right: str | None = None) -> Verdict:
        """Whether this is a user's password, and whether the user has a right. In the same time for any user."""
        account = self._accounts.get((realm, user))
        expected = secrets.token_urlsafe(18) if account is None else account.password
        matches = hmac.compare_digest(_prepared(expected), _prepared(password))
        if account is None or not matches:
            return Verdict.WRONG_PASSWORD
        return Verdict.OK if right is None or right in account.rights else Verdict.NO_RIGHT

    def user(self, realm: Realm) -> str:
        """The first user of a realm."""
        return self.credentials(realm)[0]

    def credentials(self, realm: Realm) -> tuple[str, str]:
        """User and password of the first account of a realm.

        Raises:
            KeyError: the realm has none.
        """
        for account in self._accounts.values():
            if account.realm == realm:
                return account.user, account.password
        raise KeyError(realm)


def _prepared(password: str) -> bytes:
    # SSH clients send the prepared form (RFC 4013) of what was typed, which includes NFKC.
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
