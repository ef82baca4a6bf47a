"""Kea's configuration, as far as option 150 goes: where it says it, and how it is said otherwise. Pure.

What phones get comes from the narrowest that says something: a reservation, its pool, subnet, shared network, then a
client class, then the whole server.
"""

from __future__ import annotations

import binascii
import copy
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Final

from trustbridge.dhcp.scope import OPTION_66, OPTION_150, Scope
from trustbridge.errors import Garbled

Json = dict[str, Any]

#: Added where the configuration does not define option 150.
DEFINITION: Final[Json] = {
    "name": "tftp-servers",
    "code": OPTION_150,
    "space": "dhcp4",
    "type": "ipv4-address",
    "array": True,
}
_SPACE: Final = "dhcp4"
_ENTRY: Final[Json] = {"csv-format": True, "space": _SPACE}
#: What Kea adds to an entry; older releases know no never-send, and refuse it.
_ADDED: Final[Json] = {"always-send": False, "never-send": False}
_HEX: Final = re.compile(r"(0x)?([0-9A-Fa-f: ]*)")


@dataclass(slots=True)
class Holder:
    """Part of the configuration that may hold options.

    Attributes:
        scope: what it says.
        at: that part itself; changing `option-data` in it changes the configuration it was found in.
        own: its entries for option 150.
    """

    scope: Scope
    at: Json
    own: list[Json]


