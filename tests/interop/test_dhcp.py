"""DHCP with real programs: Kea serves our phones, and Kea's perfdhcp asks our server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trustbridge.clients.lease import Lease, obtain_lease
from trustbridge.errors import Unreachable
from trustbridge.services.dhcp import Scope, start_dhcp
from trustbridge.wire import dhcp


def found(name: str) -> str | None:
    """Where a program is that stands in sbin, which is not on everybody's path."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


KEA, PERFDHCP = found("kea-dhcp4"), found("perfdhcp")
needs_kea = pytest.mark.skipif(KEA is None, reason="needs kea-dhcp4 (Debian package kea-dhcp4-server)")
needs_perfdhcp = pytest.mark.skipif(PERFDHCP is None, reason="needs perfdhcp (Debian package kea-admin)")

#: Kea serves only addresses that an interface bears, and loopback bears this one.
SERVER = "127.0.0.1"
VENDOR = "Cisco Systems, Inc. IP Phone CP-8841"
FIXED = dhcp.parse_mac("SEP0011223344FF")


def run(work: Awaitable[None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await work

    asyncio.run(limited())


def free_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def configuration(option150: str) -> str:
    subnet = {
        "subnet": "127.30.0.0/16",
        "pools": [{"pool": "127.30.40.1 - 127.30.40.99"}],
        "reservations": [{"hw-address": FIXED.hex(":"), "ip-address": "127.30.41.7"}],
        "option-data": [
            {"name": "tftp-servers", "data": option150},
            {"name": "tftp-server-name", "data": "cm1.lab"},
            {"name": "routers", "data": "127.30.0.254"},
        ],
    }
    server = {
        "interfaces-config": {"interfaces": [f"lo/{SERVER}"], "dhcp-socket-type": "udp"},
        "lease-database": {"type": "memfile", "persist": False},
        "option-def": [{"name": "tftp-servers", "code": 150, "type": "ipv4-address", "array": True}],
        "subnet4": [subnet],
        "valid-lifetime": 600,
        "loggers": [{"name": "*", "severity": "INFO", "output_options": [{"output": "stdout"}]}],
    }
    return json.dumps({"Dhcp4": server})


class Kea:
    """A running Kea; its log is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, file: Path) -> None:
        self.port = port
        self._process = process
        self._file = file

    async def says(self, word: str) -> None:
        """Wait until it has logged this."""
        assert self._process.stdout is not None
        said = b""
        while line := await self._process.stdout.readline():
            said += line
            if word.encode() in line:
                return
        raise AssertionError(said.decode("utf-8", "replace"))

    async def set_option150(self, servers: str) -> None:
        self._file.write_text(configuration(servers))
        self._process.send_signal(signal.SIGHUP)
        await self.says("DHCP4_CONFIG_COMPLETE")


@asynccontextmanager
async def kea(folder: Path, option150: str) -> AsyncIterator[Kea]:
    assert KEA is not None
    file = folder / "kea.json"
    file.write_text(configuration(option150))
    port = free_port(SERVER)
    places = dict.fromkeys(("KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR", "KEA_CONTROL_SOCKET_DIR"), str(folder))
    # -P is the port of clients, and with it of relays: Kea answers giaddr there.
    process = await asyncio.create_subprocess_exec(
        *(KEA, "-c", str(file), "-p", str(port), "-P", str(port)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **places},
    )
    try:
        server = Kea(process, port, file)
        await server.says("DHCP4_STARTED")
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ask(server: Kea, mac: bytes, address: str) -> Lease:
    return await obtain_lease(SERVER, server.port, mac=mac, address=address, vendor_class=VENDOR, timeout=2.0, tries=2)


@needs_kea
def test_phones_get_their_address_and_option_150_from_kea_and_a_new_one_after_a_change(tmp_path: Path) -> None:
    phones = [dhcp.parse_mac(f"SEP0011223344{number:02X}") for number in range(5)]

    async def scenario() -> None:
        async with kea(tmp_path, "127.10.1.1, 127.10.1.2") as server:
            leases = await asyncio.gather(
                *(ask(server, mac, f"127.30.42.{number + 1}") for number, mac in enumerate(phones))
            )
            assert {lease.option150 for lease in leases} == {("127.10.1.1", "127.10.1.2")}
            assert {lease.option66 for lease in leases} == {"cm1.lab"}
            assert {(lease.server, lease.lease_seconds) for lease in leases} == {(SERVER, 600)}
            addresses = [lease.address for lease in leases]
            assert len(set(addresses)) == 5
            assert all(address.startswith("127.30.40.") for address in addresses)
            assert (await ask(server, FIXED, "127.30.42.9")).address == "127.30.41.7"
            await server.set_option150("127.20.1.1")
            again = await ask(server, phones[3], "127.30.42.4")
            assert again.option150 == ("127.20.1.1",)
            with pytest.raises(Unreachable):  # no subnet for this relay: Kea stays silent
                await obtain_lease(
                    *(SERVER, server.port),
                    mac=FIXED,
                    address="127.99.0.1",
                    vendor_class=VENDOR,
                    timeout=0.3,
                    tries=1,
                )

    run(scenario())


@needs_perfdhcp
def test_perfdhcp_finds_no_fault_with_our_server() -> None:
    assert PERFDHCP is not None
    program = PERFDHCP

    async def scenario() -> None:
        scope = Scope(option150=("127.10.1.1",), pool=("127.30.40.1", "127.30.49.255"), lease_seconds=600)
        port = free_port("127.0.0.1")
        server = await start_dhcp(scope, host="127.0.9.67", port=port)
        process = await asyncio.create_subprocess_exec(
            *(program, "-4", "-l", "127.0.0.1", "-L", str(port), "-N", str(port)),
            *("-r", "200", "-R", "100", "-n", "200", "-W", "500000", "-d", "5", "127.0.9.67"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        said = output.decode()
        assert process.returncode == 0, said
        assert said.count("drops: 0") == 2
        assert said.count("rejected leases: 0") == 2
        assert said.count("non unique addresses: 0") == 2
        assert "Malformed packets: 0" in said
        assert server.counters.acks >= 200
        assert (server.counters.malformed, server.counters.naks) == (0, 0)
        assert len(server.leases()) == 100
        await server.stop()

    run(scenario())
