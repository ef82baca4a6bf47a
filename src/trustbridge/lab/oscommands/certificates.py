"""`show cert`, `set cert import`, `set cert delete`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography import x509

from trustbridge.errors import InvalidCertificate, Refused
from trustbridge.lab.oscommands.view import NodeView, command, date_with_zone, table
from trustbridge.pki.certificate import Certificate, KeyKind
from trustbridge.pki.stores import Entry
from trustbridge.pki.units import Store, Unit
from trustbridge.services.clishell import Ask, Command

_SUFFIX: Final = ".pem"
_TRUST: Final = "-trust"
_STORES: Final = {str(store).removesuffix(_TRUST).lower(): store for store in Store}


@dataclass(frozen=True, slots=True)
class FiledCertificate:
    """A certificate as its node names it: `unit` is a unit or a store, `name` a file name without its ending."""

    unit: str
    name: str
    certificate: Certificate

    @property
    def path(self) -> str:
        """As listed and asked for: `tomcat/tomcat.pem`."""
        return f"{self.unit}/{self.name}{_SUFFIX}"


def own_certificates(view: NodeView) -> list[FiledCertificate]:
    """The node's identities. From 12.5 on every node names the cluster's one ITLRecovery."""
    cluster = view.cluster
    held = []
    for unit in Unit:
        node = view.node
        if unit is Unit.ITLRECOVERY and view.profile.one_itl_recovery:
            node = cluster.publisher
        identity = cluster.identities.get((node, unit))
        if identity is not None:
            held.append(FiledCertificate(unit, str(unit), identity.certificate))
    return held


def trusted_certificates(view: NodeView) -> list[FiledCertificate]:
    """What is in the node's trust stores, named by common name; where two would share a name, by serial number too."""
    stores = view.cluster.stores[view.node]
    return [filed for store in Store for filed in _filed(store, _These(stores.entries(store)))[0]]


def _find_trusted(view: NodeView, path: str) -> FiledCertificate:
    """By `STORE/NAME`, with or without the ending."""
    unit, _, name = path.lower().removesuffix(_SUFFIX).partition("/")
    store = next((store for store in Store if store.lower() == unit), None)
    found = None
    if store is not None:
        entries = view.cluster.stores[view.node].entries(store)
        found = _filed(store, _These(entries))[1].get(name)
    if found is None:
        raise Refused(f"The certificate {path} was not found.")
    return found


class _These:
    """Entries of a store as a key of a cache. Comparing a thousand certificates would cost what the cache saves."""

    __slots__ = ("entries",)

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _These) and self.entries is other.entries

    def __hash__(self) -> int:
        return id(self.entries)


@lru_cache(maxsize=256)
def _filed(store: Store, these: _These) -> tuple[list[FiledCertificate], dict[str, FiledCertificate]]:
    """A store's certificates with their names, in order; and by name, in lower case."""
    plain = [file_name(entry.certificate) for entry in these.entries]
    uses = Counter(name.lower() for name in plain)
    filed = []
    for name, entry in zip(plain, these.entries, strict=True):
        full = f"{name}_{entry.certificate.serial:x}" if uses[name.lower()] > 1 else name
        filed.append(FiledCertificate(store, full, entry.certificate))
    # Of two that share even the serial number, the first is found.
    return filed, {one.name.lower(): one for one in reversed(filed)}


def file_name(certificate: Certificate) -> str:
    """The name a node files a certificate under, without its ending."""
    name = certificate.common_name or f"{certificate.serial:x}"
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-._") else "_" for sign in name)


def _find_own(view: NodeView, path: str) -> FiledCertificate:
    """By path, with or without the ending, or by the unit alone."""
    wanted = path.lower().removesuffix(_SUFFIX)
    for one in own_certificates(view):
        if wanted in (f"{one.unit}/{one.name}".lower(), one.unit.lower()):
            return one
    raise Refused(f"The certificate {path} was not found.")


async def show_list(view: NodeView, rest: str) -> Command:
    """`show cert list own`, `trust`: in the form of the release."""
    kind = rest.lower()
    if kind not in ("own", "trust"):
        raise Refused("Syntax: show cert list {own|trust}")
    filed = own_certificates(view) if kind == "own" else trusted_certificates(view)
    if view.profile.certificate_listing == "lines":
        yield table(f"{one.path}: {_description(one, kind)}" for one in filed)
        return
    yield "".join(
        f"Unit: {one.unit}\n"
        f"Type: {kind}\n"
        f"Name: {one.name}\n"
        f"Issuer: {_commas(one.certificate.issuer)}\n"
        f"Expires: {date_with_zone(one.certificate.not_after)}\n\n"
        for one in filed
    )


def _description(one: FiledCertificate, kind: str) -> str:
    if kind == "trust":
        return "Trust Certificate"
    if one.certificate.self_signed:
        return "Self-signed certificate generated by system"
    issuer = x509.load_der_x509_certificate(one.certificate.der).issuer
    names = issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    signer = str(names[0].value) if names else _commas(one.certificate.issuer)
    return f"Certificate Signed by {signer}"


