"""A Trust Verification Service over a directory of trust stores, for sites that run phones without Unified CM.

It follows changes of the stores and of its own identity while it runs, without dropping a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from trustbridge import atomicfile
from trustbridge.clients.tls import TlsIdentity
from trustbridge.errors import SettingsError, TrustbridgeError
from trustbridge.pki.certificate import read_certificates
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services.storefolder import Contents, StoreFolder, log_faulty
from trustbridge.services.tvs import TvsServer, start_tvs
from trustbridge.services.workers import Seat
from trustbridge.trust.vouch import TIME_TO_LIVE, VouchIndex

_log = structlog.stdlib.get_logger(__name__)

#: Seconds between looks at the files.
LOOK_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Where the service's own certificate (PEM or DER, the certificates above it may follow) and key (PEM) lie."""

    certificate: Path
    key: Path

    def load(self) -> TlsIdentity:
        """The identity.

        Raises:
            SettingsError: a file is missing or unreadable, or the key is encrypted or no RSA or EC key.
            InvalidCertificate: the certificate file holds none.
        """
        chain = tuple(read_certificates(_content(self.certificate, "certificate")))
        data = _content(self.key, "private key")
        try:
            key = load_pem_private_key(data, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The library's own words may quote the input; a key must not reach a message.
            raise SettingsError(
                f"The private key in {self.key} can't be read", "An unencrypted PEM file is expected."
            ) from None
        if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
            raise SettingsError(f"The private key in {self.key} is neither RSA nor EC")
        return TlsIdentity(chain, key)

    def exist(self) -> bool:
        """Whether both files are there."""
        return self.certificate.exists() and self.key.exists()

    def create(self, common_name: str, now: datetime) -> None:
        """Make a self-signed TVS identity in these files, readable by their owner only.

        Raises:
            SettingsError: they can't be written, or the name can't stand in a certificate.
        """
        made = self_signed(
            node=common_name, unit=Unit.TVS, common_name=common_name, organisation=Organisation(), now=now
        )
        try:
            for path, content in ((self.key, made.key_pem()), (self.certificate, made.certificate.pem().encode())):
                atomicfile.private_folder(path.parent)
                atomicfile.write(path, content)
        except OSError as error:
            raise SettingsError(f"The identity can't be written to {error.filename}: {error.strerror}") from error

    def marks(self) -> tuple[int, ...]:
        """Changes when a file does; empty while one is missing."""
        with contextlib.suppress(OSError):
            found = (self.certificate.stat(), self.key.stat())
            return tuple(number for status in found for number in (status.st_ino, status.st_mtime_ns, status.st_size))
        return ()


@dataclass(frozen=True, slots=True)
class FolderService:
    """What to serve. Paths only, no key: it may be handed to other processes.

    Attributes:
        directory: of trust stores, see `storefolder`.
        identity: the service's own.
        time_to_live: seconds phones may keep a positive answer.
        legacy_tls: see `start_tvs`.
    """

    directory: Path
    identity: IdentityFiles
    time_to_live: int = TIME_TO_LIVE
    legacy_tls: bool = False


class FolderTvs:
    """A running service over a directory. Made by `start_folder_tvs`.

    Attributes:
        server: the TVS itself.
        index: what it vouches for now.
        contents: what it is made from, and the files passed over.
    """

    def __init__(
        self, service: FolderService, folder: StoreFolder, server: TvsServer, index: VouchIndex, *, quiet: bool
    ) -> None:
        self._service = service
        self._folder = folder
        self.server = server
        self.index = index
        self._tasks = (
            asyncio.create_task(folder.watch(self._take, every=LOOK_EVERY, quiet=quiet)),
            asyncio.create_task(self._watch_identity(service.identity.marks())),
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on."""
        return self.server.address

    @property
    def contents(self) -> Contents:
        """What the stores hold now."""
        return self._folder.contents

    async def stop(self) -> None:
        """Stop watching and serving; again, nothing happens."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.server.stop()

    def _take(self, contents: Contents) -> None:
        self.index = VouchIndex.from_stores(contents.certificates, self._service.time_to_live)
        self.server.set_answer(self.index.answer)
        _log.info("trust stores loaded", certificates=len(self.index), passed_over=len(contents.faulty))

    async def _watch_identity(self, known: tuple[int, ...]) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            marks = self._service.identity.marks()
            if marks == known:
                continue
            known = marks
            try:
                self.server.set_identity(self._service.identity.load())
            except TrustbridgeError as error:
                # One file may have been replaced and the other not yet: the next change is looked at again.
                _log.warning("identity kept as it was", reason=error.message)
            else:
                _log.info("identity loaded", certificate=str(self._service.identity.certificate))


async def start_folder_tvs(
    service: FolderService, *, host: str, port: int, reuse_port: bool = False, quiet: bool = False
) -> FolderTvs:
    """Serve a directory until `stop()`.

    Args:
        quiet: do not say which files are passed over: another process that serves the same does.

    Raises:
        SettingsError: the directory or the identity can't be used.
        InvalidCertificate: the identity's certificate is none.
        PortTaken: address or port can't be had.
    """
    folder = StoreFolder(service.directory)
    folder.refresh()
    if not quiet:
        log_faulty(folder.contents)
    index = VouchIndex.from_stores(folder.contents.certificates, service.time_to_live)
    server = await start_tvs(
        index.answer,
        service.identity.load(),
        host=host,
        port=port,
        legacy_tls=service.legacy_tls,
        reuse_port=reuse_port,
    )
    return FolderTvs(service, folder, server, index, quiet=quiet)


async def work(seat: Seat, service: FolderService) -> None:
    """A worker that serves a directory, for `start_workers`."""
    host, port = seat.address
    running = await start_folder_tvs(service, host=host, port=port, reuse_port=True, quiet=seat.number > 0)
    seat.ready()
    await seat.stopping.wait()
    await running.stop()


def host_name() -> str:
    """This machine's name, to call a new identity by; at most the 64 characters a common name may have."""
    return (socket.getfqdn() or "tvs")[:64]


def _content(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"The TVS's {what} can't be read from {path}: {error.strerror}") from error
