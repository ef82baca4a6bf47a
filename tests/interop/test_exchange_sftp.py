"""The whole exchange over OpenSSH's own server, and every file that came of it before OpenSSL's and Java's eyes."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trustbridge.errors import ConsolidationMissing, NothingToConsolidate
from trustbridge.exchange import bulk
from trustbridge.exchange.bulk import BUNDLE_PASSWORD, Imported, NodeCertificate
from trustbridge.exchange.directory import Directory, SftpSettings, open_sftp
from trustbridge.exchange.hostkeys import HostKeyPins
from trustbridge.exchange.manifest import contents
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, node_identities
from trustbridge.pki.stores import TrustStores
from trustbridge.pki.units import IMPORT_STORES, UNITS_OF, BulkType

PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
ENVIRONMENT = os.environ | {"BUNDLE_PASSWORD": BUNDLE_PASSWORD, "LC_ALL": "C"}
NOW = datetime.now(UTC)
ALL = tuple(BulkType)


def program(name: str, package: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return found


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running sshd and the folder on it that clusters share."""

    port: int
    folder: Path
    key: Path
    pins: HostKeyPins

    def open(self, directory: str = "") -> AbstractAsyncContextManager[Directory]:
        settings = SftpSettings(
            host="127.0.0.1",
            port=self.port,
            username=getpass.getuser(),
            key_file=self.key,
            directory=directory or str(self.folder),
        )
        return open_sftp(settings, self.pins, timeout=10)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    daemon, keygen = program("sshd", "openssh-server"), program("ssh-keygen", "openssh-client")
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks its unprivileged half in
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path / "shared"
    folder.mkdir()
    configuration = tmp_path / "sshd_config"
    configuration.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path / 'host'}\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nUseDNS no\n"
        "Subsystem sftp internal-sftp\n"
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
        yield Sshd(port, folder, tmp_path / "user", HostKeyPins(tmp_path / "pins"))
    finally:
        process.terminate()
        process.wait(10)


@dataclass(frozen=True, slots=True)
class Cluster:
    name: str
    identities: tuple[NodeCertificate, ...]

    @property
    def certificates(self) -> set[Certificate]:
        return {identity.certificate for identity in self.identities}

    def of(self, kind: BulkType) -> set[Certificate]:
        return {identity.certificate for identity in self.identities if identity.unit in UNITS_OF[kind]}


def cluster(name: str, *nodes: str) -> Cluster:
    identities = [
        NodeCertificate(identity.node, identity.unit, identity.certificate)
        for node in nodes
        for identity in node_identities(
            node,
            domain=f"{name}.test",
            organisation=Organisation(ou="TAC", o="Cisco", l="Kraków", c="PL"),
            now=NOW,
            publisher=node == nodes[0],
            itlrecovery=node == nodes[0],
        )
    ]
    return Cluster(name, tuple(identities))


@pytest.fixture(scope="module")
def src() -> Cluster:
    return cluster("src", "cm1", "cm2")


@pytest.fixture(scope="module")
def dst() -> Cluster:
    return cluster("dst", "pub")


async def export(sshd: Sshd, one: Cluster) -> None:
    async with sshd.open() as directory:
        await bulk.export(directory, one.name, one.identities, ALL, now=NOW)


async def consolidate(sshd: Sshd) -> None:
    async with sshd.open() as directory:
        await bulk.consolidate(directory, "src", ALL, now=NOW)


async def import_(sshd: Sshd, one: Cluster, stores: TrustStores) -> list[Imported]:
    async with sshd.open() as directory:
        plan = await bulk.plan_import(directory, one.certificates, ALL, now=NOW)
    return plan.apply(stores)


def assert_holds(stores: TrustStores, other: Cluster) -> None:
    for kind in ALL:
        for certificate in other.of(kind):
            assert set(stores.holding(certificate)) >= set(IMPORT_STORES[kind])
    exchanged = {certificate for kind in ALL for certificate in other.of(kind)}
    assert {entry.certificate for _, entry in stores} == exchanged