class KeaConfig:
    """A configuration as `config-get` gives it.

    Args:
        place: whose, for messages.
        dhcp4: the map `Dhcp4`; never changed.

    Raises:
        Garbled: it is none, or says option 150 in a way that can't be read.
    """

    def __init__(self, place: str, dhcp4: object) -> None:
        self.place = place
        if not isinstance(dhcp4, dict):
            raise Garbled(f"{place}: its configuration has no map Dhcp4", "Is it Kea's DHCPv4 server?")
        self.dhcp4: Json = copy.deepcopy(dhcp4)
        self._definitions = [one for one in self._maps(self.dhcp4, "option-def") if _is_150(one)]
        self.holders = self._unique(self._all())

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Every subnet, shared network and the server; pools, classes and reservations that say option 150."""
        return tuple(holder.scope for holder in self.holders)

    @property
    def definition(self) -> Json | None:
        """Of option 150, if there is one."""
        return self._definitions[0] if self._definitions else None

    @property
    def new_definition(self) -> Json:
        """What would define it, by a name that nothing else has."""
        taken = {one.get("name") for one in self._maps(self.dhcp4, "option-def")}
        names = itertools.chain((DEFINITION["name"],), (f"tftp-servers-{at}" for at in itertools.count(OPTION_150)))
        return {**DEFINITION, "name": next(name for name in names if name not in taken)}

    def holder(self, name: str) -> Holder | None:
        """That of a scope; None when there is none of that name."""
        return next((one for one in self.holders if one.scope.name == name), None)

    def entries(self, holder: Holder, servers: Sequence[str]) -> tuple[list[Json], bool]:
        """What a part should say, its other settings kept, and whether option 150 has to be defined for it."""
        found = copy.deepcopy(holder.own) or [{**_ENTRY, "code": OPTION_150}]
        defined = self.definition or self.new_definition
        # Text is read by the definition; bytes are what they are, whatever it says.
        readable = defined.get("type") == "ipv4-address" and (defined.get("array") is True or len(servers) == 1)
        for entry in found:
            as_text = entry.get("csv-format", self.definition is not None) is True and readable
            entry["csv-format"] = as_text
            if as_text:
                entry["data"] = ", ".join(servers)
                entry["name"] = defined["name"]
            else:
                entry["data"] = b"".join(IPv4Address(server).packed for server in servers).hex().upper()
        return found, self.definition is None and any(entry["csv-format"] for entry in found)

    def put(self, holder: Holder, entries: Sequence[Json]) -> None:
        """Have a part say this of option 150, in the place where it said it, and leave its other options alone."""
        options = self._maps(holder.at, "option-data")
        new = [copy.deepcopy(one) for one in entries]
        found: list[Json] = []
        for option in options:
            if not self._says_150(option):
                found.append(option)
            elif new:
                found.append(new.pop(0))
        if found or new or "option-data" in holder.at:
            holder.at["option-data"] = found + new
        holder.own = [option for option in found + new if self._says_150(option)]

    def define(self, definition: Json) -> None:
        """Define option 150 by this."""
        self.dhcp4["option-def"] = [*self._maps(self.dhcp4, "option-def"), definition]
        self._definitions = [definition]

    def undefine(self, definition: Json) -> None:
        """Take that definition out again, if it is there as it was added and nothing needs it any more."""
        known = self._definitions
        if len(known) == 1 and _matches(known[0], definition) and not self._needed(self.dhcp4):
            self.dhcp4["option-def"] = [one for one in self._maps(self.dhcp4, "option-def") if one is not known[0]]
            self._definitions = []

    def _needed(self, value: object) -> bool:
        if isinstance(value, list):
            return any(self._needed(one) for one in value)
        if not isinstance(value, dict):
            return False
        options = value.get("option-data")
        said = isinstance(options, list) and any(isinstance(one, dict) and self._says_150(one) for one in options)
        return said or any(self._needed(one) for key, one in value.items() if key != "user-context")

    # Finding.

    def _all(self) -> Iterator[Holder]:
        whole = self._found("global", "", self.dhcp4, None)
        yield whole
        for one in self._maps(self.dhcp4, "client-classes"):
            yield from self._if_said(self._found(f"class {one.get('name')}", "", one, whole))
        yield from self._reservations("", self.dhcp4, whole)
        for network in self._maps(self.dhcp4, "shared-networks"):
            shared = self._found(f"network {network.get('name')}", "", network, whole)
            yield shared
            yield from self._subnets(network, shared)
        yield from self._subnets(self.dhcp4, whole)

    def _subnets(self, at: Json, wider: Holder) -> Iterator[Holder]:
        for one in self._maps(at, "subnet4"):
            prefix = one.get("subnet")
            address = prefix if isinstance(prefix, str) else ""
            name = f"subnet {one.get('id', address)}"
            subnet = self._found(name, address, one, wider)
            yield subnet
            for pool in self._maps(one, "pools"):
                yield from self._if_said(self._found(f"{name} pool {pool.get('pool')}", address, pool, subnet))
            yield from self._reservations(f"{name} ", one, subnet)

    def _reservations(self, where: str, at: Json, wider: Holder) -> Iterator[Holder]:
        for one in self._maps(at, "reservations"):
            keys = ("hw-address", "client-id", "flex-id", "duid", "circuit-id", "ip-address", "hostname")
            who = next((one[key] for key in keys if one.get(key)), "")
            yield from self._if_said(self._found(f"{where}reservation {who}", wider.scope.subnet, one, wider))

    @staticmethod
    def _if_said(holder: Holder) -> Iterator[Holder]:
        if not holder.scope.inherited:
            yield holder

    def _unique(self, holders: Iterator[Holder]) -> list[Holder]:
        found: dict[str, Holder] = {}
        for holder in holders:
            if holder.scope.name in found:
                raise Garbled(f"{self.place}: its configuration has {holder.scope.name} twice")
            found[holder.scope.name] = holder
        return list(found.values())

    def _found(self, name: str, subnet: str, at: Json, wider: Holder | None) -> Holder:
        options = self._maps(at, "option-data")
        own = [option for option in options if self._says_150(option)]
        names = [option for option in options if _is(option, OPTION_66, "tftp-server-name")]
        inherited = Scope(name, subnet, ()) if wider is None else wider.scope
        scope = Scope(
            name=name,
            subnet=subnet,
            option150=self._addresses(name, own[-1]) if own else inherited.option150,
            inherited=not own,
            option66=_name(names[-1]) if names else inherited.option66,
        )
        return Holder(scope, at, own)

    def _says_150(self, option: Json) -> bool:
        return _is(option, OPTION_150, *(str(one.get("name")) for one in self._definitions))

    def _addresses(self, name: str, entry: Json) -> tuple[str, ...]:
        data = entry.get("data", "")
        definition = self.definition
        try:
            if not isinstance(data, str):
                raise ValueError
            if entry.get("csv-format", definition is not None) is True:
                if definition is not None and definition.get("type") != "ipv4-address":
                    return ()  # phones are sent what is no list of addresses
                return tuple(str(IPv4Address(one.strip())) for one in data.split(",")) if data.strip() else ()
            return _hex_addresses(data)
        except (ValueError, AddressValueError):
            raise Garbled(f"{self.place}: option 150 of {name} can't be read: {data!r:.80}") from None

    def _maps(self, at: Json, key: str) -> list[Json]:
        found = at.get(key, [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise Garbled(f"{self.place}: {key} of its configuration is no list of maps")
        return found


def same_entries(one: Sequence[Json], other: Sequence[Json]) -> bool:
    """Whether entries mean the same: Kea adds defaults to what it was given, and writes text its own way."""
    return [_canonical(entry) for entry in one] == [_canonical(entry) for entry in other]


def _canonical(entry: Json) -> Json:
    found = {**_ENTRY, **_ADDED, **entry, "code": OPTION_150}
    found.pop("name", None)
    data = str(found.get("data", "")).upper()
    found["data"] = re.sub(r"\s", "", data)
    return found


def _hex_addresses(data: str) -> tuple[str, ...]:
    matched = _HEX.fullmatch(data.strip())
    if matched is None:
        raise ValueError(data)
    raw = binascii.unhexlify(re.sub(r"[: ]", "", matched[2]))
    if len(raw) % 4:
        raise ValueError(data)
    return tuple(str(IPv4Address(raw[at : at + 4])) for at in range(0, len(raw), 4))


def _is(option: Json, code: int, *names: str) -> bool:
    if option.get("space", _SPACE) != _SPACE:
        return False
    return option["code"] == code if "code" in option else option.get("name") in names


def _is_150(definition: Json) -> bool:
    return definition.get("code") == OPTION_150 and definition.get("space", _SPACE) == _SPACE


def _matches(found: Json, definition: Json) -> bool:
    return all(found.get(key, definition[key]) == definition[key] for key in definition)


def _name(option: Json) -> str:
    data = option.get("data", "")
    if not isinstance(data, str):
        return ""
    if option.get("csv-format", True) is True:
        return data
    try:
        return binascii.unhexlify(data).decode("ascii", "replace")
    except ValueError:
        return ""
