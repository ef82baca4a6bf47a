"""Memory and rate of distinct phones' configurations, served over HTTP and signed on demand.

A lab cluster with N devices serves each phone's `SEP<mac>.cnf.xml.sgn` once, so that no cache helps. Limit: 300 MB of
resident memory in the serving process, flat from the first tenth to the last. For scale: the rate of bare RSA
signatures with the same key in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

LIMIT_MB = 300
PORT = 26_970
HOST = "127.77.0.1"


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _name(number: int) -> str:
    return f"SEP00AA{number:08X}"


def _serve(folder: Path, devices: int, pipe: Connection) -> None:
    """The serving process: a TFTP node's files over HTTP."""
    from trustbridge import eventloop
    from trustbridge.lab import founding
    from trustbridge.lab.cluster import Cluster, Device
    from trustbridge.lab.definition import ClusterDefinition, NodeDefinition
    from trustbridge.lab.nodefiles import NodeFiles
    from trustbridge.lab.ports import Ports
    from trustbridge.services.provisioning import start_provisioning

    definition = ClusterDefinition(network="127.77.0.0", nodes=(NodeDefinition(name="pub"),))
    founding.found(definition, folder, datetime.now(UTC))
    cluster = Cluster("bench", definition, folder, Ports(), lambda: datetime.now(UTC))
    cluster.add_devices(Device(_name(number), "CP-8841", 1, "Default") for number in range(devices))

    async def run() -> None:
        server = await start_provisioning(NodeFiles(cluster, "pub"), host=HOST, port=PORT)
        pipe.send("up")
        while await asyncio.to_thread(pipe.recv) == "memory":
            pipe.send(_resident_mb())
        await server.stop()

    eventloop.run(run())


def _signatures_a_second() -> float:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = rsa.generate_private_key(65537, 2048)
    began = time.perf_counter()
    for _ in range(500):
        key.sign(b"x" * 3000, padding.PKCS1v15(), hashes.SHA256())
    return 500 / (time.perf_counter() - began)


async def _fetch(first: int, last: int) -> None:
    """Fetch phones' files over one connection at a time, eight at once."""
    numbers = iter(range(first, last))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(HOST, PORT)
        for number in numbers:
            writer.write(f"GET /{_name(number)}.cnf.xml.sgn HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{_name(number)}: {head[:40]!r}")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(client() for _ in range(8)))


def main(argv: list[str] | None = None) -> int:
    """Print memory and rate a tenth; 1 when memory passes the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phones", type=int, default=60_000)
    phones = parser.parse_args(argv).phones
    folder = Path(tempfile.mkdtemp(prefix="trustbridge-bench-"))
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(folder, phones, theirs))
    server.start()
    try:
        ours.recv()
        rates, memory = [], []
        for tenth in range(10):
            began = time.perf_counter()
            asyncio.run(_fetch(phones * tenth // 10, phones * (tenth + 1) // 10))
            rates.append(phones / 10 / (time.perf_counter() - began))
            ours.send("memory")
            memory.append(ours.recv())
            print(
                f"  {phones * (tenth + 1) // 10:6d} phones  {rates[-1]:6.0f} a second  {memory[-1]:6.1f} MB", flush=True
            )
        ours.send("stop")
        server.join(10)
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    bare = _signatures_a_second()
    rate = sorted(rates)[len(rates) // 2]
    print(f"  median {rate:.0f} a second; bare RSA signatures {bare:.0f} a second: ratio {rate / bare:.2f}")
    print(f"  most memory {max(memory):.0f} MB of {LIMIT_MB}; last tenth / first {memory[-1] / memory[0]:.2f}")
    return 0 if max(memory) < LIMIT_MB else 1


if __name__ == "__main__":
    raise SystemExit(main())
