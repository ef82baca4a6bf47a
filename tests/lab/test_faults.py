"""Faults that a lab can be given: what each does, that it shows, and that it is over when it is cleared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.prepared import TFTP, TVS, LiveLab, Prepared, lab_definition

from trustbridge.clients.ask import ask_tvs
from trustbridge.errors import SettingsError
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.requests import LabRequests
from trustbridge.pki.units import Store
from trustbridge.services.httpsnode import UNDISTURBED, Disturbance
from trustbridge.wire.tvs import query_request


@pytest.fixture
def live(prepared: Prepared, tmp_path: Path) -> Iterator[LiveLab]:
    with LiveLab(prepared.lab(tmp_path / "lab", lab_definition())) as live:
        yield live


def fault(live: LiveLab, **request: Any) -> Any:
    """What the lab answers to `trustbridge lab fault`."""
    wanted = {name: value for name, value in request.items() if name not in ("node", "cluster", "clear")}
    where = {name: value for name, value in request.items() if name in ("node", "cluster", "clear")}
    return live.do(LabRequests(live.lab)({"do": "fault", "wanted": wanted, **where}, lambda told: None))


def signer(cluster: Cluster) -> Any:
    return cluster.list_signer(cluster.publisher).certificate


def vouches(live: LiveLab, node: str) -> bool:
    """Whether a TVS of the source vouches for who signs the destination's lists."""
    wanted = signer(live.destination)
    request = query_request(1001, "TEST", wanted.subject, wanted.issuer, wanted.serial)
    address = live.source.definition.address(node)
    reply = asyncio.run(ask_tvs(address, live.lab.ports.tvs, request, check_certificate=None))
    return reply.response.valid


def imported(live: LiveLab) -> None:
    live.call(lambda: live.source.upload_trust(Store.PHONE_SAST_TRUST, signer(live.destination)))


def test_a_tvs_that_serves_what_it_knew_until_it_is_restarted(live: LiveLab) -> None:
    assert fault(live, node="src-sub1", freeze_tvs=True) == {"src-sub1": {"tvs": "answers by what it knew"}}
    imported(live)
    assert (vouches(live, "src-pub"), vouches(live, "src-sub1")) == (True, False)
    assert fault(live, node="src-sub1", start=TVS) == {}
    assert vouches(live, "src-sub1")


def test_a_node_that_imports_do_not_reach(live: LiveLab) -> None:
    assert fault(live, node="src-sub1", replicate=False) == {"src-sub1": {"stores": "not replicated"}}
    imported(live)
    assert live.source.stores["src-pub"].holding(signer(live.destination))
    assert not live.source.stores["src-sub1"].holding(signer(live.destination))
    assert (vouches(live, "src-pub"), vouches(live, "src-sub1")) == (True, False)
    assert fault(live, node="src-sub1", replicate=True) == {}
    assert vouches(live, "src-sub1")
    with pytest.raises(SettingsError, match="is the publisher"):
        fault(live, node="src-pub", replicate=False)


def test_https_that_goes_wrong(live: LiveLab) -> None:
    node = live.node("dst-pub")
    assert fault(live, node="dst-pub", https="busy") == {"dst-pub": {"https": "busy"}}
    assert node.https_disturbed("/any") == Disturbance(busy=True)
    assert fault(live, node="dst-pub", https="none") == {}
    assert node.https_disturbed("/any") == UNDISTURBED
    with pytest.raises(SettingsError, match="'tired'") as caught:
        fault(live, node="dst-pub", https="tired")
    assert "refuse, slow, busy" in caught.value.hint


def test_services_that_are_down(live: LiveLab) -> None:
    assert fault(live, node="src-sub1", stop=TFTP) == {"src-sub1": {"stopped": [TFTP]}}
    assert not live.node("src-sub1").running(TFTP)
    with pytest.raises(SettingsError, match="does not run"):
        fault(live, node="src-sub1", stop=TFTP)
    assert fault(live, clear=True) == {"src-sub1": {"stopped": [TFTP]}}  # that is for whoever stopped it
    assert fault(live, node="src-sub1", start=TFTP) == {}
    assert live.node("src-sub1").running(TFTP)
    with pytest.raises(SettingsError, match="no service"):
        fault(live, node="src-sub1", start="Cisco Nothing")


def test_axl_that_is_busy_or_wants_pages(live: LiveLab) -> None:
    limits = live.lab.apis["source"].axl_limits
    assert fault(live, cluster="source", axl_busy=2, axl_rows=10) == {"source": {"axl_busy": 2, "axl_rows": 10}}
    assert (limits.busy, limits.max_rows) == (2, 10)
    assert fault(live, cluster="source", axl_busy=0, axl_rows=0) == {}
    assert limits.max_rows is None


def test_all_is_well_again(live: LiveLab) -> None:
    fault(live, node="src-sub1", freeze_tvs=True, replicate=False, https="slow")
    fault(live, cluster="destination", axl_busy=5)
    imported(live)
    assert set(fault(live)) == {"src-sub1", "destination"}
    assert fault(live, clear=True) == {}
    assert vouches(live, "src-sub1")
    with pytest.raises(SettingsError, match="no node nobody"):
        fault(live, node="nobody", https="busy")
    with pytest.raises(SettingsError, match="no cluster nobody"):
        fault(live, cluster="nobody", axl_busy=1)
