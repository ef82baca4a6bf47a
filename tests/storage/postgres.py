"""A PostgreSQL of a test's own: made in a temporary folder, reached over a UNIX socket, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

#: PostgreSQL refuses to run as root; this is whose it becomes then.
_USER = "postgres"
_DATABASE_USER = "tests"


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return None if there is None else Path(there).parent


class Postgres:
    """A server that runs. `database` makes an empty database and gives its URL."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def database(self) -> str:
        name = f"t{uuid4().hex}"
        with psycopg.connect(host=str(self._folder), user=_DATABASE_USER, dbname="postgres", autocommit=True) as server:
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql://{_DATABASE_USER}@/{name}?host={self._folder}"


@contextmanager
def running() -> Iterator[Postgres]:
    """Start one; the test is skipped, with the reason, where that can't be."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed here (initdb is not found)")
    prefix: list[str] = []
    owner: pwd.struct_passwd | None = None
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam(_USER)
        except KeyError:
            pytest.skip(f"PostgreSQL does not run as root, and there is no user {_USER}")
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL does not run as root, and setpriv is not there to change the user")
        prefix = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    # Short, and not in the test's own folder: a socket's path has 107 bytes, and its owner has to get there.
    folder = Path(tempfile.mkdtemp(prefix="tbpg-"))
    try:
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": str(folder)}
        data = folder / "data"
        made = subprocess.run(
            [
                *prefix,
                str(programs / "initdb"),
                "-D",
                str(data),
                "-U",
                _DATABASE_USER,
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
            ],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            pytest.skip(f"PostgreSQL can't make a database here: {made.stderr.strip()}")
        # Durability is not what these tests are about: they kill clients, not the server.
        options = [
            f"-c{one}" for one in ("fsync=off", "listen_addresses=", "max_connections=50", "shared_buffers=16MB")
        ]
        control = [*prefix, str(programs / "pg_ctl"), "-D", str(data), "-w", "-t", "60"]
        started = subprocess.run(
            [*control, "-l", str(folder / "log"), "-o", " ".join([f"-k {folder}", *options]), "start"],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if started.returncode:
            pytest.skip(f"PostgreSQL does not start here: {(folder / 'log').read_text()}")
        try:
            yield Postgres(folder)
        finally:
            subprocess.run(
                [*control, "-m", "immediate", "stop"],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                check=True,
            )
    finally:
        shutil.rmtree(folder)
