"""How a prediction is shown: counts with reasons, the first of those that do not move, a sentence; all in CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pytest
from rich.console import Console
from tests.migration.test_predict import facts, seen
from tests.trust.arrangements import world
from tests.trust.world import NOW

from trustbridge.cli import predictview
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predict import Estate, Forecasts
from trustbridge.migration.predictcollect import Collected
from trustbridge.migration.predictvalues import ANY_PHONE, Forecast, Prediction
from trustbridge.migration.proof import prove
from trustbridge.migration.proofseen import Gap, Observations
from trustbridge.trust.events import Flash, Refusal

MOVES = Prediction(Forecast.MOVES)
FIRST = Prediction(Forecast.FIRST_TRUST, finding="TB122", reason="starts; no trust list installed")
STRANDS = Prediction(Forecast.STRANDS, Refusal.NOT_VOUCHED, "TB102", f"ITL{ANY_PHONE}.tlv: TVS cm2 does not know it")
UNKNOWN = Prediction(Forecast.UNKNOWN, finding="TB161", missing=("which ITL it holds", "whose TVS it asks"))


def collected(kinds: Sequence[Prediction], **changes: str) -> tuple[Forecasts, Collected]:
    """Phones that end like that, in this order."""
    estate, phones = Estate(), list[PhoneFacts]()
    for number, _ in enumerate(kinds):
        # Of a class each: alternate servers are one thing that tells classes apart.
        one = facts(Flash(), name=f"SEP{number:012X}", alternate_tftp=True, tftp_servers=(f"{number}",), **changes)
        phones.append(one)
        estate.add(one, 0)
    gap = Gap("source", "cm3", "trust lists", "nobody answers")
    proof = prove(Observations({}, (), ()), NOW)
    return Forecasts(estate, tuple(kinds)), Collected(seen(world()), estate, tuple(phones), proof, (gap,))


def shown(kinds: Sequence[Prediction]) -> str:
    console = Console(file=io.StringIO(), width=160, highlight=False)
    predictview.show(console, "old", "new", *collected(kinds))
    written = console.file
    assert isinstance(written, io.StringIO)
    return "\n".join(" ".join(line.split()) for line in written.getvalue().splitlines())


def test_counts_with_what_is_behind_them() -> None:
    said = shown([MOVES, STRANDS, UNKNOWN, MOVES, FIRST])
    assert "Phones of old, when option 150 names dst1, dst2 of new" in said
    assert "2 ✓ moves" in said
    assert "1 ✓ moves by first trust TB122" in said
    assert "1 ✗ strands TB102 TVS does not know the signer: the import did not replicate to a node" in said
    assert "1 ? unknown TB161 which ITL it holds" in said
    assert "SEP000000000001 TB102 ITLSEP000000000001.tlv: TVS cm2 does not know it" in said
    assert "SEP000000000002 TB161 which ITL it holds; whose TVS it asks" in said
    assert "not seen: source/cm3: trust lists: nobody answers" in said
    assert ANY_PHONE not in said


def test_the_first_are_named_and_the_others_counted() -> None:
    said = shown([STRANDS] * (predictview.SHOWN + 5))
    assert said.count(".tlv: TVS cm2") == predictview.SHOWN
    assert "and 5 more; --json and --csv have them all" in said
    assert "more;" not in shown([STRANDS] * predictview.SHOWN)


@pytest.mark.parametrize(
    ("kinds", "sentence"),
    [
        ([], "There are no phones to move."),
        ([MOVES, MOVES], "All 2 phones move."),
        ([MOVES, FIRST], "All 2 phones move, 1 of them by first trust."),
        ([MOVES, STRANDS], "1 of 2 phones move; 1 strand."),
        ([UNKNOWN, STRANDS, UNKNOWN], "0 of 3 phones move; 1 strand; of 2 it is not known."),
    ],
)
def test_one_sentence(kinds: list[Prediction], sentence: str) -> None:
    assert predictview.sentence(collected(kinds)[0]) == sentence
    assert shown(kinds).endswith(sentence)


def test_json_has_every_phone() -> None:
    found = predictview.as_json("old", "new", *collected([MOVES, STRANDS, UNKNOWN]))
    assert (found["source"], found["destination"], found["servers"]) == ("old", "new", ["dst1", "dst2"])
    assert found["counts"] == {"moves": 1, "moves by first trust": 0, "strands": 1, "unknown": 1}
    assert found["all_move"] is False
    assert [one["forecast"] for one in found["phones"]] == ["moves", "strands", "unknown"]
    assert found["phones"][1]["refusal"] == "TVS does not know the signer"
    assert found["phones"][1]["why"] == "ITLSEP000000000001.tlv: TVS cm2 does not know it"
    assert found["phones"][2]["missing"] == ["which ITL it holds", "whose TVS it asks"]
    assert found["not_seen"][0]["where"] == "source/cm3"


def test_csv_has_every_phone_and_no_formula() -> None:
    forecasts, found = collected([MOVES, STRANDS], device_pool="=HYPERLINK(1)")
    rows = list(csv.DictReader(io.StringIO(predictview.as_csv(forecasts, found.facts))))
    assert [row["phone"] for row in rows] == ["SEP000000000000", "SEP000000000001"]
    assert [row["forecast"] for row in rows] == ["moves", "strands"]
    assert {row["device pool"] for row in rows} == {"'=HYPERLINK(1)"}
    assert rows[1]["why"] == "ITLSEP000000000001.tlv: TVS cm2 does not know it"
