"""TFTP: files a second and CPU time a file, ours against tftpd-hpa and dnsmasq, in one run.

Every server runs in a process of its own and serves the same folder. The load is one lean process with a number
of clients in flight, the same for all servers: a new socket for every file, as a phone does, connected once the
server's port is known. It is watched itself: near 100 % of a core it is what limits the figures, and then only the
CPU time a file tells servers apart. Rounds are interleaved, and medians taken, because a machine is never quiet.

Peers are used when they are there (Debian packages tftpd-hpa and dnsmasq-base) and this runs as root, which
tftpd-hpa needs for its chroot and dnsmasq for port 69.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FILE = "ITLFile.tlv"
#: dnsmasq serves TFTP on port 69 and no other, so it gets a loopback address of its own.
DNSMASQ_HOST = "127.69.69.1"
DEFAULT_BLKSIZE = 512


@dataclass
class Server:
    """One contender: its process, where it listens, and what was measured, by block size."""

    name: str
    process: subprocess.Popen[bytes]
    host: str
    port: int
    files: dict[int, list[float]] = field(default_factory=dict)  # files a second
    cpu: dict[int, list[float]] = field(default_factory=dict)  # seconds of CPU a file
    load: dict[int, list[float]] = field(default_factory=dict)  # share of a core the generator used

    def cpu_seconds(self) -> float:
        """CPU time so far, with that of children that have ended (tftpd-hpa has one a file)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(value) for value in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def generate(host: str, port: int, blksize: int, clients: int, seconds: float) -> dict[str, float]:
    """Fetch FILE again and again with `clients` in flight; files a second, and the share of a core that took."""
    options = b"" if blksize == DEFAULT_BLKSIZE else b"blksize\0%d\0" % blksize
    request = b"\0\1" + FILE.encode() + b"\0octet\0" + options
    acks = [b"\0\4" + block.to_bytes(2, "big") for block in range(2**16)]
    buffer = bytearray(2**16)
    full = blksize + 4
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    connected: set[int] = set()

    def begin() -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.sendto(request, (host, port))
        number = sock.fileno()
        sockets[number] = sock
        poll.register(number, select.EPOLLIN)

    for _ in range(clients):
        begin()
    files = 0
    started, cpu_started = time.monotonic(), time.process_time()
    end = started + seconds
    while time.monotonic() < end:
        events = poll.poll(5)
        if not events:
            raise SystemExit(f"{host} port {port} stopped answering")
        for number, _ in events:
            sock = sockets[number]
            if number in connected:
                length = sock.recv_into(buffer)
            else:
                length, peer = sock.recvfrom_into(buffer)
                sock.connect(peer)
                connected.add(number)
            if buffer[1] == 3:
                sock.send(acks[buffer[2] << 8 | buffer[3]])
                if length < full:
                    files += 1
                    connected.discard(number)
                    del sockets[number]
                    sock.close()
                    begin()
            elif buffer[1] == 6:
                sock.send(acks[0])
            else:
                raise SystemExit(f"{host} port {port} answered {bytes(buffer[:length])!r}")
    elapsed = time.monotonic() - started
    for number in connected:  # or servers go on sending to nobody, into the next measurement
        sockets[number].send(b"\0\5\0\0done\0")
    return {"files": files / elapsed, "load": (time.process_time() - cpu_started) / elapsed, "count": files}


def serve(folder: Path, loop: str) -> None:
    """Our server, as a process of its own: says its port, then serves until it is ended."""
    from trustbridge.services.files import FolderSource
    from trustbridge.services.tftp import start_tftp

    async def run() -> None:
        server = await start_tftp(FolderSource(folder), port=0)
        print(server.address[1], flush=True)
        await asyncio.Event().wait()

    if loop == "uvloop":
        import uvloop

        uvloop.run(run())
    else:
        asyncio.run(run())


def _own(folder: Path, loop: str) -> Server:
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(folder), "--loop", loop], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    return Server(f"trustbridge ({loop})", process, "127.0.0.1", int(process.stdout.readline()))


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _peers(folder: Path, tftpd: str, dnsmasq: str) -> Iterator[Server]:
    """The peers that are there; a word about each that isn't."""
    if os.geteuid() != 0:
        print("tftpd-hpa and dnsmasq: skipped, they need root")
        return
    if shutil.which(tftpd) is None:
        print("tftpd-hpa: skipped, no in.tftpd here (Debian package tftpd-hpa, or --tftpd PATH)")
    else:
        port = _free_port()
        command = [tftpd, "-L", "-a", f"127.0.0.1:{port}", "-s", str(folder)]
        yield Server("tftpd-hpa", _silent(command), "127.0.0.1", port)
    if shutil.which(dnsmasq) is None:
        print("dnsmasq: skipped, not here (Debian package dnsmasq-base, or --dnsmasq PATH)")
    else:
        command = [
            *(dnsmasq, "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--port=0"),
            *("--enable-tftp", f"--tftp-root={folder}", f"--listen-address={DNSMASQ_HOST}", "--bind-interfaces"),
            *("--quiet-tftp", "--log-facility=/dev/null", "--user=root"),
        ]
        yield Server("dnsmasq", _silent(command), DNSMASQ_HOST, 69)


