"""Kea's configuration and its control API without Kea: every shape of a configuration, every bad answer."""

from __future__ import annotations

import asyncio
import copy
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbridge.cucm.pins import TlsPins
from trustbridge.dhcp.kea import Kea
from trustbridge.dhcp.keaconfig import DEFINITION, KeaConfig
from trustbridge.dhcp.keacontrol import Agent, Socket
from trustbridge.dhcp.scope import Change, Edit, Scope, find_scope
from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    IdentityChanged,
    NotSupported,
    Refused,
    SettingsError,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.pki.issue import Identity, Organisation, self_signed
from trustbridge.pki.units import Unit

OLD, NEW = ("10.2.0.1", "10.2.0.2"), ("10.9.0.1", "10.9.0.2", "10.9.0.3")
Json = dict[str, Any]


def said(*servers: str, **more: Any) -> Json:
    return (
        {"code": 150, "name": "tftp-servers", "space": "dhcp4", "csv-format": True}
        | more
        | {"data": ", ".join(servers)}
    )


def everything() -> Json:
    """Option 150 wherever it can be."""
    return {
        "option-def": [{**DEFINITION, "name": "tftp-servers"}, {"name": "odd", "code": 150, "space": "vendor-9"}],
        "option-data": [said("10.0.0.1"), {"code": 150, "space": "vendor-9", "data": "x"}],
        "client-classes": [{"name": "voice", "option-data": [said("10.0.0.2")]}, {"name": "none"}],
        "reservations": [{"hw-address": "00:11:22:33:44:55", "option-data": [said("10.0.0.3")]}],
        "shared-networks": [
            {
                "name": "lab",
                "option-data": [{"name": "tftp-servers", "data": "10.0.0.4"}],
                "subnet4": [{"id": 7, "subnet": "10.7.0.0/16", "pools": [], "option-data": []}],
            }
        ],
        "subnet4": [
            {
                "id": 1,
                "subnet": "10.1.0.0/16",
                "option-data": [{"code": 6, "data": "10.1.0.1"}, said(*OLD)],
                "pools": [
                    {"pool": "10.1.0.1 - 10.1.0.9", "option-data": [said("10.0.0.5")]},
                    {"pool": "10.1.0.20 - 10.1.0.29"},
                ],
                "reservations": [{"client-id": "01aa", "option-data": [said("10.0.0.6")]}, {"hostname": "x"}],
            },
            {"id": 2, "subnet": "10.2.0.0/16", "option-data": [{"code": 66, "data": "cm1", "csv-format": True}]},
        ],
        "user-context": {"option-data": [said("10.99.0.1")]},
    }


def bare(value: Any) -> Any:
    """Without lists of options that are empty, which mean what none means."""
    if isinstance(value, dict):
        empty = ("option-data", "option-def")
        return {key: bare(one) for key, one in value.items() if one != [] or key not in empty}
    return [bare(one) for one in value] if isinstance(value, list) else value


class Fake:
    """A Kea that takes what it is given."""

    place = "Kea at fake"

    def __init__(self, config: Json) -> None:
        self.config = copy.deepcopy(config)
        self.asked: list[str] = []
        self.refused: dict[str, TrustbridgeError] = {}

    async def ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> Json:
        self.asked.append(command)
        if command in self.refused:
            raise self.refused[command]
        if command == "config-get":
            return {"Dhcp4": copy.deepcopy(self.config), "hash": "newer releases say one"}
        if command == "config-set":
            assert arguments is not None
            assert list(arguments) == ["Dhcp4"]
            self.config = copy.deepcopy(arguments["Dhcp4"])
        return {}


def changed(fake: Fake, name: str, servers: tuple[str, ...] = NEW) -> Change:
    async def change() -> Change:
        provider = Kea(fake)
        made = provider.preview(find_scope(await provider.read(), name), servers)
        await provider.apply(made)
        await provider.verify(made)
        return Change.of_record(made.record())

    return asyncio.run(change())


