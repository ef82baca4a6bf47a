"""Our SFTP client against OpenSSH's servers, and OpenSSH's clients against our server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from trustbridge.errors import IdentityChanged, Refused, SettingsError, Unreachable
from trustbridge.exchange.directory import LocalDirectory, SftpSettings, open_sftp, part_name
from trustbridge.exchange.hostkeys import HostKey, HostKeyPins
from trustbridge.services.sftp import PasswordHash, SftpLimits, SftpServer, hash_password, start_sftp

PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")


def program(name: str, package: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return found


def sftp_server() -> str:
    for path in SFTP_SERVERS:
        if Path(path).exists():
            return path
    pytest.skip("sftp-server is not installed (Debian package openssh-sftp-server)")


@dataclasses.dataclass
class Keys:
    """A user's key, and a server's, made by ssh-keygen."""

    user: Path
    host: Path
    host_rsa: Path
    locked: Path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    keygen = program("ssh-keygen", "openssh-client")
    for name, kind, phrase in (
        ("user", "ed25519", ""),
        ("host", "ed25519", ""),
        ("host_rsa", "rsa", ""),
        ("locked", "ed25519", "secret phrase"),
    ):
        subprocess.run([keygen, "-q", "-t", kind, "-N", phrase, "-f", str(folder / name)], check=True)
    return Keys(folder / "user", folder / "host", folder / "host_rsa", folder / "locked")


# Our client, OpenSSH's servers


@dataclasses.dataclass
class Sshd:
    """A running sshd, whose users land in their home; `folder` is what the tests use of it."""

    port: int
    folder: Path
    pins: HostKeyPins
    key: Path
    process: subprocess.Popen[bytes]

    def settings(self, **changes: Any) -> SftpSettings:
        return SftpSettings(
            **dict[str, Any](
                host="127.0.0.1",
                port=self.port,
                username=getpass.getuser(),
                key_file=self.key,
                directory=str(self.folder),
            )
            | changes
        )

    def connect(self, **changes: Any) -> AbstractAsyncContextManager[Any]:
        return open_sftp(self.settings(**changes), self.pins, timeout=10)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@contextmanager
def sshd(tmp_path: Path, keys: Keys, subsystem: str) -> Iterator[Sshd]:
    daemon = program("sshd", "openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks its unprivileged half in
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path / "served"
    folder.mkdir(exist_ok=True)
    configuration = tmp_path / "sshd_config"
    configuration.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys.host}\nHostKey {keys.host_rsa}\n"
        f"AuthorizedKeysFile {keys.user}.pub\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nUseDNS no\nSubsystem sftp {subsystem}\n"
    )
    log = tmp_path / "sshd.log"
    with log.open("wb") as output:
        process = subprocess.Popen([daemon, "-D", "-e", "-f", str(configuration)], stderr=output)
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield Sshd(port, folder, HostKeyPins(tmp_path / "pins"), keys.user, process)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(params=["internal-sftp", "sftp-server", "sftp-server without posix-rename and fsync"])
def server(request: pytest.FixtureRequest, tmp_path: Path, keys: Keys) -> Iterator[Sshd]:
    subsystem = request.param
    if subsystem.startswith("sftp-server"):
        subsystem = sftp_server() + (" -P posix-rename,fsync" if "without" in subsystem else "")
    with sshd(tmp_path, keys, subsystem) as running:
        yield running


def test_our_client_does_all_it_does_with_a_real_server(server: Sshd) -> None:
    big = os.urandom(3_000_000)

    async def scenario() -> None:
        async with server.connect() as directory:
            assert directory.first_contact.key.kind == "ssh-ed25519"
            assert await directory.list() == []
            for content in (b"first, and longer", b"", big, b"last"):
                await directory.write_atomic("a.p12", content)
                assert await directory.read("a.p12") == content
                assert (server.folder / "a.p12").read_bytes() == content
            stale, fresh = part_name("a.p12"), part_name("a.p12")
            for name, age in ((stale, 3700), (fresh, 10)):
                (server.folder / name).touch()
                os.utime(server.folder / name, (time.time() - age,) * 2)
            (server.folder / "folder").mkdir()
            (server.folder / "link").symlink_to("a.p12")
        # The next writer, at its first write.
        async with server.connect() as directory:
            await directory.write_atomic("b.p12", b"12")
            assert server.names() == sorted([fresh, "a.p12", "b.p12", "folder", "link"])
            assert [(file.name, file.size) for file in await directory.list()] == [("a.p12", 4), ("b.p12", 2)]
            await directory.remove("a.p12")
            for attempt in (directory.read("a.p12"), directory.remove("a.p12")):
                with pytest.raises(Refused, match=r"a\.p12.*No such file"):
                    await attempt
            with pytest.raises(Refused, match="folder"):
                await directory.write_atomic("folder", b"1")
            assert server.names() == sorted([fresh, "b.p12", "folder", "link"])

    asyncio.run(scenario())


def test_writers_of_one_name_at_once_leave_one_whole_content(server: Sshd) -> None:
    contents = [bytes([number]) * 300_000 for number in range(6)]

    async def scenario() -> None:
        async with server.connect() as one, server.connect() as two:
            await asyncio.gather(
                *((one, two)[number % 2].write_atomic("a", content) for number, content in enumerate(contents))
            )
            assert await one.read("a") in contents
            assert server.names() == ["a"]

    asyncio.run(scenario())


@pytest.fixture
def real(tmp_path: Path, keys: Keys) -> Iterator[Sshd]:
    with sshd(tmp_path, keys, "internal-sftp") as running:
        yield running


def test_a_missing_directory_is_named_or_made(real: Sshd) -> None:
    path = real.folder / "not" / "there"

    async def scenario() -> None:
        with pytest.raises(SettingsError, match=r"there is no directory .*/not/there on"):
            async with real.connect(directory=str(path)):
                pass
        async with open_sftp(real.settings(directory=str(path)), real.pins, create=True) as directory:
            await directory.write_atomic("a", b"1")
        assert (path / "a").read_bytes() == b"1"

    asyncio.run(scenario())


def test_an_encrypted_key_is_a_wrong_setting(real: Sshd, keys: Keys) -> None:
    async def scenario() -> None:
        async with real.connect(key_file=keys.locked):
            pass

    with pytest.raises(SettingsError, match="encrypted"):
        asyncio.run(scenario())


def test_a_read_only_server_is_quoted(tmp_path: Path, keys: Keys) -> None:
    async def scenario(server: Sshd) -> None:
        async with server.connect() as directory:
            with pytest.raises(Refused, match=r"does not let .* write a: Permission denied"):
                await directory.write_atomic("a", b"1")

    with sshd(tmp_path, keys, f"{sftp_server()} -R") as server:
        asyncio.run(scenario(server))


def test_fingerprints_and_pins_are_openssh_s_own(real: Sshd, keys: Keys) -> None:
    async def scenario() -> str:
        async with real.connect() as directory:
            contact = directory.first_contact
            assert contact is not None
            return str(contact.key.fingerprint)

    fingerprint = asyncio.run(scenario())
    keygen = program("ssh-keygen", "openssh-client")
    shown = subprocess.run([keygen, "-lf", f"{keys.host}.pub"], check=True, capture_output=True, text=True).stdout
    assert shown.split()[1] == fingerprint
    found = subprocess.run(
        [keygen, "-F", f"[127.0.0.1]:{real.port}", "-f", str(real.pins.path)], capture_output=True, text=True
    )
    assert found.returncode == 0
    assert fingerprint in found.stdout


def test_the_kind_of_key_that_is_pinned_is_asked_for(real: Sshd, keys: Keys) -> None:
    rsa = asyncssh.read_public_key(f"{keys.host_rsa}.pub")

    async def scenario() -> None:
        real.pins.check("127.0.0.1", real.port, HostKey("ssh-rsa", rsa.public_data))
        async with real.connect() as directory:
            assert directory.first_contact is None
        real.pins.forget("127.0.0.1", real.port)
        real.pins.check("127.0.0.1", real.port, HostKey("ssh-rsa", b"another"))
        with pytest.raises(IdentityChanged, match="has changed"):
            async with real.connect():
                pass

    asyncio.run(scenario())


def test_a_server_killed_in_a_transfer_is_unreachable(real: Sshd) -> None:
    async def scenario() -> None:
        async with real.connect() as directory:
            write = asyncio.ensure_future(directory.write_atomic("a", bytes(60_000_000)))
            while not real.names():
                await asyncio.sleep(0.005)
            subprocess.run([program("pkill", "procps"), "-KILL", "-P", str(real.process.pid)], check=True)
            with pytest.raises(Unreachable, match=r"the connection to .* broke \(to write a\)"):
                await write

    asyncio.run(scenario())
    assert asyncio.run(LocalDirectory(real.folder).list()) == []


WRITER = """
import asyncio, sys
from pathlib import Path
from trustbridge.exchange.directory import LocalDirectory, SftpSettings, open_sftp
from trustbridge.exchange.hostkeys import HostKeyPins

