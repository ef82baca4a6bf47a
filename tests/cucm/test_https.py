"""HTTPS to a node, over real sockets: the pin before the password, one clear error for each thing that goes wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from trustbridge.clients.tls import TlsIdentity
from trustbridge.cucm.https import Answer, NodeHttps, Patience, translated
from trustbridge.cucm.model import Interface
from trustbridge.cucm.pinnedtls import PinnedContext
from trustbridge.cucm.pins import FirstCertificate, TlsPins, fingerprint
from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    IdentityChanged,
    Refused,
    SettingsError,
    Throttled,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.services.asgi import Access, Request, Response, application
from trustbridge.services.httpsnode import Disturbance, HttpsServer, start_https

NOW = datetime.now(UTC)
USER, PASSWORD = "administrator", "s3cret-pass"
HIDDEN = (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
QUICK = Patience(connect=2.0, answer=1.0, attempts=3, pause=0.02, throttled=0.5)


def _identity(name: str, **options: Any) -> TlsIdentity:
    now = options.pop("now", NOW)
    made = self_signed(
        node=name, unit=Unit.TOMCAT, common_name=name, organisation=Organisation(), now=now, key="p256", **options
    )
    return TlsIdentity.of(made)


FIRST, SECOND = _identity("cm1.example"), _identity("cm1.example")
EXPIRED = _identity("other-name", now=NOW - timedelta(days=50), days=10)


@dataclass
class World:
    """A node and what it was asked; `trouble` may change at any time."""

    folder: Path
    trouble: Disturbance = field(default_factory=Disturbance)
    requests: list[Request] = field(default_factory=list)
    passwords: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    told: list[FirstCertificate] = field(default_factory=list)
    server: HttpsServer = field(init=False)

    @property
    def pins(self) -> TlsPins:
        return TlsPins(self.folder / "pins.json", on_first_contact=self.told.append)

    def client(self, password: str = PASSWORD, **options: Any) -> NodeHttps:
        options.setdefault("patience", QUICK)
        host, port = self.server.address
        return NodeHttps("cm1", host, port, USER, password, self.pins, interface=Interface.REST, **options)

    async def endpoint(self, request: Request) -> Response:
        self.requests.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        headers = (("location", "/elsewhere"),) if status == 302 else ()
        return Response(status, b'{"message": "words of the node"}', "application/json", headers)

    def check(self, user: str, password: str) -> Access:
        self.passwords.append(password)
        if user != USER or password != PASSWORD:
            return Access.UNKNOWN
        return Access.NO_RIGHT if 403 in self.statuses else Access.GRANTED


def world(
    test: Callable[[World], Awaitable[None]],
    folder: Path,
    *,
    identity: TlsIdentity = FIRST,
    runner: Callable[[Any], Any] = asyncio.run,
) -> World:
    here = World(folder)

    async def run() -> None:
        app = application(here.endpoint, check=here.check, realm="Lab")
        here.server = await start_https(app, identity, port=0, disturb=lambda path: here.trouble)
        try:
            await test(here)
        finally:
            await here.server.stop()
        await asyncio.sleep(0.01)  # generators that were left half-way are put away
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, left

    runner(run())
    gc.collect()
    return here


async def fails(
    client: NodeHttps, kind: type[TrustbridgeError], *, again: bool = True, method: str = "GET"
) -> TrustbridgeError:
    """The error of a request, which names node and interface and hides every secret."""
    with pytest.raises(kind) as caught:
        await client.request(method, "/x", again=again)
    error = caught.value
    assert type(error) is kind
    assert error.hint
    if kind is not SettingsError:
        assert "cm1 (certificate REST)" in error.message
    assert not any(hidden in f"{error.message}{error.hint}{error!r}{client!r}" for hidden in HIDDEN)
    return error


both_loops = pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@both_loops
def test_the_first_contact_is_pinned_told_and_good_from_then_on(tmp_path: Path, runner: Any) -> None:
    async def test(here: World) -> None:
        for _ in range(2):
            async with here.client() as client:
                answer = await client.request("GET", "/a b", again=True, query={"service": "tomcat"})
                assert (answer.status, answer.content_type) == (200, "application/json")
                assert b"words" in answer.body

    here = world(test, tmp_path, runner=runner)
    assert [contact.sha256 for contact in here.told] == [fingerprint(FIRST.chain[0].der)]
    assert here.requests[0].path == "/a b"
    assert here.requests[0].query == {"service": "tomcat"}
    assert here.passwords == [PASSWORD, PASSWORD]


@both_loops
def test_another_certificate_than_the_pinned_one_ends_it_before_the_password(tmp_path: Path, runner: Any) -> None:
    async def test(here: World) -> None:
        async with here.client() as client:
            await client.request("GET", "/x", again=True)
        here.server.set_identity(SECOND)
        here.passwords.clear()
        async with here.client() as client:
            error = await fails(client, IdentityChanged)
        assert fingerprint(FIRST.chain[0].der) in error.message
        assert fingerprint(SECOND.chain[0].der) in error.message
        assert str(here.pins.path) in error.hint
        assert here.passwords == []
        here.pins.forget(*here.server.address)
        async with here.client() as client:
            assert (await client.request("GET", "/x", again=True)).status == 200

    world(test, tmp_path, runner=runner)


def test_a_certificate_that_changes_between_two_requests_is_seen_at_the_next_connection(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        async with here.client() as client:
            await client.request("GET", "/x", again=True)
            here.server.set_identity(SECOND)
            here.trouble = Disturbance(hang_up=True)  # ends the connection that stands
            await fails(client, IdentityChanged)

    world(test, tmp_path)


def test_only_the_pin_counts_not_the_name_nor_the_dates(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        async with here.client() as client:
            assert (await client.request("GET", "/x", again=True)).status == 200

    world(test, tmp_path, identity=EXPIRED)


def test_pins_that_can_not_be_read_are_no_first_contact(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        here.pins.path.write_text("{")
        async with here.client() as client:
            error = await fails(client, SettingsError)
        assert "pins.json" in error.message
        assert here.passwords == []

    world(test, tmp_path)


def test_a_wrong_password_is_tried_once_and_never_again(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        async with here.client("wrong-one") as client:
            error = await fails(client, AuthenticationRefused)
            assert USER in error.message
            assert "wrong-one" not in error.message + error.hint + repr(client)
            await fails(client, AuthenticationRefused)

    assert world(test, tmp_path).passwords == ["wrong-one"]


def test_a_missing_right_is_another_error(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        here.statuses = [403]
        async with here.client() as client:
            error = await fails(client, Refused)
        assert "right" in error.hint

    world(test, tmp_path)


def test_other_statuses_are_the_callers_matter(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        here.statuses = [404, 500]
        async with here.client() as client:
            missing = await client.request("GET", "/x", again=True)
            broken = await client.request("GET", "/x", again=True)
            assert (missing.status, broken.status) == (404, 500)
            assert client.said(broken) == ": words of the node"

    world(test, tmp_path)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_node_is_asked_again_even_to_write(tmp_path: Path, status: int) -> None:
    async def test(here: World) -> None:
        here.statuses = [status, status, 200]
        async with here.client() as client:
            assert (await client.request("POST", "/x", again=False, value={"a": 1})).status == 200

    here = world(test, tmp_path)
    assert [request.body for request in here.requests] == [b'{"a": 1}'] * 3
    assert here.requests[0].headers["content-type"] == "application/json"


def test_a_node_that_stays_busy_is_given_up(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        here.statuses = [503] * 100
        began = asyncio.get_running_loop().time()
        async with here.client() as client:
            await fails(client, Throttled)
        assert asyncio.get_running_loop().time() - began < 2
        here.trouble = Disturbance(busy=True)  # asks for a second, which is longer than we wait
        async with here.client() as client:
            await fails(client, Throttled)

    here = world(test, tmp_path)
    assert 2 < len(here.requests) < 20


def test_a_read_whose_connection_breaks_is_sent_again(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        async with here.client(patience=Patience(pause=0.1, attempts=3)) as client:
            here.trouble = Disturbance(hang_up=True)
            asking = asyncio.create_task(client.request("GET", "/x", again=True))
            await asyncio.sleep(0.05)
            here.trouble = Disturbance()
            assert (await asking).status == 200

    assert len(world(test, tmp_path).requests) == 1


def test_a_write_whose_connection_breaks_is_never_sent_again(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        here.trouble = Disturbance(cut_after=3)
        async with here.client() as client:
            error = await fails(client, Garbled, again=False, method="POST")
        assert "not known" in error.hint

    assert len(world(test, tmp_path).requests) == 1


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        (Disturbance(refuse=True), Unreachable, "TLS handshake"),
        (Disturbance(delay=30), Unreachable, "within 1 s"),
        (Disturbance(cut_after=5), Garbled, "in the middle"),
        (Disturbance(hang_up=True), Garbled, "before the answer"),
    ],
    ids=["reset", "slow", "cut", "no answer"],
)
@both_loops
def test_what_goes_wrong_on_the_wire_is_one_clear_error(
    tmp_path: Path, trouble: Disturbance, kind: type[TrustbridgeError], words: str, runner: Any
) -> None:
    async def test(here: World) -> None:
        here.trouble = trouble
        async with here.client() as client:
            error = await fails(client, kind)
        assert words in error.message

    world(test, tmp_path, runner=runner)


async def _peer(said: bytes, then: str, context: ssl.SSLContext | None) -> asyncio.Server:
    """A server that says something to whoever has said something."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await reader.read(4096)
            writer.write(said)
            while then == "on and on":
                writer.write(b"a" * 1000)
                await writer.drain()
                await asyncio.sleep(0.01)
            if then == "wait":
                await asyncio.sleep(30)
        writer.close()

    return await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)


