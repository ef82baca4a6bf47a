"""Charts: what they draw is where it should be, is well-formed, and is only text where others wrote it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.migration.charts import WIDTH, Layer, Row, TimeAxis, histogram, shares, stacked, timeline

BEGIN = datetime(2026, 3, 1, 20, 0, tzinfo=UTC)
EVIL = "<script>alert(1)</script>\"'&"


def at(hours: float) -> datetime:
    return BEGIN + timedelta(hours=hours)


def drawn(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)


def test_days_between_nights_are_cut_out_of_the_axis() -> None:
    nights = [at(24 * night + hour) for night in range(3) for hour in (0, 2, 4, 6, 8)]
    axis = TimeAxis.over(nights, 50, 850)
    assert [seconds for _, _, seconds in axis.cuts()] == [16 * 3600.0] * 2
    widths = [right - left for _, _, left, right in axis.pieces]
    assert max(widths) - min(widths) < 0.01
    assert axis.x(at(0)) == 50
    assert abs(axis.x(at(56)) - 850) < 0.01
    # In the middle of the first night, and of a day that is cut out.
    assert abs(axis.x(at(4)) - (50 + widths[0] / 2)) < 0.01
    before, after, _ = axis.cuts()[0]
    assert before < axis.x(at(16)) < after
    assert [date for _, _, date in axis.ticks() if date] == ["Sun 1 Mar", "Mon 2 Mar", "Tue 3 Mar", "Wed 4 Mar"]


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=60))
def test_an_axis_is_in_order_and_inside(seconds: list[int]) -> None:
    moments = [BEGIN + timedelta(seconds=one) for one in sorted(seconds)]
    axis = TimeAxis.over(moments, 50, 850)
    places = [axis.x(moment) for moment in moments]
    assert places == sorted(places)
    assert min(places) >= 50
    assert max(places) <= 850.001
    # Moments between, before and after keep the order.
    between = sorted([*moments, *(moment + timedelta(seconds=7) for moment in moments), BEGIN - timedelta(days=1)])
    found = [axis.x(moment) for moment in between]
    assert found == sorted(found)
    assert all(49.9 <= x <= 850.001 for x, _, _ in axis.ticks())


def _path(picture: str, kind: str) -> str:
    found = re.search(rf'<path class="fill-{kind}" d="([^"]*)"', picture)
    assert found is not None
    return found[1]


def test_layers_stand_on_top_of_each_other() -> None:
    picture = stacked(
        "c",
        "t",
        "d",
        [at(0), at(1), at(2)],
        [Layer("moved", "moved", [0, 5, 10]), Layer("failed", "failed", [0, 0, 0]), Layer("held", "held", [10, 5, 0])],
    )
    # The whole is 10 high: from 258 at the bottom up to 14.
    assert _path(picture, "moved") == "M52 258.0H448V136.0H844V14.0V258.0H52Z"
    assert _path(picture, "held") == "M52 14.0H448H844V14.0H844V136.0H448V258.0H52Z"
    assert "fill-failed" not in picture
    drawn(picture)


def test_failures_are_hatched_and_not_told_by_colour_alone() -> None:
    picture = stacked("c", "t", "d", [at(0), at(1)], [Layer("failed", "failed", [1, 2])])
    assert 'fill="url(#c-hatch)"' in picture
    assert '<pattern id="c-hatch"' in picture


def test_nothing_to_draw_is_no_picture() -> None:
    assert stacked("c", "t", "d", [at(0)], [Layer("a", "a", [1])]) == ""
    assert stacked("c", "t", "d", [], []) == ""
    assert histogram("c", "t", "d", [], []) == ""
    assert timeline("c", "t", "d", [Row("w", "", None)]) == ""
    assert shares("c", "t", "d", [("a", "a", 0)]) == ""


def test_a_histogram_counts_each_value_once() -> None:
    seconds = [0.0, 9.9, 10.0, 59.0, 119.0, 120.0]
    picture = histogram("c", "t", "d", seconds, [("median", 59.0)], least=10)
    counts = re.findall(r"<rect[^>]*><title>([^<]*): (\d+)</title>", picture)
    assert counts == [
        ("0 s to 10 s", "2"),
        ("10 s to 20 s", "1"),
        ("50 s to 1 min", "1"),
        ("1 min 50 s to 2 min", "1"),
        ("2 min to 2 min 10 s", "1"),
    ]
    drawn(picture)


@given(st.lists(st.floats(0, 10**6), min_size=1, max_size=50), st.sampled_from([0.0, 2.0, 10.0]))
def test_a_histogram_has_all_of_them(seconds: list[float], least: float) -> None:
    picture = histogram("c", "t", "d", seconds, [("m", max(seconds))], least)
    assert sum(int(count) for count in re.findall(r": (\d+)</title></rect>", picture)) == len(seconds)
    drawn(picture)


def test_a_timeline_has_bars_windows_and_halts() -> None:
    rows = [
        Row("pilot", "5 of 5", (at(0), at(1)), bands=((at(0), at(2)),)),
        Row("wave-1", "3 of 9", (at(1), at(4)), bands=((at(0), at(2)),), marks=(at(2),), open=True),
        Row("wave-2", "", None),
    ]
    picture = timeline("c", "t", "d", rows)
    assert picture.count('class="band"') == 2
    assert picture.count('class="fill-way"') == 1
    assert picture.count('class="fill-open"') == 1
    assert "wave-1: halted 22:00:00" in picture
    drawn(picture)


def test_many_waves_have_no_names_beside_them() -> None:
    rows = [Row(f"wave-{number}", "n", (at(number), at(number + 1))) for number in range(300)]
    picture = timeline("c", "t", "d", rows)
    assert picture.count('class="fill-way"') == 300
    assert ">wave-7<" not in picture
    assert drawn(picture).attrib["viewBox"].startswith(f"0 0 {WIDTH} 6")


def test_one_of_many_is_seen() -> None:
    picture = shares("c", "t", "d", [("moved", "moved", 60_000), ("failed", "failed", 1)])
    assert 'class="fill-failed" x="860.0" y="0" width="1.5"' in picture


@pytest.mark.parametrize(
    "picture",
    [
        stacked(EVIL, EVIL, EVIL, [at(0), at(1)], [Layer(EVIL, EVIL, [1, 2])]),
        histogram(EVIL, EVIL, EVIL, [1.0], [(EVIL, 1.0)]),
        timeline(EVIL, EVIL, EVIL, [Row(EVIL, EVIL, (at(0), at(1)), marks=(at(0),))]),
        shares(EVIL, EVIL, EVIL, [(EVIL, EVIL, 1)]),
    ],
)
def test_what_others_wrote_is_only_text(picture: str) -> None:
    assert "<script" not in picture
    found = drawn(picture)
    assert found.attrib["aria-labelledby"] == f"{EVIL}-title {EVIL}-desc"
