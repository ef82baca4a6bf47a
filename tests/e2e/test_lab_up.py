"""`trustbridge lab up` and `down` as processes: signals, kills, refusals, secrets, ordinary users.

A process costs a second to start, so each test does much with few of them; what a lab is asked goes to its socket.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import programs
from tests.lab.prepared import ENCRYPTED, SHIFT, Prepared, lab_definition, phones

from trustbridge.errors import NotNow
from trustbridge.lab import control


class Up:
    """A lab's folder, the command line on it, and whoever asks the lab in it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return programs.run(self.home, *arguments)

    def ask(self, do: str, **request: Any) -> Any:
        return asyncio.run(control.ask(self.folder, {"do": do, **request}))

    def foreground(self, **more: str) -> subprocess.Popen[str]:
        """A lab in the foreground, once it takes requests."""
        process = programs.start(self.home, "lab", "up", "--foreground", str(self.folder), more=more)
        programs.until((self.folder / control.SOCKET).exists, process)
        return process

    @property
    def processes(self) -> list[int]:
        """Processes that run this lab."""
        return [pid for pid, line in command_lines() if str(self.folder) in line and "--foreground" in line]

    def kill(self) -> None:
        for pid in self.processes:
            os.kill(pid, signal.SIGKILL)
        programs.until(lambda: not self.processes)


