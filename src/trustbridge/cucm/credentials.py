"""Passwords on their way from wherever they are kept to the interfaces that need them; shown nowhere in between."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trustbridge.cucm.model import Interface


class Realm(StrEnum):
    """Which of a cluster's two user directories an account is in."""

    OS = "OS"
    APP = "APP"

    @property
    def words(self) -> str:
        """What people call its accounts."""
        return "OS administrator" if self is Realm.OS else "application user"


#: Whose account an interface takes; interfaces that are not here take none.
REALM_OF: Final[Mapping[Interface, Realm]] = {
    Interface.CLI: Realm.OS,
    Interface.REST: Realm.OS,
    Interface.AXL: Realm.APP,
    Interface.RIS: Realm.APP,
    Interface.CONTROL_CENTER: Realm.APP,
}


class Secret:
    """A password. Its text is only had by `reveal`; repr, str and format hide it, and it can't be pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The password, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._bytes(), other._bytes())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")

    def _bytes(self) -> bytes:
        return self._text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The passwords of a cluster's two accounts; None for one that is not known: its interfaces are then not used."""

    os: Secret | None = None
    app: Secret | None = None

    def of(self, realm: Realm) -> Secret | None:
        """The password of a realm's account."""
        return self.os if realm is Realm.OS else self.app


def variable(cluster: str, realm: Realm) -> str:
    """The environment variable of a password: `TRUSTBRIDGE_SOURCE_OS_PASSWORD` for the cluster `source`.

    Whatever is no letter or digit becomes an underscore, so `a-b` and `a.b` share one.
    """
    return f"TRUSTBRIDGE_{re.sub(r'[^A-Z0-9]', '_', cluster.upper())}_{realm}_PASSWORD"