port, user, key, folder, pins, mark, size, turns = sys.argv[1:]

async def main():
    settings = SftpSettings(host="127.0.0.1", port=int(port), username=user, key_file=Path(key), directory=folder)
    async with open_sftp(settings, HostKeyPins(Path(pins))) as directory:
        for turn in range(int(turns)):
            await directory.write_atomic("a.p12", mark.encode() * int(size))

asyncio.run(main())
"""


def writer(server: Sshd, mark: str, size: int, turns: int) -> subprocess.Popen[bytes]:
    settings = server.settings()
    arguments = (server.port, settings.username, server.key, server.folder, server.pins.path, mark, size, turns)
    return subprocess.Popen([sys.executable, "-c", WRITER, *map(str, arguments)])


def test_a_writer_killed_in_a_write_leaves_nothing_that_is_listed(real: Sshd) -> None:
    (real.folder / "a.p12").write_bytes(b"old")
    process = writer(real, "x", 60_000_000, 50)
    deadline = time.monotonic() + 20
    while not any(path.name.startswith(".") and path.stat().st_size for path in _still(real.folder)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()

    async def scenario() -> None:
        async with real.connect() as directory:
            assert [(file.name, file.size) for file in await directory.list()] == [("a.p12", 3)]
            assert await directory.read("a.p12") == b"old"
            (left,) = [path for path in real.folder.iterdir() if path.name != "a.p12"]
            os.utime(left, (1, 1))
            await directory.write_atomic("b.p12", b"1")
            assert real.names() == ["a.p12", "b.p12"], "the next write swept it"

    asyncio.run(scenario())


def _still(folder: Path) -> Iterator[Path]:
    """What is in a folder and does not vanish while one looks."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            path.stat()
            yield path


