"""Wishes that can be meant and such that can't; a prepared campaign kept as JSON; consent to findings."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from trustbridge.dhcp.record import Kind, Server
from trustbridge.errors import NotNow, SettingsError
from trustbridge.migration import campaignacts
from trustbridge.migration.campaignphone import Rule
from trustbridge.migration.campaignprepare import Prepared, Scope150, Wish, meant
from trustbridge.migration.check import Checked
from trustbridge.migration.findings import Severity, finding
from trustbridge.migration.predictvalues import Forecast
from trustbridge.storage.campaignrecords import ClusterRecord, NewPhone, NewScope, NewWave

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WISH = Wish("move", "source", "destination")


def test_what_is_said_is_meant() -> None:
    found = meant(replace(WISH, listed="name\nsep1\n", site_scopes=("W-*=lan",), server=Server(Kind.KEA, "unix:/k")))
    assert found.rules == {Forecast.STRANDS: Rule.SKIP, Forecast.UNKNOWN: Rule.GO}
    assert found.selection.listed == frozenset({"SEP1"})
    assert found.site_scopes == (("W-*", "lan"),)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (replace(WISH, name="-"), "campaign's name"),
        (replace(WISH, name="new"), "pages of the console"),
        (replace(WISH, destination="source"), "same cluster"),
        (replace(WISH, windows=("tonight",)), "no window"),
        (replace(WISH, site_windows=("W-*",)), "DEVICE-POOL=WINDOW"),
        (replace(WISH, site_windows=("W-*=00:00-24:00 UTC",)), "one site"),
        (replace(WISH, stranding="wait"), "skip or go"),
        (replace(WISH, stranding="perhaps"), "perhaps"),
        (replace(WISH, in_use="go"), "in use"),
        (replace(WISH, failures=2), "limits"),
        (replace(WISH, wave_size=0), "one phone or more"),
        (replace(WISH, subnets=("10.0.0.0/99",)), "no subnet"),
        (replace(WISH, listed="\n"), "names no phones"),
        (replace(WISH, scopes=("lan",)), "one DHCP server"),
        (replace(WISH, server=Server(Kind.KEA, "unix:/k")), "no scope"),
        (replace(WISH, longest_wait=1e300), "migrate plan"),
    ],
)
def test_what_can_not_be_meant_is_said_before_clusters_are_asked(wish: Wish, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        meant(wish)


def test_a_prepared_campaign_comes_back_from_json() -> None:
    phones = (NewPhone("SEP1", "CP-8841", "W", "src", "moves", "why"), NewPhone("SEP2", "CP-8841", "W", left_out="no"))
    prepared = Prepared(
        "move",
        "source",
        "destination",
        {"phone_port": 80},
        (NewWave("pilot", True, ("00:00-24:00 UTC",), phones),),
        (NewScope(("pilot",), "kea", "unix:/k", "", "lan", ("10.0.0.1",)),),
        (Scope150("kea unix:/k", "lan", "10.0.0.9", "10.0.0.1", "-a\n+b\n", {"place": "kea"}),),
        (ClusterRecord("source", "11.5", ("src",), NOW),),
        {"moves": 1, "strands": 1},
        NOW,
    )
    assert Prepared.from_json(json.loads(json.dumps(prepared.as_json()))) == prepared
    assert (prepared.phones, len(prepared.left_out), prepared.words) == (2, 1, "1 moves, 1 strands")


def test_each_stop_has_to_be_accepted() -> None:
    found = Checked(
        "source",
        "destination",
        NOW,
        tuple(finding(number, Severity.STOP, "source", "seen") for number in ("TB101", "TB102")),
        (),
        10,
    )
    assert campaignacts.stops_left(found, ()) == ["TB101", "TB102"]
    with pytest.raises(NotNow, match="TB102 stops the move"):
        campaignacts.refuse_stops(found, ["TB101"])
    campaignacts.refuse_stops(found, ["TB101", "TB102"])
    warned = replace(found, findings=(finding("TB103", Severity.WARN, "source", "seen"),))
    campaignacts.refuse_stops(warned, ())


def test_the_rule_for_stranding_phones_is_skip_or_go() -> None:
    assert campaignacts.leave_stranding("skip", {"SEP1": "why"}) == {"SEP1"}
    assert campaignacts.leave_stranding("go", {"SEP1": "why"}) == frozenset()
    with pytest.raises(SettingsError):
        campaignacts.leave_stranding("wait", ())
