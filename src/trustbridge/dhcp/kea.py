"""Option 150 of Kea, over its control API.

Kea has no command that changes one option: the whole configuration is read, changed in one place, tried
(`config-test`), put in force (`config-set`) and written to its file (`config-write`), so that it survives a restart.
Before it is put in force it is read once more: when anything in it has changed meanwhile, nothing is done.
`config-write` writes the file anew: comments in it, and how it was laid out, are lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from trustbridge.dhcp.keaconfig import Holder, Json, KeaConfig, same_entries
from trustbridge.dhcp.keacontrol import Control
from trustbridge.dhcp.scope import (
    Change,
    Edit,
    Scope,
    check_applied,
    check_in_force,
    check_servers,
    check_unchanged,
    unified,
)
from trustbridge.errors import Refused, SettingsError, TrustbridgeError

_OPTION_DEFINITION: Final = "option-def"


class Kea:
    """A Kea DHCPv4 server as a `Provider`."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._read: KeaConfig | None = None

    @property
    def place(self) -> str:
        return self._control.place

    async def read(self) -> tuple[Scope, ...]:
        self._read = KeaConfig(self.place, await self._get())
        return self._read.scopes

    def preview(self, scope: Scope, servers: Sequence[str]) -> Change:
        wanted = check_servers(servers)
        if self._read is None:
            raise Refused(f"{self.place} has not been read yet")
        holder = self._holder(self._read, scope.name)
        entries, undefined = self._read.entries(holder, wanted)
        edits = []
        if undefined:
            edits.append(Edit(_OPTION_DEFINITION, "", _text([self._read.new_definition])))
        if not same_entries(entries, holder.own):
            edits.append(Edit(f"option-data of {scope.name}", _text(holder.own), _text(entries)))
        after = Scope(scope.name, scope.subnet, wanted, False, scope.option66)
        return Change(self.place, holder.scope, after, tuple(edits), unified(self.place, edits))

    async def apply(self, change: Change) -> None:
        def edit(config: KeaConfig) -> None:
            holder = self._holder(config, change.before.name)
            check_unchanged(self.place, holder.scope, change)
            for one in change.edits:
                if one.where == _OPTION_DEFINITION:
                    if config.definition is None:
                        config.define(_entries(one.after)[0])
                    continue
                if not same_entries(holder.own, _entries(one.before)):
                    raise Refused(f"{self.place}: option 150 of {holder.scope.name} was changed meanwhile")
                config.put(holder, _entries(one.after))

        if change.edits:
            await self._change(edit)

    async def verify(self, change: Change) -> None:
        config = KeaConfig(self.place, await self._get())
        check_in_force(self.place, self._holder(config, change.after.name).scope, change)

    async def revert(self, change: Change) -> None:
        def edit(config: KeaConfig) -> None:
            holder = self._holder(config, change.after.name)
            check_applied(self.place, holder.scope, change)
            for one in reversed(change.edits):
                if one.where == _OPTION_DEFINITION:
                    config.undefine(_entries(one.after)[0])
                    continue
                if not same_entries(holder.own, _entries(one.after)):
                    raise Refused(
                        f"{self.place}: option 150 of {holder.scope.name} was changed since: {_text(holder.own)}",
                        "Nothing was taken back. Set what it should be.",
                    )
                config.put(holder, _entries(one.before))

        if change.edits:
            await self._change(edit)

    async def _get(self) -> Any:
        return (await self._control.ask("config-get")).get("Dhcp4")

    async def _change(self, edit: Callable[[KeaConfig], None]) -> None:
        """Change the configuration; all of it or nothing.

        Raises:
            Refused: Kea does not take it, or somebody changed the configuration meanwhile.
        """
        before = await self._get()
        config = KeaConfig(self.place, before)
        edit(config)
        await self._control.ask("config-test", {"Dhcp4": config.dhcp4})
        if await self._get() != before:
            raise Refused(
                f"{self.place}: somebody changed its configuration at this very moment", "Nothing was changed; again."
            )
        await self._control.ask("config-set", {"Dhcp4": config.dhcp4})
        try:
            await self._control.ask("config-write")
        except TrustbridgeError as error:
            # In force and not in the file, a restart would send phones back to where they came from.
            await self._control.ask("config-set", {"Dhcp4": before})
            raise Refused(
                f"{error.message}; its former configuration is in force again",
                "Kea must be able to write the file it was started with, or the next restart undoes the change.",
            ) from None

    def _holder(self, config: KeaConfig, name: str) -> Holder:
        holder = config.holder(name)
        if holder is None:
            raise Refused(f"{self.place} has no scope {name}, or none any more that says option 150 itself")
        return holder


def _text(entries: Sequence[Json]) -> str:
    return json.dumps(entries, indent=2, sort_keys=True) + "\n" if entries else ""


def _entries(text: str) -> list[Json]:
    """What `_text` gave.

    Raises:
        SettingsError: a record that somebody changed.
    """
    try:
        found = json.loads(text) if text else []
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise SettingsError("this record of a change is not one of Kea's")
    return found
