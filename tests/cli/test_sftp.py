"""`trustbridge sftp serve`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest
from typer.testing import CliRunner

from trustbridge.cli.passwords import PASSWORD_VARIABLE
from trustbridge.cli.sftp import app
from trustbridge.errors import AuthenticationRefused, PortTaken, Refused, SettingsError
from trustbridge.exchange.directory import SftpSettings, open_sftp
from trustbridge.exchange.hostkeys import HostKeyPins

PASSWORD = "correct horse 7 Battery"
SERVE = [sys.executable, "-c", "from trustbridge.cli.sftp import app; app()", "serve"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "served"
    path.mkdir()
    return path


class Serving:
    """A `serve` that runs, and what it said first."""

    def __init__(self, process: subprocess.Popen[str], tmp_path: Path) -> None:
        self.process = process
        self._tmp_path = tmp_path
        assert process.stdout is not None
        self.said = ""
        for line in process.stdout:
            self.said += line
            if line.startswith("Ctrl-C"):
                break
        else:
            pytest.fail(f"it ended: {process.communicate()}")
        found = re.search(r"on (\S+) port (\d+), serving", self.said)
        assert found is not None
        self.host, self.port = found[1], int(found[2])

    def settings(self, **changes: object) -> SftpSettings:
        values = {"host": "127.0.0.1", "port": self.port, "username": "bulk", "password": PASSWORD, "directory": "/"}
        return SftpSettings(**values | changes)  # type: ignore[arg-type]  # each test gives what it needs

    async def store_and_read(self, **changes: object) -> bytes:
        pins = HostKeyPins(self._tmp_path / "pins")
        async with open_sftp(self.settings(**changes), pins) as directory:
            if directory.first_contact is not None:
                assert directory.first_contact.key.fingerprint in self.said
            await directory.write_atomic("a.p12", b"bundle")
            return await directory.read("a.p12")

    def stop(self, number: signal.Signals) -> tuple[str, str]:
        self.process.send_signal(number)
        return self.process.communicate(timeout=10)


@contextmanager
def serving(tmp_path: Path, *arguments: str, **environment: str) -> Iterator[Serving]:
    process = subprocess.Popen(
        [*SERVE, str(tmp_path / "served"), "--user", "bulk", "--port", "0", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != PASSWORD_VARIABLE}
        | {"HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state")}
        | environment,
    )
    try:
        yield Serving(process, tmp_path)
    finally:
        process.kill()
        process.communicate()


def test_it_serves_tells_how_to_use_it_logs_and_ends_cleanly(folder: Path, tmp_path: Path) -> None:
    with serving(tmp_path, **{PASSWORD_VARIABLE: PASSWORD}) as server:
        assert asyncio.run(server.store_and_read()) == b"bundle"
        assert (folder / "a.p12").read_bytes() == b"bundle"
        with pytest.raises(AuthenticationRefused):
            asyncio.run(server.store_and_read(password="wrong"))
        out, log = server.stop(signal.SIGINT)
        assert server.process.returncode == 0
    assert server.host == "127.0.0.1"
    assert str(folder) in server.said
    assert "SHA256:" in server.said
    assert f"sftp -P {server.port} bulk@127.0.0.1" in server.said
    assert "Bulk Certificate Management" in server.said
    assert "from this machine only" in server.said
    assert out == "Stopped.\n"
    assert "bulk from 127.0.0.1 logged in with a password" in log
    assert "bulk from 127.0.0.1 stored /a.p12, 6 bytes" in log
    assert "refused login of bulk from 127.0.0.1" in log
    assert "Traceback" not in log
    assert PASSWORD not in server.said + out + log
    assert "wrong user or password" in log


def test_a_listener_for_others_says_what_that_exposes(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\nnot this line\n")
    secret.chmod(0o600)
    host_key = tmp_path / "host_key"
    arguments = ("--listen", "0.0.0.0", "--password-file", str(secret), "--host-key", str(host_key), "--read-only")
    with serving(tmp_path, *arguments) as server:
        with pytest.raises(Refused, match="read-only"):
            asyncio.run(server.store_and_read())
        _, log = server.stop(signal.SIGTERM)
        assert server.process.returncode == 0
    assert "by every machine that can reach 0.0.0.0" in server.said
    assert "read-only" in server.said
    assert host_key.exists()
    assert "warning" not in log


def test_keys_alone_need_no_password_and_the_host_key_stays(folder: Path, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "key")
    key.write_public_key(tmp_path / "authorized")
    # A password in the environment is for other commands then: it opens nothing here.
    arguments = ("--authorized-keys", str(tmp_path / "authorized"))
    with serving(tmp_path, *arguments, **{PASSWORD_VARIABLE: PASSWORD}) as server:
        assert "bulk, with a key\n" in server.said
        fingerprints = re.findall(r"SHA256:\S+", server.said)
        assert asyncio.run(server.store_and_read(password=None, key_file=tmp_path / "key")) == b"bundle"
        with pytest.raises(AuthenticationRefused):
            asyncio.run(server.store_and_read())
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    with serving(tmp_path, *arguments, "--password-file", str(secret)) as server:
        assert "bulk, with a password or a key\n" in server.said
        assert re.findall(r"SHA256:\S+", server.said) == fingerprints
        assert len(fingerprints) == 1
        assert asyncio.run(server.store_and_read()) == b"bundle"
        _, log = server.stop(signal.SIGINT)
    assert f"warning: other users may be able to read {secret}" in log
    assert (tmp_path / "state" / "trustbridge" / "sftp_host_key").stat().st_mode & 0o777 == 0o600


Refuse = Callable[..., Exception]


@pytest.fixture
def refuse(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Run the command, which must refuse; its error."""
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*arguments: str) -> Exception:
        result = CliRunner().invoke(app, ["serve", str(folder), "--user", "bulk", *arguments])
        assert isinstance(result.exception, Exception), result.output
        assert PASSWORD not in str(result.exception) + result.output
        return result.exception

    return run


