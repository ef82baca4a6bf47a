"""OpenSSH's client at a lab node's command line, driven through a pseudo-terminal as a person drives it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones

from trustbridge.services.terminal import MORE

pytestmark = pytest.mark.skipif(
    not (shutil.which("ssh") and shutil.which("setsid")),
    reason="needs ssh and setsid (Debian: openssh-client, util-linux)",
)
#: Longest that anything here may take, seconds.
PATIENCE = 20.0
ROWS, COLUMNS = 12, 100


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    prepared = Prepared.once(tmp_path_factory)
    folder = tmp_path_factory.mktemp("ssh") / "lab"
    with LiveLab(prepared.lab(folder, lab_definition(phones(1)))) as live:
        yield live


class Ssh:
    """`ssh` with a terminal of its own; what it shows is read from there."""

    def __init__(self, live: LiveLab, folder: Path, *arguments: str, options: tuple[str, ...] = ()) -> None:
        cluster = live.destination
        self.user, self.password = cluster.accounts.credentials("os")
        self.shown = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        settings = (
            f"UserKnownHostsFile={folder / 'known_hosts'}",
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=accept-new",
            "NumberOfPasswordPrompts=1",
            "PubkeyAuthentication=no",
            "LogLevel=ERROR",
            *options,
        )
        command = ["setsid", "--ctty", "--wait", "ssh", "-F", "none", "-p", str(cluster.ports.ssh)]
        for setting in settings:
            command += ["-o", setting]
        command += [*arguments[:1], f"{self.user}@{cluster.definition.address(cluster.publisher)}", *arguments[1:]]
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "vt100", "LC_ALL": "C"}
        try:
            self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        finally:
            os.close(slave)

    def until(self, pattern: str) -> str:
        """What is shown up to the end of a pattern."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.shown, re.DOTALL)):
            assert self._read(end), f"it ended before {pattern!r}: {self.shown!r}"
        shown, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return shown

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"nothing more came: {self.shown!r}"
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side of a terminal has closed
            return False
        self.shown += data.decode()
        return bool(data)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def ask(self, line: str, pattern: str = r"\r\nadmin:\Z") -> str:
        self.type(f"{line}\r")
        return self.until(pattern)

    def log_in(self, password: str | None = None) -> None:
        self.until(r"[Pp]assword: ?")
        self.type(f"{self.password if password is None else password}\r")

    def end(self) -> tuple[int, str]:
        """Exit status, and what was shown last."""
        end = time.monotonic() + PATIENCE
        while self._read(end):
            pass
        return self.process.wait(PATIENCE), self.shown

    def __enter__(self) -> Ssh:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        os.close(self._master)


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_person_logs_in_looks_and_leaves(live: LiveLab, tmp_path: Path, method: str) -> None:
    with Ssh(live, tmp_path, "-tt", options=(f"PreferredAuthentications={method}",)) as ssh:
        ssh.log_in()
        greeting = ssh.until("admin:")
        assert "Command Line Interface is starting up, please wait ..." in greeting
        assert "Welcome to the Platform Command Line Interface" in greeting
        assert ssh.password not in greeting
        assert "Active Master Version: 14.0.1.10000-20\r\n" in ssh.ask("show version active")
        ssh.type("exit\r")
        assert ssh.end()[0] == 0


def test_the_host_key_is_the_one_on_disk(live: LiveLab, tmp_path: Path) -> None:
    with Ssh(live, tmp_path, "-tt") as ssh:
        ssh.log_in()
        ssh.until("admin:")
        ssh.type("\x04")
        assert ssh.end()[0] == 0
    own = live.destination.tftp_folder("dst-pub").with_name("ssh_host_key")
    assert own.stat().st_mode & 0o777 == 0o600
    public = subprocess.run(["ssh-keygen", "-y", "-f", own], capture_output=True, text=True, check=True).stdout
    assert public.split()[1] in (tmp_path / "known_hosts").read_text()


def test_pages_are_turned_with_space_and_left_with_q(live: LiveLab, tmp_path: Path) -> None:
    with Ssh(live, tmp_path, "-tt") as ssh:
        ssh.log_in()
        ssh.until("admin:")
        first = ssh.ask("show itl", re.escape(MORE))
        assert first.count("\r\n") == ROWS  # the command's own line, and a screen but for the pager's
        ssh.type(" ")
        second = ssh.until(re.escape(MORE))
        assert "BYTEPOS" in second
        ssh.type("\r")
        assert ssh.until(re.escape(MORE)).count("\r\n") == 1
        ssh.type("q")
        assert "verified" not in ssh.until("admin:")
        ssh.ask("set cli pagination off")
        assert "The ITL file was verified successfully.\r\n" in ssh.ask("show itl")


def test_a_question_is_answered_and_acts(live: LiveLab, tmp_path: Path) -> None:
    with Ssh(live, tmp_path, "-tt") as ssh:
        ssh.log_in()
        ssh.until("admin:")
        ssh.ask("utils ctl set-cluster non-secure-mode", r"\(y/n\):")
        ssh.ask("what?", r"for <no>: ")
        assert "Cluster set to Non Secure Mode\r\n" in ssh.ask("y")
        assert not live.destination.mixed_mode
        ssh.ask("utils ctl set-cluster mixed-mode", r"\(y/n\):")
        assert "Cluster set to Mixed Mode\r\n" in ssh.ask("y")
        assert live.destination.mixed_mode


def test_a_certificate_is_pasted(live: LiveLab, tmp_path: Path) -> None:
    given = live.source.list_signer("src-pub").certificate
    with Ssh(live, tmp_path, "-tt") as ssh:
        ssh.log_in()
        ssh.until("admin:")
        ssh.ask("set cert import trust Phone-SAST-trust", "Hit Enter\r\n")
        assert "Successfully imported certificate for Phone-SAST-trust.\r\n" in ssh.ask(given.pem())
        ssh.ask(f"set cert delete Phone-SAST-trust {given.common_name}.pem", "Successfully deleted")


def test_typing_is_corrected_and_ctrl_c_leaves(live: LiveLab, tmp_path: Path) -> None:
    with Ssh(live, tmp_path, "-tt") as ssh:
        ssh.log_in()
        ssh.until("admin:")
        assert "Active Master" in ssh.ask("shopw\x7f\x7fw version active")
        ssh.type("show itl\x03")
        ssh.until(r"\^C\r\nadmin:")
        ssh.ask("utils ctl set-cluster non-secure-mode", r"\(y/n\):")
        ssh.type("\x03")
        ssh.until("admin:")
        assert live.destination.mixed_mode


def test_a_wrong_password_is_refused(live: LiveLab, tmp_path: Path) -> None:
    with Ssh(live, tmp_path, "-tt", options=("PreferredAuthentications=password",)) as ssh:
        ssh.log_in("wrong")
        status, shown = ssh.end()
    assert status == 255
    assert "Permission denied" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-tt", "show version active"), "exec request failed"),
        (("-T", "show version active"), "exec request failed"),
        (("-T",), "shell request failed"),
        (("-s", "sftp"), "subsystem request failed"),
    ],
)
def test_commands_by_exec_shells_without_a_terminal_and_sftp_are_refused(
    live: LiveLab, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    with Ssh(live, tmp_path, *arguments) as ssh:
        ssh.log_in()
        status, shown = ssh.end()
    assert status == 255
    assert words in shown
    assert "Active Master" not in shown
