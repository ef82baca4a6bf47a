"""The SFTP server: nothing leads out of its directory, nothing half is ever seen, nobody gets more than files."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import stat
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import asyncssh
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import PortTaken, SettingsError
from trustbridge.services.sftp import PasswordHash, SftpLimits, SftpServer, hash_password, start_sftp
from trustbridge.services.sftp_root import ConfinedRoot

PASSWORD = "correct horse 7 Battery"
LOOPS: list[Callable[[Coroutine[Any, Any, None]], None]] = [asyncio.run, uvloop.run]
SECRET = b"root:x:0:0 not for clients"


@pytest.fixture(scope="module")
def password_hash() -> PasswordHash:
    return hash_password(PASSWORD)


@pytest.fixture(scope="module")
def key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@dataclasses.dataclass
class House:
    """A directory to serve, a world outside it, and clients."""

    outside: Path
    root: Path
    users: dict[str, PasswordHash | None]
    key: asyncssh.SSHKey

    def tree(self) -> list[str]:
        """Everything inside the root, hidden or not."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))

    @asynccontextmanager
    async def serve(self, *, limits: SftpLimits | None = None, **options: Any) -> AsyncIterator[SftpServer]:
        options = dict[str, Any](users=self.users, host_key=self.outside / "host_key") | options
        server = await start_sftp(self.root, limits=limits or SftpLimits(failed_login_pause=0), **options)
        try:
            yield server
        finally:
            await server.stop()

    @asynccontextmanager
    async def login(self, server: SftpServer, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        options = dict[str, Any](username="bulk", password=PASSWORD, client_keys=None) | options
        async with asyncssh.connect(
            *server.address, known_hosts=None, config=None, agent_path=None, gss_host=None, **options
        ) as connection:
            yield connection

    @asynccontextmanager
    async def client(self, server: SftpServer, **options: Any) -> AsyncIterator[asyncssh.SFTPClient]:
        async with self.login(server, **options) as connection, connection.start_sftp_client() as client:
            yield client


@pytest.fixture
def house(tmp_path: Path, password_hash: PasswordHash, key: asyncssh.SSHKey) -> House:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "passwd").write_bytes(SECRET)
    (tmp_path / "folder").mkdir()
    key.write_public_key(tmp_path / "authorized")
    return House(tmp_path, root, {"bulk": password_hash}, key)


# Nothing leads out


def _climbing(outside: Path) -> list[str]:
    return [
        "../passwd",
        "../../../../../../../../etc/passwd",
        "/../passwd",
        "sub/../../passwd",
        "./.././/../passwd",
        str(outside / "passwd"),
        "file-link",
        "folder-link/passwd",
        "sub/up/passwd",
        "sub/up/../passwd",
        "loop/loop",
    ]


def test_no_path_and_no_planted_link_leads_out(house: House) -> None:
    (house.root / "sub").mkdir()
    (house.root / "file-link").symlink_to(house.outside / "passwd")
    (house.root / "folder-link").symlink_to(house.outside)
    (house.root / "sub" / "up").symlink_to("../..")
    (house.root / "loop").symlink_to("loop")
    (house.root / "mine").write_bytes(b"mine")
    before = {path: path.read_bytes() for path in house.outside.iterdir() if path.is_file()}

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            for path in _climbing(house.outside):
                for attempt in (
                    _content(client, path),
                    client.stat(path),
                    client.truncate(path, 0),
                    client.utime(path, (0, 0)),
                    client.readlink(path),
                    client.rmdir(path),
                    client.listdir(path),
                ):
                    with pytest.raises(asyncssh.SFTPError):
                        await attempt
            for way_out in ("folder-link/new", "sub/up/new", "file-link/new", "loop/new"):
                for attempt in (
                    _put(client, way_out, b"x"),
                    client.mkdir(way_out),
                    client.rename("mine", way_out),
                    client.posix_rename("mine", way_out),
                    client.remove(way_out),
                ):
                    with pytest.raises(asyncssh.SFTPError):
                        await attempt
            for link in ("file-link", "folder-link"):
                with pytest.raises(asyncssh.SFTPError):
                    await _put(client, link, b"overwritten")
            assert await client.realpath("../../..") == "/"
            assert await client.realpath("folder-link/../x") == "/x"
            assert await _content(client, "../../mine") == b"mine", "as in a chroot, .. stops at the root"

    asyncio.run(scenario())
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in (house.outside / "folder").iterdir()) == []
    assert (house.root / "mine").read_bytes() == b"mine"


