"""What a lab node answers over HTTPS: certificate management, over the cluster's own certificates and stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from trustbridge.lab.accounts import Verdict
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.profiles import ReleaseProfile
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store, Unit
from trustbridge.services.asgi import Access, App, application, by_prefix
from trustbridge.services.certmgr import (
    BASE,
    REALM,
    SigningRequest,
    Style,
    TrustedFile,
    certificate_management,
)

_CURVES: Final[Mapping[int, ec.EllipticCurve]] = {256: ec.SECP256R1(), 384: ec.SECP384R1(), 521: ec.SECP521R1()}
_HASHES: Final[Mapping[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_ACCESS: Final = {
    Verdict.OK: Access.GRANTED,
    Verdict.WRONG_PASSWORD: Access.UNKNOWN,
    Verdict.NO_RIGHT: Access.NO_RIGHT,
}


class NodeCertificates:
    """Certificate management of one node: a `CertificateBackend` over its cluster."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster = cluster
        self._node = node

    @property
    def server(self) -> str:
        """The node's name with its domain."""
        domain = self._cluster.definition.domain
        return f"{self._node}.{domain}" if domain else self._node

    def identities(self) -> Sequence[tuple[Unit, Certificate]]:
        """In the order of the units."""
        held = self._cluster.identities
        return [(unit, held[self._node, unit].certificate) for unit in Unit if (self._node, unit) in held]

    def trusted(self, store: Store) -> Sequence[TrustedFile]:
        """What the node's copy of a store holds; files are named for common names, as a real node's are."""
        return [
            TrustedFile(f"{entry.certificate.common_name or entry.certificate.sha256[:12]}.pem", entry.certificate)
            for entry in self._cluster.stores[self._node].entries(store)
        ]

    def upload_trust(self, store: Store, certificates: Sequence[Certificate], description: str) -> None:
        """Whichever node is told: what replicates is on all of them, and CAPF-trust is this node's alone (TB147)."""
        nodes = [self._node] if store is Store.CAPF_TRUST else None
        self._cluster.upload_all(store, certificates, nodes)

    def signing_request(self, wanted: SigningRequest) -> str:
        """A real one; its key is dropped, since a lab installs no answer to it."""
        key = (
            rsa.generate_private_key(65537, wanted.key_length)
            if wanted.key_type == "rsa"
            else ec.generate_private_key(_CURVES[wanted.key_length])
        )
        names = dict.fromkeys((wanted.common_name, *wanted.names))
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(
                x509.Name(
                    [
                        x509.NameAttribute(NameOID.COMMON_NAME, wanted.common_name),
                        x509.NameAttribute(NameOID.ORGANIZATION_NAME, self._cluster.definition.organisation),
                    ]
                )
            )
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .sign(key, _HASHES[wanted.hash_name])
        )
        return request.public_bytes(Encoding.PEM).decode("ascii")


def certificate_style(profile: ReleaseProfile) -> Style:
    """How a release spells: the two spellings that are known, one each for 14 and 15. UNVERIFIED which is whose."""
    later = profile.release.split(".")[0].isdigit() and int(profile.release.split(".")[0]) >= 15
    return Style("certificates", wrapped=True, written="unit") if later else Style()


def node_app(cluster: Cluster, node: str, profile: ReleaseProfile, others: Mapping[str, App] | None = None) -> App:
    """All that a node answers over HTTPS; 404 for what its release does not have. `others` by path, as `by_prefix`."""
    apps: dict[str, App] = dict(others or {})
    if profile.rest:
        apps[BASE] = application(
            certificate_management(NodeCertificates(cluster, node), certificate_style(profile)),
            check=lambda user, password: _ACCESS[cluster.accounts.check("os", user, password)],
            realm=REALM,
        )
    return by_prefix(apps)
