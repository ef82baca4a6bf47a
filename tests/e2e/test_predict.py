"""What is predicted from observations is what then happens: labs full of phones with deliberate defects.

The bench moves a thousand (`python -m bench.predict --lab`); here are fewer of the same kinds.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.e2e.defects import DefectiveLab, Scene, defective
from tests.e2e.test_verify import credentials_of, entry_of
from tests.lab.prepared import LiveLab

from trustbridge.cucm.cluster import Cluster
from trustbridge.migration.predict import Forecasts, predict
from trustbridge.migration.predictcollect import Collected, collect_prediction
from trustbridge.migration.predictvalues import Forecast


def collected(live: LiveLab, state: Path, lab: DefectiveLab) -> Collected:
    """Everything the prediction goes by, read by the driver beside the running lab."""

    async def observed() -> Collected:
        async with AsyncExitStack() as stack:
            here, there = [
                await stack.enter_async_context(Cluster.open(entry_of(held), credentials_of(held), state=state))
                for held in (live.source, live.destination)
            ]
            return await collect_prediction(
                here,
                there,
                now=datetime.now(UTC),
                servers=lab.servers,
                known_lists=lab.known_lists,
                auto_registration=False,
                page_port=live.lab.ports.web,
                patience=2.0,
            )

    return asyncio.run(observed())


@pytest.mark.parametrize("scene", list(Scene))
def test_prediction_and_reality_are_equal_for_every_phone(scene: Scene, tmp_path: Path) -> None:
    with defective(tmp_path / "lab", scene, each=14 if scene is Scene.MIXED else 5) as lab:
        seen = collected(lab.live, tmp_path / "state", lab)
        forecasts: Forecasts = predict(seen.estate, seen.world)
        real = lab.move()
        differing = {
            name: (lab.defect[name], prediction, real[name])
            for name, prediction in forecasts
            if prediction.forecast is not Forecast.UNKNOWN
            and (prediction.forecast, prediction.refusal) != real[name][:2]
        }
        assert not differing
        assert {name for name, one in forecasts if one.forecast is Forecast.UNKNOWN} == lab.hidden
        assert len(forecasts) == len(lab.live.phones) == len(real)
        # Defects of all kinds were there, and not one way to end.
        assert {one.forecast for _, one in forecasts} == lab.expected_forecasts
        refusals = {one.refusal for _, one in forecasts}
        assert refusals >= lab.expected_refusals, refusals
