"""Making a cluster: what it begins with, and that it can be cut off at any point and gone on with."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from tests.lab.prepared import NOW, Prepared, clock, cluster_definition

from trustbridge import atomicfile
from trustbridge.errors import SettingsError
from trustbridge.lab import founding
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.ports import Ports
from trustbridge.pki import issue
from trustbridge.pki.certificate import Certificate, KeyKind
from trustbridge.pki.units import OWN_STORES, Store, Unit


@pytest.fixture
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elliptic-curve keys throughout, which cost nothing, and writes that are not flushed."""

    def identities(*arguments: Any, **options: Any) -> list[issue.Identity]:
        return issue.node_identities(*arguments, **(options | {"key": "p256"}))

    def authority(*arguments: Any) -> issue.Identity:
        return issue.authority(*arguments, key="p256")

    write = atomicfile.write

    def unflushed(path: Path, data: bytes, *, durable: bool = True) -> None:
        write(path, data, durable=False)

    monkeypatch.setattr(founding, "node_identities", identities)
    monkeypatch.setattr(founding, "authority", authority)
    monkeypatch.setattr(atomicfile, "write", unflushed)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file, save those of writes that were cut off."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".part"
    }


def loaded(folder: Path, **changes: Any) -> Cluster:
    return Cluster("source", cluster_definition("src", **changes), folder, Ports(), clock)


def verifies(certificate: Certificate, issuer: Certificate) -> bool:
    made = certificate.x509
    key = issuer.public_key
    assert made.signature_hash_algorithm is not None
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(made.signature, made.tbs_certificate_bytes, padding.PKCS1v15(), made.signature_hash_algorithm)
        else:
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(made.signature, made.tbs_certificate_bytes, ec.ECDSA(made.signature_hash_algorithm))
    except InvalidSignature:
        return False
    return True


def test_each_node_has_its_units_and_the_publisher_the_clusters(prepared: Prepared, tmp_path: Path) -> None:
    cluster = prepared.cluster(tmp_path / "c", "src")
    every = {Unit.CALLMANAGER, Unit.CALLMANAGER_ECDSA, Unit.TOMCAT, Unit.TOMCAT_ECDSA, Unit.TVS}
    units = {node: {unit for held, unit in cluster.identities if held == node} for node in ("src-pub", "src-sub1")}
    assert units == {"src-pub": every | {Unit.CAPF, Unit.ITLRECOVERY}, "src-sub1": every}
    assert cluster.identity("src-pub", Unit.CALLMANAGER).certificate.subject == (
        "CN=src-pub.src.example;OU=UC;O=SRC;L=Krakow;ST=Malopolska;C=PL"
    )
    assert cluster.identity("src-sub1", Unit.TOMCAT_ECDSA).certificate.key_kind is KeyKind.EC
    assert cluster.identity("src-sub1", Unit.TVS).certificate.key_bits == 2048


def test_every_node_trusts_the_clusters_own_certificates(prepared: Prepared, tmp_path: Path) -> None:
    cluster = prepared.cluster(tmp_path / "c", "src")
    for node in ("src-pub", "src-sub1"):
        for identity in cluster.identities.values():
            assert set(cluster.stores[node].holding(identity.certificate)) == set(OWN_STORES[identity.unit])
        assert all(entry.own for _, entry in cluster.stores[node])


@pytest.mark.usefixtures("quick_keys")
def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    founding.found(cluster_definition("src", ca_signed=True), tmp_path / "c", NOW)
    found = list((tmp_path / "c").rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o700}
    keys = [path for path in found if path.suffix == ".key"]
    assert len(keys) == 7 + 5 + 1
    assert all(b"PRIVATE KEY" in path.read_bytes() for path in keys)
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in found if path.is_file() and path not in keys)


@pytest.mark.usefixtures("quick_keys")
def test_a_whole_cluster_is_not_made_again(tmp_path: Path) -> None:
    definition = cluster_definition("src")
    founding.found(definition, tmp_path / "c", NOW)
    before = tree(tmp_path / "c")
    founding.found(definition, tmp_path / "c", NOW)
    assert tree(tmp_path / "c") == before


