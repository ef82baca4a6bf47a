"""Workers that share a port: they serve, they come back when they die, and they show no secret."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from trustbridge.clients.ask import ask_tvs
from trustbridge.errors import PortTaken, TrustbridgeError
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services.tvsfolder import FolderService, IdentityFiles, work
from trustbridge.services.workers import Workers, start_workers
from trustbridge.wire.tvs import verify_request

SIGNER = self_signed(
    node="a", unit=Unit.TVS, common_name="a", organisation=Organisation(), now=datetime.now(UTC), key="p256"
)


@pytest.fixture
def service(tmp_path: Path) -> FolderService:
    (tmp_path / "stores" / "CallManager-trust").mkdir(parents=True)
    (tmp_path / "stores" / "CallManager-trust" / "a.pem").write_text(SIGNER.certificate.pem())
    files = IdentityFiles(tmp_path / "certificate.pem", tmp_path / "key.pem")
    files.key.write_bytes(SIGNER.key_pem())
    files.certificate.write_text(SIGNER.certificate.pem())
    return FolderService(tmp_path / "stores", files)


@asynccontextmanager
async def working(service: FolderService, count: int) -> AsyncIterator[Workers]:
    workers = await start_workers(count, work, service, host="127.0.0.1", port=0, what="TVS")
    try:
        yield workers
    finally:
        await workers.stop()


async def served(workers: Workers, times: int = 1) -> bool:
    replies = [
        await ask_tvs(*workers.address, verify_request(number, "d", SIGNER.certificate.der)) for number in range(times)
    ]
    return all(reply.response.valid for reply in replies)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.02)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_workers_share_a_port_and_one_that_dies_comes_back(service: FolderService) -> None:
    async def scenario() -> None:
        async with working(service, 2) as workers:
            first, second = workers.pids
            before = [cpu_seconds(pid) for pid in (first, second)]
            assert await served(workers, 100)
            assert all(cpu_seconds(pid) > spent for pid, spent in zip((first, second), before, strict=True))
            for pid in (first, second):
                for name in ("cmdline", "environ"):
                    assert b"PRIVATE KEY" not in Path(f"/proc/{pid}/{name}").read_bytes()
            os.kill(first, signal.SIGKILL)
            with structlog.testing.capture_logs() as lines:
                await until(lambda: workers.restarts == 1 and len(workers.pids) == 2)
            assert lines[0]["event"] == "worker died"
            assert lines[0]["exit_code"] == -signal.SIGKILL
            assert workers.pids[0] != first
            assert workers.pids[1] == second
            assert await served(workers, 20)
            pids = workers.pids
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)

    asyncio.run(scenario())


def test_a_worker_that_can_not_come_back_is_tried_again_ever_more_slowly(service: FolderService) -> None:
    async def scenario() -> None:
        async with working(service, 1) as workers:
            key = service.identity.key.read_bytes()
            service.identity.key.unlink()
            os.kill(workers.pids[0], signal.SIGKILL)
            with structlog.testing.capture_logs() as lines:
                await asyncio.sleep(1.5)
            assert 1 <= workers.restarts <= 3
            reasons = [line["reason"] for line in lines if line["event"] == "worker did not start again"]
            assert reasons
            assert all("private key can't be read" in reason for reason in reasons)
            service.identity.key.write_bytes(key)
            await until(lambda: len(workers.pids) == 1 and workers.restarts <= 5)

            async def answered() -> bool:
                try:
                    return await served(workers)
                except TrustbridgeError:
                    return False

            async with asyncio.timeout(10):
                while not await answered():
                    await asyncio.sleep(0.1)

    asyncio.run(scenario())


def test_a_fault_of_all_workers_is_told_once_and_leaves_none(service: FolderService) -> None:
    service.identity.key.unlink()
    with pytest.raises(TrustbridgeError, match="private key can't be read"):
        asyncio.run(start_workers(2, work, service, host="127.0.0.1", port=0, what="TVS"))


def test_a_port_that_another_instance_shares_is_taken_all_the_same(service: FolderService) -> None:
    async def scenario() -> None:
        async with working(service, 1) as workers:
            with pytest.raises(PortTaken, match=f"TVS.*port {workers.address[1]}"):
                await start_workers(1, work, service, host="127.0.0.1", port=workers.address[1], what="TVS")

    asyncio.run(scenario())
