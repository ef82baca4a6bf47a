"""TLS as a node's services and a phone use it: one identity, contexts made from it, keys kept off the disk.

Contexts are expensive (tens of kilobytes and most of a millisecond each): a server builds one and keeps it, and
all phones without a certificate of their own share one.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from trustbridge.errors import SettingsError

if TYPE_CHECKING:
    from trustbridge.pki.certificate import Certificate
    from trustbridge.pki.issue import Identity

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey

# Old phones (7900 series and before) know TLS 1.0 and RSA key exchange only, and their clusters 1024-bit keys
# and SHA-1 signatures: all of that needs OpenSSL's security level 0. Anonymous and null ciphers stay out.
_LEGACY_CIPHERS = "DEFAULT:kRSA+AES:kRSA+3DES:!aNULL:!eNULL:!PSK:!SRP:@SECLEVEL=0"


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """What one side of a TLS connection is: its certificate, and the key that proves it.

    Attributes:
        chain: the own certificate first, then those between it and its root, if any.
        private_key: belongs to `chain[0]`; never shown.
    """

    chain: tuple[Certificate, ...]
    private_key: PrivateKey = field(repr=False, compare=False)

    @classmethod
    def of(cls, identity: Identity, *issuers: Certificate) -> TlsIdentity:
        """The TLS side of a node's or a phone's identity; `issuers` stand between it and its root, if any."""
        return cls((identity.certificate, *issuers), identity.private_key)

    def server_context(
        self,
        *,
        legacy: bool = False,
        client_authorities: Sequence[Certificate] | None = None,
        require_client_certificate: bool = True,
    ) -> ssl.SSLContext:
        """A context that serves this identity: TLS 1.2 or newer, no session tickets, as phones do not resume.

        Args:
            legacy: also speak TLS 1.0 and 1.1, RSA key exchange, SHA-1 and keys under 2048 bits, for phones
                that know nothing better. What that weakens: who records the traffic can read it once the
                server's key leaks (no forward secrecy), and an attacker between the two can talk newer phones
                down to it. Leave it off unless such phones are there.
            client_authorities: who may have issued a client's certificate; each is a trust anchor by itself,
                also when it is not self-signed. None: no certificate is asked for, and none is refused.
            require_client_certificate: with `client_authorities`, whether a client without one is turned away
                in the handshake; otherwise only a certificate that does not verify is.

        Raises:
            SettingsError: key and certificate do not belong together, or are too weak without `legacy`.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_SSLv3
        context.num_tickets = 0
        _set_floor(context, legacy)
        _load(context, self)
        if client_authorities is not None:
            context.verify_mode = ssl.CERT_REQUIRED if require_client_certificate else ssl.CERT_OPTIONAL
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            # One at a time: an empty set is no error here, and means that nobody's certificate verifies.
            for authority in client_authorities:
                context.load_verify_locations(cadata=authority.der)
        return context


def client_context(identity: TlsIdentity | None = None, *, legacy: bool = False) -> ssl.SSLContext:
    """A context for a phone's side. It verifies **nothing**: a phone knows servers by its trust list and not by
    authorities, so the caller looks at the peer's certificate after the handshake, before it sends anything.

    Args:
        identity: the phone's own certificate (LSC) and key. Without one the context is built once and shared.
        legacy: as in `TlsIdentity.server_context`.

    Raises:
        SettingsError: key and certificate do not belong together, or are too weak without `legacy`.
    """
    if identity is None:
        return _anonymous_context(legacy)
    context = _unverified_context(legacy)
    _load(context, identity)
    return context


def tls_reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason in words, as `wrong version number`."""
    return (error.reason or type(error).__name__).lower().replace("_", " ")


@lru_cache(maxsize=2)
def _anonymous_context(legacy: bool) -> ssl.SSLContext:
    return _unverified_context(legacy)


def _unverified_context(legacy: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_TICKET
    _set_floor(context, legacy)
    return context


def _set_floor(context: ssl.SSLContext, legacy: bool) -> None:
    if legacy:
        # MINIMUM_SUPPORTED is TLS 1.0 in every OpenSSL of today (SSL 3 is off by option besides); naming TLSv1
        # itself would only warn, on every start, of what `legacy` has said already.
        context.options |= ssl.OP_NO_SSLv3
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers(_LEGACY_CIPHERS)
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_2


def _load(context: ssl.SSLContext, identity: TlsIdentity) -> None:
    key = identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = "".join(ssl.DER_cert_to_PEM_cert(certificate.der) for certificate in identity.chain)
    with _private_file(key + chain.encode("ascii")) as path:
        try:
            context.load_cert_chain(path)
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            raise SettingsError(
                f"TLS cannot use this certificate and key: {reason}",
                "check that they belong together; keys under 2048 bits need the legacy TLS switch",
            ) from error


@contextlib.contextmanager
def _private_file(content: bytes) -> Iterator[str]:
    """A path that holds `content` for a moment: `ssl` loads keys from files only.

    Memory, where the system has anonymous files (Linux); else a file of mode 0600, removed at once.
    """
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("trustbridge-identity")
        try:
            os.fchmod(descriptor, 0o600)
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    descriptor, path = tempfile.mkstemp(prefix="trustbridge-")  # mkstemp creates with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        yield path
    finally:
        Path(path).unlink()
