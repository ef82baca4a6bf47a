"""Real clients against our TFTP and HTTP servers: tftp-hpa's `tftp`, and curl for both."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trustbridge.services.files import FolderSource
from trustbridge.services.provisioning import ProvisioningServer, start_provisioning
from trustbridge.services.tftp import TftpServer, start_tftp

SIZES = {"ITLFile.tlv": 10240, "exact": 1024, "empty": 0, "large": 700_001}

with_tftp = pytest.mark.skipif(shutil.which("tftp") is None, reason="no tftp here: Debian package tftp-hpa")
with_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here: Debian package curl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to serve, with a secret beside it."""
    root = tmp_path_factory.mktemp("node")
    chance = random.Random(5)
    (root / "secret").write_bytes(b"secret")
    served = root / "served"
    served.mkdir()
    for name, size in SIZES.items():
        (served / name).write_bytes(chance.randbytes(size))
    (served / "text").write_bytes(b"one\ntwo\rthree\r\nfour")
    (served / "SEP001122334455.cnf.xml").write_bytes(b"<device/>\n")
    return served


async def program(*command: str, cwd: Path | None = None) -> tuple[int, bytes, str]:
    """Exit status, standard output and error output of a program, within ten seconds."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=cwd
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 10)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output, errors.decode()


def with_servers(
    folder: Path, test: Callable[[TftpServer, ProvisioningServer], Awaitable[None]]
) -> tuple[TftpServer, ProvisioningServer]:
    """Run a test beside both servers of a folder; the servers as they were at the end."""

    async def run() -> tuple[TftpServer, ProvisioningServer]:
        source = FolderSource(folder)
        tftp, web = await start_tftp(source, port=0), await start_provisioning(source, port=0)
        try:
            await test(tftp, web)
        finally:
            await tftp.stop()
            await web.stop()
        return tftp, web

    return asyncio.run(run())


@with_tftp
def test_tftp_hpa_gets_files_of_every_kind_of_size(folder: Path, tmp_path: Path) -> None:
    async def test(tftp: TftpServer, web: ProvisioningServer) -> None:
        host, port = tftp.address
        for name in SIZES:
            status, output, _ = await program(
                *("tftp", "-m", "binary", host, str(port), "-c", "get", name, name), cwd=tmp_path
            )
            assert status == 0, output
            assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()

    tftp, _ = with_servers(folder, test)
    assert tftp.counters.completed == len(SIZES)
    assert tftp.counters.errors == tftp.counters.retransmits == 0


@with_tftp
def test_tftp_hpa_gets_text_in_netascii(folder: Path, tmp_path: Path) -> None:
    async def test(tftp: TftpServer, web: ProvisioningServer) -> None:
        host, port = tftp.address
        await program(*("tftp", "-m", "ascii", host, str(port), "-c", "get", "text", "text"), cwd=tmp_path)
        assert (tmp_path / "text").read_bytes() == (folder / "text").read_bytes()

    with_servers(folder, test)


@with_tftp
def test_tftp_hpa_is_told_why_it_gets_nothing(folder: Path, tmp_path: Path) -> None:
    async def test(tftp: TftpServer, web: ProvisioningServer) -> None:
        host, port = tftp.address
        (tmp_path / "mine").write_bytes(b"mine")
        for command, words in (
            ("get none none", b"Error code 1: file not found"),
            ("get ../secret secret", b"Error code 2: '..' in file name"),
            (f"get {folder}/exact exact", b"Error code 2: absolute file name"),
            ("put mine mine", b"Error code 2: this server only sends files"),
        ):
            _, output, errors = await program(
                *("tftp", "-m", "binary", host, str(port), "-c", *command.split()), cwd=tmp_path
            )
            assert words in output + errors.encode()
        # tftp leaves an empty file behind where it got nothing.
        assert {path.name for path in tmp_path.iterdir() if path.stat().st_size} == {"mine"}
        assert not (folder / "mine").exists()

    with_servers(folder, test)


@with_curl
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--tftp-no-options",),
        *(("--tftp-blksize", size) for size in ("8", "512", "1428", "8192", "65464")),
    ],
    ids=" ".join,
)
def test_curl_gets_files_over_tftp_with_and_without_options(folder: Path, options: tuple[str, ...]) -> None:
    async def test(tftp: TftpServer, web: ProvisioningServer) -> None:
        host, port = tftp.address
        for name in SIZES:
            if name == "large" and options[-1:] == ("8",):
                continue  # 87,500 blocks are a test of curl's patience
            status, output, errors = await program("curl", "-sS", *options, f"tftp://{host}:{port}/{name}")
            assert status == 0, errors
            assert output == (folder / name).read_bytes()

    tftp, _ = with_servers(folder, test)
    assert tftp.counters.errors == tftp.counters.retransmits == 0


@with_curl
def test_curl_is_told_over_tftp_what_is_missing_or_forbidden(folder: Path) -> None:
    async def test(tftp: TftpServer, web: ProvisioningServer) -> None:
        host, port = tftp.address
        url = f"tftp://{host}:{port}"
        # 68: TFTP: file not found; 69: TFTP: permission problem
        for path, status in (("none", 68), ("../secret", 69), ("%2e%2e/secret", 69), (f"/{folder}/exact", 69)):
            found, output, errors = await program("curl", "-sS", "--path-as-is", f"{url}/{path}")
            assert (found, output) == (status, b""), errors

    with_servers(folder, test)


@with_curl
@pytest.mark.parametrize("options", [(), ("--http1.0",), ("--http2",), ("--compressed",)], ids=" ".join)
def test_curl_gets_files_over_http(folder: Path, options: tuple[str, ...]) -> None:
    async def test(tftp: TftpServer, web: ProvisioningServer) -> None:
        host, port = web.address
        for name in SIZES:
            status, output, errors = await program("curl", "-sS", *options, f"http://{host}:{port}/{name}")
            assert status == 0, errors
            assert output == (folder / name).read_bytes()

    with_servers(folder, test)


@with_curl
def test_curl_keeps_one_connection_for_many_files(folder: Path) -> None:
    async def test(tftp: TftpServer, web: ProvisioningServer) -> None:
        host, port = web.address
        urls = [f"http://{host}:{port}/{name}" for name in (*SIZES, "none", *SIZES)]
        status, output, errors = await program("curl", "-sS", *urls)
        assert status == 0, errors
        content = b"".join((folder / name).read_bytes() for name in SIZES)
        assert output == content + b"not found\n" + content

    _, web = with_servers(folder, test)
    assert web.counters.connections == 1
    assert web.counters.requests == 2 * len(SIZES) + 1


@with_curl
def test_curl_head_shows_length_and_type_and_no_banner(folder: Path) -> None:
    async def test(tftp: TftpServer, web: ProvisioningServer) -> None:
        host, port = web.address
        _, output, _ = await program("curl", "-sS", "--head", f"http://{host}:{port}/SEP001122334455.cnf.xml")
        assert output.split(b"\r\n") == [
            *(b"HTTP/1.1 200 OK", b"Content-Type: text/xml", b"Content-Length: 10", b"", b"")
        ]

    with_servers(folder, test)


@with_curl
def test_curl_does_not_get_out_of_the_folder_over_http(folder: Path) -> None:
    async def test(tftp: TftpServer, web: ProvisioningServer) -> None:
        host, port = web.address
        for path, status in (
            ("none", b"404"),
            ("../secret", b"400"),
            ("%2e%2e/secret", b"400"),
            ("%2e%2e%2fsecret", b"400"),
            (f"/{folder}/exact", b"400"),
            ("%2e%2e%5csecret", b"400"),
            ("exact%00.xml", b"400"),
        ):
            _, output, errors = await program(
                *("curl", "-sS", "--path-as-is", "-w", "|%{http_code}", f"http://{host}:{port}/{path}")
            )
            body, _, found = output.rpartition(b"|")
            assert found == status, (path, errors)
            assert b"secret" not in body

    with_servers(folder, test)


@with_curl
def test_curl_is_told_that_uploads_are_not_taken(folder: Path, tmp_path: Path) -> None:
    async def test(tftp: TftpServer, web: ProvisioningServer) -> None:
        (tmp_path / "mine").write_bytes(bytes(300_000))
        host, port = web.address
        for upload in (("-T", str(tmp_path / "mine")), ("--data-binary", f"@{tmp_path / 'mine'}"), ("-X", "DELETE")):
            _, output, _ = await program(
                *("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", *upload, f"http://{host}:{port}/mine")
            )
            assert output == b"405"
        host, port = tftp.address
        status, _, _ = await program("curl", "-sS", "-T", str(tmp_path / "mine"), f"tftp://{host}:{port}/mine")
        assert status == 69
        assert not (folder / "mine").exists()

    with_servers(folder, test)
