"""The console's own certificate, for who has none: made at the first start, kept in the state folder, told by its
fingerprint."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trustbridge import atomicfile
from trustbridge.errors import SettingsError

#: Key and certificate together, so that no crash leaves one without the other.
FILE: Final = "console.pem"
#: As long as browsers take one that was not issued by an authority.
_HOLDS: Final = timedelta(days=825)
#: Renewed when it does not hold for so long any more.
_LEFT: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """Files for a server; `fingerprint` is the certificate's SHA-256, in pairs of digits as browsers show it."""

    certificate: Path
    key: Path
    fingerprint: str


def own_identity(folder: Path, host: str, now: datetime) -> ServerIdentity:
    """The identity kept in a folder; made, and made anew, when there is none, it lacks the name, or is about to end.

    Args:
        folder: the state folder.
        host: where the server listens; "0.0.0.0" and "::" stand for all addresses.

    Raises:
        TrustbridgeError: it can't be kept.
    """
    path = folder / FILE
    names = _names(host)
    with atomicfile.in_words("the console's certificate can't be kept"):
        kept = _kept(path)
        if kept is None or not _serves(kept, names, now):
            atomicfile.private_folder(folder)
            content, kept = _make(names, now)
            atomicfile.write(path, content)
    return ServerIdentity(path, path, _fingerprint(kept))


def given_identity(certificate: Path, key: Path) -> ServerIdentity:
    """Somebody's own certificate and key.

    Raises:
        SettingsError: they can't be read, or are no pair.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password=_no_password)
        found = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ssl.SSLError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(
            f"{certificate} and {key} can't be used as the console's certificate and key: {why}",
            "Both are PEM files; the key has no passphrase, and is the certificate's.",
        ) from None
    return ServerIdentity(certificate, key, _fingerprint(found))


def _no_password() -> str:
    raise ValueError("the key has a passphrase")


def _names(host: str) -> list[str]:
    found = ["localhost", "127.0.0.1", "::1"]
    with contextlib.suppress(OSError):
        found += [socket.gethostname(), socket.getfqdn()]
    if host not in ("", "0.0.0.0", "::"):  # noqa: S104 - nothing is bound here
        found.append(host)
    return list(dict.fromkeys(name for name in found if name and name.isascii() and len(name) <= 64))


def _general(names: Iterable[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _kept(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except FileNotFoundError:
        return None
    except ValueError:  # half of a file, or somebody's own: it is replaced
        return None


def _serves(kept: x509.Certificate, names: list[str], now: datetime) -> bool:
    try:
        held = kept.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return kept.not_valid_before_utc <= now < kept.not_valid_after_utc - _LEFT and set(_general(names)) <= set(held)


def _make(names: list[str], now: datetime) -> tuple[bytes, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trustbridge console")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _HOLDS)
        .add_extension(x509.SubjectAlternativeName(_general(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return text + made.public_bytes(serialization.Encoding.PEM), made


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()