def test_two_clusters_exchange_over_openssh(sshd: Sshd, src: Cluster, dst: Cluster) -> None:
    async def scenario() -> tuple[TrustStores, TrustStores]:
        with pytest.raises(NothingToConsolidate):
            await consolidate(sshd)
        await export(sshd, dst)
        with pytest.raises(NothingToConsolidate, match="only dst"):
            await consolidate(sshd)
        await export(sshd, src)
        with pytest.raises(ConsolidationMissing):
            await import_(sshd, dst, TrustStores())
        await consolidate(sshd)
        at_dst, at_src = TrustStores(), TrustStores()
        assert all(result.result.changed for result in await import_(sshd, dst, at_dst))
        await import_(sshd, src, at_src)
        # Again, and over a new connection: nothing is new, nothing is stale.
        await export(sshd, src)
        assert not any(result.result.changed for result in await import_(sshd, dst, at_dst))
        async with sshd.open() as directory:
            found = await contents(directory)
        assert found.clusters == ("dst", "src")
        assert found.others == ()
        assert all(one.stale == "" for one in found.consolidations.values())
        return at_dst, at_src

    at_dst, at_src = asyncio.run(scenario())
    assert_holds(at_dst, src)
    assert_holds(at_src, dst)
    assert all(not path.name.startswith(".") for path in sshd.folder.iterdir())


def test_clusters_may_export_at_once_over_connections_of_their_own(sshd: Sshd, src: Cluster, dst: Cluster) -> None:
    async def scenario() -> TrustStores:
        await asyncio.gather(export(sshd, src), export(sshd, dst))
        await consolidate(sshd)
        stores = TrustStores()
        await import_(sshd, src, stores)
        return stores

    assert_holds(asyncio.run(scenario()), dst)


def expected_names(file: str, src: Cluster, dst: Cluster) -> dict[str, Certificate]:
    """Friendly name -> certificate that a bundle must hold."""
    owner, _, rest = file.removesuffix(".p12").partition("_")
    node, _, kind = rest.rpartition("_")
    return {
        f"{one.name}/{identity.node}/{identity.unit}": identity.certificate
        for one in (src, dst)
        for identity in one.identities
        if identity.unit in UNITS_OF[BulkType(kind)]
        and (owner == "consolidated" or (one.name, identity.node) == (owner, node))
    }


@pytest.fixture
def bundles(sshd: Sshd, src: Cluster, dst: Cluster) -> list[Path]:
    async def scenario() -> None:
        await export(sshd, src)
        await export(sshd, dst)
        await consolidate(sshd)

    asyncio.run(scenario())
    found = sorted(sshd.folder.glob("*.p12"))
    assert len(found) == 6 + 4 + 4  # two nodes and what the publisher adds; one node; a consolidated one a type
    return found


def test_openssl_lists_every_bundle(bundles: list[Path], src: Cluster, dst: Cluster) -> None:
    openssl = program("openssl", "openssl")
    for path in bundles:
        command = [openssl, "pkcs12", "-info", "-nokeys", "-in", str(path), "-passin", "env:BUNDLE_PASSWORD"]
        shown = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        expected = expected_names(path.name, src, dst)
        assert expected
        names = {line.split(": ", 1)[1] for line in shown.stdout.splitlines() if "friendlyName" in line}
        assert names == set(expected)
        assert shown.stdout.count("-----BEGIN CERTIFICATE-----") == len(expected)
        for certificate in expected.values():
            assert certificate.pem() in shown.stdout
        assert "PRIVATE KEY" not in shown.stdout


def test_keytool_lists_every_bundle(bundles: list[Path], src: Cluster, dst: Cluster) -> None:
    keytool = program("keytool", "default-jre-headless")
    for path in bundles:
        # A short life: Java need not prepare for more.
        command = [
            keytool,
            "-J-XX:TieredStopAtLevel=1",
            "-J-XX:+UseSerialGC",
            "-list",
            "-v",
            "-storetype",
            "PKCS12",
            "-keystore",
            str(path),
        ]
        command += ["-storepass:env", "BUNDLE_PASSWORD"]
        shown = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
        expected = expected_names(path.name, src, dst)
        aliases = {line.split(": ", 1)[1] for line in shown.splitlines() if line.startswith("Alias name")}
        assert aliases == {name.lower() for name in expected}
        assert shown.count("Entry type: trustedCertEntry") == len(expected)
        for certificate in expected.values():
            colons = bytes.fromhex(certificate.sha256).hex(":").upper()
            assert colons in shown
