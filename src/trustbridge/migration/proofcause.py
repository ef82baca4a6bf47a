"""Why a TVS does not vouch for a signer as it should, by what its node's stores and the database tell. Pure.

The answer itself is a fact; the cause is said only as far as something was read that shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trustbridge.errors import InvalidCertificate
from trustbridge.migration.proofseen import VOUCH_STORES, ClusterSeen, NodeSeen, Signer
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.names import CertificateKey, canonical_name, certificate_key, short_name
from trustbridge.pki.units import Store


@dataclass(frozen=True, slots=True)
class Cause:
    """The id of a finding, and in words what shows it."""

    id: str
    words: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """A certificate somewhere, as far as that place tells."""

    subject: str
    key: CertificateKey
    words: str


def why_denied(signer: Signer, node: NodeSeen, asking: ClusterSeen, vouched: ClusterSeen, vouchers: int) -> Cause:
    """Why a TVS answered "not valid".

    Args:
        node: whose TVS it is, in `asking`.
        vouched: the signer's cluster.
        vouchers: how many other TVS of `asking` vouch for the signer.
    """
    held = _entries(node.vouches_from)
    if held is not None and _holds(node, signer):
        return Cause("TB103", f"it is in {' and '.join(_stores_with(node, signer))} of {node.name}")
    elsewhere = "" if node.publisher else _publisher_has(signer, asking)
    if elsewhere:
        here = f"in no store of {node.name}" if held is not None else f"the stores of {node.name} were not read"
        return Cause("TB102", f"{elsewhere}; {here}")
    if held is None and node.publisher and _listed(signer, asking):
        return Cause("TB103", f"listTvsCertificate of {asking.name} names it; the stores of {node.name} were not read")
    if held is None and vouchers:
        return Cause("TB102", f"{vouchers} other TVS of {asking.name} vouch for it; its stores were not read")
    if held is not None:
        place = f"{VOUCH_STORES[0]} and {VOUCH_STORES[1]} of {node.name}"
    else:
        held, place = _database(asking), f"listTvsCertificate of {asking.name}"
    if held is None:
        return Cause("TB101", f"neither the stores of {node.name} nor listTvsCertificate were read: the answer is all")
    # Clusters that replace one another bear the same host names: what is the asked cluster's own is no former signer.
    own = {_key(one.certificate) for one in asking.identities} | {_key(one) for one in asking.callmanagers}
    return _missing(signer, [one for one in held if one.key not in own], place, vouched)


def _missing(signer: Signer, held: Sequence[_Entry], place: str, vouched: ClusterSeen) -> Cause:
    """What is there instead of the signer."""
    # By common name, as trust stores replace: a renewal may change the rest of the subject.
    name = _common_name(signer.subject)
    former = [one for one in held if _common_name(one.subject) == name and one.key != signer.key]
    if former:
        return Cause("TB107", f"{place}: of that name there is only {former[0].words}")
    issuer = canonical_name(signer.issuer)
    if issuer != canonical_name(signer.subject) and any(canonical_name(one.subject) == issuer for one in held):
        return Cause("TB109", f"{place}: there is its issuer {signer.issuer}, not the certificate itself")
    keys = {_key(one) for one in vouched.callmanagers}
    others = sum(one.key in keys for one in held)
    if others and signer.of_recovery:
        return Cause("TB104", f"{place}: there are {others} CallManager certificates of {vouched.name}, no ITLRecovery")
    if others:
        return Cause("TB105", f"{place}: there are {others} other CallManager certificates of {vouched.name}, not it")
    return Cause("TB101", f"{place}: there is no certificate of {vouched.name} that signs or serves files")


def why_no_sast(node: NodeSeen, signer: Signer) -> Cause:
    """Why a TVS vouches for a signer without role SAST."""
    held = node.holding(signer.certificate) if signer.certificate is not None else ()
    if Store.PHONE_SAST_TRUST in held:
        return Cause("TB103", f"{Store.PHONE_SAST_TRUST} of {node.name} holds it: its TVS knows less than its store")
    if Store.PHONE_SAST_TRUST in node.stores:
        return Cause("TB106", f"{Store.PHONE_SAST_TRUST} of {node.name} does not hold it")
    return Cause("TB106", f"{Store.PHONE_SAST_TRUST} of {node.name} was not read")


def twin_in_stores(signer: Signer, node: NodeSeen) -> Certificate | None:
    """Another certificate with the signer's issuer and serial number, in the stores of a node."""
    if signer.certificate is None:
        return None
    for held in node.stores.values():
        for one in held:
            if one != signer.certificate and _key(one) == signer.key:
                return one
    return None


def listed_roles(signer: Signer, asking: ClusterSeen) -> tuple[str, ...] | None:
    """Roles that `listTvsCertificate` gives a signer; None where it does not name it, or was not read."""
    for one in asking.listed or ():
        if certificate_key(one.serial, one.issuer) == signer.key:
            return one.roles
    return None


def _listed(signer: Signer, asking: ClusterSeen) -> bool:
    return listed_roles(signer, asking) is not None


def _publisher_has(signer: Signer, asking: ClusterSeen) -> str:
    """Where the publisher holds a signer, in words; "" where it is not seen to."""
    stores = _stores_with(asking.publisher, signer)
    if stores:
        return f"it is in {' and '.join(stores)} of {asking.publisher.name}, the publisher"
    if asking.publisher.vouches_from is None and _listed(signer, asking):
        return f"listTvsCertificate of {asking.name} names it"
    return ""


def _stores_with(node: NodeSeen, signer: Signer) -> list[str]:
    found = []
    for store in VOUCH_STORES:
        held = node.stores.get(store, ())
        there = signer.certificate in held if signer.certificate is not None else signer.key in map(_key, held)
        if there:
            found.append(str(store))
    return found


def _holds(node: NodeSeen, signer: Signer) -> bool:
    return bool(_stores_with(node, signer))


def _entries(certificates: Iterable[Certificate] | None) -> list[_Entry] | None:
    if certificates is None:
        return None
    entries = []
    for one in certificates:
        key = _key(one)
        if key is not None:
            words = f"{one.subject} from {one.not_before:%Y-%m-%d}, serial {one.serial:X}, SHA-256 {one.sha256}"
            entries.append(_Entry(one.subject, key, words))
    return entries


def _database(asking: ClusterSeen) -> list[_Entry] | None:
    if asking.listed is None:
        return None
    return [
        _Entry(one.subject, certificate_key(one.serial, one.issuer), f"{one.subject}, serial {one.serial:X}")
        for one in asking.listed
    ]


def _common_name(subject: str) -> str:
    return canonical_name(short_name(subject))


def _key(certificate: Certificate) -> CertificateKey | None:
    try:
        return certificate.key
    except InvalidCertificate:
        return None