def _silent(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _answers(server: Server) -> bool:
    """Whether the server gives FILE's first block within three seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        for _ in range(15):
            sock.sendto(b"\0\1" + FILE.encode() + b"\0octet\0", (server.host, server.port))
            with contextlib.suppress(OSError):
                data, peer = sock.recvfrom(2**16)
                sock.sendto(b"\0\5\0\0done\0", peer)
                return data[:4] == b"\0\3\0\1"
    return False


def _measure(server: Server, blksize: int, clients: int, seconds: float) -> None:
    before = server.cpu_seconds()
    arguments = [server.host, str(server.port), str(blksize), str(clients), str(seconds)]
    output = subprocess.run(
        [sys.executable, __file__, "--generate", *arguments], check=True, capture_output=True, text=True
    ).stdout
    found = json.loads(output)
    server.files.setdefault(blksize, []).append(found["files"])
    server.load.setdefault(blksize, []).append(found["load"])
    server.cpu.setdefault(blksize, []).append((server.cpu_seconds() - before) / max(found["count"], 1))


def _report(servers: list[Server], blksizes: list[int]) -> None:
    for blksize in blksizes:
        print(f"\nblksize {blksize}")
        print(f"  {'':24}{'files/s':>10}{'CPU us/file':>13}{'generator':>11}")
        for server in servers:
            load = statistics.median(server.load[blksize])
            print(
                f"  {server.name:24}{statistics.median(server.files[blksize]):>10,.0f}"
                f"{statistics.median(server.cpu[blksize]) * 1e6:>13,.0f}{load:>10.0%}"
                + ("  (limits the figure)" if load > 0.9 else "")
            )
        own = [server for server in servers if server.name.startswith("trustbridge")]
        for peer in servers:
            if peer in own:
                continue
            for server in own:
                pairs = zip(server.files[blksize], peer.files[blksize], strict=True)
                files = statistics.median(mine / theirs for mine, theirs in pairs)
                costs = zip(server.cpu[blksize], peer.cpu[blksize], strict=True)
                cpu = statistics.median(mine / theirs for mine, theirs in costs)
                print(f"  {server.name} / {peer.name}: files/s x {files:.2f}, CPU a file x {cpu:.2f}")


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 0 also when peers are missing."""
    parser = argparse.ArgumentParser(prog="bench.tftp", description=__doc__.partition("\n")[0])
    parser.add_argument("--tftpd", default=_program("in.tftpd"), help="tftpd-hpa's program")
    parser.add_argument("--dnsmasq", default=_program("dnsmasq"), help="dnsmasq's program")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each server, block size and round")
    parser.add_argument("--size", type=int, default=10240, help="bytes of the file")
    parser.add_argument("--blksize", type=int, action="append", help="may be repeated; 512 and 1428 if not given")
    parser.add_argument("--loop", action="append", choices=["asyncio", "uvloop"], help="may be repeated; both")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--generate", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve is not None:
        serve(options.serve, options.loop[0])
        return 0
    if options.generate is not None:
        host, port, blksize, clients, seconds = options.generate
        print(json.dumps(generate(host, int(port), int(blksize), int(clients), float(seconds))))
        return 0
    blksizes = options.blksize or [DEFAULT_BLKSIZE, 1428]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # tftpd-hpa reads as nobody
        (folder / FILE).write_bytes(random.Random(1).randbytes(options.size))
        servers: list[Server] = []
        try:
            for loop in options.loop or ["asyncio", "uvloop"]:
                servers.append(_own(folder, loop))
            servers.extend(_peers(folder, options.tftpd, options.dnsmasq))
            for server in list(servers):
                if not _answers(server):
                    print(f"{server.name}: skipped, it does not answer on {server.host} port {server.port}")
                    servers.remove(server)
                    _end(server)
            for _ in range(options.rounds):
                for blksize in blksizes:
                    for server in servers:
                        _measure(server, blksize, options.clients, options.seconds)
            print(f"TFTP, a file of {options.size} bytes, {options.clients} clients, {os.cpu_count()} cores, ", end="")
            print(f"medians of {options.rounds} rounds of {options.seconds} s")
            _report(servers, blksizes)
        finally:
            for server in servers:
                _end(server)
    return 0


def _program(name: str) -> str:
    """Where a program is that may be in root's path only; its bare name when it is nowhere."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(name, path=path) or name


def _end(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(5)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
    if server.process.stdout is not None:
        server.process.stdout.close()


if __name__ == "__main__":
    raise SystemExit(main())
