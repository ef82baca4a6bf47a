"""What is seen for a proof, from clusters that answer, answer partly, or not at all; and how one TVS is asked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.migration.proofstage import NEW, NOW, OLD, PAIR, Stage

from trustbridge.clients.ask import ask_tvs
from trustbridge.clients.tls import TlsIdentity
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import (
    CallManagerGroup,
    ClusterEntry,
    Interface,
    NodeIdentity,
    NodeInfo,
    Release,
    TrustedCertificate,
    TrustListFileInfo,
    TvsCertificate,
)
from trustbridge.errors import AuthenticationRefused, IdentityChanged, SettingsError, TrustbridgeError, Unreachable
from trustbridge.migration import proofcollect
from trustbridge.migration.proof import Verdict, prove
from trustbridge.migration.proofcollect import ask_one, collect
from trustbridge.migration.proofseen import Answer, Failure, NodeSeen, Observations, Signer
from trustbridge.pki.units import Store, Unit
from trustbridge.services.tvs import start_tvs
from trustbridge.trust.vouch import VouchIndex
from trustbridge.wire.tvs import decode, encode

DOWN = Unreachable("nobody answers there", "start it")


class Fake:
    """A cluster of a stage behind the driver's facade; `broken` names what raises: a method, or (method, node)."""

    def __init__(self, stage: Stage, name: str, port: int = 1) -> None:
        self._staged = stage.clusters[name]
        self.name = name
        self.entry = ClusterEntry(name, "127.0.0.1", "os", "app", tvs_port=port)
        self.broken: dict[Any, TrustbridgeError] = {}
        self.group_members: tuple[str, ...] = self._staged.nodes
        self.read: list[tuple[str, Store]] = []

    def _check(self, method: str, node: str | None = None) -> None:
        error = self.broken.get(method) or self.broken.get((method, node))
        if error is not None:
            raise error

    def host(self, node: NodeInfo) -> str:
        return "127.0.0.1"

    async def nodes(self) -> tuple[NodeInfo, ...]:
        self._check("nodes")
        staged = self._staged
        return tuple(NodeInfo(node, f"192.0.2.{at}", node == staged.publisher) for at, node in enumerate(staged.nodes))

    async def release(self) -> Release:
        self._check("release")
        return Release.parse("15.0.1")

    async def groups(self) -> tuple[CallManagerGroup, ...]:
        self._check("groups")
        return (CallManagerGroup("Default", self.group_members),)

    async def security_mode(self) -> str:
        self._check("security_mode")
        return "mixed" if self._staged.mixed else "non-secure"

    async def prepare_for_rollback(self) -> bool:
        self._check("prepare_for_rollback")
        return False

    async def trust_list_files(self, node: str) -> tuple[TrustListFileInfo, ...]:
        self._check("trust_list_files", node)
        return tuple(
            TrustListFileInfo(node, name, content)
            for (owner, name), content in self._staged.files.items()
            if owner == node
        )

    async def identities(self, node: str) -> tuple[NodeIdentity, ...]:
        self._check("identities", node)
        return tuple(
            NodeIdentity(node, unit, one.certificate)
            for (owner, unit), one in self._staged.identities.items()
            if owner == node
        )

    async def trusted(self, node: str, store: Store) -> tuple[TrustedCertificate, ...]:
        self._check("trusted", node)
        self.read.append((node, store))
        return tuple(TrustedCertificate(node, store, one) for one in self._staged.stores[node][store])

    async def tvs_certificates(self) -> tuple[TvsCertificate, ...]:
        self._check("tvs_certificates")
        return self._staged.seen().listed or ()

    def ways(self) -> tuple[tuple[str, Interface], ...]:
        return (("groups", Interface.AXL),)

    def detours(self) -> tuple[str, ...]:
        return ()


@pytest.fixture
def stage() -> Stage:
    return Stage.exchanged()


