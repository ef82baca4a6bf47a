"""The exchange directory: what every implementation promises, and what SFTP adds."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

import trustbridge.exchange.directory
import trustbridge.exchange.sftp
from trustbridge.errors import (
    AuthenticationRefused,
    IdentityChanged,
    InvalidInput,
    Refused,
    SettingsError,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.exchange.directory import (
    Directory,
    LocalDirectory,
    SftpSettings,
    check_name,
    is_part_name,
    name_problem,
    open_sftp,
    part_name,
)
from trustbridge.exchange.hostkeys import HostKey, HostKeyPins
from trustbridge.services.sftp import PasswordHash, SftpLimits, SftpServer, hash_password, start_sftp

PASSWORD = "correct horse 7 Battery"
Scenario = Callable[[Directory, Path], Awaitable[None]]


@pytest.fixture(scope="module")
def password_hash() -> PasswordHash:
    return hash_password(PASSWORD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "exchange"
    path.mkdir()
    return path


@dataclasses.dataclass
class Site:
    """A place to start servers at, and to connect to them from."""

    tmp_path: Path
    folder: Path
    users: dict[str, PasswordHash | None]

    @asynccontextmanager
    async def server(self, **options: Any) -> AsyncIterator[SftpServer]:
        options = dict[str, Any](host_key=self.tmp_path / "host_key", users=self.users) | options
        server = await start_sftp(self.folder, limits=SftpLimits(failed_login_pause=0), **options)
        try:
            yield server
        finally:
            await server.stop()

    @property
    def pins(self) -> HostKeyPins:
        return HostKeyPins(self.tmp_path / "pins")

    def settings(self, port: int, **changes: Any) -> SftpSettings:
        return SftpSettings(
            **dict[str, Any](host="127.0.0.1", port=port, username="bulk", password=PASSWORD, directory=".") | changes
        )

    def connect(self, port: int, *, timeout: float = 10, **changes: Any) -> AbstractAsyncContextManager[Any]:
        return open_sftp(self.settings(port, **changes), self.pins, timeout=timeout)


@pytest.fixture
def site(tmp_path: Path, folder: Path, password_hash: PasswordHash) -> Site:
    return Site(tmp_path, folder, {"bulk": password_hash})


@pytest.fixture(params=["local", "sftp"])
def run(request: pytest.FixtureRequest, site: Site) -> Callable[[Scenario], None]:
    """Run a scenario against each implementation, with the folder behind it."""

    async def locally(scenario: Scenario) -> None:
        await scenario(LocalDirectory(site.folder), site.folder)

    async def remotely(scenario: Scenario) -> None:
        async with site.server() as server, site.connect(server.address[1]) as directory:
            await scenario(directory, site.folder)

    runner = locally if request.param == "local" else remotely
    return lambda scenario: asyncio.run(runner(scenario))


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden or not."""
    return sorted(path.name for path in folder.iterdir())


# What every implementation promises


def test_a_file_is_written_listed_read_and_removed(run: Callable[[Scenario], None]) -> None:
    async def scenario(directory: Directory, folder: Path) -> None:
        assert await directory.list() == []
        await directory.write_atomic("src_cm1_tftp.p12", b"bundle")

        (file,) = await directory.list()
        assert (file.name, file.size) == ("src_cm1_tftp.p12", 6)
        assert abs(datetime.now(UTC) - file.modified) < timedelta(seconds=10)
        assert await directory.read("src_cm1_tftp.p12") == b"bundle"
        assert names(folder) == ["src_cm1_tftp.p12"]

        await directory.remove("src_cm1_tftp.p12")
        assert names(folder) == []

    run(scenario)


def test_a_file_is_replaced_as_a_whole_whatever_its_size(run: Callable[[Scenario], None]) -> None:
    big = secrets.token_bytes(3 * 255 * 1024 + 17)  # several requests of the largest size, and a rest

    async def scenario(directory: Directory, folder: Path) -> None:
        for content in (b"first, and longer than what follows", b"", big, b"x"):
            await directory.write_atomic("a.p12", content)
            assert await directory.read("a.p12") == content
            assert (folder / "a.p12").read_bytes() == content
        assert names(folder) == ["a.p12"]

    run(scenario)


