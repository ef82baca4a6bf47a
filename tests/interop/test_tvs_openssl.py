"""TVS against OpenSSL's own client and server: other people's TLS, client certificates, old phones."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trustbridge.clients.ask import ask_tvs
from trustbridge.clients.tls import TlsIdentity, client_context
from trustbridge.errors import DecodeError, Refused
from trustbridge.pki.issue import Identity, Organisation, authority, locally_significant, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services.tvs import TvsServer, start_tvs
from trustbridge.services.tvssession import Ending
from trustbridge.wire.tvs import TvsMessage, encode, query_request, response_to, verify_request

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl (Debian package openssl)")

NOW = datetime.now(UTC)
LAB = Organisation(o="Lab")
#: As in the public capture: 1451 bytes of certificate, roles 0 and 3, a day; 1480 bytes in all.
CERTIFICATE = bytes(range(256)) * 5 + bytes(171)
QUERY = query_request(
    1001,
    "CP-8861-SEPB000B4BA0AEE",
    "CN=ucm11pub.stormin.local;OU=IST;O=Stormin;L=Brisbane;ST=QLD;C=AU",
    "CN=stormin-WIN2012-CA",
    0x24000000179479B8F124AC3F3B000000000017,
)
LEGACY = ("-cipher", "DEFAULT:kRSA:@SECLEVEL=0")


def vouch(request: TvsMessage) -> TvsMessage:
    return response_to(request, certificate=CERTIFICATE, roles=(0, 3), time_to_live=86400)


ANSWER = encode(vouch(QUERY))


@pytest.fixture(scope="module")
def tvs() -> Identity:
    return self_signed(node="cm1", unit=Unit.TVS, common_name="cm1", organisation=LAB, now=NOW)


@pytest.fixture(scope="module")
def old_tvs() -> Identity:
    """With a key as clusters had them when phones spoke TLS 1.0."""
    return self_signed(node="cm1", unit=Unit.TVS, common_name="cm1", organisation=LAB, now=NOW, key="rsa1024")


@pytest.fixture(scope="module")
def phone_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """s_client's options for a phone's own certificate, which no authority of the server's knows."""
    lsc = locally_significant(
        authority("CAPF-1", LAB, NOW, key="p256"), device="SEPB000B4BA0AEE", organisation=LAB, now=NOW
    )
    return _files(lsc, tmp_path_factory.mktemp("phone"))


def _files(identity: Identity, folder: Path) -> tuple[str, ...]:
    (folder / "cert.pem").write_text(identity.certificate.pem())
    (folder / "key.pem").write_bytes(identity.key_pem())
    return ("-cert", str(folder / "cert.pem"), "-key", str(folder / "key.pem"))


def s_client(server: TvsServer, options: Sequence[str], said: bytes, wanted: int) -> tuple[bytes, str]:
    """Say something through `openssl s_client`; what came back, and what it told on standard error."""
    host, port = server.address
    with subprocess.Popen(
        ["openssl", "s_client", "-connect", f"{host}:{port}", "-quiet", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            client.stdin.write(said)
            client.stdin.flush()
        heard = client.stdout.read(wanted) if wanted else b""
        if wanted:
            client.kill()
        with contextlib.suppress(BrokenPipeError):
            client.stdin.close()
        assert client.stderr is not None
        return heard, client.stderr.read().decode("utf-8", "replace")


def asked(identity: Identity, *options: str, legacy_tls: bool = False) -> tuple[bytes, str]:
    """A query through s_client to a server of ours; the answer and s_client's own words."""

    async def scenario() -> tuple[bytes, str]:
        server = await start_tvs(vouch, TlsIdentity.of(identity), port=0, legacy_tls=legacy_tls)
        heard = await asyncio.to_thread(s_client, server, options, encode(QUERY), len(ANSWER))
        await server.stop()
        return heard

    return asyncio.run(scenario())


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_query_is_answered_as_in_the_capture(tvs: Identity, version: str) -> None:
    answer, _ = asked(tvs, version)
    assert len(answer) == 1480
    assert answer[:21] == bytes.fromhex("57010400 000003e9 05be 07000100 0205ab") + CERTIFICATE[:4]
    assert answer == ANSWER


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_phone_that_offers_its_own_certificate_is_served(
    tvs: Identity, phone_files: tuple[str, ...], version: str
) -> None:
    answer, words = asked(tvs, version, *phone_files)
    assert answer == ANSWER
    assert "alert" not in words


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0"), id="TLS 1.0, RSA key exchange"),
        pytest.param(("-tls1", "-cipher", "kRSA:@SECLEVEL=0"), id="TLS 1.0, any RSA key exchange"),
        pytest.param(("-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"), id="TLS 1.1"),
        pytest.param(("-tls1_2", "-cipher", "kRSA"), id="TLS 1.2, RSA key exchange"),
        pytest.param(("-tls1_2",), id="TLS 1.2"),
        pytest.param(("-tls1_3",), id="TLS 1.3"),
    ],
)
@pytest.mark.parametrize("key", ["rsa2048", "rsa1024"])
def test_old_phones_are_served_with_legacy_tls(
    request: pytest.FixtureRequest, key: str, options: tuple[str, ...]
) -> None:
    identity = request.getfixturevalue("tvs" if key == "rsa2048" else "old_tvs")
    assert asked(identity, *options, legacy_tls=True)[0] == ANSWER


