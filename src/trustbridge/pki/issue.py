"""Identities for labs: certificates with their keys, made as Unified CM makes them.

Subjects stand least specific first in the DER, so that the text reads `CN=…;OU=…;O=…;L=…;ST=…;C=…`. Self-signed
certificates last five years and have 16-byte serial numbers, as a cluster's own. Keys are random; the clock is an
argument.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trustbridge.errors import InvalidCertificate, SettingsError
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Unit

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
KeyName = Literal["rsa1024", "rsa2048", "rsa3072", "rsa4096", "p256", "p384"]

#: Validity of a cluster's self-signed certificates in days: five years.
FIVE_YEARS: Final = 1826
#: Key of the -ECDSA units.
ECDSA_KEY: Final[KeyName] = "p384"

_RSA_BITS: Final = {"rsa1024": 1024, "rsa2048": 2048, "rsa3072": 3072, "rsa4096": 4096}
_CURVES: Final[dict[str, ec.EllipticCurve]] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}
_PURPOSES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True, slots=True)
class Organisation:
    """The part of a subject a whole cluster shares; empty fields are left out.

    Attributes:
        ou: organisational unit. o: organisation. l: locality. st: state. c: country, two letters.
    """

    ou: str = ""
    o: str = ""
    l: str = ""  # noqa: E741 - the field's own name
    st: str = ""
    c: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key.

    Attributes:
        node: who holds it: a node's name, a phone's (`SEP001122334455`), or "" for an authority outside a cluster.
        unit: what it is for; CAPF for authorities and phones' certificates too.
        certificate: the certificate.
        private_key: its key; never shown, compared or pickled.
    """

    node: str
    unit: Unit
    certificate: Certificate
    private_key: PrivateKey = field(repr=False, compare=False)

    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS#8 PEM, for files only their owner can read."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @classmethod
    def from_pem(
        cls, *, node: str, unit: Unit, certificate: bytes | str, key: bytes, test_key: bool = True
    ) -> Identity:
        """The reverse of `certificate.pem()` and `key_pem()`.

        Args:
            test_key: whether an RSA key's factors are tested for being primes: 20 ms a key, for keys from elsewhere.

        Raises:
            InvalidCertificate: either is unreadable, or the key is not the certificate's.
        """
        held = Certificate.from_pem(certificate)
        try:
            private_key = load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=not test_key)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The library's own words may quote the input; a key must not reach a message.
            raise InvalidCertificate(
                f"the private key of {held.subject} can't be read", "an unencrypted PEM file is expected"
            ) from None
        if not isinstance(private_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise InvalidCertificate(f"the private key of {held.subject} is neither RSA nor EC")
        encoding = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if private_key.public_key().public_bytes(*encoding) != held.public_key.public_bytes(*encoding):
            raise InvalidCertificate(f"the private key given is not that of {held.subject}")
        return cls(node, unit, held, private_key)


def self_signed(
    *,
    node: str,
    unit: Unit,
    common_name: str,
    organisation: Organisation,
    now: datetime,
    days: int = FIVE_YEARS,
    key: KeyName = "rsa2048",
    dns_names: Sequence[str] = (),
    serial: int | None = None,
) -> Identity:
    """A self-signed identity, as a fresh cluster makes them. A CAPF identity can sign phones' certificates.

    Args:
        now: start of validity, with a time zone.
        days: length of validity; negative ones give an expired certificate.
        dns_names: for the subject alternative name; IP addresses among them become IP entries.
        serial: a positive number of at most 20 bytes; 16 random bytes when None.

    Raises:
        SettingsError: a name that can't stand in a certificate.
    """
    return _issue(
        node=node,
        unit=unit,
        common_name=common_name,
        organisation=organisation,
        now=now,
        days=days,
        key=key,
        names=dns_names,
        serial=serial,
        signs=_Signs.PHONES if unit is Unit.CAPF else _Signs.NOTHING,
    )


def signed_by(
    ca: Identity,
    *,
    node: str,
    unit: Unit,
    common_name: str,
    organisation: Organisation,
    now: datetime,
    days: int = FIVE_YEARS,
    key: KeyName = "rsa2048",
    dns_names: Sequence[str] = (),
    serial: int | None = None,
) -> Identity:
    """An identity signed by `ca`; what a cluster's CAPF signs is a phone's certificate and never an authority.

    Arguments and errors as `self_signed`.
    """
    return _issue(
        node=node,
        unit=unit,
        common_name=common_name,
        organisation=organisation,
        now=now,
        days=days,
        key=key,
        names=dns_names,
        serial=serial,
        signs=_Signs.PHONES if unit is Unit.CAPF and ca.node == "" else _Signs.NOTHING,
        ca=ca,
    )


def authority(
    common_name: str,
    organisation: Organisation,
    now: datetime,
    *,
    days: int = 2 * FIVE_YEARS,
    key: KeyName = "rsa2048",
    serial: int | None = None,
) -> Identity:
    """A throwaway certificate authority outside any cluster (its node is ""). Errors as `self_signed`."""
    return _issue(
        node="",
        unit=Unit.CAPF,
        common_name=common_name,
        organisation=organisation,
        now=now,
        days=days,
        key=key,
        serial=serial,
        signs=_Signs.AUTHORITIES,
    )


def locally_significant(
    capf: Identity,
    *,
    device: str,
    organisation: Organisation,
    now: datetime,
    days: int = FIVE_YEARS,
    key: KeyName = "rsa2048",
    serial: int | None = None,
) -> Identity:
    """A phone's locally significant certificate (LSC): `CN=<device>`, signed by its cluster's CAPF."""
    return signed_by(
        capf,
        node=device,
        unit=Unit.CAPF,
        common_name=device,
        organisation=organisation,
        now=now,
        days=days,
        key=key,
        serial=serial,
    )


def node_identities(
    node: str,
    *,
    domain: str,
    organisation: Organisation,
    now: datetime,
    publisher: bool,
    itlrecovery: bool,
    ca: Identity | None = None,
    key: KeyName = "rsa2048",
    ecdsa: bool = True,
    addresses: Sequence[str] = (),
) -> list[Identity]:
    """The identities of one node: CallManager, tomcat and TVS, as told -ECDSA ones, CAPF and ITLRecovery.

    Args:
        node: host name without domain; the certificates' common names are made of both.
        publisher: whether the node has a CAPF certificate in use.
        itlrecovery: whether the node holds the cluster's ITLRecovery identity (one a cluster, on the publisher).
        ca: signs CallManager, tomcat and TVS. CAPF and ITLRecovery are self-signed as they are by default.
        key: of every RSA identity.
        addresses: IP addresses of the node, for the subject alternative names.

    Raises:
        SettingsError: a name that can't stand in a certificate.
    """
    suffix = f".{domain}" if domain else ""
    host = node + suffix

    def made(unit: Unit, name: str, kind: KeyName, *names: str, ca: Identity | None = None) -> Identity:
        signs = _Signs.PHONES if unit is Unit.CAPF else _Signs.NOTHING
        return _issue(
            node=node,
            unit=unit,
            common_name=name,
            organisation=organisation,
            now=now,
            key=kind,
            names=names,
            signs=signs,
            ca=ca,
        )

    found: list[Identity] = []
    for unit, ecdsa_unit in ((Unit.CALLMANAGER, Unit.CALLMANAGER_ECDSA), (Unit.TOMCAT, Unit.TOMCAT_ECDSA)):
        found.append(made(unit, host, key, host, *addresses, ca=ca))
        if ecdsa:
            ec_host = f"{node}-EC{suffix}"
            found.append(made(ecdsa_unit, ec_host, ECDSA_KEY, ec_host, host, *addresses, ca=ca))
    found.append(made(Unit.TVS, host, key, host, *addresses, ca=ca))
    if publisher:
        found.append(made(Unit.CAPF, f"CAPF-{secrets.token_hex(4)}", key))
    if itlrecovery:
        found.append(made(Unit.ITLRECOVERY, f"ITLRECOVERY_{host}", key, host))
    return found


class _Signs(Enum):
    """Which certificates a certificate may sign."""

    NOTHING = 0
    PHONES = 1
    AUTHORITIES = 2


def _random_serial() -> int:
    """16 bytes in DER: neither a sign bit nor a leading zero byte."""
    return 1 << 126 | secrets.randbits(126)


def _private_key(key: KeyName) -> PrivateKey:
    if key in _CURVES:
        return ec.generate_private_key(_CURVES[key])
    return rsa.generate_private_key(65537, _RSA_BITS[key])


def _name(common_name: str, organisation: Organisation) -> x509.Name:
    values = (
        (NameOID.COUNTRY_NAME, organisation.c),
        (NameOID.STATE_OR_PROVINCE_NAME, organisation.st),
        (NameOID.LOCALITY_NAME, organisation.l),
        (NameOID.ORGANIZATION_NAME, organisation.o),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, organisation.ou),
        (NameOID.COMMON_NAME, common_name),
    )
    try:
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in values if value])
    except ValueError as error:
        raise SettingsError(
            f"{common_name!r} and its organisation can't be a certificate's subject: {error}",
            "a common name has at most 64 characters, a country two letters",
        ) from error


