"""`trustbridge check` against a lab of two releases, 12.5 and 15, with one defect planted at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.site import DESTINATION, SOURCE, Site
from tests.e2e.test_verify import credentials_of, entry_of
from tests.lab.prepared import TVS, LiveLab, phones
from typer.testing import CliRunner

from trustbridge.cli import app
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials
from trustbridge.lab.cluster import Cluster as LabCluster
from trustbridge.lab.definition import GroupDefinition
from trustbridge.migration.check import Checked, check
from trustbridge.migration.checkcollect import observe
from trustbridge.migration.checkseen import Observed
from trustbridge.migration.findings import Finding, Severity
from trustbridge.pki.units import Store
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.trust.events import Kept

RELEASES: dict[str, Any] = {SOURCE: {"release": "12.5"}, DESTINATION: {"release": "15"}}


def seen_of(live: LiveLab, state: Path, *, without_app: bool = False, **options: Any) -> Observed:
    """What is observed, in a loop of its own beside the lab's."""

    def known(held: LabCluster) -> Credentials:
        whole = credentials_of(held)
        return Credentials(os=whole.os) if without_app else whole

    async def observed() -> Observed:
        async with AsyncExitStack() as stack:
            source, destination = [
                await stack.enter_async_context(Cluster.open(entry_of(held), known(held), state=state))
                for held in (live.source, live.destination)
            ]
            return await observe(source, destination, page_port=live.lab.ports.web, patience=2.0, **options)

    return asyncio.run(observed())


def checked(live: LiveLab, state: Path, **options: Any) -> Checked:
    return check(seen_of(live, state, **options), datetime.now(UTC))


def stops(found: Checked) -> set[tuple[str, str]]:
    return {(one.id, one.subject) for one in found.of(Severity.STOP)}


def the(found: Checked, kind: str) -> Finding:
    (one,) = [one for one in found.findings if one.id == kind]
    return one


@pytest.fixture
def exchanged(site: Site) -> Iterator[LiveLab]:
    with site.up(phones(3), exchanged=True, **RELEASES) as live:
        live.boot()
        yield live


class Shell:
    """`trustbridge check` with a state folder of its own."""

    def __init__(self, live: LiveLab, state: Path) -> None:
        self._environment = {"TRUSTBRIDGE_STATE_FOLDER": str(state)}
        self._port = str(live.lab.ports.web)
        for held in live.lab.clusters.values():
            Inventory(state).add(entry_of(held))
            PasswordFile(state).keep(held.name, credentials_of(held))

    def __call__(self, *arguments: str, code: int = 0) -> str:
        wanted = ["check", SOURCE, DESTINATION, "--page-port", self._port, *arguments]
        result = CliRunner().invoke(app, wanted, env=self._environment)
        assert result.exit_code == code, result.output
        return result.stdout


def test_two_clusters_in_order_have_nothing_that_stops(exchanged: LiveLab, tmp_path: Path) -> None:
    seen = seen_of(exchanged, tmp_path, emcc=True)
    found = check(seen, datetime.now(UTC))
    assert found.ready, (found.findings, found.unknowns)
    assert {one.id for one in found.findings} == {"TB115", "TB148"}
    assert found.phones == 3
    assert all("of the same device pool" in gap.why for gap in found.unknowns), found.unknowns
    for phone in seen.phones or ():
        assert phone.itl
        assert phone.ctl
        assert phone.group == ("src-sub1", "src-pub")
        assert phone.security_mode == 1
        assert phone.tftp_servers
    assert {name for name, _ in seen.services} == {SOURCE, DESTINATION}
    # From the Control Center or not at all: what was not asked for with a start time is no start time.
    assert all(service.since for services in seen.services.values() for service in services)


def test_before_the_exchange_every_phone_strands(site: Site, tmp_path: Path) -> None:
    with site.up(phones(5), **RELEASES) as live:
        live.boot()
        found = checked(live, tmp_path / "state")
        shell = Shell(live, tmp_path / "shell")
        page = tmp_path / "check.html"
        said = shell("--html", str(page), code=1)
        told = json.loads(shell("--json", code=1))
    assert stops(found) == {("TB101", SOURCE), ("TB170", DESTINATION)}
    names = "SEP001B0C000001, SEP001B0C000002, SEP001B0C000003 and 2 more"
    (first,) = [one for one in found.findings if one.id == "TB101" and one.severity is Severity.STOP]
    assert f"These 5 phones will strand: {names}." in first.consequence
    # Importing will restart phones, which is no hindrance to the move itself.
    assert {one.subject for one in found.of(Severity.NOTE) if one.id == "TB145"} == {SOURCE, DESTINATION}
    assert not found.ready
    words = " ".join(said.split())
    assert f"These 5 phones will strand: {names}." in words
    assert words.endswith(f"{found.sentence} The report is in {page}")
    assert f"These 5 phones will strand: {names}." in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    assert "TB101, TB170" in words
    assert told["ready"] is False
    assert told["counts"]["stop"] == 2
    assert told["findings"][0]["id"] == "TB101"


