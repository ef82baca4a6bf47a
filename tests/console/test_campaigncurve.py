"""A campaign's chart over time, of the journal's entries."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.storage.databases import planned

from trustbridge.console.campaigncurve import _Followed, _points, _take
from trustbridge.console.desk import Desk
from trustbridge.storage.models import CampaignState


def test_time_goes_forward_also_where_phones_change_in_the_second_of_the_beginning(desk: Desk) -> None:
    campaign = planned(desk.campaigns)
    begun = datetime(2026, 3, 1, 12, 0, 7, 800_000, UTC)
    one = _Followed()
    _take(one, 1, begun, "campaign", None, CampaignState.PLANNED, CampaignState.RUNNING)
    _take(one, 2, begun.replace(microsecond=900_000), "state", "SEP000000000001", "planned", "reset sent")
    _take(one, 3, begun.replace(second=9), "state", "SEP000000000001", "reset sent", "moved")
    points = _points(campaign, one, {"planned": 4, "moved": 1})
    assert [point.at.second for point in points] == [7, 7, 9]
    assert [point.at for point in points] == sorted(point.at for point in points)
    assert {sum(point.counts) for point in points} == {5}
