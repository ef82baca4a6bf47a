"""The lab's side of `bench.campaign`: a lab in a process of its own, told what to do over its standard input."""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.lab import large

from trustbridge.lab.definition import DEFAULT_MODELS, LabDefinition, PhonesDefinition
from trustbridge.lab.fleet import phone_names
from trustbridge.lab.lab import Lab
from trustbridge.lab.settled import settle
from trustbridge.pki.units import BulkType, Store

__all__ = ["DESTINATION", "SOURCE", "LabProcess", "definition", "phone_names", "serve"]

SOURCE, DESTINATION = "c1", "c2"


def definition(phones: int) -> LabDefinition:
    """Two clusters of two nodes in mixed mode, and non-secure phones of the default lab's models at the first."""
    shares = [phones // len(DEFAULT_MODELS) + (place < phones % len(DEFAULT_MODELS)) for place in range(5)]
    kinds = [
        PhonesDefinition.model_validate({"count": share, "model": model, "home": SOURCE})
        for share, model in zip(shares, DEFAULT_MODELS, strict=True)
        if share
    ]
    return large.definition(2, 2, releases=("11.5", "14"), phones=kinds)


async def serve(folder: Path, processes: int) -> None:
    """Run the lab in `folder`, after an exchange between its clusters, until standard input ends.

    A request is a line of JSON, `[verb, argument]`; so is each answer.
    """
    async with Lab.open(folder).running(phone_processes=processes) as lab:
        await _exchange(lab)
        _say(_access(lab))
        loop = asyncio.get_running_loop()
        profile = cProfile.Profile()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            verb, argument = json.loads(line)
            phones = list(lab.fleet.phones.values())
            match verb:
                case "settle":
                    settle(lab, phones)
                    lab.point_at(DESTINATION)
                    _say(len(lab.registrations[SOURCE].all()))
                case "move":
                    began = time.perf_counter()
                    await lab.boot(phones[:argument])
                    _say(time.perf_counter() - began)
                case "where":
                    _say(Counter(str(lab.cluster_of(phone)) for phone in phones))
                case "profile" if argument:
                    profile.enable()
                    _say(None)
                case "profile":
                    profile.disable()
                    profile.dump_stats(os.environ["TRUSTBRIDGE_BENCH_PROFILE"] + ".lab")
                    _say(None)


async def _exchange(lab: Lab) -> None:
    both = list(lab.clusters.values())
    for cluster in both:
        cluster.configure_sftp(lab.sftp_settings())
        await cluster.export(tuple(BulkType))
    await both[0].consolidate(tuple(BulkType))
    for cluster, other in (both, both[::-1]):
        await cluster.import_(tuple(BulkType))
        cluster.upload_trust(Store.CAPF_TRUST, other.capf.certificate)
    await lab.fleet.settled()


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)


def _access(lab: Lab) -> dict[str, Any]:
    return {
        "phone_port": lab.ports.web,
        "clusters": [
            {
                "entry": {
                    "name": cluster.name,
                    "publisher": cluster.definition.address(cluster.publisher),
                    "os_user": cluster.accounts.user("os"),
                    "app_user": cluster.accounts.user("application"),
                    "ssh_port": lab.ports.ssh,
                    "https_port": lab.ports.https,
                    "http_port": lab.ports.provisioning,
                    "tftp_port": lab.ports.tftp,
                    "tvs_port": lab.ports.tvs,
                },
                "passwords": [cluster.accounts.credentials(realm)[1] for realm in ("os", "application")],
            }
            for cluster in lab.clusters.values()
        ],
    }


class LabProcess:
    """That lab, seen from outside.

    Attributes:
        access: where it is and who may log in.
    """

    def __init__(self, folder: Path, processes: int) -> None:
        command = [sys.executable, "-m", "bench.campaign", "--serve", str(folder), "--processes", str(processes)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.access: dict[str, Any] = self._heard()

    def _heard(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the lab ended with code {self._process.wait()}")
        return json.loads(line)

    def ask(self, verb: str, argument: object = None) -> Any:
        """Have it do something; back when it is done."""
        assert self._process.stdin is not None
        print(json.dumps([verb, argument]), file=self._process.stdin, flush=True)
        return self._heard()

    def cpu(self) -> float:
        """Seconds of processor until now, all its processes together."""
        return sum(cpu_of(pid) for pid in _family(self._process.pid))

    def memory(self) -> float:
        """Most that was resident, MiB, all its processes together."""
        return sum(memory_of(pid) for pid in _family(self._process.pid))

    def end(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


def _family(pid: int) -> list[int]:
    # Of each of its threads: a child is that of the thread which began it.
    children = [one for task in Path(f"/proc/{pid}/task").glob("*/children") for one in task.read_text().split()]
    return [pid, *(one for child in children for one in _family(int(child)))]


def cpu_of(pid: int | str) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int | str) -> float:
    """Most of a process that was resident, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