async def _content(client: asyncssh.SFTPClient, path: str) -> bytes:
    async with client.open(path, "rb") as file:
        data = await file.read()
    assert isinstance(data, bytes)
    return data


def test_a_large_file_is_copied_whole_on_the_server(house: House) -> None:
    content = os.urandom(700_000)
    (house.root / "a").write_bytes(content)

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            await client.copy("a", "b")

    asyncio.run(scenario())
    assert (house.root / "b").read_bytes() == content


async def _put(client: asyncssh.SFTPClient, path: str, data: bytes, mode: str = "wb", **options: Any) -> None:
    async with client.open(path, mode, **options) as file:
        await file.write(data)


def test_renaming_upwards_stays_inside(house: House) -> None:
    (house.root / "mine").write_bytes(b"mine")

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            await client.posix_rename("mine", "../../outside")
            assert house.tree() == ["outside"]
            for old, new in (("/", "sub"), ("outside", "/"), ("..", "x")):
                with pytest.raises(asyncssh.SFTPError):
                    await client.posix_rename(old, new)
            assert house.tree() == ["outside"]

    asyncio.run(scenario())


def test_links_can_not_be_made_and_planted_ones_can_be_removed(house: House) -> None:
    (house.root / "mine").write_bytes(b"mine")
    (house.root / "planted").symlink_to(house.outside / "passwd")

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            for attempt in (client.symlink("/etc/passwd", "a"), client.symlink("mine", "b"), client.link("mine", "c")):
                with pytest.raises(asyncssh.SFTPPermissionDenied):
                    await attempt
            assert stat.S_ISLNK((await client.lstat("planted")).permissions or 0)
            await client.remove("planted")
            assert house.tree() == ["mine"]

    asyncio.run(scenario())
    assert (house.outside / "passwd").read_bytes() == SECRET


def test_a_link_swapped_in_while_a_path_is_walked_does_not_lead_out(house: House) -> None:
    inside, away = house.root / "folder", house.root / "away"
    inside.mkdir()
    (inside / "passwd").write_bytes(b"inside")
    (house.root / "link").symlink_to(house.outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            inside.rename(away)
            (house.root / "link").rename(inside)
            inside.rename(house.root / "link")
            away.rename(inside)

    swapper = threading.Thread(target=swap)
    swapper.start()
    root, read, refused = ConfinedRoot(house.root), 0, 0
    try:
        deadline = time.monotonic() + 10
        while min(read, refused) < 200 and time.monotonic() < deadline:
            try:
                descriptor = root.open(b"/folder/passwd", os.O_RDONLY)
            except OSError:
                refused += 1
                continue
            assert os.read(descriptor, 100) == b"inside"
            os.close(descriptor)
            read += 1
    finally:
        done.set()
        swapper.join()
    assert min(read, refused) >= 200, "the race took place"


@given(st.binary(max_size=60), st.lists(st.sampled_from([b"..", b".", b"", b"a", b"\xff"]), max_size=8))
def test_every_path_is_normalised_to_one_inside(noise: bytes, parts: list[bytes]) -> None:
    root = ConfinedRoot(Path("/"))
    for path in (noise, b"/".join(parts), b"/" + b"/".join(parts) + b"/" + noise):
        if b"\0" in path:
            with pytest.raises(OSError, match="NUL"):
                root.normal(path)
            continue
        normal = root.normal(path)
        assert normal.startswith(b"/")
        assert not {b"..", b".", b""} & set(normal.split(b"/")[1:]) or normal == b"/"


def test_what_is_no_regular_file_is_not_opened(house: House) -> None:
    os.mkfifo(house.root / "fifo")
    (house.root / "folder").mkdir()

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            for name in ("fifo", "folder", "/"):
                for mode in ("rb", "wb", "ab"):
                    with pytest.raises(asyncssh.SFTPError):
                        await asyncio.wait_for(_put(client, name, b"", mode), 5)

    asyncio.run(scenario())
    assert house.tree() == ["fifo", "folder"]


# Files, and nothing but files


def test_there_is_no_shell_no_command_and_no_forwarding(house: House) -> None:
    async def scenario() -> None:
        async with house.serve(authorized_keys=house.outside / "authorized") as server, house.login(server) as ssh:
            for options in (
                {"command": "id"},
                {},
                {"command": "scp -t /"},
                {"subsystem": "other"},
                {"term_type": "xterm", "request_pty": "force"},
                {"command": "/usr/lib/openssh/sftp-server"},
            ):
                with pytest.raises(asyncssh.ChannelOpenError):
                    await ssh.create_process(**dict[str, Any](options))
            with pytest.raises(asyncssh.ChannelOpenError):
                await ssh.open_connection(*server.address)
            with pytest.raises(asyncssh.ChannelOpenError):
                await ssh.open_unix_connection("/run/whatever")
            with pytest.raises(asyncssh.ChannelListenError):
                await ssh.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 22)
            with pytest.raises(asyncssh.ChannelListenError):
                await ssh.forward_remote_path("/tmp/trustbridge-test", "/run/whatever")
            async with ssh.start_sftp_client() as client:
                assert await client.listdir() == [], "the connection still serves files"

    asyncio.run(scenario())


