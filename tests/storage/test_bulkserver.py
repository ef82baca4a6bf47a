"""The SFTP server's settings: kept without the password, which goes to no other server than its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from trustbridge.errors import NotConfigured, SettingsError
from trustbridge.storage.bulkserver import FILE, BulkServers
from trustbridge.storage.passwordfile import FILE as PASSWORDS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PASSWORD = "a password of the server"


def test_settings_are_kept_and_the_password_apart(tmp_path: Path) -> None:
    servers = BulkServers(tmp_path)
    assert servers.get() is None
    with pytest.raises(NotConfigured):
        servers.settings()
    servers.save("sftp.example", 2222, "bulk", "/exchange", PASSWORD)
    assert PASSWORD not in (tmp_path / FILE).read_text()
    for name in (FILE, PASSWORDS):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    found = BulkServers(tmp_path).settings()
    assert (found.host, found.port, found.username, found.directory) == ("sftp.example", 2222, "bulk", "/exchange")
    assert found.password == PASSWORD


def test_who_was_told_is_outdated_by_any_change(tmp_path: Path) -> None:
    servers = BulkServers(tmp_path)
    first = servers.save("sftp.example", 22, "bulk", "/", PASSWORD)
    servers.tell("source", first.revision, NOW)
    known = servers.save("sftp.example", 22, "bulk", "/")
    assert known.current("source")
    assert not known.current("destination")
    assert not servers.save("sftp.example", 22, "bulk", "/other").current("source")
    again = servers.save("sftp.example", 22, "bulk", "/other", PASSWORD + "!")
    servers.tell("source", again.revision, NOW)
    assert not servers.save("sftp.example", 22, "bulk", "/other", PASSWORD).current("source")


@pytest.mark.parametrize(
    ("host", "port", "username"),
    [("other.example", 22, "bulk"), ("sftp.example", 23, "bulk"), ("sftp.example", 22, "me")],
)
def test_the_password_goes_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, port: int, username: str
) -> None:
    monkeypatch.setenv("TRUSTBRIDGE_SFTP_PASSWORD", "of somebody at a terminal")
    servers = BulkServers(tmp_path)
    servers.save("sftp.example", 22, "bulk", "/", PASSWORD)
    with pytest.raises(SettingsError, match="there is no password"):
        servers.save(host, port, username, "/")
    assert servers.get() == BulkServers(tmp_path).get()
    assert servers.settings().host == "sftp.example"


@pytest.mark.parametrize(
    "values",
    [
        ("", 22, "bulk", "/", PASSWORD),
        ("a b", 22, "bulk", "/", PASSWORD),
        ("sftp.example", 0, "bulk", "/", PASSWORD),
        ("sftp.example", 22, "", "/", PASSWORD),
        ("sftp.example", 22, "bulk", "/\n", PASSWORD),
        ("sftp.example", 22, "bulk", "/", "two\nlines"),
    ],
)
def test_what_can_not_work_is_not_kept(tmp_path: Path, values: tuple[str, int, str, str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        BulkServers(tmp_path).save(*values)
    assert "two" not in caught.value.message
    assert not (tmp_path / FILE).exists()


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[]")
    with pytest.raises(SettingsError, match="can't be read"):
        BulkServers(tmp_path).get()
