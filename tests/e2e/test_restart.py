"""A lab that stops and starts again is the same lab: keys, lists, stores, option 150, and phones where they were."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.e2e.site import DESTINATION, SOURCE, Site
from tests.lab.prepared import ENCRYPTED, phones, refusals

from trustbridge.errors import ConsolidationStale
from trustbridge.pki.units import BulkType, Store, Unit

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_changes_while_a_lab_is_down(site: Site) -> None:
    with site.up(phones(2), phones(1, security=ENCRYPTED), exchanged=True) as live:
        live.boot()
        live.point_at(DESTINATION)
        live.boot(live.phones[0], live.phones[2])
        live.call(lambda: live.source.set_prepare_for_rollback(True))
        assert live.whereabouts() == [DESTINATION, SOURCE, DESTINATION]
        option150 = live.lab.option150
    before = files(site.folder)
    with site.up() as live:
        assert files(site.folder) == before
        assert live.lab.option150 == option150
        assert live.source.state.prepare_for_rollback
        assert not live.destination.state.prepare_for_rollback
        assert live.whereabouts() == [None, None, None]  # nobody is registered before it has started
        outcomes = live.boot(live.phones[0], live.phones[2])
        assert refusals(outcomes) == {None}
        assert {outcome.updated for outcome in outcomes} == {frozenset()}  # they had it all
        assert live.whereabouts() == [DESTINATION, None, DESTINATION]
        assert live.phones[2].registered_with is not None
        assert live.phones[2].registered_with.secure
    assert files(site.folder) == before


def test_an_exchange_survives_and_its_server_keeps_its_key(site: Site) -> None:
    with site.up(phones(1)) as live:
        live.boot()
        live.exchange()
        host_key = (site.folder / "sftp" / "host_key").read_bytes()
        vouched = {node: len(live.source.vouch_index(node)) for node in ("src-pub", "src-sub1")}
    with site.up() as live:
        assert (site.folder / "sftp" / "host_key").read_bytes() == host_key
        assert {node: len(live.source.vouch_index(node)) for node in vouched} == vouched
        there = live.do(live.source.list_exchange())  # the pinned key, the saved password
        assert there.clusters == (DESTINATION, SOURCE)
        assert not any(item.stale for item in there.consolidations.values())
        capf = live.source.capf.certificate
        assert Store.CAPF_TRUST in live.destination.stores["dst-sub1"].holding(capf)
        live.point_at(DESTINATION)
        live.boot()
        assert live.whereabouts() == [DESTINATION]


def test_a_renewed_certificate_makes_the_consolidation_stale_until_it_is_exported(site: Site) -> None:
    with site.up(phones(1)) as live:
        live.exchange()
    renewed = site.renew(SOURCE, "src-pub", Unit.TOMCAT)
    with site.up() as live:

        async def again() -> None:
            await live.source.export((BulkType.TOMCAT,))
            with pytest.raises(ConsolidationStale):
                await live.destination.import_((BulkType.TOMCAT,))
            await live.destination.consolidate((BulkType.TOMCAT,))
            await live.destination.import_((BulkType.TOMCAT,))

        live.do(again())
        for stores in live.destination.stores.values():
            assert stores.holding(renewed) == (Store.TOMCAT_TRUST,)


def test_a_lab_may_be_stopped_and_started_many_times_in_one_process(site: Site) -> None:
    with site.up(phones(1)) as live:
        lab = live.lab

    async def scenario() -> set[str | None]:
        found = set()
        for _ in range(3):
            async with lab.running():
                await lab.boot(lab.fleet.phones.values())
                found.add(lab.cluster_of(next(iter(lab.fleet.phones.values()))))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return found

    assert asyncio.run(scenario()) == {SOURCE}