def test_a_listing_is_sorted_and_shows_only_finished_regular_files(run: Callable[[Scenario], None]) -> None:
    async def scenario(directory: Directory, folder: Path) -> None:
        for name in ("b.p12", "a.p12", "C.p12", "überall.p12", "with space"):
            (folder / name).write_bytes(b"1")
        for name in (".hidden", part_name("a.p12"), "a.part", "new\nline", "escape\x1b[2J", "back\\slash"):
            (folder / name).write_bytes(b"1")
        (folder / os.fsdecode(b"latin-\xfc")).write_bytes(b"1")
        (folder / "sub").mkdir()
        (folder / "link").symlink_to("a.p12")
        os.mkfifo(folder / "fifo")

        listed = [file.name for file in await directory.list()]
        assert listed == ["C.p12", "a.p12", "b.p12", "with space", "überall.p12"]
        for name in listed:
            assert await directory.read(name) == b"1"

    run(scenario)


BAD_NAMES = ["", ".", "..", ".x", "a/b", "../a", "/etc/passwd", "a\0b", "a\\b", "a\n", "x.part", "é" * 117, "\ud800"]


def test_other_names_are_refused_in_words(run: Callable[[Scenario], None]) -> None:
    async def scenario(directory: Directory, folder: Path) -> None:
        for name in BAD_NAMES:
            for attempt in (directory.read(name), directory.write_atomic(name, b""), directory.remove(name)):
                with pytest.raises(SettingsError, match="can't be the name of an exchanged file"):
                    await attempt
        assert names(folder) == []

    run(scenario)


def test_the_longest_name_has_room_for_its_part_file(run: Callable[[Scenario], None]) -> None:
    async def scenario(directory: Directory, folder: Path) -> None:
        await directory.write_atomic("é" * 116, b"1")
        assert [file.name for file in await directory.list()] == ["é" * 116]

    run(scenario)


def test_a_missing_file_is_named(run: Callable[[Scenario], None]) -> None:
    async def scenario(directory: Directory, folder: Path) -> None:
        for attempt in (directory.read("none.p12"), directory.remove("none.p12")):
            with pytest.raises(Refused, match=r"none\.p12.*No such file"):
                await attempt

    run(scenario)