def test_the_narrowest_that_says_something_counts_and_other_option_spaces_do_not() -> None:
    assert {
        one.name: (one.subnet, one.option150, one.inherited, one.option66) for one in KeaConfig("", everything()).scopes
    } == {
        "global": ("", ("10.0.0.1",), False, ""),
        "class voice": ("", ("10.0.0.2",), False, ""),
        "reservation 00:11:22:33:44:55": ("", ("10.0.0.3",), False, ""),
        "network lab": ("", ("10.0.0.4",), False, ""),
        "subnet 7": ("10.7.0.0/16", ("10.0.0.4",), True, ""),
        "subnet 1": ("10.1.0.0/16", OLD, False, ""),
        "subnet 1 pool 10.1.0.1 - 10.1.0.9": ("10.1.0.0/16", ("10.0.0.5",), False, ""),
        "subnet 1 reservation 01aa": ("10.1.0.0/16", ("10.0.0.6",), False, ""),
        "subnet 2": ("10.2.0.0/16", ("10.0.0.1",), True, "cm1"),
    }


@pytest.mark.parametrize("name", [scope.name for scope in KeaConfig("", everything()).scopes])
def test_every_scope_is_changed_alone_and_comes_back(name: str) -> None:
    fake = Fake(everything())
    before = {one.name: one for one in KeaConfig("", fake.config).scopes}
    change = changed(fake, name)
    own = [one for one in KeaConfig("", fake.config).scopes if not one.inherited]
    assert {one.name: one.option150 for one in own} == {
        one.name: one.option150 for one in before.values() if not one.inherited
    } | {name: NEW}
    assert fake.config["user-context"] == everything()["user-context"]
    assert fake.asked[-6:] == ["config-get", "config-test", "config-get", "config-set", "config-write", "config-get"]
    asyncio.run(Kea(fake).revert(change))
    assert fake.config == everything()


def test_a_definition_that_was_added_goes_again_unless_somebody_uses_it() -> None:
    config: Json = {"subnet4": [{"id": 1, "subnet": "10.1.0.0/16"}, {"id": 2, "subnet": "10.2.0.0/16"}]}
    fake = Fake(config)
    change = changed(fake, "subnet 1")
    assert fake.config["option-def"] == [DEFINITION]
    other = changed(fake, "subnet 2", OLD)
    assert len(other.edits) == 1
    asyncio.run(Kea(fake).revert(change))
    assert fake.config["option-def"] == [DEFINITION]
    asyncio.run(Kea(fake).revert(other))
    assert fake.config["option-def"] == [DEFINITION]  # it came with the other change
    fake = Fake(config)
    change = changed(fake, "global")
    asyncio.run(Kea(fake).revert(change))
    assert bare(fake.config) == config


def test_a_definition_that_is_added_takes_nobody_elses_name() -> None:
    fake = Fake({"option-def": [{"name": "tftp-servers", "code": 151, "space": "dhcp4", "type": "string"}]})
    before = copy.deepcopy(fake.config)
    change = changed(fake, "global")
    assert fake.config["option-def"][1] == DEFINITION | {"name": "tftp-servers-150"}
    assert fake.config["option-data"][0]["name"] == "tftp-servers-150"
    asyncio.run(Kea(fake).revert(change))
    assert bare(fake.config) == before


@pytest.mark.parametrize(
    ("definition", "servers", "expected"),
    [
        ({"type": "ipv4-address", "array": False}, NEW, (False, "0A0900010A0900020A090003")),
        ({"type": "ipv4-address", "array": False}, NEW[:1], (True, "10.9.0.1")),
        ({"type": "string", "array": False}, NEW[:1], (False, "0A090001")),
        ({"type": "ipv4-address", "array": True}, NEW[:2], (True, "10.9.0.1, 10.9.0.2")),
    ],
)
def test_where_the_definition_can_not_hold_a_list_bytes_are_sent(
    definition: Json, servers: tuple[str, ...], expected: tuple[bool, str]
) -> None:
    config = {"option-def": [{"name": "mine", "code": 150, "space": "dhcp4"} | definition]}
    config["option-data"] = [{"name": "mine", "data": "10.0.0.1", "csv-format": True, "always-send": True}]
    fake = Fake(config)
    change = changed(fake, "global", servers)
    entry = fake.config["option-data"][0]
    assert (entry["csv-format"], entry["data"], entry["name"], entry["always-send"]) == (*expected, "mine", True)
    asyncio.run(Kea(fake).revert(change))
    assert fake.config == config


@pytest.mark.parametrize(
    "data", ["0A0200010A020002", "0x0a0200010a020002", "0A:02:00:01:0a:02:00:02", "0A 02 00 01 0A 02 00 02"]
)
def test_bytes_are_read_however_they_are_written(data: str) -> None:
    config = {"option-data": [{"code": 150, "csv-format": False, "data": data}]}
    assert KeaConfig("", config).scopes == (Scope("global", "", OLD),)


