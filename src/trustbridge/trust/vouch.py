"""What a Trust Verification Service answers, given the trust stores of its node.

The server runs this over TLS; prediction runs it over collected stores. Rules, from `wire-formats` section 3: an entry
is found by (serial, issuer); *verify* then compares the whole certificate; roles follow from the trust stores that
hold the certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trustbridge.errors import InvalidCertificate
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.names import CertificateKey, certificate_key
from trustbridge.pki.units import Store
from trustbridge.wire.trustlist import Role
from trustbridge.wire.tvs import Message, TvsMessage, response_to

#: Role that membership of a trust store gives. Inferred from a capture in which a CallManager certificate imported to
#: both Phone-SAST-trust and CallManager-trust was answered with {0, 3}.
STORE_ROLES = {
    Store.PHONE_SAST_TRUST: Role.SAST,
    Store.CALLMANAGER_TRUST: Role.TFTP,
    Store.TOMCAT_TRUST: Role.APP_SERVER,
}

#: Seconds a phone may keep a positive answer, as in the captures.
TIME_TO_LIVE = 86400


@dataclass(frozen=True, slots=True)
class Vouched:
    """A certificate a TVS vouches for, and the trust-list roles it gives it, in ascending order."""

    certificate: Certificate
    roles: tuple[int, ...]


class VouchIndex:
    """The certificates one TVS vouches for, found as phones ask for them."""

    def __init__(self, entries: dict[CertificateKey, Vouched], time_to_live: int = TIME_TO_LIVE) -> None:
        self._entries = entries
        self.time_to_live = time_to_live

    @classmethod
    def from_stores(cls, stores: Iterable[tuple[Store, Certificate]], time_to_live: int = TIME_TO_LIVE) -> VouchIndex:
        """Index what `stores` hold. Stores that give no role do not count.

        Two certificates with one (serial, issuer): the first wins, as a lookup by that pair can only find one (TB108).
        A certificate whose issuer can't be read is left out: nobody can ask for it, and one odd entry in a store must
        not keep the others from being vouched for.
        """
        found: dict[CertificateKey, tuple[Certificate, set[int]]] = {}
        for store, certificate in stores:
            role = STORE_ROLES.get(store)
            if role is None:
                continue
            try:
                key = certificate.key
            except InvalidCertificate:
                continue
            known, roles = found.setdefault(key, (certificate, set()))
            if known == certificate:
                roles.add(int(role))
        return cls(
            {key: Vouched(certificate, tuple(sorted(roles))) for key, (certificate, roles) in found.items()},
            time_to_live,
        )

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Vouched]:
        return iter(self._entries.values())

    def find(self, key: CertificateKey) -> Vouched | None:
        """What is known under this serial and issuer."""
        return self._entries.get(key)

    def answer(self, request: TvsMessage) -> TvsMessage:
        """The response to a verify or query request.

        Raises:
            ValueError: `request` is a response.
        """
        if request.message is Message.QUERY_REQUEST:
            found = self.find(certificate_key(request.serial or 0, request.issuer or ""))
        elif request.message is Message.VERIFY_REQUEST:
            found = self._find_certificate(request.certificate or b"")
        else:
            raise ValueError(f"{request.message.name} is not a request")
        if found is None:
            return response_to(request, certificate=None)
        return response_to(
            request,
            certificate=found.certificate.der,
            roles=found.roles,
            time_to_live=self.time_to_live,
        )

    def _find_certificate(self, der: bytes) -> Vouched | None:
        try:
            certificate = Certificate.from_der(der)
            found = self.find(certificate.key)
        except InvalidCertificate:
            return None
        return found if found is not None and found.certificate == certificate else None