@pytest.mark.parametrize(
    ("said", "then", "tls", "kind"),
    [
        (b"SSH-2.0-OpenSSH_8.0\r\n", "close", False, Garbled),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "close", False, Garbled),
        (b"", "close", False, Unreachable),
        (b"", "wait", False, Unreachable),
        (b"220 mail.example ESMTP\r\n", "close", True, Garbled),
        (b"\x00\x01\x02\x03\r\n\r\n", "close", True, Garbled),
        (b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n", "close", True, Garbled),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", "close", True, Garbled),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", "on and on", True, Unreachable),
        (b"HTTP/1.1 200 OK\r\nX: ", "on and on", True, Unreachable),
    ],
)
def test_whatever_answers_there_is_one_clear_error(
    tmp_path: Path, said: bytes, then: str, tls: bool, kind: type[TrustbridgeError]
) -> None:
    async def run() -> None:
        peer = await _peer(said, then, FIRST.server_context() if tls else None)
        host, port = peer.sockets[0].getsockname()
        patience = Patience(connect=0.3, answer=0.5, attempts=2, pause=0.01)
        options: dict[str, Any] = {"interface": Interface.REST, "patience": patience}
        async with NodeHttps("cm1", host, port, USER, PASSWORD, TlsPins(tmp_path / "pins"), **options) as client:
            await fails(client, kind)
        peer.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.05)

    asyncio.run(run())


