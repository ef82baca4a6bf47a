"""`trustbridge exchange` against running labs: both releases, both methods, kills, undo, many clusters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_cluster import credentials_of, entry_of, secrets_of
from tests.lab import large
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones
from typer.testing import CliRunner, Result

from trustbridge.cli import app
from trustbridge.cli.passwords import PASSWORD_VARIABLE
from trustbridge.lab.cluster import Cluster as LabCluster
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import IMPORT_STORES, UNITS_OF, BulkType, Store, Unit
from trustbridge.settings import load
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile

Held = dict[str, dict[str, set[tuple[Store, Certificate]]]]


def lab(prepared: Prepared, folder: Path, source: str = "12.5", destination: str = "15", **changes: Any) -> LiveLab:
    definition = lab_definition(
        phones(1), source={"release": source, **changes}, destination={"release": destination, **changes}
    )
    return LiveLab(prepared.lab(folder / "lab", definition))


#: Passwords in the environment of each command, which takes them out of its own when it begins.
ENVIRONMENT: dict[str, str] = {}


def known(live: LiveLab) -> None:
    """Name the lab's clusters, and keep their passwords."""
    ENVIRONMENT[PASSWORD_VARIABLE] = live.lab.sftp_password
    state = load().state_folder
    for cluster in live.lab.clusters.values():
        Inventory(state).add(entry_of(cluster), replace=True)
        PasswordFile(state).keep(cluster.name, credentials_of(cluster))


@pytest.fixture
def live(prepared: Prepared, tmp_path: Path) -> Iterator[LiveLab]:
    with lab(prepared, tmp_path) as live:
        known(live)
        yield live


def sftp(live: LiveLab) -> str:
    network = live.lab.definition.network
    return f"bulk@{network.sftp}:{network.sftp_port}/"


def command(*arguments: str) -> Result:
    return CliRunner(env=ENVIRONMENT).invoke(app, ["exchange", *arguments], catch_exceptions=True)


def did(*arguments: str) -> Any:
    """What a command says as JSON, which came to a good end."""
    meant = ("--yes",) if arguments[0] in ("run", "undo") and "--yes" not in arguments else ()
    done = command(*arguments, *meant, "--json")
    assert done.exit_code == 0, (done.stdout, done.stderr, done.exception)
    return json.loads(done.stdout)


def stores(live: LiveLab) -> Held:
    return {
        name: {node: {(store, entry.certificate) for store, entry in held} for node, held in cluster.stores.items()}
        for name, cluster in live.lab.clusters.items()
    }


def own(cluster: LabCluster, kind: BulkType) -> set[Certificate]:
    return {one.certificate for (_, unit), one in cluster.identities.items() if unit in UNITS_OF[kind]}


def expected(live: LiveLab, before: Held, *, capf_trust: bool = True) -> Held:
    """Every store of every node after the exchange, by the table of imports."""
    found: Held = {}
    both = (live.source, live.destination)
    for importer, exporter in (both, both[::-1]):
        added = {
            (store, certificate)
            for kind in BulkType
            for certificate in own(exporter, kind)
            for store in IMPORT_STORES[kind]
        }
        if capf_trust:
            added.add((Store.CAPF_TRUST, exporter.capf.certificate))
        found[importer.name] = {node: held | added for node, held in before[importer.name].items()}
    return found


@pytest.mark.parametrize(
    ("source", "destination", "by"),
    [
        ("12.5", "15", "bulk"),
        ("15", "12.5", "certificates"),
        ("11.5", "14", "bulk"),  # whose bulk does not know ITLRecovery
        ("9.1", "15", "certificates"),  # whose bundles do not go together; and where nodes copy back what is removed
    ],
)
def test_exchanged_and_taken_back(
    prepared: Prepared,
    tmp_path: Path,
    source: str,
    destination: str,
    by: str,
) -> None:
    with lab(prepared, tmp_path, source, destination) as live:
        known(live)
        before = stores(live)
        done = did("run", "source", "destination", "--by", by, "--sftp", sftp(live), "--accept", "TB145")
        assert (done["state"], done["method"]) == ("finished", by)
        assert stores(live) == expected(live, before)
        assert done["added"] == len(done["plan"]["goals"])
        assert all(step["done"] for step in done["steps"])
        again = did("plan", "source", "destination", "--by", by, "--sftp", sftp(live), "--accept", "TB146")
        assert again["steps"] == []
        undone = did("undo", "source-destination")
        assert (undone["state"], undone["added"]) == ("undone", 0)
        assert stores(live) == before


def test_a_plan_changes_nothing_and_says_what_stops_it(live: LiveLab) -> None:
    before = stores(live)
    done = command("plan", "source", "destination", "--sftp", sftp(live))
    assert done.exit_code == 6
    assert "TB145 stop" in done.stdout
    assert "all releases support it" in done.stdout
    refused = command("run", "source", "destination", "--sftp", sftp(live), "--yes")
    assert refused.exit_code == 6 or refused.exception is not None
    assert "--accept TB145" in str(getattr(refused.exception, "hint", refused.stderr))
    dry = command("run", "source", "destination", "--sftp", sftp(live), "--accept", "TB145", "--dry-run")
    assert dry.exit_code == 0
    assert "import: 6 to CallManager-trust" in dry.stdout
    assert stores(live) == before
    assert list(live.lab.exchange_folder.iterdir()) == []
    assert did("status") == []
    for unasked in ((), ("--json",)):
        arguments = ("run", "source", "destination", "--by", "certificates", "--accept", "TB145", *unasked)
        assert "--yes" in str(getattr(command(*arguments).exception, "hint", ""))
    assert did("status") == []
    assert stores(live) == before


