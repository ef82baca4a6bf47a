"""A cluster's state on disk, its signers, and the operations of its publisher."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.lab.prepared import NOW, Prepared, copied

from trustbridge import atomicfile
from trustbridge.errors import (
    AuthenticationRefused,
    ConsolidationMissing,
    IdentityChanged,
    InvalidCertificate,
    NotConfigured,
    NothingToConsolidate,
    SettingsError,
    TrustbridgeError,
)
from trustbridge.exchange.directory import LocalDirectory, SftpSettings
from trustbridge.lab.cluster import Cluster, Device
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.stores import Added, TrustStores
from trustbridge.pki.units import IMPORT_STORES, UNITS_OF, BulkType, Store, Unit
from trustbridge.services.sftp import SftpServer, hash_password, start_sftp
from trustbridge.trust.lists import Signer
from trustbridge.wire.tvs import query_request

T = TypeVar("T")
ALL = tuple(BulkType)
PASSWORD = "hide me 7"
DEVICES = [Device("SEP001B0C000001", "CP-8841", 1, "Default"), Device("SEP001B0C000002", "CP-8861", 3, "Default")]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def source(prepared: Prepared, tmp_path: Path) -> Cluster:
    return prepared.cluster(tmp_path / "source", "src")


@pytest.fixture
def destination(prepared: Prepared, tmp_path: Path) -> Cluster:
    return prepared.cluster(tmp_path / "destination", "dst")


def again(prepared: Prepared, cluster: Cluster, **changes: Any) -> Cluster:
    """The cluster as another process would read it."""
    return prepared.cluster(cluster.folder, {"source": "src", "destination": "dst"}[cluster.name], **changes)


def held(stores: TrustStores) -> set[tuple[Store, str, str, bool]]:
    return {(store, entry.certificate.sha256, entry.origin, entry.own) for store, entry in stores}


def stranger(name: str = "CAPF-0badf00d", now: datetime = NOW) -> Certificate:
    return self_signed(
        node="x", unit=Unit.CAPF, common_name=name, organisation=Organisation(o="Elsewhere"), now=now, key="p256"
    ).certificate


# State.


def test_state_survives_a_new_process(prepared: Prepared, source: Cluster) -> None:
    settings = SftpSettings(host="127.0.0.1", port=2222, username="bulk", password=PASSWORD, directory="/x")
    source.set_security("non-secure")
    source.set_prepare_for_rollback(True)
    source.configure_sftp(settings)
    source.add_devices(DEVICES)
    source.upload_trust(Store.CAPF_TRUST, stranger())
    found = again(prepared, source)
    assert found.state == source.state
    assert not found.mixed_mode
    assert found.state.prepare_for_rollback
    assert found.state.sftp == settings
    assert found.devices == {device.name: device for device in DEVICES}
    assert found.identities == source.identities
    assert {node: held(stores) for node, stores in found.stores.items()} == {
        node: held(stores) for node, stores in source.stores.items()
    }


def test_a_key_file_survives_as_well(prepared: Prepared, source: Cluster) -> None:
    settings = SftpSettings(host="h", username="u", key_file=Path("/keys/id"), password=None, directory=".")
    source.configure_sftp(settings)
    assert again(prepared, source).state.sftp == settings


def test_without_changes_the_definition_holds(prepared: Prepared, tmp_path: Path) -> None:
    cluster = prepared.cluster(tmp_path / "c", "src", security="non-secure", prepare_for_rollback=True)
    assert not cluster.mixed_mode
    assert cluster.state.prepare_for_rollback
    assert cluster.state.sftp is None
    assert cluster.devices == {}
    assert not cluster.has_devices


def test_the_files_that_hold_secrets_are_private(source: Cluster) -> None:
    source.configure_sftp(SftpSettings(host="h", username="u", password=PASSWORD, directory="."))
    source.add_devices(DEVICES)
    for name in ("cluster.json", "devices.json"):
        assert stat.S_IMODE((source.folder / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"sftp": 3}', '{"sftp": {"password": "hide me 7"}}'])
def test_a_damaged_state_file_is_named_and_its_password_is_not(prepared: Prepared, source: Cluster, text: str) -> None:
    (source.folder / "cluster.json").write_text(text)
    with pytest.raises(SettingsError, match=r"cluster\.json can't be read") as caught:
        again(prepared, source)
    assert PASSWORD not in caught.value.message + caught.value.hint
    assert "Remove it" in caught.value.hint


@pytest.mark.parametrize("text", ["", "3", "[3]", "[[]]", '[["a", "b"]]', '{"a": 1}'])
def test_a_damaged_list_of_devices_is_named(prepared: Prepared, source: Cluster, text: str) -> None:
    (source.folder / "devices.json").write_text(text)
    with pytest.raises(SettingsError, match=r"devices\.json can't be read"):
        again(prepared, source)


def test_devices_come_change_and_go(prepared: Prepared, source: Cluster) -> None:
    source.add_devices(DEVICES)
    source.add_devices([replace(DEVICES[0], security_mode=2)])
    assert source.devices[DEVICES[0].name].security_mode == 2
    source.remove_devices([DEVICES[0].name, "SEP000000000000"])
    assert list(again(prepared, source).devices) == [DEVICES[1].name]
    source.remove_devices([DEVICES[1].name])
    assert again(prepared, source).has_devices  # and they are none


def test_a_non_secure_cluster_knows_no_secure_phone(source: Cluster) -> None:
    assert [source.security_of(device) for device in DEVICES] == [1, 3]
    assert source.security_of(None) == 1
    source.set_security("non-secure")
    assert [source.security_of(device) for device in DEVICES] == [1, 1]


def test_whoever_listens_is_told_of_each_change(source: Cluster) -> None:
    told: list[str] = []
    source.changed.append(lambda: told.append("."))
    source.stores_changed.append(lambda: told.append("stores"))
    for change in (
        lambda: source.set_security("non-secure"),
        lambda: source.set_prepare_for_rollback(True),
        lambda: source.add_devices(DEVICES),
        lambda: source.upload_trust(Store.CAPF_TRUST, stranger()),
    ):
        change()
    assert told == [".", ".", ".", "stores"]


# Signers.


def test_call_manager_signs_lists_up_to_11_and_itl_recovery_from_12(prepared: Prepared, tmp_path: Path) -> None:
    old = prepared.cluster(tmp_path / "old", "src", release="11.5")
    assert old.list_signer("src-sub1").certificate == old.identity("src-sub1", Unit.CALLMANAGER).certificate
    assert old.list_signer("src-pub").certificate == old.identity("src-pub", Unit.CALLMANAGER).certificate
    new = prepared.cluster(tmp_path / "new", "src", release="12.5")
    recovery = new.identity("src-pub", Unit.ITLRECOVERY).certificate
    assert {new.list_signer(node).certificate for node in ("src-pub", "src-sub1")} == {recovery}
    assert new.file_signer("src-sub1").certificate == new.identity("src-sub1", Unit.CALLMANAGER).certificate


def test_a_signer_shows_no_key(source: Cluster) -> None:
    signer = source.list_signer("src-pub")
    assert isinstance(signer, Signer)
    assert repr(signer) == f"Signer({signer.certificate.subject})"


def test_what_an_export_takes_has_no_key(source: Cluster) -> None:
    taken = source.bulk_identities()
    assert len(taken) == 12
    assert not any(hasattr(item, "private_key") for item in taken)


def vouches(cluster: Cluster, node: str, certificate: Certificate) -> tuple[int, ...]:
    request = query_request(1001, "test", certificate.subject, certificate.issuer, certificate.serial)
    response = cluster.vouch_index(node).answer(request)
    return response.roles if response.valid else ()


# Uploads and replication.


def test_an_upload_on_the_publisher_reaches_every_node(prepared: Prepared, source: Cluster) -> None:
    new = stranger()
    assert source.upload_trust(Store.PHONE_SAST_TRUST, new) == [Added.ADDED]
    assert source.upload_trust(Store.PHONE_SAST_TRUST, new) == [Added.PRESENT]
    for cluster in (source, again(prepared, source)):
        for node in ("src-pub", "src-sub1"):
            assert cluster.stores[node].holding(new) == (Store.PHONE_SAST_TRUST,)
            assert vouches(cluster, node, new) == (0,)


def test_nodes_with_equal_stores_share_an_index_and_a_node_apart_has_its_own(source: Cluster) -> None:
    new, old = stranger("new"), source.vouch_index("src-pub")
    assert source.vouch_index("src-sub1") is old
    source.upload_trust(Store.CAPF_TRUST, stranger(), ["src-sub1"])  # which no TVS answers from
    assert source.vouch_index("src-sub1") is source.vouch_index("src-pub") is old
    source.upload_trust(Store.PHONE_SAST_TRUST, new)
    assert vouches(source, "src-pub", new) == vouches(source, "src-sub1", new) == (0,)
    # Replication may fail (TB102).
    source.stores["src-sub1"].remove(Store.PHONE_SAST_TRUST, new)
    for _ in range(2):
        assert vouches(source, "src-sub1", new) == ()
        assert vouches(source, "src-pub", new) == (0,)


def test_capf_trust_does_not_replicate(prepared: Prepared, source: Cluster) -> None:
    one, other = stranger("CAPF-1"), stranger("CAPF-2")
    assert source.upload_trust(Store.CAPF_TRUST, one, ["src-sub1"]) == [Added.ADDED]
    assert source.upload_trust(Store.CAPF_TRUST, other, ["src-pub"]) == [Added.ADDED]
    source.upload_trust(Store.TOMCAT_TRUST, stranger("t"))
    for cluster in (source, again(prepared, source)):
        names = {
            node: {entry.certificate.common_name for entry in stores.entries(Store.CAPF_TRUST) if not entry.own}
            for node, stores in cluster.stores.items()
        }
        assert names == {"src-pub": {"CAPF-2"}, "src-sub1": {"CAPF-1"}}


def test_without_nodes_an_upload_to_capf_trust_means_all_of_them(source: Cluster) -> None:
    new = stranger()
    assert source.upload_trust(Store.CAPF_TRUST, new) == [Added.ADDED, Added.ADDED]
    assert all(stores.holding(new) == (Store.CAPF_TRUST,) for stores in source.stores.values())


def test_an_upload_to_a_node_that_does_not_exist_is_refused(source: Cluster) -> None:
    with pytest.raises(SettingsError, match="source has no node nobody") as caught:
        source.upload_trust(Store.CAPF_TRUST, stranger(), ["nobody"])
    assert "src-sub1" in caught.value.hint


def test_an_upload_that_replication_would_undo_is_refused(source: Cluster) -> None:
    with pytest.raises(SettingsError, match="replicates from the publisher, src-pub"):
        source.upload_trust(Store.CALLMANAGER_TRUST, stranger(), ["src-sub1"])
    assert source.upload_trust(Store.CALLMANAGER_TRUST, stranger(), ["src-pub"]) == [Added.ADDED]


# The exchange, over the lab's SFTP server.


@contextlib.asynccontextmanager
async def exchange(tmp_path: Path, *clusters: Cluster) -> AsyncIterator[SftpServer]:
    """An SFTP server that all clusters use."""
    (tmp_path / "files").mkdir(exist_ok=True)
    server = await start_sftp(
        tmp_path / "files", users={"bulk": hash_password(PASSWORD)}, host_key=tmp_path / "host_key"
    )
    try:
        for cluster in clusters:
            host, port = server.address
            cluster.configure_sftp(
                SftpSettings(host=host, port=port, username="bulk", password=PASSWORD, directory="/")
            )
        yield server
    finally:
        await server.stop()


def test_without_an_sftp_server_every_operation_says_how_to_set_one(source: Cluster) -> None:
    operations = (source.list_exchange, lambda: source.export(ALL), lambda: source.consolidate(ALL))
    for operation in (*operations, lambda: source.import_(ALL)):
        with pytest.raises(NotConfigured, match="cluster source has no SFTP server") as caught:
            run(operation())
        assert "bulk configure source" in caught.value.hint


def test_the_whole_exchange_puts_each_certificate_where_the_table_says(
    prepared: Prepared, source: Cluster, destination: Cluster, tmp_path: Path
) -> None:
    async def exchanged() -> None:
        async with exchange(tmp_path, source, destination):
            await destination.export(ALL)
            with pytest.raises(NothingToConsolidate, match="only destination has exported"):
                await destination.consolidate(ALL)
            with pytest.raises(ConsolidationMissing):
                await destination.import_(ALL)
            await source.export(ALL)
            there = await source.list_exchange()
            assert there.clusters == ("destination", "source")
            # tftp and tomcat a node, CAPF and ITLRecovery of the publisher.
            assert len(there.exports) == 2 * (2 + 2 + 1 + 1)
            consolidated = await source.consolidate(ALL)
            assert {bundle.type: bundle.certificates for bundle in consolidated} == {
                BulkType.TFTP: 8,
                BulkType.TOMCAT: 8,
                BulkType.CAPF: 2,
                BulkType.ITLRECOVERY: 2,
            }
            first = await destination.import_(ALL)
            assert {item.result for item in first} == {Added.ADDED}
            assert {item.result for item in await destination.import_(ALL)} == {Added.PRESENT}
            await source.import_(ALL)

    run(exchanged())
    for here, other in ((source, destination), (destination, source)):
        for cluster in (here, again(prepared, here)):
            for stores in cluster.stores.values():
                for kind in BulkType:
                    for unit in UNITS_OF[kind]:
                        for identity in other.identities.values():
                            if identity.unit is unit:
                                assert set(stores.holding(identity.certificate)) == set(IMPORT_STORES[kind])
                for identity in other.identities.values():
                    if identity.unit is Unit.TVS:
                        assert stores.holding(identity.certificate) == ()
    recovery = destination.identity("dst-pub", Unit.ITLRECOVERY).certificate
    assert [vouches(source, node, recovery) for node in ("src-pub", "src-sub1")] == [(0, 3), (0, 3)]
    (entry,) = (
        entry for entry in source.stores["src-sub1"].entries(Store.PHONE_SAST_TRUST) if entry.certificate == recovery
    )
    assert entry.origin == "import from destination/dst-pub/ITLRecovery (itlrecovery)"


def test_importing_one_type_leaves_the_others_out(source: Cluster, destination: Cluster, tmp_path: Path) -> None:
    async def exchanged() -> None:
        async with exchange(tmp_path, source, destination):
            await destination.export(ALL)
            await source.export(ALL)
            await source.consolidate(ALL)
            await source.import_((BulkType.TFTP,))

    run(exchanged())
    assert vouches(source, "src-pub", destination.identity("dst-sub1", Unit.CALLMANAGER).certificate) == (0, 3)
    assert vouches(source, "src-pub", destination.identity("dst-pub", Unit.ITLRECOVERY).certificate) == ()


@pytest.mark.parametrize(("release", "restarts"), [("11.5", False), ("12.0", False), ("12.5", True), ("15", True)])
def test_from_12_5_on_an_import_restarts_phones_once(
    prepared: Prepared,
    destination: Cluster,
    tmp_path: Path,
    release: str,
    restarts: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    importing = prepared.cluster(tmp_path / "source", "src", release=release)
    told: list[str] = []
    importing.restart_phones = lambda: told.append(release)
    destination.restart_phones = lambda: told.append("the other cluster's")
    use_folder(monkeypatch, tmp_path / "files")

    def told_by(work: Coroutine[Any, Any, object]) -> bool:
        told.clear()
        run(work)
        assert told in ([], [release])
        return told != []

    async def shared() -> None:
        await destination.export(ALL)
        await importing.export(ALL)
        await importing.consolidate(ALL)

    assert not told_by(shared())
    # What is not for CallManager, and what phones do not trust each other by.
    assert not told_by(importing.import_((BulkType.TOMCAT, BulkType.ITLRECOVERY)))
    assert told_by(importing.import_((BulkType.CAPF,))) is restarts
    assert told_by(importing.import_(ALL)) is restarts
    assert not told_by(importing.import_(ALL))  # nothing was added


@pytest.mark.parametrize(("release", "restarts"), [("11.5", False), ("12.5", True)])
def test_from_12_5_on_an_upload_to_callmanager_trust_restarts_phones_once(
    prepared: Prepared, tmp_path: Path, release: str, restarts: bool
) -> None:
    cluster = prepared.cluster(tmp_path / "source", "src", release=release)
    told: list[str] = []
    cluster.restart_phones = lambda: told.append(".")
    both = [stranger("one"), stranger("two")]
    for store in Store:
        told.clear()
        cluster.upload_all(store, both)
        cluster.upload_all(store, both)
        cluster.remove_trust(store, both[0])
        assert told == (["."] if restarts and store is Store.CALLMANAGER_TRUST else []), store
    told.clear()
    refused = stranger("src-pub.src.example", NOW - timedelta(days=9))
    assert cluster.upload_trust(Store.CALLMANAGER_TRUST, refused) == [Added.OWN_KEPT]
    assert told == []


def test_several_uploads_are_kept_together_or_not_at_all(source: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [stranger("one"), stranger("two")]
    told: list[str] = []
    source.stores_changed.append(lambda: told.append("."))
    with monkeypatch.context() as patch:
        limit(patch, 1)
        with pytest.raises(OSError, match="No space left"):
            source.upload_all(Store.TOMCAT_TRUST, both)
    assert not any(stores.holding(one) for one in both for stores in source.stores.values())
    assert source.upload_all(Store.TOMCAT_TRUST, both) == [Added.ADDED, Added.ADDED]
    assert told == ["."]


def test_a_wrong_password_and_another_host_key_are_refused(source: Cluster, tmp_path: Path) -> None:
    async def tried() -> None:
        async with exchange(tmp_path, source) as server:
            await source.export((BulkType.CAPF,))
            good = source.state.sftp
            assert good is not None
            source.configure_sftp(replace(good, password="wrong"))
            with pytest.raises(AuthenticationRefused) as caught:
                await source.export((BulkType.CAPF,))
            assert "wrong" not in caught.value.message
            port = server.address[1]
        (tmp_path / "host_key").unlink()
        other = await start_sftp(
            tmp_path / "files", port=port, users={"bulk": hash_password(PASSWORD)}, host_key=tmp_path / "host_key"
        )
        try:
            source.configure_sftp(good)
            with pytest.raises(IdentityChanged):
                await source.list_exchange()
        finally:
            await other.stop()

    run(tried())


def test_an_expired_certificate_stops_an_import_before_anything_is_changed(
    prepared: Prepared, source: Cluster, destination: Cluster, tmp_path: Path
) -> None:
    late = prepared.cluster(source.folder, "src", now=lambda: NOW + timedelta(days=4000))

    async def exchanged() -> None:
        async with exchange(tmp_path, source, destination, late):
            await destination.export(ALL)
            await source.export(ALL)
            await source.consolidate(ALL)
            with pytest.raises(InvalidCertificate, match="nothing was imported"):
                await late.import_(ALL)

    before = held(late.stores["src-pub"])
    run(exchanged())
    assert held(late.stores["src-pub"]) == before


# Cut off.


@contextlib.asynccontextmanager
async def _local(path: Path) -> AsyncIterator[LocalDirectory]:
    yield LocalDirectory(path)


def use_folder(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Exchange in a folder of this machine, which costs no connections."""
    path.mkdir(exist_ok=True)
    monkeypatch.setattr(Cluster, "_open_sftp", lambda _: _local(path))


