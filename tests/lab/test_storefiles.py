"""Trust stores on disk: what is written is what is read, and nothing in a certificate's names can spoil it."""

from __future__ import annotations

import errno
import os
import stat
import warnings
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tests.lab.prepared import NOW

from trustbridge import atomicfile
from trustbridge.lab.storefiles import STORE_FILE, read_stores, write_stores
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.stores import TrustStores
from trustbridge.pki.units import Store, Unit
from trustbridge.services.storefolder import StoreFolder

SAST, CALLMANAGER, CAPF = Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST, Store.CAPF_TRUST


def certificate(name: str = "a") -> Certificate:
    return self_signed(
        node="n", unit=Unit.TVS, common_name=name, organisation=Organisation(o="O"), now=NOW, key="p256"
    ).certificate


def with_odd_name(name: str) -> Certificate:
    """A certificate whose common name nothing has looked at."""
    key = ec.generate_private_key(ec.SECP256R1())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that such names are not allowed
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return Certificate.from_der(made.public_bytes(Encoding.DER))


def held(stores: TrustStores) -> set[tuple[Store, Certificate, str, bool]]:
    return {(store, entry.certificate, entry.origin, entry.own) for store, entry in stores}


def write(folder: Path, stores: TrustStores) -> None:
    write_stores({folder: stores})


def read(folder: Path) -> TrustStores:
    return read_stores([folder])[folder]


@pytest.fixture
def stores() -> TrustStores:
    stores = TrustStores()
    own = certificate("own")
    stores.add(SAST, own, "own", own=True)
    stores.add(CALLMANAGER, own, "own", own=True)
    stores.add(SAST, certificate("other"), "import from dst/dst-pub/ITLRecovery (itlrecovery)")
    stores.add(CAPF, certificate("capf"), "uploaded")
    return stores


def test_what_is_written_is_read_with_its_origin(tmp_path: Path, stores: TrustStores) -> None:
    write(tmp_path, stores)
    assert held(read(tmp_path)) == held(stores)
    assert len(read(tmp_path)) == 4


def test_files_and_folders_are_private(tmp_path: Path, stores: TrustStores) -> None:
    write(tmp_path / "trust", stores)
    found = list((tmp_path / "trust").rglob("*"))
    assert len([path for path in found if path.is_file()]) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600, 0o700}


def test_a_service_of_its_own_reads_the_same_layout(tmp_path: Path, stores: TrustStores) -> None:
    write(tmp_path, stores)
    folder = StoreFolder(tmp_path)
    folder.refresh()
    assert set(folder.contents.certificates) == {(store, entry.certificate) for store, entry in stores}
    assert folder.contents.faulty == ()


def test_a_certificate_that_went_from_a_store_goes_from_the_folder(tmp_path: Path, stores: TrustStores) -> None:
    write(tmp_path, stores)
    (entry,) = stores.entries(CAPF)
    stores.remove(CAPF, entry.certificate)
    write(tmp_path, stores)
    assert held(read(tmp_path)) == held(stores)
    assert list((tmp_path / CAPF).iterdir()) == []


def test_nothing_is_written_where_nothing_changed(
    tmp_path: Path, stores: TrustStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, stores)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a file was written again")

    before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    monkeypatch.setattr(atomicfile, "write", fail)
    write(tmp_path, stores)
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before


def test_a_damaged_file_is_passed_over_and_mended_by_the_next_write(tmp_path: Path, stores: TrustStores) -> None:
    write(tmp_path, stores)
    (path,) = (tmp_path / CAPF).glob("*.pem")
    path.write_bytes(b"\xff\xfe no certificate")
    assert held(read(tmp_path)) == {row for row in held(stores) if row[0] is not CAPF}
    write(tmp_path, stores)
    assert held(read(tmp_path)) == held(stores)


def test_one_damaged_certificate_takes_no_other_with_it(tmp_path: Path) -> None:
    stores = TrustStores()
    for name in "abc":
        stores.add(SAST, certificate(name), "uploaded")
    write(tmp_path, stores)
    path = tmp_path / SAST / STORE_FILE
    for old, new in (("MII", "###"), ("-----END CERTIFICATE-----", "")):
        first, hurt, last = (entry.certificate for entry in stores.entries(SAST))
        whole = path.read_text()
        path.write_text(whole.replace(hurt.pem(), hurt.pem().replace(old, new, 1)))
        assert [entry.certificate for entry in read(tmp_path).entries(SAST)] == [first, last]
        path.write_text(whole)


def test_a_file_a_certificate_is_read_and_becomes_one_file_a_store(tmp_path: Path, stores: TrustStores) -> None:
    """What older labs have, and what a write that was cut off leaves beside the new file."""
    write(tmp_path, stores)
    path = tmp_path / SAST / STORE_FILE
    parts = path.read_text().partition("\n\n")
    for whole in (False, True):
        for name, part in zip("ab", parts[::2], strict=True):
            (path.parent / f"{name}.pem").write_text(part)
        if not whole:
            path.unlink()
        assert held(read(tmp_path)) == held(stores)
        assert len(read(tmp_path)) == len(stores)
        write(tmp_path, stores)
        assert [path.name for path in path.parent.iterdir()] == [STORE_FILE]
        assert held(read(tmp_path)) == held(stores)


