"""Names that are refused, and a folder as a source of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trustbridge.errors import SettingsError, TrustbridgeError
from trustbridge.services.files import MAX_NAME, FolderSource, name_refusal


@pytest.mark.parametrize(
    "name",
    [
        "SEP001122334455.cnf.xml.sgn",
        "ITLFile.tlv",
        "Desktops/320x212x16/List.xml",
        "music on hold.wav",
        "été.xml",
        ".hidden",
        "x" * MAX_NAME,
    ],
)
def test_ordinary_names_are_fine(name: str) -> None:
    assert name_refusal(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("x" * (MAX_NAME + 1), "longer than 255"),
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("..", "'..'"),
        ("../x", "'..'"),
        ("a/../../x", "'..'"),
        ("a/..", "'..'"),
        ("..\\x", "'..'"),
        ("a\\b", "backslash"),
        ("\\\\host\\share", "backslash"),
        ("a\0b", "unprintable"),
        ("a\nb", "unprintable"),
        ("a\x7fb", "unprintable"),
        ("caf\udce9", "unprintable"),
        ("a\u202eb", "unprintable"),
    ],
)
def test_names_that_could_lead_out_or_deceive_are_refused(name: str, why: str) -> None:
    refusal = name_refusal(name)
    assert refusal is not None
    assert why in refusal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to serve, beside something that must not be."""
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "served"
    (root / "sub").mkdir(parents=True)
    (root / "ITLFile.tlv").write_bytes(b"itl")
    (root / "sub" / "a.xml").write_bytes(b"<a/>")
    return root


def test_files_of_the_folder_and_its_sub_folders_are_found(folder: Path) -> None:
    source = FolderSource(folder)
    assert source("ITLFile.tlv") == b"itl"
    assert source("sub/a.xml") == b"<a/>"


@pytest.mark.parametrize("name", ["missing", "sub", "sub/", "ITLFile.tlv/x", "x" * 300, "", "../secret"])
def test_what_is_no_file_of_the_folder_is_not_found(folder: Path, name: str) -> None:
    assert FolderSource(folder)(name) is None


def test_links_are_followed_inside_and_never_outside(folder: Path) -> None:
    (folder / "inside").symlink_to("sub/a.xml")
    (folder / "out").symlink_to(folder.parent / "secret")
    (folder / "out-relative").symlink_to("../secret")
    (folder / "way-out").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    # The folder's own path is a prefix of this one's, as text.
    beside = folder.with_name("served-not")
    beside.mkdir()
    (beside / "x").write_bytes(b"beside")
    (folder / "beside").symlink_to(beside / "x")
    source = FolderSource(folder)
    assert source("inside") == b"<a/>"
    for name in ("out", "out-relative", "way-out/secret", "way-out/served/ITLFile.tlv/x", "loop", "beside"):
        assert source(name) is None, name


def test_a_folder_named_by_a_link_is_served(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert FolderSource(link)("ITLFile.tlv") == b"itl"


def test_hidden_and_part_files_are_not_served(folder: Path) -> None:
    (folder / ".part").write_bytes(b"half")
    (folder / "sub" / ".b.xml.part").write_bytes(b"half")
    source = FolderSource(folder)
    assert source(".part") is None
    assert source("sub/.b.xml.part") is None
    assert source("./ITLFile.tlv") is None


def test_a_pipe_or_device_is_no_file_and_blocks_nobody(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "null").symlink_to("/dev/null")
    source = FolderSource(folder)
    assert source("pipe") is None
    assert source("null") is None


def long_ago(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file look as if it had not been touched for an hour, which is when it may be kept."""
    later = path.stat().st_ctime_ns + 3600 * 10**9
    monkeypatch.setattr("trustbridge.services.files.time.time_ns", lambda: later)


def test_a_file_is_read_once_until_it_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FolderSource(folder)
    path = folder / "ITLFile.tlv"
    long_ago(path, monkeypatch)
    first = source("ITLFile.tlv")
    assert source("ITLFile.tlv") is first
    path.write_bytes(b"new!")
    assert source("ITLFile.tlv") == b"new!"
    long_ago(path, monkeypatch)
    assert source("ITLFile.tlv") is source("ITLFile.tlv")
    path.write_bytes(b"NEW!")  # as long as before, in the same place
    assert source("ITLFile.tlv") == b"NEW!"
    beside = folder / "beside"
    beside.write_bytes(b"more")  # as long as the one before
    beside.rename(path)
    assert source("ITLFile.tlv") == b"more"
    path.unlink()
    assert source("ITLFile.tlv") is None


def test_a_file_changed_just_now_is_not_kept(folder: Path) -> None:
    source = FolderSource(folder)
    path = folder / "ITLFile.tlv"
    path.write_bytes(b"one")
    first = source("ITLFile.tlv")
    assert first == b"one"
    # Another write within the same tick of the file's time would not show.
    assert source("ITLFile.tlv") is not first


def test_a_kept_file_that_becomes_a_way_out_is_not_served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FolderSource(folder)
    path = folder / "ITLFile.tlv"
    long_ago(path, monkeypatch)
    assert source("ITLFile.tlv") == b"itl"
    path.unlink()
    path.symlink_to(folder.parent / "secret")
    assert source("ITLFile.tlv") is None


def test_what_is_kept_is_bounded_and_the_least_used_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (folder / name).write_bytes(name.encode() * 10)
    (folder / "large").write_bytes(bytes(26))
    long_ago(folder / "large", monkeypatch)
    source = FolderSource(folder, cache_bytes=25)
    a, b = source("a"), source("b")
    assert source("a") is a
    source("c")  # b has to go
    assert source("a") is a
    assert source("b") is not b
    assert source("large") == bytes(26)
    assert source("large") is not source("large")


def test_a_file_too_large_is_named_with_its_size(folder: Path) -> None:
    with pytest.raises(TrustbridgeError, match=r"ITLFile\.tlv.* has 3 bytes, over the 2 served"):
        FolderSource(folder, max_file_bytes=2)("ITLFile.tlv")


def test_a_folder_that_is_not_there_is_a_setting_to_correct(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no folder"):
        FolderSource(tmp_path / "nowhere")