@pytest.mark.parametrize("options", [("-tls1", *LEGACY), ("-tls1_1", *LEGACY)], ids=["TLS 1.0", "TLS 1.1"])
def test_old_phones_are_turned_away_without_it(tvs: Identity, options: tuple[str, ...]) -> None:
    async def scenario() -> None:
        server = await start_tvs(vouch, TlsIdentity.of(tvs), port=0)
        answer, words = await asyncio.to_thread(s_client, server, options, encode(QUERY), len(ANSWER))
        assert answer == b""
        assert "alert protocol version" in words  # it is told, not just cut off
        assert server.counters.ended == {Ending.HANDSHAKE_FAILED: 1}
        await server.stop()

    asyncio.run(scenario())


def test_no_session_is_offered_for_resumption(tvs: Identity) -> None:
    async def scenario() -> None:
        server = await start_tvs(vouch, TlsIdentity.of(tvs), port=0)
        host, port = server.address
        done = await asyncio.to_thread(
            subprocess.run,
            ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-reconnect"],
            input=b"",
            capture_output=True,
            timeout=20,
            check=False,
        )
        await server.stop()
        assert b"New, TLSv1.2" in done.stdout
        assert b"Reused" not in done.stdout
        assert b"session ticket" not in done.stdout.lower()

    asyncio.run(scenario())


def test_renegotiation_is_refused_and_the_server_goes_on(tvs: Identity) -> None:
    async def scenario() -> None:
        server = await start_tvs(vouch, TlsIdentity.of(tvs), port=0)
        host, port = server.address
        # Without -quiet, a line "R" makes s_client ask for a renegotiation.
        done = await asyncio.to_thread(
            subprocess.run,
            ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2"],
            input=b"R\n",
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert b"no renegotiation" in done.stderr
        assert (await ask_tvs(host, port, QUERY)).response == vouch(QUERY)
        await server.stop()

    asyncio.run(scenario())


@contextlib.contextmanager
def s_server(files: Sequence[str], *options: str) -> Iterator[int]:
    """`openssl s_server`, which says what it is given on standard input to whoever comes: here, an answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", *files, "-quiet", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            _wait_for(port)
            yield port
        finally:
            server.kill()


def _wait_for(port: int) -> None:
    """Until a listener is there, without connecting to it: s_server serves one client after the other."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    deadline = time.monotonic() + 10
    while wanted not in Path("/proc/net/tcp").read_text():
        assert time.monotonic() < deadline, "s_server does not start"
        time.sleep(0.01)


def test_a_server_that_is_no_tvs_is_found_out(tvs: Identity, tmp_path: Path) -> None:
    # -rev sends each line back, the other way round.
    with s_server(_files(tvs, tmp_path), "-rev") as port, pytest.raises(DecodeError):
        asyncio.run(ask_tvs("127.0.0.1", port, verify_request(1, "d", b"\n")))


def test_a_server_of_old_tls_is_asked_with_legacy_tls_only(old_tvs: Identity, tmp_path: Path) -> None:
    seen: list[bytes] = []

    def look(certificate: bytes) -> str:
        seen.append(certificate)
        return "seen enough"

    with s_server(_files(old_tvs, tmp_path), "-tls1", *LEGACY) as port:
        with pytest.raises(Refused, match=r"TLS with the TVS at .* failed") as caught:
            asyncio.run(ask_tvs("127.0.0.1", port, QUERY))
        assert "--legacy-tls" in caught.value.hint
        with pytest.raises(Refused, match="seen enough"):
            asyncio.run(
                ask_tvs("127.0.0.1", port, QUERY, check_certificate=look, tls_context=client_context(legacy=True))
            )
    assert seen == [old_tvs.certificate.der]
