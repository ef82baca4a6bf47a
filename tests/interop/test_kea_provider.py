"""Option 150 of a real Kea, over its socket and its agent's HTTP: changed, offered to phones, kept, taken back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from trustbridge.dhcp.kea import Kea
from trustbridge.dhcp.keacontrol import Agent, Control, Socket
from trustbridge.dhcp.offer import confirm
from trustbridge.dhcp.scope import Change, Scope, find_scope
from trustbridge.errors import AuthenticationRefused, NotSupported, Refused, TrustbridgeError, Unreachable


def found(name: str) -> str | None:
    """Where a program is that stands in sbin, which is not on everybody's path."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


KEA, AGENT = found("kea-dhcp4"), found("kea-ctrl-agent")
pytestmark = pytest.mark.skipif(KEA is None, reason="needs kea-dhcp4 (Debian package kea-dhcp4-server)")
needs_agent = pytest.mark.skipif(AGENT is None, reason="needs kea-ctrl-agent (Debian package kea-ctrl-agent)")

#: Kea serves only addresses that an interface bears, and loopback bears this one.
SERVER = "127.0.0.1"
#: Addresses that relay, one in each subnet.
IN_FIRST, IN_SECOND, IN_SHARED = "127.30.42.1", "127.31.42.1", "127.32.42.1"
OLD, NEW = ("127.10.1.1", "127.10.1.2"), ("127.20.1.1", "127.20.1.2", "127.20.1.3")
USER, PASSWORD = "keeper", "kept"


