"""Starting the real command: in a network of its own where that can be, in folders of its own always."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

ALONE = str(Path(__file__).with_name("alone.py"))
QUICK = str(Path(__file__).with_name("quick"))
PATIENCE = 60.0


@cache
def isolated() -> bool:
    """Whether commands get a network of their own here."""
    return subprocess.run([sys.executable, ALONE, "--check"], capture_output=True, check=False).returncode == 0


def inherited() -> dict[str, str]:
    """The environment, without what is meant for another trustbridge."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TRUSTBRIDGE_", "XDG_"))}


def environment(folder: Path, **more: str) -> dict[str, str]:
    """State and temporary files in `folder`, and nothing of whoever runs the tests."""
    (folder / "tmp").mkdir(exist_ok=True)
    return inherited() | {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "COLUMNS": "200"} | more


def quick(keys: Path) -> dict[str, str]:
    """Environment of a command that takes the RSA keys below `keys` instead of making some."""
    pool = [path for path in keys.rglob("*.key") if "ECDSA" not in path.name]
    packages = [QUICK, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(packages), "KEY_POOL": os.pathsep.join(map(str, pool))}


def start(
    folder: Path,
    *arguments: str,
    alone: bool = False,
    before: tuple[str, ...] = (),
    more: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """`trustbridge ARGUMENTS`, running.

    `before` stands before it on the command line, `more` in its environment.
    """
    prefix = (sys.executable, ALONE) if alone else ()
    return subprocess.Popen(
        [*prefix, *before, sys.executable, "-m", "trustbridge", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(folder, **(more or {})),
        start_new_session=True,
    )


def run(
    folder: Path, *arguments: str, alone: bool = False, more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`trustbridge ARGUMENTS`, to its end; as `start`."""
    return ended(start(folder, *arguments, alone=alone, more=more))


def ended(process: subprocess.Popen[str], number: signal.Signals | None = None) -> subprocess.CompletedProcess[str]:
    """What a process has said when it has ended; `number` is sent to it first."""
    if number is not None:
        process.send_signal(number)
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it did not end: {out}\n{err}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def until(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for `condition`, for as long as `process` lives."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it has ended: {process.communicate()}")
        time.sleep(0.02)
