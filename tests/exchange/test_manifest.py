"""Names and notes of the exchange directory: what is written is read back, and garbage is refused by name."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import InvalidInput, SettingsError
from trustbridge.exchange.directory import LocalDirectory, name_problem
from trustbridge.exchange.manifest import (
    ConsolidationNote,
    Contents,
    ExportName,
    ExportNote,
    check_cluster_name,
    contents,
    read_consolidation,
    read_exports,
    write_consolidation,
    write_exports,
)
from trustbridge.pki.units import BulkType

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CLUSTERS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", fullmatch=True).filter(
    lambda text: text.lower() != "consolidated"
)
NODES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", fullmatch=True)
TYPES = st.sampled_from(BulkType)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MOMENTS = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))]))
NOTES = st.builds(ExportNote, TEXTS, TEXTS, MOMENTS, st.dictionaries(TEXTS, TEXTS, max_size=3))


def look(folder: Path) -> Contents:
    return asyncio.run(contents(LocalDirectory(folder)))


# Names


@given(CLUSTERS, NODES, TYPES)
def test_every_name_of_an_export_is_read_back(cluster: str, node: str, kind: BulkType) -> None:
    name = ExportName(cluster, node, kind)
    assert ExportName.parse(name.file) == name
    assert name.check() == name
    assert name_problem(name.file) == ""


@given(
    st.one_of(
        st.text(), st.from_regex(r"[a-zA-Z_.-]*_[a-z_.-]*_(tftp|tomcat|capf|itlrecovery|TFTP)\.p12", fullmatch=True)
    )
)
def test_whatever_is_read_as_a_name_is_written_the_same(file: str) -> None:
    name = ExportName.parse(file)
    assert name is None or (name.file == file and check_cluster_name(name.cluster))


@pytest.mark.parametrize(
    "file",
    [
        "consolidated_tftp.p12",
        "consolidated_cm1_tftp.p12",
        "Consolidated_cm1_tftp.p12",
        "src_cm1_tftp.P12",
        "src_cm1_TFTP.p12",
        "src_cm1_tvs.p12",
        "src__tftp.p12",
        "_cm1_tftp.p12",
        "src_cm1_tftp.p12\n",
        "src.manifest.json",
        "phones.txt",
    ],
)
def test_other_files_are_no_exports(file: str) -> None:
    assert ExportName.parse(file) is None


@pytest.mark.parametrize(
    "name", ["", "a_b", "../up", "a b", "a\n", "-a", "consolidated", "Consolidated", "ä", "a" * 64]
)
def test_a_cluster_name_that_can_not_stand_in_a_file_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="name of a cluster"):
        check_cluster_name(name)


@pytest.mark.parametrize("node", ["", "_cm1", "a/b", "../a", "fe80::1", "cm 1", "n" * 256])
def test_a_node_name_that_would_not_be_found_again_is_refused(node: str) -> None:
    with pytest.raises(SettingsError, match="name of a node"):
        ExportName("src", node, BulkType.TFTP).check()


def test_names_together_too_long_for_a_file_are_refused() -> None:
    with pytest.raises(SettingsError, match="longer than"):
        ExportName("c" * 63, "n" * 200, BulkType.ITLRECOVERY).check()


def test_a_node_may_have_an_underscore() -> None:
    name = ExportName("src", "cm_1_tftp", BulkType.TFTP)
    assert ExportName.parse(name.file) == name


# Manifests


@given(st.lists(NOTES, max_size=3, unique_by=lambda note: note.file), st.sets(TYPES))
def test_a_cluster_manifest_is_read_back(notes: list[ExportNote], unfinished: set[BulkType]) -> None:
    found = read_exports(write_exports("src", notes, unfinished), "src.manifest.json")
    assert found.notes == tuple(sorted(notes, key=lambda note: note.file))
    assert found.unfinished == unfinished


@given(
    st.dictionaries(
        TYPES, st.builds(ConsolidationNote, TEXTS, TEXTS, TEXTS, MOMENTS, st.dictionaries(TEXTS, TEXTS, max_size=3))
    )
)
def test_a_consolidation_manifest_is_read_back(notes: dict[BulkType, ConsolidationNote]) -> None:
    assert read_consolidation(write_consolidation(notes), "consolidated.manifest.json") == notes


def test_a_manifest_is_readable_by_a_person() -> None:
    note = ExportNote("src_cm1_tftp.p12", "ab" * 32, NOW, {"cd" * 32: "CN=Jürgen"})
    text = write_exports("src", [note]).decode()
    for word in ('"cluster": "src"', '"exported": "2026-03-01T12:00:00+00:00"', "CN=Jürgen"):
        assert word in text
    assert len(text.splitlines()) > 5


GOOD: dict[str, Any] = {"exported": "2026-03-01T12:00:00+00:00", "sha256": "ab", "certificates": {"cd": "CN=a"}}
GARBAGE = [
    b"",
    b"\x00\xff",
    b"{",
    b"[]",
    b"null",
    b"7",
    b'"text"',
    b"{}",
    b'{"bundles": []}',
    b'{"bundles": {"a": {}}}',
    b'{"bundles": {"a": null}}',
    b"[" * 100_000,
    json.dumps({"bundles": {"a": GOOD | {"exported": 7}}}).encode(),
    json.dumps({"bundles": {"a": GOOD | {"exported": "yesterday"}}}).encode(),
    json.dumps({"bundles": {"a": GOOD | {"exported": "2026-03-01T12:00:00"}}}).encode(),
    json.dumps({"bundles": {"a": GOOD | {"sha256": None}}}).encode(),
    json.dumps({"bundles": {"a": GOOD | {"certificates": {"cd": 1}}}}).encode(),
    json.dumps({"bundles": {"a": GOOD | {"certificates": {"cd": "\ud800"}}}}).encode(),
    json.dumps({"bundles": {}, "unfinished": ["tvs"]}).encode(),
    json.dumps({"bundles": {}, "unfinished": 3}).encode(),
]


@pytest.mark.parametrize("data", GARBAGE)
def test_a_garbled_cluster_manifest_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_exports(data, "src.manifest.json")
    assert "src.manifest.json" in caught.value.message
    assert "cluster src" in caught.value.hint


@pytest.mark.parametrize("data", [*GARBAGE[:7], b'{"tftp": {}}', b'{"tvs": {}}', b'{"tftp": []}'])
def test_a_garbled_consolidation_manifest_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"consolidated\.manifest\.json"):
        read_consolidation(data, "consolidated.manifest.json")


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for read in (read_exports, read_consolidation):
        with contextlib.suppress(InvalidInput):
            read(data, "x.manifest.json")


# The directory


def note(file: str, digest: str = "ab") -> ExportNote:
    return ExportNote(file, digest, NOW, {"cd": "CN=a"})


def test_files_are_told_apart_by_name(tmp_path: Path) -> None:
    for file in ("src_cm1_tftp.p12", "dst_cm1_tftp.p12", "notes.txt", "consolidated_tftp.p12", "src.manifest.json"):
        (tmp_path / file).write_bytes(b"")
    (tmp_path / "src.manifest.json").write_bytes(write_exports("src", [note("src_cm1_tftp.p12")]))
    found = look(tmp_path)
    assert [export.file.name for export in found.exports] == ["dst_cm1_tftp.p12", "src_cm1_tftp.p12"]
    assert [export.note is None for export in found.exports] == [True, False]
    assert found.clusters == ("dst", "src")
    assert list(found.consolidations) == [BulkType.TFTP]
    assert [file.name for file in found.others] == ["notes.txt"]


def test_a_manifest_speaks_only_for_its_own_cluster(tmp_path: Path) -> None:
    (tmp_path / "dst_cm1_tftp.p12").write_bytes(b"")
    (tmp_path / "src_cm1_tftp.p12").write_bytes(b"")
    (tmp_path / "dst.manifest.json").write_bytes(write_exports("dst", [note("dst_cm1_tftp.p12", "right")]))
    (tmp_path / "src.manifest.json").write_bytes(write_exports("src", [note("dst_cm1_tftp.p12", "wrong")]))
    notes = {export.file.name: export.note for export in look(tmp_path).exports}
    assert notes["src_cm1_tftp.p12"] is None
    assert notes["dst_cm1_tftp.p12"] is not None
    assert notes["dst_cm1_tftp.p12"].sha256 == "right"


def test_a_garbled_manifest_is_listed_as_such_and_makes_a_consolidation_stale(tmp_path: Path) -> None:
    for file in ("src_cm1_tftp.p12", "dst_cm1_tftp.p12", "consolidated_tftp.p12"):
        (tmp_path / file).write_bytes(b"")
    sound = look(tmp_path)
    inputs = {export.file.name: export.fingerprint for export in sound.exports}
    consolidation = ConsolidationNote("consolidated_tftp.p12", "ab", "src", NOW, inputs)
    (tmp_path / "consolidated.manifest.json").write_bytes(write_consolidation({BulkType.TFTP: consolidation}))
    assert look(tmp_path).consolidations[BulkType.TFTP].stale == ""
    (tmp_path / "src.manifest.json").write_bytes(b"{")
    found = look(tmp_path)
    assert len(found.exports) == 2
    assert set(found.garbled) == {"src.manifest.json"}
    assert "src.manifest.json is garbled" in found.consolidations[BulkType.TFTP].stale
    (tmp_path / "src.manifest.json").unlink()
    (tmp_path / "consolidated.manifest.json").write_bytes(b"{")
    found = look(tmp_path)
    assert set(found.garbled) == {"consolidated.manifest.json"}
    assert "consolidated.manifest.json is garbled" in found.consolidations[BulkType.TFTP].stale
