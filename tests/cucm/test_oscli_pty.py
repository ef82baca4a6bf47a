"""The command line's client against a program on a kernel's pseudo-terminal: its echo, line editing and CR LF."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncssh

from trustbridge.cucm.dialogue import SecretAnswer
from trustbridge.cucm.oscli import OsCli
from trustbridge.exchange.hostkeys import HostKeyPins
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit

PASSWORD = "correct horse 7 Battery"
SFTP_PASSWORD = "hunter2 of the exchange"
#: A shell as a node's is for its user; `readline` draws its own line, as the node's line editor does.
PROGRAM = r"""
import getpass, readline, sys, time
print("Command Line Interface is starting up, please wait ...\n\n   Welcome\n", flush=True)
time.sleep(0.1)
while True:
    try:
        line = input("admin:")
    except EOFError:
        break
    if line.startswith("set cert import"):
        print("Paste the Certificate and Hit Enter")
        pasted = []
        while not pasted or not pasted[-1].startswith("-----END"):
            pasted.append(sys.stdin.readline().rstrip("\n"))
        print(f"Successfully imported certificate for {len(pasted)} lines.")
    elif line == "set cert bulk sftp":
        server = input("Enter the SFTP server: ")
        password = getpass.getpass("Enter the password: ")
        print(f"{server} {len(password)}\nSuccess")
    elif line == "utils ask":
        print("asked", input("Do you want to continue? (y/n):"))
    elif line.startswith("run sql"):
        print(line.replace("run sql ", ""))
    elif line.startswith("show"):
        for number in range(int(line.split()[-1])):
            print(f"tomcat-trust/certificate_{number}.pem: Trust Certificate")
"""


class _Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == PASSWORD


async def _on_a_terminal(process: asyncssh.SSHServerProcess[bytes]) -> None:
    master, slave = pty.openpty()
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        # What a node's shell believes to talk to; without it the editor scrolls long lines instead of wrapping them.
        env={**os.environ, "TERM": "vt100"},
    )
    os.close(slave)
    loop = asyncio.get_running_loop()

    def says() -> None:
        with contextlib.suppress(OSError):
            process.stdout.write(os.read(master, 65536))

    loop.add_reader(master, says)
    try:
        while typed := await process.stdin.read(4096):
            os.write(master, typed)
    finally:
        loop.remove_reader(master)
        program.kill()
        await program.wait()
        os.close(master)
        process.exit(0)


@asynccontextmanager
async def _client(folder: Path) -> AsyncIterator[OsCli]:
    acceptor = await asyncssh.create_server(
        _Server,
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=_on_a_terminal,
        line_editor=False,
        encoding=None,
    )
    try:
        async with OsCli.connect(
            "127.0.0.1", acceptor.get_port(), "administrator", PASSWORD, HostKeyPins(folder / "known_hosts"), timeout=20
        ) as cli:
            yield cli
    finally:
        acceptor.close()
        await acceptor.wait_closed()


def test_commands_questions_and_a_paste_on_a_real_terminal(tmp_path: Path) -> None:
    organisation = Organisation(ou="TAC", o="Example", l="Krakow", st="Malopolska", c="PL")
    now = datetime.now(UTC)
    pem = self_signed(
        node="cm1", unit=Unit.TOMCAT, common_name="cm1.example.com", organisation=organisation, now=now
    ).certificate.pem()
    statement = "select " + ", ".join(f"column{number}" for number in range(60)) + " from processconfig"

    async def scenario() -> None:
        async with _client(tmp_path) as cli:
            listed = await cli.run("show cert list trust 300")
            assert listed.splitlines() == [
                f"tomcat-trust/certificate_{number}.pem: Trust Certificate" for number in range(300)
            ]
            assert await cli.run("show 0") == ""
            # Longer than any line of a terminal: the editor wraps its echo.
            assert await cli.run(f"run sql {statement}") == f"{statement}\n"
            said = await cli.run("utils ask", {"continue": "y"})
            assert said.splitlines()[-1] == "asked y"
            said = await cli.run("set cert import trust tomcat", {"paste": pem})
            assert said.splitlines()[-1] == f"Successfully imported certificate for {pem.count(chr(10))} lines."
            assert "BEGIN" not in said
            said = await cli.run("set cert bulk sftp", {"password": SecretAnswer(SFTP_PASSWORD), "server": "10.1.1.9"})
            assert said.splitlines()[-2:] == [f"10.1.1.9 {len(SFTP_PASSWORD)}", "Success"]
            assert SFTP_PASSWORD not in said

    asyncio.run(scenario())
