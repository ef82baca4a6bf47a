"""Whether an SFTP server will do for bulk certificate management: what publishers do there, done once."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from trustbridge.errors import Refused, TrustbridgeError
from trustbridge.exchange.directory import SftpSettings, open_sftp
from trustbridge.exchange.hostkeys import HostKey, HostKeyPins

#: Seconds for the connection, and for each answer.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Probed:
    """A test that went well.

    Attributes:
        files: how many lie in the directory.
        key: the host key that was pinned now; None where it was known.
    """

    files: int
    key: HostKey | None


async def probe(
    settings: SftpSettings,
    pins: HostKeyPins,
    *,
    told: Callable[[str], None] = lambda step: None,
    seconds: float = PATIENCE,
) -> Probed:
    """Log in, list, write a file, read it, remove it. What is there already is not touched.

    Args:
        told: each step before it is done.
        seconds: for the connection, and for each answer.

    Raises:
        TrustbridgeError: as `open_sftp`; or a step is refused. A file that could not be removed is named.
    """
    name, content = f"trustbridge-test-{secrets.token_hex(6)}.txt", secrets.token_bytes(64)
    told(f"log in to {settings.server} as {settings.username}")
    async with open_sftp(settings, pins, timeout=seconds) as directory:
        told("list the files")
        files = await directory.list()
        told(f"write {name}")
        await directory.write_atomic(name, content)
        try:
            told(f"read {name}")
            if await directory.read(name) != content:
                raise Refused(f"{settings.server} gave other bytes of {name} than were written", "Test it again.")
        finally:
            told(f"remove {name}")
            try:
                await directory.remove(name)
            except TrustbridgeError as error:
                error.hint = f"{name} may be left there. {error.hint}".strip()
                raise
        contact = directory.first_contact
    return Probed(len(files), None if contact is None else contact.key)