def test_without_a_password_and_a_terminal_it_says_where_passwords_come_from(refuse: Refuse) -> None:
    error = refuse()
    assert isinstance(error, SettingsError)
    assert "no terminal" in error.message
    assert PASSWORD_VARIABLE in error.hint


def test_an_empty_password_is_refused_wherever_it_comes_from(
    refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").write_text("\nsecond line\n")
    assert "is empty" in str(refuse("--password-file", str(tmp_path / "empty")))
    monkeypatch.setenv(PASSWORD_VARIABLE, "")
    assert "is empty" in str(refuse())


def test_a_password_file_that_can_not_be_or_should_not_be_there_is_named(
    refuse: Refuse, folder: Path, tmp_path: Path
) -> None:
    assert "can't read the password file" in str(refuse("--password-file", str(tmp_path / "missing")))
    (folder / "password").write_text(PASSWORD)
    error = refuse("--password-file", str(folder / "password"))
    assert isinstance(error, SettingsError)
    assert "lies in the directory that is served" in error.message


def test_a_missing_directory_and_a_taken_port_end_in_words(
    refuse: Refuse, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, **{PASSWORD_VARIABLE: PASSWORD}) as server:
        monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
        assert isinstance(refuse("--port", str(server.port)), PortTaken)
    folder.rmdir()
    error = refuse()
    assert isinstance(error, SettingsError)
    assert "there is no directory" in error.message
    assert "mkdir" in error.hint


def test_a_password_is_asked_for_at_a_terminal(folder: Path, tmp_path: Path) -> None:
    """With a pseudo-terminal as standard input, as a person would."""
    terminal, end = os.openpty()
    process = subprocess.Popen(
        [*SERVE, str(folder), "--user", "bulk", "--port", "0", "--host-key", str(tmp_path / "host_key")],
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=end,
        text=True,
        env={name: value for name, value in os.environ.items() if name != PASSWORD_VARIABLE},
        start_new_session=True,
    )
    os.close(end)
    try:
        shown = ""
        # The last space comes when the echo is off: what is typed before that is thrown away.
        for question in ("Password of bulk: ", "Repeat for confirmation: "):
            deadline = time.monotonic() + 10
            while question not in shown and time.monotonic() < deadline:
                shown += os.read(terminal, 4096).decode()
            assert question in shown
            os.write(terminal, f"{PASSWORD}\n".encode())
        server = Serving(process, tmp_path)
        assert asyncio.run(server.store_and_read()) == b"bundle"
        assert PASSWORD not in shown
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)


def test_a_password_is_no_argument() -> None:
    result = CliRunner().invoke(app, ["serve", "--help"])
    assert result.exit_code == 0
    assert "--password " not in result.output
    assert "--password-file" in result.output


def test_the_module_is_light_until_the_command_runs() -> None:
    heavy = ("asyncssh", "cryptography", "pydantic", "structlog", "rich", "asyncio")
    script = f"import sys, trustbridge.cli.sftp; print([name for name in {heavy} if name in sys.modules])"
    before = f"import sys, typer; print([name for name in {heavy} if name in sys.modules])"
    loaded, base = (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        for code in (script, before)
    )
    assert loaded == base
