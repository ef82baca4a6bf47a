"""Host keys of SFTP servers, pinned at first contact.

The pins live in one file in OpenSSH's known_hosts format, a line a key, so that a person can read it, compare it and
remove a line, and so that OpenSSH's own programs can use it (`sftp -o UserKnownHostsFile=...`):

    sftp.example.com ssh-ed25519 AAAAC3Nz... pinned 2025-11-23 SHA256:Zk0n...
    [10.1.1.7]:2222 ssh-ed25519 AAAAC3Nz... pinned 2025-11-24 SHA256:3xqT...

Lines for other hosts, comments and markers are kept as they are. A host may have several lines (a person added one
ahead of a change of keys); any of them is accepted. Hashed host names, wildcards and markers are not used as pins.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trustbridge import atomicfile
from trustbridge.errors import IdentityChanged, SettingsError

_HEADER = (
    "# Host keys of SFTP servers, pinned at first contact. To accept a server's new key, remove its old line here.\n"
)
_DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True)
class HostKey:
    """A server's public key.

    Attributes:
        kind: its type as SSH names it, such as `ssh-ed25519`.
        blob: the key in SSH's wire form (RFC 4253, 6.6).
    """

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """`SHA256:` and unpadded base64, as OpenSSH prints it."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


@dataclass(frozen=True, slots=True)
class FirstContact:
    """A key that was pinned because nothing was known about the server: worth showing to a person."""

    host: str
    port: int
    key: HostKey

    def __str__(self) -> str:
        return (
            f"first contact with {_address(self.host, self.port)}: pinned its host key "
            f"{self.key.fingerprint} ({self.key.kind})"
        )


class HostKeyPins:
    """The file of pinned host keys, shared by processes.

    The file is replaced as a whole (written beside, renamed) with mode 0600, under a lock on its directory, so that two
    processes that pin at once lose nothing.

    Args:
        path: the file; made, with its directory, at the first pin.
        on_first_contact: called with each key this object pins, before anything else is said to that server: a
            login that fails afterwards does not hide what was pinned.
    """

    def __init__(self, path: Path, *, on_first_contact: Callable[[FirstContact], None] | None = None) -> None:
        self.path = path
        self._on_first_contact = on_first_contact

    def __repr__(self) -> str:
        return f"HostKeyPins({str(self.path)!r})"

    def keys(self, host: str, port: int) -> tuple[HostKey, ...]:
        """The keys pinned for a server, in the file's order; empty before the first contact.

        Raises:
            SettingsError: the file can't be read, or a line for this server is garbled (guessing that it is a first
                contact would accept anybody).
        """
        return _keys_of(self._lines(), _address(host, port), self.path)

    def check(self, host: str, port: int, key: HostKey) -> FirstContact | None:
        """Accept the key a server shows: pinned already, or pinned now because nothing was known.

        Returns:
            What was pinned, or None when the key was known.

        Raises:
            IdentityChanged: another key is pinned for this server.
            SettingsError: the file can't be read or written, or is garbled.
        """
        address = _address(host, port)
        with self._locked():
            # Read under the lock: another process may have pinned since.
            lines = self._lines()
            pinned = _keys_of(lines, address, self.path)
            if key in pinned:
                return None
            if pinned:
                raise _changed(address, pinned, key, self.path)
            self._replace([*lines, _line(address, key)])
        contact = FirstContact(host, port, key)
        if self._on_first_contact is not None:
            self._on_first_contact(contact)
        return contact

    def forget(self, host: str, port: int) -> bool:
        """Remove a server's pins, so that the next contact is a first one. False when there were none.

        Raises:
            SettingsError: the file can't be read or written.
        """
        address = _address(host, port)
        if not self.path.exists():
            return False
        with self._locked():
            lines = self._lines()
            kept = [line for line in lines if not _is_for(line, address)]
            if len(kept) == len(lines):
                return False
            self._replace(kept)
        return True

    def replace(self, host: str, port: int, key: HostKey) -> None:
        """Pin a key that a person has confirmed, instead of those that are pinned for a server.

        Raises:
            SettingsError: the file can't be read or written.
        """
        address = _address(host, port)
        with self._locked():
            kept = [line for line in self._lines() if not _is_for(line, address)]
            self._replace([*kept, _line(address, key)])

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"can't read the pinned host keys in {self.path}: {error}", "Repair or remove that file."
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(atomicfile.locked_folder(self.path.parent))
            except OSError as error:
                raise _unwritable(self.path, error) from error
            yield

    def _replace(self, lines: list[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        if not text.startswith("#"):
            text = _HEADER + text
        try:
            atomicfile.write(self.path, text.encode())
        except OSError as error:
            raise _unwritable(self.path, error) from error


def _address(host: str, port: int) -> str:
    """A server as known_hosts writes it: bare for port 22, `[host]:port` otherwise."""
    host = host.lower()
    if not host or any(character.isspace() or character in ",#|@*?!" for character in host):
        raise SettingsError(f"{host!r} is not a host name or address")
    return host if port == _DEFAULT_PORT else f"[{host}]:{port}"


def _line(address: str, key: HostKey) -> str:
    blob = base64.b64encode(key.blob).decode("ascii")
    return f"{address} {key.kind} {blob} pinned {datetime.now(UTC):%Y-%m-%d} {key.fingerprint}"


def _is_for(line: str, address: str) -> bool:
    fields = line.split(maxsplit=1)
    return bool(fields) and address in fields[0].lower().split(",")


def _keys_of(lines: list[str], address: str, path: Path) -> tuple[HostKey, ...]:
    keys = []
    for number, line in enumerate(lines, 1):
        if not _is_for(line, address):
            continue
        try:
            _, kind, encoded = line.split()[:3]
            keys.append(HostKey(kind, base64.b64decode(encoded, validate=True)))
        except (ValueError, binascii.Error) as error:
            raise SettingsError(
                f"line {number} of {path} holds no host key for {address}", "Repair or remove that line."
            ) from error
    return tuple(keys)


def _changed(address: str, pinned: tuple[HostKey, ...], key: HostKey, path: Path) -> IdentityChanged:
    old = " or ".join(f"{known.fingerprint} ({known.kind})" for known in pinned)
    return IdentityChanged(
        f"the host key of {address} has changed: pinned is {old}, it now shows {key.fingerprint} ({key.kind})",
        "Somebody may be answering in its place. If its administrator confirms the new fingerprint, remove the line "
        f"for {address} from {path} and try again.",
    )


def _unwritable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"can't write the pinned host keys to {path}: {error.strerror or error}",
        "Make that directory writable, or name another file for the pins.",
    )