async def show_own(view: NodeView, rest: str) -> Command:
    """`show cert own UNIT/NAME.pem`."""
    yield decoded(_find_own(view, rest).certificate)


async def show_trust(view: NodeView, rest: str) -> Command:
    """`show cert trust STORE/NAME.pem`."""
    yield decoded(_find_trusted(view, rest).certificate)


@lru_cache(maxsize=1024)
def decoded(certificate: Certificate) -> str:
    """A certificate as a node prints it: decoded, then PEM."""
    algorithm = certificate.x509.signature_algorithm_oid
    digest = certificate.x509.signature_hash_algorithm
    kind = {KeyKind.RSA: "RSA (1.2.840.113549.1.1.1)", KeyKind.EC: "EC (1.2.840.10045.2.1)"}.get(
        certificate.key_kind, str(certificate.key_kind)
    )
    signed_with = f"{'' if digest is None else digest.name.upper()}with{certificate.key_kind}"
    key = certificate.public_key_value.hex()
    return (
        "[\n"
        f"  Version: V{certificate.x509.version.value + 1}\n"
        f"  Serial Number: {certificate.serial:X}\n"
        f"  SignatureAlgorithm: {signed_with} ({algorithm.dotted_string})\n"
        f"  Issuer Name: {_commas(certificate.issuer)}\n"
        f"  Validity From: {date_with_zone(certificate.not_before)}\n"
        f"           To:   {date_with_zone(certificate.not_after)}\n"
        f"  Subject Name: {_commas(certificate.subject)}\n"
        f"  Key: {kind}\n"
        f"    Key value: {key}\n"
        "]\n\n"
        f"{certificate.pem()}"
    )


def _commas(name: str) -> str:
    return name.replace(";", ", ")


def _store(unit: str) -> Store:
    """The trust store somebody means by a unit or by a store's name; both are taken.

    How real nodes want Phone-SAST-trust spelt is UNVERIFIED.
    """
    store = _STORES.get(unit.lower().removesuffix(_TRUST))
    if store is None:
        raise Refused(f"Invalid unit {unit}.", f"It can be {', '.join(_STORES)}.")
    return store


async def import_trust(view: NodeView, rest: str) -> Command:
    """`set cert import trust UNIT`: asks for the PEM. The certificate lands on every node, but that of CAPF."""
    unit = rest.split()[0]
    store = _store(unit)
    pasted = yield Ask("Paste the Certificate and Hit Enter", paste=True)
    try:
        certificate = Certificate.from_pem(pasted)
    except InvalidCertificate:
        # Without the reader's own words, which may quote what was pasted.
        raise Refused("Invalid certificate: not imported. One certificate in PEM is expected.") from None
    if certificate.not_after < view.cluster.clock():
        raise Refused(f"The certificate has expired on {certificate.not_after:%Y-%m-%d}: not imported.")
    # A subscriber hands on to the publisher, from where everything replicates.
    nodes = [view.node] if store is Store.CAPF_TRUST else None
    (added,) = view.cluster.upload_trust(store, certificate, nodes)
    if not added.changed and not view.cluster.stores[view.node].holding(certificate):
        raise Refused(f"Failed to import the certificate into {store}: {added}.")
    yield f"Successfully imported certificate for {unit}.\n"
    yield f"Please restart services related to {unit} for the new certificate to become active.\n"


async def import_own(view: NodeView, rest: str) -> Command:
    """A lab's identities are what they are."""
    yield "A lab's identities are made with it; `ca_signed` in its definition has an authority sign them.\n"
    raise Refused("Identity certificates can't be imported here.")


async def delete(view: NodeView, rest: str) -> Command:
    """`set cert delete UNIT NAME.pem`: out of a trust store.

    From 11.0 on it goes from every node, with no undo; before, a certificate deleted on one node comes back from the
    others (TB148), unless that is where all have it from.
    """
    unit, name = rest.split()[:2]
    store = _store(unit)
    if not unit.lower().endswith(_TRUST) and unit.lower() == name.lower().removesuffix(_SUFFIX):
        raise Refused(f"{unit}/{name} is this node's own certificate: it can't be deleted.")
    one = _find_trusted(view, f"{store}/{name}")
    cluster = view.cluster
    if store is Store.CAPF_TRUST:
        cluster.remove_trust(store, one.certificate, [view.node])
    elif view.on_publisher or view.profile.deletes_on_all_nodes:
        cluster.remove_trust(store, one.certificate)
    yield f"Successfully deleted certificate: {one.name}{_SUFFIX}\n"


COMMANDS = (
    command("show cert list", show_list, "{own|trust}", fewest=1),
    command("show cert own", show_own, "filename", fewest=1),
    command("show cert trust", show_trust, "filename", fewest=1),
    command("set cert import trust", import_trust, "name", fewest=1),
    command("set cert import own", import_own, "name", fewest=1),
    command("set cert delete", delete, "unit name", fewest=2),
)
