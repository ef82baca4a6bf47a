"""What stands in a prediction's world for what could not be had. The rest is proven against running labs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, cast

import pytest
from tests.trust.arrangements import A, B

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import ClusterEntry, PhoneInfo, ServiceStatus
from trustbridge.errors import AuthenticationRefused, Unreachable
from trustbridge.migration import predictcollect
from trustbridge.migration.predictcollect import _Configurations, _Lists, _more, _servers, _tvs
from trustbridge.migration.predictvalues import Arrival, TftpSeen
from trustbridge.migration.proofseen import Answer, ClusterSeen, Failure, Gap, NodeSeen, ServedFile
from trustbridge.pki.names import certificate_key
from trustbridge.trust.events import Kept

ENTRY = ClusterEntry("new", "cm1", "os", "app")
KNOWS = certificate_key(1, "CN=x")


class Services:
    """A cluster that tells its services alone; None: it does not answer."""

    name = "new"
    entry = ENTRY

    def __init__(self, running: Mapping[str, bool] | None) -> None:
        self._running = running

    async def services(self, node: str) -> tuple[ServiceStatus, ...]:
        if self._running is None:
            raise Unreachable("nobody answers")
        return tuple(ServiceStatus(node, name, running) for name, running in self._running.items())


def cluster(running: Mapping[str, bool] | None = None) -> Cluster:
    return cast(Cluster, Services(running))


def node(name: str, *files: ServedFile, unread: bool = False, publisher: bool = False) -> NodeSeen:
    return NodeSeen(name, f"10.0.0.{name[-1]}", publisher, files=None if unread else files)


ITL = ServedFile("cm", "ITLFile.tlv", b"itl")
CTL = ServedFile("cm", "CTLFile.tlv", b"ctl")


def there(*nodes: NodeSeen) -> ClusterSeen:
    return ClusterSeen("new", "14", nodes, None, ())


def servers(*nodes: NodeSeen, wanted: tuple[str, ...] = (), running: bool | None = True) -> tuple[TftpSeen, ...]:
    gap = Gap("new", "cm1", "trust lists", "no route", essential=True)
    services = None if running is None else {"Cisco Tftp": running}
    return asyncio.run(_servers(cluster(services), there(*nodes), wanted, (gap,)))


def test_option_150_names_two_that_serve_an_itl_subscribers_first() -> None:
    nodes = [node("cm1", ITL, publisher=True), node("cm2"), node("cm3", ITL, CTL), node("cm4", ITL)]
    assert [one.address for one in servers(*nodes)] == ["10.0.0.3", "10.0.0.4"]
    assert [one.address for one in servers(*nodes[:3])] == ["10.0.0.3", "10.0.0.1"]
    first = servers(*nodes)[0]
    assert (first.itl, first.ctl, first.unseen, first.down) == (b"itl", b"ctl", "", False)


def test_servers_are_those_that_somebody_names_in_that_order() -> None:
    nodes = [node("cm1", ITL, publisher=True), node("cm2", ITL)]
    found = servers(*nodes, wanted=("CM1", "10.0.0.2", "192.0.2.7"))
    assert [one.address for one in found] == ["10.0.0.1", "10.0.0.2", "192.0.2.7"]
    assert found[2].unseen == "it is no node of new"


@pytest.mark.parametrize(("running", "down"), [(True, False), (False, True), (None, False)])
def test_a_server_that_was_not_read_is_down_only_on_its_clusters_word(running: bool | None, down: bool) -> None:
    (unread,) = servers(node("cm1", unread=True), wanted=("cm1",), running=running)
    assert (unread.down, unread.unseen) == (down, "no route")
    (empty,) = servers(node("cm1"), wanted=("cm1",), running=running)
    assert (empty.down, empty.unseen) == (down, "")


# Configuration files.


def phone(name: str, profile: str = "plain") -> PhoneInfo:
    return PhoneInfo(name, "Cisco 8841", device_pool="Default", security_profile=profile)


class Files:
    """A TFTP server over HTTP; asked for what it lacks it says so, or does not answer at all."""

    def __init__(self, held: Mapping[str, bytes], silent: bool = False) -> None:
        self.held = held
        self.silent = silent
        self.asked: list[str] = []

    async def get(self, host: str, port: int, name: str, **_: Any) -> bytes | None:
        assert host == "10.0.0.1"
        self.asked.append(name)
        if self.silent:
            raise Unreachable("nobody there")
        return self.held.get(name)


def arrivals(
    monkeypatch: pytest.MonkeyPatch, files: Files, expected: list[PhoneInfo], wanted: set[str] | None = None
) -> dict[str, Arrival]:
    """By name of a phone that the destination knows."""
    monkeypatch.setattr(predictcollect, "http_get", files.get)
    monkeypatch.setattr(predictcollect, "tftp_get", files.get)
    reader = _Configurations(cluster(), (TftpSeen("10.0.0.9", down=True), TftpSeen("10.0.0.1")), 1.0, quiet)
    names = {one.name for one in expected} if wanted is None else wanted
    place_of, found = asyncio.run(reader.of(expected, names))
    return {name: found[place] for name, place in place_of.items()}


def quiet(what: str, done: int, total: int) -> None:
    pass


def test_each_phones_own_file_is_read_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files({"SEP1.cnf.xml.sgn": b"one", "SEP2.cnf.xml.sgn": b"two"})
    found = arrivals(monkeypatch, files, [phone("SEP1"), phone("SEP2"), phone("SEP3")], {"SEP1", "SEP2", "SEP9"})
    assert found == {"SEP1": Arrival(b"one"), "SEP2": Arrival(b"two")}
    assert sorted(files.asked) == ["SEP1.cnf.xml.sgn", "SEP2.cnf.xml.sgn"]


def test_of_many_phones_one_of_a_kind_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictcollect, "EACH", 2)
    files = Files({"SEP2.cnf.xml.sgn": b"plain", "SEP3.cnf.xml.sgn": b"secure"})
    found = arrivals(monkeypatch, files, [phone("SEP1"), phone("SEP2"), phone("SEP3", "secure")])
    assert {name: one.signed for name, one in found.items()} == {"SEP1": b"plain", "SEP2": b"plain", "SEP3": b"secure"}


def test_a_known_phone_without_a_file_is_not_taken_for_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = arrivals(monkeypatch, Files({}), [phone("SEP1")]).values()
    assert found.signed is None
    assert "though the database knows the phone" in found.unseen


def test_a_server_that_does_not_answer_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictcollect, "_FILES_AT_ONCE", 1)
    files = Files({}, silent=True)
    found = arrivals(monkeypatch, files, [phone(f"SEP{number}") for number in range(9)])
    assert {one.unseen for one in found.values()} == {"nobody there"}
    assert files.asked == ["SEP0.cnf.xml.sgn"] * 2  # over HTTP, and over TFTP


# TVS.


def answer(failure: Failure | None = None, **changes: Any) -> Answer:
    return Answer("old", "cm1", "10.0.0.1", 2445, "new", KNOWS, failure=failure, words="no route", **changes)


@pytest.mark.parametrize(
    ("failure", "running", "down"),
    [
        (Failure.UNREACHABLE, False, True),
        (Failure.UNREACHABLE, True, False),
        (Failure.UNREACHABLE, None, False),
        (Failure.NO_SENSE, False, False),
    ],
)
def test_a_tvs_is_down_only_on_its_clusters_word(failure: Failure, running: bool | None, down: bool) -> None:
    services = None if running is None else {"Cisco Trust Verification Service": running}
    asked = _tvs(cluster(services), node("cm1"), [answer(failure)], {}, legacy=False, patience=1.0)
    found = asyncio.run(asked)
    assert (found.down, found.unseen) == (down, "no route")


def test_a_tvs_that_was_not_asked_says_so() -> None:
    found = asyncio.run(_tvs(cluster(), node("cm1"), [], {}, legacy=False, patience=1.0))
    assert (found.down, found.unseen) == (False, "it was not asked")


def test_a_password_that_is_refused_is_not_passed_over() -> None:
    class Refusing(Services):
        async def services(self, node: str) -> tuple[ServiceStatus, ...]:
            raise AuthenticationRefused("wrong password")

    asked = _tvs(
        cast(Cluster, Refusing(None)), node("cm1"), [answer(Failure.UNREACHABLE)], {}, legacy=False, patience=1.0
    )
    with pytest.raises(AuthenticationRefused):
        asyncio.run(asked)


# Trust lists at hand.


def test_lists_are_found_by_every_kind_of_hash() -> None:
    own = (Kept.ITL, A.itl())
    held = _Lists([own, *_more([B.ctl(), B.itl(), b"no trust list"])])
    for kind in ("md5", "sha1", "sha256"):
        assert held.by_hash[hashlib.new(kind, B.ctl()).hexdigest().upper()] == B.ctl()
    assert list(held.others([own])) == [(Kept.CTL, B.ctl()), (Kept.ITL, B.itl()), (Kept.ITL, b"no trust list")]