def test_bundles_of_an_earlier_try_stop_it(live: LiveLab) -> None:
    (live.lab.exchange_folder / "source_src-pub_tftp.p12").write_bytes(b"old")
    done = command("plan", "source", "destination", "--sftp", sftp(live), "--accept", "TB145")
    assert done.exit_code == 6
    assert "TB146 stop" in done.stdout
    assert "source_src-pub_tftp.p12" in done.stdout


def test_a_certificate_of_the_name_that_makes_way_comes_back_with_undo(live: LiveLab) -> None:
    name = live.destination.identity("dst-pub", Unit.CALLMANAGER).certificate.common_name
    old = self_signed(
        node="dst-pub",
        unit=Unit.CALLMANAGER,
        common_name=name,
        organisation=Organisation(ou="UC", o="Before", l="Krakow", st="Malopolska", c="PL"),
        now=datetime.now(UTC) - timedelta(days=600),
        key="p256",
    ).certificate
    live.call(lambda: live.source.upload_trust(Store.PHONE_SAST_TRUST, old))
    before = stores(live)
    arguments = ("source", "destination", "--sftp", sftp(live), "--accept", "TB145")
    stopped = command("plan", *arguments)
    assert stopped.exit_code == 6
    assert "would be replaced" in stopped.stdout.replace("\n", " ").replace("  ", " ")
    did("run", *arguments, "--accept", "TB140")
    assert not live.source.stores["src-sub1"].holding(old)
    did("undo", "source-destination")
    assert stores(live) == before


def started(state: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trustbridge", "exchange", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT, "XDG_STATE_HOME": str(state)},
    )


@pytest.mark.parametrize("moment", ["step began", "export", "before", "import", "upload"])
def test_killed_and_run_again(live: LiveLab, moment: str) -> None:
    """SIGKILL as soon as the journal tells of a moment; run again, it goes on and does nothing twice."""
    before = stores(live)
    arguments = ("run", "source", "destination", "--sftp", sftp(live), "--accept", "TB145", "--yes")
    process = started(Path(os.environ["XDG_STATE_HOME"]), *arguments)
    journal = load().state_folder / "exchanges" / "source-destination" / "journal.jsonl"
    needle = f'"event": "{moment}"' if moment in ("step began", "before") else f'"step": "{moment} '
    deadline = time.monotonic() + 60
    while not (journal.exists() and needle in journal.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert did("status", "source-destination")["state"] == "under way or interrupted"
    done = did(*arguments[:-1])
    assert done["name"] == "source-destination"
    assert done["state"] == "finished"
    assert stores(live) == expected(live, before)
    did("undo", "source-destination")
    assert stores(live) == before


def test_an_exchange_cut_off_half_way_can_be_undone(live: LiveLab) -> None:
    before = stores(live)
    arguments = ("run", "source", "destination", "--by", "certificates", "--accept", "TB145", "--yes")
    process = started(Path(os.environ["XDG_STATE_HOME"]), *arguments)
    deadline = time.monotonic() + 60
    while stores(live) == before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert stores(live) != expected(live, before)
    assert did("undo", "source-destination")["state"] == "undone"
    assert stores(live) == before


def test_no_secret_is_in_the_record_or_in_what_is_shown(live: LiveLab) -> None:
    arguments = ("source", "destination", "--sftp", sftp(live), "--accept", "TB145")
    shown = [command("plan", *arguments), command("run", *arguments, "--yes")]
    shown += [command("status", "source-destination"), command("undo", "source-destination", "--yes")]
    assert [one.exit_code for one in shown] == [0, 0, 0, 0]
    texts = [one.stdout + one.stderr for one in shown]
    texts += [path.read_text() for path in (load().state_folder / "exchanges").rglob("*.json*")]
    for secret in secrets_of(live):
        assert not [text for text in texts if secret in text]
        assert not [text for text in texts if "PRIVATE KEY" in text]


@pytest.fixture
def many(tmp_path: Path) -> Iterator[LiveLab]:
    """Four clusters of two nodes, 12.5 and 15 in turn."""
    with LiveLab(large.make(tmp_path / "lab", large.definition(4, 2))) as live:
        known(live)
        yield live


def trusting(live: LiveLab) -> set[tuple[str, str]]:
    """(importer, exporter) wherever each node of a cluster trusts all CallManager certificates of another one."""
    clusters = live.lab.clusters
    return {
        (importer, exporter)
        for importer in clusters
        for exporter in clusters
        if importer != exporter
        and all(
            (Store.PHONE_SAST_TRUST, certificate) in held
            for held in stores(live)[importer].values()
            for certificate in own(clusters[exporter], BulkType.TFTP)
        )
    }


def test_merging_clusters_into_one_makes_none_of_the_others_trust_each_other(many: LiveLab) -> None:
    before = stores(many)
    done = did("run", "c1", "c2", "c3", "c4", "--into", "c4", "--sftp", sftp(many), "--accept", "TB145")
    assert done["method"] == "certificates"
    assert done["name"] == "c1-and-3-more"
    assert trusting(many) == {(name, "c4") for name in ("c1", "c2", "c3")} | {
        ("c4", name) for name in ("c1", "c2", "c3")
    }
    did("undo", "c1-and-3-more")
    assert stores(many) == before


def test_all_pairs_of_many_clusters_in_one_bulk_exchange(many: LiveLab) -> None:
    before = stores(many)
    names = ("c1", "c2", "c3", "c4")
    done = did("run", *names, "--sftp", sftp(many), "--accept", "TB145", "--name", "all-four")
    assert (done["name"], done["method"]) == ("all-four", "bulk")
    assert trusting(many) == {(one, other) for one in names for other in names if one != other}
    did("undo", "all-four")
    assert stores(many) == before
