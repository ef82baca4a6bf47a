"""A prediction in words and as JSON: what the command line and the console show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from trustbridge import __version__
from trustbridge.migration.findings import KINDS
from trustbridge.migration.predict import Forecasts
from trustbridge.migration.predictcollect import Collected
from trustbridge.migration.predictvalues import Forecast, Prediction


def as_json(source: str, destination: str, forecasts: Forecasts, seen: Collected) -> dict[str, Any]:
    """For programs: counts, and every phone."""
    return {
        "trustbridge": __version__,
        "at": seen.world.now.isoformat(),
        "source": source,
        "destination": destination,
        "servers": [server.address for server in seen.world.servers],
        "all_move": forecasts.all_move,
        "counts": {str(forecast): count for forecast, count in forecasts.counts.items()},
        "phones": [
            {
                "name": name,
                "model": facts.model,
                "forecast": str(prediction.forecast),
                "finding": prediction.finding or None,
                "refusal": None if prediction.refusal is None else str(prediction.refusal),
                "why": prediction.why(name),
                "missing": list(prediction.missing),
                "not_observed": list(facts.missing),
            }
            for facts, (name, prediction) in zip(seen.facts, forecasts, strict=True)
        ],
        "not_seen": [
            {"where": gap.where, "what": gap.what, "why": gap.why, "essential": gap.essential} for gap in seen.gaps
        ],
    }


def counted(forecasts: Forecasts) -> Iterator[tuple[int, Forecast, str, str]]:
    """Phones, forecast, finding and what is behind it: a class's words may differ by no more than an address."""
    found: Counter[tuple[Forecast, str, str]] = Counter()
    for prediction, count in forecasts.by_prediction().items():
        found[prediction.forecast, prediction.finding, behind(prediction)] += count
    order = list(Forecast)
    for (forecast, finding, words), count in sorted(
        found.items(), key=lambda item: (order.index(item[0][0]), -item[1], item[0])
    ):
        yield count, forecast, finding, words


def behind(prediction: Prediction) -> str:
    """What is behind a forecast, in few words; "" where there is nothing."""
    if prediction.forecast is Forecast.UNKNOWN:
        return prediction.missing[0] if prediction.missing else ""
    title = KINDS[prediction.finding].title if prediction.finding in KINDS else ""
    if prediction.refusal is None:
        return title
    return f"{prediction.refusal}{f': {title}' if title else ''}"


def sentence(forecasts: Forecasts) -> str:
    """The whole, for a person who reads one sentence."""
    counts, total = forecasts.counts, len(forecasts)
    if not total:
        return "There are no phones to move."
    moving = counts[Forecast.MOVES] + counts[Forecast.FIRST_TRUST]
    first = f", {counts[Forecast.FIRST_TRUST]} of them by first trust" if counts[Forecast.FIRST_TRUST] else ""
    if moving == total:
        return f"All {total} phones move{first}."
    parts = [f"{moving} of {total} phones move{first}"]
    if counts[Forecast.STRANDS]:
        parts.append(f"{counts[Forecast.STRANDS]} strand")
    if counts[Forecast.UNKNOWN]:
        parts.append(f"of {counts[Forecast.UNKNOWN]} it is not known")
    return "; ".join(parts) + "."
