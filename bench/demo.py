"""Phones a second through the whole procedure in one process, and where a run's time goes.

The peer is the same machine's bare TLS: handshakes with an RSA 2048 server a second on one core, since every phone that
moves makes at least one. Limit: 50 phones through the whole demo in under a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import tempfile
import time
from pathlib import Path


async def _run(phones: int) -> dict[str, float]:
    from trustbridge.cli.demoscreen import Silent
    from trustbridge.lab.definition import default
    from trustbridge.lab.lab import Lab
    from trustbridge.lab.rehearsal import rehearse

    folder = Path(tempfile.mkdtemp(prefix="trustbridge-bench-"))
    try:
        began = time.perf_counter()
        async with Lab.open(folder, default(phones=phones, name="bench")).running() as lab:
            made = time.perf_counter() - began
            rehearsal = await rehearse(lab, Silent())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not rehearsal.held:
        raise RuntimeError("an expectation did not hold; run `trustbridge demo`")
    return {"making the lab": made, **rehearsal.seconds}


async def _handshakes_a_second(seconds: float = 2.0) -> float:
    from datetime import UTC, datetime

    from trustbridge.clients.tls import TlsIdentity, client_context
    from trustbridge.pki.issue import Organisation, self_signed
    from trustbridge.pki.units import Unit

    identity = self_signed(
        node="n", unit=Unit.TVS, common_name="bench", organisation=Organisation(), now=datetime.now(UTC)
    )
    context = TlsIdentity((identity.certificate,), identity.private_key).server_context()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context())
        writer.close()
        count += 1
    server.close()
    return count / (time.perf_counter() - began)


def main(argv: list[str] | None = None) -> int:
    """Print seconds and phones a second for each step; 1 when 50 phones take a minute or more."""
    from trustbridge import eventloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phones", type=int, nargs="+", default=[50, 500])
    handshakes = eventloop.run(_handshakes_a_second())
    print(f"  bare TLS handshakes, client and server in one process: {handshakes:.0f} a second")
    slow = False
    for phones in parser.parse_args(argv).phones:
        seconds = eventloop.run(_run(phones))
        total = sum(seconds.values())
        slow |= phones <= 50 and total >= 60
        print(f"  {phones} phones: {total:.1f} s")
        for step, taken in seconds.items():
            print(f"    {taken:6.2f} s  {step}")
        move = phones / seconds["Option 150 and reset: phones move"]
        print(f"    {move:.0f} phones a second move; ratio to bare handshakes {move / handshakes:.2f}")
    print(f"  most memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main())
