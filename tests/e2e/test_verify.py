"""`trustbridge exchange verify` against a lab of two releases, 12.5 and 15, in every state an exchange can be in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.site import DESTINATION, SOURCE, Site
from tests.lab.prepared import TVS, LiveLab
from typer.testing import CliRunner

from trustbridge import atomicfile
from trustbridge.cli import app
from trustbridge.clients.tls import TlsIdentity
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials, Secret
from trustbridge.cucm.model import ClusterEntry
from trustbridge.errors import AuthenticationRefused, TrustbridgeError
from trustbridge.lab.cluster import Cluster as LabCluster
from trustbridge.lab.definition import GroupDefinition
from trustbridge.migration.findings import Severity
from trustbridge.migration.proof import Proof, Verdict, prove
from trustbridge.migration.proofcollect import collect
from trustbridge.pki.units import Store, Unit
from trustbridge.services.tvs import TvsServer
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.trust.vouch import VouchIndex

RELEASES: dict[str, Any] = {SOURCE: {"release": "12.5"}, DESTINATION: {"release": "15"}}
PAIR = (SOURCE, DESTINATION)
#: Seconds a TVS that does not answer is waited for.
PATIENCE = 2.0


def entry_of(cluster: LabCluster) -> ClusterEntry:
    ports, definition = cluster.ports, cluster.definition
    return ClusterEntry(
        name=cluster.name,
        publisher=definition.address(cluster.publisher),
        os_user=cluster.accounts.user("os"),
        app_user=cluster.accounts.user("application"),
        ssh_port=ports.ssh,
        https_port=ports.https,
        tvs_port=ports.tvs,
        http_port=ports.provisioning,
        tftp_port=ports.tftp,
        node_addresses=tuple((node.name, definition.address(node.name)) for node in definition.nodes),
    )


def credentials_of(cluster: LabCluster) -> Credentials:
    return Credentials(*(Secret(cluster.accounts.credentials(realm)[1]) for realm in ("os", "application")))


def secrets_of(live: LiveLab) -> list[str]:
    found = [live.lab.sftp_password]
    for cluster in live.lab.clusters.values():
        found += [cluster.accounts.credentials(realm)[1] for realm in ("os", "application")]
    return found


def proof_of(live: LiveLab, state: Path, credentials: dict[str, Credentials] | None = None, **options: Any) -> Proof:
    """The proof, collected in a loop of its own beside the lab's."""

    async def observed() -> Any:
        async with AsyncExitStack() as stack:
            opened = {}
            for name in PAIR:
                held = live.lab.clusters[name]
                known = (credentials or {}).get(name, credentials_of(held))
                opened[name] = await stack.enter_async_context(Cluster.open(entry_of(held), known, state=state))
            return await collect(opened, [PAIR], patience=PATIENCE, **options)

    return prove(asyncio.run(observed()), datetime.now(UTC))


def ids(proof: Proof, severity: Severity = Severity.STOP) -> set[tuple[str, str]]:
    """(id, subject) of findings."""
    return {(one.id, one.subject) for one in proof.findings if one.severity is severity}


def verdicts(proof: Proof) -> dict[str, Verdict]:
    """By node; every cluster signs with one certificate here."""
    return {cell.node: cell.verdict for direction in proof.directions for cell in direction.cells}


@pytest.fixture
def fresh(site: Site) -> Iterator[LiveLab]:
    with site.up(**RELEASES) as live:
        yield live


@pytest.fixture
def exchanged(site: Site) -> Iterator[LiveLab]:
    with site.up(exchanged=True, **RELEASES) as live:
        yield live


def test_before_the_exchange_nothing_is_proven(fresh: LiveLab, tmp_path: Path) -> None:
    proof = proof_of(fresh, tmp_path)
    assert proof.holds is False
    assert set(verdicts(proof).values()) == {Verdict.NO}
    assert ids(proof) == {("TB101", SOURCE), ("TB170", DESTINATION)}, proof.findings
    assert ("TB101", DESTINATION) in ids(proof, Severity.WARN)
    assert not proof.gaps