def test_what_is_there_already_is_no_change() -> None:
    fake = Fake(everything())
    change = changed(fake, "subnet 1", OLD)
    asyncio.run(Kea(fake).revert(change))
    assert (change.edits, change.diff) == ((), "")
    assert set(fake.asked) == {"config-get"}


def test_flags_that_somebody_changed_since_are_not_taken_back() -> None:
    fake = Fake(everything())
    change = changed(fake, "subnet 1")
    fake.config["subnet4"][0]["option-data"][1]["always-send"] = True
    with pytest.raises(Refused, match="changed since"):
        asyncio.run(Kea(fake).revert(change))
    stale = Kea(fake)

    async def late() -> None:
        made = stale.preview(find_scope(await stale.read(), "subnet 1"), OLD)
        fake.config["subnet4"][0]["option-data"][1]["always-send"] = False
        await stale.apply(made)

    with pytest.raises(Refused, match="changed meanwhile"):
        asyncio.run(late())
    assert fake.asked.count("config-set") == 1


def test_what_kea_refuses_changes_nothing() -> None:
    for command in ("config-test", "config-set"):
        fake = Fake(everything())
        fake.refused[command] = Refused(f"no {command}")
        with pytest.raises(Refused, match=f"no {command}"):
            changed(fake, "subnet 1")
        assert fake.config == everything()
        assert "config-write" not in fake.asked


def test_scopes_that_are_not_there_are_refused_by_name() -> None:
    fake = Fake(everything())
    change = changed(fake, "subnet 1")
    fake.config["subnet4"] = []
    for way in (Kea(fake).apply, Kea(fake).verify, Kea(fake).revert):
        with pytest.raises(Refused, match="has no scope subnet 1"):
            asyncio.run(way(change))
    with pytest.raises(Refused, match="has not been read yet"):
        Kea(fake).preview(change.before, NEW)
    broken = Change(change.place, change.before, change.after, (Edit("option-data", "", "{"),))
    with pytest.raises(SettingsError, match="not one of Kea's"):
        asyncio.run(Kea(Fake(everything() | {"subnet4": [{"id": 1, "option-data": [said(*NEW)]}]})).revert(broken))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "no map Dhcp4"),
        ([], "no map Dhcp4"),
        ({"subnet4": 3}, "subnet4 .* no list of maps"),
        ({"subnet4": [[]]}, "subnet4 .* no list of maps"),
        ({"option-data": "x"}, "option-data .* no list of maps"),
        ({"subnet4": [{"id": 1}, {"id": 1}]}, "has subnet 1 twice"),
        ({"option-def": [DEFINITION], "option-data": [said("tftp.example")]}, "of global can't be read: 'tftp"),
        ({"option-data": [said("0A0B", **{"csv-format": False})]}, "of global can't be read"),
        ({"option-data": [said("xyz", **{"csv-format": False})]}, "of global can't be read"),
        ({"option-data": [{"code": 150, "data": 3}]}, "of global can't be read"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_one_error(config: object, words: str) -> None:
    with pytest.raises(Garbled, match=words):
        KeaConfig("Kea", config)


JSONS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
OPTIONS = st.fixed_dictionaries(
    {"code": st.sampled_from([150, 66, 6]), "csv-format": st.booleans()},  # which config-get never leaves out
    optional={
        "name": st.sampled_from(["tftp-servers", "mine", "tftp-server-name"]),
        "data": st.sampled_from(["10.0.0.1", "10.0.0.1,10.0.0.2", "0A000001", "", "cm1"]),
        "space": st.sampled_from(["dhcp4", "vendor-9"]),
        "always-send": st.booleans(),
    },
)
DEFINITIONS = st.fixed_dictionaries(
    {"code": st.sampled_from([150, 66]), "name": st.sampled_from(["tftp-servers", "mine"])},
    optional={"type": st.sampled_from(["ipv4-address", "string"]), "array": st.booleans(), "space": st.just("dhcp4")},
)


def _with_options(more: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional={"option-data": st.lists(OPTIONS, max_size=3), "x": JSONS, **more})


POOLS = _with_options({"pool": st.sampled_from(["a", "b"])})
SUBNETS = _with_options(
    {"id": st.integers(1, 4), "subnet": st.just("10.0.0.0/8"), "pools": st.lists(POOLS, max_size=2)}
)
CONFIGS = _with_options(
    {
        "option-def": st.lists(DEFINITIONS, max_size=2),
        "subnet4": st.lists(SUBNETS, max_size=3),
        "shared-networks": st.lists(
            _with_options({"name": st.text(max_size=3), "subnet4": st.lists(SUBNETS, max_size=2)}), max_size=2
        ),
        "client-classes": JSONS,
    }
)


@settings(max_examples=200)
@given(CONFIGS, st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=3, unique=True), st.integers(0, 30))
def test_any_configuration_is_one_error_or_what_is_set_is_read_and_comes_back(
    config: Json, servers: list[str], chosen: int
) -> None:
    try:
        scopes = KeaConfig("Kea", config).scopes
    except Garbled:
        return
    fake = Fake(config)
    change = changed(fake, scopes[chosen % len(scopes)].name, tuple(servers))
    asyncio.run(Kea(fake).revert(change))
    undone, former = bare(fake.config), bare(config)
    if undone.get("option-def") != former.get("option-def"):
        # What said it in bytes by name is of that definition now, as far as anybody can tell.
        assert undone.pop("option-def")[:-1] == former.pop("option-def", [])
    assert undone == former


