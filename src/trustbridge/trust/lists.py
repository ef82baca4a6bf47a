"""Build, sign and verify trust lists and signed files.

What goes into a cluster's lists is `itl_entries` and `ctl_entries` (source: `domain`, "Trust lists a cluster builds").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from trustbridge.errors import InvalidCertificate, SignatureRefused, TrustbridgeError
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import PrivateKey
from trustbridge.wire import signedfile, signedheader, trustlist
from trustbridge.wire.signedfile import SignedFile
from trustbridge.wire.signedheader import Digest, SignedHeader
from trustbridge.wire.trustlist import Record, Role, TrustListFile

_HASHES: dict[int, hashes.HashAlgorithm] = {
    Digest.SHA1: hashes.SHA1(),  # noqa: S303 - what the phones' file format says; old models know no other
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA512: hashes.SHA512(),
}
_PKCS1V15 = padding.PKCS1v15()


@dataclass(frozen=True, slots=True)
class ListedCertificate:
    """A certificate as a trust list will name it; `certificate` None makes a blank record."""

    role: Role
    dns_name: str
    certificate: Certificate | None

    def record(self) -> Record:
        """The record for it."""
        return _record(self)


@lru_cache(maxsize=1024)
def _record(listed: ListedCertificate) -> Record:
    """Made once: the lists of a cluster's nodes name mostly the same certificates, and so do the next ones."""
    if listed.certificate is None:
        return trustlist.blank_record(role=listed.role, dns_name=listed.dns_name)
    return trustlist.record(
        role=listed.role,
        dns_name=listed.dns_name,
        subject=listed.certificate.subject,
        issuer=listed.certificate.issuer,
        serial=listed.certificate.serial,
        public_key=listed.certificate.public_key_value,
        signature=listed.certificate.signature_value,
        certificate=listed.certificate.der,
    )


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate and its key, as they sign a node's files. Only an RSA key of some lengths can: see `header`."""

    certificate: Certificate
    private_key: PrivateKey

    def __repr__(self) -> str:
        return f"Signer({self.certificate.subject})"

    def _rsa_key(self) -> rsa.RSAPrivateKey:
        if not isinstance(self.private_key, rsa.RSAPrivateKey):
            raise TrustbridgeError(
                f"{self.certificate.subject} has an elliptic-curve key, which can't sign trust lists",
                "Trust lists and configuration files are signed by the RSA CallManager or ITLRecovery certificate.",
            )
        return self.private_key

    def header(self, *, version: tuple[int, int], file_name: str, now: datetime, digest: Digest) -> SignedHeader:
        """An unsigned header in this signer's name.

        Raises:
            TrustbridgeError: an elliptic-curve key, or an RSA key whose length has no code in the format (RSA 3072).
        """
        bits = self._rsa_key().key_size
        length = (bits + 7) // 8
        if length not in signedheader.MODULUS_CODE:
            raise TrustbridgeError(
                f"{self.certificate.subject} has an RSA key of {bits} bits, which can't sign trust lists",
                "Signed files know RSA keys of 512, 1024, 2048 and 4096 bits; renew the certificate with one of these.",
            )
        return signedheader.build(
            version=version,
            signer_version=signedheader.SIGNER_VERSION if version == signedheader.TRUST_LIST_VERSION else None,
            signer_name=self.certificate.subject,
            serial=self.certificate.serial,
            ca_name=self.certificate.issuer,
            digest=digest,
            signature_length=length,
            file_name=file_name,
            timestamp=int(now.timestamp()),
        )

    def sign(self, header: SignedHeader, body: bytes) -> SignedHeader:
        """`header`, which `self.header` made, with the signature over itself and `body`."""
        covered = header.signed_bytes(header.encode() + body)
        signature = self._rsa_key().sign(covered, _PKCS1V15, _HASHES[header.digest])
        return header.with_signature(signature)


def build_trust_list(
    entries: Iterable[ListedCertificate],
    signer: Signer,
    *,
    file_name: str,
    now: datetime,
    digest: Digest = Digest.SHA1,
) -> TrustListFile:
    """A signed trust list.

    Raises:
        TrustbridgeError: the signer's key can't sign trust lists.
    """
    records = tuple(entry.record() for entry in entries)
    header = signer.header(version=signedheader.TRUST_LIST_VERSION, file_name=file_name, now=now, digest=digest)
    return TrustListFile(signer.sign(header, trustlist.encode_records(records)), records)