@pytest.fixture
def fakes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    """Both clusters; their TVS answer as their stores have it."""
    made = {name: Fake(stage, name) for name in PAIR}

    async def answered(asking: str, node: NodeSeen, port: int, signer: Signer, **_: object) -> Answer:
        answers = stage.clusters[asking].answers(stage.clusters[signer.cluster].seen())
        return next(one for one in answers if (one.node, one.signer) == (node.name, signer.key))

    monkeypatch.setattr(proofcollect, "ask_one", answered)
    return made


def collected(fakes: dict[str, Fake], **options: Any) -> Observations:
    return asyncio.run(collect(cast(dict[str, Cluster], fakes), [PAIR], **options))


def test_all_that_is_seen_is_proven(fakes: dict[str, Fake]) -> None:
    steps: list[tuple[str, int, int]] = []
    observed = collected(fakes, emcc=True, progress=lambda *step: steps.append(step))
    proof = prove(observed, NOW)
    assert proof.holds is True, (proof.findings, proof.gaps)
    assert steps[-1][1] == steps[-1][2] > 20
    assert any("TVS of old/old-sub" in what for what, _, _ in steps)
    assert observed.clusters[OLD].ways == (("groups", Interface.AXL),)
    assert set(fakes[OLD].read) == {
        (node, store)
        for node in ("old-pub", "old-sub")
        for store in (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST, Store.CAPF_TRUST, Store.TOMCAT_TRUST)
    }


def test_quick_reads_stores_only_where_a_tvs_did_not_answer_well(stage: Stage, fakes: dict[str, Fake]) -> None:
    collected(fakes, deep=False)
    assert fakes[OLD].read == fakes[NEW].read == []
    stage.old.cache["old-sub"] = Stage.strangers().old.stores["old-sub"]
    proof = prove(collected(fakes, deep=False), NOW)
    assert {node for node, _ in fakes[OLD].read} == {"old-pub", "old-sub"}
    assert fakes[NEW].read == []
    assert [one.id for one in proof.findings] == ["TB103"]


@pytest.mark.parametrize(
    ("members", "asked", "essential"),
    [
        (("OLD-PUB", "old-sub"), ("old-pub", "old-sub"), 0),
        (("192.0.2.1",), ("old-sub",), 0),
        (("old-sub.example.com",), ("old-sub",), 0),
        (("old-sub", "gone"), ("old-sub",), 1),
    ],
)
def test_members_of_groups_are_nodes_by_name_or_address(
    fakes: dict[str, Fake], members: tuple[str, ...], asked: tuple[str, ...], essential: int
) -> None:
    fakes[OLD].group_members = members
    observed = collected(fakes)
    assert observed.clusters[OLD].asked == asked
    assert sum(gap.essential for gap in observed.gaps) == essential


@pytest.mark.parametrize(
    ("broken", "essential", "holds"),
    [
        ("release", False, True),
        ("groups", False, True),
        ("security_mode", False, True),
        ("prepare_for_rollback", False, True),
        ("tvs_certificates", False, True),
        (("identities", "old-sub"), False, True),
        (("trusted", "old-sub"), False, True),
        (("trust_list_files", "old-sub"), True, None),
    ],
)
def test_what_one_interface_or_node_does_not_tell_hides_nothing_else(
    fakes: dict[str, Fake], broken: Any, essential: bool, holds: bool | None
) -> None:
    fakes[OLD].broken[broken] = DOWN
    proof = prove(collected(fakes), NOW)
    (gap, *more) = [one for one in proof.gaps if one.essential or "CAPF" not in one.what]
    assert not more
    assert (gap.cluster, gap.essential) == (OLD, essential)
    assert "Nobody answers there. Start it" in gap.why
    assert proof.holds is holds
    assert [cell.verdict for one in proof.directions for cell in one.cells] == [Verdict.YES] * 4


def test_no_trust_list_anywhere_is_said(stage: Stage, fakes: dict[str, Fake]) -> None:
    stage.new.files = dict.fromkeys(stage.new.files)
    proof = prove(collected(fakes), NOW)
    assert any("does Cisco Tftp run anywhere" in gap.why for gap in proof.gaps)
    assert proof.holds is None


