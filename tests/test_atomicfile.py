"""Files that are whole or absent, and nobody else's."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from trustbridge import atomicfile
from trustbridge.errors import TrustbridgeError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["no umask", "umask 022", "umask 077"])
def umask(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int, durable: bool) -> None:
    before = os.umask(umask)
    try:
        atomicfile.write(tmp_path / "key", b"secret", durable=durable)
    finally:
        os.umask(before)
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert mode(tmp_path / "key") == 0o600


def test_a_file_that_others_could_read_is_replaced_by_one_they_can_not(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    atomicfile.write(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_content_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "file"
    atomicfile.write(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if broken == "write":
        opened = os.fdopen

        class Full:
            def __init__(self, descriptor: int, how: str) -> None:
                self.file = opened(descriptor, how)
                self.write = fail

            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

        monkeypatch.setattr(os, "fdopen", Full)
    else:
        monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[broken], fail)
    with pytest.raises(OSError, match="No space left") as caught:
        atomicfile.write(path, b"new")
    assert caught.value.filename == str(path)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_killed_write_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomicfile.write(path, b"old")
    child = os.fork()
    if child == 0:  # dies between the write and the rename, as by SIGKILL
        Path.replace = lambda *_: os._exit(9)  # type: ignore[method-assign] # only in this child
        atomicfile.write(path, b"new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.read_bytes() == b"old"
    (part,) = [entry for entry in tmp_path.iterdir() if entry != path]
    assert part.name.startswith(".file.")
    assert mode(part) == 0o600


def test_a_folder_is_made_with_those_above_it_for_its_owner_alone(tmp_path: Path) -> None:
    made = atomicfile.private_folder(tmp_path / "a" / "b" / "c")
    assert made.is_dir()
    assert {mode(folder) for folder in (made, made.parent, made.parent.parent)} == {0o700}


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert atomicfile.private_folder(tmp_path) == tmp_path
    assert mode(tmp_path) == 0o755


def test_a_folder_of_another_user_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    if owner == 0:
        os.chown(tmp_path, 12345, -1)
        owner = 12345
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        atomicfile.private_folder(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    atomicfile.private_folder(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    atomicfile.private_folder(tmp_path)


def test_root_owns_folders_that_anybody_may_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/").stat().st_uid != 0:
        pytest.skip("/ does not belong to root here, as in some user namespaces")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    atomicfile.private_folder(Path("/"))


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        atomicfile.private_folder(tmp_path / "a" / "b")


@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [
        (errno.ENOSPC, "lab can't be made: /x: No space left on device", "Make room"),
        (errno.EACCES, "lab can't be made: /x: Permission denied", "is yours"),
        (errno.EROFS, "lab can't be made: /x: Read-only file system", "can be written"),
        (errno.EMFILE, "lab can't be made: /x: Too many open files", "ulimit -n"),
        (errno.EIO, "lab can't be made: /x: Input/output error", ""),
    ],
)
def test_what_the_file_system_refuses_becomes_words(number: int, words: str, hint: str) -> None:
    with pytest.raises(TrustbridgeError) as caught, atomicfile.in_words("lab can't be made"):
        raise OSError(number, os.strerror(number), "/x")
    assert caught.value.message == words
    assert hint in caught.value.hint


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(KeyError), atomicfile.in_words("nothing"):
        raise KeyError("x")
    with pytest.raises(TrustbridgeError, match=r"^nothing: gone$"), atomicfile.in_words("nothing"):
        raise OSError("gone")


def test_a_shared_file_is_one_file_until_either_is_replaced(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    atomicfile.write(one, b"1")
    atomicfile.write(other, b"2")
    for _ in range(2):  # the second time there is nothing to do
        atomicfile.share(one, other)
        assert one.samefile(other)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]
    atomicfile.write(other, b"3")
    assert (one.read_bytes(), other.read_bytes()) == (b"1", b"3")


def test_where_no_second_name_can_be_a_copy_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    atomicfile.write(one, b"1")
    for code, copied in ((errno.EPERM, True), (errno.ENOSPC, False)):

        def refuse(*_: object, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "link", refuse)
        other.unlink(missing_ok=True)
        if copied:
            atomicfile.share(one, other)
            assert (other.read_bytes(), mode(other)) == (b"1", 0o600)
            assert not one.samefile(other)
        else:
            with pytest.raises(OSError, match="No space left"):
                atomicfile.share(one, other)
            assert sorted(path.name for path in tmp_path.iterdir()) == ["one"]


def test_sharing_that_fails_leaves_the_old_content_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    atomicfile.write(one, b"1")
    atomicfile.write(other, b"2")

    def fail(*_: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(PermissionError):
        atomicfile.share(one, other)
    assert other.read_bytes() == b"2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]