def run(work: Awaitable[None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(40):
            await work

    asyncio.run(limited())


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((SERVER, 0))
        port: int = probe.getsockname()[1]
        return port


def subnet(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number - 29,
        "subnet": f"127.{number}.0.0/16",
        "pools": [{"pool": f"127.{number}.40.1 - 127.{number}.40.99"}],
        **more,
    }


def configuration(folder: Path, *, defined: bool = True) -> dict[str, Any]:
    """The first subnet says option 150 (as text, or as bytes where nothing defines it); the others do not."""
    text = {"name": "tftp-servers", "data": ", ".join(OLD), "always-send": True}
    raw = {"code": 150, "csv-format": False, "data": "7F0A01017F0A0102"}
    options = [text if defined else raw, {"name": "routers", "data": "127.30.0.254"}]
    definition = {"name": "tftp-servers", "code": 150, "type": "ipv4-address", "array": True}
    return {
        "interfaces-config": {"interfaces": [f"lo/{SERVER}"], "dhcp-socket-type": "udp"},
        "control-socket": {"socket-type": "unix", "socket-name": str(folder / "kea.socket")},
        "lease-database": {"type": "memfile", "persist": False},
        "option-def": [definition] if defined else [],
        "option-data": [{"name": "tftp-server-name", "data": "cm1.lab"}],
        "subnet4": [subnet(30, **{"option-data": options}), subnet(31)],
        "shared-networks": [{"name": "phones", "subnet4": [subnet(32)]}],
        "valid-lifetime": 600,
        "user-context": {"note": "kept", "weights": [1.5, 9007199254740993]},
        "loggers": [{"name": "*", "severity": "INFO", "output_options": [{"output": "stdout", "flush": True}]}],
    }


class Site:
    """A Kea, and perhaps its agent, with their files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "kea.json"
        self.port = free_port()
        self.agent_port = free_port(socket.SOCK_STREAM)
        self._running: list[asyncio.subprocess.Process] = []

    @property
    def socket(self) -> Socket:
        return Socket(self.folder / "kea.socket")

    def agent(self, password: str = PASSWORD) -> Agent:
        return Agent(f"http://{SERVER}:{self.agent_port}", USER, password)

    async def start(self) -> None:
        # -P is the port of clients, and with it of relays: Kea answers giaddr there.
        assert KEA is not None
        await self._start(KEA, "DHCP4_STARTED", "-c", self.file, "-p", self.port, "-P", self.port)

    async def start_agent(self) -> None:
        assert AGENT is not None
        values = {
            "http-host": SERVER,
            "http-port": self.agent_port,
            "authentication": {
                "type": "basic",
                "realm": "kea",
                "clients": [{"user": USER, "password": PASSWORD}],
            },
            "control-sockets": {"dhcp4": {"socket-type": "unix", "socket-name": str(self.socket.path)}},
            "loggers": [{"name": "*", "severity": "INFO", "output_options": [{"output": "stdout", "flush": True}]}],
        }
        file = self.folder / "agent.json"
        file.write_text(json.dumps({"Control-agent": values}))
        await self._start(AGENT, "CTRL_AGENT_STARTED", "-c", file)

    async def _start(self, program: str, started: str, *arguments: object) -> None:
        places = dict.fromkeys(("KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR", "KEA_CONTROL_SOCKET_DIR"), str(self.folder))
        process = await asyncio.create_subprocess_exec(
            program,
            *map(str, arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **places},
        )
        self._running.append(process)
        assert process.stdout is not None
        said = b""
        while line := await process.stdout.readline():
            said += line
            if started.encode() in line:
                return
        raise AssertionError(said.decode("utf-8", "replace"))

    async def stop(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.kill()
            await process.communicate()
        self._running.clear()

    async def offered(self, address: str, *servers: str) -> None:
        """A phone there is offered these."""
        offer = await confirm(SERVER, servers, address=address, port=self.port, timeout=2.0, tries=2)
        assert offer.lease.option150 == servers
        offer.check()


@asynccontextmanager
async def kea(folder: Path, *, defined: bool = True, agent: bool = False) -> AsyncIterator[Site]:
    site = Site(folder)
    site.file.write_text(json.dumps({"Dhcp4": configuration(folder, defined=defined)}))
    try:
        await site.start()
        if agent:
            await site.start_agent()
        yield site
    finally:
        await site.stop()


async def whole(control: Control) -> dict[str, Any]:
    found = (await control.ask("config-get"))["Dhcp4"]
    assert isinstance(found, dict)
    return found


async def changed(provider: Kea, name: str, servers: tuple[str, ...] = NEW) -> Change:
    change = provider.preview(find_scope(await provider.read(), name), servers)
    await provider.apply(change)
    await provider.verify(change)
    return change


def without_150(config: dict[str, Any]) -> dict[str, Any]:
    """Everything but what the change is about."""
    found: dict[str, Any] = json.loads(json.dumps(config))
    for one in (found, *found["subnet4"], *found["shared-networks"], found["shared-networks"][0]["subnet4"][0]):
        one["option-data"] = [option for option in one["option-data"] if option["code"] != 150]
    found["option-def"] = [one for one in found["option-def"] if one["code"] != 150]
    return found


@needs_agent
@pytest.mark.parametrize("way", ["socket", "agent"])
def test_a_change_is_previewed_made_offered_kept_over_a_restart_and_taken_back(tmp_path: Path, way: str) -> None:
    async def scenario() -> None:
        async with kea(tmp_path, agent=way == "agent") as site:
            control: Control = site.agent() if way == "agent" else site.socket
            provider = Kea(control)
            scopes = {scope.name: scope for scope in await provider.read()}
            assert scopes == {
                "global": Scope("global", "", (), True, "cm1.lab"),
                "network phones": Scope("network phones", "", (), True, "cm1.lab"),
                "subnet 1": Scope("subnet 1", "127.30.0.0/16", OLD, False, "cm1.lab"),
                "subnet 2": Scope("subnet 2", "127.31.0.0/16", (), True, "cm1.lab"),
                "subnet 3": Scope("subnet 3", "127.32.0.0/16", (), True, "cm1.lab"),
            }
            before = await whole(site.socket)
            change = provider.preview(scopes["subnet 1"], NEW)
            assert '-    "data": "127.10.1.1, 127.10.1.2",' in change.diff
            assert '+    "data": "127.20.1.1, 127.20.1.2, 127.20.1.3",' in change.diff
            assert await whole(site.socket) == before  # a preview changes nothing
            await site.offered(IN_FIRST, *OLD)

            await provider.apply(change)
            await provider.verify(change)
            during = await whole(site.socket)
            said = during["subnet4"][0]["option-data"]
            assert [one["data"] for one in said if one["code"] == 150] == [", ".join(NEW)]
            assert next(one for one in said if one["code"] == 150)["always-send"] is True
            assert without_150(during) == without_150(before)
            await site.offered(IN_FIRST, *NEW)

            await site.stop()
            await site.start()
            if way == "agent":
                await site.start_agent()
            await Kea(control).verify(change)
            await site.offered(IN_FIRST, *NEW)

            kept = Change.of_record(json.loads(json.dumps(change.record())))
            await Kea(control).revert(kept)
            assert await whole(site.socket) == before
            await site.offered(IN_FIRST, *OLD)
            with pytest.raises(TrustbridgeError, match=r"is 127\.10\.1\.1, 127\.10\.1\.2, not 127\.20") as raised:
                await provider.verify(change)
            assert raised.value.exit_code == 1

    run(scenario())


def test_a_shared_network_is_changed_for_its_subnets_and_only_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kea(tmp_path) as site:
            before = await whole(site.socket)
            provider = Kea(site.socket)
            shared = await changed(provider, "network phones")
            everywhere = await changed(provider, "global", OLD[:1])
            scopes = {scope.name: scope.option150 for scope in await provider.read()}
            assert scopes == {
                "global": OLD[:1],
                "network phones": NEW,
                "subnet 1": OLD,
                "subnet 2": OLD[:1],
                "subnet 3": NEW,
            }
            await site.offered(IN_SHARED, *NEW)
            await site.offered(IN_SECOND, *OLD[:1])
            await site.offered(IN_FIRST, *OLD)
            await provider.revert(everywhere)
            await provider.revert(shared)
            assert await whole(site.socket) == before

    run(scenario())


def test_bytes_stay_bytes_and_a_definition_is_added_where_text_needs_one_and_taken_out_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kea(tmp_path, defined=False) as site:
            before = await whole(site.socket)
            provider = Kea(site.socket)
            scopes = {scope.name: scope.option150 for scope in await provider.read()}
            assert scopes["subnet 1"] == OLD
            raw = await changed(provider, "subnet 1")
            during = await whole(site.socket)
            said = next(one for one in during["subnet4"][0]["option-data"] if one["code"] == 150)
            assert (said["csv-format"], said["data"]) == (False, "7F1401017F1401027F140103")
            assert during["option-def"] == []
            await site.offered(IN_FIRST, *NEW)
            text = await changed(provider, "127.31.0.0/16", OLD)
            assert [edit.where for edit in text.edits] == ["option-def", "option-data of subnet 2"]
            assert [one["code"] for one in (await whole(site.socket))["option-def"]] == [150]
            await site.offered(IN_SECOND, *OLD)
            await site.offered(IN_FIRST, *NEW)
            await provider.revert(raw)
            await provider.revert(text)
            # Another scope still says option 150: the definition stays, and does no harm there.
            after = await whole(site.socket)
            assert without_150(after) == without_150(before)
            was, now = (config["subnet4"][0]["option-data"][0] for config in (before, after))
            assert now == was | {"name": "tftp-servers"}  # which Kea adds to the bytes

    run(scenario())


def test_somebody_elses_change_is_neither_overwritten_nor_taken_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kea(tmp_path) as site:
            provider, other = Kea(site.socket), Kea(site.socket)
            stale = provider.preview(find_scope(await provider.read(), "subnet 1"), NEW)
            theirs = await changed(other, "subnet 1", ("127.9.9.9",))
            with pytest.raises(Refused, match=r"is 127\.9\.9\.9 by now, not 127\.10\.1\.1, 127"):
                await provider.apply(stale)
            ours = await changed(provider, "subnet 1")
            with pytest.raises(Refused, match=r"is 127\.20\.1\.1, .* not 127\.9\.9\.9 as it was applied"):
                await other.revert(theirs)
            # Elsewhere in the configuration others may change what they like.
            elsewhere = await changed(other, "subnet 2", ("127.9.9.9",))
            await provider.revert(ours)
            await other.verify(elsewhere)
            await site.offered(IN_FIRST, "127.9.9.9")

    run(scenario())


def test_a_change_at_the_same_moment_is_seen_before_anything_is_set(tmp_path: Path) -> None:
    class Busy(Socket):
        """Somebody else sets something while Kea tries our configuration."""

        async def ask(self, command: str, arguments: Any = None) -> dict[str, Any]:
            if command == "config-test":
                other = Socket(self.path)
                await other.ask("config-set", {"Dhcp4": {**await whole(other), "valid-lifetime": 1234}})
            return await super().ask(command, arguments)

    async def scenario() -> None:
        async with kea(tmp_path) as site:
            provider = Kea(Busy(site.socket.path))
            change = provider.preview(find_scope(await provider.read(), "subnet 1"), NEW)
            with pytest.raises(Refused, match="at this very moment"):
                await provider.apply(change)
            config = await whole(site.socket)
            assert config["valid-lifetime"] == 1234
            await site.offered(IN_FIRST, *OLD)

    run(scenario())


def test_what_cannot_be_written_to_the_file_does_not_stay_in_force(tmp_path: Path) -> None:
    class Unwritable(Socket):
        async def ask(self, command: str, arguments: Any = None) -> dict[str, Any]:
            if command == "config-write":
                arguments = {"filename": "/nonexistent/kea.json"}
            return await super().ask(command, arguments)

    async def scenario() -> None:
        async with kea(tmp_path) as site:
            before = await whole(site.socket)
            provider = Kea(Unwritable(site.socket.path))
            change = provider.preview(find_scope(await provider.read(), "subnet 1"), NEW)
            with pytest.raises(Refused, match=r"config-write.*former configuration is in force again") as raised:
                await provider.apply(change)
            assert "must be able to write the file" in raised.value.hint
            assert await whole(site.socket) == before
            await site.offered(IN_FIRST, *OLD)

    run(scenario())


def test_the_address_that_was_asked_for_is_given_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kea(tmp_path) as site:
            config = await whole(site.socket)
            config["subnet4"][0]["pools"] = [{"pool": "127.30.40.7 - 127.30.40.7"}]
            await site.socket.ask("config-set", {"Dhcp4": config})
            for number in range(3):  # phones that want the only address there is
                offer = await confirm(
                    SERVER, OLD, address=IN_FIRST, port=site.port, mac=bytes((2, 0, 0, 0, 0, number)), tries=1
                )
                assert (offer.lease.address, offer.agrees) == ("127.30.40.7", True)

    run(scenario())


@needs_agent
def test_the_agent_wants_its_password_and_errors_are_one_each(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kea(tmp_path, agent=True) as site:
            for agent in (site.agent("wrong"), Agent(f"http://{SERVER}:{site.agent_port}")):
                with pytest.raises(AuthenticationRefused, match="wants a user and a password"):
                    await agent.ask("config-get")
            with pytest.raises(NotSupported, match="does not know no-such-command"):
                await site.socket.ask("no-such-command")
            with pytest.raises(NotSupported):
                await site.agent().ask("no-such-command")
            with pytest.raises(Refused, match="refuses config-test"):
                await site.socket.ask("config-test", {"Dhcp4": {"subnet4": 3}})
        for control in (site.socket, site.agent()):
            with pytest.raises(Unreachable):
                await control.ask("config-get")

    run(scenario())
