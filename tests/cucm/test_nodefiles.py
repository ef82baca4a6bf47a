"""Files of a node over HTTP and TFTP, over real sockets: what is there, what is not, and who does not answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from trustbridge.cucm import nodefiles
from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import ClusterEntry, Interface
from trustbridge.cucm.nodefiles import over_http, over_tftp
from trustbridge.errors import Garbled, TrustbridgeError, Unreachable
from trustbridge.services.provisioning import start_provisioning
from trustbridge.services.tftp import start_tftp

ENTRY = ClusterEntry("source", "127.0.0.1", "administrator", "axluser")
QUICK = Patience(connect=0.2, answer=1.0)
HOST = "127.0.0.1"

Get = Callable[[ClusterEntry, str, str, str, Patience], Awaitable[bytes | None]]
ways = pytest.mark.parametrize("get", [over_http, over_tftp])


def served(get: Get, test: Callable[[ClusterEntry], Awaitable[Any]], content: bytes = b"list" * 1000) -> Any:
    """What `test` gives, beside a server of the one file `ITLFile.tlv`."""

    async def run() -> Any:
        start: Any = start_provisioning if get is over_http else start_tftp
        server = await start(lambda name: content if name == "ITLFile.tlv" else None, host=HOST, port=0)
        port = server.address[1]
        try:
            return await test(replace(ENTRY, http_port=port, tftp_port=port))
        finally:
            await server.stop()

    return asyncio.run(run())


@ways
def test_a_file_comes_whole_and_one_that_is_not_there_is_none(get: Get) -> None:
    async def test(entry: ClusterEntry) -> list[bytes | None]:
        return [await get(entry, "cm1", HOST, name, QUICK) for name in ("ITLFile.tlv", "CTLFile.tlv")]

    assert served(get, test) == [b"list" * 1000, None]


async def _fails(get: Get, entry: ClusterEntry, kind: type[TrustbridgeError], patience: Patience = QUICK) -> str:
    with pytest.raises(kind) as caught:
        await get(entry, "cm1", HOST, "ITLFile.tlv", patience)
    assert type(caught.value) is kind
    interface = Interface.HTTP_FILES if get is over_http else Interface.TFTP
    assert caught.value.message.startswith(f"cm1 ({interface}): ")
    assert str(caught.value) == caught.value.message
    assert caught.value.hint
    return caught.value.message


@ways
def test_nobody_there_is_one_error_that_names_the_node_and_the_port(get: Get) -> None:
    kind = socket.SOCK_STREAM if get is over_http else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:  # bound: nobody else takes it meanwhile
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        asyncio.run(_fails(get, replace(ENTRY, http_port=port, tftp_port=port), Unreachable))


@ways
def test_a_file_without_end_is_given_up(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodefiles, "MAX_FILE", 100)

    async def test(entry: ClusterEntry) -> None:
        await _fails(get, entry, Garbled if get is over_http else Unreachable)

    served(get, test)


def test_a_tftp_server_that_goes_on_and_on_gets_no_more_than_the_time_of_one_answer() -> None:
    class Slow(asyncio.DatagramProtocol):
        """A block now and then: often enough to seem alive."""

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, peer: Any) -> None:
            block = 1 if data[1] == 1 else int.from_bytes(data[2:4]) + 1
            asyncio.get_running_loop().call_later(
                0.02, self.transport.sendto, b"\0\3" + block.to_bytes(2) + bytes(512), peer
            )

    async def run() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Slow, local_addr=(HOST, 0))
        entry = replace(ENTRY, tftp_port=transport.get_extra_info("sockname")[1])
        assert "within 0.3 s" in await _fails(over_tftp, entry, Unreachable, Patience(connect=5, answer=0.3))
        transport.close()

    asyncio.run(run())
