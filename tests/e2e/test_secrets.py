"""No password is anywhere but where it is kept: not in what commands say, nor in any process list while they run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.e2e.test_cluster import CLUSTERS, asked, credentials_of, entry_of, secrets_of
from tests.e2e.wirefaults import HTTPS, SSH, Front, Garble, Reset
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones

from trustbridge.cucm.credentials import Realm, variable
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile

_PROC = Path("/proc")
pytestmark = pytest.mark.skipif(not (_PROC / "self" / "environ").exists(), reason="this system has no /proc")


@dataclass
class Seen:
    """What anybody could see of a command: of itself, and of whatever it started."""

    output: str = ""
    code: int = 0
    command_lines: set[str] = field(default_factory=set)
    environments: set[str] = field(default_factory=set)

    def look(self, root: int) -> None:
        """At the processes there are now."""
        parents = {}
        for folder in _PROC.iterdir():
            if folder.name.isdecimal():
                try:
                    parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                except (OSError, ValueError):
                    continue
        family = {root}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        own = ""
        for pid in sorted(family, key=lambda pid: pid != root):
            try:
                line = (_PROC / str(pid) / "cmdline").read_text("utf-8", "replace")
                self.command_lines.add(line)
                own = line if pid == root else own
                # Until it becomes another program, a child is a copy of its parent and shows what that was given.
                if line != own:
                    self.environments.add((_PROC / str(pid) / "environ").read_text("utf-8", "replace"))
            except OSError:
                continue


class Commands:
    """`trustbridge ...` in processes of their own, watched from their first moment to their last."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRUSTBRIDGE_", "XDG_"))}
        self.environment = kept | {
            "HOME": str(folder),
            "TRUSTBRIDGE_STATE_FOLDER": str(self.state),
            "TRUSTBRIDGE_LOG_LEVEL": "debug",
        }

    def __call__(self, *arguments: str, said: str = "", **more: str) -> Seen:
        process = subprocess.Popen(
            [sys.executable, "-m", "trustbridge", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment | more,
        )
        seen, over = Seen(), threading.Event()

        def watch() -> None:
            while not over.wait(0.01):
                seen.look(process.pid)

        seen.look(process.pid)
        watching = threading.Thread(target=watch)
        watching.start()
        try:
            seen.output, _ = process.communicate(said, timeout=90)
        finally:
            over.set()
            watching.join()
        seen.code = process.returncode
        return seen


@pytest.fixture(scope="module")
def live(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    folder = tmp_path_factory.mktemp("secrets")
    definition = lab_definition(phones(1), source={"release": "12.5"}, destination={"release": "15"})
    with LiveLab(prepared.lab(folder / "lab", definition)) as live:
        yield live


def check(seen: Seen, secrets: list[str]) -> Seen:
    assert seen.command_lines
    for secret in secrets:
        assert secret not in seen.output
        assert not [line for line in seen.command_lines if secret in line]
        assert not [environment for environment in seen.environments if secret in environment]
    assert "Traceback" not in seen.output
    return seen


def test_what_is_watched_is_seen(tmp_path: Path) -> None:
    """Else the other tests here would find nothing, whatever there was."""
    seen = Seen()
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()', 'on the line'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, env=os.environ | {"SECRET": "in the environment"}
    )
    try:
        while not any("in the environment" in one for one in seen.environments):
            seen.look(process.pid)
    finally:
        process.communicate(b"\n", timeout=60)
    assert any("on the line" in line for line in seen.command_lines)


def test_commands_show_no_password_to_anybody(live: LiveLab, tmp_path: Path) -> None:
    command, secrets = Commands(tmp_path), secrets_of(live)
    with asked(live):
        assert check(command("cluster", "add", "--lab", str(live.folder)), secrets).code == 0
    assert check(command("cluster", "list", "--json"), secrets).code == 0
    for name in CLUSTERS:
        assert check(command("cluster", "test", name), secrets).code == 0
    assert check(command("cluster", "show", "source"), secrets).code == 0

    # From the environment, where only its user can read it, it goes to nothing that the command starts.
    held = live.source.accounts
    given = {
        variable("source", Realm.OS): held.credentials("os")[1],
        variable("source", Realm.APP): held.credentials("application")[1],
    }
    assert check(command("cluster", "test", "source", **given), secrets).code == 0
    wrong = {name: f"{password} and wrong" for name, password in given.items()}
    assert check(command("cluster", "show", "source", "--alone", **wrong), secrets).code == 5

    # Into a keyring, which here is one that keeps them in a file of its own.
    backend = {"PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring"}
    new = "a password nobody has"
    stored = command("cluster", "password", "source", "--os", "--password-file", "-", said=f"{new}\n", **backend)
    assert check(stored, [*secrets, new]).code == 0
    assert "kept in" in stored.output
    refused = check(command("cluster", "test", "source", **backend), [*secrets, new])
    assert refused.code == 5  # it is the keyring's that was tried
    assert "✗ command line" in refused.output
    assert check(command("cluster", "password", "source", "--os", "--forget", **backend), [*secrets, new]).code == 0
    assert check(command("cluster", "test", "source", **backend), secrets).code == 0

    assert check(command("cluster", "remove", "source"), secrets).code == 0
    for path in command.state.rglob("*"):
        if path.is_file() and path.name != "passwords.json":
            assert not [secret for secret in secrets if secret in path.read_text("utf-8", "replace")], path
    assert not [secret for secret in given.values() if secret in (command.state / "passwords.json").read_text()]


@pytest.mark.parametrize("fault", [Reset(), Garble(after=40)], ids=["reset", "garbled"])
def test_a_command_whose_node_fails_ends_in_words(live: LiveLab, tmp_path: Path, fault: Reset | Garble) -> None:
    command, secrets = Commands(tmp_path), secrets_of(live)
    with Front.before(live.destination, "dst-pub") as front:
        Inventory(command.state).add(front.entry(entry_of(live.destination)))
        PasswordFile(command.state).keep("destination", credentials_of(live.destination))
        for port in (SSH, HTTPS):
            front.spoil(port, fault)
        seen = check(command("cluster", "show", "destination"), secrets)
        assert seen.code == 4
        assert "trustbridge: destination (" in seen.output
        front.heal()
        assert check(command("cluster", "show", "destination"), secrets).code == 0