# The ways to it.


def serve(answer: bytes | None, work: Callable[[Socket], Awaitable[Any]], folder: Path, **options: Any) -> Any:
    """What `work` gives, beside a server of a UNIX socket that answers this, or never."""

    async def run() -> Any:
        async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1 << 16)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(answered, folder / "s")
        async with server:
            return await work(Socket(folder / "s", **options))

    return asyncio.run(run())


BAD_ANSWERS: list[tuple[bytes, type[TrustbridgeError], str]] = [
    (b"", Garbled, "what is no JSON"),
    (b"\xff\xfe", Garbled, "what is no JSON"),
    (b'{"result": 0', Garbled, "what is no JSON"),
    (b'{"result": NaN}', Garbled, "what is no JSON"),
    (b"[" * 100_000, Garbled, "what is no JSON"),
    (b"{}", Garbled, "no answer of Kea's"),
    (b"[]", Garbled, "no answer of Kea's"),
    (b'[{"result": 0}, {"result": 0}]', Garbled, "no answer of Kea's"),
    (b'{"result": true}', Garbled, "no answer of Kea's"),
    (b'{"result": "0"}', Garbled, "no answer of Kea's"),
    (b'{"result": 0, "arguments": []}', Garbled, "arguments that are no map"),
    (b'{"result": 1, "text": "because"}', Refused, "refuses config-get: because"),
    (b'{"result": 1, "text": 3}', Refused, "refuses config-get$"),
    (b'{"result": 4}', Refused, "refuses config-get"),
    (b'{"result": 2, "text": "unknown"}', NotSupported, "does not know config-get: unknown"),
]


@pytest.mark.parametrize(("answer", "kind", "words"), BAD_ANSWERS)
def test_a_bad_answer_is_one_error(tmp_path: Path, answer: bytes, kind: type[TrustbridgeError], words: str) -> None:
    with pytest.raises(kind, match=words) as raised:
        serve(answer, lambda socket: socket.ask("config-get"), tmp_path)
    assert raised.type is kind
    assert str(tmp_path / "s") in raised.value.message


def test_a_good_answer_is_its_arguments(tmp_path: Path) -> None:
    for answer in (b'{"result": 0, "arguments": {"a": 1}}', b'[{"result": 0, "arguments": {"a": 1}}]'):
        assert serve(answer, lambda socket: socket.ask("x", {}), tmp_path) == {"a": 1}
    assert serve(b'{"result": 3}', lambda socket: socket.ask("x"), tmp_path) == {}


def test_nobody_there_or_nobody_who_answers_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreachable, match="No such file"):
        asyncio.run(Socket(tmp_path / "none").ask("config-get"))
    with pytest.raises(Unreachable, match=r"does not answer config-get within 0\.1 s"):
        serve(None, lambda socket: socket.ask("config-get"), tmp_path, timeout=0.1)
    monkeypatch.setattr("trustbridge.dhcp.keacontrol.MAX_ANSWER", 1000)
    with pytest.raises(Garbled, match="more than 1000 bytes"):
        serve(b" " * 1001, lambda socket: socket.ask("config-get"), tmp_path)


