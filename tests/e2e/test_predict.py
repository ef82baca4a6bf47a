"""What is predicted from observations is what then happens: a thousand phones with deliberate defects in three labs.

Then the command, as a person runs it.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.defects import DefectiveLab, Scene, defective, older_itl
from tests.e2e.site import Site
from tests.e2e.test_verify import credentials_of, entry_of
from tests.lab.prepared import TVS, LiveLab, phones
from typer.testing import CliRunner

from trustbridge.cli import app
from trustbridge.cucm.cluster import Cluster
from trustbridge.errors import TrustbridgeError
from trustbridge.migration import predictcollect
from trustbridge.migration.predict import Forecasts, predict
from trustbridge.migration.predictcollect import Collected, collect_prediction
from trustbridge.migration.predictvalues import Forecast
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.trust.events import Kept

#: Phones of a kind and defect: a thousand in all.
EACH = {Scene.MIXED: 28, Scene.NON_SECURE: 12, Scene.TAMPERED: 10}


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
def test_prediction_and_reality_are_equal_for_every_phone(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if scene is Scene.NON_SECURE:  # as of a large estate: one configuration file of each kind is read
        monkeypatch.setattr(predictcollect, "EACH", 0)
    with defective(tmp_path / "lab", scene, each=EACH[scene]) as lab:
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
        assert len(forecasts) == len(lab.live.phones) == len(real) == EACH[scene] * (22 if scene is Scene.MIXED else 18)
        # Defects of all kinds were there, and not one way to end.
        assert {one.forecast for _, one in forecasts} == lab.expected_forecasts
        refusals = {one.refusal for _, one in forecasts}
        assert refusals >= lab.expected_refusals, refusals
        findings = {lab.defect[name]: one.finding for name, one in forecasts}
        assert {defect: findings[defect] for defect in lab.expected_findings} == lab.expected_findings


class Shell:
    """`trustbridge predict source destination` with a state folder of its own."""

    def __init__(self, live: LiveLab, state: Path) -> None:
        self._environment = {"TRUSTBRIDGE_STATE_FOLDER": str(state)}
        self._always = ("predict", "source", "destination", "--page-port", str(live.lab.ports.web))
        for held in live.lab.clusters.values():
            Inventory(state).add(entry_of(held))
            PasswordFile(state).keep(held.name, credentials_of(held))

    def __call__(self, *arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*self._always, *arguments], env=self._environment)
        error = result.exception
        if error is not None and not isinstance(error, SystemExit | TrustbridgeError):
            raise error
        assert (error.exit_code if isinstance(error, TrustbridgeError) else result.exit_code) == code, result.output
        return result.stdout

    def told(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """What it says in JSON; the lab is in this process and logs beside it."""
        said = self("--json", *arguments, code=code)
        found: dict[str, Any] = json.loads(said[said.index("{\n") :])
        return found


def test_the_command(site: Site, tmp_path: Path) -> None:
    with site.up(phones(3), phones(1, model="CP-7965"), exchanged=True) as live:
        live.boot()
        stranger, first, second, old = live.phones
        live.call(partial(live.destination.remove_devices, [stranger.name]))
        shell = Shell(live, tmp_path / "state")
        table = tmp_path / "phones.csv"
        said = shell("--csv", str(table), code=1)
        words = " ".join(said.split())
        assert "2 of 4 phones move; 1 strand; of 1 it is not known." in words
        assert f"{old.name} TB112" in words
        assert "no TVS server can be reached: the TVS does not speak the TLS version" in words
        lines = list(csv.DictReader(io.StringIO(table.read_text())))
        assert [(line["phone"], line["forecast"]) for line in lines] == [
            (stranger.name, "unknown"),  # nobody said whether the destination registers it
            (first.name, "moves"),
            (second.name, "moves"),
            (old.name, "strands"),
        ]
        assert table.stat().st_mode & 0o777 == 0o600

        found = shell.told("--no-auto-registration", "--server", "dst-pub", code=1)
        assert found["counts"] == {"moves": 2, "moves by first trust": 0, "strands": 2, "unknown": 0}
        assert [one["finding"] for one in found["phones"]] == ["TB151", None, None, "TB112"]
        assert old.name in found["phones"][3]["why"]
        assert found["servers"] == [live.destination.definition.address("dst-pub")]

        # Without their pages nobody knows what phones hold.
        unread = shell.told("--no-pages", code=1)
        assert unread["counts"]["unknown"] == 4
        assert "phone pages were not asked for" in unread["phones"][0]["not_observed"][-1]

        live.call(partial(live.source.remove_devices, [old.name, stranger.name]))
        assert "All 2 phones move." in shell()
        shell("--csv", str(tmp_path / "nowhere" / "phones.csv"), code=2)
        shell("--lists", str(tmp_path / "state"), code=2)


def test_older_lists_are_recognised_where_somebody_has_them(site: Site, tmp_path: Path) -> None:
    with site.up(phones(1), exchanged=True) as live:
        live.boot()
        phone = live.phones[0]
        older = live.call(lambda: older_itl(live))
        live.call(partial(phone.flash.write, Kept.ITL, older))
        shell = Shell(live, tmp_path / "state")
        assert shell.told(code=1)["counts"]["unknown"] == 1
        folder = tmp_path / "lists"
        folder.mkdir()
        (folder / "old.tlv").write_bytes(older)
        assert shell.told("--lists", str(folder))["counts"]["moves"] == 1


def test_a_tvs_that_is_down_is_told_from_one_that_only_we_can_not_reach(site: Site, tmp_path: Path) -> None:
    with site.up(phones(1), exchanged=True) as live:
        live.boot()
        shell = Shell(live, tmp_path / "state")
        for node in ("src-pub", "src-sub1"):
            live.stop_service(node, TVS)
        (told,) = shell.told(code=1)["phones"]
        assert (told["forecast"], told["finding"]) == ("strands", "TB111")
        # Its node says that it runs: phones may have a way that we have not.
        live.call(lambda: [live.node(node).services.update({TVS: Deaf()}) for node in ("src-pub", "src-sub1")])
        (told,) = shell.told(code=1)["phones"]
        assert told["forecast"] == "unknown"
        assert "what TVS src-" in told["missing"][0]


class Deaf:
    """A service that runs, and listens nowhere."""

    async def stop(self) -> None:
        pass