def test_after_the_exchange_it_is_proven_both_ways(exchanged: LiveLab, tmp_path: Path) -> None:
    proof = proof_of(exchanged, tmp_path, emcc=True)
    assert proof.holds is True, (proof.findings, proof.gaps)
    assert set(verdicts(proof).values()) == {Verdict.YES}
    assert len(verdicts(proof)) == 4
    assert not proof.gaps
    assert not proof.findings
    for direction in proof.directions:
        (signer,) = direction.signers
        assert signer.of_recovery
        held = exchanged.lab.clusters[direction.vouched]
        assert signer.certificate == held.list_signer(held.publisher).certificate
        for cell in direction.cells:
            assert {"SAST", "TFTP"} == set(cell.roles)
            assert cell.stores == (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST)
            assert cell.listed
    assert len(proof.placements) == 2 * 2 * 6


def test_where_each_tftp_node_signs_its_own_files_every_signer_is_asked_about(site: Site, tmp_path: Path) -> None:
    with site.up(exchanged=True, source={"release": "11.5", "security": "non-secure"}) as live:
        proof = proof_of(live, tmp_path)
        signers = proof.directions[1].signers
        assert {one.certificate for one in signers} == {
            live.source.identity(node, Unit.CALLMANAGER).certificate for node in ("src-pub", "src-sub1")
        }
    assert proof.holds is True, (proof.findings, proof.gaps)
    assert len(proof.directions[1].cells) == 4


def test_only_callmanager_was_exchanged(fresh: LiveLab, tmp_path: Path) -> None:
    for node in ("dst-pub", "dst-sub1"):
        certificate = fresh.destination.identity(node, Unit.CALLMANAGER).certificate
        for store in (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST):
            fresh.call(partial(fresh.source.upload_trust, store, certificate))
    assert ("TB104", SOURCE) in ids(proof_of(fresh, tmp_path))


def test_a_signer_in_callmanager_trust_alone_may_not_sign(fresh: LiveLab, tmp_path: Path) -> None:
    signer = fresh.destination.list_signer("dst-pub").certificate
    fresh.call(lambda: fresh.source.upload_trust(Store.CALLMANAGER_TRUST, signer))
    assert ("TB106", SOURCE) in ids(proof_of(fresh, tmp_path))


def test_a_node_that_has_not_replicated_is_named(exchanged: LiveLab, tmp_path: Path) -> None:
    source, signer = exchanged.source, exchanged.destination.list_signer("dst-pub").certificate

    def forget() -> None:
        stores = source.stores["src-sub1"].copy()
        for store in (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST):
            assert stores.remove(store, signer)
        source.stores = source.stores | {"src-sub1": stores}
        exchanged.node("src-sub1").refresh()

    exchanged.call(forget)
    proof = proof_of(exchanged, tmp_path)
    assert ids(proof) == {("TB102", "source/src-sub1")}, proof.findings
    assert verdicts(proof) == {
        "src-pub": Verdict.YES,
        "src-sub1": Verdict.NO,
        "dst-pub": Verdict.YES,
        "dst-sub1": Verdict.YES,
    }
    quick = proof_of(exchanged, tmp_path, deep=False)
    assert ids(quick) == ids(proof)
    assert quick.directions[0].cell("src-pub", signer.sha256).stores is not None
    assert quick.directions[1].cells[0].stores is None


def old_cache(live: LiveLab, node: str) -> None:
    """TVS of a node answers as before the exchange, whatever the stores say."""
    held = next(cluster for cluster in live.lab.clusters.values() if node in cluster.stores)
    own = [one.certificate for one in held.identities.values()]
    kept = [(store, entry.certificate) for store, entry in held.stores[node] if entry.certificate in own]
    server = live.node(node).services[TVS]
    assert isinstance(server, TvsServer)
    server.set_answer(VouchIndex.from_stores(kept).answer)


