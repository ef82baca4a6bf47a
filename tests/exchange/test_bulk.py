"""The rules of bulk certificate management, also when an export or a consolidation is killed at any point."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from trustbridge.errors import (
    ConsolidationMissing,
    ConsolidationStale,
    InvalidBundle,
    InvalidCertificate,
    InvalidInput,
    NothingToConsolidate,
    NotNow,
    Refused,
    SettingsError,
)
from trustbridge.exchange import bulk
from trustbridge.exchange.bulk import BUNDLE_PASSWORD, ImportPlan, NodeCertificate
from trustbridge.exchange.directory import Directory, FileInfo, LocalDirectory
from trustbridge.exchange.manifest import Contents, contents, read_exports
from trustbridge.pki.bundle import BundledCertificate, read_bundle, write_bundle
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity, Organisation, self_signed
from trustbridge.pki.stores import TrustStores
from trustbridge.pki.units import IMPORT_STORES, UNITS_OF, BulkType, Store, Unit

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALL = tuple(BulkType)
ORGANISATION = Organisation(o="Cisco", c="PL")
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


# Directories


class Killed(Exception):
    """Stands for SIGKILL: no error of ours, so nothing may catch it."""


class MemoryDirectory:
    """A directory in memory whose writes and removals can be cut off.

    `kill_at` is the number of the change that is the last to begin; `after` says whether it still takes effect.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.changes = 0
        self.kill_at = -1
        self.after = False

    async def list(self) -> list[FileInfo]:
        await asyncio.sleep(0)
        return [FileInfo(name, len(data), NOW) for name, data in sorted(self.files.items())]

    async def read(self, name: str) -> bytes:
        await asyncio.sleep(0)
        if name not in self.files:
            raise Refused(f"no {name}")
        return self.files[name]

    async def write_atomic(self, name: str, data: bytes) -> None:
        await self._change(lambda: self.files.__setitem__(name, bytes(data)))

    async def remove(self, name: str) -> None:
        def remove() -> None:
            if name not in self.files:
                raise Refused(f"no {name}")
            del self.files[name]

        await self._change(remove)

    def describe(self) -> str:
        return "memory"

    async def _change(self, change: Callable[[], None]) -> None:
        await asyncio.sleep(0)
        killed = self.changes == self.kill_at
        self.changes += 1
        if killed and not self.after:
            raise Killed
        change()
        if killed:
            raise Killed


@pytest.fixture
def directory() -> MemoryDirectory:
    return MemoryDirectory()