def test_of_two_files_that_name_one_certificate_the_one_written_here_counts(tmp_path: Path) -> None:
    stores = TrustStores()
    stores.add(SAST, there := certificate(), "own", own=True)
    write(tmp_path, stores)
    for name in ("a.pem", "z.pem"):
        (tmp_path / SAST / name).write_text(f"Origin: long ago\n{there.pem()}")
    assert held(read(tmp_path)) == held(stores)


def test_nodes_share_the_files_of_equal_stores_and_of_no_others(tmp_path: Path, stores: TrustStores) -> None:
    apart = stores.with_entries(CAPF, ())
    apart.add(CAPF, certificate("another capf"), "uploaded")
    alone = stores.copy()
    alone.add(SAST, certificate("not replicated"), "uploaded")
    nodes = {tmp_path / name: one for name, one in (("a", stores), ("b", stores.copy()), ("c", apart), ("d", alone))}
    for _ in range(2):
        write_stores(nodes)
        found = {
            (node.name, store): (node / store / STORE_FILE).stat().st_ino for node in nodes for store in (SAST, CAPF)
        }
        assert found["a", SAST] == found["b", SAST] == found["c", SAST] != found["d", SAST]
        assert found["a", CAPF] == found["b", CAPF] == found["d", CAPF] != found["c", CAPF]
        again = read_stores(nodes)
        assert {node: held(one) for node, one in again.items()} == {node: held(one) for node, one in nodes.items()}
    assert not list(tmp_path.rglob(".*"))
    # What is the same file is read once.
    a, b = (again[tmp_path / name].entries(SAST) for name in "ab")
    assert all(one is other for one, other in zip(a, b, strict=True))
    # A node that goes its own way from now on leaves the others as they are.
    write_stores({tmp_path / "b": alone})
    assert held(read(tmp_path / "a")) == held(stores)
    assert held(read(tmp_path / "b")) == held(alone)


def test_stores_are_written_where_files_can_have_but_one_name(
    tmp_path: Path, stores: TrustStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, path: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    monkeypatch.setattr(os, "link", refuse)
    write_stores({tmp_path / "a": stores, tmp_path / "b": stores})
    for name in "ab":
        assert held(read(tmp_path / name)) == held(stores)
        assert (tmp_path / name / SAST / STORE_FILE).stat().st_nlink == 1


def test_files_of_an_administrator_count_as_uploaded(tmp_path: Path) -> None:
    write(tmp_path, TrustStores())
    there = certificate("by hand")
    (tmp_path / SAST / "mine.pem").write_text(there.pem())
    (tmp_path / SAST / "notes.txt").write_text("nothing")
    assert held(read(tmp_path)) == {(SAST, there, "uploaded", False)}


@pytest.mark.parametrize(
    "name",
    [
        "ü" * 64,
        "漢" * 64,
        "x" * 300,
        "../../etc/passwd",
        "..",
        ".hidden",
        "a/b",
        "a\nOrigin: own",
        "\u202e",
        "",
        "a\0b",
    ],
)
def test_no_common_name_makes_a_file_that_can_not_be_written_or_read(tmp_path: Path, name: str) -> None:
    stores = TrustStores()
    stores.add(SAST, with_odd_name(name), "uploaded")
    write(tmp_path / "trust", stores)
    assert held(read(tmp_path / "trust")) == held(stores)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.parent == tmp_path / "trust" / SAST
    assert path.name.isascii()
    assert len(path.name) < 100
    assert not path.name.startswith(".")


@pytest.mark.parametrize("origin", ["import from a\nOrigin: own", "a\r\n-----BEGIN CERTIFICATE-----\n", "\udcff"])
def test_an_origin_from_somebody_elses_bundle_stays_one_line(tmp_path: Path, origin: str) -> None:
    stores, there = TrustStores(), certificate()
    stores.add(SAST, there, origin)
    write(tmp_path, stores)
    (entry,) = read(tmp_path).entries(SAST)
    assert entry.certificate == there
    assert not entry.own
    assert entry.origin.isprintable()
    assert entry.origin[0] in (origin[0], "\ufffd")
    write(tmp_path, stores)
    assert len(read(tmp_path)) == 1


def test_a_write_cut_off_anywhere_and_done_again_ends_the_same(
    tmp_path: Path, stores: TrustStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = atomicfile.write
    for allowed, whole in enumerate((0, 1, 3, 4)):
        folder, left = tmp_path / str(allowed), [allowed]

        def limited(path: Path, data: bytes, *, durable: bool = True, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            real(path, data, durable=durable)

        monkeypatch.setattr(atomicfile, "write", limited)
        if whole < 4:
            with pytest.raises(OSError, match="No space"):
                write(folder, stores)
            assert len(read(folder)) == whole
        monkeypatch.setattr(atomicfile, "write", real)
        write(folder, stores)
        assert held(read(folder)) == held(stores)
