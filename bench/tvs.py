"""TVS: CPU time of a verified request against a bare handshake of OpenSSL's server and the public Python tvsd.

All servers use one RSA 2048 key and are asked by the same clients, round by round in turn, because a machine is never
quiet; medians are taken, and ratios within a round. Server CPU time is read from the kernel's clock of the process, in
nanoseconds.

`openssl s_server` looks through the system's CA directory in every handshake, to complete its own chain. The variant
without that, and without tickets, is what a handshake costs at least: nothing that also answers a request gets there.

tvsd (usecallmanagernz/daemons) is used when --tvsd names its checkout. It would listen on all addresses: it is started
with that address replaced by loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.wire.tvs import encode, verify_request

DEVICE = "CP-8861-SEP001122334455"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
S_SERVER: dict[str, tuple[str, ...]] = {
    "s_server": (),
    "s_server -quiet": ("-quiet",),
    "s_server -quiet -no_ticket": ("-quiet", "-no_ticket", "-num_tickets", "0"),
    "s_server, no tickets, no CA look-up": (
        *("-quiet", "-no_ticket", "-num_tickets", "0"),
        *("-no-CAfile", "-no-CApath", "-no-CAstore"),
    ),
}
OURS = "trustbridge tvs serve"
PEER = "tvsd"
#: Starts a program with every bind to all addresses turned into one to loopback.
ON_LOOPBACK = """
import runpy, socket, sys
bind = socket.socket.bind
socket.socket.bind = lambda self, address: bind(self, ("127.0.0.1", address[1]))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass
class Server:
    """One contender: where it listens, its processes, whether it answers requests, and CPU seconds by round."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    answers: bool
    rounds: list[float] = field(default_factory=list)

    def cpu_seconds(self) -> float:
        """Of the process and its children."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.pids())

    def pids(self) -> list[int]:
        """The process and its children, which the kernel lists."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def client(version: str) -> ssl.SSLContext:
    """TLS of one version, without tickets, that verifies nothing, as a phone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_TICKET
    context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def call(port: int, version: str, count: int, request: bytes) -> list[float]:
    """Connect `count` times, each a handshake and, where `request` is not empty, a request; seconds of each."""
    context = client(version)
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port), 20) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(plain) as tls:
                if request:
                    tls.sendall(request)
                    answer = tls.recv(1 << 16)
                    if answer[2:3] != b"\2" or answer[10:14] != bytes.fromhex("07000100"):
                        raise SystemExit(f"port {port} answered {answer!r}")
        taken.append(time.perf_counter() - start)
    return taken


def made_files(folder: Path) -> bytes:
    """The service's key and certificate, stores that hold the certificate; its DER."""
    made = self_signed(
        node="tvs", unit=Unit.TVS, common_name="tvs", organisation=Organisation(o="Bench"), now=datetime.now(UTC)
    )
    (folder / "certificate.pem").write_text(made.certificate.pem())
    (folder / "key.pem").write_bytes(made.key_pem())
    (folder / "both.pem").write_bytes(made.key_pem() + made.certificate.pem().encode())
    for store in ("Phone-SAST-trust", "CallManager-trust"):
        (folder / "stores" / store).mkdir(parents=True)
        (folder / "stores" / store / "tvs.pem").write_text(made.certificate.pem())
    return made.certificate.der


def start(name: str, command: Sequence[str], folder: Path, port: int, *, answers: bool) -> Server:
    """Start a server that keeps quiet, and wait until it listens."""
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    listening = f":{port:04X} 00000000:0000 0A"
    deadline = time.monotonic() + 20
    while listening not in Path("/proc/net/tcp").read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{name} does not start: {' '.join(command)}")
        time.sleep(0.02)
    time.sleep(0.2)
    return Server(name, process, port, answers)


def start_ours(folder: Path, workers: int = 1) -> Server:
    """`trustbridge tvs serve`, as a user starts it."""
    port = free_port()
    command = [sys.executable, "-c", "from trustbridge.cli import main; main()"]
    command += ["tvs", "serve", "stores", "--certificate", "certificate.pem", "--key", "key.pem"]
    command += ["--port", str(port), "--workers", str(workers)]
    return start(OURS, command, folder, port, answers=True)


def start_openssl(name: str, folder: Path) -> Server:
    """`openssl s_server`, which does a handshake and waits for its client to go."""
    port = free_port()
    command = f"openssl s_server -accept 127.0.0.1:{port} -cert certificate.pem -key key.pem".split()
    return start(name, [*command, *S_SERVER[name]], folder, port, answers=False)


