"""TLS certificates of nodes, pinned at first contact.

Unified CM's own certificates are mostly self-signed, so no authority vouches for them: what a node showed at the first
contact is what it must show ever after. The pins live in one JSON file, which a person can read and compare:

    {
      "cm1.example.com:8443": {
        "sha256": ["B5:DF:..."],
        "subject": "CN=cm1.example.com;OU=UC;O=Example;C=PL",
        "pinned": "2025-11-23"
      }
    }

A node may have several fingerprints (a person added one ahead of a renewal); any of them is accepted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trustbridge import atomicfile
from trustbridge.errors import IdentityChanged, InvalidCertificate, SettingsError
from trustbridge.pki.certificate import Certificate

_DIGEST = re.compile(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}")


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate as `openssl x509 -fingerprint -sha256` and browsers print it."""
    return hashlib.sha256(der).digest().hex(":").upper()


@dataclass(frozen=True, slots=True)
class FirstCertificate:
    """A certificate that was pinned because nothing was known about the node: worth showing to a person."""

    host: str
    port: int
    subject: str
    sha256: str

    def __str__(self) -> str:
        return (
            f"first contact with {_address(self.host, self.port)}: pinned its TLS certificate "
            f"SHA-256 {self.sha256} ({self.subject})"
        )


class TlsPins:
    """The file of pinned certificates, shared by processes.

    The file is replaced as a whole (written beside, renamed) with mode 0600, under a lock on its directory, so that two
    processes that pin at once lose nothing.

    Args:
        path: the file; made, with its directory, at the first pin.
        on_first_contact: called with each certificate this object pins, before anything is said to that node: a
            password that is refused afterwards does not hide what was pinned.
    """

    def __init__(self, path: Path, *, on_first_contact: Callable[[FirstCertificate], None] | None = None) -> None:
        self.path = path
        self._on_first_contact = on_first_contact

    def __repr__(self) -> str:
        return f"TlsPins({str(self.path)!r})"

    def fingerprints(self, host: str, port: int) -> tuple[str, ...]:
        """What is pinned for a node, in the file's order; empty before the first contact.

        Raises:
            SettingsError: the file can't be read or is garbled (guessing that it is a first contact would accept
                anybody).
        """
        return _pinned(self._read(), _address(host, port), self.path)

    def check(self, host: str, port: int, der: bytes) -> FirstCertificate | None:
        """Accept the certificate a node shows: pinned already, or pinned now because nothing was known.

        Returns:
            What was pinned, or None when the certificate was known.

        Raises:
            IdentityChanged: another certificate is pinned for this node.
            SettingsError: the file can't be read or written, or is garbled.
        """
        address, shown = _address(host, port), fingerprint(der)
        pinned = _pinned(self._read(), address, self.path)
        if shown in pinned:
            return None
        with self._locked():
            # Read again under the lock: another process may have pinned since.
            pins = self._read()
            pinned = _pinned(pins, address, self.path)
            if shown in pinned:
                return None
            if pinned:
                raise _changed(address, pinned, shown, self.path)
            subject = _subject(der)
            pins[address] = {"sha256": [shown], "subject": subject, "pinned": f"{datetime.now(UTC):%Y-%m-%d}"}
            self._write(pins)
        contact = FirstCertificate(host, port, subject, shown)
        if self._on_first_contact is not None:
            self._on_first_contact(contact)
        return contact

    def forget(self, host: str, port: int) -> bool:
        """Remove a node's pins, so that the next contact is a first one. False when there were none.

        Raises:
            SettingsError: the file can't be read or written.
        """
        address = _address(host, port)
        if not self.path.exists():
            return False
        with self._locked():
            pins = self._read()
            if pins.pop(address, None) is None:
                return False
            self._write(pins)
        return True

    def replace(self, host: str, port: int, sha256: str, subject: str) -> None:
        """Pin a certificate that a person has confirmed, instead of those that are pinned for a node.

        Args:
            sha256: as `fingerprint` gives it.

        Raises:
            SettingsError: it is no fingerprint, or the file can't be read or written.
        """
        if not _DIGEST.fullmatch(sha256):
            raise SettingsError(f"{sha256!r:.100} is no SHA-256 fingerprint")
        with self._locked():
            pins = self._read()
            shown = "".join(sign if sign.isprintable() else "?" for sign in subject)[:300] or "no subject"
            address = _address(host, port)
            pins[address] = {"sha256": [sha256], "subject": shown, "pinned": f"{datetime.now(UTC):%Y-%m-%d}"}
            self._write(pins)

    def _read(self) -> dict[str, Any]:
        try:
            pins = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise SettingsError(
                f"can't read the pinned certificates in {self.path}: {error}", "Repair or remove that file."
            ) from error
        if not isinstance(pins, dict):
            raise SettingsError(f"{self.path} holds no pinned certificates", "Repair or remove that file.")
        return pins

    def _write(self, pins: dict[str, Any]) -> None:
        try:
            atomicfile.write(self.path, (json.dumps(pins, indent=2, ensure_ascii=False) + "\n").encode())
        except OSError as error:
            raise _unwritable(self.path, error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(atomicfile.locked_folder(self.path.parent))
            except OSError as error:
                raise _unwritable(self.path, error) from error
            yield


def _address(host: str, port: int) -> str:
    host = host.lower()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _pinned(pins: dict[str, Any], address: str, path: Path) -> tuple[str, ...]:
    if address not in pins:
        return ()
    entry = pins[address]
    found = entry.get("sha256") if isinstance(entry, dict) else None
    known = [found] if isinstance(found, str) else found
    if isinstance(known, list) and known:
        # A person may have pasted one as another program writes it.
        digests = [str(one).strip().upper() for one in known]
        digests = [bytes.fromhex(one).hex(":").upper() if re.fullmatch("[0-9A-F]{64}", one) else one for one in digests]
        if all(map(_DIGEST.fullmatch, digests)):
            return tuple(digests)
    raise SettingsError(
        f"the entry for {address} in {path} holds no SHA-256 fingerprint", "Repair or remove that entry."
    )


def _subject(der: bytes) -> str:
    try:
        subject = Certificate.from_der(der).subject
    except InvalidCertificate:
        return "a certificate that can't be read"
    return "".join(sign if sign.isprintable() else "?" for sign in subject)[:300] or "no subject"


def _changed(address: str, pinned: tuple[str, ...], shown: str, path: Path) -> IdentityChanged:
    return IdentityChanged(
        f"the TLS certificate of {address} has changed: pinned is SHA-256 {' or '.join(pinned)}, it now shows {shown}",
        "Somebody may be answering in its place: nothing was sent. If its administrator confirms the new fingerprint "
        f"(`show cert own tomcat` on the node), remove the entry {address} from {path} and try again.",
    )


def _unwritable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"can't write the pinned certificates to {path}: {error.strerror or error}",
        "Make that directory writable, or name another file for the pins.",
    )