def test_an_answer_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustbridge.cucm.https.MAX_ANSWER", 10)

    async def test(here: World) -> None:
        async with here.client() as client:
            assert "never ends" in (await fails(client, Garbled)).message

    world(test, tmp_path)


def test_nobody_there_and_no_such_host(tmp_path: Path) -> None:
    async def run() -> None:
        for host, words in (("127.0.0.1", "refused"), ("no-such-host.invalid", "no such host")):
            client = NodeHttps(
                "cm1", host, 1, USER, PASSWORD, TlsPins(tmp_path / "pins"), interface=Interface.REST, patience=QUICK
            )
            async with client:
                assert words in (await fails(client, Unreachable)).message

    asyncio.run(run())


def test_a_redirect_is_not_followed_with_the_password(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        here.statuses = [302]
        async with here.client() as client:
            assert (await client.request("GET", "/x", again=True)).status == 302

    assert len(world(test, tmp_path).requests) == 1


def test_no_proxy_of_the_environment_sees_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async def test(here: World) -> None:
        async with here.client() as client:
            assert (await client.request("GET", "/x", again=True)).status == 200

    world(test, tmp_path)


def test_no_log_at_any_level_holds_the_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def test(here: World) -> None:
        here.statuses = [503, 500]
        async with here.client() as client:
            await client.request("POST", "/x", again=True, value={})
        here.trouble = Disturbance(cut_after=1)
        async with here.client() as client:
            await fails(client, Garbled)

    world(test, tmp_path)
    assert "trustbridge" in {record.name.split(".")[0] for record in caplog.records}, "it does log at this level"
    assert not any(hidden in caplog.text for hidden in HIDDEN)


def test_a_node_that_repeats_the_password_is_not_quoted_with_it(tmp_path: Path) -> None:
    client = NodeHttps("cm1", "127.0.0.1", 1, USER, PASSWORD, TlsPins(tmp_path / "pins"), interface=Interface.REST)
    said = client.said(Answer(500, body=f"bad login {USER}/{PASSWORD} {HIDDEN[1]}".encode()))
    assert said.startswith(f": bad login {USER}/***")
    assert not any(hidden in said for hidden in HIDDEN)
    asyncio.run(client.__aexit__(None, None, None))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ""),
        (b'{"message": "no\\u001b[31m"}', ": no?[31m"),
        (b"<html><style>a{}</style><h1>Status\n 500</h1></html>", ": Status 500"),
        (b"\xff\xfe", ": \ufffd\ufffd"),
        (b"[" * 3000, ": " + "[" * 200 + "..."),
    ],
)
def test_a_nodes_words_are_short_and_plain(tmp_path: Path, body: bytes, words: str) -> None:
    client = NodeHttps("cm1", "127.0.0.1", 1, USER, PASSWORD, TlsPins(tmp_path / "pins"), interface=Interface.REST)
    assert client.said(Answer(500, body=body)) == words
    asyncio.run(client.__aexit__(None, None, None))