def command_lines() -> Iterator[tuple[int, str]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def up(prepared: Prepared, tmp_path: Path) -> Iterator[Up]:
    definition = lab_definition(phones(2), phones(1, security=ENCRYPTED))
    up = Up(prepared.lab(tmp_path / "lab", definition), tmp_path)
    yield up
    up.kill()


def test_up_in_the_background_in_nobodys_way_and_down_again(up: Up, prepared: Prepared) -> None:
    done = up.run("lab", "up", str(up.folder))
    assert done.returncode == 0, done.stderr
    assert "3 source" in done.stdout  # and it waited until they were
    assert len(up.processes) == 1
    assert mode(up.folder / "log") == mode(up.folder / control.SOCKET) == 0o600
    other = prepared.lab(up.home / "other", lab_definition())
    taken = up.run("lab", "up", str(other))
    assert taken.returncode == 7
    assert f"port {SHIFT + 2445}" in no_traceback(taken)
    assert "lab down" in (other / "log").read_text()
    assert {phone["registered_at"] for phone in up.ask("status")["phones"]} == {"source"}
    gone = up.run("lab", "down", str(up.folder))
    assert gone.returncode == 0, gone.stderr
    programs.until(lambda: not up.processes)
    assert not (up.folder / control.SOCKET).exists()
    assert "Traceback" not in (up.folder / "log").read_text()


def test_a_killed_lab_comes_up_again_where_it_was(up: Up) -> None:
    assert up.run("lab", "up", str(up.folder)).returncode == 0
    destination = up.ask("point", cluster="destination")
    up.ask("rollback-parameter", cluster="source", value=True)
    up.kill()
    assert (up.folder / control.SOCKET).exists()  # nobody was there to take it away
    with pytest.raises(NotNow, match=r"no lab is up|ended before it answered"):
        up.ask("status")
    done = up.run("lab", "up", str(up.folder))
    assert done.returncode == 0, done.stderr
    status = up.ask("status")
    assert status["option150"] == destination
    assert status["clusters"][0]["prepare_for_rollback"] is True
    assert {phone["registered_at"] for phone in status["phones"]} == {"source"}  # stranded, and working


@pytest.mark.parametrize(
    ("number", "phones_wait"), [(signal.SIGINT, True), (signal.SIGTERM, False)], ids=["SIGINT up", "SIGTERM starting"]
)
def test_a_signal_takes_a_lab_in_the_foreground_down(up: Up, number: signal.Signals, phones_wait: bool) -> None:
    process = up.foreground()
    if phones_wait:
        up.ask("booted")
    done = programs.ended(process, number)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "lab is down"
    assert not (up.folder / control.SOCKET).exists()


# Refusals, in words.


def no_traceback(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.startswith("trustbridge: ")
    return done.stderr


@pytest.mark.parametrize(
    ("what", "value", "words"),
    [
        (resource.RLIMIT_FSIZE, 100, r"can't be (made or read|started): /.*: File too large"),
        (resource.RLIMIT_NOFILE, 30, r"Too many open files"),
    ],
    ids=["a disk that takes nothing", "too few file descriptors"],
)
def test_a_system_that_gives_too_little_is_told_in_words(up: Up, what: int, value: int, words: str) -> None:
    code = (
        f"import resource, sys; resource.setrlimit({what}, ({value}, {value})); "
        f"sys.argv[1:] = ['lab', 'up', '--foreground', {str(up.folder)!r}]; "
        "from trustbridge.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=programs.environment(up.home),
    )
    assert done.returncode in (1, 7)
    assert re.search(words, no_traceback(done))


# Secrets.


def test_no_secret_is_readable_by_others_or_told_anybody(up: Up) -> None:
    process = up.foreground(TRUSTBRIDGE_LOG_LEVEL="debug")
    password = (up.folder / "sftp" / "password").read_text().strip()
    up.ask("booted")
    answers = [up.ask("sftp", cluster="source"), up.ask("export", cluster="source", type="all")]
    answers += [up.ask("list", cluster="source"), up.ask("status"), up.ask("phone", name="SEP001B0C000003")]
    shown = up.run("lab", "status", str(up.folder))
    assert not any(password in line for _, line in command_lines())
    assert up.run("lab", "down", str(up.folder)).returncode == 0
    done = programs.ended(process)
    assert done.returncode == 0
    told = "".join([*map(str, answers), shown.stdout, shown.stderr, done.stdout, done.stderr])
    assert password not in told
    assert "PRIVATE KEY" not in told
    holding = set()
    for path in up.folder.rglob("*"):
        if path.is_dir():
            assert mode(path) == 0o700, path
        elif path.is_file():
            content = path.read_bytes()
            if b"PRIVATE KEY" in content or password.encode() in content:
                holding.add(path.name)
                assert mode(path) == 0o600, path
    assert {"lsc.key", "host_key", "password", "cluster.json", "TVS.key", "CAPF.key"} <= holding


# An ordinary user.


def python_for_nobody() -> tuple[list[str], dict[str, str]] | None:
    """A command and environment that run this Python's packages as nobody; None where nobody can run any."""
    environment = {
        "PYTHONPATH": os.pathsep.join(
            (str(Path(__file__).parents[2] / "src"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
        ),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": os.environ["PATH"],
    }
    for interpreter in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", interpreter]
        tried = [*command, "-c", "import trustbridge.cli, cryptography, typer"]
        if subprocess.run(tried, env=environment, capture_output=True, check=False, cwd="/").returncode == 0:
            return command, environment
    return None


def test_an_ordinary_user_runs_the_whole_lab() -> None:
    """The demo by somebody who may bind no port below 1024: nobody, where this is root; else whoever this is."""
    command, environment = [sys.executable], programs.inherited()
    home = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not here: apt-get install util-linux")
        found = python_for_nobody()
        if found is None:  # this one without any capability may bind as little
            command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable]
        else:
            command, environment = found
            os.chown(home, 65534, 65534)
    try:
        done = subprocess.run(
            [sys.executable, programs.ALONE, *command, "-m", "trustbridge", "demo", "--phones", "4", "--keep"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
            env=environment | {"HOME": str(home), "TMPDIR": str(home), "COLUMNS": "200"},
        )
        if done.returncode == 7 and not programs.isolated():
            pytest.skip(f"another lab is on this machine, and no network namespace is granted: {done.stderr}")
        assert done.returncode == 0, done.stderr + done.stdout
        assert "may not be bound by this user, so every port is shifted by 20000" in done.stdout
        assert "expectations held" in done.stdout
        (lab,) = (home / ".local" / "state" / "trustbridge" / "demos").iterdir()
        assert b"<port>22445</port>" in next(lab.glob("phones/*/configuration.xml")).read_bytes()
    finally:
        shutil.rmtree(home)
