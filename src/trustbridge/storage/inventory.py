"""The clusters a user has named: `clusters.toml` in the state folder, a table a cluster. No secret is ever in it.

    [source]
    publisher = "cm1.example.com"
    os_user = "administrator"
    app_user = "axluser"

    [source.node_addresses]
    "cm2" = "192.0.2.2"

A person may edit it; what can't be right in it is refused with the entry and the key named.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from trustbridge import atomicfile
from trustbridge.cucm.model import ClusterEntry
from trustbridge.errors import SettingsError
from trustbridge.storage.folderlock import locked

FILE: Final = "clusters.toml"
_HEADER: Final = "# Clusters of trustbridge. Passwords have no place here: see `trustbridge cluster test --help`.\n"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_FIELDS: Final = {field.name: field for field in dataclasses.fields(ClusterEntry) if field.name != "name"}
_REQUIRED: Final = ("publisher", "os_user", "app_user")
_SECRETS: Final = re.compile(r"pass|secret|pwd|token", re.IGNORECASE)


class Inventory:
    """The file of clusters, shared by processes: written as a whole, under a lock on its folder.

    Args:
        folder: the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def all(self) -> dict[str, ClusterEntry]:
        """The clusters by name, in the file's order; none without a file.

        Raises:
            SettingsError: the file can't be read, or an entry is wrong; it is named.
        """
        try:
            return parse(self.path.read_text("utf-8"), str(self.path))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SettingsError(f"can't read {self.path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{self.path} is not TOML: it is not UTF-8", "Repair or remove that file.") from None

    def get(self, name: str) -> ClusterEntry:
        """One cluster.

        Raises:
            SettingsError: there is none of that name, or the file can't be read.
        """
        known = self.all()
        if name not in known:
            raise SettingsError(
                f"no cluster is called {name}",
                f"Known are {', '.join(known)}." if known else "Name one: trustbridge cluster add --help",
            )
        return known[name]

    def add(self, *entries: ClusterEntry, replace: bool = False) -> None:
        """Add clusters, all or none.

        Raises:
            SettingsError: a name is taken (unless `replace`), or an entry can't be right.
        """
        for entry in entries:
            check(entry)

        def change(known: dict[str, ClusterEntry]) -> None:
            for entry in entries:
                if entry.name in known and not replace:
                    raise SettingsError(
                        f"a cluster {entry.name} is there already",
                        f"Choose another name, or first: trustbridge cluster remove {entry.name}",
                    )
                known[entry.name] = entry

        self._change(change)

    def remove(self, name: str) -> None:
        """Forget a cluster.

        Raises:
            SettingsError: there is none of that name.
        """
        self.get(name)
        self._change(lambda known: known.pop(name, None))

    def _change(self, change: Callable[[dict[str, ClusterEntry]], object]) -> None:
        with locked(self.path.parent, "the clusters can't be changed"):
            known = self.all()
            change(known)
            with atomicfile.in_words("the cluster is not kept"):
                atomicfile.write(self.path, render(known).encode())


def check(entry: ClusterEntry) -> None:
    """Whether an entry can be right, as far as it shows without asking anybody.

    Raises:
        SettingsError: it can't; entry and key are named.
    """
    if not _NAME.fullmatch(entry.name):
        raise SettingsError(
            f"{entry.name!r} can't be a cluster's name",
            "It has letters, digits, - and _, and begins with one of these.",
        )
    for key in ("publisher", "os_user", "app_user"):
        value = getattr(entry, key)
        if not value or not value.isprintable() or value != value.strip() or " " in value:
            raise _wrong(entry.name, key, "a word, without spaces")
    if ":" in entry.os_user or ":" in entry.app_user:
        raise _wrong(entry.name, "os_user" if ":" in entry.os_user else "app_user", "a name without a colon")
    for key in _FIELDS:
        if key.endswith("_port") and not 1 <= getattr(entry, key) <= 65535:
            raise _wrong(entry.name, key, "a port, 1 to 65535")
    for pair in entry.node_addresses:
        if not all(word and word.isprintable() and " " not in word for word in pair):
            raise _wrong(entry.name, "node_addresses", "names with their addresses")
    if entry.axl_schema is not None and not (entry.axl_schema and entry.axl_schema.isprintable()):
        raise _wrong(entry.name, "axl_schema", "a folder")


def parse(content: str, place: str = FILE) -> dict[str, ClusterEntry]:
    """Read the file's text: total.

    Raises:
        SettingsError: it is not TOML, or an entry is wrong; entry and key are named.
    """
    try:
        values = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise SettingsError(f"{place} is not TOML: {error}", "Repair or remove that file.") from None
    return {name: _entry(name, table) for name, table in values.items()}


def _entry(name: str, table: object) -> ClusterEntry:
    if not isinstance(table, dict):
        raise SettingsError(f"{FILE}: {name!r:.80} is no table", "Each cluster is a table: [name].")
    for key in table:
        if key not in _FIELDS:
            hint = "Passwords have no place in this file: remove it." if _SECRETS.search(key) else ""
            raise SettingsError(
                f"{FILE}: cluster {name}: {key!r:.80} is no setting of a cluster",
                hint or f"Settings are {', '.join(_FIELDS)}.",
            )
    for key in _REQUIRED:
        if key not in table:
            raise SettingsError(f"{FILE}: cluster {name}: {key} is missing", "Add it, or remove the entry.")
    values: dict[str, Any] = {key: _value(name, key, value) for key, value in table.items()}
    entry = ClusterEntry(name=name, **values)
    check(entry)
    return entry


def _value(name: str, key: str, value: object) -> object:
    if key == "node_addresses":
        if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
            return tuple(value.items())
        raise _wrong(name, key, "a table of names with their addresses")
    kind: type = int if key.endswith("_port") else bool if key == "legacy_ssh" else str
    if type(value) is not kind:  # bool is an int, which a port is not
        words = {int: "a whole number", bool: "true or false", str: "a text"}[kind]
        raise _wrong(name, key, words)
    return value


def _wrong(name: str, key: str, expected: str) -> SettingsError:
    return SettingsError(f"cluster {name}: {key} should be {expected}", "See `trustbridge cluster add --help`.")


def render(entries: Mapping[str, ClusterEntry]) -> str:
    """The file's text: what differs from the defaults."""
    lines = [_HEADER]
    for entry in entries.values():
        lines.append(f"[{entry.name}]")
        for key, field in _FIELDS.items():
            value = getattr(entry, key)
            if key != "node_addresses" and (key in _REQUIRED or value != field.default):
                lines.append(f"{key} = {_toml(value)}")
        if entry.node_addresses:
            lines.append(f"\n[{entry.name}.node_addresses]")
            lines += [f"{_toml(node)} = {_toml(address)}" for node, address in entry.node_addresses]
        lines.append("")
    return "\n".join(lines)


def _toml(value: str | int | bool) -> str:
    if isinstance(value, str):
        # Printable, as `check` has seen: only these two mean something to TOML.
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value).lower()
