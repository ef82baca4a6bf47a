"""Host keys pinned at first contact."""

from __future__ import annotations

import base64
import hashlib
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trustbridge.errors import IdentityChanged, SettingsError
from trustbridge.exchange.hostkeys import FirstContact, HostKey, HostKeyPins

KEY = HostKey("ssh-ed25519", b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00 " + b"a" * 32)
OTHER = HostKey("ssh-ed25519", b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00 " + b"b" * 32)


def test_the_first_contact_is_pinned_and_told(tmp_path: Path) -> None:
    told: list[FirstContact] = []
    pins = HostKeyPins(tmp_path / "new" / "pins", on_first_contact=told.append)

    contact = pins.check("sftp.example.com", 22, KEY)

    assert contact == FirstContact("sftp.example.com", 22, KEY)
    assert told == [contact]
    assert KEY.fingerprint in str(contact)
    assert pins.keys("sftp.example.com", 22) == (KEY,)
    assert stat.S_IMODE(pins.path.stat().st_mode) == 0o600


def test_a_fingerprint_is_the_unpadded_base64_of_the_digest() -> None:
    digest = base64.b64encode(hashlib.sha256(KEY.blob).digest()).decode().rstrip("=")
    assert KEY.fingerprint == f"SHA256:{digest}"
    assert len(digest) == 43


def test_a_known_key_is_accepted_in_silence(tmp_path: Path) -> None:
    told: list[FirstContact] = []
    pins = HostKeyPins(tmp_path / "pins", on_first_contact=told.append)
    pins.check("10.1.1.7", 2222, KEY)
    before = pins.path.stat().st_ino

    assert pins.check("10.1.1.7", 2222, KEY) is None
    assert len(told) == 1
    assert pins.path.stat().st_ino == before, "nothing to write"


def test_a_changed_key_is_refused_with_both_fingerprints_and_the_way_out(tmp_path: Path) -> None:
    pins = HostKeyPins(tmp_path / "pins")
    pins.check("10.1.1.7", 2222, KEY)

    with pytest.raises(IdentityChanged) as caught:
        pins.check("10.1.1.7", 2222, OTHER)

    assert KEY.fingerprint in caught.value.message
    assert OTHER.fingerprint in caught.value.message
    assert "[10.1.1.7]:2222" in caught.value.hint
    assert str(pins.path) in caught.value.hint
    assert pins.keys("10.1.1.7", 2222) == (KEY,), "the pin stays"


def test_removing_the_line_accepts_the_new_key(tmp_path: Path) -> None:
    pins = HostKeyPins(tmp_path / "pins")
    pins.check("10.1.1.7", 2222, KEY)
    pins.check("10.1.1.8", 22, KEY)
    lines = pins.path.read_text().splitlines(keepends=True)
    pins.path.write_text("".join(line for line in lines if "10.1.1.7" not in line))

    assert pins.check("10.1.1.7", 2222, OTHER) is not None
    assert pins.keys("10.1.1.8", 22) == (KEY,)


def test_ports_of_one_host_are_different_servers_and_case_does_not_matter(tmp_path: Path) -> None:
    pins = HostKeyPins(tmp_path / "pins")
    pins.check("Sftp.Example.com", 22, KEY)

    assert pins.check("sftp.example.com", 2222, OTHER) is not None
    assert pins.check("SFTP.example.COM", 22, KEY) is None


def test_a_person_may_add_the_next_key_beside_the_present_one(tmp_path: Path) -> None:
    pins = HostKeyPins(tmp_path / "pins")
    pins.check("10.1.1.7", 2222, KEY)
    with pins.path.open("a") as file:
        file.write(f"[10.1.1.7]:2222,other ssh-ed25519 {base64.b64encode(OTHER.blob).decode()}\n")

    assert pins.check("10.1.1.7", 2222, OTHER) is None
    assert pins.check("10.1.1.7", 2222, KEY) is None


def test_what_a_person_wrote_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "pins"
    path.write_text("# mine\n\n@revoked * ssh-rsa AAAA\nsomehost ssh-rsa AAAA remark\n")
    HostKeyPins(path).check("10.1.1.7", 22, KEY)

    assert path.read_text().startswith("# mine\n\n@revoked * ssh-rsa AAAA\nsomehost ssh-rsa AAAA remark\n10.1.1.7 ")


@pytest.mark.parametrize("line", ["10.1.1.7", "10.1.1.7 ssh-ed25519", "10.1.1.7 ssh-ed25519 AAA*"])
def test_a_garbled_pin_is_no_first_contact(tmp_path: Path, line: str) -> None:
    path = tmp_path / "pins"
    path.write_text(f"# pins\n{line}\n")

    with pytest.raises(SettingsError, match=r"line 2 of .*pins holds no host key for 10\.1\.1\.7"):
        HostKeyPins(path).check("10.1.1.7", 22, KEY)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pins"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(SettingsError, match="can't read the pinned host keys"):
        HostKeyPins(path).check("10.1.1.7", 22, KEY)


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match=r"can't write the pinned host keys to .*/file/pins"):
        HostKeyPins(tmp_path / "file" / "pins").check("10.1.1.7", 22, KEY)


def test_a_failed_write_leaves_the_old_pins_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = HostKeyPins(tmp_path / "pins")
    pins.check("10.1.1.7", 22, KEY)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SettingsError, match="No space left"):
        pins.check("10.1.1.8", 22, KEY)

    assert [path.name for path in tmp_path.iterdir()] == ["pins"]
    assert pins.keys("10.1.1.7", 22) == (KEY,)


def test_forgetting_makes_the_next_contact_a_first_one(tmp_path: Path) -> None:
    pins = HostKeyPins(tmp_path / "pins")
    assert not pins.forget("10.1.1.7", 22)
    pins.check("10.1.1.7", 22, KEY)
    pins.check("10.1.1.8", 22, KEY)

    assert pins.forget("10.1.1.7", 22)
    assert not pins.forget("10.1.1.7", 22)
    assert pins.check("10.1.1.7", 22, OTHER) is not None
    assert pins.keys("10.1.1.8", 22) == (KEY,)


@pytest.mark.parametrize("host", ["", "a b", "a,b", "#a", "a\nb", "*", "a|b"])
def test_a_host_name_that_would_garble_the_file_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match="is not a host name"):
        HostKeyPins(tmp_path / "pins").check(host, 22, KEY)
    assert list(tmp_path.iterdir()) == []


PIN_MANY = """
import sys
from pathlib import Path
from trustbridge.errors import IdentityChanged
from trustbridge.exchange.hostkeys import HostKey, HostKeyPins

pins, mark = HostKeyPins(Path(sys.argv[1])), sys.argv[2]
sys.stdin.readline()
for number in range(40):
    pins.check(f"{mark}{number}", 22, HostKey("ssh-ed25519", b"same"))
try:
    print("pinned" if pins.check("contested", 22, HostKey("ssh-ed25519", mark.encode())) else "known")
except IdentityChanged:
    print("refused")
"""


def test_two_processes_that_pin_at_once_lose_nothing_and_agree(tmp_path: Path) -> None:
    path = tmp_path / "pins"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PIN_MANY, str(path), mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mark in ("left", "right")
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = sorted(process.communicate(timeout=30)[0].strip() for process in processes)

    assert answers == ["pinned", "refused"]
    pins = HostKeyPins(path)
    for mark in ("left", "right"):
        assert all(pins.keys(f"{mark}{number}", 22) for number in range(40))
    assert [file.name for file in tmp_path.iterdir()] == ["pins"]
