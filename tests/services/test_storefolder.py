"""Trust stores as folders: what counts, what is passed over and said, and what is noticed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from trustbridge.errors import SettingsError
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Store, Unit
from trustbridge.services.storefolder import MAX_FILE_BYTES, Contents, StoreFolder


def made(name: str) -> Certificate:
    return self_signed(
        node=name, unit=Unit.TVS, common_name=name, organisation=Organisation(), now=datetime.now(UTC), key="p256"
    ).certificate


A, B, C = made("a"), made("b"), made("c")


def put(root: Path, store: str, name: str, content: bytes | str) -> Path:
    path = root / store / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def found(folder: StoreFolder) -> list[tuple[str, str]]:
    return [(str(store), certificate.common_name) for store, certificate in folder.contents.certificates]


def test_each_folder_is_a_store_and_each_file_holds_certificates(tmp_path: Path) -> None:
    put(tmp_path, "Phone-SAST-trust", "one.pem", "words before\n" + A.pem() + B.pem())
    put(tmp_path, "CallManager-trust", "b.der", B.der)
    put(tmp_path, "CallManager-trust", "c.crt", C.pem())
    put(tmp_path, "tomcat-trust", "c.CER", C.der)
    folder = StoreFolder(tmp_path)
    assert folder.refresh()
    assert found(folder) == [
        ("CallManager-trust", "b"),
        ("CallManager-trust", "c"),
        ("Phone-SAST-trust", "a"),
        ("Phone-SAST-trust", "b"),
        ("tomcat-trust", "c"),
    ]
    assert folder.contents.faulty == ()


def test_the_case_of_a_store_does_not_matter(tmp_path: Path) -> None:
    put(tmp_path, "phone-sast-TRUST", "a.pem", A.pem())
    folder = StoreFolder(tmp_path)
    folder.refresh()
    assert folder.contents.certificates == ((Store.PHONE_SAST_TRUST, A),)


def test_what_is_no_certificate_is_passed_over_with_a_reason(tmp_path: Path) -> None:
    put(tmp_path, "CallManager-trust", "good.pem", A.pem())
    put(tmp_path, "CallManager-trust", "bad.pem", "junk")
    put(tmp_path, "CallManager-trust", "cut.der", A.der[:-1])
    put(tmp_path, "CallManager-trust", "empty.pem", "")
    put(tmp_path, "CallManager-trust", "large.pem", A.pem() + " " * MAX_FILE_BYTES)
    put(tmp_path, "CallManager-trust", "half.pem", A.pem() + B.pem().replace("M", "-", 3))
    (tmp_path / "CallManager-trust" / "folder.pem").mkdir()
    (tmp_path / "CallManager-trust" / "dangling.pem").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "CallManager-trust" / "fifo.pem")
    put(tmp_path, "CalManager-trust", "typo.pem", A.pem())
    folder = StoreFolder(tmp_path)
    folder.refresh()
    assert found(folder) == [("CallManager-trust", "a")]
    faulty = {fault.path.name: fault.reason for fault in folder.contents.faulty}
    assert faulty.keys() == {
        "CalManager-trust",
        "bad.pem",
        "cut.der",
        "empty.pem",
        "large.pem",
        "half.pem",
        "folder.pem",
        "dangling.pem",
        "fifo.pem",
    }
    assert "not the name of a trust store (CallManager-trust, " in faulty["CalManager-trust"]
    assert "too large" in faulty["large.pem"]
    assert "not a file" in faulty["fifo.pem"]
    assert "No such file" in faulty["dangling.pem"]


def test_other_files_lie_there_undisturbed(tmp_path: Path) -> None:
    put(tmp_path, "CallManager-trust", "README.txt", "about")
    put(tmp_path, "CallManager-trust", ".a.pem.0123.part", "half a file")
    put(tmp_path, "CallManager-trust", ".hidden.pem", "half a file")
    put(tmp_path, "notes", "letter.txt", "about")
    put(tmp_path, ".git", "a.pem", A.pem())
    (tmp_path / "a.pem").write_text(A.pem())
    folder = StoreFolder(tmp_path)
    assert not folder.refresh()
    assert folder.contents == Contents()


def test_changes_are_noticed_and_only_changed_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_bytes = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    put(tmp_path, "CallManager-trust", "a.pem", A.pem())
    bad = put(tmp_path, "CallManager-trust", "b.pem", "junk")
    folder = StoreFolder(tmp_path)

    def step(change: Callable[[], object], names: list[str], files: list[str]) -> None:
        change()
        read.clear()
        assert folder.refresh()
        assert [name for _, name in found(folder)] == names
        assert read == files
        read.clear()
        assert not folder.refresh()
        assert read == []

    step(lambda: None, ["a"], ["a.pem", "b.pem"])
    step(lambda: bad.write_text(B.pem()), ["a", "b"], ["b.pem"])
    step(lambda: put(tmp_path, "tomcat-trust", "c.pem", C.pem()), ["a", "b", "c"], ["c.pem"])
    step(lambda: bad.unlink(), ["a", "c"], [])
    step(lambda: put(tmp_path, "tomcat-trust", "c.pem", A.pem()), ["a", "a"], ["c.pem"])


def test_a_directory_that_is_not_there_is_a_settings_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", put(tmp_path, "x", "file", "")):
        with pytest.raises(SettingsError, match="can't be read") as caught:
            StoreFolder(path).refresh()
        assert str(path) in caught.value.message
        assert "CallManager-trust" in caught.value.hint


def test_a_directory_that_goes_away_leaves_what_was_known(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    root.mkdir()
    put(root, "CallManager-trust", "a.pem", A.pem())
    folder = StoreFolder(root)
    folder.refresh()
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(SettingsError):
        folder.refresh()
    assert found(folder) == [("CallManager-trust", "a")]
    (tmp_path / "elsewhere").rename(root)
    assert not folder.refresh()


def test_watching_tells_changes_and_each_fault_once(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    root.mkdir()
    put(root, "CallManager-trust", "a.pem", A.pem())
    told: list[list[str]] = []

    async def scenario() -> None:
        folder = StoreFolder(root)
        folder.refresh()

        def tell(contents: Contents) -> None:
            told.append([certificate.common_name for _, certificate in contents.certificates])

        watching = asyncio.create_task(folder.watch(tell, every=0.02))

        async def settle(count: int) -> None:
            async with asyncio.timeout(5):
                while len(told) < count:
                    await asyncio.sleep(0.01)

        put(root, "CallManager-trust", "b.pem", B.pem())
        await settle(1)
        put(root, "CallManager-trust", "bad.pem", "junk")
        await settle(2)
        root.rename(tmp_path / "elsewhere")
        await asyncio.sleep(0.1)
        (tmp_path / "elsewhere").rename(root)
        (root / "CallManager-trust" / "a.pem").unlink()
        await settle(3)
        await asyncio.sleep(0.1)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    with structlog.testing.capture_logs() as lines:
        asyncio.run(scenario())
    assert told == [["a", "b"], ["a", "b"], ["b"]]
    assert [line["event"] for line in lines] == ["passed over", "trust stores kept as they were"]
    assert lines[0]["path"].endswith("bad.pem")
