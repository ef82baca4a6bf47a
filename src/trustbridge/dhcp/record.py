"""Changes of option 150 as they are kept, a file each: what was there before is on disk before anything changes.

    option150/20261124T161500000000Z-subnet-1.json

No secret is in them: a server is named by where it is, and by a user's name where it wants one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from trustbridge import atomicfile
from trustbridge.dhcp.scope import Change, file_name
from trustbridge.errors import NotNow, SettingsError

FOLDER: Final = "option150"
_FORMAT: Final = 1


class Kind(StrEnum):
    """Providers that change something themselves."""

    KEA = "kea"
    CLUSTER = "cluster"
    DNSMASQ = "dnsmasq"
    ISC = "isc"


class State(StrEnum):
    """What became of a change."""

    BEGUN = "begun"  # nobody knows: it was interrupted
    APPLIED = "applied"
    REFUSED = "refused"
    REVERTED = "reverted"


@dataclass(frozen=True, slots=True)
class Server:
    """How to come back to a provider: a URL, a cluster's name or a file, and the user's name where it wants one."""

    kind: Kind
    where: str
    user: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A change that is kept."""

    path: Path
    at: datetime
    server: Server
    state: State
    change: Change

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.path.stem

    def as_json(self) -> dict[str, Any]:
        """As the file has it."""
        return {
            "format": _FORMAT,
            "at": self.at.isoformat(),
            "server": dataclasses.asdict(self.server),
            "state": str(self.state),
            "change": self.change.record(),
        }


class Records:
    """The folder of changes.

    Args:
        state: the state folder; the folder in it is made with the first change.
    """

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER

    def begin(self, server: Server, change: Change, now: datetime) -> Kept:
        """Keep a change that is about to be made.

        Raises:
            TrustbridgeError: the file can't be written.
        """
        path = self.folder / f"{now.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-{file_name(change.before)}.json"
        return self._write(Kept(path, now, server, State.BEGUN, change))

    def mark(self, kept: Kept, state: State) -> Kept:
        """Keep what became of it.

        Raises:
            TrustbridgeError: the file can't be written.
        """
        return self._write(dataclasses.replace(kept, state=state))

    def all(self) -> Iterator[Kept]:
        """All, oldest first.

        Raises:
            SettingsError: a file is no such record; it is named.
        """
        for path in sorted(self.folder.glob("[0-9]*.json")):
            yield _read(path)

    def get(self, name: str | None = None) -> Kept:
        """One by its name; without one, the last that can be taken back.

        Raises:
            SettingsError: there is none of that name, or the file is no such record.
            NotNow: nothing can be taken back, or that one was already.
        """
        if name is not None:
            if not name or "/" in name or name.startswith("."):
                raise SettingsError(f"{name!r:.80} is no record's name", "See `trustbridge option150 changes`.")
            found = _read(self.folder / f"{name}.json")
            if found.state in (State.REVERTED, State.REFUSED):
                raise NotNow(f"{name} is {found.state}: there is nothing to take back")
            return found
        for kept in reversed(list(self.all())):
            if kept.state in (State.APPLIED, State.BEGUN):
                return kept
        raise NotNow("no change of option 150 is left to be taken back", "See `trustbridge option150 changes`.")

    def _write(self, kept: Kept) -> Kept:
        with atomicfile.in_words("the change of option 150 is not kept, and so not made"):
            atomicfile.private_folder(self.folder)
            atomicfile.write(kept.path, (json.dumps(kept.as_json(), indent=2) + "\n").encode())
        return kept


def _read(path: Path) -> Kept:
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != _FORMAT:
            raise ValueError(f"format {found['format']!r}")
        server = found["server"]
        at = datetime.fromisoformat(found["at"])
        where, user = server["where"], server["user"]
        if not isinstance(where, str) or not isinstance(user, str):
            raise TypeError("server")
        change = Change.of_record(found["change"])
        return Kept(path, at, Server(Kind(server["kind"]), where, user), State(found["state"]), change)
    except FileNotFoundError:
        raise SettingsError(f"there is no record {path.stem}", "See `trustbridge option150 changes`.") from None
    except OSError as error:
        raise SettingsError(f"can't read {path}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SettingsError(f"{path} is no record of a change: {error!r:.100}", "Somebody wrote into it.") from None
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}", "Somebody wrote into it.") from None