def test_a_changed_identity_is_no_proof_and_a_refused_password_ends_it(fakes: dict[str, Fake]) -> None:
    fakes[NEW].broken["trusted", "new-sub"] = IdentityChanged("the certificate has changed")
    assert prove(collected(fakes), NOW).holds is None
    fakes[NEW].broken["trusted", "new-sub"] = AuthenticationRefused("no such password")
    with pytest.raises(AuthenticationRefused):
        collected(fakes)
    fakes[NEW].broken = {"nodes": SettingsError("there is no password")}
    with pytest.raises(SettingsError):
        collected(fakes)


# One question.


def asked(stage: Stage, adjust: Callable[[ssl.SSLContext], None] = lambda context: None, *, tls: bool = True) -> Answer:
    """A question about the new cluster's signer, to a service that talks as `adjust` has it; without TLS it says so."""
    (signer,) = stage.new.seen().signers()
    own = stage.old.identities["old-pub", Unit.TVS]
    index = VouchIndex.from_stores((store, one) for store, held in stage.old.stores["old-pub"].items() for one in held)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            if not tls:
                writer.write(b"SSH-2.0-nothing of the kind\r\n")
                await writer.drain()
                await reader.read(1000)
            else:
                head = await reader.readexactly(10)
                request = head + await reader.readexactly(int.from_bytes(head[8:]))
                writer.write(encode(index.answer(decode(request))))
                await writer.drain()
                await reader.read()
        writer.close()

    async def scenario() -> Answer:
        context = TlsIdentity((own.certificate,), own.private_key).server_context(legacy=True)
        adjust(context)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if tls else None)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await ask_one(OLD, NodeSeen("old-pub", "127.0.0.1", True), port, signer, session=1000, patience=5)

    return asyncio.run(scenario())


def old_tls(context: ssl.SSLContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = ssl.TLSVersion.TLSv1_1


def test_a_tvs_is_asked_as_a_phone_does() -> None:
    stage = Stage.exchanged()
    answer = asked(stage)
    assert (answer.failure, answer.valid, answer.roles, answer.time_to_live) == (None, True, (0, 3), 86400)
    assert answer.returned == stage.new.recovery
    assert answer.presented == stage.old.certificate("old-pub", Unit.TVS)
    assert answer.tls_version == "TLSv1.3"


def test_a_tvs_that_speaks_only_old_tls_is_asked_in_it() -> None:
    answer = asked(Stage.exchanged(), old_tls)
    assert (answer.failure, answer.valid, answer.tls_version) == (None, True, "TLSv1.1")


def test_no_common_tls_version_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage.exchanged()
    own, (signer,) = stage.old.identities["old-pub", Unit.TVS], stage.new.seen().signers()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE
    ours.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        ours.minimum_version = ours.maximum_version = ssl.TLSVersion.TLSv1_1
    monkeypatch.setattr(
        proofcollect, "ask_tvs", lambda *arguments, **options: ask_tvs(*arguments, **(options | {"tls_context": ours}))
    )

    async def scenario() -> Answer:
        server = await start_tvs(VouchIndex({}).answer, TlsIdentity((own.certificate,), own.private_key), port=0)
        host, port = server.address
        answer = await ask_one(OLD, NodeSeen("old-pub", host, True), port, signer, session=1000, patience=5)
        await server.stop()
        return answer

    answer = asyncio.run(scenario())
    assert (answer.failure, answer.presented) == (Failure.TLS_VERSION, None)
    assert "protocol version" in answer.words


def test_what_is_no_tvs_and_what_is_not_there() -> None:
    stage = Stage.exchanged()
    answer = asked(stage, tls=False)
    assert answer.failure is Failure.NO_SENSE
    assert "wrong version number" in answer.words
    (signer,) = stage.new.seen().signers()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        node = NodeSeen("old-pub", "127.0.0.1", True)
        answer = asyncio.run(ask_one(OLD, node, taken.getsockname()[1], signer, session=1000, patience=5))
    assert answer.failure is Failure.UNREACHABLE
    assert "started there?" in answer.words