def test_modes_are_ours_whatever_a_client_asks_for(house: House) -> None:
    wide = asyncssh.SFTPAttrs(permissions=0o777)

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            await _put(client, "file", b"1", attrs=wide)
            await _put(client, ".hidden", b"1", attrs=wide)
            await client.mkdir("folder", wide)
            await client.chmod("file", 0o4777)
            await client.chmod("folder", 0o777)
            await client.chown("file", 12345, 12345)

    old = os.umask(0)
    try:
        asyncio.run(scenario())
    finally:
        os.umask(old)
    modes = {name: stat.S_IMODE((house.root / name).stat().st_mode) for name in house.tree()}
    assert modes == {"file": 0o600, ".hidden": 0o600, "folder": 0o700}
    assert (house.root / "file").stat().st_uid == os.getuid()


def test_times_and_sizes_can_be_set(house: House) -> None:
    (house.root / "file").write_bytes(b"12345")

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            await client.utime("file", (1_000_000, 2_000_000))
            await client.truncate("file", 3)
            assert (await client.stat("file")).size == 3
            await _put(client, "new", b"1")
            async with client.open("new", "wb") as file:
                await file.write(b"123")
                await file.utime((1_000_000, 3_000_000))
            assert (await client.stat("new")).mtime == 3_000_000
            async with client.open("new", "rb") as file:
                with pytest.raises(asyncssh.SFTPPermissionDenied):
                    await file.truncate(0)
            assert (await client.statvfs("/")).bsize > 0

    asyncio.run(scenario())
    assert (house.root / "file").read_bytes() == b"123"


def test_listings_show_no_names_of_users(house: House) -> None:
    (house.root / "file").write_bytes(b"12345")

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            (entry,) = await client.readdir(".")
            assert entry.filename == "file"
            assert str(entry.longname).split()[2:5] == [str(os.getuid()), str(os.getgid()), "5"]

    asyncio.run(scenario())


def test_a_read_only_server_changes_nothing(house: House) -> None:
    (house.root / "file").write_bytes(b"12345")
    (house.root / "folder").mkdir()

    async def scenario() -> None:
        async with house.serve(read_only=True) as server, house.client(server) as client:
            assert await _content(client, "file") == b"12345"
            for attempt in (
                _put(client, "new", b"1"),
                _put(client, "file", b"1"),
                _put(client, "file", b"1", "ab"),
                _put(client, "file", b"1", "r+b"),
                _put(client, ".new", b"1", "xb"),
                client.remove("file"),
                client.rename("file", "other"),
                client.posix_rename("file", "other"),
                client.mkdir("new"),
                client.rmdir("folder"),
                client.truncate("file", 0),
                client.utime("file", (1, 1)),
            ):
                with pytest.raises(asyncssh.SFTPPermissionDenied, match="read-only"):
                    await attempt

    asyncio.run(scenario())
    assert house.tree() == ["file", "folder"]
    assert (house.root / "file").read_bytes() == b"12345"


def test_a_plain_rename_refuses_to_replace_and_the_posix_one_replaces(house: House) -> None:
    for name in ("a", "b", "c"):
        (house.root / name).write_text(name)
    for name in ("d", "e"):
        (house.root / name).mkdir()

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            for old, new in (("a", "b"), ("d", "e"), ("a", "d")):
                with pytest.raises(asyncssh.SFTPError):
                    await client.rename(old, new)
            await client.posix_rename("a", "b")
            await client.rename("c", "d/c")
            await client.rename("d", "f")

    asyncio.run(scenario())
    assert house.tree() == ["b", "e", "f", "f/c"]
    assert (house.root / "b").read_text() == "a"


