"""How a TVS is tried with TLS 1.0, and what becomes of a cluster that answers only partly."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

import pytest
from tests.migration.proofstage import OLD, Stage

from trustbridge.clients.tls import TlsIdentity, client_context
from trustbridge.migration import checkcollect
from trustbridge.migration.checkcollect import try_old_tls
from trustbridge.migration.checkseen import OldTls
from trustbridge.pki.units import Unit
from trustbridge.services.tvs import start_tvs
from trustbridge.trust.vouch import VouchIndex
from trustbridge.wire.tvs import query_request

QUESTION = query_request(1000, "SEP", "CN=x", "CN=x", 1)


def tried(*, legacy: bool) -> OldTls:
    async def run() -> OldTls:
        identity = TlsIdentity.of(Stage.strangers().clusters[OLD].identities["old-pub", Unit.TVS])
        server = await start_tvs(
            VouchIndex.from_stores([]).answer, identity, host="127.0.0.1", port=0, legacy_tls=legacy
        )
        try:
            return await try_old_tls(*server.address, QUESTION, 5.0)
        finally:
            await server.stop()

    return asyncio.run(run())


def test_a_tvs_that_takes_old_tls_and_one_that_does_not() -> None:
    assert tried(legacy=True) == OldTls(True, "")
    refused = tried(legacy=False)
    assert refused.accepted is False
    assert "TLS" in refused.words


async def _listening(answer: bytes | None) -> OldTls:
    """Somebody who answers a handshake with something else, or with nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        return await try_old_tls(host, port, QUESTION, 5.0)


def test_who_hangs_up_has_not_taken_it() -> None:
    assert asyncio.run(_listening(None)).accepted is False


def test_nobody_there_is_not_known() -> None:
    async def run() -> OldTls:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        server.close()
        await server.wait_closed()
        return await try_old_tls(host, port, QUESTION, 5.0)

    assert asyncio.run(run()).accepted is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_openssl_that_can_not_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    def impossible() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.options |= ssl.OP_NO_TLSv1_3 | ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_1 | ssl.OP_NO_TLSv1
        return context

    monkeypatch.setattr(checkcollect, "_tls_of_old_models", impossible)
    found = tried(legacy=True)
    assert found.accepted is None
    assert "OpenSSL of this machine" in found.words


def test_contexts_that_others_share_stay_as_they_are() -> None:
    shared = [partial(client_context, legacy=legacy) for legacy in (False, True)]
    before = [one().maximum_version for one in shared]
    tried(legacy=True)
    assert [one().maximum_version for one in shared] == before