def test_what_is_no_regular_file_can_not_be_read(run: Callable[[Scenario], None], tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")

    async def scenario(directory: Directory, folder: Path) -> None:
        (folder / "sub").mkdir()
        (folder / "link").symlink_to(tmp_path / "secret")
        os.mkfifo(folder / "fifo")
        for name in ("sub", "link", "fifo"):
            with pytest.raises(Refused, match=name):
                await asyncio.wait_for(directory.read(name), 5)

    run(scenario)


def test_a_failed_write_leaves_no_part_file_and_the_old_content(run: Callable[[Scenario], None]) -> None:
    async def scenario(directory: Directory, folder: Path) -> None:
        (folder / "taken").mkdir()
        with pytest.raises(Refused, match="taken"):
            await directory.write_atomic("taken", b"content")
        assert names(folder) == ["taken"]

    run(scenario)


def test_the_next_write_sweeps_stale_part_files_and_no_others(run: Callable[[Scenario], None]) -> None:
    async def scenario(directory: Directory, folder: Path) -> None:
        stale, fresh, foreign = part_name("a.p12"), part_name("a.p12"), ".a.p12.xyz.part"
        for name, age in ((stale, 3700), (fresh, 3500), (foreign, 9999), ("old.p12", 9999), (".netrc", 9999)):
            (folder / name).write_bytes(b"")
            os.utime(folder / name, (time.time() - age,) * 2)
        await directory.write_atomic("b.p12", b"1")
        assert names(folder) == sorted([fresh, foreign, "old.p12", ".netrc", "b.p12"])

    run(scenario)


def test_a_connection_sweeps_once(site: Site) -> None:
    """A listing for each file written would make an export's time grow with the square of its files."""

    async def scenario() -> None:
        async with site.server() as server, site.connect(server.address[1]) as directory:
            listings, entries = [], directory._entries

            async def noting() -> Any:
                listings.append(".")
                return await entries()

            directory._entries = noting
            for number in range(5):
                await directory.write_atomic(f"{number}.p12", b"1")
            assert listings == ["."]

    asyncio.run(scenario())


def test_of_writers_of_one_name_at_once_one_wins_entirely(run: Callable[[Scenario], None]) -> None:
    contents = [bytes([number]) * (100_000 + number) for number in range(8)]

    async def scenario(directory: Directory, folder: Path) -> None:
        await asyncio.gather(*(directory.write_atomic("a.p12", content) for content in contents))
        assert await directory.read("a.p12") in contents
        assert names(folder) == ["a.p12"]

    run(scenario)


def test_a_reader_never_sees_half_a_file(run: Callable[[Scenario], None]) -> None:
    whole = {mark * 300_000 for mark in (b"1", b"2")}

    async def scenario(directory: Directory, folder: Path) -> None:
        await directory.write_atomic("a", b"1" * 300_000)
        done, seen = threading.Event(), set()

        def read() -> None:
            while not done.is_set():
                seen.add((folder / "a").read_bytes())

        reading = asyncio.ensure_future(asyncio.to_thread(read))
        for turn in range(30):
            await directory.write_atomic("a", b"12"[turn % 2 :][:1] * 300_000)
        done.set()
        await reading
        assert seen == whole

    run(scenario)


def test_a_file_too_large_for_a_bundle_is_not_taken_in(
    run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (trustbridge.exchange.directory, trustbridge.exchange.sftp):
        monkeypatch.setattr(module, "MAX_FILE_SIZE", 1000)

    async def scenario(directory: Directory, folder: Path) -> None:
        (folder / "huge").write_bytes(bytes(1001))
        (folder / "large").write_bytes(bytes(1000))
        assert len(await directory.read("large")) == 1000
        with pytest.raises(InvalidInput, match=r"huge in .* is larger than"):
            await directory.read("huge")

    run(scenario)


def test_a_directory_that_vanishes_is_an_error_of_ours(run: Callable[[Scenario], None]) -> None:
    async def scenario(directory: Directory, folder: Path) -> None:
        folder.rmdir()
        for attempt in (directory.list(), directory.read("a"), directory.write_atomic("a", b""), directory.remove("a")):
            with pytest.raises((SettingsError, Refused)):
                await attempt

    run(scenario)


@given(st.text(max_size=300))
def test_every_name_is_either_refused_or_safe(name: str) -> None:
    if name_problem(name):
        with pytest.raises(SettingsError):
            check_name(name)
        return
    part = part_name(name)
    assert check_name(name) == name
    assert Path("/d", name).parts == ("/", "d", name)
    assert len(part.encode()) <= 255
    assert is_part_name(part)
    assert not is_part_name(name)


# A directory of this machine


def test_a_missing_local_directory_is_named_or_made(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there"
    for attempt in (LocalDirectory(path).list, lambda: LocalDirectory(path).write_atomic("a", b"1")):
        with pytest.raises(SettingsError, match=r"there is no directory .*/not/there"):
            asyncio.run(_awaited(attempt()))

    asyncio.run(LocalDirectory(path, create=True).write_atomic("a", b"1"))
    assert (path / "a").read_bytes() == b"1"
    assert LocalDirectory(path).describe() == str(path)


async def _awaited(attempt: Coroutine[Any, Any, object]) -> object:
    return await attempt


def test_a_full_disk_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = LocalDirectory(folder)
    asyncio.run(directory.write_atomic("a", b"old"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Refused, match=r"can't write a in .*: No space left on device"):
        asyncio.run(directory.write_atomic("a", b"new"))
    assert (names(folder), (folder / "a").read_bytes()) == (["a"], b"old")


# Settings


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"host": ""}, "not the name or address"),
        ({"host": "a b"}, "not the name or address"),
        ({"port": 0}, "not a TCP port"),
        ({"port": 65536}, "not a TCP port"),
        ({"username": ""}, "not a user name"),
        ({"directory": "a\0b"}, "not a directory"),
        ({"password": None}, "neither a password nor a key file"),
    ],
)
def test_settings_that_can_not_work_are_refused(site: Site, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        dataclasses.replace(site.settings(22), **changes)


def test_a_password_is_never_shown(site: Site) -> None:
    settings = site.settings(22, directory="/bulk")
    assert settings.describe() == "sftp://bulk@127.0.0.1:22/bulk"
    assert PASSWORD not in repr(settings) + settings.describe() + str(settings)
    assert dataclasses.replace(settings, host="::1").server == "[::1]:22"


# SFTP


def test_the_first_contact_is_told_and_pinned(site: Site) -> None:
    async def scenario() -> None:
        async with site.server() as server:
            async with site.connect(server.address[1]) as directory:
                assert directory.first_contact.key.fingerprint == server.fingerprint
            async with site.connect(server.address[1]) as directory:
                assert directory.first_contact is None

    asyncio.run(scenario())


def test_another_host_key_is_refused_before_the_password_is_sent(site: Site) -> None:
    async def scenario() -> None:
        async with site.server() as server:
            port, old = server.address[1], server.fingerprint
            async with site.connect(port):
                pass
        async with site.server(port=port, host_key=site.tmp_path / "another_key") as server:
            with pytest.raises(IdentityChanged) as caught:
                async with site.connect(port):
                    pass
            assert old in caught.value.message
            assert server.fingerprint in caught.value.message
            assert str(site.pins.path) in caught.value.hint
            site.pins.forget("127.0.0.1", port)
            async with site.connect(port) as directory:
                assert directory.first_contact.key.fingerprint == server.fingerprint

    asyncio.run(scenario())


def test_a_server_with_several_keys_is_asked_for_the_pinned_one(site: Site) -> None:
    async def scenario() -> None:
        async with site.server(legacy_algorithms=True) as server:
            port = server.address[1]
            rsa = asyncssh.read_private_key(site.tmp_path / "host_key_rsa")
            site.pins.check("127.0.0.1", port, HostKey("ssh-rsa", rsa.public_data))
            async with site.connect(port) as directory:
                assert directory.first_contact is None

    asyncio.run(scenario())


def test_a_wrong_password_or_user_is_refused_without_showing_it(site: Site) -> None:
    async def scenario() -> None:
        async with site.server() as server:
            for user in ("bulk", "nobody"):
                with pytest.raises(AuthenticationRefused) as caught:
                    async with site.connect(server.address[1], username=user, password="hunter2-wrong"):
                        pass
                assert user in caught.value.message
                assert "hunter2" not in caught.value.message + caught.value.hint + repr(caught.value)

    asyncio.run(scenario())


def test_a_key_opens_without_a_password(site: Site) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(site.tmp_path / "key")
    key.write_public_key(site.tmp_path / "authorized")

    async def scenario() -> None:
        async with (
            site.server(authorized_keys=site.tmp_path / "authorized") as server,
            site.connect(server.address[1], password=None, key_file=site.tmp_path / "key") as directory,
        ):
            assert await directory.list() == []

    asyncio.run(scenario())


def test_a_useless_key_file_is_a_wrong_setting(site: Site) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(
        site.tmp_path / "locked", "pkcs8-pem", passphrase="p"
    )
    (site.tmp_path / "garbage").write_text("no key")

    async def scenario(name: str) -> None:
        async with site.connect(22, password=None, key_file=site.tmp_path / name):
            pass

    for name, complaint in (("missing", "can't read"), ("locked", "encrypted"), ("garbage", "no private key")):
        with pytest.raises(SettingsError, match=complaint):
            asyncio.run(scenario(name))


def test_a_missing_remote_directory_is_named_or_made(site: Site) -> None:
    async def scenario() -> None:
        async with site.server() as server:
            settings = site.settings(server.address[1], directory="bulk/certs")
            with pytest.raises(SettingsError, match="there is no directory bulk/certs on"):
                async with open_sftp(settings, site.pins):
                    pass
            async with open_sftp(settings, site.pins, create=True) as directory:
                await directory.write_atomic("a", b"1")
            assert (site.folder / "bulk/certs/a").read_bytes() == b"1"
            with pytest.raises(SettingsError, match=r"bulk/certs/a on .* is not a directory"):
                async with site.connect(server.address[1], directory="/bulk/certs/a"):
                    pass

    asyncio.run(scenario())


def test_a_server_that_says_no_is_quoted(site: Site) -> None:
    async def scenario() -> None:
        async with site.server(read_only=True) as server, site.connect(server.address[1]) as directory:
            with pytest.raises(Refused, match="does not let bulk write a: This server is read-only"):
                await directory.write_atomic("a", b"1")

    asyncio.run(scenario())


def test_nobody_there_is_unreachable(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]

    async def scenario(**changes: Any) -> None:
        async with site.connect(free, **changes):
            pass

    with pytest.raises(Unreachable, match=rf"can't reach 127\.0\.0\.1:{free}: Connection refused"):
        asyncio.run(scenario())
    with pytest.raises(Unreachable, match=r"there is no host no-such-host\.invalid"):
        asyncio.run(scenario(host="no-such-host.invalid"))


def test_an_address_that_is_not_ours_can_not_be_called_from(site: Site) -> None:
    async def scenario() -> None:
        async with (
            site.server() as server,
            open_sftp(site.settings(server.address[1]), site.pins, local_address="192.0.2.1"),
        ):
            pass

    with pytest.raises(SettingsError, match="local address"):
        asyncio.run(scenario())


def test_a_node_calls_from_its_own_address(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trustbridge.services.sftp")

    async def scenario() -> None:
        async with (
            site.server() as server,
            open_sftp(site.settings(server.address[1]), site.pins, local_address="127.10.1.1"),
        ):
            pass

    asyncio.run(scenario())
    assert "bulk from 127.10.1.1 logged in" in caplog.text


@contextlib.contextmanager
def _mute() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_says_nothing_is_given_up(site: Site) -> None:
    async def scenario(port: int) -> None:
        async with site.connect(port, timeout=0.3):
            pass

    with _mute() as port, pytest.raises(Unreachable, match=r"did not answer within 0\.3 s"):
        asyncio.run(scenario(port))


def test_a_service_that_is_not_ssh_is_told(site: Site) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-1.5-oldest\r\n")
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with (
            await asyncio.start_server(answer, "127.0.0.1", 0) as server,
            site.connect(server.sockets[0].getsockname()[1]),
        ):
            pass

    with pytest.raises(TrustbridgeError, match="Unsupported SSH version"):
        asyncio.run(scenario())


class Peculiar(asyncssh.SFTPServer):
    """A server that behaves as it is told: `hang` at an operation, or show odd `entries`."""

    hang = ""
    entries: tuple[asyncssh.SFTPName, ...] = ()

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        if self.hang == "write":
            await asyncio.sleep(60)
        return super().write(file_obj, offset, data)  # type: ignore[return-value]  # not a coroutine in the base

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        if self.hang == "scandir":
            await asyncio.sleep(60)
        for entry in self.entries:
            yield entry


class Anybody(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username: str) -> bool:
        return False


@asynccontextmanager
async def peculiar(site: Site, **behaviour: Any) -> AsyncIterator[tuple[int, set[asyncssh.SSHServerConnection]]]:
    """A server of asyncssh's own, its port and its connections."""
    kind = type("Told", (Peculiar,), behaviour)
    connections: set[asyncssh.SSHServerConnection] = set()
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Anybody,
        acceptor=connections.add,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: kind(channel, chroot=os.fsencode(site.folder)),
        gss_host=None,
    )
    try:
        yield acceptor.get_port(), connections
    finally:
        acceptor.close()
        for connection in connections:
            connection.abort()


@pytest.mark.parametrize(
    ("hang", "attempt"),
    [("scandir", lambda d: d.list()), ("write", lambda d: d.write_atomic("a", b"1"))],
)
def test_each_answer_is_waited_for_only_so_long(
    site: Site, hang: str, attempt: Callable[[Directory], Coroutine[Any, Any, object]]
) -> None:
    async def scenario() -> None:
        async with peculiar(site, hang=hang) as (port, _), site.connect(port, timeout=0.5) as directory:
            started = time.monotonic()
            with pytest.raises(Unreachable, match=r"did not answer within 0\.5 s"):
                await attempt(directory)
            with pytest.raises(Unreachable, match=r"the connection to .* broke"):
                await directory.read("a")
            assert time.monotonic() - started < 2

    asyncio.run(scenario())


def test_a_connection_that_breaks_in_a_transfer_is_unreachable(site: Site) -> None:
    async def scenario() -> None:
        async with peculiar(site, hang="write") as (port, connections), site.connect(port) as directory:
            write = asyncio.ensure_future(directory.write_atomic("a", b"1"))
            while not names(site.folder):
                await asyncio.sleep(0.01)
            for connection in connections:
                connection.abort()
            with pytest.raises(Unreachable, match=r"the connection to .* broke \(to write a\)"):
                await write
            assert await LocalDirectory(site.folder).list() == []

    asyncio.run(scenario())


def test_a_cancelled_write_takes_its_part_file_away(site: Site) -> None:
    async def scenario() -> None:
        async with site.server() as server, site.connect(server.address[1]) as directory:
            write = asyncio.ensure_future(directory.write_atomic("a", bytes(30_000_000)))
            while not names(site.folder):
                await asyncio.sleep(0.001)
            write.cancel()
            with pytest.raises(asyncio.CancelledError):
                await write
            assert names(site.folder) == []
            assert await directory.list() == [], "the connection is still good"

    asyncio.run(scenario())


def test_names_a_hostile_server_shows_are_not_believed(site: Site) -> None:
    regular = asyncssh.SFTPAttrs(permissions=0o100644, size=1, mtime=0)
    entries = [
        asyncssh.SFTPName(name, attrs=regular)
        for name in (b"../../etc/passwd", b"/etc/passwd", b"..", b"", b"a\0b", b"\x1b[2J", b"\xff", b"good")
    ]
    entries.append(asyncssh.SFTPName(b"link", attrs=asyncssh.SFTPAttrs(permissions=0o120777)))
    entries.append(asyncssh.SFTPName(b"bare", attrs=asyncssh.SFTPAttrs()))

    async def scenario() -> None:
        async with peculiar(site, entries=tuple(entries)) as (port, _), site.connect(port) as directory:
            assert [(file.name, file.size) for file in await directory.list()] == [("bare", 0), ("good", 1)]

    asyncio.run(scenario())


def test_nothing_of_the_users_own_ssh_set_up_is_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    own = site.tmp_path / "home" / ".ssh"
    own.mkdir(parents=True)
    (own / "config").write_text("Host *\n  ProxyCommand false\n  Port 1\n  User somebody\n")
    mine = asyncssh.generate_private_key("ssh-ed25519")
    mine.write_private_key(own / "id_ed25519")
    mine.write_public_key(site.tmp_path / "authorized")
    monkeypatch.setenv("HOME", str(own.parent))

    async def scenario() -> None:
        async with site.server(authorized_keys=site.tmp_path / "authorized") as server:
            host_key = asyncssh.read_private_key(site.tmp_path / "host_key")
            (own / "known_hosts").write_bytes(b"@revoked * " + host_key.export_public_key())
            async with site.connect(server.address[1]) as directory:
                assert directory.first_contact is not None
            with pytest.raises(AuthenticationRefused):
                async with site.connect(server.address[1], password="wrong"):
                    pass

    asyncio.run(scenario())


def test_no_log_at_any_usual_level_holds_the_password(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="asyncssh")
    asyncssh.set_debug_level(2)  # 3 dumps packets; nothing in trustbridge sets it

    async def scenario() -> None:
        async with site.server() as server:
            async with site.connect(server.address[1]) as directory:
                await directory.write_atomic("a", b"1")
            with pytest.raises(AuthenticationRefused):
                async with site.connect(server.address[1], password=PASSWORD + "x"):
                    pass

    try:
        asyncio.run(scenario())
    finally:
        asyncssh.set_debug_level(1)
    assert "Beginning auth" in caplog.text or "Auth" in caplog.text
    assert PASSWORD not in caplog.text
    assert PASSWORD.encode().hex(" ") not in caplog.text


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_nothing_is_left_running_afterwards(site: Site, runner: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    async def scenario() -> None:
        async with site.server() as server:
            async with site.connect(server.address[1]) as directory:
                await directory.write_atomic("a", b"1")
                assert [file.name for file in await directory.list()] == ["a"]
                with pytest.raises(Refused):
                    await directory.read("b")
            with pytest.raises(AuthenticationRefused):
                async with site.connect(server.address[1], password="wrong"):
                    pass
            with _mute() as port, pytest.raises(Unreachable):
                async with site.connect(port, timeout=0.2):
                    pass
        assert asyncio.all_tasks() == {asyncio.current_task()}

    runner(scenario())


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
def test_old_algorithms_need_to_be_allowed(site: Site) -> None:
    async def scenario() -> None:
        acceptor = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Anybody,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(site.folder)),
            kex_algs=["diffie-hellman-group14-sha1"],
            encryption_algs=["aes128-cbc"],
            mac_algs=["hmac-sha1"],
            gss_host=None,
        )
        async with acceptor:
            with pytest.raises(Refused, match="no way of encryption in common") as caught:
                async with site.connect(acceptor.get_port()):
                    pass
            assert "legacy" in caught.value.hint
            async with site.connect(acceptor.get_port(), legacy_algorithms=True) as directory:
                assert await directory.list() == []

    asyncio.run(scenario())
