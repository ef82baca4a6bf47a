"""A phone's flash: what it keeps, and the checksum that proves that nothing changed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.lab.prepared import NOW

from trustbridge.errors import InvalidCertificate
from trustbridge.lab.flash import FlashFolder
from trustbridge.pki.issue import Identity, Organisation, locally_significant, self_signed
from trustbridge.pki.units import Unit
from trustbridge.trust.events import Flash, Kept

NAME = "SEP001B0C000001"
ORGANISATION = Organisation(o="O")


def lsc() -> Identity:
    capf = self_signed(node="n", unit=Unit.CAPF, common_name="CAPF-1", organisation=ORGANISATION, now=NOW, key="p256")
    return locally_significant(capf, device=NAME, organisation=ORGANISATION, now=NOW, key="p256")


@pytest.fixture
def flash(tmp_path: Path) -> FlashFolder:
    (tmp_path / NAME).mkdir()
    return FlashFolder(tmp_path / NAME)


def test_a_phone_fresh_from_its_box_holds_nothing(flash: FlashFolder) -> None:
    assert flash.read() == Flash()
    assert flash.lsc() is None
    assert not flash.has_lsc


def test_what_is_written_is_kept(flash: FlashFolder) -> None:
    mine = lsc()
    for kept in Kept:
        flash.write(kept, kept.encode())
    flash.write_lsc(mine)
    assert flash.read() == Flash(b"CTL", b"ITL", b"configuration", mine.certificate.der)
    found = flash.lsc()
    assert found == mine
    assert found is not None
    assert found.key_pem() == mine.key_pem()
    assert flash.has_lsc
    assert [flash.kept(kept) for kept in Kept] == [kept.encode() for kept in Kept]


def test_files_are_private(flash: FlashFolder) -> None:
    flash.write(Kept.CTL, b"x")
    flash.write_lsc(lsc())
    assert {stat.S_IMODE(path.stat().st_mode) for path in flash.path.iterdir()} == {0o600}
    assert len(list(flash.path.iterdir())) == 3


def test_the_checksum_tells_every_change_apart(flash: FlashFolder) -> None:
    seen = [flash.checksum()]
    for kept in Kept:
        flash.write(kept, b"x")
        seen.append(flash.checksum())
    flash.write_lsc(lsc())
    seen.append(flash.checksum())
    flash.write(Kept.ITL, b"y")
    seen.append(flash.checksum())
    assert len(set(seen)) == len(seen)
    flash.write(Kept.ITL, b"x")
    assert flash.checksum() == seen[-2]


def test_the_checksum_knows_an_empty_file_from_none(flash: FlashFolder) -> None:
    before = flash.checksum()
    flash.write(Kept.ITL, b"")
    assert flash.checksum() != before


def test_erasing_trust_leaves_the_rest(flash: FlashFolder) -> None:
    mine = lsc()
    for kept in Kept:
        flash.write(kept, b"x")
    flash.write_lsc(mine)
    flash.erase_trust()
    flash.erase_trust()
    assert flash.read() == Flash(configuration=b"x", lsc=mine.certificate.der)


def test_an_lsc_without_its_key_is_none(flash: FlashFolder) -> None:
    flash.write_lsc(lsc())
    (flash.path / "lsc.key").unlink()
    assert flash.lsc() is None


@pytest.mark.parametrize("name", ["lsc.pem", "lsc.key"])
def test_a_damaged_lsc_is_told_and_counts_as_none(flash: FlashFolder, name: str) -> None:
    flash.write_lsc(lsc())
    (flash.path / name).write_text("damaged")
    with pytest.raises(InvalidCertificate):
        flash.lsc()
    assert not flash.has_lsc