def start_peer(checkout: Path, folder: Path) -> Server:
    """tvsd with the same certificate to vouch for, put into its database by its own tool."""
    port = free_port()
    database = folder / "tvs.sqlite3"
    subprocess.run(
        [sys.executable, checkout / "tvsctl", database, "-a", folder / "certificate.pem", "-s"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    command = [sys.executable, "-c", ON_LOOPBACK, str(checkout / "tvsd"), str(database)]
    return start(PEER, [*command, "-T", "both.pem", "-p", str(port)], folder, port, answers=True)


@contextlib.contextmanager
def ending(servers: list[Server]) -> Iterator[list[Server]]:
    """Servers, ended at last."""
    try:
        yield servers
    finally:
        for server in servers:
            server.process.send_signal(signal.SIGINT)
        for server in servers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(1)
            server.process.kill()
            server.process.wait()


def compare_cpu(servers: list[Server], version: str, request: bytes, rounds: int, batch: int, clients: int) -> None:
    """CPU time per call of each server, in turn, and what it is of the others'."""
    with ProcessPoolExecutor(clients, mp_context=get_context("spawn")) as pool:

        def once(server: Server) -> float:
            said = request if server.answers else b""
            before = server.cpu_seconds()
            share = batch // clients
            for done in [pool.submit(call, server.port, version, share, said) for _ in range(clients)]:
                done.result()
            return (server.cpu_seconds() - before) / (share * clients)

        for server in servers:
            once(server)
            server.rounds = []
        for _ in range(rounds):
            for server in servers:
                server.rounds.append(once(server))
    ours = next(server for server in servers if server.name == OURS)
    print(f"\nServer CPU per call, TLS {version}, {clients} clients at once, {rounds} rounds of {batch}:")
    for server in servers:
        spent = statistics.median(server.rounds) * 1e6
        ratio = statistics.median(own / other for own, other in zip(ours.rounds, server.rounds, strict=True))
        what = "verified request" if server.answers else "bare handshake"
        against = "" if server is ours else f"   ours / this: {ratio:.2f}"
        print(f"  {server.name:38} {what:17} {spent:7.0f} µs{against}")


def throughput(folder: Path, version: str, request: bytes, seconds: float) -> None:
    """Requests a second with one and two workers, and what a request costs."""
    print(f"\nThroughput, TLS {version}, {os.cpu_count()} cores, which the clients share:")
    clients = 2 * (os.cpu_count() or 1)
    with ProcessPoolExecutor(clients, mp_context=get_context("spawn")) as pool:
        list(pool.map(call, [0] * clients, [version] * clients, [0] * clients, [b""] * clients))
        for workers in (1, 2):
            with ending([start_ours(folder, workers)]) as (server,):
                batch = 25
                count = 0
                before, begun = server.cpu_seconds(), time.monotonic()
                while time.monotonic() - begun < seconds:
                    for done in [pool.submit(call, server.port, version, batch, request) for _ in range(clients)]:
                        done.result()
                    count += batch * clients
                elapsed = time.monotonic() - begun
                spent = server.cpu_seconds() - before
                used = spent / elapsed
                print(
                    f"  {workers} worker{'s' if workers > 1 else ' '}  {count / elapsed:6.0f} requests/s, "
                    f"{used:.2f} cores of server, {spent / count * 1e6:.0f} µs each"
                )


def serve_patiently(folder: Path) -> None:
    """A server whose patience outlasts a measurement; says its port and its process."""
    from trustbridge.services import servingloop
    from trustbridge.services.storefolder import StoreFolder
    from trustbridge.services.tvs import TvsLimits, start_tvs
    from trustbridge.services.tvsfolder import IdentityFiles
    from trustbridge.trust.vouch import VouchIndex

    async def run() -> None:
        stores = StoreFolder(folder / "stores")
        stores.refresh()
        index = VouchIndex.from_stores(stores.contents.certificates)
        limits = TvsLimits(handshake=3600, request=3600, idle=3600, connections=20000)
        identity = IdentityFiles(folder / "certificate.pem", folder / "key.pem").load()
        server = await start_tvs(index.answer, identity, port=0, limits=limits)
        print(server.address[1], flush=True)
        await asyncio.Event().wait()

    servingloop.run(run())


class Crowd:
    """Clients that are there and ask nothing: a third silent, a third in the handshake, a third idle after it."""

    def __init__(self, port: int, count: int, version: str) -> None:
        context = client(version)
        hello = ssl.MemoryBIO()
        first = context.wrap_bio(ssl.MemoryBIO(), hello)
        with contextlib.suppress(ssl.SSLWantReadError):
            first.do_handshake()
        said = hello.read()
        self._held: list[socket.socket] = []
        for number in range(count):
            plain = socket.create_connection(("127.0.0.1", port), 20)
            if number % 3 == 1:
                plain.sendall(said)
            self._held.append(context.wrap_socket(plain) if number % 3 == 2 else plain)

    def leave(self) -> None:
        for held in self._held:
            held.close()


def latency(folder: Path, version: str, request: bytes, rounds: int, count: int, idle: int) -> None:
    """How long one client waits, alone and in a crowd."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * idle + 1000
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < idle + 500:
        print(f"\nLatency: skipped, no {idle} open files allowed (ulimit -n)")
        return
    command = [sys.executable, __file__, "--serve", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        alone: list[list[float]] = []
        crowded: list[list[float]] = []
        memory = [_resident(process.pid)]
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(call, port, version, 200, request).result()
            for _ in range(rounds):
                alone.append(pool.submit(call, port, version, count, request).result())
                crowd = Crowd(port, idle, version)
                memory.append(_resident(process.pid))
                crowded.append(pool.submit(call, port, version, count, request).result())
                crowd.leave()
                time.sleep(1)
        process.kill()
    print(f"\nOne client's wait for a verified request, TLS {version}, {rounds} rounds of {count}:")
    for name, runs in (("alone", alone), (f"with {idle} idle and half-open clients", crowded)):
        middle = statistics.median(statistics.median(run) for run in runs) * 1000
        late = statistics.median(statistics.quantiles(run, n=100)[98] for run in runs) * 1000
        print(f"  {name:38} median {middle:6.2f} ms   99th percentile {late:6.2f} ms")
    ratio = statistics.median(
        statistics.quantiles(b, n=100)[98] / statistics.quantiles(a, n=100)[98]
        for a, b in zip(alone, crowded, strict=True)
    )
    print(f"  99th percentile, crowded / alone: {ratio:.2f}; memory {memory[0]} MiB, with the crowd {max(memory)} MiB")


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


def one_silent_client(server: Server, version: str, request: bytes) -> None:
    """Whether a server still serves while one client is silent."""
    with socket.create_connection(("127.0.0.1", server.port)), ProcessPoolExecutor(1) as pool:
        time.sleep(0.1)
        waiting = pool.submit(call, server.port, version, 1, request)
        try:
            waiting.result(3)
            print(f"  {server.name}: still serves beside one silent client")
        except TimeoutError:
            print(f"  {server.name}: serves nobody while one client is silent (3 s waited)")


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 0."""
    parser = argparse.ArgumentParser(
        prog="bench tvs", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tvsd", type=Path, metavar="PATH", help="a checkout of usecallmanagernz/daemons")
    parser.add_argument("--tls", choices=VERSIONS, action="append", help="default: both")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=60, help="calls a round and server")
    parser.add_argument("--clients", type=int, action="append", help="at once; default: 1, then 4")
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: a look, not a measurement")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve is not None:
        serve_patiently(options.serve)
        return 0
    rounds = max(3, options.rounds // 10) if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate = made_files(folder)
        request = encode(verify_request(1001, DEVICE, certificate))
        servers = [start_ours(folder)]
        with ending(servers):
            if shutil.which("openssl"):
                servers += [start_openssl(variant, folder) for variant in S_SERVER]
            else:
                print("openssl is not installed: no s_server to compare with")
            if options.tvsd is not None:
                servers.append(start_peer(options.tvsd, folder))
            else:
                print("tvsd is skipped: --tvsd PATH names a checkout of usecallmanagernz/daemons")
            for version in options.tls or VERSIONS:
                for clients in options.clients or (1, 4):
                    compare_cpu(servers, version, request, rounds, options.batch, clients)
            if options.tvsd is not None:
                print("\nOne silent client:")
                one_silent_client(servers[0], "1.2", request)
                one_silent_client(servers[-1], "1.2", request)
        throughput(folder, "1.2", request, 1 if options.quick else 6)
        latency(folder, "1.2", request, 1 if options.quick else 5, 300 if options.quick else 1500, options.idle)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
