"""What every provider of option 150 works with: scopes, changes of one, and what a provider can do.

A change is made of edits, each the provider's own text before and after. They hold option 150 and nothing else of the
server's configuration, so a change can be shown and kept where the rest, with its passwords, must not be.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Final, Protocol

from trustbridge.errors import Refused, SettingsError, TrustbridgeError

#: The option's code, and that of the one with a single name of a TFTP server.
OPTION_150: Final = 150
OPTION_66: Final = 66
#: Addresses at the most: 255 bytes of an option hold no more.
MOST_SERVERS: Final = 63


@dataclass(frozen=True, slots=True)
class Scope:
    """Part of what a DHCP server serves.

    Attributes:
        name: the provider's for it, unique with this provider: `subnet 1`, `tag:phones`, `global`.
        subnet: such as `10.1.0.0/16`, or as much as the provider knows; empty where the scope is no subnet.
        option150: what phones there get, first to be asked first; empty when nothing.
        inherited: the scope says nothing itself, and this comes from a wider one, or from none.
        option66: name of a TFTP server that phones get, or an empty text.
    """

    name: str
    subnet: str
    option150: tuple[str, ...]
    inherited: bool = False
    option66: str = ""

    @property
    def words(self) -> str:
        """What it says, for people."""
        said = ", ".join(self.option150) or "none"
        return f"{said} (inherited)" if self.inherited and self.option150 else said

    def says(self, other: Scope) -> bool:
        """Whether both say the same of option 150."""
        return (self.option150, self.inherited) == (other.option150, other.inherited)


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece of a configuration, as the provider writes it.

    Attributes:
        where: which piece, in words.
        before: its text, empty where there was none.
        after: its text afterwards, empty where it is to go.
    """

    where: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """Option 150 of one scope, before and after.

    Attributes:
        place: whose: the provider, in words that name one server.
        before: the scope as it was read.
        after: as it is to be.
        edits: what becomes of the provider's text; empty where nothing has to change.
        diff: those edits as a unified diff.
    """

    place: str
    before: Scope
    after: Scope
    edits: tuple[Edit, ...]
    diff: str = dataclasses.field(default="", compare=False)

    @property
    def backwards(self) -> Change:
        """What taking it back comes to; to be verified, not to be applied."""
        return Change(self.place, self.after, self.before, ())

    def record(self) -> dict[str, Any]:
        """As JSON has it, to be kept."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        del found["diff"]
        return found

    @classmethod
    def of_record(cls, found: object) -> Change:
        """What `record` gave.

        Raises:
            SettingsError: this is none.
        """
        try:
            return _change(found)
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"not a change of option 150: {error!r:.200}") from None


class Provider(Protocol):
    """A DHCP server, or part of one, as far as option 150 goes. Every method raises TrustbridgeError."""

    @property
    def place(self) -> str:
        """Which server, in words."""

    async def read(self) -> tuple[Scope, ...]:
        """Its scopes, as they are now."""

    def preview(self, scope: Scope, servers: Sequence[str]) -> Change:
        """What `apply` would do, from what was read last. Nothing is asked and nothing changed.

        Raises:
            SettingsError: `servers` can't be an option 150.
            Refused: the scope is not one of those read, or can't have them.
        """

    async def apply(self, change: Change) -> None:
        """Make the change; whatever else is configured stays.

        Raises:
            Refused: the scope is no longer what the change begins with, or the server does not take it. Then nothing
                has changed.
        """

    async def verify(self, change: Change) -> None:
        """Read back.

        Raises:
            TrustbridgeError: the scope does not say what the change ends with.
        """

    async def revert(self, change: Change) -> None:
        """Take the change back.

        Raises:
            Refused: what is there is not what was applied; it is named. Then nothing has changed.
        """


def check_servers(servers: Iterable[str], most: int = MOST_SERVERS) -> tuple[str, ...]:
    """TFTP servers as option 150 can name them.

    Raises:
        SettingsError: none, too many, one twice, or what is no IPv4 address.
    """
    found = []
    for server in servers:
        try:
            found.append(str(IPv4Address(server)))
        except AddressValueError:
            raise SettingsError(
                f"{server!r:.80} is no IPv4 address", "Option 150 holds addresses, not names."
            ) from None
    if not 1 <= len(found) <= most:
        raise SettingsError(f"option 150 takes 1 to {most} servers here, not {len(found)}")
    if len(set(found)) < len(found):
        raise SettingsError(f"a server is named twice: {', '.join(found)}")
    return tuple(found)


def find_scope(scopes: Sequence[Scope], wanted: str) -> Scope:
    """A scope by its name, or by its subnet where one alone has it.

    Raises:
        SettingsError: there is none, or several; those there are, are named.
    """
    found = [scope for scope in scopes if scope.name == wanted] or [
        scope for scope in scopes if scope.subnet and wanted in (scope.subnet, scope.subnet.partition("/")[0])
    ]
    # A pool or a reservation of a subnet is named after it.
    found = [one for one in found if not any(one.name.startswith(f"{wider.name} ") for wider in found)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(repr(scope.name) for scope in (found or scopes)[:20])
    what = f"several scopes have the subnet {wanted}" if found else f"there is no scope {wanted!r:.80}"
    raise SettingsError(what, f"Name one of {known}." if known else "The server has no scope at all.")


def check_unchanged(place: str, now: Scope, change: Change) -> None:
    """Before a change is made.

    Raises:
        Refused: the scope is no longer what the change begins with.
    """
    if not now.says(change.before):
        raise Refused(
            f"{place}: option 150 of {now.name} is {now.words} by now, not {change.before.words}: somebody changed it",
            "Nothing was changed. Look at it again: trustbridge option150 show",
        )


def check_applied(place: str, now: Scope, change: Change) -> None:
    """Before a change is taken back.

    Raises:
        Refused: the scope is no longer what the change ended with.
    """
    if not now.says(change.after):
        raise Refused(
            f"{place}: option 150 of {now.name} is {now.words}, not {change.after.words} as it was applied",
            "Nothing was taken back: somebody changed it since, or it never came to be. Set what it should be.",
        )


def check_in_force(place: str, now: Scope, change: Change) -> None:
    """After a change was made.

    Raises:
        TrustbridgeError: the scope does not say what the change ends with.
    """
    if now.inherited and change.after.inherited:
        return  # what a wider scope says is not this one's matter
    if not now.says(change.after):
        raise TrustbridgeError(
            f"{place}: option 150 of {now.name} is {now.words}, not {change.after.words}",
            "The change did not take effect, or somebody changed it at once.",
        )


def unified(place: str, edits: Iterable[Edit]) -> str:
    """Edits as a unified diff: each piece whole, a header each."""
    lines: list[str] = []
    for edit in edits:
        name = f"{place}: {edit.where}"
        pieces = (edit.before.splitlines(), edit.after.splitlines())
        lines += difflib.unified_diff(*pieces, name, name, lineterm="", n=3)
    return "".join(f"{line}\n" for line in lines)


_NO_FILE_NAME: Final = re.compile(r"[^A-Za-z0-9.-]+")


def file_name(scope: Scope) -> str:
    """A scope's name as a file's name can hold it."""
    return _NO_FILE_NAME.sub("-", scope.name).strip("-.")[:60] or "scope"


def _change(found: Any) -> Change:
    edits = tuple(Edit(**{name: _text(one[name]) for name in ("where", "before", "after")}) for one in found["edits"])
    return Change(_text(found["place"]), _scope(found["before"]), _scope(found["after"]), edits)


def _scope(found: Any) -> Scope:
    servers = found["option150"]
    if not isinstance(servers, list) or not isinstance(found["inherited"], bool):
        raise TypeError("not a scope")
    return Scope(
        _text(found["name"]),
        _text(found["subnet"]),
        tuple(_text(server) for server in servers),
        found["inherited"],
        _text(found["option66"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    return value
