"""Registration with real programs: OpenSSL's client and server for TLS, SIPp for SIP."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trustbridge.clients.register import ClientTls, register
from trustbridge.clients.tls import TlsIdentity
from trustbridge.pki.issue import Identity, Organisation, locally_significant, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services.registrar import (
    RegistrarServer,
    Registration,
    RegistrationAnswer,
    start_registrar,
)
from trustbridge.wire import sip, sipregister

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl (Debian package openssl)")
needs_sipp = pytest.mark.skipif(shutil.which("sipp") is None, reason="needs sipp (Debian package sip-tester)")

NOW = datetime.now(UTC)
LAB = Organisation(o="Lab")
DEVICE = "SEP001122334455"
REGISTER = sip.encode(
    sipregister.register_request(
        registrar="127.0.0.1",
        user="1001",
        device=DEVICE,
        model="684",
        local=("127.30.0.7", 5061),
        seconds=120,
        transport="tls",
        call_id="c1",
        tag="t1",
        branch="z9hG4bK1",
    )
)
SCENARIO = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<!DOCTYPE scenario SYSTEM "sipp.dtd">
<scenario name="a phone registers and takes it back">
%s
</scenario>
"""
STEP = """<send retrans="500"><![CDATA[
REGISTER sip:[remote_ip] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:phone[call_number]@[remote_ip]>;tag=[call_number]
To: <sip:phone[call_number]@[remote_ip]>
Call-ID: [call_id]
CSeq: %d REGISTER
Contact: <sip:phone[call_number]@[local_ip]:[local_port];transport=[transport]>
Expires: %d
Content-Length: 0

]]></send>
<recv response="200"><action>
  <ereg regexp="%d" search_in="hdr" header="Expires:" check_it="true" assign_to="%d" />
  <log message="granted: [$%d]" />
</action></recv>"""


@dataclass(frozen=True)
class Authority:
    """A CAPF, an LSC of it, and the LSC's files for OpenSSL."""

    capf: Identity
    phone: Identity
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def node() -> Identity:
    return self_signed(node="cm1", unit=Unit.CALLMANAGER, common_name="cm1", organisation=LAB, now=NOW)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    def made(name: str) -> Authority:
        capf = self_signed(node="cm1", unit=Unit.CAPF, common_name=name, organisation=LAB, now=NOW)
        phone = locally_significant(capf, device=DEVICE, organisation=LAB, now=NOW)
        folder = tmp_path_factory.mktemp(name)
        certificate, key = folder / "lsc.pem", folder / "lsc.key"
        certificate.write_text(phone.certificate.pem())
        key.touch(mode=0o600)
        key.write_bytes(phone.key_pem())
        return Authority(capf, phone, certificate, key)

    return made("CAPF-1"), made("CAPF-2")


class Cluster:
    """A handler that accepts everybody and remembers."""

    def __init__(self) -> None:
        self.asked: list[Registration] = []

    def __call__(self, registration: Registration) -> RegistrationAnswer:
        self.asked.append(registration)
        return RegistrationAnswer.accepted(registration.expires)