def _alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            try:
                found.append(x509.DNSName(name))
            except ValueError as error:
                raise SettingsError(
                    f"{name!r} can't stand in a certificate: {error}", "use ASCII host names"
                ) from error
    return x509.SubjectAlternativeName(found)


def _key_usage(private_key: PrivateKey, signs: _Signs) -> x509.KeyUsage:
    signs_any = signs is not _Signs.NOTHING
    is_rsa = isinstance(private_key, rsa.RSAPrivateKey)
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=is_rsa,
        data_encipherment=is_rsa,
        key_agreement=not is_rsa,
        key_cert_sign=signs_any,
        crl_sign=signs_any,
        encipher_only=False,
        decipher_only=False,
    )


def _issue(
    *,
    node: str,
    unit: Unit,
    common_name: str,
    organisation: Organisation,
    now: datetime,
    days: int = FIVE_YEARS,
    key: KeyName,
    names: Sequence[str] = (),
    serial: int | None = None,
    signs: _Signs,
    ca: Identity | None = None,
) -> Identity:
    private_key = _private_key(key)
    public_key = private_key.public_key()
    subject = _name(common_name, organisation)
    # Seconds are what a certificate holds. It must not end before it starts: an expired one starts earlier.
    start = now.astimezone(UTC).replace(microsecond=0)
    end = start + timedelta(days=days)
    start = min(start, end - timedelta(days=1))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if ca is None else ca.certificate.x509.subject)
        .public_key(public_key)
        .serial_number(_random_serial() if serial is None else serial)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(_key_usage(private_key, signs), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_PURPOSES), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    if signs is not _Signs.NOTHING:
        path_length = 0 if signs is _Signs.PHONES else None
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    if names:
        builder = builder.add_extension(_alternative_names(names), critical=False)
    signer = private_key
    if ca is not None:
        signer = ca.private_key
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    certificate = builder.sign(signer, SHA256())
    return Identity(node, unit, Certificate.from_der(certificate.public_bytes(Encoding.DER)), private_key)