@pytest.fixture(params=["memory", "local"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Directory:
    return MemoryDirectory() if request.param == "memory" else LocalDirectory(tmp_path)


# Clusters


@dataclass(frozen=True, slots=True)
class Cluster:
    name: str
    identities: tuple[NodeCertificate, ...]

    @property
    def certificates(self) -> set[Certificate]:
        return {identity.certificate for identity in self.identities}

    def of(self, kind: BulkType) -> set[Certificate]:
        return {identity.certificate for identity in self.identities if identity.unit in UNITS_OF[kind]}

    def without(self, *nodes: str) -> Cluster:
        return Cluster(self.name, tuple(one for one in self.identities if one.node not in nodes))

    def only(self, *units: Unit) -> Cluster:
        return Cluster(self.name, tuple(one for one in self.identities if one.unit in units))

    def renewed(self, node: str, unit: Unit) -> Cluster:
        def renew(one: NodeCertificate) -> NodeCertificate:
            if (one.node, one.unit) != (node, unit):
                return one
            return issued(self.name, node, unit, now=NOW + timedelta(days=1))

        return Cluster(self.name, tuple(map(renew, self.identities)))


def make(cluster: str, node: str, unit: Unit, *, now: datetime = NOW, days: int = 1826) -> Identity:
    return self_signed(
        node=node,
        unit=unit,
        common_name=f"{unit}-{node}.{cluster}",
        organisation=ORGANISATION,
        now=now,
        days=days,
        key="p256",
    )


def issued(cluster: str, node: str, unit: Unit, *, now: datetime = NOW, days: int = 1826) -> NodeCertificate:
    return NodeCertificate(node, unit, make(cluster, node, unit, now=now, days=days).certificate)


def make_cluster(name: str, nodes: Sequence[str] = ("cm1", "cm2")) -> Cluster:
    identities = [
        issued(name, node, unit)
        for node in nodes
        for unit in (Unit.CALLMANAGER, Unit.CALLMANAGER_ECDSA, Unit.TOMCAT, Unit.TVS)
    ]
    identities += [issued(name, nodes[0], unit) for unit in (Unit.CAPF, Unit.ITLRECOVERY)]
    return Cluster(name, tuple(identities))


@pytest.fixture(scope="module")
def src() -> Cluster:
    return make_cluster("src")


@pytest.fixture(scope="module")
def dst() -> Cluster:
    return make_cluster("dst")


async def export(directory: Directory, cluster: Cluster, types: Sequence[BulkType] = ALL) -> list[bulk.ExportedBundle]:
    return await bulk.export(directory, cluster.name, cluster.identities, types, now=NOW)


async def consolidate(directory: Directory, types: Sequence[BulkType] = ALL) -> list[bulk.ConsolidatedBundle]:
    return await bulk.consolidate(directory, "src", types, now=NOW)


async def plan(directory: Directory, own: Cluster, types: Sequence[BulkType] = ALL, now: datetime = NOW) -> ImportPlan:
    return await bulk.plan_import(directory, own.certificates, types, now=now)


async def exchange(directory: Directory, *clusters: Cluster) -> None:
    for cluster in clusters:
        await export(directory, cluster)
    await consolidate(directory)


def held(directory: Directory, file: str) -> dict[Certificate, str]:
    items = read_bundle(run(directory.read(file)), password=BUNDLE_PASSWORD)
    return {item.certificate: item.name for item in items}


def look(directory: Directory) -> Contents:
    return run(contents(directory))


def stale(directory: Directory, kind: BulkType = BulkType.TFTP) -> str:
    return look(directory).consolidations[kind].stale


def imported(found: ImportPlan) -> dict[BulkType, set[Certificate]]:
    return {kind: {item.certificate for of, item in found.certificates if of is kind} for kind in BulkType}


# Export


def test_an_export_writes_a_bundle_a_node_and_type(anywhere: Directory, src: Cluster) -> None:
    done = run(export(anywhere, src))
    names = [
        "src_cm1_capf.p12",
        "src_cm1_itlrecovery.p12",
        "src_cm1_tftp.p12",
        "src_cm1_tomcat.p12",
        "src_cm2_tftp.p12",
        "src_cm2_tomcat.p12",
    ]
    found = look(anywhere)
    assert [one.file.name for one in found.exports] == names
    assert sorted(one.name.file for one in done if one.written) == names
    assert [one.certificate for one in src.identities if one.node == "cm1"][:2] == list(
        held(anywhere, "src_cm1_tftp.p12")
    )
    assert list(held(anywhere, "src_cm1_tftp.p12").values()) == ["src/cm1/CallManager", "src/cm1/CallManager-ECDSA"]


def test_tvs_certificates_are_not_exported(directory: Directory, src: Cluster) -> None:
    run(export(directory, src))
    everything = {one for export in look(directory).exports for one in held(directory, export.file.name)}
    assert everything == {one.certificate for one in src.identities if one.unit is not Unit.TVS}


def test_an_export_of_one_type_leaves_the_others(directory: Directory, src: Cluster) -> None:
    run(export(directory, src, [BulkType.TFTP]))
    assert {one.name.type for one in look(directory).exports} == {BulkType.TFTP}
    run(export(directory, src, [BulkType.CAPF]))
    found = look(directory)
    assert {one.name.type for one in found.exports} == {BulkType.TFTP, BulkType.CAPF}
    assert all(one.note is not None and not one.unfinished for one in found.exports)


def test_a_second_export_of_the_same_writes_nothing(src: Cluster) -> None:
    directory = MemoryDirectory()
    run(export(directory, src))
    before, changes = dict(directory.files), directory.changes
    again = run(export(directory, src))
    assert (directory.files, directory.changes) == (before, changes)
    assert not any(one.written for one in again)


def test_a_renewed_certificate_makes_only_its_bundle_new(directory: Directory, src: Cluster) -> None:
    run(export(directory, src))
    renewed = src.renewed("cm2", Unit.TOMCAT)
    assert [one.name.file for one in run(export(directory, renewed)) if one.written] == ["src_cm2_tomcat.p12"]
    assert set(held(directory, "src_cm2_tomcat.p12")) == {
        one.certificate for one in renewed.identities if (one.node, one.unit) == ("cm2", Unit.TOMCAT)
    }


def test_a_bundle_somebody_damaged_is_written_anew(directory: Directory, src: Cluster) -> None:
    run(export(directory, src))
    for damage in (b"", b"garbage"):
        run(directory.write_atomic("src_cm1_tftp.p12", damage))
        assert [one.name.file for one in run(export(directory, src)) if one.written] == ["src_cm1_tftp.p12"]
        assert len(held(directory, "src_cm1_tftp.p12")) == 2


def test_bundles_of_a_node_the_cluster_no_longer_has_are_removed(anywhere: Directory, src: Cluster) -> None:
    run(export(anywhere, src))
    run(export(anywhere, src.without("cm2")))
    assert {one.name.node for one in look(anywhere).exports} == {"cm1"}
    notes = read_exports(run(anywhere.read("src.manifest.json")), "src.manifest.json").notes
    assert all("cm2" not in note.file for note in notes)


def test_another_cluster_of_the_same_name_is_refused_and_loses_nothing(anywhere: Directory, src: Cluster) -> None:
    run(export(anywhere, src))
    before = run(anywhere.list())
    with pytest.raises(NotNow, match="another cluster src lie there, of nodes cm1, cm2"):
        run(export(anywhere, make_cluster("src", nodes=("other1", "other2"))))
    assert run(anywhere.list()) == before


def test_an_export_touches_no_other_cluster(directory: Directory, src: Cluster, dst: Cluster) -> None:
    run(export(directory, dst))
    before = {one.file.name: run(directory.read(one.file.name)) for one in look(directory).exports}
    run(export(directory, src))
    run(export(directory, src.without("cm2")))
    assert {name: run(directory.read(name)) for name in before} == before


def test_a_cluster_without_certificates_of_a_type_says_so(directory: Directory, src: Cluster) -> None:
    with pytest.raises(NotNow, match="no certificate of type itlrecovery"):
        run(export(directory, src.only(Unit.CALLMANAGER), [BulkType.ITLRECOVERY]))
    assert look(directory).exports == ()


@pytest.mark.parametrize("name", ["a_b", "consolidated", "../up", ""])
def test_a_cluster_name_that_can_not_be_used_is_refused_before_anything(name: str, src: Cluster) -> None:
    directory = MemoryDirectory()
    with pytest.raises(SettingsError, match="name of a cluster"):
        run(export(directory, Cluster(name, src.identities)))
    bad = NodeCertificate("cm 3", Unit.CALLMANAGER, src.identities[0].certificate)
    with pytest.raises(SettingsError, match="name of a node"):
        run(export(directory, Cluster("src", (*src.identities, bad))))
    assert directory.files == {}


def test_garbled_manifests_are_mended_by_an_export_and_hinder_no_other(
    anywhere: Directory, src: Cluster, dst: Cluster
) -> None:
    run(export(anywhere, src))
    run(anywhere.write_atomic("src.manifest.json", b"{garbage"))
    run(export(anywhere, dst))
    with pytest.raises(InvalidInput, match=r"src\.manifest\.json") as caught:
        run(consolidate(anywhere))
    assert "Export again on cluster src" in caught.value.hint
    run(export(anywhere, src))
    assert look(anywhere).garbled == {}
    run(consolidate(anywhere))
    assert imported(run(plan(anywhere, dst)))[BulkType.TFTP] == src.of(BulkType.TFTP)


# Consolidation


def test_consolidation_waits_for_two_clusters(directory: Directory, src: Cluster, dst: Cluster) -> None:
    with pytest.raises(NothingToConsolidate, match="no cluster has exported anything") as none:
        run(consolidate(directory))
    assert "at least two clusters" in none.value.hint
    run(export(directory, src))
    with pytest.raises(NothingToConsolidate, match="only src has exported anything"):
        run(consolidate(directory))
    run(export(directory, dst, [BulkType.TOMCAT]))
    with pytest.raises(NothingToConsolidate, match="only src has exported tftp"):
        run(consolidate(directory, [BulkType.TFTP]))
    assert look(directory).consolidations == {}
    assert [one.type for one in run(consolidate(directory, [BulkType.TOMCAT]))] == [BulkType.TOMCAT]
    assert list(look(directory).consolidations) == [BulkType.TOMCAT]


def test_consolidation_joins_everything_into_one_bundle_a_type(
    directory: Directory, src: Cluster, dst: Cluster
) -> None:
    run(export(directory, src))
    run(export(directory, dst))
    done = run(consolidate(directory))
    assert [one.type for one in done] == list(ALL)
    for one in done:
        assert one.clusters == ("dst", "src")
        found = held(directory, one.file)
        assert set(found) == src.of(one.type) | dst.of(one.type)
        assert one.certificates == len(found)
        assert all(name.split("/")[0] in ("src", "dst") and name.count("/") == 2 for name in found.values())
    assert all(one.stale == "" for one in look(directory).consolidations.values())


def test_all_takes_also_a_type_that_only_one_cluster_has(directory: Directory, src: Cluster, dst: Cluster) -> None:
    # Before release 10 a cluster has no ITLRecovery; the other's must reach it all the same (TB104).
    old = dst.only(Unit.CALLMANAGER, Unit.TOMCAT, Unit.CAPF)
    run(exchange(directory, src, old))
    assert imported(run(plan(directory, old)))[BulkType.ITLRECOVERY] == src.of(BulkType.ITLRECOVERY)


def test_bundles_of_another_program_count_and_get_names(anywhere: Directory, src: Cluster, dst: Cluster) -> None:
    run(export(anywhere, src))
    foreign = [BundledCertificate(next(iter(dst.of(BulkType.CAPF))), "1")]
    run(anywhere.write_atomic("dst_cm9_capf.p12", write_bundle(foreign, password=BUNDLE_PASSWORD)))
    run(consolidate(anywhere, [BulkType.CAPF]))
    assert held(anywhere, "consolidated_capf.p12")[foreign[0].certificate] == "dst/cm9/1"
    assert stale(anywhere, BulkType.CAPF) == ""
    run(anywhere.write_atomic("dst_cm9_capf.p12", write_bundle(foreign * 2, password=BUNDLE_PASSWORD)))
    assert "dst_cm9_capf.p12 was exported again" in stale(anywhere, BulkType.CAPF)


def replaced(directory: Directory, file: str, how: str) -> None:
    identity = make("evil", "cm1", Unit.CALLMANAGER)
    data = {
        "private key": pkcs12.serialize_key_and_certificates(
            b"x",
            identity.private_key,
            identity.certificate.x509,
            None,
            BestAvailableEncryption(BUNDLE_PASSWORD.encode()),
        ),
        "password": write_bundle([BundledCertificate(identity.certificate, "x")], password="another one"),
        "PKCS#12": b"garbage",
    }[how]
    run(directory.write_atomic(file, data))


@pytest.mark.parametrize("how", ["private key", "password", "PKCS#12"])
def test_a_bad_bundle_is_refused_by_name_and_nothing_is_consolidated(
    how: str, directory: Directory, src: Cluster, dst: Cluster
) -> None:
    run(export(directory, src))
    run(export(directory, dst))
    replaced(directory, "zz_cm1_tomcat.p12", how)  # no manifest tells of it
    with pytest.raises(InvalidBundle, match=how) as caught:
        run(consolidate(directory))
    assert caught.value.message.startswith("zz_cm1_tomcat.p12: ")
    assert look(directory).consolidations == {}


def test_a_bundle_that_is_not_what_its_manifest_says_is_not_consolidated(
    directory: Directory, src: Cluster, dst: Cluster
) -> None:
    run(export(directory, src))
    run(export(directory, dst))
    replaced(directory, "dst_cm1_tftp.p12", "password")
    with pytest.raises(NotNow, match=r"dst_cm1_tftp\.p12 is not what its manifest says") as caught:
        run(consolidate(directory))
    assert caught.value.hint == "Export again on cluster dst, then consolidate."
    assert look(directory).consolidations == {}


def test_a_consolidation_keeps_what_is_known_of_the_other_types(
    directory: Directory, src: Cluster, dst: Cluster
) -> None:
    run(exchange(directory, src, dst))
    run(consolidate(directory, [BulkType.CAPF]))
    assert {kind: one.stale for kind, one in look(directory).consolidations.items()} == dict.fromkeys(ALL, "")


def test_a_garbled_consolidation_manifest_is_stale_until_consolidated_again(
    directory: Directory, src: Cluster, dst: Cluster
) -> None:
    run(exchange(directory, src, dst))
    run(directory.write_atomic("consolidated.manifest.json", b"garbage"))
    with pytest.raises(ConsolidationStale, match=r"consolidated\.manifest\.json is garbled"):
        run(plan(directory, src))
    run(consolidate(directory))
    assert imported(run(plan(directory, src))) == {kind: dst.of(kind) for kind in ALL}


# When a consolidation is stale


def test_a_consolidation_is_current_also_after_the_same_is_exported_again(
    directory: Directory, src: Cluster, dst: Cluster
) -> None:
    run(exchange(directory, src, dst))
    run(export(directory, src))
    run(export(directory, dst, [BulkType.TFTP]))
    assert stale(directory) == ""
    run(plan(directory, src))


def test_another_cluster_makes_a_consolidation_stale(directory: Directory, src: Cluster, dst: Cluster) -> None:
    run(exchange(directory, src, dst))
    run(export(directory, make_cluster("new", ["cm1"])))
    assert stale(directory) == "new_cm1_tftp.p12 was exported after it"


def test_a_renewed_certificate_makes_just_its_type_stale(directory: Directory, src: Cluster, dst: Cluster) -> None:
    run(exchange(directory, src, dst))
    run(export(directory, dst.renewed("cm2", Unit.CALLMANAGER)))
    assert stale(directory) == "dst_cm2_tftp.p12 was exported again after it"
    assert stale(directory, BulkType.TOMCAT) == ""


def test_a_bundle_that_is_gone_makes_a_consolidation_stale(anywhere: Directory, src: Cluster, dst: Cluster) -> None:
    run(exchange(anywhere, src, dst))
    run(export(anywhere, dst.without("cm2")))
    assert stale(anywhere) == "dst_cm2_tftp.p12, which went into it, is gone"
    assert stale(anywhere, BulkType.CAPF) == ""
    run(consolidate(anywhere))
    assert stale(anywhere) == ""
    assert imported(run(plan(anywhere, src)))[BulkType.TFTP] == dst.without("cm2").of(BulkType.TFTP)


# Import


def test_an_import_without_a_consolidation_says_what_is_missing(
    directory: Directory, src: Cluster, dst: Cluster
) -> None:
    with pytest.raises(ConsolidationMissing, match="no consolidated bundle of tftp, tomcat, capf, itlrecovery"):
        run(plan(directory, src))
    run(export(directory, src))
    run(export(directory, dst))
    run(consolidate(directory, [BulkType.TFTP]))
    with pytest.raises(ConsolidationMissing, match="no consolidated bundle of tomcat, capf, itlrecovery") as caught:
        run(plan(directory, src))
    assert "Export on every cluster, consolidate on one" in caught.value.hint
    assert imported(run(plan(directory, src, [BulkType.TFTP])))[BulkType.TFTP] == dst.of(BulkType.TFTP)


def test_a_stale_consolidation_is_not_imported(directory: Directory, src: Cluster, dst: Cluster) -> None:
    run(exchange(directory, src, dst))
    run(export(directory, dst.renewed("cm2", Unit.CALLMANAGER)))
    with pytest.raises(ConsolidationStale, match=r"consolidated_tftp\.p12 is stale: dst_cm2_tftp\.p12") as caught:
        run(plan(directory, src))
    assert "Consolidate again" in caught.value.hint
    assert imported(run(plan(directory, src, [BulkType.CAPF])))[BulkType.CAPF] == dst.of(BulkType.CAPF)


def test_a_consolidated_bundle_somebody_changed_is_not_imported(
    directory: Directory, src: Cluster, dst: Cluster
) -> None:
    run(exchange(directory, src, dst))
    for how in ("private key", "PKCS#12"):
        replaced(directory, "consolidated_tftp.p12", how)
        with pytest.raises(ConsolidationStale, match=r"consolidated_tftp\.p12 is not what"):
            run(plan(directory, src))


def test_everything_lands_in_the_stores_of_the_table(anywhere: Directory, src: Cluster, dst: Cluster) -> None:
    run(exchange(anywhere, src, dst))
    stores = TrustStores()
    results = run(plan(anywhere, src)).apply(stores)
    for kind in ALL:
        for certificate in dst.of(kind):
            assert set(stores.holding(certificate)) == set(IMPORT_STORES[kind])
    assert all(result.result.changed for result in results)
    assert {(result.type, result.store) for result in results} == {
        (kind, store) for kind in ALL for store in IMPORT_STORES[kind]
    }
    origins = {entry.origin for entry in stores.entries(Store.TOMCAT_TRUST)}
    assert origins == {"import from dst/cm1/tomcat (tomcat)", "import from dst/cm2/tomcat (tomcat)"}


def test_the_clusters_own_certificates_are_passed_over(directory: Directory, src: Cluster, dst: Cluster) -> None:
    run(exchange(directory, src, dst))
    found = run(plan(directory, src))
    assert {item.certificate for item in found.own} == set().union(*(src.of(kind) for kind in ALL))
    stores = TrustStores()
    found.apply(stores)
    assert all(stores.holding(certificate) == () for certificate in src.certificates)
    back = TrustStores()
    run(plan(directory, dst)).apply(back)
    assert {entry.certificate for _, entry in back} == set().union(*(src.of(kind) for kind in ALL))


def test_a_second_import_adds_nothing(directory: Directory, src: Cluster, dst: Cluster) -> None:
    run(exchange(directory, src, dst))
    stores = TrustStores()
    run(plan(directory, src)).apply(stores)
    before = stores.copy()
    again = run(plan(directory, src)).apply(stores)
    assert stores == before
    assert not any(result.result.changed for result in again)


def test_an_expired_certificate_stops_an_import_before_anything_changes(
    directory: Directory, src: Cluster, dst: Cluster
) -> None:
    expired = Cluster("dst", (*dst.identities, issued("dst", "cm3", Unit.TOMCAT, days=-1)))
    run(exchange(directory, src, expired))
    with pytest.raises(InvalidCertificate, match=r"dst/cm3/tomcat in consolidated_tomcat\.p12 expired") as caught:
        run(plan(directory, src))
    assert "nothing was imported" in caught.value.message
    # The owner is not stopped by its own expired certificate.
    run(plan(directory, expired))


def test_ten_clusters_exchange_everything(src: Cluster) -> None:
    directory = MemoryDirectory()
    clusters = [make_cluster(f"c{number}", ["pub", "sub1"]) for number in range(10)]
    run(exchange(directory, *clusters))
    for one in (clusters[0], clusters[9]):
        others = set().union(*(other.of(kind) for other in clusters if other is not one for kind in ALL))
        stores = TrustStores()
        run(plan(directory, one)).apply(stores)
        assert {entry.certificate for _, entry in stores} == others


def test_progress_counts_up_to_its_total(src: Cluster, dst: Cluster) -> None:
    directory = MemoryDirectory()
    told: list[tuple[str, int, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    for cluster in (src, dst):
        run(bulk.export(directory, cluster.name, cluster.identities, ALL, now=NOW, progress=progress))
    run(bulk.consolidate(directory, "src", ALL, now=NOW, progress=progress))
    run(bulk.plan_import(directory, src.certificates, ALL, now=NOW, progress=progress))
    assert all(0 <= done <= total > 0 for _, done, total in told)
    assert [what for what, done, total in told if done == total] == ["exported", "exported", "consolidated", "read"]


# Killed at any point

#: Two types make every kind of moment there is, at half the time.
TWO = (BulkType.TFTP, BulkType.CAPF)


def certificates_by_file(files: dict[str, bytes]) -> dict[str, object]:
    """What the files mean, whatever salt their encryption took."""
    meaning: dict[str, object] = {}
    for name, data in files.items():
        if name.endswith(".p12"):
            items = read_bundle(data, password=BUNDLE_PASSWORD)
            meaning[name] = [(item.name, item.certificate.sha256) for item in items]
        elif name == "consolidated.manifest.json":
            meaning[name] = {kind: sorted(note["inputs"]) for kind, note in json.loads(data).items()}
        else:
            found = read_exports(data, name)
            meaning[name] = [[(note.file, note.certificates) for note in found.notes], found.unfinished]
    return meaning


def assert_nothing_half(
    files: dict[str, bytes], importer: Cluster, complete: Sequence[dict[BulkType, set[Certificate]]]
) -> None:
    """Whoever comes now sees whole bundles, and is refused or gets one of the complete sets."""
    directory = MemoryDirectory(files)
    for one in look(directory).exports:
        assert held(directory, one.file.name)
    with contextlib.suppress(NotNow):
        assert imported(run(plan(directory, importer, TWO))) in complete
    with contextlib.suppress(NotNow):
        run(consolidate(directory, TWO))
        assert imported(run(plan(directory, importer, TWO))) in complete


def sets(cluster: Cluster, types: Sequence[BulkType] = ALL) -> dict[BulkType, set[Certificate]]:
    return {kind: cluster.of(kind) if kind in types else set() for kind in BulkType}


def killings(
    start: dict[str, bytes], work: Callable[[MemoryDirectory], Coroutine[Any, Any, object]]
) -> Iterator[dict[str, bytes]]:
    """The files left by `work` killed before and after each of its changes."""
    undisturbed = MemoryDirectory(start)
    run(work(undisturbed))
    assert undisturbed.changes > 0
    for at, after in itertools.product(range(undisturbed.changes), (False, True)):
        directory = MemoryDirectory(start)
        directory.kill_at, directory.after = at, after
        with pytest.raises(Killed):
            run(work(directory))
        yield directory.files


@pytest.fixture(scope="module")
def exported(src: Cluster, dst: Cluster) -> dict[str, bytes]:
    directory = MemoryDirectory()
    run(export(directory, src, TWO))
    run(export(directory, dst, TWO))
    return directory.files


@pytest.fixture(scope="module")
def exchanged(exported: dict[str, bytes]) -> dict[str, bytes]:
    directory = MemoryDirectory(exported)
    run(consolidate(directory, TWO))
    return directory.files


def test_a_first_export_killed_at_any_point_is_mended_by_the_next(src: Cluster, dst: Cluster) -> None:
    start = MemoryDirectory()
    run(export(start, src, TWO))
    whole = MemoryDirectory(start.files)
    run(export(whole, dst, TWO))
    for left in killings(start.files, lambda directory: export(directory, dst, TWO)):
        assert_nothing_half(left, src, [sets(dst, TWO)])
        directory = MemoryDirectory(left)
        run(export(directory, dst, TWO))
        assert certificates_by_file(directory.files) == certificates_by_file(whole.files)


def test_a_renewal_and_a_removal_killed_at_any_point_are_mended_by_the_next(
    src: Cluster, dst: Cluster, exchanged: dict[str, bytes]
) -> None:
    third = issued("dst", "cm3", Unit.CALLMANAGER)
    changed = dst.renewed("cm1", Unit.CALLMANAGER).renewed("cm1", Unit.CAPF).without("cm2")
    changed = Cluster("dst", (*changed.identities, third))
    whole = MemoryDirectory(exchanged)
    run(export(whole, changed, TWO))
    for left in killings(exchanged, lambda directory: export(directory, changed, TWO)):
        assert_nothing_half(left, src, [sets(dst, TWO), sets(changed, TWO)])
        directory = MemoryDirectory(left)
        run(export(directory, changed, TWO))
        assert certificates_by_file(directory.files) == certificates_by_file(whole.files)


def test_an_interrupted_export_is_not_consolidated_and_says_whose_it_is(src: Cluster, dst: Cluster) -> None:
    directory = MemoryDirectory()
    run(export(directory, src, TWO))
    directory.kill_at = directory.changes + 3
    with pytest.raises(Killed):
        run(export(directory, dst, TWO))
    with pytest.raises(NotNow, match="the export of cluster dst has not finished") as caught:
        run(consolidate(directory, TWO))
    assert caught.value.hint == "Export again on cluster dst, then consolidate."
    assert [one.unfinished for one in look(directory).exports if one.name.cluster == "dst"] == [True, True]


def test_an_export_begun_again_makes_a_consolidation_stale_until_it_is_finished_as_before(
    dst: Cluster, exchanged: dict[str, bytes]
) -> None:
    directory = MemoryDirectory(exchanged)
    directory.kill_at, directory.after = 0, True
    with pytest.raises(Killed):
        run(export(directory, dst.renewed("cm1", Unit.CAPF), TWO))
    assert stale(directory) == "cluster dst has begun another export and not finished it"
    # The renewal is taken back: every bundle is still what it was, and only the manifest has to say so.
    assert not any(one.written for one in run(export(directory, dst, TWO)))
    assert stale(directory) == ""


def test_finishing_one_type_leaves_the_others_of_an_interrupted_export_unfinished(src: Cluster, dst: Cluster) -> None:
    directory = MemoryDirectory()
    run(export(directory, src, TWO))
    run(export(directory, dst, TWO))
    renewed = dst.renewed("cm1", Unit.CAPF).renewed("cm1", Unit.CALLMANAGER)
    directory.kill_at = directory.changes + 1
    with pytest.raises(Killed):
        run(export(directory, renewed, TWO))
    run(export(directory, renewed, [BulkType.TFTP]))
    assert {one.name.type for one in look(directory).exports if one.unfinished} == {BulkType.CAPF}
    run(consolidate(directory, [BulkType.TFTP]))
    with pytest.raises(NotNow, match="cluster dst has not finished"):
        run(consolidate(directory, [BulkType.CAPF]))
    run(export(directory, renewed, TWO))
    run(consolidate(directory, TWO))


def test_a_first_consolidation_killed_at_any_point_is_mended_by_the_next(
    src: Cluster, dst: Cluster, exported: dict[str, bytes], exchanged: dict[str, bytes]
) -> None:
    for left in killings(exported, lambda directory: consolidate(directory, TWO)):
        assert_nothing_half(left, src, [sets(dst, TWO)])
        directory = MemoryDirectory(left)
        run(consolidate(directory, TWO))
        assert certificates_by_file(directory.files) == certificates_by_file(exchanged)


def test_a_second_consolidation_killed_at_any_point_is_mended_by_the_next(
    src: Cluster, dst: Cluster, exchanged: dict[str, bytes]
) -> None:
    renewed = dst.renewed("cm1", Unit.CALLMANAGER).renewed("cm1", Unit.CAPF)
    start = MemoryDirectory(exchanged)
    run(export(start, renewed, TWO))
    whole = MemoryDirectory(start.files)
    run(consolidate(whole, TWO))
    for left in killings(start.files, lambda directory: consolidate(directory, TWO)):
        assert_nothing_half(left, src, [sets(renewed, TWO)])
        directory = MemoryDirectory(left)
        run(consolidate(directory, TWO))
        assert certificates_by_file(directory.files) == certificates_by_file(whole.files)


# Several at once


def test_two_clusters_export_at_once(anywhere: Directory, src: Cluster, dst: Cluster) -> None:
    async def both() -> None:
        await asyncio.gather(export(anywhere, src), export(anywhere, dst))

    run(both())
    found = look(anywhere)
    assert len(found.exports) == 12
    assert all(one.note is not None and not one.unfinished for one in found.exports)
    run(consolidate(anywhere))
    assert imported(run(plan(anywhere, src))) == sets(dst)


def test_two_consolidations_at_once_agree_or_are_refused(anywhere: Directory, src: Cluster, dst: Cluster) -> None:
    run(export(anywhere, src))
    run(export(anywhere, dst))

    async def both() -> None:
        await asyncio.gather(consolidate(anywhere), bulk.consolidate(anywhere, "dst", ALL, now=NOW))

    run(both())
    with contextlib.suppress(ConsolidationStale):
        assert imported(run(plan(anywhere, src))) == sets(dst)
    run(consolidate(anywhere))
    assert imported(run(plan(anywhere, src))) == sets(dst)


def test_an_export_during_a_consolidation_makes_it_stale(
    src: Cluster, dst: Cluster, exported: dict[str, bytes]
) -> None:
    renewed = dst.renewed("cm1", Unit.CALLMANAGER)

    async def both(directory: MemoryDirectory, wait: int) -> None:
        async def later() -> None:
            for _ in range(wait):
                await asyncio.sleep(0)
            await export(directory, renewed, TWO)

        with contextlib.suppress(NotNow):
            await asyncio.gather(consolidate(directory, TWO), later())

    for wait in range(0, 30, 3):
        directory = MemoryDirectory(exported)
        run(both(directory, wait))
        run(export(directory, renewed, TWO))
        with contextlib.suppress(NotNow):
            assert imported(run(plan(directory, src, TWO))) == sets(renewed, TWO)


def test_the_same_cluster_exported_twice_at_once_is_whole_after_the_next(src: Cluster, dst: Cluster) -> None:
    directory = MemoryDirectory()
    run(export(directory, dst))
    run(export(directory, src))

    async def both() -> None:
        await asyncio.gather(export(directory, src.without("cm2")), export(directory, src.without("cm2")))

    run(both())
    run(export(directory, src.without("cm2")))
    run(consolidate(directory))
    assert imported(run(plan(directory, dst))) == sets(src.without("cm2"))


# Killed for real

WORKER = textwrap.dedent(
    """
    import asyncio, pickle, sys
    from datetime import datetime
    from pathlib import Path
    from trustbridge.exchange import bulk
    from trustbridge.exchange.directory import LocalDirectory

    folder, given = Path(sys.argv[1]), Path(sys.argv[2])
    sets, types, now = pickle.loads(given.read_bytes())
    directory = LocalDirectory(folder)
    print("ready", flush=True)
    while True:  # each round changes every bundle, so that whenever it is killed, something is under way
        for identities in sets:
            asyncio.run(bulk.export(directory, "dst", identities, types, now=now))
            asyncio.run(bulk.consolidate(directory, "dst", types, now=now))
    """
)


def test_killed_with_sigkill_at_random_moments_nothing_half_is_left(src: Cluster, dst: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    directory = LocalDirectory(folder)
    for cluster in (src, dst):
        run(export(directory, cluster, TWO))
    run(consolidate(directory, TWO))
    other = Cluster("dst", tuple(issued("dst", one.node, one.unit) for one in dst.identities))
    (tmp_path / "given").write_bytes(pickle.dumps(([dst.identities, other.identities], TWO, NOW)))
    seed = random.Random(7)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), str(tmp_path / "given")], stdout=subprocess.PIPE
        ) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(seed.uniform(0.02, 0.5))
                pytest.fail("the worker ended by itself")
            os.kill(worker.pid, signal.SIGKILL)
        assert all(not file.name.endswith(".part") for file in run(directory.list()))
        left = {file.name: run(directory.read(file.name)) for file in run(directory.list())}
        assert_nothing_half(left, src, [sets(dst, TWO), sets(other, TWO)])
        run(export(directory, dst, TWO))
        run(consolidate(directory, TWO))
        assert imported(run(plan(directory, src, TWO))) == sets(dst, TWO)
