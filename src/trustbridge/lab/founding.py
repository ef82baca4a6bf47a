"""Making a cluster's folder: keys, certificates, and stores that hold its own certificates. Once, and resumable."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from trustbridge import atomicfile
from trustbridge.errors import InvalidCertificate, SettingsError
from trustbridge.lab.definition import ClusterDefinition
from trustbridge.lab.storefiles import write_stores
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity, Organisation, authority, node_identities
from trustbridge.pki.stores import TrustStores
from trustbridge.pki.units import OWN_STORES, Store, Unit

#: Marks what is whole: a node's identities, a cluster.
_WHOLE = ".complete"
_ANEW = "Start the lab anew: trustbridge lab wipe."


def found(definition: ClusterDefinition, folder: Path, now: datetime) -> None:
    """Make what a cluster begins with. What is whole stays as it is.

    Killed half-way, it goes on where it was: a node is whole once its marker exists, and so is the cluster.

    Raises:
        SettingsError: a name that can't stand in a certificate.
        OSError: the folder can't be written.
    """
    if (folder / _WHOLE).exists():
        return
    organisation = Organisation(ou="UC", o=definition.organisation, l="Krakow", st="Malopolska", c="PL")
    ca = _authority(folder / "authority", organisation, now) if definition.ca_signed else None
    for node in definition.nodes:
        place = atomicfile.private_folder(folder / "nodes" / node.name / "identity")
        if (place / _WHOLE).exists():
            continue
        made = node_identities(
            node.name,
            domain=definition.domain,
            organisation=organisation,
            now=now,
            publisher=node.name == definition.publisher,
            itlrecovery=node.name == definition.publisher,
            ca=ca,
            key=definition.key,
            addresses=(definition.address(node.name),),
        )
        for identity in made:
            _write_identity(identity, place / f"{identity.unit}.key", place / f"{identity.unit}.pem")
        atomicfile.private_folder(place.parent / "tftp")
        atomicfile.write(place / _WHOLE, b"")
    _first_stores(definition, folder, None if ca is None else ca.certificate)
    atomicfile.write(folder / _WHOLE, b"")


def read_identities(folder: Path, node: str) -> list[Identity]:
    """The identities of one node of the cluster in `folder`.

    Raises:
        SettingsError: there are none, or one can't be read.
    """
    place = folder / "nodes" / node / "identity"
    identities = []
    for unit in Unit:
        certificate, key = place / f"{unit}.pem", place / f"{unit}.key"
        try:
            identities.append(
                Identity.from_pem(
                    node=node,
                    unit=unit,
                    certificate=certificate.read_bytes(),
                    key=key.read_bytes(),
                    test_key=False,
                )
            )
        except FileNotFoundError as error:
            if error.filename == str(key):
                raise SettingsError(f"{certificate} has no key beside it", _ANEW) from None
        except InvalidCertificate as error:
            raise SettingsError(f"{certificate} or its key can't be used: {error.message}", _ANEW) from None
    if not identities:
        raise SettingsError(f"{place} holds no certificates", _ANEW)
    return identities


def _write_identity(identity: Identity, key: Path, certificate: Path) -> None:
    atomicfile.write(key, identity.key_pem(), durable=False)
    atomicfile.write(certificate, identity.certificate.pem().encode(), durable=False)


def _authority(place: Path, organisation: Organisation, now: datetime) -> Identity:
    """Who signs the cluster's certificates; made once, so that a cluster made in two goes has one."""
    key, certificate = place / "ca.key", place / "ca.crt"
    if certificate.exists():
        return Identity.from_pem(node="", unit=Unit.CAPF, certificate=certificate.read_bytes(), key=key.read_bytes())
    made = authority(f"{organisation.o} CA", organisation, now)
    atomicfile.private_folder(place)
    _write_identity(made, key, certificate)
    return made


def _first_stores(definition: ClusterDefinition, folder: Path, root: Certificate | None) -> None:
    """Every node trusts the cluster's own certificates, and `root`, which signed them."""
    stores = TrustStores()
    for node in definition.nodes:
        for unit in Unit:
            path = folder / "nodes" / node.name / "identity" / f"{unit}.pem"
            if path.exists():
                certificate = Certificate.from_pem(path.read_bytes())
                for store in OWN_STORES[unit]:
                    stores.add(store, certificate, "own", own=True)
    if root is not None:
        for store in (Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST):
            stores.add(store, root, "own", own=True)
    write_stores({folder / "nodes" / node.name / "trust": stores for node in definition.nodes})
