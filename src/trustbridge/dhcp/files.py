"""Option 150 in the configuration files of dnsmasq and of ISC's dhcpd: the statement changes, every other byte stays.

The server is not told: `reload` names the command, which is a person's to run.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import secrets
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

from trustbridge.dhcp import dnsmasq, isc
from trustbridge.dhcp.filetext import FileText, Place, Replacement, Span, around, line_of, replaced
from trustbridge.dhcp.scope import (
    Change,
    Edit,
    Scope,
    check_applied,
    check_in_force,
    check_servers,
    check_unchanged,
)
from trustbridge.errors import DecodeError, InvalidInput, Refused, SettingsError, TrustbridgeError

Syntax = Literal["dnsmasq", "isc"]

#: Bytes at most: nobody's configuration is larger.
MAX_FILE: Final = 64 * 1024 * 1024
_NAMES: Final = {"dnsmasq": "dnsmasq", "isc": "ISC dhcpd"}
_RELOAD: Final = {"dnsmasq": dnsmasq.RELOAD, "isc": isc.RELOAD}


class ConfigFile:
    """A configuration file as a `Provider`.

    Args:
        path: the file; a symbolic link is followed, and stays one.
        syntax: whose it is.
    """

    def __init__(self, path: Path, syntax: Syntax) -> None:
        self.path = path
        self._syntax = syntax
        self._read: FileText | None = None

    @property
    def place(self) -> str:
        return f"{_NAMES[self._syntax]} in {self.path}"

    @property
    def reload(self) -> str:
        """The command that makes the server take the file."""
        return _RELOAD[self._syntax].format(file=shlex.quote(str(self.path)))

    async def read(self) -> tuple[Scope, ...]:
        self._read = self._parsed(self._bytes())
        return tuple(place.scope for place in self._read.places)

    def preview(self, scope: Scope, servers: Sequence[str]) -> Change:
        wanted = check_servers(servers)
        if self._read is None:
            raise Refused(f"{self.place} has not been read yet")
        place = self._place(self._read, scope.name)
        replacements = self._read.replacements(place, wanted)
        after = Scope(place.scope.name, place.scope.subnet, wanted, False, place.scope.option66)
        text = self._read.text
        diff = self._diff(text, replaced(text, replacements))
        return Change(self.place, place.scope, after, _edits(text, replacements), diff)

    async def apply(self, change: Change) -> None:
        def edit(parsed: FileText) -> str:
            place = self._place(parsed, change.before.name)
            check_unchanged(self.place, place.scope, change)
            replacements = parsed.replacements(place, change.after.option150)
            if _pieces(_edits(parsed.text, replacements)) != _pieces(change.edits):
                raise Refused(
                    f"{self.place}: option 150 of {place.scope.name} is written otherwise by now: somebody changed it",
                    "Nothing was changed. Look at it again: trustbridge option150 show",
                )
            return replaced(parsed.text, replacements)

        if change.edits:
            self._change(edit)

    async def verify(self, change: Change) -> None:
        check_in_force(self.place, self._place(self._parsed(self._bytes()), change.after.name).scope, change)

    async def revert(self, change: Change) -> None:
        def edit(parsed: FileText) -> str:
            place = self._place(parsed, change.after.name)
            check_applied(self.place, place.scope, change)
            return self._taken_back(parsed, place, change)

        if change.edits:
            self._change(edit)

    def _taken_back(self, parsed: FileText, place: Place, change: Change) -> str:
        text = parsed.text
        statements = [edit for edit in change.edits if not edit.where.startswith("definition")]
        found: list[Replacement] = []
        for edit, span in zip(statements, place.own, strict=False):
            if text[span.start : span.end] == edit.after.strip():
                # What was inserted goes with the white space that came along, and so not where that has changed.
                where = span if edit.before else around(text, span, edit.after)
                if where is not None:
                    found.append(Replacement(where.start, where.end, edit.before, edit.where))
        if not len(found) == len(statements) == len(place.own):
            raise Refused(
                f"{self.place}: option 150 of {place.scope.name} is written otherwise than it was applied",
                "Nothing was taken back: somebody changed it since. Set what it should be.",
            )
        back = replaced(text, found)
        for edit in change.edits:
            if edit.where.startswith("definition"):
                back = _undefined(self._of(back), edit.after)
        return back

    def _place(self, parsed: FileText, name: str) -> Place:
        for place in parsed.places:
            if place.scope.name == name:
                return place
        raise Refused(f"{self.place} has no scope {name}, or none any more that says option 150 itself")

    def _diff(self, before: str, after: str) -> str:
        # Without lines around it: they may hold a key's secret.
        lines = difflib.unified_diff(
            before.split("\n"), after.split("\n"), str(self.path), str(self.path), lineterm="", n=0
        )
        return "".join(f"{line.rstrip(chr(13))}\n" for line in lines)

    # The file.

    def _bytes(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                found = file.read(MAX_FILE + 1)
        except OSError as error:
            raise SettingsError(f"can't read {self.path}: {error.strerror or error}") from None
        if len(found) > MAX_FILE:
            raise InvalidInput(f"{self.path} has more than {MAX_FILE} bytes: no configuration of a DHCP server")
        return found

    def _parsed(self, content: bytes) -> FileText:
        return self._of(content.decode("utf-8", "surrogateescape"))

    def _of(self, text: str) -> FileText:
        try:
            if self._syntax == "dnsmasq":
                return dnsmasq.Dnsmasq(text)
            return isc.Isc(text, self._included(isc.Isc(text), {self.path}))
        except DecodeError as error:
            raise InvalidInput(f"{self.path} line {line_of(text, error.offset)}: {error.what}", error.hint) from None

    def _included(self, parsed: isc.Isc, seen: set[Path]) -> dict[str, str]:
        """Names for option 150 that included files define; what can't be read there, dhcpd can't either."""
        found: dict[str, str] = {}
        for name in parsed.includes():
            path = self.path.parent / name
            if path in seen:
                continue
            seen.add(path)
            with contextlib.suppress(OSError, DecodeError, ValueError):
                other = isc.Isc(path.read_bytes().decode("utf-8", "surrogateescape"))
                found |= self._included(other, seen) | other.names()
        return found

    def _change(self, edit: Callable[[FileText], str]) -> None:
        before = self._bytes()
        after = edit(self._parsed(before)).encode("utf-8", "surrogateescape")
        try:
            self._replace(before, after)
        except OSError as error:
            raise TrustbridgeError(
                f"can't change {self.path}: {error.strerror or error}", "Nothing was changed. Does it belong to you?"
            ) from None

    def _replace(self, before: bytes, after: bytes) -> None:
        """Write beside, then rename, with the mode and owner that the file has."""
        target = self.path.resolve()
        status = target.stat()
        # A leading dot: dnsmasq passes over such files in a conf-dir.
        part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(after)
                mine = os.fstat(file.fileno())
                if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid):
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                os.fchmod(file.fileno(), status.st_mode & 0o7777)
                file.flush()
                os.fsync(file.fileno())
            if self._bytes() != before:
                raise Refused(f"somebody changed {self.path} at this very moment", "Nothing was changed; again.")
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _edits(text: str, replacements: Sequence[Replacement]) -> tuple[Edit, ...]:
    return tuple(
        Edit(f"{one.what}, line {line_of(text, one.start)}", text[one.start : one.end], one.new) for one in replacements
    )


def _pieces(edits: Sequence[Edit]) -> list[tuple[str, str]]:
    return [(edit.before, edit.after) for edit in edits]


def _undefined(parsed: FileText, definition: str) -> str:
    """Without a definition that was added, if it is there as it was and nothing needs it any more."""
    for span in parsed.definitions():
        where = around(parsed.text, Span(span.start, span.end), definition)
        if where is not None:
            return parsed.text[: where.start] + parsed.text[where.end :]
    return parsed.text