def run(work: Awaitable[None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await work

    asyncio.run(limited())


@asynccontextmanager
async def program(*command: str | Path, cwd: Path | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=cwd,
        env={**os.environ, "TERM": "dumb"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def typed_into_s_client(server: RegistrarServer, *options: str | Path) -> str:
    """What `openssl s_client` prints when a REGISTER is typed into it."""
    host, port = server.address
    async with program("openssl", "s_client", "-connect", f"{host}:{port}", "-quiet", *options) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(REGISTER)
        said = b""
        # It stays until the server hangs up; an answer is all we wait for.
        while b"\r\n\r\n" not in said and (more := await client.stdout.read(4096)):
            said += more
    return said.decode("utf-8", "replace")


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssls_client_registers_with_a_certificate_of_the_clusters_capf(
    node: Identity, authorities: tuple[Authority, Authority], version: str
) -> None:
    ours, theirs = authorities
    cluster = Cluster()

    async def scenario() -> None:
        server = await start_registrar(
            cluster, port=0, tls=TlsIdentity.of(node), client_authorities=[ours.capf.certificate]
        )
        said = await typed_into_s_client(server, version, "-cert", ours.certificate, "-key", ours.key)
        assert "SIP/2.0 200 OK" in said
        assert [(asked.device, asked.secure, asked.peer_subject) for asked in cluster.asked] == [
            (DEVICE, True, f"CN={DEVICE};O=Lab")
        ]
        for options in (("-cert", theirs.certificate, "-key", theirs.key), ()):
            said = await typed_into_s_client(server, version, *options)
            assert "SIP/2.0" not in said
        assert len(cluster.asked) == 1
        assert server.counters.handshakes_failed == 2
        server.client_authorities = [theirs.capf.certificate]
        said = await typed_into_s_client(server, version, "-cert", theirs.certificate, "-key", theirs.key)
        assert "SIP/2.0 200 OK" in said
        await server.stop()

    run(scenario())


@needs_openssl
def test_an_old_phones_tls_needs_the_legacy_switch(node: Identity) -> None:
    old = ("-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0")

    async def scenario() -> None:
        for legacy in (False, True):
            server = await start_registrar(
                Cluster(), port=0, tls=TlsIdentity.of(node), require_client_certificate=False, legacy_tls=legacy
            )
            assert ("SIP/2.0 200 OK" in await typed_into_s_client(server, *old)) is legacy
            await server.stop()

    run(scenario())


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_our_phone_registers_with_openssls_server(
    node: Identity, authorities: tuple[Authority, Authority], version: str, tmp_path: Path
) -> None:
    ours = authorities[0]
    files = {
        "cm.pem": node.certificate.pem().encode(),
        "cm.key": node.key_pem(),
        "capf.pem": ours.capf.certificate.pem().encode(),
    }
    for name, content in files.items():
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(content)
    seen: list[bytes] = []

    def check(certificate: bytes) -> str | None:
        seen.append(certificate)
        return None

    async def answered(server: asyncio.subprocess.Process) -> str:
        assert server.stdin is not None
        assert server.stdout is not None
        said = b""
        while b"Content-Length: 0\r\n\r\n" not in said and (more := await server.stdout.read(4096)):
            said += more
        server.stdin.write(b"SIP/2.0 200 OK\r\nCSeq: 101 REGISTER\r\nExpires: 77\r\nContent-Length: 0\r\n\r\n")
        return said.decode("utf-8", "replace")

    async def scenario() -> None:
        command = ("openssl", "s_server", "-accept", "127.0.0.1:0", version, "-cert", "cm.pem", "-key", "cm.key")
        verify = ("-CAfile", "capf.pem", "-Verify", "1", "-verify_return_error")
        async with program(*command, *verify, cwd=tmp_path) as server:
            assert server.stdout is not None
            accepting = b""
            while not accepting.startswith(b"ACCEPT"):
                accepting = await server.stdout.readline()
            port = int(accepting.strip().rpartition(b":")[2])
            tls = ClientTls(check, TlsIdentity.of(ours.phone))
            result, said = await asyncio.gather(
                register("127.0.0.1", port, device=DEVICE, model="684", tls=tls), answered(server)
            )
            assert (result.code, result.expires) == (200, 77)
            assert seen == [node.certificate.der]
            assert f'devicename.ccm.cisco.com="{DEVICE}"' in said
            assert "REGISTER sip:127.0.0.1 SIP/2.0" in said

    run(scenario())


@needs_sipp
def test_sipp_registers_a_hundred_phones_and_takes_them_back(tmp_path: Path) -> None:
    steps = [STEP % (1, 3600, 3600, 1, 1), STEP % (2, 0, 0, 2, 2)]
    (tmp_path / "phone.xml").write_text(SCENARIO % "\n".join(steps))
    cluster = Cluster()

    async def scenario() -> None:
        server = await start_registrar(cluster, port=0)
        host, port = server.address
        command = ["sipp", f"{host}:{port}", "-sf", "phone.xml", "-t", "tn", "-i", "127.0.0.1", "-max_socket", "200"]
        calls = ["-m", "100", "-r", "100", "-l", "100", "-nostdin", "-trace_err", "-timeout", "20"]
        async with program(*command, *calls, cwd=tmp_path) as sipp:
            assert sipp.stdout is not None
            said = await sipp.stdout.read()
            assert await sipp.wait() == 0, said.decode("utf-8", "replace")[-2000:]
        assert (server.counters.accepted, server.counters.taken_back) == (100, 100)
        assert {asked.device for asked in cluster.asked} == {f"phone{number}" for number in range(1, 101)}
        assert server.counters.malformed == 0
        await server.stop()

    run(scenario())