def test_two_processes_that_write_one_name_never_show_half_a_file(real: Sshd) -> None:
    (real.folder / "a.p12").write_bytes(b"l" * 200_000)
    processes = [writer(real, mark, 200_000, 15) for mark in "lr"]
    whole = {mark * 200_000 for mark in (b"l", b"r")}
    seen = set()
    while any(process.poll() is None for process in processes):
        content = (real.folder / "a.p12").read_bytes()
        assert content in whole
        seen.add(content[:1])
        assert asyncio.run(LocalDirectory(real.folder).list())[0].size == 200_000
    assert [process.returncode for process in processes] == [0, 0]
    assert seen == {b"l", b"r"}
    assert real.names() == ["a.p12"]


# OpenSSH's clients, our server

PASSWORD = "correct horse 7 Battery"


@dataclasses.dataclass
class Ours:
    """Our server, and OpenSSH's programs to talk to it."""

    tmp_path: Path
    root: Path
    server: SftpServer
    keys: Keys

    def options(self, *, key: bool = True) -> list[str]:
        # The pins are what OpenSSH knows the server by: the file's format is under test as well.
        pins = HostKeyPins(self.tmp_path / "known_hosts")
        for name in ("host_key", "host_key_rsa"):
            if (self.tmp_path / name).exists():
                host_key = asyncssh.read_private_key(self.tmp_path / name)
                shown = HostKey(host_key.get_algorithm(), host_key.public_data)
                if shown not in pins.keys(*self.server.address):
                    with contextlib.suppress(IdentityChanged):
                        pins.check(*self.server.address, shown)
        return [
            *("-F", "/dev/null"),
            *("-o", f"UserKnownHostsFile={pins.path}"),
            *("-o", "GlobalKnownHostsFile=/dev/null"),
            *("-o", "StrictHostKeyChecking=yes"),
            *("-o", "IdentitiesOnly=yes"),
            *("-o", f"IdentityFile={self.keys.user if key else '/dev/null'}"),
            *("-o", "User=bulk"),
            *("-o", f"Port={self.server.address[1]}"),
        ]

    async def start(self, *command: str, environment: dict[str, str] | None = None) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | (environment or {}),
            cwd=self.tmp_path / "here",
        )

    async def run(self, *command: str, given: str = "", environment: dict[str, str] | None = None) -> tuple[int, str]:
        """Exit code, and all it said."""
        process = await self.start(*command, environment=environment)
        said, _ = await asyncio.wait_for(process.communicate(given.encode()), 20)
        assert process.returncode is not None
        return process.returncode, said.decode(errors="replace")

    async def sftp(self, *lines: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
        """Run commands in a batch, logged in by key."""
        sftp = program("sftp", "openssh-client")
        return await self.run(sftp, *options, *self.options(), "-b", "-", "127.0.0.1", given="\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def password_hash() -> PasswordHash:
    return hash_password(PASSWORD)


@pytest.fixture
def ours(tmp_path: Path, keys: Keys, password_hash: PasswordHash) -> Callable[..., AbstractAsyncContextManager[Ours]]:
    root = tmp_path / "root"
    for folder in (root, tmp_path / "here", tmp_path / "outside"):
        folder.mkdir()
    (tmp_path / "outside" / "secret").write_text("not for clients")
    (tmp_path / "here" / "up").write_text("an upload")
    os.utime(tmp_path / "here" / "up", (1_500_000_000, 1_500_000_000))
    (tmp_path / "askpass").write_text('#!/bin/sh\necho "$ANSWER"\n')
    (tmp_path / "askpass").chmod(0o700)

    @asynccontextmanager
    async def serve(**options: Any) -> AsyncIterator[Ours]:
        server = await start_sftp(
            root,
            users={"bulk": password_hash},
            host_key=tmp_path / "host_key",
            authorized_keys=Path(f"{keys.user}.pub"),
            limits=SftpLimits(failed_login_pause=0),
            **options,
        )
        try:
            yield Ours(tmp_path, root, server, keys)
        finally:
            await server.stop()

    return serve


Serve = Callable[..., AbstractAsyncContextManager[Ours]]


def test_openssh_does_everyday_work_with_our_server(ours: Serve) -> None:
    async def scenario() -> None:
        async with ours() as it:
            (it.root / "longer").write_text("an up")
            code, said = await it.sftp(
                "put up a.p12",
                "put -p up kept",
                "mkdir sub",
                "put up sub/b.p12",
                "get a.p12 down",
                "get -r sub tree",
                "rename a.p12 c.p12",
                "rename kept c.p12",  # over an existing file: posix-rename@openssh.com
                "ls -la",
                "ls -l sub",
                "pwd",
                "df",
                "chmod 666 c.p12",
                "rm sub/b.p12",
                "rmdir sub",
                "reput up longer",
                "put -f up flushed",  # fsync@openssh.com
                "copy flushed copied" if await _copies(it) else "pwd",
            )
            assert code == 0, said
            assert "Remote working directory: /" in said
            assert (it.tmp_path / "here" / "down").read_text() == "an upload"
            assert (it.tmp_path / "here" / "tree" / "b.p12").read_text() == "an upload"
            assert {"c.p12", "flushed", "longer"} <= {path.name for path in it.root.iterdir()}
            assert not [path for path in it.root.iterdir() if path.name.startswith(".")]
            assert all(path.read_text() == "an upload" for path in it.root.iterdir())
            assert (it.root / "c.p12").stat().st_mode & 0o777 == 0o600
            assert (it.root / "c.p12").stat().st_mtime == 1_500_000_000

    asyncio.run(scenario())


async def _copies(it: Ours) -> bool:
    _, said = await it.sftp("help")
    return "copy " in said


def test_openssh_logs_in_with_a_password_and_not_with_another(ours: Serve) -> None:
    async def attempt(it: Ours, password: str) -> tuple[int, str]:
        return await it.run(
            program("sftp", "openssh-client"),
            *("-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=1"),
            *it.options(key=False),
            *("-b", "-", "127.0.0.1"),
            given="pwd\n",
            environment={
                "SSH_ASKPASS": str(it.tmp_path / "askpass"),
                "SSH_ASKPASS_REQUIRE": "force",
                "DISPLAY": ":0",
                "ANSWER": password,
            },
        )

    async def scenario() -> None:
        async with ours() as it:
            code, said = await attempt(it, PASSWORD)
            assert (code, "Remote working directory: /" in said) == (0, True), said
            code, said = await attempt(it, "wrong")
            assert code != 0
            assert "Permission denied" in said

    asyncio.run(scenario())


ESCAPES = (
    "get ../outside/secret stolen",
    "get ../../../../../../../../etc/passwd stolen",
    "get /../outside/secret stolen",
    "get {outside}/secret stolen",
    "get file-link stolen",
    "get folder-link/secret stolen",
    "get up-link/outside/secret stolen",
    "get -R folder-link stolen-tree",
    "put up ../outside/planted",
    "put up {outside}/planted",
    "put up folder-link/planted",
    "put up file-link",
    "put -a up file-link",
    "cd folder-link",
    "cd up-link",
    "ls folder-link/",
    "ls -l up-link/outside",
    "ln -s {outside}/secret planted-link",
    "ln -s ../outside planted-link",
    "ln -s mine planted-link",
    "ln mine planted-link",
    "ln file-link planted-link",
    "rename mine ../outside/mine",
    "rename mine folder-link/mine",
    "rename folder-link/secret stolen-by-rename",
    "rename ../outside/secret stolen-by-rename",
    "rm folder-link/secret",
    "rm ../outside/secret",
    "mkdir folder-link/planted",
    "rmdir ../outside",
    "chmod 777 file-link",
    "chmod 777 folder-link/secret",
)


def test_openssh_can_not_be_made_to_leave_the_directory(ours: Serve) -> None:
    async def scenario() -> None:
        async with ours() as it:
            outside = it.tmp_path / "outside"
            (it.root / "file-link").symlink_to(outside / "secret")
            (it.root / "folder-link").symlink_to(outside)
            (it.root / "up-link").symlink_to("..")
            (it.root / "mine").write_text("mine")
            before = sorted(path.name for path in it.root.iterdir())
            mode = (outside / "secret").stat().st_mode
            lines = [line.format(outside=outside) for line in ESCAPES]
            # A dash: go on after an error. One run of the client for all of them, each preceded by its name.
            code, said = await it.sftp(*(f"-{line}" for line in lines), "cd /..", "pwd", "rename mine ../../mine")
            assert code == 0, said
            assert "Remote working directory: /\n" in said
            for line in lines:
                alone = said.split(f"sftp> -{line}\n")[1].split("sftp> ")[0]
                assert alone, f"{line} went through in silence"
            assert not (it.tmp_path / "here" / "stolen").exists()
            assert sorted(path.name for path in outside.iterdir()) == ["secret"]
            assert (outside / "secret").read_text() == "not for clients"
            assert (outside / "secret").stat().st_mode == mode
            assert sorted(path.name for path in it.root.iterdir()) == before
            assert "not for clients" not in "".join(
                path.read_text() for path in (it.tmp_path / "here").rglob("*") if path.is_file()
            )

    asyncio.run(scenario())


def test_openssh_gets_no_shell_no_command_and_no_forwarding(ours: Serve) -> None:
    async def scenario() -> None:
        async with ours() as it:
            ssh, scp = program("ssh", "openssh-client"), program("scp", "openssh-client")
            batch = ["-o", "BatchMode=yes"]
            for arguments in (["id"], ["-tt"], ["-s", "other"], ["-A", "cat /etc/passwd"]):
                code, said = await it.run(ssh, *it.options(), *batch, "127.0.0.1", *arguments)
                assert code != 0
                assert "uid=" not in said
                assert "root:" not in said
            target = f"{it.server.address[0]}:{it.server.address[1]}"
            code, said = await it.run(ssh, *it.options(), *batch, "-W", target, "127.0.0.1")
            assert code != 0
            assert "SSH-2.0" not in said, "a forwarded connection would have reached our own banner"
            code, said = await it.run(
                ssh, *it.options(), *batch, "-o", "ExitOnForwardFailure=yes", "-N", "-R", f"0:{target}", "127.0.0.1"
            )
            assert code != 0
            assert "remote port forwarding failed" in said
            code, said = await it.run(scp, "-O", *it.options(), "up", "127.0.0.1:old-protocol")
            assert code != 0
            code, said = await it.run(scp, "-s", *it.options(), "up", "127.0.0.1:new-protocol")
            assert code == 0, said
            assert [path.name for path in it.root.iterdir()] == ["new-protocol"]

    asyncio.run(scenario())


def test_an_openssh_client_killed_in_an_upload_leaves_nothing_that_is_listed(ours: Serve) -> None:
    async def scenario() -> None:
        async with ours() as it:
            (it.root / "a.p12").write_text("old")
            with (it.tmp_path / "here" / "big").open("wb") as file:
                file.truncate(40_000_000)
            sftp = program("sftp", "openssh-client")
            for name in ("a.p12", "new.p12"):
                process = await it.start(sftp, "-l", "20000", *it.options(), "-b", "-", "127.0.0.1")
                assert process.stdin is not None
                process.stdin.write(f"put big {name}\n".encode())
                async with asyncio.timeout(20):
                    while not any(path.name.startswith(".") and path.stat().st_size for path in _still(it.root)):
                        await asyncio.sleep(0.01)
                process.send_signal(signal.SIGKILL)
                await process.wait()
                process.stdin.close()
                assert [file.name for file in await LocalDirectory(it.root).list()] == ["a.p12"]
                async with asyncio.timeout(20):
                    while len(list(it.root.iterdir())) > 1:
                        await asyncio.sleep(0.01)
            assert (it.root / "a.p12").read_text() == "old"

    asyncio.run(scenario())


def test_a_file_larger_than_allowed_leaves_nothing(ours: Serve) -> None:
    async def scenario() -> None:
        async with ours() as it:
            with (it.tmp_path / "here" / "big").open("wb") as file:
                file.truncate(64 * 1024 * 1024 + 1)
            code, said = await it.sftp("put big")
            assert code != 0
            assert 'write remote "/big": Failure' in said
            assert list(it.root.iterdir()) == []

    asyncio.run(scenario())


OLD = tuple(
    argument
    for option in (
        "KexAlgorithms=diffie-hellman-group14-sha1",
        "HostKeyAlgorithms=ssh-rsa",
        "PubkeyAcceptedAlgorithms=+ssh-rsa",
        "Ciphers=aes128-cbc",
        "MACs=hmac-sha1",
    )
    for argument in ("-o", option)
)


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
def test_an_old_openssh_is_served_only_when_that_is_asked_for(ours: Serve) -> None:
    async def scenario() -> None:
        async with ours() as it:
            code, said = await it.sftp("pwd", options=OLD)
            assert code != 0
            assert "Unable to negotiate" in said
        async with ours(legacy_algorithms=True) as it:
            rsa = asyncssh.read_private_key(it.tmp_path / "host_key_rsa")
            HostKeyPins(it.tmp_path / "known_hosts").check(*it.server.address, HostKey("ssh-rsa", rsa.public_data))
            code, said = await it.sftp("put up", "pwd", options=OLD)
            assert code == 0, said
            assert (it.root / "up").read_text() == "an upload"

    asyncio.run(scenario())
