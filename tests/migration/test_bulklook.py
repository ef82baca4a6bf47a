"""What is said of a directory before a publisher is told to consolidate or import, over a local directory."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trustbridge.errors import NotNow
from trustbridge.exchange import bulk
from trustbridge.exchange.bulk import NodeCertificate
from trustbridge.exchange.directory import LocalDirectory
from trustbridge.exchange.manifest import manifest_file
from trustbridge.migration.bulklook import Kind, Look, State, look, may_consolidate, may_import, strangers
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import BulkType, Unit

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL = tuple(BulkType)
TOMCAT = (BulkType.TOMCAT,)


def certificate(node: str, unit: Unit, now: datetime = NOW) -> NodeCertificate:
    organisation = Organisation(ou="UC", o="Test", l="Krakow", st="Malopolska", c="PL")
    found = self_signed(
        node=node, unit=unit, common_name=f"{node}.example", organisation=organisation, now=now, key="p256"
    )
    return NodeCertificate(node, unit, found.certificate)


SOURCE = [certificate("src-pub", Unit.TOMCAT), certificate("src-pub", Unit.CALLMANAGER)]
DESTINATION = [certificate("dst-pub", Unit.TOMCAT)]


class Place:
    """A directory that clusters export to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = LocalDirectory(path)

    def export(self, cluster: str, identities: list[NodeCertificate], *types: BulkType) -> None:
        asyncio.run(bulk.export(self.directory, cluster, identities, types or ALL, now=NOW))

    def consolidate(self, *types: BulkType) -> None:
        asyncio.run(bulk.consolidate(self.directory, "source", types or ALL, now=NOW))

    def look(self, before: Look | None = None, now: datetime = NOW) -> Look:
        return asyncio.run(look(self.directory, now=now, before=before))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_nothing_then_one_then_two_clusters(place: Place) -> None:
    assert not may_consolidate(place.look(), ALL).can
    place.export("source", SOURCE)
    seen = place.look()
    ready = may_consolidate(seen, ALL)
    assert (ready.can, ready.sure) == (False, True)
    assert "only source has exported" in ready.why
    assert not may_import(seen, ALL).can
    place.export("destination", DESTINATION)
    seen = place.look()
    assert may_consolidate(seen, ALL).can
    assert not may_consolidate(seen, (BulkType.TFTP,)).can
    assert "nothing is consolidated" in may_import(seen, ALL).why
    place.consolidate(BulkType.TOMCAT)
    seen = place.look()
    assert may_import(seen, TOMCAT).can
    assert not may_import(seen, (BulkType.TFTP,)).can


def test_files_are_opened_and_told_apart(place: Place) -> None:
    place.export("source", SOURCE)
    place.export("destination", DESTINATION)
    place.consolidate(BulkType.TOMCAT)
    (place.path / "readme.txt").write_text("hello")
    found = {one.file.name: one for one in place.look().files}
    consolidated = found["consolidated_tomcat.p12"]
    assert (consolidated.kind, consolidated.by, consolidated.state) == (Kind.CONSOLIDATED, "source", State.CURRENT)
    assert {one.certificate for one in consolidated.certificates or ()} == {
        SOURCE[0].certificate,
        DESTINATION[0].certificate,
    }
    export = found["source_src-pub_tftp.p12"]
    assert (export.kind, export.cluster, export.node, export.type) == (Kind.EXPORT, "source", "src-pub", BulkType.TFTP)
    assert found["source.manifest.json"].kind is Kind.MANIFEST
    assert found["source.manifest.json"].cluster == "source"
    assert found["consolidated.manifest.json"].cluster == ""
    assert found["readme.txt"].kind is Kind.OTHER
    assert place.look().unknown == ()


