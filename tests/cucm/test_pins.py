"""TLS certificates pinned at first contact."""

from __future__ import annotations

import contextlib
import hashlib
import json
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.cucm.pins import FirstCertificate, TlsPins, fingerprint
from trustbridge.errors import IdentityChanged, SettingsError
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit


def _der(name: str) -> bytes:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    made = self_signed(
        node=name, unit=Unit.TOMCAT, common_name=name, organisation=Organisation(o="Lab"), now=now, key="p256"
    )
    return made.certificate.der


ONE, OTHER = _der("cm1"), _der("cm1")


def test_the_first_contact_is_pinned_and_told(tmp_path: Path) -> None:
    told: list[FirstCertificate] = []
    pins = TlsPins(tmp_path / "new" / "pins.json", on_first_contact=told.append)

    contact = pins.check("cm1.example.com", 8443, ONE)

    assert contact == FirstCertificate("cm1.example.com", 8443, "CN=cm1;O=Lab", fingerprint(ONE))
    assert told == [contact]
    assert fingerprint(ONE) in str(contact)
    assert "cm1.example.com:8443" in str(contact)
    assert pins.fingerprints("cm1.example.com", 8443) == (fingerprint(ONE),)
    assert stat.S_IMODE(pins.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(pins.path.parent.stat().st_mode) == 0o700


def test_a_fingerprint_is_written_as_openssl_writes_it() -> None:
    digest = hashlib.sha256(ONE).hexdigest().upper()
    assert fingerprint(ONE) == ":".join(digest[at : at + 2] for at in range(0, 64, 2))


def test_a_known_certificate_is_accepted_in_silence(tmp_path: Path) -> None:
    told: list[FirstCertificate] = []
    pins = TlsPins(tmp_path / "pins.json", on_first_contact=told.append)
    pins.check("10.1.1.7", 8443, ONE)
    before = pins.path.stat().st_ino

    assert pins.check("10.1.1.7", 8443, ONE) is None
    assert len(told) == 1
    assert pins.path.stat().st_ino == before, "nothing to write"


def test_a_changed_certificate_is_refused_with_both_fingerprints_and_the_way_out(tmp_path: Path) -> None:
    pins = TlsPins(tmp_path / "pins.json")
    pins.check("10.1.1.7", 8443, ONE)

    with pytest.raises(IdentityChanged) as caught:
        pins.check("10.1.1.7", 8443, OTHER)

    assert fingerprint(ONE) in caught.value.message
    assert fingerprint(OTHER) in caught.value.message
    assert "10.1.1.7:8443" in caught.value.hint
    assert str(pins.path) in caught.value.hint
    assert pins.fingerprints("10.1.1.7", 8443) == (fingerprint(ONE),), "the pin stays"


def test_removing_the_entry_accepts_the_new_certificate(tmp_path: Path) -> None:
    pins = TlsPins(tmp_path / "pins.json")
    pins.check("10.1.1.7", 8443, ONE)
    pins.check("10.1.1.8", 8443, ONE)
    held = json.loads(pins.path.read_text())
    del held["10.1.1.7:8443"]
    pins.path.write_text(json.dumps(held))

    assert pins.check("10.1.1.7", 8443, OTHER) is not None
    assert pins.fingerprints("10.1.1.8", 8443) == (fingerprint(ONE),)


def test_a_certificate_added_ahead_of_a_renewal_is_accepted_in_any_usual_form(tmp_path: Path) -> None:
    pins = TlsPins(tmp_path / "pins.json")
    pins.check("cm1", 8443, ONE)
    for form in (fingerprint(OTHER), fingerprint(OTHER).lower(), hashlib.sha256(OTHER).hexdigest()):
        held = json.loads(pins.path.read_text())
        held["cm1:8443"]["sha256"] = [fingerprint(ONE), form]
        pins.path.write_text(json.dumps(held))
        assert pins.check("cm1", 8443, OTHER) is None
        assert pins.check("cm1", 8443, ONE) is None


def test_ports_of_one_host_are_different_and_case_does_not_matter(tmp_path: Path) -> None:
    pins = TlsPins(tmp_path / "pins.json")
    pins.check("CM1.Example.com", 8443, ONE)

    assert pins.check("cm1.example.com", 443, OTHER) is not None
    assert pins.check("cm1.example.COM", 8443, ONE) is None
    assert pins.check("2001:db8::1", 443, OTHER) is not None
    assert "[2001:db8::1]:443" in pins.path.read_text()


def test_forgetting_makes_the_next_contact_a_first_one(tmp_path: Path) -> None:
    pins = TlsPins(tmp_path / "pins.json")
    assert not pins.forget("cm1", 8443)
    pins.check("cm1", 8443, ONE)
    pins.check("cm2", 8443, ONE)

    assert pins.forget("CM1", 8443)
    assert not pins.forget("cm1", 8443)
    assert pins.check("cm1", 8443, OTHER) is not None
    assert pins.fingerprints("cm2", 8443) == (fingerprint(ONE),)


def test_bytes_that_are_no_certificate_can_be_pinned_too(tmp_path: Path) -> None:
    # An old or odd certificate that can't be parsed here still identifies its node.
    pins = TlsPins(tmp_path / "pins.json")
    contact = pins.check("cm1", 8443, b"odd")
    assert contact is not None
    assert "can't be read" in contact.subject
    assert pins.check("cm1", 8443, b"odd") is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        '{"cm1:8443": 7}',
        '{"cm1:8443": {}}',
        '{"cm1:8443": {"sha256": []}}',
        '{"cm1:8443": {"sha256": ["AA:BB"]}}',
        '{"cm1:8443": {"sha256": [null]}}',
        "[" * 100_000,
    ],
)
def test_a_garbled_file_is_no_first_contact(tmp_path: Path, content: str) -> None:
    pins = TlsPins(tmp_path / "pins.json")
    pins.path.write_text(content)
    with pytest.raises(SettingsError, match=r"pins\.json"):
        pins.check("cm1", 8443, ONE)
    assert pins.path.read_text() == content


@given(st.binary(max_size=200))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    pins = TlsPins(tmp_path_factory.mktemp("any") / "pins.json")
    pins.path.write_bytes(content)
    with contextlib.suppress(SettingsError):
        assert isinstance(pins.fingerprints("cm1", 8443), tuple)


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    pins = TlsPins(tmp_path / "file" / "pins.json")
    with pytest.raises(SettingsError, match="can't"):
        pins.check("cm1", 8443, ONE)


def test_processes_that_pin_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    code = (
        "import sys; from pathlib import Path; from trustbridge.cucm.pins import TlsPins\n"
        "pins = TlsPins(Path(sys.argv[1]))\n"
        "for n in range(25): pins.check(f'cm{n}-{sys.argv[2]}', 8443, b'certificate')\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), str(number)]) for number in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    held = json.loads(path.read_text())
    assert set(held) == {f"cm{n}-{number}:8443" for n in range(25) for number in range(4)}
