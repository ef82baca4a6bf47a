"""Readings that are kept: whole, private, and read anew when they are no longer what was written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbridge.errors import TrustbridgeError
from trustbridge.storage.readings import Readings


def test_what_is_kept_is_had_again_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    kept = Readings(tmp_path / "state", "cluster")
    assert kept.get("a") is None
    assert kept.all() == {}
    kept.keep("a", {"x": ["é", 1, None]}, html="<p>")
    kept.keep("A", {"x": 2})
    assert kept.get("a") == {"x": ["é", 1, None]}
    assert kept.all() == {"a": {"x": ["é", 1, None]}, "A": {"x": 2}}
    assert kept.page("a", "html") == "<p>"
    assert kept.page("A", "html") is None
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept.folder.iterdir()} == {0o600}
    assert Readings(tmp_path / "state", "trust").get("a") is None


def test_what_another_process_keeps_is_seen(tmp_path: Path) -> None:
    one, other = Readings(tmp_path, "cluster"), Readings(tmp_path, "cluster")
    one.keep("a", {"x": 1})
    assert other.get("a") == {"x": 1}
    one.keep("a", {"x": 2})
    assert other.get("a") == {"x": 2}
    one.forget("a")
    assert other.get("a") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"value": 1, "key": "a"}', b'{"value": {}}', b"\xff\xfe"])
def test_what_can_not_be_read_is_read_anew(tmp_path: Path, content: bytes) -> None:
    kept = Readings(tmp_path, "cluster")
    kept.keep("a", {"x": 1})
    (path,) = kept.folder.glob("*.json")
    path.write_bytes(content)
    assert kept.get("a") is None
    assert kept.all() == {}
    kept.keep("a", {"x": 2})
    assert kept.get("a") == {"x": 2}


@settings(max_examples=25)
@given(key=st.text(min_size=1, max_size=2000).filter(lambda text: text.isprintable()))
def test_any_key_is_a_file_in_the_folder(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    kept = Readings(tmp_path_factory.mktemp("readings"), "trust")
    kept.keep(key, {"x": 1})
    assert kept.all() == {key: {"x": 1}}


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "readings").write_bytes(b"")
    with pytest.raises(TrustbridgeError, match="what was read is not kept"):
        Readings(tmp_path, "cluster").keep("a", {})