def test_a_tvs_with_its_old_cache_wants_a_restart(exchanged: LiveLab, tmp_path: Path) -> None:
    exchanged.call(lambda: old_cache(exchanged, "dst-sub1"))
    proof = proof_of(exchanged, tmp_path)
    assert ids(proof) == {("TB170", DESTINATION)}
    assert ids(proof, Severity.WARN) == {("TB103", "destination/dst-sub1")}
    exchanged.do(exchanged.node("dst-sub1").restart(TVS))
    assert proof_of(exchanged, tmp_path).holds is True


def test_a_tvs_that_is_down_hides_nothing_of_the_others(exchanged: LiveLab, tmp_path: Path) -> None:
    exchanged.stop_service("src-sub1", TVS)
    proof = proof_of(exchanged, tmp_path)
    assert proof.holds is None
    assert ids(proof) == set()
    assert ids(proof, Severity.WARN) == {("TB111", "source/src-sub1")}
    assert [node for node, verdict in verdicts(proof).items() if verdict is not Verdict.YES] == ["src-sub1"]
    exchanged.stop_service("src-pub", TVS)
    proof = proof_of(exchanged, tmp_path)
    assert proof.holds is False
    assert ids(proof) == {("TB111", "source/src-pub"), ("TB111", "source/src-sub1")}


def test_nodes_in_no_group_are_left_out(site: Site, tmp_path: Path) -> None:
    changes = {name: {**values, "groups": None} for name, values in RELEASES.items()}
    changes[SOURCE]["groups"] = (GroupDefinition(name="Default", members=("src-pub",)),)
    del changes[DESTINATION]["groups"]
    with site.up(exchanged=True, **changes) as live:
        live.stop_service("src-sub1", TVS)
        proof = proof_of(live, tmp_path)
    assert proof.holds is True, (proof.findings, proof.gaps)
    assert proof.directions[0].left_out == ("src-sub1",)


def test_without_the_application_user_every_node_is_asked_and_tvs_stands(exchanged: LiveLab, tmp_path: Path) -> None:
    known = {name: Credentials(os=credentials_of(cluster).os) for name, cluster in exchanged.lab.clusters.items()}
    proof = proof_of(exchanged, tmp_path, known)
    assert proof.holds is True, (proof.findings, proof.gaps)
    assert {gap.what for gap in proof.gaps} == {"Unified CM groups", "listTvsCertificate"}
    cell = proof.directions[0].cells[0]
    assert cell.listed is None
    assert any("listTvsCertificate was not read" in words for words in cell.words)


def test_a_signer_that_was_renewed(site: Site, tmp_path: Path) -> None:
    with site.up(exchanged=True, **RELEASES):
        pass
    renewed = site.renew(DESTINATION, "dst-pub", Unit.ITLRECOVERY)
    with site.up() as live:
        proof = proof_of(live, tmp_path, emcc=True)
    assert ids(proof) == {("TB107", SOURCE), ("TB171", "source/src-pub"), ("TB171", "source/src-sub1")}
    assert proof.directions[0].signers[0].certificate == renewed
    assert {one.sha256 for place in proof.placements for one in place.missing} == {renewed.sha256}


def test_a_tvs_certificate_that_was_regenerated(site: Site, tmp_path: Path) -> None:
    with site.up(exchanged=True, **RELEASES) as live:
        old = live.source.identity("src-sub1", Unit.TVS)
    renewed = site.renew(SOURCE, "src-sub1", Unit.TVS)
    with site.up() as live:
        assert proof_of(live, tmp_path).holds is True  # the ITL followed
        # Not restarted: the service still shows what it had before.
        server = live.node("src-sub1").services[TVS]
        assert isinstance(server, TvsServer)
        live.call(lambda: server.set_identity(TlsIdentity((old.certificate,), old.private_key)))
        proof = proof_of(live, tmp_path)
    assert ids(proof) == {("TB110", "source/src-sub1")}
    assert ids(proof, Severity.WARN) == {("TB149", "source/src-sub1")}
    (told,) = [one for one in proof.findings if one.id == "TB149"]
    assert renewed.sha256 in told.evidence
    assert verdicts(proof)["src-sub1"] is Verdict.NO