def test_an_export_after_it_makes_a_consolidation_stale(place: Place) -> None:
    place.export("source", SOURCE)
    place.export("destination", DESTINATION)
    place.consolidate(BulkType.TOMCAT)
    place.export("source", [certificate("src-pub", Unit.TOMCAT)], BulkType.TOMCAT)
    seen = place.look()
    (stale,) = seen.consolidated(TOMCAT)
    assert stale.state is State.STALE
    ready = may_import(seen, TOMCAT)
    assert not ready.can
    assert "older than what was exported" in ready.why
    assert "Consolidate again" in ready.hint


def test_an_export_that_is_cut_off_and_a_bundle_that_is_garbled(place: Place) -> None:
    place.export("source", SOURCE)
    place.export("destination", DESTINATION)
    (place.path / "destination_dst-pub_tomcat.p12").write_bytes(b"nothing of the kind")
    seen = place.look()
    (broken,) = [one for one in seen.files if one.cluster == "destination" and one.kind is Kind.EXPORT]
    assert broken.state is State.GARBLED
    assert broken.problem
    assert not may_consolidate(seen, ALL).can
    manifest = place.path / manifest_file("source")
    manifest.write_text(
        manifest.read_text().replace('"cluster": "source"', '"cluster": "source", "unfinished": ["tomcat"]')
    )
    unfinished = {one.state for one in place.look().files if one.cluster == "source" and one.type is BulkType.TOMCAT}
    assert unfinished == {State.UNFINISHED}
    assert not may_consolidate(place.look(), TOMCAT).can


def test_a_type_that_only_one_cluster_knows_is_left_out(place: Place) -> None:
    place.export("source", SOURCE)
    place.export("destination", DESTINATION)
    place.consolidate(BulkType.TOMCAT)
    ready = may_import(place.look(), ALL)
    assert (ready.can, ready.sure) == (True, True)
    assert "tftp is left out: only one cluster has exported it" in ready.why
    assert "TB104" in ready.hint
    # What two have exported is to be consolidated first.
    place.export("destination", [*DESTINATION, certificate("dst-pub", Unit.CALLMANAGER)])
    place.consolidate(BulkType.TOMCAT)
    assert not may_import(place.look(), ALL).can


def test_what_has_expired_stops_an_import(place: Place) -> None:
    place.export("source", SOURCE)
    place.export("destination", DESTINATION)
    place.consolidate(BulkType.TOMCAT)
    later = NOW + timedelta(days=365 * 30)
    ready = may_import(place.look(now=later), TOMCAT)
    assert not ready.can
    assert "TB142" in ready.why


def test_bundles_of_unknown_names_leave_it_to_the_publisher(place: Place) -> None:
    place.export("source", SOURCE)
    for path in place.path.glob("*.p12"):
        path.rename(path.with_name(path.name.replace("source_", "Cluster source-")))
    (place.path / manifest_file("source")).unlink()
    seen = place.look()
    assert len(seen.unknown) == 2
    assert all(one.certificates for one in seen.unknown)
    for ready in (may_consolidate(seen, ALL), may_import(seen, ALL)):
        assert (ready.can, ready.sure) == (True, False)
        assert "only the publisher can tell" in ready.why


def test_what_has_not_changed_is_not_read_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.export("source", SOURCE)
    before = place.look()
    read: list[str] = []
    original = LocalDirectory.read

    async def counted(self: LocalDirectory, name: str) -> bytes:
        read.append(name)
        return await original(self, name)

    monkeypatch.setattr(LocalDirectory, "read", counted)
    assert place.look(before).files == before.files
    assert not [name for name in read if name.endswith(".p12")]


def test_strangers_are_named(place: Place) -> None:
    place.export("source", SOURCE)
    place.export("elsewhere", DESTINATION)
    assert strangers(place.look(), {"source": []}) == ("elsewhere",)
    # A publisher may call its cluster otherwise than the inventory does.
    assert strangers(place.look(), {"source": [], "east": ["dst-pub"]}) == ()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no directory") as caught:
        Place(tmp_path / "none").look()
    assert not isinstance(caught.value, NotNow)
