"""The form of a cluster of the inventory: what was typed to an entry, and back. A password never comes back."""

from __future__ import annotations

import dataclasses
from typing import Final

from fastapi import Request

from trustbridge.cucm.model import ClusterEntry
from trustbridge.errors import SettingsError

PORTS: Final = ("ssh_port", "https_port", "tvs_port", "http_port", "tftp_port")
_WORDS: Final = ("name", "publisher", "os_user", "app_user", "axl_schema")
#: Fields that have a password, and where it is to be kept.
SECRET: Final = ("password_os", "password_app", "place")
#: Characters of a field; of the list of addresses, which has a line a node.
_LONGEST, _LONGEST_LIST = 1000, 20_000


def blank(entry: ClusterEntry | None = None) -> dict[str, str]:
    """The form's fields for an entry; of a new one, the defaults."""
    known = entry or ClusterEntry("", "", "", "")
    values = {name: str(getattr(known, name) or "") for name in (*_WORDS, *PORTS)}
    values["node_addresses"] = "\n".join(f"{name}={address}" for name, address in known.node_addresses)
    values["legacy_ssh"] = "yes" if known.legacy_ssh else ""
    return values


async def typed_of(request: Request) -> dict[str, str]:
    """What came with a form: every field of ours as a text, and nothing else.

    Raises:
        SettingsError: a field is far too long.
    """
    form = await request.form()
    values = {}
    for name in (*blank(), *SECRET):
        found = form.get(name, "")
        text = found if isinstance(found, str) else ""
        if len(text) > (_LONGEST_LIST if name == "node_addresses" else _LONGEST):
            raise SettingsError(f"{name} is too long")
        # A password is taken as it was typed.
        values[name] = text if name in SECRET else text.strip()
    return values


def entry_from(values: dict[str, str], before: ClusterEntry | None = None) -> ClusterEntry:
    """The entry of what was typed.

    Args:
        before: the one that is changed: what the form does not have stays.

    Raises:
        SettingsError: a field can't be right; it is named. The rest is seen to by `Inventory.add`.
    """
    known = before or ClusterEntry("", "", "", "")
    return dataclasses.replace(
        known,
        name=values["name"],
        publisher=values["publisher"],
        os_user=values["os_user"],
        app_user=values["app_user"],
        axl_schema=values["axl_schema"] or None,
        legacy_ssh=values["legacy_ssh"] == "yes",
        node_addresses=tuple(_pair(line) for line in values["node_addresses"].splitlines() if line.strip()),
        **{name: _port(name, values[name], getattr(ClusterEntry("", "", "", ""), name)) for name in PORTS},
    )


def _port(name: str, typed: str, otherwise: int) -> int:
    if not typed:
        return otherwise
    if not typed.isascii() or not typed.isdecimal() or len(typed) > 5:
        raise SettingsError(f"{name}: {typed!r:.40} is no port", "It is a number, 1 to 65535.")
    return int(typed)


def _pair(line: str) -> tuple[str, str]:
    name, sign, address = line.strip().partition("=")
    if not sign:
        raise SettingsError(f"addresses of nodes: {line!r:.80}: NAME=ADDRESS is expected", "One a line.")
    return name.strip(), address.strip()