def test_files_that_do_not_hold_are_no_proof(exchanged: LiveLab, tmp_path: Path) -> None:
    path = exchanged.destination.tftp_folder("dst-sub1") / "ITLFile.tlv"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    atomicfile.write(path, bytes(content))
    proof = proof_of(exchanged, tmp_path)
    assert proof.holds is False
    assert ("TB131", "destination/dst-sub1") in ids(proof)


def test_a_wrong_password_is_one_clear_error(fresh: LiveLab, tmp_path: Path) -> None:
    wrong = Credentials(Secret("a wrong password"), credentials_of(fresh.source).app)
    with pytest.raises(AuthenticationRefused) as caught:
        proof_of(fresh, tmp_path, {SOURCE: wrong})
    assert "a wrong password" not in caught.value.message + caught.value.hint


# The command, as a person runs it.


class Shell:
    """`trustbridge exchange verify` with a state folder of its own; everything it ever said is kept."""

    def __init__(self, live: LiveLab, state: Path) -> None:
        self.said = ""
        self._environment = {"TRUSTBRIDGE_STATE_FOLDER": str(state)}
        for held in live.lab.clusters.values():
            Inventory(state).add(entry_of(held))
            PasswordFile(state).keep(held.name, credentials_of(held))

    def __call__(self, *arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["exchange", "verify", *arguments], env=self._environment)
        error = result.exception
        if error is not None and not isinstance(error, SystemExit | TrustbridgeError):
            raise error
        self.said += result.output + str(error)
        assert (error.exit_code if isinstance(error, TrustbridgeError) else result.exit_code) == code, result.output
        return result.stdout


def test_the_command_and_its_reports(exchanged: LiveLab, tmp_path: Path) -> None:
    shell = Shell(exchanged, tmp_path / "state")
    page = tmp_path / "proof.html"
    said = shell(*PAIR, "--for", "emcc", "--html", str(page))
    words = " ".join(said.split())
    assert "Proven over TVS itself, 4 answers of 4" in words
    assert "source vouches for destination" in words
    assert "Extension Mobility Cross Cluster" in words
    text = page.read_text()
    assert "Proven over TVS itself, 4 answers of 4" in text
    assert page.stat().st_mode & 0o777 == 0o600
    found = json.loads(shell(*PAIR, "--json"))
    assert found["holds"] is True
    assert found["counts"] == {"yes": 4, "no": 0, "unknown": 0}
    signer = exchanged.destination.list_signer("dst-pub").certificate
    assert found["directions"][0]["signers"][0]["sha256"] == signer.sha256
    assert signer.sha256 in text.replace(" ", "")
    for cluster in exchanged.lab.clusters.values():
        for node in ("pub", "sub1"):
            name = f"{'src' if cluster.name == SOURCE else 'dst'}-{node}"
            assert cluster.identity(name, Unit.TVS).certificate.sha256 in text.replace(" ", "")

    exchanged.call(lambda: old_cache(exchanged, "src-sub1"))
    refused = " ".join(shell(*PAIR, "--html", str(page), code=1).split())
    assert "TB103 stop source/src-sub1" in refused
    assert "Restart Cisco Trust Verification Service on the node." in refused
    assert "Do not move phones on this" in refused
    assert "Do not move phones on this" in page.read_text()
    shell(SOURCE, "nobody", code=2)
    assert not [secret for secret in secrets_of(exchanged) if secret in shell.said + page.read_text()]