def test_a_node_that_has_not_replicated_strands_the_phones_that_ask_it_first(site: Site, tmp_path: Path) -> None:
    changes = {name: dict(values) for name, values in RELEASES.items()}
    changes[SOURCE]["groups"] = (
        GroupDefinition(name="Near", members=("src-sub1", "src-pub")),
        GroupDefinition(name="Far", members=("src-pub", "src-sub1")),
    )
    with site.up(phones(2, group="Near"), phones(1, group="Far"), exchanged=True, **changes) as live:
        live.boot()
        signer = live.destination.list_signer("dst-pub").certificate

        def forget() -> None:
            stores = live.source.stores["src-sub1"].copy()
            for store in (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST):
                assert stores.remove(store, signer)
            live.source.stores = live.source.stores | {"src-sub1": stores}
            live.node("src-sub1").refresh()

        live.call(forget)
        found = checked(live, tmp_path)
    assert stops(found) == {("TB102", f"{SOURCE}/src-sub1")}
    consequence = the(found, "TB102").consequence
    assert "These 2 phones will strand: SEP001B0C000001, SEP001B0C000002." in consequence


def test_a_tvs_that_is_down_is_an_essential_unknown_and_strands_nobody_who_has_another(
    exchanged: LiveLab, tmp_path: Path
) -> None:
    exchanged.stop_service("src-sub1", TVS)
    found = checked(exchanged, tmp_path)
    assert not stops(found)
    assert "No phone that was seen strands" in the(found, "TB111").consequence
    assert [gap.what for gap in found.essential] == [f"whether the TVS of src-sub1 vouches for {DESTINATION}"]
    assert not found.ready
    exchanged.stop_service("src-pub", TVS)
    found = checked(exchanged, tmp_path)
    told = [one for one in found.of(Severity.STOP) if one.id == "TB111"]
    assert len(told) == 2
    assert all("These 3 phones will strand" in one.consequence for one in told)


def test_prepared_for_rollback(exchanged: LiveLab, tmp_path: Path) -> None:
    exchanged.call(lambda: exchanged.source.set_prepare_for_rollback(True))
    found = checked(exchanged, tmp_path)
    assert ("TB120", SOURCE) in stops(found)
    assert "These 3 phones will strand" in the(found, "TB120").consequence


def test_what_phones_themselves_tell(site: Site, tmp_path: Path) -> None:
    kinds = [phones(6), phones(1, model="CP-7965"), phones(1, model="CP-7960")]
    with site.up(*kinds, exchanged=True, **RELEASES) as live:
        live.boot(*live.phones[:5], *live.phones[6:])
        names = [phone.name for phone in live.phones]
        foreign = b"a list of another cluster"
        for phone in live.phones[:2]:
            phone.flash.write(Kept.ITL, foreign)
        live.phones[2].flash.erase_trust()
        live.phones[3].tftp_servers = ("192.0.2.99",)
        live.call(lambda: live.destination.remove_devices([names[4]]))
        found = checked(live, tmp_path)
        without = checked(live, tmp_path, pages=False)

    def told(kind: str, severity: Severity, result: Checked = found) -> list[str]:
        return [one.consequence for one in result.findings if (one.id, one.severity) == (kind, severity)]

    (strangers,) = told("TB122", Severity.STOP)
    assert "These 2 phones will strand, unless their ITL is an older one" in strangers
    assert f"{names[0]}, {names[1]}." in strangers
    (blank,) = told("TB122", Severity.NOTE)
    assert f"This phone will trust {DESTINATION} without asking: {names[2]}." in blank
    (elsewhere,) = told("TB150", Severity.WARN)
    assert f"This phone may not follow option 150: {names[3]}." in elsewhere
    (absent,) = told("TB151", Severity.STOP)
    assert f"This phone will not register: {names[4]}." in absent
    (silent,) = told("TB161", Severity.WARN)
    assert f"{names[5]}." in silent
    (old_tls,) = told("TB112", Severity.STOP)
    assert f"This phone will strand: {names[6]}." in old_tls
    (ctl,) = told("TB123", Severity.STOP)
    assert f"{names[7]}." in ctl
    assert {one.id for one in found.of(Severity.STOP)} == {"TB112", "TB122", "TB123", "TB151"}
    # Nothing is told of pages that nobody asked for; that they were not is.
    assert not told("TB122", Severity.STOP, without)
    assert not told("TB161", Severity.WARN, without)
    assert not told("TB150", Severity.WARN, without)
    assert told("TB123", Severity.WARN, without)
    assert any(gap.why == "phone pages were not asked for" for gap in without.unknowns)


def test_without_the_application_user_the_phones_are_an_essential_unknown(exchanged: LiveLab, tmp_path: Path) -> None:
    found = check(seen_of(exchanged, tmp_path, without_app=True), datetime.now(UTC))
    assert not stops(found)
    assert {(gap.where, gap.what) for gap in found.essential} == {(SOURCE, "phones"), (DESTINATION, "phones")}
    assert found.phones is None
    assert not found.ready
