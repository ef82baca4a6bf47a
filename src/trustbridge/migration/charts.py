"""Charts as SVG to stand in a page: strings from values. No script, nothing loaded; colours are the page's classes.

Each has a title and a description for those who don't see it, and the page says the same in a table. Text from
elsewhere is escaped here. Widths are in the units of the picture, which a page scales.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import pairwise
from typing import Final

from trustbridge.migration.reportwords import span

#: Size of a picture and of its margins.
WIDTH: Final = 860
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 14, 42
#: A span in which nothing happens is cut out where it is this share of what is left, and so many times the usual one,
#: or more; at most so many.
_CUT, _UNUSUAL, _CUTS = 0.2, 5, 12
_CUT_WIDTH, _LEAST_WIDTH = 30.0, 10.0
#: Pixels between two marks of an axis, about.
_TICK = 78
_STEPS: Final = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10800,
    14400,
    21600,
    28800,
    43200,
    86400,
    604800,
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One of the things that are stacked: its name, its class (`fill-CLASS`), a value for each moment."""

    label: str
    kind: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a timeline.

    Attributes:
        bands: when it might; `bar`: when it did; `marks`: moments to point out.
    """

    label: str
    note: str
    bar: tuple[datetime, datetime] | None
    bands: tuple[tuple[datetime, datetime], ...] = ()
    marks: tuple[datetime, ...] = ()
    open: bool = False


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Where moments are on a picture; long spans without anything are cut out.

    Attributes:
        pieces: (begin, end, x of begin, x of end), seconds since the epoch, in order.
    """

    pieces: tuple[tuple[float, float, float, float], ...]

    @classmethod
    def over(cls, moments: Iterable[datetime], left: float, right: float) -> TimeAxis:
        """An axis on which these moments are. ValueError when there are none."""
        seconds = sorted({moment.timestamp() for moment in moments})
        gaps = sorted(
            ((after - before, place) for place, (before, after) in enumerate(pairwise(seconds))),
            reverse=True,
        )
        rest, cuts = seconds[-1] - seconds[0], set[int]()
        usual = gaps[len(gaps) // 2][0] if gaps else 0.0
        for gap, place in gaps[:_CUTS]:
            if gap < _CUT * rest or gap < _UNUSUAL * usual:
                break
            cuts.add(place)
            rest -= gap
        spans, begin = list[tuple[float, float]](), seconds[0]
        for place, second in enumerate(seconds):
            if place in cuts or place == len(seconds) - 1:
                spans.append((begin, second))
                begin = seconds[place + 1] if place + 1 < len(seconds) else second
        room = right - left - _CUT_WIDTH * (len(spans) - 1) - _LEAST_WIDTH * len(spans)
        pieces, x = list[tuple[float, float, float, float]](), left
        for begin, end in spans:
            width = _LEAST_WIDTH + (room * (end - begin) / rest if rest else room / len(spans))
            pieces.append((begin, end, x, x + width))
            x += width + _CUT_WIDTH
        return cls(tuple(pieces))

    def x(self, moment: datetime) -> float:
        """Where a moment is; those outside are at the ends, those that were cut out at the cut."""
        second = moment.timestamp()
        place = max(0, bisect_right([piece[0] for piece in self.pieces], second) - 1)
        begin, end, left, right = self.pieces[place]
        if second <= begin:
            return left
        if second >= end:
            return right if second == end or place == len(self.pieces) - 1 else right + _CUT_WIDTH / 2
        return left + (right - left) * (second - begin) / (end - begin)

    def cuts(self) -> list[tuple[float, float, float]]:
        """What was cut out: (x before, x after, seconds)."""
        return [(one[3], two[2], two[0] - one[1]) for one, two in pairwise(self.pieces)]

    def ticks(self) -> list[tuple[float, str, str]]:
        """Marks: (x, time of day, date where that is another one than before)."""
        found: list[tuple[float, str, str]] = []
        day = ""
        for begin, end, left, right in self.pieces:
            step = next((one for one in _STEPS if (end - begin) / one * _TICK <= right - left), _STEPS[-1])
            first = -(-begin // step) * step
            moments = (
                [first + number * step for number in range(int((end - first) // step) + 1)] if first <= end else []
            )
            for second in moments or [begin]:
                at = datetime.fromtimestamp(second, UTC)
                x = left if end == begin else left + (right - left) * (second - begin) / (end - begin)
                today = f"{at:%a} {at.day} {at:%b}"
                found.append(
                    (x, f"{at:%H:%M:%S}" if step < 60 and end > begin else f"{at:%H:%M}", "" if today == day else today)
                )
                day = today
        return found


def stacked(name: str, title: str, description: str, moments: Sequence[datetime], layers: Sequence[Layer]) -> str:
    """Values over time, on top of each other; each holds until the next moment. "" when there is nothing to draw."""
    if len(moments) < 2 or not layers:
        return ""
    height = 300
    low, bottom = float(_TOP), float(height - _BOTTOM)
    axis = TimeAxis.over(moments, _LEFT, WIDTH - _RIGHT)
    top = max(1.0, *(sum(layer.values[place] for layer in layers) for place in range(len(moments))))
    # One value a pixel is all that can be seen: the last one.
    kept: dict[int, int] = {round(axis.x(moment)): place for place, moment in enumerate(moments)}
    xs, places = list(kept), list(kept.values())
    parts = [_values(top, low, bottom)]
    below = [0.0] * len(places)
    for layer in layers:
        above = [base + layer.values[place] for base, place in zip(below, places, strict=True)]
        if any(layer.values[place] for place in places):
            path = _band(xs, above, below, lambda value: bottom - (bottom - low) * value / top)
            parts.append(f'<path class="fill-{escape(layer.kind)}" d="{path}"/>')
            if layer.kind == "failed":
                parts.append(f'<path class="hatched" fill="url(#{escape(name)}-hatch)" d="{path}"/>')
        below = above
    parts += _times(axis, low, bottom)
    return _picture(name, title, description, height, parts)


def _band(xs: Sequence[int], above: Sequence[float], below: Sequence[float], y: Callable[[float], float]) -> str:
    there = [f"M{xs[0]} {y(above[0]):.1f}"]
    for x, value, before in zip(xs[1:], above[1:], above, strict=False):
        there.append(f"H{x}" + (f"V{y(value):.1f}" if value != before else ""))
    there.append(f"V{y(below[-1]):.1f}")
    for place in range(len(xs) - 1, 0, -1):
        if below[place] != below[place - 1]:
            there.append(f"H{xs[place]}V{y(below[place - 1]):.1f}")
    there.append(f"H{xs[0]}Z")
    return "".join(there)


def histogram(
    name: str,
    title: str,
    description: str,
    seconds: Sequence[float],
    marks: Sequence[tuple[str, float]],
    least: float = 0.0,
) -> str:
    """How many took how long. "" for none.

    Args:
        seconds: how long each took.
        marks: spans to point out, with their names.
        least: seconds that a bar stands for at the least: values are no more exact than that.
    """
    if not seconds:
        return ""
    height = 240
    low, bottom = 44.0, float(height - _BOTTOM)
    # Bars as wide as a round span, at most 40 of them.
    longest = max(seconds)
    width = next((one for one in _STEPS if longest / one < 40 and one >= least), _STEPS[-1])
    counts = [0] * (int(longest // width) + 1)
    for value in seconds:
        counts[int(value // width)] += 1
    end = len(counts) * width
    room = WIDTH - _RIGHT - _LEFT
    parts = [_values(max(counts), low, bottom)]
    for place, count in enumerate(counts):
        if count:
            x, y = _LEFT + room * place / len(counts), bottom - (bottom - low) * count / max(counts)
            parts.append(
                f'<rect class="fill-way" x="{x + 0.75:.1f}" y="{y:.1f}" width="{max(room / len(counts) - 1.5, 1):.1f}" '
                f'height="{bottom - y:.1f}"><title>{span(place * width)} to {span((place + 1) * width)}: '
                f"{count}</title></rect>"
            )
    step = next((one for one in _STEPS if end / one * _TICK <= room), _STEPS[-1])
    for second in range(0, end + 1, step):
        x = _LEFT + room * second / end
        parts.append(f'<path class="rule" d="M{x:.1f} {bottom}v5"/>')
        side = "start" if not second else "end" if x > WIDTH - 40 else "middle"
        parts.append(_text(x, bottom + 18, span(second), side))
    placed = [
        (words, _LEFT + room * min(value, end) / end, 12 + 14 * (at % 2)) for at, (words, value) in enumerate(marks)
    ]
    parts += [f'<path class="mark-line" d="M{x:.1f} {y - 8}V{bottom}"/>' for _, x, y in placed]
    for words, x, y in placed:
        side = "end" if x > WIDTH * 0.7 else "start"
        parts.append(_text(x + (-5 if side == "end" else 5), y, words, side, "strong"))
    return _picture(name, title, description, height, parts)


def timeline(name: str, title: str, description: str, rows: Sequence[Row], moments: Iterable[datetime] = ()) -> str:
    """Rows with a bar each over time. "" when none has one.

    Names stand beside the rows as long as there is room for them.

    Args:
        moments: when something happened besides: such times are not cut out.
    """
    ends = [moment for row in rows if row.bar for moment in row.bar] + [mark for row in rows for mark in row.marks]
    if not ends:
        return ""
    each = max(2.0, min(24.0, 600 / len(rows)))
    named = each >= 14
    left, right = (172.0, WIDTH - 128.0) if named else (float(_LEFT), float(WIDTH - _RIGHT))
    low, bottom = float(_TOP), _TOP + each * len(rows)
    if min(ends) == max(ends):
        ends.append(max(ends) + timedelta(seconds=1))
    axis = TimeAxis.over([*ends, *moments], left, right)
    parts = [
        f'<rect class="ground" x="{left:.1f}" y="{low:.1f}" width="{right - left:.1f}" height="{bottom - low:.1f}"/>'
    ]
    for place, row in enumerate(rows):
        y = low + each * place
        for begin, end in row.bands:
            x, to = axis.x(begin), axis.x(end)
            if to > x:
                parts.append(f'<rect class="band" x="{x:.1f}" y="{y:.1f}" width="{to - x:.1f}" height="{each:.1f}"/>')
        if row.bar is not None:
            x, to = axis.x(row.bar[0]), axis.x(row.bar[1])
            parts.append(
                f'<rect class="{"fill-open" if row.open else "fill-way"}" x="{x:.1f}" y="{y + each * 0.2:.1f}" rx="2" '
                f'width="{max(to - x, 2):.1f}" height="{each * 0.6:.1f}"><title>{escape(row.label)}: '
                f"{row.bar[0]:%Y-%m-%d %H:%M:%S} – {row.bar[1]:%H:%M:%S}</title></rect>"
            )
        for mark in row.marks:
            x, size = axis.x(mark), min(each * 0.4, 7)
            middle = y + each / 2
            parts.append(
                f'<path class="fill-failed outlined" d="M{x:.1f} {middle - size:.1f}l{size:.1f} {2 * size:.1f}'
                f'h{-2 * size:.1f}z"><title>{escape(row.label)}: halted {mark:%H:%M:%S}</title></path>'
            )
        if named:
            parts.append(_text(left - 8, y + each / 2 + 4, _short(row.label, 24), "end", "strong"))
            parts.append(_text(right + 8, y + each / 2 + 4, _short(row.note, 20), "start"))
    parts += _times(axis, low, bottom)
    return _picture(name, title, description, bottom + _BOTTOM, parts)


def shares(name: str, title: str, description: str, parts: Sequence[tuple[str, str, int]]) -> str:
    """One bar, of (label, class, count) each. "" when all are none."""
    total = sum(count for _, _, count in parts)
    if not total:
        return ""
    drawn, x = list[str](), 0.0
    for label, kind, count in parts:
        if not count:
            continue
        # One phone of 60,000 is to be seen as well.
        width = max(WIDTH * count / total, 3.0)
        box = f'x="{x:.1f}" y="0" width="{max(width - 1.5, 1.5):.1f}" height="22"'
        drawn.append(
            f'<rect class="fill-{escape(kind)}" {box}><title>{escape(label)}: {count} of {total}</title></rect>'
        )
        if kind == "failed":
            drawn.append(f'<rect class="hatched" fill="url(#{escape(name)}-hatch)" {box}/>')
        x += width
    return _picture(name, title, description, 22, drawn, width=max(x, float(WIDTH)))


# What they have in common.


def _picture(
    name: str, title: str, description: str, height: float, parts: Iterable[str], *, width: float = WIDTH
) -> str:
    key = escape(name)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{key}-title {key}-desc">'
        f'<title id="{key}-title">{escape(title)}</title><desc id="{key}-desc">{escape(description)}</desc>'
        f'<defs><pattern id="{key}-hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path class="hatch" d="M0 0V6"/></pattern></defs>'
        f"{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    extra = f' class="{kind}"' if kind else ""
    return f'<text{extra} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _short(words: str, length: int) -> str:
    return words if len(words) <= length else words[: length - 1] + "…"


def _values(top: float, low: float, bottom: float) -> str:
    """Lines and numbers of the upright axis, from 0."""
    step = next(one * 10**power for power in range(10) for one in (1, 2, 5) if top / (one * 10**power) <= 5)
    parts = []
    for value in range(0, int(top) + 1, step):
        y = bottom - (bottom - low) * value / top
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 7, y + 4, f"{value:,}", "end"))
    return "".join(parts)


def _times(axis: TimeAxis, low: float, bottom: float) -> list[str]:
    """The axis of time: marks, times, dates; and what is cut out of it."""
    parts = [f'<path class="rule" d="M{axis.pieces[0][2]:.1f} {bottom:.1f}H{axis.pieces[-1][3]:.1f}"/>']
    last, last_date = -1000.0, -1000.0
    for x, time, date in axis.ticks():
        parts.append(f'<path class="rule" d="M{x:.1f} {bottom:.1f}v5"/>')
        if x - last >= 46:
            # One at the right end has no room beyond the picture's edge.
            parts.append(_text(min(x, WIDTH - 34), bottom + 18, time, "middle"))
            last = x
        if date and x - last_date >= 70:
            parts.append(_text(x, bottom + 33, date, "middle", "strong"))
            last_date = x
    for before, after, seconds in axis.cuts():
        middle = (before + after) / 2
        parts.append(
            f'<rect class="cut" x="{before + 3:.1f}" y="{low:.1f}" width="{after - before - 6:.1f}" '
            f'height="{bottom - low + 2:.1f}"/>'
        )
        for x in (before + 3, after - 3):
            parts.append(f'<path class="cut-edge" d="M{x:.1f} {low:.1f}V{bottom:.1f}"/>')
        parts.append(
            f'<text x="{middle:.1f}" y="{(low + bottom) / 2:.1f}" text-anchor="middle" '
            f'transform="rotate(-90 {middle:.1f} {(low + bottom) / 2:.1f})" dy="4">{escape(span(seconds))} later</text>'
        )
    return parts
