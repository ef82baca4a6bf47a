"""What came of a publisher's command, by node and store: seen, and not just answered."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trustbridge.cucm.model import BulkLine
from trustbridge.migration.bulkcourse import Course, ResultLine, _line, _meant
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import BulkType, Store, Unit

GOOD, BAD = BulkLine("Successfully imported tomcat certificates.", True), BulkLine("Failed to import capf: no", False)
SAST = Store.PHONE_SAST_TRUST


def certificate(name: str) -> Certificate:
    organisation = Organisation(ou="UC", o="Test", l="Krakow", st="Malopolska", c="PL")
    now = datetime(2026, 3, 1, tzinfo=UTC)
    made = self_signed(
        node=name, unit=Unit.CALLMANAGER, common_name=name, organisation=organisation, now=now, key="p256"
    )
    return made.certificate


ONE, TWO, OWN = certificate("one"), certificate("two"), certificate("own")


@pytest.mark.parametrize(
    ("before", "after", "meant", "expected"),
    [
        (set(), {ONE, TWO}, {ONE, TWO}, (2, 0, 0, True)),
        ({ONE}, {ONE, TWO}, {ONE, TWO}, (1, 1, 0, True)),
        ({ONE}, {ONE}, {ONE, TWO}, (0, 1, 1, False)),
        # What somebody else has added meanwhile is not this import's.
        (set(), {ONE, OWN}, {ONE}, (1, 0, 0, True)),
        (set(), {ONE, OWN}, None, (2, 0, 0, None)),
    ],
)
def test_what_arrived_was_there_and_is_missing(
    before: set[Certificate],
    after: set[Certificate],
    meant: set[Certificate] | None,
    expected: tuple[int, int, int, bool | None],
) -> None:
    line = _line("pub", SAST, {(SAST, one) for one in before}, {(SAST, one) for one in after}, meant)
    assert (line.came, line.held, line.missing, line.good) == expected
    assert ("not there: CN=two" in line.text) is (line.missing == 1)


def test_what_made_way_is_named() -> None:
    line = _line("pub", SAST, {(SAST, OWN)}, {(SAST, ONE)}, {ONE})
    assert "made way: CN=own" in line.text


def bundle(kind: BulkType, *certificates: Certificate) -> Any:
    inside = [SimpleNamespace(certificate=one) for one in certificates]
    return SimpleNamespace(type=kind, certificates=tuple(inside) or None)


def look_of(*bundles: Any) -> Any:
    return cast(Any, SimpleNamespace(consolidated=lambda types: [one for one in bundles if one.type in types]))


def test_what_an_import_should_bring_is_what_others_have_consolidated() -> None:
    seen = look_of(bundle(BulkType.TFTP, ONE, OWN), bundle(BulkType.CAPF, TWO))
    assert _meant(seen, tuple(BulkType), {OWN}) == {SAST: {ONE}, Store.CALLMANAGER_TRUST: {ONE, TWO}}
    assert _meant(look_of(bundle(BulkType.TFTP)), tuple(BulkType), set()) is None
    assert _meant(look_of(), tuple(BulkType), set()) is None
    assert _meant(None, tuple(BulkType), set()) is None


def test_what_failed_and_what_is_missing_is_an_error() -> None:
    fine = ResultLine("pub", SAST, came=1)
    assert Course("source", (GOOD,), (fine,)).failed is None
    failed = Course("source", (GOOD, BAD), (fine,)).failed
    assert failed is not None
    assert "1 of 2 answers: Failed to import capf: no" in failed.message
    missing = Course("source", (GOOD,), (fine, ResultLine("sub", SAST, missing=2, good=False))).failed
    assert missing is not None
    assert "2 certificates are not where they belong" in missing.message