def over_http(
    answer: bytes, work: Callable[[int], Awaitable[Any]], context: ssl.SSLContext | None = None
) -> tuple[Any, bytes]:
    """What `work` gives, given the port of a server that answers this, and what it was asked."""
    asked = b""

    async def run() -> Any:
        async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            asked = head + await reader.readexactly(length)
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answered, "127.0.0.1", 0, ssl=context)
        async with server:
            return await work(server.sockets[0].getsockname()[1])

    return asyncio.run(run()), asked


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status.encode(), len(body), body)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        *[(http(answer), kind, words) for answer, kind, words in BAD_ANSWERS],
        (http(b"", "401 Unauthorized"), AuthenticationRefused, "wants a user and a password, other than"),
        (http(b"", "500 Oops"), Garbled, "HTTP status 500"),
        (http(b"", "302 Found"), Garbled, "HTTP status 302"),
        (b"SSH-2.0-x\r\n", Unreachable, "Kea at http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Unreachable, "Kea at http"),
    ],
)
def test_a_bad_answer_over_http_is_one_error(answer: bytes, kind: type[TrustbridgeError], words: str) -> None:
    with pytest.raises(kind, match=words) as raised:
        over_http(answer, lambda port: Agent(f"http://127.0.0.1:{port}", "u", "secret").ask("config-get"))
    assert raised.type is kind
    assert "secret" not in f"{raised.value}{raised.value.hint}"


def test_the_agent_is_asked_as_it_wants_to_be() -> None:
    answer = http(b'[{"result": 0, "arguments": {"a": 1}}]')
    found, asked = over_http(answer, lambda port: Agent(f"http://127.0.0.1:{port}/x", "u", "p").ask("c", {"b": 2}))
    head, _, body = asked.partition(b"\r\n\r\n")
    assert found == {"a": 1}
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
    assert b"authorization: basic dtpw" in head.lower().replace(b"dTpw", b"dtpw")
    assert json.loads(body) == {"command": "c", "arguments": {"b": 2}, "service": ["dhcp4"]}


def test_tls_is_pinned_and_the_password_goes_to_nobody_else(tmp_path: Path) -> None:
    def identity(name: str) -> Identity:
        organisation = Organisation(ou="UC", o="Kea", l="Krakow", st="Malopolska", c="PL")
        now = datetime.now(UTC) - timedelta(days=1)
        return self_signed(
            node=name, unit=Unit.TOMCAT, common_name=name, organisation=organisation, now=now, key="p256"
        )

    def context(name: str) -> ssl.SSLContext:
        made = identity(name)
        (tmp_path / name).write_bytes(made.certificate.pem().encode() + made.key_pem())
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found.load_cert_chain(tmp_path / name)
        return found

    pins = TlsPins(tmp_path / "pins.json")
    ports: list[int] = []

    async def ask(port: int) -> Any:
        ports.append(port)
        return await Agent(f"https://127.0.0.1:{port}", "u", "p", pins).ask("c")

    found, asked = over_http(http(b'{"result": 0, "arguments": {"a": 1}}'), ask, context("kea"))
    assert found == {"a": 1}
    assert b"uthorization" in asked
    kept = json.loads(pins.path.read_text())
    assert list(kept) == [f"127.0.0.1:{ports[0]}"]

    async def ask_another(port: int) -> Any:
        # The same place, as far as pins go, and somebody else there.
        pins.path.write_text(json.dumps({f"127.0.0.1:{port}": kept[f"127.0.0.1:{ports[0]}"]}))
        with pytest.raises(IdentityChanged):
            await Agent(f"https://127.0.0.1:{port}", "u", "p", pins).ask("c")

    _, asked = over_http(http(b'{"result": 0}'), ask_another, context("stranger"))
    assert asked == b""


@pytest.mark.parametrize(
    "url",
    ["", "kea", "ftp://kea", "http://", "http://[", "http://kea:x", "http://u:p@kea", "http://kea/?x=1", "https://kea"],
)
def test_a_url_that_is_none_is_a_wrong_option(url: str) -> None:
    with pytest.raises(SettingsError):
        Agent(url)
    with pytest.raises(SettingsError, match="no colon"):
        Agent("http://kea", "a:b")
