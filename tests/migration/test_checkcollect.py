"""How a TVS is tried with TLS 1.0, and what becomes of a cluster that answers only partly."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, cast

import pytest
from tests.migration.proofstage import NEW, NOW, OLD, Stage
from tests.migration.test_proofcollect import DOWN, Fake

from trustbridge.clients.tls import TlsIdentity, client_context
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import PhoneInfo, RegistrationInfo, ServiceStatus, TrustedCertificate
from trustbridge.errors import AuthenticationRefused
from trustbridge.migration import checkcollect
from trustbridge.migration.checkcollect import observe, try_old_tls
from trustbridge.migration.checkseen import Observed, OldTls
from trustbridge.pki.units import Store, Unit
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


# A cluster that answers only partly.


class Whole(Fake):
    """With what else a check asks a cluster; `broken` as there."""

    models: tuple[str, ...] = ("Cisco 8841", "Cisco 7965")
    since = NOW

    async def fips(self) -> bool | None:
        self._check("fips")
        return False

    async def phones(self) -> AsyncIterator[PhoneInfo]:
        self._check("phones")
        for number, model in enumerate(self.models):
            yield PhoneInfo(f"SEP{number:012X}", model)

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        return {}

    async def services(self, node: str) -> tuple[ServiceStatus, ...]:
        self._check("services", node)
        return (ServiceStatus(node, "Cisco Tftp", True, self.since),)

    async def trusted(self, node: str, store: Store | None = None) -> tuple[TrustedCertificate, ...]:
        if store is not None:
            return await super().trusted(node, store)
        self._check("stores", node)
        held = self._staged.stores[node]
        return tuple(TrustedCertificate(node, place, one) for place, found in held.items() for one in found)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> tuple[Whole, Whole]:
    """No TVS of theirs answers, and no node of theirs serves files of phones."""
    stage = Stage.exchanged()

    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr("trustbridge.migration.phonecollect.over_http", nothing)
    return Whole(stage, OLD), Whole(stage, NEW)


def observed(pair: tuple[Whole, Whole], **options: Any) -> Observed:
    source, destination = (cast(Cluster, one) for one in pair)
    return asyncio.run(observe(source, destination, patience=5.0, **options))


def gaps(seen: Observed) -> set[tuple[str, str, bool]]:
    return {(gap.where, gap.what, gap.essential) for gap in seen.gaps}


def test_all_of_it(pair: tuple[Whole, Whole]) -> None:
    steps: list[str] = []
    seen = observed(pair, pages=False, progress=lambda what, done, total: steps.append(what))
    assert (seen.source, seen.destination, seen.pages) == (OLD, NEW, False)
    assert set(seen.surveys or ()) == {OLD, NEW}
    assert set(seen.services) == {(OLD, "old-pub"), (OLD, "old-sub"), (NEW, "new-pub"), (NEW, "new-sub")}
    assert [phone.model for phone in seen.phones or ()] == ["CP-8841", "CP-7965"]
    assert set(seen.devices or ()) == {"SEP000000000000", "SEP000000000001"}
    # Nobody listens there: that is no evidence about TLS, and it is told.
    assert {node: one.accepted for node, one in seen.old_tls.items()} == {"old-pub": None, "old-sub": None}
    assert gaps(seen) == {(f"{OLD}/old-{node}", "TLS 1.0 at its TVS, for old models", False) for node in ("pub", "sub")}
    assert f"services of {NEW}/new-sub" in steps
    assert f"phones of {NEW}" in steps
    pair[0].models = ("Cisco 8841",)
    assert observed(pair, pages=False).old_tls == {}


@pytest.mark.parametrize(
    ("broken", "gap", "unknown"),
    [
        ("phones", (OLD, "phones", True), "phones"),
        ("fips", (OLD, "certificates for an exchange", False), "surveys"),
        (("services", "old-sub"), (f"{OLD}/old-sub", "services", False), None),
    ],
)
def test_what_a_cluster_does_not_tell_is_a_gap(
    pair: tuple[Whole, Whole], broken: Any, gap: tuple[str, str, bool], unknown: str | None
) -> None:
    pair[0].models = pair[1].models = ("Cisco 8841",)
    pair[0].broken[broken] = DOWN
    seen = observed(pair, pages=False)
    assert gaps(seen) == {gap}
    assert DOWN.message in seen.gaps[0].why
    if unknown is not None:
        assert getattr(seen, unknown) is None
    pair[1].broken["phones"] = DOWN
    assert observed(pair, pages=False).devices is None


def test_what_was_read_for_the_proof_is_not_read_again(
    pair: tuple[Whole, Whole], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    identities = Whole.identities

    async def counted(cluster: Whole, node: str) -> Any:
        asked[node] += 1
        return await identities(cluster, node)

    monkeypatch.setattr(Whole, "identities", counted)
    seen = observed(pair, pages=False)
    assert asked == Counter(["old-pub", "old-sub", "new-pub", "new-sub"])
    assert seen.surveys is not None
    for name, found in seen.surveys.items():
        assert {one.certificate for one in found.identities} == {
            one.certificate for one in seen.trust.clusters[name].identities
        }
    # One that could not be read then is asked once more: another way may be open by now.
    pair[0].broken["identities", "old-sub"] = DOWN
    asked.clear()
    assert observed(pair, pages=False).surveys is None
    assert asked["old-sub"] == 2
    assert asked["old-pub"] == 1


class Loaded(Whole):
    """Whose devices are to load these."""

    loads: tuple[str, ...] = ()

    async def phones(self) -> AsyncIterator[PhoneInfo]:
        for number, load in enumerate(self.loads):
            yield PhoneInfo(f"SEP{number:012X}", "Cisco 8841", load=load)


def test_firmware_is_looked_for_on_each_tftp_node(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"new-pub": {"new.loads"}, "new-sub": set()}
    asked: Counter[tuple[str, str]] = Counter()

    async def over(entry: Any, node: str, host: str, name: str, patience: Any) -> bytes | None:
        if name.endswith(".sgn"):
            return None
        asked[node, name] += 1
        if name == "dark.loads":
            raise DOWN
        return b"" if name in there[node] else None

    for place in ("phonecollect.over_http", "firmware.over_http", "firmware.over_tftp"):
        monkeypatch.setattr(f"trustbridge.migration.{place}", over)
    stage = Stage.exchanged()
    clusters = (Loaded(stage, OLD), Loaded(stage, NEW))
    clusters[0].loads = ("x", "x", "x")
    clusters[1].loads = ("new", "dark", "", "of nobody that comes")
    seen = observed(clusters, pages=False)
    assert seen.firmware == {"new": {"new-pub": True, "new-sub": False}}
    assert asked["new-sub", "new.loads"] == 2  # over HTTP, and over TFTP
    assert {gap.where for gap in seen.gaps if gap.what == "whether it has the firmware dark"} == {
        f"{NEW}/new-pub",
        f"{NEW}/new-sub",
    }
    monkeypatch.setattr(checkcollect, "_LOADS", 1)
    assert any("1 that most phones" in gap.why for gap in observed(clusters, pages=False).gaps)


def test_services_that_do_not_tell_since_when(pair: tuple[Whole, Whole]) -> None:
    pair[0].models = ("Cisco 8841",)
    pair[1].since = None  # type: ignore[assignment]  # as the command line tells it
    assert gaps(observed(pair, pages=False)) == {
        (f"{NEW}/new-{node}", "when its services started", False) for node in ("pub", "sub")
    }


@pytest.mark.parametrize("broken", ["phones", "fips", ("services", "old-sub")])
def test_a_password_that_is_refused_ends_it(pair: tuple[Whole, Whole], broken: Any) -> None:
    pair[0].broken[broken] = AuthenticationRefused("wrong")
    with pytest.raises(AuthenticationRefused):
        observed(pair, pages=False)