def limit(patch: pytest.MonkeyPatch, steps: int) -> None:
    """So many files come to be; then the process dies, or the disk is full."""
    left = [steps]

    def limited(name: str) -> Callable[..., None]:
        real = getattr(atomicfile, name)

        def limited(*arguments: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[-1]))
            real(*arguments)

        return limited

    for name in ("write", "share"):
        patch.setattr(atomicfile, name, limited(name))


@pytest.mark.parametrize(
    ("types", "stores"),
    [((BulkType.ITLRECOVERY,), 2), (ALL, 3)],
    ids=["one type", "all types"],
)
def test_an_import_cut_off_between_two_files_and_run_again_ends_the_same(
    prepared: Prepared,
    source: Cluster,
    destination: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    types: tuple[BulkType, ...],
    stores: int,
) -> None:
    use_folder(monkeypatch, tmp_path / "files")

    async def shared() -> None:
        await destination.export(ALL)
        await source.export(ALL)
        await source.consolidate(ALL)

    run(shared())
    untouched = tmp_path / "untouched"
    copied(source.folder, untouched)
    run(source.import_(types))
    wanted = {node: held(one) for node, one in source.stores.items()}
    recovery = destination.identity("dst-pub", Unit.ITLRECOVERY).certificate
    cut, whole = 0, False
    while not whole:
        folder = tmp_path / f"cut-{cut}"
        copied(untouched, folder)
        cluster = prepared.cluster(folder, "src")
        told: list[str] = []
        cluster.stores_changed.append(lambda told=told: told.append("."))  # type: ignore[misc] # the default binds it
        with pytest.MonkeyPatch.context() as patch:
            limit(patch, cut)
            try:
                run(cluster.import_(types))
                whole = True
            except OSError:
                # The one that failed goes by what it had, and says nothing of it.
                assert vouches(cluster, "src-pub", recovery) == ()
                assert told == []
        # Whatever the publisher's folder says, every node's says.
        found = prepared.cluster(folder, "src")
        assert held(found.stores["src-pub"]) <= held(found.stores["src-sub1"])
        # It lives on, or another process takes over.
        survivor = cluster if cut % 2 else prepared.cluster(folder, "src")
        run(survivor.import_(types))
        for found in (survivor, prepared.cluster(folder, "src")):
            assert {node: held(one) for node, one in found.stores.items()} == wanted
        cut += 1
    assert cut > stores * len(source.stores)


def test_a_full_disk_keeps_an_upload_from_counting(source: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    new = stranger()
    limit(monkeypatch, 1)
    with pytest.raises(OSError, match="No space left"):
        source.upload_trust(Store.PHONE_SAST_TRUST, new)
    assert vouches(source, "src-pub", new) == ()
    monkeypatch.undo()
    assert source.upload_trust(Store.PHONE_SAST_TRUST, new) == [Added.ADDED]
    assert vouches(source, "src-pub", new) == (0,)


def test_the_password_is_in_no_message_and_no_repr(source: Cluster) -> None:
    source.configure_sftp(SftpSettings(host="127.0.0.1", port=1, username="bulk", password=PASSWORD, directory="/"))
    with pytest.raises(TrustbridgeError) as caught:
        run(source.list_exchange())
    assert PASSWORD not in f"{caught.value.message} {caught.value.hint} {source.state!r}"
    assert json.loads((source.folder / "cluster.json").read_text())["sftp"]["password"] == PASSWORD