def sign_file(
    content: bytes, signer: Signer, *, file_name: str, now: datetime, digest: Digest = Digest.SHA1
) -> SignedFile:
    """`content` as a signed file (`*.sgn`).

    Raises:
        TrustbridgeError: the signer's key can't sign.
    """
    header = signer.header(version=signedheader.SIGNED_FILE_VERSION, file_name=file_name, now=now, digest=digest)
    return SignedFile(signer.sign(header, content), content)


def check_signature(header: SignedHeader, file: bytes, certificate: Certificate) -> None:
    """That `certificate`'s key made the signature of `file`, whose header is `header`.

    Raises:
        SignatureRefused: it did not, or the algorithm is one we do not know.
    """
    digest = _HASHES.get(header.digest)
    name = header.file_name or "the file"
    if digest is None:
        raise SignatureRefused(f"{name}: unknown digest algorithm {header.digest}")
    if header.signature_algorithm != 0:
        raise SignatureRefused(f"{name}: unknown signature algorithm {header.signature_algorithm}")
    try:
        key = certificate.public_key
    except InvalidCertificate as error:
        raise SignatureRefused(f"{name}: {error.message}") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise SignatureRefused(f"{name}: signer {certificate.subject} has no RSA key")
    try:
        key.verify(header.signature, header.signed_bytes(file), _PKCS1V15, digest)
    except InvalidSignature:
        raise SignatureRefused(
            f"{name}: the signature does not hold for {certificate.subject}",
            "The file was changed after it was signed, or signed with another key.",
        ) from None


def decode_signed(data: bytes) -> TrustListFile | SignedFile:
    """Either kind of signed file, told apart by its version.

    Raises:
        DecodeError: it is neither.
    """
    return trustlist.decode(data) if signedheader.decode(data).of_trust_list else signedfile.decode(data)


@dataclass(frozen=True, slots=True)
class NodeCertificates:
    """What a trust list needs to know of one node. Unit names as in `pki.units`."""

    name: str
    callmanager: Certificate
    tvs: Certificate
    runs_tftp: bool
    callmanager_ecdsa: Certificate | None = None


def itl_entries(
    own: NodeCertificates,
    nodes: Sequence[NodeCertificates],
    *,
    publisher: str,
    signer: Certificate,
    itl_recovery: Certificate | None,
    capf: Certificate | None,
    blank: bool = False,
) -> list[ListedCertificate]:
    """What the ITL of TFTP node `own` lists.

    SAST for the signer, its CallManager and ITLRecovery; CCM+TFTP for its CallManager certificate; TVS for every
    node; CAPF; TFTP for the other TFTP nodes. `blank` (cluster prepared for rollback): the same roles without
    certificates.
    """
    listed = [ListedCertificate(Role.SAST, own.name, own.callmanager)]
    for certificate in (signer, itl_recovery):
        if certificate is not None and all(entry.certificate != certificate for entry in listed):
            listed.append(ListedCertificate(Role.SAST, publisher, certificate))
    listed.append(ListedCertificate(Role.CCM_TFTP, own.name, own.callmanager))
    listed += [ListedCertificate(Role.TVS, node.name, node.tvs) for node in nodes]
    if capf is not None:
        listed.append(ListedCertificate(Role.CAPF, publisher, capf))
    listed += [
        ListedCertificate(Role.TFTP, node.name, node.callmanager)
        for node in nodes
        if node.runs_tftp and node.name != own.name
    ]
    if blank:
        return [ListedCertificate(entry.role, entry.dns_name, None) for entry in listed]
    return listed


def ctl_entries(
    nodes: Sequence[NodeCertificates],
    *,
    publisher: str,
    itl_recovery: Certificate | None,
    capf: Certificate | None,
) -> list[ListedCertificate]:
    """What the CTL of a cluster in mixed mode (tokenless) lists.

    SAST for the publisher's CallManager certificate and ITLRecovery, CCM+TFTP for every node, CAPF.
    """
    by_name = {node.name: node for node in nodes}
    listed = [ListedCertificate(Role.SAST, publisher, by_name[publisher].callmanager)]
    if itl_recovery is not None:
        listed.append(ListedCertificate(Role.SAST, publisher, itl_recovery))
    listed += [ListedCertificate(Role.CCM_TFTP, node.name, node.callmanager) for node in nodes]
    if capf is not None:
        listed.append(ListedCertificate(Role.CAPF, publisher, capf))
    return listed