def test_a_user_name_http_can_not_carry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="colon"):
        NodeHttps("cm1", "h", 1, "a:b", PASSWORD, TlsPins(tmp_path / "pins"), interface=Interface.REST)


def test_clients_of_other_libraries_look_at_the_same_pin(tmp_path: Path) -> None:
    async def test(here: World) -> None:
        host, port = here.server.address
        auth = httpx.BasicAuth(USER, PASSWORD)

        def client_of_httpx() -> httpx.AsyncClient:
            verify = PinnedContext.of(here.pins, host, port)
            return httpx.AsyncClient(base_url=f"https://{host}:{port}", auth=auth, verify=verify, trust_env=False)

        async with client_of_httpx() as client:
            assert (await client.get("/x")).status_code == 200
        here.server.set_identity(SECOND)
        async with client_of_httpx() as client:
            with pytest.raises(httpx.ConnectError) as caught:
                await client.get("/x")
            assert isinstance(translated(caught.value, "GET /x", QUICK), IdentityChanged)

    world(test, tmp_path)


def test_bytes_that_were_spoiled_on_their_way_are_noise_and_a_connection_that_ends_is_none() -> None:
    spoiled = ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] decryption failed or bad record mac")
    wrapped = httpx.ReadError("")
    wrapped.__cause__ = spoiled
    for error in (spoiled, wrapped):
        ours = translated(error, "POST /x", QUICK, unknown=True)
        assert type(ours) is Garbled
        assert "not what was sent (POST /x)" in ours.message
        assert "not known" in ours.hint
    ended = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
    assert type(translated(ended, "POST /x", QUICK)) is Unreachable


def _subclasses(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*map(_subclasses, kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(_subclasses(httpx.HTTPError), key=repr))
def test_every_error_of_httpx_becomes_ours(kind: Any) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, "words")
    ours = translated(error, "GET /x", QUICK)
    assert type(ours) in (Unreachable, Garbled, SettingsError)
    assert ours.hint