# Uploads appear whole or not at all


@pytest.mark.parametrize("loop", LOOPS)
def test_an_upload_appears_when_it_is_closed(house: House, loop: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    (house.root / "a.p12").write_bytes(b"old")

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            for name in ("a.p12", "new.p12"):
                file = await client.open(name, "wb")
                await file.write(b"half")
                await file.fsync()
                assert [str(entry) for entry in await client.glob("*.p12")] == ["a.p12"]
                assert await _content(client, "a.p12") == b"old"
                await file.write(b" and half")
                await file.close()
                assert await _content(client, name) == b"half and half"
                (house.root / name).write_bytes(b"old") if name == "a.p12" else None

    loop(scenario())
    assert house.tree() == ["a.p12", "new.p12"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("end", ["abort", "close", "end of stream", "server stops"])
def test_an_upload_that_is_not_closed_leaves_nothing(
    house: House, loop: Callable[[Coroutine[Any, Any, None]], None], end: str
) -> None:
    (house.root / "a.p12").write_bytes(b"old")

    async def scenario() -> None:
        async with house.serve() as server:
            async with house.login(server) as ssh:
                client = await ssh.start_sftp_client()
                for name in ("a.p12", "new.p12"):
                    file = await client.open(name, "wb")
                    await file.write(b"half")
                assert len(house.tree()) == 3
                if end == "abort":
                    ssh.abort()
                elif end == "end of stream":
                    client.exit()
                    await client.wait_closed()
                elif end == "server stops":
                    await server.stop()
            for _ in range(200):
                if len(house.tree()) == 1:
                    break
                await asyncio.sleep(0.01)
            assert house.tree() == ["a.p12"]

    loop(scenario())
    assert (house.root / "a.p12").read_bytes() == b"old"


def test_an_exclusive_upload_never_replaces(house: House) -> None:
    (house.root / "there").write_bytes(b"old")

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            with pytest.raises(asyncssh.SFTPError):
                await _put(client, "there", b"new", "xb")
            late = await client.open("late", "xb")
            await _put(client, "late", b"first")
            with pytest.raises(asyncssh.SFTPError):
                await late.close()
            assert await _content(client, "late") == b"first"

    asyncio.run(scenario())
    assert house.tree() == ["late", "there"]
    assert (house.root / "there").read_bytes() == b"old"


def test_existing_files_are_appended_to_and_changed_in_place(house: House) -> None:
    (house.root / "a").write_bytes(b"12345")

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            await _put(client, "a", b"67", "ab")
            async with client.open("a", "r+b") as file:
                await file.write(b"X", 0)
                assert cast(bytes, await file.read(3, 0)) == b"X23"
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await _put(client, "missing", b"1", "r+b")
            await _put(client, "appended", b"1", "ab")

    asyncio.run(scenario())
    assert (house.root / "a").read_bytes() == b"X234567"
    assert house.tree() == ["a", "appended"]


def test_clients_at_once_do_not_mix(house: House) -> None:
    async def one(server: SftpServer, number: int) -> None:
        async with house.client(server) as client:
            for turn in range(3):
                await _put(client, "shared", bytes([number]) * 50_000)
                await _put(client, f"own{number}", f"{number} {turn}".encode())
                assert len(set(await _content(client, "shared"))) == 1

    async def scenario() -> None:
        async with house.serve() as server:
            await asyncio.gather(*(one(server, number) for number in range(5)))

    asyncio.run(scenario())
    assert house.tree() == [*(f"own{number}" for number in range(5)), "shared"]
    assert (house.root / "own3").read_bytes() == b"3 2"


# Limits


def test_files_are_limited_however_they_grow(house: House) -> None:
    (house.root / "there").write_bytes(bytes(900))

    async def scenario() -> None:
        limits = SftpLimits(file_size=1000)
        async with house.serve(limits=limits) as server, house.client(server) as client:
            await _put(client, "fits", bytes(1000))
            await client.copy("fits", "copy")
            doubled = await client.open("doubled", "wb")
            for attempt in (
                client.truncate("there", 1001),
                client.remote_copy("fits", doubled, dst_offset=1),
                doubled.truncate(1001),
                doubled.write(b"1", 10**12),
            ):
                with pytest.raises(asyncssh.SFTPFailure, match="1000 bytes at most"):
                    await attempt
            for attempt in (_put(client, "big", bytes(1001)), _put(client, "there", bytes(101), "ab"), doubled.close()):
                with pytest.raises(asyncssh.SFTPFailure, match=r"1000 bytes at most|Not stored"):
                    await attempt
            sizes = {name: (house.root / name).stat().st_size for name in house.tree()}
            assert sizes == {"copy": 1000, "fits": 1000, "there": 900}, "and nothing of what failed"

    asyncio.run(scenario())


def test_an_upload_to_a_full_disk_is_not_stored(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    (house.root / "a").write_bytes(b"old")

    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            file = await client.open("a", "wb")
            await file.write(b"some")
            with monkeypatch.context() as patch:
                patch.setattr("os.pwrite", full)
                with pytest.raises(asyncssh.SFTPError, match="No space left"):
                    await file.write(b"more")
            with pytest.raises(asyncssh.SFTPFailure, match="Not stored"):
                await file.close()
            file = await client.open("a", "wb")
            with monkeypatch.context() as patch:
                patch.setattr("os.fsync", full)
                with pytest.raises(asyncssh.SFTPError, match="No space left"):
                    await file.close()

    asyncio.run(scenario())
    assert house.tree() == ["a"]
    assert (house.root / "a").read_bytes() == b"old"


def test_open_files_and_directories_are_limited_over_all_sessions_of_a_connection(house: House) -> None:
    (house.root / "a").write_bytes(b"1")

    async def scenario() -> None:
        async with house.serve(limits=SftpLimits(open_files=6)) as server, house.login(server) as ssh:
            one, two = await ssh.start_sftp_client(), await ssh.start_sftp_client()
            files = [await client.open("a", "rb") for client in (one, two, one, two)]
            listings = [_begun(one), _begun(two)]
            for listing in listings:
                await anext(listing)
            for attempt in (one.open("a", "rb"), two.open("b", "wb"), one.listdir(".")):
                with pytest.raises(asyncssh.SFTPFailure, match="Too many open files: 6 at most"):
                    await attempt
            await files[0].close()
            await (await two.open("a", "rb")).close()
            await listings[0].aclose()
            assert await one.listdir(".") == ["a"]
            async with house.client(server) as other:
                assert await _content(other, "a") == b"1", "another connection has its own account"

    asyncio.run(scenario())


async def _begun(client: asyncssh.SFTPClient) -> AsyncGenerator[str, None]:
    """A listing, as far as one wants it."""
    async with contextlib.aclosing(cast(AsyncGenerator[asyncssh.SFTPName, None], client.scandir("."))) as entries:
        async for entry in entries:
            yield str(entry.filename)


def test_connections_are_limited(house: House) -> None:
    async def scenario() -> None:
        async with house.serve(limits=SftpLimits(connections=2)) as server:
            async with house.client(server), house.client(server):
                with pytest.raises((asyncssh.Error, OSError)):
                    async with house.client(server):
                        pass
            async with house.client(server) as client:
                assert await client.listdir() == []

    asyncio.run(scenario())


def test_who_does_not_log_in_is_put_out(house: House) -> None:
    async def scenario() -> None:
        async with house.serve(limits=SftpLimits(login_seconds=0.2)) as server:
            reader, writer = await asyncio.open_connection(*server.address)
            await asyncio.wait_for(reader.read(), 5)
            writer.close()

    asyncio.run(scenario())


# Who may log in


class Guesser(asyncssh.SSHClient):
    """Tries passwords until it is thrown out."""

    def __init__(self) -> None:
        self.tried = 0

    def password_auth_requested(self) -> str:
        self.tried += 1
        return f"guess {self.tried}"


def test_a_connection_may_guess_only_so_often(house: House) -> None:
    guesser = Guesser()

    async def scenario() -> None:
        async with house.serve(limits=SftpLimits(failed_logins=3, failed_login_pause=0)) as server:
            with pytest.raises(asyncssh.PermissionDenied, match="Too many failed logins"):
                async with house.login(
                    server, client_factory=lambda: guesser, password=None, preferred_auth="password"
                ):
                    pass

    asyncio.run(scenario())
    assert guesser.tried == 3


def test_a_wrong_password_is_answered_slowly(house: House) -> None:
    async def scenario() -> None:
        async with house.serve(limits=SftpLimits(failed_login_pause=0.3)) as server:
            loop = asyncio.get_running_loop()
            started = loop.time()
            with pytest.raises(asyncssh.PermissionDenied):
                async with house.login(server, password="wrong", preferred_auth="password"):
                    pass
            assert loop.time() - started >= 0.3

    asyncio.run(scenario())


def test_passwords_work_by_both_methods_and_only_the_right_ones(house: House) -> None:
    async def scenario() -> None:
        async with house.serve() as server:
            for method in ("password", "keyboard-interactive"):
                async with house.login(server, preferred_auth=method):
                    pass
                for wrong in ({"password": "wrong"}, {"password": ""}, {"username": "root"}, {"username": ""}):
                    with pytest.raises(asyncssh.PermissionDenied):
                        async with house.login(server, preferred_auth=method, **wrong):
                            pass
            with pytest.raises(asyncssh.PermissionDenied):
                async with house.login(server, password=None, client_keys=[house.key]):
                    pass

    asyncio.run(scenario())


def test_keys_are_read_at_each_login_and_open_for_known_users_only(house: House) -> None:
    authorized = house.outside / "authorized"
    house.users = {"bulk": None}

    async def scenario() -> None:
        async with house.serve(authorized_keys=authorized) as server:
            by_key = dict[str, Any](password=None, client_keys=[house.key])
            async with house.client(server, **by_key) as client:
                assert await client.listdir() == []
            for options in (
                by_key | {"username": "root"},
                by_key | {"client_keys": [asyncssh.generate_private_key("ssh-ed25519")]},
                {"password": PASSWORD},
                {"password": ""},
            ):
                with pytest.raises(asyncssh.PermissionDenied):
                    async with house.login(server, **options):
                        pass
            line = authorized.read_bytes()
            for content in (b"", b"garbage", b'from="192.0.2.1" ' + line, b'command="id" ' + line):
                authorized.write_bytes(content)
                with pytest.raises((asyncssh.PermissionDenied, asyncssh.ChannelOpenError)):
                    async with house.client(server, **by_key):
                        pass
            authorized.write_bytes(line)
            async with house.login(server, **by_key):
                pass

    asyncio.run(scenario())


class Turncoat(asyncssh.SSHClient):
    """Begins as a known user, then asks to be let in as another."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        self.keys = [key]
        self.connection: Any = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn

    def password_auth_requested(self) -> str | None:
        return "wrong" if self.connection._username == "bulk" else None

    def public_key_auth_requested(self) -> asyncssh.SSHKey | None:
        if self.connection._username == "mallory":
            return self.keys.pop() if self.keys else None
        self.connection._username = "mallory"
        return asyncssh.generate_private_key("ssh-ed25519")


def test_the_keys_of_a_known_user_do_not_open_for_another_on_the_same_connection(house: House) -> None:
    turncoat = Turncoat(house.key)

    async def scenario() -> None:
        async with house.serve(authorized_keys=house.outside / "authorized") as server:
            with pytest.raises(asyncssh.PermissionDenied):
                async with house.login(
                    server,
                    client_factory=lambda: turncoat,
                    password=None,
                    client_keys=(),
                    preferred_auth="publickey,password",
                ):
                    pass

    asyncio.run(scenario())
    assert turncoat.keys == []


def test_a_password_is_kept_as_a_hash() -> None:
    one, two = hash_password("pässword"), hash_password("pässword")
    assert one != two
    assert one.matches("pässword")
    assert one.matches("pa\u0308ssword"), "the decomposed form of the same text"
    assert not one.matches("password")
    assert repr(one) == "PasswordHash()"
    assert b"ssword" not in one.salt + one.digest
    with pytest.raises(SettingsError, match="empty password"):
        hash_password("")


def test_an_unknown_user_costs_as_much_as_a_known_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = PasswordHash.matches

    def counted(self: PasswordHash, password: str) -> bool:
        asked.append(password)
        return real(self, password)

    monkeypatch.setattr(PasswordHash, "matches", counted)

    async def scenario() -> None:
        async with house.serve() as server:
            for user in ("bulk", "root"):
                with pytest.raises(asyncssh.PermissionDenied):
                    async with house.login(server, username=user, password="wrong", preferred_auth="password"):
                        pass

    asyncio.run(scenario())
    assert len(asked) == 2


# Old clients


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
def test_old_clients_are_served_only_when_that_is_asked_for(house: House) -> None:
    old = dict[str, Any](
        kex_algs=["diffie-hellman-group14-sha1"],
        encryption_algs=["3des-cbc"],
        mac_algs=["hmac-sha1"],
        server_host_key_algs=["ssh-rsa"],
    )

    async def scenario() -> None:
        async with house.serve() as server:
            for name, value in old.items():
                options = dict[str, Any](encryption_algs=["aes128-ctr"])  # a cipher that needs a MAC
                with pytest.raises(asyncssh.KeyExchangeFailed):
                    async with house.login(server, **options | {name: value}):
                        pass
            assert set(server.fingerprints) == {"ssh-ed25519"}
        async with house.serve(legacy_algorithms=True) as server:
            assert set(server.fingerprints) == {"ssh-ed25519", "ssh-rsa"}
            async with house.client(server, **old) as client:
                assert await client.listdir() == []

    asyncio.run(scenario())
    assert stat.S_IMODE((house.outside / "host_key_rsa").stat().st_mode) == 0o600


# Starting and stopping


def test_the_host_key_is_made_once_and_kept(house: House) -> None:
    async def scenario() -> None:
        path = house.outside / "new" / "key"
        servers = await asyncio.gather(*(start_sftp(house.root, users=house.users, host_key=path) for _ in range(4)))
        assert len({server.fingerprint for server in servers}) == 1, "of several first starts one made it"
        for server in servers:
            await server.stop()
        async with house.serve(host_key=path) as server:
            assert server.fingerprint == servers[0].fingerprint
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [file.name for file in path.parent.iterdir()] == ["key"]

    asyncio.run(scenario())


def test_a_host_key_of_another_kind_is_used_without_sha1(house: House) -> None:
    asyncssh.generate_private_key("ssh-rsa", key_size=2048).write_private_key(house.outside / "rsa")
    (house.outside / "rsa").chmod(0o600)

    async def scenario() -> None:
        async with house.serve(host_key=house.outside / "rsa") as server:
            async with house.login(server, server_host_key_algs=["rsa-sha2-256"]):
                pass
            with pytest.raises(asyncssh.KeyExchangeFailed):
                async with house.login(server, server_host_key_algs=["ssh-rsa"]):
                    pass

    asyncio.run(scenario())


def _refused(house: House, **options: Any) -> str:
    async def scenario() -> None:
        async with house.serve(**options):
            pass

    with pytest.raises(SettingsError) as caught:
        asyncio.run(scenario())
    return caught.value.message


def test_what_can_not_be_served_safely_is_refused(house: House) -> None:
    (house.outside / "open_key").write_bytes(house.key.export_private_key())
    (house.outside / "open_key").chmod(0o644)
    (house.outside / "garbage").write_text("no key")
    (house.outside / "garbage").chmod(0o600)
    outside = house.outside

    assert "others can read the host key" in _refused(house, host_key=outside / "open_key")
    assert "no unencrypted private key" in _refused(house, host_key=outside / "garbage")
    assert "can't use the host key" in _refused(house, host_key=outside / "passwd" / "key")
    assert "in the directory that is served" in _refused(house, host_key=house.root / "key")
    assert "in the directory that is served" in _refused(house, authorized_keys=house.root / "keys")
    (outside / "way-in").symlink_to(house.root)
    assert "in the directory that is served" in _refused(house, host_key=outside / "way-in" / "key")
    assert "no usable keys" in _refused(house, authorized_keys=outside / "missing")
    assert "no usable keys" in _refused(house, authorized_keys=outside / "garbage")
    assert "no user is named" in _refused(house, users={})
    assert "'bulk' could not log in" in _refused(house, users={"bulk": None})
    for name, complaint in (("missing", "there is no directory"), ("passwd", "is not a directory")):
        house.root = outside / name
        assert complaint in _refused(house)


def test_a_taken_port_is_told(house: House) -> None:
    async def scenario() -> None:
        async with house.serve() as server:
            with pytest.raises(PortTaken, match=rf"SFTP .*127\.0\.0\.1 port {server.address[1]}"):
                async with house.serve(port=server.address[1]):
                    pass

    asyncio.run(scenario())
    with pytest.raises(PortTaken, match=r"192\.0\.2\.1"):
        asyncio.run(_served(house, host="192.0.2.1"))


async def _served(house: House, **options: Any) -> None:
    async with house.serve(**options):
        pass


@pytest.mark.parametrize("loop", LOOPS)
def test_stopping_leaves_no_task_no_file_and_no_connection(
    house: House, loop: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    def descriptors() -> list[str]:
        return sorted(
            target
            for link in Path("/proc/self/fd").iterdir()
            for target in _target(link)
            if str(house.outside) in target or target.startswith("socket")
        )

    async def scenario() -> None:
        await asyncio.to_thread(int)  # the pool's first thread, whose making is not ours to count
        before = descriptors()
        async with house.serve() as server:
            (house.root / "a").write_bytes(b"1")
            async with house.login(server) as ssh, house.client(server) as idle:
                client = await ssh.start_sftp_client()
                files = [await client.open(name, mode) for name, mode in (("a", "rb"), ("b", "wb"), (".c", "wb"))]
                listing = _begun(client)
                await anext(listing)
                _, silent = await asyncio.open_connection(*server.address)
                started = time.monotonic()
                await server.stop()
                assert time.monotonic() - started < 1
                await server.stop()
                with pytest.raises((asyncssh.Error, OSError)):
                    await idle.listdir()
                with pytest.raises((asyncssh.Error, OSError)):
                    await files[1].write(b"1")
                with contextlib.suppress(asyncssh.Error, OSError):
                    await listing.aclose()
                silent.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*server.address)
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert descriptors() == before

    loop(scenario())
    assert house.tree() == [".c", "a"]


def test_stopping_waits_for_what_is_being_stored(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, real = threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        begun.set()
        time.sleep(0.2)
        real(descriptor)

    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            file = await client.open("a", "wb")
            await file.write(b"1")
            monkeypatch.setattr("os.fsync", slow)
            closing = asyncio.ensure_future(file.close())
            await asyncio.to_thread(begun.wait)
            await server.stop()
            assert house.tree() == ["a"]
            with pytest.raises((asyncssh.Error, OSError)):
                await closing

    asyncio.run(scenario())


def _target(link: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        yield str(link.readlink())


def test_the_directory_may_be_emptied_and_made_anew_meanwhile(house: House) -> None:
    async def scenario() -> None:
        async with house.serve() as server, house.client(server) as client:
            house.root.rmdir()
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await client.listdir("/")
            house.root.mkdir()
            await _put(client, "a", b"1")
            assert house.tree() == ["a"]

    asyncio.run(scenario())


# What the log tells


def test_the_log_tells_who_did_what_and_no_secret(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trustbridge.services.sftp")

    async def scenario() -> None:
        async with house.serve() as server:
            with pytest.raises(asyncssh.PermissionDenied):
                async with house.login(server, password="hunter2", preferred_auth="password"):
                    pass
            async with house.client(server) as client:
                await _put(client, "a.p12", b"12345")
                await _content(client, "a.p12")
                await _put(client, ".a.p12.0123456789abcdef.part", b"123", "xb")
                await client.posix_rename(".a.p12.0123456789abcdef.part", "a.p12")
                await client.rename("a.p12", "evil\n\x1b[31mname")
                await client.mkdir("d")
                await client.rmdir("d")
                await client.remove("evil\n\x1b[31mname")
                await client.open("unfinished", "wb")

    asyncio.run(scenario())
    ours = [record.getMessage() for record in caplog.records if record.name == "trustbridge.services.sftp"]
    assert [line.replace("bulk from 127.0.0.1", "WHO") for line in ours] == [
        "refused login of WHO: wrong user or password",
        "WHO logged in with a password",
        "WHO stored /a.p12, 5 bytes",
        "WHO read /a.p12, 5 bytes",
        "WHO stored /a.p12, 3 bytes",
        r"WHO renamed /a.p12, to /evil\n\x1b[31mname",
        "WHO made directory /d",
        "WHO removed directory /d",
        r"WHO removed /evil\n\x1b[31mname",
        "WHO did not finish /unfinished",
    ]
    assert "hunter2" not in caplog.text
    assert PASSWORD not in caplog.text