@pytest.mark.usefixtures("quick_keys")
def test_an_authority_signs_what_it_should_and_is_trusted(tmp_path: Path) -> None:
    founding.found(cluster_definition("src", ca_signed=True), tmp_path / "c", NOW)
    cluster = loaded(tmp_path / "c", ca_signed=True)
    root = Certificate.from_pem((tmp_path / "c" / "authority" / "ca.crt").read_bytes())
    assert root.common_name == "SRC CA"
    for identity in cluster.identities.values():
        signed = identity.unit not in (Unit.CAPF, Unit.ITLRECOVERY)
        assert verifies(identity.certificate, root) is signed
        assert identity.certificate.self_signed is not signed
    for node in ("src-pub", "src-sub1"):
        assert set(cluster.stores[node].holding(root)) == {Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST}


def limited(writes: int) -> Callable[..., None]:
    """`atomicfile.write` for so many times; then the process dies, or the disk is full."""
    write, left = atomicfile.write, [writes]

    def limited(path: Path, data: bytes, *, durable: bool = True) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data, durable=durable)

    return limited


@pytest.mark.usefixtures("quick_keys")
@pytest.mark.parametrize(
    ("nodes", "ca_signed", "step"),
    [(("src-pub",), False, 1), (("src-pub", "src-sub1"), True, 4)],
    ids=["one node, every point", "two nodes and an authority, every fourth"],
)
def test_a_creation_cut_off_anywhere_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: tuple[str, ...], ca_signed: bool, step: int
) -> None:
    changes: dict[str, Any] = {"ca_signed": ca_signed, "nodes": [{"name": name} for name in nodes]}
    definition = cluster_definition("src", **changes)
    write, cut, whole = atomicfile.write, 0, False
    while not whole:
        folder, before = tmp_path / str(cut), {}
        monkeypatch.setattr(atomicfile, "write", limited(cut))
        try:
            founding.found(definition, folder, NOW)
            whole = True
        except OSError:
            before = tree(folder)
        monkeypatch.setattr(atomicfile, "write", write)
        founding.found(definition, folder, NOW)
        cluster = loaded(folder, **changes)  # each key fits its certificate, or this raises
        assert len(cluster.identities) == 2 + 5 * len(nodes)
        for stores in cluster.stores.values():
            assert stores == cluster.stores["src-pub"]
            for identity in cluster.identities.values():
                assert set(stores.holding(identity.certificate)) == set(OWN_STORES[identity.unit])
        if ca_signed:
            root = Certificate.from_pem((folder / "authority" / "ca.crt").read_bytes())
            assert all(verifies(cluster.identity(node, Unit.CALLMANAGER).certificate, root) for node in nodes)
        for node in nodes:  # what was whole is still the same
            place = f"nodes/{node}/identity/"
            if f"{place}.complete" in before:
                kept = {name: content for name, content in before.items() if name.startswith(place)}
                assert kept.items() <= tree(folder).items()
        cut += step
    assert cut > 2 * 5 * len(nodes)  # two files an identity at least


@pytest.mark.usefixtures("quick_keys")
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda place: [path.unlink() for path in place.iterdir()], "holds no certificates"),
        (lambda place: (place / "TVS.key").unlink(), r"TVS\.pem has no key beside it"),
        (lambda place: (place / "TVS.pem").write_text("x"), r"TVS\.pem or its key can't be used"),
        (lambda place: (place / "TVS.key").write_text("x"), r"TVS\.pem or its key can't be used"),
        (
            lambda place: (place / "TVS.key").write_bytes((place / "tomcat.key").read_bytes()),
            r"TVS\.pem or its key can't be used: the private key given is not that of",
        ),
    ],
)
def test_a_damaged_identity_is_named_with_a_way_out(
    tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    founding.found(cluster_definition("src"), tmp_path / "c", NOW)
    damage(tmp_path / "c" / "nodes" / "src-sub1" / "identity")
    with pytest.raises(SettingsError, match=words) as caught:
        loaded(tmp_path / "c")
    assert "lab wipe" in caught.value.hint
    assert "PRIVATE" not in caught.value.message
