"""A lab phone's flash on disk: its trust lists, its configuration, its LSC. What a phone forgets, it forgets here."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from trustbridge import atomicfile
from trustbridge.errors import InvalidCertificate
from trustbridge.pki.issue import Identity
from trustbridge.pki.units import Unit
from trustbridge.trust.events import Flash, Kept

_FILES = {Kept.CTL: "CTLFile.tlv", Kept.ITL: "ITLFile.tlv", Kept.CONFIGURATION: "configuration.xml"}
_LSC, _LSC_KEY = "lsc.pem", "lsc.key"


@dataclass(frozen=True, slots=True)
class FlashFolder:
    """A folder a phone; each file is replaced in one step."""

    path: Path

    def read(self) -> Flash:
        """What the phone has kept."""
        lsc = self.lsc()
        return Flash(
            ctl=self.kept(Kept.CTL),
            itl=self.kept(Kept.ITL),
            configuration=self.kept(Kept.CONFIGURATION),
            lsc=None if lsc is None else lsc.certificate.der,
        )

    def kept(self, kept: Kept) -> bytes | None:
        """One of the files, None where absent."""
        try:
            return (self.path / _FILES[kept]).read_bytes()
        except FileNotFoundError:
            return None

    def mark(self, kept: Kept) -> tuple[int, int, int] | None:
        """What tells one of the files from another one that was there before or will be; None where absent."""
        try:
            status = os.stat(f"{self.path}/{_FILES[kept]}")  # noqa: PTH116  (a Path costs more)
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def write(self, kept: Kept, content: bytes) -> None:
        """Install a file."""
        # Not flushed to disk: a power cut in the middle of a rehearsal loses nothing worth half the rehearsal's time.
        atomicfile.write(self.path / _FILES[kept], content, durable=False)

    def lsc(self) -> Identity | None:
        """The phone's locally significant certificate and its key.

        Raises:
            InvalidCertificate: they can't be read, or do not belong together.
        """
        try:
            certificate, key = (self.path / _LSC).read_bytes(), (self.path / _LSC_KEY).read_bytes()
        except FileNotFoundError:
            return None
        return Identity.from_pem(node=self.path.name, unit=Unit.CAPF, certificate=certificate, key=key)

    @property
    def has_lsc(self) -> bool:
        """Whether there is a usable LSC with its key; one that can't be read counts as none."""
        try:
            return self.lsc() is not None
        except InvalidCertificate:
            return False

    def write_lsc(self, lsc: Identity) -> None:
        """Install a locally significant certificate."""
        atomicfile.write(self.path / _LSC_KEY, lsc.key_pem(), durable=False)
        atomicfile.write(self.path / _LSC, lsc.certificate.pem().encode(), durable=False)

    def erase_trust(self) -> None:
        """Delete the trust lists, as somebody does by hand at the phone."""
        for kept in (Kept.CTL, Kept.ITL):
            (self.path / _FILES[kept]).unlink(missing_ok=True)

    def checksum(self) -> str:
        """SHA-256 over all that is kept, to prove that nothing changed."""
        digest = hashlib.sha256()
        flash = self.read()
        for content in (flash.ctl, flash.itl, flash.configuration, flash.lsc):
            digest.update(b"-" if content is None else hashlib.sha256(content).digest())
        return digest.hexdigest()
